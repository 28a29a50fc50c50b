"""Lesson 09's experiments: a linear world with an exact answer, Gymnasium's pendulum, wrong models, and Dodge."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from wmcourse.engine.players import OraclePlanner, RandomAgent
from wmcourse.engine.runs import Config
from wmcourse.lessons.pendulum import SECONDS, SPEED, STEPS, TORQUE, pendulum_cost, pendulum_motion, pendulum_score
from wmcourse.lessons.threads import one_thread
from wmcourse.model_predictive_control import GradientPlanner, Plan, RandomShooting, Score, State
from wmcourse.world_models_training import evaluate
from wmcourse.worlds import ActionCode, DodgeVectorEnv
from wmcourse.worlds.dodge import NOWHERE, SIZE, DodgeState, Rules, advance, begin

Shoot = Callable[..., tuple[Tensor, Tensor]]
Loop = Callable[..., tuple[Tensor, Tensor]]
Values = NDArray[np.float64]


def interval(values: Values, other: Values | float = 0.0) -> tuple[float, float]:
    """The mean of ``values - other`` (paired where both are episodes), and half of its 95 % interval (normal)."""
    apart = np.asarray(values, np.float64) - other
    return float(apart.mean()), float(1.96 * apart.std(ddof=1) / math.sqrt(len(apart)))


# --- A linear world, whose best plan is known exactly


def upright() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A, B, Q, R of ``Pendulum-v1`` near its upright rest, where sin θ is θ: s = (angle, velocity), u = torque."""
    a = torch.tensor([[1 + 15 * SECONDS**2, SECONDS], [15 * SECONDS, 1.0]], dtype=torch.float64)
    b = torch.tensor([[3 * SECONDS**2], [3 * SECONDS]], dtype=torch.float64)
    return a, b, torch.diag(torch.tensor([1.0, 0.1], dtype=torch.float64)), torch.tensor([[0.001]], dtype=torch.float64)


UPRIGHT = upright()


