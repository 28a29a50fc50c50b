"""Derivations that the machine checks: the given steps in front of the learner, and the learner's own.

A learner's step is a sympy expression. It is compared under the assumptions that its symbols carry: first
symbolically, then, where simplification does not decide, at random points in 30 digits. "Undecided" is never "true".
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import sympy as sp

from wmcourse.lessons.errors import CheckFailed, NotAttempted, Note, WrongAnswer
from wmcourse.lessons.exercise import Task
from wmcourse.lessons.judge import SECONDS, OutOfTime, limited, short

POINTS, DIGITS = 12, 30
Z, MU = sp.symbols("z mu", real=True)
SIGMA = sp.Symbol("sigma", positive=True)
DRAWN = (Z, sp.Symbol("epsilon", real=True))  # what lessons call a random number, unless a step says otherwise


def normal(z: sp.Expr, mu: sp.Expr, sigma: sp.Expr) -> sp.Expr:
    """The density N(z; mu, sigma²), where ``sigma`` is the standard deviation."""
    return sp.exp(-((z - mu) ** 2) / (2 * sigma**2)) / (sigma * sp.sqrt(2 * sp.pi))


def log_normal(z: sp.Expr, mu: sp.Expr, sigma: sp.Expr) -> sp.Expr:
    """Its logarithm in nats, written out: sympy need not find out that log exp x is x."""
    return -((z - mu) ** 2) / (2 * sigma**2) - sp.log(sigma) - sp.log(2 * sp.pi) / 2


def expectation(f: sp.Expr, mu: sp.Expr = MU, sigma: sp.Expr = SIGMA, z: sp.Symbol = Z) -> sp.Integral:
    """E[f(z)] for z ~ N(mu, sigma²): the integral, not done yet (``.doit()`` does it, ``proved`` too).

    The symbols are by default the lessons' own: z and mu real, sigma positive.
    """
    return sp.Integral(normal(z, mu, sigma) * f, (z, -sp.oo, sp.oo))


class Verdict(str):
    """How two expressions were found equal, or "" when they are not."""


def equal(a: sp.Expr, b: sp.Expr) -> Verdict | None:
    """ "symbolically", "at random points", "" (not equal), or None: it could not be decided."""
    difference = sp.sympify(a) - sp.sympify(b)
    if sp.expand(difference) == 0:
        return Verdict("symbolically")
    decided = 0
    for small in differences(a, b):  # before simplifying, which takes its time: most wrong ones differ at once
        if small is False:
            return Verdict("")
        decided += small is True
    if difference.free_symbols and simplify(difference) == 0:
        return Verdict("symbolically")
    return Verdict("at random points") if decided >= POINTS else None


def simplify(e: sp.Expr) -> sp.Expr:
    """As simple as sympy can make it."""
    try:
        return sp.simplify(sp.expand_log(sp.expand(e)))
    except Exception:  # there are many ways in which sympy gives up; numbers may still decide
        return e


def differences(a: sp.Expr, b: sp.Expr) -> Iterator[bool | None]:
    """At random points that respect the symbols' assumptions: is the difference small? None where there is no value."""
    symbols = sorted((sp.sympify(a).free_symbols | sp.sympify(b).free_symbols), key=str)
    rounded = sp.sympify(a).has(sp.Float) or sp.sympify(b).has(sp.Float)  # such as 0.1, which is not quite a tenth
    rng, near = random.Random(0), sp.Float(10) ** (-9 if rounded else -15)
    for _ in range(4 * POINTS):
        point = {s: draw(s, rng) for s in symbols}
        try:
            left, right = (sp.sympify(e).subs(point).doit().evalf(DIGITS) for e in (a, b))
            if not (left.is_number and right.is_number and left.is_finite and right.is_finite):
                yield None
                continue
            yield bool(abs(left - right) <= near * (1 + abs(right)))
        except Exception:  # as above
            yield None


