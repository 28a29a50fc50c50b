"""The learner's notebooks: whatever the course and the learner do to a lesson, no line that a learner wrote is lost."""

import copy
import hashlib
import json
import os
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from wmcourse.classroom import build, notebooks
from wmcourse.classroom import merge as merging
from wmcourse.lessons import progress
from wmcourse.lessons.errors import LessonError

NAME = "03_kl_divergence_loss.ipynb"
STUB = "def f(x):\n    raise NotImplementedError  # your turn"


# --- A small course


def text(source: str, kind: str = "markdown") -> NotebookNode:
    """A cell of the course's, with the id that build.py gives it."""
    cell = (new_markdown_cell if kind == "markdown" else new_code_cell)(source)
    cell.id = hashlib.sha256(f"{kind}\n{source}".encode()).hexdigest()[:12]
    return cell


def task(name: str = "f", stub: str = STUB, check: str = "") -> list[NotebookNode]:
    answer, cell = new_code_cell(stub), new_code_cell(check or f"ex.{name}.check({name})")
    for one, role in ((answer, "exercise"), (cell, "check")):
        one.id = f"{role}-{name}"
        one.metadata.wmcourse = {"role": role, "name": name}
        one.metadata.nbgrader = {"grade_id": one.id, "schema_version": 3}
    return [answer, cell]


def own(source: str, identity: str = "") -> NotebookNode:
    cell = new_code_cell(source)
    cell.id = identity or cell.id
    return cell


def lesson(*cells: NotebookNode | list[NotebookNode]) -> NotebookNode:
    """A notebook; its ids are made unique as build.py does."""
    flat = [copy.deepcopy(c) for group in cells for c in (group if isinstance(group, list) else [group])]
    seen: dict[str, int] = {}
    for cell in flat:
        seen[cell.id] = seen.get(cell.id, 0) + 1
        cell.id += f"-{seen[cell.id]}" if seen[cell.id] > 1 else ""
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "wmcourse": {"lesson": "03"}}
    return new_notebook(cells=flat, metadata=metadata)


BASE = (text("# 03 · Title"), text("import torch", "code"), text("### Exercise 1 · F"), task(), text("## Close"))


class Course:
    """A checkout and a learner's folder in ``place``."""

    def __init__(self, place: Path) -> None:
        self.shelf, self.folder = place / "checkout" / "notebooks", place / "my"
        self.shelf.mkdir(parents=True)
        self.new, self.mine, self.base = self.shelf / NAME, self.folder / NAME, self.folder / ".course" / NAME

    def publish(self, *cells: Any) -> None:
        nbformat.write(lesson(*cells), self.new)

    def begin(self, *cells: Any) -> None:
        self.publish(*cells)
        notebooks.start()

    def edit(self, change: Callable[[list[NotebookNode]], Any]) -> None:
        notebook = nbformat.read(self.mine, 4)
        change(notebook.cells)
        nbformat.write(notebook, self.mine)

    def cells(self) -> list[NotebookNode]:
        return nbformat.read(self.mine, 4).cells

    def sources(self) -> list[str]:
        return [cell.source for cell in self.cells()]

    def files(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}

    def backups(self) -> list[Path]:
        return sorted((self.folder / "backups").glob("*"))


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    made = Course(tmp_path)
    monkeypatch.setattr(progress, "CHECKOUT", tmp_path / "checkout")
    monkeypatch.setenv("WMCOURSE_HOME", str(made.folder))
    return made


def refused(course: Course, what: str, *arguments: Any, act: Callable[..., Any] = notebooks.update) -> str:
    """A LessonError of one line that says ``what``; no file has changed."""
    before = course.files()
    with pytest.raises(LessonError, match=what) as caught:
        act(*arguments or ("03",))
    assert course.files() == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- start


def test_start_copies_what_is_missing_and_touches_nothing_else(course: Course) -> None:
    course.publish(*BASE)
    assert [line.split()[-3:] for line in notebooks.start()] == [["is", "yours", "now."]]
    assert course.mine.read_bytes() == course.base.read_bytes() == course.new.read_bytes()
    course.mine.write_text("anything")
    course.publish(text("newer"))
    assert "stays as it is" in notebooks.start()[0]
    assert course.mine.read_text() == "anything"
    assert course.base.read_bytes() != course.new.read_bytes()
    course.mine.unlink()
    notebooks.start(lessons=["kl_divergence_loss"])
    assert course.mine.read_bytes() == course.base.read_bytes() == course.new.read_bytes()


