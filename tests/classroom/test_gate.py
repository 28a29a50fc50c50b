"""The gate: a lesson that is as it must be passes, and each rule is seen failing."""

import base64
import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import sympy as sp
import torch
from torch import Tensor

from wmcourse.classroom import build, gate
from wmcourse.kl_divergence_loss import kl_standard_normal
from wmcourse.lessons.derivation import Step
from wmcourse.lessons.exercise import Exercise, Mistake
from wmcourse.lessons.judge import Case
from wmcourse.lessons.lesson import Lesson
from wmcourse.lessons.widget import Choice, Question

COMMITTED = [path for path in sorted(build.SOLUTIONS.glob("*.py")) if ' exercise="' in path.read_text(encoding="utf-8")]
PIXEL = base64.b64encode(b"\x89PNG").decode()
MU, SIGMA = sp.symbols("mu sigma", positive=True)


def double(x: Tensor) -> Tensor:
    """Twice x."""
    return 2 * x


def half(x: Tensor) -> Tensor:
    return x / 2


def square(x: Tensor) -> Tensor:
    y: Tensor = x * x
    return y


def total(x: Tensor) -> Tensor:
    return x.sum()


REFERENCES = (kl_standard_normal, double, half, square, total)
CODE = {
    "kl_standard_normal": "def kl_standard_normal(mu, logvar):\n    ### BEGIN SOLUTION\n"
    "    return 0.5 * (logvar.exp() + mu**2 - 1 - logvar).sum(-1)\n    ### END SOLUTION",
    "double": "def double(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION",
    "half": "def half(x: torch.Tensor):\n    'Half.'\n    ### BEGIN SOLUTION\n    return x / 2\n    ### END SOLUTION",
    "square": "def square(x):\n    ### BEGIN SOLUTION\n    y = x * x  # why not\n    return y\n    ### END SOLUTION",
    "total": "def total(x):\n    ### BEGIN SOLUTION\n    return x.sum()\n    ### END SOLUTION",
}


def exercise(reference: Callable[..., Tensor]) -> Exercise:
    def cases(rng: np.random.Generator) -> Iterator[Case]:
        names = list(inspect.signature(reference).parameters)
        yield Case({name: rng.normal(0, 1, (2, 3)) for name in names}, "two rows", tuple(names))

    name, part = reference.__name__, reference is kl_standard_normal
    mistakes = tuple(Mistake(f"mistake {i}", torch.zeros_like, "why") for i in range(5))
    others = (reference, reference)
    words = {"expects": "a tensor", "checked": "values"}
    return Exercise(
        name, f"On {name}", 5, 1, ("a", "b"), mistakes, others, reference=reference, cases=cases, part=part, **words
    )


def step(name: str) -> Step:
    return Step(name, f"The {name}", 5, 1, ("a", "b"), (), (), expected=MU + SIGMA, assumptions="σ > 0")


def make_lesson() -> Lesson:
    choices = (Choice("yes", "so it is", right=True), Choice("no", "it is not"))
    questions = [Question(name, f"Is {name} so?", choices) for name in ("p1", "p2", "e1", "e2")]
    exercises = [exercise(reference) for reference in REFERENCES]
    return Lesson("kl_divergence_loss", exercises, [step("first"), step("second")], questions, {})


