# %% [markdown]
# # 09 · Model predictive control
#
# **The question.** Lesson 08 ended with a machine that dreams. Now: what would I have to *do* for the dream to end well? Left, a
# moment of Dodge. Beside it are the same columns, and time runs upwards. Look one step ahead (middle): whatever you push, you survive, so there is nothing to choose. Look twelve steps ahead (right): the hazard that is now in the band
# comes down and drifts to the right, and most plans, in grey, end in it (×). Of the few that get through nearly all lean to one side from the start, long before that hazard is near. To plan is to try out actions in a model and to carry out the best of them; or rather, as you will see,
# only the first step of the best. How far ahead must one look? How good must the model be? And how far from the best possible is the best of 64 dice throws?

# %% keep=true
import sympy as sp
import torch

from wmcourse.lessons import open_lesson
from wmcourse.lessons.derivation import expectation, proved
from wmcourse.lessons.map import system_map
from wmcourse.lessons.model_predictive_control.experiment import (
    UPRIGHT,
    by_climbing,
    by_dice,
    dodge_moment,
    dodge_returns,
    exactly,
    fan,
    interval,
    linear_step,
    quadratic,
    regret,
    replan,
    sweep,
    variance,
    wander,
)
from wmcourse.lessons.model_predictive_control.widgets import (
    SweepPlot,
    dodge_bars,
    horizon_cost_time,
    opening,
    plan_portrait,
    regret_picture,
    replan_picture,
    signature,
    wrong_model,
)
from wmcourse.lessons.pendulum import apart_from_gymnasium, pendulum_step

lesson = open_lesson("09")
ex, steps = lesson.exercises, lesson.steps  # two short names for the whole lesson
opening()

# %% [markdown]
# Work cell by cell, with Shift+Enter: *Run All* stops at the first check that is not passed.
#
# **After this lesson you can**
#
# 1. score hundreds of plans in one pass through a model, and name the three places where that goes wrong silently (they are numbered in *Close*);
# 2. plan by dice and by gradients, through a model that is unsure, too;
# 3. write the loop that plans again at each step, and say by a formula why it forgives a wrong model;
# 4. compute the exact answer of a linear world (Riccati), and hold any planner against it;
# 5. choose a horizon by a measurement, and say when a terminal value replaces it.
#
# | section | minutes of yours | of the machine's |
# |---|--:|--:|
# | Predict first | 4 | – |
# | Derive | 35 | – |
# | See it | 12 | – |
# | Build it | 80 | – |
# | Measure it | 25 | 1 |
# | Explain it | 4 | – |
# | Close | 3 | – |
#
# **From before** you need the time convention $(z_t, a_t, h_t)\to z_{t+1}, r_{t+1}, \mathrm{done}_{t+1}$ of the dream step (lesson 08), and z = μ + σ·ε (lesson 02). Words: a *plan* is a row of L actions, L the *horizon*; a *return* is
# a sum of rewards. Shapes: plans are (W, N, L, A): W worlds side by side, N candidates, L steps, A numbers an action.
# In *Derive* (and with matrices in exercise 7) u is the action, a, b, q and r are numbers of the world, and V is a *cost*: less is better. In exercises 1 to 6 a is the action again, r the reward, and V a return: its sign turns.

# %% keep=true
display(system_map(highlight=["C"]), lesson.panel())

# %% [markdown]
# ## Predict first
#
# Three questions before you read. Each will be measured or derived below. (In the second one the motor is quiet: the model's gravity is all that is wrong.)

# %%
for name in ("further", "gravity", "noise"):
    display(lesson.questions[name].predict())

# %% [markdown]
# ## Derive
#
# **A world in which the best plan is known.** A planner should be held against the truth at least once. So take the simplest world that can be controlled at all: one number s, one action u,
#
# $$s_{t+1} = a\,s_t + b\,u_t,\qquad \text{cost}\;=\;\sum_{t<L}\big(q\,s_t^2 + r\,u_t^2\big) + q\,s_L^2 .$$
#
# Being away from 0 costs, and so does acting. L unknown actions at once look like a search. Bellman's idea: begin at the *end*. In the last state there is nothing left to do, it costs $q\,s_L^2$. And if the cost from
# tomorrow on is known to be $p\,s^2$, today is a question about one number. With $V_t(s)$ for the least cost from step t on:
#
# $$V_t(s) = \min_u\Big[q\,s^2 + r\,u^2 + p\,(a\,s+b\,u)^2\Big].$$

# %%
from wmcourse.lessons.model_predictive_control.derivation import (
    SETTLED,
    L,
    a,
    b,
    k,
    p,
    q,
    r,
    s,
    sigma,
    u,
    w,
)

today = q * s**2 + r * u**2 + p * (a * s + b * u) ** 2
proved(
    sp.Derivative(today, (u, 2)),
    2 * (r + b**2 * p),
    "Positive: a bowl in u, so the place without slope is the minimum.",
)

# %% [markdown]
# ### Step · The best action of one step
#
# ●○○ · 6 minutes · `steps.best_action.hint()`
#
# Which u makes it least? Write it with `a`, `b`, `p`, `r` and `s` (and `q`, if it is needed).

