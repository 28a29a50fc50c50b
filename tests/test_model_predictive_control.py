"""Scores against a slow loop, planners against optima that are known, the regulator against least squares."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from wmcourse.cross_entropy_method import CEM, ICEM, MPPI, CategoricalCEM
from wmcourse.model_predictive_control import (
    MPC,
    GradientPlanner,
    Plan,
    Planner,
    RandomShooting,
    Score,
    State,
    best_of,
    finite_scores,
    riccati,
    score_plans,
)

PLANNERS: dict[str, Callable[[], Planner]] = {
    "random shooting": lambda: RandomShooting(3, 2, 64),
    "gradient": lambda: GradientPlanner(3, 2),
    "CEM": lambda: CEM(3, 2),
    "iCEM": lambda: ICEM(3, 2),
    "MPPI": lambda: MPPI(3, 2),
    "categorical": lambda: CategoricalCEM(3, 2),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def toy_step(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
    """A world of two state tensors that differ in shape, in which every number matters."""
    x, v = state
    v = 0.9 * v + action[:, :1] - 0.3 * action[:, 1:]
    x = x + torch.cat([v, v.square()], dim=1)
    return (x, v), x.sum(dim=1).sin() + action[:, 1], torch.sigmoid(x[:, 0] - 1)


def toy_value(state: State) -> Tensor:
    return state[0][:, 1] - state[1][:, 0]


def slow_score(state: State, plans: Tensor, discount: float, terminal: bool) -> Tensor:
    """The definition, one plan and one step at a time."""
    scores = torch.zeros(plans.shape[:2], dtype=plans.dtype)
    for w in range(plans.shape[0]):
        for n in range(plans.shape[1]):
            s: State = tuple(part[w : w + 1] for part in state)
            alive, total = 1.0, 0.0
            for t in range(plans.shape[2]):
                s, reward, done = toy_step(s, plans[w, n, t][None])
                total += discount**t * alive * float(reward)
                alive *= 1 - float(done)
            if terminal:
                total += discount ** plans.shape[2] * alive * float(toy_value(s))
            scores[w, n] = total
    return scores


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("discount", [1.0, 0.8])
@pytest.mark.parametrize(("worlds", "candidates", "horizon"), [(3, 5, 4), (1, 6, 1), (4, 1, 3)])
def test_scores_equal_a_slow_loop(worlds: int, candidates: int, horizon: int, discount: float, terminal: bool) -> None:
    plans = torch.randn(worlds, candidates, horizon, 2, dtype=torch.float64)
    state = (torch.randn(worlds, 2, dtype=torch.float64), torch.randn(worlds, 1, dtype=torch.float64))
    scores = score_plans(toy_step, state, plans, discount, toy_value if terminal else None)
    assert scores.shape == (worlds, candidates)
    torch.testing.assert_close(scores, slow_score(state, plans, discount, terminal))


def test_the_state_that_the_last_action_reaches_counts() -> None:
    def step(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        x = state[0] + action[:, 0]
        return (x,), x, torch.zeros_like(x)

    scores = score_plans(step, (torch.tensor([10.0]),), torch.tensor([[[[1.0], [2.0]], [[1.0], [5.0]]]]))
    assert scores.tolist() == [[11 + 13, 11 + 16]]


def test_who_dies_gets_this_reward_but_no_later_one() -> None:
    def step(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        return state, torch.ones(len(action)), action[:, 0]  # the action is the chance to die

    plans = torch.tensor([[[[1.0], [0.0], [0.0]], [[0.0], [1.0], [0.0]], [[0.5], [0.5], [0.0]], [[0.0], [0.0], [0.0]]]])
    assert score_plans(step, (torch.zeros(1),), plans).tolist() == [[1.0, 2.0, 1.75, 3.0]]
    value = score_plans(step, (torch.zeros(1),), plans, 0.5, lambda state: torch.full((4,), 8.0))
    assert value.tolist() == [[1.0, 1.5, 1 + 0.25 + 0.0625 + 0.25, 1.75 + 1.0]]


def test_the_caller_s_state_and_plans_are_left_alone() -> None:
    plans, state = torch.randn(2, 3, 4, 2), (torch.randn(2, 2), torch.randn(2, 1))
    before = [t.clone() for t in (plans, *state)]
    score_plans(toy_step, state, plans)
    for now, then in zip((plans, *state), before, strict=True):
        assert torch.equal(now, then)


def test_bad_shapes() -> None:
    state = (torch.zeros(2, 2), torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"Plans must be \(W, N, L, A\).*\(3, 4, 2\)"):
        score_plans(toy_step, state, torch.zeros(3, 4, 2))
    with pytest.raises(ValueError, match=r"states \(W, ...\)"):
        score_plans(toy_step, state, torch.zeros(3, 5, 4, 2))
    with pytest.raises(ValueError, match=r"states \(W, ...\)"):
        score_plans(toy_step, (state[0], torch.zeros(3, 1)), torch.zeros(2, 5, 4, 2))


def test_finite_scores() -> None:
    scores = finite_scores(torch.tensor([math.nan, -math.inf, math.inf, -2.0]))
    assert scores.tolist() == [-math.inf, -math.inf, math.inf, -2.0]


@pytest.mark.parametrize("name", PLANNERS)
def test_nan_loses_in_every_planner(name: str) -> None:
    """Half of all plans score NaN; the answer is not one of them, and no worse than what the other half offers."""

    def score(plans: Tensor) -> Tensor:
        first = plans[..., 0, 0]
        return torch.where(first < 0.4, torch.nan, -(first - 0.6).square() - plans[..., 1, :].square().sum(-1))

    plan = PLANNERS[name]().plan(score, worlds=2, generator=seeded())
    assert plan.actions.isfinite().all()
    assert plan.score.isfinite().all()
    assert (plan.actions[:, 0, 0] >= 0.4).all()


@pytest.mark.parametrize("name", PLANNERS)
def test_every_planner_has_the_same_shapes_and_repeats_itself(name: str) -> None:
    def score(plans: Tensor) -> Tensor:
        return -(plans - 0.3).square().sum(dim=(2, 3))

    planner = PLANNERS[name]()
    plan = planner.plan(score, worlds=2, generator=seeded(5))
    assert plan.actions.shape == plan.mean.shape == (2, 3, 2)
    assert plan.score.shape == (2,)
    assert plan.elites.shape == (2, plan.elites.shape[1], 3, 2)
    again = planner.plan(score, worlds=2, generator=seeded(5))
    for one, two in zip(plan, again, strict=True):
        assert torch.equal(one, two)
    warm = planner.plan(score, plan.shifted(), worlds=2, generator=seeded(6))
    assert warm.actions.shape == (2, 3, 2)


def test_shifted_repeats_the_last_action_and_take_selects_worlds() -> None:
    actions = torch.arange(12.0).view(2, 3, 2)
    plan = Plan(actions, torch.tensor([1.0, 2.0]), actions + 100, torch.stack([actions, actions + 50], dim=1))
    later = plan.shifted()
    assert later.actions.tolist() == [[[2, 3], [4, 5], [4, 5]], [[8, 9], [10, 11], [10, 11]]]
    assert torch.equal(later.mean, later.actions + 100)
    assert torch.equal(later.elites[:, 1], later.actions + 50)
    assert torch.equal(later.score, plan.score)
    swapped = plan.take(torch.tensor([1, 0]))
    assert torch.equal(swapped.actions, actions.flip(0))
    assert swapped.score.tolist() == [2.0, 1.0]
    assert plan.take(torch.tensor([1])).elites.shape == (1, 2, 3, 2)
    one = Plan(*(part[..., :1, :] if part.dim() > 1 else part for part in plan))
    assert torch.equal(one.shifted().actions, one.actions)


class Recorder:
    """A planner that notes its warm starts and answers with numbers that tell the call, the world and the step."""

    def __init__(self) -> None:
        self.warm: list[Plan | None] = []

    def plan(
        self, score: Score, warm: Plan | None = None, worlds: int = 1, generator: torch.Generator | None = None
    ) -> Plan:
        self.warm.append(warm)
        actions = 100.0 * len(self.warm) + 10 * torch.arange(worlds)[:, None, None] + torch.arange(3.0)[None, :, None]
        return Plan(actions, torch.zeros(worlds), actions, actions[:, None])


def no_score(plans: Tensor) -> Tensor:
    return torch.zeros(plans.shape[:2])


def test_mpc_does_the_first_action_and_starts_from_the_shifted_rest() -> None:
    planner = Recorder()
    mpc = MPC(planner)
    assert mpc.act(no_score, worlds=2).tolist() == [[100.0], [110.0]]
    assert planner.warm == [None]
    assert mpc.act(no_score, worlds=2).tolist() == [[200.0], [210.0]]
    warm = planner.warm[1]
    assert warm is not None
    assert warm.actions[..., 0].tolist() == [[101, 102, 102], [111, 112, 112]]


def test_mpc_keeps_the_worlds_that_go_on_and_forgets_on_reset() -> None:
    planner = Recorder()
    mpc = MPC(planner)
    mpc.keep(torch.tensor([0]))  # nothing to keep yet
    mpc.act(no_score, worlds=3)
    mpc.keep(torch.tensor([0, 2]))
    mpc.act(no_score, worlds=2)
    assert planner.warm[1] is not None
    assert planner.warm[1].actions[:, 0, 0].tolist() == [101, 121]
    mpc.reset()
    mpc.act(no_score, worlds=5)
    assert planner.warm[2] is None


def test_mpc_without_warm_start_begins_afresh() -> None:
    planner = Recorder()
    mpc = MPC(planner, warm_start=False)
    for _ in range(3):
        mpc.act(no_score)
    assert planner.warm == [None, None, None]


def test_best_of() -> None:
    plans = torch.arange(8.0).view(2, 4, 1, 1)
    plan = best_of(plans, torch.tensor([[0.0, 3.0, 2.0, 1.0], [9.0, -math.inf, 8.0, 7.0]]), elites=2)
    assert plan.elites.flatten(1).tolist() == [[1, 2], [4, 6]]
    assert plan.actions.flatten().tolist() == [1, 4]
    assert plan.score.tolist() == [3, 9]
    assert plan.mean.flatten().tolist() == [1.5, 5]


def test_random_shooting_takes_the_best_of_uniform_plans() -> None:
    seen: list[Tensor] = []

    def score(plans: Tensor) -> Tensor:
        seen.append(plans)
        return plans.sum(dim=(2, 3))

    plan = RandomShooting(4, 2, 500, low=-3, high=1).plan(score, worlds=3, generator=seeded())
    (plans,) = seen
    assert plans.shape == (3, 500, 4, 2)
    assert -3 <= plans.min() < -2.99
    assert 0.99 < plans.max() <= 1
    assert plans.mean().item() == pytest.approx(-1, abs=5 * 4 / math.sqrt(12 * plans.numel()))
    assert plans.var().item() == pytest.approx(16 / 12, rel=0.05)
    for w in range(3):
        index = int(plans[w].sum(dim=(1, 2)).argmax())
        assert torch.equal(plan.actions[w], plans[w, index])
        assert plan.score[w] == plans[w, index].sum()


def test_random_shooting_also_tries_the_warm_start() -> None:
    best = torch.full((1, 4, 1), 0.25)
    warm = Plan(best, torch.zeros(1), best, best[:, None])
    plan = RandomShooting(4, 1, 10).plan(lambda p: -(p - 0.25).square().sum(dim=(2, 3)), warm, generator=seeded())
    assert torch.equal(plan.actions, best)


def test_gradient_planner_climbs_to_the_top_of_each_world() -> None:
    top = torch.tensor([[[0.5], [-0.3]], [[0.9], [0.2]]])  # (W, L, A)
    curvature = torch.tensor([1.0, 5.0])[:, None]

    def score(plans: Tensor) -> Tensor:
        return -((plans - top[:, None]).square() * curvature).sum(dim=(2, 3))

    with torch.no_grad():  # as the caller's, who plans and does not train
        plan = GradientPlanner(2, 1, iterations=150, rate=0.05).plan(score, worlds=2, generator=seeded())
    torch.testing.assert_close(plan.actions, top, atol=1e-3, rtol=0)
    assert not plan.actions.requires_grad
    assert torch.equal(plan.score, score(plan.actions[:, None])[:, 0])


def test_gradient_planner_stays_within_bounds() -> None:
    def score(plans: Tensor) -> Tensor:
        assert plans.min() >= 2
        assert plans.max() <= 4
        return plans[..., 0].sum(dim=2) - plans[..., 1].sum(dim=2)

    plan = GradientPlanner(3, 2, iterations=60, low=2, high=4).plan(score, generator=seeded())
    assert plan.actions[0].tolist() == [[4, 2]] * 3


def test_gradient_planner_never_ends_below_its_warm_start() -> None:
    """Adam's first steps are as long as its rate, however near the top is."""
    top = torch.tensor([0.3, -0.2]).view(1, 2, 1)
    warm = Plan(top + 1e-3, torch.zeros(1), top, top[:, None])

    def score(plans: Tensor) -> Tensor:
        return -(plans - top).square().sum(dim=(2, 3))

    plan = GradientPlanner(2, 1, candidates=1, iterations=4).plan(score, warm, generator=seeded())
    assert plan.score >= score(warm.actions[:, None])[:, 0]


