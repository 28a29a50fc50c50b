"""Play inside the dream: the arrow keys push, the model answers, and reality stands beside it.

``DreamGame`` is the game itself, a few tensors and no widget; ``DreamPlayer`` puts it into a notebook.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import anywidget
import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wmcourse import mdn_rnn
from wmcourse.engine.errors import RunError
from wmcourse.lessons.errors import LessonError
from wmcourse.lessons.live import png
from wmcourse.lessons.threads import one_thread
from wmcourse.lessons.widget import slider
from wmcourse.world_models_training import WorldModel
from wmcourse.worlds import make

HERE, SIDE = Path(__file__).parent, 32


class View(NamedTuple):
    """What there is to see: both frames (32, 32) uint8, the steps survived, and whether each is over."""

    dream: NDArray[np.uint8]
    reality: NDArray[np.uint8]
    dream_steps: int
    reality_steps: int
    dream_ended: bool
    reality_ended: bool
    danger: float  # P(done) of the dream's last step


class DreamGame:
    """One episode, lived twice with the same pushes: in the model's dream, which gets no frames, and in the world.

    The first ``context`` frames are real, with no push, so that the memory knows what is in the air; then the dream is
    on its own. ``look`` opens its eyes for one frame. The dream ends by chance, with the probability that the model
    gives; the weight that training put on endings, which multiplies their odds, is taken out of it first.
    Raises RunError for a model of a world without one continuous action and frames of 32 x 32 greys.
    """

    def __init__(self, model: WorldModel, seed: int = 0, temperature: float = 1.0, context: int = 12) -> None:
        if model.actions.kind != "box" or model.actions.dim != 1 or model.image_shape != (1, SIDE, SIDE):
            raise RunError("The game needs a world with one continuous action and frames of 32 x 32 greys, as Dodge.")
        self.model, self.temperature, self.context = model, temperature, context
        self.world = make(model.config.world, 1, **model.config.world_options)
        self.cap = int(getattr(getattr(self.world, "rules", None), "max_steps", 10**9))
        self.begin(seed)

    @torch.no_grad()
    def begin(self, seed: int) -> View:
        """A new episode, its first ``context`` steps without a push."""
        self.seed, self.generator = seed, torch.Generator(self.model.device).manual_seed(seed)
        frames, _ = self.world.reset(seed=seed)
        self.frame = frames[0]
        self.state = self.seen_state = self.model.rnn.initial_state(1)
        self.z = self.seen_z = self.model.encode(frames)[0]
        self.real_steps, self.real_ended, self.dream_ended, self.danger = 0, False, False, 0.0
        for _ in range(self.context):
            self.live(0.0)
        self.dream_steps = self.real_steps
        self.look()
        return self.view()

    def live(self, push: float) -> None:
        """One step of the world. The memory of what was really seen goes along, for the next look."""
        action = torch.full((1, 1), push, device=self.model.device)
        self.seen_state = self.model.rnn.step(self.seen_z, action, self.seen_state)
        frames, _, terminated, truncated, info = self.world.step(self.model.actions.decode(action.cpu().numpy()))
        self.real_ended = bool(terminated[0] or truncated[0])
        self.frame = info["final_obs"][0] if self.real_ended else frames[0]
        self.real_steps += not bool(terminated[0])
        self.seen_z = self.model.encode(self.frame[None])[0]

    @torch.no_grad()
    def step(self, push: float) -> View:
        """One step of both, with the same push in [-1, 1]; what is over stays as it was."""
        push = float(np.clip(push, -1, 1))
        if not self.real_ended:
            self.live(push)
        if not self.dream_ended:
            action = torch.full((1, 1), push, device=self.model.device)
            dream = mdn_rnn.dream_step(self.model.rnn, self.z, action, self.state, self.temperature, self.generator)
            self.z, self.state, p = dream.z, dream.state, float(dream.done_probability)
            self.danger = p / (p + self.model.config.done_weight * (1 - p))
            hit = float(torch.rand((), generator=self.generator, device=self.model.device)) < self.danger
            self.dream_steps += not hit
            self.dream_ended = hit or self.dream_steps >= self.cap
        return self.view()

    def look(self) -> View:
        """One look at reality: the dream goes on from what is really there, with the memory of all real frames."""
        if not (self.real_ended or self.dream_ended):
            self.z, self.state = self.seen_z, self.seen_state
        return self.view()

    def view(self) -> View:
        return View(
            self.model.decode(self.z)[0, ..., 0],
            self.frame[..., 0],
            self.dream_steps,
            self.real_steps,
            self.dream_ended,
            self.real_ended,
            self.danger,
        )


class Pad(anywidget.AnyWidget):
    """Two screens and the keys; the page asks for each step, and is answered with two frames."""

    _esm = HERE / "play.js"
    _css = HERE / "play.css"


class DreamPlayer(widgets.VBox):
    """The game in a notebook: a slider for the temperature, the dream, reality, and how your games went.

    Every step of the dream is made inside ``around()``: ``parts.use``, for one, so that it is dreamt with your parts.
    """

    def __init__(
        self,
        model: WorldModel,
        seed: int = 0,
        temperature: float = 1.0,
        around: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.around = around
        with around():
            self.game = DreamGame(model, seed, temperature)
        self.games: list[tuple[float, int, int]] = []  # temperature, steps in the dream, steps in the world
        self.control = slider("temperature τ", 0.0, 2.0, temperature, 0.05)
        self.control.observe(lambda change: setattr(self.game, "temperature", change["new"]), "value")
        self.pad = Pad()
        self.pad.on_msg(self.listen)
        self.history = widgets.HTML()
        view = self.game.view()
        self.still = (view.dream, view.reality)
        super().__init__([self.control, self.pad, self.history])

    def listen(self, pad: Any, message: dict[str, Any], buffers: Any) -> None:
        """What the page asks: show, step, look or new. One answer for each, with the two frames as bytes."""
        game, news, failed, before = self.game, "", "", self.game.view()
        kind = message.get("kind")
        try:
            with self.around(), one_thread():  # so small that more threads only get in each other's way
                if kind == "new":
                    game.begin(game.seed + 1)
                    news = f"Game {game.seed}: Go."
                elif kind == "look":
                    game.look()
                    news = "The dream has looked."
                elif kind == "step":
                    game.step(float(message.get("push", 0)))
        except (RunError, LessonError) as error:  # a part of yours that stopped: named, and the game with it
            failed, game.dream_ended, game.real_ended = str(error), True, True
        view = game.view()
        for name, was, ended, survived in (
            ("In the dream", before.dream_ended, view.dream_ended, view.dream_steps),
            ("In reality", before.reality_ended, view.reality_ended, view.reality_steps),
        ):
            if ended and not was:
                news = f"{name} {'the cap is reached' if survived >= game.cap else 'you are hit'}, at step {survived}."
        over = view.dream_ended and view.reality_ended
        if over and not failed and not (before.dream_ended and before.reality_ended):
            self.games.append((game.temperature, view.dream_steps, view.reality_steps))
            self.tell()
            news += " Enter, for a new game."
        self.pad.send(
            {
                "titles": [f"dream, τ = {game.temperature:g}: {steps(view.dream_steps)}",
                           f"reality: {steps(view.reality_steps)}"],
                "ended": [view.dream_ended, view.reality_ended],
                "numbers": f"the dream’s chance of a hit in this step: {100 * view.danger:.1f} %",
                "news": failed or news,
                "over": over,
            },
            [view.dream.tobytes(), view.reality.tobytes()],
        )  # fmt: skip

    def tell(self) -> None:
        """The games so far, the newest first."""
        cell = "style='padding:0 0 0 1.5em;text-align:right'"
        rows = "".join(
            f"<tr><td {cell}>{temperature:g}</td><td {cell}>{dream}</td><td {cell}>{real}</td></tr>"
            for temperature, dream, real in self.games[::-1][:8]
        )
        heads = "".join(f"<th {cell}>{head}</th>" for head in ("τ", "steps in the dream", "in reality"))
        self.history.value = (
            f"<table style='color:var(--jp-ui-font-color1)'><caption>Your games</caption><tr>{heads}</tr>{rows}</table>"
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        figure = Figure(figsize=(6.0, 3.3), dpi=100, layout="constrained", facecolor="white")
        for axes, frame, title in zip(figure.subplots(1, 2), self.still, ("dream", "reality"), strict=True):
            axes.imshow(frame, cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[], title=title)
        bundle = super()._repr_mimebundle_(**kwargs)
        words = "A game: left the dream, right reality, steered by the arrow keys. (Run the notebook to move it.)"
        return {**bundle, "image/png": base64.b64encode(png(figure)).decode(), "text/plain": words}


def steps(number: int) -> str:
    return f"{number} step" if number == 1 else f"{number} steps"
