"""Whose the world model's parts are: each is loaded from the learner's folder and judged anew."""

from pathlib import Path

import pytest
import torch

from wmcourse import cli, vae_complete_loss
from wmcourse.engine.parts import PARTS
from wmcourse.kl_divergence_loss import kl_standard_normal
from wmcourse.lessons.errors import LessonError
from wmcourse.lessons.lesson import open_lesson
from wmcourse.lessons.parts import Parts, own_parts, use_own_parts, your_parts

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


def test_a_part_that_passed_is_what_the_world_model_runs_on(folder: Path) -> None:
    counting = RIGHT.replace("    return", "    CALLS.append(len(mu))\n    return") + "\n\nCALLS = []\n"
    (folder / "parts" / "kl_standard_normal.py").write_text(counting)
    frames = torch.rand(3, 1, 8, 8)
    vae = vae_complete_loss.ConvVAE((1, 8, 8), 2, 4)
    with use_own_parts(folder) as parts:
        mine = parts["kl_standard_normal"].function
        assert mine is not None
        calls = mine.__globals__["CALLS"]
        calls.clear()  # the check's own
        vae_complete_loss.vae_loss(vae(frames)[0], frames, *vae.encode(frames))
        assert calls == [3]
    vae_complete_loss.vae_loss(vae(frames)[0], frames, *vae.encode(frames))
    assert calls == [3]  # the course's again


def test_a_failed_part_is_named_and_not_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "parts" / "kl_standard_normal.py").write_text(RIGHT.replace(".sum(", ".mean("))
    with pytest.raises(LessonError, match=r"kl_standard_normal: .* mean over the latent dimensions"), use_own_parts():
        pass
    assert cli.main(["train", "--mine", "--out", str(folder / "run")]) == 1
    assert "mean over the latent dimensions" in capsys.readouterr().err
    assert not (folder / "run").exists()


def test_the_command_says_whose_parts_it_runs_on(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "parts" / "kl_standard_normal.py").write_text(RIGHT)
    seen = []
    monkeypatch.setattr(cli, "run_engine", lambda arguments: seen.append(vae_complete_loss.kl_standard_normal) or 0)
    for command in (["train", "--mine"], ["evaluate", "runs/x", "--mine"], ["evaluate", "runs/x"]):
        assert cli.main(command) == 0
    assert [function is kl_standard_normal for function in seen] == [False, False, True]
    assert "Yours: kl_standard_normal. All other parts are the course's." in capsys.readouterr().out


# --- The parts of a lesson


def losses() -> tuple[torch.Tensor, torch.Tensor]:
    """The rate in the VAE's loss as the course's code computes it, and as it should be."""
    mu, logvar = torch.randn(3, 2), torch.randn(3, 2)
    logits = torch.zeros(3, 1, 4, 4)
    return vae_complete_loss.vae_loss(logits, logits, mu, logvar).kl, kl_standard_normal(mu, logvar).mean()


@pytest.fixture
def parts(folder: Path) -> Parts:
    (folder / "parts" / "kl_standard_normal.py").write_text(RIGHT)
    return your_parts(open_lesson("05"))


def test_calls_are_counted_in_use_alone(parts: Parts) -> None:
    losses()
    assert not parts.calls
    with parts.use():
        losses()
        losses()
    losses()
    assert parts.calls == {"kl_standard_normal": 2}
    table = parts.table()
    assert "| 03 | `kl_standard_normal` | the rate in the VAE's loss, called by vae_loss | yours | 2 |" in table
    assert table.count("the course’s, until yours passes its check | – |") == len(parts.whose) - 1
    assert "plan_returns" not in table  # of a later lesson
    assert repr(parts) == str(parts)


def test_parts_can_be_swapped_and_swapped_back(parts: Parts) -> None:
    def doubled(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
        return 2 * kl_standard_normal(mu, logvar)

    assert parts.swap("kl_standard_normal") is parts
    assert parts.whose["kl_standard_normal"] == "the course’s, by your choice"
    with parts.use():
        losses()
    assert not parts.calls
    parts.swap("kl_standard_normal", doubled)
    assert parts.whose["kl_standard_normal"] == "doubled, put in by you"
    with parts.use():
        there, right = losses()
    torch.testing.assert_close(there, 2 * right)
    assert not parts.calls  # not the learner's
    parts.swap("kl_standard_normal", "yours")
    with parts.use(kl_standard_normal=doubled):  # in this block alone
        there, right = losses()
        torch.testing.assert_close(there, 2 * right)
    assert not parts.calls
    with parts.use():
        losses()
    assert parts.calls == {"kl_standard_normal": 1}


def test_what_cannot_be_swapped(parts: Parts) -> None:
    with pytest.raises(LessonError, match="no part 'elbo' here: choose among reparameterize, "):
        parts.swap("elbo")
    with pytest.raises(LessonError, match="no part 'elbo' here"), parts.use(elbo=losses):
        pass
    with pytest.raises(LessonError, match="There is no vae_loss of yours that passes its check: the course’s, until"):
        parts.swap("vae_loss", "yours")
    with pytest.raises(LessonError, match='"yours", "course" or a function, not for 3'):
        parts.swap("vae_loss", 3)  # type: ignore[arg-type]


def test_a_failed_part_stands_in_the_table_and_nothing_runs_on_it(folder: Path) -> None:
    (folder / "parts" / "kl_standard_normal.py").write_text(RIGHT.replace(".sum(", ".mean("))
    lesson = open_lesson("05")
    with pytest.raises(LessonError, match=r"kl_standard_normal: .* mean over the latent dimensions"):
        your_parts(lesson)
    parts = your_parts(lesson, strict=False)
    assert "kl_standard_normal" not in parts.own
    assert "FAILED" in parts.table()
    assert "mean over the latent dimensions" in str(parts)
    with pytest.raises(LessonError, match=r'mean over the .*parts.swap\("kl_standard_normal", "course"\)'), parts.use():
        pass
    with pytest.raises(LessonError, match="no kl_standard_normal of yours that passes"):
        parts.swap("kl_standard_normal", "yours")
    with parts.use(kl_standard_normal=kl_standard_normal):  # this one is not needed here
        losses()
    with parts.swap("kl_standard_normal", "course").use():
        losses()


def test_what_is_trained_on_other_parts_lies_elsewhere(folder: Path, parts: Parts) -> None:
    base = Path("runs") / "lesson_11"
    mine = parts.folder(base)
    assert mine.parent == base.parent
    assert mine.name.startswith("lesson_11_yours_")
    assert your_parts(open_lesson("05")).folder(base) == mine  # loaded anew
    (folder / "parts" / "kl_standard_normal.py").write_text(RIGHT.replace("0.5 * (", "(0.5) * (") + "\n# a word\n")
    assert your_parts(open_lesson("05")).folder(base) == mine  # nothing but words
    (folder / "parts" / "kl_standard_normal.py").write_text(RIGHT.replace("mu**2", "mu.square()"))
    assert your_parts(open_lesson("05")).folder(base) != mine
    assert parts.folder(base, until="02") == base  # it is of lesson 03
    assert parts.swap("kl_standard_normal").folder(base) == base
