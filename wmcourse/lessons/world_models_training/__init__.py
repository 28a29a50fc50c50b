"""Lesson 11: its exercises, its derivation, its questions and its widgets."""

from __future__ import annotations

from wmcourse.lessons.lesson import Lesson


def make_lesson() -> Lesson:
    """Called once, by ``open_lesson``."""
    from wmcourse.lessons.world_models_training import derivation, exercises, questions

    return Lesson(
        "world_models_training", exercises.EXERCISES, derivation.STEPS, questions.QUESTIONS, derivation.FORMULAS
    )
