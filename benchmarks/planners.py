"""Which planner gets the most out of a few imagined futures? Return on Dodge against model evaluations per decision.

The model is Dodge itself, so nothing is blamed on learning; the forks to come are unknown to every planner alike
(each decision imagines one side for each hazard). An evaluation is one plan of 12 steps rolled out in one world. All
planners start from their last plan, shifted by one, and play the same episodes.

Each planner's settings are the best of 24 random points of its grid, played on 100 *other* episodes: once with 12
evaluations, for budgets up to 24, and once with 48, for the larger ones. The grids hold 36 points (CEM, white), 144
(CEM, correlated), 288 (iCEM) and 360 (MPPI), so the first was searched best. Random shooting has nothing to set. All
else (alpha, decay, min_std) is a planner's default. One seed of the planner; the intervals are over episodes, and
[300, 300] says that all of them reached the cap, not that none ever fails.

How to read it: the noise decides, not the optimiser. The CEM with correlated noise that was found has one iteration,
and so never fits anything: it is random shooting with slow noise around the last plan. The second table changes
iterations alone. White noise was given the widest std of its grid; wider still (8) reached 256 [240, 272] with 12
evaluations on the episodes of the search, still below slow noise. From 48 evaluations on, CEM with correlated noise,
iCEM and MPPI are all at the cap, and this world cannot tell them apart. True dynamics: a learned model may prefer other
settings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.tables import interval, keep, machine, markdown
from wmcourse.cross_entropy_method import CEM, ICEM, MPPI
from wmcourse.engine.players import OraclePlanner
from wmcourse.engine.runs import Config
from wmcourse.model_predictive_control import Plan, Planner, RandomShooting, Score
from wmcourse.world_models_training import evaluate
from wmcourse.worlds import DodgeVectorEnv

BUDGETS, HORIZON = (12, 24, 48, 96, 192, 384), 12
EPISODES, SEED = 100, 10_000
SEARCH_SEED, TRIALS = 50_000, 24  # other episodes than those of the table, and the same number of trials for all
SMALL = 24  # settings were searched for 12 evaluations, used up to here, and for 48, used beyond
Settings = Mapping[str, float]


def cem(budget: int, iterations: float, elites: float, **settings: float) -> Planner:
    candidates = budget // int(iterations)
    return CEM(HORIZON, 1, candidates, int(iterations), max(1, int(elites * candidates)), **settings)


def icem(budget: int, iterations: float, elites: float, kept: float, **settings: float) -> Planner:
    """As many candidates as the budget has room for beside the elites that are kept."""
    for candidates in range(budget, 0, -1):
        number = max(1, int(elites * candidates))
        few = min(int(kept), number)
        planner = ICEM(HORIZON, 1, candidates, int(iterations), number, kept=few, **settings)
        again = few + (int(iterations) - 1) * max(few, 1)
        if sum(planner.population(i) for i in range(int(iterations))) + again <= budget:
            break
    return planner


def mppi(budget: int, iterations: float, **settings: float) -> Planner:
    return MPPI(HORIZON, 1, budget // int(iterations), int(iterations), **settings)


def shooting(budget: int) -> Planner:
    return RandomShooting(HORIZON, 1, budget)


class Entry(NamedTuple):
    """A row of the table: how to make the planner, what ``search`` tries, and what it found (small, large budget)."""

    make: Callable[..., Planner]
    grid: dict[str, tuple[float, ...]]
    found: tuple[Settings, Settings]


STD = (0.4, 0.8, 1.2, 2.0)
CEM_GRID = {"iterations": (1, 2, 3), "elites": (0.1, 0.2, 0.35), "init_std": STD}
RHO = (0.5, 0.7, 0.85, 0.95)
ENTRIES: dict[str, Entry] = {
    "CEM, white noise": Entry(
        cem,
        CEM_GRID,
        (
            {"iterations": 1, "elites": 0.1, "init_std": 2.0},
            {"iterations": 2, "elites": 0.35, "init_std": 2.0},
        ),
    ),
    "CEM, correlated": Entry(
        cem,
        CEM_GRID | {"correlation": RHO},
        (
            {"iterations": 1, "elites": 0.35, "init_std": 0.8, "correlation": 0.95},
            {"iterations": 1, "elites": 0.35, "init_std": 0.8, "correlation": 0.95},
        ),
    ),
    "iCEM": Entry(
        icem,
        {
            "iterations": (1, 2, 3),
            "elites": (0.1, 0.2, 0.35),
            "kept": (1, 3),
            "init_std": STD,
            "exponent": (1.0, 2.0, 3.0, 4.0),
        },
        (
            {"iterations": 1, "elites": 0.1, "kept": 3, "init_std": 2.0, "exponent": 4.0},
            {"iterations": 2, "elites": 0.1, "kept": 3, "init_std": 2.0, "exponent": 3.0},
        ),
    ),
    "MPPI": Entry(
        mppi,
        {
            "iterations": (1, 2, 3),
            "temperature": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
            "init_std": STD,
            "correlation": (0.0, *RHO),
        },
        (
            {"iterations": 1, "temperature": 0.003, "init_std": 2.0, "correlation": 0.85},
            {"iterations": 3, "temperature": 0.01, "init_std": 2.0, "correlation": 0.85},
        ),
    ),
    "random shooting": Entry(shooting, {}, ({}, {})),
}


class Counted:
    """Any planner, and how many plans it had scored for each world and decision."""

    def __init__(self, planner: Planner) -> None:
        self.planner, self.evaluations, self.decisions = planner, 0, 0

    def plan(
        self, score: Score, warm: Plan | None = None, worlds: int = 1, generator: torch.Generator | None = None
    ) -> Plan:
        def counted(plans: Tensor) -> Tensor:
            self.evaluations += plans.shape[1]
            return score(plans)

        self.decisions += 1
        return self.planner.plan(counted, warm, worlds, generator)


def play(planner: Planner, seed: int) -> tuple[str, float, float, float]:
    """The interval, the mean, evaluations per decision and core-seconds of ``EPISODES`` episodes."""
    world, counted = DodgeVectorEnv(EPISODES), Counted(planner)
    start = time.process_time()
    agent = OraclePlanner(world, Config(horizon=HORIZON), clairvoyant=False, planner=counted)
    score = evaluate(agent, world, EPISODES, seed, None)
    return interval(score), score.mean, counted.evaluations / counted.decisions, time.process_time() - start


def search() -> None:
    """Where ``Entry.found`` comes from: the best of ``TRIALS`` random points of each grid. Ten minutes."""
    for name, entry in ENTRIES.items():
        points = [dict(zip(entry.grid, values, strict=True)) for values in product(*entry.grid.values())]
        chosen = np.random.default_rng(0).permutation(len(points))[:TRIALS]
        for budget in (12, 48):
            trials = [(play(entry.make(budget, **points[i]), SEARCH_SEED)[1], points[i]) for i in chosen]
            for mean, settings in sorted(trials, key=lambda trial: -trial[0]):
                print(f"{name}, {budget}: {mean:.1f} {settings}", flush=True)


def refitting() -> str:
    """Does fitting the Gaussian again help, all else equal? One, two or three iterations of the same budget."""
    rows = []
    for rho, std in ((0.0, 2.0), (0.95, 0.8)):
        for iterations in (1, 2, 3):
            planners = [cem(b, iterations, 0.35, init_std=std, correlation=rho) for b in BUDGETS[:3]]
            rows.append([f"{rho}", f"{iterations}", *(play(planner, SEED)[0] for planner in planners)])
    return markdown(["CEM's correlation", "iterations", *map(str, BUDGETS[:3])], rows)


def report() -> str:
    torch.set_num_threads(1)
    rows, settings = [], []
    for name, entry in ENTRIES.items():
        results = [play(entry.make(budget, **entry.found[budget > SMALL]), SEED) for budget in BUDGETS]
        spent = ", ".join(f"{evaluations:.0f}" for _, _, evaluations, _ in results)
        rows.append([name, *(text for text, *_ in results), spent, f"{sum(seconds for *_, seconds in results):.0f}"])
        found = (", ".join(f"{key} {value}" for key, value in setting.items()) or "none" for setting in entry.found)
        settings.append([name, *found])
        print(" | ".join(rows[-1]), flush=True)
    table = markdown(["planner", *map(str, BUDGETS), "evaluations made", "core-s"], rows)
    found_table = markdown(["planner", f"up to {SMALL} evaluations", "beyond"], settings)
    head = f"# Planners\n\nMean return and 95 % interval, {EPISODES} episodes; 300 is the cap. {machine()}.\n"
    return f"{head}\n{__doc__}\n{table}\n\n{refitting()}\n\nWhat the search found:\n\n{found_table}"


def main(write: bool) -> None:
    keep("planners", report(), write)
