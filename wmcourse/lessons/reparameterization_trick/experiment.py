"""Lesson 02's experiments: exact expectations to compare with, the bias of a relaxed die, and a tiny VAE on Dodge's frames
whose encoder is trained with one gradient estimator or another.

The estimators are the learner's: (f, mu, logvar, epsilon) -> gradients by mu and by logvar, one for each sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from wmcourse.kl_divergence_loss import kl_standard_normal
from wmcourse.lessons.threads import one_thread
from wmcourse.reconstruction_loss import bernoulli_nll

Function = Callable[[Tensor], Tensor]  # samples (S, B, Z) -> values (S, B)
Estimator = Callable[[Function, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
LATENT, HIDDEN, BATCH, SAMPLES, RATE, STEPS, EVERY = 4, 64, 32, 4, 1e-3, 300, 15


# --- What an expectation is, without dice


def exact_expectation(f: Function, mu: float, logvar: float) -> float:
    """E[f(z)] in one dimension by Gauss–Hermite quadrature with 80 nodes: exact to rounding for a smooth f."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    z = mu + math.exp(0.5 * logvar) * torch.from_numpy(nodes)
    return float(f(z.reshape(-1, 1, 1)).ravel() @ torch.from_numpy(weights)) / math.sqrt(2 * math.pi)


def exact_slopes(f: Function, mu: float, logvar: float, step: float = 1e-4) -> tuple[float, float]:
    """Its slopes by mu and by logvar, as central differences: off by about step²."""

    def slope(d_mu: float, d_logvar: float) -> float:
        above = exact_expectation(f, mu + d_mu, logvar + d_logvar)
        return (above - exact_expectation(f, mu - d_mu, logvar - d_logvar)) / (2 * step)

    return slope(step, 0), slope(0, step)


def compare_slopes(
    title: str, f: Function, mu: float, logvar: float, exact: tuple[float, float], estimators: dict[str, Estimator]
) -> None:
    """Print the exact slopes, and each estimate from 200,000 samples with its standard error. Stops where they disagree.

    Samples come in 25,000 groups of 8, so that each has others to ask; the groups' means are independent.
    """
    groups = 25_000
    mus, logvars = (torch.full((groups, 1), value, dtype=torch.float64) for value in (mu, logvar))
    epsilon = torch.randn(8, groups, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    terms = {name: estimator(f, mus, logvars, epsilon) for name, estimator in estimators.items()}
    for i, parameter in enumerate(("mu", "logvar")):
        print(f"slope of E[{title}] by {parameter}: {exact[i]:.4f}")
        for name, both in terms.items():
            means = both[i].mean(dim=0)
            value, error = means.mean().item(), means.std().item() / math.sqrt(groups)
            print(f"    {name:18} {value:.4f} ± {error:.4f}")
            assert abs(value - exact[i]) < 5 * error


def noise_over_dimensions(estimator: Estimator, dimensions: list[int]) -> list[tuple[float, float]]:
    """The variance of one sample's slope of z₁² + … + z_D² by μ₁, where every μ is 1 and every σ ½, and its standard error.

    Measured on 3,000 means of 16 samples, times 16: so a baseline has others to ask.
    """
    generator, rows = torch.Generator().manual_seed(6), []
    for d in dimensions:
        mu = torch.ones(3_000, d, dtype=torch.float64)
        epsilon = torch.randn(16, 3_000, d, generator=generator, dtype=torch.float64)
        by_mu, _ = estimator(lambda z: z.square().sum(dim=-1), mu, 2 * math.log(0.5) * mu, epsilon)
        means = by_mu[..., 0].mean(dim=0)
        square = 16 * (means - means.mean()).square()
        rows.append((float(square.mean()), float(square.std()) / math.sqrt(len(square))))
    return rows


# --- A relaxed die


class Relaxation(NamedTuple):
    """For each temperature: how far the mean gradient is off, and how much one sample strays (lengths of vectors)."""

    temperatures: NDArray[np.float64]
    bias: NDArray[np.float64]
    error: NDArray[np.float64]  # of the bias: its standard error
    noise: NDArray[np.float64]
    score_noise: float  # of the score-function estimator, which is unbiased
    exact: NDArray[np.float64]


VALUES = (0.0, 1.0, 3.0)  # what the three faces are worth
FACES = (0.5, 0.3, 0.2)  # how probable they are


def worth(y: Tensor) -> Tensor:
    """A function of a face as a one-hot vector, or of a relaxed one: (…, 3) -> (…)."""
    return (y @ torch.tensor(VALUES, dtype=y.dtype) - 1).square()


def relax(gumbel_softmax: Callable[[Tensor, Tensor, float], Tensor], samples: int = 40_000) -> Relaxation:
    """The gradient of E[worth(y)] by the logits, through a relaxed die, against the exact one, at 30 temperatures."""
    p = torch.tensor(FACES, dtype=torch.float64)
    faces = worth(torch.eye(3, dtype=torch.float64))
    exact = p * (faces - p @ faces)
    generator = torch.Generator().manual_seed(4)
    u = torch.rand(samples, 3, generator=generator, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    temperatures = np.arange(1, 31) / 10
    rows = []
    for temperature in temperatures:
        logits = p.log().expand(samples, 3).clone().requires_grad_()
        (terms,) = torch.autograd.grad(worth(gumbel_softmax(logits, u, float(temperature))).sum(), logits)
        spread = terms.var(dim=0)
        rows.append(((terms.mean(dim=0) - exact).norm(), (spread.sum() / samples).sqrt(), spread.sum().sqrt()))
    bias, error, noise = np.array(rows, dtype=np.float64).T
    score = torch.eye(3, dtype=torch.float64) - p  # ∂log p(face)/∂logits, one row for each face
    second = (p * faces.square() * score.square().sum(dim=1)).sum()
    score_noise = math.sqrt(second - exact.square().sum())
    return Relaxation(temperatures, bias, error, noise, score_noise, exact.numpy())


# --- A tiny VAE


class TinyVAE(nn.Module):
    """Two networks with one hidden layer each: frames (B, 1, 32, 32) to 4 latent dimensions and back to logits.

    The decoder starts out from the average frame, so that everything that is learned is what distinguishes frames.
    """

    def __init__(self, average: Tensor) -> None:
        super().__init__()
        pixels = average.numel()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(pixels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT))
        last = nn.Linear(HIDDEN, pixels)
        with torch.no_grad():
            last.bias.copy_(torch.logit(average.flatten().clamp(1e-3, 1 - 1e-3)))
        self.decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.ReLU(), last)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.encoder(x).chunk(2, dim=-1)
        return mu, logvar

    def reconstruction(self, z: Tensor, x: Tensor) -> Tensor:
        """Nats (S, B) that frames x (B, …) cost, given samples z (S, B, Z)."""
        logits = self.decoder(z).reshape(-1, x[0].numel())
        frames = x.flatten(1).expand(len(z), -1, -1).reshape(logits.shape)
        return bernoulli_nll(logits, frames).reshape(z.shape[:2])


