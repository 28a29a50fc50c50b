# %% [markdown]
# # 06 · LSTM and GRU
#
# **The question.** Lesson 05 gave you an eye: a frame becomes sixteen numbers. But look at the five frames below as somebody who sees only
# *one* of them. In the third the hazard is gone. In the fourth it is back, and no frame says which way it goes. What a frame does not
# show, its code cannot hold, however good the VAE is. So something must carry what was seen from one step to the next. What must such a memory look like so that gradient descent can
# *teach* it what to keep, over thirty steps and more?

# %% keep=true
import math

import numpy as np
import sympy as sp
import torch
from torch import nn

from wmcourse.lessons import open_lesson
from wmcourse.lessons.derivation import equal, proved
from wmcourse.lessons.lstm_gru.derivation import a, c, f, g, h, h_new, i, k, n, o, r, sigmoid, u, w
from wmcourse.lessons.lstm_gru.experiment import (
    ADDERS,
    GUESSING,
    HIDDEN,
    Memory,
    adding,
    aimed,
    gates_of,
    learn_adding,
    memory_curve,
    probe_table,
    reach,
    reach_when_new,
    recall,
    remember,
    surprise,
    train_memory,
    your_parts,
)
from wmcourse.lessons.lstm_gru.widgets import (
    AddingPlot,
    MemoryPlot,
    adding_picture,
    behind_the_band,
    distances,
    gate_unit,
    opening,
    probe_picture,
    signature,
    transient,
)
from wmcourse.lessons.map import system_map
from wmcourse.lessons.memories import dodge_memories

lesson = open_lesson("06")
ex, steps = lesson.exercises, lesson.steps
display(opening(), system_map(highlight=["M"]), lesson.panel())

# %% [markdown]
# Above, too: where this piece sits in the finished system, and your progress.
#
# **After this lesson you can**
#
# 1. say why gradients die on the way back through a vanilla RNN, what rules how fast, and what does *not*;
# 2. write an LSTM step and a GRU step that equal torch's to the last digits, biases and gate order included;
# 3. set a forget gate so that a new network remembers for as long as you need, and say what the LSTM does *not* solve;
# 4. train on recordings of many episodes without letting one leak into the next;
# 5. find out what a memory knows, with a probe, a control and an interval.
#
# | section | minutes of yours | of the machine's |
# |---|--:|--:|
# | Predict first | 5 | – |
# | Derive | 30 | – |
# | See it | 12 | – |
# | Build it | 80 | – |
# | Measure it | 30 | 1½ |
# | Explain it | 5 | – |
# | Close | 5 | – |
#
# **From before** you need the chain rule, the VAE of lesson 05, whose codes are read here, and `reparameterize` of lesson 02. With this lesson the
# second week begins: the memory M.

# %% [markdown]
# ## Predict first
#
# Three questions. The second one is answered wrongly in many places.

# %%
for name in ("survive", "transient", "velocity"):
    display(lesson.questions[name].predict())

# %% [markdown]
# ## Derive
#
# **A state that is passed on.** A vanilla RNN reads an input and its own last state: $h_t=\tanh(W h_{t-1}+U x_t+b)$, the same $W$ at each step. To learn
# that step t should have written something down for step T, the gradient must come back from $h_T$ to $h_t$. By the chain rule it is a *product*, with
# a factor for each step, the later step on the left:
#
# $$\frac{\partial h_T}{\partial h_t}=\prod_{s=t+1}^{T}\frac{\partial h_s}{\partial h_{s-1}} .$$
#
# That is all of back-propagation through time. Everything in this lesson is about that product. Begin with one unit.

# %% [markdown]
# ### Step · One step back through a vanilla RNN
#
# ●○○ · 4 minutes · `steps.rnn_slope.hint()`
#
# One unit: $h_{\text{new}}=\tanh(w h+u x)$. What is $\partial h_{\text{new}}/\partial h$? Write it with `w` and `h_new` (and so without a tanh).

# %% step="rnn_slope"
rnn_slope = ...  # in w, h_new
### BEGIN SOLUTION
rnn_slope = w * (1 - h_new**2)
### END SOLUTION

# %% check="rnn_slope"
steps.rnn_slope.check(rnn_slope)

# %% [markdown]
# **Many units, many steps.** With vectors the factor is the matrix $J_s=\mathrm{diag}(1-h_s^2)\,W$. No entry of the diagonal exceeds 1, so the length of a gradient is
# bounded by the largest *singular value* of W: $\|\prod J_s\|\le\sigma_{\max}(W)^{T-t}$. Where $\sigma_{\max}<1$ it must vanish. To explode it needs $\sigma_{\max}>1$, which is necessary
# and not sufficient (Pascanu et al. 2013). What happens on average? Let every step have a fresh matrix for H units, with independent entries of mean 0 and variance $\gamma^2/H$, and no tanh. Then one step
# multiplies the mean square by $\gamma^2$, and n steps by $\gamma^{2n}$: on average gradients
# explode above γ = 1 and vanish below, and only exactly at 1 they do neither. (That is the *mean* square. Typically the gradient still shrinks at γ = 1: the mean of the logarithm is below 0,
# and a few large ones make up for the many small.)
#
# **And the spectral radius?** "Gradients vanish when the eigenvalues of W are below 1" is what many texts say. It is true *in the end*: $\|W^n\|^{1/n}$ tends to
# the spectral radius, the largest $|\lambda|$. But training lives on the first dozens of steps, and there eigenvalues can mislead. The smallest example is
# $W=\begin{pmatrix} r & k\\ 0 & r\end{pmatrix}$, whose eigenvalues are both r:
#
# $$W^n=\begin{pmatrix} r^n & n\,k\,r^{n-1}\\ 0 & r^n\end{pmatrix} .$$
#
# For r near 1 the corner first grows with n, before the power wins.
#
# The machine checks the product on two steps; Jacobian and bound on a real network, by autograd; $\gamma^{2n}$ by dice; and the corner by induction, with its peak.
#
# **How it begins, and how it ends.** Below the check you can move the matrix. Set k = 0: three curves in one. Then raise k, with r = 0.9, and later r = 0.98. For how long
# does the gradient *grow*, though all eigenvalues are below 1? (Click a slider, then use the arrow keys.)

