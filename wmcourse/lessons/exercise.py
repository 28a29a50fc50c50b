"""Exercises that know the mistakes people make in them.

    exercise.check(answer)     says what was checked, or raises NotAttempted, WrongAnswer or AnswerCrashed
    exercise.hint(), exercise.hint(2), exercise.solution()
    exercise.mistakes          name -> (a wrong answer, what the message must mention)
    exercise.alternatives      right answers that are written differently

A wrong answer is recognised by what it does: where it differs from the right one, it is compared with each known
mistake on all the same inputs. Inputs are drawn anew for each check, so nothing can be hard-coded.
"""

from __future__ import annotations

import functools
import inspect
import re
import textwrap
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wmcourse.lessons import judge
from wmcourse.lessons.errors import AnswerCrashed, LessonError, NotAttempted, Note, WrongAnswer
from wmcourse.lessons.judge import Answer, Case, Outcome

if TYPE_CHECKING:
    from wmcourse.lessons.lesson import Lesson

LEVELS = {1: "●○○", 2: "●●○", 3: "●●●"}
Draw = Callable[[np.random.Generator], Iterable[Case]]
Ask = Callable[..., Outcome]  # ask(case): what the answer returns; ask(case, around): what around(answer, *inputs) does


class Mistake(NamedTuple):
    """A wrong answer that has a name. ``why`` says what is wrong and why it is tempting, to the learner."""

    name: str
    answer: Any
    why: str
    mention: str = ""  # what the message must mention; default: the name


@dataclass(eq=False)
class Task:
    """What exercises and derivation steps share: a name, hints, a solution, known mistakes."""

    name: str
    title: str
    minutes: int
    difficulty: int  # 1 to 3
    hints: tuple[str, ...]
    known: tuple[Mistake, ...]
    alternatives: tuple[Any, ...]
    points: int = field(default=0, kw_only=True)  # default: one per five minutes
    lesson: Lesson | None = field(default=None, kw_only=True, repr=False)  # set by the lesson

    def __post_init__(self) -> None:
        self.points = self.points or max(1, round(self.minutes / 5))

    @property
    def mistakes(self) -> dict[str, tuple[Any, str]]:
        """name -> (a wrong answer, what the message must mention)."""
        return {m.name: (m.answer, m.mention or m.name) for m in self.known}

    @property
    def about(self) -> str:
        """One line for the head of the exercise."""
        return f"{LEVELS[self.difficulty]} · {self.minutes} minutes · `{self.call}.hint()`"

    @property
    def call(self) -> str:
        """How a learner's cell says it."""
        return f"ex.{self.name}"

    def hint(self, number: int = 1) -> Note:
        """The hints go from a nudge (1) to almost the answer. Raises LessonError for a number that there is not."""
        if not isinstance(number, int) or not 1 <= number <= len(self.hints):
            raise LessonError(f"{self.name} has hints 1 to {len(self.hints)}, not {number!r}.")
        more = f"\n\nMore: `{self.call}.hint({number + 1})`" if number < len(self.hints) else ""
        more = more or f"\n\nThe last resort: `{self.call}.solution()`"
        return Note(f"**Hint {number} of {len(self.hints)}.** {self.hints[number - 1]}{more}")

    def __repr__(self) -> str:
        return f"{self.title}: {self.call}.check(…), .hint(), .solution()"

    def untouched(self, answer: Any) -> bool:
        """Whether this is what a stub leaves: nothing, or three dots."""
        return answer is None or answer is ...

    def fail_as_mistake(self, mistake: Mistake, evidence: str) -> WrongAnswer:
        return WrongAnswer(
            f"✗ {self.name}: this is a mistake that has a name: {mistake.name}.\n\n{fill(mistake.why)}\n\n{evidence}",
            mistake.name,
        )

    def done(self, answer: Any, words: str) -> Note:
        """Tell the lesson that this is passed; its remark about keeping it, if any, is added."""
        remark = self.lesson.passed(self, answer) if self.lesson else ""
        return Note(f"✓ **{self.name}.** {words}" + (f"\n\n{remark}" if remark else ""))


