"""Lesson 09's exercises: their inputs, their right answers, and the mistakes that people make in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wmcourse.lessons.exercise import Exercise, Mistake
from wmcourse.lessons.judge import Answer, Case
from wmcourse.model_predictive_control import riccati, score_plans, shift_plan

Rng = np.random.Generator
Pair = tuple[Tensor, Tensor]
NO_GRADIENT = "nothing differentiates through what a planner returns"


def functions(*names: str) -> dict[str, str]:
    """The mutants that would put zeros in place of an input that is a function: they leave it as it is."""
    return {f"input {name} ignored": "a function has no zeros: nothing was changed" for name in names}


class Function:
    """A function that a case hands in; fresh for each call, since cases are copied."""

    says = "a function"

    def __repr__(self) -> str:
        return self.says


class Motion(Function):
    """A state (..., S) and an action (..., A) -> the next state: a little world in which every number matters."""

    says = "a function of state and action"

    def __init__(self, rng: Rng, size: int, actions: int, kind: type = np.float64) -> None:
        self.a, self.b = matrix(rng, size, size, kind), matrix(rng, actions, size, kind)

    def __call__(self, state: Tensor, action: Tensor) -> Tensor:
        return 0.4 * state + torch.sin(state @ self.a + action @ self.b)


class Reward(Function):
    """A state (..., S) and an action (..., A) -> (...)."""

    says = "a function of state and action"

    def __init__(self, rng: Rng, size: int, actions: int, kind: type = np.float64) -> None:
        self.c, self.d = matrix(rng, size, 1, kind), matrix(rng, actions, 1, kind)

    def __call__(self, state: Tensor, action: Tensor) -> Tensor:
        return (
            torch.cos(state @ self.c)[..., 0]
            + (state @ self.c)[..., 0]
            - 0.3 * (action.square() @ self.d.abs())[..., 0]
        )


def matrix(rng: Rng, rows: int, columns: int, kind: type) -> Tensor:
    return torch.from_numpy(rng.normal(0, 1, (rows, columns)).astype(kind))


# --- 1 · What a plan is worth


class Toy(Function):
    """A step of a world whose state is two tensors of different shape, and in which one can die."""

    says = "a function of state and action"

    def __init__(self, rng: Rng, actions: int, kind: type, deadly: float = 1.0) -> None:
        self.b, self.deadly = matrix(rng, actions, 1, kind), deadly

    def __call__(self, state: tuple[Tensor, ...], action: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        x, v = state
        v = 0.9 * v + (action @ self.b)[..., 0]
        x = 0.7 * x + torch.stack([v, v.sin()], dim=-1)
        return (x, v), 1 + x.sum(dim=-1).sin() + 0.5 * x[..., 0], self.deadly * torch.sigmoid(x[..., 1] - 1)


class Beyond(Function):
    """The value of a Toy's state."""

    says = "a function of the state"

    def __call__(self, state: tuple[Tensor, ...]) -> Tensor:
        return 4 + state[0][..., 1] - state[1].cos()


def score_cases(rng: Rng) -> Iterator[Case]:
    for (w, n, length, a), discount, beyond, deadly, kind, about in (
        ((2, 4, 3, 1), 1.0, False, 0.0, np.float32, "nobody dies, no discount, nothing beyond"),
        ((3, 5, 4, 2), 1.0, False, 1.0, np.float64, "a chance to die at each step"),
        ((2, 4, 5, 1), 0.8, False, 0.4, np.float64, "a discount"),
        ((2, 3, 3, 2), 0.7, True, 0.6, np.float64, "a discount and a terminal value"),
        ((3, 4, 1, 1), 0.9, True, 1.0, np.float64, "plans of a single step"),
        ((1, int(rng.integers(6, 10)), 6, 1), 0.95, True, 0.3, np.float32, "one world, a longer horizon"),
    ):
        inputs: dict[str, Any] = {
            "step": Toy(rng, a, kind, deadly),
            "state": tuple(torch.from_numpy(rng.normal(0, 1, s).astype(kind)) for s in ((w, 2), (w,))),
            "plans": rng.normal(0, 1, (w, n, length, a)).astype(kind),
            "discount": discount,
            "terminal_value": Beyond() if beyond else None,
        }
        yield Case(inputs, about, ("plans",))


def scored(
    death: str = "after",
    gamma: Callable[[float, int], float] = lambda d, t: d**t,
    end: Callable[[float, int], float] = lambda d, length: d**length,
    end_alive: bool = True,
    end_state: str = "last",
    every: bool = False,
    late: bool = False,
    spread: str = "interleave",
    left_out: int = 0,
    memory: bool = True,
    first: bool = False,
    detach: bool = False,
    weigh: bool = True,
    verdict: bool = False,
    per_step: bool = False,
    after: Callable[[Tensor], Tensor] | None = None,
) -> Answer:
    """The score with one thing changed."""

    def wrong(step: Answer, state: Any, plans: Tensor, discount: float = 1.0, terminal_value: Any = None) -> Tensor:
        w, n, length, _ = plans.shape
        if spread == "world 0":
            state = tuple(p[:1].expand_as(p) for p in state)
        if spread == "repeat":
            start = tuple(p.repeat(n, *[1] * (p.dim() - 1)) for p in state)
        else:
            start = tuple(p.repeat_interleave(n, dim=0) for p in state)
        s, actions, total = start, plans.flatten(0, 1), plans.new_zeros(w * n)
        alive, reward, left = torch.ones_like(total), torch.zeros_like(total), start
        for t in range(length - left_out):
            previous, left = reward, s
            s, reward, done = step(s if memory else start, actions[:, 0 if first else t])
            s = tuple(p.detach() for p in s) if detach else s
            done = (done > 0.5).to(total) if verdict else done
            if death == "before":
                alive = alive * (1 - done)
            total = total + gamma(discount, t) * (alive if weigh else 1) * (previous if late else reward)
            if death == "after":
                alive = alive * (1 - done)
            if death == "one step":
                alive = 1 - done
            if death == "subtracted":
                alive = alive - done
            if every and terminal_value is not None:
                total = total + gamma(discount, t + 1) * alive * terminal_value(s)
        total = total / length if per_step else total
        if terminal_value is not None and not every and end_state:
            value = terminal_value({"last": s, "before": left, "first": start}[end_state])
            total = total + end(discount, length) * (alive if end_alive else 1) * value
        total = total.view(w, n)
        return after(total) if after else total

    return wrong


def score_with_lists(
    step: Callable[..., tuple[tuple[torch.Tensor, ...], torch.Tensor, torch.Tensor]],
    state: tuple[torch.Tensor, ...],
    plans: torch.Tensor,
    discount: float = 1.0,
    terminal_value: Callable[[tuple[torch.Tensor, ...]], torch.Tensor] | None = None,
) -> torch.Tensor:
    worlds, candidates = plans.shape[:2]
    state = tuple(part.repeat_interleave(candidates, dim=0) for part in state)
    weight = torch.ones_like(plans[:, :, 0, 0]).flatten()  # γᵗ·P(alive at t)
    total = torch.zeros_like(weight)
    for action in plans.flatten(0, 1).unbind(dim=1):
        state, reward, done = step(state, action)
        total = total + weight * reward
        weight = weight * discount * (1 - done)
    if terminal_value is not None:
        total = total + weight * terminal_value(state)
    return total.reshape(worlds, candidates)


def score_at_the_end(
    step: Answer, state: Any, plans: Tensor, discount: float = 1.0, terminal_value: Any = None
) -> Tensor:
    w, n, length, _ = plans.shape
    s, rewards, alive = tuple(p.repeat_interleave(n, dim=0) for p in state), [], [plans.new_ones(w * n)]
    for t in range(length):
        s, reward, done = step(s, plans[:, :, t].flatten(0, 1))
        rewards.append(reward)
        alive.append(1 - done)
    alive_at = torch.stack(alive).cumprod(dim=0)  # (L + 1, W·N)
    powers = discount ** torch.arange(length + 1, dtype=plans.dtype)[:, None]
    total = (powers[:-1] * alive_at[:-1] * torch.stack(rewards)).sum(dim=0)
    if terminal_value is not None:
        total = total + powers[-1] * alive_at[-1] * terminal_value(s)
    return total.view(w, n)


def score_by_a_tensor_of_powers(
    step: Answer, state: Any, plans: Tensor, discount: float = 1.0, terminal_value: Any = None
) -> Tensor:
    powers = discount ** torch.arange(plans.shape[2] + 1)  # float32, whatever the plans are
    w, n, length, _ = plans.shape
    s, total, alive = tuple(p.repeat_interleave(n, dim=0) for p in state), plans.new_zeros(w * n), plans.new_ones(w * n)
    for t in range(length):
        s, reward, done = step(s, plans[:, :, t].flatten(0, 1))
        total, alive = total + powers[t] * alive * reward, alive * (1 - done)
    if terminal_value is not None:
        total = total + powers[length] * alive * terminal_value(s)
    return total.view(w, n)


