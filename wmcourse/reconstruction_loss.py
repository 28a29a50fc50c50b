"""Reconstruction losses: each is the negative log-likelihood of the frame under the decoder, in nats.

    Bernoulli   -log p(x) = -x·log s(ℓ) - (1 - x)·log(1 - s(ℓ)),      s the sigmoid and ℓ the logit; gradient s(ℓ) - x
    Gaussian    -log p(x) = ½·((x - m)/σ)² + log σ + ½·log 2π

One sample is a whole frame: its pixels are *summed*. A mean over the 1,024 pixels of a 32×32 frame would divide this term by
1,024 and leave the KL whole, a β of 1,024 in disguise. The mean over the batch is taken later, by the complete loss.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

# σ of 1/400 of the range from black to white, finer than the 8 bits of a pixel.
MIN_LOG_SIGMA = -6.0


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """-log p(x | logits) of each sample: (B, ...) -> (B,), nats, summed over everything but the batch.

    ``x`` in [0, 1] (grey values between are allowed, the cross-entropy is then never zero); ``logits`` are the decoder's
    output *before* a sigmoid. It is computed as max(ℓ, 0) - ℓ·x + log(1 + exp(-|ℓ|)), which never overflows;
    log(sigmoid(ℓ)) is -inf from ℓ = -104 on, in float32. Raises ValueError for unequal shapes and for pixels outside [0, 1].
    Source: Kingma & Welling (2014), App. C.1.
    """
    _check(logits, x, "logits")
    low, high = torch.aminmax(x.detach())
    if not (low >= 0 and high <= 1):  # written so that NaN fails too
        raise ValueError(f"x must lie in [0, 1] but spans {low:.4g} to {high:.4g}: divide 8-bit pixels by 255.")
    return _sum_pixels(F.binary_cross_entropy_with_logits(logits, x, reduction="none"))


def gaussian_nll(mean: Tensor, x: Tensor, log_sigma: Tensor | float) -> Tensor:
    """-log N(x; mean, σ²) of each sample: (B, ...) -> (B,), nats, summed over everything but the batch, constant included.

    ``log_sigma`` = log σ is a number or a tensor that broadcasts to x's shape. A density may exceed one, so this loss may be
    negative. Raises ValueError for unequal shapes and for integer pixels. Source: Kingma & Welling (2014), App. C.2.
    """
    _check(mean, x, "mean")
    log_sigma = torch.as_tensor(log_sigma, dtype=mean.dtype, device=mean.device)
    nll = 0.5 * ((x - mean) * torch.exp(-log_sigma)).square() + log_sigma + 0.5 * math.log(2 * math.pi)
    if nll.shape != x.shape:
        raise ValueError(f"log_sigma of shape {tuple(log_sigma.shape)} does not broadcast to x's shape {tuple(x.shape)}.")
    return _sum_pixels(nll)


def optimal_log_sigma(mean: Tensor, x: Tensor) -> Tensor:
    """The log σ, one for the whole batch, that minimises ``gaussian_nll``: σ² is the mean squared error. A scalar.

    (B, ...) and (B, ...) -> (). Never below ``MIN_LOG_SIGMA``: a perfect reconstruction would send σ to 0 and the density to
    infinity. It balances reconstruction against KL without a β to tune. Raises ValueError for unequal shapes.
    Source: Rybkin et al. (2021), σ-VAE.
    """
    _check(mean, x, "mean")
    mse = (x - mean).square().mean()
    return 0.5 * torch.log(mse.clamp(min=math.exp(2 * MIN_LOG_SIGMA)))


def _check(prediction: Tensor, x: Tensor, name: str) -> None:
    if not x.is_floating_point():
        raise ValueError(f"x must be a float tensor, not {x.dtype}: divide 8-bit pixels by 255.")
    if prediction.shape != x.shape or x.dim() < 2 or x.numel() == 0:
        raise ValueError(f"{name} and x need the same shape (B, ...), not empty: got {tuple(prediction.shape)} and {tuple(x.shape)}.")


def _sum_pixels(nll: Tensor) -> Tensor:
    return nll.sum(dim=tuple(range(1, nll.dim())))  # (B, ...) -> (B,)
