# %% [markdown]
# # 07 · Mixture density networks
#
# **The question.** Lesson 06 ended with a memory that knows where the hazard was and how it moves, and yet one number cannot say what
# comes next at a fork. Where it leaves the band each hazard of Dodge turns left or right, by chance. A network that must answer with *one*
# frame, and is trained by squared error, learns the average of the two futures: two half-bright ghosts, which never happen (the picture on the right).
# With *one* latent code it is no better off.
# How does a network say "either here or there, and this sure", and how does one train it?

# %% keep=true
import math

import numpy as np
import sympy as sp
import torch
from torch.nn import functional as F

from wmcourse.lessons import open_lesson
from wmcourse.lessons.derivation import expectation, normal, proved
from wmcourse.lessons.map import system_map
from wmcourse.lessons.memories import dodge_memories
from wmcourse.lessons.mixture_density_networks.experiment import (
    bishop,
    decode,
    dodge_forks,
    either_way,
    fork_entropy,
    forward,
    futures_seen,
    in_the_middle,
    latent_data,
    mean_and_error,
    memory_forks,
    sample_shared,
    table,
    train,
    two_futures,
)
from wmcourse.lessons.mixture_density_networks.widgets import (
    LossPlot,
    dream_picture,
    fork_explorer,
    inverse_explorer,
    opening,
    pit_picture,
    points_picture,
    signature,
    two_bells,
)

lesson = open_lesson("07")
ex, steps = lesson.exercises, lesson.steps
opening()

# %% [markdown]
# **After this lesson you can**
#
# 1. derive a mixture's loss and its three gradients, and read them as "each component gets its share of the blame";
# 2. compute the loss in log space, where it neither underflows nor overflows, and say why a negative loss is no bug;
# 3. draw from a mixture at any temperature, with τ in *both* of its places;
# 4. tell a mixture for each dimension from one mixture over the vector, and say what each can and cannot express;
# 5. check with ranks whether a forecast is as sure as it should be.
#
# | section | minutes of yours | of the machine's |
# |---|--:|--:|
# | Predict first | 5 | – |
# | Derive | 30 | – |
# | See it | 15 | – |
# | Build it | 95 | – |
# | Measure it | 25 | 1 |
# | Explain it | 5 | – |
# | Close | 5 | – |
#
# **From before** you need log-densities in nats (lessons 01 and 03), the Gaussian likelihood with its σ (lesson 04), and the VAE's latents
# (lesson 05). The memory of lesson 06 is taken for granted here: lesson 08 joins it to what you build now.

# %% keep=true
display(system_map(highlight=["M"]), lesson.panel())

# %% [markdown]
# ## Predict first
#
# Three questions before you read. The third wants a number: a *temperature* τ raises every weight to the power 1/τ, and they are then
# normalised again.

# %%
for name in ("average", "negative", "cold"):
    display(lesson.questions[name].predict())

# %% [markdown]
# ## Derive
#
# **The model** (Bishop 1994). A network reads its input and puts out, for a target z, not one number but K weights, K means and K widths:
#
# $$p(z) = \sum_{k=1}^K \pi_k\,\mathcal N(z;\mu_k,\sigma_k^2),\qquad
# L = -\log p(z) = -\log\sum_{k=1}^K \exp\big(\underbrace{\log\pi_k+\log\mathcal N(z;\mu_k,\sigma_k^2)}_{a_k}\big).$$
#
# The sum stands *inside* the logarithm, and there it must stay. The sum of logs, $\sum_k a_k$, is the log of a *product*: it asks all
# components to explain every target at once. And $\sum_k\pi_k\log\mathcal N_k$ is by Jensen never above log p; its best fit is K times the same bell.
#
# **In floating point.** Forty σ away, $e^{-800}$ is 0 in float32 and even in float64, and its log is −∞. Take out the largest $a_k$
# first: with m = max a_k one of the exponentials is 1 and no other is larger, so nothing can overflow, and the sum cannot vanish. That is
# log-sum-exp. For K = 2, and any m (l₁, l₂ stand for any two logarithms):

# %%
from wmcourse.lessons.mixture_density_networks.derivation import (
    a,
    d,
    gamma_1,
    l_1,
    l_2,
    log_sigma_1,
    m,
    mu_1,
    mu_2,
    n_1,
    n_2,
    pi_1,
    sigma,
    sigma_1,
    sigma_2,
    z,
)

far = torch.tensor([-800.0, -802.0])  # two values of a_k
for logs in (far, far.double()):
    naive, stable = logs.exp().sum().log().item(), torch.logsumexp(logs, 0).item()
    print(f"{logs.dtype}: log of the sum {naive}, log-sum-exp {stable:.4f}")
proved(sp.log(sp.exp(l_1) + sp.exp(l_2)), m + sp.log(sp.exp(l_1 - m) + sp.exp(l_2 - m)))

# %% [markdown]
# ### Step · What moves a component's mean
#
# ●●○ · 5 minutes · `steps.by_mu.hint()`
#
# The *responsibility* of a component is its share of the density at the target, the posterior probability (Bayes) that z came from it:
#
# $$\gamma_k = \frac{\pi_k\,\mathcal N(z;\mu_k,\sigma_k^2)}{\sum_i \pi_i\,\mathcal N(z;\mu_i,\sigma_i^2)} .$$
#
# For K = 2: what is $\partial L/\partial\mu_1$? Write it with `gamma_1`, `mu_1`, `sigma_1` and `z`.

