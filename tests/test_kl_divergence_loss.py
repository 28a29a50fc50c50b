"""The divergences against torch.distributions, an integral, samples and finite differences."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from wmcourse.kl_divergence_loss import free_bits, kl_normal, kl_per_dimension, kl_standard_normal

numbers = st.floats(-5, 5)
gaussians = st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=4)


def normal(mu: Tensor, logvar: Tensor) -> Normal:
    return Normal(mu, torch.exp(logvar / 2))


def double(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


@given(gaussians)
def test_equals_torch_distributions(rows: list[tuple[float, ...]]) -> None:
    m, v, mp, vp = torch.tensor(rows, dtype=torch.float64).T.unsqueeze(1)  # each (1, Z)
    unit = Normal(torch.zeros_like(m), torch.ones_like(m))
    torch.testing.assert_close(kl_per_dimension(m, v), kl_divergence(normal(m, v), unit))
    torch.testing.assert_close(kl_standard_normal(m, v), kl_divergence(normal(m, v), unit).sum(1))
    general = kl_divergence(normal(m, v), normal(mp, vp)).sum(1)
    torch.testing.assert_close(kl_normal(m, v, mp, vp), general)


@given(gaussians)
def test_is_never_negative_and_zero_at_itself(rows: list[tuple[float, ...]]) -> None:
    m, v, mp, vp = torch.tensor(rows, dtype=torch.float64).T.unsqueeze(1)
    assert kl_normal(m, v, mp, vp) >= -1e-12
    assert kl_normal(m, v, m, v) == 0
    torch.testing.assert_close(kl_normal(m, v, 0 * m, 0 * v), kl_standard_normal(m, v))


def test_equals_the_integral() -> None:
    m, v, mp, vp = (torch.tensor([[value]], dtype=torch.float64) for value in (0.5, -0.8, -0.3, 0.6))
    z = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    log_q, log_p = normal(m[0], v[0]).log_prob(z), normal(mp[0], vp[0]).log_prob(z)
    integral = torch.trapezoid(log_q.exp() * (log_q - log_p), z)
    torch.testing.assert_close(kl_normal(m, v, mp, vp)[0], integral)
    reverse = torch.trapezoid(log_p.exp() * (log_p - log_q), z)
    torch.testing.assert_close(kl_normal(mp, vp, m, v)[0], reverse)
    assert abs(integral - reverse) > 0.1


def test_equals_a_mean_over_samples() -> None:
    mu, logvar = double(0.7, -1.2), double(-1.0, 0.4)
    q, p = normal(mu, logvar), Normal(torch.zeros_like(mu), torch.ones_like(mu))
    z = q.sample(torch.Size([50_000]))
    terms = (q.log_prob(z) - p.log_prob(z)).sum(-1).squeeze(1)
    error = terms.std() / math.sqrt(50_000)
    assert error < 0.01
    assert abs(terms.mean() - kl_standard_normal(mu, logvar)) < 4 * error


def test_hand_computed_values_are_sums_over_dimensions() -> None:
    mu, logvar = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [math.log(4), 0.0]])
    per_dim = torch.tensor([[0.5, 2.0], [0.5 * (3 - math.log(4)), 0.0]])
    torch.testing.assert_close(kl_per_dimension(mu, logvar), per_dim)
    torch.testing.assert_close(kl_standard_normal(mu, logvar), per_dim.sum(dim=1))
    # ½·[4/1 - 1 - log 4 + (1 - 3)²/1] for p = N(3, 1)
    value = kl_normal(*(torch.tensor([[x]]) for x in (1.0, math.log(4), 3.0, 0.0)))
    torch.testing.assert_close(value, torch.tensor([0.5 * (7 - math.log(4))]))
    # ½·[1/4 - 1 + log 4 + (1 - 3)²/4] for q = N(1, 1) and p = N(3, 4)
    value = kl_normal(*(torch.tensor([[x]]) for x in (1.0, 0.0, 3.0, math.log(4))))
    torch.testing.assert_close(value, torch.tensor([0.5 * (0.25 + math.log(4))]))


def test_gradients() -> None:
    inputs = [torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    assert torch.autograd.gradcheck(kl_standard_normal, inputs[:2])
    assert torch.autograd.gradcheck(kl_normal, inputs)


def test_gradients_vanish_only_at_the_prior() -> None:
    mu, logvar = torch.tensor([[0.0, 1.0]], requires_grad=True), torch.tensor([[0.0, 1.0]], requires_grad=True)
    d_mu, d_logvar = torch.autograd.grad(kl_standard_normal(mu, logvar).sum(), [mu, logvar])
    torch.testing.assert_close(d_mu, torch.tensor([[0.0, 1.0]]))  # μ
    torch.testing.assert_close(d_logvar, torch.tensor([[0.0, 0.5 * (math.e - 1)]]))  # ½·(σ² - 1)


@pytest.mark.parametrize("logvar", [-20.0, 20.0])
def test_extreme_variances(logvar: float) -> None:
    expected = 0.5 * (math.exp(logvar) - 1 - logvar)
    v = torch.full((1, 1), logvar)
    zero = torch.zeros(1, 1)
    assert kl_standard_normal(zero, v).item() == pytest.approx(expected, rel=1e-6)
    assert kl_normal(zero, zero, zero, -v).item() == pytest.approx(expected, rel=1e-6)
    assert kl_normal(zero + 3, v, zero + 3, v) == 0


def test_small_divergences_keep_their_digits() -> None:
    """½·d²/2 at d = 1e-4: in float32, exp(d) - 1 - d would be wrong by more than the value itself."""
    d = torch.tensor([[1e-4]])
    exact = 0.5 * (math.expm1(d.item()) - d.item())
    assert kl_standard_normal(torch.zeros(1, 1), d).item() == pytest.approx(exact, rel=0.01)
    zero = torch.zeros(1, 1)
    assert kl_normal(zero, zero, zero, -d).item() == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes(dtype: torch.dtype) -> None:
    mu = torch.randn(1, 7, 4, dtype=dtype)
    assert kl_standard_normal(mu, mu).shape == (1, 7)
    assert kl_standard_normal(mu, mu).dtype == dtype
    assert kl_standard_normal(mu[0], mu[0]).shape == (7,)
    assert kl_per_dimension(mu, mu).shape == (1, 7, 4)
    one = torch.randn(4, dtype=dtype)  # one prior for all
    torch.testing.assert_close(kl_normal(mu, mu, one, one), kl_normal(mu, mu, one.expand_as(mu), one.expand_as(mu)))


def test_free_bits_takes_the_batch_mean_first() -> None:
    kl = torch.tensor([[4.0, 0.2, 1.0], [0.0, 0.4, 3.0]])
    torch.testing.assert_close(free_bits(kl, 1.0), torch.tensor(2.0 + 1.0 + 2.0))
    torch.testing.assert_close(free_bits(kl, 0.0), torch.tensor(2.0 + 0.3 + 2.0))
    torch.testing.assert_close(free_bits(kl, 9.0), torch.tensor(27.0))


def test_free_bits_pulls_only_on_dimensions_above_the_floor() -> None:
    kl = torch.tensor([[4.0, 0.2, 1.0], [0.0, 0.4, 3.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(free_bits(kl, 1.0), kl)
    assert gradient.tolist() == [[0.5, 0.0, 0.5], [0.5, 0.0, 0.5]]


@given(st.lists(st.floats(0, 10), min_size=6, max_size=6), st.floats(0, 5), st.floats(0, 5))
def test_free_bits_bounds(values: list[float], floor: float, more: float) -> None:
    kl = torch.tensor(values, dtype=torch.float64).view(2, 3)
    total = free_bits(kl, floor)
    assert total >= 3 * floor - 1e-9
    assert total >= kl.mean(0).sum() - 1e-9
    assert total <= kl.mean(0).sum() + 3 * floor + 1e-9
    assert free_bits(kl, floor + more) >= total - 1e-9


def test_bad_input() -> None:
    a, b = torch.zeros(3, 2), torch.zeros(3, 1)
    for function in (kl_standard_normal, kl_per_dimension):
        with pytest.raises(ValueError, match=r"mu and logvar need one shape .* \(3, 2\) and \(3, 1\)"):
            function(a, b)
    with pytest.raises(ValueError, match="mu_q and logvar_q"):
        kl_normal(a, b, a, a)
    with pytest.raises(ValueError, match="mu_p and logvar_p"):
        kl_normal(a, a, a, b)
    with pytest.raises(ValueError, match=r"q's shape \(3, 2\), or \(Z,\): got \(3, 1\)"):
        kl_normal(a, a, b, b)
    with pytest.raises(ValueError, match="need one shape"):
        kl_standard_normal(torch.tensor(0.0), torch.tensor(0.0))
    for shape in [(3,), (0, 2), (2, 3, 4)]:
        with pytest.raises(ValueError, match=r"each entry of \(B, Z\)"):
            free_bits(torch.zeros(shape), 0.1)
    for floor in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"0 or more: got {floor}"):
            free_bits(a, floor)
