"""Lesson 08: its exercises, its derivation, its questions and its widgets."""

from __future__ import annotations

from wmcourse.lessons.lesson import Lesson


def make_lesson() -> Lesson:
    """Called once, by ``open_lesson``."""
    from wmcourse.lessons.mdn_rnn import derivation, exercises, questions

    return Lesson("mdn_rnn", exercises.EXERCISES, derivation.STEPS, questions.QUESTIONS, derivation.FORMULAS)
