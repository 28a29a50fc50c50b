# %% [markdown]
# # 11 · World models training
#
# **The question.** An agent has never been told what a hazard is, that things fall, or that it has a body. It gets pixels
# and one number per step. Can it learn *how its world works* by watching, and then act well by trying out the future in its
# head, without ever having practised? In the next few minutes, on your own machine, it will.
#
# This is the lesson where everything meets: the VAE of lessons 01–05 is the eye, the MDN-RNN of lessons 06–08 the memory, the
# planner of lessons 09–10 the will. The recipe is that of *World Models* (Ha & Schmidhuber, 2018), with one change: where
# the paper evolves a controller, we plan.
#
# > **This is the first version of the lesson.** It runs the whole system, and you watch. In the full version you will assemble
# > it from the functions that you wrote in lessons 01–10.

# %%
from wmcourse.lessons.map import system_map

system_map(highlight=["world", "V", "M", "C"])

# %% [markdown]
# **After this lesson you can**
#
# 1. name what each of the three stages learns, from which data, and with which loss;
# 2. read a dream: tell what the model has understood from what it has not;
# 3. explain how an agent that was never rewarded in training can act well;
# 4. report a score that a sceptic would accept: same episodes for all, a floor, a ceiling, an interval.
#
# | section | minutes of yours | of the machine's |
# |---|---|---|
# | 1 · The world | 10 | – |
# | 2 · Stage 1: watch | 5 | less than 1 |
# | 3 · Stage 2: an eye | 15 | 1 |
# | 4 · Stage 3: a memory | 20 | 1–2 |
# | 5 · The dream beside reality | 15 | – |
# | 6 · Acting in the dream, and an honest score | 25 | 1–2 |
#
# You need: what a VAE's loss is made of (lesson 05), what a mixture density network predicts (lesson 07), and what the
# cross-entropy method does with its elites (lesson 10). Each comes with one sentence of reminder here.
#
# **Predict first.** Write your answers down; you will meet each of them again.
#
# 1. A random agent survives about 30 steps of 300. With a perfect model and the same planner one survives almost always. How
#    far do you think *pixels and five minutes* will get: nearer the floor, or nearer the ceiling?
# 2. The training data come from random play only: the agent has seen a lot of dying and hardly any skill. Does that matter to
#    the eye? To the memory? To the planner?
# 3. In the dream, what will look wrong first: the agent, the hazards, or the moment when a hazard forks?

# %%
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from wmcourse.engine.players import OraclePlanner, RandomAgent
from wmcourse.engine.report import imagine
from wmcourse.engine.runs import preset, remember_config
from wmcourse.lessons.world_models_training import (
    DreamSlider,
    GamePlot,
    TrainingPlot,
    dodge_picture,
    score_picture,
    strip,
)
from wmcourse.world_models_training import (
    LatentPlanner,
    collect,
    encode_rollouts,
    evaluate,
    new_model,
    train_mdn_rnn,
    train_vae,
)
from wmcourse.worlds import DodgeVectorEnv

SEED = 0
config = preset("standard", seed=SEED)
RUN = Path("runs/lesson_11")  # what is here is not done again: delete the folder to start over
remember_config(config, RUN)

# %% [markdown]
# ## 1 · The world
#
# You are the blue bar. Things fall; one touch ends the episode; each step survived is worth 1; at 300 steps the episode is
# cut off. Four details make this toy hard enough to need a world model:
#
# - **Inertia.** Your action $a\in[-1,1]$ is a push, not a position: who reacts when a hazard is near reacts too late.
# - **One frame shows no velocity.** Whether you glide left or right is not in the picture.
# - **The band** hides the middle of each fall. To know what comes out of it, you must remember what went in.
# - **The fork.** Below the band each hazard turns left or right, and nothing tells which. Two futures are possible, and
#   their average, straight down, is the one that never happens.

# %%
world = DodgeVectorEnv(8)
frames, _ = world.reset(seed=3)
for _ in range(24):
    frames, *_ = world.step(np.zeros((8, 1), np.float32))
