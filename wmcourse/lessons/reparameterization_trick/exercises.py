"""Lesson 02's exercises: their inputs, their right answers, and the mistakes that people make in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Laplace, Normal
from torch.nn import functional as F

from wmcourse.lessons.exercise import Ask, Exercise, Mistake
from wmcourse.lessons.judge import Answer, Case
from wmcourse.reparameterization_trick import reparameterize

Rng = np.random.Generator
Noise = torch.Generator | None
Pair = tuple[Tensor, Tensor]


# --- 1 · A sample that lets the gradient through


def draw_cases(rng: Rng) -> Iterator[Case]:
    for shape, kind, about in (
        ((4, 3), np.float32, "a small batch"),
        ((1, 8), np.float64, "a batch of one"),
        ((5, 1), np.float32, "one latent dimension"),
        ((int(rng.integers(6, 12)), int(rng.integers(9, 20))), np.float64, "a larger batch"),
    ):
        mu, logvar = rng.normal(0, 1.5, shape), rng.normal(-0.5, 1.2, shape)
        yield Case({"mu": mu.astype(kind), "logvar": logvar.astype(kind), "generator": None}, about, ("mu", "logvar"))
    mu, logvar = rng.normal(0, 6, (3, 4)), rng.choice([-1.0, 1.0], (3, 4)) * rng.uniform(13, 18, (3, 4))
    yield Case({"mu": mu, "logvar": logvar, "generator": None}, "very narrow and very wide", ("mu", "logvar"))


def given(*inputs: object) -> tuple[object, ...]:
    """The inputs without a generator that is None: so an answer's own default is asked, too."""
    return tuple(value for value in inputs if value is not None)


def reseeded(torch_seed: int, numpy_seed: int) -> Answer:
    """Seeds of our choice before an answer draws."""

    def around(answer: Answer, *inputs: object) -> Tensor:
        torch.manual_seed(torch_seed)
        np.random.seed(numpy_seed)  # noqa: NPY002 (a learner may use the global one)
        return answer(*given(*inputs))

    return around


def passing_none(answer: Answer, mu: Tensor, logvar: Tensor, generator: Noise) -> Tensor:
    """A call that says generator=None."""
    torch.manual_seed(0)
    return answer(mu, logvar, None)


def with_slopes(answer: Answer, mu: Tensor, logvar: Tensor, generator: Noise) -> tuple[Tensor, Tensor, Tensor]:
    """z, and the slopes of each entry by its own μ and log σ²."""
    z = answer(mu.requires_grad_(), logvar.requires_grad_(), generator)
    if not z.requires_grad:
        return z, torch.zeros_like(mu), torch.zeros_like(mu)
    return z, *torch.autograd.grad(z.sum(), (mu, logvar), allow_unused=True, materialize_grads=True)


def twice(answer: Answer, mu: Tensor, logvar: Tensor, generator: Noise) -> tuple[Tensor, Tensor]:
    inputs = given(mu, logvar, generator)
    return answer(*inputs), answer(*inputs)


def draw_properties(ask: Ask, rng: Rng) -> str:
    """What must hold of z = μ + σ·ε, in whatever order ε is drawn. At μ = 0, log σ² = 0 it is ε itself."""
    size = (300, 20)
    mu, logvar, plain = rng.normal(0, 2, size), rng.uniform(-16, 16, size), np.zeros(size)
    a, b = (int(seed) for seed in rng.choice(10**6, 2, replace=False))

    def case(mu: np.ndarray, logvar: np.ndarray, seed: int | None = None) -> Case:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return Case({"mu": mu, "logvar": logvar, "generator": generator}, "300 samples of 20 dimensions")

    noise, again, other = (ask(case(plain, plain), reseeded(*s)).values[0] for s in ((a, 1), (a, 2), (b, 1)))
    if not noise.shape == again.shape == other.shape == size:
        return f"for the shape {size} it returns {noise.shape}."
    one, two = (ask(case(plain, plain), passing_none).values[0] for _ in range(2))
    if not np.array_equal(noise, again) and np.array_equal(one, two):
        return "a generator as the default: without one, two calls after the same torch.manual_seed(…) differ."
    if not np.array_equal(noise, again):
        return "noise that torch's seed does not reach: two calls after the same torch.manual_seed(…) differ."
    if np.array_equal(noise, other):
        if not np.ptp(noise):
            return "no noise comes out: with μ = 0 and log σ² = 0 every entry is the same, whatever the seed."
        return "a seed inside of the function: calls after different seeds return the same noise."
    one, two = ask(case(plain, plain), twice).values
    if np.array_equal(one, two):
        return (
            "a generator that starts anew at each call: two calls in a row, without a generator, return the same noise."
        )
    if not np.ptp(noise):
        return "one number for everything: with μ = 0 and log σ² = 0 all entries are equal."
    if not np.ptp(noise, axis=0).any():
        return "one ε for the whole batch: with μ = 0 and log σ² = 0 all rows are equal."
    if not np.ptp(noise, axis=1).any():
        return "one ε for each sample: with μ = 0 and log σ² = 0 all dimensions of a sample are equal."
    if complaint := not_standard(noise):
        return complaint
    z, by_mu, by_logvar = ask(
        case(mu, logvar), lambda f, *inputs: with_slopes(lambda *i: reseeded(a, 1)(f, *i), *inputs)
    ).values
    if not by_mu.any() and not by_logvar.any():
        return "sampling without a gradient: dz/dμ and dz/dlogvar are 0 everywhere."
    right = mu + np.exp(0.5 * logvar) * noise
    close = np.isclose(z, right, 1e-6, 1e-8)
    if np.allclose(z, right - mu, 1e-6, 1e-8):
        return "μ forgotten: z is σ·ε, with the mean 0 everywhere."
    if close.any() and not close.all():
        low, high = logvar[close].min(), logvar[close].max()
        if not ((low < logvar[~close]) & (logvar[~close] < high)).any():
            return f"a clamp on logvar: z is μ + σ·ε only where logvar is between {low:.1f} and {high:.1f}."
    if not close.all():
        return "z is not μ + σ·ε with σ = exp(½·logvar), where ε is what comes out at μ = 0, log σ² = 0 under the same seed."
    if not np.allclose(by_mu, 1):
        return "the values are right, but dz/dμ is not 1 everywhere."
    if not np.allclose(by_logvar, 0.5 * (right - mu), 1e-6, 1e-8):
        return "the values are right, but dz/dlogvar is not ½·σ·ε everywhere."
    first, second = (ask(case(plain, plain, a), reseeded(b, n)).values[0] for n in (1, 2))
    if not np.array_equal(first, ask(case(plain, plain, a), reseeded(a, 1)).values[0]):
        return "the generator is ignored: with equal generators, and different global seeds, the noise differs."
    one, two = ask(case(plain, plain, a), twice).values
    if np.array_equal(one, two):
        return "a seed for the generator that was passed: two calls in a row with one generator return the same noise."
    if not np.array_equal(first, second):
        return (
            "the generator is ignored, at least in part: equal generators must give equal noise, and here they do not."
        )
    sequences = ask(case(mu[:30].reshape(2, 15, 20), logvar[:30].reshape(2, 15, 20), b)).values[0].shape
    if sequences != (2, 15, 20):
        return f"for sequences, (2, 15, 20), it returns the shape {sequences}."
    return not_standard(first)


def not_standard(noise: np.ndarray) -> str:
    """What is not as in independent standard normal noise (rows, columns); each test fails one time in a million."""
    count, limit = noise.size, 5.0 / np.sqrt(noise.size)
    if len(np.unique(np.abs(noise))) < 0.99 * count:
        return "some entries share their noise: each needs an ε of its own."
    by_normal = np.sort(torch.special.ndtr(torch.from_numpy(noise.astype(np.float64).ravel())).numpy())
    gap = np.abs(by_normal - (np.arange(count) + 0.5) / count).max()
    mean, square = noise.mean(), (noise**2).mean()
    if gap > 2.7 / np.sqrt(count) or abs(mean) > limit or abs(square - 1) > 1.5 * limit:
        return f"at μ = 0, log σ² = 0 it is no N(0, 1): its mean is {mean:.3f} and its mean square {square:.3f}."
    if abs((noise[1:] * noise[:-1]).mean()) > limit or abs((noise[:, 1:] * noise[:, :-1]).mean()) > limit:
        return "neighbouring entries are correlated: each needs an ε of its own."
    return ""


def drawn(noise: Callable[[Tensor, Noise], Tensor], power: float = 0.5, scale: float = 1.0) -> Answer:
    """μ + scale·exp(power·logvar) times some noise."""

    def wrong(mu: Tensor, logvar: Tensor, generator: Noise = None) -> Tensor:
        return mu + scale * torch.exp(power * logvar) * noise(mu, generator)

    return wrong


