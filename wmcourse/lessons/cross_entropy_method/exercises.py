"""Lesson 10's exercises: their inputs, their right answers, and the mistakes that people make in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmcourse.cross_entropy_method import cem_plan, cem_update, colour_noise
from wmcourse.lessons.exercise import Exercise, Mistake
from wmcourse.lessons.judge import Answer, Case
from wmcourse.model_predictive_control import Plan, best_of, finite_scores, shift_plan

Rng = np.random.Generator
Pair = tuple[Tensor, Tensor]
NO_GRADIENT = "the planner runs without gradients: nothing differentiates through what it returns"


def take(candidates: Tensor, scores: Tensor, elites: int, largest: bool = True) -> Tensor:
    """The best (or worst) candidates of each world, as (W, E, L, A)."""
    order = finite_scores(scores).argsort(dim=1, descending=largest)[:, :elites]
    return torch.stack([c[i] for c, i in zip(candidates, order, strict=True)])


# --- 1 · The update


def update_cases(rng: Rng) -> Iterator[Case]:
    for (w, n, length, a), elites, alpha, floor, kind, about in (
        ((1, 12, 3, 2), 4, 0.7, 0.05, np.float32, "one world"),
        ((3, 10, 4, 1), 3, 0.25, 0.0, np.float64, "three worlds, a small α"),
        ((2, 20, 5, 2), 6, 0.8, 0.75, np.float32, "a floor that some of σ is below"),
        ((2, 9, 2, 3), 1, 0.6, 0.4, np.float64, "a single elite, whose spread is 0"),
        ((2, 7, 3, 2), 7, 1.0, 0.0, np.float64, "everybody is elite, α = 1"),
        ((2, 8, 3, 1), 3, 0.0, 0.0, np.float64, "α = 0: nothing moves"),
        ((2, 16, 3, 2), 5, 0.9, 0.1, np.float64, "some scores are NaN or −∞"),
        ((2, 12, 2, 1), 4, 0.8, 0.1, np.float64, "all scores are below 0, and some NaN"),
        ((2, 14, 3, 2), 6, 1.0, 0.0, np.float32, "a search that has settled: all candidates are nearly 10"),
    ):
        scores = rng.permutation(w * n).reshape(w, n) * 0.7 - (60.0 if "below" in about else 2.0)
        if "NaN or" in about:
            scores[0, :4], scores[1, 5:9], scores[:, 9] = math.nan, math.nan, -math.inf
        if "below" in about:
            scores[:, 3:5] = math.nan
        middle, scale = (10.0, 1e-3) if "settled" in about else (0.0, 1.0)
        inputs: dict[str, Any] = {
            "candidates": (middle + scale * rng.normal(0.3, 1.2, (w, n, length, a))).astype(kind),
            "scores": scores.astype(kind),
            "elites": elites,
            "mean": (middle + scale * rng.normal(0, 1, (w, length, a))).astype(kind),
            "std": (scale * rng.uniform(0.2, 2, (w, length, a))).astype(kind),
            "alpha": alpha,
            "min_std": floor,
        }
        yield Case(inputs, about)


def updated(
    choose: Callable[[Tensor, Tensor, int], Tensor] = take,
    spread: Callable[[Tensor, Tensor], Tensor] | None = None,
    smooth: Callable[[Tensor, Tensor, float], Tensor] | None = None,
    floor: Callable[[Tensor, float], Tensor] | None = None,
    smooth_std: Callable[[Tensor, Tensor, float], Tensor] | None = None,
    centre: Callable[[Tensor], Tensor] | None = None,
) -> Answer:
    """The update with one thing changed."""

    def mix(old: Tensor, new: Tensor, alpha: float) -> Tensor:
        return (1 - alpha) * old + alpha * new

    def wrong(
        candidates: Tensor, scores: Tensor, elites: int, mean: Tensor, std: Tensor, alpha: float, min_std: float
    ) -> Pair:
        chosen = choose(candidates, scores, elites)
        middle = centre(chosen) if centre else chosen.mean(dim=1)
        new_mean = (smooth or mix)(mean, middle, alpha)
        sigma = spread(chosen, mean) if spread else chosen.std(dim=1, correction=0)
        new_std = (smooth_std or smooth or mix)(std, sigma, alpha)
        return new_mean, floor(new_std, min_std) if floor else new_std.clamp(min=min_std)

    return wrong


def nan_wins(candidates: Tensor, scores: Tensor, elites: int) -> Tensor:
    order = scores.topk(elites, dim=1).indices
    return torch.stack([c[i] for c, i in zip(candidates, order, strict=True)])


def nan_is_zero(candidates: Tensor, scores: Tensor, elites: int) -> Tensor:
    return take(candidates, scores.nan_to_num(nan=0.0, neginf=-math.inf), elites)


def order_of_the_first(candidates: Tensor, scores: Tensor, elites: int) -> Tensor:
    return candidates[:, finite_scores(scores)[0].argsort(descending=True)[:elites]]


def smallest_known(candidates: Tensor, scores: Tensor, elites: int) -> Tensor:
    """The worst, but ``topk(largest=False)`` leaves NaN aside: it is the largest of all numbers."""
    order = scores.topk(elites, dim=1, largest=False).indices
    return torch.stack([c[i] for c, i in zip(candidates, order, strict=True)])


def best_of_all_worlds(candidates: Tensor, scores: Tensor, elites: int) -> Tensor:
    order = finite_scores(scores).flatten().argsort(descending=True)[: elites * len(scores)]
    return candidates.flatten(0, 1)[order].expand(len(scores), *[-1] * (candidates.dim() - 1))


def from_the_first_world(candidates: Tensor, scores: Tensor, elites: int) -> Tensor:
    return candidates[0][finite_scores(scores).argsort(dim=1, descending=True)[:, :elites]]


def square_less_square(chosen: Tensor, mean: Tensor) -> Tensor:
    return (chosen.square().mean(dim=1) - chosen.mean(dim=1).square()).sqrt()


def unbiased(chosen: Tensor, mean: Tensor) -> Tensor:
    """torch's default, ``std(dim=1)``, NaN for a single elite as well; by hand, where torch would warn of it."""
    return ((chosen - chosen.mean(dim=1, keepdim=True)).square().sum(dim=1) / (chosen.shape[1] - 1)).sqrt()


def unbiased_but_for_one(chosen: Tensor, mean: Tensor) -> Tensor:
    return unbiased(chosen, mean) if chosen.shape[1] > 1 else torch.zeros_like(mean)


def std_before_mean(
    candidates: Tensor, scores: Tensor, elites: int, mean: Tensor, std: Tensor, alpha: float, min_std: float
) -> Pair:
    return cem_update(candidates, scores, elites, mean, std, alpha, min_std)[::-1]


def variances_smoothed(old: Tensor, new: Tensor, alpha: float) -> Tensor:
    return ((1 - alpha) * old.square() + alpha * new.square()).sqrt()


def std_of_all(
    candidates: Tensor, scores: Tensor, elites: int, mean: Tensor, std: Tensor, alpha: float, min_std: float
) -> Pair:
    new_mean, _ = cem_update(candidates, scores, elites, mean, std, alpha, min_std)
    return new_mean, ((1 - alpha) * std + alpha * candidates.std(dim=1, correction=0)).clamp(min=min_std)


def spread_before_the_floor(
    candidates: Tensor, scores: Tensor, elites: int, mean: Tensor, std: Tensor, alpha: float, min_std: float
) -> Pair:
    chosen = take(candidates, scores, elites)
    sigma = chosen.std(dim=1, correction=0).clamp(min=min_std)
    return (1 - alpha) * mean + alpha * chosen.mean(dim=1), (1 - alpha) * std + alpha * sigma


def better_elites_weigh_more(
    candidates: Tensor, scores: Tensor, elites: int, mean: Tensor, std: Tensor, alpha: float, min_std: float
) -> Pair:
    chosen, values = take(candidates, scores, elites), finite_scores(scores).topk(elites, dim=1).values
    weights = torch.softmax(values, dim=1)[:, :, None, None]
    middle = (weights * chosen).sum(dim=1)
    sigma = (weights * (chosen - middle[:, None]).square()).sum(dim=1).sqrt()
    return (1 - alpha) * mean + alpha * middle, ((1 - alpha) * std + alpha * sigma).clamp(min=min_std)


def floor_under_both(
    candidates: Tensor, scores: Tensor, elites: int, mean: Tensor, std: Tensor, alpha: float, min_std: float
) -> Pair:
    new_mean, new_std = cem_update(candidates, scores, elites, mean, std, alpha, min_std)
    return new_mean.clamp(min=min_std), new_std


def around_the_new_mean(
    candidates: Tensor, scores: Tensor, elites: int, mean: Tensor, std: Tensor, alpha: float, min_std: float
) -> Pair:
    chosen = take(candidates, scores, elites)
    new_mean = (1 - alpha) * mean + alpha * chosen.mean(dim=1)
    sigma = (chosen - new_mean[:, None]).square().mean(dim=1).sqrt()
    return new_mean, ((1 - alpha) * std + alpha * sigma).clamp(min=min_std)


