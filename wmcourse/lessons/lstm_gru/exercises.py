"""Lesson 06's exercises: their inputs, their right answers, and the mistakes that people make in them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from wmcourse.lessons.exercise import Exercise, Mistake
from wmcourse.lessons.judge import Answer, Case
from wmcourse.lstm_gru import gru_step, lstm_step

Rng = np.random.Generator
Step = Callable[[Tensor, Tensor], Tensor]


def weights(rng: Rng, gates: int, inputs: int, hidden: int) -> dict[str, Any]:
    """Weights large enough that every gate and every bias is felt."""
    return {
        "w_ih": rng.normal(0, 0.7, (gates * hidden, inputs)),
        "w_hh": rng.normal(0, 0.9 / math.sqrt(hidden), (gates * hidden, hidden)),
        "b_ih": rng.normal(0, 0.8, gates * hidden),
        "b_hh": rng.normal(0, 0.8, gates * hidden),
    }


def step_cases(rng: Rng, gates: int, cell: bool) -> Iterator[Case]:
    """One step of a network with so many gates, for (B, I, H) of all kinds."""
    for batch, inputs, hidden, kind, about in (
        (4, 3, 5, np.float32, "a small batch"),
        (1, 2, 6, np.float64, "a batch of one"),
        (3, 4, 4, np.float64, "as many inputs as units"),
        (3, 2, 1, np.float64, "a single unit"),
        (int(rng.integers(5, 9)), 1, int(rng.integers(6, 10)), np.float32, "one input"),
    ):
        given = {"x": rng.normal(0, 1, (batch, inputs)), "h": rng.uniform(-0.9, 0.9, (batch, hidden))}
        if cell:
            given["c"] = rng.normal(0, 1.5, (batch, hidden))
        given |= weights(rng, gates, inputs, hidden)
        yield Case({name: value.astype(kind) for name, value in given.items()}, about, tuple(given))


# --- 1 · The vanilla RNN


def rnn_step(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)


def rnn(
    outer: Callable[[Tensor], Tensor] = torch.tanh,
    combine: Callable[..., Tensor] = lambda x, b_ih, h, b_hh: x + b_ih + h + b_hh,
    turned: bool = False,
    after: Callable[[Tensor, Tensor], Tensor] = lambda new, h: new,
    back: Callable[[Tensor], Tensor] = lambda h: h,
) -> Answer:
    """A vanilla step with one of its pieces replaced."""

    def wrong(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        from_h = back(h) @ (w_hh if turned else w_hh.T)
        return after(outer(combine(x @ w_ih.T, b_ih, from_h, b_hh)), h)

    return wrong


def rnn_with_linear(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    return (F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)).tanh()


def rnn_side_by_side(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    return torch.tanh(torch.cat([x, h], dim=1) @ torch.cat([w_ih, w_hh], dim=1).t() + (b_ih + b_hh))


def rnn_row_by_row(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    rows = [torch.tanh(w_ih @ x[k] + w_hh @ h[k] + b_ih + b_hh) for k in range(len(x))]
    return torch.stack(rows)


RNN = Exercise(
    "rnn_step",
    "The vanilla RNN",
    6,
    1,
    (
        "One matrix reads the input, another reads the old state; everything is added up, and one function is taken of the sum.",
        "Rows of x are samples, and w_ih is (H, I) as in torch, so the product is `x @ w_ih.T`. The same for h and w_hh.",
        "Four summands, two products and two biases, and torch.tanh around all of them.",
    ),
    (
        Mistake(
            "no tanh",
            rnn(outer=lambda s: s),
            "A linear recurrence is W to the power of the time: it dies out or grows beyond all bounds. The tanh is what keeps h within (−1, 1).",
        ),
        Mistake(
            "a sigmoid in place of tanh",
            rnn(outer=torch.sigmoid),
            "torch.nn.RNN uses tanh. A sigmoid is never negative, and its slope is ¼ at most, where that of tanh reaches 1: the gradient dies much sooner.",
        ),
        Mistake(
            "one bias forgotten",
            rnn(combine=lambda x, b_ih, h, b_hh: x + b_ih + h),
            "torch has two biases, and here neither is 0. Most papers have one; whoever copies weights from torch and leaves b_hh behind gets a "
            "network that is nearly right, and stays so for days.",
        ),
        Mistake(
            "the input's bias forgotten",
            rnn(combine=lambda x, b_ih, h, b_hh: x + h + b_hh),
            "b_ih is missing: one bias comes with each of the two matrices.",
        ),
        Mistake(
            "the recurrent matrix turned",
            rnn(turned=True),
            "`h @ w_hh` sums over the wrong index. No shape complains, since w_hh is square; with samples in rows it is `h @ w_hh.T`.",
        ),
        Mistake(
            "the past left out",
            rnn(combine=lambda x, b_ih, h, b_hh: x + b_ih + b_hh),
            "Without `h @ w_hh.T` this is a layer without memory.",
        ),
        Mistake(
            "the past outside of tanh",
            rnn(outer=lambda s: s, combine=lambda x, b_ih, h, b_hh: torch.tanh(x + b_ih) + h + b_hh),
            "The sum is squashed as a whole. With the old state outside, h can grow from step to step.",
        ),
        Mistake(
            "the old state added",
            rnn(after=lambda new, h: new + h),
            "h + tanh(…) is a *residual* step. It passes gradients well, which is where the LSTM is going, but it is no vanilla RNN.",
        ),
        Mistake(
            "the state cut off",
            rnn(back=lambda h: h.detach()),
            "`h.detach()` cuts the gradient at every step: the network is trained as if the past were given. Values are right, learning is not.",
            "no gradient reaches",
        ),
        Mistake(
            "no bias at all",
            rnn(combine=lambda x, b_ih, h, b_hh: x + h),
            "Two products, and two biases: torch adds b_ih and b_hh before the tanh. On paper they are often left out, to save ink.",
        ),
        Mistake(
            "the biases outside of tanh",
            rnn(outer=lambda s: s, combine=lambda x, b_ih, h, b_hh: torch.tanh(x + h) + b_ih + b_hh),
            "The biases belong into the sum, before the tanh. Outside they do not move the point at which a unit bends, and h can leave (−1, 1).",
        ),
        Mistake(
            "a tanh for each part",
            rnn(outer=lambda s: s, combine=lambda x, b_ih, h, b_hh: torch.tanh(x + b_ih) + torch.tanh(h + b_hh)),
            "One tanh around the whole sum. With one for each part the input and the past cannot balance each other, and h can reach ±2.",
        ),
    ),
    (rnn_with_linear, rnn_side_by_side, rnn_row_by_row),
    reference=rnn_step,
    cases=functools.partial(step_cases, gates=1, cell=False),
    expects="the new state, shape (B, H), between −1 and 1",
    checked="Values, and the gradients by all six inputs, on five fresh networks, a batch of one and a single unit among them.",
)


# --- 2 · The LSTM


def lstm_cases(rng: Rng) -> Iterator[Case]:
    yield from step_cases(rng, gates=4, cell=True)
    for inputs, hidden, kind in ((3, 4, np.float32), (2, 3, np.float64)):
        given = {
            "x": rng.normal(0, 1, (3, inputs)),
            "h": rng.uniform(-0.9, 0.9, (3, hidden)),
            "c": rng.normal(0, 1.5, (3, hidden)),
        } | weights(rng, 4, inputs, hidden)
        del given["b_hh"]
        inputs_of = {name: value.astype(kind) for name, value in given.items()}
        yield Case(inputs_of, "one bias, as in the papers: without b_hh", tuple(given))


def plain_lstm_step(
    x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    bias = b_ih if b_hh is None else b_ih + b_hh
    gates = x @ w_ih.T + h @ w_hh.T + bias  # (B, 4H)
    i, f, g, o = gates.chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return h, c


def lstm(
    order: str = "ifgo",
    biases: Callable[[Tensor, Tensor | None], Tensor] = lambda a, b: a if b is None else a + b,
    cell: Callable[..., Tensor] = lambda i, f, g, c: f * c + i * g,
    out: Callable[..., Tensor] = lambda o, new, old: o * torch.tanh(new),
    candidate: Callable[[Tensor], Tensor] = torch.tanh,
    gate: Callable[[Tensor], Tensor] = torch.sigmoid,
    back: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda h, c: (h, c),
    returned: Callable[[Tensor, Tensor], Any] = lambda h, c: (h, c),
) -> Answer:
    """An LSTM step with one of its pieces replaced."""

    def wrong(
        x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor | None = None
    ) -> Any:
        h, c = back(h, c)
        blocks = (x @ w_ih.T + h @ w_hh.T + biases(b_ih, b_hh)).chunk(4, dim=1)
        i, f, g, o = (blocks[order.index(name)] for name in "ifgo")
        new = cell(gate(i), gate(f), candidate(g), c)
        return returned(out(gate(o), new, c), new)

    return wrong


def lstm_interleaved(
    x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    gates = F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)
    i, f, g, o = gates.reshape(len(x), -1, 4).unbind(-1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm_by_slices(
    x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    size = h.shape[1]
    gates = F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)
    i = torch.sigmoid(gates[:, :size])
    f = torch.sigmoid(gates[:, size : 2 * size])
    g = torch.tanh(gates[:, 2 * size : 3 * size])
    o = torch.sigmoid(gates[:, 3 * size :])
    new_c = i * g + f * c
    return o * torch.tanh(new_c), new_c


def lstm_from_torch(
    x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    other = torch.zeros_like(b_ih) if b_hh is None else b_hh
    h, c = torch.lstm_cell(x, (h, c), w_ih, w_hh, b_ih, other)
    return h, c


def lstm_gate_by_gate(
    x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    values = []
    for k in range(4):
        rows = slice(k * h.shape[1], (k + 1) * h.shape[1])
        total = x @ w_ih[rows].T + h @ w_hh[rows].T + b_ih[rows]
        values.append(total if b_hh is None else total + b_hh[rows])
    i, f, g, o = values
    c = 1 / (1 + torch.exp(-f)) * c + torch.tanh(g) / (1 + torch.exp(-i))
    return torch.tanh(c) * o.sigmoid(), c


LSTM = Exercise(
    "lstm_step",
    "One step of an LSTM",
    15,
    2,
    (
        "Compute all four gates at once: one product with x, one with h, and the bias: (B, 4H). Then cut it into four with `.chunk(4, dim=-1)`.",
        "torch's order is i, f, g, o. i, f and o go through a sigmoid, g through tanh. When `b_hh` is None there is only one bias to add.",
        "First the new c: what f keeps of the old one, and what i lets in of g. Then h: what o lets out of tanh of the *new* c. Return h, c.",
    ),
    (
        Mistake(
            "gate order: i, f, o, g",
            lstm(order="ifog"),
            "The third block is the candidate g and the fourth the output gate o. In papers o is often listed before g; torch stacks i, f, g, o.",
        ),
        Mistake(
            "gate order: i, g, f, o",
            lstm(order="igfo"),
            "This is how TensorFlow's old BasicLSTMCell stacks its gates (i, j, f, o). torch, and Keras, have f second: i, f, g, o. Weights that are copied "
            "from one to the other run without a complaint, and remember nothing.",
        ),
        Mistake(
            "gate order: f, i, g, o",
            lstm(order="figo"),
            "Many drawings explain the forget gate first, so one writes f, i, g, o. torch stacks i, f, g, o.",
        ),
        Mistake(
            "one bias forgotten",
            lstm(biases=lambda a, b: a),
            "torch.nn.LSTM has two biases, and a gate gets their *sum*. Papers have one, so b_hh is easily left behind.",
        ),
        Mistake(
            "the second bias in place of the first",
            lstm(biases=lambda a, b: a if b is None else b),
            "Where b_hh is given it is *added* to b_ih.",
        ),
        Mistake(
            "the output from the old cell",
            lstm(out=lambda o, new, old: o * torch.tanh(old)),
            "h is what the gate o lets out of the *new* cell. With the old one the output lags a step behind.",
        ),
        Mistake(
            "no tanh on the way out",
            lstm(out=lambda o, new, old: o * new),
            "h = o·tanh(c). The cell itself may grow beyond 1 (it counts, it adds up); what leaves it is squashed.",
        ),
        Mistake(
            "the squashed cell carried on",
            lstm(returned=lambda h, c: (h, torch.tanh(c))),
            "tanh is for the output only. If the cell itself is squashed at each step, its gradient is, too, and that is what the cell is there to avoid.",
        ),
        Mistake(
            "a sigmoid for the candidate",
            lstm(candidate=torch.sigmoid),
            "g is what is written, and it must be able to be negative: tanh. With a sigmoid the cell can only grow.",
        ),
        Mistake(
            "tanh for the gates",
            lstm(gate=torch.tanh),
            "Gates say *how much*, from 0 to 1: sigmoids. With tanh a gate of −1 turns the memory's sign at each step.",
        ),
        Mistake(
            "the forget gate upside down",
            lstm(cell=lambda i, f, g, c: (1 - f) * c + i * g),
            "f near 1 *keeps* the cell. The name misleads: it is a remember gate.",
        ),
        Mistake(
            "the input gate coupled",
            lstm(cell=lambda i, f, g, c: f * c + (1 - f) * g),
            "This is the coupled variant, in which what is forgotten makes room for what is written; the GRU does so. Here i is a gate of its own.",
        ),
        Mistake(
            "the candidate not gated",
            lstm(cell=lambda i, f, g, c: f * c + g),
            "i is missing: the cell would be written to at each step, whether there is something to remember or not.",
        ),
        Mistake(
            "c and h swapped",
            lstm(returned=lambda h, c: (c, h)),
            "Return h first, then c, as torch does: h is the output.",
        ),
        Mistake(
            "the cell cut off",
            lstm(back=lambda h, c: (h, c.detach())),
            "`c.detach()` cuts the very path that the LSTM was invented for. It belongs to the border of a piece (exercise 6), not into the step.",
            "no gradient reaches",
        ),
        Mistake(
            "gate order: i, o, f, g",
            lstm(order="iofg"),
            "This is the order of ONNX (i, o, f, c). torch stacks i, f, g, o: weights that come from an ONNX file must be put in order first.",
        ),
        Mistake(
            "gate order: f, i, o, g",
            lstm(order="fiog"),
            "Textbooks explain the three gates first, f, i, o, and the candidate last. torch stacks i, f, g, o.",
        ),
        Mistake(
            "the gates interleaved",
            lstm_interleaved,
            "You cut the 4H numbers into groups of four, one group for each unit. torch puts the H numbers of one gate next to each other, then those of the next: `.chunk(4, dim=-1)`, or `.view(B, 4, H)`.",
        ),
        Mistake(
            "no bias at all",
            lstm(biases=lambda a, b: torch.zeros_like(a)),
            "A gate gets both biases, or b_ih alone where b_hh is None. Without them the forget gates would all begin at ½.",
        ),
        Mistake(
            "no forget gate",
            lstm(cell=lambda i, f, g, c: c + i * g),
            "This is the cell of 1997, which could only add up. Since Gers et al. (2000) the old cell is multiplied by f.",
        ),
        Mistake(
            "no output gate",
            lstm(out=lambda o, new, old: torch.tanh(new)),
            "h = o·tanh(c): o says how much of the cell is shown to the gates, and to the next layer.",
        ),
        Mistake(
            "the output gate inside of tanh",
            lstm(out=lambda o, new, old: torch.tanh(o * new)),
            "The cell is squashed first, and then gated: o·tanh(c), so that an open gate shows all of tanh(c), and a shut one nothing.",
        ),
        Mistake(
            "the candidate not squashed",
            lstm(candidate=lambda s: s),
            "g = tanh(…): what is written at one step stays within (−1, 1), or one large input would drown all that the cell holds.",
        ),
    ),
    (lstm_by_slices, lstm_from_torch, lstm_gate_by_gate),
    reference=lstm_step,
    shown=plain_lstm_step,
    part=True,
    cases=lstm_cases,
    expects="two tensors (B, H): the new h, and the new c",
    checked="Values, and the gradients by all inputs, on seven fresh networks, two of them with a single bias.",
)


# --- 3 · The GRU


def plain_gru_step(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    x_r, x_z, x_n = (x @ w_ih.T + b_ih).chunk(3, dim=-1)
    h_r, h_z, h_n = (h @ w_hh.T + b_hh).chunk(3, dim=-1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h


def gru(
    order: str = "rzn",
    new: Callable[..., Tensor] = lambda z, n, h, r: (1 - z) * n + z * h,
    candidate: Callable[..., Tensor] = lambda x, b_x, h, b_h, r: torch.tanh(x + b_x + r * (h + b_h)),
    gate: Callable[[Tensor], Tensor] = torch.sigmoid,
    before: bool = False,
    second: bool = True,
    back: Callable[[Tensor], Tensor] = lambda h: h,
) -> Answer:
    """A GRU step with one of its pieces replaced."""

    def wrong(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
        at, h = [order.index(name) for name in "rzn"], back(h)
        b_hh = b_hh if second else torch.zeros_like(b_hh)
        xs, hs = (x @ w_ih.T).chunk(3, dim=1), (h @ w_hh.T).chunk(3, dim=1)
        bx, bh = b_ih.chunk(3), b_hh.chunk(3)
        r, z = (gate(xs[k] + bx[k] + hs[k] + bh[k]) for k in at[:2])
        k = at[2]
        from_h = (r * h) @ w_hh.chunk(3)[k].T if before else hs[k]
        return new(z, candidate(xs[k], bx[k], from_h, bh[k], torch.ones_like(r) if before else r), h, r)

    return wrong


def gru_from_torch(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    return torch.gru_cell(x, h, w_ih, w_hh, b_ih, b_hh)


def gru_by_slices(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    size = h.shape[1]
    a, b = F.linear(x, w_ih, b_ih), F.linear(h, w_hh, b_hh)
    both = torch.sigmoid(a[:, : 2 * size] + b[:, : 2 * size])
    r, z = both[:, :size], both[:, size:]
    n = torch.tanh(a[:, 2 * size :] + r * b[:, 2 * size :])
    return n + z * (h - n)


GRU = Exercise(
    "gru_step",
    "One step of a GRU",
    12,
    2,
    (
        "Here the parts of x and of h must stay apart for a while: r multiplies only what comes from h. Cut each into three.",
        "torch's order is r, z, n. r and z are sigmoids of a sum; n = tanh(x's part + r · (h's part)), where each part has its own bias in it.",
        "`return (1 - z) * n + z * h`: in torch's convention z near 1 keeps.",
    ),
    (
        Mistake(
            "z and 1 − z swapped",
            gru(new=lambda z, n, h, r: z * n + (1 - z) * h),
            "This is the other convention, of Chung et al. (2014), and of many drawings. In torch's, and in Cho et al. (2014), z near 1 *keeps* h: "
            "(1 − z)·n + z·h. Each is a GRU. With weights of the other it forgets what it should keep.",
        ),
        Mistake(
            "gate order: z, r, n",
            gru(order="zrn"),
            "torch stacks r, z, n. Keras stacks z, r, h: weights that are copied run, and are wrong.",
        ),
        Mistake(
            "r before the matrix",
            gru(before=True),
            "W·(r·h) is how Cho et al. (2014) wrote it. torch applies r *after* the matrix, r·(W·h + b): one product for all three blocks, which is faster. "
            "(Keras calls the difference `reset_after`.)",
        ),
        Mistake(
            "the cell of Chung et al.",
            gru(before=True, new=lambda z, n, h, r: z * n + (1 - z) * h),
            "This is the GRU of Chung et al. (2014), letter by letter: r *before* the matrix, and z for what is new. torch has both the other way: "
            "r·(W·h + b), and z near 1 keeps.",
        ),
        Mistake(
            "gate order: z, r, n, and z swapped",
            gru(order="zrn", new=lambda z, n, h, r: z * n + (1 - z) * h),
            "Two things at once: torch stacks r, z, n, and its z near 1 *keeps* h. Many drawings have z first, and z for what is new.",
        ),
        Mistake(
            "r misses the bias",
            gru(candidate=lambda x, b_x, h, b_h, r: torch.tanh(x + b_x + r * h + b_h)),
            "r multiplies W_hn·h *and* b_hn. This is why a GRU in torch really needs two biases: here they are not only added.",
        ),
        Mistake(
            "r on the input, too",
            gru(candidate=lambda x, b_x, h, b_h, r: torch.tanh(r * (x + b_x + h + b_h))),
            "r closes the way from the *past* only. The input must come through, or a reset unit would be blind.",
        ),
        Mistake(
            "r left out",
            gru(candidate=lambda x, b_x, h, b_h, r: torch.tanh(x + b_x + h + b_h)),
            "The candidate must be able to ignore the past: r · (W_hn·h + b_hn).",
        ),
        Mistake(
            "one bias forgotten",
            gru(second=False),
            "b_hh is not there. It comes with the product with h, in all three blocks.",
        ),
        Mistake(
            "a sigmoid for the candidate",
            gru(candidate=lambda x, b_x, h, b_h, r: torch.sigmoid(x + b_x + r * (h + b_h))),
            "n is a value, not a gate, and may be negative: tanh.",
        ),
        Mistake(
            "tanh for the gates",
            gru(gate=torch.tanh),
            "r and z say how much, from 0 to 1: sigmoids.",
        ),
        Mistake(
            "r on what is kept",
            gru(new=lambda z, n, h, r: (1 - z) * n + z * r * h),
            "r belongs to the candidate. What is kept is z·h: with r in it, nothing survives a reset.",
        ),
        Mistake(
            "nothing gives way",
            gru(new=lambda z, n, h, r: n + z * h),
            "What is written gets the share 1 − z, so that h stays an average of values within (−1, 1).",
        ),
        Mistake(
            "the state cut off",
            gru(back=lambda h: h.detach()),
            "`h.detach()` makes each step forget how it came about: right values, and no learning through time.",
            "no gradient reaches",
        ),
        Mistake(
            "r on the input's part",
            gru(candidate=lambda x, b_x, h, b_h, r: torch.tanh(r * (x + b_x) + h + b_h)),
            "You gate the wrong part: r closes the way from the *past*, r · (W_hn·h + b_hn), and the input comes through as it is.",
        ),
        Mistake(
            "the candidate not squashed",
            gru(candidate=lambda x, b_x, h, b_h, r: x + b_x + r * (h + b_h)),
            "n is the tanh of that sum. Without it h leaves (−1, 1).",
        ),
        Mistake(
            "r upside down",
            gru(candidate=lambda x, b_x, h, b_h, r: torch.tanh(x + b_x + (1 - r) * (h + b_h))),
            "r near 1 lets the past through, in spite of its name, *reset*: r · (W_hn·h + b_hn).",
        ),
    ),
    (gru_from_torch, gru_by_slices),
    reference=gru_step,
    shown=plain_gru_step,
    cases=functools.partial(step_cases, gates=3, cell=False),
    expects="the new state, shape (B, H)",
    checked="Values, and the gradients by all six inputs, on five fresh networks.",
)


# --- 4 · The forget gate's bias


def bias_cases(rng: Rng) -> Iterator[Case]:
    names = ("b_ih", "b_hh", "half_life")
    for hidden, kind, about in (
        (3, np.float32, "three units"),
        (1, np.float64, "one unit"),
        (int(rng.integers(5, 9)), np.float64, "more units"),
    ):
        values = (rng.normal(size=4 * hidden), rng.normal(size=4 * hidden), rng.uniform(1.2, 50, hidden))
        yield Case(dict(zip(names, (v.astype(kind) for v in values), strict=True)), about, names)


def forget_bias(b_ih: Tensor, b_hh: Tensor, half_life: Tensor) -> tuple[Tensor, Tensor]:
    hidden = len(half_life)
    b_ih, b_hh = b_ih.clone(), b_hh.clone()
    b_ih[hidden : 2 * hidden] = -torch.log(2 ** (1 / half_life) - 1)  # f is the second gate
    b_hh[hidden : 2 * hidden] = 0.0
    return b_ih, b_hh


def biases(
    bias: Callable[[Tensor], Tensor] = lambda n: -torch.log(2 ** (1 / n) - 1),
    place: int = 1,
    others: str = "kept",
    second: str = "zero",
) -> Answer:
    """The biases with one of the pieces replaced."""

    def wrong(b_ih: Tensor, b_hh: Tensor, half_life: Tensor) -> tuple[Tensor, Tensor]:
        value, hidden = bias(half_life), len(half_life)
        one, two = ([*b.split(hidden)] for b in (b_ih, b_hh))
        if others == "zero":
            one, two = [torch.zeros_like(part) for part in one], [torch.zeros_like(part) for part in two]
        one[place] = value
        if second == "added":
            one[place] = b_ih.split(hidden)[place] + value
        if second == "sum":
            one[place] = value - two[place]
        elif second != "left":
            two[place] = value if second == "too" else value / 2 if second == "half" else torch.zeros_like(value)
        if second == "half":
            one[place] = value / 2
        if second == "none":
            two = [torch.zeros_like(part) for part in two]
        if second == "input":
            one[0], two[0] = -value, torch.zeros_like(value)
        if others == "all":
            one, two = [value] * 4, [torch.zeros_like(value)] * 4
        return torch.cat(one), torch.cat(two)

    return wrong


def bias_by_cat(b_ih: Tensor, b_hh: Tensor, half_life: Tensor) -> tuple[Tensor, Tensor]:
    i, _, g, o = b_ih.chunk(4)
    i_h, f_h, g_h, o_h = b_hh.chunk(4)
    f = torch.exp(-math.log(2) / half_life)
    return torch.cat([i, torch.log(f / (1 - f)), g, o]), torch.cat([i_h, torch.zeros_like(f_h), g_h, o_h])


def bias_by_logit(b_ih: Tensor, b_hh: Tensor, half_life: Tensor) -> tuple[Tensor, Tensor]:
    size = half_life.shape[0]
    second = (torch.arange(4 * size) // size) == 1
    value = torch.logit(0.5 ** (1 / half_life)).repeat(4)
    return torch.where(second, value, b_ih), torch.where(second, torch.zeros_like(b_hh), b_hh)


FORGET_BIAS = Exercise(
    "forget_bias",
    "How long to remember",
    8,
    2,
    (
        "Two things: the formula that you derived (n is the half-life), and where the forget gate's numbers stand among the 4H.",
        "With H = `len(half_life)` they are `b_ih[H : 2 * H]`, and the same in b_hh. The gate gets the *sum* of the two.",
        "Clone both. In the first, that piece becomes your formula, with `half_life` for n and torch.log; in the second it becomes 0.",
    ),
    (
        Mistake(
            "both biases set",
            biases(second="too"),
            "A gate gets b_ih + b_hh, so it gets twice the bias. It is easily made with a recipe of the kind “set the forget bias to 1”: "
            "in torch that makes it 2.",
        ),
        Mistake(
            "the other bias left as it was",
            biases(second="left"),
            "A gate gets b_ih + b_hh. What stands in b_hh is added to what you set, so that the half-life is another one.",
        ),
        Mistake(
            "half in each",
            biases(second="half"),
            "The sum is right, and the network would be, too. But the text asks for the whole bias in b_ih and 0 in b_hh, so that one can read it off.",
        ),
        Mistake(
            "the third gate",
            biases(place=2),
            "The third block is the candidate g in torch. The forget gate is the second: i, f, g, o.",
        ),
        Mistake(
            "the first gate",
            biases(place=0),
            "The first block is the input gate. The forget gate is the second: i, f, g, o.",
        ),
        Mistake(
            "the gate for its bias",
            biases(bias=lambda n: 2 ** (-1 / n)),
            "This is the gate itself, f = 2^(−1/n). A bias stands before the sigmoid: log(f/(1 − f)).",
        ),
        Mistake(
            "the sign turned",
            biases(bias=lambda n: torch.log(2 ** (1 / n) - 1)),
            "With this sign the gate is 1 − f: the longer the half-life, the sooner it forgets.",
        ),
        Mistake(
            "e in place of 2",
            biases(bias=lambda n: -torch.log(torch.exp(1 / n) - 1)),
            "After n steps 1/e is left with this bias, and not ½: a lifetime, not a half-life.",
        ),
        Mistake(
            "f = 1 − 1/n",
            biases(bias=lambda n: torch.log(n - 1)),
            "log(n − 1) makes f = 1 − 1/n, after n steps of which about 1/e is left. For a half-life it is f = 2^(−1/n).",
        ),
        Mistake(
            "all gates set",
            biases(others="all"),
            "Only the forget gate gets this bias. With it in the others, too, every gate stands open, and the cell is overwritten while it remembers.",
        ),
        Mistake(
            "the other gates zeroed",
            biases(others="zero"),
            "The biases of i, g and o stay what they were.",
        ),
        Mistake(
            "added to what stands there",
            biases(second="added"),
            "The bias *becomes* the one that you derived. What stood there comes on top with `+=`, so that the half-life is another one.",
        ),
        Mistake(
            "the sum right, and b_hh kept",
            biases(second="sum"),
            "The gate gets the right sum, and the network would be right, too. But the text asks for the whole bias in b_ih and 0 in b_hh, so that one can read it off.",
        ),
        Mistake(
            "all of the second bias zeroed",
            biases(second="none"),
            "Only the forget gate’s share of b_hh becomes 0. What i, g and o have there is a part of *their* biases.",
        ),
        Mistake(
            "the usual 1",
            biases(bias=lambda n: torch.ones_like(n)),
            "A bias of 1 is a half-life of 2.2 steps, for every unit. Here each unit gets the bias of its own half-life.",
        ),
        Mistake(
            "the logarithm forgotten",
            biases(bias=lambda n: 1 / (2 ** (1 / n) - 1)),
            "f/(1 − f) are the odds of the gate; the bias is their logarithm.",
        ),
        Mistake(
            "the gate's logarithm",
            biases(bias=lambda n: -math.log(2) / n),
            "This is log f, as if the gate were e^b. It is a sigmoid: b = log(f/(1 − f)).",
        ),
        Mistake(
            "the input gate set, too",
            biases(second="input"),
            "To shut the input gate as well is what comes below, for the adding problem. This function sets the forget gate alone.",
        ),
    ),
    (bias_by_cat, bias_by_logit),
    reference=forget_bias,
    cases=bias_cases,
    expects="two tensors (4H,): b_ih with the forget gate's bias in its place, and b_hh with 0 there; all else unchanged",
    checked="Values and gradients for one unit, three and more, with half-lives from 1.2 to 50 steps.",
)


# --- 5 · Clipping


def clip_cases(rng: Rng) -> Iterator[Case]:
    for shapes, scale, most, kind, about in (
        (((3, 4), (3,)), 3.0, 1.0, np.float32, "too long"),
        (((2, 2), (5,), (4, 1)), 5.0, round(float(rng.uniform(1.5, 3)), 2), np.float64, "too long, and another limit"),
        (((2, 3), (2,)), 0.02, 1.0, np.float64, "short enough: to be left alone"),
        (((6,), (2, 2)), 0.3, 5.0, np.float32, "far below a large limit"),
        (((2, 2), (3,)), 0.0, 1.0, np.float64, "all zero"),
    ):
        arrays = [np.asarray(scale * rng.normal(size=shape)) for shape in shapes]
        arrays[0] *= 4  # one is much longer than the others
        gradients = [torch.from_numpy(array.astype(kind)) for array in arrays]
        yield Case({"gradients": gradients, "most": most}, about)
    for shapes, part, most, kind, about in (
        (((3, 2), (4,)), 1.2, 1.0, np.float64, "a little too long, and no tensor alone is"),
        (((2, 2), (3,)), 0.9, 1.0, np.float64, "nearly too long"),
        (((5,), (2, 3)), 1.2, 0.5, np.float32, "a little too long for a small limit"),
        (((4,), (3, 2)), 0.9, round(float(rng.uniform(2, 4)), 2), np.float64, "nearly too long for a large limit"),
        (((3,), (2, 2)), 0.6, 2.0, np.float64, "longer than 1, and short enough"),
    ):
        arrays = [rng.normal(size=shape) for shape in shapes]
        arrays = [rng.uniform(0.9, 1.1) * array / np.linalg.norm(array) for array in arrays]  # of much the same length
        whole = math.sqrt(sum(float((array**2).sum()) for array in arrays))
        gradients = [torch.from_numpy((part * most / whole * array).astype(kind)) for array in arrays]
        yield Case({"gradients": gradients, "most": most}, about)
    for count, about in (
        (1, "the second tensor is too long, by one number"),
        (6, "the second tensor is too long, and no number is"),
        (6, "the first tensor is too long, and no number is"),
    ):
        long = rng.choice([-1.0, 1.0], count) * rng.uniform(0.9, 1.1, count)
        arrays = [0.1 * rng.normal(size=(2, 2)), 1.4 * long / np.linalg.norm(long)]
        arrays = arrays[::-1] if "first" in about else arrays
        yield Case({"gradients": [torch.from_numpy(array) for array in arrays], "most": 1.0}, about)


def clip_by_norm(gradients: list[Tensor], most: float) -> tuple[Tensor, ...]:
    norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
    if norm <= most:
        return tuple(gradients)
    return tuple(g * (most / norm) for g in gradients)


def joint_norm(gradients: list[Tensor]) -> Tensor:
    return torch.cat([g.flatten() for g in gradients]).norm()


def clip(
    length: Callable[[list[Tensor]], Tensor] = joint_norm,
    always: bool = False,
    scale: Callable[[Tensor, float], Any] = lambda norm, most: most / norm,
    asked: Callable[[list[Tensor]], Tensor] | None = None,
) -> Answer:
    """Clipping with one of its pieces replaced: ``asked`` is what the limit is held against, if not the length."""

    def wrong(gradients: list[Tensor], most: float) -> tuple[Tensor, ...]:
        norm = length(gradients)
        if norm == 0 or ((asked or length)(gradients) <= most and not always):
            return tuple(gradients)
        return tuple(g * scale(norm, most) for g in gradients)

    return wrong


def clip_each(gradients: list[Tensor], most: float) -> tuple[Tensor, ...]:
    return tuple(g * min(1.0, most / (float(g.norm()) + 1e-12)) for g in gradients)


def clip_the_long_ones(gradients: list[Tensor], most: float) -> tuple[Tensor, ...]:
    norm = joint_norm(gradients)
    return tuple(g * (most / norm) if g.norm() > most else g for g in gradients)


def clip_above_one(gradients: list[Tensor], most: float) -> tuple[Tensor, ...]:
    norm = joint_norm(gradients)
    return tuple(g * (most / norm) for g in gradients) if norm > 1 else tuple(gradients)


def clip_in_place(gradients: list[Tensor], most: float) -> list[Tensor]:
    norm = joint_norm(gradients)
    if norm > most:
        for g in gradients:
            g.mul_(most / norm)
    return gradients


def clip_by_value(gradients: list[Tensor], most: float) -> tuple[Tensor, ...]:
    return tuple(g.clamp(-most, most) for g in gradients)


def clip_nan_at_zero(gradients: list[Tensor], most: float) -> tuple[Tensor, ...]:
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    return tuple(g / norm * torch.clamp(norm, max=most) for g in gradients)


def clip_above_only(gradients: list[Tensor], most: float) -> tuple[Tensor, ...]:
    return tuple(g.clamp(max=most) for g in gradients)


def clip_always(gradients: list[Tensor], most: float) -> tuple[Tensor, ...]:
    return tuple(g * (most / joint_norm(gradients)) for g in gradients)


def clip_the_larger(gradients: list[Tensor], most: float) -> tuple[Tensor, ...]:
    return tuple(g * max(1.0, most / float(joint_norm(gradients).clamp(min=1e-12))) for g in gradients)


def clip_flat(gradients: list[Tensor], most: float) -> tuple[Tensor, ...]:
    flat = torch.cat([g.reshape(-1) for g in gradients])
    shrunk = flat * (most / (torch.linalg.vector_norm(flat) + 1e-12)).clamp(max=1.0)
    pieces = shrunk.split([g.numel() for g in gradients])
    return tuple(piece.reshape(g.shape) for piece, g in zip(pieces, gradients, strict=True))


def clip_like_torch(gradients: list[Tensor], most: float) -> tuple[Tensor, ...]:
    total = torch.nn.utils.get_total_norm(gradients)
    factor = min(1.0, most / max(float(total), 1e-30))
    return tuple(factor * g for g in gradients)


def clip_with_torch(gradients: list[Tensor], most: float) -> tuple[Tensor, ...]:
    parameters = [torch.nn.Parameter(torch.zeros_like(g)) for g in gradients]
    for parameter, g in zip(parameters, gradients, strict=True):
        parameter.grad = g.clone()
    torch.nn.utils.clip_grad_norm_(parameters, most)
    return tuple(parameter.grad for parameter in parameters if parameter.grad is not None)


CLIP = Exercise(
    "clip_by_norm",
    "Shorter, in the same direction",
    8,
    2,
    (
        "All gradients together are *one* vector, and it is this vector's length that is limited. How long is it?",
        "The root of the sum of all squares of all tensors. If it is at most `most`, nothing happens; else every tensor gets the same factor.",
        "The factor is `most / norm`. All zeros have norm 0: do not divide by it.",
    ),
    (
        Mistake(
            "clipping by value",
            clip_by_value,
            "`clamp` limits each *number*. That turns the gradient towards the diagonal: (30, 0.4) becomes (1, 0.4). It is tempting since it is shorter to "
            "write. Clipping by norm keeps the direction.",
        ),
        Mistake(
            "clipping by value, from above only",
            clip_above_only,
            "`clamp(max=…)` limits each number, and large negative ones not at all. What is limited here is the length of all together.",
        ),
        Mistake(
            "each tensor by its own norm",
            clip_each,
            "One norm for *all* tensors: they are pieces of one vector. Clipped apart, large layers are slowed and small ones are not, and the direction is "
            "another one.",
        ),
        Mistake(
            "always scaled",
            clip(always=True),
            "A gradient that is short enough stays as it is. Yours is *stretched* to the limit, so that training can never come to rest at a minimum.",
        ),
        Mistake(
            "the root forgotten",
            clip(length=lambda gs: torch.stack([g.square().sum() for g in gs]).sum()),
            "The norm is the *root* of the sum of squares.",
        ),
        Mistake(
            "the norms added up",
            clip(length=lambda gs: torch.stack([g.norm() for g in gs]).sum()),
            "Norms of pieces do not add up, squares do: ‖(a, b)‖² = ‖a‖² + ‖b‖².",
        ),
        Mistake(
            "the largest number for the norm",
            clip(length=lambda gs: torch.cat([g.flatten() for g in gs]).abs().max()),
            "This is the maximum norm: the direction stays, but the vector may be longer than `most` by the root of its size.",
        ),
        Mistake(
            "the mean of the squares",
            clip(length=lambda gs: torch.cat([g.flatten() for g in gs]).square().mean().sqrt()),
            "The root of the *mean* square does not grow with the number of weights; the norm does. Yours clips far too late.",
        ),
        Mistake(
            "each tensor asked alone",
            clip_the_long_ones,
            "The factor is right, but you ask each tensor by itself whether it is too long. Two of length 0.85 are together 1.2 long: it is the joint norm that "
            "is asked, once, and then all are scaled.",
        ),
        Mistake(
            "only the longest tensor asked",
            clip(asked=lambda gs: torch.stack([g.norm() for g in gs]).max()),
            "The limit is for the joint norm. Pieces that are all short enough can be too long together.",
        ),
        Mistake(
            "only the first tensor asked",
            clip(asked=lambda gs: gs[0].norm()),
            "Whether anything happens is decided by the norm of all tensors together, not by that of the first.",
        ),
        Mistake(
            "only the largest number asked",
            clip(asked=lambda gs: torch.cat([g.flatten() for g in gs]).abs().max()),
            "Numbers that are all below `most` can make a vector that is longer. Ask the joint norm.",
        ),
        Mistake(
            "the sum of the norms asked",
            clip(asked=lambda gs: torch.stack([g.norm() for g in gs]).sum()),
            "The sum of the norms is more than the joint norm: yours *stretches* gradients that are short enough.",
        ),
        Mistake(
            "the square asked",
            clip(asked=lambda gs: joint_norm(gs) ** 2),
            "The squared norm is held against the limit. It goes unseen with the limit 1, where the two agree on which is larger.",
        ),
        Mistake(
            "the limit taken for 1",
            clip_above_one,
            "You ask whether the norm is above 1. The limit is `most`.",
        ),
        Mistake(
            "written in place",
            clip_in_place,
            "`mul_`, `*=` and `gradients[k] = …` change what the caller holds, who may still want the true length, to count how often it was clipped. Return new ones.",
        ),
        Mistake(
            "multiplied by the limit only",
            clip(scale=lambda norm, most: most),
            "The factor is most/norm: then the new norm is most. Yours is most times the old one.",
        ),
        Mistake(
            "divided by the norm only",
            clip(scale=lambda norm, most: 1 / norm),
            "This makes a vector of length 1, whatever the limit is.",
        ),
        Mistake(
            "zero divided by zero",
            clip_nan_at_zero,
            "Where all gradients are 0 the norm is 0, and 0/0 is NaN, which Adam then keeps in its averages for ever.",
        ),
        Mistake(
            "always scaled, and nothing by zero",
            clip_always,
            "A gradient that is short enough stays as it is; yours is *stretched* to the limit. And where all are 0 the norm is 0, and 0·∞ is NaN.",
        ),
        Mistake(
            "max for min",
            clip_the_larger,
            "The factor is at *most* 1, so it is the smaller of 1 and most/norm: `min`. Yours stretches what is short, and lets pass what is long.",
        ),
        Mistake(
            "the absolute values added up",
            clip(length=lambda gs: torch.cat([g.flatten() for g in gs]).abs().sum()),
            "This is the 1-norm. Length is the root of the sum of *squares*; `.norm()` alone would be that.",
        ),
        Mistake(
            "the longest tensor's norm",
            clip(length=lambda gs: torch.stack([g.norm() for g in gs]).max()),
            "One norm for all tensors together: ‖(a, b)‖² = ‖a‖² + ‖b‖², which is more than the longest alone.",
        ),
    ),
    (clip_flat, clip_like_torch, clip_with_torch),
    reference=clip_by_norm,
    cases=clip_cases,
    expects="a tuple of as many tensors, of the same shapes, whose common norm is at most `most`",
    checked="Too long, short enough and all zero, with two and three tensors of different sizes.",
    equivalent={"gradient cut": "these are gradients already: nobody differentiates through the clipping"},
)


# --- 6 · One stream, cut in two ways


def leaky_step(rng: Rng, inputs: int, hidden: int, kind: Any) -> Step:
    """A step that keeps enough of the past for every cut to be felt."""
    w_x, w_h, bias = (
        torch.from_numpy(a.astype(kind))
        for a in (
            rng.normal(0, 0.5, (hidden, inputs)),
            rng.normal(0, 0.4 / math.sqrt(hidden), (hidden, hidden)) + 0.6 * np.eye(hidden),
            rng.normal(0, 0.3, hidden),
        )
    )

    def step(x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(x @ w_x.T + h @ w_h.T + bias)

    return step


def unroll_cases(rng: Rng) -> Iterator[Case]:
    for batch, time, inputs, hidden, every, kind, about in (
        (3, 7, 2, 4, 3, np.float32, "pieces of three steps"),
        (1, 6, 1, 3, 2, np.float64, "a batch of one"),
        (2, 9, 3, 2, 4, np.float64, "pieces of four steps"),
        (2, 4, 2, 3, 10, np.float64, "a single piece"),
    ):
        first = np.zeros((batch, time), bool)
        first[:, int(rng.integers(1, time - 1))] = rng.random(batch) < 0.5
        first[0, 1 + int(rng.integers(time - 2))] = True  # somewhere, an episode begins
        if batch > 1:
            first[1, 0] = True  # and in one stream at once
            first[1, 1:] = False
        inputs_of = {
            "step": leaky_step(rng, inputs, hidden, kind),
            "x": rng.normal(0, 1, (batch, time, inputs)).astype(kind),
            "h": rng.uniform(-0.9, 0.9, (batch, hidden)).astype(kind),
            "first": first,
            "every": every,
        }
        yield Case(inputs_of, about, ("x", "h"))


def unroll(step: "Any", x: Tensor, h: Tensor, first: Tensor, every: int) -> Tensor:
    out = []
    for t in range(x.shape[1]):
        if t % every == 0:
            h = h.detach()  # the value goes on, the gradient does not
        h = torch.where(first[:, t, None], torch.zeros_like(h), h)  # nothing goes on
        h = step(x[:, t], h)
        out.append(h)
    return torch.stack(out, dim=1)


def unrolled(
    cut: Callable[[Tensor, int, int], Tensor] = lambda h, t, every: h.detach() if t % every == 0 else h,
    reset: Callable[[Tensor, Tensor, int], Tensor] = lambda h, first, t: h * (~first[:, t, None]).to(h.dtype),
    after: Callable[[Tensor, Tensor, int], Tensor] = lambda h, first, t: h,
    result: Callable[[list[Tensor]], Tensor] = lambda out: torch.stack(out, 1),
    look: Callable[[Tensor], Tensor] = lambda x: x,
) -> Answer:
    """The unrolling with one of its pieces replaced."""

    def wrong(step: Step, x: Tensor, h: Tensor, first: Tensor, every: int) -> Tensor:
        out, x = [], look(x)
        for t in range(x.shape[1]):
            h = step(x[:, t], reset(cut(h, t, every), first, t))
            out.append(h)
            h = after(h, first, t)
        return result(out)

    return wrong


def unroll_in_pieces(step: Step, x: Tensor, h: Tensor, first: Tensor, every: int) -> Tensor:
    pieces = []
    for piece, starts in zip(x.split(every, dim=1), first.split(every, dim=1), strict=True):
        h, states = h.detach(), []
        for x_t, begins in zip(piece.unbind(1), starts.unbind(1), strict=True):
            h = step(x_t, h.masked_fill(begins[:, None], 0.0))
            states.append(h)
        pieces.append(torch.stack(states, dim=1))
    return torch.cat(pieces, dim=1)


def unroll_with_keep(step: Step, x: Tensor, h: Tensor, first: Tensor, every: int) -> Tensor:
    keep = 1 - first.to(x.dtype)
    states, h = list[Tensor](), h.detach()
    for t in range(x.size(1)):
        before = states[-1] if states else h
        if t > 0 and t % every == 0:
            before = before.detach()
        states.append(step(x[:, t], before * keep[:, t].unsqueeze(-1)))
    return torch.stack(states).transpose(0, 1)


def unroll_to_given(step: Step, x: Tensor, h: Tensor, first: Tensor, every: int) -> Tensor:
    out, given = [], h
    for t in range(x.shape[1]):
        if t % every == 0:
            h = h.detach()
        h = step(x[:, t], torch.where(first[:, t, None], given, h))
        out.append(h)
    return torch.stack(out, dim=1)


def unroll_cut_before_append(step: Step, x: Tensor, h: Tensor, first: Tensor, every: int) -> Tensor:
    out = []
    for t in range(x.shape[1]):
        h = step(x[:, t], h * (~first[:, t, None]).to(h.dtype))
        if (t + 1) % every == 0:
            h = h.detach()
        out.append(h)
    return torch.stack(out, dim=1)


def unroll_cut_after(step: Step, x: Tensor, h: Tensor, first: Tensor, every: int) -> Tensor:
    out = []
    for t in range(x.shape[1]):
        h = step(x[:, t], h * (~first[:, t, None]).to(h.dtype))
        if t % every == 0:
            h = h.detach()
        out.append(h)
    return torch.stack(out, dim=1)


def unroll_wiped_after(step: Step, x: Tensor, h: Tensor, first: Tensor, every: int) -> Tensor:
    out = []
    for t in range(x.shape[1]):
        h = step(x[:, t], h.detach() if t % every == 0 else h) * (~first[:, t, None]).to(h.dtype)
        out.append(h)
    return torch.stack(out, dim=1)


def unroll_reset_at_borders(step: Step, x: Tensor, h: Tensor, first: Tensor, every: int) -> Tensor:
    out = []
    for t in range(x.shape[1]):
        if t % every == 0:
            h = h.detach() * (~first[:, t, None]).to(h.dtype)
        h = step(x[:, t], h)
        out.append(h)
    return torch.stack(out, dim=1)


def unroll_before(step: Step, x: Tensor, h: Tensor, first: Tensor, every: int) -> Tensor:
    out = []
    for t in range(x.shape[1]):
        if t % every == 0:
            h = h.detach()
        h = h * (~first[:, t, None]).to(h.dtype)
        out.append(h)
        h = step(x[:, t], h)
    return torch.stack(out, dim=1)


UNROLL = Exercise(
    "unroll",
    "One stream, cut in two ways",
    15,
    3,
    (
        "A loop over time. Before each step, two questions: does a piece begin here, and for which streams does an episode begin here?",
        "A piece begins where `t % every == 0`, at t = 0 too: then `h = h.detach()`. An episode begins for *some* rows: `torch.where(first[:, t, None], …)`. (Not `h[first[:, t]] = 0`: that is written in place, into the state that lies in your list already.)",
        "In this order: detach, zeros where `first`, `h = step(x[:, t], h)`, append. At the end `torch.stack(out, dim=1)`.",
    ),
    (
        Mistake(
            "the state leaks into the next episode",
            unrolled(reset=lambda h, first, t: h),
            "Where an episode begins, the state of the one before must not come along: the network would begin with the memory of a death in another world. "
            "It is tempting because nothing fails: the loss is a little worse, and that is all.",
        ),
        Mistake(
            "nothing is cut",
            unrolled(cut=lambda h, t, every: h),
            "The values are right, but the gradient goes back through all of the stream, the given state included. On a long recording that fills the "
            "memory. At t = 0, every, 2·every, … it must end: `h.detach()`.",
        ),
        Mistake(
            "cut at each step",
            unrolled(cut=lambda h, t, every: h.detach()),
            "With a cut before *every* step no step learns what it should have written for later ones. Cut only where a piece begins.",
        ),
        Mistake(
            "each piece begins at zero",
            unrolled(cut=lambda h, t, every: torch.zeros_like(h) if t % every == 0 else h),
            "A piece ends in the middle of an episode: the gradient stops there, the *memory* must not. `detach`, not zeros.",
        ),
        Mistake(
            "cut one step late",
            unrolled(cut=lambda h, t, every: h.detach() if t == 0 or t % every == 1 % every else h),
            "Pieces begin at t = 0, every, 2·every, …: the cut comes *before* the step with that number.",
        ),
        Mistake(
            "the given state is not cut",
            unrolled(cut=lambda h, t, every: h.detach() if t and t % every == 0 else h),
            "The state that you are given is the end of an earlier piece, whose graph may be gone. t = 0 is the beginning of a piece, too.",
        ),
        Mistake(
            "reset one step late",
            unrolled(reset=lambda h, first, t: h, after=lambda h, first, t: h * (~first[:, t, None]).to(h.dtype)),
            "`first[:, t]` says that x_t is an episode's first: its step must begin at zero. Yours resets after that step, so the first frame is read with "
            "the old memory and then forgotten.",
        ),
        Mistake(
            "reset for the whole batch",
            unrolled(reset=lambda h, first, t: torch.zeros_like(h) if bool(first[:, t].any()) else h),
            "Episodes end at different times in different rows. `if first[:, t].any()` wipes the memory of the others, too.",
        ),
        Mistake(
            "reset upside down",
            unrolled(reset=lambda h, first, t: h * first[:, t, None].to(h.dtype)),
            "Your mask keeps the state where an episode *begins*, and wipes it everywhere else.",
        ),
        Mistake(
            "reset to the given state",
            unroll_to_given,
            "The h that you are given is where the streams stood *before*: for a new episode that is another world's memory. It begins at zero.",
        ),
        Mistake(
            "no reset at t = 0",
            unrolled(reset=lambda h, first, t: h * (~first[:, t, None]).to(h.dtype) if t else h),
            "An episode may begin with the very first step of a piece: `first[:, 0]` counts, too. The given h belongs to the episode before.",
        ),
        Mistake(
            "the output cut, too",
            unroll_cut_before_append,
            "You detach after the step and before it is put on the list, so that the last state of every piece is returned without its gradient: its loss "
            "teaches nothing. Cut *before* the next step, and at t = 0.",
        ),
        Mistake(
            "the outputs detached",
            unrolled(result=lambda out: torch.stack([h.detach() for h in out], 1)),
            "The cut belongs between two steps. What is returned must carry its gradient, or nothing is learned at all.",
            "no gradient reaches",
        ),
        Mistake(
            "only the last state",
            unrolled(result=lambda out: out[-1]),
            "Return every state, (B, T, H): the loss is taken at each step.",
        ),
        Mistake(
            "time on the first axis",
            unrolled(result=lambda out: torch.stack(out, 0)),
            "`torch.stack(out)` makes (T, B, H). The batch comes first here: `dim=1`.",
        ),
        Mistake(
            "cut one step early",
            unrolled(cut=lambda h, t, every: h.detach() if (t + 1) % every == 0 else h),
            "Pieces begin at t = 0, every, 2·every, …, and the cut comes before the step with that number. With `(t + 1) % every` it comes a step too early.",
        ),
        Mistake(
            "cut at every step after the first piece",
            unrolled(cut=lambda h, t, every: h.detach() if t >= every else h),
            "A new piece begins at each *multiple* of `every`: `t % every == 0`. With `t >= every` all later pieces are one step long.",
        ),
        Mistake(
            "the step cut, not its state",
            unroll_cut_after,
            "You detach the state that the first step of a piece *returns*. The cut comes before that step: what it reads is given, what it makes has a gradient.",
        ),
        Mistake(
            "the state wiped after its step",
            unroll_wiped_after,
            "You put the zeros in place of what the first step of an episode *returns*. They belong before it: x_t is read from a zero state, and its state is remembered.",
        ),
        Mistake(
            "cut in place of reset",
            unrolled(reset=lambda h, first, t: torch.where(first[:, t, None], h.detach(), h)),
            "Where an episode begins you cut the gradient, and the *value* of the old episode still goes on. There it must be zeros.",
        ),
        Mistake(
            "reset only where a piece begins",
            unroll_reset_at_borders,
            "Episodes begin anywhere, in the middle of a piece, too: `first[:, t]` is asked at every step.",
        ),
        Mistake(
            "the states before their steps",
            unroll_before,
            "You put the state on the list before the step: row t must hold what the network knows *after* it has read x_t.",
        ),
    ),
    (unroll_in_pieces, unroll_with_keep),
    reference=unroll,
    cases=unroll_cases,
    expects="every state, shape (B, T, H); gradients that end where a piece or an episode begins",
    checked="Values, and how far the gradient goes back, on four fresh streams with episodes that begin at different times.",
    equivalent={"input step ignored": "a function is no array: nothing can be zeroed, so this mutant is the original"},
)


# --- 7 · Episodes of unequal length


def pad_cases(rng: Rng) -> Iterator[Case]:
    for count, width, kind, about in (
        (3, 2, np.float32, "three episodes"),
        (1, 4, np.float64, "a single one"),
        (int(rng.integers(4, 8)), 1, np.float64, "more of them"),
    ):
        lengths = rng.integers(1, 6, count)
        lengths[int(rng.integers(count))] = 7  # one is the longest, and is not always the first
        if count > 1:
            lengths[lengths.argmin()] = 1
        rows = rng.normal(size=(int(lengths.sum()), width))
        rows[1 + int(rng.integers(len(rows) - 1))] = 0.0  # a frame whose code is zero is a frame
        rows[-2] = 0.0 if lengths[-1] > 1 else rows[-2]
        yield Case({"rows": rows.astype(kind), "lengths": lengths.astype(np.int64)}, about, ("rows",))
    lengths = np.array([5, 3, 5])
    rows = rng.normal(size=(13, 2))
    rows[[2, 7]] = 0.0  # within the first episode, and at the end of the second
    yield Case({"rows": rows, "lengths": lengths}, "two of one length, and zeros that are data", ("rows",))


def pad_episodes(rows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    longest = int(lengths.max())
    padded = rows.new_zeros(len(lengths), longest, rows.shape[1])
    mask = rows.new_zeros(len(lengths), longest)
    start = 0
    for episode, length in enumerate(lengths.tolist()):
        padded[episode, :length] = rows[start : start + length]
        mask[episode, :length] = 1.0
        start += length
    return padded, mask


def padded(
    place: Callable[[int, int], slice] = lambda length, longest: slice(0, length),
    mask: Callable[[Tensor, Tensor], Tensor] = lambda mask, padded: mask,
    advance: Callable[[int], int] = lambda length: length,
    longest: Callable[[list[int]], int] = max,
    fill: str = "zeros",
    more: int = 0,
    swap: bool = False,
) -> Answer:
    """The padding with one of its pieces replaced."""

    def wrong(rows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        sizes = [int(n) for n in lengths]
        width, start = longest(sizes), 0
        out, valid = rows.new_zeros(len(sizes), width, rows.shape[1]), rows.new_zeros(len(sizes), width)
        for k, n in enumerate(sizes):
            n = min(n, width)
            out[k, place(n, width)] = rows[start : start + n]
            if fill == "last":
                out[k, n:] = rows[start + n - 1]
            valid[k, slice(0, n) if swap else place(n, width)] = 1
            if more and n < width:
                valid[k, n] = 1
            start += advance(sizes[k])
        return out, mask(valid, out)

    return wrong


def pad_with_torch(rows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    padded = pad_sequence(list(rows.split(lengths.tolist())), batch_first=True)
    mask = torch.arange(padded.shape[1])[None, :] < lengths[:, None]
    return padded, mask.to(rows.dtype)


def pad_by_index(rows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    valid = torch.arange(int(lengths.max())) < lengths.unsqueeze(1)  # (E, L)
    start = lengths.cumsum(0) - lengths
    index = (start[:, None] + torch.arange(valid.shape[1])).clamp(max=len(rows) - 1)
    mask = valid.to(rows.dtype)
    return rows[index] * mask[..., None], mask


def pad_time_first(rows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    padded, mask = pad_with_torch(rows, lengths)
    return padded.transpose(0, 1), mask


def pad_sorted(rows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    padded, mask = pad_with_torch(rows, lengths)
    order = torch.argsort(lengths, descending=True, stable=True)
    return padded[order], mask[order]


def pad_from_ends(rows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    padded, mask = pad_with_torch(torch.zeros_like(rows), lengths)
    for k, (end, n) in enumerate(zip(lengths.cumsum(0).tolist(), lengths.tolist(), strict=True)):
        padded[k, : len(rows[end : end + n])] = rows[end : end + n]
    return padded, mask


def pad_reshaped(rows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    _, mask = pad_with_torch(rows, lengths)
    return F.pad(rows, (0, 0, 0, mask.numel() - len(rows))).view(*mask.shape, -1), mask


PAD = Exercise(
    "pad_episodes",
    "Episodes of unequal length",
    10,
    2,
    (
        "Begin with zeros: `rows.new_zeros(E, L, D)` for the data and `rows.new_zeros(E, L)` for the mask, where L is the longest length.",
        "Go through the episodes and keep count of where the next one starts. Both get filled up to the episode's own length.",
        "`padded[e, :n] = rows[start : start + n]`, `mask[e, :n] = 1.0`, `start += n`.",
    ),
    (
        Mistake(
            "padded on the left",
            padded(place=lambda n, width: slice(width - n, width)),
            "The episodes must *begin* together: with zeros in front the network reads nothing for a while before the first frame, and its state is no "
            "longer zero when that comes.",
        ),
        Mistake(
            "the mask is one everywhere",
            padded(mask=lambda mask, out: torch.ones_like(mask)),
            "A mask of ones counts the padding as frames: the loss is diluted by steps that never happened, which the network soon predicts perfectly.",
        ),
        Mistake(
            "the mask upside down",
            padded(mask=lambda mask, out: 1 - mask),
            "1 is for a step that happened, 0 for padding. With yours the loss is taken on the padding alone.",
        ),
        Mistake(
            "the mask guessed from zeros",
            padded(mask=lambda mask, out: (out.abs().sum(-1) > 0).to(mask.dtype)),
            "A frame whose numbers are all 0 is a frame. Only the lengths know what is padding.",
        ),
        Mistake(
            "one step too many",
            padded(more=1),
            "The mask reaches one step beyond the end: positions 0 to n − 1 are n steps.",
        ),
        Mistake(
            "the last frame repeated",
            padded(fill="last"),
            "Padding is zeros here. A repeated frame looks like a world that stands still, and nobody sees that it is padding.",
        ),
        Mistake(
            "episodes that overlap",
            padded(advance=lambda n: n - 1),
            "Each episode begins where the one before has ended: `start += n`. Yours begins with the last frame of the one before.",
        ),
        Mistake(
            "the first one again and again",
            padded(advance=lambda n: 0),
            "`start` never moves, so every episode is read from the beginning of the recording.",
        ),
        Mistake(
            "cut to the shortest",
            padded(longest=min),
            "Cutting to the shortest needs no mask, and throws most of the recording away.",
        ),
        Mistake(
            "the mask in another dtype",
            padded(mask=lambda mask, out: mask.bool()),
            "Fine as a mask, but the text asks for 1.0 and 0.0 in the dtype of `rows`, so that one can multiply and sum: no booleans, no whole "
            "numbers, and no float32 (`.float()`) beside rows of float64.",
        ),
        Mistake(
            "time on the first axis",
            pad_time_first,
            "`pad_sequence` puts time first unless it is told `batch_first=True`: (L, E, D), where (E, L, D) should come.",
        ),
        Mistake(
            "sorted by length",
            pad_sorted,
            "Some packing functions want the longest episode first. Here episode e stays in row e: whoever sorts must sort everything that belongs to the episodes, too.",
        ),
        Mistake(
            "ends taken for starts",
            pad_from_ends,
            "`lengths.cumsum(0)` says where each episode *ends*. It starts where the one before has ended: `lengths.cumsum(0) - lengths`.",
        ),
        Mistake(
            "filled without a break",
            pad_reshaped,
            "Your rows run on from one episode into the next: zeros only come at the very end. Each episode begins a row of its own.",
        ),
        Mistake(
            "only the data on the left",
            padded(place=lambda n, width: slice(width - n, width), swap=True),
            "The data lie at the end of the rows and the mask’s ones at the beginning: they mark the padding.",
        ),
    ),
    (pad_with_torch, pad_by_index),
    reference=pad_episodes,
    cases=pad_cases,
    expects="the padded episodes (E, L, D), and a mask (E, L) of 1.0 and 0.0 in the dtype of rows",
    checked="Values, mask and gradients on four fresh recordings, with zeros that are data and a single episode among them.",
)


# --- 8 · Counting


def table_cases(rng: Rng) -> Iterator[Case]:
    for about in ("a few layers", "a few more"):
        layers = []
        for kind in rng.permutation(["rnn", "lstm", "gru", "lstm", "gru"]):
            sizes = (int(rng.integers(1, 40)), int(rng.integers(2, 60)), int(rng.integers(1, 3)))
            layers.append((str(kind), *sizes))
        yield Case({"layers": layers}, about)
    yield Case({"layers": [("lstm", 35, 256, 2), ("gru", 35, 256, 2), ("rnn", 35, 256, 1)]}, "the paper's sizes")


def cell_table(layers: list[tuple[str, int, int, int]]) -> Tensor:
    gates = {"rnn": 1, "gru": 3, "lstm": 4}
    counts = []
    for kind, inputs, hidden, biases in layers:
        counts.append(gates[kind] * hidden * (inputs + hidden + biases))
    return torch.tensor(counts)


def counting(
    count: Callable[[int, int, int, int], int] = lambda g, i, h, b: g * h * (i + h + b),
    gates: tuple[int, int, int] = (1, 3, 4),
) -> Answer:
    def wrong(layers: list[tuple[str, int, int, int]]) -> Tensor:
        of = dict(zip(("rnn", "gru", "lstm"), gates, strict=True))
        return torch.tensor([count(of[kind], inputs, hidden, biases) for kind, inputs, hidden, biases in layers])

    return wrong


def count_with_torch(layers: list[tuple[str, int, int, int]]) -> Tensor:
    kinds = {"rnn": torch.nn.RNNCell, "gru": torch.nn.GRUCell, "lstm": torch.nn.LSTMCell}
    counts = []
    for kind, inputs, hidden, biases in layers:
        with torch.device("meta"):
            shapes = [p.shape for p in kinds[kind](inputs, hidden).parameters()]
        counts.append(sum(math.prod(shape) for shape in shapes[: 2 + biases]))
    return torch.tensor(counts)


def count_piece_by_piece(layers: list[tuple[str, int, int, int]]) -> Tensor:
    counts = torch.zeros(len(layers), dtype=torch.int64)
    for k, (kind, inputs, hidden, biases) in enumerate(layers):
        rows = hidden * {"r": 1, "g": 3, "l": 4}[kind[0]]
        counts[k] = rows * inputs + rows * hidden + biases * rows
    return counts


TABLE = Exercise(
    "cell_table",
    "How many parameters",
    5,
    1,
    (
        "How many blocks of H rows does each kind have? An RNN one, a GRU three, an LSTM four. The candidate is a block, too.",
        "Each block has a matrix for x, H×I, a matrix for h, H×H, and H numbers for each bias.",
        "`blocks * hidden * (inputs + hidden + biases)`, in a list, then `torch.tensor(counts)`.",
    ),
    (
        Mistake(
            "one bias forgotten",
            counting(lambda g, i, h, b: g * h * (i + h + 1)),
            "`biases` says how many there are for each gate: torch has two, most papers one.",
        ),
        Mistake(
            "always two biases",
            counting(lambda g, i, h, b: g * h * (i + h + 2)),
            "`biases` says how many there are for each gate: torch has two, the LSTM of your world model one.",
        ),
        Mistake(
            "LSTM and GRU exchanged",
            counting(gates=(1, 4, 3)),
            "The LSTM has four blocks (i, f, g, o), the GRU three (r, z, n).",
        ),
        Mistake(
            "no bias at all",
            counting(lambda g, i, h, b: g * h * (i + h)),
            "Each block has its biases, H numbers each.",
        ),
        Mistake(
            "one bias for all gates",
            counting(lambda g, i, h, b: g * h * (i + h) + b * h),
            "Each *gate* has its own biases: they are in the bracket, which is multiplied by the number of blocks.",
        ),
        Mistake(
            "the past left out",
            counting(lambda g, i, h, b: g * h * (i + b)),
            "Each block has a second matrix, H×H, which reads the old state. It is most of the parameters.",
        ),
        Mistake(
            "only the gates that are sigmoids",
            counting(gates=(1, 2, 3)),
            "The candidates g and n have weights of their own, too: four blocks in an LSTM, three in a GRU.",
        ),
        Mistake(
            "all as large as an LSTM",
            counting(gates=(4, 4, 4)),
            "An RNN has one block, a GRU three, an LSTM four.",
        ),
        Mistake(
            "the cell counted as a block",
            counting(gates=(1, 3, 5)),
            "c is a state, not a weight: an LSTM has four blocks, i, f, g and o.",
        ),
        Mistake(
            "the input squared",
            counting(lambda g, i, h, b: g * (i * i + h * h + b * h)),
            "x's matrix has H rows and I columns.",
        ),
        Mistake(
            "the GRU's candidate forgotten",
            counting(gates=(1, 2, 4)),
            "r and z are gates; the candidate n has two matrices and its biases, too: three blocks.",
        ),
        Mistake(
            "the LSTM's candidate forgotten",
            counting(gates=(1, 3, 3)),
            "i, f and o are gates; the candidate g has two matrices and its biases, too: four blocks.",
        ),
        Mistake(
            "the second matrix counted once",
            counting(lambda g, i, h, b: g * h * (i + b) + h * h),
            "Each block has an H×H matrix of its own: w_hh is (4H, H) in an LSTM.",
        ),
        Mistake(
            "one number for each bias",
            counting(lambda g, i, h, b: g * (h * (i + h) + b)),
            "A bias is a vector: H numbers for each block, one for each unit.",
        ),
    ),
    (count_with_torch, count_piece_by_piece),
    reference=cell_table,
    cases=table_cases,
    expects="a tensor of whole numbers, one for each layer",
    checked="RNNs, GRUs and LSTMs of all sizes, with one bias and with two, and those of the paper.",
    equivalent={
        "gradient cut": "whole numbers have no gradient",
        "every row is the first row": "the layers are a list, not the rows of an array, so this mutant is the original",
    },
)

EXERCISES = (RNN, LSTM, GRU, FORGET_BIAS, CLIP, UNROLL, PAD, TABLE)
