"""Lesson 10's questions: those asked before reading, and those at the end."""

from __future__ import annotations

from wmcourse.lessons.widget import Choice, Question

QUESTIONS = (
    Question(
        "slope",
        "A long straight slope, the top 10 σ away. 100,000 candidates a round, the best tenth are elite, no floor under σ. "
        "Mean and σ become those of the elites, round by round; the first moves the mean by 1.75 σ. How far does the search come?",
        (
            Choice(
                "to the top, in about six rounds",
                "Only if σ stayed what it was. But elites lie closer together than the population they come from.",
            ),
            Choice(
                "about 3 σ, and there it stands, however many rounds follow",
                "Each round multiplies σ by 0.41, so the steps are a geometric series: 1.75·(1 + 0.41 + …) = 2.98.",
                right=True,
            ),
            Choice(
                "any distance, only slower and slower",
                "Slower and slower, yes; but a geometric series has a finite sum.",
            ),
        ),
    ),
    Question(
        "alpha",
        "On that slope you smooth: mean and σ go only half of the way to those of the elites in each round (α = 0.5 in place of 1), so "
        "that σ shrinks more slowly. How far does the search come?",
        (
            Choice("about twice as far", "σ lasts longer, but each step of the mean is halved, too."),
            Choice(
                "just as far, in more rounds",
                "Mean and σ are slowed down alike: α cancels in the sum. What α protects from is the chance in small elites.",
                right=True,
            ),
            Choice("half as far", "The steps are halved, but there are more of them before σ is gone."),
        ),
    ),
    Question(
        "dodge",
        "Dodge, 24 plans for each decision. What is worth more?",
        (
            Choice(
                "three rounds of CEM with 8 plans each, white noise",
                "Fitting costs rounds, and white noise hardly moves an agent with inertia: its pushes cancel out.",
            ),
            Choice(
                "one round of 24 plans, whose noise is correlated in time",
                "A push that lasts gets somewhere. Here the noise matters more than the optimiser.",
                right=True,
            ),
            Choice("no difference worth naming", "There is one, and it is large: you will measure it."),
        ),
    ),
    Question(
        "left",
        "α = 0.8, three updates. Which share of the mean that the search began with is still in it?",
        number=0.008,
        within=0.0005,
        because="(1 − 0.8)³ = 0.008: less than one per cent.",
        wrong=(
            (0.512, "This is 0.8³: the share of the old is 1 − α, not α."),
            (0.2, "This is what one update leaves. There are three, and each takes its share."),
            (0.992, "This is what the elites of the three rounds have together. The start has the rest."),
            (0.8, "This is what the elites of a single round get."),
        ),
    ),
    Question(
        "one_elite",
        "One elite, α = 1, no floor. What does the second round try?",
        (
            Choice("a fresh cloud around the best plan", "A cloud needs a width. What is the std of one number?"),
            Choice(
                "the best plan, N times",
                "One plan has no spread: σ = 0, all candidates are the same, and no later round can change that.",
                right=True,
            ),
            Choice(
                "the same cloud as before", "The std is fitted to the elites as well, and it is 0 for a single one."
            ),
        ),
    ),
    Question(
        "cold",
        "What becomes of MPPI's weighted mean when its temperature goes to 0?",
        (
            Choice(
                "the plain mean of all candidates",
                "That is the other end: a very high temperature makes all weights alike.",
            ),
            Choice(
                "the best candidate, as in random shooting",
                "The largest score takes all the weight. In between, a fraction of the population counts, as with elites.",
                right=True,
            ),
            Choice(
                "the mean of the elites",
                "The elites' weights are equal, 1/E. Soft weights never stop at a number of elites.",
            ),
        ),
    ),
)
