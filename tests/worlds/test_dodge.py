"""Dodge against a slow painter, hand-made states, a crowd of seeds and Gymnasium's own checker."""

import math
import warnings
from dataclasses import fields, replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st

import wmcourse  # noqa: F401 (makes the id known)
from wmcourse.worlds.dodge import (
    BAND_SHADE,
    GREY,
    NEXT_EPISODE,
    NIGHT,
    NOWHERE,
    ORANGE,
    SIZE,
    SKY,
    DodgeEnv,
    DodgeState,
    DodgeVectorEnv,
    Rules,
    advance,
    begin,
    coverage,
    draw,
    picture,
    uniform,
)
from wmcourse.worlds.errors import WorldError

RULES = Rules()
FIELDS = [f.name for f in fields(DodgeState)]


def seeds(count: int, first: int = 0) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.uint64)


def played(worlds: int = 20, steps: int = 40, first: int = 0) -> DodgeState:
    """States in the middle of things: hazards above, behind and under the band."""
    state, rng = begin(seeds(worlds, first)), np.random.default_rng(first)
    for _ in range(steps):
        advance(state, rng.uniform(-1, 1, worlds))
    return state


def one(**values: Any) -> DodgeState:
    """One world with no hazard in the air and none to come soon, but for ``values`` (slot 0)."""
    state = begin(seeds(1))
    state.countdown[:] = 1000
    for name, value in values.items():
        array = getattr(state, name)
        array[(0, 0) if array.ndim == 2 else 0] = value
    return state


def same(a: DodgeState, b: DodgeState, but: tuple[str, ...] = ()) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in FIELDS if name not in but)


# Gymnasium


def test_gymnasium_is_content() -> None:
    env = gym.make("wmcourse/Dodge-v0", render_mode="rgb_array")
    assert isinstance(env.unwrapped, DodgeEnv)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    env.close()
    for mode in (None, "vector_entry_point"):
        worlds = gym.make_vec("wmcourse/Dodge-v0", num_envs=3, vectorization_mode=mode)
        assert isinstance(worlds.unwrapped, DodgeVectorEnv)
        assert worlds.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
        worlds.reset(seed=1)
        worlds.step(worlds.action_space.sample())
        worlds.close()


def test_spaces_shapes_and_types() -> None:
    env, worlds = DodgeEnv(), DodgeVectorEnv(5)
    frame, info = env.reset(seed=3)
    assert (frame.shape, frame.dtype, info) == ((32, 32, 1), np.uint8, {})
    assert env.observation_space.contains(frame)
    assert env.action_space.shape == (1,)
    frame, reward, terminated, truncated, info = env.step(np.array([0.5]))
    assert env.observation_space.contains(frame)
    assert [type(value) for value in (reward, terminated, truncated)] == [float, bool, bool]
    frames, _ = worlds.reset(seed=3)
    assert (frames.shape, frames.dtype) == ((5, 32, 32, 1), np.uint8)
    assert worlds.observation_space.contains(frames)
    assert worlds.single_observation_space == env.observation_space
    assert worlds.single_action_space == env.action_space
    frames, rewards, terminateds, truncateds, info = worlds.step(worlds.action_space.sample())
    assert worlds.observation_space.contains(frames)
    assert (rewards.shape, rewards.dtype) == ((5,), np.float32)
    assert terminateds.shape == truncateds.shape == (5,)
    assert terminateds.dtype == truncateds.dtype == bool


def test_reset_repeats_and_varies() -> None:
    for env in (DodgeEnv(), DodgeVectorEnv(4)):
        first = env.reset(seed=11)[0]
        second = env.reset()[0]
        assert (first != second).any()
        assert (env.reset(seed=11)[0] == first).all()
        assert (env.reset()[0] == second).all()  # the seeds of later episodes follow from the seed too
        assert (env.reset(seed=12)[0] != first).any()


