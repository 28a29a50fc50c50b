"""Rollouts on disk: shards that are whole or not there, windows that stay in one episode, memory that stays small."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wmcourse.engine import rollouts as module
from wmcourse.engine.errors import RunError
from wmcourse.engine.rollouts import FIELDS, Rollouts, collect_shards, write_array, write_shard

Arrays = dict[str, NDArray[Any]]


def shard(ended: NDArray[np.bool_], seed: int = 0) -> Arrays:
    """Random streams, (worlds, steps), that end where ``ended`` says so."""
    rng = np.random.default_rng(seed)
    return {
        "frames": rng.integers(0, 256, (*ended.shape, 4, 5, 3), np.uint8),
        "actions": rng.uniform(-1, 1, (*ended.shape, 2)).astype(np.float32),
        "rewards": rng.normal(size=ended.shape).astype(np.float32),
        "terminated": ended & (rng.random(ended.shape) < 0.5),
        "ended": ended,
    }


def written(directory: Path, patterns: list[NDArray[np.bool_]]) -> tuple[Rollouts, list[Arrays]]:
    shards = [shard(ended, i) for i, ended in enumerate(patterns)]
    for number, arrays in enumerate(shards):
        write_shard(directory, number, arrays)
    return Rollouts(directory), shards


def in_memory(patterns: list[NDArray[np.bool_]]) -> Rollouts:
    """Without the disk, for the many examples of Hypothesis; only what windows need."""
    streams = np.concatenate(patterns)
    rollouts = Rollouts.__new__(Rollouts)
    rollouts.ended = streams.reshape(-1)
    rollouts._offsets = np.array([0, streams.size])
    starts = np.zeros(streams.shape, bool)
    starts[:, 0], starts[:, 1:] = True, streams[:, :-1]
    rollouts.episode_start = np.flatnonzero(starts)
    rollouts.episode_length = np.diff(np.append(rollouts.episode_start, streams.size))
    return rollouts


def episode_of(streams: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The number of the episode that each step belongs to, one step after another."""
    out, episode = [], -1
    for stream in streams:
        episode += 1
        for t, over in enumerate(stream):
            out.append(episode)
            if over and t + 1 < len(stream):
                episode += 1
    return np.array(out)


some_ended = (
    st.integers(0, 2**32 - 1)
    .map(np.random.default_rng)
    .map(lambda rng: rng.random((rng.integers(1, 5), rng.integers(1, 30))) < rng.choice([0.0, 0.05, 0.3, 1.0]))
)


# --- what is written is what is read


def test_rollouts_are_the_arrays_in_a_row(tmp_path: Path) -> None:
    patterns = [np.random.default_rng(i).random((3, 7)) < 0.2 for i in range(3)]
    rollouts, shards = written(tmp_path, patterns)
    rows = {name: np.concatenate([a[name].reshape(21, *a[name].shape[2:]) for a in shards]) for name in FIELDS}
    assert len(rollouts) == 63
    assert rollouts.frame_shape == (3, 4, 5)
    for name in FIELDS[1:]:
        np.testing.assert_array_equal(getattr(rollouts, name), rows[name])
    for index in (np.arange(63), np.random.default_rng(0).integers(0, 63, 500), np.array([62, 0, 21, 20, 0])):
        frames = rollouts.frames(index)
        assert frames.dtype == np.uint8
        np.testing.assert_array_equal(frames, rows["frames"][index])
    assert rollouts.frames(np.array([], np.int64)).shape == (0, 4, 5, 3)


def test_more_than_ten_shards_stay_in_order(tmp_path: Path) -> None:
    rollouts, shards = written(tmp_path, [np.zeros((1, 3), bool)] * 12)
    np.testing.assert_array_equal(rollouts.frames(np.arange(36)), np.concatenate([a["frames"][0] for a in shards]))


@given(some_ended)
def test_episodes_are_cut_where_they_end_and_where_streams_begin(ended: NDArray[np.bool_]) -> None:
    with pytest.MonkeyPatch.context() as patch:  # the real constructor, reading from memory
        arrays = shard(ended)
        patch.setattr(module.np, "load", lambda path, mmap_mode: arrays[path.stem])
        patch.setattr(Path, "glob", lambda self, pattern: [self / "0000"])
        rollouts = Rollouts(Path("somewhere"))
    episode = episode_of(ended)
    np.testing.assert_array_equal(rollouts.episode_start, np.flatnonzero(np.diff(episode, prepend=-1)))
    np.testing.assert_array_equal(rollouts.episode_length, np.bincount(episode))
    np.testing.assert_array_equal(rollouts.episode_start, in_memory([ended]).episode_start)


# --- windows


