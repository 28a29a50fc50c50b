# %% [markdown]
# # 01 · Variational inference
#
# **Where the course goes.** Below is Dodge: 32 × 32 grey pixels, an agent that slides along the bottom, things that fall. In eleven
# lessons you build an agent that watches these pixels, learns to *dream* them on, and survives by trying out its actions in its own
# dream before it takes them, as in Ha & Schmidhuber's [*World Models*](https://arxiv.org/abs/1803.10122) (2018). Its eye V turns a frame into a few
# numbers z; its memory M tells which z comes next; its will C plans with both. Nobody ever tells it what the numbers mean.
#
# **The question.** That is the difficulty, and the road begins there. The eye needs a score to be trained on, and the natural one is:
# *how probable are the frames that I see, under my model?* But the model has hidden numbers, and its answer
# $p(x) = \int p(x|z)\,p(z)\,dz$ goes over everything that might be behind a frame. Eight numbers with a hundred values each make
# $10^{16}$ possibilities, for one frame. How do you train a model on a score that you cannot compute?

# %% keep=true
import math

import sympy as sp
import torch
from torch.distributions import Normal

from wmcourse.lessons import open_lesson
from wmcourse.lessons.derivation import proved
from wmcourse.lessons.frames import dodge_frames
from wmcourse.lessons.map import system_map
from wmcourse.lessons.variational_inference import experiment
from wmcourse.lessons.variational_inference.questions import WARM_UP, tally
from wmcourse.lessons.variational_inference.widgets import (
    BoundPlot,
    ceiling,
    opening,
    samples_picture,
    strips,
    thin,
    two_hills,
)
from wmcourse.variational_inference import importance_weighted_bound

lesson = open_lesson("01")
ex, steps = lesson.exercises, lesson.steps  # two short names for the whole lesson
opening()

# %% [markdown]
# **After this lesson you can**
#
# 1. derive a lower bound on log p(x) in two ways, and say what exactly it is short of;
# 2. estimate that bound from samples, and tell its noise from its gap;
# 3. compute a posterior, and climb to it where you cannot;
# 4. say what a q that ignores correlations gets wrong, and what an encoder is;
# 5. train a first, linear model of Dodge on the bound, with its true score in view.
#
# | section | minutes of yours | of the machine's |
# |---|--:|--:|
# | Predict first | 15 | – |
# | Derive | 40 | – |
# | See it | 15 | – |
# | Build it | 75 | – |
# | Measure it | 25 | 1 |
# | Explain it | 5 | – |
# | Close | 5 | – |
#
# Three hours in all, if you take the hints when you need them. Short of time? Exercise 5 may wait (20 minutes): nothing here or in the next lessons needs your answer
# to it. A good place for a break is before *Build it*.
#
# **From before** you need nothing of this course; what you need from elsewhere is tried out in a moment.
#
# **How it works.** Each exercise is followed by its check, which runs your function on fresh inputs and says what it found; many
# mistakes it knows by name. Stuck? `ex.NAME.hint()`, then `hint(2)`, and at last `ex.NAME.solution()`. The panel below ticks itself when a check
# passes, and all you do stays in your own folder `my/`, on your machine.
#
# The map is the same in all lessons. This one lays the ground for V.

# %% keep=true
display(system_map(highlight=["V"]), lesson.panel())

# %% [markdown]
# ## Predict first
#
# **Are you ready? Ten minutes.** Eight quick questions on what the course builds on: calculus, linear algebra, probability and neural networks, answered at once.
# A miss is no verdict: the answer names what to refresh, with the section (§) of a free book,
# [*Mathematics for Machine Learning*](https://mml-book.github.io) by Deisenroth, Faisal and Ong, and the last line keeps the list. One or two misses: read
# those pages and go on. Five or more: spend an evening there first.
#
# **Then predict.** Three questions on what is to come, in the second cell. Answer from the gut: it is the prediction that makes the answer stick.

# %%
asked = [question.ask() for question in WARM_UP]
display(*asked, tally(asked))

# %%
for name in ("samples", "two_hills", "too_narrow"):
    display(lesson.questions[name].predict())

