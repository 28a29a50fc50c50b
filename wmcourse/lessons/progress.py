"""What a learner has done, kept in the learner's own folder, and nowhere else.

my/                          made by `wmcourse start` (and `make lab`); git does not look into it
  03_kl_divergence_loss.ipynb    your copies of the lessons
  parts/kl_standard_normal.py    your functions that passed, as you wrote them
  progress.json                  what you passed, and when
  .course/                       the lessons as you got them, for `wmcourse update`
  backups/                       what `update` and `reset` put aside
"""

from __future__ import annotations

import ast
import contextlib
import datetime
import inspect
import json
import math
import os
import symtable
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from wmcourse.engine.errors import RunError
from wmcourse.engine.files import write_atomically
from wmcourse.lessons.errors import CheckFailed, LessonError

MARK = ".course"
FUTURE = "from __future__ import annotations"
CHECKOUT = Path(__file__).resolve().parents[2]


def home(make: bool = False) -> Path | None:
    """The learner's folder: $WMCOURSE_HOME, else the nearest one upwards that `wmcourse start` made, else ``my`` in the
    course's checkout. None in the course's own solutions (what passes there is not yours) and where there is none.
    """
    told = os.environ.get("WMCOURSE_HOME")
    if told:
        return Path(told).expanduser()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / MARK).is_dir():
            return folder
    inside = (CHECKOUT / "notebooks").is_dir() and here.is_relative_to(CHECKOUT)
    if not inside or here.is_relative_to(CHECKOUT / "solutions"):
        return None
    mine = CHECKOUT / "my"
    return mine if make or mine.is_dir() else None


def today() -> str:
    return datetime.date.today().isoformat()


