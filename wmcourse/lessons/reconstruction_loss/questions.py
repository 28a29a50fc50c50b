"""Lesson 04's questions: those asked before reading, and those at the end."""

from __future__ import annotations

from wmcourse.lessons.widget import Choice, Question

QUESTIONS = (
    Question(
        "negative_loss",
        "A decoder with a Gaussian likelihood reports a reconstruction loss of −900 nats per frame. Is that a bug?",
        (
            Choice(
                "yes: a probability is at most 1, so −log p cannot be negative",
                "True of probabilities. This is a density.",
            ),
            Choice(
                "no: the density of a narrow Gaussian is above 1",
                "With σ = 0.1 the density at the mean is about 4, and its −log about −1.4 for each of 1,024 pixels. Only probabilities, "
                "such as a pixel's of being white, are bounded by 1.",
                right=True,
            ),
            Choice(
                "yes: the constant ½ log 2π is missing",
                "Adding it changes the number, not the fact: log σ is negative.",
            ),
        ),
    ),
    Question(
        "two_futures",
        "From all that the code says, a hazard covers this pixel in 4 cases of 10 (white, 1) and else not (black, 0). "
        "Which grey is the best answer under squared error, and which under absolute error?",
        (
            Choice("0.4 under both", "The mean minimises squared error. Absolute error has another minimum."),
            Choice(
                "0.4 under squared error, 0 under absolute error",
                "Squared error asks for the mean, absolute error for the median, and the median of a pixel that is black more often than "
                "not is black. The one draws a ghost, the other nothing.",
                right=True,
            ),
            Choice("0 under squared error, 0.4 under absolute error", "The other way round: squares ask for the mean."),
        ),
    ),
    Question(
        "mean_pixels",
        "Somebody takes the mean of the reconstruction loss over the 1,024 pixels, and leaves the KL summed. What does this VAE learn?",
        (
            Choice(
                "the same, only more slowly", "So it would be if *both* terms were divided. The balance has changed."
            ),
            Choice(
                "sharper pictures, since the loss is smaller", "The number is smaller; what it weighs against is not."
            ),
            Choice(
                "nothing about the frame: its code collapses",
                "Divided by 1,024, the picture cannot pay for a single nat of code. It is β = 1,024 in disguise, and lesson 03 has shown "
                "what 30 does.",
                right=True,
            ),
        ),
    ),
    Question(
        "mean_as_beta",
        "The paper's frames are 64 × 64 pixels in 3 colours. Somebody writes F.mse_loss(…) with its default, the mean over all of them, "
        "where ½ of the sum belongs (a Gaussian with σ = 1), and adds the KL as it is. Which β has the same minimum with the right sum?",
        number=6144,
        within=0.5,
        because="The mean is the sum divided by 64·64·3 = 12,288. The lost ½ makes it twice as large again, so the picture counts "
        "2/12,288 = 1/6,144 of what it should: β = 6,144.",
        wrong=(
            (12288, "So many pixels, yes. But the ½ was lost as well: the squared error counts double. Halve it."),
            (1 / 6144, "Upside down: the picture counts for less, so the KL for more."),
            (4096, "Each pixel has three colours, and each colour counts."),
        ),
    ),
    Question(
        "sigma_as_beta",
        "A Gaussian with σ = 0.1 fits your decoder's errors. You train with σ = 1, 'since a constant factor does not matter'. "
        "Which β, with the right σ, has the same minimum?",
        number=100,
        within=0.01,
        because="sse/(2·1²) + KL is 1/100 of sse/(2·0.1²) + 100·KL: a β of σ²-wrong over σ²-right, 1/0.01 = 100.",
        wrong=(
            (10, "The squared error is divided by the *square* of σ."),
            (0.01, "The other way round: σ = 1 makes errors cheap, so the KL weighs more."),
            (1, "A factor on one of two terms shifts their balance; only a factor on both does not matter."),
        ),
    ),
    Question(
        "compare",
        "Model A reports 180 nats per frame (Bernoulli), model B −980 nats (Gaussian, σ learned). Which is the better model of the frames?",
        (
            Choice(
                "B: its loss is lower",
                "A lower number of another kind: B's is a density's, A's is not even normalised for greys.",
            ),
            Choice("A: a negative loss cannot be right", "A density above 1 is nothing wrong."),
            Choice(
                "these two numbers do not say",
                "Compare like with like: both as the probability of the same 8-bit frame, each with its normaliser, and with the KL added.",
                right=True,
            ),
        ),
    ),
)
