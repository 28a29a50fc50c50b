"""The τ table of Ha & Schmidhuber (2018, §4), on Dodge: controllers evolved in dreams of temperature τ.

Each is scored in the dream where it grew up, and in the world.

In a cold dream the memory's most likely component nearly always happens: its forks and its hazards become predictable,
and evolution finds what the dream gets wrong. A score that is high in the dream and low in the world is a cheat found
out.

How to read it: a cold dream promises three to four times what the world pays, at τ = 1 one half too much, and from 1.15
on a fifth. The world's scores overlap, so here a hotter dream makes the *promise* more honest, not the controller
better.

What these controllers do is seen in the last columns: they hold one push for ever, or nearly. Beside each the player
that does so, and nothing else, in the same dreams; the last row is what it has in the world. In the cold dream a wall
is nearly safe, and evolution found it.
"""

from __future__ import annotations

import torch

from benchmarks.ablations import starts
from benchmarks.seeds import run
from benchmarks.tables import interval, keep, markdown
from wmcourse.engine.players import ConstantAgent
from wmcourse.world_models_training import (
    ControllerAgent,
    LinearController,
    Score,
    WorldModel,
    dream_returns,
    evaluate,
    evolve_controller,
    load_world_model,
    summarize,
)
from wmcourse.worlds import DodgeVectorEnv

TEMPERATURES, EPISODES, SEED = (0.1, 0.5, 1.0, 1.15, 1.3), 100, 10_000


def in_dream(model: WorldModel, controller: LinearController, temperature: float, seed: int) -> Score:
    """How long a controller lives in dreams from the same fresh frames, by the same chance."""
    weights = torch.nn.utils.parameters_to_vector(controller.parameters())[None]
    dreams, generator = starts(model, EPISODES, seed=7_000), torch.Generator().manual_seed(seed + 1)
    lived = dream_returns(model, controller, weights, dreams, 300, temperature, generator)
    return summarize(lived[0].detach().numpy())


def held(model: WorldModel, push: float) -> LinearController:
    """The controller that always does the same: no weights, only a bias."""
    controller = LinearController(model.config.latent_dim, model.config.hidden_dim, model.actions.dim)
    with torch.no_grad():
        controller.linear.weight.zero_()
        controller.linear.bias.fill_(10 * push)  # tanh makes it ±1
    return controller


def report(seed: int = 0) -> str:
    model = load_world_model(run(seed), "cpu")
    world, first = DodgeVectorEnv(EPISODES), starts(model)
    rows = []
    for temperature in TEMPERATURES:
        controller = evolve_controller(model, first, temperature, seed=seed)
        score = evaluate(ControllerAgent(model, controller), world, EPISODES, SEED, None)
        dreamt = [in_dream(model, one, temperature, seed) for one in (controller, held(model, -1.0), held(model, 1.0))]
        promise, *walls = map(interval, dreamt)
        rows.append([f"{temperature:.2f}", promise, interval(score), *walls])
        print(" | ".join(rows[-1]), flush=True)
    text = f"# Temperature\n\nTraining seed {seed}; {EPISODES} dreams and {EPISODES} episodes; 300 is the cap.\n"
    walls = [interval(evaluate(ConstantAgent(push), world, EPISODES, SEED, None)) for push in (-1.0, 1.0)]
    rows.append(["the world", "–", "–", *walls])
    head = ["τ", "in the dream", "in the world", "always left, in the dream", "always right, in the dream"]
    table = markdown(head, rows)
    return f"{text}\n{(__doc__ or '').split(chr(10) * 2, 1)[1]}\n{table}"


def main(write: bool) -> None:
    keep("temperature", report(), write)
