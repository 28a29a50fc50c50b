"""Lesson 04's exercises: their inputs, their right answers, and the mistakes that people make in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Laplace, Normal
from torch.nn import functional as F

from wmcourse.lessons.exercise import Exercise, Mistake
from wmcourse.lessons.judge import Answer, Case
from wmcourse.reconstruction_loss import MIN_LOG_SIGMA, bernoulli_nll, gaussian_nll, optimal_log_sigma

Rng = np.random.Generator


def greys(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    """Pixels in [0, 1]: some exactly black, some exactly white, the others anything between."""
    return np.clip(rng.uniform(-0.4, 1.4, shape), 0, 1)


# --- 1 · Binary cross-entropy from logits, pixel by pixel


def logit_cases(rng: Rng) -> Iterator[Case]:
    for shape, kind, about in (
        ((4, 3), np.float32, "a few pixels"),
        ((1,), np.float64, "a single pixel"),
        ((2, 1, int(rng.integers(3, 6)), 4), np.float64, "two small frames"),
    ):
        inputs = {"logits": rng.normal(0, 2.5, shape).astype(kind), "x": greys(rng, shape).astype(kind)}
        yield Case(inputs, about, ("logits",))
    size, sign = rng.uniform(105, 140, (2, 6)), rng.choice([-1.0, 1.0], (2, 6))
    sign[0, :2] = (-1.0, 1.0)
    for kind in (np.float32, np.float64):
        inputs = {"logits": (sign * size * (1 if kind == np.float32 else 8)).astype(kind), "x": (sign < 0).astype(kind)}
        yield Case(inputs, "very sure, and wrong", ("logits",))
    yield Case({"logits": np.zeros((2, 3)), "x": greys(rng, (2, 3))}, "undecided: all logits 0")


def bce_with_logits(logits: Tensor, x: Tensor) -> Tensor:
    zero = torch.zeros_like(logits)
    return torch.maximum(logits, zero) - logits * x + torch.log1p(torch.exp(-logits.abs()))


def log_of_sigmoid(logits: Tensor, x: Tensor) -> Tensor:
    s = torch.sigmoid(logits)
    return -(x * torch.log(s) + (1 - x) * torch.log(1 - s))


def epsilon_in_the_log(logits: Tensor, x: Tensor) -> Tensor:
    s = torch.sigmoid(logits)
    return -(x * torch.log(s + 1e-8) + (1 - x) * torch.log(1 - s + 1e-8))


def clipped_probability(logits: Tensor, x: Tensor) -> Tensor:
    s = torch.sigmoid(logits).clamp(1e-6, 1 - 1e-6)
    return -(x * torch.log(s) + (1 - x) * torch.log(1 - s))


def torchs_own_clip(logits: Tensor, x: Tensor) -> Tensor:
    return F.binary_cross_entropy(torch.sigmoid(logits), x, reduction="none")


def exponents_swapped(logits: Tensor, x: Tensor) -> Tensor:
    return bce_with_logits(logits, 1 - x)


def log_likelihood(logits: Tensor, x: Tensor) -> Tensor:
    return -bce_with_logits(logits, x)


def only_bright(logits: Tensor, x: Tensor) -> Tensor:
    return -x * F.logsigmoid(logits)


def double_sigmoid(logits: Tensor, x: Tensor) -> Tensor:
    return bce_with_logits(torch.sigmoid(logits), x)


def exp_of_a_large_logit(logits: Tensor, x: Tensor) -> Tensor:
    return torch.log(1 + torch.exp(logits)) - logits * x


def without_absolute_value(logits: Tensor, x: Tensor) -> Tensor:
    return logits.clamp(min=0) - logits * x + torch.log1p(torch.exp(-logits))


def two_branches(logits: Tensor, x: Tensor) -> Tensor:
    positive = logits + torch.log1p(torch.exp(-logits)) - logits * x
    negative = torch.log1p(torch.exp(logits)) - logits * x
    return torch.where(logits >= 0, positive, negative)


def stable(largest: str = "max", sign: float = -1.0, inner: str = "log1p") -> Answer:
    def wrong(logits: Tensor, x: Tensor) -> Tensor:
        first = {"max": logits.clamp(min=0), "abs": logits.abs(), "min": logits.clamp(max=0), "none": 0 * logits}
        small = torch.exp(-logits.abs())
        last = {
            "log1p": torch.log1p(small),
            "twice": torch.log1p(1 + small),
            "plus": torch.log1p(torch.exp(logits.abs())),
        }
        return first[largest] + sign * logits * x + last[inner]

    return wrong


def reduced_too_early(logits: Tensor, x: Tensor) -> Tensor:
    return bce_with_logits(logits, x).mean()


def bce_from_torch(logits: Tensor, x: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none")


def bce_from_logsigmoid(logits: Tensor, x: Tensor) -> Tensor:
    return -(x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits))


def bce_from_softplus(logits: Tensor, x: Tensor) -> Tensor:
    return torch.logaddexp(logits, torch.zeros_like(logits)) - logits * x


def bce_as_in_the_text(logits: Tensor, x: Tensor) -> Tensor:
    return logits.clamp(min=0) - logits * x + torch.log(1 + torch.exp(-logits.abs()))


BCE = Exercise(
    "bce_with_logits",
    "One pixel, never infinite",
    12,
    1,
    (
        "Your step says log(1 + exp(ℓ)) − ℓx. Which ℓ make `torch.exp` overflow, and what does log(1 + exp(ℓ)) look like there?",
        "log(1 + exp(ℓ)) = max(ℓ, 0) + log(1 + exp(−|ℓ|)): the exponent is never positive, so nothing overflows. `torch.log1p(u)` is "
        "log(1 + u).",
        "`torch.maximum(logits, torch.zeros_like(logits)) - logits * x + torch.log1p(torch.exp(-logits.abs()))`.",
    ),
    (
        Mistake(
            "the log of a sigmoid",
            log_of_sigmoid,
            "In float32, sigmoid(−104) is exactly 0 and 1 − sigmoid(18) is exactly 0, so the logarithm is −∞ just where the network "
            "is sure and wrong, and 0·∞ is NaN elsewhere. It is tempting because it is the formula as one reads it; but sigmoid throws "
            "away what the logit knew. Stay with the logit.",
        ),
        Mistake(
            "an epsilon inside the log",
            epsilon_in_the_log,
            "No infinity, but a ceiling: −log(1e-8) = 18.4 nats is the most that a pixel can cost, and beyond it the gradient is gone, "
            "so what is sure and wrong is never corrected. It is what one finds first when a loss is NaN; a bug that no longer shows is still one.",
        ),
        Mistake(
            "the probability clipped",
            clipped_probability,
            "Clipping to [1e-6, 1 − 1e-6] keeps the loss finite and sets the gradient to zero where the network is sure: right or "
            "wrong, it stays there. Tempting, since the NaN is gone.",
        ),
        Mistake(
            "a clip inside of torch's own function",
            torchs_own_clip,
            "`F.binary_cross_entropy` takes probabilities and clips each log at −100, silently. At ℓ = −120 it says 100, and its "
            "gradient has passed through a sigmoid that rounds to 0. Tempting, since its name is right and many networks end in a sigmoid. The one with `_with_logits` needs neither.",
        ),
        Mistake(
            "exponents swapped",
            exponents_swapped,
            "This is s^(1−x)·(1−s)^x: a white pixel, x = 1, gets the probability 1 − s. It trains without complaint, and to the negative "
            "of the picture. The two look so alike that a test is needed: put in x = 1.",
        ),
        Mistake(
            "the sign",
            log_likelihood,
            "This is log p, which is at most 0. A loss is minimised, and minimising log p asks for the worst picture there is. Texts write log p and maximise; code minimises.",
        ),
        Mistake(
            "the dark half forgotten",
            only_bright,
            "−x·log s alone: black pixels cost nothing, and an all-white picture is perfect. The cross-entropy of a *class* has one "
            "term; a pixel's has two, since black is an outcome, too.",
        ),
        Mistake(
            "double sigmoid",
            double_sigmoid,
            "You squash the logits first, and the formula squashes again: the probability can only lie between 0.5 and 0.73, so black is out of "
            "reach. It happens when the network ends in a sigmoid and the loss has one inside.",
        ),
        Mistake(
            "exp of a large logit",
            exp_of_a_large_logit,
            "log(1 + exp(ℓ)) is right on paper, but exp(89) is infinite in float32 (exp(710) in float64). Take the large part out first: "
            "max(ℓ, 0) + log(1 + exp(−|ℓ|)).",
        ),
        Mistake(
            "the absolute value forgotten",
            without_absolute_value,
            "With exp(−ℓ) in place of exp(−|ℓ|) this is right for ℓ ≥ 0 only; for negative logits it counts ℓ once too often, and overflows. The test that one makes first, with a positive logit, does not show it.",
        ),
        Mistake(
            "two branches in torch.where",
            two_branches,
            "The where-trap. The values are right, and the gradient is NaN. `torch.where` computes *both* branches, for all logits, and picks afterwards. In the branch "
            "that is not picked exp overflows, and on the way back the 0 of not being picked meets that branch's infinite slope: 0·∞ is NaN. It is tempting because the derivation "
            "has two cases. Choose the *input* before exp: exp(−|ℓ|) never overflows, so one formula does for both.",
        ),
        Mistake(
            "|ℓ| in place of max(ℓ, 0)",
            stable("abs"),
            "The first term is max(ℓ, 0), not |ℓ|: for a negative logit yours counts −ℓ, and a black pixel that is called black for sure costs a lot. The |ℓ| stands in the exponent only.",
        ),
        Mistake(
            "min in place of max",
            stable("min"),
            "`clamp(max=0)` is the *minimum* of ℓ and 0. It is easily confused: `clamp(min=0)` sets the lower end, and so gives the maximum.",
        ),
        Mistake(
            "the maximum forgotten",
            stable("none"),
            "−ℓx + log(1 + exp(−|ℓ|)) lacks the part that was taken out, max(ℓ, 0). A sure and wrong white then costs nothing.",
        ),
        Mistake(
            "the sign of ℓx",
            stable(sign=1.0),
            "It is −ℓx: where the pixel is white, a larger logit must cost *less*. One minus comes from −log p, and it is easily used up by the other term.",
        ),
        Mistake(
            "log1p of 1 + exp",
            stable(inner="twice"),
            "`torch.log1p(u)` is log(1 + u) already: yours is log(2 + exp(−|ℓ|)). Either `torch.log1p(e)` or `torch.log(1 + e)`.",
        ),
        Mistake(
            "the minus in the exponent forgotten",
            stable(inner="plus"),
            "exp(|ℓ|) grows without end, which is what was to be avoided. It is exp(−|ℓ|): never above 1.",
        ),
        Mistake(
            "reduced too early",
            reduced_too_early,
            "One number comes out, as one is used to from a loss. Here every pixel keeps its own cost, in the shape of `x`; summing is the next exercise, and *what* is "
            "summed and what averaged is its whole point.",
        ),
    ),
    (bce_from_torch, bce_from_logsigmoid, bce_from_softplus, bce_as_in_the_text),
    reference=bce_with_logits,
    cases=logit_cases,
    expects="the cost of each pixel, in nats, in the shape of x, never negative, finite however sure a logit is",
    checked="Values on six fresh inputs, gradients on five: grey, black and white pixels, a single one, logits of ±100 in float32 and of "
    "±1,000 in float64 that are sure and wrong, logits of 0.",
)


# --- 2 · The Bernoulli negative log-likelihood of a frame


def frame_cases(rng: Rng) -> Iterator[Case]:
    for shape, kind, about in (
        ((4, 3), np.float32, "four vectors of three pixels"),
        ((1, 1, 4, 5), np.float64, "a batch of one"),
        ((3, 2, int(rng.integers(4, 7)), 5), np.float64, "frames of two channels"),
        ((int(rng.integers(5, 9)), 1, 8, 8), np.float32, "a larger batch"),
    ):
        inputs = {"logits": rng.normal(0, 2, shape).astype(kind), "x": greys(rng, shape).astype(kind)}
        yield Case(inputs, about, ("logits",))
    sign = rng.choice([-1.0, 1.0], (2, 1, 3, 3))
    sign[0, 0, 0, :2] = (-1.0, 1.0)
    inputs = {
        "logits": (sign * rng.uniform(105, 140, (2, 1, 3, 3))).astype(np.float32),
        "x": (sign < 0).astype(np.float32),
    }
    yield Case(inputs, "very sure, and wrong", ("logits",))


def frames_summed(per_pixel: Tensor) -> Tensor:
    return per_pixel.flatten(1).sum(1)


def mean_over_pixels(logits: Tensor, x: Tensor) -> Tensor:
    return bce_with_logits(logits, x).flatten(1).mean(1)


def one_number_for_the_batch(logits: Tensor, x: Tensor) -> Tensor:
    return bce_with_logits(logits, x).flatten(1).sum(1).mean()


def sum_over_the_batch_too(logits: Tensor, x: Tensor) -> Tensor:
    return bce_with_logits(logits, x).sum()


def torchs_default(logits: Tensor, x: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, x)


def only_the_last_axis(logits: Tensor, x: Tensor) -> Tensor:
    return bce_with_logits(logits, x).sum(-1)


def over_the_batch(logits: Tensor, x: Tensor) -> Tensor:
    return bce_with_logits(logits, x).sum(0)


def swapped_frame(logits: Tensor, x: Tensor) -> Tensor:
    return frames_summed(exponents_swapped(logits, x))


def likelihood_of_the_frame(logits: Tensor, x: Tensor) -> Tensor:
    return -frames_summed(bce_with_logits(logits, x))


def naive_frame(logits: Tensor, x: Tensor) -> Tensor:
    return frames_summed(log_of_sigmoid(logits, x))


def two_branches_frame(logits: Tensor, x: Tensor) -> Tensor:
    return frames_summed(two_branches(logits, x))


def double_sigmoid_frame(logits: Tensor, x: Tensor) -> Tensor:
    return frames_summed(double_sigmoid(logits, x))


def pixels_to_255(logits: Tensor, x: Tensor) -> Tensor:
    return frames_summed(bce_with_logits(logits, 255 * x))


def pixels_divided_again(logits: Tensor, x: Tensor) -> Tensor:
    return frames_summed(bce_with_logits(logits, x / 255))


def greys_rounded(logits: Tensor, x: Tensor) -> Tensor:
    return frames_summed(bce_with_logits(logits, (x > 0.5).to(x.dtype)))


def squeezed(logits: Tensor, x: Tensor) -> Tensor:
    return frames_summed(bce_with_logits(logits, x)).squeeze()


def frame_not_summed(logits: Tensor, x: Tensor) -> Tensor:
    return bce_with_logits(logits, x)


def frame_in_one_piece(logits: Tensor, x: Tensor) -> Tensor:
    zero = torch.zeros_like(logits)
    per_pixel = torch.maximum(logits, zero) - logits * x + torch.log1p(torch.exp(-logits.abs()))
    return per_pixel.flatten(1).sum(dim=1)


def frame_from_distribution(logits: Tensor, x: Tensor) -> Tensor:
    return -Bernoulli(logits=logits, validate_args=False).log_prob(x).reshape(len(x), -1).sum(-1)


def frame_by_frame(logits: Tensor, x: Tensor) -> Tensor:
    costs = [
        F.binary_cross_entropy_with_logits(one, pixels, reduction="sum") for one, pixels in zip(logits, x, strict=True)
    ]
    return torch.stack(costs)


def frame_by_logsigmoid(logits: Tensor, x: Tensor) -> Tensor:
    log_p = x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)
    return -log_p.sum(dim=tuple(range(1, x.dim())))


BERNOULLI = Exercise(
    "bernoulli_nll",
    "What a frame costs",
    6,
    1,
    (
        "Each pixel's cost is your exercise 1. Pixels are independent given z, so their probabilities multiply: what happens to logs?",
        "Add over everything but the first axis. `.flatten(1)` makes (B, …) into (B, all pixels); then sum over the last axis.",
        "With `per_pixel` from exercise 1: `return per_pixel.flatten(1).sum(dim=1)`.",
    ),
    (
        Mistake(
            "mean over the pixels",
            mean_over_pixels,
            "A frame's probability is the *product* of its pixels', so its −log is their sum. A mean divides it by the number of "
            "pixels, and leaves the KL whole: on Dodge's 1,024 pixels a β of 1,024 that nobody chose. It is tempting since every loss function's "
            "default is a mean; you will see below what it does.",
        ),
        Mistake(
            "the mean over the batch, too early",
            one_number_for_the_batch,
            "The sum over pixels is right, and a loss is one number in the end. But each frame should keep its own here: the complete loss averages over "
            "the batch later, and until then you can see which frames are hard.",
            "over the batch",
        ),
        Mistake(
            "the sum over the batch as well",
            sum_over_the_batch_too,
            "`.sum()` without an axis adds up different frames. The loss then grows with the batch size, and a learning rate that was "
            "good at 64 is too large at 256. Pixels are summed, frames averaged.",
        ),
        Mistake(
            "the mean of everything",
            torchs_default,
            "This is torch's default, reduction='mean': over pixels *and* frames. One number, 1/(B·pixels) of the sum.",
        ),
        Mistake(
            "not summed",
            frame_not_summed,
            "These are the costs of the single pixels, exercise 1 again. `reduction='none'` is right, and not yet the end: a frame's cost is their sum.",
        ),
        Mistake(
            "only the last axis summed",
            only_the_last_axis,
            "Right for (B, pixels), and so it passes a first test. But a frame has channels, rows and columns, and you have added up the columns; `flatten(1)` puts all but the batch on one axis.",
        ),
        Mistake(
            "the sum over the batch axis",
            over_the_batch,
            "`dim=0` is the batch: this adds up different frames and keeps the pixels apart. 0 is the axis that comes to mind first; you want all the others.",
        ),
        Mistake(
            "exponents swapped",
            swapped_frame,
            "x and 1 − x have changed places, which is easily done, and this rewards the negative of the frame. Test with a white pixel: x = 1 must leave −log s.",
        ),
        Mistake(
            "the sign",
            likelihood_of_the_frame,
            "This is the log-likelihood. It stands so in the ELBO, which one maximises; the loss is its negative.",
        ),
        Mistake(
            "the log of a sigmoid",
            naive_frame,
            "Where a logit is sure and wrong, sigmoid rounds to 0 or 1 and its log is −∞: one such pixel makes the whole frame infinite, "
            "and the gradient NaN. It is the formula as one reads it, and right for small logits.",
        ),
        Mistake(
            "two branches in torch.where",
            two_branches_frame,
            "The where-trap again: the branch that is not picked overflows, and its slope times 0 is NaN. The loss looks healthy, and after one step every weight is NaN. "
            "Use exp(−|ℓ|) in a single formula, your exercise 1.",
        ),
        Mistake(
            "double sigmoid",
            double_sigmoid_frame,
            "The logits go through a sigmoid twice, so every probability lies between 0.5 and 0.73. Decide once who squashes: here the loss does.",
        ),
        Mistake(
            "pixels in 0–255",
            pixels_to_255,
            "You bring the pixels to 0…255. A Bernoulli's x is at most 1: with x = 255 the term −ℓx has no bottom, and the loss falls to −∞ "
            "as the logits grow. Tempting since that is how frames arrive from the world; here x has been divided already.",
        ),
        Mistake(
            "pixels divided by 255 once more",
            pixels_divided_again,
            "x lies in [0, 1] already. Divided again, every pixel is as good as black, and a black picture is nearly perfect.",
        ),
        Mistake(
            "greys rounded to black and white",
            greys_rounded,
            "A Bernoulli's outcome is 0 or 1, so rounding is consistent; but it throws away Dodge's band and its agent's shade, and it is not what "
            "the formula says for a grey x.",
        ),
        Mistake(
            "squeezed to nothing at a batch of one",
            squeezed,
            "`.squeeze()` drops every axis of length 1, and so the batch axis of a single frame. With larger batches nobody notices. Name the axis that you mean, or "
            "leave it out.",
        ),
    ),
    (frame_in_one_piece, frame_from_distribution, frame_by_frame, frame_by_logsigmoid),
    reference=bernoulli_nll,
    shown=frame_in_one_piece,
    cases=frame_cases,
    expects="one number for each frame, shape (B,), in nats, never negative, in the inputs' dtype",
    checked="Values and gradients on five fresh inputs: vectors and frames, one and two channels, a batch of one, logits that are sure and "
    "wrong; float32 and float64.",
    part=True,
)


# --- 3 · The Gaussian negative log-likelihood of a frame


def gaussian_cases(rng: Rng) -> Iterator[Case]:
    names = ("mean", "x", "log_sigma")
    for shape, width, kind, about in (
        ((4, 3), (), np.float32, "one σ for all"),
        ((1, 1, 4, 5), (), np.float64, "a batch of one"),
        ((3, 2, int(rng.integers(4, 7)), 5), (3, 1, 1, 1), np.float64, "a σ for each frame"),
        ((int(rng.integers(5, 9)), 1, 6, 6), (1, 6, 6), np.float32, "a σ for each pixel"),
    ):
        mean, x = rng.normal(0.5, 0.7, shape), greys(rng, shape)
        log_sigma = np.asarray(rng.normal(-0.7, 0.5, width))
        values = (mean.astype(kind), x.astype(kind), log_sigma.astype(kind))
        yield Case(dict(zip(names, values, strict=True)), about, ("mean", "log_sigma"))
    x = greys(rng, (3, 7))
    values = (x + rng.normal(0, 0.01, (3, 7)), x, np.asarray(rng.uniform(-5, -4)))
    yield Case(
        dict(zip(names, values, strict=True)), "small errors and a small σ: a negative loss", ("mean", "log_sigma")
    )
    x = np.round(rng.random((2, 5))).astype(np.float32)
    values = (1 - x, x, np.asarray(rng.uniform(-4, -3.5), np.float32))
    yield Case(
        dict(zip(names, values, strict=True)), "sure and wrong: densities that round to 0", ("mean", "log_sigma")
    )


def gaussian(
    half: float = 0.5,
    log_sign: float = 1.0,
    constant: float = 0.5 * math.log(2 * math.pi),
    power: float = 2.0,
    log_scale: float = 1.0,
    reduce: str = "sum",
    sign: float = 1.0,
) -> Answer:
    def wrong(mean: Tensor, x: Tensor, log_sigma: Tensor) -> Tensor:
        error = (x - mean).square() * torch.exp(-power * log_sigma)
        per_pixel = sign * (half * error + log_sign * log_scale * log_sigma + constant)
        whole = per_pixel.flatten(1)
        return {"sum": whole.sum(1), "mean": whole.mean(1), "all": whole.sum(), "none": per_pixel}[reduce]

    return wrong


def just_squared_error(mean: Tensor, x: Tensor, log_sigma: Tensor) -> Tensor:
    return (x - mean).square().flatten(1).sum(1) + 0 * log_sigma.sum()


def log_of_a_density(mean: Tensor, x: Tensor, log_sigma: Tensor) -> Tensor:
    sigma = torch.exp(log_sigma)
    density = torch.exp(-0.5 * ((x - mean) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    return -torch.log(density).flatten(1).sum(1)


def divided_by_the_log(mean: Tensor, x: Tensor, log_sigma: Tensor) -> Tensor:
    return (0.5 * ((x - mean) / log_sigma) ** 2 + log_sigma + 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)


def once_per_frame(mean: Tensor, x: Tensor, log_sigma: Tensor) -> Tensor:
    error = 0.5 * ((x - mean) * torch.exp(-log_sigma)).square()
    return error.flatten(1).sum(1) + log_sigma.mean() + 0.5 * math.log(2 * math.pi)


def gaussian_in_one_piece(mean: Tensor, x: Tensor, log_sigma: Tensor) -> Tensor:
    nll = 0.5 * ((x - mean) * torch.exp(-log_sigma)).square() + log_sigma + 0.5 * math.log(2 * math.pi)
    return nll.flatten(1).sum(dim=1)


def gaussian_from_distribution(mean: Tensor, x: Tensor, log_sigma: Tensor) -> Tensor:
    return -Normal(mean, log_sigma.exp()).log_prob(x).sum(dim=tuple(range(1, x.dim())))


def gaussian_with_sigma(mean: Tensor, x: Tensor, log_sigma: Tensor) -> Tensor:
    sigma = log_sigma.exp().expand_as(x)
    density = (x - mean) ** 2 / (2 * sigma**2) + torch.log(sigma * math.sqrt(2 * math.pi))
    return density.reshape(x.shape[0], -1).sum(1)


def gaussian_from_torch(mean: Tensor, x: Tensor, log_sigma: Tensor) -> Tensor:
    variance = torch.exp(2 * log_sigma).expand_as(x)
    return F.gaussian_nll_loss(mean, x, variance, full=True, eps=1e-12, reduction="none").flatten(1).sum(1)


GAUSSIAN = Exercise(
    "gaussian_nll",
    "Squared error, with all that belongs to it",
    7,
    2,
    (
        "−log N(x; m, σ²) has three terms: the scaled squared error, log σ, and a constant. Which of them does each pixel pay?",
        "½·((x − mean)/σ)² + log σ + ½·log 2π, for each pixel. 1/σ is `torch.exp(-log_sigma)`.",
        "Write all three as one expression, so that `log_sigma` is spread over the pixels, and only then `.flatten(1).sum(dim=1)`.",
    ),
    (
        Mistake(
            "the ½ is lost",
            gaussian(half=1.0),
            "A squared error without its ½ is a Gaussian with σ² = ½ in the first term and with your σ in the second: no Gaussian at all. "
            "It is tempting since the ½ stands in every textbook's formula and in no library's `mse_loss`. Alone it would only scale; next to log σ and a KL "
            "it makes errors twice as dear.",
        ),
        Mistake(
            "the constant ½ log 2π dropped",
            gaussian(constant=0.0),
            "Its gradient is zero, so training does not notice. But 0.92 nats a pixel are 941 a 32×32 frame: without them the number is no "
            "log-density, and not to be compared with anyone else's.",
        ),
        Mistake(
            "log 2π without its ½",
            gaussian(constant=math.log(2 * math.pi)),
            "The density is divided by √(2π)·σ, so the constant is ½·log 2π. The ½ is the root's, and lost most easily when the terms are written one by one.",
        ),
        Mistake(
            "log σ under the ½",
            gaussian(log_scale=0.5),
            "½·(error² + log σ + log 2π): in the formula with one ½ before all, the middle term is log σ*²*. With log σ itself there is no ½ before it.",
        ),
        Mistake(
            "log σ² in place of log σ",
            gaussian(log_scale=2.0),
            "You add 2·log σ, which is log σ². That belongs into the formula with a ½ before everything; with the ½ before the squared error alone it is log σ, once.",
        ),
        Mistake(
            "everything twice",
            gaussian(half=1.0, log_scale=2.0, constant=math.log(2 * math.pi)),
            "error² + log σ² + log 2π is −2·log p: the ½ before all of it is missing. The minimum over m and σ is the same, so a Gaussian alone does not notice; beside a KL it is a β of ½.",
        ),
        Mistake(
            "the log of a density",
            log_of_a_density,
            "The density first, and then its log: right on paper. But exp(−½·error²) rounds to 0 where the error is some 14 widths or more, its log is −∞, and the slope NaN. Write the logarithm down and leave exp out.",
        ),
        Mistake(
            "divided by log σ",
            divided_by_the_log,
            "`log_sigma` is the *logarithm* of the width: the width is `torch.exp(log_sigma)`.",
        ),
        Mistake(
            "log σ dropped",
            gaussian(log_scale=0.0),
            "Without log σ nothing holds σ down: the larger it is, the smaller the loss, and a learned σ goes to infinity. It is easily forgotten, being 0 at "
            "σ = 1, where everybody begins.",
        ),
        Mistake(
            "log_sigma taken for log σ²",
            gaussian(power=1.0, log_scale=0.5),
            "You use exp(log_sigma) as the variance, and half of it as log σ: right if it were `logvar`. The name says which: σ = exp(log_sigma).",
        ),
        Mistake(
            "divided by σ and not by σ²",
            gaussian(power=1.0),
            "The squared error is measured in squared widths: exp(−2·log_sigma). It is tempting to divide by what is at hand, last; divide the error *before* you square it, and it comes out right.",
        ),
        Mistake(
            "the sign of log σ",
            gaussian(log_sign=-1.0),
            "It is +log σ: the density of a wide bell is low. The minus belongs to log N; −log N turns it. With it a wide σ is rewarded twice.",
        ),
        Mistake(
            "once per frame",
            once_per_frame,
            "You have added log σ and the constant after the sum. But every *pixel* has its own Gaussian and pays both: 1,024 times in a "
            "frame of Dodge. With one number for σ it is easy to miss: broadcasting must come before the sum.",
        ),
        Mistake(
            "mean over the pixels",
            gaussian(reduce="mean"),
            "Independent pixels' densities multiply, so their logs add up. A mean, every library's default, is a β of the number of pixels in disguise.",
        ),
        Mistake(
            "the sum over the batch as well",
            gaussian(reduce="all"),
            "One number for all frames together, which grows with the batch. `.sum()` needs no thought about axes, but each frame keeps its own; the average over the batch comes in the complete loss.",
        ),
        Mistake(
            "the sign",
            gaussian(sign=-1.0),
            "This is the log-density. The loss is its negative. The value alone does not tell: both may be negative or positive.",
        ),
        Mistake(
            "not summed",
            gaussian(reduce="none"),
            "These are the single pixels' costs: the formula is done, the frame is not. Its cost is their sum.",
        ),
        Mistake(
            "a squared error and nothing else",
            just_squared_error,
            "Neither σ nor ½ nor constant: `mse_loss` summed, and what many a VAE uses. It is the Gaussian of σ² = ½ up to a constant, whatever `log_sigma` says.",
        ),
    ),
    (gaussian_in_one_piece, gaussian_from_distribution, gaussian_with_sigma, gaussian_from_torch),
    reference=gaussian_nll,
    shown=gaussian_in_one_piece,
    cases=gaussian_cases,
    expects="one number for each frame, shape (B,), in nats, which may be negative, in the inputs' dtype",
    checked="Values, and gradients by `mean` and by `log_sigma`, on five fresh inputs: one σ for all, for each frame, for each pixel; a batch of "
    "one; a loss that is negative.",
)


# --- 4 · The best width


def error_cases(rng: Rng) -> Iterator[Case]:
    for shape, scale, kind, about in (
        ((4, 3), 0.3, np.float32, "a few pixels"),
        ((1, 1, 5, 4), 0.05, np.float64, "a batch of one"),
        ((int(rng.integers(3, 7)), 2, 4, 4), 1.5, np.float64, "large errors"),
    ):
        x = greys(rng, shape)
        mean = x + scale * (0.6 + rng.normal(size=shape))  # errors with a bias
        mean[0] += scale  # one frame is worse than the others
        yield Case({"mean": mean.astype(kind), "x": x.astype(kind)}, about)
    x = greys(rng, (3, 1, 4, 4))
    yield Case({"mean": x.copy(), "x": x}, "a perfect reconstruction")
    few = x.copy()
    few.flat[::10] += 0.02
    yield Case({"mean": few, "x": x}, "perfect but for a few pixels")
    yield Case({"mean": x + 0.004, "x": x}, "an error of one grey level in 255")
    yield Case({"mean": (x + 0.0009).astype(np.float32), "x": x.astype(np.float32)}, "an error far below a grey level")


def best(how: str) -> Answer:
    def wrong(mean: Tensor, x: Tensor) -> Tensor:
        error, least = x - mean, math.exp(2 * MIN_LOG_SIGMA)
        square = error.square().mean().clamp(min=least)
        results = {
            "sigma": lambda: square.sqrt(),
            "logvar": lambda: square.log(),
            "absolute": lambda: error.abs().mean().clamp(min=least**0.5).log(),
            "sum": lambda: 0.5 * error.square().sum().clamp(min=least).log(),
            "per frame": lambda: 0.5 * error.square().flatten(1).mean(1).clamp(min=least).log(),
            "no floor": lambda: 0.5 * error.square().mean().log(),
            "centred": lambda: 0.5 * error.var(correction=0).clamp(min=least).log(),
            "spread": lambda: error.std().clamp(min=least**0.5).log(),
            "half": lambda: 0.5 * (0.5 * error.square().mean()).clamp(min=least).log(),
            "minus": lambda: -0.5 * square.log(),
            "per pixel": lambda: 0.5 * error.square().log().clamp(min=2 * MIN_LOG_SIGMA),
            "mean of logs": lambda: (0.5 * error.square().log()).clamp(min=MIN_LOG_SIGMA).mean(),
            "ceiling": lambda: (0.5 * error.square().mean().log()).clamp(max=MIN_LOG_SIGMA),
            "added": lambda: 0.5 * torch.log(error.square().mean() + least),
            "wrong floor": lambda: 0.5 * error.square().mean().clamp(min=least**0.5).log(),
        }
        return results[how]()

    return wrong


def best_with_a_floor(mean: Tensor, x: Tensor) -> Tensor:
    mse = (x - mean).square().mean()
    return 0.5 * torch.log(mse.clamp(min=math.exp(-12)))


def best_of_a_norm(mean: Tensor, x: Tensor) -> Tensor:
    rmse = torch.linalg.vector_norm(x - mean) / math.sqrt(x.numel())
    return torch.log(rmse).clamp(min=-6.0)


def best_from_torch(mean: Tensor, x: Tensor) -> Tensor:
    return torch.clamp(F.mse_loss(mean, x).log() / 2, min=-6.0)


def best_detached(mean: Tensor, x: Tensor) -> Tensor:
    error = (x - mean).detach().flatten()
    square = (error @ error) / len(error)
    return torch.maximum(square, square.new_tensor(math.exp(-12))).sqrt().log()


OPTIMAL = Exercise(
    "optimal_log_sigma",
    "Let the errors choose σ",
    5,
    1,
    (
        "Your step: the best σ² of n pixels is sse/n, the mean squared error of the whole batch. What is log σ in terms of log σ²?",
        "½·log(mean squared error). At a perfect reconstruction that is −∞: keep the mean squared error at exp(−12) or above, "
        "which is a log σ of −6.",
        "`0.5 * torch.log((x - mean).square().mean().clamp(min=math.exp(-12)))`.",
    ),
    (
        Mistake(
            "σ in place of log σ",
            best("sigma"),
            "This is the root of the mean squared error, σ itself. `gaussian_nll` takes its logarithm, and would read 0.1 as σ = 1.1. The step asked for a σ, so it is tempting to stop there.",
        ),
        Mistake(
            "log σ² for log σ",
            best("logvar"),
            "log of the mean squared error is log σ². log σ is half of it. Lesson 03 worked with log σ², so the hand writes it; the name of the function says which.",
        ),
        Mistake(
            "the mean absolute error",
            best("absolute"),
            "The mean absolute error is the best width of a *Laplace*. A Gaussian's is the root of the mean *squared* error, which a few "
            "large errors pull up.",
        ),
        Mistake(
            "the sum for the mean",
            best("sum"),
            "σ² is the error of one pixel on average. The sum grows with the number of pixels, and σ with its root. Everywhere else in this lesson one sums; a *width* is an average.",
        ),
        Mistake(
            "a σ for each pixel",
            best("per pixel"),
            "This is a width for every single pixel, from its own error alone: one number for the whole batch is asked for. Take the mean of the squares before the logarithm.",
        ),
        Mistake(
            "the mean of the logarithms",
            best("mean of logs"),
            "First the mean of the squared errors, then the logarithm. The mean of the logs is another, lower number, and one pixel that is exact pulls it down without end.",
        ),
        Mistake(
            "a ceiling for the floor",
            best("ceiling"),
            "`clamp(max=-6)` keeps log σ *below* −6. At least −6 is `clamp(min=-6)`.",
        ),
        Mistake(
            "the floor added",
            best("added"),
            "You add exp(−12) to the mean squared error. It keeps the logarithm finite, and shifts every small σ a little: at an error of one grey level, by a fifth. A floor is a maximum: `clamp`.",
        ),
        Mistake(
            "a σ for each frame",
            best("per frame"),
            "One σ for the whole batch is asked for. With one for each frame, tempting since losses are per frame, hard frames are called noisy and left alone.",
        ),
        Mistake(
            "no floor",
            best("no floor"),
            "At a perfect reconstruction this is log 0 = −∞, and the loss, too. It is no theoretical case: pixels that are always black are "
            "learned exactly, and 8-bit greys repeat. Stop at log σ = −6.",
        ),
        Mistake(
            "the spread around the errors' own mean",
            best("spread"),
            "`(x - mean).std()` subtracts the mean error first: a decoder that is too bright by 0.3 everywhere would count as exact. The "
            "Gaussian is centred on the decoder's mean, so a bias is an error.",
        ),
        Mistake(
            "the variance of the errors",
            best("centred"),
            "A variance is measured around the errors' own mean, so a constant bias disappears from it. Take the mean of the *squares*.",
        ),
        Mistake(
            "a ½ inside the logarithm",
            best("half"),
            "The best σ² is the mean squared error, not half of it: the ½ of the loss goes away when you differentiate. Tempting, since there is a ½ outside of the logarithm as well.",
        ),
        Mistake(
            "the sign",
            best("minus"),
            "This is −log σ, the log of 1/σ, which the loss multiplies with. Small errors would call for a wide σ.",
        ),
        Mistake(
            "the floor of σ put under σ²",
            best("wrong floor"),
            "exp(−6) is the least σ; you put it under the mean squared error, which is σ². Its floor is exp(−6)² = exp(−12): what is squared has a squared floor, too.",
        ),
    ),
    (best_with_a_floor, best_of_a_norm, best_from_torch, best_detached),
    reference=optimal_log_sigma,
    shown=best_with_a_floor,
    cases=error_cases,
    expects="one number (a tensor without axes): log σ, at least −6",
    checked="Values on six fresh inputs: biased errors, frames that differ, a batch of one, errors of one grey level and less, none at all.",
    equivalent={
        "gradient cut": "σ is at its best, so the loss does not change with it to first order: what would flow through σ is zero anyway."
    },
)


# --- 5 · Laplace


def laplace_cases(rng: Rng) -> Iterator[Case]:
    names = ("median", "x", "log_scale")
    for shape, width, kind, about in (
        ((4, 3), (), np.float32, "one b for all"),
        ((1, 1, 4, 5), (), np.float64, "a batch of one"),
        ((3, 2, int(rng.integers(4, 7)), 5), (3, 1, 1, 1), np.float64, "a b for each frame"),
    ):
        median, log_scale = rng.normal(0.5, 0.7, shape), np.asarray(rng.normal(-0.7, 0.5, width))
        values = (median.astype(kind), greys(rng, shape).astype(kind), log_scale.astype(kind))
        yield Case(dict(zip(names, values, strict=True)), about, ("median", "log_scale"))
    x = greys(rng, (3, 7))
    values = (x + rng.normal(0, 0.01, (3, 7)), x, np.asarray(rng.uniform(-5, -4)))
    yield Case(dict(zip(names, values, strict=True)), "small errors and a small b", ("median", "log_scale"))
    x = np.round(rng.random((2, 5))).astype(np.float32)
    values = (1 - x, x, np.asarray(rng.uniform(-5.5, -5), np.float32))
    yield Case(
        dict(zip(names, values, strict=True)), "sure and wrong: densities that round to 0", ("median", "log_scale")
    )


def laplace_nll(median: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    nll = (x - median).abs() * torch.exp(-log_scale) + log_scale + math.log(2)
    return nll.flatten(1).sum(dim=1)


def laplace(
    factor: float = 1.0,
    constant: float = math.log(2),
    log_sign: float = 1.0,
    power: float = 1.0,
    root: bool = False,
    squared: bool = False,
    reduce: str = "sum",
) -> Answer:
    def wrong(median: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
        if root:
            log_scale = log_scale - 0.5 * math.log(2)
        error = (x - median).square() if squared else (x - median).abs()
        per_pixel = factor * error * torch.exp(-power * log_scale) + log_sign * log_scale + constant
        whole = per_pixel.flatten(1)
        return {"sum": whole.sum(1), "mean": whole.mean(1), "all": whole.sum(), "none": per_pixel}[reduce]

    return wrong


def laplace_signed(median: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    return ((x - median) * torch.exp(-log_scale) + log_scale + math.log(2)).flatten(1).sum(1)


def laplace_two_logs(median: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    return ((x - median).abs() * torch.exp(-log_scale) + 2 * log_scale).flatten(1).sum(1)


def laplace_no_log(median: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    return ((x - median).abs() * torch.exp(-log_scale) + math.log(2)).flatten(1).sum(1)


def laplace_error_alone(median: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    return (x - median).abs().flatten(1).sum(1) + 0 * log_scale.sum()


def laplace_once_per_frame(median: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    return ((x - median).abs() * torch.exp(-log_scale)).flatten(1).sum(1) + log_scale.mean() + math.log(2)


def laplace_from_distribution(median: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    return -Laplace(median, log_scale.exp()).log_prob(x).reshape(len(x), -1).sum(-1)


def laplace_with_b(median: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    b = torch.exp(log_scale).expand_as(x)
    above = torch.where(x > median, x - median, median - x)
    return (above / b + torch.log(2 * b)).sum(dim=tuple(range(1, x.dim())))


LAPLACE = Exercise(
    "laplace_nll",
    "Absolute error",
    5,
    1,
    (
        "The density is exp(−|x − m|/b)/(2b). Take −log of it: two terms, no square and no ½.",
        "|x − m|/b + log(2b) for each pixel, where log(2b) = log_scale + log 2. Sum as before.",
    ),
    (
        Mistake(
            "log 2 dropped",
            laplace(constant=0.0),
            "The density is divided by 2b, as it has two sides. Without log 2 it integrates to 2: 710 nats a frame of Dodge too cheap.",
        ),
        Mistake(
            "2·log b for log 2b",
            laplace_two_logs,
            "log(2b) = log 2 + log b. You have 2·log b, which is log b².",
        ),
        Mistake(
            "log b dropped",
            laplace_no_log,
            "Without log b nothing holds b down: the wider, the cheaper. It is 0 at b = 1, where everybody begins.",
        ),
        Mistake(
            "both logs with a minus",
            laplace(log_sign=-1.0, constant=-math.log(2)),
            "−log(2b): the minus of −log p has been used on the exponent and forgotten here. Dividing by 2b makes the density lower, so the cost is *higher*: +log(2b).",
        ),
        Mistake(
            "no absolute value",
            laplace_signed,
            "Without |…| a pixel that is too dark is paid for, one that is too bright earns: the loss has no bottom.",
        ),
        Mistake(
            "an absolute error and nothing else",
            laplace_error_alone,
            "`l1_loss` summed is the Laplace of b = 1, without its log 2, whatever `log_scale` says.",
        ),
        Mistake(
            "the Gaussian's constant",
            laplace(constant=0.5 * math.log(2 * math.pi)),
            "½ log 2π belongs to the Gaussian, whose bell has the area σ√2π; it came along from the exercise before. This one's area is 2b.",
        ),
        Mistake(
            "a ½ that belongs to the Gaussian",
            laplace(factor=0.5),
            "The Laplace's exponent has no ½; the habit comes from the Gaussian. With it the best b would be half of the mean absolute error.",
        ),
        Mistake(
            "the error squared",
            laplace(squared=True),
            "A Laplace's exponent is the *absolute* error; squared, as the hand is used to, it is a Gaussian's.",
        ),
        Mistake(
            "divided by b²",
            laplace(power=2.0),
            "The error is not squared here, so it is measured in widths, not in squared widths as the Gaussian's: divide by b.",
        ),
        Mistake(
            "the standard deviation for b",
            laplace(root=True),
            "A Laplace's standard deviation is b·√2, and the first widget speaks of standard deviations. `log_scale` is the log of b itself, as it stands in the density.",
        ),
        Mistake(
            "the sign of log b",
            laplace(log_sign=-1.0),
            "It is +log b: a wide density is a low one, and costs more. The minus belongs to the log-density, which the loss turns.",
        ),
        Mistake(
            "once per frame",
            laplace_once_per_frame,
            "log(2b) is added after the sum, where one number fits so well. But every pixel has its own density, and pays it: broadcast first, then sum.",
        ),
        Mistake(
            "mean over the pixels",
            laplace(reduce="mean"),
            "Log-densities of independent pixels add up; a mean, though it is `l1_loss`'s default, is a β in disguise.",
        ),
        Mistake(
            "the sum over the batch as well",
            laplace(reduce="all"),
            "One number for all frames, growing with the batch. `.sum()` asks for no axis, but each frame keeps its own; the batch is averaged later.",
        ),
    ),
    (laplace_from_distribution, laplace_with_b),
    reference=laplace_nll,
    cases=laplace_cases,
    expects="one number for each frame, shape (B,), in nats, which may be negative",
    checked="Values, and gradients by `median` and by `log_scale`, on four fresh inputs: one b for all and for each frame, a batch of one, a small b.",
)


# --- 6 · The discretised logistic


def eight_bit_cases(rng: Rng) -> Iterator[Case]:
    names = ("mean", "x", "log_scale")

    def pixels(shape: tuple[int, ...]) -> np.ndarray:
        levels = rng.integers(0, 256, shape)
        edges = rng.random(shape)
        levels[edges < 0.3], levels[edges > 0.75] = 0, 255
        levels.flat[:2] = (0, 255)
        return levels / 255

    for shape, width, kind, about in (
        ((4, 3), (), np.float32, "a few pixels, many of them black or white"),
        ((1, 1, 4, 5), (), np.float64, "a batch of one"),
        ((3, 2, int(rng.integers(4, 7)), 5), (3, 1, 1, 1), np.float64, "a scale for each frame"),
    ):
        mean, log_scale = rng.normal(0.5, 0.4, shape), np.asarray(rng.normal(-2.0, 0.5, width))
        values = (mean.astype(kind), pixels(shape).astype(kind), log_scale.astype(kind))
        yield Case(dict(zip(names, values, strict=True)), about, ("mean", "log_scale"))
    x = pixels((3, 8))
    values = (x + rng.normal(0, 0.002, (3, 8)), x, np.asarray(rng.uniform(-7, -6)))
    yield Case(dict(zip(names, values, strict=True)), "a scale below one grey level", ("mean", "log_scale"))
    far = np.where(x > 0.5, x - rng.uniform(0.6, 0.9, x.shape), x + rng.uniform(0.6, 0.9, x.shape))
    for kind, narrow in ((np.float32, -5.5), (np.float64, -7.5)):
        values = (far.astype(kind), x.astype(kind), np.asarray(narrow, kind))
        yield Case(dict(zip(names, values, strict=True)), "far off, and sure", ("mean", "log_scale"))


def discretised_logistic_nll(mean: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    upper = (x - mean + 1 / 510) * torch.exp(-log_scale)  # the bin's edges, in scales from the mean
    lower = (x - mean - 1 / 510) * torch.exp(-log_scale)
    below, above = F.logsigmoid(upper), F.logsigmoid(-lower)  # log P(below the upper edge), log P(above the lower one)
    inside = below + above + torch.log(-torch.expm1(-torch.exp(-log_scale) / 255))
    log_p = torch.where(x <= 0, below, torch.where(x >= 1, above, inside))
    return -log_p.flatten(1).sum(dim=1)


def logistic(
    half: float = 1 / 510,
    width: float | None = None,
    edges: str = "right",
    turn: float = -1.0,
    reduce: str = "sum",
    sign: float = -1.0,
    inner: bool = True,
) -> Answer:
    def wrong(mean: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
        inverse = torch.exp(turn * log_scale)
        upper, lower = (x - mean + half) * inverse, (x - mean - half) * inverse
        below, above = F.logsigmoid(upper), F.logsigmoid(-lower)
        bin_width = inverse * (2 * half if width is None else width)
        inside = below + above + (torch.log(-torch.expm1(-bin_width)) if inner else 0.0)
        first, last = (below, above) if edges != "swapped" else (above, below)
        log_p = torch.where(x < 1 / 510, first, torch.where(x > 1 - 1 / 510, last, inside))
        log_p = sign * (inside if edges == "none" else log_p)
        if reduce == "all":
            return log_p.sum()
        return log_p.flatten(1).mean(1) if reduce == "mean" else log_p.flatten(1).sum(1)

    return wrong


def difference_of_sigmoids(mean: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    inverse = torch.exp(-log_scale)
    upper = torch.sigmoid((x - mean + 1 / 510) * inverse)
    lower = torch.sigmoid((x - mean - 1 / 510) * inverse)
    upper = torch.where(x > 1 - 1 / 510, torch.ones_like(x), upper)
    lower = torch.where(x < 1 / 510, torch.zeros_like(x), lower)
    return -torch.log(upper - lower).flatten(1).sum(1)


def difference_with_a_floor(mean: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    inverse = torch.exp(-log_scale)
    upper = torch.sigmoid((x - mean + 1 / 510) * inverse)
    lower = torch.sigmoid((x - mean - 1 / 510) * inverse)
    upper = torch.where(x > 1 - 1 / 510, torch.ones_like(x), upper)
    lower = torch.where(x < 1 / 510, torch.zeros_like(x), lower)
    return -torch.log((upper - lower).clamp(min=1e-12)).flatten(1).sum(1)


def white_by_one_minus(mean: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    return logistic_with(lambda u: torch.log(1 - torch.sigmoid(u)))(mean, x, log_scale)


def logistic_with(white: Callable[[Tensor], Tensor], narrow: Callable[[Tensor], Tensor] | None = None) -> Answer:
    """The right answer, with another logarithm for white's bin or for the last factor."""

    def wrong(mean: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
        inverse = torch.exp(-log_scale)
        upper, lower = (x - mean + 1 / 510) * inverse, (x - mean - 1 / 510) * inverse
        last = narrow(inverse / 255) if narrow else torch.log(-torch.expm1(-inverse / 255))
        inside = F.logsigmoid(upper) + F.logsigmoid(-lower) + last
        return -torch.where(x <= 0, F.logsigmoid(upper), torch.where(x >= 1, white(lower), inside)).flatten(1).sum(1)

    return wrong


def both_at_the_lower_edge(mean: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    inverse = torch.exp(-log_scale)
    upper, lower = (x - mean + 1 / 510) * inverse, (x - mean - 1 / 510) * inverse
    inside = F.logsigmoid(upper) + F.logsigmoid(lower) + torch.log(-torch.expm1(-inverse / 255))
    return (
        -torch.where(x <= 0, F.logsigmoid(upper), torch.where(x >= 1, F.logsigmoid(-lower), inside)).flatten(1).sum(1)
    )


def density_for_probability(mean: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    z = (x - mean) * torch.exp(-log_scale)
    return (log_scale - F.logsigmoid(z) - F.logsigmoid(-z)).flatten(1).sum(1)


def logistic_mirrored(mean: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    """In the lower tail a difference of logs loses nothing; the upper one is its mirror image."""
    scale = torch.exp(log_scale)
    far, half = -(x - mean).abs() / scale, 1 / (510 * scale)
    outer, inner = -F.softplus(-(far + half)), -F.softplus(-(far - half))
    log_p = outer + torch.log1p(-torch.exp(inner - outer))
    log_p = torch.where(x < 1 / 510, -F.softplus((mean - x) / scale - half), log_p)
    log_p = torch.where(x > 1 - 1 / 510, -F.softplus((x - mean) / scale - half), log_p)
    return -log_p.flatten(1).sum(1)


def logistic_by_softplus(mean: Tensor, x: Tensor, log_scale: Tensor) -> Tensor:
    scale = torch.exp(log_scale)
    level = torch.round(255 * x)
    not_white, not_black = level < 255, level > 0
    upper, lower = ((level + 0.5) / 255 - mean) / scale, ((level - 0.5) / 255 - mean) / scale
    zero = torch.zeros_like(x)
    cost = torch.logaddexp(zero, -upper) * not_white + torch.logaddexp(zero, lower) * not_black
    cost = cost - torch.log1p(-torch.exp(-1 / (255 * scale))) * (not_white & not_black)
    return cost.sum(dim=tuple(range(1, x.dim())))


LOGISTIC = Exercise(
    "discretised_logistic_nll",
    "A probability for each of 256 greys",
    18,
    3,
    (
        "A pixel owns the bin from x − 1/510 to x + 1/510, half a grey level to either side. In scales from the mean its edges are "
        "t = (x − m + 1/510)/scale and u = (x − m − 1/510)/scale. The black bin has no lower edge, the white one no upper edge.",
        "log(s(t) − s(u)) = log s(t) + log s(−u) + log(1 − exp(u − t)), and t − u = 1/(255·scale). Black: log s(t) alone. White: "
        "log s(−u) alone. `F.logsigmoid` is log s, and `torch.log(-torch.expm1(-d))` is log(1 − exp(−d)).",
        "below = F.logsigmoid(t); above = F.logsigmoid(−u); inside = below + above + log(−expm1(−exp(−log_scale)/255)). Then "
        "`torch.where(x <= 0, below, torch.where(x >= 1, above, inside))`, summed, with a minus.",
    ),
    (
        Mistake(
            "the log of a difference of sigmoids",
            difference_of_sigmoids,
            "Far from the mean both sigmoids round to the same number, the difference is 0 and its log −∞: the loss is infinite exactly "
            "where something is to be learned. Use the derivation: the log of the product, term by term.",
        ),
        Mistake(
            "white by the log of 1 − s",
            white_by_one_minus,
            "1 − s(u) is right for white, and its log is not: far off, s(u) rounds to 1 and the log is −∞. It is the same number as s(−u), whose log `F.logsigmoid(-u)` gives without loss.",
        ),
        Mistake(
            "white on the wrong side",
            logistic_with(F.logsigmoid),
            "White's bin is all that lies *above* its lower edge: s(−u). You have s(u), all that lies below it.",
        ),
        Mistake(
            "s(u) in place of s(−u)",
            both_at_the_lower_edge,
            "In the product it is s(t)·s(−u): below the upper edge and *above* the lower one. The minus before u is easily lost.",
        ),
        Mistake(
            "exp(t − u) in place of exp(u − t)",
            logistic_with(lambda u: F.logsigmoid(-u), lambda d: torch.log(torch.expm1(d))),
            "log(exp(t − u) − 1) is another number than log(1 − exp(u − t)): larger by t − u, and it overflows when the scale is small. The exponent is negative.",
        ),
        Mistake(
            "a floor inside the log",
            difference_with_a_floor,
            "A clamp at 1e-12 avoids −∞, and makes the gradient zero for every pixel that is off by more than 28 nats: those are never repaired. Most code that one finds has such a clamp.",
        ),
        Mistake(
            "the edge bins like the others",
            logistic(edges="none"),
            "Everything below black must count as black, and everything above white as white. It is only 2 bins of 256, so who cares? Without it the 256 probabilities add up to less than "
            "1, and on Dodge four pixels of five are black.",
        ),
        Mistake(
            "the edge bins swapped",
            logistic(edges="swapped"),
            "Each edge drops one of two terms, and it is easy to drop the wrong one. Black's bin reaches down to −∞, so its probability is that of lying *below its upper edge*, s(t). White's is s(−u).",
        ),
        Mistake(
            "bins twice as wide",
            logistic(half=1 / 255),
            "A whole grey level to either side: neighbouring bins overlap, and the probabilities add up to 2. A level is 1/255 wide, so half of one is 1/510.",
        ),
        Mistake(
            "pixels in 0–255",
            logistic(half=0.5),
            "In code for bytes you will find ± ½. Half a grey level is ½ only when pixels run from 0 to 255. Here they run from 0 to 1, and a bin of width 1 swallows all greys.",
        ),
        Mistake(
            "a density in place of a probability",
            density_for_probability,
            "This is the logistic's density at x, without a bin: it may exceed 1, and misses log 255 a pixel. It is what `Normal.log_prob` has taught us to write. A probability is what lies in the bin.",
        ),
        Mistake(
            "the last term forgotten",
            logistic(inner=False),
            "s(t)·s(−u) is not yet s(t) − s(u): the factor 1 − exp(u − t) is missing. Without it a wide scale costs nothing. It is tempting to drop, since it does not depend on x; it does on the scale.",
        ),
        Mistake(
            "multiplied by the scale",
            logistic(turn=1.0),
            "You multiply by exp(log_scale), where the sign is easily lost. Distances are measured *in* scales: divide, that is, multiply by exp(−log_scale).",
        ),
        Mistake(
            "the sign",
            logistic(sign=1.0),
            "This is log p, which is never positive for a probability; the loss is −log p. Everything on the way was log p, so the last minus is easily forgotten.",
        ),
        Mistake(
            "mean over the pixels",
            logistic(sign=-1.0, reduce="mean"),
            "Pixels' probabilities multiply, so their logs add up: a sum. Bits *per pixel* are a mean, and are for reports, not for a loss.",
        ),
        Mistake(
            "the sum over the batch as well",
            logistic(sign=-1.0, reduce="all"),
            "One number for all frames, growing with the batch. `.sum()` asks for no axis; each frame keeps its own here.",
        ),
    ),
    (logistic_mirrored, logistic_by_softplus),
    reference=discretised_logistic_nll,
    cases=eight_bit_cases,
    expects="one number for each frame, shape (B,), in nats, never negative: these are probabilities",
    checked="Values, and gradients by `mean` and by `log_scale`, on six fresh inputs with many black and white pixels: scales wide, below a grey "
    "level, and sure of the wrong grey; float32 and float64.",
    tolerance=10.0,
)


# --- 7 · Weights for what moves


def moving_cases(rng: Rng) -> Iterator[Case]:
    def scene(batch: int, shape: tuple[int, int, int], share: float, kind: type) -> dict[str, np.ndarray]:
        background = rng.uniform(0.3, 0.7, shape)
        moves = rng.random((batch, *shape)) < share
        change = np.where(moves, rng.uniform(0.15, 0.3, moves.shape) * rng.choice([-1, 1], moves.shape), 0)
        change = change + rng.uniform(-0.05, 0.05, moves.shape)
        return {"x": (background + change).astype(kind), "background": background.astype(kind)}

    for batch, shape, share, kind, about in (
        (4, (1, 4, 5), 0.2, np.float32, "a few things move"),
        (1, (1, 6, 6), 0.3, np.float32, "a batch of one"),
        (int(rng.integers(3, 7)), (2, 4, 4), 0.4, np.float32, "two channels"),
    ):
        boost = float(np.round(rng.uniform(3, 12), 2))
        yield Case({**scene(batch, shape, share, kind), "boost": boost}, about)
    inputs: dict[str, object] = {**scene(3, (1, 4, 4), 0.3, np.float32), "boost": 6.0}
    x = inputs["x"]
    assert isinstance(x, np.ndarray)
    x[0] = inputs["background"]
    x[1, :, :2] = x[0, :, :2] + 0.2  # half of this frame moves, all of it brighter
    yield Case(inputs, "a frame in which nothing moves, and one with half of it moving")


def moving_weights(x: Tensor, background: Tensor, boost: float) -> Tensor:
    moving = ((x - background).abs() > 0.1).to(x.dtype)
    weights = 1 + (boost - 1) * moving
    return weights / weights.mean(dim=(1, 2, 3), keepdim=True)


def weights_with(
    how: str = "mean", added: bool = False, signed: bool = False, inverted: bool = False, threshold: float = 0.1
) -> Answer:
    def wrong(x: Tensor, background: Tensor, boost: float) -> Tensor:
        change = x - background if signed else (x - background).abs()
        moving = ((change <= threshold) if inverted else (change > threshold)).to(x.dtype)
        weights = 1 + boost * moving if added else 1 + (boost - 1) * moving
        axes = (1, 2, 3)
        scale = {
            "mean": lambda: weights.mean(dim=axes, keepdim=True),
            "sum": lambda: weights.sum(dim=axes, keepdim=True),
            "batch": lambda: weights.mean(),
            "none": lambda: torch.ones_like(weights),
            "max": lambda: weights.amax(dim=axes, keepdim=True),
            "channel": lambda: weights.mean(dim=(2, 3), keepdim=True),
            "place": lambda: weights.mean(dim=0, keepdim=True),
        }[how]()
        return weights / scale

    return wrong


def moved_to_a_mean_of_one(x: Tensor, background: Tensor, boost: float) -> Tensor:
    weights = 1 + (boost - 1) * ((x - background).abs() > 0.1).to(x.dtype)
    return weights - weights.mean(dim=(1, 2, 3), keepdim=True) + 1


def squared_difference(x: Tensor, background: Tensor, boost: float) -> Tensor:
    weights = 1 + (boost - 1) * ((x - background).square() > 0.1).to(x.dtype)
    return weights / weights.mean(dim=(1, 2, 3), keepdim=True)


def nothing_else(x: Tensor, background: Tensor, boost: float) -> Tensor:
    weights = boost * ((x - background).abs() > 0.1).to(x.dtype)
    return weights / weights.mean(dim=(1, 2, 3), keepdim=True)


def weights_as_one_writes_them(x: Tensor, background: Tensor, boost: float) -> Tensor:
    weights = torch.where((x - background).abs() > 0.1, boost, 1.0)
    return weights / weights.mean(dim=(1, 2, 3), keepdim=True)


def only_what_moves(x: Tensor, background: Tensor, boost: float) -> Tensor:
    moving = ((x - background).abs() > 0.1).to(x.dtype)
    return boost * moving / (boost * moving).mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)


def weight_by_the_difference(x: Tensor, background: Tensor, boost: float) -> Tensor:
    weights = 1 + (boost - 1) * (x - background).abs()
    return weights / weights.mean(dim=(1, 2, 3), keepdim=True)


def weights_with_where(x: Tensor, background: Tensor, boost: float) -> Tensor:
    far = torch.maximum(x - background, background - x) > 0.1
    weights = torch.where(far, torch.full_like(x, boost), torch.ones_like(x))
    pixels = x[0].numel()
    return weights * pixels / weights.flatten(1).sum(1).view(-1, 1, 1, 1)


def weights_from_shares(x: Tensor, background: Tensor, boost: float) -> Tensor:
    moving = (x - background).square() > 0.01
    share = moving.flatten(1).sum(1).to(x.dtype) / moving[0].numel()
    still = 1 / (1 - share + boost * share)
    return (still[:, None, None, None] * torch.ones_like(x)) * torch.where(moving, boost, 1.0).to(x.dtype)


WEIGHTS = Exercise(
    "moving_weights",
    "Small things that move",
    10,
    2,
    (
        "Three lines: which pixels move, what each weighs, and the division that brings the mean of each frame's weights back to 1.",
        "`((x - background).abs() > 0.1)` is True and False; `.to(x.dtype)` makes it 1 and 0. Then 1 + (boost − 1)·moving is `boost` "
        "where something moves and 1 elsewhere.",
        "`weights / weights.mean(dim=(1, 2, 3), keepdim=True)`: a mean over channels, rows and columns, for each frame.",
    ),
    (
        Mistake(
            "not normalised",
            weights_with("none"),
            "The weights' mean is above 1, and more so in busy frames: the whole reconstruction counts more against the KL. That is a β below 1 on top of what you "
            "wanted, and easily taken for the weights' success. Divide by each frame's mean.",
        ),
        Mistake(
            "a sum of 1 in place of a mean of 1",
            weights_with("sum"),
            "Weights that add up to 1 turn the sum over pixels into a mean: β = the number of pixels, once more. Tempting since weights of an average "
            "add up to 1; these are weights of a sum.",
        ),
        Mistake(
            "one mean for the whole batch",
            weights_with("batch"),
            "A frame's weights then depend on which other frames happen to be in its batch. `weights.mean()` is shorter, and wrong: normalise each frame by itself.",
        ),
        Mistake(
            "divided by the largest",
            weights_with("max"),
            "The largest weight is 1 now, and the mean far below: the picture as a whole is made cheaper, which is a β above 1. Tempting, since a weight of at most 1 looks tidy.",
        ),
        Mistake(
            "1 + boost",
            weights_with(added=True),
            "What moves should weigh `boost` times as much as what does not; yours weighs 1 + boost, one too many because the background's 1 is still in it. With boost = 1 nothing must change.",
        ),
        Mistake(
            "only what is brighter",
            weights_with(signed=True),
            "Without the absolute value only pixels that became *brighter* count. Dodge's hazards are white on black, so there one may not notice; but what moves in front of something light is missed.",
        ),
        Mistake(
            "the background in place of what moves",
            weights_with(inverted=True),
            "The comparison is turned: you weigh what stays the same. A mask is easily built the wrong way round, and the mean of 1 hides it.",
        ),
        Mistake(
            "the background weighs nothing",
            only_what_moves,
            "Only what moves is interesting, but with weight 0 the decoder may paint anything there, and in a frame where nothing moves the loss is gone. Weight 1 before normalising.",
        ),
        Mistake(
            "the background weighs nothing, and NaN",
            nothing_else,
            "boost·moving is 0 for what does not move, so the decoder may paint anything there; and in a frame where nothing moves you divide 0 by 0. Weight 1 for the background, before normalising.",
        ),
        Mistake(
            "one mean for each channel",
            weights_with("channel"),
            "You normalise each channel by itself. A frame's bill is a sum over all its channels, so the mean of 1 is over channels, rows and columns.",
        ),
        Mistake(
            "one mean for each place",
            weights_with("place"),
            "Axis 0 is the batch: you divide by the mean of *other frames* at the same place. With a batch of one all weights are 1.",
        ),
        Mistake(
            "shifted to a mean of 1",
            moved_to_a_mean_of_one,
            "You subtract the mean and add 1. The mean is 1 then, but what moves is no longer `boost` times as heavy, and some weights may be negative. Divide.",
        ),
        Mistake(
            "the squared difference",
            squared_difference,
            "You compare the *square* of the difference with 0.1, that is, the difference with 0.32. Dim things are then not seen to move.",
        ),
        Mistake(
            "weighted by the difference itself",
            weight_by_the_difference,
            "The weight should be `boost` wherever the difference exceeds 0.1, not grow with it. A smooth weight looks more elegant, but a dim object is as important as a bright one.",
        ),
    ),
    (weights_with_where, weights_from_shares, weights_as_one_writes_them),
    reference=moving_weights,
    cases=moving_cases,
    expects="a weight for each pixel, in x's shape and dtype, with a mean of 1 in each frame",
    checked="Values on four fresh scenes: brighter and darker things, a batch of one, two channels, a frame in which nothing moves.",
    equivalent={"gradient cut": "weights are made from the data alone, and nothing is trained through them."},
)

EXERCISES = (BCE, BERNOULLI, GAUSSIAN, OPTIMAL, LAPLACE, LOGISTIC, WEIGHTS)
