"""The mutation engine: every operator occurs, what it changes can be seen, and nothing else is touched."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wmcourse.classroom.mutants import Mutant, mutants

GLOBALS: dict[str, Any] = {"torch": torch, "np": np, "math": math, "F": F}
WRAPPERS = ["returns zeros", "returns ones", "gradient cut", "every row is the first row"]
LOSS = '''
from torch import Tensor

def halve(x: Tensor, by: float = 0.5) -> Tensor:
    """Half of x, which is 0.5 * x."""
    return by * x

def loss(mu: Tensor, logvar: Tensor, weight: float = 2.0) -> Tensor:
    """A loss of one number each row."""
    if mu.ndim < 1:
        raise ValueError(f"mu needs {1 + 1} rows: got {mu.ndim - 1}.")
    ### BEGIN SOLUTION
    inner = mu.square() + torch.exp(logvar) - 1 - logvar  # a comment
    return halve(inner).sum(dim=-1)
    ### END SOLUTION

def unused(x):
    return x + 1
'''


def changed(line: str, *arguments: str) -> list[str]:
    """What the mutants of a one-line function change in it."""
    source = f"def f({', '.join(arguments or ['x', 'y'])}):\n    return {line}\n"
    return [mutant.name[8:] for mutant in mutants(source, "f", GLOBALS) if mutant.name.startswith("line 2: ")]


def named(name: str, found: list[Mutant]) -> Callable[..., Any]:
    (function,) = [mutant.function for mutant in found if mutant.name == name]
    return function


def test_a_function_its_helper_and_nothing_else_is_mutated_in_a_fixed_order() -> None:
    expected = [
        "line 6: * became /",
        "line 6: factor x dropped",
        "line 6: factor by dropped",
        "line 13: - became +",
        "line 13: summand logvar dropped",
        "line 13: - became + (2)",
        "line 13: summand 1 dropped",
        "line 13: + became -",
        "line 13: summand torch.exp(logvar) dropped",
        "line 13: summand mu.square() dropped",
        "line 13: square dropped",
        "line 13: exp dropped",
        "line 13: 1 became 2",
        "line 14: sum became mean",
        "line 14: axis -1 became 0",
        "input mu ignored",
        "input logvar ignored",
        *WRAPPERS,
    ]
    for _ in range(2):
        assert [mutant.name for mutant in mutants(LOSS, "loss", GLOBALS)] == expected


def test_each_mutant_of_the_loss_can_be_told_from_the_loss() -> None:
    scope = dict(GLOBALS)
    exec(LOSS, scope)
    mu, logvar = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    right = scope["loss"](mu, logvar)
    for name, function in mutants(LOSS, "loss", GLOBALS):
        if name == "line 6: factor x dropped":
            with pytest.raises(AttributeError):
                function(mu, logvar)  # a number has no sum()
            continue
        wrong = function(mu, logvar)
        same = wrong.shape == right.shape and torch.allclose(wrong, right)
        assert same == (name == "gradient cut"), name
        assert wrong.requires_grad == (name not in ("gradient cut", "returns zeros", "returns ones")), name
        with pytest.raises(ValueError, match=r"mu needs 2 rows: got -1\."):  # guard and message are the original's
            function(mu[0, 0], logvar[0, 0])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("x + y", ["+ became -", "summand y dropped", "summand x dropped"]),
        ("x - y", ["- became +", "summand y dropped"]),
        ("x * y", ["* became /", "factor y dropped", "factor x dropped"]),
        ("x / y", ["/ became *", "divisor y dropped"]),
        ("x ** 2", ["power 2 dropped", "2 became 4"]),
        ("-x", ["minus dropped"]),
        ("~x", ["~ dropped"]),
        ("not x", ["not dropped"]),
        ("0.5 * x", ["* became /", "factor x dropped", "factor 0.5 dropped", "0.5 became 1.0"]),
        ("f(0, 0.0, True, 'a', None)", ["0 became 1", "0.0 became 1.0"]),
        ("x.square()", ["square dropped"]),
        ("torch.square(x)", ["square dropped"]),
        ("x.sqrt()", ["sqrt dropped"]),
        ("math.sqrt(x)", ["sqrt dropped"]),
        ("np.exp(x)", ["exp dropped"]),
        ("x.log()", ["log dropped"]),
        ("torch.expm1(x)", ["expm1 became exp"]),
        ("x.log1p()", ["log1p became log"]),
        ("F.softplus(x)", ["softplus dropped"]),
        ("x.pow(3)", ["pow dropped", "3 became 6"]),
        ("x.sum()", ["sum became mean"]),
        ("np.mean(x)", ["mean became sum"]),
        ("sum(x)", []),
        ("max(x, 1)", ["max became min", "1 became 2"]),
        ("torch.minimum(x, y)", ["minimum became maximum"]),
        ("x.amax(1)", ["amax became amin", "axis 1 became 0"]),
        ("torch.cumsum(x, 0)", ["axis 0 became -1"]),
        ("F.softmax(x, -1)", ["axis -1 became 0"]),
        ("torch.exp(x).prod(1)", ["exp dropped", "axis 1 became 0"]),
        ("torch.nn.functional.softmax(x, 2)", ["axis 2 became 0"]),
        ("np.var(x, axis=(0, 1), keepdims=True, ddof=1)", ["axis (0, 1) became 0", "1 became 2"]),
        ("x.norm(2, dim=1)", ["2 became 4", "axis 1 became 0"]),
        ("x.clamp(min=3)", ["clamp min became max", "3 became 6"]),
        ("torch.clamp(x, max=y)", ["clamp max became min"]),
        ("x.clamp(y)", ["clamp min became max"]),
        ("x.clamp(y, x)", []),
        ("torch.where(x, y, 3)", ["where swapped", "3 became 6"]),
        ("x < y", ["< became >"]),
        ("x >= y", [">= became <="]),
        ("x < y <= x", ["< became >", "<= became >="]),
        ("x == y", []),
        ("x[1, -2:, y.argmax(1)]", ["argmax became argmin", "axis 1 became 0"]),
        ("x[x > 3]", ["> became <", "3 became 6"]),
        ("x.reshape(-1, 2).chunk(2, -1)[0].transpose(0, 1)", []),
        ("x.flatten(start_dim=1)", []),
        ("(lambda a=3: a + 1)(f'{x + 1}')", ["+ became -", "summand 1 dropped", "summand a dropped", "1 became 2"]),
        ("x * x", ["* became /", "factor x dropped"]),  # the same twice is one mutant
    ],
)
def test_each_operator(line: str, expected: list[str]) -> None:
    assert changed(line) == expected


def test_what_a_change_does() -> None:
    source = "def f(x, y):\n    x = torch.where(x > 0, x.clamp(min=1), -y)\n    x += y\n    return x\n"
    found = mutants(source, "f", GLOBALS)
    x, y = torch.tensor([-2.0, 0.5]), torch.tensor([5.0, 7.0])
    for name, expected in {
        "line 2: where swapped": [6.0, 0.0],
        "line 2: > became <": [6.0, 0.0],
        "line 2: clamp min became max": [0.0, 7.5],
        "line 2: minus dropped": [10.0, 8.0],
        "line 3: += became -=": [-10.0, -6.0],
        "line 3: summand y dropped": [-5.0, 1.0],
        "input x ignored": [0.0, 0.0],
        "input y ignored": [0.0, 1.0],
        "returns ones": [1.0, 1.0],
        "every row is the first row": [0.0, 0.0],
    }.items():
        assert named(name, found)(x, y).tolist() == expected, name
    assert x.tolist() == [-2.0, 0.5]


def test_guards_annotations_defaults_and_decorators_stay() -> None:
    source = """
