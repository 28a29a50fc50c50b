"""Dodge: slide along the bottom, let nothing fall on you.

A laptop-sized cousin of the Take Cover task of Ha & Schmidhuber (2018), built so that every part of a world model
is needed:

- the agent has inertia: it must start to move before a hazard is near, so planning ahead beats reacting;
- one frame shows no velocity, and a grey band hides the middle of the fall, so memory beats the last frame;
- under the band each hazard turns left or right at random, so two futures are possible and an average is wrong;
- a state is a handful of arrays that can be copied, so an oracle can plan with the true dynamics.

The whole world is three functions of arrays with hundreds of worlds on the first axis: ``begin`` makes states,
``advance`` moves them one step and ``draw`` paints them. ``DodgeVectorEnv`` and ``DodgeEnv`` only dress them for
Gymnasium.

Units: pixels of the 32 x 32 frame and steps. x grows to the right, y grows downwards.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from wmcourse.worlds.errors import WorldError

SIZE = 32  # pixels on a side
NOWHERE = 1e3  # the row of a hazard slot that is not in use: below everything
AGENT_SHADE, BAND_SHADE = np.float32(0.7), 80  # hazards are white, the ground is black
NIGHT, GREY, ORANGE, SKY = (16, 24, 40), (120, 128, 140), (230, 159, 0), (86, 180, 233)  # Okabe & Ito (2008)
NEXT_EPISODE = np.uint64(2**40)  # a draw that no hazard of an episode uses


@dataclass(frozen=True)
class Rules:
    """The numbers that make Dodge hard enough to need a world model; benchmarks/dodge_tuning.py chose them."""

    friction: float = 0.8  # share of the agent's velocity that survives a step
    power: float = 0.6  # pixels per step² at full throttle; top speed is power / (1 - friction) = 3 pixels per step
    fall: float = 1.5  # pixels per step that a hazard falls
    turn: float = 1.0  # pixels per step that it moves sideways, left or right, once it has forked
    fork_row: float = 17.0  # where it forks: the lower edge of the band
    aim: float = 10.0  # it starts within this many pixels of the agent's column
    gap: tuple[int, int] = (9, 13)  # steps between two hazards, both ends included
    band: tuple[int, int] = (12, 17)  # rows [first, end) painted over, which hide what passes
    agent: tuple[float, float] = (5.0, 3.0)  # width and height
    hazard: float = 4.0  # width and height
    slots: int = 4  # hazards in the air at once, at most
    max_steps: int = 300


@dataclass
class DodgeState:
    """Everything there is to know of W worlds. Copy it and you have saved them.

    The random draws are a function of (seed, number of the draw), so a copy has the same future as the original: it is
    clairvoyant. ``reseeded`` gives a copy whose coming forks and hazards are drawn anew.
    """

    x: NDArray[np.float32]  # (W,) agent's centre
    velocity: NDArray[np.float32]  # (W,)
    hazard_x: NDArray[np.float32]  # (W, M) centres
    hazard_y: NDArray[np.float32]  # (W, M)
    drift: NDArray[np.float32]  # (W, M) sideways velocity, 0 before the fork
    number: NDArray[np.uint64]  # (W, M) which hazard of its episode sits in the slot
    hazards: NDArray[np.uint64]  # (W,) hazards released so far
    countdown: NDArray[np.int32]  # (W,) steps to the next one
    time: NDArray[np.int32]  # (W,) steps survived
    seed: NDArray[np.uint64]  # (W,)

    def copy(self) -> DodgeState:
        """A saved state: later steps of the original leave it alone."""
        return self.take(slice(None))

    def take(self, index: Any) -> DodgeState:
        """The worlds that ``index`` selects (integers, possibly repeated, a mask or a slice), copied."""
        return DodgeState(**{f.name: np.array(getattr(self, f.name)[index]) for f in fields(self)})

    def put(self, mask: NDArray[np.bool_], other: DodgeState) -> None:
        """Overwrite the worlds under ``mask`` with those of ``other``, in order."""
        for f in fields(self):
            getattr(self, f.name)[mask] = getattr(other, f.name)

    def reseeded(self, seed: NDArray[np.uint64]) -> DodgeState:
        """The same present with another future: hazards in the air have not chosen their side yet."""
        return replace(self.copy(), seed=np.array(seed, np.uint64))


def uniform(seed: NDArray[np.uint64], draw: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Draw number ``draw`` of stream ``seed``, in [0, 1): noise from a counter (Salmon et al. 2011) and SplitMix64.

    A generator object for each world would make a world's luck depend on its neighbours or cost a loop.
    """
    z = seed + (draw + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def begin(seed: NDArray[np.uint64], rules: Rules = Rules()) -> DodgeState:
    """Worlds at the start of an episode: the agent somewhere in the middle half, the first hazard about to appear."""
    seed = np.array(seed, np.uint64)  # the state's own
    worlds, zeros = len(seed), np.zeros(len(seed), np.float32)
    slots = np.zeros((worlds, rules.slots), np.float32)
    return DodgeState(
        x=SIZE * (0.25 + 0.5 * uniform(seed, np.zeros_like(seed))),
        velocity=zeros,
        hazard_x=slots + SIZE / 2,
        hazard_y=slots + np.float32(NOWHERE),
        drift=slots.copy(),
        number=slots.astype(np.uint64),
        hazards=zeros.astype(np.uint64),
        countdown=np.ones(worlds, np.int32),
        time=np.zeros(worlds, np.int32),
        seed=seed,
    )


def advance(state: DodgeState, action: NDArray[np.floating], rules: Rules = Rules()) -> NDArray[np.bool_]:
    """Move W worlds one step, in place. ``action`` (W,) in [-1, 1] is throttle. Returns (W,): hit in this step."""
    half_agent, half_hazard = rules.agent[0] / 2, rules.hazard / 2
    s = state
    # The agent: damped, pushed, stopped by the walls.
    s.velocity = rules.friction * s.velocity + rules.power * np.clip(action, -1.0, 1.0).astype(np.float32)
    free = s.x + s.velocity
    s.x = np.clip(free, half_agent, SIZE - half_agent)
    s.velocity = np.where(s.x == free, s.velocity, np.float32(0))
    # The hazards: they fall; on leaving the band each turns to a side; the walls reflect them.
    before = s.hazard_y
    s.hazard_y = before + np.float32(rules.fall)
    forks = (before < rules.fork_row) & (s.hazard_y >= rules.fork_row)
    if forks.any():
        w, m = np.nonzero(forks)
        s.drift[w, m] = np.where(uniform(s.seed[w], 3 * s.number[w, m] + 3) < 0.5, -rules.turn, rules.turn)
    s.hazard_x += s.drift
    outside = (s.hazard_x < half_hazard) | (s.hazard_x > SIZE - half_hazard)
    s.drift[outside] *= -1
    s.hazard_x += 2 * s.drift * outside
    # A new hazard every few steps, above the frame and near the agent's column.
    s.time += 1
    s.countdown -= 1
    (w,) = np.nonzero(s.countdown <= 0)
    if len(w):
        n = s.hazards[w]
        slot = n % np.uint64(rules.slots)
        aim = s.x[w] + rules.aim * (2 * uniform(s.seed[w], 3 * n + 1) - 1)
        s.hazard_x[w, slot] = np.clip(aim, half_hazard, SIZE - half_hazard)
        s.hazard_y[w, slot] = -half_hazard
        s.drift[w, slot] = 0
        s.number[w, slot] = n
        s.hazards[w] = n + np.uint64(1)
        least, most = rules.gap
        s.countdown[w] = least + (uniform(s.seed[w], 3 * n + 2) * (most - least + 1)).astype(np.int32)
    near = np.abs(s.hazard_x - s.x[:, None]) < half_agent + half_hazard
    low = np.abs(s.hazard_y - (SIZE - rules.agent[1] / 2)) < (rules.agent[1] + rules.hazard) / 2
    return (near & low).any(axis=1)


def coverage(centre: NDArray[np.float32], width: float, size: int = SIZE) -> NDArray[np.float32]:
    """How much of each pixel an interval of a ``width`` of at least 1 covers: exact anti-aliasing on one axis.

    ``centre`` (...,) -> (..., size).
    """
    pixel = np.arange(size, dtype=np.float32) + np.float32(0.5)
    overlap = np.float32((width + 1) / 2) - np.abs(pixel - centre[..., None].astype(np.float32))
    return np.clip(overlap, 0.0, 1.0, out=overlap)


def draw(state: DodgeState, rules: Rules = Rules()) -> NDArray[np.uint8]:
    """Frames (W, 32, 32, 1). A box is an outer product of rows and columns, so a frame is one small matrix product."""
    x = np.concatenate([state.hazard_x, state.x[:, None]], axis=1)
    y = np.concatenate([state.hazard_y, np.full((len(x), 1), SIZE - rules.agent[1] / 2, np.float32)], axis=1)
    columns, rows = coverage(x, rules.hazard), coverage(y, rules.hazard)  # (W, M + 1, 32)
    columns[:, -1], rows[:, -1] = coverage(state.x, rules.agent[0]), AGENT_SHADE * coverage(y[:, -1], rules.agent[1])
    frames = np.matmul(rows.transpose(0, 2, 1), columns)
    np.clip(frames, 0.0, 1.0, out=frames)  # three times faster than np.minimum
    frames *= 255
    frames = frames.astype(np.uint8)
    frames[:, rules.band[0] : rules.band[1]] = BAND_SHADE
    return frames[..., None]


def picture(state: DodgeState, world: int = 0, rules: Rules = Rules(), scale: int = 12) -> NDArray[np.uint8]:
    """One world for human eyes, (32·scale, 32·scale, 3). Behind the band, what the agent cannot see shows faintly."""
    size = SIZE * scale
    y_agent = SIZE - rules.agent[1] / 2

    def box(x: float, y: float, width: float, height: float) -> NDArray[np.float32]:
        column = coverage(np.float32(scale * x) * np.ones((), np.float32), scale * width, size)
        row = coverage(np.float32(scale * y) * np.ones((), np.float32), scale * height, size)
        return (row[:, None] * column)[..., None]

    image = np.tile(np.asarray(NIGHT, np.float32), (size, size, 1))
    top, bottom = rules.band
    veil = box(SIZE / 2, (top + bottom) / 2, SIZE, bottom - top)
    for x, y in zip(state.hazard_x[world], state.hazard_y[world], strict=True):
        image += box(x, y, rules.hazard, rules.hazard) * (np.asarray(ORANGE) - image)
    image += 0.8 * veil * (np.asarray(GREY) - image)
    image += box(state.x[world], y_agent, *rules.agent) * (np.asarray(SKY) - image)
    return np.round(image).astype(np.uint8)


class DodgeVectorEnv(gym.vector.VectorEnv[NDArray[np.uint8], NDArray[np.float32], NDArray[Any]]):
    """W worlds of Dodge at once: observations uint8 (W, 32, 32, 1), actions (W, 1) in [-1, 1].

    The reward is 1 a step survived. A hit terminates an episode (reward 0), ``rules.max_steps`` truncates it. An ended
    world restarts in the same step: the observation returned is the first of its next episode, and
    ``info["final_obs"]`` holds the last of the old one.
    World i of ``reset(seed=s)`` plays the same episode as a single world reset with seed s + i.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]  # Gymnasium forgot its ClassVar
        "render_modes": ["rgb_array"],
        "render_fps": 15,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(self, num_envs: int = 1, render_mode: str | None = None, rules: Rules = Rules()) -> None:
        if num_envs < 1:
            raise WorldError(f"Dodge needs at least one world, not {num_envs}.")
        self.num_envs, self.render_mode, self.rules = num_envs, render_mode, rules
        self.single_observation_space = Box(0, 255, (SIZE, SIZE, 1), np.uint8)
        self.single_action_space = Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.state = begin(np.arange(num_envs, dtype=np.uint64), rules)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Start every world anew; ``options={"reset_mask": (W,) bool}`` restarts only some of them."""
        mask = np.ones(self.num_envs, bool) if not options else np.asarray(options.get("reset_mask", True), bool)
        mask = np.broadcast_to(mask, self.num_envs)
        if isinstance(seed, (list, tuple)):
            seeds = list(seed)
            if len(seeds) != self.num_envs:
                raise WorldError(f"Dodge wants one seed for each of its {self.num_envs} worlds, not {len(seeds)}.")
        else:
            seeds = [seed if seed is None else seed + i for i in range(self.num_envs)]
        if isinstance(seed, int):
            self._np_random, self._np_random_seed = gym.utils.seeding.np_random(seed)
        fresh = self.np_random.integers(0, 2**63, self.num_envs)
        chosen = np.array([f if s is None else s for s, f in zip(seeds, fresh, strict=True)], np.uint64)
        self.state.put(mask, begin(chosen[mask], self.rules))
        return draw(self.state, self.rules), {}

    def step(self, actions: NDArray[Any]) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """One step of every world. Raises WorldError for NaN or for the wrong number of actions."""
        actions = np.asarray(actions, np.float32)
        if actions.shape != (self.num_envs, 1) or not np.isfinite(actions).all():
            raise WorldError(f"Dodge wants finite actions of shape ({self.num_envs}, 1), not {actions.shape} or NaN.")
        terminated = advance(self.state, actions[:, 0], self.rules)
        truncated = ~terminated & (self.state.time >= self.rules.max_steps)
        frames, info = draw(self.state, self.rules), {}
        ended = terminated | truncated
        if ended.any():
            info = {"final_obs": frames.copy(), "_final_obs": ended}
            # The next episode's seed follows from this one's, so a world's luck never depends on its neighbours.
            seed = self.state.seed[ended]
            following = (uniform(seed, np.full_like(seed, NEXT_EPISODE)) * 2.0**24).astype(np.uint64)
            following += seed << np.uint64(24)
            self.state.put(ended, begin(following, self.rules))
            frames[ended] = draw(self.state.take(ended), self.rules)
        return frames, (~terminated).astype(np.float32), terminated, truncated, info

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """A large colour picture of each world, for eyes that may not tell red from green."""
        if self.render_mode is None:
            return None
        return tuple(picture(self.state, w, self.rules) for w in range(self.num_envs))


class DodgeEnv(gym.Env[NDArray[np.uint8], NDArray[np.float32]]):
    """One world of Dodge with Gymnasium's usual interface: ``gymnasium.make("wmcourse/Dodge-v0")``."""

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["rgb_array"],
        "render_fps": 15,
    }

    def __init__(self, render_mode: str | None = None, rules: Rules = Rules()) -> None:
        self.render_mode, self.rules = render_mode, rules
        self.observation_space = Box(0, 255, (SIZE, SIZE, 1), np.uint8)
        self.action_space = Box(-1.0, 1.0, (1,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Start an episode."""
        super().reset(seed=seed)
        chosen = int(self.np_random.integers(0, 2**63)) if seed is None else seed
        self.state = begin(np.array([chosen], np.uint64), self.rules)
        return draw(self.state, self.rules)[0], {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """One step. Raises WorldError for NaN or a wrong shape."""
        action = np.asarray(action, np.float32)
        if action.shape != (1,) or not np.isfinite(action).all():
            raise WorldError(f"Dodge wants one finite action, shape (1,), not {action!r}.")
        hit = bool(advance(self.state, action, self.rules)[0])
        truncated = not hit and int(self.state.time[0]) >= self.rules.max_steps
        return draw(self.state, self.rules)[0], float(not hit), hit, truncated, {}

    def render(self) -> NDArray[np.uint8] | None:
        """A large colour picture, (384, 384, 3)."""
        return None if self.render_mode is None else picture(self.state, 0, self.rules)