# %% [markdown]
# ## Derive
#
# A model with hidden numbers consists of a *prior* p(z), what one would guess about them without a frame, and a *likelihood* p(x|z), how
# a frame follows from them. Their product is the *joint* $p(x,z)=p(z)\,p(x|z)$, and that is always easy. Two things are not:
#
# $$\text{the evidence } p(x)=\int p(x,z)\,dz \qquad\text{and the posterior}\qquad p(z|x)=\frac{p(x,z)}{p(x)} .$$
#
# They are one difficulty: who has either has the other. All logarithms are natural, so all scores are in *nats*.
#
# **First way: Jensen.** Take any density q(z) that is nowhere zero, a *guess* at the posterior, and multiply and divide by it:
#
# $$\log p(x) = \log \mathbb E_{z\sim q}\Big[\frac{p(x,z)}{q(z)}\Big] \;\ge\; \mathbb E_{z\sim q}\Big[\log\frac{p(x,z)}{q(z)}\Big] = \mathrm{ELBO}(q).$$
#
# The name: *evidence lower bound*. Why ≥? A logarithm lies below each of its tangents: $\log u\le\log c+(u-c)/c$. Touch it at the
# mean, $c=\mathbb E[u]$, and take the expectation of both sides: the last term vanishes, $\mathbb E[\log u]\le\log\mathbb E[u]$. The machine on the gap between tangent and
# logarithm: `proved(left, right)` shows an equation only after sympy has found both sides equal.

# %%
from wmcourse.lessons.variational_inference.derivation import (
    b,
    log_normal,
    log_sigma,
    m,
    mu,
    normal,
    s,
    sigma,
    under_q,
    v,
    w,
    x,
    z,
)

u, c = sp.symbols("u c", positive=True)
gap = sp.log(c) + (u - c) / c - sp.log(u)
assert sp.solve(sp.diff(gap, u), u) == [c]
assert gap.subs(u, c) == 0
proved(
    sp.Derivative(gap, (u, 2)),
    1 / u**2,
    "Positive everywhere: the gap is 0 where they touch, at u = c, and above 0 elsewhere.",
)

# %% [markdown]
# **Second way: an equality.** What did Jensen throw away? Bayes' rule, $\log p(x) = \log p(x,z) - \log p(z|x)$, holds at *every* z, and its
# left side has no z. Add and subtract log q(z), and average under q:
#
# $$\log p(x) \;=\; \underbrace{\mathbb E_q\big[\log p(x,z)-\log q(z)\big]}_{\mathrm{ELBO}} \;+\; \underbrace{\mathbb E_q\big[\log q(z)-\log p(z|x)\big]}_{\mathrm{KL}(q\,\|\,p(z|x))} .$$
#
# What was thrown away is a Kullback–Leibler divergence. It is never negative: by Jensen, $-\mathrm{KL}\le\log\mathbb E_q[p(z|x)/q(z)]=\log 1=0$.
# (Lesson 03 takes it apart.) So the two always add up to the same, and what one gains the other loses. **Climbing the ELBO by changing q is finding the posterior,
# though nobody computed it.** Climbing it by changing the *model* raises log p(x), or at least closes the gap.
#
# **A model that can be checked to the end.** One hidden number, one reading: $z\sim\mathcal N(0,1)$ and $x\,|\,z\sim\mathcal N(w z+b,\,s^2)$. Think of z as where the
# agent stands, and of x as a blurred reading of its column, in pixels. Here the integral can be done:

# %%
log_prior, log_likelihood = log_normal(z, 0, 1), log_normal(x, w * z + b, s)
proved(
    sp.Integral(normal(z, 0, 1) * normal(x, w * z + b, s), (z, -sp.oo, sp.oo)),
    normal(x, b, sp.sqrt(w**2 + s**2)),
    "The evidence is N(x; b, w² + s²): what z spreads, and the noise.",
)

# %% [markdown]
# ### Step · The exact posterior, by completing the square
#
# ●●○ · 10 minutes · `steps.posterior_mean.hint()`
#
# As a function of z, $\log p(x,z)=-\frac{z^2}{2}-\frac{(x-wz-b)^2}{2s^2}+\dots$ is a downward parabola, so the posterior is a Gaussian. The factor of
# $-\frac12 z^2$ is its *precision*, one over its variance: $1+w^2/s^2$, the prior's 1 and what the reading adds. What is the
# posterior's **mean**? Write it with `x`, `w`, `b` and `s`.

# %% step="posterior_mean"
posterior_mean = ...  # in x, w, b, s
### BEGIN SOLUTION
posterior_mean = w * (x - b) / (s**2 + w**2)
### END SOLUTION

