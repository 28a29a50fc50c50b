"""Model predictive control: plan a few steps ahead, do the first, look again, plan again.

    frame ─► state ─► plan a_0 ... a_{L-1} ─► do a_0 ─► the world moves on ─► shift the plan by one ─► plan again

A plan is never carried out to its end: each new observation corrects it (Garcia et al. 1989). What is planned *with*
is a function ``score`` from a population of plans (W, N, L, A) to their scores (W, N): W worlds, N candidates, L steps,
A numbers per action. ``score_plans`` makes one from a model of one step; planners know nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]  # plans (W, N, L, A) -> (W, N), more is better
State = tuple[Tensor, ...]  # every part has the batch on its first axis
Step = Callable[[State, Tensor], tuple[State, Tensor, Tensor]]  # state, action -> next state, reward, P(done)


def shift_plan(plan: Tensor) -> Tensor:
    """A plan (..., L, A) one step later: the first action is done, the last is repeated. Any leading dimensions."""
    return torch.cat([plan[..., 1:, :], plan[..., -1:, :]], dim=-2)


class Plan(NamedTuple):
    """What a planner found, for each of W worlds."""

    actions: Tensor  # (W, L, A), to be carried out
    score: Tensor  # (W,), as it was scored
    mean: Tensor  # (W, L, A), the centre of the search distribution
    elites: Tensor  # (W, E, L, A), the best candidates, best first

    def shifted(self) -> Plan:
        """The same plan one step later (``shift_plan``): where the next search starts."""
        return Plan(shift_plan(self.actions), self.score, shift_plan(self.mean), shift_plan(self.elites))

    def take(self, index: Tensor) -> Plan:
        """The worlds that ``index`` selects, in its order."""
        return Plan(*(part[index] for part in self))


class Planner(Protocol):
    """Searches for the plan of the highest score; ``warm`` is where to start, None the middle of the action range."""

    def plan(
        self, score: Score, warm: Plan | None = None, worlds: int = 1, generator: torch.Generator | None = None
    ) -> Plan: ...


def finite_scores(scores: Tensor) -> Tensor:
    """NaN scores lose: they become -inf, where ``argmax`` and ``topk`` would have let them win."""
    return torch.where(scores.isnan(), -torch.inf, scores)


def score_plans(
    step: Step,
    state: State,
    plans: Tensor,
    discount: float = 1.0,
    terminal_value: Callable[[State], Tensor] | None = None,
) -> Tensor:
    """The expected return of N plans in each of W worlds, all rolled out as one batch: plans (W, N, L, A) -> (W, N).

        Σ_t γᵗ·P(alive at t)·r_{t+1} + γᴸ·P(alive at L)·V(s_L),    P(alive at t+1) = P(alive at t)·(1 - P(done at t+1))

    ``state`` is a tuple of tensors (W, ...), ``step`` maps a state of W·N rows and actions (W·N, A) to the next state,
    r_{t+1} and P(done_{t+1}), both (W·N,). The reward comes *after* the transition, so the state that the last action
    reaches counts; ``terminal_value`` V(s_L) (W·N,) adds what lies beyond the horizon. Raises ValueError for other
    shapes.
    Source: Chua et al. (2018), Algorithm 1, with the chance to be alive in place of a fixed length.
    """
    if plans.dim() != 4 or any(len(part) != len(plans) for part in state):
        raise ValueError(f"Plans must be (W, N, L, A), states (W, ...): got {tuple(plans.shape)} and another W.")
    worlds, candidates, horizon, _ = plans.shape
    state = tuple(part.repeat_interleave(candidates, dim=0) for part in state)  # world 0 N times, world 1 N times, ...
    actions = plans.flatten(0, 1)  # (W·N, L, A)
    total, alive = actions.new_zeros(len(actions)), actions.new_ones(len(actions))
    for t in range(horizon):
        state, reward, done = step(state, actions[:, t])
        total = total + discount**t * alive * reward
        alive = alive * (1 - done)
    if terminal_value is not None:
        total = total + discount**horizon * alive * terminal_value(state)
    return total.view(worlds, candidates)


class MPC:
    """The receding horizon for W worlds at once: ``act`` plans from where the last plan, shifted by one, left off."""

    def __init__(self, planner: Planner, warm_start: bool = True) -> None:
        self.planner, self.warm_start = planner, warm_start
        self.last: Plan | None = None

    def act(self, score: Score, worlds: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Plan, remember the plan, and return its first actions (W, A). ``score`` must look from the present state."""
        warm = self.last.shifted() if self.last is not None and self.warm_start else None
        self.last = self.planner.plan(score, warm, worlds, generator)
        return self.last.actions[:, 0]

    def reset(self) -> None:
        """Forget the plans: new episodes begin."""
        self.last = None

    def keep(self, index: Tensor) -> None:
        """Go on with the worlds of ``index`` alone."""
        self.last = None if self.last is None else self.last.take(index)


