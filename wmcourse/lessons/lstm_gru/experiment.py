"""Lesson 06's experiments: how far a gradient reaches, the adding problem, and a memory for Dodge's codes.

What the learner wrote (steps, clipping, padding, unrolling) comes in as arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from wmcourse import lstm_gru, reparameterization_trick
from wmcourse.lessons.memories import HELD_OUT, TRAIN, Memories, Sequences
from wmcourse.lessons.parts import Parts
from wmcourse.lessons.parts import your_parts as your_parts  # notebooks find it here, too
from wmcourse.lessons.threads import one_thread

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
Function = Callable[..., Any]


def bias_for(half_life: Tensor | float) -> Tensor:
    """The bias of a gate that leaves half after so many steps."""
    return -torch.log(torch.expm1(math.log(2) / torch.as_tensor(half_life, dtype=torch.float32)))


# --- How far back does a gradient reach?


def fresh_weights(
    cell: str, inputs: int, hidden: int, scale: float, half_life: float | None, generator: torch.Generator
) -> list[Tensor]:
    """w_ih, w_hh, b_ih, b_hh of a new network. Recurrent weights have the standard deviation scale/√H, and the gate that
    keeps (f, or the GRU's z) has a bias for this half-life, when one is given.
    """
    rows = GATES[cell] * hidden
    w_ih, w_hh = (torch.randn(rows, n, generator=generator) for n in (inputs, hidden))
    bias = torch.zeros(rows)
    if half_life is not None and cell != "RNN":
        bias[hidden : 2 * hidden] = bias_for(half_life)  # the second gate in both of torch's orders
    return [w_ih / math.sqrt(inputs), scale * w_hh / math.sqrt(hidden), bias, torch.zeros(rows)]


def reach(
    cell: str,
    step: Function,
    scale: float = 1.0,
    half_life: float | None = None,
    hidden: int = 32,
    time: int = 64,
    batch: int = 8,
    seed: int = 0,
) -> NDArray[np.float64]:
    """How far a gradient reaches in a network with fresh weights that reads noise, d = 0 … time − 1 steps back."""
    generator = torch.Generator().manual_seed(seed)
    weights = fresh_weights(cell, 2, hidden, scale, half_life, generator)
    xs = torch.randn(time, batch, 2, generator=generator)
    return lengths_back(cell, step, weights, xs, torch.randn(hidden, generator=generator))


def lengths_back(
    cell: str, step: Function, weights: Sequence[Tensor], xs: Tensor, direction: Tensor
) -> NDArray[np.float64]:
    """The length of the gradient of a direction of the last h by the state d steps before, as a multiple of that at
    d = 0; root mean square over the batch of xs (T, B, I). Of an LSTM the state is its cell.
    """
    h = c = xs.new_zeros(xs.shape[1], len(direction))
    states = []
    with torch.enable_grad():
        for x in xs:
            h, c = (t.requires_grad_() if not t.requires_grad else t for t in (h, c))
            if cell == "LSTM":
                h, c = step(x, h, c, *weights)
            else:
                h = step(x, h, *weights)
            states.append(c if cell == "LSTM" else h)
        gradients = torch.autograd.grad((h @ direction).sum(), states)
    lengths = torch.stack([g.square().sum(1).mean().sqrt() for g in reversed(gradients)]).double().numpy()
    return lengths / lengths[0]


# --- The adding problem (Hochreiter & Schmidhuber 1997)


def adding(length: int, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences of (a number in [0, 1), a mark), (B, T, 2): one mark in each half. The sum of the marked numbers, (B,)."""
    numbers, marks = torch.rand(batch, length, generator=generator), torch.zeros(batch, length)
    half = length // 2
    for low, high in ((0, half), (half, length)):
        marks.scatter_(1, torch.randint(low, high, (batch, 1), generator=generator), 1.0)
    return torch.stack([numbers, marks], dim=-1), (numbers * marks).sum(dim=1)


GUESSING = 1 / 6  # the mean squared error of always saying 1: the variance of a sum of two uniform numbers


@dataclass
class Run:
    """One training on the adding problem."""

    name: str
    length: int
    seed: int
    steps: list[int] = field(default_factory=list)
    error: list[float] = field(default_factory=list)  # mean squared, on 256 sequences of its own
    clipped: int = 0  # steps whose gradient was shortened
    network: nn.Module | None = None
    head: nn.Linear | None = None

    @property
    def solved(self) -> bool:
        return self.error[-1] < 0.01


# name -> (cell, learning rate, chosen by hand, half-lives for its gates)
ADDERS = {
    "RNN": ("RNN", 1e-2, "none"),
    "LSTM, bias 1": ("LSTM", 2e-2, "one"),
    "LSTM, long half-lives": ("LSTM", 2e-2, "long"),
    "GRU": ("GRU", 2e-2, "none"),
}


def new_adder(name: str, length: int, seed: int, forget_bias: Function, hidden: int = 32) -> tuple[Any, nn.Linear]:
    """A network before its first step, and the layer that reads the answer off its last h."""
    cell, _, how = ADDERS[name]
    torch.manual_seed(seed)
    network: Any = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}[cell](2, hidden, batch_first=True)
    head = nn.Linear(hidden, 1)
    if cell == "LSTM":
        prepare(network, torch.linspace(1, length, hidden) if how == "long" else None, forget_bias)
    return network, head


