"""A course that grades with nbgrader takes the notebooks as they are: released, handed in and graded."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from learner import cell_of, environment
from lesson_runs import LESSON, NAME, TASKS, pupil, solution, source_of, without_training
from nbformat import NotebookNode

from wmcourse.classroom.build import SOLUTIONS, answers, fill

api = pytest.importorskip("nbgrader.api")
pytestmark = pytest.mark.slow

POINTS = {f"check_{name}": float(task.points) for name, task in TASKS.items()}
MARKER = re.compile(r".*(BEGIN|END) SOLUTION.*\n?")
# All that a course must set: lessons train; nbclient's tag would skip a check; a check that is gone comes back.
CONFIG = """c = get_config()
c.Execute.timeout = 300
c.Execute.skip_cells_with_tag = ""
c.OverwriteCells.add_missing_cells = True
"""


class Course:
    """An nbgrader course in a folder of its own, with nothing of this machine's Jupyter around it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "course"
        # nbgrader calls alembic by its name.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        self.environment = environment(root) | {"HOME": str(root / "home"), "PATH": path}
        source = self.root / "source" / "ps03" / NAME
        for folder in (source.parent, root / "home"):
            folder.mkdir(parents=True)
        source.write_bytes((SOLUTIONS / NAME).read_bytes())  # unchanged, outputs and all
        (self.root / "nbgrader_config.py").write_text(CONFIG)
        self.said = self.run("generate_assignment")

    def run(self, command: str, *options: str) -> str:
        call = [sys.executable, "-m", "nbgrader", command, "ps03", "--course-dir", str(self.root), *options]
        done = subprocess.run(call, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def released(self) -> NotebookNode:
        return nbformat.read(self.root / "release" / "ps03" / NAME, as_version=4)

    def grade(self, learner: str, notebook: NotebookNode) -> dict[str, float]:
        """Hand it in as this learner's. Returns the points of each check."""
        folder = self.root / "submitted" / learner / "ps03"
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / NAME)
        self.said = self.run("autograde", "--student", learner)
        with api.Gradebook(f"sqlite:///{self.root / 'gradebook.db'}") as book:
            handed_in = book.find_submission("ps03", learner)
            assert not handed_in.needs_manual_grade
            (graded,) = handed_in.notebooks
            points = {grade.name: grade.score for grade in graded.grades}
            assert (handed_in.score, handed_in.max_score) == (sum(points.values()), sum(POINTS.values()))
        return points

    def errors(self, learner: str) -> dict[str, str]:
        """Why checks failed when they were graded."""
        graded = nbformat.read(self.root / "autograded" / learner / "ps03" / NAME, as_version=4)
        checks = [cell for cell in graded.cells if cell.metadata.get("nbgrader", {}).get("grade")]
        return {
            cell.metadata.nbgrader.grade_id: output.ename
            for cell in checks
            for output in cell.outputs
            if output.output_type == "error"
        }


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    return Course(tmp_path_factory.mktemp("nbgrader"))


def plainly() -> dict[str, str]:
    """The solutions as a learner would hand them in: without markers."""
    return {name: MARKER.sub("", source).rstrip() for name, source in answers(solution()).items()}


def secret(source: str) -> list[str]:
    """The lines of a solution."""
    inside = re.findall(r"### BEGIN SOLUTION\n(.*?)\n *### END SOLUTION", source, re.DOTALL)
    return [line.strip() for part in inside for line in part.split("\n")]


def test_the_released_notebook_holds_no_solution(course: Course) -> None:
    assert not re.search("warning|error", course.said, re.IGNORECASE), course.said
    released, path = course.released(), course.root / "release" / "ps03" / NAME
    text = "\n".join(cell.source for cell in released.cells)
    assert "BEGIN SOLUTION" not in path.read_text()
    assert "END SOLUTION" not in path.read_text()
    lines = {line for source in answers(solution()).values() for line in secret(source)}
    assert len(lines) > len(TASKS)
    assert [line for line in lines if line in text] == []
    stubs = answers(released)
    assert list(stubs) == [cell_of(task) for task in TASKS.values()]  # ids and roles are still there
    assert all("raise NotImplementedError" in stub for stub in stubs.values())
    assert not any(cell.get("outputs") for cell in released.cells)
    others = [(cell.id, cell.source) for cell in released.cells if cell.id not in stubs]
    assert others == [(cell.id, cell.source) for cell in solution().cells if cell.id not in stubs]


def test_the_right_answers_have_full_points(course: Course) -> None:
    """The whole notebook, trainings and all."""
    assert course.grade("right", fill(course.released(), plainly())) == POINTS


@pytest.mark.parametrize("which", [Course.released, lambda course: pupil()], ids=["nbgrader's", "the course's"])
def test_an_untouched_notebook_has_none(
    course: Course, which: Callable[[Course], NotebookNode], request: pytest.FixtureRequest
) -> None:
    learner = f"untouched-{request.node.callspec.indices['which']}"
    assert course.grade(learner, without_training(which(course))) == dict.fromkeys(POINTS, 0.0)
    assert set(course.errors(learner).values()) == {"NotAttempted"}


def test_a_wrong_answer_costs_its_points_whatever_becomes_of_its_check(course: Course) -> None:
    """As its check is, behind a check that says nothing, behind one to be skipped, and with none at all."""
    mistaken, *others = wrong = ["kl_standard_normal", "kl_normal", "kl_full", "free_bits"]
    task = LESSON.exercises[mistaken]
    given = {f"exercise-{name}": f"def {name}(*inputs):\n    return inputs[0]" for name in others}
    given[cell_of(task)] = source_of(task, task.known[0].answer)
    notebook = fill(without_training(pupil()), plainly() | given)
    cells = {cell.id: cell for cell in notebook.cells}
    cells["check-kl_normal"].source = "pass"
    cells["check-kl_full"].metadata.tags = ["skip-execution", "raises-exception"]
    notebook.cells.remove(cells["check-free_bits"])
    assert course.grade("wrong", notebook) == POINTS | {f"check_{name}": 0.0 for name in wrong}
    assert course.errors("wrong") == {f"check_{name}": "WrongAnswer" for name in wrong}
    assert "Attribute 'checksum' for cell check_kl_normal has changed!" in course.said
