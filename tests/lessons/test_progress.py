"""The learner's folder: where it is, what a broken file costs (nothing), and parts that run without their notebook."""

import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from wmcourse.lessons import progress
from wmcourse.lessons.errors import LessonError, WrongAnswer
from wmcourse.lessons.progress import Progress, home, keep_part, kept_parts, load_part, standalone

# --- Where it is


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course's checkout that is not this one."""
    monkeypatch.delenv("WMCOURSE_HOME", raising=False)
    monkeypatch.setattr(progress, "CHECKOUT", tmp_path / "course")
    for name in ("notebooks", "solutions", "tests"):
        (tmp_path / "course" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "course")
    return tmp_path / "course"


def test_home_is_what_the_environment_says(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WMCOURSE_HOME", str(tmp_path / "elsewhere"))
    assert home() == home(make=True) == tmp_path / "elsewhere"  # there or not
    monkeypatch.chdir(checkout / "solutions")
    assert home() == tmp_path / "elsewhere"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WMCOURSE_HOME", "~/mine")
    assert home() == tmp_path / "mine"
    monkeypatch.setenv("WMCOURSE_HOME", "")
    assert home() is None


def test_home_is_found_upwards(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "desk" / "my"
    (mine / ".course").mkdir(parents=True)
    (mine / "deep" / "down").mkdir(parents=True)
    for folder in (mine, mine / "deep" / "down", mine / ".course"):
        monkeypatch.chdir(folder)
        assert home() == mine
    monkeypatch.chdir(tmp_path / "desk")
    assert home() is None
    assert home(make=True) is None
    (tmp_path / "desk" / ".course").write_text("a file, and no folder of ours")
    assert home() is None


def test_home_is_my_in_a_checkout_and_nowhere_in_its_solutions(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home() is None
    assert home(make=True) == checkout / "my"
    assert not (checkout / "my").exists()  # made when something is kept
    (checkout / "my").mkdir()
    for folder in (checkout, checkout / "notebooks", checkout / "my"):
        monkeypatch.chdir(folder)
        assert home() == checkout / "my"
    monkeypatch.chdir(checkout / "solutions")
    assert home() is None
    assert home(make=True) is None
    monkeypatch.chdir(checkout)
    (checkout / "notebooks").rmdir()  # an installed package, and no checkout
    assert home() is None


# --- progress.json


def test_what_passed_is_kept_with_the_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Progress(tmp_path)
    monkeypatch.setattr(progress, "today", lambda: "2026-11-24")
    assert kept.note("03/kl_normal") == ""
    monkeypatch.setattr(progress, "today", lambda: "2026-11-25")
    assert kept.note("03/kl_normal") == ""  # the first day counts
    assert kept.note("03/kl_full") == ""
    assert Progress(tmp_path).passed == {"03/kl_normal": "2026-11-24", "03/kl_full": "2026-11-25"}
    assert json.loads((tmp_path / "progress.json").read_text())["pace"] == "two weeks"
    assert len(progress.today()) == 10


def test_without_a_folder_nothing_is_kept(checkout: Path) -> None:
    kept = Progress()
    assert kept.folder is None
    assert kept.note("03/x") == ""
    assert not (checkout / "my").exists()


def test_what_others_put_into_the_file_stays(tmp_path: Path) -> None:
    (tmp_path / "progress.json").write_text(
        json.dumps({"passed": {"01/a": "2026-01-01"}, "pace": "one week", "x": [1]})
    )
    kept = Progress(tmp_path)
    kept.note("03/x")
    data = json.loads((tmp_path / "progress.json").read_text())
    assert data["x"] == [1]
    assert data["pace"] == "one week"
    assert list(data["passed"]) == ["01/a", "03/x"]


def test_two_notebooks_that_are_open_at_once_lose_nothing(tmp_path: Path) -> None:
    one, other = Progress(tmp_path), Progress(tmp_path)
    one.note("03/a")
    other.note("04/b")
    one.note("03/c")
    assert set(Progress(tmp_path).passed) == {"03/a", "04/b", "03/c"}


BROKEN = {
    "empty": b"",
    "cut off": b'{"passed": {"03/a": "2026',
    "binary": bytes(range(256)),
    "a list": b'["03/a"]',
    "passed is a list": b'{"passed": ["03/a"]}',
    "nothing passed": b"{}",
    "null": b"null",
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_set_aside_and_a_new_one_begun(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "progress.json"
    path.write_bytes(data)
    kept = Progress(tmp_path)
    assert kept.trouble.startswith(f"{path} could not be read (")
    assert kept.trouble.endswith("It is now progress.broken-1.json; run the checks again and all is ticked anew.")
    assert (tmp_path / "progress.broken-1.json").read_bytes() == data
    assert kept.note("03/a") == ""
    assert kept.trouble
    assert list(Progress(tmp_path).passed) == ["03/a"]
    assert Progress(tmp_path).trouble == ""
    path.write_bytes(data)  # and once more
    assert "progress.broken-2.json" in Progress(tmp_path).trouble
    assert (tmp_path / "progress.broken-1.json").read_bytes() == data


def test_an_editors_mark_at_the_beginning_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "progress.json").write_bytes(b'\xef\xbb\xbf{"passed": {"03/a": "2026-11-24"}}')
    assert Progress(tmp_path).passed == {"03/a": "2026-11-24"}


def refuse(*args: Any, **options: Any) -> None:
    raise PermissionError(13, "Permission denied")


def test_a_folder_that_cannot_be_written_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "replace", refuse)
    said = Progress(tmp_path).note("03/a")
    assert said.startswith("(This could not be kept: Could not write ")
    assert "Make this folder writable" in said
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_read_is_set_aside_where_that_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "progress.json"
    path.mkdir()  # for one
    assert "Is a directory" in Progress(tmp_path).trouble
    path.write_text("{")
    monkeypatch.setattr(Path, "replace", refuse)
    trouble = Progress(tmp_path).trouble
    assert "could not be read" in trouble
    assert "It is now" not in trouble
    assert path.read_text() == "{"


# --- Parts: from a notebook to a process of their own

IMPORTS = """
import enum, math
import os.path as osp
import numpy as np
import torch
import torch.distributions as D
import torch.nn as nn
import torch.nn.functional as F
from functools import lru_cache, partial, wraps
from numpy import exp as npexp
from torch import Tensor, exp
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import softmax, softplus
"""
NOTEBOOKS = """
# --- plain
def kl(x):
    return x.exp()
# --- comments, a text and an indent of its own
# before
def kl(v):  # it
   '''σ
flush left'''
   return v  # end
# --- globals of the names of its locals
mu = torch.randn(3)
v = torch.zeros(2)
x = torch.ones(1)
t = torch.ones(1)
def kl(x):
    mu = x * 2
    return sum(v for v in mu) + (t := 1) + [t for t in (2, 3)][0]
# --- a helper and its constant
C = 2.0
def half(v):
    return v / C

def kl(x):
    return half(x)
# --- constants of every kind
A = (1, 2)
B = {'a': [1.5]}
I = math.inf
M = -np.inf
N = float('nan')
NP, NI = np.float64(2), np.int64(3)
S, Z, T, Y = "it's", None, True, b'ab'
L, W = [1, [2]], {1, 2}
def kl(x):
    numbers = min(I, 3) + max(M, 1) + (0 if N == N else 1) + NP * NI
    return x * A[1] * B['a'][0] + numbers + len(S) + (Z is None) + T + L[1][0] + len(W) + len(Y)
# --- imports under any name
def kl(x):
    total = softplus(x) + exp(x) + softmax(x, -1) + F.relu(x) + nn.functional.silu(x) + npexp(1.0) + math.pi
    return total + torch.logsumexp(x, -1) + kl_divergence(Normal(x, 1.0), D.Normal(0.0, 1.0)) + len(osp.join('a'))
# --- a closure
def make(beta):
    def kl(x):
        return beta * x
    return kl
kl = make(3)
# --- a closure over a function
def make(f):
    def kl(x):
        return f(x)
    return kl
kl = make(torch.exp)
# --- a decorator
def twice(f):
    @wraps(f)
    def inner(*a):
        return 2 * f(*a)
    return inner
@twice
def kl(x):
    return x + 1
# --- a library's decorator
@torch.no_grad()
def kl(x):
    return x + 1
# --- one that makes no function
@lru_cache
def kl(x):
    return x + 1
# --- decorators that need each other
def kk():
    return 3
def reg(k):
    def d(f):
        return f
    return d
@reg(kk())
def aa(x):
    return x
@reg(kk())
def kl(x):
    return aa(x)
# --- defaults
EPS = 1e-3
def e():
    return 2
def kl(x, eps=EPS, *, k=e()):
    return x + eps * k
# --- recursion
def kl(x, n=3):
    return x if n == 0 else kl(x * 2, n - 1)
# --- two that call each other
def a(x, n):
    return x if n == 0 else b(x + 1, n - 1)
def b(x, n):
    return a(x, n)
def kl(x):
    return a(x, 2)
# --- annotations
def kl(x: Tensor) -> tuple[Tensor, 'Tensor']:
    y: Tensor = x * 2
    return y
# --- names of built-in functions
from torch import sum
def abs(v):
    return v * 100
def kl(x):
    return sum(x) + abs(x)
# --- functions and classes within
K = 3
Z = 5
def kl(x):
    def inner(v):
        return v * K
    class A:
        z = Z
    return inner(x) * A.z + (lambda K: K)(1)
# --- another name
def other(x):
    return x + 7
kl = other
# --- an older function under another name
def f(x):
    return x + 1
old = f
@@
def f(x):
    return old(x) * 2
def kl(x):
    return f(x)
# --- a global that it changes
count = 0
def kl(x):
    global count
    count += 1
    return x + 0 * count
# --- a name that is nowhere
def kl(x):
    try:
        return no_such_name(x)
    except NameError:
        return x
# --- a static method
class A:
    @staticmethod
    def kl(x):
        return x + 1
kl = A.kl
# --- the course's function
from wmcourse.kl_divergence_loss import free_bits as fb
def kl(x):
    return fb(x[None], 0.1)
# --- match
V = 3
def kl(v):
    match 3:
        case V:
            return v * V
"""
KEPT = dict(block.split("\n", 1) for block in NOTEBOOKS.split("\n# --- ")[1:])
NOT_KEPT = {
    "kl = lambda x: x": "`kl` is a lambda. Write it with `def`.",
    "exec('def kl(x):\\n    return x')": "the text of `kl` cannot be found",
    "W = torch.ones(3)\ndef kl(x):\n    return x * W": "`W` is a Tensor, and only functions and plain",
    "D_ = torch.float32\ndef kl(x):\n    return x.to(D_)": "`D_` is a dtype",
    "net = nn.Linear(3, 3)\ndef kl(x):\n    return net(x)": "`net` is a Linear",
    "kl = partial(torch.mul, 2)": "`kl` is a partial",
    "class Q:\n    def __call__(self, x):\n        return x\nkl = Q()": "`kl` is a Q",
    "class Q:\n    def kl(self, x):\n        return x\nkl = Q().kl": "`kl` is a method",
    "r = range(3)\ndef kl(x):\n    return x + len(r)": "`r` is a range",
    "class E(enum.IntEnum):\n    A = 1\nV = E.A\ndef kl(x):\n    return x * V": "`V` is a E",
    "h = lambda x: x\ndef kl(x):\n    return h(x)": "`h` is a lambda",
    "h = np.float32('nan')\ng = [h]\ndef kl(x):\n    return x * g[0]": "`g` is a list",
}


def notebook(shell: InteractiveShell, text: str) -> Callable[..., Any]:
    """The function ``kl`` of a notebook with these cells."""
    shell.reset(new_session=True)
    for cell in (IMPORTS, *text.split("\n@@\n")):
        assert shell.run_cell(cell, store_history=True).success
    return shell.user_ns["kl"]


def anything(function: Any) -> None:
    assert callable(function)


def test_parts_do_the_same_in_a_process_of_their_own(shell: InteractiveShell, tmp_path: Path) -> None:
    wanted = {}
    for i, (name, text) in enumerate(KEPT.items()):
        kl = notebook(shell, text)
        assert keep_part("kl", "03", kl, tmp_path / str(i), anything) == "", name
        wanted[name] = np.asarray(kl(torch.tensor([0.1, 0.2, 0.3]))).tolist()
    script = (
        "import json, sys, torch, numpy as np\nfrom pathlib import Path\n"
        "from wmcourse.lessons.progress import load_part\n"
        "for i in range(int(sys.argv[2])):\n"
        "    kl = load_part('kl', Path(sys.argv[1]) / str(i))\n"
        "    print(json.dumps(np.asarray(kl(torch.tensor([0.1, 0.2, 0.3]))).tolist()))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), str(len(KEPT))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    came = dict(zip(KEPT, map(json.loads, done.stdout.splitlines()), strict=True))
    assert came == wanted


@pytest.mark.parametrize(("text", "why"), NOT_KEPT.items())
def test_what_cannot_be_kept_is_told_and_not_written(
    shell: InteractiveShell, tmp_path: Path, text: str, why: str
) -> None:
    said = keep_part("kl", "03", notebook(shell, text), tmp_path, anything)
    assert said.startswith("(It passed, but is not kept as a part of your world model: ")
    assert why in said
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_class_of_a_module_is_kept_with_its_text() -> None:
    text = standalone(uses_a_class, "kl")
    space: dict[str, Any] = {"__name__": "part_kl"}
    exec(text, space)
    assert space["kl"](3) == 7
    assert "class Doubling:" in text
    assert "import torch" not in text


def test_an_annotation_is_not_taken_along() -> None:
    text = standalone(annotated, "kl")
    space: dict[str, Any] = {"__name__": "part_kl"}
    exec(text, space)
    assert space["kl"](3) == 4
    assert "Number" not in space


OFFSET = 1
Number = int | float  # a value that no import brings


def annotated(x: Number) -> Number:
    y: Number = OFFSET
    return x + y


class Doubling:
    def go(self, x: Any) -> Any:
        return 2 * x + OFFSET


def uses_a_class(x: Any) -> Any:
    return Doubling().go(x)


def test_a_text_that_does_something_else_is_not_kept(shell: InteractiveShell, tmp_path: Path) -> None:
    """A decorator that hides its function: the text cannot be told apart from one that is decorated twice."""
    text = "def outer(f):\n    def kl(x):\n        return f(x) + 1\n    return kl\n@outer\ndef kl(x):\n    return x * 5"
    kl = notebook(shell, text)

    def judge(function: Any) -> None:
        if function(2) != kl(2):
            raise WrongAnswer("✗ kl: not yet.")

    said = keep_part("kl", "03", kl, tmp_path, judge)
    assert said == "(It passed here, but its text alone, as a part of your world model, does not.\n\n✗ kl: not yet.)"
    assert not list(tmp_path.iterdir())


def test_a_part_reads_as_it_was_written(
    shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "today", lambda: "2026-11-24")
    keep_part("kl", "03", notebook(shell, KEPT["a helper and its constant"]), tmp_path, anything)
    assert (tmp_path / "parts" / "kl.py").read_text() == (
        "# Lesson 03, kl: your own function, as you wrote it when it passed on 2026-11-24.\n"
        "from __future__ import annotations\n\nC = 2.0\n\n\ndef half(v):\n    return v / C\n\n\n"
        "def kl(x):\n    return half(x)\n"
    )


def test_earlier_texts_stay_and_the_same_text_is_not_written_again(
    shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "parts" / "kl.py"

    def keep(k: int) -> bytes:
        assert keep_part("kl", "03", notebook(shell, f"def kl(x):\n    return x + {k}"), tmp_path, anything) == ""
        return path.read_bytes()

    first = keep(1)
    monkeypatch.setattr(progress, "today", lambda: "2030-01-01")
    monkeypatch.setattr(progress, "write_atomically", refuse)
    assert keep(1) == first  # nothing was written
    monkeypatch.undo()
    second = keep(2)
    third = keep(1)
    assert {p.name: p.read_bytes() for p in (tmp_path / "parts" / "earlier").iterdir()} == {
        "kl.1.py": first,
        "kl.2.py": second,
    }
    assert b"+ 1" in third
    path.write_bytes(b"\xff\xfe")  # whatever stands there
    keep(3)
    assert (tmp_path / "parts" / "earlier" / "kl.3.py").read_bytes() == b"\xff\xfe"
    assert list(kept_parts(tmp_path)) == ["kl"]  # the earlier ones are none


def test_a_part_that_cannot_be_written_is_told(
    shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kl = notebook(shell, KEPT["plain"])
    monkeypatch.setattr(os, "replace", refuse)
    assert keep_part("kl", "03", kl, tmp_path, anything).startswith(
        "(It passed, but could not be kept as a part: Could"
    )
    (tmp_path / "parts" / "kl.py").write_text("old")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert "Permission denied" in keep_part("kl", "03", kl, tmp_path, anything)
    assert (tmp_path / "parts" / "kl.py").read_text() == "old"


def test_parts_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WMCOURSE_HOME", str(tmp_path))
    assert load_part("kl") is None
    assert list(kept_parts()) == []
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "kl.py").write_text("def kl(x):\n    return x + __name__ + __file__\n")
    (tmp_path / "parts" / "a.py").write_text("")
    kl = load_part("kl")
    assert isinstance(kl, types.FunctionType)
    assert kl("") == "part_kl" + str(tmp_path / "parts" / "kl.py")
    assert load_part("kl", tmp_path / "elsewhere") is None
    assert list(kept_parts()) == ["a", "kl"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"def kl(:", "cannot be loaded: SyntaxError"),
        (b"import no_such_module", "cannot be loaded: ModuleNotFoundError"),
        (b"", "cannot be loaded: KeyError: 'kl'"),
        (b"1 / 0", "cannot be loaded: ZeroDivisionError: division by zero. Run its check in your notebook again"),
        (b"\0", "cannot be loaded: "),
        (b"\xff\xfe", "cannot be read: "),
    ],
)
def test_a_broken_part_is_told_in_words(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "parts" / "kl.py"
    path.parent.mkdir()
    path.write_bytes(data)
    with pytest.raises(LessonError) as failure:
        load_part("kl", tmp_path)
    assert str(failure.value).startswith(f"Your part kl ({path}) {why}")
    assert len(str(failure.value).splitlines()) == 1


def test_without_a_folder_there_are_no_parts(checkout: Path) -> None:
    assert load_part("kl") is None
    assert list(kept_parts()) == []
