"""Lesson 09's pictures: plans redrawn in the phase portrait, what a horizon buys and costs, a model that is wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wmcourse.lessons.live import Live, still
from wmcourse.lessons.model_predictive_control.experiment import (
    Fan,
    Swing,
    SwingUp,
    Values,
    danger,
    dodge_moment,
    fan,
    interval,
    swings,
    upright,
)
from wmcourse.lessons.pendulum import TORQUE, pendulum_cost, pendulum_motion, pendulum_score
from wmcourse.lessons.threads import one_thread
from wmcourse.lessons.widget import BLUE, GREEN, GREY, ORANGE, RED, Explorer, choice, slider, stage
from wmcourse.model_predictive_control import MPC, RandomShooting, riccati
from wmcourse.worlds.dodge import SIZE, Rules, picture

ERRORS, NOISES = (-0.1, -0.05, -0.02, 0.0, 0.02, 0.05, 0.1), (0.0, 0.3)
KEPT: dict[str, Any] = {}  # what two pictures share is computed once


def kept_swings() -> dict[tuple[float, float], Swing]:
    if "swings" not in KEPT:
        KEPT["swings"] = swings(ERRORS, NOISES)
    return KEPT["swings"]


# --- The phase portrait


def portrait(axes: Axes) -> None:
    """Angle and velocity, with the paths of the pendulum that is left to itself."""
    angle, velocity = np.meshgrid(np.linspace(-1.4, 7.6, 181), np.linspace(-8.5, 8.5, 121))
    energy = velocity**2 / 2 + 15 * np.cos(angle)
    axes.contour(
        angle, velocity, energy, levels=[-10, -2.5, 5, 15, 27], colors="#D9D9D9", linewidths=0.8, linestyles="-"
    )
    for top in (0, 2 * math.pi):
        axes.plot(top, 0, "o", color=GREEN, ms=13, mfc="none", mew=2)
    axes.plot(math.pi, 0, "s", color="black", ms=6)
    axes.set(xlim=(-1.4, 7.6), ylim=(-8.6, 8.6), xlabel="angle", ylabel="velocity, radians per second")
    axes.set_xticks([0, math.pi, 2 * math.pi], ["0\nupright", "π\nhanging (start)", "2π\nupright"])


def off_upright(point: Values) -> float:
    """How far an angle is from the nearest upright one, in radians."""
    return abs(math.remainder(float(point[0]), 2 * math.pi))


def plan_portrait() -> Explorer:
    """The swing-up step by step: where it has been, the plan it has now, and those it had before; and the open loop."""
    runs = kept_swings()
    figure, axes = stage(7.2, 4.6)
    portrait(axes)
    older = [axes.plot([], [], color=ORANGE, lw=0.9, alpha=0.4)[0] for _ in range(12)]
    older[0].set_label("plans before it")
    (plan,) = axes.plot([], [], color=ORANGE, lw=2.2, label="closed loop: the plan now")
    (path,) = axes.plot([], [], color=BLUE, lw=2.5, label="so far")
    (here,) = axes.plot([], [], "o", color=BLUE, ms=8)
    (foreseen,) = axes.plot([], [], color=RED, lw=1.3, ls=":", label="open loop: its only plan")
    (astray,) = axes.plot([], [], color=RED, lw=1.8, label="so far")
    (there,) = axes.plot([], [], "D", color=RED, ms=6)
    closed, opened = [plan, older[0], path], [foreseen, astray]
    above = {"frameon": False, "fontsize": 9, "borderaxespad": 0.0, "handlelength": 1.6, "columnspacing": 1.4}
    first = axes.legend(handles=closed, ncol=3, loc="lower left", bbox_to_anchor=(0.0, 1.08), **above)
    axes.legend(handles=opened, ncol=2, loc="lower left", bbox_to_anchor=(0.0, 1.01), **above)
    axes.add_artist(first)

    def draw(error: float, noise: float, step: int) -> str:
        run = runs[error, noise]
        for line, point, loop in ((path, here, run.closed), (astray, there, run.opened)):
            line.set_data(*loop[: step + 1].T)
            point.set_data(*loop[step : step + 1].T)
        plan.set_data(*run.plans[min(step, len(run.plans) - 1)].T)
        for k, old in enumerate(older):
            before = step - 4 * (k + 1)
            old.set_data(*(run.plans[before].T if before >= 0 else ([], [])))
        foreseen.set_data(*run.foreseen.T)
        if step < len(run.foreseen):
            away = float(np.hypot(*(run.opened[step] - run.foreseen[step])))
            text = f"the open loop is {away:.2f} away from where its plan says"
        else:
            text = f"the open loop's plan ended at step {len(run.foreseen) - 1}"
        last = np.mean([off_upright(point) for point in run.closed[-15:]])
        return (
            f"step {step}: {text}. From upright: <b>closed {off_upright(run.closed[step]):.2f}, open "
            f"{off_upright(run.opened[step]):.2f} rad</b> (closed, over steps 76 to 90: {last:.2f})"
        )

    return Explorer(
        figure,
        draw,
        alt="Phase portrait of a pendulum: the closed loop with the plan it redraws at each step, and the open loop's path.",
        error=choice("model's gravity", {f"{e:+.0%}" if e else "right": e for e in (0.0, 0.02, 0.05, 0.1, -0.05)}),
        noise=choice("motor", {"quiet": 0.0, "noisy": 0.3}),
        step=slider("step", 0, 90, 24, 1),
    )


def signature(error: float = 0.05) -> Image:
    """Left one plan that is carried out to its end, right a plan that is redrawn at each step."""
    run = kept_swings()[error, 0.0]
    figure, (left, right) = stage(10.0, 4.2, 2, sharey=True)
    for axes in (left, right):
        portrait(axes)
    left.plot(*run.foreseen.T, color=ORANGE, lw=2, label="the plan: one, made at the start")
    left.plot(*run.opened.T, color=RED, lw=2.5, label="what happens")
    for t in range(len(run.plans) - 1, -1, -3):
        right.plot(
            *run.plans[t].T,
            color=ORANGE,
            lw=0.8,
            alpha=0.45,
            label="the plans: a new one at each step" if t < 3 else None,
        )
    right.plot(*run.closed.T, color=BLUE, lw=2.5, label="what happens")
    right.set_ylabel("")
    for axes, title in ((left, "open loop"), (right, "closed loop")):
        axes.set_title(f"{title}, the model's gravity {error:+.0%}")
        axes.set(ylim=(-8.6, 12), yticks=[-8, -4, 0, 4, 8])
        axes.legend(frameon=True, facecolor="white", edgecolor="none", framealpha=1, loc="upper left", fontsize=9)
    return still(
        figure,
        "Two phase portraits: carried out to its end, a plan made with five percent too much gravity drifts off and spins "
        "over the top; redrawn at each step, the same wrong model brings the pendulum to rest upright",
    )


# --- Horizon against cost and time

HORIZONS, THROWS, CLOCK = (2, 4, 7, 10, 15, 20, 30, 45), (8, 64), 120


def shots(horizon: int, candidates: int, starts: int = 12) -> tuple[Values, float, float]:
    """Angles from upright (starts, T), the mean cost of an episode, and the milliseconds of a decision (for one)."""
    generator = torch.Generator().manual_seed(0)
    angle = math.pi * (1 + 0.25 * torch.linspace(-1, 1, starts))
    velocity, mpc = torch.zeros(starts), MPC(RandomShooting(horizon, 1, candidates, -TORQUE, TORQUE))
    angles, cost, spent = [], torch.zeros(starts), []
    for _ in range(CLOCK):
        started = time.thread_time()  # of this thread alone: what else the machine does is no cost of a plan
        torque = mpc.act(pendulum_score((angle, velocity)), starts, generator)[:, 0]
        spent.append(1_000 * (time.thread_time() - started))
        cost += pendulum_cost(angle, velocity)
        angle, velocity = pendulum_motion(angle, velocity, torque)
        angles.append((torch.remainder(angle + math.pi, 2 * math.pi) - math.pi).abs())
    return torch.stack(angles, dim=1).double().numpy(), float(cost.mean()), float(np.median(spent))


def horizon_cost_time() -> Explorer:
    """Swing-ups by random shooting: what does it buy to look further, and what does it cost?"""
    if "shots" not in KEPT:
        with one_thread():
            KEPT["shots"] = {(h, n): shots(h, n) for n in THROWS for h in HORIZONS}
    table = KEPT["shots"]
    figure, (left, middle, right) = stage(9.6, 3.2, 3, width_ratios=(1.5, 1, 1))
    clock = np.arange(CLOCK)
    lines = [left.plot(clock, clock * 0.0, color=BLUE, lw=0.9, alpha=0.6)[0] for _ in range(12)]
    left.set(xlabel="step", ylabel="radians from upright", ylim=(-0.1, 3.3), title="twelve swing-ups")
    for which, axes in ((1, middle), (2, right)):
        for n, colour, mark in zip(THROWS, (GREY, BLUE), "so", strict=True):
            axes.plot(
                HORIZONS, [table[h, n][which] for h in HORIZONS], mark + "-", color=colour, ms=4, label=f"{n} plans"
            )
    (cost,) = middle.plot([], [], "o", color=ORANGE, ms=10, mfc="none", mew=2.5)
    (spent,) = right.plot([], [], "o", color=ORANGE, ms=10, mfc="none", mew=2.5)
    middle.set(xlabel="horizon", title="cost of 120 steps", ylim=(0, None))
    right.set(xlabel="horizon", title="ms for a decision", ylim=(0, None))
    right.legend(frameon=False, fontsize=8)

    def draw(horizon: int, plans: int) -> str:
        angles, value, milliseconds = table[horizon, plans]
        for line, angle in zip(lines, angles, strict=True):
            line.set_ydata(angle)
        cost.set_data([horizon], [value])
        spent.set_data([horizon], [milliseconds])
        up = int((angles[:, -15:].mean(axis=1) < 0.5).sum())
        return (
            f"{plans} plans of {horizon} steps, {horizon * 0.05:.2f} s ahead: cost <b>{value:.0f}</b>, {up} of 12 are up at the end; "
            f"a decision is {plans * horizon:,} model steps for each pendulum, {milliseconds:.1f} ms for all twelve"
        )

    horizons = choice("horizon", {str(h): h for h in HORIZONS})
    horizons.style.button_width = "72px"  # eight in a row, on a laptop
    return Explorer(
        figure,
        draw,
        alt="Twelve swing-ups over time, and the cost and the milliseconds of a decision over the planning horizon.",
        horizon=horizons,
        plans=choice("plans", {str(n): n for n in reversed(THROWS)}),
    )


# --- A wrong model, near the top


def balancing(error: float, noise: float, steps: int = 60) -> dict[str, tuple[Values, Values, float]]:
    """Mean and std (T + 1,) of the angle near the upright rest, for the open and the closed loop, exactly; and what an
    error is multiplied by at each step, in the long run.

    The gains come from a model whose gravity is wrong by the factor 1 + error. All is linear: no torque limit.
    """
    real, b, q, r = (m.numpy() for m in upright())
    model = np.array([[1 + (real[0, 0] - 1) * (1 + error), real[0, 1]], [real[1, 0] * (1 + error), 1.0]])
    given = [torch.from_numpy(m) for m in (model, b, q, r)]
    gain = riccati(given[0], given[1], given[2], given[3], 80)[0][0].numpy()
    start = np.array([0.2, 0.0])
    found = {}
    for name in ("open", "closed"):
        s, planned, spread = start, start, np.zeros((2, 2))
        means, stds = [s[0]], [0.0]
        for _ in range(steps):
            u = -gain @ (s if name == "closed" else planned)
            planned = model @ planned - (b @ gain) @ planned
            s = real @ s + b @ u
            turn = real - b @ gain if name == "closed" else real
            spread = turn @ spread @ turn.T + noise**2 * b @ b.T
            means.append(s[0])
            stds.append(math.sqrt(spread[0, 0]))
        found[name] = (np.array(means), np.array(stds), float(np.abs(np.linalg.eigvals(turn)).max()))
    return found


def wrong_model() -> Explorer:
    """Near the top, with the exact planner: what a wrong model and a noisy motor do to an open and to a closed loop."""
    figure, axes = stage(7.0, 3.4)
    steps = np.arange(61)
    lines = {
        name: axes.plot(steps, steps * 0.0, color=colour, lw=2.5, label=f"{name} loop, mean ± 2 std")[0]
        for name, colour in (("open", RED), ("closed", BLUE))
    }
    axes.axhline(0, color=GREY, lw=0.8)
    axes.set(ylim=(-1, 1), xlim=(0, 60), xlabel="step", ylabel="angle from upright")
    axes.legend(frameon=False, loc="lower left")
    shades: dict[str, Any] = {}

    def draw(error: float, noise: float) -> str:
        words = []
        for name, (mean, std, growth) in balancing(error / 100, noise).items():
            lines[name].set_ydata(np.clip(mean, -5, 5))
            if name in shades:
                shades[name].remove()
            low, high = np.clip([mean - 2 * std, mean + 2 * std], -5, 5)
            shades[name] = axes.fill_between(steps, low, high, color=lines[name].get_color(), alpha=0.2, lw=0)
            words.append(
                f"<b>{name}</b>: an error {'grows' if growth > 1 else 'shrinks'} to {growth:.2f} of itself a step; mean ± std "
                f"{mean[20]:+.3f} ± {std[20]:.3f} at step 20, {mean[60]:+.3g} ± {std[60]:.3g} at step 60"
            )
        return ".<br>".join(words[::-1])

    return Explorer(
        figure,
        draw,
        alt="The angle near upright over 60 steps: the closed loop goes to 0 within a narrow band, the open loop leaves.",
        error=slider("gravity wrong by, %", -30, 30, 3, 1),
        noise=slider("motor noise", 0.0, 0.5, 0.1, 0.05),
    )


# --- Still pictures


def fan_panel(axes: Axes, plans: Fan, hazards: NDArray[np.float32]) -> None:
    """Plans over the frame's columns, time upwards as in the frame: what stands higher in it arrives later."""
    rules = Rules()
    reach = (rules.agent[0] + rules.hazard) / 2  # from centre to centre: nearer is a hit
    for t, column in hazards[hazards[:, 0] < plans.x.shape[1]]:
        axes.barh(t, 2 * reach, left=column - reach, height=1, color=ORANGE, alpha=0.5, lw=0)
    for path, end, alive in zip(plans.x, plans.end, plans.alive, strict=True):
        axes.plot(path[: end + 1], np.arange(end + 1), color=BLUE if alive else GREY, lw=0.8, alpha=0.8)
    dead = ~plans.alive
    axes.plot(plans.x[dead, plans.end[dead]], plans.end[dead], "x", color="black", ms=4, mew=0.8)


