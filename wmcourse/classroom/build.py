"""Build a lesson: its text, solutions/NN_slug.py, becomes two notebooks.

    python -m wmcourse.classroom.build 03         solutions/03_….ipynb, executed, and notebooks/03_….ipynb, to be solved
    python -m wmcourse.classroom.build            all lessons
    python -m wmcourse.classroom.build --prose 03 after a change of text cells alone: at once
    python -m wmcourse.classroom.build --check    do the notebooks still say what the texts say? Runs nothing

The text (jupytext's py:percent format) is the only source. The head of a cell says what it is: ``# %% exercise="NAME"``
(or ``step``, or ``check``), ``# %% keep=true`` where the learner gets the pictures, too. Cells have ids that depend on
nothing but their name or text, so a notebook that is built twice differs only where its outputs do.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jupytext
import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from wmcourse.engine.errors import RunError
from wmcourse.engine.files import write_atomically
from wmcourse.lessons import open_lesson
from wmcourse.lessons.syllabus import find

if TYPE_CHECKING:
    from wmcourse.lessons.exercise import Task

SOLUTIONS = Path(__file__).resolve().parents[2] / "solutions"
KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
LARGEST = 1_500_000  # bytes of a committed notebook
BUDGETS = {"05": 150, "08": 150, "11": 420}  # seconds of Restart & Run All on two cores; any other lesson: 90
ROLES = ("exercise", "step", "check")
MARKER = re.compile(r"( *)### (BEGIN|END) SOLUTION")
STUB = "raise NotImplementedError  # your turn"
VIEW, PNG = "application/vnd.jupyter.widget-view+json", "image/png"


def read_lesson(path: Path) -> NotebookNode:
    """The solution notebook of a lesson's text, without outputs.

    Raises ValueError, with cell and name, when it is not a py:percent file, or an exercise is not as it must be.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py" or "# %%" not in text:
        raise ValueError(f"{path} is not a lesson's text: a .py file with '# %%' between its cells.")
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.nbformat, notebook.nbformat_minor = 4, 5  # the first with cell ids
    seen: dict[str, int] = {}
    answered: Task | None = None  # what the next cell must check
    for number, cell in enumerate(notebook.cells):
        cell.metadata.pop("lines_to_next_cell", None)
        try:
            answered = give_role(cell, path.stem, answered)
        except ValueError as error:
            raise ValueError(f"{path}: cell {number}: {error}") from error
        if role(cell):
            name = f"{role(cell)}-{cell.metadata.wmcourse.name}"
        else:
            name = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[name] = seen.get(name, 0) + 1
        if role(cell) and seen[name] > 1:
            raise ValueError(f"{path}: cell {number}: {name} is there twice.")
        cell.id = name if seen[name] == 1 else f"{name}-{seen[name]}"
    if answered:
        raise ValueError(f"{path}: the check of {answered.name} is missing.")
    notebook.metadata = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})
    notebook.metadata.wmcourse = NotebookNode(lesson=path.stem[:2], digest=digest(notebook))
    return notebook


def give_role(cell: NotebookNode, lesson: str, answered: Task | None) -> Task | None:
    """Turn what the cell's head says into metadata, nbgrader's too. Returns the task whose check must come next."""
    given = [(kind, str(cell.metadata.pop(kind))) for kind in ROLES if kind in cell.metadata]
    # keep: the student's copy shows the picture, too; signature: it is the lesson's in the README (gallery.py).
    keep = {name: value for name in ("keep", "signature") if (value := cell.metadata.pop(name, False))}
    if answered and given != [("check", answered.name)]:
        raise ValueError(f"here the check of {answered.name} must come, right behind its answer cell.")
    if not given:
        if re.search("(BEGIN|END) SOLUTION", cell.source):
            raise ValueError('it holds a solution, so its head must say exercise="NAME" or step="NAME".')
        if keep:
            cell.metadata.wmcourse = keep
        return None
    (kind, name), *more = given
    if more or cell.cell_type != "code":
        raise ValueError(f"{kind} {name!r}: one name, and on a code cell only.")
    if kind == "check" and answered is None:
        raise ValueError(f"the check of {name!r} does not come right behind its answer cell.")
    if answered:
        task, points = answered, {"points": answered.points}
    else:
        opened, points = open_lesson(lesson), {}
        task = opened.exercises[name] if kind == "exercise" else opened.steps[name]
        learners_part(cell.source, kind, name)  # for its errors
    cell.metadata.wmcourse = {"role": kind, "name": name, **keep}
    flags = {"solution": not answered, "grade": bool(answered), "locked": bool(answered), "task": False, **points}
    grade_id = f"check_{name}" if answered else name
    cell.metadata.nbgrader = {"schema_version": 3, "cell_type": "code", "grade_id": grade_id, **flags}
    return None if answered else task


