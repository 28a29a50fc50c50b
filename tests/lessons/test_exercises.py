"""Every exercise of every lesson: right answers pass, wrong ones fail by name, and so do mutants nobody thought of."""

import importlib
import math
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wmcourse.classroom.build import read_lesson
from wmcourse.classroom.mutants import mutants
from wmcourse.lessons.derivation import Step, equal
from wmcourse.lessons.errors import CheckFailed, NotAttempted, WrongAnswer
from wmcourse.lessons.exercise import Exercise
from wmcourse.lessons.lesson import open_lesson, written
from wmcourse.lessons.syllabus import SYLLABUS

SOLUTIONS = Path(__file__).resolve().parents[2] / "solutions"
LESSONS = [open_lesson(entry.number) for entry in SYLLABUS if written(entry)]
EXERCISES = [e for lesson in LESSONS for e in lesson.exercises.values()]
STEPS = [s for lesson in LESSONS for s in lesson.steps.values()]
SEEDS = range(int(os.environ.get("WMCOURSE_SEEDS", "2")))  # inputs to judge each answer on; more, before a release


def named(task: Exercise | Step) -> str:
    return f"{task.lesson.entry.number}-{task.name}" if task.lesson else task.name


@cache
def cells(stem: str) -> dict[str, str]:
    return {cell.id: cell.source for cell in read_lesson(SOLUTIONS / f"{stem}.py").cells}


def cell(exercise: Exercise) -> str:
    """The source of an exercise's cell in the lesson's text."""
    assert exercise.lesson is not None
    return cells(exercise.lesson.entry.stem)[f"exercise-{exercise.name}"]


def namespace() -> dict[str, Any]:
    return {"torch": torch, "np": np, "math": math, "F": F}


@pytest.mark.parametrize("exercise", EXERCISES, ids=named)
def test_right_answers_pass(exercise: Exercise) -> None:
    assert len(exercise.alternatives) >= 2
    space = namespace()
    exec(compile(cell(exercise), exercise.name, "exec"), space)  # the solution as the learner would see it
    for answer in (exercise.reference, space[exercise.name], *exercise.alternatives):
        for seed in SEEDS:
            exercise.judge(answer, seed)
        exercise.judge(answer)  # fresh inputs


@pytest.mark.parametrize("exercise", EXERCISES, ids=named)
def test_each_mistake_fails_with_its_own_message(exercise: Exercise) -> None:
    assert len(exercise.mistakes) >= 5
    said = set()
    for name, (answer, mention) in exercise.mistakes.items():
        for seed in SEEDS:
            with pytest.raises(WrongAnswer) as failure:
                exercise.judge(answer, seed)
            assert failure.value.mistake == name, f"{name} was taken for {failure.value.mistake}"
            assert mention in str(failure.value)
        said.add(str(failure.value).split("\n\n")[1])
    assert len(said) == len(exercise.mistakes)  # each has a reason of its own


@pytest.mark.parametrize("exercise", EXERCISES, ids=named)
def test_the_untouched_stub_is_not_attempted(exercise: Exercise) -> None:
    stub = "\n".join(
        line.replace("### BEGIN SOLUTION", "raise NotImplementedError")
        for line in cell(exercise).splitlines()
        if "END SOLUTION" not in line
    )
    space = namespace()
    exec(compile(stub, "stub", "exec"), space)
    for answer in (space[exercise.name], None, ...):
        with pytest.raises(NotAttempted, match="not attempted yet"):
            exercise.judge(answer)


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch on what a mutant does
@pytest.mark.parametrize("exercise", EXERCISES, ids=named)
def test_all_mutants_die(exercise: Exercise, record_property: Any) -> None:
    """Each is the solution with one thing changed. Those that live must be explained in ``exercise.equivalent``."""
    alive, dead = [], 0
    for mutant in mutants(cell(exercise), exercise.name, namespace()):
        try:
            exercise.judge(mutant.function, seed=1)
            alive.append(mutant.name)
        except CheckFailed:
            dead += 1
    unexplained = set(alive) - set(exercise.equivalent)
    print(f"{exercise.name}: {dead} of {dead + len(alive)} mutants killed; explained: {sorted(exercise.equivalent)}")
    record_property("mutants", f"{dead}/{dead + len(alive)}")
    assert dead >= 10
    assert not unexplained
    assert set(exercise.equivalent) <= set(alive), "explained, but not alive"


