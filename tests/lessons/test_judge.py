"""The judge and the exercise against answers that are odd, hostile or broken: always one of four outcomes, in time."""

import functools
import gc
import inspect
import random
import signal
import subprocess
import sys
import threading
import time
import types
import warnings
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from torch import Tensor
from torch.nn import functional as F

from wmcourse.lessons import judge
from wmcourse.lessons.errors import AnswerCrashed, CheckFailed, LessonError, NotAttempted, WrongAnswer
from wmcourse.lessons.exercise import Exercise, Mistake, agree, describe, relation
from wmcourse.lessons.judge import Case, Outcome, ask, call, convert, limited


def dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(-1)


def dot_cases(rng: np.random.Generator) -> Iterator[Case]:
    for kind in (np.float32, np.float64):
        x, y = rng.normal(size=(2, 3, 4)).astype(kind)
        yield Case({"x": x, "y": y}, "three pairs", ("x",))


def make(reference: Any = dot, cases: Any = dot_cases, mistakes: tuple[Mistake, ...] = (), **options: Any) -> Exercise:
    name = options.pop("name", "dot")
    return Exercise(
        name, "A dot", 10, 1, ("first", "second"), mistakes, (), reference=reference, cases=cases,
        expects="one number for each pair", checked="Two fresh inputs.", **options,
    )  # fmt: skip


MISTAKES = (
    Mistake("a mean", lambda x, y: (x * y).mean(-1), "It is a sum."),
    Mistake("over the batch", lambda x, y: (x * y).sum(0), "Over the last axis.", "last axis"),
    Mistake("y cut off", lambda x, y: dot(x.detach() * 1, y), "No gradient."),
)
DOT = make(mistakes=MISTAKES)
NUMBER = make(lambda x: 2 * x, lambda rng: [Case({"x": float(rng.uniform(1, 2))}, "a number")], name="double")
PAIR = make(lambda x: (x + 1, x.sum()), lambda rng: [Case({"x": rng.normal(size=3)}, "three")], name="pair")


def said(answer: Any, exercise: Exercise = DOT, kind: type[CheckFailed] = WrongAnswer) -> str:
    """What a check says to an answer that fails."""
    with pytest.raises(kind) as failure:
        exercise.check(answer)
    assert type(failure.value) is kind
    text = str(failure.value)
    assert text[0] in "✗○!"
    assert len(text) < 2000
    return text


# --- Right answers, however they are written


class Callable_:
    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return dot(x, y)

    method = __call__

    @staticmethod
    def static(x: Tensor, y: Tensor) -> Tensor:
        return dot(x, y)


