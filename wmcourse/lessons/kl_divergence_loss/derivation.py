"""Lesson 03's derivation: its symbols, the learner's steps, and the formulas of its card."""

from __future__ import annotations

import sympy as sp

from wmcourse.lessons.derivation import Step
from wmcourse.lessons.exercise import Mistake

z, mu, mu_q, mu_p = sp.symbols("z mu mu_q mu_p", real=True)
sigma, sigma_q, sigma_p = sp.symbols("sigma sigma_q sigma_p", positive=True)
logvar = sp.Symbol("logvar", real=True)

SPREAD = sigma_q**2 + (mu_q - mu_p) ** 2
KL_TWO = sp.log(sigma_p / sigma_q) + (sigma_q**2 + (mu_q - mu_p) ** 2) / (2 * sigma_p**2) - sp.Rational(1, 2)
KL_PRIOR = (sigma**2 + mu**2 - 1 - sp.log(sigma**2)) / 2
BY_LOGVAR = (sp.exp(logvar) - 1) / 2

STEPS = (
    Step(
        "spread",
        "How far q's samples are from p's centre",
        5,
        1,
        (
            "Write z − μ_p as (z − μ_q) + (μ_q − μ_p) and square it. Three terms; what is the expectation of each?",
            "E[(z − μ_q)²] is the variance, E[z − μ_q] = 0 kills the mixed term, and the last term is a constant.",
        ),
        (
            Mistake(
                "the distance of the means forgotten",
                sigma_q**2,
                "This is the spread around q's *own* centre. Around p's centre the samples are farther away, by the squared "
                "distance of the centres.",
            ),
            Mistake(
                "the variance forgotten",
                (mu_q - mu_p) ** 2,
                "As if every sample were at μ_q: E[z²] is not E[z]². The variance adds to it.",
            ),
            Mistake(
                "p's variance for q's",
                sigma_p**2 + (mu_q - mu_p) ** 2,
                "The samples come from q, so the spread is q's.",
            ),
            Mistake(
                "σ in place of σ²",
                sigma_q + (mu_q - mu_p) ** 2,
                "E[(z − μ_q)²] is the variance σ_q², not the standard deviation.",
            ),
            Mistake(
                "a mixed term", SPREAD + 2 * sigma_q * (mu_q - mu_p), "The mixed term has the factor E[z − μ_q] = 0."
            ),
        ),
        ((mu_p - mu_q) ** 2 + sigma_q**2, sigma_q**2 + mu_q**2 - 2 * mu_q * mu_p + mu_p**2),
        expected=SPREAD,
        assumptions="μ_q, μ_p real, σ_q > 0",
    ),
    Step(
        "kl_prior",
        "Against the standard normal",
        5,
        1,
        (
            "Put μ_p = 0 and σ_p = 1 into the formula above, and write μ and σ for q's.",
            "log(1/σ) is −log σ = −½ log σ². Everything then shares the factor ½.",
        ),
        (
            Mistake(
                "the ½ is missing",
                2 * KL_PRIOR,
                "All four terms share the factor ½; check with log(σ_p/σ_q) = −½ log σ².",
            ),
            Mistake(
                "the sign of the log term",
                (sigma**2 + mu**2 - 1 + sp.log(sigma**2)) / 2,
                "log(σ_p/σ_q) with σ_p = 1 is −log σ: the narrower q, the more it costs.",
            ),
            Mistake(
                "log σ² for log σ",
                (sigma**2 + mu**2 - 1) / 2 - sp.log(sigma**2),
                "−log σ is −½ log σ²: the log is half of what you wrote.",
            ),
            Mistake("the −1 is missing", KL_PRIOR + sp.Rational(1, 2), "At μ = 0, σ = 1 it must be 0."),
            Mistake(
                "q and p swapped",
                sp.log(sigma) + (1 + mu**2) / (2 * sigma**2) - sp.Rational(1, 2),
                "This is KL(N(0, 1) ‖ q). It is q's μ and σ that stay, and p's that become 0 and 1.",
            ),
            Mistake(
                "the KL with its sign turned",
                -KL_PRIOR,
                "This is how it stands in the ELBO, with a minus before it. The KL itself is never negative.",
            ),
        ),
        (sigma**2 / 2 + mu**2 / 2 - sp.Rational(1, 2) - sp.log(sigma), (mu**2 + sigma**2 - 1) / 2 + sp.log(1 / sigma)),
        expected=KL_PRIOR,
        assumptions="μ real, σ > 0",
    ),
    Step(
        "kl_by_logvar",
        "The slope that training feels",
        5,
        2,
        (
            "Write σ² = exp(logvar) in your last result: it has `exp(logvar)` and `logvar` itself. Then differentiate by it.",
            "d/dλ of ½·(e^λ + μ² − 1 − λ), with λ for logvar: which terms have no λ?",
        ),
        (
            Mistake(
                "the slope by σ",
                sigma - 1 / sigma,
                "This is the derivative by σ. The network's output is logvar; by the chain rule dσ/dlogvar = ½·σ comes to it.",
            ),
            Mistake(
                "σ² not written with logvar",
                (sigma**2 - 1) / 2,
                "Right, but write it with the network's own output: σ² = exp(logvar).",
            ),
            Mistake("the ½ is missing", sp.exp(logvar) - 1, "The ½ before the bracket stays when you differentiate."),
            Mistake(
                "the slope of the log forgotten",
                sp.exp(logvar) / 2,
                "−½·logvar has the slope −½. Without it σ would shrink for ever: it is what holds σ up.",
            ),
            Mistake(
                "the sign of the log's slope",
                (sp.exp(logvar) + 1) / 2,
                "The logarithm stands with a minus. With a plus the slope is never 0, and there is no minimum.",
            ),
            Mistake(
                "logvar taken for log σ",
                sp.exp(2 * logvar) - 1,
                "exp(2·logvar) would be right if logvar were log σ. It is log σ².",
            ),
        ),
        (sp.exp(logvar) / 2 - sp.Rational(1, 2), sp.exp(logvar / 2) * sp.sinh(logvar / 2)),
        expected=BY_LOGVAR,
        assumptions="logvar real",
    ),
)

KL_QP, KL_Q = sp.Symbol(r"\mathrm{KL}(q\,\Vert\,p)"), sp.Symbol(r"\mathrm{KL}(q\,\Vert\,\mathcal{N}(0,1))")
FORMULAS = {
    "two Gaussians": sp.Eq(KL_QP, KL_TWO, evaluate=False),
    "against the standard normal": sp.Eq(KL_Q, KL_PRIOR, evaluate=False),
    "slope by μ": sp.Eq(sp.Symbol(r"\partial\mathrm{KL}/\partial\mu"), sp.diff(KL_PRIOR, mu), evaluate=False),
    "slope by log σ²": sp.Eq(
        sp.Symbol(r"\partial\mathrm{KL}/\partial\log\sigma^2"),
        BY_LOGVAR.subs(sp.exp(logvar), sigma**2),
        evaluate=False,
    ),
}
