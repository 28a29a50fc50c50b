"""Lesson 05's pictures: a price on a curve, what a rate pays for, a training, the curve of a trained VAE, and a code
that one can turn by hand.
"""

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
from wmcourse.lessons.vae_complete_loss.experiment import (
    ABOVE,
    GROUND,
    HeldOut,
    History,
    Model,
    Point,
    centre,
    eight,
    exact_cost,
    explained,
    facts,
    moved,
    named,
)
from wmcourse.lessons.widget import BLUE, GREEN, GREY, ORANGE, RED, Explorer, slider, stage
from wmcourse.reconstruction_loss import bernoulli_nll
from wmcourse.vae_complete_loss import ConvVAE

Z = np.linspace(-4, 4, 801)
WIDE = np.linspace(-9, 9, 3601)  # what is integrated
PALE = "#EDEFF2"


def density(z: NDArray[np.float64], mu: float, sigma: float) -> NDArray[np.float64]:
    return np.exp(-0.5 * ((z - mu) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))


def picture(axes: Axes, pixels: Any, title: str = "") -> Any:
    """Greys from 0 to 1, without axes."""
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, size=10)
    axes.spines[:].set_visible(False)
    return axes.imshow(pixels, cmap="gray", vmin=0, vmax=1)


def row(pictures: Tensor) -> NDArray[np.float32]:
    """Pictures (n, 32, 32) side by side, with grey lines between and below: (33, 33·n)."""
    framed = torch.nn.functional.pad(pictures, (0, 1, 0, 1), value=0.6)
    return framed.permute(1, 0, 2).reshape(33, -1).numpy()


def opening(frames: Tensor) -> Image:
    """The two ends of a curve: nothing said, and everything."""
    average = frames.mean(0, keepdim=True)
    worst = float(bernoulli_nll(torch.logit(average, eps=1e-4).expand_as(frames), frames).mean())
    best = exact_cost(frames)
    figure, (left, middle, right) = stage(9.0, 3.0, 3, width_ratios=(1, 1.7, 1))
    picture(left, average[0, 0], "nothing said: the average frame")
    middle.plot([0], [worst], "o", color=ORANGE, ms=9)
    middle.axhline(best, color=GREY, ls="--", lw=1)
    middle.text(5, best + 3, "every grey drawn exactly", size=9, color=GREY)
    middle.text(0.5, 0.55, "?", size=44, color=GREY, ha="center", va="center", transform=middle.transAxes)
    middle.set(
        xlim=(-1, 20), ylim=(best - 12, worst + 14), xticks=[0], xlabel="nats spent on the code", ylabel="nats of error"
    )
    picture(right, frames[2, 0], "everything said: the frame")
    return still(
        figure,
        f"Left the average of all frames, which costs no code and {worst:.0f} nats of error; right a frame itself; "
        "between them a plane of code against error with a question mark",
    )


# --- The price, where it can be solved


