"""Lesson 05's questions: those asked before reading, and those at the end."""

from __future__ import annotations

import math

from wmcourse.lessons.widget import Choice, Question

QUESTIONS = (
    Question(
        "price",
        "You train one VAE with β = 1 and one with β = 2, each to its best. The second's code is 3 nats cheaper. "
        "By how much is its reconstruction worse?",
        (
            Choice(
                "less than 3 nats",
                "Then the first VAE would have given up those 3 nats of code itself: it pays 1 for each.",
            ),
            Choice(
                "between 3 and 6 nats",
                "At β = 1 a nat of code was worth keeping, so it saves at least 1 nat of reconstruction; at β = 2 it was not, so it saves at most 2. "
                "Nothing else about the networks is needed.",
                right=True,
            ),
            Choice(
                "more than 6 nats",
                "Then the second VAE would have kept them: it pays 2 for each, and each would have saved more.",
            ),
            Choice(
                "that depends on the network and on the data",
                "One would think so. That each is the best at its price is enough.",
            ),
        ),
    ),
    Question(
        "best_elbo",
        "Eight VAEs, alike but for β from ¼ to 32. Which one has the highest ELBO on frames that none of them has seen?",
        (
            Choice(
                "one with β below 1: its pictures are the sharpest",
                "Sharper, and dearer by more than the pictures gain: below β = 1 each nat of code saves less than one nat.",
            ),
            Choice(
                "the one with β = 1",
                "Only there the loss *is* the negative ELBO. All others minimise something else, and pay for it here. (On held-out frames that is no "
                "theorem, only what one should bet on.)",
                right=True,
            ),
            Choice(
                "one with β above 1: the price keeps it from overfitting",
                "There is some overfitting, and a price slightly above 1 might spare a little of it. A price of 2 costs far more than it spares.",
            ),
        ),
    ),
    Question(
        "samples",
        "A VAE reconstructs frames well. But decode a z drawn from N(0, I), and you get a smear that is no frame. What is the likely cause?",
        (
            Choice("the decoder is too weak", "It draws good frames from the codes that the encoder gives it."),
            Choice("z has too few dimensions", "Then the reconstructions would suffer, too."),
            Choice(
                "the codes of all frames together do not fill N(0, I)",
                "The decoder has been trained only where codes are. Where q(z), the average of all q(z|x), has left holes in the prior, it was never asked.",
                right=True,
            ),
        ),
    ),
    Question(
        "dear_and_dumb",
        "Over all frames, a dimension's KL is 0.5 nats, and the variance of its μ is 0.00001. What does it tell the decoder about the frame?",
        (
            Choice(
                "half a nat, like any other with that KL",
                "KL is what it costs. What it says is I(x; z), and that is not the same.",
            ),
            Choice(
                "nothing: it has the same posterior for every frame",
                "All of its 0.5 nats are KL(q(z) ‖ p): a code that is off the prior for every frame alike. It costs, and says nothing.",
                right=True,
            ),
            Choice(
                "nothing, but then its KL must be 0", "KL = 0 needs q = p. Being *constant* is not being the prior."
            ),
        ),
    ),
    Question(
        "name_a_frame",
        "How many nats must z carry about x so that one could tell from z which of 4,096 equally likely frames it was?",
        number=math.log(4096),
        within=0.02,
        because="log 4096 = 12·log 2 = 8.32 nats. A code that costs more is paying for something else as well.",
        wrong=(
            (12.0, "Those are bits: 2¹² = 4096. A bit is log 2 = 0.693 nats."),
            (4096.0, "That many *frames*. Information is the logarithm of their number."),
            (math.log10(4096), "The decimal logarithm. Nats are natural logarithms."),
        ),
    ),
    Question(
        "compare",
        "In a paper, model A (β = 4) reports a loss of 195 and model B (β = 1) a loss of 160. Which is the better model of the frames?",
        (
            Choice(
                "B: its loss is lower",
                "A's loss has four times its KL in it. The two numbers are in different currencies.",
            ),
            Choice(
                "A: with β = 4 the same quality must look four times as dear",
                "Only one of the two terms is multiplied, so no such rule holds.",
            ),
            Choice(
                "the losses do not say: ask for distortion and rate of both",
                "Add them: D + R is an upper bound of −log p(x) for both, whatever they were trained on. The lower one is the better model, as far as the bounds tell.",
                right=True,
            ),
        ),
    ),
)
