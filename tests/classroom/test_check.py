"""Running a learner's notebook: what each exercise is said to be, whatever stands in the notebook."""

import copy
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from wmcourse.classroom import check
from wmcourse.classroom.check import TaskResult, check_notebook
from wmcourse.lessons import progress
from wmcourse.lessons.errors import LessonError

NAME = "03_kl_divergence_loss.ipynb"
STUB = "def {}(*inputs):\n    raise NotImplementedError  # your turn"
REAL = """from wmcourse.lessons import open_lesson
lesson = open_lesson("03")
ex, steps = lesson.exercises, lesson.steps
"""
# The same interface without torch: quick.
PLAIN = """from wmcourse.lessons.errors import NotAttempted, Note
class One:
    def check(self, answer):
        if answer() is None:
            raise NotAttempted("○ f: not attempted yet. Stuck? ex.f.hint()")
        return Note("✓ **f.** It is right.")
class ex:
    f = g = One()
"""


def lesson(setup: str, *tasks: str) -> NotebookNode:
    cells = [new_markdown_cell("# 03 · A lesson", id="title"), new_code_cell(setup, id="setup")]
    for number, name in enumerate(tasks, 1):
        role = "step" if name in ("spread", "kl_prior") else "exercise"
        head = f"### Step · The {name}" if role == "step" else f"### Exercise {number} · The {name} ★\n\nWords."
        answer = new_code_cell(f"{name} = ..." if role == "step" else STUB.format(name), id=f"{role}-{name}")
        test = new_code_cell(f"{'steps' if role == 'step' else 'ex'}.{name}.check({name})", id=f"check-{name}")
        answer.metadata.wmcourse, test.metadata.wmcourse = ({"role": r, "name": name} for r in (role, "check"))
        test.metadata.nbgrader = {"points": 2}
        cells += [new_markdown_cell(head, id=f"head-{name}"), answer, test]
    return new_notebook(cells=cells, metadata={"wmcourse": {"lesson": "03"}})


@pytest.fixture
def turn_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, TaskResult]]:
    """Check a lesson as ``change`` leaves it."""
    shelf, folder = tmp_path / "checkout" / "notebooks", tmp_path / "my"
    for one in (shelf, folder):
        one.mkdir(parents=True)
    monkeypatch.setattr(progress, "CHECKOUT", shelf.parent)
    monkeypatch.setenv("WMCOURSE_HOME", str(folder))

    def act(course: NotebookNode, change: Callable[[dict[str, NotebookNode], list[NotebookNode]], Any], **options: Any):
        nbformat.write(course, shelf / NAME)
        mine = copy.deepcopy(course)
        change({cell.id: cell for cell in mine.cells}, mine.cells)
        nbformat.write(mine, folder / NAME)
        before = (folder / NAME).read_bytes()
        results = check.check("03", **options)
        assert (folder / NAME).read_bytes() == before
        assert [r.name for r in results] == [c.metadata.wmcourse.name for c in course.cells if c.id[:5] == "check"]
        return {result.name: result for result in results}

    return act


RIGHT = """import torch
def kl_standard_normal(mu, logvar):
    return 0.5 * (torch.expm1(logvar) - logvar + mu**2).sum(dim=-1)
"""
DOUBLE = """def kl_normal(mu_q, logvar_q, mu_p, logvar_p):
    d = logvar_q - logvar_p
    return (torch.expm1(d) - d + (mu_q - mu_p)**2 * torch.exp(-logvar_p)).sum(dim=-1)
"""