@dataclass(eq=False, repr=False)
class Exercise(Task):
    """``cases`` draws fresh inputs; ``reference`` is the right answer; ``expects`` says in kind what must come out."""

    reference: Answer = field(kw_only=True)
    cases: Draw = field(kw_only=True)
    expects: str = field(kw_only=True)
    checked: str = field(kw_only=True)  # for the learner who passes: what was looked at
    part: bool = field(default=False, kw_only=True)  # of the final world model
    shown: Answer | None = field(default=None, kw_only=True)  # by solution(), where the reference calls helpers
    # Mutants of the reference that are right answers: name of the mutant -> why it is one.
    equivalent: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    tolerance: float = field(default=1.0, kw_only=True)  # times the usual one: 1e-4 in float32, 1e-6 in float64
    numpy: bool = field(default=False, kw_only=True)  # the answer takes arrays, not tensors
    # For answers that draw noise of their own: in place of comparing numbers, ``properties(ask, rng)`` complains about
    # what must hold in whatever order it is drawn, or returns "". A complaint may begin with a known mistake's name.
    properties: Callable[[Ask, np.random.Generator], str] | None = field(default=None, kw_only=True)

    def solution(self) -> Note:
        """A right answer, as text that runs in the learner's cell."""
        shown = self.shown or self.reference
        source = textwrap.dedent(inspect.getsource(shown)).replace(f"def {shown.__name__}(", f"def {self.name}(", 1)
        source = re.sub(r"(?<![.\w])Tensor\b", "torch.Tensor", source)  # as notebooks import it
        if "Callable[" in source:
            source = f"from collections.abc import Callable\n\n\n{source}"
        return Note(f"```python\n{source}```")

    def check(self, answer: Answer, seed: int | None = None) -> Note:
        """Judge an answer on fresh inputs (those of ``seed``, when it is given).

        Returns what was checked. Raises NotAttempted, WrongAnswer or AnswerCrashed, whose messages say more.
        """
        try:
            self.judge(answer, seed)
        except (NotAttempted, WrongAnswer, AnswerCrashed) as failure:
            raise failure.with_traceback(None) from None
        return self.done(answer, self.checked)

    def judge(self, answer: Answer, seed: int | None = None) -> None:
        """The same without a word to the lesson."""
        if self.untouched(answer):
            raise NotAttempted(f"○ {self.name}: not attempted yet. Stuck? {self.call}.hint()")
        if not callable(answer):
            raise WrongAnswer(f"✗ {self.name}: the check takes your function itself, not {type(answer).__name__}.")
        cases = list(self.cases(np.random.default_rng(seed)))
        self.takes(answer, list(cases[0].inputs))
        wanted = [judge.ask(self.reference, case, numpy=self.numpy) for case in cases]
        outcomes: list[Outcome] = []
        deadline = time.monotonic() + judge.SECONDS
        for case in cases:
            outcome = judge.ask(answer, case, deadline - time.monotonic(), self.numpy)
            if outcome.error is not None:
                self.stopped(case, outcome)
            outcomes.append(outcome)
        for case, got, right in zip(cases, outcomes, wanted, strict=True):
            complaint = self.compare(level(got, right) if self.properties else got, right)
            if complaint:
                evidence = self.evidence(case, got, right, complaint)
                for mistake in self.known:
                    if self.matches(mistake.answer, cases, outcomes, wanted):
                        raise self.fail_as_mistake(mistake, evidence)
                raise WrongAnswer(f"✗ {self.name}: not yet.\n\n{evidence}")
        self.hold(answer, seed, cases, outcomes, wanted)

    def hold(
        self, answer: Answer, seed: int | None, cases: list[Case], got: list[Outcome], right: list[Outcome]
    ) -> None:
        """Raise WrongAnswer where ``properties`` complain."""
        deadline = time.monotonic() + judge.SECONDS

        def ask(case: Case, around: Answer | None = None) -> Outcome:
            call = functools.partial(around, answer) if around else answer
            outcome = judge.ask(call, case, deadline - time.monotonic(), self.numpy)
            if outcome.error is not None:
                self.stopped(case, outcome)
            if outcome.complaint:
                raise WrongAnswer(f"✗ {self.name}: {outcome.complaint}")
            return outcome

        complaint = self.properties(ask, np.random.default_rng(seed)) if self.properties else ""
        if complaint:
            evidence = f"  what      {complaint}\n  expected  {self.expects}\n\nStuck? {self.call}.hint()"
            for mistake in self.known:
                if complaint.startswith(mistake.name) or self.matches(mistake.answer, cases, got, right):
                    raise self.fail_as_mistake(mistake, evidence)
            raise WrongAnswer(f"✗ {self.name}: not yet.\n\n{evidence}")

    def takes(self, answer: Answer, names: list[str]) -> None:
        """Raise WrongAnswer for a function that cannot be called with these inputs, in words of its own."""
        try:
            signature = inspect.signature(answer)
        except (TypeError, ValueError):  # one of those in C that do not tell
            return
        try:
            signature.bind(*names)
        except TypeError as error:
            raise WrongAnswer(
                f"✗ {self.name}: it is called with ({', '.join(names)}), in this order. Yours takes others: {error}."
            ) from None

    def stopped(self, case: Case, outcome: Outcome) -> None:
        """Raise what fits an answer that did not come back."""
        error = outcome.error
        assert error is not None
        if judge.unfinished(error):
            raise NotAttempted(
                f"○ {self.name}: not attempted yet: `raise NotImplementedError` is still in it. "
                f"Stuck? {self.call}.hint()"
            )
        printed = f"\n\n  printed   {outcome.printed.strip()}" if outcome.printed.strip() else ""
        if isinstance(error, judge.OutOfTime):
            what = f"it did not come back within {judge.SECONDS:g} seconds. Is there a loop that never ends?"
        else:
            what = f"your code stopped with {judge.short(''.join(traceback.format_exception_only(error)))}"
            if outcome.refused:
                what = f"{outcome.refused}\n\n  torch     {judge.short(str(error), 120)}"
        where = outcome.line or judge.where(error)
        raise AnswerCrashed(
            f"! {self.name}: {what}\n\n  where     {where}\n  inputs    {describe(case)}{printed}"
            f"\n\nStuck? {self.call}.hint()"
        )

    def compare(self, got: Outcome, right: Outcome) -> str:
        """What is wrong with an outcome, in words; "" when nothing is."""
        if got.complaint:
            return got.complaint
        if got.mutated:
            return f"it changes its input `{got.mutated[0]}` in place. Work on a new tensor."
        if len(got.values) != len(right.values):
            return f"it returns {count(got)}, where {count(right)} should come."
        for i, (a, b) in enumerate(zip(got.values, right.values, strict=True)):
            which = f"output {i + 1}: " if len(right.values) > 1 else ""
            if right.kinds[i] == "tensor" and got.kinds[i] != "tensor":
                return which + no_tensor(got, right, i)
            if a.shape != b.shape:
                return f"{which}it returns the shape {a.shape}, where {b.shape} should come."
            if a.dtype != b.dtype and right.kinds[i] != "number":
                return f"{which}it returns {a.dtype} for these inputs, where {b.dtype} should come."
            complaint = self.differ(a, b)
            if complaint:
                return which + complaint
        for name, b_gradient in right.gradients.items():
            a_gradient = got.gradients.get(name)
            if b_gradient is None or not np.any(b_gradient):
                if a_gradient is not None and self.differ(a_gradient, np.zeros_like(a_gradient)):
                    what = "is not zero, and should be" if np.isfinite(a_gradient).all() else "is NaN or infinite"
                    return f"the values are right, but the gradient by `{name}` {what}."
            elif a_gradient is None:
                return f"the values are right, but no gradient reaches `{name}`: something cuts it off."
            elif complaint := self.differ(a_gradient, b_gradient):
                return f"the values are right, but the gradient by `{name}` is not: {complaint}"
        return ""

    def differ(self, a: NDArray[Any], b: NDArray[Any]) -> str:
        """How two arrays of one shape differ; "" when they do not, by more than rounding."""
        if a.dtype.kind != "f" and b.dtype.kind != "f":
            return "" if np.array_equal(a, b) else "the values differ."
        a64, b64 = a.astype(np.float64), b.astype(np.float64)
        if not np.isfinite(a64[np.isfinite(b64)]).all():
            return "NaN or infinity comes out, where the right value is finite."
        close = (1e-4, 1e-5) if b.dtype == np.float32 else (1e-6, 1e-8)  # a float32 number on the way is no mistake
        close = (close[0] * self.tolerance, close[1] * self.tolerance)
        if np.allclose(a64, b64, *close, equal_nan=True):
            return ""
        return "the values differ." + relation(a64.ravel(), b64.ravel())

    def matches(self, mistake: Answer, cases: list[Case], got: list[Outcome], right: list[Outcome]) -> bool:
        """Whether an answer does what a known mistake does: the same on all cases, and not what is right."""
        told_apart = False
        for case, mine, wanted in zip(cases, got, right, strict=True):
            theirs = judge.ask(mistake, case, numpy=self.numpy)
            if theirs.error is not None or not agree(theirs, mine, self):
                return False
            told_apart = told_apart or bool(self.compare(theirs, wanted))
        return told_apart

    def evidence(self, case: Case, got: Outcome, right: Outcome, complaint: str) -> str:
        lines = [f"  what      {complaint}", f"  inputs    {describe(case)}"]
        if got.values:
            lines.append("  yours     " + "; ".join(show(v) for v in got.values))
        lines.append(f"  expected  {self.expects}")
        if got.printed.strip():
            lines.append(f"  printed   {got.printed.strip()}")
        return "\n".join(lines) + f"\n\nStuck? {self.call}.hint()"


