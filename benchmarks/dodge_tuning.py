"""Is Dodge the world that the course needs? Players that know the true state, on the rules and on their neighbours.

- still: never pushes; must die young
- random: pushes at random; the floor
- greedy: flees from the hazard that is nearest, and that is all; must beat random
- horizon L: plans L steps on true dynamics, blind to coming forks; longer beats shorter, and 12 must be near 300
- knows: horizon 12, and knows the forks of the hazards in the air; the oracle of the reports

What needs a *learned* model (memory, components, dreams) is measured by ``ablations`` and ``temperature``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.tables import interval, keep, markdown
from wmcourse.engine.players import OraclePlanner, RandomAgent
from wmcourse.engine.runs import Config
from wmcourse.world_models_training import Agent, evaluate
from wmcourse.worlds import ActionCode, DodgeVectorEnv, Rules

EPISODES, SEED = 100, 10_000
VARIANTS: dict[str, dict[str, object]] = {
    "as it is": {},
    "hazards more often, gap 7–10": {"gap": (7, 10)},
    "hazards more often, gap 8–12": {"gap": (8, 12)},
    "hazards less often, gap 12–16": {"gap": (12, 16)},
    "no inertia: friction 0, power 3": {"friction": 0.0, "power": 3.0},
    "weak push, power 0.4": {"power": 0.4},
    "no fork, turn 0": {"turn": 0.0},
    "steep fork, turn 1.5": {"turn": 1.5},
    "fast fall, 2.0": {"fall": 2.0},
    "poor aim, 16": {"aim": 16.0},
}


class Reactive:
    """Pushes away from the hazard that is nearest to the agent, if one is low and close; ``push`` 0 stands still."""

    def __init__(self, world: DodgeVectorEnv, push: float) -> None:
        self.world, self.push, self.alive = world, push, np.arange(0)

    def begin(self, worlds: int) -> None:
        self.alive = np.arange(worlds)

    def keep(self, index: NDArray[np.int64]) -> None:
        self.alive = self.alive[index]

    def act(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        state = self.world.state.take(self.alive)
        distance = np.where(state.hazard_y < 34, np.hypot(state.hazard_x - state.x[:, None], state.hazard_y - 30), 1e3)
        nearest = distance.argmin(axis=1)
        row = np.arange(len(nearest))
        side = np.sign(state.x - state.hazard_x[row, nearest])
        side = np.where(side == 0, 1.0, side)
        # Towards the middle when there is nothing to fear: a wall is a bad place to be.
        calm = 0.3 * np.sign(16 - state.x)
        return (self.push * np.where(distance[row, nearest] < 12, side, calm)).astype(np.float32)[:, None]


def row(rules: Rules) -> list[str]:
    """The scores of all players under some rules."""
    world = DodgeVectorEnv(EPISODES, rules=rules)
    config = Config()
    players: list[Agent] = [
        Reactive(world, 0.0),
        RandomAgent(ActionCode(world.single_action_space)),
        Reactive(world, 1.0),
        *(OraclePlanner(world, replace(config, horizon=h), clairvoyant=False) for h in (1, 4, 8, 12)),
        OraclePlanner(world, config, clairvoyant=True),
    ]
    return [interval(evaluate(player, world, EPISODES, SEED, None)) for player in players]


def report() -> str:
    torch.set_num_threads(1)
    rows = []
    for name, change in VARIANTS.items():
        rows.append([name, *row(replace(Rules(), **change))])  # type: ignore[arg-type]
        print(" | ".join(rows[-1]), flush=True)
    head = ["rules", "still", "random", "greedy", *(f"horizon {h}" for h in (1, 4, 8, 12)), "knows"]
    text = f"# Dodge's rules\n\nMean return and 95 % interval, {EPISODES} episodes, the same for all; 300 is the cap.\n"
    return text + f"{(__doc__ or '').split(chr(10), 1)[1]}\n" + markdown(head, rows)


def main(write: bool) -> None:
    keep("dodge_tuning", report(), write)
