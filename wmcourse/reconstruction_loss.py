"""Reconstruction losses: each is the negative log-likelihood of a frame under the decoder, in nats.

    Bernoulli   -log p(x) = -x·log s(ℓ) - (1 - x)·log(1 - s(ℓ))      ℓ the logit, s the sigmoid
    Gaussian    -log p(x) = ½·((x - m)/σ)² + log σ + ½·log 2π        m the mean

The Bernoulli loss has a gradient as simple as the other's: s(ℓ) - x with respect to the logit.

One sample is a whole frame, so its pixels are *summed*. A mean over the 1,024 pixels of a 32×32 frame would
divide this term by 1,024 and leave the KL whole: a β of 1,024 in disguise. The mean over the batch comes
later, in the complete loss.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

MIN_LOG_SIGMA = -6.0  # σ = 1/403 of the way from black to white: finer than the 8 bits of a pixel


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """-log p(x | logits) of each sample: (B, ...) -> (B,), nats, summed over everything but the batch.

    ``logits`` are the decoder's output *before* a sigmoid; ``x`` lies in [0, 1]. (Grey values between are
    allowed; the loss then has a floor above zero, the entropy of x.) Computed as
    max(ℓ, 0) - ℓ·x + log(1 + exp(-|ℓ|)), which never overflows, where log(sigmoid(-104)) is already -inf in
    float32. Raises ValueError for unequal shapes and for pixels that are integers or outside [0, 1].
    Source: Kingma & Welling (2014), App. C.1.
    """
    _check(logits, x, "logits")
    low, high = torch.aminmax(x.detach())
    if not (low >= 0 and high <= 1):  # written so that NaN fails too
        raise ValueError(f"x must lie in [0, 1], not {low:.4g} to {high:.4g}: divide 8-bit pixels by 255.")
    return _sum_pixels(F.binary_cross_entropy_with_logits(logits, x, reduction="none"))


def gaussian_nll(mean: Tensor, x: Tensor, log_sigma: Tensor | float) -> Tensor:
    """-log N(x; mean, σ²) of each sample: (B, ...) -> (B,), nats, summed over everything but the batch.

    ``log_sigma`` = log σ is a number, or a tensor that broadcasts to x's shape. The constant ½·log 2π of each
    pixel is included. A density may exceed one, so the loss may be negative.
    Raises ValueError for shapes that do not fit and for integer pixels.
    Source: Kingma & Welling (2014), App. C.2.
    """
    _check(mean, x, "mean")
    log_sigma = torch.as_tensor(log_sigma, dtype=mean.dtype, device=mean.device)
    try:
        log_sigma.expand_as(x)
    except RuntimeError as error:
        got = f"{tuple(log_sigma.shape)} and {tuple(x.shape)}"
        raise ValueError(f"log_sigma must broadcast to x's shape: got {got}.") from error
    nll = 0.5 * ((x - mean) * torch.exp(-log_sigma)).square() + log_sigma + 0.5 * math.log(2 * math.pi)
    return _sum_pixels(nll)


def optimal_log_sigma(mean: Tensor, x: Tensor) -> Tensor:
    """The one log σ that minimises a batch's ``gaussian_nll``: σ² is the mean squared error. A scalar.

    It balances reconstruction against KL with no β to tune. Never below ``MIN_LOG_SIGMA``: a perfect
    reconstruction would send σ to 0 and the density to infinity.
    ``mean`` and ``x`` (B, ...); raises ValueError for unequal shapes and for integer pixels.
    Source: Rybkin et al. (2021), *Simple and Effective VAE Training with Calibrated Decoders*.
    """
    _check(mean, x, "mean")
    mse = (x - mean).square().mean()
    return 0.5 * torch.log(mse.clamp(min=math.exp(2 * MIN_LOG_SIGMA)))


def _check(prediction: Tensor, x: Tensor, name: str) -> None:
    if not x.is_floating_point():
        raise ValueError(f"x must be a float tensor, not {x.dtype}: divide 8-bit pixels by 255.")
    if prediction.shape != x.shape or x.dim() < 2 or x.numel() == 0:
        got = f"{tuple(prediction.shape)} and {tuple(x.shape)}"
        raise ValueError(f"{name} and x need one shape (B, ...) that is not empty: got {got}.")


def _sum_pixels(nll: Tensor) -> Tensor:
    return nll.sum(dim=tuple(range(1, nll.dim())))  # (B, ...) -> (B,)
