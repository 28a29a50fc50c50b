"""Widgets without a browser: what they draw, say and leave behind."""

import base64
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pytest
from PIL import Image

from wmcourse.lessons.errors import LessonError
from wmcourse.lessons.kl_divergence_loss.widgets import bowl, two_densities
from wmcourse.lessons.lesson import Lesson
from wmcourse.lessons.progress import Progress
from wmcourse.lessons.widget import (
    Asked,
    Choice,
    Explorer,
    Question,
    choice,
    marked,
    number,
    slider,
    stage,
    without_minus_zero,
)


def line_explorer(calls: list[dict[str, Any]]) -> Explorer:
    figure, axes = stage(3.0, 2.0)
    (line,) = axes.plot([0, 1], [0, 1])
    axes.set_ylim(-2, 2)

    def draw(a: float, n: int, kind: str) -> str:
        calls.append({"a": a, "n": n, "kind": kind})
        line.set_ydata([0, a])
        return f"<b>slope {a:.1f}</b>, {n}, {kind}"

    return Explorer(
        figure, draw, alt="A <line> & more", a=slider("slope", -2.0, 2.0, 1.0, 0.1), n=slider("n", 1, 5, 2, 1),
        kind=choice("kind", {"one": "1", "two": "2"}),
    )  # fmt: skip


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_the_sliders_values_drive_the_picture_and_the_sentence() -> None:
    calls: list[dict[str, Any]] = []
    explorer = line_explorer(calls)
    assert calls == [{"a": 1.0, "n": 2, "kind": "1"}]
    assert explorer.children == (*explorer.controls.values(), explorer.picture, explorer.text)
    before = explorer.picture.value
    explorer.controls["a"].value = -1.5
    assert calls[-1] == {"a": -1.5, "n": 2, "kind": "1"}
    assert (pixels(explorer.picture.value) != pixels(before)).any()
    assert pixels(explorer.picture.value).shape == pixels(before).shape == (200, 300, 3)  # nothing jumps
    assert "<b>slope -1.5</b>, 2, 1" in explorer.text.value
    explorer.controls["n"].value = 3
    explorer.controls["kind"].value = "2"
    assert calls[-1] == explorer.values == {"a": -1.5, "n": 3, "kind": "2"}
    assert len(calls) == 4
    explorer.controls["a"].value = 1.0
    explorer.controls["n"].value = 2
    explorer.controls["kind"].value = "1"
    assert explorer.picture.value == before  # the same picture, byte for byte


def test_the_picture_is_told_to_those_who_do_not_see_it_and_stays_without_a_kernel() -> None:
    explorer = line_explorer([])
    assert "role='status' aria-live='polite'" in explorer.text.value
    assert "Picture: A &lt;line&gt; &amp; more</div>" in explorer.text.value
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == "A <line> & more (Run the notebook to move it.)"
    assert isinstance(bundle["image/png"], str)
    assert base64.b64decode(bundle["image/png"]) == explorer.picture.value
    assert "application/vnd.jupyter.widget-view+json" in bundle
    explorer.controls["a"].value = 0.0
    assert base64.b64decode(explorer._repr_mimebundle_()["image/png"]) == explorer.picture.value


def test_a_description_may_tell_what_was_drawn_last_and_nothing_says_minus_zero() -> None:
    figure, axes = stage(3.0, 2.0)
    (line,) = axes.plot([0, 1], [0, 1])

    def draw(a: float) -> str:
        line.set_ydata([0, a])
        return f"slope {a:.1f}"

    explorer = Explorer(
        figure, draw, alt=lambda: f"up to {line.get_ydata()[1]:.2f}", a=slider("a", -1.0, 1.0, 0.5, 0.01)
    )
    assert "Picture: up to 0.50<" in explorer.text.value
    explorer.controls["a"].value = -0.001
    assert "slope 0.0<" in explorer.text.value
    assert "Picture: up to 0.00<" in explorer.text.value
    assert explorer._repr_mimebundle_()["text/plain"] == "up to 0.00 (Run the notebook to move it.)"


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("N(-0.00, 1.00²)", "N(0.00, 1.00²)"),
        ("−0.000.", "0.000."),
        ("-0.05, -10 and 1e-05", "-0.05, -10 and 1e-05"),
        ("from -0 to -0.0 %", "from 0 to 0.0 %"),
    ],
)
def test_a_rounded_zero_has_no_sign(text: str, right: str) -> None:
    assert without_minus_zero(text) == right


