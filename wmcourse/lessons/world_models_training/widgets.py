"""Lesson 11's pictures and widgets: training as it happens, the agent as it plays, the dream beside reality."""

from __future__ import annotations

import base64
import math
import time
from typing import Any

import ipywidgets as widgets
import numpy as np
from IPython.display import Image
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wmcourse.engine.report import PLAYERS, draw_scores, draw_strip
from wmcourse.lessons.live import Live, png, still
from wmcourse.lessons.widget import BLUE, GREEN, GREY, ORANGE, RED, Explorer, slider, stage
from wmcourse.lessons.world_models_training.experiment import Film
from wmcourse.world_models_training import Score
from wmcourse.worlds.dodge import DodgeState, DodgeVectorEnv, begin, picture

LABELS = {"reconstruction": "reconstruction", "kl": "KL", "latent": "next latent", "reward": "reward", "done": "done"}


class TrainingPlot(Live):
    """Learning curves that grow: pass ``plot.show`` to a stage. One panel for each of ``scalars``, in nats."""

    def __init__(self, title: str, scalars: tuple[str, ...]) -> None:
        figure = Figure(figsize=(9.5, 2.6), dpi=100, layout="constrained", facecolor="white")
        figure.suptitle(title, size=11)
        self.curve: list[dict[str, float]] = []
        self.axes = dict(zip(scalars, figure.subplots(1, len(scalars), squeeze=False)[0], strict=True))
        self.lines = {}
        for (name, axes), colour in zip(self.axes.items(), (BLUE, ORANGE, GREEN), strict=False):
            (self.lines[name],) = axes.plot([], [], color=colour, lw=1.2)
            axes.set(title=LABELS[name], xlabel="step", ylabel="nats")
            axes.spines[["top", "right"]].set_visible(False)
        super().__init__(figure, alt=f"{title}: learning curves of {', '.join(LABELS[s] for s in scalars)}")

    def show(self, stage: str, step: int, scalars: dict[str, float]) -> None:
        """One more point of the curve."""
        self.curve.append({"step": step, **scalars})
        self.draw(self.curve)

    def draw(self, curve: list[dict[str, float]]) -> None:
        """All of a curve, such as that of a stage that was finished earlier."""
        steps = [point["step"] for point in curve]
        for name, line in self.lines.items():
            values = [point[name] for point in curve]
            line.set_data(steps, values)
            # The first steps are far off: without them the rest can be seen.
            settled = values[len(values) // 20 :]
            low, high = min(settled), max(settled)
            margin = 0.05 * (high - low) or 1.0
            self.axes[name].set(xlim=(0, max(steps[-1], 1)), ylim=(low - margin, high + margin))
        self.redraw()


class GamePlot(Live):
    """Some of the worlds that an agent plays, as they are played: pass ``plot.watch`` to ``evaluate``."""

    def __init__(self, title: str, worlds: int, columns: int = 10, cap: int = 300) -> None:
        rows = -(-worlds // columns)
        figure = Figure(figsize=(9.5, 0.6 + 1.02 * rows), dpi=100, layout="constrained", facecolor="white")
        self.title, self.cap = figure.suptitle(title, size=11), cap
        self.name, self.alive, self.before = title, set[int](), begin(np.arange(1, dtype=np.uint64))
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for a in axes:
            a.set(xticks=[], yticks=[])
            a.set_visible(False)
        blank = np.full((96, 96, 3), 255, np.uint8)
        self.images = [a.imshow(blank) for a in axes[:worlds]]
        for a in axes[:worlds]:
            a.set_visible(True)
        super().__init__(figure, alt=f"{title}: {worlds} worlds, each with the steps survived")

    def watch(self, world: DodgeVectorEnv, playing: NDArray[np.int64], returns: NDArray[np.float32]) -> None:
        """Draw the worlds that still play; the others fade on the last picture before their end."""
        alive = set(playing.tolist())
        # A world that ended has begun anew: what it looked like is in the state of the step before.
        for i in self.alive - alive:
            self.images[i].set_data(picture(self.before, i, world.rules, scale=3))
        self.before, self.alive = world.state.copy(), alive & set(range(len(self.images)))
        if len(playing) and time.monotonic() - self.drawn < self.seconds:
            return
        for i, image in enumerate(self.images):
            if i in alive:
                image.set_data(picture(world.state, i, world.rules, scale=3))
            ended, survived = i not in alive, returns[i] >= self.cap
            colour = GREEN if survived else GREY if ended else "black"
            image.set_alpha(0.25 if ended and not survived else None)
            image.axes.set_title(f"{returns[i]:.0f}", size=8, pad=2, color=colour, weight="bold" if ended else "normal")
        self.title.set_text(f"{self.name}: {len(playing)} of {len(returns)} still play, step {int(returns.max())}")
        self.drawn = 0.0
        self.redraw()


def score_picture(scores: dict[str, Score]) -> Image:
    """The bars of the floors, ours and the oracle, and every single episode as a dot: a mean hides how the returns are spread."""
    figure = Figure(figsize=(9.5, 3.2), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.4))
    draw_scores(left, scores)
    rng = np.random.default_rng(0)
    for row, (name, score) in enumerate(scores.items()):
        height = row + rng.uniform(-0.25, 0.25, score.episodes)  # so that equal returns do not hide each other
        right.scatter(score.returns, height, s=14, color=PLAYERS[name][1], alpha=0.6, edgecolors="none")
    right.set_yticks(range(len(scores)), [PLAYERS[name][0] for name in scores])
    right.set(title="each episode", xlabel="return (300 is the cap)", xlim=(0, 310))
    right.spines[["top", "right"]].set_visible(False)
    return still(
        figure,
        "Mean returns with intervals, and each episode's return: " + ", ".join(PLAYERS[name][0] for name in scores),
    )


def strip(rows: dict[str, NDArray[np.uint8]], title: str) -> Image:
    """Rows of frames (n, H, W, C), named, as a picture."""
    return still(strip_figure(rows, title), f"{title}: {', '.join(rows)}")


def strip_figure(rows: dict[str, NDArray[np.uint8]], title: str) -> Figure:
    """The same before it is painted."""
    first = next(iter(rows.values()))
    height = 0.5 + len(rows) * 9.0 / len(first)
    figure = Figure(figsize=(9.5, height), layout="constrained", facecolor="white")
    draw_strip(figure.subplots(), list(rows.values()), list(rows), title)
    return figure


def dodge_picture(state: DodgeState, frame: NDArray[np.uint8]) -> Image:
    """The world as people see it, and as the agent does: 32 × 32 grey pixels."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    left.imshow(picture(state))
    left.set(title="for your eyes", xticks=[], yticks=[])
    right.imshow(frame[..., 0], cmap="gray", vmin=0, vmax=255)
    right.set(title="all the agent sees: 32 × 32", xticks=[], yticks=[])
    return still(figure, "Dodge as a colour picture, and as the 32 by 32 grey pixels that the agent sees")


class DreamSlider(widgets.VBox):
    """Reality and dream, frame by frame, under a slider (arrow keys work); a strip of pictures where no kernel runs.

    ``real`` and ``dream`` (n, H, W, C) uint8; ``awake`` frames come before the dream is on its own.
    """

    def __init__(self, real: NDArray[np.uint8], dream: NDArray[np.uint8], awake: int) -> None:
        self.real, self.dream, self.awake = real, dream, awake
        self.slider = widgets.IntSlider(
            awake - 1, 0, len(real) - 1, description="step", continuous_update=True, layout={"width": "560px"}
        )
        self.picture = widgets.Image(format="png", width=560, height=300)
        self.text = widgets.HTML()
        self.figure = Figure(figsize=(5.6, 3.0), dpi=100, layout="constrained", facecolor="white")
        axes = self.figure.subplots(1, 2)
        self.images = []
        for a, name, frames in zip(axes, ("reality", "dream"), (real, dream), strict=True):
            self.images.append(a.imshow(frames[0, ..., 0], cmap="gray", vmin=0, vmax=255))
            a.set(title=name, xticks=[], yticks=[])
        self.slider.observe(lambda change: self.draw(), "value")
        self.draw()
        super().__init__([self.slider, self.picture, self.text])

    def draw(self) -> None:
        """Show the slider's step."""
        t = self.slider.value
        for image, frames in zip(self.images, (self.real, self.dream), strict=True):
            image.set_data(frames[t, ..., 0])
        self.picture.value = png(self.figure)
        apart = np.abs(self.real[t].astype(float) - self.dream[t]).mean() / 255
        alone = t - self.awake + 1
        where = f"{alone} steps without a frame" if alone > 0 else "still looking: the dream is a reconstruction"
        self.text.value = f"<p aria-live='polite'>Step {t}: {where}. Mean difference of a pixel: {apart:.3f}</p>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        pick = np.linspace(max(self.awake - 2, 0), len(self.real) - 1, 10).astype(int)
        rows = {"reality": self.real[pick], "dream": self.dream[pick]}
        picture = png(strip_figure(rows, "Reality and dream, some steps apart"))
        bundle = super()._repr_mimebundle_(**kwargs)
        text = "Reality and dream, frame by frame, under a slider. (Run the notebook to move it.)"
        return {**bundle, "image/png": base64.b64encode(picture).decode(), "text/plain": text}


# --- Derivation: what training apart loses, and what choosing the best does


def bell(z: NDArray[np.float64], mean: float, std: float) -> NDArray[np.float64]:
    return np.exp(-0.5 * ((z - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


def apart() -> Explorer:
    """One latent dimension: the code that stage 2 learns, and the one that fits what the memory expects."""
    figure, axes = stage(6.4, 3.3)
    grid = np.linspace(-3, 3, 601)
    axes.fill_between(grid, bell(grid, 0, 1), color=GREY, alpha=0.25, label="N(0, 1), stage 2's prior")
    (expected,) = axes.plot(grid, 0 * grid, color=GREEN, lw=2, ls="--", zorder=3, label="what the memory expects")
    (alone,) = axes.plot(grid, 0 * grid, color=ORANGE, lw=2, label="the code, trained apart")
    (joint,) = axes.plot(grid, 0 * grid, color=BLUE, lw=2, label="the code, trained together")
    axes.set(xlim=(-3, 3), ylim=(0, 2.7), xlabel="one latent dimension z", ylabel="density")
    axes.legend(frameon=False, loc="upper left", fontsize=8)

    def draw(w: float, s: float, x: float) -> str:
        expects, sees = 0.5, x  # the memory's mean; where the frame alone would put z
        expected.set_ydata(bell(grid, expects, s))
        variance_apart, variance_joint = 1 / (w**2 + 1), 1 / (w**2 + 1 / s**2)
        mean_apart = variance_apart * w**2 * sees
        mean_joint = variance_joint * (w**2 * sees + expects / s**2)
        alone.set_ydata(bell(grid, mean_apart, math.sqrt(variance_apart)))
        joint.set_ydata(bell(grid, mean_joint, math.sqrt(variance_joint)))
        rho = (w**2 + 1 / s**2) / (w**2 + 1)
        width = 0.5 * (rho - 1 - math.log(rho))
        place = 0.5 * (mean_apart - mean_joint) ** 2 / variance_joint
        return (
            f"width of the code: apart {math.sqrt(variance_apart):.2f}, together {math.sqrt(variance_joint):.2f}; lost by "
            f"training apart: <b>{width:.2f} nats</b> by its width and {place:.2f} by its place"
        )

    return Explorer(
        figure,
        draw,
        alt="Four bells over one latent dimension: the prior, the memory's expectation, and the code trained apart and together.",
        w=slider("the eye's sharpness w", 0.2, 4.0, 1.0, 0.1),
        s=slider("the memory's doubt s", 0.2, 1.0, 0.4, 0.05),
        x=slider("the frame puts z at", -1.5, 2.5, 1.8, 0.1),
    )


TRIALS, MOST = 4_000, 128


def curse() -> Explorer:
    """What the best of N plans promised, and what it is worth, over many decisions."""
    rng = np.random.default_rng(0)
    values, noise, second = (rng.normal(size=(TRIALS, MOST)) for _ in range(3))
    edges = np.arange(-24.5, 61) / 6  # 0, where equal plans are, is the middle of a bin
    figure, axes = stage(6.4, 3.2)
    middle, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    promised = axes.bar(middle, 0 * middle, width, color=ORANGE, alpha=0.6, label="what the winner promised")
    worth = axes.bar(middle, 0 * middle, width, color=BLUE, alpha=0.6, label="what it is worth")
    lines = [axes.axvline(0, color=colour, lw=2) for colour in (ORANGE, BLUE)]
    axes.set(xlim=(-4, 10), ylim=(0, 1.1), xlabel="value of a plan (the average plan is worth 0)", ylabel="density")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9)

    def draw(n: int, noise_std: float, spread: float) -> str:
        true = spread * values[:, :n]
        seen = true + noise_std * noise[:, :n]
        rows, best = np.arange(TRIALS), seen.argmax(1)
        promise, value = seen[rows, best], true[rows, best]
        again = value + noise_std * second[rows, best]
        for bars, data in ((promised, promise), (worth, value)):
            density = np.histogram(data, edges)[0] / (TRIALS * width)
            for bar, height in zip(bars, np.minimum(density, 1.1), strict=True):
                bar.set_height(height)
        for line, data in zip(lines, (promise, value), strict=True):
            line.set_xdata([data.mean(), data.mean()])
        return (
            f"the winner of {n} promised {promise.mean():+.2f} and is worth {value.mean():+.2f} on average: "
            f"<b>{promise.mean() - value.mean():.2f} too much</b>; a second look with fresh noise says {again.mean():+.2f}"
        )

    return Explorer(
        figure,
        draw,
        alt="Two histograms over many decisions: what the chosen plan promised, and, to the left of it, what it is worth.",
        n=slider("number of plans N", 1, MOST, 64, 1),
        noise_std=slider("noise of a score", 0.0, 2.0, 1.0, 0.1),
        spread=slider("how much plans differ", 0.0, 2.0, 0.5, 0.1),
    )


# --- The agent and what it thinks


def plan_film(film: Film) -> Explorer:
    """Reality, the plan's dream beside it, the pushes that are planned, and how the candidates scored."""
    decisions, later = len(film.dreams), (0, 3, 6, 9, 12)
    where = int((film.scores[:, 0] - np.median(film.scores, axis=1)).argmax())  # where choosing matters most
    horizon = film.pushes.shape[1]
    later = tuple(min(t, horizon) for t in later)
    figure = Figure(figsize=(9.2, 3.7), dpi=100, layout="constrained", facecolor="white")
    grid = figure.add_gridspec(2, 7, width_ratios=[1, 1, 1, 1, 1, 0.15, 1.9])
    images: list[list[Any]] = []
    for row, name in enumerate(("what came", "its dream")):
        images.append([])
        for column, t in enumerate(later):
            axes = figure.add_subplot(grid[row, column])
            images[-1].append(axes.imshow(film.frames[0][..., 0], cmap="gray", vmin=0, vmax=255))
            axes.set(xticks=[], yticks=[], title=("now" if t == 0 else f"+{t}") if row == 0 else "")
            if column == 0:
                axes.set_ylabel(name)
    top, bottom = figure.add_subplot(grid[0, 6]), figure.add_subplot(grid[1, 6])
    bars = top.bar(range(1, horizon + 1), np.zeros(horizon), color=ORANGE)
    top.axhline(0, color="black", lw=0.8)
    top.set(ylim=(-1.05, 1.05), title="planned pushes", xlabel="step of the plan")
    candidates = film.scores.shape[1]
    (line,) = bottom.plot(range(1, candidates + 1), film.scores[0], ".", color=GREY, ms=4)
    (chosen,) = bottom.plot([1], film.scores[0][:1], "o", color=ORANGE, ms=7)
    bottom.set(
        ylim=(-0.5, horizon + 1), title="its candidates, best first", xlabel="candidate", ylabel="steps, less effort"
    )
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)

    def draw(step: int) -> str:
        for column, t in enumerate(later):
            images[0][column].set_data(film.frames[step + t][..., 0])
            images[1][column].set_data(film.dreams[step][t][..., 0])
        for bar, push in zip(bars, film.pushes[step], strict=True):
            bar.set_height(push)
        line.set_ydata(film.scores[step])
        chosen.set_ydata(film.scores[step][:1])
        hopeless = int((film.scores[step] < horizon / 2).sum())
        push = film.pushes[step][0]
        return (
            f"decision {step}: pushes <b>{push:+.2f}</b> ({'right' if push > 0 else 'left'}); the chosen plan promises "
            f"{film.scores[step][0]:.1f} of {horizon} steps, less its effort; {hopeless} of {candidates} candidates less than half"
        )

    return Explorer(
        figure,
        draw,
        alt="Frames as they came, the chosen plan's dream of them below, its pushes, and the scores of all candidates.",
        step=slider("decision", 0, decisions - 1, where, 1),
    )


# --- Results


def ladder(scores: dict[str, Score], title: str, ours: str, floor: tuple[str, Score] | None = None) -> Image:
    """Means with their 95 % intervals, one below the other; ``ours`` is the one that all others are compared with, and
    ``floor`` a name and a score for a second line.
    """
    figure, axes = stage(9.0, 0.8 + 0.36 * len(scores))
    for row, (name, score) in enumerate(scores.items()):
        colour = ORANGE if name == ours else RED
        low, high = score.ci95
        axes.plot([low, high], [row, row], color=colour, lw=2)
        axes.plot(score.mean, row, "o", color=colour, ms=7)
        axes.annotate(f"{score.mean:.0f}", (score.mean, row), (0, 7), textcoords="offset points", ha="center", size=9)
    axes.axvline(scores[ours].mean, color=ORANGE, lw=1, ls=":")
    if floor is not None:
        axes.axvline(floor[1].mean, color=GREY, lw=1, ls="--", zorder=0)
        axes.annotate(
            f"{floor[0]}: {floor[1].mean:.0f}",
            (floor[1].mean, 0),
            (4, 0),
            textcoords="offset points",
            size=9,
            va="center",
        )
    axes.set_yticks(range(len(scores)), list(scores))
    axes.invert_yaxis()
    axes.set(xlim=(0, 310), ylim=(len(scores) - 0.4, -0.7), xlabel="return (300 is the cap)", title=title)
    named = [*scores.items(), *([floor] if floor else [])]
    words = ", ".join(f"{name} {score.mean:.0f}" for name, score in named)
    return still(figure, f"{title}: {words}")


def promise_picture(dreams: dict[float, Score], worlds: dict[float, Score], histories: dict[float, Any]) -> Image:
    """Controllers that grew up at several temperatures: how their dream improved, and what the world made of it."""
    figure, (left, right) = stage(9.0, 3.2, 2)
    for (tau, history), colour in zip(histories.items(), (BLUE, ORANGE, GREEN, RED), strict=False):
        left.plot(range(1, len(history) + 1), history, ".-", color=colour, label=f"τ = {tau:g}")
    left.set(xlabel="generation", ylabel="mean return of the population", title="evolution inside the dream")
    left.legend(frameon=False)
    for shift, (name, scores, colour) in enumerate((("in its dream", dreams, ORANGE), ("in the world", worlds, BLUE))):
        at = np.arange(len(scores)) + 0.36 * shift
        means = [score.mean for score in scores.values()]
        errors = [score.mean - score.ci95[0] for score in scores.values()]
        right.bar(at, means, 0.34, yerr=errors, capsize=4, color=colour, label=name)
    right.set_xticks(np.arange(len(dreams)) + 0.18, [f"τ = {tau:g}" for tau in dreams])
    right.set(ylabel="return", title="what was promised, and kept", ylim=(0, 330))
    right.legend(frameon=False)
    words = ", ".join(
        f"τ {tau:g}: {dreams[tau].mean:.0f} in the dream, {worlds[tau].mean:.0f} in the world" for tau in dreams
    )
    return still(figure, f"Controllers evolved in dreams: {words}")


def nats_picture(rate: float, joint: float) -> Image:
    """A code's price against the standard normal, and against what the memory expected."""
    figure, axes = stage(8.0, 1.9)
    axes.barh([1, 0], [rate, joint], color=[GREY, GREEN], height=0.6)
    for y, value in ((1, rate), (0, joint)):
        axes.annotate(f"{value:.1f}", (value, y), (6, 0), textcoords="offset points", va="center")
    axes.set_yticks([1, 0], ["against N(0, I)", "against the memory"])
    axes.set(xlabel="KL of a frame's code, nats", xlim=(0, 1.15 * max(rate, joint)))
    return still(
        figure, f"A frame's code costs {rate:.1f} nats against N(0, I), {joint:.1f} against what the memory expects"
    )


def kept_picture(promised: NDArray[Any], kept: NDArray[Any], chosen: NDArray[Any], horizon: int) -> Image:
    """All plans as dots, promised against kept; the chosen ones stand out."""
    figure, (left, right) = stage(9.0, 3.4, 2, width_ratios=(1, 1.1))
    rows = np.arange(len(chosen))
    others = np.random.default_rng(0).permutation(promised.size)[:2_500]
    left.plot(
        kept.ravel()[others], promised.ravel()[others], ".", color=GREY, ms=2, alpha=0.4, label="some of all plans"
    )
    left.plot(kept[rows, chosen], promised[rows, chosen], "o", color=ORANGE, ms=4, alpha=0.7, label="chosen")
    left.plot([0, horizon], [0, horizon], color="black", lw=0.8, ls="--")
    left.set(
        xlabel="steps survived in the world", ylabel="steps promised by the dream", title=f"plans of {horizon} steps"
    )
    left.legend(frameon=False, loc="lower right")
    over_all, over_chosen = (promised - kept).mean(1), (promised - kept)[rows, chosen]
    for x, (data, colour) in enumerate(((over_all, GREY), (over_chosen, ORANGE))):
        error = 1.96 * data.std(ddof=1) / math.sqrt(len(data))
        right.bar(x, data.mean(), 0.55, yerr=error, capsize=5, color=colour)
    right.set_xticks([0, 1], ["the average plan", "the chosen plan"])
    right.set(ylabel="promised − kept, steps", title="the optimiser's curse")
    return still(
        figure,
        f"Promised against kept: the average plan is over-estimated by {over_all.mean():.2f} steps, the chosen one by "
        f"{over_chosen.mean():.2f}",
    )
