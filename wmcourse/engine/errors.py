"""The error that a person can act on."""

from __future__ import annotations

import errno
from pathlib import Path


class RunError(RuntimeError):
    """Its message is one clear sentence that says what to do; the `wmcourse` command prints it and stops."""


def cannot_write(path: Path, error: OSError) -> RunError:
    """The RunError for a file or folder that could not be written."""
    full = error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS)
    what = "Free some space" if full else "Make this folder writable"
    return RunError(f"Could not write {path}: {error.strerror}. {what}, then run the same command again.")
