"""A learner's whole journey: every student notebook, filled in with right answers that are written differently from the
course's own, in one folder, in order; then a world model of these parts alone.

It trains everything, so it takes a quarter of an hour: ``make journey``.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import learner
import nbformat
import pytest
from nbformat import NotebookNode

from wmcourse.classroom.build import SOLUTIONS, fill, student_path
from wmcourse.engine.parts import PARTS, REFERENCES
from wmcourse.lessons import open_lesson, progress
from wmcourse.lessons.errors import LessonError
from wmcourse.lessons.exercise import Exercise, Task
from wmcourse.lessons.lesson import Lesson, written
from wmcourse.lessons.syllabus import SYLLABUS

pytestmark = pytest.mark.journey
LESSONS = [open_lesson(entry.number) for entry in SYLLABUS if written(entry)]
LAST = LESSONS[-1]
# While the last lesson's model works on the learner's parts, the course's own functions of these names cannot be called
# by any name: their code is another.
POISON = """
from contextlib import contextmanager
from wmcourse.engine.parts import REFERENCES
from wmcourse.lessons import parts as _parts

def _poisoned(*arguments, **named):
    raise AssertionError("the course's own function was called")

_use, POISONED = _parts.Parts.use, set()

@contextmanager
def _alone(self, **instead):  # those that a cell tries in a part's place may be the course's own
    before = {name: REFERENCES[name].__code__ for name in self.own if name not in instead}
    with _use(self, **instead):
        for name in before:
            REFERENCES[name].__code__ = _poisoned.__code__
        POISONED.update(before)
        try:
            yield
        finally:
            for name, code in before.items():
                REFERENCES[name].__code__ = code

_parts.Parts.use = _alone
"""
# The score as benchmarks/results/seeds.md has it for the course's own functions: the same episodes, the same seed.
PROOF = """
import json
from pathlib import Path
from wmcourse.world_models_training import LatentPlanner

with parts.use():
    score = evaluate(LatentPlanner(model, 10_000), DodgeVectorEnv(100), 100, label=None)
