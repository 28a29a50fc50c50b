"""Lesson 02's derivation: its symbols, the learner's steps, and the formulas of its card."""

from __future__ import annotations

from typing import Any

import sympy as sp

from wmcourse.lessons.derivation import Step, log_normal
from wmcourse.lessons.exercise import Mistake

z, mu, epsilon = sp.symbols("z mu epsilon", real=True)
sigma = sp.Symbol("sigma", positive=True)
D = sp.Symbol("D", integer=True, positive=True)


class Mean(sp.Function):
    """E[…] over ε ~ N(0, 1) of a polynomial in ε, not done yet: E[εⁿ] is 0 for odd n, and (n − 1)·(n − 3)⋯1 for even."""

    nargs = 1

    def doit(self, **hints: Any) -> sp.Expr:
        terms = sp.Poly(sp.expand(self.args[0]), epsilon).terms()
        return sp.Add(*(c * sp.factorial2(n - 1) for (n,), c in terms if n % 2 == 0))

    def _latex(self, printer: Any, exp: str = "") -> str:
        return rf"\mathbb E\left[{printer.doprint(self.args[0])}\right]" + (f"^{{{exp}}}" if exp else "")


class Variance(sp.Function):
    """Var[…] over ε ~ N(0, 1) of a polynomial in ε, not done yet."""

    nargs = 1

    def doit(self, **hints: Any) -> sp.Expr:
        (g,) = self.args
        return Mean(g**2).doit() - Mean(g).doit() ** 2

    def _latex(self, printer: Any, exp: str = "") -> str:
        return rf"\mathrm{{Var}}\left[{printer.doprint(self.args[0])}\right]"


SCORE = {mu: (z - mu) / sigma**2, sigma: sp.diff(log_normal(z, mu, sigma), sigma)}
SCORE_BY_SIGMA = ((z - mu) ** 2 - sigma**2) / sigma**3
PATH_VARIANCE = 4 * mu**2 + 8 * sigma**2  # of 2zε
SCORE_VARIANCE = mu**4 / sigma**2 + 14 * mu**2 + 15 * sigma**2  # of z²·ε/σ
BASELINE = mu**2 + 3 * sigma**2
RATIO = (mu**4 / sigma**4 + 14 * mu**2 / sigma**2 + 15) / 4
# By one mean of D, of z₁² + … + z_D²: the other D − 1 squares have the mean μ² + σ² and the variance 4μ²σ² + 2σ⁴.
OTHERS = (D - 1) * (mu**2 + sigma**2)
NOISE = (D - 1) * (4 * mu**2 + 2 * sigma**2)
SCORE_IN_D = SCORE_VARIANCE + NOISE + (2 * OTHERS * (mu**2 + 3 * sigma**2) + OTHERS**2) / sigma**2
CENTRED_IN_D = 8 * mu**2 + 10 * sigma**2 + NOISE  # with the mean of f as a baseline