def right_noise(mu: Tensor, generator: Noise) -> Tensor:
    return torch.randn(mu.shape, generator=generator, dtype=mu.dtype)


def no_gradient(mu: Tensor, logvar: Tensor, generator: Noise = None) -> Tensor:
    return torch.normal(mu, torch.exp(0.5 * logvar), generator=generator).detach()


def noise_added_to_sigma(mu: Tensor, logvar: Tensor, generator: Noise = None) -> Tensor:
    return mu + torch.exp(0.5 * logvar) + right_noise(mu, generator)


def noise_on_both(mu: Tensor, logvar: Tensor, generator: Noise = None) -> Tensor:
    return (mu + torch.exp(0.5 * logvar)) * right_noise(mu, generator)


def logvar_as_sigma(mu: Tensor, logvar: Tensor, generator: Noise = None) -> Tensor:
    return mu + logvar * right_noise(mu, generator)


def mean_forgotten(mu: Tensor, logvar: Tensor, generator: Noise = None) -> Tensor:
    return 0 * mu + torch.exp(0.5 * logvar) * right_noise(mu, generator)


def own_generator(mu: Tensor, logvar: Tensor, generator: Noise = None) -> Tensor:
    if generator is None:
        generator = torch.Generator().manual_seed(torch.initial_seed())
    return mu + torch.exp(0.5 * logvar) * right_noise(mu, generator)


PRIVATE = torch.Generator().manual_seed(0)


def generator_by_default(mu: Tensor, logvar: Tensor, generator: Noise = PRIVATE) -> Tensor:
    return mu + torch.exp(0.5 * logvar) * right_noise(mu, generator)


def generator_reset(mu: Tensor, logvar: Tensor, generator: Noise = None) -> Tensor:
    if generator is not None:
        generator.manual_seed(0)
    return mu + torch.exp(0.5 * logvar) * right_noise(mu, generator)


def noise_without_sign(mu: Tensor, logvar: Tensor, generator: Noise = None) -> Tensor:
    return mu + torch.exp(0.5 * logvar) * right_noise(mu, generator).abs()


def no_noise(mu: Tensor, logvar: Tensor, generator: Noise = None) -> Tensor:
    return mu + 0 * logvar


def sigma_cut(mu: Tensor, logvar: Tensor, generator: Noise = None) -> Tensor:
    with torch.no_grad():
        sigma = torch.exp(0.5 * logvar)
    return mu + sigma * right_noise(mu, generator)


def clamped_draw(mu: Tensor, logvar: Tensor, generator: Noise = None) -> Tensor:
    return mu + torch.exp(0.5 * logvar.clamp(-10, 10)) * right_noise(mu, generator)


def seed_inside(mu: Tensor, logvar: Tensor, generator: Noise = None) -> Tensor:
    torch.manual_seed(42)
    return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)


def from_randn_like(mu: Tensor, logvar: Tensor, generator: Noise = None) -> Tensor:
    std = logvar.mul(0.5).exp()
    return torch.randn_like(std, generator=generator).mul(std).add(mu)


def from_normal(mu: Tensor, logvar: Tensor, generator: Noise = None) -> Tensor:
    std = torch.sqrt(torch.exp(logvar))
    if generator is None:
        return Normal(mu, std).rsample()
    return torch.addcmul(mu, std, torch.normal(0.0, 1.0, tuple(mu.shape), generator=generator, dtype=mu.dtype))


def from_another_order(mu: Tensor, logvar: Tensor, generator: Noise = None) -> Tensor:
    noise = torch.randn(mu.numel(), generator=generator, dtype=torch.float64).flip(0)
    return mu + (logvar / 2).exp() * noise.reshape(mu.shape).to(mu.dtype)


def from_uniform_noise(mu: Tensor, logvar: Tensor, generator: Noise = None) -> Tensor:
    u = torch.rand((2, *mu.shape), generator=generator, dtype=torch.float64)
    epsilon = torch.sqrt(-2 * torch.log1p(-u[0])) * torch.cos(2 * torch.pi * u[1])  # Box and Muller
    return mu + torch.exp(logvar / 2) * epsilon.to(mu.dtype)


REPARAMETERIZE = Exercise(
    "reparameterize",
    "A sample that lets the gradient through",
    10,
    1,
    (
        "Two lines. The first draws standard normal noise with mu's shape and dtype. The second moves and stretches it: "
        "which power of `logvar` is σ?",
        "log σ² = 2·log σ, so σ = exp(½·logvar). And `torch.randn_like(mu, generator=generator)` draws from the generator, "
        "or from torch's global one where it is None.",
        "Two lines then: `epsilon` from the generator; and its sum with μ, once σ has stretched it. Nothing is detached on the way, "
        "and nothing is seeded.",
    ),
    (
        Mistake(
            "exp(logvar) for σ",
            drawn(right_noise, power=1.0),
            "Two roads lead here: taking σ² = exp(logvar) for σ, or reading `logvar` as log σ. It is log σ², so "
            "σ = exp(½·logvar). It is tempting because nothing breaks: the network trains, with noise of a width that the KL "
            "does not know of.",
        ),
        Mistake(
            "the ½ outside of the exponential",
            drawn(right_noise, power=1.0, scale=0.5),
            "½·exp(logvar) is half of the variance. The root of exp(logvar) is exp(½·logvar): the ½ is a power, and stands "
            "inside. Both formulas have the same pieces, and the eye reads over their order.",
        ),
        Mistake(
            "logvar for σ",
            logvar_as_sigma,
            "You multiply the noise with log σ² itself: the second output looks like a width, so it is used as one. It runs, and at log σ² = 0, where networks begin, there is no noise "
            "at all; a negative σ only flips the noise. The network's output is a logarithm: undo it with exp(½·logvar).",
        ),
        Mistake(
            "sampling without a gradient",
            no_gradient,
            "No slope passes from z to μ and σ. `torch.normal(mu, sigma)` and `Normal(mu, sigma).sample()` do so, and `no_grad`, `detach` or a new `torch.tensor(…)`: for the first "
            "one torch even says `requires_grad=True`, and then sends zeros. They are the shortest "
            "way to a sample, and the sample is fine. Draw noise that knows nothing of μ and σ, and make z from it by arithmetic.",
        ),
        Mistake(
            "the gradient stops at σ",
            sigma_cut,
            "σ is computed under `no_grad` (or detached), so only μ learns. It is tempting since the noise itself needs no "
            "gradient, but its factor σ does: dz/dσ = ε.",
        ),
        Mistake(
            "one number for everything",
            drawn(lambda mu, g: torch.randn(1, generator=g, dtype=mu.dtype)),
            "`torch.randn(1)` broadcasts: one ε moves all entries together. It is the shortest call, and the shape comes out right. The mean over the batch then averages nothing "
            "away, and the gradient is as noisy as with a batch of one.",
        ),
        Mistake(
            "one ε for the whole batch",
            drawn(lambda mu, g: torch.randn(mu.shape[-1], generator=g, dtype=mu.dtype)),
            "You draw one ε of shape (Z,), z's last axis, and broadcasting gives it to all samples. Nothing complains, but the samples' "
            "noise is the same, so averaging over the batch no longer reduces it. Draw with mu's whole shape.",
        ),
        Mistake(
            "one ε for each sample",
            drawn(lambda mu, g: torch.randn((*mu.shape[:-1], 1), generator=g, dtype=mu.dtype)),
            "A sample feels like one throw of one die. But one ε for all dimensions makes z move on a line: its dimensions are perfectly correlated, where "
            "q(z|x) has independent ones, which the KL of lesson 03 counts on.",
        ),
        Mistake(
            "noise that torch's seed does not reach",
            drawn(lambda mu, g: torch.from_numpy(np.random.default_rng().normal(size=mu.shape)).to(mu.dtype)),
            "This noise comes from NumPy (or from Python's `random`, or from a generator of the function's own), and `torch.manual_seed` does not control it: the same "
            "run twice gives two results, and nobody can find a bug in that. Draw with torch, from the generator that is passed or from the global one.",
        ),
        Mistake(
            "a seed inside of the function",
            seed_inside,
            "With a seed in the function (`torch.manual_seed`, or a generator that is made and seeded anew) every call draws the same ε. It feels reproducible, but the network then "
            "learns one fixed perturbation by heart. Seed once, outside; or pass a generator.",
        ),
        Mistake(
            "a generator that starts anew at each call",
            own_generator,
            "Where none is passed you make a generator and seed it, so that something is there to draw from. It starts anew with every call, so two calls in a row return the same ε. "
            "`generator=None` is fine as it is: torch then draws from its global generator, which moves on.",
        ),
        Mistake(
            "a seed for the generator that was passed",
            generator_reset,
            "You seed the generator that you are given. Its owner seeded it already; seeded in each call it gives the same ε each time. Only draw from it.",
        ),
        Mistake(
            "a generator as the default",
            generator_by_default,
            "`generator=torch.Generator()` in the head of a function is made once, when it is defined, and is then shared by all calls: `torch.manual_seed` does not reach it. "
            "The default is None, and torch knows what that means.",
        ),
        Mistake(
            "μ forgotten",
            mean_forgotten,
            "σ·ε is the noise alone, with the mean 0. It looks complete since the trick is about σ; without μ the code does not say *which* frame it was.",
        ),
        Mistake(
            "the noise without its sign",
            noise_without_sign,
            "`abs()` keeps z above μ: half of a bell, folded. σ is positive already; ε must have both signs.",
        ),
        Mistake(
            "the generator is ignored",
            drawn(lambda mu, g: torch.randn_like(mu)),
            "z is right, but `generator` is not used: the noise comes from the global one, so whoever passes a generator "
            "cannot repeat a draw with it. It is tempting since without one all is well. `torch.randn_like(mu, "
            "generator=generator)` is right in both cases.",
        ),
        Mistake(
            "uniform noise",
            drawn(lambda mu, g: torch.rand(mu.shape, generator=g, dtype=mu.dtype)),
            "`torch.rand` is uniform on [0, 1): never negative, mean ½. Standard normal noise is `torch.randn`: one letter more, and easily missed.",
        ),
        Mistake(
            "the noise added to σ",
            noise_added_to_sigma,
            "μ + σ + ε moves the mean to μ + σ and leaves the width at 1. One says “add noise”, and "
            "so it is tempting to add it; but σ is a width, and *stretches* the noise: σ·ε.",
        ),
        Mistake(
            "the noise multiplies μ, too",
            noise_on_both,
            "A bracket too many, and the line still has all its parts: (μ + σ)·ε has the mean 0, whatever μ. The noise belongs to σ alone, and μ moves the result.",
        ),
        Mistake(
            "no noise",
            no_noise,
            "Where log σ² = 0, so σ = 1, no noise comes out. Either you return the mean, as one does to *look* at a code after "
            "training (in training it makes a plain autoencoder); or you multiply ε with ½·logvar itself, where exp(½·logvar) belongs.",
        ),
        Mistake(
            "a clamp on logvar",
            clamped_draw,
            "Clamps are common, for fear that exp overflows. Outside of the limits σ does not follow `logvar`, and its gradient is zero: an encoder that went there never "
            "comes back. exp(½·logvar) is safe at these values.",
        ),
    ),
    (from_randn_like, from_normal, from_another_order, from_uniform_noise),
    reference=reparameterize,
    cases=draw_cases,
    properties=draw_properties,
    expects="a fresh draw from N(μ, σ²) for each entry, in mu's shape and dtype, from torch's noise or the given generator, "
    "with dz/dμ = 1 and dz/dlogvar = ½·σ·ε",
    checked="Shapes and dtypes on fresh inputs; then, on 300 × 20 entries and in whatever order you draw: that the noise "
    "is N(0, 1), an own one for each entry, new in each call, and torch's; that z is μ + σ·ε with it; both slopes; the generator.",
    equivalent={
        "line 7: + became -": "−ε is as standard normal as ε, so μ − σ·ε is the same distribution, with slopes that fit it"
    },
    part=True,
)