class Module(torch.nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return dot(x, y)


@pytest.mark.parametrize(
    "answer",
    [
        dot,
        lambda x, y: (x * y).sum(-1),
        functools.partial(torch.einsum, "bd,bd->b"),
        functools.partial(lambda a, x, y: a * dot(x, y), 1.0),
        Callable_(),
        Callable_().method,
        Callable_.static,
        Module(),
        torch.linalg.vecdot,  # in C: tells no signature
        lambda *inputs: dot(*inputs),
        lambda x, y, more=3: dot(x, y),
        lambda x, y: torch.nn.Parameter(dot(x, y)) if not x.requires_grad else dot(x, y),
        lambda x, y: torch.stack([a @ b for a, b in zip(x, y, strict=True)]),
    ],
)
def test_right_answers_of_every_kind_pass(answer: Any) -> None:
    assert DOT.check(answer) == "✓ **dot.** Two fresh inputs."


def test_a_number_may_be_of_any_kind() -> None:
    for answer in (lambda x: x + x, lambda x: np.float64(2 * x), lambda x: torch.tensor(2 * x)):
        NUMBER.check(answer)
    counting = make(lambda x: 3, lambda rng: [Case({"x": 1}, "one")])
    for answer in (lambda x: 3, lambda x: 3.0, lambda x: np.int64(3), lambda x: np.array(3)):
        counting.check(answer)
    assert "the values differ" in said(lambda x: 4, counting)


def test_several_things_may_come_as_any_tuple_or_list() -> None:
    Named = namedtuple("Named", ["a", "b"])
    for answer in (
        lambda x: (x + 1, x.sum()),
        lambda x: [x + 1, x.sum()],
        lambda x: Named(x + 1, x.sum()),
    ):
        PAIR.check(answer)
    make(lambda x: tuple(x.max(0)), lambda rng: [Case({"x": rng.normal(size=(3, 2))}, "c")]).check(lambda x: x.max(0))
    assert "output 2: " in said(lambda x: (x + 1, x.sum() + 1), PAIR)
    assert "returns one thing, where 2 things should come" in said(lambda x: x, PAIR)
    assert "returns 0 things" in said(lambda x: (), PAIR)


# --- What is returned


class Lying:
    """Equal to everything, and readable as anything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise AssertionError("the judge must not ask")

    __float__ = __array__


class LyingTensor(torch.Tensor):
    @classmethod
    def __torch_function__(cls, *args: Any, **options: Any) -> Any:
        raise AssertionError("the judge must not ask")


class LyingList(list):
    def __iter__(self) -> Any:
        raise AssertionError("the judge must not ask")


class LyingFloat(float):
    pass


async def later(x: Tensor, y: Tensor) -> Tensor:
    return dot(x, y)


def one_by_one(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    yield dot(x, y)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x, y: None, "it returns None. Is there a `return`"),
        (lambda x, y: "right", "it returns str, which is neither a tensor, an array nor a number"),
        (lambda x, y: {"x": dot(x, y)}, "it returns dict"),
        (lambda x, y: {1.0, 2.0}, "it returns set"),
        (lambda x, y: dot, "it returns function"),
        (lambda x, y: 3 + 4j, "it returns complex"),
        (lambda x, y: ((dot(x, y),), 1), "tuple, which is neither a tensor, an array nor a number. Make one"),
        (lambda x, y: (1, dot(x, y).tolist()), "list, which is neither a tensor, an array nor a number. Make"),
        (lambda x, y: (1, x.max(1)), "max, which is neither a tensor, an array nor a number. It holds two"),
        (lambda x, y: (dot(x, y),), "a tuple with one thing in it. Is there a comma too many?"),
        (lambda x, y: [dot(x, y)], "a list with one thing in it"),
        (lambda x, y: dot(x, y).tolist(), "it returns 3 things, where one thing should come"),
        (lambda x, y: [0.0] * 10**6, "it returns 1000000 things. Make one tensor of them"),
        (lambda x, y: LyingList([1.0, 2.0]), "it returns 2 things"),
        (later, "it returns coroutine, which is neither a tensor, an array nor a number. Write `def`, not `async def`"),
        (one_by_one, "it returns generator, which is neither a tensor, an array nor a number. Write `return`"),
        (lambda x, y: Lying(), "it returns Lying"),
        (lambda x, y: dot(x, y).as_subclass(LyingTensor), "it returns LyingTensor"),
        (lambda x, y: LyingFloat(3), "it returns LyingFloat"),
        (lambda x, y: np.ma.array([1.0, 2.0]), "it returns MaskedArray"),
        (lambda x, y: np.array([None]), "it returns object, where plain numbers should come"),
        (lambda x, y: np.array(["a"]), "where plain numbers should come"),
        (lambda x, y: np.str_("a"), "where plain numbers should come"),
        (lambda x, y: 10**400, "it returns object, where plain numbers should come"),
        (lambda x, y: dot(x, y) + 0j, "it returns complex64, where plain numbers should come"),
        (lambda x, y: (dot(x, y) + 0j).conj(), "a tensor that is no plain array of numbers: torch.complex64"),
        (lambda x, y: dot(x, y).bfloat16(), "a tensor that is no plain array of numbers: torch.bfloat16"),
        (lambda x, y: dot(x, y).to_sparse(), "a tensor that is no plain array of numbers: torch.float32, torch.sparse"),
        (lambda x, y: dot(x, y).to("meta"), "a tensor that is no plain array of numbers"),
        (lambda x, y: torch.zeros(1).expand(10**12), "it returns 1000000000000 numbers, far too many"),
        (lambda x, y: np.broadcast_to(0.0, (10**12,)), "far too many"),
        (lambda x, y: 0, "it returns a plain int, 0, not a tensor: `.item()`, `float()` and"),
        (lambda x, y: 2.5, "returns a plain float, 2.5, not a tensor"),
        (lambda x, y: np.float32(2.5), "it returns a plain float32, 2.5, not a tensor"),
        (
            lambda x, y: dot(x, y).mean().item(),
            "leave torch, and a gradient ends there. Return a tensor of shape (3,).",
        ),
        (lambda x, y: dot(x, y).detach().numpy(), "it returns a NumPy array of float32, not a tensor"),
        (lambda x, y: dot(x, y).double(), "it returns float64 for these inputs, where float32 should come"),
        (lambda x, y: dot(x, y).long(), "it returns int64 for these inputs"),
        (lambda x, y: dot(x, y) > 0, "it returns bool for these inputs"),
        (lambda x, y: x, "it returns the shape (3, 4), where (3,) should come"),
        (lambda x, y: x[:, 0], "the values differ"),
        (lambda x, y: dot(x, y).mean(), "it returns the shape (), where (3,)"),
        (lambda x, y: dot(x, y)[:0], "it returns the shape (0,)"),
        (lambda x, y: dot(x, y) * np.nan, "NaN or infinity comes out, where the right value is finite"),
        (lambda x, y: dot(x, y) / 0, "NaN or infinity"),
        (lambda x, y: 3 * dot(x, y), "Yours are 3 times what they should be, everywhere"),
        (lambda x, y: dot(x, y) - 2, "Yours are off by -2, everywhere"),
        (lambda x, y: dot(x, y) * torch.tensor([1, 1, 2]), "33% of them are wrong"),
        (lambda x, y: dot(x, y).double().mul(1e200).float().nan_to_num(), "the values differ"),
        (lambda x, y: dot(x.detach(), y), "no gradient reaches `x`: something cuts it off"),
        (lambda x, y: dot(x, y) + 0 * x.detach().sum() + dot(x, y) * 0, ""),
        (lambda x, y: dot(2 * x - x.detach(), y), "the gradient by `x` is not: the values differ. Yours are 2 times"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_what_is_returned_is_told_in_words(answer: Any, words: str) -> None:
    if not words:
        DOT.check(answer)
        return
    text = said(answer)
    assert words in text
    assert "\n  inputs    three pairs: x (3, 4) float" in text
    assert "\n  expected  one number for each pair" in text
    assert text.endswith("Stuck? ex.dot.hint()")


def test_what_is_not_awaited_is_closed() -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        said(later)
        gc.collect()
    assert not warned


def test_a_gradient_that_should_be_zero() -> None:
    blocked = make(lambda x, y: dot(x.detach(), y))
    assert "the gradient by `x` is not zero, and should be" in said(dot, blocked)
    blocked.check(lambda x, y: dot(x.detach(), y) + 0 * x.sum(-1))
    nothing = make(lambda x, y: dot(x, y) > 0)
    nothing.check(lambda x, y: dot(x, y) > 0)


def test_numbers_and_arrays() -> None:
    assert "the values differ." in said(lambda x: torch.tensor(2.001 * x), NUMBER)
    assert "complex128, where plain numbers" in said(lambda x: np.complex128(2 * x + 1j), NUMBER)
    assert "complex64, where plain numbers" in said(lambda x: torch.tensor(2 * x + 1j), NUMBER)
    assert "the values differ" in said(lambda x: True, NUMBER)
    plain = make(lambda x: np.arange(3) * x, lambda rng: [Case({"x": rng.normal(size=3)}, "an array")], numpy=True)
    plain.check(lambda x: x * np.arange(3))
    assert "neither" not in said(lambda x: x * 0.0, plain)
    seen: list[type] = []
    plain.check(lambda x: seen.append(type(x)) or x * np.arange(3))
    assert seen == [np.ndarray]
    whole = make(lambda x: np.arange(3), lambda rng: [Case({"x": 1}, "whole")], numpy=True)
    assert "the values differ." in said(lambda x: np.arange(3) + 1, whole)


@settings(max_examples=30)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=3, max_size=3))
def test_any_numbers_are_compared_without_a_warning(numbers: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said(lambda x, y: 0 * dot(x, y) + torch.tensor(numbers).to(x.dtype))
        relation(np.array(numbers), np.array([1.0, -2.0, 3.0]))


# --- What is called


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: x, "too many positional arguments"),
        (lambda: 1, "too many positional arguments"),
        (lambda x, y, z: x, "missing a required argument: 'z'"),
        (lambda x, y, *, z: x, "missing a required argument: 'z'"),
        (Callable_, "too many positional arguments"),
        (int.__add__, ""),
    ],
)
def test_a_function_of_other_inputs_is_told_of_it(answer: Any, words: str) -> None:
    text = said(answer, kind=WrongAnswer if words else AnswerCrashed)
    if words:
        assert text == f"✗ dot: it is called with (x, y), in this order. Yours takes others: {words}."


@pytest.mark.parametrize("answer", [torch.zeros(3), 3.0, "dot", [dot], {}, True])
def test_what_is_no_function_is_told_so(answer: Any) -> None:
    assert f"the check takes your function itself, not {type(answer).__name__}." in said(answer)


def stub(x: Tensor, y: Tensor) -> Tensor:
    raise NotImplementedError  # your turn


def half_done(x: Tensor, y: Tensor) -> Tensor:
    if x.dtype == torch.float64:
        raise NotImplementedError
    return dot(x, y)


def by_a_stub(x: Tensor, y: Tensor) -> Tensor:
    return stub(x, y)


@pytest.mark.parametrize("answer", [None, ..., stub, half_done, by_a_stub])
def test_stubs_are_not_attempted(answer: Any) -> None:
    text = said(answer, kind=NotAttempted)
    assert text.startswith("○ dot: not attempted yet")
    assert text.endswith("Stuck? ex.dot.hint()")
    assert len(text.splitlines()) == 1


def no_such_kl(x: Tensor, y: Tensor) -> Tensor:
    return torch.distributions.kl_divergence(torch.distributions.Normal(x, 1), torch.distributions.Bernoulli(logits=y))


def no_such_sample(x: Tensor, y: Tensor) -> Tensor:
    return torch.distributions.Categorical(logits=x).rsample()


def no_data(x: Tensor, y: Tensor) -> Tensor:
    return torch.zeros(3, device="meta").cpu()


@pytest.mark.parametrize("answer", [no_such_kl, no_such_sample, no_data])
def test_what_torch_cannot_do_is_no_stub(answer: Any) -> None:
    text = said(answer, kind=AnswerCrashed)
    assert "your code stopped with NotImplementedError" in text
    assert f"`{inspect.getsource(answer).splitlines()[1].strip()[:80]}" in text


# --- Crashes: the learner's line


def helper(x: Tensor) -> Tensor:
    return x @ x


def in_a_helper(x: Tensor, y: Tensor) -> Tensor:
    return helper(x)


def in_torch(x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(x, y[:1], weight=3)  # type: ignore[arg-type]


def in_the_library(x: Tensor, y: Tensor) -> Tensor:
    return functools.reduce(lambda a, b: a @ b, [x, y])


def in_statistics(x: Tensor, y: Tensor) -> Any:
    import statistics

    return statistics.mean([])


def for_ever(x: Tensor, y: Tensor) -> Tensor:
    return for_ever(x, y)


def leaves(x: Tensor, y: Tensor) -> Tensor:
    sys.exit("enough")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def unspeakable(x: Tensor, y: Tensor) -> Tensor:
    raise Unspeakable


def talks(x: Tensor, y: Tensor) -> Tensor:
    print("x is", x.shape)
    print("careful", file=sys.stderr)
    raise ValueError("long " * 1000)


@pytest.mark.parametrize(
    ("answer", "error", "line"),
    [
        (in_a_helper, "RuntimeError: mat1 and mat2 shapes", "return x @ x"),
        (in_torch, "TypeError: cross_entropy_loss()", "return F.cross_entropy(x, y[:1], weight=3)"),
        (in_the_library, "RuntimeError", "return functools.reduce(lambda a, b: a @ b, [x, y])"),
        (in_statistics, "StatisticsError: mean requires", "return statistics.mean([])"),
        (for_ever, "RecursionError", "return for_ever(x, y)"),
        (leaves, "SystemExit: enough", 'sys.exit("enough")'),
        (unspeakable, "Unspeakable: <exception str() failed>", "raise Unspeakable"),
        (talks, "ValueError: long long", 'raise ValueError("long " * 1000)'),
        (functools.partial(in_a_helper), "RuntimeError", "return x @ x"),
    ],
)
def test_a_crash_shows_the_learners_own_line(answer: Any, error: str, line: str) -> None:
    text = said(answer, kind=AnswerCrashed)
    assert f"! dot: your code stopped with {error}" in text or f".{error}" in text
    source = Path(__file__).read_text().splitlines()
    number = int(text.split("  where     line ")[1].split(":")[0])
    assert source[number - 1].strip().startswith(line)
    assert f"line {number}: `{line}" in text
    assert "\n  inputs    three pairs: x (3, 4) float32" in text


def test_a_crash_tells_what_was_printed_and_no_more_than_it_must() -> None:
    text = said(talks, kind=AnswerCrashed)
    assert "  printed   x is torch.Size([3, 4])\ncareful\n" in text
    assert "long …" in text
    assert "outside of your function" in said(torch.dot, kind=AnswerCrashed)
    space: dict[str, Any] = {}
    exec("def nowhere(x, y):\n    return z", space)
    assert "where     line 2\n" in said(space["nowhere"], kind=AnswerCrashed)  # its text is not known


# What autograd refuses: a write that leaves the values as they are, so that only the gradient tells.


def over_the_input(x: Tensor, y: Tensor) -> Tensor:
    x[0] = 1.0 * x[0]
    return dot(x, y)


def over_the_input_by_torch(x: Tensor, y: Tensor) -> Tensor:
    return dot(F.threshold_(x, -100.0, 0.0), y)


def over_what_is_needed(x: Tensor, y: Tensor) -> Tensor:
    total = dot(x, y)
    total += 0  # harmless: nobody needs what was there
    weight = x.exp()
    weight *= y  # the slope of exp is what was there
    return total + weight.sum(-1) - (x.exp() * y).sum(-1)


def over_a_view(x: Tensor, y: Tensor) -> Tensor:
    first, *_ = (1 * x).unbind(0)
    first += 0
    return dot(x, y)


def over_its_own_leaf(x: Tensor, y: Tensor) -> Tensor:
    step = torch.zeros(3, dtype=x.dtype, requires_grad=True)
    step += 1
    return dot(x, y) + step


def backward_of_its_own(x: Tensor, y: Tensor) -> Tensor:
    step = torch.zeros(3, dtype=x.dtype, requires_grad=True)
    grown = step.exp()
    grown += 1
    grown.sum().backward()
    return dot(x, y) + step.detach()


@pytest.mark.parametrize(
    ("answer", "words", "line"),
    [
        (over_the_input, "writes in place into its input: autograd refuses. Make a new", "x[0] ="),
        (over_the_input_by_torch, "writes in place into its input: autograd refuses.", "return dot(F.threshold_"),
        (over_what_is_needed, "writes in place into a tensor that the gradient still needs: autograd", "weight *= y"),
        (over_a_view, "writes in place into a tensor that the gradient still needs", "first += 0"),
        (over_its_own_leaf, "writes in place into a tensor that requires grad: autograd refuses.", "step += 1"),
        (backward_of_its_own, "writes in place into a tensor that the gradient still needs", "grown += 1"),
    ],
)
def test_what_autograd_refuses_is_said_in_plain_words(answer: Any, words: str, line: str) -> None:
    text = said(answer, kind=AnswerCrashed)
    assert text.startswith("! dot: your function writes in")
    assert words in text.splitlines()[0]
    source = Path(__file__).read_text().splitlines()
    number = int(text.split("  where     line ")[1].split(":")[0])
    assert source[number - 1].strip().startswith(line)
    assert "\n  torch     " in text
    assert "Traceback" not in text


def test_other_errors_of_torch_are_left_as_they_are() -> None:
    assert "your code stopped with RuntimeError: mat1" in said(lambda x, y: x @ x, kind=AnswerCrashed)


def test_a_wrong_answer_tells_what_was_printed() -> None:
    text = said(lambda x, y: print("here", "\n" * 3, x.shape) or x)
    assert "  printed   here" in text


# --- Answers that do not end


def sleeps() -> None:
    time.sleep(60)


def spins() -> None:
    while True:
        pass


def spins_and_catches() -> None:
    while True:
        try:  # noqa: SIM105
            sum(range(10))
        except Exception:
            pass


def spins_and_catches_all() -> None:
    while True:
        try:
            while True:
                sum(range(10))
        except:  # noqa: E722
            pass


def sleeps_and_catches_all() -> None:
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue


def catches_all_and_goes_on() -> None:
    try:
        time.sleep(60)
    except BaseException:
        time.sleep(60)
    finally:
        time.sleep(60)


def computes() -> None:
    while True:
        torch.randn(50, 50) @ torch.randn(50, 50)


ENDLESS = [
    sleeps, spins, spins_and_catches, spins_and_catches_all, sleeps_and_catches_all, catches_all_and_goes_on, computes
]  # fmt: skip


@pytest.mark.parametrize("endless", ENDLESS)
def test_an_answer_that_does_not_end_is_ended(endless: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "SECONDS", 0.2)
    before, tracer = signal.getsignal(signal.SIGALRM), sys.gettrace()
    started = time.monotonic()
    text = said(lambda x, y: endless(), kind=AnswerCrashed)
    assert time.monotonic() - started < 2
    assert "did not come back within 0.2 seconds. Is there a loop that never ends?" in text
    assert "  where     line " in text
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert sys.gettrace() is tracer
    DOT.check(dot)  # and the next one is judged as ever


@pytest.mark.parametrize("endless", [spins, spins_and_catches, computes])
def test_and_so_it_is_in_a_thread_that_is_not_the_main_one(
    endless: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a kernel's subshell, and on Windows."""
    monkeypatch.setattr(judge, "SECONDS", 0.2)
    texts: list[str] = []
    started = time.monotonic()
    thread = threading.Thread(target=lambda: texts.append(said(lambda x, y: endless(), kind=AnswerCrashed)))
    thread.start()
    thread.join(10)
    assert time.monotonic() - started < 3
    assert "did not come back within 0.2 seconds" in texts[0]


def test_a_sleep_in_a_thread_is_left_behind() -> None:
    """In a process of its own: Python 3.11 spins when such a thread is waited for under a tracer, as for coverage."""
    script = (
        "import threading, time\nfrom wmcourse.lessons.judge import OutOfTime, limited_in_thread\n"
        "try:\n    limited_in_thread(lambda: time.sleep(60), 0.2)\nexcept OutOfTime:\n    print('out of time')"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout == "out of time\n"
    assert time.monotonic() - started < 40  # importing torch, and not the sleep


def test_in_a_thread_right_and_wrong_answers_are_judged_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGALRM")  # as on Windows
    DOT.check(dot)
    assert "it returns str" in said(lambda x, y: "x")
    assert "your code stopped with RuntimeError" in said(in_a_helper, kind=AnswerCrashed)
    assert "not attempted" in said(stub, kind=NotAttempted)
    with pytest.raises(KeyboardInterrupt):
        DOT.check(interrupts)


def test_all_calls_of_a_check_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "SECONDS", 0.5)
    slow = make(cases=lambda rng: [case for _ in range(20) for case in dot_cases(rng)])
    started = time.monotonic()
    said(lambda x, y: time.sleep(0.06) or dot(x, y), slow, AnswerCrashed)
    assert time.monotonic() - started < 2


def test_and_so_do_all_that_look_at_properties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "SECONDS", 0.5)
    case = next(dot_cases(np.random.default_rng(0)))
    looks = make(cases=lambda rng: [case], properties=lambda ask, rng: "".join(ask(case).printed for _ in range(50)))
    looks.check(dot)
    started = time.monotonic()
    said(lambda x, y: time.sleep(0.06) or dot(x, y), looks, AnswerCrashed)
    assert time.monotonic() - started < 3


