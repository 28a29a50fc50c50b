"""Lesson 06's questions: those asked before reading, and those at the end."""

from __future__ import annotations

from wmcourse.lessons.widget import Choice, Question

QUESTIONS = (
    Question(
        "survive",
        "A new LSTM has forget-gate biases of 1, as is usual, so its forget gates stand at 0.73. How much of a gradient is left along the "
        "cell after 50 steps?",
        (
            Choice(
                "nearly all of it: the LSTM solves vanishing gradients",
                "Along the cell the gradient is multiplied by f at each step, and 0.73 fifty times is next to nothing.",
            ),
            Choice("about a fiftieth", "It falls like a power of the *gate*, not like one over the distance."),
            Choice(
                "about a ten-millionth",
                "0.73⁵⁰ is about 1.6·10⁻⁷. The cell path has no matrix and no squashing, but it has f, and f must be near 1.",
                right=True,
            ),
        ),
    ),
    Question(
        "transient",
        "A linear RNN has a recurrent matrix W whose eigenvalues are all 0.9. Can a gradient grow while it goes back through ten steps?",
        (
            Choice(
                "no: an eigenvalue below 1 shrinks it at each step",
                "It does for a symmetric W. Otherwise eigenvalues only say what happens in the end.",
            ),
            Choice(
                "yes, where W’s largest singular value is above 1",
                "Eigenvalues rule the limit of many steps. What one step can do is ruled by the largest singular value, and the two can "
                "differ unless W is normal (symmetric, for example).",
                right=True,
            ),
            Choice("yes, but only because of the tanh", "tanh′ is at most 1: it never makes a gradient larger."),
        ),
    ),
    Question(
        "velocity",
        "A hazard below the band drifts to the left or to the right. From which numbers can a *linear* probe best tell which?",
        (
            Choice(
                "the code z of the frame",
                "One frame shows where things are. It has no velocity, and a linear probe finds next to none in it.",
            ),
            Choice(
                "the codes of this frame and of the one before",
                "The velocity is in there, but as a difference of places, and z bends: a straight line finds little of it.",
            ),
            Choice(
                "the state h of an LSTM that was never told about velocities",
                "It has read many frames, and what they say together of where things are going lies in it where a straight line finds more of it "
                "than in two codes. How much of that is owed to training, the untrained ones say.",
                right=True,
            ),
        ),
    ),
    Question(
        "biases",
        "An LSTM with 35 inputs and 256 units, as in the paper’s M model, has one bias for each gate and unit. How many parameters more does "
        "torch.nn.LSTM have for the same sizes?",
        number=1024,
        within=0.4,
        because="A second bias for each of the 4·256 gate units: 1,024 numbers that are only ever added to the first.",
        wrong=(
            (256, "One for each unit. But each unit has four gates, and each gate has its bias."),
            (0, "torch has two biases, b_ih and b_hh, where the papers have one."),
            (2048, "These are both biases. The question is how many *more*."),
        ),
    ),
    Question(
        "clipping",
        "The gradient is (30, 0.4). Somebody writes `g.clamp(-1, 1)` and calls it clipping to the norm 1. What happens to the step?",
        (
            Choice("nothing bad: both limit its size", "Its size is limited, yes. Look at where it points."),
            Choice(
                "it turns: from 75 : 1 to 2.5 : 1",
                "Clipping by value makes (1, 0.4), which points elsewhere, and is longer than 1, too. By norm it is (1, 0.013): shorter, and the "
                "same direction.",
                right=True,
            ),
            Choice("it becomes too short", "(1, 0.4) is 1.08 long, which is longer than was asked for."),
        ),
    ),
    Question(
        "border",
        "A long recording of many episodes is trained on in pieces of 32 steps. A piece ends in the middle of an episode. What must cross the border?",
        (
            Choice(
                "the state’s value, but not its gradient",
                "The episode goes on, so its memory must. The gradient is cut, for otherwise every piece would go back to the first. (At the end of an "
                "*episode* neither crosses.)",
                right=True,
            ),
            Choice("nothing: each piece begins at zero", "Then nothing older than the piece could ever be remembered."),
            Choice(
                "value and gradient",
                "Then the graph of all earlier pieces must be kept, and memory grows with the recording.",
            ),
        ),
    ),
)