def price() -> Explorer:
    """The Gaussian model's curve, the point that a price β picks on it, and the codes of three x."""
    figure, (left, right) = stage(9.0, 3.6, 2, width_ratios=(1.15, 1))
    rates = np.linspace(0, 2.6, 261)
    (curve,) = left.plot(rates, rates, color=BLUE, lw=2, label="the best codes")
    (tangent,) = left.plot([], [], color=RED, lw=1.5, ls="--", label="slope −β")
    (point,) = left.plot([], [], "o", color=RED, ms=8)
    left.set(xlim=(-0.05, 2.6), ylim=(0.8, 3.6), xlabel="rate R, nats", ylabel="distortion D, nats")
    left.legend(frameon=False, loc="upper right")
    right.plot(Z, density(Z, 0, 1), color=GREY, lw=1.5, ls="--", label="prior N(0, 1)")
    bells = [right.plot(Z, Z, color=colour, lw=2, label=f"q(z|x), {name}")[0] for colour, name in
             ((ORANGE, "x = −1½ √v"), (GREEN, "x = 0"), (BLUE, "x = 1½ √v"))]  # fmt: skip
    right.set(xlim=(-4, 4), ylim=(0, 2.6), xlabel="z", ylabel="density")
    right.legend(frameon=False, loc="upper right", fontsize=8)

    def draw(beta: float, v: float) -> str:
        curve.set_ydata(0.5 * math.log(2 * math.pi) + 0.5 * v * np.exp(-2 * rates))
        alive = beta < v
        rate = 0.5 * math.log(v / beta) if alive else 0.0
        distortion = 0.5 * math.log(2 * math.pi) + 0.5 * min(beta, v)
        a, tau = (math.sqrt(v - beta) / v, math.sqrt(beta / v)) if alive else (0.0, 1.0)
        reach = np.array([-0.45, 0.45]) / max(1.0, 0.6 * beta)
        tangent.set_data(rate + reach, distortion - beta * reach)
        point.set_data([rate], [distortion])
        for bell, x in zip(bells, (-1.5, 0.0, 1.5), strict=True):
            bell.set_ydata(density(Z, a * x * math.sqrt(v), tau))
        dead = "" if alive else " <b>Collapsed</b>: every x has the prior for its code."
        return (
            f"R = <b>{rate:.2f}</b>, D = <b>{distortion:.2f}</b>, D + R = <b>{rate + distortion:.2f}</b> nats; "
            f"squared error left {min(beta, v):.2f}; code z = {a:.2f}·x ± {tau:.2f}.{dead}"
        )

    return Explorer(
        figure,
        draw,
        alt="Left, distortion falls with the rate, and a tangent touches the curve where the price puts it; right, the codes of three x against the prior.",
        beta=slider("price β", 0.1, 5.0, 0.5, 0.1),
        v=slider("variance v of x", 1.0, 4.0, 4.0, 0.5),
    )


def two_point_split(m: float, tau: float) -> tuple[float, float]:
    """I(x; z) and KL(q(z) ‖ p) in nats for x = ±1, equally likely, and q(z|x) = N(±m, τ²): by integration."""
    plus, minus = density(WIDE, m, tau), density(WIDE, -m, tau)
    both = np.maximum((plus + minus) / 2, 1e-300)
    information = np.trapezoid(
        plus * np.log(np.maximum(plus, 1e-300) / both), WIDE
    )  # the other half is its mirror image
    aggregate = np.trapezoid(both * (np.log(both) + WIDE**2 / 2 + 0.5 * math.log(2 * math.pi)), WIDE)
    return float(information), float(aggregate)


def paid_for() -> Explorer:
    """Two frames, two codes: what the rate says about the frame, and what it pays for being off the prior."""
    figure, (left, right) = stage(9.0, 3.4, 2, width_ratios=(1.3, 1))
    left.plot(Z, density(Z, 0, 1), color=GREY, lw=1.5, ls="--", label="prior p(z)")
    (one,) = left.plot(Z, Z, color=ORANGE, lw=1.5, label="q(z|x = 1)")
    (other,) = left.plot(Z, Z, color=GREEN, lw=1.5, label="q(z|x = −1)")
    (both,) = left.plot(Z, Z, color="black", lw=2.5, label="their average q(z)")
    left.set(xlim=(-4, 4), ylim=(0, 1.4), xlabel="z", ylabel="density")
    left.legend(frameon=False, loc="upper right", fontsize=8)
    (said,) = right.barh([0], [1], color=BLUE, height=0.5, label="said about x: I(x; z)")
    (waste,) = right.barh([0], [1], color=RED, height=0.5, label="off the prior: KL(q(z) ‖ p)")
    right.axvline(math.log(2), color="black", ls=":", lw=1.5)
    right.text(math.log(2) + 0.06, 0.42, "log 2: which of two", size=9)
    right.set(xlim=(0, 4), ylim=(-0.9, 1.1), yticks=[], xlabel="nats")
    right.legend(frameon=False, loc="lower right", fontsize=8)

    def draw(m: float, tau: float) -> str:
        information, aggregate = two_point_split(m, tau)
        one.set_ydata(density(Z, m, tau))
        other.set_ydata(density(Z, -m, tau))
        both.set_ydata((density(Z, m, tau) + density(Z, -m, tau)) / 2)
        said.set_width(information)
        waste.set_x(information)
        waste.set_width(aggregate)
        rate = 0.5 * (tau**2 + m**2 - 1 - 2 * math.log(tau))
        return f"the rate is <b>{rate:.2f} nats</b> = {information:.2f} that say which x it was + {aggregate:.2f} that do not"

    return Explorer(
        figure,
        draw,
        alt="Left, two codes, their average and the prior; right, a bar of the rate in two pieces, with a line at log 2.",
        m=slider("distance m", 0.0, 2.0, 1.5, 0.05),
        tau=slider("width τ", 0.3, 1.2, 0.4, 0.05),
    )