# --- 2 · The score-function estimator


def quadratic(z: Tensor) -> Tensor:
    return z.square().sum(dim=-1)


def wavy(z: Tensor) -> Tensor:
    return torch.sin(2 * z).sum(dim=-1) + z.prod(dim=-1)


def stairs(z: Tensor) -> Tensor:
    """Not differentiable at the steps; its slope is 0 elsewhere."""
    return torch.floor(2 * z).sum(dim=-1) + 1


def soft(z: Tensor) -> Tensor:
    return torch.logsumexp(z, dim=-1) - 2 * z[..., 0]


def gradient_cases(rng: Rng, functions: tuple[Answer, ...], fewest: int = 1) -> Iterator[Case]:
    for i, (samples, batch, latent, kind, about) in enumerate(
        (
            (7, 3, 2, np.float32, "a few samples"),
            (5, 1, 4, np.float64, "a batch of one"),
            (fewest, 4, 3, np.float64, "as few samples as there can be"),
            (int(rng.integers(20, 40)), int(rng.integers(4, 7)), 3, np.float64, "more samples"),
        )
    ):
        values = (
            rng.normal(0.5, 1, (batch, latent)),
            rng.normal(-0.5, 0.8, (batch, latent)),
            rng.normal(size=(samples, batch, latent)),
        )
        inputs = dict(zip(("mu", "logvar", "epsilon"), (v.astype(kind) for v in values), strict=True))
        yield Case(
            {"f": functions[i % len(functions)], **inputs}, f"{about}, f = {functions[i % len(functions)].__name__}"
        )
    wide = rng.normal(0, 1, (2, 3)), np.array([[-9.0, 0.0, 3.0], [4.0, -7.0, 0.5]]), rng.normal(size=(6, 2, 3))
    yield Case({"f": functions[0], **dict(zip(("mu", "logvar", "epsilon"), wide, strict=True))}, "narrow and wide q")


def score_cases(rng: Rng) -> Iterator[Case]:
    return gradient_cases(rng, (quadratic, wavy, stairs, soft))


def score_gradient(
    f: "Callable[[Tensor], Tensor]", mu: Tensor, logvar: Tensor, epsilon: Tensor
) -> tuple[Tensor, Tensor]:
    sigma = torch.exp(0.5 * logvar)
    value = f(mu + sigma * epsilon).unsqueeze(-1)  # (S, B, 1): what f says, and nothing of its slope
    by_mu = value * epsilon / sigma  # since (z − μ)/σ² = ε/σ
    by_logvar = value * 0.5 * (epsilon.square() - 1)
    return by_mu, by_logvar


Terms = Callable[[Tensor, Tensor, Tensor], Pair]  # of value (S, B, 1), σ and ε


def scored(
    terms: Terms = lambda v, s, e: (v * e / s, v * 0.5 * (e**2 - 1)),
    power: float = 0.5,
    where: str = "z",
    change: Callable[[Tensor], Tensor] = lambda v: v,
) -> Answer:
    """The estimator with other terms, another width, f at another place, or f's values (S, B) changed."""

    def wrong(f: Answer, mu: Tensor, logvar: Tensor, epsilon: Tensor) -> Pair:
        sigma = torch.exp(power * logvar)
        z = {"z": mu + sigma * epsilon, "mu": (mu + 0 * epsilon), "noise": epsilon}[where]
        return terms(change(f(z)).unsqueeze(-1), sigma, epsilon)

    return wrong


def averaged(v: Tensor, s: Tensor, e: Tensor) -> Pair:
    return (v * e / s).mean(0), (v * 0.5 * (e**2 - 1)).mean(0)


def surrogate_through_the_sample(f: Answer, mu: Tensor, logvar: Tensor, epsilon: Tensor) -> Pair:
    leaves = [t.expand_as(epsilon).clone().requires_grad_() for t in (mu, logvar)]
    sigma = torch.exp(0.5 * leaves[1])
    z = leaves[0] + sigma * epsilon
    surrogate = f(z) * Normal(leaves[0], sigma).log_prob(z).sum(-1)
    by_mu, by_logvar = torch.autograd.grad(surrogate.sum(), leaves)
    return by_mu, by_logvar


def swapped(answer: Answer) -> Answer:
    def wrong(*inputs: object) -> Pair:
        first, second = answer(*inputs)
        return second, first

    return wrong


def path_for_score(f: Answer, mu: Tensor, logvar: Tensor, epsilon: Tensor) -> Pair:
    return path_gradient(f, mu, logvar, epsilon)


def log_q_for_its_slope(f: Answer, mu: Tensor, logvar: Tensor, epsilon: Tensor) -> Pair:
    sigma = torch.exp(0.5 * logvar)
    z = mu + sigma * epsilon
    weighted = f(z).unsqueeze(-1) * Normal(mu, sigma).log_prob(z)
    return weighted, weighted


