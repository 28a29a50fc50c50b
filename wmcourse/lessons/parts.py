"""Which parts of the world model are the learner's own: each is loaded from parts/NAME.py and judged anew."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from wmcourse.engine.parts import PARTS, use_parts
from wmcourse.lessons import progress
from wmcourse.lessons.errors import CheckFailed, LessonError
from wmcourse.lessons.lesson import Lesson, open_lesson


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


class Parts:
    """The parts that a lesson trains with: ``whose`` each is, and how many ``calls`` the learner's ``own`` received."""

    def __init__(self, own: dict[str, Callable[..., Any]], whose: dict[str, str]) -> None:
        self.own, self.whose, self.calls = own, whose, Counter[str]()

    @contextmanager
    def use(self) -> Iterator[None]:
        """While the block runs, the course's models call the learner's functions, and each call is counted."""

        def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def call(*arguments: Any, **named: Any) -> Any:
                self.calls[name] += 1
                return function(*arguments, **named)

            return call

        with use_parts({name: counted(name, function) for name, function in self.own.items()}):
            yield

    def __str__(self) -> str:
        return "\n".join(f"{name:<19} lesson {PARTS[name].lesson}   {whose}" for name, whose in self.whose.items())


def your_parts(lesson: Lesson) -> Parts:
    """The parts up to this lesson: what passed in this notebook, else what lies in the learner's folder and passes its
    check today, else the course's.

    Raises LessonError, naming it, for a part there that fails: it is neither used nor silently replaced.
    """
    own, whose = {}, {}
    for name, part in PARTS.items():
        if part.lesson > lesson.entry.number:
            continue
        whose[name] = "the course’s, until yours passes its check"
        function = lesson.answers.get(name)
        if function is None:
            status = own_part(name, progress.home())
            if status.status == "failed":
                raise LessonError(f"Not with this part of yours: {name}: {status.why}.")
            function = status.function
        if function is not None:
            own[name], whose[name] = function, "yours"
    return Parts(own, whose)
