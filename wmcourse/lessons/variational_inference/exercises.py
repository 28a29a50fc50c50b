"""Lesson 01's exercises: their inputs, their right answers, and the mistakes that people make in them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from wmcourse.lessons.exercise import Exercise, Mistake
from wmcourse.lessons.judge import Answer, Case
from wmcourse.variational_inference import elbo

Rng = np.random.Generator


def draw_model(rng: Rng, pixels: int, latent: int, kind: type) -> dict[str, Any]:
    """The linear-Gaussian model: W (D, Z), b (D,), s."""
    scale, mean = rng.normal(0, 1, (pixels, latent)), rng.normal(1, 2, pixels)
    return {"W": scale.astype(kind), "b": mean.astype(kind), "s": float(np.round(rng.uniform(0.4, 0.8), 3))}


# --- 1 · Log joint


def joint_cases(rng: Rng) -> Iterator[Case]:
    names = ("z", "x", "W", "b")
    for samples, batch, pixels, latent, kind, about in (
        (5, 3, 7, 2, np.float32, "a few samples for a small batch"),
        (1, 1, 4, 3, np.float64, "one sample, a batch of one"),
        (6, 2, 5, 1, np.float64, "one latent dimension"),
        (int(rng.integers(3, 6)), int(rng.integers(6, 9)), int(rng.integers(30, 50)), 4, np.float64, "more pixels"),
    ):
        model = draw_model(rng, pixels, latent, kind)
        z = rng.normal(0, 1.3, (samples, batch, latent)).astype(kind)
        x = rng.normal(0, 2, (batch, pixels)).astype(kind)
        yield Case({"z": z, "x": x, **model}, about, names)
    model = draw_model(rng, 40, 2, np.float64) | {"s": 0.01}
    z, x = rng.normal(0, 8, (4, 3, 2)), rng.normal(0, 2, (3, 40))
    yield Case({"z": z, "x": x, **model}, "very little noise, z far out: densities that round to 0", names)


def log_joint(z: Tensor, x: Tensor, W: Tensor, b: Tensor, s: float) -> Tensor:
    mean = z @ W.T + b  # (S, B, D)
    log_prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=-1)
    log_likelihood = -0.5 * ((x - mean).square() / s**2 + math.log(2 * math.pi * s**2)).sum(dim=-1)
    return log_prior + log_likelihood


def joint(
    prior: float = 1.0,
    constant: float = 2 * math.pi,
    power: int = 2,
    normaliser: str = "each",
    over: str = "sum",
    offset: float = 1.0,
    averaged: bool = False,
    sign: float = 1.0,
) -> Answer:
    def wrong(z: Tensor, x: Tensor, W: Tensor, b: Tensor, s: float) -> Tensor:
        misfit = (x - z @ W.T - offset * b).square() / s**power
        log_s = {"each": power * math.log(s), "none": 0.0, "once": power * math.log(s) / x.shape[1]}[normaliser]
        pixels = -0.5 * (misfit + math.log(constant) + log_s)
        latents = -0.5 * (z.square() + math.log(constant))
        log_prior = latents.mean(-1) if over == "mean of both" else latents.sum(-1)
        total = sign * (prior * log_prior + (pixels.sum(-1) if over == "sum" else pixels.mean(-1)))
        return total.mean(0) if averaged else total

    return wrong


def product_of_logs(z: Tensor, x: Tensor, W: Tensor, b: Tensor, s: float) -> Tensor:
    return Normal(0.0, 1.0).log_prob(z).sum(-1) * Normal(z @ W.T + b, s).log_prob(x).sum(-1)


def joint_not_summed(z: Tensor, x: Tensor, W: Tensor, b: Tensor, s: float) -> Tensor:
    return Normal(0.0, 1.0).log_prob(z) + Normal(z @ W.T + b, s).log_prob(x).sum(-1, keepdim=True)


def joint_as_density(z: Tensor, x: Tensor, W: Tensor, b: Tensor, s: float) -> Tensor:
    return log_joint(z, x, W, b, s).exp()


def log_of_a_product(z: Tensor, x: Tensor, W: Tensor, b: Tensor, s: float) -> Tensor:
    prior = (torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)).prod(-1)
    pixels = torch.exp(-0.5 * (x - z @ W.T - b).square() / s**2) / (s * math.sqrt(2 * math.pi))
    return torch.log(prior * pixels.prod(-1))


def joint_from_distributions(z: Tensor, x: Tensor, W: Tensor, b: Tensor, s: float) -> Tensor:
    prior = Normal(torch.zeros_like(z), torch.ones_like(z))
    return prior.log_prob(z).sum(-1) + Normal(torch.einsum("sbz,dz->sbd", z, W) + b, s).log_prob(x).sum(-1)


def joint_by_norms(z: Tensor, x: Tensor, W: Tensor, b: Tensor, s: float) -> Tensor:
    latent, pixels = z.shape[-1], x.shape[-1]
    squares = (z * z).sum(-1) + torch.pow(torch.matmul(z, W.t()) - (x - b), 2).sum(-1) / s**2
    return -squares / 2 - (latent + pixels) / 2 * math.log(2 * math.pi) - pixels * math.log(s)


LOG_JOINT = Exercise(
    "log_joint",
    "The score of a story",
    15,
    2,
    (
        "log p(x, z) = log p(z) + log p(x|z), and both are sums of one-dimensional log N(·; mean, variance): one term for each "
        "latent number, one for each pixel.",
        "log N(y; m, s²) = −½·((y − m)²/s² + log(2π·s²)). For the prior m = 0 and s = 1. The mean of the pixels is "
        "`z @ W.T + b`, shape (S, B, D); x (B, D) broadcasts against it.",
        "`torch.distributions.Normal(mean, std).log_prob(…)` writes it for you, constants included; its second argument is the "
        "standard deviation. Sum over the last axis of each of the two, then add them.",
    ),
    (
        Mistake(
            "the variance for the standard deviation",
            joint(power=4),
            "The notation N(m, s²) names the variance, and `Normal(mean, s**2)` looks like its translation. But torch's second "
            "argument is the standard deviation, s; with s² in its place the pixels have the variance s⁴.",
        ),
        Mistake(
            "the whole normaliser left out",
            joint(constant=1.0, normaliser="none"),
            "You kept the squares alone: `-0.5 * square` is the part of a Gaussian that one remembers. A density has to integrate "
            "to 1, and what sees to it is −½·log 2π for each number and −½·log(2π·s²) for each pixel.",
        ),
        Mistake(
            "means in place of both sums",
            joint(over="mean of both"),
            "The densities of independent numbers multiply, so their logarithms are added, for the Z latents and for the D pixels. "
            "`.mean(-1)` divides the one by Z and the other by D: a habit from losses, where the size does not matter.",
        ),
        Mistake(
            "the sign turned",
            joint(sign=-1.0),
            "This is −log p(x, z), a loss. The exercise asks for the score: the better the story, the *higher*.",
        ),
        Mistake(
            "the logs multiplied",
            product_of_logs,
            "p(z)·p(x|z) is a product, but log(p·q) = log p + log q: what multiplies outside adds up inside.",
        ),
        Mistake(
            "the latents not summed",
            joint_not_summed,
            "The prior's term still has its axis Z, and broadcasting lets it pass: (S, B, Z). The Z latents are independent: sum "
            "their logarithms over the last axis, as you did for the pixels.",
        ),
        Mistake(
            "the prior forgotten",
            joint(prior=0.0),
            "This is log p(x|z) alone: how well a story explains the frame. The joint also asks how likely the story was before "
            "the frame was seen.",
        ),
        Mistake(
            "the constants left out",
            joint(constant=1.0),
            "Without −½·log 2π for each number and pixel, gradients stay right, and that is why many leave it out. But a bound "
            "on log p(x) has to be log p(x)'s own size, or nothing can be compared with it.",
        ),
        Mistake(
            "log s left out",
            joint(normaliser="none"),
            "The Gaussian's normaliser has its own width in it: −log s for each pixel. Without it a larger s always looks "
            "better, since it only shrinks the squares.",
        ),
        Mistake(
            "log s counted once",
            joint(normaliser="once"),
            "Each of the D pixels has its own normaliser: −log s belongs inside the sum, D times.",
        ),
        Mistake(
            "s taken for the variance",
            joint(power=1),
            "s is the standard deviation, and the model says N(Wz + b, s²): the squares are divided by s².",
        ),
        Mistake(
            "mean over the pixels",
            joint(over="mean"),
            "Independent pixels: the densities multiply and the logarithms add up. A mean divides the likelihood by D, so "
            "that the prior counts D times too much. It is tempting because `.mean()` is the habit for losses.",
        ),
        Mistake(
            "b forgotten",
            joint(offset=0.0),
            "The model draws Wz + b. Without b it explains frames around black and not around the average frame.",
        ),
        Mistake(
            "averaged over the samples",
            joint(averaged=True),
            "Each sample z has its own score: shape (S, B). The average comes later, in the bound, with log q subtracted first.",
            "over the samples",
        ),
        Mistake(
            "the density and not its logarithm",
            joint_as_density,
            "This is p(x, z). With many pixels it rounds to 0, or overflows: stay in logarithms.",
        ),
        Mistake(
            "the logarithm of a product",
            log_of_a_product,
            "You multiply the densities first and take the logarithm afterwards. With little noise the product rounds to 0, "
            "and its logarithm is −∞. Add logarithms.",
        ),
    ),
    (joint_from_distributions, joint_by_norms),
    reference=log_joint,
    cases=joint_cases,
    expects="one log-density for each sample and frame, shape (S, B), in nats",
    checked="Values and the gradients by z, x, W and b on five fresh inputs: one sample, a batch of one, one latent dimension, "
    "densities far below what a float can hold; float32 and float64.",
)


# --- 2 · ELBO


def elbo_cases(rng: Rng) -> Iterator[Case]:
    names = ("log_joint", "log_q")
    for shape, kind, about in (
        ((6, 3), np.float32, "six samples for a small batch"),
        ((9,), np.float64, "one frame, no batch axis"),
        ((1, 4), np.float64, "one sample"),
        ((5, 1), np.float32, "a batch of one"),
        ((int(rng.integers(7, 12)), int(rng.integers(2, 5)), 3), np.float64, "two axes behind the samples"),
    ):
        values = rng.normal(-4, 2, shape), rng.normal(-1, 1, shape)
        yield Case(dict(zip(names, (v.astype(kind) for v in values), strict=True)), about, names)
    values = rng.normal(-2e4, 3, (8, 3)), rng.normal(-5, 2, (8, 3))
    yield Case(dict(zip(names, values, strict=True)), "densities that round to 0", names)
    log_q = rng.normal(-1, 1, (7, 2))
    yield Case({"log_joint": log_q - rng.uniform(2, 5, 2), "log_q": log_q}, "q is the posterior", names)


def mean_of_the_logs(log_joint: Tensor, log_q: Tensor) -> Tensor:
    return (log_joint - log_q).mean(dim=0)


def log_of_the_mean(log_joint: Tensor, log_q: Tensor) -> Tensor:
    return torch.logsumexp(log_joint - log_q, dim=0) - math.log(len(log_q))


def log_of_the_mean_that_underflows(log_joint: Tensor, log_q: Tensor) -> Tensor:
    return (log_joint - log_q).exp().mean(0).log()


def without_entropy(log_joint: Tensor, log_q: Tensor) -> Tensor:
    return log_joint.mean(0)


def samples_summed(log_joint: Tensor, log_q: Tensor) -> Tensor:
    return (log_joint - log_q).sum(0)


def under_the_posterior(log_joint: Tensor, log_q: Tensor) -> Tensor:
    log_weights = log_joint - log_q
    return (torch.softmax(log_weights, 0) * log_weights).sum(0)


def elbo_negative(log_joint: Tensor, log_q: Tensor) -> Tensor:
    return (log_q - log_joint).mean(0)


def log_q_added(log_joint: Tensor, log_q: Tensor) -> Tensor:
    return (log_joint + log_q).mean(0)


def elbo_of_everything(log_joint: Tensor, log_q: Tensor) -> Tensor:
    return (log_joint - log_q).mean()


def elbo_over_the_batch(log_joint: Tensor, log_q: Tensor) -> Tensor:
    return (log_joint - log_q).mean(-1)


def log_of_the_sum(log_joint: Tensor, log_q: Tensor) -> Tensor:
    return torch.logsumexp(log_joint - log_q, dim=0)


def weighted_by_q(log_joint: Tensor, log_q: Tensor) -> Tensor:
    return (log_q.exp() * (log_joint - log_q)).sum(0)


def weighted_by_q_and_averaged(log_joint: Tensor, log_q: Tensor) -> Tensor:
    return (log_q.exp() * (log_joint - log_q)).mean(0)


def divided_by_one_less(log_joint: Tensor, log_q: Tensor) -> Tensor:
    return (log_joint - log_q).sum(0) / (len(log_q) - 1)


def the_best_sample(log_joint: Tensor, log_q: Tensor) -> Tensor:
    return (log_joint - log_q).max(0).values


def quotient_of_logs(log_joint: Tensor, log_q: Tensor) -> Tensor:
    return (log_joint / log_q).mean(0)


def elbo_in_two_means(log_joint: Tensor, log_q: Tensor) -> Tensor:
    entropy = -torch.mean(log_q, 0)
    return torch.mean(log_joint, 0) + entropy


def elbo_by_a_loop(log_joint: Tensor, log_q: Tensor) -> Tensor:
    total = torch.zeros_like(log_joint[0])
    for joint_s, q_s in zip(log_joint, log_q, strict=True):
        total = total + joint_s - q_s
    return total / log_joint.shape[0]


def elbo_by_weights(log_joint: Tensor, log_q: Tensor) -> Tensor:
    share = log_q.new_full((log_q.shape[0],), 1 / log_q.shape[0])
    return torch.tensordot(share, log_joint - log_q, dims=1)


ELBO = Exercise(
    "elbo",
    "The bound, from samples",
    5,
    1,
    (
        "The ELBO is an expectation under q: E_q[log p(x, z) − log q(z)]. You have samples from q. How is an expectation "
        "estimated from samples?",
        "Two numbers for each sample, one difference; then what an expectation is over samples, along the axis that holds "
        "them. No logarithm is left to take.",
    ),
    (
        Mistake(
            "the log of a mean",
            log_of_the_mean,
            "You average the weights p/q and take the logarithm afterwards. It is tempting, since log p(x) *is* the log of a "
            "mean, and the number that comes out is nearer to it. But it is another bound (the importance-weighted one, which "
            "you meet below), whose value depends on how many samples you take. The ELBO is the mean of the logs.",
        ),
        Mistake(
            "the log of a mean, taken naively",
            log_of_the_mean_that_underflows,
            "Two things at once: the ELBO is the mean of logs and not the log of a mean; and exp of −20,000 is 0, whose "
            "logarithm is −∞. Densities of pictures never leave log space.",
        ),
        Mistake(
            "the entropy dropped",
            without_entropy,
            "You average log p(x, z) alone. Then the best q is a spike on the single best z: nothing rewards it for spreading. "
            "E_q[−log q], the entropy, is what does. It is tempting because log q has nothing to do with the frame.",
        ),
        Mistake(
            "summed over the samples",
            samples_summed,
            "An expectation is a mean. A sum grows with the number of samples, and a hundred of them put it a hundred times "
            "below log p(x). (Over *pixels* one sums. Samples are guesses at one number, pixels are parts of one.)",
        ),
        Mistake(
            "the KL the wrong way round",
            under_the_posterior,
            "You weight the samples by p/q, which turns the expectation under q into one under the posterior. What comes out "
            "tends, with many samples, to log p(x) + KL(p(z|x) ‖ q): the other KL, and a number *above* log p(x). A lower bound "
            "weights all samples alike.",
        ),
        Mistake(
            "the sign turned",
            elbo_negative,
            "This is −ELBO, the loss that one minimises. The bound itself is log p − log q.",
        ),
        Mistake(
            "log q added",
            log_q_added,
            "log q is subtracted: where q is sure of itself (log q large), the bound asks a price for it.",
        ),
        Mistake(
            "the mean of everything",
            elbo_of_everything,
            "This averages over the frames, too. Each frame has its own bound: only the first axis, the samples, goes.",
        ),
        Mistake(
            "the mean over the last axis",
            elbo_over_the_batch,
            "`dim=-1` holds different frames here. The samples are on the first axis: `dim=0`.",
        ),
        Mistake(
            "the log of a sum",
            log_of_the_sum,
            "`logsumexp` adds the weights p/q up without dividing by S, and takes one logarithm of it all. Divided by S it would be the "
            "importance-weighted bound; the ELBO is neither, but the mean of the logs.",
        ),
        Mistake(
            "weighted by q once more",
            weighted_by_q,
            "∫ q·log(p/q) dz has a q in it, so one multiplies by it. But the samples come from q: where q is large there are "
            "many of them already. A plain mean over them *is* the integral.",
        ),
        Mistake(
            "weighted by q, then averaged",
            weighted_by_q_and_averaged,
            "You multiply by q and average, so q counts twice: once in how often a sample comes, and once in your factor. What comes "
            "out is an estimate of ∫ q²·log(p/q) dz.",
        ),
        Mistake(
            "divided by S − 1",
            divided_by_one_less,
            "S − 1 belongs to a *variance*, whose mean has been estimated from the same samples. A mean is divided by S.",
        ),
        Mistake(
            "only the best sample",
            the_best_sample,
            "The largest of the weights is what dominates an importance-weighted bound. An expectation asks all samples, the poor "
            "ones, too: they are the price of a q that strays.",
        ),
        Mistake(
            "a quotient of logs",
            quotient_of_logs,
            "The log of a quotient p/q is a difference of logs, not a quotient.",
        ),
    ),
    (elbo_in_two_means, elbo_by_a_loop, elbo_by_weights),
    reference=elbo,
    shown=mean_of_the_logs,
    cases=elbo_cases,
    expects="the samples' axis gone, (S, ...) -> (...), in nats, in the inputs' dtype",
    checked="Values and both gradients on seven fresh inputs: no batch axis, a batch of one, one sample, more axes, densities "
    "that round to 0, and a q that is the posterior, where all samples agree.",
    part=True,
)


# --- 3 · Exact posterior


def posterior_cases(rng: Rng) -> Iterator[Case]:
    names = ("x", "W", "b")
    for batch, pixels, latent, kind, about in (
        (3, 6, 2, np.float32, "a small batch"),
        (1, 5, 3, np.float64, "a batch of one"),
        (4, 7, 1, np.float64, "one latent dimension"),
        (int(rng.integers(5, 9)), int(rng.integers(20, 40)), int(rng.integers(4, 7)), np.float64, "more pixels"),
    ):
        model = draw_model(rng, pixels, latent, kind)
        yield Case({"x": rng.normal(0, 2, (batch, pixels)).astype(kind), **model}, about, names)
    model = draw_model(rng, 6, 2, np.float64) | {"s": 30.0}
    yield Case({"x": rng.normal(0, 2, (3, 6)), **model}, "so much noise that the prior is hardly moved", names)


def exact_posterior(x: Tensor, W: Tensor, b: Tensor, s: float) -> tuple[Tensor, Tensor]:
    precision = torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / s**2  # the prior's, and the frame's
    covariance = torch.linalg.inv(precision)
    mean = (x - b) @ W @ covariance / s**2
    return mean, covariance


def posterior(
    prior: float = 1.0,
    power: int = 2,
    offset: float = 1.0,
    scaled: bool = True,
    cov: str = "inverse",
    mean: str = "bayes",
    ones: bool = False,
    swapped: bool = False,
) -> Answer:
    def wrong(x: Tensor, W: Tensor, b: Tensor, s: float) -> tuple[Tensor, Tensor]:
        unit = torch.ones_like(W.T @ W) if ones else torch.eye(W.shape[1], dtype=W.dtype)
        precision = prior * unit + W.T @ W / s**power
        inverse = 1 / precision if cov == "entries" else torch.linalg.inv(precision)
        alone = torch.diag(1 / precision.diagonal())
        pull = (x - offset * b) @ W / (s**power if scaled else 1.0)
        centre = {
            "bayes": pull @ inverse,
            "least squares": (x - b) @ torch.linalg.pinv(W).T,
            "reversed": -pull @ inverse,
            "alone": pull @ alone,
        }[mean]
        spread = {
            "inverse": inverse,
            "entries": inverse,
            "precision": precision,
            "diagonal": alone,
            "cut": torch.diag(inverse.diagonal()),
            "added": torch.eye(W.shape[1], dtype=W.dtype) + s**2 * torch.linalg.inv(W.T @ W),
        }[cov]
        return (spread, centre) if swapped else (centre, spread)

    return wrong


def posterior_by_conditioning(x: Tensor, W: Tensor, b: Tensor, s: float) -> tuple[Tensor, Tensor]:
    # (z, x) is one Gaussian with Cov(z, x) = Wᵀ and Cov(x) = WWᵀ + s²I; condition it on x.
    evidence = W @ W.T + s**2 * torch.eye(len(W), dtype=W.dtype)
    gain = torch.linalg.solve(evidence, W).T  # (Z, D)
    return (x - b) @ gain.T, torch.eye(W.shape[1], dtype=W.dtype) - gain @ W


def posterior_by_cholesky(x: Tensor, W: Tensor, b: Tensor, s: float) -> tuple[Tensor, Tensor]:
    size = W.size(1)
    root = torch.linalg.cholesky(s**2 * torch.eye(size, dtype=W.dtype) + W.t().matmul(W))
    mean = torch.cholesky_solve(W.t() @ (x - b).t(), root).t()
    return mean, s**2 * torch.cholesky_inverse(root)


EXACT_POSTERIOR = Exercise(
    "exact_posterior",
    "The answer that q is after",
    15,
    2,
    (
        "What you did for one number: precisions add. The prior's is the identity; what does the frame add? In one dimension it "
        "was w²/s².",
        "Precision Λ = I + WᵀW/s², a (Z, Z) matrix. Its inverse is the covariance, the same for every frame. The mean is "
        "Λ⁻¹Wᵀ(x − b)/s².",
        "Frames are rows here, (B, D), so the formula's column vectors turn over: (x − b) comes first, and each matrix that stood "
        "before it now stands behind it, transposed. The covariance is symmetric.",
    ),
    (
        Mistake(
            "the prior forgotten",
            posterior(prior=0.0),
            "Without the identity this is least squares, with its covariance. The prior's precision adds to the frame's.",
        ),
        Mistake(
            "the precision returned as covariance",
            posterior(cov="precision"),
            "I + WᵀW/s² is how *sure* one is. The covariance is its inverse.",
        ),
        Mistake(
            "s taken for the variance",
            posterior(power=1),
            "The noise has the variance s²; it divides both WᵀW and the pull of the frame.",
        ),
        Mistake(
            "b forgotten",
            posterior(offset=0.0),
            "Only what differs from the average frame b speaks about z. With x = b the posterior's mean is 0.",
        ),
        Mistake(
            "the mean without 1/s²",
            posterior(scaled=False),
            "The frame pulls with Wᵀ(x − b)/s²: the noisier the pixels, the weaker. You left 1/s² out of the mean.",
        ),
        Mistake(
            "least squares for the mean",
            posterior(mean="least squares"),
            "The pseudo-inverse solves x ≈ Wz + b as if all z were equally likely. The prior shrinks the answer towards 0.",
        ),
        Mistake(
            "only the diagonal",
            posterior(cov="diagonal"),
            "You inverted the diagonal alone. Where WᵀW is not diagonal the numbers in z are correlated given the frame, and "
            "the inverse of the whole matrix is wanted. (Exercise 5 is about what is lost without it.)",
        ),
        Mistake(
            "only the diagonal kept",
            posterior(cov="cut"),
            "You inverted the whole matrix and then threw away what is off its diagonal. Given a frame the numbers in z are "
            "correlated, and the exact posterior knows it.",
        ),
        Mistake(
            "each number by itself",
            posterior(cov="diagonal", mean="alone"),
            "Your one-dimensional formula, for every number of z by itself: as if the others were known to be 0. They compete for "
            "the same pixels: WᵀW has entries off its diagonal, and a matrix must be inverted.",
        ),
        Mistake(
            "inverted entry by entry",
            posterior(cov="entries"),
            "`1 / matrix` turns each *entry* over, as in one dimension. The inverse of a matrix is the one with Λ⁻¹Λ = I: "
            "`torch.linalg.inv`, or better a `solve`.",
        ),
        Mistake(
            "1 added to every entry",
            posterior(ones=True),
            "`1 + W.T @ W / s**2` broadcasts the 1 over all entries. The prior's precision is the identity, with the 1 on the diagonal "
            "only: `torch.eye(Z)`.",
        ),
        Mistake(
            "the two outputs swapped",
            posterior(swapped=True),
            "Both are there, in the other order: first the means (B, Z), then the covariance (Z, Z).",
        ),
        Mistake(
            "covariances added",
            posterior(cov="added"),
            "Independent noise adds up in covariances. Two independent *reports* of the same z add up in precisions, and the "
            "result is narrower than either.",
        ),
        Mistake(
            "the sign of the mean",
            posterior(mean="reversed"),
            "A frame above b along W's column speaks for a positive z: x − b, not b − x.",
        ),
    ),
    (posterior_by_conditioning, posterior_by_cholesky),
    reference=exact_posterior,
    cases=posterior_cases,
    expects="two tensors: the means (B, Z), and one covariance (Z, Z) for all frames",
    checked="Mean and covariance, and the gradients by x, W and b, on five fresh inputs: a batch of one, one latent dimension, "
    "many pixels, noise that drowns the frame; float32 and float64.",
    tolerance=10.0,
)


# --- 4 · Gradient ascent


def ascent_cases(rng: Rng) -> Iterator[Case]:
    for batch, kind, about in (
        (3, np.float32, "a small batch"),
        (1, np.float64, "a batch of one"),
        (int(rng.integers(5, 9)), np.float64, "a larger batch"),
    ):
        mu, log_sigma, x = rng.normal(0, 1.5, batch), rng.normal(-0.5, 0.7, batch), rng.normal(1, 3, batch)
        numbers = [
            rng.uniform(0.6, 2.5) * rng.choice([-1, 1]),
            rng.normal(1, 1),
            rng.uniform(0.4, 0.9),
            rng.uniform(0.01, 0.2),
        ]
        w, b, s, rate = (float(np.round(n, 3)) for n in numbers)
        inputs = {"mu": mu.astype(kind), "log_sigma": log_sigma.astype(kind), "x": x.astype(kind)}
        yield Case(inputs | {"w": w, "b": b, "s": s, "rate": rate}, about)
    w, b, s, x = 1.7, -0.6, 0.5, rng.normal(0, 2, 4)
    top = {"mu": w * (x - b) / (s**2 + w**2), "log_sigma": np.full(4, math.log(s / math.sqrt(s**2 + w**2))), "x": x}
    yield Case(top | {"w": w, "b": b, "s": s, "rate": 0.1}, "at the top already")
    inputs = {"mu": rng.normal(0, 1, 3), "log_sigma": np.array([-12.0, 2.5, 0.0]), "x": rng.normal(0, 2, 3)}
    yield Case(inputs | {"w": 0.8, "b": 0.3, "s": 0.7, "rate": 0.05}, "very narrow and very wide")


def ascent_step(
    mu: Tensor, log_sigma: Tensor, x: Tensor, w: float, b: float, s: float, rate: float
) -> tuple[Tensor, Tensor]:
    by_mu = w * (x - w * mu - b) / s**2 - mu
    by_log_sigma = 1 - torch.exp(2 * log_sigma) * (1 + w**2 / s**2)
    return mu + rate * by_mu, log_sigma + rate * by_log_sigma


def ascent(
    sign: float = 1.0,
    pull: float = 1.0,
    prior_width: float = 1.0,
    entropy: float = 1.0,
    twice: float = 2.0,
    by_sigma: bool = False,
    chain: bool = True,
    power: int = 2,
    only: str = "",
    spread: int = 2,
    over: str = "each",
    returned: str = "log σ",
    forgetful: bool = False,
) -> Answer:
    def wrong(
        mu: Tensor, log_sigma: Tensor, x: Tensor, w: float, b: float, s: float, rate: float
    ) -> tuple[Tensor, Tensor]:
        by_mu = (w if chain else 1.0) * (x - w * mu - b) / s**power - pull * mu
        precision = prior_width + w**spread / s**power
        sigma = torch.exp(twice / 2 * log_sigma)
        by_width = entropy / sigma - sigma * precision
        by_width = by_width if by_sigma else by_width * sigma
        rate = 1.0 if forgetful else rate
        if over == "one for all":
            by_mu, by_width = (slope.mean().expand_as(mu) for slope in (by_mu, by_width))
        elif over == "divided by B":
            by_mu, by_width = by_mu / len(mu), by_width / len(mu)
        if only:
            return (by_mu, by_width) if only == "slopes" else (rate * by_mu, rate * by_width)
        new = mu + sign * rate * by_mu, log_sigma + sign * rate * by_width
        if returned == "σ":
            return new[0], new[1].exp()
        if returned == "swapped":
            return new[1], new[0]
        return new

    return wrong


def in_sigma(logged: bool) -> Answer:
    """A step in σ with the slope by σ, returned as it is or as its logarithm."""

    def wrong(
        mu: Tensor, log_sigma: Tensor, x: Tensor, w: float, b: float, s: float, rate: float
    ) -> tuple[Tensor, Tensor]:
        new_mu, _ = ascent_step(mu, log_sigma, x, w, b, s, rate)
        sigma = log_sigma.exp()
        sigma = sigma + rate * (1 / sigma - sigma * (1 + w**2 / s**2))
        return new_mu, sigma.log() if logged else sigma

    return wrong


def as_if_logvar(
    mu: Tensor, log_sigma: Tensor, x: Tensor, w: float, b: float, s: float, rate: float
) -> tuple[Tensor, Tensor]:
    new_mu, _ = ascent_step(mu, log_sigma, x, w, b, s, rate)
    return new_mu, log_sigma + rate * 0.5 * (1 - log_sigma.exp() * (1 + w**2 / s**2))


def straight_to_the_top(
    mu: Tensor, log_sigma: Tensor, x: Tensor, w: float, b: float, s: float, rate: float
) -> tuple[Tensor, Tensor]:
    return w * (x - b) / (s**2 + w**2), torch.full_like(log_sigma, -0.5 * math.log(1 + w**2 / s**2))


def ascent_by_autograd(
    mu: Tensor, log_sigma: Tensor, x: Tensor, w: float, b: float, s: float, rate: float
) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        mu, log_sigma = mu.detach().clone().requires_grad_(), log_sigma.detach().clone().requires_grad_()
        variance = (2 * log_sigma).exp()
        misfit = (x - w * mu - b) ** 2 + w**2 * variance
        bound = -misfit / (2 * s**2) - (mu**2 + variance) / 2 + log_sigma  # the constants have no slope
        by_mu, by_log_sigma = torch.autograd.grad(bound.sum(), (mu, log_sigma))
    return mu.detach() + rate * by_mu, log_sigma.detach() + rate * by_log_sigma


def ascent_towards_the_posterior(
    mu: Tensor, log_sigma: Tensor, x: Tensor, w: float, b: float, s: float, rate: float
) -> tuple[Tensor, Tensor]:
    precision = 1 + (w / s) ** 2
    target = w * (x - b) / (s * s + w * w)
    ratio = log_sigma.exp().square() * precision  # q's variance in units of the posterior's
    return torch.lerp(mu, target, rate * precision), log_sigma + rate - rate * ratio


ASCENT_STEP = Exercise(
    "ascent_step",
    "One step uphill",
    10,
    2,
    (
        "You have the slope by log σ from the derivation. The slope by μ stands there, too: the reading pulls with "
        "w·(x − wμ − b)/s², the prior with −μ.",
        "Ascent: new = old + rate · slope, for both. σ² is `torch.exp(2 * log_sigma)`.",
        "Your step's formula in torch: `sp.exp` becomes `torch.exp`. Compute both slopes from the *old* μ and log σ; then return the "
        "two *new* values, not the slopes.",
    ),
    (
        Mistake(
            "downhill",
            ascent(sign=-1.0),
            "You subtracted the slope, the habit from losses. The ELBO is a score: it is climbed.",
        ),
        Mistake(
            "the slope by σ",
            ascent(by_sigma=True),
            "1/σ − σ·(…) is the slope by σ. The parameter is log σ: by the chain rule the slope is multiplied by σ.",
        ),
        Mistake(
            "log σ taken for log σ²",
            ascent(twice=1.0),
            "σ² = exp(2·log_sigma). exp(log_sigma) is σ itself.",
        ),
        Mistake(
            "the entropy dropped",
            ascent(entropy=0.0),
            "Without the slope 1 of the entropy log σ only ever falls: q becomes a spike on the best z.",
        ),
        Mistake(
            "the prior does not pull",
            ascent(pull=0.0),
            "The term −μ is missing. Without it μ runs to (x − b)/w, the answer of somebody who has no prior.",
        ),
        Mistake(
            "the prior left out of the width",
            ascent(prior_width=0.0),
            "1 + w²/s²: the 1 is the prior's precision. Without it q is as wide as the likelihood, too wide.",
        ),
        Mistake(
            "the chain rule's w missing",
            ascent(chain=False),
            "(x − wμ − b)² has the inner derivative −w with respect to μ: the pull of the reading has a factor w.",
        ),
        Mistake(
            "s taken for the variance",
            ascent(power=1),
            "The noise's variance is s²: the misfit is divided by s².",
        ),
        Mistake(
            "w for w²",
            ascent(spread=1),
            "Spreading z by σ spreads w·z by w·σ, and the variance of that is w²σ².",
        ),
        Mistake(
            "the slopes and not the step",
            ascent(only="slopes"),
            "These are the slopes. Return the new μ and log σ: old + rate · slope.",
        ),
        Mistake(
            "the change and not the new value",
            ascent(only="changes"),
            "rate · slope is how far to go. Return where one is after it: old + rate · slope, for both.",
        ),
        Mistake(
            "a step taken in σ",
            in_sigma(logged=True),
            "You went from σ to σ + rate · (slope by σ) and took the logarithm. It also leads uphill, but it is another step: a "
            "large one makes σ negative, and the logarithm is NaN. Stepping in log σ itself cannot leave the positive numbers; that is "
            "why it is the parameter.",
        ),
        Mistake(
            "a step taken in σ, and σ returned",
            in_sigma(logged=False),
            "Two things at once: the step is taken in σ with the slope by σ, and the new σ is returned where the new *log* σ should be. "
            "The parameter is log σ from beginning to end: log_sigma + rate · (slope by log σ).",
        ),
        Mistake(
            "σ returned for log σ",
            ascent(returned="σ"),
            "The step is right, and then you undo the logarithm. The next step would take this σ for a log σ. Return log_sigma + rate · slope.",
        ),
        Mistake(
            "all as if it were logvar",
            as_if_logvar,
            "½·(1 − exp(…)·(1 + w²/s²)) is the slope by logvar = log σ², right for that parameter. Here the parameter is log σ: σ² = exp(2·log_sigma), "
            "and no ½.",
        ),
        Mistake(
            "the rate forgotten",
            ascent(forgetful=True),
            "You add the whole slope. A slope says how steep it is here, not how far the top is; `rate` makes the step small enough "
            "for the slope to hold.",
        ),
        Mistake(
            "one slope for the whole batch",
            ascent(over="one for all"),
            "You averaged the slopes over the batch. Each reading has a q of its own, and climbs a hill of its own.",
        ),
        Mistake(
            "the slopes divided by the batch",
            ascent(over="divided by B"),
            "`.mean()` over the batch before differentiating divides every slope by B, as in losses, where one parameter is shared by "
            "all. Here each reading has its own μ: differentiate the *sum*.",
        ),
        Mistake(
            "straight to the posterior",
            straight_to_the_top,
            "This is the top of the hill, which here you happen to know. One *step* is asked for; the step is what is left when nobody knows "
            "the top.",
        ),
        Mistake(
            "the two outputs swapped",
            ascent(returned="swapped"),
            "Both are right, in the other order: first the new mu, then the new log_sigma. Shapes do not notice.",
        ),
    ),
    (ascent_by_autograd, ascent_towards_the_posterior),
    reference=ascent_step,
    cases=ascent_cases,
    expects="two tensors (B,): the new mu and the new log_sigma",
    checked="One step from five fresh starts: a batch of one, very narrow and very wide q, and the top itself, where it must stay.",
    equivalent={"gradient cut": "a step is taken, and nobody differentiates through it"},
)


# --- 5 · Mean field


def field_cases(rng: Rng) -> Iterator[Case]:
    def covariance(size: int) -> np.ndarray:
        a = rng.normal(size=(size, size))
        return a @ a.T / size + 0.4 * np.eye(size)

    rho = float(rng.uniform(0.8, 0.9)) * float(rng.choice([-1, 1]))
    tilted = np.array([[1.5, rho * math.sqrt(1.5 * 0.7)], [rho * math.sqrt(1.5 * 0.7), 0.7]])
    for size, cov, sweeps, kind, about in (
        (2, tilted, 2, np.float64, "two dimensions, strongly correlated"),
        (3, covariance(3), 1, np.float32, "one sweep"),
        (1, covariance(1), 2, np.float64, "one dimension"),
        (int(rng.integers(4, 7)), None, 3, np.float64, "more dimensions"),
        (3, covariance(3), 0, np.float64, "no sweep at all"),
    ):
        cov = covariance(size) if cov is None else cov
        inputs = {"mean": rng.normal(0, 2, size), "covariance": cov, "start": rng.normal(0, 2, size)}
        yield Case({name: value.astype(kind) for name, value in inputs.items()} | {"sweeps": sweeps}, about)


def mean_field(mean: Tensor, covariance: Tensor, start: Tensor, sweeps: int) -> tuple[Tensor, Tensor]:
    precision = torch.linalg.inv(covariance)
    m = start.clone()
    for _ in range(sweeps):
        for i in range(len(m)):
            pull = precision[i] @ (m - mean) - precision[i, i] * (m[i] - mean[i])  # of all the others
            m[i] = mean[i] - pull / precision[i, i]
    return m, 1 / precision.diagonal()


def field(
    variance: str = "conditional",
    sign: float = 1.0,
    own: bool = False,
    at_once: bool = False,
    matrix: str = "precision",
    jump: bool = False,
    in_place: bool = False,
    swept: bool = True,
    divided: bool = True,
    centred: bool = True,
    one_each: bool = False,
    swapped: bool = False,
) -> Answer:
    def wrong(mean: Tensor, covariance: Tensor, start: Tensor, sweeps: int) -> tuple[Tensor, Tensor]:
        precision = torch.linalg.inv(covariance)
        a = precision if matrix == "precision" else covariance
        m = start if in_place else start.clone()
        shift = mean if centred else torch.zeros_like(mean)
        for sweep in range(sweeps if swept else 1):
            before = m.clone() if at_once else m
            for i in [sweep % len(m)] if one_each else range(len(m)):
                pull = a[i] @ (before - shift) - (0 if own else a[i, i] * (before[i] - shift[i]))
                m[i] = mean[i] - sign * pull / (a[i, i] if divided else 1)
        spread = {
            "conditional": 1 / precision.diagonal(),
            "not inverted": 1 / covariance.diagonal(),
            "marginal": covariance.diagonal(),
            "precision": precision.diagonal(),
            "std": precision.diagonal() ** -0.5,
        }[variance]
        means = mean.clone() if jump else m
        return (spread, means) if swapped else (means, spread)

    return wrong


def field_in_one_line(mean: Tensor, covariance: Tensor, start: Tensor, sweeps: int) -> tuple[Tensor, Tensor]:
    precision = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
    off = start - mean
    for _ in range(sweeps):
        for i, row in enumerate(precision):
            off = off.index_add(0, torch.tensor([i]), -(row @ off / row[i]).reshape(1))
    return mean + off, precision.diagonal().reciprocal()


def field_by_conditioning(mean: Tensor, covariance: Tensor, start: Tensor, sweeps: int) -> tuple[Tensor, Tensor]:
    # One coordinate given all others, by regression on them: no inverse of the whole.
    size, variances, slopes = len(mean), [], []
    for i in range(size):
        rest = [j for j in range(size) if j != i]
        slope = torch.linalg.solve(covariance[rest][:, rest], covariance[rest, i])
        slopes.append((rest, slope))
        variances.append(covariance[i, i] - covariance[i, rest] @ slope)
    values = list(start)
    for _ in range(sweeps):
        for i, (rest, slope) in enumerate(slopes):
            values[i] = mean[i] + sum(
                (slope[k] * (values[j] - mean[j]) for k, j in enumerate(rest)), torch.zeros_like(mean[i])
            )
    return torch.stack(values), torch.stack(variances)


def field_by_triangles(mean: Tensor, covariance: Tensor, start: Tensor, sweeps: int) -> tuple[Tensor, Tensor]:
    precision = torch.linalg.inv(covariance)
    lower, upper = torch.tril(precision), torch.triu(precision, 1)  # a sweep is a step of Gauss–Seidel
    off = (start - mean).unsqueeze(-1)
    for _ in range(sweeps):
        off = -torch.linalg.solve_triangular(lower, upper @ off, upper=False)
    return mean + off.squeeze(-1), 1 / precision.diag()


MEAN_FIELD = Exercise(
    "mean_field",
    "Pretend that nothing is correlated",
    20,
    3,
    (
        "Invert the covariance once: Λ. Keep the coordinates in a *copy* of `start`, and go through them one after the other, "
        "each time with the newest values of all the others.",
        "What the others do to coordinate i is Σ over j ≠ i of Λ_ij·(m_j − mean_j): the whole row times (m − mean), minus its "
        "own part. Then m_i = mean_i − that / Λ_ii.",
        "Two loops, one in the other: over the sweeps, and over i. The variances need none: they do not depend on where the means are.",
    ),
    (
        Mistake(
            "the true marginal variances",
            field(variance="marginal"),
            "The diagonal of the covariance is how wide each coordinate truly is. It is what one would hope for, but not what "
            "the ELBO chooses: a product of bells that wide would put mass in the empty corners, and KL(q ‖ p) punishes that. "
            "The optimum is 1/Λ_ii, narrower.",
        ),
        Mistake(
            "precisions for variances",
            field(variance="precision"),
            "Λ_ii is q's *precision* in coordinate i. The variance is 1/Λ_ii.",
        ),
        Mistake(
            "standard deviations for variances",
            field(variance="std"),
            "You took the square root: variances are asked for.",
        ),
        Mistake(
            "all coordinates at once",
            field(at_once=True),
            "You computed every new coordinate from the *old* ones. Each update is the best answer to the others as they are "
            "now; all at once overshoot, and with more than two coordinates may even run away.",
        ),
        Mistake(
            "the sign of the pull",
            field(sign=-1.0),
            "m_i = mean_i *minus* the pull over Λ_ii. With a positive correlation Λ_ij is negative, so the minus moves i the "
            "same way as j.",
        ),
        Mistake(
            "its own pull counted in",
            field(own=True),
            "The sum is over the *others*. With j = i in it the coordinate is pushed away from where it stands.",
        ),
        Mistake(
            "the covariance for the precision",
            field(matrix="covariance"),
            "Conditional means are made of precisions: −Λ_ij/Λ_ii. With the covariance's entries the formula looks the same and "
            "means nothing.",
        ),
        Mistake(
            "the covariance never inverted",
            field(matrix="covariance", variance="not inverted"),
            "Your Λ is the covariance itself: the argument is at hand, and the formula's Λ_ij look like entries of it. Λ is its *inverse*.",
        ),
        Mistake(
            "one over the covariance's diagonal",
            field(variance="not inverted"),
            "1/Σ_ii is no variance but one over one. q's variances are 1/Λ_ii with Λ = Σ⁻¹: invert the matrix first, take the diagonal then.",
        ),
        Mistake(
            "not divided by Λ_ii",
            field(divided=False),
            "The sum over the others is divided by Λ_ii before it is subtracted: the surer the posterior is of z_i, the less the others move it.",
        ),
        Mistake(
            "the others not centred",
            field(centred=False),
            "What counts is how far the others are from *their* means: m_j − mean_j. With m_j alone the fixed point is not the posterior's mean.",
        ),
        Mistake(
            "one coordinate for each sweep",
            field(one_each=True),
            "You move one coordinate and count that as a sweep. A sweep goes once through all of them.",
        ),
        Mistake(
            "the two outputs swapped",
            field(swapped=True),
            "Both are right, in the other order: first q's means, then its variances. Both are (D,), so no shape complains.",
        ),
        Mistake(
            "straight to the answer",
            field(jump=True),
            "The fixed point is indeed the true mean. But asked for is where the ascent stands after `sweeps` sweeps: on a real "
            "posterior nobody tells you the end.",
        ),
        Mistake(
            "one sweep only",
            field(swept=False),
            "You go through the coordinates once. `sweeps` says how often.",
        ),
        Mistake(
            "the start is changed in place",
            field(in_place=True),
            "`m = start` is no copy: you write into the caller's tensor. Take `start.clone()`.",
        ),
    ),
    (field_in_one_line, field_by_conditioning, field_by_triangles),
    reference=mean_field,
    cases=field_cases,
    expects="two tensors (D,): q's means after the sweeps, and q's variances",
    checked="Means after 0, 1, 2 and 3 sweeps and the variances, on five fresh Gaussians in 1, 2, 3 and more dimensions.",
    equivalent={"gradient cut": "coordinate ascent is run, and nobody differentiates through it"},
    tolerance=10.0,
)


# --- 6 · A linear encoder


def encoder_cases(rng: Rng) -> Iterator[Case]:
    for pixels, latent, kind, about in (
        (6, 2, np.float32, "two latent dimensions"),
        (5, 1, np.float64, "one latent dimension"),
        (4, 4, np.float64, "as many latents as pixels"),
        (int(rng.integers(20, 40)), int(rng.integers(3, 6)), np.float64, "more pixels"),
    ):
        yield Case(draw_model(rng, pixels, latent, kind), about, ("W", "b"))
    yield Case(
        draw_model(rng, 6, 2, np.float64) | {"s": 30.0}, "so much noise that the code is hardly worth it", ("W", "b")
    )


def linear_encoder(W: Tensor, b: Tensor, s: float) -> tuple[Tensor, Tensor, Tensor]:
    precision = torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / s**2
    slope = torch.linalg.solve(precision, W.T) / s**2
    return slope, -slope @ b, -precision.diagonal().log()


def encoder(
    slope: str = "bayes", intercept: str = "right", width: str = "conditional", power: int = 2, form: str = "as asked"
) -> Answer:
    def wrong(W: Tensor, b: Tensor, s: float) -> tuple[Tensor, Tensor, Tensor]:
        precision = torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / s**power
        a = {
            "bayes": torch.linalg.solve(precision, W.T) / s**power,
            "transpose": W.T + 0.0,
            "pinv": torch.linalg.pinv(W),
            "unscaled": torch.linalg.solve(precision, W.T),
            "alone": W.T / precision.diagonal().unsqueeze(-1) / s**power,
        }[slope]
        c = {"right": -(a @ b), "none": 0.0 * (a @ b), "reversed": a @ b}[intercept]
        logvar = {
            "conditional": -precision.diagonal().log(),
            "log precision": precision.diagonal().log(),
            "log sigma": -0.5 * precision.diagonal().log(),
            "marginal": torch.linalg.inv(precision).diagonal().log(),
            "variance": 1 / precision.diagonal(),
            "noise": 2 * math.log(s) + 0 * precision.diagonal(),
            "matrix": -precision.abs().log(),
        }[width]
        return {"as asked": (a, c, logvar), "turned": (a.T, c, logvar), "shuffled": (c, a, logvar)}[form]

    return wrong


def encoder_by_conditioning(W: Tensor, b: Tensor, s: float) -> tuple[Tensor, Tensor, Tensor]:
    evidence = W @ W.T + s**2 * torch.eye(W.shape[0], dtype=W.dtype)
    gain = torch.linalg.solve(evidence, W).T
    width = 1 + W.square().sum(0) / s**2
    return gain, -gain.matmul(b), -torch.log(width)


def encoder_by_least_squares(W: Tensor, b: Tensor, s: float) -> tuple[Tensor, Tensor, Tensor]:
    # The mean minimises ‖x − b − Wz‖²/s² + ‖z‖²: least squares with Z more rows, which say z = 0.
    rows = torch.cat([W / s, torch.eye(W.shape[1], dtype=W.dtype)])
    gain = torch.linalg.pinv(rows)[:, : len(W)] / s
    return gain, torch.mv(gain, -b), -torch.log((rows * rows).sum(0))


LINEAR_ENCODER = Exercise(
    "linear_encoder",
    "One function for all frames",
    10,
    2,
    (
        "The posterior's mean (exercise 3) is linear in x. Write it as `slope @ x + intercept`: what stands before x, and what "
        "does −b contribute?",
        "slope = Λ⁻¹Wᵀ/s², intercept = −slope·b, with Λ = I + WᵀW/s². And q's best variances, when it must factorise? You found "
        "them in exercise 5, given Λ.",
        "logvar is the logarithm of a variance, here of 1/Λ_ii, one for each latent. And `torch.linalg.solve(Λ, Wᵀ)` is Λ⁻¹Wᵀ, without "
        "an inverse.",
    ),
    (
        Mistake(
            "the decoder's transpose",
            encoder(slope="transpose"),
            "Wᵀ finds the right directions, and so it is a popular guess. But an encoder *inverts* the decoder, prior and noise "
            "included: Λ⁻¹Wᵀ/s².",
        ),
        Mistake(
            "each number by itself",
            encoder(slope="alone"),
            "You divided by Λ's diagonal where its inverse belongs, since q factorises. Its *widths* do take the diagonal only. Its means are "
            "the posterior's own, and those know of the other numbers: Λ⁻¹Wᵀ/s².",
        ),
        Mistake(
            "the slope transposed",
            encoder(form="turned"),
            "Your slope is (D, Z), as for frames in rows. It is used as `slope @ x`, on one frame: (Z, D).",
        ),
        Mistake(
            "the outputs in another order",
            encoder(form="shuffled"),
            "First the slope (Z, D), then the intercept (Z,), then logvar.",
        ),
        Mistake(
            "the noise's width for q's",
            encoder(width="noise"),
            "log s² says how noisy the *pixels* are. q is about z: its variance is 1/Λ_ii, what prior and all pixels together leave open.",
        ),
        Mistake(
            "a whole matrix of widths",
            encoder(width="matrix"),
            "logvar is (Z, Z) here. A q that factorises has one width for each number, (Z,): only Λ's diagonal counts, and the logarithm of "
            "the other entries means nothing.",
        ),
        Mistake(
            "the pseudo-inverse",
            encoder(slope="pinv"),
            "This undoes the decoder as if there were no noise and no prior. The posterior's mean is shrunk towards 0.",
        ),
        Mistake(
            "1/s² missing",
            encoder(slope="unscaled"),
            "Λ⁻¹Wᵀ still has to be divided by s²: that is how strongly the pixels pull.",
        ),
        Mistake(
            "the intercept forgotten",
            encoder(intercept="none"),
            "slope @ x alone encodes the distance from a black frame. The average frame b must be encoded as 0.",
        ),
        Mistake(
            "the sign of the intercept",
            encoder(intercept="reversed"),
            "slope @ (x − b) = slope @ x − slope @ b.",
        ),
        Mistake(
            "the true marginal variances",
            encoder(width="marginal"),
            "The diagonal of Λ⁻¹ is how wide each latent truly is. For a q that must factorise the ELBO's best is 1/Λ_ii.",
        ),
        Mistake(
            "log σ for log σ²",
            encoder(width="log sigma"),
            "`logvar` is the log of the variance, so without the ½.",
        ),
        Mistake(
            "the log-precision",
            encoder(width="log precision"),
            "log Λ_ii is the log of a precision. The variance is 1/Λ_ii, and its log has a minus.",
        ),
        Mistake(
            "the variance and not its logarithm",
            encoder(width="variance"),
            "You return 1/Λ_ii itself. The name says logvar: its logarithm.",
        ),
        Mistake(
            "s taken for the variance",
            encoder(power=1),
            "The noise has the variance s²; it divides WᵀW and the slope.",
        ),
    ),
    (encoder_by_conditioning, encoder_by_least_squares),
    reference=linear_encoder,
    cases=encoder_cases,
    expects="three tensors: slope (Z, D), intercept (Z,), logvar (Z,)",
    checked="All three, and their gradients by W and b, on five fresh decoders: one latent dimension, as many latents as "
    "pixels, noise that drowns the code; float32 and float64.",
    tolerance=10.0,
)

EXERCISES = (LOG_JOINT, ELBO, EXACT_POSTERIOR, ASCENT_STEP, MEAN_FIELD, LINEAR_ENCODER)
