"""Build a lesson: its text, solutions/NN_slug.py, becomes solutions/NN_slug.ipynb, executed, with its pictures.

    python -m wmcourse.classroom.build solutions/11_world_models_training.py
    python -m wmcourse.classroom.build --check solutions/*.py     does each notebook still say what its text says?

The text (jupytext's py:percent format) is the only source. Cells have ids that depend on nothing but their text, so a
notebook that is built twice differs only where its outputs do.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
LARGEST = 1_500_000  # bytes of a committed notebook


def read_lesson(path: Path) -> NotebookNode:
    """The notebook of a lesson's text, without outputs. Raises ValueError when it is not a py:percent file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py" or "# %%" not in text:
        raise ValueError(f"{path} is not a lesson's text: a .py file with '# %%' between its cells.")
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})
    notebook.nbformat, notebook.nbformat_minor = 4, 5  # the first with cell ids
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        cell.metadata.pop("lines_to_next_cell", None)
        name = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[name] = seen.get(name, 0) + 1
        cell.id = name if seen[name] == 1 else f"{name}-{seen[name]}"
    return notebook


def execute(notebook: NotebookNode, directory: Path, timeout: int = 900) -> NotebookNode:
    """Run all cells in ``directory`` and keep their outputs. Raises CellExecutionError where one fails."""
    where = {"metadata": {"path": directory}}
    NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources=where).execute()
    notebook.metadata = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})  # no widgets, no versions
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # timings
    return notebook


def build(path: Path) -> Path:
    """Execute a lesson and write its notebook beside it; the old one stays when a cell fails. Returns its path."""
    notebook = execute(read_lesson(path), path.parent)
    text = nbformat.writes(notebook) + "\n"
    if len(text.encode()) > LARGEST:
        raise ValueError(f"{path} makes a notebook of {len(text.encode()):,} bytes; the limit is {LARGEST:,}.")
    target, partial = path.with_suffix(".ipynb"), path.with_suffix(".ipynb.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(target)
    return target


def differences(path: Path) -> list[str]:
    """Where the notebook beside a lesson's text does not say what the text says; an empty list is good."""
    target = path.with_suffix(".ipynb")
    if not target.is_file():
        return [f"{target} is missing"]
    there, wanted = nbformat.read(target, as_version=4), read_lesson(path)
    found = [] if len(there.cells) == len(wanted.cells) else [f"{len(there.cells)} cells, not {len(wanted.cells)}"]
    for number, (a, b) in enumerate(zip(there.cells, wanted.cells, strict=False)):
        if (a.id, a.cell_type, a.source, a.metadata) != (b.id, b.cell_type, b.source, b.metadata):
            found.append(f"cell {number} differs: {b.source[:60]!r}")
        elif a.cell_type == "code" and a.source.strip() and a.execution_count is None:
            found.append(f"cell {number} was never executed: {b.source[:60]!r}")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """0 when all went well, 1 when a lesson failed or its notebook is not what its text says."""
    summary, usage = (__doc__ or "").split("\n", 1)
    parser = argparse.ArgumentParser("python -m wmcourse.classroom.build", description=summary, epilog=usage)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("lessons", nargs="+", type=Path, metavar="LESSON.py")
    parser.add_argument("--check", action="store_true", help="compare only; execute and write nothing")
    arguments = parser.parse_args(argv)
    failed = False
    for path in arguments.lessons:
        try:
            problems = differences(path) if arguments.check else []
            done = "the notebook is up to date" if arguments.check else f"wrote {build(path)}"
            print(f"{path}: {'; '.join(problems) or done}")
            failed |= bool(problems)
        except (ValueError, OSError, CellExecutionError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
