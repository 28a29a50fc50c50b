"""Look at everything that a lesson needs, and say what to do where something is not right."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from wmcourse.engine.files import write_atomically
from wmcourse.lessons import progress

Finding = tuple[str, str, str]  # ✓, ! or ✗; what was found; for ! and ✗, what to do
AGAIN = "run `make setup` again (or `python -m pip install -e .` in the course's folder)."


def fits(version: str, wanted: str) -> bool:
    """Whether a version satisfies "~=2.4" or ">=3.11,<3.15": the forms in which the course names its own."""

    def numbers(text: str) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", text.partition("+")[0])]

    have = numbers(version)
    for sign, bound in re.findall(r"(~=|==|>=|<)\s*([\w.]+)", wanted):
        want = numbers(bound)
        good = {"~=": have >= want and have[: len(want) - 1] == want[:-1], "==": have == want, ">=": have >= want}
        if not good.get(sign, have < want):
            return False
    return True


def ask(*arguments: str) -> str:
    """What a Python of its own says: what is broken there breaks nothing here. Raises RuntimeError, its last words."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise RuntimeError(re.sub(r"^[\w.]+LessonError: ", "", last))
    return done.stdout.strip()


def python() -> Iterator[Finding]:
    wanted, version = importlib.metadata.metadata("wmcourse")["Requires-Python"], platform.python_version()
    advice = f"install a Python {wanted}, then `make clean` and `make setup`."
    yield "✓" if fits(version, wanted) else "✗", f"Python {version} ({sys.executable})", advice


def packages() -> Iterator[Finding]:
    good = 0
    for line in importlib.metadata.requires("wmcourse") or []:
        name, wanted = re.split(r"(?:\[.*?\])?\s*(?=[~=<>;]|$)", line, maxsplit=1)
        if "extra ==" in line:
            continue
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "is not installed"
        if fits(version, wanted):
            good += 1
        else:
            yield "✗", f"{name} {version}; {wanted} is needed", AGAIN
    yield "✓", f"{good} packages are there in the right versions", ""


def torch() -> Iterator[Finding]:
    said = ask("-c", "import torch; print(torch.__version__, 'adds 1 and 1:', torch.ones(2).sum().item())")
    yield "✓" if said.endswith(" 2.0") else "✗", f"torch {said}", AGAIN


def kernel() -> Iterator[Finding]:
    advice = f"run: {sys.executable} -m ipykernel install --sys-prefix --name python3"
    spec = json.loads(ask("-m", "jupyter", "kernelspec", "list", "--json"))["kernelspecs"].get("python3")
    if spec is None:
        yield "✗", "there is no kernel named python3", advice
        return
    command, place = spec["spec"]["argv"][0], spec["resource_dir"]
    if re.fullmatch(r"python(3(\.\d+)?)?", command) or Path(command).parent == Path(sys.executable).parent:
        yield "✓", f"the kernel python3 is this Python ({place})", ""
    else:
        yield "✗", f"the kernel python3 is another Python, {command} ({place})", f"take {place} away, or {advice}"


def jupyterlab() -> Iterator[Finding]:
    yield "✓", f"JupyterLab {importlib.metadata.version('jupyterlab')}", ""
    files = importlib.metadata.files("jupyterlab_widgets") or []
    there = any("jupyterlab-manager/package.json" in f.as_posix() and Path(str(f.locate())).is_file() for f in files)
    yield "✓" if there else "✗", f"its extension for widgets is {'there' if there else 'missing'}", AGAIN


def folder() -> Iterator[Finding]:
    mine = progress.home()
    if mine is None or not mine.is_dir():
        yield "!", "you have no folder of your own here yet", "`wmcourse start` makes it."
        return
    trial = mine / progress.MARK / "doctor"
    write_atomically(trial, b"")
    trial.unlink()
    yield "✓", f"{mine} can be written", ""
    path = mine / "progress.json"
    try:
        if path.exists():
            yield "✓", f"{path} can be read, passed: {len(json.loads(path.read_text(encoding='utf-8'))['passed'])}", ""
    except (OSError, ValueError, KeyError, TypeError):
        advice = "run your notebooks' checks again: the first that passes puts it aside and begins a new one."
        yield "✗", f"{path} cannot be read", advice


def parts() -> Iterator[Finding]:
    names = list(progress.kept_parts())
    if names:
        load = "from wmcourse.lessons.progress import load_part; [load_part(name) for name in"
        ask("-c", f"{load} {names}]")
        yield "✓", f"your parts load: {', '.join(names)}", ""


def machine() -> Iterator[Finding]:
    import psutil

    mine = progress.home()
    free = shutil.disk_usage(mine if mine and mine.is_dir() else Path.cwd()).free / 1e9
    memory = psutil.virtual_memory().total / 1e9
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield "✓" if free >= 2 else "!", f"{free:.1f} GB of disk are free", "2 GB are wanted: delete old runs, say."
    yield "✓" if memory >= 4 else "!", f"{memory:.1f} GB of memory", "4 GB are wanted: close what you do not need."
    yield "✓" if cores >= 2 else "!", f"cores: {cores}", "training takes about twice the time that a lesson says."


LOOKS: dict[Callable[[], Iterator[Finding]], str] = {  # and what to do when a look itself fails
    python: AGAIN,
    packages: AGAIN,
    torch: AGAIN,
    kernel: AGAIN,
    jupyterlab: AGAIN,
    folder: "make it writable.",
    parts: "run its check in your notebook again, or take its file out of parts/.",
    machine: AGAIN,
}


def examine() -> Iterator[Finding]:
    for look, advice in LOOKS.items():
        try:
            yield from look()
        except Exception as error:  # whatever is broken: the next look comes
            yield "✗", f"{look.__name__}: {' '.join(str(error).split())[:400] or type(error).__name__}", advice


def main() -> int:
    """Print what was found. 1 when there is a ✗ among it."""
    bad = 0
    for mark, found, advice in examine():
        print(f"{mark} {found}" + (f"\n    → {advice}" if mark != "✓" else ""), flush=True)
        bad += mark == "✗"
    print(f"Things to put right: {bad}." if bad else "All that a lesson needs is there.")
    return int(bad > 0)
