"""Lesson 10's pictures: a population that walks over a landscape, the three knobs, noise that gets somewhere."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from numpy.typing import NDArray
from PIL import Image as Picture
from torch import Tensor

from wmcourse.cross_entropy_method import cem_update, colour_noise, correlated_noise
from wmcourse.lessons.cross_entropy_method.experiment import NAMES, Fan, Returns, rastrigin, rosenbrock, shortfall
from wmcourse.lessons.live import Live, still
from wmcourse.lessons.widget import BLUE, GREEN, GREY, ORANGE, RED, Explorer, choice, slider, stage
from wmcourse.worlds.dodge import Rules

SIDE, ROUNDS = 3.0, 15
TOP = torch.tensor([2.2, 1.8])  # of the long slope


def far_top(points: Tensor) -> Tensor:
    """Straight slopes to a top that is far from the start. Points (..., 2, 1) -> (...)."""
    return -(points[..., 0] - TOP).norm(dim=-1)


#               score, top, start, σ of the start
GROUNDS: dict[str, tuple[Any, tuple[float, float], tuple[float, float], float]] = {
    "Rosenbrock": (rosenbrock, (1.0, 1.0), (-1.2, 2.0), 1.0),
    "Rastrigin": (rastrigin, (1.0, 1.0), (-1.6, -1.4), 2.0),
    "a far top": (far_top, (2.2, 1.8), (-2.0, -1.8), 0.5),
}


def walk(
    ground: str, share: float, alpha: float, luck: int = 0, rounds: int = ROUNDS
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """For each round the candidates (64, 2), which of them are elite, and the mean and std (2,) they were drawn with."""
    score, _, start, sigma = GROUNDS[ground]
    generator = torch.Generator().manual_seed(luck)
    mean, std = torch.tensor(start).view(1, 2, 1), torch.full((1, 2, 1), sigma)
    elites, seen = max(1, round(64 * share)), []
    for _ in range(rounds + 1):
        plans = mean[:, None] + std[:, None] * torch.randn(1, 64, 2, 1, generator=generator)
        scores = score(plans)
        best = torch.zeros(64, dtype=torch.bool)
        best[scores[0].topk(elites).indices] = True
        seen.append((plans[0, :, :, 0], best, mean[0, :, 0], std[0, :, 0]))
        mean, std = cem_update(plans, scores, elites, mean, std, alpha)
    return seen


def population_walk() -> Explorer:
    """64 candidates in two dimensions, round by round: the elites, and the ellipse that the next ones come from."""
    figure, axes = stage(6.4, 4.6)
    grid = torch.linspace(-SIDE, SIDE, 121)
    points = torch.stack(torch.meshgrid(grid, grid, indexing="xy"), dim=-1)[..., None]
    heights = {}
    for name, (score, *_) in GROUNDS.items():
        flat = -score(points)
        heights[name] = -torch.log1p(flat if name != "a far top" else 3 * flat).numpy()
    extent = (-SIDE, SIDE, -SIDE, SIDE)
    ground_image = axes.imshow(heights["Rosenbrock"], origin="lower", extent=extent, cmap="Greys_r", alpha=0.75)
    (top,) = axes.plot([], [], "*", color=GREEN, ms=16, mec="black", label="top")
    (others,) = axes.plot([], [], ".", color=BLUE, ms=5, label="candidates")
    (best,) = axes.plot([], [], "o", color=ORANGE, ms=5, mec="black", mew=0.5, label="elites")
    (path,) = axes.plot([], [], ".-", color=RED, lw=1.5, ms=5, label="mean, so far")
    ring = Ellipse((0, 0), 1, 1, fc="none", ec=RED, lw=2)
    axes.add_patch(ring)
    axes.set(xlim=(-SIDE, SIDE), ylim=(-SIDE, SIDE), xlabel="first number of the plan", ylabel="second number")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    walks: dict[tuple[str, float, float, int], Any] = {}

    def draw(ground: str, round: int, share: float, alpha: float, luck: int) -> str:
        key = (ground, share, alpha, luck)
        walks[key] = walks.get(key) or walk(*key)
        plans, elite, mean, std = walks[key][round]
        score, peak, *_ = GROUNDS[ground]
        if ground_image.get_array() is not heights[ground]:
            ground_image.set_data(heights[ground])
            ground_image.set_clim(heights[ground].min(), heights[ground].max())
        top.set_data([peak[0]], [peak[1]])
        others.set_data(*plans[~elite].numpy().T)
        best.set_data(*plans[elite].numpy().T)
        path.set_data(*np.array([step[2].numpy() for step in walks[key][: round + 1]]).T)
        ring.set(center=mean.tolist(), width=4 * float(std[0]), height=4 * float(std[1]))
        apart = float((mean - torch.tensor(peak)).norm())
        return (
            f"round {round}: mean ({mean[0]:.2f}, {mean[1]:.2f}), σ ({std[0]:.3f}, {std[1]:.3f}); the best of 64 is "
            f"{-float(score(plans[..., None]).max()):.3g} below the top; the mean is <b>{apart:.2f}</b> from it"
        )

    return Explorer(
        figure,
        draw,
        alt="A landscape in grey with a population of points, its elites in orange, its ellipse, and the mean's path.",
        ground=choice("landscape", list(GROUNDS)),
        round=slider("round", 0, ROUNDS, 2, 1),
        share=slider("elite share", 0.05, 0.5, 0.15, 0.05),
        alpha=slider("smoothing α", 0.1, 1.0, 1.0, 0.1),
        luck=slider("luck (seed)", 0, 9, 3, 1),
    )


def on_a_cone(alpha: float, elites: int, floor: float, distance: float) -> tuple[Tensor, Tensor]:
    """Of 40 searches the mean's distance from the top of a cone, and the std, both in σ₀: (31 rounds, 40) each."""
    generator = torch.Generator().manual_seed(0)
    mean, std = torch.zeros(40, 1, 2), torch.ones(40, 1, 2)
    goal = torch.tensor([distance, 0.0])
    apart, spread = [mean[:, 0].sub(goal).norm(dim=-1)], [std.mean(dim=(1, 2))]
    for _ in range(30):
        plans = mean[:, None] + std[:, None] * torch.randn(40, 50, 1, 2, generator=generator)
        scores = -(plans[:, :, 0] - goal).norm(dim=-1)
        mean, std = cem_update(plans, scores, elites, mean, std, alpha, floor)
        apart.append(mean[:, 0].sub(goal).norm(dim=-1))
        spread.append(std.mean(dim=(1, 2)))
    return torch.stack(apart), torch.stack(spread)


