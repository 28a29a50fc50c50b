"""Lesson 10's experiments: two landscapes, a rare event, Gymnasium's pendulum as a model in torch, and Dodge itself.

Populations are (W, N, L, A) as everywhere: W searches side by side, N candidates, and a point of D dimensions is a plan
of L = D steps with one number each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from wmcourse.cross_entropy_method import CEM, ICEM, MPPI
from wmcourse.engine.players import OraclePlanner
from wmcourse.engine.runs import Config
from wmcourse.model_predictive_control import (
    MPC,
    GradientPlanner,
    Plan,
    Planner,
    RandomShooting,
    Score,
    State,
)
from wmcourse.world_models_training import evaluate
from wmcourse.worlds import DodgeVectorEnv
from wmcourse.worlds.dodge import NOWHERE, SIZE, DodgeState, Rules, advance, begin

Update = Callable[..., tuple[Tensor, Tensor]]  # cem_update
Search = Callable[..., Plan]  # cem_plan


@contextmanager
def one_thread() -> Iterator[None]:
    """So small that more threads gain nothing, and the numbers are the same on any machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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
    search: Search, landscape: str, dimension: int, evaluations: int, iterations: int = 20, alpha: float = 0.7, seeds: int = 200
) -> tuple[Tensor, Tensor]:
    """How far below the top CEM ends, and how far random search does, with the same number of evaluations: (S,) each.

    CEM starts anywhere in the range, with a std of half of it; random search draws uniformly from the range.
    """
    score, shape = LANDSCAPES[landscape], (seeds, evaluations // iterations, dimension, 1)
    generator = torch.Generator().manual_seed(10 * dimension)

    def draw(mean: Tensor, std: Tensor) -> Tensor:
        plans = mean[:, None] + std[:, None] * torch.randn(shape, generator=generator)
        plans[:, 0] = mean
        return plans.clamp(-RANGE, RANGE)

    start = RANGE * (2 * torch.rand(seeds, dimension, 1, generator=generator) - 1)
    with one_thread(), torch.no_grad():
        found = search(score, draw, start, torch.full_like(start, RANGE / 2), iterations, max(2, shape[1] // 8), alpha)
        best = torch.full((seeds,), -torch.inf)
        for _ in range(iterations):  # in pieces: all at once would need too much memory
            best = torch.maximum(best, score(RANGE * (2 * torch.rand(shape, generator=generator) - 1)).amax(dim=1))
    return -found.score, -best


def median_interval(values: Tensor) -> tuple[float, float, float]:
    """The median and a 95 % interval for it, from the order of the values alone (binomial)."""
    ordered, n = values.sort().values, len(values)
    half = 1.96 * math.sqrt(n) / 2
    low, high = math.floor(n / 2 - half), math.ceil(n / 2 + half)
    return float(values.quantile(0.5)), float(ordered[low]), float(ordered[min(high, n - 1)])


# --- A slope without a top


def walk_slope(update: Update, alpha: float, min_std: float, rounds: int, candidates: int = 20_000) -> NDArray[np.float64]:
    """The mean and the std on a straight slope, score = x, from mean 0 and std 1: (rounds + 1, 2). A tenth is elite."""
    generator = torch.Generator().manual_seed(0)
    mean, std = torch.zeros(1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, dtype=torch.float64)
    walked = [(0.0, 1.0)]
    for _ in range(rounds):
        x = mean[:, None] + std[:, None] * torch.randn(1, candidates, 1, 1, generator=generator, dtype=torch.float64)
        mean, std = update(x, x[..., 0, 0], candidates // 10, mean, std, alpha, min_std)
        walked.append((float(mean), float(std)))
    return np.array(walked)


# --- A rare event, where the method comes from


def rare_event(level: float, samples: int = 1_000, elite: float = 0.1, seed: int = 0) -> tuple[float, float, list[float]]:
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

SPEED, TORQUE, SECONDS = 8.0, 2.0, 0.05  # its limits, and the length of a step
HORIZON, STEPS = 20, 200


def pendulum_cost(angle: Tensor, velocity: Tensor) -> Tensor:
    """What a state costs: 0 upright and at rest."""
    upright = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    return upright.square() + 0.1 * velocity.square()


def pendulum_motion(angle: Tensor, velocity: Tensor, torque: Tensor) -> tuple[Tensor, Tensor]:
    """One step of gravity and torque (within its limits), each (B,): the next angle and velocity."""
    velocity = (velocity + 15 * SECONDS * torch.sin(angle) + 3 * SECONDS * torque).clamp(-SPEED, SPEED)
    return angle + SECONDS * velocity, velocity


def pendulum_step(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
    """Gymnasium's ``Pendulum-v1`` for B pendulums: (angle, velocity), each (B,), and torques (B, 1) -> the next state,
    r_{t+1} and P(done), 0. The reward charges the state that is left and the torque.
    """
    torque = action[:, 0].clamp(-TORQUE, TORQUE)
    reward = -(pendulum_cost(*state) + 0.001 * torque.square())
    return pendulum_motion(*state, torque), reward, torch.zeros_like(reward)


def pendulum_score(state: State) -> Score:
    """Plans (W, N, L, 1) -> their returns (W, N) from ``state``, two (W,), the last state's cost included.

    What ``score_plans(pendulum_step, ...)`` would say, without its chances to die, and costs added up in one go.
    """

    def score(plans: Tensor) -> Tensor:
        torques = plans[..., 0].clamp(-TORQUE, TORQUE)
        angle, velocity = (part[:, None].expand(plans.shape[:2]) for part in state)
        angles, velocities = [angle], [velocity]
        for torque in torques.unbind(dim=-1):
            angle, velocity = pendulum_motion(angle, velocity, torque)
            angles.append(angle)
            velocities.append(velocity)
        costs = pendulum_cost(torch.stack(angles), torch.stack(velocities)).sum(dim=0)
        return -costs - 0.001 * torques.square().sum(dim=-1)

    return score


# One setting for all budgets: the best of a small grid with 16 plans a decision, on other episodes than those measured.


def cem(budget: int, init_std: float, correlation: float = 0.0) -> Planner:
    each = budget // 2
    elites = max(2, each // 8)
    return CEM(
        HORIZON, 1, each, 2, elites, init_std=init_std, correlation=correlation, low=-TORQUE, high=TORQUE
    )


def icem(budget: int) -> Planner:
    """As many candidates as the budget has room for beside the elites that are kept."""
    for each in range(budget, 0, -1):
        elites = max(2, each // 8)
        planner = ICEM(HORIZON, 1, each, 2, elites, exponent=2.0, kept=min(3, elites), low=-TORQUE, high=TORQUE)
        if planner.population(0) + planner.population(1) + 2 * planner.kept <= budget:
            break
    return planner


def gradient(budget: int) -> Planner:
    """Plans that each take seven steps of Adam, scored before each and once more at the end."""
    return GradientPlanner(HORIZON, 1, budget // 8, 7, rate=1.0, low=-TORQUE, high=TORQUE)


PLANNERS: dict[str, Callable[[int], Planner]] = {
    "random shooting": lambda budget: RandomShooting(HORIZON, 1, budget, low=-TORQUE, high=TORQUE),
    "CEM, white noise": lambda budget: cem(budget, 1.6),
    "CEM, correlated": lambda budget: cem(budget, 0.8, 0.9),
    "iCEM": icem,
    "MPPI": lambda budget: MPPI(
        HORIZON, 1, budget, 1, temperature=0.1, init_std=0.8, correlation=0.9, low=-TORQUE, high=TORQUE
    ),
    "gradient": gradient,
}


@dataclass
class Returns:
    """What a planner got from each episode, (W,), and how many plans it had scored for each decision."""

    values: NDArray[np.float64]
    evaluations: float

    def interval(self, other: NDArray[np.float64] | float = 0.0) -> tuple[float, float]:
        """The mean over episodes of the return less ``other``, and half of its 95 % interval (normal)."""
        apart = self.values - other
        return float(apart.mean()), float(1.96 * apart.std(ddof=1) / math.sqrt(len(apart)))


def swing_up(planner: Planner, episodes: int = 32, seed: int = 0) -> Returns:
    """Play the real ``Pendulum-v1``: what is planned with is ``pendulum_step``, from the state that is observed."""
    worlds = gym.make_vec("Pendulum-v1", num_envs=episodes, vectorization_mode="sync")
    observed, _ = worlds.reset(seed=seed)
    mpc, generator = MPC(planner), torch.Generator().manual_seed(seed)
    total, scored = np.zeros(episodes), 0
    with one_thread():
        for _ in range(STEPS):
            cosine, sine, velocity = torch.from_numpy(observed).unbind(dim=1)
            score = pendulum_score((torch.atan2(sine, cosine), velocity))

            def counted(plans: Tensor, score: Score = score) -> Tensor:
                nonlocal scored
                scored += plans.shape[1]
                return score(plans)

            observed, reward, *_ = worlds.step(mpc.act(counted, episodes, generator).numpy())
            total += reward
    worlds.close()
    return Returns(total, scored / STEPS)


def swing_up_table(
    budgets: tuple[int, ...], show: Callable[[dict[str, dict[int, Returns]]], None]
) -> dict[str, dict[int, Returns]]:
    """The returns of all planners from the same starts, by name and budget; ``show`` sees each as it comes."""
    results: dict[str, dict[int, Returns]] = {name: {} for name in PLANNERS}
    for name, budget in tqdm([(n, b) for b in budgets for n in PLANNERS], desc="swing-ups", unit="planner"):
        results[name][budget] = swing_up(PLANNERS[name](budget))
        show(results)
    return results


def shortfall(results: dict[str, dict[int, Returns]]) -> dict[str, dict[int, tuple[float, float]]]:
    """How far each stays below the best that *any* planner got from the same start: mean and half of the 95 % interval."""
    best = np.max([r.values for row in results.values() for r in row.values()], axis=0)
    return {name: {b: r.interval(best) for b, r in row.items()} for name, row in results.items()}


def apart_from_gymnasium(steps: int = 2_000, seed: int = 0) -> tuple[float, float]:
    """The largest difference of ``pendulum_step`` from ``Pendulum-v1``, in the state's numbers and in the reward."""
    env, rng = gym.make("Pendulum-v1").unwrapped, np.random.default_rng(seed)
    env.reset(seed=seed)
    state_apart = reward_apart = 0.0
    for _ in range(steps):
        start, torque = rng.uniform((-10, -8), (10, 8)), rng.uniform(-3, 3, 1)
        env.state = start
        _, reward, *_ = env.step(torque)
        state = tuple(torch.from_numpy(start[k : k + 1]) for k in (0, 1))
        after, mine, _ = pendulum_step(state, torch.from_numpy(torque)[None])
        state_apart = max(state_apart, *(abs(float(after[k]) - env.state[k]) for k in (0, 1)))
        reward_apart = max(reward_apart, abs(float(mine) - float(reward)))
    return state_apart, reward_apart


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


def dodge_return(correlation: float, iterations: int, budget: int = 24, episodes: int = 100) -> tuple[float, float, float]:
    """Mean return on Dodge with its true dynamics, and the 95 % interval, of CEM with ``budget`` plans a decision.

    White noise gets the wide std that suits it (benchmarks/planners.py).
    """
    each = budget // iterations
    std = 0.8 if correlation else 2.0
    planner = CEM(12, 1, each, iterations, max(1, int(0.35 * each)), init_std=std, correlation=correlation)
    world = DodgeVectorEnv(episodes)
    agent = OraclePlanner(world, Config(horizon=12), clairvoyant=False, planner=planner)
    with one_thread():
        result = evaluate(agent, world, episodes, 20_000, None)
    return result.mean, *result.ci95
