"""Lesson 06's pictures: gates that open and close, how far a gradient reaches, and what a memory knows behind the band."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from IPython.display import Image
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wmcourse.lessons.live import Live, still
from wmcourse.lessons.lstm_gru.experiment import (
    ADDERS,
    GUESSING,
    Course,
    Gates,
    Memory,
    Run,
    Score,
    bias_for,
    fit_probe,
    one_hazard,
    reach,
)
from wmcourse.lessons.memories import Memories
from wmcourse.lessons.widget import BLUE, GREEN, GREY, ORANGE, RED, Explorer, slider, stage
from wmcourse.lstm_gru import gru_step, lstm_step
from wmcourse.worlds import DodgeVectorEnv

COLOURS = {"RNN": GREY, "LSTM, bias 1": ORANGE, "LSTM, long half-lives": BLUE, "GRU": GREEN}
MARKERS = {"RNN": "s", "LSTM, bias 1": "^", "LSTM, long half-lives": "o", "GRU": "D"}


def column(figure: Figure, rows: int, **options: Any) -> Any:
    """Axes below each other that share their time axis."""
    figure.clear()
    axes = figure.subplots(rows, 1, sharex=True, **options)
    for a in axes:
        a.spines[["top", "right"]].set_visible(False)
    return axes


# --- The opening


def opening() -> Image:
    """A hazard on its way through the band, frame by frame: what one frame does not show."""
    world = DodgeVectorEnv(1)
    frames, _ = world.reset(seed=4)
    rows = {8.5: "in sight", 11.5: "going in", 14.5: "gone", 17.5: "back: which way?", 20.5: "and now?"}
    pictures = dict[float, Any]()
    while len(pictures) < len(rows):
        hazards = world.state.hazard_y[0].tolist()
        pictures |= {row: frames[0, ..., 0] for row in rows if row in hazards and row not in pictures}
        frames, *_ = world.step(np.zeros((1, 1), np.float32))
    figure, axes = stage(9.5, 2.4, len(rows))
    for a, (row, title) in zip(axes, rows.items(), strict=True):
        a.imshow(pictures[row], cmap="gray", vmin=0, vmax=255)
        a.set(xticks=[], yticks=[])
        a.set_title(title, size=10)
        a.spines[:].set_visible(False)
    return still(
        figure, "Five frames of Dodge: a hazard falls into the grey band, is gone, and comes out below, going to a side"
    )


# --- See it


def transient() -> Explorer:
    """Powers of [[r, k], [0, r]]: eigenvalues say how it ends, singular values how it begins."""
    figure, axes = stage(6.4, 3.2)
    steps = np.arange(61)
    (norm,) = axes.semilogy(steps, steps + 1.0, color=BLUE, lw=2, label="‖Wⁿ‖")
    (radius,) = axes.semilogy(steps, steps + 1.0, color=ORANGE, lw=1.5, ls="--", label="(spectral radius)ⁿ")
    (bound,) = axes.semilogy(
        steps, steps + 1.0, color=GREY, lw=1.5, ls=":", label="(largest singular value)ⁿ, the bound"
    )
    axes.axhline(1, color="black", lw=0.6)
    axes.set(xlabel="steps n", ylabel="factor on a gradient", ylim=(1e-4, 1e4), xlim=(0, 60))
    axes.legend(frameon=False, loc="upper right")

    def draw(r: float, k: float) -> str:
        w = np.array([[r, k], [0, r]])
        norms = np.array([np.linalg.norm(np.array([[r**n, n * k * r ** (n - 1)], [0, r**n]]), 2) for n in steps])
        largest = np.linalg.norm(w, 2)
        norm.set_ydata(norms)
        radius.set_ydata(r ** steps.astype(float))
        bound.set_ydata(np.minimum(largest ** steps.astype(float), 1e9))
        return (
            f"spectral radius <b>{r:.2f}</b>, largest singular value <b>{largest:.2f}</b>; ‖Wⁿ‖ is largest at n = {int(norms.argmax())}, "
            f"where it is <b>{norms.max():.2f}</b>, and {norms[-1]:.1e} at n = 60"
        )

    return Explorer(
        figure,
        draw,
        alt="The norm of the powers of a two by two matrix, between what its spectral radius and its largest singular value say.",
        r=slider("eigenvalues r", 0.5, 1.1, 0.9, 0.02),
        k=slider("off-diagonal k", 0.0, 3.0, 1.0, 0.1),
    )


def gate_unit() -> Explorer:
    """One LSTM unit by hand: a marked number comes at one step, and must be in the cell at the end."""
    figure, _ = stage(6.8, 4.6)
    top, middle, bottom = column(figure, 3)
    time, rng = np.arange(48), np.random.default_rng(3)
    numbers = rng.uniform(-1, 1, len(time))
    numbers[6] = 0.8
    stems = top.bar(time, numbers, color=GREY, width=0.7)
    stems[6].set_color(RED)
    top.axhline(0, color="black", lw=0.5)
    top.set(ylabel="input", ylim=(-1.2, 1.2))
    top.set_title("numbers come at each step; the coloured one is marked", size=10)
    lines = {}
    for name, colour, style in (("i", RED, "-"), ("f", BLUE, "-"), ("o", GREEN, "--")):
        (lines[name],) = middle.plot(
            time, 0.0 * time, color=colour, ls=style, lw=1.6, drawstyle="steps-mid", label=name
        )
    middle.set(ylabel="gates", ylim=(-0.05, 1.6), yticks=[0, 0.5, 1])
    middle.legend(frameon=False, ncols=3, loc="upper right")
    (cell,) = bottom.plot(time, 0.0 * time, color="black", lw=1.8, label="c")
    (ideal,) = bottom.plot(time, 0.0 * time, color=ORANGE, ls=":", lw=1.8, label="what should be kept")
    bottom.set(ylabel="cell", xlabel="step", ylim=(-2.1, 2.1), xlim=(-1, 48))
    bottom.legend(frameon=False, ncols=2, loc="lower right")

    def squash(a: Any) -> Any:
        return 1 / (1 + np.exp(-a))

    def draw(b_f: float, b_i: float, mark: float) -> str:
        marked = (time == 6).astype(float)
        i, f = squash(b_i + mark * marked), np.full(len(time), squash(b_f))
        c, cells, of_it = 0.0, [], 0.0
        for t in time:
            g = np.tanh(1.5 * numbers[t])
            c = f[t] * c + i[t] * g
            of_it = f[t] * of_it + i[t] * g * marked[t]
            cells.append(c)
        lines["i"].set_ydata(i)
        lines["f"].set_ydata(f)
        lines["o"].set_ydata(np.where(time == 47, 0.98, 0.02))
        cell.set_ydata(np.clip(cells, -3, 3))
        value = float(np.tanh(1.5 * 0.8))
        ideal.set_ydata(np.where(time >= 6, value, np.nan))
        return (
            f"i = {i[0]:.3f}, and {i[6]:.3f} at the mark; f = {f[0]:.3f}: of what is written, <b>{f[0] ** 41:.1%}</b> is left after the "
            f"41 steps to the end. There c = {c:+.2f}: "
            f"<b>{of_it:+.2f}</b> from the marked number, {c - of_it:+.2f} from all others (wanted: {value:+.2f} and 0)"
        )

    return Explorer(
        figure,
        draw,
        alt="Three rows over time: the numbers that come in, the gates i, f and o of one unit, and its cell.",
        b_f=slider("bias of f", -2.0, 8.0, 1.0, 0.25),
        b_i=slider("bias of i", -8.0, 2.0, 0.0, 0.25),
        mark=slider("weight of the mark", 0.0, 12.0, 4.0, 0.5),
    )


@functools.lru_cache(maxsize=400)
def reach_of(cell: str, scale: float, half_life: float | None) -> NDArray[np.float64]:
    step: Any = {"RNN": vanilla, "LSTM": lstm_step, "GRU": gru_step}[cell]
    return reach(cell, step, scale, half_life)


def vanilla(x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)


def distances() -> Explorer:
    """The gradient's length against the distance that it goes back, for new networks of three kinds."""
    figure, axes = stage(6.8, 3.6)
    back = np.arange(64)
    lines = {}
    for cell, colour, style in (("RNN", GREY, "-"), ("LSTM", BLUE, "-"), ("GRU", GREEN, "--")):
        (lines[cell],) = axes.semilogy(back, 1.0 + back, color=colour, ls=style, lw=2, label=cell)
    (cell_path,) = axes.semilogy(back, 1.0 + back, color="black", lw=1, ls=":", label="fᵈ, the cell path alone")
    axes.axhline(1, color="black", lw=0.5)
    axes.set(xlabel="distance d, steps back", ylabel="gradient’s length", ylim=(1e-12, 1e6), xlim=(0, 63))
    axes.legend(frameon=False, loc="lower left", ncols=2)

    def draw(scale: float, half_life: int) -> str:
        f = 2.0 ** (-1 / half_life)
        said = []
        for cell, line in lines.items():
            values = reach_of(cell, scale, None if cell == "RNN" else float(half_life))
            line.set_ydata(np.clip(values, 1e-15, 1e9))
            said.append(f"{cell} <b>{values[-1]:.1e}</b>")
        cell_path.set_ydata(f**back)
        return (
            f"63 steps back, as a multiple of the start: {', '.join(said)}; the keeping gates begin at {f:.3f} "
            f"(bias {float(bias_for(float(half_life))):.2f}), and {f:.3f}⁶³ = {f**63:.1e}"
        )

    return Explorer(
        figure,
        draw,
        alt="Length of the gradient against the distance it goes back, on a logarithmic axis, for an RNN, an LSTM and a GRU.",
        scale=slider("size of W_hh", 0.5, 2.5, 1.0, 0.1),
        half_life=slider("half-life of f and z", 1, 60, 2, 1),
    )


