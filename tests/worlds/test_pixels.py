"""Pixel worlds against small worlds whose pictures, seeds and endings are known, and against Gymnasium's own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, Space, Tuple
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from wmcourse.worlds import DODGE, ActionCode, WorldError, make, pixels
from wmcourse.worlds.pixels import PixelObservation, build, find_picture, picture_axes

PICTURE = Box(0, 255, (24, 40, 3), np.uint8)
NUMBERS = Box(-1.0, 1.0, (3,), np.float32)
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Painter(gym.Env[Any, Any]):
    """Paints the whole picture in a shade: 10 times a random number of the episode, plus one for each step.

    It ends after ``length`` steps, and truly so, not by a time limit. ``paint`` turns the shade into an observation.
    """

    def __init__(
        self,
        observation_space: Space = PICTURE,
        paint: Callable[[int], Any] | None = None,
        action_space: Space | None = None,
        length: int = 3,
        render_mode: str | None = None,
        frame: Any = None,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space or Discrete(2)
        self.paint = paint or (lambda shade: np.full(PICTURE.shape, shade, np.uint8))
        self.length, self.render_mode, self.painted = length, render_mode, frame
        self.actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.shade, self.time = 10 * int(self.np_random.integers(1, 20)), 0
        return self.paint(self.shade), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.actions.append(action)
        self.time += 1
        return self.paint(self.shade + self.time), 0.5, self.time == self.length, False, {}

    def render(self) -> Any:
        return self.painted


def numbers(shade: int) -> NDArray[np.float32]:
    """An observation without a picture."""
    return np.full(3, shade / 1000, np.float32)


def corners(shape: tuple[int, ...], dtype: Any = np.uint8, full: float = 255) -> NDArray[Any]:
    """A picture (H, W) or (H, W, C): its left half is bright, so a mirrored or turned one is told apart."""
    image = np.zeros(shape, dtype)
    image[:, : shape[1] // 2] = full
    return image


def first_frame(space: Space, observation: Any, **options: Any) -> NDArray[np.uint8]:
    """What becomes of one observation, (size, size, channels)."""
    world = pixels(lambda: Painter(space, lambda shade: observation), **options)
    frame = world.reset(seed=0)[0][0]
    assert world.single_observation_space.contains(frame)
    world.close()
    return frame


def play(world: Any, seed: int, steps: int, which: int) -> list[NDArray[np.uint8]]:
    """The frames of world ``which`` while every world does the same thing."""
    code = ActionCode(world.single_action_space)
    frames, rng = [world.reset(seed=seed)[0][which]], np.random.default_rng(0)
    for _ in range(steps):
        frames.append(world.step(code.decode(np.repeat(code.sample(rng, 1), world.num_envs, axis=0)))[0][which])
    world.close()
    return frames


# Where pictures come from


@pytest.mark.parametrize(
    ("shape", "dtype", "high", "axes"),
    [
        ((8, 8), np.uint8, 255, "HW"),
        ((64, 48, 1), np.uint8, 255, "HWC"),
        ((64, 48, 3), np.uint8, 255, "HWC"),
        ((64, 48, 4), np.uint8, 255, "HWC"),
        ((1, 64, 48), np.uint8, 255, "CHW"),
        ((3, 64, 48), np.uint8, 255, "CHW"),
        ((64, 48, 3), np.float32, 1, "HWC"),
        ((3, 64, 48), np.float64, 1, "CHW"),
        ((4, 84, 84), np.uint8, 255, None),  # four frames, stacked
        ((2, 84, 84), np.uint8, 255, None),
        ((4, 84, 84, 3), np.uint8, 255, None),
        ((128,), np.uint8, 255, None),  # Atari's memory
        ((7, 7, 3), np.uint8, 255, None),  # MiniGrid's codes
        ((64, 48), np.float32, 1, None),  # a table
        ((64, 48, 3), np.float32, 10, None),
        ((64, 48, 3), np.int64, 255, None),
    ],
)
def test_which_boxes_are_pictures(shape: tuple[int, ...], dtype: Any, high: float, axes: str | None) -> None:
    assert picture_axes(Box(0, high, shape, dtype)) == axes


def test_other_spaces_are_no_pictures() -> None:
    assert picture_axes(Discrete(3)) is None
    assert picture_axes(Box(-1.0, 1.0, (64, 64, 3), np.float32)) is None
    assert find_picture(Dict({"state": NUMBERS}), None) == (None, None)


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.float32, 1.0)])
def test_a_picture_keeps_its_orientation_and_colours(channels_first: bool, dtype: Any, full: float) -> None:
    image = corners((16, 32, 3), dtype, full)
    image[:8, :, 2] = 0  # the upper left is yellow, the lower left white
    expected = np.zeros((8, 8, 3), np.uint8)
    expected[:, :4] = 255
    expected[:4, :, 2] = 0
    image = np.moveaxis(image, 2, 0) if channels_first else image
    np.testing.assert_array_equal(inner(first_frame(Box(0, full, image.shape, dtype), image, size=8)), inner(expected))


def inner(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pixels that do not touch the lines between the quarters, where shrinking mixes."""
    keep = [0, 1, 2, -3, -2, -1]
    return frame[keep][:, keep]


