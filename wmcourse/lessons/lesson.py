"""A lesson as a notebook sees it: its exercises, its derivation's steps, its questions, and a panel of what is done."""

from __future__ import annotations

import difflib
import html
import importlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import ipywidgets as widgets

from wmcourse.lessons import progress
from wmcourse.lessons.derivation import Step, card
from wmcourse.lessons.errors import LessonError, Note
from wmcourse.lessons.exercise import Exercise, Task
from wmcourse.lessons.syllabus import PACES, SYLLABUS, Entry, find
from wmcourse.lessons.widget import Question

T = TypeVar("T", bound=Task)
CELL, PLAIN = "padding:0 1em 0 0;text-align:left", "list-style:none;padding-left:0"


class Missing(LessonError, AttributeError):
    """A name that there is not."""


class Named(Mapping[str, T], Generic[T]):
    """By key and, so that the notebook completes them, by attribute: ``exercises.kl_standard_normal``."""

    def __init__(self, kind: str, things: Iterable[T]) -> None:
        self._kind, self._things = kind, {thing.name: thing for thing in things}

    def __getitem__(self, name: str) -> T:
        if name not in self._things:
            near = difflib.get_close_matches(str(name), self._things, 1)
            raise Missing(
                f"There is no {self._kind} {name!r} here."
                + (f" Did you mean {near[0]}?" if near else "")
                + f" There are: {', '.join(self._things)}."
            )
        return self._things[name]

    def __getattr__(self, name: str) -> T:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def __contains__(self, name: object) -> bool:
        return name in self._things

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._things]

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._things)

    def __repr__(self) -> str:
        return "\n".join(repr(thing) for thing in self.values())


class Lesson:
    """``open_lesson`` gives one. ``questions`` hold predictions, too; ``formulas`` are for ``card()``."""

    def __init__(
        self,
        slug: str,
        exercises: Iterable[Exercise],
        steps: Iterable[Step],
        questions: Iterable[Question],
        formulas: Mapping[str, Any],
    ) -> None:
        entry = find(slug)
        assert entry is not None, slug
        self.entry: Entry = entry
        self.exercises, self.steps = Named("exercise", exercises), Named("step", steps)
        self.questions = {question.name: question for question in questions}
        self.formulas = dict(formulas)
        self.answers: dict[str, Callable[..., Any]] = {}  # what passed since the kernel started
        self.panels: list[widgets.HTML] = []
        for task in (*self.steps.values(), *self.exercises.values()):
            task.lesson = self
        for question in self.questions.values():
            question.lesson = self

    def __repr__(self) -> str:
        return (
            f"Lesson {self.entry.number}, {self.entry.title}: {len(self.exercises)} exercises, {len(self.steps)} steps"
        )

    def passed(self, task: Task | Question, answer: Any = None) -> str:
        """Remember a pass, tick the panels; returns a remark for the learner, or ""."""
        remark = ""
        if isinstance(task, Exercise):
            self.answers[task.name] = answer
        folder = progress.home(make=True)
        if folder is not None:
            kept = progress.Progress(folder)
            remark = kept.note(f"{self.entry.number}/{task.name}") or kept.trouble
            if isinstance(task, Exercise) and task.part:
                remark = progress.keep_part(task.name, self.entry.number, answer, folder, task.judge) or remark
        self.refresh()
        return remark

    def yours(self, name: str) -> Callable[..., Any]:
        """Your function when it has passed its check (now or earlier), the course's otherwise; says which."""
        exercise = self.exercises[name]
        mine = self.answers[name] if name in self.answers else progress.load_part(name) if exercise.part else None
        print(f"{name}: {'yours' if mine is not None else 'the course’s, until yours passes'}")
        return exercise.reference if mine is None else mine

    def card(self) -> Note:
        """The formula card: the lesson's results, typeset from the expressions that its steps are compared with."""
        return card(self.formulas)

    def panel(self) -> widgets.HTML:
        """What is done and what is not, here and in the course; it ticks itself when a check passes."""
        panel = Panel(panel_html(self))
        self.panels.append(panel)
        return panel

    def refresh(self) -> None:
        for panel in self.panels:
            panel.value = panel_html(self)


class Panel(widgets.HTML):
    """Where no kernel runs, a sentence."""

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        return {**super()._repr_mimebundle_(**kwargs), "text/plain": "Your progress: run the notebook to see it."}


