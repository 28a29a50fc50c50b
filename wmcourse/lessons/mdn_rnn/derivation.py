"""Lesson 08's derivation: its symbols, the learner's steps, and the formulas of its card.

The world that can be solved: one number x that is forgotten at a rate, x' = ρ·x + s·ε, whose variance has settled at v.
"""

from __future__ import annotations

import sympy as sp

from wmcourse.lessons.derivation import Step
from wmcourse.lessons.exercise import Mistake

x0, x1, x2 = sp.symbols("x_0 x_1 x_2", real=True)
rho, s, v = sp.symbols("rho s v", positive=True)
L = sp.Symbol("L", positive=True, integer=True)
share = sp.Symbol("share", positive=True)  # of own samples among the inputs
p, w, q = sp.symbols("p w q", positive=True)  # P(done), the class weight, what the head says
r, u, sigma = sp.symbols("r u sigma", positive=True)  # the prediction's miss, the encoder's doubt, the width

HALF = sp.Rational(1, 2)
FREE = v * (1 - rho ** (2 * L))
OWN = (1 - share) * rho + share * rho**3
HEAD = w * p / (w * p + 1 - p)
WIDTH = r**2 + u**2
PRICE = (u**2 / r**2 - sp.log(1 + u**2 / r**2)) / 2

