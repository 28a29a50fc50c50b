"""Lesson 04's derivation: its symbols, the learner's steps, and the formulas of its card."""

from __future__ import annotations

import sympy as sp

from wmcourse.lessons.derivation import Step
from wmcourse.lessons.exercise import Mistake

x, m, ell = sp.symbols("x m ell", real=True)  # a pixel, the mean predicted for it, a logit
sigma, b, a = sp.symbols("sigma b a", positive=True)  # two widths, and the size of a logit
p, n, sse, sae = sp.symbols("p n sse sae", positive=True)  # n pixels with these sums of squared and absolute errors
t, u = sp.symbols("t u", real=True)  # the edges of a bin


def s(logit: sp.Expr) -> sp.Expr:
    """The sigmoid."""
    return 1 / (1 + sp.exp(-logit))


BCE = sp.log(1 + sp.exp(ell)) - ell * x
BY_LOGIT = s(ell) - x
BEST = sse / n
GAUSSIAN = (x - m) ** 2 / (2 * sigma**2) + sp.log(sigma) + sp.log(2 * sp.pi) / 2

STEPS = (
    Step(
        "bce",
        "From a probability to a logit",
        6,
        2,
        (
            "Put s = 1/(1 + exp(−ℓ)) into −x·log s − (1−x)·log(1−s). What is 1 − s as one fraction?",
            "log s = ℓ − log(1 + exp(ℓ)) and log(1−s) = −log(1 + exp(ℓ)). Collect: which logarithm comes x times, and which "
            "1 − x times?",
        ),
        (
            Mistake(
                "the exponents swapped",
                sp.log(1 + sp.exp(ell)) - ell * (1 - x),
                "You have s^(1−x)·(1−s)^x. Put x = 1: a white pixel then gets the probability 1 − s, and the network learns the "
                "negative of the picture. The exponent x belongs to s, the probability of white. It is tempting since x and 1 − x look "
                "so alike; the test with x = 1 takes a second.",
            ),
            Mistake(
                "the log-likelihood itself",
                -BCE,
                "This is log p, which is never positive, and which texts write. What is asked for, and what a loss minimises, is −log p.",
            ),
            Mistake(
                "the dark half forgotten",
                x * sp.log(1 + sp.exp(-ell)),
                "Only −x·log s: a black pixel would cost nothing whatever you predict, and the best picture would be all white. (For classes one term is enough: there each class has its own.)",
            ),
            Mistake(
                "the bright half forgotten",
                (1 - x) * sp.log(1 + sp.exp(ell)),
                "Only −(1−x)·log(1−s): a white pixel would cost nothing, and the best picture would be all black.",
            ),
            Mistake(
                "the ℓ lost on the way",
                sp.log(1 + sp.exp(-ell)) - ell * x,
                "log(1 + exp(−ℓ)) is −log s. If you take it out for both halves, log(1−s) = −ℓ − log(1 + exp(−ℓ)) leaves one more ℓ: "
                "write (1 − x)·ℓ, or take out log(1 + exp(ℓ)).",
            ),
            Mistake(
                "the sign of the ℓx term",
                sp.log(1 + sp.exp(ell)) + ell * x,
                "At x = 1 this grows with ℓ: being more sure of white would cost more where the pixel is white. The minus of −log p and that of log(1−s) are easily counted once too often.",
            ),
        ),
        (
            -x * sp.log(s(ell)) - (1 - x) * sp.log(1 - s(ell)),
            sp.log(1 + sp.exp(-ell)) + ell * (1 - x),
            x * sp.log(1 + sp.exp(-ell)) + (1 - x) * sp.log(1 + sp.exp(ell)),
        ),
        expected=BCE,
        assumptions="ℓ and x real",
    ),
    Step(
        "bce_by_logit",
        "The slope that the decoder feels",
        5,
        1,
        (
            "Differentiate log(1 + exp(ℓ)) − ℓx. The first term's derivative is exp(ℓ)/(1 + exp(ℓ)): you know this function.",
            "exp(ℓ)/(1 + exp(ℓ)) = 1/(1 + exp(−ℓ)), the sigmoid; `s(ell)` writes it. What does −ℓx leave?",
        ),
        (
            Mistake(
                "the sign turned",
                -BY_LOGIT,
                "This is the slope of log p. The loss is −log p: too bright must push ℓ down, "
                "so the slope is positive where s > x.",
            ),
            Mistake(
                "the slope by the probability",
                BY_LOGIT / (s(ell) * (1 - s(ell))),
                "This is the derivative by s. By the chain rule ds/dℓ = s·(1−s) comes to it, and cancels the denominator: that is the "
                "reason to let the network put out logits.",
            ),
            Mistake(
                "the slope of a squared error through a sigmoid",
                BY_LOGIT * s(ell) * (1 - s(ell)),
                "This factor s·(1−s) belongs to ½(s−x)². It vanishes where the network is sure, even where it is sure and wrong; "
                "the Bernoulli loss has no such factor.",
            ),
            Mistake(
                "the logit for the probability",
                ell - x,
                "As for a squared error of ℓ itself. The slope compares the pixel with the *probability* s(ℓ), which lies between 0 and 1.",
            ),
            Mistake(
                "the pixel forgotten",
                s(ell),
                "The second term is easily taken for a constant; −ℓx has the slope −x, and without it every logit would sink for ever.",
            ),
            Mistake(
                "the exponents swapped",
                s(ell) - 1 + x,
                "This is 0 at s = 1 − x: the negative of the picture. In the loss ℓ is multiplied by x, not by 1 − x.",
            ),
        ),
        (sp.exp(ell) / (1 + sp.exp(ell)) - x, sp.Rational(1, 2) + sp.tanh(ell / 2) / 2 - x),
        expected=BY_LOGIT,
        assumptions="ℓ and x real",
    ),
    Step(
        "best_variance",
        "The best width",
        5,
        2,
        (
            "Only two terms depend on σ: sse/(2σ²) and n·log σ. Differentiate by σ (or by σ²) and ask for 0.",
            "−sse/σ³ + n/σ = 0. Multiply by σ³.",
        ),
        (
            Mistake(
                "the sum for the mean",
                sse,
                "Each of the n pixels pays log σ: n of them weigh against one sum of squares. With one σ for all, divide by n.",
            ),
            Mistake(
                "σ in place of σ²",
                sp.sqrt(sse / n),
                "This is the best σ, which solving for σ gives first: the root of the mean squared error. What is asked for is its square.",
            ),
            Mistake(
                "the ½ kept",
                sse / (2 * n),
                "The ½ of sse/(2σ²) is used up by differentiating: d/dσ of σ⁻² is −2σ⁻³. (Or: log σ = ½ log σ² has a ½, too, and "
                "they cancel.)",
            ),
            Mistake(
                "the ½ lost",
                2 * sse / n,
                "As if the loss were sse/σ² + n·log σ, the squared error without its ½. Every pixel would be held to be noisier "
                "than it is, by √2.",
            ),
            Mistake(
                "upside down",
                n / sse,
                "This is the precision 1/σ², which stands in the loss. A larger error calls for a larger σ.",
            ),
            Mistake(
                "n − 1 for n",
                sse / (n - 1),
                "n − 1 makes up for a mean that was estimated from the same n numbers. Here the means come from the decoder, and it is "
                "the maximum of the likelihood that is asked for: plain n.",
            ),
        ),
        (sp.exp(sp.log(sse) - sp.log(n)), (sp.sqrt(sse) / sp.sqrt(n)) ** 2),
        expected=BEST,
        assumptions="sse > 0, n > 0",
    ),
)


def formula(left: str, right: sp.Expr) -> sp.Eq:
    return sp.Eq(sp.Symbol(left), right, evaluate=False)


NLL = r"-\log p(x)"
FORMULAS = {
    "Bernoulli, from a logit": formula(NLL, BCE),
    "its slope": formula(r"\partial(-\log p)/\partial\ell", BY_LOGIT),
    "Gaussian": formula(NLL, GAUSSIAN),
    "its best width": formula(r"\hat\sigma^2", BEST),
    "Laplace": formula(NLL, sp.Symbol(r"\lvert x - m\rvert") / b + sp.log(2 * b)),
    "its best width ": formula(r"\hat b", sae / n),
    "an 8-bit pixel in the bin (u, t)": formula(
        NLL, sp.log(1 + sp.exp(-t)) + sp.log(1 + sp.exp(u)) - sp.log(1 - sp.exp(u - t))
    ),
    "what a Bernoulli leaves out for greys": formula(r"\int_0^1 s^x (1-s)^{1-x}\,dx", sp.tanh(ell / 2) / ell),
}
