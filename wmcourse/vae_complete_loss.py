"""The variational autoencoder: two networks and one loss, the negative ELBO split into what it says and what it costs.

    frame x ─► encoder ─► μ, log σ² ─► z = μ + σ·ε ─► decoder ─► logits
                             │                           │
                       β·KL(q(z|x) ‖ N(0, I))     -log p(x | z)          loss = their sum, in nats per frame

A decoder here always returns logits, and the Bernoulli loss takes logits: a picture is ``torch.sigmoid(logits)``, once.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wmcourse.kl_divergence_loss import free_bits, kl_per_dimension
from wmcourse.reconstruction_loss import bernoulli_nll
from wmcourse.reparameterization_trick import reparameterize


class VAELoss(NamedTuple):
    """Scalars, nats per frame: sums over pixels and latent dimensions, means over the batch."""

    total: Tensor
    reconstruction: Tensor
    kl: Tensor


class VAE(nn.Module):
    """What the two networks below share. ``encoder`` ends in 2Z numbers, μ then log σ²; ``decoder`` takes Z of them."""

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.image_shape, self.latent_dim = image_shape, latent_dim
        self.encoder, self.decoder = encoder, decoder

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Frames x (B, C, H, W) in [0, 1] -> mu and logvar = log σ², each (B, Z). Raises ValueError for other frames."""
        if x.shape[1:] != self.image_shape or not x.is_floating_point():
            raise ValueError(
                f"This VAE takes float frames (B, {', '.join(map(str, self.image_shape))}) in [0, 1]: "
                f"got {tuple(x.shape)} of {x.dtype}."
            )
        mu, logvar = self.encoder(x).chunk(2, dim=-1)
        return mu, logvar

    def decode(self, z: Tensor) -> Tensor:
        """Latents z (B, Z) -> logits (B, C, H, W), before the sigmoid. Raises ValueError for another shape."""
        if z.dim() != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"This VAE decodes latents of shape (B, {self.latent_dim}): got {tuple(z.shape)}.")
        return self.decoder(z)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, C, H, W) -> logits of one *sampled* z (B, C, H, W), mu (B, Z), logvar (B, Z)."""
        mu, logvar = self.encode(x)
        return self.decode(reparameterize(mu, logvar, generator)), mu, logvar


class ConvVAE(VAE):
    """A small VAE for frames (C, H, W) with H and W multiples of 8.

    Each 4×4 convolution of stride 2 and padding 1 halves both sides exactly, until a side is at most 4, or odd: 32, 16, 8, 4.
    The channels double from ``width``, and the decoder is the mirror image. The kernel is a multiple of the stride, so the
    decoder writes to every pixel equally often and leaves no checkerboard (Odena et al. 2016).
    Raises ValueError for other sides and for sizes below 1.
    """

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int, width: int = 16) -> None:
        channels, height, breadth = image_shape
        if min(channels, latent_dim, width) < 1:
            raise ValueError(f"ConvVAE needs at least 1 channel, latent and width: got {channels}, {latent_dim} and {width}.")
        if min(height, breadth) < 8 or height % 8 or breadth % 8:
            raise ValueError(f"ConvVAE needs frames whose height and width are multiples of 8: got {height} and {breadth}.")
        widths = [channels]
        while min(height, breadth) > 4 and height % 2 == 0 and breadth % 2 == 0:
            widths.append(width * 2 ** (len(widths) - 1))  # w, 2w, 4w, ...
            height, breadth = height // 2, breadth // 2
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for outer, inner in itertools.pairwise(widths):
            down += [nn.Conv2d(outer, inner, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
            up = [nn.ReLU(inplace=True), nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1), *up]
        features = widths[-1] * height * breadth
        encoder = nn.Sequential(ChannelsLast(), *down, nn.Flatten(), nn.Linear(features, 2 * latent_dim))
        unflatten = nn.Unflatten(1, (widths[-1], height, breadth))
        decoder = nn.Sequential(nn.Linear(latent_dim, features), unflatten, ChannelsLast(), *up)
        super().__init__(image_shape, latent_dim, encoder, decoder)


class PaperVAE(VAE):
    """The V model of Ha & Schmidhuber (2018, App. A.1): frames 3×64×64, Z = 32, 4,348,547 parameters.

    No padding: sides 64, 31, 14, 6, 2 down and 1, 5, 13, 30, 64 up. The paper has one linear layer for μ and one for log σ²; side by
    side they are the single layer of 2·32 outputs here, parameter for parameter. The paper's decoder ends in a sigmoid; this
    one returns the logits, and the loss applies it.
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


def vae_loss(
    logits: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, beta: float = 1.0, floor: float = 0.0
) -> VAELoss:
    """total = reconstruction + beta·kl, the mean over the batch of the negative ELBO at beta = 1.

    ``logits`` and ``x`` (B, C, H, W), x in [0, 1]; ``mu`` and ``logvar`` (B, Z). ``beta`` above 1 buys a simpler code with a worse
    picture, below 1 the reverse. ``floor`` > 0 gives each latent dimension that many nats free: the total then counts
    ``free_bits`` in place of the KL; the ``kl`` returned is always the true one.
    Raises ValueError for shapes that do not fit, pixels outside [0, 1], and a negative beta or floor.
    Source: Kingma & Welling (2014), Eqs. 3 and 10; β from Higgins et al. (2017); floor from Kingma et al. (2016).
    """
    if not 0 <= beta < float("inf"):
        raise ValueError(f"beta must be a finite number, 0 or more: got {beta}.")
    if mu.dim() != 2 or len(mu) != len(x):
        raise ValueError(f"mu needs one row for each of the {len(x)} frames, (B, Z): got {tuple(mu.shape)}.")
    reconstruction = bernoulli_nll(logits, x).mean()
    kl_per_dim = kl_per_dimension(mu, logvar)  # (B, Z)
    kl = kl_per_dim.sum(dim=-1).mean()
    charged = kl if floor == 0 else free_bits(kl_per_dim, floor)
    return VAELoss(reconstruction + beta * charged, reconstruction, kl)


class ChannelsLast(nn.Module):
    """Changes the order in memory only, not the shape or values: a CPU's convolutions are faster with the channels together."""

    def forward(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last)