@pytest.mark.parametrize("shape", [(16, 32), (16, 32, 1), (1, 16, 32)])
def test_a_grey_picture_stays_one_channel(shape: tuple[int, ...]) -> None:
    image = corners((16, 32))
    frame = first_frame(Box(0, 255, shape, np.uint8), image.reshape(shape), size=8)
    assert frame.shape == (8, 8, 1)
    np.testing.assert_array_equal(inner(frame), inner(corners((8, 8, 1))))


def test_alpha_is_left_out() -> None:
    image = np.zeros((8, 8, 4), np.uint8)
    image[..., 1] = 200
    for alpha in (0, 255):
        image[..., 3] = alpha
        frame = first_frame(Box(0, 255, image.shape, np.uint8), image, size=8)
        np.testing.assert_array_equal(frame, image[..., :3])


def test_nothing_is_changed_that_need_not_be() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    np.testing.assert_array_equal(first_frame(Box(0, 255, image.shape, np.uint8), image, size=32), image)


def test_floats_are_rounded_and_clipped() -> None:
    image = np.zeros((8, 8, 3), np.float32)
    image[0, 0], image[0, 1] = 0.5, 1.0000001
    frame = first_frame(Box(0, 1, image.shape, np.float32), image, size=8)
    assert frame[0, :3, 0].tolist() == [128, 255, 0]


@pytest.mark.parametrize("factor", [3, 8])
def test_shrinking_averages(factor: int) -> None:
    # The mean of a picture is that of its noise; picking single pixels would leave the noise as strong as it was.
    image = np.random.default_rng(0).integers(0, 256, (32 * factor, 32 * factor, 3), np.uint8)
    frame = first_frame(Box(0, 255, image.shape, np.uint8), image, size=32)
    assert abs(float(frame.mean()) - float(image.mean())) < 2
    assert frame.std() < 1.2 * image.std() / factor


def test_a_thin_line_never_disappears() -> None:
    for row in range(64):
        image = np.zeros((64, 64), np.uint8)
        image[row] = 255
        assert first_frame(Box(0, 255, image.shape, np.uint8), image, size=16).max() > 20


def test_grey_is_luminance() -> None:
    image = np.zeros((8, 24, 3), np.uint8)
    for channel in range(3):
        image[:, 8 * channel : 8 * channel + 8, channel] = 255
    frame = first_frame(Box(0, 255, image.shape, np.uint8), image, size=24, grey=True)
    assert frame.shape == (24, 24, 1)
    np.testing.assert_allclose(frame[12, [2, 12, 22], 0], 255 * np.array(LUMA), atol=1)


def test_small_pictures_are_enlarged() -> None:
    assert first_frame(PICTURE, np.full(PICTURE.shape, 7, np.uint8)).tolist() == np.full((64, 64, 3), 7).tolist()


def test_the_only_picture_of_a_dict_is_found() -> None:
    space = Dict({"state": NUMBERS, "screen": PICTURE})
    observation = {"state": np.zeros(3, np.float32), "screen": np.full(PICTURE.shape, 9, np.uint8)}
    assert (first_frame(space, observation) == 9).all()


def test_of_several_pictures_one_is_chosen() -> None:
    space = Dict({"left": PICTURE, "right": PICTURE, "state": NUMBERS})
    observation = {key: np.full(PICTURE.shape, shade, np.uint8) for key, shade in (("left", 1), ("right", 2))}
    observation["state"] = np.zeros(3, np.float32)
    assert (first_frame(space, observation, image_key="right") == 2).all()
    with pytest.raises(WorldError, match=r"image_key.*'left', 'right'"):
        pixels(lambda: Painter(space))
    for wrong in ("state", "up"):
        with pytest.raises(WorldError, match=rf"no picture '{wrong}'.*'left', 'right'"):
            pixels(lambda: Painter(space), image_key=wrong)


