# %% [markdown]
# # 08 · MDN-RNN
#
# **The question.** Lesson 06 gave you a memory, h, that carries what a single frame does not show. Lesson 07 gave you a mixture, which does not
# average two futures into one. A mixture for the next latent, given a memory: put the two together, and a frame is no longer needed. Look at
# the world for a while, close your eyes, and go on: sample the next latent, remember it, sample the next. Below, six frames and six
# pushes. What do you dream, how long may you trust it, and how would you know?

# %% keep=true
import math

import numpy as np
import sympy as sp
import torch
from torch.nn import functional as F

from wmcourse.lessons import open_lesson
from wmcourse.lessons.derivation import equal, log_normal, proved
from wmcourse.lessons.map import system_map
from wmcourse.lessons.mdn_rnn.experiment import (
    SHOWN,
    WEIGHT,
    age,
    appearing,
    calibration,
    copies,
    cost_of_encoding,
    count_sides,
    dreams,
    forecast,
    forking,
    forks,
    interval,
    kindness,
    knowing_starts,
    light,
    mean_and_error,
    measure,
    open_loop,
    per_step,
    reconstruction_error,
    starts,
    train,
    useful,
)
from wmcourse.lessons.mdn_rnn.widgets import (
    Film,
    ForkView,
    LossPlot,
    alignment,
    explained,
    free_running,
    horizon_picture,
    likelihood_picture,
    opening,
    sides_picture,
    temperature_picture,
)
from wmcourse.lessons.memories import dodge_memories, play
from wmcourse.lessons.parts import your_parts
from wmcourse.mdn_rnn import PaperMDNRNN
from wmcourse.worlds.dodge import Rules

lesson = open_lesson("08")
ex, steps = lesson.exercises, lesson.steps
played = play(16, 192, 0)  # sixteen worlds, 192 steps of random play in each
opening(played)

# %% [markdown]
# **After this lesson you can**
#
# 1. write the likelihood of a sequence as a sum over its steps, and cut windows, masks and targets so that it is *that* likelihood;
# 2. take one step of a dream, with reward, ending and memory, each read at the right moment;
# 3. say how long a dream is worth something, against which baseline, with an interval;
# 4. tell a memory's worth, a mixture's worth and a temperature's effect by measurement, not by looking;
# 5. name five mistakes that train without a complaint and spoil the dream.
#
# | section | minutes of yours | of the machine's |
# |---|--:|--:|
# | Predict first | 5 | – |
# | Derive | 35 | – |
# | See it | 8 | – |
# | Build it | 71 | – |
# | Measure it | 30 | 2 |
# | Explain it | 5 | – |
# | Close | 5 | – |
#
# **From before** you need `reparameterize` (lesson 02), the VAE of lesson 05, `lstm_step` (06), and `mixture_nll` and `sample_mixture` (07).
#
# Time is counted so: $(z_t, a_t, h_t)\to z_{t+1},\, r_{t+1},\, d_{t+1}$, and $h_{t+1}$ is the memory *after* it has consumed $(z_t, a_t)$.
# Everything with the index t + 1 is read from $h_{t+1}$.

# %% keep=true
display(system_map(highlight=["M"]), lesson.panel())

# %% [markdown]
# ## Predict first
#
# Three questions before you read. Answer from the gut; each of them comes back, and is measured.

# %%
for name in ("one_dream", "one_bell", "on_centres"):
    display(lesson.questions[name].predict())

# %% [markdown]
# ## Derive
#
# **One sequence.** What is the probability of a whole episode, given its actions? The chain rule takes it apart, one step at a time, and each
# factor has the *whole past* behind the bar:
#
# $$p(z_{1:T}, r_{1:T}, d_{1:T}\mid z_0, a_{0:T-1}) = \prod_{t=0}^{T-1} p(z_{t+1}, r_{t+1}, d_{t+1}\mid z_{0:t},\, r_{1:t},\, d_{1:t},\, a_{0:t}) .$$
#
# So far nothing is assumed, but that later actions say nothing of what has already happened (so it is in random play, which does not look). Now
# the model: the past is *summarised* in $h_{t+1}$, a function of $(z_0,a_0),\dots,(z_t,a_t)$; and given $h_{t+1}$, the latent, the reward and the
# ending are drawn independently (and so are the latent's dimensions, each from a mixture of its own: remember that one). A logarithm makes a sum,
# and that is the loss of this lesson:
#
# $$-\log p = -\sum_t\Big[\log p(z_{t+1}\mid h_{t+1}) + \log p(r_{t+1}\mid h_{t+1}) + \log p(d_{t+1}\mid h_{t+1})\Big] .$$
#
# Note what stands behind each bar: the *real* $z_t$, not one that the model has sampled. This is called **teacher forcing**, as if it were a
# trick of training. It is not; it is the chain rule. Note also that where an episode ends there is no $z_{t+1}$: that factor is missing.
#
# **A world that can be solved**, for all that follows: one number, $x_{t+1} = \rho\,x_t + s\,\varepsilon$ with $0<\rho<1$. The machine compares the joint
# density of two steps, a tilted bell with covariance $s^2\big(\begin{smallmatrix}1&\rho\\\rho&1+\rho^2\end{smallmatrix}\big)$, with the chain rule's two
# plain ones.

# %%
from wmcourse.lessons.mdn_rnn.derivation import L, p, q, r, rho, s, share, sigma, u, v, w, x0, x1, x2

covariance = s**2 * sp.Matrix([[1, rho], [rho, 1 + rho**2]])
off = sp.Matrix([x1 - rho * x0, x2 - rho**2 * x0])
joint = -sp.log(2 * sp.pi) - sp.log(covariance.det()) / 2 - (off.T * covariance.inv() * off)[0] / 2
proved(joint, log_normal(x1, rho * x0, s) + log_normal(x2, rho * x1, s), "One tilted bell, two upright ones.")