STEPS = (
    Step(
        "free_variance",
        "What a dream cannot know",
        5,
        1,
        (
            "After one step the new noise has variance s². After two, the first noise has been multiplied by ρ: s² + ρ²·s². And so on: a "
            "geometric sum of L terms.",
            "Such a sum with the ratio q = ρ² is (1 − q^L)/(1 − q). And s² is asked for in v: s² = v·(1 − ρ²).",
        ),
        (
            Mistake(
                "one step only",
                v * (1 - rho**2),
                "This is s², what a single step adds. L steps add more, though not L times as much.",
            ),
            Mistake(
                "nothing forgotten",
                L * v * (1 - rho**2),
                "L·s² is a random walk's: there ρ = 1. Here each step also shrinks the noise of all steps before it.",
            ),
            Mistake(
                "ρ^L in place of its square",
                v * (1 - rho**L),
                "A noise that was multiplied by ρ has its *variance* multiplied by ρ².",
            ),
            Mistake(
                "the spread of all x",
                v,
                "This is what one does not know who has never seen x_t. It is the limit L → ∞.",
            ),
            Mistake(
                "what is known for what is not",
                v * rho ** (2 * L),
                "This is the variance of the mean ρ^L·x_t: what the present still says. What it does not say is the rest of v.",
            ),
            Mistake(
                "one step too few",
                v * (1 - rho ** (2 * (L - 1))),
                "At L = 1 this is 0, yet one step has one noise, s² = v·(1 − ρ²).",
            ),
            Mistake(
                "factors that are not squared",
                v * (1 - rho**2) * (1 - rho**L) / (1 - rho),
                "You add up s², ρ·s², ρ²·s², … A noise that was multiplied by ρ has its *variance* multiplied by ρ²: the sum's ratio is ρ².",
            ),
            Mistake(
                "the error of one perfect dream",
                2 * v * (1 - rho ** (2 * L)),
                "Twice as much is what one *dream* is off by, the next paragraph's number: its own chance comes on top. Asked for is the world's.",
            ),
            Mistake(
                "the standard deviation",
                sp.sqrt(v * (1 - rho ** (2 * L))),
                "This is how far off x is, as a width. The step asks for the variance, its square.",
            ),
            Mistake(
                "v taken for 1", 1 - rho ** (2 * L), "A share of v: right in a world whose v is 1. Write it with `v`."
            ),
        ),
        (v - v * rho ** (2 * L), v * (1 - rho**L) * (1 + rho**L)),
        expected=FREE,
        assumptions="0 < ρ < 1, v > 0, L a whole number",
    ),
    Step(
        "own_input",
        "Fed with its own samples",
        5,
        3,
        (
            "Least squares: b = E[input · target]/E[input²]. The denominator is v in both cases. The numerator is a mixture of two.",
            "The real input: E[x_{t+1}·x_{t+2}] = ρ·v. The own sample x̃ = ρ·x_t + s·ε̃ has noise of its own, so it meets x_{t+2} in "
            "ρ²·x_t alone: E[ρ·x_t · ρ²·x_t] = ρ³·v.",
        ),
        (
            Mistake(
                "the true ρ",
                rho,
                "One would wish so. But a sample of its own does not lead to the x_{t+2} that the data holds: that one followed from another "
                "x_{t+1}.",
            ),
            Mistake(
                "own samples alone", rho**3, "This is the answer at a share of 1. The rest of the inputs are real."
            ),
            Mistake(
                "two steps for three",
                (1 - share) * rho + share * rho**2,
                "ρ² is how x_{t+2} depends on x_t. The own sample is not x_t: it holds ρ·x_t, and noise.",
            ),
            Mistake(
                "the shares swapped",
                share * rho + (1 - share) * rho**3,
                "`share` is the share of *own samples*.",
            ),
            Mistake(
                "own samples taken for pure noise",
                (1 - share) * rho,
                "The own sample still says something of x_{t+2}: both follow from x_t.",
            ),
            Mistake(
                "the noise's variance below",
                (1 - share) * rho + share * rho**3 / (1 - rho**2),
                "The own sample's variance is ρ²·v + s² = v, like that of a real input. s² is only the new noise in it.",
            ),
            Mistake(
                "half of each, whatever the share",
                (rho + rho**3) / 2,
                "This is the answer at a share of ½. Weight the two by `1 - share` and `share`.",
            ),
            Mistake(
                "ρ once too often",
                (1 - share) * rho + share * rho**4,
                "The own sample holds ρ·x_t, the target ρ²·x_t: together ρ³.",
            ),
        ),
        (rho * (1 - share * (1 - rho**2)), rho - share * (rho - rho**3)),
        expected=OWN,
        assumptions="0 < ρ < 1, the share between 0 and 1",
    ),
    Step(
        "weighted_head",
        "What a class weight teaches",
        4,
        2,
        (
            "Differentiate −w·p·log q − (1 − p)·log(1 − q) by q and set it to 0: −w·p/q + (1 − p)/(1 − q) = 0.",
            "Bring it to one odds on each side: q/(1 − q) = …, and then q = odds/(1 + odds).",
        ),
        (
            Mistake(
                "the honest probability",
                p,
                "Without the weight this is right: the likelihood is honest. With it the head is paid to overstate.",
            ),
            Mistake(
                "w times the probability",
                w * p,
                "At p = ½ and w = 3 that would be 1.5. The weight multiplies *odds*: what is bounded bends.",
            ),
            Mistake("the odds", w * p / (1 - p), "These are the odds q/(1 − q). A probability is odds/(1 + odds)."),
            Mistake(
                "the weight the other way",
                p / (p + w * (1 - p)),
                "This takes the weight *away*: it is how you read the head afterwards. Training with it gives the other one.",
            ),
            Mistake(
                "the weight below, too, but not with p",
                w * p / (w + 1 - p),
                "The denominator is w·p + (1 − p): the two outcomes' shares after weighting.",
            ),
            Mistake(
                "the log-odds",
                sp.log(w) + sp.log(p / (1 - p)),
                "This is the logit ℓ that the head puts out. Asked for is q = σ(ℓ).",
            ),
            Mistake(
                "divided by the two weights",
                w * p / (w + 1),
                "w + 1 would be the sum of the weights if both outcomes were equally frequent. Each weight comes with its outcome's "
                "probability: w·p + (1 − p).",
            ),
            Mistake(
                "a probability taken for odds",
                w * p / (1 + w * p),
                "odds/(1 + odds) is right, and the odds are w·p/(1 − p). For rare endings p and p/(1 − p) are nearly the same.",
            ),
            Mistake(
                "the probability of going on",
                (1 - p) / (w * p + 1 - p),
                "This is 1 − q. The head says how likely an *ending* is.",
            ),
        ),
        (1 / (1 + (1 - p) / (w * p)), 1 - (1 - p) / (w * p + 1 - p)),
        expected=HEAD,
        assumptions="0 < p < 1, w > 0",
    ),
    Step(
        "sample_width",
        "How wide to be about a sample",
        4,
        1,
        (
            "Lesson 04: the best variance of a Gaussian is the mean squared error of its mean. What is E[(r·ε₁ + u·ε₂)²] for two independent noises?",
            "E[ε₁²] = E[ε₂²] = 1 and E[ε₁·ε₂] = 0.",
        ),
        (
            Mistake(
                "training on μ alone",
                r**2,
                "This is the best width for the *centre* μ of the code. In the dream, samples go in and are to come out: they lie around the centre.",
            ),
            Mistake("the encoder's doubt alone", u**2, "As if μ itself were predicted without any miss."),
            Mistake(
                "the widths added",
                (r + u) ** 2,
                "Independent noises add their variances, not their widths: the mixed term is 0.",
            ),
            Mistake("the standard deviation", sp.sqrt(r**2 + u**2), "This is σ. The step asks for σ²."),
            Mistake("the difference", r**2 - u**2, "The doubt makes the target noisier, not less so."),
            Mistake(
                "half of it",
                (r**2 + u**2) / 2,
                "The ½ stands before the square in −log N, and before log σ² as well: it cancels.",
            ),
            Mistake(
                "precisions added",
                r**2 * u**2 / (r**2 + u**2),
                "So two *measurements* of one thing are put together (1/r² + 1/u²), and the result is narrower than either. Here two noises lie on "
                "top of each other: it gets wider.",
            ),
            Mistake(
                "widths for variances",
                r + u,
                "r and u are widths. Variances are their squares, and it is these that add up.",
            ),
            Mistake(
                "the miss taken off", u**2 - r**2, "The miss comes on top of the doubt. A variance of u = r would be 0."
            ),
        ),
        (u**2 + r**2, (r + u) ** 2 - 2 * r * u),
        expected=WIDTH,
        assumptions="r, u > 0",
    ),
)

