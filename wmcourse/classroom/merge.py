"""The three-way merge of a lesson: the text as the learner got it, what the learner made of it, and today's text.

Cells are told apart by their ids: those of answers and checks are names, all others are hashes of the course's text. So
a text that the course has changed is usually one id that is gone, and a new one in its place.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # nbformat takes a second to import, and nothing here needs it
    from nbformat import NotebookNode

OURS = ("wmcourse", "nbgrader")  # metadata that is the course's alone
LOCKS = ("deletable", "editable")  # what nbgrader sets beside its own


class Merged(NamedTuple):
    notebook: NotebookNode
    conflicts: list[str]  # cells that both have changed, and that must be decided
    kept: list[str]  # the same where nothing must be: the learner's stands before the lesson's new one


def mark(cell: NotebookNode) -> dict[str, Any]:
    """What build.py has noted on a cell: {"role": "exercise", "step" or "check", "name": ...}, for instance."""
    found = cell.metadata.get("wmcourse")
    return found if isinstance(found, dict) else {}


def role(cell: NotebookNode) -> str:
    return str(mark(cell).get("role", ""))


def same(a: NotebookNode, b: NotebookNode) -> bool:
    return bool(a.cell_type == b.cell_type and a.source.rstrip() == b.source.rstrip())


def title(cell: NotebookNode) -> str:
    """What a cell is called in a sentence."""
    first = next(iter(cell.source.strip().splitlines()), "")
    return f"{role(cell)} {mark(cell).get('name')}" if role(cell) else f"`{first[:60]}`"


def from_the_course(cell: NotebookNode) -> bool:
    """Whether a cell is some text of the course's, unchanged: its id is the hash of it, as build.py makes it."""
    return bool(cell.id[:12] == hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12])


def with_ids(notebook: NotebookNode, course: Iterable[NotebookNode]) -> NotebookNode:
    """A copy whose cells all have ids, each once. A cell that lost its own finds it again, by its role or its text."""
    notebook, known = copy.deepcopy(notebook), {cell.id: cell for cell in course}
    taken, lost = set[str](), set[int]()
    for number, cell in enumerate(notebook.cells):
        if isinstance(cell.get("id"), str) and cell.id not in taken:
            taken.add(cell.id)
        else:
            lost.add(number)
    for number, cell in enumerate(notebook.cells):
        if number not in lost and cell.id in known:
            continue
        candidates = [f"{role(cell)}-{mark(cell).get('name')}"]
        candidates += [i for i, c in known.items() if same(c, cell)] if number in lost else []
        found = next((i for i in candidates if i in known and i not in taken), None)
        if found is None and number in lost:
            found = next(i for n in itertools.count(1) if (i := f"mine-{n}") not in taken)
        if found:
            cell["id"] = found
            taken.add(found)
    notebook.nbformat_minor = max(notebook.nbformat_minor, 5)  # the first with cell ids
    return notebook


def counterparts(base: list[NotebookNode], new: list[NotebookNode]) -> dict[str, str]:
    """Old cell -> the new one that stands in its place: between cells that stayed, the most similar, in their order."""
    before, after, found = [c.id for c in base], [c.id for c in new], dict[str, str]()
    for tag, i, end, j, last in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "replace":
            gone = [cell for cell in base[i:end] if cell.id not in after]
            come = [cell for cell in new[j:last] if cell.id not in before]
            found.update(pairs(gone, come))
    return found


def pairs(gone: list[NotebookNode], come: list[NotebookNode]) -> list[tuple[str, str]]:
    """Pairs of ids, in the order of both, with the largest sum of similarities."""

    def similarity(a: NotebookNode, b: NotebookNode) -> float:
        alike = difflib.SequenceMatcher(None, a.source.split(), b.source.split()).ratio()
        return 0.01 + alike if a.cell_type == b.cell_type else 0.0  # something in a place is its counterpart

    best: dict[tuple[int, int], tuple[float, list[tuple[str, str]]]] = defaultdict(lambda: (0.0, []))
    for i in reversed(range(len(gone))):
        for j in reversed(range(len(come))):
            score, chosen = best[i + 1, j + 1]
            both = score + similarity(gone[i], come[j]), [(gone[i].id, come[j].id), *chosen]
            alone = max(best[i + 1, j], best[i, j + 1], key=lambda one: one[0])
            best[i, j] = both if both[0] > alone[0] else alone
    return best[0, 0][1]


