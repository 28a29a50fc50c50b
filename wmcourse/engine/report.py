"""What a run leaves for people: report.json, report.png, and a GIF of reality beside the dream."""

from __future__ import annotations

import io
import json
import os
import platform
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wmcourse.engine.errors import RunError
from wmcourse.engine.files import write_atomically
from wmcourse.engine.loop import load_tensors
from wmcourse.engine.players import OraclePlanner, RandomAgent
from wmcourse.engine.runs import Ledger, peak_rss_bytes, preset
from wmcourse.mdn_rnn import dream_step
from wmcourse.world_models_training import (
    LatentPlanner,
    Score,
    WorldModel,
    evaluate,
    load_world_model,
    train_world_model,
)
from wmcourse.worlds import DodgeVectorEnv, make

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#7F7F7F"  # Okabe & Ito (2008)
PLAYERS = {  # shown as, colour
    "random": ("random", GREY),
    "left": ("one push", GREEN),
    "planner": ("ours", ORANGE),
    "oracle": ("oracle", BLUE),
}
PARALLEL_DODGES, PARALLEL_WORLDS = 100, 8


def play(model: WorldModel, episodes: int, seed: int = 10_000, progress: bool = True) -> dict[str, Score]:
    """Random, planner and (where the world can be cloned) oracle on the same episodes."""
    config = model.config
    probe = make(config.world, 1, **config.world_options)
    parallel = min(episodes, PARALLEL_DODGES if isinstance(probe, DodgeVectorEnv) else PARALLEL_WORLDS)
    probe.close()
    world = make(config.world, parallel, **config.world_options)
    players: dict[str, Any] = {"random": RandomAgent(model.actions, seed), "planner": LatentPlanner(model, seed)}
    if isinstance(world, DodgeVectorEnv):
        players["oracle"] = OraclePlanner(world, config, seed=seed)
    try:
        return {
            name: evaluate(player, world, episodes, seed, name if progress else None)
            for name, player in players.items()
        }
    finally:
        world.close()


def imagine(
    model: WorldModel,
    steps: int = 60,
    context: int = 15,
    temperature: float = 1.0,
    seed: int = 0,
    dream_seed: int | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    """What happened and what the model dreamt from the same start with the same actions.

    The planner plays the episode of ``seed``; after ``context`` steps the dream gets no more frames, only the actions;
    its own chance is ``dream_seed``'s (default: ``seed``). Returns real and dreamt frames, both (n, H, W, C), and the
    number of frames before the dream is on its own. Raises RunError for no steps or a temperature below 0.
    """
    if steps < 1 or not 0 <= temperature < float("inf"):  # so NaN is refused, too
        raise RunError("A dream needs at least one step and a finite temperature of at least 0.")
    world = make(model.config.world, 1, **model.config.world_options)
    player, real, actions = LatentPlanner(model, seed), [], []
    frames, _ = world.reset(seed=seed)
    player.begin(1)
    for _ in range(context + steps):
        action = player.act(frames)
        real.append(frames[0])
        actions.append(torch.as_tensor(action, device=model.device))
        frames, _, terminated, truncated, _ = world.step(model.actions.decode(action))
        if terminated[0] or truncated[0]:
            break
    world.close()
    context = min(context, len(real) - 1)
    generator = torch.Generator(model.device).manual_seed(seed if dream_seed is None else dream_seed)
    z, _ = model.encode(np.stack(real[: context + 1]))
    state = model.rnn.initial_state(1)
    with torch.no_grad():
        for t in range(context):
            state = model.rnn.step(z[t : t + 1], actions[t], state)
        latents = list(z.split(1))
        for t in range(context, len(real) - 1):
            dream = dream_step(model.rnn, latents[-1], actions[t], state, temperature, generator)
            state = dream.state
            latents.append(dream.z)
    return np.stack(real), model.decode(torch.cat(latents)), context + 1


def dream_gif(
    directory: Path,
    file: Path | None = None,
    steps: int = 60,
    temperature: float = 1.0,
    seed: int = 0,
    device: str = "auto",
) -> Path:
    """Write reality and dream side by side as a GIF; returns its path."""
    real, dream, awake = imagine(load_world_model(directory, device), steps, temperature=temperature, seed=seed)
    scale = max(1, 256 // real.shape[1])
    side, bar = scale * real.shape[1], 22
    pictures = []
    for t, (left, right) in enumerate(zip(real, dream, strict=True)):
        sheet = Image.new("RGB", (2 * side + 8, side + bar), (16, 24, 40))
        for x, frame in ((0, left), (side + 8, right)):
            sheet.paste(as_image(frame).resize((scale * frame.shape[1], side), Image.Resampling.NEAREST), (x, bar))
        pen = ImageDraw.Draw(sheet)
        pen.text((6, 5), f"reality  t = {t}", fill=(255, 255, 255))
        caption = "the model's reconstruction" if t < awake else f"dream, {t - awake + 1} steps without a frame"
        pen.text((side + 14, 5), caption, fill=(255, 255, 255) if t < awake else (230, 159, 0))
        pictures.append(sheet)
    file = Path(file) if file else Path(directory) / "dream.gif"
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=100, loop=0)
    write_atomically(file, buffer.getvalue())
    return file


def as_image(frame: NDArray[np.uint8]) -> Image.Image:
    """uint8 (H, W, 1 or 3) as a Pillow picture."""
    return Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame).convert("RGB")


