"""How fast the parts are, per core-second: everything on one thread, all rows in one run, best of several rounds."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tables import keep, machine, markdown
from wmcourse.cross_entropy_method import CEM
from wmcourse.engine.runs import Config
from wmcourse.mdn_rnn import MDNRNN, PaperMDNRNN, sequence_loss
from wmcourse.reparameterization_trick import reparameterize
from wmcourse.vae_complete_loss import VAE, ConvVAE, PaperVAE, vae_loss
from wmcourse.world_models_training import LatentPlanner, new_model
from wmcourse.worlds import make
from wmcourse.worlds.dodge import DodgeVectorEnv, advance, draw


def seconds(work: Callable[[], object], repeats: int, rounds: int = 5) -> float:
    """Core-seconds of one call: the best of ``rounds``, because only interruptions make it slower."""
    work()
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(repeats):
            work()
        best = min(best, (time.process_time() - start) / repeats)
    return best


def dodge_frames(worlds: int = 256) -> float:
    """Frames stepped and drawn per core-second."""
    world = DodgeVectorEnv(worlds)
    world.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (64, worlds, 1)).astype(np.float32)
    step = iter(range(10**9))
    return worlds / seconds(lambda: world.step(actions[next(step) % 64]), 300)


def dodge_states(worlds: int = 256) -> float:
    """States advanced, without drawing, per core-second: what an oracle pays."""
    world = DodgeVectorEnv(worlds)
    world.reset(seed=0)
    push = np.zeros(worlds, np.float32)
    return worlds / seconds(lambda: advance(world.state, push), 300)


def drawing(worlds: int = 256) -> float:
    """Frames drawn per core-second."""
    world = DodgeVectorEnv(worlds)
    world.reset(seed=0)
    return worlds / seconds(lambda: draw(world.state), 300)


def training_seconds(model: nn.Module, loss: Callable[[], Tensor]) -> float:
    """Core-seconds of one training step: forward, backward, clipped Adam step."""
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        total = loss()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()

    return seconds(step, 5)


def vae_frames(model: VAE, batch: int = 64) -> float:
    """Frames per core-second of training: uint8 to float, forward, backward, clipped Adam step."""
    frames = torch.randint(0, 256, (batch, *model.image_shape), dtype=torch.uint8)

    def loss() -> Tensor:
        x = frames.float().div(255)
        logits, mu, logvar = model(x)
        return vae_loss(logits, x, mu, logvar).total

    return batch / training_seconds(model, loss)


def rnn_rate(model: MDNRNN, batch: int, length: int = 32) -> float:
    """Sequences per core-second of training: latents resampled, forward, backward, clipped Adam step."""
    mu, logvar = torch.randn(2, batch, length + 1, model.latent_dim)
    actions, reward = torch.randn(batch, length, model.action_dim), torch.ones(batch, length)
    done, mask = torch.zeros(batch, length), torch.ones(batch, length)

    def loss() -> Tensor:
        return sequence_loss(model, reparameterize(mu, logvar), actions, reward, done, mask).total

    return batch / training_seconds(model, loss)


def plan_milliseconds(hidden: int, candidates: int, horizon: int, iterations: int) -> float:
    """Core-milliseconds of one decision from pixels: encode, plan, carry the memory on."""
    model = new_model(Config(hidden_dim=hidden)).eval()
    agent = LatentPlanner(model, 0, CEM(horizon, 1, candidates, iterations, 8, correlation=0.7))
    frames, _ = make(num_worlds=1).reset(seed=0)
    agent.begin(1)
    return 1000 * seconds(lambda: agent.act(frames), 5)


def import_seconds() -> float:
    """Wall seconds of ``import wmcourse`` in a fresh interpreter; raises when torch comes along."""
    code = (
        "import sys, time; t = time.perf_counter(); import wmcourse; t = time.perf_counter() - t;"
        "assert 'torch' not in sys.modules; print(t)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5)]
    return min(float(run.stdout) for run in runs)


def report() -> str:
    """All rows."""
    torch.set_num_threads(1)
    frames, sequences, plan = "frames / core-second", "sequences / core-second", "core-milliseconds"
    rows = [
        ("Dodge, 256 worlds: stepped and drawn", dodge_frames(), frames, "≥ 300,000"),
        ("Dodge, 256 worlds: drawn only", drawing(), frames, ""),
        ("Dodge, 256 worlds: stepped only", dodge_states(), frames, ""),
        ("VAE training, ours: 1×32×32, Z = 16, B = 64", vae_frames(ConvVAE((1, 32, 32), 16)), frames, ""),
        ("VAE training, ours: 3×64×64, Z = 32, B = 64", vae_frames(ConvVAE((3, 64, 64), 32)), frames, ""),
        ("VAE training, the paper's: 3×64×64, Z = 32, B = 64", vae_frames(PaperVAE()), frames, ""),
        ("MDN-RNN training, ours: H = 192, Z = 16, B = 32, T = 32", rnn_rate(MDNRNN(16, 1, 192), 32), sequences, ""),
        ("MDN-RNN training, the paper's: H = 256, Z = 32, B = 16, T = 32", rnn_rate(PaperMDNRNN(), 16), sequences, ""),
        (
            "MDN-RNN training, the paper's: H = 256, Z = 32, B = 100, T = 32",
            rnn_rate(PaperMDNRNN(), 100),
            sequences,
            "",
        ),
        (
            "a plan of 128 candidates × 12 steps × 3 iterations, H = 128",
            plan_milliseconds(128, 128, 12, 3),
            plan,
            "≤ 20",
        ),
        ("our plan: 64 candidates × 12 steps, H = 192", plan_milliseconds(192, 64, 12, 1), plan, ""),
        ("import wmcourse", import_seconds(), "seconds", "< 0.3"),
    ]
    shown = [(what, f"{n:,.0f}" if n > 100 else f"{n:.3g}", unit, wanted) for what, n, unit, wanted in rows]
    head = f"# Speed\n\nOne thread, best of five rounds. {machine()}.\n\n"
    return head + markdown(["what", "measured", "unit", "wanted"], shown)


def main(write: bool) -> None:
    keep("speed", report(), write)