# %% step="by_mu"
by_mu = ...  # in gamma_1, mu_1, sigma_1, z
### BEGIN SOLUTION
by_mu = gamma_1 * (mu_1 - z) / sigma_1**2
### END SOLUTION

# %% check="by_mu"
steps.by_mu.check(by_mu)

# %% [markdown]
# ### Step · What moves a component's weight
#
# ●●○ · 5 minutes · `steps.by_logit.hint()`
#
# The weights come from logits by a softmax: $\pi_1 = e^{l_1}/(e^{l_1}+e^{l_2})$. What is $\partial L/\partial l_1$? Write it with `pi_1` and
# `gamma_1`: it is shorter than you may fear.

# %% step="by_logit"
by_logit = ...  # in pi_1, gamma_1
### BEGIN SOLUTION
by_logit = pi_1 - gamma_1
### END SOLUTION

# %% check="by_logit"
steps.by_logit.check(by_logit)

# %% [markdown]
# The machine does the same without your help, and one slope more, the one by log σ. (In its formulas the π without an index is the number
# 3.14…, and π₁ the weight.) **Read the three together** (Bishop 1994). Those by the mean and by log σ are what a single Gaussian would get,
# times the responsibility. By the mean: pulled to the target, in proportion to γ. By log σ: wider where the target is more
# than one σ away, narrower where it is less, in proportion to γ. By the logit: weight *before* against share *after* z was seen. A
# component with γ ≈ 0 gets no gradient on its mean and width: it is free to wait for its own targets. But the slope by its logit is then
# π − γ ≈ π, so each target that belongs to another makes its weight sink: it may end with no targets at all.

# %%
p = pi_1 * normal(z, mu_1, sigma_1) + (1 - pi_1) * normal(z, mu_2, sigma_2)
gamma = pi_1 * normal(z, mu_1, sigma_1) / p
soft = sp.exp(l_1) / (sp.exp(l_1) + sp.exp(l_2))
p_soft = soft * n_1 + (1 - soft) * n_2  # n_1 and n_2: the components' densities, whatever they are
narrow = pi_1 * normal(z, mu_1, sp.exp(log_sigma_1))
display(
    proved(sp.Derivative(-sp.log(p), mu_1), gamma * (mu_1 - z) / sigma_1**2, "By the mean."),
    proved(
        sp.Derivative(-sp.log(narrow + (1 - pi_1) * n_2), log_sigma_1),
        narrow / (narrow + (1 - pi_1) * n_2) * (1 - (z - mu_1) ** 2 / sp.exp(2 * log_sigma_1)),
        "By log σ: γ(1 − (z − μ)²/σ²).",
    ),
    proved(sp.Derivative(-sp.log(p_soft), l_1), soft - soft * n_1 / p_soft, "By the logit: π − γ."),
)

# %% [markdown]
# ### Step · How wide a mixture is
#
# ●●○ · 8 minutes · `steps.mixture_variance.hint()`
#
# An expectation under a mixture is the weighted sum of the components' expectations, so the mean is Σ π_k μ_k. What is the variance
# for K = 2? Write it with `pi_1` (the second weight is 1 − `pi_1`), `mu_1`, `mu_2`, `sigma_1`, `sigma_2`.

# %% step="mixture_variance"
mixture_variance = ...  # in pi_1, mu_1, mu_2, sigma_1, sigma_2
### BEGIN SOLUTION
mixture_variance = pi_1 * sigma_1**2 + (1 - pi_1) * sigma_2**2 + pi_1 * (1 - pi_1) * (mu_1 - mu_2) ** 2
### END SOLUTION

# %% check="mixture_variance"
steps.mixture_variance.check(mixture_variance)

# %% [markdown]
# The width inside the components, and the distance between them. **And why squared error answers with the average**: if you answer a, the
# expected squared error is the variance plus (mean − a)². The first part you cannot change; the second is 0 at the mean, and only there.
# So the mean is the best that any network, however large, can learn from squared error, even where z *never* is at the mean.

# %%
mean = pi_1 * mu_1 + (1 - pi_1) * mu_2


def under_both(f: sp.Expr) -> sp.Expr:
    """E[f(z)] under the mixture of two."""
    return pi_1 * expectation(f, mu_1, sigma_1) + (1 - pi_1) * expectation(f, mu_2, sigma_2)


variance = pi_1 * sigma_1**2 + (1 - pi_1) * sigma_2**2 + pi_1 * (1 - pi_1) * (mu_1 - mu_2) ** 2
display(proved(under_both((z - a) ** 2), variance + (mean - a) ** 2))
assert sp.solve(sp.diff(variance + (mean - a) ** 2, a), a) == [sp.expand(mean)]

# %% [markdown]
# **A Gaussian with its own σ (K = 1) is honest, and useless.** Its best mean is that same average; its best variance is the mixture's. At a fork to
# ±d (two bells of width σ, with equal chance) it says N(0, σ² + d²), with its highest density in the empty middle. What it loses against the two
# bells, if they are well apart, is ½·log(1 + d²/σ²) − log 2 nats. Two equal bells have two humps only if d > σ: exactly then the second derivative of
# the density is positive at the middle, a valley (the first formula below).
#
# **Why the loss may be negative.** A density is per unit of z. Where a bell's σ is below $1/\sqrt{2\pi}\approx0.4$ units, it is higher than 1 at its
# mean, and −log of it is below zero there. And in a unit c times smaller every number is c times as large, and each density c times lower: the loss
# grows by log c (the second formula). "Negative" says something about units, nothing about bugs. Only *differences* in the same units mean something.

