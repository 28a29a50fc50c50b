"""Your own parts: the functions a learner wrote, in the place of the course's, for as long as a block lasts.

    with use_parts({"kl_standard_normal": mine, "dream_step": my_dream_step}):
        model = train_world_model(config, directory)      # trains, dreams and plans on them

Python looks a global name up when a line runs, not when it is written. So a name of a core module that is given another
function changes everything that calls it. What is replaced is what the *course's* code calls: a part that calls another
one calls whatever its own notebook means by that name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Size, Tensor

from wmcourse import lstm_gru, mixture_density_networks
from wmcourse.engine.errors import RunError
from wmcourse.mdn_rnn import DreamStep, SequenceLoss
from wmcourse.model_predictive_control import Plan
from wmcourse.vae_complete_loss import VAELoss


class Part(NamedTuple):
    """A function of a core module that a learner's may stand in for."""

    name: str
    lesson: str  # "03"
    module: str  # "kl_divergence_loss"
    what: str  # where the world model uses it


# Lesson 01 has none: elbo explains the VAE's loss, nothing calls it. Of lesson 04 only Dodge's likelihood is one.
PARTS = {
    part.name: part
    for part in (
        Part("reparameterize", "02", "reparameterization_trick", "draws z, for the VAE and for the MDN-RNN's batches"),
        Part("kl_standard_normal", "03", "kl_divergence_loss", "the rate in the VAE's loss, called by vae_loss"),
        Part("bernoulli_nll", "04", "reconstruction_loss", "the distortion in the VAE's loss, called by vae_loss"),
        Part("vae_loss", "05", "vae_complete_loss", "what the VAE is trained on"),
        Part("lstm_step", "06", "lstm_gru", "the memory: in training, in dreams and while playing"),
        Part("mixture_nll", "07", "mixture_density_networks", "the latents' share of the MDN-RNN's loss"),
        Part("sample_mixture", "07", "mixture_density_networks", "draws the next z of a dream, called by dream_step"),
        Part("sequence_loss", "08", "mdn_rnn", "what the MDN-RNN is trained on"),
        Part("dream_step", "08", "mdn_rnn", "every step of a dream: the planner's, the controller's, the pictures'"),
        Part("shift_plan", "09", "model_predictive_control", "where the next search starts, for us and for the oracle"),
        # The best plan is played and starts the next search: the last update of mean and std moves neither.
        Part("cem_update", "10", "cross_entropy_method", "the update in cem_plan, felt from a second iteration on"),
        Part("cem_plan", "10", "cross_entropy_method", "the planner's search, for us and for the oracle"),
        Part("plan_returns", "11", "world_models_training", "what the agent's plans are worth in its dream"),
    )
}

SCALAR: Any = Size()
# What must come back for the same arguments: a shape, or a tuple of such.
EXPECTED: dict[str, Callable[..., Any]] = {
    "reparameterize": lambda mu, *_, **__: mu.shape,
    "kl_standard_normal": lambda mu, *_, **__: mu.shape[:-1],
    "bernoulli_nll": lambda logits, *_, **__: logits.shape[:1],
    "vae_loss": lambda *_, **__: VAELoss(SCALAR, SCALAR, SCALAR),
    "lstm_step": lambda x, h, *_, **__: (h.shape, h.shape),
    "mixture_nll": lambda target, *_, **__: target.shape[:-1],
    "sample_mixture": lambda log_pi, *_, **__: log_pi.shape[:-1],
    "sequence_loss": lambda *_, **__: SequenceLoss(SCALAR, SCALAR, SCALAR, SCALAR),
    "dream_step": lambda model, z, a, state, *_, **__: DreamStep(
        z.shape, z.shape[:1], z.shape[:1], tuple(part.shape for part in state)
    ),
    "shift_plan": lambda plan, *_, **__: plan.shape,
    "cem_update": lambda candidates, scores, elites, mean, std, *_, **__: (mean.shape, std.shape),
    "cem_plan": lambda score, draw, mean, std, iterations, elites, *_, **__: Plan(
        mean.shape, mean.shape[:1], mean.shape, mean[:, None].expand(-1, elites, -1, -1).shape
    ),
    "plan_returns": lambda rnn, z, state, plans, *_, **__: plans.shape[:2],
}


class PartFailed(RunError):
    """A part stopped, or returned what no such part may; the message names it, and the error itself is its cause."""


def step_by_step(self: lstm_gru.LSTM, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """``LSTM.unroll`` by ``lstm_step``, which torch's kernel passes by."""
    out = []
    for x_t in x.unbind(dim=1):
        state = self.step(x_t, state)
        out.append(state[0])
    return torch.stack(out, dim=1), state


def sample_at_zero(self: mixture_density_networks.MDNHead, features: Tensor) -> Tensor:
    """``MDNHead.most_likely`` by ``sample_mixture``, which it passes by."""
    log_pi, mu, log_sigma = self(features)
    return mixture_density_networks.sample_mixture(log_pi, mu, log_sigma, 0.0)


# Faster methods that do what a part does without calling it, and what takes their place while the part is a learner's.
SHORTCUTS: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "lstm_step": (lstm_gru.LSTM, "unroll", step_by_step),
    "sample_mixture": (mixture_density_networks.MDNHead, "most_likely", sample_at_zero),
}

