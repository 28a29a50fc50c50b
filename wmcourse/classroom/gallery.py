"""What the README shows of the lessons: a picture of each, the map, and the table, from the executed notebooks.

    python -m wmcourse.classroom.gallery            writes docs/lessons/*.png, docs/map.png and the README's table
    python -m wmcourse.classroom.gallery --check    writes nothing; 1 where something is missing or old

The text of a lesson marks the cell whose picture it is with ``signature=true``: of several pictures the last counts;
``signature=2`` means the second.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nbformat
from PIL import Image

from wmcourse.classroom.build import read_lesson, sources, student_path
from wmcourse.classroom.gate import Draft
from wmcourse.engine.files import write_atomically
from wmcourse.lessons.map import system_map

ROOT = Path(__file__).resolve().parents[2]
DOCS, README = ROOT / "docs", ROOT / "README.md"
WIDTH, COLOURS = 560, 256  # pixels; a palette keeps each below some 40 kB
BEGIN, END = "<!-- the lessons: python -m wmcourse.classroom.gallery -->", "<!-- end of the lessons -->"


class Signature(NamedTuple):
    """The picture by which a lesson is remembered, and what it shows in words."""

    png: bytes
    alt: str


def signature(path: Path) -> Signature:
    """The picture of a lesson's marked cell, as it stands in the executed notebook.

    Raises ValueError when no cell is marked, or the marked one shows none.
    """
    said = {cell.id: cell.metadata.get("wmcourse", {}).get("signature") for cell in read_lesson(path).cells}
    marked = {cell: which for cell, which in said.items() if which}
    if not marked:
        raise ValueError(f"{path.name} marks no cell with signature=true.")
    cells = nbformat.read(path.with_suffix(".ipynb"), as_version=4).cells
    outputs = [output for cell in cells if cell.id in marked for output in cell.get("outputs", [])]
    outputs = [output for output in outputs if "image/png" in output.get("data", {})]
    if not outputs:
        raise ValueError(f"{path.name}: the cell that is marked with signature=true shows no picture.")
    (which,) = marked.values()
    shown = outputs[-1 if which is True else which - 1]
    words = shown.metadata.get("image/png", {}).get("alt") or shown.data.get("text/plain", "")
    return Signature(base64.b64decode(shown.data["image/png"]), words.split(" (Run the notebook")[0])


def thumbnail(png: bytes, width: int = WIDTH) -> bytes:
    """The same, small."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.quantize(COLOURS).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def row(path: Path, alt: str) -> str:
    """A lesson's row of the table: number, what it is and what it is good for, the learner's minutes, the picture."""
    draft = Draft(path)
    entry = draft.entry
    built = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    seconds = built.metadata.get("wmcourse", {}).get("seconds", 0)
    notebook = student_path(path).relative_to(ROOT).as_posix()
    image = f'<img src="docs/lessons/{path.stem}.png" width="280" alt="{html.escape(alt, quote=True)}">'
    minutes = f"{sum(draft.minutes().values())} min<br>machine: {5 * round(seconds / 5)} s"
    return f"| {entry.number} | [**{entry.title}**]({notebook})<br>{entry.able} | {minutes} | {image} |"


def table(signatures: dict[Path, Signature]) -> str:
    """The README's table of lessons."""
    head = "| | after it you can | yours | |\n|---|---|---|---|"
    return "\n".join([BEGIN, head, *(row(path, shown.alt) for path, shown in signatures.items()), END])


def main(argv: Sequence[str] | None = None) -> int:
    """0 when each lesson has its picture and the README says what the lessons say."""
    summary, usage = (__doc__ or "").split("\n", 1)
    parser = argparse.ArgumentParser("python -m wmcourse.classroom.gallery", description=summary, epilog=usage)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--check", action="store_true", help="write nothing, say what is missing")
    check = parser.parse_args(argv).check
    shown, troubles = dict[Path, Signature](), list[str]()
    for path in sources([]):
        try:
            shown[path] = signature(path)
        except (ValueError, OSError) as error:
            troubles.append(str(error))
    files = {DOCS / "lessons" / f"{path.stem}.png": thumbnail(picture.png) for path, picture in shown.items()}
    files[DOCS / "map.png"] = thumbnail(system_map(highlight=["world", "V", "M", "C"]).data, 1100)
    old = README.read_text(encoding="utf-8")
    new = re.sub(re.escape(BEGIN) + ".*" + re.escape(END), lambda _: table(shown), old, flags=re.DOTALL)
    for target, content in files.items():
        if not check:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, content)
        elif not target.is_file():
            troubles.append(f"{target.relative_to(ROOT)} is missing: run python -m wmcourse.classroom.gallery.")
    if not check:
        write_atomically(README, new.encode())
    elif minutes_of(old) != minutes_of(new):  # seconds differ from machine to machine
        troubles.append("README.md: its table of lessons is old: run python -m wmcourse.classroom.gallery.")
    print("\n".join(troubles) or "as it must be")
    return int(bool(troubles))


def minutes_of(text: str) -> str:
    """The table without what a machine's speed decides."""
    return re.sub(r"machine: \d+ s", "", text[text.find(BEGIN) : text.find(END)])


if __name__ == "__main__":
    sys.exit(main())
