"""A lesson as a notebook sees it: opened by any of its names, completed, ticked, kept, and shown in a panel."""

import inspect
import json
import re
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy as sp
import torch
from IPython.core.interactiveshell import InteractiveShell

import wmcourse.lessons
from wmcourse.lessons import errors, lesson, progress
from wmcourse.lessons.derivation import Step
from wmcourse.lessons.errors import LessonError, NotAttempted
from wmcourse.lessons.exercise import Exercise, Mistake
from wmcourse.lessons.judge import Case
from wmcourse.lessons.lesson import Lesson, Missing, Named, open_lesson, panel_html, share_done, summary, written
from wmcourse.lessons.progress import Progress
from wmcourse.lessons.syllabus import PACES, SYLLABUS, find
from wmcourse.lessons.widget import Choice, Question

MU = sp.Symbol("mu", real=True)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WMCOURSE_HOME", str(tmp_path / "my"))
    return tmp_path / "my"


def made(part: bool = False) -> Lesson:
    """A small lesson of the name of lesson 03."""

    def exercise(name: str, **options: Any) -> Exercise:
        cases = lambda rng: [Case({"x": rng.normal(size=3)}, "three numbers")]  # noqa: E731
        return Exercise(
            name, f"Twice & <{name}>", 10, 1, ("a", "b"), (), (), reference=lambda x: 2 * x, cases=cases,
            expects="twice", checked="Fresh numbers.", **options,
        )  # fmt: skip

    step = Step(
        "half", "A <half>", 5, 1, ("a", "b"), (Mistake("none", MU, "…"),), (), expected=MU / 2, assumptions="μ real"
    )
    question = Question("q", "One?", (Choice("yes", "It is.", right=True), Choice("no", "It is not.")))
    formulas = {"half": sp.Eq(sp.Symbol("h"), MU / 2)}
    return Lesson("kl_divergence_loss", [exercise("double", part=part), exercise("free")], [step], [question], formulas)


def twice(x: torch.Tensor) -> torch.Tensor:
    return x + x


# --- Opening


@pytest.mark.parametrize("name", [3, "3", "03", " 03 ", "kl_divergence_loss", "03_kl_divergence_loss",
                                  "03_kl_divergence_loss.ipynb", "03_kl_divergence_loss.py", np.int64(3)])  # fmt: skip
def test_a_lesson_has_many_names(name: Any) -> None:
    assert open_lesson(name) is wmcourse.lessons.open_lesson("03")
    assert re.fullmatch(r"Lesson 03, KL divergence loss: \d+ exercises, \d+ steps", repr(open_lesson(name)))


@pytest.mark.parametrize("name", [0, 12, "", "12", "-3", None, 3.5, "lesson 3", "kl"])
def test_a_lesson_that_there_is_not(name: Any) -> None:
    with pytest.raises(LessonError, match=re.escape(f"There is no lesson {name!r}. Lessons are 01 to 11.")):
        open_lesson(name)


def test_a_lesson_that_is_nearly_there() -> None:
    with pytest.raises(LessonError, match=r"There is no lesson 'kl_divergance'\. Did you mean kl_divergence_loss\?"):
        open_lesson("kl_divergance")


def test_a_lesson_that_is_not_written_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lesson, "written", lambda entry: False)
    with pytest.raises(LessonError, match="Lesson 08, MDN-RNN, has no exercises yet: they are being written"):
        open_lesson("8")


def test_the_syllabus_is_numbered_and_its_lessons_are_found() -> None:
    assert [entry.number for entry in SYLLABUS] == [f"{i:02d}" for i in range(1, 12)]
    assert all(find(entry.stem) is entry for entry in SYLLABUS)
    assert written(SYLLABUS[2])


def test_the_package_names_its_errors_and_nothing_else() -> None:
    for name in ("CheckFailed", "NotAttempted", "WrongAnswer", "AnswerCrashed", "LessonError"):
        assert getattr(wmcourse.lessons, name) is getattr(errors, name)
    with pytest.raises(AttributeError, match="no_such_name"):
        wmcourse.lessons.no_such_name  # noqa: B018


# --- By name


def test_exercises_by_key_by_attribute_and_in_order() -> None:
    exercises = made().exercises
    assert list(exercises) == ["double", "free"]
    assert len(exercises) == 2
    assert exercises["double"] is exercises.double
    assert "double" in exercises
    assert "half" not in exercises
    assert {"double", "free"} <= set(dir(exercises))
    assert repr(exercises).splitlines()[0] == "Twice & <double>: ex.double.check(…), .hint(), .solution()"
    for name in ("doubel", "steps", 3):
        with pytest.raises(Missing, match=r"There is no exercise .* here.*There are: double, free"):
            exercises[name]  # type: ignore[index]
    with pytest.raises(LessonError, match=r"There is no exercise 'doubel' here\. Did you mean double\?"):
        exercises.doubel  # noqa: B018
    assert not hasattr(exercises, "doubel")
    assert not hasattr(exercises, "_repr_png_")
    with pytest.raises(AttributeError, match=r"^_secret$"):
        exercises._secret  # noqa: B018