# %% [markdown]
# ### Step · What a dream cannot know
#
# ●○○ · 5 minutes · `steps.free_variance.hint()`
#
# **Free running**: from $x_t$ on, the model lives on its own samples. In the long run $x$ has variance $v = s^2/(1-\rho^2)$. What is
# $\mathrm{Var}(x_{t+L}\mid x_t)$, the chance that comes in within L steps? Write it with `v`, `rho` and `L`.

# %% step="free_variance"
free_variance = ...  # in v, rho, L
### BEGIN SOLUTION
free_variance = v * (1 - rho ** (2 * L))
### END SOLUTION

# %% check="free_variance"
steps.free_variance.check(free_variance)

# %% [markdown]
# **Four guesses of $x_{t+L}$**, and their mean squared errors. The best one, the average of endlessly many perfect dreams, $\rho^Lx_t$, is off by what you
# have just written. *One* perfect dream has its own chance as well as the world's, and is off by **twice** that. "Nothing moves" guesses $x_t$:
# $2v(1-\rho^L)$. "The average of all" guesses 0: $v$. Each formula is confirmed by dice (± is one standard error).
#
# Two things follow, for a *perfect* model. The average dream is never worse than the average of all. But one dream is, from
# $\rho^{2L}=\tfrac12$ on; here it is even worse than "nothing moves" at every horizon. A sample is not a guess: squared error punishes it for
# being alive. So judge dreams by their average, or by what you want of them.

# %%
rng = np.random.default_rng(0)
rho_, L_, many = 0.9, 6, 200_000
s_ = math.sqrt(1 - rho_**2)  # v = 1
now = rng.normal(size=many)
future, dream_of_it = now.copy(), now.copy()
for _ in range(L_):
    future, dream_of_it = (rho_ * x + s_ * rng.normal(size=many) for x in (future, dream_of_it))
unknown = float(free_variance.subs({v: 1, rho: rho_, L: L_}))
guesses = {
    "average of endless dreams": (rho_**L_ * now, unknown),
    "one perfect dream": (dream_of_it, 2 * unknown),
    "nothing moves": (now, 2 * (1 - rho_**L_)),
    "the average of all": (0 * now, 1.0),
}
for name, (guess, formula) in guesses.items():
    squares = (guess - future) ** 2
    error = squares.std() / math.sqrt(many)
    print(f"{name:<26} {formula:.4f} by the formula, {squares.mean():.4f} ± {error:.4f} by dice")
    assert abs(squares.mean() - formula) < 5 * error
print(f"one dream is worse than the average of all after {math.log(2) / (-2 * math.log(rho_)):.1f} steps")

# %% [markdown]
# ### Step · Fed with its own samples
#
# ●●● · 5 minutes · `steps.own_input.hint()`
#
# In the dream the network eats its own samples; in training it never did. *Scheduled sampling* (Bengio et al. 2015) closes this gap the direct way: with
# some chance, train on a sample of the model's own as the input, with the real next value as the target. Try it on our world, and let the
# model be perfect. The input is the real $x_{t+1}$, or, with chance `share`, its own sample $\tilde x_{t+1}=\rho x_t+s\tilde\varepsilon$. The
# target is the real $x_{t+2}$. Which slope $b$ makes $\mathbb E(x_{t+2}-b\cdot\text{input})^2$ least? Write it with `rho` and `share`.

# %% step="own_input"
own_input = ...  # in rho and share
### BEGIN SOLUTION
own_input = (1 - share) * rho + share * rho**3
### END SOLUTION

# %% check="own_input"
steps.own_input.check(own_input)

# %% [markdown]
# The truth was ρ, the data endless, the model perfect, and training *moves it away*. For every share above 0 the optimum is wrong, since
# the target followed from another $x_{t+1}$ than the input. And if the network remembers $x_t$, it moves its trust from the input to that memory:
# weight $\rho(1-\text{share})$ on the input, $\rho^2\cdot\text{share}$ on $x_t$. At share 1 it ignores its own samples altogether (the dice at
# the end of *Derive* show the slopes, and this). That is Huszár's objection (2015): scheduled sampling is not a consistent way to fit a
# distribution. It may still help a poor model in practice. What we do: teacher forcing, a good likelihood, and a *measured* horizon.

# %% [markdown]
# ### Step · What a class weight teaches
#
# ●●○ · 4 minutes · `steps.weighted_head.hint()`
#
# **The ending** is a coin: $-\log p(d\mid h) = -d\log q-(1-d)\log(1-q)$ with $q=\sigma(\ell)$, lesson 04's Bernoulli. In Dodge about one step in fifty is an
# ending, and missing one is what kills, so practitioners give endings a *class weight* w (3 in this course). If endings truly
# happen with probability p, the head minimises $-w\,p\log q-(1-p)\log(1-q)$. Which q does it put out? Write it with `p` and `w`.

# %% step="weighted_head"
weighted_head = ...  # in p and w
### BEGIN SOLUTION
weighted_head = w * p / (w * p + 1 - p)
### END SOLUTION

# %% check="weighted_head"
steps.weighted_head.check(weighted_head)

# %% [markdown]
# ### Step · How wide to be about a sample
#
# ●○○ · 4 minutes · `steps.sample_width.hint()`
#
# **Why latents are resampled.** The VAE gives a *distribution* for each frame, $\mathcal N(\mu,u^2)$ in each dimension. It is frozen, so it gives the same
# one each time: to run the encoder again for every batch buys nothing. Keep (μ, log σ²) of each frame, once, and draw a fresh z whenever the frame
# is used. Drawing *once* and keeping the z would be one fixed noise, to be learnt by heart. And keeping μ alone? Suppose the network
# predicts the centre with a miss of variance $r^2$, and the sample lies $u\,\varepsilon$ around the centre, independently of the miss. Which
# $\sigma^2$ should the network give to its prediction of the *sample*? Write it with `r` and `u`.

# %% step="sample_width"
sample_width = ...  # σ², in r and u
### BEGIN SOLUTION
sample_width = r**2 + u**2
### END SOLUTION

