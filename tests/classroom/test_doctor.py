"""The doctor: whatever is broken, it says so, says what to do, and does not stop."""

import importlib.metadata
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from wmcourse.classroom import doctor


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "my"
    folder.mkdir()
    monkeypatch.setenv("WMCOURSE_HOME", str(folder))
    return folder


@pytest.mark.parametrize(
    ("version", "wanted", "good"),
    [
        ("2.13.0+cpu", "==2.13.0", True),
        ("2.13.1", "==2.13.0", False),
        ("2.4.2", "~=2.4", True),
        ("2.11", "~=2.4", True),
        ("2.3.9", "~=2.4", False),
        ("3.0", "~=2.4", False),
        ("0.8.7", "~=0.8.0", True),
        ("0.9.0", "~=0.8.0", False),
        ("3.11.0", "<3.15,>=3.11", True),
        ("3.15.0", "<3.15,>=3.11", False),
        ("3.9.18", ">=3.11", False),
    ],
)
def test_versions(version: str, wanted: str, good: bool) -> None:
    assert doctor.fits(version, wanted) == good


def test_all_is_well_here(capsys: pytest.CaptureFixture[str], mine: Path) -> None:
    assert doctor.main() == 0
    said = capsys.readouterr().out
    assert "✗" not in said
    assert "torch 2" in said
    assert " packages are there in the right versions" in said
    assert "the kernel python3 is this Python" in said
    assert f"{mine} can be written" in said
    assert said.endswith("All that a lesson needs is there.\n")
    assert not list(mine.rglob("doctor"))


def marks(look: Callable[[], Any]) -> list[str]:
    return [mark for mark, _, _ in look()]


def test_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "sympy":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0" if name == "numpy" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = [f"{mark} {what}" for mark, what, _ in doctor.packages()]
    assert "✗ sympy is not installed; ~=1.14 is needed" in found
    assert "✗ numpy 1.0; ~=2.4 is needed" in found
    required = [line for line in importlib.metadata.requires("wmcourse") or [] if "extra ==" not in line]
    assert found[-1].startswith(f"✓ {len(required) - 2} packages")


def test_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    for command, good in (
        ("python", True),
        ("python3.11", True),
        (sys.executable, True),
        ("/usr/local/other/python3", False),
        (None, False),
    ):
        spec = {"python3": {"resource_dir": "there", "spec": {"argv": [command, "-m", "ipykernel_launcher"]}}}
        said = json.dumps({"kernelspecs": spec if command else {}})
        monkeypatch.setattr(doctor, "ask", lambda *_, said=said: said)
        ((mark, found, advice),) = doctor.kernel()
        assert mark == ("✓" if good else "✗"), command
        assert good or (command or "no kernel") in found
        assert good or "-m ipykernel install --sys-prefix" in advice


def test_jupyterlab_without_its_widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "files", lambda name: None)
    assert marks(doctor.jupyterlab) == ["✓", "✗"]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"\xff", b'{"passed": 3}'])
def test_a_broken_progress_file_is_left_alone(mine: Path, data: bytes) -> None:
    (mine / "progress.json").write_bytes(data)
    assert marks(doctor.folder) == ["✓", "✗"]
    assert (mine / "progress.json").read_bytes() == data
    (mine / "progress.json").write_text('{"passed": {"03/spread": "2026-11-24"}}')
    assert [what for _, what, _ in doctor.folder()][1].endswith("passed: 1")


def test_folders(mine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (mine / ".course").write_text("a file, where a folder should be")
    monkeypatch.setattr(doctor, "LOOKS", {doctor.folder: "make it writable."})
    ((mark, what, advice),) = doctor.examine()
    assert mark == "✗"
    assert f"folder: Could not write {mine}" in what
    assert advice == "make it writable."
    monkeypatch.setenv("WMCOURSE_HOME", str(tmp_path / "none"))
    assert list(doctor.folder()) == [("!", "you have no folder of your own here yet", "`wmcourse start` makes it.")]


def test_parts(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert marks(doctor.parts) == []
    (mine / "parts").mkdir()
    (mine / "parts" / "vae_loss.py").write_text("def vae_loss():\n    return 1\n")
    assert list(doctor.parts()) == [("✓", "your parts load: vae_loss", "")]
    (mine / "parts" / "shift_plan.py").write_text("import no_such_module\n")
    monkeypatch.setattr(doctor, "LOOKS", {doctor.parts: "advice"})
    ((mark, found, _),) = doctor.examine()
    assert mark == "✗"
    assert "Your part shift_plan" in found
    assert "No module named 'no_such_module'" in found


def test_a_small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    class Little(NamedTuple):
        total: int = 10**9
        free: int = 10**9

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Little())
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Little())
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda process: {0}, raising=False)
    assert marks(doctor.machine) == ["!", "!", "!"]


def test_nothing_stops_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **named: Any) -> Any:
        raise OSError("out of order")

    for name in ("version", "requires", "metadata", "files"):
        monkeypatch.setattr(importlib.metadata, name, broken)
    monkeypatch.setattr(doctor.subprocess, "run", broken)
    monkeypatch.setattr(doctor.progress, "home", broken)
    assert doctor.main() == 1
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in said[:-1:2]] == [f"{look.__name__}:" for look in doctor.LOOKS]
    assert all(line.startswith("    → ") for line in said[1:-1:2])
    assert said[-1] == "Things to put right: 8."
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match="it ended with 3"):
        doctor.ask("-c", "import os; os._exit(3)")
