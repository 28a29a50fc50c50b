"""Lesson 07's experiment: what its text takes for granted about Dodge's forks, and its honest errors."""

import math

import numpy as np
import pytest
import torch

from wmcourse.lessons.memories import play
from wmcourse.lessons.mixture_density_networks.experiment import (
    AHEAD,
    COLUMNS,
    distance_to_uniform,
    either_way,
    find_forks,
    fork_data,
    fork_entropy,
    futures_seen,
    mean_and_error,
    normal_density,
    two_futures,
)
from wmcourse.lessons.mixture_density_networks.widgets import at_the_fork
from wmcourse.worlds.dodge import BAND_SHADE, draw


def test_every_fork_goes_to_one_of_two_places() -> None:
    recording = play(16, 200, seed=3)
    forks = find_forks(recording, 200)
    assert len(forks.step) > 60
    left, right = two_futures(forks.column.numpy())
    moved = forks.moved.numpy()
    assert np.minimum(abs(moved - left), abs(moved - right)).max() < 1e-3
    assert 0.3 < (abs(moved - left) < abs(moved - right)).mean() < 0.7
    noise = fork_data(forks, 0).target[:, 0] - forks.moved
    assert noise.abs().max() <= 0.5
    assert not recording.ended[forks.step[:, None] + torch.arange(AHEAD)].any()
    # A hidden hazard shows nothing: the frame below and at the band has no light but the agent's and older hazards'.
    assert all((recording.frames[row, 0, 12:17] == BAND_SHADE).all() for row in forks.step.tolist())


def test_the_least_loss_of_a_fork() -> None:
    assert fork_entropy(np.array([16.0])) == pytest.approx(math.log(2))
    left, right = two_futures(COLUMNS)
    assert left.shape == right.shape == COLUMNS.shape
    assert fork_entropy(np.array([2.0])) == pytest.approx(math.log(2) * min(1, abs(float(right[0] - left[0]))))


def test_rows_of_one_world_count_once() -> None:
    values, world = torch.randn(400, generator=torch.Generator().manual_seed(0)), torch.arange(400)
    mean, error = mean_and_error(values, world)
    assert mean == pytest.approx(values.mean().item(), abs=1e-6)
    assert error == pytest.approx(values.std().item() / 20, rel=1e-3)
    again = mean_and_error(values.repeat(4), world.repeat(4))  # each row four times: no new knowledge
    assert again == pytest.approx((mean, error), rel=1e-6)


def test_uniform_ranks() -> None:
    assert distance_to_uniform((np.arange(1000) + 0.5) / 1000) == pytest.approx(0.0005)
    assert distance_to_uniform(np.full(10, 0.5)) == pytest.approx(0.5)


def test_what_is_seen_below_the_band() -> None:
    pictures, column = torch.zeros(4, 32, 32), torch.full((4,), 16.0)
    pictures[0, 23:27, 8:12] = 1
    pictures[1, 23:27, 20:24] = 1
    pictures[2, 23:27, 8:12] = pictures[2, 23:27, 20:24] = 1
    np.testing.assert_allclose(futures_seen(pictures, column), 0.25)


def test_the_other_future_is_the_one_that_the_world_would_have_shown() -> None:
    state, futures = at_the_fork()
    left, right = (torch.from_numpy(draw(future)[0, ..., 0]).float() for future in futures)
    assert not torch.equal(left, right)
    for frame in (left, right):
        for mine, real in zip(either_way(frame, float(state.hazard_x[0, 0])), (left, right), strict=True):
            torch.testing.assert_close(mine, real)


def test_densities_of_any_temperature_are_densities() -> None:
    z = np.linspace(-30, 30, 6001)
    parts = (np.log([0.3, 0.7]), np.array([-2.0, 3.0]), np.array([0.1, -0.5]))
    for tau in (0.3, 1.0, 2.0):
        assert np.trapezoid(normal_density(z, parts, tau).sum(0), z) == pytest.approx(1, abs=1e-6)
