"""Action codes: there and back again for every kind of action, and what is refused."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple
from hypothesis import given

from wmcourse.worlds import ActionCode, WorldError

SPACES: list[Space] = [
    Box(-2.0, 2.0, (1,), np.float32),
    Box(np.array([-1.0, 0.0, 0.0], np.float32), np.ones(3, np.float32)),  # CarRacing's
    Box(0.0, 10.0, (2, 3), np.float64),
    Discrete(3),
    Discrete(4, start=-2),
    MultiBinary(5),
    MultiBinary((2, 2)),
]


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=2, max_side=3))
    low = draw(hnp.arrays(np.float32, shape, elements=st.floats(-100, 100, width=32)))
    width = draw(hnp.arrays(np.float32, shape, elements=st.floats(0.125, 100, width=32)))
    return Box(low, low + width)


@given(space=boxes(), data=st.data())
def test_a_box_survives_the_round_trip(space: Box, data: st.DataObject) -> None:
    code = ActionCode(space)
    vectors = data.draw(hnp.arrays(np.float32, (4, code.dim), elements=st.floats(-1, 1, width=32)))
    actions = code.decode(vectors)
    assert actions.shape == (4, *space.shape)
    assert actions.dtype == space.dtype
    # A number is as exact as float32 is for bounds that may lie far from zero.
    np.testing.assert_allclose(code.encode(actions), vectors, atol=1e-3)
    np.testing.assert_allclose(code.decode(code.encode(actions)), actions, atol=1e-3)


@given(space=boxes())
def test_minus_one_is_low_plus_one_is_high_and_zero_is_the_middle(space: Box) -> None:
    code = ActionCode(space)
    low, middle, high = code.decode(np.array([[-1.0], [0.0], [1.0]], np.float32) * np.ones(code.dim, np.float32))
    np.testing.assert_allclose(low, space.low, atol=1e-4)
    np.testing.assert_allclose(high, space.high, atol=1e-4)
    np.testing.assert_allclose(middle, (space.low.astype(float) + space.high) / 2, atol=1e-4)


@given(n=st.integers(1, 9), start=st.integers(-5, 5), data=st.data())
def test_discrete_actions_survive_the_round_trip_wherever_they_start(n: int, start: int, data: st.DataObject) -> None:
    space = Discrete(n, start=start)
    code = ActionCode(space)
    actions = np.array(data.draw(st.lists(st.integers(start, start + n - 1), min_size=1, max_size=8)))
    vectors = code.encode(actions)
    assert vectors.shape == (len(actions), n)
    np.testing.assert_array_equal(np.flatnonzero(vectors) % n, actions - start)  # one 1 in each row, in its place
    np.testing.assert_array_equal(vectors.sum(axis=1), 1)
    decoded = code.decode(vectors)
    np.testing.assert_array_equal(decoded, actions)
    assert all(space.contains(action) for action in decoded)


@given(vectors=hnp.arrays(np.float32, (3, 4), elements=st.floats(-10, 10, width=32), unique=True))
def test_a_discrete_action_is_the_largest_number(vectors: np.ndarray) -> None:
    decoded = ActionCode(Discrete(4, start=7)).decode(vectors)
    assert [row[action - 7] for row, action in zip(vectors, decoded, strict=True)] == [max(row) for row in vectors]


@given(buttons=hnp.arrays(np.int8, (4, 2, 3), elements=st.integers(0, 1)))
def test_buttons_survive_the_round_trip(buttons: np.ndarray) -> None:
    code = ActionCode(MultiBinary((2, 3)))
    vectors = code.encode(buttons)
    assert vectors.shape == (4, 6)
    decoded = code.decode(vectors)
    np.testing.assert_array_equal(decoded, buttons)
    assert all(code.space.contains(action) for action in decoded)


def test_a_button_is_pressed_above_one_half() -> None:
    decoded = ActionCode(MultiBinary(4)).decode(np.array([[0.0, 0.5, 0.51, 3.0]], np.float32))
    assert decoded.tolist() == [[0, 0, 1, 1]]


def test_a_box_clips_what_lies_outside() -> None:
    decoded = ActionCode(Box(-2.0, 6.0, (2,))).decode(np.array([[-5.0, 1.5]], np.float32))
    assert decoded.tolist() == [[-2.0, 6.0]]


def test_a_number_that_cannot_move_is_zero() -> None:
    code = ActionCode(Box(np.array([1.0, 0.0], np.float32), np.array([1.0, 2.0], np.float32)))
    assert code.encode(np.array([[1.0, 2.0]])).tolist() == [[0.0, 1.0]]
    assert code.decode(np.array([[0.7, 0.0]], np.float32)).tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_the_world_accepts_every_sample(space: Space) -> None:
    code = ActionCode(space)
    vectors = code.sample(np.random.default_rng(0), 400)
    assert vectors.dtype == np.float32
    assert vectors.shape == (400, code.dim)
    actions = code.decode(vectors)
    assert all(space.contains(action) for action in actions)
    np.testing.assert_allclose(code.encode(actions), vectors, atol=1e-5)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_samples_are_uniform_and_follow_their_seed(space: Space) -> None:
    code = ActionCode(space)
    vectors = code.sample(np.random.default_rng(1), 4000)
    mean = {"box": 0.0, "discrete": 1 / code.dim, "multibinary": 0.5}[code.kind]
    np.testing.assert_allclose(vectors.mean(axis=0), mean, atol=0.05)  # five standard errors or more
    np.testing.assert_array_equal(vectors, code.sample(np.random.default_rng(1), 4000))
    assert (vectors != code.sample(np.random.default_rng(2), 4000)).any()


@pytest.mark.parametrize(
    ("space", "kind", "dim"),
    [(Box(0, 1, (2, 3)), "box", 6), (Discrete(4, start=9), "discrete", 4), (MultiBinary((2, 2)), "multibinary", 4)],
)
def test_kind_and_dim(space: Space, kind: str, dim: int) -> None:
    code = ActionCode(space)
    assert (code.kind, code.dim) == (kind, dim)


@pytest.mark.parametrize(
    "space",
    [Tuple([Discrete(2)]), Dict({"a": Discrete(2)}), MultiDiscrete([2, 3])],
    ids=lambda space: type(space).__name__,
)
def test_other_spaces_are_refused_by_name(space: Space) -> None:
    with pytest.raises(WorldError, match=f"not {type(space).__name__}"):
        ActionCode(space)


def test_a_box_without_bounds_is_refused() -> None:
    with pytest.raises(WorldError, match="RescaleAction"):
        ActionCode(Box(-np.inf, np.inf, (2,)))


@pytest.mark.parametrize(
    "vectors",
    [
        np.zeros(3, np.float32),
        np.zeros((2, 4), np.float32),
        np.zeros((1, 2, 3), np.float32),
        np.array([[0.0, np.nan, 0.0]], np.float32),
        np.array([[0.0, np.inf, 0.0]], np.float32),
    ],
    ids=["flat", "too wide", "too deep", "NaN", "infinite"],
)
@pytest.mark.parametrize("space", [Box(-1, 1, (3,)), Discrete(3), MultiBinary(3)], ids=str)
def test_bad_vectors_are_refused(space: Space, vectors: np.ndarray) -> None:
    with pytest.raises(WorldError, match=r"\(n, 3\)"):
        ActionCode(space).decode(vectors)


def test_every_value_of_an_integer_box_survives_the_round_trip() -> None:
    code = ActionCode(Box(0, 255, (1,), np.uint8))
    values = np.arange(256, dtype=np.uint8)[:, None]
    np.testing.assert_array_equal(code.decode(code.encode(values)), values)


def test_bounds_so_wide_that_their_distance_overflows_are_no_bounds() -> None:
    with pytest.raises(WorldError, match="no bounds"):
        ActionCode(Box(-3.4e38, 3.4e38, (1,), np.float32))


@pytest.mark.parametrize("action", [-1, 3])
def test_a_choice_that_is_not_there_is_refused(action: int) -> None:
    with pytest.raises(WorldError, match="go from 0 to 2"):
        ActionCode(Discrete(3)).encode(np.array([action]))
