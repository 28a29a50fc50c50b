"""Checked derivations: what is equal under assumptions and what is not, which term is named, and nothing hangs."""

import random
import time
from dataclasses import replace
from typing import Any

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from wmcourse.lessons import derivation
from wmcourse.lessons.derivation import Step, card, differing_terms, draw, equal, proved, simplify
from wmcourse.lessons.errors import CheckFailed, NotAttempted, WrongAnswer
from wmcourse.lessons.exercise import Mistake

x, y = sp.symbols("x y", real=True)
p, q = sp.symbols("p q", positive=True)
n = sp.Symbol("n", integer=True)
negative, nonnegative = sp.Symbol("negative", negative=True), sp.Symbol("nonnegative", nonnegative=True)
nonpositive, natural = sp.Symbol("nonpositive", nonpositive=True), sp.Symbol("natural", integer=True, positive=True)
any_number = sp.Symbol("any_number")
f = sp.Function("f")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (sp.sqrt(p**2), p),
        (sp.sqrt(x**2), sp.Abs(x)),
        (sp.log(p * q), sp.log(p) + sp.log(q)),
        (sp.log(p**2), 2 * sp.log(p)),
        (sp.log(p / q), -sp.log(q / p)),
        (sp.sin(x) ** 2 + sp.cos(x) ** 2, 1),
        (sp.tanh(x), (sp.exp(2 * x) - 1) / (sp.exp(2 * x) + 1)),
        (sp.erf(x) + sp.erfc(x), 1),
        (sp.Piecewise((x, x > 0), (-x, True)), sp.Abs(x)),
        (sp.Abs(negative), -negative),
        (sp.Abs(nonpositive), -nonpositive),
        (sp.Abs(nonnegative), nonnegative),
        (sp.sin(sp.pi * n), 0),
        ((-1) ** n, sp.cos(sp.pi * n)),
        (sp.Abs(natural), natural),
        (0.5 * x, x / 2),
        (x * (1 / 3), x / 3),
        (0.1 + 0.2, sp.Rational(3, 10)),
        (sp.exp(x * (1 / 3)), sp.exp(x / 3)),
        (sp.exp(-0.1 * x**2), sp.exp(-(x**2) / 10)),
        (2, 2.0),
        (0.9189385332046727, sp.log(2 * sp.pi) / 2),
        (sp.sqrt(2) * sp.sqrt(3), sp.sqrt(6)),
        ((x + y) ** 2, x**2 + 2 * x * y + y**2),
    ],
)
def test_equal(a: Any, b: Any) -> None:
    assert equal(a, b) in ("symbolically", "at random points")
    assert equal(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (sp.sqrt(x**2), x),
        (sp.log(x * y), sp.log(x) + sp.log(y)),
        (sp.log(x**2), 2 * sp.log(x)),
        (sp.sqrt(any_number**2), any_number),
        (sp.Abs(n), n),
        (sp.Abs(nonpositive), nonpositive),
        ((-1) ** n, 1),
        (0.333 * x, x / 3),
        (0.9189, sp.log(2 * sp.pi) / 2),
        (x, x + sp.Rational(1, 10**12)),
        (sp.Max(x, 3), 3),  # the same where most points are
        (sp.Max(x, 0), x),
        (sp.sign(x - 50), -1),
        (sp.Mod(x, 100), x),
        (sp.floor(x), x),
        (sp.log(-p), sp.log(p)),
        (sp.I * x, x),
        (1, 2),
        (0, p),
    ],
)
def test_not_equal(a: Any, b: Any) -> None:
    assert equal(a, b) == ""
    assert equal(b, a) == ""


class Touchy(sp.Function):
    """Not to be asked for a number."""

    @classmethod
    def eval(cls, argument: sp.Expr) -> None:
        if argument.is_number:
            raise ValueError("no")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Touchy(x), x),
        (sp.nan, x),
        (sp.nan, sp.nan),
        (sp.zoo, x),
        (sp.oo, x),
        (sp.oo, sp.oo),
        (f(x), x),
        (sp.Matrix([x]), sp.Matrix([x + 1])),
        (sp.Piecewise((x, sp.Eq(x, 77))), x),
        (1 / (x - x.subs(x, x) + sp.Mul(0, x, evaluate=False)), x),
    ],
)
def test_undecided_is_not_equal(a: Any, b: Any) -> None:
    verdict = equal(a, b)
    assert verdict is None
    assert not verdict


