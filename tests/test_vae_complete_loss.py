"""The architectures by their shapes and parameters, the loss against torch.distributions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from wmcourse.vae_complete_loss import VAE, ConvVAE, PaperVAE, vae_loss

IMAGES = [(1, 8, 8), (1, 32, 32), (3, 8, 24), (2, 40, 16), (3, 64, 64), (1, 56, 88), (4, 16, 8)]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def batch(size: int = 5, dims: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random logits, binary frames, mu and logvar."""
    logits = 2 * torch.randn(size, 2, 4, 3, dtype=torch.float64)
    mu, logvar = torch.randn(2, size, dims, dtype=torch.float64)
    return logits, torch.rand_like(logits).round(), mu, logvar


def test_paper_vae_has_the_parameters_of_the_paper() -> None:
    model = PaperVAE()
    assert count(model) == 4_348_547
    # 32, 64, 128, 256 channels of 4×4 and two linear layers of 32; then 5×5, 5×5, 6×6, 6×6.
    down = [(3 * 16 + 1) * 32, (32 * 16 + 1) * 64, (64 * 16 + 1) * 128, (128 * 16 + 1) * 256]
    up = [1024 * 25 * 128 + 128, 128 * 25 * 64 + 64, 64 * 36 * 32 + 32, 32 * 36 * 3 + 3]
    assert count(model.encoder) == sum(down) + 2 * (1024 + 1) * 32
    assert count(model.decoder) == (32 + 1) * 1024 + sum(up)


def test_paper_vae_has_the_sides_of_the_paper() -> None:
    def sides(network: nn.Module, x: Tensor) -> list[tuple[int, ...]]:
        shapes = []
        for layer in network:
            x = layer(x)
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                shapes.append(tuple(x.shape[1:]))
        return shapes

    model = PaperVAE()
    down, up = sides(model.encoder, torch.rand(1, 3, 64, 64)), sides(model.decoder, torch.randn(1, 32))
    assert down == [(32, 31, 31), (64, 14, 14), (128, 6, 6), (256, 2, 2)]
    assert up == [(128, 5, 5), (64, 13, 13), (32, 30, 30), (3, 64, 64)]


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("image", [*IMAGES, None])
def test_shapes(image: tuple[int, int, int] | None, size: int) -> None:
    model = PaperVAE() if image is None else ConvVAE(image, latent_dim=5, width=2)
    image, dims = model.image_shape, model.latent_dim
    x = torch.rand(size, *image)
    logits, mu, logvar = model(x)
    assert logits.shape == (size, *image)
    assert mu.shape == logvar.shape == (size, dims)
    assert model.decode(mu).shape == (size, *image)
    loss = vae_loss(logits, x, mu, logvar)
    loss.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_conv_vae_halves_to_four() -> None:
    """32, 16, 8, 4 with 16, 32 and 64 channels, counted by hand."""
    model = ConvVAE((1, 32, 32), latent_dim=16, width=16)
    down = (1 * 16 + 1) * 16 + (16 * 16 + 1) * 32 + (32 * 16 + 1) * 64
    up = (64 * 16 * 32 + 32) + (32 * 16 * 16 + 16) + (16 * 16 * 1 + 1)
    assert count(model.encoder) == down + (64 * 4 * 4 + 1) * 32
    assert count(model.decoder) == (16 + 1) * 64 * 4 * 4 + up


