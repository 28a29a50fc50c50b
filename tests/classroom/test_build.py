"""The builder of lessons: one source, stable ids, nothing lost when a cell fails, no answer in a learner's notebook."""

import ast
import base64
import copy
import json
import re
from pathlib import Path

import nbformat
import pytest
import sympy as sp
from nbclient.exceptions import CellExecutionError

from wmcourse.classroom import build as builder
from wmcourse.classroom.build import (
    SOLUTIONS,
    answers,
    as_text,
    build,
    differences,
    edited,
    fill,
    main,
    read_lesson,
    student,
    student_path,
)
from wmcourse.lessons.derivation import Step
from wmcourse.lessons.exercise import Exercise
from wmcourse.lessons.lesson import Lesson

LESSONS = sorted(SOLUTIONS.glob("*.py"))
TEXT = "# %% [markdown]\n# # A lesson\n\n# %%\nx = 6\nprint(x * 7)\n\n# %%\npass\n\n# %%\npass\n"

PIXEL = (  # one white pixel as PNG
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTjxOwAAAABJRU5ErkJggg=="
)
FULL = f'''# %% [markdown]
# # 03 · Two exercises

# %% step="area"
area = ...  # in a
### BEGIN SOLUTION
area = 2 * 3  # the secret
### END SOLUTION

# %% check="area"
assert area == 6

# %% exercise="double"
def double(x: int) -> int:
    """Twice x."""
    y = x
    ### BEGIN SOLUTION
    secret = 2
    y = y * secret
    ### END SOLUTION
    return y


# %% check="double"
assert double(2) == 4
print("well done")

# %% exercise="identity"
def identity(x: int) -> int:
    if x > 0:
        ### BEGIN SOLUTION
        secret = x
        return secret
        ### END SOLUTION
    ### BEGIN SOLUTION
    return x
    ### END SOLUTION


# %% check="identity" tags=["nbval-ignore-output"]
assert identity(2) == 2

# %% keep=true
import os
from base64 import b64decode

import ipywidgets
from IPython.display import Image, display

print("WMCOURSE_HOME" in os.environ)
display(ipywidgets.IntSlider(3))
Image(b64decode("{PIXEL}"), format="png", alt="a dot")

# %%
Image(b64decode("{PIXEL}"), format="png", alt="another dot")
'''