# --- Training


class LossPlot(Live):
    """A VAE's way through the plane of rate and distortion while it trains, and what it draws: pass ``plot.show``."""

    def __init__(self, watch: HeldOut) -> None:
        figure = Figure(figsize=(9.0, 3.0), dpi=100, layout="constrained", facecolor="white")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.7))
        (self.way,) = left.plot([], [], ".-", color=BLUE, lw=1, ms=4)
        (self.now,) = left.plot([], [], "o", color=RED, ms=8)
        left.axhline(exact_cost(watch.frames), color=GREY, ls="--", lw=1)
        left.set(xlim=(-0.5, 30), ylim=(100, 280), xlabel="rate, nats per frame", ylabel="distortion, nats per frame")
        left.spines[["top", "right"]].set_visible(False)
        self.frames = row(watch.frames[eight(watch)[:6], 0])
        self.strip = picture(right, np.vstack([self.frames, self.frames * 0]))
        right.set(yticks=[16, 49], yticklabels=["frame", "decoded"])
        right.tick_params(length=0)
        self.title = right.set_title(" ", size=10)
        super().__init__(
            figure,
            alt="A path in the plane of rate and distortion, step by step; beside it six held-out frames and what is drawn of them",
        )

    def show(self, history: History) -> None:
        """Draw the newest state."""
        self.way.set_data(history.rate, history.distortion)
        self.now.set_data(history.rate[-1:], history.distortion[-1:])
        if history.pictures is not None:
            self.strip.set_data(np.vstack([self.frames, row(history.pictures)]))
        self.title.set_text(
            f"step {history.steps[-1]}: rate {history.rate[-1]:.1f}, distortion {history.distortion[-1]:.1f} nats"
        )
        self.redraw()


def plane(axes: Axes, exact: float) -> None:
    axes.axhline(exact, color=GREY, ls="--", lw=1)
    axes.text(1.5, exact + 2, "every grey drawn exactly", size=8, color=GREY)
    axes.set(
        xlabel="rate R, nats per frame", ylabel="distortion D, nats per frame", xlim=(-0.8, 33), ylim=(exact - 8, 245)
    )


class CurvePlot(Live):
    """The plane of rate and distortion, where one trained VAE after another finds its place: pass ``plot.show``."""

    def __init__(self, test: HeldOut) -> None:
        figure, self.axes = stage(6.0, 3.2)
        plane(self.axes, exact_cost(test.frames))
        (self.points,) = self.axes.plot([], [], "o", color=BLUE, ms=7)
        super().__init__(figure, alt="A point for each trained VAE: its rate and its distortion, with its β beside it")

    def show(self, models: list[Model]) -> None:
        """Draw all models there are so far."""
        self.points.set_data([m.point.rate for m in models], [m.point.distortion for m in models])
        self.axes.annotate(
            f"β = {named(models[-1].beta)}",
            (models[-1].point.rate, models[-1].point.distortion),
            (6, 5),
            textcoords="offset points",
            size=9,
        )
        self.redraw()


def central(test: HeldOut) -> int:
    """Which of the ``eight`` has its agent nearest to the middle, with room on both sides."""
    return int(np.argmin(np.abs(test.agent[eight(test)] - 16)))


