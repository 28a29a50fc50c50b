"""Mixtures against torch.distributions, many samples and finite differences."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

from wmcourse.mixture_density_networks import LOG_SIGMA_BOUND, MDNHead, mixture_mean, mixture_nll, sample_mixture

SAMPLES = 100_000
numbers = st.floats(-4, 4)


def parts(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """A random mixture (..., Z, K)."""
    log_pi, mu, log_sigma = (torch.randn(shape, dtype=dtype) for _ in range(3))
    return torch.log_softmax(2 * log_pi, dim=-1), 2 * mu, log_sigma


def distribution(log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> MixtureSameFamily:
    return MixtureSameFamily(Categorical(logits=log_pi), Normal(mu, log_sigma.exp()))


def repeated(mixture: tuple[Tensor, Tensor, Tensor], count: int = SAMPLES) -> tuple[Tensor, ...]:
    return tuple(part.expand(count, *part.shape) for part in mixture)


def two_modes(pi: float, log_sigma: float = -4.0) -> tuple[Tensor, Tensor, Tensor]:
    """One dimension, two narrow components at 0 and 1."""
    log_pi = torch.tensor([[pi, 1 - pi]], dtype=torch.float64).log()
    return log_pi, torch.tensor([[0.0, 1.0]], dtype=torch.float64), torch.full_like(log_pi, log_sigma)


@given(
    st.lists(st.tuples(numbers, numbers, numbers), min_size=6, max_size=6),
    st.lists(st.floats(-20, 20), min_size=2, max_size=2),
    st.sampled_from([(2, 3), (1, 6), (2, 1)]),
)
def test_nll_equals_torch_distributions(
    rows: list[tuple[float, ...]], target: list[float], shape: tuple[int, int]
) -> None:
    dims, components = shape
    logits, mu, log_sigma = torch.tensor(rows, dtype=torch.float64).T[:, : dims * components].reshape(3, *shape)
    mixture = torch.log_softmax(logits, dim=-1), mu, log_sigma
    z = torch.tensor(target, dtype=torch.float64)[:dims]
    torch.testing.assert_close(mixture_nll(z, *mixture), -distribution(*mixture).log_prob(z).sum())


def test_one_component_is_a_gaussian() -> None:
    _, mu, log_sigma = parts(7, 3, 1)
    z = torch.randn(7, 3, dtype=torch.float64)
    expected = -Normal(mu[..., 0], log_sigma[..., 0].exp()).log_prob(z).sum(-1)
    torch.testing.assert_close(mixture_nll(z, torch.zeros_like(mu), mu, log_sigma), expected)


def test_the_density_integrates_to_one() -> None:
    log_pi, mu, log_sigma = parts(1, 4)
    z = torch.linspace(-60, 60, 200_001, dtype=torch.float64)
    density = torch.exp(-mixture_nll(z[:, None], *repeated((log_pi, mu, log_sigma), len(z))))
    assert torch.trapezoid(density, z).item() == pytest.approx(1, abs=1e-6)


def test_the_order_of_components_is_no_matter() -> None:
    mixture, z = parts(5, 2, 4), torch.randn(5, 2, dtype=torch.float64)
    shuffled = [part[..., [2, 0, 3, 1]] for part in mixture]
    torch.testing.assert_close(mixture_nll(z, *mixture), mixture_nll(z, *shuffled))


def test_nll_shapes_and_dtypes() -> None:
    for lead in [(), (1,), (4,), (2, 5), (0,)]:
        mixture = parts(*lead, 3, 2, dtype=torch.float32)
        nll = mixture_nll(torch.zeros(*lead, 3), *mixture)
        assert nll.shape == lead
        assert nll.dtype == torch.float32
    mixture, z = parts(2, 5, 3, 2), torch.randn(2, 5, 3, dtype=torch.float64)
    one_by_one = [[mixture_nll(z[i, j], *(part[i, j] for part in mixture)) for j in range(5)] for i in range(2)]
    torch.testing.assert_close(mixture_nll(z, *mixture), torch.tensor(one_by_one, dtype=torch.float64))


def test_a_density_may_exceed_one() -> None:
    zero = torch.zeros(1, 1)
    nll = mixture_nll(torch.zeros(1), zero, zero, zero - 5)
    assert nll.item() == pytest.approx(0.5 * math.log(2 * math.pi) - 5)


@pytest.mark.parametrize("log_sigma", [-40.0, -5.0, 0.0, 5.0, 40.0])
@pytest.mark.parametrize("distance", [0.0, 1.0, 1e4])
def test_extreme_values_in_float32(log_sigma: float, distance: float) -> None:
    """exp(-0.5·standard²) underflows long before; the logarithm must not."""
    if log_sigma == -40 and distance == 1e4:
        distance = 10.0  # the square itself would overflow, as it should
    log_pi = torch.tensor([[0.3, 0.7]]).log()
    mu, spread = torch.zeros(1, 2, requires_grad=True), torch.full((1, 2), log_sigma, requires_grad=True)
    nll = mixture_nll(torch.tensor([distance]), log_pi, mu, spread)
    exact = 0.5 * (distance * math.exp(-log_sigma)) ** 2 + log_sigma + 0.5 * math.log(2 * math.pi)
    assert nll.item() == pytest.approx(exact, rel=1e-5, abs=1e-5)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(nll, [mu, spread]))


def test_a_component_of_no_weight_does_not_matter() -> None:
    """log π = -∞: the value is that of the other components, and every gradient is finite."""
    log_pi = torch.tensor([[-math.inf, math.log(0.25), math.log(0.75)]], dtype=torch.float64, requires_grad=True)
    mu = torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    log_sigma = torch.tensor([[0.0, 0.3, -0.4]], dtype=torch.float64, requires_grad=True)
    z = torch.tensor([0.5], dtype=torch.float64)
    nll = mixture_nll(z, log_pi, mu, log_sigma)
    torch.testing.assert_close(nll, mixture_nll(z, log_pi[:, 1:], mu[:, 1:], log_sigma[:, 1:]))
    for gradient in torch.autograd.grad(nll, [log_pi, mu, log_sigma]):
        assert gradient.isfinite().all()
        assert gradient[0, 0] == 0
    assert mixture_mean(log_pi, mu).item() == pytest.approx(1.25)
    samples = sample_mixture(*repeated((log_pi.detach(), mu.detach(), log_sigma.detach() - 10)))
    assert (abs(samples - 0.5) > 1).all()
    last = (log_pi.detach().flip(-1), mu.detach().flip(-1), log_sigma.detach().flip(-1) - 10)
    assert (abs(sample_mixture(*repeated(last)) - 0.5) > 1).all()


@pytest.mark.parametrize(("u", "expected"), [(0.0, 1), (1 - 2**-24, 2)])
def test_no_luck_draws_a_component_of_no_weight(u: float, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest and the largest number that torch.rand can give in float32."""
    monkeypatch.setattr(torch, "rand", lambda *_, **options: torch.full((1,), u, dtype=options["dtype"]))
    log_pi = torch.tensor([[-math.inf, math.log(0.3), math.log(0.7), -math.inf]])
    z = sample_mixture(log_pi, torch.arange(4.0)[None], torch.full((1, 4), -30.0))
    assert z.item() == pytest.approx(expected)


