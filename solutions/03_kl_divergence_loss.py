# %% [markdown]
# # 03 · KL divergence loss
#
# **The question.** Somebody hands you a frame of Dodge, and you may whisper eight numbers to a friend who has to draw it. Every
# number may be as exact as you like. Then *no* code is too expensive, and nothing forces the code to be simple. A VAE puts a price
# on what is whispered: how far the whispered distribution q(z|x) is from what the friend would have guessed without you, the
# prior p(z). The price is a Kullback–Leibler divergence, in nats. What exactly does it charge for, what is its slope, and
# what happens when it wins?

# %% keep=true
import math

import sympy as sp
import torch
from torch.nn import functional as F

from wmcourse.lessons import open_lesson
from wmcourse.lessons.derivation import expectation, log_normal, proved
from wmcourse.lessons.frames import dodge_frames
from wmcourse.lessons.kl_divergence_loss.experiment import pictures, train
from wmcourse.lessons.kl_divergence_loss.widgets import (
    CodePlot,
    bowl,
    code_bars,
    opening,
    reconstructions,
    samples_picture,
    two_densities,
)
from wmcourse.lessons.map import system_map

lesson = open_lesson("03")
ex, steps = lesson.exercises, lesson.steps  # two short names for the whole lesson
frames = dodge_frames()  # 4,096 of them, (N, 1, 32, 32), in [0, 1]
opening(pictures(frames)[2])

# %% [markdown]
# Work cell by cell, with Shift+Enter: *Run All* stops at the first check that is not passed.
#
# **After this lesson you can**
#
# 1. derive the KL between two Gaussians from its integral, and say which term does what;
# 2. write it in four lines for a batch of codes, and confirm it with random samples and an honest error bar;
# 3. read a bar chart of KLs per dimension, and tell a lively code from a collapsed one;
# 4. repair a collapse, and know which advice makes it worse.
#
# | section | minutes of yours | of the machine's |
# |---|--:|--:|
# | Predict first | 5 | – |
# | Derive | 30 | – |
# | See it | 10 | – |
# | Build it | 80 | – |
# | Measure it | 20 | 1 |
# | Explain it | 5 | – |
# | Close | 5 | – |
#
# **From before** you need the ELBO of lesson 01, whose second term this is, and `z = μ + σ·ε` from lesson 02. A *nat* is a unit of
# information: log 2 = 0.69 nats tell two equally likely things apart.
#
# Below: where this piece sits in the finished system, and your progress, which ticks itself when a check passes.

# %% keep=true
display(system_map(highlight=["V"]), lesson.panel())

# %% [markdown]
# ## Predict first
#
# Three questions before you read. Answer from the gut: it is the prediction that makes the answer stick.

# %%
for name in ("negative", "direction", "collapse"):
    display(lesson.questions[name].predict())

# %% [markdown]
# ## Derive
#
# For two densities, with everything in nats,
#
# $$\mathrm{KL}(q\,\|\,p) \;=\; \mathbb E_{z\sim q}\big[\log q(z) - \log p(z)\big] \;=\; \int q(z)\,\log\frac{q(z)}{p(z)}\,dz .$$
#
# The expectation is under the *first* one. Everything below is checked by the machine as you run it: `proved(left, right)` shows an
# equation only after sympy has found both sides equal.
#
# **Never negative.** For any $u>0$, $\log u \le u-1$, since the gap $u-1-\log u$ has its only minimum, 0, at $u=1$. Put
# $u = p/q$ and take the expectation under q:
#
# $$-\mathrm{KL}(q\,\|\,p) = \mathbb E_q\Big[\log\frac{p}{q}\Big] \;\le\; \mathbb E_q\Big[\frac{p}{q}-1\Big] = \int p\,dz - 1 = 0 .$$
#
# (For Gaussians q > 0 everywhere, so the last integral is over all of p.) Equality needs $u = 1$ wherever q has density: q = p. This is
# Gibbs' inequality. The machine on the gap: its slope vanishes at
# 1 alone, where it is 0, and its second derivative is positive everywhere.

# %%
from wmcourse.lessons.kl_divergence_loss.derivation import (
    logvar,
    mu,
    mu_p,
    mu_q,
    sigma,
    sigma_p,
    sigma_q,
    z,
)

