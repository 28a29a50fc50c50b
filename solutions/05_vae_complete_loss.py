# %% [markdown]
# # 05 · VAE complete loss
#
# **The question.** You have both halves. Lesson 03 says what a code costs, lesson 04 what a poor picture costs, both in nats. On the left of
# the picture below nothing is said about a frame, and your friend draws the average of all; on the right every grey is told. What you
# want lies between. How many nats of code should you spend, who decides it, and how do you train a network that spends them?

# %% keep=true
import itertools
import math
from collections.abc import Callable

import numpy as np
import sympy as sp
import torch

from wmcourse.lessons import open_lesson
from wmcourse.lessons.derivation import equal, proved
from wmcourse.lessons.frames import dodge_frames
from wmcourse.lessons.map import system_map
from wmcourse.lessons.vae_complete_loss.experiment import (
    chord,
    exact_cost,
    held_out,
    mean_and_error,
    measure,
    named,
    one_thread,
    split,
    sweep,
    train,
    your_parts,
)
from wmcourse.lessons.vae_complete_loss.widgets import (
    CurvePlot,
    Knowledge,
    LossPlot,
    code_picture,
    levers,
    opening,
    paid_for,
    price,
    price_slider,
    rate_distortion,
    traversal,
    two_point_split,
)
from wmcourse.vae_complete_loss import ConvVAE, PaperVAE

lesson = open_lesson("05")
ex, steps = lesson.exercises, lesson.steps
frames = dodge_frames()
opening(frames)

# %% [markdown]
# **After this lesson you can**
#
# 1. write the complete loss of a VAE, and say what each mistake in it would do;
# 2. read β as a price, and predict from it what a picture loses when a code becomes cheaper;
# 3. train your own VAE on Dodge, with your own functions, and report its held-out ELBO with an honest error;
# 4. compute the size and the parameters of any convolutional network by hand, down to the paper's 4,348,547;
# 5. tell what a code knows of the world, and what it pays for without saying anything.
#
# | section | minutes of yours | of the machine's |
# |---|---|---|
# | Predict first | 4 | – |
# | Derive | 24 | – |
# | See it | 6 | – |
# | Build it | 42 | – |
# | Measure it | 15 | 2 |
# | Explain it | 4 | – |
# | Close | 4 | – |
#
# That is 1 hour and 40 minutes; the study guide's single hour is too short for all of it. If an hour is what you have: in Derive read up
# to the box and believe the rest, do exercises 1, 2 and 4, run the others' cells (until a function of yours passes, the course's is used),
# and take your time at *The curve*. What is left is a good second evening.
#
# **From before** you need `reparameterize` (lesson 02), `kl_standard_normal` and free bits (lesson 03), `bernoulli_nll` (lesson 04), and the
# ELBO (lesson 01). Here they meet. This is the eye of the world model, and with it the first week ends.

# %% keep=true
display(system_map(highlight=["V"]), lesson.panel())

# %% [markdown]
# ## Predict first
#
# Three questions. The first can be answered without any training, which is worth a minute's thought.

# %%
for name in ("price", "best_elbo", "samples"):
    display(lesson.questions[name].predict())