# %% step="best_action"
best_action = ...  # u, in a, b, p, r, s
### BEGIN SOLUTION
best_action = -a * b * p * s / (r + b**2 * p)
### END SOLUTION

# %% check="best_action"
steps.best_action.check(best_action)

# %% [markdown]
# ### Step · What a state costs from here on
#
# ●●○ · 8 minutes · `steps.cost_to_go.hint()`
#
# The action is proportional to the state, u = −K·s: not a list of numbers but a *rule*. Put it in. The cost is again a number times s². Which number? Write it with `a`, `b`, `p`, `q` and `r`.

# %% step="cost_to_go"
cost_to_go = ...  # what stands in front of s², in a, b, p, q, r
### BEGIN SOLUTION
cost_to_go = q + a**2 * p * r / (r + b**2 * p)
### END SOLUTION

# %% check="cost_to_go"
steps.cost_to_go.check(cost_to_go)

# %% [markdown]
# So p of tomorrow gives p of today, and the whole plan is L rounds of this one line, from the end to the start: **Riccati's** recursion. It is exact, and costs next to nothing.
#
# **Two numbers, and a real machine.** `Pendulum-v1` near its upright rest: its state is two numbers, angle θ and velocity ω, and there sin θ is nearly θ. The machine linearises it, takes an *unknown* symmetric P for the cost from tomorrow on, minimises over u, and compares with the formulas for matrices,
# $K = (R+B^\top PB)^{-1}B^\top PA$ and $P_{\text{today}} = Q + A^\top P\,(A-BK)$.
#
# **What does noise change?** Let the world add w ~ N(0, σ²) to each step. The last lines work out tomorrow's expected cost: what noise adds to it is a constant, with no u in it and no s. It is carried back from day to day, and no decision changes it. So in this world one may plan *as if there were no noise*, provided that one plans again when
# it has struck (*certainty equivalence*). It does not hold where noise depends on the action, or where a hazard forks; there one samples futures (exercise 5).

# %%
theta, omega, p11, p12, p22 = sp.symbols("theta omega p_11 p_12 p_22", real=True)
dt = sp.Rational(1, 20)  # seconds per step
faster = omega + 15 * dt * sp.sin(theta) + 3 * dt * u
swing = sp.Matrix([theta + dt * faster, faster]).jacobian([theta, omega, u]).subs({theta: 0, omega: 0, u: 0})
A, B, Q, P = swing[:, :2], swing[:, 2:], sp.diag(1, sp.Rational(1, 10)), sp.Matrix([[p11, p12], [p12, p22]])
state = sp.Matrix([theta, omega])

after = A * state + B * u
total = (state.T * Q * state + after.T * P * after)[0] + r * u**2
found = sp.solve(sp.diff(total, u), u)[0]
K = B.T * P * A / (r + (B.T * P * B)[0])
assert sp.simplify(found + (K * state)[0]) == 0
assert sp.simplify(total.subs(u, found) - (state.T * (Q + A.T * P * (A - B * K)) * state)[0]) == 0

m = sp.Symbol("m", real=True)  # where a·s + b·u would lead
cost = expectation(p * (m + w) ** 2, sp.Integer(0), sigma, w)
display(
    proved(
        sp.Derivative(faster, theta).subs(theta, 0),
        15 * dt,
        "Gravity's slope at the top pushes *away*. The matrices agree, too.",
    ),
    proved(cost, p * m**2 + p * sigma**2, "With m = a·s + b·u: the second term has no u in it."),
    lesson.questions["noise"].reveal(),
)

# %% [markdown]
# ### Step · How far an open loop drifts
#
# ●●○ · 6 minutes · `steps.drift.hint()`
#
# **Receding horizon.** Solve the L-step problem, do its first action only, look, solve it again. Here that means to use $K_0$ for ever. The other way, *open loop*: work out all L actions from $s_0$ and carry them out with closed eyes. Without
# noise and with a true model, closed eyes lose nothing over these L steps: the rule $u_t=-K_t s_t$ would choose the same actions. With noise it would not.
#
# The actions are fixed, so what goes wrong stays. The error e is the place where you are minus the place where the plan says that you are; it obeys $e_{t+1} = a\,e_t + w_t$ with $e_0=0$ and independent w of variance σ². What is its variance after `L` steps? Write it with `a`, `sigma` and `L`.

# %% step="drift"
drift = ...  # Var(e_L), in a, sigma, L
### BEGIN SOLUTION
drift = sigma**2 * (a ** (2 * L) - 1) / (a**2 - 1)
### END SOLUTION

# %% check="drift"
steps.drift.check(drift)

# %% [markdown]
# **And a closed loop.** With feedback u = −k·s the error obeys $e_{t+1} = (a-bk)\,e_t + w_t$. Where it neither grows nor shrinks any more, its variance v satisfies $v = (a-bk)^2\,v+\sigma^2$; the machine solves it below.
#
# The whole difference is in what is raised to powers. For a world that runs away, |a| > 1, the open loop's error grows exponentially, *whatever the plan*; feedback replaces a by a − bk, and where |a − bk| < 1 the error stays bounded. A wrong model is forgiven for the same reason: at each step it adds a new error, and feedback multiplies what is left of the old ones by a − bk. (Unlike w, this error is not random: it is proportional to the state.)
# Now by dice: 20,000 runs of either kind, against both formulas. Then the pendulum's own numbers.

