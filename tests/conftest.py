"""The same conditions for every test: one thread, no screen, the same seeds."""

import os
import pathlib
import random
import re
from collections.abc import Iterator

os.environ["MPLBACKEND"] = "Agg"  # before matplotlib is imported, here and in the processes that tests start
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

import hypothesis
import numpy as np
import pytest
import torch

# The same examples in every run, and a slow machine is no failure.
hypothesis.settings.register_profile("wmcourse", deadline=None, derandomize=True)
hypothesis.settings.load_profile("wmcourse")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side (``-n 2 --dist loadgroup``), those of a file stay together, for they share fixtures;
    those of all exercises are one group a lesson, the longest file by far.
    """
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            lesson = re.search(r"test_exercises\.py::.*\[(\d\d)-", item.nodeid)
            item.add_marker(pytest.mark.xdist_group(lesson[1] if lesson else item.path.name))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeds() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (the global generator, for whatever still uses it)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """No test reads or writes the progress of whoever runs it."""
    folder = tmp_path / "my"
    with pytest.MonkeyPatch.context() as patch:  # its own: the fixture of that name is a test's, and is undone first
        patch.setenv("WMCOURSE_HOME", str(folder))
        yield folder
