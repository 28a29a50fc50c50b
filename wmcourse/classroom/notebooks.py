"""The learner's notebooks: start, update and reset them, and never lose a line that a learner wrote.

    my/NN_slug.ipynb              mine: what the learner works in
    my/.course/NN_slug.ipynb      base: the lesson as the learner got it
    my/backups/                   what `update` and `reset` put aside
    notebooks/NN_slug.ipynb       new: the lesson as it is today

Whatever goes wrong is a LessonError, and then nothing of the learner's has changed.
"""

from __future__ import annotations

import datetime
import difflib
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wmcourse.classroom.merge import merge, role, same, with_ids
from wmcourse.engine.errors import RunError
from wmcourse.engine.files import write_atomically
from wmcourse.lessons import progress
from wmcourse.lessons.errors import LessonError
from wmcourse.lessons.syllabus import SYLLABUS, Entry, find

if TYPE_CHECKING:  # it takes a second to import: not for `wmcourse start`
    from nbformat import NotebookNode


# --- Where things are


def entry_of(lesson: str | int) -> Entry:
    """The syllabus's entry. Raises LessonError, with a suggestion, when there is none."""
    entry = find(lesson)
    if entry is None:
        near = difflib.get_close_matches(str(lesson), [name for e in SYLLABUS for name in (e.slug, e.stem)], 1)
        hint = f"Did you mean {near[0]}?" if near else "Lessons are 01 to 11."
        raise LessonError(f"There is no lesson {str(lesson)!r}. {hint}")
    return entry


def course_copy(entry: Entry) -> Path:
    """Today's student notebook of a lesson. Raises LessonError when there is none."""
    shelf = progress.CHECKOUT / "notebooks"
    if not shelf.is_dir():
        raise LessonError(f"The course's notebooks are not at {shelf}: install wmcourse from a full checkout.")
    path = shelf / f"{entry.stem}.ipynb"
    if not path.is_file():
        raise LessonError(f"Lesson {entry.number}, {entry.title}, has no notebook yet: it is being written.")
    return path


def my_copy(entry: Entry) -> Path:
    """The learner's notebook of a lesson. Raises LessonError when there is none."""
    folder = progress.home()
    if folder is None:
        raise LessonError("You have no folder of your own here: `wmcourse start` makes it, or go to where it is.")
    path = folder / f"{entry.stem}.ipynb"
    if not path.is_file():
        raise LessonError(f"{path} is not there: `wmcourse start {entry.number}` makes it.")
    return path


def base_copy(mine: Path) -> Path:
    return mine.parent / progress.MARK / mine.name


# --- Reading and writing


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LessonError(f"{path} cannot be read: {error.strerror}.") from error


def read_notebook(path: Path) -> NotebookNode:
    """A notebook, with whatever ids its cells have. Raises LessonError when it is none."""
    import nbformat

    data = read_bytes(path)
    try:
        notebook = nbformat.v4.reads(data.decode("utf-8-sig"))
        cells = [(c.cell_type, c.metadata, c.source) for c in notebook.cells]
        if notebook.nbformat != 4 or not all(isinstance(m, dict) and isinstance(s, str) for _, m, s in cells):
            raise ValueError("it is not in version 4 of the format")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        why = str(error).partition("\n")[0] if data.strip() else "it is empty"
        why = "its text is not UTF-8" if isinstance(error, UnicodeDecodeError) else why
        raise LessonError(
            f"{path} is not a notebook ({why}). Nothing was changed. "
            "If it is your copy of a lesson, `wmcourse reset` puts it aside and gives you a fresh one."
        ) from error
    return notebook


def write(path: Path, data: bytes) -> None:
    """Whole or not at all. Raises LessonError when the folder may not be written or the disk is full."""
    try:
        write_atomically(path, data)
    except RunError as error:
        raise LessonError(str(error)) from error


def back_up(mine: Path) -> Path:
    """Put the bytes of a notebook aside. Returns where."""
    stem = mine.parent / "backups" / f"{mine.stem}.{datetime.datetime.now():%Y-%m-%d-%H%M%S}"
    endings = itertools.chain([""], (f".{number}" for number in itertools.count(1)))
    target = next(path for end in endings if not (path := Path(f"{stem}{end}.ipynb")).exists())
    write(target, read_bytes(mine))
    return target