def interrupts(x: Tensor, y: Tensor) -> Tensor:
    raise KeyboardInterrupt


def test_the_stop_button_stops_the_check() -> None:
    with pytest.raises(KeyboardInterrupt):
        DOT.check(interrupts)


def test_work_in_time_is_left_alone() -> None:
    assert limited(lambda: 3, 5) == 3
    with pytest.raises(ZeroDivisionError):
        limited(lambda: 1 / 0, 5)
    with pytest.raises(judge.OutOfTime):
        limited(sleeps, 0.05)


def test_an_earlier_alarm_from_outside_of_python_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers: list[Any] = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: handlers.append(handler))  # returns None, as then
    limited(lambda: 3, 5)
    assert handlers[-1] == signal.SIG_DFL


# --- What an answer does beside


def test_much_print_out_costs_neither_memory_nor_the_message() -> None:
    outcome = Outcome()
    call(lambda: [print("line", i) for i in range(100_000)], {}, outcome, time.monotonic() + 60)
    assert outcome.error is None
    assert outcome.printed.startswith("line 0\nline 1\n")
    assert len(outcome.printed) < judge.PRINTED + 10
    outcome = Outcome()
    call(lambda: print("x" * 10**6), {}, outcome, time.monotonic() + 60)
    assert outcome.printed == "x" * judge.PRINTED + " …"


