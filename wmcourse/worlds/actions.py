"""Actions as vectors of numbers, whatever a world calls an action: what networks and planners work with.

Box(low, high)      each number scaled to [-1, 1]
Discrete(n)         one-hot, n numbers of which one is 1
MultiBinary(n)      n numbers, each 0 or 1
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, Space
from numpy.typing import NDArray

from wmcourse.worlds.errors import WorldError


class ActionCode:
    """Translates between a world's own actions and float32 vectors (n, ``dim``); ``kind`` names the three cases.

    Raises WorldError for other spaces and for a Box without bounds.
    """

    def __init__(self, space: Space[Any]) -> None:
        self.space = space
        if isinstance(space, Box):
            with np.errstate(over="ignore"):
                bounded = np.isfinite(space.high.astype(np.float32) - space.low.astype(np.float32)).all()
            if not bounded:
                raise WorldError(f"The action space {space} has no bounds: wrap the world in RescaleAction first.")
            self.kind, self.dim = "box", int(np.prod(space.shape))
        elif isinstance(space, Discrete):
            self.kind, self.dim = "discrete", int(space.n)
        elif isinstance(space, MultiBinary):
            self.kind, self.dim = "multibinary", int(np.prod(space.shape))
        else:
            raise WorldError(
                f"Actions must be Box, Discrete or MultiBinary, not {type(space).__name__}: wrap the world."
            )

    def sample(self, rng: np.random.Generator, n: int) -> NDArray[np.float32]:
        """``n`` uniformly random actions, (n, dim)."""
        if self.kind == "discrete":
            return np.eye(self.dim, dtype=np.float32)[rng.integers(self.dim, size=n)]
        if self.kind == "multibinary":
            return rng.integers(0, 2, (n, self.dim)).astype(np.float32)
        return rng.uniform(-1, 1, (n, self.dim)).astype(np.float32)

    def decode(self, vectors: NDArray[np.float32]) -> NDArray[Any]:
        """Vectors (n, dim) to the world's own actions, one for each row; a Box's are clipped to its bounds."""
        vectors = self._checked(vectors)
        if isinstance(self.space, Discrete):
            return (vectors.argmax(axis=1) + self.space.start).astype(self.space.dtype)
        if isinstance(self.space, MultiBinary):
            return (vectors > 0.5).astype(self.space.dtype).reshape(-1, *self.space.shape)
        assert isinstance(self.space, Box)
        low, high = self.space.low.ravel(), self.space.high.ravel()
        native = low + (np.clip(vectors, -1, 1) + 1) * 0.5 * (high.astype(np.float64) - low)
        if np.issubdtype(self.space.dtype, np.integer):
            native = np.round(native)
        return native.astype(self.space.dtype).reshape(-1, *self.space.shape)

    def encode(self, actions: NDArray[Any]) -> NDArray[np.float32]:
        """The world's own actions, one for each row, to vectors (n, dim): ``decode`` undone."""
        actions = np.asarray(actions)
        if isinstance(self.space, Discrete):
            choice = actions.reshape(-1) - self.space.start
            if not ((choice >= 0) & (choice < self.dim)).all():
                last = self.space.start + self.dim - 1
                raise WorldError(f"Actions of {self.space} go from {self.space.start} to {last}.")
            return np.eye(self.dim, dtype=np.float32)[choice]
        rows = actions.reshape(len(actions), -1).astype(np.float64)
        if isinstance(self.space, Box):
            low, high = self.space.low.ravel(), self.space.high.ravel()
            # A number that cannot move (low == high) is 0.
            width = np.where(high > low, high.astype(np.float64) - low, 1)
            rows = np.where(high > low, 2 * (rows - low) / width - 1, 0)
        return rows.astype(np.float32)

    def _checked(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        vectors = np.asarray(vectors, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.dim or not np.isfinite(vectors).all():
            raise WorldError(f"Actions must be finite vectors (n, {self.dim}): got {vectors.shape} or NaN.")
        return vectors
