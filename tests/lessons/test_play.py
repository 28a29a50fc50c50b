"""The game inside the dream, without a browser: its rules, and what the page is answered."""

import re
from typing import Any

import nbformat
import numpy as np
import pytest
import torch

from wmcourse.engine.errors import RunError
from wmcourse.engine.parts import use_parts
from wmcourse.engine.runs import preset
from wmcourse.lessons.world_models_training.play import DreamGame, DreamPlayer
from wmcourse.mdn_rnn import DreamStep
from wmcourse.world_models_training import WorldModel, new_model
from wmcourse.worlds import DodgeVectorEnv


@pytest.fixture
def model() -> WorldModel:
    torch.manual_seed(0)
    return new_model(preset("quick")).eval()


@pytest.fixture
def safe(model: WorldModel) -> WorldModel:
    """A model that never dreams of a hit."""
    assert model.rnn.outcome is not None
    with torch.no_grad():
        model.rnn.outcome.bias[1] = -50.0
    return model


def test_reality_is_the_worlds_own(safe: WorldModel) -> None:
    game, world = DreamGame(safe, seed=3, context=5), DodgeVectorEnv(1)
    frames, _ = world.reset(seed=3)
    for push in [0.0] * 5 + [1.0] * 10:
        if push:
            game.step(push)
        frames, *_ = world.step(np.full((1, 1), push, np.float32))
    assert np.array_equal(game.view().reality, frames[0, ..., 0])
    assert game.view().reality_steps == game.view().dream_steps == 15


def test_the_dream_gets_no_frames_and_a_look_gives_it_one(safe: WorldModel) -> None:
    game = DreamGame(safe, seed=1)
    apart = [game.step(1.0) for _ in range(6)][-1]
    seen = safe.decode(game.seen_z)[0, ..., 0]
    assert not np.array_equal(apart.dream, seen)
    assert np.array_equal(game.look().dream, seen)
    assert all(torch.equal(a, b) for a, b in zip(game.state, game.seen_state, strict=True))


def test_the_memory_of_what_was_seen_is_that_of_all_real_frames(safe: WorldModel) -> None:
    game, world = DreamGame(safe, seed=2, context=4), DodgeVectorEnv(1)
    frames, _ = world.reset(seed=2)
    state = safe.rnn.initial_state(1)
    with torch.no_grad():
        for push in [0.0] * 4 + [-1.0] * 3:
            if push:
                game.step(push)
            state = safe.rnn.step(safe.encode(frames)[0], torch.full((1, 1), push), state)
            frames, *_ = world.step(np.full((1, 1), push, np.float32))
    torch.testing.assert_close(game.seen_state, state)


def test_each_ends_on_its_own_and_then_stays(safe: WorldModel) -> None:
    game = DreamGame(safe, seed=0)
    for _ in range(400):
        view = game.step(1.0)  # into the wall: sooner or later a hazard comes down there
        if view.reality_ended:
            break
    assert view.reality_ended
    assert not view.dream_ended
    later = game.step(0.0)
    assert later.reality_steps == view.reality_steps
    assert np.array_equal(later.reality, view.reality)
    assert later.dream_steps == view.dream_steps + 1


def test_the_chance_of_a_hit_is_without_the_weight_of_training(model: WorldModel) -> None:
    assert model.rnn.outcome is not None
    weight = model.config.done_weight
    assert weight != 1
    with torch.no_grad():
        model.rnn.outcome.weight[1] = 0.0
        model.rnn.outcome.bias[1] = np.log(weight * 0.2 / 0.8)  # what training with the weight makes of 0.2
    game, lengths = DreamGame(model, seed=0, context=0), []
    for seed in range(300):
        game.begin(seed)
        while not (view := game.step(0.0)).dream_ended:
            pass
        assert view.danger == pytest.approx(0.2, abs=1e-5)
        lengths.append(view.dream_steps + 1)
    assert np.mean(lengths) == pytest.approx(5.0, abs=3 * np.sqrt(20 / 300))  # geometric: mean 1/p, variance (1-p)/p²


def test_temperature_acts_at_once_and_seeds_repeat(safe: WorldModel) -> None:
    def run(temperature: float, seed: int = 0) -> np.ndarray:
        game = DreamGame(safe, seed, temperature)
        return [game.step(0.5).dream for _ in range(5)][-1]

    assert np.array_equal(run(1.0), run(1.0))
    assert not np.array_equal(run(1.0), run(2.0))
    assert np.array_equal(run(0.0), run(0.0))


def test_a_game_of_another_kind_of_world_is_refused() -> None:
    with pytest.raises(RunError, match="one continuous action"):
        DreamGame(new_model(preset("quick", world="CartPole-v1")))


class Page:
    """What the widget sends to the page."""

    def __init__(self, player: DreamPlayer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.player, self.sent = player, list[tuple[dict[str, Any], list[bytes]]]()
        monkeypatch.setattr(player.pad, "send", lambda content, buffers: self.sent.append((content, buffers)))

    def ask(self, kind: str, push: float = 0.0) -> dict[str, Any]:
        self.player.listen(self.player.pad, {"kind": kind, "push": push}, [])
        content, buffers = self.sent[-1]
        assert [len(b) for b in buffers] == [1024, 1024]
        return content


def test_the_page_is_told_of_hits_and_games(safe: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    player = DreamPlayer(safe, temperature=1.0)
    page = Page(player, monkeypatch)
    assert page.ask("show")["over"] is False
    player.control.value = 0.5
    assert "τ = 0.5" in page.ask("step", 1.0)["titles"][0]
    said = []
    for _ in range(400):
        said.append(page.ask("step", 1.0))
        if said[-1]["over"]:
            break
    news = [m["news"] for m in said if m["news"]]
    assert any(n.startswith("In reality you are hit, at step") for n in news)
    assert "In the dream the cap is reached, at step 300." in news[-1]  # this model never dreams of a hit
    assert player.games == [(0.5, 300, player.games[0][2])]
    assert re.search(r">0\.5</td><td[^>]*>300</td>", player.history.value)
    assert page.ask("step")["over"]  # nothing more happens
    assert len(player.games) == 1
    assert page.ask("new")["news"] == "Game 1: Go."
    assert page.ask("look")["news"] == "The dream has looked."


def test_the_dream_is_made_of_the_parts_around_it(safe: WorldModel, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def dream_step(model: Any, z: Any, a: Any, state: Any, *more: Any) -> Any:
        calls.append(1)
        if len(calls) > 2:
            raise ValueError("enough")
        return DreamStep(z + 1, z.new_ones(len(z)), z.new_zeros(len(z)), state)

    page = Page(DreamPlayer(safe, around=lambda: use_parts({"dream_step": dream_step})), monkeypatch)
    before = page.player.game.z
    page.ask("step")
    torch.testing.assert_close(page.player.game.z, before + 1)
    page.ask("step")
    said = page.ask("step")
    assert said["news"].startswith("Your dream_step (lesson 08) stopped with ValueError: enough")
    assert said["over"]
    assert page.player.games == []
    with torch.no_grad():  # outside it is the course's again
        page.player.game.dream_ended = False
        assert page.player.game.step(0.0).danger >= 0


def test_it_leaves_a_still_picture(safe: WorldModel) -> None:
    bundle = DreamPlayer(safe)._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert data["image/png"].startswith("iVBOR")
    assert data["text/plain"].endswith("(Run the notebook to move it.)")
    output = nbformat.v4.new_output("display_data", data)
    nbformat.validate(output, ref="output", version=4)