def test_gradients_that_are_not_finite_do_no_harm() -> None:
    """The score is NaN for plans that start below zero, and its slope infinite for those at zero exactly."""

    def score(plans: Tensor) -> Tensor:
        return plans[..., 0, 0].sqrt() - (plans[..., 1, 0] - 0.4).square()

    plan = GradientPlanner(2, 1, candidates=16, iterations=100).plan(score, worlds=2, generator=seeded())
    torch.testing.assert_close(plan.actions[..., 0], torch.tensor([[1.0, 0.4]] * 2), atol=0.02, rtol=0)
    alone = GradientPlanner(2, 1, candidates=1, iterations=100).plan(score, generator=seeded())
    torch.testing.assert_close(alone.actions[0, :, 0], torch.tensor([0.0, 0.4]), atol=0.02, rtol=0)


def test_the_best_plan_on_the_way_survives_a_walk_into_the_unknown() -> None:
    """Up to 0.25 the slope is 1, beyond it all is NaN, and momentum carries the plan there."""

    def score(plans: Tensor) -> Tensor:
        x = plans[..., 0, 0]
        return x * torch.where(x > 0.25, torch.nan, 1.0)

    plan = GradientPlanner(1, 1, candidates=1, iterations=10, rate=0.1).plan(score, generator=seeded())
    assert plan.actions.item() == pytest.approx(0.2)
    assert plan.score.item() == pytest.approx(0.2)