# %% [markdown]
# ## Derive
#
# **From the bound to the loss.** Lesson 01's bound for one frame is $\log p(x)\ge\mathbb E_{q}[\log p(x|z)]-\mathrm{KL}(q(z|x)\,\|\,p(z))$. Turn
# the sign, average over frames, and call the halves by the names that information theory has for them:
#
# $$\underbrace{D=\mathbb E_x\,\mathbb E_{q}\big[-\log p(x|z)\big]}_{\text{distortion, }L_{\mathrm{recon}}}\qquad
# \underbrace{R=\mathbb E_x\,\mathrm{KL}\big(q(z|x)\,\|\,p(z)\big)}_{\text{rate, }L_{\mathrm{KL}}}\qquad \mathcal L_\beta = D+\beta R .$$
#
# At β = 1 this is the negative ELBO, and so an upper bound of $-\log p(x)$. At any other β it is $-\mathrm{ELBO}+(\beta-1)R$: above
# 1 a bound still, but a looser one, since $R\ge0$; below 1 nothing promises a bound. So never compare losses at different β. Compare D + R.
#
# **What β buys.** Suppose one VAE is the best at price $\beta_1$ and another the best at $\beta_2>\beta_1$. Neither would gain by being the other:
#
# $$D_1+\beta_1R_1\le D_2+\beta_1R_2,\qquad D_2+\beta_2R_2\le D_1+\beta_2R_1 .$$
#
# Add them: $(\beta_2-\beta_1)(R_1-R_2)\ge0$, so the dearer the code, the less is bought. And each, solved for $D_2-D_1$ and divided by
# $R_1-R_2$ (if that is not 0), says how much:
#
# $$\boxed{\;\beta_1\;\le\;\frac{D_2-D_1}{R_1-R_2}\;\le\;\beta_2\;}$$
#
# No calculus, no assumption on networks or data: β *is* the exchange rate between nats of code and nats of picture. Let the two prices
# meet, and the slope of the curve of best codes is $\mathrm dD/\mathrm dR=-\beta$. That is Lagrange's condition for "least distortion with a
# rate of at most C": $\mathcal L = D + \beta\,(R - C)$, where β is the multiplier and the constant $-\beta C$ moves no minimum.
#
# **Where it can be solved.** Let a "frame" be one number $x\sim\mathcal N(0,v)$, the code $z=ax+\tau\varepsilon$, so that
# $q(z|x)=\mathcal N(ax,\tau^2)$, and the decoder $p(x|z)=\mathcal N(wz,1)$. Lesson 03's KL gives $R=\tfrac12(\tau^2+a^2v-1-\log\tau^2)$, since
# $\mathbb E[(ax)^2]=a^2v$. Lesson 04's Gaussian gives $D=\tfrac12\log2\pi+\tfrac12\,\mathbb E[(x-wz)^2]$, and the expectation over x and ε is

# %%
from wmcourse.lessons.vae_complete_loss.derivation import (
    R,
    a,
    beta,
    binary_kl,
    epsilon,
    expectation,
    q1,
    q2,
    r,
    share,
    tau,
    v,
    w,
    x,
)

code = a * x + tau * epsilon
squared_error = (1 - w * a) ** 2 * v + w**2 * tau**2
distortion = sp.log(2 * sp.pi) / 2 + squared_error / 2
rate_of_code = (tau**2 + a**2 * v - 1 - sp.log(tau**2)) / 2
proved(expectation((x - w * code) ** 2), squared_error)

# %% [markdown]
# ### Step · How exact the code should be
#
# ●●○ · 4 minutes · `steps.code_variance.hint()`
#
# The rate is $R=\tfrac12(\tau^2+a^2v-1-\log\tau^2)$. With the decoder's w fixed, which $\tau^2$ makes $D+\beta R$ least? Write it with `w`
# and `beta`.

# %% step="code_variance"
code_variance = ...  # τ², in w and beta
### BEGIN SOLUTION
code_variance = beta / (w**2 + beta)
### END SOLUTION

# %% check="code_variance"
steps.code_variance.check(code_variance)

# %% [markdown]
# ### Step · What the best code costs
#
# ●●○ · 4 minutes · `steps.rate.hint()`
#
# Setting the slopes by a and w to 0 as well gives $w^2=v-\beta$, $a=w/v$, and with them $\tau^2=\beta/v$, as long as $\beta<v$. What is R
# there? Write it with `v` and `beta`.

# %% step="rate"
rate = ...  # in v and beta
### BEGIN SOLUTION
rate = sp.log(v / beta) / 2
### END SOLUTION

# %% check="rate"
steps.rate.check(rate)

# %% [markdown]
# ### Step · The price of one more nat
#
# ●●○ · 3 minutes · `steps.exchange_rate.hint()`
#
# The distortion there is $D=\tfrac12\log2\pi+\tfrac12\beta$. Eliminate β: D as a function of R. Then its slope $\mathrm dD/\mathrm dR$, with
# `v` and `R`.

# %% step="exchange_rate"
exchange_rate = ...  # in v and R
### BEGIN SOLUTION
exchange_rate = -v * sp.exp(-2 * R)
### END SOLUTION

# %% check="exchange_rate"
steps.exchange_rate.check(exchange_rate)

# %% [markdown]
# **The slope is −β**, exactly, as the box promised. Three more things stand in these formulas. The squared error that is left is β itself: you
# name the price, and get an error of that size. At $\beta=v$ the rate is 0 and stays 0: *collapse has a threshold*, the variance that
# there is to explain (in units of the decoder's noise). And $D+R$ is least at β = 1, where the model's own variance $w^2+1$ is the data's, v.
#
# The error $v\,e^{-2R}$ is Shannon's: *no* way of telling a Gaussian number in R nats leaves less, of whatever cleverness. The VAE's two
# Gaussians reach it here.
#
# The machine checks that all slopes vanish at this code, that no code out of 100,000 random ones beats it, and the formulas by dice.