SCORE = Exercise(
    "score_plans",
    "What a plan is worth",
    15,
    2,
    (
        "Make rows of everything: W·N of them. `plans.flatten(0, 1)` is (W·N, L, A): world 0's candidates, then world 1's, …. Each "
        "part of the state must be there in the same order: `part.repeat_interleave(candidates, dim=0)`.",
        "One loop over the steps, with `alive` beginning at 1: step first; add `discount**t * alive * reward`; only then "
        "`alive = alive * (1 - done)`.",
        "Whoever is alive after the last step gets what lies beyond: `discount**horizon * alive * terminal_value(state)`, when there "
        "is such a function. At the end `total.view(worlds, candidates)`.",
    ),
    (
        Mistake(
            "the reward before the transition",
            scored(late=True),
            "The reward is added before the step is made: each step counts the one before, and the state that the last action reaches "
            "never counts. No error tells you, only the plans are worse. Step first, then add: (s_t, a_t) → s_{t+1}, r_{t+1}.",
        ),
        Mistake(
            "who dies is not paid for the step",
            scored(death="before"),
            "`alive` is updated before the reward counts. r_{t+1} of the transition that ends is still paid; what is lost is all "
            "that would come after it.",
        ),
        Mistake(
            "nobody ever dies",
            scored(death="never"),
            "`done` is not used: a plan that ends in the first step scores like one that survives, and the planner walks into "
            "hazards with a smile.",
        ),
        Mistake(
            "the dead earn on",
            scored(weigh=False),
            "`alive` is kept, but no reward is multiplied by it: who died in step 1 is paid for all the others. r_{t+1} counts with P(alive at t).",
        ),
        Mistake(
            "a verdict in place of a chance",
            scored(verdict=True),
            "`done` is a chance, and you make a yes or no of it (`> 0.5`). A plan that dies with 0.4 at each step would look safe; and a verdict has no slope, so gradients see no danger.",
        ),
        Mistake(
            "rising from the dead",
            scored(death="one step"),
            "`alive = 1 - done` knows only the last step. The chances multiply: P(alive at t+1) = P(alive at t)·(1 − P(done)).",
        ),
        Mistake(
            "the chances to die added up",
            scored(death="subtracted"),
            "`alive - done` takes the chance to die off as if everybody were still there: after a few steps `alive` falls below 0. Who is "
            "dead cannot die again: the chances to live multiply, alive·(1 − done).",
        ),
        Mistake(
            "no discount",
            scored(gamma=lambda d, t: 1.0),
            "γᵗ is missing: a reward in t steps counts as much as one now.",
        ),
        Mistake(
            "no discount, not even beyond",
            scored(gamma=lambda d, t: 1.0, end=lambda d, length: 1.0),
            "`discount` is not used at all. γᵗ stands before the reward of step t, and γᴸ before what lies beyond.",
        ),
        Mistake(
            "the discount one step early",
            scored(gamma=lambda d, t: d ** (t + 1)),
            "The first reward comes with γ⁰ = 1 here. With γᵗ⁺¹ all plans are still in order, but the terminal value, γᴸ, then counts "
            "too much beside them.",
        ),
        Mistake(
            "everything discounted once more",
            scored(gamma=lambda d, t: d ** (t + 1), end=lambda d, length: d ** (length + 1)),
            "The first reward comes with γ⁰ = 1 here; yours has γ¹, and all else one γ more as well. No plan changes its place by that, but it is another number than the formula's: t begins at 0.",
        ),
        Mistake(
            "the same discount at each step",
            scored(gamma=lambda d, t: d if t else 1.0),
            "Each step further multiplies by γ once more: γᵗ, not γ.",
        ),
        Mistake(
            "the terminal value not discounted",
            scored(end=lambda d, length: 1.0),
            "V(s_L) lies L steps ahead: γᴸ. Without it a planner with a short horizon lives for what lies beyond.",
        ),
        Mistake(
            "the terminal value discounted one step too little",
            scored(end=lambda d, length: d ** (length - 1)),
            "The last reward, r_L, has γᴸ⁻¹. What comes after the state s_L begins with γᴸ.",
        ),
        Mistake(
            "the terminal value discounted one step too much",
            scored(end=lambda d, length: d ** (length + 1)),
            "V(s_L) counts what comes from s_L on, and the first reward after it is step L's: γᴸ, since the first of all has γ⁰.",
        ),
        Mistake(
            "a value for the dead",
            scored(end_alive=False),
            "V(s_L) is added for everybody, also for who died on the way. It is multiplied by P(alive at L).",
        ),
        Mistake(
            "the value of the first state",
            scored(end_state="first"),
            "You ask what the state is worth from which the plan *starts*: no plan can change that. V belongs to s_L.",
        ),
        Mistake(
            "the value of the last state but one",
            scored(end_state="before"),
            "V is asked of s_{L−1}, the state in which the last action is done: that action's reward is counted already, and where it leads "
            "is not seen. V belongs to the state *after* it, s_L.",
        ),
        Mistake(
            "the terminal value forgotten",
            scored(end_state=""),
            "What lies beyond the horizon is not counted, though there is a function that knows.",
        ),
        Mistake(
            "the terminal value at every step",
            scored(every=True),
            "V is added after each step, and so the same future is counted L times. Only the last state's future is still missing.",
        ),
        Mistake(
            "the worlds in the wrong order",
            scored(spread="repeat"),
            "`repeat` gives world 0, 1, 0, 1, …, where the flattened plans are world 0, 0, …, 1, 1, …. With one world nobody notices. "
            "`repeat_interleave` has the order that is needed.",
        ),
        Mistake(
            "everybody starts in world 0",
            scored(spread="world 0"),
            "All plans are rolled out from the first world's state. Each world has its own.",
        ),
        Mistake(
            "one score for all candidates",
            scored(after=lambda total: total.mean().expand_as(total)),
            "The reward was averaged over all rows (`.mean()`, the habit for losses). So each plan scores the same, argmax takes the "
            "first, and the planner is as good as its first dice throw. No error ever tells you.",
        ),
        Mistake(
            "one score for each world",
            scored(after=lambda total: total.mean(dim=1, keepdim=True).expand_as(total)),
            "The candidates of a world were averaged: all its plans score the same, and there is nothing left to choose by.",
        ),
        Mistake(
            "worlds and candidates exchanged",
            scored(after=lambda total: total.reshape(total.shape[::-1]).T),
            "The rows are world 0's candidates, then world 1's. `.view(candidates, worlds).T` cuts them as if they were candidate 0 of each world first: the shape is right, and the scores are dealt out to others.",
        ),
        Mistake(
            "the mean over the steps",
            scored(per_step=True),
            "The rewards are averaged over the steps. A return is a sum: with a mean, a plan's length and what lies beyond no longer weigh against each other.",
        ),
        Mistake(
            "the last step left out",
            scored(left_out=1),
            "The loop ends one step early: the last action of the plan is never done, so it is left to chance.",
        ),
        Mistake(
            "each step from the start",
            scored(memory=False),
            "Every action is tried from the *first* state, as if those before had not been done. A plan is a sequence: keep the state "
            "that `step` returns.",
        ),
        Mistake(
            "the first action again and again",
            scored(first=True),
            "The loop uses action 0 at each step. Take `actions[:, t]`.",
        ),
        Mistake(
            "still one row for each candidate",
            scored(after=lambda total: total.flatten()),
            "The numbers are right, in one long row (W·N,). Give them back their places: `.view(worlds, candidates)`.",
        ),
        Mistake(
            "the gradient cut at each step",
            scored(detach=True),
            "Somewhere in the loop the state is detached. The values are right; but gradient planning would think that an action "
            "matters for its own step alone.",
        ),
    ),
    (score_with_lists, score_at_the_end, score_by_a_tensor_of_powers),
    reference=score_plans,
    shown=score_with_lists,
    cases=score_cases,
    expects="one score for each candidate of each world, shape (W, N)",
    checked="Values and gradients on six fresh worlds: with and without death, discount and terminal value, plans of one step; "
    "float32 and float64.",
    equivalent=functions("step"),
    tolerance=10.0,  # powers of γ in float32 are no mistake
)


# --- 2 · The best of N throws


class Rugged(Function):
    """A score (W, N), negative for most plans, whose best plan differs from world to world. When broken: NaN for some, and
    the others so low that no number but −∞ is below them all.
    """

    says = "a function of plans"

    def __init__(self, rng: Rng, shape: tuple[int, ...], kind: type, broken: float = -math.inf) -> None:
        w, _, length, a = shape
        self.top, self.broken = torch.from_numpy(rng.uniform(-1, 1, (w, 1, length, a)).astype(kind)), broken

    def __call__(self, plans: Tensor) -> Tensor:
        value = -3 - (plans - self.top).square().sum(dim=(2, 3)) + 0.5 * torch.cos(5 * plans).sum(dim=(2, 3))
        return (
            value if self.broken < -1 else torch.where(plans[:, :, 0, 0] < self.broken, math.nan, value - depths(value))
        )


def depths(scores: Tensor) -> Tensor:
    """How far each world's scores are lowered: 10³, 10⁶, 10⁹, …, (W, 1)."""
    return 10.0 ** (3 * torch.arange(1, len(scores) + 1, dtype=scores.dtype))[:, None]


LOW = (-10.0, -100.0, -1000.0, -1e4, -1e6, -1e9)  # what people write for −∞


def made(number: float) -> Callable[[Tensor], Tensor]:
    return lambda scores: scores.nan_to_num(nan=number)


def can_win(number: float) -> tuple[str, str]:
    """A mistake's name, and why it is one."""
    return (
        f"NaN made a number that can win: {number:g}",
        f"A NaN is made {number:g}, which looks low. But what a return is measured in is the world's choice: where all plans score "
        "lower still, the broken one wins. Only −∞ is below every number.",
    )


