"""Lesson 11's experiments: the agent that decides as the learner wrote it, what its plans promise and keep, evolution
inside a dream, and what a memory is worth in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from wmcourse import (
    kl_divergence_loss,
    mdn_rnn,
    mixture_density_networks,
    reparameterization_trick,
    world_models_training,
)
from wmcourse.cross_entropy_method import correlated_noise
from wmcourse.engine.rollouts import Rollouts
from wmcourse.engine.runs import Config
from wmcourse.lessons.world_models_training.exercises import decide as course_decide
from wmcourse.world_models_training import ControllerAgent, LatentPlanner, LinearController, Score, WorldModel
from wmcourse.worlds import DodgeVectorEnv
from wmcourse.worlds.dodge import DodgeState, advance

Decide = Callable[..., tuple[Tensor, Tensor, Tensor]]


class YourAgent(LatentPlanner):
    """The planner, which forgets, chooses and remembers by ``decide``."""

    def __init__(
        self, model: WorldModel, decide: Decide = course_decide, seed: int = 0, config: Config | None = None
    ) -> None:
        super().__init__(model, seed, config=config)
        self.decide, self.began = decide, torch.zeros(0, dtype=torch.bool)

    def begin(self, worlds: int) -> None:
        super().begin(worlds)
        self.began = torch.ones(worlds, dtype=torch.bool)

    def keep(self, index: NDArray[np.int64]) -> None:
        super().keep(index)
        self.began = self.began[torch.from_numpy(index)]

    @torch.no_grad()
    def act(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        z, _ = self.model.encode(frames)
        action, *state = self.decide(self.model.rnn, self.choose, z, self.began, *self.state)
        self.state, self.began = (state[0], state[1]), torch.zeros_like(self.began)
        return action.numpy()


# --- What the best of many promises


def best_of(n: int) -> float:
    """The expected maximum of n standard normal numbers: the integral of z·n·φ(z)·Φ(z)ⁿ⁻¹, as a sum over a fine grid."""
    z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    return float(torch.trapezoid(z * n * density * torch.special.ndtr(z) ** (n - 1), z))


# --- What the memory is worth, in nats


class Nats(NamedTuple):
    """Nats per frame, a mean for each of some windows of held-out frames."""

    rate: NDArray[np.float32]  # KL(q ‖ N(0, I)): what stage 2 pays for a code
    surprise: NDArray[np.float32]  # E[−log p_M(z_{t+1} | past)]: what stage 3 pays for it
    twice: NDArray[np.float32]  # E[−log N(z; 0, I)]: the share of the sum that is paid twice
    joint: NDArray[np.float32]  # KL(q ‖ p_M): what the joint bound pays


@torch.no_grad()
def nats_per_frame(
    model: WorldModel, rollouts: Rollouts, latents: NDArray[np.float32], windows: int = 600, length: int = 32
) -> Nats:
    """What codes cost against N(0, I), and against what the memory expected, on the same held-out frames.

    ``rate`` and ``twice`` are in closed form, ``surprise`` and ``joint`` estimated with one z for each frame: that the
    first three make the last is so within the error of that.
    """
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    rows = []
    for _ in range(windows // 100):
        steps, mask = rollouts.windows(rng, 100, length)
        now = steps[:, :-1]
        mu, logvar = torch.from_numpy(np.ascontiguousarray(latents[steps])).unbind(2)
        z = reparameterization_trick.reparameterize(mu, logvar, generator)
        p, _ = model.rnn(z[:, :-1], torch.from_numpy(rollouts.actions[now]))
        inside = torch.from_numpy(mask * ~rollouts.next_is_missing(now))
        surprise = mixture_density_networks.mixture_nll(z[:, 1:], p.log_pi, p.mu, p.log_sigma)
        mu, logvar = mu[:, 1:], logvar[:, 1:]
        twice = 0.5 * (mu.square() + logvar.exp() + math.log(2 * math.pi)).sum(-1)
        log_q = -0.5 * ((z[:, 1:] - mu).square() / logvar.exp() + logvar + math.log(2 * math.pi)).sum(-1)
        codes = (mu.flatten(0, 1), logvar.flatten(0, 1))  # lesson 03 asks for (B, D)
        rate = kl_divergence_loss.kl_standard_normal(*codes).unflatten(0, mu.shape[:2])
        values = torch.stack([rate, surprise, twice, log_q + surprise])
        rows.append(((values * inside).sum(-1) / inside.sum(-1))[:, inside.sum(-1) > 0])
    return Nats(*torch.cat(rows, dim=1).numpy())


# --- What a plan promises, and what it keeps


class Situations(NamedTuple):
    """Moments in the agent's life: what it saw and remembered, and what was true."""

    z: Tensor  # (S, Z)
    state: tuple[Tensor, Tensor]  # (S, H) each
    truth: list[DodgeState]