# %%
best = {w: sp.sqrt(v - beta), a: sp.sqrt(v - beta) / v, tau: sp.sqrt(beta / v)}
objective = distortion + beta * rate_of_code
assert all(sp.simplify(sp.diff(objective, symbol).subs(best)) == 0 for symbol in best)
assert equal(rate_of_code.subs(best), sp.log(v / beta) / 2)
assert equal(distortion.subs(best), sp.log(2 * sp.pi) / 2 + beta / 2)
assert sp.solve(sp.diff(beta / 2 + sp.log(v / beta) / 2, beta), beta) == [1]  # D + R is least at β = 1

numbers = {v: 4, beta: sp.Rational(1, 2)}
at_best = float(objective.subs(best).subs(numbers))
rng = np.random.default_rng(0)
some_w, some_a, some_tau = rng.uniform(-3, 3, 100_000), rng.uniform(-2, 2, 100_000), rng.uniform(0.01, 2, 100_000)
others = sp.lambdify((w, a, tau), objective.subs(numbers), "numpy")(some_w, some_a, some_tau)
print(f"v = 4, β = ½: loss of this code {at_best:.4f} nats, of the best of 100,000 random ones {others.min():.4f}")
assert at_best < others.min()

w_, a_, tau_ = (float(value.subs(numbers)) for value in best.values())
seen = rng.normal(0, 2, 200_000)
z = a_ * seen + tau_ * rng.normal(size=200_000)
terms = {  # −log p(x|z), and log q(z|x) − log p(z): the expectations that the closed forms replace
    "distortion": (0.5 * np.log(2 * np.pi) + 0.5 * (seen - w_ * z) ** 2, distortion),
    "rate": (0.5 * z**2 - 0.5 * ((z - a_ * seen) / tau_) ** 2 - np.log(tau_), rate_of_code),
}
for name, (values, formula) in terms.items():
    exact, (estimate, error) = float(formula.subs(best).subs(numbers)), mean_and_error(values)
    print(f"{name}: closed form {exact:.4f} nats, by dice {estimate:.4f} ± {error:.4f}")
    assert abs(estimate - exact) < 5 * error
curve = sp.log(2 * sp.pi) / 2 + v * sp.exp(-2 * R) / 2
proved(
    sp.Subs(sp.Derivative(curve, R), R, sp.log(v / beta) / 2), -beta, "The slope of the curve, at the rate that β buys."
)

# %% [markdown]
# **What the rate pays for.** Average all posteriors: $q(z)=\mathbb E_x\,q(z|x)$, the *aggregate posterior*, which is where codes are. Write
# $\frac{q(z|x)}{p(z)}=\frac{q(z|x)}{q(z)}\cdot\frac{q(z)}{p(z)}$ inside the logarithm and take expectations:
#
# $$\underbrace{\mathbb E_x\,\mathrm{KL}\big(q(z|x)\,\|\,p(z)\big)}_{R}\;=\;\underbrace{I(x;z)}_{\text{what z says about x}}\;+\;\underbrace{\mathrm{KL}\big(q(z)\,\|\,p(z)\big)}_{\text{how far all codes together are from the prior}} .$$
#
# The first half is what you want to buy. The second buys nothing for the reconstruction, and it spoils samples: the decoder is trained where
# $q(z)$ is, and a sample is drawn where $p(z)$ is. Checked with symbols for two frames and a code of two values; and for two frames with
# Gaussian codes $\mathcal N(\pm m,\tau^2)$ by integration and by dice, each half with dice of its own.

# %%
average = share * q1 + (1 - share) * q2  # q(z = 1), when the first frame has the share s
all_of_it = share * binary_kl(q1, r) + (1 - share) * binary_kl(q2, r)
information = share * binary_kl(q1, average) + (1 - share) * binary_kl(q2, average)
assert equal(all_of_it, information + binary_kl(average, r)) == "symbolically"

