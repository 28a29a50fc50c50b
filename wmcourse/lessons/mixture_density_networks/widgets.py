"""Lesson 07's pictures: two bells and a target, Bishop's inverse problem, a fork in Dodge, and what a mixture dreams."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from wmcourse.lessons.live import Live, still
from wmcourse.lessons.mixture_density_networks.experiment import (
    AHEAD,
    COLUMNS,
    STEPS,
    WALL,
    Data,
    Fit,
    distance_to_uniform,
    forward,
    normal_density,
    two_futures,
)
from wmcourse.lessons.widget import BLUE, GREEN, GREY, ORANGE, RED, Explorer, choice, slider, stage
from wmcourse.worlds.dodge import SIZE, DodgeState, advance, begin, draw

PURPLE = "#CC79A7"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED)  # of components
RGB = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in COLOURS])
INVERSE = np.linspace(-0.05, 1.05, 221)  # the inputs of Bishop's problem that are drawn
FORK = np.linspace(-10, 10, 401)  # how far a hazard moves, pixels


@torch.no_grad()
def parts_of(fit: Fit, inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """log_pi, mu and log_sigma of one target dimension, each (P, K)."""
    parts = fit.net(torch.from_numpy(np.asarray(inputs)).float().reshape(-1, 1))
    return tuple(part[:, 0].double().numpy() for part in parts)


# --- The opening


def at_the_fork(seed: int = 11) -> tuple[DodgeState, list[DodgeState]]:
    """A world in which a hazard is wholly hidden, and two of its futures, AHEAD steps later."""
    state = begin(np.array([seed], np.uint64))
    state.hazard_x[0, 0], state.hazard_y[0, 0], state.x[0] = 16.5, -2.0, 7.0
    state.number[0, 0], state.hazards[0], state.countdown[0] = 0, 1, 9
    for _ in range(11):
        advance(state, np.zeros(1))
    futures: dict[float, DodgeState] = {}
    for other in range(40):
        future = state.reseeded(np.array([other], np.uint64))
        for _ in range(AHEAD):
            advance(future, np.zeros(1))
        if future.hazards[0] == state.hazards[0]:
            futures.setdefault(float(future.drift[0, 0]), future)
    return state, [futures[side] for side in sorted(futures)]


def opening() -> Image:
    """One present, two futures, and their average, which never happens."""
    state, futures = at_the_fork()
    left, right = (draw(future)[0, ..., 0].astype(float) for future in futures)
    pictures = [draw(state)[0, ..., 0], left, right, (left + right) / 2]
    titles = [
        "now: it is behind the band",
        "in seven steps, half of the time",
        "the other half",
        "the average of the two",
    ]
    figure, axes = stage(9.6, 2.7, 4)
    for ax, pixels, title in zip(axes, pictures, titles, strict=True):
        ax.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        ax.set(xticks=[], yticks=[])
        ax.set_title(title, size=10)
        ax.spines[:].set_visible(False)
    x = float(state.hazard_x[0, 0])
    axes[0].plot([x], [state.hazard_y[0, 0]], "s", mfc="none", mec=ORANGE, ms=9)
    axes[0].annotate(
        "hidden here", (x, 14), (x + 2.5, 21), color=ORANGE, size=9, arrowprops={"arrowstyle": "-", "color": ORANGE}
    )
    return still(
        figure,
        "Four frames of Dodge: a hazard hidden behind the band; seven steps later to the left; to the right; and the average, "
        "two half-bright ghosts",
    )


# --- Two bells and a target


def two_bells() -> Explorer:
    """Who is responsible for a target, and how hard it pulls at whom."""
    figure, (left, right) = stage(9.0, 3.5, 2, width_ratios=(1.7, 1))
    grid = np.linspace(-5, 5, 501)
    curves = [
        left.plot(grid, grid * 0, color=c, lw=1.5, label=f"{pi} · bell {i}")[0]
        for i, pi, c in ((1, "π₁", BLUE), (2, "π₂", ORANGE))
    ]
    (total,) = left.plot(grid, grid * 0, color="black", lw=2, label="mixture")
    (at,) = left.plot([0, 0], [0, 1], color=GREY, ls=":", lw=1)
    arrows = [left.plot([], [], color=c, lw=3, solid_capstyle="butt")[0] for c in (BLUE, ORANGE)]
    heads = [left.plot([], [], color=c, ms=9, ls="")[0] for c in (BLUE, ORANGE)]
    left.set(
        xlim=(-5, 5), ylim=(-0.13, 0.75), xlabel="z (arrows: a step downhill, drawn up to 2.5 long)", ylabel="density"
    )
    left.legend(frameon=False, loc="upper left", fontsize=9)
    bars = right.barh([1, 0], [0.5, 0.5], color=[BLUE, ORANGE], height=0.6)
    marks = right.plot([0.5, 0.5], [1, 0], "|", color="black", ms=26, mew=2)[0]
    right.set(xlim=(0, 1), ylim=(-0.6, 1.6), yticks=[1, 0], yticklabels=["γ₁", "γ₂"], xlabel="responsibility")
    right.set_title("bars: γ; black: π, before z is seen", size=10)

    def draw(z: float, apart: float, sigma_2: float, pi_1: float) -> str:
        pi, mu, sigma = np.array([pi_1, 1 - pi_1]), np.array([-apart, apart]), np.array([0.8, sigma_2])
        parts = (np.log(pi), mu, np.log(sigma))
        each, here = normal_density(grid, parts), normal_density(np.array([z]), parts)[:, 0]
        p = here.sum()
        gamma = here / p
        slope = gamma * (mu - z) / sigma**2
        for k in range(2):
            curves[k].set_ydata(each[k])
            bars[k].set_width(gamma[k])
            reach = float(np.clip(-slope[k], -2.5, 2.5))
            level = -0.05 - 0.05 * k
            arrows[k].set_data([mu[k], mu[k] + reach], [level, level])
            heads[k].set_data([mu[k] + reach], [level])
            heads[k].set_marker(">" if reach > 0 else "<")
        total.set_ydata(each.sum(0))
        at.set_xdata([z, z])
        marks.set_data(pi, [1, 0])
        return (
            f"−log p(z) = <b>{-math.log(p):.2f} nats</b>; γ = <b>({gamma[0]:.3f}, {gamma[1]:.3f})</b>; a step downhill moves the means "
            f"by ({-slope[0]:+.2f}, {-slope[1]:+.2f}) and the logits by ({gamma[0] - pi[0]:+.2f}, {gamma[1] - pi[1]:+.2f}), times the rate"
        )

    return Explorer(
        figure,
        draw,
        alt="Left two weighted bells, their sum and a target, with arrows for the pull on each mean; right the two responsibilities.",
        z=slider("target z", -4.0, 4.0, 1.0, 0.1),
        apart=slider("means at ±", 0.0, 3.0, 1.5, 0.1),
        sigma_2=slider("σ of the second", 0.2, 2.0, 0.8, 0.1),
        pi_1=slider("weight π of the first", 0.05, 0.95, 0.5, 0.05),
    )


# --- Bishop's inverse problem


def paint_modes(axes: Axes, inputs: NDArray[Any], parts: tuple[NDArray[Any], ...], least: float = 0.08) -> None:
    """The components' means as lines, where their weight is at least ``least``."""
    log_pi, mu, _ = parts
    for k in range(mu.shape[1]):
        axes.plot(inputs, np.where(np.exp(log_pi[:, k]) >= least, mu[:, k], np.nan), color=COLOURS[k], lw=3)


