"""A learner's own functions in the engine: each must change what it should and nothing else, and fail by its name."""

import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmcourse import kl_divergence_loss, vae_complete_loss
from wmcourse import world_models_training as wm
from wmcourse.cross_entropy_method import CEM
from wmcourse.engine.errors import RunError
from wmcourse.engine.loop import load_tensors
from wmcourse.engine.parts import PARTS, PLACES, SHORTCUTS, PartFailed, reference, use_parts
from wmcourse.engine.players import OraclePlanner
from wmcourse.engine.report import imagine, play
from wmcourse.engine.rollouts import Rollouts
from wmcourse.engine.runs import Config
from wmcourse.mixture_density_networks import MDNHead
from wmcourse.model_predictive_control import Plan
from wmcourse.vae_complete_loss import VAELoss
from wmcourse.world_models_training import (
    LatentPlanner,
    WorldModel,
    evolve_controller,
    load_world_model,
    new_model,
    planner_for,
    train_mdn_rnn,
    train_world_model,
)
from wmcourse.worlds import DodgeVectorEnv

TINY = Config(
    shards=1, worlds=4, steps=40, latent_dim=5, width=4, vae_steps=4, vae_batch=8, hidden_dim=12, components=3,
    rnn_steps=4, rnn_batch=4, rnn_length=6, horizon=4, candidates=12, iterations=2, elites=4,
)  # fmt: skip
Curve = list[dict[str, float]]
Functions = Mapping[str, Callable[..., Any]]


class Run(NamedTuple):
    directory: Path
    model: WorldModel
    vae: Curve  # one point for each step
    rnn: Curve


def train(directory: Path, functions: Functions) -> Run:
    with use_parts(functions):
        model = train_world_model(TINY, directory, "cpu")
    vae, rnn = (
        load_tensors(directory / f"{name}.safetensors", kind)[1]["curve"]
        for name, kind in (("vae", "VAE"), ("mdn_rnn", "MDN-RNN"))
    )
    return Run(directory, model, vae, rnn)


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tmp_path_factory.mktemp("course"), {})


@pytest.fixture
def untrained() -> WorldModel:
    """With the weights that a training begins with."""
    torch.manual_seed(TINY.seed)
    return new_model(TINY)


