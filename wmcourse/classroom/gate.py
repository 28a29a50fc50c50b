"""Hold a lesson against the course's blueprint, as far as a script can: each finding is a line that says what to do.

    python -m wmcourse.classroom.gate               all lessons; 1 when there is anything to do
    python -m wmcourse.classroom.gate --table 03    and what the lesson consists of, in numbers

A rule is a function of a Draft that yields (cell or None, what is wrong and what to do). TEXT_RULES look at the text
and at the lesson's exercises; OUTPUT_RULES at the notebooks, and wait until they say what the text says.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import inspect
import itertools
import json
import math
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import nbformat
import numpy as np
import torch
from nbformat import NotebookNode
from torch.nn import functional

from wmcourse.classroom.build import LARGEST, answers, budget, differences, read_lesson, role, sources, student_path
from wmcourse.lessons import open_lesson
from wmcourse.lessons.exercise import Exercise, Task
from wmcourse.lessons.syllabus import SYLLABUS, find

SECTIONS = ["Predict first", "Derive", "See it", "Build it", "Measure it", "Explain it", "Close"]
MOVES = "(Run the notebook to move it.)"  # how the still picture of a widget ends in words
NOTATION = {  # what the sheet calls it: other names for it
    "logvar": "log_var|log_variance|logvariance|log_sigma2|log_sigma_sq|log_sigma_squared|logsigma2",
    "log_sigma": "logsigma|log_sig|log_std|logstd|log_sd",
    "logvar, or sigma**2,": "sigma_sq|sigma_squared",
    "log_pi": "logpi",
}
SKIPS = {"nbval-skip", "raises-exception", "nbval-raises-exception", "skip-execution"}
SKIP_COMMENT = re.compile(r"^\s*#+\s*NBVAL_(SKIP|RAISES_EXCEPTION)\s*$", re.MULTILINE)
MACHINE = re.compile(r"(?<![\w.])/(?:home|Users|root|tmp)/|\b[A-Z]:\\+Users\b|\bat 0x[0-9a-f]{6,}")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(\s*<?([^)\s>]*)")
Findings = Iterator[tuple[int | None, str]]


class Draft:
    """What the rules look at: the text's cells and, as soon as there is one, the ``built`` notebook with its outputs.

    Raises ValueError when the text is none that can be built.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.built = path, read_lesson(path)
        self.cells: list[NotebookNode] = self.built.cells
        entry = find(path.stem)
        if entry is None:
            raise ValueError(f"{path.stem} is not in the table of contents (wmcourse/lessons/syllabus.py).")
        self.entry, self.lesson = entry, open_lesson(path.stem)
        self.sections, now = list[str](), ""  # of each cell; "" is the opening
        for cell in self.cells:
            if cell.cell_type == "markdown" and cell.source.startswith("## "):
                now = cell.source.split("\n")[0][3:].strip()
            self.sections.append(now)

    def within(self, section: str, kind: str = "") -> Iterator[tuple[int, NotebookNode]]:
        """The cells of a section, with their numbers and outputs."""
        for number, cell in enumerate(self.built.cells):
            if self.sections[number] == section and kind in ("", cell.cell_type):
                yield number, cell

    def tasks(self) -> Iterator[tuple[int, NotebookNode, Task]]:
        """The answer cells and what they answer."""
        for number, cell in enumerate(self.cells):
            if role(cell) in ("exercise", "step"):
                table: Any = self.lesson.exercises if role(cell) == "exercise" else self.lesson.steps
                yield number, cell, table[cell.metadata.wmcourse.name]

    def outputs(self) -> Iterator[tuple[int, NotebookNode]]:
        for number, cell in enumerate(self.built.cells):
            yield from ((number, output) for output in cell.get("outputs", []))

    def minutes(self) -> dict[str, int]:
        """What the table in the opening says: section -> minutes of the learner."""
        text = "\n".join(cell.source for _, cell in self.within("", "markdown"))
        rows = {name: re.search(rf"^\|[^|\n]*{name}[^|\n]*\|[^|\n\d]*(\d+)", text, re.MULTILINE) for name in SECTIONS}
        return {name: int(row[1]) for name, row in rows.items() if row}


