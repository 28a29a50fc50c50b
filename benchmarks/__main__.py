"""`make bench`: measure what the README claims.

make bench                                  speed: a minute
make bench ARGS="seeds ablations"           the tables that train and play: minutes to an hour
make bench ARGS="all --write"               everything, kept in benchmarks/results

speed          frames, sequences and plans per core-second
dodge_tuning   players that know the true state, on Dodge's rules and their neighbours
planners       return against model evaluations: CEM, iCEM, MPPI, random shooting
seeds          whole runs: score, time and memory for eight training seeds
ablations      the agent without memory, horizon, planning, mixture
effort         what a push should cost the planner
temperature    controllers evolved in dreams of temperature τ: the dream's score and the world's
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

NAMES = ("speed", "dodge_tuning", "planners", "seeds", "ablations", "effort", "temperature")


def main(argv: Sequence[str] | None = None) -> int:
    summary, text = (__doc__ or "").split("\n", 1)
    parser = argparse.ArgumentParser("python -m benchmarks", description=summary, epilog=text)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: speed")
    parser.add_argument("--write", action="store_true", help="keep the tables in benchmarks/results")
    arguments = parser.parse_args(argv)
    unknown = set(arguments.names) - {*NAMES, "all"}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose among all, {', '.join(NAMES)}")
    for name in NAMES if "all" in arguments.names else arguments.names or ["speed"]:
        importlib.import_module(f"benchmarks.{name}").main(arguments.write)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
