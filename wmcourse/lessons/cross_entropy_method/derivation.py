"""Lesson 10's derivation: its symbols, the learner's steps, and the formulas of its card."""

from __future__ import annotations

import sympy as sp

from wmcourse.lessons.derivation import Step
from wmcourse.lessons.exercise import Mistake

x, mu, m, gamma = sp.symbols("x mu m gamma", real=True)  # m: the elites' mean
sigma, s, d, c, alpha, rho = sp.symbols("sigma s d c alpha rho", positive=True)  # s: the elites' std
i = sp.Symbol("i", integer=True, positive=True)


def beyond(f: sp.Expr) -> sp.Integral:
    """∫ f(x)·N(x; 0, 1) dx over x ≥ γ, not done yet."""
    return sp.Integral(f * sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi), (x, gamma, sp.oo))


CROSS_ENTROPY = (s**2 + (m - mu) ** 2) / (2 * sigma**2) + sp.log(sigma) + sp.log(2 * sp.pi) / 2
BEST_VARIANCE = s**2 + (m - mu) ** 2
SURVIVES = (1 - alpha) ** i
REACH = d * sigma / (1 - c)

STEPS = (
    Step(
        "best_variance",
        "The width that fits best",
        5,
        1,
        (
            "Differentiate the cross-entropy by σ: the square's term gives −(…)/σ³, the logarithm 1/σ.",
            "Set −(s² + (m − μ)²)/σ³ + 1/σ to 0 and multiply by σ³. It is σ² that is asked for.",
        ),
        (
            Mistake(
                "as if μ were the elites' mean",
                s**2,
                "That is the best σ² when μ = m. Here μ is held somewhere else, and the Gaussian must be wide enough to "
                "reach the elites from there.",
            ),
            Mistake(
                "the elites' spread forgotten",
                (m - mu) ** 2,
                "As if all elites were at m. They spread around it, by s² on average.",
            ),
            Mistake(
                "the distance subtracted",
                s**2 - (m - mu) ** 2,
                "Being off-centre makes the best width larger, not smaller: both terms stand with a plus in the cross-entropy.",
            ),
            Mistake(
                "the difference of the squares",
                s**2 + m**2 - mu**2,
                "(m − μ)² is m² − 2mμ + μ², not m² − μ²: it is a distance, squared, and never below 0.",
            ),
            Mistake("σ in place of σ²", sp.sqrt(BEST_VARIANCE), "Right for σ; the step asks for σ²."),
            Mistake(
                "a factor of 2 lost",
                2 * BEST_VARIANCE,
                "The derivative of 1/(2σ²) is −1/σ³: the 2 cancels.",
            ),
            Mistake(
                "half of it",
                BEST_VARIANCE / 2,
                "The derivative of 1/(2σ²) is −1/σ³: the 2 of the exponent cancels the ½.",
            ),
            Mistake(
                "the distance not squared",
                s**2 + (m - mu),
                "Squares of distances average to variance plus squared offset.",
            ),
        ),
        ((mu - m) ** 2 + s**2, s**2 + m**2 - 2 * m * mu + mu**2),
        expected=BEST_VARIANCE,
        assumptions="μ, m real, s > 0, σ > 0",
    ),
    Step(
        "surviving",
        "What is left of the start",
        3,
        1,
        (
            "Write the mean after one update and after two. What stands in front of μ₀?",
            "Each update multiplies what was there by 1 − α, whatever the elites say.",
        ),
        (
            Mistake(
                "α the wrong way round",
                alpha**i,
                "α weighs the new. Of the old, 1 − α is kept: with α = 1 nothing of the start is left after one update.",
            ),
            Mistake(
                "what has come, not what is left",
                1 - SURVIVES,
                "That is the share of all the elites together. The start has the rest.",
            ),
            Mistake(
                "a share of the start goes each time",
                1 - i * alpha,
                "Each update takes a share α of what is *still there*, not of the start: the shares multiply.",
            ),
            Mistake(
                "multiplied by i",
                i * (1 - alpha),
                "Each update multiplies by 1 − α once more: a power, not a multiple.",
            ),
            Mistake(
                "α the wrong way round, and what has come",
                1 - alpha**i,
                "α weighs the new, so 1 − α is what each update keeps of the old; and it is what is *left* that is asked for.",
            ),
            Mistake("one update too few", (1 - alpha) ** (i - 1), "After the first update, i = 1, 1 − α is left."),
            Mistake("one update too many", (1 - alpha) ** (i + 1), "After the first update, i = 1, 1 − α is left."),
        ),
        ((1 - alpha) * (1 - alpha) ** (i - 1), (-1) ** i * (alpha - 1) ** i),
        expected=SURVIVES,
        assumptions="0 < α < 1, i = 1, 2, 3, …",
    ),
    Step(
        "reach",
        "How far it can walk",
        6,
        3,
        (
            "In each round the mean moves by α·d times the σ of that round, and σ is multiplied by 1 − α + α·c. "
            "That is a geometric series.",
            "Σ α·d·σ·rⁱ over i = 0, 1, 2, … with r = 1 − α + α·c is α·d·σ/(1 − r). What is 1 − r?",
        ),
        (
            Mistake(
                "σ shrinks as if α were 1",
                alpha * d * sigma / (1 - c),
                "The mean's steps are smoothed, σ's are not in yours: with smoothing σ is multiplied by 1 − α + α·c, not by c.",
            ),
            Mistake(
                "the mean moves as if α were 1",
                d * sigma / (alpha * (1 - c)),
                "σ is smoothed, the mean's step is not in yours: it moves by α·d·σ, not by d·σ.",
            ),
            Mistake(
                "the first round alone", d * sigma, "That is where the first round goes, at α = 1. Add up all of them."
            ),
            Mistake(
                "the first round alone, smoothed", alpha * d * sigma, "That is where the first round goes. Add up all."
            ),
            Mistake(
                "the first round left out",
                d * sigma * c / (1 - c),
                "The series begins with the first round, which is drawn with the whole σ.",
            ),
            Mistake(
                "α only as a factor of c",
                alpha * d * sigma / (1 - alpha * c),
                "σ keeps 1 − α of what it was and gets α·c: the factor is 1 − α + α·c.",
            ),
            Mistake(
                "σ never smoothed with what it was",
                d * sigma / (1 - alpha * c),
                "Two things: the mean's step is α·d·σ, and σ keeps 1 − α of what it was: its factor is 1 − α + α·c.",
            ),
            Mistake(
                "the first σ forgotten",
                d / (1 - c),
                "That is how many σ it walks. The step asks how far: times the first σ.",
            ),
            Mistake(
                "divided by the smoothed factor",
                alpha * d * sigma / (1 - alpha + alpha * c),
                "The factor is right, 1 − α + α·c. But a geometric series is its first term divided by *1 minus* the factor.",
            ),
            Mistake(
                "the first round left out, smoothed",
                alpha * d * sigma * (1 - alpha + alpha * c) / (1 - (1 - alpha + alpha * c)),
                "The series begins with the first round, which is drawn with the whole σ: its first term is α·d·σ.",
            ),
            Mistake(
                "divided by the factor",
                d * sigma / c,
                "A geometric series is its first term divided by *1 minus* the factor, and with smoothing the factor is not c.",
            ),
            Mistake("the sign in the series", d * sigma / (1 + c), "1 + r + r² + … is 1/(1 − r)."),
        ),
        (alpha * d * sigma / (1 - (1 - alpha + alpha * c)), -d * sigma / (c - 1)),
        expected=REACH,
        assumptions="0 < α ≤ 1, 0 < c < 1, d > 0, σ > 0",
    ),
)


