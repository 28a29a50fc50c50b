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
import builtins
import contextlib
import datetime
import inspect
import json
import math
import os
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from wmcourse.engine.errors import RunError
from wmcourse.engine.files import write_atomically
from wmcourse.lessons.errors import LessonError

MARK = ".course"
CHECKOUT = Path(__file__).resolve().parents[2]


def home(make: bool = False) -> Path | None:
    """The learner's folder: $WMCOURSE_HOME, else the nearest one upwards that `wmcourse start` made, else ``my`` in the
    course's checkout. None in the course's own solutions (what passes there is not yours) and where there is none.
    """
    told = os.environ.get("WMCOURSE_HOME")
    if told:
        return Path(told)
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
        self.data: dict[str, Any] = {"passed": {}, "pace": "two weeks"}
        if self.folder is None:
            return
        path = self.folder / "progress.json"
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            self.set_aside(path, str(error))
            return
        try:
            data = json.loads(text)
            if not (isinstance(data, dict) and isinstance(data.get("passed"), dict)):
                raise ValueError("it has no list of what was passed")
            self.data |= data
        except ValueError as error:
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


def keep_part(name: str, lesson: str, answer: Callable[..., Any], folder: Path) -> str:
    """Write a function that passed into parts/NAME.py; an earlier text of it stays beside. Returns a remark, or ""."""
    try:
        text = standalone(answer, name)
    except LessonError as error:
        return str(error)
    path = folder / "parts" / f"{name}.py"
    head = f"# Lesson {lesson}, {name}: your own function, as you wrote it when it passed on {{}}.\n"
    try:
        if path.is_file():
            before = path.read_text(encoding="utf-8")
            if before.split("\n", 1)[-1] == text:
                return ""
            earlier = path.parent / "earlier"
            number = next(i for i in range(1, 10_000) if not (earlier / f"{name}.{i}.py").exists())
            write_atomically(earlier / f"{name}.{number}.py", before.encode())
        write_atomically(path, (head.format(today()) + text).encode())
    except (RunError, OSError) as error:
        return f"(It passed, but could not be kept as a part: {error})"
    return ""


def standalone(answer: Callable[..., Any], name: str) -> str:
    """The text of a function with all it needs: imports, constants, and other functions of the notebook.

    Raises LessonError, saying what stands in the way.
    """
    pieces: dict[str, str] = {}
    imports: list[str] = []
    todo: list[tuple[str, Any]] = [(name, answer)]
    while todo:
        label, thing = todo.pop()
        if label in pieces:
            continue
        if not isinstance(thing, (types.FunctionType, type)):
            raise LessonError(f"({name} passed, but is no plain function: write it with `def` to keep it as a part.)")
        try:
            source = textwrap.dedent(inspect.getsource(thing))
            tree = ast.parse(source)
        except (OSError, TypeError, SyntaxError) as error:
            raise LessonError(f"({name} passed, but its text cannot be found: define it in a cell.)") from error
        if not isinstance(tree.body[0], (ast.FunctionDef, ast.ClassDef)):
            raise LessonError(f"({name} passed, but is a lambda: write it with `def` to keep it as a part.)")
        pieces[label] = source if tree.body[0].name == label else f"{source}\n\n{label} = {tree.body[0].name}\n"
        space = getattr(thing, "__globals__", None) or vars(sys.modules[thing.__module__])
        free = dict(inspect.getclosurevars(thing).nonlocals) if isinstance(thing, types.FunctionType) else {}
        for used in sorted({n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}):
            if used == tree.body[0].name or hasattr(builtins, used) or used not in {**space, **free}:
                continue
            value = free.get(used, space.get(used))
            if isinstance(value, types.ModuleType):
                imports.append(f"import {value.__name__} as {used}" if used != value.__name__ else f"import {used}")
            elif isinstance(value, (bool, int, float, str)) or value is None:
                imports.append(f"{used} = {constant(value)}")
            elif getattr(value, "__module__", "__main__") != space.get("__name__", "__main__"):
                imports.append(f"from {value.__module__} import {getattr(value, '__name__', used)} as {used}")
            else:
                todo.append((used, value))
    body = "\n\n".join(reversed([piece.rstrip() + "\n" for piece in pieces.values()]))
    return "from __future__ import annotations\n\n" + "".join(f"{i}\n" for i in dict.fromkeys(imports)) + f"\n\n{body}"


def constant(value: Any) -> str:
    return f'float("{value}")' if isinstance(value, float) and not math.isfinite(value) else repr(value)


def load_part(name: str, folder: Path | None = None) -> Callable[..., Any] | None:
    """The learner's function of parts/NAME.py, or None without a file. Raises LessonError for a broken one."""
    folder = folder if folder is not None else home()
    path = folder / "parts" / f"{name}.py" if folder else None
    if path is None or not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8")
        space: dict[str, Any] = {"__name__": f"part_{name}", "__file__": str(path)}
        exec(compile(text, str(path), "exec"), space)
        return space[name]
    except Exception as error:
        raise LessonError(
            f"Your part {name} ({path}) cannot be loaded: {type(error).__name__}: {error}. "
            "Run its check in your notebook again, or take this file away."
        ) from error


def kept_parts(folder: Path | None = None) -> Iterator[str]:
    """The names of the parts in the learner's folder."""
    folder = folder if folder is not None else home()
    if folder and (folder / "parts").is_dir():
        yield from sorted(p.stem for p in (folder / "parts").glob("*.py"))
