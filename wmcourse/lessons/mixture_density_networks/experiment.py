"""Lesson 07's experiments: Bishop's inverse problem, a fork in Dodge, and the same fork in a VAE's latents.

One small network does all three: it turns an input into a mixture, and is trained on the mixture's negative
log-likelihood, with the learner's functions. Only the data differ.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from wmcourse.lessons.memories import HELD_OUT, TRAIN, Memories, Sequences, play
from wmcourse.lessons.threads import one_thread
from wmcourse.mixture_density_networks import mixture_nll
from wmcourse.vae_complete_loss import ConvVAE
from wmcourse.worlds.dodge import SIZE, Rules

Parts = tuple[Tensor, Tensor, Tensor]  # log_pi, mu, log_sigma
Split = Callable[[Tensor, int, int, float], Parts]
Loss = Callable[..., Tensor]

BOUND = 5.0  # of log σ, in units of the targets' own spread
AHEAD = 7  # steps from the last frame on which a hazard is wholly hidden; it forks in the second of them
BATCH, STEPS, EVERY = 256, 1000, 50
WALL = Rules().hazard / 2  # a hazard's centre stays that far from the frame's edge
COLUMNS = np.linspace(WALL, SIZE - WALL, 113)  # where a hazard may be, pixels


# --- Data


class Data(NamedTuple):
    """Inputs (N, D) and targets (N, Z). Rows of one ``world`` resemble each other: what counts as a draw is a world."""

    x: Tensor
    target: Tensor
    world: Tensor  # (N,) int64


def bishop(count: int, seed: int) -> Data:
    """The inverse problem of Bishop (1994): x = t + 0.3 sin(2πt) + noise is given, and t is asked for."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(0, 1, (count, 1))
    x = forward(t) + rng.uniform(-0.1, 0.1, (count, 1))
    return Data(torch.from_numpy(x).float(), torch.from_numpy(t).float(), torch.arange(count))


def forward(t: Any) -> Any:
    """The direction that is a function: t to x, without the noise."""
    return t + 0.3 * np.sin(2 * np.pi * t)


@dataclass(frozen=True)
class Forks:
    """Every fork of a recording: when the hazard was last wholly hidden, and what was true then and AHEAD steps later."""

    step: Tensor  # (N,) index into the recording
    world: Tensor  # (N,)
    column: Tensor  # (N,) of the hidden hazard, pixels
    moved: Tensor  # (N,) to the right, AHEAD steps later, pixels
    state: Tensor  # (N, D) all that a perfect memory would know, and the next actions


