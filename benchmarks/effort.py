"""What a push should cost: the planner's price on effort, chosen on episodes that are in no other table.

A plan's score is what it is worth in the dream, less effort times the mean square of its pushes. The dream, at
temperature 0, shows one future: to which side a hazard will turn is decided in it, and may be decided otherwise in the
world.

- return: over the same 100 episodes; 300 is the cap
- hit: how many of them ended before it
- off the middle, speed: the agent's mean distance in pixels, and pixels per step, over all steps it lived
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


def report() -> str:
    rows = []
    for seed in SEEDS:
        model = load_world_model(run(seed), "cpu")
        for effort in EFFORTS:
            rows.append(row(model, effort))
            print(" | ".join(rows[-1]), flush=True)
    text = f"# Effort\n\n{EPISODES} episodes (seeds {SEED} to {SEED + EPISODES - 1}), the same for all.\n"
    head = ["training seed", "effort", "return [95 % interval]", "hit", "off the middle", "speed"]
    return f"{text}\n{(__doc__ or '').split(chr(10) * 2, 1)[1]}\n{markdown(head, rows)}"


def main(write: bool) -> None:
    keep("effort", report(), write)
