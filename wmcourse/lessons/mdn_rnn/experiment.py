"""Lesson 08's experiment: MDN-RNNs trained on cached latents with the learner's own parts, and how far their dreams hold."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from wmcourse import mdn_rnn, mixture_density_networks
from wmcourse.lessons.memories import HELD_OUT, LATENT, Memories, Sequences
from wmcourse.lessons.parts import Parts
from wmcourse.lessons.threads import one_thread
from wmcourse.mdn_rnn import MDNRNN, Prediction
from wmcourse.vae_complete_loss import ConvVAE
from wmcourse.worlds.dodge import SIZE, DodgeState, DodgeVectorEnv, Rules, advance, begin, draw

Cut = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]  # windows(first, ended, length) -> steps, mask
Dream = Callable[..., tuple[Tensor, Tensor]]  # dream(model, z, a, temperature, done_weight) -> latents, survival
Rule = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]  # open_loop_error

HIDDEN, WINDOW, BATCH, RATE, WEIGHT = 128, 32, 32, 8e-3, 3.0
STEPS, EVERY, PEOPLE = 1200, 100, 96  # steps, how often the held-out likelihood is taken, and on how many episodes
PAST, HORIZON = 12, 40  # what a dream hears before it begins, and how long it lasts
RECORDED, APART = HELD_OUT[1], 20  # steps of each held-out world, and between two moments of one episode
SHOWN = (1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 17, 20, 24, 29, 34, 40)  # horizons that are measured
SIDE = 1.96  # standard errors to either side of a 95 % interval


# --- Training


class Batch(NamedTuple):
    """What ``sequence_loss`` takes after the model, for B windows of T steps."""

    z: Tensor
    a: Tensor
    reward: Tensor
    done: Tensor
    mask: Tensor
    ended: Tensor


def gather(data: Sequences, first: Tensor, length: int, cut: Cut, sampled: bool = True) -> Batch:
    """Windows of cached latents, drawn anew from (mu, logvar) at each call; the centres alone when not ``sampled``."""
    steps, mask = cut(first, data.ended, length)
    now, mu = steps[:, :-1], data.mu[steps]
    z = mu + torch.exp(0.5 * data.logvar[steps]) * torch.randn(mu.shape) if sampled else mu
    return Batch(z, data.action[now], data.reward[now], data.done[now], mask, data.ended[now].float())


@dataclass
class History:
    """One training: at some steps the held-out nats per step of the next latent."""

    title: str
    steps: list[int] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)


def train(
    title: str,
    memories: Memories,
    parts: Parts,
    cut: Cut,
    components: int = 5,
    window: int = WINDOW,
    sampled: bool = True,
    steps: int = STEPS,
    show: Callable[[History], None] | None = None,
    seed: int = 0,
) -> MDNRNN:
    """Adam with a rate that falls to zero, on windows that begin anywhere. ``window`` = 1 is a network without memory."""
    data, history = memories.train, History(title)
    batch = BATCH if window > 1 else 512  # single steps are cheaper, and fewer than 32 × 32 do
    with one_thread(), parts.use():
        torch.manual_seed(seed)
        model = MDNRNN(LATENT, 1, HIDDEN, components)
        optimizer = torch.optim.Adam(model.parameters(), RATE)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in tqdm(range(steps), desc=title, unit="step"):
            if show is not None and step % EVERY == 0:
                look(model, memories.held_out, history, step, window, show)
            first = torch.randint(len(data), (batch,))
            loss = mdn_rnn.sequence_loss(model, *gather(data, first, window, cut, sampled), done_weight=WEIGHT)
            optimizer.zero_grad()
            loss.total.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            falling.step()
        if show is not None:
            look(model, memories.held_out, history, steps, window, show)
    return model.eval().requires_grad_(False)


def look(
    model: MDNRNN, data: Sequences, history: History, step: int, window: int, show: Callable[[History], None]
) -> None:
    with torch.random.fork_rng(devices=[]):  # looking must not change what is trained
        history.steps.append(step)
        history.held_out.append(measure(model, data, memory=window > 1, episodes=PEOPLE).latent_mean)
    show(history)


# --- Likelihood, with intervals over episodes


@dataclass(frozen=True)
class Measured:
    """What a network says of held-out steps, one number for each of the N steps of the row, in nats.

    Steps of one episode resemble each other, so what counts as one independent draw is an *episode*.
    """

    latent: NDArray[np.float64]  # (N,) −log p(z_{t+1}), 0 where there is none
    done: NDArray[np.float64]  # (N,) −log p(done_{t+1})
    logit: NDArray[np.float64]  # (N,) the done head's, its class weight included
    target: NDArray[np.bool_]  # (N,) whether there is a z_{t+1}
    seen: NDArray[np.bool_]  # (N,) whether the step was looked at
    episode: NDArray[np.int64]  # (N,)

    @property
    def latent_mean(self) -> float:
        return per_step(self.latent, self.target, self.episode)[0]

    def more_than(self, other: Measured, where: NDArray[np.bool_] | None = None) -> tuple[float, float]:
        """How many nats per step this one pays more, on the same steps with the same noise, and its standard error."""
        chosen = self.target if where is None else self.target & where
        return per_step(self.latent - other.latent, chosen, self.episode)


def per_step(values: NDArray[Any], where: NDArray[np.bool_], episode: NDArray[np.int64]) -> tuple[float, float]:
    """The mean over chosen steps, and its standard error when whole episodes are the independent draws."""
    total = np.bincount(episode, np.where(where, values, 0.0))
    count = np.bincount(episode, where.astype(float))
    mean = total.sum() / count.sum()
    off = (total - mean * count)[count > 0]
    return float(mean), float(math.sqrt((off**2).sum() * len(off) / max(len(off) - 1, 1)) / count.sum())


def interval(estimate: tuple[float, float]) -> str:
    mean, error = estimate
    return f"{mean:+.3f} [{mean - SIDE * error:+.3f}, {mean + SIDE * error:+.3f}]"


@torch.no_grad()
def measure(
    model: MDNRNN,
    data: Sequences,
    memory: bool = True,
    sampled: bool = True,
    across: bool = False,
    episodes: int | None = None,
    seed: int = 1,
) -> Measured:
    """−log p of each held-out step, each episode from h = 0. Without ``memory`` each step stands alone; with ``across`` h
    is carried from an episode into the next, which is a mistake.
    """
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        epsilon = torch.randn(data.mu.shape)
        z = data.mu + torch.exp(0.5 * data.logvar) * epsilon if sampled else data.mu
        following = torch.cat([z[1:], z[-1:]])
        start, length = data.start[:episodes], data.length[:episodes]
        if across:
            p, _ = model(z[None], data.action[None])
            row = torch.arange(len(z))
            p = Prediction(*(part[0] for part in p))
        elif memory:
            most = int(length.max())
            index = (start[:, None] + torch.arange(most)).clamp(max=len(z) - 1)
            inside = torch.arange(most) < length[:, None]
            p, _ = model(z[index], data.action[index])
            row = index[inside]
            p = Prediction(*(part[inside] for part in p))
        else:
            row = torch.arange(int(start[-1] + length[-1]))
            p, _ = model(z[row, None], data.action[row, None])
            p = Prediction(*(part[:, 0] for part in p))
        latent = mixture_density_networks.mixture_nll(following[row], p.log_pi, p.mu, p.log_sigma)
        done = F.binary_cross_entropy_with_logits(p.done_logit, data.done[row], reduction="none")
    full = [np.zeros(len(z)) for _ in range(3)]
    for into, values in zip(full, (latent, done, p.done_logit), strict=True):
        into[row.numpy()] = values.numpy()
    seen = np.zeros(len(z), bool)
    seen[row.numpy()] = True
    target = seen & ~data.ended.numpy()
    return Measured(np.where(target, full[0], 0), full[1], full[2], target, seen, episode_of(data))


def episode_of(data: Sequences) -> NDArray[np.int64]:
    """The number of each step's episode, (N,)."""
    return np.repeat(np.arange(len(data.start)), data.length.numpy())