def draw_strip(axes: Axes, rows: list[NDArray[np.uint8]], labels: list[str], title: str) -> None:
    """Rows of frames (n, H, W, C) as one picture with a thin gap between frames."""
    gap = 2
    height, width = rows[0].shape[1:3]
    sheet = np.full((len(rows) * (height + gap) - gap, len(rows[0]) * (width + gap) - gap, 3), 255, np.uint8)
    for r, row in enumerate(rows):
        for c, frame in enumerate(row):
            top, left = r * (height + gap), c * (width + gap)
            sheet[top : top + height, left : left + width] = frame
    axes.imshow(sheet, interpolation="nearest")
    axes.set(
        xticks=[], yticks=[r * (height + gap) + height / 2 for r in range(len(rows))], yticklabels=labels, title=title
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def draw_scores(axes: Axes, scores: dict[str, Score]) -> None:
    """Bars with their 95 % intervals."""
    for i, (name, score) in enumerate(scores.items()):
        low, high = score.ci95
        axes.bar(i, score.mean, 0.6, color=PLAYERS[name][1])
        axes.errorbar(i, score.mean, [[score.mean - low], [high - score.mean]], color="black", capsize=5)
        axes.annotate(f"{score.mean:.0f}", (i, score.mean), (14, 4), textcoords="offset points")
    axes.set_xticks(range(len(scores)), [PLAYERS[name][0] for name in scores])
    axes.set(title=f"return, {next(iter(scores.values())).episodes} episodes, 95 % interval", ylabel="return")
    axes.spines[["top", "right"]].set_visible(False)


def draw_curve(axes: Axes, curve: list[dict[str, float]], names: dict[str, str], title: str) -> None:
    """Learning curves; ``names`` maps a scalar of the curve to its label."""
    for (name, label), colour in zip(names.items(), (BLUE, ORANGE, GREEN), strict=False):
        axes.plot([p["step"] for p in curve], [p[name] for p in curve], color=colour, label=label, lw=1)
    axes.set(title=title, xlabel="step", ylabel="nats")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def draw_report(directory: Path, model: WorldModel, scores: dict[str, Score]) -> Path:
    """report.png: reconstructions, dream against reality, learning curves, the bars."""
    real, dream, awake = imagine(model, steps=40)
    pick = np.linspace(0, awake - 1, 10).astype(int)
    mu, _ = model.encode(real[pick])
    shown = np.linspace(awake, len(real) - 1, min(10, len(real) - awake)).astype(int)
    vae, rnn = (
        load_tensors(Path(directory) / f"{name}.safetensors", kind)[1]["curve"]
        for name, kind in (("vae", "VAE"), ("mdn_rnn", "MDN-RNN"))
    )
    with plt.style.context("default"):  # the same picture whatever style a notebook has chosen
        figure, axes = plt.subplot_mosaic(
            "AAA;BBB;CDE", figsize=(11, 8), height_ratios=(1, 1, 1.5), layout="constrained"
        )
        draw_strip(axes["A"], [real[pick], model.decode(mu)], ["frame", "VAE"], "What the VAE keeps of a frame")
        if len(shown):
            title = f"Reality, and the dream after 1 to {shown[-1] - awake + 1} steps without a frame"
            draw_strip(axes["B"], [real[shown], dream[shown]], ["reality", "dream"], title)
        draw_curve(axes["C"], vae, {"reconstruction": "reconstruction", "kl": "KL"}, "VAE, nats per frame")
        axes["C"].set_yscale("log")
        draw_curve(axes["D"], rnn, {"latent": "next latent"}, "MDN-RNN, nats per step")
        draw_scores(axes["E"], scores)
        path = Path(directory) / "report.png"
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=110)
        write_atomically(path, buffer.getvalue())
        plt.close(figure)
    return path


