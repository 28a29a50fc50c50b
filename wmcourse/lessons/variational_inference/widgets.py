"""Lesson 01's pictures: the ceiling and the hill under it, two hills for one bell, and an ellipse that q must not tilt to."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyArrowPatch, FancyBboxPatch
from numpy.typing import NDArray

from wmcourse.engine.report import draw_strip
from wmcourse.lessons.live import Live, still
from wmcourse.lessons.variational_inference.experiment import Run
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
from wmcourse.worlds.dodge import begin, draw, picture

W, B, S = 6.0, 16.0, 3.0  # the reading of the agent's column, in pixels: x | z ~ N(6 z + 16, 3²)
PRECISION = 1 + W**2 / S**2
FLOOR = -12.0  # nats: the bottom of the stack
GRID = np.linspace(-3.5, 3.5, 701)


def density(z: NDArray[np.float64], mu: float, sigma: float) -> NDArray[np.float64]:
    return np.exp(-0.5 * ((z - mu) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))


def log_evidence(x: float) -> float:
    return -0.5 * ((x - B) ** 2 / (W**2 + S**2) + math.log(2 * math.pi * (W**2 + S**2)))


def closed_elbo(mu: Any, sigma: float, x: float) -> Any:
    misfit = (x - W * mu - B) ** 2 + (W * sigma) ** 2
    reconstruction = -0.5 * (misfit / S**2 + math.log(2 * math.pi * S**2))
    return reconstruction - 0.5 * (mu**2 + sigma**2 - 1) + math.log(sigma)


def ceiling() -> Explorer:
    """Prior, posterior and q above; below, for every mean of q, ELBO and KL stacked to the constant log p(x)."""
    figure = Figure(figsize=(6.8, 5.2), dpi=100, layout="constrained", facecolor="white")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.25))
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
    top.plot(GRID, density(GRID, 0, 1), color=GREY, lw=1.5, label="prior p(z)")
    (truth,) = top.plot(GRID, GRID * 0, color=BLUE, lw=2, label="posterior p(z|x)")
    (guess,) = top.plot(GRID, GRID * 0, color=ORANGE, lw=2, ls="--", label="q(z)")
    top.set(ylim=(0, 1.6), ylabel="density")
    top.legend(frameon=False, loc="upper left")
    (roof,) = bottom.plot(GRID, GRID * 0, color="black", lw=2)
    (hill,) = bottom.plot(GRID, GRID * 0, color=GREEN, lw=2)
    (here,) = bottom.plot([], [], color=ORANGE, lw=2, ls="--")
    (dot,) = bottom.plot([], [], "o", color=ORANGE, ms=7)
    box = {"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.85}
    names = [
        bottom.text(0, 0, "", color=colour, ha="center", va="center", size=10, bbox=box)
        for colour in ("black", GREEN, RED)
    ]
    bottom.set(xlim=(-3.5, 3.5), ylim=(FLOOR, 0), xlabel="z, and the mean μ of q", ylabel="nats")
    shades: list[Any] = []
    said = {"elbo": 0.0, "level": 0.0, "mu": 0.0, "sigma": 0.0, "x": 0.0}

    def move(mu: float, sigma: float, x: float) -> str:
        mean, std = W * (x - B) / (W**2 + S**2), PRECISION**-0.5
        truth.set_ydata(density(GRID, mean, std))
        guess.set_ydata(density(GRID, mu, sigma))
        level, curve = log_evidence(x), closed_elbo(GRID, sigma, x)
        roof.set_ydata(np.full_like(GRID, level))
        hill.set_ydata(curve)
        while shades:
            shades.pop().remove()
        low = np.maximum(curve, FLOOR)
        shades.append(bottom.fill_between(GRID, FLOOR, low, color=GREEN, alpha=0.3, lw=0))
        shades.append(bottom.fill_between(GRID, low, level, color=RED, alpha=0.25, lw=0, hatch="///"))
        value = float(closed_elbo(mu, sigma, x))
        said.update(elbo=value, level=level, mu=mu, sigma=sigma, x=x)
        here.set_data([mu, mu], [FLOOR, level])
        dot.set_data([mu], [max(value, FLOOR)])
        side = -2.7 if mean > 0 else 2.7
        for name, words, place in zip(
            names,
            (f"log p(x) = {level:.2f}".replace("-", "−"), "ELBO", "KL(q ‖ p(z|x))"),
            ((side, level + 0.7), (mean, 0.5 * (FLOOR + level) - 2), (side, 0.5 * (FLOOR + level))),
            strict=True,
        ):
            name.set_text(words)
            name.set_position(place)
        return (
            f"ELBO {value:.3f} + KL {level - value:.3f} = <b>log p(x) {level:.3f} nats</b>; "
            f"the posterior is N({mean:.2f}, {std:.2f}²)"
        )

    return Explorer(
        figure,
        move,
        alt=lambda: (
            "Above, the prior, the posterior and q. Below, the ELBO as a hill over q's mean, with the KL filling the space up to "
            "the flat log-evidence. At mu = {mu:.1f}, sigma = {sigma:.2f} and x = {x:.1f} the ELBO is {elbo:.2f} and log p(x) "
            "{level:.2f} nats.".format(**said)
        ),
        mu=slider("mean μ of q", -3.0, 3.0, -0.4, 0.1),
        sigma=slider("width σ of q", 0.1, 1.5, 0.8, 0.05),
        x=slider("reading x, pixels", 4.0, 28.0, 22.0, 0.5),
    )


# --- Two hills

COLUMNS = np.linspace(-24, 24, 961)
NODES = np.linspace(-6, 6, 401)  # of a standard normal
WEIGHTS = np.exp(-0.5 * NODES**2)
WEIGHTS /= WEIGHTS.sum()


def log_hills(z: NDArray[np.float64], apart: float, blur: float) -> NDArray[np.float64]:
    parts = [-0.5 * ((z - side * apart) / blur) ** 2 for side in (-1, 1)]
    return np.logaddexp(*parts) - math.log(2 * blur) - 0.5 * math.log(2 * math.pi)


def reverse_kl(mu: float, sigma: float, apart: float, blur: float) -> float:
    """KL(q ‖ p) for q = N(μ, σ²), by quadrature."""
    log_q = -0.5 * NODES**2 - math.log(sigma) - 0.5 * math.log(2 * math.pi)
    return float(WEIGHTS @ (log_q - log_hills(mu + sigma * NODES, apart, blur)))


def forward_kl(mu: float, sigma: float, apart: float, blur: float) -> float:
    """KL(p ‖ q), on the grid."""
    log_p = log_hills(COLUMNS, apart, blur)
    log_q = -0.5 * ((COLUMNS - mu) / sigma) ** 2 - math.log(sigma) - 0.5 * math.log(2 * math.pi)
    return float(np.trapezoid(np.exp(log_p) * (log_p - log_q), COLUMNS))


def climb(mu: float, sigma: float, apart: float, blur: float) -> tuple[float, float]:
    """From here downhill in KL(q ‖ p), by natural gradients with a step that shrinks where it fails and grows else."""
    rate, now = 0.1, reverse_kl(mu, sigma, apart, blur)
    for _ in range(150):
        z = mu + sigma * NODES
        left = 1 / (1 + np.exp(np.clip(2 * apart * z / blur**2, -700, 700)))  # the left hill's share
        score = (left * (-apart - z) + (1 - left) * (apart - z)) / blur**2
        by_mu, by_log_sigma = float(WEIGHTS @ score), 1 + float(WEIGHTS @ (score * sigma * NODES))
        new = (
            mu + max(-1.0, min(1.0, rate * sigma**2 * by_mu)),
            sigma * math.exp(max(-0.2, min(0.2, 0.5 * rate * by_log_sigma))),
        )
        value = reverse_kl(*new, apart, blur)
        if value < now:
            (mu, sigma), now, rate = new, value, 1.2 * rate
        else:
            rate *= 0.5
    return mu, sigma


def two_hills() -> Explorer:
    """Where will it come down? A posterior with two hills, and a single bell: yours, or what either KL likes best."""
    figure, (left, right) = stage(8.0, 3.6, 2, width_ratios=(2.6, 1))
    (truth,) = left.plot(COLUMNS, COLUMNS * 0, color=BLUE, lw=2, label="p(z|x)")
    (guess,) = left.plot(COLUMNS, COLUMNS * 0, color=ORANGE, lw=2, ls="--", label="q(z)")
    shade: list[Any] = []
    left.set(xlim=(-20, 20), ylim=(0, 0.3), xlabel="z: how far to the side it comes down, pixels", ylabel="density")
    left.legend(frameon=False, loc="upper left")
    bars = right.bar(["KL(q‖p)", "KL(p‖q)"], [0.0, 0.0], color=[ORANGE, BLUE], hatch=["", "//"], edgecolor="white")
    above = [right.text(i, 0, "", ha="center", va="bottom", size=10) for i in range(2)]
    right.set(ylim=(0, 10), ylabel="nats")

    def move(which: str, mu: float, sigma: float, apart: float) -> str:
        blur = 1.5
        if which == "downhill in KL(q‖p)":
            mu, sigma = climb(mu, sigma, apart, blur)
        elif which == "lowest KL(p‖q)":
            mu, sigma = 0.0, math.hypot(apart, blur)
        truth.set_ydata(np.exp(log_hills(COLUMNS, apart, blur)))
        while shade:
            shade.pop().remove()
        shade.append(left.fill_between(COLUMNS, truth.get_ydata(), color=BLUE, alpha=0.15, lw=0))
        guess.set_ydata(density(COLUMNS, mu, sigma))
        values = reverse_kl(mu, sigma, apart, blur), forward_kl(mu, sigma, apart, blur)
        for bar, text, value in zip(bars, above, values, strict=True):
            height = min(value, 9.0)
            bar.set_height(height)
            text.set_position((bar.get_x() + bar.get_width() / 2, height))
            text.set_text(without_minus_zero(f"{value:.2f}") + " ↑" * (value > height))
        return (
            f"q = N({mu:.2f}, {sigma:.2f}²): KL(q‖p) = <b>{values[0]:.2f}</b>, so the ELBO is {values[0]:.2f} nats below "
            f"log p(x); KL(p‖q) = {values[1]:.2f}"
        )

    return Explorer(
        figure,
        move,
        alt="Left, a posterior with two hills and a single bell q; right, bars of the two KLs between them.",
        which=choice("show", ["your q", "downhill in KL(q‖p)", "lowest KL(p‖q)"]),
        mu=slider("mean μ, pixels", -12.0, 12.0, 2.0, 0.5),
        sigma=slider("width σ, pixels", 0.5, 12.0, 4.0, 0.5),
        apart=slider("hills at ±, pixels", 0.0, 10.0, 9.0, 0.5),
    )


# --- A thin ellipse


def ellipse(covariance: NDArray[np.float64], **style: Any) -> Ellipse:
    """Where a centred two-dimensional Gaussian has 86 % of its mass inside: two standard deviations."""
    values, axes = np.linalg.eigh(covariance)
    width, height = 4 * np.sqrt(values)
    return Ellipse((0, 0), width, height, angle=float(np.degrees(np.arctan2(axes[1, 0], axes[0, 0]))), **style)


def thin(function: Callable[..., Any]) -> Explorer:
    """A correlated posterior, the best q that factorises, and the way there, one coordinate after the other."""
    figure, axes = stage(5.6, 5.0)
    axes.set(xlim=(-2.9, 2.9), ylim=(-2.9, 2.9), xlabel="first latent", ylabel="second latent", aspect="equal")
    (path,) = axes.plot([], [], ".-", color="black", lw=1, ms=5)
    (start,) = axes.plot([], [], "s", color="black", ms=7)
    drawn: list[Any] = []

    def move(rho: float, sweeps: int) -> str:
        covariance = np.array([[1.0, rho], [rho, 1.0]])
        tensors = torch.zeros(2, dtype=torch.float64), torch.from_numpy(covariance)
        walk = [torch.tensor([2.0, -2.0], dtype=torch.float64)]
        variance = torch.ones(2)
        for _ in range(max(sweeps, 1)):
            after, variance = function(*tensors, walk[-1], 1)
            if sweeps:
                walk += [torch.stack([after[0], walk[-1][1]]), after]
        points = torch.stack(walk).numpy()
        path.set_data(*points.T)
        start.set_data(*points[:1].T)
        std = float(variance[0]) ** 0.5
        while drawn:
            drawn.pop().remove()
        for matrix, style in (
            (covariance, {"ec": BLUE, "fc": BLUE, "alpha": 0.25, "lw": 2}),
            (covariance, {"ec": BLUE, "fc": "none", "lw": 2, "label": "posterior"}),
            (
                np.diag(variance.numpy()),
                {"ec": ORANGE, "fc": "none", "lw": 2.5, "ls": "--", "label": "best factorised q"},
            ),
            (np.eye(2), {"ec": GREY, "fc": "none", "lw": 1.5, "ls": ":", "label": "each number's own spread"}),
        ):
            drawn.append(axes.add_patch(ellipse(matrix, **style)))
        drawn.append(axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8.5))
        left = float(np.abs(points[-1]).max())
        return (
            f"spread of each number: true 1.00, in q <b>{std:.2f}</b>; the ELBO stays {-0.5 * math.log(1 - rho**2):.2f} nats "
            f"below log p(x); after {sweeps} sweep{'s' * (sweeps != 1)} the mean is off by {left:.3f}"
        )

    return Explorer(
        figure,
        move,
        alt="A tilted ellipse, a smaller circle inside it that is the best factorised q, a larger dotted circle, and the "
        "steps of coordinate ascent.",
        rho=slider("correlation ρ", -0.95, 0.95, 0.9, 0.05),
        sweeps=slider("sweeps", 0, 12, 4, 1),
    )


# --- Pictures for the measurements


class BoundPlot(Live):
    """ELBO and exact evidence while a model trains, the gap hatched between them: pass ``plot.show`` to ``train``."""

    def __init__(self, best: float) -> None:
        figure, (self.left, self.right) = stage(9.0, 3.2, 2, width_ratios=(1.6, 1))
        (self.evidence,) = self.left.plot([], [], color="black", lw=2, label="log p(x), exact")
        (self.elbo,) = self.left.plot([], [], color=GREEN, lw=2, label="ELBO")
        self.left.axhline(best, color=BLUE, ls=":", lw=1.5, label="maximum likelihood, closed form")
        self.left.set(xlabel="step", ylabel="nats per held-out frame", xlim=(0, 1000), ylim=(480, best + 20))
        self.left.legend(frameon=False, loc="lower right")
        (self.gap,) = self.right.plot([], [], color=RED, lw=2)
        self.right.set(xlabel="step", ylabel="KL(q ‖ p(z|x)), nats", xlim=(0, 1000), ylim=(0, 26))
        self.shade: list[Any] = []
        super().__init__(figure, alt="The ELBO climbs under the exact log-evidence, and the gap between them closes")

    def show(self, run: Run) -> None:
        """Draw all snapshots so far."""
        self.evidence.set_data(run.steps, run.evidence)
        self.elbo.set_data(run.steps, run.elbo)
        while self.shade:
            self.shade.pop().remove()
        self.shade.append(
            self.left.fill_between(run.steps, run.elbo, run.evidence, color=RED, alpha=0.3, lw=0, hatch="///")
        )
        self.gap.set_data(run.steps, np.subtract(run.evidence, run.elbo))
        self.redraw()


def strips(rows: dict[str, NDArray[np.uint8]]) -> Image:
    """Rows of frames with their names."""
    figure = Figure(figsize=(9.0, 0.4 + 1.05 * len(rows)), layout="constrained", facecolor="white")
    draw_strip(figure.subplots(), list(rows.values()), list(rows), "What eight linear numbers can say about a frame")
    return still(figure, f"Rows of pictures: {', '.join(rows)}")


def samples_picture(sizes: list[int], bounds: dict[str, NDArray[np.float64]], exact: float, closed: float) -> Image:
    """Each bound over the number of samples: (mean, standard error, standard deviation of one estimate) for each size."""
    figure, axes = stage(8.0, 3.8)
    axes.axhline(exact, color="black", lw=2, label="log p(x), exact")
    axes.axhline(closed, color=GREEN, lw=1, ls=":", label="ELBO, closed form")
    styles = {"ELBO": (GREEN, "o"), "importance-weighted bound": (ORANGE, "s")}
    for shift, (name, table) in zip((0.97, 1.03), bounds.items(), strict=True):
        mean, error, spread = table
        colour, marker = styles[name]
        places = shift * np.array(sizes)
        axes.fill_between(sizes, mean - spread, mean + spread, color=colour, alpha=0.15, lw=0)
        axes.errorbar(places, mean, 2 * error, color=colour, fmt=f"{marker}-", ms=5, capsize=4, lw=1.5, label=name)
    axes.set(xscale="log", xlabel="samples in one estimate", ylabel="nats, one frame")
    axes.legend(frameon=False, loc="lower right")
    return still(
        figure,
        "The ELBO's estimates scatter less with more samples but stay where they are; the importance-weighted bound "
        "climbs to the exact log-evidence",
    )


def opening() -> Image:
    """Dodge for human eyes, the frame that the agent gets, and the two directions between a frame and what is behind it."""
    state = begin(np.array([3], np.uint64))
    state.x[:], state.hazard_x[0], state.hazard_y[0] = 12.0, (21.0, 8.0, 16.0, 16.0), (14.5, 23.5, 1e3, 1e3)
    figure = Figure(figsize=(9.0, 3.4), layout="constrained", facecolor="white")
    world, frame, story = figure.subplots(1, 3)
    scale = 12
    world.imshow(picture(state, scale=scale))
    world.set(title="the world")
    ink = {"color": "white", "size": 9, "ha": "center"}
    for words, x, y in (("agent", 21.5, 30.7), ("a hazard falls", 17.5, 24.2), ("hidden by the band", 9.0, 15.0)):
        world.text(scale * x, scale * y, words, va="center", **ink)
    frame.imshow(draw(state)[0, ..., 0], cmap="gray", vmin=0, vmax=255)
    frame.set(title="a frame x: 1,024 numbers")
    for axes in (world, frame, story):
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    directions(story)
    return still(
        figure,
        "Left, Dodge with its agent, a falling hazard and one hidden by the band; middle, the grey frame that the agent "
        "gets; right, generating goes from the hidden numbers z to the frame x, inferring goes back",
    )


def directions(axes: Axes) -> None:
    """Two boxes, z above x, and the two ways between them."""
    axes.set(xlim=(-0.8, 10.8), ylim=(-0.8, 10.8), aspect="equal", title="what is behind it?")
    for y, name, what in ((8.1, "z", "a few hidden numbers"), (1.9, "x", "the pixels")):
        axes.add_patch(
            FancyBboxPatch((2.0, y - 1.0), 6.0, 2.0, "round,pad=0.1,rounding_size=0.4", fc="#EDEFF2", ec="#333333")
        )
        axes.text(5, y + 0.35, name, ha="center", va="center", weight="bold", size=12)
        axes.text(5, y - 0.5, what, ha="center", va="center", size=9)
    for x, start, end, colour in ((3.4, 6.9, 3.1, BLUE), (6.6, 3.1, 6.9, RED)):
        axes.add_patch(FancyArrowPatch((x, start), (x, end), arrowstyle="-|>", mutation_scale=16, color=colour, lw=2))
    axes.text(3.0, 5, "generate\np(x|z): easy", ha="right", va="center", size=9, color=BLUE)
    axes.text(7.0, 5, "infer\np(z|x): hard", ha="left", va="center", size=9, color=RED)
