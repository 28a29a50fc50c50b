"""The bounds against a model whose evidence is known: z ~ N(0, 1), x | z ~ N(a·z, s²)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from wmcourse.variational_inference import elbo, importance_weighted_bound

A, S, X = 1.5, 0.7, 1.1
BOUNDS = [elbo, importance_weighted_bound]


def evidence() -> float:
    return float(Normal(0.0, math.sqrt(A**2 + S**2)).log_prob(torch.tensor(X, dtype=torch.float64)))


def posterior() -> Normal:
    precision = 1 + A**2 / S**2
    mean, std = A * X / S**2 / precision, precision**-0.5
    return Normal(torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64))


def sampled(q: Normal, *shape: int) -> tuple[Tensor, Tensor]:
    z = q.sample(torch.Size(shape))
    log_joint = Normal(0.0, 1.0).log_prob(z) + Normal(A * z, S).log_prob(torch.tensor(X, dtype=z.dtype))
    return log_joint, q.log_prob(z)


def test_hand_computed_values() -> None:
    log_joint = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    log_q = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    torch.testing.assert_close(elbo(log_joint, log_q), torch.tensor([1.5, 3.0]))
    expected = torch.tensor([(math.e + math.e**2) / 2, (math.e + math.e**5) / 2]).log()
    torch.testing.assert_close(importance_weighted_bound(log_joint, log_q), expected)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("samples", [1, 7])
def test_at_the_posterior_every_sample_gives_the_evidence(bound, samples: int) -> None:
    values = bound(*sampled(posterior(), samples, 2, 3))
    torch.testing.assert_close(values, torch.full((2, 3), evidence(), dtype=torch.float64))


def test_elbo_is_the_evidence_less_the_divergence() -> None:
    q = Normal(torch.tensor(0.2, dtype=torch.float64), torch.tensor(0.9, dtype=torch.float64))
    log_joint, log_q = sampled(q, 40_000)
    error = (log_joint - log_q).std() / 200
    expected = evidence() - kl_divergence(q, posterior())
    assert error < 0.02
    assert abs(elbo(log_joint, log_q) - expected) < 4 * error


def test_more_samples_tighten_the_importance_weighted_bound() -> None:
    q = Normal(torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64))
    means, errors = [], []
    for samples in (1, 4, 64):
        values = importance_weighted_bound(*sampled(q, samples, 20_000))
        means.append(float(values.mean()))
        errors.append(float(values.std()) / math.sqrt(20_000))
    assert means[0] + 4 * errors[0] < means[1] - 4 * errors[1]
    assert means[1] + 4 * errors[1] < means[2] - 4 * errors[2]
    assert evidence() - 0.05 < means[2] < evidence()


numbers = st.floats(-50, 50)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8), st.floats(-1e5, 1e5))
def test_properties_on_any_samples(pairs: list[tuple[float, float]], shift: float) -> None:
    log_joint, log_q = torch.tensor(pairs, dtype=torch.float64).unbind(dim=1)
    low, high = elbo(log_joint, log_q), importance_weighted_bound(log_joint, log_q)
    assert low <= high + 1e-9  # Jensen
    assert high <= (log_joint - log_q).max() + 1e-9
    # A factor on p(x, z) adds its logarithm to both, however large: no overflow in between.
    torch.testing.assert_close(elbo(log_joint + shift, log_q), low + shift, atol=1e-7, rtol=0)
    shifted = importance_weighted_bound(log_joint + shift, log_q)
    torch.testing.assert_close(shifted, high + shift, atol=1e-7, rtol=0)
    # the same samples twice say the same
    twice = importance_weighted_bound(log_joint.repeat(2), log_q.repeat(2))
    torch.testing.assert_close(twice, high, atol=1e-9, rtol=0)


def test_an_impossible_sample_ruins_the_elbo_only() -> None:
    log_joint, log_q = torch.tensor([-torch.inf, 0.0]), torch.zeros(2)
    assert elbo(log_joint, log_q) == -torch.inf
    torch.testing.assert_close(importance_weighted_bound(log_joint, log_q), torch.tensor(-math.log(2)))


@pytest.mark.parametrize("bound", BOUNDS)
def test_gradients(bound) -> None:
    inputs = [torch.randn(5, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(bound, inputs)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_dtype(bound, dtype: torch.dtype) -> None:
    value = bound(torch.zeros(1, dtype=dtype), torch.ones(1, dtype=dtype))
    assert (value.shape, value.dtype, value.item()) == ((), dtype, -1.0)
    assert bound(torch.zeros(3, 1, 4, dtype=dtype), torch.ones(3, 1, 4, dtype=dtype)).shape == (1, 4)


@pytest.mark.parametrize("bound", BOUNDS)
def test_bad_input(bound) -> None:
    with pytest.raises(ValueError, match=r"same shape: got \(3,\) and \(3, 1\)"):
        bound(torch.zeros(3), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="at least one sample"):
        bound(torch.zeros(0, 2), torch.zeros(0, 2))
    with pytest.raises(ValueError, match="samples on the first axis"):
        bound(torch.tensor(0.0), torch.tensor(0.0))