class Progress:
    """progress.json: {"passed": {"03/kl_standard_normal": "2026-11-24"}, "pace": "two weeks"}."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else home()
        self.trouble = ""
        self.read()

    def read(self) -> None:
        self.data: dict[str, Any] = {"passed": {}, "pace": "two weeks"}
        if self.folder is None:
            return
        path = self.folder / "progress.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin a file with a mark
            if not (isinstance(data, dict) and isinstance(data.get("passed"), dict)):
                raise ValueError("it has no list of what was passed")
            self.data |= data
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError) as error:  # not to be decoded is a ValueError
            self.set_aside(path, str(error))

    def set_aside(self, path: Path, why: str) -> None:
        """A broken file is kept under another name, and a new one begun."""
        aside = next(p for i in range(1, 10_000) if not (p := path.with_name(f"progress.broken-{i}.json")).exists())
        self.trouble = f"{path} could not be read ({why})."
        with contextlib.suppress(OSError):
            path.replace(aside)
            self.trouble += f" It is now {aside.name}; run the checks again and all is ticked anew."

    @property
    def passed(self) -> dict[str, str]:
        """ "03/kl_standard_normal" -> the day."""
        return self.data["passed"]

    def note(self, key: str) -> str:
        """Remember that something was passed; returns a sentence when that could not be kept, else ""."""
        self.read()  # another notebook may have written since
        self.passed.setdefault(key, today())
        return self.save()

    def save(self) -> str:
        """Write the file; returns a sentence when it could not be written, else ""."""
        if self.folder is None:
            return ""
        try:
            write_atomically(self.folder / "progress.json", json.dumps(self.data, indent=1).encode())
        except RunError as error:
            return f"(This could not be kept: {error})"
        return ""


# --- Parts: the learner's functions that become the world model's


def keep_part(name: str, lesson: str, answer: Callable[..., Any], folder: Path, judge: Callable[[Any], Any]) -> str:
    """Write a function that passed into parts/NAME.py, when its text alone passes, too; an earlier text of it stays
    beside. Returns a remark, or "".
    """
    path = folder / "parts" / f"{name}.py"
    try:
        text = standalone(answer, name)
        judge(load(text, path, name))
    except LessonError as error:
        return f"(It passed, but is not kept as a part of your world model: {error})"
    except CheckFailed as error:
        return f"(It passed here, but its text alone, as a part of your world model, does not.\n\n{error})"
    head = f"# Lesson {lesson}, {name}: your own function, as you wrote it when it passed on {today()}.\n"
    try:
        if path.is_file():
            before = path.read_bytes()
            if before.split(b"\n", 1)[-1] == text.encode():
                return ""
            earlier = path.parent / "earlier"
            number = next(i for i in range(1, 10_000) if not (earlier / f"{name}.{i}.py").exists())
            write_atomically(earlier / f"{name}.{number}.py", before)
        write_atomically(path, (head + text).encode())
    except (RunError, OSError) as error:
        return f"(It passed, but could not be kept as a part: {error})"
    return ""


def standalone(answer: Callable[..., Any], name: str) -> str:
    """The text of a function with all it needs: imports, constants, and other functions of the notebook.

    Raises LessonError, saying what stands in the way.
    """
    given: dict[str, str] = {}
    pieces: dict[str, str] = {}

    def add(label: str, thing: Any) -> None:
        thing = inspect.unwrap(thing)  # its text has the decorator
        source, own = definition(label, thing)
        pieces[label] = ""  # begun: functions may call each other
        space = thing.__globals__ if isinstance(thing, types.FunctionType) else vars(sys.modules[thing.__module__])
        free = inspect.getclosurevars(thing).nonlocals if isinstance(thing, types.FunctionType) else {}
        text = f"{FUTURE}\n{source}"  # under it annotations are not names: a type's alias is not taken along
        for used in sorted(taken(symtable.symtable(text, "", "exec")) - {own, "annotations"}):
            value = {**space, **free}.get(used, space)  # the names of all are nobody's value
            if value is space or used in pieces:
                continue
            given[used] = constant(used, value) or importing(used, value, thing.__module__)
            if not given[used]:
                add(used, value)
        del pieces[label]  # after those that it needs
        pieces[label] = source if own == label else f"{source}\n\n{label} = {own}\n"

    add(name, answer)
    head = "".join(f"{line}\n" for line in [f"{FUTURE}\n", *filter(None, given.values())])
    return "\n\n".join([head, *(f"{piece.rstrip()}\n" for piece in pieces.values())])


def definition(label: str, thing: Any) -> tuple[str, str]:
    """The text of a function or class, and the name that it has there."""
    if not isinstance(thing, (types.FunctionType, type)):
        raise LessonError(f"`{label}` is a {type(thing).__name__}, and only functions and plain values can be kept.")
    try:
        source = textwrap.dedent(inspect.getsource(thing))
        node = ast.parse(source).body[0]
    except (OSError, TypeError, SyntaxError) as error:
        raise LessonError(f"the text of `{label}` cannot be found. A function that a cell defines has one.") from error
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        raise LessonError(f"`{label}` is a lambda. Write it with `def`.")
    return source, node.name


def taken(table: symtable.SymbolTable) -> set[str]:
    """The names that a text takes from around it."""
    names = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
    return names.union(*map(taken, table.get_children()))


def importing(name: str, value: Any, here: str) -> str:
    """The import that brings a value under this name, or ""."""
    if isinstance(value, types.ModuleType):
        return f"import {value.__name__}" + ("" if name == value.__name__ else f" as {name}")
    # Its own module before functional, which has others' names (Callable), but after torch, whose own are private.
    for module in ("torch", "math", getattr(value, "__module__", None) or "numpy", "torch.nn.functional"):
        if "._" in module:
            continue
        for there in (name, getattr(value, "__name__", name)):
            if module != here and getattr(sys.modules.get(module), there, None) is value:
                return f"from {module} import {there}" + ("" if name == there else f" as {name}")
    return ""


def constant(name: str, value: Any) -> str:
    """The assignment that makes a number, a text, or a collection of such; "" for anything else."""
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():  # NumPy's own numbers
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return f'{name} = float("{value}")'
    try:
        return f"{name} = {value!r}" if ast.literal_eval(repr(value)) == value else ""
    except (ValueError, SyntaxError):
        return ""


def load(text: str, path: Path, name: str) -> Any:
    """What has this name in a part's text."""
    space: dict[str, Any] = {"__name__": f"part_{name}", "__file__": str(path)}
    try:
        exec(compile(text, str(path), "exec"), space)
        return space[name]
    except Exception as error:
        raise LessonError(
            f"Your part {name} ({path}) cannot be loaded: {type(error).__name__}: {error}. "
            "Run its check in your notebook again, or take this file away."
        ) from error


def load_part(name: str, folder: Path | None = None) -> Callable[..., Any] | None:
    """The learner's function of parts/NAME.py, or None without a file. Raises LessonError for a broken one."""
    folder = folder if folder is not None else home()
    path = folder / "parts" / f"{name}.py" if folder else None
    if path is None or not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise LessonError(f"Your part {name} ({path}) cannot be read: {error}. Take this file away.") from error
    return load(text, path, name)


def kept_parts(folder: Path | None = None) -> Iterator[str]:
    """The names of the parts in the learner's folder."""
    folder = folder if folder is not None else home()
    if folder and (folder / "parts").is_dir():
        yield from sorted(p.stem for p in (folder / "parts").glob("*.py"))