def adds(x: Tensor, y: Tensor) -> Tensor:
    x += 1
    return dot(x - 1, y)


def shrinks(x: Tensor, y: Tensor) -> Tensor:
    out = dot(x, y)
    y.resize_(0)
    return out


def forgets(x: Tensor, y: Tensor) -> Tensor:
    out = dot(x, y)
    del x, y
    return out


def test_inputs_are_not_to_be_changed() -> None:
    assert "it changes its input `x` in place. Work on a new tensor." in said(adds)
    assert "it changes its input `y` in place" in said(shrinks)
    DOT.check(forgets)
    arrays = make(lambda x: x + 0, lambda rng: [Case({"x": np.array([1.0, np.nan])}, "an array")], numpy=True)
    arrays.check(lambda x: x.copy())
    arrays.check(lambda x: x)  # a view is what it shows
    assert "changes its input `x`" in said(lambda x: x.__setitem__(0, 3.0) or x, arrays)
    assert "changes its input `x`" in said(lambda x: x.resize(3, refcheck=False) or x, arrays)


def test_inputs_that_are_no_arrays_are_fresh_for_each_call() -> None:
    lengths = [3, 1, 2]
    case = Case({"lengths": lengths, "rng": np.random.default_rng(5), "f": abs}, "a list")
    exercise = make(lambda lengths, rng, f: sorted(lengths)[0] + rng.random(), lambda rng: [case])
    exercise.check(lambda lengths, rng, f: lengths.sort() or lengths[0] + rng.random())
    assert lengths == [3, 1, 2]
    assert describe(case) == f"a list: lengths = [3, 1, 2], rng = {case.inputs['rng']!r}, f (a function)"
    assert len(describe(Case({"a": list(range(1000))}, "long"))) < 100
    assert convert({"x": np.zeros(2)}, numpy=False)["x"].dtype == torch.float64


