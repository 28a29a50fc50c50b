"""Lesson 11's pictures and widgets: training as it happens, the agent as it plays, the dream beside reality."""

from __future__ import annotations

import base64
import time
from typing import Any

import ipywidgets as widgets
import numpy as np
from IPython.display import Image
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wmcourse.engine.report import BLUE, GREEN, GREY, ORANGE, PLAYERS, draw_scores, draw_strip
from wmcourse.lessons.live import Live, png, still
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
    """The bars random / ours / oracle, and every single episode as a dot: a mean hides how the returns are spread."""
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
        "Mean returns with intervals, and each episode's return: " + ", ".join(name for name, _ in PLAYERS.values()),
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
        text = "A slider over reality and dream; run the notebook to move it."
        return {**bundle, "image/png": base64.b64encode(picture).decode(), "text/plain": text}