def tangents(models: list[Model], rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """The highest of all lines D_i − β_i·(R − R_i): nothing that these networks can reach lies below."""
    return np.max([m.point.distortion - m.beta * (rates - m.point.rate) for m in models], axis=0)


def rate_distortion(models: list[Model], test: HeldOut, yours: Point) -> Image:
    """The signature: the curve over β, with each model's tangent, and the same frame as each of them draws it."""
    figure = Figure(figsize=(9.0, 6.2), layout="constrained", facecolor="white")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 3.6))
    order = sorted(models, key=lambda m: m.point.rate)
    top, bottom = parts
    axes = top.subplots(1, len(order) + 1)
    shown = central(test)
    for a, m in zip(axes, order, strict=False):
        picture(a, m.reconstructions[shown], f"β = {named(m.beta)}")
    picture(axes[-1], test.frames[eight(test)[shown], 0], "the frame")
    main = bottom.subplots()
    main.spines[["top", "right"]].set_visible(False)
    plane(main, exact_cost(test.frames))
    rates = np.linspace(0, 33, 800)
    main.fill_between(rates, 0, tangents(models, rates), color=PALE, lw=0)
    main.text(5, 131, "below all tangents: out of this network’s reach", size=9, color=GREY)
    main.plot([m.point.rate for m in order], [m.point.distortion for m in order], "-", color=BLUE, lw=1)
    for m in order:
        reach = np.array([-min(2.4, 14 / m.beta, m.point.rate), min(2.4, 14 / m.beta)])
        main.plot(m.point.rate + reach, m.point.distortion - m.beta * reach, color=RED, lw=1.5)
        main.plot(m.point.rate, m.point.distortion, "o", color=ORANGE if m.beta == 1 else BLUE, ms=9, zorder=3)
        main.annotate(
            f"β = {named(m.beta)}", (m.point.rate, m.point.distortion), (9, 7), textcoords="offset points", size=10
        )
    best = next(m for m in order if m.beta == 1)
    main.annotate(
        "your VAE,\nbefore it went on",
        (yours.rate, yours.distortion),
        (yours.rate + 1.2, yours.distortion + 34),
        size=10,
        arrowprops={"arrowstyle": "-", "color": "#444444"},
    )
    main.plot([yours.rate], [yours.distortion], "D", mfc="none", mec="black", ms=14, zorder=4)
    x = np.array([0.0, 33.0])
    main.plot(x, -best.point.elbo - x, color=ORANGE, ls=":", lw=1.5)
    main.text(0.3, -best.point.elbo + 2, f"D + R = {-best.point.elbo:.1f}", size=9, color="#8a6000", rotation=-4)
    main.plot([], [], color=RED, lw=1.5, label="slope −β")
    main.plot([], [], color=BLUE, marker="o", lw=1, label="your VAE, trained on at β")
    main.plot([], [], color=ORANGE, ls=":", lw=1.5, label="all with the same ELBO as β = 1")
    main.legend(frameon=False, loc="upper right")
    words = ", ".join(f"β {named(m.beta)}: R {m.point.rate:.1f}, D {m.point.distortion:.1f}" for m in order)
    return still(
        figure, f"One frame as eight VAEs draw it, and their places in the plane of rate and distortion. {words}"
    )


def price_slider(models: list[Model], test: HeldOut) -> Explorer:
    """One β after another: its place on the curve, reconstructions and samples."""
    figure, (left, right) = stage(9.0, 3.3, 2, width_ratios=(1, 1.9))
    plane(left, exact_cost(test.frames))
    left.plot([m.point.rate for m in models], [m.point.distortion for m in models], "o-", color=GREY, lw=1, ms=5)
    (tangent,) = left.plot([], [], color=RED, lw=1.5)
    (now,) = left.plot([], [], "o", color=RED, ms=9)
    frames = row(test.frames[eight(test)[:6], 0])
    strip = picture(right, np.vstack([frames] * 3))
    right.set(yticks=[16, 49, 82], yticklabels=["frame", "decoded", "sample"])
    right.tick_params(length=0)
    title = right.set_title(" ", size=10)

    def draw(power: int) -> str:
        m = next(m for m in models if m.beta == 2.0**power)
        reach = np.array([-min(4.0, 24 / m.beta, m.point.rate), min(4.0, 24 / m.beta)])
        tangent.set_data(m.point.rate + reach, m.point.distortion - m.beta * reach)
        now.set_data([m.point.rate], [m.point.distortion])
        strip.set_data(np.vstack([frames, row(m.reconstructions[:6]), row(m.samples[:6])]))
        title.set_text(f"β = {named(m.beta)}")
        return (
            f"β = {named(m.beta)}: rate <b>{m.point.rate:.1f}</b>, distortion <b>{m.point.distortion:.1f}</b>, "
            f"D + R = <b>{-m.point.elbo:.1f} nats</b> per frame"
        )

    powers = [round(math.log2(m.beta)) for m in models]
    return Explorer(
        figure,
        draw,
        alt="Left, the place of a trained VAE on the curve; right, six frames, their reconstructions, and six samples from the prior.",
        power=slider("log₂ β", min(powers), max(powers), 0, 1),
    )