def no_tensor(got: Outcome, right: Outcome, i: int) -> str:
    """What came in place of a tensor, and what to return."""
    if got.kinds[i] == "array":
        came, leaves = f"a NumPy array of {got.values[i].dtype}", "`.numpy()` and `np.` leave torch"
    else:
        came, leaves = f"a plain {got.types[i]}, {show(got.values[i])}", "`.item()`, `float()` and `math.` leave torch"
    cut = ", and a gradient ends there" if right.gradients else ""
    return f"it returns {came}, not a tensor: {leaves}{cut}. Return a tensor of shape {right.values[i].shape}."


def level(got: Outcome, right: Outcome) -> Outcome:
    """``got`` with the right one's numbers wherever shape and type agree and all are finite: only the form is left."""

    def one(a: Any, b: Any) -> Any:
        there = a is not None and b is not None
        return b if there and (a.shape, a.dtype) == (b.shape, b.dtype) and np.isfinite(a).all() else a

    values = [one(a, b) for a, b in zip(got.values, right.values, strict=False)] + got.values[len(right.values) :]
    gradients = {name: one(value, right.gradients.get(name)) for name, value in got.gradients.items()}
    return replace(got, values=values, gradients=gradients)


def agree(a: Outcome, b: Outcome, exercise: Exercise) -> bool:
    """Whether two outcomes are the same, mistakes included."""
    if a.complaint != b.complaint or a.mutated != b.mutated or len(a.values) != len(b.values):
        return False
    for x, y in zip(a.values, b.values, strict=True):
        if x.shape != y.shape or not np.array_equal(np.isfinite(x), np.isfinite(y)) or exercise.differ(x, y):
            return False
    for name in a.gradients.keys() | b.gradients.keys():
        one, other = a.gradients.get(name), b.gradients.get(name)
        zero = np.zeros(1)
        if (one is None) != (other is None) and (np.any(zero if one is None else one) or np.any(other)):
            return False
        if one is not None and other is not None and exercise.differ(one, other):
            return False
    return True