# %%
c = sp.Symbol("c", positive=True)
bells = normal(z, -d, sigma) / 2 + normal(z, d, sigma) / 2
for width in (1 / math.sqrt(2 * math.pi), 0.1, 0.01):
    height = float(normal(0, 0, sp.Float(width)))
    print(
        f"σ = {width:.3f}: {height:4.1f} high at its mean, a loss of {round(-math.log(height), 2) + 0:.2f} nats there"
    )
display(
    proved(
        sp.Derivative(bells, (z, 2)).subs(z, 0),
        normal(0, d, sigma) * (d**2 - sigma**2) / sigma**4,
        "Positive, a valley, exactly where d > σ.",
    ),
    proved(normal(c * z, c * mu_1, c * sigma_1), normal(z, mu_1, sigma_1) / c),
)

# %% [markdown]
# ## See it
#
# **Whose fault is it?** Two bells and a target. The bars are the responsibilities, the black marks the weights before z was seen; the arrows show
# where one step downhill would move the means (a long one is cut off; the numbers below the picture are not). Put z in the middle. Then bring the
# means to ±1, make the second bell as wide as it goes, and move z all the way to the *left*: who is responsible there, and why?

# %% keep=true
two_bells()

# %% [markdown]
# In the middle both share. Far to the left it is the wide bell (γ = 0.95 at equal weights), though its mean is farther away: at z = −4 it is 2.5 of
# *its* σ off, the narrow one 3.75. Tails decide.
#
# **The inverse problem** (Bishop 1994). Draw t evenly from [0, 1], and x = t + 0.3·sin(2πt) + noise, uniform in ±0.1. From t to x is a function; from
# x to t is none: in the middle three t lead to one x. (A robot arm's angles for a given place of its hand are of this kind, and so are causes for
# effects.) The cell trains five small networks, K = 1 to 5, a second each; then move K and τ. With K = 1, where does the line run? From which K on
# are all branches there? What happens to them as τ goes to 0, and to 2?

# %% keep=true tags=["nbval-ignore-output"]
inverse_train, inverse_test = bishop(1000, seed=0), bishop(2000, seed=1)
seen = {K: train(f"K = {K}", inverse_train, inverse_test, K) for K in range(1, 6)}
for x in (0.4, 0.5, 0.6):
    weights, centres, _ = (part[0, 0] for part in seen[2].net(torch.tensor([[x]])))
    each = (f"weight {w:.2f} at t = {t:.2f}" for w, t in zip(weights.exp(), centres, strict=True))
    print(f"K = 2, x = {x}: {', '.join(each)}")
inverse_explorer(seen, inverse_train)

# %% [markdown]
# K = 1 runs through the empty space between the branches near x = ⅓ and x = ⅔; between these it crosses the middle branch, by symmetry. K = 2 must
# share three branches between two bells. It can nearly do so, since with a noise of ±0.1 two of the three always touch: at x = 0.4 one bell takes the
# lower branch and the other the two upper ones, at 0.6 the reverse. At ½ all three touch (every t from 0.15 to 0.85 may lead there), and the two bells
# divide what there is (the cell prints their means). One bell for two branches is not in empty space, but it has the wrong shape. From K = 3 on
# each branch has its own, and more components only polish the shape. At τ = 0 every draw is the mean of the *most likely* component: one branch
# at a time, and jumps between them. Above 1 the branches blur.
#
# **The fork in Dodge.** A hazard is wholly hidden behind the band; in the second step from now it forks; in seven steps it is six pixels to one side (walls
# reflect it). Given its column, how far will it have moved? The network learns this from random play. (It is told the *true* column, which the
# world model never is: a stand-in for a perfect memory, so that what is left is chance alone. To the distance a noise of up to half a pixel is added:
# without it each side would be a single number, and a bell could shrink onto it without end.) Below the picture, two of your predictions come back.

# %% keep=true tags=["nbval-ignore-output"]
fork_train, fork_test = dodge_forks()
forks_seen = {K: train(f"K = {K}", fork_train, fork_test, K, layers=2) for K in (1, 2)}
display(fork_explorer(forks_seen), lesson.questions["average"].reveal(), lesson.questions["negative"].reveal())

# %% [markdown]
# ## Build it
#
# Seven functions. ★ marks a part of your world model. Shapes throughout: `log_pi`, `mu` and `log_sigma` are `(..., Z, K)`, with any number of
# axes in front (batch, time); `target` is `(..., Z)`. `log_pi` is normalised over K, the last axis. And `log_sigma` is log σ: the encoder's
# `logvar` was log σ², and whoever takes one for the other gets no error message: the shapes are the same.

# %% [markdown]
# ### Exercise 1 · The loss of a mixture ★
#
# ●●○ · 15 minutes · `ex.mixture_nll.hint()`
#
# Each latent dimension j has a mixture of its own, as in Ha & Schmidhuber (2018): $-\log p(z) = -\sum_j\log\sum_k\exp a_{jk}$. Return it for each
# sample or step, in nats, with the constant ½·log 2π of every dimension. It must survive a target 60 σ away in float32.


