"""The variational autoencoder: two networks, and a loss that weighs what a code tells against what it costs.

    frame x ─► encoder ─► μ, log σ² ─► z = μ + σ·ε ─► decoder ─► logits
                             │                           │
                    β·KL(q(z|x) ‖ N(0, I))    +    -log p(x|z)    =    the loss, nats per frame

A decoder here returns logits and the loss takes logits: a picture is ``torch.sigmoid(logits)``, once.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wmcourse.kl_divergence_loss import free_bits, kl_per_dimension, kl_standard_normal
from wmcourse.reconstruction_loss import bernoulli_nll
from wmcourse.reparameterization_trick import reparameterize


class VAELoss(NamedTuple):
    """Scalars, nats per frame: sums over pixels and over latent dimensions, means over the batch."""

    total: Tensor
    reconstruction: Tensor
    kl: Tensor


class VAE(nn.Module):
    """What the two below share: an ``encoder`` to 2Z numbers, μ and then log σ², and a ``decoder`` from Z."""

    def __init__(
        self, image_shape: tuple[int, int, int], latent_dim: int, encoder: nn.Module, decoder: nn.Module
    ) -> None:
        super().__init__()
        self.image_shape, self.latent_dim = tuple(image_shape), latent_dim
        self.encoder, self.decoder = encoder, decoder

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Frames x (B, C, H, W) in [0, 1] -> mu and logvar (B, Z). Raises ValueError for any others."""
        if x.shape[1:] != self.image_shape or not x.is_floating_point():
            wanted, got = ("×".join(map(str, shape)) for shape in (self.image_shape, x.shape[1:]))
            raise ValueError(f"This VAE takes float frames of {wanted} in [0, 1]: got {x.dtype} of {got}.")
        mu, logvar = self.encoder(x).chunk(2, dim=-1)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        """Latents z (B, Z) -> logits (B, C, H, W), before the sigmoid. Raises ValueError for any others."""
        if z.dim() != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"This VAE decodes latents (B, {self.latent_dim}): got {tuple(z.shape)}.")
        return self.decoder(z)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, C, H, W) -> logits of one *sampled* z (B, C, H, W), mu (B, Z) and logvar (B, Z)."""
        mu, logvar = self.encode(x)
        return self.decode(reparameterize(mu, logvar, generator)), mu, logvar


class ConvVAE(VAE):
    """A small VAE for frames (C, H, W) whose H and W are multiples of 8.

    Each 4×4 convolution of stride 2 and padding 1 halves both sides exactly, until one is at most 4, or odd:
    32, 16, 8, 4. The channels double from ``width`` on, and the decoder is the mirror image. The kernel is a
    multiple of the stride, so the decoder writes to every pixel equally often: no checkerboard (Odena et al.
    2016). Raises ValueError for other sides and for sizes below 1.
    """

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int, width: int = 16) -> None:
        channels, rows, columns = image_shape
        if min(channels, latent_dim, width) < 1:
            sizes = f"{channels}, {latent_dim} and {width}"
            raise ValueError(f"ConvVAE needs channels, latent_dim and width of at least 1: got {sizes}.")
        if min(rows, columns) < 8 or rows % 8 or columns % 8:
            raise ValueError(f"ConvVAE needs frames with sides of a multiple of 8: got {rows}×{columns}.")
        widths = [channels]
        while min(rows, columns) > 4 and rows % 2 == 0 and columns % 2 == 0:
            widths.append(width * 2 ** (len(widths) - 1))  # C, then w, 2w, 4w, ...
            rows, columns = rows // 2, columns // 2
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for outer, inner in itertools.pairwise(widths):
            down = [*down, nn.Conv2d(outer, inner, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
            up = [nn.ReLU(inplace=True), nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1), *up]
        features = widths[-1] * rows * columns
        shape = (widths[-1], rows, columns)
        encoder = nn.Sequential(ChannelsLast(), *down, nn.Flatten(), nn.Linear(features, 2 * latent_dim))
        decoder = nn.Sequential(nn.Linear(latent_dim, features), nn.Unflatten(1, shape), ChannelsLast(), *up)
        super().__init__(image_shape, latent_dim, encoder, decoder)


class PaperVAE(VAE):
    """The V model of Ha & Schmidhuber (2018, App. A.1): frames 3×64×64, Z = 32, 4,348,547 parameters.

    No padding: the sides are 64, 31, 14, 6, 2 down and 1, 5, 13, 30, 64 up. The paper has a linear layer for
    μ and another for log σ²; side by side they are the one layer of 2·32 outputs here, parameter for
    parameter. The paper's decoder ends in a sigmoid; this one returns the logits before it.
    """

    def __init__(self) -> None:
        down: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise([3, 32, 64, 128, 256]):
            down += [nn.Conv2d(inputs, outputs, 4, stride=2), nn.ReLU(inplace=True)]
        up: list[nn.Module] = [nn.ConvTranspose2d(1024, 128, 5, stride=2)]
        for inputs, outputs, kernel in [(128, 64, 5), (64, 32, 6), (32, 3, 6)]:
            up += [nn.ReLU(inplace=True), nn.ConvTranspose2d(inputs, outputs, kernel, stride=2)]
        encoder = nn.Sequential(ChannelsLast(), *down, nn.Flatten(), nn.Linear(1024, 2 * 32))
        decoder = nn.Sequential(nn.Linear(32, 1024), nn.Unflatten(1, (1024, 1, 1)), ChannelsLast(), *up)
        super().__init__((3, 64, 64), 32, encoder, decoder)


class ChannelsLast(nn.Module):
    """Changes the order in memory, not the values: a CPU is faster with a pixel's channels side by side."""

    def forward(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last)


def vae_loss(logits: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, beta: float = 1.0, floor: float = 0.0) -> VAELoss:
    """total = reconstruction + beta·kl, batch means; at beta = 1 the negative ELBO, to be *minimised*.

    ``logits`` and ``x`` (B, C, H, W), x in [0, 1]; ``mu`` and ``logvar`` (B, Z). A ``beta`` above 1 buys a
    cheaper code with a worse picture, below 1 the reverse. A ``floor`` above 0 gives each latent dimension
    that many nats for free: total = reconstruction + beta·``free_bits``; the ``kl`` returned stays the true
    one. Raises ValueError for shapes that do not fit, pixels outside [0, 1], and a negative beta or floor.
    Source: Kingma & Welling (2014), Eqs. 3 and 10; β from Higgins et al. (2017).
    """
    if not 0 <= beta < math.inf:
        raise ValueError(f"beta must be a finite number, 0 or more: got {beta}.")
    if mu.dim() != 2 or len(mu) != len(x):
        raise ValueError(f"mu needs one row for each of the {len(x)} frames, (B, Z): got {tuple(mu.shape)}.")
    reconstruction = bernoulli_nll(logits, x).mean()
    kl = kl_standard_normal(mu, logvar).mean()
    charged = kl if floor == 0 else free_bits(kl_per_dimension(mu, logvar), floor)
    return VAELoss(reconstruction + beta * charged, reconstruction, kl)
