"""Lesson 09's experiments: where model and world agree, they must agree exactly."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from wmcourse.lessons import open_lesson
from wmcourse.lessons.errors import WrongAnswer
from wmcourse.lessons.model_predictive_control.experiment import (
    UPRIGHT,
    Pendulums,
    dodge_moment,
    exactly,
    fan,
    follow,
    linear_step,
    quadratic,
    regret,
    wrong_score,
)
from wmcourse.lessons.model_predictive_control.widgets import balancing
from wmcourse.lessons.pendulum import pendulum_motion, pendulum_score
from wmcourse.model_predictive_control import riccati, score_plans


def test_a_model_that_is_not_wrong_scores_as_the_right_one_does() -> None:
    plans = 3 * torch.randn(3, 4, 6, 1, generator=torch.Generator().manual_seed(0))
    state = (torch.tensor([3.0, 0.1, -2.0]), torch.tensor([0.5, -1.0, 7.9]))
    right, wrong = wrong_score(state, torch.ones(3))(plans), wrong_score(state, torch.full((3,), 1.1))(plans)
    torch.testing.assert_close(right, pendulum_score(state)(plans))
    assert not torch.allclose(right, wrong)


def test_a_plan_is_followed_as_the_pendulum_moves() -> None:
    torques = 3 * torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    angle, velocity = torch.tensor([math.pi, 0.2]), torch.zeros(2)
    path = follow(angle, velocity, torques, torch.ones(2))
    for t in range(5):
        angle, velocity = pendulum_motion(angle, velocity, torques[:, t].clamp(-2, 2))
        torch.testing.assert_close(path[:, t + 1], torch.stack([angle, velocity], dim=1))


def test_the_exact_controller_has_no_regret_and_its_cost_is_riccatis() -> None:
    gains, values = riccati(*UPRIGHT, 300)
    assert abs(regret(exactly(gains), values[0], steps=30, starts=5)).max() < 1e-9
    s = torch.tensor([[0.1, -0.3]], dtype=torch.float64)
    plan, now = [], s
    for gain in gains[-10:]:
        plan.append(-now @ gain.T)
        (now,), _, _ = linear_step((now,), plan[-1])
    score = score_plans(linear_step, (s,), torch.stack(plan, dim=1)[:, None], terminal_value=quadratic(UPRIGHT[2]))
    torch.testing.assert_close(score, -(s @ values[-11] @ s.T))


def test_who_starts_in_the_same_place_meets_the_same_noise() -> None:
    world = Pendulums([4, 7, 4], motor_noise=0.5)
    seen, reward = world(torch.zeros(3, 1))
    assert torch.equal(seen[0], seen[2])
    assert reward[0] == reward[2]
    assert not torch.equal(seen[0], seen[1])


def test_near_the_top_feedback_forgives_thirty_percent() -> None:
    for error in (-0.3, -0.1, 0.0, 0.1, 0.3):
        loops = balancing(error, 0.0)
        assert loops["closed"][2] < 0.9
        assert loops["open"][2] > 1.2
        assert abs(loops["closed"][0][-1]) < 1e-3


def test_a_plan_is_drawn_to_the_step_at_which_it_is_hit() -> None:
    plans = fan(dodge_moment(), 12)
    assert 0 < plans.alive.sum() < len(plans.alive)
    assert (plans.end[plans.alive] == 12).all()
    ended = plans.end[~plans.alive]
    assert ((ended >= 1) & (ended <= 12)).all()
    assert fan(dodge_moment(), int(ended.min()) - 1).alive.all()


def test_with_a_true_model_and_a_quiet_motor_both_loops_do_the_same() -> None:
    loops = balancing(0.0, 0.0, steps=20)
    torch.testing.assert_close(torch.tensor(loops["open"][0]), torch.tensor(loops["closed"][0]))
    assert balancing(0.0, 0.3)["open"][1][-1] > 100 * balancing(0.0, 0.3)["closed"][1][-1]


def test_a_slope_that_is_left_in_the_given_plan_is_named() -> None:
    """It passes at its first call, and adds up from the second call on: the check must see what is left behind."""

    def by_backward_into_what_was_given(motion: Any, reward: Any, state: Tensor, plan: Tensor, noise: Tensor) -> Any:
        plan = plan.requires_grad_()
        future, total = state.expand(len(noise), -1), torch.zeros(())
        for t, step in enumerate(plan):
            action = step.expand(len(noise), -1)
            mu, log_sigma = motion(future, action)
            future = mu + log_sigma.exp() * noise[:, t]
            total = total + reward(future, action)
        value = total.mean()
        value.backward()
        return value.detach(), plan.grad

    with pytest.raises(WrongAnswer, match=r"slopes that add up.*\.grad.*the `plan` that was given"):
        open_lesson("09").exercises["plan_slope"].judge(by_backward_into_what_was_given)
