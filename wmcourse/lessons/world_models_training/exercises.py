"""Lesson 11's exercises: their inputs, their right answers, and the mistakes that people make in them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from wmcourse import mdn_rnn, world_models_training
from wmcourse.lessons.exercise import Ask, Exercise, Mistake
from wmcourse.lessons.judge import Answer, Case, Outcome
from wmcourse.mdn_rnn import MDNRNN, State, dream_step
from wmcourse.model_predictive_control import score_plans
from wmcourse.world_models_training import plan_returns

Rng = np.random.Generator
Kind = type[np.floating[Any]]


@dataclass(eq=False, repr=False)
class Watched(Exercise):
    """Compared number by number; then ``also`` complains about what numbers do not show: what was called, how often."""

    also: Callable[[Ask, Rng], str] | None = field(default=None, kw_only=True)

    def hold(
        self, answer: Answer, seed: int | None, cases: list[Case], got: list[Outcome], right: list[Outcome]
    ) -> None:
        Exercise.hold(replace(self, properties=self.also), answer, seed, cases, got, right)


def calls_of(ask: Ask, case: Case, name: str) -> int:
    """How often an answer calls the function that is its input ``name``."""
    calls = 0

    def around(answer: Answer, *inputs: Any) -> Any:
        def counted(*given: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            return function(*given, **named)

        place = list(case.inputs).index(name)
        function = inputs[place]
        return answer(*inputs[:place], counted, *inputs[place + 1 :])

    ask(replace(case, gradients=()), around)
    return calls


def small_memory(rng: Rng, latent: int, action: int, hidden: int, kind: Kind) -> MDNRNN:
    """A memory with weights that no training made: what it says depends on all that goes in."""
    with torch.random.fork_rng(devices=[]):
        rnn = MDNRNN(latent, action, hidden, components=3)
    rnn = rnn.to(torch.float32 if kind is np.float32 else torch.float64).requires_grad_(False)
    for parameter in rnn.parameters():
        parameter.copy_(torch.from_numpy(rng.normal(0, 0.8, tuple(parameter.shape))))
    return rnn


# --- 1 · What a plan is worth in the dream


def plan_cases(rng: Rng) -> Iterator[Case]:
    larger = int(rng.integers(4, 7))
    for worlds, candidates, horizon, action, kind, tau, about in (
        (2, 3, 4, 1, np.float32, 0.0, "two worlds, three plans each"),
        (3, 5, 1, 2, np.float64, 0.0, "plans of a single step"),
        (larger, 2, 6, 2, np.float64, 0.0, "more worlds, longer plans"),
        (1, 4, 5, 1, np.float32, 0.0, "one world"),
        (1, 1, 6, 1, np.float64, 0.8, "one plan, dreamt with chance (τ = 0.8)"),
        (1, 1, 5, 2, np.float64, 1.4, "one plan in a hot dream (τ = 1.4)"),
    ):
        latent, hidden = int(rng.integers(2, 5)), int(rng.integers(5, 9))
        rnn = small_memory(rng, latent, action, hidden, kind)
        h, c = (torch.from_numpy(rng.normal(0, 0.8, (worlds, hidden)).astype(kind)) for _ in range(2))
        inputs: dict[str, Any] = {
            "rnn": rnn,
            "z": rng.normal(0, 1, (worlds, latent)).astype(kind),
            "state": (h, c),
            "plans": rng.uniform(-1, 1, (worlds, candidates, horizon, action)).astype(kind),
            "temperature": tau,
            "generator": torch.Generator().manual_seed(int(rng.integers(1, 10**6))) if tau else None,
        }
        yield Case(inputs, about, () if tau else ("z", "plans"))


Weigh = Callable[[Tensor, Tensor], Tensor]  # rewards and P(done) of each step, (L, W·N) -> (W·N,)


def alive_before(done: Tensor) -> Tensor:
    """P(alive) before each step, from P(done) (L, ...)."""
    return torch.cat([torch.ones_like(done[:1]), (1 - done).cumprod(0)[:-1]])


def dreamt(
    rnn: MDNRNN,
    z: Tensor,
    state: State,
    plans: Tensor,
    temperature: float,
    generator: torch.Generator | None,
    weigh: Weigh = lambda r, p: (alive_before(p) * r).sum(0),
    carry_z: bool = True,
    carry_h: bool = True,
    before: bool = False,
) -> Tensor:
    """The right road with one thing changed."""
    worlds, candidates, horizon, _ = plans.shape
    z = z.repeat_interleave(candidates, 0)
    state = (state[0].repeat_interleave(candidates, 0), state[1].repeat_interleave(candidates, 0))
    rewards, dones = [], []
    for t in range(horizon):
        now = rnn.read_outcome(state[0])
        dream = mdn_rnn.dream_step(rnn, z, plans[:, :, t].flatten(0, 1), state, temperature, generator)
        z, state = dream.z if carry_z else z, dream.state if carry_h else state
        rewards.append(now[0] if before else dream.reward)
        dones.append(dream.done_probability)
    return weigh(torch.stack(rewards), torch.stack(dones)).view(worlds, candidates)


def changed(**how: Any) -> Answer:
    def wrong(
        rnn: MDNRNN, z: Tensor, state: State, plans: Tensor, temperature: float, generator: torch.Generator | None
    ) -> Tensor:
        return dreamt(rnn, z, state, plans, temperature, generator, **how)

    return wrong


def memory_reset(
    rnn: MDNRNN, z: Tensor, state: State, plans: Tensor, temperature: float, generator: torch.Generator | None
) -> Tensor:
    nothing = (torch.zeros_like(state[0]), torch.zeros_like(state[1]))
    return plan_returns(rnn, z, nothing, plans, temperature, generator)


def one_score_for_all(
    rnn: MDNRNN, z: Tensor, state: State, plans: Tensor, temperature: float, generator: torch.Generator | None
) -> Tensor:
    returns = plan_returns(rnn, z, state, plans, temperature, generator)
    return returns.mean(dim=1, keepdim=True).expand_as(returns)


def one_number(
    rnn: MDNRNN, z: Tensor, state: State, plans: Tensor, temperature: float, generator: torch.Generator | None
) -> Tensor:
    return plan_returns(rnn, z, state, plans, temperature, generator).mean()


def default_temperature(
    rnn: MDNRNN, z: Tensor, state: State, plans: Tensor, temperature: float, generator: torch.Generator | None
) -> Tensor:
    return plan_returns(rnn, z, state, plans, 1.0, generator)


def always_cold(
    rnn: MDNRNN, z: Tensor, state: State, plans: Tensor, temperature: float, generator: torch.Generator | None
) -> Tensor:
    return plan_returns(rnn, z, state, plans, 0.0, generator)


def without_generator(
    rnn: MDNRNN, z: Tensor, state: State, plans: Tensor, temperature: float, generator: torch.Generator | None
) -> Tensor:
    return plan_returns(rnn, z, state, plans, temperature, None)


def worlds_mixed_up(
    rnn: MDNRNN, z: Tensor, state: State, plans: Tensor, temperature: float, generator: torch.Generator | None
) -> Tensor:
    worlds, candidates = plans.shape[:2]
    z, h, c = (part.repeat(candidates, 1) for part in (z, *state))  # world 0, 1, 2, … and again
    return plan_returns(rnn, z, (h, c), plans.flatten(0, 1)[:, None], temperature, generator).view(worlds, candidates)


def with_defaults(
    rnn: MDNRNN, z: Tensor, state: State, plans: Tensor, temperature: float, generator: torch.Generator | None
) -> Tensor:
    return plan_returns(rnn, z, state, plans, 1.0, None)


def plans_scrambled(
    rnn: MDNRNN, z: Tensor, state: State, plans: Tensor, temperature: float, generator: torch.Generator | None
) -> Tensor:
    worlds, candidates, horizon, size = plans.shape
    steps = plans.reshape(horizon, worlds * candidates, size)  # in place of flatten(0, 1).transpose(0, 1)
    return plan_returns(rnn, z, state, steps.transpose(0, 1).reshape(plans.shape), temperature, generator)


def axes_swapped(
    rnn: MDNRNN, z: Tensor, state: State, plans: Tensor, temperature: float, generator: torch.Generator | None
) -> Tensor:
    returns = plan_returns(rnn, z, state, plans, temperature, generator)
    return returns.reshape(-1).view(returns.shape[1], returns.shape[0]).T


def first_step_only(
    rnn: MDNRNN, z: Tensor, state: State, plans: Tensor, temperature: float, generator: torch.Generator | None
) -> Tensor:
    return plan_returns(rnn, z, state, plans[:, :, :1].expand_as(plans), temperature, generator)


def plan_returns_in_a_loop(
    rnn: "MDNRNN",
    z: Tensor,
    state: "tuple[Tensor, Tensor]",
    plans: Tensor,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    from wmcourse import mdn_rnn

    worlds, candidates, horizon, _ = plans.shape
    z = z.repeat_interleave(candidates, dim=0)  # world 0 N times, world 1 N times, …
    state = (state[0].repeat_interleave(candidates, dim=0), state[1].repeat_interleave(candidates, dim=0))
    actions = plans.flatten(0, 1)  # (W·N, L, A)
    total, alive = z.new_zeros(len(z)), z.new_ones(len(z))
    for t in range(horizon):
        dream = mdn_rnn.dream_step(rnn, z, actions[:, t], state, temperature, generator)
        z, state = dream.z, dream.state
        total = total + alive * dream.reward
        alive = alive * (1 - dream.done_probability)
    return total.view(worlds, candidates)


def plan_by_plan(
    rnn: MDNRNN,
    z: Tensor,
    state: State,
    plans: Tensor,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    rows = []
    for w in range(len(plans)):
        row = []
        for plan in plans[w]:
            z_t, s_t = z[w : w + 1], (state[0][w : w + 1], state[1][w : w + 1])
            total, alive = z.new_zeros(()), z.new_ones(())
            for action in plan:
                z_t, reward, done, s_t = mdn_rnn.dream_step(rnn, z_t, action[None], s_t, temperature, generator)
                total, alive = total + alive * reward[0], alive * (1 - done[0])
            row.append(total)
        rows.append(torch.stack(row))
    return torch.stack(rows)


def from_the_end(
    rnn: MDNRNN,
    z: Tensor,
    state: State,
    plans: Tensor,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    def backwards(rewards: Tensor, done: Tensor) -> Tensor:  # v_t = r_{t+1} + (1 − p_{t+1})·v_{t+1}
        value = torch.zeros_like(rewards[0])
        for r, p in zip(reversed(rewards.unbind(0)), reversed(done.unbind(0)), strict=True):
            value = r + (1 - p) * value
        return value

    return dreamt(rnn, z, state, plans, temperature, generator, weigh=backwards)


def with_score_plans(
    rnn: MDNRNN,
    z: Tensor,
    state: State,
    plans: Tensor,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    def step(now: tuple[Tensor, ...], a: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        dream = mdn_rnn.dream_step(rnn, now[0], a, (now[1], now[2]), temperature, generator)
        return (dream.z, dream.state[0], dream.state[1]), dream.reward, dream.done_probability

    return score_plans(step, (z, *state), plans)


def bound_too_early(
    rnn: MDNRNN, z: Tensor, state: State, plans: Tensor, temperature: float, generator: torch.Generator | None
) -> Tensor:
    worlds, candidates, horizon, _ = plans.shape
    z, h, c = (part.repeat_interleave(candidates, 0) for part in (z, *state))
    total, alive = z.new_zeros(len(z)), z.new_ones(len(z))
    for t in range(horizon):
        z, reward, done, (h, c) = dream_step(rnn, z, plans[:, :, t].flatten(0, 1), (h, c), temperature, generator)
        total, alive = total + alive * reward, alive * (1 - done)
    return total.view(worlds, candidates)


def whose_dream_step(ask: Ask, rng: Rng) -> str:
    """Another function stands in the place of ``mdn_rnn.dream_step``, as the learner's own does: is it called?"""
    stand_in = mock.Mock(wraps=mdn_rnn.dream_step)

    def around(answer: Answer, *inputs: Any) -> Any:
        with (
            mock.patch.multiple(mdn_rnn, dream_step=stand_in),
            mock.patch.object(world_models_training, "dream_step", stand_in),
        ):
            return answer(*inputs)

    ask(replace(next(plan_cases(rng)), gradients=()), around)
    if stand_in.called:
        return ""
    return "the course's dream step, bound too early: another one was put in place of `mdn_rnn.dream_step`, and not called."