def opening() -> Image:
    """A moment of Dodge, seen one step ahead and twelve steps ahead."""
    state = dodge_moment()
    hazards = danger(state, 12)
    figure, (left, middle, right) = stage(9.6, 3.5, 3)
    left.imshow(picture(state), extent=(0, SIZE, 0, SIZE))
    left.set(yticks=[], title="Dodge, now")
    left.spines[["left", "bottom"]].set_visible(False)
    survive = []
    for axes, horizon in ((middle, 1), (right, 12)):
        plans = fan(state, horizon)
        survive.append(int(plans.alive.sum()))
        fan_panel(axes, plans, hazards)
        axes.set(title=f"64 random plans, {horizon} step{'s' * (horizon > 1)}:\n{survive[-1]} survive", ylim=(0, 12.5))
        axes.set_yticks([0, 2, 4, 6, 8, 10, 12])
        axes.set_ylabel("steps ahead")
    middle.plot([], [], color=BLUE, lw=1.5, label="a plan that survives")
    middle.plot([], [], "x-", color=GREY, mec="black", ms=4, lw=1.5, label="a plan that ends in a hit")
    middle.fill_between([], [], [], color=ORANGE, alpha=0.5, lw=0, label="here a hazard hits the agent")
    middle.legend(frameon=False, loc="upper center", fontsize=8)
    for axes in (left, middle, right):
        axes.set(xlim=(0, SIZE), xlabel="column")
        axes.set_xticks([0, 8, 16, 24, 32])
    return still(
        figure,
        f"Left the world now; middle one step ahead, where all {survive[0]} plans survive and nothing is to choose; right twelve "
        f"steps ahead, with time upwards, where a hazard drifts across and {survive[1]} of 64 survive, nearly all to its left",
    )


