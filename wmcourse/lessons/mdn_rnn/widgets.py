"""Lesson 08's pictures: a world that can be solved, actions and frames side by side, trainings, a film strip of reality
and dreams, a fork, and how far dreams hold.
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

from wmcourse.lessons.live import Live, still
from wmcourse.lessons.mdn_rnn.experiment import (
    HORIZON,
    PAST,
    SHOWN,
    SIDE,
    Cut,
    Dream,
    Fork,
    History,
    OpenLoop,
    Sides,
    Starts,
    at,
    decode,
    dreams,
    ending,
    mean_and_error,
    side,
)
from wmcourse.lessons.memories import Memories, Sequences
from wmcourse.lessons.parts import Parts
from wmcourse.lessons.threads import one_thread
from wmcourse.lessons.widget import BLUE, GREEN, GREY, ORANGE, RED, Explorer, slider, stage
from wmcourse.mdn_rnn import MDNRNN

PINK = "#CC79A7"  # Okabe & Ito (2008), too
FILM = (-3, 0, 1, 2, 3, 4, 6, 8, 10, 13, 17, 22)  # steps after the last frame that a film strip shows
NOW = FILM.index(0)
OVER: dict[str, Any] = {
    "facecolor": "white",
    "edgecolor": "none",
    "framealpha": 0.9,
}  # a legend that hides lines behind it


def sheet(rows: list[NDArray[Any]], gap: int = 2, after: int | None = None) -> NDArray[Any]:
    """Rows of frames (n, 32, 32) as one picture; a wider gap behind column ``after``."""
    extra = 6 if after is not None else 0
    count = len(rows[0])
    out = np.ones((len(rows) * (32 + gap) - gap, count * (32 + gap) - gap + extra))
    for r, row in enumerate(rows):
        for c, frame in enumerate(row):
            left = c * (32 + gap) + (extra if after is not None and c > after else 0)
            out[r * (32 + gap) : r * (32 + gap) + 32, left : left + 32] = frame
    return out


def centres(count: int, after: int | None) -> list[float]:
    return [c * 34 + 16 + (6 if after is not None and c > after else 0) for c in range(count)]


def bare(axes: Axes) -> None:
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def opening(data: Sequences, count: int = 6) -> Image:
    """Frames that were seen, actions that will be taken, and frames that nobody has yet."""
    action, x = data.action.numpy()[:, 0], data.agent_x.numpy()
    ahead = 3 * np.arange(count, 2 * count)
    rows = [
        row
        for s, n in zip(data.start.tolist(), data.length.tolist(), strict=True)
        for row in range(s + 15, s + n - 6 * count)
    ]
    first = max(rows, key=lambda row: np.ptp(action[row + ahead]) - 0.05 * abs(float(x[row + 3 * count]) - 16))
    index = [first + 3 * k for k in range(count)]
    frames = data.frames[index, 0] / 255
    blank = np.full((count, 32, 32), 0.93)
    figure = Figure(figsize=(9.5, 1.75), layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.imshow(sheet([np.concatenate([frames, blank])], after=count - 1), cmap="gray", vmin=0, vmax=1)
    places = centres(2 * count, count - 1)
    for k, place in enumerate(places[count:]):
        axes.text(place, 16, "?", ha="center", va="center", size=20, color=GREY)
        push = float(action[first + 3 * (count + k)])
        axes.annotate("", (place + 13 * push, 39), (place, 39), arrowprops={"arrowstyle": "-|>", "color": ORANGE, "lw": 2},
                      annotation_clip=False)  # fmt: skip
    axes.text(places[0] - 16, 41, "seen", size=10, va="center")
    axes.text(places[count - 1] + 16, 41, "then only pushes:", size=10, va="center", ha="right", color="#8a6100")
    axes.set(xticks=[], yticks=[], ylim=(44, -2))
    bare(axes)
    return still(
        figure,
        "Six frames of Dodge, every third step; then six empty ones with question marks, and an arrow under each for the push that is taken",
    )


# --- See it


def free_running() -> Explorer:
    """The world that can be solved: dreams of it, and what each way of predicting is off by."""
    figure, (left, right) = stage(9.2, 3.4, 2)
    length, dreamers = 30, 12
    noise = np.random.default_rng(3).normal(size=(dreamers + 1, length))
    steps = np.arange(length + 1)
    paths = [left.plot(steps, 0 * steps, color=ORANGE, lw=0.8, alpha=0.6)[0] for _ in range(dreamers)]
    (real,) = left.plot(steps, 0 * steps, color="black", lw=2, label="the world")
    paths[0].set_label("dreams")
    (middle,) = left.plot(steps, 0 * steps, color=GREEN, lw=2, label="their average")
    left.set(xlabel="steps since the last look", ylabel="x, in its own widths", ylim=(-3.6, 3.6), xlim=(0, length))
    left.legend(frameon=False, loc="lower left", fontsize=8, ncols=3)
    lines: dict[str, Any] = {}
    for name, colour, dashes in (
        ("one dream", ORANGE, "-"),
        ("average of dreams", GREEN, "-"),
        ("nothing moves", GREY, "-."),
        ("the average of all", BLUE, "--"),
    ):
        (lines[name],) = right.plot(steps, 0 * steps, color=colour, ls=dashes, lw=2, label=name)
    mark = right.axvline(5, color="black", lw=0.8, ls=":")
    right.set(xlabel="steps since the last look", ylabel="squared error ÷ v", ylim=(0, 3.4), xlim=(0, length))
    right.legend(loc="upper left", fontsize=8, ncols=2, **OVER)

    def draw(rho: float, off: float, horizon: int) -> str:
        believed = min(rho + off, 0.995)
        width = math.sqrt(1 - rho**2)  # s, when v = 1
        world = [1.5]
        for step in range(length):
            world.append(rho * world[-1] + width * noise[0, step])
        real.set_ydata(world)
        for path, own in zip(paths, noise[1:], strict=True):
            dream = [1.5]
            for step in range(length):
                dream.append(believed * dream[-1] + width * own[step])
            path.set_ydata(dream)
        middle.set_ydata(1.5 * believed**steps)
        bias = (rho**steps - believed**steps) ** 2
        unknown = 1 - rho ** (2 * steps)
        own_noise = width**2 * (1 - believed ** (2 * steps)) / (1 - believed**2)
        curves = {
            "one dream": bias + unknown + own_noise,
            "average of dreams": bias + unknown,
            "nothing moves": 2 * (1 - rho**steps),
            "the average of all": np.ones(length + 1),
        }
        for name, curve in curves.items():
            lines[name].set_ydata(curve)
        mark.set_xdata([horizon, horizon])
        worse = np.flatnonzero(curves["one dream"] >= 1)
        when = f"from step {worse[0]} on" if len(worse) else "not within these steps"
        numbers = ", ".join(f"{name} <b>{curve[horizon]:.2f}</b>" for name, curve in curves.items())
        return f"after {horizon} steps: {numbers}. One dream is worse than the average of all {when}."

    return Explorer(
        figure,
        draw,
        alt="Left: a path, twelve dreams from its start and their average. Right: squared errors against the horizon of one dream, of the average dream, of 'nothing moves' and of the average of all.",
        rho=slider("memory ρ of the world", 0.5, 0.98, 0.9, 0.02),
        off=slider("the model's ρ minus it", -0.2, 0.2, 0.0, 0.02),
        horizon=slider("horizon L", 1, 30, 10, 1),
    )


def pushes(data: Sequences, shift: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The action of ``shift`` steps later, and how the agent's velocity changed in this one, friction removed."""
    ended, x, velocity = data.ended.numpy(), data.agent_x.numpy(), data.agent_velocity.numpy()
    action = data.action.numpy()[:, 0]
    fine = np.ones(len(x), bool)
    for k in range(-4, 5):  # all of one episode, and away from the walls
        fine &= ~np.roll(ended, k)
    fine[:8], fine[-8:] = False, False
    free = (x > 4) & (x < 28)
    fine &= free & np.roll(free, -1)
    rows = np.flatnonzero(fine)[:1500]
    change = velocity[rows + 1] - 0.8 * velocity[rows]  # friction keeps 0.8
    return action[rows + shift], change


