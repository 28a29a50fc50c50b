# %% [markdown]
# # 04 · Reconstruction loss
#
# **The question.** Lesson 03 put a price on the code: so many nats for what is whispered to the decoder. The other half of the loss
# is what the decoder's picture costs, and for the two to be added it must be in the same nats: −log p(x|z), the surprise of the
# true frame under what was drawn. But p must be chosen. Below, one frame of Dodge, one blurred drawing of it, and what four
# likelihoods charge for the same pixels. The bills differ by thousands of nats, and two are negative. Which one is right, what does
# each of them make a decoder draw, and what happens when somebody takes a mean where the sum belongs?
#
# In the picture the three bells have one standard deviation, 0.1 (black is 0, white is 1). Above each map stands the whole bill; below
# it, how much of that is due to the blur: what is left when the bill for a perfect drawing is taken off. Under the picture: where this
# piece sits in the finished system, and your progress.

# %% keep=true
import math

import sympy as sp
import torch
from torch.nn import functional as F

from wmcourse.lessons import open_lesson
from wmcourse.lessons.derivation import proved
from wmcourse.lessons.frames import dodge_frames
from wmcourse.lessons.map import system_map
from wmcourse.lessons.reconstruction_loss.derivation import (
    BCE,
    GAUSSIAN,
    a,
    b,
    ell,
    m,
    n,
    p,
    s,
    sae,
    sigma,
    sse,
    t,
    u,
    x,
)
from wmcourse.lessons.reconstruction_loss.experiment import (
    bernoulli_8bit,
    gaussian_8bit,
    grey,
    laplace_8bit,
    outputs,
    pictures,
    train,
)
from wmcourse.lessons.reconstruction_loss.widgets import (
    Paintings,
    four_likelihoods,
    opening,
    two_futures,
    width_bowl,
)

lesson = open_lesson("04")
ex, steps = lesson.exercises, lesson.steps
frames = dodge_frames()  # 4,096 of them, (N, 1, 32, 32), in [0, 1]: those of lesson 03
display(opening(pictures(frames)[2]), system_map(highlight=["V"]), lesson.panel())

# %% [markdown]
# **After this lesson you can**
#
# 1. derive cross-entropy, squared error and absolute error from three likelihoods, with every ½ and every constant;
# 2. write them so that no logit overflows, summed over what one sample consists of;
# 3. let the errors choose σ, and say what a fixed σ, a lost ½ and a mean over pixels do: each is a β that nobody chose;
# 4. tell a density from a probability, and compare two models only where that is allowed;
# 5. choose the likelihood that fits your pixels, and say what it will fail to draw.
#
# | section | minutes of yours | of the machine's |
# |---|--:|--:|
# | Predict first | 5 | – |
# | Derive | 32 | – |
# | See it | 12 | – |
# | Build it | 65 | – |
# | Measure it | 18 | 1 |
# | Explain it | 5 | – |
# | Close | 5 | – |
#
# That is 2 hours and 20 minutes if you work everything, more than the study guide's 1–2 hours. Leave exercise 6 with its paragraph
# *256 greys*, and you are at two; what follows then uses the course's function. In one hour: the first two steps, the three
# widgets, exercises 1 to 4, and *A mean where the sum belongs*.
#
# **From before** you need lesson 01's ELBO, whose first term this is, and lesson 03's nats, β and collapse.

# %% [markdown]
# ## Predict first
#
# Three questions before you read. The answers come back where they are needed.

# %%
for name in ("negative_loss", "two_futures", "mean_pixels"):
    display(lesson.questions[name].predict())

# %% [markdown]
# ## Derive
#
# **The decoder is a likelihood.** It does not draw a frame, it draws a *distribution* over frames, and pixels are independent once
# z is known. So the frame's probability is a product over pixels, and its negative logarithm a **sum**:
#
# $$-\log p(x\,|\,z) \;=\; \sum_{i}\, -\log p(x_i\,|\,z) .$$
#
# **Black or white.** A Bernoulli pixel is white with probability s: $p(x) = s^{\,x}(1-s)^{1-x}$. Put in x = 1: what is left is s.
# You will meet this formula with the exponents swapped, $s^{1-x}(1-s)^x$; put in x = 1 there, and a white pixel has the probability
# $1-s$. That version trains without complaint, to the negative of the picture. The network puts out a *logit* ℓ, any real number,
# and $s = 1/(1+e^{-\ell})$.

# %% [markdown]
# ### Step · From a probability to a logit
#
# ●●○ · 6 minutes · `steps.bce.hint()`
#
# Write $-\log p(x) = -x\log s - (1-x)\log(1-s)$ in terms of ℓ (`ell`) and `x`. (Two imported helpers: `s(ell)` is the sigmoid,
# `sp.log` and `sp.exp` are sympy's.)