def make_text(lesson: Lesson) -> str:
    """A lesson with all that must be there, and nothing more."""
    table = "\n".join(f"# | {name} | 20 | 1 |" for name in gate.SECTIONS)
    text = [
        "[markdown]\n# # 03 · KL divergence loss\n#\n# ![Dodge](../picture.png) [before](02_before.ipynb#There)",
        "\nfrom wmcourse.lessons.map import system_map\nimport wmcourse.kl_divergence_loss\n\nsystem_map(['V'])",
        f"[markdown]\n# Now you can\n#\n# 1. one\n# 2. two\n#    more\n# 3. three\n#\n# | a | b | c |\n{table}",
        "[markdown]\n# ## Predict first",
        "\nlesson.questions['p1'].predict()",
        "\nlesson.questions['p2'].predict()",
        "[markdown]\n# ## Derive\n#\n# $$ E[q](x) $$\n# ```\n# ## no heading\n# ```",
    ]
    for one in lesson.steps.values():
        text.append(f"[markdown]\n# ### Step · {one.title}\n#\n# {one.about}")
        answer = f"{one.name} = ...  # in mu\n### BEGIN SOLUTION\n{one.name} = mu + sigma\n### END SOLUTION"
        text += [f'step="{one.name}"\n{answer}', f'check="{one.name}"\nsteps.{one.name}.check({one.name})']
    text += ["[markdown]\n# ## See it", "keep=true\nwidget_one()", "\nwidget_two()", "[markdown]\n# ## Build it"]
    for k, one in enumerate(lesson.exercises.values(), 1):
        text.append(f"[markdown]\n# ### Exercise {k} · {one.title}{' ★' * one.part}\n#\n# {one.about}")
        text.append(f'exercise="{one.name}"\n{CODE[one.name]}')
        text.append(f'check="{one.name}"\nex.{one.name}.check({one.name})')
    text += ["[markdown]\n# ## Measure it", "\nstill(figure, alt='a curve')"]
    text += ["[markdown]\n# ## Explain it", "\nlesson.questions['e1'].ask()", "\nlesson.questions['e2'].ask()"]
    text += ["[markdown]\n# ## Close", "\nlesson.card()", "\nreveal('p1', 'p2')", *["[markdown]\n# And more."] * 3]
    return "\n\n".join(f"# %% {cell}" for cell in text) + "\n"


def shown(plain: str, alt: str | None = None, picture: bool = False) -> Any:
    data = {"text/plain": plain} | ({"image/png": PIXEL} if picture else {})
    return nbformat.v4.new_output("display_data", data, metadata={"image/png": {"alt": alt}} if alt else {})


OUTPUTS = {
    "predict()": lambda name: [shown(f"Is {name} so?\n  ( ) yes")],
    "ask()": lambda name: [shown(f"Is {name} so?\n  ( ) yes")],
    "widget": lambda name: [shown(f"a line {gate.MOVES}", picture=True)],
    "still": lambda name: [shown("<IPython.core.display.Image object>", "a curve", picture=True)],
    "reveal(": lambda name: [shown("**Is p1 so?**\n\nIt is."), shown("**Is p2 so?**\n\nIt is.")],
}


class Room:
    """A lesson's folder, whose text, exercises and outputs a test changes before it asks the gate."""

    def __init__(self, root: Path) -> None:
        self.path, self.lesson = root / "solutions" / "03_kl_divergence_loss.py", make_lesson()
        self.text, self.outputs, self.seconds = make_text(self.lesson), dict(OUTPUTS), 5
        for folder in ("solutions", "notebooks"):
            (root / folder).mkdir()
        (root / "picture.png").touch()
        (root / "notebooks" / "02_before.ipynb").touch()

    def change(self, old: str, new: str) -> None:
        assert self.text.count(old) == 1, (self.text.count(old), old)
        self.text = self.text.replace(old, new)

    def write(self) -> None:
        """The text and both notebooks, as if a kernel had run them."""
        self.path.write_text(self.text, encoding="utf-8")
        notebook = build.read_lesson(self.path)
        notebook.metadata.wmcourse.seconds = self.seconds
        for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
            cell.execution_count = 1
            for key, make in self.outputs.items():
                if key in cell.source:
                    cell.outputs = make(cell.source.split("'")[1] if "'" in cell.source else "")
        self.path.with_suffix(".ipynb").write_text(build.as_text(notebook), encoding="utf-8")
        build.student_path(self.path).write_text(build.as_text(build.student(notebook)), encoding="utf-8")

    def findings(self) -> list[str]:
        self.write()
        return gate.findings(self.path)

    def task(self, name: str, **changes: Any) -> None:
        table: Any = self.lesson.exercises if name in self.lesson.exercises else self.lesson.steps
        table._things[name] = replace(table[name], **changes)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    room = Room(tmp_path)
    for module in (build, gate):
        monkeypatch.setattr(module, "open_lesson", lambda name: room.lesson)
    return room


def test_a_lesson_as_it_must_be_passes(room: Room, capsys: pytest.CaptureFixture) -> None:
    assert room.findings() == []
    assert gate.main(["--table", str(room.path)]) == 0
    said = capsys.readouterr().out
    assert "7 sections, 43 cells, 5 exercises, 25 mistakes, 10 alternatives, 140 minutes, 5 seconds" in said
    assert "as it must be" in said