def test_what_each_exercise_is_said_to_be(turn_in: Callable[..., dict[str, TaskResult]], tmp_path: Path) -> None:
    names = ("spread", "kl_standard_normal", "kl_normal", "kl_full", "free_bits", "kl_categorical", "kl_monte_carlo")

    def learn(cells: dict[str, NotebookNode], order: list[NotebookNode]) -> None:
        cells["step-spread"].source = "spread = 7"
        cells["exercise-kl_standard_normal"].source = RIGHT
        cells["check-kl_standard_normal"].source = "'my own check'"
        cells["exercise-kl_normal"].source = DOUBLE
        cells["exercise-kl_full"].source = "def kl_full(*inputs):\n    x = 1\n    return x + 'a'"
        cells["exercise-kl_categorical"].source = "def kl_categorical(:"
        cells["exercise-kl_monte_carlo"].metadata.tags = ["raises-exception"]
        order.remove(cells["check-free_bits"])

    results = turn_in(lesson(REAL, *names), learn)
    assert [result.status for result in results.values()] == [
        "wrong", "passed", "wrong", "crashed", "not attempted", "crashed", "refused",
    ]  # fmt: skip
    assert results["spread"].title == "The spread"
    assert results["kl_normal"].title == "The kl_normal"
    assert results["kl_normal"].points == 2
    assert "a mistake that has a name: the ½ is missing" in results["kl_normal"].message
    assert "TypeError" in results["kl_full"].message
    assert "line 3: `return x + 'a'`" in results["kl_full"].message
    assert results["kl_categorical"].message.startswith("its cell stops: SyntaxError: ")
    assert results["kl_categorical"].message.endswith("(line 1)")
    assert results["kl_monte_carlo"].message == "the tag raises-exception hides this cell from the check: take it off."
    assert results["free_bits"].message.startswith("`raise NotImplementedError` is still in it. Stuck?")
    assert results["free_bits"].remark.startswith("Its check cell is missing: the course's own was run.")
    assert results["kl_standard_normal"].remark == "Its check cell was altered: the course's own was run."
    assert all("\n" not in result.message + result.remark for result in results.values())
    assert list(json.loads((tmp_path / "my" / "progress.json").read_text())["passed"]) == ["03/kl_standard_normal"]
    assert (tmp_path / "my" / "parts" / "kl_standard_normal.py").is_file()
    *lines, last = check.report(list(results.values()))
    assert last == "1 of 7 passed, 2 of 14 points."
    assert "✓ kl_standard_normal (The kl_standard_normal): passed" in lines


def answer(value: object, name: str = "f") -> str:
    return f"def {name}():\n    return {value!r}"


def test_nothing_is_recorded_that_should_not_be(turn_in: Callable[..., dict[str, TaskResult]], tmp_path: Path) -> None:
    note = "import os, pathlib\npathlib.Path(os.environ['WMCOURSE_HOME'], 'mark').write_text('')"

    def learn(cells: dict[str, NotebookNode], order: list[NotebookNode]) -> None:
        cells["exercise-f"].source = answer(1) + "\n" + note

    assert turn_in(lesson(PLAIN, "f"), learn, record=False)["f"].status == "passed"
    assert not (tmp_path / "my" / "mark").exists()
    assert turn_in(lesson(PLAIN, "f"), learn)["f"].status == "passed"
    assert (tmp_path / "my" / "mark").exists()


@pytest.mark.parametrize("tag", ["raises-exception", "nbval-raises-exception", "nbval-skip", "skip-execution"])
def test_tags_that_hide(tag: str) -> None:
    """The two nbval has, and nbclient's, and no other."""
    cell = new_code_cell("x = 1", metadata={"tags": ["nbval-ignore-output", tag]})
    assert list(check.hiders(cell)) == [f"the tag {tag} hides this cell from the check: take it off."]


def test_hiding_as_nbval_reads_it() -> None:
    from nbval.plugin import comment_markers, find_comment_markers, metadata_tags

    hiding = {"skip", "check_exception"}
    assert {tag for tag, option in metadata_tags.items() if option in hiding} <= set(check.HIDING_TAGS)
    assert {word for word, option in comment_markers.items() if option in hiding} == set(check.HIDING_COMMENTS)
    for source in ("#NBVAL_SKIP", "  ## NBVAL_SKIP  ", '"""\n# NBVAL_RAISES_EXCEPTION\n"""', "# NBVAL_SKIP now", "x"):
        hides = any(option in hiding for option, _ in find_comment_markers(source))
        assert bool(list(check.hiders(new_code_cell(source)))) == hides, source
    for source in ("# NBVAL_IGNORE_OUTPUT", "# NBVAL_CHECK_OUTPUT"):
        assert not list(check.hiders(new_code_cell(source, metadata={"tags": ["nbval-ignore-output"]})))


def test_hidden_cells_are_refused(turn_in: Callable[..., dict[str, TaskResult]]) -> None:
    def learn(cells: dict[str, NotebookNode], order: list[NotebookNode]) -> None:
        cells["exercise-f"].source = answer(1) + "\n# NBVAL_SKIP"
        cells["exercise-g"].source = answer(1, "g")
        cells["check-g"].metadata.tags = ["skip-execution"]

    results = turn_in(lesson(PLAIN, "f", "g"), learn)
    assert [result.status for result in results.values()] == ["refused", "refused"]
    assert results["f"].message == "the comment # NBVAL_SKIP hides this cell from the check: take it out."


def changed(**sources: str) -> Callable[[dict[str, NotebookNode], list[NotebookNode]], None]:
    def learn(cells: dict[str, NotebookNode], order: list[NotebookNode]) -> None:
        for name, source in sources.items():
            cells[name.replace("_", "-")].source = source

    return learn


