"""The training loop: files that are whole or not there, resuming to the last bit, and NaN that stops a run."""

import errno
import io
import math
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wmcourse.engine import files, loop
from wmcourse.engine.errors import RunError
from wmcourse.engine.loop import fit, generator_for, load_tensors, load_weights, save_tensors, write_atomically

STEPS = 40


# --- files


class HalfADisk:
    """A file that takes a few bytes and then says that the disk is full."""

    def __init__(self, path: Path, room: int = 3) -> None:
        self.file, self.room = io.FileIO(path, "w"), room

    def __enter__(self) -> "HalfADisk":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> None:
        self.file.write(data[: self.room])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_write_atomically_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for data in (b"old", b"new and longer", b""):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
@pytest.mark.parametrize("old", [b"old", None])
def test_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, old: bytes | None
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    if where == "write":
        monkeypatch.setattr(files, "open", lambda name, mode: HalfADisk(name), raising=False)
    else:
        monkeypatch.setattr(files.os, where, refuse)
    with pytest.raises(RunError, match=r"Could not write .*file: No space left on device\. Free some space"):
        write_atomically(path, b"new")
    assert (path.read_bytes() if path.exists() else None) == old
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_the_real_full_disk(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file.partial").symlink_to("/dev/full")
    with pytest.raises(RunError, match="No space left"):
        write_atomically(tmp_path / "file", bytes(100_000))
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"
    assert Path("/dev/full").exists()


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_crash_midway_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files.os, where, crash)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    write_atomically(path, b"new")  # what the crash left behind is in nobody's way
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_save_and_load_are_inverse(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    tensors = {
        "a": torch.randn(3, 4),
        "transposed": torch.randn(3, 4).T,
        "one": torch.tensor(3.0, requires_grad=True),
        "bits": torch.arange(5, dtype=torch.uint8),
    }
    about_in = {"step": 7, "curve": [{"step": 0, "total": 0.1}], "core_seconds": 1 / 3}
    save_tensors(path, tensors, kind="VAE", **about_in)
    loaded, about = load_tensors(path, "VAE")
    assert loaded.keys() == tensors.keys()
    for name, t in tensors.items():
        assert loaded[name].dtype == t.dtype
        assert torch.equal(loaded[name], t)
    assert about == about_in | {"kind": "VAE"}


class Marker:
    """What a malicious pickle looks like: whoever loads it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_refused_and_never_runs(tmp_path: Path) -> None:
    path, marker = tmp_path / "weights.safetensors", tmp_path / "the code ran"
    save_torch = io.BytesIO()
    torch.save(Marker(marker), save_torch)
    for data in (pickle.dumps(Marker(marker)), save_torch.getvalue()):
        path.write_bytes(data)
        with pytest.raises(RunError, match=r"truncated or not a safetensors file .*Delete it"):
            load_tensors(path, "VAE")
        assert not marker.exists()
    pickle.loads(pickle.dumps(Marker(marker)))  # the trap does work
    assert marker.exists()


def test_load_tensors_refuses_what_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "vae.safetensors"
    with pytest.raises(RunError, match="does not exist: train first with `wmcourse train --out"):
        load_tensors(path, "VAE")
    save_tensors(path, {"a": torch.randn(100)}, kind="VAE", step=1)
    whole = path.read_bytes()
    for length in (0, 4, 8, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(RunError, match="truncated or not a safetensors file"):
            load_tensors(path, "VAE")
    path.write_bytes(whole)
    with pytest.raises(RunError, match=r"holds 'VAE', not 'MDN-RNN'"):
        load_tensors(path, "MDN-RNN")
    for metadata in (None, {"format": "pt"}, {"wmcourse": "{"}):  # another program's
        path.write_bytes(loop.save({"a": torch.randn(3)}, metadata))
        with pytest.raises(RunError, match=r"something else|not a safetensors file"):
            load_tensors(path, "VAE")


def test_load_weights_copies_or_says_what_does_not_fit(tmp_path: Path) -> None:
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    load_weights(model, other.state_dict(), tmp_path / "w")
    assert torch.equal(model.weight, other.weight)
    for tensors, reason in (
        (nn.Linear(4, 2).state_dict(), "size mismatch for weight"),
        ({"weight": other.weight}, 'Missing key.*"bias"'),
        ({**other.state_dict(), "scale": torch.ones(1)}, 'Unexpected key.*"scale"'),
    ):
        with pytest.raises(RunError, match=rf"(?s)w does not fit this network \({reason}.*another directory"):
            load_weights(model, tensors, tmp_path / "w")


def test_generator_depends_on_seed_and_step_alone() -> None:
    def draw(seed: int, step: int) -> list[float]:
        return torch.randn(4, generator=generator_for(seed, step)).tolist()

    assert draw(3, 5) == draw(3, 5)
    assert len({tuple(draw(seed, step)) for seed in range(10) for step in range(100)}) == 1000
    draw(2**31 - 1, 10**6)  # no overflow


# --- fit


def network() -> nn.Module:
    """With buffers, which a checkpoint has to keep too. A bias before them would get rounding errors as gradients."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 16, bias=False), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 1))


class Task:
    """A regression whose batch follows from the step; it can break at a step."""

    def __init__(self, model: nn.Module, at: int = -1, trouble: BaseException | str = "") -> None:
        self.model, self.at, self.trouble = model, at, trouble
        self.steps: list[int] = []

    def __call__(self, step: int) -> dict[str, Tensor]:
        self.steps.append(step)
        x = torch.randn(32, 4, generator=generator_for(0, step))
        total = (self.model(x) - x.sin().sum(1, keepdim=True)).square().mean()
        if step == self.at:
            if isinstance(self.trouble, BaseException):
                raise self.trouble
            if self.trouble == "gradient":  # 0 · ∞ in the backward pass, while the loss itself is finite
                weight = next(self.model.parameters()).flatten()[0]
                total = total + (weight - weight.detach()).clamp(min=0).sqrt() * 0
                assert torch.isfinite(total)
            elif self.trouble:
                total = total * float(self.trouble)
        return {"total": total, "twice": 2 * total.detach()}


def run(path: Path, steps: int = STEPS, show: Any = None, **trouble: Any) -> tuple[nn.Module, dict[str, Any], Task]:
    model = network()
    task = Task(model, **trouble)
    about = fit(model, task, steps, 1e-2, path, "VAE", show)
    return model, about, task


def assert_same_tensors(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_fit_learns_and_says_how(tmp_path: Path) -> None:
    shown = []
    model, about, task = run(tmp_path / "w", steps=500, show=lambda *a: shown.append(a))
    assert task.steps == list(range(500))
    curve = about["curve"]
    assert [p["step"] for p in curve] == [*range(0, 500, 2), 499]
    assert all(p["twice"] == 2 * p["total"] for p in curve)
    assert curve[-1]["total"] < 0.2 * curve[0]["total"]
    assert [s[:2] for s in shown] == [("VAE", p["step"]) for p in curve]
    assert shown[3][2] == {"total": curve[3]["total"], "twice": curve[3]["twice"]}
    assert about["step"] == 500
    assert about["wall_seconds"] > 0
    assert about["core_seconds"] > 0
    assert not model.training
    tensors, stored = load_tensors(tmp_path / "w", "VAE")
    assert_same_tensors(tensors, model.state_dict())
    assert stored == about | {"kind": "VAE"}
    assert os.listdir(tmp_path) == ["w"]


def test_fit_is_adam_with_a_cosine_rate_and_clipped_gradients(tmp_path: Path) -> None:
    model, _, _ = run(tmp_path / "w")
    own = network()
    task = Task(own)
    adam = torch.optim.Adam(own.parameters(), lr=1.0)
    for step in range(STEPS):
        adam.param_groups[0]["lr"] = 1e-2 * (1 + math.cos(math.pi * step / STEPS)) / 2
        adam.zero_grad()
        task(step)["total"].backward()
        nn.utils.clip_grad_norm_(own.parameters(), 10.0)
        adam.step()
    for a, b in zip(model.parameters(), own.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    first, about, _ = run(tmp_path / "w")
    second, again, task = run(tmp_path / "w")
    assert task.steps == []
    assert_same_tensors(first.state_dict(), second.state_dict())
    assert {key: again[key] for key in about} == about


def test_a_finished_run_of_another_network_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "w")
    other = nn.Linear(4, 1)
    with pytest.raises(RunError, match="does not fit this network"):
        fit(other, Task(other), STEPS, 1e-2, tmp_path / "w", "VAE")


@pytest.mark.parametrize("trouble", [KeyboardInterrupt(), RuntimeError("lightning")], ids=["Ctrl-C", "error"])
@pytest.mark.parametrize("stops", [[0], [1], [17], [STEPS - 1], [5, 6, 30]], ids=str)
def test_resuming_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: list[int], trouble: BaseException
) -> None:
    whole, about, _ = run(tmp_path / "whole")
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    done = 0
    for stop in stops:
        with pytest.raises(type(trouble)):
            run(tmp_path / "broken", at=stop, trouble=trouble)
        assert not (tmp_path / "broken").exists()
        assert (tmp_path / "broken.training").exists() == (stop > 0)
        done = stop
    parts, resumed, task = run(tmp_path / "broken")
    assert task.steps == list(range(done, STEPS))
    assert_same_tensors(whole.state_dict(), parts.state_dict())
    assert resumed["curve"] == about["curve"]
    assert sorted(os.listdir(tmp_path)) == ["broken", "whole"]


def test_resuming_from_an_older_checkpoint_repeats_the_steps_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, about, _ = run(tmp_path / "whole")
    clock = iter(range(10_000))
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 7.5)
    monkeypatch.setattr(loop.time, "perf_counter", lambda: float(next(clock)))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", at=30, trouble=KeyboardInterrupt())
    monkeypatch.undo()
    saved = load_tensors(tmp_path / "broken.training", "VAE in training")[1]["step"]
    assert 0 < saved < 30
    parts, resumed, task = run(tmp_path / "broken")
    assert task.steps[0] == saved
    assert_same_tensors(whole.state_dict(), parts.state_dict())
    assert resumed["curve"] == about["curve"]


