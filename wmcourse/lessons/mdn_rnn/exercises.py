"""Lesson 08's exercises: their inputs, their right answers, and the mistakes that people make in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wmcourse import mdn_rnn
from wmcourse.lessons import judge
from wmcourse.lessons.exercise import Ask, Exercise, Mistake
from wmcourse.lessons.judge import Answer, Case, Outcome
from wmcourse.mdn_rnn import MDNRNN, DreamStep, Prediction, SequenceLoss, State, dream_step, sequence_loss
from wmcourse.mixture_density_networks import mixture_mean, mixture_nll, sample_mixture

Rng = np.random.Generator


@dataclass(eq=False, repr=False)
class Sampled(Exercise):
    """Compared number by number on its cases, where nothing is random; ``also`` complains about what it samples
    elsewhere. ``flat`` turns an answer into one that takes and returns plain arrays, for the judge.
    """

    also: Callable[[Ask, Rng], str] | None = field(default=None, kw_only=True)
    flat: Callable[[Answer], Answer] | None = field(default=None, kw_only=True)
    signature: tuple[str, ...] = field(default=(), kw_only=True)

    def judge(self, answer: Answer, seed: int | None = None) -> None:
        if self.flat is None or self.untouched(answer) or not callable(answer):
            super().judge(answer, seed)
            return
        self.takes(answer, list(self.signature))
        known = tuple(mistake._replace(answer=self.flat(mistake.answer)) for mistake in self.known)
        plain = replace(self, flat=None, reference=self.flat(self.reference), known=known)
        plain.judge(self.flat(answer), seed)

    def hold(
        self, answer: Answer, seed: int | None, cases: list[Case], got: list[Outcome], right: list[Outcome]
    ) -> None:
        Exercise.hold(replace(self, properties=self.also), answer, seed, cases, got, right)


def small_model(rng: Rng, latent: int, action: int, hidden: int, components: int, kind: torch.dtype) -> MDNRNN:
    """A fresh network with weights so large that nothing in it is linear."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        model = MDNRNN(latent, action, hidden, components)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    return model.to(kind)


def floats(kind: torch.dtype) -> type[np.floating[Any]]:
    return np.float32 if kind == torch.float32 else np.float64


# --- 1 · Windows


def window_cases(rng: Rng) -> Iterator[Case]:
    for lengths, size, about in (
        ([5, 3, 9, 4], 4, "four short episodes"),
        ([1, 6, 1, 2], 3, "episodes of one step"),
        (list(rng.integers(2, 20, 12)), int(rng.integers(5, 9)), "a longer row"),
        ([7], 12, "one episode, shorter than the window"),
    ):
        ended = np.zeros(int(sum(lengths)), bool)
        ended[np.cumsum(lengths) - 1] = True
        first = rng.integers(0, len(ended), 5)
        first[0], first[1] = 0, len(ended) - 1  # the first step of all, and the last
        if len(lengths) > 1:
            first[2] = lengths[0] - 1  # the last step of an episode that is not the last
        yield Case({"first": first.astype(np.int64), "ended": ended, "length": size}, about)
    yield Case({"first": np.array([1]), "ended": np.array([False, False, True, True]), "length": 1}, "a batch of one")


def windows(first: Tensor, ended: Tensor, length: int) -> tuple[Tensor, Tensor]:
    ends = ended.nonzero()[:, 0]
    last = ends[torch.searchsorted(ends, first)][:, None]  # of each window's episode
    steps = first[:, None] + torch.arange(length + 1)
    return steps.clamp(max=last), (steps[:, :-1] <= last).float()


def cutting(
    side: bool = False,
    more: int = 1,
    limit: Callable[[Tensor, Tensor], Tensor] = lambda last, total: last,
    real: Callable[[Tensor, Tensor], Tensor] = lambda now, last: now <= last,
    whole: bool = False,
) -> Answer:
    def answer(first: Tensor, ended: Tensor, length: int) -> tuple[Tensor, Tensor]:
        ends = ended.nonzero()[:, 0]
        place = torch.searchsorted(ends, first, right=side).clamp(max=len(ends) - 1)
        last = ends[place][:, None]
        steps = first[:, None] + torch.arange(length + more)
        mask = real(steps if whole else steps[:, :length], last).float()
        total = torch.full_like(last, len(ended) - 1)
        return torch.minimum(steps, limit(last, total)), mask

    return answer