def test_where_sympy_gives_up_numbers_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    def gives_up(e: sp.Expr) -> sp.Expr:
        raise NotImplementedError

    monkeypatch.setattr(sp, "simplify", gives_up)
    assert simplify(x) is x
    assert equal(sp.sin(x) ** 2 + sp.cos(x) ** 2, 1) == "at random points"
    assert equal(sp.sin(x) ** 2 + sp.cos(x) ** 2, 2) == ""


@pytest.mark.parametrize("symbol", [x, p, n, negative, nonnegative, nonpositive, natural, any_number])
def test_points_keep_to_what_the_symbols_are(symbol: sp.Symbol) -> None:
    rng = random.Random(0)
    values = [draw(symbol, rng) for _ in range(200)]
    for name in ("positive", "negative", "nonnegative", "nonpositive", "integer", "real"):
        if getattr(symbol, f"is_{name}"):
            assert all(getattr(value, f"is_{name}") for value in values)
    assert len(set(values)) > 20
    assert any(abs(value) > 20 for value in values)


# --- Given steps


def test_a_true_equation_is_shown_as_it_stands() -> None:
    note = proved(sp.Derivative(p**2, p), 2 * p, "by the power rule")
    assert note == "$$ \\frac{d}{d p} p^{2} \\;=\\; 2 p $$\n\n✓ checked symbolically. &nbsp; by the power rule"
    gauss = proved(sp.Integral(sp.exp(-(x**2)), (x, -sp.oo, sp.oo)), sp.sqrt(sp.pi))
    assert "\\int" in gauss
    assert gauss.endswith("✓ checked symbolically.")
    assert "at random points" in proved(sp.tanh(x), (sp.exp(2 * x) - 1) / (sp.exp(2 * x) + 1))
    assert "checked" in proved(2, sp.Integer(2))
    assert "checked" in proved("a + a", "2*a")


def test_a_long_sum_is_set_in_rows() -> None:
    total = x + x**2 + x**3 - x**4
    note = proved(total, sp.factor(total), terms=2)
    left, _ = note.split("&", 1)[1].split(r"\;=\;")
    rows = left.split(r"\\")
    assert len(rows) == 3  # two of two terms, and the right side's
    assert "- x^{4}" in rows[0]
    assert rows[1].strip().startswith(r"[1ex] & \quad + x^{2}")


@pytest.mark.parametrize(
    ("left", "right", "words"),
    [
        (x, x + 1, "not equal"),
        (sp.Derivative(x**2, x), x, "not equal"),
        (sp.log(x**2), 2 * sp.log(x), "not equal"),
        (f(x), x, "not known to be equal"),
        (sp.nan, sp.nan, "not known to be equal"),
        (sp.Integral(f(x), (x, 0, 1)), p, "not known to be equal"),
    ],
)
def test_a_false_equation_is_refused(left: Any, right: Any, words: str) -> None:
    with pytest.raises(CheckFailed, match=f"The two sides are {words}"):
        proved(left, right)


def test_the_card_is_a_table_of_formulas() -> None:
    formula = sp.Eq(sp.Symbol(r"\mathrm{KL}"), x / 2, evaluate=False)
    rows = card({"a half": formula, "another": formula}).splitlines()
    assert rows[:2] == ["| | |", "|---|---|"]
    assert rows[2] == r"| a half | $\displaystyle \mathrm{KL} = \frac{x}{2}$ |"
    assert len(rows) == 4


# --- Steps of the learner's own


EXPECTED = x**2 / 2 + p * sp.log(p) - 1
STEP = Step(
    "cost", "What it costs", 5, 2, ("first", "second"),
    (
        Mistake("the ½ is missing", EXPECTED + x**2 / 2, "It is a half."),
        Mistake("a strange q", EXPECTED + q, "No q here.", "q"),
    ),
    (), expected=EXPECTED, assumptions="x real, p, q > 0",
)  # fmt: skip


def said(answer: Any, kind: type[CheckFailed] = WrongAnswer, step: Step = STEP) -> str:
    with pytest.raises(kind) as failure:
        step.check(answer)
    assert type(failure.value) is kind
    return str(failure.value)