def merge(base: NotebookNode | None, mine: NotebookNode, new: NotebookNode, prefer: str | None = None) -> Merged:
    """The new lesson with the learner's cells in it. ``prefer`` ("mine", "new") decides what would be a conflict.

    ``mine`` has been through ``with_ids``. Without ``base``, only what is certainly the course's is taken for it.
    """
    fresh, own = {c.id: c for c in new.cells}, {c.id: c for c in mine.cells}
    was = list(base.cells) if base else [fresh.get(c.id, c) for c in mine.cells if c.id in fresh or from_the_course(c)]
    # An id that only base does not know: its text was the new one, as when an update was cut off half-way.
    old = {c.id: c for c in new.cells if c.id in own} | {c.id: c for c in was}
    instead = counterparts(was, new.cells)
    place: dict[str, str | None] = {i: i for i in fresh}  # behind which new cell goes what was behind an old one
    anchor: str | None = None
    for cell in was:
        anchor = place.setdefault(cell.id, instead.get(cell.id, anchor))
    before, behind = defaultdict[str, list[Any]](list), defaultdict[str | None, list[Any]](list)
    merged, anchor = Merged(copy.deepcopy(mine), [], []), None
    for cell in mine.cells:
        anchor = place.get(cell.id, anchor)
        b = old.get(cell.id)
        if cell.id in fresh or (b is not None and (role(b) == "check" or same(cell, b))):
            continue  # the loop below has it, or the lesson has it no more
        if cell.id in instead:
            merged.kept.append(title(old[cell.id]))
        (before[instead[cell.id]] if cell.id in instead else behind[anchor]).append(as_own(cell))
    cells = behind[None]
    for cell in new.cells:
        cells += before[cell.id]
        m, b = own.get(cell.id), old.get(cell.id)
        if m is None or b is None:
            deleted = b is not None and same(b, cell) and not role(cell)
            cells += [] if deleted else [copy.deepcopy(cell)]
        else:
            taken = role(cell) == "check" or same(m, cell) or same(m, b)
            if not taken and not same(b, cell):
                taken = prefer == "new"
                merged.conflicts.extend([] if prefer else [title(cell)])
            cells.append(dressed(m, b, cell, taken))
        cells += behind[cell.id]
    merged.notebook.cells = cells
    merged.notebook.metadata = new.metadata | mine.metadata | {k: v for k, v in new.metadata.items() if k in OURS}
    return merged


def as_own(cell: NotebookNode) -> NotebookNode:
    """A copy that no tool takes for the course's."""
    cell = copy.deepcopy(cell)
    for key in (*OURS, *LOCKS) if any(key in cell.metadata for key in OURS) else ():
        cell.metadata.pop(key, None)
    return cell


def dressed(mine: NotebookNode, base: NotebookNode, new: NotebookNode, taken: bool) -> NotebookNode:
    """The new cell, when it is ``taken``, or the learner's; with the outputs of its text, and the metadata of both."""
    cell = copy.deepcopy(new if taken else mine)
    if same(mine, new):
        touched = mine.get("outputs") != base.get("outputs")  # else the lesson's pictures are newer
        for key in ("attachments", *(("outputs", "execution_count") if touched else ())):
            if key in mine:
                cell[key] = copy.deepcopy(mine[key])
    a, b, n = mine.metadata, base.metadata, new.metadata
    kept = {k: v for k, v in a.items() if k not in OURS and (k not in b or v != b[k])}
    cell.metadata = copy.deepcopy(kept | {k: v for k, v in n.items() if k in OURS or a.get(k) == b.get(k)})
    return cell
