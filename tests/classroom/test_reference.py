"""The quick reference of formulas: it is current, its LaTeX is whole, and it takes lessons as they come."""

import re
from pathlib import Path

import pytest
import sympy as sp

from wmcourse.classroom import reference
from wmcourse.lessons.derivation import latex
from wmcourse.lessons.lesson import open_lesson, written
from wmcourse.lessons.syllabus import SYLLABUS, Entry

LESSONS = [open_lesson(entry.number) for entry in SYLLABUS if written(entry)]
FORMULAS = [
    pytest.param(formula, id=f"{lesson.entry.number}-{name.strip()}")
    for lesson in LESSONS
    for name, formula in lesson.formulas.items()
]


def unbalanced(tex: str) -> str:
    r"""Which brace, \left or \begin is not closed, or closed without having been opened; "" when there is none."""
    pairs = {"}": "{", r"\right": r"\left", r"\end": r"\begin"}
    opened: list[str] = []
    for token in re.findall(r"\\(?:left|right|begin|end)(?![a-zA-Z])|\\.|[{}]", tex):
        if token in pairs.values():
            opened.append(token)
        elif token in pairs and (not opened or opened.pop() != pairs[token]):
            return token
    return "".join(opened)


def test_what_is_unbalanced_is_found() -> None:
    for whole in (
        r"\frac{a}{b}",
        r"\left(\frac{1}{2}\right)",
        r"\{a\}",
        r"\leftarrow",
        r"\begin{matrix}{a}\end{matrix}",
    ):
        assert not unbalanced(whole)
    for broken in (r"\frac{a}{b", r"a}", r"\left(a)", r"\left({a\right)}", r"\begin{matrix}a", r"\right)"):
        assert unbalanced(broken)


@pytest.mark.parametrize("formula", FORMULAS)
def test_the_latex_of_each_formula_is_balanced(formula: sp.Eq) -> None:
    assert isinstance(formula, sp.Eq)
    tex = reference.tex(formula)
    assert not unbalanced(tex)
    assert not set("|`$\n") & set(tex)


@pytest.mark.parametrize("formula", FORMULAS)
def test_names_are_set_as_they_are_written(formula: sp.Eq) -> None:
    r"""Sympy looks for indices in a name: \mu_i/\mu_0 becomes \mu with the index i/\mu 0, unless there are braces."""

    def bare(tex: str) -> list[str]:
        return sorted(re.sub(r"[{}\s]", "", tex))  # the index may change places with the power

    for symbol in formula.free_symbols:
        if "\\" in str(symbol):
            assert bare(latex(symbol)) == bare(str(symbol))


def test_the_committed_file_is_current() -> None:
    assert reference.current(), "the lessons have changed: python -m wmcourse.classroom.reference"


def test_every_formula_is_there_and_every_link_leads_somewhere() -> None:
    text = reference.text()
    for lesson in LESSONS:
        assert f"## {lesson.entry.number} · {lesson.entry.title}\n" in text
    assert text.count("$`") == text.count("`$") == len(FORMULAS) + reference.HEAD.count("$`")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "$`" in line]
    assert len(rows) == len(FORMULAS)
    assert all(re.fullmatch(r"\| \S.* \| \$`[^|`]+`\$ \|", row) for row in rows)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if not target.startswith("../notebooks") and not target.startswith("../solutions"):  # these are built
            assert (reference.FILE.parent / target).is_file(), target


def test_a_lesson_that_is_not_written_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_but_03(entry: Entry) -> bool:
        return written(entry) and entry.number != "03"

    monkeypatch.setattr(reference, "written", all_but_03)
    text = reference.text()
    assert "## 03" not in text
    assert "## 02" in text
    assert "## 04" in text


def test_the_command_writes_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "formulas.md"
    arguments = ["--file", str(path)]
    assert reference.main([*arguments, "--check"]) == 1
    assert not path.exists()
    assert reference.main(arguments) == 0
    assert reference.main([*arguments, "--check"]) == 0
    assert "up to date" in capsys.readouterr().out
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert reference.main([*arguments, "--check"]) == 1
    assert "write it anew" in capsys.readouterr().out
