"""Rollouts on disk: frames as uint8, memory-mapped, so memory stays bounded whatever their number.

A rollout is a stream of steps of one world; episodes follow each other in it. A shard holds the streams of a few
worlds:

    frames      (worlds, steps, height, width, channels) uint8    x_t
    actions     (worlds, steps, A) float32                        a_t
    rewards     (worlds, steps) float32                           r_{t+1}
    terminated  (worlds, steps) bool                              done_{t+1}
    ended       (worlds, steps) bool      terminated, or cut off: x_{t+1} belongs to the next episode
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmcourse.engine.errors import RunError, cannot_write

FIELDS = ("frames", "actions", "rewards", "terminated", "ended")


class Windows(NamedTuple):
    """B windows of T transitions, none of which crosses the end of an episode."""

    steps: NDArray[np.int64]  # (B, T + 1) flat indices of z_0..z_T; past the end they repeat and are masked
    mask: NDArray[np.float32]  # (B, T)


def write_shard(directory: Path, number: int, arrays: dict[str, NDArray[Any]]) -> None:
    """Write a shard so that it is there whole or not at all. Raises RunError when the disk is full."""
    final, partial = directory / f"{number:04d}", directory / f"{number:04d}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name in FIELDS:
            np.save(partial / f"{name}.npy", arrays[name])
        partial.rename(final)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise cannot_write(final, error) from error


def write_array(path: Path, shape: tuple[int, ...], blocks: Iterable[NDArray[np.float32]]) -> None:
    """Write a float32 .npy file block by block, whole or not at all. Raises RunError when the disk is full.

    Not through a memory map: there, a full disk kills the process instead of raising an error.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            np.lib.format.write_array_header_2_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for block in blocks:
                file.write(np.ascontiguousarray(block, "<f4").data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


class Rollouts:
    """All shards of a directory as one long row of steps, numbered from 0: stream after stream, shard after shard."""

    def __init__(self, directory: Path) -> None:
        folders = sorted(p for p in directory.glob("[0-9]*") if p.suffix == "")
        if not folders:
            raise RunError(f"{directory} holds no rollouts: collect some first.")
        shards = []
        for folder in folders:
            try:
                shards.append({name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in FIELDS})
            except (OSError, ValueError, EOFError) as error:  # EOFError: an empty file
                raise RunError(
                    f"A file of {folder} is missing or truncated ({error}). Delete this folder, then collect again."
                ) from error
        self._frames = [s["frames"].reshape(-1, *s["frames"].shape[2:]) for s in shards]
        self._offsets = np.cumsum([0] + [len(f) for f in self._frames])
        # All but the frames is small (some 20 bytes a step): it is read into memory.
        self.actions, self.rewards, self.terminated, self.ended = (
            np.concatenate([s[name].reshape(-1, *s[name].shape[2:]) for s in shards]) for name in FIELDS[1:]
        )
        if not (np.isfinite(self.actions).all() and np.isfinite(self.rewards).all()):
            raise RunError(
                f"There are NaN or infinite actions or rewards in {directory}: look at the world that made them."
            )
        starts = np.zeros(len(self), bool)
        starts[0], starts[1:] = True, self.ended[:-1]
        steps = shards[0]["frames"].shape[1]
        starts[::steps] = True  # a stream begins in the middle of nothing
        self.episode_start = np.flatnonzero(starts)
        self.episode_length = np.diff(np.append(self.episode_start, len(self)))

    def __len__(self) -> int:
        return int(self._offsets[-1])

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """(channels, height, width), as networks want it."""
        height, width, channels = self._frames[0].shape[1:]
        return channels, height, width

    def frames(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The frames of some steps, (n, height, width, channels), read from disk."""
        out = np.empty((len(index), *self._frames[0].shape[1:]), np.uint8)
        shard = np.searchsorted(self._offsets, index, side="right") - 1
        for s in np.unique(shard):
            out[shard == s] = self._frames[s][index[shard == s] - self._offsets[s]]
        return out

    def windows(self, rng: np.random.Generator, batch: int, length: int) -> Windows:
        """``batch`` random windows of ``length`` transitions; an episode is drawn in proportion to its length."""
        step = rng.integers(0, len(self), batch)  # a random step's episode, then
        episode = np.searchsorted(self.episode_start, step, side="right") - 1
        room = np.maximum(self.episode_length[episode] - length, 0)
        start = self.episode_start[episode] + rng.integers(0, room + 1)
        last = self.episode_start[episode] + self.episode_length[episode] - 1
        steps = start[:, None] + np.arange(length + 1)
        # The target of an episode's last step does not exist: index and loss skip it.
        return Windows(
            np.minimum(steps, np.minimum(last + 1, len(self) - 1)[:, None]),
            (steps[:, :-1] <= last[:, None]).astype(np.float32),
        )

    def next_is_missing(self, steps: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Where the frame after a step is not in the data, or is another episode's."""
        return self._last[steps]

    @cached_property
    def _last(self) -> NDArray[np.bool_]:
        """Which steps are an episode's last: found once, not for every batch."""
        last = np.zeros(len(self), bool)
        last[self.episode_start + self.episode_length - 1] = True
        return last


def collect_shards(
    directory: Path, shards: int, collect_one: Callable[[int], dict[str, NDArray[Any]]], progress: Callable[[int], None]
) -> Rollouts:
    """Collect the shards that are not there yet. Shard i depends on its number alone, so a killed run continues as if
    nothing was.
    """
    for number in range(shards):
        if not (directory / f"{number:04d}").is_dir():
            write_shard(directory, number, collect_one(number))
        progress(number)
    return Rollouts(directory)