# --- Measure it


class AddingPlot(Live):
    """Error against steps for every training on the adding problem, a panel for each length: pass ``plot.show``."""

    def __init__(self, lengths: Sequence[int]) -> None:
        figure = Figure(figsize=(9.5, 2.9), dpi=100, layout="constrained", facecolor="white")
        axes = figure.subplots(1, len(lengths), sharey=True)
        self.panels = dict(zip(lengths, axes, strict=True))
        for length, a in self.panels.items():
            a.axhline(GUESSING, color="black", lw=0.8, ls=":")
            a.set(xlabel="step", ylim=(1e-3, 2), xlim=(0, 405), yscale="log")
            a.set_title(f"{length} steps", size=10)
            a.spines[["top", "right"]].set_visible(False)
            for name, colour in COLOURS.items():
                a.plot([], [], color=colour, label=name)
        axes[0].set_ylabel("mean squared error")
        axes[0].text(400, GUESSING * 1.1, "always 1", ha="right", size=8)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once: half of the time
        self.lines: dict[int, Any] = {}
        super().__init__(
            figure, alt="Error on the adding problem during training, for four networks and three lengths", seconds=4.0
        )

    def show(self, run: Run) -> None:
        if id(run) not in self.lines:
            (self.lines[id(run)],) = self.panels[run.length].plot([], [], color=COLOURS[run.name], lw=1.3, alpha=0.85)
        self.lines[id(run)].set_data(run.steps, run.error)
        self.redraw()


