"""Lesson 01's questions: the warm-up on what the course builds on, those asked before reading, and those at the end."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from wmcourse.lessons.widget import Asked, Choice, Question

# Not among the lesson's QUESTIONS: they test what one brings, not what one learns here. § are of the free book
# "Mathematics for Machine Learning" (Deisenroth, Faisal & Ong 2020), which the lesson links to.
WARM_UP = (
    Question(
        "chain_rule",
        "Calculus. With σ² = exp(v): how does σ = exp(v/2) change with v?",
        (
            Choice(
                "dσ/dv = exp(v/2)",
                "exp stays exp, but the inner function v/2 has the derivative ½. To refresh: the chain rule, § 5.1.",
            ),
            Choice(
                "dσ/dv = ½·exp(v/2)",
                "The inner derivative, ½, comes in front. You will meet this very one in lesson 02.",
                right=True,
            ),
            Choice(
                "dσ/dv = (v/2)·exp(v/2 − 1)",
                "That is the rule for powers, xⁿ. The exponential keeps its exponent. To refresh: § 5.1.",
            ),
        ),
    ),
    Question(
        "shapes",
        "Linear algebra. W has the shape (1024, 8) and z the shape (8,). Which shapes do W z and WᵀW have?",
        (
            Choice(
                "(8,) and (1024, 1024)",
                "The second would be W Wᵀ, and W z takes 8 numbers to 1024. To refresh: matrix products, § 2.2.",
            ),
            Choice(
                "(1024, 8) and (8, 8)",
                "W z adds up over the 8 columns: a vector comes out. (NumPy's * would broadcast and keep them.) To refresh: § 2.2.",
            ),
            Choice("(1024,) and (8, 8)", "Inner sizes meet and vanish: 8 with 8, then 1024 with 1024.", right=True),
        ),
    ),
    Question(
        "bayes",
        "Probability. A hazard turns left in 30 % of all cases. A camera says which, and errs in 20 %. It says “left”. How likely "
        "is left now?",
        (
            Choice(
                "0.80",
                "That is p(says left | left). The question turns it round, and then the 30 % count, too. To refresh: Bayes' "
                "theorem, § 6.3. It is at the heart of this lesson.",
            ),
            Choice(
                "about 0.63",
                "0.3·0.8 = 0.24 against 0.7·0.2 = 0.14, and 0.24/(0.24 + 0.14) = 0.63. The sum 0.38 has a name: the evidence.",
                right=True,
            ),
            Choice(
                "0.24",
                "That is the joint probability of left and “left”. Divide by the probability of hearing “left” at all. To "
                "refresh: § 6.3.",
            ),
        ),
    ),
    Question(
        "expectation",
        "Probability. z has the mean μ and the variance σ². What is E[z²]?",
        (
            Choice("μ²", "E[z²] is not E[z]²; the variance is the difference of the two. To refresh: § 6.4."),
            Choice("μ² + σ²", "Since the variance is E[z²] − E[z]². You need it within half an hour.", right=True),
            Choice(
                "σ²", "Only when the mean is 0: the variance measures from the mean, E[z²] from 0. To refresh: § 6.4."
            ),
        ),
    ),
    Question(
        "logs",
        "Logarithms. 1,024 independent pixels have each the probability 0.9. What is the logarithm of the probability of all?",
        (
            Choice("1024·log 0.9", "Independent: probabilities multiply, logarithms add up.", right=True),
            Choice(
                "log(1024·0.9)",
                "Probabilities of independent things multiply: 0.9 to the power 1024. Then log(aⁿ) = n·log a. To refresh: "
                "independence, § 6.4.",
            ),
            Choice(
                "(log 0.9) to the power 1024",
                "The logarithm of a power brings the exponent in front: log(aⁿ) = n·log a. To refresh: any school book on "
                "logarithms; five minutes will do.",
            ),
        ),
    ),
    Question(
        "gradient",
        "Calculus. L(a, b) = (2a − b)². What is its gradient at a = 1, b = 1?",
        (
            Choice(
                "(4, −2)", "∂L/∂a = 2·(2a − b)·2 = 4 and ∂L/∂b = 2·(2a − b)·(−1) = −2: one slope for each.", right=True
            ),
            Choice(
                "(2, 2)",
                "Both inner derivatives are lost: 2 by a, and −1 by b. To refresh: partial derivatives, § 5.2.",
            ),
            Choice("2", "A gradient has one slope for each variable, so two here. To refresh: § 5.2."),
        ),
    ),
    Question(
        "descent",
        "Neural networks. The loss is L(θ) = (θ − 3)², and θ stands at 1. Where is it after one step of gradient descent with "
        "rate 0.1?",
        (
            Choice(
                "0.6",
                "One goes against the slope: 1 − 0.1·(−4). You went uphill, away from 3. To refresh: gradient descent, § 7.1.",
            ),
            Choice(
                "1.2",
                "The slope of a square has a factor 2: 2·(θ − 3) = −4. To refresh: § 7.1, and back-propagation, § 5.6.",
            ),
            Choice("1.4", "The slope is 2·(1 − 3) = −4, and 1 − 0.1·(−4) = 1.4: towards 3.", right=True),
        ),
    ),
    Question(
        "backward",
        "Neural networks. In PyTorch you call loss.backward() on a network's loss. What has changed afterwards?",
        (
            Choice(
                "the parameters: they took a step",
                "That is optimizer.step(), one line later. To refresh: back-propagation, § 5.6, and PyTorch's autograd tutorial.",
            ),
            Choice(
                "each parameter's .grad: the loss's slope by it was added",
                "Added, hence zero_grad() before. The parameters move when the optimizer steps.",
                right=True,
            ),
            Choice(
                "the loss: it is smaller",
                "Nothing was computed anew; only slopes were. To refresh: back-propagation, § 5.6.",
            ),
        ),
    ),
)

REFRESH = {
    "chain_rule": "the chain rule (§ 5.1)",
    "shapes": "matrix products (§ 2.2)",
    "bayes": "Bayes’ theorem (§ 6.3)",
    "expectation": "mean and variance (§ 6.4)",
    "logs": "logarithms, and independence (§ 6.4)",
    "gradient": "gradients of functions of vectors (§ 5.2 and 5.3)",
    "descent": "gradient descent (§ 7.1)",
    "backward": "back-propagation (§ 5.6), and autograd in PyTorch’s own tutorials",
}


class Tally(widgets.HTML):
    """Where no kernel runs, a sentence."""

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return {**super()._repr_mimebundle_(**kwargs), "text/plain": "What to refresh: run the notebook, and answer."}


def tally(asked: list[Asked]) -> Tally:
    """How many of the warm-up's answers are right so far, and what to refresh; it keeps itself up to date."""
    line = Tally()

    def count(change: object = None) -> None:
        answered = [a.question for a in asked if a.answer.value is not None]
        missed = [REFRESH[q.name] for q in answered if not q.judge(q.given)[0]]
        words = f"<b>{len(answered)} of {len(asked)} answered, {len(answered) - len(missed)} right.</b>"
        words += f" To refresh: {'; '.join(missed)}." if missed else ""
        if len(answered) == len(asked):
            words += " You are ready." if len(missed) <= 2 else " Read those pages first."
        line.value = f"<div role='status' aria-live='polite' style='color:var(--jp-ui-font-color1)'>{words}</div>"

    for a in asked:
        a.answer.observe(count, "value")  # called after the question's own, which notes what was given
    count()
    return line