def windows_backwards(first: Tensor, ended: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The window is moved back until it fits: padding is avoided, and the first step is another."""
    ends = ended.nonzero()[:, 0]
    last = ends[torch.searchsorted(ends, first)][:, None]
    begin = torch.minimum(first[:, None], (last - length + 1).clamp(min=0))
    steps = begin + torch.arange(length + 1)
    return torch.minimum(steps, last), (steps[:, :-1] <= last).float()


def windows_wrapped(first: Tensor, ended: Tensor, length: int) -> tuple[Tensor, Tensor]:
    steps = (first[:, None] + torch.arange(length + 1)) % len(ended)
    return steps, torch.ones(len(first), length)


def windows_until_any_end(first: Tensor, ended: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Only the row's end stops the steps, and the mask is 0 on endings: 1 again after them."""
    steps = (first[:, None] + torch.arange(length + 1)).clamp(max=len(ended) - 1)
    return steps, 1 - ended[steps[:, :-1]].float()


def windows_counted_inclusively(first: Tensor, ended: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Episodes numbered by a cumulative sum that counts an ending to the next one."""
    number = torch.cumsum(ended.long(), 0)
    steps = (first[:, None] + torch.arange(length + 1)).clamp(max=len(ended) - 1)
    same = number[steps] == number[first][:, None]
    last = torch.where(same, steps, 0).amax(dim=1, keepdim=True)
    return torch.minimum(steps, last), same[:, :-1].float()


def windows_padded_with(value: int) -> Answer:
    def answer(first: Tensor, ended: Tensor, length: int) -> tuple[Tensor, Tensor]:
        steps, mask = windows(first, ended, length)
        return torch.where(steps == first[:, None] + torch.arange(length + 1), steps, value), mask

    return answer


def windows_one_by_one(first: torch.Tensor, ended: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    steps = torch.zeros(len(first), length + 1, dtype=torch.int64)
    mask = torch.zeros(len(first), length)
    for row in range(len(first)):
        step = int(first[row])
        over = False
        for t in range(length + 1):
            steps[row, t] = step
            if t < length:
                mask[row, t] = 0.0 if over else 1.0
            if ended[step]:
                over = True
            else:
                step += 1
    return steps, mask


def windows_by_episode_number(first: Tensor, ended: Tensor, length: int) -> tuple[Tensor, Tensor]:
    episode = torch.cumsum(ended.long(), 0) - ended.long()  # the number of each step's episode
    steps = (first[:, None] + torch.arange(length + 1)).clamp(max=len(ended) - 1)
    same = episode[steps] == episode[first][:, None]
    inside = same & (first[:, None] + torch.arange(length + 1) < len(ended))
    last = torch.where(same, steps, -1).amax(dim=1, keepdim=True)
    return torch.where(same, steps, last), inside[:, :length].float()


WINDOWS = Exercise(
    "windows",
    "Windows that never cross an episode",
    10,
    2,
    (
        "For each window you need the row of its episode's last step: the first place at or after `first` where `ended` is true. "
        "`ended.nonzero()[:, 0]` lists all such places in order.",
        "`torch.searchsorted(ends, first)` says which of them is the first that is not before `first`. Then "
        "`first[:, None] + torch.arange(length + 1)` are the steps, and none may be larger than the episode's last.",
        "The mask looks at the first `length` columns *before* they are limited: 1 where the step is not after the last one. "
        "The last step itself counts: its reward and its `done` are real.",
    ),
    (
        Mistake(
            "windows run into the next episode",
            cutting(limit=lambda last, total: total, real=lambda now, last: torch.ones_like(now)),
            "Steps just go on, and all count. Where an episode ends, the next line of the row is the start of another one: you teach "
            "the network that a hit makes the world begin anew, and h is carried over a reset.",
        ),
        Mistake(
            "steps of the next episode behind a right mask",
            cutting(limit=lambda last, total: total),
            "Your mask is right, but `steps` still points into the next episode. The loss would forgive it; whoever forgets the mask "
            "once (a plot, an average) is in another episode without noticing. Repeat the last step as padding.",
        ),
        Mistake(
            "the padding counts",
            cutting(real=lambda now, last: torch.ones_like(now)),
            "The steps stop in time, but the mask is 1 on the repeated ones as well: the network is taught a world that stands still.",
        ),
        Mistake(
            "the last step is masked out",
            cutting(real=lambda now, last: now < last),
            "Your mask ends one step early. The last step of an episode has no next frame, but it has a reward and it has the only "
            "`done` of the whole episode: masked out, the done head never sees a death. Only the *latent's* loss must skip it (exercise 3).",
        ),
        Mistake(
            "one step too many counts",
            cutting(real=lambda now, last: now <= last + 1),
            "The mask is 1 for the step after the episode's last: that is the next episode's first (or padding).",
        ),
        Mistake(
            "the next episode's first step as the last target",
            cutting(limit=lambda last, total: torch.minimum(last + 1, total)),
            "You allow one step more, as if the last step had a successor. What lies there is the first frame of *another* episode.",
        ),
        Mistake(
            "length steps, not one more",
            cutting(more=0),
            "A window of T predictions needs T + 1 latents, z_0 … z_T: the last one is a target only.",
        ),
        Mistake(
            "a mask for every latent",
            cutting(whole=True),
            "The mask has a place for each *transition* (z_t, a_t) → z_{t+1}, so `length` of them, one fewer than latents.",
        ),
        Mistake(
            "a window that starts at an ending belongs to the next episode",
            cutting(side=True),
            "`searchsorted(…, right=True)` looks for an ending *after* `first`. If `first` is itself the last step of its episode, the "
            "window runs through the whole next one. It must be the first ending at or after `first`.",
        ),
        Mistake(
            "the window moved back",
            windows_backwards,
            "You move the window back until it fits. No padding, but it no longer starts at `first`, and for a short episode it begins "
            "in the one before.",
        ),
        Mistake(
            "wrapped around",
            windows_wrapped,
            "Modulo the number of rows avoids an index error, and joins the last episode to the first.",
        ),
        Mistake(
            "steps beyond the row's end, behind a right mask",
            cutting(limit=lambda last, total: last + 10**6),
            "Your mask is right, but nothing limits `steps`: they point into the next episode and, at the row's end, to where no data is. "
            "A mask does not help against an index error.",
        ),
        Mistake(
            "steps beyond the row's end",
            cutting(limit=lambda last, total: last + 10**6, real=lambda now, last: torch.ones_like(now)),
            "Nothing limits `steps`, and the mask is 1 everywhere: windows run into the next episode and, at the row's end, beyond the data.",
        ),
        Mistake(
            "only the endings are masked out",
            windows_until_any_end,
            "`~ended` is 0 at the ending itself, whose reward and `done` are real, and 1 *again* behind it, in the next episode. Both are the "
            "wrong way round.",
        ),
        Mistake(
            "an ending counted to the next episode",
            windows_counted_inclusively,
            "`ended.cumsum(0)` goes up *at* an episode's last step, which therefore gets the next one's number. Subtract `ended` again.",
        ),
        Mistake(
            "padded with row 0",
            windows_padded_with(0),
            "Padding that points to row 0 is another episode's first frame. It does no harm behind the mask; but the text asks for the last step, "
            "repeated, so that a forgotten mask does no harm either.",
        ),
        Mistake(
            "padded with −1",
            windows_padded_with(-1),
            "As an index −1 is the *last row of all*: data of another episode, and no error. Repeat the last step.",
        ),
    ),
    (windows_one_by_one, windows_by_episode_number),
    reference=windows,
    cases=window_cases,
    expects="steps (B, length + 1) of whole numbers, all of one episode, and a mask (B, length) of 1.0 and 0.0",
    checked="Steps and masks of five rows of episodes: windows at the very first and last step, at an ending, episodes of one step, and "
    "windows longer than the episode.",
    equivalent={"gradient cut": "whole numbers have no gradient"},
)


# --- 2 · The done head


def head_cases(rng: Rng) -> Iterator[Case]:
    for shape, kind, weight, about in (
        ((4, 6), np.float32, 3.0, "a small batch"),
        ((1, 5), np.float64, 1.0, "a batch of one, weight 1"),
        ((int(rng.integers(3, 7)), 1), np.float64, round(float(rng.uniform(5, 20)), 1), "one step each"),
        ((3, 4), np.float64, 0.5, "a weight below 1"),
    ):
        logit = rng.normal(-1, 2, shape).astype(kind)
        done = (rng.random(shape) < 0.4).astype(kind)
        done.flat[0], done.flat[-1] = 1, 0
        yield Case({"logit": logit, "done": done, "weight": weight}, about, ("logit",))
    sure = rng.choice([-1.0, 1.0], (4, 5)) * rng.uniform(30, 80, (4, 5))  # exp of it is still finite
    done = (rng.random((4, 5)) < 0.5).astype(np.float32)
    done[0, :2], sure[0, :2] = (1, 0), (-60, 60)  # sure and wrong, both ways
    yield Case({"logit": sure.astype(np.float32), "done": done, "weight": 4.0}, "a head that is very sure", ("logit",))
    surer = np.array([[120.0, -120.0, 120.0, -120.0]], np.float32) * rng.uniform(1.0, 1.2)
    done = np.array([[1, 0, 0, 1]], np.float32)
    yield Case({"logit": surer.astype(np.float32), "done": done, "weight": 2.0}, "a head that is surer still, ℓ = ±120")


def done_head(logit: Tensor, done: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    nll = weight * done * F.softplus(-logit) + (1 - done) * F.softplus(logit)
    return nll, torch.sigmoid(logit - math.log(weight))


def head(
    nll: Callable[[Tensor, Tensor, float], Tensor] = lambda logit, done, w: done_head(logit, done, w)[0],
    probability: Callable[[Tensor, float], Tensor] = lambda logit, w: torch.sigmoid(logit - math.log(w)),
) -> Answer:
    def answer(logit: Tensor, done: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        return nll(logit, done, weight), probability(logit, weight)

    return answer


def bernoulli_by_log(logit: Tensor, done: Tensor, w: float) -> Tensor:
    p = torch.sigmoid(logit)
    return -(w * done * torch.log(p) + (1 - done) * torch.log(1 - p))


def bernoulli_with_a_bit(logit: Tensor, done: Tensor, w: float) -> Tensor:
    p = torch.sigmoid(logit)
    return -(w * done * torch.log(p + 1e-8) + (1 - done) * torch.log(1 - p + 1e-8))


def bernoulli_cut_off(logit: Tensor, done: Tensor, w: float, least: float = 1e-7) -> Tensor:
    p = torch.sigmoid(logit).clamp(least, 1 - least)
    return -(w * done * torch.log(p) + (1 - done) * torch.log(1 - p))


def head_from_torch(logit: torch.Tensor, done: torch.Tensor, weight: float) -> tuple[torch.Tensor, torch.Tensor]:
    import torch.nn.functional as F

    nll = F.binary_cross_entropy_with_logits(logit, done, reduction="none", pos_weight=torch.tensor(weight).to(logit))
    return nll, 1 / (1 + weight * torch.exp(-logit))


def head_by_logsigmoid(logit: Tensor, done: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    nll = -torch.where(done > 0.5, weight * F.logsigmoid(logit), F.logsigmoid(-logit))
    p = torch.sigmoid(logit)
    return nll, p / (p + weight * (1 - p))


DONE_HEAD = Exercise(
    "done_head",
    "The done head, and its class weight",
    8,
    2,
    (
        "−log σ(ℓ) is `F.softplus(-logit)`, and −log(1 − σ(ℓ)) is `F.softplus(logit)`: both stable. Which of the two does the weight "
        "multiply? For the probability: your third step says what the weight does to the odds.",
        "The weight multiplies the odds, so it adds log w to the logit. Undo that before the sigmoid.",
        "Two summands: one with `done` before it, one with `1 - done`, and the weight stands in the first. For the probability, the logit loses "
        "what the weight has added to it, and then the sigmoid.",
    ),
    (
        Mistake(
            "the weight on survival",
            head(lambda logit, done, w: done * F.softplus(-logit) + w * (1 - done) * F.softplus(logit)),
            "The weight multiplies the steps that *survive*, which are 50 times as many already: the head learns never to say done.",
        ),
        Mistake(
            "the weight on everything",
            head(lambda logit, done, w: w * (done * F.softplus(-logit) + (1 - done) * F.softplus(logit))),
            "Both outcomes are weighted alike. That is a larger learning rate for the head, and no class weight.",
        ),
        Mistake(
            "the weight left out",
            head(lambda logit, done, w: done * F.softplus(-logit) + (1 - done) * F.softplus(logit)),
            "This is the plain Bernoulli likelihood; `weight` never enters the loss. (The probability undoes a weight that was not there.)",
        ),
        Mistake(
            "the exponents swapped",
            head(lambda logit, done, w: w * done * F.softplus(logit) + (1 - done) * F.softplus(-logit)),
            "−log σ(ℓ) is softplus(−ℓ). With the signs swapped the head learns the probability of *surviving*, under the name done.",
        ),
        Mistake(
            "log of a sigmoid",
            head(bernoulli_by_log),
            "Where the head is sure, the sigmoid rounds to 0 or 1, and its logarithm is −∞ (times 0: NaN). Use softplus, or "
            "`F.logsigmoid` (lesson 04).",
        ),
        Mistake(
            "a small number against log 0",
            head(bernoulli_with_a_bit),
            "1e-8 keeps the logarithm finite and cuts its gradient off where the head is sure and wrong, which is where it must learn most.",
        ),
        Mistake(
            "a probability cut off against log 0",
            head(bernoulli_cut_off),
            "`clamp` keeps the logarithm finite and has no gradient beyond its ends: where the head is sure and wrong, it learns nothing.",
        ),
        Mistake(
            "exp(ℓ) over 1 + exp(ℓ)",
            head(probability=lambda logit, w: (logit - math.log(w)).exp() / (1 + (logit - math.log(w)).exp())),
            "Right on paper. In single precision exp(ℓ) is infinite from ℓ = 89 on, and ∞/∞ is NaN. `torch.sigmoid` knows both ends.",
        ),
        Mistake(
            "a mean at once",
            head(lambda logit, done, w: done_head(logit, done, w)[0].mean()),
            "One number for all steps. The mask comes later, and needs one for each step: padding must not count.",
        ),
        Mistake(
            "the weight not undone",
            head(probability=lambda logit, w: torch.sigmoid(logit)),
            "The sigmoid of a head that was trained with a weight is no probability of dying: its odds are w times too high. It is "
            "tempting, since with weight 1 it is right. In a dream you would die several times too often.",
        ),
        Mistake(
            "the weight undone twice",
            head(probability=lambda logit, w: torch.sigmoid(logit - 2 * math.log(w))),
            "You take log w off twice. Once: the odds are w times too high.",
        ),
        Mistake(
            "the weight applied once more",
            head(probability=lambda logit, w: torch.sigmoid(logit + math.log(w))),
            "You *add* log w: training has done so already. Subtract it.",
        ),
        Mistake(
            "the probability divided by the weight",
            head(probability=lambda logit, w: torch.sigmoid(logit) / w),
            "The weight multiplies the *odds* p/(1 − p), not p. For rare endings the two are nearly the same, which is why nobody notices "
            "until the head is sure: 0.99/3 is 0.33, and it should be 0.97.",
        ),
        Mistake(
            "the weight taken off the logit",
            head(probability=lambda logit, w: torch.sigmoid(logit - w)),
            "The odds are multiplied by w, so the *log*-odds have log w added. You subtract w itself.",
        ),
        Mistake(
            "the logit divided by the weight",
            head(probability=lambda logit, w: torch.sigmoid(logit / w)),
            "Dividing a logit is a temperature: it pulls to ½. A factor on the odds is a summand on the logit.",
        ),
        Mistake(
            "the probability over itself and the weight",
            head(probability=lambda logit, w: torch.sigmoid(logit) / (torch.sigmoid(logit) + w)),
            "In p/(p + w·(1 − p)) the weight stands with the *survivors*, 1 − p. Without that factor a sure head never says more than 1/(1 + w).",
        ),
        Mistake(
            "the odds for the probability",
            head(probability=lambda logit, w: torch.exp(logit) / w),
            "These are the honest odds p/(1 − p). A probability is odds/(1 + odds).",
        ),
        Mistake(
            "the log-odds for the probability",
            head(probability=lambda logit, w: logit - math.log(w)),
            "The weight is undone, and the sigmoid is missing: this is still a logit.",
        ),
        Mistake(
            "the probability of going on",
            head(probability=lambda logit, w: torch.sigmoid(math.log(w) - logit)),
            "This is 1 − P(done). What is asked for is the ending.",
        ),
        Mistake(
            "the probability of what happened",
            lambda logit, done, w: (
                done_head(logit, done, w)[0],
                torch.where(done > 0, done_head(logit, done, w)[1], 1 - done_head(logit, done, w)[1]),
            ),
            "P(done) where it ended and 1 − P(done) where it did not: that is the likelihood. The second output is the probability of an ending, "
            "whatever came.",
        ),
        Mistake(
            "the likelihood for the loss",
            head(lambda logit, done, w: -done_head(logit, done, w)[0]),
            "The sign: this is the log-likelihood, at most 0, and who minimises it makes the head as wrong as can be.",
        ),
        Mistake(
            "one more than the weight",
            head(lambda logit, done, w: (1 + w * done) * done_head(logit, done, 1.0)[0]),
            "1 + w·done is 1 + w at an ending. It should be w there: 1 + (w − 1)·done.",
        ),
        Mistake(
            "divided by the mean weight",
            head(lambda logit, done, w: done_head(logit, done, w)[0] / (1 + (w - 1) * done).mean()),
            "You normalise by the batch's mean weight. Then a step's nats depend on what else is in the batch; and the mask comes only later.",
        ),
        Mistake(
            "a sigmoid before the logits' loss",
            head(lambda logit, done, w: done_head(torch.sigmoid(logit), done, w)[0]),
            "`…_with_logits` and softplus take the logit and do the sigmoid themselves. With one before it the probability never leaves ½ … 0.73, "
            "and its loss never falls.",
        ),
        Mistake(
            "the cross-entropy of a probability",
            head(
                lambda logit, done, w: (
                    (1 + (w - 1) * done) * F.binary_cross_entropy(torch.sigmoid(logit), done, reduction="none")
                )
            ),
            "`F.binary_cross_entropy` takes a probability that is already rounded, and cuts its logarithm at −100: a head that is sure and wrong "
            "has no gradient any more. `…_with_logits` takes the logit.",
        ),
        Mistake(
            "a probability cut off at a millionth",
            head(lambda logit, done, w: bernoulli_cut_off(logit, done, w, 1e-6)),
            "With the probability kept within a millionth of 0 and 1 no step costs more than 14 nats (times the weight), and beyond that there is no gradient: where "
            "the head is sure and wrong, it learns nothing. Use softplus.",
        ),
    ),
    (head_from_torch, head_by_logsigmoid),
    reference=done_head,
    cases=head_cases,
    expects="two tensors of logit's shape: weighted nats of each step, and the probability of an ending with the weight undone",
    checked="Nats, probabilities and gradients on six fresh batches: weights above, at and below 1, a batch of one, a head that is very sure.",
)


# --- 3 · The sequence loss


def sequence_cases(rng: Rng) -> Iterator[Case]:
    for batch, time, kind, weight, given, about in (
        (3, 5, torch.float32, 1.0, True, "three windows of unequal length"),
        (4, 6, torch.float64, 4.0, True, "a class weight of 4; one episode is cut off and not done"),
        (1, 4, torch.float64, 2.0, False, "a batch of one, without `ended`"),
        (2, 1, torch.float64, 1.0, True, "windows of one step"),
    ):
        dtype = floats(kind)
        model = small_model(rng, 3, 2, 5, 2, kind)
        lengths = rng.integers(1, time + 1, batch)
        lengths[0] = time
        if batch > 2:
            lengths[1], lengths[2] = time - 2, time - 1  # the second is cut off, the third ends in a hit
        mask = (np.arange(time) < lengths[:, None]).astype(dtype)
        done, ended = np.zeros((batch, time), dtype), np.zeros((batch, time), dtype)
        for row in range(1, batch):
            ended[row, lengths[row] - 1] = 1
            done[row, lengths[row] - 1] = float(row != 1 or not given)
        if not given:
            done[0, -1] = 1
        inputs: dict[str, Any] = {"model": model}
        inputs |= {"z": rng.normal(0, 1, (batch, time + 1, 3)).astype(dtype)}
        inputs |= {"a": rng.uniform(-1, 1, (batch, time, 2)).astype(dtype)}
        inputs |= {"reward": rng.normal(0, 1, (batch, time)).astype(dtype), "done": done, "mask": mask}
        inputs |= {"ended": ended if given else None, "done_weight": weight}
        yield Case(inputs, about, ("z", "a", "reward"))
    model = small_model(rng, 2, 1, 4, 3, torch.float64)
    one = np.ones((2, 1))
    inputs = {"model": model, "z": rng.normal(0, 1, (2, 2, 2)), "a": rng.uniform(-1, 1, (2, 1, 1)), "reward": 0 * one}
    inputs |= {"done": one, "mask": one, "ended": one, "done_weight": 3.0}
    yield Case(inputs, "nothing but endings: no next latent at all", ("z", "a", "reward"))
    yield Case(sure_of_endings(rng), "a done head that is very sure, logits around ±120", ("z", "a", "reward"))
    yield Case(far_target(rng), "a next latent 40 σ from every component", ("z", "a", "reward"))


def two_windows(rng: Rng, kind: torch.dtype) -> dict[str, Any]:
    """Four steps each, the second ends in a hit."""
    last = np.array([[0, 0, 0, 0], [0, 0, 0, 1]])
    arrays = {"z": rng.normal(0, 1, (2, 5, 2)), "a": rng.uniform(-1, 1, (2, 4, 1)), "reward": rng.normal(0, 1, (2, 4))}
    arrays |= {"done": last, "mask": np.ones((2, 4)), "ended": last}
    inputs: dict[str, Any] = {"model": small_model(rng, 2, 1, 5, 2, kind)}
    return inputs | {name: value.astype(floats(kind)) for name, value in arrays.items()} | {"done_weight": 2.0}


def said(inputs: dict[str, Any]) -> Prediction:
    with torch.no_grad():
        prediction, _ = inputs["model"](torch.from_numpy(inputs["z"][:, :-1]), torch.from_numpy(inputs["a"]))
    return prediction


def sure_of_endings(rng: Rng) -> dict[str, Any]:
    inputs = two_windows(rng, torch.float32)
    outcome = inputs["model"].outcome
    with torch.no_grad():
        outcome.bias[1] -= said(inputs).done_logit.quantile(0.5)  # as many steps on either side
        factor = 120 / said(inputs).done_logit.abs().mean()
        outcome.weight[1] *= factor
        outcome.bias[1] *= factor
    return inputs


def far_target(rng: Rng) -> dict[str, Any]:
    inputs = two_windows(rng, torch.float64)
    p = said(inputs)
    far = p.mu[0, -1].amax(-1) + 40 * p.log_sigma[0, -1].exp().amax(-1)
    inputs["z"][0, -1] = far.numpy()  # the last latent is a target only
    return inputs


def sequences(
    target: Callable[[Tensor], Tensor] = lambda z: z[:, 1:],
    action: Callable[[Tensor], Tensor] = lambda a: a,
    inside: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda mask, ended, done: mask * (1 - ended),
    outcome: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda mask, ended, done: mask,
    per: Callable[[Tensor, Tensor], Tensor] = lambda inside, mask: inside.sum().clamp(min=1),
    steps: Callable[[Tensor], Tensor] = lambda mask: mask.sum(),
    latent: Callable[[Tensor, Any], Tensor] = lambda z, p: mixture_nll(z, p.log_pi, p.mu, p.log_sigma),
    half: float = 0.5,
    weights: Callable[[Tensor, float], Tensor] = lambda done, w: 1 + (w - 1) * done,
    bce: Callable[[Tensor, Tensor], Tensor] = lambda logit, done: F.binary_cross_entropy_with_logits(
        logit, done, reduction="none"
    ),
    reported: bool = False,
    carried: bool = True,
    late: bool = False,
    given: Callable[[Tensor], Tensor] = lambda z: z[:, :-1],
) -> Answer:
    """The sequence loss with one of its pieces replaced."""

    def answer(
        model: MDNRNN,
        z: Tensor,
        a: Tensor,
        reward: Tensor,
        done: Tensor,
        mask: Tensor,
        ended: Tensor | None,
        done_weight: float,
    ) -> SequenceLoss:
        ended = done if ended is None else ended
        if carried:
            p, _ = model(given(z), action(a))
        else:
            alone, _ = model(z[:, :-1].reshape(-1, 1, z.shape[-1]), action(a).reshape(-1, 1, a.shape[-1]))
            p = type(alone)(*(part[:, 0].unflatten(0, a.shape[:2]) for part in alone))
        if late:  # what is said before the transition
            p = p._replace(reward=before(p.reward), done_logit=before(p.done_logit))
        within, counted = inside(mask, ended, done), outcome(mask, ended, done)
        nll = (latent(target(z), p) * within).sum() / per(within, mask)
        r = (half * (p.reward - reward).square() * counted).sum() / steps(counted)
        each = bce(p.done_logit, done)
        weighted, plain = (
            (each * weights(done, done_weight) * counted).sum() / steps(counted),
            (each * counted).sum() / steps(counted),
        )
        return SequenceLoss(nll + r + weighted, nll, r, weighted if reported else plain)

    return answer


def density(z: Tensor, p: Any) -> Tensor:
    width = p.log_sigma.exp()
    bells = torch.exp(-0.5 * ((z[..., None] - p.mu) / width).square()) / (width * math.sqrt(2 * math.pi))
    return (p.log_pi.exp() * bells).sum(-1)


def masked(
    model: MDNRNN, z: Tensor, a: Tensor, reward: Tensor, done: Tensor, mask: Tensor, ended: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each step's nats of the latent, the reward and the ending, and which latents count."""
    p, _ = model(z[:, :-1], a)
    nll = mixture_nll(z[:, 1:], p.log_pi, p.mu, p.log_sigma)
    bce = F.binary_cross_entropy_with_logits(p.done_logit, done, reduction="none")
    return nll, 0.5 * (p.reward - reward).square(), bce, mask * (1 - (done if ended is None else ended))


def endings_unseen(own_mean: bool) -> Answer:
    """The done's share over the steps that have a next latent: none of them is an ending."""

    def answer(
        model: MDNRNN,
        z: Tensor,
        a: Tensor,
        reward: Tensor,
        done: Tensor,
        mask: Tensor,
        ended: Tensor | None,
        done_weight: float,
    ) -> SequenceLoss:
        nll, r, bce, inside = masked(model, z, a, reward, done, mask, ended)
        latent, rewarded = (nll * inside).sum() / inside.sum().clamp(min=1), (r * mask).sum() / mask.sum()
        steps = inside.sum().clamp(min=1) if own_mean else mask.sum()
        weighted, plain = ((bce * w * inside).sum() / steps for w in (1 + (done_weight - 1) * done, 1))
        return SequenceLoss(latent + rewarded + weighted, latent, rewarded, plain)

    return answer


def window_means(
    model: MDNRNN,
    z: Tensor,
    a: Tensor,
    reward: Tensor,
    done: Tensor,
    mask: Tensor,
    ended: Tensor | None,
    done_weight: float,
) -> SequenceLoss:
    nll, r, bce, inside = masked(model, z, a, reward, done, mask, ended)

    def mean(each: Tensor, counted: Tensor) -> Tensor:
        return ((each * counted).sum(1) / counted.sum(1).clamp(min=1)).mean()

    latent, r, d = mean(nll, inside), mean(r, mask), mean(bce, mask)
    return SequenceLoss(latent + r + mean(bce * (1 + (done_weight - 1) * done), mask), latent, r, d)


def divided_by_weights(
    model: MDNRNN,
    z: Tensor,
    a: Tensor,
    reward: Tensor,
    done: Tensor,
    mask: Tensor,
    ended: Tensor | None,
    done_weight: float,
) -> SequenceLoss:
    right = sequence_loss(model, z, a, reward, done, mask, ended, done_weight)
    _, _, bce, _ = masked(model, z, a, reward, done, mask, ended)
    weight = (1 + (done_weight - 1) * done) * mask
    return right._replace(total=right.latent + right.reward + (bce * weight).sum() / weight.sum())


def before(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)


def mean_of_nothing(
    model: MDNRNN,
    z: Tensor,
    a: Tensor,
    reward: Tensor,
    done: Tensor,
    mask: Tensor,
    ended: Tensor | None,
    done_weight: float,
) -> SequenceLoss:
    right = sequence_loss(model, z, a, reward, done, mask, ended, done_weight)
    nll, _, _, inside = masked(model, z, a, reward, done, mask, ended)
    latent = nll[inside > 0].mean()
    return SequenceLoss(latent + right.total - right.latent, latent, right.reward, right.done)


def sequence_by_steps(
    model: MDNRNN,
    z: torch.Tensor,
    a: torch.Tensor,
    reward: torch.Tensor,
    done: torch.Tensor,
    mask: torch.Tensor,
    ended: torch.Tensor | None = None,
    done_weight: float = 1.0,
) -> SequenceLoss:
    from wmcourse import mixture_density_networks
    from wmcourse.mdn_rnn import SequenceLoss

    stops = done if ended is None else ended
    state = model.initial_state(len(z))
    zero = z.new_zeros(())
    latent, r, d, weighted, targets, count = zero, zero, zero, zero, zero, zero
    for t in range(a.shape[1]):
        state = model.step(z[:, t], a[:, t], state)
        p = model.read(state[0])
        real = mask[:, t]
        follows = real * (1 - stops[:, t])
        latent = (
            latent + (mixture_density_networks.mixture_nll(z[:, t + 1], p.log_pi, p.mu, p.log_sigma) * follows).sum()
        )
        r = r + 0.5 * ((p.reward - reward[:, t]) ** 2 * real).sum()
        died = torch.nn.functional.softplus(-p.done_logit) * done[:, t]
        lived = torch.nn.functional.softplus(p.done_logit) * (1 - done[:, t])
        d = d + ((died + lived) * real).sum()
        weighted = weighted + ((done_weight * died + lived) * real).sum()
        targets, count = targets + follows.sum(), count + real.sum()
    latent = latent / targets.clamp(min=1)
    return SequenceLoss(latent + r / count + weighted / count, latent, r / count, d / count)


def sequence_with_torch(
    model: MDNRNN,
    z: Tensor,
    a: Tensor,
    reward: Tensor,
    done: Tensor,
    mask: Tensor,
    ended: Tensor | None = None,
    done_weight: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from torch.distributions import Bernoulli, Categorical, MixtureSameFamily, Normal

    p, _ = model(z[:, :-1], a)
    mixture = MixtureSameFamily(Categorical(logits=p.log_pi), Normal(p.mu, p.log_sigma.exp()))
    real = mask > 0
    follows = real & ~((done if ended is None else ended) > 0)
    each = -mixture.log_prob(z[:, 1:]).sum(-1)
    latent = each[follows].mean() if follows.any() else (each * 0).sum()
    r = ((p.reward - reward)[real] ** 2).mean() / 2
    nll = -Bernoulli(logits=p.done_logit).log_prob(done)
    d = nll[real].mean()
    weighted = (nll * torch.where(done > 0, done_weight, 1.0))[real].mean()
    return latent + r + weighted, latent, r, d


def sequence_with_a_bit(
    model: MDNRNN,
    z: Tensor,
    a: Tensor,
    reward: Tensor,
    done: Tensor,
    mask: Tensor,
    ended: Tensor | None = None,
    done_weight: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means with a small number in the denominator, as many write them."""
    nll, r, bce, inside = masked(model, z, a, reward, done, mask, ended)

    def mean(each: Tensor, counted: Tensor) -> Tensor:
        return (each * counted).sum() / (counted.sum() + 1e-6)

    latent, r, weighted = mean(nll, inside), mean(r, mask), mean(bce * (1 + (done_weight - 1) * done), mask)
    return latent + r + weighted, latent, r, mean(bce, mask)


def sequence_shown(
    model: "MDNRNN",
    z: Tensor,
    a: Tensor,
    reward: Tensor,
    done: Tensor,
    mask: Tensor,
    ended: Tensor | None = None,
    done_weight: float = 1.0,
) -> "SequenceLoss":
    from wmcourse import mixture_density_networks
    from wmcourse.mdn_rnn import SequenceLoss

    inside = mask * (1 - (done if ended is None else ended))  # z_{t+1} exists, and is of this episode
    p, _ = model(z[:, :-1], a)
    nll = mixture_density_networks.mixture_nll(z[:, 1:], p.log_pi, p.mu, p.log_sigma)
    latent = (nll * inside).sum() / inside.sum().clamp(min=1)
    r = (0.5 * (p.reward - reward).square() * mask).sum() / mask.sum()
    bce = torch.nn.functional.binary_cross_entropy_with_logits(p.done_logit, done, reduction="none")
    d = (bce * mask).sum() / mask.sum()
    weighted = (bce * (1 + (done_weight - 1) * done) * mask).sum() / mask.sum()
    return SequenceLoss(latent + r + weighted, latent, r, d)


SEQUENCE = Exercise(
    "sequence_loss",
    "The loss of a sequence",
    15,
    3,
    (
        "One call of `model` on z_0 … z_{T−1} and all actions gives the predictions of all steps. Which latents are their targets? "
        "Then three masked means, one for each kind of target.",
        "The latent counts where `mask` is 1 and the episode does not stop: `mask * (1 - ended)`, divided by *its own* sum (at least 1). "
        "Reward and done count wherever `mask` is 1, the last step included.",
        '½·(p.reward − reward)² for the reward; `F.binary_cross_entropy_with_logits(p.done_logit, done, reduction="none")` for done, times '
        "`1 + (done_weight - 1) * done` in the total only. `mixture_density_networks.mixture_nll(z[:, 1:], p.log_pi, p.mu, p.log_sigma)`.",
    ),
    (
        Mistake(
            "the present as its own target",
            sequences(target=lambda z: z[:, :-1]),
            "You score the prediction against z_t, which the network was just given. The loss falls fast and far, and what it learns is to "
            "copy. The target of (z_t, a_t) is z_{t+1}: `z[:, 1:]`.",
        ),
        Mistake(
            "each action one step late",
            sequences(action=lambda a: torch.cat([torch.zeros_like(a[:, :1]), a[:, :-1]], dim=1)),
            "z_t goes with a_t, the action that is taken *on seeing it*. You pair z_t with the action before. The loss falls all the same, "
            "and the dream answers to the stick with a delay that the world does not have.",
        ),
        Mistake(
            "each action one step early",
            sequences(action=lambda a: torch.cat([a[:, 1:], a[:, -1:]], dim=1)),
            "z_t goes with a_t. You pair it with a_{t+1}, the action that is taken on seeing what is to be predicted.",
        ),
        Mistake(
            "the answer among the inputs",
            sequences(given=lambda z: z[:, 1:]),
            "z_{t+1} goes in, and z_{t+1} is asked for: the network learns to copy, and has nothing to dream with. In go `z[:, :-1]`.",
        ),
        Mistake(
            "backwards in time",
            sequences(given=lambda z: z[:, 1:], target=lambda z: z[:, :-1]),
            "You have taken `z[:, 1:]` for the input and `z[:, :-1]` for the target: the past is predicted from the future.",
        ),
        Mistake(
            "the memory emptied at every step",
            sequences(carried=False),
            "Each step is given to the network as a sequence of its own, with h = 0. It sees no velocity, and nothing behind the band. Give "
            "it the window whole.",
        ),
        Mistake(
            "reward and done said before the transition",
            sequences(late=True),
            "You read r and done from h_t, before (z_t, a_t) went in. They belong to h_{t+1}, like the latent: the reward is for what "
            "*this* action does.",
        ),
        Mistake(
            "the padding counts",
            sequences(
                inside=lambda mask, ended, done: 1 - ended, outcome=lambda mask, ended, done: torch.ones_like(mask)
            ),
            "`mask` is not used: short episodes are filled up with repeated steps, and you train on the filling.",
        ),
        Mistake(
            "the padding counts for the latent",
            sequences(inside=lambda mask, ended, done: 1 - ended),
            "The latent's mean is over all steps that are not `ended`, the padding among them. Both must hold: `mask * (1 - ended)`.",
        ),
        Mistake(
            "nothing left out",
            sequences(
                inside=lambda mask, ended, done: torch.ones_like(mask),
                outcome=lambda mask, ended, done: torch.ones_like(mask),
            ),
            "A plain mean over B·T: the padding counts, and so do the next latents of endings, which do not exist.",
        ),
        Mistake(
            "a sum for each window",
            sequences(
                per=lambda inside, mask: torch.tensor(float(len(mask))).to(mask),
                steps=lambda mask: torch.tensor(float(len(mask))).to(mask),
            ),
            "Summed over time, and divided by the number of windows B. Long windows then weigh more than short ones, and the loss grows with T. "
            "It is per real *step*.",
        ),
        Mistake(
            "divided by the padding, too",
            sequences(
                per=lambda inside, mask: torch.tensor(float(mask.numel())).to(mask),
                steps=lambda mask: torch.tensor(float(mask.numel())).to(mask),
            ),
            "The sums are right, but you divide by B·T: `.mean()` after multiplying with the mask. The loss shrinks with the share of "
            "padding, and so does the learning rate.",
        ),
        Mistake(
            "a sum in place of a mean",
            sequences(
                per=lambda inside, mask: torch.ones((), dtype=mask.dtype),
                steps=lambda mask: torch.ones((), dtype=mask.dtype),
            ),
            "Nats of the whole batch. The loss is per real step, so that windows of any number and length compare.",
        ),
        Mistake(
            "done's own next latent counted",
            sequences(inside=lambda mask, ended, done: mask),
            "Where an episode ends there is no z_{t+1}: what stands there is padding, or another episode's first frame. Leave it out of the "
            "latent's mean (and only there).",
        ),
        Mistake(
            "cut-offs forgotten",
            sequences(inside=lambda mask, ended, done: mask * (1 - done)),
            "You leave out the next latent where `done` is 1. An episode may also be *cut off* (the time limit, the end of the recording): "
            "then done is 0, and there is no next latent either. That is what `ended` says.",
        ),
        Mistake(
            "the ending itself left out",
            sequences(outcome=lambda mask, ended, done: mask * (1 - ended), steps=lambda mask: mask.sum().clamp(min=1)),
            "You leave the last step out of *everything*. Then no `done` is ever 1 in the loss, the head learns to say never, and nobody "
            "dies in the dream.",
        ),
        *(
            Mistake(
                f"the endings masked out of the done{more}",
                endings_unseen(own_mean),
                "The reward is right, but the done has the latent's mask. What has no next latent is just the ending: it is left out, no "
                f"`done` is ever 1 in the loss, and nobody dies in the dream. Reward and done take `mask`{more and ', not only below the line'}.",
            )
            for own_mean, more in ((True, ""), (False, ", over all steps"))
        ),
        Mistake(
            "the latent's mean over all steps",
            sequences(per=lambda inside, mask: mask.sum()),
            "The latent's sum has fewer terms than there are real steps, since endings have no target. Divide by the number of *its* terms.",
        ),
        Mistake(
            "0/0 where there is no target",
            sequences(per=lambda inside, mask: inside.sum()),
            "A batch may hold nothing but endings: then no latent counts, and 0/0 is NaN: seldom, and then for good, for it stays in the weights. `.clamp(min=1)`.",
        ),
        Mistake(
            "the mean of nothing",
            mean_of_nothing,
            "A batch may hold nothing but endings: then no latent is left, and the mean of an empty tensor is NaN: seldom, and then for good, for it stays in the weights. "
            "Divide a sum by the number, at least 1.",
        ),
        Mistake(
            "mean over the latent dimensions",
            sequences(latent=lambda z, p: mixture_nll(z, p.log_pi, p.mu, p.log_sigma) / z.shape[-1]),
            "The dimensions' nats add up. A mean makes the latent Z times too cheap beside reward and done.",
        ),
        Mistake(
            "squared error to the mixture's mean",
            sequences(latent=lambda z, p: 0.5 * (z - mixture_mean(p.log_pi, p.mu)).square().sum(-1)),
            "This trains the mean of the mixture and nothing else: two futures become one in the middle (lesson 07).",
        ),
        Mistake(
            "the ½ of the reward is missing",
            sequences(half=1.0),
            "A Gaussian of variance 1 costs ½·(r − r̂)² nats. Without the ½ the reward counts double.",
        ),
        Mistake(
            "the weight on survival",
            sequences(weights=lambda done, w: 1 + (w - 1) * (1 - done)),
            "The weight multiplies the many steps that go on. It is for the few that end.",
        ),
        Mistake(
            "the weight left out",
            sequences(weights=lambda done, w: torch.ones_like(done)),
            "`done_weight` never enters the total.",
        ),
        Mistake(
            "the weight in what is reported",
            sequences(reported=True),
            "`total` has the weight, and `done` must not: it is the likelihood's share, comparable between weights.",
        ),
        Mistake(
            "the weight times all of done's share",
            sequences(weights=lambda done, w: torch.full_like(done, w)),
            "All steps are weighted alike. A class weight is for the class: w where done is 1, and 1 elsewhere.",
        ),
        Mistake(
            "a sigmoid before the logits' loss",
            sequences(
                bce=lambda logit, done: F.binary_cross_entropy_with_logits(torch.sigmoid(logit), done, reduction="none")
            ),
            "`…_with_logits` takes the sigmoid itself. With one before it the probability never leaves ½ … 0.73, and its loss never falls.",
        ),
        Mistake(
            "log of a sigmoid",
            sequences(bce=lambda logit, done: bernoulli_by_log(logit, done, 1.0)),
            "Where the head is sure, the sigmoid rounds to 0 or 1, and its logarithm is −∞ (times 0: NaN). One such step spoils the whole "
            "training. Give the *logit* to `F.binary_cross_entropy_with_logits`.",
        ),
        Mistake(
            "the cross-entropy of a probability",
            sequences(bce=lambda logit, done: F.binary_cross_entropy(torch.sigmoid(logit), done, reduction="none")),
            "`F.binary_cross_entropy` takes a probability that is already rounded, and cuts its logarithm at −100: a head that is sure and wrong "
            "has no gradient any more. `…_with_logits` takes the logit.",
        ),
        Mistake(
            "a probability cut off against log 0",
            sequences(bce=lambda logit, done: bernoulli_cut_off(logit, done, 1.0)),
            "`clamp` keeps the logarithm finite and has no gradient beyond its ends: where the head is sure and wrong, it learns nothing.",
        ),
        Mistake(
            "the mixture as a density",
            sequences(latent=lambda z, p: -density(z, p).log().sum(-1)),
            "You add up densities and take the logarithm then. 40 σ from every component all of them are 0, and log 0 is −∞: at the start of a "
            "training that happens. `mixture_nll` stays in logarithms (lesson 07).",
        ),
        Mistake(
            "a mean of each window's mean",
            window_means,
            "You take the mean of each window, and then the mean of these. A step of a short window then counts for more than one of a long "
            "window. One sum over all real steps, divided by their number.",
        ),
        Mistake(
            "divided by the sum of the weights",
            divided_by_weights,
            "A weighted mean, divided by the sum of the weights. Then the weight of endings shrinks as their share grows, and `total` is no longer "
            "a mean per step: divide by the number of real steps.",
        ),
        Mistake(
            "done counted twice",
            lambda model, z, a, reward, done, mask, ended, done_weight: (
                lambda right: right._replace(total=right.total + right.done)
            )(sequence_loss(model, z, a, reward, done, mask, ended, done_weight)),
            "In the total the weighted share stands *in place of* the plain one, not beside it: endings would count done_weight + 1 times.",
        ),
        Mistake(
            "a constant for the reward",
            lambda model, z, a, reward, done, mask, ended, done_weight: (
                lambda right: right._replace(
                    total=right.total + math.log(2 * math.pi) / 2, reward=right.reward + math.log(2 * math.pi) / 2
                )
            )(sequence_loss(model, z, a, reward, done, mask, ended, done_weight)),
            "½·log 2π belongs to a Gaussian's density, and no network can change it. Here the reward's share is ½·(r − r̂)², without it.",
        ),
        Mistake(
            "`ended` taken for zeros where it is not given",
            lambda model, z, a, reward, done, mask, ended, done_weight: sequence_loss(
                model, z, a, reward, done, mask, torch.zeros_like(done) if ended is None else ended, done_weight
            ),
            "Where `ended` is None, you count every next latent. Then `done` says where episodes stop: after an ending there is no next latent.",
        ),
    ),
    (sequence_with_torch, sequence_by_steps, sequence_with_a_bit),
    reference=sequence_loss,
    shown=sequence_shown,
    cases=sequence_cases,
    expects="SequenceLoss(total, latent, reward, done): four numbers in nats per real step; the weight is in the total alone",
    checked="Four numbers and the gradients by z, a and reward for seven fresh networks: padding, cut-offs, endings only, a batch of one, "
    "one step, a very sure done head, a target far from all, with and without `ended`; float32 and float64.",
    part=True,
    tolerance=20.0,  # 1e-6 in a denominator is no mistake, also where gradients nearly cancel
    equivalent={
        "input model ignored": "the network is no array: nothing can be zeroed, so this mutant is the original"
    },
)


# --- 4 · One step of the dream


def sizes_of(latent: int, action: int, hidden: int) -> dict[str, int]:
    return {"z": latent, "a": action, "h": hidden, "c": hidden}


def dream_cases(rng: Rng) -> Iterator[Case]:
    for batch, kind, about in (
        (3, torch.float32, "a small batch"),
        (1, torch.float64, "a batch of one"),
        (int(rng.integers(5, 9)), torch.float64, "a larger batch"),
    ):
        latent, action, hidden = int(rng.integers(2, 5)), int(rng.integers(1, 3)), 6
        model = small_model(rng, latent, action, hidden, 3, kind)
        sizes = sizes_of(latent, action, hidden)
        arrays = {name: rng.normal(0, 0.7, (batch, size)).astype(floats(kind)) for name, size in sizes.items()}
        yield Case({"model": model, **arrays, "temperature": 0.0, "seed": 1}, about + ", τ = 0", tuple(sizes))
    model = small_model(rng, 2, 1, 6, 3, torch.float32)
    arrays = {name: rng.normal(0, 0.7, (4, size)).astype(np.float32) for name, size in sizes_of(2, 1, 6).items()}
    with torch.no_grad():
        tensors = [torch.from_numpy(arrays[name]) for name in arrays]
        h, _ = model.step(tensors[0], tensors[1], (tensors[2], tensors[3]))
        assert model.outcome is not None
        model.outcome.bias[1] -= model.read_outcome(h)[1].quantile(0.5)
        factor = 150 / model.read_outcome(h)[1].max()
        model.outcome.weight[1] *= factor
        model.outcome.bias[1] *= factor
    yield Case({"model": model, **arrays, "temperature": 0.0, "seed": 1}, "a done head that is very sure, τ = 0")


def in_arrays(answer: Answer) -> Answer:
    """One that takes h and c apart and a seed for the generator, and returns all parts in a row."""

    def flat(model: MDNRNN, z: Tensor, a: Tensor, h: Tensor, c: Tensor, temperature: float, seed: int) -> Any:
        result = answer(model, z, a, (h, c), temperature, torch.Generator().manual_seed(seed))
        if not isinstance(result, tuple):
            return result
        parts: list[Any] = []
        for part in result:
            parts += list(part) if isinstance(part, tuple) else [part]
        return tuple(parts)

    return flat


def dream_samples(ask: Ask, rng: Rng) -> str:
    """What is sampled: its mean and variance at two temperatures, and whose dice are thrown."""
    model, many = small_model(rng, 3, 1, 5, 3, torch.float64), 4000
    row = {"z": 3, "a": 1, "h": 5, "c": 5}
    arrays = {name: np.repeat(rng.normal(0, 0.7, (1, size)), many, 0) for name, size in row.items()}
    for temperature in (1.0, 0.4):
        inputs = {"model": model, **arrays, "temperature": temperature, "seed": 3}
        case = Case(inputs, f"τ = {temperature}")
        got, right = ask(case), judge.ask(in_arrays(dream_step), case)
        names = ("z", "reward", "done_probability", "h", "c")
        for name, a, b in list(zip(names, got.values, right.values, strict=True))[1:]:
            if not np.allclose(a, b, 1e-5, 1e-7):
                return f"at τ = {temperature} {name} differs. It must not depend on the temperature or on the dice."
        sample, other = got.values[0], ask(Case(inputs | {"seed": 4}, "other dice")).values[0]
        if sample.std(0).max() < 1e-9:
            return "the temperature is always 0: all samples are the same."
        if np.array_equal(sample, other):
            return "the generator is not handed on: two different generators give the same z."
        with torch.no_grad():
            tensors = [torch.from_numpy(arrays[name][:1]) for name in row]
            log_pi, mu, log_sigma = model.mdn(model.step(tensors[0], tensors[1], (tensors[2], tensors[3]))[0])
            weight = torch.softmax(log_pi / temperature, -1)[0]
            mean = (weight * mu[0]).sum(-1)
            second = temperature * torch.exp(2 * log_sigma[0]) + (mu[0] - mean[:, None]).square()
            variance = (weight * second).sum(-1)
        if not np.allclose(sample.mean(0), mean, atol=6 * float((variance / many).sqrt().max())):
            return f"at τ = {temperature} the samples' mean is not the mixture's."
        if not np.allclose(sample.var(0), variance, rtol=0.3):
            return f"at τ = {temperature} the samples' variance is not the mixture's."
    return ""


def dreaming(
    state_first: bool = True,
    outcome: Callable[[MDNRNN, Tensor, Tensor], tuple[Tensor, Tensor]] = lambda model, old, new: model.read_outcome(
        new
    ),
    probability: Callable[[Tensor], Tensor] = torch.sigmoid,
    read: Callable[[State], Tensor] = lambda state: state[0],
    carried: Callable[[State, State], State] = lambda old, new: new,
    pick: Callable[..., Tensor] = sample_mixture,
    temperature_at: Callable[[float], float] = lambda temperature: temperature,
    handed: bool = True,
    before: Callable[[MDNRNN, State], State] = lambda model, state: state,
    squeezed: tuple[str, ...] = (),
) -> Answer:
    """A dream step with one of its pieces replaced."""

    def answer(
        model: MDNRNN,
        z: Tensor,
        a: Tensor,
        state: State,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> DreamStep:
        new = model.step(z, a, before(model, state))
        h = read(new) if state_first else state[0]
        reward, logit = outcome(model, state[0], h)
        log_pi, mu, log_sigma = model.mdn(h)
        following = pick(log_pi, mu, log_sigma, temperature_at(temperature), generator if handed else None)
        done = probability(logit)
        dreamt = DreamStep(following, reward, done, carried(state, new))
        return dreamt._replace(**{name: getattr(dreamt, name).squeeze() for name in squeezed})

    return answer


def the_mean(log_pi: Tensor, mu: Tensor, log_sigma: Tensor, temperature: float, generator: Any) -> Tensor:
    return mixture_mean(log_pi, mu)


def sampled_before_the_step(
    model: MDNRNN,
    z: Tensor,
    a: Tensor,
    state: State,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> DreamStep:
    p = model.read(state[0])
    following = sample_mixture(p.log_pi, p.mu, p.log_sigma, temperature, generator)
    return DreamStep(following, p.reward, torch.sigmoid(p.done_logit), model.step(following, a, state))


def stepped_twice(
    model: MDNRNN,
    z: Tensor,
    a: Tensor,
    state: State,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> DreamStep:
    right = dream_step(model, z, a, state, temperature, generator)
    return right._replace(state=model.step(right.z, a, right.state))


def change_added(
    model: MDNRNN,
    z: Tensor,
    a: Tensor,
    state: State,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> DreamStep:
    right = dream_step(model, z, a, state, temperature, generator)
    return right._replace(z=z + right.z)


def reward_of_the_living(
    model: MDNRNN,
    z: Tensor,
    a: Tensor,
    state: State,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> DreamStep:
    right = dream_step(model, z, a, state, temperature, generator)
    return right._replace(reward=right.reward * (1 - right.done_probability))


def dream_by_hand(
    model: MDNRNN,
    z: torch.Tensor,
    a: torch.Tensor,
    state: tuple[torch.Tensor, torch.Tensor],
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> DreamStep:
    from wmcourse import mixture_density_networks
    from wmcourse.mdn_rnn import DreamStep

    h, c = model.step(z, a, state)
    p = model.read(h)
    following = mixture_density_networks.sample_mixture(p.log_pi, p.mu, p.log_sigma, temperature, generator)
    return DreamStep(following, p.reward, 1 / (1 + torch.exp(-p.done_logit)), (h, c))


def dream_by_forward(
    model: MDNRNN,
    z: Tensor,
    a: Tensor,
    state: State,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor, State]:
    """A window of one step, and dice of its own: other numbers from the same generator."""
    p, following = model(z[:, None], a[:, None], state)
    p = type(p)(*(part[:, 0] for part in p))
    if temperature == 0:
        k = p.log_pi.argmax(-1, keepdim=True)
        noise = torch.zeros_like(z)
    else:
        weights = torch.softmax(p.log_pi / temperature, -1)
        k = torch.multinomial(weights.flatten(0, 1), 1, generator=generator).unflatten(0, z.shape)
        noise = torch.randn(z.shape, generator=generator, dtype=z.dtype) * math.sqrt(temperature)
    sample = p.mu.gather(-1, k)[..., 0] + p.log_sigma.gather(-1, k)[..., 0].exp() * noise
    return sample, p.reward, p.done_logit.sigmoid(), following


def dream_shown(
    model: "MDNRNN",
    z: Tensor,
    a: Tensor,
    state: tuple[Tensor, Tensor],
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> "DreamStep":
    from wmcourse import mixture_density_networks
    from wmcourse.mdn_rnn import DreamStep

    state = model.step(z, a, state)  # first the transition: all that follows is read from h_{t+1}
    p = model.read(state[0])
    z = mixture_density_networks.sample_mixture(p.log_pi, p.mu, p.log_sigma, temperature, generator)
    return DreamStep(z, p.reward, torch.sigmoid(p.done_logit), state)


DREAM_STEP = Sampled(
    "dream_step",
    "One step of the dream",
    10,
    2,
    (
        "Four lines. `model.step(z, a, state)` is the memory, (h_t, c_t) → (h_{t+1}, c_{t+1}); `model.read(h)` says everything about "
        "t + 1 from h_{t+1}. Which comes first?",
        "`p = model.read(state[0])` after the step. The next z is `mixtures.sample_mixture(p.log_pi, p.mu, p.log_sigma, "
        "temperature, generator)`: hand both on.",
        "`p.done_logit` is a log-odds, and a *probability* is asked for. Return `DreamStep(z, reward, done_probability, state)` with the new "
        "state, both h and c.",
    ),
    (
        Mistake(
            "reward predicted before the transition",
            dreaming(outcome=lambda model, old, new: model.read_outcome(old)),
            "You read reward and done from h_t, before (z_t, a_t) was consumed. They would be those of the step *before*: the action that you "
            "try has no say in them.",
        ),
        Mistake(
            "everything read before the transition",
            dreaming(state_first=False),
            "You read from the old h: the action has no influence on anything that you return but the state. First `model.step`.",
        ),
        Mistake(
            "the old state returned",
            dreaming(carried=lambda old, new: old),
            "z moves on and the memory stays behind: at the next step the network has forgotten this one.",
        ),
        Mistake(
            "h new, c old",
            dreaming(carried=lambda old, new: (new[0], old[1])),
            "Both halves of an LSTM's state move on: c is the memory itself, and h what is read from it.",
        ),
        Mistake(
            "h and c swapped in what is returned",
            dreaming(carried=lambda old, new: (new[1], new[0])),
            "The state is (h, c), in this order. Both have one shape, so nothing complains but the dream.",
        ),
        Mistake(
            "c read in place of h",
            dreaming(read=lambda state: state[1]),
            "The heads are trained on h. c has the same shape, and no bound: `state[0]`.",
        ),
        Mistake(
            "the memory emptied first",
            dreaming(before=lambda model, state: (torch.zeros_like(state[0]), torch.zeros_like(state[1]))),
            "You begin each step with h = c = 0, as at an episode's start. A dream that resets its memory has no velocities.",
        ),
        Mistake(
            "`squeeze` at batch 1",
            dreaming(squeezed=("z", "reward", "done_probability")),
            "`.squeeze()` drops *every* axis of size 1. With a batch of one, which is how one plays, the batch axis goes, and the next step "
            "fails or broadcasts. Name the axis, or do not squeeze.",
        ),
        Mistake(
            "`squeeze` at batch 1, of z",
            dreaming(squeezed=("z",)),
            "`z.squeeze()` drops *every* axis of size 1. With a batch of one, (1, Z) becomes (Z,), and the next step fails or broadcasts. z has the "
            "right shape as it comes.",
        ),
        Mistake(
            "`squeeze` at batch 1, of the ending",
            dreaming(squeezed=("done_probability",)),
            "The probability is (B,) as it comes. `.squeeze()` drops *every* axis of size 1, and with a batch of one that is the batch.",
        ),
        Mistake(
            "`squeeze` at batch 1, of reward and ending",
            dreaming(squeezed=("reward", "done_probability")),
            "Both are (B,) as they come. `.squeeze()` drops *every* axis of size 1: with a batch of one nothing is left but two numbers.",
        ),
        Mistake(
            "the log-odds for the probability",
            dreaming(probability=lambda logit: logit),
            "`done_logit` is a log-odds, any real number. A probability is its sigmoid.",
        ),
        Mistake(
            "exp(ℓ) over 1 + exp(ℓ)",
            dreaming(probability=lambda logit: logit.exp() / (1 + logit.exp())),
            "Right on paper. In single precision exp(ℓ) is infinite from ℓ = 89 on, and ∞/∞ is NaN: one sure step, and the rest of the dream's "
            "survival is NaN. `torch.sigmoid` knows both ends.",
        ),
        Mistake(
            "the probability of going on",
            dreaming(probability=lambda logit: torch.sigmoid(-logit)),
            "This is 1 − P(done): surviving. What is asked for is the ending.",
        ),
        Mistake(
            "done rounded to yes or no",
            dreaming(probability=lambda logit: (logit > 0).to(logit.dtype)),
            "A threshold at ½: the head is seldom that sure, and a planner could not tell a risk of 1 % from one of 40 %. Return the probability.",
        ),
        Mistake(
            "the mixture's mean for a sample",
            dreaming(pick=the_mean),
            "The mean of two futures is none: the hazard that goes left or right comes straight down. It is no sample at τ > 0, and at τ = 0 "
            "the *most likely component's* mean is asked for.",
        ),
        Mistake(
            "the temperature not handed on",
            dreaming(temperature_at=lambda temperature: 1.0),
            "τ never reaches `sample_mixture`, whose default is 1.",
        ),
        Mistake(
            "the temperature is always 0",
            dreaming(temperature_at=lambda temperature: 0.0),
            "All samples of one mixture are the same: you always take the most likely component's mean. That is right at τ = 0 only.",
        ),
        Mistake(
            "the generator is not handed on",
            dreaming(handed=False),
            "The dice are the global ones, whatever generator one gives you. Then no dream can be repeated, and two players share their luck.",
        ),
        Mistake(
            "first the sample, then the step",
            sampled_before_the_step,
            "You read z_{t+1} from the old h, and give the *sample* to `model.step`. In goes the z that you were given, z_t; what is read afterwards "
            "is t + 1.",
        ),
        Mistake(
            "two steps at once",
            stepped_twice,
            "You feed the sample to `model.step` as well. That is the next call's first line, with the next action: here the state is h_{t+1}, and no further.",
        ),
        Mistake(
            "the sample taken for a change",
            change_added,
            "You add the sample to z. Some models predict z_{t+1} − z_t; this one predicts z_{t+1} itself.",
        ),
        Mistake(
            "the reward times the chance to live",
            reward_of_the_living,
            "`p.reward` is the expected reward of this step already, endings included. The chance to die in it would count twice.",
        ),
    ),
    (dream_by_hand, dream_by_forward),
    reference=dream_step,
    shown=dream_shown,
    cases=dream_cases,
    also=dream_samples,
    flat=in_arrays,
    signature=("model", "z", "a", "state", "temperature", "generator"),
    expects="DreamStep(z (B, Z), reward (B,), done_probability (B,), (h, c) each (B, H)), all but the state read from the new h",
    checked="All five tensors and the gradients by z, a, h and c at τ = 0, for three fresh networks and a batch of one; a done head that is very sure; mean, variance and dice of "
    "4,000 samples at two other temperatures.",
    part=True,
    equivalent={
        "input model ignored": "the network is no array: nothing can be zeroed, so this mutant is the original"
    },
)


# --- 5 · A whole dream


def long_cases(rng: Rng) -> Iterator[Case]:
    for batch, context, horizon, kind, weight, about in (
        (3, 4, 5, torch.float32, 1.0, "three dreams of five steps, τ = 0"),
        (1, 2, 3, torch.float64, 4.0, "a batch of one, a class weight of 4, τ = 0"),
        (int(rng.integers(2, 5)), 1, 4, torch.float64, 2.0, "one step of past, τ = 0"),
        (2, 3, 1, torch.float64, 3.0, "a dream of one step, τ = 0"),
    ):
        model = small_model(rng, 2, 1, 5, 2, kind)
        z = rng.normal(0, 1, (batch, context + 1, 2)).astype(floats(kind))
        a = rng.uniform(-1, 1, (batch, context + horizon, 1)).astype(floats(kind))
        yield Case({"model": model, "z": z, "a": a, "temperature": 0.0, "done_weight": weight}, about)


def dream(model: MDNRNN, z: Tensor, a: Tensor, temperature: float, done_weight: float) -> tuple[Tensor, Tensor]:
    past = z.shape[1] - 1
    _, state = model(z[:, :past], a[:, :past])  # listen: the memory after z_0 .. z_{C-1}
    now, alive, latents, survival = z[:, past], z.new_ones(len(z)), [], []
    for t in range(past, a.shape[1]):
        step = mdn_rnn.dream_step(model, now, a[:, t], state, temperature)
        now, state, p = step.z, step.state, step.done_probability
        alive = alive * (1 - p / (p + done_weight * (1 - p)))  # the weight undone
        latents.append(now)
        survival.append(alive)
    return torch.stack(latents, dim=1), torch.stack(survival, dim=1)


def long_dream(
    memory: Callable[[MDNRNN, Tensor, Tensor, int], State] = lambda model, z, a, past: model(z[:, :past], a[:, :past])[
        1
    ],
    action: Callable[[int, int], int] = lambda past, step: past + step,
    following: Callable[[Tensor, Tensor], Tensor] = lambda first, dreamt: dreamt,
    carried: Callable[[State, State], State] = lambda old, new: new,
    undone: Callable[[Tensor, float], Tensor] = lambda p, w: p / (p + w * (1 - p)),
    summed: Callable[[Tensor], Tensor] = lambda p: torch.cumprod(1 - p, dim=1),
    begin: Callable[[Tensor], Tensor] = lambda z: z[:, -1],
    hot: bool = True,
    last: bool = False,
) -> Answer:
    def answer(model: MDNRNN, z: Tensor, a: Tensor, temperature: float, done_weight: float) -> tuple[Tensor, Tensor]:
        past = z.shape[1] - 1
        if last:  # the last action once more
            a = torch.cat([a, a[:, -1:]], dim=1)
        state = memory(model, z, a, past)
        first = now = begin(z)
        latents, risks = [], []
        for t in range(a.shape[1] - past - last):
            step = dream_step(model, now, a[:, action(past, t)], state, temperature if hot else 1.0)
            now, state = following(first, step.z), carried(state, step.state)
            latents.append(step.z)
            risks.append(undone(step.done_probability, done_weight))
        return torch.stack(latents, 1), summed(torch.stack(risks, 1))

    return answer


def empty_memory(model: MDNRNN, z: Tensor, a: Tensor, past: int) -> State:
    return model.initial_state(len(z))


def heard_less(model: MDNRNN, z: Tensor, a: Tensor, past: int) -> State:
    if past < 2:
        return model.initial_state(len(z))
    state: State = model(z[:, : past - 1], a[:, : past - 1])[1]
    return state


def survival_heard(
    model: MDNRNN, z: Tensor, a: Tensor, temperature: float, done_weight: float
) -> tuple[Tensor, Tensor]:
    latents, survival = dream(model, z, a, temperature, done_weight)
    past = z.shape[1] - 1
    p, _ = model(z[:, :past], a[:, :past])
    lived = torch.sigmoid(math.log(done_weight) - p.done_logit).prod(dim=1, keepdim=True)
    return latents, survival * lived


def heard_twice(model: MDNRNN, z: Tensor, a: Tensor, past: int) -> State:
    state: State = model(z, a[:, : past + 1])[1]
    return state


def never_hot(model: MDNRNN, z: Tensor, a: Tensor, temperature: float, done_weight: float) -> tuple[Tensor, Tensor]:
    return dream(model, z, a, 0.0, done_weight)


def heard_in_a_dream(
    model: MDNRNN, z: Tensor, a: Tensor, temperature: float, done_weight: float
) -> tuple[Tensor, Tensor]:
    """The dream begins at z_0, and its first C steps are thrown away."""
    state, now, alive, latents, survival = model.initial_state(len(z)), z[:, 0], z.new_ones(len(z)), [], []
    for t in range(a.shape[1]):
        step = dream_step(model, now, a[:, t], state, temperature)
        now, state, p = step.z, step.state, step.done_probability
        if t >= z.shape[1] - 1:
            alive = alive * (1 - p / (p + done_weight * (1 - p)))
            latents.append(now)
            survival.append(alive)
    return torch.stack(latents, dim=1), torch.stack(survival, dim=1)


def begun_with_the_present(
    model: MDNRNN, z: Tensor, a: Tensor, temperature: float, done_weight: float
) -> tuple[Tensor, Tensor]:
    latents, survival = dream(model, z, a, temperature, done_weight)
    return torch.cat([z[:, -1:], latents[:, :-1]], dim=1), survival


def dream_spreads(ask: Ask, rng: Rng) -> str:
    """At τ = 1 sixty-four dreams from one start must not be one."""
    model = small_model(rng, 2, 1, 5, 2, torch.float64)
    z, a = (np.repeat(rng.normal(0, 1, shape), 64, 0) for shape in ((1, 3, 2), (1, 5, 1)))
    got = ask(Case({"model": model, "z": z, "a": a, "temperature": 1.0, "done_weight": 2.0}, "τ = 1")).values[0]
    return "the temperature is always 0: 64 dreams from one start are all the same." if got.std(0).min() < 1e-9 else ""


def dream_step_by_step(
    model: MDNRNN, z: torch.Tensor, a: torch.Tensor, temperature: float, done_weight: float
) -> tuple[torch.Tensor, torch.Tensor]:
    from wmcourse import mdn_rnn

    state = model.initial_state(z.shape[0])
    context = z.shape[1] - 1
    for t in range(context):
        state = model.step(z[:, t], a[:, t], state)
    latent = z[:, context]
    latents, going_on = [], []
    for t in range(context, a.shape[1]):
        latent, _, p, state = mdn_rnn.dream_step(model, latent, a[:, t], state, temperature)
        odds = p / (1 - p) / done_weight
        latents.append(latent)
        going_on.append(1 / (1 + odds))
    return torch.stack(latents, 1), torch.cumprod(torch.stack(going_on, 1), 1)


def dream_in_logs(model: MDNRNN, z: Tensor, a: Tensor, temperature: float, done_weight: float) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        _, state = model(z[:, :-1], a[:, : z.shape[1] - 1])
        steps = []
        now = z[:, -1]
        for push in a[:, z.shape[1] - 1 :].unbind(1):
            steps.append(dream_step(model, now, push, state, temperature))
            now, state = steps[-1].z, steps[-1].state
        p = torch.stack([step.done_probability for step in steps], 1)
        logs = F.logsigmoid(math.log(done_weight) - torch.logit(p))
        return torch.stack([step.z for step in steps], 1), logs.cumsum(1).exp()


def dream_told(model: "MDNRNN", z: Tensor, a: Tensor, temperature: float, done_weight: float) -> tuple[Tensor, Tensor]:
    from wmcourse import mdn_rnn

    past = z.shape[1] - 1
    _, state = model(z[:, :past], a[:, :past])  # listen: the memory after z_0 .. z_{C-1}
    now, alive, latents, survival = z[:, past], z.new_ones(len(z)), [], []
    for t in range(past, a.shape[1]):
        step = mdn_rnn.dream_step(model, now, a[:, t], state, temperature)
        now, state, p = step.z, step.state, step.done_probability
        alive = alive * (1 - p / (p + done_weight * (1 - p)))  # the weight undone
        latents.append(now)
        survival.append(alive)
    return torch.stack(latents, dim=1), torch.stack(survival, dim=1)


DREAM = Sampled(
    "dream",
    "Listen, then dream",
    15,
    3,
    (
        "Two phases. *Listen*: teacher forcing through z_0 … z_{C−1} with their actions; only the state is kept. *Dream*: begin with the real z_C "
        "and feed each sample back. Which action goes with z_C?",
        "a_C, `a[:, C]` with C = z.shape[1] − 1. z_C itself is consumed by the first dream step, and so must not be listened to before.",
        "Alive after n steps is the *product* of (1 − p) of all of them; p is the honest probability, p/(p + w·(1 − p)) of what "
        "`mdn_rnn.dream_step` returns.",
    ),
    (
        Mistake(
            "the past not listened to",
            long_dream(memory=empty_memory),
            "You begin the dream with an empty memory, though you were given a past. The first frames then have no velocity, and the hazard "
            "behind the band does not exist.",
        ),
        Mistake(
            "the present consumed twice",
            long_dream(memory=heard_twice),
            "You listen to z_C as well, and then give it to the first dream step once more: the memory believes that the world stood still.",
        ),
        Mistake(
            "each action one step late",
            long_dream(action=lambda past, step: past + step - 1),
            "The first dream step gets a_{C−1}, which was used up on the way to z_C. With z_t goes a_t: `a[:, C]` with z_C.",
        ),
        Mistake(
            "one step of the past not heard",
            long_dream(memory=heard_less),
            "You listen to z_0 … z_{C−2} only, and the dream goes on from z_C: the memory misses the step between.",
        ),
        Mistake(
            "survival counted from the listening on",
            survival_heard,
            "You multiply the risks of the past, too. You *have* seen z_C: whoever is there has survived up to then. The product begins with the "
            "dream's first step.",
        ),
        Mistake(
            "the plan begins at the first action",
            long_dream(action=lambda past, step: step),
            "You count the actions from 0 again. The first C belong to the past.",
        ),
        Mistake(
            "each action one step early",
            long_dream(action=lambda past, step: past + step + 1, last=True),
            "The first dream step gets a_{C+1}: a_C, which belongs to z_C, is left out. `a[:, C]` with z_C.",
        ),
        Mistake(
            "one action for the whole dream",
            long_dream(action=lambda past, step: past),
            "Each step of the dream gets a_C again. The plan goes on: a_C, a_{C+1}, …",
        ),
        Mistake(
            "dreamt from the first latent on",
            heard_in_a_dream,
            "You feed the network its own samples from z_0 on. While real latents are there, give it these: what it dreams meanwhile is thrown away.",
        ),
        Mistake(
            "the present returned as the dream's first",
            begun_with_the_present,
            "Your row of latents begins with z_C, which was given, and its last dreamt one is missing. It begins with z_{C+1}.",
        ),
        Mistake(
            "the sample is not fed back",
            long_dream(following=lambda first, dreamt: first),
            "Every step starts from the real z_C again. A dream feeds on itself: the sample is the next input.",
        ),
        Mistake(
            "the memory is not carried",
            long_dream(carried=lambda old, new: old),
            "Each step begins with the memory of the start. Hand `step.state` on.",
        ),
        Mistake(
            "a dream that begins at the start",
            long_dream(begin=lambda z: z[:, 0]),
            "The first latent of a dream is the present, z_C, the *last* that you were given.",
        ),
        Mistake(
            "the step's own chance for survival",
            long_dream(summed=lambda p: 1 - p),
            "This is the chance to survive each single step. To be alive after n steps one must survive all of them: a product.",
        ),
        Mistake(
            "survival before the step",
            long_dream(summed=lambda p: torch.cat([torch.ones_like(p[:, :1]), torch.cumprod(1 - p, 1)[:, :-1]], dim=1)),
            "Your row begins with 1: alive *before* each step. It belongs to the latent beside it, so after the step.",
        ),
        Mistake(
            "the chance of having died",
            long_dream(summed=lambda p: 1 - torch.cumprod(1 - p, 1)),
            "This is 1 − survival.",
        ),
        Mistake(
            "each step's own risk",
            long_dream(summed=lambda p: p),
            "This is the chance of an ending *at* each step. Asked for is being still alive then: the product of all (1 − p) so far.",
        ),
        Mistake(
            "the product of the risks",
            long_dream(summed=lambda p: torch.cumprod(p, 1)),
            "You multiply the chances to *die*: that is dying at every step, one after the other. Survival multiplies 1 − p.",
        ),
        Mistake(
            "chances added up",
            long_dream(summed=lambda p: 1 - torch.cumsum(p, 1)),
            "Risks of single steps do not add: one can die only once. The sum is below the truth, and below 0 in the end.",
        ),
        Mistake(
            "the weight not undone",
            long_dream(undone=lambda p, w: p),
            "The head was trained with a class weight, and its odds are that much too high: your dreams are deadlier than the network believes.",
        ),
        Mistake(
            "the probability divided by the weight",
            long_dream(undone=lambda p, w: p / w),
            "The weight multiplies odds, not probabilities: p/(p + w·(1 − p)).",
        ),
        Mistake(
            "the temperature not handed on",
            long_dream(hot=False),
            "`temperature` never reaches `dream_step`, whose default is 1.",
        ),
        Mistake(
            "the temperature is always 0",
            never_hot,
            "Dreams from one start are all alike: each step takes the most likely component's mean, whatever τ one asks for.",
        ),
    ),
    (dream_step_by_step, dream_in_logs),
    reference=dream,
    shown=dream_told,
    cases=long_cases,
    also=dream_spreads,
    expects="latents z_{C+1} … z_{C+L} (B, L, Z), and for each the probability to be alive then (B, L)",
    checked="Latents and survival of four dreams at τ = 0: a batch of one, one step of past, one step of dream, class weights; and 64 dreams at τ = 1.",
    tolerance=3.0,
    equivalent={
        "input model ignored": "the network is no array: nothing can be zeroed, so this mutant is the original",
        "gradient cut": "dreams to look at need no gradient: whoever makes them under `torch.no_grad()` is right",
    },
)


# --- 6 · The error of a dream


def error_cases(rng: Rng) -> Iterator[Case]:
    for dreams, batch, horizon, size, kind, about in (
        (4, 3, 5, 6, np.float32, "four dreams of three episodes"),
        (1, 4, 3, 2, np.float64, "a single dream of each"),
        (3, 1, 4, 5, np.float64, "a batch of one"),
        (int(rng.integers(5, 9)), int(rng.integers(4, 7)), 6, 3, np.float64, "more of all"),
    ):
        real = rng.normal(0, 1, (batch, horizon, size))
        dreamt = real + rng.normal(0.3, 1, (dreams, batch, horizon, size))
        lengths = rng.integers(1, horizon + 1, batch)
        lengths[0] = horizon
        mask = np.arange(horizon) < lengths[:, None]
        real[~mask] = 9.0  # another episode
        arrays = {"dreams": dreamt, "real": real, "mask": mask}
        yield Case({name: value.astype(kind) for name, value in arrays.items()}, about)


def open_loop_error(dreams: Tensor, real: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    one = (dreams - real).square().sum(dim=-1).mean(dim=0)  # (B, L)
    average = (dreams.mean(dim=0) - real).square().sum(dim=-1)
    there = mask.sum(dim=0)  # episodes that still go on, (L,)
    return (one * mask).sum(dim=0) / there, (average * mask).sum(dim=0) / there


def errors(
    one: Callable[[Tensor, Tensor], Tensor] = lambda dreams, real: (dreams - real).square().sum(-1).mean(0),
    average: Callable[[Tensor, Tensor], Tensor] = lambda dreams, real: (dreams.mean(0) - real).square().sum(-1),
    over: Callable[[Tensor, Tensor], Tensor] = lambda each, mask: (each * mask).sum(0) / mask.sum(0),
    swapped: bool = False,
) -> Answer:
    def answer(dreams: Tensor, real: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        result = over(one(dreams, real), mask), over(average(dreams, real), mask)
        return result[::-1] if swapped else result

    return answer


def one_and_spread(dreams: Tensor, real: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    one, average = open_loop_error(dreams, real, mask)
    return one, one - average


def error_with_loops(dreams: torch.Tensor, real: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    single, together = [], []
    for t in range(real.shape[1]):
        alive = mask[:, t] > 0
        d, x = dreams[:, alive, t], real[alive, t]
        single.append(((d - x) ** 2).sum(-1).mean())
        together.append(((d.mean(0) - x) ** 2).sum(-1).mean())
    return torch.stack(single), torch.stack(together)


def error_by_spread(dreams: Tensor, real: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The error of one dream is that of their mean and the spread around it."""
    centre = dreams.mean(0)
    spread = (dreams - centre).square().mean(0).sum(-1)
    off = (centre - real).square().sum(-1)
    weight = mask / mask.sum(0, keepdim=True)
    return ((spread + off) * weight).sum(0), (off * weight).sum(0)


OPEN_LOOP = Exercise(
    "open_loop_error",
    "How far off, after how long",
    8,
    2,
    (
        "Two averages over dreams, at different places: of the *errors*, or of the *dreams* before the error is taken. Both leave a number "
        "for each episode and horizon, (B, L).",
        "Square, then sum over the last axis. Then the masked mean over episodes at each horizon: `(each * mask).sum(dim=0) / mask.sum(dim=0)`.",
    ),
    (
        Mistake(
            "the mean of all before the square",
            errors(one=lambda dreams, real: (dreams.mean(0) - real).square().sum(-1)),
            "Both of your numbers are the error of the *average* dream. For a single one take the error of each first, then the mean of the errors.",
        ),
        Mistake(
            "the error of one for the average's",
            errors(average=lambda dreams, real: (dreams - real).square().sum(-1).mean(0)),
            "Both of your numbers are those of a single dream. For the second average the *dreams* first.",
        ),
        Mistake(
            "the two swapped",
            errors(swapped=True),
            "First a single dream's error, which is the larger, then that of their average.",
        ),
        Mistake(
            "the padding counts",
            errors(over=lambda each, mask: each.mean(0)),
            "`mask` is not used. After an episode's end there is nothing to be compared with: what stands there is another episode.",
        ),
        Mistake(
            "divided by all episodes",
            errors(over=lambda each, mask: (each * mask).mean(0)),
            "The sum is over the episodes that still go on, and you divide by all. The error seems to *fall* with the horizon, since fewer and "
            "fewer are left: a dream that gets better the longer it lasts is a bug.",
        ),
        Mistake(
            "one number for all horizons",
            errors(over=lambda each, mask: (each * mask).sum() / mask.sum()),
            "The mean over everything: how fast the dream drifts can no longer be seen. One number for each horizon, (L,).",
        ),
        Mistake(
            "the mean over the horizon",
            errors(over=lambda each, mask: (each * mask).sum(1) / mask.sum(1)),
            "A number for each *episode*. Average over the episodes, axis 0, and keep the horizons.",
        ),
        Mistake(
            "mean over the components",
            errors(
                one=lambda dreams, real: (dreams - real).square().mean(-1).mean(0),
                average=lambda dreams, real: (dreams.mean(0) - real).square().mean(-1),
            ),
            "The squared distance is the *sum* of the squares over the last axis.",
        ),
        Mistake(
            "the root taken",
            errors(over=lambda each, mask: ((each * mask).sum(0) / mask.sum(0)).sqrt()),
            "A root at the end makes a readable unit, and spoils the sum rule: only *squared* errors split into the average's and the spread.",
        ),
        Mistake(
            "the absolute distance",
            errors(
                one=lambda dreams, real: (dreams - real).abs().sum(-1).mean(0),
                average=lambda dreams, real: (dreams.mean(0) - real).abs().sum(-1),
            ),
            "Differences must be squared; yours are absolute.",
        ),
        Mistake(
            "errors with their signs",
            errors(
                one=lambda dreams, real: (dreams - real).sum(-1).mean(0),
                average=lambda dreams, real: (dreams.mean(0) - real).sum(-1),
            ),
            "Without the square, errors to both sides cancel.",
        ),
        Mistake(
            "dreams added up",
            errors(one=lambda dreams, real: (dreams - real).square().sum(-1).sum(0)),
            "You add the errors of all S dreams. One dream's is their mean.",
        ),
        Mistake(
            "the first dream alone",
            errors(one=lambda dreams, real: (dreams[0] - real).square().sum(-1)),
            "`dreams[0]` is one dream, and its luck. The error of *a* dream is the mean over the S that you have.",
        ),
        Mistake(
            "the best of the dreams",
            errors(one=lambda dreams, real: (dreams - real).square().sum(-1).amin(0)),
            "The smallest of S errors: chosen with the future known. The more dreams, the better it looks, whatever they are worth.",
        ),
        Mistake(
            "distances, not their squares",
            errors(
                one=lambda dreams, real: (dreams - real).square().sum(-1).sqrt().mean(0),
                average=lambda dreams, real: (dreams.mean(0) - real).square().sum(-1).sqrt(),
            ),
            "A root for each dream. Only *squared* errors split into the average's and the spread.",
        ),
        Mistake(
            "divided by the steps of all horizons",
            errors(over=lambda each, mask: (each * mask).sum(0) / mask.sum()),
            "`mask.sum()` counts all horizons. Each has episodes of its own that still go on: `mask.sum(dim=0)`.",
        ),
        Mistake(
            "the spread for the average's error",
            one_and_spread,
            "The difference of the two is how far dreams are from their *average*. Asked for is how far their average is from what came.",
        ),
        Mistake(
            "masked before the square, divided by all",
            lambda dreams, real, mask: open_loop_error(dreams * mask[..., None], real, torch.ones_like(mask)),
            "The dreams are set to 0 where the episode is over, and these zeros are compared with what stands there. Mask the *errors*, and divide by "
            "those that count.",
        ),
    ),
    (error_with_loops, error_by_spread),
    reference=open_loop_error,
    cases=error_cases,
    expects="two tensors (L,): the squared distance of one dream, and that of the average dream, for each horizon",
    checked="Both errors at each horizon on four fresh sets of dreams, a single dream and a batch of one among them; episodes end at different times.",
    equivalent={"gradient cut": "statistics are for reading: whoever computes them under `torch.no_grad()` is right"},
)


# --- 7 · Counting the paper's M


def count_cases(rng: Rng) -> Iterator[Case]:
    for latent, action, hidden, components, about in (
        (3, 1, 4, 2, "a small network"),
        (1, 2, 3, 1, "one latent dimension, one component"),
        (int(rng.integers(8, 20)), int(rng.integers(1, 5)), int(rng.integers(50, 99)), int(rng.integers(3, 8)), "any"),
    ):
        yield Case({"latent": latent, "action": action, "hidden": hidden, "components": components}, about)


def mdn_rnn_parameters(latent: int, action: int, hidden: int, components: int) -> Tensor:
    lstm = 4 * hidden * (latent + action + hidden + 1)  # four gates: input and memory weights, one bias
    mixture = 3 * latent * components * (hidden + 1)  # log π, μ and log σ of each component, a bias each
    return torch.tensor([lstm, mixture])


def counting(
    lstm: Callable[[int, int, int], int] = lambda z, a, h: 4 * h * (z + a + h + 1),
    mixture: Callable[[int, int, int], int] = lambda z, h, k: 3 * z * k * (h + 1),
) -> Answer:
    def answer(latent: int, action: int, hidden: int, components: int) -> Tensor:
        return torch.tensor([lstm(latent, action, hidden), mixture(latent, hidden, components)])

    return answer


def count_from_torch(latent: int, action: int, hidden: int, components: int) -> torch.Tensor:
    lstm = torch.nn.LSTM(latent + action, hidden)
    recurrent = sum(p.numel() for name, p in lstm.named_parameters() if not name.startswith("bias_hh"))
    head = torch.nn.Linear(hidden, 3 * components * latent)
    return torch.tensor([recurrent, sum(p.numel() for p in head.parameters())])


def count_by_parts(latent: int, action: int, hidden: int, components: int) -> Tensor:
    gate = hidden * (latent + action) + hidden * hidden + hidden
    component = latent * hidden + latent
    return torch.tensor([4 * gate, components * component * 3])


COUNT = Exercise(
    "mdn_rnn_parameters",
    "Counting the paper's M",
    5,
    1,
    (
        "An LSTM has four gates. Each is a linear layer from (z, a) *and* h to H numbers, with one bias.",
        "The mixture: for each latent dimension and component a weight, a mean and a width, each a linear function of h with a bias.",
    ),
    (
        Mistake(
            "torch's two biases",
            counting(lstm=lambda z, a, h: 4 * h * (z + a + h + 2)),
            "`torch.nn.LSTM` has two bias vectors, which are only ever added. The paper's network has one, and 1,024 parameters fewer.",
        ),
        Mistake(
            "no bias in the LSTM",
            counting(lstm=lambda z, a, h: 4 * h * (z + a + h)),
            "Each gate has a bias: 4·H of them.",
        ),
        Mistake(
            "a GRU's three gates",
            counting(lstm=lambda z, a, h: 3 * h * (z + a + h + 1)),
            "An LSTM has four: input, forget, candidate and output. Three are a GRU's.",
        ),
        Mistake(
            "the action left out",
            counting(lstm=lambda z, a, h: 4 * h * (z + h + 1)),
            "The action goes in beside z: the world's next frame depends on what you do.",
        ),
        Mistake(
            "the recurrence left out",
            counting(lstm=lambda z, a, h: 4 * h * (z + a + 1)),
            "Each gate also sees h: H weights more for each of its H numbers. Without them there is no memory.",
        ),
        Mistake(
            "one bias for all gates",
            counting(lstm=lambda z, a, h: 4 * h * (z + a + h) + h),
            "Each of the four gates has a bias of its own.",
        ),
        Mistake(
            "no bias in the mixture",
            counting(mixture=lambda z, h, k: 3 * z * k * h),
            "The mixture's linear layer has a bias for each of its 3·Z·K numbers.",
        ),
        Mistake(
            "one mixture over the whole vector",
            counting(mixture=lambda z, h, k: k * (2 * z + 1) * (h + 1)),
            "This has K weights for the whole latent. The paper's M has a mixture *for each dimension* (lesson 07): K weights for each.",
        ),
        Mistake(
            "the weights of the components forgotten",
            counting(mixture=lambda z, h, k: 2 * z * k * (h + 1)),
            "μ and σ are counted, log π is not.",
        ),
        Mistake(
            "one component",
            counting(mixture=lambda z, h, k: 3 * z * (h + 1)),
            "Each of the K components has its own weight, mean and width.",
        ),
        Mistake(
            "one number for each component",
            counting(mixture=lambda z, h, k: z * k * (h + 1)),
            "Each component of each dimension needs three numbers: log π, μ and log σ.",
        ),
        Mistake(
            "one gate",
            counting(lstm=lambda z, a, h: h * (z + a + h + 1)),
            "This is a plain RNN's layer. An LSTM has four of them: input, forget, candidate and output.",
        ),
        Mistake(
            "no bias anywhere",
            counting(lstm=lambda z, a, h: 4 * h * (z + a + h), mixture=lambda z, h, k: 3 * z * k * h),
            "Each gate and each of the mixture's numbers has a bias: one for each *output* of a linear layer.",
        ),
        Mistake(
            "reward and ending counted",
            counting(mixture=lambda z, h, k: (3 * z * k + 2) * (h + 1)),
            "The paper's CarRacing model puts out the mixture alone. (The one that you train has two outputs more.)",
        ),
        Mistake(
            "the ending counted",
            counting(mixture=lambda z, h, k: (3 * z * k + 1) * (h + 1)),
            "The paper's Take Cover model has an ending, its CarRacing model has none: there the layer puts out the mixture alone.",
        ),
        Mistake(
            "h and c read",
            counting(mixture=lambda z, h, k: 3 * z * k * (2 * h + 1)),
            "The mixture is read from h alone; c stays inside the LSTM.",
        ),
    ),
    (count_from_torch, count_by_parts),
    reference=mdn_rnn_parameters,
    cases=count_cases,
    expects="a tensor of two whole numbers: the LSTM's parameters (one bias vector), and the mixture head's",
    checked="Both counts for three fresh sizes.",
    equivalent={
        "gradient cut": "whole numbers have no gradient",
        "every row is the first row": "the inputs are numbers, and have no rows",
    },
)

EXERCISES = (WINDOWS, DONE_HEAD, SEQUENCE, DREAM_STEP, DREAM, OPEN_LOOP, COUNT)
