"""Take one part away and measure again: each part must earn its place.

- no memory: h and c are zero at every decision (they still run inside a plan)
- horizon 1: plans a single step
- two rounds: refits to the elites of half as many plans; does it find better plans, or the model's errors?
- no price on effort: plans that push for nothing cost nothing
- no planning: a linear controller on (z, h), evolved inside the dream
- K = 1: a memory trained with one Gaussian for each latent instead of a mixture of five
- one push for ever: no model at all, a floor that needs no eyes

How to read it: memory, horizon and planning are each worth some two hundred steps. The mixture is worth 0.14 nats per
step on held-out data, and nothing in the return: plans are dreamt at temperature 0, along one component. A second round
of the cross-entropy method, with the same number of plans, changes nothing that a hundred episodes could show.
The price on effort is worth some twenty steps (see ``effort``). The controller that evolved in the dream has the score
of one push for ever: it found a wall to lean on. An agent without memory, and one with horizon 1, come out no higher
than that floor.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.seeds import run
from benchmarks.tables import interval, keep, markdown
from wmcourse.engine.players import ConstantAgent
from wmcourse.engine.rollouts import Rollouts
from wmcourse.mdn_rnn import MDNRNN
from wmcourse.mixture_density_networks import mixture_nll
from wmcourse.reparameterization_trick import reparameterize
from wmcourse.world_models_training import (
    Agent,
    ControllerAgent,
    LatentPlanner,
    Score,
    WorldModel,
    collect,
    encode_rollouts,
    evaluate,
    evolve_controller,
    load_world_model,
    summarize,
    train_mdn_rnn,
)
from wmcourse.worlds import DodgeVectorEnv

EPISODES, SEED, HELD_OUT = 100, 10_000, 999
HELD_OUT_SEQUENCES, LENGTH = 2_000, 32


class Forgetful(LatentPlanner):
    """Our planner without memory: each decision starts from the present frame alone."""

    def act(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.state = self.model.rnn.initial_state(len(frames))
        return super().act(frames)


def starts(model: WorldModel, worlds: int = 256, seed: int = 5_000) -> torch.Tensor:
    """Latents of first frames, for dreams to start from."""
    frames, _ = DodgeVectorEnv(worlds).reset(seed=seed)
    return model.encode(frames)[0]


@torch.no_grad()
def held_out(rnn: MDNRNN, rollouts: Rollouts, latents: NDArray[np.float32], memory: bool = True) -> NDArray[np.float32]:
    """-log p(z_{t+1}) in nats per step, for each of the same random windows; without memory, each step stands alone."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    scores = []
    for _ in range(HELD_OUT_SEQUENCES // 100):
        steps, mask = rollouts.windows(rng, 100, LENGTH)
        now = steps[:, :-1]
        mu, logvar = torch.from_numpy(np.ascontiguousarray(latents[steps])).unbind(2)
        z = reparameterize(mu, logvar, generator)
        a = torch.from_numpy(rollouts.actions[now])
        if memory:
            p, _ = rnn(z[:, :-1], a)
        else:
            shape = now.shape
            p, _ = rnn(z[:, :-1].flatten(0, 1)[:, None], a.flatten(0, 1)[:, None])
            p = type(p)(*(part.view(*shape, *part.shape[2:]) for part in p))
        inside = torch.from_numpy(mask * ~rollouts.next_is_missing(now))
        nll = (mixture_nll(z[:, 1:], p.log_pi, p.mu, p.log_sigma) * inside).sum(1) / inside.sum(1)
        scores.append(nll[inside.sum(1) > 0].numpy())
    return np.concatenate(scores)


def other_memory(model: WorldModel, directory: Path, **changes: int) -> WorldModel:
    """The same eye with a memory trained anew under another configuration, kept beside the run."""
    config = replace(model.config, **changes)
    other = WorldModel(config, model.image_shape, model.actions)
    other.vae.load_state_dict(model.vae.state_dict())
    rollouts = Rollouts(directory / "rollouts")
    latents = encode_rollouts(model, rollouts, directory / "latents.npy")
    name = "_".join(f"{key}_{value}" for key, value in changes.items())
    train_mdn_rnn(other, rollouts, latents, directory / f"mdn_rnn_{name}.safetensors")
    return other.eval()


def difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> str:
    """The mean of paired differences with its 95 % interval."""
    d = summarize(a - b)
    return f"{d.mean:+.3f} [{d.ci95[0]:+.3f}, {d.ci95[1]:+.3f}]"


def report(seed: int = 0) -> str:
    directory = run(seed)
    model = load_world_model(directory, "cpu")
    world = DodgeVectorEnv(EPISODES)
    short = replace(model.config, horizon=1)
    refitting = replace(model.config, candidates=32, iterations=2)
    controller = evolve_controller(model, starts(model), temperature=1.0, seed=seed)
    single = other_memory(model, directory, components=1)
    players: dict[str, Agent] = {
        "the full agent": LatentPlanner(model, seed),
        "no memory: h = 0 at each decision": Forgetful(model, seed),
        "horizon 1": LatentPlanner(model, seed, config=short),
        "two rounds of 32 plans instead of one of 64": LatentPlanner(model, seed, config=refitting),
        "no price on effort": LatentPlanner(model, seed, config=replace(model.config, effort=0.0)),
        "no planning: linear controller evolved in the dream": ControllerAgent(model, controller),
        "K = 1: one Gaussian for each latent": LatentPlanner(single, seed),
        "one push for ever, left": ConstantAgent(-1.0),
        "one push for ever, right": ConstantAgent(1.0),
    }
    scores: dict[str, Score] = {name: evaluate(p, world, EPISODES, SEED) for name, p in players.items()}
    play = markdown(["agent", "return [95 % interval]"], [[name, interval(s)] for name, s in scores.items()])
    fresh = collect(replace(model.config, seed=HELD_OUT, shards=1), directory / "held_out")
    latents = encode_rollouts(model, fresh, directory / "held_out" / "latents.npy")
    full = held_out(model.rnn, fresh, latents)
    rows = [["K = 5, with memory", f"{full.mean():.3f}", "–"]]
    for name, other in (
        ("K = 1, with memory", held_out(single.rnn, fresh, latents)),
        ("K = 5, memory cut at each step", held_out(model.rnn, fresh, latents, memory=False)),
    ):
        rows.append([name, f"{other.mean():.3f}", difference(other, full)])
    likelihood = markdown(["memory", "nats per step", "worse than K = 5 by [95 %, paired]"], rows)
    text = f"# Ablations\n\nTraining seed {seed}; {EPISODES} episodes, the same for all; 300 is the cap.\n"
    text += f"{(__doc__ or '').split(chr(10), 1)[1]}\n{play}\n\n"
    text += f"-log p of the next latent on fresh random play, {len(full):,} windows of {LENGTH} steps:\n\n{likelihood}"
    return text


def main(write: bool) -> None:
    keep("ablations", report(), write)