age = Sequences.age  # the notebook's name for it


def forking(data: Sequences, since: int = 0, rows: float = 17.0) -> NDArray[np.bool_]:
    """Steps t whose next frame is that of a fork, ``since`` steps later."""
    y, ended = data.hazard_y.numpy(), data.ended.numpy()
    forks = np.zeros(len(data), bool)
    forks[:-1] = ((y[:-1] < rows) & (y[:-1] > 0) & (y[1:] >= rows) & (y[1:] < 40)).any(1) & ~ended[:-1]
    later = np.zeros(len(data), bool)
    later[since:] = forks[: len(data) - since]
    episode = episode_of(data)
    later[since:] &= episode[since:] == episode[: len(data) - since]
    return later


def appearing(data: Sequences) -> NDArray[np.bool_]:
    """Steps whose next frame is one of the first two that show a new hazard at the upper edge."""
    y = data.hazard_y.numpy()
    return ((y > -3) & (y < 0)).any(1) & ~data.ended.numpy()


def cost_of_encoding(memories: Memories, cut: Cut) -> tuple[float, float]:
    """Seconds for the latents of one batch of windows: drawn from the cache, and encoded anew from frames."""
    data = memories.train
    with one_thread():
        first = torch.arange(BATCH) * 997 % len(data)
        clock = time.perf_counter()
        for _ in range(20):
            gather(data, first, WINDOW, cut)
        cached = (time.perf_counter() - clock) / 20
        steps, _ = cut(first, data.ended, WINDOW)
        clock = time.perf_counter()
        with torch.no_grad():
            memories.vae.encode(torch.from_numpy(data.frames[steps.flatten().numpy()]).float() / 255)
        return cached, time.perf_counter() - clock


