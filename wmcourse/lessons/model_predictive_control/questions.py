"""Lesson 09's questions: those asked before reading, and those at the end."""

from __future__ import annotations

from wmcourse.lessons.widget import Choice, Question

QUESTIONS = (
    Question(
        "further",
        "A planner throws 64 random plans for each decision. You let it look 50 steps ahead in place of 15. "
        "What becomes of the pendulum's return?",
        (
            Choice(
                "better: who looks further sees more",
                "It would be so if the best plan were found. But 64 dice of 50 numbers each hold no good plan.",
            ),
            Choice(
                "worse: there are more numbers to guess",
                "What a longer horizon shows, the dice can no longer find: the same 64 plans must cover 50 numbers, not 15.",
                right=True,
            ),
            Choice("the same, only slower", "Slower it is. But the plans get worse as well."),
        ),
    ),
    Question(
        "gravity",
        "The model's gravity is wrong by 10 %. The pendulum is planned for anew at each step, with this wrong model. "
        "How much of the return is lost?",
        (
            Choice(
                "about 10 %, in proportion", "The plan is wrong by a few percent, but only its first step is ever done."
            ),
            Choice(
                "hardly anything: a few percent at most",
                "Each plan starts from where the pendulum really is, so the model's error has one step to grow in before you look again.",
                right=True,
            ),
            Choice(
                "nearly everything: it will never stay up",
                "It is what happens to a plan that is carried out to its end. One that is redrawn corrects itself.",
            ),
        ),
    ),
    Question(
        "noise",
        "A motor is noisy. The best plan for the noiseless motor gives a gain, u = −K·s. How should K change because of the noise?",
        (
            Choice(
                "smaller: be careful when the world is uncertain",
                "Caution would be right if u made the noise larger. Noise that is only added does not care what you do.",
            ),
            Choice("larger: correct errors harder", "Errors are corrected by K already, as cheaply as can be."),
            Choice(
                "not at all: noise costs, and what it adds does not depend on today's action",
                "It adds p·σ² to the cost, a constant. For a linear world and a quadratic cost the gain stays.",
                right=True,
            ),
        ),
    ),
    Question(
        "winner",
        "The scores of four plans are [−7, NaN, −2, −5]. Which index does torch's argmax return?",
        number=1,
        within=0.01,
        because="torch takes NaN for the largest of all numbers, so the broken plan at index 1 wins. Make NaN −∞ first.",
        wrong=(
            (2, "That would be right if NaN lost. For torch it is larger than every number."),
            (0, "argmax looks for the largest, and −7 is the smallest."),
            (3, "−5 is not even the best of the finite ones."),
        ),
    ),
    Question(
        "replan",
        "The model is perfect and nothing is noisy. Does a planner with a horizon of 12 steps gain anything by planning again at each step?",
        (
            Choice(
                "no: a perfect plan stays perfect",
                "It does, for the 12 steps that it was made for. But step 13 was never looked at.",
            ),
            Choice(
                "yes: each new plan sees one step more of the future",
                "The end of a plan is made without knowing what follows. Only a horizon as long as the whole task would need no "
                "second plan.",
                right=True,
            ),
            Choice(
                "only if it uses random numbers",
                "Luck helps a random planner, too. But the exact best plan of 12 steps gains as well.",
            ),
        ),
    ),
    Question(
        "weight",
        "A score has γ = 0.9. Which share of its whole weight Σγᵗ (t = 0, 1, 2, …) lies on the first 10 steps?",
        number=1 - 0.9**10,
        within=0.006,
        because="1 − γ¹⁰ = 0.65: the horizon of 1/(1 − γ) = 10 steps is a soft one, and a third of the weight lies beyond it.",
        wrong=(
            (0.35, "That is γ¹⁰, the share of what lies *beyond*."),
            (1.0, "1/(1 − γ) = 10 is where the weight has fallen to about a third, not to nothing."),
            (0.9, "0.9 is the weight of a single step against the one before."),
        ),
    ),
)
