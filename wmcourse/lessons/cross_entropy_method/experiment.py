"""Lesson 10's experiments: two landscapes, a rare event, six planners on Gymnasium's pendulum, and Dodge itself.

Populations are (W, N, L, A) as everywhere: W searches side by side, N candidates, and a point of D dimensions is a plan
of L = D steps with one number each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from wmcourse.cross_entropy_method import CEM, correlated_noise
from wmcourse.engine.players import OraclePlanner
from wmcourse.engine.runs import Config
from wmcourse.lessons.pendulum import STEPS, TORQUE, pendulum_score
from wmcourse.lessons.threads import one_thread
from wmcourse.model_predictive_control import (
    GradientPlanner,
    Plan,
    Planner,
    RandomShooting,
    Score,
    best_of,
    finite_scores,
    shift_plan,
)
from wmcourse.world_models_training import evaluate
from wmcourse.worlds import DodgeVectorEnv
from wmcourse.worlds.dodge import NOWHERE, SIZE, DodgeState, Rules, advance, begin

Update = Callable[..., tuple[Tensor, Tensor]]  # cem_update
Search = Callable[..., Plan]  # cem_plan


# --- Two landscapes


def rosenbrock(points: Tensor) -> Tensor:
    """A bent valley: highest, 0, where all coordinates are 1. Points (..., D, 1) -> (...). Source: Rosenbrock (1960)."""
    x = points[..., 0]
    return -(100 * (x[..., 1:] - x[..., :-1].square()).square() + (1 - x[..., :-1]).square()).sum(dim=-1)


def rastrigin(points: Tensor) -> Tensor:
    """A bowl full of waves: highest, 0, at 1 in all coordinates (the usual one has its top at 0)."""
    x = points[..., 0] - 1
    return -(x.square() + 10 - 10 * torch.cos(2 * math.pi * x)).sum(dim=-1)


LANDSCAPES = {"Rosenbrock": rosenbrock, "Rastrigin": rastrigin}
RANGE = 3.0  # searches stay within ± this, in each coordinate


def compare(
    search: Search, landscape: str, dimension: int, rounds: int, candidates: int, alpha: float = 0.7, seeds: int = 200
) -> tuple[Tensor, Tensor]:
    """How far below the top CEM ends, and random search with as many evaluations, rounds × candidates: (S,) each.

    CEM starts anywhere in the range, with a std of half of it; random search draws uniformly from the range.
    """
    score, shape = LANDSCAPES[landscape], (seeds, candidates, dimension, 1)
    generator = torch.Generator().manual_seed(10 * dimension)

    def draw(mean: Tensor, std: Tensor) -> Tensor:
        plans = mean[:, None] + std[:, None] * torch.randn(shape, generator=generator)
        plans[:, 0] = mean
        return plans.clamp(-RANGE, RANGE)

    start = RANGE * (2 * torch.rand(seeds, dimension, 1, generator=generator) - 1)
    with one_thread(), torch.no_grad():
        found = search(score, draw, start, torch.full_like(start, RANGE / 2), rounds, candidates // 8, alpha)
        best = torch.full((seeds,), -torch.inf)
        for _ in range(rounds):  # in pieces: all at once would need too much memory
            best = torch.maximum(best, score(RANGE * (2 * torch.rand(shape, generator=generator) - 1)).amax(dim=1))
    return -Plan(*found).score, -best


def median_interval(values: Tensor) -> tuple[float, float, float]:
    """The median and a 95 % interval for it, from the order of the values alone (binomial)."""
    ordered, n = values.sort().values, len(values)
    half = 1.96 * math.sqrt(n) / 2
    low, high = math.floor(n / 2 - half), math.ceil(n / 2 + half)
    return float(values.quantile(0.5)), float(ordered[low]), float(ordered[min(high, n - 1)])


# --- A slope without a top


def walk_slope(
    update: Update, alpha: float, min_std: float = 0.0, rounds: int = 80, walks: int = 16, candidates: int = 10_000
) -> NDArray[np.float64]:
    """Searches on a straight slope, score = x, from mean 0 and std 1: mean and std of each, (rounds + 1, W, 2).

    A tenth is elite.
    """
    generator = torch.Generator().manual_seed(0)
    mean, std = torch.zeros(walks, 1, 1, dtype=torch.float64), torch.ones(walks, 1, 1, dtype=torch.float64)
    shape, walked = (walks, candidates, 1, 1), [np.tile((0.0, 1.0), (walks, 1))]
    with one_thread():
        for _ in range(rounds):
            x = mean[:, None] + std[:, None] * torch.randn(shape, generator=generator, dtype=torch.float64)
            mean, std = update(x, x[..., 0, 0], candidates // 10, mean, std, alpha, min_std)
            walked.append(torch.cat([mean[:, 0], std[:, 0]], dim=1).numpy())
    return np.stack(walked)


# --- A rare event, where the method comes from


def rare_event(
    level: float, samples: int = 1_000, elite: float = 0.1, seed: int = 0
) -> tuple[float, float, list[float]]:
    """P(x >= level) for x ~ N(0, 1): the estimate, its standard error, and the means on the way.

    Each round draws from N(mean, 1), takes the best tenth (never beyond the level), and moves the mean to *their* mean,
    weighted by how much likelier each sample is under N(0, 1). Then one large weighted sample gives the estimate.
    """
    rng, mean, means = np.random.default_rng(seed), 0.0, [0.0]

    def weight(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp(mean**2 / 2 - mean * x)  # N(x; 0, 1) / N(x; mean, 1)

    while True:
        x = rng.normal(mean, 1, samples)
        reached = min(float(np.quantile(x, 1 - elite)), level)
        elites = x[x >= reached]
        mean = float(np.average(elites, weights=weight(elites)))
        means.append(mean)
        if reached == level:
            break
    x = rng.normal(mean, 1, 10 * samples)
    terms = (x >= level) * weight(x)
    return float(terms.mean()), float(terms.std(ddof=1) / math.sqrt(len(terms))), means


# --- The pendulum

HORIZON = 20


@dataclass(frozen=True)
class Tools:
    """What the planners are made of: the learner's functions, or the course's until theirs have passed."""

    cem_update: Update
    cem_plan: Search
    first_plans: Callable[[Tensor, float, Tensor, float, float], Tensor]
    colour_noise: Callable[[Tensor, float], Tensor]
    icem_population: Callable[[Tensor, Tensor, int, int, float], Tensor]
    mppi_mean: Callable[[Tensor, Tensor, float], Tensor]


NAMES = ("random shooting", "CEM, white noise", "CEM, correlated", "iCEM", "MPPI", "gradient")

# From the score, the last plan (its first action is done), and a source of chance, to the next plan.
Decide = Callable[[Score, Plan, torch.Generator], Plan]

# One setting for all budgets: the best of a small grid with 16 plans a decision on 32 *other* episodes, swing_up(..., 32,
# 1000): std 0.8, 1.6, 3.2 (in the torque's own unit) for all but gradients; correlation 0.7, 0.9, 0.97; exponent 1, 2, 3;
# temperature 0.01, 0.1, 1, 10; rate 0.1, 0.3, 1, 2. Most differences in the grid are within the luck of 32 episodes.


def cem(tools: Tools, budget: int, std: float, correlation: float = 0.0, rounds: int = 2, warm: bool = True) -> Decide:
    """So many rounds, each with its share of the budget. In a single one nothing is fitted. Not ``warm``: from zeros."""
    each = budget // rounds

    def decide(score: Score, last: Plan, generator: torch.Generator) -> Plan:
        first = True
        last = last if warm else last._replace(actions=torch.zeros_like(last.actions))

        def draw(mean: Tensor, sigma: Tensor) -> Tensor:
            nonlocal first
            noise = correlated_noise((len(mean), each, HORIZON, 1), correlation, generator)
            if first:
                first = False
                return tools.first_plans(last.actions, std, noise, -TORQUE, TORQUE)
            plans = mean[:, None] + sigma[:, None] * noise
            plans[:, 0] = mean
            return plans.clamp(-TORQUE, TORQUE)

        mean = shift_plan(last.actions)
        sigma = torch.full_like(mean, std)
        return Plan(*tools.cem_plan(score, draw, mean, sigma, rounds, max(2, each // 8), 1.0, 0.1 * TORQUE))

    return decide


def icem(tools: Tools, budget: int, std: float = 3.2, exponent: float = 2.0, decay: float = 1.25) -> Decide:
    """Two rounds, with as many candidates as the budget has room for beside the elites that are kept."""

    def sizes(each: int) -> tuple[int, int, int]:
        elites = max(2, each // 8)
        kept = min(3, elites)
        return elites, kept, each + min(each, max(int(each / decay), 2 * elites)) + 2 * kept

    each = next(n for n in range(budget, 0, -1) if sizes(n)[2] <= budget)
    elites, kept, _ = sizes(each)

    def decide(score: Score, last: Plan, generator: torch.Generator) -> Plan:
        mean = shift_plan(last.actions)
        sigma, found = torch.full_like(mean, std), last
        for i in range(2):
            noise = tools.colour_noise(torch.randn((len(mean), each, HORIZON, 1), generator=generator), exponent)
            drawn = mean[:, None] + sigma[:, None] * noise
            if i == 1:
                drawn[:, 0] = mean  # worth trying once the search has settled
            old = found.elites.expand(-1, elites, -1, -1)  # at the very start there is only one, of zeros
            plans = tools.icem_population(drawn.clamp(-TORQUE, TORQUE), old, kept, i, decay)
            scores = finite_scores(score(plans))
            mean, sigma = tools.cem_update(plans, scores, elites, mean, sigma, 0.9, 0.0)
            found = best_of(plans, scores, elites)
        return found

    return decide


def mppi(tools: Tools, budget: int, std: float = 3.2, correlation: float = 0.9, temperature: float = 1.0) -> Decide:
    """One round; the plan is the weighted mean itself."""

    def decide(score: Score, last: Plan, generator: torch.Generator) -> Plan:
        noise = correlated_noise((len(last.actions), budget, HORIZON, 1), correlation, generator)
        plans = tools.first_plans(last.actions, std, noise, -TORQUE, TORQUE)
        scores = finite_scores(score(plans))
        return best_of(plans, scores, 1)._replace(actions=tools.mppi_mean(plans, scores, temperature))

    return decide


def of_lesson_09(planner: Planner) -> Decide:
    """Random shooting and gradient planning, as lesson 09 left them."""

    def decide(score: Score, last: Plan, generator: torch.Generator) -> Plan:
        return planner.plan(score, last.shifted(), len(last.actions), generator)

    return decide


def shooting(budget: int) -> Decide:
    return of_lesson_09(RandomShooting(HORIZON, 1, budget, low=-TORQUE, high=TORQUE))


def planners(tools: Tools, budget: int) -> dict[str, Decide]:
    """All six, each with ``budget`` plans a decision. Gradients: seven steps of Adam, scored before each and at the end."""
    adam = GradientPlanner(HORIZON, 1, budget // 8, 7, rate=0.3, low=-TORQUE, high=TORQUE)
    white, correlated = cem(tools, budget, 3.2), cem(tools, budget, 1.6, 0.9)
    all_six = (shooting(budget), white, correlated, icem(tools, budget), mppi(tools, budget), of_lesson_09(adam))
    return dict(zip(NAMES, all_six, strict=True))


@dataclass
class Returns:
    """What a planner got from each episode, (W,), and how many plans it had scored for each decision."""

    values: NDArray[np.float64]
    evaluations: float

    def interval(self, other: NDArray[np.float64] | float = 0.0) -> tuple[float, float]:
        """The mean over episodes of the return less ``other``, and half of its 95 % interval (normal)."""
        apart = self.values - other
        return float(apart.mean()), float(1.96 * apart.std(ddof=1) / math.sqrt(len(apart)))


def swing_up(decide: Decide, episodes: int = 32, seed: int = 0) -> Returns:
    """Play the real ``Pendulum-v1``: what is planned with is the model in torch, from the state that is observed."""
    worlds = gym.make_vec("Pendulum-v1", num_envs=episodes, vectorization_mode="sync")
    observed, _ = worlds.reset(seed=seed)
    nothing = torch.zeros(episodes, HORIZON, 1)
    plan, generator = (
        Plan(nothing, torch.zeros(episodes), nothing, nothing[:, None]),
        torch.Generator().manual_seed(seed),
    )
    total, scored = np.zeros(episodes), 0
    with one_thread():
        for _ in range(STEPS):
            cosine, sine, velocity = torch.from_numpy(observed).unbind(dim=1)
            score = pendulum_score((torch.atan2(sine, cosine), velocity))

            def counted(plans: Tensor, score: Score = score) -> Tensor:
                nonlocal scored
                scored += plans.shape[1]
                return score(plans)

            plan = decide(counted, plan, generator)
            observed, reward, *_ = worlds.step(plan.actions[:, 0].numpy())
            total += reward
    worlds.close()
    return Returns(total, scored / STEPS)


def swing_up_table(
    tools: Tools, budgets: tuple[int, ...], show: Callable[[dict[str, dict[int, Returns]]], None]
) -> dict[str, dict[int, Returns]]:
    """The returns of all planners from the same starts, by name and budget; ``show`` sees each as it comes."""
    results: dict[str, dict[int, Returns]] = {}
    runs = [(budget, *item) for budget in budgets for item in planners(tools, budget).items()]
    for budget, name, decide in tqdm(runs, desc="swing-ups", unit="planner"):
        results.setdefault(name, {})[budget] = swing_up(decide)
        show(results)
    return results


def shortfall(results: dict[str, dict[int, Returns]]) -> dict[str, dict[int, tuple[float, float, float]]]:
    """How far each stays below the best that *any* planner got from the same start.

    The mean, half of its 95 % interval, and the most that was lacking in one episode.
    """
    best = np.max([r.values for row in results.values() for r in row.values()], axis=0)
    return {
        name: {b: (*r.interval(best), float((best - r.values).max())) for b, r in row.items()}
        for name, row in results.items()
    }


# --- Dodge


@dataclass
class Fan:
    """One population in Dodge: where each of N plans would take the agent, and whether it gets there."""

    title: str
    x: NDArray[np.float32]  # (N, L + 1), pixels
    alive: NDArray[np.bool_]  # (N,)


def dodge_fans(search: Search, correlation: float, rounds: int = 3) -> tuple[list[Fan], NDArray[np.float32]]:
    """The populations of one search at one moment of Dodge, and when and where a hazard is at the agent's height.

    The second is (n, 2): steps ahead, and the hazard's column.
    """
    rng, state = np.random.default_rng(17), begin(np.array([17], np.uint64))
    action = 0.0
    for _ in range(23):  # random play, each push held for ten steps on average
        action = rng.uniform(-1, 1) if rng.random() < 0.1 else action
        advance(state, np.array([action], np.float32))
    planner = CEM(12, 1, 64, correlation=correlation)
    fans: list[Fan] = []

    def score(plans: Tensor) -> Tensor:
        worlds = state.take(np.zeros(plans.shape[1], np.int64))
        alive, x, survived = np.ones(plans.shape[1], bool), [worlds.x], np.zeros(plans.shape[1], np.float32)
        for throttle in plans[0, :, :, 0].numpy().T:
            alive &= ~advance(worlds, throttle)
            survived += alive
            x.append(worlds.x)
        fans.append(Fan(f"round {len(fans) + 1}", np.stack(x, axis=1), alive))
        return torch.from_numpy(survived)[None] - 0.05 * plans.square().mean(dim=(2, 3))

    generator = torch.Generator().manual_seed(0)
    mean, std = planner.start(None, 1, generator)
    search(score, lambda mean, std: planner.draw(mean, std, 64, generator), mean, std, rounds, 8, 1.0, planner.min_std)
    return fans, danger(state.copy())


def danger(state: DodgeState, steps: int = 12) -> NDArray[np.float32]:
    """When (steps ahead) and where (column) a hazard is at the agent's height: (n, 2)."""
    rules, found = Rules(), []
    for t in range(1, steps + 1):
        advance(state, np.zeros(1, np.float32))
        low = np.abs(state.hazard_y[0] - (SIZE - rules.agent[1] / 2)) < (rules.agent[1] + rules.hazard) / 2
        found += [(t, x) for x in state.hazard_x[0][low & (state.hazard_y[0] < NOWHERE)]]
    return np.array(found, np.float32).reshape(-1, 2)