def prose(cell: NotebookNode) -> str:
    """A text cell without what only looks like links and headings: code and formulas."""
    return re.sub(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$", "", cell.source, flags=re.DOTALL)


def tree(cell: NotebookNode) -> ast.Module:
    """The statements of a code cell; none where it is not plain Python, which ``imports`` reports."""
    try:
        return ast.parse(cell.source if cell.cell_type == "code" else "")
    except SyntaxError:
        return ast.Module([], [])


def calls(cells: Iterator[tuple[int, NotebookNode]]) -> set[str]:
    """The names of all functions called, without what stands before the dot."""
    nodes = [node for _, cell in cells for node in ast.walk(tree(cell)) if isinstance(node, ast.Call)]
    return {ast.unparse(node.func).split(".")[-1] for node in nodes}


def words(output: NotebookNode) -> str:
    return output.get("data", {}).get("text/plain", "")


def amount(number: int, low: int, high: float, what: str) -> Findings:
    if not low <= number <= high:
        yield None, f"{number} {what}; there must be {low} {f'to {high}' if high < math.inf else 'or more'}."


# --- Rules of the text


def structure(draft: Draft) -> Findings:
    title = f"# {draft.entry.number} · {draft.entry.title}"
    if draft.cells[0].cell_type != "markdown" or draft.cells[0].source.split("\n")[0] != title:
        yield 0, f"the lesson must begin with a text cell whose first line is '{title}'."
    headings = []
    for number, cell in enumerate(draft.cells):
        for heading in re.finditer(r"^## (.+)$", prose(cell), re.MULTILINE) if cell.cell_type == "markdown" else ():
            headings.append(heading[1].strip())
            if heading.start():
                yield number, f"'{heading[0]}' must begin a cell of its own."
    if headings != SECTIONS:
        yield None, f"the sections are {', '.join(headings)}; they must be {', '.join(SECTIONS)}, in this order."
    yield from amount(len(draft.cells), 40, 65, "cells")


def tasks(draft: Draft) -> Findings:
    yield from amount(len(draft.lesson.exercises), 5, 8, "exercises")
    yield from amount(len(draft.lesson.steps), 2, math.inf, "steps of the learner's own")
    there, count = {task.name for _, _, task in draft.tasks()}, itertools.count(1)
    for name in [*draft.lesson.exercises, *draft.lesson.steps]:
        if name not in there:
            yield None, f"{name} has no cell: give it one, or take it out of the lesson."
    for number, _, task in draft.tasks():
        star = " ★" if isinstance(task, Exercise) and task.part else ""
        title = f"### Exercise {next(count)} · {task.title}{star}" if isinstance(task, Exercise) else ""
        title, head = title or f"### Step · {task.title}", draft.cells[number - 1]
        if head.cell_type != "markdown" or head.source.split("\n")[0].rstrip() != title:
            yield number - 1, f"before the answer cell of {task.name} a text cell must begin with '{title}'."
        if task.about not in head.source:
            yield number - 1, f"the text of {task.name} must hold '{task.about}'."
        yield from amount(len(task.hints), 2, 3, f"hints of {task.name}")
        if isinstance(task, Exercise):
            yield from amount(len(task.known), 5, math.inf, f"known mistakes of {task.name}")
            yield from amount(len(task.alternatives), 2, math.inf, f"alternatives of {task.name}")


def opening(draft: Draft) -> Findings:
    for name in SECTIONS:
        if name not in draft.minutes():
            yield None, f"the opening's table has no row with the minutes of '{name}': | {name} | 20 |."
    text = "\n\n".join(cell.source for _, cell in draft.within("", "markdown"))
    listed = [int(n) for n in re.findall(r"^(\d+)\. ", text[text.find("you can") :], re.MULTILINE)]
    if "you can" not in text:
        yield None, "the opening does not say what 'you can' do after the lesson: say it in 3 to 5 numbered items."
    else:
        yield from amount(sum(a == b for a, b in enumerate(listed, 1)), 3, 5, "numbered outcomes under 'you can'")
    if "system_map" not in calls(draft.within("", "code")):
        yield None, "the opening shows no map of the system: call system_map(highlight=[…]) there."
    if "card" not in calls(draft.within("Close", "code")):
        yield None, "the close has no formula card: call lesson.card() there."


def links(draft: Draft) -> Findings:
    folder = student_path(draft.path).parent
    for number, cell in enumerate(draft.cells):
        text = prose(cell) if cell.cell_type == "markdown" else ""
        for picture, says, target in LINK.findall(text):
            if picture and not says.strip():
                yield number, f"the picture {target} has no words for who does not see it: ![what it shows](…)."
            file = unquote(target.split("#")[0])
            if file and not re.match(r"[a-z]+:", file) and not (folder / file).exists():
                yield number, f"the link to {target} leads nowhere from notebooks/."
        if re.search(r"<img\b(?![^>]*\balt=)", text):
            yield number, "an <img> has no alt text."


def imports(draft: Draft) -> Findings:
    later = {entry.slug: entry.number for entry in SYLLABUS if entry.number > draft.entry.number}
    for number, cell in enumerate(draft.cells):
        if cell.cell_type == "code" and cell.source.strip() and not tree(cell).body:
            yield number, "this is empty, or not plain Python: leave magics and shell commands out."
        for node in ast.walk(tree(cell)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            names = [f"{node.module}.{name}" for name in names] if isinstance(node, ast.ImportFrom) else names
            for name in (name.split(".") for name in names if name.startswith("wmcourse.")):
                if name[1] in ("classroom", "cli"):
                    yield number, f"wmcourse.{name[1]} is not for lessons."
                for slug in set(name) & later.keys():
                    yield number, f"it imports {slug}, which is lesson {later[slug]}: use only what came before."


def notation(draft: Draft) -> Findings:
    for number, cell in enumerate(draft.cells):
        for right, wrong in NOTATION.items():
            for name in sorted(set(re.findall(rf"\b(?:{wrong})\b", cell.source))):
                yield number, f"`{name}` is {right} on the course's notation sheet."


def skips(draft: Draft) -> Findings:
    for number, cell in enumerate(draft.cells):
        if role(cell) and (SKIPS & set(cell.metadata.get("tags", [])) or SKIP_COMMENT.search(cell.source)):
            yield number, "an answer or a check must not be skipped, nor allowed to fail: take the tag or comment away."


def references(draft: Draft) -> Findings:
    """The solution shown is the exercise's reference, word for word or, where that is a core module's function, which
    guards its inputs, too, in what it computes. A part's reference is always of the core module.
    """
    core = f"wmcourse.{draft.entry.slug}"
    if not any(exercise.part for exercise in draft.lesson.exercises.values()):
        yield None, "no exercise is a part of the world model: at least one must be."
    scope: dict[str, Any] = {"torch": torch, "np": np, "math": math, "F": functional}
    for number, cell in enumerate(draft.cells):
        if role(cell) != "exercise":
            kinds = ast.Import | ast.ImportFrom | ast.FunctionDef
            given = ast.Module([node for node in tree(cell).body if isinstance(node, kinds)], [])
            with contextlib.suppress(Exception):  # what an answer needs of it is missed there
                exec(compile(given, f"<cell {number}>", "exec"), scope)
            continue
        exercise = draft.lesson.exercises[cell.metadata.wmcourse.name]
        name, module = exercise.name, getattr(exercise.reference, "__module__", "")
        if module != core and bare(cell.source, name) != bare(inspect.getsource(exercise.reference), name):
            yield number, f"the solution of {name} is not the exercise's reference: make them the same function."
        if exercise.part and module != core:
            yield number, f"{name} is a part, so its reference must be the function of {core}, not of {module}."
        try:
            exec(compile(cell.source, f"<cell {number}>", "exec"), scope)
            exercise.judge(scope[name])
        except Exception as error:
            yield number, f"the solution of {name} fails its check: {' '.join(str(error).split())}"


def bare(source: str, name: str) -> str:
    """A function as it computes, without docstrings, annotations and comments; "" when there is none of that name."""
    body = ast.parse(textwrap.dedent(source)).body
    found = next((node for node in body if isinstance(node, ast.FunctionDef) and node.name == name), None)
    return ast.unparse(Undressed().visit(found)) if found else ""


class Undressed(ast.NodeTransformer):
    """Takes away what does not compute."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns, node.body = None, node.body[ast.get_docstring(node) is not None :]
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return ast.copy_location(ast.Assign([node.target], node.value), node) if node.value else None


# --- Rules of the notebooks


def pictures(draft: Draft) -> Findings:
    yield from amount(sum(words(out).endswith(MOVES) for _, out in draft.outputs()), 2, math.inf, "widgets (Explorer)")
    for number, output in draft.outputs():
        for kind in output.get("data", {}):
            alt = output.metadata.get(kind, {}).get("alt", "" if words(output).startswith("<") else words(output))
            if kind.startswith("image/") and not alt.strip():
                yield number, "its picture has no words for who does not see it: show it by still(figure, alt=…)."


def questions(draft: Draft) -> Findings:
    def asked(section: str) -> list[str]:
        said = [words(output) for _, cell in draft.within(section, "code") for output in cell.outputs]
        return [q.text for q in draft.lesson.questions.values() if any(text.startswith(q.text) for text in said)]

    yield from amount(len(asked("Predict first")), 2, 3, "questions in 'Predict first'")
    yield from amount(len(asked("Explain it")), 2, 3, "questions in 'Explain it'")
    for text in asked("Predict first"):
        if not any(words(output).startswith(f"**{text}**") for _, output in draft.outputs()):
            yield None, f"the prediction '{text}' is never revealed: call its reveal() in a later cell."


def clean(draft: Draft) -> Findings:
    for number, output in draft.outputs():
        ignored = "nbval-ignore-output" in draft.cells[number].metadata.get("tags", [])
        if output.get("name") == "stderr" and not ignored:
            first = output.text.strip().split("\n")[0]
            yield number, f"it warns: {first[:80]}. Mend the cause, or tag the cell nbval-ignore-output."
        if output.output_type == "error":
            yield number, f"its output is an error, {output.ename}."
    for number, cell in enumerate(draft.built.cells):
        said = [{k: v for k, v in out.get("data", out).items() if "image" not in k} for out in cell.get("outputs", [])]
        if found := MACHINE.search(cell.source) or MACHINE.search(json.dumps(said)):
            yield number, f"'{found[0]}' is true on one machine only: take it out."


def sizes(draft: Draft) -> Findings:
    for path in (draft.path.with_suffix(".ipynb"), student_path(draft.path)):
        if path.stat().st_size > LARGEST:
            yield None, f"{path.parent.name}/{path.name} has {path.stat().st_size:,} bytes; the limit is {LARGEST:,}."
    seconds = draft.built.metadata.get("wmcourse", {}).get("seconds")
    if seconds is None or seconds > budget(draft.path):
        yield None, f"its run took {seconds} s, of the {budget(draft.path)} s it may take: make it faster, build again."


TEXT_RULES = (structure, tasks, opening, links, imports, notation, skips, references)
OUTPUT_RULES = (pictures, questions, clean, sizes)


class Report(NamedTuple):
    """What a lesson consists of."""

    sections: int
    cells: int
    exercises: int
    mistakes: int
    alternatives: int
    minutes: int  # of the learner, by the table in the opening
    seconds: int | None  # of the machine, in the last build
    bytes: int  # of the notebook with outputs


def report(path: Path) -> Report:
    """The numbers of a lesson. Raises ValueError when its text cannot be built."""
    draft, target = Draft(path), path.with_suffix(".ipynb")
    metadata = nbformat.read(target, as_version=4).metadata if target.is_file() else {}
    exercises = draft.lesson.exercises.values()
    return Report(
        len(set(draft.sections) - {""}),
        len(draft.cells),
        len(exercises),
        sum(len(exercise.known) for exercise in exercises),
        sum(len(exercise.alternatives) for exercise in exercises),
        sum(draft.minutes().values()),
        metadata.get("wmcourse", {}).get("seconds"),
        target.stat().st_size if target.is_file() else 0,
    )


def findings(path: Path) -> list[str]:
    """All that is wrong with a lesson, one line each; an empty list is good."""
    found = list[tuple[int | None, str]]()
    try:
        draft = Draft(path)
        for rule in TEXT_RULES:
            found += rule(draft)
        stale = differences(path)
        if stale:
            found.append((None, f"{'; '.join(stale)}. Build it."))
        else:
            draft.built = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
            for rule in OUTPUT_RULES:
                found += rule(draft)
    except (ValueError, OSError) as error:
        found.append((None, str(error)))
    where = f"{path.parent.name}/{path.name}"
    return [f"{where}: {what}" if n is None else f"{where}: cell {n}: {what}" for n, what in found]


def main(argv: Sequence[str] | None = None) -> int:
    """0 when nothing was found, 1 otherwise."""
    summary, usage = (__doc__ or "").split("\n", 1)
    parser = argparse.ArgumentParser("python -m wmcourse.classroom.gate", description=summary, epilog=usage)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help="a number, a slug, or a path (default: all)")
    parser.add_argument("--table", action="store_true", help="print what each lesson consists of, too")
    arguments = parser.parse_args(argv)
    try:
        paths = sources(arguments.lessons)
    except ValueError as error:
        parser.error(str(error))
    failed = False
    for path in paths:
        where, found = f"{path.parent.name}/{path.name}", list[str]()
        try:
            if not answers(read_lesson(path)):
                print(f"{where}: no exercises yet, not looked at")
                continue
            if arguments.table:
                print(f"{where}: " + ", ".join(f"{number} {what}" for what, number in report(path)._asdict().items()))
        except (ValueError, OSError):
            pass  # a finding, too
        found = findings(path)
        print("\n".join(found) or f"{where}: as it must be")
        failed |= bool(found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