def test_image_key_may_choose_a_picture_too_small_to_be_guessed() -> None:
    small = Box(0, 255, (7, 7, 3), np.uint8)
    observation = {"image": np.full((7, 7, 3), 3, np.uint8)}
    assert (first_frame(Dict({"image": small}), observation, image_key="image") == 3).all()


def test_image_key_is_no_use_without_a_dict() -> None:
    with pytest.raises(WorldError, match="leave image_key out"):
        pixels(lambda: Painter(), image_key="screen")


def test_a_world_of_numbers_is_rendered() -> None:
    frame = np.full((20, 30, 3), 77, np.uint8)
    world = pixels(lambda: Painter(NUMBERS, numbers, render_mode="rgb_array", frame=frame))
    assert (world.reset(seed=0)[0] == 77).all()
    assert (world.step(np.zeros(1, np.int64))[0] == 77).all()


@pytest.mark.parametrize(
    ("frame", "what"),
    [
        (None, "NoneType"),
        ("+--+", "str"),
        (np.zeros((8, 8), np.uint8), r"uint8 of shape \(8, 8\)"),
        (np.zeros((8, 8, 4), np.uint8), r"uint8 of shape \(8, 8, 4\)"),
        (np.zeros((8, 8, 3)), r"float64 of shape \(8, 8, 3\)"),
        ([np.zeros((8, 8, 3), np.uint8)], "list"),
    ],
    ids=["None", "text", "grey", "alpha", "float", "list"],
)
def test_render_must_return_an_rgb_array(frame: Any, what: str) -> None:
    world = pixels(lambda: Painter(NUMBERS, numbers, render_mode="rgb_array", frame=frame))
    with pytest.raises(WorldError, match=f"render.* not {what}: mend or wrap"):
        world.reset(seed=0)


# The interface


def test_the_spaces_are_the_vector_kind() -> None:
    world = pixels(lambda: Painter(action_space=MultiBinary(4)), num_worlds=3, size=16)
    assert world.num_envs == 3
    assert world.single_observation_space == Box(0, 255, (16, 16, 3), np.uint8)
    assert world.observation_space == Box(0, 255, (3, 16, 16, 3), np.uint8)
    assert world.single_action_space == MultiBinary(4)
    assert world.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    frames, _ = world.reset(seed=0)
    assert world.observation_space.contains(frames)
    frames, rewards, terminated, truncated, _ = world.step(world.action_space.sample())
    assert world.observation_space.contains(frames)
    assert rewards.tolist() == [0.5, 0.5, 0.5]
    assert terminated.dtype == truncated.dtype == np.bool_


@pytest.mark.parametrize("space", [Discrete(3, start=4), MultiBinary(5), Box(-3.0, 2.0, (2,), np.float32)], ids=str)
def test_every_kind_of_action_reaches_the_world(space: Space) -> None:
    world = pixels(lambda: Painter(action_space=space, length=50), num_worlds=2, size=8)
    code, rng = ActionCode(world.single_action_space), np.random.default_rng(0)
    world.reset(seed=0)
    sent = [code.decode(code.sample(rng, 2)) for _ in range(20)]
    for actions in sent:
        world.step(actions)
    for number, env in enumerate(world.envs):
        np.testing.assert_array_equal(env.unwrapped.actions, [actions[number] for actions in sent])


@pytest.mark.parametrize(
    "actions",
    [np.zeros((2, 1)), np.zeros((3, 2)), np.zeros(3), np.array([[0.0], [np.nan], [0.0]])],
    ids=["too few", "too wide", "flat", "NaN"],
)
def test_bad_actions_are_refused_before_any_world_moves(actions: NDArray[Any]) -> None:
    world = pixels(lambda: Painter(action_space=Box(-1.0, 1.0, (1,), np.float32)), num_worlds=3, size=8)
    world.reset(seed=0)
    with pytest.raises(WorldError, match=r"finite, of shape \(3, 1\)"):
        world.step(actions.astype(np.float32))
    assert [env.unwrapped.time for env in world.envs] == [0, 0, 0]


