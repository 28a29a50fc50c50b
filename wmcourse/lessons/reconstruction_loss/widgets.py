"""Lesson 04's pictures: one error under four likelihoods, the best width, two futures, and a training as pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from wmcourse.lessons.live import Live, still
from wmcourse.lessons.reconstruction_loss.experiment import STEPS, Run
from wmcourse.lessons.widget import BLUE, GREEN, GREY, ORANGE, RED, Explorer, choice, slider, stage

Array = NDArray[np.float64]
NAMES = ("Bernoulli", "Gaussian", "Laplace", "discretised logistic")
COLOURS = dict(zip(NAMES, (BLUE, ORANGE, GREEN, RED), strict=True))
STYLES = dict(zip(NAMES, ("-", "--", "-.", ":"), strict=True))
HALF = 1 / 510  # half a grey level
BAND = 80 / 255


def softplus(v: Array) -> Array:
    return np.logaddexp(0, v)


def cost(name: str, m: Array, x: Array | float, std: float) -> Array:
    """-log p(x) of each pixel, in nats, for a prediction m; the three bells have the standard deviation ``std``."""
    if name == "Bernoulli":
        return -x * np.log(m) - (1 - x) * np.log1p(-m)
    if name == "Gaussian":
        return 0.5 * ((x - m) / std) ** 2 + math.log(std) + 0.5 * math.log(2 * math.pi)
    if name == "Laplace":
        b = std / math.sqrt(2)
        return np.abs(x - m) / b + math.log(2 * b)
    s = std * math.sqrt(3) / math.pi
    below, above = softplus((m - x - HALF) / s), softplus((x - m - HALF) / s)
    inside = below + above - math.log(-math.expm1(-2 * HALF / s))
    return np.where(x < HALF, below, np.where(x > 1 - HALF, above, inside))


def slope(name: str, m: Array, x: float, std: float) -> Array:
    """The slope by what the network puts out: the logit for the Bernoulli, the mean for the others."""
    if name == "Bernoulli":
        return m - x
    if name == "Gaussian":
        return (m - x) / std**2
    if name == "Laplace":
        return np.sign(m - x) * math.sqrt(2) / std
    s = std * math.sqrt(3) / math.pi
    below, above = 1 / (1 + np.exp((x + HALF - m) / s)), -1 / (1 + np.exp((m - x + HALF) / s))
    return np.where(x < HALF, below, np.where(x > 1 - HALF, above, below + above)) / s


def blur(frame: Array, width: float) -> Array:
    """The frame under a Gaussian lens, ``width`` in pixels; its total brightness stays, but for the borders."""
    place = np.arange(len(frame))
    kernel = np.exp(-0.5 * ((place[:, None] - place) / width) ** 2)
    kernel /= kernel.sum(1, keepdims=True)
    return kernel @ frame @ kernel.T


def legend(figure: Figure, axes: Axes) -> None:
    """The four likelihoods' names, above the picture, where no curve runs through them."""
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4, frameon=False, fontsize=9)


def opening(frame: NDArray[np.uint8], std: float = 0.1) -> Image:
    """One blur, four bills: what each likelihood charges for the same wrong picture, pixel by pixel."""
    x = frame[..., 0] / 255
    m = np.clip(blur(x, 1.2), 1e-4, 1 - 1e-4)
    figure = Figure(figsize=(9.5, 2.35), layout="constrained", facecolor="white")
    axes = figure.subplots(1, 6)
    for a in axes:
        a.set(xticks=[], yticks=[])
        a.spines[:].set_visible(False)
    axes[0].imshow(x, cmap="gray", vmin=0, vmax=1)
    axes[1].imshow(m, cmap="gray", vmin=0, vmax=1)
    axes[0].set_title("the frame x", size=9)
    axes[1].set_title("a decoder’s\nblurred m", size=9)
    for a, name in zip(axes[2:], NAMES, strict=True):
        perfect = np.clip(x, 1e-12, 1 - 1e-12) if name == "Bernoulli" else x
        extra = cost(name, m, x, std) - cost(name, perfect, x, std)
        picture = a.imshow(extra, cmap="magma", vmin=0, vmax=4)
        bill = f"{cost(name, m, x, std).sum():,.0f}".replace("-", "−")
        a.set_title(f"{name}\n{bill} nats", size=9)
        a.set_xlabel(f"for the blur: {extra.sum():,.0f}", size=9)
    figure.colorbar(picture, ax=axes[-1], label="nats per pixel", extend="max", fraction=0.08)
    alt = "A Dodge frame, its blurred copy, and maps of what four likelihoods charge for the blur, with totals that differ"
    return still(figure, alt)