# --- What a learner asks for. Each returns what it did, a sentence for each thing


def start(folder: Path | None = None, lessons: Iterable[str] = ()) -> list[str]:
    """Copy the notebooks that are not there yet into the learner's folder; by default, those of all lessons."""
    entries = [entry_of(lesson) for lesson in lessons]
    if not entries:
        entries = [e for e in SYLLABUS if (progress.CHECKOUT / "notebooks" / f"{e.stem}.ipynb").is_file()]
    sources = {entry: read_bytes(course_copy(entry)) for entry in entries or SYLLABUS[:1]}
    inside = Path.cwd().resolve().is_relative_to(progress.CHECKOUT)  # in its solutions, for one
    folder = folder or progress.home(make=True) or (progress.CHECKOUT / "my" if inside else Path("my"))
    said = []
    for entry, source in sources.items():
        mine = folder / f"{entry.stem}.ipynb"
        if mine.exists():
            said.append(f"{mine} is there already and stays as it is.")
            continue
        write(base_copy(mine), source)
        write(mine, source)
        said.append(f"{mine} is yours now.")
    return said


def reset(lesson: str) -> list[str]:
    """A fresh copy, once the old one is put aside."""
    entry = entry_of(lesson)
    source, mine = read_bytes(course_copy(entry)), my_copy(entry)
    backup = back_up(mine)
    write(mine, source)
    write(base_copy(mine), source)
    return [f"{mine} is fresh. What you had is in {backup}.", "What you passed stays passed, and your parts stay."]


def update(lesson: str, prefer: Literal["mine", "new"] | None = None) -> list[str]:
    """Bring the lesson's newer text around the learner's cells.

    Where both have changed the same cell, ``prefer`` decides; without it, that is a LessonError.
    """
    import nbformat

    entry = entry_of(lesson)
    source, path = course_copy(entry), my_copy(entry)
    new, mine, base, said = read_notebook(source), read_notebook(path), None, list[str]()
    try:
        base = read_notebook(base_copy(path))
        if not all(cell.get("id") for cell in base.cells):
            raise LessonError("It has no ids.")
    except LessonError:
        base = None
        said.append("The lesson as you got it cannot be read in .course, so whatever differs is taken for yours.")
    there, mine = mine.cells, with_ids(mine, [*(base.cells if base else ()), *new.cells])
    own = {cell.id: cell for cell in mine.cells}
    whole = all(c.id in own and (role(c) != "check" or same(c, own[c.id])) for c in new.cells if role(c))
    nothing = f"{path} has the newest text of lesson {entry.number} already: nothing to do."
    if base and base.cells == new.cells and mine.cells == there and whole:
        return [nothing]
    merged, conflicts, kept = merge(base, mine, new, prefer)
    if conflicts:
        raise LessonError(
            f"Nothing was changed: you have written in {', '.join(conflicts)} of {path}, and the newer lesson changes "
            f"the same. `wmcourse update {entry.number} --keep-mine` keeps what you have there and takes all the rest; "
            f"`wmcourse update {entry.number} --take-new` takes the lesson's, and yours stays in a backup."
        )
    if merged.cells == there:
        write(base_copy(path), read_bytes(source))
        return [*said, nothing]
    try:
        nbformat.validate(merged)
        data = (nbformat.writes(merged) + "\n").encode()
    except (nbformat.ValidationError, UnicodeEncodeError) as error:
        why = str(error).partition("\n")[0]
        raise LessonError(f"{path} is not a valid notebook ({why}). Nothing was changed.") from error
    backup = back_up(path)
    write(path, data)
    write(base_copy(path), read_bytes(source))
    before, after = ({(cell.cell_type, cell.source) for cell in n.cells} for n in (mine, merged))
    said.append(
        f"{path} has the newest text of lesson {entry.number}: cells that are new or changed: {len(after - before)}, "
        f"that are gone: {len(before - after)}. What you had is in {backup}."
    )
    said += [f"You had changed {what}, and so has the lesson: both are there, yours first." for what in kept]
    return [*said, "If it is open in JupyterLab: File > Reload Notebook from Disk."]
