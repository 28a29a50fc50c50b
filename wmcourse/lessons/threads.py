"""How many threads torch works with: one, wherever the tensors are small."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread(seed: int | None = None) -> Iterator[None]:
    """A with-block or a decorator: small tensors gain little from more threads, and lose much where the cores are busy.

    The numbers of a training then do not depend on how many there are, either. torch's chance begins at ``seed``, if
    there is one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    if seed is not None:
        torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
