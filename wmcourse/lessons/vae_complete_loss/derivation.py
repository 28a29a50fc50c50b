"""Lesson 05's derivation: its symbols, the learner's steps, and the formulas of its card.

The model that can be solved: x ~ N(0, v); the code is z = a·x + τ·ε with the prior N(0, 1); the decoder's mean is w·z,
and its noise has variance 1.
"""

from __future__ import annotations

import sympy as sp

from wmcourse.lessons.derivation import Step
from wmcourse.lessons.exercise import Mistake

x, epsilon, w, a = sp.symbols("x epsilon w a", real=True)
v, tau, beta, R = sp.symbols("v tau beta R", positive=True)
q1, q2, r, share = sp.symbols("q_1 q_2 r s", positive=True)  # the two-valued code: q(z=1|x) twice, p(z=1), p(x=1)


def expectation(f: sp.Expr) -> sp.Integral:
    """E[f] for x ~ N(0, v) and ε ~ N(0, 1), not done yet."""
    bells = sp.exp(-(x**2) / (2 * v)) / sp.sqrt(2 * sp.pi * v) * sp.exp(-(epsilon**2) / 2) / sp.sqrt(2 * sp.pi)
    return sp.Integral(bells * f, (x, -sp.oo, sp.oo), (epsilon, -sp.oo, sp.oo))


def binary_kl(q: sp.Expr, p: sp.Expr) -> sp.Expr:
    """KL between two coins."""
    return q * (sp.log(q) - sp.log(p)) + (1 - q) * (sp.log(1 - q) - sp.log(1 - p))


HALF = sp.Rational(1, 2)
CODE_VARIANCE = beta / (w**2 + beta)
RATE = sp.log(v / beta) / 2
SLOPE = -v * sp.exp(-2 * R)