@pytest.mark.parametrize("rules", [RULES, Rules(max_steps=37, slots=2)])
def test_a_vector_of_worlds_plays_like_single_ones(rules: Rules) -> None:
    count, rng = 6, np.random.default_rng(0)
    worlds, singles = DodgeVectorEnv(count, rules=rules), [DodgeEnv(rules=rules) for _ in range(count)]
    frames, _ = worlds.reset(seed=50)
    for i, env in enumerate(singles):
        assert (env.reset(seed=50 + i)[0] == frames[i]).all()
    alive = set(range(count))
    while alive:
        actions = rng.uniform(-1, 1, (count, 1)).astype(np.float32)
        frames, rewards, terminated, truncated, info = worlds.step(actions)
        for i in list(alive):
            frame, *rest, _ = singles[i].step(actions[i])
            assert rest == [rewards[i], terminated[i], truncated[i]]
            ended = terminated[i] or truncated[i]
            assert (frame == (info["final_obs"] if ended else frames)[i]).all()
            if ended:
                alive.remove(i)


def test_lists_of_seeds() -> None:
    worlds = DodgeVectorEnv(3)
    frames, _ = worlds.reset(seed=[7, 9, 7])
    assert (frames[0] == frames[2]).all()
    assert (frames[0] == DodgeEnv().reset(seed=7)[0]).all()
    assert (frames[1] == DodgeEnv().reset(seed=9)[0]).all()
    worlds.reset(seed=[7, None, 7])
    assert worlds.state.seed[0] == worlds.state.seed[2] == 7
    assert worlds.state.seed[1] != 9


def test_luck_is_independent_of_neighbours() -> None:
    """World 0 sees the same alone and among seven, over the ends of several episodes."""
    alone, crowd, rng = DodgeVectorEnv(1), DodgeVectorEnv(7), np.random.default_rng(1)
    assert (alone.reset(seed=5)[0][0] == crowd.reset(seed=5)[0][0]).all()
    episodes = 0
    for _ in range(500):
        actions = rng.uniform(-1, 1, (7, 1)).astype(np.float32)
        a, b = alone.step(actions[:1]), crowd.step(actions)
        assert all((x[0] == y[0]).all() for x, y in zip(a[:4], b[:4], strict=True))
        episodes += a[2][0] or a[3][0]
    assert episodes >= 3


def test_an_ended_world_restarts_in_the_same_step() -> None:
    worlds, rng, ends = DodgeVectorEnv(16), np.random.default_rng(2), 0
    worlds.reset(seed=0)
    for _ in range(150):
        state = worlds.state.copy()
        actions = rng.uniform(-1, 1, (16, 1)).astype(np.float32)
        hit = advance(state, actions[:, 0])
        last = draw(state)
        frames, rewards, terminated, truncated, info = worlds.step(actions)
        assert (terminated == hit).all()
        assert (rewards == ~hit).all()
        assert not truncated.any()
        assert same(worlds.state.take(~hit), state.take(~hit))
        assert (frames[~hit] == last[~hit]).all()
        assert ("final_obs" in info) == hit.any()
        if hit.any():
            ends += hit.sum()
            assert (info["_final_obs"] == hit).all()
            assert (info["final_obs"][hit] == last[hit]).all()
            fresh = worlds.state.take(hit)
            assert (fresh.seed != state.seed[hit]).all()
            assert same(fresh, begin(fresh.seed))
            assert (frames[hit] == draw(fresh)).all()
    assert ends > 16
    assert len(set(worlds.state.seed.tolist())) == 16  # every world has an episode of its own


def test_a_world_does_not_play_one_episode_again_and_again() -> None:
    worlds, seen = DodgeVectorEnv(50, rules=Rules(max_steps=1)), set()
    worlds.reset(seed=0)
    for _ in range(100):
        worlds.step(np.zeros((50, 1)))
        seen |= set(worlds.state.seed.tolist())
    assert len(seen) == 5000


