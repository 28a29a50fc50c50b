"""Wrong answers that nobody thought of: a right answer with one small change each, for a check to refuse.

    for mutant in mutants(source, "mixture_mean", {"torch": torch}):
        assert not passes(mutant.function), mutant.name

A mutant is called like the answer it was made of. It may raise where that one does not, or never return.
"""

from __future__ import annotations

import ast
import builtins
import copy
import functools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch

PAIRS = [(ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.Lt, ast.Gt), (ast.LtE, ast.GtE)]
OPPOSITE: dict[type, Any] = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])}
SYMBOL = dict(zip(OPPOSITE, ["+", "-", "*", "/", "<", ">", "<=", ">="], strict=True))
PART = {ast.Add: "summand", ast.Sub: "summand", ast.Mult: "factor", ast.Div: "divisor"}
UNARY = {ast.USub: "minus", ast.Invert: "~", ast.Not: "not"}
TWINS = {name: name.replace("max", "min") for name in ("amax", "argmax", "clamp_max", "max", "maximum")}
TWINS["sum"] = "mean"
RENAMED = TWINS | {b: a for a, b in TWINS.items()} | {"expm1": "exp", "log1p": "log"}
DROPPED = {"abs", "exp", "log", "pow", "relu", "sigmoid", "softplus", "sqrt", "square", "tanh"}
AXIS_FIRST = re.compile(  # functions whose first number is an axis
    "a?(max|min)|all|any|arg(max|min)|cat|concatenate|cum(prod|sum)|expand_dims|flip|(log_)?softmax|logsumexp|mean|"
    "median|prod|stack|std|sum|(un)?squeeze|var"
)
LAYOUT = re.compile(  # functions and keywords whose numbers are axes, indices or sizes: no part of a formula
    "axes|broadcast_to|chunk|diff|(start_|end_)dim|dim[01s]|expand|(un)?flatten|gather|index_select|move(axis|dim)|narrow|"
    "permute|repeat|reshape|roll|select|size|split|swapaxes|take_along_axis|tile|transpose|unbind|view"
)
KEPT_FIELDS = {"annotation", "decorator_list", "defaults", "kw_defaults", "returns"}
KEPT_NODES = (ast.Assert, ast.JoinedStr, ast.Raise)
Change = tuple[str, ast.AST, ast.AST]  # name, old part, new part


class Mutant(NamedTuple):
    """A changed function, and its change: ``line 4: + became -``, ``input mu ignored``, ``returns zeros``."""

    name: str
    function: Callable[..., Any]


def mutants(source: str, function: str, namespace: Mapping[str, Any]) -> list[Mutant]:
    """Mutants of ``function`` and of the helpers in ``source`` that it uses, in a fixed order and with unique names.

    ``namespace`` holds the globals that the source uses; each mutant runs in a shallow copy of its own. Defaults,
    messages and guards (``if ...: raise``) stay. Raises ValueError when the source is not Python or does not define
    the function at its top level, and what the source itself raises when it runs.
    """
    try:
        tree = ast.parse(source)
        compile(source, "source", "exec", dont_inherit=True)  # sees what the parser lets pass: a stray return
    except SyntaxError as error:
        raise ValueError(f"The source of {function} is not Python: {error}.") from error
    named = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    if not named:
        raise ValueError(f"The source does not define a function {function} at its top level.")

    def load(changed: Any) -> dict[str, Any]:
        scope = {**namespace, "zeros_for_a_mutant": functools.partial(_mapped, _zeros)}
        exec(compile(ast.fix_missing_locations(changed), f"<{function}>", "exec", dont_inherit=True), scope)
        return scope

    scope = load(tree)
    modules = {name for name, value in scope.items() if isinstance(value, ModuleType)}
    changes = [change for node in _used(tree, function) for part in node.body for change in _changes(part, "", modules)]
    seen, found = {ast.dump(tree)}, list[Mutant]()
    for name, old, new in [*changes, *_ignoring(named[-1])]:
        changed = _replaced(tree, old, new)
        if ast.dump(changed) not in seen:
            seen.add(ast.dump(changed))
            found.append(Mutant(name, load(changed)[function]))
    found += _wrappers(scope[function])
    times = Counter[str]()
    for i, (name, _) in enumerate(found):
        times[name] += 1
        if times[name] > 1:
            found[i] = found[i]._replace(name=f"{name} ({times[name]})")
    return found