def update_by_sorting(
    candidates: torch.Tensor,
    scores: torch.Tensor,
    elites: int,
    mean: torch.Tensor,
    std: torch.Tensor,
    alpha: float = 1.0,
    min_std: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    safe = torch.nan_to_num(scores, nan=-float("inf"), neginf=-float("inf"))
    order = torch.argsort(safe, dim=1, descending=True)[:, :elites]
    rows = torch.arange(len(candidates))[:, None]
    best = candidates[rows, order]  # (W, E, L, A)
    centre = best.mean(1)
    spread = torch.sqrt(((best - centre[:, None]) ** 2).mean(1))
    new_mean = mean + alpha * (centre - mean)
    new_std = std + alpha * (spread - std)
    return new_mean, torch.maximum(new_std, torch.full_like(new_std, min_std))


def update_world_by_world(
    candidates: Tensor, scores: Tensor, elites: int, mean: Tensor, std: Tensor, alpha: float = 1.0, min_std: float = 0.0
) -> Pair:
    means, stds = [], []
    for c, s, m, d in zip(candidates, scores, mean, std, strict=True):
        known = [-math.inf if math.isnan(value) else value for value in s.tolist()]
        best = c[sorted(range(len(s)), key=known.__getitem__)[-elites:]]
        means.append((1 - alpha) * m + alpha * best.sum(0) / elites)
        stds.append(((1 - alpha) * d + alpha * best.var(0, unbiased=False) ** 0.5).clamp(min_std))
    return torch.stack(means), torch.stack(stds)


def update_by_weights(
    candidates: Tensor, scores: Tensor, elites: int, mean: Tensor, std: Tensor, alpha: float = 1.0, min_std: float = 0.0
) -> Pair:
    ranked = torch.where(scores.isnan(), -torch.inf, scores)
    least = ranked.sort(dim=1, descending=True).values[:, elites - 1 : elites]
    weights = (ranked >= least).to(candidates.dtype) / elites  # 1/E for the elites, 0 for all others
    centre = torch.einsum("wn,wnla->wla", weights, candidates)
    square = torch.einsum("wn,wnla->wla", weights, (candidates - centre[:, None]).square())
    return torch.lerp(mean, centre, alpha), torch.lerp(std, square.sqrt(), alpha).clamp_min(min_std)


UPDATE = Exercise(
    "cem_update",
    "The update",
    10,
    2,
    (
        "Three things in a row: choose the elites of each world (`topk` by `scores`), fit mean and std to them, smooth. "
        "What does `topk` do with a NaN? Replace it first: `torch.where(scores.isnan(), -torch.inf, scores)`.",
        "The indices are (W, E) and the candidates (W, N, L, A): `candidates[rows, indices]` with "
        "`rows = torch.arange(W)[:, None]` picks each world's own elites, (W, E, L, A).",
        "Fit over the elites' axis, `dim=1`, with `correction=0` (maximum likelihood divides by E). Then "
        "(1 − α)·old + α·new for both of them, and at the very end the floor, under std alone.",
    ),
    (
        Mistake(
            "elites from the wrong end",
            updated(lambda c, s, e: take(c, s, e, largest=False)),
            "These are the *worst* candidates: more is better here. It is tempting because most optimisers minimise, and "
            "a sort is ascending by default. The population will walk downhill, in earnest.",
        ),
        Mistake(
            "the smallest scores",
            updated(smallest_known),
            "`largest=False` takes the *worst* candidates: more is better here. (And NaN, the largest of all numbers to torch, "
            "escapes only by luck.)",
        ),
        Mistake(
            "α the wrong way round",
            updated(smooth=lambda old, new, alpha: alpha * old + (1 - alpha) * new),
            "You keep a share α of the old and take 1 − α of the new. Published code does it both ways (PETS like yours), so this "
            "is the commonest slip of all. Here α weighs the *new*: α = 1 forgets, α = 0 never moves. Yours does the reverse: "
            "with the default, α = 1, it would never move.",
        ),
        Mistake(
            "no smoothing",
            updated(smooth=lambda old, new, alpha: new),
            "`alpha` is not used: this is the update for α = 1. With few elites it jumps about and collapses early.",
        ),
        Mistake(
            "the std not smoothed",
            updated(smooth_std=lambda old, new, alpha: new),
            "The mean is smoothed and the std is not. It is the std that collapses early, so it needs it more.",
        ),
        Mistake(
            "the mean not smoothed",
            updated(
                smooth=lambda old, new, alpha: new, smooth_std=lambda old, new, alpha: (1 - alpha) * old + alpha * new
            ),
            "The std is smoothed and the mean is not. Both get (1 − α)·old + α·new.",
        ),
        Mistake(
            "the variance smoothed, not the std",
            updated(smooth_std=variances_smoothed),
            "You smooth σ² and take the root afterwards, as PETS's code does. That is not a bad method; but (1 − α)^i then says "
            "what survives of the start's variance. The course smooths the std, as its formula says.",
        ),
        Mistake(
            "the std over all candidates",
            std_of_all,
            "The spread of the whole population is what it was drawn with: it never shrinks. Fit to the *elites*.",
        ),
        Mistake(
            "everybody counts",
            updated(lambda c, s, e: c),
            "Mean and std of all the candidates: the scores are not used, and the population wanders at random.",
        ),
        Mistake(
            "the first candidates, not the best",
            updated(lambda c, s, e: c[:, :e]),
            "These are the first E as they were drawn. If you sorted the scores: the candidates did not move with them. "
            "You need the sort's *indices*.",
        ),
        Mistake(
            "one world's order for all worlds",
            updated(order_of_the_first),
            "The elites of world 0 were taken in every world. Each has its own scores: index with (W, E) indices and rows.",
        ),
        Mistake(
            "one world's candidates for all worlds",
            updated(from_the_first_world),
            "Each world's indices are right, but they pick from world 0. `candidates[rows, indices]` with "
            "`rows = torch.arange(W)[:, None]` goes with each row into its own world.",
        ),
        Mistake(
            "all worlds in one heap",
            updated(best_of_all_worlds),
            "The best of all worlds together became the elites of each. Worlds do not know of each other: `topk` over `dim=1`.",
        ),
        Mistake(
            "std and mean in the wrong order",
            std_before_mean,
            "You return the std first. The mean comes first: `return new_mean, new_std`.",
        ),
        Mistake(
            "only the best one counts",
            updated(lambda c, s, e: take(c, s, 1)),
            "One elite has no spread, and luck decides who it is. All E of them are averaged.",
        ),
        Mistake(
            "the std over the wrong axis",
            updated(
                spread=lambda chosen, mean: chosen.std(dim=2, correction=0).mean(dim=1, keepdim=True).expand_as(mean)
            ),
            "`dim=2` is time: how much a single plan varies along its steps says nothing about how far the elites disagree. "
            "For each step and number of the action, compare *elites*: `dim=1`.",
        ),
        Mistake(
            "one std for the whole plan",
            updated(
                spread=lambda chosen, mean: (
                    (chosen - chosen.mean(dim=1, keepdim=True))
                    .square()
                    .mean(dim=(1, 2, 3), keepdim=True)[:, 0]
                    .sqrt()
                    .expand_as(mean)
                )
            ),
            "You average the spread over steps, too: one number for all. The first steps settle long before the last ones, "
            "so each has a std of its own: only `dim=1` goes.",
        ),
        Mistake(
            "one std of all numbers together",
            updated(
                spread=lambda chosen, mean: chosen.flatten(1).std(dim=1, correction=0)[:, None, None].expand_as(mean)
            ),
            "All numbers of all elites in one heap: even the differences between early and late steps count as spread, and "
            "the std never falls to 0. Only the elites' axis goes: `dim=1`.",
        ),
        Mistake(
            "divided by E − 1",
            updated(spread=unbiased),
            "That is torch's default, for estimating a variance without bias. Maximum likelihood, which you derived, divides "
            "by E: `correction=0`. With a single elite yours is NaN, and everything after it, too.",
        ),
        Mistake(
            "divided by E − 1, but for a single elite",
            updated(spread=unbiased_but_for_one),
            "You divide by E − 1 and treat a single elite apart, so that it is not NaN. Maximum likelihood, which you derived, "
            "divides by E: `correction=0`, and a single elite has the std 0 by itself.",
        ),
        Mistake(
            "the floor added in squares",
            updated(floor=lambda std, least: (std.square() + least**2).sqrt()),
            "Variances add up where two independent noises do. A floor adds nothing: it replaces what is below it, and leaves "
            "alone what is above: `clamp(min=…)`.",
        ),
        Mistake(
            "the mean distance in place of the std",
            updated(spread=lambda chosen, mean: (chosen - chosen.mean(dim=1, keepdim=True)).abs().mean(dim=1)),
            "The mean of |x − m| is smaller than the std, by a fifth for a Gaussian. Maximum likelihood of a Gaussian asks for the "
            "root of the mean *square*.",
        ),
        Mistake(
            "better elites weigh more",
            better_elites_weigh_more,
            "You weigh the elites by softmax of their scores. In CEM each of them weighs 1/E: only their order counts. Weights "
            "by score are MPPI's, exercise 6.",
        ),
        Mistake(
            "all worlds' elites averaged",
            updated(
                spread=lambda chosen, mean: chosen.std(dim=(0, 1), correction=0).expand_as(mean),
                centre=lambda chosen: chosen.mean(dim=(0, 1)).expand_as(chosen[:, 0]),
            ),
            "Your mean and std go over worlds as well: `dim=(0, 1)`. Worlds do not know of each other: only the elites' axis, "
            "`dim=1`, goes.",
        ),
        Mistake(
            "the mean square less the square of the mean",
            updated(spread=square_less_square),
            "Right on paper, E[x²] − m². But a search that settles makes both nearly the same number, and what is left is "
            "rounding, or the root of something negative: NaN. Subtract the mean first, as `std` does.",
        ),
        Mistake(
            "the variance in place of the std",
            updated(spread=lambda chosen, mean: chosen.var(dim=1, correction=0)),
            "σ² is smoothed into σ. Below 1 it is too small, and the population collapses: take the root.",
        ),
        Mistake(
            "the spread around the old mean",
            updated(spread=lambda chosen, mean: (chosen - mean[:, None]).square().mean(dim=1).sqrt()),
            "You measure how far the elites are from where the search *was*. Your first step says when that is right: when "
            "the mean is held. Here the mean moves, so measure around the elites' own mean.",
        ),
        Mistake(
            "the spread around the smoothed mean",
            around_the_new_mean,
            "It is measured around the new, smoothed mean. The fit comes first, smoothing afterwards: the elites' std is "
            "around the elites' mean.",
        ),
        Mistake(
            "no floor, so the std collapses",
            updated(floor=lambda std, least: std),
            "`min_std` is not used. Selection alone makes elites alike: where they agree by accident the std falls to 0, all "
            "further candidates are the same plan, and no later round can change that.",
        ),
        Mistake(
            "a ceiling for a floor",
            updated(floor=lambda std, least: std.clamp(max=least)),
            "`clamp(max=…)` keeps the std *below* the limit. A floor is `clamp(min=…)`; the word for the argument names the "
            "bound, not the function it looks like.",
        ),
        Mistake(
            "the floor added",
            updated(floor=lambda std, least: std + least),
            "A floor replaces what is below it, and leaves alone what is above: `clamp(min=…)`, not a sum.",
        ),
        Mistake(
            "the floor before the smoothing",
            spread_before_the_floor,
            "The elites' std has the floor, and then the old std is mixed in. Put the floor last: it is a promise about "
            "what the next population is drawn with.",
        ),
        Mistake(
            "a floor under the mean",
            floor_under_both,
            "The mean may be any number, a negative one as well: the floor is under the std alone.",
        ),
        Mistake(
            "NaN scores win",
            updated(nan_wins),
            "`topk` and `sort` take NaN for the largest of all numbers, so broken plans become elites. A plan whose score is "
            "NaN must lose: make it −∞ first.",
        ),
        Mistake(
            "NaN counts as 0",
            updated(nan_is_zero),
            "`nan_to_num` makes NaN 0 when it is not told otherwise. Where scores are costs with a minus, 0 is the best there is, "
            "and broken plans become elites. Make it −∞: `nan=-torch.inf`.",
        ),
        Mistake(
            "the median of the elites",
            updated(centre=lambda chosen: chosen.median(dim=1).values),
            "A median is robust, but it is not what maximum likelihood gives for a Gaussian: the mean is.",
        ),
    ),
    (update_by_sorting, update_world_by_world, update_by_weights),
    reference=cem_update,
    shown=update_by_sorting,
    cases=update_cases,
    expects="two tensors (W, L, A): the new mean, and the new std, which is nowhere below the floor",
    checked="Nine fresh populations: one and several worlds, few and all elites, a single one, α = 0 and 1, a floor that bites, "
    "a search that has settled, NaN and −∞ among the scores; float32 and float64.",
    part=True,
    equivalent={"gradient cut": NO_GRADIENT},
)


# --- 2 · The search


class Draws:
    """``draw(mean, std)``: mean + std·noise within ±2, the first plan the mean, and other noise at each call."""

    def __init__(self, noise: NDArray[Any]) -> None:
        self.noise, self.calls = torch.from_numpy(noise), 0  # (calls, W, N, L, A)

    def __call__(self, mean: Tensor, std: Tensor) -> Tensor:
        self.calls += 1
        noise = self.noise[(self.calls - 1) % len(self.noise)]
        plans = mean[:, None] + std[:, None] * noise
        plans[:, 0] = mean
        return plans.clamp(-2, 2)

    def __repr__(self) -> str:
        return "a function of mean and std"


class Rugged:
    """A score (W, N) with many tops, so that a later population may well be worse; NaN in stripes of the first number.

    ``broken`` sets their width: -0.5 is a third of all. As a world that moves on, it gives a little more at each call: who
    calls it once too often is found out.
    """

    def __init__(self, top: NDArray[Any], broken: float = -math.inf) -> None:
        self.top, self.broken, self.calls = torch.from_numpy(top), broken, 0  # (W, 1, L, A)

    def __call__(self, plans: Tensor) -> Tensor:
        self.calls += 1
        apart = plans - self.top
        value = (
            (torch.cos(9 * apart) - 0.3 * apart.square()).sum(dim=(2, 3)) - 20 + 0.01 * self.calls
        )  # below 0, as costs with a minus are
        return torch.where(torch.cos(25 * plans[:, :, 0, 0]) < self.broken, math.nan, value)

    def __repr__(self) -> str:
        return "a function of plans"


def plan_cases(rng: Rng) -> Iterator[Case]:
    for (w, n, length, a), iterations, elites, alpha, floor, broken, kind, about in (
        ((1, 12, 3, 1), 3, 4, 0.8, 0.1, -math.inf, np.float32, "one world, three iterations"),
        ((3, 10, 4, 2), 4, 3, 0.6, 0.3, -math.inf, np.float64, "three worlds, four iterations"),
        ((2, 8, 2, 1), 1, 3, 0.5, 0.05, -math.inf, np.float64, "a single iteration"),
        ((2, 24, 3, 1), 3, 4, 0.9, 0.3, -0.5, np.float64, "some plans score NaN"),
        ((2, 9, 3, 1), 5, 1, 0.7, 0.4, -math.inf, np.float64, "a single elite, five iterations"),
        ((3, 2, 3, 1), 4, 1, 0.8, 0.3, -math.inf, np.float64, "two candidates: the mean and the best so far"),
        ((2, 1, 3, 1), 2, 1, 0.6, 0.1, -math.inf, np.float32, "a single candidate: no index 1"),
    ):
        inputs: dict[str, Any] = {
            "score": Rugged(rng.uniform(-1, 1, (w, 1, length, a)).astype(kind), broken),
            "draw": Draws(rng.normal(0, 1, (7, w, n, length, a)).astype(kind)),
            "mean": rng.normal(0, 0.4, (w, length, a)).astype(kind),
            "std": rng.uniform(0.5, 1, (w, length, a)).astype(kind),
            "iterations": iterations,
            "elites": elites,
            "alpha": alpha,
            "min_std": floor,
        }
        yield Case(inputs, about)


def searched(
    keep: str = "second",
    update: Callable[..., Pair] = cem_update,
    rounds: int = 0,
    nan: Callable[[Tensor], Tensor] = finite_scores,
    smoothing: bool = True,
    floor: bool = True,
    carry: str = "both",
    once: bool = False,
    back: Callable[[Plan, Tensor, Tensor], Plan] | None = None,
    pick: Callable[[Tensor, Tensor, int], Plan] = best_of,
) -> Answer:
    """The search with one thing changed."""

    def wrong(
        score: Answer,
        draw: Answer,
        mean: Tensor,
        std: Tensor,
        iterations: int,
        elites: int,
        alpha: float = 1.0,
        min_std: float = 0.0,
    ) -> Plan:
        best, before, plans = None, mean, None
        for _ in range(max(iterations + rounds, 1)):
            plans = draw(mean, std) if plans is None or not once else plans
            if best is not None and keep == "second" and plans.shape[1] > 1:
                plans[:, 1] = best
            if best is not None and keep == "first":
                plans[:, 0] = best
            if best is not None and keep == "last":
                plans[:, -1] = best
            if best is not None and keep == "more":
                plans = torch.cat([plans, best[:, None]], dim=1)
            scores = nan(score(plans))
            if best is not None and keep == "too late" and plans.shape[1] > 1:
                plans[:, 1] = best
            before = mean
            new_mean, new_std = update(
                plans, scores, elites, mean, std, alpha if smoothing else 1.0, min_std if floor else 0.0
            )
            mean = new_mean if carry in ("both", "mean") else mean
            std = new_std if carry in ("both", "std") else std
            found = pick(plans, scores, elites)
            best = found.actions
        plan = found._replace(mean=mean)
        return back(plan, before, new_mean) if back else plan

    return wrong


def scored_again(
    score: Answer, draw: Answer, mean: Tensor, std: Tensor, iterations: int, elites: int, alpha: float, min_std: float
) -> Plan:
    found = cem_plan(score, draw, mean, std, iterations, elites, alpha, min_std)
    return found._replace(score=score(found.actions[:, None])[:, 0])


def nan_as_the_plan(plans: Tensor, scores: Tensor, elites: int) -> Plan:
    """The elites are right; ``argmax`` is fooled."""
    index = scores.argmax(dim=1)
    rows = torch.arange(len(plans))
    return best_of(plans, finite_scores(scores), elites)._replace(actions=plans[rows, index], score=scores[rows, index])


def index_of_the_first(plans: Tensor, scores: Tensor, elites: int) -> Plan:
    chosen = plans[:, scores[0].argsort(descending=True)[:elites]]
    return best_of(plans, scores, elites)._replace(actions=chosen[:, 0], elites=chosen)


def plan_of_the_first(plans: Tensor, scores: Tensor, elites: int) -> Plan:
    found = best_of(plans, scores, elites)
    return found._replace(actions=found.actions[:1].expand_as(found.actions))


def first_of_the_population(plans: Tensor, scores: Tensor, elites: int) -> Plan:
    return best_of(plans, scores, elites)._replace(actions=plans[:, 0])


def around_the_best(
    score: Answer, draw: Answer, mean: Tensor, std: Tensor, iterations: int, elites: int, alpha: float, min_std: float
) -> Plan:
    best = mean
    for _ in range(iterations):
        plans = draw(best, std)
        scores = finite_scores(score(plans))
        mean, std = cem_update(plans, scores, elites, mean, std, alpha, min_std)
        found = best_of(plans, scores, elites)
        best = found.actions
    return found._replace(mean=mean)


def smoothed_into_the_start(
    score: Answer, draw: Answer, mean: Tensor, std: Tensor, iterations: int, elites: int, alpha: float, min_std: float
) -> Plan:
    start, best = (mean, std), None
    for _ in range(iterations):
        plans = draw(mean, std)
        if best is not None and plans.shape[1] > 1:
            plans[:, 1] = best
        scores = finite_scores(score(plans))
        mean, std = cem_update(plans, scores, elites, *start, alpha, min_std)
        found = best_of(plans, scores, elites)
        best = found.actions
    return found._replace(mean=mean)


def worst_first(plans: Tensor, scores: Tensor, elites: int) -> Plan:
    found = best_of(plans, scores, elites)
    return found._replace(elites=found.elites.flip(1))


def worst_of(plans: Tensor, scores: Tensor, elites: int) -> Plan:
    found = best_of(plans, -scores, elites)
    return found._replace(score=-found.score)


def plan_by_hand(
    score: "Callable[[Tensor], Tensor]",
    draw: "Callable[[Tensor, Tensor], Tensor]",
    mean: Tensor,
    std: Tensor,
    iterations: int,
    elites: int,
    alpha: float = 1.0,
    min_std: float = 0.0,
) -> "Plan":
    from wmcourse.model_predictive_control import Plan

    rows, best = torch.arange(len(mean))[:, None], mean  # no plan is known yet
    for i in range(iterations):
        plans = draw(mean, std)
        if i > 0 and plans.shape[1] > 1:
            plans[:, 1] = best
        scores = score(plans)
        scores = torch.where(scores.isnan(), -torch.inf, scores)
        top = scores.topk(elites, dim=1)
        chosen = plans[rows, top.indices]  # (W, E, L, A), best first
        best = chosen[:, 0]
        mean = (1 - alpha) * mean + alpha * chosen.mean(dim=1)
        std = ((1 - alpha) * std + alpha * chosen.std(dim=1, correction=0)).clamp(min=min_std)
    return Plan(best, top.values[:, 0], mean, chosen)


def plan_from_parts(
    score: Answer,
    draw: Answer,
    mean: Tensor,
    std: Tensor,
    iterations: int,
    elites: int,
    alpha: float = 1.0,
    min_std: float = 0.0,
) -> Plan:
    from wmcourse import cross_entropy_method

    found: Plan | None = None
    while iterations:
        plans = draw(mean, std)
        if found is not None and plans.shape[1] > 1:
            plans = torch.cat([plans[:, :1], found.actions[:, None], plans[:, 2:]], dim=1)
        scores = torch.nan_to_num(score(plans), nan=-torch.inf)
        found = best_of(plans, scores, elites)
        mean, std = cross_entropy_method.cem_update(plans, scores, elites, mean, std, alpha, min_std)
        iterations -= 1
    assert found is not None
    return Plan(found.actions, found.score, mean, found.elites)


PLAN = Exercise(
    "cem_plan",
    "The search",
    15,
    3,
    (
        "One round: draw, put the best so far at index 1 (from the second round on), score, make NaN −∞, update mean and std. "
        "What must survive from one round to the next? Three things.",
        "`scores.topk(elites, dim=1)` gives values and indices, best first. With `rows = torch.arange(W)[:, None]` the elites "
        "are `plans[rows, top.indices]`: the first of them is the best plan, `top.values[:, 0]` its score.",
        "Hand `alpha` and `min_std` on to `cem_update`, and draw with the mean *and* std it returns. After the loop: "
        "`Plan(best, its score, mean, elites)`, all of the last round.",
    ),
    (
        Mistake(
            "the best so far is lost",
            searched(keep="none"),
            "Each population begins without the best plan of the one before, so a good find of the first round may be gone "
            "in the last. Put it at index 1 of the next population: it costs one candidate.",
        ),
        Mistake(
            "the best so far in the place of the mean",
            searched(keep="first"),
            "Index 0 is the mean itself, which often is the best plan at the end. The best so far goes to index 1.",
        ),
        Mistake(
            "the best so far in the place of the last",
            searched(keep="last"),
            "It would do no harm, but the course's players expect it at index 1, beside the mean at index 0.",
        ),
        Mistake(
            "the best so far as one more candidate",
            searched(keep="more"),
            "You append it, so every round scores one plan more than was paid for. It takes the place of the one at index 1.",
        ),
        Mistake(
            "the best so far put in after the scores",
            searched(keep="too late"),
            "You put it into the population once that is scored: it stands there with the score of the plan that it pushed out. "
            "Put it in first, then score.",
        ),
        Mistake(
            "drawn around the best, not around the mean",
            around_the_best,
            "You draw around the best plan so far, and only its width comes from the update: one lucky plan leads the search. The "
            "population is drawn around the *mean*; the best goes to index 1.",
        ),
        Mistake(
            "smoothed into the start each time",
            smoothed_into_the_start,
            "Each update starts from the mean and std that the search began with, so 1 − α of the start never goes. Hand it the "
            "mean and std of the round before.",
        ),
        Mistake(
            "the same population, and the best is lost",
            searched(once=True, keep="none"),
            "Two things: `draw` is called before the loop and not in it, so that no new plan is ever tried; and the best plan so far "
            "does not go to index 1.",
        ),
        Mistake(
            "the same population every time",
            searched(once=True),
            "`draw` is called before the loop and not in it: the update is never used, and no new plan is ever tried.",
        ),
        Mistake(
            "mean and std never used",
            searched(carry="none"),
            "The update's result goes nowhere: every population is drawn from the start's mean and std. That is random "
            "shooting, in instalments.",
            "never used",
        ),
        Mistake(
            "the std starts anew in each round",
            searched(carry="mean"),
            "Only the mean is carried on. The population moves, but never gets narrower, and so finds nothing fine.",
        ),
        Mistake(
            "the mean stays where it was",
            searched(carry="std"),
            "Only the std is carried on: the population gets narrower around the start, not around the elites.",
        ),
        Mistake(
            "alpha not handed on",
            searched(smoothing=False),
            "`cem_update` is called without `alpha`, so it takes its default, 1: no smoothing.",
        ),
        Mistake(
            "the floor not handed on",
            searched(floor=False),
            "`cem_update` is called without `min_std`, so it takes its default, 0, and the std may collapse.",
        ),
        Mistake(
            "alpha and the floor not handed on",
            searched(smoothing=False, floor=False),
            "`cem_update` is called without `alpha` and `min_std`, so it takes its defaults: no smoothing, no floor.",
        ),
        Mistake(
            "the best plan scored once more",
            scored_again,
            "`score` is called again after the last round, for a number that you have already. A call of the model is what a "
            "search costs, and where the model has chance in it, the second number is another one.",
        ),
        Mistake(
            "NaN scores win",
            searched(nan=lambda scores: scores),
            "`cem_update` makes them lose, but your own `topk` or `argmax` for the best plan lets a NaN win. Make NaN −∞ as "
            "soon as you have the scores.",
        ),
        Mistake(
            "NaN wins as the plan",
            searched(nan=lambda scores: scores, pick=nan_as_the_plan),
            "The elites are right, but the plan comes from an `argmax` over scores with NaN in them, and to torch NaN is the "
            "largest number there is. Make NaN −∞ as soon as you have the scores, and use those everywhere.",
        ),
        Mistake(
            "one world's order for all worlds",
            searched(pick=index_of_the_first),
            "You take world 0's best indices in every world. Each world has its own: `plans[rows, indices]` with "
            "`rows = torch.arange(W)[:, None]`.",
        ),
        Mistake(
            "one world's plan for all worlds",
            searched(pick=plan_of_the_first),
            "The best plan of world 0 went to every world: `best[0]` where `best[:, 0]` is meant?",
        ),
        Mistake(
            "the first of the population as the best",
            searched(pick=first_of_the_population),
            "`plans[:, 0]` is the mean itself: `draw` puts it there. The best is the first of the *elites*, which are sorted by "
            "their scores.",
        ),
        Mistake(
            "NaN counts as 0",
            searched(nan=torch.nan_to_num),
            "`nan_to_num` makes NaN 0 when it is not told otherwise. Where scores are costs with a minus, 0 is the best there is, "
            "and a broken plan wins. Make it −∞: `nan=-torch.inf`.",
        ),
        Mistake(
            "one round too few",
            searched(rounds=-1),
            "`range(iterations - 1)`, or a draw before the loop that counts as one? `iterations` populations are scored.",
        ),
        Mistake(
            "one round too many",
            searched(rounds=1),
            "One population more is drawn and scored than was asked for. The budget is part of the deal.",
        ),
        Mistake(
            "the mean returned as the plan",
            searched(back=lambda plan, before, after: plan._replace(actions=plan.mean)),
            "`actions` must be the best plan that was *scored*. The mean of good plans need not be good: left and right of a "
            "hazard are both fine, and the middle is not.",
        ),
        Mistake(
            "the elites' average returned as the plan",
            searched(back=lambda plan, before, after: plan._replace(actions=plan.elites.mean(dim=1))),
            "`actions` must be the best plan that was *scored*. The average of good plans was never tried.",
        ),
        Mistake(
            "the mean before its last update",
            searched(back=lambda plan, before, after: plan._replace(mean=before)),
            "You return the mean that the last population was drawn from. The one *after* its update is asked for.",
        ),
        Mistake(
            "the mean of the elites, not smoothed",
            searched(back=lambda plan, before, after: plan._replace(mean=plan.elites.mean(dim=1))),
            "`mean` is the search distribution's, with the smoothing in it: what the update returned.",
        ),
        Mistake(
            "elites in the wrong order",
            searched(pick=worst_first),
            "The elites are to be best first. An ascending sort, cut from its end, has them the other way round.",
        ),
        Mistake(
            "the worst plan wins",
            searched(pick=worst_of),
            "More is better here: `topk`, `argmax`, `descending=True`.",
        ),
    ),
    (plan_by_hand, plan_from_parts),
    reference=cem_plan,
    shown=plan_by_hand,
    cases=plan_cases,
    expects="a Plan: actions (W, L, A), score (W,), mean (W, L, A) and elites (W, E, L, A), best first",
    checked="Seven fresh searches on a rugged landscape, where a later population may be worse: one and several worlds, one to "
    "five iterations, a single elite, two candidates and one, plans that score NaN; float32 and float64.",
    part=True,
    tolerance=10.0,  # rounding goes through several rounds
    equivalent={
        "gradient cut": NO_GRADIENT,
        "input score ignored": "a function has no zeros: this is the answer itself",
        "input draw ignored": "a function has no zeros: this is the answer itself",
    },
)


# --- 3 · Where the next search begins


def first_cases(rng: Rng) -> Iterator[Case]:
    for (w, n, length, a), low, high, std, kind, about in (
        ((1, 5, 4, 1), -1.0, 1.0, 0.8, np.float32, "one world"),
        ((3, 6, 5, 2), -2.0, 2.0, 0.5, np.float64, "three worlds, two numbers per action"),
        ((2, 4, 3, 1), 2.0, 5.0, 2.0, np.float64, "a range that is not around 0"),
        ((2, 3, 1, 1), -1.0, 1.0, 0.3, np.float32, "a plan of a single step"),
        ((2, 2, 6, 1), -0.5, 0.5, 3.0, np.float64, "much noise in a narrow range"),
        ((2, 5, 6, 2), -1.0, 1.0, 0.6, np.float64, "a last plan that was made for a wider range"),
    ):
        reach = 2 if "wider" in about else 1
        inputs: dict[str, Any] = {
            "last": rng.uniform(reach * low, reach * high, (w, length, a)).astype(kind),
            "std": std,
            "noise": rng.normal(0, 1, (w, n, length, a)).astype(kind),
            "low": low,
            "high": high,
        }
        yield Case(inputs, about)


def first_plans(last: Tensor, std: float, noise: Tensor, low: float, high: float) -> Tensor:
    """The first population of a new decision, around the last plan shifted by one: (W, N, L, A), in [low, high]."""
    mean = torch.cat([last[:, 1:], last[:, -1:]], dim=1)  # the first action is done, the last is repeated
    plans = mean[:, None] + std * noise
    plans[:, 0] = mean
    return plans.clamp(low, high)


def begun(
    shift: Callable[[Tensor], Tensor] = shift_plan,
    at: int | None = 0,
    limit: Callable[[Tensor, float, float], Tensor] | None = None,
    scale: Callable[[float, float, float], float] = lambda std, low, high: std,
    first: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Answer:
    """The first population with one thing changed."""

    def wrong(last: Tensor, std: float, noise: Tensor, low: float, high: float) -> Tensor:
        mean = shift(last)
        plans = mean[:, None] + scale(std, low, high) * noise
        if at is not None:
            plans[:, at] = first(last, mean) if first else mean
        return limit(plans, low, high) if limit else plans.clamp(low, high)

    return wrong


def noise_clipped(last: Tensor, std: float, noise: Tensor, low: float, high: float) -> Tensor:
    mean = shift_plan(last)
    plans = mean[:, None] + (std * noise).clamp(low, high)
    plans[:, 0] = mean
    return plans


def all_but_the_first_clipped(last: Tensor, std: float, noise: Tensor, low: float, high: float) -> Tensor:
    mean = shift_plan(last)
    plans = (mean[:, None] + std * noise).clamp(low, high)
    plans[:, 0] = mean
    return plans


def clipped_noise(last: Tensor, std: float, noise: Tensor, low: float, high: float) -> Tensor:
    mean = shift_plan(last)
    plans = mean[:, None] + std * noise.clamp(low, high)
    plans[:, 0] = mean
    return plans.clamp(low, high)


def noise_shifted_too(last: Tensor, std: float, noise: Tensor, low: float, high: float) -> Tensor:
    plans = last[:, None] + std * noise
    plans[:, 0] = last
    return shift_plan(plans).clamp(low, high)


def no_noise(last: Tensor, std: float, noise: Tensor, low: float, high: float) -> Tensor:
    return shift_plan(last)[:, None].expand_as(noise).clamp(low, high)


def noise_alone(last: Tensor, std: float, noise: Tensor, low: float, high: float) -> Tensor:
    plans = std * noise
    plans[:, 0] = shift_plan(last)
    return plans.clamp(low, high)


def first_and_one_more(last: Tensor, std: float, noise: Tensor, low: float, high: float) -> Tensor:
    mean = shift_plan(last)
    return torch.cat([mean[:, None], mean[:, None] + std * noise], dim=1).clamp(low, high)


def first_by_index(last: torch.Tensor, std: float, noise: torch.Tensor, low: float, high: float) -> torch.Tensor:
    steps = torch.arange(last.shape[1])
    mean = last[:, (steps + 1).clamp(max=last.shape[1] - 1)]
    scaled = std * noise
    scaled[:, 0] = 0  # std·noise is a new tensor
    return torch.clip(mean.unsqueeze(1) + scaled, low, high)


def first_by_roll(last: Tensor, std: float, noise: Tensor, low: float, high: float) -> Tensor:
    mean = last.roll(-1, dims=1)
    mean[:, -1] = last[:, -1]
    others = mean[:, None] + std * noise[:, 1:]
    return torch.cat([mean[:, None], others], dim=1).clamp(min=low, max=high)


FIRST = Exercise(
    "first_plans",
    "Where the next search begins",
    8,
    2,
    (
        "The world has moved on by one step, so what was planned for step 1 is now step 0. Which action is missing at the end?",
        "`torch.cat([last[:, 1:], last[:, -1:]], dim=1)` shifts; `mean[:, None]` (W, 1, L, A) meets noise of (W, N, L, A).",
        "Put the mean itself at index 0 of the candidates, and clip at the very end: what is added last can leave the range.",
    ),
    (
        Mistake(
            "the warm start not shifted",
            begun(shift=lambda last: last),
            "You start from the last plan as it was. But its first action is done: every action would be one step late, for "
            "ever. The world has moved on, so the plan must: drop the first, repeat the last.",
        ),
        Mistake(
            "shifted the wrong way",
            begun(shift=lambda last: torch.cat([last[:, :1], last[:, :-1]], dim=1)),
            "You repeat the first action and drop the last: the plan is now two steps late. What was planned for step 1 must "
            "come to step 0.",
        ),
        Mistake(
            "rolled the wrong way",
            begun(shift=lambda last: last.roll(1, dims=1)),
            "`roll(1)` makes the plan one step later still, and brings its last action to the front. What was planned for step 1 "
            "must come to step 0; and the last action is repeated.",
        ),
        Mistake(
            "the wrong action repeated",
            begun(
                shift=lambda last: torch.cat([last[:, 1:], last[:, 1:2] if last.shape[1] > 1 else last[:, :1]], dim=1)
            ),
            "At the end stands the plan's *second* action. It is the last one that is repeated: `last[:, -1:]`.",
        ),
        Mistake(
            "the noise shifted, too",
            noise_shifted_too,
            "You add the noise to the old plan and shift the sum: the noise is shifted with it, and all candidates end with two "
            "equal actions. Shift the plan first, then add noise to each of its steps.",
        ),
        Mistake(
            "the noise not scaled",
            begun(scale=lambda std, low, high: 1.0),
            "`std` is not used: the noise has a std of 1. Multiply it.",
        ),
        Mistake(
            "no noise at all",
            no_noise,
            "All candidates are the shifted plan: nothing new is tried. Only index 0 is the plan itself.",
        ),
        Mistake(
            "the white noise clipped first",
            clipped_noise,
            "`low` and `high` are bounds for actions, not for the noise: cutting its tails makes it narrower than `std` says. Clip "
            "the plan, once, at the end.",
        ),
        Mistake(
            "the done action comes back at the end",
            begun(shift=lambda last: last.roll(-1, dims=1)),
            "`roll` brings the first action round to the end. It was chosen for a situation that is over; repeat the last one.",
        ),
        Mistake(
            "a zero at the end",
            begun(shift=lambda last: torch.cat([last[:, 1:], torch.zeros_like(last[:, :1])], dim=1)),
            'The new last action is 0 in yours. Here the last one is repeated: "go on as you were" is the better guess in a '
            "world with inertia, and 0 need not even be in the range.",
        ),
        Mistake(
            "a cold start",
            begun(shift=torch.zeros_like),
            "The last plan is not used: each decision starts from nothing and does all the work of the one before again.",
        ),
        Mistake(
            "the mean is not among the candidates",
            begun(at=None),
            "Without the shifted plan itself as a candidate, the new best may be worse than what you had. It goes to index 0.",
        ),
        Mistake(
            "the mean at the last index",
            begun(at=-1),
            "It must be at index 0: from the second round on `cem_plan` puts the best so far at index 1, beside it.",
        ),
        Mistake(
            "the mean as one more candidate",
            first_and_one_more,
            "You put it in front of the N others: N + 1 plans are scored, and only N were paid for. It takes the place of the "
            "first.",
        ),
        Mistake(
            "the old plan among the candidates",
            begun(first=lambda last, mean: last),
            "Index 0 is the last plan as it was, not shifted.",
        ),
        Mistake(
            "not clipped",
            begun(limit=lambda plans, low, high: plans),
            "Plans leave the action range. The model would be asked for actions that the world would clip, and the mean would "
            "drift out to where all noise is clipped away.",
        ),
        Mistake(
            "the noise clipped, not the plan",
            noise_clipped,
            "The noise is within the range, but mean + noise need not be. Clip what will be done: the plan.",
        ),
        Mistake(
            "the first plan not clipped",
            all_but_the_first_clipped,
            "You clip, and put the shifted plan at index 0 afterwards. What is added last can leave the range: clip at the end.",
        ),
        Mistake(
            "clipped at one end",
            begun(limit=lambda plans, low, high: plans.clamp(min=low)),
            "Below `low` nothing is left, above `high` there is: `clamp(low, high)`.",
        ),
        Mistake(
            "clipped at the upper end alone",
            begun(limit=lambda plans, low, high: plans.clamp(max=high)),
            "Above `high` nothing is left, below `low` there is: `clamp(low, high)`.",
        ),
        Mistake(
            "a range taken as symmetric",
            begun(limit=lambda plans, low, high: plans.clamp(-high, high)),
            "You clip to ±high. The range is [low, high], and need not be around 0.",
        ),
        Mistake(
            "the noise alone",
            noise_alone,
            "Only index 0 knows of the last plan; the others are thrown around 0, as in random shooting. They belong around "
            "the shifted plan.",
        ),
        Mistake(
            "the variance in place of the std",
            begun(scale=lambda std, low, high: std**2),
            "The noise has variance 1: times the std it has the std asked for. You multiply by its square.",
        ),
        Mistake(
            "a plan of zeros at index 0",
            begun(first=lambda last, mean: torch.zeros_like(mean)),
            "To do nothing is a candidate in yours, and the shifted plan is not. It is the shifted plan that goes to index 0.",
        ),
        Mistake(
            "shifted along the numbers of an action",
            begun(shift=lambda last: torch.cat([last[..., 1:], last[..., -1:]], dim=-1)),
            "Steps are axis 1 of `last` (W, L, A). You dropped the first *number* of each action.",
        ),
        Mistake(
            "clipped to ±1 whatever the range",
            begun(limit=lambda plans, low, high: plans.clamp(-1, 1)),
            "The range is [low, high]: the pendulum's torque goes to 2.",
        ),
        Mistake(
            "squashed by tanh",
            begun(limit=lambda plans, low, high: (low + high) / 2 + (high - low) / 2 * torch.tanh(plans)),
            "tanh bends every plan, the mean too. Clipping leaves alone what is within the range.",
        ),
        Mistake(
            "the std in halves of the range",
            begun(scale=lambda std, low, high: std * (high - low) / 2),
            "The course's `CEM` takes its `init_std` like that and multiplies when it is made. Here `std` is in the action's "
            "own unit already.",
        ),
    ),
    (first_by_index, first_by_roll),
    reference=first_plans,
    cases=first_cases,
    expects="plans (W, N, L, A) within [low, high], the first of each world the shifted plan itself",
    checked="Six fresh last plans: one and several worlds, a range that is not around 0, a single step, noise that mostly "
    "leaves the range, a last plan that does; float32 and float64.",
    equivalent={"gradient cut": NO_GRADIENT},
)


# --- 4 · Noise with a colour


def colour_cases(rng: Rng) -> Iterator[Case]:
    for shape, exponent, kind, about in (
        ((4, 8, 1), 2.0, np.float32, "an even number of steps"),
        ((3, 9, 2), 1.0, np.float64, "an odd number of steps, two numbers per action"),
        ((2, 3, 12, 1), 3.0, np.float64, "worlds × candidates"),
        ((5, 6, 2), 0.0, np.float64, "exponent 0: white"),
        ((1, 2, 1), 2.0, np.float64, "two steps"),
    ):
        yield Case({"white": rng.normal(0, 1, shape).astype(kind), "exponent": exponent}, about, ("white",))


def coloured(
    power: float = -0.5,
    scale: str = "variance",
    axis: int = -2,
    constant: str = "slowest",
) -> Answer:
    """The colouring with one thing changed."""

    def wrong(white: Tensor, exponent: float) -> Tensor:
        steps = white.shape[-2]
        frequency = torch.fft.fftfreq(white.shape[axis], dtype=torch.float64).abs()
        least = {"slowest": 1 / white.shape[axis], "one": 1.0, "zero": 1.0, "as it is": 0.0, "tiny": 1e-6}
        frequency[0] = least[constant]
        gain = frequency ** (power * exponent)
        gain[0] = 0.0 if constant == "zero" else gain[0]
        if scale == "variance":
            gain = gain / gain.square().mean().sqrt()
        if scale == "mean":
            gain = gain / gain.mean()
        if scale == "sum":
            gain = gain / gain.square().sum().sqrt()
        if scale == "sum of all":
            gain = gain / gain.sum()
        if scale == "no root":
            gain = gain / gain.square().mean()
        if scale == "largest":
            gain = gain / gain.max()
        gain = gain[:, None] if axis == -2 else gain
        out = torch.fft.ifft(torch.fft.fft(white.double(), dim=axis) * gain, dim=axis).real
        if scale == "each":
            out = out / out.std(dim=-2, keepdim=True, correction=0) if steps > 1 else out
        if scale == "each, by L − 1":
            out = out / out.std(dim=-2, keepdim=True) if steps > 1 else out
        if scale == "each to what it had":
            out = out * white.double().std(dim=-2, keepdim=True) / out.std(dim=-2, keepdim=True)
        if scale == "to what it had":
            out = out * white.double().std() / out.std()
        if scale == "to one":
            out = out / out.std()
        return out.to(white.dtype)

    return wrong


def without_sign(white: Tensor, exponent: float) -> Tensor:
    frequency = torch.fft.fftfreq(white.shape[-2], dtype=torch.float64).abs()
    frequency[0] = 1 / white.shape[-2]
    gain = frequency ** (-exponent / 2)
    gain = gain / gain.square().mean().sqrt()
    return torch.fft.ifft(torch.fft.fft(white.double(), dim=-2) * gain[:, None], dim=-2).abs().to(white.dtype)


def signed(white: Tensor, exponent: float) -> Tensor:
    frequency = torch.fft.fftfreq(white.shape[-2], dtype=torch.float64)
    frequency[0] = 1 / white.shape[-2]
    gain = frequency ** (-exponent / 2)
    gain = gain / gain.square().mean().sqrt()
    return torch.fft.ifft(torch.fft.fft(white.double(), dim=-2) * gain[:, None], dim=-2).real.to(white.dtype)


def an_even_number(white: Tensor, exponent: float) -> Tensor:
    """Right, but that ``irfft`` is not told how many steps there were."""
    steps = white.shape[-2]
    frequency = torch.fft.fftfreq(steps, dtype=torch.float64).abs()
    frequency[0] = 1 / steps
    gain = frequency ** (-exponent / 2)
    gain = (gain / gain.square().mean().sqrt())[: steps // 2 + 1, None]
    return torch.fft.irfft(torch.fft.rfft(white.double(), dim=-2) * gain, dim=-2).to(white.dtype)


def half_spectrum(white: Tensor, exponent: float) -> Tensor:
    frequency = torch.fft.rfftfreq(white.shape[-2])
    frequency[0] = 1 / white.shape[-2]
    gain = frequency ** (-exponent / 2)
    gain = gain / gain.square().mean().sqrt()
    out = torch.fft.irfft(torch.fft.rfft(white, dim=-2) * gain[:, None], n=white.shape[-2], dim=-2)
    return out.to(white.dtype)


def colour_by_fft(white: torch.Tensor, exponent: float) -> torch.Tensor:
    steps = white.shape[-2]
    frequency = torch.fft.fftfreq(steps, dtype=white.dtype).abs()
    frequency[0] = 1 / steps
    gain = frequency ** (-exponent / 2)
    gain = gain / gain.square().mean().sqrt()
    return torch.fft.ifft(torch.fft.fft(white, dim=-2) * gain[:, None], dim=-2).real


def colour_by_waves(white: Tensor, exponent: float) -> Tensor:
    steps = white.shape[-2]
    t = torch.arange(steps, dtype=white.dtype)
    frequency = torch.tensor([max(min(k, steps - k), 1) / steps for k in range(steps)], dtype=white.dtype)
    power = frequency.pow(-exponent)
    power = power * steps / power.sum()
    waves = torch.cos(2 * math.pi * t[:, None, None] * (t[:, None] - t) / steps)  # (frequency, t, u)
    kernel = (power.sqrt()[:, None, None] * waves).mean(dim=0)  # what one impulse becomes, in steps
    return torch.einsum("tu,...ua->...ta", kernel, white)


COLOUR = Exercise(
    "colour_noise",
    "Noise with a colour",
    12,
    3,
    (
        "A filter in three lines: to frequencies (`torch.fft.fft` along the steps, `dim=-2`), times a gain for each frequency, "
        "and back (`ifft`, of which the imaginary part is 0: take `.real`).",
        "The gain is an *amplitude*, the root of the power: f^(−exponent/2), with f = `torch.fft.fftfreq(L).abs()`, whose first "
        "entry, 0, you replace by 1/L before taking the power.",
        "Parseval: the variance is multiplied by the mean of gain² over all L frequencies. Divide the gain by the root of it, "
        "and give it a last axis (`gain[:, None]`) for the numbers of an action.",
    ),
    (
        Mistake(
            "the power for the amplitude",
            coloured(power=-1.0),
            "The *power* falls as 1/f^exponent. The gain multiplies amplitudes, and power is amplitude squared: half the "
            "exponent.",
        ),
        Mistake(
            "the sign of the exponent",
            coloured(power=0.5),
            "Your gain grows with the frequency: blue noise, which jitters even more than white, and moves nothing.",
        ),
        Mistake(
            "twice the exponent",
            coloured(power=-2.0),
            "The amplitude falls with *half* of the exponent; you doubled it.",
        ),
        Mistake(
            "the variance not restored",
            coloured(scale="none"),
            "The slow waves are louder, and the noise with them. Divide the gain by the root of the mean of gain², or the std "
            "that the search believes in is not the one it draws with.",
        ),
        Mistake(
            "the gain divided by its mean",
            coloured(scale="mean"),
            "Variances add up, amplitudes do not: it is the mean of gain², under a root, that must be 1.",
        ),
        Mistake(
            "the gain divided by its root of the sum",
            coloured(scale="sum"),
            "torch's `fft` and `ifft` together give back what went in, so white noise needs gains of 1 whatever L. The *mean* "
            "of gain² must be 1, not the sum.",
        ),
        Mistake(
            "the gain divided by its largest",
            coloured(scale="largest"),
            "Now the slowest wave is as loud as before and all else quieter: the variance is below 1.",
        ),
        Mistake(
            "the gain divided by its sum",
            coloured(scale="sum of all"),
            "Gains are no probabilities and need not add up to 1. It is the *mean* of gain², under a root, that must be 1.",
        ),
        Mistake(
            "divided by the mean square, without the root",
            coloured(scale="no root"),
            "The mean of gain² is what the *variance* was multiplied by. The gain itself is divided by the root of it.",
        ),
        Mistake(
            "each plan scaled by its own std, torch's default",
            coloured(scale="each, by L − 1"),
            "Each plan becomes equally wild, also one whose noise was meek. The variance is 1 over many plans, not within each: the "
            "gain alone decides that, no sample is needed.",
        ),
        Mistake(
            "each plan scaled back to its own std",
            coloured(scale="each to what it had"),
            "You give each plan the std that its white noise had. But a slow wave varies little *within* one plan and much between "
            "plans: yours loses that. The gain alone decides, no sample is needed.",
        ),
        Mistake(
            "each plan scaled by its own std",
            coloured(scale="each"),
            "That takes the mean push of a plan out of its scale and makes every plan equally wild. The variance is 1 over "
            "many plans, not within each; at exponent 0 white noise must come back untouched.",
        ),
        Mistake(
            "the draw scaled back to its own std",
            coloured(scale="to what it had"),
            "You measure the std of this very draw before and after. That makes the two alike by force, whatever was drawn; the "
            "variance is to be kept on average over many draws. The gain alone decides that, no sample is needed.",
        ),
        Mistake(
            "the draw scaled to a std of 1",
            coloured(scale="to one"),
            "You divide by the std of this very draw. The variance is to be kept on average over many draws: the gain alone "
            "decides that, no sample is needed.",
        ),
        Mistake(
            "the absolute value of the result",
            without_sign,
            "`ifft` gives complex numbers with an imaginary part of 0. Their `.abs()` loses the sign, so all pushes go to one "
            "side: take `.real`.",
        ),
        Mistake(
            "half of the spectrum counted",
            half_spectrum,
            "`rfft` keeps only half of the frequencies, as the others are mirror images. In the mean of gain² each of them "
            "counts twice, but the first and, when L is even, the last. Or use the full `fft`.",
        ),
        Mistake(
            "along the numbers of an action",
            coloured(axis=-1),
            "The colour runs along the steps, `dim=-2`. The last axis holds the numbers of one action, which know nothing of "
            "each other.",
        ),
        Mistake(
            "no constant part",
            coloured(constant="zero"),
            'The gain of frequency 0 is 0, so every plan\'s pushes add up to nothing. "Lean left all the way" is the plan you '
            "need most. It is to be as strong as the slowest wave: f = 1/L.",
        ),
        Mistake(
            "0 to a negative power",
            coloured(constant="as it is"),
            "The first frequency is 0, and 0 to a negative power is infinite: all becomes NaN. Put 1/L there first, as strong as "
            "the slowest wave.",
        ),
        Mistake(
            "a tiny number for the frequency 0",
            coloured(constant="tiny"),
            "A tiny number in place of 0 avoids the infinity, but makes the constant part drown all others: every plan is one "
            "push, held. It is to be as strong as the slowest wave: f = 1/L.",
        ),
        Mistake(
            "negative frequencies to a power",
            signed,
            "`fftfreq` gives the second half of the frequencies with a minus. A power of them is negative or NaN: take `.abs()` "
            "first.",
        ),
        Mistake(
            "one step lost on the way back",
            an_even_number,
            "`irfft` cannot know whether L was even or odd, and takes it for even. Tell it: `n=L`. Or use the full `fft`.",
        ),
        Mistake(
            "the constant part as weak as the fastest",
            coloured(constant="one"),
            "You put 1 for the frequency 0. It is to be as strong as the slowest wave: f = 1/L.",
        ),
    ),
    (colour_by_fft, colour_by_waves),
    reference=colour_noise,
    shown=colour_by_fft,
    cases=colour_cases,
    expects="noise of the same shape, with a power spectrum 1/f^exponent along the steps and the same variance",
    tolerance=100.0,  # frequencies are float32 by default, whatever the noise is, and small sums of large waves show it
    checked="Values and gradients on five fresh draws of white noise: even and odd numbers of steps, two steps, worlds × "
    "candidates, exponents 0 to 3; float32 and float64.",
)


# --- 5 · iCEM's population


def population_cases(rng: Rng) -> Iterator[Case]:
    for (w, n, length, a), elites, kept, iteration, decay, kind, about in (
        ((1, 16, 4, 1), 4, 2, 0, 1.25, np.float32, "the first round of a step"),
        ((2, 16, 4, 1), 4, 2, 1, 1.25, np.float64, "a later round"),
        ((3, 20, 3, 2), 5, 3, 3, 1.5, np.float64, "so late that the least number counts"),
        ((2, 10, 5, 1), 3, 0, 0, 2.0, np.float64, "nothing is kept"),
        ((1, 6, 4, 1), 5, 5, 2, 2.0, np.float64, "fewer candidates than two for each elite"),
        ((2, 30, 6, 1), 3, 1, 2, 1.3, np.float32, "a number that must be rounded down"),
    ):
        inputs: dict[str, Any] = {
            "drawn": rng.normal(0, 1, (w, n, length, a)).astype(kind),
            "elites": rng.normal(0, 1, (w, elites, length, a)).astype(kind),
            "kept": kept,
            "iteration": iteration,
            "decay": decay,
        }
        yield Case(inputs, about)


def icem_population(drawn: Tensor, elites: Tensor, kept: int, iteration: int, decay: float) -> Tensor:
    """The elites that are kept, then the candidates of this round, fewer each time: (W, kept + n, L, A)."""
    old = elites[:, :kept]
    if iteration == 0:  # they are of the step before
        old = torch.cat([old[:, :, 1:], old[:, :, -1:]], dim=2)
    size = max(int(drawn.shape[1] * decay**-iteration), 2 * elites.shape[1])
    return torch.cat([old, drawn[:, :size]], dim=1)


def populated(
    keep: Callable[[Tensor, int], Tensor] = lambda elites, kept: elites[:, :kept],
    shift: Callable[[Tensor, int], Tensor] = lambda old, i: shift_plan(old) if i == 0 else old,
    size: Callable[[int, float, int, int], int] = lambda n, decay, i, e: max(int(n * decay**-i), 2 * e),
    join: Callable[[Tensor, Tensor], Tensor] = lambda old, new: torch.cat([old, new], dim=1),
    new: Callable[[Tensor, int], Tensor] = lambda drawn, i: drawn,
) -> Answer:
    """The population with one thing changed."""

    def wrong(drawn: Tensor, elites: Tensor, kept: int, iteration: int, decay: float) -> Tensor:
        number = size(drawn.shape[1], decay, iteration, elites.shape[1])
        return join(shift(keep(elites, kept), iteration), new(drawn, iteration)[:, :number])

    return wrong


def two_for_each_kept(drawn: Tensor, elites: Tensor, kept: int, iteration: int, decay: float) -> Tensor:
    return icem_population(drawn, elites[:, :kept], kept, iteration, decay)


def fewer_by_the_kept(drawn: Tensor, elites: Tensor, kept: int, iteration: int, decay: float) -> Tensor:
    size = max(int(drawn.shape[1] * decay**-iteration), 2 * elites.shape[1]) - kept
    return torch.cat([shift_plan(elites[:, :kept]) if iteration == 0 else elites[:, :kept], drawn[:, :size]], dim=1)


def population_step_by_step(
    drawn: torch.Tensor, elites: torch.Tensor, kept: int, iteration: int, decay: float
) -> torch.Tensor:
    size = min(drawn.shape[1], max(math.floor(drawn.shape[1] / decay**iteration), 2 * elites.shape[1]))
    steps = torch.arange(elites.shape[2])
    if iteration == 0:
        steps = (steps + 1).clamp(max=elites.shape[2] - 1)
    return torch.cat((elites[:, :kept][:, :, steps], drawn[:, :size]), 1)


def population_in_place(drawn: Tensor, elites: Tensor, kept: int, iteration: int, decay: float) -> Tensor:
    number = drawn.shape[1]
    size = min(number, max(int(number * (1 / decay) ** iteration), 2 * elites.shape[1]))
    out = drawn.new_empty(len(drawn), kept + size, *drawn.shape[2:])
    out[:, kept:] = drawn[:, :size]
    out[:, :kept] = shift_plan(elites[:, :kept]) if iteration == 0 else elites[:, :kept]
    return out


POPULATION = Exercise(
    "icem_population",
    "The population of iCEM",
    8,
    2,
    (
        "Two halves, joined along the candidates' axis: some of the old elites, and some of the new candidates. How many of each?",
        "The elites are best first, so the kept ones are `elites[:, :kept]`. Only in round 0 are they of the step before: then "
        "shift them by one *along the steps*, axis 2.",
        "n = max(int(N · decay^(−iteration)), 2·E); `drawn[:, :n]` takes all when there are fewer.",
    ),
    (
        Mistake(
            "the kept elites not shifted",
            populated(shift=lambda old, i: old),
            "In round 0 the elites are of the *step before*, and their first action is done. Unshifted they are one step late.",
        ),
        Mistake(
            "shifted in every round",
            populated(shift=lambda old, i: shift_plan(old)),
            "Within one step the world stands still: only round 0 meets elites of the step before. Later shifts make good "
            "plans late.",
        ),
        Mistake(
            "shifted in all rounds but the first",
            populated(shift=lambda old, i: old if i == 0 else shift_plan(old)),
            "It is the other way round: in round 0 they come from the step before, later ones from this very step.",
        ),
        Mistake(
            "shifted along the elites",
            populated(shift=lambda old, i: torch.cat([old[:, 1:], old[:, -1:]], dim=1) if i == 0 else old),
            "You dropped the best elite and doubled the last. Steps are axis 2: (W, E, L, A).",
        ),
        Mistake(
            "the new candidates shifted, too",
            populated(new=lambda drawn, i: shift_plan(drawn) if i == 0 else drawn),
            "The new ones are drawn around a mean that is shifted already. Only the kept elites are of the step before.",
        ),
        Mistake(
            "the worst of the elites are kept",
            populated(keep=lambda elites, kept: elites[:, elites.shape[1] - kept :]),
            "The elites are best first: keep from the front.",
        ),
        Mistake(
            "the last of the elites are kept",
            populated(keep=lambda elites, kept: elites[:, -kept:]),
            "The elites are best first, so `-kept:` keeps the worst of them; and with kept = 0 it keeps them all.",
        ),
        Mistake(
            "a zero at the end",
            populated(
                shift=lambda old, i: (
                    torch.cat([old[:, :, 1:], torch.zeros_like(old[:, :, :1])], dim=2) if i == 0 else old
                )
            ),
            "The kept plans end with an action of 0 in yours. Shifting repeats the last action, as in exercise 3.",
        ),
        Mistake(
            "the done action comes back at the end",
            populated(shift=lambda old, i: old.roll(-1, dims=2) if i == 0 else old),
            "`roll` brings the first action round to the end. Shifting repeats the last one, as in exercise 3.",
        ),
        Mistake(
            "all elites are kept",
            populated(keep=lambda elites, kept: elites),
            "`kept` says how many. All of them cost evaluations, and hold the search to where it was.",
        ),
        Mistake(
            "no elites are kept",
            populated(keep=lambda elites, kept: elites[:, :0]),
            "Only new candidates come out. That they need not be found again is iCEM's point.",
        ),
        Mistake(
            "the population does not shrink",
            populated(size=lambda n, decay, i, e: n),
            "Every round has all N. Is `decay` not used, or does it multiply? A slice beyond the end takes all there are. decay is above "
            "1 and must divide: the first rounds look everywhere and need many, the last ones only polish.",
        ),
        Mistake(
            "one decay, whatever the round",
            populated(size=lambda n, decay, i, e: max(int(n / decay), 2 * e)),
            "Round i has N / decay^i candidates: round 0 has all of them.",
        ),
        Mistake(
            "one decay, from the second round on",
            populated(size=lambda n, decay, i, e: max(int(n / decay), 2 * e) if i else n),
            "Round i has N / decay^i candidates: each has fewer than the one before.",
        ),
        Mistake(
            "decay times the round, not to its power",
            populated(size=lambda n, decay, i, e: max(int(n / (decay * i)), 2 * e) if i else n),
            "You divide by decay·i. Each round divides by decay once more: N·decay^(−i).",
        ),
        Mistake(
            "two for each of the kept",
            two_for_each_kept,
            "The least number is two for each *elite*, E = `elites.shape[1]`. The kept ones are only a few of them.",
        ),
        Mistake(
            "one round ahead",
            populated(size=lambda n, decay, i, e: max(int(n * decay ** -(i + 1)), 2 * e)),
            "Rounds are counted from 0, and round 0 has all N candidates.",
        ),
        Mistake(
            "not rounded down",
            populated(size=lambda n, decay, i, e: max(round(n * decay**-i), 2 * e)),
            "There are brackets ⌊ ⌋: round down, as `int` does. One more candidate is one more than was paid for.",
        ),
        Mistake(
            "no least number",
            populated(size=lambda n, decay, i, e: int(n * decay**-i)),
            "With fewer than two candidates for each elite nearly everybody is elite, and the fit stops selecting: "
            "max(…, 2·E).",
        ),
        Mistake(
            "the least number is E",
            populated(size=lambda n, decay, i, e: max(int(n * decay**-i), e)),
            "At least *two* candidates for each elite: with E of them all would be elites.",
        ),
        Mistake(
            "the least number for the largest",
            populated(size=lambda n, decay, i, e: min(int(n * decay**-i), 2 * e)),
            "`min(…, 2·E)` never draws more than 2·E. At *least* 2·E is asked for, and that is `max`.",
        ),
        Mistake(
            "the kept counted among the n",
            populated(join=lambda old, new: torch.cat([old, new[:, : new.shape[1] - old.shape[1]]], dim=1)),
            "You draw so many fewer as are kept. The kept ones join the n new ones: kept + n in all.",
        ),
        Mistake(
            "the kept subtracted from n",
            fewer_by_the_kept,
            "The kept ones come on top of the n new ones: kept + n in all. You make n smaller to have n in all.",
        ),
        Mistake(
            "the new ones first",
            populated(join=lambda old, new: torch.cat([new, old], dim=1)),
            "The kept elites come first here. (The search does not mind the order, but the check compares it.)",
        ),
        Mistake(
            "the kept take the place of new ones",
            populated(join=lambda old, new: torch.cat([old, new[:, old.shape[1] :]], dim=1)),
            "The kept ones join the n new ones: kept + n in all.",
        ),
    ),
    (population_step_by_step, population_in_place),
    reference=icem_population,
    cases=population_cases,
    expects="plans (W, kept + n, L, A), the kept elites first",
    checked="Six fresh populations: the first and later rounds, nothing kept, the least number, rounding down; one and several "
    "worlds.",
    equivalent={"gradient cut": NO_GRADIENT},
)


# --- 6 · MPPI's weights


def soft_cases(rng: Rng) -> Iterator[Case]:
    for (w, n, length, a), size, temperature, kind, about in (
        ((1, 6, 3, 1), 1.0, 0.5, np.float32, "one world"),
        ((3, 8, 2, 2), 1.0, 2.0, np.float64, "three worlds"),
        ((2, 7, 4, 1), 3000.0, 900.0, np.float64, "scores in the thousands"),
        ((2, 9, 2, 1), 1.0, 0.001, np.float64, "very cold: nearly the best alone, and one world far below the other"),
        ((2, 8, 3, 1), 1.0, 0.7, np.float64, "some scores are NaN or −∞"),
    ):
        scores = rng.normal(0, size, (w, n)) + (5000 if size > 1 else 0)
        if "cold" in about:
            scores += np.array([[3.0], [-5.0]])  # the worlds' best are far apart
        if "NaN" in about:
            scores[0, :3], scores[1, 2] = math.nan, -math.inf
        inputs: dict[str, Any] = {
            "candidates": rng.normal(0.3, 1, (w, n, length, a)).astype(kind),
            "scores": scores.astype(kind),
            "temperature": temperature,
        }
        yield Case(inputs, about)


def mppi_mean(candidates: Tensor, scores: Tensor, temperature: float) -> Tensor:
    """The mean of all candidates, weighted by exp(score / temperature): (W, N, L, A) -> (W, L, A)."""
    scores = torch.where(scores.isnan(), -torch.inf, scores)
    weights = torch.softmax(scores / temperature, dim=1)
    return torch.einsum("wn,wnla->wla", weights, candidates)


def softened(weigh: Callable[[Tensor, float], Tensor], nan: bool = False) -> Answer:
    """The weighted mean with other weights."""

    def wrong(candidates: Tensor, scores: Tensor, temperature: float) -> Tensor:
        scores = scores if nan else finite_scores(scores)
        return torch.einsum("wn,wnla->wla", weigh(scores, temperature), candidates)

    return wrong


def nan_as_zero(scores: Tensor, temperature: float) -> Tensor:
    return torch.softmax(torch.nan_to_num(scores, nan=0.0, neginf=-torch.inf) / temperature, dim=1)


def without_normalising(scores: Tensor, temperature: float) -> Tensor:
    return torch.exp((scores - scores.amax(dim=1, keepdim=True)) / temperature)


def divided_by_number(scores: Tensor, temperature: float) -> Tensor:
    return without_normalising(scores, temperature) / scores.shape[1]


def largest_of_all_worlds(scores: Tensor, temperature: float) -> Tensor:
    weights = torch.exp((scores - scores.max()) / temperature)
    return weights / weights.sum(dim=1, keepdim=True)


def scores_as_weights(scores: Tensor, temperature: float) -> Tensor:
    known = torch.where(scores.isinf(), 0.0, scores) / temperature
    return known / known.sum(dim=1, keepdim=True)


def nan_weights_as_zero(scores: Tensor, temperature: float) -> Tensor:
    return torch.softmax(scores / temperature, dim=1).nan_to_num(0.0)


def raw_exponential(scores: Tensor, temperature: float) -> Tensor:
    weights = torch.exp(scores / temperature)
    return weights / weights.sum(dim=1, keepdim=True)


def by_rank(scores: Tensor, temperature: float) -> Tensor:
    return torch.softmax(scores.argsort(dim=1).argsort(dim=1).to(scores.dtype) / temperature, dim=1)


def hard_elites(scores: Tensor, temperature: float) -> Tensor:
    return torch.nn.functional.one_hot(scores.argmax(dim=1), scores.shape[1]).to(scores.dtype)


def mean_of_weighted(candidates: Tensor, scores: Tensor, temperature: float) -> Tensor:
    weights = torch.softmax(finite_scores(scores) / temperature, dim=1)
    return (weights[:, :, None, None] * candidates).mean(dim=1)


def mppi_by_hand(candidates: torch.Tensor, scores: torch.Tensor, temperature: float) -> torch.Tensor:
    safe = torch.nan_to_num(scores, nan=-float("inf"), neginf=-float("inf"))
    weights = torch.exp((safe - safe.max(dim=1, keepdim=True).values) / temperature)  # the best has weight 1
    weights = weights / weights.sum(dim=1, keepdim=True)
    return (weights[:, :, None, None] * candidates).sum(dim=1)


def mppi_by_matmul(candidates: Tensor, scores: Tensor, temperature: float) -> Tensor:
    logits = finite_scores(scores) / temperature
    weights = (logits - logits.logsumexp(dim=1, keepdim=True)).exp()
    return (weights[:, None] @ candidates.flatten(2)).view(len(candidates), *candidates.shape[2:])


SOFT = Exercise(
    "mppi_mean",
    "Soft weights",
    6,
    1,
    (
        "Elites have the weight 1/E and all others 0. Here everybody has a weight, exp(score/λ) divided by the sum of all. "
        "Which function of torch does that without overflow?",
        "`torch.softmax(scores / temperature, dim=1)`, over the candidates; NaN must be −∞ before.",
        "The weights (W, N) need two more axes for candidates (W, N, L, A): `weights[:, :, None, None]`, then *sum* over N.",
    ),
    (
        Mistake(
            "the sign turned",
            softened(lambda s, t: torch.softmax(torch.where(s.isinf(), -torch.inf, -s) / t, dim=1)),
            "The worst candidates weigh most. The paper has costs and exp(−cost/λ); we have scores, where more is better.",
        ),
        Mistake(
            "the sign turned, and NaN wins",
            softened(lambda s, t: torch.softmax(-s / t, dim=1)),
            "The worst candidates weigh most, and −(−∞) is +∞, so that a broken plan outweighs all: ∞ − ∞ in `softmax` is NaN. The "
            "paper has costs and exp(−cost/λ); we have scores, where more is better.",
        ),
        Mistake(
            "the score itself as the weight",
            softened(scores_as_weights),
            "Scores divided by their sum are no weights: they may be negative. It is exp(score/λ) that is divided by its sum.",
        ),
        Mistake(
            "times the temperature",
            softened(lambda s, t: torch.softmax(s * t, dim=1)),
            "The temperature divides: a *high* one makes all weights alike, a low one picks the best.",
        ),
        Mistake(
            "the temperature not used",
            softened(lambda s, t: torch.softmax(s, dim=1)),
            "Without it the weights depend on the unit of the score: in Dodge a plan's score is at most 12, in the pendulum it "
            "goes below −100.",
        ),
        Mistake(
            "exp overflows",
            softened(raw_exponential),
            "exp(score/λ) is infinite for scores in the thousands, and ∞/∞ is NaN (far below 0 it is 0/0). Subtract the largest "
            "first, or let `softmax` do it. It happens to work on small scores.",
        ),
        Mistake(
            "one largest score for all worlds",
            softened(largest_of_all_worlds),
            "You subtract the largest of *all* scores. In a world whose best is far below it every exp is 0, and 0/0 is NaN. "
            "Subtract each world's own largest (`amax(dim=1, keepdim=True)`), or let `softmax` do it.",
        ),
        Mistake(
            "logarithms for weights",
            softened(lambda s, t: torch.log_softmax(s / t, dim=1)),
            "`log_softmax` gives the logarithms of the weights, all below 0. `softmax` gives the weights.",
        ),
        Mistake(
            "the weights do not add up to 1",
            softened(without_normalising),
            'exp(…) is there, the division by the sum is not: the "mean" is too long.',
        ),
        Mistake(
            "divided by N, not by the sum",
            softened(divided_by_number),
            "Weights are divided by *their* sum. A mean over N would be right if they were 1 on average.",
        ),
        Mistake(
            "a mean of what is weighted already",
            mean_of_weighted,
            "The weights add up to 1, so weighted candidates are *summed*. Your mean divides by N once more.",
        ),
        Mistake(
            "softmax over the worlds",
            softened(lambda s, t: torch.softmax(s / t, dim=0)),
            "`dim=0` are the worlds: each candidate's weights add up to 1 over worlds. You want `dim=1`. It is tempting because "
            "one forgets that there are several.",
        ),
        Mistake(
            "softmax over everything",
            softened(lambda s, t: torch.softmax((s / t).flatten(), dim=0).view_as(s)),
            "All the worlds' candidates share one sum: a world with low scores gets hardly any weight at all.",
        ),
        Mistake(
            "the best alone",
            softened(hard_elites),
            "That is an `argmax`: the limit of a temperature of 0. Everybody has a say here.",
        ),
        Mistake(
            "all alike",
            softened(lambda s, t: torch.full_like(s, 1 / s.shape[1])),
            "A plain mean: the scores are not used.",
        ),
        Mistake(
            "ranks for scores",
            softened(by_rank),
            "The weights are those of the ranks. CEM knows only the order; MPPI looks at *how much* better a plan is.",
        ),
        Mistake(
            "NaN spreads",
            softened(lambda s, t: torch.softmax(s / t, dim=1), nan=True),
            "One NaN among the scores makes softmax NaN, and so the whole plan. Make it −∞: exp(−∞) is a weight of 0.",
        ),
        Mistake(
            "NaN taken out too late",
            softened(nan_weights_as_zero, nan=True),
            "One NaN among the scores makes *all* weights of its world NaN, the good ones, too, and you set them all to 0. Make "
            "the score −∞ before the softmax.",
        ),
        Mistake(
            "NaN counts as 0",
            softened(nan_as_zero, nan=True),
            "Where scores are costs with a minus, 0 is the best there is: a broken plan would win. Make it −∞.",
        ),
    ),
    (mppi_by_hand, mppi_by_matmul),
    reference=mppi_mean,
    cases=soft_cases,
    expects="one plan for each world, (W, L, A)",
    checked="Five fresh populations: one and several worlds, scores in the thousands, a temperature near 0, NaN and −∞; float32 "
    "and float64.",
    equivalent={"gradient cut": NO_GRADIENT},
)


# --- 7 · Buttons instead of a stick


def categorical_cases(rng: Rng) -> Iterator[Case]:
    for (w, n, length, c), elites, alpha, floor, kind, about in (
        ((1, 10, 3, 3), 4, 0.8, 0.1, np.float32, "one world"),
        ((3, 12, 4, 2), 5, 0.3, 0.0, np.float64, "no floor, a small α"),
        ((2, 8, 2, 5), 3, 1.0, 0.2, np.float64, "α = 1 with a floor"),
        ((2, 9, 3, 4), 2, 0.6, 0.3, np.float64, "some scores are NaN"),
        ((2, 10, 3, 3), 5, 0.7, 0.1, np.float64, "all scores are below 0, and some NaN"),
        ((1, 6, 1, 3), 1, 0.9, 0.05, np.float64, "one step, one elite"),
    ):
        scores = rng.permutation(w * n).reshape(w, n) * 0.4 - (40.0 if "below" in about else 1.0)
        if "NaN" in about:
            scores[:, 2:4] = math.nan
        p = rng.dirichlet(np.ones(c), (w, length))
        inputs: dict[str, Any] = {
            "plans": np.eye(c)[rng.integers(0, c, (w, n, length))].astype(kind),
            "scores": scores.astype(kind),
            "elites": elites,
            "p": p.astype(kind),
            "alpha": alpha,
            "floor": floor,
        }
        yield Case(inputs, about)


def categorical_update(plans: Tensor, scores: Tensor, elites: int, p: Tensor, alpha: float, floor: float) -> Tensor:
    """The new probabilities (W, L, C): the elites' frequencies, smoothed, with a share ``floor`` spread over all."""
    scores = torch.where(scores.isnan(), -torch.inf, scores)
    best = scores.topk(elites, dim=1).indices  # (W, E)
    chosen = plans[torch.arange(len(plans))[:, None], best]  # (W, E, L, C)
    p = (1 - alpha) * p + alpha * chosen.mean(dim=1)
    return (1 - floor) * p + floor / p.shape[-1]


def counted(
    choose: Callable[[Tensor, Tensor, int], Tensor] = take,
    fit: Callable[[Tensor], Tensor] = lambda chosen: chosen.mean(dim=1),
    smooth: Callable[[Tensor, Tensor, float], Tensor] = lambda p, new, alpha: (1 - alpha) * p + alpha * new,
    mix: Callable[[Tensor, float], Tensor] = lambda p, floor: (1 - floor) * p + floor / p.shape[-1],
) -> Answer:
    """The categorical update with one thing changed."""

    def wrong(plans: Tensor, scores: Tensor, elites: int, p: Tensor, alpha: float, floor: float) -> Tensor:
        return mix(smooth(p, fit(choose(plans, scores, elites)), alpha), floor)

    return wrong


def floor_first(plans: Tensor, scores: Tensor, elites: int, p: Tensor, alpha: float, floor: float) -> Tensor:
    frequency = take(plans, scores, elites).mean(dim=1)
    return (1 - alpha) * p + alpha * ((1 - floor) * frequency + floor / p.shape[-1])


def add_and_divide(p: Tensor, floor: float) -> Tensor:
    return (p + floor) / (p + floor).sum(dim=-1, keepdim=True)


def add_share_and_divide(p: Tensor, floor: float) -> Tensor:
    return add_and_divide(p, floor / p.shape[-1])


def clamp_share_and_divide(p: Tensor, floor: float) -> Tensor:
    return clamp_and_divide(p, floor / p.shape[-1])


def frequency_of_all(plans: Tensor, scores: Tensor, elites: int, p: Tensor, alpha: float, floor: float) -> Tensor:
    frequency = take(plans, scores, elites).sum(dim=1) / plans.shape[1]
    return (1 - floor) * ((1 - alpha) * p + alpha * frequency) + floor / p.shape[-1]


def clamp_and_divide(p: Tensor, floor: float) -> Tensor:
    p = p.clamp(min=floor)
    return p / p.sum(dim=-1, keepdim=True)


def categorical_by_counting(
    plans: torch.Tensor, scores: torch.Tensor, elites: int, p: torch.Tensor, alpha: float, floor: float
) -> torch.Tensor:
    new = torch.empty_like(p)
    for w in range(len(plans)):
        ranked = torch.nan_to_num(scores[w], nan=-float("inf")).argsort(descending=True)
        counts = plans[w][ranked[:elites]].sum(dim=0)
        new[w] = p[w] + alpha * (counts / elites - p[w])
    return torch.lerp(new, torch.full_like(new, 1 / p.shape[-1]), floor)


def categorical_by_weights(plans: Tensor, scores: Tensor, elites: int, p: Tensor, alpha: float, floor: float) -> Tensor:
    ranked = finite_scores(scores)
    least = ranked.topk(elites, dim=1).values[:, -1:]
    weights = (ranked >= least).to(plans.dtype) / elites
    frequency = torch.einsum("wn,wnlc->wlc", weights, plans)
    uniform = torch.ones_like(p) / p.shape[-1]
    return floor * uniform + (1 - floor) * (alpha * frequency + (1 - alpha) * p)


CATEGORICAL = Exercise(
    "categorical_update",
    "Buttons instead of a stick",
    8,
    2,
    (
        "Maximum likelihood for a table of probabilities is counting: how often did the elites choose each button at each step? "
        "Plans are one-hot, so counting is averaging.",
        "Choose the elites as in `cem_update`, average over `dim=1`, then (1 − α)·p + α·frequency.",
        "The floor last: a mixture with the uniform distribution, (1 − floor)·p + floor·(1/C). It sums to 1 by itself.",
    ),
    (
        Mistake(
            "elites from the wrong end",
            counted(lambda c, s, e: take(c, s, e, largest=False)),
            "The *worst* plans' buttons become likelier. More is better: `topk`, or `descending=True`.",
        ),
        Mistake(
            "α the wrong way round",
            counted(smooth=lambda p, new, alpha: alpha * p + (1 - alpha) * new),
            "α weighs the *new*, as in `cem_update`: α = 0 never moves.",
        ),
        Mistake(
            "no smoothing",
            counted(smooth=lambda p, new, alpha: new),
            "`alpha` is not used. With few elites a button that none of them pressed would be gone at once.",
        ),
        Mistake(
            "no floor",
            counted(mix=lambda p, floor: p),
            "`floor` is not used. A probability that falls to 0 stays 0: the button is never tried again.",
        ),
        Mistake(
            "the floor added and not mixed in",
            counted(mix=lambda p, floor: p + floor / p.shape[-1]),
            "The probabilities add up to 1 + floor. Take (1 − floor) of p to make room for it.",
        ),
        Mistake(
            "the smallest scores",
            counted(smallest_known),
            "`largest=False` takes the *worst* plans: more is better here.",
        ),
        Mistake(
            "the floor added, then divided by the sum",
            counted(mix=add_and_divide),
            "These are probabilities, but the uniform distribution's share is then C·floor/(1 + C·floor), not floor. Mix: "
            "(1 − floor)·p + floor/C.",
        ),
        Mistake(
            "the floor's share added, then divided by the sum",
            counted(mix=add_share_and_divide),
            "These are probabilities, but the uniform distribution's share is then floor/(1 + floor), not floor. Mix: "
            "(1 − floor)·p + floor/C.",
        ),
        Mistake(
            "a clamp at the floor's share, then divided by the sum",
            counted(mix=clamp_share_and_divide),
            "These are probabilities, but dividing pushes what was lifted below floor/C again. The course mixes with the uniform "
            "distribution: (1 − floor)·p + floor/C.",
        ),
        Mistake(
            "a clamp at the floor's share",
            counted(mix=lambda p, floor: p.clamp(min=floor / p.shape[-1])),
            "floor/C is the right least value, but a clamp only lifts the small ones: the sum is above 1. Mix: "
            "(1 − floor)·p + floor/C.",
        ),
        Mistake(
            "the best plan alone",
            counted(lambda c, s, e: take(c, s, 1)),
            "One plan's buttons are no frequencies: each is 0 or 1. All E elites are counted.",
        ),
        Mistake(
            "all worlds' elites counted together",
            counted(fit=lambda chosen: chosen.mean(dim=(0, 1)).expand_as(chosen[:, 0])),
            "You average over worlds as well. Worlds do not know of each other: only the elites' axis, `dim=1`, goes.",
        ),
        Mistake(
            "the floor the wrong way round",
            counted(mix=lambda p, floor: floor * p + (1 - floor) / p.shape[-1]),
            "Nearly all is uniform in yours: `floor` is the share of the *uniform* distribution.",
        ),
        Mistake(
            "the floor divided by the steps",
            counted(mix=lambda p, floor: (1 - floor) * p + floor / p.shape[-2]),
            "p is (W, L, C): `p.shape[1]` are the steps. There are C buttons, `p.shape[-1]`.",
        ),
        Mistake(
            "counts divided by N",
            frequency_of_all,
            "The elites are counted, and divided by the number of *all* plans: the probabilities do not add up to 1. Divide by E.",
        ),
        Mistake(
            "the floor undivided",
            counted(mix=lambda p, floor: (1 - floor) * p + floor),
            "Each of the C buttons gets the whole floor. The uniform distribution has 1/C for each.",
        ),
        Mistake(
            "a clamp for a mixture",
            counted(mix=lambda p, floor: p.clamp(min=floor)),
            "Clamping lifts the small ones and leaves the rest: the sum is above 1. Mix with the uniform distribution.",
        ),
        Mistake(
            "a clamp, then divided by the sum",
            counted(mix=clamp_and_divide),
            "These are probabilities, but dividing pushes what was lifted below the floor again. The course mixes with the "
            "uniform distribution: every button keeps floor/C at the least.",
        ),
        Mistake(
            "the floor before the smoothing",
            floor_first,
            "Only the new frequencies have the floor. Put it last: it is a promise about what the next plans are drawn from.",
        ),
        Mistake(
            "counts for frequencies",
            counted(fit=lambda chosen: chosen.sum(dim=1)),
            "A sum over the elites counts up to E. Divide by E: `mean`.",
        ),
        Mistake(
            "softmax of the counts",
            counted(fit=lambda chosen: torch.softmax(chosen.sum(dim=1), dim=-1)),
            "Frequencies are probabilities already; a softmax bends them. It is for scores and logits.",
        ),
        Mistake(
            "one table for all steps",
            counted(fit=lambda chosen: chosen.mean(dim=(1, 2), keepdim=True)[:, 0].expand(-1, chosen.shape[2], -1)),
            'You average over steps as well: "left, then right" becomes half and half all along. Only `dim=1` goes.',
        ),
        Mistake(
            "everybody counts",
            counted(lambda c, s, e: c),
            "The frequencies of all plans: the scores are not used.",
        ),
        Mistake(
            "NaN scores win",
            counted(nan_wins),
            "`topk` takes NaN for the largest. Make it −∞ first.",
        ),
        Mistake(
            "NaN counts as 0",
            counted(nan_is_zero),
            "NaN became 0, which is more than any cost with a minus. It must lose: `nan=-torch.inf`.",
        ),
    ),
    (categorical_by_counting, categorical_by_weights),
    reference=categorical_update,
    cases=categorical_cases,
    expects="probabilities (W, L, C) that add up to 1 over the last axis, none below floor/C",
    checked="Six fresh populations: one and several worlds, no floor, α = 1, one elite, NaN scores; float32 and float64.",
    equivalent={"gradient cut": NO_GRADIENT},
)

EXERCISES = (UPDATE, PLAN, FIRST, COLOUR, POPULATION, SOFT, CATEGORICAL)
