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
from torch.distributions import MultivariateNormal, Normal
from tqdm.auto import tqdm

from wmcourse.lessons.frames import dodge_frames
from wmcourse.lessons.threads import one_thread

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


# --- Formulas against dice


class Dice:
    """Standard normal noise in float64 from one seed: ``dice(400, 2)`` throws 800 of them."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64)


def compare(what: str, exact: float, values: Tensor, weights: Tensor | None = None) -> None:
    """Print a formula beside the (weighted) mean of samples, with its standard error. Stops where they disagree."""
    share = torch.full_like(values, 1 / len(values)) if weights is None else weights / weights.sum()
    mean = (share * values).sum()
    error = (share * (values - mean)).square().sum().sqrt()
    print(f"{what:32s} exact {exact:8.4f}   sampled {mean:8.4f} ± {error:.4f}")
    assert abs(mean - exact) < 5 * error


def reading_model(w: float, b: float, s: float) -> tuple[Tensor, Tensor, float]:
    """The derivation's model as a matrix, a vector and a number: for functions that take W, b and s."""
    return torch.tensor([[w]], dtype=torch.float64), torch.tensor([b], dtype=torch.float64), s


Field = Callable[[Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]]


def field_losses(mean_field: Field, rho: float, dice: Dice) -> dict[str, Tensor]:
    """log q(z) − log p(z) at samples of q, whose mean is KL(q ‖ p), for a p of two numbers with the correlation ``rho``:
    for the q of ``mean_field`` after 400 sweeps, and for one a fifth narrower and one a quarter wider (in variance).

    The same noise for all three, so that their differences are sharp.
    """
    covariance = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
    truth = MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance)
    middle, variances = mean_field(truth.loc, covariance, torch.ones(2, dtype=torch.float64), 400)
    noise, losses = dice(100_000, 2), {}
    for name, factor in (("best", 1.0), ("a little narrower", 0.8), ("a little wider", 1.25)):
        width = (factor * variances).sqrt()
        samples = middle + width * noise
        losses[name] = Normal(middle, width).log_prob(samples).sum(-1) - truth.log_prob(samples)
    return losses


# --- A linear model of Dodge


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


@one_thread()
def train(
    frames: Tensor,
    held_out: Tensor,
    latent: int = LATENT,
    seed: int = 0,
    show: Callable[[Run], None] | None = None,
) -> Run:
    """Climb the mean ELBO of ``frames`` (N, 1, 32, 32) in decoder and encoder at once; measure on ``held_out``."""
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
    return run


# --- The trained model, measured

Score = Callable[..., Tensor]  # log_joint(z, x, W, b, s)


def evidence_by_bayes(
    log_joint: Score, posterior: Callable[..., tuple[Tensor, Tensor]], x: Tensor, model: Model
) -> Tensor:
    """log p(x) = log p(x, z) − log p(z|x) at one z, the posterior's mean: x (B, D) -> (B,), nats.

    Held against torch's own density of x, which needs a D × D matrix, on the first 64 frames.
    """
    centre, covariance = posterior(x, *model)
    evidence = log_joint(centre[None], x, *model)[0] - MultivariateNormal(centre, covariance).log_prob(centre)
    full = model.W @ model.W.T + model.s**2 * torch.eye(len(model.W), dtype=x.dtype)
    assert torch.allclose(evidence[:64], MultivariateNormal(model.b, full).log_prob(x[:64]), atol=1e-3)
    return evidence


def turned(model: Model) -> Model:
    """The same model with the axes of z turned so that the columns of W stand at right angles: WᵀW is diagonal."""
    _, axes = torch.linalg.eigh(model.W.T @ model.W)
    return Model(model.W @ axes, model.b, model.s)


def sampled(
    log_joint: Score, x: Tensor, model: Model, encoder: Encoder, dice: Dice, size: int
) -> tuple[Tensor, Tensor]:
    """log p(x, z_s) and log q(z_s) of samples z_s ~ q(z|x): (S, B) each."""
    centre, width = x @ encoder.slope.T + encoder.intercept, torch.exp(0.5 * encoder.logvar)
    z = centre + width * dice(size, *centre.shape)
    return log_joint(z, x, *model), Normal(centre, width).log_prob(z).sum(-1)


def compare_bounds(name: str, gap: float, estimate: Tensor, logs: tuple[Tensor, Tensor], closed: Tensor) -> None:
    """Print a gap, and the ELBO from samples (B,) beside the closed form (B,). Stops where the two disagree."""
    error = float((logs[0] - logs[1]).var(0).mean().div(logs[0].numel()).sqrt())
    mean, exact, count = float(estimate.mean()), float(closed.mean()), len(closed)
    gap = round(gap, 4) + 0.0  # no minus zero
    print(f"{name:30s} gap {gap:7.4f}   ELBO of {count} frames {mean:.3f} ± {error:.3f}, closed form {exact:.3f}")
    assert abs(mean - exact) < 5 * error + 1e-3  # a float32 number on the way is allowed


def print_bounds(tables: dict[str, NDArray[np.float64]], sizes: list[int], exact: float, closed: float) -> None:
    """Both bounds' means with their standard errors, a row for each number of samples. Stops where one is no bound."""
    print(f"exact log p(x) {exact:.2f} nats, exact ELBO {closed:.2f}\n")
    print("samples            ELBO      importance-weighted")
    for i, size in enumerate(sizes):
        (plain, plain_error, _), (weighted, weighted_error, _) = (table[:, i] for table in tables.values())
        print(f"{size:>7,}   {plain:.2f} ± {plain_error:.2f}      {weighted:.2f} ± {weighted_error:.2f}")
        assert abs(plain - closed) < 5 * plain_error
        assert weighted < exact + 5 * weighted_error


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


def frames_and_dreams(x: Tensor, model: Model, encoder: Encoder, dice: Dice) -> dict[str, NDArray[np.uint8]]:
    """Rows of pictures: frames x (n, D), what the decoder makes of their codes, and of z from the prior."""
    rows = {
        "frame": x,
        "from its z": (x @ encoder.slope.T + encoder.intercept) @ model.W.T + model.b,
        "z ~ prior": dice(len(x), model.W.shape[1]) @ model.W.T + model.b,
    }
    return {name: pictures(row) for name, row in rows.items()}


def pictures(x: Tensor) -> NDArray[np.uint8]:
    """Frames or means (n, 1024) as pictures (n, 32, 32, 1)."""
    return (255 * x.clamp(0, 1)).byte().reshape(-1, 32, 32, 1).numpy()