# --- The code


class Knowledge:
    """What the dimensions of a code know, and what they move: of the agent's column and of a hazard above the band."""

    def __init__(self, vae: ConvVAE, test: HeldOut) -> None:
        with torch.no_grad():
            mu, _ = vae.encode(test.frames)
        self.vae, self.test, self.mu, self.chosen = vae, test, mu, eight(test)
        defined, hazard = facts(test)["column of a hazard above the band"]
        code = mu.numpy()
        values = torch.linspace(-2, 2, 9)
        self.knows = {"agent": explained(code, test.agent), "hazard": explained(code[defined], hazard[defined])}
        base = mu[torch.from_numpy(np.flatnonzero(defined)[::6])]
        self.moves = {"agent": moved(vae, base, GROUND, 1, values), "hazard": moved(vae, base, ABOVE, 1, values)}

    def lever(self, what: str) -> int:
        """Of the dimensions that move this thing at least half as far as any does: the one that spares the other most."""
        own, other = self.moves[what], self.moves[{"agent": "hazard", "hazard": "agent"}[what]]
        return int(np.argmax(np.where(own >= own.max() / 2, own / other, 0)))


def code_picture(known: Knowledge) -> Image:
    """Each dimension: what it knows and what it moves; and the agent's column as a bent line in two of them."""
    figure = Figure(figsize=(9.0, 4.4), layout="constrained", facecolor="white")
    parts: Any = figure.subfigures(1, 2, width_ratios=(1.35, 1))
    left, right = parts
    top, bottom = left.subplots(2, 1, sharex=True)
    at = np.arange(1, known.mu.shape[1] + 1)
    for axes, numbers, label in (
        (top, known.knows, "variance explained"),
        (bottom, known.moves, "moved by, pixels"),
    ):
        axes.bar(at - 0.2, np.maximum(numbers["agent"], 0), 0.4, color=BLUE, label="agent’s column")
        axes.bar(
            at + 0.2, np.maximum(numbers["hazard"], 0), 0.4, color=ORANGE, label="column of a hazard above the band"
        )
        axes.set(ylabel=label, xticks=at)
        axes.spines[["top", "right"]].set_visible(False)
    top.set(ylim=(0, 1.25), yticks=[0, 0.5, 1])
    top.legend(frameon=False, loc="upper left", fontsize=8, ncols=2)
    bottom.set(xlabel="latent dimension")
    first, second = np.argsort(known.knows["agent"])[::-1][:2]
    plot = right.subplots()
    dots = plot.scatter(known.mu[:, first], known.mu[:, second], c=known.test.agent, s=9, cmap="viridis")
    right.colorbar(dots, ax=plot, label="agent’s column, pixels")
    plot.set(
        xlabel=f"μ of dimension {first + 1}",
        ylabel=f"μ of dimension {second + 1}",
        title="where the agent is, in two dimensions",
    )
    plot.title.set_size(10)
    plot.spines[["top", "right"]].set_visible(False)
    return still(
        figure,
        "Bars: how much of each dimension the agent's column and a hazard's column explain, and how far each dimension moves them; "
        "beside it the codes of 1,024 frames in two dimensions, coloured by the agent's column",
    )


