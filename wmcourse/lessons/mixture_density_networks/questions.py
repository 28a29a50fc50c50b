"""Lesson 07's questions: those asked before reading, and those at the end."""

from __future__ import annotations

import math

from wmcourse.lessons.widget import Choice, Question

QUESTIONS = (
    Question(
        "average",
        "A hazard goes six pixels to the left or six to the right, with equal chance. A network is trained by squared error to "
        "say how far. What does it say?",
        (
            Choice(
                "−6 or +6, one of them at random", "A network's output is a function of its input: no chance in it."
            ),
            Choice(
                "0, straight on",
                "The number with the least expected squared error is the mean of what may come, and here nothing ever comes "
                "at the mean.",
                right=True,
            ),
            Choice(
                "whichever side came up more often in training",
                "That would score the most exact hits. Squared error fears the large miss, and stays in the middle.",
            ),
        ),
    ),
    Question(
        "negative",
        "Training a mixture, you see the loss fall through zero: 0.4, −0.3, −1.1 nats. What do you look for?",
        (
            Choice(
                "a bug: a negative log-likelihood cannot be negative",
                "That of a *probability* cannot. A density may be larger than 1, and then its −log is below 0.",
            ),
            Choice(
                "nothing: densities may be larger than 1",
                "A density is per unit of z. A bell with σ = 0.1 is 4 high, and −log 4 = −1.4. Measure z in other units, and the "
                "same loss is positive.",
                right=True,
            ),
            Choice(
                "overfitting: it knows the targets by heart",
                "Perhaps, but the sign does not say so. Held-out rows do, and they may be below zero just as well.",
            ),
        ),
    ),
    Question(
        "cold",
        "A mixture takes its rarer component with probability 0.4. At temperature τ = ½, how often does it come up?",
        number=0.16 / (0.16 + 0.36),
        within=0.006,
        because="The weights become π^(1/τ) = π², normalised again: 0.16/(0.16 + 0.36) = 0.31.",
        wrong=(
            (0.4, "That is τ = 1. Below 1 the likely become likelier."),
            (
                0.2,
                "0.4·½ leaves the other with 0.6, and the two must sum to 1. Probabilities are raised to the power 1/τ.",
            ),
            (0.16, "0.4² is not normalised yet: the other is 0.6², and together they must make 1."),
            (
                math.sqrt(0.4) / (math.sqrt(0.4) + math.sqrt(0.6)),
                "You multiplied log π by τ. It is divided: τ = ½ squares the weights.",
            ),
        ),
    ),
    Question(
        "units",
        "A mixture over a column, measured in pixels, has a loss of 0.9 nats. You measure the column in hundredths of a pixel, and "
        "train again. About what is the loss now?",
        number=0.9 + math.log(100),
        within=0.06,
        because="Each density is spread over 100 times as many units, so it is 100 times lower: 0.9 + log 100 = 5.5 nats. "
        "Differences between models, measured in the same units, do not change.",
        wrong=(
            (0.9, "A probability has no unit, a density has: it is per unit of z."),
            (0.9 - math.log(100), "The other way round: smaller units make larger numbers, and lower densities."),
            (90.0, "The loss is the logarithm of a density: the factor 100 becomes a summand log 100."),
        ),
    ),
    Question(
        "ghosts",
        "At a fork three latent dimensions know the side, and each has two values, left and right. Each dimension has a mixture of its "
        "own with weights ½, and the three choose independently. In what share of the draws do they *not* agree?",
        number=0.75,
        within=0.001,
        because="All left ⅛, all right ⅛: they agree in ¼ of the draws. In the other ¾ some dimensions say left and some say "
        "right, and the decoder draws what never was. One mixture over the vector chooses once, and always agrees.",
        wrong=(
            (0.25, "That is how often they do agree."),
            (0.875, "There are *two* ways to agree, all left and all right, with ⅛ each."),
            (0.5, "That would be two dimensions. The third must agree as well."),
        ),
    ),
    Question(
        "pit_shape",
        "The PIT histogram of a forecast is low at both ends and high in the middle. What is wrong with the forecast?",
        (
            Choice(
                "it is too narrow",
                "Then targets would often fall outside of the bell, with ranks near 0 and 1: high at both ends.",
            ),
            Choice(
                "it is too wide",
                "Targets hardly ever reach the tails that the forecast reserves for them, so their ranks crowd in the middle.",
                right=True,
            ),
            Choice("its mean is off", "Then the histogram leans to one side."),
        ),
    ),
)