def test_a_mask_restarts_some_worlds() -> None:
    worlds, rng = DodgeVectorEnv(4), np.random.default_rng(3)
    worlds.reset(seed=0)
    for _ in range(10):
        worlds.step(rng.uniform(-1, 1, (4, 1)))
    before, mask = worlds.state.copy(), np.array([True, False, True, False])
    frames, _ = worlds.reset(seed=20, options={"reset_mask": mask})
    assert same(worlds.state.take(~mask), before.take(~mask))
    assert same(worlds.state.take(mask), begin(np.array([20, 22])))
    assert (frames == draw(worlds.state)).all()
    worlds.reset(seed=20, options={"reset_mask": [0, 1, 0, 0]})  # numbers are flags too, not indices
    assert worlds.state.seed.tolist() == [20, 21, 22, before.seed[3]]
    worlds.reset(seed=30, options={})
    assert worlds.state.seed.tolist() == [30, 31, 32, 33]


def test_truncation() -> None:
    rules = Rules(max_steps=5)
    env, worlds = DodgeEnv(rules=rules), DodgeVectorEnv(2, rules=rules)
    env.reset(seed=0)
    worlds.reset(seed=0)
    for t in range(1, 6):
        assert env.step(np.zeros(1))[1:4] == (1.0, False, t == 5)
        _, rewards, terminated, truncated, info = worlds.step(np.zeros((2, 1)))
        assert rewards.tolist() == [1, 1]
        assert terminated.tolist() == [False, False]
        assert truncated.tolist() == [t == 5] * 2
        assert ("final_obs" in info) == (t == 5)
    assert worlds.state.time.tolist() == [0, 0]


def test_a_hit_in_the_last_step_is_a_hit() -> None:
    env, worlds = DodgeEnv(rules=Rules(max_steps=1)), DodgeVectorEnv(1, rules=Rules(max_steps=1))
    env.reset(seed=0)
    worlds.reset(seed=0)
    for state in (env.state, worlds.state):
        state.hazard_x[0, 1], state.hazard_y[0, 1] = state.x[0], 28
    assert env.step(np.zeros(1))[1:4] == (0.0, True, False)
    _, rewards, terminated, truncated, _ = worlds.step(np.zeros((1, 1)))
    assert (rewards.item(), terminated.item(), truncated.item()) == (0, True, False)


def test_bad_input() -> None:
    env, worlds = DodgeEnv(), DodgeVectorEnv(3)
    env.reset(seed=0)
    worlds.reset(seed=0)
    before = worlds.state.copy()
    for action in (0.5, [], [[0.5]], [0.1, 0.2], [math.nan], [math.inf]):
        with pytest.raises(WorldError, match=r"one finite action, shape \(1,\)"):
            env.step(np.array(action))
    for actions in (0.5, [0.1, 0.2, 0.3], np.zeros((2, 1)), np.zeros((3, 2)), [[0.1], [math.nan], [0]]):
        with pytest.raises(WorldError, match=r"finite actions of shape \(3, 1\)"):
            worlds.step(np.array(actions))
    assert same(worlds.state, before)
    for count in (0, -1):
        with pytest.raises(WorldError, match=f"at least one world, not {count}"):
            DodgeVectorEnv(count)
    for bad in ([1, 2], [1, 2, 3, 4]):
        with pytest.raises(WorldError, match=f"one seed for each of its 3 worlds, not {len(bad)}"):
            worlds.reset(seed=bad)
    with pytest.raises(ValueError, match="broadcast"):
        worlds.reset(options={"reset_mask": [True, False]})


# States


def test_a_copy_has_the_same_future_and_leaves_the_original_alone() -> None:
    state, rng = played(), np.random.default_rng(4)
    kept, copy = state.copy(), state.copy()
    actions = rng.uniform(-1, 1, (60, 20))
    frames = [draw(copy) for action in actions if advance(copy, action) is not None]
    assert same(state, kept)
    again = [draw(state) for action in actions if advance(state, action) is not None]
    assert np.array_equal(frames, again)
    assert same(state, copy)
    assert not same(state, kept)


