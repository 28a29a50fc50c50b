"""Lesson 11's questions: those asked before reading, and those at the end."""

from __future__ import annotations

from wmcourse.lessons.widget import Choice, Question

QUESTIONS = (
    Question(
        "how_far",
        "A random agent survives about 35 steps of 300; a planner with the true simulator survives nearly always. How far do "
        "pixels, random play and a few minutes of training get?",
        (
            Choice("twice the floor", "That is about what an evolved linear controller gets here, without planning."),
            Choice(
                "more than half of the ceiling",
                "Eight training seeds reached 0.90 to 1.00 of the oracle, over 100 episodes each "
                "(benchmarks/results/seeds.md).",
                right=True,
            ),
            Choice(
                "above the ceiling",
                "The oracle is the same planner on the true dynamics, and here it reaches the cap: there is nothing above it.",
            ),
        ),
    ),
    Question(
        "best_of_many",
        "64 plans are in truth all equally good. Each is scored with independent noise of standard deviation 1, without bias. "
        "By how much is the winner overestimated, on average?",
        (
            Choice("not at all: each score is unbiased", "Each is, but the *largest* of 64 is not a typical one."),
            Choice("about 0.6", "That is the bias of the better of two, 1/√π = 0.56. It grows with the number."),
            Choice(
                "about 2.3",
                "The expected maximum of 64 standard normal numbers is 2.34. Planning in one's own model is exactly this: it is "
                "called the optimiser's curse.",
                right=True,
            ),
            Choice("about 64", "It grows with the root of 2 log N, much more slowly than N."),
        ),
    ),
    Question(
        "cold_dream",
        "A controller is evolved inside a cold dream (τ = 0.1), where nearly always the most likely thing happens. What will its score "
        "in the world be, compared with its score in that dream?",
        (
            Choice(
                "about the same", "So it would be if the dream were the world. Evolution looks for where it is not."
            ),
            Choice(
                "much lower",
                "A cold dream is predictable, and its mistakes can be learnt. In the recorded table of this course 269 steps in "
                "the dream became 75 in the world.",
                right=True,
            ),
            Choice(
                "higher, for the dream is a hard training", "A *hot* dream is harder than the world; a cold one easier."
            ),
        ),
    ),
    Question(
        "tripled_odds",
        "The done head was trained with weight 3 on steps that end in a hit, which triples the odds that it believes in. Where the "
        "true chance of a hit is 0.1, which chance does a perfectly trained head give?",
        number=0.25,
        within=0.003,
        because="Odds of 1 : 9 become 3 : 9, and 3/12 = 0.25. Cautious as a probability, and useful: what ranks plans is "
        "which is riskier.",
        wrong=(
            (
                0.3,
                "Three times the *probability*. It is the odds p/(1 − p) that are tripled: 3/9, which is a chance of 0.25.",
            ),
            (0.33, "These are the odds, 3 : 9. As a probability: 3/(3 + 9)."),
            (0.1, "It would be 0.1 without the weight."),
        ),
    ),
    Question(
        "best_seed",
        "You train five times with different seeds, test each on the same 100 episodes, and report the best one's mean with its "
        "95 % interval. What is wrong?",
        (
            Choice(
                "nothing: the interval says how sure the number is",
                "It says so for *one* model that was chosen before the test. Yours was chosen by the test.",
            ),
            Choice(
                "the winner was chosen with the very episodes that judge it",
                "The best of five means is cursed like the best of five plans. Report all five, or choose with other episodes, "
                "and test the chosen one on fresh ones.",
                right=True,
            ),
            Choice(
                "100 episodes are too few", "More episodes make the curse smaller; they do not make the report honest."
            ),
        ),
    ),
    Question(
        "training_score",
        "Why are the episodes of the evaluation not those of the training data, though the *planner* has learnt nothing from them?",
        (
            Choice(
                "it makes no difference, since the data are random play",
                "The eye and the memory were fitted to these very hazards. In their worlds they are better than elsewhere.",
            ),
            Choice(
                "the eye and the memory have learnt them, and an overfitted model looks good only there",
                "A score on seen worlds measures remembering too. Here the seeds of data and evaluation are disjoint.",
                right=True,
            ),
            Choice("because the seeds must be large", "Any seeds do, as long as no training has seen them."),
        ),
    ),
)
