"""Lesson 05's experiment: a VAE trained on Dodge's frames with the learner's own parts, at one price and at many, and
what its code knows of the world.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from wmcourse import vae_complete_loss
from wmcourse.kl_divergence_loss import kl_standard_normal
from wmcourse.lessons.parts import Parts
from wmcourse.lessons.parts import your_parts as your_parts  # notebooks find it here, too
from wmcourse.lessons.threads import one_thread
from wmcourse.vae_complete_loss import ConvVAE
from wmcourse.worlds import DodgeVectorEnv

LATENT, BATCH, RATE, EVERY = 16, 64, 2e-3, 30
BETAS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
ABOVE, BELOW, GROUND = slice(0, 12), slice(17, 29), slice(29, 32)  # rows over the band, under it, and the agent's


# --- Frames that nothing was trained on, and what was true in them


@dataclass(frozen=True)
class HeldOut:
    """N frames of worlds that no training has seen, (N, 1, 32, 32), and the state behind each, in pixels."""

    frames: Tensor
    world: NDArray[np.int64]  # (N,)
    agent: NDArray[np.float32]  # (N,) its column
    hazard_x: NDArray[np.float32]  # (N, M) columns and rows of the hazards, those out of sight included
    hazard_y: NDArray[np.float32]

    def hazard(self, rows: slice) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
        """Frames that have exactly one hazard wholly within these rows, and that hazard's column and row elsewhere 0."""
        inside = (self.hazard_y >= rows.start + 2) & (self.hazard_y <= rows.stop - 2)
        one = inside.sum(1) == 1
        return one, (self.hazard_x * inside).sum(1), (np.where(inside, self.hazard_y, 0)).sum(1)


def held_out(worlds: int = 64, steps: int = 64, every: int = 4, seed: int = 1000) -> HeldOut:
    """Random play as in ``dodge_frames``, in other worlds; one frame in ``every``, since neighbours are nearly the same."""
    world, rng = DodgeVectorEnv(worlds), np.random.default_rng(seed)
    world.reset(seed=seed)
    frames, states, action = [], [], np.zeros((worlds, 1), np.float32)
    for step in range(1, steps + 1):
        fresh = rng.random((worlds, 1)) < 0.1
        action = np.where(fresh, rng.uniform(-1, 1, (worlds, 1)), action).astype(np.float32)
        seen, *_ = world.step(action)
        if step % every == 0:
            frames.append(seen)
            states.append(world.state.copy())
    return HeldOut(
        torch.from_numpy(np.concatenate(frames).transpose(0, 3, 1, 2)).float() / 255,
        np.tile(np.arange(worlds), len(frames)),
        np.concatenate([state.x for state in states]),
        np.concatenate([state.hazard_x for state in states]),
        np.concatenate([state.hazard_y for state in states]),
    )


# --- Training and measuring


@dataclass(frozen=True)
class Point:
    """What a VAE does to held-out frames, in nats per frame. Frames of one world resemble each other, so what counts as
    one independent draw is a *world*: ``each`` has their means, (W, 2), rate and distortion; errors are over worlds.
    """

    each: NDArray[np.float64]

    @property
    def rate(self) -> float:
        return float(self.each[:, 0].mean())

    @property
    def distortion(self) -> float:
        return float(self.each[:, 1].mean())

    @property
    def elbo(self) -> float:
        return -self.rate - self.distortion

    @property
    def elbo_error(self) -> float:
        return mean_and_error(self.each.sum(1))[1]

    def less(self, other: Point) -> tuple[float, float]:
        """By how much this ELBO is higher than another's on the same worlds, and the standard error of *that*."""
        return mean_and_error((other.each - self.each).sum(1))