def arrived(alpha: float = 1.0, elites: int = 5, floor: float = 0.0, distance: float = 2.0) -> int:
    """How many of the 40 searches end within 0.1 σ₀ of the top."""
    return int((on_a_cone(alpha, elites, floor, distance)[0][-1] < 0.1).sum())


def three_knobs() -> Explorer:
    """Distance from the top and std over rounds, of 40 searches: what α, the elite share and the floor do."""
    figure, (left, right) = stage(8.4, 3.4, 2)
    rounds = np.arange(31)
    lines = [left.plot(rounds, rounds * 0 + 1.0, color=BLUE, lw=0.6, alpha=0.35)[0] for _ in range(20)]
    (middle,) = left.plot(rounds, rounds * 0 + 1.0, color=BLUE, lw=2.5, label="median of 40")
    left.set(yscale="log", ylim=(1e-4, 20), xlabel="round", ylabel="mean's distance from the top, in σ₀")
    left.legend(frameon=False, loc="upper right")
    (width,) = right.plot(rounds, rounds * 0 + 1.0, color=ORANGE, lw=2.5, label="σ, median of 40")
    start = right.plot(
        rounds, rounds * 0 + 1.0, color=GREY, ls="--", lw=1.5, label="what is left of the start, (1 − α)ⁱ"
    )[0]
    right.set(yscale="log", ylim=(1e-4, 20), xlabel="round", ylabel="in σ₀")
    right.legend(frameon=False, loc="upper right")

    def draw(alpha: float, elites: int, floor: float, distance: float) -> str:
        paths, widths = (part.clamp(min=1e-5) for part in on_a_cone(alpha, elites, floor, distance))
        for k, line in enumerate(lines):
            line.set_ydata(paths[:, k])
        middle.set_ydata(paths.median(dim=1).values)
        width.set_ydata(widths.median(dim=1).values)
        start.set_ydata(np.maximum((1 - alpha) ** rounds, 1e-5))
        there = int((paths[-1] < 0.1).sum())
        return (
            f"after 30 rounds of 50 plans: <b>{there} of 40</b> within 0.1 σ₀ of the top; median distance "
            f"{least(float(paths[5].median()))} after 5 rounds, {least(float(paths[-1].median()))} after 30, "
            f"σ {least(float(widths[-1].median()))}; of the start {least((1 - alpha) ** 30)} is left"
        )

    return Explorer(
        figure,
        draw,
        alt="Left the distance of 40 searches from the top over 30 rounds, right the population's std, both on log scales.",
        alpha=slider("smoothing α", 0.05, 1.0, 1.0, 0.05),
        elites=slider("elites of 50", 1, 25, 5, 1),
        floor=slider("floor under σ", 0.0, 0.5, 0.0, 0.01),
        distance=slider("top at (in σ₀)", 0.0, 10.0, 2.0, 0.5),
    )


