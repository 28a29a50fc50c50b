"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from wmcourse.engine.errors import cannot_write


def write_atomically(path: Path, data: bytes) -> None:
    """The file is the old one or the new one, never half of it. Raises RunError when the disk is full."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):  # a folder that may not be written: there is nothing to take away
            partial.unlink(missing_ok=True)
        raise cannot_write(path, error) from error
