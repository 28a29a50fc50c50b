"""The three stages, the agents that play in and with the dream, and the score: each against a slower computation."""

import errno
import os
import shutil
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary
from numpy.typing import NDArray
from torch import Tensor

from wmcourse import world_models_training as wm
from wmcourse.cross_entropy_method import CEM, CategoricalCEM
from wmcourse.engine.errors import RunError
from wmcourse.engine.loop import load_tensors
from wmcourse.engine.players import OraclePlanner, RandomAgent
from wmcourse.engine.rollouts import Rollouts
from wmcourse.engine.runs import Config, Ledger, remember_config
from wmcourse.mdn_rnn import DreamStep
from wmcourse.world_models_training import (
    ControllerAgent,
    LatentPlanner,
    LinearController,
    WorldModel,
    as_model_action,
    choose_device,
    collect,
    dream_returns,
    encode_rollouts,
    evaluate,
    evolve_controller,
    load_world_model,
    new_model,
    planner_for,
    summarize,
    train_mdn_rnn,
    train_vae,
    train_world_model,
)
from wmcourse.worlds import ActionCode, DodgeEnv, DodgeVectorEnv, WorldError, make

TINY = Config(
    shards=3, worlds=8, steps=48, latent_dim=6, width=4, vae_steps=80, vae_batch=32, hidden_dim=24, components=3,
    rnn_steps=80, rnn_batch=16, rnn_length=12, horizon=4, candidates=16, iterations=2, elites=4,
)  # fmt: skip