def write_report(
    directory: Path, model: WorldModel, scores: dict[str, Score], budget: str | None, cost: dict[str, float]
) -> dict[str, Any]:
    """report.json, which programs read; returns what it holds."""
    ledger = Ledger(directory)
    report = {
        "world": model.config.world,
        "budget": budget,
        "seed": model.config.seed,
        "scores": {
            name: {
                "mean": s.mean,
                "ci95": s.ci95 if s.episodes > 1 else None,
                "episodes": s.episodes,
            }  # JSON has no NaN
            for name, s in scores.items()
        },
        "train": ledger.total() | {"stages": ledger.read()},
        "evaluate": cost,
        "config": asdict(model.config),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("wmcourse", "torch", "numpy", "gymnasium")},
        "machine": {"cores": os.cpu_count(), "torch_threads": torch.get_num_threads(), "device": str(model.device)},
    }
    write_atomically(Path(directory) / "report.json", json.dumps(report, indent=1).encode())
    return report


def evaluate_and_report(
    directory: Path, episodes: int = 100, seed: int = 10_000, device: str = "auto", budget: str | None = None
) -> dict[str, Any]:
    """Play with a trained model, write report.json and report.png, and print the score in three lines."""
    model = load_world_model(directory, device)
    core, wall = time.process_time(), time.perf_counter()
    scores = play(model, episodes, seed)
    cost = {
        "core_seconds": time.process_time() - core,
        "wall_seconds": time.perf_counter() - wall,
        "peak_rss_bytes": float(peak_rss_bytes()),
    }
    if budget is None:
        budget = next(
            (b for b in ("quick", "standard") if preset(b, model.config.world, model.config.seed) == model.config), None
        )
    report = write_report(directory, model, scores, budget, cost)
    draw_report(directory, model, scores)
    for name, s in scores.items():
        shown, _ = PLAYERS[name]
        interval = f"95 % interval {s.ci95[0]:.1f} to {s.ci95[1]:.1f}" if s.episodes > 1 else "one episode, no interval"
        print(f"{shown:>8} {s.mean:8.1f}   {interval}")
    print(
        f"Trained with {report['train']['core_seconds']:.0f} core-seconds. See {directory}/report.json and report.png"
    )
    return report


def train_and_report(
    directory: Path,
    world: str,
    budget: str = "standard",
    seed: int = 0,
    device: str = "auto",
    episodes: int | None = None,
) -> dict[str, Any]:
    """The whole road: train (or continue), evaluate, report."""
    train_world_model(preset(budget, world, seed), directory, device)
    return evaluate_and_report(directory, episodes or (20 if budget == "quick" else 100), device=device, budget=budget)