NETWORK = "zeros in the place of a network are the network itself: it is no number"
PLANS = Watched(
    "plan_returns",
    "What a plan is worth in the dream",
    15,
    3,
    (
        "One dream for each of the W·N plans, all in one batch: z and the memory N times for each world (which of `repeat` and "
        "`repeat_interleave` fits `plans.flatten(0, 1)`?), then a loop over the L steps with `mdn_rnn.dream_step`.",
        "Keep two tensors: `total`, `z.new_zeros(W*N)`, and `alive`, `z.new_ones(W*N)`. In each step first dream, then add `alive * reward`, then "
        "multiply `alive` by the chance that this step was not the end.",
        "`dream = mdn_rnn.dream_step(rnn, z, actions[:, t], state, temperature, generator)`, then `z, state = dream.z, "
        "dream.state`, `total = total + alive * dream.reward`, `alive = alive * (1 - dream.done_probability)`; at the end "
        "`total.view(W, N)`.",
    ),
    (
        Mistake(
            "the memory reset at every plan",
            memory_reset,
            "The dream starts from h = c = 0, not from the agent's memory. It is tempting, since a plan is a fresh start, and "
            "many published planners do it. But then each plan begins without velocities, and without what went behind the band.",
        ),
        Mistake(
            "one score for all candidates",
            one_score_for_all,
            "You average over the candidates, so that all plans of a world are worth the same. Then there is no best one, and "
            "the planner plays whatever comes first. It is tempting because a mean makes the shapes fit.",
        ),
        Mistake(
            "one number for everything",
            one_number,
            "A single number cannot tell N plans apart: each plan of each world keeps its own, shape (W, N).",
        ),
        Mistake(
            "the reward taken before the transition",
            changed(before=True),
            "You read the reward from h_t, before (z_t, a_t) went in. It belongs to the step *before* the plan: the plan's first "
            "action changes nothing of it, and the state that its last action reaches never counts.",
        ),
        Mistake(
            "the end counted one step too early",
            changed(weigh=lambda r, p: ((1 - p).cumprod(0) * r).sum(0)),
            "You multiply `alive` before you add the reward. r_{t+1} is the expected reward of the step that may end the episode: "
            "that it can be 0 is in it already, and only *later* steps need this step to be survived.",
        ),
        Mistake(
            "the end ignored",
            changed(weigh=lambda r, p: r.sum(0)),
            "The rewards are summed as if the dream went on after a hit. A plan that dies at once is then worth nearly as much as any: only the fatal step's own 0 speaks against it.",
        ),
        Mistake(
            "alive again after each hit",
            changed(weigh=lambda r, p: (torch.cat([torch.ones_like(p[:1]), 1 - p[:-1]]) * r).sum(0)),
            "Each reward is weighted with the step before alone. To be alive one must have survived *all* earlier steps: a "
            "product, which grows from step to step.",
        ),
        Mistake(
            "each step's own survival alone",
            changed(weigh=lambda r, p: ((1 - p) * r).sum(0)),
            "Each reward is weighted with the chance to survive its own step. It needs all *earlier* steps to be survived, a "
            "product, and not its own: that a fatal step pays 0 is in r̂ already.",
        ),
        Mistake(
            "the survival of the whole plan",
            changed(weigh=lambda r, p: r.sum(0) * (1 - p).prod(0)),
            "The sum of all rewards, times the chance to survive to the end: as if a plan that is hit at its last step had "
            "earned nothing before. Weight each reward with its own chance to be still alive.",
        ),
        Mistake(
            "the rewards not asked for",
            changed(weigh=lambda r, p: alive_before(p).sum(0)),
            "You add up the chances to be alive, as if each step paid 1. In Dodge that is nearly so, but the fatal step pays 0, "
            "and another world pays something else: r̂ says what.",
        ),
        Mistake(
            "the chance of the end for that of going on",
            changed(weigh=lambda r, p: (torch.cat([torch.ones_like(p[:1]), p.cumprod(0)[:-1]]) * r).sum(0)),
            "`alive` is multiplied by P(done), so that it grows where the dream is about to end. One goes on with 1 − P(done).",
        ),
        Mistake(
            "the chances of the end added up",
            changed(weigh=lambda r, p: (torch.cat([torch.ones_like(p[:1]), 1 - p.cumsum(0)[:-1]]) * r).sum(0)),
            "You take each P(done) off `alive`. P(done) is the chance to be hit *if* still alive: multiply by 1 − P(done), or "
            "`alive` falls below 0.",
        ),
        Mistake(
            "the last step left out",
            changed(weigh=lambda r, p: (alive_before(p) * r)[:-1].sum(0)),
            "The sum ends one step early: L pushes bring L rewards, r̂_1 to r̂_L. It is tempting, since L frames have L − 1 steps "
            "between them; but a plan has pushes, not frames.",
        ),
        Mistake(
            "the weight of 3 undone",
            changed(weigh=lambda r, p: (alive_before(p / (p + 3 * (1 - p))) * r).sum(0)),
            "You took the weight of 3 out of the odds, to have an honest chance. For a game that is right. Here p̂ stays as the head "
            "gives it: a planner may be cautious, and this function does not know how a head was trained.",
        ),
        Mistake(
            "dreamt with the defaults",
            with_defaults,
            "`dream_step(rnn, z, a, state)` alone dreams at τ = 1, with torch's global noise, whatever you were given. Hand on "
            "`temperature` and `generator`.",
        ),
        Mistake(
            "the plans' axes scrambled",
            plans_scrambled,
            "`reshape(L, W·N, A)` cuts the numbers anew, in the order in which they lie in memory: a step holds pieces of one plan, "
            "not a push of each. First `flatten(0, 1)`, then take `[:, t]`.",
        ),
        Mistake(
            "the result's axes swapped",
            axes_swapped,
            "The W·N returns are laid out as N rows of W and turned. All plans of world 0 come first, so `view(W, N)` is enough; "
            "otherwise a world is given another world's plans.",
        ),
        Mistake(
            "a verdict in place of a chance",
            changed(weigh=lambda r, p: (alive_before((p > 0.5).to(p.dtype)) * r).sum(0)),
            "You call a plan dead as soon as P(done) > ½. Then a risk of 49 % is free, and plans that differ only in their risks "
            "are worth the same. Multiply by the chance itself.",
        ),
        Mistake(
            "the temperature not passed on",
            default_temperature,
            "`dream_step` dreams at τ = 1 unless it is told otherwise. At τ = 1 each plan meets other luck, and the planner picks "
            "the lucky one in place of the good one.",
        ),
        Mistake(
            "always the most likely future",
            always_cold,
            "You dream at τ = 0 whatever `temperature` says. It is what our agent does, but not for this function to decide.",
        ),
        Mistake(
            "the generator not passed on",
            without_generator,
            "Without the `generator` the dream draws from torch's global noise: the same plan is worth something else each time, "
            "and nobody can repeat your score.",
        ),
        Mistake(
            "worlds and candidates mixed up",
            worlds_mixed_up,
            "`repeat` lays out world 0, 1, 2, … and again; `plans.flatten(0, 1)` has all plans of world 0 first. Use "
            "`repeat_interleave`: with `repeat`, plans are dreamt from other worlds' frames, and every shape fits.",
        ),
        Mistake(
            "z stands still",
            changed(carry_z=False),
            "Each step starts from the first frame's z. The dream's own z_{t+1} is the next input: that is what makes it a dream.",
        ),
        Mistake(
            "the memory stands still",
            changed(carry_h=False),
            "Each step starts from the first memory, so that nothing moves for longer than a step. Take `dream.state` along.",
        ),
        Mistake(
            "the first action for ever",
            first_step_only,
            "The first action is dreamt at every step: index the plan's step axis with t.",
        ),
        Mistake(
            "the mean over the steps",
            changed(weigh=lambda r, p: (alive_before(p) * r).mean(0)),
            "The return is a sum. Divided by L it ranks plans alike, but it is no longer the number of steps survived, and next to "
            "the price of effort it weighs L times too little.",
        ),
        Mistake(
            "the last reward alone",
            changed(weigh=lambda r, p: (alive_before(p) * r)[-1]),
            "Only the last step's reward is left: add up, do not overwrite.",
        ),
        Mistake(
            "the course's dream step, bound too early",
            bound_too_early,
            "Your numbers are right, but `dream_step` was imported by itself, and that name keeps the course's function. When you "
            "run on your own parts, yours is put into the module `mdn_rnn`, and would never be called. Write "
            "`mdn_rnn.dream_step(…)`: then the module is asked anew at each call.",
        ),
    ),
    (plan_returns_in_a_loop, plan_by_plan, from_the_end, with_score_plans),
    reference=plan_returns,
    shown=plan_returns_in_a_loop,
    cases=plan_cases,
    expects="one expected return for each plan of each world, shape (W, N)",
    checked="Values and gradients on six fresh memories: several worlds and one, several plans and one, plans of a single step, "
    "a memory that is not empty, and dreams at τ = 0, 0.8 and 1.4.",
    part=True,
    also=whose_dream_step,
    equivalent={"input rnn ignored": NETWORK},
    tolerance=10.0,
)