def find_forks(play: Sequences, steps: int) -> Forks:
    """The forks of random play, ``steps`` in each world, whose next AHEAD steps are of the same episode."""
    rules = Rules()
    row, slot = torch.nonzero(
        (play.hazard_y + rules.fall < rules.fork_row) & (play.hazard_y + 2 * rules.fall >= rules.fork_row),
        as_tuple=True,
    )
    whole = row + AHEAD < len(play)
    row, slot = row[whole], slot[whole]
    whole = ~torch.stack([play.ended[row + k] for k in range(AHEAD)]).any(0)
    row, slot = row[whole], slot[whole]
    column = play.hazard_x[row, slot]
    known = [(play.agent_x[row] - 16) / 8, play.agent_velocity[row] / 2, (column - 16) / 8]
    for k in (1, 3):  # the next hazard, and the one before
        other = (slot + k) % rules.slots
        there = (play.hazard_y[row, other] < SIZE + rules.hazard).float()
        values = [(play.hazard_x[row, other] - 16) / 8, (play.hazard_y[row, other] - 16) / 8, play.drift[row, other]]
        known += [there, *(there * value for value in values)]
    known += [play.action[row + k, 0] for k in range(AHEAD)]
    return Forks(row, row // steps, column, play.hazard_x[row + AHEAD, slot] - column, torch.stack(known, 1))


def fork_data(forks: Forks, seed: int) -> Data:
    """From a hidden hazard's column to how far it has moved AHEAD steps later, both in pixels.

    A column is read to within half a pixel: without that noise each side would be a single number, and a likelihood
    of single numbers has no maximum.
    """
    noise = torch.rand(len(forks.moved), generator=torch.Generator().manual_seed(seed)) - 0.5
    return Data(forks.column[:, None], (forks.moved + noise)[:, None], forks.world)


def dodge_forks() -> tuple[Data, Data]:
    """Forks to train on and forks of other worlds, without frames: two seconds of play."""
    train, held_out = (find_forks(play(*size), size[1]) for size in (TRAIN, HELD_OUT))
    return fork_data(train, 0), fork_data(held_out, 1)


def two_futures(column: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far a hazard moves in AHEAD steps if it forks to the left, and to the right; the walls turn it round."""
    column, sides = np.asarray(column, np.float64), []
    for turn in (-Rules().turn, Rules().turn):
        x, drift = column.copy(), np.full_like(column, turn)
        for _ in range(AHEAD - 1):
            outside = (x + drift < WALL) | (x + drift > SIZE - WALL)
            drift = np.where(outside, -drift, drift)  # and the whole step goes the other way
            x = x + drift
        sides.append(x - column)
    return sides[0], sides[1]


def fork_entropy(column: NDArray[Any]) -> float:
    """What no model can go below, on average over these columns: the entropy of ½ U(left ± ½) + ½ U(right ± ½)."""
    left, right = two_futures(column)
    return float(np.mean(math.log(2) * np.minimum(np.abs(right - left), 1)))


def latent_data(forks: Forks, play: Sequences) -> tuple[Data, Tensor]:
    """From what a perfect memory knows to the latents AHEAD steps later: μ as targets, and their log σ²."""
    row = forks.step + AHEAD
    return Data(forks.state, play.mu[row], forks.world), play.logvar[row]


# --- The network


class MixtureNet(nn.Module):
    """Inputs (N, D) -> a mixture in the targets' units: log_pi, mu and log_sigma, each (N, Z, K).

    ``shared``: one set of weights for the whole vector, and log_pi is (N, K). Inside all is scaled to the spread of
    the training data. The components' means start apart: equal components get equal gradients, and stay equal.
    """

    def __init__(self, data: Data, components: int, split: Split, shared: bool, hidden: int, layers: int) -> None:
        super().__init__()
        self.latent, self.components, self.split, self.shared = data.target.shape[1], components, split, shared
        self.x_mean, self.x_std = data.x.mean(0), data.x.std(0) + 1e-6
        self.mean, self.std = data.target.mean(0)[:, None], data.target.std(0)[:, None]
        sizes = [data.x.shape[1], *[hidden] * layers]
        body = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.Tanh())]
        weights = components if shared else self.latent * components
        self.body, self.head = nn.Sequential(*body), nn.Linear(hidden, weights + 2 * self.latent * components)
        with torch.no_grad():
            self.head.bias.zero_()
            start = self.head.bias[weights : weights + self.latent * components].view(self.latent, components)
            if components > 1:
                apart = torch.linspace(-1, 1, components).expand_as(start)
                start.copy_(torch.randn_like(start) if shared else apart)

    def forward(self, x: Tensor) -> Parts:
        out = self.head(self.body((x - self.x_mean) / self.x_std))
        if self.shared:
            log_pi = F.log_softmax(out[..., : self.components], dim=-1)
            mu, s = out[..., self.components :].unflatten(-1, (2, self.latent, self.components)).unbind(dim=-3)
            log_sigma = BOUND * torch.tanh(s / BOUND)
        else:
            log_pi, mu, log_sigma = self.split(out, self.latent, self.components, BOUND)
        return log_pi, self.mean + self.std * mu, log_sigma + self.std.log()


@dataclass
class Fit:
    """A trained network, how the training went, and -log p of each held-out row, in nats."""

    components: int
    net: MixtureNet
    steps: list[int] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    each: Tensor = field(default_factory=lambda: torch.empty(0))


def course_parts(out: Tensor, latent_dim: int, components: int, bound: float) -> Parts:
    """What exercise 2 asks for, until it is solved."""
    logits, mu, s = out.unflatten(-1, (3, latent_dim, components)).unbind(dim=-3)
    return F.log_softmax(logits, dim=-1), mu, bound * torch.tanh(s / bound)


def train(
    title: str,
    data: Data,
    test: Data,
    components: int,
    split: Split = course_parts,
    nll: Loss = mixture_nll,
    *,
    shared: bool = False,
    logvar: Tensor | None = None,
    steps: int = STEPS,
    hidden: int = 24,
    layers: int = 1,
    rate: float = 0.02,
    batch: int = BATCH,
    seed: int = 0,
    show: Callable[[Fit], None] | None = None,
) -> Fit:
    """Adam on the mean of ``nll``; in the second half the rate falls to zero. Given ``logvar``, the targets are drawn
    anew from N(target, exp(logvar)) in each batch: a code is a distribution, and so it is what must be predicted.
    """
    with one_thread():
        torch.manual_seed(seed)
        fit = Fit(components, MixtureNet(data, components, split, shared, hidden, layers))
        optimizer = torch.optim.Adam(fit.net.parameters(), rate)
        falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2 * (1 - step / steps)))
        for step in tqdm(range(steps), desc=title, unit="step"):
            if step % EVERY == 0:
                look(fit, test, nll, step, show)
            row = torch.randint(len(data.x), (batch,))
            target = data.target[row]
            if logvar is not None:
                target = target + torch.exp(0.5 * logvar[row]) * torch.randn_like(target)
            loss = nll(target, *fit.net(data.x[row])).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            falling.step()
        look(fit, test, nll, steps, show)
    fit.net.requires_grad_(False)
    return fit


@torch.no_grad()
def look(fit: Fit, test: Data, nll: Loss, step: int, show: Callable[[Fit], None] | None) -> None:
    fit.each = nll(test.target, *fit.net(test.x)).double()
    fit.steps.append(step)
    fit.held_out.append(float(fit.each.mean()))
    if show is not None:
        show(fit)


# --- Numbers with their errors


def mean_and_error(values: Tensor, world: Tensor) -> tuple[float, float]:
    """The mean, and its standard error with worlds (not rows) as what was drawn independently."""
    _, index = world.unique(return_inverse=True)
    count = torch.bincount(index).double()
    total = torch.zeros_like(count).index_add(0, index, values.double())
    mean = total.sum() / count.sum()
    left = total - mean * count
    worlds = len(count)
    return float(mean), float((left.square().sum() * worlds / (worlds - 1)).sqrt() / count.sum())


def table(fits: dict[str, Fit], world: Tensor, unit: str = "nats") -> str:
    """Each one's held-out loss, and its difference to the first on the same rows, with two standard errors."""
    lines, first = [], next(iter(fits.values()))
    width = max(map(len, fits))
    for name, fit in fits.items():
        mean, error = mean_and_error(fit.each, world)
        line = f"{name:<{width}}   {mean:6.2f} ± {2 * error:.2f} {unit}"
        if fit is not first:
            gain, its_error = mean_and_error(first.each - fit.each, world)
            word = "better" if gain >= 0 else "worse"
            line += f"   {word} than {next(iter(fits))} by {abs(gain):.2f} ± {2 * its_error:.2f}"
        lines.append(line)
    return "\n".join(lines)


def distance_to_uniform(values: NDArray[Any]) -> float:
    """The largest gap between the values' cumulative share and the diagonal (Kolmogorov and Smirnov)."""
    ordered, n = np.sort(np.asarray(values, np.float64).ravel()), np.size(values)
    steps = np.arange(1, n + 1) / n
    return float(max((steps - ordered).max(), (ordered - steps + 1 / n).max()))


# --- The fork in latents


@torch.no_grad()
def decode(vae: ConvVAE, z: Tensor) -> Tensor:
    """Pictures (N, 32, 32) of latents (N, Z)."""
    return torch.sigmoid(vae.decode(z))[:, 0]


def sample_shared(log_pi: Tensor, mu: Tensor, log_sigma: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One draw from one mixture over the vector: (N, K) and (N, Z, K) -> (N, Z). One component for all dimensions."""
    k = torch.multinomial(log_pi.exp(), 1, generator=generator)[:, None].expand(-1, mu.shape[1], 1)
    epsilon = torch.randn(mu.shape[:-1], generator=generator, dtype=mu.dtype)
    return mu.gather(-1, k)[..., 0] + torch.exp(log_sigma.gather(-1, k)[..., 0]) * epsilon


def futures_seen(pictures: Tensor, column: Tensor) -> NDArray[np.float64]:
    """The shares of pictures (N, 32, 32) with a hazard where it goes to the left, to the right, on both sides, and on
    neither: a hazard is there where at least half of its light is.
    """
    left, right = (column + torch.from_numpy(moved).float() for moved in two_futures(column.numpy()))
    rows = pictures[:, 23:27].sum(1)  # (N, 32): the rows of a hazard AHEAD steps later
    place = torch.arange(SIZE) + 0.5
    a, b = ((rows * ((place - side[:, None]).abs() < 2.5)).sum(1) > 8 for side in (left, right))
    return np.array([share.double().mean().item() for share in (a & ~b, b & ~a, a & b, ~a & ~b)])


def either_way(frame: Tensor, column: float) -> tuple[Tensor, Tensor]:
    """What one fork far from the walls may lead to, left and right, when ``frame`` (32, 32) came of it AHEAD steps later.

    Nothing else in the frame depends on the side, and the two places are whole pixels apart: the other future is the
    same frame with the hazard moved across.
    """
    left, right = (float(side) for side in two_futures(column))
    place = torch.arange(SIZE) + 0.5
    here = [frame[23:27] * ((place - column - side).abs() < 4) for side in (left, right)]
    went_left = bool(here[0].sum() > here[1].sum())
    hazard, across = (here[0], round(right - left)) if went_left else (here[1], round(left - right))
    other = frame.clone()
    other[23:27] += hazard.roll(across, 1) - hazard
    return (frame, other) if went_left else (other, frame)


def in_the_middle(forks: Forks) -> Tensor:
    """The forks so far from the walls that nothing is reflected and the two sides are well apart: (n,) indices."""
    return torch.nonzero((forks.column > 10) & (forks.column < 22))[:, 0]


def memory_forks(memories: Memories) -> tuple[Forks, Forks]:
    return find_forks(memories.train, TRAIN[1]), find_forks(memories.held_out, HELD_OUT[1])


def normal_density(z: NDArray[Any], parts: Sequence[NDArray[Any]], temperature: float = 1.0) -> NDArray[Any]:
    """Each component's weighted density at points z (P,), from log_pi, mu and log_sigma (K,): (K, P)."""
    log_pi, mu, log_sigma = (np.asarray(part, np.float64)[:, None] for part in parts)
    log_pi = log_pi / temperature
    log_pi = log_pi - np.logaddexp.reduce(log_pi, axis=0)
    sigma = math.sqrt(temperature) * np.exp(log_sigma)
    return np.exp(log_pi - 0.5 * ((z - mu) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
