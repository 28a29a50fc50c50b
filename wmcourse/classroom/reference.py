"""The course's quick reference: docs/formulas.md, each lesson's formula card, from the expressions that its checks use.

    python -m wmcourse.classroom.reference            write it
    python -m wmcourse.classroom.reference --check    is the file what the lessons say today? Writes nothing

Lessons that are not written yet are left out. Formulas stand between $` and `$, where GitHub's Markdown leaves their
backslashes and underscores alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wmcourse.engine.files import write_atomically
from wmcourse.lessons.derivation import latex
from wmcourse.lessons.lesson import Lesson, open_lesson, written
from wmcourse.lessons.syllabus import SYLLABUS

FILE = Path(__file__).resolve().parents[2] / "docs" / "formulas.md"
HEAD = """\
<!-- Written by `python -m wmcourse.classroom.reference` from the lessons' own expressions: do not edit it here. -->
# Formulas

What each lesson derives, as its formula card has it: the same expressions that the lesson's checks compare yours with.

In all lessons x is a frame, z a latent, a an action, h the memory's state; μ is `mu`, log σ² is `logvar`, log σ is
`log_sigma`. Losses are in nats, summed over what one sample consists of and averaged over the batch. In time,
$`(z_t, a_t, h_t)`$ leads to $`z_{t+1}, r_{t+1}, \\mathrm{done}_{t+1}`$.
"""


def section(lesson: Lesson) -> str:
    """A lesson's heading, its links, its formulas, and what its derivation assumes."""
    entry = lesson.entry
    links = (
        f"[Notebook](../notebooks/{entry.stem}.ipynb) · [solved](../solutions/{entry.stem}.ipynb) · "
        f"[code](../wmcourse/{entry.slug}.py)"
    )
    rows = [f"| {words(name)} | $`\\displaystyle {tex(formula)}`$ |" for name, formula in lesson.formulas.items()]
    assumed = "; ".join(dict.fromkeys(step.assumptions for step in lesson.steps.values()))
    return "\n".join(
        [
            f"## {entry.number} · {entry.title}",
            "",
            links,
            "",
            "| | |",
            "|---|---|",
            *rows,
            "",
            f"Assumed: {assumed}.",
            "",
        ]
    )


def words(name: str) -> str:
    """A formula's name in a cell of a table."""
    return name.strip().replace("|", "\\|")


def tex(formula: object) -> str:
    """In one line, without what would end the cell of a table or the formula itself."""
    return " ".join(latex(formula).replace("|", r"\vert ").split()).replace("`", "'")


def text() -> str:
    """The whole file."""
    return "\n".join([HEAD, *(section(open_lesson(entry.number)) for entry in SYLLABUS if written(entry))])


def current(path: Path = FILE) -> bool:
    """Whether the file says what the lessons say today."""
    return path.is_file() and path.read_text(encoding="utf-8") == text()


def main(argv: Sequence[str] | None = None) -> int:
    """0 when the file was written, or is current; 1 when it is not."""
    summary, usage = (__doc__ or "").split("\n", 1)
    parser = argparse.ArgumentParser("python -m wmcourse.classroom.reference", description=summary, epilog=usage)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--check", action="store_true", help="compare only; write nothing")
    parser.add_argument("--file", type=Path, default=FILE, help="another file than docs/formulas.md")
    arguments = parser.parse_args(argv)
    path: Path = arguments.file
    if arguments.check:
        up_to_date = current(path)
        print(f"{path}: {'up to date' if up_to_date else 'not what the lessons say: write it anew'}")
        return int(not up_to_date)
    write_atomically(path, text().encode())
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
