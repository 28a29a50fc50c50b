"""Frames of Dodge for the lessons: the same ones in all of them, so that what you see in one you know in the next."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from wmcourse.worlds import DodgeVectorEnv

HELD_OUT = 256


def dodge_frames(worlds: int = 64, steps: int = 64, seed: int = 0) -> Tensor:
    """Frames (worlds·steps, 1, 32, 32) in [0, 1] of random play, shuffled.

    The last ``HELD_OUT`` of them are of other episodes than the rest: those to measure on.
    """
    frames, fresh = (play(worlds, steps, s) for s in (seed, seed + 7_000))
    return torch.cat([frames[:-HELD_OUT], fresh[-HELD_OUT:]])


def play(worlds: int, steps: int, seed: int) -> Tensor:
    """All frames of some worlds, shuffled."""
    world, rng = DodgeVectorEnv(worlds), np.random.default_rng(seed)
    frames, _ = world.reset(seed=seed)
    kept, action = [], np.zeros((worlds, 1), np.float32)
    for _ in range(steps):
        fresh = rng.random((worlds, 1)) < 0.1  # each push is held for ten steps on average
        action = np.where(fresh, rng.uniform(-1, 1, (worlds, 1)), action).astype(np.float32)
        frames, *_ = world.step(action)
        kept.append(frames)
    stacked = np.concatenate(kept).transpose(0, 3, 1, 2)
    return torch.from_numpy(stacked[rng.permutation(len(stacked))]).float() / 255