def test_bad_sizes() -> None:
    for sizes in [(0, 1, 1), (1, 0, 1), (1, 1, 0)]:
        with pytest.raises(ValueError, match="at least 1"):
            RandomShooting(*sizes)
        with pytest.raises(ValueError, match="at least 1"):
            GradientPlanner(*sizes)
    with pytest.raises(ValueError, match="low < high"):
        RandomShooting(1, 1, 1, low=1, high=1)
    with pytest.raises(ValueError, match="low < high"):
        GradientPlanner(1, 1, low=1, high=-1)
    eye = torch.eye(2)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        riccati(eye, eye, eye, eye, 0)


# The linear-quadratic regulator: a cart with friction, whose best plan is known exactly.

A = torch.tensor([[1.0, 0.5], [0.0, 0.9]])
B = torch.tensor([[0.1], [0.5]])
Q, R = torch.tensor([[1.0, 0.2], [0.2, 0.5]]), torch.tensor([[0.3]])
START = torch.tensor([1.0, -0.5])


def lqr_cost(a: Tensor, b: Tensor, q: Tensor, r: Tensor, start: Tensor, actions: Tensor) -> Tensor:
    """Σ (sᵀQs + uᵀRu) + s_LᵀQs_L by simulation, actions (L, U)."""
    s, cost = start, torch.zeros((), dtype=start.dtype)
    for u in actions:
        cost = cost + s @ q @ s + u @ r @ u
        s = a @ s + b @ u
    return cost + s @ q @ s