def test_sliders_are_whole_where_all_their_numbers_are() -> None:
    assert isinstance(slider("n", 1, 5, 2, 1), widgets.IntSlider)
    assert isinstance(slider("a", 1, 5, 2, 0.5), widgets.FloatSlider)
    assert isinstance(slider("a", 1.0, 5, 2, 1), widgets.FloatSlider)
    a = slider("a", -1, 1, 0.5, 0.25)
    assert (a.min, a.max, a.value, a.step, a.description) == (-1, 1, 0.5, 0.25, "a")
    assert choice("c", ["x", "y"]).options == ("x", "y")


def test_a_stage_has_no_frame_and_as_many_axes_as_one_wants() -> None:
    figure, axes = stage(4, 2, 2, sharey=True)
    assert len(axes) == 2
    assert figure.get_size_inches().tolist() == [4, 2]
    assert not any(a.spines[side].get_visible() for a in axes for side in ("top", "right"))
    _, alone = stage(4, 2)
    assert not alone.spines["top"].get_visible()


@pytest.mark.parametrize("make", [two_densities, bowl])
def test_lesson_03_explorers_over_the_whole_range(make: Callable[[], Explorer]) -> None:
    """Every end of every slider; the time is printed and not judged."""
    explorer = make()
    times = []
    for control in explorer.controls.values():
        start = control.value
        ends = control.options if hasattr(control, "options") else (control.min, control.max)
        for value in (*ends, start):
            before = time.perf_counter()
            control.value = value
            times.append(time.perf_counter() - before)
            assert "nan" not in explorer.text.value
            assert pixels(explorer.picture.value).std() > 0
    print(f"{make.__name__}: {1000 * np.median(times):.0f} ms a picture, {1000 * max(times):.0f} at most")


# --- Questions


COLOURS = Question(
    "colours",
    "Is 1 < 2 & 2 < 3?",
    (Choice("yes, <b>always</b>", "1 < 2 is so & stays so", right=True), Choice("no & never", "count <i>again</i>")),
)
SIXTEENTH = Question(
    "sixteenth", "What is 1/16?", number=1 / 16, within=1e-3, because="One of <16>.", wrong=((16, "the <other> way"),)
)


@pytest.fixture(autouse=True)
def fresh() -> None:
    for question in (COLOURS, SIXTEENTH):
        question.given = question.lesson = None


def test_judging_a_choice() -> None:
    assert COLOURS.judge("yes, <b>always</b>") == (True, "1 < 2 is so & stays so")
    assert COLOURS.judge("no & never") == (False, "count <i>again</i>")
    with pytest.raises(LessonError, match="'perhaps' is none of the choices: yes, <b>always</b>, no & never"):
        COLOURS.judge("perhaps")


@pytest.mark.parametrize("given", [1 / 16, "0.0625", "0,0625", "1/16", " 1 / 16 ", "6.25e-2", "+.0625", "0.0625 nats"])
def test_a_number_is_read_as_people_write_it(given: Any) -> None:
    assert SIXTEENTH.judge(given) == (True, "One of <16>.")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (16, "the <other> way"),
        ("16", "the <other> way"),
        ("−0.0625", "Not this number"),
        (0, "Not this"),
        ("nan", "Not"),
    ],
)
def test_a_wrong_number_is_told_why(given: Any, words: str) -> None:
    good, why = SIXTEENTH.judge(given)
    assert not good
    assert why.startswith(words)


@pytest.mark.parametrize("given", ["sixteen", "", None, "1/0", "1/2/3", "1,2,3", [1], "½"])
def test_what_is_no_number_is_told_so(given: Any) -> None:
    with pytest.raises(LessonError, match=r"This is not a number\. A decimal such as 0\.5 will do"):
        SIXTEENTH.judge(given)


def test_numbers() -> None:
    assert number("3 bits") == 3
    assert number("-2") == number("−2") == -2
    assert number("50 %") == 50
    assert number("1,000.5") == 1000.5
    assert number("0,125") == number("0.125")


def answered(widget: Any, value: Any) -> str:
    widget.answer.value = value
    return widget.said.value