def symbol(name: str) -> sp.Symbol:
    return sp.Symbol(name)


Z_SUM = sp.Sum(sp.exp(sp.Indexed("S", symbol("j")) / symbol("lambda")), (symbol("j"), 1, symbol("N")))
FORMULAS = {
    "cross-entropy of the elites and N(μ, σ²)": sp.Eq(
        symbol(r"H(\mathrm{elites},\mathcal N)"), CROSS_ENTROPY, evaluate=False
    ),
    "mean": sp.Eq(symbol(r"\mu_{i+1}"), (1 - alpha) * symbol(r"\mu_i") + alpha * m, evaluate=False),
    "std": sp.Eq(
        symbol(r"\sigma_{i+1}"),
        sp.Max(symbol(r"\sigma_{\min}"), (1 - alpha) * symbol(r"\sigma_i") + alpha * s),
        evaluate=False,
    ),
    "what is left of the start": sp.Eq(symbol(r"\partial\mu_{i}/\partial\mu_{0}"), SURVIVES, evaluate=False),
    "reach on a slope": sp.Eq(symbol(r"\mu_{\infty}-\mu_{0}"), REACH, evaluate=False),
    "MPPI's weights": sp.Eq(symbol("w_k"), sp.exp(symbol("S_k") / symbol("lambda")) / Z_SUM, evaluate=False),
    "correlated noise": sp.Eq(
        symbol(r"\varepsilon_t"),
        rho * symbol(r"\varepsilon_{t-1}") + sp.sqrt(1 - rho**2) * symbol("w_t"),
        evaluate=False,
    ),
}
