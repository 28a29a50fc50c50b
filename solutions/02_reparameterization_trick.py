# %% [markdown]
# # 02 · Reparameterization trick
#
# **The question.** In lesson 01 you estimated an ELBO from samples of q, and you moved q uphill, but not by samples: the model was so
# simple that the ELBO had a closed form, and with it a slope. A decoder of Dodge's frames leaves you only samples. A frame goes into an
# encoder, which says μ and σ; a die is thrown, z comes out, and the decoder says how many nats the frame costs with this z. Now turn
# around. From the loss to z the chain rule leads back as always. And from z to μ and σ? How do you get the gradient of an expectation
# through the very distribution that you sample from?

# %% keep=true
import math
from collections.abc import Callable

import sympy as sp
import torch

from wmcourse.lessons import open_lesson
from wmcourse.lessons.derivation import expectation, log_normal, normal, proved
from wmcourse.lessons.frames import dodge_frames
from wmcourse.lessons.map import system_map
from wmcourse.lessons.reparameterization_trick.experiment import (
    FACES,
    STEPS,
    compare_slopes,
    exact_slopes,
    gradient_noise,
    noise_over_dimensions,
    relax,
    train,
)
from wmcourse.lessons.reparameterization_trick.widgets import (
    LossPlot,
    dimension_picture,
    graph,
    noise_bars,
    opening,
    relaxed_die,
    two_estimators,
)

lesson = open_lesson("02")
ex, steps = lesson.exercises, lesson.steps  # two short names for the whole lesson
frames = dodge_frames()  # 4,096 of them, (N, 1, 32, 32), in [0, 1]
opening((255 * frames[-254]).byte().permute(1, 2, 0).numpy())

# %% [markdown]
# **After this lesson you can**
#
# 1. derive two unbiased estimates of such a gradient, and say why they are the same integral;
# 2. write `z = μ + σ·ε` from what an encoder puts out, in two lines, and know the ways in which these two lines go wrong;
# 3. say how noisy each estimate is, lower the noise with a baseline, and predict what more dimensions do to it;
# 4. move the noise out of another family, and out of a die with faces, where it costs a bias.
#
# | section | minutes of yours | of the machine's |
# |---|--:|--:|
# | Predict first | 5 | – |
# | Derive | 30 | – |
# | See it | 10 | – |
# | Build it | 55 | – |
# | Measure it | 10 | 1 |
# | Explain it | 5 | – |
# | Close | 5 | – |
#
# Two hours in all, if you take the hints when you need them. Short of time? Exercises 5 and 6 may wait (20 minutes): they take the trick beyond the Gaussian, and the next
# lessons do not need your answers to them.
#
# **From before** you need the ELBO of lesson 01 and its estimate by samples, and the chain rule. `logvar` is log σ², here and in all
# lessons.
#
# Below: where this piece sits in the finished system, and your progress, which ticks itself when a check passes.

# %% keep=true
display(system_map(highlight=["V"]), lesson.panel())

# %% [markdown]
# ## Predict first
#
# Three questions before you read. Answer from the gut: it is the prediction that makes the answer stick.

# %%
for name in ("drawn", "price", "dimensions"):
    display(lesson.questions[name].predict())

# %% [markdown]
# ## Derive
#
# Let $q(z) = \mathcal N(z;\mu,\sigma^2)$, and f anything that you can compute at a sample, such as the nats that a frame costs. Wanted
# are the slopes of $\mathbb E_{z\sim q}[f(z)]$ by μ and σ. The example is $f(z)=z^2$, since there the answer is known:
# $\mathbb E[z^2] = \mu^2+\sigma^2$, so its slopes are 2μ and 2σ. `proved(left, right)` shows an equation only after sympy has found both
# sides equal.
#
# **First way: differentiate the density.** Under the integral only q depends on μ. But $\nabla q$ is no density, so
# $\int f\,\nabla q\,dz$ is no expectation, and cannot be sampled. One line makes it one: $\nabla q = q\,\nabla\log q$. Hence
#
# $$\nabla\,\mathbb E_q[f(z)] \;=\; \int f\,\nabla q\,dz \;=\; \mathbb E_q\big[f(z)\,\nabla\log q(z)\big] .$$
#
# $\nabla\log q$ is called the *score*. By μ it is $(z-\mu)/\sigma^2$. Of f only the values appear: it may have jumps, or be a game.
# The machine on the example: the closed form; the score's estimate by μ; and that the score alone averages to 0, as it must, since
# f = 1 has the slope 0.