def _used(tree: ast.Module, function: str) -> list[ast.FunctionDef]:
    """The function, what it names, what that names, and so on: a mutant of anything else would be no mutant of it."""
    names, before = {function}, 0
    while before < len(names):
        before = len(names)
        parts = [part for part in tree.body if getattr(part, "name", None) in names]
        names |= {node.id for part in parts for node in ast.walk(part) if isinstance(node, ast.Name)}
    return [node for part in parts for node in ast.walk(part) if isinstance(node, ast.FunctionDef)]


def _changes(node: Any, role: str, modules: Collection[str]) -> Iterator[Change]:
    """All changes to ``node`` and below it. Its role: an "axis", "fixed" (no number in it may change), or none."""
    if isinstance(node, KEPT_NODES):
        return
    for name, new in _variants(node, role, modules):
        yield f"line {node.lineno}: {name}", node, new
    for field, value in ast.iter_fields(node):
        if field in KEPT_FIELDS or (_is_guard(node) and field != "orelse"):
            continue
        for child in value if isinstance(value, list) else [value]:
            # A function in a function was found by mutants() already, and a class says nothing outside its methods.
            if isinstance(child, ast.AST) and not isinstance(child, ast.FunctionDef | ast.ClassDef):
                yield from _changes(child, _role(child, node, role, modules), modules)


def _role(child: ast.AST, parent: ast.AST, role: str, modules: Collection[str]) -> str:
    """The role of ``child``, given that of its parent."""
    match parent:
        case ast.Subscript(_, index):
            return "fixed" if child is index else role
        case ast.keyword(name):
            return "axis" if name in ("axis", "dim") else "fixed" if LAYOUT.fullmatch(name or "") else ""
        case ast.Call(called):
            name, _, others = _call(parent, modules)
            builtin = isinstance(called, ast.Name) and hasattr(builtins, name)  # max(n, 1) has no axis
            if child in others[:1] and AXIS_FIRST.fullmatch(name) and not builtin:
                return "axis" if isinstance(child, ast.Constant | ast.Tuple | ast.UnaryOp) else ""
            return "fixed" if child in others and LAYOUT.fullmatch(name) else ""
        case ast.Compare():
            return ""  # the 0 of x[x > 0] is no index
    return "fixed" if role else ""


def _variants(node: ast.AST, role: str, modules: Collection[str]) -> Iterator[tuple[str, ast.AST]]:
    """What ``node`` itself may become, and what that is called."""
    if role == "axis":
        axis = -1 if _text(node) == "0" else 0
        yield f"axis {_text(node)} became {axis}", ast.Constant(axis)
    match node:
        case ast.BinOp(a, ast.Pow(), b):
            yield f"power {_text(b)} dropped", a
        case ast.BinOp(a, operator, b) if opposite := OPPOSITE.get(kind := type(operator)):
            yield f"{SYMBOL[kind]} became {SYMBOL[opposite]}", ast.BinOp(a, opposite(), b)
            yield f"{PART[kind]} {_text(b)} dropped", a
            if kind in (ast.Add, ast.Mult):
                yield f"{PART[kind]} {_text(a)} dropped", b
        case ast.AugAssign(a, operator, b) if opposite := OPPOSITE.get(kind := type(operator)):
            yield f"{SYMBOL[kind]}= became {SYMBOL[opposite]}=", ast.AugAssign(a, opposite(), b)
            yield f"{PART[kind]} {_text(b)} dropped", ast.Pass()
        case ast.UnaryOp(operator, a) if not role and type(operator) in UNARY:
            yield f"{UNARY[type(operator)]} dropped", a
        case ast.Constant(int() | float() as value) if not role and not isinstance(value, bool):
            double = type(value)(2 * value or 1)
            yield f"{value} became {double}", ast.Constant(double)
        case ast.Compare(a, operators, others):
            for i, kind in enumerate(map(type, operators)):
                if opposite := OPPOSITE.get(kind):
                    flipped = [*operators[:i], opposite(), *operators[i + 1 :]]
                    yield f"{SYMBOL[kind]} became {SYMBOL[opposite]}", ast.Compare(a, flipped, others)
        case ast.Call(called, arguments, keywords):
            name, operand, others = _call(node, modules)
            if name in DROPPED and operand:
                yield f"{name} dropped", operand
            if name in RENAMED and (isinstance(called, ast.Attribute) or name in ("max", "min")):
                renamed: Any = copy.copy(called)
                renamed.attr = renamed.id = RENAMED[name]  # an Attribute has the one, a Name the other
                yield f"{name} became {RENAMED[name]}", ast.Call(renamed, arguments, keywords)
            if name == "where" and operand in arguments and len(others) == 2:
                yield "where swapped", ast.Call(called, [arguments[0], *reversed(others)], keywords)
            bounds = dict(zip(("min", "max"), others, strict=False)) | {word.arg: word.value for word in keywords}
            if name in ("clamp", "clip") and bounds.keys() in ({"min"}, {"max"}):
                old, new = ("min", "max") if "min" in bounds else ("max", "min")
                first = [argument for argument in arguments if argument is operand]
                yield f"{name} {old} became {new}", ast.Call(called, first, [ast.keyword(new, bounds[old])])