# %% check="sample_width"
steps.sample_width.check(sample_width)

# %%
epsilon, own, then = rng.normal(size=(3, many))
real_next, own_next = rho_ * now + s_ * epsilon, rho_ * now + s_ * own
target = rho_ * real_next + s_ * then
for part in (0.0, 0.5, 1.0):
    fed = np.where(rng.random(many) < part, own_next, real_next)
    slope = (fed * target).mean() / (fed**2).mean()
    error = ((target - slope * fed) * fed).std() / math.sqrt(many) / (fed**2).mean()
    formula = float(own_input.subs({rho: rho_, share: part}))
    print(f"share {part:.1f}: slope {formula:.4f} by the formula, {slope:.4f} ± {error:.4f} by dice")
    assert abs(slope - formula) < 5 * error
(remembered, fed_back), *_ = np.linalg.lstsq(np.stack([now, own_next], 1), target, rcond=None)
print(f"own samples only, and x_t remembered: {remembered:.2f}·x_t, and of the own sample {abs(fed_back):.2f}")
assert abs(fed_back) < 0.01

print(f"endings in random play: one step in {1 / played.done.mean():.0f}; the class weight of this course: {WEIGHT:g}")
cost = sp.log(2 * sp.pi) / 2 + sp.log(sigma) + (r**2 + u**2) / (2 * sigma**2)  # E[−log N(z; centre + miss, σ²)]
too_narrow, best = cost.subs(sigma, r), cost.subs(sigma, sp.sqrt(sample_width))
price = (u**2 / r**2 - sp.log(1 + u**2 / r**2)) / 2
assert sp.simplify(sp.diff(cost, sigma).subs(sigma, sp.sqrt(sample_width))) == 0
assert equal(weighted_head / (1 - weighted_head), w * p / (1 - p))  # odds, times w
assert equal((q / (q + w * (1 - q))).subs(q, weighted_head), p)  # and the weight undone
for ratio in (1, 3):
    z = rng.normal(size=many) + ratio * rng.normal(size=many)  # a miss of r = 1 and the encoder's doubt
    extra = z**2 / 2 - z**2 / (2 * (1 + ratio**2)) - math.log(1 + ratio**2) / 2
    error, formula = extra.std() / math.sqrt(many), float(price.subs({r: 1, u: ratio}))
    print(f"u = {ratio}·r: {formula:.4f} nats by the formula, {extra.mean():.4f} ± {error:.4f} by dice")
    assert abs(extra.mean() - formula) < 5 * error
proved(too_narrow - best, price)

# %% [markdown]
# ## See it
#
# (First what the last cell has proved and thrown. Scheduled sampling moves the slope as you said, and with a memory, at share 1, the own sample is
# ignored. A class weight multiplies the *odds* by w, for every p: so it can be undone. And a network that was trained on centres alone pays, when it
# meets samples, the price in the last line: 0.15 nats for each dimension and step where $u=r$, and 3.3 where $u=3r$. The better it predicts
# centres, the dearer its mistake. One of your predictions comes back below, and the measurement on Dodge follows.)
#
# **How long is a dream good?** The world that you have solved. At horizon 10, which of the four is best, which worst? Then give the model a ρ that is a
# little off: on one step you would hardly see it. In which direction is being off more dangerous?
#
# **Which action made this frame?** Real steps of Dodge: how the agent's velocity changed between frames t and t + 1 (friction removed), against an
# action. Move the shift until you know which action belongs there. And how much does a *wrong* one explain?

# %% keep=true
swings = [(1 - 0.90**2) / (1 - believed**2) for believed in (0.96, 0.84)]  # the dreams' variance ÷ v
assert [f"{swing:.2f}" for swing in swings] == ["2.42", "0.65"]
assert all(0.75 < explained(played, shift) < 0.8 for shift in (-1, 1))
display(lesson.questions["on_centres"].reveal(), free_running(), alignment(played))

# %% [markdown]
# At shift 0 all points lie on a line: $a_t$, taken on seeing frame t, makes frame t + 1. But the actions beside it explain more than three
# quarters of it, too, because pushes are held for a while. That is why the commonest mistake in all of this, each action **off by one**, shows
# neither as an error nor as a loss that will not fall: it is a slightly worse model, whose dream obeys the stick with a delay. Make this
# picture for every data set that you did not record yourself.
#
# (And which ρ is the dangerous one, too small or too large? Too large: with 0.96 for 0.90 the dreams' variance grows to 2.4 v in place of v; with
# 0.84 it falls to 0.65 v. The cell above has checked both, and the three quarters.)

# %% [markdown]
# ## Build it
#
# Seven functions. The two with ★ are parts of your world model. Write `mdn_rnn.dream_step(…)` and `mixture_density_networks.mixture_nll(…)`
# with the module's name, or a shorter one, before them: when the network is trained below, *your* functions stand in these modules.

# %% [markdown]
# ### Exercise 1 · Windows that never cross an episode
#
# ●●○ · 10 minutes · `ex.windows.hint()`
#
# All steps of all episodes lie one after the other in a row; `ended` `(N,)` is true at each episode's last step. For each window's `first`
# step `(B,)` return its `steps` `(B, length + 1)`: the rows of $z_0\dots z_T$. A window that comes to its episode's last step stays there (that
# is padding). And a `mask` `(B, length)`, float: 1 for each real step, *the last one included*, and 0 for padding.


