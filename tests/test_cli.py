"""The command: what it says, what it returns, and that an error is one sentence and never a traceback."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import nbformat
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import wmcourse
from wmcourse import cli
from wmcourse.classroom.check import TaskResult
from wmcourse.engine.runs import Config
from wmcourse.lessons import progress
from wmcourse.world_models_training import train_world_model

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
TINY = Config(
    shards=2,
    worlds=8,
    steps=32,
    latent_dim=4,
    width=4,
    vae_steps=5,
    vae_batch=8,
    hidden_dim=8,
    rnn_steps=5,
    rnn_batch=4,
    rnn_length=8,
    horizon=3,
    candidates=8,
    iterations=1,
    elites=2,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cli") / "run"
    train_world_model(TINY, directory, "cpu")
    return directory


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr; argparse leaves through SystemExit."""
    try:
        status = cli.main([str(a) for a in arguments])
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    return status, *capsys.readouterr()


def one_sentence(error: str) -> str:
    """The only line on stderr that is not a progress bar."""
    lines = [line for line in error.replace("\r", "\n").splitlines() if line.strip() and "it/s" not in line]
    lines = [line for line in lines if not any(bar in line for bar in ("shard/s]", "episode/s]", "?it/s]"))]
    assert len(lines) == 1, error
    assert lines[0].startswith("wmcourse: ")
    return lines[0]


# --- help


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["train", "--help"], ["evaluate", "-h"], ["dream", "-h"], ["check", "-h"]):
        status, said, error = call(capsys, *arguments)
        assert (status, error) == (0, "")
        assert "wmcourse update 03" in said
        assert "wmcourse train --budget quick" in said
        assert "type the same command again" in said


def test_the_examples_in_the_help_are_commands() -> None:
    lines = [line.split("  ")[1] for line in cli.EXAMPLES.splitlines() if line.startswith("  wmcourse")]
    examples = [shlex.split(line)[1:] for line in lines]
    assert {e[0] for e in examples} == {"start", "check", "update", "progress", "train", "evaluate", "dream"}
    for example in examples:
        cli.parser().parse_args(example)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--version") == (0, f"wmcourse {wmcourse.__version__}\n", "")


def imported_by(code: str) -> set[str]:
    code += "\nimport sys\nprint('\\nMODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=ENVIRONMENT)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_or_asking_for_help_is_quick() -> None:
    heavy = {"torch", "numpy", "gymnasium", "matplotlib", "PIL"}
    assert not heavy & imported_by("import wmcourse")
    for arguments in (["--help"], ["train", "--help"], ["--version"], ["train", "--seed", "x"], ["update", "x"]):
        modules = imported_by(
            f"from wmcourse.cli import main\ntry: main({arguments})\nexcept SystemExit: print('left')"
        )
        assert "wmcourse.cli" in modules
        assert not heavy & modules, arguments


