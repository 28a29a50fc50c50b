"""Widgets in a few lines: a figure that is drawn once and moved by sliders, and questions that answer.

An author draws a figure, writes a function of the parameters that moves its artists and returns a sentence of numbers,
and lists the sliders:

    figure, axes = stage(6.4, 3.0)
    (line,) = axes.plot(x, x)
    def draw(a):
        line.set_ydata(a * x)
        return f"slope {a:.1f}"
    Explorer(figure, draw, alt="a line", a=slider("slope a", -2, 2, 1, 0.1))

Sliders take arrow keys; the sentence is read out by screen readers; where no kernel runs a still picture stays.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wmcourse.lessons.errors import LessonError, Note
from wmcourse.lessons.live import Painter

if TYPE_CHECKING:
    from wmcourse.lessons.lesson import Lesson

BLUE, ORANGE, GREEN, GREY, RED = "#0072B2", "#E69F00", "#009E73", "#7F7F7F", "#D55E00"  # Okabe & Ito (2008)
WIDE = {"width": "min(560px, 98%)"}
LABEL = {"description_width": "150px"}


def stage(width: float, height: float, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure in inches with one or more axes, in the course's style: white in both themes, so always legible."""
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained", facecolor="white")
    axes = figure.subplots(1, columns, **options)
    for a in [axes] if isinstance(axes, Axes) else axes.ravel():
        a.spines[["top", "right"]].set_visible(False)
    return figure, axes


def slider(label: str, low: float, high: float, value: float, step: float) -> widgets.Widget:
    """A slider for whole numbers when all four are, otherwise for any; arrow keys move it by ``step``."""
    whole = all(isinstance(v, int) for v in (low, high, value, step))
    kind = widgets.IntSlider if whole else widgets.FloatSlider
    return kind(value=value, min=low, max=high, step=step, description=label, style=LABEL, layout=WIDE)


def choice(label: str, options: list[Any] | dict[str, Any]) -> widgets.Widget:
    """One of a few, as buttons: Tab goes there, Space presses."""
    layout = {"width": "max-content"}
    return widgets.ToggleButtons(options=options, description=label, style=LABEL, layout=layout)


def without_minus_zero(text: str) -> str:
    """A rounded number that is 0 has no sign: "-0.00" becomes "0.00"."""
    return re.sub(r"(?<![\w.])[-−](0(?:\.0+)?)(?![\w.]*\d)", r"\1", text)