def reach_when_new(
    name: str,
    length: int,
    step_of: dict[str, Function],
    forget_bias: Function,
    seed: int = 0,
    batch: int = 64,
    half_open: bool = False,
) -> NDArray[np.float64]:
    """How far a gradient reaches in such a network, on the problem's own sequences, from their end to their beginning.

    With ``half_open`` its input gates begin at ½, whatever was prepared.
    """
    network, head = new_adder(name, length, seed, forget_bias)
    numbers, _ = adding(length, batch, torch.Generator().manual_seed(seed))
    weights = [p.detach() for p in network.parameters()]
    cell = ADDERS[name][0]
    if half_open:
        weights[2][: network.hidden_size] = 0.0
    return lengths_back(cell, step_of[cell], weights, numbers.transpose(0, 1), head.weight[0].detach())


def learn_adding(
    name: str,
    length: int,
    seed: int,
    clip: Function,
    forget_bias: Function,
    steps: int = 400,
    hidden: int = 32,
    batch: int = 32,
    every: int = 25,
    show: Callable[[Run], None] | None = None,
) -> Run:
    """Adam, gradients clipped to the norm 1; stops when the problem is solved. torch's kernels, which are faster."""
    run, generator = Run(name, length, seed), torch.Generator().manual_seed(1000 + seed)
    with one_thread():
        network, head = new_adder(name, length, seed, forget_bias, hidden)
        parameters = [*network.parameters(), *head.parameters()]
        optimizer = torch.optim.Adam(parameters, ADDERS[name][1])
        test, answer = adding(length, 256, torch.Generator().manual_seed(9))
        for step in range(steps + 1):
            if step % every == 0:
                with torch.no_grad():
                    error = (head(network(test)[0][:, -1])[:, 0] - answer).square().mean().item()
                run.steps.append(step)
                run.error.append(error)
                if run.solved or step == steps:
                    break
            x, y = adding(length, batch, generator)
            loss = (head(network(x)[0][:, -1])[:, 0] - y).square().mean()
            gradients = list(torch.autograd.grad(loss, parameters))
            run.clipped += int(sum(float(g.square().sum()) for g in gradients) > 1)
            shorter = clip(gradients, 1.0)
            for parameter, gradient in zip(parameters, shorter, strict=True):
                parameter.grad = gradient
            optimizer.step()
    run.network, run.head = network, head
    if show is not None:
        show(run)
    return run


def prepare(network: Any, half_life: Tensor | None, forget_bias: Function) -> None:
    """Biases 0 and, for the forget gates, 1; or those of the half-lives given, and for the input gates their negatives:
    a unit that remembers long lets little in (Tallec & Ollivier 2018).
    """
    size = network.hidden_size
    with torch.no_grad():
        b_ih, b_hh = torch.zeros(4 * size), torch.zeros(4 * size)
        b_ih[size : 2 * size] = 1.0
        if half_life is not None:
            b_ih, b_hh = forget_bias(b_ih, b_hh, half_life)
            b_ih = torch.cat([-b_ih[size : 2 * size], b_ih[size:]])
        network.bias_ih_l0.copy_(b_ih)
        network.bias_hh_l0.copy_(b_hh)