def score_through_the_sample(f: Answer, mu: Tensor, logvar: Tensor, epsilon: Tensor) -> Pair:
    mu, logvar = (t.expand_as(epsilon).clone().requires_grad_() for t in (mu, logvar))
    sigma = torch.exp(0.5 * logvar)
    z = mu + sigma * epsilon  # not detached: log q(z) then depends on μ through z, too, and nothing of μ is left
    log_q = Normal(mu, sigma).log_prob(z)
    by_mu, by_logvar = torch.autograd.grad(log_q.sum(), (mu, logvar))
    value = f(z.detach()).unsqueeze(-1)
    return value * by_mu, value * by_logvar


def score_by_autograd(f: Answer, mu: Tensor, logvar: Tensor, epsilon: Tensor) -> Pair:
    z = mu + torch.exp(logvar / 2) * epsilon
    leaves = [t.expand_as(z).clone().requires_grad_() for t in (mu, logvar)]
    surrogate = f(z)[..., None] * Normal(leaves[0], torch.exp(leaves[1] / 2)).log_prob(z)
    by_mu, by_logvar = torch.autograd.grad(surrogate.sum(), leaves)
    return by_mu, by_logvar


def score_from_z(f: Answer, mu: Tensor, logvar: Tensor, epsilon: Tensor) -> Pair:
    variance = logvar.exp()
    z = mu + variance.sqrt() * epsilon
    score = (z - mu) / variance, ((z - mu) ** 2 / variance - 1) / 2
    return f(z)[:, :, None] * score[0], f(z)[:, :, None] * score[1]


CUT = "it returns gradients, as numbers: nothing is differentiated once more"
FUNCTION = "f is a function, which this mutant leaves as it is"

SCORE_GRADIENT = Exercise(
    "score_gradient",
    "Weigh what you saw",
    10,
    2,
    (
        "Make z from q with the noise, ask f for its values, and multiply each with the score, ∂log q(z)/∂μ and "
        "∂log q(z)/∂logvar. Your first step has the score by σ; the chain rule dσ/dlogvar = ½σ leads to logvar.",
        "Put z − μ = σε into both scores: much cancels. By μ one σ is left below; by logvar only ε is left, and two numbers.",
        "f(z) is (S, B), the scores are (S, B, Z): `.unsqueeze(-1)` gives the value an axis to broadcast along.",
    ),
    (
        Mistake(
            "exp(logvar) for σ",
            scored(power=1.0),
            "logvar is log σ², so σ = exp(½·logvar). Your ½·(ε² − 1) knows that; the σ in z and in ε/σ does not. It is "
            "tempting since exp(logvar) is right wherever a formula has σ² in it.",
        ),
        Mistake(
            "logvar taken for log σ",
            scored(lambda v, s, e: (v * e / s, v * (e**2 - 1)), power=1.0),
            "All of this would be right if the input were log σ: the width exp(…), and the score ε² − 1. It is log σ², twice "
            "as much, hence the ½ in both places. Many programs pass log σ, so one reads it that way.",
        ),
        Mistake(
            "the ½ of the score by logvar",
            scored(lambda v, s, e: (v * e / s, v * (e**2 - 1))),
            "ε² − 1 is the score by log σ, the parameter of lesson 01's ascent. logvar is 2·log σ, so its score is half of that.",
        ),
        Mistake(
            "the slope by σ",
            scored(lambda v, s, e: (v * e / s, v * (e**2 - 1) / s)),
            "This is the score by σ, as in the derivation. The exercise asks for logvar: multiply with dσ/dlogvar = ½σ.",
        ),
        Mistake(
            "the −1 is missing",
            scored(lambda v, s, e: (v * e / s, v * 0.5 * e**2)),
            "It looks like a constant that does not matter. It comes from q's normaliser, −log σ, and without it the score does not average to 0, and the estimate is "
            "biased by ½·E[f]: adding 100 to f would change the gradient.",
        ),
        Mistake(
            "divided by σ²",
            scored(lambda v, s, e: (v * e / s**2, v * 0.5 * (e**2 - 1))),
            "(z − μ)/σ² has the σ² below. You have put ε there already, and z − μ = σε: one σ cancels, ε/σ.",
        ),
        Mistake(
            "not divided by σ",
            scored(lambda v, s, e: (v * e, v * 0.5 * (e**2 - 1))),
            "With z = μ + σε one expects no σ, as dz/dμ = 1. But the score by μ is ε/σ: the narrower q, the more its log-density changes when μ moves. Here lies the noise of "
            "narrow posteriors.",
        ),
        Mistake(
            "the sign turned",
            scored(lambda v, s, e: (-v * e / s, v * 0.5 * (1 - e**2))),
            "These are the slopes of −log q, which is what losses are made of, hence the habit. The score is the slope of *plus* log q: large values of f draw μ to where they "
            "were seen.",
        ),
        Mistake(
            "f at μ",
            scored(where="mu"),
            "f must be asked at the *samples* z. Asking at μ is cheaper and looks steadier, but there it says the same every time, and a constant times the score averages "
            "to 0.",
        ),
        Mistake(
            "f of the noise",
            scored(where="noise"),
            "You ask f at ε, which is what the function is given as noise, and a sample of N(0, 1). The samples of q are z = μ + σε.",
        ),
        Mistake(
            "averaged over the samples",
            scored(averaged),
            "The mean over S is the estimate that one uses in the end. Here each sample keeps its own, so that their "
            "variance can be seen: (S, B, Z).",
        ),
        Mistake(
            "the mean value in place of each value",
            scored(change=lambda v: v.mean() + 0 * v),
            "`values.mean()` weighs all scores with one number. The score alone averages to 0, so a constant times it says nothing: that *this* "
            "sample was better than another is all that the estimate knows. Each score is weighed with its own f(z).",
        ),
        Mistake(
            "the mean over the samples in place of each value",
            scored(change=lambda v: v.mean(0) + 0 * v),
            "You average f over the samples first and weigh the scores with that. Average last: E[f·score] is not E[f]·E[score], and the second "
            "factor is 0.",
        ),
        Mistake(
            "the score alone",
            scored(change=torch.ones_like),
            "∂log q is where the estimate starts, and it averages to 0. What f says of this sample has to weigh it.",
        ),
        Mistake(
            "multiplied by σ",
            scored(lambda v, s, e: (v * e * s, v * 0.5 * (e**2 - 1))),
            "z − μ is σ·ε, but the score divides it by σ²: ε/σ.",
        ),
        Mistake(
            "one score for all dimensions",
            scored(lambda v, s, e: (v * e / s, v * (0.5 * (e**2 - 1)).sum(-1, keepdim=True).expand_as(e))),
            "log q(z) is a sum over the dimensions, so one adds the scores up as well. But the slope by *this* dimension's logvar has only this "
            "dimension's term in it.",
        ),
        Mistake(
            "the surrogate through the sample",
            surrogate_through_the_sample,
            "You differentiate f(z)·log q(z) while z = μ + σε is attached to μ and σ, so the slope also runs through z, in both factors. "
            "In the score z and f(z) are fixed numbers: detach them, and only log q has a slope.",
        ),
        Mistake(
            "the path in place of the score",
            path_for_score,
            "This is exercise 3: it uses f's slope. It is right on average where f is smooth, and blind where f has steps; the score asks for values only.",
        ),
        Mistake(
            "the two outputs swapped",
            swapped(score_gradient),
            "Both are right, in the other order: first by μ, then by logvar. The shapes do not tell.",
        ),
        Mistake(
            "log q for its slope",
            log_q_for_its_slope,
            "You weigh with log q(z) itself. A loss whose *gradient* is the estimate does have f·log q in it, so it looks familiar. "
            "But these are gradients already. The trick is ∇q = q·∇log q: it is the *gradient* of log q that stands there.",
        ),
        Mistake(
            "the score through the sample",
            score_through_the_sample,
            "You let autograd differentiate log q(z; μ, σ) while z = μ + σε is still attached, as one would in the path. Then z moves along with μ, their difference "
            "stays, and the slope by μ is 0. In the score z is a fixed number: detach it.",
        ),
    ),
    (score_by_autograd, score_from_z),
    reference=score_gradient,
    cases=score_cases,
    expects="two tensors (S, B, Z), by μ and by logvar: one unbiased estimate for each sample, not averaged",
    checked="Both estimates on five fresh sets of noise, with four functions, one of them without any useful slope, and with a narrow q.",
    equivalent={"gradient cut": CUT, "input f ignored": FUNCTION},
)


# --- 3 · The path


def path_cases(rng: Rng) -> Iterator[Case]:
    return gradient_cases(rng, (quadratic, wavy, soft))