def unsettles(x: Tensor, y: Tensor) -> Tensor:
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.manual_seed(5)
    np.seterr(all="raise")
    np.random.seed(5)  # noqa: NPY002
    warnings.simplefilter("error")
    sys.stdout = sys.stderr
    return dot(x, y)


def state() -> list[Any]:
    return [
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.random.get_rng_state().tolist(),
        np.geterr(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        list(warnings.filters),
        random.getstate(),
        sys.stdout,
    ]


def test_settings_are_put_back() -> None:
    np.random.seed(123)  # noqa: NPY002 (the judge has its own)
    torch.manual_seed(123)
    before = state()
    assert "no gradient reaches `x`" in said(unsettles)  # it has switched gradients off
    assert state() == before
    said(talks, kind=AnswerCrashed)
    assert state() == before


def test_settings_of_the_notebook_do_not_matter() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), np.errstate(all="raise"):
            DOT.check(lambda x, y: dot(x, y) + torch.zeros(3))  # float64 of its own would be told
            assert not torch.is_grad_enabled()
            assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_chance_is_the_same_in_each_call() -> None:
    exercise = make(lambda x, y: dot(x, y) + torch.rand(3), name="noisy")
    exercise.check(lambda x, y: dot(x, y) + torch.rand(3))
    assert "values differ" in said(lambda x, y: dot(x, y) + 1, exercise)