# --- wrong command lines: 2


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["evaluate"],
        ["train", "--budget", "huge"],
        ["train", "--speed", "3"],
        *(["train", "--episodes", n] for n in ("0", "-1", "many", "1.5", "")),
        *(["train", "--seed", n] for n in ("-1", "x", str(2**31))),
        *(["evaluate", "d", "--episodes", n] for n in ("0", "-3", "x")),
        *(["evaluate", "d", "--seed", n] for n in ("-1", "1e3")),
        *(["dream", "d", "--steps", n] for n in ("0", "-1", "x")),
        *(["dream", "d", "--temperature", n] for n in ("-1", "-0.001", "x", "nan", "inf")),
        *([command] for command in ("update", "reset", "check")),
        ["update", "03", "--keep-mine", "--take-new"],
        ["progress", "--pace", "a year"],
        ["check", "03", "--seconds", "0"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    status, said, error = call(capsys, *arguments)
    assert (status, said) == (2, "")
    assert error.startswith("usage: wmcourse")
    assert "error: " in error.splitlines()[-1]
    assert "Traceback" not in error


# --- errors: 1


class Blind(gym.Env[Any, Any]):
    """Nothing to see."""

    observation_space, action_space = Box(-1, 1, (2,)), Discrete(2)

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        return np.zeros(2, np.float32), {}


def test_a_world_that_cannot_be_had(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gym.registry, "Blind-v0", gym.envs.registration.EnvSpec("Blind-v0", entry_point=Blind))
    for world, reason in (
        ("Nowhere-v0", "No world 'Nowhere-v0'"),
        ("no/such/world", "No world 'no/such/world'"),
        ("no_such_module:World-v0", "No world 'no_such_module:World-v0'"),
        ("Blind-v0", "world without pixels"),
        ("", "No world ''"),
    ):
        status, said, error = call(capsys, "train", "--world", world, "--out", tmp_path / "run")
        assert (status, said) == (1, ""), world
        assert reason in one_sentence(error)
        assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, _, error = call(capsys, "train", "--device", "abacus", "--out", tmp_path / "run")
    assert status == 1
    assert "The device 'abacus' cannot be used here" in one_sentence(error)


@pytest.mark.parametrize("command", ["evaluate", "dream"])
def test_no_run_there(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path, tmp_path / "nowhere"):
        status, said, error = call(capsys, command, directory)
        assert (status, said) == (1, "")
        assert f"{directory} holds no run: train one with `wmcourse train --out" in one_sentence(error)
    status, _, error = call(capsys, command, tmp_path / "file")
    assert status == 1
    assert "Not a directory" in one_sentence(error)


@pytest.mark.parametrize("command", ["evaluate", "dream"])
@pytest.mark.parametrize("name", ["vae.safetensors", "mdn_rnn.safetensors", "config.json"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_truncated_file(capsys: pytest.CaptureFixture[str], run: Path, command: str, name: str, share: float) -> None:
    data = (run / name).read_bytes()
    (run / name).write_bytes(data[: int(share * len(data))])
    status, said, error = call(capsys, command, run)
    assert (status, said) == (1, "")
    assert name in one_sentence(error)


@pytest.mark.parametrize("name", ["vae.safetensors", "latents.npy", "costs.json", "rollouts/0001/frames.npy"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_training_on_with_a_truncated_file(
    capsys: pytest.CaptureFixture[str], run: Path, monkeypatch: pytest.MonkeyPatch, name: str, share: float
) -> None:
    monkeypatch.setattr("wmcourse.engine.report.preset", lambda *_: TINY)
    data = (run / name).read_bytes()
    (run / name).write_bytes(data[: int(share * len(data))])
    status, said, error = call(capsys, "train", "--out", run)
    assert (status, said) == (1, "")
    assert Path(name).parts[-2 if "/" in name else -1] in one_sentence(error)


def test_another_run_lives_there(capsys: pytest.CaptureFixture[str], run: Path) -> None:
    status, _, error = call(capsys, "train", "--budget", "quick", "--out", run)
    assert status == 1
    assert "holds a run with shards 2" not in error  # quick has as many
    assert "latent_dim 4, not 16" in one_sentence(error)


def test_out_is_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        status, _, error = call(capsys, "train", "--out", out)
        assert status == 1
        assert "file" in one_sentence(error)


def test_a_bug_is_not_hidden(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors that no sentence was written for keep their traceback."""

    def bug(arguments: object) -> None:
        raise ValueError("shapes differ")

    monkeypatch.setattr(cli, "run", bug)
    with pytest.raises(ValueError, match="shapes differ"):
        cli.main(["evaluate", "d"])


# --- what works


def test_evaluate_one_episode(capsys: pytest.CaptureFixture[str], run: Path) -> None:
    """There is no interval, and the report is JSON all the same."""
    status, said, _ = call(capsys, "evaluate", run, "--episodes", 1)
    assert status == 0
    assert [line.split()[0] for line in said.splitlines()] == ["random", "ours", "oracle", "Trained"]
    assert "nan" not in said
    text = (run / "report.json").read_text()
    scores = json.loads(text, parse_constant=lambda constant: pytest.fail(constant))["scores"]
    assert all(score["ci95"] is None and score["mean"] > 0 for score in scores.values())
    assert (run / "report.png").stat().st_size > 10_000


def test_dream_writes_where_it_is_told(capsys: pytest.CaptureFixture[str], run: Path, tmp_path: Path) -> None:
    gif = tmp_path / "new" / "d.gif"
    status, said, _ = call(capsys, "dream", run, "--out", gif, "--steps", 3)
    assert status == 0
    assert str(gif) in said
    assert gif.read_bytes()[:3] == b"GIF"
    assert not (run / "dream.gif").exists()


def test_the_directory_is_named_after_the_world(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("wmcourse.engine.report.train_and_report", lambda *a: asked.append(a))
    call(capsys, "train")
    call(capsys, "train", "--world", "CarRacing-v3", "--seed", 4, "--episodes", 9)
    assert asked[0] == (Path("runs/Dodge-v0"), "wmcourse/Dodge-v0", "standard", 0, "auto", None)
    assert asked[1] == (Path("runs/CarRacing-v3"), "CarRacing-v3", "standard", 4, "auto", 9)


# --- the learner's commands


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one small lesson, and a learner's folder that is not there yet. Returns the folder."""
    cells = [nbformat.v4.new_markdown_cell("# 03 · A lesson", id="title")]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebooks" / "03_kl_divergence_loss.ipynb")
    monkeypatch.setattr(progress, "CHECKOUT", tmp_path)
    monkeypatch.setenv("WMCOURSE_HOME", str(tmp_path / "my"))
    return tmp_path / "my"


def test_the_learners_commands_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    listed = re.findall(r"^    ([a-z]+) ", call(capsys, "--help")[1], re.MULTILINE)
    assert listed[:7] == ["start", "check", "progress", "parts", "update", "reset", "doctor"]
    assert listed[7:] == ["train", "evaluate", "dream", "build", "gate"]


def test_start_update_and_reset(capsys: pytest.CaptureFixture[str], course: Path) -> None:
    notebook = course / "03_kl_divergence_loss.ipynb"
    assert call(capsys, "start", "3") == (0, f"{notebook} is yours now.\n", "")
    assert call(capsys, "start") == (0, f"{notebook} is there already and stays as it is.\n", "")
    status, said, error = call(capsys, "update", "kl_divergence_loss", "--keep-mine")
    assert (status, error) == (0, "")
    assert said.endswith("already: nothing to do.\n")
    status, said, error = call(capsys, "reset", "03")
    assert (status, error) == (0, "")
    assert str(next((course / "backups").iterdir())) in said
    assert call(capsys, "start", "--folder", course.parent / "other")[0] == 0
    assert (course.parent / "other" / ".course" / notebook.name).is_file()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["start", "mdn_rn"], "There is no lesson 'mdn_rn'. Did you mean mdn_rnn?"),
        (["start", "04"], "Lesson 04, Reconstruction loss, has no notebook yet"),
        (["update", "12"], "There is no lesson '12'. Lessons are 01 to 11."),
        (["update", "03"], "`wmcourse start 03` makes it"),
        (["reset", "03"], "`wmcourse start 03` makes it"),
        (["check", "03"], "`wmcourse start 03` makes it"),
        (["check", "03", "--file", "nowhere.ipynb"], "nowhere.ipynb cannot be read"),
    ],
    ids=" ".join,
)
def test_what_a_learner_may_get_wrong(
    capsys: pytest.CaptureFixture[str], course: Path, arguments: list[str], reason: str
) -> None:
    status, _, error = call(capsys, *arguments)
    assert status == 1
    assert reason in one_sentence(error)
    assert not course.exists()


def test_check_is_zero_only_when_all_has_passed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    results: list[TaskResult] = [TaskResult("kl", "A price", 2, "passed")]
    monkeypatch.setattr("wmcourse.classroom.check.check", lambda *a: asked.append(a) or results)
    status, said, _ = call(capsys, "check", "03")
    assert (status, said.splitlines()[1:]) == (0, ["✓ kl (A price): passed", "1 of 1 passed, 2 of 2 points."])
    results.append(TaskResult("other", "Another", 3, "wrong", "not yet."))
    status, said, _ = call(capsys, "check", "03", "--no-record", "--file", "a.ipynb", "--seconds", 9)
    assert status == 1
    assert said.splitlines()[2:] == ["✗ other (Another): wrong: not yet.", "1 of 2 passed, 2 of 5 points."]
    assert asked == [("03", None, True, 600), ("03", Path("a.ipynb"), False, 9)]


def test_progress_and_its_pace(capsys: pytest.CaptureFixture[str], course: Path) -> None:
    call(capsys, "start")
    status, said, error = call(capsys, "progress")
    assert (status, error) == (0, "")
    assert "○ 03 Know KL divergence and its role: 0%" in said
    assert "days of 2.5 hours (pace: two weeks)." in said
    passed = dict.fromkeys(("03/spread", "03/kl_standard_normal", "03/no_such", "99/x", "x"), "2026-11-24")
    (course / "progress.json").write_text(json.dumps({"passed": passed, "pace": ["?"]}))
    assert "(pace: two weeks)" in call(capsys, "progress")[1]
    status, said, _ = call(capsys, "progress", "--pace", "one week")
    assert status == 0
    assert re.search(r"◐ 03 Know KL divergence and its role: [12]\d%", said)
    assert "days of 4.5 hours (pace: one week)." in said
    kept = json.loads((course / "progress.json").read_text())
    assert kept == {"passed": passed, "pace": "one week"}
    (course / "progress.json").write_text("{")
    assert "progress.broken-1.json" in call(capsys, "progress")[1]


def test_progress_without_a_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WMCOURSE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    status, said, _ = call(capsys, "progress")
    assert status == 0
    assert said.endswith("You have no folder here: `wmcourse start`.\n")
    status, _, error = call(capsys, "progress", "--pace", "one week")
    assert status == 1
    assert "`wmcourse start` makes one" in one_sentence(error)


def test_authors_commands_get_their_arguments(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("build", "gate"):
        asked: list[Any] = []
        monkeypatch.setattr(f"wmcourse.classroom.{name}.main", lambda a, asked=asked: asked.append(a) or 3)
        assert call(capsys, name, "--check", "03", "-x")[0] == 3
        assert call(capsys, name)[0] == 3
        assert asked == [["--check", "03", "-x"], []]


def test_a_terminal_that_has_only_ascii() -> None:
    command = [sys.executable, "-m", "wmcourse.cli", "progress"]
    done = subprocess.run(command, capture_output=True, env=ENVIRONMENT | {"PYTHONIOENCODING": "ascii"}, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "03 Know KL divergence" in done.stdout


def test_no_torch_where_no_lesson_runs(course: Path) -> None:
    for arguments in (["start"], ["reset", "03"], ["update", "03"]):
        modules = imported_by(
            "import os, pathlib\nfrom wmcourse.cli import main\nfrom wmcourse.lessons import progress\n"
            f"os.environ['WMCOURSE_HOME'] = {str(course)!r}\nprogress.CHECKOUT = pathlib.Path({str(course.parent)!r})\n"
            f"assert main({arguments}) == 0"
        )
        assert "wmcourse.classroom.notebooks" in modules
        assert not {"torch", "matplotlib", "gymnasium"} & modules, arguments


# --- Ctrl-C: 130

SLOWLY = f"""
import sys
from dataclasses import replace
from wmcourse.cli import main
from wmcourse.engine import loop, report
from wmcourse.engine.runs import Config
from wmcourse.lessons import progress

loop.SECONDS_BETWEEN_CHECKPOINTS = 0.0
report.preset = lambda *_: replace({TINY!r}, shards=60, vae_steps=150, rnn_steps=20)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
@pytest.mark.parametrize("file", ["rollouts/0000", "vae.safetensors.training"], ids=["collect", "VAE"])
def test_ctrl_c_and_the_same_command_again(tmp_path: Path, file: str) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-c", SLOWLY, "train", "--out", str(out), "--episodes", "2"]
    process = subprocess.Popen(
        command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # in the background it may be ignored
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (out / file).exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.rstrip().endswith("and it goes on from its last checkpoint, seconds ago.")
    assert "Traceback" not in error
    assert not (out / "vae.safetensors").exists()
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (out / "report.json").exists()
    assert not list(out.rglob("*.partial")) + list(out.rglob("*.training"))