m, width = 1.5, 0.4
by_dice = split(torch.tensor([[m], [-m]]), torch.full((2, 1), 2 * math.log(width)), samples=20_000)
said, off_prior = two_point_split(m, width)
print(f"rate, closed form {by_dice.rate:.4f} nats")
print(f"I(x; z)           {said:.4f} integrated, {by_dice.information:.4f} ± {by_dice.information_error:.4f} by dice")
print(f"KL(q(z) ‖ p)      {off_prior:.4f} integrated, {by_dice.aggregate:.4f} ± {by_dice.aggregate_error:.4f} by dice")
assert abs(said + off_prior - by_dice.rate) < 1e-6
assert abs(said - by_dice.information) < 5 * by_dice.information_error
assert abs(off_prior - by_dice.aggregate) < 5 * by_dice.aggregate_error

# %% [markdown]
# ## See it
#
# **What does a price do?** The model that you have just solved. Raise β and follow the point down the curve: the dashed line always has the
# slope −β. At which β is D + R least? And what happens to the three codes on the right when β reaches v?

# %% keep=true
price()

# %% [markdown]
# **What is bought, and what only paid?** Two frames, equally likely, and their codes. Push the codes apart: beyond log 2 there is nothing more
# to say, and yet the rate grows. Then find a place where they are told apart well and the average is close to the prior. Both at
# once is not to be had: two narrow bells never make one round one.

# %% keep=true
display(paid_for(), lesson.questions["samples"].reveal())

# %% [markdown]
# ## Build it
#
# Six functions. The first, ★, is what everything so far was for: the VAE of your world model is trained on it.

# %% [markdown]
# ### Exercise 1 · The whole loss ★
#
# ●●○ · 9 minutes · `ex.vae_loss.hint()`
#
# Return `VAELoss(total, reconstruction, kl)`, each averaged over the batch: total = reconstruction + β·KL. With a `floor` above 0 the
# *total* has `free_bits(kl_per_dimension(mu, logvar), floor)` in place of the KL; what is returned as `kl` stays the true rate, without β and floor.
#
# Write `reconstruction_loss.bernoulli_nll(logits, x)` (logits first, then the frame) and `kl_divergence_loss.kl_standard_normal(mu, logvar)`,
# with the module's name before them. A name behind a dot is looked up at each call, so when the VAE is trained below, *your* functions of
# lessons 03 and 04 stand there.

# %% exercise="vae_loss"
from wmcourse import kl_divergence_loss, reconstruction_loss
from wmcourse.kl_divergence_loss import free_bits, kl_per_dimension
from wmcourse.vae_complete_loss import VAELoss


def vae_loss(
    logits: torch.Tensor,
    x: torch.Tensor,
    mu: torch.Tensor,
    logvar: torch.Tensor,
    beta: float = 1.0,
    floor: float = 0.0,
) -> VAELoss:
    """total = reconstruction + beta·KL, each a mean over the batch; with a floor, free bits in the total's KL."""
    ### BEGIN SOLUTION
    reconstruction = reconstruction_loss.bernoulli_nll(logits, x).mean()
    kl = kl_divergence_loss.kl_standard_normal(mu, logvar).mean()
    charged = kl if floor == 0 else free_bits(kl_per_dimension(mu, logvar), floor)
    return VAELoss(reconstruction + beta * charged, reconstruction, kl)
    ### END SOLUTION


# %% check="vae_loss"
ex.vae_loss.check(vae_loss)

# %% [markdown]
# ### Exercise 2 · A price that rises
#
# ●○○ · 6 minutes · `ex.beta_schedule.hint()`
#
# In its first steps a decoder has no use for z yet, and a full price makes the encoder give up (lesson 03). So let β rise. For each of
# the steps `(T,)` return its β: the first `total` steps are cut into `cycles` of equal length; within each, β rises evenly from 0 over a share `ramp` of the cycle
# and stays at `beta` for the rest. From step `total` on it is `beta`. One cycle is the usual warm-up; several are the *cyclical* schedule (Fu
# et al. 2019). Two examples, both with `beta` = 4 and `ramp` = ½:
#
# | `total`, `cycles` | step 0 | 25 | 50 | 75 | 99 | 100 | 150 |
# |---|--:|--:|--:|--:|--:|--:|--:|
# | 100, 1 | 0 | 2 | 4 | 4 | 4 | 4 | 4 |
# | 100, 2 | 0 | 4 | 0 | 4 | 4 | 4 | 4 |
#
# (`total` need not be a multiple of `cycles`: 100 steps in 3 cycles are 33⅓ steps each.)