def test_torch_bent_by_an_answer_does_not_bend_its_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    def bends(x: Tensor, y: Tensor) -> Tensor:
        monkeypatch.setattr(torch, "exp", torch.log)
        return x.log().sum(-1)

    exp = make(lambda x, y: torch.exp(x).sum(-1), lambda rng: [Case({"x": np.ones((2, 2)), "y": np.ones(2)}, "ones")])
    said(bends, exp)


# --- Exercises


def test_inputs_are_fresh_and_seeds_are_kept() -> None:
    def seen(seed: int | None) -> list[Tensor]:
        inputs: list[Tensor] = []
        DOT.check(lambda x, y: inputs.append(x.detach()) or dot(x, y), seed)
        return inputs

    assert torch.equal(seen(3)[0], seen(3)[0])
    assert not torch.equal(seen(3)[0], seen(4)[0])
    assert not torch.equal(seen(None)[0], seen(None)[0])
    learnt = {tuple(x.flatten().tolist()): dot(x, x) for x in seen(None)}
    hard_coded = lambda x, y: learnt.get(tuple(x.flatten().tolist()), torch.zeros(3, dtype=x.dtype))  # noqa: E731
    assert "the values differ" in said(hard_coded)


def test_a_mistake_is_named_only_where_it_is_the_same_on_all_inputs() -> None:
    for mistake in DOT.known[:2]:
        with pytest.raises(WrongAnswer) as failure:
            DOT.check(mistake.answer)
        assert failure.value.mistake == mistake.name
        assert f"a mistake that has a name: {mistake.name}.\n\n{mistake.why}\n\n  what" in str(failure.value)
    for answer in (
        lambda x, y: dot(x, y) / 4 if x.dtype == torch.float32 else dot(x, y) / 3,
        lambda x, y: (x * y).mean(-1) if x.dtype == torch.float32 else dot(x, y),
        lambda x, y: (x.detach() * y).mean(-1) + 0 * x.sum(-1),
        lambda x, y: (x * y).mean(-1) * float("nan"),
        lambda x, y: ((x * y).mean(-1),) * 2,
    ):
        with pytest.raises(WrongAnswer) as failure:
            DOT.check(answer)
        assert failure.value.mistake is None