def inverse_explorer(fits: dict[int, Fit], data: Data) -> Explorer:
    """Bishop's problem: K and τ, and the density at one x."""
    figure, (left, right) = stage(9.4, 4.0, 2, width_ratios=(1.5, 1))
    x, t = data.x[:400, 0].numpy(), data.target[:400, 0].numpy()
    left.plot(x, t, ".", color=GREY, ms=3, alpha=0.6, label="data")
    rng = np.random.default_rng(0)
    here = np.sort(rng.uniform(0, 1, 500))
    u, epsilon = rng.uniform(0, 1, (500, 1)), rng.normal(size=500)
    (dots,) = left.plot(here, here, ".", color=RED, ms=4, alpha=0.7, label="drawn by the network")
    lines = [left.plot([], [], color=colour, lw=2.5)[0] for colour in COLOURS]
    (at,) = left.plot([0.4, 0.4], [-0.3, 1.3], color="black", lw=1, ls=":")
    left.set(xlim=(-0.05, 1.05), ylim=(-0.25, 1.25), xlabel="x, given", ylabel="t, asked for")
    left.legend(frameon=False, loc="upper left", fontsize=9)
    grid = np.linspace(-0.25, 1.25, 301)
    curves = [right.plot([], [], color=colour, lw=1.2)[0] for colour in COLOURS]
    (total,) = right.plot(grid, grid, color="black", lw=2)
    right.set(xlim=(-0.25, 1.25), ylim=(0, 7), xlabel="t", ylabel="density")
    heads = [axes.set_title(" ", size=10) for axes in (left, right)]  # a still must say of itself what it shows
    means = {K: parts_of(fit, INVERSE) for K, fit in fits.items()}
    drawn = {K: parts_of(fit, here) for K, fit in fits.items()}
    singles = {K: parts_of(fit, np.linspace(0, 1, 51)) for K, fit in fits.items()}

    def draw(components: int, tau: float, x: float) -> str:
        log_pi, mu, log_sigma = drawn[components]
        if tau == 0:
            k = log_pi.argmax(1)
        else:
            weights = np.exp((log_pi - log_pi.max(1, keepdims=True)) / tau).cumsum(1)
            k = (u * weights[:, -1:] >= weights[:, :-1]).sum(1)
        rows = np.arange(len(here))
        dots.set_ydata(mu[rows, k] + math.sqrt(tau) * np.exp(log_sigma[rows, k]) * epsilon)
        parts = tuple(part[round(50 * x)] for part in singles[components])
        density = normal_density(grid, parts, max(tau, 0.02))
        for k, (line, curve) in enumerate(zip(lines, curves, strict=True)):
            if k < components:
                weight = np.exp(means[components][0][:, k])
                line.set_data(INVERSE, np.where(weight > 0.08, means[components][1][:, k], np.nan))
                curve.set_data(grid, density[k])
            else:
                line.set_data([], [])
                curve.set_data([], [])
        total.set_ydata(density.sum(0))
        at.set_xdata([x, x])
        heads[0].set_text(f"K = {components}, draws at τ = {tau:.1f}")
        heads[1].set_text(f"K = {components}, τ = {tau:.1f}, at x = {x:.2f} (dotted)")
        pi = np.exp((parts[0] - parts[0].max()) / max(tau, 1e-3))
        pi = pi / pi.sum()
        mean = float((pi * parts[1]).sum())
        rows_text = ", ".join(
            f"{p:.2f} at {m:.2f}" for p, m in sorted(zip(pi, parts[1], strict=True), reverse=True) if p > 0.02
        )
        return (
            f"K = {components}: held-out loss <b>{fits[components].held_out[-1]:.2f} nats</b>; at x = {x:.2f} and τ = {tau:.1f} the weights and "
            f"means are <b>{rows_text}</b>; the mixture's mean is {mean:.2f}"
        )

    return Explorer(
        figure,
        draw,
        alt="Left data on an S lying on its side, the components' means and draws from the network; right its density at one x.",
        components=slider("components K", min(fits), max(fits), 1, 1),
        tau=slider("temperature τ", 0.0, 2.0, 1.0, 0.1),
        x=slider("x", 0.0, 1.0, 0.4, 0.02),
    )


