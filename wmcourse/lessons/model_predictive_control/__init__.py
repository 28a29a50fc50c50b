"""Lesson 09: its exercises, its derivation, its questions and its widgets."""

from __future__ import annotations

from wmcourse.lessons.lesson import Lesson


def make_lesson() -> Lesson:
    """Called once, by ``open_lesson``."""
    from wmcourse.lessons.model_predictive_control import derivation, exercises, questions

    return Lesson(
        "model_predictive_control", exercises.EXERCISES, derivation.STEPS, questions.QUESTIONS, derivation.FORMULAS
    )
