"""What lesson 08 measures with: means over episodes, horizons, and which way a hazard went."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from wmcourse.lessons.mdn_rnn.exercises import windows
from wmcourse.lessons.mdn_rnn.experiment import (
    APART,
    HORIZON,
    PAST,
    RECORDED,
    SHOWN,
    OpenLoop,
    Starts,
    copies,
    per_step,
    side,
    starts,
    states,
    useful,
    waits,
)
from wmcourse.lessons.memories import HELD_OUT, Sequences, play
from wmcourse.worlds.dodge import Rules, advance, draw


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


@pytest.fixture(scope="module")
def held_out() -> Sequences:
    data = play(*HELD_OUT)
    nothing = torch.zeros(len(data), 2)  # latents that nobody looks at
    return Sequences(**{**vars(data), "mu": nothing, "logvar": nothing})


@pytest.fixture(scope="module")
def moments(held_out: Sequences) -> Starts:
    return starts(held_out, windows)


def test_dreams_begin_in_every_phase_of_a_recording(moments: Starts) -> None:
    world, t = np.divmod(moments.steps[:, PAST].numpy(), RECORDED)
    assert len(np.unique(world)) == HELD_OUT[0]
    counts = np.bincount((t - PAST) % APART, minlength=APART)
    assert counts.min() > len(t) / APART / 2
    assert t.min() == PAST
    assert t.max() < RECORDED - HORIZON


def test_a_perfect_dream_is_reality_where_nothing_is_drawn_anew(held_out: Sequences, moments: Starts) -> None:
    now, frames = states(held_out, moments), []
    for push in moments.a[:, PAST:, 0].numpy().T:
        advance(now, push)
        frames.append(torch.from_numpy(draw(now)[..., 0] / 255))
    there = moments.there > 0
    assert torch.allclose(torch.stack(frames, dim=1).float()[there], moments.frames[there])


def test_a_perfect_model_does_not_know_when_the_next_hazard_comes(held_out: Sequences, moments: Starts) -> None:
    now = states(held_out, moments)
    fewest, most = waits(now, Rules())
    assert ((fewest <= now.countdown) & (now.countdown <= most)).all()
    place = (now.countdown - fewest + 0.5) / (most - fewest + 1)  # uniform, if each is as likely as another
    assert abs(place.mean() - 0.5) < 4 * math.sqrt(1 / 12 / len(place))


def test_perfect_dreams_part_and_die_as_often_as_reality(held_out: Sequences, moments: Starts) -> None:
    frames, alive = copies(held_out, moments, count=4)
    assert frames.shape == (4, len(moments), HORIZON, 32, 32)
    assert (frames[0] != frames[1]).any(-1).any(-1)[:, -1].float().mean() > 0.99
    known = ~moments.alive[:, 19].isnan()
    off = alive[:, known, 19].mean(0) - moments.alive[known, 19]
    mean, error = per_step(off.numpy(), np.ones(len(off), bool), moments.world[known].numpy())
    assert abs(mean) < 4 * error