# %% keep=true
x1, x2 = sp.symbols("x_1 x_2", real=True)
once = sp.tanh(w * h + u * x1)
twice = sp.tanh(w * once + u * x2)
assert equal(sp.diff(twice, h), w * (1 - twice**2) * w * (1 - once**2))

torch.manual_seed(0)
size, distance = 16, 10
W = torch.randn(size, size, dtype=torch.float64) / math.sqrt(size)
start, states = torch.randn(size, dtype=torch.float64).tanh(), []


def ten_steps(state: torch.Tensor) -> torch.Tensor:
    states.clear()
    for _ in range(distance):
        state = torch.tanh(W @ state)
        states.append(state)
    return state


by_autograd = torch.autograd.functional.jacobian(ten_steps, start)
by_product = torch.eye(size, dtype=torch.float64)
for state in states:
    by_product = torch.diag(1 - state.detach() ** 2) @ W @ by_product
torch.testing.assert_close(by_autograd, by_product)
length, largest = torch.linalg.matrix_norm(by_product, 2), torch.linalg.matrix_norm(W, 2)
print(f"‖∂h₁₀/∂h₀‖ = {length:.3f}, and the bound σ_max¹⁰ = {largest:.3f}¹⁰ = {largest**distance:.0f}")
assert length < largest**distance

rng, gamma = np.random.default_rng(0), 0.9
v = np.tile(np.ones(size) / math.sqrt(size), (5_000, 1))
for _ in range(distance):
    v = np.einsum("nij,nj->ni", rng.normal(0, gamma / math.sqrt(size), (len(v), size, size)), v)
squares = (v**2).sum(1)
estimate, error = squares.mean(), squares.std(ddof=1) / math.sqrt(len(squares))
print(f"γ = {gamma}: mean square after 10 steps {gamma ** (2 * distance):.4f}; by dice {estimate:.4f} ± {error:.4f}")
assert abs(estimate - gamma ** (2 * distance)) < 4 * error

power = sp.Matrix([[r**n, n * k * r ** (n - 1)], [0, r**n]])
one = sp.Matrix([[r, k], [0, r]])
assert sp.simplify(power.subs(n, 1) - one) == sp.zeros(2)
assert sp.simplify(power * one - power.subs(n, n + 1)) == sp.zeros(2)
peak = -1 / sp.log(r)
print(f"r = 0.9: the corner is largest at n = {float(peak.subs(r, sp.Rational(9, 10))):.1f}")
display(
    proved(
        sp.Subs(sp.Derivative(n * r ** (n - 1), n), n, peak),
        0,
        "Its slope vanishes at n = −1/log r: later, the nearer r is to 1.",
    ),
    transient(),
    lesson.questions["transient"].reveal(),
)

# %% [markdown]
# ### Step · What the cell path leaves out
#
# ●●● · 6 minutes · `steps.side_path.hint()`
#
# **The idea of 1997.** A product of factors dies or explodes unless every factor is near 1. So make one whose factor *is* near 1. The LSTM has a second state, the cell,
# which is changed only by a gate and a sum:
#
# $$c'=f\,c+i\,g,\qquad h'=o\,\tanh(c'),\qquad i,f,o=\sigma(\cdot),\quad g=\tanh(\cdot),$$
#
# where each dot stands for a linear function of x and h, with weights of its own. Hold the gates still, and $\partial c'/\partial c=f$: no matrix, no squashing. (Hochreiter &
# Schmidhuber had no f, that is f = 1; the forget gate came with Gers et al. 2000.) But the gates do not hold still: they see h, and so does g, and h sees c.
#
# One unit, and only the forget gate looks back: $f=\sigma(u\,h+\dots)$ with $h=o\,\tanh(c)$ (u is its weight on h now); i, g and o are held. Then $\mathrm dc'/\mathrm dc=f+{}$something.
# Which something? Write it with `c`, `f`, `u`, `o`, and `sp.tanh`.

# %% step="side_path"
side_path = ...  # in c, f, u, o
### BEGIN SOLUTION
side_path = c * f * (1 - f) * u * o * (1 - sp.tanh(c) ** 2)
### END SOLUTION

# %% check="side_path"
steps.side_path.check(side_path)

# %% [markdown]
# ### Step · A bias that remembers for n steps
#
# ●●○ · 5 minutes · `steps.half_life.hint()`
#
# If f must be near 1, how near? Say that after n steps half of what stood in the cell should be left. Weights begin small, so at first $f=\sigma(b)$ is ruled by its bias. Which b? Write it
# with `n`.