def test_gradients() -> None:
    log_pi, mu, log_sigma = (part.requires_grad_() for part in parts(4, 2, 3))
    z = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mixture_nll, (z, log_pi, mu, log_sigma))
    assert torch.autograd.gradcheck(mixture_mean, (log_pi, mu))
    head = MDNHead(3, 2, 2).double()
    features = (4 * torch.randn(5, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(head, (features,))


def test_the_gradient_is_shared_by_responsibility() -> None:
    """∂nll/∂μ_k = γ_k·(μ_k - z)/σ_k² with γ the posterior weight of the component (Bishop 1994, Eq. 37)."""
    log_pi, mu, log_sigma = parts(1, 3)
    mu.requires_grad_()
    z = torch.tensor([0.4], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(mixture_nll(z, log_pi, mu, log_sigma), mu)
    joint = log_pi.exp() * Normal(mu, log_sigma.exp()).log_prob(z).exp()
    responsibility = joint / joint.sum()
    torch.testing.assert_close(gradient, responsibility * (mu - z) / (2 * log_sigma).exp())


def test_samples_have_the_moments_of_the_mixture() -> None:
    mixture = parts(3, 4)
    z = sample_mixture(*repeated(mixture))
    assert z.shape == (SAMPLES, 3)
    exact = distribution(*mixture)
    for got, expected in [(z, exact.mean), ((z - exact.mean).square(), exact.variance)]:
        error = got.std(dim=0) / math.sqrt(SAMPLES)
        assert (abs(got.mean(dim=0) - expected) < 4 * error).all()
        assert (error < 0.05 * (1 + expected.abs())).all()
    # Dimensions are drawn independently: the correlations are those of chance.
    correlation = torch.corrcoef(z.T) - torch.eye(3)
    assert correlation.abs().max() < 4 / math.sqrt(SAMPLES)


def test_samples_have_the_distribution_of_the_mixture() -> None:
    """Kolmogorov and Smirnov's distance; beyond 1.95/√n it is chance in one case of a thousand."""
    mixture = parts(1, 3)
    z = sample_mixture(*repeated(mixture)).sort(dim=0).values
    steps = torch.arange(1, SAMPLES + 1, dtype=torch.float64)[:, None] / SAMPLES
    assert (steps - distribution(*mixture).cdf(z)).abs().max() < 1.95 / math.sqrt(SAMPLES)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 1.3, 4.0])
def test_temperature_changes_the_weights(temperature: float) -> None:
    samples = sample_mixture(*repeated(two_modes(0.3, -9.0)), temperature)
    first, second = 0.3 ** (1 / temperature), 0.7 ** (1 / temperature)
    share = first / (first + second)
    error = math.sqrt(share * (1 - share) / SAMPLES)
    assert abs((samples < 0.5).double().mean() - share) < 4 * error + 1e-9


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 1.3, 4.0])
def test_temperature_multiplies_the_variance(temperature: float) -> None:
    one = torch.zeros(1, 1, dtype=torch.float64)
    samples = sample_mixture(*repeated((one, one + 3, one + math.log(2))), temperature)
    assert abs(samples.mean() - 3) < 4 * math.sqrt(4 * temperature / SAMPLES)
    variance = samples.var().item()
    assert variance == pytest.approx(4 * temperature, rel=4 * math.sqrt(2 / SAMPLES))