@dataclass
class Run:
    """One training: for each snapshot the step, and the loss on held-out frames (−ELBO), in nats per frame."""

    title: str
    steps: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)


@one_thread()
def train(
    title: str, frames: Tensor, estimator: Estimator, steps: int = STEPS, show: Callable[[Run], None] | None = None
) -> tuple[TinyVAE, Run]:
    """Minimise the reconstruction + KL; the reconstruction's gradient by the encoder's output is the ``estimator``'s.

    ``frames`` (N, 1, 32, 32): the last 256 are held out and measured. The decoder's own gradient, and the KL's, need no
    estimator: neither goes through the draw. All trainings see the same frames and the same noise.
    """
    torch.manual_seed(0)
    vae, run = TinyVAE(frames[:-256].mean(dim=0)), Run(title)
    data, held_out = frames[:-256], frames[-256:]
    optimizer = torch.optim.Adam(vae.parameters(), RATE)
    for step in tqdm(range(steps + 1), desc=title, unit="step"):
        if step % EVERY == 0:
            measure(vae, run, held_out, step)
            if show is not None:
                show(run)
        x = data[torch.randint(len(data), (BATCH,))]
        epsilon = torch.randn(SAMPLES, BATCH, LATENT)
        mu, logvar = vae.encode(x)
        f = partial(vae.reconstruction, x=x)
        by_mu, by_logvar = estimator(f, mu.detach(), logvar.detach(), epsilon)
        optimizer.zero_grad()
        kl_standard_normal(mu, logvar).mean().backward(retain_graph=True)
        torch.autograd.backward((mu, logvar), (by_mu.mean(dim=0) / BATCH, by_logvar.mean(dim=0) / BATCH))
        z = (mu + torch.exp(0.5 * logvar) * epsilon).detach()
        vae.reconstruction(z, x).mean().backward()  # for the decoder alone
        optimizer.step()
    return vae, run


@torch.no_grad()
def measure(vae: TinyVAE, run: Run, held_out: Tensor, step: int) -> None:
    mu, logvar = vae.encode(held_out)
    epsilon = torch.randn(4, *mu.shape, generator=torch.Generator().manual_seed(1))
    kl = float(kl_standard_normal(mu, logvar).mean())
    run.steps.append(step)
    run.kl.append(kl)
    run.loss.append(float(vae.reconstruction(mu + torch.exp(0.5 * logvar) * epsilon, held_out).mean()) + kl)


def gradient_noise(vae: TinyVAE, x: Tensor, estimator: Estimator, draws: int = 400) -> tuple[float, float]:
    """How much one sample's gradient by mu and by logvar strays at frames x: the variance, summed over dimensions and
    averaged over frames. Samples come in groups of SAMPLES, as in training, so that a baseline has others to ask.
    """
    with torch.no_grad():
        mu, logvar = vae.encode(x)
    generator = torch.Generator().manual_seed(2)
    means = []
    for _ in range(draws):
        epsilon = torch.randn(SAMPLES, len(x), LATENT, generator=generator)
        terms = estimator(partial(vae.reconstruction, x=x), mu, logvar, epsilon)
        means.append(torch.stack([term.detach().mean(dim=0) for term in terms]))
    spread = SAMPLES * torch.stack(means).var(dim=0).sum(dim=-1).mean(dim=-1)  # (2,)
    return float(spread[0]), float(spread[1])