def same(n):
    return lambda function: function

@same(1 + 1)
def f(x: "1 + 1", n: int = 2 - 1, *, k=-1) -> "2 * 2":
    assert n < 5, 3 * 4
    if x > 1 and n > 0:
        message = "no " * 3
        raise ValueError(message)
    elif n > 3:
        raise ValueError(1 - 2)
    bound: "1 + 1" = 4
    return bound
"""
    names = [mutant.name for mutant in mutants(source, "f", {})]
    assert names == ["line 13: 4 became 8", "input x ignored", *WRAPPERS]


def test_inputs_without_a_default_are_ignored_one_at_a_time_behind_the_guards() -> None:
    source = """
def check(x):
    if not x.all():
        raise ValueError("zeros")

def f(x, /, n, pair, generator, flag=True, *, k, word="a"):
    '''A docstring.'''
    check(x)
    return x, n, pair, generator, flag, k, word
"""
    found = [mutant for mutant in mutants(source, "f", {}) if mutant.name.startswith("input")]
    assert [mutant.name for mutant in found] == [
        f"input {name} ignored" for name in ("x", "n", "pair", "generator", "k")
    ]
    generator, x = torch.Generator(), np.ones(2)
    results = [mutant.function(x, 1.5, (True, np.float32(2)), generator, k=3) for mutant in found]
    assert results[0][0].tolist() == [0.0, 0.0]
    assert [result[1] for result in results] == [1.5, 0.0, 1.5, 1.5, 1.5]
    assert [result[2] for result in results] == [(True, 2), (True, 2), (False, 0), (True, 2), (True, 2)]
    assert all(result[3] is generator for result in results)  # no number: it stays
    assert [result[5] for result in results] == [3, 3, 3, 3, 0]


class Pair(NamedTuple):
    mean: torch.Tensor
    rest: tuple[Any, ...]


def test_wrappers_keep_the_structure_of_a_result() -> None:
    source = "def f(x, words):\n    return Pair(x + x, (np.arange(3), 7, 0.5, x > 0, [words['y']], 'text', None))\n"
    found = mutants(source, "f", {"np": np, "Pair": Pair})
    x, y = torch.tensor([[1.0], [2.0]], requires_grad=True), np.array([3, 4])
    for name, fill in (("returns zeros", 0), ("returns ones", 1)):
        mean, (array, integer, number, flags, (other,), *rest) = named(name, found)(x, {"y": y})
        assert (mean.tolist(), mean.dtype, mean.requires_grad) == ([[fill], [fill]], torch.float32, False)
        assert (array.tolist(), array.dtype) == ([fill] * 3, np.arange(3).dtype)
        assert (integer, number, type(number), flags.dtype) == (fill, fill, float, torch.bool)
        assert (other.tolist(), rest) == ([fill, fill], ["text", None])
    cut = named("gradient cut", found)(x, {"y": y})
    assert isinstance(cut, Pair)
    assert (cut.mean.tolist(), cut.mean.requires_grad, cut.rest[1]) == ([[2.0], [4.0]], False, 7)
    mixed = named("every row is the first row", found)(x, words={"y": y})
    assert (mixed.mean.tolist(), mixed.mean.requires_grad, mixed.rest[4][0].tolist()) == ([[2.0], [2.0]], True, [3, 3])


def test_methods_of_a_class_that_is_used_are_mutated_and_its_fields_are_not() -> None:
    source = """