def test_a_cut_gradient_can_be_a_named_mistake() -> None:
    with pytest.raises(WrongAnswer) as failure:
        DOT.check(lambda x, y: dot(x.detach(), y))
    assert failure.value.mistake == "y cut off"


def test_a_mistake_that_crashes_or_is_right_is_nobodys() -> None:
    exercise = make(mistakes=(Mistake("broken", helper, "…"), Mistake("right", dot, "…")))
    for answer in (
        lambda x, y: 2 * dot(x, y),
        lambda x, y: dot(x, y).double(),
    ):  # the second has the right one's numbers
        with pytest.raises(WrongAnswer) as failure:
            exercise.check(answer)
        assert failure.value.mistake is None


def test_outcomes_agree_when_they_do_the_same_wrong_thing() -> None:
    case = next(dot_cases(np.random.default_rng(0)))

    def agrees(a: Any, b: Any) -> bool:
        return agree(ask(a, case), ask(b, case), DOT)

    assert agrees(dot, lambda x, y: (x * y).sum(1))
    assert agrees(lambda x, y: None, lambda x, y: None)
    assert not agrees(dot, lambda x, y: None)
    assert not agrees(dot, lambda x, y: dot(x, y) * 2)
    assert not agrees(dot, lambda x, y: dot(x.detach(), y))
    assert not agrees(lambda x, y: dot(x.detach(), y), dot)
    assert not agrees(dot, lambda x, y: dot(2 * x - x.detach(), y))
    assert agrees(lambda x, y: dot(x.detach(), y), lambda x, y: dot(x.detach(), y) + 0 * x.sum())
    assert not agrees(dot, lambda x, y: dot(x, y) * float("inf"))