# %% step="half_life"
half_life = ...  # the bias, in n
### BEGIN SOLUTION
half_life = -sp.log(2 ** (1 / n) - 1)
### END SOLUTION

# %% check="half_life"
steps.half_life.check(half_life)

# %% [markdown]
# So "the LSTM solves vanishing gradients" says too much. Along the cell the factor is f, and the gradient lives while *f is near 1*. Beside it go paths through the gates and through g, with weights, squashing and
# all: they can vanish, or grow (the weight u has no bound). Hochreiter & Schmidhuber cut these paths off on purpose; today's libraries differentiate through them.
#
# **The GRU** (Cho et al. 2014) has one state and two gates. In torch's convention
#
# $$r,z=\sigma(W x+b+U h+d),\qquad n_t=\tanh\big(W_n x+b_n+r\,(U_n h+d_n)\big),\qquad h'=(1-z)\,n_t+z\,h ,$$
#
# where r and z each have rows of their own in W, U, b and d (this z is a gate, and has nothing to do with the code z of a frame); so that along h, with the gates held, $\partial h'/\partial h=z$: here *z* must be near 1 to remember. In the other convention (Chung et al. 2014) the two weights change places. With $z=\sigma(a)$ and
# $1-\sigma(a)=\sigma(-a)$ they are one family: whoever copies weights from one to the other turns the sign of z's rows and of its biases and, if r stands after the matrix in both, nothing else.
# (Cho and Chung put it before, $U_n(r\odot h)$; then no copying of weights helps.)
#
# The machine on all three: the half-life; the side path with symbols, and on real numbers by a difference quotient; the two GRUs, with $n_t$ written as g.

# %%
leans = sp.Symbol("s", real=True)  # what else the gate sees
gate = sigmoid(u * o * sp.tanh(c) + leans)
whole = sp.diff(gate * c + i * g, c)
claimed = gate + (c * f * (1 - f) * u * o * (1 - sp.tanh(c) ** 2)).subs(f, gate)
values = {c: 0.7, u: 1.3, o: 0.8, leans: 0.4, i: 0.5, g: 0.2}
new_cell, small = sp.lambdify(c, (gate * c + i * g).subs({s: v for s, v in values.items() if s != c})), 1e-5
quotient = (new_cell(0.7 + small) - new_cell(0.7 - small)) / (2 * small)
print(
    f"f alone {float(gate.subs(values)):.4f}, with the side path {float(claimed.subs(values)):.4f}, by a difference {quotient:.4f}"
)
assert abs(quotient - float(claimed.subs(values))) < 1e-6
assert equal(whole, claimed)

torchs = (1 - sigmoid(a)) * g + sigmoid(a) * h
others = (1 - sigmoid(-a)) * h + sigmoid(-a) * g
forget = sigmoid(-sp.log(2 ** (1 / n) - 1))
assert equal(forget**n, sp.Rational(1, 2))
print(
    f"f = σ(1) = {1 / (1 + math.exp(-1)):.3f} has a half-life of {math.log(0.5) / math.log(1 / (1 + math.exp(-1))):.1f} steps"
)
proved(torchs, others)

# %% [markdown]
# ## See it
#
# **One unit by hand.** A marked number comes at step 6, and must stand in the cell at the end, 41 steps later. Can you set the two biases and the weight of the mark so that at least 90 % of it
# is left, and almost nothing of the other numbers? Two things are needed at once. (Here the gates see only their bias and the mark.)

# %% keep=true
gate_unit()

# %% [markdown]
# A forget gate near 1 is half of the answer. The other half: the longer a unit remembers, the *less* it may let in, or it fills up with everything. Long memory and a closed input gate belong together; keep
# this in mind for the adding problem below.
#
# **How far does a gradient reach?** Three new networks of 32 units read noise. What arrives of a gradient d steps earlier? Begin with the half-life of 2, which is about the usual bias of 1 (usual in recipes: torch.nn.LSTM
# itself sets none, and draws its biases around 0). Then 10, 30, 60. And then make
# $W_{hh}$ larger: which of them explodes?

# %% keep=true
display(distances(), lesson.questions["survive"].reveal())
print(f"σ(1)⁵⁰ = {(1 / (1 + math.exp(-1))) ** 50:.1e}")

# %% [markdown]
# ## Build it
#
# Three things to take along from the last picture.
#
# - *The bias, not the name.* With the usual bias a *new* LSTM is some powers of ten better than the RNN, and hopeless all the same.
# - *The side paths.* At every half-life the LSTM's curve ends *above* the dotted line $f^d$; at long ones it even rises above 1. (In these networks most of it comes back through the candidate g, which half-open input gates let in, and little through the forget gate, the path that you derived.)
# - *No protection against explosion.* With $W_{hh}$ of size 2.5 the RNN explodes, and so does an LSTM whose half-life is long; of half-life 2 only some networks do, the one in the picture among them. These GRUs do not (your own steps will say by how much). Clipping does not prevent it either, but bounds the gradient that the optimizer gets.
#
# Eight functions. Shapes as in torch: rows are samples, and `w_ih` is `(gates·H, I)`, so products read `x @ w_ih.T`. Gradients must flow through all of them but two, the clipping (which is given gradients) and the counting. ★ marks a part of your world model.