def shoot_cases(rng: Rng) -> Iterator[Case]:
    for shape, (low, high), broken, kind, about in (
        ((1, 12, 3, 1), (-1.0, 1.0), -math.inf, np.float32, "one world"),
        ((3, 10, 4, 2), (-2.0, 2.0), -math.inf, np.float64, "three worlds, actions up to 2"),
        ((4, 9, 2, 1), (-0.5, 1.5), -math.inf, np.float64, "a range that is not centred"),
        ((3, 16, 2, 2), (-1.0, 1.0), 0.1, np.float64, "half of the plans score NaN"),
        ((2, 1, 3, 1), (-1.0, 3.0), -math.inf, np.float32, "a single throw"),
    ):
        dice = np.asarray(rng.uniform(0, 1, shape), np.float64)
        if broken > -1:  # a NaN before and after what is best, and never all of them
            dice[:, ::2, 0, 0], dice[:, 1::2, 0, 0] = 0.3 * dice[:, ::2, 0, 0], 0.6 + 0.4 * dice[:, 1::2, 0, 0]
        yield Case(
            {"score": Rugged(rng, shape, kind, broken), "dice": dice.astype(kind), "low": low, "high": high}, about
        )


def shoot(score: Callable[[Tensor], Tensor], dice: Tensor, low: float, high: float) -> Pair:
    plans = low + (high - low) * dice
    scores = score(plans)
    scores = torch.where(scores.isnan(), -torch.inf, scores)  # argmax would let NaN win
    best = scores.argmax(dim=1)  # (W,)
    rows = torch.arange(len(plans))
    return plans[rows, best], scores[rows, best]


def shot(
    scale: Callable[[Tensor, float, float], Tensor] = lambda d, low, high: low + (high - low) * d,
    heal: Callable[[Tensor], Tensor] = lambda s: torch.where(s.isnan(), -torch.inf, s),
    choose: Callable[[Tensor], Tensor] = lambda s: s.argmax(dim=1),
    back: Callable[[Tensor, Tensor, Tensor], Any] | None = None,
    score_dice: bool = False,
) -> Answer:
    """The throw with one thing changed."""

    def wrong(score: Answer, dice: Tensor, low: float, high: float) -> Any:
        plans = scale(dice, low, high)
        scores = heal(score(dice if score_dice else plans))
        best, rows = choose(scores), torch.arange(len(plans))
        return back(plans, scores, best) if back else (plans[rows, best], scores[rows, best])

    return wrong


def the_dice(score: Answer, dice: Tensor, low: float, high: float) -> Pair:
    """The winning throw as it came, not stretched."""
    scores = score(low + (high - low) * dice).nan_to_num(nan=-math.inf)
    return dice[torch.arange(len(dice)), scores.argmax(dim=1)], scores.amax(dim=1)


def a_nan_with_it(score: Answer, dice: Tensor, low: float, high: float) -> Pair:
    """Well chosen, but the score that is returned is the largest of the raw ones."""
    plan, _ = shoot(score, dice, low, high)
    return plan, score(low + (high - low) * dice).max(dim=1).values


def one_winner(scores: Tensor) -> Tensor:
    return (scores.flatten().argmax() % scores.shape[1]).expand(len(scores))


def shoot_by_max(
    score: Callable[[torch.Tensor], torch.Tensor], dice: torch.Tensor, low: float, high: float
) -> tuple[torch.Tensor, torch.Tensor]:
    plans = dice * (high - low) + low
    scores = torch.nan_to_num(score(plans), nan=-float("inf"))
    values, best = scores.max(dim=1)
    return plans[torch.arange(len(plans)), best], values


def shoot_world_by_world(score: Answer, dice: Tensor, low: float, high: float) -> Pair:
    plans = torch.lerp(torch.full_like(dice, low), torch.full_like(dice, high), dice)
    scores = score(plans)
    chosen, values = [], []
    for world, s in zip(plans, scores, strict=True):
        ranked = [-math.inf if math.isnan(x) else x for x in s.tolist()]
        best = ranked.index(max(ranked))
        chosen.append(world[best])
        values.append(s[best])
    return torch.stack(chosen), torch.stack(values)


SHOOT = Exercise(
    "shoot",
    "The best of N throws",
    8,
    1,
    (
        "`dice` lies in [0, 1). Which straight line takes 0 to `low` and 1 to `high`?",
        "`scores.argmax(dim=1)` gives each world's best index. But torch takes NaN for the largest number: replace it first, with "
        "`torch.where(scores.isnan(), -torch.inf, scores)`.",
        "With `rows = torch.arange(len(plans))` both come by the same index: `plans[rows, best], scores[rows, best]`.",
    ),
    (
        Mistake(
            "NaN scores win",
            shot(heal=lambda s: s),
            "torch's `argmax` takes NaN for the largest of all numbers, so a plan on which the model broke down is carried out. It "
            "must lose: make it −∞ first.",
        ),
        Mistake(
            "NaN counts as 0",
            shot(heal=lambda s: s.nan_to_num()),
            "`nan_to_num` puts a 0 there. Where costs make all scores negative, 0 is the best of them, and the broken plan wins "
            "again. It must be −∞.",
        ),
        *(Mistake(can_win(x)[0], shot(heal=made(x)), can_win(x)[1]) for x in LOW),
        Mistake(
            "the worst throw",
            shot(choose=lambda s: s.argmin(dim=1)),
            "This takes the lowest score. Scores are returns here: more is better. (Papers that minimise a cost take argmin.)",
        ),
        Mistake(
            "one winner for all worlds",
            shot(choose=one_winner),
            "The index of the best plan of *all* worlds is used in each of them. Each world has a best plan of its own: `dim=1`.",
        ),
        Mistake(
            "the dice as they are",
            shot(scale=lambda d, low, high: d),
            "The numbers in [0, 1) are used as actions: the agent can only ever push to one side.",
        ),
        Mistake(
            "scored as dice, returned as plans",
            shot(score_dice=True),
            "What is scored are the dice, what is returned are the plans: the winner is the best of something else.",
        ),
        Mistake(
            "the wrong range",
            shot(scale=lambda d, low, high: low + high * d),
            "At 1 this gives low + high. The width of the range is high − low.",
        ),
        Mistake(
            "a range around 0",
            shot(scale=lambda d, low, high: high * (2 * d - 1)),
            "2·dice − 1, times `high`, is right only where low = −high.",
        ),
        Mistake(
            "the average of all throws",
            shot(back=lambda plans, scores, best: (plans.mean(dim=1), scores.amax(dim=1))),
            "The average of N random plans is close to doing nothing, and its score is not the one you return. Take the best.",
        ),
        Mistake(
            "only the first action",
            shot(back=lambda plans, scores, best: (plans[torch.arange(len(plans)), best][:, 0], scores.amax(dim=1))),
            "It is the first action that will be done. But return the whole plan: the next decision starts from its rest.",
        ),
        Mistake(
            "the dice returned, not the plan",
            the_dice,
            "What you return is the winning throw as it came, in [0, 1). The plan is what was scored: the stretched one.",
        ),
        Mistake(
            "the score of a plan that broke down",
            a_nan_with_it,
            "The plan is well chosen, but the score beside it is the largest of the raw scores, and for torch that is NaN. Take the score at the same index as the plan.",
        ),
        Mistake(
            "the index in place of the score",
            shot(back=lambda plans, scores, best: (plans[torch.arange(len(plans)), best], best)),
            "Second comes the best plan's score, (W,). You return its index.",
        ),
        Mistake(
            "score and plan exchanged",
            shot(back=lambda plans, scores, best: (scores.amax(dim=1), plans[torch.arange(len(plans)), best])),
            "First the plan (W, L, A), then its score (W,).",
        ),
        Mistake(
            "the last throw",
            shot(choose=lambda s: torch.full((len(s),), s.shape[1] - 1)),
            "The scores are not used: you return whatever was thrown last.",
        ),
        Mistake(
            "the mean of the scores",
            shot(back=lambda plans, scores, best: (plans[torch.arange(len(plans)), best], scores.mean(dim=1))),
            "The plan is right; its score is that of the best candidate, not the average of all.",
        ),
    ),
    (shoot_by_max, shoot_world_by_world),
    reference=shoot,
    shown=shoot_by_max,
    cases=shoot_cases,
    expects="two tensors: each world's best plan (W, L, A), and its score (W,)",
    checked="Five fresh sets of throws: one and several worlds, a range that is not centred, NaN among the scores, a single throw.",
    equivalent=functions("score") | {"gradient cut": NO_GRADIENT},
)


# --- 3 · One step later


def shift_cases(rng: Rng) -> Iterator[Case]:
    for shape, kind, about in (
        ((2, 5, 1), np.float32, "plans of two worlds"),
        ((1, 4, 3), np.float64, "three numbers an action"),
        ((2, 3, 4, 2), np.float64, "elites: one more axis"),
        ((5, 2), np.float64, "a single plan, (L, A)"),
        ((3, 1, 2), np.float32, "plans of one step"),
        ((2, 2, 1), np.float64, "plans of two steps"),
    ):
        # No gradient by a plan of one step: what is written into it in place would stop there, before it gets its name.
        wanted = ("plan",) if shape[-2] > 1 else ()
        yield Case({"plan": rng.normal(0, 1, shape).astype(kind)}, about, wanted)


def in_place(plan: Tensor) -> Tensor:
    if plan.shape[-2] > 1:
        plan.data[..., :-1, :] = plan.data[..., 1:, :].clone()
    return plan + 0


def shift_by_index(plan: torch.Tensor) -> torch.Tensor:
    steps = [*range(1, plan.shape[-2]), plan.shape[-2] - 1]
    return plan[..., steps, :]


def shift_by_roll(plan: Tensor) -> Tensor:
    later = plan.roll(-1, dims=-2)
    keep = torch.ones(plan.shape[-2], 1, dtype=torch.bool)
    keep[-1] = False
    return torch.where(keep, later, plan)


def shift_by_narrow(plan: Tensor) -> Tensor:
    length = plan.size(-2)
    return torch.cat((plan.narrow(-2, 1, length - 1), plan.narrow(-2, length - 1, 1)), -2)


