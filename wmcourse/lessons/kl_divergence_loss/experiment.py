"""Lesson 03's experiment: a small VAE on Dodge's frames, trained with the learner's KL, and what becomes of its code.

The networks are those of lesson 05 and the reconstruction term is lesson 04's; here they are the stage, not the play.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from wmcourse.kl_divergence_loss import kl_per_dimension
from wmcourse.lessons.threads import one_thread
from wmcourse.reconstruction_loss import bernoulli_nll
from wmcourse.reparameterization_trick import reparameterize
from wmcourse.vae_complete_loss import ConvVAE

LATENT, BATCH, RATE, EVERY = 8, 64, 2e-3, 10


@dataclass
class Run:
    """One training: for each snapshot the step, the KL of each dimension, and the held-out reconstruction, in nats."""

    title: str
    steps: list[int] = field(default_factory=list)
    kl: list[NDArray[Any]] = field(default_factory=list)  # (Z,) each
    reconstruction: list[float] = field(default_factory=list)
    pictures: NDArray[np.uint8] | None = None  # (n, 32, 32, 1) reconstructions at the end


@one_thread()
def train(
    title: str,
    frames: Tensor,
    term: Callable[[Tensor, Tensor, int], Tensor],
    steps: int = 300,
    vae: ConvVAE | None = None,
    seed: int = 0,
    show: Callable[[Run], None] | None = None,
) -> tuple[ConvVAE, Run]:
    """Minimise reconstruction + ``term(mu, logvar, step)``; begins with a copy of ``vae`` when one is given.

    ``frames`` (N, 1, 32, 32): the last 256 are held out and measured. Returns the network and its history.
    """
    torch.manual_seed(seed)
    vae, run = copy.deepcopy(vae) if vae else ConvVAE((1, 32, 32), LATENT), Run(title)
    data, held_out = frames[:-256], frames[-256:]
    optimizer = torch.optim.Adam(vae.parameters(), RATE)
    for step in tqdm(range(steps), desc=title, unit="step"):
        if step % EVERY == 0:
            measure(vae, run, held_out, step)
            if show is not None:
                show(run)
        x = data[torch.randint(len(data), (BATCH,))]
        mu, logvar = vae.encode(x)
        logits = vae.decode(reparameterize(mu, logvar))
        loss = bernoulli_nll(logits, x).mean() + term(mu, logvar, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    measure(vae, run, held_out, steps)
    if show is not None:
        show(run)
    with torch.no_grad():
        mu, _ = vae.encode(held_out[:8])
        run.pictures = (255 * torch.sigmoid(vae.decode(mu))).byte().permute(0, 2, 3, 1).numpy()
    return vae, run


@torch.no_grad()
def measure(vae: ConvVAE, run: Run, held_out: Tensor, step: int) -> None:
    mu, logvar = vae.encode(held_out)
    noise = torch.Generator().manual_seed(1)
    logits = vae.decode(reparameterize(mu, logvar, noise))
    run.steps.append(step)
    run.kl.append(kl_per_dimension(mu, logvar).mean(0).numpy())
    run.reconstruction.append(float(bernoulli_nll(logits, held_out).mean()))


def pictures(frames: Tensor) -> NDArray[np.uint8]:
    """The held-out frames that ``Run.pictures`` reconstructs."""
    return (255 * frames[-256:-248]).byte().permute(0, 2, 3, 1).numpy()
