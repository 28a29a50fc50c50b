"""Lesson 07: its exercises, its derivation, its questions and its widgets."""

from __future__ import annotations

from wmcourse.lessons.lesson import Lesson


def make_lesson() -> Lesson:
    """Called once, by ``open_lesson``."""
    from wmcourse.lessons.mixture_density_networks import derivation, exercises, questions

    return Lesson(
        "mixture_density_networks", exercises.EXERCISES, derivation.STEPS, questions.QUESTIONS, derivation.FORMULAS
    )