@pytest.mark.parametrize(
    "answer",
    [
        EXPECTED,
        (x**2 - 2) / 2 + p * sp.log(p),
        0.5 * x**2 - 1.0 + p * sp.log(p),
        x**2 / 2 - p * sp.log(1 / p) - sp.sin(q) ** 2 - sp.cos(q) ** 2,
        sp.Add(EXPECTED, sp.Mul(2, sp.Integer(3), evaluate=False), -6, evaluate=False),
    ],
)
def test_right_answers_pass(answer: Any) -> None:
    note = STEP.check(answer)
    assert note.startswith("✓ **cost.** Equal to the course's result, compared ")
    assert note.endswith("for x real, p, q > 0.")
    assert STEP.check(answer, seed=3) == note


@pytest.mark.parametrize("answer", [None, ...])
def test_a_stub_is_not_attempted(answer: Any) -> None:
    assert said(answer, NotAttempted) == "○ cost: not attempted yet. Stuck? steps.cost.hint()"


@pytest.mark.parametrize(
    "answer", [True, "x", [x], (x,), {}, 1j, lambda: x, sp.Matrix([x]), sp.Eq(x, 1), x < 1, sp.true, f, sp.Poly(x, x)]
)
def test_what_is_no_expression_is_told_so(answer: Any) -> None:
    text = said(answer)
    assert text == f"✗ cost: a step is a sympy expression such as `mu**2 / 2`, not {type(answer).__name__}."


@pytest.mark.parametrize(
    "answer",
    [
        sp.Integral(x, (x, 0, p)),
        1 + sp.Derivative(f(x), x),
        sp.Sum(p**natural, (natural, 0, sp.oo)),
        sp.Limit(sp.sin(x) / x, x, 0),
    ],
)
def test_what_is_not_done_is_no_answer(answer: Any) -> None:
    assert said(answer) == f"✗ cost: there is something left to do in {answer}. Write the result."


def test_other_symbols_are_strangers() -> None:
    assert said(sp.Symbol("z") + x) == "✗ cost: not of this step: z. Write it with p, x."
    twin = said(sp.Symbol("x") ** 2 / 2)
    assert "not of this step: x. It has the right name, but was made anew: use the lesson's own" in twin


def test_an_average_is_missed_only_where_something_random_is_left() -> None:
    of = "Write it with p, x."
    drawn, noise = sp.symbols("z epsilon", real=True)
    assert said(x + drawn) == f"✗ cost: not of this step: z. z is random: is an average left to take? {of}"
    assert "epsilon, z. epsilon and z are random: is an average" in said(x + drawn * noise)
    assert said(sp.exp(p) * f(sp.Symbol("e"))) == f"✗ cost: not of this step: e. {of}"  # a function averages nothing
    kick = sp.Symbol("w", real=True)
    of_its_own = replace(STEP, random=(kick,))
    assert "w is random" in said(x + kick, step=of_its_own)
    assert "random" not in said(x + drawn, step=of_its_own)


@pytest.mark.parametrize("answer", [sp.nan, sp.zoo, sp.oo, -sp.oo, float("nan"), float("inf"), x - sp.oo])
def test_no_answer_is_infinite(answer: Any) -> None:
    assert "is not it: the result is finite" in said(answer)


@pytest.mark.parametrize("answer", [f(x), sp.O(x**2)])
def test_what_cannot_be_decided_does_not_pass(answer: Any) -> None:
    assert "the machine could not decide whether this is equal, and undecided is not right" in said(answer)


@pytest.mark.parametrize(
    "answer",
    [
        sp.sin(sum(sp.sqrt(x**2 + k) for k in range(12))) ** 40,
        sp.exp(sp.exp(sp.exp(sp.exp(100 * p)))),
        (p + x + 1) ** 150,
        sp.factorial(10**6 * p),
    ],
)
def test_what_takes_for_ever_is_given_up(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derivation, "SECONDS", 0.5)
    started = time.monotonic()
    assert said(answer) == "✗ cost: comparing took too long. Write it more simply."
    assert time.monotonic() - started < 5


def test_what_is_too_deep_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_deep(answer: sp.Expr, expected: sp.Expr) -> None:
        raise RecursionError

    monkeypatch.setattr(derivation, "equal", too_deep)
    assert "comparing took too long" in said(x)


def test_a_known_mistake_is_named_in_whatever_way_it_is_written() -> None:
    for answer in (EXPECTED + x**2 / 2, x**2 + p * sp.log(p) - 1, x**2 - 1 - p * sp.log(1 / p)):
        with pytest.raises(WrongAnswer) as failure:
            STEP.check(answer)
        assert failure.value.mistake == "the ½ is missing"
        assert "this is a mistake that has a name: the ½ is missing.\n\nIt is a half.\n\n  yours" in str(failure.value)
        assert "  term      x**2 is 2 times what it should be\n" in str(failure.value)
    with pytest.raises(WrongAnswer) as failure:
        STEP.check(EXPECTED + 2 * q)
    assert failure.value.mistake is None
    text = "✗ cost: not yet.\n\n  yours     {}\n  term      2*q does not belong here\n  assuming  x real, p, q > 0\n\n"
    assert str(failure.value) == text.format(EXPECTED + 2 * q) + "Stuck? steps.cost.hint()"