u = sp.Symbol("u", positive=True)
gap = u - 1 - sp.log(u)
assert sp.solve(sp.diff(gap, u), u) == [1]
assert gap.subs(u, 1) == 0
proved(sp.Derivative(gap, (u, 2)), 1 / u**2, "Positive for every u, so the gap is convex, and 0 at u = 1 is its minimum.")

# %% [markdown]
# **The first half, E[log q].** A Gaussian's own expected log-density: minus its entropy. It does not depend on where the bell
# stands, only on its width.

# %%
proved(
    expectation(log_normal(z, mu_q, sigma_q), mu_q, sigma_q),
    -sp.log(sigma_q) - sp.log(2 * sp.pi) / 2 - sp.Rational(1, 2),
)

# %% [markdown]
# ### Step · How far q's samples are from p's centre
#
# ●○○ · 5 minutes · `steps.spread.hint()`
#
# **The second half, E[log p].** In $\log p(z) = -\frac{(z-\mu_p)^2}{2\sigma_p^2} - \log\sigma_p - \frac12\log 2\pi$ only the
# square is random. What is $\mathbb E_{z\sim q}\big[(z-\mu_p)^2\big]$ for $z\sim\mathcal N(\mu_q, \sigma_q^2)$? Write it with `mu_q`, `mu_p` and `sigma_q`.

# %% step="spread"
spread = ...  # in mu_q, mu_p, sigma_q
### BEGIN SOLUTION
spread = sigma_q**2 + (mu_q - mu_p) ** 2
### END SOLUTION

# %% check="spread"
steps.spread.check(spread)

# %% [markdown]
# **Together.** Subtract the halves: the two $\frac12\log 2\pi$ cancel, and four terms are left. The machine does the whole integral
# at once, and finds the same. Read it term by term: $\log(\sigma_p/\sigma_q)$: being *narrower* than p costs, since it is information.
# $\sigma_q^2/2\sigma_p^2$: being *wider* costs, since you go where p is not. $(\mu_q-\mu_p)^2/2\sigma_p^2$: being *elsewhere* costs,
# measured in p's widths. And $-\frac12$ makes it all 0 at q = p.

# %%
kl_two = sp.log(sigma_p / sigma_q) + (sigma_q**2 + (mu_q - mu_p) ** 2) / (2 * sigma_p**2) - sp.Rational(1, 2)
surprise = log_normal(z, mu_q, sigma_q) - log_normal(z, mu_p, sigma_p)
proved(expectation(surprise, mu_q, sigma_q), kl_two)

# %% [markdown]
# ### Step · Against the standard normal
#
# ●○○ · 5 minutes · `steps.kl_prior.hint()`
#
# The VAE's prior is $\mathcal N(0, 1)$ in each dimension. What is left of the formula? From here on μ and σ are q's: write it with `mu`
# and `sigma`.

# %% step="kl_prior"
kl_prior = ...  # in mu, sigma
### BEGIN SOLUTION
kl_prior = (sigma**2 + mu**2 - 1 - sp.log(sigma**2)) / 2
### END SOLUTION

# %% check="kl_prior"
steps.kl_prior.check(kl_prior)

# %% [markdown]
# ### Step · The slope that training feels
#
# ●●○ · 5 minutes · `steps.kl_by_logvar.hint()`
#
# A linear layer puts out any real number, and σ must be positive. So our encoder puts out `logvar` = log σ². What is $\partial\,\mathrm{KL}/\partial \log\sigma^2$? Write it
# with `logvar`.

# %% step="kl_by_logvar"
kl_by_logvar = ...  # in logvar
### BEGIN SOLUTION
kl_by_logvar = (sp.exp(logvar) - 1) / 2
### END SOLUTION

# %% check="kl_by_logvar"
steps.kl_by_logvar.check(kl_by_logvar)

# %% [markdown]
# **It vanishes at the prior alone.** The slope by μ is μ itself: a spring. The slope by log σ² is bounded below by $-\frac12$, but
# grows exponentially above: too wide is corrected violently, too narrow only gently. Both are 0 only at μ = 0, σ = 1.