# --- The fork in Dodge


def fork_explorer(fits: dict[int, Fit]) -> Explorer:
    """A hazard behind the band: where K = 1 and K = 2 expect it in seven steps."""
    figure, (left, right) = stage(9.4, 3.8, 2, width_ratios=(1, 1.5))
    frame = left.imshow(np.zeros((SIZE, SIZE)), cmap="gray", vmin=0, vmax=255, extent=(0, SIZE, SIZE, 0))
    (hidden,) = left.plot([], [], "s", mfc="none", mec=ORANGE, ms=13, mew=2)
    (bright,) = left.plot([], [], "s", mfc="none", mec=BLUE, ms=13, mew=2, ls="")
    left.set(xticks=[], yticks=[], xlabel="orange: now; blue: seven steps later", xlim=(0, SIZE), ylim=(SIZE, 0))
    left.spines[:].set_visible(False)
    (total,) = right.plot(FORK, FORK, color="black", lw=2, label="the network", zorder=3)
    curves = [right.plot([], [], color=colour, lw=1.2)[0] for colour in COLOURS]
    shade = right.fill_between(FORK, 0 * FORK, color=BLUE, alpha=0.15, lw=0, label="the truth", step="mid")
    right.set(xlim=(-10, 10), ylim=(0, 0.75), xlabel="pixels to the right in seven steps", ylabel="density")
    right.legend(frameon=False, loc="upper left", fontsize=9)
    head = right.set_title(" ", size=10)
    columns = np.round(np.arange(WALL, SIZE - WALL + 0.1, 0.5), 1)
    parts = {K: parts_of(fit, columns) for K, fit in fits.items()}
    shades = {"truth": shade}
    width = FORK[1] - FORK[0]

    def draw_it(components: int, column: float, tau: float) -> str:
        state = begin(np.zeros(1, np.uint64))
        state.hazard_x[0, 0], state.hazard_y[0, 0], state.x[0] = column, 14.5, 6.0
        frame.set_data(draw(state)[0, ..., 0])
        hidden.set_data([column], [14.5])
        sides = np.array([float(side) for side in two_futures(column)])
        bright.set_data(column + sides, [25, 25])
        here = tuple(part[int(np.abs(columns - column).argmin())] for part in parts[components])
        density = normal_density(FORK, here, max(tau, 0.02))
        for k, curve in enumerate(curves):
            curve.set_data(FORK if k < components else [], density[k] if k < components else [])
        total.set_ydata(density.sum(0))
        head.set_text(f"K = {components}, τ = {tau:.1f}, hidden at column {column:.1f}")
        true = sum(0.5 * (np.abs(FORK - side) <= 0.5) for side in sides)
        shades["truth"].remove()
        shades["truth"] = right.fill_between(FORK, true, color=BLUE, alpha=0.15, lw=0, step="mid")
        near = np.abs(FORK[:, None] - sides).min(1) <= 1
        inside = float(density.sum(0)[near].sum() * width)
        middle = float(normal_density(np.array([sides.mean()]), here, max(tau, 0.02)).sum())
        return (
            f"from column {column:.1f} it goes to <b>{sides[0]:+.1f}</b> or <b>{sides[1]:+.1f}</b> px; within a pixel of these K = {components}, τ = {tau:.1f} has <b>{inside:.0%}</b> of its "
            f"probability; its density in the middle, where nothing comes, is {middle:.3f}"
        )

    return Explorer(
        figure,
        draw_it,
        alt="Left a frame with a hazard hidden behind the band and the two places where it may be in seven steps; right the network's density and the true one.",
        components=choice("components K", list(fits)),
        column=slider("column of the hazard", WALL, SIZE - WALL, 16.0, 0.5),
        tau=slider("temperature τ", 0.1, 2.0, 1.0, 0.1),
    )


