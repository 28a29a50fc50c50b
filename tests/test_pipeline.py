"""The whole road as a user walks it, in processes of its own: train, evaluate, dream, and a power cut in between."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from wmcourse.engine.loop import load_tensors
from wmcourse.engine.runs import preset

pytestmark = pytest.mark.slow

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def wmcourse(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wmcourse.cli", *map(str, arguments)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def strict_json(path: Path) -> dict[str, Any]:
    """As other programs read it: they know no NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in {path}")

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    directory = tmp_path_factory.mktemp("pipeline") / "run"
    return directory, wmcourse("train", "--budget", "quick", "--seed", 3, "--out", directory).stdout


def test_the_report_has_the_scores_and_the_costs(quick: tuple[Path, str]) -> None:
    directory, said = quick
    report = strict_json(directory / "report.json")
    assert (report["world"], report["budget"], report["seed"]) == ("wmcourse/Dodge-v0", "quick", 3)
    for name, shown in (("random", "random"), ("planner", "ours"), ("oracle", "oracle")):
        score = report["scores"][name]
        low, high = score["ci95"]
        assert 0 < low < score["mean"] < high <= 330
        assert score["episodes"] == 20
        assert f"{shown} {score['mean']:8.1f}   95 % interval {low:.1f} to {high:.1f}" in said
    assert report["scores"]["oracle"]["mean"] > 2 * report["scores"]["random"]["mean"]
    stages = report["train"]["stages"]
    assert list(stages) == ["collect", "VAE", "encode", "MDN-RNN"]
    for kind in ("core_seconds", "wall_seconds"):
        assert all(stage[kind] > 0 for stage in stages.values())
        assert report["train"][kind] == pytest.approx(sum(stage[kind] for stage in stages.values()))
    assert report["train"]["core_seconds"] < 1.5 * report["train"]["wall_seconds"]  # one thread
    assert report["config"] == vars(preset("quick", seed=3))


def test_the_quick_run_needs_less_than_2_gib(quick: tuple[Path, str]) -> None:
    report = strict_json(quick[0] / "report.json")
    for part in ("train", "evaluate"):
        assert 50e6 < report[part]["peak_rss_bytes"] < 2 * 2**30


def test_the_report_s_picture(quick: tuple[Path, str]) -> None:
    with Image.open(quick[0] / "report.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert min(picture.size) > 500
        assert len(picture.convert("L").getcolors(256)) > 50  # not an empty sheet


def test_evaluate_again(quick: tuple[Path, str]) -> None:
    directory, _ = quick
    before = strict_json(directory / "report.json")
    weights = (directory / "vae.safetensors").read_bytes()
    said = wmcourse("evaluate", directory, "--episodes", 20).stdout
    again = strict_json(directory / "report.json")
    assert again["scores"] == before["scores"]  # the same 20 episodes, the same seeds
    assert again["budget"] == "quick"
    assert again["train"] == before["train"]
    assert "core-seconds" in said
    wmcourse("evaluate", directory, "--episodes", 3, "--seed", 77)
    other = strict_json(directory / "report.json")["scores"]
    assert {s["episodes"] for s in other.values()} == {3}
    assert other["random"]["mean"] != before["scores"]["random"]["mean"]
    assert (directory / "vae.safetensors").read_bytes() == weights


def test_dream(quick: tuple[Path, str], tmp_path: Path) -> None:
    directory, _ = quick
    said = wmcourse("dream", directory, "--steps", 10).stdout
    assert str(directory / "dream.gif") in said
    wmcourse("dream", directory, "--steps", 10, "--temperature", 0, "--out", tmp_path / "new" / "cold.gif")
    for path in (directory / "dream.gif", tmp_path / "new" / "cold.gif"):
        with Image.open(path) as picture:
            assert picture.format == "GIF"
            assert picture.n_frames > 5
            for frame in range(picture.n_frames):
                picture.seek(frame)
                picture.load()


# --- kill -9

SMALL = """
import sys
from pathlib import Path
from wmcourse.engine import loop
from wmcourse.engine.runs import Config
from wmcourse.world_models_training import train_world_model

loop.SECONDS_BETWEEN_CHECKPOINTS = 0.1
config = Config(
    seed=5, shards=30, worlds=16, steps=64, latent_dim=8, width=4, vae_steps=300, hidden_dim=32, rnn_steps=200
)
train_world_model(config, Path(sys.argv[1]), "cpu")
"""


def start(directory: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SMALL, str(directory)], env=ENVIRONMENT, stderr=subprocess.DEVNULL)


def kill_when(directory: Path, ready: Callable[[], bool]) -> None:
    process = start(directory)
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def checkpoint_step(directory: Path, name: str, stage: str) -> int:
    path = directory / f"{name}.safetensors.training"
    return load_tensors(path, f"{stage} in training")[1]["step"] if path.exists() else 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert start(whole).wait() == 0

    kill_when(broken, lambda: (broken / "rollouts" / "0000").exists())
    shards = [p for p in (broken / "rollouts").iterdir() if not p.suffix]
    assert 1 <= len(shards) < 30
    stamps = {p: p.stat().st_mtime_ns for p in shards}

    kill_when(broken, lambda: checkpoint_step(broken, "vae", "VAE") > 0)
    assert not (broken / "vae.safetensors").exists()
    assert {p: p.stat().st_mtime_ns for p in shards} == stamps  # what was collected stayed
    first = checkpoint_step(broken, "vae", "VAE")
    kill_when(broken, lambda: checkpoint_step(broken, "vae", "VAE") > first + 20)  # it went on, and is killed again
    assert not (broken / "vae.safetensors").exists()

    kill_when(broken, lambda: checkpoint_step(broken, "mdn_rnn", "MDN-RNN") > 20)
    assert not (broken / "mdn_rnn.safetensors").exists()

    assert start(broken).wait() == 0
    files = sorted(str(p.relative_to(whole)) for p in whole.rglob("*"))
    assert sorted(str(p.relative_to(broken)) for p in broken.rglob("*")) == files
    for file in files:
        if file.endswith((".npy", "config.json")):
            assert (whole / file).read_bytes() == (broken / file).read_bytes(), file
    for name, stage in (("vae", "VAE"), ("mdn_rnn", "MDN-RNN")):
        a, about_a = load_tensors(whole / f"{name}.safetensors", stage)
        b, about_b = load_tensors(broken / f"{name}.safetensors", stage)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
        assert about_a["curve"] == about_b["curve"]