class MemoryPlot(Live):
    """The error of the predicted next code while the memory learns: pass ``plot.show``."""

    def __init__(self, copying: float) -> None:
        figure, axes = stage(7.0, 2.6)
        (self.line,) = axes.semilogy([], [], color=BLUE, lw=1.6)
        axes.axhline(copying, color=GREY, ls=":", lw=1.2)
        axes.text(695, copying * 1.08, "“the next code is this code”", ha="right", size=9)
        axes.set(xlabel="step", ylabel="squared error", xlim=(0, 700), ylim=(0.2, 20))
        super().__init__(figure, alt="The error of the predicted next code falls during training", seconds=1.0)

    def show(self, course: Course) -> None:
        self.line.set_data(course.steps, course.error)
        self.redraw()


def adding_picture(runs: list[Run]) -> Image:
    """The error at the end of each training: a dot for each seed."""
    figure, axes = stage(7.6, 3.2)
    lengths = sorted({run.length for run in runs})
    for k, name in enumerate(ADDERS):
        for run in (run for run in runs if run.name == name):
            place = lengths.index(run.length) + 0.18 * (k - 1.5) + 0.04 * (run.seed - 1)
            axes.semilogy(place, run.error[-1], MARKERS[name], color=COLOURS[name], ms=6, alpha=0.8)
        axes.plot([], [], MARKERS[name], color=COLOURS[name], label=name)
    axes.axhline(GUESSING, color="black", lw=0.8, ls=":")
    axes.text(-0.45, GUESSING * 1.15, "always saying 1", size=9)
    axes.axhline(0.01, color=GREY, lw=0.8)
    axes.text(-0.45, 0.0103, "solved", size=9, color=GREY, va="bottom")
    axes.set(xticks=range(len(lengths)), xlim=(-0.5, len(lengths) - 0.5), ylim=(2e-4, 0.6), ylabel="error at the end")
    axes.set_xticklabels([f"{length} steps" for length in lengths])
    axes.legend(frameon=False, ncols=4, fontsize=9, loc="lower center")
    return still(
        figure, "Error at the end of training on the adding problem, by length, for four networks and three seeds each"
    )