# %% [markdown]
# ### Exercise 1 · The vanilla RNN
#
# ●○○ · 6 minutes · `ex.rnn_step.hint()`
#
# One step: x `(B, I)`, h `(B, H)`, `w_ih` `(H, I)`, `w_hh` `(H, H)`, and two biases `(H,)`, as torch has them. Return the new h.


# %% exercise="rnn_step"
def rnn_step(
    x: torch.Tensor,
    h: torch.Tensor,
    w_ih: torch.Tensor,
    w_hh: torch.Tensor,
    b_ih: torch.Tensor,
    b_hh: torch.Tensor,
) -> torch.Tensor:
    """One step of a vanilla RNN: x (B, I), h (B, H) -> the new h (B, H)."""
    ### BEGIN SOLUTION
    return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
    ### END SOLUTION


# %% check="rnn_step"
ex.rnn_step.check(rnn_step)

# %% [markdown]
# ### Exercise 2 · One step of an LSTM ★
#
# ●●○ · 15 minutes · `ex.lstm_step.hint()`
#
# All four gates in one product: `w_ih` is `(4H, I)`, `w_hh` `(4H, H)`, and torch stacks its blocks in the order **i, f, g, o**. Return the new h and the new c. A gate gets the sum of *both* biases;
# `b_hh` may be None, since the papers, and the LSTM of your world model, have only one.


