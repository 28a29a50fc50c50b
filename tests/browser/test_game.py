"""The game inside the dream as it is played: keys, frames a second, what it says, in both themes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nbformat
import pytest
from test_lessons import FAINT, FPS_AT_LEAST, steps, steps_while_pushing

TEXT = """
import torch
from wmcourse.engine.runs import preset
from wmcourse.lessons.world_models_training.play import DreamPlayer
from wmcourse.world_models_training import new_model

torch.manual_seed(0)
model = new_model(preset("standard")).eval()  # as large as the trained one
with torch.no_grad():
    model.rnn.outcome.bias[1] = -50.0  # and it never dreams of a hit
player = DreamPlayer(model)
player
"""
BUSY = "import time; time.sleep(4)"  # as when all cells run: the game's first answer comes late


@pytest.fixture(scope="module")
def game(open_notebook: Callable[[str], Any], jupyter: Any) -> Any:
    cells = [nbformat.v4.new_code_cell(text.strip(), id=name) for name, text in (("play", TEXT), ("busy", BUSY))]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    nbformat.write(notebook, jupyter.root / "notebooks/play.ipynb")
    opened = open_notebook("notebooks/play.ipynb")
    opened.run_all(120)
    opened.page.locator(".wm-play").wait_for()
    return opened


def screens(game: Any) -> Any:
    return game.page.locator(".wm-play")


def told(game: Any, what: str) -> str:
    return game.page.locator(f".wm-play {what}").first.text_content() or ""


def wait(game: Any, done: Callable[[], bool], seconds: float = 10) -> None:
    for _ in range(int(20 * seconds)):
        if done():
            return
        game.page.wait_for_timeout(50)
    assert done()


def test_it_waits_for_the_player(game: Any) -> None:
    game.shoot("waiting", "play")
    before = steps(screens(game))
    game.page.wait_for_timeout(500)
    assert steps(screens(game)) == before
    assert "Click the dream" in told(game, ".wm-news")


def test_it_is_smooth(game: Any) -> None:
    assert steps_while_pushing(game, screens(game), seconds=4) >= 4 * FPS_AT_LEAST


def test_the_arrow_keys_are_the_games_and_not_the_notebooks(game: Any) -> None:
    assert game.page.locator(".wm-play").evaluate("e => e === document.activeElement")
    where = """() => { const c = document.querySelectorAll('.wm-play canvas')[1];
        const p = c.getContext('2d').getImageData(0, 30, 32, 1).data;
        let sum = 0, all = 0;
        for (let x = 0; x < 32; x++) { sum += x * p[4 * x]; all += p[4 * x]; }
        return sum / all; }"""
    for _ in range(5):  # a game can end on the way
        game.page.keyboard.press("Enter")
        for key, arrived in (("ArrowRight", lambda: game.page.evaluate(where) > 20),
                             ("ArrowLeft", lambda: game.page.evaluate(where) < 12)):  # fmt: skip
            game.page.keyboard.down(key)
            wait(game, lambda arrived=arrived: arrived() or "In reality" in told(game, ".wm-news"))
            game.page.keyboard.up(key)
        if game.page.evaluate(where) < 12:
            return
    pytest.fail("the keys do not move the agent to both sides")


def test_a_look_and_the_end_are_told(game: Any) -> None:
    game.page.keyboard.press("Enter")
    game.page.keyboard.press("Space")
    wait(game, lambda: "has looked" in told(game, ".wm-news"))
    game.page.keyboard.down("ArrowRight")  # into the wall, until something falls there
    wait(game, lambda: "In reality you are hit" in told(game, ".wm-news"), 60)
    game.page.keyboard.up("ArrowRight")
    game.shoot("hit", "play")


def test_it_rests_when_the_player_goes_away(game: Any) -> None:
    game.page.keyboard.press("Enter")
    game.page.locator(".jp-Notebook .noUi-handle").first.focus()  # the temperature's
    wait(game, lambda: "rests" in told(game, ".wm-news"))
    game.page.wait_for_timeout(200)
    before = steps(screens(game))
    game.page.keyboard.press("ArrowLeft")
    game.page.wait_for_timeout(500)
    assert steps(screens(game)) == before
    game.page.locator(".wm-play").focus()
    game.page.keyboard.press("ArrowLeft")
    wait(game, lambda: "τ = 0.95" in told(game, "figcaption"))


def test_buttons_do_what_the_keys_do(game: Any) -> None:
    game.page.locator(".wm-play button", has_text="new game").click()
    wait(game, lambda: "Go." in told(game, ".wm-news"))
    before = steps(screens(game))
    game.page.locator(".wm-play button", has_text="push left").hover()
    game.page.mouse.down()
    wait(game, lambda: steps(screens(game)) > before)
    game.page.mouse.up()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_its_words_are_legible(game: Any, theme: str) -> None:
    game.use(theme)
    assert game.page.evaluate(FAINT) == []


def test_the_page_logs_no_error(game: Any) -> None:
    assert game.errors == []
