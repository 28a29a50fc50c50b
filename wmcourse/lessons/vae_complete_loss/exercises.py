"""Lesson 05's exercises: their inputs, their right answers, and the mistakes that people make in them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from wmcourse import vae_complete_loss
from wmcourse.kl_divergence_loss import free_bits, kl_per_dimension, kl_standard_normal
from wmcourse.lessons import judge
from wmcourse.lessons.exercise import Exercise, Mistake
from wmcourse.lessons.judge import Answer, Case, Outcome
from wmcourse.reconstruction_loss import bernoulli_nll
from wmcourse.reparameterization_trick import reparameterize
from wmcourse.vae_complete_loss import ConvVAE, VAELoss, vae_loss

Rng = np.random.Generator


# --- 1 · The complete loss


def loss_cases(rng: Rng) -> Iterator[Case]:
    extra = int(rng.integers(5, 9))
    for batch, image, latent, beta, floor, scale, kind, about in (
        (4, (1, 8, 8), 3, 4.0, 0.0, 3.0, np.float32, "a small batch, a high price"),
        (1, (1, 4, 6), 2, 0.5, 0.0, 3.0, np.float64, "a batch of one, a low price"),
        (3, (3, 4, 4), 4, 1.0, 0.0, 3.0, np.float64, "frames in colour, β = 1"),
        (
            extra,
            (1, 6, 6),
            6,
            round(float(rng.uniform(1.5, 3)), 2),
            0.5,
            3.0,
            np.float64,
            "half a nat free in each dimension",
        ),
        (5, (1, 4, 4), 4, 2.0, 1.0, 3.0, np.float32, "one nat free in each dimension"),
        (4, (1, 4, 4), 2, 3.0, 4.0, 3.0, np.float64, "more nats free than the code costs"),
        (2, (1, 4, 4), 3, 0.0, 0.0, 3.0, np.float64, "β = 0: the code is free"),
        (3, (1, 5, 5), 3, 2.0, 0.0, 60.0, np.float32, "a decoder that is very sure"),
    ):
        logits = rng.normal(0, scale, (batch, *image))
        x = rng.choice([0.0, 1.0, rng.uniform(0.2, 0.8)], (batch, *image))
        size = rng.choice([0.1, 1.5], latent)  # some dimensions say little
        size[:2] = 0.1, 1.5
        mu, logvar = rng.normal(0, size, (batch, latent)), rng.normal(-0.5 * size, 0.3 * size, (batch, latent))
        arrays = {"logits": logits, "x": x, "mu": mu, "logvar": logvar}
        inputs = {name: array.astype(kind) for name, array in arrays.items()}
        yield Case({**inputs, "beta": beta, "floor": floor}, about, ("logits", "mu", "logvar"))


def losses(
    total: Callable[[Tensor, Tensor, float], Tensor] = lambda rec, kl, beta: rec + beta * kl,
    reconstruction: Callable[[Tensor, Tensor], Tensor] = lambda logits, x: bernoulli_nll(logits, x).mean(),
    kl: Callable[[Tensor, Tensor], Tensor] = lambda mu, logvar: kl_standard_normal(mu, logvar).mean(),
    bits: Callable[[Tensor, float], Tensor] = free_bits,
    reported: Callable[[Tensor, Tensor, float], Tensor] = lambda kl, charged, beta: kl,
) -> Answer:
    """The complete loss with one of its pieces replaced."""

    def answer(logits: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, beta: float, floor: float) -> VAELoss:
        rec, rate = reconstruction(logits, x), kl(mu, logvar)
        charged = rate if floor == 0 else bits(kl_per_dimension(mu, logvar), floor)
        return VAELoss(total(rec, charged, beta), rec, reported(rate, charged, beta))

    return answer


def logs_of_a_sigmoid(logits: Tensor, x: Tensor) -> Tensor:
    s = torch.sigmoid(logits)
    return -(x * torch.log(s) + (1 - x) * torch.log(1 - s)).flatten(1).sum(1).mean()


def clipped_logs(logits: Tensor, x: Tensor) -> Tensor:
    """torch's loss for probabilities: it clips each logarithm at −100."""
    return F.binary_cross_entropy(torch.sigmoid(logits), x, reduction="sum") / len(x)


def floor_on_top(logits: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, beta: float, floor: float) -> VAELoss:
    loss = vae_loss(logits, x, mu, logvar, beta)
    extra: Any = free_bits(kl_per_dimension(mu, logvar), floor) if floor > 0 else 0.0
    return VAELoss(loss.total + extra, loss.reconstruction, loss.kl)


def floor_without_price(logits: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, beta: float, floor: float) -> VAELoss:
    loss = vae_loss(logits, x, mu, logvar, beta)
    if floor > 0:
        return VAELoss(loss.reconstruction + free_bits(kl_per_dimension(mu, logvar), floor), *loss[1:])
    return loss


def total_last(logits: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, beta: float, floor: float) -> Any:
    total, reconstruction, kl = vae_loss(logits, x, mu, logvar, beta, floor)
    return reconstruction, kl, total


def one_for_each_frame(logits: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, beta: float, floor: float) -> VAELoss:
    reconstruction, kl = bernoulli_nll(logits, x), kl_standard_normal(mu, logvar)
    charged = free_bits(kl_per_dimension(mu, logvar), floor) if floor > 0 else kl
    return VAELoss(reconstruction + beta * charged, reconstruction, kl)


def parts_cut_off(logits: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, beta: float, floor: float) -> VAELoss:
    loss = vae_loss(logits, x, mu, logvar, beta, floor)
    return VAELoss(loss.total, loss.reconstruction.detach(), loss.kl.detach())


