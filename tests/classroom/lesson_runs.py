"""Lesson 03's notebooks for the tests that run them, and learners' answers to put into them."""

import copy
import inspect
import re
from pathlib import Path
from typing import Any

import learner
import nbformat
from nbformat import NotebookNode

from wmcourse.classroom.build import SOLUTIONS, student_path
from wmcourse.lessons import open_lesson
from wmcourse.lessons.exercise import Exercise, Task

NAME = "03_kl_divergence_loss.ipynb"
LESSON = open_lesson("03")
TASKS: dict[str, Task] = {**LESSON.steps, **LESSON.exercises}
IMPORTS = """from torch import Tensor
from torch.distributions import Categorical, MultivariateNormal, Normal, kl_divergence
"""  # what the module of the exercises has and the notebook has not


def solution() -> NotebookNode:
    return nbformat.read(SOLUTIONS / NAME, as_version=4)


def pupil() -> NotebookNode:
    return nbformat.read(student_path(SOLUTIONS / NAME), as_version=4)


def without_training(notebook: NotebookNode) -> NotebookNode:
    """Without the section 'Measure it', which takes nine tenths of the time."""
    notebook, section, kept = copy.deepcopy(notebook), "", list[NotebookNode]()
    for cell in notebook.cells:
        heading = re.match(r"## (.*)", cell.source) if cell.cell_type == "markdown" else None
        section = heading[1] if heading else section
        kept += [cell] if section != "Measure it" else []
    assert 5 < len(kept) < len(notebook.cells)
    notebook.cells = kept
    return notebook


def checks(*names: str) -> set[str]:
    """The ids of these tasks' check cells, by default of all."""
    return {f"check-{name}" for name in names or TASKS}


def source_of(task: Task, answer: Any) -> str:
    """A mistake or another right answer, as a learner would write it in the answer cell."""
    if not isinstance(task, Exercise):  # 1/2 becomes a float, as when a learner writes it
        return learner.step_source(task, answer)
    text, times = re.subn(rf"\bdef {answer.__name__}\(", f"def {task.name}(", inspect.getsource(answer))
    assert times == 1, "a closure's source is not all of it: take another one"
    return f"{IMPORTS}\n\n{text.rstrip()}"


def nbval(notebook: NotebookNode, folder: Path) -> dict[str, str]:
    """Run a notebook under strict nbval, in ``folder``. Returns the failed cells: id -> what the report says."""
    return learner.nbval(notebook, folder / NAME)
