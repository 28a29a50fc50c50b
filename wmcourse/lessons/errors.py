"""What a learner is told when something is not right: a few plain lines, never a long traceback."""

from __future__ import annotations


class Friendly(Exception):
    """An error whose message is all that a notebook shows of it."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()  # IPython asks the exception itself


class LessonError(Friendly, ValueError):
    """A lesson, exercise or hint that does not exist, or a folder that cannot be used. Says what to do."""


class CheckFailed(Friendly, AssertionError):
    """A check that did not pass; the three below say why. It is raised, so a notebook with it fails under nbval."""


class NotAttempted(CheckFailed):
    """The stub is still there."""


class WrongAnswer(CheckFailed):
    """The answer ran and is not right. ``mistake`` is the name of the known mistake it matches, or None."""

    def __init__(self, message: str, mistake: str | None = None) -> None:
        super().__init__(message)
        self.mistake = mistake


class AnswerCrashed(CheckFailed):
    """The learner's code stopped with an error, or never stopped. The message shows the line."""


class Note(str):
    """Words for a notebook: shown as Markdown there, and the same words anywhere else."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_markdown_(self) -> str:
        return str(self)