def test_start_where_there_is_no_folder_yet(course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    course.publish(*BASE)
    monkeypatch.delenv("WMCOURSE_HOME")
    for here in (tmp_path, course.shelf.parent, course.shelf.parent / "solutions"):
        here.mkdir(exist_ok=True)
        monkeypatch.chdir(here)
        notebooks.start()
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob(f"my/{NAME}")) == [
        Path("checkout/my") / NAME,
        Path("my") / NAME,
    ]
    monkeypatch.chdir(tmp_path / "my")
    assert notebooks.update("03")[0].endswith("nothing to do.")
    notebooks.start(tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / NAME).is_file()


def test_start_without_notebooks(course: Course) -> None:
    refused(course, "has no notebook yet", act=lambda _: notebooks.start())
    refused(course, "Lesson 04, .* has no notebook yet", ["04"], act=lambda names: notebooks.start(lessons=names))
    refused(course, "Did you mean mdn_rnn", ["mdn_rn"], act=lambda names: notebooks.start(lessons=names))
    refused(course, "There is no lesson '12'. Lessons are 01 to 11", ["12"], act=lambda n: notebooks.start(lessons=n))
    course.shelf.rmdir()
    refused(course, "install wmcourse from a full checkout", act=lambda _: notebooks.start())
    assert not course.folder.exists()


# --- update: answers


def edit(number: int, source: str) -> Callable[[list[NotebookNode]], None]:
    return lambda cells: cells[number].update(source=source)


MINE = "def f(x):\n    return x"


def test_an_answer_stays_and_the_text_around_it_is_new(course: Course) -> None:
    course.begin(*BASE)
    course.edit(edit(3, MINE))
    course.publish(text("# 03 · Better title"), *BASE[1:3], text("A new word."), BASE[3], text("## Close"))
    said = notebooks.update("03")
    assert course.sources() == [
        "# 03 · Better title", "import torch", "### Exercise 1 · F", "A new word.", MINE, "ex.f.check(f)", "## Close",
    ]  # fmt: skip
    assert course.base.read_bytes() == course.new.read_bytes()
    assert str(course.backups()[0]) in said[0]
    assert nbformat.read(course.backups()[0], 4).cells[3].source == MINE
    before = course.files()
    assert notebooks.update("03")[-1].endswith("nothing to do.")
    assert course.files() == before


def test_a_new_stub_replaces_one_that_nobody_touched(course: Course) -> None:
    course.begin(*BASE)
    course.publish(*BASE[:3], task(stub="def f(x, y):\n    raise NotImplementedError"), BASE[4])
    notebooks.update("3")
    assert course.sources()[3].startswith("def f(x, y)")


def test_a_new_stub_under_an_answer_is_a_conflict(course: Course) -> None:
    course.begin(*BASE)
    course.edit(edit(3, MINE))
    new = task(stub="def f(x, y):\n    raise NotImplementedError")
    course.publish(text("# New"), *BASE[1:3], new, BASE[4])
    said = refused(course, "you have written in exercise f of ")
    for way, there in (("--keep-mine", MINE), ("--take-new", new[0].source)):
        assert f"`wmcourse update 03 {way}`" in said
        kept = course.files()
        done = notebooks.update("03", "mine" if "mine" in way else "new")
        assert course.sources()[:1] == ["# New"]
        assert course.sources()[3] == there
        assert any(str(backup) in line for backup in course.backups() for line in done)
        assert all(backup.read_bytes() == kept[NAME] for backup in course.backups())
        assert notebooks.update("03")[-1].endswith("nothing to do.")
        course.mine.write_bytes(kept[NAME])
        course.base.write_bytes(kept[f".course/{NAME}"])


