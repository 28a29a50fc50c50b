"""Ask an answer: call it with plain arrays, take plain arrays back, and note everything that went wrong on the way.

Nothing here decides what is right. ``ask`` is the only place where a learner's code runs during a check, and what
comes out of it is NumPy arrays, copied and of exact types: an object with a lying ``__eq__`` gains nothing, and the
asking could happen in another process.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import linecache
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

SECONDS = 5.0  # for all calls of a check together; the course's own answers need a hundredth
PRINTED = 800  # characters of what an answer prints that are kept

Answer = Callable[..., Any]


class OutOfTime(BaseException):
    """Raised inside an answer that does not end. No Exception, so that ``except Exception`` does not swallow it."""


@dataclass(frozen=True)
class Case:
    """One call: ``inputs`` go in by position, arrays as tensors; ``gradients`` names those to differentiate by."""

    inputs: dict[str, Any]
    about: str
    gradients: tuple[str, ...] = ()


@dataclass
class Outcome:
    """What came back from one call."""

    values: list[NDArray[Any]] = field(default_factory=list)  # one for each thing returned
    kinds: list[str] = field(default_factory=list)  # "tensor", "array" or "number"
    gradients: dict[str, NDArray[Any] | None] = field(default_factory=dict)
    mutated: list[str] = field(default_factory=list)
    printed: str = ""
    complaint: str = ""  # why what was returned cannot be judged at all
    error: BaseException | None = None


def ask(answer: Answer, case: Case, seconds: float = SECONDS, numpy: bool = False) -> Outcome:
    """Call ``answer`` once for its values, and once more for its gradients when the case wants them."""
    outcome = Outcome()
    deadline = time.monotonic() + seconds
    inputs = convert(case.inputs, numpy)
    result = call(answer, inputs, outcome, deadline)
    if outcome.error is not None:
        return outcome
    for name, before in convert(case.inputs, numpy).items():
        if not same(before, inputs[name]):
            outcome.mutated.append(name)
    flat = list(result) if isinstance(result, (tuple, list)) else [result]
    for leaf in flat:
        outcome.complaint = outcome.complaint or take(leaf, outcome)
    if case.gradients and not outcome.complaint:
        differentiate(answer, case, outcome, deadline)
    return outcome


def convert(inputs: dict[str, Any], numpy: bool) -> dict[str, Any]:
    """Fresh copies for one call."""

    def one(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value.copy() if numpy else torch.from_numpy(value.copy())
        return value

    return {name: one(value) for name, value in inputs.items()}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
    return not isinstance(a, np.ndarray) or np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def take(leaf: Any, outcome: Outcome) -> str:
    """Copy one returned thing into ``outcome``; returns a complaint, or "" for an array, tensor or number."""
    kind = type(leaf)  # exact: a subclass could lie about its numbers
    if kind in (torch.Tensor, torch.nn.Parameter):
        outcome.values.append(np.array(leaf.detach().cpu().numpy(), copy=True))
        outcome.kinds.append("tensor")
    elif kind is np.ndarray and leaf.dtype.kind in "biuf":
        outcome.values.append(leaf.copy())
        outcome.kinds.append("array")
    elif kind in (int, float, bool) or (issubclass(kind, np.generic) and kind.__module__ == "numpy"):
        outcome.values.append(np.asarray(leaf))
        outcome.kinds.append("number")
    elif leaf is None:
        return "it returns None. Is there a `return`, with what you computed?"
    else:
        return f"it returns {kind.__name__}, which is neither a tensor, an array nor a number."
    return ""


def differentiate(answer: Answer, case: Case, outcome: Outcome, deadline: float) -> None:
    """The gradient of a fixed random weighting of all that is returned, by each input the case names."""
    inputs = convert(case.inputs, numpy=False)
    for name in case.gradients:
        inputs[name].requires_grad_()

    def weighted() -> None:
        result = answer(*inputs.values())
        total, rng = torch.zeros((), dtype=torch.float64), np.random.default_rng(7)
        for leaf in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(leaf, torch.Tensor) and leaf.is_floating_point():
                weights = torch.from_numpy(np.asarray(rng.uniform(0.5, 1.5, tuple(leaf.shape))))
                total = total + (leaf.double() * weights).sum()
        if total.requires_grad:
            total.backward()

    call(lambda: weighted(), {}, outcome, deadline)
    for name in case.gradients:
        gradient = inputs[name].grad
        outcome.gradients[name] = None if gradient is None else gradient.numpy().copy()


def call(answer: Answer, inputs: dict[str, Any], outcome: Outcome, deadline: float) -> Any:
    """Run learner's code: bounded in time and print-out, with seeded chance, errors caught."""
    printed = Bounded()
    numpy_state = np.random.get_state()  # noqa: NPY002 (a learner may use the global generator)
    try:
        with (
            torch.random.fork_rng(devices=[]),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            torch.manual_seed(0)
            np.random.seed(0)  # noqa: NPY002
            with within(max(deadline - time.monotonic(), 0.01)):
                return answer(*inputs.values())
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, too: an answer must not end the kernel
        outcome.error = error
        return None
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        outcome.printed = outcome.printed or printed.getvalue()


class Bounded(io.StringIO):
    """Keeps the first characters and forgets the rest."""

    def write(self, text: str) -> int:
        room = PRINTED - self.tell()
        if room > 0:
            super().write(text if len(text) <= room else text[:room] + " …")
        return len(text)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in the block when it takes longer; again and again, should it be swallowed."""
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGALRM"):

        def ring(*_: Any) -> None:
            raise OutOfTime

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        return
    done, me = threading.Event(), threading.get_ident()

    def watch() -> None:  # Windows, or a thread: reaches Python code, though not a sleep
        pause = seconds
        while not done.wait(pause):
            pause = 0.2
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(me), ctypes.py_object(OutOfTime))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def where(answer: Answer, trace: TracebackType | None) -> str:
    """The line of the learner's own code in which an error came up: 'line 3: `return mu * s`'."""
    code = getattr(answer, "__code__", None)
    steps = traceback.extract_tb(trace)
    ours = __file__
    mine = [s for s in steps if code is not None and s.filename == code.co_filename] or [
        s for s in steps if s.filename != ours and not s.filename.startswith(sys.prefix)
    ]
    if not mine:
        return ""
    text = (mine[-1].line or linecache.getline(mine[-1].filename, mine[-1].lineno or 0)).strip()
    return f"line {mine[-1].lineno}: `{text}`"