STEPS = (
    Step(
        "score_by_sigma",
        "The score by σ",
        5,
        1,
        (
            "log q(z) = −(z − μ)²/(2σ²) − log σ − ½·log 2π. σ stands in two of the three terms. Differentiate each.",
            "(z − μ)² is a constant here. σ⁻² has the slope −2·σ⁻³, and log σ the slope 1/σ: mind the two minus signs.",
        ),
        (
            Mistake(
                "the normaliser forgotten",
                (z - mu) ** 2 / sigma**3,
                "You differentiated the exponent alone. The −log σ comes from the factor 1/σ before the exponential, and "
                "gives −1/σ: without it the score does not average to 0, and every estimate is biased.",
            ),
            Mistake(
                "the sign of the exponent's slope",
                -((z - mu) ** 2) / sigma**3 - 1 / sigma,
                "The exponent has a minus, and the slope of σ⁻² is −2σ⁻³: two minus signs make a plus. A wider bell makes "
                "far samples *more* likely.",
            ),
            Mistake(
                "the sign turned",
                (sigma**2 - (z - mu) ** 2) / sigma**3,
                "This is −∂log q/∂σ. A sample far from μ asks for a larger σ, so there the score must be positive.",
            ),
            Mistake(
                "the score by μ",
                (z - mu) / sigma**2,
                "This is the other one, ∂log q/∂μ. By σ the square stays a square.",
            ),
            Mistake(
                "divided by σ² only",
                (z - mu) ** 2 / sigma**2 - 1,
                "This is the derivative by log σ, which is σ times the one by σ. (It is the one that a network needs; "
                "here it is by σ itself.)",
            ),
            Mistake(
                "the slope by σ²",
                (z - mu) ** 2 / (2 * sigma**4) - 1 / (2 * sigma**2),
                "This is the derivative by the variance σ². By σ it is 2σ times as large.",
            ),
            Mistake(
                "the sign of the normaliser",
                (z - mu) ** 2 / sigma**3 + 1 / sigma,
                "−log σ has the slope −1/σ: a wider bell is lower. With a plus the score would not average to 0.",
            ),
            Mistake(
                "σ² below, not σ³",
                (z - mu) ** 2 / sigma**2 - 1 / sigma,
                "Differentiating σ⁻² lowers the power by one: −2σ⁻³.",
            ),
            Mistake(
                "the square lost",
                (z - mu) / sigma**3 - 1 / sigma,
                "(z − μ)² has no σ in it and stays as it is.",
            ),
            Mistake(
                "the 2 of the exponent left over",
                (z - mu) ** 2 / (2 * sigma**3) - 1 / sigma,
                "The slope of σ⁻² is −2σ⁻³, and this 2 cancels the ½ of the exponent.",
            ),
        ),
        (((z - mu) / sigma) ** 2 / sigma - 1 / sigma, sp.diff(log_normal(z, mu, sigma), sigma)),
        expected=SCORE_BY_SIGMA,
        assumptions="z, μ real, σ > 0",
    ),
    Step(
        "path_variance",
        "How noisy the path is, by σ",
        5,
        2,
        (
            "2zε with z = μ + σε is 2με + 2σε². You know its mean already. The variance is E[square] − (mean)².",
            "E[(2με + 2σε²)²] = 4μ²E[ε²] + 8μσE[ε³] + 4σ²E[ε⁴], with E[ε²] = 1, E[ε³] = 0 and E[ε⁴] = 3.",
        ),
        (
            Mistake(
                "the mean not subtracted",
                4 * mu**2 + 12 * sigma**2,
                "This is E[square]. The variance is what is left after subtracting the squared mean, (2σ)².",
            ),
            Mistake(
                "E[ε⁴] = 1",
                4 * mu**2,
                "You took E[ε⁴] for E[ε²]² = 1. A Gaussian has heavier shoulders than that: its fourth moment is 3.",
            ),
            Mistake(
                "the 2 not squared",
                2 * mu**2 + 4 * sigma**2,
                "A factor c comes out of a variance as c². Here c = 2, so 4.",
            ),
            Mistake(
                "the variance of the slope by μ",
                4 * sigma**2,
                "This is the variance of 2z, the estimate by μ. By σ there is another factor ε.",
            ),
            Mistake(
                "the 4 forgotten",
                mu**2 + 2 * sigma**2,
                "This is the variance of zε. The terms are 2zε: a factor 2 comes out of a variance as 4.",
            ),
            Mistake(
                "the mean subtracted, and not its square",
                4 * mu**2 + 12 * sigma**2 - 2 * sigma,
                "The variance is E[square] − (mean)²: the mean is 2σ, and 4σ² is subtracted.",
            ),
            Mistake(
                "the deviation",
                sp.sqrt(4 * mu**2 + 8 * sigma**2),
                "You took the root: this is the standard deviation.",
            ),
            Mistake(
                "the mean added",
                4 * mu**2 + 16 * sigma**2,
                "The variance is E[square] *minus* the squared mean.",
            ),
            Mistake(
                "z and ε taken as independent",
                4 * (mu**2 + sigma**2),
                "E[4z²ε²] is not E[4z²]·E[ε²]: z is made from ε, so the two are large together. (With this the squared mean "
                "would also be 0, and it is (2σ)².)",
            ),
        ),
        (4 * (mu**2 + 2 * sigma**2), (2 * mu) ** 2 + 12 * sigma**2 - (2 * sigma) ** 2),
        expected=PATH_VARIANCE,
        assumptions="μ real, σ > 0",
    ),
    Step(
        "best_baseline",
        "The constant that is worth subtracting",
        5,
        3,
        (
            "E[(z² − b)²·ε²] is a parabola in b: differentiate by b, and set to 0.",
            "−2·E[z²ε²] + 2b·E[ε²] = 0. Solve for b; E[ε²] = 1.",
            "z²ε² = μ²ε² + 2μσε³ + σ²ε⁴. Take the expectation of each of the three.",
        ),
        (
            Mistake(
                "the mean of f",
                mu**2 + sigma**2,
                "This is E[z²], the obvious choice and a good one, but not the best: the terms are weighted with ε², so the "
                "baseline should be the mean of f *weighted with ε²*. Far samples count more, and there z² is larger. (The same comes out "
                "when E[ε⁴] is taken for 1: it is 3.)",
            ),
            Mistake(
                "f at the mean",
                mu**2,
                "This is f(E[z]), not even the mean of f. It is cheap and unbiased, and leaves more noise.",
            ),
            Mistake(
                "the best one for σ",
                mu**2 + 5 * sigma**2,
                "For the slope by σ the weight is (ε² − 1)², and this would be its optimum. By μ the weight is ε².",
            ),
            Mistake(
                "one σ² too few",
                mu**2 + sigma**2 * 2,
                "Count σ² once more: the third term of z²ε² is σ²ε⁴, and E[ε⁴] is 3, so it gives 3σ².",
            ),
            Mistake(
                "twice the optimum",
                2 * (mu**2 + 3 * sigma**2),
                "There the parabola is as high again as with no baseline at all; it is lowest half-way. The 2 of the derivative cancels.",
            ),
            Mistake(
                "no baseline",
                sp.Integer(0),
                "b = 0 is where one starts, the plain score. The parabola is lowest elsewhere: at E[z²ε²].",
            ),
            Mistake(
                "the sign turned",
                -(mu**2) - 3 * sigma**2,
                "b is *subtracted* from f, so it is positive where f is. Yours would add to it.",
            ),
            Mistake(
                "half of it",
                (mu**2 + 3 * sigma**2) / 2,
                "Both terms of the derivative have a 2: −2·E[z²ε²] + 2b. It cancels.",
            ),
            Mistake(
                "divided by σ²",
                (mu**2 + 3 * sigma**2) / sigma**2,
                "The 1/σ² of the squared score stands before the whole parabola, and does not move its lowest point. b has the unit of f.",
            ),
            Mistake(
                "divided by E[f]",
                (mu**4 + 6 * mu**2 * sigma**2 + 3 * sigma**4) / (mu**2 + sigma**2),
                "This is E[f²]/E[f]. The weight of the squares is ε², and no f.",
            ),
        ),
        ((mu**2 + sigma**2) + 2 * sigma**2, sigma**2 * ((mu / sigma) ** 2 + 3)),
        expected=BASELINE,
        assumptions="μ real, σ > 0",
    ),
)


