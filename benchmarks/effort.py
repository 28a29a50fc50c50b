"""What a push should cost: the planner's price on effort, measured on episodes that are in no other table.

A plan's score is what it is worth in the dream, less effort times the mean square of its pushes. The dream, at
temperature 0, shows one future: to which side a hazard will turn is decided in it, and may be decided otherwise in the
world.

- return: over the same 100 episodes; 300 is the cap
- hit: how many of them ended before it
- off the middle, speed: the agent's mean distance in pixels, and pixels per step, over all steps it lived

How to read it: the dearer a push, the slower the agent and the fewer hits. 0.8 is no clear gain over 0.4.

What kills is counted below the table: the moment at which the plan's promise falls most, in the last 13 steps before a
hit, and whether a hazard has turned in the two steps before it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.seeds import run
from benchmarks.tables import interval, keep, markdown
from wmcourse.world_models_training import LatentPlanner, WorldModel, evaluate, load_world_model
from wmcourse.worlds import DodgeVectorEnv
from wmcourse.worlds.dodge import SIZE

EFFORTS, SEEDS, EPISODES, SEED = (0.0, 0.05, 0.2, 0.4, 0.8), (0, 5), 100, 30_000


def row(model: WorldModel, effort: float) -> list[str]:
    """How the agent fares at this price, and where it stays."""
    distance, speed = [], []

    def watch(world: Any, playing: NDArray[np.int64], returns: NDArray[np.float32]) -> None:
        distance.append(np.abs(world.state.x[playing] - SIZE / 2))
        speed.append(np.abs(world.state.velocity[playing]))

    agent = LatentPlanner(model, SEED, config=replace(model.config, effort=effort))
    score = evaluate(agent, DodgeVectorEnv(EPISODES), EPISODES, SEED, None, watch)
    where = [f"{np.concatenate(part).mean():.2f}" for part in (distance, speed)]
    return [str(model.config.seed), f"{effort:g}", interval(score), str(int((score.returns < 300).sum())), *where]


class Witness(LatentPlanner):
    """The planner, which remembers for how many steps each of its plans hoped to live."""

    def begin(self, worlds: int) -> None:
        super().begin(worlds)
        self.hopes: list[NDArray[np.float32]] = []

    def act(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        action = super().act(frames)
        plan = self.mpc.last
        assert plan is not None
        self.hopes.append((plan.score + self.config.effort * plan.actions.square().mean(dim=(1, 2))).numpy())
        return action


def what_kills(model: WorldModel, effort: float) -> str:
    """In how many hits the hope was lost to a fork, against how often a fork is that near at any step."""
    world = DodgeVectorEnv(EPISODES)
    agent = Witness(model, SEED, config=replace(model.config, effort=effort))
    drift = [np.zeros_like(world.state.drift)]
    forks: list[list[bool]] = [[] for _ in range(EPISODES)]
    hopes: list[list[float]] = [[] for _ in range(EPISODES)]
    alive = [np.arange(EPISODES)]

    def watch(world: Any, playing: NDArray[np.int64], returns: NDArray[np.float32]) -> None:
        turned = ((drift[0] == 0) & (world.state.drift != 0)).any(axis=1)
        for row, i in enumerate(alive[0]):
            hopes[i].append(float(agent.hopes[-1][row]))
            forks[i].append(bool(turned[i]))
        drift[0], alive[0] = world.state.drift.copy(), playing.copy()

    score = evaluate(agent, world, EPISODES, SEED, None, watch)
    ahead, lost_to_fork = [], []
    for i in np.flatnonzero(score.returns < 300):
        last = len(hopes[i])
        first = max(0, last - 13)
        fall = first + 1 + int(np.diff(hopes[i][first:]).argmin())
        ahead.append(last - fall)
        lost_to_fork.append(any(forks[i][max(0, fall - 2) : fall]))
    near = [any(each[max(0, t - 2) : t]) for each in forks for t in range(1, len(each))]
    return (
        f"Training seed {model.config.seed}, effort {effort:g}: {sum(lost_to_fork)} of {len(ahead)} hits were lost "
        f"within two steps of a fork (at any step a fork is that near in {np.mean(near):.0%}), "
        f"{int(np.median(ahead))} steps ahead at the median."
    )


def report() -> str:
    rows, deaths = [], []
    for seed in SEEDS:
        model = load_world_model(run(seed), "cpu")
        for effort in EFFORTS:
            rows.append(row(model, effort))
            print(" | ".join(rows[-1]), flush=True)
        deaths += [what_kills(model, effort) for effort in (0.05, 0.4)]
    text = f"# Effort\n\n{EPISODES} episodes (seeds {SEED} to {SEED + EPISODES - 1}), the same for all.\n"
    head = ["training seed", "effort", "return [95 % interval]", "hit", "off the middle", "speed"]
    return f"{text}\n{(__doc__ or '').split(chr(10) * 2, 1)[1]}\n{markdown(head, rows)}\n\n" + "\n".join(deaths)


def main(write: bool) -> None:
    keep("effort", report(), write)