def draw(symbol: sp.Symbol, rng: random.Random) -> sp.Expr:
    """Mostly near 1, where most functions are at home, and at times far away."""
    value = sp.Rational(rng.randint(100, 2500), rng.choice((10, 1000, 1000)))
    value = sp.ceiling(value) if symbol.is_integer else value
    if symbol.is_nonnegative:
        return value
    return -value if symbol.is_nonpositive or rng.random() < 0.5 else value


def proved(left: Any, right: Any, because: str = "", terms: int = 0) -> Note:
    """A given step: shown as an equation once the machine has found both sides equal. Raises CheckFailed otherwise.

    ``left`` may hold integrals and derivatives that are not done yet: they are done for the comparison, not shown so.
    With ``terms`` a long sum on the left is set in rows of so many, and the right side in a row of its own.
    """
    how = equal(sp.sympify(left).doit(), sp.sympify(right).doit())
    if not how:
        raise CheckFailed(f"✗ The two sides are {'not equal' if how is not None else 'not known to be equal'}.")
    because = f" &nbsp; {because}" if because else ""
    equation = f"{latex(left)} \\;=\\; {latex(right)}"
    if terms:
        equation = f"\\begin{{aligned}} & {in_rows(left, terms)} \\\\[1ex] & \\;=\\; {latex(right)} \\end{{aligned}}"
    return Note(f"$$ {equation} $$\n\n✓ checked {how}.{because}")


def in_rows(total: Any, terms: int) -> str:
    """A sum for an ``aligned`` environment, so many terms in a row."""
    parts = [latex(term) for term in sp.sympify(total).as_ordered_terms()]
    signed = [part if part.startswith("-") or i == 0 else f"+ {part}" for i, part in enumerate(parts)]
    rows = [" ".join(signed[i : i + terms]) for i in range(0, len(signed), terms)]
    return r" \\[1ex] & \quad ".join(rows)


def latex(expression: Any) -> str:
    """As sympy sets it, but names such as logvar upright."""
    symbols = getattr(expression, "free_symbols", ())
    return sp.latex(expression, symbol_names={s: rf"\mathrm{{{s}}}" for s in symbols if str(s) in ("logvar", "logits")})