QUESTIONS = (
    Question(
        "samples",
        "You keep q as it is and estimate its ELBO with 1 sample; then with 1,000. On average, what happens to the estimate?",
        (
            Choice(
                "it rises towards log p(x)",
                "That would be so for the importance-weighted bound. The mean of 1,000 logs has the same expectation as one log.",
            ),
            Choice(
                "it stays the same, and becomes less noisy",
                "A mean of samples is unbiased for any number of them. The gap to log p(x) is KL(q ‖ p(z|x)), and only "
                "another q changes it.",
                right=True,
            ),
            Choice(
                "it falls, since more samples find more errors",
                "Every sample has the same expectation, so their mean has it, too, however many they are.",
            ),
        ),
    ),
    Question(
        "two_hills",
        "The true posterior has two equal hills, far apart. q is a single bell, chosen to have the highest ELBO. Where does it go?",
        (
            Choice(
                "in the middle, between the hills",
                "There p is almost 0, and KL(q ‖ p) asks a huge price for q where p is not.",
            ),
            Choice(
                "wide, over both hills",
                "That is what the *other* KL does, KL(p ‖ q). A q that wide spends most of its mass in the valley.",
            ),
            Choice(
                "onto one of the hills, and ignores the other",
                "Half of the truth costs log 2 = 0.69 nats, far less than any bell that touches the valley.",
                right=True,
            ),
        ),
    ),
    Question(
        "too_narrow",
        "The true posterior of two numbers is a tilted, thin ellipse. q must treat them as independent. Compared with the true "
        "spread of each number by itself, q of the highest ELBO is",
        (
            Choice(
                "wider, to cover the ellipse",
                "Covering is what the other KL wants. KL(q ‖ p) forbids q to be where p is not, in the empty corners.",
            ),
            Choice("just as wide", "That is the best for KL(p ‖ q), where every number may keep its own spread."),
            Choice(
                "narrower",
                "q has to stay inside the ellipse without being able to tilt: 1/Λ_ii, the spread of one number when the "
                "other is *known*.",
                right=True,
            ),
        ),
    ),
    Question(
        "gap",
        "For one frame log p(x) is 711.2 nats and the ELBO of an encoder is 708.7 nats. How large is KL(q(z) ‖ p(z|x)), in nats?",
        number=2.5,
        within=0.01,
        because="log p(x) = ELBO + KL, so it is 711.2 − 708.7 = 2.5 nats. (A log-density may well be above 0.)",
        wrong=(
            (-2.5, "A KL is never negative. log p(x) is the larger of the two, and the KL is what lies between."),
            (1419.9, "The KL fills the gap: log p(x) = ELBO + KL. It is a difference."),
        ),
    ),
    Question(
        "which_model",
        "On the same frames, model A has an ELBO of 640 nats, model B one of 643. Which explains the frames better, that is, has the "
        "higher log p(x)?",
        (
            Choice(
                "B, by 3 nats",
                "B's bound is 3 nats higher. A's encoder may be 10 nats below its own evidence and B's 1.",
            ),
            Choice(
                "one cannot know from this",
                "A bound says “at least”. The gaps are unknown, so the evidences may stand in either order. (Importance "
                "weights narrow it down.)",
                right=True,
            ),
            Choice(
                "A, since its bound is looser",
                "Nothing says whose bound is looser; only the sum of ELBO and gap counts.",
            ),
        ),
    ),
    Question(
        "no_entropy",
        "Somebody drops log q(z) from the ELBO, and maximises E_q[log p(x, z)] over μ and σ. Where does q end up?",
        (
            Choice(
                "on the prior",
                "Nothing pulls there but log p(z), which prefers z = 0, a point and not a spread.",
            ),
            Choice(
                "on the posterior, only more slowly",
                "The slope of log σ, the 1, is gone, and with it the equilibrium: −exp(2 log σ)·(…) is negative everywhere.",
            ),
            Choice(
                "as a spike on the single most probable z",
                "Every spread costs, and nothing pays for it any more: σ → 0. It is the entropy that keeps q a distribution.",
                right=True,
            ),
        ),
    ),
)