def test_costs_add_up_over_interruptions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "w", at=30, trouble=KeyboardInterrupt())
    tensors, about = load_tensors(tmp_path / "w.training", "VAE in training")
    kind = about.pop("kind")
    about |= {"core_seconds": 1000.0, "wall_seconds": 2000.0}
    save_tensors(tmp_path / "w.training", tensors, kind=kind, **about)
    _, finished, _ = run(tmp_path / "w")
    assert 1000 < finished["core_seconds"] < 1100
    assert 2000 < finished["wall_seconds"] < 2100


@pytest.mark.parametrize("trouble", ["nan", "inf", "gradient"])
def test_nan_stops_with_stage_and_step_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    path = tmp_path / "w"
    with pytest.raises(RunError, match=r"^VAE: .*at step 17 \(the checkpoint of step 17 is kept in .*w\.training\)"):
        run(path, at=17, trouble=trouble)
    assert not path.exists()
    tensors, about = load_tensors(path.with_name("w.training"), "VAE in training")
    assert about["step"] == 17
    assert all(t.isfinite().all() for t in tensors.values())
    model = network()
    load_weights(model, {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}, path)
    assert math.isfinite(Task(model)(0)["total"].item())


def test_nan_before_the_first_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"VAE: the loss is nan .* at step 2 \(no checkpoint yet\)"):
        run(tmp_path / "w", at=2, trouble="nan")
    assert os.listdir(tmp_path) == []


