"""Lesson 07's derivation: its symbols, the learner's steps, and the formulas of its card."""

from __future__ import annotations

import sympy as sp

from wmcourse.lessons.derivation import Step
from wmcourse.lessons.exercise import Mistake

z, a, mu_1, mu_2 = sp.symbols("z a mu_1 mu_2", real=True)
sigma, sigma_1, sigma_2, d = sp.symbols("sigma sigma_1 sigma_2 d", positive=True)
pi_1, gamma_1 = sp.symbols("pi_1 gamma_1", positive=True)
l_1, l_2, m = sp.symbols("l_1 l_2 m", real=True)  # the logits behind π
n_1, n_2 = sp.symbols("n_1 n_2", positive=True)  # densities of the components, whatever they are
log_sigma_1 = sp.Symbol(r"\log\sigma_1", real=True)

BY_MU = gamma_1 * (mu_1 - z) / sigma_1**2
BY_LOGIT = pi_1 - gamma_1
BY_LOG_SIGMA = gamma_1 * (1 - (z - mu_1) ** 2 / sigma_1**2)
VARIANCE = pi_1 * sigma_1**2 + (1 - pi_1) * sigma_2**2 + pi_1 * (1 - pi_1) * (mu_1 - mu_2) ** 2

STEPS = (
    Step(
        "by_mu",
        "What moves a component's mean",
        5,
        2,
        (
            "L = −log(π₁N₁ + π₂N₂). The outer derivative is −1/(π₁N₁ + π₂N₂), and only N₁ depends on μ₁. What is ∂N₁/∂μ₁, "
            "written with N₁ itself?",
            "∂N₁/∂μ₁ = N₁·(z − μ₁)/σ₁². So there is a fraction π₁N₁/(π₁N₁ + π₂N₂), which has a name, and a minus.",
        ),
        (
            Mistake(
                "as if it were alone",
                (mu_1 - z) / sigma_1**2,
                "This is the gradient of one bell, K = 1. In a mixture each component gets its *share* of it: γ₁.",
            ),
            Mistake(
                "the sign",
                -BY_MU,
                "This is the slope of log p. L is its negative: where z lies to the right of μ₁, a larger μ₁ makes the loss "
                "smaller.",
            ),
            Mistake(
                "the weight for the responsibility",
                pi_1 * (mu_1 - z) / sigma_1**2,
                "π₁ is the share before z is seen. The fraction that comes out of the logarithm's derivative is π₁N₁/(π₁N₁ + π₂N₂), and "
                "that is γ₁.",
            ),
            Mistake(
                "σ in place of σ²",
                gamma_1 * (mu_1 - z) / sigma_1,
                "The exponent is −(z − μ₁)²/(2σ₁²). Differentiating by μ₁ takes one of the two distances away, and none of the two "
                "σ₁: the slope of L has σ₁² below.",
            ),
            Mistake(
                "twice too large",
                2 * BY_MU,
                "The 2 from the square and the ½ of the exponent cancel. One of them is left out here: the ½.",
            ),
            Mistake(
                "half of it",
                BY_MU / 2,
                "The ½ of the exponent is still there, but the square brings a 2 when it is differentiated: they cancel.",
            ),
            Mistake(
                "not divided by σ²",
                gamma_1 * (mu_1 - z),
                "The exponent has the *squared* distance over 2σ₁². The square goes when you differentiate, the σ₁² below stays: "
                "a narrow bell pulls harder than a wide one at the same distance.",
            ),
            Mistake(
                "the sign, and as if it were alone",
                -(mu_1 - z) / sigma_1**2,
                "This is the slope of log N₁, one bell's log-density. Two things are missing: in a mixture the bell gets only its "
                "share γ₁ of it, and L is *minus* the logarithm.",
            ),
            Mistake(
                "the sign, and the weight for the responsibility",
                -pi_1 * (mu_1 - z) / sigma_1**2,
                "Two things at once. L = −log p turns the sign round. And dividing by p = π₁N₁ + π₂N₂ makes γ₁ of π₁N₁: the share "
                "*after* z was seen, not before.",
            ),
            Mistake(
                "the other component's share",
                (1 - gamma_1) * (mu_1 - z) / sigma_1**2,
                "1 − γ₁ is γ₂. It is N₁ that depends on μ₁, so the numerator is π₁N₁, and its share is γ₁.",
            ),
            Mistake(
                "γ differentiated as well",
                gamma_1 * (1 - gamma_1) * (mu_1 - z) / sigma_1**2,
                "γ₁(1 − γ₁) is what a softmax's own slope brings. L has only one logarithm, and its derivative *makes* γ₁: there "
                "is no γ₁ in L to differentiate.",
            ),
            Mistake(
                "the distance still squared",
                gamma_1 * (mu_1 - z) ** 2 / (2 * sigma_1**2),
                "This is γ₁ times the exponent itself. It is not differentiated yet: the slope of a square is linear in the "
                "distance, and so it has a side, left or right.",
            ),
            Mistake(
                "the slope by log σ",
                BY_LOG_SIGMA,
                "That is what widens the bell, ∂L/∂log σ₁; it comes below. Asked for is what moves its mean.",
            ),
        ),
        (-gamma_1 * (z - mu_1) / sigma_1**2, gamma_1 * mu_1 / sigma_1**2 - gamma_1 * z / sigma_1**2),
        expected=BY_MU,
        assumptions="z and μ₁ real, σ₁ > 0, γ₁ > 0",
    ),
    Step(
        "by_logit",
        "What moves a component's weight",
        5,
        2,
        (
            "By π₁ as if it were free, ∂L/∂π₁ = −N₁/(π₁N₁ + π₂N₂) = −γ₁/π₁, and ∂L/∂π₂ = −γ₂/π₂. But a logit moves both weights: "
            "∂π₁/∂l₁ = π₁(1 − π₁), and ∂π₂/∂l₁ = −π₁π₂.",
            "−γ₁(1 − π₁) + γ₂π₁, and γ₂ = 1 − γ₁.",
        ),
        (
            Mistake(
                "the sign",
                gamma_1 - pi_1,
                "Where a component explains more than its weight promised, γ₁ > π₁, its logit should grow: the slope of a "
                "*loss* is then negative.",
            ),
            Mistake(
                "the slope by log π",
                -gamma_1,
                "This is ∂L/∂log π₁ with the other weights held fast. A logit raises one weight at the cost of all others: "
                "the softmax adds +π₁.",
            ),
            Mistake(
                "the slope by π",
                -gamma_1 / pi_1,
                "This is ∂L/∂π₁, as if π₁ could move alone. The network puts out logits, and a softmax makes weights of them.",
            ),
            Mistake(
                "only the own weight moves",
                -gamma_1 * (1 - pi_1),
                "The chain rule has two paths: l₁ raises π₁, and lowers π₂ by as much.",
            ),
            Mistake(
                "the weights' own slope",
                pi_1 * (1 - pi_1),
                "This is ∂π₁/∂l₁. L has not been differentiated yet.",
            ),
            Mistake(
                "the slope of γ",
                gamma_1 * (1 - gamma_1),
                "This is ∂γ₁/∂l₁: responsibilities are a softmax, too. Asked for is ∂L/∂l₁.",
            ),
            Mistake(
                "as in classification",
                pi_1 - 1,
                "π₁ − 1 is the slope of a cross-entropy when the right class is known to be the first. Here nobody says which "
                "component z came from: in place of the 1 stands the probability that it was this one, γ₁.",
            ),
            Mistake(
                "multiplied by π once more",
                pi_1 * (pi_1 - gamma_1),
                "∂π₁/∂l₁ = π₁(1 − π₁), and ∂L/∂π₁ = −γ₁/π₁ has π₁ below: the two cancel. You kept one of them.",
            ),
            Mistake(
                "only the other weight moves",
                pi_1 * (1 - gamma_1),
                "This is the second of two paths: l₁ lowers π₂, which costs γ₂π₁ = (1 − γ₁)π₁. It also raises π₁.",
            ),
            Mistake(
                "divided by π",
                1 - gamma_1 / pi_1,
                "(π₁ − γ₁)/π₁ is the right thing, divided by π₁. A factor π₁ of ∂π/∂l got lost: both of its terms have it.",
            ),
            Mistake(
                "the sign, and only the own weight moves",
                gamma_1 * (1 - pi_1),
                "This is the first of two paths, ∂log p/∂π₁ · ∂π₁/∂l₁. The second leads over π₂, which l₁ lowers. And L is minus "
                "log p.",
            ),
            Mistake(
                "the weight alone",
                pi_1,
                "That is what a component gets whose γ₁ is 0: its logit sinks. The share that it *did* explain is missing.",
            ),
        ),
        (pi_1 * (1 - gamma_1) - gamma_1 * (1 - pi_1), -(gamma_1 - pi_1)),
        expected=BY_LOGIT,
        assumptions="0 < π₁ < 1, 0 < γ₁ < 1",
    ),
    Step(
        "mixture_variance",
        "How wide a mixture is",
        8,
        2,
        (
            "Var = E[z²] − E[z]². Of one component E[z²] = σ² + μ², and expectations of a mixture are weighted sums.",
            "π₁(σ₁² + μ₁²) + (1 − π₁)(σ₂² + μ₂²) − (π₁μ₁ + (1 − π₁)μ₂)². Any equal form will do; the tidiest has (μ₁ − μ₂)².",
        ),
        (
            Mistake(
                "the distance of the means forgotten",
                pi_1 * sigma_1**2 + (1 - pi_1) * sigma_2**2,
                "This is the average width *inside* the components. That the components lie apart spreads z, too: two needles far "
                "apart make a wide mixture.",
            ),
            Mistake(
                "the weights squared",
                pi_1**2 * sigma_1**2 + (1 - pi_1) ** 2 * sigma_2**2,
                "That is the variance of a weighted *sum* π₁z₁ + (1 − π₁)z₂. A mixture is one of the two, not their average.",
            ),
            Mistake(
                "the squared mean not subtracted",
                pi_1 * (sigma_1**2 + mu_1**2) + (1 - pi_1) * (sigma_2**2 + mu_2**2),
                "This is E[z²]. The variance is E[z²] − E[z]².",
            ),
            Mistake(
                "standard deviations averaged",
                (pi_1 * sigma_1 + (1 - pi_1) * sigma_2) ** 2 + pi_1 * (1 - pi_1) * (mu_1 - mu_2) ** 2,
                "Variances average, standard deviations do not.",
            ),
            Mistake(
                "the distance without its weights",
                pi_1 * sigma_1**2 + (1 - pi_1) * sigma_2**2 + (mu_1 - mu_2) ** 2,
                "The means scatter around the common mean with the variance π₁(1 − π₁)(μ₁ − μ₂)²: a quarter of the squared "
                "distance at equal weights, and 0 where one component has all.",
            ),
            Mistake(
                "only the spread of the means",
                pi_1 * (1 - pi_1) * (mu_1 - mu_2) ** 2,
                "This is the variance of the component means. The width inside of each comes to it.",
            ),
            Mistake(
                "as if both weights were ½",
                pi_1 * sigma_1**2 + (1 - pi_1) * sigma_2**2 + (mu_1 - mu_2) ** 2 / 4,
                "¼ is π₁(1 − π₁) at equal weights, and too much at all others: of a component that is never chosen the distance "
                "does not count.",
            ),
            Mistake(
                "the distance not squared",
                pi_1 * sigma_1**2 + (1 - pi_1) * sigma_2**2 + pi_1 * (1 - pi_1) * (mu_1 - mu_2),
                "A variance is in squared units, and the same if left and right are exchanged: it is (μ₁ − μ₂)².",
            ),
            Mistake(
                "σ in place of σ²",
                pi_1 * sigma_1 + (1 - pi_1) * sigma_2 + pi_1 * (1 - pi_1) * (mu_1 - mu_2) ** 2,
                "The units do not fit: a standard deviation is added to a squared distance. Inside a component the variance is σ².",
            ),
            Mistake(
                "the standard deviation",
                sp.sqrt(VARIANCE),
                "Its root. Asked for is the variance itself, which has no root.",
            ),
            Mistake(
                "the mean not squared",
                pi_1 * (sigma_1**2 + mu_1**2) + (1 - pi_1) * (sigma_2**2 + mu_2**2) - (pi_1 * mu_1 + (1 - pi_1) * mu_2),
                "E[z²] − E[z]²: you took E[z] off, without its square. A variance does not change when everything is shifted, "
                "and yours does.",
            ),
            Mistake(
                "the square of a sum, term by term",
                pi_1 * (sigma_1**2 + mu_1**2)
                + (1 - pi_1) * (sigma_2**2 + mu_2**2)
                - pi_1**2 * mu_1**2
                - (1 - pi_1) ** 2 * mu_2**2,
                "(π₁μ₁ + π₂μ₂)² has a cross term, 2π₁π₂μ₁μ₂. Without it two equal components far from zero would seem wide.",
            ),
            Mistake(
                "the weights squared inside, the distance right",
                pi_1**2 * sigma_1**2 + (1 - pi_1) ** 2 * sigma_2**2 + pi_1 * (1 - pi_1) * (mu_1 - mu_2) ** 2,
                "The distance is right. But z comes from one component *or* the other, so E[(z − μ)²] inside has π once: squared "
                "weights belong to a sum of two numbers.",
            ),
        ),
        (
            pi_1 * (sigma_1**2 + mu_1**2)
            + (1 - pi_1) * (sigma_2**2 + mu_2**2)
            - (pi_1 * mu_1 + (1 - pi_1) * mu_2) ** 2,
            sigma_2**2 + pi_1 * (sigma_1**2 - sigma_2**2) + (pi_1 - pi_1**2) * (mu_2 - mu_1) ** 2,
        ),
        expected=VARIANCE,
        assumptions="μ₁, μ₂ real, σ₁, σ₂ > 0, π₁ the weight of the first, 1 − π₁ that of the second",
    ),
)