def explained(data: Sequences, shift: int) -> float:
    """The share of what moved the agent that the action of ``shift`` steps later explains."""
    return float(np.corrcoef(*pushes(data, shift))[0, 1] ** 2)


def alignment(data: Sequences) -> Explorer:
    """Which action made this step? The change of the agent's velocity against the action, shifted."""
    figure, axes = stage(6.4, 3.3)
    (dots,) = axes.plot([], [], ".", color=BLUE, ms=3, alpha=0.5)
    axes.set(xlabel="action", ylabel="v(t+1) − 0.8·v(t), pixels", xlim=(-1.05, 1.05), ylim=(-0.75, 0.75))
    title = axes.set_title(" ", size=10)

    def draw(shift: int) -> str:
        pushed, change = pushes(data, shift)
        dots.set_data(pushed, change)
        share = explained(data, shift)
        name = "a(t)" if shift == 0 else f"a(t{shift:+d})".replace("-", "−")
        title.set_text(f"{name} explains {share:.0%} of what moved the agent between frames t and t + 1")
        return (
            f"{name}: <b>{share:.1%}</b> of the push between frames t and t + 1 explained, over {len(change):,} steps"
        )

    return Explorer(
        figure,
        draw,
        alt="The push that the agent got between two frames against the action of a chosen step: at shift 0 all points lie on a line.",
        shift=slider("action of step t +", -3, 3, -1, 1),
    )


