"""The τ table of Ha & Schmidhuber (2018, §4), on Dodge: controllers evolved in dreams of temperature τ.

Each is scored in the dream where it grew up, and in the world.

In a cold dream the memory's most likely component nearly always happens: its forks and its hazards become predictable,
and evolution finds what the dream gets wrong. A score that is high in the dream and low in the world is a cheat found
out.

How to read it: a cold dream promises three to four times what the world pays; from τ = 1 on the promise is modest. The
world's own scores overlap, so here a hotter dream makes the *promise* more honest, not the controller better.

What these controllers do: they hold one push for ever. `ConstantAgent` of wmcourse/engine/players.py, on the same
episodes, scores 82 [68, 95] to the left and 75 [63, 88] to the right: to the digit the rows of τ = 0.5, 1 and 1.3, and
of 0.1. In such dreams the push to the right lives 269 [253, 286] steps at τ = 0.1 and 119 [101, 138] at τ = 1: the cold
dream's right-hand wall is nearly safe, and evolution found it.
"""

from __future__ import annotations

import torch

from benchmarks.ablations import starts
from benchmarks.seeds import run
from benchmarks.tables import interval, keep, markdown
from wmcourse.world_models_training import (
    ControllerAgent,
    dream_returns,
    evaluate,
    evolve_controller,
    load_world_model,
    summarize,
)
from wmcourse.worlds import DodgeVectorEnv

TEMPERATURES, EPISODES, SEED = (0.1, 0.5, 1.0, 1.15, 1.3), 100, 10_000


def report(seed: int = 0) -> str:
    model = load_world_model(run(seed), "cpu")
    world, first = DodgeVectorEnv(EPISODES), starts(model)
    rows = []
    for temperature in TEMPERATURES:
        controller = evolve_controller(model, first, temperature, seed=seed)
        weights = torch.nn.utils.parameters_to_vector(controller.parameters())[None]
        generator = torch.Generator().manual_seed(seed + 1)
        dreams = starts(model, EPISODES, seed=7_000)
        dream = dream_returns(model, controller, weights, dreams, 300, temperature, generator)
        score = evaluate(ControllerAgent(model, controller), world, EPISODES, SEED, None)
        rows.append([f"{temperature:.2f}", interval(summarize(dream[0].detach().numpy())), interval(score)])
        print(" | ".join(rows[-1]), flush=True)
    text = f"# Temperature\n\nTraining seed {seed}; {EPISODES} dreams and {EPISODES} episodes; 300 is the cap.\n"
    table = markdown(["τ", "in the dream", "in the world"], rows)
    return f"{text}\n{(__doc__ or '').split(chr(10) * 2, 1)[1]}\n{table}"


def main(write: bool) -> None:
    keep("temperature", report(), write)