L = sp.Symbol("L")
K, PI, MU, SIG, GAMMA = (sp.Symbol(name) for name in ("k", r"\pi_k", r"\mu_k", r"\sigma_k", r"\gamma_k"))
NORMAL = sp.Symbol(r"\mathcal{N}(z;\mu_k,\sigma_k^2)")
NAMES = {mu_1: MU, sigma_1: SIG, gamma_1: GAMMA, pi_1: PI}
TWO = {pi_1: sp.Symbol(r"\pi_1"), mu_1: sp.Symbol(r"\mu_1"), mu_2: sp.Symbol(r"\mu_2")}
FORMULAS = {
    "the loss, for each latent dimension": sp.Eq(
        L, -sp.log(sp.Sum(PI * NORMAL, (K, 1, sp.Symbol("K")))), evaluate=False
    ),
    "responsibility": sp.Eq(GAMMA, PI * NORMAL / sp.Symbol(r"p(z)"), evaluate=False),
    "slope by a mean": sp.Eq(sp.Symbol(r"\partial L/\partial\mu_k"), BY_MU.subs(NAMES), evaluate=False),
    "slope by log σ": sp.Eq(sp.Symbol(r"\partial L/\partial\log\sigma_k"), BY_LOG_SIGMA.subs(NAMES), evaluate=False),
    "slope by a logit": sp.Eq(sp.Symbol(r"\partial L/\partial l_k"), BY_LOGIT.subs(NAMES), evaluate=False),
    "variance of two components": sp.Eq(sp.Symbol(r"\mathrm{Var}[z]"), VARIANCE, evaluate=False),
}