# %% check="posterior_mean"
steps.posterior_mean.check(posterior_mean)

# %%
from wmcourse.lessons.variational_inference.derivation import LOG_EVIDENCE as log_evidence
from wmcourse.lessons.variational_inference.derivation import POSTERIOR_MEAN, POSTERIOR_STD

# The course's own mean, so that you can go on and come back to your step.
log_posterior = log_normal(z, POSTERIOR_MEAN, POSTERIOR_STD)
proved(
    log_prior + log_likelihood - log_posterior,
    log_evidence,
    "Joint over posterior must be the evidence, and z must drop out. It does: Bayes, at every z.",
    terms=4,
)

# %% [markdown]
# ### Step · How far q's guesses miss the reading
#
# ●○○ · 5 minutes · `steps.misfit.hint()`
#
# Now a guess, $q=\mathcal N(\mu,\sigma^2)$, any. In $\log p(x|z)$ only a square is random. What is $\mathbb E_{z\sim q}\big[(x-wz-b)^2\big]$? Write it with `x`, `w`, `b`,
# `mu` and `sigma`.

# %% step="misfit"
misfit = ...  # in x, w, b, mu, sigma
### BEGIN SOLUTION
misfit = (x - w * mu - b) ** 2 + w**2 * sigma**2
### END SOLUTION

# %% check="misfit"
steps.misfit.check(misfit)

# %% [markdown]
# **The ELBO in closed form.** Group it as *how well q's guesses explain x* minus *how far q is from the prior*:
#
# $$\mathrm{ELBO} = \mathbb E_q[\log p(x|z)] - \mathbb E_q[\log q(z)-\log p(z)] .$$
#
# This is the form that a VAE is trained on: lesson 04 is about the first half, lesson 03 about the second, lesson 05 puts them together. The
# machine does both integrals. Then the gap: it does the KL to *some* Gaussian $\mathcal N(m, v^2)$ (lesson 03 does it by hand), puts the posterior's m and v in, and adds the ELBO. What must come out?

# %%
from wmcourse.lessons.variational_inference.derivation import ELBO, PRICE, RECONSTRUCTION

log_q = log_normal(z, mu, sigma)
kl = sp.log(v / sigma) + (sigma**2 + (mu - m) ** 2) / (2 * v**2) - sp.Rational(1, 2)
assert sp.expand(ELBO - (RECONSTRUCTION - PRICE)) == 0
display(
    proved(under_q(log_likelihood), RECONSTRUCTION),
    proved(under_q(log_q - log_prior), PRICE),
    proved(under_q(log_q - log_normal(z, m, v)), kl),
    proved(
        (ELBO + kl).subs({m: POSTERIOR_MEAN, v: POSTERIOR_STD}),
        log_evidence,
        "Neither μ nor σ on the right: ELBO + KL is log p(x), whatever q is.",
        terms=5,
    ),
)

# %% [markdown]
# ### Step · The slope that sets q's width
#
# ●●○ · 10 minutes · `steps.by_log_sigma.hint()`
#
# To climb, one needs slopes. A width must stay positive, so the parameter is `log_sigma` = log σ, which may be anything. (The course's other name is `logvar` =
# log σ². They are never mixed, and the name always says which.) What is $\partial\,\mathrm{ELBO}/\partial\log\sigma$? Write it with `log_sigma`, `w` and `s`; the exponential is `sp.exp`. The cell
# after your check then asks the machine for all places where both slopes vanish: there is one, it is the posterior, and the gap is zero there.

# %% step="by_log_sigma"
by_log_sigma = ...  # in log_sigma, w, s
### BEGIN SOLUTION
by_log_sigma = 1 - sp.exp(2 * log_sigma) * (1 + w**2 / s**2)
### END SOLUTION

# %% check="by_log_sigma"
steps.by_log_sigma.check(by_log_sigma)

# %%
slopes = [sp.diff(ELBO, mu), sp.diff(ELBO, sigma)]
(top,) = sp.solve(slopes, [mu, sigma], dict=True)
assert sp.simplify(top[mu] - POSTERIOR_MEAN) == 0
assert sp.simplify(top[sigma] - POSTERIOR_STD) == 0
assert sp.simplify(sp.expand_log((log_evidence - ELBO).subs(top), force=True)) == 0
assert sp.diff(ELBO, mu, sigma) == 0  # no mixed curvature, so two signs decide
display(
    proved(sp.Derivative(ELBO, mu), w * (x - w * mu - b) / s**2 - mu, "The reading pulls, the prior pulls back."),
    proved(sp.Derivative(ELBO, (mu, 2)), -(1 + w**2 / s**2), "Minus the posterior's precision, whatever σ is."),
    proved(sp.Derivative(ELBO, (sigma, 2)), -1 / sigma**2 - (1 + w**2 / s**2), "Negative, too: one hill, one top."),
)

