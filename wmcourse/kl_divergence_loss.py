"""The Kullback–Leibler divergence between Gaussians: what a latent code costs, in nats.

For one dimension, from the integral of q·log(q/p),

    KL(N(μ_q, σ_q²) ‖ N(μ_p, σ_p²)) = ½·[ σ_q²/σ_p² - 1 - log(σ_q²/σ_p²) + (μ_q - μ_p)²/σ_p² ],

and a diagonal Gaussian's divergence is the sum over its dimensions. It is zero exactly where q = p.

With d = log(σ_q²/σ_p²) the first part is (e^d - 1) - d. Both terms are nearly d near the prior, so e^d - 1 is taken from
``expm1``: ``exp(d) - 1`` would lose every digit of a small divergence.
"""

from __future__ import annotations

import torch
from torch import Tensor


def kl_per_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) of each dimension by itself: (..., Z) -> (..., Z), nats.

    A dimension whose mean over a batch is near zero carries nothing: a dead unit. Raises ValueError for unequal shapes.
    Source: Kingma & Welling (2014), App. B.
    """
    _check_pair(mu, logvar, "mu and logvar")
    return 0.5 * (torch.expm1(logvar) - logvar + mu.square())


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(μ, diag σ²) ‖ N(0, I)): (B, Z) -> (B,), nats, summed over the last dimension; leading dimensions stay.

    The *sum* over Z is the divergence; a mean would weaken it Z times against the reconstruction.
    Raises ValueError for unequal shapes. Source: Kingma & Welling (2014), App. B.
    """
    return kl_per_dimension(mu, logvar).sum(dim=-1)


def kl_normal(mu_q: Tensor, logvar_q: Tensor, mu_p: Tensor, logvar_p: Tensor) -> Tensor:
    """KL(N(μ_q, diag σ_q²) ‖ N(μ_p, diag σ_p²)): (B, Z) -> (B,), nats, summed over the last dimension.

    The order matters: q is where the expectation is taken. ``mu_p`` and ``logvar_p`` may be one prior for all, (Z,).
    Raises ValueError for shapes that do not fit. Source: Kullback & Leibler (1951), for Gaussians.
    """
    _check_pair(mu_q, logvar_q, "mu_q and logvar_q")
    _check_pair(mu_p, logvar_p, "mu_p and logvar_p")
    if mu_p.shape != mu_q.shape[mu_q.dim() - mu_p.dim() :]:
        raise ValueError(f"p has shape {tuple(mu_p.shape)}, which is not that of q, {tuple(mu_q.shape)}, or its last dimensions.")
    d = logvar_q - logvar_p
    return 0.5 * (torch.expm1(d) - d + (mu_q - mu_p).square() * torch.exp(-logvar_p)).sum(dim=-1)


def free_bits(kl_per_dim: Tensor, floor: float) -> Tensor:
    """Σ_j max(floor, KL_j): the KL term of the loss when each dimension has ``floor`` nats for free. A scalar, nats per sample.

    ``kl_per_dim`` (B, Z), from ``kl_per_dimension``; KL_j is its mean over the batch, taken *before* the maximum, so a dimension
    may be rare and dear as long as it is cheap on average. Early in training the KL pulls every dimension to the prior faster
    than the decoder learns to use it (collapse). Below the floor the maximum is constant: that dimension's gradient is zero,
    which is the purpose, nothing pulls on it until it carries more than ``floor``. (A clamp in the *reconstruction* would be a bug.)
    Raises ValueError for another number of dimensions, an empty batch, or a floor that is negative or not finite.
    Source: Kingma et al. (2016), *Improving Variational Inference with Inverse Autoregressive Flow*, App. C.
    """
    if kl_per_dim.dim() != 2 or len(kl_per_dim) == 0:
        raise ValueError(f"free_bits needs the KL of each sample and dimension, (B, Z): got shape {tuple(kl_per_dim.shape)}.")
    if not 0 <= floor < float("inf"):
        raise ValueError(f"The floor is a number of nats for each dimension, 0 or more: got {floor}.")
    return kl_per_dim.mean(dim=0).clamp(min=floor).sum()


def _check_pair(mu: Tensor, logvar: Tensor, names: str) -> None:
    if mu.shape != logvar.shape or mu.dim() == 0:
        raise ValueError(f"{names} need the same shape (..., Z): got {tuple(mu.shape)} and {tuple(logvar.shape)}.")