proof = {"poisoned": sorted(POISONED), "calls": parts.calls, "whose": parts.whose}
proof |= {"score": score.mean, "ci95": score.ci95}
Path("proof.json").write_text(json.dumps(proof))
"""
RECORDED = Path(__file__).parents[2] / "benchmarks/results/seeds.md"


# Alternatives that call other parts, where the first does their work by itself.
CHOSEN = {"vae_loss": "loss_from_parts", "cem_plan": "plan_from_parts"}


def written_differently(task: Task) -> str:
    """A right answer's text that is not the course's: the first alternative that stands alone in a cell."""
    for answer in sorted(task.alternatives, key=lambda one: getattr(one, "__name__", "") != CHOSEN.get(task.name)):
        if not isinstance(task, Exercise):
            return learner.step_source(task, answer)
        try:
            return progress.standalone(answer, task.name)
        except LessonError:  # a closure, say
            continue
    raise AssertionError(f"{task.name} has no alternative whose text stands alone")


def journal(lesson: Lesson) -> NotebookNode:
    """The student notebook, filled in."""
    notebook = nbformat.read(student_path(SOLUTIONS / f"{lesson.entry.stem}.py"), as_version=4)
    cells = {cell.id: cell.source for cell in notebook.cells}
    given = {}
    tasks: list[Task] = [*lesson.steps.values(), *lesson.exercises.values()]
    for task in tasks:
        cell = learner.cell_of(task)
        lines = [node for node in ast.parse(cells[cell]).body if isinstance(node, ast.Import | ast.ImportFrom)]
        answer = written_differently(task).removeprefix(progress.FUTURE)
        given[cell] = "\n".join([progress.FUTURE, *map(ast.unparse, lines), answer])  # later cells need them, too
    return fill(notebook, given)


@dataclass
class Home:
    """A learner's folder, and what nbval said of each notebook in it: cell id -> the failure's words."""

    folder: Path
    failed: dict[str, dict[str, str]]

    def work(self, lesson: Lesson, notebook: NotebookNode) -> None:
        """Run a notebook under nbval in the folder; the last lesson trains on as many threads as there are cores."""
        threads = None if lesson is LAST else 1
        file = self.folder / f"{lesson.entry.stem}.ipynb"
        self.failed[lesson.entry.number] = learner.nbval(notebook, file, cell_seconds=1800, threads=threads)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """All lessons but the last, two at a time, each after the ones before it were begun."""
    folder = tmp_path_factory.mktemp("journey") / "my"
    (folder / progress.MARK).mkdir(parents=True)
    home = Home(folder, {})
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(home.work, lesson, journal(lesson)) for lesson in LESSONS if lesson is not LAST]:
            future.result()
    return home


@pytest.mark.parametrize("lesson", [lesson for lesson in LESSONS if lesson is not LAST], ids=lambda x: x.entry.stem)
def test_a_notebook_with_other_right_answers_passes(home: Home, lesson: Lesson) -> None:
    assert home.failed[lesson.entry.number] == {}


@pytest.fixture(scope="module")
def arrived(home: Home) -> dict[str, Any]:
    """The last lesson, with the course's own functions made unusable while the learner's parts are at work."""
    notebook = journal(LAST)
    notebook.cells.insert(1, nbformat.v4.new_code_cell(POISON, id="poison"))
    notebook.cells.append(nbformat.v4.new_code_cell(PROOF, id="proof"))
    home.work(LAST, notebook)
    assert home.failed[LAST.entry.number] == {}
    return json.loads((home.folder / "proof.json").read_text())


def test_the_parts_are_kept_as_they_were_written(home: Home, arrived: dict[str, Any]) -> None:
    for name, part in PARTS.items():
        exercise = open_lesson(part.lesson).exercises[name]
        text = (home.folder / "parts" / f"{name}.py").read_text()
        mine = progress.load_part(name, home.folder)
        assert mine is not None
        assert mine.__code__.co_code != REFERENCES[name].__code__.co_code
        assert written_differently(exercise).split("def ", 1)[1].split("(")[0] in text
        exercise.judge(mine)


def test_the_world_model_is_made_of_these_parts_alone(home: Home, arrived: dict[str, Any]) -> None:
    assert set(arrived["poisoned"]) == set(PARTS)
    assert set(arrived["whose"].values()) == {"yours"}
    assert {name for name, calls in arrived["calls"].items() if calls} == set(PARTS)


@pytest.fixture(scope="module")
def recorded() -> list[float]:
    """What the course's own functions score, for each recorded training seed."""
    rows = [re.findall(r"(\d+) \[\d+, \d+\]", line) for line in RECORDED.read_text().splitlines()]
    ours = [float(row[1]) for row in rows if len(row) == 3]  # random, ours, oracle
    assert len(ours) == 8
    return ours


def test_its_score_is_within_what_the_course_itself_scores(arrived: dict[str, Any], recorded: list[float]) -> None:
    """Other right functions round otherwise, which is one more training: the 95 % interval for its mean, by Student."""
    t = 2.365  # the 97.5 % quantile for 7 degrees of freedom
    middle = statistics.mean(recorded)
    half = t * statistics.stdev(recorded) * (1 + 1 / len(recorded)) ** 0.5
    print(f"the learner's parts: {arrived['score']:.1f} {arrived['ci95']}; the course's: {middle:.1f} ± {half:.1f}")
    assert abs(arrived["score"] - middle) <= half


def test_progress_is_complete(home: Home, arrived: dict[str, Any]) -> None:
    done = progress.Progress(home.folder).passed
    for lesson in LESSONS:
        missing = [name for name in (*lesson.steps, *lesson.exercises) if f"{lesson.entry.number}/{name}" not in done]
        assert not missing, lesson.entry.stem


def test_a_part_that_went_wrong_is_named(home: Home, tmp_path: Path) -> None:
    """With a wrong part forced into the folder, the last lesson says which it is, and does not go on."""
    wrong = open_lesson("03").exercises["kl_standard_normal"].mistakes
    name, (answer, _) = next(iter(wrong.items()))
    spoilt = Home(tmp_path / "my", {})
    shutil.copytree(home.folder / "parts", spoilt.folder / "parts")
    (spoilt.folder / progress.MARK).mkdir()
    (spoilt.folder / "parts/kl_standard_normal.py").write_text(progress.standalone(answer, "kl_standard_normal"))
    notebook = journal(LAST)
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    first = next(i for i in code if "parts.use()" in notebook.cells[i].source)  # where the training begins
    notebook.cells = notebook.cells[: first + 1]
    spoilt.work(LAST, notebook)
    (words,) = spoilt.failed[LAST.entry.number].values()
    assert "kl_standard_normal" in words
    assert name in words