def path_gradient(
    f: "Callable[[Tensor], Tensor]", mu: Tensor, logvar: Tensor, epsilon: Tensor
) -> tuple[Tensor, Tensor]:
    sigma = torch.exp(0.5 * logvar)
    z = (mu + sigma * epsilon).detach().requires_grad_()
    (slope,) = torch.autograd.grad(f(z).sum(), z)  # f'(z), (S, B, Z): each sample's value depends on its own z alone
    return slope, slope * 0.5 * sigma * epsilon


def pathed(terms: Terms, power: float = 0.5, where: str = "z", mean: bool = False) -> Answer:
    """The path with other factors behind the slope, another width, or f's slope at another place."""

    def wrong(f: Answer, mu: Tensor, logvar: Tensor, epsilon: Tensor) -> Pair:
        sigma = torch.exp(power * logvar)
        z = {"z": mu + sigma * epsilon, "mu": mu + 0 * epsilon, "noise": epsilon}[where].clone().requires_grad_()
        value = f(z).mean() if mean else f(z).sum()
        return terms(torch.autograd.grad(value, z)[0], sigma, epsilon)

    return wrong


def path_right(g: Tensor, s: Tensor, e: Tensor) -> Pair:
    return g, g * 0.5 * s * e


def path_summed(f: Answer, mu: Tensor, logvar: Tensor, epsilon: Tensor) -> Pair:
    mu, logvar = mu.clone().requires_grad_(), logvar.clone().requires_grad_()
    by_mu, by_logvar = torch.autograd.grad(f(mu + torch.exp(0.5 * logvar) * epsilon).sum(), (mu, logvar))
    return by_mu, by_logvar


def path_averaged(f: Answer, mu: Tensor, logvar: Tensor, epsilon: Tensor) -> Pair:
    mu, logvar = mu.clone().requires_grad_(), logvar.clone().requires_grad_()
    value = f(mu + torch.exp(0.5 * logvar) * epsilon).mean(0).sum()
    by_mu, by_logvar = torch.autograd.grad(value, (mu, logvar))
    return by_mu, by_logvar


def path_through_parameters(f: Answer, mu: Tensor, logvar: Tensor, epsilon: Tensor) -> Pair:
    leaves = [t.expand_as(epsilon).clone().requires_grad_() for t in (mu, logvar)]
    f(leaves[0] + torch.exp(0.5 * leaves[1]) * epsilon).sum().backward()
    return leaves[0].grad, leaves[1].grad  # type: ignore[return-value]


def path_by_vjp(f: Answer, mu: Tensor, logvar: Tensor, epsilon: Tensor) -> Pair:
    z = mu + torch.exp(logvar / 2) * epsilon
    value, back = torch.func.vjp(f, z)[:2]
    (slope,) = back(torch.ones_like(value))
    return slope, slope * (z - mu) / 2


PATH_GRADIENT = Exercise(
    "path_gradient",
    "Follow the sample",
    10,
    2,
    (
        "You need f's slope at each sample. Make z, detach it, tell torch to watch it (`requires_grad_()`), and ask "
        "`torch.autograd.grad` for the slope of `f(z).sum()` by z.",
        "The sum is harmless: a sample's value depends on its own z alone, so the slope of the sum by that z is f'(z). "
        "`autograd.grad` returns a tuple, with one slope in it.",
        "What is left is the chain rule, entry by entry: f'(z) times dz/dμ, and f'(z) times dz/dlogvar. Both factors stand in the "
        "derivation.",
    ),
    (
        Mistake(
            "exp(logvar) for σ",
            pathed(path_right, power=1.0),
            "logvar is log σ², so σ = exp(½·logvar). Your samples are of another width, so f is asked in the wrong places, "
            "and nothing looks wrong: exp(logvar) is σ², and as positive as σ.",
        ),
        Mistake(
            "logvar taken for log σ",
            pathed(lambda g, s, e: (g, g * s * e), power=1.0),
            "With log σ as the input, z = μ + exp(…)·ε and the slope σ·ε would both be right. The input is log σ², hence a ½ "
            "in both. The two names are easily taken for one another.",
        ),
        Mistake(
            "the ½ of dz/dlogvar",
            pathed(lambda g, s, e: (g, g * s * e)),
            "d exp(½·logvar)/dlogvar = ½·exp(½·logvar): the inner derivative ½ comes in front. It is the one "
            "factor that does not show in z itself.",
        ),
        Mistake(
            "the slope by σ",
            pathed(lambda g, s, e: (g, g * e)),
            "f'(z)·ε is the slope by σ, as in the derivation. By logvar it has dσ/dlogvar = ½σ as a factor.",
        ),
        Mistake(
            "the noise forgotten",
            pathed(lambda g, s, e: (g, g * 0.5 * s)),
            "By μ the factor is 1, so one expects the same by σ. But dz/dσ is ε: σ moves a sample outwards on whichever side it is, so the sign is the noise's.",
        ),
        Mistake(
            "the slope at μ",
            pathed(path_right, where="mu"),
            "You differentiate f at μ for all samples, without noise, as if that were the average. The expectation of a slope is not the slope at the expectation; it is "
            "the samples that feel f's curvature, and through it σ.",
        ),
        Mistake(
            "the slope at the noise",
            pathed(path_right, where="noise"),
            "You differentiate f at ε, the input that has the right shape. The samples are z = μ + σε.",
        ),
        Mistake(
            "the mean of everything differentiated",
            pathed(path_right, mean=True),
            "`f(z).mean()` divides all slopes by S·B. It is the habit of losses; here each sample's own slope is wanted, "
            "which the *sum* keeps.",
        ),
        Mistake(
            "summed over the samples",
            path_summed,
            "You differentiate by mu itself, which all samples share, so their slopes arrive added up, (B, Z). Differentiate "
            "by z, (S, B, Z), to keep them apart.",
        ),
        Mistake(
            "averaged over the samples",
            path_averaged,
            "This is the finished estimate, (B, Z), the one that training wants. Here each sample keeps its own, so that their variance can be seen.",
        ),
        Mistake(
            "σ forgotten",
            pathed(lambda g, s, e: (g, g * 0.5 * e)),
            "dσ/dlogvar is ½σ, not ½: the derivative of exp(½·logvar) has the exponential in it.",
        ),
        Mistake(
            "σ² for σ",
            pathed(lambda g, s, e: (g, g * 0.5 * s**2 * e)),
            "½·exp(logvar) is the derivative of ½·exp(logvar). z has σ = exp(½·logvar) in it, so its slope is ½·σ·ε.",
        ),
        Mistake(
            "the slope by μ twice",
            pathed(lambda g, s, e: (g, g)),
            "By logvar, too, you return f'(z). The chain rule has a second factor, dz/dlogvar: how far z moves when logvar does.",
        ),
        Mistake(
            "the two outputs swapped",
            swapped(path_gradient),
            "Both are right, in the other order: first by μ, then by logvar.",
        ),
        Mistake(
            "the score in place of the path",
            score_gradient,
            "This is exercise 2: right on average, so a test with many samples would pass it, and much noisier. The path uses f's slope, not its value.",
        ),
    ),
    (path_through_parameters, path_by_vjp),
    reference=path_gradient,
    cases=path_cases,
    expects="two tensors (S, B, Z), by μ and by logvar: each sample's f'(z) times dz/dμ and dz/dlogvar",
    checked="Both estimates on five fresh sets of noise, with three functions, and with a narrow and a wide q.",
    equivalent={"gradient cut": CUT, "input f ignored": FUNCTION},
)


# --- 4 · A baseline


def baseline_cases(rng: Rng) -> Iterator[Case]:
    return gradient_cases(rng, (quadratic, wavy, stairs, soft), fewest=2)


def baseline_gradient(
    f: "Callable[[Tensor], Tensor]", mu: Tensor, logvar: Tensor, epsilon: Tensor
) -> tuple[Tensor, Tensor]:
    sigma = torch.exp(0.5 * logvar)
    values = f(mu + sigma * epsilon)  # (S, B)
    others = (values.sum(dim=0) - values) / (len(values) - 1)  # for each sample the mean of all others
    better = (values - others).unsqueeze(-1)
    return better * epsilon / sigma, better * 0.5 * (epsilon.square() - 1)


def based(change: Callable[[Tensor], Tensor]) -> Answer:
    """The score estimator with f's values (S, B) changed."""
    return scored(change=change)


def rest(v: Tensor) -> Tensor:
    return (v.sum(0) - v) / (len(v) - 1)


def terms_centred(v: Tensor, s: Tensor, e: Tensor) -> Pair:
    by_mu, by_logvar = v * e / s, v * 0.5 * (e**2 - 1)
    return by_mu - by_mu.mean(0), by_logvar - by_logvar.mean(0)