def test_no_task_has_the_name_of_a_method() -> None:
    """Or it would not be found by attribute."""
    for entry in filter(written, SYLLABUS):
        opened = open_lesson(entry.number)
        for name in (*opened.exercises, *opened.steps):
            assert not hasattr(Named, name)


@pytest.fixture
def opened(shell: InteractiveShell) -> InteractiveShell:
    shell.run_cell("from wmcourse.lessons import open_lesson\nlesson = open_lesson('03')\nex = lesson.exercises")
    return shell


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("ex.kl_st", {"kl_standard_normal"}),
        ("ex.kl_", {name for name in open_lesson("03").exercises if name.startswith("kl_")}),
        ("lesson.exercises.free", {"free_bits"}),
        ("lesson.steps.spr", {"spread"}),
        ("ex['free", {"free_bits"}),
        ("ex.kl_normal.hin", {"hint", "hints"}),
        ("ex.kl_normal.che", {"check", "checked"}),
    ],
)
def test_a_notebook_completes(opened: InteractiveShell, line: str, wanted: set[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        texts = {c.text.lstrip(".").split("'")[-1] for c in opened.Completer.completions(line, len(line))}
    assert texts == wanted


def test_a_notebook_shows_one_sentence_for_a_name_that_there_is_not(
    opened: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    for cell in ("ex.kl_standart_normal", "ex['kl_standart_normal']", "lesson.yours('kl_standart_normal')"):
        opened.run_cell(cell)
        shown = capsys.readouterr().out
        assert shown.startswith("There is no exercise 'kl_standart_normal' here. Did you mean kl_standard_normal?")
        assert len(shown.splitlines()) == 1


# --- Passing


def test_a_pass_is_kept_and_ticked(folder: Path) -> None:
    mine = made()
    panel = mine.panel()
    assert "Lesson 03: 0 of 3 passed" in panel.value
    assert mine.exercises.double.check(twice) == "✓ **double.** Fresh numbers."
    assert "Lesson 03: 1 of 3 passed" in panel.value
    assert mine.steps.half.check(MU / 2).startswith("✓ **half.** Equal")
    assert "Lesson 03: 2 of 3 passed" in panel.value
    assert list(Progress(folder).passed) == ["03/double", "03/half"]
    assert not (folder / "parts").exists()
    with pytest.raises(NotAttempted):
        mine.exercises.free.check(None)
    assert "Lesson 03: 2 of 3 passed" in panel.value
    assert "Lesson 03: 2 of 3 passed" in made().panel().value  # in the next session


def test_judging_alone_keeps_nothing(folder: Path) -> None:
    mine = made(part=True)
    mine.exercises.double.judge(twice)
    mine.steps.half.judge(MU / 2)
    assert not folder.exists()
    assert mine.answers == {}


def test_a_question_is_kept_and_is_no_exercise(folder: Path) -> None:
    mine = made()
    mine.passed(mine.questions["q"])
    assert list(Progress(folder).passed) == ["03/q"]
    assert "0 of 3 passed" in panel_html(mine)


def test_a_part_is_kept_with_its_text_and_loaded_in_the_next_session(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = made(part=True)
    assert mine.yours("double") is mine.exercises.double.reference
    assert capsys.readouterr().out == "double: the course’s, until yours passes\n"
    mine.exercises.double.check(twice)
    assert mine.yours("double") is twice
    mine.exercises.free.check(twice)
    assert [path.name for path in (folder / "parts").iterdir()] == ["double.py"]
    later = made(part=True)
    capsys.readouterr()
    loaded = later.yours("double")
    assert capsys.readouterr().out == "double: yours\n"
    assert inspect.getsource(loaded) == inspect.getsource(twice)
    assert later.yours("free") is later.exercises.free.reference  # no part: not kept over sessions


def test_yours_may_be_any_callable_and_a_broken_part_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Empty(list):
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    mine, answer = made(part=True), Empty()
    said = mine.exercises.double.check(answer)
    assert "✓ **double.** Fresh numbers.\n\n(It passed, but is not kept as a part" in said
    assert "`double` is a Empty" in said
    assert mine.yours("double") is answer
    (folder / "parts").mkdir()
    (folder / "parts" / "double.py").write_text("def (")
    with pytest.raises(LessonError, match=r"Your part double .* cannot be loaded: SyntaxError"):
        made(part=True).yours("double")


SCALE = 2


def scaled(x: torch.Tensor) -> torch.Tensor:
    return x * SCALE


def test_a_part_that_leans_on_its_notebook_is_judged_once_more_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = made(part=True)
    assert mine.exercises.double.check(scaled) == "✓ **double.** Fresh numbers."
    assert "SCALE = 2" in (folder / "parts" / "double.py").read_text()
    monkeypatch.setattr(progress, "constant", lambda name, value: f"{name} = 3")
    said = mine.exercises.double.check(scaled)
    assert "✓ **double.** Fresh numbers.\n\n(It passed here, but its text alone, as a part of your world model" in said
    assert "Yours are 1.5 times what they should be" in said
    assert "SCALE = 2" in (folder / "parts" / "double.py").read_text()


def test_trouble_is_a_remark_and_loses_no_pass(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "progress.json").write_text("[1, 2")
    mine = made()
    said = mine.exercises.double.check(twice)
    assert said.startswith("✓ **double.** Fresh numbers.\n\n")
    assert "It is now progress.broken-1.json; run the checks again" in said
    assert (folder / "progress.broken-1.json").read_text() == "[1, 2"
    assert list(Progress(folder).passed) == ["03/double"]
    assert "\n\n" not in mine.exercises.double.check(twice)

    def refuse(*args: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.replace", refuse)
    assert "(This could not be kept: Could not write" in mine.exercises.free.check(twice)
    assert "2 of 3 passed" in panel_html(mine)  # this session remembers


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WMCOURSE_HOME")
    monkeypatch.chdir(tmp_path)
    mine = made(part=True)
    assert mine.exercises.double.check(twice) == "✓ **double.** Fresh numbers."
    assert "1 of 3 passed" in panel_html(mine)
    assert "Nothing is kept: these are the course’s solutions, or you have no folder" in panel_html(mine)
    assert not list(tmp_path.iterdir())


def test_a_task_without_a_lesson_passes_all_the_same() -> None:
    exercise = made().exercises.double
    exercise.lesson = None
    assert exercise.check(twice) == "✓ **double.** Fresh numbers."


# --- The panel


class Page(HTMLParser):
    """The words and the tags of a piece of HTML; fails where they are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words, self.tags, self.open = "", [], []  # type: ignore[var-annotated]
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data + "\n"


def test_the_panel_is_whole_html_with_ticks_in_words(folder: Path) -> None:
    mine = made(part=True)
    mine.exercises.double.check(twice)
    page = Page(panel_html(mine))
    assert set(page.tags) <= {"div", "b", "table", "tr", "td", "details", "summary", "ul", "li", "small", "code"}
    assert "Twice & <double> ★" in page.words  # escaped, so it is words
    assert "Twice & <free>\n" in page.words
    assert "✓\n passed" in page.words
    assert page.words.count("○ to do") == 2
    assert "Kept in \nmy/\n, sent nowhere." in page.words
    assert page.tags.count("li") == len(SYLLABUS) + 1
    assert "role='status'" in panel_html(mine)


def test_the_panel_tells_of_trouble(folder: Path) -> None:
    folder.mkdir()
    (folder / "progress.json").write_text("<b>")
    assert "It is now progress.broken-1.json" in Page(panel_html(made())).words


def test_the_panel_is_a_sentence_where_no_kernel_runs() -> None:
    bundle = made().panel()._repr_mimebundle_()
    assert bundle["text/plain"] == "Your progress: run the notebook to see it."
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_the_card_has_the_formulas() -> None:
    assert "| half | $" in made().card()


# --- The whole course


def kept(passed: dict[str, str], **others: Any) -> Progress:
    progress = Progress()
    progress.data |= {"passed": passed, **others}
    return progress


def test_the_summary_counts_hours_and_days() -> None:
    hours = sum(sum(entry.hours) / 2 for entry in SYLLABUS)
    lines = summary(kept({}))
    assert len(lines) == len(SYLLABUS) + 1
    assert lines[2] == "○ 03 Know KL divergence and its role: 0%"
    assert lines[-1] == f"About {hours:.0f} hours left: {-(-hours // 2.5):.0f} days of 2.5 hours (pace: two weeks)."
    assert "(pace: one week)" in summary(kept({}, pace="one week"))[-1]
    for nonsense in ("never", 3, None, ["two weeks"], {}):
        assert "(pace: two weeks)" in summary(kept({}, pace=nonsense))[-1]
    assert set(PACES) == {"two weeks", "one week"}


def test_shares_count_what_is_there_today(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = SYLLABUS[2]
    names = [*open_lesson("03").steps, *open_lesson("03").exercises]
    whole = {f"03/{name}": "2026-11-24" for name in names}
    assert share_done(entry, kept({})) == 0
    assert share_done(entry, kept(whole)) == 1
    assert share_done(entry, kept({"03/gone": "2026-01-01", f"03/{names[0]}": "2026-01-01"})) == 1 / len(names)
    half = {key: whole[key] for key in list(whole)[:3]}
    assert summary(kept(half))[2] == f"◐ 03 Know KL divergence and its role: {3 / len(names):.0%}"
    assert summary(kept(whole))[2] == "✓ 03 Know KL divergence and its role: 100%"
    monkeypatch.setattr(lesson, "written", lambda entry: False)
    assert summary(kept(whole))[2] == "○ 03 Know KL divergence and its role: being written"
    monkeypatch.setattr(lesson, "share_done", lambda entry, kept: 1)
    assert summary(kept({}))[-1] == "All is done."
    last = iter([0.7, *[1.0] * 10])  # one day, and not one days
    monkeypatch.setattr(lesson, "share_done", lambda entry, kept: next(last))
    assert "1 day of 2.5 hours" in summary(kept({}))[-1]


def test_progress_is_read_by_other_programs_too(folder: Path) -> None:
    made().exercises.double.check(twice)
    data = json.loads((folder / "progress.json").read_text())
    assert set(data) == {"passed", "pace"}