dodge_picture(world.state.take([3]), frames[3])

# %% [markdown]
# ## 2 · Stage 1: watch
#
# The agent watches itself flail: a random push, held for ten steps on average (so that it gets somewhere), in 64 worlds at
# once. Frames go to disk as bytes and are read through a memory map: a thousand times as many would not need more memory.
#
# The time convention of the whole course, in one line: $(z_t, a_t, h_t) \to z_{t+1}, r_{t+1}, \mathrm{done}_{t+1}$.

# %%
rollouts = collect(config, RUN / "rollouts")

print(f"{len(rollouts):,} frames, {len(rollouts) * 1024 / 2**20:.0f} MiB on disk")
typical = int(np.median(rollouts.episode_length))
print(f"{int(rollouts.terminated.sum()):,} deaths; half of the episodes end before step {typical}")

# %% [markdown]
# Look at the raw material. Twelve steps of one episode, one in three shown: this is *all* that the system will ever learn from.

# %%
start = int(rollouts.episode_start[np.argmax(rollouts.episode_length)])
frames = rollouts.frames(np.arange(start, start + 36, 3))
strip({"frame": frames}, "An episode of random play, every third frame")

# %% [markdown]
# ## 3 · Stage 2: an eye
#
# 1,024 pixels are too many to predict one by one, and most of them say nothing. The VAE learns a code of 16 numbers from
# which a frame can be drawn again. Its loss per frame, in nats (lesson 05):
#
# $$\mathcal L_V(x) = \underbrace{-\log p(x\mid z)}_{\text{reconstruction}} \;+\; \underbrace{\mathrm{KL}\big(q(z\mid x)\,\|\,\mathcal N(0, I)\big)}_{\text{price of the code}},
# \qquad z = \mu + \sigma\varepsilon .$$
#
# While the curves grow, two things to look for. The reconstruction does not go to zero: grey pixels (the band, soft edges)
# have entropy, and no network can explain that away. And the KL *rises* first: the eye has to find out that spending nats on
# a code pays.

# %%
# NBVAL_IGNORE_OUTPUT
# (a stage that was finished earlier shows no progress bar)
torch.manual_seed(SEED)
model = new_model(config)
title = "Stage 2: the VAE learns to draw what it saw"
with TrainingPlot(title, ("reconstruction", "kl")) as plot:
    result = train_vae(model, rollouts, RUN / "vae.safetensors", plot.show)
    plot.draw(result["curve"])

# %% [markdown]
# What the code keeps, on frames that were not chosen for it:

# %%
index = np.linspace(0, len(rollouts) - 1, 12).astype(int)
x = rollouts.frames(index)
mu, logvar = model.encode(x)
redrawn = model.decode(mu)
strip({"frame": x, "redrawn": redrawn}, "Each frame, and the picture drawn from its 16 numbers")

# %% [markdown]
# A hazard that is missing from a redrawn frame will be missing from every dream and every plan: **the eye sets the limit.** It is
# worth a minute of looking.
#
# Now each frame is encoded *once*, and what is kept is $(\mu, \log\sigma^2)$, not a sample: the memory will see a fresh
# sample in every batch, and so learns not to trust the last digit of a code.

# %%
latents = encode_rollouts(model, rollouts, RUN / "latents.npy")
size = latents.nbytes / 2**20
print(f"latents {latents.shape}: (frames, mu and logvar, Z), {size:.0f} MiB on disk")

# %% [markdown]
# ## 4 · Stage 3: a memory
#
# The MDN-RNN reads codes and actions and predicts what comes next: not *one* next code but a mixture of five Gaussians
# for each of its numbers, because at a fork one guess cannot be right. From the same memory two more numbers are read: the
# expected reward, and the chance that this was the end. Its loss per step (lesson 08):
#
# $$\mathcal L_M = \underbrace{-\log \textstyle\sum_k \pi_k\,\mathcal N(z_{t+1};\mu_k,\sigma_k^2)}_{\text{next latent}}
# \;+\; \underbrace{\tfrac12 (r_{t+1}-\hat r_{t+1})^2}_{\text{reward}} \;+\; \underbrace{\mathrm{BCE}(\mathrm{done}_{t+1})}_{\text{done}} .$$
#
# Together the stages maximise a bound on one likelihood, $\log p(x_{0:T}, r_{1:T}, \mathrm{done}_{1:T}\mid a_{0:T-1})$, but one
# after the other. What is lost by that: the eye does not know what the memory would need. A thing that matters but covers
# few pixels is cheap for the eye to forget.

