"""The update by hand, the noise by its covariance, and the optimisers on functions whose optima are known."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from wmcourse.cross_entropy_method import (
    CEM,
    ICEM,
    MPPI,
    CategoricalCEM,
    cem_update,
    colour_noise,
    coloured_noise,
    correlated_noise,
)
from wmcourse.model_predictive_control import Plan, Planner, RandomShooting, Score

GAUSSIAN: dict[str, Callable[..., CEM]] = {"CEM": CEM, "iCEM": ICEM, "MPPI": partial(MPPI, temperature=0.01)}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bowl(top: Tensor) -> Score:
    """Highest at ``top``, (L, A) or one for each world (W, 1, L, A)."""
    return lambda plans: -(plans - top).square().sum(dim=(2, 3))


class Watched:
    """A score that keeps the plans it was asked for."""

    def __init__(self, score: Score) -> None:
        self.score, self.seen = score, list[Tensor]()

    def __call__(self, plans: Tensor) -> Tensor:
        self.seen.append(plans.clone())
        return self.score(plans)

    @property
    def evaluations(self) -> int:
        return sum(plans.shape[1] for plans in self.seen)


# The update


def test_update_by_hand() -> None:
    candidates, scores = torch.tensor([1.0, 9.0, 2.0, 6.0]), torch.tensor([5.0, -1.0, 7.0, 6.0])
    mean, std = cem_update(candidates, scores, 3, torch.tensor(1.0), torch.tensor(2.0), alpha=0.25)
    assert mean.item() == pytest.approx(0.75 * 1 + 0.25 * 3)  # the elites are 2, 6, 1
    assert std.item() == pytest.approx(0.75 * 2 + 0.25 * math.sqrt((1 + 9 + 4) / 3))


def test_update_of_several_worlds_equals_each_alone() -> None:
    candidates, scores = torch.randn(3, 10, 4, 2), torch.randn(3, 10)
    mean, std = torch.randn(3, 4, 2), torch.rand(3, 4, 2)
    together = cem_update(candidates, scores, 4, mean, std, 0.6, 0.1)
    for w in range(3):
        order = sorted(range(10), key=lambda n: -float(scores[w, n]))[:4]
        chosen = torch.stack([candidates[w, n] for n in order])
        by_hand = 0.4 * mean[w] + 0.6 * chosen.sum(0) / 4
        torch.testing.assert_close(together[0][w], by_hand)
        spread = ((chosen - chosen.mean(0)).square().sum(0) / 4).sqrt()
        torch.testing.assert_close(together[1][w], (0.4 * std[w] + 0.6 * spread).clamp(min=0.1))
        alone = cem_update(candidates[w], scores[w], 4, mean[w], std[w], 0.6, 0.1)
        torch.testing.assert_close(alone, (together[0][w], together[1][w]))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_a_share_of_the_start_survives_each_update(alpha: float) -> None:
    start = torch.tensor([2.0, -3.0])
    mean, std = start, start.abs()
    for i in range(1, 6):
        mean, std = cem_update(torch.zeros(5, 2), torch.randn(5), 3, mean, std, alpha)
        torch.testing.assert_close(mean, (1 - alpha) ** i * start)
        torch.testing.assert_close(std, (1 - alpha) ** i * start.abs())


def test_without_smoothing_it_is_maximum_likelihood() -> None:
    """No other mean or std gives the elites a higher likelihood."""
    candidates, scores = torch.randn(50, 3, dtype=torch.float64), torch.randn(50)
    mean, std = cem_update(candidates, scores, 10, torch.full((3,), 9.0), torch.full((3,), 9.0))
    elites = candidates[scores.argsort(descending=True)[:10]]

    def likelihood(mean: Tensor, std: Tensor) -> Tensor:
        return torch.distributions.Normal(mean, std).log_prob(elites).sum()

    best = likelihood(mean, std)
    for other in (0.99, 1.01):
        assert likelihood(mean * other, std) < best
        assert likelihood(mean, std * other) < best


def test_the_floor_is_under_the_std_alone() -> None:
    mean, std = cem_update(torch.zeros(4, 2), torch.zeros(4), 2, torch.ones(2), torch.ones(2), 1.0, min_std=0.3)
    assert mean.tolist() == [0, 0]
    assert std.tolist() == pytest.approx([0.3, 0.3])


def test_nan_and_minus_infinity_lose() -> None:
    candidates = torch.tensor([1.0, 100.0, 3.0, 100.0, 100.0, 100.0])
    scores = torch.tensor([-1e30, math.nan, -5.0, math.nan, -math.inf, math.nan])
    mean, std = cem_update(candidates, scores, 2, torch.tensor(0.0), torch.tensor(1.0))
    assert (mean.item(), std.item()) == (2, 1)
    mean, std = cem_update(candidates, torch.full((6,), math.nan), 2, torch.tensor(0.0), torch.tensor(1.0))
    assert mean.isfinite()
    assert std.isfinite()


numbers = st.lists(st.floats(-4, 4, width=32), min_size=8, max_size=8)
ranks = st.permutations(range(8))
TRANSFORMS: list[Callable[[Tensor], Tensor]] = [torch.exp, lambda s: s**3, lambda s: 1e6 * s - 7, torch.atan]


@given(numbers, ranks, st.integers(1, 8), st.sampled_from(TRANSFORMS))
def test_only_the_order_of_the_scores_counts(
    values: list[float], order: list[int], elites: int, transform: Callable[[Tensor], Tensor]
) -> None:
    candidates, scores = torch.tensor(values), torch.tensor(order, dtype=torch.float64) - 3
    start = torch.tensor(0.5), torch.tensor(1.5)
    one = cem_update(candidates, scores, elites, *start, alpha=0.7)
    two = cem_update(candidates, transform(scores), elites, *start, alpha=0.7)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


@given(numbers, ranks, ranks, st.integers(1, 8))
def test_the_order_of_the_candidates_does_not_count(
    values: list[float], order: list[int], shuffle: list[int], elites: int
) -> None:
    candidates, scores = torch.tensor(values, dtype=torch.float64), torch.tensor(order, dtype=torch.float64)
    start = torch.tensor(0.5, dtype=torch.float64), torch.tensor(1.5, dtype=torch.float64)
    one = cem_update(candidates, scores, elites, *start)
    two = cem_update(candidates[shuffle], scores[shuffle], elites, *start)
    torch.testing.assert_close(one, two)


@given(numbers, ranks, st.integers(1, 8), st.floats(0.1, 3), st.floats(-3, 3))
def test_the_search_does_not_depend_on_units(
    values: list[float], order: list[int], elites: int, scale: float, shift: float
) -> None:
    candidates, scores = torch.tensor(values, dtype=torch.float64), torch.tensor(order)
    mean, std = torch.tensor(0.5, dtype=torch.float64), torch.tensor(1.5, dtype=torch.float64)
    one = cem_update(candidates, scores, elites, mean, std, alpha=0.7)
    two = cem_update(scale * candidates + shift, scores, elites, scale * mean + shift, scale * std, alpha=0.7)
    torch.testing.assert_close(two, (scale * one[0] + shift, scale * one[1]))


def test_update_refuses_what_does_not_fit() -> None:
    x, s, m = torch.zeros(5, 2), torch.zeros(5), torch.zeros(2)
    for candidates, scores, mean, std in [
        (x, torch.zeros(4), m, m),
        (x, s, torch.zeros(3), m),
        (x, s, m, torch.zeros(1)),
        (x, s, torch.zeros(()), m),
        (x, torch.tensor(0.0), m, m),
        (torch.zeros(3, 5, 2), torch.zeros(3, 5), m, m),
    ]:
        with pytest.raises(ValueError, match="candidates, scores, mean, std must be"):
            cem_update(candidates, scores, 1, mean, std)
    for elites in (0, 6):
        with pytest.raises(ValueError, match=f"elites must be 1 to 5 .*: got {elites}"):
            cem_update(x, s, elites, m, m)
    for alpha in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=f"alpha 0 to 1: got 2 and {alpha}"):
            cem_update(x, s, 2, m, m, alpha)


# The noise


@pytest.mark.parametrize("rho", [0.0, 0.7, 0.95])
def test_correlated_noise_has_unit_variance_and_forgets_by_rho(rho: float) -> None:
    n = 40_000
    noise = correlated_noise((n, 5, 2), rho, seeded())
    flat = noise.permute(2, 1, 0).reshape(10, n).double()
    steps = torch.arange(5)
    one = rho ** (steps[:, None] - steps).abs().double()
    expected = torch.block_diag(one, one)  # the two numbers of an action know nothing of each other
    assert flat.mean(dim=1).abs().max() < 5 / n**0.5
    torch.testing.assert_close(torch.cov(flat), expected, atol=5 * (2 / n) ** 0.5, rtol=0)


def coloured_covariance(steps: int, exponent: float) -> Tensor:
    """From the definition: power 1/f^exponent at each of the ``steps`` frequencies, scaled to a variance of 1."""
    power = [(max(min(k, steps - k), 1) / steps) ** -exponent for k in range(steps)]
    rows = [
        [sum(p * math.cos(2 * math.pi * k * (t - u) / steps) for k, p in enumerate(power)) for u in range(steps)]
        for t in range(steps)
    ]
    return torch.tensor(rows, dtype=torch.float64) / sum(power)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("steps", [2, 3, 8, 9, 12])
def test_coloured_noise_has_exactly_its_covariance(
    steps: int, exponent: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The noise is linear in white noise: its answers to one unit impulse after another give the covariance."""
    impulses = torch.eye(steps, dtype=torch.float64)[..., None]
    monkeypatch.setattr(torch, "randn", lambda *args, **kwargs: impulses)
    answers = coloured_noise((steps, steps, 1), exponent)[..., 0]
    torch.testing.assert_close(answers.T @ answers, coloured_covariance(steps, exponent), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("steps", [7, 12])
def test_coloured_noise_has_unit_variance_in_samples(steps: int) -> None:
    n = 20_000
    noise = coloured_noise((n, steps, 2), 2.0, seeded())
    assert noise.shape == (n, steps, 2)
    variance = noise.var(dim=0)
    torch.testing.assert_close(variance, torch.ones_like(variance), atol=5 * (2 / n) ** 0.5, rtol=0)
    assert (noise[..., 0] * noise[..., 1]).mean().abs() < 0.02


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_the_spectrum_falls_with_the_exponent(exponent: float) -> None:
    noise = coloured_noise((2000, 64, 1), exponent, seeded())[..., 0]
    power = torch.fft.rfft(noise).abs().square().mean(dim=0)[1:]
    x, y = torch.arange(1.0, 33).log(), power.log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    assert slope.item() == pytest.approx(-exponent, abs=0.05)


def test_colouring_keeps_the_numbers_of_coloured_noise() -> None:
    white = torch.randn((3, 9, 2), generator=seeded())
    assert torch.equal(colour_noise(white, 2.0), coloured_noise((3, 9, 2), 2.0, seeded()))
    assert torch.equal(white, torch.randn((3, 9, 2), generator=seeded()))  # not changed in place
    torch.testing.assert_close(colour_noise(white, 0.0), white)


def test_noise_of_a_single_step_is_white() -> None:
    white = torch.randn((3, 1, 2), generator=seeded())
    assert torch.equal(coloured_noise((3, 1, 2), 2.0, seeded()), white)
    assert torch.equal(correlated_noise((3, 1, 2), 0.9, seeded()), white)


# The optimisers


def rosenbrock(plans: Tensor) -> Tensor:
    """A bent valley; highest, 0, at 1 everywhere."""
    x = plans.flatten(2)
    return -(100 * (x[..., 1:] - x[..., :-1].square()).square() + (1 - x[..., :-1]).square()).sum(dim=-1)


def rastrigin(plans: Tensor) -> Tensor:
    """A bowl full of waves; highest, 0, at 0.5 everywhere."""
    x = plans.flatten(2) - 0.5
    return -(x.square() + 0.3 * (1 - torch.cos(2 * math.pi * x))).sum(dim=-1)


@pytest.mark.parametrize("objective", [rosenbrock, rastrigin])
@pytest.mark.parametrize(
    "planner",
    [
        CEM(3, 2, candidates=80, iterations=5, elites=10, min_std=0.01, low=-2, high=2),
        ICEM(3, 2, candidates=100, iterations=5, elites=10, exponent=0.0, low=-2, high=2),
        MPPI(3, 2, candidates=100, iterations=4, temperature=0.5, low=-2, high=2),
    ],
    ids=["CEM", "iCEM", "MPPI"],
)
def test_beats_random_shooting_for_equal_evaluations(planner: CEM, objective: Score) -> None:
    watched = Watched(objective)
    plan = planner.plan(watched, worlds=40, generator=seeded())
    assert watched.evaluations <= 400
    chance = RandomShooting(3, 2, 400, low=-2, high=2).plan(objective, worlds=40, generator=seeded(1))
    reached = objective(plan.actions[:, None])[:, 0]
    gain = reached - chance.score
    assert gain.mean() > 3 * gain.std() / 40**0.5
    assert reached.median() > 0.5 * chance.score.median()  # both are negative


@pytest.mark.parametrize("name", GAUSSIAN)
def test_worlds_side_by_side_each_find_their_own_optimum(name: str) -> None:
    tops = torch.tensor([[0.5, -0.5], [-0.7, 0.1], [0.0, 0.8]]).view(3, 1, 2, 1)
    planner = GAUSSIAN[name](2, 1, candidates=200, iterations=6, init_std=0.6)
    plan = planner.plan(bowl(tops), worlds=3, generator=seeded())
    torch.testing.assert_close(plan.actions, tops[:, 0], atol=0.05, rtol=0)
    moved = tops.clone()
    moved[1] = 0.9
    other = planner.plan(bowl(moved), worlds=3, generator=seeded())
    assert torch.equal(other.actions[[0, 2]], plan.actions[[0, 2]])  # to the bit: no world sees another
    assert not torch.equal(other.actions[1], plan.actions[1])


@pytest.mark.parametrize("name", GAUSSIAN)
def test_actions_stay_within_bounds(name: str) -> None:
    watched = Watched(lambda plans: plans[..., 0].sum(dim=2) - plans[..., 1].sum(dim=2))
    planner = GAUSSIAN[name](3, 2, candidates=100, iterations=4, low=2.0, high=5.0)
    plan = planner.plan(watched, generator=seeded())
    for plans in [*watched.seen, plan.actions, plan.mean, plan.elites]:
        assert plans.min() >= 2
        assert plans.max() <= 5
    assert plan.actions[..., 0].min() > 4.3  # each number goes to its own end
    assert plan.actions[..., 1].max() < 2.7


@pytest.mark.parametrize("name", GAUSSIAN)
def test_the_first_population_is_centred_and_as_wide_as_asked(name: str) -> None:
    watched = Watched(bowl(torch.zeros(6, 2)))
    planner = GAUSSIAN[name](6, 2, candidates=4000, iterations=2, init_std=0.2, low=0, high=10)
    planner.plan(watched, generator=seeded())
    first = watched.seen[0]
    assert first.mean().item() == pytest.approx(5, abs=0.1)
    assert first.std().item() == pytest.approx(0.2 * 5, rel=0.05)


@pytest.mark.parametrize("name", GAUSSIAN)
def test_the_warm_start_is_where_the_search_begins(name: str) -> None:
    top = torch.tensor([[0.9], [-0.9], [0.9], [-0.9]])
    warm = Plan(top[None], torch.zeros(1), top[None], top[None, None])
    watched = Watched(bowl(top))
    planner = GAUSSIAN[name](4, 1, candidates=20, iterations=1, init_std=0.1)
    plan = planner.plan(watched, warm, generator=seeded())
    assert (watched.seen[0] - top).abs().max() < 0.5
    if name != "MPPI":
        assert torch.equal(plan.actions[0], top)  # tried itself, and nothing is better
    afresh = planner.plan(bowl(top), generator=seeded())
    assert plan.score > afresh.score
    assert torch.equal(warm.actions[0], top)  # the caller's tensor is left alone


@pytest.mark.parametrize("name", ["CEM", "iCEM"])
def test_the_score_is_that_of_the_best_plan_ever_tried(name: str) -> None:
    watched = Watched(rastrigin)
    # A search so wide that the best is often found early.
    planner = GAUSSIAN[name](3, 2, candidates=12, iterations=6, elites=5, min_std=0.8, low=-2.0, high=2.0)
    plan = planner.plan(watched, worlds=8, generator=seeded())
    torch.testing.assert_close(plan.score, rastrigin(plan.actions[:, None])[:, 0])
    best = torch.cat([rastrigin(plans) for plans in watched.seen], dim=1).amax(dim=1)
    assert torch.equal(plan.score, best)
    assert torch.equal(plan.elites[:, 0], plan.actions)
    order = rastrigin(plan.elites)
    assert (order.diff(dim=1) <= 0).all()


def test_the_categorical_score_is_that_of_the_best_plan_ever_tried() -> None:
    watched = Watched(matches([3, 0, 2, 2, 1, 0], 4))
    plan = CategoricalCEM(6, 4, candidates=8, iterations=8, floor=1.0).plan(watched, worlds=8, generator=seeded())
    best = torch.cat([watched.score(plans) for plans in watched.seen], dim=1).amax(dim=1)
    assert torch.equal(plan.score, best)
    assert torch.equal(watched.score(plan.actions[:, None])[:, 0], best)


def test_no_mean_of_ends_rounds_beyond_the_end() -> None:
    """Almost all plans are at one end or the other, so the best are at one end exactly."""
    for name in GAUSSIAN:
        for candidates in range(20, 80):
            planner = GAUSSIAN[name](1, 1, candidates=candidates, init_std=1e3, low=2.0, high=4.9)
            watched = Watched(lambda plans: plans.sum(dim=(2, 3)))
            plan = planner.plan(watched, generator=seeded())
            assert max(float(plans.max()) for plans in [*watched.seen, plan.actions]) <= torch.tensor(4.9)


def test_evaluations() -> None:
    cem, icem = Watched(rastrigin), Watched(rastrigin)
    CEM(3, 2, candidates=40, iterations=4, elites=4).plan(cem, generator=seeded())
    assert [plans.shape[1] for plans in cem.seen] == [40, 40, 40, 40]
    planner = ICEM(3, 2, candidates=40, iterations=4, elites=8, kept=3, decay=1.5)
    plan = planner.plan(icem, generator=seeded())
    assert [plans.shape[1] for plans in icem.seen] == [40, 26 + 3, 17 + 3, 16 + 3]  # 16 are two for each elite
    assert icem.evaluations < cem.evaluations
    warm = Watched(rastrigin)
    planner.plan(warm, plan.shifted(), generator=seeded())
    assert warm.seen[0].shape[1] == 40 + 3
    assert torch.equal(warm.seen[0][:, :3], plan.shifted().elites[:, :3])


def test_icem_keeps_its_elites_and_tries_the_mean_last() -> None:
    watched = Watched(rastrigin)
    planner = ICEM(3, 2, candidates=30, iterations=3, elites=5, kept=2, alpha=1.0)
    planner.plan(watched, generator=seeded())
    for before, after in zip(watched.seen, watched.seen[1:], strict=False):
        order = rastrigin(before).argsort(dim=1, descending=True)[0]
        assert torch.equal(after[0, :2], before[0, order[:2]])
    order = rastrigin(watched.seen[1]).argsort(dim=1, descending=True)[0, :5]
    torch.testing.assert_close(watched.seen[2][0, -1], watched.seen[1][0, order].mean(dim=0))


def test_mppi_is_the_mean_weighted_by_exp_of_the_scores() -> None:
    watched = Watched(rastrigin)
    plan = MPPI(3, 2, candidates=50, temperature=0.3).plan(watched, generator=seeded())
    (plans,) = watched.seen
    weights = [math.exp(float(score) / 0.3) for score in rastrigin(plans)[0]]
    expected = sum(w * p for w, p in zip(weights, plans[0].double(), strict=True)) / sum(weights)
    torch.testing.assert_close(plan.actions[0].double(), expected, atol=1e-5, rtol=0)
    assert plan.mean is plan.actions
    mean_score = sum(w * float(s) for w, s in zip(weights, rastrigin(plans)[0], strict=True)) / sum(weights)
    assert plan.score.item() == pytest.approx(mean_score, rel=1e-5)


def test_mppi_from_cold_to_hot() -> None:
    """At a temperature near 0 the best plan is all, at a high one all plans are equal."""
    watched = Watched(rastrigin)
    cold = MPPI(3, 2, candidates=50, temperature=1e-6).plan(watched, generator=seeded())
    best = watched.seen[0][0, rastrigin(watched.seen[0])[0].argmax()]
    torch.testing.assert_close(cold.actions[0], best)
    hot = MPPI(3, 2, candidates=50, temperature=1e6).plan(rastrigin, generator=seeded())
    torch.testing.assert_close(hot.actions[0], watched.seen[0][0].mean(dim=0), atol=1e-5, rtol=0)


def test_mppi_halves_its_std() -> None:
    watched = Watched(lambda plans: torch.zeros(plans.shape[:2]))
    MPPI(2, 1, candidates=4000, iterations=3, init_std=0.4).plan(watched, generator=seeded())
    assert [float(plans.std()) for plans in watched.seen] == pytest.approx([0.4, 0.2, 0.1], rel=0.05)


@pytest.mark.parametrize(
    "planner",
    [
        CEM(3, 1, candidates=1, elites=1),
        ICEM(3, 1, candidates=1, elites=1, kept=1),
        ICEM(3, 1, candidates=1, elites=1, kept=0),
        MPPI(3, 1, candidates=1, iterations=3),
        CategoricalCEM(3, 2, candidates=1, elites=1),
    ],
    ids=lambda planner: type(planner).__name__,
)
def test_one_candidate_is_enough(planner: Planner) -> None:
    plan = planner.plan(rastrigin, worlds=2, generator=seeded())
    again = planner.plan(rastrigin, plan.shifted(), worlds=2, generator=seeded())
    for actions in (plan.actions, again.actions, again.mean):
        assert actions.shape[:2] == (2, 3)
        assert actions.isfinite().all()


ALL: dict[str, Callable[[], Planner]] = {
    "CEM": lambda: CEM(3, 2),
    "iCEM": lambda: ICEM(3, 2),
    "MPPI": lambda: MPPI(3, 2, iterations=3),
    "categorical": lambda: CategoricalCEM(3, 2),
}


@pytest.mark.parametrize("value", [math.nan, -math.inf, math.inf])
@pytest.mark.parametrize("name", ALL)
def test_scores_that_say_nothing_give_finite_actions(name: str, value: float) -> None:
    def score(plans: Tensor) -> Tensor:
        return torch.full(plans.shape[:2], value)

    plan = ALL[name]().plan(score, worlds=2, generator=seeded())
    warm = ALL[name]().plan(score, plan.shifted(), worlds=2, generator=seeded())
    for actions in (plan.actions, plan.mean, plan.elites, warm.actions, warm.mean):
        assert actions.isfinite().all()
        assert actions.abs().max() <= 1
    assert not plan.score.isnan().any()


@pytest.mark.parametrize("name", ALL)
def test_the_generator_decides_everything(name: str) -> None:
    one, two, other = (ALL[name]().plan(rastrigin, worlds=2, generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(one.actions, two.actions)
    assert torch.equal(one.mean, two.mean)
    assert not torch.equal(one.mean, other.mean)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    ALL[name]().plan(rastrigin, generator=seeded())
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is not touched


def test_bad_settings() -> None:
    for sizes in [(0, 1), (1, 0)]:
        with pytest.raises(ValueError, match="sizes of at least 1"):
            CEM(sizes[0], sizes[1])
    for planner in (CEM, ICEM, CategoricalCEM):
        for change in ({"iterations": 0}, {"elites": 0}, {"elites": 65}, {"candidates": 0}):
            with pytest.raises(ValueError, match="sizes of at least 1"):
                planner(2, 2, **change)
        with pytest.raises(ValueError, match="alpha"):
            planner(2, 2, alpha=1.5)
    cem: list[dict[str, Any]] = [{"correlation": 1.0}, {"correlation": -0.1}, {"init_std": 0.0}, {"min_std": -0.1}]
    for wrong in cem:
        with pytest.raises(ValueError, match="correlation in"):
            CEM(2, 2, **wrong)
    with pytest.raises(ValueError, match="low < high"):
        CEM(2, 2, low=1, high=1)
    icem: list[dict[str, Any]] = [{"decay": 0.9}, {"kept": 9}, {"kept": -1}]
    for wrong in icem:
        with pytest.raises(ValueError, match="iCEM needs"):
            ICEM(2, 2, **wrong)
    with pytest.raises(ValueError, match="temperature above 0, not 0"):
        MPPI(2, 2, temperature=0)
    with pytest.raises(ValueError, match="floor"):
        CategoricalCEM(2, 2, floor=1.5)
    with pytest.raises(ValueError, match="at least 1"):
        CategoricalCEM(2, 0)


# Discrete actions


def matches(target: list[int], choices: int) -> Score:
    """How many steps agree with ``target``."""
    wanted = torch.nn.functional.one_hot(torch.tensor(target), choices)
    return lambda plans: (plans * wanted).sum(dim=(2, 3))


def test_categorical_finds_the_one_best_of_4096_sequences() -> None:
    target = [3, 0, 2, 2, 1, 0]
    watched = Watched(matches(target, 4))
    plan = CategoricalCEM(6, 4, candidates=64, iterations=6).plan(watched, worlds=3, generator=seeded())
    assert watched.evaluations == 384
    assert plan.actions.argmax(dim=-1).tolist() == [target] * 3
    assert plan.score.tolist() == [6, 6, 6]
    assert plan.mean.argmax(dim=-1).tolist() == [target] * 3
    for plans in [*watched.seen, plan.actions, plan.elites]:
        assert set(plans.unique().tolist()) == {0, 1}
        assert (plans.sum(dim=-1) == 1).all()


def test_categorical_update_by_hand() -> None:
    watched = Watched(matches([0, 1], 2))
    plan = CategoricalCEM(2, 2, candidates=8, iterations=1, elites=3, alpha=0.8, floor=0.1).plan(
        watched, generator=seeded()
    )
    order = watched.score(watched.seen[0])[0].topk(3).indices
    frequency = watched.seen[0][0, order].mean(dim=0)
    torch.testing.assert_close(plan.mean[0], 0.9 * (0.2 * 0.5 + 0.8 * frequency) + 0.1 * 0.5)


def test_the_floor_keeps_every_choice_alive() -> None:
    planner = CategoricalCEM(4, 5, candidates=50, iterations=30, elites=2, alpha=1.0, floor=0.2)
    plan = planner.plan(matches([0, 1, 2, 3], 5), generator=seeded())
    assert plan.mean.min().item() == pytest.approx(0.2 / 5)
    torch.testing.assert_close(plan.mean.sum(dim=-1), torch.ones(1, 4))
    dead = CategoricalCEM(4, 5, candidates=50, iterations=30, elites=2, alpha=1.0, floor=0.0)
    assert dead.plan(matches([0, 1, 2, 3], 5), generator=seeded()).mean.min() == 0


def test_categorical_draws_by_its_probabilities_and_uses_the_warm_start() -> None:
    planner, nothing = CategoricalCEM(2, 4, candidates=4000, iterations=1), matches([0, 0], 4)
    fresh = Watched(nothing)
    planner.plan(fresh, generator=seeded())
    torch.testing.assert_close(fresh.seen[0].mean(dim=1), torch.full((1, 2, 4), 0.25), atol=0.035, rtol=0)
    best = torch.nn.functional.one_hot(torch.tensor([[2, 3]]), 4).float()
    warm = Watched(nothing)
    planner.plan(warm, Plan(best, torch.zeros(1), best, best[:, None]), generator=seeded())
    torch.testing.assert_close(warm.seen[0].mean(dim=1), 0.125 + 0.5 * best, atol=0.035, rtol=0)
    assert torch.equal(warm.seen[0][:, 0], best)  # and it is tried itself