def test_a_question_answers_at_once_and_is_ticked_when_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WMCOURSE_HOME", str(tmp_path))
    lesson = Lesson("kl_divergence_loss", [], [], [COLOURS], {})
    widget = COLOURS.ask()
    assert isinstance(widget, Asked)
    assert widget.children[0].value.endswith("Is 1 &lt; 2 &amp; 2 &lt; 3?</b>")
    assert widget.answer.options == ("yes, <b>always</b>", "no & never")
    assert widget.said.value == ""
    assert widget.answer.value is None  # nothing is chosen for you
    said = answered(widget, "no & never")
    assert said.endswith("><b>✗ No.</b> count &lt;i&gt;again&lt;/i&gt;</div>")
    assert "role='status' aria-live='polite'" in said
    assert Progress().passed == {}
    assert answered(widget, "yes, <b>always</b>").endswith("<b>✓ Right.</b> 1 &lt; 2 is so &amp; stays so</div>")
    assert list(Progress().passed) == ["03/colours"]
    assert lesson.questions["colours"] is COLOURS


def test_a_question_for_a_number() -> None:
    widget = SIXTEENTH.ask()
    assert isinstance(widget.answer, widgets.Text)
    assert "This is not a number" in answered(widget, "many")
    assert SIXTEENTH.given is None
    assert "✗ No.</b> the &lt;other&gt; way" in answered(widget, "16")
    said = answered(widget, "1/16")
    assert "✓ Right.</b> One of &lt;16&gt;." in said
    assert answered(widget, "") == said


def test_emphasis_and_code_are_shown_as_such() -> None:
    said = marked("2*n is *less* than `f(1, 2) < 3`, *by far*: 2 * 3 * 4")
    assert said == "2*n is <em>less</em> than <code>f(1, 2) &lt; 3</code>, <em>by far</em>: 2 * 3 * 4"


def test_a_prediction_is_noted_and_comes_back() -> None:
    widget = COLOURS.predict()
    said = answered(widget, "yes, <b>always</b>")
    assert "Noted: yes, &lt;b&gt;always&lt;/b&gt;. You will meet it again." in said
    assert "Right" not in said
    assert COLOURS.reveal() == (
        "**Is 1 < 2 & 2 < 3?**\n\nYou predicted *yes, <b>always</b>*, and so it is. 1 < 2 is so & stays so"
    )
    answered(widget, "no & never")
    assert "You predicted *no & never*, but it is *yes, <b>always</b>*. count <i>again</i> 1 < 2" in COLOURS.reveal()


def test_without_a_prediction_the_answer_is_told() -> None:
    assert "You made no prediction. The answer: *yes, <b>always</b>*. 1 < 2 is so" in COLOURS.reveal()
    assert "You made no prediction. The answer: *0.0625*. One of <16>." in SIXTEENTH.reveal()


def test_a_predicted_number_comes_back() -> None:
    widget = SIXTEENTH.predict()
    assert "Noted: 16. You" in answered(widget, "16")
    assert "You predicted *16*, but it is *0.0625*. the <other> way One of <16>." in SIXTEENTH.reveal()
    assert "not a number" in answered(widget, "x")
    assert SIXTEENTH.given == 16.0  # the last one that was a number


def test_numbers_come_back_with_four_digits() -> None:
    third = Question("third", "What is 4/13?", number=4 / 13, within=1e-2, because="So it is.")
    assert "The answer: *0.3077*." in third.reveal()
    assert "Noted: 0.3333. You" in answered(third.predict(), "1/3")
    assert third.given == pytest.approx(1 / 3, abs=1e-15)  # judged as it was given
    assert "You predicted *0.3333*, but it is *0.3077*." in third.reveal()
    for given, words in ((0.0, "0"), (1e-5, "1e-05"), (6144.0, "6144"), (12345.5, "12346"), (-2.5, "-2.5")):
        third.given = given
        assert f"You predicted *{words}*, but" in third.reveal()


def test_a_question_is_words_where_no_kernel_runs() -> None:
    bundle = COLOURS.ask()._repr_mimebundle_()
    assert bundle["text/plain"] == "Is 1 < 2 & 2 < 3?\n  ( ) yes, <b>always</b>\n  ( ) no & never"
    assert SIXTEENTH.predict()._repr_mimebundle_()["text/plain"] == "What is 1/16?"
