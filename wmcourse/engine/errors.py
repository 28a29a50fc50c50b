"""The error that a person can act on."""

from __future__ import annotations

from pathlib import Path


class RunError(RuntimeError):
    """Its message is one clear sentence that says what to do; the `wmcourse` command prints it and stops."""


def cannot_write(path: Path, error: OSError) -> RunError:
    """The RunError for a file or folder that could not be written."""
    return RunError(f"Could not write {path}: {error.strerror}. Free some space, then run the same command again.")