def test_an_exercise_that_is_gone_leaves_the_answer_as_the_learners_own(course: Course) -> None:
    course.begin(*BASE)
    course.edit(edit(3, MINE))
    course.publish(*BASE[:3], BASE[4])
    notebooks.update("03")
    assert course.sources() == ["# 03 · Title", "import torch", "### Exercise 1 · F", MINE, "## Close"]
    assert not course.cells()[3].metadata
    course.publish(*BASE[:3], task("g"), BASE[4])
    notebooks.update("03")
    assert course.sources()[3] == MINE
    assert [cell.id for cell in course.cells()[4:6]] == ["exercise-g", "check-g"]


def test_answers_and_checks_come_back_and_checks_are_the_courses(course: Course) -> None:
    course.begin(*BASE)
    course.edit(lambda cells: cells.pop(3))
    course.edit(edit(3, "pass  # the check"))
    notebooks.update("03")
    assert course.sources()[3:5] == [STUB, "ex.f.check(f)"]
    course.edit(lambda cells: cells.pop(4))
    notebooks.update("03")
    assert course.sources() == [cell.source for cell in lesson(*BASE).cells]
    assert len(course.backups()) == 2


def test_an_answer_that_was_moved_into_another_cell_is_still_the_answer(course: Course) -> None:
    """JupyterLab's copy and paste, or splitting, makes new ids and copies the metadata."""
    course.begin(*BASE)

    def copy_and_delete(cells: list[NotebookNode]) -> None:
        other = copy.deepcopy(cells[3])
        other.update(id="0123abcd", source=MINE)
        again = copy.deepcopy(other)
        again.id = "4567abcd"
        cells[3:4] = [other, again]

    course.edit(copy_and_delete)
    course.publish(text("# New"), *BASE[1:])
    notebooks.update("03")
    assert [(cell.id, cell.source) for cell in course.cells()[3:6]] == [
        ("exercise-f", MINE), ("4567abcd", MINE), ("check-f", "ex.f.check(f)"),
    ]  # fmt: skip
    assert not course.cells()[4].metadata  # no second cell that nbgrader would take for the answer


# --- update: the text


def test_texts_of_the_course(course: Course) -> None:
    a, b, c, d, e = (text(f"{letter} is a sentence") for letter in "abcde")
    course.begin(a, b, c, d, e)

    def learn(cells: list[NotebookNode]) -> None:
        cells[0].source += "\nmy remark on a"
        cells[2].source += "\nmy remark on c"
        cells[3].source += "\nmy remark on d"
        del cells[1]

    course.edit(learn)
    course.publish(a, b, text("c is a better sentence"), e)  # d is gone
    said = notebooks.update("03")
    assert course.sources() == [
        "a is a sentence\nmy remark on a",  # unchanged by the course
        "c is a sentence\nmy remark on c", "c is a better sentence",  # changed by both
        "d is a sentence\nmy remark on d",  # gone from the course
        "e is a sentence",  # and b was taken away by the learner
    ]  # fmt: skip
    assert "You had changed `c is a sentence`, and so has the lesson: both are there, yours first." in said


def test_the_same_id_with_another_text_is_a_conflict(course: Course) -> None:
    course.begin(own("one", "fixed"), task())
    course.edit(edit(0, "mine"))
    course.publish(own("two", "fixed"), task())
    refused(course, "you have written in `two`")
    notebooks.update("03", "mine")
    assert course.sources()[0] == "mine"


def test_own_cells_stay_behind_their_neighbour(course: Course) -> None:
    course.begin(*BASE)

    def learn(cells: list[NotebookNode]) -> None:
        for number in range(len(cells), -1, -1):
            cells.insert(number, own(f"behind {number}"))

    course.edit(learn)
    better = text("### Exercise 1 · F, said better")
    course.publish(BASE[0], text("between"), BASE[1], better, text("still more"), BASE[3], text("## The end"))
    notebooks.update("03")
    assert course.sources() == [
        "behind 0", "# 03 · Title", "behind 1", "between", "import torch", "behind 2", better.source, "behind 3",
        "still more", STUB, "behind 4", "ex.f.check(f)", "behind 5", "## The end", "behind 6",
    ]  # fmt: skip


