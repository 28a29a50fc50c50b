"""Lesson 07's exercises: their inputs, their right answers, and the mistakes that people make in them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.nn import functional as F

from wmcourse.lessons import judge
from wmcourse.lessons.exercise import Ask, Exercise, Mistake
from wmcourse.lessons.judge import Answer, Case, Outcome
from wmcourse.mixture_density_networks import mixture_nll, sample_mixture

Rng = np.random.Generator
Parts = tuple[Tensor, Tensor, Tensor]
WEIGHTS_CUT = "the weights do not learn"


@dataclass(eq=False, repr=False)
class Likelihood(Exercise):
    """An exercise whose log_pi must get its gradient, too, judged by the logits behind it.

    To normalise log π once more is no mistake, though it changes the gradient by log π itself: behind log_softmax, where
    the network is, both are the same.
    """

    def hold(
        self, answer: Answer, seed: int | None, cases: list[Case], got: list[Outcome], right: list[Outcome]
    ) -> None:
        for case in cases[:3]:
            plain = Case(case.inputs, case.about)
            mine, wanted = (judge.ask(functools.partial(by_logits, a), plain) for a in (answer, self.reference))
            if mine.error is not None:
                self.stopped(case, mine)
            if mine.complaint or self.differ(mine.values[0], wanted.values[0]):
                evidence = self.evidence(case, mine, wanted, "the gradient by the logits behind log π is not right.")
                cut = next(mistake for mistake in self.known if mistake.name == WEIGHTS_CUT)
                raise self.fail_as_mistake(cut, evidence)
        super().hold(answer, seed, cases, got, right)


def by_logits(answer: Answer, target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    """The slope of the answer's sum by the logits that log_pi is made of."""
    logits = log_pi.clone().requires_grad_()
    total = answer(target, F.log_softmax(logits, dim=-1), mu, log_sigma).sum()
    if not total.requires_grad:
        return torch.zeros_like(logits)
    (slope,) = torch.autograd.grad(total, (logits,), allow_unused=True, materialize_grads=True)
    return slope