def test_every_field_is_copied() -> None:
    state = played()
    for other in (state.copy(), state.take(slice(None)), state.take(np.arange(20)), state.reseeded(state.seed)):
        assert same(state, other)
        assert not any(np.shares_memory(getattr(state, name), getattr(other, name)) for name in FIELDS)
        assert all(getattr(state, name).dtype == getattr(other, name).dtype for name in FIELDS)
    given_seeds = seeds(3)
    fresh = begin(given_seeds)
    fresh.put(np.array([True, True, False]), begin(seeds(2, 9)))
    assert given_seeds.tolist() == [0, 1, 2]


def test_advance_keeps_the_types() -> None:
    fresh, old = begin(seeds(20)), played()
    for name in FIELDS:
        assert getattr(fresh, name).dtype == getattr(old, name).dtype == np.dtype(type_of(name)), name


def type_of(name: str) -> type:
    whole = {"number": np.uint64, "hazards": np.uint64, "seed": np.uint64, "countdown": np.int32, "time": np.int32}
    return whole.get(name, np.float32)


def test_take_and_put() -> None:
    state = played()
    chosen = state.take(np.array([3, 3, 0]))
    assert len(chosen.x) == 3
    for name in FIELDS:
        assert np.array_equal(getattr(chosen, name), getattr(state, name)[[3, 3, 0]])
    mask = np.arange(20) % 7 == 2
    assert same(state.take(mask), state.take(np.array([2, 9, 16])))
    before = state.copy()
    state.put(mask, chosen)
    assert same(state.take(np.array([2, 9, 16])), chosen)
    assert same(state.take(~mask), before.take(~mask))


def test_another_seed_changes_only_what_is_still_open() -> None:
    """One hazard has turned, one has not, one is yet to come: the first flies on, the others differ."""
    state = one(countdown=9)
    state.hazard_x[0, :2], state.hazard_y[0, :2] = [6, 16], [20, 8]
    state.drift[0, 0], state.number[0, :2], state.hazards[0] = 1, [0, 1], 2
    many = state.take(np.zeros(500, int))
    other = many.reseeded(seeds(500, 1000))
    assert same(many, other, but=("seed",))
    assert (many.seed == 0).all()
    assert (draw(many) == draw(other)).all()
    for step in range(9):
        advance(other, np.full(500, 0.5))
        advance(state, np.full(1, 0.5))
        assert (other.x == state.x).all()
        assert (other.hazard_x[:, 0] == state.hazard_x[0, 0]).all()
        assert (other.hazard_y[:, :2] == state.hazard_y[0, :2]).all()
        if step < 8:
            assert (other.countdown == state.countdown).all()  # this gap was drawn long ago
    assert set(other.drift[:, 1].tolist()) == {-1, 1}
    assert (other.hazards == 3).all()
    assert other.hazard_x[:, 2].std() > 3
    assert set(other.countdown.tolist()) == {9, 10, 11, 12, 13}


# Physics


def test_the_start() -> None:
    state = begin(seeds(20_000))
    assert state.x.min() >= SIZE / 4
    assert state.x.max() <= SIZE * 3 / 4
    assert state.x.mean() == pytest.approx(SIZE / 2, abs=4 * SIZE / 2 / math.sqrt(12 * 20_000))
    assert (state.velocity == 0).all()
    assert (state.hazard_y == NOWHERE).all()
    frames = draw(state)
    assert (frames[:, :12] == 0).all()  # nothing to see but the band and the agent
    assert (frames[:, 17:29] == 0).all()


@pytest.mark.parametrize("throttle", [1.0, -1.0, 0.5])
def test_terminal_velocity(throttle: float) -> None:
    state = one()
    for _ in range(100):
        state.x[:] = SIZE / 2  # no walls
        advance(state, np.array([throttle]))
    assert state.velocity[0] == pytest.approx(throttle * RULES.power / (1 - RULES.friction), rel=1e-5)
    assert state.x[0] == pytest.approx(SIZE / 2 + state.velocity[0], rel=1e-6)