def test_outputs_of_unchanged_cells_stay(course: Course) -> None:
    picture = nbformat.v4.new_output("display_data", {"image/png": "old"})
    shown, other = text("show()", "code"), text("other()", "code")
    shown.outputs = [picture]
    course.begin(shown, other, task())

    def learn(cells: list[NotebookNode]) -> None:
        for cell in cells[1:]:
            cell.update(outputs=[nbformat.v4.new_output("stream", text="mine")], execution_count=7)
        cells[1].metadata.tags = ["mine"]

    course.edit(learn)
    newer = copy.deepcopy(shown)
    newer.outputs[0].data["image/png"] = "new"
    other.metadata.scrolled = True
    course.publish(newer, other, task(check="ex.f.check(f)  # new"))
    notebooks.update("03")
    first, second, answer, check = course.cells()
    assert first.outputs[0].data["image/png"] == "new"  # the learner has not run it
    assert (second.outputs[0].text, second.execution_count) == ("mine", 7)
    assert second.metadata == {"tags": ["mine"], "scrolled": True}
    assert answer.outputs[0].text == "mine"
    assert (check.outputs, check.execution_count) == ([], None)


# --- update: files that are not as they should be


def test_without_base_all_that_differs_is_the_learners(course: Course) -> None:
    course.begin(*BASE, text("an old sentence"))
    course.edit(lambda cells: (cells[3].update(source=MINE), cells[0].update(source="# mine"), cells.pop(1)))
    course.publish(*BASE, text("a newer sentence"))
    course.base.unlink()
    said = notebooks.update("03")
    assert "whatever differs is taken for yours" in said[0]
    assert course.sources() == [
        "# mine", "import torch", "### Exercise 1 · F", MINE, "ex.f.check(f)", "## Close", "a newer sentence",
    ]  # fmt: skip
    without_ids = json.loads(course.new.read_text())
    for cell in without_ids["cells"]:
        del cell["id"]
    for data in ("{", json.dumps(without_ids)):
        course.base.write_text(data)
        assert notebooks.update("03")[-1].endswith("nothing to do.")
        assert course.base.read_bytes() == course.new.read_bytes()


def test_an_update_that_was_cut_off_goes_on(course: Course) -> None:
    course.begin(*BASE)
    before = course.base.read_bytes()
    course.edit(edit(3, MINE))
    course.publish(text("# New"), *BASE[1:])
    notebooks.update("03")
    course.base.write_bytes(before)  # the last write did not happen
    there = course.mine.read_bytes()
    assert notebooks.update("03")[-1].endswith("nothing to do.")
    assert course.mine.read_bytes() == there
    assert course.base.read_bytes() == course.new.read_bytes()


def test_a_notebook_of_an_old_editor_finds_its_ids_again(course: Course) -> None:
    course.begin(*BASE)
    notebook = json.loads(course.mine.read_text())
    for cell in notebook["cells"]:
        del cell["id"]
    notebook["nbformat_minor"] = 4
    notebook["cells"][3]["source"] = MINE
    notebook["cells"].insert(2, {"cell_type": "markdown", "metadata": {}, "source": "my own"})
    course.mine.write_text(json.dumps(notebook))
    course.publish(text("# New"), *BASE[1:])
    notebooks.update("03")
    assert course.sources()[:5] == ["# New", "import torch", "my own", "### Exercise 1 · F", MINE]
    assert [cell.id for cell in course.cells()[4:6]] == ["exercise-f", "check-f"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b"# a script", "is not a notebook"),
        (b"[1, 2]", "is not a notebook"),
        (b"{}", "is not a notebook"),
        (b'{"cells": [3], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}', "is not a notebook"),
        (b'{"cells": [], "nbformat": 3, "nbformat_minor": 0, "metadata": {}}', "is not in version 4"),
        ("{'ä': 1}".encode("utf-16"), "not UTF-8"),
        ("\u00e4".encode("latin-1"), "not UTF-8"),
    ],
)
def test_no_notebook(course: Course, data: bytes, why: str) -> None:
    course.begin(*BASE)
    course.mine.write_bytes(data)
    refused(course, why)
    assert "is fresh" in notebooks.reset("03")[0]
    assert course.mine.read_bytes() == course.new.read_bytes()
    assert course.backups()[0].read_bytes() == data