def mean_and_error(values: NDArray[np.float64]) -> tuple[float, float]:
    """The mean of independent values, and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def chord(cheap: Point, dear: Point) -> tuple[float, float]:
    """Nats of distortion for each nat of rate between two models, dD/dR without its sign, and its standard error."""
    saved, lost = (dear.each - cheap.each)[:, 0], (cheap.each - dear.each)[:, 1]
    slope = lost.mean() / saved.mean()
    return float(slope), mean_and_error(lost - slope * saved)[1] / abs(float(saved.mean()))


class Model(NamedTuple):
    """A trained VAE, its price and its place on the curve, and what it draws."""

    beta: float
    vae: ConvVAE
    point: Point
    reconstructions: Tensor  # (8, 32, 32)
    samples: Tensor  # (8, 32, 32), of the same eight z for all models


@dataclass
class History:
    """One training: rate and distortion on held-out frames at some steps, and a few of these frames, decoded."""

    steps: list[int] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    distortion: list[float] = field(default_factory=list)
    pictures: Tensor | None = None


def train(
    frames: Tensor,
    betas: Tensor,
    parts: Parts,
    vae: ConvVAE | None = None,
    watch: HeldOut | None = None,
    show: Callable[[History], None] | None = None,
    title: str = "",
    seed: int = 0,
) -> tuple[ConvVAE, History]:
    """As many steps as there are ``betas``, with Adam; begins with a copy of ``vae`` when one is given.

    A quarter of the frames of ``watch`` is measured now and then. In the second half the learning rate falls to zero.
    """
    history, steps = History(), len(betas)
    with one_thread(seed), parts.use():
        vae = copy.deepcopy(vae) if vae else ConvVAE((1, 32, 32), LATENT)
        optimizer = torch.optim.Adam(vae.parameters(), RATE)
        falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2 * (1 - step / steps)))
        for step, beta in enumerate(tqdm(betas.tolist(), desc=title, unit="step")):
            if watch is not None and step % EVERY == 0:
                look(vae, watch, history, step, show)
            x = frames[torch.randint(len(frames), (BATCH,))]
            logits, mu, logvar = vae(x)
            loss = vae_complete_loss.vae_loss(logits, x, mu, logvar, beta)
            optimizer.zero_grad()
            loss.total.backward()
            optimizer.step()
            falling.step()
        if watch is not None:
            look(vae, watch, history, steps, show)
    return vae, history


@torch.no_grad()
def look(vae: ConvVAE, watch: HeldOut, history: History, step: int, show: Callable[[History], None] | None) -> None:
    frames = watch.frames[::4]
    mu, logvar = vae.encode(frames)
    noise = torch.Generator().manual_seed(1)  # of its own: looking must not change what is trained
    logits = vae.decode(mu + torch.exp(0.5 * logvar) * torch.randn(mu.shape, generator=noise))
    loss = vae_complete_loss.vae_loss(logits, frames, mu, logvar)
    history.steps.append(step)
    history.rate.append(loss.kl.item())
    history.distortion.append(loss.reconstruction.item())
    history.pictures = torch.sigmoid(vae.decode(vae.encode(watch.frames[eight(watch)[:6]])[0]))[:, 0]
    if show is not None:
        show(history)


@torch.no_grad()
def measure(vae: ConvVAE, test: HeldOut, parts: Parts, seed: int = 1) -> Point:
    """Rate and distortion of each world's frames, by the learner's loss; one sampled z for each frame."""
    rows = []
    with one_thread(seed), parts.use():
        logits, mu, logvar = vae(test.frames)
        for world in range(int(test.world.max()) + 1):
            mine = torch.from_numpy(test.world == world)
            loss = vae_complete_loss.vae_loss(logits[mine], test.frames[mine], mu[mine], logvar[mine])
            rows.append([loss.kl.item(), loss.reconstruction.item()])
    return Point(np.array(rows))


def sweep(
    vae: ConvVAE,
    frames: Tensor,
    test: HeldOut,
    parts: Parts,
    betas: Sequence[float] = BETAS,
    steps: int = 200,
    show: Callable[[list[Model]], None] | None = None,
) -> list[Model]:
    """The same VAE, trained on at each price, with the same frames in the same order and the same noise."""
    chosen = eight(test)
    z = torch.randn(8, LATENT, generator=torch.Generator().manual_seed(2))
    models = list[Model]()
    for beta in betas:
        trained, _ = train(frames, torch.full((steps,), beta), parts, vae, title=f"β = {named(beta)}")
        with torch.no_grad():
            mu, _ = trained.encode(test.frames[chosen])
            pictures, samples = (torch.sigmoid(trained.decode(code))[:, 0] for code in (mu, z))
        models.append(Model(beta, trained, measure(trained, test, parts), pictures, samples))
        if show is not None:
            show(models)
    return models


def named(beta: float) -> str:
    """2 for 2.0, ¼ for 0.25."""
    return {0.25: "¼", 0.5: "½"}.get(beta, f"{beta:g}")


def eight(test: HeldOut) -> NDArray[np.int64]:
    """Eight frames, of different worlds, that show the agent, a hazard above the band and one below."""
    above, below = test.hazard(ABOVE)[0], test.hazard(BELOW)[0]
    rows = np.random.default_rng(0).permutation(np.flatnonzero(above & below))
    _, first = np.unique(test.world[rows], return_index=True)
    return rows[np.sort(first)][:8]


def exact_cost(frames: Tensor) -> float:
    """The distortion of a decoder that draws every grey exactly: the entropy of the pixels as coins, nats per frame."""
    return float(-(torch.xlogy(frames, frames) + torch.xlogy(1 - frames, 1 - frames)).sum(dim=(1, 2, 3)).mean())


# --- What the code knows


def explained(code: NDArray[Any], fact: NDArray[Any], bins: int = 12) -> NDArray[np.float64]:
    """The share of each dimension's variance that a fact explains, bends included (the correlation ratio η², less what
    chance would explain): (N, Z), (N,) -> (Z,). The fact is cut into ``bins`` of about equal counts.
    """
    edges = np.unique(np.quantile(fact, np.linspace(0, 1, bins + 1)[1:-1]))
    place = np.searchsorted(edges, fact)
    within = sum(((mine - mine.mean(0)) ** 2).sum(0) for mine in (code[place == k] for k in np.unique(place)))
    free = len(code) - len(np.unique(place))
    return 1 - (within / free) / code.var(0, ddof=1)


def facts(test: HeldOut) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.float32]]]:
    """What may be known of a frame: in which frames it is defined, and its value in pixels."""
    above, above_x, above_y = test.hazard(ABOVE)
    below, below_x, below_y = test.hazard(BELOW)
    return {
        "agent’s column": (np.ones(len(test.agent), bool), test.agent),
        "column of a hazard above the band": (above, above_x),
        "row of a hazard above the band": (above, above_y),
        "column of a hazard below the band": (below, below_x),
        "row of a hazard below the band": (below, below_y),
    }


def centre(pictures: Tensor, rows: slice, axis: int) -> NDArray[np.float64]:
    """Where the light is in these rows of pictures (N, 32, 32): its mean column (axis 1) or row (axis 0), in pixels.
    NaN where there is none.
    """
    light = pictures[:, rows].double().numpy()
    start = rows.start if axis == 0 else 0
    along = light.sum(axis=2 if axis == 0 else 1)
    places = start + np.arange(along.shape[1]) + 0.5
    total = along.sum(1)
    return np.where(total > 1.5, (along * places).sum(1) / np.maximum(total, 1e-9), np.nan)


@torch.no_grad()
def moved(vae: ConvVAE, mu: Tensor, rows: slice, axis: int, values: Tensor) -> NDArray[np.float64]:
    """How far each dimension moves what is in these rows when it goes through ``values``, in pixels: (Z,), the mean
    over the codes ``mu`` (n, Z).
    """
    spans = []
    for j in range(mu.shape[1]):
        z = mu.repeat_interleave(len(values), 0)
        z[:, j] = values.repeat(len(mu))
        at = centre(torch.sigmoid(vae.decode(z))[:, 0], rows, axis).reshape(len(mu), len(values))
        spans.append(np.nanmean(np.nanmax(at, 1) - np.nanmin(at, 1)))
    return np.array(spans)


# --- What the rate pays for


def log_q(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """log q(z_i | x_j): (M, Z), (N, Z), (N, Z) -> (M, N), without the constant that q and p share."""
    weight = torch.exp(-logvar)
    square = z.square() @ weight.T - 2 * z @ (mu * weight).T + (mu.square() * weight).sum(1)
    return -0.5 * (square + logvar.sum(1))


class Split(NamedTuple):
    """Nats per frame: the rate in closed form; and by sampling, each with its standard error, what the code says about
    x and how far all codes together are from the prior.
    """

    rate: float
    information: float
    information_error: float
    aggregate: float
    aggregate_error: float


@torch.no_grad()
def split(mu: Tensor, logvar: Tensor, samples: int, seed: int = 0) -> Split:
    """E_x KL(q(z|x) ‖ p) = I(x; z) + KL(q(z) ‖ p) for N equally likely x, the two estimated with noise of their own.

    ``samples`` z are drawn for each x, in each of the two.
    """
    mu, logvar = mu.double(), logvar.double()
    noise = torch.Generator().manual_seed(seed)
    said, off_prior = list[Tensor](), list[Tensor]()
    for which in (said, off_prior):
        for _ in range(samples):
            epsilon = torch.randn(mu.shape, generator=noise, dtype=torch.float64)
            z = mu + torch.exp(0.5 * logvar) * epsilon
            own = -0.5 * (epsilon.square() + logvar).sum(1)  # log q(z | its x)
            blocks = [torch.logsumexp(log_q(block, mu, logvar), 1) for block in z.split(512)]
            average = torch.cat(blocks) - math.log(len(mu))  # log q(z)
            which.append(own - average if which is said else average + 0.5 * z.square().sum(1))
    (information, its_error), (aggregate, other_error) = (
        mean_and_error(torch.cat(values).numpy()) for values in (said, off_prior)
    )
    rate = kl_standard_normal(mu, logvar).mean().item()
    return Split(rate, information, its_error, aggregate, other_error)
