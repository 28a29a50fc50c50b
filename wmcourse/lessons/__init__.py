"""What the notebooks need beside the eleven modules: exercises, derivations, widgets, and each lesson's own folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wmcourse.lessons.lesson import Lesson


def open_lesson(name: str | int) -> Lesson:
    """A lesson by number or slug: ``open_lesson("03")``. Raises LessonError when there is none, or none yet."""
    from wmcourse.lessons import lesson  # here, so that `import wmcourse.lessons` stays quick

    return lesson.open_lesson(name)


def __getattr__(name: str) -> Any:
    if name in ("CheckFailed", "NotAttempted", "WrongAnswer", "AnswerCrashed", "LessonError"):
        from wmcourse.lessons import errors

        return getattr(errors, name)
    raise AttributeError(name)