def test_friction_and_throttle() -> None:
    state = one(velocity=2.0, x=10.0)
    advance(state, np.array([0.0]))
    assert state.velocity[0] == pytest.approx(0.8 * 2)
    assert state.x[0] == pytest.approx(11.6)
    advance(state, np.array([0.5]))
    assert state.velocity[0] == pytest.approx(0.8 * 1.6 + 0.6 * 0.5)
    a, b = one(), one()
    advance(a, np.array([1.0]))
    advance(b, np.array([50.0]))  # the throttle ends at 1
    assert same(a, b)


@pytest.mark.parametrize(("throttle", "wall"), [(1.0, 29.5), (-1.0, 2.5)])
def test_walls_stop_the_agent(throttle: float, wall: float) -> None:
    state = one()
    for _ in range(40):
        advance(state, np.array([throttle]))
    assert state.x[0] == wall
    assert state.velocity[0] == 0
    advance(state, np.array([-throttle]))  # it does not have to work off a velocity first
    assert state.x[0] == pytest.approx(wall - throttle * RULES.power)


def test_hazards_fall_straight_and_turn_at_the_lower_edge_of_the_band() -> None:
    assert RULES.fork_row == RULES.band[1]
    state = begin(seeds(300))
    advance(state, np.zeros(300))
    assert (state.hazard_y[:, 0] == -2).all()  # just above the frame
    assert (state.drift == 0).all()
    for step in range(1, 30):
        x = state.hazard_x[:, 0].copy()
        advance(state, np.zeros(300))
        y = -2 + 1.5 * step
        assert (state.hazard_y[:, 0] == y).all()
        assert (abs(state.drift[:, 0]) == (y >= 17)).all()
        np.testing.assert_allclose(state.hazard_x[:, 0], x + state.drift[:, 0], atol=1e-5)


def test_a_hazard_turns_once() -> None:
    state = begin(seeds(100))
    state.hazard_x[:, 1], state.hazard_y[:, 1], state.drift[:, 1] = SIZE / 2, RULES.fork_row, 1
    advance(state, np.zeros(100))
    assert (state.drift[:, 1] == 1).all()


def test_walls_reflect_hazards() -> None:
    left, right = RULES.hazard / 2, SIZE - RULES.hazard / 2
    state = begin(seeds(400))
    state.countdown[:] = 1000
    state.hazard_x[:, 0] = np.linspace(left, right, 400)
    state.hazard_y[:, 0], state.drift[:, 0] = 20, np.where(np.arange(400) % 2, 1, -1)
    turns = 0
    for _ in range(100):
        before_x, before_drift = state.hazard_x[:, 0].copy(), state.drift[:, 0].copy()
        advance(state, np.zeros(400))
        x, drift = state.hazard_x[:, 0], state.drift[:, 0]
        assert x.min() >= left
        assert x.max() <= right
        np.testing.assert_allclose(x, before_x + drift, atol=1e-5)  # always at full speed
        free = before_x + before_drift
        assert ((drift == before_drift) == ((free >= left) & (free <= right))).all()
        turns += (drift != before_drift).sum()
    assert turns > 1000


@given(st.floats(2, 30), st.floats(2.5, 29.5), st.floats(10, 40))
def test_hit_where_boxes_overlap(hazard_x: float, x: float, y: float) -> None:
    state = one(hazard_x=hazard_x, x=x, hazard_y=y, drift=0)
    hit = advance(state, np.zeros(1))
    dx, dy = (float(state.hazard_x[0, 0] - state.x[0]), float(state.hazard_y[0, 0]) - 30.5)
    across = min(dx + 2, 2.5) - max(dx - 2, -2.5)  # how far the two intervals overlap
    down = min(dy + 2, 1.5) - max(dy - 2, -1.5)
    if min(abs(across), abs(down)) > 1e-4:
        assert hit.item() == (across > 0 and down > 0)


