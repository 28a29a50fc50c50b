"""Lesson 01's derivation: its symbols, the learner's steps, and the formulas of its card.

The model of the whole derivation: z ~ N(0, 1), x | z ~ N(w·z + b, s²). Its posterior and evidence are known.
"""

from __future__ import annotations

import sympy as sp

from wmcourse.lessons.derivation import Step, log_normal, normal
from wmcourse.lessons.derivation import expectation as under_q
from wmcourse.lessons.exercise import Mistake

z, x, w, b, mu, log_sigma, m = sp.symbols("z x w b mu log_sigma m", real=True)
s, sigma, v = sp.symbols("s sigma v", positive=True)


# The lessons' own density, its logarithm and E[f(z)] for z ~ q = N(μ, σ²), under the names that the notebook uses.
__all__ = ["log_normal", "normal", "under_q"]

MISFIT = (x - w * mu - b) ** 2 + w**2 * sigma**2
POSTERIOR_MEAN = w * (x - b) / (s**2 + w**2)
POSTERIOR_STD = s / sp.sqrt(s**2 + w**2)
LOG_EVIDENCE = -((x - b) ** 2) / (2 * (s**2 + w**2)) - sp.log(2 * sp.pi * (s**2 + w**2)) / 2
RECONSTRUCTION = -MISFIT / (2 * s**2) - sp.log(2 * sp.pi * s**2) / 2  # E_q[log p(x|z)]
PRICE = (sigma**2 + mu**2 - 1) / 2 - sp.log(sigma)  # E_q[log q(z) - log p(z)]
ELBO = RECONSTRUCTION - PRICE
BY_LOG_SIGMA = 1 - sp.exp(2 * log_sigma) * (1 + w**2 / s**2)