# %%
from wmcourse.lessons.reparameterization_trick.derivation import (
    CENTRED_IN_D,
    SCORE_IN_D,
    D,
    Mean,
    Variance,
    epsilon,
    mu,
    sigma,
    z,
)

score_by_mu = (z - mu) / sigma**2
assert sp.simplify(sp.diff(log_normal(z, mu, sigma), mu) - score_by_mu) == 0
display(proved(expectation(z**2), mu**2 + sigma**2))
display(proved(expectation(z**2 * score_by_mu), 2 * mu), proved(expectation(score_by_mu), 0))

# %% [markdown]
# ### Step · The score by σ
#
# ●○○ · 5 minutes · `steps.score_by_sigma.hint()`
#
# $\log q(z) = -\frac{(z-\mu)^2}{2\sigma^2} - \log\sigma - \frac12\log 2\pi$. What is $\partial\log q(z)/\partial\sigma$? Write it with `z`, `mu` and
# `sigma`.

# %% step="score_by_sigma"
score_by_sigma = ...  # in z, mu, sigma
### BEGIN SOLUTION
score_by_sigma = ((z - mu) ** 2 - sigma**2) / sigma**3
### END SOLUTION

# %% check="score_by_sigma"
steps.score_by_sigma.check(score_by_sigma)

# %% [markdown]
# **Second way: move the die.** Throw $\epsilon\sim\mathcal N(0,1)$ first, with nothing to adjust in it, and *make* $z=\mu+\sigma\epsilon$.
# This z is distributed as q, so the expectation is the same number. But now it is one over a fixed distribution, and μ and σ stand inside f,
# where the chain rule reaches them:
#
# $$\nabla\,\mathbb E_\epsilon[f(\mu+\sigma\epsilon)] \;=\; \mathbb E_\epsilon\big[f'(z)\,\nabla z\big],\qquad
# \frac{\partial z}{\partial\mu}=1,\quad \frac{\partial z}{\partial\sigma}=\epsilon,\quad \frac{\partial z}{\partial\log\sigma^2}=\tfrac12\sigma\epsilon .$$
#
# This is the *path* (or reparameterized) gradient: it follows each sample as it moves. It needs f's slope. The machine needs the moments of ε,
# of which the fourth is below. It asserts that z has the density q, by the rule for changed variables, and shows the example's two slopes.

# %%
standard = normal(epsilon, sp.Integer(0), sp.Integer(1))
path = mu + sigma * epsilon
display(proved(sp.Integral(standard * epsilon**4, (epsilon, -sp.oo, sp.oo)), Mean(epsilon**4).doit()))
assert sp.simplify(normal(path, mu, sigma) * sp.diff(path, epsilon) - standard) == 0
for parameter, slope in ((mu, 2 * mu), (sigma, 2 * sigma)):
    display(proved(Mean(2 * path * sp.diff(path, parameter)), slope))

# %% [markdown]
# **Both are one integral.** Why should two so different averages agree for *every* f? Take the score's integrand by μ and the path's, subtract
# them, and what is left is a derivative by z (integration by parts, read backwards). The integral of a derivative is what it rises by from end to end,
# and where f·q vanishes at both ends that is 0. So the path has the score's mean, which is the gradient. By σ it is the same with f·q·(z − μ)/σ.
#
# Where does it break? Where f has a *jump*, its derivative has a spike there that no sample ever sees: then the path is wrong, and the
# score is still right. The next section shows one.

# %%
f = sp.Function("f")
q = normal(z, mu, sigma)
by_sigma = sp.diff(log_normal(z, mu, sigma), sigma)
display(proved(sp.Derivative(f(z) * q, z), (f(z).diff(z) - f(z) * score_by_mu) * q, "Path minus score, by μ."))
display(
    proved(
        sp.Derivative(f(z) * q * (z - mu) / sigma, z),
        (f(z).diff(z) * (z - mu) / sigma - f(z) * by_sigma) * q,
        "Path minus score, by σ, where (z − μ)/σ is ε.",
    )
)

