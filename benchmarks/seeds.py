"""The score of whole runs, pixels to plans, for several training seeds: a bad one is shown like the others."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, stdev

from benchmarks.tables import bracket, keep, machine, markdown
from wmcourse.engine.report import train_and_report
from wmcourse.engine.runs import preset, read_config
from wmcourse.worlds import DODGE

RUNS, SEEDS, EPISODES = Path("runs/benchmarks"), range(8), 100


def run(seed: int) -> Path:
    """The standard run of a seed; trained and scored unless it is there."""
    directory = RUNS / f"seed_{seed}"
    if not (directory / "report.json").is_file() or read_config(directory) != preset("standard", DODGE, seed):
        train_and_report(directory, DODGE, "standard", seed, episodes=EPISODES)
    return directory


def report() -> str:
    rows, means = [], []
    for seed in SEEDS:
        result = json.loads((run(seed) / "report.json").read_text())
        scores, cost = result["scores"], result["train"]
        mean = {name: score["mean"] for name, score in scores.items()}
        shown = [bracket(s["mean"], s["ci95"]) for s in scores.values()]
        means.append(mean["planner"])
        ratios = [f"{mean['planner'] / mean['random']:.1f}", f"{mean['planner'] / mean['oracle']:.2f}"]
        training = [
            f"{cost['core_seconds']:.0f}",
            f"{cost['wall_seconds']:.0f}",
            f"{cost['peak_rss_bytes'] / 2**30:.2f}",
        ]
        evaluation = [f"{result['evaluate']['core_seconds']:.0f}", f"{result['evaluate']['wall_seconds']:.0f}"]
        rows.append([str(seed), *shown, *ratios, *training, *evaluation])
    head = [
        "seed",
        "random",
        "ours",
        "oracle",
        "ours / random",
        "ours / oracle",
        "training: core-s",
        "wall s",
        "peak GiB",
    ]
    text = f"# {len(SEEDS)} training seeds\n\nStandard budget, mean return and 95 % interval of the mean over "
    text += f"{EPISODES} episodes (seeds 10000 to {9999 + EPISODES}), 300 is the cap. {machine()}.\n\n"
    text += markdown([*head, "evaluation: core-s", "wall s"], rows)
    spread = f"Over the trainings: {fmean(means):.0f} ± {stdev(means):.0f} (mean and standard deviation)"
    return text + f"\n\n{spread}, from {min(means):.0f} to {max(means):.0f}."


def main(write: bool) -> None:
    keep("seeds", report(), write)