# %% exercise="windows"
def windows(first: torch.Tensor, ended: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows (B, length + 1) of windows that stay in their episode, and a mask (B, length): 1 where a step is real."""
    ### BEGIN SOLUTION
    ends = ended.nonzero()[:, 0]
    last = ends[torch.searchsorted(ends, first)][:, None]  # of each window's episode
    steps = first[:, None] + torch.arange(length + 1)
    return steps.clamp(max=last), (steps[:, :-1] <= last).float()
    ### END SOLUTION


# %% check="windows"
ex.windows.check(windows)

# %% [markdown]
# ### Exercise 2 · The done head, and its class weight
#
# ●●○ · 8 minutes · `ex.done_head.hint()`
#
# From the head's `logit` ℓ and `done` (1 or 0), of any shape, return two tensors of that shape: the weighted negative log-likelihood of each step,
# with `weight` on the endings, finite and right also where the head is very sure; and the *honest* probability of an ending, by a head that was
# trained so: the weight undone.


# %% exercise="done_head"
def done_head(logit: torch.Tensor, done: torch.Tensor, weight: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Nats of each step, endings weighted; and the probability of an ending with the weight undone."""
    ### BEGIN SOLUTION
    nll = weight * done * F.softplus(-logit) + (1 - done) * F.softplus(logit)
    return nll, torch.sigmoid(logit - math.log(weight))
    ### END SOLUTION


# %% check="done_head"
ex.done_head.check(done_head)

# %% [markdown]
# ### Exercise 3 · The loss of a sequence ★
#
# ●●● · 15 minutes · `ex.sequence_loss.hint()`
#
# Latents `z` `(B, T + 1, Z)`, actions `a` `(B, T, A)`; `reward`, `done`, `mask` and `ended` `(B, T)`, where place t belongs to the step
# $(z_t,a_t)\to z_{t+1}$. `model(z, a)` returns a prediction for each step it is given (`log_pi`, `mu`, `log_sigma`, `reward`, `done_logit`) and the state. Lesson 07's
# `mixture_nll(target, log_pi, mu, log_sigma)` gives the latent's nats of each step, summed over its dimensions.
#
# Return `SequenceLoss(total, latent, reward, done)`, each a mean per *real* step. The latent's mean is over steps that have a next latent: real, and not
# `ended` (1 at a hit, and where the episode is only cut off; where it is not given, take `done`). Reward: $\tfrac12(r-\hat r)^2$, a Gaussian of
# width 1 without its constant. Total = latent + reward + done, where in the total alone endings count `done_weight` times. A batch without any
# next latent has latent 0.


# %% exercise="sequence_loss"
from wmcourse import mixture_density_networks
from wmcourse.mdn_rnn import MDNRNN, SequenceLoss


def sequence_loss(
    model: MDNRNN,
    z: torch.Tensor,
    a: torch.Tensor,
    reward: torch.Tensor,
    done: torch.Tensor,
    mask: torch.Tensor,
    ended: torch.Tensor | None = None,
    done_weight: float = 1.0,
) -> SequenceLoss:
    """-log p(z_{1:T}, r_{1:T}, done_{1:T} | z_0, a_{0:T-1}) in nats per real step, and its parts."""
    ### BEGIN SOLUTION
    ended = done if ended is None else ended
    inside = mask * (1 - ended)  # z_{t+1} exists and is of the same episode
    p, _ = model(z[:, :-1], a)
    nll = mixture_density_networks.mixture_nll(z[:, 1:], p.log_pi, p.mu, p.log_sigma)
    latent = (nll * inside).sum() / inside.sum().clamp(min=1)
    r = (0.5 * (p.reward - reward).square() * mask).sum() / mask.sum()
    bce = F.binary_cross_entropy_with_logits(p.done_logit, done, reduction="none")
    d = (bce * mask).sum() / mask.sum()
    weighted = (bce * (1 + (done_weight - 1) * done) * mask).sum() / mask.sum()
    return SequenceLoss(latent + r + weighted, latent, r, d)
    ### END SOLUTION


# %% check="sequence_loss"
ex.sequence_loss.check(sequence_loss)

# %% [markdown]
# ### Exercise 4 · One step of the dream ★
#
# ●●○ · 10 minutes · `ex.dream_step.hint()`
#
# `z` `(B, Z)`, `a` `(B, A)` and the `state` (h, c), each `(B, H)`. Two methods are there: `model.step(z, a, state)` returns the next state, and
# `model.read(h)` a prediction (`log_pi`, `mu`, `log_sigma`, `reward`, `done_logit`). Return `DreamStep(z, reward, done_probability, state)`: a
# sample of $z_{t+1}$ (by lesson 07's `sample_mixture`, which takes `temperature` and `generator`), the expected $r_{t+1}$, $P(d_{t+1}=1)$ as the
# head says it, and the new state. B may be 1: that is how one plays. Gradients must get through (no `torch.no_grad`): a planner may want them.


# %% exercise="dream_step"
from wmcourse import mixture_density_networks as mixtures
from wmcourse.mdn_rnn import MDNRNN, DreamStep


def dream_step(
    model: MDNRNN,
    z: torch.Tensor,
    a: torch.Tensor,
    state: tuple[torch.Tensor, torch.Tensor],
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> DreamStep:
    """(z_t, a_t, h_t) -> z_{t+1}, r_{t+1}, P(done_{t+1}), h_{t+1}; z (B, Z), a (B, A)."""
    ### BEGIN SOLUTION
    state = model.step(z, a, state)  # first the transition: all that follows is read from h_{t+1}
    h = state[0]
    reward, done_logit = model.read_outcome(h)
    if temperature > 0:
        z = mixtures.sample_mixture(*model.mdn(h), temperature, generator)
    else:  # the same as a sample at 0, in a third of the time
        z = model.mdn.most_likely(h)
    return DreamStep(z, reward, torch.sigmoid(done_logit), state)
    ### END SOLUTION


# %% check="dream_step"
ex.dream_step.check(dream_step)

# %% [markdown]
# ### Exercise 5 · Listen, then dream
#
# ●●● · 15 minutes · `ex.dream.hint()`
#
# You have seen $z_0\dots z_C$ (`z`, `(B, C + 1, Z)`), and are given *all* actions $a_0\dots a_{C+L-1}$ (`a`, `(B, C + L, A)`): those of the past, and
# those of the dream. First listen: the memory after $z_0\dots z_{C-1}$, from $h = 0$ (which is `model.initial_state(B)`). Then dream L steps from $z_C$ on. Return the latents
# $z_{C+1}\dots z_{C+L}$ `(B, L, Z)`, and for each the probability of being still alive then, `(B, L)`, with the class weight undone. Call
# `mdn_rnn.dream_step`: whoever rebuilds the step from `model.step` and `model.read` passes, too, but then exercise 4 has no part in the
# dreams, and the count of its calls below stays at 0.

# %% exercise="dream"
from wmcourse import mdn_rnn
from wmcourse.mdn_rnn import MDNRNN


def dream(
    model: MDNRNN, z: torch.Tensor, a: torch.Tensor, temperature: float, done_weight: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (B, L, Z) of a dream that goes on from the last of z (B, C + 1, Z), and the chance to be alive (B, L)."""
    ### BEGIN SOLUTION
    past = z.shape[1] - 1
    _, state = model(z[:, :past], a[:, :past])  # listen: the memory after z_0 .. z_{C-1}
    now, alive, latents, survival = z[:, past], z.new_ones(len(z)), [], []
    for t in range(past, a.shape[1]):
        step = mdn_rnn.dream_step(model, now, a[:, t], state, temperature)
        now, state, p = step.z, step.state, step.done_probability
        alive = alive * (1 - p / (p + done_weight * (1 - p)))  # the weight undone
        latents.append(now)
        survival.append(alive)
    return torch.stack(latents, dim=1), torch.stack(survival, dim=1)
    ### END SOLUTION


# %% check="dream"
ex.dream.check(dream)

# %% [markdown]
# ### Exercise 6 · How far off, after how long
#
# ●●○ · 8 minutes · `ex.open_loop_error.hint()`
#
# S dreams of each of B episodes, `dreams` `(S, B, L, D)`, what really came, `real` `(B, L, D)`, and a `mask` `(B, L)` that is 1 while the episode goes on. Return two
# tensors `(L,)`, means over the episodes that go on: the squared distance (a sum over D) of *one* dream, averaged over the S; and that of the *average*
# of the S dreams.


# %% exercise="open_loop_error"
def open_loop_error(dreams: torch.Tensor, real: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances at each horizon (L,): of a single dream, and of the average of all S."""
    ### BEGIN SOLUTION
    one = (dreams - real).square().sum(dim=-1).mean(dim=0)  # (B, L)
    average = (dreams.mean(dim=0) - real).square().sum(dim=-1)
    there = mask.sum(dim=0)  # episodes that still go on, (L,)
    return (one * mask).sum(dim=0) / there, (average * mask).sum(dim=0) / there
    ### END SOLUTION


# %% check="open_loop_error"
ex.open_loop_error.check(open_loop_error)

# %% [markdown]
# ### Exercise 7 · Counting the paper's M
#
# ●○○ · 5 minutes · `ex.mdn_rnn_parameters.hint()`
#
# An LSTM of H units that gets (z, a), with *one* bias for each gate, and a linear layer from h to log π, μ and log σ of K components for each latent
# dimension. Return a tensor of two whole numbers: the LSTM's parameters, and the layer's. (No reward and no ending: the paper's CarRacing
# model has none.)


# %% exercise="mdn_rnn_parameters"
def mdn_rnn_parameters(latent: int, action: int, hidden: int, components: int) -> torch.Tensor:
    """The parameters of the LSTM (one bias) and of the mixture layer: two whole numbers."""
    ### BEGIN SOLUTION
    lstm = 4 * hidden * (latent + action + hidden + 1)  # four gates: input and memory weights, one bias
    mixture = 3 * latent * components * (hidden + 1)  # log π, μ and log σ of each component, a bias each
    return torch.tensor([lstm, mixture])
    ### END SOLUTION


# %% check="mdn_rnn_parameters"
ex.mdn_rnn_parameters.check(mdn_rnn_parameters)

# %%
lstm, layer = lesson.yours("mdn_rnn_parameters")(32, 3, 256, 5).tolist()  # Z, A, H, K of Ha & Schmidhuber (2018)
biases = 4 * 256
print(f"the paper’s M for CarRacing: {lstm:,} + {layer:,} = {lstm + layer:,} parameters")
print(f"with torch.nn.LSTM, whose two biases are only ever added: {lstm + layer + biases:,}")
assert lstm + layer == 422_368 == sum(p.numel() for p in PaperMDNRNN().parameters())

# %% [markdown]
# ## Measure it
#
# **Four trainings** with *your* parts, where you have some. The latents are those of lessons 06 and 07: random play through a VAE that is trained
# once (if the folder `runs/memories` is not there, that takes half a minute now) and then kept as (μ, log σ²). First the cost of a batch:
# drawn from the cache, or encoded anew. Then K = 5; K = 1; K = 5 *without memory*, where each step is a window of its own, with h = 0; and, as a warning, K = 5 on
# the centres μ alone (for a third of the steps). The plot shows held-out nats per step of the next latent; the last one never comes down into the
# picture.

# %% tags=["nbval-ignore-output"]
parts = your_parts(lesson)
print(parts)
cut, listen, rule = (lesson.yours(name) for name in ("windows", "dream", "open_loop_error"))
memories = dodge_memories()
cached, anew = cost_of_encoding(memories, cut)
print(f"the latents of 32 windows: {1000 * cached:.1f} ms from the cache, {1000 * anew:.0f} ms encoded anew")
models = {}
with LossPlot() as plot:
    models["K = 5"] = train("K = 5", memories, parts, cut, show=plot.show)
    models["K = 1"] = train("K = 1", memories, parts, cut, components=1, show=plot.show)
    models["no memory"] = train("no memory", memories, parts, cut, window=1, show=plot.show)
    models["on μ alone"] = train("on μ alone", memories, parts, cut, sampled=False, steps=400, show=plot.show)
for name, calls in parts.calls.items():
    print(f"your {name} was called {calls:,} times so far")

# %% [markdown]
# **Likelihood, in pairs.** All networks are asked about the same held-out steps with the same noise, so what these have in common cancels. Steps of one
# episode resemble each other: the intervals are over the *episodes* (each network is trained once: of another training they say nothing). What is
# the memory worth, and what the mixture? And where does the mixture earn it: at forks (the first three frames after one), where a new hazard
# appears, or everywhere? On the right a mistake that needs no training: the row of episodes read in one go, with **h carried over each reset**.
# The last lines are the done head's: what it says, and what happened, with the weight left in and undone (± is one standard error there).

# %% tags=["nbval-ignore-output"]
test = memories.held_out
print(f"{len(test):,} held-out steps of {len(test.start)} episodes")
measured = {name: measure(model, test, memory=name != "no memory") for name, model in models.items()}
five = measured["K = 5"]
for name, other in measured.items():
    print(
        f"{name:<11} {other.latent_mean:8.2f} nats per step"
        + ("" if other is five else f", {interval(other.more_than(five))} more than K = 5")
    )
at_fork, appears = forking(test) | forking(test, 1) | forking(test, 2), appearing(test)
pairs = {
    "memory cut": measured["no memory"].more_than(five),
    "K = 1": measured["K = 1"].more_than(five),
    "K = 1, at forks": measured["K = 1"].more_than(five, at_fork),
    "K = 1, new hazards": measured["K = 1"].more_than(five, appears),
    "K = 1, elsewhere": measured["K = 1"].more_than(five, ~(at_fork | appears)),
}
carried = measure(models["K = 5"], test, across=True)
begun = age(test)
for name, pair in pairs.items():
    print(f"{name:<18} {interval(pair)} nats per step")
reset = [carried.more_than(five, (begun == k) & (np.arange(len(test)) > 0)) for k in range(12)]
print(
    f"h carried over a reset: {reset[0][0]:.1f} nats more at an episode's first step, {reset[10][0]:.1f} at its eleventh"
)
centres = measure(models["on μ alone"], test, sampled=False).latent_mean
print(
    f"trained on μ alone: {centres:.1f} nats on held-out centres, {five.latent_mean - centres:.0f} fewer than K = 5 on samples; {measured['on μ alone'].latent_mean:.0f} on the samples that a dream is made of"
)
honest = lesson.yours("done_head")
for weight, label in ((1.0, "weight left in"), (WEIGHT, "weight undone")):
    print(f"the done head, {label}:")
    for n, said, happened, error in calibration(five, test, lambda logit, w: honest(logit, 0 * logit, w)[1], weight):
        print(f"   {n:>6,} steps: said {said:6.1%}, happened {happened:6.1%} ± {error:.1%}")
assert pairs["K = 1, at forks"][0] > pairs["K = 1, elsewhere"][0]
assert pairs["memory cut"][0] > 1 > 3 * pairs["K = 1"][0]
assert centres < five.latent_mean < measured["on μ alone"].latent_mean
assert reset[0][0] > 5
likelihood_picture(pairs, reset, ("what is lost without", "h carried over a reset"))

# %% [markdown]
# The memory is worth far more than the mixture. And the mixture earns its keep where chance enters: at forks, and where a new hazard
# appears in a column that nobody could know. Elsewhere there is little left for it to say. The network on centres looked almost 20 nats *better*, on its own data.
# And the done head: with the weight left in, its middle groups say a multiple of what happens; undone, they come close. (The surest group now says
# too little: the formula holds at the *optimum*, and a trained head is only near it.)
#
# **The film.** Reality, your dream at τ = 1, and your dream at another τ, from the same start, with the same actions and the same dice. The frames
# up to "now" were seen; below the strip, the lower dream's chance of being alive. Go through starts and dice. How long does the *agent* stay right, and how
# long the hazards? What does τ = 0 never do, and what does τ = 3? (In the still picture τ = 0 comes out almost right. It was lucky: the one fork went the
# network's way, and beside a wall many hazards appear right at the wall. Other starts are less kind. All eight are starts from which the agent
# lives on for long, so that there is a reality to compare with: do not judge the chances by them.)
#
# **Through a fork.** One latent dimension, one step ahead of the real past (middle), and in 120 dreams that began before the fork (right). Move through the
# steps. Right after the fork the two futures are two pixels apart, half a hazard, and a part of it is still behind the band: two humps at most, close
# together. In the dreams they become two heaps. (Fork and dimension were picked because they show it well.)
#
# **Is the dream's coin fair?** In Dodge each hazard turns left or right with a chance of one half. Sixty held-out forks, a hundred dreams of each. In
# sum, left and right should balance. At *each single fork*, too, and there the black outline shows what fair coins would do. Where
# the light is on neither side clearly, a dream is not counted; the first line says how well this reading works on real frames.

# %% tags=["nbval-ignore-output"] signature=1
moments, chosen = starts(test, cut), forks(test)
strip = Film(models["K = 5"], listen, parts, memories, moments)
assert 2 * Rules().turn == Rules().hazard / 2  # the two futures of a fork: half a hazard apart after one step
display(strip.picture((1.0, 0.0)), strip.explorer())
real_side = count_sides(models["K = 5"], listen, parts, memories, cut, chosen, real=True)
told = real_side.left + real_side.right
print(
    f"real frames: {told.sum()} of {len(chosen)} forks can be read, {np.mean([bool(a) == f.left for a, f, ok in zip(real_side.left, chosen, told > 0, strict=True) if ok]):.0%} of these rightly; {np.mean([f.left for f in chosen]):.0%} went left"
)
sides = {
    "K = 5": count_sides(models["K = 5"], listen, parts, memories, cut, chosen[:60]),
    "K = 1": count_sides(models["K = 1"], listen, parts, memories, cut, chosen[:60]),
    "K = 5, τ = 0": count_sides(models["K = 5"], listen, parts, memories, cut, chosen[:60], temperature=0.0),
}
for name, counted in sides.items():
    total, error = counted.share
    print(
        f"{name:<12} {total:.0%} left, 95 % interval {total - 1.96 * error:.0%} to {total + 1.96 * error:.0%}; {counted.neither.sum() / 6000:.0%} on neither side"
    )
view = ForkView(models, listen, parts, memories, cut, chosen)
display(view.explorer(), sides_picture(sides, 60), lesson.questions["one_bell"].reveal())

# %% [markdown]
# In sum the coin is fair, as far as the interval can tell. Fork by fork it is not: the shares spread wider than coins' would, so the network has
# opinions where there is nothing to know. K = 1 dreams forks about as well as K = 5: a sample of its one bell lands a little to a side, and the
# *memory* makes a fact of it. (So "K = 1 cannot dream two futures" is not true of a network that is fed its samples. Its likelihood says what it
# lacks.) And one dream in seven is torn, or hangs in between, which no real frame does: with a mixture *per dimension*, even of one bell, each
# dimension is drawn for itself (the assumption to remember), and nothing makes them agree. At τ = 0, with no chance to tip it, it is one in three.
#
# **When does a dream stop being useful?** Moments of the held-out episodes, every twentieth step, each world beginning to count at another one; eight
# dreams of 40 steps from each, decoded. Where a real episode ends, the recorded pushes of the next go on. On the left, squared errors of the frame, with
# your two numbers, and two baselines that need no model. One dream is off by m + s and the average of S by m + s/S: m is what the average of
# endlessly many would be off by, s the variance of dreams around it. So your two numbers give m. On the right what a planner asks: *shall I still
# be alive then?* The Brier score is the mean of (chance said − what came)², where what came is 1 or 0; the base rate says for each horizon the
# same chance to all. Moments of one world share their luck, so the intervals are over the 64 *worlds*.
#
# How much of it is the network's fault? **A perfect model** can be had here: the simulator itself. Each of its eight dreams is a copy of the world at that
# moment, in which only what chance had not decided yet is drawn anew: the sides of the forks to come, and when and where the next hazards appear. What
# these dreams cannot foretell, no model can. How much longer are they good, do you think?
#
# The moments are chosen by the past alone. The last two lines show what happens otherwise: **starts that know their future**. Draw one moment of
# each episode between its twelfth step and its *end*, which seems harmless, and the same network seems to dream of a kinder world.

# %% tags=["nbval-ignore-output"]
world = moments.world.numpy()
latents, survival = dreams(models["K = 5"], listen, parts, moments)
drawn, lived_on = copies(test, moments)
whole, perfect = (open_loop(dreamt, moments, memories, rule) for dreamt in (latents, drawn))
agent = open_loop(latents, moments, memories, rule, rows=slice(29, 32))
hazards, perfect_hazards = (open_loop(d, moments, memories, rule, rows=slice(0, 12)) for d in (latents, drawn))
print(f"{len(moments)} moments of {len(np.unique(world))} worlds. Worse than the average frame is")
print(f"   one dream after {useful(whole.one, whole.mean, world)}")
print(f"   one perfect dream after {useful(perfect.one, whole.mean, world)}")
print(f"   the average of endless dreams after {useful(whole.endless, whole.mean, world)}")
print(f"   and in the agent’s rows alone: {useful(agent.endless, agent.mean, world)}")
print(f"   one dream in the rows above the band after {useful(hazards.one, hazards.mean, world)}")
print(f"   and one perfect dream there: {useful(perfect_hazards.one, hazards.mean, world)}")
print(f"one dream is worse than “nothing moves” after {useful(whole.one, whole.still, world)}")
errors = (perfect.one, perfect.endless, whole.one, whole.endless, whole.mean)
print("squared errors: perfect dream, endless ones; dream, endless ones; average frame")
for n in (1, 6, 10, 20, 40):
    means = [float(np.nanmean(error[:, SHOWN.index(n)])) for error in errors]
    print(f"   after {n:>2} steps: " + "{:5.1f} {:5.1f}; {:5.1f} {:5.1f}; {:5.1f}".format(*means))
bright = [light(memories, dreamt, moments, 40) for dreamt in (drawn, latents)]
print(
    f"squared light of the hazards after 40 steps: {bright[0]:.1f} in perfect dreams, {bright[1]:.1f} in the network’s"
)
(foretold, base), (foretold_best, _) = forecast(survival, moments), forecast(lived_on, moments)
alive_horizon = useful(foretold[:, 1:], base[:, 1:], world, tuple(range(2, 41)))
print(f"“still alive?” is foretold better than by the base rate for {alive_horizon}")
for name, score in (("the network’s", foretold), ("a perfect model’s", foretold_best)):
    lead = np.nanmean(base - score, 0)
    words = ", ".join(f"{lead[n - 1]:.2f} after {n} steps" for n in (10, 20, 30, 40))
    print(f"   {name} lead in Brier score: {words}")
print(f"   a perfect forecast is never wrong up to step {np.flatnonzero(np.nanmean(foretold_best, 0) > 0)[0]}")
for name, calls in parts.calls.items():
    print(f"your {name} was called {calls:,} times so far")
too_kind = kindness(survival, moments, 20)
knowing = knowing_starts(test, cut)
_, foretold_there = dreams(models["K = 5"], listen, parts, knowing)
seems_kind = kindness(foretold_there, knowing, 20)
print(f"alive after 20 steps, in the dream more than in the world: {interval(too_kind)}")
print(f"   the same from starts that know their future: {interval(seems_kind)}")
assert useful(whole.one, whole.mean, world).steps < useful(perfect.one, whole.mean, world).steps < 20
off_by, error = mean_and_error(perfect.one - 2 * perfect.endless, world)  # the rule of two
assert (abs(off_by) < 3.5 * error).all()
assert alive_horizon.low > 12
assert seems_kind[0] > too_kind[0] + 0.05
forecasts = {"the network’s dreams": foretold, "perfect dreams": foretold_best, "the base rate": base}
display(
    horizon_picture(whole, perfect, forecasts, reconstruction_error(memories, moments), world),
    lesson.questions["one_dream"].reveal(),
)

# %% [markdown]
# Three answers to one question, since "useful" has no meaning without "for what".
#
# *As a guess,* one dream is worse than the average frame after a dozen steps. But one dream of a *perfect* model is, too, three steps later: what ends
# this horizon is the world's chance, and no training moves it much further. A perfect dream is off by twice what endlessly many are (to within the
# errors, the cell asserts), as in the world that you solved. What the network itself lacks is the gap between the dotted lines: widest after some six
# steps, small in the end, where nobody can know any more. And mark the far end, where one dream of the network is off by *less* than a perfect one. It is
# not better. It shows less of the hazards' light, as printed, and squared error spares whoever does not commit himself.
#
# *As an average,* many dreams stay below the average frame to the end of what we measured, not least because the agent obeys the actions, which the dreams are told.
# ("Nothing moves" is hopeless where everything falls. In the world that you solved, where nothing has a direction, it beat a single dream: a baseline is
# as good as it fits the world.)
#
# *For planning,* the forecast of a hit is best where it is near, and beats the base rate for some thirty steps or more: most after ten or so,
# then by less and less, as the printed leads say. Here a better network would pay: the perfect forecast leads by more, and for seven steps it is
# never wrong, since whatever can hit you by then has chosen its side.
#
# Are the dreams too kind? Not that we could see: after 20 steps as many are alive in them as in the world, to within the interval. From starts that know
# their future it looks otherwise, by about ten in a hundred. But that is the sampling. An episode that ends early has few moments to draw from, so those just before a hit are drawn too often; and where the
# recording stops, who has survived is left out, while who was hit before still counts. No model that is told only the past can know either. *Choose
# starts by what was known at the time.*
#
# **Temperature against divergence.** τ in six settings. Left, after five steps: how far one dream is off, and how far dreams are from their
# average. Right: the share alive after 20 steps, in the dream and in the world.

# %% tags=["nbval-ignore-output"]
table = {}
lived = per_step(moments.alive[:, 19].numpy(), np.ones(len(moments), bool), world)
for tau in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0):
    latents, survival = dreams(models["K = 5"], listen, parts, moments, tau)
    errors = open_loop(latents, moments, memories, rule, (5,))
    one, spread = (tuple(float(x[0]) for x in mean_and_error(part, world)) for part in (errors.one, errors.spread))
    alive = per_step(survival[:, :, 19].mean(0).numpy(), np.ones(len(moments), bool), world)
    table[tau] = {
        "one dream's error": one,
        "spread of dreams": spread,
        "alive": alive,
    }
    kinder = kindness(survival, moments, 20)
    print(
        f"τ = {tau:g}: error {one[0]:.1f}, spread {max(spread[0], 0):.1f}, alive {alive[0]:.0%}, {interval(kinder)} more than in the world"
    )
assert table[0.0]["spread of dreams"][0] < 1e-3 < table[1.0]["spread of dreams"][0] < table[3.0]["spread of dreams"][0]
temperature_picture(table, lived)

# %% [markdown]
# ## Explain it
#
# First, what the last picture says. τ widens the dreams, as it must, and the *lowest* τ has the smallest squared error: a dream without chance pays
# for no spread of its own. That is no argument for τ = 0, whose hazards all turn the way the network likes best. Take the printed spread off the
# error: what is left, m, is 15 at τ = 0, and between 11 and 12 from τ = 0.5 to 2, where averaging many dreams pays. The paper's point
# (Ha & Schmidhuber 2018, their table of τ) is that an agent *trained* in such a dream learns to exploit it. The pushes of random play exploit
# nothing, and for them the share alive hardly moves from τ = 0.5 on. At τ = 0 some seven in a hundred more live than in the world, and the
# printed interval leaves 0 out, if not by much: a dream without chance is a little kinder, even to those who do not look for it. For or against
# a τ above 1 this picture says nothing. Lesson 11 asks again, with an agent that looks for the dream's weak places.
#
# Three questions, answered at once.

# %%
for name in ("honest", "many_dreams", "own_samples"):
    display(lesson.questions[name].ask())

# %% [markdown]
# ## Close
#
# The formula card, typeset from the expressions that your steps were compared with:

# %%
lesson.card()

# %% [markdown]
# **Pitfalls you have met.** Each action one step late: it trains, and the dream obeys with a delay. h carried over a reset: about 30 nats at
# every episode's first step. Training on μ alone: a lower loss on centres, and 100 nats more on the samples that a dream is made of. `squeeze()`
# at batch 1: name the axis. Reward and ending read before the transition: they belong to $h_{t+1}$. The ending masked out with its missing
# latent: nobody dies in the dream. A class weight that nobody undoes. One dream judged as if it were a guess. Starts that know their future:
# moments drawn up to an end that nobody knew of then.
#
# **Where this lives.** `wmcourse/mdn_rnn.py`: `sequence_loss` and `dream_step` are now parts of your world model. Next is lesson 09, which uses a model to
# choose: many plans, one dream each, and the best first action.
#
# **Try next.** One hyper-parameter: the window. Train with `window=8` and with 64; which does it move, the memory's worth or the mixture's? One extension: cure the
# opinions. The side of a fork is a coin in the *world*; count sides at τ = 1.5, or train twice as long (`steps=2400`). Which of the two narrows
# the histogram, and what does the longer training do to the held-out nats?
#
# **You can now read** Ha & Schmidhuber (2018), [*World Models*](https://arxiv.org/abs/1803.10122), the sections on the MDN-RNN and on Take Cover, and its appendix on
# the networks; Graves (2013), [*Generating Sequences With Recurrent Neural Networks*](https://arxiv.org/abs/1308.0850), the section on handwriting, whose
# mixture output is the ancestor of this one (there two pen coordinates with a correlation); Bengio et al. (2015), [*Scheduled
# Sampling*](https://arxiv.org/abs/1506.03099), and against it Huszár (2015), [*How (not) to Train your Generative
# Model*](https://arxiv.org/abs/1511.05101): you have derived its point for one number.