def relation(a: NDArray[np.float64], b: NDArray[np.float64]) -> str:
    """A simple relation between wrong values and right ones, where there is one."""
    fine = np.isfinite(a) & np.isfinite(b) & (np.abs(a) < 1e100)
    a, b = a[fine], b[fine]
    if len(a) < 2:
        return ""
    big = np.abs(b) > 1e-6
    if big.sum() > 1:
        ratio = a[big] / b[big]
        if np.ptp(ratio) < 1e-3 * abs(ratio.mean()) and abs(ratio.mean()) > 1e-6 and abs(ratio.mean() - 1) > 1e-3:
            return f" Yours are {ratio.mean():.4g} times what they should be, everywhere."
    apart = float(np.abs(a - b).mean())
    if np.ptp(a - b) < 1e-4 * max(1.0, apart) and np.ptp(a - b) < apart:
        return f" Yours are off by {np.mean(a - b):+.4g}, everywhere."
    wrong = np.mean(~np.isclose(a, b, 1e-3, 1e-5))
    if wrong:
        return f" {wrong:.0%} of them are wrong."
    most = np.abs(a - b).max(initial=0.0)
    doubt = ": rounding?" if most < 1e-5 * max(1.0, np.abs(b).max(initial=0.0)) else "."
    return f" By {most:.1g} at most{doubt}"


def describe(case: Case) -> str:
    """The inputs in one line."""
    parts = []
    for name, value in case.inputs.items():
        if isinstance(value, np.ndarray):
            parts.append(f"{name} {value.shape} {value.dtype}" + (f" = {show(value)}" if value.size <= 4 else ""))
        else:
            parts.append(f"{name} = {judge.short(repr(value), 80)}" if not callable(value) else f"{name} (a function)")
    return f"{case.about}: " + ", ".join(parts)


def show(value: NDArray[Any]) -> str:
    """A few of the numbers."""
    flat = value.ravel()
    numbers = ", ".join(f"{v:.4g}" for v in flat[:4]) + (", …" if flat.size > 4 else "")
    return f"{numbers}  {value.shape}" if value.ndim else numbers


def count(outcome: Outcome) -> str:
    return "one thing" if len(outcome.values) == 1 else f"{len(outcome.values)} things"


def fill(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 100)