# %% [markdown]
# **How far do they stray?** Unbiased is where an estimate is on average. A training step has a few samples, so it is the *variance* of one
# sample that counts. With z = μ + σε the score by μ is ε/σ, and the terms by μ are z²·ε/σ and 2z, polynomials in ε. Below are their variances, the score's
# by σ, too (the path's is your next step), and the ratio by μ with r = μ/σ. At best, at μ = 0, the score needs 3¾ times as many samples as the path for the same error, and the ratio grows like r⁴. A sure
# encoder has a small σ. So, off μ = 0, the surer the code, the worse the score. (For another f it may be the path that is noisier: see sin z with a wide q below.)

# %%
display(proved(Variance(2 * path), 4 * sigma**2))
score_variance = mu**4 / sigma**2 + 14 * mu**2 + 15 * sigma**2
display(proved(Variance(path**2 * epsilon / sigma), score_variance))
score_variance_by_sigma = 2 * mu**4 / sigma**2 + 60 * mu**2 + 74 * sigma**2
display(proved(Variance(path**2 * (epsilon**2 - 1) / sigma), score_variance_by_sigma, "By σ."))
r = sp.Symbol("r", real=True)
proved((score_variance / (4 * sigma**2)).subs(mu, r * sigma), (r**4 + 14 * r**2 + 15) / 4)

# %% [markdown]
# ### Step · How noisy the path is, by σ
#
# ●●○ · 5 minutes · `steps.path_variance.hint()`
#
# By σ the path's terms are $2z\epsilon$ with $z=\mu+\sigma\epsilon$. What is their variance? Write it with `mu` and `sigma`. (Then compare it with the score's,
# above: at μ = 0, how many times as many samples does the score need?)

# %% step="path_variance"
path_variance = ...  # in mu, sigma
### BEGIN SOLUTION
path_variance = 4 * mu**2 + 8 * sigma**2
### END SOLUTION

# %% check="path_variance"
steps.path_variance.check(path_variance)

# %% [markdown]
# ### Step · The constant that is worth subtracting
#
# ●●● · 5 minutes · `steps.best_baseline.hint()`
#
# The score averages to 0, so f may be lowered by any constant b, a *baseline*: $\mathbb E[(f(z)-b)\,\nabla\log q]$ is the same for all b. The
# variance is not. For f = z², by μ, which b makes the variance of $(z^2-b)\,\epsilon/\sigma$ smallest? The mean does not depend on b, so it is enough to
# minimise $\mathbb E[(z^2-b)^2\epsilon^2]$. Write b with `mu` and `sigma`.

# %% step="best_baseline"
best_baseline = ...  # in mu, sigma
### BEGIN SOLUTION
best_baseline = mu**2 + 3 * sigma**2
### END SOLUTION

# %% check="best_baseline"
steps.best_baseline.check(best_baseline)

# %% [markdown]
# What does it gain? The variance by μ with the best constant, and with the mean of f, which is nearly as good and easier to have. The term
# μ⁴/σ² is gone, since a constant can know the *height* of f. With r = μ/σ the ratio to the path grows like 2r² now, and no longer like ¼r⁴:
# still worse the surer the encoder is, but usable.

# %%
best = Mean(path**2 * epsilon**2).doit()
display(proved(Variance((path**2 - best) * epsilon / sigma), 8 * mu**2 + 6 * sigma**2))
proved(Variance((path**2 - mu**2 - sigma**2) * epsilon / sigma), 8 * mu**2 + 10 * sigma**2)

# %% [markdown]
# ## See it
#
# **Where does the slope stop?** f = z², once with the die beside the graph and once inside of it. Move σ: with the die outside, z moves with
# it, by ε for each unit. Which sign does the slope by σ have when ε is negative and z is positive? Then put the die inside and move σ again: what does z do now?
# (Click a slider, then use the arrow keys.)

# %% keep=true
graph()

# %% [markdown]
# **How far do the estimates stray?** Each histogram holds 2,000 estimates of one gradient. First lower σ: which one becomes narrower, which one
# wider? Then read the path's deviation with 1 sample: how many samples does the score need for the same? Look where the score's *peak* is: most runs are
# on one side of the exact value, and few far ones make up for it. Last, choose the step for f, and read what becomes of the path.
# (Below the picture: your first two predictions, and torch's own word on the first.)