# %%
v = sp.Symbol("v", positive=True)
display(proved(sp.solve(sp.Eq(v, (a - b * k) ** 2 * v + sigma**2), v)[0], SETTLED, "For |a − b·k| < 1."))

numbers = {a: 1.05, b: 1.0, k: 0.25, sigma: 0.1, L: 40}
for name, formula, feedback, length in (("open", steps.drift.expected, 0.0, 40), ("closed", SETTLED, 0.25, 200)):
    estimate, error = variance(wander(1.05, feedback, 0.1, length))
    exact = float(formula.subs(numbers))
    print(f"{name:6s} loop: variance derived {exact:.4f}, measured {estimate:.4f} ± {error:.4f}")
    assert abs(estimate - exact) < 3 * error
grows = torch.linalg.eigvals(UPRIGHT[0]).real.max().item()
print(f"upright, an error of the open loop grows by {grows:.3f} a step: {grows**24:.0f}-fold in 24 steps")
swing_time = 2 * sp.pi / sp.sqrt(15)  # seconds: hanging, a pendulum left to itself has 15 where upright it has -15
print(f"hanging, a small swing to and fro takes {float(swing_time):.2f} s: {float(swing_time / dt):.0f} steps")

# %% [markdown]
# ## See it
#
# **What becomes of a plan?** The pendulum hangs, its motor is too weak to lift it, so it must swing to and fro first. In the plane of angle and velocity, grey lines are the paths of a pendulum left to itself. Blue is the closed loop, and orange the plan that it makes *now*, for 40 steps; red is the pendulum that was
# given one plan of 60 steps at the start, and closed eyes. Move *step* with a right model and a quiet motor: both arrive. (The open loop is there first; at step 60 its plan ends, and it falls.) Then let the model's gravity be 2 % too strong. When does red leave its plan (dotted), and why just there? (Click a slider, then use the arrow keys; Tab and Space for buttons.)

# %% keep=true signature=true
display(plan_portrait(), signature())

# %% [markdown]
# Red leaves its plan near the top, where errors grow 1.2-fold at each step, a hundredfold in two dozen. The still picture, with 5 %, is the one to remember. Note that the closed loop's plans are *wrong*, every single one; nobody ever gets to their ends. (The blue path ends at 0 and not at 2π: the same place. With 10 % the closed loop gets up at its first try on some processors and only at its second on others: near the top, rounding grows as well. One swing proves little: *Measure it* takes a hundred.)
#
# **What does a horizon buy, and what does it cost?** Random plans, the best one wins, twelve pendulums that begin up to 45° to either side of hanging. From which horizon on do they get up at all? (A small swing to and fro takes 32 steps, as printed above; a third of a swing is enough.) And what is odd about 45 steps?

# %% keep=true
horizon_cost_time()

# %% [markdown]
# **A model that is wrong by a few percent.** Now near the top, with the exact planner of your derivation, whose model has too much or too little gravity. The bands are two standard deviations, computed by your formula's matrix version. Does the *closed* loop
# suffer anywhere on this slider? And what does noise do to either? (The closed loop does not: near the top its gain forgives 30 % either way, and noise leaves it a narrow band. There is no torque limit here.)

# %% keep=true
wrong_model()

# %% [markdown]
# ## Build it
#
# Seven functions: how plans are scored (1), how they are found (2, 5, 6), how they are used (3, 4), and the exact answer (7). ★ is a part of your world model. A check that fails says what came out; if your answer is a mistake that it knows, it tells you its name.

# %% [markdown]
# ### Exercise 1 · What a plan is worth
#
# ●●○ · 15 minutes · `ex.score_plans.hint()`
#
# Roll out all `plans` (W, N, L, A) as one batch of W·N rows: then one loop is enough, over the steps. (Loops over worlds and candidates give the same numbers, only many times slower; the check lets them pass.) Here planners become fast, and here they go wrong without an error. One can die on the way, the future may be discounted, and something lies beyond the horizon:
#
# $$\text{score}=\sum_{t<L}\gamma^t\,\text{alive}_t\;r_{t+1}+\gamma^L\,\text{alive}_L\,V(s_L),\qquad \text{alive}_{t+1}=\text{alive}_t\,(1-\text{done}_{t+1}),\quad \text{alive}_0=1 .$$
#
# `step(state, action)` returns the next state, $r_{t+1}$ and the chance $\mathrm{done}_{t+1}$, the last two with one number for each row; `state` is a tuple of tensors (W, …), as a dream's (z, h, c) is. `terminal_value(state)` is $V$, or None. Who dies in a step is still paid for it. (A discount
# is a *soft* horizon: the weights 1, γ, γ², … add up to 1/(1 − γ): as much as 1/(1 − γ) steps at full weight.)