def baseline_at_mu(f: Answer, mu: Tensor, logvar: Tensor, epsilon: Tensor) -> Pair:
    sigma = torch.exp(0.5 * logvar)
    better = (f(mu + sigma * epsilon) - f(mu.expand_as(epsilon))).unsqueeze(-1)
    return better * epsilon / sigma, better * 0.5 * (epsilon.square() - 1)


def baseline_by_rescaling(f: Answer, mu: Tensor, logvar: Tensor, epsilon: Tensor) -> Pair:
    count = epsilon.shape[0]
    values = f(mu + torch.exp(logvar / 2) * epsilon)
    better = (values - values.mean(0, keepdim=True)) * (count / (count - 1))
    return better[..., None] * epsilon * torch.exp(-logvar / 2), better[..., None] * (epsilon * epsilon - 1) / 2


def baseline_with_a_loop(f: Answer, mu: Tensor, logvar: Tensor, epsilon: Tensor) -> Pair:
    sigma = torch.exp(logvar * 0.5)
    values, rows = f(mu + sigma * epsilon), []
    for s in range(len(values)):
        others = torch.cat([values[:s], values[s + 1 :]])
        rows.append(values[s] - others.mean(0))
    better = torch.stack(rows).unsqueeze(2)
    return better * (epsilon / sigma), better * (epsilon**2 / 2 - 0.5)


BASELINE_GRADIENT = Exercise(
    "baseline_gradient",
    "Ask the others first",
    5,
    2,
    (
        "The score's mean is 0, so any number that does not know this sample may be subtracted from its value. The other "
        "samples of the same frame do not know it. What do they say on average?",
        "All values but one: the sum over S, minus one's own. How many are left to divide by? No loop is needed: the sum over S "
        "broadcasts against all samples.",
        "Everything else is exercise 2, with values minus baseline where f's values stood.",
    ),
    (
        Mistake(
            "no baseline",
            score_gradient,
            "This is exercise 2, unchanged: unbiased already, so nothing seems to be missing. Subtract from each value the mean of the other samples' values.",
        ),
        Mistake(
            "its own value in the mean",
            based(lambda v: v - v.mean(0)),
            "The mean over *all* samples knows this one: 1/S of it is its own value. That takes 1/S of the gradient away, "
            "everywhere: yours are (S − 1)/S times the right ones. It is tempting since it is one call, and for large S it "
            "hardly shows.",
        ),
        Mistake(
            "divided by S",
            based(lambda v: v - (v.sum(0) - v) / len(v)),
            "`len(values)` is what one divides by out of habit. There are S − 1 others, so their mean divides by S − 1. (Yours stays unbiased, but removes too little.)",
        ),
        Mistake(
            "the sum of the others",
            based(lambda v: v - (v.sum(0) - v)),
            "You subtract the *sum* of the others. It is as unbiased as their mean, so no average shows the mistake; but it "
            "overshoots, and the noise grows.",
        ),
        Mistake(
            "the baseline added",
            based(lambda v: v + rest(v)),
            "With a plus the typical value counts twice. It is unbiased still, which hides the mistake, and noisier than no "
            "baseline at all.",
        ),
        Mistake(
            "the mean of everything",
            based(lambda v: v - v.mean()),
            "`values.mean()` averages over samples *and* frames, and has this sample's own value in it. The others of the same frame are on axis 0.",
        ),
        Mistake(
            "the other frames, too",
            based(lambda v: v - (v.sum() - v) / (v.numel() - 1)),
            "Unbiased, but a poor guess: other frames cost other amounts. Ask the other samples of the *same* frame, axis 0.",
        ),
        Mistake(
            "all of them, divided by S − 1",
            based(lambda v: v - v.sum(0) / (len(v) - 1)),
            "You divide by S − 1, as for the others, and still sum over all S. Take your own value out of the sum.",
        ),
        Mistake(
            "one other sample only",
            based(lambda v: v - v.roll(1, 0)),
            "A single other sample knows nothing of this one either, so this is unbiased. But one value is a noisy guess at the mean; "
            "S − 1 are there to be asked.",
        ),
        Mistake(
            "the sign turned",
            based(lambda v: rest(v) - v),
            "Baseline minus value: all gradients point the other way. It is the value that is lowered.",
        ),
        Mistake(
            "the path in place of the score",
            path_for_score,
            "This is exercise 3, which needs f's slope. Here only values of f may be used.",
        ),
        Mistake(
            "the baseline alone",
            based(rest),
            "You weigh the scores with the baseline, having worked it out with care, and forgot the sample's own value. What is left has the mean 0: no "
            "gradient at all.",
        ),
        Mistake(
            "the mean over the batch",
            based(lambda v: v - v.mean(1, keepdim=True)),
            "You average over frames (axis 1), the batch that one always averages over. Other frames have other values altogether, and each frame's own value is in "
            "the mean. The others of the *same* frame are on axis 0.",
        ),
        Mistake(
            "the terms centred",
            scored(terms_centred),
            "Centring sounds like what a baseline does. But you subtract the mean from the finished terms, so that they average to exactly 0: the gradient is gone. The "
            "baseline is subtracted from f's *value*, before the score multiplies it.",
        ),
        Mistake(
            "f(μ) as the baseline",
            baseline_at_mu,
            "f(μ) does not know the sample either, so this is unbiased and often good. But it asks f once more, and lies "
            "below the mean of f where f curves upwards. Use the values that are there already.",
        ),
        Mistake(
            "divided by the spread, too",
            based(lambda v: (v - v.mean(0)) / (v.std(0) + 1e-8)),
            "Dividing by the standard deviation makes gradients of one size, and of another problem: the scale differs from "
            "frame to frame. Some trainings do that on purpose; it is no unbiased estimate of this gradient.",
        ),
    ),
    (baseline_by_rescaling, baseline_with_a_loop),
    reference=baseline_gradient,
    cases=baseline_cases,
    expects="two tensors (S, B, Z) as in exercise 2, with each f(z_s) replaced by f(z_s) − the mean of f at the other samples",
    checked="Both estimates on five fresh sets of noise, from two samples on, where a baseline with one's own value is half of what it should be.",
    equivalent={"gradient cut": CUT, "input f ignored": FUNCTION},
)


# --- 5 · Another family


def laplace_cases(rng: Rng) -> Iterator[Case]:
    names = ("mu", "log_scale", "u")
    for batch, latent, kind, about in (
        (4, 3, np.float32, "a small batch"),
        (1, 8, np.float64, "a batch of one"),
        (int(rng.integers(6, 12)), int(rng.integers(4, 9)), np.float64, "a larger batch"),
    ):
        values = (
            rng.normal(0, 2, (batch, latent)),
            rng.normal(-0.5, 1, (batch, latent)),
            rng.uniform(0.01, 0.99, (batch, latent)),
        )
        yield Case(dict(zip(names, (v.astype(kind) for v in values), strict=True)), about, ("mu", "log_scale"))
    u = np.array([[0.5, 1e-5, 1 - 1e-5], [0.25, 0.75, 0.6]])
    values = rng.normal(0, 2, (2, 3)), rng.uniform(-6, 4, (2, 3)), u
    yield Case(dict(zip(names, values, strict=True)), "the middle and far out", ("mu", "log_scale"))


def laplace(mu: Tensor, log_scale: Tensor, u: Tensor) -> Tensor:
    below = torch.log(2 * u)  # where u < ½: solve F(z) = u on the left of μ
    above = -torch.log(2 - 2 * u)
    return mu + torch.exp(log_scale) * torch.where(u < 0.5, below, above)


def other_laplace(standard: Callable[[Tensor], Tensor], power: float = 1.0) -> Answer:
    def wrong(mu: Tensor, log_scale: Tensor, u: Tensor) -> Tensor:
        return mu + torch.exp(power * log_scale) * standard(u)

    return wrong


def standard_laplace(u: Tensor) -> Tensor:
    return -torch.sign(u - 0.5) * torch.log1p(-2 * (u - 0.5).abs())


def laplace_cut(mu: Tensor, log_scale: Tensor, u: Tensor) -> Tensor:
    return (mu + torch.exp(log_scale) * standard_laplace(u)).detach()


def laplace_mean_stretched(mu: Tensor, log_scale: Tensor, u: Tensor) -> Tensor:
    return torch.exp(log_scale) * (mu + standard_laplace(u))


def laplace_mean_forgotten(mu: Tensor, log_scale: Tensor, u: Tensor) -> Tensor:
    return 0 * mu + torch.exp(log_scale) * standard_laplace(u)


