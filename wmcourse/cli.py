"""The `wmcourse` command, thin: it reads the arguments, calls the package and turns errors into one sentence."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from wmcourse import __version__
from wmcourse.lessons.syllabus import PACES

EXAMPLES = """examples:
  wmcourse start                                   your own copies of the lessons, into the folder my
  wmcourse check 03                                run your lesson 03 and say how each exercise fared
  wmcourse update 03                               a newer text of lesson 03, around what you wrote
  wmcourse progress --pace "one week"              what you have done, and the hours that are left

  wmcourse train                                   learn Dodge from pixels in a few minutes, into runs/Dodge-v0
  wmcourse train --budget quick --out runs/try     the same road in half a minute; the score is poor
  wmcourse train --mine --out runs/mine            with the parts that you wrote and passed in the lessons
  wmcourse train --world CarRacing-v3 --seed 1     another world (this one needs: pip install "wmcourse[box2d]")
  wmcourse evaluate runs/Dodge-v0 --episodes 100   play with what was learned: random / ours / oracle
  wmcourse dream runs/Dodge-v0                     a GIF: reality and dream side by side

A run that was interrupted continues where it stopped: type the same command again.
"""
AUTHORS = {"build": "make a lesson's notebooks from its text", "gate": "hold lessons against the blueprint"}


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
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help, epilog=EXAMPLES, formatter_class=raw)

    start = command("start", "make your own copies of the lessons; those that are there stay as they are")
    start.add_argument("lessons", nargs="*", metavar="NN", help="which (default: all)")
    start.add_argument("--folder", type=Path, metavar="DIR", help="where (default: your folder, or a new one, my)")

    check = command("check", "run your lesson and say how each exercise fared; 0 only when all have passed")
    check.add_argument("lesson", metavar="NN")
    check.add_argument("--file", type=Path, metavar="FILE.ipynb", help="another notebook than your own copy")
    check.add_argument("--no-record", dest="record", action="store_false", help="note nothing in your folder")
    check.add_argument("--seconds", type=positive, default=600, metavar="S", help="for one cell (default: 600)")

    progress = command("progress", "what you have done, and the hours that are left")
    progress.add_argument("--pace", choices=list(PACES), help="in how long you want to do the course; it is kept")

    command("parts", "which parts of the world model are yours")

    update = command("update", "bring a lesson's newer text around what you wrote")
    update.add_argument("lesson", metavar="NN")
    both = update.add_mutually_exclusive_group()
    both.add_argument("--keep-mine", dest="prefer", action="store_const", const="mine", help="where both changed it")
    both.add_argument("--take-new", dest="prefer", action="store_const", const="new", help="there, take the lesson's")

    reset = command("reset", "a fresh copy of a lesson; yours is put aside")
    reset.add_argument("lesson", metavar="NN")

    command("doctor", "look whether all that a lesson needs is here")

    train = command("train", "collect, train, evaluate and report")
    train.add_argument("--world", default="wmcourse/Dodge-v0", metavar="ID", help="any Gymnasium id (default: Dodge)")
    train.add_argument("--out", type=Path, metavar="DIR", help="where the run lives (default: runs/WORLD)")
    train.add_argument(
        "--budget", choices=("quick", "standard"), default="standard", help="how long to train (default: standard)"
    )
    train.add_argument("--seed", type=seed, default=0, metavar="N", help="of everything random (default: 0)")
    train.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto, CUDA when there is one)")
    train.add_argument("--episodes", type=positive, default=None, metavar="N", help="of the evaluation at the end")
    train.add_argument("--mine", action="store_true", help="with your own parts, where you have them (a new --out)")

    evaluate = command("evaluate", "play and score: random / ours / oracle")
    evaluate.add_argument("directory", type=Path, metavar="DIR")
    evaluate.add_argument("--episodes", type=positive, default=100, metavar="N", help="of each player (default: 100)")
    evaluate.add_argument(
        "--seed", type=seed, default=10_000, metavar="N", help="of the first episode (default: 10000)"
    )
    evaluate.add_argument("--device", default="auto", help="auto, cpu or cuda")
    evaluate.add_argument("--mine", action="store_true", help="with your own parts, where you have them")

    dream = command("dream", "a GIF of reality and dream side by side")
    dream.add_argument("directory", type=Path, metavar="DIR")
    dream.add_argument("--out", type=Path, metavar="FILE", help="the picture (default: DIR/dream.gif)")
    dream.add_argument("--steps", type=positive, default=60, metavar="N", help="how long (default: 60)")
    dream.add_argument("--temperature", type=temperature, default=1.0, metavar="T", help="of the dream (default: 1.0)")
    dream.add_argument("--seed", type=seed, default=0, metavar="N")

    for name, what in AUTHORS.items():  # they read their arguments themselves
        commands.add_parser(name, help=f"for authors: {what}", add_help=False)
    return top


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked. Imports torch where that is needed, so it is not imported for ``--help``."""
    if arguments.command in ("train", "evaluate", "dream"):
        return run_with_own_parts(arguments) if getattr(arguments, "mine", False) else run_engine(arguments)
    if arguments.command == "doctor":
        from wmcourse.classroom import doctor

        return doctor.main()
    if arguments.command == "progress":
        return show_progress(arguments.pace)
    if arguments.command == "parts":
        return show_parts()
    if arguments.command == "check":
        from wmcourse.classroom import check

        print("Running the notebook, which may take some minutes …", flush=True)
        results = check.check(arguments.lesson, arguments.file, arguments.record, arguments.seconds)
        print("\n".join(check.report(results)))
        return int(any(result.status != "passed" for result in results))

    from wmcourse.classroom import notebooks

    if arguments.command == "start":
        said = notebooks.start(arguments.folder, arguments.lessons)
    elif arguments.command == "update":
        said = notebooks.update(arguments.lesson, arguments.prefer)
    else:
        said = notebooks.reset(arguments.lesson)
    print("\n".join(said))
    return 0