# --- Training


class LossPlot(Live):
    """Held-out losses while networks train: pass ``plot.show`` to ``train``."""

    def __init__(self, title: str, names: list[str], low: float, high: float, steps: int = STEPS) -> None:
        figure = Figure(figsize=(7.6, 2.5), dpi=100, layout="constrained", facecolor="white")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(title=title, xlabel="step", ylabel="held-out loss, nats", xlim=(0, steps), ylim=(low, high))
        axes.axhline(0, color=GREY, lw=0.8, ls=":")
        self.lines = [axes.plot([], [], color=c, lw=2, label=name)[0] for name, c in zip(names, COLOURS, strict=False)]
        axes.legend(
            frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0
        )  # never over the lines
        self.seen: list[Fit] = []
        super().__init__(figure, alt=f"{title}: held-out loss over the training steps of {', '.join(names)}")

    def show(self, fit: Fit) -> None:
        if not any(fit is other for other in self.seen):
            self.seen.append(fit)
        self.lines[len(self.seen) - 1].set_data(fit.steps, fit.held_out)
        self.redraw()


# --- The signature


def mixed_colours(gamma: NDArray[Any]) -> NDArray[Any]:
    """One colour for each row of responsibilities (N, K)."""
    return np.clip(gamma @ RGB[: gamma.shape[1]], 0, 1)


