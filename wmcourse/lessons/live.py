"""Pictures for cells: still ones, and ones that move while a cell works and stay behind as a still when it is done.

An ``ipywidgets.Image`` whose bytes are replaced in place: the fastest way to new pixels, and the one that leaves no
trace of the in-between pictures in the notebook.
"""

from __future__ import annotations

import io
import time
from types import TracebackType
from typing import Any

import ipywidgets as widgets
import numpy as np
from IPython.display import Image as StillPicture
from IPython.display import display
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image as Picture


def png(figure: Figure) -> bytes:
    """The figure as it is now, quickly."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()


def still(figure: Figure, alt: str) -> StillPicture:
    """The figure as a picture for a cell's output, sharp on dense screens; ``alt`` says in words what it shows."""
    width, _ = figure.get_size_inches() * 100
    figure.set_dpi(160)
    return StillPicture(png(figure), format="png", width=round(width), alt=alt)


class Painter:
    """Paints a figure again and again, three times as fast as ``png``: what frames the axes is drawn once.

    Ticks, their labels and the grid are most of the work and hardly ever change. They are kept as a picture, and lines,
    patches, texts and spines are drawn over it; where an axis has changed, or an artist lies below it, all is drawn.
    """

    def __init__(self, figure: Figure) -> None:
        self.figure, self.canvas = figure, FigureCanvasAgg(figure)
        self.framing: Any = None

    def paint(self) -> bytes:
        """The figure as it is now."""
        if self.framing is None or any(axis.stale for axes in self.figure.axes for axis in (axes.xaxis, axes.yaxis)):
            for artist in self.artists():
                artist.set_animated(True)  # left out of the next line
            self.canvas.draw()
            self.framing = self.canvas.copy_from_bbox(self.figure.bbox)
            for artist in self.artists():
                artist.set_animated(False)
        self.canvas.restore_region(self.framing)
        renderer = self.canvas.get_renderer()
        for artist in self.artists():
            artist.draw(renderer)
        buffer = io.BytesIO()
        pixels = np.asarray(self.canvas.buffer_rgba())[..., :3]
        Picture.fromarray(np.ascontiguousarray(pixels)).save(buffer, "png", compress_level=1)
        return buffer.getvalue()

    def artists(self) -> list[Artist]:
        """All but the axes' own furniture, in the order of drawing."""
        found: list[Artist] = []
        for axes in self.figure.axes:
            furniture = [axes.xaxis, axes.yaxis, axes.patch]
            furniture += [] if axes.axison else axes.spines.values()  # after axis("off")
            found += sorted((a for a in axes.get_children() if a not in furniture), key=lambda a: a.get_zorder())
        return [*found, *self.figure.texts, *self.figure.legends]


class Live:
    """``with Live(figure) as live:`` shows the figure, ``live.redraw()`` shows it anew (at most a few times a second).

    Leaving the block, by an error too, replaces the live picture by a still one, which is saved with the notebook and
    is seen where no kernel runs. ``alt`` says in words what the picture shows.
    """

    def __init__(self, figure: Figure, alt: str, seconds: float = 0.4) -> None:
        self.figure, self.alt, self.seconds, self.drawn = figure, alt, seconds, 0.0
        width, height = (round(v) for v in figure.get_size_inches() * figure.dpi)
        # A fixed size: the page does not jump when the picture changes.
        self.image = LiveImage(value=png(figure), format="png", width=width, height=height)
        self.image.layout.max_width = "100%"
        self.image.layout.object_fit = "contain"

    def __enter__(self) -> Live:
        display(self.image)
        return self

    def redraw(self) -> None:
        """Show the figure as it is now, unless it was shown a moment ago."""
        now = time.monotonic()
        if now - self.drawn >= self.seconds:
            self.image.value, self.drawn = png(self.figure), now

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.image.close()
        display(still(self.figure, self.alt))


class LiveImage(widgets.Image):
    """An image widget that is a sentence where no kernel runs: the still picture follows it."""

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**kwargs)
        return {**bundle, "text/plain": "(a picture that moves while the cell works)"}