def panel_html(lesson: Lesson) -> str:
    """The panel in the page's own colours; ticks are also words, for who does not see them."""
    kept = progress.Progress()
    number = lesson.entry.number

    def row(task: Task) -> str:
        done = f"{number}/{task.name}" in kept.passed or task.name in lesson.answers
        mark = "<b style='color:#009E73'>✓</b> passed" if done else "○ to do"
        star = " ★" if isinstance(task, Exercise) and task.part else ""
        return (
            f"<tr><td style='{CELL}'>{mark}</td><td style='{CELL}'>{label[task.name]}</td>"
            f"<td style='{CELL}'>{html.escape(task.title)}{star}</td><td>{task.minutes} min</td></tr>"
        )

    tasks = [*lesson.steps.values(), *lesson.exercises.values()]
    label = dict.fromkeys(lesson.steps, "step") | {n: f"exercise {i}" for i, n in enumerate(lesson.exercises, 1)}
    rows = "".join(row(task) for task in tasks)
    count = sum(f"{number}/{t.name}" in kept.passed or t.name in lesson.answers for t in tasks)
    course = "".join(f"<li>{html.escape(line)}</li>" for line in summary(kept))
    where = (
        f"Kept in <code>{html.escape(kept.folder.name)}/</code>, sent nowhere."
        if kept.folder
        else "Nothing is kept: these are the course’s solutions, or you have no folder (<code>wmcourse start</code>)."
    )
    if kept.trouble:
        where += f" <b>{html.escape(kept.trouble)}</b>"
    return (
        f"<div class='wm-panel' role='status' style='color:var(--jp-ui-font-color1);line-height:1.5'>"
        f"<b>Lesson {number}: {count} of {len(tasks)} passed</b><table>{rows}</table>"
        f"<details><summary>The whole course</summary><ul style='{PLAIN}'>{course}</ul></details>"
        f"<small>★ is kept as you wrote it, in <code>parts</code>. {where}</small></div>"
    )


def written(entry: Entry) -> bool:
    """Whether a lesson with exercises is there."""
    return (Path(__file__).parent / entry.slug / "exercises.py").is_file()


def summary(kept: progress.Progress) -> list[str]:
    """The study guide's checklist with ticks, and the hours that the chosen pace leaves."""
    lines, left = [], 0.0
    for entry in SYLLABUS:
        share = share_done(entry, kept)
        left += sum(entry.hours) / 2 * (1 - share)
        mark = "✓" if share == 1 else "◐" if share else "○"
        state = f"{share:.0%}" if written(entry) else "being written"
        lines.append(f"{mark} {entry.number} {entry.concept or entry.title}: {state}")
    pace = kept.data.get("pace")
    pace = pace if pace in list(PACES) else "two weeks"  # whatever stands in the file
    days = math.ceil(left / PACES[pace])
    rest = f"About {left:.0f} hours left: {days} day{'s' * (days != 1)} of {PACES[pace]:g} hours (pace: {pace})."
    return [*lines, rest if left else "All is done."]


def share_done(entry: Entry, kept: progress.Progress) -> float:
    """The share of a lesson's steps and exercises that were passed."""
    if not written(entry) or not any(key.startswith(entry.number + "/") for key in kept.passed):
        return 0.0
    lesson = open_lesson(entry.number)
    names = [*lesson.steps, *lesson.exercises]
    return sum(f"{entry.number}/{name}" in kept.passed for name in names) / max(len(names), 1)


OPEN: dict[str, Lesson] = {}


def open_lesson(name: str | int) -> Lesson:
    """A lesson by number or slug: ``open_lesson("03")``. Raises LessonError when there is none, or none yet."""
    entry = find(name)
    if entry is None:
        near = difflib.get_close_matches(str(name), [e.slug for e in SYLLABUS], 1)
        raise LessonError(
            f"There is no lesson {name!r}." + (f" Did you mean {near[0]}?" if near else " Lessons are 01 to 11.")
        )
    if not written(entry):
        raise LessonError(f"Lesson {entry.number}, {entry.title}, has no exercises yet: they are being written.")
    if entry.slug not in OPEN:
        OPEN[entry.slug] = importlib.import_module(f"wmcourse.lessons.{entry.slug}").make_lesson()
    return OPEN[entry.slug]