@pytest.mark.parametrize(("states", "inputs", "horizon"), [(2, 1, 6), (3, 2, 4), (1, 2, 1)])
def test_riccati_equals_least_squares_in_all_actions(states: int, inputs: int, horizon: int) -> None:
    g = seeded(states)
    a, b = (torch.randn(states, n, generator=g, dtype=torch.float64) for n in (states, inputs))
    root_q, root_r = (torch.randn(n, n, generator=g, dtype=torch.float64) for n in (states, inputs))
    q, r = root_q.T @ root_q, root_r.T @ root_r + 0.1 * torch.eye(inputs, dtype=torch.float64)
    root_r = torch.linalg.cholesky(r).T  # root_rᵀ root_r = R
    start = torch.randn(states, generator=g, dtype=torch.float64)
    # cost = |M u + c|² with the rows of Q^½ s_t and R^½ u_t one below the other
    free, driven = start, torch.zeros(states, horizon * inputs, dtype=torch.float64)
    rows, constants = [root_q @ driven], [root_q @ free]
    for t in range(horizon):
        driven, free = a @ driven, a @ free
        driven[:, t * inputs : (t + 1) * inputs] += b
        rows.append(root_q @ driven)
        constants.append(root_q @ free)
    rows.append(torch.block_diag(*[root_r] * horizon))
    constants.append(torch.zeros(horizon * inputs, dtype=torch.float64))
    m, c = torch.cat(rows), torch.cat(constants)
    best = torch.linalg.lstsq(m, -c[:, None]).solution[:, 0]
    gains, values = riccati(a, b, q, r, horizon)
    assert gains.shape == (horizon, inputs, states)
    assert values.shape == (horizon + 1, states, states)
    s, actions = start, []
    for gain in gains:
        actions.append(-gain @ s)
        s = a @ s + b @ actions[-1]
    torch.testing.assert_close(torch.cat(actions), best)
    torch.testing.assert_close(start @ values[0] @ start, (m @ best + c).square().sum())