def test_an_ended_world_restarts_in_the_same_step() -> None:
    lengths = iter([2, 5])
    world = pixels(lambda: Painter(length=next(lengths)), num_worlds=2, size=8)
    start = world.reset(seed=0)[0][:, 0, 0, 0].astype(int)
    still = np.zeros(2, np.int64)
    frames, _, terminated, truncated, info = world.step(still)
    assert frames[:, 0, 0, 0].tolist() == (start + 1).tolist()
    assert not terminated.any()
    assert "final_obs" not in info
    frames, rewards, terminated, truncated, info = world.step(still)
    assert terminated.tolist() == [True, False]
    assert not truncated.any()
    assert rewards.tolist() == [0.5, 0.5]  # the last reward belongs to the old episode
    assert info["_final_obs"].tolist() == [True, False]
    assert info["final_obs"].shape == frames.shape
    assert info["final_obs"].dtype == np.uint8
    assert (info["final_obs"][0] == start[0] + 2).all()  # the last of the old episode
    assert frames[0, 0, 0, 0] % 10 == 0  # the first of the new one
    assert frames[1, 0, 0, 0] == start[1] + 2  # the neighbour plays on
    following = world.step(still)[0]
    assert following[0, 0, 0, 0] == frames[0, 0, 0, 0] + 1  # no step is lost


def test_frames_already_returned_do_not_change() -> None:
    world = pixels(lambda: Painter(), num_worlds=2, size=8)
    frames, _ = world.reset(seed=0)
    kept = frames.copy()
    for _ in range(4):
        world.step(np.zeros(2, np.int64))
    np.testing.assert_array_equal(frames, kept)


def test_a_time_limit_truncates() -> None:
    for world in (pixels(lambda: Painter(length=9), max_steps=2, size=8), pixels("Pendulum-v1", max_steps=2, size=8)):
        world.reset(seed=0)
        action = ActionCode(world.single_action_space).decode(np.zeros((1, ActionCode(world.single_action_space).dim)))
        ends = [world.step(action)[2:4] for _ in range(4)]
        assert [bool(terminated[0]) for terminated, _ in ends] == [False] * 4
        assert [bool(truncated[0]) for _, truncated in ends] == [False, True, False, True]
        world.close()


def test_max_steps_replaces_the_limit_of_the_id() -> None:
    def limit(world: Any) -> int:
        return world.envs[0].spec.max_episode_steps

    assert limit(pixels("Pendulum-v1")) == 200
    assert limit(pixels("Pendulum-v1", max_steps=900)) == 900


@pytest.mark.parametrize("world", ["Pendulum-v1", "CartPole-v1", DODGE, lambda: Painter()])
def test_a_world_does_not_depend_on_its_neighbours(world: Any) -> None:
    def frames(worlds: int, seed: int, which: int) -> list[NDArray[np.uint8]]:
        # CartPole ends by itself, the others by the limit: the seed holds beyond the first episode.
        return play(pixels(world, worlds, size=32, max_steps=20), seed, 45, which)

    alone = frames(1, 12, 0)
    np.testing.assert_array_equal(frames(3, 10, 2), alone)
    assert any((a != b).any() for a, b in zip(frames(1, 13, 0), alone, strict=True))


def test_reset_mask_restarts_only_some_worlds() -> None:
    world = pixels(lambda: Painter(length=9), num_worlds=3, size=8)
    start = world.reset(seed=5)[0]
    for _ in range(2):
        frames = world.step(np.zeros(3, np.int64))[0]
    options = {"reset_mask": np.array([True, False, True])}
    again = world.reset(seed=5, options=options)[0]
    np.testing.assert_array_equal(again[[0, 2]], start[[0, 2]])
    np.testing.assert_array_equal(again[1], frames[1])
    assert list(options) == ["reset_mask"]  # the caller's dict can be used again


def test_options_reach_the_environment() -> None:
    assert pixels("Pendulum-v1", g=3.0).envs[0].unwrapped.g == 3.0
    assert pixels(lambda length: Painter(length=length), length=7).envs[0].unwrapped.length == 7
    assert make("Pendulum-v1", 2, size=16, grey=True).single_observation_space.shape == (16, 16, 1)


def test_rendered_worlds_have_large_pictures_for_human_eyes() -> None:
    world = pixels("CartPole-v1", num_worlds=2)
    world.reset(seed=0)
    assert [picture.shape for picture in world.render()] == [(400, 600, 3), (400, 600, 3)]
    world.close()


@pytest.mark.filterwarnings("ignore:.*(is different from the unwrapped|symmetric and normalized):UserWarning")  # advice
def test_gymnasiums_checker_has_no_complaint() -> None:
    env = build("Pendulum-v1", None, {"render_mode": "rgb_array"}).unwrapped
    env.spec = None  # it would ask for copies made from the id, without our wrapper
    check_env(PixelObservation(env, 16, False, None, None), skip_render_check=True)
    check_env(PixelObservation(Painter(), 16, True, None, "HWC"), skip_render_check=True)


