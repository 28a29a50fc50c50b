"""Live pictures, the map and lesson 11's widgets, without a browser: what they show, say and leave behind."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from wmcourse.lessons import live
from wmcourse.lessons.live import Live, png, still
from wmcourse.lessons.map import PARTS, system_map
from wmcourse.lessons.world_models_training import widgets
from wmcourse.lessons.world_models_training.widgets import DreamSlider, GamePlot, TrainingPlot, score_picture, strip
from wmcourse.world_models_training import Score
from wmcourse.worlds import DodgeVectorEnv
from wmcourse.worlds.dodge import picture


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was displayed, in order."""
    out: list[Any] = []
    monkeypatch.setattr(live, "display", out.append)
    return out


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_a_live_picture_moves_and_leaves_a_still_one(shown: list[Any]) -> None:
    figure = Figure(figsize=(2, 1), dpi=100)
    (line,) = figure.subplots().plot([0, 1], [0, 1])
    with Live(figure, alt="a line", seconds=0.0) as picture:
        before = picture.image.value
        line.set_ydata([1, 0])
        picture.redraw()
        assert picture.image.value != before
        assert shown == [picture.image]
        assert picture.image._repr_mimebundle_()["text/plain"].startswith("(a picture that moves")
    assert picture.image.comm is None  # closed: the page shows the still one alone
    assert shown[1].alt == "a line"
    assert pixels(shown[1].data).shape[1] > 200  # sharper than it is wide


def test_a_live_picture_is_drawn_a_few_times_a_second_only(shown: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([101.0, 101.2, 101.4, 101.6, 101.9, 102.2])
    monkeypatch.setattr(live.time, "monotonic", lambda: next(clock))
    picture = Live(Figure(figsize=(2, 1)), alt="", seconds=0.5)
    drawn: list[float] = []
    monkeypatch.setattr(live, "png", lambda figure: drawn.append(picture.drawn) or b"png")
    for _ in range(6):
        picture.redraw()
    assert len(drawn) == 3  # at 101.0, 101.6 and 102.2
    assert picture.drawn == 102.2


def test_an_error_inside_leaves_the_picture_as_it_was(shown: list[Any]) -> None:
    with pytest.raises(KeyboardInterrupt), Live(Figure(figsize=(2, 1)), alt="what there was"):
        raise KeyboardInterrupt
    assert shown[-1].alt == "what there was"


def test_the_map_highlights_what_it_is_told_and_nothing_unknown() -> None:
    pictures = {name: pixels(system_map([name]).data) for name in PARTS}
    assert all((pictures["V"] != pictures[other]).any() for other in PARTS if other != "V")
    with pytest.raises(ValueError, match="no part"):
        system_map(["VAE"])


def test_curves_grow_with_what_a_stage_reports(shown: list[Any]) -> None:
    with TrainingPlot("Stage 2", ("reconstruction", "kl")) as plot:
        for step in range(0, 100, 10):
            plot.show("VAE", step, {"total": 1.0, "reconstruction": 100.0 - step, "kl": float(step)})
        assert plot.lines["kl"].get_xydata().tolist() == [[s, s] for s in range(0, 100, 10)]
        assert plot.axes["reconstruction"].get_xlim()[1] >= 90
    with TrainingPlot("Stage 2", ("kl",)) as plot:
        plot.draw([{"step": 0, "kl": 3.0}])  # one point is a curve, too


def test_the_game_shows_who_plays_and_how_it_ended(shown: list[Any]) -> None:
    world = DodgeVectorEnv(4)
    world.reset(seed=0)
    with GamePlot("Agent", 4, columns=2) as game:
        game.watch(world, np.array([1, 2]), np.array([7, 3, 3, 300], np.float32))
        titles = [image.axes.get_title() for image in game.images]
        assert titles == ["7", "3", "3", "300"]
        assert [image.get_alpha() for image in game.images] == [0.25, None, None, None]
        assert "2 of 4 still play" in game.title.get_text()


def test_the_dream_slider_shows_the_step_it_stands_on_and_says_so() -> None:
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)
    dream = real.copy()
    dream[6:] = 255 - dream[6:]
    slider = DreamSlider(real, dream, awake=5)
    assert slider.slider.value == 4
    assert "still looking" in slider.text.value
    assert "0.000" in slider.text.value
    before = slider.picture.value
    slider.slider.value = 8
    assert slider.picture.value != before
    assert "4 steps without a frame" in slider.text.value
    wanted = np.abs(real[8].astype(float) - dream[8]).mean() / 255
    assert f"{wanted:.3f}" in slider.text.value
    bundle = slider._repr_mimebundle_()
    assert pixels(base64.b64decode(bundle["image/png"])).std() > 0
    assert "slider" in bundle["text/plain"]


def test_strips_and_scores_are_pictures_with_words() -> None:
    frames = np.zeros((3, 8, 8, 1), np.uint8)
    assert "reality, dream" in strip({"reality": frames, "dream": frames}, "Two rows").alt
    score = Score(3.0, (2.0, 4.0), 2, np.array([2.0, 4.0], np.float32))
    picture = score_picture({"random": score, "planner": score})
    assert pixels(picture.data).std() > 0
    assert "ours" in picture.alt
    assert isinstance(png(Figure()), bytes)
    assert still(Figure(figsize=(3, 1)), "x").width == 300
    assert widgets.LABELS["kl"] == "KL"


def test_a_world_that_ended_is_shown_as_it_was_before_it_began_anew(shown: list[Any]) -> None:
    world = DodgeVectorEnv(2)
    world.reset(seed=0)
    world.state.x[:] = (5.0, 27.0)
    none = np.zeros(2, np.float32)
    with GamePlot("Agent", 2, columns=2) as game:
        game.watch(world, np.array([0, 1]), none)
        before = picture(world.state, 1, world.rules, scale=3)
        world.state.x[:] = 16.0  # a new episode, elsewhere
        game.watch(world, np.array([0]), none)
        np.testing.assert_array_equal(game.images[1].get_array(), before)


def test_a_painter_paints_what_a_full_drawing_shows() -> None:
    figure = Figure(figsize=(4, 2), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    right.axis("off")
    (line,) = left.plot([0, 1], [0, 1], label="a line")
    left.legend()
    title, shade = left.set_title("one"), left.fill_between([0, 1], [0, 1], alpha=0.5)
    right.imshow(np.eye(3))
    right.text(0, 0, "words")
    figure.suptitle("above")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    painter = live.Painter(figure)

    def same() -> bool:
        return np.array_equal(pixels(painter.paint()), pixels(png(figure)))

    assert same()
    line.set_ydata([1, 0])
    title.set_text("two")
    shade.remove()
    assert same()
    before = painter.framing
    left.set_xlim(-3, 3)  # an axis that changes is drawn again
    assert same()
    assert painter.framing is not before