def named(latex: str, right: sp.Expr) -> sp.Eq:
    return sp.Eq(sp.Symbol(latex), right, evaluate=False)


FORMULAS = {
    "score by μ": named(r"{\partial_\mu \log q(z)}", SCORE[mu]),
    "score by σ": named(r"{\partial_\sigma \log q(z)}", SCORE_BY_SIGMA),
    "score by log σ²": named(r"{\partial_{\log\sigma^2} \log q(z)}", ((z - mu) ** 2 / sigma**2 - 1) / 2),
    "path by μ": named(r"{\partial_\mu z}", sp.Integer(1)),
    "path by σ": named(r"{\partial_\sigma z}", epsilon),
    "path by log σ²": named(r"{\partial_{\log\sigma^2} z}", sigma * epsilon / 2),
    "f = z², by μ: noise of the path": named(r"{\mathrm{Var}[2z]}", 4 * sigma**2),
    "f = z², by μ: noise of the score": named(r"{\mathrm{Var}[z^2\,\partial_\mu \log q]}", SCORE_VARIANCE),
    "f = z², by μ: score over path": named(r"{\mathrm{ratio}}", RATIO),
    "f = z², by σ: noise of the path": named(r"{\mathrm{Var}[2z\varepsilon]}", PATH_VARIANCE),
    "f = z², by μ: best baseline": named("{b^*}", BASELINE),
}