# %%
kl_in_logvar = (sp.exp(logvar) + mu**2 - 1 - logvar) / 2
gradient = [sp.diff(kl_in_logvar, mu), sp.diff(kl_in_logvar, logvar)]
assert sp.solve(gradient, [mu, logvar], dict=True) == [{mu: 0, logvar: 0}]
proved(sp.Derivative(kl_in_logvar, logvar), (sp.exp(logvar) - 1) / 2)

# %% [markdown]
# ## See it
#
# **Where does the KL come from?** Below the two bells is what is integrated. Move q, and look for the red part, which is below
# zero; then let q become wide and narrow, and switch the direction. (Click a slider, then use the arrow keys; Tab and Space for buttons.)

# %% keep=true signature=true
two_densities()

# %% [markdown]
# The red part is where the first density is below the second. It never wins: where the logarithm is negative, the weight in front of
# it is small. And the two directions disagree most when one bell is much narrower than the other. Your first two predictions:

# %%
display(lesson.questions["negative"].reveal(), lesson.questions["direction"].reveal())

# %% [markdown]
# **Which way does it pull?** The KL as a bowl over what the encoder puts out, and gradient descent from a start of yours. Start far
# below, at log σ² = −4 (a very sure encoder), then at +2. Which of the two is steep, which takes more steps? A code that has become
# very sure is pulled back only slowly.

# %% keep=true
bowl()

# %% [markdown]
# ## Build it
#
# Six functions. Each is followed by its check, which runs it on fresh random inputs. A check that fails says what came out and
# what kind of thing should have; if your answer is a mistake that it knows, it tells you its name. Gradients must flow through each of
# them. ★ marks a part of your world model: when it passes, its text is kept in your folder.

# %% [markdown]
# ### Exercise 1 · What a code costs ★
#
# ●○○ · 10 minutes · `ex.kl_standard_normal.hint()`
#
# An encoder gives `mu` and `logvar`, both `(B, Z)`: one Gaussian with independent dimensions for each of B frames. Return
# $\mathrm{KL}\big(\mathcal N(\mu, \mathrm{diag}\,\sigma^2)\,\|\,\mathcal N(0, I)\big)$ for each frame: shape `(B,)`. Independent dimensions:
# the densities multiply, so the logarithms, and the KLs, add up.