SHIFT = Exercise(
    "shift_plan",
    "One step later",
    5,
    1,
    (
        "The plan (a₀, a₁, …, a_{L−1}) becomes (a₁, …, a_{L−1}, a_{L−1}). Which axis are the steps on, counted from the *end*?",
        "`plan[..., 1:, :]` is all but the first step, `plan[..., -1:, :]` the last step alone (with its axis kept).",
        "`torch.cat([…, …], dim=-2)` of the two.",
    ),
    (
        Mistake(
            "the first action comes back at the end",
            lambda plan: plan.roll(-1, dims=-2),
            "`roll` puts the action that was just done at the end of the plan. It has had its time; the best guess for a step that "
            "nobody has planned yet is to go on as at the end: repeat the last.",
        ),
        Mistake(
            "nothing at the end",
            lambda plan: torch.cat([plan[..., 1:, :], torch.zeros_like(plan[..., -1:, :])], dim=-2),
            "Zeros for the new last step: also seen in good code, but where actions hold something up (a pendulum against "
            "gravity) doing nothing is a bad start. The course repeats the last action.",
        ),
        Mistake(
            "not shifted",
            lambda plan: plan + 0,
            "The plan is as it was, and so every action comes one step late: it was made for a time that has passed.",
        ),
        Mistake(
            "shifted the wrong way",
            lambda plan: torch.cat([plan[..., :1, :], plan[..., :-1, :]], dim=-2),
            "This delays the plan by a step: the action that was just done would be done again.",
        ),
        Mistake(
            "rolled the wrong way",
            lambda plan: plan.roll(1, dims=-2),
            "`roll` with +1 moves each action to a *later* place: the last one would be done first. And it brings round what it pushes out: what is needed is the last action twice.",
        ),
        Mistake(
            "one step shorter",
            lambda plan: plan[..., 1:, :] + 0,
            "The first action is gone, and nothing is at the end: the plan gets shorter with each decision.",
        ),
        Mistake(
            "two steps at once",
            lambda plan: torch.cat([plan[..., 2:, :], plan[..., -1:, :], plan[..., -1:, :]], dim=-2)[
                ..., : plan.shape[-2], :
            ],
            "Two actions are dropped, but only one has been done.",
        ),
        Mistake(
            "shifted along the numbers of an action",
            lambda plan: torch.cat([plan[..., 1:], plan[..., -1:]], dim=-1),
            "The last axis, A, holds the numbers of one action. The steps are on the axis before it: `dim=-2`.",
        ),
        Mistake(
            "shifted along the worlds",
            lambda plan: torch.cat([plan[1:], plan[-1:]], dim=0),
            "Axis 0 is the worlds': now each follows the plan of its neighbour. The steps are on axis −2.",
        ),
        Mistake(
            "always axis 1",
            lambda plan: torch.cat([plan[:, 1:], plan[:, -1:]], dim=1),
            "Right for (W, L, A). But elites are (W, E, L, A), and there axis 1 counts elites: count from the end, −2.",
        ),
        Mistake(
            "changed in place",
            in_place,
            "The plan you are given is overwritten. Whoever still holds it (to draw it, to compare) finds another one there. Make a "
            "new tensor.",
            "changes its input",
        ),
    ),
    (shift_by_index, shift_by_roll, shift_by_narrow),
    reference=shift_plan,
    shown=shift_by_index,
    cases=shift_cases,
    expects="a plan of the same shape, one step later: the first action gone, the last there twice",
    checked="Values and gradients for plans of one, two and more steps, for elites, and for a single plan.",
    part=True,
)


# --- 4 · The receding horizon


class Search(Function):
    """A planner that tells what it was given: (seen, memory, warm) -> plan (W, L, A)."""

    says = "a planner: (seen, memory, warm) -> plan (W, L, A)"

    def __init__(self, rng: Rng, seen: int, memory: int, length: int, actions: int, kind: type) -> None:
        self.c, self.d = matrix(rng, seen, length * actions, kind), matrix(rng, memory, length * actions, kind)
        self.length = length

    def __call__(self, seen: Tensor, memory: Tensor, warm: Tensor | None) -> Tensor:
        plan = torch.sin(seen @ self.c + memory @ self.d + 0.3).view(len(seen), self.length, -1)
        return plan if warm is None else 0.6 * plan + 0.5 * warm.sin() + 0.1


class Remember(Function):
    """(memory, seen, action) -> the memory after both were taken in."""

    says = "a function of (memory, seen, action)"

    def __init__(self, rng: Rng, seen: int, memory: int, actions: int, kind: type) -> None:
        self.e, self.f = matrix(rng, seen, memory, kind), matrix(rng, actions, memory, kind)

    def __call__(self, memory: Tensor, seen: Tensor, action: Tensor) -> Tensor:
        return 0.5 * memory + torch.tanh(seen @ self.e + action @ self.f)


class World(Function):
    """A world that goes on: action (W, A) -> what is seen now, and the reward."""

    says = "a world: action -> (seen, reward)"

    def __init__(self, rng: Rng, worlds: int, seen: int, actions: int, kind: type) -> None:
        self.motion, self.reward = Motion(rng, seen, actions, kind), Reward(rng, seen, actions, kind)
        self.state = torch.from_numpy(rng.normal(0, 1, (worlds, seen)).astype(kind))

    def __call__(self, action: Tensor) -> Pair:
        self.state = self.motion(self.state, action)
        return self.state.clone(), self.reward(self.state, action)


def horizon_cases(rng: Rng) -> Iterator[Case]:
    for worlds, seen, memory, length, actions, steps, kind, about in (
        (1, 2, 2, 4, 1, 6, np.float64, "one world, six steps"),
        (3, 2, 3, 3, 2, 5, np.float64, "three worlds"),
        (2, 3, 2, 2, 1, 1, np.float32, "a single step"),
        (2, 2, 2, 1, 1, 4, np.float64, "a horizon of one step"),
        (2, 2, 1, 5, 2, int(rng.integers(7, 10)), np.float64, "more steps than the horizon has"),
    ):
        world = World(rng, worlds, seen, actions, kind)
        inputs: dict[str, Any] = {
            "search": Search(rng, seen, memory, length, actions, kind),
            "remember": Remember(rng, seen, memory, actions, kind),
            "world": world,
            "seen": world.state.numpy().copy(),
            "memory": rng.normal(0, 1, (worlds, memory)).astype(kind),
            "steps": steps,
        }
        yield Case(inputs, about)


def receding_horizon(
    search: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    remember: Callable[[Tensor, Tensor, Tensor], Tensor],
    world: Callable[[Tensor], Pair],
    seen: Tensor,
    memory: Tensor,
    steps: int,
) -> Pair:
    warm, actions, rewards = None, [], []
    for _ in range(steps):
        plan = search(seen, memory, warm)
        action = plan[:, 0]  # (W, A): only the first step is ever done
        memory = remember(memory, seen, action)  # h_{t+1}, after (z_t, a_t)
        seen, reward = world(action)
        warm = torch.cat([plan[:, 1:], plan[:, -1:]], dim=1)  # shifted by one
        actions.append(action)
        rewards.append(reward)
    return torch.stack(actions, dim=1), torch.stack(rewards, dim=1).sum(dim=1)


def receded(
    blind: bool = False,
    open_loop: bool = False,
    first_only: bool = False,
    shift: Callable[[Tensor], Tensor | None] = shift_plan,
    carry: str = "yes",
    pick: Callable[[Tensor], Tensor] = lambda plan: plan[:, 0],
    old_eyes: bool = False,
    never_looks: bool = False,
    late_memory: bool = False,
    early_memory: bool = False,
    total: Callable[[Tensor], Tensor] = lambda rewards: rewards.sum(dim=1),
    done: Callable[[list[Tensor]], Tensor] = lambda actions: torch.stack(actions, dim=1),
) -> Answer:
    """The loop with one thing changed."""

    def wrong(search: Answer, remember: Answer, world: Answer, seen: Tensor, memory: Tensor, steps: int) -> Pair:
        warm, actions, rewards = None, [], []
        first_seen, first_memory, before = seen, memory, None
        plan = search(seen, memory, None)
        for t in range(steps):
            if t and (not open_loop or (t % plan.shape[1] == 0 and not blind)):
                plan = search(first_seen if old_eyes or never_looks else seen, memory, warm)
            action = plan[:, t % plan.shape[1]] if open_loop and not first_only else pick(plan)
            looked = first_seen if never_looks else seen
            if early_memory and before is not None:
                memory = remember(memory, seen, before)
            seen, reward = world(action)
            if carry == "yes" and not early_memory:
                memory = remember(memory, seen if late_memory else looked, action)
            if carry == "reset":
                memory = remember(first_memory, looked, action)
            before = action
            warm = shift(plan)
            actions.append(action)
            rewards.append(reward)
        return done(actions), total(torch.stack(rewards, dim=1))

    return wrong


def one_plan_shifted(search: Answer, remember: Answer, world: Answer, seen: Tensor, memory: Tensor, steps: int) -> Pair:
    plan, actions, rewards = search(seen, memory, None), [], []
    for _ in range(steps):
        actions.append(plan[:, 0])
        rewards.append(world(plan[:, 0])[1])
        plan = shift_plan(plan)
    return torch.stack(actions, dim=1), torch.stack(rewards, dim=1).sum(dim=1)


def horizon_by_running_sum(
    search: Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor],
    remember: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    world: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    seen: torch.Tensor,
    memory: torch.Tensor,
    steps: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    warm, total, done = None, torch.zeros(()), []
    for _ in range(steps):
        plan = search(seen, memory, warm)
        done.append(plan[:, :1])  # (W, 1, A)
        memory = remember(memory, seen, plan[:, 0])
        seen, reward = world(plan[:, 0])
        total = total + reward
        warm = torch.cat([plan[:, 1:], plan[:, -1:]], dim=1)
    return torch.cat(done, dim=1), total