# %% step="bce"
bce = ...  # in ell and x
### BEGIN SOLUTION
bce = sp.log(1 + sp.exp(ell)) - ell * x
### END SOLUTION

# %% check="bce"
steps.bce.check(bce)

# %% [markdown]
# ### Step · The slope that the decoder feels
#
# ●○○ · 5 minutes · `steps.bce_by_logit.hint()`
#
# What is $\partial(-\log p)/\partial\ell$? Write it with `s(ell)` and `x`.

# %% step="bce_by_logit"
bce_by_logit = ...  # in ell and x
### BEGIN SOLUTION
bce_by_logit = s(ell) - x
### END SOLUTION

# %% check="bce_by_logit"
steps.bce_by_logit.check(bce_by_logit)

# %% [markdown]
# **Probability less pixel**: as simple as a squared error's slope, and never beyond ±1. A sure and wrong pixel pulls with full
# force, whereas a squared error behind a sigmoid would have the factor $s(1-s)$, which is nearly 0 just there.
#
# **The stable form.** On paper you are done. In float32 exp(89) is infinite. So the large part is taken out, for either sign of ℓ:
#
# $$-\log p(x) = \max(\ell, 0) - \ell x + \log\big(1 + e^{-|\ell|}\big) .$$
#
# The machine checks both cases, ℓ = a and ℓ = −a with a > 0. Then three ways to break it. The log of a sigmoid. Pixels left in
# 0–255, where 178 is the agent's shade: the "loss" has no bottom, and falls as one would wish. And the **where-trap**: two formulas,
# one for each sign, in a `torch.where`. Its values are right. But it computes *both* for every logit, and picks afterwards; in the one
# that is not picked exp overflows, and going back the 0 of not being picked meets an infinite slope. 0·∞ is NaN, and after one step
# so is every weight.

# %%
display(
    proved(a - a * x + sp.log(1 + sp.exp(-a)), BCE.subs(ell, a), "ℓ = a: max(ℓ, 0) is a."),
    proved(0 + a * x + sp.log(1 + sp.exp(-a)), BCE.subs(ell, -a), "ℓ = −a: max(ℓ, 0) is 0."),
)
for logit, pixel in ((-20.0, 1.0), (-120.0, 1.0), (18.0, 0.0)):
    value, target = torch.tensor(logit), torch.tensor(pixel)
    q = torch.sigmoid(value)
    naive = -(target * q.log() + (1 - target) * (1 - q).log())
    stable = F.binary_cross_entropy_with_logits(value, target)
    print(f"logit {logit:+6.0f}, pixel {pixel:.0f}: log of a sigmoid {naive:7.3f}, stable {stable:7.3f} nats")
for logit in (1.0, 10.0, 100.0):
    unbounded = F.softplus(torch.tensor(logit)) - 178 * logit
    print(f"logit {logit:+6.0f}, pixel 178: {unbounded:9,.1f} nats")

sure = torch.tensor(-120.0, requires_grad=True)  # and the pixel is white: x = 1
two = torch.where(sure >= 0, torch.log1p(torch.exp(-sure)), torch.log1p(torch.exp(sure)) - sure)
one = sure.clamp(min=0) - sure + torch.log1p(torch.exp(-sure.abs()))
for name, loss in (("torch.where", two), ("one formula", one)):
    (slope,) = torch.autograd.grad(loss, sure)
    print(f"logit   -120, pixel 1, {name}: {loss.item():.0f} nats, slope {slope.item():.0f}")
assert slope.item() == -1

# %% [markdown]
# **Any grey, with a width.** A Gaussian pixel around the decoder's mean m has three terms, and all three belong to it. The first
# alone is the squared error with a ½. Drop the ½, as `mse_loss` summed does, and you have not scaled the Gaussian of σ = 1: you
# have another one, with σ² = ½, which takes each error twice as seriously against the KL. It is a β of ½ in disguise. Many a text
# has the ½ in its formula and loses it in its code.

# %%
bell = sp.exp(-((x - m) ** 2) / (2 * sigma**2)) / (sigma * sp.sqrt(2 * sp.pi))
display(
    proved(-sp.log(bell), GAUSSIAN, "Squared error in widths, log of the width, and a constant."),
    proved(GAUSSIAN.subs(sigma, 1 / sp.sqrt(2)), (x - m) ** 2 + sp.log(sp.pi) / 2, "At σ² = ½ the ½ is gone."),
)

# %% [markdown]
# ### Step · The best width
#
# ●●○ · 5 minutes · `steps.best_variance.hint()`
#
# n pixels share one σ; the sum of their squared errors is `sse`. Together they cost $\frac{\mathrm{sse}}{2\sigma^2} + n\log\sigma +
# \frac n2\log 2\pi$. Which **σ²** makes this least? Write it with `sse` and `n`.

# %% step="best_variance"
best_variance = ...  # in sse and n
### BEGIN SOLUTION
best_variance = sse / n
### END SOLUTION