STEPS = (
    Step(
        "posterior_mean",
        "The exact posterior, by completing the square",
        10,
        2,
        (
            "As a function of z alone, log p(x, z) is −½·(1 + w²/s²)·z² + (w·(x − b)/s²)·z + terms without z. A Gaussian's "
            "is −½·z²/v + (m/v)·z + …, with m its mean and v its variance. Compare the two.",
            "1/v = 1 + w²/s² and m/v = w·(x − b)/s². Solve for m, and tidy the fraction: multiply above and below by s².",
        ),
        (
            Mistake(
                "the prior forgotten",
                (x - b) / w,
                "This solves x = w·z + b for z, as if the reading had no noise. The prior pulls the answer towards 0, and the "
                "more so the larger s is.",
            ),
            Mistake(
                "not divided by the precision",
                w * (x - b) / s**2,
                "This is m/v, the factor of z. The mean is v times that, with 1/v = 1 + w²/s².",
            ),
            Mistake(
                "b forgotten",
                w * x / (s**2 + w**2),
                "At x = b the reading says nothing against the prior's own mean, so the posterior's must be 0 there.",
            ),
            Mistake(
                "the factor w missing",
                (x - b) / (s**2 + w**2),
                "x is in pixels and z has no unit: a factor w, in pixels, is missing above the line.",
            ),
            Mistake(
                "the mean of x in place of the mean of z",
                w**2 * (x - b) / (s**2 + w**2),
                "This is w·m, how far from b the posterior expects the reading without its noise. z is what is asked for.",
            ),
            Mistake(
                "the sign turned",
                -POSTERIOR_MEAN,
                "A reading above b speaks for a z above 0 when w > 0. Watch the sign of z in (x − w·z − b)².",
            ),
            Mistake(
                "multiplied by the precision",
                w * (x - b) / s**2 * (1 + w**2 / s**2),
                "m/v = w·(x − b)/s², so m is v times that; you multiplied by 1/v. The surer one is, the less is left to move.",
            ),
            Mistake(
                "1/s² lost",
                w * (x - b) / (1 + w**2 / s**2),
                "The factor of z is w·(x − b)/s². You divided by the precision rightly, but the 1/s² with which the reading "
                "pulls is gone.",
            ),
            Mistake(
                "b added at the end",
                b + w * (x - b) / (s**2 + w**2),
                "b is where the *reading* is centred, in pixels. z is centred at 0: with x = b its posterior mean is 0.",
            ),
            Mistake(
                "the sign of b",
                w * (x + b) / (s**2 + w**2),
                "x − w·z − b: what the reading says about z is how far it is *above* b, so x − b.",
            ),
            Mistake(
                "s for s²",
                w * (x - b) / (s + w**2),
                "The likelihood divides the square by 2s²: it is the variance s² that stands beside w².",
            ),
        ),
        (
            w / s**2 * (x - b) / (1 + w**2 / s**2),
            (w * x - w * b) / (w**2 + s**2),
        ),
        expected=POSTERIOR_MEAN,
        assumptions="x, w, b real, s > 0",
    ),
    Step(
        "misfit",
        "How far q's guesses miss the reading",
        5,
        1,
        (
            "Write z = μ + (z − μ). Then x − w·z − b is a constant, minus w·(z − μ). Square it, and take the three expectations.",
            "E[z − μ] = 0 kills the mixed term, and E[(z − μ)²] is q's variance. What stands before it is squared, too.",
        ),
        (
            Mistake(
                "the variance forgotten",
                (x - w * mu - b) ** 2,
                "As if every z were at μ. A guess that spreads misses on average by more: E[z²] is not E[z]².",
            ),
            Mistake(
                "the variance without its w",
                (x - w * mu - b) ** 2 + sigma**2,
                "z is multiplied by w before it is compared with x, so its variance is multiplied by w².",
            ),
            Mistake(
                "w for w²",
                (x - w * mu - b) ** 2 + w * sigma**2,
                "The variance of w·z is w²·σ²: the factor is squared with the rest.",
            ),
            Mistake(
                "σ for σ²",
                (x - w * mu - b) ** 2 + w**2 * sigma,
                "E[(z − μ)²] is the variance σ², not the width σ.",
            ),
            Mistake(
                "a width in place of a variance",
                (x - w * mu - b) ** 2 + w * sigma,
                "w·σ is the *width* of w·z. In an expectation of a square stands its variance, w²·σ².",
            ),
            Mistake(
                "both noises",
                (x - w * mu - b) ** 2 + w**2 * sigma**2 + s**2,
                "z's part is right. But x is given, a constant, and has no noise left: s² is for readings to come.",
            ),
            Mistake(
                "divided by 2s² already",
                ((x - w * mu - b) ** 2 + w**2 * sigma**2) / (2 * s**2),
                "This is the misfit as it stands in the log-likelihood, with its 1/2s². Asked for is the expected square itself.",
            ),
            Mistake(
                "the noise of x added",
                (x - w * mu - b) ** 2 + s**2,
                "s is the noise of readings to come. This x is given, a constant; only z is random here.",
            ),
            Mistake(
                "the variance subtracted",
                (x - w * mu - b) ** 2 - w**2 * sigma**2,
                "E[z²] = μ² + σ²: spreading out adds to a squared distance.",
            ),
        ),
        (
            (x - b) ** 2 - 2 * (x - b) * w * mu + w**2 * (mu**2 + sigma**2),
            w**2 * (sigma**2 + (mu - (x - b) / w) ** 2),
        ),
        expected=MISFIT,
        assumptions="x, w, b, μ real, σ > 0",
    ),
    Step(
        "by_log_sigma",
        "The slope that sets q's width",
        10,
        2,
        (
            "Which terms of the ELBO have σ? −w²σ²/2s² from the misfit, and −σ²/2 + log σ. Put σ = exp(log_sigma), then "
            "differentiate by log_sigma.",
            "d(σ²)/d log σ = 2σ², and d(log σ)/d log σ = 1.",
        ),
        (
            Mistake(
                "the slope by σ",
                sp.exp(-log_sigma) - sp.exp(log_sigma) * (1 + w**2 / s**2),
                "This is dELBO/dσ. By the chain rule dσ/d log σ = σ comes to it.",
            ),
            Mistake(
                "the slope of the entropy forgotten",
                -sp.exp(2 * log_sigma) * (1 + w**2 / s**2),
                "log σ has the slope 1. It is the entropy of q, and the only thing that keeps q from shrinking to a spike.",
            ),
            Mistake(
                "log σ taken for log σ²",
                1 - sp.exp(log_sigma) * (1 + w**2 / s**2),
                "σ² = exp(2·log_sigma). exp(log_sigma) would be right if the name were logvar.",
            ),
            Mistake(
                "the prior forgotten",
                1 - sp.exp(2 * log_sigma) * w**2 / s**2,
                "The prior has its −σ²/2, too: without it q would have the width of the likelihood alone.",
            ),
            Mistake(
                "the slope by log σ²",
                BY_LOG_SIGMA / 2,
                "This is the derivative by logvar = 2·log_sigma, half of what is asked for.",
            ),
            Mistake(
                "σ written for exp(log_sigma)",
                1 - sigma**2 * (1 + w**2 / s**2),
                "Right, if σ stands for exp(log_sigma). But to the machine σ and log_sigma are two symbols that know nothing of one "
                "another: write sp.exp(2*log_sigma) for σ².",
                "σ written",
            ),
            Mistake(
                "the ½ lost",
                1 - 2 * sp.exp(2 * log_sigma) * (1 + w**2 / s**2),
                "σ² does have the slope 2σ², but it stands in the ELBO with a ½ before it, and the two cancel.",
            ),
            Mistake(
                "the chain rule's 2 lost",
                1 - sp.exp(2 * log_sigma) * (1 + w**2 / s**2) / 2,
                "exp(2·log_sigma) has the inner derivative 2. It cancels the ½ before σ².",
            ),
            Mistake(
                "log_sigma squared",
                1 - log_sigma**2 * (1 + w**2 / s**2),
                "σ² is not log_sigma²: undo the logarithm first, σ = exp(log_sigma), then square.",
            ),
            Mistake(
                "the square inside of the exponent",
                1 - sp.exp(log_sigma**2) * (1 + w**2 / s**2),
                "(exp l)² is exp(2·l), not exp(l²).",
            ),
            Mistake(
                "the reading forgotten",
                1 - sp.exp(2 * log_sigma),
                "This is the slope of minus the price alone, and leads to σ = 1, the prior. The misfit has σ² in it, too: −w²σ²/2s².",
            ),
            Mistake(
                "the sign turned",
                -BY_LOG_SIGMA,
                "This is the slope of the *loss*, −ELBO. The ELBO is climbed, not descended.",
            ),
        ),
        (
            (s**2 - (s**2 + w**2) * sp.exp(2 * log_sigma)) / s**2,
            1 - sp.exp(log_sigma) ** 2 - (w * sp.exp(log_sigma) / s) ** 2,
        ),
        expected=BY_LOG_SIGMA,
        assumptions="w, log_sigma real, s > 0",
    ),
)