def laplace_split_at_mu(mu: Tensor, log_scale: Tensor, u: Tensor) -> Tensor:
    return mu + torch.exp(log_scale) * torch.where(u < mu, torch.log(2 * u), -torch.log(2 - 2 * u))


def laplace_distribution_function(mu: Tensor, log_scale: Tensor, u: Tensor) -> Tensor:
    return Laplace(mu, log_scale.exp()).cdf(u)


def laplace_with_noise_of_its_own(mu: Tensor, log_scale: Tensor, u: Tensor) -> Tensor:
    return Laplace(mu, log_scale.exp()).rsample()


def laplace_scale_added(mu: Tensor, log_scale: Tensor, u: Tensor) -> Tensor:
    return mu + log_scale * standard_laplace(u)


def laplace_with_a_sign(mu: Tensor, log_scale: Tensor, u: Tensor) -> Tensor:
    centred = u - 0.5
    return mu - log_scale.exp() * centred.sign() * torch.log1p(-2 * centred.abs())


def laplace_from_distributions(mu: Tensor, log_scale: Tensor, u: Tensor) -> Tensor:
    return Laplace(mu, log_scale.exp()).icdf(u)


def laplace_as_a_difference(mu: Tensor, log_scale: Tensor, u: Tensor) -> Tensor:
    low, high = torch.log(2 * u).clamp(max=0), torch.log(2 * (1 - u)).clamp(max=0)
    return mu + torch.exp(log_scale) * (low - high)


LAPLACE = Exercise(
    "laplace",
    "Another bell, from uniform noise",
    10,
    2,
    (
        "Solve F(z) = u for z, once for each side of μ. On the left F is ½·exp((z − μ)/b), and that is the side where "
        "u < ½.",
        "Left: ½·exp((z − μ)/b) = u, so z = μ + b·log(2u). Right, the same way: 1 − ½·exp(−(z − μ)/b) = u. b = exp(log_scale).",
        "`torch.where(u < 0.5, left, right)` takes each where it holds. Do it for μ = 0 and b = 1, then stretch and move the result.",
    ),
    (
        Mistake(
            "the normal's inverse",
            other_laplace(torch.special.ndtri),
            "This is Φ⁻¹(u), the inverse that one knows: it makes Gaussian samples. Each family has the inverse of its *own* distribution function.",
        ),
        Mistake(
            "the two sides swapped",
            other_laplace(lambda u: torch.where(u < 0.5, -torch.log(2 - 2 * u), torch.log(2 * u))),
            "Each half is right, and in the wrong place: log(2u) belongs to u < ½, where it is negative, the left side of μ. Swapped, no sample strays farther than "
            "b·log 2.",
        ),
        Mistake(
            "mirrored",
            other_laplace(lambda u: -standard_laplace(u)),
            "z falls as u rises: this solves 1 − F(z) = u. By symmetry the *distribution* is the same, so a histogram does "
            "not notice; but it is not the inverse of F, and its samples do not fit anyone else's u.",
        ),
        Mistake(
            "only one side",
            other_laplace(lambda u: torch.log(2 * u)),
            "log(2u) solves F(z) = u only left of μ, where the formula was given first. Used everywhere it makes a reversed exponential distribution: no sample "
            "above μ + b·log 2.",
        ),
        Mistake(
            "only the right side",
            other_laplace(lambda u: -torch.log(2 - 2 * u)),
            "−log(2 − 2u) solves F(z) = u only right of μ. Used everywhere it makes a shifted exponential: no sample below μ − b·log 2.",
        ),
        Mistake(
            "the sign of the right side",
            other_laplace(lambda u: torch.where(u < 0.5, torch.log(2 * u), torch.log(2 - 2 * u))),
            "log(2 − 2u) is negative, and the right side is where z is *above* μ: the exponent there has a minus, and it comes out of the "
            "logarithm. So far no sample of yours is above μ.",
        ),
        Mistake(
            "the sides told apart by μ",
            laplace_split_at_mu,
            "F has two formulas, for z below μ and above. But you have u, not z: F(μ) = ½, so z < μ where u < ½.",
        ),
        Mistake(
            "F and not its inverse",
            laplace_distribution_function,
            "You put u into F. F takes z and gives a probability; wanted is the z that *has* the probability u.",
        ),
        Mistake(
            "noise of its own",
            laplace_with_noise_of_its_own,
            "`rsample()` is a right sample with a right slope, but from noise of its own: u is ignored. What `rsample` does inside is this exercise.",
        ),
        Mistake(
            "b upside down",
            other_laplace(standard_laplace, power=-1.0),
            "You divide by b. In F z − μ is divided by it, so in the inverse it multiplies: a larger b makes a wider bell.",
        ),
        Mistake(
            "μ stretched, too",
            laplace_mean_stretched,
            "b·(μ + …) has the mean b·μ. The scale belongs to the noise alone; then μ moves it.",
        ),
        Mistake(
            "μ forgotten",
            laplace_mean_forgotten,
            "This is centred at 0. Solving for z leaves a μ on the right-hand side.",
        ),
        Mistake(
            "an exponential",
            other_laplace(lambda u: -torch.log1p(-u)),
            "−log(1 − u) is an exponential distribution's inverse, the best-known example of the method: it starts at μ and goes to the right only. A Laplace is "
            "two of them, back to back.",
        ),
        Mistake(
            "the 2 forgotten",
            other_laplace(lambda u: torch.where(u < 0.5, torch.log(u), -torch.log(1 - u))),
            "F(μ) is ½, so u = ½ must give μ. Without the 2, which stems from F's ½ and is easily lost on the way, the two halves "
            "start b·log 2 away from μ, and leave a gap.",
        ),
        Mistake(
            "the ½ of a variance",
            other_laplace(standard_laplace, power=0.5),
            "`log_scale` is log b itself, not the log of a square: b = exp(log_scale). The habit of logvar is tempting here.",
        ),
        Mistake(
            "log b for b",
            laplace_scale_added,
            "You multiply with log_scale itself, which the name of the input invites. It is a logarithm: b = exp(log_scale), which is always positive.",
        ),
        Mistake(
            "the gradient cut",
            laplace_cut,
            "The values are right, and no slope passes: something is detached, as is right for *noise*. But all of it is arithmetic on mu and "
            "log_scale; let torch see it.",
            "the gradient cut",
        ),
        Mistake(
            "uniform noise, stretched",
            other_laplace(lambda u: 2 * u - 1),
            "μ + b·(2u − 1) has the pattern of z = μ + σε, and is uniform on an interval. The inverse of F is what gives the noise its shape.",
        ),
    ),
    (laplace_with_a_sign, laplace_from_distributions, laplace_as_a_difference),
    reference=laplace,
    cases=laplace_cases,
    expects="z with F(z) = u, in the inputs' shape and dtype, with dz/dμ = 1 and dz/dlog b = z − μ",
    checked="Values and both gradients on four fresh inputs: small and large batches, a batch of one, the middle and the far ends.",
    equivalent={},
)


# --- 6 · Categories


def gumbel_cases(rng: Rng) -> Iterator[Case]:
    for batch, kinds, kind, temperature, about in (
        (4, 3, np.float32, 1.0, "a small batch at τ = 1"),
        (1, 5, np.float64, 0.5, "a batch of one"),
        (
            int(rng.integers(5, 9)),
            int(rng.integers(6, 11)),
            np.float64,
            float(np.round(rng.uniform(1.5, 4), 2)),
            "warm",
        ),
        (3, 4, np.float64, 0.2, "cold"),
    ):
        logits, u = (
            rng.normal(0, 1.5, (batch, kinds)).astype(kind),
            rng.uniform(0.02, 0.98, (batch, kinds)).astype(kind),
        )
        yield Case({"logits": logits, "u": u, "temperature": temperature}, about, ("logits",))
    logits, u = 200 + rng.normal(0, 1, (2, 3)).astype(np.float32), rng.uniform(1e-6, 0.999, (2, 3)).astype(np.float32)
    yield Case({"logits": logits, "u": u, "temperature": 0.7}, "large logits", ("logits",))


def gumbel_softmax(logits: Tensor, u: Tensor, temperature: float) -> Tensor:
    gumbel = -torch.log(-torch.log(u))  # the inverse of F(g) = exp(−exp(−g)), at u
    return torch.softmax((logits + gumbel) / temperature, dim=-1)


def relaxed(combine: Callable[[Tensor, Tensor, float], Tensor]) -> Answer:
    """A softmax of logits, Gumbel noise and temperature, put together in another way."""

    def wrong(logits: Tensor, u: Tensor, temperature: float) -> Tensor:
        return torch.softmax(combine(logits, -torch.log(-torch.log(u)), temperature), dim=-1)

    return wrong