class Gates(NamedTuple):
    """What happened inside an LSTM along a sequence: (T, H) each, and the outputs."""

    i: Tensor
    f: Tensor
    o: Tensor
    g: Tensor
    c: Tensor
    h: Tensor


@torch.no_grad()
def gates_of(x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor | None = None) -> Gates:
    """The gates of one sequence x (T, I), from zero."""
    h = c = x.new_zeros(1, w_hh.shape[1])
    rows = []
    for x_t in x[:, None]:
        bias = b_ih if b_hh is None else b_ih + b_hh
        i, f, g, o = (x_t @ w_ih.T + h @ w_hh.T + bias).chunk(4, dim=1)
        h, c = lstm_gru.lstm_step(x_t, h, c, w_ih, w_hh, b_ih, b_hh)
        rows.append(torch.cat([i.sigmoid(), f.sigmoid(), o.sigmoid(), g.tanh(), c, h]))
    return Gates(*torch.stack(rows, dim=1))


# --- A memory for Dodge's codes

HIDDEN, PIECE = 96, 32


class Memory(nn.Module):
    """An LSTM that reads (z_t, a_t), and a layer that says what z_{t+1} will be: lesson 08's M, with a single guess."""

    def __init__(self, latent: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.lstm, self.head = lstm_gru.LSTM(latent + 1, hidden), nn.Linear(hidden, latent)


@dataclass
class Course:
    """How its training went: squared error per frame, on the training's pieces."""

    steps: list[int] = field(default_factory=list)
    error: list[float] = field(default_factory=list)


def pieces(seen: Sequences, size: int = PIECE) -> Tensor:
    """The lengths of what the recording is cut into: episodes, and long episodes into pieces of at most ``size``."""
    lengths = list[int]()
    for length in seen.length.tolist():
        lengths += [size] * (length // size) + [length % size] * (length % size > 0)
    return torch.tensor(lengths)


def rows_of(seen: Sequences) -> Tensor:
    """What the memory reads at each step: (N, Z + 1)."""
    return torch.cat([seen.mu, seen.action], dim=1)


def train_memory(
    seen: Sequences,
    pad: Function,
    clip: Function,
    parts: Parts,
    steps: int = 700,
    batch: int = 32,
    rate: float = 6e-3,
    seed: int = 0,
    hidden: int = HIDDEN,
    show: Callable[[Course], None] | None = None,
) -> tuple[Memory, Course]:
    """Learn to predict the next code: squared error, summed over Z, averaged over the steps that happened.

    What is read is drawn anew from q(z|x) each time, so that nothing can be learned by heart; what is predicted is mu.
    """
    course, latent = Course(), seen.mu.shape[1]
    with one_thread(), parts.use():
        padded, mask = pad(torch.cat([seen.mu, seen.logvar, seen.action], dim=1), pieces(seen))
        torch.manual_seed(seed)
        memory = Memory(latent, hidden)
        parameters = list(memory.parameters())
        optimizer = torch.optim.Adam(parameters, rate)
        falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2 * (1 - step / steps)))
        for step in tqdm(range(steps), desc="memory", unit="step"):
            index = torch.randint(len(padded), (batch,))
            mu, logvar, action = padded[index].split([latent, latent, 1], dim=2)
            z, both = reparameterization_trick.reparameterize(mu, logvar), mask[index][:, 1:]  # a step and its next
            out, _ = memory.lstm(torch.cat([z, action], dim=2)[:, :-1])
            error = (memory.head(out) - mu[:, 1:]).square().sum(dim=2)
            loss = (error * both).sum() / both.sum()
            for parameter, gradient in zip(
                parameters, clip([*torch.autograd.grad(loss, parameters)], 1.0), strict=True
            ):
                parameter.grad = gradient
            optimizer.step()
            falling.step()
            if step % 25 == 0 or step == steps - 1:
                course.steps.append(step)
                course.error.append(loss.item())
                if show is not None:
                    show(course)
    return memory, course