def test_a_truncated_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "w", at=5, trouble=KeyboardInterrupt())
    training = tmp_path / "w.training"
    training.write_bytes(training.read_bytes()[:-100])
    with pytest.raises(RunError, match=r"w\.training is truncated .*Delete it, then run training again"):
        run(tmp_path / "w")
    training.unlink()
    run(tmp_path / "w")


def test_a_full_disk_in_training_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _, _ = run(tmp_path / "whole")
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    real, left = os.fsync, iter([None] * 10)

    def disk(number: int) -> None:
        next(left, "full") is None or refuse()
        real(number)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", disk)
        with pytest.raises(RunError, match="No space left on device"):
            run(tmp_path / "w")
    parts, _, task = run(tmp_path / "w")
    assert task.steps[0] == 10
    assert_same_tensors(whole.state_dict(), parts.state_dict())


def test_killed_between_the_weights_and_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both files are there: the weights count, and the next run tidies up."""
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "w")
    assert sorted(os.listdir(tmp_path)) == ["w", "w.training"]
    _, about, task = run(tmp_path / "w")
    assert task.steps == []
    assert about["step"] == STEPS
    assert os.listdir(tmp_path) == ["w"]


def test_a_checkpoint_without_its_moments_is_refused(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    path = tmp_path / "weights.safetensors"
    half = {f"model.{name}": t for name, t in model.state_dict().items()}
    save_tensors(path.with_name(path.name + ".training"), half, kind="S in training", step=1, curve=[])
    with pytest.raises(RunError, match="not a whole checkpoint"):
        fit(model, lambda step: {"total": model(torch.ones(1, 2)).sum()}, 3, 1e-3, path, "S")
