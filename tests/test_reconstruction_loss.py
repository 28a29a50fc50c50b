"""The likelihoods against torch.distributions, integrals and finite differences."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Normal

from wmcourse.reconstruction_loss import MIN_LOG_SIGMA, bernoulli_nll, gaussian_nll, optimal_log_sigma

DTYPES = [torch.float32, torch.float64]
SHAPES = [(1, 1), (3, 5), (2, 1, 4, 4), (1, 3, 2, 6)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_bernoulli_equals_torch_distributions(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    logits, x = 3 * torch.randn(shape, dtype=dtype), torch.rand(shape, dtype=dtype).round()
    expected = -Bernoulli(logits=logits).log_prob(x).flatten(1).sum(1)
    nll = bernoulli_nll(logits, x)
    assert (nll.shape, nll.dtype) == (shape[:1], dtype)
    torch.testing.assert_close(nll, expected)


@given(st.floats(-30, 30), st.floats(0, 1))
def test_bernoulli_formula_at_grey_values(logit: float, grey: float) -> None:
    s = 1 / (1 + math.exp(-logit))
    t = 1 / (1 + math.exp(logit))  # 1 - s without its rounding
    expected = -grey * math.log(s) - (1 - grey) * math.log(t)
    value = bernoulli_nll(torch.tensor([[logit]], dtype=torch.float64), torch.tensor([[grey]], dtype=torch.float64))
    assert value.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_bernoulli_is_smallest_where_the_picture_is_right() -> None:
    x = torch.tensor([[0.2, 0.5, 0.9]], dtype=torch.float64)
    entropy = -(x * x.log() + (1 - x) * (1 - x).log()).sum()
    torch.testing.assert_close(bernoulli_nll(torch.logit(x), x)[0], entropy)
    for step in (-0.1, 0.1):
        assert bernoulli_nll(torch.logit(x) + step, x) > entropy


def test_bernoulli_gradient_is_probability_less_pixel() -> None:
    logits = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    x = torch.rand(2, 1, 3, 3, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(bernoulli_nll(logits, x).sum(), logits)
    torch.testing.assert_close(gradient, (torch.sigmoid(logits) - x).detach())
    assert torch.autograd.gradcheck(lambda ell: bernoulli_nll(ell, x), (logits,))


@pytest.mark.parametrize("dtype", DTYPES)
def test_bernoulli_at_extreme_logits(dtype: torch.dtype) -> None:
    logits = torch.tensor([[100.0], [-100.0], [100.0], [-100.0], [1e4]], dtype=dtype, requires_grad=True)
    x = torch.tensor([[0.0], [1.0], [1.0], [0.0], [0.0]], dtype=dtype)
    nll = bernoulli_nll(logits, x)
    torch.testing.assert_close(nll, torch.tensor([100.0, 100.0, 0.0, 0.0, 1e4], dtype=dtype))
    (gradient,) = torch.autograd.grad(nll.sum(), logits)
    torch.testing.assert_close(gradient, torch.tensor([[1.0], [-1.0], [0.0], [0.0], [1.0]], dtype=dtype))
    # A confident pixel that is right: log(1 + exp(-15)), which log-sum-exp less the logit would lose in float32.
    sure = bernoulli_nll(torch.tensor([[15.0]], dtype=dtype), torch.ones(1, 1, dtype=dtype))
    assert sure.item() == pytest.approx(math.log1p(math.exp(-15)), rel=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_gaussian_equals_torch_distributions(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    mean, x = torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype)
    per_pixel, per_sample = torch.randn(shape, dtype=dtype), torch.randn(shape[0], *[1] * (len(shape) - 1))
    for log_sigma in (-1.3, torch.tensor(0.4, dtype=dtype), per_sample.to(dtype), per_pixel):
        sigma = torch.as_tensor(log_sigma, dtype=dtype).exp()
        expected = -Normal(mean, sigma).log_prob(x).flatten(1).sum(1)
        nll = gaussian_nll(mean, x, log_sigma)
        assert (nll.shape, nll.dtype) == (shape[:1], dtype)
        torch.testing.assert_close(nll, expected)


@given(st.floats(-3, 3), st.floats(-2, 1))
def test_gaussian_is_a_density(mean: float, log_sigma: float) -> None:
    x = mean + math.exp(log_sigma) * torch.linspace(-9, 9, 4001, dtype=torch.float64)[:, None]
    density = torch.exp(-gaussian_nll(torch.full_like(x, mean), x, log_sigma))
    torch.testing.assert_close(torch.trapezoid(density, x[:, 0]), torch.tensor(1.0, dtype=torch.float64))


def test_gaussian_gradients() -> None:
    mean, x, log_sigma = (torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))
    assert torch.autograd.gradcheck(gaussian_nll, (mean, x, log_sigma))
    scalar = torch.tensor(-0.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gaussian_nll, (mean, x, scalar))


@pytest.mark.parametrize("log_sigma", [-10.0, 10.0])
def test_gaussian_at_extreme_sigmas(log_sigma: float) -> None:
    nll = gaussian_nll(torch.zeros(1, 1), torch.full((1, 1), 3.0), log_sigma)
    exact = 4.5 * math.exp(-2 * log_sigma) + log_sigma + 0.5 * math.log(2 * math.pi)
    assert nll.item() == pytest.approx(exact, rel=1e-5)


def test_pixels_are_summed_and_samples_are_not() -> None:
    logits, x = torch.randn(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    for loss in (bernoulli_nll, lambda a, b: gaussian_nll(a, b, -1.0)):
        once = loss(logits, x)
        torch.testing.assert_close(loss(logits.repeat(1, 1, 2, 2), x.repeat(1, 1, 2, 2)), 4 * once)
        torch.testing.assert_close(loss(logits.repeat(3, 1, 1, 1), x.repeat(3, 1, 1, 1)), once.repeat(3))


def test_the_order_in_memory_does_not_matter() -> None:
    logits, x = torch.randn(2, 3, 4, 6), torch.rand(2, 3, 4, 6)
    other = logits.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(bernoulli_nll(other, x), bernoulli_nll(logits, x))
    torch.testing.assert_close(gaussian_nll(other, x, 0.0), gaussian_nll(logits, x, 0.0))


@given(st.floats(0.01, 10), st.integers(0, 1000))
def test_optimal_sigma_is_the_minimum(scale: float, seed: int) -> None:
    noise = torch.Generator().manual_seed(seed)
    mean, x = torch.randn(2, 3, 2, 4, 4, generator=noise, dtype=torch.float64).unbind(0)
    mean = scale * mean
    best = optimal_log_sigma(mean, x)
    assert best.shape == ()
    torch.testing.assert_close((2 * best).exp(), (mean - x).square().mean())
    least = gaussian_nll(mean, x, best).mean()
    for step in (-0.05, 0.05):
        assert gaussian_nll(mean, x, best + step).mean() > least
    variable = best.clone().requires_grad_()
    (slope,) = torch.autograd.grad(gaussian_nll(mean, x, variable).sum(), variable)
    assert abs(slope) < 1e-9


def test_a_perfect_reconstruction_stays_finite() -> None:
    mean = torch.rand(2, 3, requires_grad=True)
    log_sigma = optimal_log_sigma(mean, mean.detach())
    assert log_sigma.item() == pytest.approx(MIN_LOG_SIGMA)
    (gradient,) = torch.autograd.grad(log_sigma, mean)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("loss", [bernoulli_nll, lambda a, b: gaussian_nll(a, b, 0.0), optimal_log_sigma])
def test_bad_shapes_and_integer_pixels(loss) -> None:
    logits = torch.zeros(2, 1, 4, 4)
    with pytest.raises(ValueError, match=r"torch.uint8: divide 8-bit pixels by 255"):
        loss(logits, torch.zeros(2, 1, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"one shape .* got \(2, 1, 4, 4\) and \(2, 4, 4\)"):
        loss(logits, torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match="one shape"):
        loss(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ValueError, match="not empty"):
        loss(torch.zeros(0, 2), torch.zeros(0, 2))


@pytest.mark.parametrize(("value", "shown"), [(255.0, "0 to 255"), (1.01, "0 to 1.01"), (-0.5, "-0.5 to 0")])
def test_pixels_outside_the_unit_interval(value: float, shown: str) -> None:
    x = torch.zeros(2, 1, 4, 4)
    x[1, 0, 3, 3] = value
    with pytest.raises(ValueError, match=rf"\[0, 1\], not {shown}: divide 8-bit pixels by 255"):
        bernoulli_nll(torch.zeros_like(x), x)


def test_nan_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        bernoulli_nll(torch.zeros(1, 2), torch.tensor([[0.5, math.nan]]))


@pytest.mark.parametrize("shape", [(3,), (2, 1, 1), (1, 2, 4)])
def test_log_sigma_must_broadcast(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"log_sigma must broadcast .* and \(2, 4\)"):
        gaussian_nll(torch.zeros(2, 4), torch.zeros(2, 4), torch.zeros(shape))
