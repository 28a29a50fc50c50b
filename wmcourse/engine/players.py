"""Who plays beside the learned agent, so that its score means something: a floor and a ceiling."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmcourse.engine.runs import Config
from wmcourse.model_predictive_control import MPC, Planner
from wmcourse.world_models_training import planner_for
from wmcourse.worlds import ActionCode, DodgeVectorEnv
from wmcourse.worlds.dodge import advance


class RandomAgent:
    """The floor: actions drawn uniformly at every step."""

    def __init__(self, actions: ActionCode, seed: int = 0) -> None:
        self.actions, self.rng = actions, np.random.default_rng(seed)

    def begin(self, worlds: int) -> None:
        pass

    def keep(self, index: NDArray[np.int64]) -> None:
        pass

    def act(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.actions.sample(self.rng, len(frames))


class ConstantAgent:
    """A floor that needs no eyes: one push in [-1, 1], held for ever, whatever there is to see."""

    def __init__(self, push: float) -> None:
        self.push = push

    def begin(self, worlds: int) -> None:
        pass

    def keep(self, index: NDArray[np.int64]) -> None:
        pass

    def act(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.full((len(frames), 1), self.push, np.float32)


class OraclePlanner:
    """The same planner with the same budget on Dodge's true dynamics: an upper bound for what a model could give.

    ``clairvoyant`` decides what it knows of chance: True, the side each hazard in the air will turn to; False, it
    imagines another side for each decision. It never needs the hazards to come: they land beyond its horizon.
    """

    def __init__(
        self,
        world: DodgeVectorEnv,
        config: Config,
        clairvoyant: bool = True,
        seed: int = 0,
        planner: Planner | None = None,
    ) -> None:
        self.world, self.config, self.clairvoyant = world, config, clairvoyant
        self.mpc = MPC(planner or planner_for(config, ActionCode(world.single_action_space)))
        self.generator, self.rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
        self.alive = np.arange(0)

    def begin(self, worlds: int) -> None:
        self.alive = np.arange(worlds)
        self.mpc.reset()

    def keep(self, index: NDArray[np.int64]) -> None:
        self.alive = self.alive[index]
        self.mpc.keep(torch.from_numpy(index))

    def act(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        now = self.world.state.take(self.alive)
        if not self.clairvoyant:
            now = now.reseeded(self.rng.integers(0, 2**63, len(self.alive)).astype(np.uint64))

        def score(plans: Tensor) -> Tensor:
            worlds, candidates, horizon, _ = plans.shape
            state = now.take(np.repeat(np.arange(worlds), candidates))
            throttle = plans.reshape(worlds * candidates, horizon).numpy()
            alive, survived = np.ones(len(throttle), bool), np.zeros(len(throttle), np.float32)
            for t in range(horizon):
                alive &= ~advance(state, throttle[:, t], self.world.rules)
                survived += alive
            effort = self.config.effort * plans.square().mean(dim=(2, 3))
            return torch.from_numpy(survived).view(worlds, candidates) - effort

        return self.mpc.act(score, worlds=len(frames), generator=self.generator).numpy()