def streams(seen: Sequences, memories: Memories) -> tuple[Tensor, Tensor]:
    """The recording as it was made, many worlds side by side: rows (W, T, Z + 1), and where episodes begin (W, T)."""
    worlds, steps, _ = TRAIN if seen is memories.train else HELD_OUT
    first = torch.zeros(len(seen), dtype=torch.bool)
    first[seen.start] = True
    return rows_of(seen).reshape(worlds, steps, -1), first.reshape(worlds, steps)


def both_step(memory: Memory, lstm_step: Function) -> Function:
    """A step of (h, c) side by side in one tensor, for ``unroll``."""
    layer = memory.lstm

    def step(x: Tensor, state: Tensor) -> Tensor:
        h, c = state.chunk(2, dim=1)
        return torch.cat(
            lstm_step(x, h.contiguous(), c.contiguous(), layer.weight_ih, layer.weight_hh, layer.bias), dim=1
        )

    return step


@torch.no_grad()
def remember(
    memory: Memory, seen: Sequences, memories: Memories, unroll: Function, lstm_step: Function, leak: bool = False
) -> Tensor:
    """h after each step of the recording, (N, H); with ``leak`` the state goes on from one episode into the next."""
    x, first = streams(seen, memories)
    start = x.new_zeros(len(x), 2 * memory.lstm.hidden_dim)
    with one_thread():
        states = unroll(both_step(memory, lstm_step), x, start, torch.zeros_like(first) if leak else first, 10**6)
    return states[..., : memory.lstm.hidden_dim].reshape(len(seen), -1)


@torch.no_grad()
def recall(memory: Memory, seen: Sequences, rows: NDArray[np.int64], frames: int) -> Tensor:
    """h after the last ``frames`` steps up to each of these rows, from a state of zero: a memory that is cut, (n, H)."""
    index = torch.from_numpy(rows)[:, None] + torch.arange(1 - frames, 1)
    with one_thread():
        return torch.cat([memory.lstm(rows_of(seen)[part])[1][0] for part in index.split(2048)])


@torch.no_grad()
def surprise(memory: Memory, h: Tensor, seen: Sequences) -> Tensor:
    """The squared error of the predicted next code after each step, (N,); NaN where the next frame is another episode's."""
    error = (memory.head(h[:-1]) - seen.mu[1:]).square().sum(1)
    return torch.cat([torch.where(seen.ended[:-1], torch.nan, error), torch.tensor([torch.nan])])


# --- What is in it? Linear probes


class Fact(NamedTuple):
    """Something true of some rows of a recording: which rows, and its value there."""

    rows: NDArray[np.int64]
    value: NDArray[np.float64]


def one_hazard(seen: Sequences, low: float, high: float, what: str) -> Fact:
    """Rows with exactly one hazard whose centre is in rows [low, high] of the frame, and its column or its drift."""
    inside = (seen.hazard_y >= low) & (seen.hazard_y <= high)
    rows = np.flatnonzero(((inside.sum(1) == 1).numpy()) & (seen.age() >= 2))
    values = (getattr(seen, what) * inside).sum(1).double().numpy()
    return Fact(rows, values[rows])


def facts(seen: Sequences) -> dict[str, Fact]:
    """What a memory ought to know. The band is rows 12 to 17 and a hazard 4 high, so at 14 to 15 it is wholly hidden."""
    older = np.flatnonzero(seen.age() >= 2)
    return {
        "hazard’s drift, below the band": one_hazard(seen, 19, 30, "drift"),
        "agent’s velocity": Fact(older, seen.agent_velocity.double().numpy()[older]),
        "column of a hidden hazard": one_hazard(seen, 14, 15, "hazard_x"),
    }


def aimed(memories: Memories) -> Score:
    """How well the agent's column alone tells that of a hidden hazard, which was aimed near it."""
    known, asked = (facts(seen)["column of a hidden hazard"] for seen in (memories.train, memories.held_out))
    probe = fit_probe(memories.train.agent_x[known.rows, None], known.value)
    return score(probe(memories.held_out.agent_x[asked.rows, None]), asked, memories.held_out)