def signature(
    inverse: dict[int, Fit],
    inverse_data: Data,
    forks: dict[int, Fit],
    fork_test: Data,
    gamma_of: Any,
    components: int = 3,
) -> Image:
    """Bishop's problem and Dodge's fork: points coloured by responsibility, and the mean that K = 1 says."""
    figure, (left, right) = stage(10.0, 4.3, 2)
    for axes, fits, data, k, grid in (
        (left, inverse, inverse_data, components, INVERSE),
        (right, forks, fork_test, 2, COLUMNS),
    ):
        with torch.no_grad():
            x, target = data.x[:800], data.target[:800]
            gamma = gamma_of(target, *fits[k].net(x))[:, 0].numpy()
        axes.scatter(x[:, 0], target[:, 0], c=mixed_colours(gamma), s=9, alpha=0.55, lw=0)
        _, mean, log_sigma = parts_of(fits[1], grid)
        sigma = np.exp(log_sigma[:, 0])
        axes.fill_between(
            grid, mean[:, 0] - sigma, mean[:, 0] + sigma, color=GREY, alpha=0.16, lw=0, label="K = 1: mean ± σ"
        )
        axes.plot(grid, mean[:, 0], color="black", ls="--", lw=2, label="K = 1: mean")
        log_pi, mu, _ = parts_of(fits[k], grid)
        for j in range(k):
            shown = np.where(np.exp(log_pi[:, j]) > 0.1, mu[:, j], np.nan)
            axes.plot(grid, shown, color="white", lw=4.5)
            axes.plot(grid, shown, color=COLOURS[j], lw=2.5, label=f"K = {k}: component {j + 1}")
        place = {"loc": "lower right"} if axes is left else {"loc": "upper center", "ncols": 2}
        axes.legend(frameon=True, framealpha=0.9, edgecolor="none", fontsize=8, **place)
    left.set(
        xlim=(-0.05, 1.05), ylim=(-0.1, 1.1), xlabel="x, given", ylabel="t, asked for", title="Bishop’s inverse problem"
    )
    right.set(
        xlim=(WALL - 0.5, SIZE - WALL + 0.5), ylim=(-7.5, 10), xlabel="column of a hazard behind the band, pixels",
        ylabel="pixels to the right, seven steps later", title="a fork in Dodge",
    )  # fmt: skip
    return still(
        figure,
        "Left an S-shaped cloud whose three branches are coloured by component, with the dashed mean of K = 1 between them; right "
        "two bands, left and right forks, in two colours, with the mean of K = 1 along the empty middle",
    )


# --- Calibration, and what is dreamt