class Scale:
    factor = 3

    def __call__(self, x):
        def inner(y):
            return y * self.factor
        return inner(x)

def f(x):
    return Scale()(x)
"""
    found = mutants(source, "f", {})
    assert [mutant.name for mutant in found[:3]] == [
        "line 7: * became /",
        "line 7: factor self.factor dropped",
        "line 7: factor y dropped",
    ]
    assert [mutant.function(6) for mutant in found[:3]] == [2, 6, 3]


def test_mutants_share_no_globals() -> None:
    namespace: dict[str, Any] = {"offset": 1}
    source = "calls = 0\n\ndef f(x):\n    global calls\n    calls += 1\n    return x + offset, calls\n"
    found = mutants(source, "f", namespace)
    assert namespace == {"offset": 1}
    minus = named("line 6: + became -", found)
    assert [minus(1), minus(1)] == [(0, 1), (0, 2)]
    assert named("line 6: summand x dropped", found)(5) == (1, 1)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("def f(x:\n", r"^The source of f is not Python: .+\.$"),
        ("return 1\n", r"^The source of f is not Python: 'return' outside function"),
        ("f = 1\n", r"^The source does not define a function f at its top level\.$"),
        ("def g():\n    def f(x):\n        return x\n", "does not define a function f"),
    ],
)
def test_a_source_without_the_function_is_refused(source: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        mutants(source, "f", {})