# %% exercise="kl_standard_normal"
def kl_standard_normal(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """KL(N(mu, diag σ²) ‖ N(0, I)) of each sample, with logvar = log σ²: (B, Z) -> (B,), nats."""
    ### BEGIN SOLUTION
    return 0.5 * (logvar.exp() + mu.square() - 1 - logvar).sum(dim=-1)
    ### END SOLUTION


# %% check="kl_standard_normal"
ex.kl_standard_normal.check(kl_standard_normal)

# %% [markdown]
# ### Exercise 2 · Between any two Gaussians
#
# ●●○ · 10 minutes · `ex.kl_normal.hint()`
#
# The general formula, from log-variances again, summed over the last axis. `mu_p` and `logvar_p` may be `(B, Z)`, or `(Z,)` for one p that
# all samples share. (With d = log(σ_q²/σ_p²), the course's own function writes `torch.expm1(d) - d` for exp(d) − 1 − d: near d = 0 it
# keeps digits that `exp(d) - 1` has rounded away. Yours need not.)

# %% exercise="kl_normal"
def kl_normal(
    mu_q: torch.Tensor, logvar_q: torch.Tensor, mu_p: torch.Tensor, logvar_p: torch.Tensor
) -> torch.Tensor:
    """KL(N(mu_q, diag σ_q²) ‖ N(mu_p, diag σ_p²)) of each sample: (B, Z) -> (B,), nats."""
    ### BEGIN SOLUTION
    d = logvar_q - logvar_p  # the log of σ_q²/σ_p²
    return 0.5 * (d.exp() - 1 - d + (mu_q - mu_p).square() * torch.exp(-logvar_p)).sum(dim=-1)
    ### END SOLUTION


# %% check="kl_normal"
ex.kl_normal.check(kl_normal)

# %% [markdown]
# ### Exercise 3 · The same by throwing dice
#
# ●●○ · 15 minutes · `ex.kl_monte_carlo.hint()`
#
# No closed form? Then estimate. `epsilon` holds standard normal noise, `(S, B, Z)`: S samples for each of B frames. Make z from q with
# it, average log q(z) − log p(z) over the samples, with p = N(0, I), and return *two* tensors `(B,)`: the estimate and its standard error, the
# sample standard deviation (torch's default, with S − 1) over √S. An estimate without its error is half a number.

# %% exercise="kl_monte_carlo"
def kl_monte_carlo(
    mu: torch.Tensor, logvar: torch.Tensor, epsilon: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(N(mu, diag σ²) ‖ N(0, I)) from noise (S, B, Z): the estimate (B,) and its standard error (B,), nats."""
    ### BEGIN SOLUTION
    z = mu + torch.exp(0.5 * logvar) * epsilon  # (S, B, Z), drawn from q
    log_q = -0.5 * ((z - mu).square() / logvar.exp() + logvar)  # the constants ½ log 2π cancel
    log_p = -0.5 * z.square()
    ratio = (log_q - log_p).sum(dim=-1)  # (S, B)
    return ratio.mean(dim=0), ratio.std(dim=0) / math.sqrt(len(epsilon))
    ### END SOLUTION


# %% check="kl_monte_carlo"
ex.kl_monte_carlo.check(kl_monte_carlo)

# %% [markdown]
# ### Exercise 4 · A die instead of a bell
#
# ●●○ · 10 minutes · `ex.kl_categorical.hint()`
#
# The same divergence for categories (the mixture weights of lesson 07 are such): from `logits_q` and `logits_p`, both `(B, K)`, the sum over
# categories of q·(log q − log p). It must stay finite, and right, even when q
# or p is very sure.

# %% exercise="kl_categorical"
def kl_categorical(logits_q: torch.Tensor, logits_p: torch.Tensor) -> torch.Tensor:
    """KL between two categorical distributions of each sample, from their logits: (B, K) -> (B,), nats."""
    ### BEGIN SOLUTION
    log_q, log_p = F.log_softmax(logits_q, dim=-1), F.log_softmax(logits_p, dim=-1)
    return (log_q.exp() * (log_q - log_p)).sum(dim=-1)
    ### END SOLUTION


# %% check="kl_categorical"
ex.kl_categorical.check(kl_categorical)

# %% [markdown]
# ### Exercise 5 · Tilted bells, without a determinant
#
# ●●● · 20 minutes · `ex.kl_full.hint()`
#
# With full covariance matrices, in D dimensions,
#
# $$\mathrm{KL} = \tfrac12\Big[\operatorname{tr}(\Sigma_p^{-1}\Sigma_q) + (\mu_q-\mu_p)^\top\Sigma_p^{-1}(\mu_q-\mu_p) - D + \log\det\Sigma_p - \log\det\Sigma_q\Big].$$
#
# Inverses are slow and determinants underflow. Take Cholesky roots, $\Sigma = LL^\top$ with L lower triangular, and use only them. (You
# may leave this one for later: our VAE has diagonal covariances. But you will meet it wherever dimensions are correlated.)

# %% exercise="kl_full"
def kl_full(
    mu_q: torch.Tensor, cov_q: torch.Tensor, mu_p: torch.Tensor, cov_p: torch.Tensor
) -> torch.Tensor:
    """KL(N(mu_q, cov_q) ‖ N(mu_p, cov_p)): means (D,), covariances (D, D) -> one number, nats."""
    ### BEGIN SOLUTION
    root_q, root_p = torch.linalg.cholesky(cov_q), torch.linalg.cholesky(cov_p)
    scaled = torch.linalg.solve_triangular(root_p, root_q, upper=False)  # its squared norm is tr(Σ_p⁻¹ Σ_q)
    apart = torch.linalg.solve_triangular(root_p, (mu_q - mu_p).unsqueeze(-1), upper=False)
    log_det = 2 * (root_p.diagonal().log().sum() - root_q.diagonal().log().sum())
    return 0.5 * (scaled.square().sum() + apart.square().sum() - len(mu_q) + log_det)
    ### END SOLUTION


# %% check="kl_full"
ex.kl_full.check(kl_full)

# %% [markdown]
# ### Exercise 6 · A few nats for free
#
# ●●○ · 10 minutes · `ex.free_bits.hint()`
#
# A way to keep dimensions alive (Kingma et al. 2016): a dimension whose mean KL over the batch is below a *floor* is charged the floor,
# a constant, and so nothing pulls on it. From `kl_per_dim` `(B, Z)` return $\sum_j \max(\text{floor}, \mathrm{KL}_j)$, where $\mathrm{KL}_j$ is
# dimension j's mean over the batch.

# %% exercise="free_bits"
def free_bits(kl_per_dim: torch.Tensor, floor: float) -> torch.Tensor:
    """The KL term with ``floor`` nats free in each dimension: (B, Z) -> one number, nats."""
    ### BEGIN SOLUTION
    return kl_per_dim.mean(dim=0).clamp(min=floor).sum()
    ### END SOLUTION


# %% check="free_bits"
ex.free_bits.check(free_bits)

# %% [markdown]
# ## Measure it
#
# From here on *your* functions do the work, once they have passed (until then, the course's).
#
# **Dice against the formula.** One Gaussian in 8 dimensions, and its KL to the prior, estimated with 10 to 100,000 samples. The error
# shrinks with the *root* of the samples: one more digit costs a hundred times as many. And is the error bar honest? Two standard
# errors to either side should hold the exact value in about 95 of 100 estimates: the last line asks a thousand of them. The first line
# answers the opening picture.

# %%
kl = lesson.yours("kl_standard_normal")
estimate = lesson.yours("kl_monte_carlo")
floor_kl = lesson.yours("free_bits")

opened = kl(torch.tensor([[1.2]]), torch.tensor([[2 * math.log(0.35)]]))
print(f"the code in the opening picture costs {opened.item():.2f} nats")

generator = torch.Generator().manual_seed(0)
mu_one = torch.randn(1, 8, generator=generator, dtype=torch.float64)
logvar_one = torch.randn(1, 8, generator=generator, dtype=torch.float64) - 1
closed = float(kl(mu_one, logvar_one))

sizes = [10, 100, 1_000, 10_000, 100_000]
rows = [
    torch.cat(estimate(mu_one, logvar_one, torch.randn(size, 1, 8, generator=generator, dtype=torch.float64)))
    for size in sizes
]
estimates, errors = torch.stack(rows).numpy().T
print(f"closed form {closed:.4f} nats")
for size, value, error in zip(sizes, estimates, errors, strict=True):
    print(f"{size:>7,} samples: {value:.4f} ± {error:.4f}   {abs(value - closed) / error:.1f} standard errors away")

noise = torch.randn(400, 1_000, 8, generator=generator, dtype=torch.float64)
values, bars = estimate(mu_one.expand(1_000, 8), logvar_one.expand(1_000, 8), noise)
held = ((values - closed).abs() < 2 * bars).double().mean().item()
print(f"{held:.1%} of 1,000 intervals hold the closed form")
assert 0.92 < held < 0.98
samples_picture(sizes, estimates, errors, closed)

# %% [markdown]
# **A code that lives.** A small VAE on Dodge's frames (you will build it in lesson 05), with 8 latent dimensions and your KL as the price:
# loss = reconstruction + β·KL. Each bar is the mean KL of one dimension over frames that were held out. Below the dotted line, at 0.1
# nats, we call a dimension *dead*. An untrained encoder is dead in all of them; with β = 1 they come alive.
#
# **And how it dies.** Then the same network goes on with β = 30. Watch the bars.

# %% tags=["nbval-ignore-output"]
with CodePlot("β = 1") as plot:
    vae, lively = train("β = 1", frames, lambda mu, logvar, step: kl(mu, logvar).mean(), show=plot.show)

with CodePlot("then β = 30") as plot:
    price = lambda mu, logvar, step: 30 * kl(mu, logvar).mean()
    dead_vae, collapsed = train("then β = 30", frames, price, steps=150, vae=vae, show=plot.show)

# %% [markdown]
# This is *posterior collapse*. The posterior q(z|x) is the prior, whatever x. The decoder gets pure noise and draws the average frame;
# and once it ignores z, saying something in z brings no gain, only cost. What do people suggest? One suggestion is everywhere, and wrong:
# "the KL has collapsed, so give it more weight: raise β". Try it, on this very network:

# %% tags=["nbval-ignore-output"]
with CodePlot("then β = 100") as plot:
    price = lambda mu, logvar, step: 100 * kl(mu, logvar).mean()
    _, raised = train("then β = 100", frames, price, steps=90, vae=dead_vae, show=plot.show)

# %% [markdown]
# Nothing moves, and nothing can: the KL is what *pulls to the prior*, and more of it pulls harder. Now two repairs. Lower β to 1, again
# on the dead network. And, for a network that begins anew with β = 30, where nothing would ever come alive: 1 nat free in each dimension.

# %% tags=["nbval-ignore-output"]
with CodePlot("then β = 1 again") as plot:
    price = lambda mu, logvar, step: kl(mu, logvar).mean()
    _, lowered = train("then β = 1 again", frames, price, steps=150, vae=dead_vae, show=plot.show)


def per_dimension(mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    """Your KL, one dimension at a time: (B, Z) -> (B, Z)."""
    return kl(mu.reshape(-1, 1), logvar.reshape(-1, 1)).reshape(mu.shape)


with CodePlot("β = 30 with free bits") as plot:
    price = lambda mu, logvar, step: 30 * floor_kl(per_dimension(mu, logvar), 1.0)
    _, floored = train("β = 30 with free bits", frames, price, show=plot.show)

# %% [markdown]
# Side by side. Choose a training and move through its steps: how many steps does dying take, and how many coming back? (What came back has
# trained longest, hence its sharper pictures.) Note what free bits does *not* do: it does not push a dimension up to the floor. Below
# the floor the KL term is silent, and it is the reconstruction that finds a use for the dimension. At 1 nat begins a wall of slope
# 30, and the dimensions settle below it.

# %% tags=["nbval-ignore-output"]
runs = {"β = 1": lively, "then 30": collapsed, "then 100": raised, "back to 1": lowered, "free bits": floored}
display(code_bars(runs), reconstructions(pictures(frames), runs))

# %%
dead = {name: int((run.kl[-1] < 0.1).sum()) for name, run in runs.items()}
print(f"dead dimensions of 8: {dead}")
assert dead == {"β = 1": 0, "then 30": 8, "then 100": 8, "back to 1": 0, "free bits": 0}
lesson.questions["collapse"].reveal()

# %% [markdown]
# ## Explain it
#
# Three questions, answered at once.

# %%
for name in ("mean_as_beta", "dead", "below_floor"):
    display(lesson.questions[name].ask())

# %% [markdown]
# ## Close
#
# The formula card, typeset from the expressions that your steps were compared with:

# %%
lesson.card()

# %% [markdown]
# **Pitfalls you have met.** A mean where the sum belongs: β = 1/Z in disguise. `logvar` is log σ², not log σ. The direction: the
# expectation is under the first one. log(softmax) and log(det): stay in log space. And the most widespread one: *collapse means
# lower β* (or free bits, or raise β slowly from 0, as lesson 05 does), never raise it.
#
# **Where this lives.** `wmcourse/kl_divergence_loss.py`; `kl_standard_normal` is now a part of your world model (`wmcourse parts` shows
# which are yours). Next is lesson 04, the other half of the loss: what a reconstruction costs.
#
# **Try next.** One hyper-parameter: the floor. With 0.25 nats in place of 1, what do the bars do, and what the pictures? One extension: the
# *aggregate* posterior. Average q(z|x) over all frames (`vae.encode(frames)` gives their μ and log σ²): is that the prior, even though no
# single q(z|x) is?
#
# **You can now read** Kullback & Leibler (1951), *On Information and Sufficiency*, eqs. 2.1–2.6; Kingma & Welling (2014),
# [*Auto-Encoding Variational Bayes*](https://arxiv.org/abs/1312.6114), App. B; Kingma et al. (2016),
# [*Improving Variational Inference with Inverse Autoregressive Flow*](https://arxiv.org/abs/1606.04934), App. C.8 (free bits).
