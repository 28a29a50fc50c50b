"""What lesson 08 measures with: means over episodes, horizons, and which way a hazard went."""

from __future__ import annotations

import math

import numpy as np
import torch

from wmcourse.lessons.mdn_rnn.experiment import SHOWN, OpenLoop, per_step, side, useful


def test_steps_count_alike_and_episodes_are_the_draws() -> None:
    episode = np.repeat([0, 1, 2], [2, 3, 5])
    values, where = np.arange(10.0), np.ones(10, bool)
    where[9] = False
    mean, error = per_step(values, where, episode)
    assert mean == values[:9].mean()
    off = np.array([values[:2].sum() - 2 * mean, values[2:5].sum() - 3 * mean, values[5:9].sum() - 4 * mean])
    assert math.isclose(error, math.sqrt((off**2).sum() * 3 / 2) / 9)
    _, twice = per_step(np.tile(values, 2), np.tile(where, 2), np.concatenate([episode, episode + 3]))
    assert twice < error  # more episodes, less error


def test_a_dream_is_useful_until_it_reaches_the_baseline() -> None:
    horizons = (1, 2, 4, 8)
    dream = np.tile([1.0, 2.0, 4.0, 8.0], (20, 1))
    world = np.arange(20) // 2
    found = useful(dream, np.full((20, 4), 6.0), world, horizons)
    assert (found.steps, found.low, found.high) == (6.0, 6.0, 6.0)
    never = useful(dream, np.full((20, 4), 9.0), world, horizons)
    assert math.isinf(never.steps)
    assert "more than 8" in str(never)
    dream[0, 2:] = np.nan  # an episode that was over
    assert useful(dream, np.full((20, 4), 6.0), world, horizons).steps == 6.0


def test_endlessly_many_dreams_have_no_spread_of_their_own() -> None:
    rng = np.random.default_rng(0)
    dreams, real = rng.normal(1, 2, (4, 50_000, 1)), np.zeros((50_000, 1))
    one, average = ((dreams - real) ** 2).mean(0), (dreams.mean(0) - real) ** 2
    loop = OpenLoop(one, average, one, one, 4)
    assert abs(loop.endless.mean() - 1) < 0.05  # the squared bias
    assert abs(loop.spread.mean() - 4) < 0.05  # the variance


def test_a_hazard_under_the_band_is_left_or_right_of_where_it_came_from() -> None:
    frames = torch.zeros(3, 32, 32)
    frames[0, 20:24, 8:12] = 1
    frames[1, 20:24, 20:24] = 1
    frames[2, 20:24, 14:18] = 1
    assert side(frames, 16.0).tolist() == [1.0, -1.0, 0.0]
    assert list(SHOWN) == sorted(SHOWN)