def least(value: float) -> str:
    """Two digits, but no more than the picture shows."""
    return "less than 0.0001" if value < 1e-4 else f"{value:.2g}"


def glide(actions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where Dodge's agent would be, without walls: throttle (N, L) -> columns (N, L + 1)."""
    rules, x, v = Rules(), np.zeros(len(actions), np.float32), np.zeros(len(actions), np.float32)
    path = [x]
    for a in np.clip(actions, -1, 1).T:
        v = rules.friction * v + rules.power * a
        x = x + v
        path.append(x)
    return np.stack(path, axis=1)


SHOWN = 4  # the plan whose pushes are drawn


def noise_and_inertia() -> Explorer:
    """Random plans of three kinds of noise, and where they take Dodge's agent in twelve steps."""
    figure, axes = stage(8.4, 3.4, 3, sharey=True)
    steps = np.arange(13)
    paths, pushes = [], []
    for panel in axes:
        panel.axhspan(-4.5, 4.5, color=ORANGE, alpha=0.2, lw=0)
        paths.append([panel.plot(steps, steps * 0.0, color=BLUE, lw=0.7, alpha=0.35)[0] for _ in range(60)])
        panel.axhline(-33, color=GREY, lw=0.6)
        pushes.append(panel.step(steps[:-1], steps[:-1] * 0.0, where="mid", color=RED, lw=1.4)[0])
        panel.set(ylim=(-40, 26), xlim=(-0.5, 12), xticks=(0, 4, 8, 12), yticks=(-20, -10, 0, 10, 20), xlabel="step")
    axes[0].set_ylabel("pixels to the side")
    axes[0].set_title("white", fontsize=11)
    axes[1].set_title("correlated, ρ", fontsize=11)
    axes[2].set_title("coloured, exponent", fontsize=11)

    def draw(rho: float, exponent: float) -> str:
        said = []
        for k, (name, setting) in enumerate((("white", 0.0), (f"ρ = {rho:g}", rho), (f"1/f^{exponent:g}", exponent))):
            generator = torch.Generator().manual_seed(1)
            if k == 1:
                noise = correlated_noise((2000, 12, 1), setting, generator)
            else:
                noise = colour_noise(torch.randn((2000, 12, 1), generator=generator), setting)
            actions = (0.8 * noise[..., 0]).clamp(-1, 1).numpy()
            where = glide(actions)
            for one, line in zip(where, paths[k], strict=False):
                line.set_ydata(one)
            pushes[k].set_ydata(5 * actions[SHOWN] - 33)
            said.append(
                f"{name}: {where[:, -1].std():.1f} pixels, <b>{(np.abs(where[:, -1]) > 4.5).mean():.1%}</b> out"
            )
        return (
            "same std of each push; after 12 steps the agent is so far to the side (std), and so many of 2,000 plans have left "
            f"the shaded ± 4.5 pixels that a hazard covers. {'; '.join(said)}"
        )

    return Explorer(
        figure,
        draw,
        alt="For white, correlated and coloured noise where sixty plans take an agent with inertia in twelve steps, and below, in "
        "red, the pushes of one plan.",
        rho=slider("correlation ρ", 0.0, 0.98, 0.9, 0.02),
        exponent=slider("exponent", 0.0, 4.0, 2.0, 0.25),
    )


# --- Still pictures


def fan_panel(axes: Axes, fan: Fan, hazards: NDArray[np.float32], title: str, top: float) -> None:
    rules = Rules()
    reach = (rules.agent[0] + rules.hazard) / 2  # from centre to centre: nearer is a hit
    for t, column in hazards:
        axes.fill_between([t - 0.5, t + 0.5], column - reach, column + reach, color=RED, alpha=0.35, lw=0)
    steps = np.arange(fan.x.shape[1])
    for alive, colour in ((False, GREY), (True, BLUE)):
        for path in fan.x[fan.alive == alive]:
            axes.plot(steps, path, color=colour, lw=0.7, alpha=0.7)
    axes.set(title=title, xlabel="steps ahead", xlim=(0, steps[-1]), ylim=(0, top))


def fan_picture(fans: Sequence[tuple[str, Fan]], hazards: NDArray[np.float32]) -> Image:
    """Populations of plans in Dodge: in grey those that are hit, in blue those that survive."""
    figure, axes = stage(3.1 * len(fans), 3.1, len(fans), sharey=True)
    top = max(20.0, *(float(fan.x.max()) + 1 for _, fan in fans))
    for a, (title, fan) in zip(axes, fans, strict=True):
        fan_panel(a, fan, hazards, f"{title}:\n{int(fan.alive.sum())} of {len(fan.alive)} survive", top)
    axes[0].set_ylabel("agent's column")
    said = "; ".join(f"{title}: {int(fan.alive.sum())} of {len(fan.alive)} survive" for title, fan in fans)
    shown = still(figure, f"Where 64 plans would take the agent, shaded where a hazard would hit it. {said}")
    few_colours = io.BytesIO()  # hundreds of thin lines: a quarter of the bytes
    Picture.open(io.BytesIO(shown.data)).convert("RGB").quantize(64).save(few_colours, "png", optimize=True)
    shown.data = few_colours.getvalue()
    return shown


def reach_picture(walks: dict[str, NDArray[np.float64]], reach: float) -> Image:
    """A population on an endless slope: bells that get narrower as they walk, and the wall they never pass."""
    figure, (left, right) = stage(9.0, 3.4, 2, width_ratios=(1.25, 1))
    x = np.linspace(-2.5, reach, 651)
    means = {name: path.mean(axis=1) for name, path in walks.items()}  # over searches: (rounds + 1, 2)
    first = next(iter(means.values()))
    for k in range(5):
        mean, std = first[k]
        bell = np.exp(-0.5 * ((x - mean) / std) ** 2)
        left.fill_between(x, -k, -k + 0.85 * bell, color=BLUE, alpha=0.75 - 0.1 * k, lw=0)
        left.text(reach + 0.15, -k + 0.12, f"round {k}: σ = {std:.2f}", size=9)
    left.axvline(reach, color=RED, ls="--", lw=1.5)
    left.text(reach + 0.15, 0.65, f"{reach:.2f} σ₀", color=RED, size=10)
    left.set(yticks=[], xlim=(-2.5, 5.0), xlabel="along the slope, in σ₀ (up is to the right)")
    left.set_title("α = 1, the best tenth are elite")
    left.spines["left"].set_visible(False)
    for (name, path), colour in zip(means.items(), (BLUE, GREEN, GREY, ORANGE), strict=True):
        right.plot(path[:, 0], color=colour, lw=2, label=name)
    right.axhline(reach, color=RED, ls="--", lw=1.5)
    right.set(xlabel="round", ylabel="mean, in σ₀", ylim=(0, 8), xlim=(0, 40))
    right.legend(frameon=False, loc="upper left")
    return still(
        figure,
        f"On a slope without a top the population gets narrower and stops {reach:.2f} standard deviations from its start, "
        "whatever α; only a floor under σ lets it walk on",
    )


def race_picture(rows: dict[tuple[str, int], list[tuple[int, Any, Any]]]) -> Image:
    """How far below the top CEM and random search end, over evaluations: medians with intervals."""
    figure, axes = stage(9.6, 2.9, len(rows))
    for a, ((landscape, dimension), points) in zip(axes, rows.items(), strict=True):
        for which, name, colour, mark in ((1, "CEM", BLUE, "o-"), (2, "random search", GREY, "s--")):
            middle, low, high = np.maximum([p[which] for p in points], 1e-6).T  # 0 has no place on a log axis
            error = np.array([middle - low, high - middle])
            a.errorbar([p[0] for p in points], middle, error, fmt=mark, color=colour, capsize=3, ms=4, label=name)
        worst, best = max(p[2][0] for p in points), min(min(p[1][0], p[2][0]) for p in points)
        scale = "log" if worst > 10 * best else "linear"
        a.set(xscale="log", yscale=scale, title=f"{landscape}, {dimension} numbers", xlabel="evaluations")
    axes[0].set_ylabel("below the top, median")
    axes[0].legend(frameon=False, fontsize=8)
    return still(
        figure,
        "Medians over 200 seeds: in two dimensions random search wins in the valley and loses among the waves, in ten it is left far "
        "behind",
    )


COLOURS = dict(zip(NAMES, (GREY, "#56B4E9", BLUE, ORANGE, GREEN, RED), strict=True))
MARKS = dict(zip(NAMES, "sov^DP", strict=True))


class RacePlot(Live):
    """What each planner lacks on the pendulum, over evaluations; ``plot.show`` takes the results as they come."""

    def __init__(self) -> None:
        figure = Figure(figsize=(7.6, 3.8), dpi=100, layout="constrained", facecolor="white")
        self.axes = figure.subplots()
        super().__init__(
            figure, alt="Returns of six planners on Pendulum-v1 below the best, over evaluations a decision"
        )

    def show(self, results: dict[str, dict[int, Returns]]) -> None:
        """Draw what there is."""
        self.axes.clear()
        self.axes.spines[["top", "right"]].set_visible(False)
        for k, (name, row) in enumerate(shortfall({n: r for n, r in results.items() if r}).items()):
            budgets = np.array(list(row)) * 1.04 ** (k - 2.5)  # side by side
            means = np.maximum([-v[0] for v in row.values()], 0.1)  # the first result is the best there is
            halves = np.array([v[1] for v in row.values()])
            lower = np.minimum(halves, 0.95 * means)  # the axis has no room for 0
            self.axes.errorbar(
                budgets, means, (lower, halves), fmt=MARKS[name] + "-", color=COLOURS[name], capsize=3, ms=5, label=name
            )
        self.axes.set(xscale="log", yscale="log", xlabel="model evaluations (plans of 20 steps) for each decision")
        self.axes.set_ylabel("return lacking to the best of all\nfrom the same start (lower is better)")
        ticks = sorted({b for row in results.values() for b in row})
        self.axes.set_xticks(ticks, [str(b) for b in ticks])
        self.axes.minorticks_off()
        self.axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        self.redraw()


def dodge_bars(rows: dict[str, tuple[float, float, float]]) -> Image:
    """Mean returns on Dodge with their intervals."""
    figure, axes = stage(6.8, 0.45 * len(rows) + 0.7)
    for k, (name, (mean, low, high)) in enumerate(rows.items()):
        colour = BLUE if "correlated" in name else RED if "buttons" in name else GREY
        axes.barh(-k, mean, color=colour, height=0.6)
        axes.errorbar(mean, -k, xerr=[[mean - low], [high - mean]], color="black", capsize=4)
        axes.text(6, -k, name, va="center", color="white", size=9)
    axes.axvline(300, color=GREY, ls=":", lw=1)
    axes.set(yticks=[], xlabel="steps survived, 300 at most", xlim=(0, 312))
    axes.spines["left"].set_visible(False)
    return still(figure, "Mean returns on Dodge: correlated noise gains much, rounds of fitting hardly anything")


def tail_numbers(share: float) -> tuple[float, float]:
    """For x ~ N(0, 1) the mean d and the std c of its upper ``share``."""
    gamma = float(torch.special.ndtri(torch.tensor(1 - share, dtype=torch.float64)))
    d = math.exp(-(gamma**2) / 2) / math.sqrt(2 * math.pi) / share
    return d, math.sqrt(1 + gamma * d - d**2)
