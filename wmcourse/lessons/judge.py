"""Ask an answer: call it with plain arrays, take plain arrays back, and note everything that went wrong on the way.

Nothing here decides what is right. ``ask`` is the only place where a learner's code runs during a check, and what
comes out of it is NumPy arrays, copied and of exact types: an object with a lying ``__eq__`` gains nothing, and the
asking could happen in another process.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import io
import signal
import sys
import sysconfig
import textwrap
import threading
import time
import traceback
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode

from wmcourse.lessons.threads import one_thread

SECONDS = 5.0  # for all calls of a check together; the course's own answers need a hundredth
PRINTED = 800  # characters of what an answer prints that are kept
MOST = 10**7  # numbers in what is returned: more are not copied
LIBRARIES = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), "<frozen", "<__array")
PACKAGES = ("site-packages", "dist-packages")

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
    types: list[str] = field(default_factory=list)  # as Python calls them: "Tensor", "float", "float64", …
    gradients: dict[str, NDArray[Any] | None] = field(default_factory=dict)
    mutated: list[str] = field(default_factory=list)
    printed: str = ""
    complaint: str = ""  # why what was returned cannot be judged at all
    error: BaseException | None = None
    refused: str = ""  # in plain words, where autograd would not have what the answer does
    line: str = ""  # of the learner's, where the error itself does not know it


def ask(answer: Answer, case: Case, seconds: float = SECONDS, numpy: bool = False) -> Outcome:
    """Call ``answer`` once for its values, and once more for its gradients when the case wants them."""
    outcome = Outcome()
    deadline = time.monotonic() + seconds
    inputs = convert(case.inputs, numpy)
    result = call(answer, inputs, outcome, deadline)
    if outcome.error is not None:
        explain(outcome, lambda: answer(*convert(case.inputs, numpy).values()), deadline)
        return outcome
    for name, before in convert(case.inputs, numpy).items():
        if not same(before, inputs[name]):
            outcome.mutated.append(name)
    marked = [name for name, value in inputs.items() if isinstance(value, torch.Tensor) and left_a_slope(value)]
    flat = leaves(result)
    if len(flat) == 1 and flat[0] is not result:
        outcome.complaint = f"it returns a {type(result).__name__} with one thing in it. Is there a comma too many?"
    elif len(flat) > 100:
        outcome.complaint = f"it returns {len(flat)} things. Make one tensor of them."
    for leaf in flat:
        outcome.complaint = outcome.complaint or take(leaf, outcome)
    if marked and not outcome.complaint:
        outcome.complaint = (
            f"slopes that add up: your function leaves a slope in the `.grad` of the `{marked[0]}` that was given to "
            "it, and the next call's `backward` adds to it. Work on a copy: "
            f"`{marked[0]}.detach().clone().requires_grad_()`."
        )
    if case.gradients and not (outcome.complaint or outcome.mutated):
        differentiate(answer, case, outcome, deadline)
    return outcome


def left_a_slope(given: torch.Tensor) -> bool:
    """Whether ``backward`` went into the very tensor that was given, whose ``.grad`` then grows from call to call."""
    return given.is_leaf and given.grad is not None


def leaves(result: Any) -> list[Any]:
    """What was returned, one by one."""
    for plain in (tuple, list):
        if issubclass(type(result), plain):
            return list(plain.__iter__(result))  # a named tuple, too, but by nobody's own way to go through it
    return [result]


def convert(inputs: dict[str, Any], numpy: bool) -> dict[str, Any]:
    """Fresh copies for one call."""

    def one(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value.copy() if numpy else torch.from_numpy(value.copy())
        return copy.deepcopy(value)  # a list or a generator may be changed, too

    return {name: one(value) for name, value in inputs.items()}


def same(a: Any, b: Any) -> bool:
    if type(a) is list and type(b) is list and len(a) == len(b):  # of tensors, say
        return all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
    return not isinstance(a, np.ndarray) or np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def take(leaf: Any, outcome: Outcome) -> str:
    """Copy one returned thing into ``outcome``; returns a complaint, or "" for an array, tensor or number."""
    kind = type(leaf)  # exact: a subclass could lie about its numbers
    if kind in (torch.Tensor, torch.nn.Parameter):
        name = "tensor"
        try:
            value = leaf.detach().cpu().numpy()
        except (TypeError, RuntimeError):  # bfloat16, sparse, without data
            return f"it returns a tensor that is no plain array of numbers: {leaf.dtype}, {leaf.layout}, {leaf.device}."
    elif kind is np.ndarray:
        name, value = "array", leaf
    elif kind in (int, float, bool) or (issubclass(kind, np.generic) and kind.__module__ == "numpy"):
        name, value = "number", np.asarray(leaf)
    elif leaf is None:
        return "it returns None. Is there a `return`, with what you computed?"
    else:
        if kind in (types.GeneratorType, types.CoroutineType):
            leaf.close()
        write = {"generator": " Write `return`, not `yield`.", "coroutine": " Write `def`, not `async def`."}
        more = write.get(kind.__name__, "")
        if kind in (list, tuple):
            more = " Make one tensor of what is in it: `torch.stack(…)`, or `torch.tensor(…)` for plain numbers."
        if kind.__module__ == "torch.return_types" and hasattr(leaf, "indices"):
            more = " It holds two things: `.values` and `.indices`."
        return f"it returns {kind.__name__}, which is neither a tensor, an array nor a number.{more}"
    if value.dtype.kind not in "biuf":  # complex, text, Python's own whole numbers when they are endless
        return f"it returns {value.dtype}, where plain numbers should come."
    if value.size > MOST:
        return f"it returns {value.size} numbers, far too many."
    outcome.values.append(np.array(value, copy=True))
    outcome.kinds.append(name)
    outcome.types.append(kind.__name__)
    return ""


def differentiate(answer: Answer, case: Case, outcome: Outcome, deadline: float) -> None:
    """The gradient of a fixed random weighting of all that is returned, by each input the case names."""

    def fresh() -> dict[str, Any]:
        inputs = convert(case.inputs, numpy=False)
        for name in case.gradients:
            inputs[name].requires_grad_()
        return inputs

    inputs = fresh()

    def weighted() -> None:
        result = answer(*inputs.values())
        total, rng = torch.zeros((), dtype=torch.float64), np.random.default_rng(7)
        for leaf in leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.is_floating_point():
                weights = torch.from_numpy(np.asarray(rng.uniform(0.5, 1.5, tuple(leaf.shape))))
                total = total + (leaf.double() * weights).sum()
        if total.requires_grad:
            total.backward()

    call(weighted, {}, outcome, deadline)
    if outcome.error is not None:
        explain(outcome, lambda: answer(*fresh().values()), deadline, its_input=True)
        return
    for name in case.gradients:
        gradient = inputs[name].grad
        outcome.gradients[name] = None if gradient is None else gradient.numpy().copy()


def explain(outcome: Outcome, again: Callable[[], Any], deadline: float, its_input: bool = False) -> None:
    """Say in plain words what autograd refused, if it was that; ``again`` finds the line where it is lost."""
    said = str(outcome.error) if type(outcome.error) is RuntimeError else ""
    if "leaf Variable that requires grad is being used in an in-place operation" in said:
        whose = "its input" if its_input else "a tensor that requires grad"
        outcome.refused = f"your function writes in place into {whose}: autograd refuses. Make a new tensor"
        outcome.refused += "." if its_input else ", or write under `torch.no_grad()`."
    elif "modified by an inplace operation" in said or "is being modified inplace" in said:
        outcome.refused = (
            "your function writes in place into a tensor that the gradient still needs: autograd refuses. "
            "Make a new tensor: `x = x + 1`, not `x += 1`."
        )
        watch = Writes()

        def watched() -> None:
            with watch, torch.autograd.graph.saved_tensors_hooks(watch.keep, lambda kept: kept):
                again()

        call(watched, {}, Outcome(), deadline)
        outcome.line = watch.line


class Writes(TorchFunctionMode):
    """Finds the learner's line that first writes in place into what was kept for the gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[torch.Tensor] = []
        self.line = ""

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        self.kept.append(tensor)
        return tensor

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        target = args[0] if args and isinstance(args[0], torch.Tensor) else None
        before = None if target is None else target._version
        result = function(*args, **(kwargs or {}))
        if target is not None and target._version != before and not self.line:
            memory = target.untyped_storage().data_ptr()
            if any(kept.untyped_storage().data_ptr() == memory for kept in self.kept):
                self.line = innermost(traceback.extract_stack())
        return result


