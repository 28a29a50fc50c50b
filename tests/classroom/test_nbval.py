"""A learner's notebook under nbval: what is right passes, what is not fails in its own check, and nothing hides it."""

import copy
import json
from pathlib import Path

import pytest
import torch
from learner import cell_of, environment
from lesson_runs import (
    LESSON,
    NAME,
    TASKS,
    checks,
    nbval,
    pupil,
    solution,
    source_of,
    without_training,
)
from nbclient import NotebookClient
from nbformat import NotebookNode

from wmcourse.classroom import check
from wmcourse.classroom.build import SOLUTIONS, answers, fill
from wmcourse.classroom.gate import Draft, skips
from wmcourse.lessons import kl_divergence_loss, progress

HIDERS = [*check.HIDING_TAGS, *(f"# {comment}" for comment in check.HIDING_COMMENTS)]
STUB, PART = "raise NotImplementedError", "kl_standard_normal"


def filled(**instead: str) -> NotebookNode:
    """A student notebook with the course's answers, or these, and without the long trainings."""
    given = answers(solution()) | {cell_of(TASKS[name]): source for name, source in instead.items()}
    return fill(without_training(pupil()), given)


def part_of(folder: Path) -> None:
    """The part in a learner's folder is loaded, and computes what it should."""
    mine = progress.load_part(PART, folder)
    assert mine is not None
    mu, logvar = torch.randn(2, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(mine(mu, logvar), LESSON.exercises[PART].reference(mu, logvar))


@pytest.mark.slow
def test_in_an_untouched_notebook_all_checks_fail_and_nothing_else(tmp_path: Path) -> None:
    failed = nbval(pupil(), tmp_path)
    assert {name: words for name, words in failed.items() if name not in checks()} == {}
    assert failed.keys() == checks()
    for name in TASKS:
        assert f"○ {name}: not attempted yet" in failed[f"check-{name}"]
    assert not (tmp_path / "progress.json").exists()
    assert not (tmp_path / "parts").exists()


@pytest.mark.slow
def test_filled_with_the_solutions_it_passes_and_all_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    solved = solution()
    notebook = fill(pupil(), answers(solved))
    for mine, theirs in zip(notebook.cells, solved.cells, strict=True):
        if mine.cell_type == "code":  # so nbval compares: a learner is told what the course's solution is told
            mine.execution_count, mine.outputs = theirs.execution_count, copy.deepcopy(theirs.outputs)
    assert nbval(notebook, tmp_path) == {}
    passed = json.loads((tmp_path / "progress.json").read_text())["passed"]
    assert passed.keys() == {f"03/{name}" for name in TASKS}
    assert list(progress.kept_parts(tmp_path)) == [PART]
    part_of(tmp_path)
    monkeypatch.setenv("WMCOURSE_HOME", str(tmp_path))
    kl = kl_divergence_loss.make_lesson().yours(PART)  # a new session, where nothing was checked yet
    assert capsys.readouterr().out == f"{PART}: yours\n"
    assert kl.__code__.co_filename == str(tmp_path / "parts" / f"{PART}.py")


@pytest.mark.slow
def test_answers_that_are_written_differently_pass(tmp_path: Path) -> None:
    notebook, cells = filled(), list[NotebookNode]()
    for cell in notebook.cells:
        cells.append(cell)
        if not cell.id.startswith("check-"):
            continue
        task, answer = TASKS[cell.metadata.wmcourse.name], cells[-2]
        for number, alternative in enumerate(task.alternatives):  # each one's cell and check, behind the first
            again = copy.deepcopy([answer, cell])
            again[0].source = source_of(task, alternative)
            for one in again:
                one.id += f"-{number}"
            cells += again
    notebook.cells = cells
    assert sum(cell.id.startswith("check-") for cell in cells) == sum(1 + len(t.alternatives) for t in TASKS.values())
    assert nbval(notebook, tmp_path) == {}
    earlier = sorted(path.name for path in (tmp_path / "parts" / "earlier").iterdir())
    assert earlier == [f"{PART}.{number + 1}.py" for number in range(len(TASKS[PART].alternatives))]
    part_of(tmp_path)


@pytest.mark.slow
def test_a_failure_that_was_saved_with_the_notebook_is_a_failure_still(tmp_path: Path) -> None:
    notebook = filled(
        spread="spread = sigma_q**2",
        kl_prior="kl_prior = ...",
        kl_standard_normal=source_of(TASKS[PART], TASKS[PART].known[0].answer),
        kl_full="def kl_full(*inputs):\n    return 1 / 0",
        free_bits=f"def free_bits(*inputs):\n    {STUB}",
    )
    client = NotebookClient(
        notebook, kernel_name="python3", allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute(env=environment(tmp_path, tmp_path))
    saved = {cell.id: [out.ename for out in cell.get("outputs", []) if "ename" in out] for cell in notebook.cells}
    assert {name: names[0] for name, names in saved.items() if names} == {
        "check-spread": "WrongAnswer",
        "check-kl_prior": "NotAttempted",
        "check-kl_standard_normal": "WrongAnswer",
        "check-kl_full": "AnswerCrashed",
        "check-free_bits": "NotAttempted",
    }
    failed = nbval(notebook, tmp_path)
    assert failed.keys() == {name for name, names in saved.items() if names}, failed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kl_prior", "kl_standard_normal"])
def test_one_wrong_answer_fails_its_own_check_which_names_the_mistake(tmp_path: Path, name: str) -> None:
    task = TASKS[name]
    mistake = next(m for m in task.known if m.name == "the ½ is missing")
    failed = nbval(filled(**{name: source_of(task, mistake.answer)}), tmp_path)
    assert failed.keys() == checks(name), failed
    assert f"✗ {name}: this is a mistake that has a name: {mistake.name}" in failed[f"check-{name}"]
    passed = json.loads((tmp_path / "progress.json").read_text())["passed"]
    assert passed.keys() == {f"03/{other}" for other in TASKS} - {f"03/{name}"}


# --- What hides a failure


def hide(cell: NotebookNode, hider: str) -> None:
    if hider.startswith("#"):
        cell.source = f"{hider}\n{cell.source}"
    else:
        cell.metadata.tags = [*cell.metadata.get("tags", []), hider]


@pytest.mark.slow
@pytest.mark.parametrize("which", ["check", "answer"])
def test_wmcourse_check_refuses_hidden_cells_and_those_alone(tmp_path: Path, which: str) -> None:
    notebook, hidden = filled(), dict(zip(TASKS, HIDERS, strict=False))
    assert len(hidden) == len(HIDERS) < len(TASKS)
    cells = {cell.id: cell for cell in notebook.cells}
    for name, hider in hidden.items():
        hide(cells[f"check-{name}" if which == "check" else cell_of(TASKS[name])], hider)
    path = tmp_path / NAME
    path.write_text(json.dumps(notebook))
    results = {result.name: result for result in check.check_notebook(path, record=False)}
    assert {name: result.status for name, result in results.items()} == {
        name: "refused" if name in hidden else "passed" for name in TASKS
    }
    for name, hider in hidden.items():
        assert hider in results[name].message


@pytest.mark.parametrize("hider", HIDERS)
@pytest.mark.parametrize("role", ["check", "exercise", "step"])
def test_the_gate_refuses_hidden_cells_in_a_lesson(tmp_path: Path, role: str, hider: str) -> None:
    head = f'# %% {role}="{"kl_prior" if role == "step" else PART}"\n'
    text = (SOLUTIONS / NAME).with_suffix(".py").read_text()
    assert text.count(head) == 1
    path = (tmp_path / NAME).with_suffix(".py")
    path.write_text(text)
    assert list(skips(Draft(path))) == []
    path.write_text(text.replace(head, head + hider + "\n" if hider[0] == "#" else f'{head[:-1]} tags=["{hider}"]\n'))
    draft = Draft(path)
    ((number, words),) = skips(draft)
    assert draft.cells[number or 0].id.startswith(f"{role}-")
    assert "must not be skipped, nor allowed to fail" in words
