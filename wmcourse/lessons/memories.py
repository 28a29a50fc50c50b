"""What lessons 06 to 08 remember: random play in Dodge, seen through a VAE that is trained once and then kept.

The frames are played anew at each call, which takes a second; the VAE's weights and the latents lie in a folder beside
the notebook, where all three lessons find them: delete the folder to begin again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmcourse.engine.errors import RunError
from wmcourse.engine.loop import fit, generator_for, load_tensors, save_tensors
from wmcourse.lessons.threads import one_thread
from wmcourse.vae_complete_loss import ConvVAE, vae_loss
from wmcourse.worlds import DodgeVectorEnv

FOLDER = Path("runs/memories")
LATENT, STEPS, BATCH, RATE = 16, 1500, 64, 2e-3
TRAIN, HELD_OUT = (128, 384, 0), (64, 192, 50_000)  # worlds, steps, seed
HOLD = 0.1  # the chance that a push is replaced by another: each is held for ten steps on average


@dataclass(frozen=True)
class Sequences:
    """Episodes of random play, one after the other in a row of N steps: (z_t, a_t) and what followed, t + 1.

    ``start`` and ``length`` (E,) say where the episodes are. What stands under "the truth" is there to be compared
    with, never to be trained on.
    """

    frames: NDArray[np.uint8]  # (N, 1, 32, 32), x_t
    mu: Tensor  # (N, Z) of q(z_t | x_t)
    logvar: Tensor  # (N, Z)
    action: Tensor  # (N, 1), a_t
    reward: Tensor  # (N,), r_{t+1}
    done: Tensor  # (N,), done_{t+1}: 1 where the step ended in a hit
    ended: Tensor  # (N,) bool: x_{t+1} is not of this episode (a hit, the time limit, or the end of the recording)
    start: Tensor  # (E,) int64
    length: Tensor  # (E,) int64
    # the truth
    agent_x: Tensor  # (N,) pixels
    agent_velocity: Tensor  # (N,) pixels per step
    hazard_x: Tensor  # (N, 4) pixels
    hazard_y: Tensor  # (N, 4), 1000 where the slot is empty
    drift: Tensor  # (N, 4) pixels per step to the side, 0 before the fork

    def __len__(self) -> int:
        return len(self.frames)

    def age(self) -> NDArray[np.int64]:
        """How many steps of its episode came before each step, (N,)."""
        return np.arange(len(self)) - np.repeat(self.start.numpy(), self.length.numpy())


@dataclass(frozen=True)
class Memories:
    """The eye, and what it saw: ``train`` and ``held_out`` are of different episodes."""

    vae: ConvVAE
    train: Sequences
    held_out: Sequences


def dodge_memories(folder: Path = FOLDER) -> Memories:
    """The same memories in lessons 06, 07 and 08. The first call trains the VAE (half a minute, with a progress bar).

    Later calls, of other lessons too, find it in ``folder`` and show no bar. Raises RunError for a file that is broken
    or of another version, and says what to do.
    """
    train, held_out = (play(*size) for size in (TRAIN, HELD_OUT))
    with one_thread():
        torch.manual_seed(0)
        vae = ConvVAE((1, 32, 32), LATENT)
        frames = torch.from_numpy(train.frames)

        def loss(step: int) -> dict[str, Tensor]:
            index = np.random.default_rng((0, step)).integers(0, len(frames), BATCH)
            x = frames[index].float() / 255
            logits, mu, logvar = vae(x, generator_for(0, step))
            return vae_loss(logits, x, mu, logvar)._asdict()

        fit(vae, loss, STEPS, RATE, folder / "vae.safetensors", "VAE", items_per_step=BATCH, unit="frame")
        path = folder / "latents.safetensors"
        if not path.is_file():
            seen = {"train": encode(vae, train.frames), "held_out": encode(vae, held_out.frames)}
            save_tensors(path, seen, kind="latents")
        latents, _ = load_tensors(path, "latents")
    if [len(latents[name]) for name in ("train", "held_out")] != [len(train), len(held_out)]:
        raise RunError(f"{path} is of another version of the course. Delete {folder}, then run the cell again.")
    vae.eval().requires_grad_(False)
    (mu, logvar), (mu_held_out, logvar_held_out) = (latents[name].unbind(1) for name in ("train", "held_out"))
    return Memories(
        vae, replace(train, mu=mu, logvar=logvar), replace(held_out, mu=mu_held_out, logvar=logvar_held_out)
    )


@torch.no_grad()
def encode(vae: ConvVAE, frames: NDArray[np.uint8]) -> Tensor:
    """mu and logvar of each frame: (N, 1, 32, 32) -> (N, 2, Z)."""
    blocks = torch.from_numpy(frames).split(1024)
    return torch.cat([torch.stack(vae.encode(block.float() / 255), dim=1) for block in blocks])


def play(worlds: int, steps: int, seed: int) -> Sequences:
    """Random play, without latents yet: each push is held for a while, so that the agent gets somewhere."""
    world, rng = DodgeVectorEnv(worlds), np.random.default_rng(seed)
    frames, _ = world.reset(seed=seed)
    action = rng.uniform(-1, 1, (worlds, 1)).astype(np.float32)
    columns: dict[str, list[NDArray[Any]]] = {}
    for _ in range(steps):
        fresh = rng.random((worlds, 1)) < HOLD
        action = np.where(fresh, rng.uniform(-1, 1, (worlds, 1)), action).astype(np.float32)
        now = world.state.copy()
        row: dict[str, NDArray[Any]] = {
            "frames": frames[:, None, ..., 0],
            "action": action,
            "agent_x": now.x,
            "agent_velocity": now.velocity,
        }
        row |= {"hazard_x": now.hazard_x, "hazard_y": now.hazard_y, "drift": now.drift}
        frames, reward, terminated, truncated, _ = world.step(action)
        row |= {"reward": reward, "done": terminated.astype(np.float32), "ended": terminated | truncated}
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    arrays = {name: np.stack(column, axis=1) for name, column in columns.items()}
    arrays["ended"][:, -1] = True  # the recording stops
    flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in arrays.items()}
    last = torch.from_numpy(np.flatnonzero(flat["ended"]))
    start = torch.cat([torch.zeros(1, dtype=torch.int64), last[:-1] + 1])
    tensors = {name: torch.from_numpy(value) for name, value in flat.items() if name != "frames"}
    nothing = torch.empty(0)
    frames_seen = flat["frames"].astype(np.uint8)
    return Sequences(frames_seen, mu=nothing, logvar=nothing, start=start, length=last + 1 - start, **tensors)
