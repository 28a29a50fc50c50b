"""Lesson 04's experiment: one small VAE, trained on Dodge's frames under one likelihood after another.

The networks and the complete loss are lesson 05's; here they are the stage, not the play.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from wmcourse.kl_divergence_loss import kl_per_dimension, kl_standard_normal
from wmcourse.lessons.frames import HELD_OUT
from wmcourse.lessons.threads import one_thread
from wmcourse.reparameterization_trick import reparameterize
from wmcourse.vae_complete_loss import ConvVAE

LATENT, WIDTH, BATCH, RATE, EVERY, STEPS = 8, 8, 64, 2e-3, 30, 300
SHOWN = 8


@dataclass
class Run:
    """One training: for each snapshot the step, and the held-out KL (nats) and squared error, both per frame."""

    title: str
    steps: list[int] = field(default_factory=list)
    kl: list[NDArray[Any]] = field(default_factory=list)  # (Z,) each
    error: list[float] = field(default_factory=list)
    pictures: NDArray[np.uint8] | None = None  # (n, 32, 32, 1) reconstructions from the code's mean, the newest ones

    @property
    def dead(self) -> int:
        """How many dimensions carry less than 0.1 nats."""
        return int((self.kl[-1] < 0.1).sum())


class Output(NamedTuple):
    """What a VAE makes of frames: the decoder's output for one sampled code each, and the code's price."""

    decoded: Tensor  # (B, 1, 32, 32)
    kl: Tensor  # (B,), nats


def grey(decoded: Tensor) -> Tensor:
    """A decoder's output that is a grey value already: what lies outside of [0, 1] is shown as black or white."""
    return decoded.clamp(0, 1)


@one_thread()
def train(
    title: str,
    frames: Tensor,
    nll: Callable[[Tensor, Tensor], Tensor],
    beta: float = 1.0,
    draw: Callable[[Tensor], Tensor] = torch.sigmoid,
    learned: Sequence[Tensor] = (),
    steps: int = STEPS,
    seed: int = 0,
    show: Callable[[Run], None] | None = None,
) -> tuple[ConvVAE, Run]:
    """Minimise the batch mean of ``nll(decoder's output, x)`` + ``beta``·KL, from the same start for each likelihood.

    ``frames`` (N, 1, 32, 32), of which the last 256 are held out. ``draw`` turns the decoder's output into grey values;
    ``learned`` are parameters of the likelihood that are trained along.
    """
    torch.manual_seed(seed)
    vae, run = ConvVAE((1, 32, 32), LATENT, WIDTH), Run(title)
    data, watched = frames[:-HELD_OUT], frames[-HELD_OUT : HELD_OUT // 2 - HELD_OUT]  # half of them will do
    # A single number has far to go and little noise: it may walk ten times as fast as the networks' weights.
    groups: list[dict[str, Any]] = [{"params": [*vae.parameters()]}, {"params": [*learned], "lr": 10 * RATE}]
    optimizer = torch.optim.Adam(groups[: 1 + bool(learned)], RATE)
    for step in tqdm(range(steps), desc=title, unit="step"):
        if step % EVERY == 0:
            measure(vae, run, watched, step, draw, show)
        x = data[torch.randint(len(data), (BATCH,))]
        mu, logvar = vae.encode(x)
        decoded = vae.decode(reparameterize(mu, logvar))
        loss = nll(decoded, x).mean() + beta * kl_standard_normal(mu, logvar).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    measure(vae, run, watched, steps, draw, show)
    return vae, run


@torch.no_grad()
def measure(
    vae: ConvVAE,
    run: Run,
    held_out: Tensor,
    step: int,
    draw: Callable[[Tensor], Tensor],
    show: Callable[[Run], None] | None,
) -> None:
    mu, logvar = vae.encode(held_out)
    decoded = vae.decode(reparameterize(mu, logvar, torch.Generator().manual_seed(1)))
    run.steps.append(step)
    run.kl.append(kl_per_dimension(mu, logvar).mean(0).numpy())
    run.error.append(float((draw(decoded) - held_out).square().flatten(1).sum(1).mean()))
    run.pictures = as_bytes(draw(vae.decode(mu[:SHOWN])))
    if show is not None:
        show(run)


@torch.no_grad()
def outputs(vae: ConvVAE, x: Tensor, seed: int = 1) -> Output:
    """The decoder's output for one sampled code of each frame, and the code's KL."""
    mu, logvar = vae.encode(x)
    generator = torch.Generator().manual_seed(seed)
    return Output(vae.decode(reparameterize(mu, logvar, generator)), kl_standard_normal(mu, logvar))


def as_bytes(x: Tensor) -> NDArray[np.uint8]:
    """Grey values (n, 1, H, W) in [0, 1] as pictures (n, H, W, 1)."""
    return (255 * x).round().byte().permute(0, 2, 3, 1).numpy()


def pictures(frames: Tensor) -> NDArray[np.uint8]:
    """The held-out frames that ``Run.pictures`` reconstructs."""
    return as_bytes(frames[-HELD_OUT : SHOWN - HELD_OUT])


# --- Every likelihood as a probability of the same 8-bit frame: divided by its sum over the 256 greys 0, 1/255, …, 1.

GREYS = torch.arange(256, dtype=torch.float64) / 255


def bernoulli_8bit(logits: Tensor, x: Tensor) -> Tensor:
    """-log p of each frame (B,) when s^x·(1-s)^(1-x) is divided by its sum over the greys.

    With p proportional to exp(ℓx) that sum is a geometric series.
    """
    logits, x = logits.double(), x.double()
    step = (logits.abs() / 255).clamp(min=1e-9)
    log_sum = logits.clamp(min=0) + torch.log(torch.expm1(-256 * step) / torch.expm1(-step))
    return (log_sum - logits * x).flatten(1).sum(1)


def gaussian_8bit(mean: Tensor, x: Tensor, sigma: float) -> Tensor:
    """-log p of each frame (B,) under a Gaussian that is divided by its sum over the greys."""
    return bell_8bit(lambda apart: -0.5 * (apart / sigma).square(), mean, x)


def laplace_8bit(median: Tensor, x: Tensor, b: float) -> Tensor:
    """-log p of each frame (B,) under a Laplace density that is divided by its sum over the greys."""
    return bell_8bit(lambda apart: -apart.abs() / b, median, x)


def bell_8bit(bell: Callable[[Tensor], Tensor], centre: Tensor, x: Tensor) -> Tensor:
    """The two above; ``bell`` is the logarithm of a density, up to a constant, at a distance from the centre."""

    def few(c: Tensor, x: Tensor) -> Tensor:
        return (torch.logsumexp(bell(GREYS - c.unsqueeze(-1)), dim=-1) - bell(x - c)).flatten(1).sum(1)

    pairs = zip(centre.double().split(16), x.double().split(16), strict=True)  # a few at a time, for the memory
    return torch.cat([few(c, v) for c, v in pairs])
