"""Markdown tables, printed as they grow and kept in benchmarks/results."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from wmcourse.world_models_training import Score

RESULTS = Path(__file__).parent / "results"


def interval(score: Score) -> str:
    """ "262 [248, 276]": the mean and its 95 % interval."""
    return bracket(score.mean, score.ci95)


def bracket(mean: float, ci95: Sequence[float]) -> str:
    """The same from the two numbers that a report keeps."""
    return f"{mean:.0f} [{ci95[0]:.0f}, {ci95[1]:.0f}]"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns stand under each other in the source as well."""
    cells = [list(map(str, row)) for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def machine() -> str:
    """What a reader must know to compare: never a name or a path."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        name = models[0].split(":", 1)[1].strip() if models else name
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{name}, {os.cpu_count()} cores seen; {versions}"


def keep(name: str, text: str, write: bool) -> None:
    """Print the report of a benchmark and, when asked to, keep it in benchmarks/results."""
    print(text)
    if write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(text + "\n", encoding="utf-8")