# %% keep=true signature=true
two_estimators()

# %%
display(lesson.questions["drawn"].reveal(), lesson.questions["price"].reveal())
drawn_mu = torch.ones(3, requires_grad=True)
drawn = torch.normal(drawn_mu, torch.ones(3))
drawn.square().sum().backward()
print(f"requires_grad: {drawn.requires_grad}, mu.grad: {drawn_mu.grad.tolist()}")

# %% [markdown]
# ## Build it
#
# Six functions. Each is followed by its check, which runs it on fresh random inputs. A check that fails says what came out and
# what kind of thing should have; if your answer is a mistake that it knows, it tells you its name. ★ marks a part of your world model.

# %% [markdown]
# ### Exercise 1 · A sample that lets the gradient through ★
#
# ●○○ · 10 minutes · `ex.reparameterize.hint()`
#
# An encoder gives `mu` and `logvar` = log σ², of one shape `(..., Z)`. Return one draw of $z\sim\mathcal N(\mu,\sigma^2)$ for each entry, differentiable in
# both. Where a `generator` is given, the noise must come from it; that is how lesson 11 makes a training repeatable. The check does not
# compare your numbers with ours: it looks at what must be true however you draw.

# %% exercise="reparameterize"
def reparameterize(
    mu: torch.Tensor, logvar: torch.Tensor, generator: torch.Generator | None = None
) -> torch.Tensor:
    """One sample of N(mu, σ²) for each entry, with logvar = log σ²: shapes (..., Z) -> (..., Z)."""
    ### BEGIN SOLUTION
    epsilon = torch.randn(mu.shape, generator=generator, dtype=mu.dtype, device=mu.device)
    return mu + torch.exp(0.5 * logvar) * epsilon  # ½, because exp(½ log σ²) = σ
    ### END SOLUTION


# %% check="reparameterize"
ex.reparameterize.check(reparameterize)

# %% [markdown]
# ### Exercise 2 · Weigh what you saw
#
# ●●○ · 10 minutes · `ex.score_gradient.hint()`
#
# The first way, as code. `f` takes samples `(S, B, Z)` and gives values `(S, B)`; `mu` and `logvar` are `(B, Z)`, and `epsilon` is standard normal
# noise `(S, B, Z)`. Return the score's estimates by μ and by *logvar*, `(S, B, Z)` each: one for each sample, not averaged. f may have no slope at all.

