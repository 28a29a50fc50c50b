"""The Kullback–Leibler divergence between Gaussians: what a latent code costs, in nats.

For one dimension, from the integral of q·log(q/p),

    KL(N(μ_q, σ_q²) ‖ N(μ_p, σ_p²)) = ½·[ σ_q²/σ_p² - 1 - log(σ_q²/σ_p²) + (μ_q - μ_p)²/σ_p² ],

and a diagonal Gaussian's divergence is the sum over its dimensions. It is zero exactly where q = p.

With d = log(σ_q²/σ_p²) the first part is (exp(d) - 1) - d. Near d = 0 that is about ½·d², a small difference
of larger numbers: ``expm1(d)`` keeps digits that ``exp(d) - 1`` has already rounded away.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def kl_per_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) of each dimension by itself: (..., Z) -> (..., Z), nats.

    A dimension whose KL is near zero for every frame carries nothing: a dead unit.
    Raises ValueError for unequal shapes. Source: Kingma & Welling (2014), App. B.
    """
    _check_pair(mu, logvar, "mu and logvar")
    return 0.5 * (torch.expm1(logvar) - logvar + mu.square())


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(μ, diag σ²) ‖ N(0, I)): (B, Z) -> (B,), nats; summed over the last dimension, others stay.

    The *sum* over Z is the divergence; a mean would weaken it Z times against the reconstruction.
    Raises ValueError for unequal shapes. Source: Kingma & Welling (2014), App. B.
    """
    return kl_per_dimension(mu, logvar).sum(dim=-1)


def kl_normal(mu_q: Tensor, logvar_q: Tensor, mu_p: Tensor, logvar_p: Tensor) -> Tensor:
    """KL(N(μ_q, diag σ_q²) ‖ N(μ_p, diag σ_p²)): (B, Z) -> (B,), nats; summed over the last dimension.

    The order matters: the expectation is taken under q. One p for the whole batch may be given as (Z,).
    Raises ValueError for shapes that do not fit. Source: Kullback & Leibler (1951), for two Gaussians.
    """
    _check_pair(mu_q, logvar_q, "mu_q and logvar_q")
    _check_pair(mu_p, logvar_p, "mu_p and logvar_p")
    if mu_p.shape != mu_q.shape[-mu_p.dim() :]:
        raise ValueError(f"p needs q's shape {tuple(mu_q.shape)}, or (Z,): got {tuple(mu_p.shape)}.")
    d = logvar_q - logvar_p
    return 0.5 * (torch.expm1(d) - d + (mu_q - mu_p).square() * torch.exp(-logvar_p)).sum(dim=-1)


def free_bits(kl_per_dim: Tensor, floor: float) -> Tensor:
    """Σ_j max(floor, KL_j): the KL term of a loss with ``floor`` nats for free in each dimension. A scalar.

    ``kl_per_dim`` (B, Z), from ``kl_per_dimension``. KL_j is the mean over the batch and is taken *before*
    the maximum: a dimension may be dear for a few frames if it is cheap for most.

    Early in training the KL pulls every dimension to the prior sooner than the decoder learns to use it
    (posterior collapse). Below the floor the maximum is constant and the dimension's gradient is zero. That
    is the purpose: nothing pulls on it until it carries more than ``floor`` nats.

    Raises ValueError for another number of axes, an empty batch, and a floor that is negative or not finite.
    Source: Kingma et al. (2016), *Improving Variational Inference with Inverse Autoregressive Flow*, C.8.
    """
    if kl_per_dim.dim() != 2 or len(kl_per_dim) == 0:
        raise ValueError(f"free_bits needs a KL for each entry of (B, Z): got {tuple(kl_per_dim.shape)}.")
    if not 0 <= floor < math.inf:
        raise ValueError(f"The floor is a finite number of nats per dimension, 0 or more: got {floor}.")
    return kl_per_dim.mean(dim=0).clamp(min=floor).sum()


def _check_pair(mu: Tensor, logvar: Tensor, names: str) -> None:
    if mu.shape != logvar.shape or mu.dim() == 0:
        got = f"{tuple(mu.shape)} and {tuple(logvar.shape)}"
        raise ValueError(f"{names} need one shape (..., Z): got {got}.")
