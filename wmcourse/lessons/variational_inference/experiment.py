"""Lesson 01's experiment: a linear model of Dodge's frames, z ~ N(0, I), x | z ~ N(W z + b, s² I), and a linear encoder.

Both are trained on the ELBO, as a VAE is. Here the expectation under q has a closed form, so no gradient passes through
a sample yet; and the evidence has one, too, so the gap can be watched.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Normal
from tqdm.auto import tqdm

from wmcourse.lessons.frames import dodge_frames

LATENT, BATCH, RATE, STEPS, SNAPSHOTS = 8, 128, 1e-2, 1_000, 20
LOG_2PI = math.log(2 * math.pi)


class Model(NamedTuple):
    """The decoder: W (D, Z), b (D,), s."""

    W: Tensor
    b: Tensor
    s: float


class Encoder(NamedTuple):
    """q(z|x) = N(slope·x + intercept, diag exp(logvar)): (Z, D), (Z,), (Z,)."""

    slope: Tensor
    intercept: Tensor
    logvar: Tensor


@dataclass
class Run:
    """One training: for each snapshot the step and the held-out means of the exact log-evidence and of the ELBO, nats."""

    steps: list[int] = field(default_factory=list)
    evidence: list[float] = field(default_factory=list)
    elbo: list[float] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    encoders: list[Encoder] = field(default_factory=list)

    def at(self, step: int) -> tuple[Model, Encoder]:
        """Decoder and encoder as they were, in float64."""
        i = self.steps.index(step)
        model, encoder = self.models[i], self.encoders[i]
        return Model(model.W.double(), model.b.double(), model.s), Encoder(*(part.double() for part in encoder))


def held_out_frames() -> Tensor:
    """Frames of episodes that nobody trains on, (2048, 1, 32, 32)."""
    return dodge_frames(worlds=32, steps=64, seed=1_000)


def closed_elbo(x: Tensor, model: Model, encoder: Encoder) -> Tensor:
    """The ELBO of each frame, exactly: x (B, D) -> (B,), nats. The derivation's formula, for vectors."""
    log_s = torch.as_tensor(model.s, dtype=x.dtype).log()
    mu, variance = x @ encoder.slope.T + encoder.intercept, encoder.logvar.exp()
    misfit = (x - mu @ model.W.T - model.b).square().sum(-1) + (variance * model.W.square().sum(0)).sum()
    reconstruction = -0.5 * misfit * torch.exp(-2 * log_s) - x.shape[1] * (log_s + 0.5 * LOG_2PI)
    price = 0.5 * (variance + mu.square() - 1 - encoder.logvar).sum(-1)
    return reconstruction - price


def exact_log_evidence(x: Tensor, model: Model) -> Tensor:
    """log p(x) of each frame: x (B, D) -> (B,), nats. log p(x, z) - log p(z|x) at the posterior's mean."""
    x, w, b = x.double(), model.W.double(), model.b.double()
    precision = torch.eye(w.shape[1], dtype=x.dtype) + w.T @ w / model.s**2
    mean = torch.linalg.solve(precision, w.T @ (x - b).T).T / model.s**2
    misfit = (x - mean @ w.T - b).square().sum(-1) / model.s**2
    log_joint = -0.5 * (mean.square().sum(-1) + misfit + x.shape[1] * (LOG_2PI + 2 * math.log(model.s)))
    return log_joint - 0.5 * torch.logdet(precision)  # the ½·Z·log 2π of joint and posterior cancel


def maximum_likelihood(frames: Tensor, latent: int = LATENT) -> Model:
    """The best W, b and s there are for these frames, in closed form (Tipping & Bishop 1999): probabilistic PCA."""
    x = frames.flatten(1).double()
    b = x.mean(0)
    values, axes = torch.linalg.eigh((x - b).T @ (x - b) / len(x))  # ascending
    variance = values[:-latent].mean()
    scale = (values[-latent:] - variance).sqrt()
    return Model((axes[:, -latent:] * scale).flip(1), b, float(variance.sqrt()))


def without_latents(frames: Tensor, x: Tensor) -> Tensor:
    """log p(x) of each frame under the best Gaussian around the average of ``frames``, the same width everywhere."""
    known = frames.flatten(1).double()
    return Normal(known.mean(0), (known - known.mean(0)).square().mean().sqrt()).log_prob(x).sum(-1)


def train(
    frames: Tensor,
    held_out: Tensor,
    latent: int = LATENT,
    seed: int = 0,
    show: Callable[[Run], None] | None = None,
) -> Run:
    """Climb the mean ELBO of ``frames`` (N, 1, 32, 32) in decoder and encoder at once; measure on ``held_out``."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small that more gain nothing, and the numbers are nearly the same on any machine
    torch.manual_seed(seed)
    x, test = frames.flatten(1), held_out.flatten(1)
    size = x.shape[1]
    w, slope = (0.01 * torch.randn(size, latent)).requires_grad_(), (0.01 * torch.randn(latent, size)).requires_grad_()
    b, log_s = x.mean(0).requires_grad_(), torch.tensor(math.log(0.15), requires_grad=True)
    intercept, logvar = (-slope @ x.mean(0)).detach().requires_grad_(), torch.zeros(latent, requires_grad=True)
    optimizer = torch.optim.Adam([w, b, log_s, slope, intercept, logvar], RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    run = Run()

    def measure(step: int) -> None:
        model = Model(w.detach().clone(), b.detach().clone(), float(log_s.detach().exp()))
        encoder = Encoder(slope.detach().clone(), intercept.detach().clone(), logvar.detach().clone())
        run.steps.append(step)
        run.evidence.append(float(exact_log_evidence(test, model).mean()))
        run.elbo.append(float(closed_elbo(test, model, encoder).mean()))
        run.models.append(model)
        run.encoders.append(encoder)
        if show is not None:
            show(run)

    for step in tqdm(range(STEPS), desc="climbing the bound", unit="step"):
        if step % (STEPS // SNAPSHOTS) == 0:
            measure(step)
        batch = x[torch.randint(len(x), (BATCH,))]
        model = Model(w, b, log_s.exp())  # type: ignore[arg-type]  # a number with a gradient
        loss = -closed_elbo(batch, model, Encoder(slope, intercept, logvar)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    measure(STEPS)
    torch.set_num_threads(threads)
    return run


def deal(
    bound: Callable[[Tensor, Tensor], Tensor], log_joint: Tensor, log_q: Tensor, sizes: list[int]
) -> NDArray[np.float64]:
    """A pool of samples (N,) dealt out in groups of each size, one estimate per group: (3, sizes) with the estimates'
    mean, the standard error of that mean, and their standard deviation.
    """
    columns = []
    for size in sizes:
        groups = len(log_q) // size
        values = bound(*(pool[: groups * size].reshape(groups, size).T for pool in (log_joint, log_q)))
        columns.append([float(values.mean()), float(values.std()) / math.sqrt(groups), float(values.std())])
    return np.array(columns).T


def pictures(x: Tensor) -> NDArray[np.uint8]:
    """Frames or means (n, 1024) as pictures (n, 32, 32, 1)."""
    return (255 * x.clamp(0, 1)).byte().reshape(-1, 32, 32, 1).numpy()