# Worlds that come with Gymnasium


@pytest.mark.parametrize(("world", "space"), [("Pendulum-v1", Box), ("CartPole-v1", Discrete)])
def test_classic_control_is_rendered(world: str, space: type[Space]) -> None:
    frames = np.stack(play(pixels(world, num_worlds=3, size=32), seed=3, steps=16, which=1))
    assert frames.shape == (17, 32, 32, 3)
    assert isinstance(pixels(world).single_action_space, space)
    for before, after in zip(frames, frames[8:], strict=False):
        assert (before != after).any()  # CartPole, painted in whole pixels, may stand still for a step or two
    assert (frames[0, 0, 0] == 255).all()  # white paper


def test_a_rendered_frame_shows_the_state_of_its_own_world() -> None:
    world = pixels("CartPole-v1", num_worlds=2, size=96)
    world.reset(seed=0)
    for number, x in enumerate((-1.8, 1.8)):
        world.envs[number].unwrapped.state = np.array([x, 0.0, 0.0, 0.0])
    dark = 255 - world.step(np.array([0, 0]))[0].min(axis=3).astype(int)  # (2, 96, 96)
    centre = (dark[:, 60:75].sum(axis=1) * np.arange(96)).sum(axis=1) / dark[:, 60:75].sum(axis=(1, 2))
    assert centre[0] < 30
    assert centre[1] > 66
    world.close()


def test_closing_one_world_leaves_the_others_alone() -> None:
    one, other = pixels("Pendulum-v1", size=16), pixels("CartPole-v1", size=16)
    one.reset(seed=0)
    expected, _ = other.reset(seed=0)
    one.close()  # it takes pygame's display with it
    one.close()
    np.testing.assert_array_equal(other.reset(seed=0)[0], expected)
    other.close()


def test_dodge_as_any_other_world() -> None:
    world, single = pixels(DODGE, size=32), gym.make(DODGE)
    frames, expected = [world.reset(seed=4)[0][0]], [single.reset(seed=4)[0]]
    for throttle in (1.0, 1.0, -1.0):
        frames.append(world.step(np.array([[throttle]], np.float32))[0][0])
        expected.append(single.step(np.array([throttle], np.float32))[0])
    np.testing.assert_array_equal(frames, expected)


def test_a_world_needs_no_screen() -> None:
    # SDL finds its own way without a display, so nobody has to set SDL_VIDEODRIVER.
    code = "from wmcourse.worlds import pixels; print(pixels('Pendulum-v1', 2, 16).reset(seed=0)[0].std() > 10)"
    hidden = ("SDL_VIDEODRIVER", "DISPLAY", "WAYLAND_DISPLAY")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.split()[-1] == "True"


@pytest.mark.slow
@pytest.mark.parametrize("world", ["Pendulum-v1", "CartPole-v1"])
def test_rendering_leaks_no_memory(world: str) -> None:
    psutil = pytest.importorskip("psutil")
    venv, process = pixels(world, num_worlds=4), psutil.Process()
    code, rng = ActionCode(venv.single_action_space), np.random.default_rng(0)
    venv.reset(seed=0)

    def memory_after(steps: int) -> int:
        for _ in range(steps):
            venv.step(code.decode(code.sample(rng, 4)))
        return int(process.memory_info().rss)

    before = memory_after(50)
    # One leaked frame a step would be 4 x 150 x 0.7 MB.
    assert memory_after(150) - before < 20e6
    venv.close()


# What can go wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_worlds": 0}, "at least one world, not 0"),
        ({"size": 0}, "not 0"),
        ({"size": -8}, "not -8"),
        ({"size": 60}, "not 60"),
        ({"max_steps": 0}, "max_steps cannot be 0"),
        ({"nonsense": 3}, "nonsense"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorldError, match=message):
        pixels("Pendulum-v1", **options)


