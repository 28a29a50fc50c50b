"""Lesson 03's notebooks for the tests that run them, and learners' answers to put into them."""

import copy
import inspect
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import nbformat
import sympy as sp
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


def cell_of(task: Task) -> str:
    """The id of its answer cell."""
    return f"{'exercise' if isinstance(task, Exercise) else 'step'}-{task.name}"


def checks(*names: str) -> set[str]:
    """The ids of these tasks' check cells, by default of all."""
    return {f"check-{name}" for name in names or TASKS}


def source_of(task: Task, answer: Any) -> str:
    """A mistake or another right answer, as a learner would write it in the answer cell."""
    if not isinstance(task, Exercise):  # 1/2 becomes a float, as when a learner writes it
        functions = sorted({part.func.__name__ for part in answer.atoms(sp.Function)})
        return "".join(f"from sympy import {name}\n" for name in functions) + f"{task.name} = {answer}"
    text, times = re.subn(rf"\bdef {answer.__name__}\(", f"def {task.name}(", inspect.getsource(answer))
    assert times == 1, "a closure's source is not all of it: take another one"
    return f"{IMPORTS}\n\n{text.rstrip()}"


def environment(root: Path, home: Path | None = None) -> dict[str, str]:
    """A process's world: no Jupyter settings but its own, below ``root``, and ``home`` as the learner's folder."""
    ours = ("JUPYTER", "IPYTHON", "WMCOURSE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    kinds = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    folders = {kind: str(root / ".jupyter" / kind.lower()) for kind in kinds}
    return kept | folders | {"OMP_NUM_THREADS": "1"} | ({"WMCOURSE_HOME": str(home)} if home else {})


def nbval(notebook: NotebookNode, folder: Path) -> dict[str, str]:
    """Run a notebook under strict nbval, in ``folder``. Returns the failed cells: id -> what the report says."""
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.validate(notebook)
    nbformat.write(notebook, folder / NAME)
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "--nbval-cell-timeout", "300"]
    command += ["-p", "no:cacheprovider", "--color=no", "--rootdir=.", "--junitxml=report.xml", NAME]
    done = subprocess.run(
        command, cwd=folder, env=environment(folder, folder), capture_output=True, text=True, timeout=900
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr  # passed, or some cells failed
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = {case.get("name"): case for case in ElementTree.parse(folder / "report.xml").iter("testcase")}
    assert list(found) == [f"Cell {number}" for number in range(len(cells))]
    assert not any(case.findall("skipped") or case.findall("error") for case in found.values())
    told = [found[f"Cell {number}"].find("failure") for number in range(len(cells))]
    return {cell.id: words.text or "" for cell, words in zip(cells, told, strict=True) if words is not None}