# %% exercise="mixture_nll"
def mixture_nll(target: torch.Tensor, log_pi: torch.Tensor, mu: torch.Tensor, log_sigma: torch.Tensor) -> torch.Tensor:
    """-log p(target), summed over the latent dimensions: target (..., Z), others (..., Z, K) -> (...), nats."""
    ### BEGIN SOLUTION
    standard = (target.unsqueeze(-1) - mu) * torch.exp(-log_sigma)  # (..., Z, K)
    log_component = log_pi - log_sigma - 0.5 * standard.square()  # without the constant -½ log 2π
    constant = 0.5 * math.log(2 * math.pi) * target.shape[-1]
    return constant - torch.logsumexp(log_component, dim=-1).sum(dim=-1)
    ### END SOLUTION


# %% check="mixture_nll"
ex.mixture_nll.check(mixture_nll)

# %% [markdown]
# ### Exercise 2 · From a linear layer to a mixture
#
# ●●○ · 10 minutes · `ex.mixture_parts.hint()`
#
# The last layer gives `out`, `(..., 3·Z·K)`: first all logits, then all means, then all s (of which you make log σ), each Z × K. Return `log_pi`,
# `mu` and `log_sigma`, each `(..., Z, K)`.
#
# Why not log σ = s? A component that sits on one training target and shrinks sends the likelihood to *infinity*: a mixture's loss has no minimum. So
# log σ = bound·tanh(s/bound), which is close to s near 0 and never leaves ±bound. (A hard clamp has no gradient outside: what got there stays there.)


