# %% [markdown]
# # 11 · World models training
#
# **The question.** An agent has never been told what a hazard is, that things fall, or that it has a body. It gets pixels,
# one number per step, and the news that an episode is over. Can it learn *how its world works* by watching what its own random
# pushes do, and then act well by trying out the future in its head, without ever having practised? In the next few minutes,
# on your own machine, it will.
#
# This is the lesson where everything meets: the VAE of lessons 01–05 is the eye, the MDN-RNN of lessons 06–08 the memory, the
# planner of lessons 09–10 the will. The recipe is that of *World Models* (Ha & Schmidhuber, 2018). The main change: where
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
# 3. explain how an agent that never maximised a reward in training can act well;
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
# cross-entropy method does with its *elites*, the best few of its candidates (lesson 10). Three words come all the time: a
# *latent* z is the short code of a frame, a *return* is the sum of an episode's rewards (here: the steps survived), and a
# *nat* is a unit of surprise, 1.44 bits.
#
# **Predict first.** Write your answers down; you will meet each of them again.
#
# 1. A random agent survives about 30 steps of 300. With a perfect model and the same planner one survives almost always. How
#    far do you think *pixels and five minutes* will get: nearer to that floor, or to that ceiling?
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
RUN = Path("runs/lesson_11")  # beside this notebook. What is there is not done again:
# delete the folder to start over.
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
world = DodgeVectorEnv(1)
frames, _ = world.reset(seed=27)
for _ in range(21):  # long enough for three hazards to be in the air
    frames, *_ = world.step(np.zeros((1, 1), np.float32))
dodge_picture(world.state, frames[0])

# %% [markdown]
# Left, a hazard shines through the band; right, where the agent looks, it is gone.

# %% [markdown]
# ## 2 · Stage 1: watch
#
# The agent pushes at random and watches what happens. Each push is held for ten steps on average, so that it gets somewhere,
# in 64 worlds at once. Frames go to disk as bytes and are read through a memory map: however many there are, they need no
# more memory.
#
# The time convention of the whole course, in one line: $(z_t, a_t, h_t) \to z_{t+1}, r_{t+1}, \mathrm{done}_{t+1}$. From the
# latent of a frame, the action, and the memory $h$ follow the next latent, its reward, and whether that was the end.

# %%
rollouts = collect(config, RUN / "rollouts")

print(f"{len(rollouts):,} frames, {len(rollouts) * 1024 / 2**20:.0f} MiB on disk")
typical = int(np.median(rollouts.episode_length))
deaths = int(rollouts.terminated.sum())
print(f"{deaths:,} deaths, one in {len(rollouts) / deaths:.0f} steps")
print(f"half of the episodes end before step {typical}")

# %% [markdown]
# Look at the raw material: the first 36 steps of the longest episode, one in three shown. With the actions, the rewards and the
# ends, frames like these are *all* that the system will ever learn from.

# %%
start = int(rollouts.episode_start[np.argmax(rollouts.episode_length)])
frames = rollouts.frames(np.arange(start, start + 36, 3))
strip({"frame": frames}, "Random play, every third frame")

# %% [markdown]
# ## 3 · Stage 2: an eye
#
# 1,024 pixels are too many to predict one by one, and most of them say nothing. The VAE learns a code of 16 numbers from
# which a frame can be drawn again. Its loss per frame, in nats (lesson 05):
#
# $$\mathcal L_V(x) = \underbrace{-\log p(x\mid z)}_{\text{reconstruction}} \;+\; \underbrace{\mathrm{KL}\big(q(z\mid x)\,\|\,\mathcal N(0, I)\big)}_{\text{price of the code}},
# \qquad z = \mu + \sigma\varepsilon .$$
#
# with $\mu$ and $\sigma$ from $q(z\mid x)$ and $\varepsilon\sim\mathcal N(0, I)$. While the curves grow, two things to look for.
# The reconstruction does not go to zero: a pixel is scored as if it were a coin, and a grey of 0.31 costs at least 0.62 nats even
# when it is predicted exactly. The band's 160 pixels alone cost 100 nats, most of what remains. And after the first jolts the
# KL *rises*: the eye has to find out that spending nats on a code pays.

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
# What the code keeps, on twelve frames that the eye has *never* seen, not picked by hand:

# %%
held_out = collect(replace(config, seed=SEED + 1, shards=1), RUN / "held_out")
x = held_out.frames(np.linspace(0, len(held_out) - 1, 12).astype(int))
mu, logvar = model.encode(x)
redrawn = model.decode(mu)
strip({"frame": x, "redrawn": redrawn}, "Each frame, and the picture drawn from its 16 numbers")

# %% [markdown]
# Look closely for a minute. A hazard that is missing from a redrawn frame is probably missing from its code, and then only the
# memory can save the agent: **the eye sets the limit.**
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
# for each of its 16 numbers, because at a fork one guess cannot be right. The same memory also gives the expected reward
# $\hat r$ and the chance $\hat p$ that this step ends in a hit. Its loss per step (lesson 08), everything read from $h_{t+1}$, the
# memory after $(z_t, a_t)$:
#
# $$\mathcal L_M = \underbrace{-\sum_{j=1}^{16}\log\sum_{k=1}^{5} \pi_{jk}\,\mathcal N(z_{t+1,j};\mu_{jk},\sigma_{jk}^2)}_{\text{next latent}}
# \;+\; \underbrace{\tfrac12 (r_{t+1}-\hat r_{t+1})^2}_{\text{reward}}
# \;+\; w\,\underbrace{\mathrm{BCE}(\hat p_{t+1}, \mathrm{done}_{t+1})}_{\text{done}} ,$$
#
# with $w = 3$ on a step that ends in a hit and 1 elsewhere: endings are rare, and overlooking one is what kills. (The weight makes
# $\hat p$ too cautious as a probability: it triples the odds.) The reward's part is a Gaussian with $\sigma = 1$, its constant left out.
# A last step has no next latent, so its first part is left out.
#
# Two candid remarks. Given $h$, the 16 numbers are drawn *independently*: where a fork moves several of them, a dream may
# mix left and right in one frame, until the next step settles it. And the stages are not one likelihood: with $w=1$ and M as
# the prior of $z$, both losses would be parts of one bound on $\log p(x_{0:T}, r_{1:T}, \mathrm{done}_{1:T}\mid a_{0:T-1})$; but
# stage 2 pretends that every $z$ comes from $\mathcal N(0, I)$, and stage 3 takes the eye as it is. So the eye does not know
# what the memory would need: a thing that matters but covers few pixels is cheap to forget.

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
# The film below starts with 16 real frames. From then on the model gets *no more frames*: its own prediction is its
# next input. Only the actions are those of reality, where the finished agent of section 6 is playing. Move the slider with
# the arrow keys. (This dream does not stop at a hit: look what it thinks comes next.)
#
# Things to find: the step at which a new hazard appears in reality only (it *must*: it was drawn by chance); a hazard that
# goes behind the band and comes out again where nobody showed it; a fork where the dream goes the other way.

# %%
real, dream, awake = imagine(model, steps=45, context=15, temperature=1.0, seed=4)
DreamSlider(real, dream, awake)

# %% [markdown]
# Is it luck? Three dreams from the same start, with the same actions. Where the world is determined they should agree, and
# where it is not they should part. If a fork goes the other way in one dream, the model is *uncertain*, as it should be; if
# it went the same wrong way in thirty dreams, the model would be *wrong*. Try it: `range(3)` is a number that you may change.

# %%
rows = {"reality": real[awake - 1 :][:30:3]}
for number in range(3):
    _, other, _ = imagine(model, steps=45, context=15, seed=4, dream_seed=number)
    rows[f"dream {number + 1}"] = other[awake - 1 :][:30:3]
strip(rows, "One reality, three dreams: every third frame since the last look")