def four_likelihoods() -> Explorer:
    """One pixel: what a prediction costs under four likelihoods, and the slope that the network feels."""
    figure, (left, right) = stage(9.0, 3.4, 2)
    grid = np.linspace(0.005, 0.995, 397)
    lines, dots = {}, {}
    for axes, kind in ((left, "cost"), (right, "slope")):
        for name in NAMES:
            (lines[kind, name],) = axes.plot(grid, grid, color=COLOURS[name], ls=STYLES[name], lw=2, label=name)
            (dots[kind, name],) = axes.plot([], [], "o", color=COLOURS[name], ms=7)
        axes.axhline(0, color=GREY, lw=0.8)
        axes.set(xlim=(0, 1), xlabel="prediction m, from black (0) to white (1)")
    left.set(ylim=(-0.3, 16), ylabel="nats above its own minimum", title="what the pixel costs")
    right.set(yscale="symlog", ylim=(-150, 150), ylabel="slope by the output", title="how hard it pulls")
    right.set_yscale("symlog", linthresh=1)
    right.set_yticks([-100, -10, -1, 0, 1, 10, 100], ["−100", "−10", "−1", "0", "1", "10", "100"])
    right.minorticks_off()
    legend(figure, left)

    def draw(m: float, pixel: float, std: float) -> str:
        words = []
        for name in NAMES:
            costs, point = cost(name, grid, pixel, std), cost(name, np.array([m]), pixel, std)
            least = float(costs.min())
            lines["cost", name].set_ydata(np.where(costs - least < 18, costs - least, np.nan))
            lines["slope", name].set_ydata(slope(name, grid, pixel, std))
            pull = slope(name, np.array([m]), pixel, std)
            dots["cost", name].set_data([m], point - least)
            dots["slope", name].set_data([m], pull)
            words.append(f"{name} {float(point[0]) - least:.2f} nats, pull {float(pull[0]):+.2f}")
        return f"at m = {m:.2f}: " + "; ".join(words)

    return Explorer(
        figure,
        draw,
        alt="Left four curves of a pixel's cost over the prediction, right how hard each pulls on the network's output.",
        m=slider("prediction m", 0.02, 0.98, 0.6, 0.02),
        pixel=choice("pixel x", {"black (0)": 0.0, "the band (0.31)": BAND, "white (1)": 1.0}),
        std=slider("standard deviation", 0.05, 1.0, 0.1, 0.05),
    )