def learners_part(source: str, kind: str, name: str) -> str:
    """An answer cell without its solution. Raises ValueError for markers that do not pair up or leave no stub."""
    lines, inside = list[str](), False
    for line in source.split("\n"):
        marker = MARKER.fullmatch(line)
        if marker is None and re.search("(BEGIN|END) SOLUTION", line):
            raise ValueError(f"{name}: {line.strip()!r} must be '### BEGIN SOLUTION' or '### END SOLUTION', alone.")
        if marker and (marker[2] == "BEGIN") == inside:
            raise ValueError(f"{name}: {marker[2]} SOLUTION, where {'END' if inside else 'BEGIN'} should come.")
        if marker:
            inside = not inside
            if inside and marker[1]:
                lines.append(marker[1] + STUB)  # in a function; at the top level `NAME = ...` stands there already
        elif not inside:
            lines.append(line)
    if inside:
        raise ValueError(f"{name}: BEGIN SOLUTION without END SOLUTION.")
    left = "\n".join(lines).rstrip()
    if left == source:
        raise ValueError(f"{name}: its cell has no '### BEGIN SOLUTION' … '### END SOLUTION'.")
    try:
        stubs = [ast.unparse(node).split("(")[0] for node in ast.parse(left).body]
    except SyntaxError as error:
        raise ValueError(f"{name}: without its solution the cell is no Python: {error}.") from error
    wanted = f"def {name}" if kind == "exercise" else f"{name} = ..."
    if wanted not in stubs:
        raise ValueError(f"{name}: without its solution the cell must still say `{wanted}`.")
    return left


def role(cell: NotebookNode) -> str:
    """ "exercise", "step", "check", or "" for all other cells."""
    return cell.metadata.get("wmcourse", {}).get("role", "")


