"""Lesson 09's derivation: its symbols, the learner's steps, and the formulas of its card."""

from __future__ import annotations

import sympy as sp

from wmcourse.lessons.derivation import Step
from wmcourse.lessons.exercise import Mistake

a, b, s, u, k, w = sp.symbols("a b s u k w", real=True)  # s' = a·s + b·u + w; feedback u = -k·s
p, q, r, sigma = sp.symbols("p q r sigma", positive=True)  # p: tomorrow's cost is p·s²
L = sp.Symbol("L", integer=True, positive=True)

GAIN = a * b * p / (r + b**2 * p)
BEST_ACTION = -a * b * p * s / (r + b**2 * p)
COST_TO_GO = q + a**2 * p * r / (r + b**2 * p)
DRIFT = sigma**2 * (a ** (2 * L) - 1) / (a**2 - 1)
SETTLED = sigma**2 / (1 - (a - b * k) ** 2)

STEPS = (
    Step(
        "best_action",
        "The best action of one step",
        6,
        1,
        (
            "Only r·u² and p·(a·s + b·u)² have u in them. Differentiate by u, and set the slope to 0.",
            "The slope is 2·r·u + 2·p·b·(a·s + b·u). Collect what stands with u: r + b²·p.",
        ),
        (
            Mistake(
                "the sign of the action",
                -BEST_ACTION,
                "Without the minus the action pushes *away* from 0: at u = −(…)·s the two terms of the slope cancel.",
            ),
            Mistake(
                "as if the action were free",
                -a * s / b,
                "This brings the next state to 0 in one step, whatever it costs. It is the limit r → 0; here u has a price.",
            ),
            Mistake(
                "the inner derivative of r·u² forgotten",
                -2 * a * b * p * s / (r + 2 * b**2 * p),
                "Both squares have a 2 in their derivative, and both 2s cancel: 2·r·u as well as 2·p·b·(a·s + b·u).",
            ),
            Mistake(
                "the chain rule's b forgotten",
                -a * p * s / (r + b * p),
                "By the chain rule the derivative of (a·s + b·u)² by u is 2·(a·s + b·u) times b.",
            ),
            Mistake(
                "the gain, not the action",
                a * b * p / (r + b**2 * p),
                "This is the gain K, and it is right. The action is u = −K·s: it depends on the state, and that is the point.",
            ),
            Mistake(
                "today's cost in place of tomorrow's",
                -a * b * q * s / (r + b**2 * q),
                "q·s² is paid for the state that you are in already: no action changes it. What u changes is p·(a·s + b·u)².",
            ),
            Mistake(
                "today's cost counted with tomorrow's",
                -a * b * (p + q) * s / (r + b**2 * (p + q)),
                "q·s² has no u in it, so its slope is 0. (With p the cost *from tomorrow on*, tomorrow's q is in p already.)",
            ),
            Mistake(
                "b not squared below",
                -a * b * p * s / (r + b * p),
                "p·(a·s + b·u)² has the slope 2·p·b·(a·s + b·u): in front of u stands b·b·p.",
            ),
            Mistake(
                "the state forgotten",
                -a * b * p / (r + b**2 * p),
                "u depends on where you are: s comes with a in the slope, 2·p·b·(a·s + b·u), and stays in the action.",
            ),
            Mistake(
                "b forgotten above",
                -a * p * s / (r + b**2 * p),
                "By the chain rule the slope of p·(a·s + b·u)² is 2·p·b·(a·s + b·u): the b stands before both terms in the bracket.",
            ),
            Mistake(
                "p forgotten below",
                -a * b * p * s / (r + b**2),
                "p multiplies the whole bracket (a·s + b·u), so it stands with b² as well: r + b²·p.",
            ),
            Mistake(
                "the slope, not yet solved",
                2 * r * u + 2 * p * b * (a * s + b * u),
                "That is the slope by u, and it is right. Set it to 0 and solve for u: the best action has no u in it.",
            ),
            Mistake(
                "the least cost, not the action",
                q * s**2 + a**2 * p * r * s**2 / (r + b**2 * p),
                "You have put the best u in already: this is what it costs, and the next step's answer. Here u itself is asked for.",
            ),
        ),
        (-(a * b * p) / (b**2 * p + r) * s, -a * s / (b + r / (b * p))),
        expected=BEST_ACTION,
        assumptions="a, b, s real, p, q, r > 0",
    ),
    Step(
        "cost_to_go",
        "What a state costs from here on",
        8,
        2,
        (
            "Put the best u into q·s² + r·u² + p·(a·s + b·u)² and divide by s². First work out a·s + b·u: what is left of a·s?",
            "a·s + b·u = a·s·r/(r + b²·p). So the three terms are q, r·a²b²p²/(r + b²p)² and p·a²r²/(r + b²p)². The last two share a "
            "factor a²·p·r.",
        ),
        (
            Mistake(
                "today's cost forgotten",
                COST_TO_GO - q,
                "The cost from today on has today's q·s² in it.",
            ),
            Mistake(
                "nothing is done",
                q + a**2 * p,
                "That is the cost with u = 0. The best action saves a²b²p²/(r + b²p) of it.",
            ),
            Mistake(
                "the sign of what is saved",
                q + a**2 * p + a**2 * b**2 * p**2 / (r + b**2 * p),
                "The best action cannot make things dearer than u = 0 does: a²b²p²/(r + b²p) is subtracted.",
            ),
            Mistake(
                "the action's own price forgotten",
                q + p * (a * r / (r + b**2 * p)) ** 2,
                "You have q and the cost from tomorrow on, but not r·u² of the action itself.",
            ),
            Mistake(
                "the price of the next state forgotten",
                q + r * (a * b * p / (r + b**2 * p)) ** 2,
                "You have q and r·u², but the state is not at 0 tomorrow: p·(a·s + b·u)² comes to it.",
            ),
            Mistake(
                "the gain put in with its sign turned",
                q + r * GAIN**2 + p * (a + b * GAIN) ** 2,
                "The action is u = −K·s, so a·s + b·u is (a − b·K)·s, and not (a + b·K)·s.",
            ),
            Mistake(
                "the gain not squared",
                q + r * GAIN + p * (a - b * GAIN) ** 2,
                "r·u² with u = −K·s is r·K²·s²: the gain comes squared, too.",
            ),
            Mistake(
                "a not squared",
                q + a * p * r / (r + b**2 * p),
                "The state enters squared, so its factor a does, too.",
            ),
            Mistake(
                "as if the action were free",
                q,
                "For r → 0 tomorrow's state is 0 and only q is left. Here the action has a price, so it stops short of 0.",
            ),
            Mistake(
                "still with s²",
                COST_TO_GO * s**2,
                "Right as the cost; the step asks for what stands in front of s².",
            ),
            Mistake(
                "the next state not squared",
                q + r * GAIN**2 + p * (a - b * GAIN),
                "What is paid for tomorrow is p·(a·s + b·u)²: with u = −K·s it is p·(a − b·K)²·s². You have the bracket without its square.",
            ),
            Mistake(
                "b forgotten in front of u",
                q + r * GAIN**2 + p * (a - GAIN) ** 2,
                "The state after the action is a·s + b·u = (a − b·K)·s: the action comes with its b.",
            ),
            Mistake(
                "p forgotten",
                q + a * (a - b * GAIN),
                "a·p·(a − b·K) is right, and a short way to it; but the p of tomorrow stands before it.",
            ),
        ),
        (q + a**2 * p - (a * b * p) ** 2 / (r + b**2 * p), q + a**2 / (1 / p + b**2 / r)),
        expected=COST_TO_GO,
        assumptions="a, b real, p, q, r > 0",
    ),
    Step(
        "drift",
        "How far an open loop drifts",
        6,
        2,
        (
            "The plan is fixed, so the error e (where you are, less where the plan says) obeys e′ = a·e + w. What is its variance "
            "after one step, after two?",
            "After L steps it is σ²·(1 + a² + a⁴ + … + a^(2(L−1))): a geometric series in a².",
        ),
        (
            Mistake(
                "as if errors only added up",
                L * sigma**2,
                "That is a random walk, a = 1. Here each step also multiplies what has gone wrong so far by a.",
            ),
            Mistake(
                "the first error alone",
                sigma**2 * a ** (2 * L),
                "That is one error, grown for L steps. Each step brings a new one: add them up.",
            ),
            Mistake(
                "a in place of a²",
                sigma**2 * (a**L - 1) / (a - 1),
                "The error is multiplied by a, so its *variance* by a².",
            ),
            Mistake(
                "as if it settled",
                sigma**2 / (1 - a**2),
                "That is the limit for |a| < 1 after endlessly many steps. Count the first L terms; a may be larger than 1.",
            ),
            Mistake(
                "one step too many",
                sigma**2 * (a ** (2 * L + 2) - 1) / (a**2 - 1),
                "The start is known, so after one step the variance is σ²: the series has L terms.",
            ),
            Mistake(
                "one step too few",
                sigma**2 * (a ** (2 * L - 2) - 1) / (a**2 - 1),
                "After one step the variance is σ², and not 0: the series has L terms.",
            ),
            Mistake(
                "the first factor left in",
                sigma**2 * a**2 * (a ** (2 * L) - 1) / (a**2 - 1),
                "The newest error has not been multiplied yet: the series begins with 1, not with a².",
            ),
            Mistake(
                "the std, not the variance",
                sp.sqrt(DRIFT),
                "This is the standard deviation. The step asks for the variance.",
            ),
            Mistake(
                "a negative variance",
                -DRIFT,
                "The sum of 1 + a² + … + a^(2(L−1)) is (a^(2L) − 1)/(a² − 1), or (1 − a^(2L))/(1 − a²): both lines the same way round.",
            ),
            Mistake(
                "the oldest error alone",
                sigma**2 * a ** (2 * L - 2),
                "That is what the first w has grown to. Each step brings a new one, and those that came later have grown less: add them up.",
            ),
            Mistake(
                "as if it were always the same error",
                sigma**2 * ((a**L - 1) / (a - 1)) ** 2,
                "Here the *errors* are added up and then squared, as if all w were one and the same. They are independent: their variances add.",
            ),
            Mistake(
                "σ not squared",
                sigma * (a ** (2 * L) - 1) / (a**2 - 1),
                "σ is the standard deviation of one w; its variance is σ².",
            ),
        ),
        (sigma**2 * (1 - a ** (2 * L)) / (1 - a**2), sigma**2 * ((a**2) ** L - 1) / ((a - 1) * (a + 1))),
        expected=DRIFT,
        assumptions="a real, a² ≠ 1, σ > 0, L = 1, 2, 3, …",
        random=(w,),
    ),
)