@pytest.mark.parametrize(
    ("world", "message"),
    [
        ("Pendulm-v1", "Did you mean: `Pendulum`"),
        ("Pendulum-v99", "`v1`"),
        ("CarRacing-v1", "CarRacing"),
        ("nowhere/World-v0", "nowhere"),
        ("no such world!", "Malformed"),
        ("no_such_module:World-v0", "no_such_module"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Gymnasium's, for ids of old versions
def test_an_unknown_world_is_an_error_with_gymnasiums_advice(world: str, message: str) -> None:
    with pytest.raises(WorldError, match=message) as caught:
        pixels(world)
    assert world in str(caught.value)


def test_other_errors_of_an_environment_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, **options: Any) -> None:
        raise TypeError("a bug in here")

    monkeypatch.setattr(CartPoleEnv, "__init__", broken)
    with pytest.raises(TypeError, match="a bug in here"):
        pixels("CartPole-v1")


@pytest.mark.parametrize("render_mode", [None, "ansi"])
def test_a_world_without_pixels_is_refused(render_mode: str | None) -> None:
    with pytest.raises(WorldError, match="without pixels"):
        pixels(lambda: Painter(NUMBERS, render_mode=render_mode))


def test_an_id_without_pixels_is_refused() -> None:
    gym.register("Blind-v0", entry_point=Painter, kwargs={"observation_space": NUMBERS})
    try:
        with pytest.raises(WorldError, match="without pixels"):
            pixels("Blind-v0")
    finally:
        del gym.registry["Blind-v0"]


def test_actions_without_a_code_are_refused_and_the_world_is_closed() -> None:
    closed = []

    class Odd(Painter):
        def close(self) -> None:
            closed.append(self)

    with pytest.raises(WorldError, match="not Tuple"):
        pixels(lambda: Odd(action_space=Tuple([Discrete(2), Discrete(2)])))
    assert len(closed) == 1


@pytest.mark.parametrize("world", ["CarRacing-v3", "LunarLander-v3", "BipedalWalker-v3"])
def test_missing_box2d_names_the_extra(world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "Box2D", None)  # type: ignore[arg-type]
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(WorldError, match=rf'{world}.*pip install "wmcourse\[box2d\]"'):
        pixels(world)


@pytest.mark.parametrize("world", ["VizdoomTakeCover-v1", "vizdoomBasic-v1"])
def test_missing_vizdoom_names_the_extra(world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vizdoom", None)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "vizdoom.gymnasium_wrapper", raising=False)
    with pytest.raises(WorldError, match=rf'{world}.*pip install "wmcourse\[doom\]"'):
        pixels(world)


def test_other_missing_packages_are_named_by_gymnasium(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(self: Any, **options: Any) -> None:
        raise gym.error.DependencyNotInstalled('run `pip install "gymnasium[mujoco]"`')

    monkeypatch.setattr(CartPoleEnv, "__init__", lacking)
    with pytest.raises(WorldError, match=r"CartPole-v1 needs.*gymnasium\[mujoco\]"):
        pixels("CartPole-v1")


# Worlds that come with an extra


def test_car_racing() -> None:
    pytest.importorskip("Box2D")
    world = pixels("CarRacing-v3", num_worlds=2, max_steps=12)
    assert world.single_observation_space.shape == (64, 64, 3)
    assert world.single_action_space.shape == (3,)
    frames = play(world, seed=1, steps=25, which=1)
    alone = play(pixels("CarRacing-v3", max_steps=12), seed=2, steps=25, which=0)
    np.testing.assert_array_equal(frames, alone)
    assert (frames[5] != frames[6]).any()


def test_lunar_lander_is_rendered() -> None:
    pytest.importorskip("Box2D")
    frames = play(pixels("LunarLander-v3", num_worlds=2), seed=1, steps=5, which=1)
    assert (frames[0] != frames[5]).any()


def test_take_cover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vizdoom")
    monkeypatch.chdir(tmp_path)  # VizDoom leaves files where it is started
    world = pixels("VizdoomTakeCover-v1", num_worlds=2, max_steps=15, frame_skip=4)
    assert world.single_observation_space.shape == (64, 64, 3)
    assert world.single_action_space == Discrete(3)
    frames = play(world, seed=1, steps=35, which=1)
    alone = play(pixels("VizdoomTakeCover-v1", max_steps=15, frame_skip=4), seed=2, steps=35, which=0)
    np.testing.assert_array_equal(frames, alone)
    assert (frames[5] != frames[6]).any()


def test_take_covers_buttons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vizdoom")
    monkeypatch.chdir(tmp_path)
    world = pixels("VizdoomTakeCover-MultiBinary-v1", grey=True)
    assert ActionCode(world.single_action_space).kind == "multibinary"
    assert np.stack(play(world, seed=0, steps=3, which=0)).shape == (4, 64, 64, 1)