@dataclass(eq=False, repr=False)
class Step(Task):
    """A step of the learner's own: ``expected`` in the lesson's symbols. ``known`` mistakes are expressions."""

    expected: sp.Expr = field(kw_only=True)
    assumptions: str = field(kw_only=True)  # in words, such as "μ real, σ > 0"
    random: tuple[sp.Symbol, ...] = field(default=DRAWN, kw_only=True)  # what a result is to be averaged over

    @property
    def call(self) -> str:
        return f"steps.{self.name}"

    def solution(self) -> Note:
        names = {part.func.__name__ for part in self.expected.atoms(sp.Function)} | {"sqrt", "pi"}
        code = re.sub(rf"\b({'|'.join(sorted(names))})\b", r"sp.\1", str(self.expected))  # as notebooks import them
        return Note(f"```python\n{self.name} = {code}\n```\n\n$$ {latex(self.expected)} $$")

    def check(self, answer: Any, seed: int | None = None) -> Note:
        """Judge an expression. Returns how it was compared; raises NotAttempted or WrongAnswer, naming the term."""
        try:
            how = self.judge(answer)
        except CheckFailed as failure:
            raise failure.with_traceback(None) from None
        return self.done(None, f"Equal to the course's result, compared {how}, for {self.assumptions}.")

    def judge(self, answer: Any, seed: int | None = None) -> str:
        if self.untouched(answer):
            raise NotAttempted(f"○ {self.name}: not attempted yet. Stuck? {self.call}.hint()")
        if isinstance(answer, (bool, str)) or not isinstance(answer, (sp.Expr, int, float)):
            raise WrongAnswer(
                f"✗ {self.name}: a step is a sympy expression such as `mu**2 / 2`, not {type(answer).__name__}."
            )
        answer = sp.sympify(answer)
        if answer.has(sp.Integral, sp.Sum, sp.Derivative, sp.Limit):
            raise WrongAnswer(
                f"✗ {self.name}: there is something left to do in {short(str(answer))}. Write the result."
            )
        if answer.has(sp.oo, -sp.oo, sp.zoo, sp.nan):  # no expected result has them
            raise WrongAnswer(
                f"✗ {self.name}: {short(str(answer))} is not it: the result is finite, for {self.assumptions}."
            )
        allowed = self.expected.free_symbols | self.symbols
        strangers = sorted(answer.free_symbols - allowed, key=str)
        if strangers:
            twins = {str(s) for s in allowed} & {str(s) for s in strangers}
            made = " It has the right name, but was made anew: use the lesson's own symbols." if twins else ""
            drawn = [str(s) for s in strangers if s in self.random]
            if drawn and not made:
                made = (
                    f" {' and '.join(drawn)} {'is' if len(drawn) == 1 else 'are'} random: is an average left to take?"
                )
            raise WrongAnswer(
                f"✗ {self.name}: not of this step: {', '.join(map(str, strangers))}.{made} "
                f"Write it with {', '.join(sorted(map(str, self.expected.free_symbols)))}."
            )
        try:
            return limited(lambda: self.compare(answer.doit()), SECONDS)
        except (OutOfTime, RecursionError):
            raise WrongAnswer(f"✗ {self.name}: comparing took too long. Write it more simply.") from None

    def compare(self, answer: sp.Expr) -> str:
        how = equal(answer, self.expected)
        if how:
            return how
        if how is None:
            raise WrongAnswer(
                f"✗ {self.name}: the machine could not decide whether this is equal, and undecided is not right. "
                "Write it more simply: without abs, conditions or unevaluated parts."
            )
        words = "".join(f"  {line}\n" for line in differing_terms(answer, self.expected))
        evidence = f"  yours     {answer}\n{words}  assuming  {self.assumptions}\n\nStuck? {self.call}.hint()"
        for mistake in self.known:
            if equal(answer, mistake.answer):
                raise self.fail_as_mistake(mistake, evidence)
        raise WrongAnswer(f"✗ {self.name}: not yet.\n\n{evidence}")

    @property
    def symbols(self) -> set[sp.Symbol]:
        return set().union(*(m.answer.free_symbols for m in self.known if isinstance(m.answer, sp.Expr)))


def differing_terms(answer: sp.Expr, expected: sp.Expr) -> list[str]:
    """Which of the answer's terms do not belong, and how; what is missing, in kind."""
    sums = (sp.Add.make_args(sp.expand(sp.expand_log(e))) for e in (answer, expected))
    mine, theirs = ([term for term in terms if term != 0] for terms in sums)
    for term in list(mine):
        match = next((t for t in theirs if equal(t, term)), None)
        if match is not None:
            mine.remove(term)
            theirs.remove(match)
    lines = []
    for term in list(mine):
        for other in theirs:
            if term.is_number != other.is_number:
                continue
            ratio = simplify(term / other)
            if ratio.is_number and ratio.is_finite:
                sign = "has the wrong sign" if ratio == -1 else f"is {ratio} times what it should be"
                sign = "is not the right constant" if term.is_number and ratio != -1 else sign
                lines.append(f"term      {term} {sign}")
                mine.remove(term)
                theirs.remove(other)
                break
    lines += [f"term      {term} does not belong here" for term in mine]
    for other in theirs:
        names = ", ".join(sorted(str(s) for s in other.free_symbols))
        lines.append(f"missing   a term in {names}" if names else "missing   a constant")
    return lines


def card(formulas: dict[str, sp.Eq]) -> Note:
    """The formula card: the lesson's results, typeset from the same expressions that its checks use."""
    rows = "\n".join(f"| {name} | $\\displaystyle {latex(formula)}$ |" for name, formula in formulas.items())
    return Note(f"| | |\n|---|---|\n{rows}")
