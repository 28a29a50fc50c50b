"""Lesson 06: its exercises, its derivation, its questions and its widgets."""

from __future__ import annotations

from wmcourse.lessons.lesson import Lesson


def make_lesson() -> Lesson:
    """Called once, by ``open_lesson``."""
    from wmcourse.lessons.lstm_gru import derivation, exercises, questions

    return Lesson("lstm_gru", exercises.EXERCISES, derivation.STEPS, questions.QUESTIONS, derivation.FORMULAS)