@torch.no_grad()
def situations(
    model: WorldModel, decide: Decide, worlds: int = 24, first_seed: int = 30_000, every: int = 12, times: int = 5
) -> Situations:
    """The agent's decisions number ``every``, 2·``every``, … in some worlds, as long as they last."""
    world, agent = DodgeVectorEnv(worlds), YourAgent(model, decide)
    frames, _ = world.reset(seed=first_seed)
    playing = np.arange(worlds)
    agent.begin(worlds)
    zs, hs, cs, truth = [], [], [], []
    actions = np.zeros((worlds, 1), np.float32)
    for step in range(1, every * times + 1):
        if step % every == 0:
            zs.append(model.encode(frames[playing])[0])
            hs.append(agent.state[0])
            cs.append(agent.state[1])
            truth.append(world.state.take(playing))
        actions[playing] = agent.act(frames[playing])
        frames, _, terminated, truncated, _ = world.step(actions)
        going = np.flatnonzero(~(terminated | truncated)[playing])
        if len(going) < len(playing):
            playing = playing[going]
            agent.keep(going)
    return Situations(torch.cat(zs), (torch.cat(hs), torch.cat(cs)), truth)


def true_returns(truth: list[DodgeState], plans: NDArray[np.float32], futures: int = 8, seed: int = 0) -> NDArray[Any]:
    """Steps survived by plans (S, N, L) in the world, carried out blindly: the mean over some draws of the forks to come."""
    rng, rows, first = np.random.default_rng(seed), [], 0
    rules = DodgeVectorEnv(1).rules
    for state in truth:
        here = plans[first : first + len(state.x)]
        first += len(state.x)
        worlds, candidates, horizon = here.shape
        total = np.zeros((worlds, candidates))
        for _ in range(futures):
            now = state.reseeded(np.asarray(rng.integers(0, 2**63, worlds), np.uint64))
            now = now.take(np.repeat(np.arange(worlds), candidates))
            alive, survived = np.ones(worlds * candidates, bool), np.zeros(worlds * candidates)
            for t in range(horizon):
                alive &= ~advance(now, np.ascontiguousarray(here[:, :, t].reshape(-1)), rules)
                survived += alive
            total += survived.reshape(worlds, candidates) / futures
        rows.append(total)
    return np.concatenate(rows)


@torch.no_grad()
def dreamt_returns(
    model: WorldModel, now: Situations, plans: Tensor, dreams: int, temperature: float, seed: int
) -> Tensor:
    """Returns (S, dreams, N) of plans (S, N, L, 1), each dreamt some times."""
    generator = torch.Generator().manual_seed(seed)
    rows = [
        world_models_training.plan_returns(model.rnn, now.z, now.state, plans, temperature, generator)
        for _ in range(dreams)
    ]
    return torch.stack(rows, dim=1)


def some_plans(config: Config, situations: int, seed: int = 0) -> Tensor:
    """Plans (S, N, L, 1) of slow noise, as the agent's first search draws them."""
    generator = torch.Generator().manual_seed(seed)
    noise = correlated_noise((situations, config.candidates, config.horizon, 1), config.correlation, generator)
    return (0.8 * noise).clamp(-1, 1)


# --- An episode, with all that the agent thought


@dataclass
class Film:
    """One episode as the agent lived it, T decisions."""

    frames: NDArray[np.uint8]  # (T + L, H, W, C) what it saw; after the end the last frame again
    dreams: NDArray[
        np.uint8
    ]  # (T, L + 1, H, W, C) its chosen plan as it dreamt it; the first is the frame as it sees it
    pushes: NDArray[np.float32]  # (T, L) the chosen plan
    scores: NDArray[np.float32]  # (T, N) the candidates, best first
    ended: bool  # by a hit