TEXT = {  # what is changed in the text -> what must be found
    "title": ("# # 03 · KL divergence loss", "# # 3 KL", "cell 0: .*first line is '# 03 · KL"),
    "order": ("# ## Explain it", "# ## Explain", "the sections are .*Explain,.* must be .*Explain it"),
    "heading inside a cell": ("# ## Close", "# Now\n#\n# ## Close", "'## Close' must begin a cell"),
    "cells": (
        "# %% [markdown]\n# ## Close",
        "# %% [markdown]\n# x\n\n" * 30 + "# %% [markdown]\n# ## Close",
        "73 cells",
    ),
    "head of an exercise": (
        "Exercise 2 · On double",
        "Exercise 3 · On double",
        "begin with '### Exercise 2 · On double'",
    ),
    "star": (
        "On kl_standard_normal ★",
        "On kl_standard_normal",
        "begin with '### Exercise 1 · On kl_standard_normal ★'",
    ),
    "head of a step": ("### Step · The first", "### A step", "begin with '### Step · The first'"),
    "about": ("5 minutes · `ex.half.hint()`", "4 minutes · `ex.half.hint()`", "half must hold '●○○ · 5 minutes"),
    "minutes": ("# | Derive | 20 | 1 |\n", "", "no row with the minutes of 'Derive'"),
    "no outcomes": ("you can\n", "you may\n", "does not say what 'you can' do"),
    "too few outcomes": ("\n# 3. three", "", "2 numbered outcomes"),
    "map": ("system_map(['V'])", "pass", "no map of the system"),
    "card": ("lesson.card()", "lesson.panel()", "no formula card"),
    "link": ("(02_before.ipynb#There)", "(02_missing.ipynb)", "02_missing.ipynb leads nowhere"),
    "picture without words": ("![Dodge]", "![]", "picture.png has no words"),
    "img": ("# And more.\n\n# %% [markdown]\n# And more.\n", "# <img src='x'>\n", "<img> has no alt"),
    "later module": (
        "import wmcourse.kl_divergence_loss",
        "from wmcourse import mdn_rnn",
        "mdn_rnn, which is lesson 08",
    ),
    "later lesson": (
        "import wmcourse.kl_divergence_loss",
        "import wmcourse.lessons.lstm_gru",
        "lstm_gru, which is lesson 06",
    ),
    "classroom": ("import wmcourse.kl_divergence_loss", "import wmcourse.classroom.build", "not for lessons"),
    "magic": ("still(figure", "%time still(figure", "not plain Python"),
    "notation": ("return x.sum()", "log_var = x.sum()\n    return log_var", "`log_var` is logvar on"),
    "tag": ('check="half"', 'check="half" tags=["nbval-skip"]', "must not be skipped"),
    "comment": ("ex.total.check", "# NBVAL_RAISES_EXCEPTION\nex.total.check", "must not be skipped"),
    "another solution": ("return 2 * x", "return x + x", "solution of double is not the exercise's reference"),
    "a wrong solution": ("- 1 - logvar)", "- 1 + logvar)", "solution of kl_standard_normal fails its check: ✗"),
    "a helper from nowhere": ("return 0.5 * (", "return helper * (", "fails its check: ! .*helper"),
    "a path": ("still(figure", f"'{'/'}home/me'\nstill(figure", "'/home/' is true on one machine"),
}


@pytest.mark.parametrize("name", TEXT)
def test_each_rule_of_the_text_finds_what_it_is_for(room: Room, name: str) -> None:
    old, new, expected = TEXT[name]
    if name == "img":
        room.text = room.text.replace("# And more.\n\n# %% [markdown]\n# And more.\n", "# <img src='x'>\n", 1)
    else:
        room.change(old, new)
    assert_found(room.findings(), expected)


def assert_found(lines: list[str], expected: str) -> None:
    assert any(re.search(expected, line) for line in lines), lines
    assert all(line.startswith("solutions/03_kl_divergence_loss.py: ") for line in lines)


TASKS = {
    "hints": ("double", {"hints": ("a",)}, "1 hints of double; there must be 2 to 3"),
    "hints of a step": ("first", {"hints": ()}, "0 hints of first"),
    "mistakes": ("double", {"known": ()}, "0 known mistakes of double; there must be 5 or more"),
    "alternatives": ("double", {"alternatives": ()}, "0 alternatives of double"),
    "no part": ("kl_standard_normal", {"part": False}, "no exercise is a part"),
    "a part of elsewhere": ("double", {"part": True}, "must be the function of wmcourse.kl_divergence_loss"),
}