# %% check="best_variance"
steps.best_variance.check(best_variance)

# %% [markdown]
# **What it costs then** is $\frac n2\log(\text{mean squared error})$ and a constant: halving the error saves the same number of
# nats whether it was large or small. And since the slope by σ is 0 at the best σ, it makes no difference to the gradient of m
# whether one differentiates through it.
#
# **Absolute error** is a Laplace density, $e^{-|x-m|/b}/2b$, and the same computation gives its best width: b is the mean absolute
# error (`sae`: the sum of all n). What it costs then is n log of *that*.

# %%
total = sse / (2 * sigma**2) + n * sp.log(sigma) + n * sp.log(2 * sp.pi) / 2
absolute = sae / b + n * sp.log(2 * b)
assert [root**2 for root in sp.solve(sp.diff(total, sigma), sigma)] == [sse / n]
assert sp.solve(sp.diff(absolute, b), b) == [sae / n]
display(
    proved(
        total.subs(sigma, sp.sqrt(sse / n)), n * sp.log(2 * sp.pi * sp.E * sse / n) / 2, "A Gaussian at its best σ."
    ),
    proved(absolute.subs(b, sae / n), n * sp.log(2 * sp.E * sae / n), "A Laplace at its best b."),
)

# %% [markdown]
# **256 greys.** A frame does not hold real numbers, it holds bytes; and a density is no probability of a byte. So cut a bell into 256
# bins, one for each grey. A grey's bin reaches from u below it to t above it, in widths from the mean. For the logistic bell, whose
# cumulative distribution is the sigmoid, its probability is $P = s(t) - s(u)$. Far out both round to the same number, and the log of
# their difference is −∞. But the difference is a product,
#
# $$s(t) - s(u) = s(t)\,s(-u)\,\big(1-e^{u-t}\big), \qquad \log P = \log s(t)+\log s(-u)+\log\big(1-e^{u-t}\big),$$
#
# and of that sum each term stays finite.

# %%
proved(s(t) - s(u), s(t) * s(-u) * (1 - sp.exp(u - t)), "Put both fractions over one denominator.")

# %% [markdown]
# ## See it
#
# **One error, four likelihoods.** A pixel is black, and the decoder says m. Left, the bill; right, how hard it pulls on what the
# network puts out (the logit for the Bernoulli, the grey for the others). Find out: which likelihood hardly minds a small error and
# cannot bear a large one? Whose pull is the same for any error? Then make the standard deviation 1. (Click a slider, then use the
# arrow keys.)

# %% keep=true signature=true
four_likelihoods()

# %% [markdown]
# The Gaussian's pull grows with the error, the Laplace's does not, the logistic's only at first; the Bernoulli's never exceeds 1.
# At a standard deviation of 1 the Gaussian asks half a nat for white where black should be: less than the Bernoulli asks for a
# middle grey.
#
# **Choosing σ.** Now a whole frame. Start at σ = 1 and walk down into the bowl; then blur more and less. Where is the bottom, and
# on which side is it steep?

# %% keep=true
display(width_bowl(pictures(frames)[2]), lesson.questions["negative_loss"].reveal())

# %% [markdown]
# Too small a σ is punished like 1/σ², too large a σ only like log σ. And σ is the exchange rate between picture and code: divided
# by 2σ², the squared error counts a hundred times more at 0.1 than at 1.
#
# **Where blur comes from.** Last, a pixel that the code leaves undecided: a hazard covers it with probability p. Each likelihood
# has one grey that is cheapest on average. Move p from 0.3 to 0.7 and watch the patches: who fades in, who jumps? At p = ½ one of
# them has no answer at all. Under the picture, the proofs: the slope of the expected squared error is 0 at m = p, the *mean*. That of
# the absolute error has no m in it. It only asks on which side of ½ p is: the *median*.

# %% keep=true
assert sp.solve(sp.diff(p * (1 - m) ** 2 + (1 - p) * m**2, m), m) == [p]
display(
    two_futures(),
    lesson.questions["two_futures"].reveal(),
    proved(sp.Derivative(p * (1 - m) ** 2 + (1 - p) * m**2, m), 2 * (m - p), "Squared error: 0 at m = p, the mean."),
    proved(
        sp.Derivative(p * (1 - m) + (1 - p) * m, m),
        1 - 2 * p,
        "Absolute error, 0 < m < 1: darker is better as long as p < ½.",
    ),
)

# %% [markdown]
# ## Build it
#
# Seven functions. The first two are one piece in two sizes, and the second of them, ★, is a part of your world model.
# `gaussian_nll` is in the course's package as well, but nothing in the finished system calls it: Dodge's frames go through the
# Bernoulli. So it has no ★.