def test_encode_decode_and_forward_agree() -> None:
    model = ConvVAE((1, 16, 16), latent_dim=4, width=4)
    x = torch.rand(3, 1, 16, 16)
    logits, mu, logvar = model(x, torch.Generator().manual_seed(5))
    torch.testing.assert_close(model.encode(x), (mu, logvar))
    epsilon = torch.randn(3, 4, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(logits, model.decode(mu + torch.exp(logvar / 2) * epsilon))
    assert not torch.allclose(logits, model.decode(mu))  # it is a sample
    out = model.encoder(x)
    torch.testing.assert_close((mu, logvar), (out[:, :4], out[:, 4:]))  # μ first
    assert (logits < 0).any()  # logits, not probabilities


def test_frames_do_not_see_each_other() -> None:
    """No layer mixes a batch: one frame at a time gives the same."""
    model = ConvVAE((1, 16, 8), latent_dim=4, width=4)
    x = torch.rand(3, 1, 16, 8)
    mu, _ = model.encode(x)
    torch.testing.assert_close(mu, torch.cat([model.encode(frame[None])[0] for frame in x]), atol=1e-6, rtol=1e-5)


def test_every_pixel_reaches_the_code_and_is_reached_by_it() -> None:
    model = ConvVAE((2, 24, 16), latent_dim=4, width=4)
    x = torch.rand(1, 2, 24, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.encode(x)[0].abs().sum(), x)
    assert (gradient != 0).all()
    assert (model.decode(3 * torch.randn(20, 4)).std(dim=0) > 1e-4).all()


@given(st.floats(0, 8), st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**31))
def test_loss_equals_torch_distributions(beta: float, size: int, dims: int, seed: int) -> None:
    torch.manual_seed(seed)
    logits, x, mu, logvar = batch(size, dims)
    loss = vae_loss(logits, x, mu, logvar, beta)
    unit = Normal(torch.zeros_like(mu), torch.ones_like(mu))
    reconstruction = -Bernoulli(logits=logits).log_prob(x).sum() / size
    kl = kl_divergence(Normal(mu, torch.exp(logvar / 2)), unit).sum() / size
    torch.testing.assert_close(loss.reconstruction, reconstruction)
    torch.testing.assert_close(loss.kl, kl)
    torch.testing.assert_close(loss.total, reconstruction + beta * kl)


def test_sums_over_pixels_and_dimensions_and_means_over_the_batch() -> None:
    logits, x, mu, logvar = batch()
    loss = vae_loss(logits, x, mu, logvar)
    same = vae_loss(*(torch.cat([part, part]) for part in (logits, x, mu, logvar)))
    torch.testing.assert_close(tuple(same), tuple(loss))
    taller = vae_loss(*(torch.cat([part, part], dim=2) for part in (logits, x)), mu, logvar)
    torch.testing.assert_close(taller.reconstruction, 2 * loss.reconstruction)
    wider = vae_loss(logits, x, torch.cat([mu, mu], dim=1), torch.cat([logvar, logvar], dim=1))
    torch.testing.assert_close(wider.kl, 2 * loss.kl)
    assert all(part.shape == () for part in loss)


def test_hand_computed_loss() -> None:
    """Logits 0: log 2 a pixel. μ = 1: half a nat a dimension."""
    zero = torch.zeros(4, 1, 2, 3)
    loss = vae_loss(zero, zero, torch.ones(4, 2), torch.zeros(4, 2), beta=3.0)
    assert loss.reconstruction.item() == pytest.approx(6 * math.log(2))
    assert loss.kl.item() == pytest.approx(1)
    assert loss.total.item() == pytest.approx(6 * math.log(2) + 3)


