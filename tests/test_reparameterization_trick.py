"""Samples with the right moments, and gradients that pass through them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wmcourse.reparameterization_trick import reparameterize


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (4, 3), (2, 5, 3)])
def test_is_mean_plus_sigma_times_noise(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    mu, sigma = torch.randn(shape, dtype=dtype), torch.rand(shape, dtype=dtype) + 0.1
    z = reparameterize(mu, 2 * sigma.log(), seeded())
    noise = torch.randn(shape, generator=seeded(), dtype=dtype)
    assert (z.dtype, z.shape) == (dtype, shape)
    torch.testing.assert_close(z, mu + sigma * noise)


def test_moments_of_many_samples() -> None:
    n, mu, sigma = 200_000, -1.5, 0.4
    z = reparameterize(torch.full((n, 1), mu), torch.full((n, 1), 2 * math.log(sigma)), seeded())
    standard = ((z - mu) / sigma).double()
    # mean, variance and fourth moment of a standard normal, each within four standard errors
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (4, 3, 96)]:
        assert abs((standard**power).mean() - moment) < 4 * math.sqrt(variance / n)


def test_every_entry_has_its_own_noise() -> None:
    z = reparameterize(torch.zeros(2_000, 3), torch.zeros(2_000, 3))
    assert len(z.unique()) > 5_900  # one ε for the batch or for a sample would leave 3 or 2,000
    assert (torch.corrcoef(z.T) - torch.eye(3)).abs().max() < 4 / math.sqrt(2_000)


@given(st.floats(-3, 3), st.floats(-4, 4), st.integers(0, 1000))
def test_derivatives_of_the_path(mu: float, logvar: float, seed: int) -> None:
    m = torch.tensor([mu], dtype=torch.float64, requires_grad=True)
    v = torch.tensor([logvar], dtype=torch.float64, requires_grad=True)
    z = reparameterize(m, v, seeded(seed))
    d_mu, d_logvar = torch.autograd.grad(z.sum(), [m, v])
    assert d_mu == 1
    torch.testing.assert_close(d_logvar, (0.5 * (z - m)).detach())  # ½·σ·ε


def test_gradcheck() -> None:
    mu = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    logvar = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, v: reparameterize(m, v, seeded()), (mu, logvar))


def test_gradient_of_an_expectation() -> None:
    """E[z²] = μ² + σ²: the derivatives are 2μ, and σ² with respect to log σ²."""
    n, mu, logvar = 100_000, 0.8, -0.5
    m = torch.full((n,), mu, dtype=torch.float64, requires_grad=True)
    v = torch.full((n,), logvar, dtype=torch.float64, requires_grad=True)
    reparameterize(m, v, seeded()).square().sum().backward()
    for gradient, exact in [(m.grad, 2 * mu), (v.grad, math.exp(logvar))]:
        assert abs(gradient.mean() - exact) < 4 * gradient.std() / math.sqrt(n)


def test_extreme_variances() -> None:
    mu = torch.randn(1000)
    torch.testing.assert_close(reparameterize(mu, torch.full_like(mu, -40.0)), mu, atol=1e-7, rtol=0)
    wide = reparameterize(mu, torch.full_like(mu, 20.0))
    assert wide.isfinite().all()
    assert abs(wide.std() / math.exp(10) - 1) < 4 / math.sqrt(2 * 1000)


def test_a_generator_makes_it_reproducible_and_spares_the_global_one() -> None:
    mu, logvar = torch.zeros(5), torch.zeros(5)
    before = torch.get_rng_state()
    first, again = reparameterize(mu, logvar, seeded(3)), reparameterize(mu, logvar, seeded(3))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first, reparameterize(mu, logvar, seeded(4)))
    torch.manual_seed(3)
    assert torch.equal(first, reparameterize(mu, logvar))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"one shape: got \(4, 2\) and \(4, 1\)"):
        reparameterize(torch.zeros(4, 2), torch.zeros(4, 1))