# %% exercise="lstm_step"
def lstm_step(
    x: torch.Tensor,
    h: torch.Tensor,
    c: torch.Tensor,
    w_ih: torch.Tensor,
    w_hh: torch.Tensor,
    b_ih: torch.Tensor,
    b_hh: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One LSTM step: x (B, I), h and c (B, H) -> the new h and c. Gates in torch's order i, f, g, o."""
    ### BEGIN SOLUTION
    bias = b_ih if b_hh is None else b_ih + b_hh
    gates = x @ w_ih.T + h @ w_hh.T + bias  # (B, 4H)
    i, f, g, o = gates.chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return h, c
    ### END SOLUTION


# %% check="lstm_step"
ex.lstm_step.check(lstm_step)

# %% [markdown]
# ### Exercise 3 · One step of a GRU
#
# ●●○ · 12 minutes · `ex.gru_step.hint()`
#
# torch's convention: blocks in the order **r, z, n**; r multiplies what comes from h *after* the matrix, its bias included; z near 1 keeps. That is why a GRU needs both
# biases: one of them is inside r's reach, the other is not. The gates themselves are $r,z=\sigma(W x+b+U h+d)$, with rows of their own each.


# %% exercise="gru_step"
def gru_step(
    x: torch.Tensor,
    h: torch.Tensor,
    w_ih: torch.Tensor,
    w_hh: torch.Tensor,
    b_ih: torch.Tensor,
    b_hh: torch.Tensor,
) -> torch.Tensor:
    """One GRU step: x (B, I), h (B, H) -> the new h. Blocks in torch's order r, z, n; h' = (1 - z)·n + z·h."""
    ### BEGIN SOLUTION
    x_r, x_z, x_n = (x @ w_ih.T + b_ih).chunk(3, dim=-1)
    h_r, h_z, h_n = (h @ w_hh.T + b_hh).chunk(3, dim=-1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h
    ### END SOLUTION


# %% check="gru_step"
ex.gru_step.check(gru_step)

# %% [markdown]
# ### Exercise 4 · How long to remember
#
# ●●○ · 8 minutes · `ex.forget_bias.hint()`
#
# From an LSTM's two biases `(4H,)` and a half-life for each of the H units, return both biases anew: the forget gate's share of `b_ih` is the bias that you derived, its share of `b_hh`
# is 0, and all else stays. (Change copies, not the inputs.) "Set the forget bias to 1" is in many recipes, and whoever does it to *both* of torch's biases gets 2.


# %% exercise="forget_bias"
def forget_bias(b_ih: torch.Tensor, b_hh: torch.Tensor, half_life: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Biases (4H,) whose forget gates leave a half after ``half_life`` (H,) steps: the new b_ih and b_hh."""
    ### BEGIN SOLUTION
    hidden = len(half_life)
    b_ih, b_hh = b_ih.clone(), b_hh.clone()
    b_ih[hidden : 2 * hidden] = -torch.log(2 ** (1 / half_life) - 1)  # f is the second gate
    b_hh[hidden : 2 * hidden] = 0.0
    return b_ih, b_hh
    ### END SOLUTION


# %% check="forget_bias"
ex.forget_bias.check(forget_bias)

# %% [markdown]
# ### Exercise 5 · Shorter, in the same direction
#
# ●●○ · 8 minutes · `ex.clip_by_norm.hint()`
#
# Where gradients explode, one step can throw a network far away. The remedy (Pascanu et al. 2013): take all gradients, a list of tensors, as *one* vector; where it is longer than `most`, scale it to that length. Return new ones,
# as a tuple, and leave those that you were given as they are. All zero must stay all zero.


# %% exercise="clip_by_norm"
def clip_by_norm(gradients: list[torch.Tensor], most: float) -> tuple[torch.Tensor, ...]:
    """The same gradients, scaled together so that their common norm is at most ``most``."""
    ### BEGIN SOLUTION
    norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
    if norm <= most:
        return tuple(gradients)
    return tuple(g * (most / norm) for g in gradients)
    ### END SOLUTION


# %% check="clip_by_norm"
ex.clip_by_norm.check(clip_by_norm)

# %% [markdown]
# ### Exercise 6 · One stream, cut in two ways
#
# ●●● · 15 minutes · `ex.unroll.hint()`
#
# Many worlds are recorded side by side, x `(B, T, I)`, and their episodes end at different times: `first[b, t]` is True where $x_t$ is the first of an episode. Unroll `step(x_t, h)`, which returns the new h, and return all
# states `(B, T, H)`. Two cuts. Before the steps 0, `every`, 2·`every`, … the *gradient* is cut and the value goes on: *truncated* back-propagation through time. Where an
# episode begins, for that row only, nothing goes on: its step starts from zeros.


# %% exercise="unroll"
def unroll(step, x: torch.Tensor, h: torch.Tensor, first: torch.Tensor, every: int) -> torch.Tensor:
    """Every state (B, T, H) of streams x (B, T, I), from h (B, H): a fresh state where an episode is ``first``."""
    ### BEGIN SOLUTION
    out = []
    for t in range(x.shape[1]):
        if t % every == 0:
            h = h.detach()  # the value goes on, the gradient does not
        h = torch.where(first[:, t, None], torch.zeros_like(h), h)  # nothing goes on
        h = step(x[:, t], h)
        out.append(h)
    return torch.stack(out, dim=1)
    ### END SOLUTION


# %% check="unroll"
ex.unroll.check(unroll)

# %% [markdown]
# ### Exercise 7 · Episodes of unequal length
#
# ●●○ · 10 minutes · `ex.pad_episodes.hint()`
#
# The other way: one row of the batch for each episode. `rows` `(N, D)` holds E episodes one after the other, `lengths` `(E,)` says how long each is. Return them padded with zeros at the end, `(E, L, D)` with L the longest
# length, and a mask `(E, L)` in the dtype of `rows`: 1.0 for a step that happened, 0.0 for padding. A loss is then Σ mask·loss / Σ mask, and never a plain mean.


# %% exercise="pad_episodes"
def pad_episodes(rows: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Episodes that lie one after the other, (N, D), side by side: padded (E, L, D), and what is no padding (E, L)."""
    ### BEGIN SOLUTION
    longest = int(lengths.max())
    padded = rows.new_zeros(len(lengths), longest, rows.shape[1])
    mask = rows.new_zeros(len(lengths), longest)
    start = 0
    for episode, length in enumerate(lengths.tolist()):
        padded[episode, :length] = rows[start : start + length]
        mask[episode, :length] = 1.0
        start += length
    return padded, mask
    ### END SOLUTION


# %% check="pad_episodes"
ex.pad_episodes.check(pad_episodes)

# %% [markdown]
# ### Exercise 8 · How many parameters
#
# ●○○ · 5 minutes · `ex.cell_table.hint()`
#
# Layers come as tuples `(kind, inputs, hidden, biases)`; kinds are `"rnn"`, `"lstm"` and `"gru"`, and `biases` is how many each block has, 1 or 2. Return a tensor of whole numbers: the parameters of each layer (int64, as `torch.tensor` makes of a list).


# %% exercise="cell_table"
def cell_table(layers: list[tuple[str, int, int, int]]) -> torch.Tensor:
    """The number of parameters of each layer (kind, inputs, hidden, biases)."""
    ### BEGIN SOLUTION
    gates = {"rnn": 1, "gru": 3, "lstm": 4}
    counts = []
    for kind, inputs, hidden, biases in layers:
        counts.append(gates[kind] * hidden * (inputs + hidden + biases))
    return torch.tensor(counts)
    ### END SOLUTION


# %% check="cell_table"
ex.cell_table.check(cell_table)

# %% [markdown]
# ## Measure it
#
# From here on *your* functions do the work, once they have passed (until then, the course's).
#
# **Is it really torch's?** Your three steps beside `nn.RNN`, `nn.LSTM` and `nn.GRU`, with their weights, for 50 steps: to within how much are they the same? A step that is *nearly* right is off by far more than rounding; one that is right
# stays within a few times the rounding of its numbers, about 1e-7 in float32 and 1e-16 in float64. (What is printed is the limit that each of the six must keep.) And the size of the paper's memory, 35 inputs and 256 units, by your table.

# %%
step_of = {"RNN": lesson.yours("rnn_step"), "LSTM": lesson.yours("lstm_step"), "GRU": lesson.yours("gru_step")}
torch.manual_seed(0)
for kind, layer in (("RNN", nn.RNN), ("LSTM", nn.LSTM), ("GRU", nn.GRU)):
    for dtype, least in ((torch.float32, 2e-6), (torch.float64, 1e-14)):
        theirs = layer(5, 32, batch_first=True).to(dtype)
        xs = torch.randn(4, 50, 5, dtype=dtype)
        h_now = c_now = torch.zeros(4, 32, dtype=dtype)
        off = 0.0
        with torch.no_grad():
            wanted, _ = theirs(xs)
            for t in range(50):
                if kind == "LSTM":
                    h_now, c_now = step_of[kind](xs[:, t], h_now, c_now, *theirs.parameters())
                else:
                    h_now = step_of[kind](xs[:, t], h_now, *theirs.parameters())
                off = max(off, (h_now - wanted[:, t]).abs().max().item())
        print(f"{kind:>4} in {str(dtype)[6:]}: the same as torch.nn.{kind}, to within {least:.0e}")
        assert off < least, off

table = lesson.yours("cell_table")
sizes = table([("lstm", 35, 256, 1), ("lstm", 35, 256, 2), ("gru", 35, 256, 2), ("rnn", 35, 256, 2)]).tolist()
print("LSTM with one bias {:,}, with two {:,}; GRU {:,}; RNN {:,}".format(*sizes))
assert sizes[1:] == [sum(p.numel() for p in kind(35, 256).parameters()) for kind in (nn.LSTM, nn.GRU, nn.RNN)]

# %% [markdown]
# **The adding problem** (Hochreiter & Schmidhuber 1997), in the simpler form that later papers use. Numbers in [0, 1) come one by one; two are marked, one in each half; at the end the answer is their sum. Always saying 1 has the mean squared error
# 2·(1/12) = 1/6. To solve it the first number must be carried over half the sequence or more. Four networks of 32 units, each with three seeds, 400 steps of Adam at most, all clipped by *your* function. The learning rate is 0.01 for the
# RNN and 0.02 for the others, chosen by hand beforehand, and with other rates the picture may be another. The two LSTMs differ only in their biases: the one has the usual forget bias of 1; the other has half-lives spread from 1 step to the whole length, by *your* `forget_bias`,
# and for the input gates the negative of the same bias: who remembers long lets little in (Tallec & Ollivier 2018). Since your steps are torch's, torch's faster kernels run here. A curve that ends early has solved it (error below 0.01). Every seed is
# shown, good or bad.

# %% tags=["nbval-ignore-output"]
clip, set_bias = lesson.yours("clip_by_norm"), lesson.yours("forget_bias")
lengths, runs = (10, 30, 60), []
with AddingPlot(lengths) as plot:
    for length in lengths:
        for name in ADDERS:
            for seed in range(3):
                runs.append(learn_adding(name, length, seed, clip, set_bias, show=plot.show))
for length in lengths:
    for name in ADDERS:
        mine = [run for run in runs if run.name == name and run.length == length]
        said = ", ".join(f"solved at {run.steps[-1]}" if run.solved else f"error {run.error[-1]:.3f}" for run in mine)
        shortened = sum(run.clipped for run in mine) / sum(run.steps[-1] for run in mine)
        print(f"{length:>2} steps, {name:<22} {said:<46} clipped in {shortened:.0%} of the steps")
solved = {
    (name, length): sum(run.solved for run in runs if (run.name, run.length) == (name, length))
    for name in ADDERS
    for length in lengths
}
assert all(run.error[-1] > 0.8 * GUESSING for run in runs if run.name == "RNN" and run.length > 10)
assert solved["LSTM, long half-lives", 60] >= 1
assert solved["GRU", 60] >= 2
adding_picture(runs)

# %% [markdown]
# The vanilla RNN begins to learn at 10 steps, and from 30 on its error stays near that of always saying 1, for all of its 400 steps. But look at the LSTMs. With the bias of 1 the LSTM that "solves vanishing gradients" has trouble, too, and more
# the longer the sequence; f = 0.73 is no f near 1. The same cell, with other *biases*, solves it more often. (Three seeds for each length are few, and with more steps or other seeds the picture may move. Anyone who shows you one seed may have chosen it. And which matters more, the open forget gates or the shut input gates? `prepare` in the
# lesson's `experiment.py` has one line for each.) And the GRU does well without
# any preparation, though its z begins at ½, and a new GRU's gradient dies as fast as an RNN's (next figure). So a curve of gradients at the start is not the whole story. A likely reason: marks near the end are learned first, and while they are, the
# gates move. But that is a guess; you could test it.
#
# **The picture to remember.** Left, the gradient of the answer by the state d steps before, in the four networks of 60 steps as they were *before* their first step of Adam, by *your* steps. Right, inside an LSTM that has solved it: what do its gates do at the two marks, and what between them?

# %% tags=["nbval-ignore-output"] signature=true
curves = {name: reach_when_new(name, 60, step_of, set_bias) for name in ADDERS}
for name, values in curves.items():
    print(f"{name:<22} 10 steps back {values[10]:.1e}, 59 steps back {values[59]:.1e}, at most {values.max():.2f}")
assert curves["RNN"][59] < 1e-6
assert curves["GRU"][59] < 1e-6
assert curves["LSTM, bias 1"][59] < 1e-3
assert curves["LSTM, long half-lives"][59] > 0.1
assert curves["LSTM, long half-lives"].max() < 1.05
prepared = "LSTM, long half-lives"
for words, half_open in (("as they are, nearly shut", False), ("half open instead", True)):
    ends = [reach_when_new(prepared, 60, step_of, set_bias, seed, half_open=half_open)[59] for seed in range(8)]
    print(f"{prepared}, input gates {words}: 59 steps back {min(ends):.2f} to {max(ends):.2f} in eight networks")
    assert (min(ends) > 1) if half_open else (max(ends) < 1)
large = {}
for kind, half_life in (("RNN", None), ("LSTM", 2.0), ("LSTM", 60.0), ("GRU", 60.0)):
    name = kind if half_life is None else f"{kind} of half-life {half_life:.0f}"
    large[name] = [reach(kind, step_of[kind], scale=2.5, half_life=half_life, seed=seed)[60] for seed in range(8)]
print("W_hh of size 2.5, 60 steps back, the least and the most of eight networks:")
for name, ends in large.items():
    print(f"   {name:<20}{min(ends):8,.2f} to {max(ends):9,.2f}")
assert min(large["RNN"]) > 100
assert min(large["LSTM of half-life 60"]) > 5
assert max(large["GRU of half-life 60"]) < 1
assert min(large["LSTM of half-life 2"]) < 1 < max(large["LSTM of half-life 2"])

trained = next(run for run in reversed(runs) if run.name == "LSTM, long half-lives" and run.solved)
several, _ = adding(trained.length, 64, torch.Generator().manual_seed(2))
sequence = next(one for one in several if 5 <= int(one[:, 1].nonzero()[0]) <= 12)
inside = gates_of(sequence, *(p.detach() for p in trained.network.parameters()))
signature(curves, sequence, inside, trained.head.weight[0].detach())

# %% [markdown]
# On the left, what the biases alone have done, before anything was learned: with half-lives of up to the whole length, some tenths of the gradient arrive at the other end; without them next to nothing does. It is nowhere above 1, and
# that is owed to the shut input gates: in the same networks with half-open ones the side paths make the gradient *grow* (the two lines below the four), as they did at long half-lives in the picture with the sliders. And with a large $W_{hh}$ the RNN explodes, and
# so does the LSTM of half-life 60 (the last lines; the LSTM of half-life 2 in some networks only): that is what your clipping is for.
#
# On the right, nearly all input gates are shut, and some open at the marks, a few of them wide. The forget gates of those few stay dark between the marks. Shut and dark is how your biases began; that gates open *at the marks* was learned. Not every unit
# is so tidy: one lets everything in and soon forgets it, and some cells merely count the steps.
#
# **Now Dodge.** 49,152 frames of random play, as codes of a VAE like yours of lesson 05 (its first training takes half a minute; lessons 07 and 08 find it where it is kept). An LSTM of 96 units reads (z_t, a_t) and predicts the
# next code; it is told nothing else. Episodes are padded by *your* function, its steps are *your* `lstm_step`, gradients are clipped by your clipping. The dotted line is the plainest guess: "nothing moves". A caution:
# episodes longer than 32 steps are cut, and each piece begins at zero: the mistake of exercise 6, taken on purpose for speed. What is older than 32 steps it cannot learn to keep.
#
# **One episode into the next.** Run it over the held-out recording by *your* `unroll`, once with a fresh state where an episode begins, and once without: the state leaks. Below, the error of the predicted next code, by the age of the
# episode, with standard errors over episodes.

# %% tags=["nbval-ignore-output"]
parts = your_parts(lesson)
pad = lesson.yours("pad_episodes")
memories = dodge_memories()
test = memories.held_out
assert len(memories.train) == 49_152
copying = (test.mu[1:] - test.mu[:-1]).square().sum(1)[~test.ended[:-1]].mean().item()
with MemoryPlot(copying) as plot:
    memory, course = train_memory(memories.train, pad, clip, parts, show=plot.show)
for name in parts.own:
    if parts.calls[name]:
        print(f"your {name} was called {parts.calls[name]:,} times")

run_over = lesson.yours("unroll")
h_train = remember(memory, memories.train, memories, run_over, step_of["LSTM"])
h_test = remember(memory, test, memories, run_over, step_of["LSTM"])
leaked = remember(memory, test, memories, run_over, step_of["LSTM"], leak=True)
old, both = test.age(), [surprise(memory, state, test).numpy() for state in (h_test, leaked)]
for frame in (0, 1, 2, 4, 8):
    rows = [error[old == frame] for error in both]
    rows = [error[np.isfinite(error)] for error in rows]
    fresh, leaky = (f"{error.mean():.2f} ± {error.std(ddof=1) / math.sqrt(len(error)):.2f}" for error in rows)
    print(f"after {frame + 1} frame{'s' * (frame > 0)} of an episode: fresh state {fresh}, leaked {leaky}")
print(
    f"over all frames: fresh {np.nanmean(both[0]):.2f}, leaked {np.nanmean(both[1]):.2f}; nothing moves {copying:.2f}"
)
assert np.nanmean(both[0][old == 0]) < 0.5 * np.nanmean(both[1][old == 0])

# %% [markdown]
# A leak does most of its harm in an episode's first frames, and is then slowly forgotten: after nine frames its error is a small one, but still several times that of a fresh state. Averaged over all frames the network merely looks
# worse than it is, and there is nothing to compare it with: so this mistake lives long. (The second frame is hard without any leak: after it the first hazard comes into sight, at a column that is
# known in part only, since hazards aim near the agent.)
#
# And why did the training's curve end higher than what is printed here for a fresh state? The curve is the error on pieces of the training's recording, with a z drawn anew from q(z|x), and a piece from the middle of an episode begins without its past; these numbers are for held-out episodes, read with mu.
#
# **What does h know?** Nobody told the memory of velocities. Ask with *linear probes*: ridge regression, fitted on the training's episodes, scored on held-out ones by R², the share of the variance that it explains; the intervals are 95 %, by drawing episodes
# anew. Three facts that one frame lacks: the sideways drift of a hazard below the band, the agent's velocity (all probes also get the last action here, which moves it), and the column of a hazard that is wholly hidden. And two controls, without
# which a probe proves little: an h that has read *one* frame only, from a zero state (the same network, as nonlinear, without memory), and the h of LSTMs that were *never trained*, three of them.

# %% tags=["nbval-ignore-output"]
blanks, looks = {}, []
for seed in (1, 2, 3):
    torch.manual_seed(seed)
    blanks[f"h, untrained, seed {seed}"] = Memory(memories.train.mu.shape[1], HIDDEN)
for seen, state in ((memories.train, h_train), (test, h_test)):
    cut = recall(memory, seen, np.arange(len(seen)), 1)
    untrained = {name: remember(one, seen, memories, run_over, step_of["LSTM"]) for name, one in blanks.items()}
    looks.append({"h after one frame": cut} | untrained | {"h": state})
probed = probe_table(memories, *looks)
for fact, row in probed.items():
    print(fact)
    for look, found in row.items():
        print(f"   {look:<20} R² {found}")
print(f"   {'the agent’s column':<20} R² {aimed(memories)}")
curve = dict(memory_curve(memory, memories, (1, 2, 3, 4, 6, 8, 12)))
drift, velocity, hidden = probed.values()
assert drift["z"].high < drift["h"].low
assert drift["z and the z before"].high < drift["h"].low
assert velocity["z"].high < velocity["h"].low
assert hidden["z"].high < hidden["h"].low
probe_picture(probed, curve, drift["z"])

# %% [markdown]
# Read it with care. The code of one frame has next to nothing of a hazard's drift, and h has most of it: that is the memory, since the same network after one frame has hardly more than z. (On the right, how it grows with the frames that h has read: two are by far not enough.) Two codes side by side *contain* the velocity, but as a small difference of two places: a hazard
# drifts by one pixel a step, and a place lies in z only nearly along a straight line, so what the bend adds hides the drift, and a linear probe finds little of it. (A nonlinear probe may well find more; the extension below tries it. The claim is about what lies open, ready for the next layer.) For a hidden hazard two frames do nearly as well as h, since a quarter of it was in sight one step before. And z alone knows something of it, since hazards aim near the agent, whom z shows: the last line is a probe that sees the agent's column and nothing else.
#
# And the control that is seldom shown: the *untrained* LSTM does well, whatever the seed. A random recurrent network is a random mixture of the recent past, and a straight line finds much in such a mixture (echo state networks live on that: Jaeger 2001). Training adds to it, for the
# drift and for the velocity, but most of the way from z to h is *recurrence*, not learning. A probe of h without this control would have told you a nicer and less true story.
#
# **Behind the band.** A hazard falls, in a held-out episode. Where is it, by the probe of z, and by the probe of h? Step through its fall; watch row 14.5, where no pixel of it is in the frame.

# %% tags=["nbval-ignore-output"]
display(lesson.questions["velocity"].reveal(), behind_the_band(memory, memories, h_train, h_test))

# %% [markdown]
# ## Explain it
#
# To your prediction about the hazard's drift belongs a second sentence: h has most of it, but most of that an *untrained* LSTM has, too.
#
# And three questions, answered at once.

# %%
for name in ("biases", "clipping", "border"):
    display(lesson.questions[name].ask())

# %% [markdown]
# ## Close
#
# **Pitfalls you have met.** Gate order: i, f, g, o in torch, and elsewhere not. Two biases that are added: forgotten once, or set twice. z and 1 − z: two GRUs, one family. A state that leaks across episodes, and a padding that counts as data. Clipping by value, called by norm. "Eigenvalues below
# 1, so gradients vanish": in the end, not at once. And "the LSTM solves vanishing gradients": along the cell, while f is near 1.
#
# **Where this lives.** `wmcourse/lstm_gru.py`; `lstm_step` is now a part of your world model. Its `LSTM` has one bias for each gate, as the papers have; f's begins at 1. The memory you have trained guesses one next code. But under the band a hazard forks, and there are *two* next codes:
# lesson 07.
#
# **Try next.** One hyper-parameter: the size of the memory. Train it with `hidden=32` in place of 96, and make the untrained ones as small, `Memory(…, 32)`. Who knows more of a hazard's drift then, the trained or the untrained? One extension: a nonlinear probe. Fit a small network from two codes to the drift; how much of h's lead is left?
#
# **You can now read** Hochreiter & Schmidhuber (1997), *Long Short-Term Memory*, Neural Computation 9(8), whose experiment 4 you have repeated in a simpler form; Gers et al. (2000), *Learning to Forget*; Cho et al. (2014),
# [*Learning Phrase Representations*](https://arxiv.org/abs/1406.1078), §2.3, where the GRU appears, with z near 1 for keeping; Chung et al. (2014), [*Empirical Evaluation of Gated RNNs*](https://arxiv.org/abs/1412.3555), with the other convention; Pascanu et al. (2013),
# [*On the Difficulty of Training RNNs*](https://arxiv.org/abs/1211.5063), §2–3, for the bound and for clipping; Jozefowicz et al. (2015), on the forget bias; and Tallec & Ollivier (2018), [*Can Recurrent Neural Networks Warp Time?*](https://arxiv.org/abs/1804.11188).
#
# The formula card, typeset from the expressions that your steps were compared with:

# %%
lesson.card()