def test_hit_by_hand() -> None:
    for dx, y, expected in [(0, 25.4, False), (0, 25.6, True), (4.4, 28, True), (4.6, 28, False), (-4.4, 28, True)]:
        state = one(x=16, hazard_x=16 + dx, hazard_y=y)
        assert advance(state, np.zeros(1)).tolist() == [expected], (dx, y)
    state = one(x=16, hazard_x=16, hazard_y=32.6)  # it has passed
    assert not advance(state, np.zeros(1)).any()


@given(st.lists(st.floats(-1e30, 1e30) | st.floats(-1, 1), min_size=1, max_size=60), st.integers(0, 2**64 - 1))
def test_any_actions_keep_the_world_in_order(throttles: list[float], seed: int) -> None:
    state = begin(np.array([seed], np.uint64))
    for throttle in throttles:
        advance(state, np.array([throttle]))
        assert 2.5 <= state.x[0] <= 29.5
        assert abs(state.velocity[0]) <= 3.0001
        assert ((state.hazard_x >= 2) & (state.hazard_x <= 30)).all()
        assert all(np.isfinite(getattr(state, name)).all() for name in FIELDS)
        frame = draw(state)
        assert frame.shape == (1, 32, 32, 1)
        assert frame[0, 29:].max() > 150  # the agent is always to be seen
    assert state.time[0] == len(throttles)


# Luck


def chance(hits: np.ndarray, share: float) -> bool:
    """Is the number of ``hits`` what a coin of that ``share`` gives (four standard deviations)?"""
    return abs(hits.mean() - share) < 4 * math.sqrt(share * (1 - share) / hits.size)


def test_the_fork_is_fair() -> None:
    worlds, sides = 4000, []
    state = begin(seeds(worlds, 77))
    for _ in range(200):
        state.hazard_x[state.drift == 0] = SIZE / 2  # no walls
        before = state.drift.copy()
        advance(state, np.zeros(worlds))
        w, m = np.nonzero((before == 0) & (state.drift != 0))
        if len(w) == worlds and not sides:  # hazard 0 of every world forks in the same step
            sides.append(state.drift[:, 0] > 0)
        elif len(w):
            sides.append(state.drift[w, m] > 0)
            assert chance(sides[-1], 0.5)
    assert len(sides[0]) == worlds
    assert chance(np.concatenate(sides), 0.5)
    assert chance(sides[0][1:] == sides[0][:-1], 0.5)  # neighbours are no clue
    assert sum(map(len, sides)) > 15 * worlds


def test_sides_of_one_world_are_independent() -> None:
    worlds = 4000
    state, sides = begin(seeds(worlds)), np.zeros((worlds, 5))
    for _ in range(90):
        state.hazard_x[state.drift == 0] = SIZE / 2
        before = state.drift.copy()
        advance(state, np.zeros(worlds))
        w, m = np.nonzero((before == 0) & (state.drift != 0))
        early = state.number[w, m] < 5
        sides[w[early], state.number[w, m][early]] = state.drift[w, m][early]
    assert (abs(sides) == 1).all()
    for i in range(5):
        for j in range(i):
            assert chance(sides[:, i] == sides[:, j], 0.5)