# %% exercise="score_plans"
def score_plans(step, state, plans: torch.Tensor, discount: float = 1.0, terminal_value=None) -> torch.Tensor:
    """The expected return of N plans in each of W worlds: states (W, ...), plans (W, N, L, A) -> (W, N)."""
    ### BEGIN SOLUTION
    worlds, candidates, horizon, _ = plans.shape
    state = tuple(part.repeat_interleave(candidates, dim=0) for part in state)
    actions = plans.flatten(0, 1)  # (W·N, L, A)
    total, alive = actions.new_zeros(len(actions)), actions.new_ones(len(actions))
    for t in range(horizon):
        state, reward, done = step(state, actions[:, t])
        total = total + discount**t * alive * reward
        alive = alive * (1 - done)
    if terminal_value is not None:
        total = total + discount**horizon * alive * terminal_value(state)
    return total.view(worlds, candidates)
    ### END SOLUTION


# %% check="score_plans"
ex.score_plans.check(score_plans)

# %% [markdown]
# ### Exercise 2 · The best of N throws
#
# ●○○ · 8 minutes · `ex.shoot.hint()`
#
# *Random shooting*, the simplest planner there is. `dice` (W, N, L, A) are uniform in [0, 1): stretch them to [low, high), score them with `score(plans)` (W, N), and return each world's best plan (W, L, A) and its score (W,). A score may be NaN where a model breaks down; such a plan must lose.


