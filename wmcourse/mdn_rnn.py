"""The MDN-RNN: a recurrent network that predicts the next latent as a mixture of Gaussians (Ha & Schmidhuber 2018, M).

    time      t                        t + 1
    latent    z_t ──┐                  z_{t+1} ~ mixture(h_{t+1})
    action    a_t ──┼─► LSTM ─► h_{t+1} ─► r_{t+1}, P(done_{t+1})
    memory    h_t ──┘

h_{t+1} is the state *after* consuming (z_t, a_t): everything with index t + 1 is read from it. The likelihood of a
sequence is a product over time (the chain rule), so its negative logarithm is a sum: ``sequence_loss``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wmcourse.lstm_gru import LSTM
from wmcourse.mixture_density_networks import MDNHead, mixture_nll, sample_mixture

State = tuple[Tensor, Tensor]  # h and c, each (B, H)


class Prediction(NamedTuple):
    """What the network says of time t + 1; leading dimensions (B,) or (B, T)."""

    log_pi: Tensor  # (..., Z, K)
    mu: Tensor  # (..., Z, K)
    log_sigma: Tensor  # (..., Z, K)
    reward: Tensor  # (...), the expected reward r_{t+1}
    done_logit: Tensor  # (...), the log-odds that the episode ends at t + 1


class SequenceLoss(NamedTuple):
    """Negative log-likelihoods in nats per real step; ``total`` is their sum, with ``done`` weighted."""

    total: Tensor
    latent: Tensor
    reward: Tensor
    done: Tensor


class DreamStep(NamedTuple):
    """One step inside the dream."""

    z: Tensor  # (B, Z), sampled z_{t+1}
    reward: Tensor  # (B,)
    done_probability: Tensor  # (B,)
    state: State


class MDNRNN(nn.Module):
    """LSTM + a mixture per latent dimension + one linear layer for reward and done.

    ``latent_dim`` Z, ``action_dim`` A, ``hidden_dim`` H, ``components`` K; ``outcomes=False`` leaves out reward and
    done.
    """

    def __init__(
        self, latent_dim: int, action_dim: int, hidden_dim: int = 256, components: int = 5, outcomes: bool = True
    ) -> None:
        super().__init__()
        if min(latent_dim, action_dim, hidden_dim, components) < 1:
            raise ValueError("MDNRNN needs latent_dim, action_dim, hidden_dim and components of at least 1.")
        self.latent_dim, self.action_dim = latent_dim, action_dim
        self.hidden_dim, self.components = hidden_dim, components
        self.rnn = LSTM(latent_dim + action_dim, hidden_dim)
        self.mdn = MDNHead(hidden_dim, latent_dim, components)
        self.outcome = nn.Linear(hidden_dim, 2) if outcomes else None

    def initial_state(self, batch: int) -> State:
        """h_0 = c_0 = 0: nothing is remembered at the start of an episode."""
        zeros = self.rnn.bias.new_zeros(batch, self.hidden_dim)
        return zeros, zeros

    def read(self, h: Tensor) -> Prediction:
        """Everything about time t + 1 from h_{t+1} (..., H)."""
        log_pi, mu, log_sigma = self.mdn(h)
        reward, done_logit = self.read_outcome(h)
        return Prediction(log_pi, mu, log_sigma, reward, done_logit)

    def read_outcome(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The expected reward r_{t+1} and the log-odds of done_{t+1} from h_{t+1} (..., H), each (...)."""
        if self.outcome is None:
            nothing = h.new_zeros(h.shape[:-1])
            return nothing, nothing - torch.inf
        reward, done_logit = self.outcome(h).unbind(-1)
        return reward, done_logit

    def forward(self, z: Tensor, a: Tensor, state: State | None = None) -> tuple[Prediction, State]:
        """Teacher forcing: real latents z (B, T, Z) and actions a (B, T, A) in, predictions (B, T, ...) and state
        out.
        """
        h, state = self.rnn(torch.cat([z, a], dim=-1), state)
        return self.read(h), state

    def step(self, z: Tensor, a: Tensor, state: State) -> State:
        """The memory alone: z (B, Z), a (B, A), (h_t, c_t) -> (h_{t+1}, c_{t+1})."""
        return self.rnn.step(torch.cat([z, a], dim=-1), state)