@pytest.mark.parametrize("exercise", EXERCISES, ids=named)
def test_lazy_answers_fail(exercise: Exercise) -> None:
    """Right in shape, type and "not None", and nothing else."""
    right = exercise.reference

    def shaped(make: Any) -> Any:
        def each(out: Any) -> Any:
            return tuple(each(o) for o in out) if isinstance(out, tuple) else make(out)

        return lambda *inputs: each(right(*inputs))

    def inputs_first(*inputs: Any) -> Any:
        return inputs[0]

    class Liar:
        def __eq__(self, other: object) -> bool:
            return True

        def __array__(self, *args: Any, **options: Any) -> np.ndarray:
            return np.zeros(1)

    class LyingTensor(torch.Tensor):
        @classmethod
        def __torch_function__(cls, *args: Any, **options: Any) -> Any:
            return True

    def noise(o: torch.Tensor) -> torch.Tensor:
        return torch.rand_like(o.double()).to(o.dtype)  # whole numbers, too

    make = [torch.zeros_like, torch.ones_like, noise, lambda o: o.abs() + 1e-3, lambda o: o * float("nan")]
    for answer in (
        *map(shaped, make),
        inputs_first,
        lambda *inputs: Liar(),
        lambda *inputs: torch.zeros(()).as_subclass(LyingTensor),
        lambda *inputs: 0,
        lambda *inputs: None,
        lambda *inputs: "right",
        lambda *inputs: right,
        shaped(lambda o: o.tolist()),
    ):
        with pytest.raises(WrongAnswer):
            exercise.judge(answer, seed=2)


@pytest.mark.parametrize("exercise", EXERCISES, ids=named)
def test_hints_and_solution(exercise: Exercise) -> None:
    assert 2 <= len(exercise.hints) <= 3
    assert all(exercise.hints[i] in exercise.hint(i + 1) for i in range(len(exercise.hints)))
    space = namespace()
    exec(exercise.solution().removeprefix("```python").removesuffix("```"), space)  # it runs where a learner puts it
    exercise.judge(space[exercise.name])
    if exercise.part:
        assert exercise.lesson is not None
        core = importlib.import_module(f"wmcourse.{exercise.lesson.entry.slug}")
        assert exercise.reference is getattr(core, exercise.name)


@pytest.mark.parametrize("step", STEPS, ids=named)
def test_steps(step: Step) -> None:
    assert len(step.known) >= 5
    assert len(step.alternatives) >= 2
    assert equal(step.expected, step.expected)
    for answer in (step.expected, *step.alternatives):
        step.judge(answer)
    for name, (answer, mention) in step.mistakes.items():
        with pytest.raises(WrongAnswer) as failure:
            step.judge(answer)
        assert failure.value.mistake == name
        assert mention in str(failure.value)
    for answer in (None, ...):
        with pytest.raises(NotAttempted):
            step.judge(answer)
    assert 2 <= len(step.hints) <= 3


@pytest.mark.parametrize("step", STEPS, ids=named)
def test_mutated_terms_of_a_step_fail(step: Step) -> None:
    """Each term with another sign, twice, and left out."""
    terms = list(step.expected.expand().as_ordered_terms())
    for i, term in enumerate(terms):
        rest = sum(terms[:i] + terms[i + 1 :])
        for mutant in (rest - term, rest + 2 * term, rest):
            with pytest.raises(WrongAnswer, match=r"term|missing"):
                step.judge(mutant)
