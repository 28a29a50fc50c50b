"""Lesson 02's questions: those asked before reading, and those at the end."""

from __future__ import annotations

from wmcourse.lessons.widget import Choice, Question

QUESTIONS = (
    Question(
        "drawn",
        "You write z = torch.normal(mu, sigma), then loss = z.square().sum() and loss.backward(). What is in mu.grad?",
        (
            Choice(
                "the right gradient, 2·z",
                "That would be so if z were *computed* from mu. It is drawn: to torch it is a new number.",
            ),
            Choice(
                "zeros, without a word",
                "torch lets the graph pass through, and sends zeros back. Nothing warns you, and the encoder never learns.",
                right=True,
            ),
            Choice(
                "nothing: backward() stops with an error",
                "It would be kinder. `Normal(mu, sigma).sample()` does this; `torch.normal` does not.",
            ),
        ),
    ),
    Question(
        "price",
        "Two unbiased estimates of the same gradient, of E[z²] by μ at μ = 2σ: one uses only the values of f, the other its "
        "slope. How many times as many samples does the first one need for the same error?",
        (
            Choice(
                "as many: both are unbiased", "Unbiased says where an estimate is on average, not how far it strays."
            ),
            Choice("about 4 times as many", "This is so at μ = 0, where the score is best. It grows with (μ/σ)⁴."),
            Choice(
                "about 20 times as many",
                "The ratio of the variances is ¼·(r⁴ + 14r² + 15) with r = μ/σ: at r = 2 it is 21.75.",
                right=True,
            ),
        ),
    ),
    Question(
        "dimensions",
        "f(z) is a sum over 100 dimensions, f = z₁² + … + z₁₀₀². You estimate its slope by μ₁ alone. What do the other 99 "
        "dimensions do to the noise?",
        (
            Choice(
                "nothing, to either estimate: their slope by μ₁ is 0",
                "True of the path, which looks at slopes. The score multiplies the *whole* value of f with ε₁/σ.",
            ),
            Choice(
                "nothing to the path; to the score a lot",
                "The score cannot tell which dimension a good value came from, so all 99 count as noise on the first.",
                right=True,
            ),
            Choice(
                "they average out, so both get better",
                "They have means of their own, which do not average out: they multiply the noise of the score.",
            ),
        ),
    ),
    Question(
        "by_logvar",
        "An encoder puts out μ = 1 and logvar = log 16, and the noise is ε = 0.5. What is dz/dlogvar?",
        number=1.0,
        within=1e-6,
        because="σ = exp(½·log 16) = 4, and dz/dlogvar = ½·σ·ε = ½·4·0.5 = 1.",
        wrong=(
            (0.5, "This is dz/dσ = ε. By logvar there comes dσ/dlogvar = ½σ = 2 as a factor."),
            (2.0, "This is σ·ε, the slope by log σ. logvar is twice that: half the slope."),
            (8.0, "16 is σ². z has σ in it, exp(½·logvar) = 4."),
            (4.0, "This is ½·σ²·ε with σ² = 16; z has σ = 4 in it, not σ²."),
            (3.0, "This is z itself, 1 + 4·0.5."),
        ),
    ),
    Question(
        "wrong_width",
        "Somebody's VAE samples with z = mu + exp(logvar)·ε. It trains, and its pictures look fine. What is wrong?",
        (
            Choice(
                "nothing that the network cannot learn",
                "It can learn another number for the width it wants. But the KL reads the same number in another way.",
            ),
            Choice(
                "the KL prices a q that is not the one sampled from",
                "The KL takes σ = exp(½·logvar), the samples have σ = exp(logvar): the loss is no bound on log p(x) any more.",
                right=True,
            ),
            Choice(
                "the gradient by logvar is zero", "It is not: it is σ·ε times the slope, and the network does learn."
            ),
        ),
    ),
    Question(
        "only_score",
        "For which of these is the score-function estimator the one that is left?",
        (
            Choice(
                "f is a decoder's reconstruction loss, z Gaussian",
                "f is differentiable, and z is μ + σ·ε: the path is open, and much less noisy.",
            ),
            Choice(
                "f is the number of steps that an agent survives in the real Dodge",
                "The game can be played and not differentiated: a hit is a jump. Values of f are all there is, and the score "
                "needs no more. (Reinforcement learning calls it the policy gradient.)",
                right=True,
            ),
            Choice(
                "f is differentiable, z is Laplace",
                "The inverse of the distribution function makes z from uniform noise: exercise 5.",
            ),
        ),
    ),
)