# --- Measure it


class LossPlot(Live):
    """Held-out nats per step while networks train: pass ``plot.show`` to ``train``, one network after another."""

    def __init__(self) -> None:
        figure, self.axes = stage(7.6, 3.0)
        self.lines: dict[str, Any] = {}
        self.axes.set(xlabel="training step", ylabel="held-out nats per step", ylim=(5.5, 16), xlim=(0, 1200))
        super().__init__(figure, alt="Held-out negative log-likelihood of the next latent while several networks train")

    def show(self, history: History) -> None:
        """Draw the newest point."""
        if history.title not in self.lines:
            colour = (ORANGE, BLUE, GREY, RED)[len(self.lines) % 4]
            (self.lines[history.title],) = self.axes.plot([], [], color=colour, lw=1.8)
        line = self.lines[history.title]
        line.set_data(history.steps, history.held_out)
        above = min(history.held_out) > self.axes.get_ylim()[1]
        line.set_label(history.title + (" (above this picture)" if above else ""))
        self.axes.legend(frameon=False)
        self.redraw()


def likelihood_picture(
    rows: dict[str, tuple[float, float]], reset: list[tuple[float, float]], titles: tuple[str, str]
) -> Image:
    """Differences in nats per step with 95 % intervals; and what a carried h costs, by the episode's age."""
    figure, (left, right) = stage(9.2, 2.9, 2, width_ratios=(1.35, 1))
    for place, (mean, error) in enumerate(rows.values()):
        left.errorbar([mean], [-place], xerr=[[SIDE * error]], fmt="o", color=ORANGE, capsize=4)
        left.annotate(f"{mean:.2f}", (mean, -place), (0, 7), textcoords="offset points", ha="center", size=8)
    left.set(yticks=[-k for k in range(len(rows))], yticklabels=list(rows), ylim=(-len(rows) + 0.5, 0.7))
    left.set(xscale="log", xlim=(0.012, 6), xlabel="nats per step more than K = 5, 95 % interval", title=titles[0])
    left.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5], ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5"])
    means, errors = np.array(reset).T
    right.errorbar(range(len(means)), means, SIDE * errors, fmt="o-", color=RED, capsize=3)
    right.axhline(0, color=GREY, lw=0.8)
    right.set(xlabel="step of the episode", ylabel="nats more", title=titles[1])
    for axes in (left, right):
        axes.title.set_size(10)
    words = "; ".join(f"{name}: {mean:.2f}" for name, (mean, _) in rows.items())
    return still(
        figure,
        f"Nats per step more than the network with five components: {words}. Right: what an h carried over a reset costs in an episode's first steps",
    )


