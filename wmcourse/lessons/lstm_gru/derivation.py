"""Lesson 06's derivation: its symbols, the learner's steps, and the formulas of its card.

Everything is for one unit: a new h or c is a function of the old one, and the question is its slope.
"""

from __future__ import annotations

import sympy as sp

from wmcourse.lessons.derivation import Step
from wmcourse.lessons.exercise import Mistake

w, u, x, h, h_new, a, b, c, k = sp.symbols("w u x h h_new a b c k", real=True)
n, r = sp.symbols("n r", positive=True)
f, i, g, o, z = sp.symbols("f i g o z", positive=True)  # gates (and g, the candidate, whose sign does not matter here)


def sigmoid(a: sp.Expr) -> sp.Expr:
    return 1 / (1 + sp.exp(-a))


RNN_SLOPE = w * (1 - h_new**2)
HALF_LIFE = -sp.log(2 ** (1 / n) - 1)
SIDE_PATH = c * f * (1 - f) * u * o * (1 - sp.tanh(c) ** 2)

STEPS = (
    Step(
        "rnn_slope",
        "One step back through a vanilla RNN",
        4,
        1,
        (
            "The chain rule: the slope of tanh at its argument, times what multiplies h inside.",
            "tanh′(s) = 1 − tanh²(s), and tanh of that argument *is* h_new.",
        ),
        (
            Mistake(
                "the squashing forgotten",
                w,
                "This is the slope of the linear part. tanh comes after it, and multiplies by 1 − h_new², which is at most 1.",
            ),
            Mistake(
                "the weight forgotten",
                1 - h_new**2,
                "This is the slope of tanh by its *argument*. Inside, h is multiplied by w.",
            ),
            Mistake(
                "the input's weight",
                u * (1 - h_new**2),
                "u multiplies x. Along the time axis the gradient goes through h, so it meets w.",
            ),
            Mistake(
                "the sigmoid's slope",
                w * h_new * (1 - h_new),
                "s·(1 − s) is the slope of a sigmoid. Of tanh it is 1 − h_new².",
            ),
            Mistake(
                "the square forgotten",
                w * (1 - h_new),
                "tanh′ = 1 − tanh²: with the square, so that it is the same for h_new and −h_new.",
            ),
            Mistake(
                "the slope at the old h",
                w * (1 - h**2),
                "The slope of tanh is taken where tanh is evaluated, at the *new* state: 1 − h_new².",
            ),
            Mistake(
                "the square around the bracket",
                w * (1 - h_new) ** 2,
                "tanh′ = 1 − tanh²: only h_new is squared, not 1 − h_new.",
            ),
        ),
        (w - w * h_new**2, w * (1 - h_new) * (1 + h_new)),
        expected=RNN_SLOPE,
        assumptions="all real",
    ),
    Step(
        "side_path",
        "What the cell path leaves out",
        6,
        3,
        (
            "The product rule on f·c: the first piece is f·1, the path along the cell. The second is c·df/dc.",
            "df/dc = df/da · da/dh · dh/dc: the sigmoid's slope f·(1 − f), then u, then the slope of o·tanh(c).",
        ),
        (
            Mistake(
                "the cell path once more",
                f + SIDE_PATH,
                "This is the whole slope. The step asks for what stands beside f in it.",
            ),
            Mistake(
                "tanh's slope for the sigmoid's",
                c * (1 - f**2) * u * o * (1 - sp.tanh(c) ** 2),
                "f is a sigmoid, and the slope of a sigmoid is f·(1 − f), a quarter at most.",
            ),
            Mistake(
                "the sigmoid's slope forgotten",
                c * u * o * (1 - sp.tanh(c) ** 2),
                "f is a sigmoid of what it sees, and its slope f·(1 − f) belongs into the chain: a gate that is fully open or shut hardly moves.",
            ),
            Mistake(
                "the slope of tanh forgotten",
                c * f * (1 - f) * u * o,
                "h is o·tanh(c), not o·c: on the way from c to h there is a slope 1 − tanh²(c).",
            ),
            Mistake(
                "the output gate forgotten",
                c * f * (1 - f) * u * (1 - sp.tanh(c) ** 2),
                "The cell is seen by the gates only through h = o·tanh(c). A closed output gate closes this path, too.",
            ),
            Mistake(
                "the weight forgotten",
                c * f * (1 - f) * o * (1 - sp.tanh(c) ** 2),
                "The gate sees h multiplied by u.",
            ),
            Mistake(
                "the cell itself forgotten",
                f * (1 - f) * u * o * (1 - sp.tanh(c) ** 2),
                "What changes is f, and f multiplies c: the product rule leaves c standing before df/dc.",
            ),
            Mistake(
                "the gate for its slope",
                c * f * u * o * (1 - sp.tanh(c) ** 2),
                "The slope of a sigmoid is f·(1 − f), which vanishes for a gate that is fully open, too.",
            ),
            Mistake(
                "tanh for its slope",
                c * f * (1 - f) * u * o * sp.tanh(c),
                "On the way from c to h there is the *slope* of tanh, 1 − tanh²(c), not tanh itself.",
            ),
            Mistake(
                "the square forgotten",
                c * f * (1 - f) * u * o * (1 - sp.tanh(c)),
                "tanh′ = 1 − tanh²: with the square.",
            ),
        ),
        (
            c * (f - f**2) * u * o / sp.cosh(c) ** 2,
            o * u * c * f * (1 - f) * (1 - sp.tanh(c)) * (1 + sp.tanh(c)),
        ),
        expected=SIDE_PATH,
        assumptions="u and c real, the gates f and o between 0 and 1",
    ),
    Step(
        "half_life",
        "A bias that remembers for n steps",
        5,
        2,
        (
            "First f alone: f·f·…·f, n times, is ½. Then invert the sigmoid, f = 1/(1 + e^(−b)).",
            "f = 2^(−1/n), so 1 + e^(−b) = 2^(1/n). Solve for b.",
        ),
        (
            Mistake(
                "the gate for its bias",
                2 ** (-1 / n),
                "This is f itself. The bias is what the sigmoid is taken of: b = log(f/(1 − f)).",
            ),
            Mistake(
                "the gate's logarithm",
                sp.log(2 ** (-1 / n)),
                "This is log f, as if the gate were e^b. It is a sigmoid: b = log(f/(1 − f)).",
            ),
            Mistake(
                "the sign turned",
                sp.log(2 ** (1 / n) - 1),
                "With this sign the gate is 1 − f: the longer the memory that you ask for, the sooner it forgets.",
            ),
            Mistake(
                "e in place of 2",
                -sp.log(sp.exp(1 / n) - 1),
                "After n steps this leaves 1/e = 0.37, which is called the lifetime. The step asks for ½.",
            ),
            Mistake(
                "f = 1 − 1/n",
                sp.log(n - 1),
                "This is the bias of f = 1 − 1/n, which leaves about 1/e after n steps (Tallec & Ollivier 2018 use it), not ½.",
            ),
            Mistake(
                "n upside down",
                -sp.log(2**n - 1),
                "You have f = 2^(−n). It is f to the power n that is ½, so f is the n-th *root* of ½.",
            ),
            Mistake(
                "tanh for the sigmoid",
                sp.atanh(2 ** (-1 / n)),
                "Gates are sigmoids: invert f = 1/(1 + e^(−b)).",
            ),
            Mistake(
                "the logarithm forgotten",
                1 / (2 ** (1 / n) - 1),
                "f/(1 − f) are the odds of the gate. The bias is their logarithm.",
            ),
            Mistake(
                "right for large n only",
                sp.log(n / sp.log(2) - 1),
                "This is the bias of f = 1 − log 2/n, the first two terms of 2^(−1/n). It is nearly right for long half-lives, and has no value at n = ½; the step asks for the exact bias.",
            ),
            Mistake(
                "the half lost in equal parts",
                sp.log(2 * n - 1),
                "This is the bias of f = 1 − 1/(2n), as if each step took an n-th of the half. Each takes its share of what is *left*: f to the power n is ½.",
            ),
        ),
        (sp.log(2 ** (-1 / n) / (1 - 2 ** (-1 / n))), sp.log(1 / (2 ** (1 / n) - 1))),
        expected=HALF_LIFE,
        assumptions="n > 0",
    ),
)

FORMULAS = {
    "a vanilla RNN, one step": sp.Eq(sp.Symbol(r"\partial h'/\partial h"), RNN_SLOPE, evaluate=False),
    "an LSTM’s cell, along the cell": sp.Eq(sp.Symbol(r"\partial c'/\partial c\,|_{\text{gates}}"), f, evaluate=False),
    "and by its forget gate, beside it": sp.Eq(sp.Symbol(r"\mathrm{d}c'/\mathrm{d}c - f"), SIDE_PATH, evaluate=False),
    "half is left after n steps": sp.Eq(b, HALF_LIFE, evaluate=False),
    "a GRU, along h (torch)": sp.Eq(sp.Symbol(r"\partial h'/\partial h\,|_{\text{gates}}"), z, evaluate=False),
    "the other GRU’s gate": sp.Eq(sp.Symbol(r"\tilde z"), 1 / (1 + sp.exp(a)), evaluate=False),
}