def symbol(name: str) -> sp.Symbol:
    return sp.Symbol(name)


FORMULAS = {
    "gain, u = −K·s": sp.Eq(symbol("K_t"), GAIN.subs(p, symbol("P_{t+1}")), evaluate=False),
    "Riccati, one number": sp.Eq(symbol("P_t"), COST_TO_GO.subs(p, symbol("P_{t+1}")), evaluate=False),
    "Riccati, any size": sp.Eq(symbol("P_t"), symbol("Q") + symbol(r"A^\top P_{t+1}\,(A-BK_t)"), evaluate=False),
    "gain, any size": sp.Eq(symbol("K_t"), symbol(r"(R+B^\top P_{t+1}B)^{-1}B^\top P_{t+1}A"), evaluate=False),
    "variance of an open loop": sp.Eq(symbol(r"\mathrm{Var}(e_L)"), DRIFT, evaluate=False),
    "variance under feedback": sp.Eq(symbol(r"\mathrm{Var}(s_\infty)"), SETTLED, evaluate=False),
    "score of a plan": sp.Eq(
        symbol(r"\mathrm{score}"),
        symbol(r"\sum_{t<L}\gamma^t\,\mathrm{alive}_t\,r_{t+1}") + symbol(r"\gamma^L\,\mathrm{alive}_L\,V(s_L)"),
        evaluate=False,
    ),
}