def regret_picture(rows: dict[str, tuple[float, float]]) -> Image:
    """Regrets against the exact answer, on a log scale, with intervals."""
    figure, axes = stage(7.6, 0.6 + 0.34 * len(rows))
    for k, (name, (mean, half)) in enumerate(rows.items()):
        colour = GREEN if name.startswith("exact") else BLUE if name.startswith("climb") else ORANGE
        axes.errorbar(mean, -k, xerr=[[min(half, 0.95 * mean)], [half]], fmt="o", color=colour, capsize=4)
    axes.set_yticks([-k for k in range(len(rows))], list(rows))
    axes.set(
        xscale="log",
        xlabel="regret: cost above the best possible, as a share of it (100 starts)",
        ylim=(0.6 - len(rows), 0.5),
    )
    axes.grid(axis="x", color="#E5E5E5")
    axes.axvline(1, color=GREY, ls=":", lw=1)
    axes.text(1, 0.45, "twice the best cost ", color="#555555", fontsize=8, ha="right", va="top")
    return still(
        figure,
        "Regrets near upright: random shooting costs many times the best, gradients and a terminal value come close",
    )


class SweepPlot(Live):
    """Returns on ``Pendulum-v1`` over the horizon and over the number of plans; ``plot.show`` takes results as they come."""

    def __init__(self) -> None:
        figure = Figure(figsize=(9.4, 3.4), dpi=100, layout="constrained", facecolor="white")
        self.left, self.right = figure.subplots(1, 2, sharey=True)
        super().__init__(figure, alt="Mean returns on Pendulum-v1: best at a middling horizon; more plans help slowly")

    def show(self, results: dict[tuple[int, int, bool], SwingUp]) -> None:
        """Draw what there is."""
        for axes in (self.left, self.right):
            axes.clear()
            axes.spines[["top", "right"]].set_visible(False)
        for warm, colour, mark, name in ((True, BLUE, "o-", "warm start"), (False, GREY, "s--", "from nothing")):
            row = {h: r for (h, n, w), r in results.items() if n == 64 and w == warm}
            self.line(self.left, row, colour, mark, name)
        self.line(self.right, {n: r for (h, n, w), r in results.items() if h == 20 and w}, BLUE, "o-", "warm start")
        self.left.set(xlabel="horizon, steps (64 plans)", ylabel="return, mean and 95 %", ylim=(-1300, 0))
        self.right.set(xlabel="plans for each decision (20 steps)", xscale="log")
        sizes = sorted({n for (h, n, w) in results if h == 20 and w})
        self.right.set_xticks(sizes, [str(n) for n in sizes])
        self.right.minorticks_off()
        self.left.legend(frameon=False, loc="lower right")
        self.redraw()

    def line(self, axes: Axes, row: dict[int, SwingUp], colour: str, mark: str, name: str) -> None:
        if row:
            x = sorted(row)
            means, halves = zip(*(interval(row[k].returns) for k in x), strict=True)
            axes.errorbar(x, means, halves, fmt=mark, color=colour, capsize=3, ms=5, label=name)