class RandomShooting:
    """The simplest planner: N plans drawn uniformly, the best one wins. It ignores the warm start but for trying it
    too.
    """

    def __init__(self, horizon: int, action_dim: int, candidates: int, low: float = -1.0, high: float = 1.0) -> None:
        if min(horizon, action_dim, candidates) < 1 or not low < high:
            raise ValueError("RandomShooting needs horizon, action_dim and candidates of at least 1, and low < high.")
        self.horizon, self.action_dim, self.candidates = horizon, action_dim, candidates
        self.low, self.high = low, high

    def plan(
        self, score: Score, warm: Plan | None = None, worlds: int = 1, generator: torch.Generator | None = None
    ) -> Plan:
        shape = (worlds, self.candidates, self.horizon, self.action_dim)
        plans = torch.rand(shape, generator=generator, device=generator.device if generator else None)
        plans = self.low + (self.high - self.low) * plans
        if warm is not None:
            plans[:, 0] = warm.actions
        return best_of(plans, finite_scores(score(plans)), elites=1)


def select(candidates: Tensor, scores: Tensor, elites: int) -> tuple[Tensor, Tensor]:
    """The ``elites`` best of candidates (..., N, *event) by scores (..., N), best first: (..., E, *event), (..., E)."""
    top = scores.topk(elites, dim=-1)
    event = candidates.shape[scores.dim() :]
    index = top.indices.reshape(*top.indices.shape, *[1] * len(event)).expand(*top.indices.shape, *event)
    return candidates.gather(scores.dim() - 1, index), top.values


def best_of(plans: Tensor, scores: Tensor, elites: int) -> Plan:
    """The ``elites`` best of plans (W, N, L, A) by scores (W, N); the best is the plan, their average the mean."""
    chosen, values = select(plans, scores, elites)  # (W, E, L, A) and (W, E)
    return Plan(chosen[:, 0], values[:, 0], chosen.mean(dim=1), chosen)


class GradientPlanner:
    """Plans by gradient ascent through the model: the score must be differentiable, and its slope must say something.

    Adam on ``candidates`` plans at once, which start from the warm start and noise around it, projected into the action
    range after each step. A slope that is not finite counts as zero. The best plan on the way is returned, not the
    last: a step of Adam is about ``rate`` long however near the top is, and can end below the warm start.
    """

    def __init__(
        self,
        horizon: int,
        action_dim: int,
        candidates: int = 8,
        iterations: int = 10,
        rate: float = 0.1,
        init_std: float = 0.5,
        low: float = -1.0,
        high: float = 1.0,
    ) -> None:
        if min(horizon, action_dim, candidates, iterations) < 1 or not low < high:
            raise ValueError("GradientPlanner needs sizes of at least 1, and low < high.")
        self.shape, self.candidates, self.iterations = (horizon, action_dim), candidates, iterations
        self.rate, self.init_std, self.low, self.high = rate, init_std, low, high

    def plan(
        self, score: Score, warm: Plan | None = None, worlds: int = 1, generator: torch.Generator | None = None
    ) -> Plan:
        device = generator.device if generator else None
        noise = torch.randn((worlds, self.candidates, *self.shape), generator=generator, device=device)
        noise[:, 0] = 0
        centre = (self.low + self.high) / 2 if warm is None else warm.actions[:, None]
        plans = (centre + self.init_std * (self.high - self.low) / 2 * noise).clamp(self.low, self.high)
        tried, scores = [], []
        with torch.enable_grad():  # also inside a caller's no_grad
            plans.requires_grad_()
            optimizer = torch.optim.Adam([plans], lr=self.rate, maximize=True)
            for _ in range(self.iterations):
                value = score(plans)
                tried.append(plans.detach().clone())
                scores.append(value.detach())
                (gradient,) = torch.autograd.grad(value.sum(), plans)
                plans.grad = gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
                optimizer.step()
                with torch.no_grad():
                    plans.clamp_(self.low, self.high)
        with torch.no_grad():
            tried.append(plans.detach())
            scores.append(score(tried[-1]))
        return best_of(torch.cat(tried, dim=1), finite_scores(torch.cat(scores, dim=1)), elites=1)


def riccati(a: Tensor, b: Tensor, q: Tensor, r: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
    """The linear-quadratic regulator by dynamic programming: the exact answer that a planner must approach.

    Minimises Σ_{t<L} (s_tᵀ Q s_t + u_tᵀ R u_t) + s_Lᵀ Q s_L for s_{t+1} = A s_t + B u_t. ``a`` (S, S), ``b`` (S, U),
    ``q`` (S, S), ``r`` (U, U), both symmetric, R positive definite. Returns gains K (L, U, S), with u_t = -K_t s_t, and
    values P (L+1, S, S), with s_tᵀ P_t s_t the cost from t on. Raises ValueError for a horizon below 1.
    Source: Bertsekas, *Dynamic Programming and Optimal Control*, vol. I, §3.1.
    """
    if horizon < 1:
        raise ValueError(f"The horizon must be at least 1, not {horizon}.")
    gains: list[Tensor] = []
    values = [q]
    for _ in range(horizon):  # from the end to the start
        p = values[0]
        gain = torch.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
        values.insert(0, q + a.T @ p @ (a - b @ gain))
        gains.insert(0, gain)
    return torch.stack(gains), torch.stack(values)