def test_temperature_zero_is_the_limit() -> None:
    mixture = parts(50, 3, 4)
    cold = sample_mixture(*mixture, 0)
    k = mixture[0].argmax(dim=-1, keepdim=True)
    assert (cold == mixture[1].gather(-1, k)[..., 0]).all()
    torch.testing.assert_close(sample_mixture(*mixture, 1e-12), cold, atol=1e-4, rtol=0)
    assert (sample_mixture(*two_modes(0.4), 0) == 1).all()
    assert (sample_mixture(*two_modes(0.6), 0) == 0).all()


def test_a_generator_repeats_itself() -> None:
    mixture = parts(20, 3, 4)

    def draw(seed: int) -> Tensor:
        return sample_mixture(*mixture, 1.2, torch.Generator().manual_seed(seed))

    assert (draw(1) == draw(1)).all()
    assert (draw(1) != draw(2)).all()
    before = torch.get_rng_state()
    draw(3)
    assert (torch.get_rng_state() == before).all()  # the global generator is left alone
    generator = torch.Generator().manual_seed(1)
    first = sample_mixture(*mixture, generator=generator)
    assert (first != sample_mixture(*mixture, generator=generator)).all()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lead", [(), (1,), (2, 5), (0,)])
def test_sample_shapes(lead: tuple[int, ...], dtype: torch.dtype, temperature: float) -> None:
    mixture = parts(*lead, 3, 4, dtype=dtype)
    copies = [part.clone() for part in mixture]
    z = sample_mixture(*mixture, temperature)
    assert z.shape == (*lead, 3)
    assert z.dtype == dtype
    assert all((part == copy).all() for part, copy in zip(mixture, copies, strict=True))


