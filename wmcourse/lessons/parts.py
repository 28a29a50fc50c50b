"""Which parts of the world model are the learner's own: each is loaded from parts/NAME.py and judged anew."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any, Literal, NamedTuple

from wmcourse.engine.parts import PARTS, use_parts
from wmcourse.lessons import progress
from wmcourse.lessons.errors import CheckFailed, LessonError, Note
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


COURSE = "the course’s, until yours passes its check"


class Parts:
    """The parts that a lesson trains with: ``whose`` each is, and how many ``calls`` the learner's ``own`` received.

    ``failed`` are the learner's that do not pass their check today, by name, and why: nothing runs on these parts until
    each is mended, or set aside by its author (``swap``).
    """

    def __init__(
        self, own: dict[str, Callable[..., Any]], whose: dict[str, str], failed: dict[str, str] | None = None
    ) -> None:
        self.own, self.whose, self.calls = own, whose, Counter[str]()
        self.yours, self.failed = dict(own), dict(failed or {})

    @contextmanager
    def use(self, **instead: Callable[..., Any]) -> Iterator[None]:
        """While the block runs, the course's models call the learner's functions, and each call is counted.

        ``instead`` are functions to try in the place of some parts, in this block alone. Raises LessonError, naming
        it, where a part has failed.
        """

        def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def call(*arguments: Any, **named: Any) -> Any:
                self.calls[name] += 1
                return function(*arguments, **named)

            return call

        self.known(*instead)
        stuck = [f"{name}: {why}" for name, why in self.failed.items() if name not in instead]
        if stuck:
            raise LessonError(
                f"Not with this part of yours: {'; '.join(stuck)}. Mend it in its lesson, or choose the course's here: "
                f'parts.swap("{next(name for name in self.failed if name not in instead)}", "course").'
            )
        own = {name: counted(name, f) if f is self.yours.get(name) else f for name, f in self.own.items()}
        with use_parts(own | instead):
            yield

    def swap(self, name: str, to: Literal["yours", "course"] | Callable[..., Any] = "course") -> Parts:
        """From now on the course's function, yours again, or any other that you want to try. Returns these parts.

        Raises LessonError for an unknown name, and for "yours" where there is none that passes its check.
        """
        self.known(name)
        if to == "yours":
            if name not in self.yours:
                raise LessonError(f"There is no {name} of yours that passes its check: {self.whose[name]}.")
            self.own[name], self.whose[name] = self.yours[name], "yours"
        elif to == "course":
            self.own.pop(name, None)
            self.whose[name] = "the course’s, by your choice"
        elif callable(to):
            self.own[name], self.whose[name] = to, f"{getattr(to, '__name__', 'another')}, put in by you"
        else:
            raise LessonError(f'{name} can be swapped for "yours", "course" or a function, not for {to!r}.')
        self.failed.pop(name, None)
        return self

    def known(self, *names: str) -> None:
        strangers = [name for name in names if name not in self.whose]
        if strangers:
            raise LessonError(f"There is no part {strangers[0]!r} here: choose among {', '.join(self.whose)}.")

    def folder(self, base: Path, until: str = "08") -> Path:
        """Where to keep what is trained on these parts, so that what was trained on others is never taken for theirs.

        ``base`` itself when all parts that a training calls (of the lessons up to ``until``) are the course's, else a
        folder beside it for each set of functions.
        """
        own = {name: function for name, function in self.own.items() if PARTS[name].lesson <= until}
        if not own:
            return base
        text = "; ".join(f"{name} {fingerprint(own[name])}" for name in sorted(own))
        return base.with_name(f"{base.name}_yours_{hashlib.sha256(text.encode()).hexdigest()[:8]}")

    def table(self) -> Note:
        """Every part: what it does, whose it is, and how many calls yours has received so far."""
        rows = [
            f"| {PARTS[name].lesson} | `{name}` | {PARTS[name].what} | {whose.replace('|', '/')} "
            f"| {f'{self.calls[name]:,}' if name in self.yours else '–'} |"
            for name, whose in self.whose.items()
        ]
        return Note("\n".join(["| lesson | part | what it does | whose | calls |", "|---|---|---|---|--:|", *rows]))

    def __str__(self) -> str:
        return "\n".join(f"{name:<19} lesson {PARTS[name].lesson}   {whose}" for name, whose in self.whose.items())

    def __repr__(self) -> str:
        return str(self)


def fingerprint(function: Callable[..., Any]) -> str:
    """What a function does, in a word: another one as soon as a line of it does something else."""

    def said(code: CodeType) -> str:
        inner = [said(value) if isinstance(value, CodeType) else repr(value) for value in code.co_consts]
        return f"{code.co_code.hex()} {code.co_names} {inner}"

    code = getattr(inspect.unwrap(function), "__code__", None)
    return said(code) if code else repr(type(function))


def your_parts(lesson: Lesson, strict: bool = True) -> Parts:
    """The parts up to this lesson: what passed in this notebook, else what lies in the learner's folder and passes its
    check today, else the course's.

    A part there that fails is neither used nor silently replaced: ``strict`` raises LessonError, naming it; otherwise
    it stands among the parts as ``failed``, and they refuse to be used.
    """
    own, whose, failed = {}, {}, {}
    for name, part in PARTS.items():
        if part.lesson > lesson.entry.number:
            continue
        whose[name] = COURSE
        function = lesson.answers.get(name)
        if function is None:
            status = own_part(name, progress.home())
            if status.status == "failed":
                if strict:
                    raise LessonError(f"Not with this part of yours: {name}: {status.why}.")
                failed[name], whose[name] = status.why, f"yours, and it FAILED: {status.why}"
            function = status.function
        if function is not None:
            own[name], whose[name] = function, "yours"
    return Parts(own, whose, failed)