@torch.no_grad()
def film(model: WorldModel, decide: Decide, seed: int, steps: int = 90) -> Film:
    """Play the episode of ``seed`` and keep every plan, and the dream of the chosen one."""
    world, agent = DodgeVectorEnv(1), YourAgent(model, decide)
    horizon = model.config.horizon
    frames, _ = world.reset(seed=seed)
    agent.begin(1)
    seen, dreams, pushes, scores, hit = [], [], [], [], False
    original = agent.mpc.planner.plan

    def watched(score: Any, *more: Any) -> Any:
        def noted(plans: Tensor) -> Tensor:
            values = score(plans)
            scores.append(values[0].sort(descending=True).values.numpy())
            return values

        return original(noted, *more)

    agent.mpc.planner.plan = watched  # type: ignore[method-assign, assignment]
    for _ in range(steps):
        seen.append(frames[0])
        state, (z, _) = agent.state, model.encode(frames)
        action = agent.act(frames)
        assert agent.mpc.last is not None
        plan = agent.mpc.last.actions[0]
        latents = [z]
        for push in plan:
            dream = mdn_rnn.dream_step(model.rnn, latents[-1], push[None], state, 0.0)
            state = dream.state
            latents.append(dream.z)
        dreams.append(model.decode(torch.cat(latents)))
        pushes.append(plan[:, 0].numpy())
        frames, _, terminated, truncated, _ = world.step(action)
        if terminated[0] or truncated[0]:
            hit = bool(terminated[0])
            break
    frames_after = [seen[-1]] * horizon
    return Film(np.stack(seen + frames_after), np.stack(dreams), np.stack(pushes), np.stack(scores), hit)


# --- Evolution inside a dream

Act = Callable[[Tensor, Tensor, Tensor], Tensor]


def first_latents(model: WorldModel, worlds: int = 256, seed: int = 5_000) -> Tensor:
    """Codes of first frames, for dreams to start from."""
    frames, _ = DodgeVectorEnv(worlds).reset(seed=seed)
    return model.encode(frames)[0]


class Acting(NamedTuple):
    """A population that acts by the learner's function, where the course's dreams ask a ``LinearController``."""

    act: Act

    def population(self, z: Tensor, h: Tensor, weights: Tensor) -> Tensor:
        return self.act(weights, z, h)


def lives(
    model: WorldModel,
    act: Act,
    weights: Tensor,
    starts: Tensor,
    steps: int,
    temperature: float,
    generator: torch.Generator,
) -> Tensor:
    """Returns (N, E) of N controllers in E dreams each, which end when a coin with the dream's P(done) says so."""
    acting = cast(LinearController, Acting(act))
    return world_models_training.dream_returns(model, acting, weights, starts, steps, temperature, generator)


def hold(push: float) -> Act:
    """One push for ever, as an answer of each controller in each dream: what evolution has to beat."""
    return lambda weights, z, h: z.new_full((*z.shape[:2], 1), push)


def interval(score: Score) -> str:
    """The mean and its 95 % interval, as the tables have them."""
    return f"{score.mean:.0f} [{score.ci95[0]:.0f}, {score.ci95[1]:.0f}]"


class Evolved(NamedTuple):
    """A controller that grew up in a dream."""

    weights: Tensor  # (P,)
    history: Tensor  # (G,) mean return of each generation


def evolve_in_dream(
    model: WorldModel,
    evolve: Callable[..., tuple[Tensor, Tensor]],
    act: Act,
    temperature: float,
    generations: int = 15,
    population: int = 32,
    dreams: int = 8,
    steps: int = 200,
    seed: int = 0,
) -> Evolved:
    """The learner's ``evolve`` with the learner's controller, inside the dream; each generation meets other dreams."""
    starts, generator = first_latents(model), torch.Generator().manual_seed(seed)
    size = model.config.latent_dim + model.config.hidden_dim + 1
    noise = torch.randn(generations, population, size, generator=generator)
    bar = tqdm(total=generations, desc=f"evolution at τ = {temperature:g}", unit="generation")

    def returns_of(weights: Tensor) -> Tensor:
        z = starts[torch.randint(len(starts), (dreams,), generator=generator)]
        bar.update()
        return lives(model, act, weights, z, steps, temperature, generator)

    mean, history = evolve(returns_of, noise, 0.3, population // 5, 0.05)
    bar.close()
    return Evolved(mean, history)


def controller_of(model: WorldModel, weights: Tensor) -> ControllerAgent:
    """The controller with these weights, as an agent for the world."""
    controller = LinearController(model.config.latent_dim, model.config.hidden_dim, 1)
    torch.nn.utils.vector_to_parameters(weights, controller.parameters())
    return ControllerAgent(model, controller)