def linear_step(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
    """The linear world as ``score_plans`` takes it: the reward charges the state that is left, and the torque."""
    a, b, q, r = UPRIGHT
    (s,) = state
    cost = ((s @ q) * s).sum(dim=-1) + ((action @ r) * action).sum(dim=-1)
    return (s @ a.T + action @ b.T,), -cost, torch.zeros_like(cost)


def quadratic(p: Tensor) -> Callable[[State], Tensor]:
    """The value -sᵀPs of a state, to be put where a plan ends."""
    return lambda state: -((state[0] @ p) * state[0]).sum(dim=-1)


Decide = Callable[[Tensor, Tensor | None], Tensor]  # states (W, 2) and the last plan -> a plan (W, L, 1)
Scorer = Callable[..., Tensor]  # score_plans


def exactly(gains: Tensor) -> Decide:
    """The best first action of as many steps as there are gains."""
    return lambda s, last: -(s @ gains[0].T)[:, None]


def by_dice(
    shoot: Shoot, shift: Callable[[Tensor], Tensor], score: Scorer, horizon: int, plans: int, end: Tensor
) -> Decide:
    """Random shooting on the linear world, the last plan among the throws; the last state costs sᵀ·end·s."""
    generator = torch.Generator().manual_seed(1)

    def decide(s: Tensor, last: Tensor | None) -> Tensor:
        dice = torch.rand(len(s), plans, horizon, 1, generator=generator, dtype=s.dtype)
        if last is not None:
            dice[:, 0] = (shift(last) + TORQUE) / (2 * TORQUE)
        value = lambda p: score(linear_step, (s,), p, terminal_value=quadratic(end))  # noqa: E731
        return shoot(value, dice, -TORQUE, TORQUE)[0]

    return decide


def by_climbing(
    climb: Shoot, shift: Callable[[Tensor], Tensor], score: Scorer, horizon: int, rounds: int, rate: float, end: Tensor
) -> Decide:
    """Gradient ascent on the linear world from the last plan, shifted; the last state costs sᵀ·end·s."""

    def decide(s: Tensor, last: Tensor | None) -> Tensor:
        start = s.new_zeros(len(s), horizon, 1) if last is None else shift(last)
        value = lambda p: score(linear_step, (s,), p, terminal_value=quadratic(end))  # noqa: E731
        return climb(value, start[:, None], rate, rounds, -TORQUE, TORQUE)[0]

    return decide


def regret(decide: Decide, p: Tensor, steps: int = 80, starts: int = 100) -> Values:
    """What a planner's closed loop costs above the best possible, as a share of what the best costs on average: (starts,).

    P is that of an endless horizon. The starts are so near upright that the motor's limit does not matter to the best.
    """
    a, b, q, r = UPRIGHT
    generator = torch.Generator().manual_seed(0)
    s = (2 * torch.rand(starts, 2, generator=generator, dtype=torch.float64) - 1) * torch.tensor([0.05, 0.1])
    best, cost, last = ((s @ p) * s).sum(dim=-1), torch.zeros(starts, dtype=torch.float64), None
    with one_thread():
        for _ in range(steps):
            last = decide(s, last)
            u = last[:, 0]
            cost += ((s @ q) * s).sum(dim=-1) + ((u @ r) * u).sum(dim=-1)
            s = s @ a.T + u @ b.T
    cost += ((s @ p) * s).sum(dim=-1)  # from there on as well as can be
    return ((cost - best) / best.mean()).numpy()


def wander(a: float, bk: float, sigma: float, steps: int, runs: int = 20_000) -> Values:
    """s' = (a - bk)·s + w from 0, w ~ N(0, sigma²): where each of the runs is after ``steps`` steps."""
    rng, s = np.random.default_rng(0), np.zeros(runs)
    for _ in range(steps):
        s = (a - bk) * s + rng.normal(0, sigma, runs)
    return s


def variance(values: Values) -> tuple[float, float]:
    """Their variance around 0, and its standard error."""
    squares = values**2
    return float(squares.mean()), float(squares.std(ddof=1) / math.sqrt(len(squares)))


# --- The real pendulum


class Pendulums:
    """``Pendulum-v1``, W of them: torques (W, 1) -> what is seen, (W, 2) angles and velocities, and rewards (W,)."""

    def __init__(self, seeds: Sequence[int], motor_noise: float = 0.0) -> None:
        self.worlds = gym.make_vec("Pendulum-v1", num_envs=len(seeds), vectorization_mode="sync")
        observed, _ = self.worlds.reset(seed=list(seeds))  # type: ignore[arg-type]
        self.seen, self.motor_noise = self.read(observed), motor_noise
        # One stream for each seed: who starts in the same place meets the same noise, whatever is compared.
        unique = {seed: np.random.default_rng(seed + 1).normal(size=STEPS) for seed in set(seeds)}
        self.noise = np.stack([unique[seed] for seed in seeds])
        self.time = 0

    def read(self, observed: NDArray[np.float32]) -> Tensor:
        cosine, sine, velocity = torch.from_numpy(observed).unbind(dim=1)
        return torch.stack([torch.atan2(sine, cosine), velocity], dim=1)

    def __call__(self, torque: Tensor) -> tuple[Tensor, Tensor]:
        noise = self.motor_noise * self.noise[:, self.time, None]
        observed, reward, *_ = self.worlds.step(torque.numpy() + noise.astype(np.float32))
        self.time += 1
        self.seen = self.read(observed)
        return self.seen, torch.from_numpy(np.asarray(reward))


def nothing(memory: Tensor, seen: Tensor, action: Tensor) -> Tensor:
    """Who sees angle and velocity needs no memory."""
    return memory


@dataclass
class SwingUp:
    """What one way to plan got from each episode, and how long a decision took for all of them together."""

    horizon: int
    candidates: int
    returns: Values  # (W,)
    milliseconds: float


def swing_up(
    loop: Loop, shoot: Shoot, horizon: int, candidates: int, warm: bool = True, episodes: int = 100, seed: int = 0
) -> SwingUp:
    """Random shooting in a receding horizon on the real ``Pendulum-v1``, ``episodes`` of 200 steps from fixed starts."""
    world, generator = Pendulums(range(seed, seed + episodes)), torch.Generator().manual_seed(seed)
    spent = 0.0

    def search(seen: Tensor, memory: Tensor, last: Tensor | None) -> Tensor:
        nonlocal spent
        started = time.thread_time()
        dice = torch.rand(episodes, candidates, horizon, 1, generator=generator)
        if last is not None and warm:
            dice[:, 0] = (last + TORQUE) / (2 * TORQUE)  # the old plan takes the place of one throw
        plan, _ = shoot(pendulum_score((seen[:, 0], seen[:, 1])), dice, -TORQUE, TORQUE)
        spent += time.thread_time() - started
        return plan

    with one_thread(), torch.no_grad():
        _, total = loop(search, nothing, world, world.seen, torch.zeros(episodes, 0), STEPS)
    return SwingUp(horizon, candidates, total.double().numpy(), 1_000 * spent / STEPS)


def sweep(
    loop: Loop,
    shoot: Shoot,
    settings: Sequence[tuple[int, int, bool]],
    show: Callable[[dict[tuple[int, int, bool], SwingUp]], None],
) -> dict[tuple[int, int, bool], SwingUp]:
    """``swing_up`` for each (horizon, candidates, warm); ``show`` sees the results as they come."""
    results: dict[tuple[int, int, bool], SwingUp] = {}
    for setting in tqdm(settings, desc="swing-ups", unit="setting"):
        if setting not in results:
            results[setting] = swing_up(loop, shoot, *setting)
            show(results)
    return results


# --- Models that are wrong


def wrong_score(state: State, gravity: Tensor) -> Score:
    """``pendulum_score`` by a model whose gravity is wrong by a factor, (W,): one for each pendulum."""
    factor = 15 * SECONDS * gravity[:, None]

    def score(plans: Tensor) -> Tensor:
        torques = plans[..., 0].clamp(-TORQUE, TORQUE)
        angle, velocity = (part[:, None].expand(plans.shape[:2]) for part in state)
        angles, velocities = [angle], [velocity]
        for torque in torques.unbind(dim=-1):
            velocity = (velocity + factor * torch.sin(angle) + 3 * SECONDS * torque).clamp(-SPEED, SPEED)
            angle = angle + SECONDS * velocity
            angles.append(angle)
            velocities.append(velocity)
        costs = pendulum_cost(torch.stack(angles), torch.stack(velocities)).sum(dim=0)
        return -costs - 0.001 * torques.square().sum(dim=-1)

    return score


def replan(errors: Sequence[float], every: int, motor_noise: float, episodes: int = 100) -> Values:
    """Returns (errors, episodes) on ``Pendulum-v1`` of plans of 20 steps, of which ``every`` are done before the next.

    Planned by gradients through a model whose gravity is wrong by the factor 1 + error.
    """
    world = Pendulums([seed for _ in errors for seed in range(episodes)], motor_noise)
    gravity = torch.tensor(errors, dtype=torch.float32).add(1).repeat_interleave(episodes)
    planner = GradientPlanner(20, 1, candidates=4, iterations=7, rate=1.0, low=-TORQUE, high=TORQUE)
    generator, seen = torch.Generator().manual_seed(0), world.seen
    total, plan = torch.zeros(len(seen), dtype=torch.float64), None
    with one_thread():
        for t in range(STEPS):
            if t % every == 0:
                plan = planner.plan(wrong_score((seen[:, 0], seen[:, 1]), gravity), plan, len(seen), generator)
            assert plan is not None
            seen, reward = world(plan.actions[:, 0])
            plan = plan.shifted()  # carried on, or where the next search begins
            total += reward
    return total.view(len(errors), episodes).numpy()


# --- One swing-up, and all of its plans


@dataclass
class Swing:
    """One swing-up from hanging: (angle, velocity) along the paths, 2π is upright as well as 0."""

    closed: Values  # (T + 1, 2) planned anew at each step
    plans: Values  # (T, L + 1, 2) what each plan foresaw
    opened: Values  # (T + 1, 2) the first long plan, carried out to its end
    foreseen: Values  # (M + 1, 2) what that one foresaw


def follow(angle: Tensor, velocity: Tensor, torques: Tensor, gravity: Tensor) -> Tensor:
    """(W,) and torques (W, L) -> (W, L + 1, 2), by a model whose gravity is wrong by a factor (W,)."""
    path = [torch.stack([angle, velocity], dim=-1)]
    for torque in torques.clamp(-TORQUE, TORQUE).unbind(dim=1):
        velocity = (velocity + 15 * SECONDS * gravity * torch.sin(angle) + 3 * SECONDS * torque).clamp(-SPEED, SPEED)
        angle = angle + SECONDS * velocity
        path.append(torch.stack([angle, velocity], dim=-1))
    return torch.stack(path, dim=1)


def swings(
    errors: Sequence[float], noises: Sequence[float], steps: int = 90, horizon: int = 40, whole: int = 60
) -> dict[tuple[float, float], Swing]:
    """One swing-up for each error of the model's gravity and each std of the motor's noise, with the same noise.

    Both loops begin with the same plan of ``whole`` steps; the closed one looks ``horizon`` steps ahead from there on.
    """
    keys = [(error, noise) for error in errors for noise in noises]
    gravity, noise = (torch.tensor(column) for column in zip(*keys, strict=True))
    gravity, worlds = 1 + gravity, len(keys)
    kicks = torch.randn(steps, generator=torch.Generator().manual_seed(1))
    angle, velocity = torch.full((worlds,), math.pi), torch.zeros(worlds)
    generator = torch.Generator().manual_seed(0)
    with one_thread():
        once = slice(None, None, len(noises))  # a plan knows nothing of the noise
        long = GradientPlanner(whole, 1, 32, 80, rate=0.5, init_std=0.8, low=-TORQUE, high=TORQUE).plan(
            wrong_score((angle[once], velocity[once]), gravity[once]), None, len(errors), generator
        )
        actions = long.actions.repeat_interleave(len(noises), dim=0)  # (W, M, 1)
        foreseen = follow(angle, velocity, actions[..., 0], gravity)
        torques = torch.cat([actions[..., 0], torch.zeros(worlds, steps)], dim=1)[:, :steps]
        opened = follow(angle, velocity, torques + noise[:, None] * kicks, torch.ones(worlds))
        planner = GradientPlanner(horizon, 1, 4, 5, rate=0.5, low=-TORQUE, high=TORQUE)
        begin_with = actions[:, :horizon]
        warm = Plan(begin_with, torch.zeros(worlds), begin_with, begin_with[:, None])
        path, plans = [torch.stack([angle, velocity], dim=-1)], []
        for t in range(steps):
            plan = planner.plan(wrong_score((angle, velocity), gravity), warm, worlds, generator)
            plans.append(follow(angle, velocity, plan.actions[..., 0], gravity))
            torque = (plan.actions[:, 0, 0] + noise * kicks[t]).clamp(-TORQUE, TORQUE)
            angle, velocity = pendulum_motion(angle, velocity, torque)
            path.append(torch.stack([angle, velocity], dim=-1))
            warm = plan.shifted()
    columns = (torch.stack(path, dim=1), torch.stack(plans, dim=1), opened, foreseen)
    return {key: Swing(*(c[i].double().numpy() for c in columns)) for i, key in enumerate(keys)}


# --- Dodge


@dataclass
class Fan:
    """Where each of N plans would take the agent, and whether it gets there."""

    x: NDArray[np.float32]  # (N, L + 1), pixels
    alive: NDArray[np.bool_]  # (N,)
    end: NDArray[np.int64]  # (N,) the step at which it is hit, or L


def dodge_moment() -> DodgeState:
    """A moment of random play in which a hazard is on its way to the agent."""
    rng, state, action = np.random.default_rng(17), begin(np.array([17], np.uint64)), 0.0
    for _ in range(23):  # each push held for ten steps on average
        action = rng.uniform(-1, 1) if rng.random() < 0.1 else action
        advance(state, np.array([action], np.float32))
    return state


def fan(state: DodgeState, horizon: int, candidates: int = 64, seed: int = 0) -> Fan:
    """What becomes of random plans from there."""
    plans = np.random.default_rng(seed).uniform(-1, 1, (candidates, horizon)).astype(np.float32)
    worlds = state.take(np.zeros(candidates, np.int64))
    alive, end, x = np.ones(candidates, bool), np.full(candidates, horizon), [worlds.x]
    for t, throttle in enumerate(plans.T, start=1):
        hit = advance(worlds, throttle) & alive
        alive, end = alive & ~hit, np.where(hit, t, end)
        x.append(worlds.x)
    return Fan(np.stack(x, axis=1), alive, end)


def danger(state: DodgeState, steps: int) -> NDArray[np.float32]:
    """When (steps ahead) and where (column) a hazard is at the agent's height: (n, 2)."""
    state, rules, found = state.copy(), Rules(), []
    for t in range(1, steps + 1):
        advance(state, np.zeros(1, np.float32))
        low = np.abs(state.hazard_y[0] - (SIZE - rules.agent[1] / 2)) < (rules.agent[1] + rules.hazard) / 2
        found += [(t, x) for x in state.hazard_x[0][low & (state.hazard_y[0] < NOWHERE)]]
    return np.array(found, np.float32).reshape(-1, 2)


class Flee:
    """Greedy: pushes away from the nearest hazard when it is close, otherwise gently to the middle. It plans nothing."""

    def __init__(self, world: DodgeVectorEnv) -> None:
        self.world, self.alive = world, np.arange(0)

    def begin(self, worlds: int) -> None:
        self.alive = np.arange(worlds)

    def keep(self, index: NDArray[np.int64]) -> None:
        self.alive = self.alive[index]

    def act(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        state, rows = self.world.state.take(self.alive), np.arange(len(self.alive))
        away = np.hypot(state.hazard_x - state.x[:, None], state.hazard_y - (SIZE - 2))
        away = np.where(state.hazard_y < SIZE + 2, away, np.inf)  # what has passed is no danger
        nearest = away.argmin(axis=1)
        side = np.where(state.x >= state.hazard_x[rows, nearest], 1.0, -1.0)
        calm = 0.3 * np.sign(SIZE / 2 - state.x)
        return np.where(away[rows, nearest] < 12, side, calm).astype(np.float32)[:, None]


def dodge_returns(horizons: Sequence[int], episodes: int = 200, candidates: int = 64) -> dict[str, Values]:
    """Returns (episodes,) on Dodge: at random, greedy, and planned so many steps ahead on the true dynamics by random
    shooting, where each decision imagines another side for forks to come. All meet the same episodes.
    """
    found: dict[str, Values] = {}
    for who in tqdm(["random", "greedy", *horizons], desc="Dodge", unit="player"):
        world = DodgeVectorEnv(episodes)
        if who == "random":
            agent: Any = RandomAgent(ActionCode(world.single_action_space))
        elif who == "greedy":
            agent = Flee(world)
        else:
            planner = RandomShooting(int(who), 1, candidates)
            agent = OraclePlanner(world, Config(horizon=int(who)), clairvoyant=False, planner=planner)
        with one_thread():
            returns = evaluate(agent, world, episodes, 20_000, None).returns
        found[str(who) if isinstance(who, str) else f"{who} step{'s' * (int(who) > 1)} ahead"] = returns.astype(
            np.float64
        )
    return found