# %% exercise="mixture_parts"
def mixture_parts(
    out: torch.Tensor, latent_dim: int, components: int, bound: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log π (normalised over K), μ and log σ (within ±bound) of a layer's output: (..., 3·Z·K) -> 3 × (..., Z, K)."""
    ### BEGIN SOLUTION
    logits, mu, s = out.unflatten(-1, (3, latent_dim, components)).unbind(dim=-3)  # each (..., Z, K)
    log_pi = F.log_softmax(logits, dim=-1)
    return log_pi, mu, bound * torch.tanh(s / bound)
    ### END SOLUTION


# %% check="mixture_parts"
ex.mixture_parts.check(mixture_parts)

# %% [markdown]
# ### Exercise 3 · Who is responsible
#
# ●○○ · 10 minutes · `ex.responsibilities.hint()`
#
# γ of every component for every target, `(..., Z, K)`: the colours of this lesson's picture. It must hold far from every component, too, where all
# densities are 0 in float32.


# %% exercise="responsibilities"
def responsibilities(
    target: torch.Tensor, log_pi: torch.Tensor, mu: torch.Tensor, log_sigma: torch.Tensor
) -> torch.Tensor:
    """The posterior weight of each component: target (..., Z), others (..., Z, K) -> (..., Z, K)."""
    ### BEGIN SOLUTION
    standard = (target.unsqueeze(-1) - mu) * torch.exp(-log_sigma)
    log_joint = log_pi - log_sigma - 0.5 * standard.square()  # log π·N, but for a constant that all share
    return torch.softmax(log_joint, dim=-1)
    ### END SOLUTION


# %% check="responsibilities"
ex.responsibilities.check(responsibilities)

# %% [markdown]
# ### Exercise 4 · A draw, hotter or colder ★
#
# ●●● · 20 minutes · `ex.sample_mixture.hint()`
#
# This draws the next moment of a dream. For each latent dimension choose a component, then draw from it. The temperature τ acts in *two*
# places (Ha & Eck 2017, Eq. 8): log π is divided by τ and normalised again, and σ² is multiplied by τ. τ = 1 is the mixture; τ = 0 is the limit: the mean
# of the component with the largest π, without chance. Draw from `generator` (None is torch's global one). The order in which you draw is yours to choose: the check looks at
# thousands of draws. No gradient is needed here.


# %% exercise="sample_mixture"
def sample_mixture(
    log_pi: torch.Tensor,
    mu: torch.Tensor,
    log_sigma: torch.Tensor,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """One draw for each latent dimension, a component first and then a value from it: (..., Z, K) -> (..., Z)."""
    ### BEGIN SOLUTION
    if temperature == 0:
        return mu.gather(-1, log_pi.argmax(dim=-1, keepdim=True)).squeeze(-1)
    cumulative = torch.softmax(log_pi / temperature, dim=-1).cumsum(dim=-1)
    u = torch.rand(mu.shape[:-1], generator=generator, dtype=mu.dtype).unsqueeze(-1)
    k = (u >= cumulative[..., :-1]).sum(dim=-1, keepdim=True)  # how many it has passed
    epsilon = torch.randn(mu.shape[:-1], generator=generator, dtype=mu.dtype)
    sigma = math.sqrt(temperature) * torch.exp(log_sigma.gather(-1, k).squeeze(-1))
    return mu.gather(-1, k).squeeze(-1) + sigma * epsilon
    ### END SOLUTION


# %% check="sample_mixture"
ex.sample_mixture.check(sample_mixture)

# %% [markdown]
# ### Exercise 5 · One mixture over the whole vector
#
# ●●○ · 10 minutes · `ex.joint_mixture_nll.hint()`
#
# The other factorisation (Bishop 1994; Graves 2013 for a pen's two coordinates, which there are correlated as well). K components over *all* Z
# dimensions at once, here each with independent dimensions inside: $p(z)=\sum_k\pi_k\prod_j\mathcal N(z_j;\mu_{jk},\sigma_{jk}^2)$. `log_pi` is
# `(..., K)`, one weight for each component; `mu` and `log_sigma` are `(..., Z, K)`. Which of the two sums, over j and over k, is now inside?


# %% exercise="joint_mixture_nll"
def joint_mixture_nll(
    target: torch.Tensor, log_pi: torch.Tensor, mu: torch.Tensor, log_sigma: torch.Tensor
) -> torch.Tensor:
    """-log p(target), one choice for all dimensions: target (..., Z), log_pi (..., K), others (..., Z, K) -> (...)."""
    ### BEGIN SOLUTION
    standard = (target.unsqueeze(-1) - mu) * torch.exp(-log_sigma)  # (..., Z, K)
    log_component = -(0.5 * standard.square() + log_sigma).sum(dim=-2)  # (..., K): all dimensions of a component
    constant = 0.5 * math.log(2 * math.pi) * target.shape[-1]
    return constant - torch.logsumexp(log_pi + log_component, dim=-1)
    ### END SOLUTION


# %% check="joint_mixture_nll"
ex.joint_mixture_nll.check(joint_mixture_nll)

# %% [markdown]
# ### Exercise 6 · Is it as sure as it should be
#
# ●●○ · 10 minutes · `ex.pit.hint()`
#
# A loss says which of two forecasts is better, not whether either is as sure as it should be. The probability integral transform (PIT) tests that: if
# targets come from the forecast F, then the rank F(target) is uniform on [0, 1], whatever F looks like. (The converse fails: a forecast that does not
# look at its input may have uniform ranks, too.) Return $F(z)=\sum_k\pi_k\,\Phi\big((z-\mu_k)/\sigma_k\big)$ for each latent dimension.


# %% exercise="pit"
def pit(target: torch.Tensor, log_pi: torch.Tensor, mu: torch.Tensor, log_sigma: torch.Tensor) -> torch.Tensor:
    """The share of each dimension's mixture below the target: target (..., Z), others (..., Z, K) -> (..., Z)."""
    ### BEGIN SOLUTION
    standard = (target.unsqueeze(-1) - mu) * torch.exp(-log_sigma)
    below = 0.5 * (1 + torch.erf(standard / math.sqrt(2)))  # Φ, the share of each component below the target
    return (torch.exp(log_pi) * below).sum(dim=-1)
    ### END SOLUTION


# %% check="pit"
ex.pit.check(pit)

# %% [markdown]
# ### Exercise 7 · The highest point
#
# ●●● · 20 minutes · `ex.find_mode.hint()`
#
# Sometimes one answer is wanted after all. The mean is in the valley; τ = 0 takes the mean of the component with the most *weight*; the most
# likely *value* is the mode. It has no closed form, but a slope of zero means $\sum_k\gamma_k(\mu_k-z)/\sigma_k^2=0$, and solved for the z outside of γ this is a step
# that never goes downhill (Carreira-Perpiñán 2000):
#
# $$z \;\leftarrow\; \frac{\sum_k \gamma_k(z)\,\mu_k/\sigma_k^2}{\sum_k \gamma_k(z)/\sigma_k^2} .$$
#
# Start at every component's mean, make `steps` steps, and return for each latent dimension the end point that stands highest. (The
# world model does without it: leave it for later if you like.)


# %% exercise="find_mode"
def find_mode(log_pi: torch.Tensor, mu: torch.Tensor, log_sigma: torch.Tensor, steps: int = 300) -> torch.Tensor:
    """Where each latent dimension's density is highest: (..., Z, K) -> (..., Z)."""

    ### BEGIN SOLUTION
    def log_joint(z: torch.Tensor) -> torch.Tensor:  # (..., Z, S) points -> (..., Z, S, K), log π·N but for a constant
        standard = (z.unsqueeze(-1) - mu.unsqueeze(-2)) * torch.exp(-log_sigma).unsqueeze(-2)
        return (log_pi - log_sigma).unsqueeze(-2) - 0.5 * standard.square()

    precision = torch.exp(-2 * log_sigma).unsqueeze(-2)  # 1/σ²
    z = mu  # one climber starts at each component's mean
    for _ in range(steps):
        pull = torch.softmax(log_joint(z), dim=-1) * precision
        z = (pull * mu.unsqueeze(-2)).sum(dim=-1) / pull.sum(dim=-1)
    highest = torch.logsumexp(log_joint(z), dim=-1).argmax(dim=-1, keepdim=True)
    return z.gather(-1, highest).squeeze(-1)
    ### END SOLUTION


# %% check="find_mode"
ex.find_mode.check(find_mode)

# %% [markdown]
# ## Measure it
#
# From here on *your* functions do the work, once they have passed (until then, the course's).
#
# **Formulas against dice.** Four facts about one mixture, each by two roads: the density integrates to 1; the slope by a mean is γ(μ − z)/σ²; mean and
# variance are those that you derived; and at τ = ½ the rarer of 0.4 and 0.6 comes up as often as the formula says. Here ± is *one* standard error of the dice.

# %%
nll, split, gammas = lesson.yours("mixture_nll"), lesson.yours("mixture_parts"), lesson.yours("responsibilities")
sample, joint_nll = lesson.yours("sample_mixture"), lesson.yours("joint_mixture_nll")
rank, mode = lesson.yours("pit"), lesson.yours("find_mode")

pi, mus, sigmas = torch.tensor([0.4, 0.6]), torch.tensor([-3.0, 2.0]), torch.tensor([0.5, 0.8])
one = [part.double()[None] for part in (pi.log(), mus, sigmas.log())]  # (1, 2): one dimension, two components

grid = torch.linspace(-8, 10, 20_001, dtype=torch.float64)[:, None]
area = torch.trapezoid(torch.exp(-nll(grid, *(part.expand(len(grid), 1, 2) for part in one))), grid[:, 0])
at, centre = torch.tensor([-1.0], dtype=torch.float64), one[1].clone().requires_grad_()
(slope,) = torch.autograd.grad(nll(at, one[0], centre, one[2]), centre)
by_hand = gammas(at, *one) * (one[1] - at) / torch.exp(2 * one[2])
print(f"the density's area is {area:.6f}; slopes by autograd {slope.numpy().round(4)}, by γ {by_hand.numpy().round(4)}")

draws, generator = 200_000, torch.Generator().manual_seed(0)
many = [part.expand(draws, 1, 2) for part in one]
drawn = sample(*many, 1.0, generator)
values = {pi_1: 0.4, mu_1: -3, mu_2: 2, sigma_1: 0.5, sigma_2: 0.8}
exact = {"mean": float(mean.subs(values)), "variance": float(variance.subs(values))}
for name, numbers in (("mean", drawn), ("variance", (drawn - exact["mean"]).square())):
    error = numbers.std().item() / math.sqrt(draws)
    print(f"{name:<9} formula {exact[name]:.4f}   dice {numbers.mean().item():.4f} ± {error:.4f}")
    assert abs(numbers.mean().item() - exact[name]) < 4 * error
rare = (sample(*many, 0.5, generator) < -0.5).double().mean().item()
error = math.sqrt(rare * (1 - rare) / draws)
print(f"τ = ½: the rarer one in {rare:.4f} ± {error:.4f} of the draws; 0.4²/(0.4² + 0.6²) = {0.16 / 0.52:.4f}")
assert abs(rare - 0.16 / 0.52) < 4 * error
assert abs(area.item() - 1) < 1e-6
assert torch.allclose(slope, by_hand)
lesson.questions["cold"].reveal()

# %% [markdown]
# **K = 1, 2 and 5 on held-out data.** Bishop's problem, in units of t, on 2,000 fresh points; and the fork, in pixels, on forks in other worlds. From here on ± is *two* standard
# errors; differences are paired, row by row, and for Dodge the independent draws are worlds, not rows. For the fork the best possible loss is known:
# log 2 for the side, and 0 for a column that is uniform within one pixel (less near the walls, where both sides lead to nearly the same place). Far from the walls the
# formula above, ½·log(1 + d²/σ²) − log 2, says what K = 2 should gain.
#
# And the picture to remember: every point is coloured by *your* responsibilities, and the dashed line is what one Gaussian says.

# %% tags=["nbval-ignore-output"] signature=true
names = ["K = 1", "K = 2", "K = 5"]
with LossPlot("Bishop’s inverse problem, yours", names, -1.3, 0.6) as plot:
    inverse = {K: train(f"K = {K}", inverse_train, inverse_test, K, split, nll, show=plot.show) for K in (1, 2, 5)}
with LossPlot("A fork in Dodge, yours", names, 0.5, 4) as plot:
    forks = {K: train(f"K = {K}", fork_train, fork_test, K, split, nll, layers=2, show=plot.show) for K in (1, 2, 5)}
print("Bishop’s problem, 2,000 held-out points")
print(table({f"K = {K}": fit for K, fit in inverse.items()}, inverse_test.world))
floor, worlds = fork_entropy(fork_test.x.numpy()), len(fork_test.world.unique())
print(f"\nThe fork, {len(fork_test.x)} held-out forks in {worlds} worlds; no model can be better than {floor:.2f} nats")
print(table({f"K = {K}": fit for K, fit in forks.items()}, fork_test.world))
central = (fork_test.x[:, 0] > 10) & (fork_test.x[:, 0] < 22)
gain, error = mean_and_error((forks[1].each - forks[2].each)[central], fork_test.world[central])
by_formula = 0.5 * math.log(1 + 6**2 * 12) - math.log(2)  # a pixel's uniform noise has σ² = 1/12
again = [train("seed 1", inverse_train, inverse_test, 2, split, nll, seed=1), inverse[2]]
again += [train("seed 1", fork_train, fork_test, 2, split, nll, layers=2, seed=1), forks[2]]
anew = [float((one.each - other.each).mean()) for one, other in (again[:2], again[2:])]
print(f"K = 2 trained again from another seed: {anew[0]:+.2f} on Bishop’s problem, {anew[1]:+.2f} at the fork")
print(
    f"away from the walls K = 2 is better by {gain:.2f} ± {2 * error:.2f}; two bells of that σ at ±6: {by_formula:.2f}"
)
for fits, world in ((inverse, inverse_test.world), (forks, fork_test.world)):
    gain, error = mean_and_error(fits[1].each - fits[2].each, world)
    assert gain > 2 * error  # K = 2 beats K = 1
signature({**seen, **inverse}, inverse_test, forks, fork_test, gammas)

# %% [markdown]
# K = 1 is not wrong about its own ignorance: its band widens where the cloud does. It has nowhere else to put its mass. And note the signs: on
# Bishop's problem the losses are negative, with t in [0, 1]; in pixels they are positive. From K = 2 to 5 little is left to gain on the fork, which
# has but two futures: several bells together make a flatter top than one. That they stay above the floor is because of the kinks at the walls, and
# because a bell is no box (one bell for a box costs ½·log(2πe/12) = 0.18 nats). (The intervals are those of the held-out rows. Another seed of the
# *training* moves these losses, too: by how much is printed, for K = 2.)
#
# **Is it calibrated?** Ranks of the held-out forks. K = 1 at ±6 has σ ≈ 6, so the truth is about one σ to either side: where must its ranks be? The cell prints σ, and Φ at
# ±6/σ. The bound that is printed with it, 1.36/√n (Kolmogorov's and Smirnov's, for large n), counts rows as independent, which forks of one world are not quite: take
# it as a guide.
#
# **One answer, if it must be.** For x across the middle of Bishop's problem, three point forecasts from the same mixture (K = 5): its mean, the mean of the component
# with the most weight (that is τ = 0), and your mode. Put each *forward*, through t + 0.3·sin(2πt): does it lead back to x?

# %% tags=["nbval-ignore-output"]
with torch.no_grad():
    ranks = {f"K = {K}": rank(fork_test.target, *fit.net(fork_test.x))[:, 0].numpy() for K, fit in forks.items()}
    sigma_one = forks[1].net(torch.tensor([[16.0]]))[2].exp().item()
below, above = (torch.special.ndtr(torch.tensor(side / sigma_one)).item() for side in (-6.0, 6.0))
print(f"K = 1 in the middle: σ = {sigma_one:.1f}, so ±6 have the ranks {below:.2f} and {above:.2f}")
within = 1 - 2 * sum((-1) ** (j - 1) * math.exp(-2 * (1.36 * j) ** 2) for j in range(1, 6))  # Kolmogorov's series
print(
    f"by chance the distance to uniform stays below {1.36 / math.sqrt(len(fork_test.x)):.3f} in {within:.0%} of cases"
)
for name, values in ranks.items():
    outer = np.mean((np.abs(values - 0.5) > 0.35) & (np.abs(values - 0.5) < 0.45))
    print(f"{name}: {outer:.0%} of the ranks in [0.05, 0.15] and [0.85, 0.95], where 20 % would be even")

x = torch.linspace(0.2, 0.8, 241)[:, None]
log_pi, mu, log_sigma = inverse[5].net(x)
guesses = {
    "mean": (log_pi.exp() * mu).sum(-1),
    "most weight": sample(log_pi, mu, log_sigma, 0.0),
    "mode": mode(log_pi, mu, log_sigma, 100),
}
guesses = {name: guess[:, 0].numpy() for name, guess in guesses.items()}
for name, guess in guesses.items():
    off = np.abs(forward(guess) - x[:, 0].numpy())
    print(f"{name:<12} off by {off.mean():.3f} on average, beyond the noise (0.1) at {np.mean(off > 0.1):.0%} of the x")
display(pit_picture(ranks), points_picture(x[:, 0].numpy(), guesses, inverse_test))

# %% [markdown]
# K = 1 has about the right mean and variance, and a histogram with two spikes: calibrated in its first two moments, and nowhere else. It reserves
# probability for the middle and for the tails, where nothing comes. K = 2 and 5 are close: their distance to uniform is within the bound, or just at
# it. Yet they are not flat, which the largest distance, a single number, misses: a bell is no box, so ranks crowd where the box ends and the bell is
# already low (in the shares that are printed; at the inner ends of the two boxes, near rank ½, it hardly shows).
#
# And in the second picture: a mean of solutions is no solution. (At x = ½ it happens to lie on the middle branch: symmetry, not skill.) The true density is equally
# high on all branches (t and the noise are both uniform), so where the mode goes is decided by the fit: here by bells on the upper branch that
# overlap. The component with the most weight is often the middle one. Both are answers; they answer different questions.
#
# **Now the real thing: the fork in latents.** What M must predict is not a column but z, the 16 latents of a VAE. So: the same hidden hazards; as
# input all that a perfect memory would know (where everything is, and the coming actions); as target the code of the frame seven steps later, drawn
# from its q(z|x) anew in each batch. (If the folder `runs/memories` of lesson 06 is not there, its VAE is trained first, for half a minute.) First
# with a mixture for each dimension, as in the paper and in our world model, then with one mixture over the vector. (At K = 1 they are the same.)
#
# The second table counts, over all forks in the middle (columns 10 to 22), where the decoded draws have the hazard: at its left place, its right one,
# at both, or at neither. It is at a place if at least half of its light is there. The picture then stays with *one* fork, ten draws in each row. The
# first row is chance itself: the frame that was recorded or the one that might as well have been, by a coin. The second is those frames' codes, drawn
# from q(z|x) and decoded: no model of z can look better. Count the hazards below the band.

# %% tags=["nbval-ignore-output"]
memories = dodge_memories()
fork_rows, test_rows = memory_forks(memories)
codes, logvar = latent_data(fork_rows, memories.train)
test_codes, test_logvar = latent_data(test_rows, memories.held_out)
noise = torch.randn(test_logvar.shape, generator=torch.Generator().manual_seed(0))
test_codes = test_codes._replace(target=test_codes.target + torch.exp(0.5 * test_logvar) * noise)

settings = {"logvar": logvar, "hidden": 64, "layers": 2, "rate": 0.01, "batch": 128, "steps": 1500}
titles = {"each dimension, K = 1": (1, False), "each dimension, K = 2": (2, False), "each dimension, K = 5": (5, False)}
titles |= {"the vector, K = 2": (2, True), "the vector, K = 5": (5, True)}
latent = {}
with LossPlot("The fork in 16 latents", list(titles), 4, 32, 1500) as plot:
    for title, (K, shared) in titles.items():
        loss = joint_nll if shared else nll
        latent[title] = train(title, codes, test_codes, K, split, loss, shared=shared, show=plot.show, **settings)
print(table(latent, test_codes.world))
again = train("seed 1", codes, test_codes, 2, split, joint_nll, shared=True, seed=1, **settings)
for seed, fit in enumerate((latent["the vector, K = 2"], again)):
    sure = (fit.net(test_codes.x)[0].exp().amax(-1) > 0.99).double().mean().item()
    loss = fit.each.mean().item()
    print(
        f"the vector, K = 2, seed {seed}: {loss:.2f} nats; one of its weights is above 0.99 in {sure:.0%} of the rows"
    )

middle = in_the_middle(test_rows)
column, one_fork = test_rows.column[middle], middle[3]
recorded = torch.from_numpy(memories.held_out.frames[test_rows.step[one_fork] + 7, 0]).float() / 255
both = torch.stack(either_way(recorded, column[3].item()))
generator = torch.Generator().manual_seed(2)
coin = torch.randint(2, (10,), generator=generator)
centre, its_logvar = (part[coin] for part in memories.vae.encode(both[:, None]))
its_codes = centre + torch.exp(0.5 * its_logvar) * torch.randn(centre.shape, generator=generator)
rows = {"what may happen": both[coin], "… as codes, decoded": decode(memories.vae, its_codes)}
print(f"\n{'':<24} left   right   both   neither")
shares = futures_seen(decode(memories.vae, test_codes.target[middle]), column)
print(f"{'the true codes':<24}" + "".join(f"{share:6.0%} " for share in shares))
for title, fit in latent.items():
    draw = sample_shared if fit.net.shared else sample
    generator = torch.Generator().manual_seed(1)
    options = (generator,) if fit.net.shared else (1.0, generator)
    codes_drawn = draw(*fit.net(test_codes.x[middle].repeat(4, 1)), *options)
    shares = futures_seen(decode(memories.vae, codes_drawn), column.repeat(4))
    print(f"{title:<24}" + "".join(f"{share:6.0%} " for share in shares))
    rows[title] = decode(memories.vae, draw(*fit.net(test_codes.x[one_fork].repeat(10, 1)), *options))
gain, error = mean_and_error(latent["each dimension, K = 5"].each - latent["the vector, K = 5"].each, test_codes.world)
assert gain > 2 * error
places = [column[3].item() + float(side) for side in two_futures(column[3].item())]
dream_picture(rows, places)

# %% [markdown]
# This is what the factorisation costs: nats, and whole hazards. The side of the fork is written in *several* latents at once. A mixture for each dimension can say of
# each latent "left or right", but not "all left or all right": it draws every dimension's side by a coin of its own, and the decoder, given a code
# that no frame ever had, draws a smear, or a hazard where none can be. So it gains little from K. (Of D coins all agree in 2 of 2^D throws.) One
# mixture over the vector throws one coin. Inside a component its dimensions are still independent: hence, most likely, its own share of "neither".
#
# But look at the two lines between the tables. From another seed the same training may miss all of it (here it does): in most rows one of its two
# weights is near 1, so its components have divided the *inputs* between them, not the futures. Where one weight is near 1, a mixture is one bell
# again, and nothing in that one run's loss or gradient complains. That is the price of mixtures: their loss
# has many minima, and K is only the number of bells that *may* be used. So look at the weights, and train from more than one seed.
#
# Why, then, does our world model follow the paper in this? It looks *one step* ahead, not seven: the two futures are still close together, and the
# next step sees what was drawn. Each dimension also gets K means of its own, K^Z combinations, without asking for K^Z components. It is a
# choice, not a law: weigh it when a dream shows ghosts. Lesson 08 measures what K brings one step ahead.

# %% [markdown]
# ## Explain it
#
# Three questions, answered at once.

# %%
for name in ("units", "ghosts", "pit_shape"):
    display(lesson.questions[name].ask())

# %% [markdown]
# ## Close
#
# The formula card, typeset from the expressions that your steps were compared with:

# %%
lesson.card()

# %% [markdown]
# **Pitfalls you have met.** The sum of logs for the log of the sum. `log_sigma` is log σ, `logvar` is log σ². Densities multiplied until they underflow: stay in log space. Softmax over
# any axis but the components'. Temperature in one of its two places. "A negative loss is a bug": a density may exceed 1. And one that no check finds: the mean of a
# mixture, plotted as if it were a prediction.
#
# **Where this lives.** `wmcourse/mixture_density_networks.py`; `mixture_nll` and `sample_mixture` are now parts of your world model, `mixture_parts` is what its `MDNHead` does. Next is lesson
# 08: the memory of lesson 06 puts out these mixtures, and a dream begins.
#
# **Try next.** One hyper-parameter: K = 2 on Bishop's problem with other seeds, `train("seed 1", inverse_train, inverse_test, 2, seed=1)`: does it
# divide the branches as before? And in `MixtureNet` (`experiment.py` of this lesson's folder), leave out the biases that set the means apart: how
# long until the components part? One extension: a full covariance in each component, by the Cholesky roots of lesson 03. Does one mixture over the
# vector then need fewer components?
#
# **You can now read** Bishop (1994), [*Mixture Density Networks*](https://publications.aston.ac.uk/id/eprint/373/), Eqs. 22, 23, 29 and 37, and the inverse problem that you solved;
# Graves (2013), [*Generating Sequences With Recurrent Neural Networks*](https://arxiv.org/abs/1308.0850), the section on handwriting prediction; Ha & Eck (2017),
# [*A Neural Representation of Sketch Drawings*](https://arxiv.org/abs/1704.03477), Eq. 8 for the temperature; Carreira-Perpiñán (2000), *Mode-finding for mixtures of
# Gaussian distributions*.