def run_with_own_parts(arguments: argparse.Namespace) -> int:
    """The same on the learner's functions. Raises LessonError when one of them has failed."""
    from wmcourse.lessons.parts import use_own_parts

    with use_own_parts() as parts:
        yours = [name for name, part in parts.items() if part.status == "yours"]
        print(f"Yours: {', '.join(yours) or 'none yet'}. All other parts are the course's.")
        return run_engine(arguments)


def run_engine(arguments: argparse.Namespace) -> int:
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
    return 0


def show_progress(pace: str | None) -> int:
    """What is done; ``pace`` is kept, when there is one. Raises LessonError when it cannot be."""
    from wmcourse.lessons.errors import LessonError
    from wmcourse.lessons.lesson import summary
    from wmcourse.lessons.progress import Progress

    kept = Progress()
    if pace:
        kept.data["pace"] = pace
        trouble = kept.save() if kept.folder else "There is no folder here to keep it in: `wmcourse start` makes one."
        if trouble:
            raise LessonError(trouble)
    print("\n".join(summary(kept)))
    print(kept.trouble or (f"Kept in {kept.folder}." if kept.folder else "You have no folder here: `wmcourse start`."))
    return 0


def show_parts() -> int:
    """Each part of the world model: whose it is, and why. 1 when one has failed."""
    from wmcourse.engine.parts import PARTS
    from wmcourse.lessons.parts import own_parts

    marks = {"yours": ("✓", "yours, "), "course": ("○", "the course's, "), "failed": ("✗", "yours failed: ")}
    statuses = own_parts()
    for name, part in statuses.items():
        print(f"{marks[part.status][0]} {name} ({PARTS[name].what}): {marks[part.status][1]}{part.why}")
    return int(any(part.status == "failed" for part in statuses.values()))


def main(argv: Sequence[str] | None = None) -> int:
    """0 when all went well, 1 for an error told in one sentence, 2 for a wrong command line, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # ✓ where there is only ASCII
    try:
        if words[:1] == ["build"]:
            from wmcourse.classroom import build

            return build.main(words[1:])
        if words[:1] == ["gate"]:
            from wmcourse.classroom import gate

            return gate.main(words[1:])
        return run(parser().parse_args(words))
    except KeyboardInterrupt:
        goes_on = ", and it goes on from its last checkpoint, seconds ago" if words[:1] == ["train"] else ""
        print(f"\nStopped. Type the same command again{goes_on}.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except (OSError, RuntimeError, ValueError) as error:
        if not for_people(error):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
        print(f"wmcourse: {reason}{where}", file=sys.stderr)
        return 1


def for_people(error: Exception) -> bool:
    """Whether an error's message is a sentence for whoever typed the command; a bug's is not."""
    from wmcourse.engine.errors import RunError
    from wmcourse.lessons.errors import LessonError

    if isinstance(error, (OSError, RunError, LessonError)):
        return True
    from wmcourse.worlds.errors import WorldError  # brings Gymnasium along

    return isinstance(error, WorldError)


if __name__ == "__main__":
    sys.exit(main())