def width_bowl(frame: NDArray[np.uint8]) -> Explorer:
    """A frame and its blurred copy: the Gaussian's bill over σ, whose minimum stands at the RMSE."""
    x = frame[..., 0] / 255
    figure, (left, right) = stage(9.0, 3.2, 2, width_ratios=(1, 2.1))
    picture = left.imshow(x, cmap="gray", vmin=0, vmax=1)
    left.set(xticks=[], yticks=[], title="the prediction")
    left.spines[:].set_visible(False)
    sigmas = np.exp(np.linspace(math.log(0.006), math.log(2), 400))
    (curve,) = right.plot(sigmas, sigmas, color=ORANGE, lw=2)
    line = right.axvline(0.1, color=GREY, ls="--", lw=1.2)
    label = right.text(0.1, 4300, " RMSE", size=9, color="#444444")
    (dot,) = right.plot([], [], "o", color=RED, ms=8)
    right.axhline(0, color=GREY, lw=0.8)
    right.set(xscale="log", ylim=(-4000, 5000), xlabel="σ, in units of black to white", ylabel="nats per frame")
    right.set_yticks(range(-4000, 6000, 1000), [f"{v:,}".replace("-", "−") for v in range(-4000, 6000, 1000)])
    right.set_xticks([0.01, 0.03, 0.1, 0.3, 1], ["0.01", "0.03", "0.1", "0.3", "1"])
    right.minorticks_off()

    def bill(mse: float, sigma: Array | float) -> Array:
        return x.size * (mse / (2 * np.square(sigma)) + np.log(sigma) + 0.5 * math.log(2 * math.pi))

    def draw(width: float, log_sigma: float) -> str:
        m = blur(x, width)
        mse, sigma = float(((x - m) ** 2).mean()), math.exp(log_sigma)
        rmse = math.sqrt(mse)
        picture.set_data(m)
        curve.set_ydata(bill(mse, sigmas))
        line.set_xdata([rmse, rmse])
        label.set_x(rmse)
        now, least = float(bill(mse, sigma)), float(bill(mse, rmse))
        dot.set_data([sigma], [np.clip(now, -3950, 4950)])
        return (
            f"σ = {sigma:.3f}: <b>{now:,.0f} nats</b>; the least is {least:,.0f} nats at σ = RMSE = {rmse:.3f}; "
            f"a wrong σ costs {now - least:,.0f} nats. Divided by 2σ², a squared error counts {1 / (2 * sigma**2):,.1f} times"
        )

    return Explorer(
        figure,
        draw,
        alt="Left a blurred frame; right the negative log-likelihood over σ, steep below the RMSE and gentle above it.",
        width=slider("blur, in pixels", 0.4, 4.0, 1.2, 0.1),
        log_sigma=slider("log σ", -5.0, 0.6, 0.0, 0.1),
    )


def two_futures() -> Explorer:
    """A pixel that is white with probability p: which grey is the cheapest answer under each likelihood?"""
    figure, (left, right) = stage(9.0, 3.3, 2, width_ratios=(1.7, 1))
    grid = np.linspace(-0.3, 1.3, 1281)
    inside = np.clip(grid, 1e-9, 1 - 1e-9)
    lines, dots, patches, labels = {}, {}, {}, {}
    for i, name in enumerate(NAMES):
        (lines[name],) = left.plot(grid, grid, color=COLOURS[name], ls=STYLES[name], lw=2, label=name)
        (dots[name],) = left.plot([], [], "o", color=COLOURS[name], ms=12 if i == 0 else 8)
        patches[name] = right.add_patch(Rectangle((0, 3 - i), 0.9, 0.85, ec=COLOURS[name], lw=2))
        labels[name] = right.text(1.0, 3.42 - i, "", va="center", size=9)
    left.set(
        xlim=(-0.3, 1.3), ylim=(-0.1, 3), xlabel="grey m that is painted", ylabel="expected nats above the minimum"
    )
    legend(figure, left)
    right.set(xlim=(-0.1, 3.2), ylim=(-0.2, 4.1), xticks=[], yticks=[], title="what it paints")
    right.spines[:].set_visible(False)  # not axis("off"): an axis that is never drawn has all drawn anew each time

    def draw(p: float, std: float) -> str:
        words = []
        for name in NAMES:
            m = inside if name == "Bernoulli" else grid
            costs = p * cost(name, m, 1.0, std) + (1 - p) * cost(name, m, 0.0, std)
            if name == "Bernoulli":
                costs = np.where((grid > 0) & (grid < 1), costs, np.nan)
            least = np.nanmin(costs)
            cheapest = np.clip(grid[costs < least + 1e-9], 0, 1)
            low, high = float(cheapest[0]), float(cheapest[-1])
            painted = (low + high) / 2
            any_grey = high - low > 0.1  # a floor that is flat: the Laplace at p = ½
            answer = f"any from {low:.0f} to {high:.0f}" if any_grey else f"{painted:.2f}"
            above = costs - least
            lines[name].set_ydata(np.where(above < 3.3, above, np.nan))  # dashes out of sight cost time
            dots[name].set_data([painted], [0])
            patches[name].set(facecolor=str(painted), hatch="//" if any_grey else None)
            labels[name].set_text(f"{name}: {answer}")
            words.append(f"{name} paints {'any grey' + answer[3:] if any_grey else answer}")
        return f"white with probability {p:.2f}: " + "; ".join(words)

    return Explorer(
        figure,
        draw,
        alt="Left the expected cost over the painted grey for four likelihoods; right the cheapest grey of each as a patch.",
        p=slider("probability of white", 0.05, 0.95, 0.4, 0.05),
        std=slider("standard deviation", 0.05, 1.0, 0.1, 0.05),
    )