def call(answer: Answer, inputs: dict[str, Any], outcome: Outcome, deadline: float) -> Any:
    """Run learner's code: bounded in time and print-out, with seeded chance, errors caught, and settings put back."""
    printed = Bounded()
    numpy_state, dtype = np.random.get_state(), torch.get_default_dtype()  # noqa: NPY002 (a learner may use this one)
    try:
        with (
            torch.random.fork_rng(devices=[]),
            torch.enable_grad(),
            one_thread(),
            np.errstate(),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            torch.set_default_dtype(torch.float32)
            torch.manual_seed(0)
            np.random.seed(0)  # noqa: NPY002
            return limited(lambda: answer(*inputs.values()), max(deadline - time.monotonic(), 0.01))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, too: an answer must not end the kernel
        outcome.error = error
        return None
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_default_dtype(dtype)
        outcome.printed = outcome.printed or printed.getvalue()


class Bounded(io.StringIO):
    """Keeps the first characters and forgets the rest."""

    def write(self, text: str) -> int:
        room = PRINTED - self.tell()
        if room > 0:
            super().write(text if len(text) <= room else text[:room] + " …")
        return len(text)


def limited(work: Callable[[], Any], seconds: float) -> Any:
    """What ``work`` returns; raises OutOfTime in it when it takes longer, again and again, should it be swallowed."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        return limited_in_thread(work, seconds)
    over, tracer = False, sys.gettrace()

    def ring(_: int, frame: types.FrameType | None) -> None:
        if over:
            return
        while frame and frame.f_code is not limited.__code__:  # should a bare `except:` swallow it: once more in there
            frame.f_trace = trace
            frame = frame.f_back
        sys.settrace(lambda *_: None)  # no frame that is new
        raise OutOfTime

    def trace(frame: types.FrameType, event: str, _: Any) -> Any:
        if event == "line" and not over:
            raise OutOfTime
        return trace

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)
    try:
        return work()
    finally:
        over = True
        sys.settrace(tracer)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before or signal.SIG_DFL)


def limited_in_thread(work: Callable[[], Any], seconds: float) -> Any:
    """The same on Windows, or in a thread of the kernel: reaches Python code, and leaves a sleep behind."""
    came: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            came.append(work())
        except BaseException as error:
            failed.append(error)

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    worker.join(seconds)
    for _ in range(10):
        if worker.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(worker.ident or 0), ctypes.py_object(OutOfTime))
            worker.join(0.1)
    if not came:
        raise failed[0] if failed else OutOfTime
    return came[0]


def learners(step: traceback.FrameSummary) -> bool:
    """Whether a step of a traceback is in the learner's own code, in whichever cell, and not in a library's."""
    return not step.filename.startswith(LIBRARIES) and not any(name in step.filename for name in PACKAGES)


def unfinished(error: BaseException) -> bool:
    """Whether this is the stub's bare `raise NotImplementedError`: torch has its own, for what it cannot do."""
    steps = traceback.extract_tb(error.__traceback__)
    return type(error) is NotImplementedError and not error.args and learners(steps[-1])


def where(error: BaseException) -> str:
    """The line of the learner's own code in which an error came up: 'line 3: `return mu * s`'."""
    return innermost(traceback.extract_tb(error.__traceback__)) or "outside of your function"


def innermost(steps: traceback.StackSummary) -> str:
    """The last of some steps that is the learner's: 'line 3: `return mu * s`', or "" where none is."""
    mine = [step for step in steps if learners(step)]
    if not mine:
        return ""
    return f"line {mine[-1].lineno}" + (f": `{short(mine[-1].line, 120)}`" if mine[-1].line else "")


def short(text: str, most: int = 300) -> str:
    """In one line, and no longer than that."""
    return textwrap.shorten(text, most, placeholder=" …")