def test_a_notebook_that_jupyter_would_not_take(course: Course) -> None:
    course.begin(*BASE)
    course.publish(text("# New"), *BASE[1:])
    data = json.loads(course.mine.read_text())
    data["cells"][1]["metadata"]["collapsed"] = "perhaps"
    course.mine.write_text(json.dumps(data))
    refused(course, r"is not a valid notebook .*Nothing was changed")


def test_missing_things(course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    course.publish(*BASE)
    for act in (notebooks.update, notebooks.reset):
        refused(course, "`wmcourse start 03` makes it", act=act)
        refused(course, "There is no lesson 'kl'", "kl", act=act)
    monkeypatch.delenv("WMCOURSE_HOME")
    monkeypatch.chdir(tmp_path)
    refused(course, "`wmcourse start` makes it, or go to where it is")


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_a_folder_that_cannot_be_written(course: Course) -> None:
    course.begin(*BASE)
    course.publish(text("# New"), *BASE[1:])
    course.folder.chmod(0o500)
    try:
        refused(course, "Make this folder writable")
        refused(course, "Make this folder writable", act=notebooks.reset)
    finally:
        course.folder.chmod(0o700)


@pytest.mark.parametrize("blocked", ["backups", NAME])
def test_a_write_that_fails(course: Course, monkeypatch: pytest.MonkeyPatch, blocked: str) -> None:
    """The disk is full: mine is what it was."""
    course.begin(*BASE)
    course.publish(text("# New"), *BASE[1:])
    before, real = course.mine.read_bytes(), os.replace

    def replace(source: Path, target: Path) -> None:
        if blocked in (Path(target).parent.name, Path(target).name) and Path(target).parent.name != ".course":
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    for act in (notebooks.update, notebooks.reset):
        with pytest.raises(LessonError, match="No space left on device"):
            act("03")
        assert course.mine.read_bytes() == before
    monkeypatch.setattr(os, "replace", real)
    assert notebooks.update("03")[-1].startswith("If it is open in JupyterLab")


# --- reset


def test_reset(course: Course) -> None:
    course.begin(*BASE)
    course.edit(edit(3, MINE))
    mine = course.mine.read_bytes()
    course.publish(text("# New"), *BASE[1:])
    for _ in range(3):  # within a second
        said = notebooks.reset("03")
        assert any(str(backup) in said[0] for backup in course.backups())
    assert course.mine.read_bytes() == course.base.read_bytes() == course.new.read_bytes()
    assert len(course.backups()) == 3
    assert sum(backup.read_bytes() == mine for backup in course.backups()) == 1
    pattern = r"03_kl_divergence_loss\.\d{4}-\d\d-\d\d-\d{6}(\.\d+)?\.ipynb"
    assert all(re.fullmatch(pattern, backup.name) for backup in course.backups())
    assert notebooks.update("03")[-1].endswith("nothing to do.")


# --- All of it at once


def test_the_ids_are_the_builders(tmp_path: Path) -> None:
    path = tmp_path / "03_kl_divergence_loss.py"
    path.write_text("# %% [markdown]\n# some text\n\n# %%\nx = 1\n\n# %%\nx = 1\n")
    built = build.read_lesson(path).cells
    assert [cell.id for cell in built] == [
        cell.id for cell in lesson(text("some text"), *2 * [text("x = 1", "code")]).cells
    ]
    assert all(merging.from_the_course(cell) for cell in built)
    built[0].source += " "
    assert not merging.from_the_course(built[0])


def words(chance: random.Random, mark: str) -> str:
    return f"{mark}{chance.randrange(10**9)} " + " ".join(chance.choice("abcdef") for _ in range(4))


def course_changes(cells: list[NotebookNode], chance: random.Random) -> list[NotebookNode]:
    cells = copy.deepcopy(cells)
    for _ in range(chance.randrange(5)):
        at, what = chance.randrange(len(cells) + 1), chance.choice(["add", "drop", "change", "move", "stub", "task"])
        there = cells[at] if at < len(cells) else None
        if what == "add":
            cells.insert(at, text(words(chance, "C"), chance.choice(["markdown", "code"])))
        elif what == "task":
            cells[at:at] = task(f"n{chance.randrange(10**6)}")
        elif there is None:
            continue
        elif what == "stub" and merging.role(there) in ("exercise", "check"):
            there.source += "\n" + words(chance, "C")
        elif what == "drop":
            del cells[at]
        elif what == "change" and not merging.role(there):
            cells[at] = text(there.source + " " + words(chance, "C"), there.cell_type)
        elif what == "move":
            cells.insert(chance.randrange(len(cells)), cells.pop(at))
    return cells


def learner_changes(cells: list[NotebookNode], chance: random.Random) -> None:
    for _ in range(chance.randrange(7)):
        at = chance.randrange(len(cells) + 1)
        there = cells[at] if at < len(cells) else None
        what = chance.choice(["add", "write", "write", "drop", "move", "copy", "lose id", "same id", "retype", "run"])
        if what == "add":
            cells.insert(at, own(words(chance, "L"), f"own{chance.randrange(10**9)}"))
        elif there is None:
            continue
        elif what == "write" and merging.role(there) != "check":
            there.source = chance.choice([words(chance, "L"), there.source + "\n" + words(chance, "L")])
        elif what == "drop":
            del cells[at]
        elif what == "move":
            cells.insert(chance.randrange(len(cells)), cells.pop(at))
        elif what in ("copy", "same id"):
            cells.insert(at, copy.deepcopy(there))
            if what == "copy":
                cells[at].id = f"own{chance.randrange(10**9)}"
        elif what == "lose id":
            there.pop("id", None)
        elif what == "retype" and there.cell_type == "markdown":
            there.cell_type = "raw"
            there.pop("attachments", None)
        elif what == "run" and there.cell_type == "code":
            there.outputs, there.execution_count = [nbformat.v4.new_output("stream", text="L")], 3


def learners_lines(cells: list[NotebookNode]) -> set[str]:
    """What the learner wrote. A check is the course's alone, so what is written there is in the backup only."""
    lines = (line for cell in cells if merging.role(cell) != "check" for line in cell.source.splitlines())
    return {line for line in lines if line.startswith("L")}


@pytest.fixture(scope="module")
def places() -> Iterator[Callable[[], Course]]:
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # hundreds of small files

        def make() -> Course:
            made = Course(Path(tempfile.mkdtemp(dir=root)))
            patch.setattr(progress, "CHECKOUT", made.shelf.parent)
            patch.setenv("WMCOURSE_HOME", str(made.folder))
            return made

        yield make


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32), rounds=st.integers(1, 3), without_base=st.booleans())
def test_no_line_is_lost(places: Callable[[], Course], seed: int, rounds: int, without_base: bool) -> None:
    """Over some updates: every line that the learner wrote is there, ids are unique, a second update does nothing."""
    course, chance = places(), random.Random(seed)
    cells = lesson(*BASE, text("same"), text("same"), text("1 + 1", "code"), task("g")).cells
    course.begin(cells)
    for _ in range(rounds):
        cells = course_changes(cells, chance)
        course.publish(cells)
        cells = nbformat.read(course.new, 4).cells
        notebook = nbformat.read(course.mine, 4)
        learner_changes(notebook.cells, chance)
        course.mine.write_text(json.dumps(notebook))
        if without_base:
            course.base.unlink()
        wrote, before, prefer = learners_lines(notebook.cells), course.files(), None
        try:
            notebooks.update("03")
        except LessonError as refusal:
            said, prefer = str(refusal), chance.choice(["mine", "new"])
        if prefer:
            assert "--keep-mine" in said
            assert course.files() == before
            notebooks.update("03", prefer)
        identities = [cell["id"] for cell in json.loads(course.mine.read_text())["cells"]]
        assert len(set(identities)) == len(identities)
        after = nbformat.read(course.mine, 4)
        nbformat.validate(after)
        assert prefer == "new" or wrote <= learners_lines(after.cells)
        assert any(data == before[NAME] for name, data in course.files().items() if "ackup" in name or name == NAME)
        there = {cell.id: cell for cell in after.cells}
        assert all(cell.source == there[cell.id].source for cell in cells if merging.role(cell) == "check")
        assert all(cell.id in there for cell in cells if merging.role(cell))
        files = course.files()
        assert notebooks.update("03")[-1].endswith("nothing to do.")
        assert course.files() == files