def test_numbers_are_judged_as_expressions() -> None:
    assert "term      3 is not the right constant" in said(3)
    assert "term      2.5" in said(2.5)
    assert "yours     0\n  missing   " in said(0)
    assert "complex" not in said(sp.I)


def test_what_a_step_says_about_itself() -> None:
    assert STEP.about == "●●○ · 5 minutes · `steps.cost.hint()`"
    assert repr(STEP) == "What it costs: steps.cost.check(…), .hint(), .solution()"
    assert STEP.hint(2).startswith("**Hint 2 of 2.** second")
    assert STEP.solution().startswith("```python\ncost = p*sp.log(p) + x**2/2 - 1\n```\n\n$$ ")
    assert STEP.mistakes["a strange q"] == (EXPECTED + q, "q")


# --- Which term


ATOMS = [x, y, p, q, x**2, x * y, y**3, sp.log(p), sp.log(q), sp.exp(x), x / p, y**2 / (2 * q**2), sp.Integer(1)]
COEFFICIENTS = st.builds(sp.Rational, st.integers(-12, 12).filter(bool), st.integers(1, 4))
SUMS = st.lists(st.tuples(COEFFICIENTS, st.sampled_from(ATOMS)), min_size=2, max_size=5, unique_by=lambda t: str(t[1]))


@settings(max_examples=25)
@given(SUMS, st.data())
def test_the_one_term_that_is_wrong_is_named_and_no_other(terms: list[tuple[Any, Any]], data: st.DataObject) -> None:
    terms_ = [c * atom for c, atom in terms]
    i = data.draw(st.integers(0, len(terms_) - 1))
    term, rest = terms_[i], sum(terms_[:i] + terms_[i + 1 :])
    expected = rest + term
    (term,) = sp.Add.make_args(sp.expand(term))
    assert differing_terms(rest - term, expected) == [f"term      {-term} has the wrong sign"]
    constant = term.is_number
    scaled = "is not the right constant" if constant else "is 3 times what it should be"
    assert differing_terms(rest + 3 * term, expected) == [f"term      {3 * term} {scaled}"]
    names = ", ".join(sorted(map(str, term.free_symbols)))
    missing = [f"missing   a term in {names}" if names else "missing   a constant"]
    assert differing_terms(rest, expected) == missing
    stranger = p**7 * sp.exp(y)
    assert differing_terms(expected + stranger, expected) == [f"term      {stranger} does not belong here"]
    assert differing_terms(expected, expected) == []


@settings(max_examples=15)
@given(SUMS, SUMS)
def test_any_two_sums_can_be_told_apart(a: list[tuple[Any, Any]], b: list[tuple[Any, Any]]) -> None:
    """No crash, and what is said is true: with the terms put right as told, both are equal."""
    mine, theirs = (sum(c * atom for c, atom in terms) for terms in (a, b))
    lines = differing_terms(mine, theirs)
    assert bool(lines) == (sp.expand(mine - theirs) != 0)
    terms = list(sp.Add.make_args(sp.expand(mine)))
    for line in lines:
        if line.startswith("term"):
            assert any(line.startswith(f"term      {term} ") for term in terms)


@pytest.mark.parametrize(
    ("answer", "expected", "lines"),
    [
        (5, 0, ["term      5 does not belong here"]),
        (0, 5, ["missing   a constant"]),
        (0, x, ["missing   a term in x"]),
        (sp.Integer(0), sp.Integer(0), []),
        (-1, 1, ["term      -1 has the wrong sign"]),
        (sp.log(p / q), sp.log(p * q), ["term      -log(q) has the wrong sign"]),
        (x, y, ["term      x does not belong here", "missing   a term in y"]),
        (sp.zoo, x, ["term      zoo does not belong here", "missing   a term in x"]),
    ],
)
def test_differing_terms_at_the_edges(answer: Any, expected: Any, lines: list[str]) -> None:
    assert differing_terms(sp.sympify(answer), sp.sympify(expected)) == lines