def test_hazards_come_at_the_gaps_and_the_columns_of_the_rules() -> None:
    worlds, gaps, aims = 500, [], []
    state, last = begin(seeds(worlds)), np.zeros(500, int)
    state.x[:] = SIZE / 2
    for step in range(1, 200):
        before = state.hazards.copy()
        advance(state, np.zeros(worlds))
        (new,) = np.nonzero(state.hazards > before)
        if step == 1:
            assert len(new) == worlds
        else:
            gaps.append(step - last[new])
        last[new] = step
        slot = (before[new] % 4).astype(int)
        assert (state.number[new, slot] == before[new]).all()
        assert (state.hazard_y[new, slot] == -2).all()
        aims.append(state.hazard_x[new, slot] - SIZE / 2)
    gap, aim = np.concatenate(gaps), np.concatenate(aims)
    assert set(gap.tolist()) == {9, 10, 11, 12, 13}
    assert all(chance(gap == value, 0.2) for value in range(9, 14))
    assert abs(aim).max() <= 10
    assert aim.mean() == pytest.approx(0, abs=4 * 10 / math.sqrt(3 * len(aim)))
    assert aim.std() == pytest.approx(10 / math.sqrt(3), rel=0.02)
    state = begin(seeds(500))  # near a wall, within the frame
    state.x[:] = 2.5
    advance(state, np.zeros(500))
    assert state.hazard_x[:, 0].min() == 2
    assert 2 < state.hazard_x[:, 0].max() <= 12.5


def test_uniform() -> None:
    count = 100_000
    streams = {
        "neighbouring seeds": uniform(seeds(count), np.zeros(count, np.uint64)),
        "one stream": uniform(np.zeros(count, np.uint64), seeds(count)),
        "next episodes": uniform(seeds(count), np.full(count, NEXT_EPISODE)),
        "large seeds": uniform(seeds(count, 2**63 - 5), np.ones(count, np.uint64)),
    }
    error = 1 / math.sqrt(12 * count)
    for name, u in streams.items():
        assert u.dtype == np.float32
        assert 0 <= u.min() < u.max() < 1
        assert abs(u.mean() - 0.5) < 4 * error, name
        assert u.var(dtype=float) == pytest.approx(1 / 12, rel=0.015), name
        counts = np.histogram(u, 64, (0, 1))[0]
        chi2 = ((counts - count / 64) ** 2 / (count / 64)).sum()
        assert abs(chi2 - 63) < 4 * math.sqrt(2 * 63), name
        for lag in (1, 2, 3):
            assert abs(np.corrcoef(u[lag:], u[:-lag])[0, 1]) < 4 / math.sqrt(count), (name, lag)
    table = np.corrcoef(list(streams.values()))
    assert abs(table - np.eye(4)).max() < 4 / math.sqrt(count)


