"""Lesson 03's pictures: two densities with the integrand between them, the bowl of the KL, and bars of a code's cost."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from IPython.display import Image
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wmcourse.engine.report import draw_strip
from wmcourse.lessons.kl_divergence_loss.experiment import EVERY, Run
from wmcourse.lessons.live import Live, still
from wmcourse.lessons.widget import BLUE, GREEN, GREY, ORANGE, RED, Explorer, choice, slider, stage

Z = np.linspace(-5, 5, 1001)  # what is drawn
WIDE = np.linspace(-30, 30, 12_001)  # what is integrated
LIVELY = 0.1  # nats: below it a dimension counts as dead here


def density(z: NDArray[np.float64], mu: float, sigma: float) -> NDArray[np.float64]:
    return np.exp(-0.5 * ((z - mu) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))


def log_density(z: NDArray[np.float64], mu: float, sigma: float) -> NDArray[np.float64]:
    return -0.5 * ((z - mu) / sigma) ** 2 - math.log(sigma) - 0.5 * math.log(2 * math.pi)


def closed_form(mu_q: float, sigma_q: float, mu_p: float, sigma_p: float) -> float:
    return math.log(sigma_p / sigma_q) + (sigma_q**2 + (mu_q - mu_p) ** 2) / (2 * sigma_p**2) - 0.5


def two_densities() -> Explorer:
    """q against p = N(0, 1), with the integrand of the chosen direction shaded where it is positive and negative."""
    figure, (top, bottom) = stage(6.4, 4.2, 2, squeeze=True)
    figure.clear()
    top, bottom = figure.subplots(2, 1, sharex=True)
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
    top.fill_between(Z, density(Z, 0, 1), color=BLUE, alpha=0.15)
    top.plot(Z, density(Z, 0, 1), color=BLUE, lw=2, label="p = N(0, 1)")
    (line,) = top.plot(Z, Z * 0, color=ORANGE, lw=2, ls="--", label="q")
    top.set(xlim=(-5, 5), ylim=(0, 1.3), ylabel="density")
    top.legend(frameon=False, loc="upper right")
    (curve,) = bottom.plot(Z, Z * 0, color="black", lw=1)
    bottom.axhline(0, color=GREY, lw=0.8)
    bottom.set(ylim=(-0.5, 1.6), xlabel="z", ylabel="integrand, nats")
    title = bottom.set_title("q · log(q/p)", size=10)
    shades: dict[str, Any] = {}

    def draw(mu: float, sigma: float, direction: str) -> str:
        first, second = ((mu, sigma), (0.0, 1.0)) if direction == "q‖p" else ((0.0, 1.0), (mu, sigma))
        line.set_ydata(density(Z, mu, sigma))
        values = density(Z, *first) * (log_density(Z, *first) - log_density(Z, *second))
        curve.set_ydata(values)
        for name, colour, where in (("up", GREEN, values >= 0), ("down", RED, values < 0)):
            if name in shades:
                shades[name].remove()
            shades[name] = bottom.fill_between(Z, values, where=where, color=colour, alpha=0.7, lw=0)
        title.set_text("integrand q · log(q/p)" if direction == "q‖p" else "integrand p · log(p/q)")
        everywhere = density(WIDE, *first) * (log_density(WIDE, *first) - log_density(WIDE, *second))
        up = float(np.trapezoid(np.maximum(everywhere, 0), WIDE))
        down = float(np.trapezoid(np.minimum(everywhere, 0), WIDE))
        forward, reverse = closed_form(mu, sigma, 0, 1), closed_form(0, 1, mu, sigma)
        return (
            f"green {up:.3f} + red {down:.3f} (beyond the picture, too) = <b>{up + down:.3f} nats</b>; in closed form "
            f"KL(q‖p) = {forward:.3f}, KL(p‖q) = {reverse:.3f}"
        )

    return Explorer(
        figure,
        draw,
        alt="Above, the bells p and q; below, the KL's integrand, green where positive and red where negative.",
        mu=slider("mean μ of q", -3.0, 3.0, 1.0, 0.1),
        sigma=slider("width σ of q", 0.3, 2.5, 0.6, 0.05),
        direction=choice("direction", ["q‖p", "p‖q"]),
    )


def bowl() -> Explorer:
    """The KL over (μ, log σ²), and where one step of gradient descent after another leads from a start."""
    figure, axes = stage(5.6, 4.0)
    mus, logvars = np.meshgrid(np.linspace(-3, 3, 121), np.linspace(-4, 2.5, 121))
    heights = 0.5 * (np.exp(logvars) + mus**2 - 1 - logvars)
    levels = [0.05, 0.2, 0.5, 1, 2, 3, 4]
    lines = axes.contour(mus, logvars, heights, levels=levels, cmap="viridis", vmax=7, linewidths=1.2)
    axes.clabel(lines, fmt="%g", fontsize=8)
    axes.plot(0, 0, "+", color="black", ms=12)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    axes.annotate("the prior", (0, 0), (8, -3), textcoords="offset points", size=9, bbox=box)
    (path,) = axes.plot([], [], ".-", color=ORANGE, lw=1, ms=4)
    (start,) = axes.plot([], [], "o", color=RED, ms=8)
    axes.set(xlabel="μ", ylabel="log σ²", xlim=(-3, 3), ylim=(-4, 2.5))

    def draw(mu: float, logvar: float, rate: float) -> str:
        walk = [(mu, logvar)]
        for _ in range(40):
            m, v = walk[-1]
            walk.append((m - rate * m, v - rate * 0.5 * (math.exp(v) - 1)))
        path.set_data(*zip(*walk, strict=True))
        start.set_data([mu], [logvar])
        slope = 0.5 * (math.exp(logvar) - 1)
        cost = 0.5 * (math.exp(logvar) + mu**2 - 1 - logvar)
        m, v = walk[-1]
        return (
            f"KL = <b>{cost:.3f} nats</b>; slope by μ {mu:+.2f}, by log σ² {slope:+.2f}; "
            f"after 40 steps at ({m:+.2f}, {v:+.2f})"
        )

    return Explorer(
        figure,
        draw,
        alt="Contours of the KL over mean and log-variance, with a path of gradient descent to the prior.",
        mu=slider("μ", -3.0, 3.0, 2.0, 0.1),
        logvar=slider("log σ²", -4.0, 2.0, -3.0, 0.1),
        rate=slider("learning rate", 0.05, 0.6, 0.2, 0.05),
    )


class CodePlot(Live):
    """Bars of each dimension's KL that move while a network trains: pass ``plot.show`` to ``train``."""

    def __init__(self, title: str) -> None:
        figure = Figure(figsize=(9.0, 2.6), dpi=100, layout="constrained", facecolor="white")
        left, right = figure.subplots(1, 2)
        self.bars = left.bar(range(1, 9), np.zeros(8), color=BLUE)
        left.set(title=title, xlabel="latent dimension", ylabel="KL, nats", ylim=(0, 2.6))
        left.axhline(LIVELY, color=GREY, ls=":", lw=1)
        (self.rate,) = right.plot([], [], color=BLUE, label="KL of the code")
        (self.distortion,) = right.plot([], [], color=ORANGE, label="reconstruction ÷ 10")
        right.set(xlabel="step", ylabel="nats per frame", ylim=(0, 40))
        right.legend(frameon=False)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
        self.right = right
        self.count = left.text(0.98, 0.93, "", transform=left.transAxes, ha="right", size=9)
        super().__init__(
            figure, alt=f"{title}: the KL of each latent dimension, and the course of KL and reconstruction"
        )

    def show(self, run: Run) -> None:
        """Draw the newest snapshot."""
        for bar, height in zip(self.bars, run.kl[-1], strict=True):
            bar.set_height(height)
            bar.set_color(BLUE if height >= LIVELY else RED)
        self.count.set_text(f"{int((run.kl[-1] < LIVELY).sum())} of 8 dead")
        self.rate.set_data(run.steps, [kl.sum() for kl in run.kl])
        self.distortion.set_data(run.steps, [r / 10 for r in run.reconstruction])
        self.right.set_xlim(0, max(run.steps[-1], 1))
        self.redraw()


