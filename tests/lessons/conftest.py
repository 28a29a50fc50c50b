"""A notebook's shell without a notebook, for what a learner sees and types."""

import sys
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


@pytest.fixture
def shell(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> InteractiveShell:
    """Runs cells with ``run_cell``; touches nobody's history, and leaves Python as it was."""
    folder: Path = tmp_path_factory.mktemp("ipython")
    monkeypatch.setenv("IPYTHONDIR", str(folder))
    for name in ("displayhook", "excepthook", "ps1", "ps2", "ps3"):
        monkeypatch.setattr(sys, name, getattr(sys, name, None), raising=False)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # the shell puts its own there
    return InteractiveShell(config=Config(HistoryManager={"enabled": False}, InteractiveShell={"colors": "nocolor"}))