# %% exercise="beta_schedule"
def beta_schedule(step: torch.Tensor, total: int, beta: float, cycles: int, ramp: float) -> torch.Tensor:
    """β for each step: in each of ``cycles`` it rises from 0 for a share ``ramp``, then stays; from ``total`` on it is β."""
    ### BEGIN SOLUTION
    period = total / cycles
    position = (step % period) / period  # within the cycle, in [0, 1)
    rising = beta * (position / ramp).clamp(max=1)
    return torch.where(step < total, rising, beta)
    ### END SOLUTION


# %% check="beta_schedule"
ex.beta_schedule.check(beta_schedule)

# %% [markdown]
# ### Exercise 3 · How large, and how many
#
# ●●○ · 10 minutes · `ex.layer_table.hint()`
#
# A network's layers come as tuples `(kind, inputs, outputs, kernel, stride, padding)`; kinds are `"conv"`, `"transposed"` and `"linear"` (with a
# kernel of 1). Starting from a square picture of `side` pixels, return two tensors of whole numbers, an entry for each layer: the side of its output (1 after a
# linear layer), and its number of parameters, biases included. A convolution rounds down where the kernel does not fit. A transposed one
# does the reverse: it *writes* a kernel every `stride` pixels and cuts `padding` off at each edge. An example to count by hand: a kernel of 4 moves
# over 8 pixels by 2, without padding. It begins at 0, 2 and 4: three places. Back again, three kernels of 4 written every 2 pixels cover 8.
# Behind the check your function counts the paper's V model.


