"""Lesson 11's experiments on an untrained model: what they compute, not how well it plays."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from wmcourse.engine.runs import Config
from wmcourse.lessons.world_models_training import experiment, widgets
from wmcourse.lessons.world_models_training.exercises import decide, evolve, population_action
from wmcourse.world_models_training import (
    LatentPlanner,
    LinearController,
    Score,
    WorldModel,
    dream_returns,
    evaluate,
    new_model,
)
from wmcourse.worlds import DodgeVectorEnv

TINY = Config(latent_dim=5, width=4, hidden_dim=12, components=3, horizon=4, candidates=8, elites=3, correlation=0.5)


@pytest.fixture(scope="module")
def model() -> WorldModel:
    torch.manual_seed(0)
    return new_model(TINY).eval()


def test_your_agent_plays_as_the_planner_does(model: WorldModel) -> None:
    world = DodgeVectorEnv(4)
    scores = [
        evaluate(agent, world, 8, 0, None)  # two batches of worlds: memories begin anew, and fewer go on
        for agent in (LatentPlanner(model, 3), experiment.YourAgent(model, decide, 3))
    ]
    np.testing.assert_array_equal(scores[0].returns, scores[1].returns)


def test_a_decision_without_memory_is_another(model: WorldModel) -> None:
    frames, _ = DodgeVectorEnv(3).reset(seed=0)
    seen = []

    def watching(rnn: Any, choose: Any, z: Any, began: Any, h: Any, c: Any) -> Any:
        seen.append((began.clone(), h.clone()))
        return decide(rnn, choose, z, began, h, c)

    agent = experiment.YourAgent(model, watching)
    agent.begin(3)
    agent.act(frames)
    agent.keep(np.array([0, 2]))
    agent.act(frames[[0, 2]])
    assert [began.tolist() for began, _ in seen] == [[True] * 3, [False] * 2]
    assert not seen[0][1].any()
    assert seen[1][1].any()


def test_lives_are_the_courses_dreams(model: WorldModel) -> None:
    controller = LinearController(TINY.latent_dim, TINY.hidden_dim, 1)
    weights = torch.randn(3, controller.size, generator=torch.Generator().manual_seed(0))
    starts = experiment.first_latents(model, 4)
    mine = experiment.lives(model, population_action, weights, starts, 20, 1.0, torch.Generator().manual_seed(1))
    course = dream_returns(model, controller, weights, starts, 20, 1.0, torch.Generator().manual_seed(1))
    torch.testing.assert_close(mine, course)
    agent = experiment.controller_of(model, weights[0])
    torch.testing.assert_close(torch.nn.utils.parameters_to_vector(agent.controller.parameters()), weights[0])


def test_one_push_is_held_in_dreams_as_in_the_world(model: WorldModel) -> None:
    act = experiment.hold(-1.0)
    z, h = torch.zeros(2, 3, TINY.latent_dim), torch.zeros(2, 3, TINY.hidden_dim)
    assert torch.equal(act(torch.zeros(2, 5), z, h), torch.full((2, 3, 1), -1.0))
    starts = experiment.first_latents(model, 4)
    size = TINY.latent_dim + TINY.hidden_dim + 1
    bias = (
        torch.nn.functional.one_hot(torch.tensor([size - 1]), size) * -20.0
    )  # tanh(−20) is −1: a controller does it, too
    lived = [
        experiment.lives(model, how, bias, starts, 20, 1.0, torch.Generator().manual_seed(1))
        for how in (act, population_action)
    ]
    torch.testing.assert_close(*lived)


def test_the_best_of_many_is_what_dice_say() -> None:
    assert experiment.best_of(1) == pytest.approx(0, abs=1e-9)
    assert experiment.best_of(2) == pytest.approx(np.pi**-0.5, abs=1e-9)
    best = np.random.default_rng(0).normal(size=(20_000, 64)).max(1)
    assert abs(best.mean() - experiment.best_of(64)) < 4 * best.std() / 20_000**0.5


def test_evolution_asks_for_each_generation_once(model: WorldModel) -> None:
    grown = experiment.evolve_in_dream(model, evolve, population_action, 1.0, 3, 10, 2, 5)
    assert grown.history.shape == (3,)
    assert grown.weights.shape == (TINY.latent_dim + TINY.hidden_dim + 1,)


def test_true_returns_count_the_steps_of_the_world(model: WorldModel) -> None:
    now = experiment.situations(model, decide, worlds=6, every=3, times=2)
    plans = experiment.some_plans(TINY, len(now.z))
    assert plans.shape == (len(now.z), TINY.candidates, TINY.horizon, 1)
    kept = experiment.true_returns(now.truth, plans[..., 0].numpy())
    assert kept.shape == (len(now.z), TINY.candidates)
    assert (kept <= TINY.horizon).all()
    assert kept.max() == TINY.horizon
    dreamt = experiment.dreamt_returns(model, now, plans, 2, 1.0, seed=0)
    assert dreamt.shape == (len(now.z), 2, TINY.candidates)
    assert not torch.equal(dreamt[:, 0], dreamt[:, 1])  # each with noise of its own
    picture = widgets.kept_picture(dreamt[:, 0].numpy(), kept, dreamt[:, 0].argmax(1).numpy(), TINY.horizon)
    assert "the chosen one by" in picture.alt


def test_a_film_keeps_what_the_agent_thought(model: WorldModel) -> None:
    film = experiment.film(model, decide, seed=0, steps=6)
    decisions = len(film.dreams)
    assert film.frames.shape == (decisions + TINY.horizon, 32, 32, 1)
    assert film.dreams.shape == (decisions, TINY.horizon + 1, 32, 32, 1)
    assert film.scores.shape == (decisions, TINY.candidates)
    assert (np.diff(film.scores) <= 0).all()  # best first
    shown = widgets.plan_film(film)
    before = shown.picture.value
    shown.controls["step"].value = (shown.controls["step"].value + 1) % decisions
    assert shown.picture.value != before
    assert "the chosen plan promises" in shown.text.value


@pytest.mark.parametrize("make", [widgets.apart, widgets.curse])
def test_explorers_say_their_numbers(make: Any) -> None:
    explorer = make()
    before = explorer.text.value
    control = next(iter(explorer.controls.values()))
    control.value = control.min
    assert explorer.text.value != before
    assert explorer._repr_mimebundle_()["text/plain"].endswith("(Run the notebook to move it.)")


def test_pictures_of_results_have_words() -> None:
    score = Score(3.0, (2.0, 4.0), 2, np.array([2.0, 4.0], np.float32))
    assert "ours 3" in widgets.ladder({"ours": score, "other": score}, "Title", "ours").alt
    assert (
        "other 3, one push 3"
        in widgets.ladder({"ours": score, "other": score}, "Title", "ours", ("one push", score)).alt
    )
    assert widgets.score_picture({"random": score, "left": score, "planner": score}).alt.endswith(
        "random, one push, ours"
    )
    assert experiment.interval(score) == "3 [2, 4]"
    assert "1.5 against what the memory" in widgets.nats_picture(9.0, 1.5).alt
    said = widgets.promise_picture({0.1: score}, {0.1: score}, {0.1: [1.0, 2.0]}).alt
    assert "τ 0.1: 3 in the dream, 3 in the world" in said


def test_a_run_is_another_where_the_config_is(model: WorldModel) -> None:
    agent = experiment.YourAgent(model, config=replace(TINY, horizon=2))
    agent.begin(1)
    agent.act(DodgeVectorEnv(1).reset(seed=0)[0])
    assert agent.mpc.last is not None
    assert agent.mpc.last.actions.shape == (1, 2, 1)