def loss_by_hand(
    logits: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, beta: float = 1.0, floor: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    pixels = logits.clamp(min=0) - logits * x + torch.log1p(torch.exp(-logits.abs()))
    reconstruction = pixels.sum() / len(x)
    each = (0.5 * (logvar.exp() + mu**2 - 1 - logvar)).mean(dim=0)  # (Z,), each dimension's mean over the batch
    return reconstruction + beta * torch.maximum(each, torch.full_like(each, floor)).sum(), reconstruction, each.sum()


def loss_from_torch(
    logits: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, beta: float = 1.0, floor: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / x.shape[0]
    q = torch.distributions.Normal(mu, torch.exp(0.5 * logvar))
    p = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    each = torch.distributions.kl_divergence(q, p).mean(0)
    kl = each.sum()
    charged = F.relu(each - floor).sum() + floor * len(each) if floor > 0 else kl
    return reconstruction + beta * charged, reconstruction, kl


def loss_from_parts(
    logits: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, beta: float = 1.0, floor: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    from wmcourse.kl_divergence_loss import free_bits, kl_per_dimension, kl_standard_normal
    from wmcourse.reconstruction_loss import bernoulli_nll
    from wmcourse.vae_complete_loss import VAELoss

    reconstruction = bernoulli_nll(logits, x).mean()
    kl = kl_standard_normal(mu, logvar).mean()
    charged = kl if floor == 0 else free_bits(kl_per_dimension(mu, logvar), floor)
    return VAELoss(reconstruction + beta * charged, reconstruction, kl)


COMPLETE = Exercise(
    "vae_loss",
    "The whole loss",
    9,
    2,
    (
        "Two functions of lessons 03 and 04 give one number per frame. Three steps are left: a mean over the batch for each, the "
        "price, the sum.",
        "Without a floor: `reconstruction + beta * kl`. With one, `free_bits(kl_per_dimension(mu, logvar), floor)` takes the KL's place "
        "in the total, and only there: what you report stays the true KL.",
        "`charged = kl if floor == 0 else free_bits(...)`, then `VAELoss(reconstruction + beta * charged, reconstruction, kl)`.",
    ),
    (
        Mistake(
            "minimising the ELBO",
            losses(total=lambda rec, kl, beta: -(rec + beta * kl)),
            "Your total is the ELBO itself (at β = 1). It is a *lower* bound that one maximises; an optimiser that minimises it makes the "
            "pictures worse and the code dearer without end. It is tempting since papers write the ELBO and call it the objective. The "
            "loss is its negative.",
        ),
        Mistake(
            "the KL subtracted",
            losses(total=lambda rec, kl, beta: rec - beta * kl),
            "The minus before the KL is the ELBO's, where the other term is +log p. You have turned the sign of one of the two. Now "
            "a dear code is rewarded, and the loss has no minimum.",
        ),
        Mistake(
            "the log-likelihood for its negative",
            losses(reconstruction=lambda logits, x: -bernoulli_nll(logits, x).mean()),
            "Your reconstruction is +log p(x|z), as the ELBO has it, and then the KL is added. `bernoulli_nll` has the minus already: "
            "negated once more, the worst picture is the best.",
        ),
        Mistake(
            "everything negated",
            losses(
                total=lambda rec, kl, beta: rec - beta * kl,
                reconstruction=lambda logits, x: -bernoulli_nll(logits, x).mean(),
            ),
            "log p(x|z) − β·KL: that is the bound itself, as papers write it, and it is to be *maximised*. An optimiser minimises. Turn "
            "both signs: reconstruction + β·KL, both positive.",
        ),
        Mistake(
            "β on the reconstruction",
            losses(total=lambda rec, kl, beta: beta * rec + kl),
            "β is the price of a nat of *code*: it stands before the KL. Before the reconstruction it acts as 1/β, so that β = 4 gives "
            "sharper pictures, and you would conclude the opposite of everything in the papers.",
        ),
        Mistake(
            "β on both terms",
            losses(total=lambda rec, kl, beta: beta * (rec + kl)),
            "A factor on the whole loss moves no minimum: it is a learning rate. Brackets: reconstruction + β·KL.",
        ),
        Mistake(
            "β shared between the terms",
            losses(total=lambda rec, kl, beta: (1 - beta) * rec + beta * kl),
            "(1 − β)·reconstruction + β·KL is a weighted mean, as one writes it for two losses with a weight from 0 to 1. β is a price: it may be "
            "4, and then your reconstruction counts −3 times. The reconstruction's weight stays 1.",
        ),
        Mistake(
            "β left out",
            losses(total=lambda rec, kl, beta: rec + kl),
            "The total does not depend on `beta`. At the default, 1, nobody notices.",
        ),
        Mistake(
            "mean over the pixels",
            losses(reconstruction=lambda logits, x: F.binary_cross_entropy_with_logits(logits, x)),
            "torch's default reduction divides by the number of pixels as well, and the KL stays whole. For frames of N pixels that is a "
            "β of N: the code collapses, and lowering the learning rate does not help. Sum over pixels, mean over frames.",
        ),
        Mistake(
            "mean over the latent dimensions",
            losses(kl=lambda mu, logvar: kl_per_dimension(mu, logvar).mean()),
            "A mean over all entries divides the KL by Z, too: a β of 1/Z that nobody chose (lesson 03).",
        ),
        Mistake(
            "the mean of everything",
            losses(
                reconstruction=lambda logits, x: F.binary_cross_entropy_with_logits(logits, x),
                kl=lambda mu, logvar: kl_per_dimension(mu, logvar).mean(),
            ),
            "Both terms are means of all their entries. The one is divided by the number of pixels, the other by Z: that is a β of "
            "pixels/Z. Consistent it looks, and it is not.",
        ),
        Mistake(
            "the sum over the batch",
            losses(
                reconstruction=lambda logits, x: bernoulli_nll(logits, x).sum(),
                kl=lambda mu, logvar: kl_standard_normal(mu, logvar).sum(),
            ),
            "The loss is per *frame*: a mean over the batch. With a sum the step grows with the batch, and no two runs can be compared.",
        ),
        Mistake(
            "only the reconstruction summed over the batch",
            losses(reconstruction=lambda logits, x: bernoulli_nll(logits, x).sum()),
            "The pixels' sum goes over all frames of the batch, the KL is a mean over them: β is divided by the batch's size, and changes when you "
            'change that. `reduction="sum"` does it. Divide by `len(x)`.',
        ),
        Mistake(
            "one number for each frame",
            one_for_each_frame,
            "Each frame keeps its own loss. `bernoulli_nll` and `kl_standard_normal` give one number per frame; here their *means* over the batch "
            "are wanted, since `backward()` needs one number.",
        ),
        Mistake(
            "the log of a sigmoid",
            losses(reconstruction=logs_of_a_sigmoid),
            "x·log(s) + (1 − x)·log(1 − s) with s = sigmoid(logits) is right on paper. For a sure logit s rounds to 0 or 1, its log is −∞, and "
            "0·∞ is NaN: the training stops being one. Call `bernoulli_nll`, which stays with the logit (lesson 04).",
        ),
        Mistake(
            "torch's loss for probabilities",
            losses(reconstruction=clipped_logs),
            "`F.binary_cross_entropy(torch.sigmoid(logits), x)` clips each log at −100, without a word: where the decoder is sure and wrong, "
            "the loss is too low and its slope 0. All first tests pass. Call `bernoulli_nll`, which takes the logits themselves.",
        ),
        Mistake(
            "double sigmoid",
            losses(reconstruction=lambda logits, x: bernoulli_nll(torch.sigmoid(logits), x).mean()),
            "`bernoulli_nll` takes logits, and does the sigmoid within. After yours they lie in (0, 1), so that no pixel can become darker "
            "than sigmoid(0) = ½. The loss falls all the same, which is why this bug lives long.",
        ),
        Mistake(
            "squared error",
            losses(reconstruction=lambda logits, x: (torch.sigmoid(logits) - x).square().flatten(1).sum(1).mean()),
            "This is a Gaussian with a σ that you did not choose (lesson 04). Dodge's pixels are scored as coins, by `bernoulli_nll`.",
        ),
        Mistake(
            "half a squared error",
            losses(
                reconstruction=lambda logits, x: 0.5 * (torch.sigmoid(logits) - x).square().flatten(1).sum(1).mean()
            ),
            "This is a Gaussian with σ = 1, which on Dodge calls nearly all pictures equally good: the code collapses (lesson 04). Here pixels are "
            "scored as coins, by `bernoulli_nll`.",
        ),
        Mistake(
            "μ and log σ² swapped",
            losses(kl=lambda mu, logvar: kl_standard_normal(logvar, mu).mean()),
            "`kl_standard_normal(mu, logvar)`: you hand them over the other way round. Both have the same shape, so nothing complains.",
        ),
        Mistake(
            "the total last",
            total_last,
            "The numbers are right, their order is not: `VAELoss(total, reconstruction, kl)`. With names, "
            "`VAELoss(total=…, reconstruction=…, kl=…)`, the order does not matter.",
        ),
        Mistake(
            "the price within the reported KL",
            losses(reported=lambda kl, charged, beta: beta * kl),
            "The total is right. But the third number is the *rate*, in nats; with β on it runs at different β cannot be put into one picture.",
        ),
        Mistake(
            "the floor within the reported KL",
            losses(reported=lambda kl, charged, beta: charged),
            "The total is right. But you report what is *charged*: a collapsed code would show Z·floor nats, and look alive.",
        ),
        Mistake(
            "the floor left out",
            losses(bits=lambda kl, floor: kl.sum(1).mean()),
            "The total does not depend on `floor`: no dimension gets its nats for free.",
        ),
        Mistake(
            "free bits on top of the KL",
            floor_on_top,
            "You add the free bits to β·KL. They take the KL's *place* in the total: reconstruction + β·free_bits. Now every nat is charged twice.",
        ),
        Mistake(
            "free bits without a price",
            floor_without_price,
            "With a floor your total is reconstruction + free_bits, and β is gone. What is above the floor costs β a nat, as without a floor.",
        ),
        Mistake(
            "one floor for the sum",
            losses(bits=lambda kl, floor: kl.sum(1).mean().clamp(min=floor)),
            "The floor is for each dimension. On the sum, one lively dimension fills it, and all the others may die (lesson 03).",
        ),
        Mistake(
            "the floor before the mean",
            losses(bits=lambda kl, floor: kl.clamp(min=floor).sum(1).mean()),
            "You lift each *frame's* KL to the floor. First the mean over the batch, then the maximum (lesson 03).",
        ),
        Mistake(
            "the parts cut off",
            parts_cut_off,
            "The total is right, and trains. But reconstruction and KL come out detached, and whoever builds another loss from your parts, "
            "such as a Lagrangian, trains nothing. Detach where you log, not where you compute.",
        ),
    ),
    (loss_by_hand, loss_from_torch, loss_from_parts),
    reference=vae_loss,
    shown=loss_from_parts,
    cases=loss_cases,
    expects="a VAELoss(total, reconstruction, kl), or three numbers in this order: tensors without axes, nats per frame, the kl without β and floor",
    checked="All three numbers and their gradients on eight fresh inputs: β of 0, below, at and above 1, with and without free nats, "
    "a batch of one, colour, a decoder that is very sure; float32 and float64.",
    part=True,
)


# --- 2 · Schedules


def schedule_cases(rng: Rng) -> Iterator[Case]:
    for total, cycles, ramp, beta, about in (
        (200, 1, 0.5, 4.0, "one rise"),
        (120, 4, 0.25, 1.0, "four short rises"),
        (100, 3, 0.5, 3.0, "three rises in a hundred steps"),
        (90, 3, 1.0, 0.5, "three rises, no plateau"),
        (int(rng.integers(10, 20)) * 10, 2, 0.8, round(float(rng.uniform(2, 9)), 2), "two long rises"),
    ):
        length, extra = total // cycles, (total + cycles - 1) // cycles
        edges = [0, 1, length // 4, length - 1, extra, total - 1, total, total + 7, 3 * total]
        step = np.concatenate([edges, rng.permutation(total)[:8]])
        yield Case({"step": step, "total": total, "beta": beta, "cycles": cycles, "ramp": ramp}, about)
    yield Case({"step": np.array([3]), "total": 8, "beta": 2.0, "cycles": 1, "ramp": 0.5}, "a single step")


def beta_schedule(step: Tensor, total: int, beta: float, cycles: int, ramp: float) -> Tensor:
    period = total / cycles
    position = (step % period) / period  # within the cycle, in [0, 1)
    rising = beta * (position / ramp).clamp(max=1)
    return torch.where(step < total, rising, beta)


def schedule(
    shape: Callable[[Tensor, float], Tensor] = lambda position, ramp: (position / ramp).clamp(max=1),
    ends: bool = True,
    one_cycle: bool = False,
    period: Callable[[int, int], float] = lambda total, cycles: total / cycles,
    early: int = 0,
    after: float = 1.0,
    late: int = 0,
    less: int = 0,
) -> Answer:
    def answer(step: Tensor, total: int, beta: float, cycles: int, ramp: float) -> Tensor:
        length = period(total, 1 if one_cycle else cycles)
        risen = beta * shape(((step + early) % length) / (length - less), ramp)
        return torch.where(step < total + late, risen, after * beta) if ends else risen

    return answer


def ramp_of_the_whole(step: Tensor, total: int, beta: float, cycles: int, ramp: float) -> Tensor:
    risen = beta * ((step % (total / cycles)) / (ramp * total)).clamp(max=1)
    return torch.where(step < total, risen, beta)


def ramp_a_step_short(step: Tensor, total: int, beta: float, cycles: int, ramp: float) -> Tensor:
    length = total / cycles
    return torch.where(step < total, beta * ((step % length) / (ramp * length - 1)).clamp(max=1), beta)


def clamped_at_one(step: Tensor, total: int, beta: float, cycles: int, ramp: float) -> Tensor:
    position = (step % (total / cycles)) / (total / cycles)
    return torch.where(step < total, (beta * position / ramp).clamp(max=1), beta)


def schedule_in_plain_python(step: Tensor, total: int, beta: float, cycles: int, ramp: float) -> Tensor:
    values = []
    for s in step:
        position = (s.item() % (total / cycles)) / (total / cycles)
        values.append(beta if s >= total or position >= ramp else beta * position / ramp)
    return torch.tensor(values)


def schedule_by_steps(step: Tensor, total: int, beta: float, cycles: int, ramp: float) -> Tensor:
    values = []
    for s in step.tolist():
        into = s % (total / cycles)  # steps since the cycle began
        values.append(beta if s >= total else min(beta, beta * into / (ramp * total / cycles)))
    return torch.tensor(values)


def schedule_by_masks(step: Tensor, total: int, beta: float, cycles: int, ramp: float) -> Tensor:
    length = total / cycles
    position = step / length - torch.floor(step / length)
    result = torch.full_like(position, beta)
    rising = (step < total) & (position < ramp)
    result[rising] = beta * position[rising] / ramp
    return result


SCHEDULE = Exercise(
    "beta_schedule",
    "A price that rises",
    6,
    1,
    (
        "First where in its cycle each step is, as a number from 0 to 1: the remainder by the length of a cycle, `step % period`, over that length.",
        "From 0 to `ramp` of the cycle β rises in proportion, then it stays: `(position / ramp).clamp(max=1)`. From `total` on it is β: `torch.where`.",
    ),
    (
        Mistake(
            "falling, not rising",
            schedule(shape=lambda position, ramp: 1 - (position / ramp).clamp(max=1)),
            "β starts high and falls. A warm-up is the other way round: let the decoder find a use for the code first, then charge for it.",
        ),
        Mistake(
            "no plateau",
            schedule(shape=lambda position, ramp: position),
            "β rises over the whole cycle, whatever `ramp` says. The plateau is where the code is trained at the price that you mean.",
        ),
        Mistake(
            "rising without end",
            schedule(shape=lambda position, ramp: position / ramp),
            "After `ramp` of the cycle β goes on rising, up to beta/ramp. Clamp it at 1 before you multiply.",
        ),
        Mistake(
            "beginning anew after the end",
            schedule(ends=False),
            "At step `total` the remainder is 0 again, and so is your β: who trains a little longer ends with a free code. From `total` on it is β.",
        ),
        Mistake(
            "zero after the end",
            schedule(after=0.0),
            "After `total` steps β must *stay* at its value. Zero would undo in the last steps what the schedule was for.",
        ),
        Mistake(
            "one cycle only",
            schedule(one_cycle=True),
            "`cycles` has no effect. With one cycle this is the linear warm-up; the cyclical schedule has several, each total/cycles steps long.",
        ),
        Mistake(
            "cycles taken for their length",
            schedule(period=lambda total, cycles: cycles),
            "You take the remainder by `cycles`, which is *how many* there are. One cycle is total/cycles steps long.",
        ),
        Mistake(
            "the ramp's end for its length",
            schedule(shape=lambda position, ramp: ((position - 1 + ramp) / ramp).clamp(min=0)),
            "You put the plateau first, at 0, and rise at the end of the cycle. The ramp is its *first* part.",
        ),
        Mistake(
            "a step early",
            schedule(early=1),
            "At step 0 β must be 0. Counting from 1 is tempting, as papers do; here the first step is number 0, as Python's loops count.",
        ),
        Mistake(
            "one step too long",
            schedule(late=1),
            "At step `total` itself the remainder is 0 once more, and so is your β, for one step: the first `total` steps are 0 … total − 1. "
            "Write `step < total`, or `step >= total`.",
        ),
        Mistake(
            "a cycle a step short",
            schedule(less=1),
            "You divide by the cycle's length less 1, as `linspace` does, so that the last step of a cycle is at 1. Here a cycle of n steps has "
            "the positions 0, 1/n, …, (n − 1)/n: the next 0 is one step after.",
        ),
        Mistake(
            "a ramp a step short",
            ramp_a_step_short,
            "The ramp is `ramp` times the cycle's length, and you divide by one less: β arrives a step early, at the last step of the ramp and "
            "not at the first of the plateau.",
        ),
        Mistake(
            "a cycle of whole steps",
            schedule(period=lambda total, cycles: total // cycles),
            "100 steps in 3 cycles are 33⅓ steps each. With `//` your cycles have 33, and a fourth one begins at step 99: β ends near 0. "
            "Divide with `/`; `%` works on fractions, too.",
        ),
        Mistake(
            "the ramp not stretched",
            schedule(shape=lambda position, ramp: torch.where(position < ramp, position, 1.0)),
            "At the end of the ramp your β has come to ramp·beta only, and jumps. Over the ramp it rises to the full `beta`: position / ramp.",
        ),
        Mistake(
            "the ramp as a share of the whole",
            ramp_of_the_whole,
            "`ramp` is a share of a *cycle*; you take it of all `total` steps. With one cycle nobody notices.",
        ),
        Mistake(
            "clamped at 1 after the price",
            clamped_at_one,
            "The clamp at 1 comes after the multiplication with `beta`: a price above 1 stops at 1 and then jumps. Clamp the share, then multiply.",
        ),
        Mistake(
            "a rise like a cosine",
            schedule(shape=lambda position, ramp: 0.5 - 0.5 * torch.cos(torch.pi * (position / ramp).clamp(max=1))),
            "A smooth rise may well be as good. The exercise asks for an even one: half of the way is half of the price.",
        ),
    ),
    (schedule_by_steps, schedule_by_masks, schedule_in_plain_python),
    reference=beta_schedule,
    cases=schedule_cases,
    expects="a β for each step: 0 at the start of each cycle, `beta` after its ramp and from `total` on",
    checked="Six fresh schedules: one to four cycles, with and without a plateau, at the first and last step of a cycle and after the end.",
    equivalent={"gradient cut": "nobody differentiates by the number of a step"},
)


# --- 3 · Convolution arithmetic


def layer_cases(rng: Rng) -> Iterator[Case]:
    halving = [("conv", 1, 16, 4, 2, 1), ("conv", 16, 32, 4, 2, 1), ("linear", 32 * 8 * 8, 20, 1, 1, 0)]
    yield Case({"side": 32, "layers": halving}, "an encoder that halves")
    doubling = [("linear", 10, 32 * 4 * 4, 1, 1, 0), ("transposed", 512, 16, 5, 2, 0), ("transposed", 16, 3, 6, 3, 1)]
    yield Case({"side": 1, "layers": doubling}, "a decoder")
    for about in ("any layers", "any others"):
        first, layers, inputs = int(rng.integers(41, 64)), [], 3
        side = first
        for _ in range(4):
            outputs, kernel = int(rng.integers(2, 40)), int(rng.integers(3, 7))
            stride, padding = int(rng.integers(2, 4)), int(rng.integers(1, 3))
            kind = "conv" if side + 2 * padding > 20 else "transposed"
            layers.append((kind, inputs, outputs, kernel, stride, padding))
            side = (
                (side + 2 * padding - kernel) // stride + 1
                if kind == "conv"
                else (side - 1) * stride - 2 * padding + kernel
            )
            inputs = outputs
        yield Case({"side": first, "layers": layers}, about)
    uneven = [("conv", 2, 3, 4, 2, 0), ("transposed", 3, 2, 4, 2, 0)]
    yield Case({"side": 31, "layers": uneven}, "there and back, with a pixel lost")


def layer_table(side: int, layers: list[tuple[str, int, int, int, int, int]]) -> tuple[Tensor, Tensor]:
    sides, counts = [], []
    for kind, inputs, outputs, kernel, stride, padding in layers:
        if kind == "conv":
            side = (side + 2 * padding - kernel) // stride + 1
        elif kind == "transposed":
            side = (side - 1) * stride - 2 * padding + kernel
        else:  # linear: no picture any more
            side = 1
        sides.append(side)
        counts.append(outputs * (inputs * kernel**2 + 1))  # each output channel has its kernels and a bias
    return torch.tensor(sides), torch.tensor(counts)


def conv_side(side: int, kernel: int, stride: int, padding: int) -> int:
    return (side + 2 * padding - kernel) // stride + 1


def transposed_side(side: int, kernel: int, stride: int, padding: int) -> int:
    return (side - 1) * stride - 2 * padding + kernel


def layers_with(
    conv: Callable[[int, int, int, int], float] = conv_side,
    transposed: Callable[[int, int, int, int], float] = transposed_side,
    count: Callable[[int, int, int], int] = lambda inputs, outputs, kernel: outputs * (inputs * kernel**2 + 1),
    linear: int | None = 1,
    chained: bool = True,
) -> Answer:
    def answer(side: int, layers: list[tuple[str, int, int, int, int, int]]) -> tuple[Tensor, Tensor]:
        sides, counts, first = [], [], side
        for kind, inputs, outputs, kernel, stride, padding in layers:
            given: Any = side if chained else first
            if kind == "linear":
                side = given if linear is None else linear
            else:
                side = (conv if kind == "conv" else transposed)(given, kernel, stride, padding)  # type: ignore[assignment]
            sides.append(side)
            counts.append(count(inputs, outputs, kernel))
        return torch.tensor(sides), torch.tensor(counts)

    return answer


def layers_at_each_place(side: int, layers: list[tuple[str, int, int, int, int, int]]) -> tuple[Tensor, Tensor]:
    sides, counts = layer_table(side, layers)
    return sides, counts * sides**2


def layers_from_torch(side: int, layers: list[tuple[str, int, int, int, int, int]]) -> tuple[Tensor, Tensor]:
    """Ask torch: build each layer on a device that has no memory, and look."""
    sides, counts = [], []
    for kind, inputs, outputs, kernel, stride, padding in layers:
        layer: Any
        if kind == "linear":
            layer, side = torch.nn.Linear(inputs, outputs, device="meta"), 1
        else:
            build: Any = torch.nn.Conv2d if kind == "conv" else torch.nn.ConvTranspose2d
            layer = build(inputs, outputs, kernel, stride, padding, device="meta")
            side = layer(torch.empty(1, inputs, side, side, device="meta")).shape[-1]
        sides.append(side)
        counts.append(sum(p.numel() for p in layer.parameters()))
    return torch.tensor(sides), torch.tensor(counts)


def layers_by_counting(side: int, layers: list[tuple[str, int, int, int, int, int]]) -> tuple[Tensor, Tensor]:
    """Lay the kernel down at each place where it fits, and count the places."""
    sides = []
    for kind, _, _, kernel, stride, padding in layers:
        if kind == "conv":
            side = len(range(0, side + 2 * padding - kernel + 1, stride))
        elif kind == "transposed":
            written = {s * stride + k for s in range(side) for k in range(kernel)}
            side = max(written) + 1 - 2 * padding
        else:
            side = 1
        sides.append(side)
    return torch.tensor(sides), torch.tensor([o * i * k * k + o for _, i, o, k, _, _ in layers])


LAYERS = Exercise(
    "layer_table",
    "How large, and how many",
    10,
    2,
    (
        "A convolution: at how many places does a kernel fit into side + 2·padding pixels, if it moves by `stride`? The first place is at the "
        "edge; then count the moves that are left.",
        "conv: (side + 2·padding − kernel) // stride + 1. A transposed one is the same read backwards: (side − 1)·stride − 2·padding + kernel.",
        "Parameters: each of the `outputs` channels has a kernel² for each input channel, and one bias: outputs·(inputs·kernel² + 1). "
        "A linear layer is a kernel of 1.",
    ),
    (
        Mistake(
            "the + 1 forgotten",
            layers_with(conv=lambda n, k, s, p: (n + 2 * p - k) // s),
            "You count the kernel's *moves*. The places are one more: the first place needs no move. (A fence of n pieces has n + 1 posts.)",
        ),
        Mistake(
            "a side that is not whole",
            layers_with(conv=lambda n, k, s, p: (n + 2 * p - k) / s + 1),
            "A kernel that does not fit any more is left out: round down, with `//`. The pixels at the edge are then never looked at.",
        ),
        Mistake(
            "rounded up",
            layers_with(conv=lambda n, k, s, p: -(-(n + 2 * p - k) // s) + 1),
            "Rounding up lets the last kernel stick out over the edge. torch rounds down.",
        ),
        Mistake(
            "the padding once",
            layers_with(
                conv=lambda n, k, s, p: (n + p - k) // s + 1, transposed=lambda n, k, s, p: (n - 1) * s - p + k
            ),
            "Padding is added at *both* ends of each side: 2·padding.",
        ),
        Mistake(
            "the padding once, in the convolution",
            layers_with(conv=lambda n, k, s, p: (n + p - k) // s + 1),
            "Your transposed layers are right. In a convolution, too, the padding is added at *both* ends: + 2·padding.",
        ),
        Mistake(
            "the padding once, in the transposed convolution",
            layers_with(transposed=lambda n, k, s, p: (n - 1) * s - p + k),
            "Your convolutions are right. In a transposed one, too, the padding is at *both* ends: it cuts off 2·padding.",
        ),
        Mistake(
            "padding that makes a convolution smaller",
            layers_with(conv=lambda n, k, s, p: (n - 2 * p - k) // s + 1),
            "Padding puts zeros *around* the picture before the kernel runs over it: side + 2·padding.",
        ),
        Mistake(
            "the kernel overlooked",
            layers_with(conv=lambda n, k, s, p: n // s),
            "side // stride holds only if padding and kernel fit, as 4 × 4 with padding 1 and stride 2 do. The paper's V model has no padding: "
            "64 becomes 31, not 32.",
        ),
        Mistake(
            "a stride too many in the transposed convolution",
            layers_with(transposed=lambda n, k, s, p: n * s - 2 * p + k),
            "n pixels write n kernels, which begin at 0, stride, …, (n − 1)·stride. The last one starts there, and adds its kernel: "
            "(side − 1)·stride + kernel.",
        ),
        Mistake(
            "the transposed convolution without its kernel",
            layers_with(transposed=lambda n, k, s, p: (n - 1) * s - 2 * p),
            "(side − 1)·stride is where the last kernel *begins*. It is `kernel` pixels long: add that.",
        ),
        Mistake(
            "the signs of kernel and padding swapped",
            layers_with(transposed=lambda n, k, s, p: (n - 1) * s + 2 * p - k),
            "Solving (n + 2p − k)/s + 1 = m for n gives (m − 1)·s − 2p + k: what is moved to the other side changes its sign.",
        ),
        Mistake(
            "a pixel too many in the transposed convolution",
            layers_with(transposed=lambda n, k, s, p: (n - 1) * s - 2 * p + k + 1),
            "One too many: the + 1 belongs to the convolution, which counts places. The transposed one counts pixels. (torch's `output_padding` adds "
            "some; here there is none.)",
        ),
        Mistake(
            "padding that enlarges a transposed convolution",
            layers_with(transposed=lambda n, k, s, p: (n - 1) * s + 2 * p + k),
            "In a transposed convolution padding is what the forward one had added: it is cut off again, −2·padding. The name misleads.",
        ),
        Mistake(
            "a transposed convolution as a convolution",
            layers_with(transposed=conv_side),
            "The decoder's layers must enlarge: their side is the *input* side of the convolution that they transpose.",
        ),
        Mistake(
            "only multiplied by the stride",
            layers_with(transposed=lambda n, k, s, p: n * s),
            "n·stride is right only if kernel − 2·padding = stride, as in the course's ConvVAE. The paper's 5 × 5 and 6 × 6 kernels overlap.",
        ),
        Mistake(
            "no biases",
            layers_with(count=lambda i, o, k: o * i * k**2),
            "Each output channel has a bias as well, one number.",
        ),
        Mistake(
            "a bias for each input channel",
            layers_with(count=lambda i, o, k: i * (o * k**2 + 1)),
            "The bias is added to what comes *out*, so there are `outputs` of them. It is tempting in a transposed convolution, whose "
            "weight torch stores with the inputs first.",
        ),
        Mistake(
            "a bias for each weight's channel pair",
            layers_with(count=lambda i, o, k: o * i * (k**2 + 1) if k > 1 else o * (i + 1)),
            "One bias for each output channel, not one for each kernel: inputs·kernel² + 1.",
        ),
        Mistake(
            "one bias for the layer",
            layers_with(count=lambda i, o, k: o * i * k**2 + 1),
            "A bias for each output *channel*, so `outputs` of them, not one for the whole layer.",
        ),
        Mistake(
            "the input channels left out",
            layers_with(count=lambda i, o, k: o * (k**2 + 1) if k > 1 else o * (i + 1)),
            "An output channel looks at *all* input channels, each with a kernel of its own: inputs·kernel² weights.",
        ),
        Mistake(
            "the kernel not squared",
            layers_with(count=lambda i, o, k: o * (i * k + 1)),
            "The kernel is a square of kernel × kernel weights.",
        ),
        Mistake(
            "weights for each place",
            layers_at_each_place,
            "You have multiplied by the number of places. A convolution uses the *same* kernel at all of them: its parameters do not depend on the "
            "picture's size. That is why it needs so few.",
        ),
        Mistake(
            "each layer from the first side",
            layers_with(chained=False),
            "Each layer gets what the one before has put out. You start from `side` every time.",
        ),
        Mistake(
            "a linear layer with a side",
            layers_with(linear=None),
            "After a linear layer there is no picture: its side is 1.",
        ),
    ),
    (layers_from_torch, layers_by_counting),
    reference=layer_table,
    cases=layer_cases,
    expects="two tensors of whole numbers, one entry for each layer: the side of its output, and its number of parameters",
    checked="Sides and counts of five networks, two of them drawn afresh: convolutions, transposed ones and linear layers, with sides that "
    "do not divide.",
    equivalent={
        "gradient cut": "whole numbers have no gradient",
        "every row is the first row": "the layers are a list, not the rows of an array, so this mutant is the original",
    },
)


# --- 4 · One training step


SIDE, LATENT, STEPS = 8, 2, 3


def step_inputs(rng: Rng, batch: int, beta: float) -> dict[str, Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        vae = ConvVAE((1, SIDE, SIDE), LATENT, 2).double()
    return {"vae": vae, "x": rng.uniform(0, 1, (batch, 1, SIDE, SIDE)), "beta": beta, "rate": 1e-3}


def step_cases(rng: Rng) -> Iterator[Case]:
    yield Case(step_inputs(rng, 4, 2.0), "four frames")
    yield Case(step_inputs(rng, 1, 0.5), "one frame")


def three_steps(answer: Answer, vae: ConvVAE, x: Tensor, beta: float, rate: float) -> Any:
    """What an answer makes of a network: all its parameters after each step, and the losses returned."""
    parameters, totals = [], []
    for _ in range(STEPS):
        result = answer(vae, x, beta, rate)
        totals += judge.leaves(result)
        parameters.append(parameters_to_vector(vae.parameters()).detach().clone())
    return torch.stack(parameters), *totals


def step_properties(ask: Callable[..., Outcome], rng: Rng) -> str:
    """The course's step on the same network with the same noise leads to the same parameters."""
    cases = [Case(step_inputs(rng, batch, beta), "three steps") for batch, beta in ((6, 3.0), (1, 0.7))]
    got = [ask(case, three_steps) for case in cases]
    right = [judge.ask(functools.partial(three_steps, sgd_step), case) for case in cases]
    complaint = next(filter(None, map(STEP.compare, got, right)), "")
    if not complaint:
        return ""
    for mistake in STEP.known:
        theirs = [judge.ask(functools.partial(three_steps, mistake.answer), case) for case in cases]
        same = all(not t.complaint and not STEP.compare(g, t) for g, t in zip(got, theirs, strict=True))
        if same:
            return f"{mistake.name}, seen in the parameters after three steps."
    if not got[0].complaint and len(got[0].values) == len(right[0].values):
        moved, wanted = got[0].values[0], right[0].values[0]
        if STEP.differ(moved, wanted):
            return "after three steps the parameters are not where gradient descent leads." + STEP.differ(
                moved, wanted
            ).removeprefix("the values differ.")
        return f"the parameters are right, but not the loss that is returned: {complaint}"
    return complaint


def sgd_step(vae: torch.nn.Module, x: Tensor, beta: float, rate: float) -> VAELoss:
    logits, mu, logvar = vae(x)  # one sampled z for each frame
    loss = vae_complete_loss.vae_loss(logits, x, mu, logvar, beta)
    vae.zero_grad()
    loss.total.backward()
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter -= rate * parameter.grad  # type: ignore[misc, operator]
    return loss


def stepping(
    direction: float = -1.0,
    forget: bool = True,
    late: bool = False,
    what: Callable[[VAELoss, Tensor], Tensor] = lambda loss, x: loss.total,
    charged: bool = True,
    sampled: bool = True,
    squash: bool = False,
    as_floor: bool = False,
    which: Callable[[ConvVAE], torch.nn.Module] = lambda vae: vae,
    change: Callable[[Tensor], Tensor] = lambda gradient: gradient,
) -> Answer:
    def answer(vae: ConvVAE, x: Tensor, beta: float, rate: float) -> VAELoss:
        def move() -> None:
            with torch.no_grad():
                for parameter in which(vae).parameters():
                    if parameter.grad is not None:
                        parameter += direction * rate * change(parameter.grad)  # type: ignore[misc]

        if late:
            move()
        mu, logvar = vae.encode(x)
        logits = vae.decode(reparameterize(mu, logvar) if sampled else mu)
        logits = torch.sigmoid(logits) if squash else logits
        price, floor = (1.0, beta) if as_floor else (beta if charged else 1.0, 0.0)
        loss = vae_loss(logits, x, mu, logvar, price, floor)
        if forget:
            vae.zero_grad()
        what(loss, x).backward()
        if not late:
            move()
        return loss

    return answer


def with_adam(vae: ConvVAE, x: Tensor, beta: float, rate: float) -> VAELoss:
    optimizer = torch.optim.Adam(vae.parameters(), rate)
    loss = vae_loss(*vae_arguments(vae, x), beta)
    optimizer.zero_grad()
    loss.total.backward()
    optimizer.step()
    return loss


def loss_after(vae: ConvVAE, x: Tensor, beta: float, rate: float) -> VAELoss:
    sgd_step(vae, x, beta, rate)
    return vae_loss(*vae_arguments(vae, x), beta)


def plain_numbers(vae: ConvVAE, x: Tensor, beta: float, rate: float) -> Any:
    return tuple(value.item() for value in sgd_step(vae, x, beta, rate))


def only_the_total(vae: ConvVAE, x: Tensor, beta: float, rate: float) -> Tensor:
    return sgd_step(vae, x, beta, rate).total


def nothing_moves(vae: ConvVAE, x: Tensor, beta: float, rate: float) -> VAELoss:
    return vae_loss(*vae_arguments(vae, x), beta)


def vae_arguments(vae: ConvVAE, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    logits, mu, logvar = vae(x)
    return logits, x, mu, logvar


def step_with_optimizer(vae: torch.nn.Module, x: Tensor, beta: float, rate: float) -> tuple[Tensor, Tensor, Tensor]:
    from wmcourse.vae_complete_loss import vae_loss

    optimizer = torch.optim.SGD(vae.parameters(), lr=rate)
    logits, mu, logvar = vae(x)
    loss = vae_loss(logits, x, mu, logvar, beta)
    optimizer.zero_grad()
    loss.total.backward()
    optimizer.step()
    return loss


def step_that_tidies_up(vae: ConvVAE, x: Tensor, beta: float, rate: float) -> VAELoss:
    """Forgets after the step, as some do: the next one finds nothing either."""
    for parameter in vae.parameters():
        parameter.grad = None
    loss = vae_loss(*vae_arguments(vae, x), beta)
    loss.total.backward()
    for parameter in vae.parameters():
        assert parameter.grad is not None
        parameter.data -= rate * parameter.grad
        parameter.grad.zero_()
    return VAELoss(*(value.detach() for value in loss))


def step_with_autograd(vae: ConvVAE, x: Tensor, beta: float, rate: float) -> tuple[Tensor, Tensor, Tensor]:
    mu, logvar = vae.encode(x)
    logits = vae.decode(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))
    total, reconstruction, kl = vae_loss(logits, x, mu, logvar, beta)
    weights = list(vae.parameters())
    for weight, slope in zip(weights, torch.autograd.grad(total, weights), strict=True):
        weight.data.add_(slope, alpha=-rate)
    return total, reconstruction, kl


STEP = Exercise(
    "sgd_step",
    "One step downhill",
    6,
    2,
    (
        "Five things in this order: a pass with sampled codes, the loss, *forget the old gradients*, the new gradients, the step.",
        "`vae.zero_grad()`, then `loss.total.backward()`. Then, under `torch.no_grad()`, change each parameter in place: "
        "`parameter -= rate * parameter.grad`.",
    ),
    (
        Mistake(
            "gradients never forgotten",
            stepping(forget=False),
            "`backward()` *adds* to what is in `.grad`. Without `zero_grad()` each step follows the sum of all gradients so far: the first "
            "step is right, so a test of one step passes, and later the loss swings and climbs.",
        ),
        Mistake(
            "uphill",
            stepping(direction=1.0),
            "You add the gradient, and so climb. The gradient points to where the loss grows: subtract it. (Adding is right for the ELBO.)",
        ),
        Mistake(
            "the step before the gradient",
            stepping(late=True),
            "You move first, with the gradients of the call before, and the first call moves nothing. It trains nearly as well, which is why "
            "it stays unnoticed. (Between the pass and `backward()` torch would have stopped you.)",
        ),
        Mistake(
            "the parameters do not move",
            nothing_moves,
            "After the call all parameters are what they were. Two ways lead here: `parameter = parameter - …` makes a new tensor and leaves the "
            "network alone (write `-=`, in place), and `zero_grad()` *after* `backward()` throws away the gradient before it is used.",
        ),
        Mistake(
            "only the reconstruction trained",
            stepping(what=lambda loss, x: loss.reconstruction),
            "`loss.reconstruction.backward()` leaves the KL out: an autoencoder whose code has no price. Its samples from the prior are noise.",
        ),
        Mistake(
            "only the KL trained",
            stepping(what=lambda loss, x: loss.kl),
            "`loss.kl.backward()` trains towards the prior and nothing else. It is the *total* that goes downhill.",
        ),
        Mistake(
            "the sum over the batch",
            stepping(what=lambda loss, x: loss.total * len(x)),
            "Your step is as many times too long as there are frames in the batch.",
        ),
        Mistake(
            "β left out",
            stepping(charged=False),
            "`beta` never reaches the loss: the default of `vae_loss` is 1, and nothing complains.",
        ),
        Mistake(
            "μ decoded in place of a sample",
            stepping(sampled=False),
            "You train on decode(μ). Then no noise ever reaches the decoder: σ drifts to 1 for free, the code has no limit to its exactness, and "
            "the loss bounds nothing. `vae(x)` samples; decoding μ is for looking at pictures (exercise 6).",
        ),
        Mistake(
            "double sigmoid",
            stepping(squash=True),
            "`vae(x)` gives logits and `vae_loss` takes logits. With a sigmoid between them no pixel can be darker than ½, and the loss falls all the "
            "same.",
        ),
        Mistake(
            "β in the place of the floor",
            stepping(as_floor=True),
            "Your β arrives as `floor`: the loss is `vae_loss(logits, x, mu, logvar, beta)`, with β fifth and the floor sixth.",
        ),
        Mistake(
            "only the decoder moves",
            stepping(which=lambda vae: vae.decoder),
            "You change the decoder's parameters only. The encoder is trained by the same loss, through the sampled z (lesson 02): "
            "`vae.parameters()` has both.",
        ),
        Mistake(
            "only the encoder moves",
            stepping(which=lambda vae: vae.encoder),
            "You change the encoder's parameters only. `vae.parameters()` has both halves.",
        ),
        Mistake(
            "the gradient made to length 1",
            stepping(change=lambda gradient: gradient / gradient.norm()),
            "You divide each gradient by its length: all layers then move equally far, however small their slope, and near the minimum the steps do not "
            "become smaller. Plain descent is rate·gradient.",
        ),
        Mistake(
            "only the sign of the gradient",
            stepping(change=torch.sign),
            "Every number moves by `rate`, whatever its slope. Plain descent is rate·gradient.",
        ),
        Mistake(
            "Adam in place of plain descent",
            with_adam,
            "A new Adam at each call remembers nothing, and its first step moves every parameter by about `rate`, whatever its slope. An optimiser with a "
            "memory is made once, outside of the loop. Here plain descent is asked for.",
        ),
        Mistake(
            "the loss after the step",
            loss_after,
            "The step is right. But you have computed the loss once more, after it: another pass through the network, and another sample of z. Return the "
            "loss whose gradient you followed.",
        ),
        Mistake(
            "plain numbers returned",
            plain_numbers,
            "The step is right. But `.item()` makes plain numbers; the loss is asked for as `vae_loss` returned it, tensors with names.",
        ),
        Mistake(
            "only the total returned",
            only_the_total,
            "The step is right. Return the whole VAELoss: whoever watches only the total does not see a collapse.",
        ),
    ),
    (step_with_optimizer, step_with_autograd, step_that_tidies_up),
    reference=sgd_step,
    shown=step_with_optimizer,
    cases=step_cases,
    properties=step_properties,
    expects="the step's VAELoss, as it was before the step; and a network whose parameters have each moved by −rate·gradient of the total",
    checked="All parameters and losses of a small network over three steps, on fresh frames, and on a batch of one.",
    equivalent={
        "input vae ignored": "the network is no array: nothing can be zeroed, so this mutant is the original",
        "gradient cut": "the loss is returned to be read; its gradient has done its work",
    },
)


# --- 5 · A collapse detector


def unit_cases(rng: Rng) -> Iterator[Case]:
    for frames, latent, kind, about in (
        (8, 4, np.float32, "a few frames"),
        (2, 6, np.float32, "two frames"),
        (int(rng.integers(40, 80)), 1, np.float32, "one dimension"),
        (int(rng.integers(40, 80)), int(rng.integers(8, 14)), np.float32, "more frames"),
    ):
        size = np.where(np.arange(latent) % 2 == 0, 1.0, 0.02)  # every other dimension says nothing
        mu = size * rng.normal(0, 1, (frames, latent)) + rng.normal(0, 0.5, latent)
        mu[:2, 0] = 0.0, 3.0  # far from the threshold, however few frames there are
        logvar = rng.normal(-1.2 * size, 0.1, (frames, latent))
        if latent > 3:
            mu[:, 1], logvar[:, 1] = 1.3 + 0.01 * rng.normal(size=frames), -2.0  # dear, and the same for all frames
            mu[:, 2] = 0.7 + 0.05 * np.sign(
                rng.normal(size=frames)
            )  # a standard deviation above 0.01, a variance below
        yield Case({"mu": mu.astype(kind), "logvar": logvar.astype(kind), "least": 0.01}, about)


def active_units(mu: Tensor, logvar: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
    kl = 0.5 * (logvar.exp() + mu.square() - 1 - logvar).mean(dim=0)
    spread = mu.var(dim=0)  # over the frames
    return kl, spread, (spread > least).to(mu.dtype)


def units(
    kl: Callable[[Tensor, Tensor], Tensor] = lambda mu, logvar: kl_per_dimension(mu, logvar).mean(0),
    spread: Callable[[Tensor, Tensor], Tensor] = lambda mu, logvar: mu.var(0),
    active: Callable[[Tensor, Tensor, float], Tensor] = lambda kl, spread, least: spread > least,
) -> Answer:
    def answer(mu: Tensor, logvar: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
        a, b = kl(mu, logvar), spread(mu, logvar)
        return a, b, active(a, b, least).to(mu.dtype)

    return answer


def counted_units(mu: Tensor, logvar: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
    kl, spread, active = active_units(mu, logvar, least)
    return kl, spread, active.sum()


def swapped_units(mu: Tensor, logvar: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
    kl, spread, active = active_units(mu, logvar, least)
    return spread, kl, active


def units_as_one_writes_it(mu: Tensor, logvar: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
    spread = mu.var(0)
    return kl_per_dimension(mu, logvar).mean(0), spread, (spread > least).float()


def across(mu: Tensor, logvar: Tensor) -> Tensor:
    """``mu.var(1)``, without a warning where there is one dimension only."""
    return (mu - mu.mean(1, keepdim=True)).square().sum(1) / (mu.shape[1] - 1)


def units_by_moments(mu: Tensor, logvar: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
    n = mu.shape[0]
    centre = mu.sum(0) / n
    spread = ((mu - centre) ** 2).sum(0) / (n - 1)
    kl = (torch.exp(logvar) + mu**2 - logvar).sum(0) / (2 * n) - 0.5
    return kl, spread, torch.where(spread > least, torch.ones_like(spread), torch.zeros_like(spread))


def units_one_by_one(mu: Tensor, logvar: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
    rows = []
    for m, v in zip(mu.unbind(1), logvar.unbind(1), strict=True):
        spread = torch.cov(m)
        rows.append(
            torch.stack([kl_standard_normal(m[:, None], v[:, None]).mean(), spread, (spread > least).to(mu.dtype)])
        )
    kl, spread, active = torch.stack(rows, dim=1)
    return kl, spread, active


UNITS = Exercise(
    "active_units",
    "Who is still alive",
    5,
    1,
    (
        "Both numbers are about one dimension over all frames: the batch axis is 0. The KL is a mean over it, the spread a variance over it.",
        "`mu.var(dim=0)` is torch's variance, with N − 1. Alive is where it is above `least`, as 1.0 and 0.0: `(spread > least).to(mu.dtype)`.",
    ),
    (
        Mistake(
            "the mean of μ for its variance",
            units(spread=lambda mu, logvar: mu.mean(0), active=lambda kl, spread, least: spread.abs() > least),
            "You look at the *mean* of μ over the frames. A dimension may be far from 0 for all frames alike and say nothing, or be 0 on "
            "average and say a lot. What counts is how much μ *varies*.",
        ),
        Mistake(
            "statistics over the dimensions",
            units(kl=lambda mu, logvar: kl_per_dimension(mu, logvar).mean(1), spread=across),
            "You went over the last axis, the dimensions, and have one number for each *frame*. A dimension's life is judged over all frames: axis 0.",
        ),
        Mistake(
            "the standard deviation for the variance",
            units(spread=lambda mu, logvar: mu.std(0)),
            "Burda et al. compare the *variance* of μ with 0.01. A standard deviation passes 0.01 at a hundredth of that variance.",
        ),
        Mistake(
            "n in place of n − 1",
            units(spread=lambda mu, logvar: mu.var(0, correction=0)),
            "This divides by N. Over thousands of frames nobody can tell; the check has few. torch's `var` divides by N − 1 (lesson 03).",
        ),
        Mistake(
            "the variance of a sample of z",
            units(spread=lambda mu, logvar: mu.var(0) + logvar.exp().mean(0)),
            "Var(μ) + E[σ²] is the variance of z itself. A dead dimension has σ² = 1 and would be the liveliest of all: noise is not news.",
        ),
        Mistake(
            "the mean square of μ",
            units(spread=lambda mu, logvar: mu.square().mean(0)),
            "The mean of μ² is no variance as long as μ's mean is not 0: a dimension that says 1.3 for every frame would look lively. Subtract the mean first, or "
            "call `mu.var(dim=0)`.",
        ),
        Mistake(
            "the KL without its ½",
            units(kl=lambda mu, logvar: 2 * kl_per_dimension(mu, logvar).mean(0)),
            "The KL of a dimension has a ½ before everything (lesson 03): yours are twice as dear.",
        ),
        Mistake(
            "log σ² read as log σ",
            units(kl=lambda mu, logvar: kl_per_dimension(mu, 2 * logvar).mean(0)),
            "You treat `logvar` as log σ: exp(2·logvar). It is log σ², so σ² is `logvar.exp()`.",
        ),
        Mistake(
            "a count for the verdicts",
            counted_units,
            "You have added the verdicts up. Which of the dimensions are alive is lost with that: one 1.0 or 0.0 for each.",
        ),
        Mistake(
            "spread and KL swapped",
            swapped_units,
            "The numbers are right, their order is not: first the KL, then the spread, then the verdict.",
        ),
        Mistake(
            "the encoder's own variance",
            units(spread=lambda mu, logvar: logvar.exp().mean(0)),
            "σ² says how unsure the encoder is about one frame. The statistic asks how much μ differs *between* frames.",
        ),
        Mistake(
            "alive by its KL",
            units(active=lambda kl, spread, least: kl > least),
            "A KL above the threshold does not make a dimension alive: with the same μ and σ for all frames it is dear, and says nothing. "
            "Ask the spread.",
        ),
        Mistake(
            "dead and alive swapped",
            units(active=lambda kl, spread, least: spread <= least),
            "You return 1 for the dead. Active is where the spread is *above* `least`.",
        ),
        Mistake(
            "the KL summed over the frames",
            units(kl=lambda mu, logvar: kl_per_dimension(mu, logvar).sum(0)),
            "The KL of a dimension is its mean over frames; a sum grows with the data set, and nothing would ever look dead.",
        ),
        Mistake(
            "the log-variance used as σ²",
            units(kl=lambda mu, logvar: 0.5 * (logvar + mu**2 - 1 - logvar).mean(0)),
            "Where σ² belongs you have log σ² itself: it is `logvar.exp()`.",
        ),
    ),
    (units_by_moments, units_one_by_one, units_as_one_writes_it),
    reference=active_units,
    cases=unit_cases,
    expects="three tensors of shape (Z,): the mean KL of each dimension in nats, the variance of its μ over the frames, and 1.0 or 0.0",
    checked="KL, spread and verdict of each dimension on four fresh codes, with dead dimensions and one that is dear and says nothing.",
    equivalent={"gradient cut": "statistics are for reading: whoever computes them under `torch.no_grad()` is right"},
)


# --- 6 · Looking without dice


def reconstruct_cases(rng: Rng) -> Iterator[Case]:
    for batch, latent, image, kind, about in (
        (3, 4, (1, 5, 4), torch.float32, "three frames"),
        (1, 2, (1, 4, 4), torch.float64, "a batch of one"),
        (int(rng.integers(4, 7)), 3, (3, 4, 4), torch.float64, "frames in colour"),
    ):
        weight = torch.from_numpy(rng.normal(0, 2, (latent, *image))).to(kind)
        bias = torch.from_numpy(rng.normal(0, 2, image)).to(kind)

        def decode(z: Tensor, weight: Tensor = weight, bias: Tensor = bias) -> Tensor:
            return torch.tensordot(z, weight, dims=1) + bias

        floats = np.float32 if kind == torch.float32 else np.float64
        mu, logvar = rng.normal(0, 1, (batch, latent)), rng.normal(-1, 0.5, (batch, latent))
        x = rng.uniform(0, 1, (batch, *image))
        arrays = {"mu": mu.astype(floats), "logvar": logvar.astype(floats), "x": x.astype(floats)}
        yield Case({"decode": decode, **arrays}, about)


def reconstruct(decode: "Callable[[Tensor], Tensor]", mu: Tensor, logvar: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    picture = torch.sigmoid(decode(mu))  # the code's centre: no noise, so no logvar
    off = 255 * (picture - x)
    return picture, off.square().mean(dim=(1, 2, 3)).sqrt()


def looking(
    code: Callable[[Tensor, Tensor], Tensor] = lambda mu, logvar: mu,
    picture: Callable[[Tensor], Tensor] = torch.sigmoid,
    error: Callable[[Tensor], Tensor] = lambda d: 255 * d.square().mean(dim=(1, 2, 3)).sqrt(),
) -> Answer:
    def answer(decode: Callable[[Tensor], Tensor], mu: Tensor, logvar: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        shown = picture(decode(code(mu, logvar)))
        return shown, error(shown - x)

    return answer


def reconstruct_by_hand(
    decode: Callable[[Tensor], Tensor], mu: Tensor, logvar: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        picture = 1 / (1 + torch.exp(-decode(mu)))
        squares = ((255 * picture - 255 * x) ** 2).reshape(len(x), -1)
        return picture, torch.sqrt(squares.sum(1) / squares.shape[1])


def reconstruct_with_norm(
    decode: Callable[[Tensor], Tensor], mu: Tensor, logvar: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    picture = decode(mu).sigmoid()
    return picture, torch.linalg.vector_norm((picture - x).flatten(1), dim=1) * 255 / (x[0].numel() ** 0.5)


PICTURES = Exercise(
    "reconstruct",
    "Looking without dice",
    4,
    1,
    (
        "Which code gives the same picture each time? And what must happen, once, to logits before they are grey?",
        "`torch.sigmoid(decode(mu))`. The error of a frame: differences in grey levels (255 times), squared, mean over its pixels, root.",
    ),
    (
        Mistake(
            "a sampled z",
            looking(code=reparameterize),
            "You sample a code and decode that. It looks deterministic while the seed is fixed, as in a test; run it twice and the pictures "
            "differ, and a table of such numbers measures the dice, too. The centre of q(z|x) is μ: decode that.",
        ),
        Mistake(
            "double sigmoid",
            looking(picture=lambda logits: torch.sigmoid(torch.sigmoid(logits))),
            "Two sigmoids: all greys end up between ½ and 0.73, a picture in fog. It happens when a decoder that puts out probabilities is "
            "replaced by one that puts out logits. Ours puts out logits: one sigmoid.",
        ),
        Mistake(
            "logits taken for greys",
            looking(picture=lambda logits: logits),
            "These are logits, any real numbers. A grey is their sigmoid.",
        ),
        Mistake(
            "logits clipped",
            looking(picture=lambda logits: logits.clamp(0, 1)),
            "Clipping logits to [0, 1] makes something that can be shown, and is wrong: logit 0 is the grey ½, not black.",
        ),
        Mistake(
            "a code from the prior",
            looking(code=lambda mu, logvar: torch.randn_like(mu)),
            "This draws z from N(0, I) and never looks at the frame: a *sample* of the model. For a reconstruction decode the frame's code.",
        ),
        Mistake(
            "one standard deviation off",
            looking(code=lambda mu, logvar: mu + torch.exp(0.5 * logvar)),
            "μ + σ is the code with ε = 1: deterministic, and one standard deviation beside the centre.",
        ),
        Mistake(
            "rounded to black and white",
            looking(picture=lambda logits: (torch.sigmoid(logits) > 0.5).to(logits.dtype)),
            "A threshold throws away how sure the decoder is. The mean of a Bernoulli pixel is its probability, a grey.",
        ),
        Mistake(
            "an error in units of 1",
            looking(error=lambda d: d.square().mean(dim=(1, 2, 3)).sqrt()),
            "The pictures are right. The error is asked for in grey levels, of which there are 255 from black to white.",
        ),
        Mistake(
            "the root forgotten",
            looking(error=lambda d: (255 * d).square().mean(dim=(1, 2, 3))),
            "The pictures are right. Grey levels *squared* is no unit that an eye knows: take the root.",
        ),
        Mistake(
            "255 outside of the square",
            looking(error=lambda d: 255 * d.square().mean(dim=(1, 2, 3))),
            "The pictures are right. You have 255 times the mean *square*: take the root, then multiply by 255.",
        ),
        Mistake(
            "the root of a sum",
            looking(error=lambda d: 255 * d.square().sum(dim=(1, 2, 3)).sqrt()),
            "The pictures are right. The root of the *sum* grows with the picture; a typical pixel's error is the root of the mean.",
        ),
        Mistake(
            "256 grey levels",
            looking(error=lambda d: 256 * d.square().mean(dim=(1, 2, 3)).sqrt()),
            "There are 256 greys, and 255 steps between them: white is 255.",
        ),
        Mistake(
            "log σ² decoded",
            looking(code=lambda mu, logvar: logvar),
            "You decode `logvar`, which says how unsure the code is, not what it is. The code's centre is `mu`.",
        ),
        Mistake(
            "one error for all frames",
            looking(error=lambda d: 255 * d.square().mean().sqrt()),
            "The pictures are right. The error is one for each frame, (B,): else you never find the frames that go wrong.",
        ),
        Mistake(
            "the mean absolute error",
            looking(error=lambda d: 255 * d.abs().mean(dim=(1, 2, 3))),
            "The pictures are right. Root of the mean *square*, which minds one bright pixel in the wrong place more than a little grey everywhere.",
        ),
    ),
    (reconstruct_by_hand, reconstruct_with_norm),
    reference=reconstruct,
    cases=reconstruct_cases,
    expects="the pictures (B, C, H, W) in [0, 1], the same at each call, and each frame's root mean squared error (B,) in grey levels",
    checked="Pictures and errors of three fresh decoders: a batch of one, colour; float32 and float64.",
    equivalent={
        "input decode ignored": "a function is no array: nothing can be zeroed, so this mutant is the original",
        "gradient cut": "pictures to look at need no gradient: whoever makes them under `torch.no_grad()` is right",
        "input logvar ignored": "that is the point: a deterministic reconstruction has no use for it",
    },
)

EXERCISES = (COMPLETE, SCHEDULE, LAYERS, STEP, UNITS, PICTURES)
