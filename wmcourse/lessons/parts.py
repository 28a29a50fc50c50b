"""Which parts of the world model are the learner's own: each is loaded from parts/NAME.py and judged anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from wmcourse.engine.parts import PARTS, use_parts
from wmcourse.lessons import progress
from wmcourse.lessons.errors import CheckFailed, LessonError
from wmcourse.lessons.lesson import open_lesson


class PartStatus(NamedTuple):
    status: Literal["yours", "course", "failed"]
    function: Callable[..., Any] | None  # the learner's, where it is "yours"
    why: str


def own_parts(folder: Path | None = None) -> dict[str, PartStatus]:
    """Every part of the world model, by name. A part that does not pass today is "failed", and never handed out."""
    folder = folder if folder is not None else progress.home()
    return {name: own_part(name, folder) for name in PARTS}


def own_part(name: str, folder: Path | None) -> PartStatus:
    part = PARTS[name]
    try:
        function = progress.load_part(name, folder) if folder else None
        if function is None:
            return PartStatus("course", None, f"until yours passes its check in lesson {part.lesson}")
        exercises = open_lesson(part.lesson).exercises
        if name not in exercises:
            return PartStatus("failed", None, f"lesson {part.lesson} has no check for it yet")
        exercises[name].judge(function)
    except (CheckFailed, LessonError) as error:
        lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
        detail = next((line for line in lines[1:] if line.startswith(("what ", "where "))), "")
        return PartStatus("failed", None, " ".join([lines[0], detail]).strip())
    except SystemExit:  # in the file itself
        return PartStatus("failed", None, f"parts/{name}.py ends Python when it is loaded: take `exit()` out of it")
    return PartStatus("yours", function, f"it passes its check of lesson {part.lesson}")


@contextmanager
def use_own_parts(folder: Path | None = None) -> Iterator[dict[str, PartStatus]]:
    """While the block runs, the world model uses the learner's parts, and the course's where there is none.

    Raises LessonError, naming it, when a part has failed: it is neither used nor silently replaced.
    """
    statuses = own_parts(folder)
    failed = [f"{name}: {part.why}" for name, part in statuses.items() if part.status == "failed"]
    if failed:
        raise LessonError(f"Not with these parts of yours: {'; '.join(failed)}.")
    with use_parts({name: part.function for name, part in statuses.items() if part.function is not None}):
        yield statuses