def test_riccati_values_are_the_cost_to_go_from_each_step() -> None:
    gains, values = riccati(A, B, Q, R, 5)
    torch.testing.assert_close(values, values.mT)
    assert torch.equal(values[5], Q)
    for t in range(5):
        s, actions = START, []
        for gain in gains[t:]:
            actions.append(-gain @ s)
            s = A @ s + B @ actions[-1]
        torch.testing.assert_close(START @ values[t] @ START, lqr_cost(A, B, Q, R, START, torch.stack(actions)))


def lqr_score(state: Tensor) -> Score:
    """The regulator's cost as a score, through ``score_plans``; state (W, 2)."""

    def step(state: State, action: Tensor) -> tuple[State, Tensor, Tensor]:
        (s,) = state
        effort = ((action @ R) * action).sum(dim=1)
        s = s @ A.T + action @ B.T
        return (s,), -effort - ((s @ Q) * s).sum(dim=1), torch.zeros(len(s))

    return lambda plans: score_plans(step, (state,), plans)


@pytest.mark.parametrize(
    ("planner", "regret"),
    [
        (CEM(8, 1, candidates=256, iterations=10, elites=32, min_std=0.01, low=-3, high=3), 0.02),
        (ICEM(8, 1, 256, iterations=10, elites=24, exponent=1, decay=1, init_std=0.4, low=-3, high=3), 0.04),
        (MPPI(8, 1, candidates=1000, iterations=5, init_std=0.3, low=-3, high=3), 0.08),
        (GradientPlanner(8, 1, iterations=100, low=-3, high=3), 0.01),
    ],
    ids=["CEM", "iCEM", "MPPI", "gradient"],
)
def test_planners_approach_the_regulator(planner: Planner, regret: float) -> None:
    _, values = riccati(A, B, Q, R, 8)
    starts = torch.stack([START, torch.tensor([-0.8, 1.0]), torch.tensor([0.3, 0.9])])
    plan = planner.plan(lqr_score(starts), worlds=3, generator=seeded())
    for start, actions in zip(starts, plan.actions, strict=True):
        least = float(start @ values[0] @ start)
        cost = float(lqr_cost(A, B, Q, R, start, actions))
        assert least - 1e-5 <= cost <= least * (1 + regret)


def test_looking_again_beats_an_open_loop_under_noise() -> None:
    """32 noisy worlds: plan 8 steps once and carry them out, or plan anew at every step."""
    steps, worlds = 8, 32
    noise = 0.3 * torch.randn(steps, worlds, 2, generator=seeded(1))
    planner = CEM(8, 1, candidates=128, iterations=5, elites=16, init_std=0.4, min_std=0.02, low=-3, high=3)
    generator = seeded()
    open_plan = planner.plan(lqr_score(START.repeat(worlds, 1)), worlds=worlds, generator=generator)
    mpc = MPC(planner)
    gains, _ = riccati(A, B, Q, R, 50)

    def play(policy: Callable[[int, Tensor], Tensor]) -> Tensor:
        s, cost = START.repeat(worlds, 1), torch.zeros(worlds)
        for t in range(steps):
            u = policy(t, s)
            s = s @ A.T + u @ B.T + noise[t]
            cost += ((s @ Q) * s).sum(dim=1) + ((u @ R) * u).sum(dim=1)
        return cost

    open_loop = play(lambda t, s: open_plan.actions[:, t])
    receding = play(lambda t, s: mpc.act(lqr_score(s), worlds, generator))
    regulator = play(lambda t, s: -s @ gains[0].T)
    gain = open_loop - receding
    assert gain.mean() > 5 * gain.std() / worlds**0.5
    assert receding.mean() < 1.05 * regulator.mean()