def horizon_into_a_table(
    search: Answer, remember: Answer, world: Answer, seen: Tensor, memory: Tensor, steps: int
) -> Pair:
    plan = search(seen, memory, None)
    table = plan.new_zeros(len(seen), steps, plan.shape[2])
    total = plan.new_zeros(len(seen))
    for t in range(steps):
        if t:
            plan = search(seen, memory, shift_plan(plan))
        table[:, t] = plan[:, 0]
        after, reward = world(plan[:, 0])
        memory, seen = remember(memory, seen, plan[:, 0]), after
        total += reward
    return table, total


HORIZON = Exercise(
    "receding_horizon",
    "The loop that closes",
    12,
    2,
    (
        "Write the order of one step on paper first: plan, first action, memory, world, shift. What does each of them need that the "
        "one before has made?",
        "The memory is h_{t+1} *after* (z_t, a_t): it takes what was seen before the action, so call `remember` before `seen` is "
        "overwritten. For the first plan `warm` is None.",
        "`plan = search(seen, memory, warm)`; `action = plan[:, 0]`; `memory = remember(memory, seen, action)`; "
        "`seen, reward = world(action)`; `warm` = the plan shifted by one, as in exercise 3.",
    ),
    (
        Mistake(
            "the whole plan, open loop",
            receded(open_loop=True),
            "The plan is carried out to its end before a new one is made. Whatever goes otherwise than planned on the way is seen, and "
            "ignored. Plan at every step, and do the first action alone.",
        ),
        Mistake(
            "one plan for ever",
            receded(open_loop=True, blind=True),
            "You plan once, and then repeat that plan's actions whatever happens. Each step needs a plan from what is seen *now*.",
        ),
        Mistake(
            "one plan, carried out to its end",
            one_plan_shifted,
            "The plan is made once, before the loop; afterwards it is only shifted, and its last action repeated. Nothing that is seen "
            "corrects it. `search` belongs *into* the loop: each step needs a plan from what is seen now.",
        ),
        Mistake(
            "one action for ever",
            receded(open_loop=True, blind=True, first_only=True),
            "The plan is made once, before the loop, and its first action is repeated. `search` belongs *into* the loop: each step needs a "
            "plan from what is seen now.",
        ),
        Mistake(
            "the warm start rolled round",
            receded(shift=lambda plan: plan.roll(-1, dims=1)),
            "`roll` puts the action that was just done at the plan's end. Repeat the last action there, as in exercise 3.",
        ),
        Mistake(
            "the warm start ends with nothing",
            receded(shift=lambda plan: torch.cat([plan[:, 1:], torch.zeros_like(plan[:, :1])], dim=1)),
            "Zeros at the plan's end. Repeat the last action there, as in exercise 3.",
        ),
        Mistake(
            "the warm start not shifted",
            receded(shift=lambda plan: plan),
            "The next search starts from the old plan as it is: each action in it is one step late. Drop the first, repeat the last.",
        ),
        Mistake(
            "no warm start",
            receded(shift=lambda plan: None),
            "`warm` is always None: each decision begins from nothing, although nearly all of a good plan is known already.",
        ),
        Mistake(
            "the memory reset at each step",
            receded(carry="reset"),
            "`remember` is always given the *first* memory, so the agent remembers one step and no more. It is the bug that makes a "
            "recurrent model useless without an error: the code runs, the plans are merely worse. Carry the memory along.",
        ),
        Mistake(
            "the memory never updated",
            receded(carry="no"),
            "`remember` is not called (or what it returns is dropped). Each plan starts as if nothing had ever happened.",
        ),
        Mistake(
            "the memory of the frame after",
            receded(late_memory=True),
            "`remember` gets what was seen *after* the action. The convention: h_{t+1} has taken in (z_t, a_t), what was seen before, "
            "and what was done then.",
        ),
        Mistake(
            "the memory one step late",
            receded(early_memory=True),
            "The memory takes in the *previous* action, with the frame that it led to. The model was trained with the action done "
            "in that frame: (z_t, a_t).",
        ),
        Mistake(
            "planned from the first sight",
            receded(old_eyes=True),
            "`search` always gets the first `seen`: that is planning anew without looking, an open loop in disguise.",
        ),
        Mistake(
            "what is seen is dropped",
            receded(never_looks=True),
            "`world` returns what is seen now, and it is not kept: `search` and `remember` get the first `seen` again and again. Write "
            "`seen, reward = world(action)`.",
        ),
        Mistake(
            "the last action of the plan",
            receded(pick=lambda plan: plan[:, -1]),
            "`plan[:, -1]` is for the end of the horizon. What is to be done now is `plan[:, 0]`.",
        ),
        Mistake(
            "the first action of the shifted plan",
            receded(pick=lambda plan: shift_plan(plan)[:, 0]),
            "The plan is shifted before its first action is done, so the agent does the *second* one, a step too early. First the action, then the shift.",
        ),
        Mistake(
            "time before worlds",
            receded(done=torch.stack),
            "`torch.stack(actions)` puts the steps on axis 0: (T, W, A). The worlds come first here: `dim=1`.",
        ),
        Mistake(
            "one return for all worlds",
            receded(total=lambda rewards: rewards.sum()),
            "The rewards of all worlds are added up to one number. Each world has a return of its own, (W,): sum over the steps alone.",
        ),
        Mistake(
            "the mean of the plan",
            receded(pick=lambda plan: plan.mean(dim=1)),
            "The average over the steps of a plan is an action for no time at all. Do the first.",
        ),
        Mistake(
            "shifted by two",
            receded(shift=lambda plan: shift_plan(shift_plan(plan))),
            "One action was done, so the plan moves by one.",
        ),
        Mistake(
            "only the last reward",
            receded(total=lambda rewards: rewards[:, -1]),
            "The return is the sum over all steps of the episode.",
        ),
        Mistake(
            "the mean of the rewards",
            receded(total=lambda rewards: rewards.mean(dim=1)),
            "A return is a sum; with a mean a short episode looks as good as a long one.",
        ),
        Mistake(
            "the return of all worlds together",
            receded(total=lambda rewards: rewards.sum(dim=1).mean().expand(len(rewards))),
            "Each world is an episode with a return of its own, (W,).",
        ),
    ),
    (horizon_by_running_sum, horizon_into_a_table),
    reference=receding_horizon,
    shown=horizon_by_running_sum,
    cases=horizon_cases,
    expects="two tensors: the actions that were done (W, T, A), and each world's return (W,)",
    checked="Five fresh worlds with memories: one and several, a single step, a horizon of one, more steps than the horizon.",
    equivalent=functions("search", "remember", "world") | {"gradient cut": NO_GRADIENT},
)


# --- 5 · The slope through chance


class Blurred(Function):
    """A model that is unsure: state (M, D), action (M, A) -> mu (M, D) and log_sigma (M, D)."""

    says = "a function of state and action -> mu, log_sigma"

    def __init__(self, rng: Rng, size: int, actions: int, kind: type) -> None:
        self.mean, self.width = Motion(rng, size, actions, kind), Motion(rng, size, actions, kind)

    def __call__(self, state: Tensor, action: Tensor) -> Pair:
        return self.mean(state, action), 0.5 * torch.tanh(self.width(state, action)) - 0.7


def slope_cases(rng: Rng) -> Iterator[Case]:
    for futures, length, size, a, kind, about in (
        (4, 3, 2, 1, np.float64, "four futures"),
        (1, 4, 2, 2, np.float64, "a single future"),
        (5, 1, 3, 1, np.float32, "a plan of one step"),
        (int(rng.integers(8, 16)), 5, 1, 2, np.float64, "more futures"),
    ):
        inputs: dict[str, Any] = {
            "motion": Blurred(rng, size, a, kind),
            "reward": Reward(rng, size, a, kind),
            "state": rng.normal(0, 1, size).astype(kind),
            "plan": rng.normal(0, 1, (length, a)).astype(kind),
            "noise": rng.normal(0, 1, (futures, length, size)).astype(kind),
        }
        yield Case(inputs, about)


def plan_slope(
    motion: Callable[[Tensor, Tensor], Pair],
    reward: Callable[[Tensor, Tensor], Tensor],
    state: Tensor,
    plan: Tensor,
    noise: Tensor,
) -> Pair:
    plan = plan.clone().requires_grad_()
    future, total = state.expand(len(noise), -1), torch.zeros(())  # (M, D)
    for t, step in enumerate(plan):
        action = step.expand(len(noise), -1)
        mu, log_sigma = motion(future, action)
        future = mu + log_sigma.exp() * noise[:, t]  # the path from the action to the sample stays open
        total = total + reward(future, action)
    value = total.mean()
    (slope,) = torch.autograd.grad(value, plan)
    return value.detach(), slope


def sloped(
    sample: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda mu, ls, n: mu + ls.exp() * n,
    at: Callable[[int], int] = lambda t: t,
    before: bool = False,
    reduce: str = "mean",
    sign: float = 1.0,
    memory: bool = True,
    last_only: bool = False,
    per_step: bool = False,
) -> Answer:
    """The slope with one thing changed."""

    def wrong(motion: Answer, reward: Answer, state: Tensor, plan: Tensor, noise: Tensor) -> Pair:
        plan = plan.clone().requires_grad_()
        start = state.expand(len(noise), -1)
        future, total = start, torch.zeros((), dtype=plan.dtype)
        for t in range(len(plan)):
            action = plan[t].expand(len(noise), -1)
            old = future
            mu, log_sigma = motion(future if memory else start, action)
            future = sample(mu, log_sigma, noise[:, at(t)])
            total = (0 if last_only else total) + reward(old if before else future, action)
        total = total / len(plan) if per_step else total
        value = total.sum() if reduce == "sum" else total.mean()
        value = total[0] if reduce == "first" else value
        (slope,) = torch.autograd.grad(value, plan)
        return value.detach(), sign * slope

    return wrong