@pytest.mark.parametrize(
    ("setup", "why"),
    [
        ("import nowhere", "an earlier cell, `import nowhere`, stops: ModuleNotFoundError: No module named 'nowhere'"),
        (PLAIN.replace("f = g = One()", "pass"), "its check stops: AttributeError: "),
        ("import os\nos._exit(3)", "its check came to no end: the kernel died in the cell `import os`."),
        ("while True:\n    pass", "an earlier cell, `while True:`, stops: it did not end within 2 seconds."),
        (
            "import time\nwhile True:\n    try:\n        time.sleep(1)\n    except BaseException:\n        pass",
            "its check came to no end: the run was given up in the cell `import time`, which did not end within 2 sec",
        ),
        (
            PLAIN + "get_ipython().set_custom_exc((Exception,), lambda *a, **k: None)",
            "its check came to no end: it did not say that this passed.",
        ),
    ],
    ids=["import", "check", "death", "forever", "stubborn", "swallowed"],
)
def test_a_cell_before_it_that_fails(turn_in: Callable[..., dict[str, TaskResult]], setup: str, why: str) -> None:
    results = turn_in(lesson(PLAIN, "f"), changed(setup=setup), seconds=2)
    assert results["f"].status == "crashed"
    assert results["f"].message.startswith(why)
    assert "`wmcourse update`" not in results["f"].message


def test_a_cell_of_the_courses_that_fails(turn_in: Callable[..., dict[str, TaskResult]]) -> None:
    """The lesson's text is older than the package."""
    course = lesson("import nowhere", "f")
    course.cells[1].id = hashlib.sha256(b"code\nimport nowhere").hexdigest()[:12]
    message = turn_in(course, changed())["f"].message
    assert message.endswith("It is the lesson's own: `wmcourse update` may help.")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_ctrl_c(turn_in: Callable[..., dict[str, TaskResult]], tmp_path: Path) -> None:
    mark = tmp_path / "running"

    def interrupt() -> None:
        while not mark.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    setup = f"import pathlib, time\npathlib.Path({str(mark)!r}).touch()\ntime.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        turn_in(lesson(PLAIN, "f"), changed(setup=setup))
    thread.join()


@pytest.mark.parametrize("error", [KeyError("python3"), FileNotFoundError(2, "No such file or directory")])
def test_a_kernel_that_does_not_start(
    turn_in: Callable[..., dict[str, TaskResult]], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def execute(self: NotebookClient, **options: Any) -> None:
        raise error

    monkeypatch.setattr(NotebookClient, "execute", execute)
    with pytest.raises(LessonError, match=r"The kernel python3 does not start .*: `wmcourse doctor` says more"):
        turn_in(lesson(PLAIN, "f"), changed())


def test_answers_that_are_elsewhere_or_nowhere(turn_in: Callable[..., dict[str, TaskResult]]) -> None:
    def learn(cells: dict[str, NotebookNode], order: list[NotebookNode]) -> None:
        cells["setup"].source += answer(1)
        order.remove(cells["exercise-f"])
        order.remove(cells["exercise-g"])
        cells["check-f"].update(cell_type="markdown")

    results = turn_in(lesson(PLAIN, "f", "g"), learn)
    assert results["f"].status == "passed"
    assert results["g"].message == "its cell is gone, and g is nowhere: `wmcourse update` brings the cell back."


def test_files_that_cannot_be_checked(tmp_path: Path, turn_in: Callable[..., dict[str, TaskResult]]) -> None:
    with pytest.raises(LessonError, match="`wmcourse start 03` makes it"):
        check.check("03")
    nbformat.write(lesson(PLAIN, "f"), tmp_path / "checkout" / "notebooks" / NAME)
    other = tmp_path / "any name.ipynb"
    nbformat.write(new_notebook(metadata={"wmcourse": {"lesson": "04"}}), other)
    with pytest.raises(LessonError, match="is lesson 04, Reconstruction loss, not 03"):
        check.check("03", other)
    with pytest.raises(LessonError, match=r"Lesson 04, .* has no notebook yet"):
        check_notebook(other)
    nbformat.write(new_notebook(), other)
    with pytest.raises(LessonError, match="There is no lesson 'any name'"):
        check_notebook(other)
    with pytest.raises(LessonError, match="cannot be read: No such file"):
        check_notebook(tmp_path / "nowhere.ipynb")
    assert list(check.report([])) == ["There is nothing to check in it."]
