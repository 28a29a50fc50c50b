"""The LSTM and the GRU: one step of each written out, and an LSTM layer for whole sequences.

    LSTM    i, f, o = s(W_ih x + W_hh h + b)            GRU    r, z = s(W_ih x + b_ih + W_hh h + b_hh)
            g       = tanh(W_ih x + W_hh h + b)                n    = tanh(W_in x + b_in + r·(W_hn h + b_hn))
            c'      = f·c + i·g                                h'   = (1 - z)·n + z·h
            h'      = o·tanh(c')

s is the sigmoid, and each gate has its own rows of W_ih, W_hh and b: stacked on the first axis in torch's
order, i, f, g, o and r, z, n. The cell is changed only by a gate and a sum. Along it ∂c'/∂c = f, with no
matrix and no squashing: that is how a gradient survives many steps (Hochreiter & Schmidhuber 1997; f is from
Gers et al. 2000).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def lstm_step(
    x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One LSTM step: x (B, I), h and c (B, H) -> the new h and c (B, H).

    ``w_ih`` (4H, I), ``w_hh`` (4H, H), ``b_ih`` and ``b_hh`` (4H,): layout and gate order of
    ``torch.nn.LSTM``. Only the sum of the two biases matters; without ``b_hh`` this is the LSTM of the
    papers, which has one. Raises ValueError for shapes that do not fit. Source: Hochreiter & Schmidhuber
    (1997) with the forget gate of Gers et al. (2000), no peepholes.
    """
    _check_step(x, h, w_ih, w_hh, gates=4)
    if c.shape != h.shape:
        raise ValueError(f"h and c need one shape (B, H): got {tuple(h.shape)} and {tuple(c.shape)}.")
    bias = b_ih if b_hh is None else b_ih + b_hh
    gates = F.linear(x, w_ih).addmm_(h, w_hh.t()).add_(bias)  # (B, 4H); in place: twice as fast for a large B
    i, f, g, o = gates.chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return h, c


def gru_step(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """One GRU step: x (B, I), h (B, H) -> the new h (B, H).

    ``w_ih`` (3H, I), ``w_hh`` (3H, H), ``b_ih`` and ``b_hh`` (3H,): layout and gate order of
    ``torch.nn.GRU``. Two biases are needed here, for r multiplies one of them. z near 1 *keeps* h: the
    convention of torch and of Cho et al. (2014); Chung et al. (2014) swap z and 1 - z. Torch applies r after
    the matrix W_hn, Cho et al. before it. Raises ValueError for shapes that do not fit.
    """
    _check_step(x, h, w_ih, w_hh, gates=3)
    x_r, x_z, x_n = F.linear(x, w_ih, b_ih).chunk(3, dim=-1)  # each (B, H)
    h_r, h_z, h_n = F.linear(h, w_hh, b_hh).chunk(3, dim=-1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h


class LSTM(nn.Module):
    """One LSTM layer with one bias: 4H·(I + H) + 4H parameters.

    ``torch.nn.LSTM`` has two biases, b_ih and b_hh, because cuDNN does. They are only ever added, so the
    second can say nothing that the first could not; the papers have one, and so has this class. The kernel is
    the same.

    The forget gate's bias starts at 1, so f = s(1) = 0.73 and not 0.5: a new network remembers before it has
    learned to (Gers et al. 2000; Jozefowicz et al. 2015). The other biases start at 0, and the weights are
    uniform within ±1/√H, as in torch. Raises ValueError for sizes below 1.
    """

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        if min(input_dim, hidden_dim) < 1:
            raise ValueError(f"LSTM needs dimensions of at least 1: got {input_dim} and {hidden_dim}.")
        self.input_dim, self.hidden_dim = input_dim, hidden_dim
        bound = hidden_dim**-0.5
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_dim, input_dim).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_dim, hidden_dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(4 * hidden_dim))
        with torch.no_grad():
            self.bias[hidden_dim : 2 * hidden_dim] = 1.0  # f is the second gate

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """A whole sequence: x (B, T, I), state (h, c) each (B, H) -> every h (B, T, H), and the last (h, c).

        No state means zeros, an episode's start. Raises ValueError for shapes that do not fit and for T = 0.
        """
        if x.dim() != 3 or x.shape[1] == 0 or x.shape[2] != self.input_dim:
            raise ValueError(f"LSTM needs x (B, T, {self.input_dim}), T at least 1: got {tuple(x.shape)}.")
        zeros = x.new_zeros(len(x), self.hidden_dim)
        h, c = (zeros, zeros) if state is None else state
        if h.shape != zeros.shape or c.shape != zeros.shape:
            raise ValueError(f"h and c need {tuple(zeros.shape)}: got {tuple(h.shape)} and {tuple(c.shape)}.")
        return self.unroll(x, (h, c))

    def unroll(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``step`` for each step of x (B, T, I), from the state (h, c), by torch's own kernel, which is faster."""
        h, c = state
        # The kernel insists on the second bias: zeros. After the weights it takes has_biases, num_layers,
        # dropout, train, bidirectional and batch_first.
        weights = [self.weight_ih, self.weight_hh, self.bias, torch.zeros_like(self.bias)]
        out, h, c = torch.lstm(x, (h[None], c[None]), weights, True, 1, 0.0, self.training, False, True)
        return out, (h[0], c[0])

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """One step: x (B, I), state (h, c) -> the new (h, c), each (B, H). It is ``forward`` for T = 1."""
        return lstm_step(x, *state, self.weight_ih, self.weight_hh, self.bias)


def _check_step(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, gates: int) -> None:
    if x.dim() != 2 or h.dim() != 2 or len(x) != len(h):
        raise ValueError(f"A step needs x (B, I) and h (B, H): got {tuple(x.shape)} and {tuple(h.shape)}.")
    rows = gates * h.shape[1]
    if w_ih.shape != (rows, x.shape[1]) or w_hh.shape != (rows, h.shape[1]):
        raise ValueError(
            f"w_ih and w_hh need {(rows, x.shape[1])} and {(rows, h.shape[1])}, {gates} gates of H rows: "
            f"got {tuple(w_ih.shape)} and {tuple(w_hh.shape)}."
        )