# %%
# NBVAL_IGNORE_OUTPUT
# (as above)
title = "Stage 3: the MDN-RNN learns what comes next"
with TrainingPlot(title, ("latent", "reward", "done")) as plot:
    path = RUN / "mdn_rnn.safetensors"
    result = train_mdn_rnn(model, rollouts, latents, path, plot.show)
    plot.draw(result["curve"])
_ = model.eval()

# %% [markdown]
# ## 5 · The dream beside reality
#
# The film below starts with 15 real frames. From then on the model gets *no more frames*: its own prediction is its
# next input, and only the actions are those of reality. Move the slider with the arrow keys.
#
# Things to find: the step at which a new hazard appears in reality only (it *must*: it was drawn by chance); a hazard that
# goes behind the band and comes out again where nobody showed it; a fork where the dream goes the other way.

# %%
real, dream, awake = imagine(model, steps=45, context=15, temperature=1.0, seed=4)
DreamSlider(real, dream, awake)

# %% [markdown]
# Is it luck? Three dreams from the same start, with the same actions. They agree where the world is determined and part
# where it is not. That is the difference between a model that is *wrong* and a model that is *uncertain*.

# %%
rows = {"reality": real[awake - 1 :][:30:3]}
for number in range(3):
    _, other, _ = imagine(model, steps=45, context=15, seed=4, dream_seed=number)
    rows[f"dream {number + 1}"] = other[awake - 1 :][:30:3]
strip(rows, "One reality, three dreams: every third frame since the last look")

# %% [markdown]
# ## 6 · Acting in the dream, and an honest score
#
# No reward was ever maximised so far. Now the agent acts, by *model predictive control*: at each step it encodes the frame,
# dreams 64 plans of 12 pushes, and does the first push of the best. Then it looks again, and starts its next 64 plans
# from the last one, shifted by one. The plans differ by *slow* noise (neighbouring pushes correlate with 0.9), because in a
# world with inertia pushes that cancel each other out lead nowhere. A plan's worth is the expected number of steps survived,
#
# $$\sum_{t<L} r_{t+1} \prod_{s\le t} \big(1 - P(\mathrm{done}_{s})\big) ,$$
#
# with reward and done read from the memory. The memory $h$ is carried from step to step and is never reset within an
# episode: what went behind the band stays known.
#
# **The rules of an honest score.** Every player meets the same 30 episodes, whose seeds were in no training data. The floor
# is a random agent. The ceiling is an *oracle*: the same planner with the same number of plans, which may use the true
# simulator (it even knows to which side each hazard in the air will turn). And every mean comes with its interval.

# %%
EPISODES, FIRST_SEED = 30, 20_000
world = DodgeVectorEnv(EPISODES)
players = {
    "random": RandomAgent(model.actions, SEED),
    "planner": LatentPlanner(model, SEED),
    "oracle": OraclePlanner(world, config, seed=SEED),
}
titles = {
    "random": "A random agent",
    "planner": "Our agent, from pixels",
    "oracle": "The oracle, from the true state",
}
scores = {}
for name, player in players.items():
    with GamePlot(titles[name], EPISODES) as game:
        scores[name] = evaluate(player, world, EPISODES, FIRST_SEED, label=None, watch=game.watch)

# %%
score_picture(scores)

# %%
# NBVAL_IGNORE_OUTPUT
# (rounding differs between processors, and one rounding is enough for another episode)
for name, score in scores.items():
    low, high = score.ci95
    print(f"{titles[name]:<32} {score.mean:6.1f}   95 % interval {low:.0f} to {high:.0f}")