# --- Dreams beside reality


@dataclass(frozen=True)
class Starts:
    """B moments of held-out episodes: what was seen before, what was done, and what came of it."""

    z: Tensor  # (B, PAST + 1, Z) latents of the past and the present, sampled
    a: Tensor  # (B, PAST + HORIZON, 1), the recorded pushes, also after the episode's end
    steps: Tensor  # (B, PAST + HORIZON + 1) rows of the data
    there: Tensor  # (B, HORIZON) 1 where the frame of that horizon exists
    alive: Tensor  # (B, HORIZON) 1 while no hit has come, 0 after it, NaN where the recording stops
    frames: Tensor  # (B, HORIZON, 32, 32) in [0, 1]
    present: Tensor  # (B, 32, 32)
    world: Tensor  # (B,) the number of the held-out world: moments of one world share its dice

    def __len__(self) -> int:
        return len(self.z)

    def some(self, index: Any) -> Starts:
        return Starts(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


def starts(data: Sequences, cut: Cut, seed: int = 0) -> Starts:
    """Moments of held-out episodes, chosen by the past alone: every twentieth step of a recording from an episode's twelfth
    on, where the recording has ``HORIZON`` steps more, however soon the episode ends. Each world begins to count at
    another step: all recordings begin alike, and would otherwise be looked at in the same phase.
    """
    old, (world, t) = age(data), np.divmod(np.arange(len(data)), RECORDED)
    fine = (old >= PAST) & (t < RECORDED - HORIZON - 1) & ((t - PAST - 7 * world) % APART == 0)  # 7 and 20: all phases
    return at(data, torch.from_numpy(np.flatnonzero(fine)), cut, seed)


def knowing_starts(data: Sequences, cut: Cut, seed: int = 0) -> Starts:
    """A mistake: one moment of each episode, drawn between its twelfth step and its *end*. The choice knows the future, and
    moments before an early hit are drawn too often.
    """
    rng = np.random.default_rng(seed)
    long = data.length > PAST + 1
    start, length = data.start[long], data.length[long]
    present = start + torch.from_numpy(rng.integers(PAST, length.numpy() - 1))
    return at(data, present, cut, seed)


def at(data: Sequences, present: Tensor, cut: Cut, seed: int = 0) -> Starts:
    """The moments whose rows are ``present`` (B,)."""
    steps, _ = cut(present - PAST, data.ended, PAST + HORIZON)
    ahead = steps[:, PAST + 1 :]
    there = ahead == present[:, None] + torch.arange(1, HORIZON + 1)
    done, stopped = data.done[steps[:, -1]][:, None] > 0, ~there  # the last row is the episode's last
    alive = torch.where(there, 1.0, torch.where(done & stopped, 0.0, torch.nan))
    noise = torch.Generator().manual_seed(seed)
    mu, logvar = data.mu[steps[:, : PAST + 1]], data.logvar[steps[:, : PAST + 1]]
    z = mu + torch.exp(0.5 * logvar) * torch.randn(mu.shape, generator=noise)
    frames = torch.from_numpy(data.frames[ahead.numpy()]).float().div(255)[:, :, 0]
    now = torch.from_numpy(data.frames[present.numpy()]).float().div(255)[:, 0]
    world = present // RECORDED
    pushed = present[:, None] + torch.arange(-PAST, HORIZON)
    pushed = torch.minimum(pushed, world[:, None] * RECORDED + RECORDED - 1)
    return Starts(z, data.action[pushed], steps, there.float(), alive, frames, now, world)


def ending(moments: Starts, length: int) -> Starts:
    """The same moments, for shorter dreams."""
    return replace(moments, a=moments.a[:, : PAST + length])


@torch.no_grad()
def dreams(
    model: MDNRNN, dream: Dream, parts: Parts, moments: Starts, temperature: float = 1.0, count: int = 8, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """``count`` dreams from each moment with the recorded actions: latents (S, B, L, Z), and the chance to be alive (S, B, L)."""
    with one_thread(), parts.use(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        z, a = moments.z.repeat(count, 1, 1), moments.a.repeat(count, 1, 1)
        latents, survival = dream(model, z, a, temperature, WEIGHT)
    return latents.unflatten(0, (count, len(moments))), survival.unflatten(0, (count, len(moments)))


def states(data: Sequences, moments: Starts) -> DodgeState:
    """The simulator's own states at the moments: the held-out recording is played once more, and they are kept."""
    worlds, steps, first = HELD_OUT
    world = DodgeVectorEnv(worlds)
    world.reset(seed=first)
    pushed = data.action.numpy().reshape(worlds, steps, 1)
    which, when = np.divmod(moments.steps[:, PAST].numpy(), steps)
    kept = begin(np.zeros(len(moments), np.uint64))
    for t in range(steps):
        kept.put(when == t, world.state.take(which[when == t]))
        world.step(pushed[:, t])
    return kept


def waits(state: DodgeState, rules: Rules) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The fewest and the most steps to the next hazard, by what has happened: a gap is as long as it is by chance."""
    newest = np.where(state.hazard_y < SIZE, state.hazard_y, np.inf).min(axis=1)
    passed = np.round((newest + rules.hazard / 2) / rules.fall).astype(np.int32)  # steps since it appeared
    least, most = rules.gap
    return np.maximum(least - passed, 1), most - passed


def copies(data: Sequences, moments: Starts, count: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """``count`` dreams of a perfect model from each moment, with the recorded actions: copies of the simulator, in which
    all that chance has not decided yet is drawn anew: the sides of coming forks, and when and where hazards appear.

    Frames (S, B, L, 32, 32), uint8, and 1 while no hit has come, (S, B, L).
    """
    rng, now = np.random.default_rng(seed), states(data, moments)
    now = now.take(np.tile(np.arange(len(moments)), count))
    now = now.reseeded(rng.integers(2**63, size=len(now.x)).astype(np.uint64))
    fewest, most = waits(now, Rules())
    now.countdown = rng.integers(fewest, most + 1).astype(np.int32)
    frames, alive, hit = [], [], np.zeros(len(now.x), bool)
    for push in moments.a[:, PAST:, 0].numpy().T:
        hit |= advance(now, np.tile(push, count))
        frames.append(draw(now)[..., 0])
        alive.append(~hit)
    each = (torch.from_numpy(np.stack(part, axis=1)) for part in (frames, alive))
    shown, survival = (part.unflatten(0, (count, len(moments))) for part in each)
    return shown, survival.float()


@torch.no_grad()
def decode(vae: ConvVAE, z: Tensor) -> Tensor:
    """Latents (..., Z) -> frames (..., 32, 32) in [0, 1]."""
    flat = [torch.sigmoid(vae.decode(block))[:, 0] for block in z.reshape(-1, z.shape[-1]).split(2048)]
    return torch.cat(flat).reshape(*z.shape[:-1], 32, 32)


@dataclass(frozen=True)
class OpenLoop:
    """Squared errors of decoded dreams against frames, summed over pixels: (B, H), NaN where the episode is over."""

    one: NDArray[np.float64]  # a single dream's
    average: NDArray[np.float64]  # that of the average of all S dreams
    still: NDArray[np.float64]  # "nothing moves": the present frame
    mean: NDArray[np.float64]  # "the average frame" of all training
    count: int

    @property
    def endless(self) -> NDArray[np.float64]:
        """What the average of endlessly many dreams would be off: an average of S has 1/S of the spread left in it."""
        return (self.count * self.average - self.one) / (self.count - 1)

    @property
    def spread(self) -> NDArray[np.float64]:
        """How far a dream is from the average of endlessly many: variance, summed over pixels."""
        return self.one - self.endless


def open_loop(
    dreamt: Tensor,
    moments: Starts,
    memories: Memories,
    rule: Rule,
    horizons: tuple[int, ...] = SHOWN,
    rows: slice = slice(0, 32),
) -> OpenLoop:
    """The learner's ``open_loop_error`` on each moment by itself, so that intervals can be taken over worlds. ``dreamt`` is
    latents (S, B, L, Z), which are decoded, or frames (S, B, L, 32, 32).
    """
    average_frame = torch.from_numpy(memories.train.frames).float().mean(0)[0, rows].div(255).flatten()
    chosen = [h - 1 for h in horizons]
    results = np.full((4, len(moments), len(horizons)), np.nan)
    with one_thread():
        for i in range(len(moments)):
            there = moments.there[i : i + 1, chosen]
            n = int(there.sum())  # the frames there are come first
            if n == 0:
                continue
            shown = dreamt[:, i : i + 1, chosen[:n]]
            shown = shown / 255 if shown.dtype == torch.uint8 else decode(memories.vae, shown)
            pictures = shown[..., rows, :].flatten(-2)
            real = moments.frames[i : i + 1, chosen[:n]][..., rows, :].flatten(-2)
            present = moments.present[i, rows].flatten()
            one, average = rule(pictures, real, there[:, :n])
            results[:, i, :n] = torch.stack(
                [one, average, (present - real[0]).square().sum(-1), (average_frame - real[0]).square().sum(-1)]
            ).numpy()
    one_dream, average_dream, still, mean = results
    return OpenLoop(one_dream, average_dream, still, mean, dreamt.shape[0])


def reconstruction_error(memories: Memories, moments: Starts, horizon: int = 5) -> float:
    """The squared error of a frame that the VAE has seen and decodes from the centre of its code: no dream is better."""
    rows = moments.steps[:, PAST + horizon]
    with one_thread():
        off = decode(memories.vae, memories.held_out.mu[rows]) - moments.frames[:, horizon - 1]
    return float(off.square().sum((1, 2))[moments.there[:, horizon - 1] > 0].mean())


def light(memories: Memories, dreamt: Tensor, moments: Starts, horizon: int) -> float:
    """The squared light of a dreamt frame above the agent and outside of the band, where hazards are: latents or frames."""
    shown = dreamt[:, moments.there[:, horizon - 1] > 0, horizon - 1]
    with one_thread():
        shown = shown / 255 if shown.dtype == torch.uint8 else decode(memories.vae, shown)
    return float(torch.cat([shown[..., :12, :], shown[..., 17:29, :]], dim=-2).square().sum((-1, -2)).mean())


def mean_and_error(
    values: NDArray[np.float64], world: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Over moments, axis 0, those that are over left out; worlds (B,) are the independent draws."""
    there = ~np.isnan(values)
    columns = zip(np.where(there, values, 0).T, there.T, strict=True)
    means, errors = np.array([per_step(column, where, world) for column, where in columns]).T
    return means, errors


class Horizon(NamedTuple):
    """Steps until a dream is no better than a baseline, and the ends of its 95 % interval."""

    steps: float
    low: float
    high: float
    longest: int

    def __str__(self) -> str:
        def say(x: float) -> str:
            return f"more than {self.longest}" if math.isinf(x) else f"{x:.1f}"

        return f"{say(self.steps)} steps (95 % interval {say(self.low)} to {say(self.high)})"


def useful(
    dream: NDArray[np.float64],
    baseline: NDArray[np.float64],
    world: NDArray[np.int64],
    horizons: tuple[int, ...] = SHOWN,
    seed: int = 0,
) -> Horizon:
    """Where the mean error of the dream first reaches the baseline's, by straight lines between the horizons; the interval
    by drawing whole worlds anew, a thousand times.
    """
    difference = dream - baseline
    there = ~np.isnan(difference)
    filled, count = (  # one row for each world
        np.stack([part[world == one].sum(0) for one in np.unique(world)])
        for part in (np.where(there, difference, 0), there)
    )

    def crossing(index: NDArray[np.int64]) -> float:
        gap = filled[index].sum(0) / np.maximum(count[index].sum(0), 1)
        for k, value in enumerate(gap):
            if value >= 0:
                if k == 0:
                    return float(horizons[0])
                part = gap[k - 1] / (gap[k - 1] - value)
                return float(horizons[k - 1] + part * (horizons[k] - horizons[k - 1]))
        return math.inf

    rng = np.random.default_rng(seed)
    drawn = np.sort([crossing(rng.integers(0, len(filled), len(filled))) for _ in range(1000)])
    return Horizon(crossing(np.arange(len(filled))), float(drawn[24]), float(drawn[974]), horizons[-1])


def forecast(survival: Tensor, moments: Starts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Brier scores of "alive after n steps" (B, L): the dreams' mean chance, and the share that is alive then, for all alike."""
    alive = moments.alive.numpy()
    base = np.nanmean(alive, 0)
    return (survival.mean(0).numpy() - alive) ** 2, (base - alive) ** 2


def kindness(survival: Tensor, moments: Starts, steps: int) -> tuple[float, float]:
    """How many more are alive after so many steps in the dreams than in the world, and its standard error over worlds."""
    alive = moments.alive[:, steps - 1].numpy()
    known = ~np.isnan(alive)
    said = survival[:, :, steps - 1].mean(0).numpy()
    return per_step(np.where(known, said - np.nan_to_num(alive), 0), known, moments.world.numpy())


# --- The fork


class Fork(NamedTuple):
    row: int  # of the data: the next frame is the first after the fork
    x: float  # the hazard's column there
    left: bool  # which way it really went


def forks(data: Sequences, after: int = 6) -> list[Fork]:
    """Forks of held-out episodes with room on both sides, and enough steps before and after."""
    y, x, drift = data.hazard_y.numpy(), data.hazard_x.numpy(), data.drift.numpy()
    old, length = age(data), np.repeat(data.length.numpy(), data.length.numpy())
    found = []
    for row in np.flatnonzero(forking(data) & (old >= PAST) & (old + after < length - 1)):
        (slot,) = np.flatnonzero((y[row] < 17) & (y[row + 1] >= 17) & (y[row] > 0))[:1]
        if 10 < x[row, slot] < 22:
            found.append(Fork(int(row), float(x[row, slot]), bool(drift[row + 1, slot] < 0)))
    return found


class Sides(NamedTuple):
    """Of S dreams from each of F forks: how many went left, right, and neither clearly, (F,)."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    neither: NDArray[np.int64]

    @property
    def share(self) -> tuple[float, float]:
        """The share of left among those that went somewhere, and its standard error over forks."""
        went = self.left + self.right
        share = self.left.sum() / went.sum()
        off = self.left - share * went
        return float(share), float(math.sqrt((off**2).sum() * len(off) / (len(off) - 1)) / went.sum())


def side(pictures: Tensor, x: float) -> Tensor:
    """1 where the light under the band is left of the column x, −1 right, 0 neither: (..., 32, 32) -> (...)."""
    light = pictures[..., 17:29, :].sum(-2)
    places = torch.arange(32) + 0.5
    left, right = ((light * beside).sum(-1) for beside in (places < x - 1, places > x + 1))
    balance = (left - right) / light.sum(-1).clamp(min=1e-6)
    return torch.where(balance.abs() > 0.5, balance.sign(), 0.0)


def count_sides(
    model: MDNRNN,
    dream: Dream,
    parts: Parts,
    memories: Memories,
    cut: Cut,
    chosen: list[Fork],
    temperature: float = 1.0,
    count: int = 100,
    after: int = 5,
    real: bool = False,
    seed: int = 0,
) -> Sides:
    """Dream each fork ``count`` times and see where the hazard is ``after`` steps later. With ``real`` the frames that came
    are looked at instead, as the VAE sees them.
    """
    moments = at(memories.held_out, torch.tensor([fork.row for fork in chosen]), cut, seed)
    if real:
        latents = memories.held_out.mu[moments.steps[:, PAST + 1 :]][None]
    else:
        latents, _ = dreams(model, dream, parts, ending(moments, after), temperature, count, seed)
    with one_thread():
        pictures = decode(memories.vae, latents[:, :, after - 1])
    went = torch.stack([side(pictures[:, i], fork.x) for i, fork in enumerate(chosen)])  # (F, S)
    return Sides(*((went == which).sum(1).numpy() for which in (1, -1, 0)))


# --- The done head


def calibration(
    measured: Measured, data: Sequences, probability: Callable[[Tensor, float], Tensor], weight: float
) -> list[tuple[int, float, float, float]]:
    """Steps in groups of what the head says, undone by ``weight``: how many, said on average, happened, its standard error."""
    logit = torch.from_numpy(measured.logit[measured.seen])
    said, happened = probability(logit, weight).numpy(), data.done.numpy()[measured.seen]
    rows = []
    for low, high in ((0, 0.02), (0.02, 0.2), (0.2, 0.6), (0.6, 1.001)):
        group = (said >= low) & (said < high)
        n = int(group.sum())
        if n:
            share = float(happened[group].mean())
            rows.append((n, float(said[group].mean()), share, math.sqrt(max(share * (1 - share), 1e-9) / n)))
    return rows
