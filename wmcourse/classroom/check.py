"""Run a learner's notebook and say, in plain words, how each exercise fared. Nothing is written into the notebook."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wmcourse.classroom.merge import from_the_course, mark, role, same, title, with_ids
from wmcourse.classroom.notebooks import course_copy, entry_of, my_copy, read_notebook
from wmcourse.lessons.errors import LessonError

if TYPE_CHECKING:
    from nbformat import NotebookNode

# What lets a failing cell pass: nbval's tags and comments, nbclient's tags. (Nbval's others only ignore outputs.)
HIDING_TAGS = ("raises-exception", "nbval-raises-exception", "nbval-skip", "skip-execution")
HIDING_COMMENTS = ("NBVAL_RAISES_EXCEPTION", "NBVAL_SKIP")
SECONDS = 600  # for one cell

Status = Literal["passed", "wrong", "crashed", "not attempted", "refused"]
STATUSES: dict[str, Status] = {"NotAttempted": "not attempted", "WrongAnswer": "wrong", "AnswerCrashed": "crashed"}
MARKS: dict[Status, str] = {"passed": "✓", "wrong": "✗", "crashed": "!", "not attempted": "○", "refused": "✗"}


@dataclass(frozen=True)
class TaskResult:
    """How one exercise or step fared. ``remark`` is about its check cell, where that is not the course's."""

    name: str
    title: str
    points: int
    status: Status
    message: str = ""
    remark: str = ""


def check(lesson: str, path: Path | None = None, record: bool = True, seconds: int = SECONDS) -> list[TaskResult]:
    """``check_notebook`` of the learner's own copy of a lesson, or of the notebook at ``path``."""
    entry = entry_of(lesson)
    path = path or my_copy(entry)
    told = entry_of(lesson_of(read_notebook(path), path))
    if told != entry:
        raise LessonError(f"{path} is lesson {told.number}, {told.title}, not {entry.number}.")
    return check_notebook(path, record, seconds)


def check_notebook(path: Path, record: bool = True, seconds: int = SECONDS) -> list[TaskResult]:
    """Run a learner's notebook with the course's own checks in it, whatever became of them there.

    Without ``record``, what passes is not noted in the learner's folder. Raises LessonError when it cannot be run.
    """
    mine = read_notebook(path)
    course = read_notebook(course_copy(entry_of(lesson_of(mine, path)))).cells
    mine = with_ids(mine, course)
    results, heading, answer = list[TaskResult](), "", None
    for cell in course:
        found = re.match(r"### (?:Exercise \d+|Step) · (.*?)(?: ★)?\s*$", cell.source, re.MULTILINE)
        heading = found[1] if found else heading
        if role(cell) == "check":
            results.append(put_check(mine, cell, answer, heading))
        elif role(cell):
            answer = next((c for c in mine.cells if c.id == cell.id), None)
    stopped = run(mine, path.parent, record, seconds)
    return [result if result.status == "refused" else judged(result, mine, stopped, seconds) for result in results]


def lesson_of(notebook: NotebookNode, path: Path) -> str:
    """What the notebook says it is, and else its name."""
    told = notebook.metadata.get("wmcourse")
    return str(told["lesson"]) if isinstance(told, dict) and "lesson" in told else path.stem


def put_check(mine: NotebookNode, check: NotebookNode, answer: NotebookNode | None, heading: str) -> TaskResult:
    """Put the course's check where the learner's is, or behind the answer, or last. Returns what is known already."""
    name, there = mark(check)["name"], next((c for c in mine.cells if c.id == check.id), None)
    points, remark = check.metadata.get("nbgrader", {}).get("points", 1), ""
    hidden = [reason for cell in (answer, there) if cell for reason in hiders(cell)]
    if there is None:
        remark = "Its check cell is missing: the course's own was run. `wmcourse update` brings it back."
        at = next((number for number, cell in enumerate(mine.cells) if cell is answer), len(mine.cells))
        mine.cells.insert(at + 1, copy.deepcopy(check))
    else:
        remark = "" if same(there, check) else "Its check cell was altered: the course's own was run."
        mine.cells[mine.cells.index(there)] = copy.deepcopy(check)
    return TaskResult(name, heading or name, points, "refused" if hidden else "passed", "".join(hidden[:1]), remark)


def hiders(cell: NotebookNode) -> Iterator[str]:
    """Why a cell could fail and yet pass, as nbval and nbclient read it."""
    for tag in HIDING_TAGS:
        if tag in (cell.metadata.get("tags") or ()):
            yield f"the tag {tag} hides this cell from the check: take it off."
    for line in map(str.strip, cell.source.splitlines()):
        if line.startswith("#") and line.lstrip("#").strip() in HIDING_COMMENTS:
            yield f"the comment {line} hides this cell from the check: take it out."


