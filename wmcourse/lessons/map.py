"""The map of the finished system, the same in all eleven lessons, with this lesson's part highlighted."""

from __future__ import annotations

from collections.abc import Collection

from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from wmcourse.lessons.live import still

INK, PALE, HIGHLIGHT = "#333333", "#EDEFF2", "#F5D48F"
#          part: (x, y, title, what it is, lessons)
PARTS = {
    "world": (0.0, 0.0, "World", "Dodge: frames x,\nreward, done", ""),
    "V": (1.0, 0.0, "V  the eye", "VAE: x → z", "lessons 01–05"),
    "M": (2.0, 0.0, "M  the memory", "MDN-RNN: (z, a, h) →\nnext z, reward, done", "lessons 06–08"),
    "C": (3.0, 0.0, "C  the will", "CEM planner: tries\nactions in the dream", "lessons 09–10"),
}
WIDTH, HEIGHT = 0.76, 0.62


def system_map(highlight: Collection[str] = ()) -> Image:
    """World → V → M → C and back; ``highlight`` names parts of "world", "V", "M" and "C". Raises ValueError for
    others.
    """
    unknown = set(highlight) - set(PARTS)
    if unknown:
        raise ValueError(f"The map has no part {sorted(unknown)}: choose among {list(PARTS)}.")
    figure = Figure(figsize=(9.5, 2.3), layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.set(xlim=(-0.45, 3.45), ylim=(-0.8, 0.5))
    axes.axis("off")
    for name, (x, y, title, what, lessons) in PARTS.items():
        colour = HIGHLIGHT if name in highlight else PALE
        corner = (x - WIDTH / 2, y - HEIGHT / 2)
        axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, "round,pad=0.02,rounding_size=0.06", fc=colour, ec=INK))
        axes.text(x, y + 0.2, title, ha="center", va="center", weight="bold", color=INK, size=11)
        axes.text(x, y - 0.02, what, ha="center", va="center", color=INK, size=9)
        axes.text(x, y - 0.24, lessons, ha="center", va="center", color=INK, size=8, style="italic")
    for start, label in ((0, "frame x"), (1, "latent z"), (2, "dream")):
        arrow(axes, (start + WIDTH / 2 + 0.03, 0.02), (start + 1 - WIDTH / 2 - 0.03, 0.02))
        axes.text(start + 0.5, 0.09, label, ha="center", size=8, color=INK)
    arrow(axes, (3.0, -HEIGHT / 2 - 0.04), (0.0, -HEIGHT / 2 - 0.04), bend=-0.16)
    axes.text(1.5, -0.57, "action a", ha="center", size=8, color=INK)
    parts = ", ".join(PARTS[name][2].split("  ")[0] for name in highlight) or "none"
    return still(figure, f"World, eye V, memory M and will C in a circle; highlighted: {parts}")


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], bend: float = 0.0) -> None:
    """An arrow between two points of the map; ``bend`` curves it."""
    style = f"arc3,rad={bend}"
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color=INK, connectionstyle=style, lw=1.2)
    )