# %% exercise="score_gradient"
def score_gradient(
    f: "Callable[[torch.Tensor], torch.Tensor]", mu: torch.Tensor, logvar: torch.Tensor, epsilon: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each sample's f(z)·∂log q(z), by mu and by logvar: two tensors (S, B, Z)."""
    ### BEGIN SOLUTION
    sigma = torch.exp(0.5 * logvar)
    value = f(mu + sigma * epsilon).unsqueeze(-1)  # (S, B, 1): what f says, and nothing of its slope
    by_mu = value * epsilon / sigma  # since (z − μ)/σ² = ε/σ
    by_logvar = value * 0.5 * (epsilon.square() - 1)
    return by_mu, by_logvar
    ### END SOLUTION


# %% check="score_gradient"
ex.score_gradient.check(score_gradient)

# %% [markdown]
# ### Exercise 3 · Follow the sample
#
# ●●○ · 10 minutes · `ex.path_gradient.hint()`
#
# The second way, with the same inputs and the same two outputs. f is differentiable now, and `torch.autograd.grad` knows its slope at z.

# %% exercise="path_gradient"
def path_gradient(
    f: "Callable[[torch.Tensor], torch.Tensor]", mu: torch.Tensor, logvar: torch.Tensor, epsilon: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each sample's f'(z)·∂z, by mu and by logvar: two tensors (S, B, Z)."""
    ### BEGIN SOLUTION
    sigma = torch.exp(0.5 * logvar)
    z = (mu + sigma * epsilon).detach().requires_grad_()
    (slope,) = torch.autograd.grad(f(z).sum(), z)  # f'(z), (S, B, Z): each value depends on its own z alone
    return slope, slope * 0.5 * sigma * epsilon
    ### END SOLUTION


# %% check="path_gradient"
ex.path_gradient.check(path_gradient)

# %% [markdown]
# ### Exercise 4 · Ask the others first
#
# ●●○ · 5 minutes · `ex.baseline_gradient.hint()`
#
# The score with a baseline. Nobody knows E[f], but the *other* samples of the same frame estimate it, and know nothing of this one, so the estimate
# stays unbiased. Exercise 2 once more, with $f(z_s)$ minus the mean of f over the S − 1 other samples. (S ≥ 2.)

# %% exercise="baseline_gradient"
def baseline_gradient(
    f: "Callable[[torch.Tensor], torch.Tensor]", mu: torch.Tensor, logvar: torch.Tensor, epsilon: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """As score_gradient, with the mean of the other samples' values as a baseline: two tensors (S, B, Z)."""
    ### BEGIN SOLUTION
    sigma = torch.exp(0.5 * logvar)
    values = f(mu + sigma * epsilon)  # (S, B)
    others = (values.sum(dim=0) - values) / (len(values) - 1)  # for each sample the mean of all others
    better = (values - others).unsqueeze(-1)
    return better * epsilon / sigma, better * 0.5 * (epsilon.square() - 1)
    ### END SOLUTION


# %% check="baseline_gradient"
ex.baseline_gradient.check(baseline_gradient)

# %% [markdown]
# ### Exercise 5 · Another bell, from uniform noise
#
# ●●○ · 10 minutes · `ex.laplace.hint()`
#
# μ + σε is a Gaussian's own trick. The general one: if F is a distribution function and u is uniform on (0, 1), then $z=F^{-1}(u)$ has the
# distribution F, and where F⁻¹ is differentiable in its parameters, so is z. For the Laplace distribution with mean μ and scale b (lesson 04 meets it again)
#
# $$F(z) = \tfrac12\,e^{(z-\mu)/b}\ \text{ for } z<\mu,\qquad F(z) = 1-\tfrac12\,e^{-(z-\mu)/b}\ \text{ above.}$$
#
# Solve for z. `log_scale` is log b, and all three inputs are `(B, Z)`.

# %% exercise="laplace"
def laplace(mu: torch.Tensor, log_scale: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """The z with F(z) = u for the Laplace distribution of mean mu and scale exp(log_scale): (B, Z) -> (B, Z)."""
    ### BEGIN SOLUTION
    below = torch.log(2 * u)  # where u < ½: solve F(z) = u on the left of μ
    above = -torch.log(2 - 2 * u)
    return mu + torch.exp(log_scale) * torch.where(u < 0.5, below, above)
    ### END SOLUTION


# %% check="laplace"
ex.laplace.check(laplace)

# %% [markdown]
# ### Exercise 6 · A die that can be differentiated
#
# ●●○ · 10 minutes · `ex.gumbel_softmax.hint()`
#
# A die with K faces, probabilities softmax(logits). Here F⁻¹ is a staircase, without a slope. Another way to move the noise out: add *Gumbel* noise to each
# logit, with $F(g)=\exp(-e^{-g})$, and take the argmax; it is face k with exactly the die's probability. The argmax has no slope either, so soften it:
# return $\mathrm{softmax}\big((\text{logits}+g)/\tau\big)$, with g made from the uniform `u` by the inverse of F. `logits` and `u` are `(B, K)`.

# %% exercise="gumbel_softmax"
def gumbel_softmax(logits: torch.Tensor, u: torch.Tensor, temperature: float) -> torch.Tensor:
    """A relaxed sample of the die softmax(logits), from uniform noise u in (0, 1): (B, K) -> (B, K)."""
    ### BEGIN SOLUTION
    gumbel = -torch.log(-torch.log(u))  # the inverse of F(g) = exp(−exp(−g)), at u
    return torch.softmax((logits + gumbel) / temperature, dim=-1)
    ### END SOLUTION


# %% check="gumbel_softmax"
ex.gumbel_softmax.check(gumbel_softmax)

# %% [markdown]
# ## Measure it
#
# From here on *your* functions do the work, once they have passed (until then, the course's).
#
# **Are they right?** Two functions of one latent dimension: z², whose slopes are 2μ and, by logvar, σ²; and one with bends, without a closed form. The exact
# slopes come from elsewhere: E[f] by quadrature, without dice, and differences of that. Each estimate from 200,000 samples, with its standard error. Then your
# `reparameterize`: one `backward()` through it is exercise 3.

# %%
names = ("path_gradient", "baseline_gradient", "score_gradient")
estimators = {name: lesson.yours(name) for name in names}
draw = lesson.yours("reparameterize")
functions = {
    "z²": lambda z: z.square().sum(dim=-1),
    "bends": lambda z: (torch.nn.functional.softplus(3 * z) - torch.sin(2 * z)).sum(dim=-1),
}
m, v = 0.8, -0.7  # μ and log σ²
for title, function in functions.items():
    exact = exact_slopes(function, m, v)
    if title == "z²":
        assert max(abs(exact[0] - 2 * m), abs(exact[1] - math.exp(v))) < 1e-6
    compare_slopes(title, function, m, v, exact, estimators)  # stops where estimate and exact slope disagree

leaves = [torch.full((6, 4), value, dtype=torch.float64, requires_grad=True) for value in (m, v)]
sample = draw(*leaves)
functions["bends"](sample).sum().backward()
used = ((sample - m) / math.exp(0.5 * v)).detach()  # the ε that it drew
plain = [leaf.detach() for leaf in leaves]
by_hand = estimators["path_gradient"](functions["bends"], *plain, used.unsqueeze(0))
assert all(torch.allclose(leaf.grad, gradient[0]) for leaf, gradient in zip(leaves, by_hand, strict=True))
print("one backward() through your draw: the same as path_gradient with its ε")

# %% [markdown]
# **What do more dimensions do?** f = z₁² + … + z_D², and the slope by μ₁ alone. Every μ is 1, every σ is ½. The path's noise stays at 4σ², since f's slope by
# z₁ does not know the others. In the score, the whole value multiplies ε₁/σ: the others' mean R = (D − 1)(μ² + σ²) alone contributes R²/σ², which grows like D².
# A baseline takes the mean away, and leaves the others' spread, which grows like D. (Dashed: the closed forms, the one with a baseline for an exactly known mean.)

# %% keep=true
dimensions, measured, curves = [1, 2, 4, 8, 16, 32, 64], {}, {}
formulas = {"path": 4 * sigma**2, "score with a baseline": CENTRED_IN_D, "score": SCORE_IN_D}
for name, title in zip(names, formulas, strict=True):
    here = {mu: 1, sigma: sp.Rational(1, 2)}  # where the path's variance, 4σ², is 1
    curves[title] = [float(formulas[title].subs({**here, D: d})) for d in dimensions]
    rows = noise_over_dimensions(estimators[name], dimensions)
    measured[title] = [value for value, _ in rows]
    room = 0.15 if "baseline" in title else 0  # a mean of 15 others is not the exact mean
    for (value, error), exact in zip(rows, curves[title], strict=True):
        assert abs(value - exact) < 5 * error + room * exact
for d in (1, 8, 64):
    print(f"D = {d:2}: " + ", ".join(f"{title} {row[dimensions.index(d)]:,.1f}" for title, row in curves.items()))
display(dimension_picture(dimensions, measured, curves), lesson.questions["dimensions"].reveal())

# %% [markdown]
# **When is the relaxed die biased?** A die with three faces, worth 0, 1 and 3, and a function of the face, (worth − 1)². The exact gradient by the logits is a sum of
# three terms. The relaxed die answers another question: the gradient of E[f] at *mixtures* of faces, of which the real die has none. Cool it down: the samples move to
# the corners, and the bias goes. But so does the slope, except in rare samples, where it is huge: the noise grows. At which τ is it as noisy as the score, which has no bias at all?

# %% keep=true
soften = lesson.yours("gumbel_softmax")
log_faces = torch.tensor(FACES, dtype=torch.float64).log()
uniform = torch.rand(200_000, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64).clamp(min=1e-12)
faces = soften(log_faces.expand(200_000, 3), uniform, 1.0).argmax(dim=-1)
for share, p in zip((torch.bincount(faces, minlength=3) / 200_000).tolist(), FACES, strict=True):
    print(f"a face of probability {p} drawn in {share:.2%} of 200,000 throws")
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / 200_000)

relaxation = relax(soften)
assert (relaxation.bias > 5 * relaxation.error).all()  # biased at every temperature of these
small = relaxation.bias < sum(relaxation.exact**2) ** 0.5 / 4
assert small.any()
assert (relaxation.noise[small] > relaxation.score_noise).all()
relaxed_die(relaxation, lambda temperature: soften(log_faces.expand(400, 3), uniform[:400], temperature).numpy())

# %% [markdown]
# It is biased at every temperature shown; and where the bias is below a quarter of the gradient, the noise is above the score's. One chooses τ by what a training can bear, and
# often lowers it on the way.
#
# **An encoder of Dodge, trained three ways.** A tiny VAE with 4 latent dimensions (you will build a better one in lesson 05). Its loss is reconstruction + KL, which is minus the ELBO. The
# decoder's gradient needs no trick, as it comes after the die; nor does the KL's, which lesson 03 has in closed form. Only the encoder's share of the reconstruction goes
# through the die, and there one of your three estimators sits. Everything else is the same: frames, noise, 4 samples for each frame, learning rate.

# %% tags=["nbval-ignore-output"]
runs, vaes = {}, {}
with LossPlot(STEPS) as plot:
    for name, title in zip(names, formulas, strict=True):
        vaes[title], runs[title] = train(title, frames, estimators[name], show=plot.show)

# %% [markdown]
# The dotted line is where all start: a decoder that draws the average frame, whatever the code. The path gets away from it first. A baseline makes the score usable here.
# The plain score has learned next to nothing in the same number of steps, though it is unbiased. A frame costs many nats at any z, and the plain score multiplies all of them
# with its noise. How much noise is that? At one network, the one that the path trained, on 32 held-out frames: the variance of one sample's gradient by μ, summed over the
# dimensions. With a baseline it is about ten times the path's, without one tens of thousands of times. (The cell asserts what is said here, with room for other machines.)

# %% keep=true tags=["nbval-ignore-output"]
variances = {}
for name, title in zip(names, formulas, strict=True):
    variances[title], _ = gradient_noise(vaes["path"], frames[-256:-224], estimators[name])
lost = {title: run.loss[0] - run.loss[-1] for title, run in runs.items()}  # nats gained since the average frame
assert lost["path"] > lost["score with a baseline"] > 15
assert lost["score"] < 10
assert variances["score"] > 10_000 * variances["path"]
assert 5 < variances["score with a baseline"] / variances["path"] < 20
noise_bars(variances)

# %% [markdown]
# ## Explain it
#
# Three questions, answered at once.

# %%
for name in ("by_logvar", "wrong_width", "only_score"):
    display(lesson.questions[name].ask())

# %% [markdown]
# ## Close
#
# The formula card, typeset from the expressions that your steps were compared with:

# %%
lesson.card()

# %% [markdown]
# **Pitfalls you have met.** σ = exp(½·logvar), with the ½ inside. `torch.normal(mu, sigma)` and `.sample()` cut the gradient; in a VAE both do so
# silently, as the KL still sends one. One ε for a whole batch:
# broadcasting does not complain. Noise from NumPy, which torch's seed does not reach. A baseline that knows its own sample. And *unbiased* is not *good*: look at the variance.
#
# **Where this lives.** `wmcourse/reparameterization_trick.py`; `reparameterize` is now a part of your world model (`wmcourse parts` shows
# which are yours). Next is lesson 03: what a code costs, the KL, for which no die is needed.
#
# **Try next.** One hyper-parameter: the number of samples for each frame, `SAMPLES` in this lesson's experiment. With 16, does the plain score learn? One extension: another inverse, the
# Kumaraswamy distribution on (0, 1), with $F(z)=1-(1-z^a)^b$: solve it, and compare its mean with the samples'.
#
# **You can now read** Kingma & Welling (2014), [*Auto-Encoding Variational Bayes*](https://arxiv.org/abs/1312.6114), §2.2 (the score, and why not), §2.4 (the trick) and eqs. 4–7 and 10;
# Rezende et al. (2014), [*Stochastic Backpropagation*](https://arxiv.org/abs/1401.4082), §3 (the rules for Gaussians); Williams (1992), *Simple Statistical
# Gradient-Following Algorithms*, §4 (Theorem 1, and the baseline) and §6 (Gaussian units); Jang et al. (2017),
# [*Categorical Reparameterization with Gumbel-Softmax*](https://arxiv.org/abs/1611.01144), eqs. 1 and 2.