@pytest.fixture
def lesson(tmp_path: Path) -> Path:
    path = tmp_path / "solutions" / "01_lesson.py"
    path.parent.mkdir()
    path.write_text(TEXT)
    return path


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A text with a step and two exercises, and their lesson."""

    def exercise(name: str, minutes: int) -> Exercise:
        words = {"expects": "a number", "checked": "it"}
        return Exercise(name, name, minutes, 1, (), (), (), reference=abs, cases=lambda rng: (), **words)

    step = Step("area", "area", 5, 1, (), (), (), expected=sp.Integer(6), assumptions="none")
    exercises = [exercise("double", 10), exercise("identity", 5)]
    made = Lesson("kl_divergence_loss", exercises, [step], [], {})
    monkeypatch.setattr(builder, "open_lesson", lambda name: made)
    path = tmp_path / "solutions" / "03_kl_divergence_loss.py"
    path.parent.mkdir()
    path.write_text(FULL)
    return path


@pytest.fixture
def built(full: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WMCOURSE_HOME", "/somewhere")
    assert build(full) == [full.with_suffix(".ipynb"), student_path(full)]
    return full


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


# --- The solution notebook


def test_ids_depend_on_the_text_alone_and_are_unique(lesson: Path) -> None:
    first, again = read_lesson(lesson), read_lesson(lesson)
    ids = [cell.id for cell in first.cells]
    assert ids == [cell.id for cell in again.cells]
    assert len(set(ids)) == len(ids) == 4  # two cells say the same and still have two ids
    lesson.write_text(TEXT.replace("x = 6", "x = 7"))
    changed = [cell.id for cell in read_lesson(lesson).cells]
    assert [a == b for a, b in zip(ids, changed, strict=True)] == [True, False, True, True]


def test_a_built_lesson_holds_its_outputs_and_is_up_to_date_until_its_text_changes(lesson: Path) -> None:
    (target,) = build(lesson)  # without an exercise there is nothing for a learner to fill in
    assert not student_path(lesson).exists()
    notebook = read(target)
    nbformat.validate(notebook)
    assert notebook.cells[1].outputs[0].text == "42\n"
    assert "widgets" not in notebook.metadata
    assert differences(lesson) == []
    lesson.write_text(TEXT.replace("* 7", "* 8"))
    assert any("cell 1" in line for line in differences(lesson))


def test_a_failing_cell_is_reported_and_the_old_notebook_stays(lesson: Path, capsys: pytest.CaptureFixture) -> None:
    before = build(lesson)[0].read_bytes()
    lesson.write_text(TEXT.replace("x = 6", "x = 1 / 0"))
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        build(lesson)
    assert lesson.with_suffix(".ipynb").read_bytes() == before
    assert main([str(lesson)]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_lesson_that_takes_too_long_is_stopped(lesson: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lesson.write_text(TEXT.replace("x = 6", "x = 6\nimport time; time.sleep(60)"))
    monkeypatch.setenv("WMCOURSE_BUDGET_FACTOR", "0.02")
    with pytest.raises(ValueError, match=r"cell 1 was not done after 2 s in all.*WMCOURSE_BUDGET_FACTOR"):
        build(lesson)


def test_a_kernel_that_dies_is_reported(lesson: Path) -> None:
    lesson.write_text(TEXT.replace("x = 6", "import os; os._exit(1)"))
    with pytest.raises(ValueError, match="kernel died"):
        build(lesson)


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


def test_a_notebook_has_a_largest_size(lesson: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "LARGEST", 100)
    with pytest.raises(ValueError, match="the limit is 100"):
        build(lesson)


def test_a_widget_leaves_its_words_and_the_authors_folder_stays_out(built: Path) -> None:
    outputs = read(built.with_suffix(".ipynb")).cells[7].outputs
    assert outputs[0].text == "False\n"
    assert dict(outputs[1].data) == {"text/plain": "IntSlider(value=3)"}
    assert outputs[2].metadata["image/png"].alt == "a dot"
    words = nbformat.v4.new_output("display_data", {"image/png": PIXEL, "text/plain": "a line"})
    builder.tidy(words)
    assert words.metadata["image/png"]["alt"] == "a line"
    view = nbformat.v4.new_output("display_data", {builder.VIEW: {}})
    builder.tidy(view)
    assert builder.VIEW in view.data  # all there is


# --- The student notebook


def test_a_learner_gets_stubs_without_answers_and_the_pictures_to_keep(built: Path) -> None:
    notebook = read(student_path(built))
    nbformat.validate(notebook)
    assert "secret" not in student_path(built).read_text()
    cells = {cell.id: cell for cell in notebook.cells}
    assert cells["step-area"].source == "area = ...  # in a"
    stub = "raise NotImplementedError  # your turn"
    assert cells["exercise-double"].source.endswith(f'"""Twice x."""\n    y = x\n    {stub}\n    return y')
    assert cells["exercise-identity"].source.endswith(f"if x > 0:\n        {stub}\n    {stub}")
    assert cells["check-double"].source.startswith("assert double")
    *others, kept, not_kept = notebook.cells
    assert all(not cell.outputs for cell in [*others, not_kept] if cell.cell_type == "code")
    assert all(cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code" and not cell.outputs)
    (picture,) = kept.outputs
    assert picture.output_type == "display_data"
    assert picture.data == {"image/png": picture.data["image/png"]}
    assert picture.metadata["image/png"].alt == "a dot"
    assert base64.b64decode(picture.data["image/png"]) == base64.b64decode(PIXEL)
    for cell in notebook.cells:
        ast.parse(cell.source if cell.cell_type == "code" else "")


def test_both_notebooks_have_the_same_ids_and_metadata(built: Path) -> None:
    solution, pupil = read(built.with_suffix(".ipynb")), read(student_path(built))
    for a, b in zip(solution.cells, pupil.cells, strict=True):
        kept = {"tags": ["nbval-ignore-output"]} if b.get("outputs") else {}  # for nbval, whose words are left out
        assert (a.id, a.metadata | kept) == (b.id, b.metadata)
    metadata = {cell.id: cell.metadata for cell in pupil.cells}
    assert metadata["check-double"].wmcourse == {"role": "check", "name": "double"}
    assert metadata["check-double"].nbgrader == {
        "schema_version": 3,
        "cell_type": "code",
        "grade_id": "check_double",
        "grade": True,
        "solution": False,
        "locked": True,
        "task": False,
        "points": 2,  # one for five minutes
    }
    assert metadata["exercise-double"].nbgrader.solution
    assert not metadata["exercise-double"].nbgrader.grade
    assert "points" not in metadata["step-area"].nbgrader
    assert metadata["check-identity"].tags == ["nbval-ignore-output"]
    assert solution.metadata.wmcourse.lesson == pupil.metadata.wmcourse.lesson == "03"
    assert isinstance(solution.metadata.wmcourse.seconds, int)
    assert "seconds" not in pupil.metadata.wmcourse


def test_nbgrader_takes_the_notebooks_as_they_are(built: Path) -> None:
    nbgrader = pytest.importorskip("nbgrader.nbgraderformat")
    preprocessors = pytest.importorskip("nbgrader.preprocessors")
    solution = nbgrader.read(str(built.with_suffix(".ipynb")), as_version=4)
    nbgrader.read(str(student_path(built)), as_version=4)
    cleared, _ = preprocessors.ClearSolutions().preprocess(copy.deepcopy(solution), {})
    source = {cell.id: cell.source for cell in cleared.cells}
    assert "secret" not in "".join(source.values())
    assert "NotImplementedError" in source["exercise-double"]
    assert source["step-area"].startswith("area = ...")


def test_a_second_build_changes_no_byte_for_the_learner(built: Path) -> None:
    before = student_path(built).read_bytes()
    assert differences(built) == []
    build(built)
    assert student_path(built).read_bytes() == before


def test_new_prose_keeps_the_outputs_and_new_code_is_refused(built: Path) -> None:
    before = read(built.with_suffix(".ipynb"))
    built.write_text(built.read_text().replace("# # ", "# # Anew: ", 1))
    assert differences(built)
    build(built, prose=True)
    assert differences(built) == []
    after = read(built.with_suffix(".ipynb"))
    assert "Anew" in after.cells[0].source
    assert [c.get("outputs") for c in after.cells] == [c.get("outputs") for c in before.cells]
    assert after.metadata.wmcourse.seconds == before.metadata.wmcourse.seconds
    text = built.read_text()
    built.write_text(text.replace("# %%\n", "# %%\n1 + 1\n", 1))
    assert built.read_text() != text
    with pytest.raises(ValueError, match="a code cell has changed, so it must be executed"):
        build(built, prose=True)


def test_seconds_and_outputs_of_another_machine_make_no_difference(built: Path) -> None:
    target = built.with_suffix(".ipynb")
    notebook = read(target)
    notebook.metadata.wmcourse.seconds = 999
    notebook.cells[4].outputs = []
    target.write_text(as_text(notebook))
    assert differences(built) == []


def test_a_student_notebook_that_is_missing_or_another_is_reported(built: Path) -> None:
    pupil = student_path(built)
    text = pupil.read_text()
    pupil.write_text(text.replace("Twice", "Thrice"))
    assert "not what a learner should get" in differences(built)[0]
    pupil.unlink()
    assert f"{pupil} is missing" in differences(built)
    pupil.write_text(text)
    built.write_text(TEXT)
    assert any("there, without any exercise" in line for line in differences(built))


def test_filled_with_the_solutions_a_student_notebook_says_what_the_solution_says(built: Path) -> None:
    solution, pupil = read(built.with_suffix(".ipynb")), read(student_path(built))
    before = json.dumps(pupil)
    filled = fill(pupil, answers(solution))
    assert [cell.source for cell in filled.cells] == [cell.source for cell in solution.cells]
    assert json.dumps(pupil) == before
    assert json.dumps(student(filled)["cells"]) != before
    assert list(answers(pupil)) == ["step-area", "exercise-double", "exercise-identity"]
    with pytest.raises(ValueError, match="No answer cells: check-double"):
        fill(pupil, {"check-double": "pass"})


# --- What somebody worked in


@pytest.mark.parametrize("which", [lambda path: path.with_suffix(".ipynb"), student_path], ids=["solution", "student"])
def test_an_edited_notebook_is_never_overwritten(built: Path, which, capsys: pytest.CaptureFixture) -> None:
    target = which(built)
    notebook = read(target)
    notebook.cells[4].source += "\nprint('mine')"
    nbformat.write(notebook, target)
    before = target.read_bytes()
    assert main([str(built)]) == 1
    assert "--force" in capsys.readouterr().err
    assert target.read_bytes() == before
    for number in (1, 2):
        assert main(["--force", str(built)]) == 0
        assert not edited(target)
        assert target.with_suffix(f".backup-{number}.ipynb").read_bytes() == before
        target.write_bytes(before)


def test_what_is_edited_while_a_lesson_runs_is_put_aside(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, notebook = student_path(built), read(student_path(built))
    notebook.cells[0].source = "mine"

    def execute(running, directory, limit):
        target.write_text(as_text(notebook))
        return read(built.with_suffix(".ipynb"))

    monkeypatch.setattr(builder, "execute", execute)
    build(built)
    assert read(target.with_suffix(".backup-1.ipynb")).cells[0].source == "mine"
    assert not edited(target)


def test_outputs_are_no_edits_and_neither_is_a_notebook_of_an_older_builder(built: Path) -> None:
    target = student_path(built)
    notebook = read(target)
    notebook.cells[4].execution_count = 3
    notebook.cells[4].outputs = [nbformat.v4.new_output("stream", text="hello")]
    nbformat.write(notebook, target)
    assert not edited(target)
    notebook.cells[4].source = "another"
    notebook.metadata.pop("wmcourse")
    nbformat.write(notebook, target)
    assert not edited(target)
    for broken in ("<<<<<<< HEAD", "{}", "[]"):
        target.write_text(broken)
        assert edited(target)


# --- Errors in a text


WRONG = {  # what is changed in the text -> what must be said
    "no END": ("    ### END SOLUTION\n    return y", "    return y", "cell 3: double: BEGIN SOLUTION without END"),
    "no BEGIN": ("    ### BEGIN SOLUTION\n    secret = 2\n", "", "double: END SOLUTION, where BEGIN should come"),
    "twice BEGIN": ("    secret = 2\n", "    ### BEGIN SOLUTION\n", "BEGIN SOLUTION, where END should come"),
    "nearly a marker": (
        "    ### BEGIN SOLUTION\n    secret = 2",
        "    # BEGIN SOLUTION: 2",
        "must be '### BEGIN SOLUTION'",
    ),
    "no markers": (
        "### BEGIN SOLUTION\narea = 2 * 3  # the secret\n### END SOLUTION\n",
        "",
        "cell 1: area: its cell has no",
    ),
    "no stub": ("area = ...  # in a\n", "", "must still say `area = ...`"),
    "another function": ("def double(x: int)", "def duble(x: int)", "must still say `def double`"),
    "no Python": ("    y = x\n", "    y = = x\n", "cell 3: double: without its solution the cell is no Python"),
    "a solution elsewhere": ("# %% keep=true", "# %%\n### BEGIN SOLUTION", "cell 7: it holds a solution, so its head"),
    "no check": ('# %% check="double"', "# %%", "cell 4: here the check of double must come"),
    "something between": ('# %% check="double"', '# %%\npass\n\n# %% check="double"', "here the check of double must"),
    "another's check": ('# %% check="double"', '# %% check="area"', "here the check of double must come"),
    "check alone": ("# %% keep=true", '# %% check="area"', "the check of 'area' does not come right behind"),
    "unknown exercise": ('exercise="double"', 'exercise="duble"', "cell 3: There is no exercise 'duble'.*double"),
    "unknown step": ('step="area"', 'step="aera"', "There is no step 'aera'"),
    "two roles": ('exercise="double"', 'exercise="double" step="area"', "one name, and on a code cell only"),
    "text cell": ("# %% [markdown]", '# %% [markdown] exercise="double"', "cell 0: exercise 'double': one name"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_in_a_text_is_told_with_its_cell(full: Path, name: str) -> None:
    old, new, message = WRONG[name]
    assert FULL.count(old) == 1
    full.write_text(FULL.replace(old, new))
    with pytest.raises(ValueError, match=message) as error:
        read_lesson(full)
    assert re.match(rf"{re.escape(str(full))}: (cell \d+: )?", str(error.value))


def test_names_are_given_once_and_the_last_answer_has_a_check_too(full: Path) -> None:
    cells = FULL.split("# %% ")
    again = "# %% ".join([*cells[:4], *cells[2:4], *cells[4:]])
    full.write_text(again)
    with pytest.raises(ValueError, match="step-area is there twice"):
        read_lesson(full)
    full.write_text("# %% ".join(cells[:3]))
    with pytest.raises(ValueError, match="the check of area is missing"):
        read_lesson(full)


# --- The command


def test_lessons_are_found_by_number_slug_and_path(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "SOLUTIONS", full.parent)
    for name in ("03", "3", "kl_divergence_loss", full.stem, f"notebooks/{full.stem}.ipynb", str(full)):
        assert builder.sources([name]) == [full]
    assert builder.sources([]) == [full]
    monkeypatch.setattr(builder, "SOLUTIONS", full.parent / "none")
    for nothing in ([], ["kl"]):
        with pytest.raises(SystemExit):
            main(nothing)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_committed_notebook_says_what_its_text_says(path: Path) -> None:
    assert differences(path) == []
    assert path.with_suffix(".ipynb").stat().st_size < 1_500_000
