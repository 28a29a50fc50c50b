"""Where an agent lives: Dodge, and any Gymnasium environment seen as pixels."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

from wmcourse.worlds.actions import ActionCode
from wmcourse.worlds.dodge import DodgeEnv, DodgeState, DodgeVectorEnv, Rules
from wmcourse.worlds.errors import WorldError
from wmcourse.worlds.pixels import pixels

DODGE = "wmcourse/Dodge-v0"
__all__ = [
    "DODGE",
    "ActionCode",
    "DodgeEnv",
    "DodgeState",
    "DodgeVectorEnv",
    "Rules",
    "WorldError",
    "make",
    "pixels",
    "register",
]


def register() -> None:
    """Tell Gymnasium about Dodge; safe to call twice. Gymnasium calls it by itself where the package is installed."""
    if DODGE not in gym.registry:
        gym.register(
            DODGE,
            entry_point="wmcourse.worlds.dodge:DodgeEnv",
            vector_entry_point="wmcourse.worlds.dodge:DodgeVectorEnv",
        )


def make(world: str = DODGE, num_worlds: int = 1, **options: Any) -> VectorEnv:
    """``num_worlds`` worlds that step together and are seen as uint8 pixels (W, height, width, channels).

    ``world`` is "dodge", its full id, or the id of any Gymnasium environment, which then goes through ``pixels``
    (``options`` are its). Raises WorldError with one clear sentence when the world cannot be had.
    """
    if world.lower() in ("dodge", DODGE.lower()):
        return DodgeVectorEnv(num_worlds, **options)
    return pixels(world, num_worlds, **options)


register()