def weights(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = weights(one), weights(other)
    return all(torch.equal(a[name], b[name]) for name in a)


def frames_of(worlds: int = 2, seed: int = 0) -> NDArray[np.uint8]:
    return DodgeVectorEnv(worlds).reset(seed=seed)[0]


def played(model: WorldModel, config: Config | None = None, acts: int = 3) -> tuple[NDArray[np.float32], Plan]:
    """The planner's actions (acts, W, A) where the world stands still, and its last plan."""
    player, frames = LatentPlanner(model, seed=1, config=config), frames_of()
    player.begin(len(frames))
    actions = np.stack([player.act(frames) for _ in range(acts)])
    assert player.mpc.last is not None
    return actions, player.mpc.last


def copy_of(name: str) -> Callable[..., Any]:
    """Another function that does what the course's does."""
    original = reference(name)
    assert isinstance(original, types.FunctionType)
    return types.FunctionType(original.__code__, original.__globals__, name, original.__defaults__)


def state_of_the_modules() -> list[Any]:
    places = [getattr(owner, key) for known in PLACES.values() for owner, key in known]
    return places + [getattr(owner, key) for owner, key, _ in SHORTCUTS.values()]


@pytest.fixture(autouse=True)
def nothing_stays_replaced() -> Iterator[None]:
    before = state_of_the_modules()
    yield
    assert all(now is then for now, then in zip(state_of_the_modules(), before, strict=True))


# --- Lessons 02 to 05: the VAE


def test_reparameterize(course: Run, untrained: WorldModel, tmp_path: Path) -> None:
    mine = train(tmp_path / "run", {"reparameterize": lambda mu, logvar, generator=None: mu})
    rollouts = Rollouts(course.directory / "rollouts")
    index = np.random.default_rng((TINY.seed, 2, 0)).integers(0, len(rollouts), TINY.vae_batch)
    x = untrained.to_input(rollouts.frames(index))
    mu, logvar = untrained.vae.encode(x)
    expected = vae_complete_loss.vae_loss(untrained.vae.decode(mu), x, mu, logvar)
    assert mine.vae[0]["reconstruction"] == expected.reconstruction.item()
    assert mine.vae[0]["kl"] == course.vae[0]["kl"]
    assert mine.vae[0]["reconstruction"] != course.vae[0]["reconstruction"]

    # Stage 3: the same as the course's function on latents without any spread.
    latents = np.load(course.directory / "latents.npy")
    certain = latents.copy()
    certain[:, 1] = -1000.0
    curves = []
    for functions, cached in (({"reparameterize": lambda mu, *_: mu}, latents), ({}, certain), ({}, latents)):
        torch.manual_seed(0)
        with use_parts(functions):
            path = tmp_path / f"{len(curves)}.safetensors"
            curves.append(train_mdn_rnn(new_model(TINY), rollouts, cached, path)["curve"])
    assert curves[0] == curves[1] != curves[2]


def test_kl_standard_normal(course: Run, tmp_path: Path) -> None:
    kl = reference("kl_standard_normal")
    mine = train(tmp_path, {"kl_standard_normal": lambda mu, logvar: 2 * kl(mu, logvar)})
    now, then = mine.vae[0], course.vae[0]  # the first step, from the same weights
    assert now["kl"] == 2 * then["kl"] > 0
    assert now["reconstruction"] == then["reconstruction"]
    assert now["total"] == pytest.approx(then["reconstruction"] + 2 * then["kl"], rel=1e-6)
    assert not same(mine.model.vae, course.model.vae)  # it was trained on that


def test_bernoulli_nll(course: Run, tmp_path: Path) -> None:
    nll = reference("bernoulli_nll")
    mine = train(tmp_path, {"bernoulli_nll": lambda logits, x: 2 * nll(logits, x)})
    now, then = mine.vae[0], course.vae[0]
    assert now["reconstruction"] == 2 * then["reconstruction"] > 0
    assert now["kl"] == then["kl"]
    assert not same(mine.model.vae, course.model.vae)


def test_vae_loss(course: Run, untrained: WorldModel, tmp_path: Path) -> None:
    def rate_alone(*arguments: Any) -> VAELoss:
        loss = reference("vae_loss")(*arguments)
        return loss._replace(total=loss.kl)

    mine = train(tmp_path, {"vae_loss": rate_alone})
    assert all(point["total"] == point["kl"] for point in mine.vae)
    assert mine.vae[0]["reconstruction"] == course.vae[0]["reconstruction"]
    assert same(mine.model.vae.decoder, untrained.vae.decoder)  # nothing of it is in the rate
    assert not same(mine.model.vae.encoder, untrained.vae.encoder)


# --- Lessons 06 to 08: the MDN-RNN


def forgetful(x: Tensor, h: Tensor, c: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
    return reference("lstm_step")(x, 0 * h, 0 * c, *parameters)


def test_lstm_step(course: Run, untrained: WorldModel, tmp_path: Path) -> None:
    mine = train(tmp_path, {"lstm_step": forgetful})
    trained, new = mine.model.rnn.rnn, untrained.rnn.rnn
    assert same(mine.model.vae, course.model.vae)
    assert torch.equal(trained.weight_hh, new.weight_hh)  # what was forgotten has no gradient
    assert not torch.equal(trained.weight_ih, new.weight_ih)
    assert not torch.equal(course.model.rnn.rnn.weight_hh, new.weight_hh)

    with use_parts({"lstm_step": forgetful}), torch.no_grad():
        x = torch.randn(2, 5, new.input_dim)
        out, _ = new(x)
        for t in range(5):  # each step as if it were an episode's first
            torch.testing.assert_close(out[:, t], new.step(x[:, t], untrained.rnn.initial_state(2))[0])
        player = LatentPlanner(course.model)
        player.begin(2)
        player.state = (torch.ones(2, TINY.hidden_dim), torch.ones(2, TINY.hidden_dim))
        action = torch.from_numpy(player.act(frames_of()))
        z, _ = course.model.encode(frames_of())
        first = course.model.rnn.step(z, action, course.model.rnn.initial_state(2))
        assert torch.equal(player.state[0], first[0])


def test_mixture_nll(course: Run, tmp_path: Path) -> None:
    nll = reference("mixture_nll")
    mine = train(tmp_path, {"mixture_nll": lambda *mixture: 2 * nll(*mixture)})
    now, then = mine.rnn[0], course.rnn[0]
    assert now["latent"] == 2 * then["latent"] != 0
    assert (now["reward"], now["done"]) == (then["reward"], then["done"])
    assert now["total"] == pytest.approx(then["total"] + then["latent"], rel=1e-6)
    assert same(mine.model.vae, course.model.vae)
    assert not same(mine.model.rnn, course.model.rnn)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_sample_mixture(course: Run, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def constant(log_pi: Tensor, mu: Tensor, log_sigma: Tensor, temperature: float, generator: Any = None) -> Tensor:
        seen.append(temperature)
        return torch.full(mu.shape[:-1], 0.25)

    config = replace(TINY, temperature=temperature)
    with use_parts({"sample_mixture": constant}):
        actions, plan = played(course.model, config)
        assert set(seen) == {temperature}
        _, dream, awake = imagine(course.model, steps=4, context=2, temperature=temperature)
    grey = course.model.decode(torch.full((1, TINY.latent_dim), 0.25))
    assert len(dream) > awake
    assert (dream[awake:] == grey).all()

    # The same plans as with a head that knows nothing else, and not the course's.
    _, usual = played(course.model, config)
    monkeypatch.setattr(MDNHead, "most_likely", lambda self, h: torch.full((len(h), TINY.latent_dim), 0.25))
    expected, expected_plan = played(course.model, replace(config, temperature=0.0))
    np.testing.assert_array_equal(actions, expected)
    assert torch.equal(plan.score, expected_plan.score)
    assert not torch.equal(plan.score, usual.score)


def test_sequence_loss(course: Run, untrained: WorldModel, tmp_path: Path) -> None:
    def latents_alone(*arguments: Any) -> Any:
        loss = reference("sequence_loss")(*arguments)
        return loss._replace(total=loss.latent)

    mine = train(tmp_path, {"sequence_loss": latents_alone})
    assert all(point["total"] == point["latent"] for point in mine.rnn)
    assert mine.rnn[0]["done"] == course.rnn[0]["done"]
    assert mine.model.rnn.outcome is not None
    assert untrained.rnn.outcome is not None
    assert same(mine.model.rnn.outcome, untrained.rnn.outcome)  # nothing of it is in the latents' share
    assert not same(mine.model.rnn.mdn, untrained.rnn.mdn)


def test_dream_step(course: Run) -> None:
    def pushing_pays(model: Any, z: Tensor, a: Tensor, *more: Any) -> Any:
        dream = reference("dream_step")(model, z, a, *more)
        return dream._replace(z=z, reward=a[:, 0], done_probability=torch.zeros(len(z)))

    def score(plans: Tensor) -> Tensor:
        total = torch.zeros(plans.shape[:2])
        for t in range(plans.shape[2]):
            total = total + plans[:, :, t, 0]
        return total - TINY.effort * plans.square().mean(dim=(2, 3))

    with use_parts({"dream_step": pushing_pays}):
        actions, plan = played(course.model, acts=1)
        _, dream, awake = imagine(course.model, steps=4, context=2)
        starts = torch.zeros(1, TINY.latent_dim)
        returns: list[float] = []
        size = {"generations": 1, "population": 4, "dreams": 2, "steps": 3}
        evolve_controller(course.model, starts, show=lambda *point: returns.append(point[2]["best"]), **size)
    expected = planner_for(TINY, course.model.actions).plan(score, None, 2, torch.Generator().manual_seed(1))
    assert torch.equal(plan.actions, expected.actions)
    assert torch.equal(plan.score, expected.score)
    np.testing.assert_array_equal(actions[0], expected.actions[:, 0])
    assert (dream[awake:] == dream[awake - 1]).all()  # z stands still
    assert returns[0] <= 3  # three pushes of at most 1, where the course's dream has its own rewards


# --- Lessons 09 and 10: the planner


def test_shift_plan(course: Run) -> None:
    class Watched(CEM):
        def plan(self, score: Any, warm: Plan | None = None, worlds: int = 1, generator: Any = None) -> Plan:
            warms.append(warm)
            return super().plan(score, warm, worlds, generator)

    for functions, shifted in (({"shift_plan": lambda plan: plan}, False), ({}, True)):
        warms: list[Plan | None] = []
        player, frames = LatentPlanner(course.model, planner=Watched(4, 1, 12, 2, 4)), frames_of()
        player.begin(len(frames))
        with use_parts(functions):
            player.act(frames)
            first = player.mpc.last
            player.act(frames)
        assert first is not None
        assert warms[0] is None
        assert warms[1] is not None
        for name in ("actions", "mean", "elites"):
            was, now = getattr(first, name), getattr(warms[1], name)
            assert torch.equal(now, was) is not shifted
            assert torch.equal(now[..., :-1, :], was[..., 1:, :]) is shifted


def narrow(candidates: Tensor, scores: Tensor, elites: int, mean: Tensor, *more: float) -> tuple[Tensor, Tensor]:
    return torch.full_like(mean, 0.5), torch.zeros_like(mean)


def test_cem_update(course: Run) -> None:
    usual, _ = played(course.model, acts=1)
    with use_parts({"cem_update": narrow}):
        actions, plan = played(course.model, acts=1)
        controller = evolve_controller(
            course.model, torch.zeros(1, TINY.latent_dim), generations=2, population=4, dreams=1, steps=2
        )
    assert torch.equal(plan.mean, torch.full_like(plan.mean, 0.5))
    drawn_around_it = (plan.elites == 0.5).all(dim=(2, 3))  # (W, E)
    assert (drawn_around_it.sum(dim=1) >= TINY.elites - 1).all()  # all but the best of the first iteration
    assert not np.array_equal(actions, usual)
    assert all((parameter == 0.5).all() for parameter in controller.parameters())


def test_cem_update_is_not_felt_within_one_iteration(course: Run) -> None:
    """As PARTS says: what is played is the best plan, and so is where the next search starts."""
    once = replace(TINY, iterations=1)
    usual, _ = played(course.model, once)
    with use_parts({"cem_update": narrow}):
        np.testing.assert_array_equal(played(course.model, once)[0], usual)


def test_cem_plan(course: Run) -> None:
    def stubborn(score: Any, draw: Any, mean: Tensor, std: Tensor, iterations: int, elites: int, *more: float) -> Plan:
        plan = torch.full_like(mean, 0.5)
        return Plan(plan, score(plan[:, None])[:, 0], plan, plan[:, None].repeat(1, elites, 1, 1))

    world = DodgeVectorEnv(2)
    frames, _ = world.reset(seed=0)
    oracle = OraclePlanner(world, TINY)
    oracle.begin(2)
    with use_parts({"cem_plan": stubborn}):
        actions, _ = played(course.model)
        np.testing.assert_array_equal(actions, np.full_like(actions, 0.5))
        np.testing.assert_array_equal(oracle.act(frames), np.full((2, 1), 0.5, np.float32))
    with pytest.raises(ValueError, match="at least one iteration, not 0"):
        reference("cem_plan")(torch.sum, torch.add, torch.zeros(1, 2, 1), torch.ones(1, 2, 1), 0, 1)


# --- Lesson 11: what a plan is worth


def test_plan_returns(course: Run) -> None:
    seen: list[tuple[Tensor, float]] = []

    def pushing_pays(rnn: Any, z: Tensor, state: Any, plans: Tensor, temperature: float, generator: Any) -> Tensor:
        seen.append((state[0], temperature))
        return plans.sum(dim=(2, 3))

    def score(plans: Tensor) -> Tensor:
        return plans.sum(dim=(2, 3)) - TINY.effort * plans.square().mean(dim=(2, 3))

    with use_parts({"plan_returns": pushing_pays}):
        actions, plan = played(course.model, replace(TINY, temperature=0.7), acts=1)
    expected = planner_for(TINY, course.model.actions).plan(score, None, 2, torch.Generator().manual_seed(1))
    assert torch.equal(plan.actions, expected.actions)
    assert torch.equal(plan.score, expected.score)
    np.testing.assert_array_equal(actions[0], expected.actions[:, 0])
    assert {temperature for _, temperature in seen} == {0.7}

    seen.clear()
    with use_parts({"plan_returns": pushing_pays}):
        played(course.model, acts=2)
    (first, _), *_, (last, _) = seen
    assert not first.any()  # an episode begins without memory
    assert last.abs().sum() > 0  # and goes on with it


# --- The same function, the same bits; and never the course's where the learner's should stand


def whole_road(directory: Path) -> tuple[WorldModel, list[NDArray[Any]]]:
    """Everything that the engine does with a model: train, load, play, dream, evolve."""
    model = train_world_model(TINY, directory, "cpu")
    assert same(model, load_world_model(directory, "cpu"))
    scores = play(model, episodes=2, progress=False)
    dreams = imagine(model, steps=6, context=3)[1]
    evolved = evolve_controller(model, torch.zeros(1, TINY.latent_dim), 1.0, 2, 4, 1, 3)
    done: list[NDArray[Any]] = [*(score.returns for score in scores.values()), dreams]
    return model, [*done, played(model)[0], *(p.detach().numpy() for p in evolved.parameters())]


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> tuple[WorldModel, list[NDArray[Any]]]:
    return whole_road(tmp_path_factory.mktemp("road"))


def assert_the_same(one: tuple[WorldModel, list[NDArray[Any]]], other: tuple[WorldModel, list[NDArray[Any]]]) -> None:
    assert same(one[0], other[0])
    for a, b in zip(one[1], other[1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_course_s_functions_as_parts_change_no_bit(
    road: tuple[WorldModel, list[NDArray[Any]]], tmp_path: Path
) -> None:
    before = state_of_the_modules()
    with use_parts({}):
        assert all(now is then for now, then in zip(state_of_the_modules(), before, strict=True))
    with use_parts({name: reference(name) for name in PARTS}):
        assert_the_same(whole_road(tmp_path), road)


def test_copies_of_the_course_s_functions_change_no_bit(
    road: tuple[WorldModel, list[NDArray[Any]]], tmp_path: Path
) -> None:
    with use_parts({name: copy_of(name) for name in PARTS if name != "lstm_step"}):  # torch's kernel rounds otherwise
        assert_the_same(whole_road(tmp_path), road)


def test_a_copy_of_lstm_step_trains_the_same_network_up_to_rounding(course: Run, tmp_path: Path) -> None:
    mine = train(tmp_path, {"lstm_step": copy_of("lstm_step")})
    torch.testing.assert_close(weights(mine.model), weights(course.model), atol=1e-4, rtol=1e-4)
    assert mine.rnn[0]["total"] == pytest.approx(course.rnn[0]["total"], rel=1e-5)


def poison(monkeypatch: pytest.MonkeyPatch, *functions: Any) -> None:
    """Whoever calls one of these, by whatever name, is caught."""

    def caught(*arguments: Any, **named: Any) -> None:
        raise AssertionError("the course's function was called")

    for function in functions:
        monkeypatch.setattr(function, "__code__", caught.__code__)


@pytest.mark.parametrize("name", PARTS)
def test_the_engine_reaches_each_part_and_then_the_learner_s_alone(
    name: str, course: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, calls = copy_of(name), []
    shortcut = [getattr(owner, key) for owner, key, _ in [SHORTCUTS[name]]] if name in SHORTCUTS else []

    def noted(*arguments: Any, **named: Any) -> Any:
        calls.append(name)
        return mine(*arguments, **named)

    with monkeypatch.context() as patch:
        poison(patch, reference(name), *shortcut)
        with use_parts({name: noted}):
            whole_road(tmp_path / "mine")
        assert calls
        with pytest.raises(AssertionError, match="the course's function was called"):
            whole_road(tmp_path / "course")


def test_all_parts_at_once_and_nothing_of_the_course_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = {name: copy_of(name) for name in PARTS}
    with monkeypatch.context() as patch:
        poison(patch, *map(reference, PARTS), *(getattr(owner, key) for owner, key, _ in SHORTCUTS.values()))
        with use_parts(copies):
            whole_road(tmp_path)


# --- Failures are told by name


def test_a_part_that_stops_is_named(tmp_path: Path) -> None:
    def broken(mu: Tensor, logvar: Tensor) -> Tensor:
        return mu.sum(-1) / (1 // 0)

    before = state_of_the_modules()
    with pytest.raises(PartFailed, match=r"Your kl_standard_normal \(lesson 03\) stopped with ZeroDiv") as caught:
        train(tmp_path, {"kl_standard_normal": broken})
    assert isinstance(caught.value, RunError)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "\n" not in str(caught.value)
    assert all(now is then for now, then in zip(state_of_the_modules(), before, strict=True))


def test_a_part_inside_a_part_is_named_once(tmp_path: Path) -> None:
    def stub(mu: Tensor, logvar: Tensor) -> Tensor:
        raise NotImplementedError

    def calls_it(*arguments: Any) -> VAELoss:
        vae_complete_loss.kl_standard_normal(arguments[2], arguments[3])
        return reference("vae_loss")(*arguments)

    with pytest.raises(PartFailed) as caught:
        train(tmp_path, {"kl_standard_normal": stub, "vae_loss": calls_it})
    assert "Your kl_standard_normal (lesson 03) stopped with NotImplementedError." in str(caught.value)
    assert "vae_loss" not in str(caught.value)
    assert isinstance(caught.value.__cause__, NotImplementedError)


class Swapped(NamedTuple):
    total: Tensor
    kl: Tensor
    reconstruction: Tensor


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("kl_standard_normal", lambda mu, logvar: mu.sum(), r"a tensor \(\) .* where a tensor \(8,\) of torch.float32"),
        ("kl_standard_normal", lambda mu, logvar: 0.5, "a float, where"),
        ("kl_standard_normal", lambda mu, logvar: None, "None, where"),
        ("bernoulli_nll", lambda logits, x: logits.double().sum((1, 2, 3)), "torch.float64, where .* torch.float32"),
        ("vae_loss", lambda *a: Swapped(*reference("vae_loss")(*a)), r"Swapped\(total, kl, .* VAELoss\(total, recon"),
        ("vae_loss", lambda *a: reference("vae_loss")(*a).total, r"a tensor \(\) .*, where a VAELoss"),
        ("vae_loss", lambda logits, x, *_: 3 * [logits.mean((1, 2, 3))], r"a tensor \(8,\)"),
        ("lstm_step", lambda x, h, *_: h, "where a tuple of 2"),
        ("sequence_loss", lambda *a: reference("sequence_loss")(*a)._asdict(), "a dict, where a SequenceLoss"),
    ],
)  # fmt: skip
def test_a_part_that_returns_another_kind_is_named(name: str, wrong: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(PartFailed, match=rf"Your {name} \(lesson {PARTS[name].lesson}\) returned .*{words}"):
        train(tmp_path, {name: wrong})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("dream_step", lambda *a: reference("dream_step")(*a)[:3]),
        ("shift_plan", lambda plan: plan[..., 1:, :]),
        ("cem_update", lambda candidates, scores, elites, mean, std, *_: (mean[0], std[0])),
        ("cem_plan", lambda score, draw, mean, *_: mean),
        ("sample_mixture", lambda log_pi, mu, *_: mu),
        ("plan_returns", lambda rnn, z, state, plans, *_: plans.sum(dim=(1, 2, 3))),
    ],
)
def test_a_part_that_returns_another_kind_while_playing_is_named(name: str, wrong: Any, course: Run) -> None:
    with use_parts({name: wrong}), pytest.raises(PartFailed, match=rf"Your {name} \(lesson .*\) returned"):
        played(course.model)


def test_plain_tuples_and_lists_will_do(course: Run, tmp_path: Path) -> None:
    """They pass a lesson's check, so they must run here."""
    plain = {
        "vae_loss": lambda *a: list(reference("vae_loss")(*a)),
        "sequence_loss": lambda *a: tuple(reference("sequence_loss")(*a)),
        "dream_step": lambda *a: tuple(reference("dream_step")(*a)),
        "cem_update": lambda *a: list(reference("cem_update")(*a)),
        "cem_plan": lambda *a: tuple(reference("cem_plan")(*a)),
    }
    assert same(train(tmp_path, plain).model, course.model)
    usual, _ = played(course.model)
    with use_parts(plain):
        np.testing.assert_array_equal(played(course.model)[0], usual)


# --- The block


def test_unknown_names_are_refused_before_anything_is_replaced() -> None:
    before = state_of_the_modules()
    for functions, words in (
        ({"lstm_step": forgetful, "elbo": forgetful}, "no part 'elbo': choose among reparameterize, .*cem_plan"),
        ({"lstm_step": forgetful, "vae_loss": 3}, "The part vae_loss must be a function, not int"),
    ):
        with pytest.raises(RunError, match=words), use_parts(functions):  # type: ignore[arg-type]
            pytest.fail("it began")
        assert all(now is then for now, then in zip(state_of_the_modules(), before, strict=True))
    with pytest.raises(RunError, match="no part 'gru_step'"):
        reference("gru_step")


def test_blocks_inside_blocks() -> None:
    def times(factor: float) -> Functions:
        return {"kl_standard_normal": lambda mu, logvar: factor * torch.ones(len(mu))}

    def kl() -> float:
        assert kl_divergence_loss.kl_standard_normal(mu, mu)[0] == vae_complete_loss.kl_standard_normal(mu, mu)[0]
        return kl_divergence_loss.kl_standard_normal(mu, mu)[0].item()

    mu = torch.zeros(2, 3)
    assert kl() == 0
    with use_parts(times(2)):
        assert kl() == 2
        with use_parts(times(3)):
            assert kl() == 3
            with use_parts({"kl_standard_normal": reference("kl_standard_normal")}):
                assert kl() == 0
            assert kl() == 3
        with pytest.raises(KeyError), use_parts(times(4)):
            raise KeyError(kl())
        with use_parts({"lstm_step": forgetful}):
            assert kl() == 2
        assert kl() == 2
    assert kl() == 0


def test_the_course_s_lstm_step_inside_a_block_brings_its_kernel_back(untrained: WorldModel) -> None:
    lstm, x = untrained.rnn.rnn, torch.randn(2, 4, untrained.rnn.rnn.input_dim)
    usual, _ = lstm(x)
    with use_parts({"lstm_step": forgetful}):
        assert not torch.allclose(lstm(x)[0], usual)
        with use_parts({"lstm_step": reference("lstm_step")}):
            assert torch.equal(lstm(x)[0], usual)


def test_the_table() -> None:
    assert [part.lesson for part in PARTS.values()] == sorted(part.lesson for part in PARTS.values())
    for name, part in PARTS.items():
        assert part.name == name
        assert reference(name).__module__ == f"wmcourse.{part.module}"
        assert part.what
    for name in ("reparameterize", "vae_loss", "sequence_loss", "dream_step", "plan_returns"):
        assert wm in [module for module, _ in PLACES[name]]