# %% [markdown]
# ## See it
#
# **The picture of this lesson.** Above: prior, posterior, and your q. Below: for every mean that q might have, the ELBO in green, and on top of it the KL in red, hatched. Together
# they always reach the black ceiling, log p(x). Move q (click a slider, then use the arrow keys). Can you make the red part at your q (the dashed line) vanish? What does σ do to the hill?
# And then move the reading x: what happens to the ceiling?

# %% keep=true signature=true
ceiling()

# %% [markdown]
# q never moves the ceiling; only the reading does. σ lifts and lowers the hill without changing its form, and the hill touches the
# ceiling at one width only: the posterior's.
#
# **Where will it come down?** A hazard has gone behind the band. Below it, it forks: it turns left or right at random, and comes down about nine pixels to either side. Now the truth has
# two hills (here with a blur of 1.5 pixels each), and q is a single bell. Make KL(q‖p) as small as you can. Then put μ back to 2, and let the machine go on from there (*downhill in KL(q‖p)*), with σ = 4, and once more with
# σ = 8: one run ends on a hill, the other is stuck in the middle, at a poor optimum. At last, the other direction.

# %% keep=true
two_hills()

# %% [markdown]
# KL(q‖p) asks at *q's* places: is p there, too? It prefers half of the truth to a bell in the valley. KL(p‖q) asks at *p's* places, and covers
# everything. Variational inference uses the first one, not because it is better, but because it can: its expectation is under q, from which
# you can sample. The second needs samples from the posterior, the very thing you do not have. Your second prediction:

# %%
lesson.questions["two_hills"].reveal()

# %% [markdown]
# ## Build it
#
# Six functions. From here on the model has as many pixels and hidden numbers as you like:
#
# $$z\sim\mathcal N(0, I) \text{ in } Z \text{ dimensions},\qquad x\,|\,z\sim\mathcal N(Wz+b,\; s^2 I) \text{ in } D \text{ pixels.}$$
#
# It is linear and Gaussian, so the truth stays computable; with two networks in place of W and of the encoder it is the VAE of lesson 05. A check that fails says what
# came out and what kind of thing should have. ★ marks a function that is kept with your parts, in `my/parts/`.

# %% [markdown]
# ### Exercise 1 · The score of a story
#
# ●●○ · 15 minutes · `ex.log_joint.hint()`
#
# A z is a story about a frame. Its score is $\log p(x,z)=\log p(z)+\log p(x|z)$: how likely the story was beforehand, and how well it
# explains the frame. `z` is `(S, B, Z)`, S stories for each of B frames; `x` is `(B, D)`; `W` is `(D, Z)`, `b` is `(D,)`, and `s` a number. Return `(S, B)`, with all
# constants: this number will be compared with log p(x). Pixels are independent given z, so nothing D × D is needed: with 1,024 pixels that
# would be a million numbers.

# %% exercise="log_joint"
def log_joint(z: torch.Tensor, x: torch.Tensor, W: torch.Tensor, b: torch.Tensor, s: float) -> torch.Tensor:
    """log p(x, z) for z ~ N(0, I), x | z ~ N(W z + b, s² I): z (S, B, Z) and x (B, D) -> (S, B), nats."""
    ### BEGIN SOLUTION
    mean = z @ W.T + b  # (S, B, D)
    log_prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=-1)
    log_likelihood = -0.5 * ((x - mean).square() / s**2 + math.log(2 * math.pi * s**2)).sum(dim=-1)
    return log_prior + log_likelihood
    ### END SOLUTION


# %% check="log_joint"
ex.log_joint.check(log_joint)

# %% [markdown]
# ### Exercise 2 · The bound, from samples ★
#
# ●○○ · 5 minutes · `ex.elbo.hint()`
#
# The ELBO is an expectation under q, so samples $z_s\sim q$ will do. `log_joint` and `log_q` hold log p(x, z_s) and log q(z_s), both `(S, ...)`, with the samples on the
# first axis. Return the estimate, `(...)`. It is one line, and there are many ways to miswrite it.
#
# (Candidly, about the ★: the finished system trains on the form with two halves, so nothing in it calls this function. It is the ruler: all bounds in this
# lesson are measured with it.)

