"""A run is a directory: its configuration, rollouts, weights, costs and report."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from wmcourse.engine.errors import RunError
from wmcourse.engine.files import write_atomically
from wmcourse.worlds import DODGE


@dataclass(frozen=True)
class Config:
    """Every number of a run. It is saved beside the weights, and a run is continued only with the same one."""

    world: str = DODGE
    world_options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    # stage 1: random actions, each held for a few steps so that the agent gets somewhere
    shards: int = 12
    worlds: int = 64
    steps: int = 256
    hold: float = 0.1
    # stage 2
    latent_dim: int = 16
    width: int = 16
    beta: float = 1.0
    vae_steps: int = 1750
    vae_batch: int = 64
    vae_rate: float = 2e-3
    # stage 3
    hidden_dim: int = 192
    components: int = 5
    rnn_steps: int = 7500
    rnn_batch: int = 32
    rnn_length: int = 32
    rnn_rate: float = 8e-3
    done_weight: float = 3.0  # endings are rare, and missing one is what kills
    # the planner
    horizon: int = 12
    candidates: int = 64
    iterations: int = 1  # the search goes on from step to step; a second round within one did not help (benchmarks)
    elites: int = 8
    correlation: float = 0.9
    temperature: float = 0.0
    effort: float = 0.4  # what a push costs: who only pushes when it pays is seldom cornered (benchmarks.effort)


def preset(budget: str = "standard", world: str = DODGE, seed: int = 0) -> Config:
    """The configuration of a budget: "standard" is for the score, "quick" reaches every line in half a minute."""
    if budget not in ("quick", "standard"):
        raise RunError(f"The budget {budget!r} is unknown: choose quick or standard.")
    sizes: dict[str, Any] = {}
    if budget == "quick":
        sizes = {"shards": 2, "worlds": 32, "vae_steps": 300, "rnn_steps": 200, "horizon": 8, "candidates": 32}
    if world.lower() not in ("dodge", DODGE.lower()):  # colour pictures of 64 x 64 and slower worlds
        sizes |= {"world": world, "worlds": 8, "latent_dim": 32, "width": 32, "hidden_dim": 256}
    return Config(seed=seed, **sizes)


def remember_config(config: Config, directory: Path) -> None:
    """Write config.json, or make sure that the one there is the same. Raises RunError when it is not."""
    path = directory / "config.json"
    if path.is_file():
        there, asked = asdict(read_config(directory)), asdict(config)
        other = [f"{name} {there[name]!r}, not {asked[name]!r}" for name in asked if there[name] != asked[name]]
        if other:
            raise RunError(
                f"{directory} holds a run with {'; '.join(other)}: choose another directory, or delete this one."
            )
    else:
        write_atomically(path, json.dumps(asdict(config), indent=1).encode())


def read_config(directory: Path) -> Config:
    """The configuration of a run. Raises RunError when there is none, or when it is not ours."""
    path = Path(directory) / "config.json"
    try:
        values = json.loads(path.read_text())
        missing = {f.name for f in fields(Config)} - set(values)  # a default in its place would be another run
        if missing:
            raise ValueError(f"it does not say {', '.join(sorted(missing))}")
        return Config(**values)
    except FileNotFoundError as error:
        raise RunError(f"{directory} holds no run: train one with `wmcourse train --out {directory}`.") from error
    except (ValueError, TypeError) as error:
        raise RunError(
            f"{path} is not a configuration of this version ({error}). Train again in another directory."
        ) from error


def peak_rss_bytes() -> int:
    """The most memory this process ever held, in bytes; memory-mapped pages that are resident count."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, whose getrusage begins with what the parent held when it started this process
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Ledger:
    """What each stage cost, in costs.json: core-seconds (all threads together), wall seconds and the peak of memory."""

    def __init__(self, directory: Path) -> None:
        self.path = Path(directory) / "costs.json"

    def read(self) -> dict[str, dict[str, float]]:
        """The costs of each stage so far. Raises RunError for a broken file."""
        try:
            return json.loads(self.path.read_text()) if self.path.is_file() else {}
        except ValueError as error:
            raise RunError(f"{self.path} is truncated ({error}). Delete it: it only says what was spent.") from error

    def add(self, stage: str, cost: Mapping[str, Any]) -> None:
        """Note the cost of a stage, once: a stage that was found finished costs nothing new."""
        costs = self.read()
        if stage not in costs:
            cost = {key: float(cost[key]) for key in ("core_seconds", "wall_seconds")}
            costs[stage] = cost | {"peak_rss_bytes": float(peak_rss_bytes())}
            write_atomically(self.path, json.dumps(costs, indent=1).encode())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note what the block under it costs."""
        core, wall = time.process_time(), time.perf_counter()
        yield
        self.add(name, {"core_seconds": time.process_time() - core, "wall_seconds": time.perf_counter() - wall})

    def total(self) -> dict[str, float]:
        """Sums over the stages, and the largest peak."""
        costs = self.read().values()
        total = {key: sum(c[key] for c in costs) for key in ("core_seconds", "wall_seconds")}
        return total | {"peak_rss_bytes": max((c["peak_rss_bytes"] for c in costs), default=0.0)}