def other_noise(noise: Callable[[Tensor], Tensor]) -> Answer:
    def wrong(logits: Tensor, u: Tensor, temperature: float) -> Tensor:
        return torch.softmax((logits + noise(u)) / temperature, dim=-1)

    return wrong


def over_the_batch(logits: Tensor, u: Tensor, temperature: float) -> Tensor:
    return torch.softmax((logits - torch.log(-torch.log(u))) / temperature, dim=0)


def hard(logits: Tensor, u: Tensor, temperature: float) -> Tensor:
    chosen = (logits - torch.log(-torch.log(u))).argmax(-1)
    return F.one_hot(chosen, logits.shape[-1]).to(logits.dtype)


def logs_of_it(logits: Tensor, u: Tensor, temperature: float) -> Tensor:
    return torch.log_softmax((logits - torch.log(-torch.log(u))) / temperature, dim=-1)


def not_normalised(logits: Tensor, u: Tensor, temperature: float) -> Tensor:
    return torch.exp((logits - torch.log(-torch.log(u))) / temperature)


def normalised_over_all(logits: Tensor, u: Tensor, temperature: float) -> Tensor:
    noisy = (logits - torch.log(-torch.log(u))) / temperature
    return torch.softmax(noisy.flatten(), 0).reshape(noisy.shape)


def straight_through(logits: Tensor, u: Tensor, temperature: float) -> Tensor:
    soft = gumbel_softmax(logits, u, temperature)
    return F.one_hot(soft.argmax(-1), soft.shape[-1]) - soft.detach() + soft


def torchs_own(logits: Tensor, u: Tensor, temperature: float) -> Tensor:
    return F.gumbel_softmax(logits, tau=temperature)


def exponentials_alone(logits: Tensor, u: Tensor, temperature: float) -> Tensor:
    weights = torch.exp((logits - torch.log(-torch.log(u))) / temperature)
    return weights / weights.sum(-1, keepdim=True)


def gumbel_by_logs(logits: Tensor, u: Tensor, temperature: float) -> Tensor:
    noisy = (F.log_softmax(logits, dim=-1) - torch.log(-torch.log(u))).div(temperature)
    return torch.exp(noisy - noisy.logsumexp(-1, keepdim=True))


def gumbel_as_a_race(logits: Tensor, u: Tensor, temperature: float) -> Tensor:
    time = -torch.log(u)  # exponential: who arrives first, at the rate exp(logit), is chosen
    return F.softmax(logits / temperature - time.log() / temperature, dim=1)


GUMBEL = Exercise(
    "gumbel_softmax",
    "A die that can be differentiated",
    10,
    2,
    (
        "First the noise: a Gumbel's distribution function is F(g) = exp(−exp(−g)). Solve F(g) = u for g, as in exercise 5.",
        "−log u = exp(−g), and once more. Add g to the logits; where the sum is largest is the sample. A softmax at temperature τ is the "
        "soft version of “where it is largest”.",
        "The temperature divides the whole sum; and `torch.softmax` wants to know along which axis the faces compete.",
    ),
    (
        Mistake(
            "the sign of the noise",
            other_noise(lambda u: torch.log(-torch.log(u))),
            "With three minus signs about, one is soon lost. log(−log u) is a Gumbel turned around: its long tail points down. The one with argmax = a sample of the softmax "
            "is −log(−log u).",
        ),
        Mistake(
            "one logarithm only",
            other_noise(lambda u: -torch.log(u)),
            "−log u is exponential noise, the inverse that comes to mind first. The Gumbel takes minus the log of *that* once more. With one log the argmax does "
            "not follow the softmax's probabilities.",
        ),
        Mistake(
            "uniform noise",
            other_noise(lambda u: u),
            "You add u itself, the noise as it comes. Uniform noise has no tails: a logit that is behind by 1 would never win.",
        ),
        Mistake(
            "normal noise",
            other_noise(torch.special.ndtri),
            "What worked for z is tempting here. But Gaussian noise before an argmax makes another distribution (a probit), not the softmax's. The Gumbel is the one "
            "for which P(k wins) = softmax(logits)_k exactly.",
        ),
        Mistake(
            "no noise",
            relaxed(lambda logits, g, t: logits / t),
            "This is a softmax at temperature τ, which looks like the result, and is the same every time. A *sample* needs the noise, a number of its own for each face: one for all of them cancels in the softmax.",
        ),
        Mistake(
            "multiplied by the temperature",
            relaxed(lambda logits, g, t: (logits + g) * t),
            "“More temperature, more noise” suggests a product. But a small τ should sharpen, so it divides. Multiplied, τ → 0 makes all categories equal.",
        ),
        Mistake(
            "the temperature forgotten",
            relaxed(lambda logits, g, t: logits + g),
            "At τ = 1 it makes no difference, and so it is easily left out. τ says how near to one-hot the samples are: it divides the "
            "sum before the softmax.",
        ),
        Mistake(
            "temperature on the logits only",
            relaxed(lambda logits, g, t: logits / t + g),
            "That is how a softmax gets a temperature, without noise. Here the sum is divided as a whole: with τ on the logits alone the argmax follows softmax(logits/τ): another "
            "distribution, and no relaxation of it. (A temperature in one of two places: you meet this again in lesson 07.)",
        ),
        Mistake(
            "temperature on the noise only",
            relaxed(lambda logits, g, t: logits + g / t),
            "As if τ were the strength of the noise. The sum is divided as a whole: with τ under the noise alone a cold sample is noisier than a warm one, and "
            "never becomes one-hot through its logits.",
        ),
        Mistake(
            "the probabilities in place of the logits",
            relaxed(lambda logits, g, t: (torch.softmax(logits, -1) + g) / t),
            "A die has probabilities, so one reaches for them. But the noise is added to *logits* (or to log-probabilities, which differ by a constant that the softmax does not "
            "see). Added to probabilities, which lie within 1 of one another, it drowns them.",
        ),
        Mistake(
            "softmax over the batch",
            over_the_batch,
            "`dim=0` is the first axis, not the categories': it lets the samples compete for a category. The categories are on the last axis.",
        ),
        Mistake(
            "the argmax",
            hard,
            "This is the exact sample, what one wants in the end, and it has no gradient: an argmax does not move when the logits move a little. The "
            "softmax is the price for a slope.",
        ),
        Mistake(
            "straight through",
            straight_through,
            "One-hot forward, the soft slope backward: the straight-through variant of the same paper, and what `hard=True` does in torch. Useful, "
            "but its value and its slope are of two different functions. Here the soft sample is asked for.",
        ),
        Mistake(
            "torch's own function",
            torchs_own,
            "`F.gumbel_softmax` draws noise of its own, and ignores u: nobody can repeat its sample. What it does inside is this exercise.",
        ),
        Mistake(
            "1 − u for u",
            other_noise(lambda u: -torch.log(-torch.log1p(-u))),
            "1 − u is uniform, too, so the samples have the same distribution. But it is not the inverse of F at u, and does not fit anyone else's u.",
        ),
        Mistake(
            "F and not its inverse",
            other_noise(lambda u: torch.exp(-torch.exp(-u))),
            "You put u into F. F takes g and gives a probability; wanted is the g that has the probability u.",
        ),
        Mistake(
            "not normalised",
            not_normalised,
            "Exponentials alone are positive, and do not sum to 1. Divide by their sum over the faces: a softmax does both, and does not overflow.",
        ),
        Mistake(
            "normalised over the whole batch",
            normalised_over_all,
            "All faces of all samples share one sum here. Each sample is a die of its own: its faces, the last axis, sum to 1.",
        ),
        Mistake(
            "logarithms returned",
            logs_of_it,
            "`log_softmax` is the habit from losses, and gives log-probabilities. The relaxed sample itself is positive and sums to 1.",
        ),
        Mistake(
            "exponentials that overflow",
            exponentials_alone,
            "The formula as it stands in the paper, and right for small logits. exp of 200 is infinity in float32, and ∞/∞ is NaN. `torch.softmax` subtracts the largest first.",
        ),
    ),
    (gumbel_by_logs, gumbel_as_a_race),
    reference=gumbel_softmax,
    cases=gumbel_cases,
    expects="a tensor (B, K) of positive numbers with the sum 1 in each row, in the logits' dtype, differentiable",
    checked="Values and the gradient by the logits on five fresh inputs, warm and cold, a batch of one, and logits of 200.",
    tolerance=10.0,
)

EXERCISES = (REPARAMETERIZE, SCORE_GRADIENT, PATH_GRADIENT, BASELINE_GRADIENT, LAPLACE, GUMBEL)