class Explorer(widgets.VBox):
    """Sliders over a picture over a sentence. ``draw`` takes the sliders' values by name, moves the figure's artists
    and returns the sentence; ``alt`` says in words what the picture shows, or is a function that says it of what was
    drawn last.
    """

    def __init__(
        self, figure: Figure, draw: Callable[..., str], alt: str | Callable[[], str], **controls: widgets.Widget
    ) -> None:
        self.figure, self.draw, self.describe, self.controls = figure, draw, alt, controls
        width, height = (round(v) for v in figure.get_size_inches() * figure.dpi)
        layout = {"width": f"{width}px", "height": f"{height}px", "max_width": "100%", "object_fit": "contain"}
        self.picture = widgets.Image(format="png", width=width, height=height, layout=layout)
        self.picture.add_class("wm-picture")
        self.text = widgets.HTML()
        sentence = draw(**self.values)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once: faster, and nothing jumps
        self.painter = Painter(figure)
        self.show(sentence)
        for control in controls.values():
            control.observe(lambda change: self.show(self.draw(**self.values)), "value")
        super().__init__([*controls.values(), self.picture, self.text])

    @property
    def values(self) -> dict[str, Any]:
        return {name: control.value for name, control in self.controls.items()}

    @property
    def alt(self) -> str:
        return self.describe if isinstance(self.describe, str) else without_minus_zero(self.describe())

    def show(self, sentence: str) -> None:
        """The figure as it is now, and its numbers in words."""
        self.picture.value = self.painter.paint()
        sentence = without_minus_zero(sentence)
        self.text.value = (
            f"<div role='status' aria-live='polite' style='color:var(--jp-ui-font-color1)'>{sentence}</div>"
            f"<div style='position:absolute;left:-9999px'>Picture: {html.escape(self.alt)}</div>"
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        still = base64.b64encode(self.picture.value).decode()
        bundle = super()._repr_mimebundle_(**kwargs)
        return {**bundle, "image/png": still, "text/plain": f"{self.alt} (Run the notebook to move it.)"}


@dataclass(frozen=True)
class Choice:
    """One answer, and what to say to who chose it."""

    text: str
    because: str
    right: bool = False


@dataclass(eq=False)
class Question:
    """A question with choices, or with a number: ``number`` and how far from it is still right.

    ``predict()`` takes an answer and says nothing yet; ``reveal()`` comes back to it; ``ask()`` answers at once.
    """

    name: str
    text: str
    choices: tuple[Choice, ...] = ()
    number: float | None = None
    within: float = 0.0
    because: str = ""  # for the number
    wrong: tuple[tuple[float, str], ...] = ()  # (a number that people give, why it is not right)
    lesson: Lesson | None = field(default=None, repr=False)
    given: Any = None

    def judge(self, answer: Any) -> tuple[bool, str]:
        """Whether an answer (a choice's text, or a number) is right, and the reason. Raises LessonError for another."""
        if self.number is not None:
            given = number(str(answer))
            if abs(given - self.number) <= self.within:
                return True, self.because
            known = next((why for value, why in self.wrong if abs(given - value) <= self.within), "")
            return False, known or "Not this number: work it out once more, the lesson has all you need."
        chosen = next((c for c in self.choices if c.text == answer), None)
        if chosen is None:
            raise LessonError(f"{answer!r} is none of the choices: {', '.join(c.text for c in self.choices)}.")
        return chosen.right, chosen.because

    def ask(self) -> widgets.Widget:
        """A widget that answers at once."""
        return Asked(self, reveal=True)

    def predict(self) -> widgets.Widget:
        """A widget that takes the answer and keeps it for ``reveal``."""
        return Asked(self, reveal=False)

    def reveal(self) -> Note:
        """What was predicted, and what is so."""
        right = next((c.text for c in self.choices if c.right), shown(self.number))
        reason = next((c.because for c in self.choices if c.right), self.because)
        if self.given is None:
            return Note(f"**{self.text}**\n\nYou made no prediction. The answer: *{right}*. {reason}")
        good, why = self.judge(self.given)
        verdict = "and so it is" if good else f"but it is *{right}*"
        return Note(
            f"**{self.text}**\n\nYou predicted *{shown(self.given)}*, {verdict}. {why}" + ("" if good else f" {reason}")
        )


def shown(answer: Any) -> str:
    """A number with four significant digits (a large one to the next whole number), anything else as it is."""
    if not isinstance(answer, float):
        return str(answer)
    return f"{answer:.4g}" if abs(answer) < 1e4 else f"{answer:.0f}"


def number(text: str) -> float:
    """A decimal (with a point or a comma) or a fraction, with or without a unit. Raises LessonError for others."""
    plain = re.sub(r"\s*(nats?|bits?|%)\s*$", "", text).replace("−", "-")
    thousands = r"(?<![.,\d])[1-9]\d{0,2}(,\d{3})+(?!\d)"  # 6,144
    plain = re.sub(thousands, lambda found: found[0].replace(",", ""), plain).replace(",", ".")
    above, _, below = plain.partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        words = "This is not a number. A decimal such as 0.5 will do, or a fraction such as 1/2."
        raise LessonError(words) from None


def marked(text: str) -> str:
    """Text as HTML, with its *emphasis* and its `code`: notes are Markdown, widgets are not."""
    emphasised = re.sub(r"(?<!\w)\*(\w|\w[^*]*\w)\*(?!\w)", r"<em>\1</em>", html.escape(text))
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", emphasised)


class Asked(widgets.VBox):
    """A question as a widget: radio buttons or a number, and a live line for the answer."""

    def __init__(self, question: Question, reveal: bool) -> None:
        self.question, self.reveal = question, reveal
        head = widgets.HTML(f"<b style='color:var(--jp-ui-font-color1)'>{marked(question.text)}</b>")
        self.answer: widgets.Widget
        if question.number is None:
            self.answer = widgets.RadioButtons(
                options=[c.text for c in question.choices], value=None, layout={"width": "max-content"}
            )
        else:
            self.answer = widgets.Text(placeholder="a number, then Enter", continuous_update=False)
        self.said = widgets.HTML()
        self.answer.observe(self.listen, "value")
        super().__init__([head, self.answer, self.said])

    def listen(self, change: Any) -> None:
        value = self.answer.value
        if value in (None, ""):
            return
        if self.question.number is not None:
            try:
                value = number(value)
            except LessonError as error:
                self.say(str(error))
                return
        self.question.given = value
        if not self.reveal:
            self.say(f"Noted: {html.escape(shown(value))}. You will meet it again.")
            return
        good, why = self.question.judge(value)
        self.say(f"<b>{'✓ Right.' if good else '✗ No.'}</b> {marked(why)}")
        if good and self.question.lesson is not None:
            self.question.lesson.passed(self.question)

    def say(self, words: str) -> None:
        self.said.value = f"<div role='status' aria-live='polite' style='color:var(--jp-ui-font-color1)'>{words}</div>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        options = "".join(f"\n  ( ) {c.text}" for c in self.question.choices)
        return {**super()._repr_mimebundle_(**kwargs), "text/plain": f"{self.question.text}{options}"}
