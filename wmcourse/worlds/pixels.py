"""Any Gymnasium environment as a world of pixels, with the interface of Dodge.

A world model starts from pictures, so every world must show some. They come from the first of these that there is:

- the entry ``image_key`` of a dict observation, or the observation itself, or the only picture in a dict observation;
- what ``render()`` paints, for worlds whose observation is a handful of numbers (Pendulum-v1, CartPole-v1).

Whatever their shape, the agent sees them squeezed to ``size`` x ``size``, as in Ha & Schmidhuber (2018).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import DependencyNotInstalled
from gymnasium.spaces import Box, Dict, Space
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit
from numpy.typing import NDArray
from PIL import Image

from wmcourse.worlds.actions import ActionCode
from wmcourse.worlds.errors import WorldError

LEAST_SIDE = 8  # pixels; a smaller uint8 array is a board or a map of codes, not a picture


def picture_axes(space: Space[Any], least_side: int = LEAST_SIDE) -> str | None:
    """ "HW", "HWC" or "CHW" if the space is one of pictures, uint8 or floats in [0, 1]; otherwise None.

    Four channels count last (red, green, blue, alpha) but not first: those are four frames, stacked.
    """
    if not isinstance(space, Box):
        return None
    floats = np.issubdtype(space.dtype, np.floating) and space.low.min() >= 0 and space.high.max() <= 1
    if space.dtype == np.uint8 and len(space.shape) == 2:  # a matrix of floats is more often a table than a picture
        axes = "HW"
    elif (space.dtype == np.uint8 or floats) and len(space.shape) == 3:
        axes = "HWC" if space.shape[2] in (1, 3, 4) else "CHW" if space.shape[0] in (1, 3) else ""
    else:
        axes = ""
    sides = [side for axis, side in zip(axes, space.shape, strict=False) if axis != "C"]
    return axes if axes and min(sides) >= least_side else None


class PixelObservation(gym.ObservationWrapper[NDArray[np.uint8], Any, Any]):
    """One world seen as uint8 (size, size, channels): one channel if ``grey`` or if its pictures are, otherwise three.

    ``axes`` are those of its observation, or of the entry ``key`` of its observation; without axes it is rendered.
    """

    def __init__(self, env: gym.Env[Any, Any], size: int, grey: bool, key: str | None, axes: str | None) -> None:
        super().__init__(env)
        self.size, self.key, self.axes = size, key, axes
        space: Any = env.observation_space if key is None else env.observation_space[key]  # type: ignore[index]
        one = axes == "HW" or (axes is not None and space.shape[axes.index("C")] == 1)
        self.channels = 1 if grey or one else 3
        self.observation_space = Box(0, 255, (size, size, self.channels), np.uint8)

    def observation(self, observation: Any) -> NDArray[np.uint8]:
        """The world's observation -> uint8 (size, size, channels). Raises WorldError if ``render`` fails to paint."""
        if self.axes is None:
            image = self.frame()
        else:
            image = np.asarray(observation if self.key is None else observation[self.key])
        if image.dtype != np.uint8:
            image = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
        if self.axes == "CHW":
            image = np.moveaxis(image, 0, 2)
        if image.ndim == 3 and image.shape[2] == 1:
            image = image[:, :, 0]
        # "L" is luminance, 0.299 R + 0.587 G + 0.114 B; both modes drop the alpha.
        picture = Image.fromarray(np.ascontiguousarray(image)).convert("L" if self.channels == 1 else "RGB")
        if picture.size != (self.size, self.size):
            # Pillow averages over all that an output pixel covers, so thin things grow faint but never flicker;
            # reducing_gap takes the bulk of a large frame away with a plain box first, in half the time.
            picture = picture.resize((self.size, self.size), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.array(picture).reshape(self.size, self.size, self.channels)

    def frame(self) -> NDArray[np.uint8]:
        """What the world paints, uint8 (H, W, 3)."""
        frame: Any = self.env.render()
        if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            what = f"{frame.dtype} of shape {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise WorldError(f"render() must return uint8 (height, width, 3), not {what}: mend or wrap {self.env}.")
        return frame


class PixelVectorEnv(SyncVectorEnv):
    """W worlds in one process: Gymnasium's SyncVectorEnv, as strict about actions as Dodge and with its ``final_obs``.

    An ended world restarts in the same step: the observation returned is the first of its next episode, and
    ``info["final_obs"]`` (W, size, size, channels) holds the last of the old one where ``info["_final_obs"]`` is true.
    World i of ``reset(seed=s)`` plays the same episode as a single world reset with seed s + i.
    """

    def __init__(self, open_world: Callable[[], gym.Env[Any, Any]], num_worlds: int) -> None:
        super().__init__([open_world] * num_worlds, autoreset_mode=AutoresetMode.SAME_STEP)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Start every world anew; ``options={"reset_mask": (W,) bool}`` restarts only some of them."""
        return super().reset(seed=seed, options=options and dict(options))  # Gymnasium takes the mask out of the dict

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """One step of every world. Raises WorldError for NaN or for the wrong number of actions."""
        actions = np.asarray(actions)
        if actions.shape != self.action_space.shape or not np.isfinite(actions).all():
            raise WorldError(f"Actions must be finite, of shape {self.action_space.shape}: got {actions.shape} or NaN.")
        frames, rewards, terminated, truncated, info = super().step(actions)
        if "final_obs" in info:
            final = frames.copy()
            for world in np.flatnonzero(info["_final_obs"]):
                final[world] = info["final_obs"][world]
            info["final_obs"] = final
        return frames, rewards, terminated, truncated, info


def pixels(
    world: str | Callable[..., gym.Env[Any, Any]],
    num_worlds: int = 1,
    size: int = 64,
    grey: bool = False,
    image_key: str | None = None,
    max_steps: int | None = None,
    **make_options: Any,
) -> PixelVectorEnv:
    """``num_worlds`` copies of any Gymnasium environment, seen as uint8 (W, size, size, 1 or 3).

    ``world`` is an id or a function that makes an environment; ``make_options`` go to ``gymnasium.make`` or to that
    function. Actions stay the world's own. ``max_steps`` ends an episode after so many steps, in place of the limit
    that goes with the id. ``image_key`` chooses among the pictures of a dict observation.

    Raises WorldError when the world is unknown, not installed, without pixels or with actions beyond ``ActionCode``.
    """
    if num_worlds < 1:
        raise WorldError(f"There must be at least one world, not {num_worlds}.")
    if size < 8 or size % 8:
        raise WorldError(f"size must be 8, 16, 24, ..., not {size}: the VAE halves a picture three times.")
    if max_steps is not None and max_steps < 1:
        raise WorldError(f"An episode needs at least one step: max_steps cannot be {max_steps}.")

    def open_world() -> gym.Env[Any, Any]:
        env = build(world, max_steps, make_options)
        try:
            ActionCode(env.action_space)  # raises WorldError for actions that it cannot code
            key, axes = find_picture(env.observation_space, image_key)
            if axes is None and env.render_mode != "rgb_array":
                if callable(world) or "rgb_array" not in env.metadata.get("render_modes", ()):
                    raise WorldError(
                        f"{env} is a world without pixels: its observation has no picture and it is not made with "
                        'render_mode="rgb_array"; give it one of the two.'
                    )
                env.close()
                env = build(world, max_steps, make_options | {"render_mode": "rgb_array"})
            return PixelObservation(env, size, grey, key, axes)
        except WorldError:
            env.close()
            raise

    return PixelVectorEnv(open_world, num_worlds)


def find_picture(space: Space[Any], image_key: str | None) -> tuple[str | None, str | None]:
    """(key, axes) of the picture in an observation; no key if it is the observation itself, no axes if there is none.

    Raises WorldError when ``image_key`` names no picture, or when there are several and it names none.
    """
    pictures = {} if not isinstance(space, Dict) else {key: picture_axes(part) for key, part in space.spaces.items()}
    found = [key for key, axes in pictures.items() if axes]
    if image_key is not None:
        axes = picture_axes(space[image_key], least_side=1) if image_key in pictures else None  # type: ignore[index]
        if axes is None:
            choice = f"choose one of {found}" if found else "leave image_key out"
            raise WorldError(f"The observation has no picture {image_key!r}: {choice}.")
        return image_key, axes
    if len(found) > 1:
        raise WorldError(f"The observation has several pictures: choose one with image_key, out of {found}.")
    return (found[0], pictures[found[0]]) if found else (None, picture_axes(space))


def build(
    world: str | Callable[..., gym.Env[Any, Any]], max_steps: int | None, options: dict[str, Any]
) -> gym.Env[Any, Any]:
    """One environment as Gymnasium makes it. Raises WorldError when it cannot."""
    if callable(world):
        env = world(**options)
        return env if max_steps is None else TimeLimit(env, max_steps)
    if max_steps is not None:
        options = options | {"max_episode_steps": max_steps}
    if world.lower().startswith("vizdoom"):
        try:
            import_module("vizdoom.gymnasium_wrapper")  # registers the ids
        except ImportError as error:
            raise WorldError(f'{world} needs ViZDoom ({error}): pip install "wmcourse[doom]".') from error
    try:
        return gym.make(world, **options)
    except DependencyNotInstalled as error:
        if "box2d" in str(error).lower():
            raise WorldError(f'{world} needs Box2D: pip install "wmcourse[box2d]".') from error
        raise WorldError(f"{world} needs more than wmcourse brings: {error}") from error
    except (gym.error.Error, ModuleNotFoundError) as error:
        raise WorldError(f"No world {world!r} (gymnasium.pprint_registry() lists what there is): {error}") from error
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise WorldError(f"{world} does not take all of the options {sorted(options)}: {error}") from error