class Trained(NamedTuple):
    directory: Path
    model: WorldModel
    rollouts: Rollouts
    shown: list[tuple[str, int, dict[str, float]]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    directory, shown = tmp_path_factory.mktemp("run"), []
    model = train_world_model(TINY, directory, "cpu", lambda *a: shown.append(a))
    return Trained(directory, model, Rollouts(directory / "rollouts"), shown)


def untrained(world: str = TINY.world, **numbers: Any) -> WorldModel:
    torch.manual_seed(0)
    return new_model(Config(**{**vars(TINY), "world": world, **numbers})).eval()


def frames_of(worlds: int, seed: int = 0) -> NDArray[np.uint8]:
    return DodgeVectorEnv(worlds).reset(seed=seed)[0]


# --- stage 1: collect


def everything(directory: Path) -> dict[str, bytes]:
    return {str(f.relative_to(directory)): f.read_bytes() for f in sorted(directory.rglob("*.npy"))}


def test_collect_is_deterministic_and_resumable(tmp_path: Path) -> None:
    collect(TINY, tmp_path / "a")
    collect(TINY, tmp_path / "b")
    whole = everything(tmp_path / "a")
    assert len(whole) == 3 * 5
    assert everything(tmp_path / "b") == whole
    shutil.rmtree(tmp_path / "b" / "0001")
    done: list[int] = []
    collect(TINY, tmp_path / "b", done.append)
    assert everything(tmp_path / "b") == whole
    assert done == [0, 1, 2]
    other = Config(**{**vars(TINY), "seed": 1})
    collect(other, tmp_path / "c")
    assert all(data != whole[name] for name, data in everything(tmp_path / "c").items() if "frames" in name)
    assert len({whole[f"{i:04d}/frames.npy"] for i in range(3)}) == 3  # every shard is another


def test_collected_streams_can_be_replayed(tmp_path: Path) -> None:
    """x_t, then a_t, then r_{t+1} and done_{t+1}: played again, step by step, in a world that begins alike."""
    rollouts = collect(TINY, tmp_path)
    shape = (TINY.shards, TINY.worlds, TINY.steps)
    frames = rollouts.frames(np.arange(len(rollouts))).reshape(*shape, 32, 32, 1)
    actions, rewards, terminated, ended = (
        part.reshape(*shape, *part.shape[1:])
        for part in (rollouts.actions, rollouts.rewards, rollouts.terminated, rollouts.ended)
    )
    assert terminated.any()
    for shard in range(TINY.shards):
        seed = int(np.random.default_rng((TINY.seed, shard)).integers(2**31))
        world = DodgeVectorEnv(TINY.worlds)
        now, _ = world.reset(seed=seed)
        for t in range(TINY.steps):
            np.testing.assert_array_equal(frames[shard, :, t], now)
            now, reward, dead, cut, _ = world.step(actions[shard, :, t])
            np.testing.assert_array_equal(rewards[shard, :, t], reward)
            np.testing.assert_array_equal(terminated[shard, :, t], dead)
            np.testing.assert_array_equal(ended[shard, :, t], dead | cut)


def test_collected_actions_are_uniform_and_held(tmp_path: Path) -> None:
    config = Config(**{**vars(TINY), "shards": 2, "worlds": 64, "steps": 200, "hold": 0.25})
    actions = collect(config, tmp_path).actions.reshape(128, 200)
    switched = (np.diff(actions, axis=1) != 0).mean()
    assert abs(switched - 0.25) < 4 * (0.25 * 0.75 / (128 * 199)) ** 0.5
    assert abs(actions.mean()) < 0.05
    assert abs(actions.std() - 3**-0.5) < 0.05
    assert np.abs(actions).max() <= 1


def test_collect_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, calls = np.save, iter(range(100))

    def disk(*arguments: Any) -> None:
        if next(calls) == 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", disk)
        with pytest.raises(RunError, match=r"Could not write .*0001: No space left"):
            collect(TINY, tmp_path)
    assert os.listdir(tmp_path) == ["0000"]
    assert len(collect(TINY, tmp_path)) == 3 * 8 * 48


# --- stages 2 and 3


def test_training_lowers_both_losses(trained: Trained) -> None:
    for stage, name in (("VAE", "vae"), ("MDN-RNN", "mdn_rnn")):
        curve = load_tensors(trained.directory / f"{name}.safetensors", stage)[1]["curve"]
        assert curve == [{"step": step, **point} for s, step, point in trained.shown if s == stage]
        first, last = (statistics.mean(p["total"] for p in part) for part in (curve[:5], curve[-5:]))
        assert last < 0.8 * first


def test_a_run_leaves_what_it_should(trained: Trained) -> None:
    names = {"config.json", "costs.json", "rollouts", "vae.safetensors", "latents.npy", "mdn_rnn.safetensors"}
    assert set(os.listdir(trained.directory)) == names
    assert list(Ledger(trained.directory).read()) == ["collect", "VAE", "encode", "MDN-RNN"]
    assert not trained.model.training


def test_training_again_repeats_nothing(trained: Trained) -> None:
    before = {f: f.stat().st_mtime_ns for f in trained.directory.rglob("*")}
    shown: list[Any] = []
    again = train_world_model(TINY, trained.directory, "cpu", lambda *a: shown.append(a))
    assert shown == []
    assert {f: f.stat().st_mtime_ns for f in trained.directory.rglob("*")} == before
    for a, b in zip(again.parameters(), trained.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_training_by_hand_gives_the_same_model(trained: Trained, tmp_path: Path) -> None:
    torch.manual_seed(TINY.seed)
    model = new_model(TINY)
    rollouts = collect(TINY, tmp_path / "rollouts")
    train_vae(model, rollouts, tmp_path / "vae")
    latents = encode_rollouts(model, rollouts, tmp_path / "latents.npy")
    train_mdn_rnn(model, rollouts, latents, tmp_path / "rnn")
    for a, b in zip(model.parameters(), trained.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_latents_are_the_encoder_s(trained: Trained) -> None:
    latents = np.load(trained.directory / "latents.npy")
    assert latents.shape == (len(trained.rollouts), 2, TINY.latent_dim)
    assert latents.dtype == np.float32
    assert len(latents) > 1024  # more than one block
    x = torch.from_numpy(trained.rollouts.frames(np.arange(len(latents)))).float().permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        mu, logvar = trained.model.vae.encode(x)
    np.testing.assert_allclose(latents[:, 0], mu, atol=1e-4)
    np.testing.assert_allclose(latents[:, 1], logvar, atol=1e-4)


def test_latents_are_cached_once(trained: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = encode_rollouts(trained.model, trained.rollouts, tmp_path / "latents.npy")

    def refuse(*_: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(WorldModel, "encode", refuse)
    second = encode_rollouts(trained.model, trained.rollouts, tmp_path / "latents.npy")
    assert isinstance(second, np.memmap)
    np.testing.assert_array_equal(first, second)


def test_broken_latents_are_refused(trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "latents.npy"
    encode_rollouts(trained.model, trained.rollouts, path)
    whole = path.read_bytes()
    for length in (0, 20, len(whole) - 4):
        path.write_bytes(whole[:length])
        with pytest.raises(RunError, match=r"latents\.npy .*Delete it"):
            encode_rollouts(trained.model, trained.rollouts, path)
    np.save(path, np.zeros((5, 2, TINY.latent_dim), np.float32))  # of other rollouts
    with pytest.raises(RunError, match=r"latents\.npy .*Delete it"):
        encode_rollouts(trained.model, trained.rollouts, path)
    path.unlink()
    encode_rollouts(trained.model, trained.rollouts, path)
    assert path.read_bytes() == whole


def test_the_encoder_s_doubt_reaches_the_loss(trained: Trained, tmp_path: Path) -> None:
    """Latents are resampled for every batch: with a large variance the same mu is harder to predict."""
    losses = []
    for logvar in (-20.0, 2.0):
        latents = np.zeros((len(trained.rollouts), 2, TINY.latent_dim), np.float32)
        latents[:, 1] = logvar
        model = untrained(rnn_steps=60)
        curve = train_mdn_rnn(model, trained.rollouts, latents, tmp_path / f"rnn{logvar}")["curve"]
        losses.append(curve[-1]["latent"])
    entropy = TINY.latent_dim * 0.5 * (np.log(2 * np.pi) + 1 + 2.0)  # of N(0, e²), the least that can be reached
    assert losses[0] < losses[1]
    assert losses[1] > 0.98 * entropy


def test_another_configuration_is_refused(trained: Trained) -> None:
    with pytest.raises(RunError, match=r"holds a run with beta 1\.0, not 2\.0"):
        train_world_model(Config(**{**vars(TINY), "beta": 2.0}), trained.directory, "cpu")


@pytest.mark.parametrize(("world", "device"), [("Nowhere-v0", "cpu"), (TINY.world, "abacus")])
def test_a_mistyped_world_or_device_leaves_nothing_behind(tmp_path: Path, world: str, device: str) -> None:
    """Or the right name would be refused the next time, since the directory holds another run."""
    with pytest.raises((WorldError, RunError), match=r"Nowhere-v0|choose auto, cpu or cuda"):
        train_world_model(Config(**{**vars(TINY), "world": world}), tmp_path / "run", device)
    assert not (tmp_path / "run").exists()


# --- the model


def test_encode_and_decode_shapes() -> None:
    for world, shape in (("dodge", (32, 32, 1)), ("CartPole-v1", (64, 64, 3))):
        model = untrained(world)
        frames = np.random.default_rng(0).integers(0, 256, (5, *shape), np.uint8)
        mu, logvar = model.encode(frames)
        assert mu.shape == logvar.shape == (5, TINY.latent_dim)
        assert not mu.requires_grad
        decoded = model.decode(mu)
        assert decoded.shape == frames.shape
        assert decoded.dtype == np.uint8


def test_input_is_channels_first_from_zero_to_one() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    x = untrained("CartPole-v1").to_input(frames)
    assert x.shape == (2, 3, 64, 64)
    for c, row, column in ((0, 1, 2), (2, 40, 63)):
        assert x[1, c, row, column].item() == pytest.approx(frames[1, row, column, c] / 255)


def test_decode_is_the_probability_of_white() -> None:
    model = untrained()
    z = torch.randn(3, TINY.latent_dim)
    logits = model.vae.decode(z).detach().numpy()
    expected = 255 / (1 + np.exp(-logits))
    assert np.abs(model.decode(z)[..., 0] - expected[:, 0]).max() <= 0.51


def test_load_world_model_is_what_was_trained(trained: Trained) -> None:
    model = load_world_model(trained.directory, "cpu")
    assert model.config == TINY
    assert not model.training
    for a, b in zip(model.parameters(), trained.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_load_world_model_says_what_is_wrong(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        load_world_model(tmp_path / "nowhere")
    run = tmp_path / "run"
    shutil.copytree(trained.directory, run)
    vae, rnn = run / "vae.safetensors", run / "mdn_rnn.safetensors"
    weights = vae.read_bytes()
    vae.write_bytes(weights[:1000])
    with pytest.raises(RunError, match=r"vae\.safetensors is truncated"):
        load_world_model(run)
    vae.write_bytes(rnn.read_bytes())
    with pytest.raises(RunError, match="holds 'MDN-RNN', not 'VAE'"):
        load_world_model(run)
    vae.write_bytes(weights)
    rnn.unlink()
    with pytest.raises(RunError, match=r"mdn_rnn\.safetensors does not exist"):
        load_world_model(run)
    (run / "config.json").unlink()
    remember_config(Config(**{**vars(TINY), "latent_dim": 7}), run)
    with pytest.raises(RunError, match="does not fit this network"):
        load_world_model(run)


def test_choose_device() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda")
    for name in ("abacus", "cuda:99"):
        with pytest.raises(RunError, match=f"'{name}' cannot be used here: choose auto, cpu or cuda"):
            choose_device(name)


# --- the planner


def test_the_planner_carries_its_memory() -> None:
    model = untrained()
    agent, world = LatentPlanner(model), DodgeVectorEnv(3)
    frames, _ = world.reset(seed=0)
    agent.begin(3)
    state = model.rnn.initial_state(3)
    for _ in range(4):
        action = agent.act(frames)
        assert action.shape == (3, 1)
        assert action.dtype == np.float32
        assert np.abs(action).max() <= 1
        mu, _ = model.encode(frames)
        with torch.no_grad():
            state = model.rnn.step(mu, torch.from_numpy(action), state)
        for own, expected in zip(agent.state, state, strict=True):
            torch.testing.assert_close(own, expected)
        frames = world.step(action)[0]
    assert state[0].abs().max() > 1e-3
    agent.begin(2)
    assert all(part.shape == (2, TINY.hidden_dim) and not part.any() for part in agent.state)
    assert agent.mpc.last is None


def test_the_planner_dreams_from_its_memory_and_what_it_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    model = untrained()
    agent, frames = LatentPlanner(model), frames_of(2)
    agent.begin(2)
    agent.act(frames)
    h, c = agent.state
    seen: list[Any] = []
    real = wm.dream_step

    def spy(rnn: Any, z: Tensor, a: Tensor, state: Any, temperature: float, generator: Any) -> DreamStep:
        seen.append((z, a, state, temperature))
        return real(rnn, z, a, state, temperature, generator)

    monkeypatch.setattr(wm, "dream_step", spy)
    agent.act(frames)
    assert len(seen) == TINY.horizon * TINY.iterations
    z, a, state, temperature = seen[0]
    candidates = len(z) // 2
    assert len(z) % 2 == 0
    assert candidates >= TINY.candidates
    mu, _ = model.encode(frames)
    torch.testing.assert_close(z, mu.repeat_interleave(candidates, 0))
    torch.testing.assert_close(state[0], h.repeat_interleave(candidates, 0))
    torch.testing.assert_close(state[1], c.repeat_interleave(candidates, 0))
    assert a.shape == (2 * candidates, 1)
    assert temperature == TINY.temperature


def test_keep_selects_worlds() -> None:
    model = untrained()
    agents = LatentPlanner(model), ControllerAgent(model, LinearController(TINY.latent_dim, TINY.hidden_dim, 1))
    for agent in agents:
        agent.begin(4)
        agent.act(frames_of(4))
        h, c = (part.clone() for part in agent.state)
        agent.keep(np.array([1, 3]))
        assert torch.equal(agent.state[0], h[[1, 3]])
        assert torch.equal(agent.state[1], c[[1, 3]])
        assert agent.act(frames_of(2)).shape == (2, 1)
        agent.keep(np.array([], np.int64))
        assert len(agent.state[0]) == 0
        agent.begin(1)
        assert agent.act(frames_of(1)).shape == (1, 1)
    planner = agents[0]
    planner.begin(4)
    planner.act(frames_of(4))
    plan = planner.mpc.last.actions.clone()
    planner.keep(np.array([2]))
    assert torch.equal(planner.mpc.last.actions, plan[[2]])


def stub_dream(model: WorldModel, z: Tensor, a: Tensor, state: Any, *_: Any) -> DreamStep:
    """A world of one line, z = (x, ...): the agent moves by 0.3·a, and wherever |x| < 0.25 it dies."""
    z = torch.cat([z[:, :1] + 0.3 * a[:, :1], z[:, 1:]], dim=1)
    return DreamStep(z, torch.ones(len(z)), (z[:, 0].abs() < 0.25).float(), state)


def test_the_planner_avoids_what_the_dream_says_is_deadly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two worlds side by side need opposite actions; which way is out, only the done head knows."""
    model = untrained(effort=0.05, candidates=64)
    where = torch.tensor([-0.1, 0.1, 2.0])
    monkeypatch.setattr(wm, "dream_step", stub_dream)
    monkeypatch.setattr(
        model, "encode", lambda frames: (where[:, None].expand(-1, TINY.latent_dim).clone(), torch.zeros(3, 6))
    )
    agent = LatentPlanner(model)
    agent.begin(3)
    action = agent.act(frames_of(3))[:, 0]
    after = where.numpy() + 0.3 * action
    assert after[0] < -0.25
    assert after[1] > 0.25
    assert abs(action[2]) < 0.4  # far from danger, effort counts


def test_what_a_world_plans_does_not_depend_on_the_scores_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = untrained(candidates=64)
    monkeypatch.setattr(wm, "dream_step", stub_dream)
    acted = []
    for neighbour in (0.1, -0.1, 5.0):
        where = torch.tensor([[-0.1], [neighbour]]).expand(-1, TINY.latent_dim)
        monkeypatch.setattr(model, "encode", lambda frames, z=where: (z.clone(), torch.zeros(2, 6)))
        agent = LatentPlanner(model, seed=3)
        agent.begin(2)
        acted.append([agent.act(frames_of(2))[0, 0] for _ in range(3)])
    assert acted[0] == acted[1] == acted[2]


def test_the_planner_follows_its_seed() -> None:
    model, frames = untrained(), frames_of(2)

    def act(seed: int) -> list[float]:
        agent = LatentPlanner(model, seed)
        agent.begin(2)
        return np.concatenate([agent.act(frames) for _ in range(2)]).ravel().tolist()

    assert act(1) == act(1)
    assert act(1) != act(2)


def test_planner_for_the_kind_of_actions() -> None:
    for space, kind, dim in (
        (Box(-1, 1, (3,)), CEM, 3),
        (Discrete(4), CategoricalCEM, 4),
        (MultiBinary(2), CEM, 2),
    ):
        planner = planner_for(TINY, ActionCode(space))
        assert isinstance(planner, kind)
        plan = planner.plan(lambda plans: plans.sum(dim=(2, 3)), worlds=2)
        assert plan.actions.shape == (2, TINY.horizon, dim)


def test_as_model_action() -> None:
    a = torch.tensor([[-0.5, 0.2, 0.1], [0.9, -1.0, 0.91]])
    discrete, binary, box = (ActionCode(s) for s in (Discrete(3), MultiBinary(3), Box(-1, 1, (3,))))
    assert as_model_action(discrete, a).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert as_model_action(binary, a).tolist() == [[0, 1, 1], [1, 0, 1]]
    assert as_model_action(box, a) is a
    for code in (discrete, binary):
        assert as_model_action(code, a).dtype == a.dtype
        native = code.decode(as_model_action(code, a).numpy())
        assert all(code.space.contains(row) for row in native)


def test_a_discrete_world_of_many_colours() -> None:
    """CartPole has two actions: the planner's are one-hot, and the world takes them."""
    model = untrained("CartPole-v1")
    world = make("CartPole-v1", 2)
    frames, _ = world.reset(seed=0)
    for agent in (
        LatentPlanner(model),
        ControllerAgent(model, LinearController(TINY.latent_dim, TINY.hidden_dim, model.actions.dim)),
        RandomAgent(model.actions),
    ):
        agent.begin(2)
        for _ in range(2):
            action = agent.act(frames)
            assert action.shape == (2, 2)
            assert ((action == 0) | (action == 1)).all()
            assert (action.sum(axis=1) == 1).all()
            frames, reward, *_ = world.step(model.actions.decode(action))
            assert frames.shape == (2, 64, 64, 3)
            assert reward.tolist() == [1, 1]
    world.close()
    controller = evolve_controller(model, model.encode(frames)[0], generations=2, population=8, dreams=2, steps=3)
    assert controller.size == 2 * (TINY.latent_dim + TINY.hidden_dim + 1)


# --- the controller


def test_the_paper_s_controller_has_867_parameters() -> None:
    assert LinearController(32, 256, 3).size == 867


def test_population_is_many_controllers() -> None:
    n, e = 5, 4
    controller = LinearController(3, 6, 2)
    weights, z, h = torch.randn(n, controller.size), torch.randn(n, e, 3), torch.randn(n, e, 6)
    together = controller.population(z, h, weights)
    assert together.shape == (n, e, 2)
    for i in range(n):
        torch.nn.utils.vector_to_parameters(weights[i], controller.parameters())
        torch.testing.assert_close(together[i], controller(z[i], h[i]))
    assert together.abs().max() < 1


def test_dream_returns_stop_at_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewards are 1, 2, 3, ... and dream j surely ends after its step j; the step that ends it still counts."""
    model, steps = untrained(), 6
    controller = LinearController(TINY.latent_dim, TINY.hidden_dim, 1)
    calls = 0

    def stub(rnn: Any, z: Tensor, a: Tensor, state: Any, *_: Any) -> DreamStep:
        nonlocal calls
        calls += 1
        return DreamStep(z, torch.full((len(z),), float(calls)), (z[:, 0] <= calls).float(), state)

    monkeypatch.setattr(wm, "dream_step", stub)
    z = torch.tensor([1.0, 3.0, 99.0])[:, None].expand(-1, TINY.latent_dim)
    weights = torch.zeros(2, controller.size)
    returns = dream_returns(model, controller, weights, z, steps, 1.0, torch.Generator().manual_seed(0))
    assert returns.tolist() == [[1.0, 1 + 2 + 3, 21.0]] * 2
    assert calls == steps
    calls = 0
    dream_returns(model, controller, weights, z[:2], steps, 1.0)
    assert calls == 3  # when all have ended, there is nothing more to dream


def test_dream_returns_end_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """P(done) = 1/4 at each step, reward 1: the return is geometric, cut at 5 steps."""
    model = untrained()
    controller = LinearController(TINY.latent_dim, TINY.hidden_dim, 1)

    def stub(rnn: Any, z: Tensor, a: Tensor, state: Any, *_: Any) -> DreamStep:
        return DreamStep(z, torch.ones(len(z)), torch.full((len(z),), 0.25), state)

    monkeypatch.setattr(wm, "dream_step", stub)
    z = torch.zeros(20_000, TINY.latent_dim)
    weights = torch.zeros(1, controller.size)
    returns = dream_returns(model, controller, weights, z, 5, 1.0, torch.Generator().manual_seed(0))
    shares = torch.bincount(returns[0].long(), minlength=6) / 20_000
    expected = torch.tensor([0, 0.25, 0.25 * 0.75, 0.25 * 0.75**2, 0.25 * 0.75**3, 0.75**4])
    torch.testing.assert_close(shares, expected, atol=4 * 0.5 / 20_000**0.5, rtol=0)


def test_dream_returns_keep_controllers_and_starts_apart(trained: Trained) -> None:
    """N controllers in E dreams at once, or one after the other: the same returns (nothing random at τ = 0)."""
    model = load_world_model(trained.directory, "cpu")
    with torch.no_grad():
        model.rnn.outcome.weight[1], model.rnn.outcome.bias[1] = 0, -50  # no dream ends
        model.rnn.outcome.weight[0].normal_()
    controller = LinearController(TINY.latent_dim, TINY.hidden_dim, 1)
    weights, z = torch.randn(3, controller.size), torch.randn(4, TINY.latent_dim)
    together = dream_returns(model, controller, weights, z, 5, 0.0)
    for n in range(3):
        for e in range(4):
            alone = dream_returns(model, controller, weights[n : n + 1], z[e : e + 1], 5, 0.0)
            torch.testing.assert_close(together[n, e], alone[0, 0])
    assert len(set(together.flatten().tolist())) == 12


def test_evolution_improves_the_dream() -> None:
    """In a dream whose reward depends on the action alone, through the memory."""
    model = untrained()
    with torch.no_grad():
        model.rnn.outcome.weight[1], model.rnn.outcome.bias[1] = 0, -50
    starts, shown = torch.randn(20, TINY.latent_dim), []

    def dreamt(controller: LinearController) -> float:
        weights = torch.nn.utils.parameters_to_vector(controller.parameters())[None]
        return dream_returns(model, controller, weights, starts, 20, 0.0).mean().item()

    controller = evolve_controller(
        model, starts, 0.0, generations=12, population=32, dreams=8, steps=20, show=lambda *a: shown.append(a)
    )
    lazy = LinearController(TINY.latent_dim, TINY.hidden_dim, 1)
    torch.nn.utils.vector_to_parameters(torch.zeros(lazy.size), lazy.parameters())
    assert [(name, i) for name, i, _ in shown] == [("controller", i) for i in range(12)]
    assert shown[-1][2]["total"] > shown[0][2]["total"]
    assert shown[-1][2]["best"] >= shown[-1][2]["total"]
    # The best of 200 controllers at random is no match for 12 · 32 tried with a purpose.
    rivals = dream_returns(model, lazy, torch.randn(200, lazy.size) * 0.3, starts, 20, 0.0).mean(1)
    assert dreamt(controller) > rivals.max()
    assert dreamt(controller) > dreamt(lazy)


def test_the_controller_plays_with_its_memory() -> None:
    model = untrained()
    controller = LinearController(TINY.latent_dim, TINY.hidden_dim, 1)
    agent, frames = ControllerAgent(model, controller), frames_of(3)
    agent.begin(3)
    state = model.rnn.initial_state(3)
    for _ in range(3):
        action = agent.act(frames)
        with torch.no_grad():
            mu, _ = model.encode(frames)
            expected = torch.tanh(controller.linear(torch.cat([mu, state[0]], 1)))
            state = model.rnn.step(mu, expected, state)
        np.testing.assert_allclose(action, expected, atol=1e-6)
        torch.testing.assert_close(agent.state[0], state[0])


# --- the score


class Eyes:
    """A deterministic agent with a memory of how each episode began: it sways, then flees from the brighter side.

    It also checks what ``evaluate`` tells it.
    """

    def __init__(self) -> None:
        self.clock = np.zeros(0, int)
        self.first: NDArray[np.int64] | None = None
        self.episodes = 0

    def begin(self, worlds: int) -> None:
        self.clock, self.first = np.zeros(worlds, int), None
        self.episodes += worlds

    def keep(self, index: NDArray[np.int64]) -> None:
        assert len(index) < len(self.clock)
        self.clock, self.first = self.clock[index], self.first[index]

    def act(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert len(frames) == len(self.clock) > 0
        assert frames.dtype == np.uint8
        left, right = frames[:, 16:, :16].mean(axis=(1, 2, 3)), frames[:, 16:, 16:].mean(axis=(1, 2, 3))
        if self.first is None:
            self.first = frames[:, 31].argmax(axis=1)[:, 0]  # where the agent stood
        sway = np.sin(0.2 * self.clock + self.first)
        self.clock += 1
        return np.where(self.clock % 40 < 10, sway, np.sign(left - right) * 0.7)[:, None].astype(np.float32)


def alone(seed: int) -> float:
    """One episode in the world that Gymnasium makes, one step after another."""
    agent, env, total = Eyes(), DodgeEnv(), 0.0
    frame, _ = env.reset(seed=seed)
    agent.begin(1)
    while True:
        frame, reward, terminated, truncated, _ = env.step(agent.act(frame[None])[0])
        total += reward
        if terminated or truncated:
            return total


def test_every_agent_meets_the_same_episodes() -> None:
    """However many worlds play at once, also when the last batch is not full."""
    expected = [alone(500 + i) for i in range(11)]
    assert len(set(expected)) > 5
    for worlds in (1, 4, 11, 16):
        agent = Eyes()
        score = evaluate(agent, DodgeVectorEnv(worlds), 11, seed=500, label=None)
        assert score.returns.tolist() == expected
        assert score.episodes == agent.episodes == 11
        assert score.mean == pytest.approx(statistics.mean(expected))


def test_the_random_agent_plays_all_episodes() -> None:
    world = DodgeVectorEnv(4)
    agent = RandomAgent(ActionCode(world.single_action_space), seed=1)
    score = evaluate(agent, world, 10, label=None)
    assert score.episodes == len(score.returns) == 10
    assert (score.returns > 0).all()
    again = evaluate(RandomAgent(ActionCode(world.single_action_space), seed=1), world, 10, label=None)
    assert score.returns.tolist() == again.returns.tolist()
    assert agent.act(np.zeros((3, 32, 32, 1), np.uint8)).shape == (3, 1)


def test_evaluate_watches() -> None:
    seen: list[tuple[list[int], list[float]]] = []
    score = evaluate(
        Eyes(), DodgeVectorEnv(3), 5, label=None, watch=lambda w, i, r: seen.append((i.tolist(), r.tolist()))
    )
    playing = [i for i, _ in seen]
    assert playing.count([]) == 2  # the end of both batches
    assert seen[-1][1] == score.returns.tolist()
    assert all(set(i) <= {0, 1, 2} for i in playing)


@pytest.mark.parametrize("episodes", [0, -1])
def test_no_episodes_no_score(episodes: int) -> None:
    with pytest.raises(ValueError, match=f"at least one episode, not {episodes}"):
        evaluate(Eyes(), DodgeVectorEnv(2), episodes)


def test_summarize() -> None:
    returns = [3.0, 8.5, 1.25, 300.0, 42.0]
    score = summarize(np.array(returns, np.float32))
    half = 1.96 * statistics.stdev(returns) / 5**0.5
    assert score.mean == pytest.approx(statistics.mean(returns))
    assert score.ci95 == pytest.approx((score.mean - half, score.mean + half))
    assert score.episodes == 5
    one = summarize(np.array([7.0], np.float32))
    assert one.mean == 7
    assert all(np.isnan(one.ci95))


def test_the_interval_covers_the_mean_in_95_of_100_cases() -> None:
    draws = np.random.default_rng(0).exponential(50, (2000, 100)).astype(np.float32)
    intervals = np.array([summarize(d).ci95 for d in draws])
    assert 0.925 < ((intervals[:, 0] < 50) & (intervals[:, 1] > 50)).mean() < 0.96


@pytest.mark.parametrize("clairvoyant", [True, False])
def test_the_oracle_looks_but_does_not_touch(clairvoyant: bool) -> None:
    world, untouched = DodgeVectorEnv(3), DodgeVectorEnv(3)
    oracle = OraclePlanner(world, TINY, clairvoyant, seed=5)
    frames, _ = world.reset(seed=9)
    untouched.reset(seed=9)
    oracle.begin(3)
    for _ in range(30):
        before = world.state.copy()
        action = oracle.act(frames)
        assert action.shape == (3, 1)
        assert np.abs(action).max() <= 1
        for name, value in vars(before).items():
            np.testing.assert_array_equal(getattr(world.state, name), value)
        frames = world.step(action)[0]
        np.testing.assert_array_equal(frames, untouched.step(action)[0])
    oracle.keep(np.array([2]))
    assert oracle.act(frames[[2]]).shape == (1, 1)


@pytest.mark.parametrize("clairvoyant", [True, False])
def test_the_oracle_looks_at_the_worlds_that_still_play(clairvoyant: bool) -> None:
    """World 2 of 3, the others being over, is played like the same episode alone."""
    many, one = DodgeVectorEnv(3), DodgeVectorEnv(1)
    here, there = (OraclePlanner(world, TINY, clairvoyant, seed=5) for world in (many, one))
    seen, alone = many.reset(seed=9)[0], one.reset(seed=11)[0]
    here.begin(3)
    here.keep(np.array([0, 2]))
    here.keep(np.array([1]))
    there.begin(1)
    for _ in range(40):
        action = here.act(seen[[2]])
        np.testing.assert_array_equal(action, there.act(alone))
        seen, alone = many.step(np.vstack([-action, -action, action]))[0], one.step(action)[0]


def test_the_oracle_beats_chance() -> None:
    config = Config(**{**vars(TINY), "horizon": 12, "candidates": 32})
    world = DodgeVectorEnv(8)
    code = ActionCode(world.single_action_space)
    chance = evaluate(RandomAgent(code), world, 8, label=None)
    oracle = evaluate(OraclePlanner(world, config), world, 8, label=None)
    assert oracle.mean > 2 * chance.mean
