"""The builder of lessons: one source, stable ids, and nothing lost when a cell fails."""

from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from wmcourse.classroom.build import build, differences, main, read_lesson

LESSONS = sorted((Path(__file__).parents[2] / "solutions").glob("*.py"))
TEXT = "# %% [markdown]\n# # A lesson\n\n# %%\nx = 6\nprint(x * 7)\n\n# %%\npass\n\n# %%\npass\n"


@pytest.fixture
def lesson(tmp_path: Path) -> Path:
    path = tmp_path / "01_lesson.py"
    path.write_text(TEXT)
    return path


def test_ids_depend_on_the_text_alone_and_are_unique(lesson: Path) -> None:
    first, again = read_lesson(lesson), read_lesson(lesson)
    ids = [cell.id for cell in first.cells]
    assert ids == [cell.id for cell in again.cells]
    assert len(set(ids)) == len(ids) == 4  # two cells say the same and still have two ids
    lesson.write_text(TEXT.replace("x = 6", "x = 7"))
    changed = [cell.id for cell in read_lesson(lesson).cells]
    assert [a == b for a, b in zip(ids, changed, strict=True)] == [True, False, True, True]


def test_a_built_lesson_holds_its_outputs_and_is_up_to_date_until_its_text_changes(lesson: Path) -> None:
    target = build(lesson)
    notebook = nbformat.read(target, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[1].outputs[0].text == "42\n"
    assert "widgets" not in notebook.metadata
    assert differences(lesson) == []
    lesson.write_text(TEXT.replace("* 7", "* 8"))
    assert any("cell 1" in line for line in differences(lesson))


def test_a_failing_cell_is_reported_and_the_old_notebook_stays(lesson: Path, capsys: pytest.CaptureFixture) -> None:
    before = build(lesson).read_bytes()
    lesson.write_text(TEXT.replace("x = 6", "x = 1 / 0"))
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        build(lesson)
    assert lesson.with_suffix(".ipynb").read_bytes() == before
    assert main([str(lesson)]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_notebook_that_was_never_executed_is_not_up_to_date(lesson: Path) -> None:
    assert "missing" in differences(lesson)[0]
    nbformat.write(read_lesson(lesson), lesson.with_suffix(".ipynb"))
    assert any("never executed" in line for line in differences(lesson))
    assert main(["--check", str(lesson)]) == 1


def test_what_is_no_lesson_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "notes.py"
    path.write_text("print(1)\n")
    with pytest.raises(ValueError, match="not a lesson"):
        read_lesson(path)
    assert main([str(path)]) == 1
    assert "not a lesson" in capsys.readouterr().err
    assert main([str(tmp_path / "missing.py")]) == 1


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_committed_notebook_says_what_its_text_says(path: Path) -> None:
    assert differences(path) == []
    assert path.with_suffix(".ipynb").stat().st_size < 1_500_000