def digest(notebook: NotebookNode) -> str:
    """What the cells say, outputs aside, in one word: another one means that somebody has edited them."""
    cells = [(cell.get("id"), cell.cell_type, cell.source) for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def student(notebook: NotebookNode) -> NotebookNode:
    """What a learner gets of a solution notebook: without the solutions, and of the outputs the pictures to keep."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if role(cell) in ("exercise", "step"):
            cell.source = learners_part(cell.source, role(cell), cell.metadata.wmcourse.name)
        if cell.cell_type == "code":
            kept = cell.outputs if cell.metadata.get("wmcourse", {}).get("keep") else []
            cell.outputs = [picture(out) for out in kept if PNG in out.get("data", {})]
            if cell.outputs:  # nbval fails outputs that nobody ran, and would miss the words that are left out
                cell.metadata.tags = sorted({*cell.metadata.get("tags", []), "nbval-ignore-output"})
            else:
                cell.execution_count = None
    number = notebook.metadata.get("wmcourse", {}).get("lesson", "")
    notebook.metadata.wmcourse = NotebookNode(lesson=number, digest=digest(notebook))
    return notebook


def picture(output: NotebookNode) -> NotebookNode:
    """Only the picture of an output, and what it shows in words."""
    return nbformat.v4.new_output("display_data", {PNG: output.data[PNG]}, metadata={PNG: output.metadata.get(PNG, {})})


def answers(notebook: NotebookNode) -> dict[str, str]:
    """The sources of a notebook's answer cells, by the cells' ids."""
    return {cell.id: cell.source for cell in notebook.cells if role(cell) in ("exercise", "step")}


def fill(notebook: NotebookNode, given: Mapping[str, str]) -> NotebookNode:
    """A copy with these sources in its answer cells, by id. Raises ValueError for an id that is no answer cell's."""
    strangers = given.keys() - answers(notebook).keys()
    if strangers:
        raise ValueError(f"No answer cells: {', '.join(sorted(strangers))}. There are: {', '.join(answers(notebook))}.")
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        cell.source = given.get(cell.id, cell.source)
    return notebook


def execute(notebook: NotebookNode, directory: Path, limit: float = 900) -> NotebookNode:
    """Run all cells in ``directory`` and keep their outputs, and how many seconds it took.

    Seconds of the clock or, where other work on the machine made it wait, of the kernel's processor time: the fewer.
    Raises CellExecutionError where a cell fails, ValueError where all together took longer than ``limit`` seconds.
    """
    metadata, started = copy.deepcopy(notebook.metadata), time.monotonic()
    now, busy = NotebookNode(), 0.0  # the cell that runs, and the kernel's processor time after the last one

    def left(cell: NotebookNode) -> float:
        nonlocal now
        now = cell
        return max(1, started + limit - time.monotonic())

    def clock(**ran: Any) -> None:
        nonlocal busy
        kernel: Any = client.km.provisioner if client.km else None
        with contextlib.suppress(psutil.Error, AttributeError):  # it may have died
            times = psutil.Process(kernel.pid).cpu_times()
            busy = times.user + times.system

    client = NotebookClient(
        notebook,
        kernel_name="python3",
        resources={"metadata": {"path": directory}},
        coalesce_streams=True,  # how prints fall into pieces is chance
        timeout_func=left,
        on_cell_executed=clock,
    )
    try:  # the author's own folder is nobody else's business
        client.execute(env={name: value for name, value in os.environ.items() if name != "WMCOURSE_HOME"})
    except CellTimeoutError as error:
        where = f"cell {notebook.cells.index(now)} was not done after {limit:.0f} s in all"
        raise ValueError(f"{where}. On a slow machine set WMCOURSE_BUDGET_FACTOR, 3 by default.") from error
    except DeadKernelError as error:
        raise ValueError("its kernel died. Is there enough memory?") from error
    notebook.metadata = metadata  # no widgets, no versions
    notebook.metadata.setdefault("wmcourse", NotebookNode()).seconds = round(min(time.monotonic() - started, busy))
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # timings
        for output in cell.get("outputs", []):
            tidy(output)
    return notebook


def tidy(output: NotebookNode) -> None:
    """A widget leaves its picture and its words: a view without its model reads "Error displaying widget"."""
    data = output.get("data", {})
    if len(data) > 1:
        data.pop(VIEW, None)
    words = data.get("text/plain", "<")
    if PNG in data and not words.startswith("<"):  # not <IPython.core.display.Image object>
        output.metadata.setdefault(PNG, {}).setdefault("alt", words)


def student_path(path: Path) -> Path:
    return path.absolute().parent.parent / "notebooks" / f"{path.stem}.ipynb"


def budget(path: Path) -> int:
    """The seconds that a lesson may take."""
    return BUDGETS.get(path.stem[:2], 90)


def edited(path: Path) -> bool:
    """Whether somebody has worked in a notebook since it was built. One that cannot be read counts as such."""
    if not path.is_file():
        return False
    try:
        notebook = nbformat.read(path, as_version=4)
    except (ValueError, KeyError, AttributeError, nbformat.ValidationError):  # what a merge leaves, for example
        return True
    built = notebook.metadata.get("wmcourse", {}).get("digest")
    return built is not None and built != digest(notebook)


def retold(notebook: NotebookNode, path: Path) -> NotebookNode:
    """The notebook with the outputs of the one that lies there, for when only prose has changed: nothing is executed.

    Raises ValueError, naming the cell, where a code cell is another one.
    """
    there = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    before, now = ([c for c in n.cells if c.cell_type == "code"] for n in (there, notebook))
    if len(before) != len(now):
        raise ValueError(f"it had {len(before)} code cells and has {len(now)}: it must be executed.")
    for old, new in zip(before, now, strict=True):
        if (old.id, old.source) != (new.id, new.source):
            raise ValueError(f"a code cell has changed, so it must be executed: {new.source[:60]!r}")
        new.outputs, new.execution_count = old.outputs, old.execution_count
    notebook.metadata.wmcourse.seconds = there.metadata.get("wmcourse", {}).get("seconds")
    return notebook


def build(path: Path, force: bool = False, prose: bool = False) -> list[Path]:
    """Execute a lesson and write its notebooks; the old ones stay when a cell fails. Returns their paths.

    With ``prose`` nothing is executed: the text cells are new, the code cells must be the same, and keep their outputs.
    Raises ValueError when somebody has edited one of them; with ``force`` that one is put aside first.
    """
    notebook, targets = read_lesson(path), [path.with_suffix(".ipynb")]
    if answers(notebook):
        targets.append(student_path(path))
    for target in targets:
        if edited(target) and not force:
            raise ValueError(
                f"somebody has worked in {target}, and building would overwrite it. Move it to my/ or delete it; "
                "or build with --force, which puts it aside."
            )
    limit = budget(path) * float(os.environ.get("WMCOURSE_BUDGET_FACTOR", "3"))
    texts = [as_text(retold(notebook, path) if prose else execute(notebook, path.parent, limit))]
    if answers(notebook):
        texts.append(as_text(student(nbformat.reads(texts[0], as_version=4))))
    for target, text in zip(targets, texts, strict=True):
        if edited(target):
            numbers = (target.with_suffix(f".backup-{i}.ipynb") for i in range(1, 10_000))
            shutil.copy2(target, next(aside for aside in numbers if not aside.exists()))
        write_atomically(target, text.encode())
    return targets


def as_text(notebook: NotebookNode) -> str:
    """The notebook as it lies on disk. Raises ValueError when it is too large, and for what is no valid notebook."""
    nbformat.validate(notebook)
    text = nbformat.writes(notebook) + "\n"
    if len(text.encode()) > LARGEST:
        raise ValueError(f"it makes a notebook of {len(text.encode()):,} bytes; the limit is {LARGEST:,}.")
    return text


def differences(path: Path) -> list[str]:
    """Where a lesson's notebooks do not say what its text says; an empty list is good."""
    target, pupil = path.with_suffix(".ipynb"), student_path(path)
    if not target.is_file():
        return [f"{target} is missing"]
    there, wanted = nbformat.read(target, as_version=4), read_lesson(path)
    found = [] if len(there.cells) == len(wanted.cells) else [f"{len(there.cells)} cells, not {len(wanted.cells)}"]
    for number, (a, b) in enumerate(zip(there.cells, wanted.cells, strict=False)):
        if (a.id, a.cell_type, a.source, a.metadata) != (b.id, b.cell_type, b.source, b.metadata):
            found.append(f"cell {number} differs: {b.source[:60]!r}")
        elif a.cell_type == "code" and a.source.strip() and a.execution_count is None:
            found.append(f"cell {number} was never executed: {b.source[:60]!r}")
    if pupil.is_file() != bool(answers(wanted)):
        found.append(f"{pupil} is {'there, without any exercise' if pupil.is_file() else 'missing'}")
    elif pupil.is_file() and not found and pupil.read_text(encoding="utf-8") != as_text(student(there)):
        found.append(f"{pupil} is not what a learner should get of {target.name}")
    return found


def sources(names: Sequence[str]) -> list[Path]:
    """The texts of these lessons, each given by number, slug or path; of all lessons when there are no names.

    Raises ValueError for what is no lesson.
    """
    paths = [] if names else sorted(SOLUTIONS.glob("*.py"))
    for name in names:
        entry = find(Path(name).name)
        if not name.endswith(".py") and entry is None:
            raise ValueError(f"There is no lesson {name!r}: give its number, its slug, or the path of its .py file.")
        paths.append(SOLUTIONS / f"{entry.stem}.py" if entry and not name.endswith(".py") else Path(name))
    if not paths:
        raise ValueError(f"There are no lessons in {SOLUTIONS}: this needs a checkout of the course.")
    return paths


def main(argv: Sequence[str] | None = None) -> int:
    """0 when all went well, 1 when a lesson failed or a notebook is not what its text says."""
    summary, usage = (__doc__ or "").split("\n", 1)
    parser = argparse.ArgumentParser("python -m wmcourse.classroom.build", description=summary, epilog=usage)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help="a number, a slug, or a path (default: all)")
    parser.add_argument("--check", action="store_true", help="compare only; execute and write nothing")
    parser.add_argument("--prose", action="store_true", help="only text cells changed: keep the outputs")
    parser.add_argument("--force", action="store_true", help="put aside a notebook that somebody has edited")
    arguments = parser.parse_args(argv)
    try:
        paths = sources(arguments.lessons)
    except ValueError as error:
        parser.error(str(error))
    failed = False
    for path in paths:
        try:
            problems = differences(path) if arguments.check else []
            made = [] if arguments.check else build(path, arguments.force, arguments.prose)
            written = [str(target) for target in made]
            print(f"{path}: {'; '.join(problems) or 'wrote ' * bool(written) + (', '.join(written) or 'up to date')}")
            failed |= bool(problems)
        except (ValueError, OSError, RunError, CellExecutionError, nbformat.ValidationError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
