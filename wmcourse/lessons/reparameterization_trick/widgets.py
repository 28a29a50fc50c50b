"""Lesson 02's pictures: two estimators as histograms, the graph with the die in it and beside it, and a relaxed die."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from numpy.typing import NDArray

from wmcourse.lessons.live import Live, still
from wmcourse.lessons.reparameterization_trick.experiment import Relaxation, Run
from wmcourse.lessons.widget import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    Explorer,
    choice,
    slider,
    stage,
    without_minus_zero,
)

INK, PALE = "#333333", "#EDEFF2"
RUNS, MOST = 2_000, 64  # estimates in a histogram; samples in each at most
Array = NDArray[np.float64]


# --- Boxes, dice and arrows


def box(axes: Axes, x: float, y: float, text: str, colour: str = PALE, width: float = 0.84, height: float = 0.5) -> Any:
    corner = (x - width / 2, y - height / 2)
    axes.add_patch(FancyBboxPatch(corner, width, height, "round,pad=0.02,rounding_size=0.08", fc=colour, ec=INK, lw=1))
    return axes.text(x, y, text, ha="center", va="center", size=10, color=INK)


def die(axes: Axes, x: float, y: float, size: float = 0.42) -> list[Any]:
    """A die that shows five."""
    corner = (x - size / 2, y - size / 2)
    parts: list[Any] = [
        FancyBboxPatch(corner, size, size, "round,pad=0.02,rounding_size=0.07", fc="white", ec=INK, lw=1.5)
    ]
    d = 0.28 * size
    parts += [
        Circle((x + i * d, y + j * d), 0.075 * size, fc=INK) for i, j in ((0, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
    ]
    for part in parts:
        axes.add_patch(part)
    return parts


def arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str = INK,
    bend: float = 0.0,
    **options: Any,
) -> Any:
    patch = FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=12, color=colour, connectionstyle=f"arc3,rad={bend}", **options
    )
    axes.add_patch(patch)
    return patch


def bare(figure: Figure, left: float, right: float, low: float, high: float) -> Axes:
    axes = figure.subplots()
    axes.set(xlim=(left, right), ylim=(low, high), aspect="equal")
    axes.axis("off")
    return axes


def opening(frame: NDArray[np.uint8]) -> Image:
    """A frame on its way to a loss, through a die; and the gradient on its way back."""
    figure = Figure(figsize=(8.6, 2.5), dpi=100, layout="constrained", facecolor="white")
    axes = bare(figure, -0.75, 7.1, -0.95, 1.0)
    axes.imshow(frame[..., 0], cmap="gray", vmin=0, vmax=255, extent=(-0.62, 0.62, -0.62, 0.62))
    axes.text(0, 0.72, "a frame x", ha="center", size=10)
    for x, text in ((1.5, "encoder"), (2.65, "μ, σ"), (4.65, "decoder"), (6.35, "loss, nats")):
        box(axes, x, 0, text, width=0.8 if x != 6.35 else 1.0)
    die(axes, 3.65, 0)
    axes.text(3.65, 0.42, "z ~ N(μ, σ²)", ha="center", size=10)
    for start, end in ((0.66, 1.04), (1.96, 2.19), (3.11, 3.38), (3.92, 4.19), (5.11, 5.8)):
        arrow(axes, (start, 0), (end, 0))
    arrow(axes, (6.2, -0.36), (4.75, -0.36), GREEN, -0.25, lw=2)
    arrow(axes, (4.5, -0.36), (3.75, -0.36), GREEN, -0.35, lw=2)
    arrow(axes, (3.5, -0.36), (2.75, -0.36), RED, -0.35, lw=2, ls="--")
    axes.text(5.5, -0.85, "slope by z", ha="center", size=10, color=GREEN)
    axes.text(3.1, -0.85, "slope by μ and σ?", ha="center", size=10, color=RED)
    return still(
        figure,
        "A Dodge frame goes through an encoder to mu and sigma, a die draws z, a decoder and a loss follow; the gradient "
        "comes back from the loss to z, and a question mark stands between z and mu, sigma",
    )


def graph() -> Explorer:
    """The graph of z² with the die inside of it, or moved out: which slopes come back?"""
    figure = Figure(figsize=(7.2, 3.7), dpi=100, layout="constrained", facecolor="white")
    axes = bare(figure, -0.6, 5.4, -1.75, 1.35)
    mu_text, sigma_text = box(axes, 0, 0.8, ""), box(axes, 0, -0.4, "")
    z_text, f_text = box(axes, 2.6, 0.2, "", width=1.5, height=0.66), box(axes, 4.7, 0.2, "", width=1.1, height=0.66)
    for end in ((1.8, 0.4), (1.8, 0.05)):
        arrow(axes, (0.45, 0.8 if end[1] > 0.2 else -0.4), end, GREY)
    arrow(axes, (3.4, 0.2), (4.1, 0.2), GREY)
    outside = [
        *die(axes, 2.0, -1.35),
        axes.text(2.35, -1.35, "", va="center", size=10),
        arrow(axes, (2.1, -1.08), (2.4, -0.18), GREY),
    ]
    inside = [*die(axes, 2.6, 0.95, 0.36)]
    arrow(axes, (4.2, 0.62), (3.3, 0.62), GREEN, 0.3, lw=2)
    by_z = axes.text(3.8, 0.98, "", ha="center", size=10, color=GREEN)
    backs = [
        arrow(axes, (1.75, 0.62), (0.45, 1.02), GREEN, 0.2, lw=2),
        arrow(axes, (1.75, -0.15), (0.45, -0.62), GREEN, -0.2, lw=2),
    ]
    labels = [axes.text(1.2, 1.12, "", ha="center", size=10), axes.text(0.95, -0.92, "", ha="center", size=10)]

    thrown = {"epsilon": math.nan, "z": math.nan}  # what the die showed, and the z that it made

    def draw(where: str, mu: float, sigma: float, epsilon: float) -> str:
        out = where == "beside the graph"
        if out or epsilon != thrown["epsilon"]:  # inside, only another throw changes z
            thrown.update(epsilon=epsilon, z=mu + sigma * epsilon)
        z = thrown["z"]
        mu_text.set_text(f"μ = {mu:.1f}")
        sigma_text.set_text(f"σ = {sigma:.1f}")
        z_text.set_text(without_minus_zero(f"z = μ + σ·ε\n= {z:.2f}" if out else f"z ~ N(μ, σ²)\nthrown: {z:.2f}"))
        f_text.set_text(f"f = z²\n= {z * z:.2f}")
        for artist in outside:
            artist.set_visible(out)
        for artist in inside:
            artist.set_visible(not out)
        outside[-2].set_text(f"ε = {epsilon:.1f}, an input")
        by_z.set_text(without_minus_zero(f"2z = {2 * z:.2f}"))
        for back, label, text in zip(
            backs, labels, (f"2z·1 = {2 * z:.2f}", f"2z·ε = {2 * z * epsilon:.2f}"), strict=True
        ):
            back.set(color=GREEN if out else RED, linestyle="-" if out else "--")
            label.set(text=without_minus_zero(text) if out else "stops: 0", color=GREEN if out else RED)
        if out:
            return (
                f"z = {z:.2f}, f = {z * z:.2f}. Back come ∂f/∂μ = <b>{2 * z:.2f}</b> and ∂f/∂σ = <b>{2 * z * epsilon:.2f}</b>: "
                "z is arithmetic on μ and σ, and ε is a number like any other input."
            )
        return (
            f"The die has shown z = {z:.2f}, so f = {z * z:.2f}. Back to z comes 2z = {2 * z:.2f}; to μ and σ comes <b>0</b>: move "
            "them, and this z stays where it is. (The slider of ε throws the die again.)"
        )

    return Explorer(
        figure,
        draw,
        alt=lambda: (
            "A graph from mu and sigma over z to f = z², with the slopes that come back. "
            + (
                "The die is inside of z, and no slope reaches mu and sigma. "
                if inside[0].get_visible()
                else "The die is beside it. "
            )
            + f"z is {thrown['z']:.2f}."
        ),
        where=choice("the die is", ["beside the graph", "inside the graph"]),
        mu=slider("μ", -2.0, 2.0, 1.0, 0.1),
        sigma=slider("σ", 0.1, 2.0, 0.8, 0.1),
        epsilon=slider("the die's ε", -2.5, 2.5, 0.9, 0.1),
    )


# --- Two estimators


def exact(f: str, by: str, mu: float, sigma: float) -> float:
    """The slope of E[f(z)] in closed form."""
    damped = math.exp(-0.5 * sigma**2)
    at_zero = math.exp(-0.5 * (mu / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))  # the density of z at the step
    return {
        ("z²", "μ"): 2 * mu,
        ("z²", "σ"): 2 * sigma,
        ("sin z", "μ"): damped * math.cos(mu),
        ("sin z", "σ"): -sigma * damped * math.sin(mu),
        ("a step at 0", "μ"): at_zero,
        ("a step at 0", "σ"): -at_zero * mu / sigma,
    }[f, by]


def estimates(f: str, by: str, mu: float, sigma: float, epsilon: Array) -> tuple[Array, Array]:
    """The path's and the score's estimates from noise (runs, samples): (runs,) each."""
    z = mu + sigma * epsilon
    value, slope = {
        "z²": lambda: (z * z, 2 * z),
        "sin z": lambda: (np.sin(z), np.cos(z)),
        "a step at 0": lambda: ((z > 0).astype(float), 0 * z),
    }[f]()
    if by == "μ":
        return slope.mean(axis=1), (value * epsilon / sigma).mean(axis=1)
    return (slope * epsilon).mean(axis=1), (value * (epsilon**2 - 1) / sigma).mean(axis=1)


def two_estimators() -> Explorer:
    """2,000 estimates of one gradient by the path and by the score: where are they on average, how far do they stray?"""
    noise = np.random.default_rng(2).normal(size=(RUNS, MOST))
    figure, axes = stage(7.2, 3.6)
    start = np.linspace(-1, 1, 41)
    wide = axes.stairs(np.zeros(40), start, fill=True, color=ORANGE, alpha=0.55, label="score: f(z) · ∂log q")
    wide_line = axes.stairs(np.zeros(40), start, color=ORANGE, lw=1.5)
    narrow = axes.stairs(np.zeros(40), start, fill=True, color=BLUE, alpha=0.55, label="path: f′(z) · ∂z")
    narrow_line = axes.stairs(np.zeros(40), start, color=BLUE, lw=1.5)
    line = axes.axvline(0, color="black", lw=1.5, ls="--", label="exact gradient")
    axes.legend(frameon=False, loc="upper right", fontsize=9)
    axes.set(xlabel="estimate of the gradient", ylabel="share of runs per unit", yticks=[])
    title = axes.set_title(" ", size=10)
    words: list[str] = []

    def draw(mu: float, sigma: float, samples: int, f: str, by: str) -> str:
        truth = exact(f, by, mu, sigma)
        path, score = estimates(f, by, mu, sigma, noise[:, :samples])
        top = 0.0
        for values, filled, edge in ((score, wide, wide_line), (path, narrow, narrow_line)):
            reach = max(4 * float(values.std()), 1e-3)
            edges = np.linspace(values.mean() - reach, values.mean() + reach, 41)
            heights = np.histogram(values, edges)[0] / RUNS / (edges[1] - edges[0])
            filled.set_data(heights, edges)
            edge.set_data(heights, edges)
            top = max(top, heights.max()) if values.std() else top or heights.max()
        line.set_xdata([truth, truth])
        reach = max(4 * float(score.std()), 1.3 * abs(truth), 0.2)
        axes.set(xlim=(truth - reach, truth + reach), ylim=(0, 1.15 * top))
        title.set_text(
            f"slope of E[f(z)] by {by}, f = {f}: {RUNS:,} estimates from {samples} sample{'s' * (samples > 1)} each"
        )
        words[:] = [
            f"Histograms of {RUNS:,} estimates of the slope of E[f(z)] by {by}, f = {f}, mu = {mu:.1f}, sigma = {sigma:.1f}, "
            f"{samples} samples in each. The exact value is {truth:.2f}. The path's have the mean {path.mean():.2f} and the standard "
            f"deviation {path.std():.2f}; the score's {score.mean():.2f} and {score.std():.2f}."
        ]
        said = (
            f"exact {truth:+.3f}; path {path.mean():+.3f} ± {path.std():.3f}, score {score.mean():+.3f} ± {score.std():.3f} "
            "(mean ± standard deviation). "
        )
        if not path.std() and abs(truth) < 5e-4:
            return said + "A step has no slope for the path to find; here the exact one is 0, too."
        if not path.std():
            return (
                said
                + "<b>The path is silent and wrong</b>: where a step is flat its slope is 0, and no sample sits on the jump."
            )
        ratio = score.var() / path.var()
        return said + f"For the same error the score needs <b>{ratio:,.3g} times</b> as many samples."

    return Explorer(
        figure,
        draw,
        alt=lambda: words[0],
        mu=slider("mean μ", -3.0, 3.0, 1.0, 0.1),
        sigma=slider("width σ", 0.2, 2.0, 0.5, 0.1),
        samples=slider("samples in each", 1, MOST, 8, 1),
        f=choice("f(z)", ["z²", "sin z", "a step at 0"]),
        by=choice("slope by", ["μ", "σ"]),
    )


# --- What is measured


def dimension_picture(dimensions: list[int], measured: dict[str, list[float]], curves: dict[str, list[float]]) -> Image:
    """How many times as many samples the score needs, over the dimension, without and with a baseline."""
    figure, axes = stage(7.2, 3.4)
    colours = {"score": ORANGE, "score with a baseline": GREEN, "path": BLUE}
    for name, marker in zip(measured, "os^", strict=True):
        axes.loglog(dimensions, measured[name], marker, color=colours[name], label=name)
        axes.loglog(dimensions, curves[name], color=colours[name], lw=1, ls="--")
    axes.set(xlabel="dimensions D of z", ylabel="variance ÷ the path's", xticks=dimensions, xticklabels=dimensions)
    axes.minorticks_off()
    axes.legend(frameon=False, title="points measured, lines in closed form")
    ends = "; ".join(
        f"{name} {row[0]:.3g} at D = 1, {row[-1]:.3g} at D = {dimensions[-1]}" for name, row in curves.items()
    )
    return still(
        figure, f"Variance over the path's, on two logarithmic axes: {ends}. Measured points lie on the lines."
    )


def relaxed_die(relaxation: Relaxation, draw_faces: Callable[[float], Array]) -> Explorer:
    """Samples of a relaxed die on their triangle, and what the temperature does to bias and noise of the gradient.

    ``draw_faces(temperature)`` gives samples (n, 3).
    """
    figure, (left, right) = stage(8.2, 3.5, 2, width_ratios=(1, 1.35))
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(3) / 2]])
    left.plot(*corners[[0, 1, 2, 0]].T, color=GREY, lw=1)
    for corner, name, shift in zip(corners, "123", ((-0.09, -0.06), (0.09, -0.06), (0, 0.06)), strict=True):
        left.text(*(corner + shift), f"face {name}", ha="center", va="center", size=9)
    (dots,) = left.plot([], [], ".", color=BLUE, ms=4, alpha=0.5)
    left.set(xlim=(-0.2, 1.2), ylim=(-0.15, 1.0), aspect="equal")
    left.axis("off")
    size = float(np.linalg.norm(relaxation.exact))
    right.plot(relaxation.temperatures, relaxation.bias, color=RED, lw=2, label="bias")
    right.plot(relaxation.temperatures, relaxation.noise, color=BLUE, lw=2, label="noise of one sample")
    right.axhline(relaxation.score_noise, color=ORANGE, ls="--", lw=1.5, label="noise of the score (no bias)")
    right.axhline(size, color="black", ls=":", lw=1.5, label="length of the exact gradient")
    here = right.axvline(1, color=GREY, lw=1)
    right.set(xlabel="temperature τ", ylabel="length, in units of f", ylim=(0, 3.6), xlim=(0, 3))
    right.legend(frameon=False, fontsize=9)

    def draw(temperature: float) -> str:
        dots.set_data(*(draw_faces(temperature) @ corners).T)
        here.set_xdata([temperature, temperature])
        i = int(np.argmin(np.abs(relaxation.temperatures - temperature)))
        return (
            f"τ = {temperature:.1f}: bias <b>{relaxation.bias[i]:.2f}</b> (exact gradient {size:.2f}), noise of one sample "
            f"<b>{relaxation.noise[i]:.2f}</b> (score {relaxation.score_noise:.2f})"
        )

    return Explorer(
        figure,
        draw,
        alt=lambda: (
            "Left, samples of a relaxed die in a triangle; right, over the temperature, its gradient's bias, which rises from "
            f"{relaxation.bias[0]:.2f} to {relaxation.bias[-1]:.2f}, and its noise, which falls from {relaxation.noise[0]:.1f} to "
            f"{relaxation.noise[-1]:.1f}; the score's noise is {relaxation.score_noise:.1f}."
        ),
        temperature=slider("temperature τ", 0.1, 3.0, 0.5, 0.1),
    )


COLOURS = {"path": BLUE, "score with a baseline": GREEN, "score": ORANGE}


class LossPlot(Live):
    """The held-out loss of trainings, one line each, while they run: ``plot.show(run)``."""

    def __init__(self, steps: int) -> None:
        figure, axes = stage(7.2, 3.2)
        axes.set(xlabel="step", ylabel="held-out loss, nats per frame", xlim=(0, steps), ylim=(185, 235))
        self.axes, self.lines = axes, dict[str, Any]()
        super().__init__(
            figure,
            alt="Held-out loss over the steps for encoders trained by the path, and by the score with and without a baseline",
        )

    def show(self, run: Run) -> None:
        """Draw the newest snapshot."""
        if not self.lines:
            self.axes.axhline(run.loss[0], color="black", ls=":", lw=1.5, label="the average frame for every frame")
        if run.title not in self.lines:
            (self.lines[run.title],) = self.axes.plot([], [], color=COLOURS[run.title], lw=2, label=run.title)
            self.axes.legend(frameon=False, loc="lower left")
        self.lines[run.title].set_data(run.steps, run.loss)
        self.redraw()


def noise_bars(noise: dict[str, float]) -> Image:
    """The gradient noise of each estimator at one network, on a logarithmic axis."""
    figure, axes = stage(7.2, 2.0)
    names = list(noise)
    axes.barh(names, list(noise.values()), color=[COLOURS[name] for name in names], height=0.6)
    for i, value in enumerate(noise.values()):
        axes.text(value * 1.2, i, f"{value:,.0f}", va="center", size=10)
    axes.set(xscale="log", xlabel="variance of one sample's gradient by μ, nats²", xlim=(1, 3e7))
    axes.invert_yaxis()
    numbers = ", ".join(f"{name} {value:,.0f}" for name, value in noise.items())
    return still(
        figure, f"Bars on a logarithmic axis, the variance of one sample's gradient by mu in nats squared: {numbers}"
    )