class Paintings(Live):
    """What decoders paint while they train, a row for each: give a training ``show=plot.show``."""

    def __init__(self, frames: NDArray[np.uint8], titles: Sequence[str]) -> None:
        rows, (count, side) = len(titles) + 1, frames.shape[:2]
        figure = Figure(figsize=(9.0, 0.35 + max(2.6, 0.66 * rows)), dpi=100, layout="constrained", facecolor="white")
        grid = figure.add_gridspec(2, 2, width_ratios=(2.3, 1))
        strip, self.kl, self.error = (figure.add_subplot(grid[i]) for i in ((slice(2), 0), (0, 1), (1, 1)))
        self.step = side + 2
        self.sheet = np.full((rows * self.step - 2, count * self.step - 2), 255, np.uint8)
        self.paint(0, frames)
        self.picture = strip.imshow(self.sheet, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        strip.set(xticks=[], yticks=[r * self.step + side / 2 for r in range(rows)], yticklabels=["frame", *titles])
        strip.tick_params(length=0)
        strip.spines[:].set_visible(False)
        self.rows = {title: r + 1 for r, title in enumerate(titles)}
        colours, styles = (BLUE, ORANGE, GREEN, RED, GREY), ("-", "--", "-.", ":", (0, (5, 1, 1, 1)))
        self.lines = {}
        for i, title in enumerate(titles):
            for axes in (self.kl, self.error):
                (self.lines[title, axes],) = axes.plot([], [], color=colours[i], ls=styles[i], lw=1.6, label=title)
        for axes in (self.kl, self.error):
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_xlim(0, STEPS)
        self.kl.set(ylim=(0, 35 if len(titles) < 4 else 55), xticklabels=[])
        self.kl.set_title("KL per frame, nats", size=9)
        self.error.set(xlabel="step", ylim=(0, 40))
        self.error.set_title("squared error per frame", size=9)
        (self.error if len(titles) < 4 else self.kl).legend(frameon=False, fontsize=8)
        words = f"A row of held-out frames, and as painted by: {', '.join(titles)}; beside it KL and squared error per frame"
        super().__init__(figure, words)

    def paint(self, row: int, frames: NDArray[np.uint8]) -> None:
        for column, frame in enumerate(frames[..., 0]):
            top, left = row * self.step, column * self.step
            self.sheet[top : top + len(frame), left : left + len(frame)] = frame

    def show(self, run: Run) -> None:
        """Draw the newest snapshot of a training in its row."""
        assert run.pictures is not None
        self.paint(self.rows[run.title], run.pictures)
        self.picture.set_data(self.sheet)
        self.lines[run.title, self.kl].set_data(run.steps, [kl.sum() for kl in run.kl])
        self.lines[run.title, self.error].set_data(run.steps, run.error)
        for axes in (self.kl, self.error):
            axes.set_xlim(0, max(STEPS, run.steps[-1]))
        self.redraw()