def dodge_return(planner: Planner, episodes: int = 100) -> tuple[float, float, float]:
    """Mean return on Dodge with its true dynamics, and the 95 % interval. The forks to come are not known in advance."""
    world = DodgeVectorEnv(episodes)
    agent = OraclePlanner(world, Config(horizon=12), clairvoyant=False, planner=planner)
    with one_thread():
        result = evaluate(agent, world, episodes, 20_000, None)
    return result.mean, *result.ci95


def dodge_planners(budget: int = 24) -> dict[str, CEM]:
    """CEM with ``budget`` plans a decision: which noise, and in how many rounds.

    White noise gets the wide std that suits it (benchmarks/planners.py).
    """
    kinds = {"white noise": (0.0, 2.0), "correlated noise": (0.95, 0.8)}
    found = {}
    for kind, (correlation, std) in kinds.items():
        for rounds in (1, 3):
            each = budget // rounds
            name = f"{kind}, {rounds} round{'s' * (rounds > 1)} of {each}"
            elites = max(1, int(0.35 * each))
            found[name] = CEM(12, 1, each, rounds, elites, init_std=std, correlation=correlation)
    return found


class Buttons:
    """Three buttons in place of a stick: full left, nothing, full right; a table of probabilities for each step.

    The plan's ``mean`` is that table, (W, L, 3), which is shifted with the rest.
    """

    pushes = torch.tensor([-1.0, 0.0, 1.0])

    def __init__(self, update: Callable[..., Tensor], candidates: int = 8, rounds: int = 3, elites: int = 2) -> None:
        self.update, self.candidates, self.rounds, self.elites = update, candidates, rounds, elites

    def plan(
        self, score: Score, warm: Plan | None = None, worlds: int = 1, generator: torch.Generator | None = None
    ) -> Plan:
        p = torch.full((worlds, 12, 3), 1 / 3)
        if warm is not None:
            p = 0.5 * p + 0.5 * warm.mean  # half of what was known, half open
        best = None if warm is None else warm.actions
        for _ in range(self.rounds):
            rows = p[:, None].expand(-1, self.candidates, -1, -1).reshape(-1, 3)
            chosen = torch.multinomial(rows, 1, generator=generator).view(worlds, self.candidates, 12)
            if best is not None:
                chosen[:, 0] = best[..., 0].long() + 1
            plans = self.pushes[chosen][..., None]
            scores = finite_scores(score(plans))
            p = self.update(torch.nn.functional.one_hot(chosen, 3).float(), scores, self.elites, p, 0.8, 0.05)
            found = best_of(plans, scores, self.elites)
            best = found.actions
        return found._replace(mean=p)
