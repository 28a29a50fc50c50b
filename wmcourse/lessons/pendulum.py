"""Gymnasium's ``Pendulum-v1`` as a model in torch, for lessons 09 and 10. Angles are in radians, 0 is upright."""

from __future__ import annotations

import math
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from wmcourse.model_predictive_control import Score, State

SPEED, TORQUE, SECONDS, STEPS = 8.0, 2.0, 0.05, 200  # its limits, a step's length, and an episode's


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
    angle, velocity = state
    reward = -(pendulum_cost(angle, velocity) + 0.001 * torque.square())
    return pendulum_motion(angle, velocity, torque), reward, torch.zeros_like(reward)


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


def apart_from_gymnasium(steps: int = 2_000, seed: int = 0) -> tuple[float, float]:
    """The largest difference of ``pendulum_step`` from ``Pendulum-v1``, in the state's numbers and in the reward."""
    env, rng = cast(Any, gym.make("Pendulum-v1").unwrapped), np.random.default_rng(seed)
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