LOG_PX, BOUND = sp.Symbol(r"\log p(x)"), sp.Symbol(r"\mathrm{ELBO}")
GAP = sp.Symbol(r"\mathrm{KL}(q(z)\,\Vert\,p(z\mid x))")
FORMULAS = {
    "for any q": sp.Eq(LOG_PX, sp.Add(BOUND, GAP, evaluate=False), evaluate=False),
    "ELBO, z ~ N(0, 1), x given z ~ N(w z + b, s²), q = N(μ, σ²)": sp.Eq(BOUND, ELBO, evaluate=False),
    "log-evidence": sp.Eq(LOG_PX, LOG_EVIDENCE, evaluate=False),
    "posterior's mean": sp.Eq(sp.Symbol(r"\mathbb{E}[z\mid x]"), POSTERIOR_MEAN, evaluate=False),
    "posterior's variance": sp.Eq(sp.Symbol(r"\mathrm{Var}[z\mid x]"), POSTERIOR_STD**2, evaluate=False),
    "slope by μ": sp.Eq(sp.Symbol(r"\partial\mathrm{ELBO}/\partial\mu"), sp.diff(ELBO, mu), evaluate=False),
    "slope by log σ": sp.Eq(
        sp.Symbol(r"\partial\mathrm{ELBO}/\partial\log\sigma"),
        BY_LOG_SIGMA.subs(sp.exp(2 * log_sigma), sigma**2),
        evaluate=False,
    ),
    "best factorised q, Λ the posterior's precision": sp.Eq(
        sp.Symbol(r"\sigma_i^2"), 1 / sp.Symbol(r"\Lambda_{ii}", positive=True), evaluate=False
    ),
}
