"""Whose the world model's parts are: each is loaded from the learner's folder and judged anew."""

from pathlib import Path

import pytest

from wmcourse import cli
from wmcourse.engine.parts import PARTS
from wmcourse.lessons.parts import own_parts

HEAD = "import torch\n\n\ndef kl_standard_normal(mu, logvar):\n"
RIGHT = HEAD + "    return 0.5 * (torch.expm1(logvar) - logvar + mu**2).sum(dim=-1)\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WMCOURSE_HOME", str(tmp_path))
    (tmp_path / "parts").mkdir()
    return tmp_path


def test_without_a_folder_all_are_the_courses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WMCOURSE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    statuses = own_parts()
    assert list(statuses) == list(PARTS)
    assert {(part.status, part.function) for part in statuses.values()} == {("course", None)}
    assert statuses["kl_standard_normal"].why == "until yours passes its check in lesson 03"


@pytest.mark.parametrize(
    ("text", "status", "why"),
    [
        (RIGHT, "yours", "it passes its check of lesson 03"),
        (RIGHT.replace(".sum(", ".mean("), "failed", "a mistake that has a name: mean over the latent dimensions"),
        (HEAD + "    raise NotImplementedError\n", "failed", "not attempted yet"),
        (HEAD + "    return mu + no_such_name\n", "failed", "line 5: `return mu + no_such_name`"),
        ("def another():\n    pass\n", "failed", "cannot be loaded: KeyError"),
        ("import no_such_module\n", "failed", "cannot be loaded: ModuleNotFoundError"),
        ("def (:\n", "failed", "cannot be loaded: SyntaxError"),
        ("exit()\n", "failed", "ends Python when it is loaded"),
        ("kl_standard_normal = 3\n", "failed", "the check takes your function itself, not int"),
    ],
)
def test_a_part(folder: Path, capsys: pytest.CaptureFixture[str], text: str, status: str, why: str) -> None:
    (folder / "parts" / "kl_standard_normal.py").write_text(text)
    part = own_parts(folder)["kl_standard_normal"]
    assert part.status == status
    assert why in part.why
    assert "\n" not in part.why
    assert (part.function is None) == (status == "failed")
    assert cli.main(["parts"]) == (status == "failed")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(PARTS)
    assert sum(line.startswith("○") for line in lines) == len(PARTS) - 1
    assert part.why in next(line for line in lines if "kl_standard_normal" in line)


def test_a_part_whose_lesson_has_no_check_yet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wmcourse.lessons.lesson.written", lambda entry: False)
    (folder / "parts" / "kl_standard_normal.py").write_text(RIGHT)
    part = own_parts()["kl_standard_normal"]
    assert part.status == "failed"
    assert part.why == "Lesson 03, KL divergence loss, has no exercises yet: they are being written."
