"""The complete system: collect, compress (V), predict (M), and plan or control (C) in the dream; then an honest score.

Ha & Schmidhuber (2018) train in three stages, each on what the stage before left on disk:

    world ─► rollouts ─► VAE ─► latents (mu, logvar) ─► MDN-RNN ─► planner or controller ─► scores
             stage 1     stage 2                         stage 3

Latents are cached as (mu, logvar) and resampled for every batch: the network sees the encoder's doubt, and no frame is
ever encoded twice. Plans are made in latent space, hundreds at a time and for many worlds at once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from wmcourse.cross_entropy_method import CEM, CategoricalCEM
from wmcourse.engine.errors import RunError
from wmcourse.engine.loop import fit, generator_for, load_tensors, load_weights
from wmcourse.engine.rollouts import FIELDS, Rollouts, collect_shards, write_array
from wmcourse.engine.runs import Config, Ledger, read_config, remember_config
from wmcourse.mdn_rnn import MDNRNN, State, dream_step, sequence_loss
from wmcourse.model_predictive_control import MPC, Planner, score_plans
from wmcourse.reparameterization_trick import reparameterize
from wmcourse.vae_complete_loss import ConvVAE, vae_loss
from wmcourse.worlds import ActionCode, make

Show = Callable[[str, int, dict[str, float]], None]


class WorldModel(nn.Module):
    """V and M together, with the code of the world's actions: everything that planning and dreaming need."""

    def __init__(self, config: Config, image_shape: tuple[int, int, int], actions: ActionCode) -> None:
        super().__init__()
        self.config, self.image_shape, self.actions = config, image_shape, actions
        self.vae = ConvVAE(image_shape, config.latent_dim, config.width)
        self.rnn = MDNRNN(config.latent_dim, actions.dim, config.hidden_dim, config.components)

    @property
    def device(self) -> torch.device:
        return self.rnn.rnn.bias.device

    def to_input(self, frames: NDArray[np.uint8]) -> Tensor:
        """uint8 (n, H, W, C) -> float (n, C, H, W) in [0, 1]."""
        return torch.from_numpy(frames).to(self.device).permute(0, 3, 1, 2).float().div(255)

    @torch.no_grad()
    def encode(self, frames: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        """uint8 frames (n, H, W, C) -> mu, logvar (n, Z)."""
        return self.vae.encode(self.to_input(frames))

    @torch.no_grad()
    def decode(self, z: Tensor) -> NDArray[np.uint8]:
        """Latents (n, Z) -> uint8 frames (n, H, W, C)."""
        pixels = torch.sigmoid(self.vae.decode(z)).mul(255).round().byte()
        return pixels.permute(0, 2, 3, 1).cpu().numpy()


def collect(config: Config, directory: Path, progress: Callable[[int], None] = lambda shard: None) -> Rollouts:
    """Stage 1: random rollouts to disk, ``config.shards`` shards of ``worlds`` x ``steps``."""
    world = make(config.world, config.worlds, **config.world_options)
    code = ActionCode(world.single_action_space)

    def one(number: int) -> dict[str, NDArray[Any]]:
        rng = np.random.default_rng((config.seed, number))
        frame, _ = world.reset(seed=int(rng.integers(2**31)))
        action = code.sample(rng, config.worlds)
        columns: dict[str, list[NDArray[Any]]] = {name: [] for name in FIELDS}
        for _ in range(config.steps):
            switch = rng.random(config.worlds) < config.hold
            action = np.where(switch[:, None], code.sample(rng, config.worlds), action)
            following, reward, terminated, truncated, _ = world.step(code.decode(action))
            row = (frame, action, reward.astype(np.float32), terminated, terminated | truncated)
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
            frame = following
        return {name: np.stack(column, axis=1) for name, column in columns.items()}

    try:
        return collect_shards(directory, config.shards, one, progress)
    finally:
        world.close()


def train_vae(model: WorldModel, rollouts: Rollouts, path: Path, show: Show | None = None) -> dict[str, Any]:
    """Stage 2: the VAE on random frames. Returns what ``fit`` returns."""
    config = model.config

    def loss(step: int) -> dict[str, Tensor]:
        index = np.random.default_rng((config.seed, 2, step)).integers(0, len(rollouts), config.vae_batch)
        x = model.to_input(rollouts.frames(index))
        logits, mu, logvar = model.vae(x, generator_for(config.seed, step, model.device))
        return vae_loss(logits, x, mu, logvar, config.beta)._asdict()

    return fit(model.vae, loss, config.vae_steps, config.vae_rate, path, "VAE", show, config.vae_batch, "frame")


def encode_rollouts(model: WorldModel, rollouts: Rollouts, path: Path) -> NDArray[np.float32]:
    """(mu, logvar) of every frame, once: (steps, 2, Z) float32 on disk, memory-mapped. Raises RunError for a broken
    file.
    """
    shape = (len(rollouts), 2, model.config.latent_dim)
    if not path.is_file():
        blocks = (np.arange(i, min(i + 1024, len(rollouts))) for i in range(0, len(rollouts), 1024))
        coded = (torch.stack(model.encode(rollouts.frames(index)), dim=1).cpu().numpy() for index in blocks)
        write_array(path, shape, coded)
    try:
        latents = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:  # EOFError: an empty file
        raise RunError(f"{path} is truncated ({error}). Delete it, then run training again.") from error
    if latents.shape != shape:
        raise RunError(f"{path} is {latents.shape}, not {shape}. Delete it, then run training again.")
    return latents


def train_mdn_rnn(
    model: WorldModel, rollouts: Rollouts, latents: NDArray[np.float32], path: Path, show: Show | None = None
) -> dict[str, Any]:
    """Stage 3: the MDN-RNN on windows of resampled latents. Returns what ``fit`` returns."""
    config = model.config

    def tensor(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(model.device)

    def loss(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((config.seed, 3, step))
        steps, mask = rollouts.windows(rng, config.rnn_batch, config.rnn_length)
        now = steps[:, :-1]
        mu, logvar = tensor(latents[steps]).unbind(2)  # (B, T + 1, Z)
        z = reparameterize(mu, logvar, generator_for(config.seed, step, model.device))
        return sequence_loss(
            model.rnn,
            z,
            tensor(rollouts.actions[now]),
            tensor(rollouts.rewards[now]),
            tensor(rollouts.terminated[now]),
            tensor(mask),
            tensor(rollouts.next_is_missing(now)),
            config.done_weight,
        )._asdict()

    return fit(model.rnn, loss, config.rnn_steps, config.rnn_rate, path, "MDN-RNN", show, config.rnn_batch, "sequence")


class Agent(Protocol):
    """Whatever plays: it is told how many worlds there are, acts for all of them, and forgets those that ended."""

    def begin(self, worlds: int) -> None: ...
    def act(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]: ...
    def keep(self, index: NDArray[np.int64]) -> None: ...


def planner_for(config: Config, actions: ActionCode) -> CEM | CategoricalCEM:
    """The optimiser that both our agent and the oracle use."""
    if actions.kind == "discrete":
        return CategoricalCEM(config.horizon, actions.dim, config.candidates, config.iterations, config.elites)
    return CEM(
        config.horizon, actions.dim, config.candidates, config.iterations, config.elites, correlation=config.correlation
    )


def plan_returns(
    rnn: MDNRNN,
    z: Tensor,
    state: State,
    plans: Tensor,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """What N plans are worth in the dream, in each of W worlds: plans (W, N, L, A) -> expected returns (W, N).

        Σ_t P(alive at t)·r_{t+1},    P(alive at t+1) = P(alive at t)·(1 - P(done at t+1))

    Each plan is dreamt once, from z (W, Z) and the memory ``state``, h and c (W, H), that the agent has at this moment.
    """

    def step(state: tuple[Tensor, ...], action: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        z, h, c = state
        dream = dream_step(rnn, z, action, (h, c), temperature, generator)
        return (dream.z, *dream.state), dream.reward, dream.done_probability

    return score_plans(step, (z, *state), plans)


class LatentPlanner:
    """Acts from pixels by planning in the dream: encode, imagine ``candidates`` futures, begin the best.

    The memory h is carried from step to step, never reset within an episode; the learned heads give reward and done.
    """

    def __init__(
        self, model: WorldModel, seed: int = 0, planner: Planner | None = None, config: Config | None = None
    ) -> None:
        self.model, self.config = model, config or model.config  # another config: another way to plan, the same model
        self.mpc = MPC(planner or planner_for(self.config, model.actions))
        self.generator = torch.Generator(model.device).manual_seed(seed)
        self.state: State = model.rnn.initial_state(0)

    def begin(self, worlds: int) -> None:
        self.state = self.model.rnn.initial_state(worlds)
        self.mpc.reset()

    def keep(self, index: NDArray[np.int64]) -> None:
        h, c = self.state
        self.state = (h[index], c[index])
        self.mpc.keep(torch.from_numpy(index))

    def choose(self, z: Tensor, state: State) -> Tensor:
        """The first action (W, A) of the best plan found, from z (W, Z) and the memory h and c (W, H)."""
        model, config = self.model, self.config

        def score(plans: Tensor) -> Tensor:  # (W, N, L, A) -> (W, N)
            actions = as_model_action(model.actions, plans)
            returns = plan_returns(model.rnn, z, state, actions, config.temperature, self.generator)
            # Among plans that all survive, the gentle one: it keeps the agent free to move either way.
            return returns - config.effort * plans.square().mean(dim=(2, 3))

        return as_model_action(model.actions, self.mpc.act(score, worlds=len(z), generator=self.generator))

    @torch.no_grad()
    def act(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        z, _ = self.model.encode(frames)
        action = self.choose(z, self.state)
        self.state = self.model.rnn.step(z, action, self.state)
        return action.cpu().numpy()


class LinearController(nn.Module):
    """a = tanh(W [z, h] + b): the paper's C, with 867 parameters for Z = 32, H = 256, A = 3.

    So small that evolution can find it without gradients, inside the dream. As an ``Agent`` it plays in the real world.
    """

    def __init__(self, latent_dim: int, hidden_dim: int, action_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(latent_dim + hidden_dim, action_dim)

    def forward(self, z: Tensor, h: Tensor) -> Tensor:
        """z (..., Z), h (..., H) -> a (..., A) in (-1, 1)."""
        return torch.tanh(self.linear(torch.cat([z, h], dim=-1)))

    @property
    def size(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def population(self, z: Tensor, h: Tensor, weights: Tensor) -> Tensor:
        """The same for N controllers at once: z (N, E, Z), h (N, E, H), weights (N, size) -> a (N, E, A)."""
        w, b = weights.split([self.linear.weight.numel(), self.linear.bias.numel()], dim=-1)
        x = torch.cat([z, h], dim=-1)
        return torch.tanh(torch.baddbmm(b[:, None], x, w.view(len(w), *self.linear.weight.shape).mT))


@torch.no_grad()
def dream_returns(
    model: WorldModel,
    controller: LinearController,
    weights: Tensor,
    z: Tensor,
    steps: int,
    temperature: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Returns (N, E) of N controllers, ``weights`` (N, size), in E dreams each, from z (E, Z) and no memory."""
    n, e = len(weights), len(z)
    z, state = z.repeat(n, 1), model.rnn.initial_state(n * e)
    total, alive = z.new_zeros(n * e), z.new_ones(n * e)
    for _ in range(steps):
        action = controller.population(z.view(n, e, -1), state[0].view(n, e, -1), weights).view(n * e, -1)
        dream = dream_step(model.rnn, z, as_model_action(model.actions, action), state, temperature, generator)
        z, state = dream.z, dream.state
        total += alive * dream.reward
        alive *= torch.rand(n * e, generator=generator, device=z.device) >= dream.done_probability
        if not alive.any():
            break
    return total.view(n, e)


def as_model_action(actions: ActionCode, a: Tensor) -> Tensor:
    """A controller's output in (-1, 1) as the action vector that the model was trained with."""
    if actions.kind == "discrete":
        return nn.functional.one_hot(a.argmax(-1), actions.dim).to(a.dtype)
    return (a > 0).to(a.dtype) if actions.kind == "multibinary" else a


def evolve_controller(
    model: WorldModel,
    starts: Tensor,
    temperature: float = 1.0,
    generations: int = 40,
    population: int = 64,
    dreams: int = 8,
    steps: int = 300,
    seed: int = 0,
    show: Show | None = None,
) -> LinearController:
    """Evolve a controller inside the dream with the cross-entropy method; ``starts`` (S, Z) are latents of first
    frames.

    The optimiser is the planner of lesson 10 with weights in place of actions: it neither knows nor cares.
    """
    controller = LinearController(model.config.latent_dim, model.config.hidden_dim, model.actions.dim).to(model.device)
    generator = torch.Generator(model.device).manual_seed(seed)
    generation = 0

    def score(plans: Tensor) -> Tensor:  # (1, N, 1, P) -> (1, N)
        nonlocal generation
        z = starts[torch.randint(len(starts), (dreams,), generator=generator, device=starts.device)]
        returns = dream_returns(model, controller, plans[0, :, 0], z, steps, temperature, generator).mean(dim=1)
        if show is not None:
            show("controller", generation, {"total": float(returns.mean()), "best": float(returns.max())})
        generation += 1
        return returns[None]

    limit = 10.0  # weights beyond it only saturate tanh
    optimiser = CEM(
        1,
        controller.size,
        population,
        generations,
        max(2, population // 5),
        low=-limit,
        high=limit,
        init_std=0.3,
        min_std=0.05,
    )
    plan = optimiser.plan(score, generator=generator)
    nn.utils.vector_to_parameters(plan.mean[0, 0], controller.parameters())  # the mean: the best one was partly luck
    return controller


class ControllerAgent:
    """A linear controller in the real world: it sees z and the memory h, nothing else."""

    def __init__(self, model: WorldModel, controller: LinearController) -> None:
        self.model, self.controller = model, controller
        self.state: State = model.rnn.initial_state(0)

    def begin(self, worlds: int) -> None:
        self.state = self.model.rnn.initial_state(worlds)

    def keep(self, index: NDArray[np.int64]) -> None:
        self.state = (self.state[0][index], self.state[1][index])

    @torch.no_grad()
    def act(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        z, _ = self.model.encode(frames)
        action = as_model_action(self.model.actions, self.controller(z, self.state[0]))
        self.state = self.model.rnn.step(z, action, self.state)
        return action.cpu().numpy()


class Score(NamedTuple):
    """Returns of some episodes, their mean, and the 95 % interval of the mean (normal approximation)."""

    mean: float
    ci95: tuple[float, float]
    episodes: int
    returns: NDArray[np.float32]


def summarize(returns: NDArray[np.float32]) -> Score:
    """Mean ± 1.96 standard errors, the error from the sample variance (n - 1)."""
    mean, n = float(returns.mean()), len(returns)
    half = 1.96 * float(returns.std(ddof=1)) / n**0.5 if n > 1 else float("nan")
    return Score(mean, (mean - half, mean + half), n, returns)


def evaluate(
    agent: Agent,
    world: Any,
    episodes: int,
    seed: int = 10_000,
    label: str | None = "episodes",
    watch: Callable[[Any, NDArray[np.int64], NDArray[np.float32]], None] | None = None,
) -> Score:
    """Play ``episodes`` episodes, as many at once as there are worlds; episode i is the one of seed ``seed`` + i.

    Every agent so meets the same episodes. ``label`` stands before the progress bar; None hides it. After each step
    ``watch`` is shown the world, the numbers of the worlds that still play, and the returns so far (episodes,).
    Raises ValueError for fewer than one episode.
    """
    if episodes < 1:
        raise ValueError(f"An evaluation needs at least one episode, not {episodes}.")
    code = ActionCode(world.single_action_space)
    returns = np.zeros(episodes, np.float32)
    bar = tqdm(total=episodes, desc=label, unit="episode", disable=label is None)
    for first in range(0, episodes, world.num_envs):
        frames, _ = world.reset(seed=seed + first)
        playing = np.arange(min(world.num_envs, episodes - first))
        actions = np.zeros((world.num_envs, code.dim), np.float32)
        agent.begin(len(playing))
        while len(playing):
            actions[playing] = agent.act(frames[playing])
            frames, reward, terminated, truncated, _ = world.step(code.decode(actions))
            returns[first + playing] += reward[playing]
            going = np.flatnonzero(~(terminated | truncated)[playing])
            if len(going) < len(playing):
                bar.update(len(playing) - len(going))
                playing = playing[going]
                agent.keep(going)
            if watch is not None:
                watch(world, playing, returns)
    bar.close()
    return summarize(returns)


def choose_device(name: str = "auto") -> torch.device:
    """ "auto" is CUDA when there is one. Raises RunError for a device that this machine or this torch does not have."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise RunError(f"The device {name!r} cannot be used here: choose auto, cpu or cuda.") from error


def train_world_model(config: Config, directory: Path, device: str = "auto", show: Show | None = None) -> WorldModel:
    """All three stages, from pixels to a model that can plan, in ``directory``; what is already there is not done
    again.

    Raises RunError when the directory holds a run of another configuration.
    """
    directory = Path(directory)
    ledger = Ledger(directory)
    torch.manual_seed(config.seed)  # the initial weights
    model = new_model(config).to(choose_device(device))  # first, so that a mistyped name leaves nothing behind
    remember_config(config, directory)
    with ledger.stage("collect"), tqdm(total=config.shards, desc="collect", unit="shard") as bar:
        rollouts = collect(config, directory / "rollouts", lambda shard: bar.update() and None)
    ledger.add("VAE", train_vae(model, rollouts, directory / "vae.safetensors", show))
    with ledger.stage("encode"):
        latents = encode_rollouts(model, rollouts, directory / "latents.npy")
    ledger.add("MDN-RNN", train_mdn_rnn(model, rollouts, latents, directory / "mdn_rnn.safetensors", show))
    return model.eval()


def new_model(config: Config) -> WorldModel:
    """An untrained model that fits the world of ``config``."""
    world = make(config.world, 1, **config.world_options)
    height, width, channels = world.single_observation_space.shape or ()
    actions = ActionCode(world.single_action_space)
    world.close()
    return WorldModel(config, (channels, height, width), actions)


def load_world_model(directory: Path, device: str = "auto") -> WorldModel:
    """The model that ``train_world_model`` left in ``directory``. Raises RunError when it is not whole."""
    directory = Path(directory)
    model = new_model(read_config(directory)).to(choose_device(device))
    for network, kind, name in ((model.vae, "VAE", "vae"), (model.rnn, "MDN-RNN", "mdn_rnn")):
        path = directory / f"{name}.safetensors"
        load_weights(network, load_tensors(path, kind)[0], path)
    return model.eval()