def test_uniform_is_splitmix64() -> None:
    """With whole numbers of any size, as the algorithm is written; 2⁶⁴ wraps without a warning."""
    for seed, number in [(0, 0), (1, 0), (12345, 3), (2**64 - 1, 2**40)]:
        z = (seed + (number + 1) * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        expected = ((z ^ (z >> 31)) >> 40) / 2**24
        assert uniform(np.array([seed], np.uint64), np.array([number], np.uint64)).tolist() == [expected]


# Frames


@given(st.floats(-10, 45), st.floats(1, 12), st.sampled_from([1, 8, 32]))
def test_coverage_is_exact(centre: float, width: float, size: int) -> None:
    centre = float(np.float32(centre))
    covered = coverage(np.array([centre], np.float32), width, size)
    assert covered.shape == (1, size)
    low, high = centre - width / 2, centre + width / 2
    expected = [max(0.0, min(high, i + 1) - max(low, i)) for i in range(size)]
    np.testing.assert_allclose(covered[0], expected, atol=1e-5)
    assert covered.sum() == pytest.approx(max(0.0, min(high, size) - max(low, 0)), abs=1e-4)


def slow_frame(state: DodgeState, world: int) -> np.ndarray:
    """The area of each pixel under each box, pixel by pixel."""
    boxes = [(state.hazard_x[world, m], state.hazard_y[world, m], 4, 4, 1.0) for m in range(4)]
    boxes.append((state.x[world], 30.5, 5, 3, 0.7))
    frame = np.zeros((SIZE, SIZE))
    for row in range(SIZE):
        for column in range(SIZE):
            for x, y, width, height, shade in boxes:
                across = min(x + width / 2, column + 1) - max(x - width / 2, column)
                down = min(y + height / 2, row + 1) - max(y - height / 2, row)
                frame[row, column] += shade * max(0, across) * max(0, down)
    frame = np.minimum(frame, 1) * 255
    frame[12:17] = BAND_SHADE
    return frame


@pytest.mark.parametrize("steps", [1, 17, 40])
def test_draw_equals_a_slow_painter(steps: int) -> None:
    state = played(worlds=3, steps=steps, first=steps)
    frames = draw(state)
    for world in range(3):
        assert abs(frames[world, :, :, 0] - slow_frame(state, world)).max() <= 1.001  # cut to whole numbers
    moved = replace(state, hazard_y=state.hazard_y * 0 + 29, hazard_x=state.hazard_x * 0 + state.x[:, None] + 1)
    assert draw(moved)[0].max() == 255  # where boxes overlap, the sum stops at white
    assert abs(draw(moved)[0, :, :, 0] - slow_frame(moved, 0)).max() <= 1.001


def test_the_band_hides_what_is_inside() -> None:
    inside = [one(hazard_x=x, hazard_y=y) for x, y in [(5, 14.0), (20, 14.5), (30, 15.0), (16, NOWHERE)]]
    assert all((draw(state) == draw(inside[0])).all() for state in inside)
    for y in (13.5, 15.5):  # half a pixel looks out
        assert (draw(one(hazard_x=16, hazard_y=y)) != draw(inside[0])).any()
    assert (draw(inside[0])[0, 12:17] == BAND_SHADE).all()


def test_one_frame_hides_motion() -> None:
    state = played()
    state.x[:] = SIZE / 2  # no walls
    other = state.copy()
    other.velocity, other.drift = -other.velocity + 1, -other.drift
    other.seed, other.countdown = other.seed + np.uint64(9), other.countdown + 1
    assert (draw(state) == draw(other)).all()
    advance(state, np.zeros(20))
    advance(other, np.zeros(20))
    assert (draw(state) != draw(other)).any(axis=(1, 2, 3)).all()


def test_draw_leaves_the_state_alone() -> None:
    state = played()
    kept = state.copy()
    draw(state)
    picture(state)
    assert same(state, kept)


def test_picture() -> None:
    state = one(x=10, hazard_x=20, hazard_y=6)
    state.hazard_x[0, 1], state.hazard_y[0, 1] = 8, 14.5
    image = picture(state)
    assert (image.shape, image.dtype) == ((384, 384, 3), np.uint8)

    def colour(x: float, y: float) -> tuple[int, ...]:
        return tuple(image[int(12 * y), int(12 * x)].tolist())

    assert colour(25, 25) == NIGHT
    assert colour(10, 30.5) == SKY
    assert colour(20, 6) == ORANGE
    assert colour(18.1, 4.1) == colour(21.9, 7.9) == ORANGE
    assert colour(17.9, 6) == colour(20, 8.1) == NIGHT
    veil = tuple(round(0.2 * n + 0.8 * g) for n, g in zip(NIGHT, GREY, strict=True))
    seen_through = tuple(round(0.2 * o + 0.8 * g) for o, g in zip(ORANGE, GREY, strict=True))
    assert colour(25, 14.5) == veil
    assert colour(8, 14.5) == seen_through != veil
    assert picture(state, scale=3).shape == (96, 96, 3)
    two = played(2)
    assert (picture(two, 1) != picture(two, 0)).any()
    assert (picture(two, 1) == picture(two.take(np.array([1])))).all()


def test_render() -> None:
    env, worlds = DodgeEnv("rgb_array"), DodgeVectorEnv(3, "rgb_array")
    env.reset(seed=1)
    worlds.reset(seed=0)
    images = worlds.render()
    assert len(images) == 3
    assert (env.render() == images[1]).all()
    assert DodgeEnv().render() is DodgeVectorEnv(2).render() is None