def code_bars(runs: dict[str, Run]) -> Explorer:
    """The bars of several trainings, and a slider over their steps: which dimensions live, and since when?"""
    figure, axes = stage(6.4, 3.0)
    bars = axes.bar(range(1, 9), np.zeros(8), color=BLUE)
    axes.axhline(LIVELY, color=GREY, ls=":", lw=1)
    axes.set(xlabel="latent dimension", ylabel="KL, nats", ylim=(0, 2.6))
    title = axes.set_title(" ")

    def draw(run: str, step: int) -> str:
        history = runs[run]
        i = min(step // EVERY, len(history.steps) - 1)
        for bar, height in zip(bars, history.kl[i], strict=True):
            bar.set_height(height)
            bar.set_color(BLUE if height >= LIVELY else RED)
        dead = int((history.kl[i] < LIVELY).sum())
        title.set_text(f"{run}, step {history.steps[i]}: {dead} of 8 dead")
        return (
            f"step {history.steps[i]}: KL <b>{history.kl[i].sum():.2f} nats</b> in all, reconstruction "
            f"{history.reconstruction[i]:.1f} nats; <b>{dead} of 8</b> dimensions below {LIVELY} nats"
        )

    last = max(run.steps[-1] for run in runs.values())
    return Explorer(
        figure,
        draw,
        alt="Bars: the KL of each of eight latent dimensions; a red bar is a dead one.",
        run=choice("training", list(runs)),
        step=slider("step", 0, last, last, EVERY),
    )


def samples_picture(
    sizes: list[int], estimates: NDArray[np.float64], errors: NDArray[np.float64], exact: float
) -> Image:
    """Monte-Carlo estimates with their standard errors around the exact KL, and the error's slope of −½."""
    figure, (left, right) = stage(9.0, 3.0, 2)
    left.errorbar(sizes, estimates, 2 * errors, fmt="o", color=ORANGE, capsize=4, label="estimate ± 2 standard errors")
    left.axhline(exact, color=BLUE, lw=1.5, label="closed form")
    left.set(xscale="log", xlabel="samples", ylabel="KL, nats")
    left.legend(frameon=False)
    right.loglog(sizes, errors, "o-", color=ORANGE, label="standard error")
    right.loglog(sizes, errors[-1] * np.sqrt(sizes[-1] / np.array(sizes)), color=GREY, ls="--", label="slope −½")
    right.set(xlabel="samples", ylabel="nats")
    right.legend(frameon=False)
    return still(
        figure, "Monte-Carlo estimates close in on the exact KL, with an error that falls with the root of the samples"
    )


def reconstructions(frames: NDArray[np.uint8], runs: dict[str, Run]) -> Image:
    """Held-out frames, and what each training made of them."""
    rows = [frames, *(run.pictures for run in runs.values() if run.pictures is not None)]
    figure = Figure(figsize=(9.0, 0.4 + 0.98 * len(rows)), layout="constrained", facecolor="white")
    draw_strip(figure.subplots(), rows, ["frame", *runs], "What each code lets the decoder draw")
    return still(figure, f"Frames and their reconstructions by: {', '.join(runs)}")


def opening(frame: NDArray[np.uint8]) -> Image:
    """A frame on its way through a code: the question of this lesson as a picture."""
    figure, (left, right) = stage(7.6, 2.8, 2, width_ratios=(1, 2.2))
    left.imshow(frame[..., 0], cmap="gray", vmin=0, vmax=255)
    left.set(xticks=[], yticks=[], title="a frame x")
    left.spines[:].set_visible(False)
    grid = np.linspace(-4, 4, 401)
    right.fill_between(grid, density(grid, 0, 1), color=BLUE, alpha=0.2, label="without the frame: p(z) = N(0, 1)")
    right.plot(grid, density(grid, 1.2, 0.35), color=ORANGE, lw=2, label="with it: q(z|x) = N(1.2, 0.35²)")
    right.set(xlabel="one latent dimension z", ylabel="density", title="how many nats is this worth?")
    right.legend(frameon=False, loc="upper left")
    return still(
        figure, "Left a Dodge frame; right the wide prior and the narrow code of the frame in one latent dimension"
    )