# --- 2 · One decision, and what is remembered of it


def taste(weights: NDArray[Any], z: Tensor, state: State) -> Tensor:
    """A stand-in for a planner: looks at z and at h, and chooses each world's action from its own row."""
    return torch.tanh(torch.cat([z, *state], dim=1) @ torch.from_numpy(weights).to(z.dtype))


def decision_cases(rng: Rng) -> Iterator[Case]:
    for worlds, action, kind, begun, about in (
        (4, 1, np.float32, "some", "four worlds, some of which have begun anew"),
        (1, 2, np.float64, "none", "one world, in mid-episode"),
        (1, 1, np.float64, "all", "one world, at its first frame"),
        (int(rng.integers(5, 8)), 2, np.float64, "some", "more worlds"),
    ):
        latent, hidden = int(rng.integers(2, 5)), int(rng.integers(5, 9))
        began = np.full(worlds, begun == "all")
        if begun == "some":
            began[rng.permutation(worlds)[: int(rng.integers(1, worlds - 1))]] = True
        weights = rng.normal(0, 0.5, (latent + 2 * hidden, action))
        inputs: dict[str, Any] = {
            "rnn": small_memory(rng, latent, action, hidden, kind),
            "choose": functools.partial(taste, weights),
            "z": rng.normal(0, 1, (worlds, latent)).astype(kind),
            "began": began,
            "h": rng.uniform(-1, 1, (worlds, hidden)).astype(kind),
            "c": rng.normal(0, 1, (worlds, hidden)).astype(kind),
        }
        yield Case(inputs, about, ("z", "h", "c"))


Choose = Callable[[Tensor, State], Tensor]