def test_relations() -> None:
    b = np.array([1.0, 2.0, -4.0])
    assert relation(b * 0.5, b) == " Yours are 0.5 times what they should be, everywhere."
    assert relation(b + 3, b) == " Yours are off by +3, everywhere."
    assert relation(b + np.array([0, 0, 1]), b) == " 33% of them are wrong."
    assert relation(b[:1], b[:1]) == ""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert relation(np.array([1.7e308, -1.7e308, 1.0]), b) == ""
    assert relation(np.array([1.0, 2.0]), np.zeros(2)) == " 100% of them are wrong."


def test_hints_go_from_first_to_last_and_no_further() -> None:
    assert DOT.hint() == "**Hint 1 of 2.** first\n\nMore: `ex.dot.hint(2)`"
    assert DOT.hint(2) == "**Hint 2 of 2.** second\n\nThe last resort: `ex.dot.solution()`"
    for number in (0, 3, -1, "1", None, 1.0):
        with pytest.raises(LessonError, match="dot has hints 1 to 2, not"):
            DOT.hint(number)  # type: ignore[arg-type]


def test_what_an_exercise_says_about_itself() -> None:
    assert DOT.about == "●○○ · 10 minutes · `ex.dot.hint()`"
    assert DOT.points == 2
    assert make(points=7).points == 7
    assert repr(DOT) == "A dot: ex.dot.check(…), .hint(), .solution()"
    assert DOT.mistakes["over the batch"][1] == "last axis"
    assert DOT.mistakes["a mean"][1] == "a mean"
    solution = DOT.solution()
    assert solution.startswith("```python\ndef dot(")
    assert solution.endswith("return (x * y).sum(-1)\n```")
    assert solution._repr_markdown_() == repr(solution) == str(solution)


# --- In a notebook


@pytest.fixture
def show(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Runs a cell; returns what the notebook shows."""
    shell.user_ns["ex"] = types.SimpleNamespace(dot=DOT)

    def run(cell: str) -> str:
        shell.run_cell(cell, store_history=True)
        return capsys.readouterr().out

    return run


def test_a_notebook_shows_the_message_and_nothing_else(show: Callable[[str], str]) -> None:
    assert show("ex.dot.check(...)") == "○ dot: not attempted yet. Stuck? ex.dot.hint()\n"
    shown = show("ex.dot.check(lambda x, y: (x * y).mean(-1))")
    assert shown.startswith("✗ dot: this is a mistake that has a name: a mean.\n\nIt is a sum.\n\n  what  ")
    assert "Traceback" not in shown
    assert ".py" not in shown
    assert "has hints 1 to 2" in show("ex.dot.hint(9)")
    assert "✓ **dot.** Two fresh inputs." in show("ex.dot.check(lambda x, y: (x * y).sum(-1))")


def test_a_notebook_shows_the_line_of_whichever_cell_it_is_in(show: Callable[[str], str]) -> None:
    show("def of_another_cell(x):\n    y = x\n    return y @ y")
    show("def dot(x, y):\n    return of_another_cell(x)")
    assert "  where     line 3: `return y @ y`" in show("ex.dot.check(dot)")
    show("import torch\ndef dot(x, y):\n    # a comment\n    return torch.linalg.cholesky(x)")
    assert "  where     line 4: `return torch.linalg.cholesky(x)`" in show("ex.dot.check(dot)")
    show("def dot(x, y):\n    raise NotImplementedError  # your turn")
    assert show("ex.dot.check(dot)").startswith("○ dot: not attempted yet: `raise NotImplementedError` is still in it")
