"""A run's configuration, which is never mixed with another's, and its ledger, which counts everything once."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from wmcourse.engine import files
from wmcourse.engine.errors import RunError
from wmcourse.engine.runs import Config, Ledger, preset, read_config, remember_config
from wmcourse.worlds import DODGE

OTHER = {int: 77, float: 0.123, str: "CartPole-v1", dict: {"size": 32}}


def test_config_round_trip(tmp_path: Path) -> None:
    config = Config(world="CartPole-v1", world_options={"size": 32, "grey": True}, seed=5, hold=1 / 3, vae_rate=1e-17)
    remember_config(config, tmp_path / "deep" / "run")
    assert read_config(tmp_path / "deep" / "run") == config
    remember_config(config, tmp_path / "deep" / "run")  # the same again is welcome
    assert os.listdir(tmp_path / "deep" / "run") == ["config.json"]


@pytest.mark.parametrize("name", [f.name for f in fields(Config)])
def test_every_other_number_is_another_run(tmp_path: Path, name: str) -> None:
    config = Config()
    remember_config(config, tmp_path)
    there, asked = getattr(config, name), OTHER[type(getattr(config, name))]
    with pytest.raises(RunError) as error:
        remember_config(replace(config, **{name: asked}), tmp_path)
    assert str(error.value).startswith(f"{tmp_path} holds a run with {name} {there!r}, not {asked!r}: choose another")
    assert read_config(tmp_path) == config


def test_all_the_differences_are_named(tmp_path: Path) -> None:
    remember_config(Config(seed=1, beta=2.0), tmp_path)
    with pytest.raises(RunError, match=r"with seed 1, not 0; beta 2\.0, not 1\.0: choose"):
        remember_config(Config(), tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '"text"', "null", '{"speed": 1}', "\ud800".encode("utf-8", "surrogatepass")]
)
def test_a_foreign_configuration_is_refused(tmp_path: Path, text: str | bytes) -> None:
    (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RunError, match=r"config\.json is not a configuration of this version .*another directory"):
        read_config(tmp_path)


def test_no_configuration(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunError, match="holds no run: train one with `wmcourse train --out"):
            read_config(directory)


def test_a_full_disk_leaves_no_half_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(RunError, match="No space left"):
        remember_config(Config(), tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("world", [DODGE, "dodge", "Dodge", DODGE.lower()])
def test_dodge_by_any_name_is_the_same_run(world: str) -> None:
    assert preset("standard", world, 3) == Config(seed=3)
    assert preset("quick", world).world == DODGE


def test_presets() -> None:
    quick, standard = preset("quick"), preset()
    assert standard == Config()
    assert quick.shards * quick.worlds < standard.shards * standard.worlds / 4
    assert quick.vae_steps + quick.rnn_steps < (standard.vae_steps + standard.rnn_steps) / 10
    for budget in ("quick", "standard"):
        other = preset(budget, "CarRacing-v3", 7)
        assert (other.world, other.seed) == ("CarRacing-v3", 7)
        assert (other.latent_dim, other.hidden_dim) == (32, 256)  # the paper's
    for budget in ("", "Quick", "huge"):
        with pytest.raises(RunError, match=rf"The budget '{budget}' is unknown: choose quick or standard"):
            preset(budget)


def cost(core: float, wall: float) -> dict[str, Any]:
    return {"core_seconds": core, "wall_seconds": wall, "curve": [1, 2, 3]}


def test_the_ledger_counts_a_stage_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.read() == {}
    assert ledger.total() == {"core_seconds": 0, "wall_seconds": 0, "peak_rss_bytes": 0}
    ledger.add("VAE", cost(3, 2))
    ledger.add("VAE", cost(50, 50))  # found finished: it cost nothing new
    ledger.add("MDN-RNN", cost(4, 1.5))
    again = Ledger(tmp_path)  # another process
    assert list(again.read()) == ["VAE", "MDN-RNN"]
    peaks = [c["peak_rss_bytes"] for c in again.read().values()]
    assert again.total() == {"core_seconds": 7.0, "wall_seconds": 3.5, "peak_rss_bytes": max(peaks)}
    assert all(set(c) == {"core_seconds", "wall_seconds", "peak_rss_bytes"} for c in again.read().values())
    assert json.loads((tmp_path / "costs.json").read_text()) == again.read()


def test_the_ledger_measures_a_block(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with ledger.stage("sleep"):
        time.sleep(0.2)
    with ledger.stage("work"):
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass
    costs = ledger.read()
    assert costs["sleep"]["wall_seconds"] >= 0.2
    assert costs["sleep"]["core_seconds"] < 0.2 <= costs["work"]["core_seconds"]


@pytest.mark.parametrize("text", ["", '{"VAE": {'])
def test_a_broken_ledger_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "costs.json").write_text(text)
    for use in (Ledger(tmp_path).read, Ledger(tmp_path).total, lambda: Ledger(tmp_path).add("VAE", cost(1, 1))):
        with pytest.raises(RunError, match=r"costs\.json is truncated .*Delete it"):
            use()
    assert (tmp_path / "costs.json").read_text() == text


def test_a_stage_that_fails_is_not_in_the_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with pytest.raises(KeyboardInterrupt), ledger.stage("collect"):
        raise KeyboardInterrupt
    assert ledger.read() == {}


GROW = """
from wmcourse.engine.runs import peak_rss_bytes
before = peak_rss_bytes()
block = b"x" * 300_000_000
held = peak_rss_bytes()
del block
print(before, held, peak_rss_bytes())
"""


def test_peak_memory_is_this_process_own_and_in_bytes() -> None:
    block = b"x" * 1_000_000_000  # while this process holds much, it starts one that does not
    done = subprocess.run([sys.executable, "-c", GROW], check=True, capture_output=True, text=True)
    before, held, after = map(int, done.stdout.split())
    assert 10e6 < before < 700e6 < len(block)
    assert 250e6 < held - before < 350e6
    assert abs(after - held) < 5e6  # a peak does not come down, but the kernel counts in bunches of pages


def test_config_is_plain_json() -> None:
    assert json.loads(json.dumps(asdict(Config()))) == asdict(Config())


def test_a_configuration_that_leaves_something_out_is_not_filled_up_in_silence(tmp_path: Path) -> None:
    values = asdict(Config())
    del values["done_weight"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(RunError, match="does not say done_weight"):
        read_config(tmp_path)
