"""The `wmcourse` command, thin: it reads the arguments, calls the package and turns errors into one sentence."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wmcourse import __version__

EXAMPLES = """examples:
  wmcourse train                                   learn Dodge from pixels in a few minutes, into runs/Dodge-v0
  wmcourse train --budget quick --out runs/try     the same road in half a minute; the score is poor
  wmcourse train --world CarRacing-v3 --seed 1     another world (this one needs: pip install "wmcourse[box2d]")
  wmcourse evaluate runs/Dodge-v0 --episodes 100   play with what was learned: random / ours / oracle
  wmcourse dream runs/Dodge-v0                     a GIF: reality and dream side by side

A run that was interrupted continues where it stopped: type the same command again.
"""


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"must be between 0 and 2147483647, not {value}")
    return value


def temperature(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):  # so neither is NaN
        raise argparse.ArgumentTypeError(f"must be at least 0 and finite, not {value}")
    return value


def parser() -> argparse.ArgumentParser:
    """The command line and its help."""
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        "wmcourse", description="World models from pixels.", epilog=EXAMPLES, formatter_class=raw
    )
    top.add_argument("--version", action="version", version=f"wmcourse {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="{train,evaluate,dream}")

    train = commands.add_parser(
        "train", help="collect, train, evaluate and report", epilog=EXAMPLES, formatter_class=raw
    )
    train.add_argument("--world", default="wmcourse/Dodge-v0", metavar="ID", help="any Gymnasium id (default: Dodge)")
    train.add_argument("--out", type=Path, metavar="DIR", help="where the run lives (default: runs/WORLD)")
    train.add_argument(
        "--budget", choices=("quick", "standard"), default="standard", help="how long to train (default: standard)"
    )
    train.add_argument("--seed", type=seed, default=0, metavar="N", help="of everything random (default: 0)")
    train.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto, CUDA when there is one)")
    train.add_argument("--episodes", type=positive, default=None, metavar="N", help="of the evaluation at the end")

    evaluate = commands.add_parser(
        "evaluate", help="play and score: random / ours / oracle", epilog=EXAMPLES, formatter_class=raw
    )
    evaluate.add_argument("directory", type=Path, metavar="DIR")
    evaluate.add_argument("--episodes", type=positive, default=100, metavar="N", help="of each player (default: 100)")
    evaluate.add_argument(
        "--seed", type=seed, default=10_000, metavar="N", help="of the first episode (default: 10000)"
    )
    evaluate.add_argument("--device", default="auto", help="auto, cpu or cuda")

    dream = commands.add_parser(
        "dream", help="a GIF of reality and dream side by side", epilog=EXAMPLES, formatter_class=raw
    )
    dream.add_argument("directory", type=Path, metavar="DIR")
    dream.add_argument("--out", type=Path, metavar="FILE", help="the picture (default: DIR/dream.gif)")
    dream.add_argument("--steps", type=positive, default=60, metavar="N", help="how long (default: 60)")
    dream.add_argument("--temperature", type=temperature, default=1.0, metavar="T", help="of the dream (default: 1.0)")
    dream.add_argument("--seed", type=seed, default=0, metavar="N")
    return top


def run(arguments: argparse.Namespace) -> None:
    """Do what was asked. Imports torch, so it is not imported for ``--help``."""
    from wmcourse.engine import report

    if arguments.command == "train":
        directory = arguments.out or Path("runs") / arguments.world.split("/")[-1]
        report.train_and_report(
            directory, arguments.world, arguments.budget, arguments.seed, arguments.device, arguments.episodes
        )
    elif arguments.command == "evaluate":
        report.evaluate_and_report(arguments.directory, arguments.episodes, arguments.seed, arguments.device)
    else:
        file = report.dream_gif(
            arguments.directory, arguments.out, arguments.steps, arguments.temperature, arguments.seed
        )
        print(f"{file}: left, what happened; right, what the model dreamt from the same start with the same actions.")


def main(argv: Sequence[str] | None = None) -> int:
    """0 when all went well, 1 for an error told in one sentence, 2 for a wrong command line, 130 for Ctrl-C."""
    arguments = parser().parse_args(argv)
    try:
        run(arguments)
    except KeyboardInterrupt:
        print(
            "\nStopped. Type the same command again, and it goes on from its last checkpoint, seconds ago.",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        return 1
    except (OSError, RuntimeError, ValueError) as error:
        from wmcourse.engine.errors import RunError
        from wmcourse.worlds.errors import WorldError

        if isinstance(error, (OSError, RunError, WorldError)):
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
            print(f"wmcourse: {reason}{where}", file=sys.stderr)
            return 1
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
