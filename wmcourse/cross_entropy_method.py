"""The cross-entropy method: sample plans, keep the best few, fit a Gaussian to them, sample again.

Fitting by maximum likelihood is what minimises KL(elites ‖ Gaussian): hence the name (Rubinstein 1999; de Boer et al.
2005).
With smoothing, each update keeps a share 1 - α of what was, so that (1 - α)^i of the start survives i updates:

    mean ← (1 - α)·mean + α·(mean of the elites),    std ← max(floor, (1 - α)·std + α·(std of the elites)).

The optimisers here take a function from a population of plans (W, N, L, A) to its scores (W, N) and know nothing of
models. W worlds are optimised side by side. None of them keeps anything between calls: the warm start is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from wmcourse.model_predictive_control import Plan, Score, best_of, finite_scores, select


def cem_update(
    candidates: Tensor, scores: Tensor, elites: int, mean: Tensor, std: Tensor, alpha: float = 1.0, min_std: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The new mean and std from the ``elites`` best candidates, smoothed by ``alpha``, with a floor under std.

    ``scores`` (..., N), more is better, NaN loses; ``candidates`` (..., N, *event), ``mean`` and ``std`` (..., *event),
    for any leading batch (none, or the worlds) and any event, such as (L, A). The std is the maximum-likelihood one
    (divided by the number of elites). Raises ValueError for shapes that do not fit, elites outside 1..N and alpha
    outside [0, 1].
    Source: Rubinstein (1999); the smoothing is de Boer et al.'s (2005).
    """
    axis = scores.dim() - 1  # the population's
    event = candidates.shape[axis + 1 :]
    fits = axis >= 0 and candidates.shape[: axis + 1] == scores.shape
    if not fits or not mean.shape == std.shape == scores.shape[:-1] + event:
        shapes = ", ".join(str(tuple(t.shape)) for t in (candidates, scores, mean, std))
        raise ValueError(
            f"candidates, scores, mean, std must be (..., N, *event), (..., N) and twice (..., *event): got {shapes}."
        )
    if not 1 <= elites <= scores.shape[-1] or not 0 <= alpha <= 1:
        raise ValueError(f"elites must be 1 to {scores.shape[-1]} and alpha 0 to 1: got {elites} and {alpha}.")
    chosen, _ = select(candidates, finite_scores(scores), elites)  # (..., E, *event)
    new_mean = (1 - alpha) * mean + alpha * chosen.mean(dim=axis)
    new_std = (1 - alpha) * std + alpha * chosen.std(dim=axis, correction=0)
    return new_mean, new_std.clamp(min=min_std)


def cem_plan(
    score: Score,
    draw: Callable[[Tensor, Tensor], Tensor],
    mean: Tensor,
    std: Tensor,
    iterations: int,
    elites: int,
    alpha: float = 1.0,
    min_std: float = 0.0,
) -> Plan:
    """The search: ``iterations`` times draw plans, score them, and fit the next distribution to the ``elites`` best.

    ``draw`` makes plans (W, N, L, A) from the ``mean`` and ``std`` (W, L, A) of the moment: within the action range,
    new ones at each call, the first of them the mean. From the second iteration on, the second is the best so far.
    Returns the best plan and the elites of the last iteration, and the mean after its update. Raises ValueError for no
    iteration. Source: de Boer et al. (2005), the main algorithm for optimisation.
    """
    if iterations < 1:
        raise ValueError(f"A search needs at least one iteration, not {iterations}.")
    best: Tensor | None = None
    for _ in range(iterations):
        plans = draw(mean, std)
        if best is not None and plans.shape[1] > 1:
            plans[:, 1] = best
        scores = finite_scores(score(plans))
        mean, std = cem_update(plans, scores, elites, mean, std, alpha, min_std)
        found = best_of(plans, scores, elites)
        best = found.actions
    return found._replace(mean=mean)