def signature(curves: dict[str, NDArray[np.float64]], x: torch.Tensor, gates: Gates, readout: torch.Tensor) -> Image:
    """How far gradients reach, and the gates of a trained LSTM over one sequence of the adding problem."""
    figure = Figure(figsize=(10.0, 4.6), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(4, 2, width_ratios=(1, 1.15))
    left = figure.add_subplot(grid[:, 0])
    for name, lengths in curves.items():
        left.semilogy(lengths, color=COLOURS[name], lw=2, label=name)
    left.axhline(1, color="black", lw=0.5)
    left.set(xlabel="distance, steps back", ylabel="gradient’s length", ylim=(1e-13, 10), xlim=(0, len(lengths) - 1))
    left.set_title("the gradient of the answer, before any training", size=10)
    left.legend(frameon=False, loc="lower left")
    marked, steps = x[:, 1] > 0, range(len(x))
    written = (gates.i * gates.g)[marked].sum(0) * readout
    units = torch.argsort(written.abs(), descending=True)[:12]  # those that write most of the answer at the marks
    most = float(gates.c[:, units].abs().max())
    rows = [figure.add_subplot(grid[0, 1])]
    rows += [figure.add_subplot(grid[k, 1], sharex=rows[0]) for k in range(1, 4)]
    rows[0].bar(steps, x[:, 0], color=[RED if m else GREY for m in marked], width=0.8)
    rows[0].set(ylabel="input", ylim=(0, 1.1), xlim=(-0.5, len(x) - 0.5))
    rows[0].set_title("a trained LSTM adds up the two marked numbers", size=10)
    for a, values, label in ((rows[1], gates.i, "i"), (rows[2], gates.f, "f"), (rows[3], gates.c, "c")):
        shown = values[:, units].T.numpy()
        kinds: Any = (
            {"cmap": "Blues", "vmin": 0, "vmax": 1} if label != "c" else {"cmap": "RdBu", "vmin": -most, "vmax": most}
        )
        a.imshow(shown, aspect="auto", interpolation="nearest", extent=(-0.5, len(x) - 0.5, 12, 0), **kinds)
        a.set(ylabel=label, yticks=[])
    for a in rows:
        a.spines[["top", "right"]].set_visible(False)
    for a in rows[:3]:
        a.tick_params(labelbottom=False)
    rows[3].set_xlabel("step (12 of 32 units; in i and f dark is open, in c blue is above 0)")
    for a in (left,):
        a.spines[["top", "right"]].set_visible(False)
    return still(
        figure,
        "Left the gradient's length against the distance for four networks; right a sequence with two marked numbers, and the input "
        "gates, forget gates and cells of a trained LSTM over it",
    )


def probe_picture(table: dict[str, dict[str, Score]], curve: dict[int, Score], z: Score) -> Image:
    """R² of linear probes for three facts, and of a hazard's drift against how many frames h has read."""
    figure, (left, right) = stage(10.0, 3.6, 2, width_ratios=(1.5, 1))
    looks = list(next(iter(table.values())))
    shades = {
        "z": "#BBBBBB",
        "z and the z before": "#7F7F7F",
        "h after one frame": ORANGE,
        "h, untrained": GREEN,
        "h": BLUE,
    }
    for k, look in enumerate(looks):
        kind = look.partition(", seed")[0]
        scores = [row[look] for row in table.values()]
        places = np.arange(len(scores)) + 0.8 / len(looks) * (k - (len(looks) - 1) / 2)
        errors = np.array([[s.r2 - s.low, s.high - s.r2] for s in scores]).T
        label = kind if kind not in left.get_legend_handles_labels()[1] else None
        left.bar(places, [s.r2 for s in scores], 0.75 / len(looks), color=shades[kind], label=label)
        left.errorbar(places, [s.r2 for s in scores], errors, fmt="none", ecolor="black", lw=1, capsize=2)
    left.set(xticks=range(len(table)), ylabel="R² on held-out episodes", ylim=(0, 1.42))
    left.set_xticklabels([name.replace(", ", ",\n").replace(" of ", "\nof ") for name in table])
    left.set_yticks([0, 0.25, 0.5, 0.75, 1])
    left.legend(frameon=False, fontsize=8, ncols=3, loc="upper left")
    frames = list(curve)
    right.errorbar(
        frames, [s.r2 for s in curve.values()],
        [[s.r2 - s.low for s in curve.values()], [s.high - s.r2 for s in curve.values()]],
        color=BLUE, marker="o", ms=4, capsize=3, label="h",
    )  # fmt: skip
    right.axhline(z.r2, color=GREY, ls=":", label="z")
    right.set(xlabel="frames that h has read", ylim=(0, 1), xticks=frames)
    right.set_title("a hazard’s drift below the band", size=10)
    right.legend(frameon=False, loc="upper left")
    return still(
        figure,
        "Left, how well linear probes find three facts in z, in two z, and in h; right, how it grows with the number of frames read",
    )


def behind_the_band(memory: Memory, memories: Memories, h_train: torch.Tensor, h_held_out: torch.Tensor) -> Explorer:
    """A hazard falls through the band: where a probe of the code says it is, and where a probe of the memory does."""
    seen = memories.held_out
    probes = {}
    fact = one_hazard(memories.train, 1, 17, "hazard_x")
    index = torch.from_numpy(fact.rows)
    probes["z"] = fit_probe(memories.train.mu[index], fact.value)
    probes["h"] = fit_probe(h_train[index], fact.value)
    passes = falls(memories)
    figure, (left, right) = stage(8.6, 3.6, 2, width_ratios=(1, 1.5))
    picture = left.imshow(np.zeros((32, 32)), cmap="gray", vmin=0, vmax=255, extent=(0, 32, 32, 0))
    left.set(xticks=[], yticks=[])
    marks = {}
    for name, colour, marker in (("truth", GREEN, "x"), ("z", ORANGE, "s"), ("h", BLUE, "o")):
        (marks[name],) = left.plot([], [], marker, color=colour, ms=9, mfc="none", mew=2)
    lines = {}
    for name, colour, style in (("truth", GREEN, "x-"), ("z", ORANGE, "s--"), ("h", BLUE, "o-")):
        label = {"truth": "truth", "z": "read from z", "h": "read from h"}[name]
        (lines[name],) = right.plot([], [], style, color=colour, ms=4, lw=1.5, label=label)
    right.axvspan(14, 15, ymax=32 / 36, color=GREY, alpha=0.35, lw=0, label="hidden")
    right.set(xlabel="row of the hazard, from the top (a row and a half each step)", ylabel="its column")
    right.set(ylim=(0, 36), yticks=range(0, 33, 8), xlim=(1, 17.2))
    right.legend(frameon=False, loc="upper center", ncols=4, fontsize=9, columnspacing=1.2, handlelength=1.8)
    (now,) = right.plot([0, 0], [0, 32], color="black", lw=1, ls=":")

    def draw(which: int, step: int) -> str:
        rows, slot = passes[which - 1]
        y, x = seen.hazard_y[rows, slot].numpy(), seen.hazard_x[rows, slot].numpy()
        said = {"truth": x, "z": probes["z"](seen.mu[rows]), "h": probes["h"](h_held_out[rows])}
        at = min(step, len(rows)) - 1
        picture.set_data(seen.frames[rows[at], 0])
        for name, values in said.items():
            lines[name].set_data(y, values)
            marks[name].set_data([values[at]], [y[at]])
        now.set_xdata([y[at], y[at]])
        hidden = "wholly hidden" if 14 <= y[at] <= 15 else "in sight" if y[at] <= 10 else "partly hidden"
        return (
            f"row {y[at]:.1f}, {hidden}: it is at column <b>{x[at]:.1f}</b>; the probe of z says <b>{said['z'][at]:.1f}</b>, "
            f"that of h <b>{said['h'][at]:.1f}</b>"
        )

    steps = min(len(rows) for rows, _ in passes)
    return Explorer(
        figure,
        draw,
        alt="A frame with a hazard near the band, and its column against its row: the truth, read from z, and read from h.",
        which=slider("hazard", 1, len(passes), 1, 1),
        step=slider("step of its fall", 1, steps, steps - 1, 1),
    )


def falls(memories: Memories, count: int = 8) -> list[tuple[torch.Tensor, int]]:
    """Hazards of held-out episodes, from row 2.5 to row 16, alone in those rows: the rows of the recording, and the slot."""
    seen, found = memories.held_out, []
    y, old = seen.hazard_y.numpy(), seen.age()
    alone = ((y >= 1) & (y <= 17)).sum(1) == 1
    for start in np.flatnonzero((np.abs(y - 2.5) < 0.1).any(1) & (old > 2)):
        slot = int(np.abs(y[start] - 2.5).argmin())
        rows = start + np.arange(10)
        if rows[-1] >= len(y) or old[rows[-1]] != old[start] + 9 or not alone[rows].all():
            continue
        if abs(float(seen.hazard_x[start, slot]) - 16) > 5:  # away from the middle, where a guess is good
            found.append((torch.from_numpy(rows), slot))
    return found[:: max(1, len(found) // count)][:count]