def _call(node: ast.Call, modules: Collection[str]) -> tuple[str, ast.expr | None, list[ast.expr]]:
    """The name, what it acts on and the other arguments: sum, x and [0] for x.sum(0) and for torch.sum(x, 0)."""
    root = owner = getattr(node.func, "value", None)
    while isinstance(root, ast.Attribute):
        root = root.value
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if owner is None or getattr(root, "id", None) in modules:
        return name, node.args[0] if node.args else None, node.args[1:]
    return name, owner, node.args


def _ignoring(function: ast.FunctionDef) -> Iterator[Change]:
    """Zeros for one input each: after the guards at the top, which would refuse them."""
    given = function.args
    names = [*given.posonlyargs, *given.args]
    names = names[: len(names) - len(given.defaults)]
    names += [word for word, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default is None]
    # A statement that is a bare call is a guard too: _check(mu, sigma).
    passed = [_is_guard(part) or isinstance(part, ast.Expr) for part in function.body]
    start = [*passed, False].index(False)
    for name in names:
        zeros = ast.parse(f"{name.arg} = zeros_for_a_mutant({name.arg})").body
        changed = copy.copy(function)
        changed.body = [*function.body[:start], *zeros, *function.body[start:]]
        yield f"input {name.arg} ignored", function, changed


def _is_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise)


def _replaced(node: Any, old: ast.AST, new: ast.AST) -> Any:
    """A copy of the tree at ``node`` that has ``new`` where ``old`` was, and shares the rest."""
    if node is old:
        return new
    if isinstance(node, list):
        return [_replaced(child, old, new) for child in node]
    if not isinstance(node, ast.AST):
        return node
    copied = copy.copy(node)
    for field, value in ast.iter_fields(node):
        setattr(copied, field, _replaced(value, old, new))
    return copied


def _text(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 40 else text[:37] + "..."


def _wrappers(original: Callable[..., Any]) -> Iterator[Mutant]:
    """The mutants that are made around the original and not within it."""

    def after(change: Callable[[Any], Any]) -> Callable[..., Any]:
        return functools.wraps(original)(lambda *args, **words: _mapped(change, original(*args, **words)))

    @functools.wraps(original)
    def mixed_up(*args: Any, **words: Any) -> Any:
        return original(*_mapped(_first_rows, args), **_mapped(_first_rows, words))

    yield Mutant("returns zeros", after(_zeros))
    yield Mutant("returns ones", after(functools.partial(_zeros, fill=1)))
    yield Mutant("gradient cut", after(lambda value: value.detach() if isinstance(value, torch.Tensor) else value))
    yield Mutant("every row is the first row", mixed_up)


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """``value`` with each tensor, array and number in it changed; what is none of them stays."""
    if isinstance(value, torch.Tensor | np.ndarray | np.generic | int | float | complex):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(change, item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [_mapped(change, item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def _zeros(value: Any, fill: int = 0) -> Any:
    """A tensor, an array or a number like ``value``, with nothing but ``fill`` in it and without a gradient."""
    if isinstance(value, torch.Tensor):
        return torch.full_like(value, fill)
    return np.full_like(value, fill) if isinstance(value, np.ndarray) else type(value)(fill)


def _first_rows(value: Any) -> Any:
    """The first row of a tensor or an array in place of each of its rows."""
    return value[[0] * len(value)] if getattr(value, "ndim", 0) and len(value) > 1 else value
