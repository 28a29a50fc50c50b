"""Lesson 10: its exercises, its derivation, its questions and its widgets."""

from __future__ import annotations

from wmcourse.lessons.lesson import Lesson


def make_lesson() -> Lesson:
    """Called once, by ``open_lesson``."""
    from wmcourse.lessons.cross_entropy_method import derivation, exercises, questions

    return Lesson(
        "cross_entropy_method", exercises.EXERCISES, derivation.STEPS, questions.QUESTIONS, derivation.FORMULAS
    )