def test_gradients() -> None:
    logits, x, mu, logvar = batch(dims=2)
    inputs = [part.requires_grad_() for part in (logits, mu, logvar)]

    def total(logits: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        return vae_loss(logits, x, mu, logvar, beta=2.0).total

    assert torch.autograd.gradcheck(total, inputs)
    d_logits, d_mu, d_logvar = torch.autograd.grad(total(*inputs), inputs)
    torch.testing.assert_close(d_logits, ((torch.sigmoid(logits) - x) / 5).detach())
    torch.testing.assert_close(d_mu, (2 * mu / 5).detach())
    torch.testing.assert_close(d_logvar, (2 * 0.5 * (logvar.exp() - 1) / 5).detach())


def test_free_bits() -> None:
    logits, x, _, _ = batch(size=4)
    mu = torch.tensor([[2.0, 0.1, 0.0]], dtype=torch.float64).expand(4, 3).clone().requires_grad_()
    logvar = torch.zeros(4, 3, dtype=torch.float64)  # the KL of a dimension is μ²/2: 2, 0.005 and 0
    loss = vae_loss(logits, x, mu, logvar, beta=0.5, floor=0.3)
    assert loss.kl.item() == pytest.approx(2.005)  # the true one
    torch.testing.assert_close(loss.total, loss.reconstruction + 0.5 * (2 + 0.3 + 0.3))
    (gradient,) = torch.autograd.grad(loss.total, mu)
    torch.testing.assert_close(gradient[0], torch.tensor([0.5 * 2 / 4, 0, 0], dtype=torch.float64))
    plain = vae_loss(logits, x, mu, logvar, beta=0.5)
    torch.testing.assert_close(plain.total, plain.reconstruction + 0.5 * plain.kl)


def test_a_tiny_vae_overfits_a_batch() -> None:
    model = ConvVAE((1, 8, 8), latent_dim=8, width=8)
    x = (torch.rand(4, 1, 8, 8) < 0.5).float()
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(250):
        logits, mu, logvar = model(x)
        loss = vae_loss(logits, x, mu, logvar)
        adam.zero_grad()
        loss.total.backward()
        adam.step()
        losses.append(loss.total.item())
    assert losses[0] == pytest.approx(64 * math.log(2), rel=0.1)  # at first it knows nothing
    assert sum(losses[-10:]) / 10 < 0.5 * losses[0]
    assert (model.decode(model.encode(x)[0]).sigmoid().round() == x).float().mean() > 0.95


def test_bad_models() -> None:
    for image in [(1, 8, 12), (1, 4, 8), (1, 0, 8), (3, 65, 64)]:
        with pytest.raises(ValueError, match=f"multiple of 8: got {image[1]}×{image[2]}"):
            ConvVAE(image, latent_dim=4)
    for channels, dims, width in [(0, 4, 4), (1, 0, 4), (1, 4, 0)]:
        with pytest.raises(ValueError, match=f"at least 1: got {channels}, {dims} and {width}"):
            ConvVAE((channels, 8, 8), dims, width)


@pytest.mark.parametrize("model", [ConvVAE((1, 8, 16), 4, 2), PaperVAE()], ids=["conv", "paper"])
def test_bad_frames_and_latents(model: VAE) -> None:
    c, h, w = model.image_shape
    shapes = [(c, h, w), (2, c, h, w + 8), (2, c + 1, h, w), (2, h, w, c), (1, 2, c, h, w)]
    for x in [*(torch.zeros(shape) for shape in shapes), torch.zeros(2, c, h, w, dtype=torch.uint8)]:
        with pytest.raises(ValueError, match=rf"takes float frames of {c}×{h}×{w} in \[0, 1\]: got {x.dtype}"):
            model(x)
    for shape in [(model.latent_dim,), (2, model.latent_dim + 1), (1, 1, model.latent_dim)]:
        with pytest.raises(ValueError, match=rf"decodes latents \(B, {model.latent_dim}\)"):
            model.decode(torch.zeros(shape))


def test_bad_losses() -> None:
    logits, x, mu, logvar = batch()
    for beta in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"beta must be a finite number, 0 or more: got {beta}"):
            vae_loss(logits, x, mu, logvar, beta)
    for floor in (-0.1, math.nan):
        with pytest.raises(ValueError, match=f"0 or more: got {floor}"):
            vae_loss(logits, x, mu, logvar, floor=floor)
    for bad in (mu[0], mu[:4], mu[None]):
        with pytest.raises(ValueError, match="mu needs one row for each of the 5 frames"):
            vae_loss(logits, x, bad, bad)
    with pytest.raises(ValueError, match="mu and logvar need one shape"):
        vae_loss(logits, x, mu, logvar[:, :1])
    with pytest.raises(ValueError, match="logits and x need one shape"):
        vae_loss(logits[:, :1], x, mu, logvar)
    for bad in (x - 0.1, x + 0.1, x * math.nan):
        with pytest.raises(ValueError, match=r"x must lie in \[0, 1\]"):
            vae_loss(logits, bad, mu, logvar)