# %% exercise="elbo"
def elbo(log_joint: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """Monte-Carlo estimate of the ELBO from log p(x, z_s) and log q(z_s), z_s ~ q: (S, ...) -> (...), nats."""
    ### BEGIN SOLUTION
    return (log_joint - log_q).mean(dim=0)
    ### END SOLUTION


# %% check="elbo"
ex.elbo.check(elbo)

# %% [markdown]
# ### Exercise 3 · The answer that q is after
#
# ●●○ · 15 minutes · `ex.exact_posterior.hint()`
#
# Your derivation step for vectors. The posterior of z given x is a Gaussian, with the same covariance for all frames. Return its means `(B, Z)` and
# its covariance `(Z, Z)`. What was 1 + w²/s² is now a matrix, Z × Z. (There is a way through a D × D matrix, too. It gives the same, and with 1,024 pixels it is
# slow.)

# %% exercise="exact_posterior"
def exact_posterior(
    x: torch.Tensor, W: torch.Tensor, b: torch.Tensor, s: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of p(z|x) for z ~ N(0, I), x | z ~ N(W z + b, s² I): x (B, D) -> (B, Z) and (Z, Z)."""
    ### BEGIN SOLUTION
    precision = torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / s**2  # the prior's, and the frame's
    covariance = torch.linalg.inv(precision)
    mean = (x - b) @ W @ covariance / s**2
    return mean, covariance
    ### END SOLUTION


# %% check="exact_posterior"
ex.exact_posterior.check(exact_posterior)

# %% [markdown]
# ### Exercise 4 · One step uphill
#
# ●●○ · 10 minutes · `ex.ascent_step.hint()`
#
# Suppose you did not know the posterior. Then climb. In the one-dimensional model of the derivation, with its closed ELBO, take one step of gradient *ascent* for a batch of
# readings: `mu`, `log_sigma` and `x` are `(B,)`, the others numbers. Return the new `mu` and the new `log_sigma`.

# %% exercise="ascent_step"
def ascent_step(
    mu: torch.Tensor, log_sigma: torch.Tensor, x: torch.Tensor, w: float, b: float, s: float, rate: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step up the ELBO of q = N(mu, exp(log_sigma)²) for z ~ N(0, 1), x | z ~ N(w z + b, s²): all (B,)."""
    ### BEGIN SOLUTION
    by_mu = w * (x - w * mu - b) / s**2 - mu
    by_log_sigma = 1 - torch.exp(2 * log_sigma) * (1 + w**2 / s**2)
    return mu + rate * by_mu, log_sigma + rate * by_log_sigma
    ### END SOLUTION


# %% check="ascent_step"
ex.ascent_step.check(ascent_step)

# %% [markdown]
# ### Exercise 5 · Pretend that nothing is correlated
#
# ●●● · 20 minutes · `ex.mean_field.hint()`
#
# With many hidden numbers one often asks q to be a product, $q(z)=\prod_i q_i(z_i)$: a *mean field*. Let the posterior be a Gaussian with `mean` and `covariance`, and Λ its
# precision matrix, the covariance's inverse. While all other factors are held, the best $q_i$ is what the posterior says about $z_i$ when the others stand at their means $m_j$:
#
# $$q_i=\mathcal N\Big(\mathrm{mean}_i-\frac{1}{\Lambda_{ii}}\sum_{j\ne i}\Lambda_{ij}\,(m_j-\mathrm{mean}_j),\;\; \frac1{\Lambda_{ii}}\Big).$$
#
# One *sweep* does this for i = 0, 1, …, D − 1 in turn, each time with the newest values. Return q's means after `sweeps` sweeps from `start`, and q's variances, both `(D,)`.

# %% exercise="mean_field"
def mean_field(
    mean: torch.Tensor, covariance: torch.Tensor, start: torch.Tensor, sweeps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinate ascent for a factorised q of N(mean, covariance): q's means and its variances, (D,) each."""
    ### BEGIN SOLUTION
    precision = torch.linalg.inv(covariance)
    m = start.clone()
    for _ in range(sweeps):
        for i in range(len(m)):
            pull = precision[i] @ (m - mean) - precision[i, i] * (m[i] - mean[i])  # of all the others
            m[i] = mean[i] - pull / precision[i, i]
    return m, 1 / precision.diagonal()
    ### END SOLUTION


# %% check="mean_field"
ex.mean_field.check(mean_field)

# %% [markdown]
# **How much is lost?** Your function on a posterior of two numbers (until it passes, the course's). Each curve is drawn at two standard deviations. Raise the correlation: how much of the
# ellipse does q still know, and how many sweeps does it take? For a Gaussian the means come out right in the end; the widths do so only without correlation.

# %% keep=true
display(thin(lesson.yours("mean_field")), lesson.questions["too_narrow"].reveal())

# %% [markdown]
# ### Exercise 6 · One function for all frames
#
# ●●○ · 10 minutes · `ex.linear_encoder.hint()`
#
# So far each frame gets its own climb. An *encoder* is one function from the frame to q's parameters, and the work is done once for all frames: inference is
# *amortised*. Find the best one for a decoder `W`, `b`, `s`, among those that give factorised Gaussians: q's mean is `slope @ x + intercept`, and its `logvar` = log σ² is the same for
# all frames. Return `slope` `(Z, D)`, `intercept` `(Z,)` and `logvar` `(Z,)`. (Its means come from exercise 3; its widths from the formula of exercise 5.)

# %% exercise="linear_encoder"
def linear_encoder(W: torch.Tensor, b: torch.Tensor, s: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The best factorised q(z|x) = N(slope x + intercept, exp(logvar)) for x | z ~ N(W z + b, s² I)."""
    ### BEGIN SOLUTION
    precision = torch.eye(W.shape[1], dtype=W.dtype) + W.T @ W / s**2
    slope = torch.linalg.solve(precision, W.T) / s**2
    return slope, -slope @ b, -precision.diagonal().log()
    ### END SOLUTION


# %% check="linear_encoder"
ex.linear_encoder.check(linear_encoder)

# %% [markdown]
# ## Measure it
#
# From here on *your* functions do the work, once they have passed (until then, the course's).
#
# **Every formula against dice.** The one-dimensional model with w = 6, b = 16 and s = 3 pixels, and the reading x = 22. Evidence and posterior are confirmed by 400,000 stories drawn from the *prior* and
# weighted by how well they explain the reading; the ELBO by samples from a q; and the loss of the mean field by samples, too. A formula that is right lies within a few standard errors (±).

# %%
score, bound, climb = lesson.yours("log_joint"), lesson.yours("elbo"), lesson.yours("ascent_step")
posterior, field = lesson.yours("exact_posterior"), lesson.yours("mean_field")
encode = lesson.yours("linear_encoder")
dice, compare = experiment.Dice(seed=1), experiment.compare  # compare: stops where formula and samples disagree

numbers = {x: 22, w: 6, b: 16, s: 3, mu: sp.Rational(-2, 5), sigma: sp.Rational(4, 5)}
model, reading = experiment.reading_model(6.0, 16.0, 3.0), torch.tensor([[22.0]], dtype=torch.float64)
mean, covariance = posterior(reading, *model)

stories = dice(400_000, 1, 1)  # from the prior
explains = (score(stories, reading, *model) - Normal(0, 1).log_prob(stories).sum(-1)).exp()[:, 0]  # p(x|z)
compare("evidence p(x)", float(sp.exp(log_evidence.subs(numbers))), explains)
compare("posterior's mean", float(mean), stories[:, 0, 0], explains)
compare("posterior's variance", float(covariance), (stories[:, 0, 0] - float(mean)).square(), explains)

guess, guesses = Normal(-0.4, 0.8), -0.4 + 0.8 * dice(400_000, 1, 1)  # from a q
logs = score(guesses, reading, *model)[:, 0], guess.log_prob(guesses)[:, 0, 0]
assert torch.isclose(bound(*logs), (logs[0] - logs[1]).mean())
compare("ELBO of q = N(−0.4, 0.8²)", float(ELBO.subs(numbers)), logs[0] - logs[1])

# %%
place = torch.tensor([-2.0], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)  # μ and log σ
for _ in range(200):
    place = climb(*place, reading[:, 0], 6.0, 16.0, 3.0, 0.05)
print(f"after 200 steps uphill: mean {float(place[0]):.4f} (the posterior's {float(mean):.4f}), ", end="")
print(f"variance {float(place[1].mul(2).exp()):.4f} (the posterior's {float(covariance):.4f})")
assert math.isclose(float(place[0]), float(mean), abs_tol=1e-6)

losses = experiment.field_losses(field, rho=0.9, dice=dice)  # log q − log p at samples of q
compare("gap of the mean field, ρ = 0.9", -0.5 * math.log(1 - 0.9**2), losses["best"])
for name in ("a little narrower", "a little wider"):
    more = losses[name] - losses["best"]
    assert more.mean() > 5 * more.std() / math.sqrt(len(more))
    print(f"{name + ':':32s} {more.mean():.4f} nats more")

# %% [markdown]
# **A first model of Dodge.** Now W, b, s and the encoder are learnt, all at once, by climbing the mean ELBO of 4,096 frames: no z is ever shown. Measured is on 2,048 frames from episodes that nobody trains on.
# The model is linear, so the *exact* log p(x) can be drawn above the bound, and even the best there is: for linear models maximum likelihood has a closed form (Tipping & Bishop
# 1999). Watch the bound push the evidence up. The gap grows at first, since the decoder moves and the encoder has to follow; then it closes. (No gradient passes through a sample here: the ELBO's expectation has your closed form. How it can is lesson 02.)

# %% tags=["nbval-ignore-output"]
frames, held_out = dodge_frames(), experiment.held_out_frames()
best = experiment.maximum_likelihood(frames)
test = held_out.flatten(1).double()  # (2048, 1024)
best_evidence = float(experiment.exact_log_evidence(test, best).mean())
with BoundPlot(best_evidence) as plot:
    run = experiment.train(frames, held_out, show=plot.show)
over_time = [high - low for high, low in zip(run.evidence, run.elbo, strict=True)]
assert max(over_time) > over_time[0] > over_time[-1] > 0

# %% [markdown]
# Nobody asked for a high evidence, only for a high bound; and the evidence came within a few nats of what maximum likelihood, the best fit of any linear model, reaches. How large is the gap at the end, and what
# is it made of? Below, *your* functions on the held-out frames. Part of it is the family: factorised bells. The rest is an encoder that has not quite arrived where `linear_encoder` is.
# And look at the last line. Turn the axes of z: every rotation gives *the same* model, evidence and all, and one of them makes the posterior factorise, so that the gap is 0.

# %% keep=true tags=["nbval-ignore-output"]
trained, encoder = run.at(1_000)
turned, some = experiment.turned(trained), test[:64]
evidence = experiment.evidence_by_bayes(score, posterior, test, trained)  # your joint over your posterior
rows = {
    "the trained encoder": (trained, encoder),
    "your linear_encoder": (trained, experiment.Encoder(*encode(*trained))),
    "axes turned, and again yours": (turned, experiment.Encoder(*encode(*turned))),
}
print("log p(x), nats per held-out frame:")
print(f"no hidden numbers at all       {experiment.without_latents(frames, test).mean():.2f}")
print(f"maximum likelihood             {best_evidence:.2f}")
print(f"trained on the bound           {evidence.mean():.2f}\n")
gaps = {}
for name, (decoder, q) in rows.items():
    assert torch.allclose(experiment.exact_log_evidence(test, decoder), evidence, atol=1e-3)  # turned or not
    gaps[name] = float((evidence - experiment.closed_elbo(test, decoder, q)).mean())
    logs = experiment.sampled(score, some, decoder, q, dice, 100)
    experiment.compare_bounds(name, gaps[name], bound(*logs), logs, experiment.closed_elbo(some, decoder, q))

assert best_evidence - 5 < evidence.mean() < best_evidence + 5
assert gaps["the trained encoder"] < 3
assert gaps["your linear_encoder"] < 0.3 < 10 < max(over_time)
assert abs(gaps["axes turned, and again yours"]) < 1e-3
shown = test[[100, 400, 700, 1000, 1300, 1600, 1900, 2000]]
strips(experiment.frames_and_dreams(shown, trained, encoder, dice))

# %% [markdown]
# It sees the agent, roughly, and hazards as clouds or not at all; and the third row, z drawn from the prior, is its whole imagination. That is no fault of the inference, whose gap is small, but of the *model*: a hazard that moves is not a sum of eight fixed
# pictures. Better inference does not help a poor model; lesson 05 puts networks in. (A log p(x) of several hundred nats *above* 0 is no bug either: pixels are continuous here, and a density may exceed 1.)
#
# **Samples: noise or gap?** One held-out frame, and the encoder as it was at step 400, not yet good. Estimates of the ELBO from 1 to 1,000 samples; and beside them
# the *importance-weighted bound* (Burda et al. 2016), the log of the mean of the same weights p(x, z)/q(z), from the course's `importance_weighted_bound`. Bars: ± 2 standard errors of the mean of many
# estimates. Bands: where a single estimate falls, ± one standard deviation.
#
# More samples make the ELBO *surer*, never tighter. The importance-weighted bound is tighter with each, and with one sample the two are the same. (Where a band reaches above the
# line no bound is broken: both are bounds on average, and a single estimate may overshoot.) The last line guesses z blindly, from the prior: this is why one needs a q.

# %% keep=true tags=["nbval-ignore-output"]
early, early_encoder = run.at(400)
one = test[7:8]
exact = float(experiment.exact_log_evidence(one, early))
closed = float(experiment.closed_elbo(one, early, early_encoder))
draws = [experiment.sampled(score, one, early, early_encoder, dice, 2_000) for _ in range(20)]
log_joints, log_qs = torch.cat([torch.stack(draw)[..., 0] for draw in draws], dim=1)  # 40,000, to be dealt out

sizes = [1, 3, 10, 30, 100, 300, 1_000]
bounds = {"ELBO": bound, "importance-weighted bound": importance_weighted_bound}
tables = {name: experiment.deal(function, log_joints, log_qs, sizes) for name, function in bounds.items()}
experiment.print_bounds(tables, sizes, exact, closed)

blind = dice(4_000, 1, experiment.LATENT)
from_prior = score(blind, one, *early)[:, 0], Normal(0, 1).log_prob(blind).sum(-1)[:, 0]
below = {name: exact - float(function(*from_prior)) for name, function in bounds.items()}
print("\nz guessed from the prior, 4,000 samples:")
print("\n".join(f"{name} {value:.1f} nats below log p(x)" for name, value in below.items()))
low, high = tables["importance-weighted bound"][0, [0, -1]]
assert high - low > 0.8 * (exact - closed) > 0.8
assert below["ELBO"] > 50
display(samples_picture(sizes, tables, exact, closed), lesson.questions["samples"].reveal())

# %% [markdown]
# ## Explain it
#
# Three questions, answered at once.

# %%
for name in ("gap", "which_model", "no_entropy"):
    display(lesson.questions[name].ask())

# %% [markdown]
# ## Close
#
# The formula card, typeset from the expressions that your steps were compared with:

# %%
lesson.card()

# %% [markdown]
# **Pitfalls you have met.** The log of a mean for the mean of logs: another bound. log q dropped: q becomes a spike. Summing over samples; averaging over pixels. The KL the wrong
# way round: its expectation is under q. "More samples tighten the ELBO": only q does. "The higher ELBO is the better model": not before you know the gaps. "The mean field gets the
# spread right": it is too narrow wherever there are correlations.
#
# **Where this lives.** `wmcourse/variational_inference.py`, a page long: `elbo`, and `importance_weighted_bound`. Next is lesson 02. Here every expectation had a closed form; as soon as the
# decoder is a network none has, samples must do, and a gradient must find its way through a random draw.
#
# **Try next.** One hyper-parameter: `experiment.train(frames, held_out, latent=2)`, and `latent=32`. What do evidence and gap do, and the pictures? One extension: write the importance-weighted bound yourself
# (two lines, in log space), and find how many samples of the *final* encoder bring it to within 0.1 nats of log p(x).
#
# **You can now read** Jordan et al. (1999), [*An Introduction to Variational Methods for Graphical Models*](https://doi.org/10.1023/A:1007665907178), §§ 4 and 6;
# Blei et al. (2017), [*Variational Inference: A Review for Statisticians*](https://arxiv.org/abs/1601.00670), § 2 (the bound, the mean field, coordinate ascent) and Fig. 1 (your ellipse); Kingma & Welling (2014),
# [*Auto-Encoding Variational Bayes*](https://arxiv.org/abs/1312.6114), § 2, eqs. 1–3; and Burda et al. (2016), [*Importance Weighted Autoencoders*](https://arxiv.org/abs/1509.00519), § 3 and its Theorem 1.
# On the linear model: Lucas et al. (2019), [*Don't Blame the ELBO!*](https://arxiv.org/abs/1911.02469).
