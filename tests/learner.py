"""A learner's answers as they stand in a cell, and notebooks run as nbval runs them, in a world of their own."""

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

from wmcourse.lessons.exercise import Exercise, Task


def cell_of(task: Task) -> str:
    """The id of its answer cell."""
    return f"{'exercise' if isinstance(task, Exercise) else 'step'}-{task.name}"


def step_source(task: Task, answer: Any) -> str:
    """An answer to a derivation step, written as sympy prints it, with the imports that it needs."""
    functions = {part.func.__name__ for part in answer.atoms(sp.Function)}
    named = functions | {"pi", "sqrt"} & set(re.findall(r"\w+", str(answer)))
    return "".join(f"from sympy import {name}\n" for name in sorted(named)) + f"{task.name} = {answer}"


def environment(root: Path, home: Path | None = None, threads: int | None = 1) -> dict[str, str]:
    """A process's world: no Jupyter settings but its own, below ``root``, and ``home`` as the learner's folder.

    ``threads``: torch's; None leaves it to torch.
    """
    ours = ("JUPYTER", "IPYTHON", "WMCOURSE", "OMP_NUM_THREADS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    kinds = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    own = {kind: str(root / ".jupyter" / kind.lower()) for kind in kinds}
    own |= {"WMCOURSE_HOME": str(home)} if home else {}
    return kept | own | ({"OMP_NUM_THREADS": str(threads)} if threads else {})


def nbval(notebook: NotebookNode, file: Path, cell_seconds: int = 300, threads: int | None = 1) -> dict[str, str]:
    """Write a notebook to ``file``, and run it under strict nbval in its folder, which is the learner's home.

    Returns the failed cells: id -> what the report says. Others may run beside it in the same folder.
    """
    folder, report = file.parent, file.with_suffix(".xml")
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.validate(notebook)
    nbformat.write(notebook, file)
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", f"--nbval-cell-timeout={cell_seconds}"]
    command += ["-p", "no:cacheprovider", "--color=no", "--rootdir=.", f"--junitxml={report.name}", file.name]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(folder / ".jupyter" / file.stem, folder, threads),
        capture_output=True,
        text=True,
        timeout=3 * cell_seconds,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr  # passed, or some cells failed
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = {case.get("name"): case for case in ElementTree.parse(report).iter("testcase")}
    assert list(found) == [f"Cell {number}" for number in range(len(cells))]
    assert not any(case.findall("skipped") or case.findall("error") for case in found.values())
    told = [found[f"Cell {number}"].find("failure") for number in range(len(cells))]
    return {cell.id: words.text or "" for cell, words in zip(cells, told, strict=True) if words is not None}
