"""Lesson 03's exercises: their inputs, their right answers, and the mistakes that people make in them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, MultivariateNormal, Normal, kl_divergence
from torch.nn import functional as F

from wmcourse.kl_divergence_loss import free_bits, kl_normal, kl_standard_normal
from wmcourse.lessons.exercise import Exercise, Mistake
from wmcourse.lessons.judge import Answer, Case

Rng = np.random.Generator


# --- 1 · KL to the standard normal


def gaussian_cases(rng: Rng) -> Iterator[Case]:
    for batch, latent, kind, about in (
        (4, 3, np.float32, "a small batch"),
        (1, 8, np.float64, "a batch of one"),
        (5, 1, np.float32, "one latent dimension"),
        (int(rng.integers(6, 12)), int(rng.integers(9, 20)), np.float64, "a larger batch"),
    ):
        mu, logvar = rng.normal(0, 1.5, (batch, latent)), rng.normal(-0.5, 1.2, (batch, latent))
        yield Case({"mu": mu.astype(kind), "logvar": logvar.astype(kind)}, about, ("mu", "logvar"))
    mu, logvar = rng.normal(0, 6, (3, 4)), rng.choice([-1.0, 1.0], (3, 4)) * rng.uniform(13, 18, (3, 4))
    yield Case({"mu": mu, "logvar": logvar}, "very narrow and very wide", ("mu", "logvar"))
    yield Case({"mu": np.zeros((2, 3)), "logvar": np.zeros((2, 3))}, "exactly the prior", ("mu", "logvar"))


def no_half(mu: Tensor, logvar: Tensor) -> Tensor:
    return (logvar.exp() + mu**2 - 1 - logvar).sum(-1)


def plus_log(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (logvar.exp() + mu**2 - 1 + logvar).sum(-1)


def mean_over_dimensions(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (logvar.exp() + mu**2 - 1 - logvar).mean(-1)


def one_number(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (logvar.exp() + mu**2 - 1 - logvar).sum(-1).mean()


def mean_of_everything(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (logvar.exp() + mu**2 - 1 - logvar).mean()


def over_the_batch(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (logvar.exp() + mu**2 - 1 - logvar).sum(0)


def not_summed(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (logvar.exp() + mu**2 - 1 - logvar)


def log_sigma_for_logvar(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * ((2 * logvar).exp() + mu**2 - 1 - 2 * logvar).sum(-1)


def sigma_for_variance(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * ((0.5 * logvar).exp() + mu**2 - 1 - logvar).sum(-1)


def negative_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(-1)


def other_way_round(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * ((1 + mu**2) / logvar.exp() - 1 + logvar).sum(-1)


def without_one(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (logvar.exp() + mu**2 - logvar).sum(-1)


def sum_of_everything(mu: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


def log_not_halved(mu: Tensor, logvar: Tensor) -> Tensor:
    return (0.5 * (logvar.exp() + mu**2) - logvar - 0.5).sum(-1)


def one_for_all(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * ((logvar.exp() + mu**2 - logvar).sum(-1) - 1)


def clamped(mu: Tensor, logvar: Tensor) -> Tensor:
    logvar = logvar.clamp(-10, 10)
    return 0.5 * (logvar.exp() + mu**2 - 1 - logvar).sum(-1)


def as_in_the_paper(mu: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=1)


def from_distributions(mu: Tensor, logvar: Tensor) -> Tensor:
    q = Normal(mu, torch.exp(logvar / 2))
    return kl_divergence(q, Normal(torch.zeros_like(mu), torch.ones_like(mu))).sum(dim=-1)


def dimension_by_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    total = mu.new_zeros(len(mu))
    for j in range(mu.shape[1]):
        m, v = mu[:, j], logvar[:, j].exp()
        total = total + (v + m * m - 1 - torch.log(v)) / 2
    return total


STANDARD_NORMAL = Exercise(
    "kl_standard_normal",
    "What a code costs",
    10,
    1,
    (
        "You derived the formula for one dimension. Write it with `mu` and `logvar`: what is σ² in terms of `logvar`? "
        "And what is log σ²?",
        "For one dimension it is ½·(exp(logvar) + mu² − 1 − logvar). The dimensions are independent, so their KLs add up.",
        "One number for each sample: add over the *last* axis with `.sum(dim=-1)`, and leave the batch axis alone.",
    ),
    (
        Mistake(
            "the ½ is missing",
            no_half,
            "All of it is twice too large. Next to a reconstruction term in the same nats that is a β of 2 that nobody "
            "chose. The ½ comes from the exponent −(z − μ)²/2σ² and from log σ = ½ log σ².",
        ),
        Mistake(
            "the sign of the log term",
            plus_log,
            "The formula has −log σ². With a plus, a narrow q gets *cheaper* the narrower it is, and the loss has no "
            "minimum. The plus belongs to log σ_p, which is 0 here; q's own logarithm comes with a minus.",
        ),
        Mistake(
            "mean over the latent dimensions",
            mean_over_dimensions,
            "The KL of independent dimensions is their sum. A mean divides it by Z, which is a β of 1/Z that nobody chose; "
            "it is tempting because `.mean()` is the habit for losses.",
        ),
        Mistake(
            "the mean over the batch, too early",
            one_number,
            "This returns one number for the whole batch. The loss averages over the batch later; here each sample keeps "
            "its own KL, so that you can see which frames are expensive.",
            "over the batch",
        ),
        Mistake(
            "the mean of everything",
            mean_of_everything,
            "A mean over batch *and* dimensions: one number for all frames, and divided by Z on top, which is a β of 1/Z. "
            "It is tempting because `.mean()` makes a loss of anything.",
        ),
        Mistake(
            "the sum of everything",
            sum_of_everything,
            "This adds up the whole batch: one number, which grows with the batch. The snippet goes round like this, and "
            "divides by the batch later, or forgets to. Here each frame keeps its own KL.",
        ),
        Mistake(
            "log σ² not halved",
            log_not_halved,
            "The log term is log σ = ½·logvar. You took logvar itself for log σ, and left it out of the ½.",
        ),
        Mistake(
            "the −1 only once",
            one_for_all,
            "Each dimension has its own −1. You subtract it after the sum, once for all, and the prior costs (Z − 1)/2.",
        ),
        Mistake(
            "the sum over the batch axis",
            over_the_batch,
            "`dim=0` is the batch: this adds up different frames and keeps the latent dimensions apart. You want the "
            "opposite: `dim=-1`.",
        ),
        Mistake(
            "not summed",
            not_summed,
            "These are the KLs of the single dimensions, and each is right. A sample's KL is their sum.",
        ),
        Mistake(
            "logvar taken for log σ",
            log_sigma_for_logvar,
            "`logvar` is log σ², so σ² = exp(logvar). You squared it once more, as if it were log σ.",
        ),
        Mistake(
            "σ in place of σ²",
            sigma_for_variance,
            "exp(½·logvar) is σ; the formula wants the variance σ² = exp(logvar). The ½ belongs to sampling (lesson 02).",
        ),
        Mistake(
            "the KL with its sign turned",
            negative_kl,
            "This is −KL, as it stands in the ELBO, which one maximises. A KL is never negative; the loss adds it.",
        ),
        Mistake(
            "the KL the wrong way round",
            other_way_round,
            "This is KL(N(0, 1) ‖ q), the expectation under the prior. The ELBO's expectation is under q.",
        ),
        Mistake(
            "the −1 is missing",
            without_one,
            "At μ = 0, σ = 1 the KL must be 0, and yours is ½ for each dimension. Gradients do not notice, but the number "
            "is no KL any more: the code looks Z/2 nats dearer than it is.",
        ),
        Mistake(
            "a clamp that kills the gradient",
            clamped,
            "You limit `logvar` before you use it. Outside of the limits its gradient is zero, so an encoder that went "
            "there never comes back. The formula needs no clamp at these values.",
        ),
    ),
    (as_in_the_paper, from_distributions, dimension_by_dimension),
    reference=kl_standard_normal,
    shown=as_in_the_paper,
    cases=gaussian_cases,
    expects="one number for each sample, shape (B,), in nats, never negative, in the inputs' dtype",
    checked="Values and gradients on six fresh inputs: small and large batches, a batch of one, one dimension, very narrow "
    "and very wide q, exactly the prior; float32 and float64.",
    part=True,
)


# --- 2 · KL between two Gaussians


def two_gaussian_cases(rng: Rng) -> Iterator[Case]:
    names = ("mu_q", "logvar_q", "mu_p", "logvar_p")
    for batch, latent, kind, about in (
        (4, 3, np.float32, "a small batch"),
        (1, 6, np.float64, "a batch of one"),
        (int(rng.integers(5, 9)), int(rng.integers(7, 12)), np.float64, "a larger batch"),
    ):
        values = [rng.normal(0, 1.2, (batch, latent)).astype(kind) for _ in range(4)]
        yield Case(dict(zip(names, values, strict=True)), about, names)
    values = [
        rng.normal(0, 3, (3, 2)),
        rng.uniform(-14, -11, (3, 2)),
        rng.normal(0, 3, (3, 2)),
        rng.uniform(-1, 8, (3, 2)),
    ]
    yield Case(dict(zip(names, values, strict=True)), "a very narrow q", names)
    shared = [rng.normal(0, 1, (4, 3)), rng.normal(0, 1, (4, 3)), rng.normal(0, 1, 3), rng.normal(0, 1, 3)]
    yield Case(dict(zip(names, shared, strict=True)), "one p for the whole batch, (Z,)", names)


def two(
    log_sign: float = 1.0, half: float = 0.5, one: float = 1.0, swap: bool = False, over: str = "p", power: int = 2
) -> Answer:
    def wrong(mu_q: Tensor, logvar_q: Tensor, mu_p: Tensor, logvar_p: Tensor) -> Tensor:
        if swap:
            mu_q, logvar_q, mu_p, logvar_p = mu_p, logvar_p, mu_q, logvar_q
        d = logvar_q - logvar_p
        scale = {"p": logvar_p, "q": logvar_q, "sigma": 0.5 * logvar_p, "nothing": 0 * logvar_p}[over]
        return half * (d.exp() - one - log_sign * d + (mu_q - mu_p) ** power / scale.exp()).sum(-1)

    return wrong


def two_mean(mu_q: Tensor, logvar_q: Tensor, mu_p: Tensor, logvar_p: Tensor) -> Tensor:
    d = logvar_q - logvar_p
    return 0.5 * (d.exp() - 1 - d + (mu_q - mu_p) ** 2 / logvar_p.exp()).mean(-1)


def two_not_summed(mu_q: Tensor, logvar_q: Tensor, mu_p: Tensor, logvar_p: Tensor) -> Tensor:
    d = logvar_q - logvar_p
    return 0.5 * (d.exp() - 1 - d + (mu_q - mu_p) ** 2 / logvar_p.exp())


def two_log_sigma(mu_q: Tensor, logvar_q: Tensor, mu_p: Tensor, logvar_p: Tensor) -> Tensor:
    return kl_normal(mu_q, 2 * logvar_q, mu_p, 2 * logvar_p)


def two_without_p(mu_q: Tensor, logvar_q: Tensor, mu_p: Tensor, logvar_p: Tensor) -> Tensor:
    return kl_standard_normal(mu_q, logvar_q)


def two_from_distributions(mu_q: Tensor, logvar_q: Tensor, mu_p: Tensor, logvar_p: Tensor) -> Tensor:
    return kl_divergence(Normal(mu_q, (logvar_q / 2).exp()), Normal(mu_p, (logvar_p / 2).exp())).sum(-1)


def two_with_sigmas(mu_q: Tensor, logvar_q: Tensor, mu_p: Tensor, logvar_p: Tensor) -> Tensor:
    var_q, var_p = logvar_q.exp(), logvar_p.exp()
    per_dimension = 0.5 * torch.log(var_p / var_q) + (var_q + (mu_q - mu_p).square()) / (2 * var_p) - 0.5
    return per_dimension.sum(-1)


TWO_GAUSSIANS = Exercise(
    "kl_normal",
    "Between any two Gaussians",
    10,
    2,
    (
        "The formula that you derived for two Gaussians has four terms. Which divide by σ_p², and what is dividing in logs?",
        "σ_q²/σ_p² is exp(logvar_q − logvar_p), and its logarithm is the difference itself. Give the difference a name.",
        "½·(exp(d) − 1 − d + (mu_q − mu_p)²·exp(−logvar_p)), summed over the last axis. A p of shape (Z,) broadcasts.",
    ),
    (
        Mistake(
            "q and p swapped",
            two(swap=True),
            "This is KL(p ‖ q). The two directions differ: the expectation is under the first one, and the *second* one's "
            "variance divides the distance of the means.",
        ),
        Mistake(
            "the sign of the log-ratio",
            two(log_sign=-1.0),
            "The term is −log(σ_q²/σ_p²). With the other sign the KL of a distribution to itself is 0 still, but a "
            "narrower q gets a negative price.",
        ),
        Mistake(
            "the ½ is missing", two(half=1.0), "Everything is twice too large: the ½ stands before the whole bracket."
        ),
        Mistake(
            "the −1 is missing",
            two(one=0.0),
            "The KL of a distribution to itself must be 0, and yours is ½ for each dimension.",
        ),
        Mistake(
            "the distance divided by q's variance",
            two(over="q"),
            "The distance of the means is measured in units of σ_p, those of the distribution that q is compared *with*.",
        ),
        Mistake(
            "the distance divided by σ_p and not by σ_p²",
            two(over="sigma"),
            "The distance is squared, so it is divided by the variance σ_p² = exp(logvar_p). You divided by exp(½·logvar_p).",
        ),
        Mistake(
            "the distance of the means not scaled",
            two(over="nothing"),
            "(μ_q − μ_p)² must be divided by σ_p²: being one off is cheap where p is wide.",
        ),
        Mistake(
            "the distance of the means not squared",
            two(power=1),
            "μ_q − μ_p is squared: a KL does not care on which side of p you are.",
        ),
        Mistake(
            "mean over the latent dimensions",
            two_mean,
            "The KL of independent dimensions is their sum; a mean makes it Z times too small.",
        ),
        Mistake("not summed", two_not_summed, "These are the KLs of single dimensions. A sample's KL is their sum."),
        Mistake(
            "logvar taken for log σ",
            two_log_sigma,
            "`logvar` is log σ², so σ² = exp(logvar). You squared it once more, as if it were log σ.",
        ),
        Mistake(
            "p ignored", two_without_p, "This is the KL to N(0, I), the exercise before. Here p has a mean and a width."
        ),
    ),
    (two_from_distributions, two_with_sigmas),
    reference=kl_normal,
    shown=two_with_sigmas,
    cases=two_gaussian_cases,
    expects="one number for each sample, shape (B,), in nats; 0 where q = p",
    checked="Values and all four gradients on five fresh inputs, a very narrow q and one p for the whole batch among them.",
)


# --- 3 · Monte Carlo


def monte_carlo_cases(rng: Rng) -> Iterator[Case]:
    for samples, batch, latent, kind, about in (
        (16, 3, 2, np.float32, "a few samples"),
        (50, 1, 5, np.float64, "a batch of one"),
        (int(rng.integers(100, 200)), int(rng.integers(2, 6)), 3, np.float64, "more samples"),
    ):
        values = (
            rng.normal(0, 1, (batch, latent)),
            rng.normal(-0.7, 1, (batch, latent)),
            rng.normal(size=(samples, batch, latent)),
        )
        yield Case(
            dict(zip(("mu", "logvar", "epsilon"), (v.astype(kind) for v in values), strict=True)),
            about,
            ("mu", "logvar"),
        )


def kl_monte_carlo(mu: Tensor, logvar: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
    z = mu + torch.exp(0.5 * logvar) * epsilon  # (S, B, Z), drawn from q
    log_q = -0.5 * ((z - mu).square() / logvar.exp() + logvar)  # the constants ½ log 2π cancel
    log_p = -0.5 * z.square()
    ratio = (log_q - log_p).sum(dim=-1)  # (S, B)
    return ratio.mean(dim=0), ratio.std(dim=0) / math.sqrt(len(epsilon))


def carlo(
    sigma_power: float = 0.5,
    sign: float = 1.0,
    from_p: bool = False,
    entropy: bool = True,
    how: str = "sum",
    error: str = "se",
    power: float = 1.0,
) -> Answer:
    def wrong(mu: Tensor, logvar: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
        z = epsilon if from_p else mu + torch.exp(sigma_power * logvar) * epsilon
        log_q = -0.5 * ((z - mu).square() / (power * logvar).exp() + power * logvar)
        ratio = sign * ((log_q if entropy else 0.0) + 0.5 * z.square())
        ratio = ratio.sum(-1) if how == "sum" else ratio.mean(-1)
        size = len(epsilon)
        spread = {
            "se": ratio.std(0) / size**0.5,
            "sd": ratio.std(0),
            "variance": ratio.var(0) / size,
            "n": ratio.std(0, correction=0) / size**0.5,
            "less": ratio.std(0) / (size - 1) ** 0.5,
            "size": ratio.std(0) / size,
        }[error]
        return ratio.mean(0), spread

    return wrong


def carlo_from_distributions(mu: Tensor, logvar: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
    q, p = Normal(mu, (0.5 * logvar).exp()), Normal(torch.zeros_like(mu), torch.ones_like(mu))
    z = q.loc + q.scale * epsilon
    terms = q.log_prob(z).sum(-1) - p.log_prob(z).sum(-1)
    return terms.mean(0), (terms.var(0) / terms.shape[0]).sqrt()


def carlo_without_z(mu: Tensor, logvar: Tensor, epsilon: Tensor) -> tuple[Tensor, Tensor]:
    sigma = torch.exp(logvar / 2)
    terms = 0.5 * ((mu + sigma * epsilon) ** 2 - epsilon**2 - logvar).sum(2)
    n = terms.size(0)
    centred = terms - terms.mean(0, keepdim=True)
    return terms.sum(0) / n, torch.sqrt((centred**2).sum(0) / (n - 1) / n)


MONTE_CARLO = Exercise(
    "kl_monte_carlo",
    "The same by throwing dice",
    15,
    2,
    (
        "KL(q ‖ p) is an expectation under q of log q(z) − log p(z). Draw z from q with the noise you are given, as in "
        "lesson 02, and average.",
        "log N(z; μ, σ²) = −½·((z − μ)²/σ² + log σ²) − ½·log 2π. The last piece cancels between q and p. Add over the "
        "latent dimensions (−1), then average over the samples (0).",
        "The standard error of a mean of S samples is their standard deviation (with S − 1) divided by √S: "
        "`ratio.std(dim=0) / math.sqrt(len(epsilon))`.",
    ),
    (
        Mistake(
            "log p − log q",
            carlo(sign=-1.0),
            "This estimates −KL. An estimate may come out negative, a KL cannot: it is log q − log p, averaged under q.",
        ),
        Mistake(
            "samples from p",
            carlo(from_p=True),
            "You put the noise in as z, so z comes from the prior. The expectation is under q: z = μ + σ·ε.",
        ),
        Mistake(
            "σ = exp(logvar)",
            carlo(sigma_power=1.0),
            "logvar is log σ², so σ = exp(½·logvar): the mistake of lesson 02. Your samples have the wrong width.",
        ),
        Mistake(
            "logvar taken for log σ",
            carlo(sigma_power=1.0, power=2.0),
            "Everywhere you take exp(logvar) for σ. It is σ²: logvar is log σ². The estimate is right for another q.",
        ),
        Mistake(
            "the entropy dropped",
            carlo(entropy=False),
            "You average −log p(z) alone. Without log q(z) this is the cross-entropy, and a q with σ → 0 would be best.",
        ),
        Mistake(
            "mean over the latent dimensions",
            carlo(how="mean"),
            "log q(z) of a vector is the *sum* over its dimensions, since densities of independent dimensions multiply.",
        ),
        Mistake(
            "the standard deviation for the standard error",
            carlo(error="sd"),
            "The second number is how far one sample strays. The error of the *mean* of S samples is √S times smaller.",
        ),
        Mistake(
            "the variance of the mean for its standard error",
            carlo(error="variance"),
            "You returned the variance of the mean. Its square root is the standard error, in nats like the estimate.",
        ),
        Mistake(
            "the root of S − 1",
            carlo(error="less"),
            "S − 1 belongs into the standard deviation (torch's `std` has it). The mean of S samples divides by √S.",
        ),
        Mistake(
            "divided by S",
            carlo(error="size"),
            "The error falls with the *root* of S: variances of independent samples add, and the root of S/S² is 1/√S.",
        ),
        Mistake(
            "n in place of n − 1",
            carlo(error="n"),
            "The spread is measured around the samples' own mean, which lies closer to them than the true one does; "
            "dividing by S − 1 makes up for it. (torch's `std` does so by default, NumPy's does not.)",
        ),
    ),
    (carlo_from_distributions, carlo_without_z),
    reference=kl_monte_carlo,
    cases=monte_carlo_cases,
    expects="two tensors of shape (B,): the estimate, and its standard error (with S − 1), both in nats",
    checked="Estimate and standard error, and their gradients through the samples, on three fresh sets of noise.",
)


# --- 4 · Categories


def categorical_cases(rng: Rng) -> Iterator[Case]:
    names = ("logits_q", "logits_p")
    for batch, kinds, kind, about in (
        (4, 3, np.float32, "a small batch"),
        (1, 5, np.float64, "a batch of one"),
        (int(rng.integers(4, 8)), int(rng.integers(6, 11)), np.float64, "more categories"),
    ):
        values = [rng.normal(0, 2, (batch, kinds)).astype(kind) for _ in range(2)]
        yield Case(dict(zip(names, values, strict=True)), about, names)
    for which, about in enumerate(("a very sure q", "a very sure p")):
        sure = [rng.normal(0, 2, (2, 4)).astype(np.float32) for _ in range(2)]
        sure[which][:, 0] += 120  # the others have probability 0 in float32
        yield Case(dict(zip(names, sure, strict=True)), about, names)


def kl_categorical(logits_q: Tensor, logits_p: Tensor) -> Tensor:
    log_q, log_p = F.log_softmax(logits_q, dim=-1), F.log_softmax(logits_p, dim=-1)
    return (log_q.exp() * (log_q - log_p)).sum(dim=-1)


def categories_swapped(logits_q: Tensor, logits_p: Tensor) -> Tensor:
    return kl_categorical(logits_p, logits_q)


def log_of_softmax(logits_q: Tensor, logits_p: Tensor) -> Tensor:
    q, p = torch.softmax(logits_q, -1), torch.softmax(logits_p, -1)
    return (q * (q.log() - p.log())).sum(-1)


def cross_entropy(logits_q: Tensor, logits_p: Tensor) -> Tensor:
    return -(torch.softmax(logits_q, -1) * F.log_softmax(logits_p, -1)).sum(-1)


def softmax_over_batch(logits_q: Tensor, logits_p: Tensor) -> Tensor:
    log_q, log_p = F.log_softmax(logits_q, dim=0), F.log_softmax(logits_p, dim=0)
    return (log_q.exp() * (log_q - log_p)).sum(dim=-1)


def mean_over_categories(logits_q: Tensor, logits_p: Tensor) -> Tensor:
    log_q, log_p = F.log_softmax(logits_q, dim=-1), F.log_softmax(logits_p, dim=-1)
    return (log_q.exp() * (log_q - log_p)).mean(dim=-1)


def logits_as_logs(logits_q: Tensor, logits_p: Tensor) -> Tensor:
    return (torch.softmax(logits_q, -1) * (logits_q - logits_p)).sum(-1)


def weighted_by_p(logits_q: Tensor, logits_p: Tensor) -> Tensor:
    log_q, log_p = F.log_softmax(logits_q, dim=-1), F.log_softmax(logits_p, dim=-1)
    return (log_p.exp() * (log_q - log_p)).sum(dim=-1)


def categories_negative(logits_q: Tensor, logits_p: Tensor) -> Tensor:
    return -kl_categorical(logits_q, logits_p)


def softmax_with_a_bit(logits_q: Tensor, logits_p: Tensor) -> Tensor:
    q, p = torch.softmax(logits_q, -1), torch.softmax(logits_p, -1)
    return (q * ((q + 1e-12).log() - (p + 1e-12).log())).sum(-1)


def not_weighted(logits_q: Tensor, logits_p: Tensor) -> Tensor:
    return (F.log_softmax(logits_q, -1) - F.log_softmax(logits_p, -1)).sum(-1)


def categories_with_kl_div(logits_q: Tensor, logits_p: Tensor) -> Tensor:
    log_q, log_p = logits_q.log_softmax(-1), logits_p.log_softmax(-1)
    return F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(-1)


def categories_from_distributions(logits_q: Tensor, logits_p: Tensor) -> Tensor:
    return kl_divergence(Categorical(logits=logits_q), Categorical(logits=logits_p))


def categories_by_hand(logits_q: Tensor, logits_p: Tensor) -> Tensor:
    z_q, z_p = torch.logsumexp(logits_q, 1, keepdim=True), torch.logsumexp(logits_p, 1, keepdim=True)
    q = torch.exp(logits_q - z_q)
    return torch.sum(q * (logits_q - logits_p), 1) - (z_q - z_p).squeeze(1)


CATEGORIES = Exercise(
    "kl_categorical",
    "A die instead of a bell",
    10,
    2,
    (
        "For a discrete q the integral is a sum over categories: Σ q·(log q − log p). Logits are not logarithms of "
        "probabilities yet: what is missing?",
        "`F.log_softmax(logits, dim=-1)` gives log q directly. log(softmax(…)) would be −∞ where a probability rounds to 0, "
        "and 0·(−∞) is NaN.",
        "With log_q and log_p: `(log_q.exp() * (log_q - log_p)).sum(dim=-1)`.",
    ),
    (
        Mistake(
            "q and p swapped", categories_swapped, "This is KL(p ‖ q): you weight with p's probabilities, not with q's."
        ),
        Mistake(
            "log of a softmax",
            log_of_softmax,
            "Where q is very sure the other probabilities round to 0, their log is −∞, and 0·(−∞) is NaN. Stay in log "
            "space with `F.log_softmax`.",
        ),
        Mistake(
            "the entropy dropped",
            cross_entropy,
            "This is the cross-entropy −Σ q log p. It differs from the KL by the entropy of q, which is not constant here: "
            "q is what you train.",
        ),
        Mistake(
            "softmax over the batch",
            softmax_over_batch,
            "`dim=0` makes probabilities out of different samples. The categories are on the last axis.",
        ),
        Mistake(
            "torch.distributions gives up",
            categories_from_distributions,
            "`kl_divergence` of two `Categorical`s is ∞ wherever a probability of p has rounded to 0, though its logarithm is "
            "an ordinary number. A fine library, and one more reason to write this in log space.",
        ),
        Mistake(
            "weighted by p",
            weighted_by_p,
            "The expectation is under the first one: weight with q. With p's weights this is −KL(p ‖ q).",
        ),
        Mistake(
            "the KL with its sign turned",
            categories_negative,
            "It is log q − log p, or log(q/p). Yours is −KL; a KL is never negative.",
        ),
        Mistake(
            "a small number against log 0",
            softmax_with_a_bit,
            "p + 1e-12 makes the logarithm finite, and wrong: where p is e^(−120), log p is −120 and not −28. Log space "
            "(`F.log_softmax`) needs no such number.",
        ),
        Mistake(
            "mean over the categories",
            mean_over_categories,
            "The probabilities are the weights already; a mean divides by the number of categories once more.",
        ),
        Mistake(
            "logits taken for log-probabilities",
            logits_as_logs,
            "Logits are log-probabilities only up to a constant for each sample. The two constants do not cancel between "
            "q and p: normalise with `log_softmax`.",
        ),
        Mistake(
            "not weighted by q",
            not_weighted,
            "This adds log q − log p of all categories alike. The KL is an *expectation*: each counts with its q.",
        ),
    ),
    (categories_with_kl_div, categories_by_hand),
    reference=kl_categorical,
    cases=categorical_cases,
    expects="one number for each sample, shape (B,), in nats, finite and right however sure q or p is",
    checked="Values and gradients on five fresh inputs, a batch of one and a q and a p that are very sure among them.",
    tolerance=10.0,
)


# --- 5 · Full covariances


def full_cases(rng: Rng) -> Iterator[Case]:
    def covariance(size: int, scale: float = 1.0) -> np.ndarray:
        a = rng.normal(size=(size, size))
        return scale * (a @ a.T / size + 0.5 * np.eye(size))

    for size, about in ((2, "two dimensions"), (1, "one dimension"), (int(rng.integers(4, 8)), "more dimensions")):
        mu_q, mu_p = rng.normal(size=size), rng.normal(size=size)
        inputs = {"mu_q": mu_q, "cov_q": covariance(size), "mu_p": mu_p, "cov_p": covariance(size)}
        yield Case(inputs, about, ("mu_q", "mu_p"))
    mu = rng.normal(0, 1e-3, (2, 80))
    inputs = {"mu_q": mu[0], "cov_q": covariance(80, 1e-6), "mu_p": mu[1], "cov_p": covariance(80, 1e-6)}
    yield Case(inputs, "80 dimensions, each narrow", ("mu_q", "mu_p"))


def kl_full(mu_q: Tensor, cov_q: Tensor, mu_p: Tensor, cov_p: Tensor) -> Tensor:
    root_q, root_p = torch.linalg.cholesky(cov_q), torch.linalg.cholesky(cov_p)
    scaled = torch.linalg.solve_triangular(root_p, root_q, upper=False)  # its squared norm is tr(Σ_p⁻¹ Σ_q)
    apart = torch.linalg.solve_triangular(root_p, (mu_q - mu_p).unsqueeze(-1), upper=False)
    log_det = 2 * (root_p.diagonal().log().sum() - root_q.diagonal().log().sum())
    return 0.5 * (scaled.square().sum() + apart.square().sum() - len(mu_q) + log_det)


def full(
    half: float = 0.5,
    size: float = 1.0,
    log_sign: float = 1.0,
    log_scale: float = 1.0,
    mean: float = 1.0,
    swap: bool = False,
) -> Answer:
    def wrong(mu_q: Tensor, cov_q: Tensor, mu_p: Tensor, cov_p: Tensor) -> Tensor:
        if swap:
            mu_q, cov_q, mu_p, cov_p = mu_p, cov_p, mu_q, cov_q
        d = mu_p - mu_q
        log_det = torch.logdet(cov_p) - torch.logdet(cov_q)
        trace = torch.trace(torch.linalg.solve(cov_p, cov_q))
        distance = d @ torch.linalg.solve(cov_p, d)
        return half * (trace + mean * distance - size * len(d) + log_sign * log_scale * log_det)

    return wrong


def only_diagonals(mu_q: Tensor, cov_q: Tensor, mu_p: Tensor, cov_p: Tensor) -> Tensor:
    v_q, v_p = cov_q.diagonal(), cov_p.diagonal()
    return 0.5 * (v_q / v_p - 1 - (v_q / v_p).log() + (mu_q - mu_p) ** 2 / v_p).sum()


def log_of_determinant(mu_q: Tensor, cov_q: Tensor, mu_p: Tensor, cov_p: Tensor) -> Tensor:
    d, log_det = mu_p - mu_q, torch.log(torch.linalg.det(cov_p)) - torch.log(torch.linalg.det(cov_q))
    inverse = torch.linalg.inv(cov_p)
    return 0.5 * (torch.trace(inverse @ cov_q) + d @ inverse @ d - len(d) + log_det)


def full_from_distributions(mu_q: Tensor, cov_q: Tensor, mu_p: Tensor, cov_p: Tensor) -> Tensor:
    return kl_divergence(MultivariateNormal(mu_q, cov_q), MultivariateNormal(mu_p, cov_p))


def full_by_slogdet(mu_q: Tensor, cov_q: Tensor, mu_p: Tensor, cov_p: Tensor) -> Tensor:
    d = mu_q - mu_p
    trace = torch.linalg.solve(cov_p, cov_q).diagonal().sum()
    log_det = torch.linalg.slogdet(cov_p).logabsdet - torch.linalg.slogdet(cov_q).logabsdet
    return (trace + torch.dot(d, torch.linalg.solve(cov_p, d)) - d.shape[0] + log_det) / 2


FULL = Exercise(
    "kl_full",
    "Tilted bells, without a determinant",
    20,
    3,
    (
        "Four terms again: a trace where σ_q²/σ_p² stood, a squared length where the distance stood, −D, and log det Σ_p − "
        "log det Σ_q. Take the Cholesky root L of each Σ first: Σ = L Lᵀ.",
        "det Σ = (product of L's diagonal)², so log det Σ = 2·Σ log L_ii: no determinant that could underflow. And "
        "‖L_p⁻¹ L_q‖² (all entries squared, added) is tr(Σ_p⁻¹ Σ_q).",
        "`torch.linalg.solve_triangular(root_p, x, upper=False)` is L_p⁻¹ x without an inverse; use it for root_q and for "
        "`(mu_q - mu_p).unsqueeze(-1)`, square, add up.",
    ),
    (
        Mistake("q and p swapped", full(swap=True), "This is KL(p ‖ q): Σ_p must be the one that divides."),
        Mistake("the ½ is missing", full(half=1.0), "The ½ stands before the whole bracket."),
        Mistake(
            "the dimension is not subtracted",
            full(size=0.0),
            "Where q = p the trace is tr(I) = D, and the KL must be 0: subtract D.",
        ),
        Mistake(
            "the sign of the log-determinants",
            full(log_sign=-1.0),
            "It is log det Σ_p − log det Σ_q: a q that is smaller than p carries information and costs more.",
        ),
        Mistake(
            "the log-determinant without its 2",
            full(log_scale=0.5),
            "Σ log L_ii is half of log det Σ, since det Σ = (det L)². It wants a factor of 2.",
        ),
        Mistake(
            "only the diagonals",
            only_diagonals,
            "This treats both as if their dimensions were independent. Off-diagonal entries are correlations, and count.",
        ),
        Mistake(
            "the distance of the means left out",
            full(mean=0.0),
            "Two bells of one shape in different places are not the same: add (μ_q − μ_p)ᵀ Σ_p⁻¹ (μ_q − μ_p).",
        ),
        Mistake(
            "the log of a determinant",
            log_of_determinant,
            "The determinant of 80 narrow dimensions is about 1e-480: it rounds to 0, and its log is −∞. Add logarithms of "
            "the Cholesky diagonal in place of multiplying first.",
        ),
    ),
    (full_from_distributions, full_by_slogdet),
    reference=kl_full,
    cases=full_cases,
    expects="one number (a tensor without axes), in nats, 0 where the two are the same",
    checked="Values and the gradients by both means, in 1, 2, a few and 80 dimensions, where determinants underflow.",
    tolerance=10.0,
    equivalent={},
)


# --- 6 · Free bits


def free_bits_cases(rng: Rng) -> Iterator[Case]:
    for batch, latent, kind, about in (
        (4, 3, np.float32, "a small batch"),
        (1, 6, np.float64, "a batch of one"),
        (int(rng.integers(8, 14)), int(rng.integers(7, 12)), np.float64, "a larger batch"),
    ):
        kl = rng.gamma(1.0, rng.choice([0.05, 1.0], latent), (batch, latent))  # some dimensions are nearly dead
        kl[0, 0], kl[:, -1] = 3.0, 0.01 * (1 + np.arange(batch))
        floor = float(np.round(rng.uniform(0.2, 0.6), 3))
        yield Case({"kl_per_dim": kl.astype(kind), "floor": floor}, about, ("kl_per_dim",))
    kl = rng.uniform(0.1, 0.2, (5, 6))  # the sum is above one floor, and below six
    yield Case({"kl_per_dim": kl, "floor": 0.5}, "all dimensions nearly dead", ("kl_per_dim",))
    kl = rng.gamma(1.0, 1.0, (3, 4)) + 0.1
    yield Case({"kl_per_dim": kl, "floor": 0.0}, "a floor of zero", ("kl_per_dim",))


def floor_before_mean(kl_per_dim: Tensor, floor: float) -> Tensor:
    return kl_per_dim.clamp(min=floor).mean(0).sum()


def floor_on_the_sum(kl_per_dim: Tensor, floor: float) -> Tensor:
    return kl_per_dim.mean(0).sum().clamp(min=floor)


def floor_times_dimensions(kl_per_dim: Tensor, floor: float) -> Tensor:
    return kl_per_dim.mean(0).sum().clamp(min=floor * kl_per_dim.shape[1])


def a_ceiling(kl_per_dim: Tensor, floor: float) -> Tensor:
    return kl_per_dim.mean(0).clamp(max=floor).sum()


def floor_subtracted(kl_per_dim: Tensor, floor: float) -> Tensor:
    return (kl_per_dim.mean(0) - floor).clamp(min=0).sum()


def floor_added(kl_per_dim: Tensor, floor: float) -> Tensor:
    return (kl_per_dim.mean(0) + floor).sum()


def mean_of_floors(kl_per_dim: Tensor, floor: float) -> Tensor:
    return kl_per_dim.mean(0).clamp(min=floor).mean()


def batch_summed(kl_per_dim: Tensor, floor: float) -> Tensor:
    return kl_per_dim.sum(0).clamp(min=floor).sum()


def bits_with_maximum(kl_per_dim: Tensor, floor: float) -> Tensor:
    per_dimension = torch.mean(kl_per_dim, 0)
    return torch.maximum(per_dimension, torch.full_like(per_dimension, floor)).sum()


def bits_with_relu(kl_per_dim: Tensor, floor: float) -> Tensor:
    batch, latent = kl_per_dim.shape
    return F.relu(kl_per_dim.sum(0) / batch - floor).sum() + floor * latent


FREE_BITS = Exercise(
    "free_bits",
    "A few nats for free",
    10,
    2,
    (
        "Three things in the right order: a mean, a maximum, a sum. Which axis is each one over?",
        "First the mean over the *batch*, so that each dimension has one KL. Then nothing below the floor: "
        "`.clamp(min=floor)`. Then the sum.",
        "`kl_per_dim.mean(dim=0).clamp(min=floor).sum()`.",
    ),
    (
        Mistake(
            "the floor before the mean",
            floor_before_mean,
            "You lift each *frame's* KL to the floor. Then a dimension that a few frames need is charged in full on them, "
            "although its mean is below the floor. Kingma et al. take the mean over the batch first.",
        ),
        Mistake(
            "one floor for the sum",
            floor_on_the_sum,
            "The floor is for each dimension. On the sum, one lively dimension fills it, and all others may die.",
        ),
        Mistake(
            "Z floors for the sum",
            floor_times_dimensions,
            "The total may be above Z·floor while single dimensions are dead: the maximum is for each dimension apart.",
        ),
        Mistake(
            "a ceiling in place of a floor",
            a_ceiling,
            "`clamp(max=floor)` forbids a dimension to *count* more than the floor: the lively ones become free.",
        ),
        Mistake(
            "the floor subtracted",
            floor_subtracted,
            "The gradients are the same, but the value is Z·floor lower: it is no longer max(floor, KL), and with it the loss "
            "is no longer comparable with the bound.",
        ),
        Mistake(
            "the floor added",
            floor_added,
            "Adding a constant changes no gradient: collapsed dimensions are pulled on as before.",
        ),
        Mistake(
            "mean over the latent dimensions",
            mean_of_floors,
            "The dimensions' KLs add up; a mean makes the term Z times too small.",
        ),
        Mistake(
            "the batch summed",
            batch_summed,
            "The KL of a dimension is its *mean* over the batch; the sum grows with the batch, and clears any floor.",
        ),
    ),
    (bits_with_maximum, bits_with_relu),
    reference=free_bits,
    shown=bits_with_maximum,
    cases=free_bits_cases,
    expects="one number (a tensor without axes), in nats, at least Z·floor",
    checked="Values and gradients on five fresh inputs, with dimensions below and above the floor; below it the gradient is 0.",
)

EXERCISES = (STANDARD_NORMAL, TWO_GAUSSIANS, MONTE_CARLO, CATEGORIES, FULL, FREE_BITS)