STEPS = (
    Step(
        "code_variance",
        "How exact the code should be",
        4,
        2,
        (
            "Collect what has τ in D + β·R: ½·w²τ² and β·½·(τ² − log τ²). Call τ² = t and differentiate by t.",
            "½·w² + ½·β − ½·β/t = 0. Solve for t.",
        ),
        (
            Mistake(
                "β left out",
                1 / (w**2 + 1),
                "This is the answer at β = 1, lesson 01's exact posterior. β stands before *both* pieces of the rate, τ² and −log τ².",
            ),
            Mistake(
                "the precision for the variance",
                (w**2 + beta) / beta,
                "You have 1/τ². From ½·(w² + β) = ½·β/τ² the variance comes out upside down if one forgets to invert.",
            ),
            Mistake(
                "the prior's pull forgotten",
                beta / w**2,
                "The rate has +τ², too, not only −log τ²: it is what keeps a useless code (w = 0) at width 1.",
            ),
            Mistake(
                "w in place of w²",
                beta / (w + beta),
                "The decoder multiplies z by w, so the variance that it passes on to the picture is w²τ².",
            ),
            Mistake(
                "the standard deviation for the variance",
                sp.sqrt(CODE_VARIANCE),
                "This is τ. The step asks for τ².",
            ),
            Mistake(
                "β on the distortion",
                1 / (beta * w**2 + 1),
                "This minimises β·D + R. The price stands before the rate: L = D + β·R.",
            ),
        ),
        (1 / (1 + w**2 / beta), 1 - w**2 / (w**2 + beta)),
        expected=CODE_VARIANCE,
        assumptions="β > 0, w real",
    ),
    Step(
        "rate",
        "What the best code costs",
        4,
        2,
        (
            "Put τ² = β/v and a² = (v − β)/v² into R = ½·(τ² + a²v − 1 − log τ²). The first three terms: do they cancel?",
            "β/v + (v − β)/v − 1 = 0, so R = −½·log(β/v). Turn the fraction round.",
        ),
        (
            Mistake(
                "the ½ is missing", sp.log(v / beta), "The ½ stands before the whole bracket, the logarithm included."
            ),
            Mistake(
                "the sign of the logarithm",
                sp.log(beta / v) / 2,
                "Below v this is negative, and no rate is. −log(β/v) is +log(v/β).",
            ),
            Mistake(
                "the capacity of a noisy channel",
                sp.log(1 + v / beta) / 2,
                "½·log(1 + signal/noise) is Shannon's *capacity*: what fits through a channel of given noise. Here the code's noise is "
                "chosen, too. Your formula never reaches 0, and this code collapses at β = v.",
            ),
            Mistake("β left out", sp.log(v) / 2, "This is the rate at β = 1. With a higher price less is bought."),
            Mistake(
                "the three other terms kept",
                sp.log(v / beta) / 2 + (beta / v + 1 - beta / v) / 2,
                "τ² + a²v − 1 is 0: the code of all x together has the prior's variance. You may have lost the −1.",
            ),
            Mistake(
                "the variance that is left",
                sp.log((v - beta) / beta) / 2,
                "v − β is w². In R stands only τ² = β/v under the logarithm.",
            ),
        ),
        ((sp.log(v) - sp.log(beta)) / 2, -sp.log(sp.sqrt(beta / v)), sp.log(sp.sqrt(v)) - sp.log(beta) / 2),
        expected=RATE,
        assumptions="0 < β < v",
    ),
    Step(
        "exchange_rate",
        "The price of one more nat",
        3,
        2,
        (
            "From R = ½·log(v/β) follows β = v·exp(−2R). Put it into D = ½·log 2π + ½·β, then differentiate by R.",
            "D = ½·log 2π + ½·v·exp(−2R). The inner derivative is −2.",
        ),
        (
            Mistake(
                "the sign",
                v * sp.exp(-2 * R),
                "A rate buys a better picture: D falls as R grows, so its slope is negative.",
            ),
            Mistake(
                "the inner derivative forgotten",
                v * sp.exp(-2 * R) / 2,
                "You did not differentiate: this is the part of D that depends on R. The derivative of exp(−2R) brings down a −2.",
            ),
            Mistake(
                "the ½ is missing",
                -2 * v * sp.exp(-2 * R),
                "D has half of the squared error, as in −log of a Gaussian; the ½ and the 2 of exp(−2R) cancel.",
            ),
            Mistake(
                "exp(−R)",
                -v * sp.exp(-R) / 2,
                "R = ½·log(v/β) is *half* a logarithm, so v/β = exp(2R).",
            ),
            Mistake(
                "the ½ kept",
                -v * sp.exp(-2 * R) / 2,
                "½ times the inner derivative −2 is −1.",
            ),
            Mistake(
                "the exponent's sign",
                -v * sp.exp(2 * R),
                "β = v·exp(−2R): a larger rate belongs to a smaller price.",
            ),
        ),
        (-v / sp.exp(2 * R), v * (1 - sp.exp(-2 * R)) - v),
        expected=SLOPE,
        assumptions="v > 0, R > 0",
    ),
)

L, D = sp.symbols(r"\mathcal{L} D", real=True)
KL_EACH, KL_ALL, INFORMATION = (
    sp.Symbol(name)
    for name in (r"\mathbb{E}_x\mathrm{KL}(q(z\mid x)\,\Vert\,p)", r"\mathrm{KL}(q(z)\,\Vert\,p)", "I(x;z)")
)
ELBO, RECONSTRUCTION = sp.symbols(r"\mathrm{ELBO} L_{\mathrm{recon}}", real=True)
FORMULAS = {
    "the loss, with rate R = L_KL and distortion D = L_recon": sp.Eq(L, D + beta * R, evaluate=False),
    "the ELBO, per frame": sp.Eq(ELBO, -D - R, evaluate=False),
    "β is a price": sp.Eq(sp.Symbol(r"\mathrm{d}D/\mathrm{d}R"), -beta, evaluate=False),
    "a Gaussian of variance v: rate": sp.Eq(R, RATE, evaluate=False),
    "a Gaussian of variance v: slope": sp.Eq(sp.Symbol(r"\mathrm{d}D/\mathrm{d}R"), SLOPE, evaluate=False),
    "what the rate pays for": sp.Eq(KL_EACH, INFORMATION + KL_ALL, evaluate=False),
}