ONE = sp.Symbol(r"\mathbb{E}(\tilde{x}_{t+L}-x_{t+L})^2")
FORMULAS = {
    "one sequence": sp.Eq(
        sp.Symbol(r"-\log p(z_{1:T},r_{1:T},d_{1:T}\mid z_0,a_{0:T-1})"),
        sp.Symbol(
            r"-\sum_t\big[\log p(z_{t+1}\mid h_{t+1})+\log p(r_{t+1}\mid h_{t+1})+\log p(d_{t+1}\mid h_{t+1})\big]"
        ),
        evaluate=False,
    ),
    "what a dream of L steps cannot know": sp.Eq(sp.Symbol(r"\mathrm{Var}(x_{t+L}\mid x_t)"), FREE, evaluate=False),
    "one perfect dream is off by": sp.Eq(ONE, 2 * FREE, evaluate=False),
    "scheduled sampling's slope, at a share of own samples": sp.Eq(
        sp.Symbol("b"), OWN.subs(share, sp.Symbol(r"\text{share}")), evaluate=False
    ),
    "a done head with class weight w says": sp.Eq(sp.Symbol("q"), HEAD, evaluate=False),
    "and is read honestly by": sp.Eq(p, q / (q + w * (1 - q)), evaluate=False),
    "the width for resampled latents": sp.Eq(sp.Symbol(r"\sigma^2"), WIDTH, evaluate=False),
    "the price of training on μ alone, nats": sp.Eq(sp.Symbol(r"\Delta"), PRICE, evaluate=False),
}