def pit_picture(ranks: dict[str, NDArray[Any]]) -> Image:
    """Histograms of the ranks of held-out targets in their forecasts."""
    figure, axes = stage(9.4, 2.7, len(ranks), sharey=True)
    for ax, (name, values), colour in zip(axes, ranks.items(), COLOURS, strict=False):
        count = len(values)
        error = 2 * math.sqrt(0.05 * 0.95 / count) * 20
        ax.axhspan(1 - error, 1 + error, color=GREY, alpha=0.25, lw=0, label="95 % by chance")
        ax.hist(values, bins=20, range=(0, 1), weights=np.full(count, 20 / count), color=colour, alpha=0.75)
        ax.set(xlim=(0, 1), xlabel="rank F(target)", title=f"{name}: distance {distance_to_uniform(values):.3f}")
    axes[0].set_ylabel("share ÷ uniform")
    axes[0].legend(frameon=False, fontsize=8)
    return still(figure, f"Histograms of the PIT for {', '.join(ranks)}: with K = 1 two spikes, else nearly flat")


def points_picture(x: NDArray[Any], guesses: dict[str, NDArray[Any]], data: Data) -> Image:
    """Point forecasts of Bishop's t, and where each leads when it is put back into the forward direction."""
    figure, (left, right) = stage(9.4, 3.4, 2)
    left.plot(data.x[:400, 0], data.target[:400, 0], ".", color=GREY, ms=3, alpha=0.5)
    for (name, t), colour, style in zip(guesses.items(), (BLUE, ORANGE, GREEN), ("--", "-", ":"), strict=True):
        jumps = np.abs(np.diff(t, prepend=t[0])) > 0.08
        left.plot(x, np.where(jumps, np.nan, t), color=colour, ls=style, lw=2.5, label=name)
        right.plot(x, forward(t) - x, color=colour, ls=style, lw=2.5, label=name)
    right.axhspan(-0.1, 0.1, color=GREY, alpha=0.2, lw=0, label="within the noise")
    left.set(xlabel="x, given", ylabel="t, answered", ylim=(-0.1, 1.1))
    right.set(xlabel="x, given", ylabel="forward(t) − x")
    right.legend(frameon=False, fontsize=9, loc="lower left")
    return still(
        figure, "Left three answers t over x; right their error when put forward: the mean leaves the band of the noise"
    )


def dream_picture(rows: dict[str, Tensor], places: list[float]) -> Image:
    """Rows of pictures (n, 32, 32), with a name each, all of one fork: ``places`` are the columns it may lead to."""
    figure, axes = stage(9.4, 0.35 + 0.76 * len(rows))
    figure.set_layout_engine("none")  # which leaves too little room for the names beside a picture of fixed shape
    axes.set_position((0.18, 0.01, 0.81, 1 - 0.32 / figure.get_figheight()))
    sheets = [
        torch.nn.functional.pad(pictures, (1, 1, 1, 1), value=1.0).permute(1, 0, 2).flatten(1)
        for pictures in rows.values()
    ]
    axes.imshow(torch.cat(sheets), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    side = SIZE + 2  # of a picture with its rim
    across = [side * i + 0.5 + place for i in range(len(next(iter(rows.values())))) for place in places]
    for row in range(len(rows)):
        axes.plot(across, [side * row + 15.5] * len(across), "v", color=ORANGE, ms=3.5, mew=0)
    axes.set(xticks=[], yticks=[side * i + side / 2 for i in range(len(rows))], yticklabels=list(rows))
    axes.set_title("One fork, ten draws in each row. Orange: the two places where the hazard may be", size=10)
    axes.tick_params(length=0, labelsize=9)
    axes.spines[:].set_visible(False)
    return still(
        figure,
        f"Ten draws of one fork in each row: {', '.join(rows)}. One mixture over the vector draws whole hazards at one of "
        "two places, one in each dimension ghosts",
    )
