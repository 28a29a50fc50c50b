"""One training loop for every network: it shows its progress, survives a kill, and never hides a NaN.

A step's batch and noise depend on (seed, step) alone, so a checkpoint is weights + Adam's moments + the step, and a run
that was killed and continued ends with the same bits as one that was not (same machine, same number of threads).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from tqdm.auto import tqdm

from wmcourse.engine.errors import RunError
from wmcourse.engine.files import write_atomically

SECONDS_BETWEEN_CHECKPOINTS = 5.0
POINTS_ON_A_CURVE = 200


def save_tensors(path: Path, tensors: Mapping[str, Tensor], **about: Any) -> None:
    """A safetensors file with ``about`` as JSON in its header: plain numbers, so loading it never executes code."""
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    write_atomically(path, save(plain, {"wmcourse": json.dumps(about)}))


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What ``save_tensors(path, ..., kind=kind)`` wrote. Raises RunError for a missing, truncated or foreign file."""
    if not path.is_file():
        raise RunError(f"{path} does not exist: train first with `wmcourse train --out {path.parent}`.")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("wmcourse", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(
            f"{path} is truncated or not a safetensors file ({error}). Delete it, then run training again."
        ) from error
    if about.get("kind") != kind:
        raise RunError(f"{path} holds {about.get('kind', 'something else')!r}, not {kind!r}: is it another program's?")
    return tensors, about


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy tensors into the model. Raises RunError when names or shapes differ."""
    try:
        model.load_state_dict(dict(tensors))
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise RunError(f"{path} does not fit this network ({reason}): train again in another directory.") from error


def generator_for(seed: int, step: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Fresh noise for each (seed, step)."""
    return torch.Generator(device).manual_seed((seed * 1_000_003 + step) % 2**63)


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, path: Path, stage: str) -> dict[str, Any]:
    """Put a checkpoint of ``fit`` back; returns where it was. Raises RunError if it is broken."""
    tensors, about = load_tensors(path, stage + " in training")
    weights = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    load_weights(model, weights, path)
    names = [name for name, _ in model.named_parameters()]
    keys = ("step", "exp_avg", "exp_avg_sq")
    try:
        moments = {i: {key: tensors[f"adam.{key}.{name}"] for key in keys} for i, name in enumerate(names)}
        about = {key: about[key] for key in ("step", "curve", "core_seconds", "wall_seconds")}
    except KeyError as error:
        raise RunError(f"{path} has no {error}: it is not a whole checkpoint. Delete it and run again.") from error
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return about


def fit(
    model: nn.Module,
    loss: Callable[[int], Mapping[str, Tensor]],
    steps: int,
    learning_rate: float,
    path: Path,
    stage: str,
    show: Callable[[str, int, dict[str, float]], None] | None = None,
    items_per_step: int = 1,
    unit: str = "step",
) -> dict[str, Any]:
    """Adam with a cosine decay to zero. Leaves ``path`` (weights) and returns the learning curve and what it cost.

    ``loss(step)`` returns named scalars, the one to minimise under "total". While it runs, ``path`` + ".training" holds
    a checkpoint at most ``SECONDS_BETWEEN_CHECKPOINTS`` old; calling again continues from it. ``show(stage, step,
    scalars)`` is called for each point of the curve. Raises RunError when the loss stops being finite.
    """
    training, names = path.with_name(path.name + ".training"), list(dict(model.named_parameters()))
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    if path.is_file():  # finished in an earlier run
        weights, about = load_tensors(path, stage)
        load_weights(model, weights, path)
        training.unlink(missing_ok=True)  # if the run was killed just before it did
        return dict(about)
    first, curve, core_before, wall_before = 0, [], 0.0, 0.0
    if training.is_file():
        about = restore(model, optimizer, training, stage)
        first, curve = about["step"], about["curve"]
        core_before, wall_before = about["core_seconds"], about["wall_seconds"]
    core_start, wall_start = time.process_time(), time.perf_counter()

    def about_now(step: int) -> dict[str, Any]:
        core, wall = time.process_time() - core_start, time.perf_counter() - wall_start
        return {"step": step, "curve": curve, "core_seconds": core_before + core, "wall_seconds": wall_before + wall}

    def checkpoint(step: int) -> None:
        tensors = {f"model.{n}": t for n, t in model.state_dict().items()}
        for i, name in enumerate(names):
            tensors |= {f"adam.{key}.{name}": t for key, t in optimizer.state_dict()["state"][i].items()}
        save_tensors(training, tensors, kind=stage + " in training", **about_now(step))

    every = max(1, steps // POINTS_ON_A_CURVE)
    saved_at, saved_step, step = time.perf_counter(), first, first
    model.train()
    total_items, done_items = steps * items_per_step, first * items_per_step
    bar = tqdm(total=total_items, initial=done_items, desc=stage, unit=unit, smoothing=0.05, mininterval=0.5)
    try:
        for step in range(first, steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / steps)).item())
            scalars = loss(step)
            total = scalars["total"]
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            if not torch.isfinite(total + norm):  # before the weights are touched
                kept = (
                    f"the checkpoint of step {saved_step} is kept in {training}" if saved_step else "no checkpoint yet"
                )
                what = f"{stage}: the loss is {total.item()} and the gradient {norm.item()} at step {step}"
                raise RunError(f"{what} ({kept}). Look for NaN in the data, or try another seed in another directory.")
            optimizer.step()
            bar.update(items_per_step)
            if step % every == 0 or step == steps - 1:
                point = {name: value.item() for name, value in scalars.items()}
                curve.append({"step": step, **point})
                bar.set_postfix(loss=f"{point['total']:.2f}", refresh=False)
                if show is not None:
                    show(stage, step, point)
            if time.perf_counter() - saved_at > SECONDS_BETWEEN_CHECKPOINTS:
                checkpoint(step + 1)
                saved_at, saved_step = time.perf_counter(), step + 1
    finally:
        bar.close()
    model.eval()
    about = about_now(steps)
    save_tensors(path, model.state_dict(), kind=stage, **about)
    training.unlink(missing_ok=True)
    return about