@given(some_ended, st.integers(1, 12))
def test_windows_stay_in_one_episode(ended: NDArray[np.bool_], length: int) -> None:
    rollouts, episode = in_memory([ended]), episode_of(ended)
    steps, mask = rollouts.windows(np.random.default_rng(0), 20, length)
    assert steps.shape == (20, length + 1)
    assert mask.shape == (20, length)
    assert steps.min() >= 0
    assert steps.max() < ended.size  # the repeated ones can be read, too
    missing = rollouts.next_is_missing(steps[:, :-1])
    for row in range(20):
        real = int(mask[row].sum())
        assert real >= 1
        assert len(set(steps[row, real:])) == 1  # past the end they repeat
        assert mask[row].tolist() == [1.0] * real + [0.0] * (length - real)  # padding only at the end
        now = steps[row, :real]
        assert (np.diff(now) == 1).all()
        assert len(set(episode[now])) == 1
        target_is_real = ~missing[row, :real]
        assert (episode[steps[row, 1 : real + 1]] == episode[now])[target_is_real].all()
        assert (np.diff(steps[row, : real + 1]) == 1)[target_is_real].all()
        if real < length:  # short only where the whole episode is
            assert real == np.bincount(episode)[episode[now[0]]]


@given(some_ended)
def test_next_is_missing_at_the_last_step_of_each_episode(ended: NDArray[np.bool_]) -> None:
    episode = episode_of(ended)
    expected = np.append(episode[1:] != episode[:-1], True)
    steps = np.random.default_rng(0).integers(0, ended.size, (5, 6))
    np.testing.assert_array_equal(in_memory([ended]).next_is_missing(steps), expected[steps])


def test_windows_prefer_long_episodes_and_begin_anywhere() -> None:
    ended = np.zeros((2, 100), bool)
    ended[0, [9, 29]] = True  # episodes of 10, 20, 70 and 100 steps
    rollouts, batch, length = in_memory([ended]), 20_000, 8
    steps, _ = rollouts.windows(np.random.default_rng(0), batch, length)
    counts = np.bincount(episode_of(ended)[steps[:, 0]]) / batch
    np.testing.assert_allclose(counts, np.array([10, 20, 70, 100]) / 200, atol=4 * 0.5 / batch**0.5)
    for first, size in ((0, 10), (10, 20), (30, 70), (100, 100)):
        chosen = steps[(steps[:, 0] >= first) & (steps[:, 0] < first + size), 0]
        assert set(chosen) == set(range(first, first + size - length + 1))  # every full window, and no other


def test_every_step_can_be_drawn() -> None:
    """Endings are rare: the last step of an episode must not be left out."""
    ended = np.random.default_rng(0).random((3, 40)) < 0.1
    steps, mask = in_memory([ended]).windows(np.random.default_rng(0), 5000, 6)
    assert set(steps[:, :-1][mask == 1]) == set(range(120))


# --- files


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("at", [0, 1, 4])
def test_a_full_disk_leaves_no_half_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    save, calls = np.save, iter(range(10))
    arrays = shard(np.zeros((2, 3), bool))
    with monkeypatch.context() as patch:
        patch.setattr(module.np, "save", lambda *a: refuse() if next(calls) == at else save(*a))
        with pytest.raises(RunError, match=r"Could not write .*0003: No space left on device\. Free some space"):
            write_shard(tmp_path, 3, arrays)
    assert os.listdir(tmp_path) == []
    write_shard(tmp_path, 3, arrays)
    assert os.listdir(tmp_path) == ["0003"]


def test_a_killed_collection_continues_as_if_nothing_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    progress: list[int] = []

    def collect_one(number: int) -> Arrays:
        asked.append(number)
        return shard(np.zeros((2, 5), bool), number)

    whole = collect_shards(tmp_path / "whole", 4, collect_one, progress.append)
    assert asked == progress == [0, 1, 2, 3]
    save, calls = np.save, iter(range(100))

    def crash(*arguments: Any) -> None:
        if next(calls) == 2 * len(FIELDS) + 3:  # in the middle of the third shard
            raise KeyboardInterrupt
        save(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module.np, "save", crash)
        with pytest.raises(KeyboardInterrupt):
            collect_shards(tmp_path / "parts", 4, collect_one, progress.append)
    assert len(Rollouts(tmp_path / "parts")) == 20  # the half shard does not count
    asked.clear(), progress.clear()
    parts = collect_shards(tmp_path / "parts", 4, collect_one, progress.append)
    assert (asked, progress) == ([2, 3], [0, 1, 2, 3])
    assert sorted(os.listdir(tmp_path / "parts")) == ["0000", "0001", "0002", "0003"]
    np.testing.assert_array_equal(whole.frames(np.arange(40)), parts.frames(np.arange(40)))
    np.testing.assert_array_equal(whole.actions, parts.actions)