# %% [markdown]
# ## 6 · Acting in the dream, and an honest score
#
# In training no reward was maximised. Now the agent acts, by *model predictive control*: at each step it encodes the frame,
# dreams 64 plans of 12 pushes, and does the first push of the best. Then it looks again, and starts its next 64 plans
# from the last one, shifted by one. The plans differ by *slow* noise (neighbouring pushes correlate with 0.9), because in a
# world with inertia pushes that cancel each other out lead nowhere. A plan's worth, with steps counted from now:
#
# $$\sum_{t=0}^{L-1} \hat r_{t+1} \prod_{s=1}^{t} \big(1 - \hat p_{s}\big) \;-\; \frac{0.05}{L} \sum_{t=0}^{L-1} a_t^2 .$$
#
# A fatal step pays 0, so the first sum estimates how many of the next $L=12$ steps are survived (an empty product is 1). The second
# prefers the gentle plan among equals. Each plan is dreamt once, at temperature 0: always the most likely component of each
# mixture, no noise. (The map says CEM: this is its first round, and the agent makes do with it.)
#
# The memory $h$ is carried from step to step and is never reset within an
# episode: what went behind the band stays known.
#
# **The rules of an honest score.** Every player meets the same 30 episodes, whose seeds were in no training data. The floor
# is a random agent (a new push at every step, so not quite the player that collected the data). The ceiling is an *oracle*: the same planner with the same number of plans, which may use the true
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
# Look at the dots, not only at the bars: the returns are not bell-shaped. Many episodes reach the cap, the others end anywhere; an
# episode near the mean is rare. The interval (1.96 standard errors) is an approximation that 30 capped episodes stretch: an
# oracle's [300, 300] says that no failure was *seen*, not that none can happen. And it is about *this* trained model. Another
# training seed moves the mean, too: `benchmarks/results/seeds.md` has three of them, over 100 episodes each.
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
# One push moves the agent by at most 0.6 pixels within the next step: all plans survive or die alike, and the gentlest wins.
#
# Next, the memory. This agent plans as far as ours, but at each decision it has forgotten everything before the present frame:


# %%
# NBVAL_IGNORE_OUTPUT
# (as above)
class Forgetful(LatentPlanner):
    def act(self, frames):
        self.state = self.model.rnn.initial_state(len(frames))  # h = c = 0
        return super().act(frames)


forgetful = evaluate(Forgetful(model, SEED), world, EPISODES, FIRST_SEED, label=None)
low, high = forgetful.ci95
print(f"no memory:   {forgetful.mean:6.1f}   95 % interval {low:.0f} to {high:.0f}")
print(f"with memory: {ours:6.1f}")

# %% [markdown]
# It sees every hazard above and below the band, and still it dies early: it cannot tell whether it glides left or right, nor to
# which side a hazard has turned, nor that something is behind the band.
#
# `benchmarks/results/ablations.md` has these two over 100 episodes, and more: a memory with one mixture component, a
# controller in place of the planner, and a second round of the cross-entropy method, drawn around the elites of the first.
# That last one ought to help. Over a hundred episodes it did not, perhaps because a learned model's best plans are good partly
# because the model is wrong about them, and refining them refines that, too. `benchmarks/results/temperature.md` has the table
# of dreams that are too good to be true.
#
# ### Your predictions
#
# 1. *Floor or ceiling?* See the bars.
# 2. *Does random data matter?* What we expect, and have not measured: least to the eye, for a frame is a frame. More to
#    the memory: it has hardly seen what happens late in a good episode, but the physics is the same. Most to the planner, which looks for plans *unlike* those in the data,
#    and finds those that the model is wrong about, too. That is the optimiser's curse: the best of many estimates is
#    probably an overestimate. Looking again at every step keeps its mistakes short.
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
# | the same from the command line | `wmcourse train`, `wmcourse evaluate`, `wmcourse dream` (`wmcourse dream solutions/runs/lesson_11` is a GIF of this run) |
#
# **Try next.** *One number:* set `config = replace(config, done_weight=1.0)` (it is 3) and another `RUN` folder. What happens to the
# score, and to the `done` curve, which shows the loss without the weight? *One extension:* write a `collect` in which the trained agent
# plays instead of chance, put its shards beside the others, train the memory on both, and measure whether the gap to the
# oracle closes.
#
# **Read.** Ha & Schmidhuber (2018), *World Models*: sections 2 and 3 are this lesson, with $z, a, h$ as here (its temperature $\tau$ is `temperature`); Hafner et
# al. (2019), *PlaNet*: planning with CEM in a learned latent space; Chua et al. (2018), *PETS*: Algorithm 1 is our planner's loop.
