"""Lesson 11's derivation: its symbols, the learner's steps, and the formulas of its card."""

from __future__ import annotations

import sympy as sp

from wmcourse.lessons.derivation import Step
from wmcourse.lessons.exercise import Mistake

z, mu, m, d, m_1, m_2 = sp.symbols("z mu m d m_1 m_2", real=True)
sigma, w, s, tau, theta, rho = sp.symbols("sigma w s tau theta rho", positive=True)
half = sp.Rational(1, 2)

COUNTED_TWICE = (mu**2 + sigma**2) / 2 + sp.log(2 * sp.pi) / 2
CODE_VARIANCE = 1 / (w**2 + 1 / s**2)
CURSE_TWO = m + s / sp.sqrt(sp.pi)
CURSE_THREE = m + 3 * s / (2 * sp.sqrt(sp.pi))


def bell(u: sp.Expr) -> sp.Expr:
    """The standard normal density φ."""
    return sp.exp(-(u**2) / 2) / sp.sqrt(2 * sp.pi)


def below(u: sp.Expr) -> sp.Expr:
    """The standard normal distribution function Φ."""
    return (1 + sp.erf(u / sp.sqrt(2))) / 2


APART = (rho - 1 - sp.log(rho)) / 2  # nats, ρ = (w² + 1/s²)/(w² + 1)
BEST_OF_TWO = m_1 * below((m_1 - m_2) / theta) + m_2 * below((m_2 - m_1) / theta) + theta * bell((m_1 - m_2) / theta)

STEPS = (
    Step(
        "counted_twice",
        "What is paid twice",
        4,
        1,
        (
            "−log N(z; 0, 1) is ½z² + ½ log 2π. Only the square is random.",
            "E[z²] under N(μ, σ²) is the variance plus the squared mean.",
        ),
        (
            Mistake(
                "the constant left out",
                (mu**2 + sigma**2) / 2,
                "½ log 2π is missing. The memory's mixture has the same constant in its density, so nats are only "
                "comparable with it.",
            ),
            Mistake(
                "the variance forgotten",
                mu**2 / 2 + sp.log(2 * sp.pi) / 2,
                "As if every sample were at μ: E[z²] is not E[z]². The variance adds to it.",
            ),
            Mistake(
                "the KL in its place",
                (mu**2 + sigma**2 - 1 - sp.log(sigma**2)) / 2,
                "This is KL(q ‖ N(0, 1)): it has q's own entropy subtracted already. Here the code's cross-entropy is asked for, "
                "and the entropy is paid once, as it should be.",
            ),
            Mistake(
                "q's entropy in its place",
                sp.log(sigma) + sp.log(2 * sp.pi) / 2 + half,
                "This is E[−log q], the entropy of the code. Asked for is the price under the *prior*, E[−log N(z; 0, 1)].",
            ),
            Mistake(
                "the sign turned",
                -(mu**2 + sigma**2) / 2 - sp.log(2 * sp.pi) / 2,
                "This is the expected log-density. A price is its negative.",
            ),
            Mistake(
                "log 2π without its ½",
                (mu**2 + sigma**2) / 2 + sp.log(2 * sp.pi),
                "The normalising constant of N(0, 1) is √(2π), and the logarithm of a root is half of a logarithm: ½ log 2π.",
            ),
            Mistake(
                "the two densities changed places",
                (mu**2 + 1) / (2 * sigma**2) + sp.log(sigma) + sp.log(2 * sp.pi) / 2,
                "This draws z from N(0, 1) and prices it by q. The frame's code is drawn from q, and the price is the prior's.",
            ),
            Mistake(
                "the standard deviation for the variance",
                mu**2 / 2 + sigma / 2 + sp.log(2 * sp.pi) / 2,
                "E[z²] = μ² + Var z, and the variance is σ², not σ.",
            ),
            Mistake(
                "the ½ before the square lost",
                mu**2 + sigma**2 + sp.log(2 * sp.pi) / 2,
                "The exponent of N(0, 1) is −½z²: the square has a ½ as well as the constant.",
            ),
        ),
        (half * (sigma**2 + mu**2 + sp.log(2) + sp.log(sp.pi)), mu**2 / 2 + sigma**2 / 2 + sp.log(sp.sqrt(2 * sp.pi))),
        expected=COUNTED_TWICE,
        assumptions="μ real, σ > 0",
    ),
    Step(
        "curse_two",
        "The better of two equals",
        4,
        2,
        (
            "max(a, b) = ½(a + b) + ½|a − b|. What is the distribution of a − b, and what is E|a − b|?",
            "a − b ~ N(0, 2s²), and E|D| = θ·√(2/π) for D ~ N(0, θ²). Here θ = √2·s; then halve it, and add m.",
        ),
        (
            Mistake(
                "no curse",
                m,
                "Each estimate is unbiased; the *larger* of the two is not. It is the one whose noise happened to be larger.",
            ),
            Mistake(
                "the noise of one, not of the difference",
                m + s / sp.sqrt(2 * sp.pi),
                "The difference of two independent estimates has the variance 2s², not s²: θ = √2·s.",
            ),
            Mistake("not halved", m + 2 * s / sp.sqrt(sp.pi), "max(a, b) holds ½|a − b|: halve E|a − b|."),
            Mistake(
                "the absolute noise of one",
                m + s * sp.sqrt(2 / sp.pi),
                "This is m + E|e| for one noise e. It would be so if the noise of the other estimate were exactly −e.",
            ),
            Mistake(
                "the bias alone",
                s / sp.sqrt(sp.pi),
                "This is by *how much* the promise is too high. Asked is the promise itself: both plans are worth m, so add it.",
            ),
            Mistake("the sign", m - s / sp.sqrt(sp.pi), "This is the *smaller* of the two: the maximum is above m."),
            Mistake(
                "variance for standard deviation",
                m + s**2 / sp.sqrt(sp.pi),
                "A bias has the unit of the estimate, so it is proportional to s, not to s².",
            ),
        ),
        (m + s * sp.sqrt(1 / sp.pi), m + sp.sqrt(2) * s * sp.sqrt(2 / sp.pi) / 2),
        expected=CURSE_TWO,
        assumptions="m real, s > 0",
    ),
)

FORMULAS = {
    "paid twice, per dimension": sp.Eq(
        sp.Symbol(r"\mathbb{E}_{z\sim\mathcal{N}(\mu,\sigma^2)}[-\log\mathcal{N}(z;0,1)]"),
        COUNTED_TWICE,
        evaluate=False,
    ),
    "the code that the memory would like": sp.Eq(sp.Symbol(r"\tau^2_{\mathrm{joint}}"), CODE_VARIANCE, evaluate=False),
    "lost by training apart, nats": sp.Eq(
        sp.Symbol(r"\mathrm{loss}\Big(\rho=\tfrac{w^2+1/s^2}{w^2+1}\Big)"), APART, evaluate=False
    ),
    "the better of two equals": sp.Eq(sp.Symbol(r"\mathbb{E}\max(\hat v_1,\hat v_2)"), CURSE_TWO, evaluate=False),
    "the best of three equals": sp.Eq(
        sp.Symbol(r"\mathbb{E}\max(\hat v_1,\hat v_2,\hat v_3)"), CURSE_THREE, evaluate=False
    ),
}
