"""Mixture density networks: predict a whole distribution, so that two futures are not averaged into one.

Each latent dimension j has a mixture of K Gaussians of its own (Bishop 1994; Ha & Schmidhuber 2018):

    p(z_j) = Σ_k π_jk·N(z_j; μ_jk, σ_jk²),   -log p(z) = -Σ_j log Σ_k exp(log π_jk + log N(z_j; μ_jk, σ_jk²)).

The sum over k stands *inside* the logarithm, so it is taken by log-sum-exp, which does not underflow. The
components are on the last axis: ``log_pi`` (log π, normalised), ``mu`` and ``log_sigma`` are (..., Z, K).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LOG_SIGMA_BOUND = 5.0  # an MDNHead's log σ stays within ±5: σ from 0.0067 to 148


def mixture_nll(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    """-log p(target), summed over the latent dimensions: target (..., Z), others (..., Z, K) -> (...), nats.

    ``log_pi`` is normalised over K. A density may exceed one, so a negative loss is no bug.
    Raises ValueError for shapes that do not fit.
    Source: Bishop (1994), Eqs. 22, 23 and 29, with a mixture for each dimension.
    """
    _check(log_pi, mu, log_sigma)
    if target.shape != mu.shape[:-1]:
        raise ValueError(f"target needs {tuple(mu.shape[:-1])}, without K: got {tuple(target.shape)}.")
    standard = (target.unsqueeze(-1) - mu) * torch.exp(-log_sigma)  # (..., Z, K)
    log_component = log_pi - log_sigma - 0.5 * standard.square()  # without the constant -½ log 2π
    constant = 0.5 * math.log(2 * math.pi) * target.shape[-1]
    return constant - torch.logsumexp(log_component, dim=-1).sum(dim=-1)


def sample_mixture(
    log_pi: Tensor,
    mu: Tensor,
    log_sigma: Tensor,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One sample of each mixture, a component first and then a value from it: (..., Z, K) -> (..., Z).

    ``temperature`` τ acts in two places: log π is divided by τ (and normalised again), and σ² is multiplied
    by τ. 1 is the mixture itself; above 1 the dream is less certain; 0 is the limit, the mean of the
    component that is most likely. Raises ValueError for shapes that do not fit and for a τ that is negative
    or not finite. Source: Ha & Eck (2017), Eq. 8; Ha & Schmidhuber (2018), §4.
    """
    _check(log_pi, mu, log_sigma)
    if not 0 <= temperature < math.inf:
        raise ValueError(f"The temperature must be a finite number, 0 or more: got {temperature}.")
    if temperature == 0:
        return _pick(mu, log_pi.argmax(dim=-1))
    # Inverse CDF. The weights are not normalised: the uniform number is scaled to their sum instead.
    weights = torch.exp((log_pi - log_pi.amax(dim=-1, keepdim=True)) / temperature)
    cumulative = weights.cumsum(dim=-1)  # (..., Z, K)
    u = torch.rand(mu.shape[:-1], generator=generator, dtype=mu.dtype, device=mu.device).unsqueeze(-1)
    k = (u * cumulative[..., -1:] >= cumulative[..., :-1]).sum(dim=-1)  # (..., Z), how many it has passed
    epsilon = torch.randn(mu.shape[:-1], generator=generator, dtype=mu.dtype, device=mu.device)
    return _pick(mu, k) + math.sqrt(temperature) * torch.exp(_pick(log_sigma, k)) * epsilon


def mixture_mean(log_pi: Tensor, mu: Tensor) -> Tensor:
    """Σ_k π_k·μ_k: (..., Z, K) -> (..., Z). What squared error learns to predict, even where no mode is."""
    _check(log_pi, mu, mu)
    return (torch.exp(log_pi) * mu).sum(dim=-1)


class MDNHead(nn.Module):
    """A linear layer from features (..., in_dim) to ``log_pi``, ``mu`` and ``log_sigma``, each (..., Z, K).

    ``log_pi`` is normalised over K. ``log_sigma`` is 5·tanh(s/5) of the layer's output s: close to s near
    zero, and never outside ±5, so that no component can shrink onto a single point and send the likelihood to
    infinity. A hard clamp would bound it too, but with no gradient outside: a σ that got there would stay for
    ever. 3·Z·K·(in_dim + 1) parameters. Raises ValueError for sizes below 1.
    """

    def __init__(self, in_dim: int, latent_dim: int, components: int) -> None:
        super().__init__()
        if min(in_dim, latent_dim, components) < 1:
            sizes = f"{in_dim}, {latent_dim} and {components}"
            raise ValueError(f"MDNHead needs in_dim, latent_dim and components of at least 1: got {sizes}.")
        self.latent_dim, self.components = latent_dim, components
        self.linear = nn.Linear(in_dim, 3 * latent_dim * components)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out = self.linear(features).unflatten(-1, (3, self.latent_dim, self.components))  # (..., 3, Z, K)
        logits, mu, s = out.unbind(dim=-3)
        log_pi = logits - torch.logsumexp(logits, dim=-1, keepdim=True)  # log_softmax, faster for a small K
        return log_pi, mu, LOG_SIGMA_BOUND * torch.tanh(s / LOG_SIGMA_BOUND)

    def most_likely(self, features: Tensor) -> Tensor:
        """The mean of the most likely component: features (..., in_dim) -> (..., Z).

        The same as ``sample_mixture`` at temperature 0, which needs neither log σ nor normalised weights: a third of
        the time.
        """
        rows = 2 * self.latent_dim * self.components  # of the logits and of mu
        out = F.linear(features, self.linear.weight[:rows], self.linear.bias[:rows])
        logits, mu = out.unflatten(-1, (2, self.latent_dim, self.components)).unbind(dim=-3)
        return _pick(mu, logits.argmax(dim=-1))


def _pick(values: Tensor, k: Tensor) -> Tensor:
    return values.gather(-1, k.unsqueeze(-1)).squeeze(-1)  # (..., Z, K) and (..., Z) -> (..., Z)


def _check(log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> None:
    if not log_pi.shape == mu.shape == log_sigma.shape or mu.dim() < 2 or mu.shape[-1] == 0:
        got = ", ".join(str(tuple(part.shape)) for part in (log_pi, mu, log_sigma))
        raise ValueError(f"The parts of a mixture need one shape (..., Z, K): got {got}.")