def slope_by_backward(
    motion: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    reward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    state: torch.Tensor,
    plan: torch.Tensor,
    noise: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    plan = plan.detach().clone().requires_grad_(True)
    future = state.repeat(len(noise), 1)
    rewards = []
    for t in range(len(plan)):
        action = plan[t].repeat(len(noise), 1)
        mu, log_sigma = motion(future, action)
        future = mu + torch.exp(log_sigma) * noise[:, t]
        rewards.append(reward(future, action))
    value = torch.stack(rewards).sum(dim=0).mean()
    value.backward()
    assert plan.grad is not None
    return value.detach(), plan.grad


def slope_future_by_future(motion: Answer, reward: Answer, state: Tensor, plan: Tensor, noise: Tensor) -> Pair:
    values, slopes = [], []
    for path in noise:
        p = plan.clone().requires_grad_()
        s, total = state[None], torch.zeros(1, dtype=plan.dtype)
        for t in range(len(p)):
            mu, log_sigma = motion(s, p[t : t + 1])
            s = torch.distributions.Normal(mu, log_sigma.exp()).loc + log_sigma.exp() * path[t]
            total = total + reward(s, p[t : t + 1])
        values.append(total.detach()[0])
        slopes.append(torch.autograd.grad(total.sum(), p)[0])
    return torch.stack(values).mean(), torch.stack(slopes).mean(dim=0)


SLOPE = Exercise(
    "plan_slope",
    "The slope through chance",
    12,
    3,
    (
        "It is lesson 02: a sample that is written as mu + σ·ε has a derivative by mu and σ, and through them by every action "
        "before it. Start with a copy of the plan that wants a gradient: `plan.clone().requires_grad_()`.",
        "M futures side by side: `state.expand(len(noise), -1)`, and for step t the action `plan[t].expand(len(noise), -1)`, the "
        "noise `noise[:, t]`. σ = exp(log_sigma).",
        "Average the futures' returns, then `(slope,) = torch.autograd.grad(value, plan)`. Return `value.detach(), slope`.",
    ),
    (
        Mistake(
            "a sample that blocks the gradient",
            sloped(lambda mu, ls, n: (mu + ls.exp() * n).detach()),
            "The next state is computed under `no_grad`, or detached: the number is right, but no slope comes through it. All that is "
            "left is what the action itself costs, so the planner learns to do nothing. Write mu + σ·ε with open paths.",
        ),
        Mistake(
            "your own dice",
            sloped(lambda mu, ls, n: mu + ls.exp() * torch.randn_like(mu)),
            "The futures are drawn with dice of your own (`randn_like`, `rsample`), and so they change from call to call, and no two plans "
            "can be compared. Use the `noise` you were given: mu + sigma*noise[:, t].",
        ),
        Mistake(
            "your own dice, and they block the gradient",
            sloped(lambda mu, ls, n: (mu + ls.exp() * torch.randn_like(mu)).detach()),
            "`.sample()` and `torch.normal` draw with dice of their own, and no slope comes through what they draw. Use the `noise` you were "
            "given: mu + sigma*noise[:, t].",
        ),
        Mistake(
            "the mean future",
            sloped(lambda mu, ls, n: mu),
            "Without the noise you plan for the average next state at each step, which may be one that never happens: Dodge's "
            "fork is the example. The slope is to be averaged over *sampled* futures.",
        ),
        Mistake(
            "σ held fixed",
            sloped(lambda mu, ls, n: mu + ls.exp().detach() * n),
            "The gradient passes through mu alone. σ depends on the action, too: it is how a plan learns to keep away from where "
            "the model is unsure.",
        ),
        Mistake(
            "only σ carries the gradient",
            sloped(lambda mu, ls, n: mu.detach() + ls.exp() * n),
            "mu is detached: most of what an action does is lost.",
        ),
        Mistake(
            "log σ taken for log σ²",
            sloped(lambda mu, ls, n: mu + (0.5 * ls).exp() * n),
            "The name says what it is: `log_sigma` is log σ, so σ = exp(log_sigma), without the ½ of `logvar`.",
        ),
        Mistake(
            "log σ taken for σ",
            sloped(lambda mu, ls, n: mu + ls * n),
            "It is a logarithm, and negative for the most part: σ = exp(log_sigma).",
        ),
        Mistake(
            "the same noise at each step",
            sloped(at=lambda t: 0),
            "`noise[:, 0]` again and again: a future that is unlucky once is then unlucky always. Step t has noise of its own.",
        ),
        Mistake(
            "the reward before the transition",
            sloped(before=True),
            "The reward of the state in which the action is done: the last sampled state never counts, and the last action has no "
            "slope but its own cost.",
        ),
        Mistake(
            "the sum of the futures",
            sloped(reduce="sum"),
            "Value and slope grow with the number of futures: with twice as many each step of ascent would be twice as long. "
            "Average them.",
        ),
        Mistake(
            "the last reward alone",
            sloped(last_only=True),
            "A return is the sum over the steps of a future; you keep what the last step pays.",
        ),
        Mistake(
            "the mean over the steps",
            sloped(per_step=True),
            "Average over the *futures*. Over the steps of one future the rewards are added up: it is its return.",
        ),
        Mistake(
            "the first future alone",
            sloped(reduce="first"),
            "One future is an unbiased estimate of the slope, and a noisy one. You were given M of them: average.",
        ),
        Mistake(
            "downhill",
            sloped(sign=-1.0),
            "The slope of −value, as an optimiser for losses wants it. Return the slope of the value: the next exercise goes *up*.",
        ),
        Mistake(
            "each step from the start",
            sloped(memory=False),
            "Every action is tried from the first state. The next step begins in the state that was sampled.",
        ),
    ),
    (slope_by_backward, slope_future_by_future),
    reference=plan_slope,
    shown=slope_by_backward,
    cases=slope_cases,
    expects="the average return of the futures (a tensor with one number), and its slope by the plan, (L, A)",
    checked="Value and slope on four fresh unsure models: one future and many, a plan of one step; float32 and float64.",
    equivalent=functions("motion", "reward")
    | {"gradient cut": "value and slope are plain numbers: nothing differentiates through them once more"},
)


# --- 6 · Uphill


class Hills(Function):
    """A smooth score (W, N) with several tops. When broken: NaN, with a slope of NaN, where the first number is below 0,
    an infinite slope where it is 0, and the other scores so low that no number but −∞ is below them all.
    """

    says = "a function of plans"

    def __init__(self, rng: Rng, shape: tuple[int, ...], kind: type, broken: bool = False) -> None:
        w, _, length, a = shape
        self.top, self.broken = torch.from_numpy(rng.uniform(0.2, 0.9, (w, 1, length, a)).astype(kind)), broken

    def __call__(self, plans: Tensor) -> Tensor:
        apart = plans - self.top
        value = -2 - apart.square().sum(dim=(2, 3)) + 0.4 * torch.cos(4 * apart).sum(dim=(2, 3))
        return value + 0.3 * plans[:, :, 0, 0].sqrt() - depths(value) if self.broken else value


def climb_cases(rng: Rng) -> Iterator[Case]:
    # The first optimiser makes torch import for seconds: now, and not while an answer that uses one is being timed.
    torch.optim.SGD([torch.zeros(1, requires_grad=True)]).zero_grad()
    for shape, rate, iterations, (low, high), broken, kind, about in (
        ((1, 4, 3, 1), 0.05, 3, (-1.0, 1.0), False, np.float64, "one world, three steps uphill"),
        ((8, 5, 2, 2), 0.1, 5, (-2.0, 2.0), False, np.float64, "eight worlds"),  # with fewer, mistakes pass by luck
        ((8, 4, 3, 1), 0.3, 4, (-0.5, 0.3), False, np.float64, "a narrow range"),
        ((3, 6, 2, 1), 0.05, 3, (-1.0, 1.0), True, np.float64, "some scores are NaN"),
        ((3, 1, 2, 1), 0.1, 3, (-1.0, 1.0), True, np.float64, "a slope that is infinite"),
        ((2, 3, 2, 1), 0.1, 1, (-1.0, 1.0), False, np.float32, "a single step uphill"),
        ((4, 3, 2, 1), 0.5, 2, (-1.0, 2.0), False, np.float64, "a rate so large that the steps go down"),
    ):
        plans, score = rng.uniform(low, high, shape), Hills(rng, shape, kind, broken)
        if "down" in about:  # from beside the top to the other side of it, and further away
            plans = score.top.numpy() + rng.uniform(0.03, 0.06, shape) * rng.choice((-1, 1), shape)
        if "infinite" in about:
            plans[:, :, 0, 0] = 0.0
        elif broken:
            plans[:, ::2, 0, 0], plans[:, 1::2, 0, 0] = -0.4, 0.1 + 0.9 * np.abs(plans[:, 1::2, 0, 0])
        inputs: dict[str, Any] = {
            "score": score,
            "plans": plans.astype(kind),
            "rate": rate,
            "iterations": iterations,
            "low": low,
            "high": high,
        }
        yield Case(inputs, about)


def climb(
    score: Callable[[Tensor], Tensor], plans: Tensor, rate: float, iterations: int, low: float, high: float
) -> Pair:
    for _ in range(iterations):
        plans = plans.detach().requires_grad_()
        (slope,) = torch.autograd.grad(score(plans).sum(), plans)
        slope = torch.where(slope.isfinite(), slope, 0.0)
        plans = (plans + rate * slope).clamp(low, high)
    plans = plans.detach()
    scores = score(plans)
    scores = torch.where(scores.isnan(), -torch.inf, scores)
    best, rows = scores.argmax(dim=1), torch.arange(len(plans))
    return plans[rows, best], scores[rows, best]


def climbed(
    reduce: Callable[[Tensor], Tensor] = lambda s: s.sum(),
    move: Callable[[Tensor, Tensor, float], Tensor] = lambda p, g, rate: p + rate * g,
    keep: str = "each",
    heal: bool = True,
    made_of_nan: float = -math.inf,
    fewer: int = 0,
    stale: bool = False,
    choose: Callable[[Tensor], Tensor] = lambda s: s.argmax(dim=1),
    old_score: bool = False,
    add_up: bool = False,
) -> Answer:
    """The ascent with one thing changed."""

    def wrong(score: Answer, plans: Tensor, rate: float, iterations: int, low: float, high: float) -> Pair:
        slope, value, before = None, score(plans), torch.zeros_like(plans)
        for _ in range(iterations - fewer):
            plans = plans.detach().clone().requires_grad_()
            value = score(plans)
            if slope is None or not stale:
                (slope,) = torch.autograd.grad(reduce(value), plans)
                before = slope = before + slope if add_up else slope
                slope = torch.where(slope.isfinite(), slope, 0.0) if heal else slope
            plans = move(plans, slope, rate)
            plans = plans.clamp(low, high) if keep == "each" else plans
        plans = plans.detach()
        plans = plans.clamp(low, high) if keep == "end" else plans
        scores = value.detach() if old_score else score(plans)
        scores = torch.where(scores.isnan(), made_of_nan, scores)
        best, rows = choose(scores), torch.arange(len(plans))
        return plans[rows, best], scores[rows, best]

    return wrong


def climb_by_adam(score: Answer, plans: Tensor, rate: float, iterations: int, low: float, high: float) -> Pair:
    plans = plans.clone().requires_grad_()
    optimizer = torch.optim.Adam([plans], lr=rate, maximize=True)
    for _ in range(iterations):
        (slope,) = torch.autograd.grad(score(plans).sum(), plans)
        plans.grad = torch.where(slope.isfinite(), slope, 0.0)
        optimizer.step()
        with torch.no_grad():
            plans.clamp_(low, high)
    return climb(score, plans.detach(), rate, 0, low, high)


def best_on_the_way(score: Answer, plans: Tensor, rate: float, iterations: int, low: float, high: float) -> Pair:
    tried = [climb(score, plans, rate, rounds, low, high) for rounds in range(iterations + 1)]
    best = torch.stack([value for _, value in tried], dim=1)  # (W, rounds)
    return shoot(lambda p: best, torch.stack([plan for plan, _ in tried], dim=1), 0.0, 1.0)


def climb_by_backward(
    score: Callable[[torch.Tensor], torch.Tensor],
    plans: torch.Tensor,
    rate: float,
    iterations: int,
    low: float,
    high: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    plans = plans.detach().clone()
    for _ in range(iterations):
        plans.requires_grad_(True)
        score(plans).sum().backward()
        assert plans.grad is not None
        slope = plans.grad.nan_to_num(0.0, 0.0, 0.0)
        plans = torch.clamp(plans.detach() + rate * slope, low, high)
    scores = score(plans).nan_to_num(nan=-float("inf"))
    values, best = scores.max(dim=1)
    return plans[torch.arange(len(plans)), best], values


def climb_with_sgd(score: Answer, plans: Tensor, rate: float, iterations: int, low: float, high: float) -> Pair:
    plans = plans.clone().requires_grad_()
    optimizer = torch.optim.SGD([plans], lr=rate, maximize=True)
    for _ in range(iterations):
        optimizer.zero_grad()
        score(plans).sum().backward()
        assert plans.grad is not None
        plans.grad.nan_to_num_(0.0, 0.0, 0.0)
        optimizer.step()
        with torch.no_grad():
            plans.clamp_(low, high)
    found = plans.detach()
    scores = score(found)
    return shoot(lambda p: scores, found, 0.0, 1.0)


CLIMB = Exercise(
    "climb",
    "Uphill",
    12,
    2,
    (
        "`score(plans)` is (W, N), and no plan's score depends on another plan. So the gradient of their *sum* holds each plan's own "
        "slope, all in one backward pass.",
        "In each round: `plans = plans.detach().requires_grad_()`, the slope by `torch.autograd.grad(score(plans).sum(), plans)`, zero "
        "where it is not finite, `plans + rate * slope`, clamp.",
        "After the last round score once more, without gradients, and choose as in exercise 2: NaN loses.",
    ),
    (
        Mistake(
            "downhill",
            climbed(move=lambda p, g, rate: p - rate * g),
            "The habit of losses: minus. A score is to grow, so go along the slope, not against it.",
        ),
        Mistake(
            "the mean of the scores",
            climbed(reduce=lambda s: s.mean()),
            "With a mean over W·N plans each slope is W·N times too small: more candidates make each of them slower. (Adam would "
            "hide it.) The sum keeps each plan's own slope.",
        ),
        Mistake(
            "only the best one climbs",
            climbed(reduce=lambda s: torch.where(s.isnan(), -torch.inf, s).amax(dim=1).sum()),
            "The gradient of the maximum moves only the plan that leads, and the others stay where they are. They may stand at "
            "the foot of a higher hill.",
        ),
        Mistake(
            "no limits",
            climbed(keep="never"),
            "The plan leaves the range of actions, where the world will clip it, and the score was that of another plan. Clamp after "
            "each step.",
        ),
        Mistake(
            "the limits at the end only",
            climbed(keep="end"),
            "Between the steps the plan wanders outside of the range, follows slopes there, and is cut off at last: not the best "
            "plan *within* the range. Clamp after each step.",
        ),
        Mistake(
            "a slope that is not finite",
            climbed(heal=False),
            "An infinite slope throws the plan to the edge of its range, and one that is NaN makes the whole plan NaN. A slope that "
            "is not finite says nothing: take 0 in its place, and let the other actions move.",
        ),
        Mistake(
            "NaN scores win",
            climbed(made_of_nan=math.nan),
            "argmax takes NaN for the largest number. Make it −∞ before you choose.",
        ),
        *(Mistake(can_win(x)[0], climbed(made_of_nan=x), can_win(x)[1]) for x in (0.0, *LOW)),
        Mistake(
            "the slope of the start",
            climbed(stale=True),
            "The slope is computed once and used in each round. It changes as the plan moves: ask anew each time.",
        ),
        Mistake(
            "slopes that add up",
            climbed(add_up=True),
            "`.grad` is never set back: `backward` *adds* to what is there, so each round also takes all the earlier slopes again. Use `torch.autograd.grad`, or zero `.grad` in each round.",
        ),
        Mistake(
            "Adam in place of plain ascent",
            climb_by_adam,
            "Adam makes steps of about `rate` whatever the slope is. It is a good choice, and the course's planner makes it; here a step is `rate` times the slope.",
        ),
        Mistake(
            "the best plan on the way",
            best_on_the_way,
            "You keep the best plan that was met on the way, the start included. The course's planner does so, too, since a step can go down; but asked for here are the plans after the last round.",
        ),
        Mistake(
            "the worst one",
            climbed(choose=lambda s: s.argmin(dim=1)),
            "Scores are returns: more is better, so `argmax`.",
        ),
        Mistake(
            "one round too few",
            climbed(fewer=1),
            "`iterations` steps were ordered, and one is missing.",
        ),
        Mistake(
            "the first candidate",
            climbed(choose=lambda s: torch.zeros(len(s), dtype=torch.long)),
            "All of them have climbed; return the one that stands highest, not the one that comes first.",
        ),
        Mistake(
            "a step of fixed length",
            climbed(move=lambda p, g, rate: p + rate * g.sign()),
            "Only the sign of the slope is used. Such steps never settle: near the top they jump to and fro by `rate`.",
        ),
        Mistake(
            "the score before the last step",
            climbed(old_score=True),
            "Plan and score do not belong together: the score is that of the plan before its last step. Score once more at the end.",
        ),
    ),
    (climb_by_backward, climb_with_sgd),
    reference=climb,
    shown=climb_by_backward,
    cases=climb_cases,
    expects="two tensors: each world's best plan after climbing (W, L, A), within the limits, and its score (W,)",
    checked="Seven fresh landscapes: one and several worlds, a narrow range, NaN in scores, slopes that are NaN or infinite, one step, "
    "a rate that is too large.",
    equivalent=functions("score") | {"gradient cut": NO_GRADIENT},
)


# --- 7 · The exact answer


def riccati_cases(rng: Rng) -> Iterator[Case]:
    for states, inputs, horizon, kind, about in (
        (1, 1, 3, np.float64, "one number"),
        (2, 1, 5, np.float64, "two states, one input"),
        (3, 2, 4, np.float64, "three states, two inputs"),
        (2, 2, 1, np.float64, "a horizon of one step"),
        (2, 1, int(rng.integers(6, 9)), np.float32, "in float32"),
    ):
        root_q, root_r = rng.normal(0, 1, (states, states)), rng.normal(0, 1, (inputs, inputs))
        given = {
            "a": rng.normal(0, 0.8 if kind is np.float64 else 0.4, (states, states)),  # float32 has few digits
            "b": rng.normal(0, 1, (states, inputs)),
            "q": root_q.T @ root_q + 0.1 * np.eye(states),
            "r": root_r.T @ root_r + 0.3 * np.eye(inputs),
        }
        yield Case({name: value.astype(kind) for name, value in given.items()} | {"horizon": horizon}, about)


def regulated(
    value: Callable[..., Tensor] = lambda a, b, q, r, p, k: q + a.T @ p @ (a - b @ k),
    gain: Callable[..., Tensor] = lambda a, b, q, r, p: torch.linalg.solve(r + b.T @ p @ b, b.T @ p @ a),
    last: Callable[[Tensor], Tensor] = lambda q: q,
    order: Callable[[list[Tensor]], list[Tensor]] = lambda found: found[::-1],
    gains_as_found: bool = False,
    values_as_found: bool = False,
    exchanged: bool = False,
    kept: slice = slice(None),
    late: bool = False,
    update: bool = True,
    rounds: int = 0,
) -> Answer:
    """The recursion with one thing changed."""

    def wrong(a: Tensor, b: Tensor, q: Tensor, r: Tensor, horizon: int) -> Pair:
        p, gains, values = last(q), [], [last(q)]
        for _ in range(horizon + rounds):
            k = gain(a, b, q, r, p)
            new = value(a, b, q, r, p, k)
            p = new if update else p
            gains.append(gain(a, b, q, r, p) if late else k)
            values.append(new)
        gains = gains if gains_as_found else order(gains)
        values = values if values_as_found else order(values)[kept]
        return torch.stack(values if exchanged else gains), torch.stack(gains if exchanged else values)

    return wrong


def for_ever(a: Tensor, b: Tensor, q: Tensor, r: Tensor, horizon: int) -> Pair:
    """The rule of an endless horizon at each step."""
    gains, values = riccati(a, b, q, r, 300)
    return gains[:1].repeat(horizon, 1, 1), values[:1].repeat(horizon + 1, 1, 1)


def riccati_by_hand(
    a: torch.Tensor, b: torch.Tensor, q: torch.Tensor, r: torch.Tensor, horizon: int
) -> tuple[torch.Tensor, torch.Tensor]:
    p, gains, values = q, [], [q]
    for _ in range(horizon):  # backwards in time
        k = torch.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
        p = q + a.T @ p @ (a - b @ k)
        gains.append(k)
        values.append(p)
    return torch.stack(gains[::-1]), torch.stack(values[::-1])


def riccati_of_joseph(a: Tensor, b: Tensor, q: Tensor, r: Tensor, horizon: int) -> Pair:
    gains: list[Tensor] = []
    values = [q]
    for _ in range(horizon):
        k = torch.linalg.inv(r + b.mT @ values[0] @ b) @ (b.mT @ values[0] @ a)
        closed = a - b @ k
        values = [q + k.mT @ r @ k + closed.mT @ values[0] @ closed, *values]
        gains = [k, *gains]
    return torch.stack(gains), torch.stack(values)


def riccati_into_tables(a: Tensor, b: Tensor, q: Tensor, r: Tensor, horizon: int) -> Pair:
    gains, values = a.new_zeros(horizon, b.shape[1], len(a)), a.new_zeros(horizon + 1, *a.shape)
    values[horizon] = q
    for t in range(horizon - 1, -1, -1):
        p = values[t + 1]
        side = b.T @ p @ a
        gains[t] = torch.linalg.solve(r + b.T @ p @ b, side)
        values[t] = q + a.T @ p @ a - side.T @ gains[t]
    return gains, values


RICCATI = Exercise(
    "riccati",
    "The exact answer",
    10,
    2,
    (
        "It is your two steps of the derivation with matrices, from the end to the start: begin with P = Q, then gain, then the new P.",
        "`k = torch.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)`, then `p = q + a.T @ p @ (a - b @ k)`. Keep each of them.",
        "The first one you find belongs to the last step: turn both lists round before you stack them. P has one more than K: the "
        "last P is Q.",
    ),
    (
        Mistake(
            "in the order they are found",
            regulated(order=lambda found: found),
            "The recursion runs from the end to the start, so what is found first belongs to the last step. Turn both lists round.",
        ),
        Mistake(
            "the gains in the order they are found",
            regulated(gains_as_found=True),
            "The values are turned round, the gains are not: the gain that is found first belongs to the last step, too.",
        ),
        Mistake(
            "the values in the order they are found",
            regulated(values_as_found=True),
            "The gains are turned round, the values are not: P_L = Q is where the recursion begins, and stands *last*.",
        ),
        Mistake(
            "values before gains",
            regulated(exchanged=True),
            "First the gains K (L, U, S), then the values P (L + 1, S, S).",
        ),
        Mistake(
            "the rule of an endless horizon",
            for_ever,
            "The recursion is run until nothing changes, and its last gain is used at each step. It is what a receding horizon comes close to; but with L steps to go each step has a gain of its own, and P_L = Q.",
        ),
        Mistake(
            "the sign of what is saved",
            regulated(value=lambda a, b, q, r, p, k: q + a.T @ p @ (a + b @ k)),
            "With u = −K·s the next state is (A − BK)s: the action takes away from the cost, and A + BK adds to it.",
        ),
        Mistake(
            "the action's own price forgotten",
            regulated(value=lambda a, b, q, r, p, k: q + (a - b @ k).T @ p @ (a - b @ k)),
            "Q + (A − BK)ᵀP(A − BK) lacks the cost of acting, KᵀRK. With the first factor Aᵀ alone, AᵀP(A − BK), it is in.",
        ),
        Mistake(
            "today's cost forgotten",
            regulated(value=lambda a, b, q, r, p, k: a.T @ p @ (a - b @ k)),
            "Each state on the way costs sᵀQs: Q is added at every step.",
        ),
        Mistake(
            "the gain's sign turned",
            regulated(
                gain=lambda a, b, q, r, p: -torch.linalg.solve(r + b.T @ p @ b, b.T @ p @ a),
                value=lambda a, b, q, r, p, k: q + a.T @ p @ (a + b @ k),
            ),
            "u = −K·s has the minus already: K itself comes without.",
        ),
        Mistake(
            "a minus too many in the gain",
            regulated(gain=lambda a, b, q, r, p: -torch.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)),
            "Your K has the minus of u = −K·s in it, and A − B·K then has it twice: P grows, as if the action pushed away from 0. K itself "
            "comes without.",
        ),
        Mistake(
            "as if actions were free",
            regulated(gain=lambda a, b, q, r, p: torch.linalg.solve(b.T @ p @ b, b.T @ p @ a)),
            "R is missing under the fraction: R + BᵀPB. Without it the controller pays any price to be at 0 tomorrow.",
        ),
        Mistake(
            "P stays Q",
            regulated(update=False),
            "Each gain is computed from P = Q, as if the next step were the last. The new P takes the place of the old one.",
        ),
        Mistake(
            "it ends with nothing",
            regulated(last=lambda q: 0 * q),
            "The last P is 0: the state s_L is free. Here it costs s_LᵀQs_L, like all others; the last action would otherwise always be 0.",
        ),
        Mistake(
            "it begins with the identity",
            regulated(last=lambda q: torch.eye(len(q), dtype=q.dtype)),
            "The recursion starts from P = 1, where nothing is known. But the last state's cost is known: s_LᵀQs_L, so P_L = Q.",
        ),
        Mistake(
            "the last value forgotten",
            regulated(kept=slice(None, -1)),
            "L values, where L + 1 should come: the last of them, P_L = Q, is what the recursion begins with. Keep it, too.",
        ),
        Mistake(
            "the first value forgotten",
            regulated(kept=slice(1, None)),
            "L values, where L + 1 should come: P_0, the last that you find, is missing. Keep each P *after* it is computed, beside Q.",
        ),
        Mistake(
            "the gain of the new P",
            regulated(late=True),
            "K_t is computed from P_t, which has this step's action in it already. It needs the cost from tomorrow on, P_{t+1}: first the "
            "gain, then the new P.",
        ),
        Mistake(
            "one step too many",
            regulated(rounds=1),
            "There are L actions, so L gains, and L + 1 values.",
        ),
        Mistake(
            "Q where P belongs",
            regulated(gain=lambda a, b, q, r, p: torch.linalg.solve(r + b.T @ q @ b, b.T @ q @ a)),
            "The gain weighs tomorrow's state with what it costs *from tomorrow on*, P, and not with its own cost Q alone.",
        ),
        Mistake(
            "the value of Q, not of P",
            regulated(value=lambda a, b, q, r, p, k: q + a.T @ q @ (a - b @ k)),
            "The new P is Q + AᵀP(A − BK), with *tomorrow's* P. With Q in its place each step looks as if the next were the last.",
        ),
        Mistake(
            "nothing is done",
            regulated(value=lambda a, b, q, r, p, k: q + a.T @ p @ a),
            "This P is the cost with u = 0. What the best action saves is subtracted: AᵀPBK.",
        ),
        Mistake(
            "A not transposed",
            regulated(value=lambda a, b, q, r, p, k: q + a @ p @ (a - b @ k)),
            "It is sᵀAᵀPA s: the first A is transposed. In one dimension nobody notices.",
        ),
    ),
    (riccati_by_hand, riccati_of_joseph, riccati_into_tables),
    reference=riccati,
    shown=riccati_by_hand,
    cases=riccati_cases,
    expects="two tensors: the gains K (L, U, S), first step first, and the values P (L + 1, S, S), the last of them Q",
    checked="Gains and values of five fresh linear worlds: one to three states, one and two inputs, a horizon of one step.",
    equivalent={"gradient cut": "gains and values are numbers to be used: nobody differentiates through them here"},
    tolerance=10.0,
)

EXERCISES = (SCORE, SHOOT, SHIFT, HORIZON, SLOPE, CLIMB, RICCATI)