@given(st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4), st.floats(0, 10), st.integers(0, 2**31))
def test_samples_are_finite(log_weights: list[float], temperature: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_pi = torch.log_softmax(torch.tensor([log_weights]), dim=-1)
    mu = torch.arange(4.0)[None]
    z = sample_mixture(log_pi, mu, torch.full((1, 4), -30.0), temperature, generator)
    assert (abs(z - mu) < 1e-5).any()  # one of the components, and nothing between them


def test_mean() -> None:
    mixture = parts(6, 3, 4)
    torch.testing.assert_close(mixture_mean(*mixture[:2]), distribution(*mixture).mean)
    assert mixture_mean(*two_modes(0.5)[:2]).item() == pytest.approx(0.5)  # where no mode is


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.sampled_from([(), (1,), (3,), (2, 5)]))
def test_head(inputs: int, dims: int, components: int, lead: tuple[int, ...]) -> None:
    head = MDNHead(inputs, dims, components)
    assert sum(p.numel() for p in head.parameters()) == 3 * dims * components * (inputs + 1)
    features = 50 * torch.randn(*lead, inputs)
    log_pi, mu, log_sigma = head(features)
    assert log_pi.shape == mu.shape == log_sigma.shape == (*lead, dims, components)
    torch.testing.assert_close(log_pi.exp().sum(-1), torch.ones(*lead, dims))
    assert log_sigma.abs().max() <= LOG_SIGMA_BOUND == 5
    assert mixture_nll(torch.randn(*lead, dims), log_pi, mu, log_sigma).isfinite().all()
    # The layer's outputs are log-weights, means and log σ, in this order.
    out = (features @ head.linear.weight.T + head.linear.bias).reshape(*lead, 3, dims * components)
    flat = [part.flatten(-2) for part in (log_pi, mu, log_sigma)]
    torch.testing.assert_close(log_pi, torch.log_softmax(out[..., 0, :].unflatten(-1, (dims, components)), -1))
    torch.testing.assert_close(flat[1], out[..., 1, :])
    torch.testing.assert_close(flat[2], 5 * torch.tanh(out[..., 2, :] / 5))


def test_a_large_sigma_still_has_a_gradient() -> None:
    head = MDNHead(1, 1, 1)
    torch.nn.init.zeros_(head.linear.weight)
    slopes = []
    for s in (0.0, 12.0):
        with torch.no_grad():
            head.linear.bias.copy_(torch.tensor([0.0, 0.0, s]))
        log_sigma = head(torch.zeros(1))[2]
        slopes.append(torch.autograd.grad(log_sigma.sum(), head.linear.bias)[0][2].item())
    assert slopes[0] == pytest.approx(1)  # 5·tanh(s/5) is s near zero
    assert slopes[1] == pytest.approx(1 - math.tanh(12 / 5) ** 2, rel=1e-3)


def test_a_head_learns_two_futures() -> None:
    """From a constant input, targets -1 and +1: the mixture finds both, where a single Gaussian can only widen."""
    target = torch.tensor([-1.0, 1.0]).repeat(32)[:, None]
    losses = []
    for components in (1, 2):
        head = MDNHead(1, 1, components)
        adam = torch.optim.Adam(head.parameters(), lr=0.05)
        for _ in range(200):
            loss = mixture_nll(target, *head(torch.ones(64, 1))).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(0.5 * math.log(2 * math.pi) + 0.5, abs=0.02)  # N(0, 1) is the best Gaussian
    assert losses[1] < 0


def test_bad_input() -> None:
    one, other = torch.zeros(3, 2), torch.zeros(3, 4)
    for mixture in [(one, one, other), (one, other, one), (other, one, one), (one[0], one[0], one[0])]:
        with pytest.raises(ValueError, match=r"one shape \(\.\.\., Z, K\)"):
            mixture_nll(torch.zeros(3), *mixture)
        with pytest.raises(ValueError, match=r"one shape \(\.\.\., Z, K\)"):
            sample_mixture(*mixture)
    empty = torch.zeros(3, 0)
    with pytest.raises(ValueError, match=r"got \(3, 0\), \(3, 0\), \(3, 0\)"):
        sample_mixture(empty, empty, empty)
    with pytest.raises(ValueError, match="one shape"):
        mixture_mean(one, other)
    for shape in [(2,), (3, 1), (1, 3), ()]:
        with pytest.raises(ValueError, match=r"target needs \(3,\), without K"):
            mixture_nll(torch.zeros(shape), one, one, one)
    for temperature in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"0 or more: got {temperature}"):
            sample_mixture(one, one, one, temperature)
    for sizes in [(0, 1, 1), (1, 0, 1), (1, 1, 0)]:
        with pytest.raises(ValueError, match="at least 1: got {}, {} and {}".format(*sizes)):
            MDNHead(*sizes)