def correlated_noise(shape: tuple[int, ...], correlation: float, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal noise (..., L, A) with correlation ρ between neighbours: ε_t = ρ·ε_{t-1} + √(1-ρ²)·w_t.

    White noise cancels itself out in a world with inertia: plans that differ on average must lean to one side for a
    while.
    """
    noise = torch.randn(shape, generator=generator, device=generator.device if generator else None)
    fresh = (1 - correlation**2) ** 0.5
    for t in range(1, shape[-2]):
        noise[..., t, :] = correlation * noise[..., t - 1, :] + fresh * noise[..., t, :]
    return noise


def coloured_noise(shape: tuple[int, ...], exponent: float, generator: torch.Generator | None = None) -> Tensor:
    """Noise (..., L, A) with a power spectrum 1/f^exponent along L and unit variance: 0 is white, 1 pink, 2 red.

    Source: Timmer & König (1995); for planning Pinneri et al. (2020), §3.1.
    """
    white = torch.randn(shape, generator=generator, device=generator.device if generator else None)
    return colour_noise(white, exponent)


def colour_noise(white: Tensor, exponent: float) -> Tensor:
    """White noise (..., L, A) made into noise with a power spectrum 1/f^exponent along L, of the same variance."""
    steps = white.shape[-2]
    if steps == 1:
        return white
    frequency = torch.fft.rfftfreq(steps, device=white.device)
    frequency[0] = 1 / steps  # the constant part is as strong as the slowest wave
    gain = frequency ** (-exponent / 2)
    # Each frequency stands for two but the first and, in an even length, the last.
    ends = 2.0 if steps % 2 == 0 else 1.0
    power = 2 * gain.square().sum() - gain[0] ** 2 - (ends - 1) * gain[-1] ** 2
    gain = gain * (steps / power).sqrt()
    return torch.fft.irfft(torch.fft.rfft(white, dim=-2) * gain[:, None], n=steps, dim=-2)


class CEM:
    """The cross-entropy method over plans of ``horizon`` × ``action_dim`` numbers in [low, high].

    ``candidates`` × ``iterations`` plans are scored for each world. The mean is a candidate itself, and so is the best
    plan so far.
    ``init_std`` and ``min_std`` are in halves of the range. Raises ValueError for sizes that make no sense.
    Source: Rubinstein (1999), with ρ = ``correlation`` between the noise of neighbouring steps.
    """

    def __init__(
        self,
        horizon: int,
        action_dim: int,
        candidates: int = 64,
        iterations: int = 3,
        elites: int = 8,
        alpha: float = 1.0,
        init_std: float = 0.8,
        min_std: float = 0.1,
        correlation: float = 0.0,
        low: float = -1.0,
        high: float = 1.0,
    ) -> None:
        if min(horizon, action_dim, iterations) < 1 or not 1 <= elites <= candidates or not low < high:
            raise ValueError("A planner needs sizes of at least 1, no more elites than candidates, and low < high.")
        if not (0 <= alpha <= 1 and 0 <= correlation < 1 and init_std > 0 and min_std >= 0):
            raise ValueError("A planner needs alpha in [0, 1], correlation in [0, 1), init_std > 0 and min_std >= 0.")
        self.horizon, self.action_dim = horizon, action_dim
        self.candidates, self.iterations, self.elites = candidates, iterations, elites
        self.alpha, self.correlation, self.low, self.high = alpha, correlation, low, high
        self.init_std, self.min_std = init_std * (high - low) / 2, min_std * (high - low) / 2

    def noise(self, worlds: int, candidates: int, generator: torch.Generator | None) -> Tensor:
        """(W, N, L, A), of unit variance."""
        return correlated_noise((worlds, candidates, self.horizon, self.action_dim), self.correlation, generator)

    def start(self, warm: Plan | None, worlds: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """The first mean and std, each (W, L, A)."""
        shape = (worlds, self.horizon, self.action_dim)
        device = generator.device if generator else None
        mean = torch.full(shape, (self.low + self.high) / 2, device=device) if warm is None else warm.actions
        return mean, torch.full_like(mean, self.init_std)

    def draw(
        self, mean: Tensor, std: Tensor, candidates: int, generator: torch.Generator | None, mean_at: int | None = 0
    ) -> Tensor:
        """Plans (W, N, L, A) around the mean, within the range; the one at ``mean_at`` is the mean itself."""
        plans = mean[:, None] + std[:, None] * self.noise(len(mean), candidates, generator)
        if mean_at is not None:
            plans[:, mean_at] = mean
        return plans.clamp(self.low, self.high)

    def plan(
        self, score: Score, warm: Plan | None = None, worlds: int = 1, generator: torch.Generator | None = None
    ) -> Plan:
        """The best plan found for each world; ``mean`` is the search distribution's after the last update."""
        mean, std = self.start(warm, worlds, generator)

        def draw(mean: Tensor, std: Tensor) -> Tensor:
            return self.draw(mean, std, self.candidates, generator)

        return cem_plan(score, draw, mean, std, self.iterations, self.elites, self.alpha, self.min_std)


class ICEM(CEM):
    """CEM made frugal (Pinneri et al. 2020): coloured noise, fewer candidates in each iteration, elites that are kept.

    ``exponent`` colours the noise; each iteration has ``decay`` times fewer candidates than the one before (never fewer
    than two for each elite); ``kept`` elites join the next iteration, and, shifted by one, the next step's first.
    """

    def __init__(
        self,
        horizon: int,
        action_dim: int,
        candidates: int = 64,
        iterations: int = 3,
        elites: int = 8,
        alpha: float = 0.9,
        init_std: float = 0.8,
        min_std: float = 0.0,
        exponent: float = 2.0,
        decay: float = 1.25,
        kept: int = 3,
        low: float = -1.0,
        high: float = 1.0,
    ) -> None:
        super().__init__(horizon, action_dim, candidates, iterations, elites, alpha, init_std, min_std, 0.0, low, high)
        if decay < 1 or not 0 <= kept <= elites:
            raise ValueError("iCEM needs a decay of at least 1, and no more kept than elites.")
        self.exponent, self.decay, self.kept = exponent, decay, kept

    def population(self, iteration: int) -> int:
        """How many plans are drawn in an iteration."""
        return min(self.candidates, max(int(self.candidates * self.decay**-iteration), 2 * self.elites))

    def noise(self, worlds: int, candidates: int, generator: torch.Generator | None) -> Tensor:
        return coloured_noise((worlds, candidates, self.horizon, self.action_dim), self.exponent, generator)

    def plan(
        self, score: Score, warm: Plan | None = None, worlds: int = 1, generator: torch.Generator | None = None
    ) -> Plan:
        """The best plan of all iterations; ``elites`` are those of the last one."""
        mean, std = self.start(warm, worlds, generator)
        kept = mean[:, None][:, :0] if warm is None else warm.elites[:, : self.kept]  # (W, up to kept, L, A)
        for i in range(self.iterations):
            # The mean is worth trying once the search has settled.
            drawn = self.draw(mean, std, self.population(i), generator, -1 if i == self.iterations - 1 else None)
            plans = torch.cat([kept, drawn], dim=1)
            scores = finite_scores(score(plans))
            mean, std = cem_update(plans, scores, self.elites, mean, std, self.alpha, self.min_std)
            found = best_of(plans, scores, self.elites)
            kept = found.elites[:, : max(self.kept, 1)]  # at least the best, so that it is never lost
        return found._replace(mean=mean)


class MPPI(CEM):
    """Model predictive path integral control (Williams et al. 2017): all candidates count, with weights exp(score /
    temperature).

    The plan is the weighted mean itself; std stays ``init_std``, divided by two after each iteration.
    """

    def __init__(
        self,
        horizon: int,
        action_dim: int,
        candidates: int = 64,
        iterations: int = 1,
        temperature: float = 0.1,
        init_std: float = 0.8,
        correlation: float = 0.0,
        low: float = -1.0,
        high: float = 1.0,
    ) -> None:
        super().__init__(horizon, action_dim, candidates, iterations, 1, 1.0, init_std, 0.0, correlation, low, high)
        if temperature <= 0:
            raise ValueError(f"MPPI needs a temperature above 0, not {temperature}.")
        self.temperature = temperature

    def plan(
        self, score: Score, warm: Plan | None = None, worlds: int = 1, generator: torch.Generator | None = None
    ) -> Plan:
        """The weighted mean of the candidates; ``score`` is the candidates' weighted mean score."""
        mean, std = self.start(warm, worlds, generator)
        for _ in range(self.iterations):
            plans = self.draw(mean, std, self.candidates, generator)
            most = torch.finfo(plans.dtype).max / 2
            scores = finite_scores(score(plans)).clamp(-most, most)  # inf - inf is NaN
            weights = torch.softmax((scores - scores.amax(dim=1, keepdim=True)) / self.temperature, dim=1)
            mean = torch.einsum("wn,wnla->wla", weights, plans).clamp(self.low, self.high)  # rounding can step over
            std = std / 2
        return Plan(mean, (weights * scores).sum(dim=1), mean, best_of(plans, scores, 1).elites)


class CategoricalCEM:
    """The cross-entropy method for discrete actions: a plan is ``horizon`` one-hot choices out of ``choices``.

    The distribution is a table of probabilities (W, L, C), the update the elites' frequencies, smoothed by ``alpha``
    and mixed with ``floor`` of the uniform distribution so that no choice dies out. Source: de Boer et al. (2005), on
    combinatorial optimisation.
    """

    def __init__(
        self,
        horizon: int,
        choices: int,
        candidates: int = 64,
        iterations: int = 3,
        elites: int = 8,
        alpha: float = 0.8,
        floor: float = 0.05,
    ) -> None:
        if min(horizon, choices, iterations) < 1 or not 1 <= elites <= candidates:
            raise ValueError("A planner needs sizes of at least 1, and no more elites than candidates.")
        if not (0 <= alpha <= 1 and 0 <= floor <= 1):
            raise ValueError("CategoricalCEM needs alpha and floor in [0, 1].")
        self.horizon, self.choices = horizon, choices
        self.candidates, self.iterations, self.elites = candidates, iterations, elites
        self.alpha, self.floor = alpha, floor

    def plan(
        self, score: Score, warm: Plan | None = None, worlds: int = 1, generator: torch.Generator | None = None
    ) -> Plan:
        """The best plan found, one-hot (W, L, C); ``mean`` holds the probabilities."""
        shape = (worlds, self.horizon, self.choices)
        p = torch.full(shape, 1 / self.choices, device=generator.device if generator else None)
        if warm is not None:
            p = 0.5 * p + 0.5 * warm.mean  # half of what was known, half open
        best = None if warm is None else warm.actions
        for _ in range(self.iterations):
            rows = p[:, None].expand(-1, self.candidates, -1, -1).reshape(-1, self.choices)
            drawn = torch.multinomial(rows, 1, generator=generator).view(worlds, self.candidates, self.horizon)
            plans = torch.nn.functional.one_hot(drawn, self.choices).to(p.dtype)  # (W, N, L, C)
            if best is not None:
                plans[:, 0] = best
            scores = finite_scores(score(plans))
            found = best_of(plans, scores, self.elites)
            p = (1 - self.alpha) * p + self.alpha * found.mean
            p = (1 - self.floor) * p + self.floor / self.choices
            best = found.actions
        return found._replace(mean=p)