MODULES = [
    import_module(f"wmcourse.{name}")
    for name in (
        "variational_inference",
        "reparameterization_trick",
        "kl_divergence_loss",
        "reconstruction_loss",
        "vae_complete_loss",
        "lstm_gru",
        "mixture_density_networks",
        "mdn_rnn",
        "model_predictive_control",
        "cross_entropy_method",
        "world_models_training",
        "engine.players",
        "engine.report",
    )
]
REFERENCES: dict[str, Callable[..., Any]] = {
    part.name: getattr(import_module(f"wmcourse.{part.module}"), part.name) for part in PARTS.values()
}
# Where each is known, and by which name: found while nothing is replaced.
PLACES = {
    name: [(module, key) for module in MODULES for key, value in vars(module).items() if value is function]
    for name, function in REFERENCES.items()
}
METHODS = {name: getattr(owner, key) for name, (owner, key, _) in SHORTCUTS.items()}


def reference(name: str) -> Callable[..., Any]:
    """The course's own function, inside ``use_parts`` too. Raises RunError for an unknown name."""
    if name not in REFERENCES:
        raise RunError(f"The world model has no part {name!r}: choose among {', '.join(PARTS)}.")
    return REFERENCES[name]


@contextmanager
def use_parts(functions: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """While the block runs, the world model uses these functions; those of other names stay what they were.

    In a block inside a block the inner one wins. Another ``lstm_step`` trains the MDN-RNN step by step, without torch's
    kernel, which takes up to twice as long. What is already in a run's directory stays as it was trained: take a new
    one. Raises RunError for an unknown name and for what is no function, before anything is replaced, and PartFailed
    inside the block when a part fails: the course's function never steps in.
    """
    changes: list[tuple[Any, str, Any]] = []
    for name, function in functions.items():
        own = function is reference(name)
        if not callable(function):
            raise RunError(f"The part {name} must be a function, not {type(function).__name__}.")
        new = function if own else guarded(PARTS[name], function)
        changes += [(owner, key, new) for owner, key in PLACES[name]]
        if name in SHORTCUTS:
            owner, key, long_way = SHORTCUTS[name]
            changes.append((owner, key, METHODS[name] if own else long_way))
    before = [(owner, key, getattr(owner, key)) for owner, key, _ in changes]
    try:
        for owner, key, new in changes:
            setattr(owner, key, new)
        yield
    finally:
        for owner, key, old in before:
            setattr(owner, key, old)


def guarded(part: Part, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, whose failures are told as this part's."""
    yours = f"Your {part.name} (lesson {part.lesson})"

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            result = function(*arguments, **named)
        except PartFailed:  # a part that this one called: it has its name already
            raise
        except Exception as error:
            reason = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
            raise PartFailed(
                f"{yours} stopped with {reason}. If it has passed its check, it met other inputs here: "
                "correct it in its lesson, then run the check again."
            ) from error
        expected = EXPECTED[part.name](*arguments, **named)
        tensors = (value for value in (*arguments, *named.values()) if isinstance(value, Tensor))
        try:
            return conform(result, expected, next(tensors).dtype)
        except TypeError as error:
            raise PartFailed(f"{yours} {error}. Correct it in its lesson, then run the check again.") from error

    return call


def conform(result: Any, expected: Any, dtype: torch.dtype) -> Any:
    """``result`` itself, in the tuples of ``expected``: a plain (a, b, c) will do for a VAELoss.

    Raises TypeError, which says what was returned and what should be, for another shape, dtype or number of things.
    """
    if isinstance(expected, Size):
        if isinstance(result, Tensor) and result.shape == expected and result.dtype == dtype:
            return result
        raise TypeError(f"returned {describe(result)}, where a tensor {tuple(expected)} of {dtype} should come")
    names = getattr(expected, "_fields", None)
    fits = isinstance(result, (tuple, list)) and len(result) == len(expected)
    if not fits or (names and getattr(result, "_fields", names) != names):
        wanted = f"a {type(expected).__name__}({', '.join(names)})" if names else f"a tuple of {len(expected)}"
        raise TypeError(f"returned {describe(result)}, where {wanted} should come")
    values = [conform(value, shape, dtype) for value, shape in zip(result, expected, strict=True)]
    return type(expected)(*values) if names else tuple(values)


def describe(result: Any) -> str:
    """What was returned, in a few words."""
    if isinstance(result, Tensor):
        return f"a tensor {tuple(result.shape)} of {result.dtype}"
    names = getattr(result, "_fields", None)
    if isinstance(result, (tuple, list)):
        return f"a {type(result).__name__}" + (f"({', '.join(names)})" if names else f" of {len(result)}")
    return "None" if result is None else f"a {type(result).__name__}"