class Film:
    """Reality and dreams of it, from moments that can be chosen; the learner's ``dream`` makes them."""

    def __init__(self, model: MDNRNN, dream: Dream, parts: Parts, memories: Memories, moments: Starts) -> None:
        self.model, self.dream, self.parts, self.memories = model, dream, parts, memories
        self.seen: dict[tuple[int, float, int], tuple[NDArray[Any], NDArray[Any]]] = {}  # dreams that were shown before
        length = moments.there.sum(1)
        index = torch.argsort(length, descending=True, stable=True)[:40]
        self.moments = moments.some(index[torch.arange(0, 40, 5)])  # eight that go on long enough
        past = [self.moments.steps[:, PAST + k] for k in FILM if k <= 0]
        self.past = torch.stack(
            [torch.from_numpy(memories.held_out.frames[rows.numpy()][:, 0] / 255) for rows in past], 1
        )

    def reality(self, start: int) -> NDArray[Any]:
        ahead = [k - 1 for k in FILM if k > 0]
        real = self.moments.frames[start, ahead].numpy().copy()
        real[self.moments.there[start, ahead].numpy() == 0] = 0.93
        return np.concatenate([self.past[start].numpy(), real])

    def dreamt(self, start: int, temperature: float, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Frames in the film's order, the past decoded from its latents, and the chance to be alive at each."""
        if (start, temperature, seed) in self.seen:
            return self.seen[start, temperature, seed]
        one = self.moments.some(slice(start, start + 1))
        longest = max(FILM)
        latents, survival = dreams(self.model, self.dream, self.parts, ending(one, longest), temperature, 1, seed)
        ahead = [k - 1 for k in FILM if k > 0]
        past = one.z[0, [PAST + k for k in FILM if k <= 0]]
        with one_thread():
            frames = decode(self.memories.vae, torch.cat([past, latents[0, 0, ahead]])).numpy()
        self.seen[start, temperature, seed] = frames, survival[0, 0, ahead].numpy()
        return self.seen[start, temperature, seed]

    def picture(self, temperatures: tuple[float, float] = (1.0, 0.0), start: int = 0, seed: int = 1) -> Image:
        """The film strip as a still."""
        rows, labels = [self.reality(start)], ["reality"]
        for temperature in temperatures:
            rows.append(self.dreamt(start, temperature, seed)[0])
            labels.append(f"dream, τ = {temperature:g}")
        figure = Figure(figsize=(9.6, 2.55), layout="constrained", facecolor="white")
        film(figure.subplots(), rows, labels)
        return still(
            figure, f"Film strip: reality, and dreams at {temperatures} from the same start with the same actions"
        )

    def explorer(self) -> Explorer:
        figure, axes = stage(9.6, 2.75)
        first, _ = self.dreamt(0, 1.0, 1)
        shown = film(axes, [self.reality(0), first, first], ["reality", "dream, τ = 1", "dream, your τ"])
        chances = [
            axes.text(place, 106, "", ha="center", va="bottom", size=8, color="#8a6100")
            for place in centres(len(FILM), NOW)
        ]
        axes.set_ylim(109, -1)
        heard = NOW + 1

        def draw(start: int, temperature: float, dice: int) -> str:
            one, _ = self.dreamt(start - 1, 1.0, dice)
            other, alive = self.dreamt(start - 1, temperature, dice)
            shown.set_data(sheet([self.reality(start - 1), one, other], after=NOW))
            for text, chance in zip(chances[heard:], alive, strict=True):
                text.set_text(f"{chance:.0%}")
            there = int(self.moments.there[start - 1].sum())
            until = f"{there} more steps are real" if there < HORIZON else f"more than {HORIZON} steps are real"
            said = ", ".join(f"{k}: {c:.0%}" for k, c in zip(FILM[heard:], alive, strict=True) if k in (6, 10, 17, 22))
            return f"start {start}, τ = {temperature:g}, dice {dice}: {until}; the dream gives these chances to be alive: <b>{said}</b>"

        return Explorer(
            figure,
            draw,
            alt="Three rows of frames from one start with the same actions: reality, a dream at temperature 1, and a dream at a temperature of one's choice, with the chance to be alive below.",
            start=slider("start", 1, len(self.moments), 1, 1),
            temperature=slider("temperature τ", 0.0, 3.0, 0.0, 0.25),
            dice=slider("dice", 1, 20, 1, 1),
        )


def film(axes: Axes, rows: list[NDArray[Any]], labels: list[str]) -> Any:
    shown = axes.imshow(sheet(rows, after=NOW), cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="equal")
    axes.set(
        xticks=centres(len(FILM), NOW),
        xticklabels=[("now" if k == 0 else f"{k:+d}".replace("-", "−")) for k in FILM],
        yticks=[34 * r + 16 for r in range(len(rows))],
        yticklabels=labels,
    )
    axes.xaxis.tick_top()
    bare(axes)
    return shown


class ForkView:
    """One fork: the mixture of one latent dimension one step ahead, and a heap of dreams that began before it."""

    def __init__(
        self, models: dict[str, MDNRNN], dream: Dream, parts: Parts, memories: Memories, cut: Cut, chosen: list[Fork]
    ) -> None:
        self.models, self.memories = models, memories
        self.after, count = 10, 120
        y = memories.held_out.hazard_y.numpy()
        found = []
        for fork in chosen:
            if not ((y[fork.row] > 0.9) & (y[fork.row] < 9)).any():
                continue  # a new hazard may appear just then, which is another surprise
            for ahead in (1, 2, 3):
                weight, mu, width = self.all_dimensions(models["K = 5"], fork.row + ahead - 1)
                two = np.argsort(weight, -1)[:, -2:]  # the heaviest components of each dimension
                light = np.take_along_axis(weight, two, -1)[:, 0]
                gap = np.abs(np.diff(np.take_along_axis(mu, two, -1))[:, 0]) / np.take_along_axis(width, two, -1).mean(
                    -1
                )
                found += [(float(gap[j]), fork, ahead, j) for j in np.flatnonzero(light > 0.3)]
        best = -1.0
        for gap, fork, ahead, j in sorted(found, key=lambda one: -one[0])[:20]:
            moments = at(memories.held_out, torch.tensor([fork.row]), cut)
            latents, _ = dreams(models["K = 5"], dream, parts, ending(moments, self.after), 1.0, count, 0)
            with one_thread():
                went = side(decode(memories.vae, latents[:, 0, 5]), fork.x)
            left, right = (latents[went == which, 0, 5, j] for which in (1, -1))
            if min(len(left), len(right)) < count / 4 or moments.there[0, : self.after].sum() < self.after:
                continue
            later = float((left.mean() - right.mean()).abs() / (left.std() + right.std()))
            if min(gap, later) > best:
                best = min(gap, later)
                self.fork, self.ahead, self.dimension, self.latents, self.went = (
                    fork,
                    ahead,
                    int(j),
                    latents[:, 0],
                    went,
                )

    def all_dimensions(self, model: MDNRNN, row: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Weights, means and widths (Z, K) of the mixture for the frame after ``row``, from the real past."""
        data, index = self.memories.held_out, torch.arange(row - PAST, row + 1)
        with torch.no_grad(), one_thread():
            p, _ = model(data.mu[None, index], data.action[None, index])
        return p.log_pi[0, -1].exp().numpy(), p.mu[0, -1].numpy(), p.log_sigma[0, -1].exp().numpy()

    def explorer(self) -> Explorer:
        figure = Figure(figsize=(9.6, 3.3), dpi=100, layout="constrained", facecolor="white")
        picture, left, right = figure.subplots(1, 3, width_ratios=(0.75, 1.2, 1.2))
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
        data, j = self.memories.held_out, self.dimension
        shown = picture.imshow(np.zeros((32, 32)), cmap="gray", vmin=0, vmax=1)
        title = picture.set_title(" ", size=10)
        picture.set(xticks=[], yticks=[])
        bare(picture)
        low, high = float(self.latents[..., j].min()) - 0.3, float(self.latents[..., j].max()) + 0.3
        grid = np.linspace(low, high, 400)
        parts = [left.plot(grid, 0 * grid, color=ORANGE, lw=0.8, ls=":")[0] for _ in range(5)]
        (five,) = left.plot(grid, 0 * grid, color=ORANGE, lw=2, label="K = 5, and its parts")
        (single,) = left.plot(grid, 0 * grid, color=BLUE, lw=1.6, ls="--", label="K = 1")
        real = [axes.axvline(0, color="black", lw=1.2, label="what really came") for axes in (left, right)]
        left.set(xlim=(low, high), ylim=(0, 3.2), xlabel=f"latent dimension {j + 1}", ylabel="density")
        left.set_title("one step ahead, from the real past", size=10)
        left.legend(fontsize=8, loc="upper left", **OVER)
        edges = np.linspace(low, high, 31)
        heaps = {name: right.stairs(np.zeros(30), edges, color=colour, fill=True, alpha=0.65, label=name)
                 for name, colour in (("went left", GREEN), ("went right", PINK), ("neither", GREY))}  # fmt: skip
        right.set(xlim=(low, high), ylim=(0, 28), xlabel=f"latent dimension {j + 1}", ylabel="dreams of 120")
        right.set_title("dreams that began before the fork", size=10)
        right.legend(fontsize=8, loc="upper left", **OVER)

        def draw(ahead: int) -> str:
            row = self.fork.row + ahead
            shown.set_data(data.frames[row, 0] / 255)
            title.set_text("last frame before the fork" if ahead == 0 else f"{ahead} step{'s' * (ahead > 1)} later")
            total = {}
            for name in ("K = 5", "K = 1"):
                weight, mu, width = (part[j] for part in self.all_dimensions(self.models[name], row - 1))
                bells = weight[:, None] * np.exp(-0.5 * ((grid - mu[:, None]) / width[:, None]) ** 2)
                bells = bells / (width[:, None] * math.sqrt(2 * math.pi))
                total[name] = bells.sum(0)
                if name == "K = 5":
                    for line, bell in zip(parts, bells, strict=True):
                        line.set_ydata(bell)
            five.set_ydata(total["K = 5"])
            single.set_ydata(total["K = 1"])
            for line in real:
                line.set_xdata([float(data.mu[row, j])] * 2)
            values = self.latents[:, ahead - 1, j].numpy() if ahead > 0 else np.array([])
            for name, which in (("went left", 1), ("went right", -1), ("neither", 0)):
                mine = values[self.went.numpy() == which] if ahead > 0 else values
                heaps[name].set_data(np.histogram(mine, edges)[0])
            words = f"real value {float(data.mu[row, j]):+.2f} (the black line)"
            if ahead > 0:
                one, other = (values[self.went.numpy() == which] for which in (1, -1))
                words += f"; dreams that went left <b>{one.mean():+.2f} ± {one.std():.2f}</b>, right <b>{other.mean():+.2f} ± {other.std():.2f}</b>"
            return f"frame {ahead} after the last before the fork: {words}"

        return Explorer(
            figure,
            draw,
            alt="A frame near a fork; the mixture of one latent dimension one step ahead, with five components and with one; and the values of that dimension in 120 dreams, by the side that they took.",
            ahead=slider("steps after", 0, self.after, 6, 1),
        )


def sides_picture(counts: dict[str, Sides], chance: int) -> Image:
    """For each fork the share of dreams that went left: as coins would, or as a network with an opinion?"""
    figure, axes = stage(9.2, 2.7, len(counts), sharey=True)
    for panel, (name, sides) in zip(axes, counts.items(), strict=True):
        there = sides.left + sides.right > 0
        went = (sides.left + sides.right)[there]
        share = sides.left[there] / went
        panel.hist(share, np.linspace(0, 1, 21), color=ORANGE if "5" in name else BLUE, alpha=0.8)
        coins = np.random.default_rng(0).binomial(went, 0.5, (400, len(went))) / went
        if "τ" not in name:
            heights = np.histogram(coins, np.linspace(0, 1, 21))[0] / 400
            panel.stairs(heights, np.linspace(0, 1, 21), color="black", lw=1.2, label="fair coins")
        total, error = sides.share
        panel.set_title(f"{name}: {total:.0%} ± {SIDE * error:.0%} (95 %) left", size=10)
        panel.set(xlabel="share of its dreams that go left", xlim=(0, 1))
    axes[0].set_ylabel(f"forks, of {chance}")
    axes[0].legend(frameon=False, fontsize=8)
    words = "; ".join(f"{name}: {sides.share[0]:.0%} left" for name, sides in counts.items())
    return still(
        figure, f"Histograms over forks of the share of dreams that go left, beside what fair coins would give. {words}"
    )


def horizon_picture(
    whole: OpenLoop,
    perfect: OpenLoop,
    forecasts: dict[str, NDArray[Any]],
    floor: float,
    world: NDArray[Any],
) -> Image:
    """Open-loop error against horizon, the network's and a perfect model's, with baselines; and how well each foretells a hit."""
    figure, (left, right) = stage(9.4, 3.7, 2, width_ratios=(1.25, 1))
    for name, values, colour, dashes in (
        ("nothing moves", whole.still, GREY, "-."),
        ("the average frame", whole.mean, BLUE, "--"),
        ("one dream", whole.one, ORANGE, "-"),
        ("average of endless ones", whole.endless, ORANGE, ":"),
        ("one perfect dream", perfect.one, GREEN, "-"),
        ("endless perfect ones", perfect.endless, GREEN, ":"),
    ):
        mean, error = mean_and_error(values, world)
        left.plot(SHOWN, mean, color=colour, ls=dashes, lw=2, label=name)
        left.fill_between(SHOWN, mean - SIDE * error, mean + SIDE * error, color=colour, alpha=0.18, lw=0)
    left.axhline(floor, color="black", lw=0.8, ls=":")
    left.text(40, floor - 0.6, "what the VAE itself loses", ha="right", va="top", size=8)
    left.set(xlabel="steps without a frame", ylabel="squared error of the frame", ylim=(-3, 84), xlim=(0, 41))
    left.legend(frameon=False, loc="upper left", fontsize=8, ncols=3)
    for (name, values), colour, dashes in zip(forecasts.items(), (ORANGE, GREEN, BLUE), ("-", "-", "--"), strict=True):
        mean, error = mean_and_error(values, world)
        steps = np.arange(1, len(mean) + 1)
        right.plot(steps, mean, color=colour, ls=dashes, lw=2, label=name)
        right.fill_between(steps, mean - SIDE * error, mean + SIDE * error, color=colour, alpha=0.18, lw=0)
    right.set(xlabel="steps ahead", ylabel="Brier score of “still alive?”", ylim=(0, 0.36), xlim=(0, 41))
    right.legend(frameon=False, loc="upper left", fontsize=8)
    return still(
        figure,
        "Left: squared error against the horizon of the network's dreams and of a perfect model's, of one and of the average of endlessly many, beside two baselines. Right: Brier score of the forecast to be still alive, by both and by the base rate",
    )


def temperature_picture(rows: dict[float, dict[str, tuple[float, float]]], real: tuple[float, float]) -> Image:
    """Error, spread and survival in the dream against τ."""
    figure, (left, right) = stage(9.2, 3.0, 2)
    taus = np.array(list(rows))
    for name, colour, mark in (("one dream's error", ORANGE, "o-"), ("spread of dreams", GREEN, "s--")):
        means, errors = np.array([rows[tau][name] for tau in rows]).T
        left.errorbar(taus, means, SIDE * errors, fmt=mark, color=colour, capsize=3, label=name)
    left.set(xlabel="temperature τ", ylabel="squared error after 5 steps", ylim=(0, None))
    left.legend(frameon=False, fontsize=8, loc="center right")
    means, errors = np.array([rows[tau]["alive"] for tau in rows]).T
    right.errorbar(taus, means, SIDE * errors, fmt="o-", color=ORANGE, capsize=3, label="in the dream")
    right.axhline(real[0], color="black", lw=1.5, label="in the world")
    right.axhspan(real[0] - SIDE * real[1], real[0] + SIDE * real[1], color="black", alpha=0.12, lw=0)
    right.set(xlabel="temperature τ", ylabel="alive after 20 steps", ylim=(0, 0.8))
    right.legend(frameon=False, fontsize=8, loc="lower right")
    words = "; ".join(f"τ {tau:g}: {row['alive'][0]:.0%} alive" for tau, row in rows.items())
    return still(
        figure,
        f"Error of one dream and spread of dreams, and the share alive after 20 steps, against temperature. {words}; in the world {real[0]:.0%}",
    )
