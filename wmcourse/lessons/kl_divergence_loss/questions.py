"""Lesson 03's questions: those asked before reading, and those at the end."""

from __future__ import annotations

from wmcourse.lessons.widget import Choice, Question

QUESTIONS = (
    Question(
        "negative",
        "The KL divergence is the integral of q·log(q/p). Can the integrand be negative somewhere?",
        (
            Choice("no, or the KL could be negative", "Only the whole integral cannot be negative; its pieces can."),
            Choice(
                "yes, wherever q is below p",
                "There log(q/p) < 0. But q is small there by definition, so these regions never outweigh the others.",
                right=True,
            ),
            Choice("yes, but only if q and p are not Gaussian", "Gaussians do it, too: look at the first widget."),
        ),
    ),
    Question(
        "direction",
        "q is a narrow bell in the middle of a wide bell p. Which costs more?",
        (
            Choice(
                "KL(q ‖ p): q is somewhere special", "q stays where p has much density, so p is hardly ever a surprise."
            ),
            Choice(
                "KL(p ‖ q): p goes where q never is",
                "Under p most samples lie where q has almost no density, and log(p/q) grows with the square of the distance.",
                right=True,
            ),
            Choice("both the same", "A divergence is not a distance: the expectation is under the first one."),
        ),
    ),
    Question(
        "collapse",
        "You train a VAE, every dimension's KL falls to 0, and it draws the same blurred frame for every input. "
        "What do you try first?",
        (
            Choice(
                "raise β, so that the KL counts more",
                "It counts too much already: raising β pulls harder to the prior.",
            ),
            Choice(
                "lower β, or give each dimension some nats for free",
                "At KL = 0 the code says nothing about the frame. Make saying something cheaper.",
                right=True,
            ),
            Choice("give it more latent dimensions", "More dimensions that say nothing say nothing."),
        ),
    ),
    Question(
        "mean_as_beta",
        "Somebody writes .mean(dim=-1) where the KL of 16 latent dimensions must be summed. "
        "Which β would give the same gradients with the right sum?",
        number=1 / 16,
        within=0.001,
        because="A mean over 16 dimensions is 1/16 of the sum: β = 1/16 = 0.0625, chosen by nobody.",
        wrong=((16, "That is the other way round: the mean is *smaller* than the sum."), (1.0, "Sum and mean differ.")),
    ),
    Question(
        "dead",
        "A dimension's mean KL over all frames is 0.0002 nats. What does the decoder learn about the frame from it?",
        (
            Choice(
                "very fine details", "Details need nats: telling two equally likely things apart costs log 2 = 0.69."
            ),
            Choice(
                "nothing: whatever the frame, it gets a sample of N(0, 1)",
                "KL ≈ 0 for every frame means that μ ≈ 0 and σ ≈ 1 for every frame: pure noise, a dead unit.",
                right=True,
            ),
            Choice("the average frame", "The decoder knows the average frame without any code: it is in its biases."),
        ),
    ),
    Question(
        "below_floor",
        "With free bits at a floor of 0.5 nats, a dimension stands at 0.2. What is the gradient of the KL term by that KL?",
        number=0.0,
        within=1e-9,
        because="max(0.5, 0.2) is the constant 0.5, whose gradient is 0: nothing pulls until the dimension is above the floor.",
        wrong=((0.2, "This is its KL, not the gradient."), (0.5, "This is the floor, which is a constant.")),
    ),
)