# %% exercise="layer_table"
def layer_table(side: int, layers: list[tuple[str, int, int, int, int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Side of each layer's output, and its number of parameters; a layer is (kind, inputs, outputs, kernel, stride, padding)."""
    ### BEGIN SOLUTION
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
    ### END SOLUTION


# %% check="layer_table"
ex.layer_table.check(layer_table)

# %%
table = lesson.yours("layer_table")
halved = [(3, 32), (32, 64), (64, 128), (128, 256)]  # App. A.1 of Ha & Schmidhuber (2018)
encoder = [("conv", i, o, 4, 2, 0) for i, o in halved] + [("linear", 1024, 32, 1, 1, 0)] * 2  # μ, log σ²
decoder = [("linear", 32, 1024, 1, 1, 0), ("transposed", 1024, 128, 5, 2, 0), ("transposed", 128, 64, 5, 2, 0)]
decoder += [("transposed", 64, 32, 6, 2, 0), ("transposed", 32, 3, 6, 2, 0)]
(down, weights_down), (up, weights_up) = table(64, encoder), table(1, decoder)
total = int(weights_down.sum() + weights_up.sum())
print(
    f"the paper’s V model: sides 64, {', '.join(map(str, down[:4].tolist()))} down and {', '.join(map(str, up.tolist()))} up"
)
print(f"{total:,} parameters; the largest layer has {int(weights_up.max()):,} of them")
assert total == 4_348_547 == sum(p.numel() for p in PaperVAE().parameters())

# %% [markdown]
# ### Exercise 4 · One step downhill
#
# ●●○ · 6 minutes · `ex.sgd_step.hint()`
#
# One step of plain gradient descent: what `optimizer.zero_grad()`, `loss.backward()` and `optimizer.step()` do, with your own hands.
# `vae(x)` returns `logits, mu, logvar` for one *sampled* z per frame. Change the parameters in place, and return the loss as it was before. Call
# `vae_complete_loss.vae_loss(logits, x, mu, logvar, beta)`, with its module's name again.
#
# Two messages of torch, translated. "A leaf Variable that requires grad is being used in an in-place operation": the step itself
# must not be differentiated, so put it under `torch.no_grad()`. "unsupported operand … 'NoneType'": a `.grad` is None, so
# there was no `backward()` yet, or you have forgotten the gradient between `backward()` and the step.

# %% exercise="sgd_step"
from wmcourse import vae_complete_loss


def sgd_step(vae: torch.nn.Module, x: torch.Tensor, beta: float, rate: float) -> vae_complete_loss.VAELoss:
    """One step of gradient descent on the total loss of frames x, in place; returns the loss before it."""
    ### BEGIN SOLUTION
    logits, mu, logvar = vae(x)  # one sampled z for each frame
    loss = vae_complete_loss.vae_loss(logits, x, mu, logvar, beta)
    vae.zero_grad()
    loss.total.backward()
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter -= rate * parameter.grad
    return loss
    ### END SOLUTION


# %% check="sgd_step"
ex.sgd_step.check(sgd_step)

# %% [markdown]
# ### Exercise 5 · Who is still alive
#
# ●○○ · 5 minutes · `ex.active_units.hint()`
#
# From the codes of N frames, `mu` and `logvar` `(N, Z)`, return three tensors `(Z,)`: each dimension's mean KL; the variance of its μ over the
# frames (torch's, with N − 1); and 1.0 where that variance is above `least`, else 0.0. Burda et al. (2016) call such a dimension an *active unit*, with
# `least` = 0.01. The split of the rate says why the KL alone does not do: a dimension may cost, and be the same for all frames.


# %% exercise="active_units"
def active_units(
    mu: torch.Tensor, logvar: torch.Tensor, least: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of each dimension: its mean KL, the variance of its mu over the frames, and 1.0 where that is above ``least``."""
    ### BEGIN SOLUTION
    kl = 0.5 * (logvar.exp() + mu.square() - 1 - logvar).mean(dim=0)
    spread = mu.var(dim=0)  # over the frames
    return kl, spread, (spread > least).to(mu.dtype)
    ### END SOLUTION


# %% check="active_units"
ex.active_units.check(active_units)

# %% [markdown]
# ### Exercise 6 · Looking without dice
#
# ●○○ · 4 minutes · `ex.reconstruct.hint()`
#
# For looking and for tables you want the same picture each time. From `decode` (codes to *logits*), the codes' `mu` and `logvar` and the
# frames x `(B, C, H, W)`, return the reconstructions in [0, 1], and for each frame the root of its mean squared error, in grey
# levels (there are 255 from black to white). One of the inputs is not needed. (The *ELBO* needs a sampled z: its D is an expectation under q.)


# %% exercise="reconstruct"
def reconstruct(
    decode: "Callable[[torch.Tensor], torch.Tensor]", mu: torch.Tensor, logvar: torch.Tensor, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture of each frame's code, the same at each call, and its root mean squared error in grey levels: (B,)."""
    ### BEGIN SOLUTION
    picture = torch.sigmoid(decode(mu))  # the code's centre: no noise, so no logvar
    off = 255 * (picture - x)
    return picture, off.square().mean(dim=(1, 2, 3)).sqrt()
    ### END SOLUTION


# %% check="reconstruct"
ex.reconstruct.check(reconstruct)

# %% [markdown]
# ## Measure it
#
# **Whose VAE is this?** From here on the course's network calls your functions, where you have some: those that passed in this notebook, and
# those in your folder, which are checked once more now. One that fails is named, and nothing runs until it is mended or taken away. (In the
# course's own solution, which you may be reading, there is no folder: three of the four are the course's.)

# %%
parts = your_parts(lesson)
print(parts)
step_down, units, look = (lesson.yours(name) for name in ("sgd_step", "active_units", "reconstruct"))
rising = lesson.yours("beta_schedule")

# %% [markdown]
# **First, four frames.** Whoever writes a training loop lets it learn a handful by heart before anything else: if it cannot do that, it has a
# mistake that no amount of data will hide. Your step, four hundred times. **Then all 4,096**, with Adam (your step, with a rate for each
# parameter that follows from its past gradients) and with your schedule: β rises to 1 over the first third. Watch the path. As long as the code is
# nearly free, the encoder spends nats that the decoder cannot read yet: the point runs to the right. Then the price rises, the decoder
# learns to read, and the point sinks: about the same rate buys a better and better picture.

# %% tags=["nbval-ignore-output"]
few, test = frames[:4], held_out()
with one_thread(seed=0), parts.use():  # so small a network gains nothing from a second thread
    small = ConvVAE((1, 32, 32), 16)
    totals = [step_down(small, few, 1.0, 3e-3).total.item() for _ in range(400)]
learnt = sum(totals[-20:]) / 20
print(
    f"four frames: loss {totals[0]:.0f} → {learnt:.0f} nats per frame; {exact_cost(few):.0f} are left when every grey is drawn exactly"
)
assert learnt < 190

price_of_step = rising(torch.arange(900), 600, 1.0, 1, 0.5)
with LossPlot(test) as plot:
    vae, history = train(frames, price_of_step, parts, watch=test, show=plot.show, title="your VAE")
for name in parts.own:
    print(
        f"your {name} was called {parts.calls[name]:,} times"
        + ("" if parts.calls[name] else ": your vae_loss does not call it")
    )

# %% [markdown]
# **A number for a sceptic.** The held-out frames are of *other worlds* than those of the training: a frame of the same episode is no test, since
# its neighbours were trained on. And within one world frames resemble each other, so the standard error is over the 64 worlds, not over
# 1,024 frames. Beside it the same number on frames of the training: is there overfitting? Then the rate, split, for N frames of the
# training: the most that z can say is *which of the N* it was, log N nats.

# %% tags=["nbval-ignore-output"]
point = measure(vae, test, parts)
elbo, error = mean_and_error(-point.each.sum(1))
torch.manual_seed(1)
with torch.no_grad():
    logits, *codes = vae(frames)
    on_training = -vae_complete_loss.vae_loss(logits, frames, *codes).total.item()
    mu, logvar = vae.encode(test.frames)
    picture, off = look(vae.decode, mu, logvar, test.frames)
    kl_of, spread, alive = units(mu, logvar, 0.01)
print(f"held-out ELBO {elbo:.1f} ± {error:.1f} nats per frame; on frames of the training {on_training:.1f}")
print(
    f"rate {point.rate:.1f}, distortion {point.distortion:.1f} nats; {int(alive.sum())} of {len(alive)} dimensions alive"
)
print(f"reconstructed from μ: {off.mean().item():.1f} of 255 grey levels off, root mean square")
assert -165 < elbo < -148
for n in (64, 512, 4096):
    part = split(codes[0][:n], codes[1][:n], samples=max(1, 512 // n))
    together, its_error = part.information + part.aggregate, math.hypot(part.information_error, part.aggregate_error)
    print(
        f"N = {n:>5,}: rate {part.rate:.2f}; I {part.information:.2f} of at most {math.log(n):.2f}, "
        f"KL(q(z) ‖ p) {part.aggregate:.2f}; together {together:.2f} ± {its_error:.2f}"
    )
    assert abs(together - part.rate) < 5 * its_error
    assert part.information < math.log(n) + 5 * part.information_error

# %% [markdown]
# The gap to the training frames is overfitting: real, and small beside what the code buys. And the split: your code is dear enough to name almost
# any of these frames, so I(x; z) grows with log N (what it lacks are frames that look alike), and the rest shrinks. "The aggregate posterior is
# far from the prior" is a statement about *N frames*. Read it so in papers, too.
#
# **The curve.** Now the box of the derivation, on a real network. From your VAE on, eight trainings of 200 steps, alike but for β. Whether each
# is the *best* at its price nobody can prove; if they nearly are, each slope between neighbours lies between their prices.

# %% tags=["nbval-ignore-output"]
with CurvePlot(test) as plot:
    models = sweep(vae, frames, test, parts, show=plot.show)
for cheap, dear in itertools.pairwise(models):
    slope, error = chord(cheap.point, dear.point)
    print(
        f"from β = {named(cheap.beta):>2} to {named(dear.beta):>2}: a nat of code saves {slope:5.2f} ± {error:.2f} nats of picture"
    )
    assert 0.8 * cheap.beta - 4 * error < slope < 1.2 * dear.beta + 4 * error
one = next(model for model in models if model.beta == 1)
for model in models:
    behind, error = one.point.less(model.point)
    with torch.no_grad():
        alive = int(units(*model.vae.encode(test.frames), 0.01)[2].sum())
    pair = "" if model is one else f", behind β = 1 by {behind:5.2f} ± {error:.2f}"
    print(
        f"β = {named(model.beta):>2}: {alive:2d} of 16 dimensions alive, ELBO {model.point.elbo:.1f} ± {model.point.elbo_error:.1f}{pair}"
    )
    assert behind >= -4 * error
rate_distortion(models, test, point)

# %% [markdown]
# Seven slopes, each between its two prices, or within its error of one: that is what β is. Note the second list, too. The ELBOs of β = ½ and
# β = 1 differ by little more than their own errors, and still the difference is sure: both were measured on the same worlds, and what these
# have in common cancels. Compare in *pairs*. In the picture grey is what lies below all tangents: as far as each VAE is the best at its price,
# this network cannot get there.
#
# **Two errors that you will meet elsewhere**, with a picture to put them in. *A mean over pixels beside a summed KL* is β = 1,024 here. The
# curve above ends at β = 32, where nothing is said any more. Neither patience nor another learning rate helps there: sum the pixels.
# *"The KL has collapsed to 0, so its weight must be raised."* A KL of 0 is the left end of the curve, where a code is too dear for what
# it saves. A higher β moves you further to the left. What helps is a *lower* one: for good, or at first (your schedule), or for the
# first nats (free bits).

# %%
display(lesson.questions["price"].reveal(), lesson.questions["best_elbo"].reveal())

# %% [markdown]
# **Pictures for prices.** Move β. Which detail goes first, and which last? The band never: it is the same in all frames, so it
# lives in the decoder and costs no nat. And the samples: they are honest draws from the prior, and poor at every price here. Sharp codes leave
# holes between them (small β), dull ones say nothing (large β).

# %% tags=["nbval-ignore-output"] signature=true
price_slider(models, test)

# %% [markdown]
# **What does the code know?** You know the truth of each held-out frame, so ask. For each dimension: how much of its variance does the agent's column
# explain (bends included), and how much the column of a hazard above the band? That is *knowing*. Then turn one dimension from −2 to 2, leave
# all others, and measure in the decoded picture how far each thing moves. That is *doing*, and it is not the same: hazards are aimed at the agent, so
# what knows of the one knows something of the other. The film strips show, for each thing, the dimension that
# moves it and spares the other most. (Look closely where the agent is between its ends: does it slide, or does it fade out here and in there?) Below
# them is every dimension for your own hands.

# %% tags=["nbval-ignore-output"]
known = Knowledge(one.vae, test)
for thing, other in (("agent", "hazard"), ("hazard", "agent")):
    knows, lever = int(np.argmax(known.knows[thing])), known.lever(thing)
    print(
        f"{thing}: dimension {knows + 1} knows most ({known.knows[thing][knows]:.0%} of its variance); dimension {lever + 1} "
        f"moves it {known.moves[thing][lever]:.1f} pixels, and the {other} {known.moves[other][lever]:.1f}"
    )
    assert known.moves[thing][lever] > 1.3 * known.moves[other][lever]
display(code_picture(known), levers(known), traversal(known))

# %% [markdown]
# Nobody told it that there is an agent. Yet there is a dimension that moves it much farther than the hazard above, and one that does the
# reverse. Do not call that *disentangled*: each takes the other thing along, other dimensions move them as well, none knows all about one
# thing, and the agent's column, a single number, is a bent line through two dimensions and more. With another seed it is bent otherwise. The
# objective asks for cheap codes; nothing in it asks for one dimension per thing.

# %% [markdown]
# ## Explain it
#
# Three questions, answered at once.

# %%
for name in ("dear_and_dumb", "name_a_frame", "compare"):
    display(lesson.questions[name].ask())

# %% [markdown]
# ## Close
#
# The formula card, typeset from the expressions that your steps were compared with:

# %%
lesson.card()

# %% [markdown]
# **Pitfalls you have met.** The ELBO is maximised, the loss minimised. β stands before the KL, and its size means something only if both terms are
# sums: a mean over pixels is β = 1,024. A squared error without its ½ is a β of ½. A collapsed code asks for a lower β, never for a higher one. One sigmoid, not two. Gradients add up until you forget them. Decode μ to look, a sample to bound. Losses at different β
# are in different currencies. A KL above 0 is not yet information.
#
# **Where this lives.** `wmcourse/vae_complete_loss.py`: `vae_loss`, the small `ConvVAE` that you have trained, and `PaperVAE` with its 4,348,547
# parameters. Your VAE sees one frame at a time, and one frame shows no velocity: lesson 06 gives it a memory.
#
# **Try next.** One hyper-parameter: the warm-up. Train with β = 1 from the first step, and compare the two held-out ELBOs in pairs: was the warm-up
# worth it here? One extension: at β = 8 train with a `floor` of half a nat. Does its point lie on the curve or above it, and what
# follows for free bits as a habit?
#
# **You can now read** Kingma & Welling (2014), [*Auto-Encoding Variational Bayes*](https://arxiv.org/abs/1312.6114), whole, with eq. 10 as your exercise 1;
# Higgins et al. (2017), [*β-VAE*](https://openreview.net/forum?id=Sy2fzU9gl), the section in which β enters as the multiplier of a constraint; Alemi
# et al. (2018), [*Fixing a Broken ELBO*](https://arxiv.org/abs/1711.00464), whose plane of rate and distortion you have now drawn for your own network;
# Hoffman & Johnson (2016), *ELBO surgery*, for the split; Burda et al. (2016), [*Importance Weighted Autoencoders*](https://arxiv.org/abs/1509.00519), where
# active units are counted; Fu et al. (2019), [*Cyclical Annealing*](https://arxiv.org/abs/1903.10145), for the schedule; and Ha & Schmidhuber (2018),
# [*World Models*](https://arxiv.org/abs/1803.10122), App. A.1.
