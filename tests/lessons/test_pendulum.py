"""The pendulum that lessons 09 and 10 plan with is Gymnasium's."""

import math

import torch

from wmcourse.lessons.pendulum import apart_from_gymnasium, pendulum_cost, pendulum_score, pendulum_step
from wmcourse.model_predictive_control import score_plans


def test_one_step_is_gymnasiums() -> None:
    state, reward = apart_from_gymnasium(500)
    assert state < 1e-12
    assert reward < 1e-12


def test_the_quick_score_is_that_of_the_steps_with_the_last_state_counted() -> None:
    generator = torch.Generator().manual_seed(0)
    plans = 3 * torch.randn(2, 5, 7, 1, generator=generator, dtype=torch.float64)  # beyond the limits, too
    state = (torch.tensor([3.0, -0.2], dtype=torch.float64), torch.tensor([0.5, 7.9], dtype=torch.float64))

    def last(after: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return -pendulum_cost(*after)

    torch.testing.assert_close(
        pendulum_score(state)(plans), score_plans(pendulum_step, state, plans, terminal_value=last)
    )


def test_upright_and_at_rest_costs_nothing_and_hanging_the_most() -> None:
    zero = torch.zeros(1)
    assert pendulum_cost(zero, zero) == 0
    assert pendulum_cost(zero + 2 * math.pi, zero) < 1e-10
    torch.testing.assert_close(pendulum_cost(zero + math.pi, zero), torch.tensor([math.pi**2]))
