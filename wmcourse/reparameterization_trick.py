"""The reparameterization trick: move the noise out, so that gradients pass through a sample.

z ~ N(μ, σ²) is drawn as z = μ + σ·ε with ε ~ N(0, 1) (Kingma & Welling 2014, §2.4; Rezende et al. 2014). The
randomness is then an input, and z a differentiable function of μ and σ:

    dz/dμ = 1,    dz/dσ = ε,    dz/d(log σ²) = ½·σ·ε.
"""

from __future__ import annotations

import torch
from torch import Tensor


def reparameterize(mu: Tensor, logvar: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One sample z = μ + exp(½·logvar)·ε for each entry, ε ~ N(0, 1) independent; differentiable in both.

    ``mu`` and ``logvar`` = log σ² of one shape (..., Z); returns that shape, in mu's dtype and on its device.
    ``generator`` makes the noise reproducible and must live on the same device.
    Raises ValueError for unequal shapes. Source: Kingma & Welling (2014), §2.4 and Eq. 10.
    """
    if mu.shape != logvar.shape:
        # Broadcasting would hide a mistake here: one σ for what should have its own.
        raise ValueError(f"mu and logvar need one shape: got {tuple(mu.shape)} and {tuple(logvar.shape)}.")
    epsilon = torch.randn(mu.shape, generator=generator, dtype=mu.dtype, device=mu.device)
    return mu + torch.exp(0.5 * logvar) * epsilon  # ½, because exp(½ log σ²) = σ