def log_normal(target: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    """Of each component: (..., Z) and (..., Z, K) -> (..., Z, K)."""
    return -0.5 * ((target.unsqueeze(-1) - mu) / log_sigma.exp()).square() - log_sigma - 0.5 * math.log(2 * math.pi)


def log_softmax(values: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    return values - np.logaddexp.reduce(values, axis=-1, keepdims=True)


def draw_mixture(rng: Rng, *shape: int, kind: Any = np.float64, shared: bool = False) -> dict[str, np.ndarray]:
    """A target (..., Z) and a mixture (..., Z, K), or with weights (..., K) for the whole vector."""
    weights = (*shape[:-2], shape[-1]) if shared else shape
    parts = {
        "target": rng.normal(0, 1.5, shape[:-1]),
        "log_pi": log_softmax(rng.normal(0, 1.3, weights)),
        "mu": rng.normal(0, 1.5, shape),
        "log_sigma": rng.normal(-0.3, 0.7, shape),
    }
    return {name: value.astype(kind) for name, value in parts.items()}


BY = ("target", "mu", "log_sigma")  # log_pi: see Likelihood


def far_away(rng: Rng, shared: bool = False) -> Case:
    """Where every density rounds to 0 in float32."""
    parts = draw_mixture(rng, 3, 2, 3, kind=np.float32, shared=shared)
    parts["target"] += np.float32(60)
    parts["log_sigma"] -= np.float32(0.5)
    return Case(parts, "far from every component", BY)


# --- 1 · The negative log-likelihood


def nll_cases(rng: Rng) -> Iterator[Case]:
    yield Case(draw_mixture(rng, 4, 3, 2, kind=np.float32), "a small batch", BY)
    yield Case(draw_mixture(rng, 1, 2, 5), "a batch of one, five components", BY)
    yield Case(draw_mixture(rng, 3, int(rng.integers(4, 7)), 4, 3), "a batch of sequences (B, T, Z, K)", BY)
    yield Case(draw_mixture(rng, 4, 2, 1), "a single component", BY)
    yield far_away(rng)
    many = draw_mixture(rng, 2, 200, 3, kind=np.float32)
    many["log_sigma"] += np.float32(1.5)
    yield Case(many, "200 latent dimensions", BY)
    narrow = draw_mixture(rng, 3, 2, 2)
    narrow["log_sigma"] = rng.uniform(-6, -4, (3, 2, 2))
    narrow["target"] = narrow["mu"][..., 0] + 1e-3
    yield Case(narrow, "very narrow components, and a target in one of them", BY)


def nll(
    combine: str = "log of sum",
    scale: float = 1.0,
    width: float = 1.0,
    half: float = 0.5,
    log_sigma_term: float = 1.0,
    constant: str = "each",
    over: str = "sum",
    sign: float = -1.0,
    weights: str = "given",
    finish: Callable[[Tensor], Tensor] = lambda total: total,
) -> Answer:
    def wrong(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
        log_weight = {
            "given": log_pi,
            "none": 0 * log_pi,
            "axis": F.log_softmax(log_pi, dim=-2),
            "cut": log_pi.detach(),
            "linear": log_pi.exp(),
            "mean": log_pi - math.log(log_pi.shape[-1]),
        }[weights]
        square = ((target.unsqueeze(-1) - mu) * torch.exp(-width * log_sigma)) ** 2
        log_component = -half * square - log_sigma_term * log_sigma
        log_c = 0.5 * math.log(2 * math.pi)
        log_component = log_component - {"each": log_c, "twice": 2 * log_c}.get(constant, 0.0)
        if combine == "log of sum":
            each = torch.logsumexp(log_weight + log_component, -1)
        elif combine == "sum of logs":
            each = (log_weight + log_component).sum(-1)
        elif combine == "mean of logs":
            each = (log_weight.exp() * log_component).sum(-1)
        elif combine == "density":
            each = torch.log((log_weight.exp() * log_component.exp()).sum(-1))
        elif combine == "floor":
            each = torch.log((log_weight.exp() * log_component.exp()).sum(-1) + 1e-8)
        elif combine == "product":
            return -torch.log((log_weight.exp() * log_component.exp()).sum(-1).prod(-1))
        elif combine == "weighted logs":
            each = torch.logsumexp(log_weight.exp() * log_component, -1)
        elif combine == "most weight":
            each = log_component.gather(-1, log_weight.argmax(-1, keepdim=True)).squeeze(-1)
        elif combine == "one m":
            a = log_weight + log_component
            each = a.max() + torch.log(torch.exp(a - a.max()).sum(-1))
        elif combine == "no m":
            a = log_weight + log_component
            each = torch.log(torch.exp(a - a.amax(-1, keepdim=True)).sum(-1))
        elif combine == "best":
            each = (log_weight + log_component).amax(-1)
        elif combine == "axis":
            each = torch.logsumexp(log_weight + log_component, -2)
        elif combine == "vector":
            return -torch.logsumexp((log_weight + log_component).sum(-2), -1)
        if constant == "once":
            return -each.sum(-1) + log_c
        total = {"sum": each.sum(-1), "mean": each.mean(-1), "all": each.sum(-1).mean(), "not": each}[over]
        return finish(sign * total)

    return wrong


def nll_from_distributions(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    mixture = MixtureSameFamily(Categorical(logits=log_pi), Normal(mu, log_sigma.exp()))
    return -mixture.log_prob(target).sum(dim=-1)


def nll_by_hand(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    log_component = log_pi + log_normal(target, mu, log_sigma)
    m = log_component.max(dim=-1, keepdim=True).values
    return -(m.squeeze(-1) + torch.log(torch.exp(log_component - m).sum(-1))).sum(-1)


def nll_by_dimension(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    total = torch.zeros_like(target[..., 0])
    for j in range(target.shape[-1]):
        var = torch.exp(2 * log_sigma[..., j, :])
        log_n = -((target[..., j, None] - mu[..., j, :]) ** 2) / (2 * var) - 0.5 * torch.log(2 * math.pi * var)
        total = total - torch.logsumexp(log_pi[..., j, :].log_softmax(-1) + log_n, dim=-1)
    return total


def nll_shown(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    standard = (target.unsqueeze(-1) - mu) * torch.exp(-log_sigma)  # (..., Z, K)
    log_component = log_pi - log_sigma - 0.5 * standard.square()  # without the constant -½ log 2π
    constant = 0.5 * math.log(2 * math.pi) * target.shape[-1]
    return constant - torch.logsumexp(log_component, dim=-1).sum(dim=-1)


NLL = Likelihood(
    "mixture_nll",
    "The loss of a mixture",
    15,
    2,
    (
        "Start with log π + log N(z; μ, σ²) of every component, shape (..., Z, K). `target` lacks the last axis: "
        "`target.unsqueeze(-1)` gives it one. How do K such logarithms become the logarithm of a sum?",
        "`torch.logsumexp(log_component, dim=-1)` is log p(z_j) for each latent dimension. And log N = −½·((z − μ)/σ)² − log σ − "
        "½·log 2π, with 1/σ = exp(−log_sigma).",
        "`log_component = log_pi - log_sigma - 0.5 * standard.square()`, then logsumexp over −1, then the sum over the "
        "dimensions (−1 again), a minus, and Z times ½·log 2π.",
    ),
    (
        Mistake(
            "the sum of logs for the log of the sum",
            nll(combine="sum of logs"),
            "You add up the components' logarithms: that is the log of their *product*, as if the target had to come from all of "
            "them at once. Only one of them need explain it: p = Σ π·N, and the sum stands inside the logarithm. It is tempting "
            "because all other sums in this loss stand outside.",
        ),
        Mistake(
            "the mean of the components' logs",
            nll(combine="mean of logs"),
            "Σ π·log N is an average of losses, not the loss of an average. By Jensen it is never better, and its best "
            "mixture is one bell K times over: every component is asked to explain every target. It is tempting because it "
            "looks like an expectation.",
        ),
        Mistake(
            "densities multiplied until they underflow",
            nll(combine="product"),
            "The formula is right and the arithmetic is not: a product of many densities, or one far from the centre, rounds "
            "to 0 in float32, and log 0 is −∞. Add logarithms instead.",
        ),
        Mistake(
            "the density before its logarithm",
            nll(combine="density"),
            "exp(−½·60²) is 0 in float32, and so are all K of them; their log is −∞ and the gradient NaN. Early in training "
            "targets *are* far from every component. Stay in log space: `torch.logsumexp`.",
        ),
        Mistake(
            "a small number inside the log",
            nll(combine="floor"),
            "log(p + 1e-8) is finite, and flat where p is small: a target far from every component has no gradient at all, and "
            "that is where the gradient is needed. log-sum-exp needs no such number.",
        ),
        Mistake(
            "only the best component",
            nll(combine="best"),
            "This takes the largest of the K terms (a hard assignment). It is an upper bound of the loss, up to log K too large in each dimension, and the "
            "others get no gradient.",
        ),
        Mistake(
            "log σ read as log σ²",
            nll(width=0.5, log_sigma_term=0.5),
            "You treat `log_sigma` as a log-variance: it is log σ, so 1/σ = exp(−log_sigma), and log N has −log_sigma, whole. "
            "The VAE's encoder puts out `logvar`, the mixture's head `log_sigma`: the name says which.",
        ),
        Mistake(
            "σ in place of σ²",
            nll(width=0.5),
            "The square of the distance is divided by σ² = exp(2·log_sigma). You divide it by σ.",
        ),
        Mistake(
            "σ² in place of σ",
            nll(width=2.0, log_sigma_term=2.0),
            "You took exp(2·log_sigma), the variance, for the standard deviation. `Normal` and (z − μ)/σ want σ = exp(log_sigma).",
        ),
        Mistake(
            "half of log σ",
            nll(log_sigma_term=0.5),
            "The height of a bell falls with σ, so log N has −log σ, whole. −½·log σ² is the same; −½·log σ is not.",
        ),
        Mistake(
            "the sign of log σ",
            nll(log_sigma_term=-1.0),
            "log N contains *minus* log σ: a wider bell is lower. With plus, the loss falls without end as σ grows.",
        ),
        Mistake(
            "softmax over the wrong axis",
            nll(weights="axis"),
            "You normalise log π over the latent dimensions (−2). The components are on the last axis, and `log_pi` is "
            "normalised over them already.",
        ),
        Mistake(
            "log-sum-exp over the wrong axis",
            nll(combine="axis"),
            "You add up densities of different latent *dimensions* (−2), and logarithms of components. The sum inside the "
            "logarithm is over K, the last axis.",
        ),
        Mistake(
            "one mixture for the whole vector",
            nll(combine="vector"),
            "You add up over the dimensions first, and take log-sum-exp then: one component for all dimensions at once, whose "
            "weight is a product. That is another model (exercise 5). Here each dimension has a mixture of its own.",
        ),
        Mistake(
            "π where log π belongs",
            nll(weights="linear"),
            "In log space weights are *added* as logarithms: log π + log N. You added exp(log_pi).",
        ),
        Mistake(
            "π times the logarithm",
            nll(combine="weighted logs"),
            "You multiply log N by π and take log-sum-exp then: that weights an exponent, N^π. A weight multiplies the *density*, "
            "and so it is added to the logarithm.",
        ),
        Mistake(
            "only the component of the most weight",
            nll(combine="most weight"),
            "You ask the likeliest component alone (and leave out its log π). Targets of all others then count as wildly "
            "improbable, though the mixture expects them.",
        ),
        Mistake(
            "a mean over the components",
            nll(weights="mean"),
            "Your loss is too large by log K in each dimension: a mean in place of the sum. The weights π sum to 1 already.",
        ),
        Mistake(
            "the weights are ignored",
            nll(weights="none"),
            "Without log π all components count alike, and the density integrates to K, not to 1.",
        ),
        Mistake(
            "the log σ of the density is missing",
            nll(log_sigma_term=0.0),
            "A bell that is narrower is also higher: log N contains −log σ. Without it a wider bell is always better, and σ grows "
            "for ever.",
        ),
        Mistake(
            "the ½ of the exponent is missing",
            nll(half=1.0),
            "The exponent is −½·((z − μ)/σ)². Without the ½ every σ comes out √2 too large.",
        ),
        Mistake(
            "without the constant",
            nll(constant="none"),
            "½·log 2π for each dimension is missing. No gradient needs it, but the number is then no likelihood: it can "
            "be compared with nobody's.",
        ),
        Mistake(
            "the constant only once",
            nll(constant="once"),
            "Each of the Z dimensions is a density of its own, with its own ½·log 2π.",
        ),
        Mistake(
            "log 2π in place of its half",
            nll(constant="twice"),
            "The constant of one dimension is ½·log 2π, the log of √(2π). The ½ is missing.",
        ),
        Mistake(
            "a loss that may not be negative",
            nll(finish=lambda total: total.clamp(min=0)),
            "You clamp the loss at 0, as if a negative one were a bug. A density may exceed 1. And where you clamp there is no "
            "gradient: training stops just where it goes well.",
        ),
        Mistake(
            "the absolute value of the loss",
            nll(finish=torch.abs),
            "A density may exceed 1, so the loss may be negative. With `abs` a better fit *raises* it, once it is below 0.",
        ),
        Mistake(
            "the maximum is not added back",
            nll(combine="no m"),
            "log Σ exp(a) = m + log Σ exp(a − m): you took out the largest a, and forgot to add it afterwards.",
        ),
        Mistake(
            "one maximum for all",
            nll(combine="one m"),
            "You take out the largest a of the whole batch. Where all of a target's own a lie far below it, they underflow as "
            "before: each sum needs a maximum of its own, `amax(dim=-1, keepdim=True)`.",
        ),
        Mistake(
            "mean over the latent dimensions",
            nll(over="mean"),
            "log p of a vector is the *sum* over its dimensions. A mean divides by Z, and the latents then weigh too little "
            "beside reward and done (lesson 08).",
        ),
        Mistake(
            "one number for the batch",
            nll(over="all"),
            "You average over batch and time, too early: the episode mask of lesson 08 must be laid over the single steps.",
        ),
        Mistake("not summed", nll(over="not"), "One number for each dimension. A sample's loss is their sum."),
        Mistake(
            "the sign",
            nll(sign=1.0),
            "This is the log-likelihood, which one maximises. A loss is its negative. (That it may be below zero all the same "
            "is no reason to turn the sign.)",
        ),
        Mistake(
            WEIGHTS_CUT,
            nll(weights="cut"),
            "The values are right, but the gradient that reaches the logits behind `log_pi` is not: detached, or computed from "
            "a copy. Then the weights stay what they were at the start.",
        ),
    ),
    (nll_from_distributions, nll_by_hand, nll_by_dimension),
    reference=mixture_nll,
    shown=nll_shown,
    cases=nll_cases,
    expects="-log p(target) in nats, one number for each sample or step: the shape of `target` without its last axis",
    checked="Values and gradients (those by the weights through their logits) on seven fresh inputs: sequences, one component, "
    "targets far away and 200 dimensions, where densities underflow, and narrow bells, where the loss is negative.",
    tolerance=3.0,
    part=True,
)


# --- 2 · From a linear layer to a mixture


def parts_cases(rng: Rng) -> Iterator[Case]:
    for lead, latent, components, kind, about in (
        ((4,), 3, 2, np.float32, "a small batch"),
        ((1,), 2, 5, np.float64, "a batch of one"),
        ((3, 4), 4, 3, np.float64, "a batch of sequences"),
        ((int(rng.integers(4, 8)),), 2, 4, np.float64, "outputs far beyond the bound"),
    ):
        out = rng.normal(0, 2, (*lead, 3 * latent * components))
        if "beyond" in about:
            out *= 8
        inputs = {"out": out.astype(kind), "latent_dim": latent, "components": components, "bound": 5.0}
        yield Case(inputs, about, ("out",))
    sure = rng.normal(0, 1, (2, 18)).astype(np.float32)
    sure[:, :6:3] += 150
    yield Case({"out": sure, "latent_dim": 2, "components": 3, "bound": 2.0}, "very sure of one component", ("out",))


def mixture_parts(out: Tensor, latent_dim: int, components: int, bound: float) -> tuple[Tensor, Tensor, Tensor]:
    logits, mu, s = out.unflatten(-1, (3, latent_dim, components)).unbind(dim=-3)  # each (..., Z, K)
    log_pi = F.log_softmax(logits, dim=-1)
    return log_pi, mu, bound * torch.tanh(s / bound)


def head(
    weights: Callable[[Tensor], Tensor] = lambda logits: F.log_softmax(logits, -1),
    width: Callable[[Tensor, float], Tensor] = lambda s, b: b * torch.tanh(s / b),
    layout: str = "3ZK",
    means: Callable[[Tensor, float], Tensor] = lambda mu, b: mu,
) -> Answer:
    def wrong(out: Tensor, latent_dim: int, components: int, bound: float) -> Parts:
        lead, z, k = out.shape[:-1], latent_dim, components
        if layout == "3ZK":
            logits, mu, s = out.reshape(*lead, 3, z, k).unbind(-3)
        elif layout == "ZK3":
            logits, mu, s = out.reshape(*lead, z, k, 3).unbind(-1)
        elif layout == "Z3K":
            logits, mu, s = out.reshape(*lead, z, 3, k).unbind(-2)
        elif layout == "widths second":
            logits, s, mu = out.reshape(*lead, 3, z, k).unbind(-3)
        elif layout == "KZ":
            logits, mu, s = out.reshape(*lead, 3, k, z).unbind(-3)
        elif layout == "3KZ":
            logits, mu, s = out.reshape(*lead, 3, k, z).transpose(-1, -2).unbind(-3)
        else:
            mu, s, logits = out.reshape(*lead, 3, z, k).unbind(-3)
        return weights(logits), means(mu, bound), width(s, bound)

    return wrong


def parts_by_chunks(out: Tensor, latent_dim: int, components: int, bound: float) -> Parts:
    logits, mu, s = (piece.reshape(*out.shape[:-1], latent_dim, components) for piece in torch.chunk(out, 3, dim=-1))
    return logits - torch.logsumexp(logits, -1, keepdim=True), mu, torch.tanh(s / bound) * bound


def parts_by_sigmoid(out: Tensor, latent_dim: int, components: int, bound: float) -> Parts:
    size = latent_dim * components
    shape = (*out.shape[:-1], latent_dim, components)
    logits, mu, s = (out[..., i * size : (i + 1) * size].reshape(shape) for i in range(3))
    return torch.log_softmax(logits, dim=len(shape) - 1), mu, bound * (2 * torch.sigmoid(2 * s / bound) - 1)


PARTS = Exercise(
    "mixture_parts",
    "From a linear layer to a mixture",
    10,
    2,
    (
        "Cut the last axis into 3 × Z × K: `out.unflatten(-1, (3, latent_dim, components))`, and `.unbind(dim=-3)` gives three "
        "tensors (..., Z, K). Which of them may stay as they are?",
        "Only the means. The weights of *one dimension's* components must sum to 1: `F.log_softmax(logits, dim=-1)`. And s "
        "becomes a log σ between −bound and bound, by a curve that is nearly s itself around 0.",
        "`bound * torch.tanh(s / bound)`: slope 1 at 0, never outside ±bound, and nowhere flat.",
    ),
    (
        Mistake(
            "softmax over the wrong axis",
            head(weights=lambda logits: F.log_softmax(logits, -2)),
            "You normalise over the latent dimensions: one component's weights then sum to 1 *across dimensions*. The shapes "
            "fit, nothing complains, and no dimension has a density. The components are on the last axis.",
        ),
        Mistake(
            "softmax over the batch",
            head(weights=lambda logits: F.log_softmax(logits, 0)),
            "dim=0 makes weights out of different samples. The components are on the last axis, −1.",
        ),
        Mistake(
            "softmax over axis 1",
            head(weights=lambda logits: F.log_softmax(logits, 1)),
            "`dim=1` counts from the front: it is the latent dimensions in a batch (B, Z, K), and time in a batch of sequences "
            "(B, T, Z, K). The components are on the last axis: −1.",
        ),
        Mistake(
            "softmax over everything",
            head(weights=lambda logits: F.log_softmax(logits.flatten(-2), -1).reshape(logits.shape)),
            "You normalise before the axes are apart, so the weights of all dimensions together sum to 1. Each dimension has "
            "a mixture of its own.",
        ),
        Mistake(
            "the weights not normalised",
            head(weights=lambda logits: logits),
            "These are logits. As log π their mixture integrates to any number, and the loss falls without end by raising "
            "them all.",
        ),
        Mistake(
            "π in place of log π",
            head(weights=lambda logits: torch.softmax(logits, -1)),
            "The loss is in log space and wants log π. `softmax` returns π itself; `log_softmax` its logarithm.",
        ),
        Mistake(
            "log of a softmax",
            head(weights=lambda logits: torch.softmax(logits, -1).log()),
            "Where the network is very sure, the other weights round to 0 and their log is −∞. `F.log_softmax` gives the "
            "logarithm directly.",
        ),
        Mistake(
            "weights from a sigmoid",
            head(weights=F.logsigmoid),
            "A sigmoid makes a probability out of each logit *by itself*: the K of them do not sum to 1. Either-or wants a "
            "softmax.",
        ),
        Mistake(
            "σ in place of log σ",
            head(width=lambda s, b: torch.exp(b * torch.tanh(s / b))),
            "You take the exponential already. What is called `log_sigma` stays a logarithm; the loss exponentiates.",
        ),
        Mistake(
            "a hard clamp",
            head(width=lambda s, b: s.clamp(-b, b)),
            "`clamp` keeps log σ in bounds, and its gradient outside of them is 0: a component that got there, by one bad "
            "batch, is stuck for ever. bound·tanh(s/bound) bounds it and always lets a gradient through.",
        ),
        Mistake(
            "no bound",
            head(width=lambda s, b: s),
            "log σ = s can go to −∞: one component shrinks onto one target, its density goes to ∞, and the loss to −∞. "
            "The bound forbids it.",
        ),
        Mistake(
            "tanh(s) times the bound",
            head(width=lambda s, b: b * torch.tanh(s)),
            "The slope at 0 is then `bound`, not 1: a layer's output of 1 jumps to log σ = 3.8. Divide s by the bound inside.",
        ),
        Mistake(
            "tanh without the bound",
            head(width=lambda s, b: torch.tanh(s)),
            "log σ then stays within ±1, whatever `bound` says. The curve is bound·tanh(s/bound).",
        ),
        Mistake(
            "tanh without the factor",
            head(width=lambda s, b: torch.tanh(s / b)),
            "tanh ends at ±1, so log σ would stay within ±1, and its slope at 0 is 1/bound. Multiply by the bound.",
        ),
        Mistake(
            "a bound of its own",
            head(width=lambda s, b: 5 * torch.tanh(s / 5)),
            "The 5 is written into the function. `bound` is an argument: whoever asks for another gets it.",
        ),
        Mistake(
            "a sigmoid in place of tanh",
            head(width=lambda s, b: b * torch.sigmoid(s)),
            "A sigmoid lies between 0 and 1: log σ would never be negative, and no bell narrower than one unit. tanh has both "
            "signs.",
        ),
        Mistake(
            "softplus",
            head(width=lambda s, b: F.softplus(s)),
            "softplus makes a positive number, a σ, as some libraries do. Asked for is log σ, which has both signs, and is bounded.",
        ),
        Mistake(
            "the means bounded, too",
            head(means=lambda mu, b: b * torch.tanh(mu / b)),
            "Only log σ needs a bound: a mean has no singular place to run to. Bounded, it could not reach a target beyond ±bound.",
        ),
        Mistake(
            "Z × K × 3 in place of 3 × Z × K",
            head(layout="ZK3"),
            "You take neighbours on the last axis for weight, mean and width of one component. Here all weights come first, then all "
            "means, then all widths. A network would learn either; but saved weights fit one of them alone.",
        ),
        Mistake(
            "Z × 3 × K in place of 3 × Z × K",
            head(layout="Z3K"),
            "You cut into dimensions first and into weight, mean and width inside. Here the first third is all the weights.",
        ),
        Mistake(
            "dimensions and components swapped",
            head(layout="3KZ"),
            "You reshape to (K, Z) and transpose. The order is (3, Z, K): K runs fastest.",
        ),
        Mistake(
            "K × Z in place of Z × K",
            head(layout="KZ"),
            "The components come on the *last* axis, behind the latent dimensions: `unflatten(-1, (3, latent_dim, components))`.",
        ),
        Mistake(
            "the widths before the means",
            head(layout="widths second"),
            "The second third of the layer is μ, the last one s. Either could be learnt; the order is what saved weights mean.",
        ),
        Mistake(
            "the means first",
            head(layout="means first"),
            "The order is weights, means, widths. The shapes are all the same, so nothing but the order tells them apart.",
        ),
    ),
    (parts_by_chunks, parts_by_sigmoid),
    reference=mixture_parts,
    cases=parts_cases,
    expects="three tensors (..., Z, K): log π that is normalised over K, μ, and log σ within ±bound",
    checked="All three and their gradients on five fresh inputs, a very sure one and outputs far beyond the bound among them.",
)


# --- 3 · Responsibilities


def responsibility_cases(rng: Rng) -> Iterator[Case]:
    by = ("target", "log_pi", "mu", "log_sigma")
    yield Case(draw_mixture(rng, 4, 3, 2, kind=np.float32), "a small batch", by)
    yield Case(draw_mixture(rng, 1, 2, 5), "a batch of one, five components", by)
    yield Case(draw_mixture(rng, 3, int(rng.integers(4, 7)), 2, 3), "a batch of sequences", by)
    far = far_away(rng)
    far.inputs["log_sigma"] = np.full_like(far.inputs["mu"], -0.5)
    yield Case(far.inputs, far.about, ())


def responsibilities(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    standard = (target.unsqueeze(-1) - mu) * torch.exp(-log_sigma)
    log_joint = log_pi - log_sigma - 0.5 * standard.square()  # log π·N, but for a constant that all share
    return torch.softmax(log_joint, dim=-1)


def shares(
    prior: float = 1.0, own: float = 1.0, half: float = 0.5, width: float = 1.0, how: str = "softmax", axis: int = -1
) -> Answer:
    def wrong(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
        square = ((target.unsqueeze(-1) - mu) * torch.exp(-width * log_sigma)) ** 2
        log_joint = prior * log_pi - own * log_sigma - half * square
        if how == "division":
            joint = log_joint.exp()
            return joint / joint.sum(-1, keepdim=True)
        if how == "hard":
            return F.one_hot(log_joint.argmax(-1), log_joint.shape[-1]).to(log_joint.dtype)
        if how == "nearest":
            return F.one_hot((target.unsqueeze(-1) - mu).abs().argmin(-1), mu.shape[-1]).to(mu.dtype)
        if how == "linear":
            return torch.softmax(log_joint - log_pi + log_pi.exp(), -1)
        if how == "vector":
            return torch.softmax(log_joint.sum(-2, keepdim=True), -1).expand(log_joint.shape)
        if how == "joint":
            return (log_joint - 0.5 * math.log(2 * math.pi)).exp()
        if how == "log":
            return F.log_softmax(log_joint, -1)
        return torch.softmax(log_joint, dim=axis)

    return wrong


def shares_from_distributions(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    joint = log_pi + Normal(mu, log_sigma.exp()).log_prob(target.unsqueeze(-1))
    return torch.exp(joint - joint.logsumexp(-1, keepdim=True))


def shares_by_hand(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    joint = log_pi + log_normal(target, mu, log_sigma)
    joint = torch.exp(joint - joint.amax(-1, keepdim=True))
    return joint / joint.sum(-1, keepdim=True)


RESPONSIBILITIES = Exercise(
    "responsibilities",
    "Who is responsible",
    10,
    1,
    (
        "γ_k = π_k·N_k / Σ_i π_i·N_i. What function turns K logarithms into K numbers that sum to 1?",
        "A softmax of the logarithms log π + log N. What all K share, such as −½·log 2π, cancels; −log σ does not.",
        "`torch.softmax(log_pi - log_sigma - 0.5 * standard.square(), dim=-1)`.",
    ),
    (
        Mistake(
            "the weights are ignored",
            shares(prior=0.0),
            "You compare the densities alone. A component that is rare to begin with is less likely to be the source: by "
            "Bayes its density is weighted with π.",
        ),
        Mistake(
            "the log σ of the density is missing",
            shares(own=0.0),
            "−log σ differs between components, so it does not cancel: at the same distance in σ's the narrow bell is the higher "
            "one. It is the constant ½·log 2π that cancels.",
        ),
        Mistake(
            "the ½ of the exponent is missing",
            shares(half=1.0),
            "The exponent is −½·((z − μ)/σ)². Without the ½ the responsibilities are too sure.",
        ),
        Mistake(
            "log σ read as log σ²",
            shares(own=0.5, width=0.5),
            "`log_sigma` is log σ: 1/σ = exp(−log_sigma), without a ½.",
        ),
        Mistake(
            "σ in place of σ²",
            shares(width=0.5),
            "The squared distance is divided by σ² = exp(2·log_sigma). You divide it by σ.",
        ),
        Mistake(
            "the sign of log σ",
            shares(own=-1.0),
            "A wider bell is lower: log N contains *minus* log σ.",
        ),
        Mistake(
            "π where log π belongs",
            shares(how="linear"),
            "Inside the softmax stand logarithms: log π + log N. You added exp(log_pi).",
        ),
        Mistake(
            "one share for the whole vector",
            shares(how="vector"),
            "You add the logarithms over the latent dimensions first, so that all of them get the same γ. That belongs to one mixture "
            "over the vector (exercise 5); here each dimension has a mixture of its own.",
        ),
        Mistake(
            "the density before its logarithm",
            shares(how="division"),
            "Far from every component all K densities round to 0, and 0/0 is NaN. A softmax subtracts the largest logarithm "
            "first.",
        ),
        Mistake(
            "softmax over the wrong axis",
            shares(axis=-2),
            "These sum to 1 over the latent dimensions. For one dimension, the *components* share the responsibility: −1.",
        ),
        Mistake(
            "softmax over the batch",
            shares(axis=0),
            "dim=0 shares one component out among the samples. For one sample, its components share: −1.",
        ),
        Mistake(
            "a hard assignment",
            shares(how="hard"),
            "You give all to the most likely component. That is k-means; here a target between two bells belongs to both, in "
            "parts, and a gradient can pass.",
        ),
        Mistake(
            "the nearest mean",
            shares(how="nearest"),
            "All goes to the component whose mean is nearest. A wide bell far away may be the likelier source (you saw it with the "
            "two bells), and between two bells both are responsible, in parts.",
        ),
        Mistake(
            "not normalised",
            shares(how="joint"),
            "This is π·N, the numerator. Divide by the sum over the components.",
        ),
        Mistake("its logarithm", shares(how="log"), "This is log γ. `softmax` in place of `log_softmax` gives γ."),
        Mistake(
            "the weights themselves",
            lambda target, log_pi, mu, log_sigma: log_pi.exp(),
            "These are π, the responsibilities *before* the target is seen. Seeing it multiplies each with its density.",
        ),
    ),
    (shares_from_distributions, shares_by_hand),
    reference=responsibilities,
    cases=responsibility_cases,
    expects="shape (..., Z, K): for each target the share of each component, summing to 1 over the last axis",
    checked="Values and gradients on four fresh inputs, one of them far from every component.",
    tolerance=10.0,
)


# --- 4 · A draw, hotter or colder


def sample_cases(rng: Rng) -> Iterator[Case]:
    for shape, kind, temperature, about in (
        ((4, 3, 2), np.float32, 1.0, "a small batch"),
        ((1, 8, 5), np.float64, 0.5, "a batch of one, colder"),
        ((2, 5, 3, 4), np.float64, 1.3, "a batch of sequences, hotter"),
        ((6, 4, 3), np.float32, 0.0, "temperature 0"),
    ):
        parts = draw_mixture(rng, *shape, kind=kind)
        del parts["target"]
        yield Case({**parts, "temperature": temperature, "generator": None}, about)
    sure = draw_mixture(rng, 3, 2, 3, kind=np.float32)
    sure["log_pi"] = log_softmax(rng.normal(0, 1, (3, 2, 3)) * 200).astype(np.float32)
    del sure["target"]
    yield Case({**sure, "temperature": 0.1, "generator": None}, "very sure, and cold")


SPREAD = np.array(  # π, (2 kinds of rows, 3 dimensions, 3 components); in each kind the first dimension and the last are alike
    [
        [[0.7, 0.2, 0.1], [0.15, 0.25, 0.6], [0.7, 0.2, 0.1]],
        [[0.3, 0.5, 0.2], [0.5, 0.3, 0.2], [0.3, 0.5, 0.2]],
    ]
)
CENTRES = np.array([-40.0, 0.0, 40.0]) + np.array([[[0.0], [6.0], [-7.0]], [[13.0], [19.0], [-18.0]]])  # of any kind
WIDTHS = np.array([-1.2, -0.2, -2.0]) + np.array([[[0.0], [0.6], [-0.6]], [[-0.8], [-0.3], [0.5]]])  # log σ


@dataclass(frozen=True)
class Mixtures:
    """The mixtures that draws should come from: each (rows, Z, K), the first half of the rows of one kind."""

    pi: np.ndarray
    mu: np.ndarray
    sigma: np.ndarray

    def origin(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which component each draw came from, and by how many of its σ it strays from its mean."""
        k = np.abs(z[..., None] - self.mu).argmin(-1, keepdims=True)
        mu, sigma = (np.take_along_axis(part, k, -1)[..., 0] for part in (self.mu, self.sigma))
        return k[..., 0], (z - mu) / sigma

    def shares(self, k: np.ndarray, power: float = 1.0) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """For each kind of rows: how often each component came up (Z, K), what is right at τ = 1/power, how many rows."""
        for half in np.split(np.arange(len(k)), 2):
            right = self.pi[half[0]] ** power
            share = np.stack([(k[half] == i).mean(0) for i in range(right.shape[-1])], -1)
            yield share, right / right.sum(-1, keepdims=True), len(half)

    def widths(self, k: np.ndarray, standard: np.ndarray) -> Iterator[tuple[float, int]]:
        """For each kind, dimension and component: the spread in its σ, and of how many draws."""
        for half in np.split(np.arange(len(k)), 2):
            for j in range(k.shape[1]):
                for i in range(self.mu.shape[-1]):
                    some = standard[half, j][k[half, j] == i]
                    if len(some) > 20:
                        yield float(some.std()), len(some)

    def drawn_by(self, k: np.ndarray, pi: np.ndarray, limit: float) -> bool:
        """Whether the components came up as often as these weights say."""
        other = replace(self, pi=pi)
        return all((np.abs(share - p) < limit * np.sqrt(p * (1 - p) / n)).all() for share, p, n in other.shares(k))

    def as_wide(self, k: np.ndarray, standard: np.ndarray, limit: float) -> bool:
        """Whether the draws are spread as they should be, in every component."""
        return all(abs(width - 1) < limit / math.sqrt(2 * n) for width, n in self.widths(k, standard))

    def fit(self, z: np.ndarray, limit: float) -> bool:
        """Whether the draws may come from these mixtures, each row and each dimension from its own."""
        k, standard = self.origin(z)
        return (
            (np.abs(standard) > 12).mean() < 0.02
            and self.drawn_by(k, self.pi, limit)
            and self.as_wide(k, standard, limit)
        )


def mixed_up(right: Mixtures) -> Iterator[tuple[str, Mixtures]]:
    """What the draws come from when someone takes another row's or another dimension's numbers."""
    changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "the first row's for all": lambda part: np.broadcast_to(part[:1], part.shape),
        "the first dimension's for all": lambda part: np.broadcast_to(part[:, :1], part.shape),
        "the rows in another order": lambda part: part[::-1],
    }
    for name, change in changes.items():
        for names in (
            ("pi",),
            ("mu",),
            ("sigma",),
            ("pi", "mu"),
            ("mu", "sigma"),
            ("pi", "sigma"),
            ("pi", "mu", "sigma"),
        ):
            yield name, replace(right, **{part: change(getattr(right, part)) for part in names})


def sample_properties(ask: Ask, rng: Rng) -> str:
    """What must hold of the draws, in whatever order noise is drawn. Each statistical test fails once in 10⁷ runs."""
    rows, limit = 4000, 5.7
    a, b = (int(seed) for seed in rng.choice(10**6, 2, replace=False))
    pi, mu, log_sigma = (np.repeat(part, rows // 2, axis=0) for part in (SPREAD, CENTRES + rng.normal(0, 1), WIDTHS))
    log_pi, right = np.log(pi), Mixtures(pi, mu, np.exp(log_sigma))

    def case(temperature: float, seed: int | None = None) -> Case:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        inputs = {
            "log_pi": log_pi,
            "mu": mu,
            "log_sigma": log_sigma,
            "temperature": temperature,
            "generator": generator,
        }
        return Case(
            inputs, f"{rows // 2} times the same three mixtures, and as often three others, τ = {temperature:g}"
        )

    def seeded(number: int) -> Answer:
        def around(answer: Answer, *inputs: object) -> Tensor:
            torch.manual_seed(number)
            np.random.seed(number % 1000)  # noqa: NPY002 (a learner may use the global one)
            return answer(*inputs)

        return around

    hot = {t: ask(case(t), seeded(a)).values[0] for t in (1.0, 0.5, 2.0)}
    if any(z.shape != (rows, 3) for z in hot.values()):
        return f"for a mixture {mu.shape} it returns the shape {hot[1.0].shape}."
    z = hot[1.0]
    if not np.array_equal(z, ask(case(1.0), seeded(a)).values[0]):
        return "noise that torch's seed does not reach: two calls after the same torch.manual_seed(…) differ."
    mean = (pi * mu).sum(-1)
    if np.allclose(z, mean, 1e-6, 1e-6):
        return "the mixture's mean, without chance: every row of equal mixtures gets the same Σ π·μ."
    if not all(np.ptp(half, axis=0).all() for half in np.split(z, 2)):
        return "one draw for the whole batch: all rows of equal mixtures are equal."
    other = ask(case(1.0), seeded(b)).values[0]
    if np.array_equal(z, other):
        return "a seed inside of the function: calls after different seeds return the same."
    k, standard = right.origin(z)  # (rows, 3): where each draw came from
    if not right.fit(z, limit):
        for name, others in mixed_up(right):
            if others.fit(z, limit):
                return f"{name}: the draws fit the mixtures of others. Each dimension of each row has π, μ and σ of its own."
    log_width = np.take_along_axis(log_sigma, k[..., None], -1)[..., 0]
    if not right.as_wide(k, standard, limit):
        for name, by, words in (
            ("log σ read as log σ²", np.exp(0.5 * log_width), "exp(½·log_sigma)"),
            ("σ² in place of σ", np.exp(2 * log_width), "exp(2·log_sigma)"),
            ("log σ used as σ", np.abs(log_width), "log_sigma itself"),
            ("the width is missing", np.ones_like(log_width), "1"),
        ):
            if right.as_wide(k, standard * np.exp(log_width) / by, limit):
                return f"{name}: at τ = 1 the values are spread by {words}."
    if (np.abs(standard) > 12).mean() > 0.02:
        return between_components(z, right, limit)
    if np.ptp(standard, axis=0).max() < 1e-5:
        if np.abs(standard).max() < 1e-5:
            return "a component's mean, without its noise: at τ = 1 the values are the means themselves."
        return "one draw for the whole batch: one ε serves all its rows."
    shares = list(right.shares(k))
    if all((share.max(-1) > 0.999).all() for share, _, _ in shares):
        if (np.concatenate([k, right.origin(other)[0]]) == np.tile(pi.argmax(-1), (2, 1))).all():
            return "always the most likely component: no other ever comes up at τ = 1."
        return "one draw for the whole batch: one component, or one u, serves all its rows."
    if np.array_equal(k[:, 0], k[:, 2]):
        return "one component for the whole vector: two dimensions with equal weights always take the same one."
    for name, pi_seen in (
        ("π divided by τ in place of log π", np.exp(pi) / np.exp(pi).sum(-1, keepdims=True)),
        ("all components alike", np.full_like(pi, 1 / 3)),
    ):
        if not right.drawn_by(k, right.pi, limit) and right.drawn_by(k, pi_seen, limit):
            return f"{name}: at τ = 1 the components come up with the shares {np.round(shares[0][0][0], 3)}, where π is {pi[0, 0]}."
    for share, p, n in shares:
        for j in range(3):
            if (np.abs(share[j] - p[j]) > limit * np.sqrt(p[j] * (1 - p[j]) / n)).any():
                return f"at τ = 1 the components come up with the shares {np.round(share[j], 3)}, where π is {p[j]}."
    for width, n in right.widths(k, standard):
        if abs(width - 1) > limit / math.sqrt(2 * n):
            return f"at τ = 1 the values around a component's mean are spread by {width:.3g} times its σ."
    together = [np.corrcoef(standard[:, 0], standard[:, j])[0, 1] for j in (1, 2)]
    if max(np.abs(together)) > 0.99:
        return "one ε for the whole vector: all dimensions stray from their components by the same number of σ."
    first = (k == 0) - pi[..., 0]  # by how much more often than it should
    chosen = np.corrcoef(first[:, 0], first[:, 2])[0, 1]
    in_time = np.corrcoef(standard[1:, 0], standard[:-1, 0])[0, 1]
    mixed = np.corrcoef(first[:, 0], standard[:, 0])[0, 1]
    if max(np.abs([*together, chosen, in_time, mixed])) > limit / math.sqrt(rows):
        return "draws that depend on each other: every dimension of every row needs a component and a noise of its own."
    ordered = torch.special.ndtr(torch.from_numpy(np.sort(standard.astype(np.float64).ravel()))).numpy()
    if np.abs(ordered - (np.arange(ordered.size) + 0.5) / ordered.size).max() > 2.9 / math.sqrt(ordered.size):
        return "the values around a component's mean are not normally distributed."
    if complaint := judge_temperature(hot, right, log_sigma, limit) or judge_sequences(ask, rng, limit):
        return complaint
    return judge_zero_and_generator(ask, rng, case, seeded, (a, b))


def between_components(z: np.ndarray, right: Mixtures, limit: float) -> str:
    """What the draws are that come from none of the components."""
    half, pi = np.split(z, 2)[0], right.pi[0]
    mean, average = (pi * right.mu[0]).sum(-1), np.sqrt((pi**2 * right.sigma[0] ** 2).sum(-1))
    spread = half.std(axis=0)
    if (np.abs(half.mean(axis=0) - mean) < limit * spread / math.sqrt(len(half))).all():
        if (np.abs(spread / average - 1) < limit / math.sqrt(2 * len(half))).all():
            return "an average of one draw from each: the values lie around Σ π·μ, spread by √(Σ π²σ²)."
        return "the mixture's mean plus noise: the values lie around Σ π·μ, where no component is."
    return "values between the components: they come from none of them. Draw one component, then a value from it."


def judge_sequences(ask: Ask, rng: Rng, limit: float) -> str:
    """(B, T, Z, K): every step draws from its own mixture, and by chance of its own."""
    lead = (100, 20, 2)
    pi = np.broadcast_to(np.array([0.5, 0.5]), (*lead, 2))
    mu = np.array([-40.0, 40.0]) + rng.uniform(-20, 20, (*lead, 1))
    log_sigma = np.broadcast_to(np.array([-0.5, -1.0]), mu.shape)
    inputs = {"log_pi": np.log(pi), "mu": mu, "log_sigma": log_sigma, "temperature": 1.0, "generator": None}
    z = ask(Case(inputs, "sequences of steps, each with its own mixtures")).values[0]
    if z.shape != lead:
        return f"for a mixture {mu.shape} it returns the shape {z.shape}."
    k, standard = Mixtures(pi, mu, np.exp(log_sigma)).origin(z)
    if (np.abs(standard) > 12).mean() > 0.02:
        return "for sequences (B, T, Z, K) the draws of some steps come from the mixtures of others."
    for chance in (2.0 * k - 1, standard):
        for axis, name in enumerate(("one draw for the whole batch", "shared over the time steps", "")):
            here, next_one = (np.delete(chance, i, axis).ravel() for i in (-1, 0))
            alike = np.corrcoef(here, next_one)[0, 1] if here.std() * next_one.std() > 0 else 1.0
            if alike > 0.99 and name:
                return f"{name}: in a batch of sequences one component or one ε serves many samples."
            if abs(alike) > limit / math.sqrt(here.size):
                return (
                    "draws that depend on each other, in a batch of sequences: each step and dimension needs its own."
                )
    return ""


def judge_temperature(hot: dict[float, np.ndarray], right: Mixtures, log_sigma: np.ndarray, limit: float) -> str:
    """At τ = ½ and 2: the shares must be those of π^(1/τ), and the widths √τ·σ."""
    seen = {}
    powers: dict[float, Callable[[Callable[[float], float]], bool]] = {}
    for t in (0.5, 2.0):
        k, standard = right.origin(hot[t])

        def like(power: float, k: np.ndarray = k) -> bool:
            return all(
                bool((np.abs(share - p) < limit * np.sqrt(p * (1 - p) / n) + 4 / n).all())
                for share, p, n in right.shares(k, power)
            )

        def wide(scale: float, standard: np.ndarray = standard) -> bool:
            return bool(abs(standard.std() / scale - 1) < limit / math.sqrt(2 * standard.size))

        def scaled(power: Callable[[float], float], k: np.ndarray = k, z: np.ndarray = standard, t: float = t) -> bool:
            """Whether the widths are σ to this power of τ."""
            own = np.take_along_axis(log_sigma, k[..., None], -1)[..., 0]
            return right.as_wide(k, z * np.exp((1 - power(t)) * own), limit)

        powers[t] = scaled
        share, cold, _ = next(right.shares(k, 2.0))
        seen[t] = like, wide, share[0], cold[0], standard.std()
    tests = [seen[t][:2] for t in (0.5, 2.0)]
    weights_right = all(like(1 / t) for (like, _), t in zip(tests, (0.5, 2.0), strict=True))
    widths_right = all(wide(math.sqrt(t)) for (_, wide), t in zip(tests, (0.5, 2.0), strict=True))
    weights_same, widths_same = all(like(1) for like, _ in tests), all(wide(1) for _, wide in tests)
    if weights_right and widths_right:
        return ""
    if weights_right and widths_same:
        return "temperature on the weights only: at τ = ½ and 2 the values are spread as at τ = 1."
    if widths_right and weights_same:
        return "temperature on the widths only: at τ = ½ and 2 the components come up as often as at τ = 1."
    if weights_same and widths_same:
        return "the temperature is ignored: at τ = ½ and 2 the draws are as at τ = 1."
    if all(scaled(lambda t: 1 / t) for scaled in powers.values()):
        return "log σ divided by τ: at τ = ½ and 2 the values are spread by σ^(1/τ)."
    if all(scaled(lambda t: t) for scaled in powers.values()):
        return "log σ multiplied by τ: at τ = ½ and 2 the values are spread by σ^τ."
    if all(wide(1 / math.sqrt(t)) for (_, wide), t in zip(tests, (0.5, 2.0), strict=True)):
        return "σ divided by √τ: at τ = ½ the values are spread more than at τ = 2."
    if all(wide(t) for (_, wide), t in zip(tests, (0.5, 2.0), strict=True)):
        return "σ multiplied by τ: the variance is, so σ is multiplied by √τ."
    if all(like(t) for (like, _), t in zip(tests, (0.5, 2.0), strict=True)):
        return "log π multiplied by τ: it is divided, so that τ below 1 makes the likely ones likelier."
    _, _, share, cold, std = seen[0.5]
    return (
        f"at τ = ½ the shares are {np.round(share, 3)}, where π² / Σπ² is {np.round(cold, 3)}, "
        f"and the values are spread by {std:.3g}·σ, where {math.sqrt(0.5):.3g}·σ should be."
    )


def judge_zero_and_generator(
    ask: Ask, rng: Rng, case: Callable[..., Case], seeded: Callable[[int], Answer], seeds: tuple[int, int]
) -> str:
    parts = draw_mixture(rng, 20, 3, 4)
    del parts["target"]
    log_pi, mu = parts["log_pi"], parts["mu"]
    cold = ask(Case({**parts, "temperature": 0.0, "generator": None}, "temperature 0")).values[0]
    best = np.take_along_axis(mu, log_pi.argmax(-1)[..., None], -1)[..., 0]
    if not np.allclose(cold, best, 1e-6, 1e-8):
        peak = (log_pi - parts["log_sigma"]).argmax(-1)[..., None]
        for name, value in (
            ("the mixture's mean at τ = 0", (np.exp(log_pi) * mu).sum(-1)),
            ("the highest peak at τ = 0", np.take_along_axis(mu, peak, -1)[..., 0]),
        ):
            if np.allclose(cold, value, 1e-6, 1e-8):
                return f"{name}: the limit is the mean of the component with the largest π."
        if np.abs(cold - best).max() < 1:
            return "almost 0 in place of 0: at τ = 0 the values still stray from the mean of the component with the largest π."
        return "at τ = 0 it is not the mean of the component with the largest π, which is the limit."
    a, b = seeds
    first, second = (ask(case(1.0, a), seeded(n)).values[0] for n in (b, b + 1))
    if not np.array_equal(first, second):
        return "the generator is ignored: with equal generators, and different global seeds, the draws differ."
    one, two = ask(case(1.0, a), lambda answer, *inputs: (answer(*inputs), answer(*inputs))).values
    if np.array_equal(one, two):
        return "one generator must give a new draw in each call."
    return ""


def drawn(
    weights: Callable[[Tensor, float], Tensor] = lambda log_pi, t: log_pi / t,
    width: Callable[[Tensor, float], Tensor] = lambda log_sigma, t: math.sqrt(t) * log_sigma.exp(),
    chosen: str = "each",
    noise: str = "each",
    value: str = "component",
    zero: bool = True,
    seed: int | None = None,
    own: bool = True,
    swap: Callable[[Tensor], Tensor] | None = None,
    cold: str = "likeliest",
    almost: float = 0.0,
) -> Answer:
    def wrong(
        log_pi: Tensor,
        mu: Tensor,
        log_sigma: Tensor,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        if swap is not None:
            log_pi, mu, log_sigma = (swap(part) for part in (log_pi, mu, log_sigma))
        temperature = max(temperature, almost)
        if temperature == 0 and cold == "mean":
            return (log_pi.exp() * mu).sum(-1)
        if temperature == 0 and cold == "peak":
            return mu.gather(-1, (log_pi - log_sigma).argmax(-1, keepdim=True)).squeeze(-1)
        if temperature == 0 and zero:
            return mu.gather(-1, log_pi.argmax(-1, keepdim=True)).squeeze(-1)
        if seed is not None:
            torch.manual_seed(seed)
        g = generator if own else None
        dtype, shape = mu.dtype, mu.shape[:-1]
        rows = {"each": shape, "vector": (*shape[:-1], 1), "batch": (1,) * (len(shape) - 1) + shape[-1:]}
        rows["time"] = (shape[0], 1, *shape[2:]) if len(shape) > 2 else shape
        tempered = log_pi / torch.tensor(temperature, dtype=dtype) if not zero else weights(log_pi, temperature)
        u = torch.rand(rows[chosen], generator=g, dtype=dtype).expand(shape).unsqueeze(-1)
        cumulative = torch.softmax(tempered, -1).cumsum(-1)
        k = (u >= cumulative[..., :-1]).sum(-1, keepdim=True)
        if value == "best":
            k = log_pi.argmax(-1, keepdim=True)
        epsilon = torch.randn(rows[noise], generator=g, dtype=dtype).expand(shape)
        sigma = width(log_sigma, temperature)
        if value == "mean":
            pi = torch.softmax(tempered, -1)
            return (pi * mu).sum(-1) + (pi * sigma).sum(-1) * epsilon
        if value == "average":
            pi = torch.softmax(tempered, -1)
            return (pi * (mu + sigma * torch.randn(mu.shape, generator=g, dtype=dtype))).sum(-1)
        return mu.gather(-1, k).squeeze(-1) + sigma.gather(-1, k).squeeze(-1) * epsilon

    return wrong


def sample_with_gumbel(
    log_pi: Tensor, mu: Tensor, log_sigma: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    if temperature == 0:
        k = log_pi.argmax(-1, keepdim=True)
        return mu.gather(-1, k).squeeze(-1)
    gumbel = -torch.log(-torch.log(torch.rand(log_pi.shape, generator=generator, dtype=torch.float64)))
    k = (log_pi / temperature + gumbel.to(mu.dtype)).argmax(-1, keepdim=True)
    epsilon = torch.randn(mu.shape, generator=generator, dtype=mu.dtype)
    return (mu + temperature**0.5 * log_sigma.exp() * epsilon).gather(-1, k).squeeze(-1)


def sample_with_multinomial(
    log_pi: Tensor, mu: Tensor, log_sigma: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    if temperature == 0:
        return torch.take_along_dim(mu, log_pi.argmax(-1, keepdim=True), -1)[..., 0]
    pi = torch.softmax(log_pi / temperature, dim=-1)
    k = torch.multinomial(pi.reshape(-1, pi.shape[-1]), 1, generator=generator).reshape(*pi.shape[:-1], 1)
    m, s = mu.gather(-1, k), log_sigma.gather(-1, k).exp() * math.sqrt(temperature)
    return torch.normal(m, s, generator=generator).squeeze(-1)


def sample_from_distributions(
    log_pi: Tensor, mu: Tensor, log_sigma: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    if temperature == 0:
        return (mu * F.one_hot(log_pi.argmax(-1), mu.shape[-1])).sum(-1)
    if generator is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**40, (1,), generator=generator)))
            return sample_from_distributions(log_pi, mu, log_sigma, temperature)
    tempered = Normal(mu, (0.5 * math.log(temperature) + log_sigma).exp())
    return MixtureSameFamily(Categorical(logits=log_pi / temperature), tempered).sample()


def sample_shown(
    log_pi: Tensor, mu: Tensor, log_sigma: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    if temperature == 0:
        return mu.gather(-1, log_pi.argmax(dim=-1, keepdim=True)).squeeze(-1)
    cumulative = torch.softmax(log_pi / temperature, dim=-1).cumsum(dim=-1)
    u = torch.rand(mu.shape[:-1], generator=generator, dtype=mu.dtype).unsqueeze(-1)
    k = (u >= cumulative[..., :-1]).sum(dim=-1, keepdim=True)  # how many it has passed
    epsilon = torch.randn(mu.shape[:-1], generator=generator, dtype=mu.dtype)
    sigma = math.sqrt(temperature) * torch.exp(log_sigma.gather(-1, k).squeeze(-1))
    return mu.gather(-1, k).squeeze(-1) + sigma * epsilon


SAMPLE = Exercise(
    "sample_mixture",
    "A draw, hotter or colder",
    20,
    3,
    (
        "Two dice for each latent dimension: one chooses a component k with probability π_k, the other draws N(μ_k, σ_k²). "
        "τ acts on both: which becomes log π / τ, and which σ²·τ?",
        "Choose without a loop: `cumulative = torch.softmax(log_pi / temperature, -1).cumsum(-1)`, a uniform u for each "
        "dimension, and k is how many of the first K − 1 sums u has passed. Treat τ = 0 first, on its own.",
        "`k = (u >= cumulative[..., :-1]).sum(-1, keepdim=True)`, then `mu.gather(-1, k).squeeze(-1) + math.sqrt(temperature) * "
        "torch.exp(log_sigma.gather(-1, k).squeeze(-1)) * epsilon`. At τ = 0: gather mu at `log_pi.argmax(-1, keepdim=True)`.",
    ),
    (
        Mistake(
            "temperature on the weights only",
            drawn(width=lambda log_sigma, t: log_sigma.exp()),
            "τ acts in two places. You sharpen the choice between components, and leave each as wide as it was: a dream at "
            "τ = 0.1 is then nearly as noisy as at 1. The variance is multiplied by τ as well (Ha & Eck 2017, Eq. 8).",
        ),
        Mistake(
            "temperature on the widths only",
            drawn(weights=lambda log_pi, t: log_pi),
            "τ acts in two places. You narrow each component, and choose between them as before: at τ → 0 the draw still jumps "
            "between futures. log π is divided by τ as well (Ha & Eck 2017, Eq. 8).",
        ),
        Mistake(
            "the temperature is ignored",
            drawn(weights=lambda log_pi, t: log_pi, width=lambda log_sigma, t: log_sigma.exp()),
            "The draws are the same at every τ but 0. It belongs in log π / τ and in √τ·σ.",
        ),
        Mistake(
            "σ multiplied by τ",
            drawn(width=lambda log_sigma, t: t * log_sigma.exp()),
            "It is the variance σ² that τ multiplies, so σ gets √τ. At τ = 1 nobody notices.",
        ),
        Mistake(
            "log π multiplied by τ",
            drawn(weights=lambda log_pi, t: log_pi * t),
            "A *low* temperature must make the likely likelier: divide. Multiplied, τ = 0.1 makes all components alike.",
        ),
        Mistake(
            "π divided by τ in place of log π",
            drawn(weights=lambda log_pi, t: log_pi.exp() / t),
            "A softmax expects logarithms: softmax(log π / τ). Over π itself it makes all components nearly alike, even at τ = 1.",
        ),
        Mistake(
            "all components alike",
            drawn(weights=lambda log_pi, t: 0 * log_pi),
            "Each component comes up in 1/K of the draws, whatever π says.",
        ),
        Mistake(
            "log σ multiplied by τ",
            drawn(width=lambda log_sigma, t: torch.exp(log_sigma * t)),
            "That is σ^τ. The variance is multiplied by τ, *outside* of the logarithm: √τ·exp(log_sigma).",
        ),
        Mistake(
            "σ divided by √τ",
            drawn(width=lambda log_sigma, t: log_sigma.exp() / math.sqrt(t)),
            "Cold must be narrow: √τ·σ. You divide, perhaps because log π is divided by τ.",
        ),
        Mistake(
            "log σ divided by τ",
            drawn(width=lambda log_sigma, t: torch.exp(log_sigma / t)),
            "That is σ^(1/τ), right at τ = 1 only. The variance is *multiplied* by τ: √τ·exp(log_sigma).",
        ),
        Mistake(
            "the mixture's mean plus noise",
            drawn(value="mean"),
            "Σ π·μ lies between the components, where at a fork nothing ever is. You have built the average of two futures that "
            "a mixture is there to avoid. Choose *one* component first.",
        ),
        Mistake(
            "the mixture's mean, without chance",
            drawn(value="mean", width=lambda log_sigma, t: 0 * log_sigma),
            "Σ π·μ is a forecast of squared error: at a fork it is in the empty middle, and the same at every call. A draw is a "
            "future that may come: choose a component, then add its noise.",
        ),
        Mistake(
            "a component's mean, without its noise",
            drawn(width=lambda log_sigma, t: 0 * log_sigma),
            "You choose a component and return its mean. That is half of the dice: z ~ N(μ_k, τ·σ_k²) is the other half.",
        ),
        Mistake(
            "an average of one draw from each",
            drawn(value="average"),
            "You draw from every component and add the draws up with their weights. That is a draw from one bell in the middle. "
            "π is the probability of *choosing* a component, not its share in the result.",
        ),
        Mistake(
            "always the most likely component",
            drawn(value="best"),
            "argmax never takes the rarer fork. That is right at τ = 0 and only there.",
        ),
        Mistake(
            "one component for the whole vector",
            drawn(chosen="vector"),
            "You choose one k for all latent dimensions. In this factorisation each dimension has a mixture of its own, and "
            "chooses for itself (for better or worse: see exercise 5, and what is measured below).",
        ),
        Mistake(
            "one ε for the whole vector",
            drawn(noise="vector"),
            "All dimensions of a sample stray by the same number of σ: one noise was broadcast. Draw with the shape of the "
            "result.",
        ),
        Mistake(
            "one draw for the whole batch",
            drawn(chosen="batch", noise="batch"),
            "All samples of the batch get the same dice, by broadcasting. A thousand dreams would all be one.",
        ),
        Mistake(
            "shared over the time steps",
            drawn(noise="time"),
            "In a batch of sequences (B, T, Z, K) all steps of one sequence get the same dice, by broadcasting, such as "
            "`torch.randn(B, 1, Z)`. Chance in a dream would be thrown once, at its start. Draw with the shape of the result, "
            "`mu.shape[:-1]`.",
        ),
        Mistake(
            "the first row's for all",
            drawn(swap=lambda part: part[:1].expand(part.shape)),
            "Weights, means or widths of the first row (`[0]`) serve the whole batch. Where all rows are alike nobody notices; "
            "in a dream each has its own forecast.",
        ),
        Mistake(
            "the first dimension's for all",
            drawn(swap=lambda part: part[..., :1, :].expand(part.shape)),
            "Weights, means or widths of the first latent dimension serve all of them. Each dimension has a mixture of its own: "
            "`gather` along K, the last axis, keeps them apart.",
        ),
        Mistake(
            "the rows in another order",
            drawn(swap=lambda part: part.flip(0)),
            "The draws are right, but they are returned in another order than the mixtures came in: row i must be drawn from "
            "the mixtures of row i. It happens in a reshape to a list of mixtures and back.",
        ),
        Mistake(
            "log σ read as log σ²",
            drawn(width=lambda log_sigma, t: math.sqrt(t) * torch.exp(0.5 * log_sigma)),
            "`log_sigma` is log σ, so σ = exp(log_sigma). The ½ belongs to `logvar`, in the VAE.",
        ),
        Mistake(
            "log σ used as σ",
            drawn(width=lambda log_sigma, t: math.sqrt(t) * log_sigma),
            "You multiply the noise with log σ itself: it is a logarithm, and negative where σ < 1. `torch.exp` undoes it.",
        ),
        Mistake(
            "σ² in place of σ",
            drawn(width=lambda log_sigma, t: math.sqrt(t) * torch.exp(2 * log_sigma)),
            "exp(2·log_sigma) is the variance. Noise is multiplied by the standard deviation, exp(log_sigma).",
        ),
        Mistake(
            "the width is missing",
            drawn(width=lambda log_sigma, t: math.sqrt(t) * torch.ones_like(log_sigma)),
            "You add ε with no σ: every component is then as wide as the standard normal.",
        ),
        Mistake(
            "division by zero at τ = 0",
            drawn(zero=False),
            "log π / 0 is −∞ everywhere, and its softmax NaN. The limit τ → 0 is the mean of the most likely component: treat it first. "
            "The planner of lesson 11 dreams at τ = 0.",
        ),
        Mistake(
            "almost 0 in place of 0",
            drawn(almost=1e-4),
            "`max(temperature, 1e-4)`, or `temperature + 1e-4`, avoids the division by zero, and leaves a little noise: √τ is a "
            "hundredth where τ is a ten-thousandth. At τ = 0 nothing is left to chance: gather the mean directly.",
        ),
        Mistake(
            "the mixture's mean at τ = 0",
            drawn(cold="mean"),
            "Without chance does not mean in the middle. As τ → 0 the weight π^(1/τ) of the likeliest component goes to 1, and its "
            "mean is left.",
        ),
        Mistake(
            "the highest peak at τ = 0",
            drawn(cold="peak"),
            "You take the component with the largest π/σ, the highest single bell. τ sharpens *weights*: as τ → 0 the largest π "
            "takes all, however wide its bell. (The highest point is exercise 7.)",
        ),
        Mistake(
            "the generator is ignored",
            drawn(own=False),
            "The draws are right, but `generator` is not used: whoever passes one cannot repeat the dream. Give it to "
            "`torch.rand` and to `torch.randn`.",
        ),
        Mistake(
            "a seed inside of the function",
            drawn(seed=42),
            "With a seed in the function every step of the dream gets the same noise, and a dream drifts off in a straight "
            "line. Seed once, outside.",
        ),
    ),
    (sample_with_gumbel, sample_with_multinomial, sample_from_distributions),
    reference=sample_mixture,
    shown=sample_shown,
    cases=sample_cases,
    properties=sample_properties,
    expects="one draw for each latent dimension, shape (..., Z), in mu's dtype: a component with probability ∝ π^(1/τ), then "
    "N(μ, τ·σ²); at τ = 0 the mean of the most likely component",
    checked="Shapes and dtypes on five fresh inputs; then on 4,000 draws in three dimensions, in whatever order you draw: shares "
    "and widths at τ = ½, 1 and 2, independence, normality, τ = 0, the seed and the generator.",
    equivalent={
        "line 17: + became -": "−ε is as normal as ε, so μ − σ·ε has the same distribution",
        "gradient cut": "a dream is drawn, not differentiated: torch.distributions' sample() cuts the gradient, too",
    },
    part=True,
)


# --- 5 · One mixture over the whole vector


def joint_cases(rng: Rng) -> Iterator[Case]:
    yield Case(draw_mixture(rng, 4, 3, 2, kind=np.float32, shared=True), "a small batch", BY)
    yield Case(draw_mixture(rng, 1, 2, 5, shared=True), "a batch of one, five components", BY)
    yield Case(draw_mixture(rng, 3, int(rng.integers(4, 7)), 4, 3, shared=True), "a batch of sequences", BY)
    yield Case(draw_mixture(rng, 5, 3, 3, shared=True), "as many dimensions as components", BY)
    yield far_away(rng, shared=True)
    many = draw_mixture(rng, 2, 200, 3, kind=np.float32, shared=True)
    many["log_sigma"] += np.float32(1.5)
    yield Case(many, "200 latent dimensions", BY)


def joint_mixture_nll(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    standard = (target.unsqueeze(-1) - mu) * torch.exp(-log_sigma)  # (..., Z, K)
    log_component = -(0.5 * standard.square() + log_sigma).sum(dim=-2)  # (..., K): all dimensions of a component
    constant = 0.5 * math.log(2 * math.pi) * target.shape[-1]
    return constant - torch.logsumexp(log_pi + log_component, dim=-1)


def joint(combine: str = "right", **options: Any) -> Answer:
    def wrong(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
        width, own = options.get("width", 1.0), options.get("own", 1.0)
        log_c = 0.5 * math.log(2 * math.pi)
        half = options.get("half", 0.5)
        each = -half * ((target.unsqueeze(-1) - mu) * torch.exp(-width * log_sigma)) ** 2 - own * log_sigma - log_c
        if combine == "dimension":
            return -torch.logsumexp(log_pi.unsqueeze(-2) + each, -1).sum(-1)
        if combine == "weights each":
            return -torch.logsumexp((log_pi.unsqueeze(-2) + each).sum(-2), -1)
        if combine == "mean":
            return -torch.logsumexp(log_pi + each.mean(-2), -1)
        if combine == "sum of logs":
            return -(log_pi + each.sum(-2)).sum(-1)
        if combine == "mean of logs":
            return -(log_pi.exp() * each.sum(-2)).sum(-1)
        if combine == "product":
            return -torch.log((log_pi.exp() * each.exp().prod(-2)).sum(-1))
        if combine == "best":
            return -(log_pi + each.sum(-2)).amax(-1)
        if combine == "divided":
            return -torch.logsumexp(log_pi + each.sum(-2), -1) / each.shape[-2]
        if combine == "all":
            return -torch.logsumexp(log_pi + each.sum(-2), -1).mean()
        if combine == "components first":
            return -torch.logsumexp((log_pi.unsqueeze(-2) + each).sum(-1), -1)
        if combine == "densities added":
            return -torch.logsumexp(log_pi + torch.logsumexp(each, -2), -1)
        if combine == "once":
            return -torch.logsumexp(log_pi + (each + log_c).sum(-2), -1) + log_c
        if combine == "none":
            return -torch.logsumexp(log_pi + (each + log_c).sum(-2), -1)
        if combine == "linear":
            return -torch.logsumexp(log_pi.exp() + each.sum(-2), -1)
        if combine == "ignored":
            return -torch.logsumexp(each.sum(-2), -1)
        if combine == "cut":
            return -torch.logsumexp(log_pi.detach() + each.sum(-2), -1)
        return options.get("sign", -1.0) * torch.logsumexp(log_pi + each.sum(-2), -1)

    return wrong


def joint_from_distributions(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    components = Independent(Normal(mu.transpose(-1, -2), log_sigma.transpose(-1, -2).exp()), 1)
    return -MixtureSameFamily(Categorical(logits=log_pi), components).log_prob(target)


def joint_by_component(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    logs = []
    for k in range(mu.shape[-1]):
        normal = Normal(mu[..., k], log_sigma[..., k].exp())
        logs.append(log_pi[..., k] + normal.log_prob(target).sum(-1))
    return -torch.stack(logs, dim=-1).logsumexp(dim=-1)


JOINT = Likelihood(
    "joint_mixture_nll",
    "One mixture over the whole vector",
    10,
    2,
    (
        "Here a component is a Gaussian over *all* Z dimensions at once. What is its log-density at the target, given that its "
        "dimensions are independent?",
        "The sum over the dimensions (axis −2 of (..., Z, K)) gives (..., K). Only then come the weight, one for each "
        "component, and log-sum-exp over K.",
        "`torch.logsumexp(log_pi + log_component.sum(dim=-2), dim=-1)`, with a minus and Z times the constant.",
    ),
    (
        Mistake(
            "a mixture for each dimension",
            joint("dimension"),
            "You take log-sum-exp in each dimension and add up then: every dimension chooses its component for itself. That is "
            "exercise 1's factorisation, with weights that happen to be shared.",
        ),
        Mistake(
            "the weight counted once for each dimension",
            joint("weights each"),
            "log π belongs to the component, and is added once, after the sum over dimensions. You add it Z times: π^Z. It is "
            "tempting because the broadcast works.",
        ),
        Mistake(
            "mean over the latent dimensions",
            joint("mean"),
            "log N of a vector is the sum over its dimensions. A mean makes the components look more alike than they are.",
        ),
        Mistake(
            "divided by Z",
            joint("divided"),
            "The density is that of the whole vector. Divided by Z the number is nobody's log-likelihood: nats per dimension "
            "cannot be added to the nats of reward and done (lesson 08).",
        ),
        Mistake(
            "one number for the batch",
            joint("all"),
            "You average over batch and time, too early: one number for each sample or step is asked for.",
        ),
        Mistake(
            "the two axes exchanged",
            joint("components first"),
            "You add up over the components (−1), and take log-sum-exp over the latent dimensions. It is the other way round: the "
            "*product* is over dimensions, −2, the *sum* over components.",
        ),
        Mistake(
            "densities added over the dimensions",
            joint("densities added"),
            "A vector's density is the *product* over its dimensions: add the logarithms (`sum(dim=-2)`). You added densities, as "
            "if the target were one of its dimensions, by chance.",
        ),
        Mistake(
            "the sum of logs for the log of the sum",
            joint("sum of logs"),
            "Adding the components' logarithms multiplies their densities. The sum over components stands inside the logarithm.",
        ),
        Mistake(
            "the mean of the components' logs",
            joint("mean of logs"),
            "Σ π·log N: every component must explain every target. The log belongs outside of the sum.",
        ),
        Mistake(
            "densities multiplied until they underflow",
            joint("product"),
            "A product of 200 densities is 0 in float32, and its log −∞. Here the danger is Z times larger than in one dimension: "
            "add logarithms.",
        ),
        Mistake(
            "only the best component",
            joint("best"),
            "The largest term is not the sum. It is close where one component rules, and the others get no gradient.",
        ),
        Mistake(
            "log σ read as log σ²",
            joint(width=0.5, own=0.5),
            "`log_sigma` is log σ: 1/σ = exp(−log_sigma).",
        ),
        Mistake(
            "σ in place of σ²",
            joint(width=0.5),
            "The squared distance is divided by σ² = exp(2·log_sigma). You divide it by σ.",
        ),
        Mistake(
            "the constant only once",
            joint("once"),
            "½·log 2π comes with each of the Z dimensions.",
        ),
        Mistake(
            "without the constant",
            joint("none"),
            "Z·½·log 2π is missing. Two factorisations can only be compared if both are true densities.",
        ),
        Mistake(
            "the log σ of the density is missing",
            joint(own=0.0),
            "log N contains −log σ, in every dimension. Without it wider is always better.",
        ),
        Mistake(
            "the ½ of the exponent is missing",
            joint(half=1.0),
            "The exponent is −½·((z − μ)/σ)². Without the ½ every σ comes out √2 too large.",
        ),
        Mistake(
            "π where log π belongs",
            joint("linear"),
            "In log space weights are added as logarithms. You added exp(log_pi).",
        ),
        Mistake("the weights are ignored", joint("ignored"), "log π is missing: the density integrates to K."),
        Mistake("the sign", joint(sign=1.0), "This is the log-likelihood. The loss is its negative."),
        Mistake(
            WEIGHTS_CUT,
            joint("cut"),
            "The values are right, but the gradient that reaches the logits behind `log_pi` is not: the weights stay what they "
            "were.",
        ),
    ),
    (joint_from_distributions, joint_by_component),
    reference=joint_mixture_nll,
    cases=joint_cases,
    expects="-log p(target) in nats, one number for each sample or step, from one weight for each component, (..., K)",
    checked="Values and gradients (those by the weights through their logits) on six fresh inputs, sequences and underflow "
    "among them.",
    tolerance=3.0,
)


# --- 6 · Calibration


def pit_cases(rng: Rng) -> Iterator[Case]:
    yield Case(draw_mixture(rng, 4, 3, 2, kind=np.float32), "a small batch", BY)
    yield Case(draw_mixture(rng, 1, 2, 5), "a batch of one, five components", BY)
    yield Case(draw_mixture(rng, 3, int(rng.integers(4, 7)), 2, 3), "a batch of sequences", BY)
    yield Case(draw_mixture(rng, 6, 3, 1), "a single component", BY)


def pit(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    standard = (target.unsqueeze(-1) - mu) * torch.exp(-log_sigma)
    below = 0.5 * (1 + torch.erf(standard / math.sqrt(2)))  # Φ, the share of each component below the target
    return (torch.exp(log_pi) * below).sum(dim=-1)


def ranked(how: str = "right", width: float = 1.0, root: float = math.sqrt(2), weights: str = "given") -> Answer:
    def wrong(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
        pi = log_pi.exp()
        standard = (target.unsqueeze(-1) - mu) * torch.exp(-width * log_sigma)
        below = 0.5 * (1 + torch.erf(standard / root))
        if how == "density":
            return (pi * torch.exp(-0.5 * standard**2 - log_sigma) / math.sqrt(2 * math.pi)).sum(-1)
        if how == "gaussian":
            mean = (pi * mu).sum(-1)
            variance = (pi * (mu**2 + torch.exp(2 * log_sigma))).sum(-1) - mean**2
            return 0.5 * (1 + torch.erf((target - mean) / torch.sqrt(2 * variance)))
        if how == "argument":
            return 0.5 * (1 + torch.erf((pi * standard).sum(-1) / root))
        if how == "best":
            return below.gather(-1, log_pi.argmax(-1, keepdim=True)).squeeze(-1)
        if how == "erf":
            return (pi * torch.erf(standard / root)).sum(-1)
        if how == "above":
            return (pi * (1 - below)).sum(-1)
        if how == "responsible":
            return (responsibilities(target, log_pi, mu, log_sigma) * below).sum(-1)
        if how == "product":
            return (pi * below).sum(-1).prod(-1)
        if how == "mean":
            return below.mean(-1)
        if how == "sum":
            return below.sum(-1)
        if how == "averaged":
            return (pi * below).sum(-1).mean(-1)
        if how == "sigmoid":
            return (pi * torch.sigmoid(standard)).sum(-1)
        if weights == "log":
            return (log_pi * below).sum(-1)
        return (pi * below).sum(-1)

    return wrong


def pit_from_distributions(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    return MixtureSameFamily(Categorical(logits=log_pi), Normal(mu, log_sigma.exp())).cdf(target)


def pit_with_ndtr(target: Tensor, log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    below = torch.special.ndtr((target[..., None] - mu) / log_sigma.exp())
    return torch.einsum("...k,...k->...", torch.softmax(log_pi, -1), below)


PIT = Exercise(
    "pit",
    "Is it as sure as it should be",
    10,
    2,
    (
        "F(z) = P(Z ≤ z) is the share of the mixture below the target. A share of a mixture is the weighted share of its "
        "components.",
        "For one component it is Φ((z − μ)/σ), and Φ(s) = ½·(1 + erf(s/√2)): `torch.erf`.",
        "`(torch.exp(log_pi) * 0.5 * (1 + torch.erf(standard / math.sqrt(2)))).sum(dim=-1)`.",
    ),
    (
        Mistake(
            "the density in place of the share below",
            ranked("density"),
            "This is p(z), the height. Calibration asks for F(z), the area to the left, which lies between 0 and 1.",
        ),
        Mistake(
            "the share above",
            ranked("above"),
            "You return 1 − F. A uniform histogram would not show it; one that leans to a side would lean to the other.",
        ),
        Mistake(
            "as if it were one Gaussian",
            ranked("gaussian"),
            "You squeeze the mixture into a bell with its mean and variance, and rank the target in that. Whether a forecast with "
            "two humps is calibrated, one hump cannot tell.",
        ),
        Mistake(
            "the average inside of Φ",
            ranked("argument"),
            "You average the standardised distances and apply Φ then. Shares average, distances do not.",
        ),
        Mistake(
            "only the most likely component",
            ranked("best"),
            "The forecast was the whole mixture. Ranked in its largest component, targets of the others all lie at 0 or 1.",
        ),
        Mistake(
            "weighted with the responsibilities",
            ranked("responsible"),
            "γ has seen the target; a forecast has not. The weights of F are π.",
        ),
        Mistake(
            "all components alike",
            ranked("mean"),
            "A mean over K gives each component 1/K. Its weight is π_k = exp(log_pi).",
        ),
        Mistake(
            "the weights are missing",
            ranked("sum"),
            "The components' shares are added up without π: far to the right that makes K, not 1.",
        ),
        Mistake(
            "log π where π belongs",
            ranked(weights="log"),
            "The weights come as logarithms: exp(log_pi) is π. Yours are negative.",
        ),
        Mistake(
            "erf taken for Φ",
            ranked("erf"),
            "erf goes from −1 to 1. Φ(s) = ½·(1 + erf(s/√2)) goes from 0 to 1.",
        ),
        Mistake(
            "the √2 is missing",
            ranked(root=1.0),
            "erf is the share of a bell with σ = 1/√2. For the standard normal it is erf(s/√2).",
        ),
        Mistake(
            "2 in place of √2",
            ranked(root=2.0),
            "The exponents are s²/2 in Φ and t² in erf, so t = s/√2, not s/2.",
        ),
        Mistake(
            "a sigmoid for Φ",
            ranked("sigmoid"),
            "A sigmoid has the same S shape, and wider tails: it is the share below of another distribution, the logistic. Φ(s) "
            "is ½·(1 + erf(s/√2)), or `torch.special.ndtr`.",
        ),
        Mistake(
            "not divided by σ",
            ranked(width=0.0),
            "Φ asks how many *standard deviations* below z a mean lies. You give it the distance itself.",
        ),
        Mistake(
            "multiplied by σ",
            ranked(width=-1.0),
            "1/σ is exp(−log_sigma). You multiply the distance by σ.",
        ),
        Mistake(
            "log σ read as log σ²",
            ranked(width=0.5),
            "`log_sigma` is log σ: 1/σ = exp(−log_sigma).",
        ),
        Mistake(
            "σ² in place of σ",
            ranked(width=2.0),
            "You divide the distance by the variance, exp(2·log_sigma). Φ asks how many *standard deviations* below z a mean lies.",
        ),
        Mistake(
            "the product over the dimensions",
            ranked("product"),
            "The shares of different dimensions are looked at one by one: return (..., Z). Their product is not uniform even for "
            "a perfect forecast.",
        ),
        Mistake(
            "averaged over the dimensions",
            ranked("averaged"),
            "Each latent dimension gets a rank of its own: return (..., Z). An average of several ranks crowds around ½, even for "
            "a perfect forecast.",
        ),
    ),
    (pit_from_distributions, pit_with_ndtr),
    reference=pit,
    cases=pit_cases,
    expects="F(target) of each latent dimension, shape (..., Z), between 0 and 1",
    checked="Values and gradients on four fresh inputs.",
)


# --- 7 · The highest point


MIXTURES: dict[str, tuple[list[float], list[float], list[float]]] = {  # π, μ, σ
    "a wide bell of more weight, a narrow one that is higher": ([0.6, 0.4], [0.0, 4.0], [1.0, 0.3]),
    "two bells that run into each other, and one apart": ([0.5, 0.3, 0.2], [0.0, 0.9, 5.0], [1.0, 0.6, 0.4]),
    "two smaller bells that together are the highest": ([0.45, 0.33, 0.22], [0.0, 3.0, 3.5], [0.7, 0.7, 0.6]),
    "a needle of little weight far from a high hill": ([0.99, 0.01], [0.0, 10.0], [1.0, 0.1]),
    "a hill between two means, and a mean that stands higher than either": (
        [0.31, 0.31, 0.38],
        [-0.9, 0.9, 10.0],
        [1.0, 1.0, 1.0],
    ),
}


def mode_cases(rng: Rng) -> Iterator[Case]:
    def made(names: list[str], lead: tuple[int, ...], about: str, steps: int = 300, kind: Any = np.float64) -> Case:
        """One dimension for each name; every second row has its components in the reverse order."""
        pi, mu, sigma = (np.array([MIXTURES[name][i] for name in names]) for i in range(3))  # (Z, K)
        parts = [np.broadcast_to(part, (*lead, *pi.shape)).copy() for part in (pi, mu, sigma)]
        for part in parts:
            part[1::2] = part[1::2, ..., ::-1]  # the order of components must not matter
        scale, side = rng.uniform(0.7, 1.4, (*lead, 1, 1)), rng.choice([-1, 1], (*lead, len(names), 1))
        means = scale * parts[1] + side * rng.uniform(1, 3, side.shape)
        inputs = {"log_pi": np.log(parts[0]), "mu": means, "log_sigma": np.log(scale * parts[2])}
        return Case({name: v.astype(kind) for name, v in inputs.items()} | {"steps": steps}, about)

    wide, run_together, _, needle, _ = MIXTURES
    for name in MIXTURES:
        yield made([name], (2,), name, kind=np.float32 if name == needle else np.float64)
    yield made([wide, needle], (3, 2), "sequences (B, T, Z, K), with other hills in each dimension")
    yield made([run_together], (2,), "no more than two steps", steps=2)


def find_mode(log_pi: Tensor, mu: Tensor, log_sigma: Tensor, steps: int = 300) -> Tensor:
    def log_joint(z: Tensor) -> Tensor:  # (..., Z, S) points -> (..., Z, S, K), log π·N but for a constant
        standard = (z.unsqueeze(-1) - mu.unsqueeze(-2)) * torch.exp(-log_sigma).unsqueeze(-2)
        return (log_pi - log_sigma).unsqueeze(-2) - 0.5 * standard.square()

    precision = torch.exp(-2 * log_sigma).unsqueeze(-2)  # 1/σ²
    z = mu  # one climber starts at each component's mean
    for _ in range(steps):
        pull = torch.softmax(log_joint(z), dim=-1) * precision
        z = (pull * mu.unsqueeze(-2)).sum(dim=-1) / pull.sum(dim=-1)
    highest = torch.logsumexp(log_joint(z), dim=-1).argmax(dim=-1, keepdim=True)
    return z.gather(-1, highest).squeeze(-1)


def climbed(
    start: str = "means",
    precision: float = 1.0,
    prior: float = 1.0,
    own: float = 1.0,
    choose: str = "density",
    steps: int | None = None,
    fewer: int = 0,
    axis: int = -2,
    weigh: str = "γ",
) -> Answer:
    def wrong(log_pi: Tensor, mu: Tensor, log_sigma: Tensor, steps_given: int = 300) -> Tensor:
        def log_joint(z: Tensor, prior: float, own: float) -> Tensor:
            standard = (z.unsqueeze(-1) - mu.unsqueeze(axis)) * torch.exp(-log_sigma).unsqueeze(axis)
            return (prior * log_pi - own * log_sigma).unsqueeze(axis) - 0.5 * standard**2

        k = log_pi.argmax(-1, keepdim=True)
        z = {
            "means": mu,
            "mean": (log_pi.exp() * mu).sum(-1, keepdim=True),
            "likeliest": mu.gather(-1, k),
            "peak": mu.gather(-1, (log_pi - log_sigma).argmax(-1, keepdim=True)),
            "highest": mu.gather(-1, torch.logsumexp(log_joint(mu, 1.0, 1.0), -1).argmax(-1, keepdim=True)),
        }[start]
        for _ in range((steps_given if steps is None else steps) - fewer):
            share = torch.softmax(log_joint(z, prior, own), -1)
            if weigh == "π":
                share = log_pi.exp().unsqueeze(axis).expand(share.shape)
            pull = share * torch.exp(-2 * precision * log_sigma).unsqueeze(axis)
            z = (pull * mu.unsqueeze(axis)).sum(-1) / pull.sum(-1)
        if choose == "peak":
            return mu.gather(-1, (log_pi - log_sigma).argmax(-1, keepdim=True)).squeeze(-1)
        if choose == "average":
            return (log_pi.exp() * z).sum(-1)
        height = torch.logsumexp(log_joint(z, 1.0, 0.0 if choose == "no log σ" else 1.0), -1)
        if choose == "together":
            height = height.sum(-2, keepdim=True).expand(height.shape)
        best = (height.argmin if choose == "lowest" else height.argmax)(-1, keepdim=True)
        return z.gather(-1, best).squeeze(-1)

    return wrong


def climb_alone(log_pi: Tensor, mu: Tensor, log_sigma: Tensor, steps: int = 300) -> Tensor:
    """As many numbers as there are climbers, and yet only one climber: each mean meets its own component alone."""
    z = mu
    for _ in range(steps):
        log_joint = log_pi - log_sigma - 0.5 * ((z - mu) * torch.exp(-log_sigma)) ** 2
        pull = torch.softmax(log_joint, -1) * torch.exp(-2 * log_sigma)
        z = (pull * mu).sum(-1, keepdim=True) / pull.sum(-1, keepdim=True)
    return z[..., 0] if steps else (log_pi.exp() * mu).sum(-1)


def mode_by_loops(log_pi: Tensor, mu: Tensor, log_sigma: Tensor, steps: int = 300) -> Tensor:
    def one(log_pi: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
        best, height = mu[0], -math.inf
        for start in mu:
            z = start
            for _ in range(min(steps, 120)):  # far more than these hills need
                gamma = torch.softmax(log_pi + Normal(mu, log_sigma.exp()).log_prob(z), 0) / torch.exp(2 * log_sigma)
                z = (gamma * mu).sum() / gamma.sum()
            here = float(torch.logsumexp(log_pi + Normal(mu, log_sigma.exp()).log_prob(z), 0))
            if here > height:
                best, height = z, here
        return best

    flat = [part.reshape(-1, mu.shape[-1]) for part in (log_pi, mu, log_sigma)]
    return torch.stack([one(*row) for row in zip(*flat, strict=True)]).reshape(mu.shape[:-1])


def mode_one_climber_at_a_time(log_pi: Tensor, mu: Tensor, log_sigma: Tensor, steps: int = 300) -> Tensor:
    var, normal = torch.exp(2 * log_sigma), Normal(mu, log_sigma.exp())
    ends, heights = [], []
    for start in mu.unbind(-1):
        z = start
        for _ in range(steps):
            w = responsibilities(z, log_pi, mu, log_sigma) / var
            z = torch.einsum("...k,...k->...", w, mu) / w.sum(-1)
        ends.append(z)
        heights.append((log_pi + normal.log_prob(z[..., None])).logsumexp(-1))
    return torch.stack(ends, -1).gather(-1, torch.stack(heights, -1).argmax(-1, keepdim=True))[..., 0]


MODE = Exercise(
    "find_mode",
    "The highest point",
    20,
    3,
    (
        "Put the slope of log p to zero: Σ γ_k·(μ_k − z)/σ_k² = 0. Solve for the z outside of γ: what average of the means is it?",
        "z ← Σ γ_k·μ_k/σ_k² / Σ γ_k/σ_k², again and again: each step goes uphill. But it finds *a* hill, so start at each of "
        "the K means, `z = mu`, with an axis more: points (..., Z, S) against components (..., Z, 1, K).",
        "At the end compare heights, log-sum-exp of log π + log N at each end point, and `gather` the z of the largest.",
    ),
    (
        Mistake(
            "the mean of the mixture",
            lambda log_pi, mu, log_sigma, steps: (log_pi.exp() * mu).sum(-1),
            "Σ π·μ is where the mixture balances, not where it is highest. Between two hills it is in the valley.",
        ),
        Mistake(
            "the mean of the most likely component",
            climbed(start="likeliest", steps=0),
            "That is what τ = 0 returns. A component of more weight may be so wide that a narrower one rises above it; and its own "
            "mean is only near a peak, since its neighbours pull.",
        ),
        Mistake(
            "the mean of the highest single component",
            climbed(choose="peak"),
            "You compare π/σ, the components' own peaks. But densities add up: two that stand close together may be higher "
            "than either, and the top then lies between their means.",
        ),
        Mistake(
            "uphill from the most likely component alone",
            climbed(start="likeliest"),
            "You climb one hill, the one of the component with the largest π. The highest may be another's: start at all "
            "means, and compare.",
        ),
        Mistake(
            "uphill from the mixture's mean",
            climbed(start="mean"),
            "From the valley one climbs whichever hill is nearer. Start at the means of the components.",
        ),
        Mistake(
            "uphill from the highest single peak alone",
            climbed(start="peak"),
            "You climb from the component with the largest π/σ. Two that stand close together may make a higher hill, and nobody "
            "climbs it: start at all means.",
        ),
        Mistake(
            "π in place of γ",
            climbed(weigh="π"),
            "The average of the means is taken with π, and so it is the same from everywhere, after one step. γ depends on z: that is "
            "what leads uphill.",
        ),
        Mistake(
            "an average of the summits",
            climbed(choose="average"),
            "You climb every hill, and average the tops at the end. Between two hills that is the valley again: take the highest.",
        ),
        Mistake(
            "heights without −log σ",
            climbed(choose="no log σ"),
            "You compare π·exp(−½·s²) at the end points. A narrow bell is higher than a wide one: −log σ belongs to the height.",
        ),
        Mistake(
            "the lowest of the hills",
            climbed(choose="lowest"),
            "argmin of the height, or argmax of the negative one: you took the lowest peak.",
        ),
        Mistake(
            "the pulls not divided by σ²",
            climbed(precision=0.0),
            "z ← Σ γ·μ is the step for components of equal width. Here a narrow component pulls harder: γ/σ² is its weight.",
        ),
        Mistake(
            "a factor 1/σ is missing",
            climbed(precision=0.5),
            "Two roads lead here: dividing the pull by σ, where the slope of log N is (μ − z)/σ²; or a γ without the −log σ of the "
            "density. The weight of a mean is π·N/σ², and N itself has a 1/σ: three of them in all.",
        ),
        Mistake(
            "the weights are ignored",
            climbed(prior=0.0),
            "In γ each density is weighted with π. Without it you climb another landscape, where all components count alike.",
        ),
        Mistake(
            "the best of the means, without a climb",
            climbed(steps=0),
            "You compare the density at the K means. A peak lies *near* a mean, but where bells overlap not on it.",
        ),
        Mistake(
            "a single step",
            climbed(steps=1),
            "One step uphill is not the top: repeat it `steps` times.",
        ),
        Mistake(
            "one climber in place of K",
            climb_alone,
            "`z - mu` with both (..., Z, K) compares each climber with one component only, its own, and the sum over K then "
            "leaves a single z: K starts have become one climber, and it ends on whichever hill it happens to be led to. "
            "Every climber feels *all* components: `z.unsqueeze(-1) - mu.unsqueeze(-2)`, (..., Z, S, K).",
        ),
        Mistake(
            "uphill from the highest mean alone",
            climbed(start="highest"),
            "You compare the K means and climb from the best. But the highest *mean* need not lie on the highest *hill*: "
            "where two bells overlap, the hill between their means may rise above the density at every mean. Climb from each, and compare at the end.",
        ),
        Mistake(
            "climbers and components on crossed axes",
            climbed(axis=1),
            "`unsqueeze(1)` counts from the front, and so hits the axis before K only where there is one batch axis and a "
            "single latent dimension. Count from the back: `unsqueeze(-2)`.",
        ),
        Mistake(
            "one winner for all dimensions",
            climbed(choose="together"),
            "You add the heights up over the latent dimensions, and take the same climber in all of them. Each dimension has "
            "a mixture of its own, and so a highest hill of its own.",
        ),
        Mistake(
            "the number of steps is not heeded",
            climbed(steps=300),
            "You climb as far as you like, whatever `steps` says (or find the top by other means, on a grid perhaps: the right "
            "place, but not what was promised). Asked for is where the best climber stands after `steps` steps.",
        ),
        Mistake(
            "one step too few",
            climbed(fewer=1),
            "`range(1, steps)` has steps − 1 numbers. After hundreds of steps nobody notices, after two one does.",
        ),
    ),
    (mode_by_loops, mode_one_climber_at_a_time),
    reference=find_mode,
    cases=mode_cases,
    expects="for each latent dimension the z of the climber that stands highest after `steps` steps, shape (..., Z)",
    checked="Five mixtures on fresh scales, each in both orders of its components: a wide bell of more weight, bells that run "
    "into each other, two that together are the highest.",
    tolerance=10.0,
    equivalent={"gradient cut": "a mode is there to be looked at: nothing is trained through it"},
)

EXERCISES = (NLL, PARTS, RESPONSIBILITIES, SAMPLE, JOINT, PIT, MODE)