def test_write_array_is_what_numpy_writes(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(10, 2, 3)).astype(np.float32)
    write_array(tmp_path / "a.npy", array.shape, (array[i : i + 4] for i in range(0, 10, 4)))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)
    assert os.listdir(tmp_path) == ["a.npy"]


def test_write_array_is_whole_or_not_there(tmp_path: Path) -> None:
    array = np.zeros((1000, 3), np.float32)

    def blocks() -> Any:
        yield array
        refuse()

    with pytest.raises(RunError, match=r"Could not write .*a\.npy: No space left"):
        write_array(tmp_path / "a.npy", (2000, 3), blocks())
    assert os.listdir(tmp_path) == []
    if Path("/dev/full").exists():
        (tmp_path / "a.npy.partial").symlink_to("/dev/full")
        with pytest.raises(RunError, match=r"Could not write .*a\.npy: No space left"):
            write_array(tmp_path / "a.npy", (1000, 3), [array])
        assert os.listdir(tmp_path) == []


def test_no_rollouts(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunError, match="holds no rollouts: collect some first"):
            Rollouts(directory)


@pytest.mark.parametrize("name", FIELDS)
def test_a_truncated_or_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    written(tmp_path, [np.zeros((2, 30), bool)] * 2)
    file = tmp_path / "0001" / f"{name}.npy"
    whole = file.read_bytes()
    for length in (0, 5, 50, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(RunError, match=r"A file of .*0001 is missing or truncated .*Delete this folder"):
            Rollouts(tmp_path)
    file.unlink()
    with pytest.raises(RunError, match=r"A file of .*0001 is missing or truncated .*Delete this folder"):
        Rollouts(tmp_path)
    shutil.rmtree(file.parent)  # what the message says helps
    collect_shards(tmp_path, 2, lambda i: shard(np.zeros((2, 30), bool), i), lambda i: None)
    assert file.read_bytes() == whole


class Marker:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_shard_never_runs_code(tmp_path: Path) -> None:
    written(tmp_path, [np.zeros((1, 2), bool)])
    trap = np.array([[Marker(tmp_path / "ran"), None]], object)
    np.save(tmp_path / "0000" / "rewards.npy", trap, allow_pickle=True)
    with pytest.raises(RunError, match="missing or truncated"):
        Rollouts(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["actions", "rewards"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_refused(tmp_path: Path, name: str, value: float) -> None:
    arrays = shard(np.zeros((2, 3), bool))
    arrays[name].reshape(-1)[3] = value
    write_shard(tmp_path, 0, arrays)
    with pytest.raises(RunError, match=r"NaN or infinite actions or rewards in .*look at the world"):
        Rollouts(tmp_path)


# --- memory

READ_400_MB = """
import sys
from pathlib import Path
import numpy as np
from wmcourse.engine.rollouts import Rollouts

def memory(kind):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind + ":"))

rng = np.random.default_rng(0)
anonymous, resident = memory("RssAnon"), memory("RssFile")
rollouts = Rollouts(Path(sys.argv[1]))
peak = 0
for _ in range(0, 2 * len(rollouts), 64):
    assert rollouts.frames(rng.integers(0, len(rollouts), 64)).shape == (64, 64, 64, 3)
    peak = max(peak, memory("RssAnon"))
print(peak - anonymous, memory("RssFile") - resident)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells file pages from a process's own")
def test_reading_frames_keeps_memory_small(tmp_path: Path) -> None:
    """A process's own memory does not grow with the data. Pages of mapped files are resident as well, and
    ``peak_rss_bytes`` counts them, but they are the system's cache: it takes them back when it needs them."""
    shards, worlds, steps = 8, 16, 256
    for number in range(shards):
        folder = tmp_path / f"{number:04d}"
        arrays = shard(np.zeros((worlds, steps), bool))
        write_shard(tmp_path, number, arrays)
        (folder / "frames.npy").unlink()  # a sparse file of zeros takes no time to write
        shape = (worlds, steps, 64, 64, 3)
        np.lib.format.open_memmap(folder / "frames.npy", "w+", np.uint8, shape)
    size = sum(f.stat().st_size for f in tmp_path.glob("*/frames.npy"))
    assert size > 400e6
    done = subprocess.run(
        [sys.executable, "-c", READ_400_MB, str(tmp_path)],
        check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    own, mapped = map(int, done.stdout.split())
    print(f"{size / 1e6:.0f} MB of frames: own memory + {own / 1e6:.1f} MB, mapped pages + {mapped / 1e6:.0f} MB")
    assert own < 40e6