def run(notebook: NotebookNode, folder: Path, record: bool, seconds: int) -> str:
    """Run all cells and keep their outputs. Returns "", or where and why it ended early."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError

    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    at = "before the first cell"

    def begin(cell: NotebookNode, cell_index: int) -> None:
        nonlocal at
        at = f"in the cell {title(cell)}" if cell.cell_type == "code" else at

    def failed(cell: NotebookNode, cell_index: int, execute_reply: Any) -> None:
        if execute_reply["content"]["ename"] == "Timeout" and not errors(cell):
            raise CellTimeoutError  # the cell was interrupted, and goes on all the same

    quiet = logging.Logger("wmcourse.check")
    quiet.addHandler(logging.NullHandler())
    late = {"ename": "Timeout", "evalue": "", "traceback": []}
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, log=quiet, kernel_name="python3", resources=where, allow_errors=True, on_cell_start=begin,
        timeout=seconds, interrupt_on_timeout=True, error_on_timeout=late, on_cell_error=failed,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as nowhere:
        try:
            environment = os.environ | ({} if record else {"WMCOURSE_HOME": nowhere})
            client.execute(env=environment, stderr=subprocess.DEVNULL)
        except CellTimeoutError:
            return f"the run was given up {at}, which did not end within {seconds} seconds"
        except (KeyError, OSError) as error:  # KeyError: no such kernel
            raise LessonError(f"The kernel python3 does not start ({error}): `wmcourse doctor` says more.") from error
        except RuntimeError:
            return f"the kernel died {at}"
        except (AssertionError, asyncio.CancelledError) as error:  # what nbclient makes of Ctrl-C
            raise KeyboardInterrupt from error
    return ""


def errors(cell: NotebookNode) -> list[NotebookNode]:
    return [output for output in cell.get("outputs", []) if output.output_type == "error"]


def judged(result: TaskResult, notebook: NotebookNode, stopped: str, seconds: int) -> TaskResult:
    """What the outputs say. Passed is what its check calls passed, not what merely raised nothing."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    check = next(cell for cell in cells if cell.id == f"check-{result.name}")
    answer = next((cell for cell in cells if cell.id in (f"exercise-{result.name}", f"step-{result.name}")), None)
    if not errors(check):
        said = [o.data.get("text/plain", "") for o in check.outputs if o.output_type == "execute_result"]
        if any(text.startswith("✓") for text in said):
            return result
        why = stopped if stopped and not check.outputs else "it did not say that this passed"
        return replace(result, status="crashed", message=f"its check came to no end: {why}.")
    name, text = errors(check)[0].ename, errors(check)[0].evalue
    if name in STATUSES:
        first, *rest = [line.strip() for line in text.splitlines() if line.strip()]
        detail = next((line for line in rest if line.startswith(("what ", "where ", "term "))), "")
        lines = [re.sub(rf"^. {result.name}: (not attempted yet[:.] )?", "", first), " ".join(detail.split())]
        return replace(result, status=STATUSES[name], message=" ".join(filter(None, lines)))
    above = cells[: cells.index(check)]
    earlier = next((cell for cell in above if errors(cell) and role(cell) != "check"), None)
    if answer is not None and errors(answer):
        why = f"its cell stops: {in_words(errors(answer)[0], seconds)}"
    elif answer is None and name == "NameError":
        why = f"its cell is gone, and {result.name} is nowhere: `wmcourse update` brings the cell back."
    elif earlier is not None and name == "NameError":
        hint = " It is the lesson's own: `wmcourse update` may help." if from_the_course(earlier) else ""
        why = f"an earlier cell, {title(earlier)}, stops: {in_words(errors(earlier)[0], seconds)}{hint}"
    else:
        why = f"its check stops: {in_words(errors(check)[0], seconds)}"
    return replace(result, status="crashed", message=why)


def in_words(error: NotebookNode, seconds: int) -> str:
    """An error in one line; what IPython calls the file is left out."""
    if error.ename == "KeyboardInterrupt":
        return f"it did not end within {seconds} seconds."
    line = f"{error.ename}: {error.evalue}".partition("\n")[0]
    return re.sub(r"\((?:<[^>]*>|[^(),]*\.py), (line \d+)\)", r"(\1)", line)


def report(results: list[TaskResult]) -> Iterator[str]:
    """The results in plain words."""
    for result in results:
        said = f": {result.message}" if result.message else ""
        yield f"{MARKS[result.status]} {result.name} ({result.title}): {result.status}{said}"
        if result.remark:
            yield f"    {result.remark}"
    passed = [result for result in results if result.status == "passed"]
    points = f"{sum(r.points for r in passed)} of {sum(r.points for r in results)} points"
    yield f"{len(passed)} of {len(results)} passed, {points}." if results else "There is nothing to check in it."