def decide(
    rnn: "MDNRNN", choose: "Choose", z: Tensor, began: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    kept = (~began).to(h.dtype)[:, None]
    h, c = kept * h, kept * c  # a new episode begins without memory
    action = choose(z, (h, c))
    h, c = rnn.step(z, action, (h, c))  # what it saw and did: the memory of the next decision
    return action, h, c


def decided(
    kept: Callable[[Tensor], Tensor] = lambda began: ~began,
    only_h: bool = False,
    remembered: Callable[[Tensor], Tensor] = lambda action: action,
) -> Answer:
    def wrong(
        rnn: MDNRNN, choose: Choose, z: Tensor, began: Tensor, h: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        keep = kept(began).to(h.dtype)[:, None]
        h, c = keep * h, c if only_h else keep * c
        action = choose(z, (h, c))
        h, c = rnn.step(z, remembered(action), (h, c))
        return action, h, c

    return wrong


def one_step_ahead(
    rnn: MDNRNN, choose: Choose, z: Tensor, began: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    _, h, c = decide(rnn, choose, z, began, h, c)
    return choose(z, (h, c)), h, c


def not_remembered(
    rnn: MDNRNN, choose: Choose, z: Tensor, began: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    kept = (~began).to(h.dtype)[:, None]
    return choose(z, (kept * h, kept * c)), kept * h, kept * c


def reset_afterwards(
    rnn: MDNRNN, choose: Choose, z: Tensor, began: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    kept = (~began).to(h.dtype)[:, None]
    action = choose(z, (h, c))
    h, c = rnn.step(z, action, (h, c))
    return action, kept * h, kept * c


def reset_between(
    rnn: MDNRNN, choose: Choose, z: Tensor, began: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    kept = (~began).to(h.dtype)[:, None]
    action = choose(z, (h, c))
    h, c = rnn.step(z, action, (kept * h, kept * c))
    return action, h, c


def changed_places(
    rnn: MDNRNN, choose: Choose, z: Tensor, began: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    action, h, c = decide(rnn, choose, z, began, h, c)
    return action, c, h


def in_one_pair(
    rnn: MDNRNN, choose: Choose, z: Tensor, began: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    action, h, c = decide(rnn, choose, z, began, h, c)
    return action, (h, c)


def plans_without_memory(
    rnn: MDNRNN, choose: Choose, z: Tensor, began: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    kept = (~began).to(h.dtype)[:, None]
    action = choose(z, (0 * h, 0 * c))
    h, c = rnn.step(z, action, (kept * h, kept * c))
    return action, h, c


def chosen_twice(
    rnn: MDNRNN, choose: Choose, z: Tensor, began: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    kept = (~began).to(h.dtype)[:, None]
    h, c = kept * h, kept * c
    new_h, new_c = rnn.step(z, choose(z, (h, c)), (h, c))
    return choose(z, (h, c)), new_h, new_c


def one_choice(ask: Ask, rng: Rng) -> str:
    """A planner remembers: it may be asked once in a decision."""
    for case in decision_cases(rng):
        if (calls := calls_of(ask, case, "choose")) != 1:
            return f"chosen twice: {calls} calls of `choose` in one decision, where one should do. {case.about}"
    return ""


def decide_with_where(
    rnn: MDNRNN, choose: Choose, z: Tensor, began: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    nothing = h.new_zeros(())
    state = (torch.where(began.unsqueeze(1), nothing, h), torch.where(began.unsqueeze(1), nothing, c))
    action = choose(z, state)
    return (action, *rnn.step(z, action, state))


def decide_with_masks(
    rnn: MDNRNN, choose: Choose, z: Tensor, began: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    h, c = h.clone(), c.clone()
    h[began], c[began] = 0, 0
    action = choose(z, (h, c))
    new_h, new_c = rnn.step(z, action, (h, c))
    return action, new_h, new_c


def decide_world_by_world(
    rnn: MDNRNN, choose: Choose, z: Tensor, began: Tensor, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Forgets and remembers world by world; only the planner is asked for all together."""
    one = [slice(w, w + 1) for w in range(len(z))]
    states = [rnn.initial_state(1) if began[w] else (h[i], c[i]) for w, i in enumerate(one)]
    action = choose(z, (torch.cat([s[0] for s in states]), torch.cat([s[1] for s in states])))
    after = [rnn.step(z[i], action[i], state) for i, state in zip(one, states, strict=True)]
    return action, torch.cat([s[0] for s in after]), torch.cat([s[1] for s in after])


DECIDE = Watched(
    "decide",
    "One decision, and what is remembered of it",
    10,
    2,
    (
        "Three things, in this order: forget where an episode has just begun, choose, remember. Which of them needs the other's "
        "result?",
        "`began` is True where this is an episode's first frame: multiply h *and* c by 0 there and by 1 elsewhere, with the mask "
        "as a column `[:, None]`. Then `choose(z, (h, c))`.",
        "Last, `rnn.step(z, action, (h, c))` takes in what was seen and what was done: its result is the memory of the *next* "
        "decision, so return it and do not use it now.",
    ),
    (
        Mistake(
            "the memory reset at every decision",
            decided(kept=torch.zeros_like),
            "h and c are 0 at each decision. It is tempting: no state to carry about. But one frame shows no velocity, and "
            "nothing of what went behind the band. You will measure what this costs.",
        ),
        Mistake(
            "the memory never reset",
            decided(kept=torch.ones_like),
            "A new episode begins with the memory of the last one: hazards are expected that were in another world.",
        ),
        Mistake(
            "all reset when one begins",
            decided(kept=lambda began: ~began.any().expand_as(began)),
            "One world's end makes all others forget. They are separate worlds that only happen to share a batch.",
        ),
        Mistake(
            "only h reset",
            decided(only_h=True),
            "An LSTM remembers in c; h is what it shows of it. A reset of h alone is undone by the next step.",
        ),
        Mistake(
            "the mask the wrong way round",
            decided(kept=lambda began: began),
            "You keep the memory where an episode has just begun, and drop it everywhere else. `began` says where to *forget*.",
        ),
        Mistake(
            "the memory one step ahead",
            one_step_ahead,
            "You choose from h_{t+1}, which has taken in z_t already, and an action on top. The planner's dream takes z_t in itself: "
            "so it is consumed twice. The time line is (z_t, a_t, h_t) → t + 1.",
        ),
        Mistake(
            "the action not remembered",
            decided(remembered=torch.zeros_like),
            "The memory is told that nothing was done. Then it cannot know the agent's velocity, which follows from its pushes.",
        ),
        Mistake(
            "the memory not taken along",
            not_remembered,
            "The memory comes out as it went in: what was seen and done now is lost. `rnn.step(z, action, (h, c))` gives the next.",
        ),
        Mistake(
            "reset after the decision",
            reset_afterwards,
            "The worlds that have just begun choose with the old episode's memory, and lose their first step. Forget *first*.",
        ),
        Mistake(
            "reset between choosing and remembering",
            reset_between,
            "What is remembered is right, but the choice was made before the reset: at its first frame the planner looks from the "
            "last episode's memory. Forget *first*.",
        ),
        Mistake(
            "reset only when all begin",
            decided(kept=lambda began: ~began.all().expand_as(began)),
            "As long as one world goes on nobody forgets. Each world has its own beginning: use the mask row by row.",
        ),
        Mistake(
            "h and c changed places",
            changed_places,
            "The shapes are the same, so nothing complains: but what comes out as h goes in as c next time. The order is h, c.",
        ),
        Mistake(
            "h and c in one pair",
            in_one_pair,
            "`rnn.step` gives a pair, and you return it as one thing. Three things in a row are asked for: unpack it, "
            "`h, c = rnn.step(…)`, or `return action, *rnn.step(…)`.",
        ),
        Mistake(
            "planned without the memory",
            plans_without_memory,
            "The memory is carried faithfully from step to step, and not shown to the planner, which starts from zeros. Nobody "
            "notices, since all is there: pass (h, c) to `choose`.",
        ),
        Mistake(
            "chosen twice",
            chosen_twice,
            "`choose` is a planner, and it remembers: each call moves its last plan on by a step, and draws new candidates. Asked "
            "twice it skips a step, and what you remember is not what you do. Asked world by world it cannot tell whose plan is "
            "whose. Call it once, for all worlds, and keep the action in a name.",
        ),
    ),
    (decide_with_where, decide_with_masks, decide_world_by_world),
    reference=decide,
    cases=decision_cases,
    expects="the action (W, A), and h and c (W, H) for the next decision",
    checked="Values and gradients on four fresh memories: episodes that begin, that go on, and both in one batch.",
    also=one_choice,
    equivalent={
        "input rnn ignored": NETWORK,
        "input choose ignored": "zeros in the place of a function are the function",
    },
    tolerance=10.0,
)


# --- 3 · Many controllers at once


def controller_cases(rng: Rng) -> Iterator[Case]:
    for controllers, dreams, action, kind, about in (
        (3, 4, 2, np.float32, "three controllers, four dreams each"),
        (1, 5, 3, np.float64, "one controller"),
        (int(rng.integers(4, 7)), 1, 2, np.float64, "one dream each"),
        (2, 3, 1, np.float64, "one number per action"),
        (2, 2, 7, np.float64, "actions of more numbers than go in"),
    ):
        latent, hidden = (2, 3) if action == 7 else (int(rng.integers(2, 5)), int(rng.integers(3, 7)))
        size = action * (latent + hidden + 1)
        inputs = {
            "weights": rng.normal(0, 0.7, (controllers, size)).astype(kind),
            "z": rng.normal(0, 1, (controllers, dreams, latent)).astype(kind),
            "h": rng.uniform(-1, 1, (controllers, dreams, hidden)).astype(kind),
        }
        yield Case(inputs, about, ("weights", "z", "h"))


def population_action(weights: Tensor, z: Tensor, h: Tensor) -> Tensor:
    x = torch.cat([z, h], dim=-1)  # (N, E, I), with I = Z + H
    inputs = x.shape[-1]
    outputs = weights.shape[1] // (inputs + 1)
    w = weights[:, : outputs * inputs].reshape(-1, outputs, inputs)
    b = weights[:, outputs * inputs :]
    return torch.tanh(torch.einsum("nei,nai->nea", x, w) + b[:, None])


def acted(
    squash: Callable[[Tensor], Tensor] = torch.tanh,
    bias: float = 1.0,
    bias_first: bool = False,
    h_first: bool = False,
    turned: bool = False,
    shared: bool = False,
    outside: bool = False,
) -> Answer:
    def wrong(weights: Tensor, z: Tensor, h: Tensor) -> Tensor:
        x = torch.cat([h, z] if h_first else [z, h], -1)
        inputs = x.shape[-1]
        outputs = weights.shape[1] // (inputs + 1)
        weights = weights[:1].expand_as(weights) if shared else weights
        b, w = (
            weights.split([outputs, outputs * inputs], 1)
            if bias_first
            else (weights[:, -outputs:], weights[:, :-outputs])
        )
        w = w.reshape(-1, inputs, outputs) if turned else w.reshape(-1, outputs, inputs).mT
        if outside:
            return squash(x @ w) + b[:, None]
        return squash(x @ w + bias * b[:, None])

    return wrong


def first_action_sees_z_alone(weights: Tensor, z: Tensor, h: Tensor) -> Tensor:
    return population_action(weights, z, 0 * h)


def bias_in_each_row(weights: Tensor, z: Tensor, h: Tensor) -> Tensor:
    x = torch.cat([z, h], -1)
    rows = weights.reshape(len(weights), -1, x.shape[-1] + 1)  # (N, A, I + 1)
    return torch.tanh(x @ rows[..., :-1].mT + rows[:, None, :, -1])


def one_action(weights: Tensor, z: Tensor, h: Tensor) -> Tensor:
    x = torch.cat([z, h], -1)
    inputs = x.shape[-1]
    return torch.tanh(x @ weights[:, :inputs, None] + weights[:, None, inputs : inputs + 1])


def one_by_one(weights: Tensor, z: Tensor, h: Tensor) -> Tensor:
    actions = []
    for own, x in zip(weights, torch.cat([z, h], -1), strict=True):
        a = len(own) // (x.shape[-1] + 1)
        actions.append(torch.tanh(F.linear(x, own[:-a].view(a, -1), own[-a:])))
    return torch.stack(actions)


def in_one_product(weights: Tensor, z: Tensor, h: Tensor) -> Tensor:
    x = torch.cat([z, h], dim=2)
    actions = weights.size(1) // (x.size(2) + 1)
    w, b = torch.split(weights, [weights.size(1) - actions, actions], dim=1)
    return torch.baddbmm(b.unsqueeze(1), x, w.reshape(len(w), actions, -1).transpose(1, 2)).tanh()


CONTROLLERS = Exercise(
    "population_action",
    "Many controllers at once",
    10,
    2,
    (
        "x = [z, h], of size I, goes in; A numbers come out: W has A·I entries and b has A. So P = A·(I + 1), and A is "
        "P // (I + 1).",
        "Each controller's row holds W row by row, then b: `weights[:, :A*I].reshape(-1, A, I)` and `weights[:, A*I:]`.",
        '`torch.einsum("nei,nai->nea", x, w)` multiplies each controller\'s W with each of its own dreams; add `b[:, None]`, then '
        "tanh.",
    ),
    (
        Mistake(
            "the bias forgotten",
            acted(bias=0.0),
            "Without b a controller at rest can only stand still. The last A numbers of each row are its bias.",
        ),
        Mistake(
            "the bias first",
            acted(bias_first=True),
            "You read b from the front of the row. `parameters_to_vector` of a linear layer gives its weight first, then its bias: "
            "read otherwise, an evolved vector is another controller.",
        ),
        Mistake(
            "tanh forgotten",
            acted(squash=lambda x: x),
            "An action lies in [−1, 1]; without tanh evolution finds pushes that the world does not know.",
        ),
        Mistake(
            "a clamp for tanh",
            acted(squash=lambda x: x.clamp(-1, 1)),
            "clamp limits, too, but it is another function in between, and this controller is a tanh.",
        ),
        Mistake(
            "a sigmoid for tanh",
            acted(squash=torch.sigmoid),
            "A sigmoid ends at 0 and 1: this agent can never push to the left.",
        ),
        Mistake(
            "h before z",
            acted(h_first=True),
            "The order is [z, h]. With h first each weight meets another input: as long as you train and play with the same "
            "function nobody notices, and a controller that is loaded from elsewhere plays nonsense.",
        ),
        Mistake(
            "W turned on its side",
            acted(turned=True),
            "The row holds W as (A, I), one action's weights after the other. Reshaped to (I, A) the numbers are mixed up; only "
            "with A = 1 it makes no difference.",
        ),
        Mistake(
            "a bias at the end of each row of W",
            bias_in_each_row,
            "You read A rows of I + 1 numbers, each with its bias. All of W comes first, and then all of b; only with A = 1 it makes "
            "no difference.",
        ),
        Mistake(
            "a single action",
            one_action,
            "Dodge has one action, and your function takes it for granted. A is P // (I + 1): another world pushes in two directions.",
        ),
        Mistake(
            "one controller for all",
            acted(shared=True),
            "All dreams are played by the first controller: then all are equally good, and evolution has nothing to choose from.",
        ),
        Mistake(
            "the bias outside of tanh",
            acted(outside=True),
            "tanh goes around all of it, b included. Outside, the action leaves [−1, 1].",
        ),
        Mistake(
            "without the memory",
            first_action_sees_z_alone,
            "This controller sees z alone. h holds the velocities: it is what the memory is for.",
        ),
    ),
    (one_by_one, in_one_product),
    reference=population_action,
    cases=controller_cases,
    expects="the actions of each controller in each of its dreams, shape (N, E, A), in (−1, 1)",
    checked="Values and all three gradients: one controller and several, one dream and several, actions of one to three numbers.",
    tolerance=10.0,
)


# --- 4 · Evolution in a dream


def bowl(target: NDArray[Any], luck: NDArray[Any], weights: Tensor) -> Tensor:
    """Returns (N, E): the nearer a controller is to each dream's own target, the longer it lives."""
    apart = weights[:, None] - torch.from_numpy(target).to(weights.dtype)  # (N, E, P)
    return 10 - apart.square().sum(-1) + torch.from_numpy(luck).to(weights.dtype) * apart[..., 0]


def evolution_cases(rng: Rng) -> Iterator[Case]:
    for generations, population, size, elites, std, floor, kind, about in (
        (3, 8, 3, 3, 0.7, 0.0, np.float64, "three generations"),
        (1, 6, 2, 2, 1.0, 0.05, np.float32, "a single generation"),
        (5, 7, 2, 2, 0.5, 0.3, np.float64, "a floor that is reached"),
        (int(rng.integers(4, 6)), 12, 4, 4, 1.2, 0.1, np.float64, "a larger population"),
    ):
        dreams = int(rng.integers(4, 6))  # at least as many as elites, at most as many as controllers
        target, luck = rng.normal(0.5, 1.5, (dreams, size)), rng.normal(0, 1.5, dreams)
        inputs: dict[str, Any] = {
            "returns_of": functools.partial(bowl, target, luck),
            "noise": rng.normal(size=(generations, population, size)).astype(kind),
            "std": std,
            "elites": elites,
            "min_std": floor,
        }
        yield Case(inputs, about)


ReturnsOf = Callable[[Tensor], Tensor]


def evolve(returns_of: "ReturnsOf", noise: Tensor, std: float, elites: int, min_std: float) -> tuple[Tensor, Tensor]:
    mean = torch.zeros_like(noise[0, 0])
    spread = torch.full_like(mean, std)
    history = []
    for epsilon in noise:  # (N, P), a generation
        population = mean + spread * epsilon
        returns = returns_of(population).mean(dim=1)  # over its dreams: (N,)
        best = population[returns.topk(elites).indices]
        mean = best.mean(dim=0)
        spread = best.std(dim=0, correction=0).clamp(min=min_std)
        history.append(returns.mean())
    return mean, torch.stack(history)


def evolved(
    fitness: Callable[[Tensor], Tensor] = lambda returns: returns.mean(1),
    largest: bool = True,
    floor: Callable[[Tensor, float], Tensor] = lambda spread, least: spread.clamp(min=least),
    moving: bool = True,
    fresh: bool = True,
    best_one: bool = False,
    best_ever: bool = False,
    inside: Callable[[Tensor], Tensor] = lambda population: population,
    refitted: Callable[[Tensor, Tensor], Tensor] = lambda best, noise: best,
    centre: Callable[[Tensor], Tensor] = lambda best: best.mean(0),
    width: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda best, population, old: best.std(0, correction=0),
    narrowing: bool = True,
    report: Callable[[Tensor, Tensor, int], Tensor] = lambda scores, returns, elites: scores.mean(),
) -> Answer:
    """The right road with one thing changed."""

    def wrong(returns_of: ReturnsOf, noise: Tensor, std: float, elites: int, min_std: float) -> tuple[Tensor, Tensor]:
        mean, spread, history = torch.zeros_like(noise[0, 0]), torch.full_like(noise[0, 0], std), []
        record, winner = -math.inf, mean
        for g in range(len(noise)):
            epsilon = noise[g if fresh else 0]
            population = inside((mean if moving else 0) + spread * epsilon)
            returns = returns_of(population)
            scores = fitness(returns)
            order = scores.topk(elites, largest=largest).indices
            best, old = refitted(population[order], epsilon[order]), mean
            if float(scores.max()) > record:
                record, winner = float(scores.max()), population[scores.argmax()]
            mean = best[0] if best_one and g == len(noise) - 1 else centre(best)
            if narrowing:
                spread = floor(width(best, population, old).expand_as(mean), min_std)
            history.append(report(scores, returns, elites))
        return winner if best_ever else mean, torch.stack(history)

    return wrong


def asked_twice(returns_of: ReturnsOf, noise: Tensor, std: float, elites: int, min_std: float) -> tuple[Tensor, Tensor]:
    def twice(population: Tensor) -> Tensor:
        returns_of(population)
        return returns_of(population)

    return evolve(twice, noise, std, elites, min_std)


def turned_round(
    returns_of: ReturnsOf, noise: Tensor, std: float, elites: int, min_std: float
) -> tuple[Tensor, Tensor]:
    mean, history = evolve(returns_of, noise, std, elites, min_std)
    return history, mean


def one_life(ask: Ask, rng: Rng) -> str:
    """Dreams are most of the work, and each asking draws others: one for each generation."""
    for case in evolution_cases(rng):
        calls, generations = calls_of(ask, case, "returns_of"), len(case.inputs["noise"])
        if calls != generations:
            return f"asked twice: {calls} calls of `returns_of`, where the number of generations is {generations}."
    return ""


def evolve_by_sorting(
    returns_of: ReturnsOf, noise: Tensor, std: float, elites: int, min_std: float
) -> tuple[Tensor, Tensor]:
    center, width, means = noise.new_zeros(noise.shape[2]), noise.new_full((noise.shape[2],), std), []
    for g in range(noise.shape[0]):
        people = center[None] + width[None] * noise[g]
        lived = returns_of(people)
        scores = lived.sum(1) / lived.shape[1]
        order = torch.argsort(scores, descending=True)[:elites]
        center = people[order].sum(0) / elites
        variance = ((people[order] - center) ** 2).sum(0) / elites
        width = torch.maximum(variance.sqrt(), torch.full_like(variance, min_std))
        means.append(scores.mean().item())
    return center, noise.new_tensor(means)


def evolve_in_numpy(
    returns_of: ReturnsOf, noise: Tensor, std: float, elites: int, min_std: float
) -> tuple[Tensor, Tensor]:
    mean, spread = np.zeros(noise.shape[2], noise.numpy().dtype), np.full(noise.shape[2], std, noise.numpy().dtype)
    history = np.zeros(len(noise), noise.numpy().dtype)
    for g, epsilon in enumerate(noise.numpy()):
        population = mean + spread * epsilon
        returns = returns_of(torch.from_numpy(population)).numpy().mean(axis=1)
        best = population[np.argsort(returns)[-elites:]]
        mean, spread, history[g] = best.mean(axis=0), np.maximum(best.std(axis=0), min_std), returns.mean()
    return torch.from_numpy(mean), torch.from_numpy(history)


EVOLVE = Watched(
    "evolve",
    "Evolution in a dream",
    15,
    2,
    (
        "Lesson 10's method, with weights in place of actions: draw a population around the mean, ask for its returns, keep the "
        "elites, fit mean and standard deviation to them.",
        "Keep two things between generations, the mean and the spread, each (P,), and a list of the generations' mean returns. "
        "Which axis of the returns (N, E) are the dreams? Return the last mean, not the best controller.",
        "A generation: `population = mean + spread * epsilon`; `returns_of(population).mean(dim=1)`, once; "
        "`returns.topk(elites).indices`; then `.mean(dim=0)` and `.std(dim=0, correction=0).clamp(min=min_std)` of the elites.",
    ),
    (
        Mistake(
            "the worst are kept",
            evolved(largest=False),
            "These are the controllers that died first. A return is to be large: `topk`'s default.",
        ),
        Mistake(
            "the best one returned",
            evolved(best_one=True),
            "You return the last generation's winner. It won partly by luck: the best of many estimates is an overestimate. The "
            "mean of the elites is what the search believes.",
        ),
        Mistake(
            "chosen by the luckiest dream",
            evolved(fitness=lambda returns: returns.amax(1)),
            "A controller counts as good as its best dream. That rewards luck, and a controller that gambles: take the mean over "
            "the dreams.",
        ),
        Mistake(
            "the mean over the population",
            evolved(fitness=lambda returns: returns.mean(0)),
            "You average over the controllers (axis 0) and are left with one number for each *dream*. Then you keep the easiest "
            "dreams' numbers as if they were controllers.",
        ),
        Mistake(
            "the best return as the history",
            evolved(report=lambda scores, returns, elites: scores.amax()),
            "The best of N noisy returns grows with N, whether the population learns or not. Report the mean: it is what a reader "
            "takes it for.",
        ),
        Mistake(
            "std with n − 1",
            evolved(width=lambda best, population, old: best.std(0)),
            "The fit of a Gaussian to the elites by maximum likelihood divides by their number: `correction=0`. torch's default "
            "divides by one less, which keeps the search wider than the method says.",
        ),
        Mistake(
            "no floor under the spread",
            evolved(floor=lambda spread, least: spread),
            "Without `min_std` the spread collapses as soon as the elites are alike, and the search is over, wherever it is.",
        ),
        Mistake(
            "the spread never shrinks",
            evolved(narrowing=False),
            "Only the mean moves. Without a narrowing spread the search never settles.",
        ),
        Mistake(
            "the elites by their luckiest dream",
            evolved(fitness=lambda returns: returns.amax(1), report=lambda scores, returns, elites: returns.mean()),
            "The history is right, but the elites are those with the best *single* dream: luck is what such a search breeds. Rank by "
            "the mean over the dreams.",
        ),
        Mistake(
            "mean and history changed places",
            turned_round,
            "Two things come out, the last mean first and then the history. Here they are the other way round.",
        ),
        Mistake(
            "the best ever returned",
            evolved(best_ever=True),
            "You keep the record holder of all generations. The more controllers took part the luckier it was: the winner's curse, "
            "once more. What the search believes is its last mean.",
        ),
        Mistake(
            "all on the best one",
            evolved(centre=lambda best: best[0]),
            "The new mean is the winner alone. One noisy winner is partly luck; the mean of the elites has that luck averaged out.",
        ),
        Mistake(
            "the elites' noise for the elites",
            evolved(refitted=lambda best, noise: noise),
            "Mean and spread of the elites' ε are in units of the old spread, around 0. The elites are the *weights* that were tried: "
            "index the population, not the noise.",
        ),
        Mistake(
            "one spread for all weights",
            evolved(width=lambda best, population, old: best.std(correction=0)),
            "A single standard deviation over elites *and* weights. Each weight has its own: `dim=0` is over the elites. As it is, "
            "the distance between two weights' means counts as spread.",
        ),
        Mistake(
            "the spread of the whole population",
            evolved(width=lambda best, population, old: population.std(0, correction=0)),
            "This is the spread that you drew with, give or take chance: it never narrows. The elites' spread is what tells how "
            "sure the search has become.",
        ),
        Mistake(
            "the variance for the spread",
            evolved(width=lambda best, population, old: best.var(0, correction=0)),
            "`spread` multiplies ε, so it is a standard deviation. A variance below 1 is smaller than its root: the search collapses.",
        ),
        Mistake(
            "the spread around the old mean",
            evolved(width=lambda best, population, old: (best - old).square().mean(0).sqrt()),
            "Measured from the old mean, the step that was made counts as spread. CMA-ES does so, on purpose; maximum likelihood "
            "measures from the elites' own mean.",
        ),
        Mistake(
            "the floor added",
            evolved(floor=lambda spread, least: spread + least),
            "`min_std` is a bound, not a summand: `clamp(min=min_std)`. Added it keeps every spread wider than the elites say.",
        ),
        Mistake(
            "weights clipped as if they were pushes",
            evolved(inside=lambda population: population.clamp(-1, 1)),
            "Lesson 10 clipped its candidates, since an action has bounds. Weights have none: it is tanh that bounds the action.",
        ),
        Mistake(
            "the elites' return as the history",
            evolved(report=lambda scores, returns, elites: scores.topk(elites).values.mean()),
            "The elites are chosen by their returns, so their mean is cursed: noise alone makes it too high. Report the mean over all "
            "controllers.",
        ),
        Mistake(
            "always drawn around zero",
            evolved(moving=False),
            "Each generation starts around the first mean: what was learnt is thrown away, except for the spread.",
        ),
        Mistake(
            "the same noise in every generation",
            evolved(fresh=False),
            "`noise[0]` is used again and again, so that the same directions are tried for ever. Go through the first axis.",
        ),
        Mistake(
            "asked twice",
            asked_twice,
            "`returns_of` is called more often than there are generations. Each call dreams the whole population's lives anew, in "
            "*other* dreams: that doubles the work, and the elites may come from one set and the history from another. Call it once "
            "in each generation, for all controllers, and keep what it returns in a name.",
        ),
    ),
    (evolve_by_sorting, evolve_in_numpy),
    reference=evolve,
    cases=evolution_cases,
    expects="the last mean (P,), and each generation's mean return (G,)",
    checked="One generation and several, small populations and larger ones, with and without a floor that is reached.",
    also=one_life,
    equivalent={
        "gradient cut": "evolution needs no gradient: that is its point",
        "input returns_of ignored": "zeros in the place of a function are the function",
    },
    tolerance=10.0,
)


# --- 5 · A score for a sceptic


def score_cases(rng: Rng) -> Iterator[Case]:
    for episodes, kind, about in (
        (30, np.float32, "thirty common episodes"),
        (3, np.float64, "three"),
        (int(rng.integers(50, 90)), np.float64, "many"),
        (9, np.float64, "the other one is better"),
    ):
        luck = rng.normal(120, 60, episodes)  # of the episode: the same for both
        a, b = luck + rng.normal(12, 20, episodes), luck + rng.normal(0, 30, episodes)
        a[0] = b[0] - 25  # sometimes the better agent is worse
        if episodes == 9:
            a -= (a - b).mean() + 15
        yield Case({"a": a.astype(kind), "b": b.astype(kind)}, about)


Four = tuple[Tensor, Tensor, Tensor, Tensor]


def compare(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    root = math.sqrt(len(a))
    difference = a - b  # episode by episode: their common luck cancels
    return a.mean(), a.std() / root, difference.mean(), difference.std() / root


Centre = Callable[[Tensor], Tensor]


def compared(
    centre: Centre = lambda x: x.mean(),
    error: Centre = lambda x: x.std() / math.sqrt(len(x)),
    gap: Callable[[Tensor, Tensor], Tensor] = lambda a, b: (a - b).mean(),
    gap_error: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Answer:
    def wrong(a: Tensor, b: Tensor) -> Four:
        return centre(a), error(a), gap(a, b), gap_error(a, b) if gap_error else error(a - b)

    return wrong


def in_another_order(a: Tensor, b: Tensor) -> Four:
    mean, error, gap, gap_error = compare(a, b)
    return mean, gap, error, gap_error


def compare_by_hand(a: Tensor, b: Tensor) -> Four:
    n = a.shape[0]
    out = []
    for x in (a, b):
        mean = x.sum() / n
        out += [mean, ((x - mean) ** 2).sum() / (n - 1)]
    together = ((a - out[0]) * (b - out[2])).sum() / (n - 1)
    return out[0], (out[1] / n) ** 0.5, out[0] - out[2], ((out[1] + out[3] - 2 * together) / n).sqrt()


def compare_in_numpy(a: Tensor, b: Tensor) -> Four:
    x, d = a.numpy(), a.numpy() - b.numpy()
    values = (x.mean(), x.std(ddof=1) / len(x) ** 0.5, d.mean(), d.std(ddof=1) / len(d) ** 0.5)
    first, second, third, fourth = (torch.tensor(float(v), dtype=a.dtype) for v in values)
    return first, second, third, fourth


COMPARE = Exercise(
    "compare",
    "A score for a sceptic",
    10,
    2,
    (
        "How sure are you of a *mean* of n episodes? Its standard error is the episodes' standard deviation (torch's, with n − 1) "
        "over √n.",
        "Episode i is the same world for both agents, so subtract first: each pair gives one difference, free of that world's own "
        "luck. Then treat the differences as you treated the returns.",
        "`difference = a - b`; then `a.mean()`, `a.std() / math.sqrt(n)`, `difference.mean()`, `difference.std() / math.sqrt(n)`.",
    ),
    (
        Mistake(
            "the spread of the episodes for the error of the mean",
            compared(error=lambda x: x.std()),
            "This says where single episodes fall. The mean of n of them is √n times as sure; without it no score could ever be told "
            "from another.",
        ),
        Mistake(
            "divided by n",
            compared(error=lambda x: x.std() / len(x)),
            "The standard error falls with the *root* of n: four times the episodes halve it.",
        ),
        Mistake(
            "n − 1 counted twice",
            compared(error=lambda x: x.std() / math.sqrt(len(x) - 1)),
            "torch's `std()` has divided by n − 1 already. The error of the mean is that standard deviation over √n: a mean of n "
            "numbers.",
        ),
        Mistake(
            "the root forgotten",
            compared(error=lambda x: x.var() / len(x)),
            "This is the *variance* of the mean, in steps squared. The standard error is its root.",
        ),
        Mistake(
            "in another order",
            in_another_order,
            "The numbers are right, in another order: first both for a, mean and error, then both for the difference.",
        ),
        Mistake(
            "std divided by n, not n − 1",
            compared(error=lambda x: x.std(correction=0) / math.sqrt(len(x))),
            "The deviations are from the sample's own mean, which lies nearer to them than the true one: divide by n − 1.",
        ),
        Mistake(
            "the variance for the standard deviation",
            compared(error=lambda x: x.var() / math.sqrt(len(x))),
            "A variance is in steps squared. The error of a mean has the mean's own unit.",
        ),
        Mistake(
            "half of the interval for the standard error",
            compared(error=lambda x: 1.96 * x.std() / math.sqrt(len(x))),
            "1.96 standard errors are half of the 95 % interval. Asked for is the standard error itself: who reads it may choose.",
        ),
        Mistake(
            "the best episode",
            compared(centre=lambda x: x.max()),
            "The best of n episodes grows with n. Nobody who reads a score expects it to be the luckiest one.",
        ),
        Mistake(
            "the median",
            compared(centre=lambda x: x.median()),
            "The standard error belongs to the mean. Returns are skewed and capped, so that the median is another number.",
        ),
        Mistake(
            "the other minus the one",
            compared(gap=lambda a, b: (b - a).mean()),
            "It is a − b: positive when a is the better one.",
        ),
        Mistake(
            "the distance, not the difference",
            compared(gap=lambda a, b: (a - b).abs().mean()),
            "An absolute value turns all luck into an advantage: two equal agents would differ.",
        ),
        Mistake(
            "the distance of the means",
            compared(gap=lambda a, b: (a.mean() - b.mean()).abs()),
            "The sign is lost: a reader could not tell which of the two is the better one. Leave `abs` out.",
        ),
        Mistake(
            "the distances and their spread",
            compared(
                gap=lambda a, b: (a - b).abs().mean(), gap_error=lambda a, b: (a - b).abs().std() / math.sqrt(len(a))
            ),
            "All is done with |a − b|. A distance has no winner: two equal agents would be far apart, and surely so.",
        ),
        Mistake(
            "a's error for the difference's",
            compared(gap_error=lambda a, b: a.std() / math.sqrt(len(a))),
            "The difference has an error of its own: that of the n differences. In common worlds it is the smaller one, and that is "
            "what pairs are for.",
        ),
        Mistake(
            "errors subtracted",
            compared(gap_error=lambda a, b: (a.std() - b.std()) / math.sqrt(len(a))),
            "An error that can be negative is none. The error of a difference is not the difference of the errors: take the standard "
            "deviation of a − b.",
        ),
        Mistake(
            "the pairs torn apart",
            compared(gap_error=lambda a, b: (a.sort().values - b.sort().values).std() / math.sqrt(len(a))),
            "Sorted, each episode is compared with some other one, the worst with the worst. The pairs *are* the common worlds.",
        ),
        Mistake(
            "without the pairs",
            compared(gap_error=lambda a, b: ((a.var() + b.var()) / len(a)).sqrt()),
            "This would be right for two agents in different worlds. In the same worlds the luck that they share cancels in each "
            "difference, and the error is smaller: take the differences' own standard deviation.",
        ),
        Mistake(
            "errors added",
            compared(gap_error=lambda a, b: (a.std() + b.std()) / math.sqrt(len(a))),
            "Even without pairs errors add in squares; and with pairs you need only the differences' own error.",
        ),
    ),
    (compare_by_hand, compare_in_numpy),
    reference=compare,
    cases=score_cases,
    expects="four tensors without axes: a's mean, its standard error, the mean of a − b, and the standard error of that",
    checked="Three, thirty and many episodes, with luck in common; and a case where b is the better one.",
    equivalent={"gradient cut": "a score is to be read, not to be differentiated"},
    tolerance=10.0,
)


# --- 6 · A second look


def look_cases(rng: Rng) -> Iterator[Case]:
    for worlds, dreams, candidates, kind, about in (
        (3, 4, 6, np.float32, "three worlds, six plans each"),
        (1, 5, 4, np.float64, "one world"),
        (int(rng.integers(6, 9)), 3, 8, np.float64, "more worlds"),
    ):
        value = rng.normal(8, 1, (worlds, 1, candidates))
        first = value + rng.normal(0, 2, (worlds, dreams, candidates))
        fresh = value + rng.normal(0, 2, (worlds, dreams + 2, candidates))
        yield Case({"first": first.astype(kind), "fresh": fresh.astype(kind)}, about, ("first", "fresh"))


def second_look(first: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    estimate = first.mean(dim=1)  # (W, N)
    promise, chosen = estimate.max(dim=1)
    again = fresh.mean(dim=1).gather(1, chosen[:, None]).squeeze(1)
    return chosen, promise, again


def looked(
    choose: Callable[[Tensor, Tensor], Tensor] = lambda first, fresh: first.mean(1),
    again: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda first, fresh, i: fresh.mean(1).gather(1, i[:, None])[
        :, 0
    ],
) -> Answer:
    def wrong(first: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        promise, chosen = choose(first, fresh).max(1)
        return chosen, promise, again(first, fresh, chosen)

    return wrong


def the_worst_plan(first: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    promise, chosen = first.mean(1).min(1)
    return chosen, promise, fresh.mean(1).gather(1, chosen[:, None]).squeeze(1)


def one_for_all_worlds(first: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    chosen = first.mean((0, 1)).argmax().expand(len(first))
    return chosen, first.mean(1)[:, chosen[0]], fresh.mean(1)[:, chosen[0]]


def promise_of_all(first: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    chosen, _, again = second_look(first, fresh)
    return chosen, first.mean((1, 2)), again


def changed_look(change: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]) -> Answer:
    """Something else made of the right choice, promise and value."""

    def wrong(first: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return change(*second_look(first, fresh))

    return wrong


def all_worlds_choices(first: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    chosen = first.mean(1).argmax(1)
    return chosen, first.mean(1)[:, chosen], fresh.mean(1)[:, chosen]


def luckiest_by_its_mean(first: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    chosen = first.amax(1).argmax(1)
    promise, again = (dreams.mean(1).gather(1, chosen[:, None])[:, 0] for dreams in (first, fresh))
    return chosen, promise, again


def look_with_indices(first: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows = torch.arange(len(first))
    chosen = first.mean(1).argmax(-1)
    return chosen, first[rows, :, chosen].mean(-1), fresh[rows, :, chosen].mean(-1)


def look_world_by_world(first: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    best = [int(torch.argmax(one.sum(0))) for one in first]
    promise = torch.stack([one[:, i].mean() for one, i in zip(first, best, strict=True)])
    again = torch.stack([one[:, i].mean() for one, i in zip(fresh, best, strict=True)])
    return torch.tensor(best), promise, again


LOOK = Exercise(
    "second_look",
    "A second look at the chosen plan",
    10,
    2,
    (
        "Choose with the first dreams and them alone, then ask the *fresh* ones about the plan that was chosen.",
        "`estimate = first.mean(dim=1)` is (W, N); `promise, chosen = estimate.max(dim=1)`.",
        "`fresh.mean(dim=1)` has all plans; `.gather(1, chosen[:, None]).squeeze(1)` picks the chosen one in each world.",
    ),
    (
        Mistake(
            "the same dreams again",
            looked(again=lambda first, fresh, i: first.mean(1).gather(1, i[:, None])[:, 0]),
            "You ask the same dreams that made the choice, and they say the same: the promise. Only dreams that had no part in "
            "the choice are unbiased about it.",
        ),
        Mistake(
            "the best of the fresh dreams",
            looked(again=lambda first, fresh, i: fresh.mean(1).amax(1)),
            "This takes a maximum anew, so that the second number is cursed like the first. Ask about the plan that was chosen.",
        ),
        Mistake(
            "chosen by the fresh dreams",
            looked(choose=lambda first, fresh: fresh.mean(1)),
            "Now the fresh dreams made the choice, and are no longer fresh.",
        ),
        Mistake(
            "both looks pooled",
            looked(choose=lambda first, fresh: torch.cat([first, fresh], 1).mean(1)),
            "More dreams make a better choice, but then none is left over that did not take part in it.",
        ),
        Mistake(
            "both means averaged",
            looked(choose=lambda first, fresh: (first.mean(1) + fresh.mean(1)) / 2),
            "The fresh dreams had a say in the choice, and so are no judges of it any more.",
        ),
        Mistake(
            "chosen by the luckiest dream",
            looked(choose=lambda first, fresh: first.amax(1)),
            "A plan counts as its best dream. That maximises luck: take the mean over the dreams first.",
        ),
        Mistake(
            "the luckiest dream's plan, with its mean",
            luckiest_by_its_mean,
            "Promise and value are means, but the choice went to the plan with the best *single* dream. Choose by the mean, too.",
        ),
        Mistake(
            "one dream decides",
            looked(choose=lambda first, fresh: first[:, 0]),
            "You choose by the first of the S dreams alone, and let the others go. Their mean is less noisy, and so is the choice.",
        ),
        Mistake(
            "the first dreams among the fresh",
            looked(again=lambda first, fresh, i: torch.cat([first, fresh], 1).mean(1).gather(1, i[:, None])[:, 0]),
            "The dreams that made the choice are averaged in, and bring their luck along. Judge by `fresh` alone.",
        ),
        Mistake(
            "one fresh dream",
            looked(again=lambda first, fresh, i: fresh[:, 0].gather(1, i[:, None])[:, 0]),
            "You ask one fresh dream. It is honest, but noisy: take the mean of all S'.",
        ),
        Mistake(
            "the luckiest fresh dream",
            looked(again=lambda first, fresh, i: fresh.amax(1).gather(1, i[:, None])[:, 0]),
            "The right plan, but the best of its fresh dreams. A maximum over noise is what you are to be cured of: take the mean.",
        ),
        Mistake(
            "sums for means",
            looked(
                choose=lambda first, fresh: first.sum(1),
                again=lambda first, fresh, i: fresh.sum(1).gather(1, i[:, None])[:, 0],
            ),
            "Sums over S and over S' dreams choose the same plan, but cannot be compared: there are more of one than of the other.",
        ),
        Mistake(
            "averaged over the plans",
            looked(
                choose=lambda first, fresh: first.mean(2),
                again=lambda first, fresh, i: fresh.mean(2).gather(1, i[:, None])[:, 0],
            ),
            "The mean is over the last axis, so that the best *dream* is chosen. The axes are (W, S, N): the dreams are `dim=1`.",
        ),
        Mistake(
            "each world's choice in every world",
            all_worlds_choices,
            "`x[:, chosen]` takes all chosen columns in *each* row: (W, W). One entry per row is `x[torch.arange(W), chosen]`, or "
            "`gather`. With a single world it looks right but for its shape.",
        ),
        Mistake(
            "promise and value changed places",
            changed_look(lambda chosen, promise, again: (chosen, again, promise)),
            "The order is: the choice, what it promised, what the fresh dreams say.",
        ),
        Mistake(
            "the gap for the value",
            changed_look(lambda chosen, promise, again: (chosen, promise, promise - again)),
            "The third is what the fresh dreams say, not by how much the promise was above it. The gap is taken later, from both.",
        ),
        Mistake(
            "the average plan's value",
            looked(again=lambda first, fresh, i: fresh.mean((1, 2))),
            "This averages over all candidates: what a *random* plan is worth. Asked is the chosen one.",
        ),
        Mistake(
            "the promise of the average plan",
            promise_of_all,
            "The promise is what the first dreams say of the *chosen* plan; you average over all candidates.",
        ),
        Mistake("the worst plan", the_worst_plan, "You took the minimum. A return is to be large."),
        Mistake(
            "one choice for all worlds",
            one_for_all_worlds,
            "Each world has its own plans: plan 3 here has nothing to do with plan 3 there. Choose along the last axis, world by "
            "world.",
        ),
    ),
    (look_with_indices, look_world_by_world),
    reference=second_look,
    cases=look_cases,
    expects="three tensors (W,): the chosen plan's number, what it promised, and what the fresh dreams say of it",
    checked="Values and gradients in one world and in several, with different numbers of dreams.",
    tolerance=10.0,
)

EXERCISES = (PLANS, DECIDE, CONTROLLERS, EVOLVE, COMPARE, LOOK)