ours, floor, ceiling = (scores[name].mean for name in ("planner", "random", "oracle"))
print(f"\nours = {ours / floor:.1f} × random = {ours / ceiling:.2f} × oracle")

# %% [markdown]
# Look at the dots, not only at the bars: the returns are not bell-shaped. Most episodes reach the cap, and a few end early. For
# such a mixture the mean's interval is still right (it is about the *mean* of 30 episodes, and the bars show how far
# another 30 could be off), but "a typical episode of 250 steps" does not exist.
#
# ### How much does each part do?
#
# Take something away and measure again. Here is a planner that looks a single step ahead, everything else unchanged:

# %%
# NBVAL_IGNORE_OUTPUT
# (as above)
greedy = LatentPlanner(model, SEED, config=replace(config, horizon=1))
short = evaluate(greedy, world, EPISODES, FIRST_SEED, label=None)
low, high = short.ci95
print(f"horizon  1: {short.mean:6.1f}   95 % interval {low:.0f} to {high:.0f}")
print(f"horizon {config.horizon}: {ours:6.1f}")

# %% [markdown]
# With inertia, one step ahead there is nothing left to decide. And here is one that looks *harder*: the cross-entropy method as
# in lesson 10, with the same 64 plans split into two rounds, the second drawn around the elites of the first.

# %%
# NBVAL_IGNORE_OUTPUT
# (as above)
refitting = replace(config, candidates=32, iterations=2)
harder = evaluate(LatentPlanner(model, SEED, config=refitting), world, EPISODES, FIRST_SEED, label=None)
low, high = harder.ci95
print(f"one round of 64: {ours:6.1f}   two rounds of 32: {harder.mean:6.1f}   95 % interval {low:.0f} to {high:.0f}")

# %% [markdown]
# Is it better, or worse? On the *true* dynamics a second round is harmless once there are enough plans. In a learned model the second
# round searches where the first found the highest scores, and some of these are high because the model is *wrong* there. Thirty
# episodes may be too few to see it; `benchmarks/results/ablations.md` has a hundred.
#
# The other ablations (no memory, one mixture component, no planning)
# and the table of dreams that are *too* good to be true are measured by `make bench`, over 100 episodes each.
#
# ### Your predictions
#
# 1. *Floor or ceiling?* See the bars.
# 2. *Does random data matter?* Least to the eye: a frame is a frame. More to the memory: it has hardly seen what happens late
#    in a good episode, but the physics is the same. Most to the planner, which looks for plans *unlike* those in the data,
#    and finds those that the model is wrong about, too. That is the optimiser's curse: the best of many estimates is
#    probably an overestimate. Replanning at every step is the remedy here.
# 3. *What looks wrong first?* Usually the fork (by chance) and new hazards (by necessity). The agent itself hardly ever.
#
# ## Close
#
# | what | where it lives |
# |---|---|
# | the three stages, planner, controller, score | `wmcourse/world_models_training.py` |
# | the eye and its loss | `wmcourse/vae_complete_loss.py` |
# | the memory, its loss, a dream step | `wmcourse/mdn_rnn.py` |
# | receding horizon; the optimiser | `wmcourse/model_predictive_control.py`, `wmcourse/cross_entropy_method.py` |
# | the same from the command line | `wmcourse train`, `wmcourse evaluate`, `wmcourse dream` |
#
# **Try next.** *One number:* set `config = replace(config, done_weight=1.0)` in another `RUN` folder. Endings are rare (one step in
# thirty), and the weight makes the memory care about them; what happens to the score, and to the `done` curve? *One extension:* collect
# again with the trained agent in place of the random one, train the memory on both, and measure whether it closes the gap to the oracle.
#
# **Read.** Ha & Schmidhuber (2018), *World Models*: sections 2 and 3 are this lesson, with $z, a, h, \tau$ written as here; Hafner et
# al. (2019), *PlaNet*: planning with CEM in a learned latent space; Chua et al. (2018), *PETS*: Algorithm 1 is our planner's loop.
