"""Lesson 08's questions: those asked before reading, and those at the end."""

from __future__ import annotations

from wmcourse.lessons.widget import Choice, Question

QUESTIONS = (
    Question(
        "one_dream",
        "A model of Dodge is as good as one can be. You must guess the frame 20 steps ahead, and pay the squared error of its "
        "pixels. Which of the two is the better guess?",
        (
            Choice(
                "one dream of the model",
                "A dream shows *a* future with sharp hazards in it. If they are elsewhere in the real one, you pay for each twice: "
                "where it is dreamt, and where it is.",
            ),
            Choice(
                "the average frame of all episodes",
                "It is wrong everywhere by a little, and pays for what it does not know once. A dream pays twice: for the world's "
                "chance and for its own.",
                right=True,
            ),
            Choice(
                "they are equally good",
                "They are not: 20 steps ahead one dream of a perfect model is off by about a fifth more, as you will measure.",
            ),
        ),
    ),
    Question(
        "one_bell",
        "A network predicts each latent dimension with a single Gaussian (K = 1). It dreams the same fork a hundred times. Where is the "
        "hazard five steps later?",
        (
            Choice(
                "in the middle, falling straight down",
                "So it would be if the *means* were fed back. But samples are: the first one is a little to a side by chance, the memory "
                "takes it for a fact, and goes on from there.",
            ),
            Choice("always on the same side", "That is what τ = 0 does, where there is no chance at all."),
            Choice(
                "left in about half of the dreams, right in the others",
                "Each step is sampled and fed back. One bell is enough to be a little left or right by chance, and the next steps make a "
                "fact of it. What K = 1 lacks shows in the likelihood of single steps.",
                right=True,
            ),
        ),
    ),
    Question(
        "on_centres",
        "Somebody trains on the code's centres μ and leaves the encoder's σ out. On held-out centres the loss is 20 nats per step "
        "lower than yours. Who has the better model of the world?",
        (
            Choice(
                "they: less noise in, a sharper prediction out",
                "Sharper than the codes that come out of the encoder, and out of its own dreams. The two losses are of different data, and do "
                "not compare.",
            ),
            Choice(
                "one cannot tell from this, and on samples it will be far worse",
                "The target's noise is gone, so the loss falls, whatever is learnt. Score both on the same samples.",
                right=True,
            ),
            Choice("they, if it holds on the training set, too", "It does, and says nothing: both are centres."),
        ),
    ),
    Question(
        "honest",
        "A done head was trained with class weight 3, and its sigmoid says 0.6. What is the probability of an ending?",
        number=1 / 3,
        within=0.005,
        because="The odds are 0.6/0.4 = 1.5, three times too high: honest odds are 0.5, and 0.5/1.5 = 1/3.",
        wrong=(
            (0.2, "0.6/3: the weight multiplies odds, not probabilities. The odds here are 1.5."),
            (0.6, "This is what it says. Its odds are three times too high."),
            (0.5, "These are the honest *odds*, 1.5/3. As a probability: odds/(1 + odds)."),
            (0.82, "You have applied the weight once more. It must be taken away."),
        ),
    ),
    Question(
        "many_dreams",
        "At some horizon one dream is off by 30 (squared), and the average of five dreams by 22. By how much would the average of endlessly many be off?",
        number=20,
        within=0.3,
        because="One: m + spread = 30, where m is the bias² and the world's chance together. Five: m + spread/5 = 22. So 4/5 of the spread is 8, the spread is 10, and 20 are left.",
        wrong=(
            (22, "An average of five still has a fifth of the dreams' own spread in it."),
            (14, "30 − 22 = 8 is 4/5 of the spread, not all of what is still to be gained."),
            (
                15,
                "Half of 30 is right only for a perfect model: there the dreams' own spread is as large as what their average is off by. The five dreams "
                "say that it is not so here.",
            ),
            (0, "Dreams of the right distribution leave the world's own chance: no average foretells it."),
        ),
    ),
    Question(
        "own_samples",
        "The dream is fed with its own samples, the training with real latents. Why not train on its own samples from the start?",
        (
            Choice(
                "it would be too slow",
                "A loop over time costs a little, and one could afford it. The trouble is what it learns.",
            ),
            Choice(
                "the target belongs to the real latent, not to the sample: the best network then learns to trust its input less than it should",
                "The chain rule conditions on what really happened. A sample with the target of another x_{t+1} teaches a smaller slope, ρ³ for ρ at a share of 1, and no "
                "amount of data mends it.",
                right=True,
            ),
            Choice(
                "there is no difference, a good model's samples are like real latents",
                "They have the same distribution, but x_{t+2} did not follow from *this* one.",
            ),
        ),
    ),
)