@dataclass(frozen=True)
class Probe:
    """Ridge regression on standardised features."""

    centre: Tensor
    spread: Tensor
    weights: Tensor
    offset: float

    def __call__(self, features: Tensor) -> NDArray[np.float64]:
        return (((features.double() - self.centre) / self.spread) @ self.weights + self.offset).numpy()


def fit_probe(features: Tensor, value: NDArray[np.float64], ridge: float = 10.0) -> Probe:
    """The straight line, with a penalty of ``ridge`` on the squared weights."""
    x, y = features.double(), torch.from_numpy(value)
    centre, spread = x.mean(0), x.std(0) + 1e-6
    x = (x - centre) / spread
    weights = torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype), x.T @ (y - y.mean()))
    return Probe(centre, spread, weights, float(y.mean()))


class Score(NamedTuple):
    """R² on held-out episodes, and a 95 % interval from drawing episodes anew."""

    r2: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.r2:.2f} [{self.low:.2f}, {self.high:.2f}]"


def score(predicted: NDArray[np.float64], fact: Fact, seen: Sequences, draws: int = 500, seed: int = 0) -> Score:
    """The share of the variance that is explained. Frames of one episode resemble each other, so episodes are drawn."""
    episode = np.searchsorted(seen.start.numpy(), fact.rows, side="right") - 1
    count = len(seen.start)
    missed = np.bincount(episode, (predicted - fact.value) ** 2, count)
    there = np.bincount(episode, (fact.value - fact.value.mean()) ** 2, count)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), draws)
    drawn = 1 - (weights @ missed) / (weights @ there)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Score(1 - missed.sum() / there.sum(), float(low), float(high))


def features(seen: Sequences, h: dict[str, Tensor], rows: NDArray[np.int64], action: bool) -> dict[str, Tensor]:
    """What the probes may look at, by name. With ``action`` all get the last action, which moves the agent."""
    index = torch.from_numpy(rows)
    extra = [seen.action[index - 1]] if action else []
    looks = {
        "z": torch.cat([seen.mu[index], *extra], dim=1),
        "z and the z before": torch.cat([seen.mu[index], seen.mu[index - 1], *extra], dim=1),
    }
    return looks | {name: torch.cat([state[index], *extra], dim=1) for name, state in h.items()}


def probe_table(
    memories: Memories, h_train: dict[str, Tensor], h_held_out: dict[str, Tensor]
) -> dict[str, dict[str, Score]]:
    """fact -> what is looked at -> R² on held-out episodes. Each probe is fitted on the training's episodes."""
    table: dict[str, dict[str, Score]] = {}
    known, asked = facts(memories.train), facts(memories.held_out)
    for name, fact in known.items():
        action = name.startswith("agent")
        learn = features(memories.train, h_train, fact.rows, action)
        test = features(memories.held_out, h_held_out, asked[name].rows, action)
        table[name] = {
            look: score(fit_probe(learn[look], fact.value)(test[look]), asked[name], memories.held_out)
            for look in learn
        }
    return table


def memory_curve(memory: Memory, memories: Memories, frames: Sequence[int]) -> Iterator[tuple[int, Score]]:
    """R² of a hazard's drift from an h that has read only the last k frames, for each k."""
    oldest = max(frames)
    facts_of = [one_hazard(seen, 19, 30, "drift") for seen in (memories.train, memories.held_out)]
    kept = []
    for fact, seen in zip(facts_of, (memories.train, memories.held_out), strict=True):
        old = seen.age()[fact.rows] >= oldest - 1
        kept.append(Fact(fact.rows[old], fact.value[old]))
    learn, test = kept
    learn = Fact(learn.rows[::3], learn.value[::3])  # neighbours are nearly the same
    for k in frames:
        probe = fit_probe(recall(memory, memories.train, learn.rows, k), learn.value)
        yield k, score(probe(recall(memory, memories.held_out, test.rows, k)), test, memories.held_out)
