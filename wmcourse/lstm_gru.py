"""The LSTM and the GRU: one step of each written out, and an LSTM layer for whole sequences.

    LSTM    i, f, o = s(W_ih x + W_hh h + b), g = tanh(...)       GRU    r, z = s(W_ih x + b_ih + W_hh h + b_hh)
            c' = f·c + i·g                                               n = tanh(W_in x + b_in + r·(W_hn h + b_hn))
            h' = o·tanh(c')                                              h' = (1 - z)·n + z·h

s is the sigmoid. The cell c is changed only by a gate and a sum: ∂c'/∂c along it is f, no matrix and no squashing, which is
how a gradient survives many steps (Hochreiter & Schmidhuber 1997; the forget gate f is from Gers et al. 2000).
Weights have torch's layout, the gates stacked on the first axis: i, f, g, o and r, z, n.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def lstm_step(
    x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One LSTM step: x (B, I), h and c (B, H) -> h' and c' (B, H).

    ``w_ih`` (4H, I), ``w_hh`` (4H, H), ``b_ih`` and ``b_hh`` (4H,); gate order i, f, g, o, as in ``torch.nn.LSTM``. Only the sum of
    the two biases matters; ``b_hh=None`` is the LSTM of the papers, with one. Raises ValueError for shapes that do not fit.
    Source: Hochreiter & Schmidhuber (1997) with the forget gate of Gers et al. (2000), no peepholes.
    """
    _check_step(x, h, w_ih, w_hh, 4)
    if c.shape != h.shape:
        raise ValueError(f"h and c need the same shape (B, H): got {tuple(h.shape)} and {tuple(c.shape)}.")
    bias = b_ih if b_hh is None else b_ih + b_hh
    gates = torch.addmm(F.linear(x, w_ih, bias), h, w_hh.t())  # (B, 4H)
    i, f, g, o = gates.chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return h, c


def gru_step(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor) -> Tensor:
    """One GRU step: x (B, I), h (B, H) -> h' (B, H).

    ``w_ih`` (3H, I), ``w_hh`` (3H, H), ``b_ih`` and ``b_hh`` (3H,); gate order r, z, n, as in ``torch.nn.GRU``. Two biases are needed
    here: r multiplies one of them. z near 1 *keeps* h, torch's convention and that of Cho et al. (2014); Chung et al. (2014)
    swap z and 1 - z. Cho et al. apply r before the matrix W_hn, torch after it. Raises ValueError for shapes that do not fit.
    """
    _check_step(x, h, w_ih, w_hh, 3)
    from_x = F.linear(x, w_ih, b_ih)  # (B, 3H)
    from_h = F.linear(h, w_hh, b_hh)  # (B, 3H)
    x_r, x_z, x_n = from_x.chunk(3, dim=-1)
    h_r, h_z, h_n = from_h.chunk(3, dim=-1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h


class LSTM(nn.Module):
    """One LSTM layer with one bias: 4H·(I + H) + 4H parameters.

    ``torch.nn.LSTM`` has two biases, b_ih and b_hh (a layout that cuDNN asks for). They are only ever added, so the second says
    nothing that the first could not; the papers have one, and so has this class. Both run the same kernel.

    The forget gate's bias starts at 1: f = s(1) = 0.73 instead of 0.5, so that a new network remembers before it has learned
    to (Gers et al. 2000; Jozefowicz et al. 2015). The other biases start at 0 and weights at U(-1/√H, 1/√H), as in torch.
    """

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        if min(input_dim, hidden_dim) < 1:
            raise ValueError(f"LSTM needs sizes of at least 1: got input_dim {input_dim} and hidden_dim {hidden_dim}.")
        self.input_dim, self.hidden_dim = input_dim, hidden_dim
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_dim, input_dim))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_dim, hidden_dim))
        self.bias = nn.Parameter(torch.empty(4 * hidden_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = self.hidden_dim**-0.5
        nn.init.uniform_(self.weight_ih, -bound, bound)
        nn.init.uniform_(self.weight_hh, -bound, bound)
        nn.init.zeros_(self.bias)
        with torch.no_grad():
            self.bias[self.hidden_dim : 2 * self.hidden_dim] = 1.0  # the gates are i, f, g, o

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """A whole sequence: x (B, T, I), state (h, c) each (B, H), None for zeros -> every h (B, T, H) and the last (h, c).

        Raises ValueError for shapes that do not fit or T = 0.
        """
        if x.dim() != 3 or x.shape[1] == 0 or x.shape[2] != self.input_dim:
            raise ValueError(f"LSTM needs x of shape (B, T, {self.input_dim}) with T of at least 1: got {tuple(x.shape)}.")
        if state is None:
            zeros = x.new_zeros(len(x), self.hidden_dim)
            state = (zeros, zeros)
        expected = (len(x), self.hidden_dim)
        if state[0].shape != expected or state[1].shape != expected:
            raise ValueError(f"LSTM needs h and c of shape {expected}: got {tuple(state[0].shape)} and {tuple(state[1].shape)}.")
        # torch's kernel for the whole sequence; it wants the second bias, so it gets zeros
        weights = [self.weight_ih, self.weight_hh, self.bias, torch.zeros_like(self.bias)]
        hc = (state[0][None], state[1][None])  # (1, B, H): one layer
        out, h, c = torch.lstm(x, hc, weights, True, 1, 0.0, self.training, False, True)
        return out, (h[0], c[0])

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """One step: x (B, I), state (h, c) -> the new (h, c), each (B, H)."""
        return lstm_step(x, *state, self.weight_ih, self.weight_hh, self.bias)


def _check_step(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, gates: int) -> None:
    batch, hidden = h.shape if h.dim() == 2 else (-1, -1)
    if x.dim() != 2 or len(x) != batch:
        raise ValueError(f"A step needs x (B, I) and h (B, H) of one batch: got {tuple(x.shape)} and {tuple(h.shape)}.")
    if w_ih.shape != (gates * hidden, x.shape[1]) or w_hh.shape != (gates * hidden, hidden):
        raise ValueError(
            f"w_ih and w_hh need shapes {(gates * hidden, x.shape[1])} and {(gates * hidden, hidden)} "
            f"({gates} gates stacked): got {tuple(w_ih.shape)} and {tuple(w_hh.shape)}."
        )