# %% exercise="shoot"
def shoot(score, dice: torch.Tensor, low: float, high: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The best of N random plans in each world: dice (W, N, L, A) in [0, 1) -> plan (W, L, A), score (W,)."""
    ### BEGIN SOLUTION
    plans = low + (high - low) * dice
    scores = score(plans)
    scores = torch.where(scores.isnan(), -torch.inf, scores)  # argmax would let NaN win
    best = scores.argmax(dim=1)  # (W,)
    rows = torch.arange(len(plans))
    return plans[rows, best], scores[rows, best]
    ### END SOLUTION


# %% check="shoot"
ex.shoot.check(shoot)

# %% [markdown]
# ### Exercise 3 · One step later ★
#
# ●○○ · 5 minutes · `ex.shift_plan.hint()`
#
# The first action is done. What is left of a plan is nearly a plan for the next step: it lacks one action, at its end. Drop the first, repeat the last: (…, L, A) → (…, L, A), for any number of axes before. (Lesson 10 keeps a few of the best plans of each world, its *elites*: one axis more.) In your world model each new search starts from it.


# %% exercise="shift_plan"
def shift_plan(plan: torch.Tensor) -> torch.Tensor:
    """A plan (..., L, A) one step later: the first action is done, the last is repeated."""
    ### BEGIN SOLUTION
    horizon = plan.shape[-2]
    following = torch.arange(1, horizon + 1).clamp(max=horizon - 1)  # 1, 2, ..., L-1, L-1
    return plan[..., following, :]
    ### END SOLUTION


# %% check="shift_plan"
ex.shift_plan.check(shift_plan)

# %% [markdown]
# ### Exercise 4 · The loop that closes
#
# ●●○ · 12 minutes · `ex.receding_horizon.hint()`
#
# What is seen (z) and what is remembered (h) go in, one action comes out; `steps` times. `search(seen, memory, warm)` returns a plan (W, L, A), where `warm` is the last plan shifted by one, at first None. `remember(memory, seen, action)` returns $h_{t+1}$ from $h_t$ and $(z_t, a_t)$. `world(action)` moves
# the world and returns what is seen then, and the reward (W,). Return the actions that were done, (W, T, A), T being `steps`, and each world's return, (W,).


# %% exercise="receding_horizon"
def receding_horizon(
    search, remember, world, seen: torch.Tensor, memory: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Plan, do the first action, remember, look, shift; again. The actions (W, T, A) and the returns (W,)."""
    ### BEGIN SOLUTION
    warm, actions, rewards = None, [], []
    for _ in range(steps):
        plan = search(seen, memory, warm)
        action = plan[:, 0]  # (W, A): only the first step is ever done
        memory = remember(memory, seen, action)  # h_{t+1}, after (z_t, a_t)
        seen, reward = world(action)
        warm = torch.cat([plan[:, 1:], plan[:, -1:]], dim=1)  # shifted by one
        actions.append(action)
        rewards.append(reward)
    return torch.stack(actions, dim=1), torch.stack(rewards, dim=1).sum(dim=1)
    ### END SOLUTION


# %% check="receding_horizon"
ex.receding_horizon.check(receding_horizon)

# %% [markdown]
# ### Exercise 5 · The slope through chance
#
# ●●● · 12 minutes · `ex.plan_slope.hint()`
#
# Dice ask the model for numbers. A model made of smooth functions can tell more: how the return changes with each action. And where the model is unsure, `motion(state, action)` gives `mu` and `log_sigma` (M, D) each, as an MDN of one component does. Roll M futures of one `plan` (L, A) from one `state` (D,), with `noise` (M, L, D): step t
# samples $s_{t+1} = \mu+\sigma\,\varepsilon_t$, then `reward(state, action)` (M,) of the sampled state. Return the average return of the futures (one number), and its slope by the plan, (L, A).


# %% exercise="plan_slope"
def plan_slope(
    motion, reward, state: torch.Tensor, plan: torch.Tensor, noise: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean return of M sampled futures of a plan (L, A), and its slope (L, A); noise (M, L, D)."""
    ### BEGIN SOLUTION
    plan = plan.clone().requires_grad_()
    future, total = state.expand(len(noise), -1), torch.zeros(())  # (M, D)
    for t, step in enumerate(plan):
        action = step.expand(len(noise), -1)
        mu, log_sigma = motion(future, action)
        future = mu + log_sigma.exp() * noise[:, t]  # the path from the action to the sample stays open
        total = total + reward(future, action)
    value = total.mean()
    (slope,) = torch.autograd.grad(value, plan)
    return value.detach(), slope
    ### END SOLUTION


# %% check="plan_slope"
ex.plan_slope.check(plan_slope)

# %% [markdown]
# ### Exercise 6 · Uphill
#
# ●●○ · 12 minutes · `ex.climb.hint()`
#
# Gradient planning. From `plans` (W, N, L, A) go `iterations` steps uphill, each `rate` times the slope of the plan's *own* score, and clamp to [low, high] after each step. Where a number of the slope is not finite, it counts as 0. Then score once more, and return each world's best plan and its score, as in exercise 2. (Plain ascent; the course's `GradientPlanner` uses Adam.)


# %% exercise="climb"
def climb(
    score, plans: torch.Tensor, rate: float, iterations: int, low: float, high: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient ascent on N plans in each of W worlds: (W, N, L, A) -> best plan (W, L, A), its score (W,)."""
    ### BEGIN SOLUTION
    for _ in range(iterations):
        plans = plans.detach().requires_grad_()
        (slope,) = torch.autograd.grad(score(plans).sum(), plans)
        slope = torch.where(slope.isfinite(), slope, 0.0)
        plans = (plans + rate * slope).clamp(low, high)
    plans = plans.detach()
    scores = score(plans)
    scores = torch.where(scores.isnan(), -torch.inf, scores)
    best, rows = scores.argmax(dim=1), torch.arange(len(plans))
    return plans[rows, best], scores[rows, best]
    ### END SOLUTION


# %% check="climb"
ex.climb.check(climb)

# %% [markdown]
# ### Exercise 7 · The exact answer
#
# ●●○ · 10 minutes · `ex.riccati.hint()`
#
# Your two steps of the derivation, with matrices, from the end to the start: A (S, S), B (S, U), Q and R. Return the gains K (L, U, S), with $u_t = -K_t s_t$, and the values P (L+1, S, S), with $s^\top P_t\, s$ the cost from t on, both in the order of time.


# %% exercise="riccati"
def riccati(
    a: torch.Tensor, b: torch.Tensor, q: torch.Tensor, r: torch.Tensor, horizon: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The linear-quadratic regulator by dynamic programming: gains (L, U, S) and values (L + 1, S, S)."""
    ### BEGIN SOLUTION
    gains = []
    values = [q]
    for _ in range(horizon):  # from the end to the start
        p = values[0]
        gain = torch.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
        values.insert(0, q + a.T @ p @ (a - b @ gain))
        gains.insert(0, gain)
    return torch.stack(gains), torch.stack(values)
    ### END SOLUTION


# %% check="riccati"
ex.riccati.check(riccati)

# %% [markdown]
# ## Measure it
#
# From here on *your* functions do the work, once they have passed (until then, the course's).
#
# **Do the pieces agree?** First, the exact controller's plan of 40 steps, scored by `score_plans`, must come to minus the cost that Riccati says: $-s^\top P_0\,s$. Second, certainty equivalence says that noise leaves the slope of the *expected* score alone. So the mean slope of 20,000 noisy futures by `plan_slope` must be the slope without
# noise, within a few standard errors.

# %%
score, throw, later = (lesson.yours(name) for name in ("score_plans", "shoot", "shift_plan"))
loop, uphill, slope_of, regulator = (
    lesson.yours(name) for name in ("receding_horizon", "climb", "plan_slope", "riccati")
)

drive, push, state_cost, action_cost = UPRIGHT  # A, B, Q, R near upright
gains, values = regulator(drive, push, state_cost, action_cost, 40)
start = torch.tensor([[0.05, 0.1]], dtype=torch.float64)
now, best_plan = start, []
for gain in gains:
    best_plan.append(-now @ gain.T)
    now = now @ drive.T + best_plan[-1] @ push.T
value = score(
    linear_step, (start,), torch.stack(best_plan, dim=1)[:, None], terminal_value=quadratic(state_cost)
).item()
print(f"exact plan of 40 steps: scored {value:.9f}, by Riccati {-(start @ values[0] @ start.T).item():.9f}")
assert abs(value + (start @ values[0] @ start.T).item()) < 1e-9

noise = 0.05 * torch.randn(100, 200, 8, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
unsure = lambda at, action: (at @ drive.T + action @ push.T, 0 * at)  # σ = 1, the noise is scaled
cost_of = lambda at, action: -((at @ state_cost) * at).sum(-1) - ((action @ action_cost) * action).sum(-1)
still_plan = torch.full((8, 1), 0.3, dtype=torch.float64)
slopes = torch.stack([slope_of(unsure, cost_of, start[0], still_plan, n)[1] for n in noise])[..., 0]  # (100, L)
_, exact_slope = slope_of(unsure, cost_of, start[0], still_plan, 0 * noise[0])
mean, error = slopes.mean(0), slopes.std(0) / len(slopes) ** 0.5
for t in (0, 7):
    quiet, noisy = f"without noise {exact_slope[t, 0]:.4f}", f"from noisy futures {mean[t]:.4f} ± {error[t]:.4f}"
    print(f"slope of action {t}: {quiet}, {noisy}")
assert ((mean - exact_slope[:, 0]).abs() < 3.5 * error).all()

# %% [markdown]
# **How far from the best?** Near upright, on the linear world itself: 100 starts within 0.05 rad and 0.1 rad/s, 80 steps, all planners in a closed loop. The *regret* is what a planner's episode costs above the best possible (an endless horizon), as a share of what the best costs on average: 1 means twice the cost.

# %%
# NBVAL_IGNORE_OUTPUT
# Eighty steps of a closed loop carry another processor's rounding on; what must hold is asserted.
forever = regulator(drive, push, state_cost, action_cost, 300)[1][0]
players = {
    f"exact, {n} step{'s' * (n > 1)}": exactly(regulator(drive, push, state_cost, action_cost, n)[0])
    for n in (1, 5, 10, 20)
}
players["climb, 10 steps, 10 rounds"] = by_climbing(uphill, later, score, 10, 10, 1.2, state_cost)
players["climb, 10 steps, 30 rounds"] = by_climbing(uphill, later, score, 10, 30, 1.2, state_cost)
players["dice, 64 plans of 10 steps"] = by_dice(throw, later, score, 10, 64, state_cost)
players["dice, 256 plans of 10 steps"] = by_dice(throw, later, score, 10, 256, state_cost)
players["dice, 64 plans of 1 step"] = by_dice(throw, later, score, 1, 64, state_cost)
players["dice, 64 of 1 step, with V"] = by_dice(throw, later, score, 1, 64, forever)
regrets = {name: interval(regret(player, forever)) for name, player in players.items()}
for name, (mean, half) in regrets.items():
    print(f"{name:28s} regret {mean:9.3g} ± {half:.1g}")
assert (
    regrets["exact, 1 step"][0]
    > 1
    > 0.2
    > regrets["exact, 5 steps"][0]
    > regrets["exact, 10 steps"][0]
    > regrets["exact, 20 steps"][0]
)
assert regrets["dice, 64 plans of 10 steps"][0] > 10
assert regrets["climb, 10 steps, 10 rounds"][0] < 0.3
assert regrets["dice, 64 of 1 step, with V"][0] < 0.1
bowl = torch.autograd.functional.hessian(
    lambda plan: -score(linear_step, (start,), plan.view(1, 1, 10, 1), terminal_value=quadratic(state_cost)).sum(),
    torch.zeros(10, dtype=torch.float64),
)
curved = torch.linalg.eigvalsh(bowl)
most, least = curved[-1].item(), curved[0].item()
print(f"curvature of 10 actions' cost: {most:.3f} one way, {least:.4f} another: {most / least:.0f} times as much")
regret_picture(regrets)

# %% [markdown]
# Three things to keep. A short horizon is expensive even with an exact search: one step costs six times the best, ten steps 0.4 % more than it. Dice are hopeless where precision counts: the best of 64 random plans still shakes, and four times as many help little. Dice of ten steps (a regret of 27.6) are even *worse* than dice of one (5.2): they see further, but ten numbers are harder to guess than one. (Torques
# lie in [−2, 2], and the old plan, shifted, takes the place of one throw.) And a **terminal value** replaces a horizon: with
# $V(s)=-s^\top P\,s$ at its end, *one* step and the same dice come within a few percent. That is why later agents learn a value beside the model. (Why is `climb` not exact? The cost is 236 times as much curved in one direction as in another, as printed: a rate that is safe for the first crawls along the other. An early push acts on all later steps, and in a world that runs away it also grows on the way: here lesson 06's exploding gradients are met again.)
#
# **The real pendulum.** Gymnasium's `Pendulum-v1`, 200 steps from random starts, 100 episodes for each setting, all from the same 100 starts. The model is its true dynamics as a batched function; the cell first holds one against the other. With a *warm start* the old plan, shifted, takes the place of one throw. One trap is built in: *its reward charges the state that is left*, r = −cost(s_t, u_t). A
# plan of one step, scored by these rewards alone, cannot see what its action does. So the last state's cost is added as a terminal value.

# %% tags=["nbval-ignore-output"]
apart = max(apart_from_gymnasium())
print(f"2,000 random steps of model and environment: apart by at most {apart:.0e}")
assert apart < 1e-12
hanging = (torch.tensor([3.0]), torch.tensor([0.5]))
three = torch.tensor([-2.0, 0.0, 2.0]).view(1, 3, 1, 1)  # three plans of one step
print(
    "one step, by the rewards alone:",
    [round(x, 3) for x in score(pendulum_step, hanging, three)[0].tolist()],
    "(it charges the torque)",
)

settings = [(h, 64, True) for h in (2, 5, 10, 15, 20, 30, 50)] + [(h, 64, False) for h in (10, 15, 30, 50)]
settings += [(20, n, True) for n in (4, 16, 256)]
with SweepPlot() as plot:
    swung = sweep(loop, throw, settings, plot.show)

for (horizon, plans, warm), result in swung.items():
    mean, half = interval(result.returns)
    start_from = "warm start  " if warm else "from nothing"
    print(
        f"{horizon:2d} steps, {plans:3d} plans, {start_from}  return {mean:6.0f} ± {half:3.0f}   "
        f"{result.milliseconds:4.1f} ms for a decision of all 100"
    )


def gained(one: tuple[int, int, bool], other: tuple[int, int, bool]) -> str:
    """The difference of two settings, start by start."""
    mean, half = interval(swung[one].returns, swung[other].returns)
    assert mean > half  # all that is claimed below is beyond chance
    return f"{mean:.0f} ± {half:.0f}"


print("15 steps against 5:", gained((15, 64, True), (5, 64, True)))
print(
    "15 steps against 50:",
    gained((15, 64, True), (50, 64, True)),
    "- without warm start:",
    gained((15, 64, False), (50, 64, False)),
)
print("warm start against none, 50 steps:", gained((50, 64, True), (50, 64, False)))
print("256 plans against 16:", gained((20, 256, True), (20, 16, True)))
lesson.questions["further"].reveal()

# %% [markdown]
# Below about ten steps, half a second, a pendulum that starts low hardly ever gets up: no plan that short earns anything by swinging back first. Beyond fifteen it turns: the longer the plan, the fewer of the dice are any good, and the time grows with it. The warm start softens the fall; with 50 steps it is worth 276 ± 32. More plans help slowly: 256 in place of 16, at a horizon of 20, gain 38 ± 14. With a warm start the means differ by
# less than their own intervals between 15 and 30, since where an episode starts matters most. So the comparisons are made start by start.
#
# **Wrong models, and closed eyes.** Again the real `Pendulum-v1`, now planned by gradients (the course's, with Adam), 20 steps ahead, through a model whose gravity is wrong. Of each plan 1, 5 or all 20 steps are carried out before the next is made. And once more with a motor that adds N(0, 0.5²) to each torque. 100 episodes for each point.

# %%
# NBVAL_IGNORE_OUTPUT
# A closed loop of 200 steps carries another processor's rounding on; what must hold is asserted.
errors = (0.0, 0.05, 0.1, -0.05, -0.1)
tables = {(every, noise): replan(errors, every, noise) for noise in (0.0, 0.5) for every in (1, 5, 20)}


def row(label: str, values: list[tuple[float, float]]) -> None:
    """One line of the table: a mean and half of its interval for each error of gravity."""
    print(f"{label:33s}" + "   ".join(f"{round(mean):5d} ± {half:2.0f}" for mean, half in values))


print(f"{'by how much gravity is wrong:':33s}" + "   ".join(f"{error:+10.0%}" for error in errors))
for (every, noise), rows in tables.items():
    row(f"noise {noise:3.1f}, {every:2d} step{'s' * (every > 1)} of each plan", [interval(returns) for returns in rows])
lost = {}  # by the error, in percent of what the right model gets
for noise in (0.0, 0.5):
    right, *_ = tables[1, noise]
    lost[noise] = [interval(-100 * (right - returns) / right.mean()) for returns in tables[1, noise]]
    row(f"noise {noise:3.1f},  1 step: lost, %", lost[noise])
helped = [interval(returns, tables[5, 0.5][0]) for returns in tables[5, 0.5]]
row("noise 0.5,  5 steps: gained", helped)
believed = {}
for error in (-0.1, 0.0, 0.1):
    model = drive.clone()
    model[0, 0], model[1, 0] = 1 + (drive[0, 0] - 1) * (1 + error), drive[1, 0] * (1 + error)
    believed[f"{error:+.0%}"] = round(regulator(model, push, state_cost, action_cost, 300)[0][0, 0, 0].item(), 1)
print("torque per radian of the exact controller, by the gravity it believes in:", believed)
assert all(mean < 7 for mean, _ in lost[0.0])
assert 8 < lost[0.5][4][0] < 25
assert helped[2][0] > helped[2][1]
assert -helped[4][0] > helped[4][1]
assert all(
    interval(one, all_of_it)[0] > 300
    for noise in (0.0, 0.5)
    for one, all_of_it in zip(tables[1, noise], tables[20, noise], strict=True)
)
display(replan_picture(errors, tables), lesson.questions["gravity"].reveal())

# %% [markdown]
# Planned at each step and with a quiet motor, a gravity that is wrong by 10 % either way costs next to nothing: about 3 ± 3 percent where it is too weak, and nothing where it is too strong. Carried out to its end, *no* plan of 20 steps works, not even one by a perfect model: its last steps were made without a thought for what comes after. In between it depends on the sign, and here is a surprise: believing in too *much* gravity does no harm, or
# even helps where there is noise and the plan is long in use. Perhaps because such a planner pushes harder than it need: the exact controller's gain, in the last line, is larger, too, if only a little. That is a guess, not a measurement. Believing in too little is what costs: with 10 % and the noisy motor 16 ± 8 percent, even when planned at each step. A model's error is not a number, it has a direction. (A learned model is wrong in ways that no percentage describes, and a planner goes looking for them: lesson 11.)
#
# **Dodge.** The same loop on Dodge's true dynamics: the forks to come are unknown. *Greedy* flees from the nearest hazard and plans nothing. 200 episodes, the same for all; 64 random plans for each decision.

# %%
# NBVAL_IGNORE_OUTPUT
# Two plans that score alike to the last digit may change places on another processor; what must hold is asserted.
played = dodge_returns((1, 2, 4, 8, 12))
for name, returns in played.items():
    print(f"{name:14s} {interval(returns)[0]:4.0f} ± {interval(returns)[1]:2.0f} steps")
for better, worse in (("greedy", "random"), ("8 steps ahead", "greedy"), ("12 steps ahead", "8 steps ahead")):
    mean, half = interval(played[better], played[worse])
    print(f"{better}, less {worse}: {mean:.0f} ± {half:.0f}, episode by episode")
    assert mean > half
mean, half = interval(played["1 step ahead"], played["random"])
print(f"1 step ahead, less random: {mean:.0f} ± {half:.0f}: no difference beyond chance")
assert abs(mean) < half
thrown = fan(dodge_moment(), 12, candidates=6_400)
survive, left = thrown.alive.mean(), (thrown.x[thrown.alive, -1] < thrown.x[thrown.alive, 0]).mean()
print(f"the opening's moment: of 6,400 random plans {survive:.0%} survive, or {64 * survive:.0f} of 64,")
print(f"and {left:.0%} of these end to the left")
dodge_bars(played)

# %% [markdown]
# Planning eight steps ahead beats greed, which beats random play. And *planning one step ahead is no better than random*: with inertia, what happens in the next step was decided long before. (These 200 episodes cannot tell the two apart, as the last comparison says.)
#
# Last, back to the opening's picture. Sixty-four plans are thrown for a single push, one of them is used, the others are forgotten. Most were wasted: four in five end in the same hazard, throw after throw, and of the few that do not nearly all lean to one side. The next throw knows nothing of that. That is where lesson 10 begins.

# %% [markdown]
# ## Explain it
#
# Three questions, answered at once.

# %%
for name in ("winner", "replan", "weight"):
    display(lesson.questions[name].ask())

# %% [markdown]
# ## Close
#
# The formula card, typeset from the expressions that your steps were compared with:

# %%
lesson.card()

# %% [markdown]
# **Pitfalls you have met.** Three are silent where plans are scored. (1) A reward taken *before* the transition: the last state never counts, and nothing warns you. (2) `repeat` where `repeat_interleave` belongs: each plan is tried in another world. (3) A mean where each candidate needs its own number: then all plans are equal, and argmax takes the first. Others show only in what the planner earns. A whole plan carried out: it is the looking that makes a bad model good enough. A planner whose
# memory is reset at every step: it runs, and plans for a world it has just been born into. NaN, which argmax takes for the largest number. A sample that blocks the gradient: the slope is then only that of the action's own price. And a warm start that was not shifted.
#
# **Where this lives.** `wmcourse/model_predictive_control.py`; `shift_plan` is now a part of your world model (`wmcourse parts` shows which are yours). `MPC` there is exercise 4 turned inside out: it is asked for one action at a time. Next is lesson 10, dice that learn from their throws.
#
# **Try next.** One hyper-parameter: in the table of wrong models, the horizon of 20 (`replan` in the lesson's `experiment.py`). With 10 steps, does a wrong gravity hurt more, or less? (Compare plans of which 1 or 5 steps are done: ten have no 20 to carry out.) One extension: P as a terminal value on the *real* pendulum, $V(s)=-s^\top P\,s$ at the end of 10 steps. Near the top it is nearly
# exact. What does it say of a pendulum that hangs, and what comes of that?
#
# **You can now read** Garcia, Prett & Morari (1989), *Model Predictive Control: Theory and Practice – a Survey*; Bertsekas, *Dynamic Programming and Optimal Control*, vol. I, on linear systems with quadratic cost; Chua et al. (2018), [*Deep Reinforcement Learning in a Handful of Trials*](https://arxiv.org/abs/1805.12114) (PETS), Algorithm 1; Hafner et al. (2019),
# [*Learning Latent Dynamics for Planning from Pixels*](https://arxiv.org/abs/1811.04551) (PlaNet), its algorithm for planning in latent space.