def levers(known: Knowledge) -> Image:
    """The other signature: one dimension that moves the agent, and one that moves a hazard, each from −3 to 3."""
    film = torch.linspace(-3, 3, 7)
    things = (("agent", GROUND, 29.5), ("hazard", ABOVE, 12.5))
    strips, paths = {}, {}
    for thing, rows, _ in things:
        z = known.mu[known.chosen].repeat_interleave(len(film), 0)
        z[:, known.lever(thing)] = film.repeat(len(known.chosen))
        with torch.no_grad():
            drawn = torch.sigmoid(known.vae.decode(z))[:, 0]
        strips[thing] = drawn.reshape(-1, len(film), 32, 32)
        paths[thing] = centre(drawn, rows, 1).reshape(-1, len(film))
    spans = [np.where(np.isnan(path[:, 1:-1]).any(1), 0, np.ptp(path[:, 1:-1], 1)) for path in paths.values()]
    best = int(np.argmax(np.minimum(spans[0], 2 * spans[1])))  # the frame in which both can be seen
    figure = Figure(figsize=(9.0, 3.2), layout="constrained", facecolor="white")
    for axes, (thing, _, at) in zip(figure.subplots(2, 1), things, strict=True):
        picture(axes, row(strips[thing][best]))
        axes.set(
            xticks=[33 * i + 16 for i in range(len(film))],
            xticklabels=[f"{value:+.0f}".replace("-", "−") if value else "0" for value in film.tolist()],
            yticks=[16],
            yticklabels=[f"dimension {known.lever(thing) + 1}\nmoves the {thing}"],
        )
        axes.tick_params(length=0)
        where = paths[thing][best] - 0.5 + 33 * np.arange(len(film))
        axes.plot(
            where,
            np.full(len(film), at + (0 if thing == "hazard" else -3.2)),
            "^" if thing == "hazard" else "v",
            color=ORANGE,
            ms=7,
        )
    words = "; ".join(
        f"dimension {known.lever(thing) + 1} takes the {thing} from column {paths[thing][best][0]:.0f} to {paths[thing][best][-1]:.0f}"
        for thing, _, _ in things
    )
    return still(figure, f"Two film strips of one frame's code with one dimension turned from −3 to 3: {words}")


def traversal(known: Knowledge) -> Explorer:
    """Turn one dimension of a frame's code by hand."""
    vae, codes = known.vae, known.mu[known.chosen]
    lever = known.lever("agent")
    figure = Figure(figsize=(9.0, 4.6), dpi=100, layout="constrained", facecolor="white")
    grid = figure.add_gridspec(2, 3, height_ratios=(1.75, 1))
    left, middle, right = (figure.add_subplot(grid[0, i]) for i in range(3))
    below = figure.add_subplot(grid[1, :])
    blank = np.zeros((32, 32))
    own = picture(left, blank, "its own code")
    turned = picture(middle, blank, "this dimension turned")
    picture(right, blank, "what changed")
    change = right.imshow(blank, cmap="PuOr", vmin=-1, vmax=1)
    film = np.linspace(-3, 3, 7)
    strip = picture(below, np.zeros((33, 33 * len(film))))
    below.set(
        xticks=[33 * i + 16 for i in range(7)],
        xticklabels=["−3", "−2", "−1", "0", "1", "2", "3"],
        xlabel="value of this dimension",
    )
    below.tick_params(length=0)
    (mark,) = below.plot([], [], "v", color=RED, ms=8, clip_on=False)

    def say(where: float, was: float) -> str:
        return "gone" if math.isnan(where) else f"{where:.1f}" + ("" if math.isnan(was) else f" ({where - was:+.1f})")

    def draw(frame: int, dimension: int, value: float) -> str:
        z = codes[frame - 1].repeat(len(film) + 2, 1)
        z[1, dimension - 1] = value
        z[2:, dimension - 1] = torch.from_numpy(film).float()
        with torch.no_grad():
            drawn = torch.sigmoid(vae.decode(z))[:, 0]
        own.set_data(drawn[0])
        turned.set_data(drawn[1])
        change.set_data(drawn[1] - drawn[0])
        strip.set_data(row(drawn[2:]))
        mark.set_data([33 * (value - film[0]) / (film[1] - film[0]) + 16], [-2.5])
        agent, hazard = centre(drawn[:2], GROUND, 1), centre(drawn[:2], ABOVE, 1)
        return (
            f"dimension {dimension} at {value:+.1f}, this frame's own {codes[frame - 1, dimension - 1]:+.1f}: agent in column "
            f"<b>{say(agent[1], agent[0])}</b>, hazard above the band in column <b>{say(hazard[1], hazard[0])}</b>"
        )

    start = central(known.test)
    value = -1.5 if codes[start, lever] > 0 else 1.5
    return Explorer(
        figure,
        draw,
        alt="A frame from its own code, from a code with one dimension changed, and the difference; below, that dimension from −3 to 3.",
        frame=slider("frame", 1, len(codes), start + 1, 1),
        dimension=slider("dimension", 1, codes.shape[1], lever + 1, 1),
        value=slider("value", -3.0, 3.0, value, 0.1),
    )