def PaperMDNRNN() -> MDNRNN:
    """The CarRacing M model of Ha & Schmidhuber (2018): Z = 32, A = 3, H = 256, K = 5, no outcomes; 422,368 parameters.

    torch's own LSTM adds two biases where one is enough (their sum is all that matters) and would count 1,024 more.
    """
    return MDNRNN(latent_dim=32, action_dim=3, hidden_dim=256, components=5, outcomes=False)


def sequence_loss(
    model: MDNRNN,
    z: Tensor,
    a: Tensor,
    reward: Tensor,
    done: Tensor,
    mask: Tensor,
    ended: Tensor | None = None,
    done_weight: float = 1.0,
) -> SequenceLoss:
    """-log p(z_{1:T}, r_{1:T}, done_{1:T} | z_0, a_{0:T-1}) in nats per real step (chain rule, teacher forcing).

    z (B, T+1, Z) latents z_0..z_T; a (B, T, A) actions a_0..a_{T-1}; ``reward`` and ``done`` (B, T) belong to t + 1;
    ``mask`` (B, T) is 1 where step t is part of the episode and 0 in the padding; ``ended`` (B, T), default ``done``,
    is 1 where the episode stops after the step, terminated or cut off: what follows is another episode, not a target.
    Reward has unit variance and its constant is left out, so its part is ½ (r - r̂)². ``done_weight`` > 1 counts rare
    endings more than the likelihood does, in ``total`` alone. Raises ValueError when the lengths do not fit or
    nothing is left to predict.
    """
    if z.shape[1] != a.shape[1] + 1:
        raise ValueError(f"z needs one step more than a (z_0..z_T, a_0..a_T-1): got {z.shape[1]} and {a.shape[1]}.")
    ended = done if ended is None else ended
    if not reward.shape == done.shape == mask.shape == ended.shape == a.shape[:2]:  # or torch might broadcast
        got = ", ".join(str(tuple(part.shape)) for part in (reward, done, mask, ended))
        raise ValueError(f"reward, done, mask and ended need {tuple(a.shape[:2])}, (B, T): got {got}.")
    steps = mask.sum()
    if steps == 0:
        raise ValueError("The mask is zero everywhere: there is no step to predict.")
    mask, done = mask.to(z.dtype), done.to(z.dtype)
    inside = mask * (1 - ended.to(z.dtype))  # z_{t+1} exists and is of the same episode
    p, _ = model(z[:, :-1], a)
    latent = (mixture_nll(z[:, 1:], p.log_pi, p.mu, p.log_sigma) * inside).sum() / inside.sum().clamp(min=1)
    if model.outcome is None:  # it says nothing of reward and end
        return SequenceLoss(latent, latent, torch.zeros_like(latent), torch.zeros_like(latent))
    r = (0.5 * (p.reward - reward).square() * mask).sum() / steps
    weight = 1 + (done_weight - 1) * done
    bce = F.binary_cross_entropy_with_logits(p.done_logit, done, reduction="none")
    weighted, d = (bce * weight * mask).sum() / steps, (bce * mask).sum() / steps
    return SequenceLoss(latent + r + weighted, latent, r, d)


def dream_step(
    model: MDNRNN,
    z: Tensor,
    a: Tensor,
    state: State,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> DreamStep:
    """One step of the dream: (z_t, a_t, h_t) -> z_{t+1}, r_{t+1}, P(done_{t+1}), h_{t+1}, with z (B, Z) and a (B, A).

    ``temperature`` τ sharpens or flattens the mixture (Ha & Schmidhuber 2018, §4.3); 0 follows its most likely
    component.
    """
    state = model.step(z, a, state)
    h = state[0]
    reward, done_logit = model.read_outcome(h)
    if temperature == 0:
        z = model.mdn.most_likely(h)
    else:
        log_pi, mu, log_sigma = model.mdn(h)
        z = sample_mixture(log_pi, mu, log_sigma, temperature, generator)
    return DreamStep(z, reward, torch.sigmoid(done_logit), state)