# %% [markdown]
# ### Exercise 1 · One pixel, never infinite
#
# ●○○ · 12 minutes · `ex.bce_with_logits.hint()`
#
# The cost of each pixel from its logit, in the stable form: `logits` and `x` of any one shape, the result of that shape. `x` lies
# in [0, 1]. No logarithm of a sigmoid.


# %% exercise="bce_with_logits"
def bce_with_logits(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """-log p of each pixel under a Bernoulli, from its logit: (...) -> (...), nats."""
    ### BEGIN SOLUTION
    zero = torch.zeros_like(logits)
    return torch.maximum(logits, zero) - logits * x + torch.log1p(torch.exp(-logits.abs()))
    ### END SOLUTION


# %% check="bce_with_logits"
ex.bce_with_logits.check(bce_with_logits)

# %% [markdown]
# ### Exercise 2 · What a frame costs ★
#
# ●○○ · 6 minutes · `ex.bernoulli_nll.hint()`
#
# −log p(x | logits) of each frame: `(B, ...)` to `(B,)`. One sample is a whole frame, so its pixels are *summed*; the batch is left
# alone. (You may call your exercise 1: it is kept along with the part.)


# %% exercise="bernoulli_nll"
def bernoulli_nll(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """-log p(x | logits) of each sample: (B, ...) -> (B,), nats, summed over everything but the batch."""
    ### BEGIN SOLUTION
    zero = torch.zeros_like(logits)
    per_pixel = torch.maximum(logits, zero) - logits * x + torch.log1p(torch.exp(-logits.abs()))
    return per_pixel.flatten(1).sum(dim=1)
    ### END SOLUTION


# %% check="bernoulli_nll"
ex.bernoulli_nll.check(bernoulli_nll)

# %% [markdown]
# ### Exercise 3 · Squared error, with all that belongs to it
#
# ●●○ · 7 minutes · `ex.gaussian_nll.hint()`
#
# −log N(x; mean, σ²) of each frame, with `log_sigma` = log σ, a tensor that broadcasts to `x`'s shape: one number for all, one for
# each frame, or one for each pixel. All three terms.


# %% exercise="gaussian_nll"
def gaussian_nll(mean: torch.Tensor, x: torch.Tensor, log_sigma: torch.Tensor) -> torch.Tensor:
    """-log N(x; mean, σ²) of each sample, with log_sigma = log σ: (B, ...) -> (B,), nats."""
    ### BEGIN SOLUTION
    nll = 0.5 * ((x - mean) * torch.exp(-log_sigma)).square() + log_sigma + 0.5 * math.log(2 * math.pi)
    return nll.flatten(1).sum(dim=1)
    ### END SOLUTION


# %% check="gaussian_nll"
ex.gaussian_nll.check(gaussian_nll)

# %% [markdown]
# ### Exercise 4 · Let the errors choose σ
#
# ●○○ · 5 minutes · `ex.optimal_log_sigma.hint()`
#
# The one log σ that is best for a whole batch (your step, as a logarithm). A pixel that is always black is drawn perfectly sooner
# or later, and a perfect batch would ask for σ = 0: keep log σ at −6 or above, which is a four-hundredth of the way from black to
# white.


# %% exercise="optimal_log_sigma"
def optimal_log_sigma(mean: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The one log σ that minimises a batch's gaussian_nll, at least -6: (B, ...) -> a scalar."""
    ### BEGIN SOLUTION
    mse = (x - mean).square().mean()
    return 0.5 * torch.log(mse.clamp(min=math.exp(-12)))
    ### END SOLUTION


# %% check="optimal_log_sigma"
ex.optimal_log_sigma.check(optimal_log_sigma)

# %% [markdown]
# ### Exercise 5 · Absolute error
#
# ●○○ · 5 minutes · `ex.laplace_nll.hint()`
#
# −log of the Laplace density $e^{-|x-m|/b}/2b$ of each frame, with `log_scale` = log b, which broadcasts like `log_sigma` above.
# (What the decoder puts out is called `median` here, since that is what it will learn.)


# %% exercise="laplace_nll"
def laplace_nll(median: torch.Tensor, x: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """-log of a Laplace density of each sample, with log_scale = log b: (B, ...) -> (B,), nats."""
    ### BEGIN SOLUTION
    nll = (x - median).abs() * torch.exp(-log_scale) + log_scale + math.log(2)
    return nll.flatten(1).sum(dim=1)
    ### END SOLUTION


# %% check="laplace_nll"
ex.laplace_nll.check(laplace_nll)

# %% [markdown]
# ### Exercise 6 · A probability for each of 256 greys
#
# ●●● · 18 minutes · `ex.discretised_logistic_nll.hint()`
#
# Here `x` is one of 0, 1/255, …, 1. A grey owns the bin from x − 1/510 to x + 1/510; black also owns all below, and white all
# above. With edges measured in scales, $t = (x - m + \frac1{510})/\mathrm{scale}$ and $u = (x - m - \frac1{510})/\mathrm{scale}$,
# where the scale is exp(`log_scale`), a bin's probability is $s(t) - s(u)$, black's is $s(t)$, and white's $1 - s(u) = s(-u)$.
# Return −log of them, summed over each frame, and finite however far off m is: use the product from the derivation.


# %% exercise="discretised_logistic_nll"
def discretised_logistic_nll(mean: torch.Tensor, x: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """-log probability of each 8-bit sample under a logistic bell cut into 256 bins: (B, ...) -> (B,), nats."""
    ### BEGIN SOLUTION
    upper = (x - mean + 1 / 510) * torch.exp(-log_scale)  # the bin's edges, in scales from the mean
    lower = (x - mean - 1 / 510) * torch.exp(-log_scale)
    below, above = F.logsigmoid(upper), F.logsigmoid(-lower)  # log P(below the upper edge), log P(above the lower one)
    inside = below + above + torch.log(-torch.expm1(-torch.exp(-log_scale) / 255))
    log_p = torch.where(x <= 0, below, torch.where(x >= 1, above, inside))
    return -log_p.flatten(1).sum(dim=1)
    ### END SOLUTION


# %% check="discretised_logistic_nll"
ex.discretised_logistic_nll.check(discretised_logistic_nll)

# %% [markdown]
# ### Exercise 7 · Small things that move
#
# ●●○ · 10 minutes · `ex.moving_weights.hint()`
#
# A hazard is 16 of 1,024 pixels, and the rest of the frame outvotes it. A common remedy: weigh what moves. A pixel moves where it
# differs by more than 0.1 from the `background` (C, H, W); it then weighs `boost` times as much as one that does not. Return
# weights for `x` (B, C, H, W), with a mean of 1 over each frame, so that picture and KL keep their balance on the whole.


# %% exercise="moving_weights"
def moving_weights(x: torch.Tensor, background: torch.Tensor, boost: float) -> torch.Tensor:
    """A weight for each pixel, ``boost`` times larger where x is not the background: (B, C, H, W), mean 1 per frame."""
    ### BEGIN SOLUTION
    moving = ((x - background).abs() > 0.1).to(x.dtype)
    weights = 1 + (boost - 1) * moving
    return weights / weights.mean(dim=(1, 2, 3), keepdim=True)
    ### END SOLUTION


# %% check="moving_weights"
ex.moving_weights.check(moving_weights)

# %% [markdown]
# ## Measure it
#
# From here on *your* functions do the work, once they have passed (until then, the course's).
#
# **Closed forms against dice.** If the world draws its pixels exactly as the model says, what must a pixel cost on average? The
# entropy, known in closed form (for the 256 greys: a sum over them, by the plain difference of sigmoids).
#
# **Greys under a Bernoulli** have two rows more. $s^x(1-s)^{1-x}$ with x = 0.3 can be computed, and is: it is the usual loss for
# pictures, and ours. But over all greys x from 0 to 1 it does not add up to one. *Normaliser*: what it adds up to, as an integral,
# proved below and by dice. *Dithered*: the loss of a grey x is the average loss of pixels that are white with probability x. So the
# usual loss is an honest bound after all, only not on the grey frame: on a frame of black and white dots as dense as the grey.

# %%
bernoulli, gaussian = lesson.yours("bernoulli_nll"), lesson.yours("gaussian_nll")
best, laplace = lesson.yours("optimal_log_sigma"), lesson.yours("laplace_nll")
logistic, per_pixel = lesson.yours("discretised_logistic_nll"), lesson.yours("bce_with_logits")
weigh = lesson.yours("moving_weights")

generator = torch.Generator().manual_seed(4)
uniform = torch.rand(100_000, 1, generator=generator, dtype=torch.float64)
normal = torch.randn(100_000, 1, generator=generator, dtype=torch.float64)
logit, width, centre = torch.tensor(1.2).double(), torch.tensor(0.07).double(), torch.tensor(0.3).double()
q = torch.sigmoid(logit)

white = (uniform < q).double()
sides = centre - width * (uniform - 0.5).sign() * torch.log1p(-2 * (uniform - 0.5).abs())  # Laplace, by its inverse
levels = ((centre + width * torch.logit(uniform)) * 255).round().clamp(0, 255) / 255  # logistic, in bytes
edges = torch.sigmoid(((torch.arange(255) + 0.5).double() / 255 - centre) / width)
bins = torch.diff(edges, prepend=torch.zeros(1).double(), append=torch.ones(1).double())
dots = (uniform < centre).double()  # white with the probability of the grey
at = lambda value: value.expand_as(uniform)
grey_loss = float(bernoulli(logit.view(1, 1), centre.view(1, 1)))

dice = {
    "Bernoulli": (-q * q.log() - (1 - q) * (1 - q).log(), bernoulli(at(logit), white)),
    "Gaussian": (
        0.5 * math.log(2 * math.pi * math.e) + width.log(),
        gaussian(at(centre), centre + width * normal, width.log()),
    ),
    "Laplace": (1 + torch.log(2 * width), laplace(at(centre), sides, width.log())),
    "8-bit logistic": (-(bins * bins.log()).sum(), logistic(at(centre), levels, width.log())),
    "dithered grey": (grey_loss, bernoulli(at(logit), dots)),
    "normaliser": (torch.tanh(logit / 2) / logit, torch.exp(-bernoulli(at(logit), uniform))),
}
for name, (closed, values) in dice.items():
    mean, error = values.mean().item(), values.std().item() / math.sqrt(len(values))
    apart = abs(mean - float(closed)) / error
    print(
        f"{name:14}  closed {float(closed):8.4f}   dice {mean:8.4f} ± {error:.4f}   {apart:.1f} standard errors apart"
    )
    assert apart < 5
proved(
    sp.Integral(sp.exp(ell * x) / (1 + sp.exp(ell)), (x, 0, 1)),
    sp.tanh(ell / 2) / ell,
    "The normaliser, with s and 1 − s written by the logit: at most ½, and less for a sure one.",
)

# %% [markdown]
# **A mean where the sum belongs.** Now a small VAE on Dodge's frames (as in lesson 03; you will build it in lesson 05), trained
# three times from the same start. First as it should be: pixels summed, KL summed. Then with the mean over pixels, and the KL as it
# was. Then with *both* divided by 1,024. Rows are held-out frames, of other episodes, and what the decoder makes of them; watch the
# second row, and the KL.

# %% tags=["nbval-ignore-output"]
PIXELS = 32 * 32
averaged = lambda logits, x: bernoulli(logits, x) / PIXELS
trained = {}
with Paintings(pictures(frames), ["Bernoulli", "mean over pixels", "both ÷ 1,024"]) as plot:
    trained["Bernoulli"] = train("Bernoulli", frames, bernoulli, show=plot.show)
    trained["mean over pixels"] = train("mean over pixels", frames, averaged, show=plot.show)
    trained["both ÷ 1,024"] = train("both ÷ 1,024", frames, averaged, beta=1 / PIXELS, show=plot.show)

total_kl = {name: float(run.kl[-1].sum()) for name, (_, run) in trained.items()}
print("dead dimensions of 8:", {name: run.dead for name, (_, run) in trained.items()})
assert [run.dead for _, run in trained.values()] == [0, 8, 0]
assert abs(total_kl["both ÷ 1,024"] / total_kl["Bernoulli"] - 1) < 0.2
lesson.questions["mean_pixels"].reveal()

# %% [markdown]
# With the mean, every dimension is dead and the decoder draws one frame for all: a picture that is worth 1/1,024 of its nats cannot
# pay for any code. Dividing *both* terms brings it back: a common factor only rescales the whole loss, which Adam undoes by itself
# (with plain gradient descent you would need 1,024 times the learning rate). So nothing is wrong with a mean as such. What is wrong
# is a mean beside a sum.
#
# **Blur against likelihood.** The same network and the same start under four more likelihoods. For all but the Bernoulli the
# decoder's output is the grey itself. The Gaussian comes twice: with σ = 1, which is what a summed ½(x − m)² means, and with your
# best σ for each batch. The Laplace has its best b, the logistic learns its scale. Before you run it: which of them will draw
# hazards, which ghosts, which nothing?

# %% tags=["nbval-ignore-output"]
unit = torch.zeros(())
log_scale = torch.tensor(-3.0, requires_grad=True)


def best_laplace(median: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    log_b = torch.log((x - median).abs().mean().clamp(min=math.exp(-6)))
    return laplace(median, x, log_b)


rest = {
    "Gaussian, σ = 1": lambda mean, x: gaussian(mean, x, unit),
    "Gaussian, best σ": lambda mean, x: gaussian(mean, x, best(mean, x)),
    "Laplace, best b": best_laplace,
    "8-bit logistic": lambda mean, x: logistic(mean, x, log_scale),
}
with Paintings(pictures(frames), ["Bernoulli", *rest]) as plot:
    plot.show(trained["Bernoulli"][1])
    for name, nll in rest.items():
        learned = [log_scale] if name == "8-bit logistic" else []
        trained[name] = train(name, frames, nll, draw=grey, learned=learned, show=plot.show)

# %% [markdown]
# **Which may be compared?** Not the losses as printed in training: the Bernoulli's is not normalised for greys, the Gaussian's and
# the Laplace's are densities, the logistic's is a probability. What can be compared is the probability of the *same bytes*, with
# the code's price added: a bound on what it takes to store the frame. So all but the logistic, which is one already, are made
# probabilities in the same way: divided by their sum over the 256 greys. (Their widths come from frames that were trained on.) The
# last columns measure no likelihood at all: squared error per frame, and how bright the hazards are painted, where 1 is right.

# %% tags=["nbval-ignore-output"]
seen, held_out = frames[:512], frames[-256:]
sigma_seen = float(best(outputs(trained["Gaussian, best σ"][0], seen).decoded, seen).exp())
b_seen = float((outputs(trained["Laplace, best b"][0], seen).decoded - seen).abs().mean())
kinds = {
    "Bernoulli": ("not normalised", bernoulli, bernoulli_8bit),
    "Gaussian, σ = 1": ("density", rest["Gaussian, σ = 1"], lambda m, x: gaussian_8bit(m, x, 1.0)),
    "Gaussian, best σ": ("density", rest["Gaussian, best σ"], lambda m, x: gaussian_8bit(m, x, sigma_seen)),
    "Laplace, best b": ("density", best_laplace, lambda m, x: laplace_8bit(m, x, b_seen)),
    "8-bit logistic": ("probability", rest["8-bit logistic"], rest["8-bit logistic"]),
}
bits, error, bright = {}, {}, {}
print(
    f"{'':17} {'its own loss':>25} {'KL':>5} {'8-bit frame + KL':>17} {'bits per pixel':>15} {'sq. error':>10} {'hazards':>8}"
)
for name, (kind, own, eight_bit) in kinds.items():
    decoded, code = outputs(trained[name][0], held_out)
    with torch.no_grad():
        loss, bound = own(decoded, held_out).mean(), (eight_bit(decoded, held_out) + code).mean()
    painted = torch.sigmoid(decoded) if name == "Bernoulli" else grey(decoded)
    bits[name], bright[name] = bound.item() / PIXELS / math.log(2), painted[held_out > 0.9].mean().item()
    error[name] = (painted - held_out).square().flatten(1).sum(1).mean().item()
    print(
        f"{name:17} {f'{loss:,.0f} ({kind})':>25} {code.mean():5.1f} {f'{bound:,.0f} nats':>17} {bits[name]:15.2f} "
        f"{error[name]:10.1f} {bright[name]:8.2f}"
    )

logits = outputs(trained["Bernoulli"][0], held_out).decoded
missing = torch.log(torch.tanh(logits / 2) / logits).flatten(1).sum(1).mean()
vae = trained["Laplace, best b"][0]
with torch.no_grad():
    mu, _ = vae.encode(held_out)
    own_code, other_code = ((grey(vae.decode(z)) - held_out).abs().mean().item() for z in (mu, mu.roll(1, dims=0)))
print(
    f"what the Bernoulli leaves out of its {bernoulli(logits, held_out).mean():,.0f} nats per frame: {missing:,.0f} nats"
)
print(f"Laplace, mean absolute error: {own_code:.4f} from a frame's own code, {other_code:.4f} from another frame's")
assert bits["8-bit logistic"] < bits["Laplace, best b"] < bits["Gaussian, best σ"] < bits["Gaussian, σ = 1"]
assert 7 < bits["Gaussian, σ = 1"] < 8
assert error["Gaussian, best σ"] < 0.75 * error["Bernoulli"]
assert bright["Laplace, best b"] < 0.05 < bright["Bernoulli"] < bright["Gaussian, best σ"]
assert trained["Gaussian, σ = 1"][1].dead == 8
assert abs(own_code - other_code) < 0.002

# %% [markdown]
# Read it slowly; four things are to be learnt.
#
# 1. **σ = 1 collapses**, like a mean does: errors are cheap at that width. And it saves next to nothing of the 8 bits per pixel that
#    the file on disk has: so wide a bell calls all bytes almost equally likely. With the best σ the same squared error draws hazards.
#    Nobody tuned a β.
# 2. **Laplace draws nothing that moves.** As long as the code is vague, no pixel is more often white than not. So the median is the
#    background everywhere, and its slope gives no reason to begin. Its code costs nats all the same, and they say nothing: with
#    another frame's code the error is the same. A KL is what a code *costs*, an upper limit of what it says.
# 3. **The best bits are not the best picture.** The logistic wins by far, since most of Dodge is one of two bytes, exactly, and
#    black has an edge bin of its own, with all of the bell's tail in it. A pixel that is right to the byte saves nats that no hazard
#    can make up for.
# 4. **The number that a Bernoulli leaves out** for greys is negative, and far larger in size than its whole loss (Loaiza-Ganem &
#    Cunningham 2019). As a loss
#    for dithered dots it stands; as a statement about bytes it is off by thousands of nats.
#
# The world model of this course stays with the Bernoulli. It has no width that could be wrong, its pull is bounded, and what the
# code leaves open it paints as a ghost and not as nothing. It is slower, as you see; given more steps, it draws hazards, too.
#
# **Weights, and what they do to the bound.** Your weights on the Bernoulli, with boost = 20: hazards appear sooner, and swollen.
# And the price? A pixel's $p(x)^w$ is no probability any more: over black and white it adds up to less than 1 for w > 1, to more
# for w < 1 (first lines below; with a mean of 1 you have both). So the weighted loss bounds nothing, and may not be compared with
# the unweighted one. For a Gaussian a weight is a claim about noise, σ²/w, without the log σ that would make it honest. What may be
# compared is the *unweighted* bound of both networks, and what is painted where.

# %% tags=["nbval-ignore-output"]
for weight in (0.5, 1.0, 4.0):
    print(
        f"w = {weight}: p^w summed over black and white, at p = 0.5 and 0.9: {2 * 0.5**weight:.3f}, {0.9**weight + 0.1**weight:.3f}"
    )

background = frames[:-256].median(dim=0).values
weighted = lambda logits, x: (weigh(x, background, 20.0) * per_pixel(logits, x)).flatten(1).sum(1)
with Paintings(pictures(frames), ["Bernoulli", "what moves × 20"]) as plot:
    plot.show(trained["Bernoulli"][1])
    trained["what moves × 20"] = train("what moves × 20", frames, weighted, show=plot.show)

moving, result = (held_out - background).abs() > 0.1, {}
for name in ("Bernoulli", "what moves × 20"):
    decoded, code = outputs(trained[name][0], held_out)
    wrong = (torch.sigmoid(decoded) - held_out).square()
    bound = (bernoulli(decoded, held_out) + code).mean().item()
    result[name] = [(wrong * where).flatten(1).sum(1).mean().item() for where in (moving, ~moving)] + [bound]
    print(
        "{:15}  squared error where it moves {:5.1f}, elsewhere {:5.1f}; unweighted bound {:.1f} nats".format(
            name, *result[name]
        )
    )
plain, boosted = result["Bernoulli"], result["what moves × 20"]
assert boosted[0] < 0.6 * plain[0]
assert boosted[1] > 2 * plain[1]
assert boosted[2] > plain[2]

# %% [markdown]
# ## Explain it
#
# Three questions, answered at once.

# %%
for name in ("mean_as_beta", "sigma_as_beta", "compare"):
    display(lesson.questions[name].ask())

# %% [markdown]
# ## Close
#
# **Three errors that you will meet elsewhere**, in texts and in code that people trust:
#
# - *The Bernoulli with its exponents swapped*, $s^{1-x}(1-s)^x$. Right is $s^x(1-s)^{1-x}$. Put in x = 1: s must be left.
# - *A squared error with ½ in the formula and none in the code.* `F.mse_loss(…, reduction="sum")` is the Gaussian of σ² = ½, not of
#   σ² = 1: beside a KL it is a β of ½. If a text gives you a β, ask which of the two it was found with.
# - *The mean over pixels beside a summed KL.* On our frames that is β = 1,024, and the code dies. Collapse that comes from there is not
#   cured by more epochs, and "raise β" makes it worse: sum the pixels.
#
# **Pitfalls you have met.** log(sigmoid) and two branches in `torch.where`: stay with the logit, in one formula, and squash once.
# σ = 1 is a choice, and a bad one. `log_sigma` is log σ, not log σ². A constant that is dropped, or paid once per frame. Pixels in
# 0–255. Densities compared with probabilities.
#
# **Where this lives.** `wmcourse/reconstruction_loss.py`; `bernoulli_nll` is now a part of your world model (`wmcourse parts` shows
# which are yours). Lesson 05 adds the two halves up, and asks how many nats of the one a nat of the other is worth.
#
# **Try next.** One hyper-parameter: the fixed σ of the Gaussian, from 1 down to 0.03. Where do the dimensions come alive, and at
# which σ are KL and squared error those of the best σ? (Then `train(…, steps=1500)`: which of the four pictures get sharper, and
# which never will?) One extension: give the Bernoulli its normaliser, by adding log(tanh(ℓ/2)/ℓ) to each pixel's cost
# (mind ℓ = 0), train, and see whether the pictures get sharper, as its authors found.
#
# **You can now read** Kingma & Welling (2014), [*Auto-Encoding Variational Bayes*](https://arxiv.org/abs/1312.6114), App. C, eqs.
# 11 and 12; Loaiza-Ganem & Cunningham (2019), [*The continuous Bernoulli: fixing a pervasive error in variational
# autoencoders*](https://arxiv.org/abs/1907.06845), §3; Rybkin, Daniilidis & Levine (2021), [*Simple and Effective VAE Training with
# Calibrated Decoders*](https://arxiv.org/abs/2006.13202); and, for the 256 bins, Salimans et al. (2017),
# [*PixelCNN++*](https://arxiv.org/abs/1701.05517), eqs. 1 and 2.
#
# The formula card, typeset from the expressions that your steps were compared with:

# %%
lesson.card()