def replan_picture(errors: Sequence[float], tables: dict[tuple[int, float], Values]) -> Image:
    """Returns over the model's error, for plans of which 1, 5 or all 20 steps are done."""
    noises = sorted({noise for _, noise in tables})
    figure, axes = stage(9.4, 3.5, len(noises), sharey=True)
    order = np.argsort(errors)
    for a, noise in zip(axes, noises, strict=True):
        for every, colour, mark in ((1, BLUE, "o-"), (5, ORANGE, "s-"), (20, RED, "D-")):
            means, halves = np.array([interval(row) for row in tables[every, noise]])[order].T
            x = 100 * np.array(errors)[order]
            name = {1: "at each step", 5: "every 5 steps", 20: "every 20: to the plan's end"}[every]
            a.errorbar(x, means, halves, fmt=mark, color=colour, capsize=3, ms=5, label=name)
        a.set(
            xlabel="the model's gravity is wrong by, %",
            title=f"motor noise {noise:g}" if noise else "quiet motor",
            ylim=(-1200, 0),
        )
        a.set_xticks(x)
    axes[0].set_ylabel("return, mean and 95 %")
    axes[0].legend(frameon=False, title="planned anew", loc="lower left", bbox_to_anchor=(0.0, 0.34), fontsize=9)
    return still(
        figure,
        "Planned anew at each step, even a model that is wrong by five percent loses little; a plan of 20 steps that is carried out "
        "to its end fails with any model",
    )


def dodge_bars(rows: dict[str, Values]) -> Image:
    """Mean returns on Dodge with their intervals."""
    figure, axes = stage(7.0, 0.6 + 0.32 * len(rows))
    for k, (name, values) in enumerate(rows.items()):
        mean, half = interval(values)
        axes.barh(-k, mean, color={"random": GREY, "greedy": ORANGE}.get(name, BLUE), height=0.65)
        axes.errorbar(mean, -k, xerr=half, color="black", capsize=4)
    axes.set_yticks([-k for k in range(len(rows))], list(rows))
    axes.axvline(300, color=GREY, ls=":", lw=1)
    axes.set(xlabel="steps survived, 300 at most (mean and 95 %)", xlim=(0, 312))
    return still(
        figure, "Mean returns on Dodge: planning eight or twelve steps ahead beats greed, which beats random play"
    )