@pytest.mark.parametrize("name", TASKS)
def test_each_rule_of_the_exercises_finds_what_it_is_for(room: Room, name: str) -> None:
    task, changes, expected = TASKS[name]
    room.task(task, **changes)
    assert_found(room.findings(), expected)


def test_as_many_exercises_and_steps_as_it_must_have(room: Room) -> None:
    room.write()
    del room.lesson.exercises._things["total"], room.lesson.steps._things["second"]
    room.text = make_text(room.lesson)
    found = room.findings()
    assert_found(found, "4 exercises; there must be 5 to 8")
    assert_found(found, "1 steps of the learner's own")
    room.lesson.exercises._things["total"] = exercise(total)
    assert_found(room.findings(), "total has no cell")


def warning(name: str) -> list[Any]:
    return [nbformat.v4.new_output("stream", name="stderr", text="UserWarning: old\n")]


OUT = {  # which cells' outputs are changed, to what -> what must be found
    "widgets": ("widget_one", lambda name: [], "1 widgets"),
    "no words": ("still", lambda name: [shown("<IPython.core.display.Image object>", picture=True)], "has no words"),
    "empty words": ("still", lambda name: [shown("", picture=True)], "has no words"),
    "predictions": ("['p2'].predict()", lambda name: [], "1 questions in 'Predict first'"),
    "questions": ("ask()", lambda name: [], "0 questions in 'Explain it'"),
    "never revealed": (
        "reveal(",
        lambda name: [shown("**Is p1 so?**")],
        "the prediction 'Is p2 so\\?' is never revealed",
    ),
    "warning": ("still", warning, "it warns: UserWarning: old"),
    "error": ("still", lambda name: [nbformat.v4.new_output("error", ename="E", evalue="")], "is an error, E"),
    "address": ("still", lambda name: [shown("<x at 0x7f0012345678>")], "'at 0x7f0012345678' is true on one"),
    "Windows": ("still", lambda name: [shown("C:\\" + "Users\\me")], "is true on one machine"),
}


@pytest.mark.parametrize("name", OUT)
def test_each_rule_of_the_outputs_finds_what_it_is_for(room: Room, name: str) -> None:
    where, make, expected = OUT[name]
    room.outputs[where] = make
    assert_found(room.findings(), expected)


def test_a_warning_may_stay_where_outputs_are_ignored(room: Room) -> None:
    room.change("# %% \nstill(", '# %% tags=["nbval-ignore-output"]\nstill(')
    room.outputs["still"] = warning
    assert room.findings() == []


def test_time_and_size_are_bounded(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.seconds = 91
    assert_found(room.findings(), "took 91 s, of the 90 s it may take")
    monkeypatch.setattr(gate, "LARGEST", 3_000)
    assert_found(gate.findings(room.path), r"notebooks/03_kl_divergence_loss.ipynb has .* the limit is 3,000")


def test_a_notebook_that_is_behind_is_a_finding_and_its_outputs_are_not_looked_at(room: Room) -> None:
    room.write()
    room.path.write_text(room.text.replace("# And more.", "# Other."), encoding="utf-8")
    (line,) = gate.findings(room.path)
    assert "Build it" in line
    assert "cell 41 differs" in line
    room.path.with_suffix(".ipynb").unlink()
    assert "missing" in gate.findings(room.path)[0]


def test_what_cannot_be_built_is_a_finding(room: Room, capsys: pytest.CaptureFixture) -> None:
    room.write()
    room.path.write_text(room.text.replace('check="half"', ""), encoding="utf-8")
    assert gate.main(["--table", str(room.path)]) == 1
    assert "here the check of half must come" in capsys.readouterr().out
    stray = room.path.with_name("77_nothing.py")
    room.write()
    room.path.rename(stray)
    assert "not in the table of contents" in gate.findings(stray)[0]
    stray.write_text("# %%\npass\n")
    assert gate.main([str(stray)]) == 0
    assert "no exercises yet" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        gate.main(["no such lesson"])


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_the_committed_lessons_are_as_they_must_be(path: Path) -> None:
    assert gate.findings(path) == []


def test_the_report_of_a_lesson_that_was_never_built(room: Room) -> None:
    room.path.write_text(room.text, encoding="utf-8")
    numbers = gate.report(room.path)
    assert (numbers.seconds, numbers.bytes, numbers.minutes) == (None, 0, 140)
    assert json.dumps(numbers._asdict())
