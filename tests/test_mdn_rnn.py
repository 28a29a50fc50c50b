"""The MDN-RNN: its count of parameters, its likelihood against a slow loop, and what may and may not matter."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, MixtureSameFamily, Normal

from wmcourse.mdn_rnn import MDNRNN, PaperMDNRNN, SequenceLoss, dream_step, sequence_loss
from wmcourse.mixture_density_networks import sample_mixture

B, T, Z, A, H, K = 4, 6, 3, 2, 5, 3
LENGTHS = [6, 4, 1, 5]  # real steps of each row
ENDINGS = [None, 3, 0, None]  # the step after which the episode is over: the last real one


def make(outcomes: bool = True) -> MDNRNN:
    model = MDNRNN(Z, A, H, K, outcomes).double()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2)  # further from linear
    return model


def windows() -> dict[str, Tensor]:
    """Rows of unequal length. Row 1 is cut off, row 2 terminates, rows 0 and 3 go on."""
    done, ended = torch.zeros(B, T, dtype=torch.float64), torch.zeros(B, T, dtype=torch.float64)
    ended[1, 3] = ended[2, 0] = done[2, 0] = 1
    return {
        "z": torch.randn(B, T + 1, Z, dtype=torch.float64),
        "a": torch.randn(B, T, A, dtype=torch.float64),
        "reward": torch.randn(B, T, dtype=torch.float64),
        "done": done,
        "mask": (torch.arange(T) < torch.tensor(LENGTHS)[:, None]).double(),
        "ended": ended,
    }


def slow_loss(model: MDNRNN, data: dict[str, Tensor], done_weight: float) -> SequenceLoss:
    """One row, one step, one latent dimension after another, from torch.distributions."""
    latent, reward, done, weighted, steps, targets = 0.0, 0.0, 0.0, 0.0, 0, 0
    for row in range(len(data["a"])):
        state = model.initial_state(1)
        for t in range(data["a"].shape[1]):
            if not data["mask"][row, t]:
                break
            steps += 1
            state = model.step(data["z"][row, t][None], data["a"][row, t][None], state)
            p = model.read(state[0][0])
            reward -= Normal(p.reward, 1.0).log_prob(data["reward"][row, t]) + 0.5 * math.log(2 * math.pi)
            weight = done_weight if data["done"][row, t] else 1.0
            log_prob = Bernoulli(logits=p.done_logit).log_prob(data["done"][row, t])
            done, weighted = done - log_prob, weighted - weight * log_prob
            if data["ended"][row, t]:
                continue
            targets += 1
            for j in range(Z):
                mixture = MixtureSameFamily(Categorical(logits=p.log_pi[j]), Normal(p.mu[j], p.log_sigma[j].exp()))
                latent -= mixture.log_prob(data["z"][row, t + 1, j])
    latent, reward, done = latent / targets, reward / steps, done / steps
    return SequenceLoss(latent + reward + weighted / steps, latent, reward, done)


def test_paper_model_has_the_parameters_of_the_paper() -> None:
    model = PaperMDNRNN()
    assert sum(p.numel() for p in model.parameters()) == 422_368
    lstm, head = 4 * 256 * (32 + 3 + 256) + 4 * 256, 3 * 32 * 5 * (256 + 1)
    assert sum(p.numel() for p in model.rnn.parameters()) == lstm
    assert sum(p.numel() for p in model.mdn.parameters()) == head
    assert lstm + head == 422_368
    ours = MDNRNN(32, 3, 256, 5)
    assert sum(p.numel() for p in ours.parameters()) == 422_368 + 2 * 257  # reward and done


@pytest.mark.parametrize("outcomes", [True, False])
@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (1, 4), (3, 1), (3, 4)])
def test_shapes(batch: int, steps: int, outcomes: bool) -> None:
    model = MDNRNN(Z, A, H, K, outcomes)
    p, (h, c) = model(torch.randn(batch, steps, Z), torch.randn(batch, steps, A))
    assert p.log_pi.shape == p.mu.shape == p.log_sigma.shape == (batch, steps, Z, K)
    assert p.reward.shape == p.done_logit.shape == (batch, steps)
    assert h.shape == c.shape == (batch, H)
    zeros = torch.zeros(batch, steps)
    loss = sequence_loss(model, torch.randn(batch, steps + 1, Z), torch.randn(batch, steps, A), zeros, zeros, zeros + 1)
    assert all(part.shape == () and part.isfinite() for part in loss)
    dream = dream_step(model, torch.randn(batch, Z), torch.randn(batch, A), model.initial_state(batch))
    assert dream.z.shape == (batch, Z)
    assert dream.reward.shape == dream.done_probability.shape == (batch,)
    assert dream.state[0].shape == dream.state[1].shape == (batch, H)


@pytest.mark.parametrize("done_weight", [1.0, 7.0])
def test_loss_equals_a_slow_loop(done_weight: float) -> None:
    model, data = make(), windows()
    loss = sequence_loss(model, **data, done_weight=done_weight)
    torch.testing.assert_close(tuple(loss), tuple(slow_loss(model, data, done_weight)))
    parts = loss.latent + loss.reward + loss.done  # done comes back without the weight
    if done_weight == 1:
        torch.testing.assert_close(loss.total, parts)
    else:
        assert loss.total > parts


def test_done_stands_in_for_ended() -> None:
    model, data = make(), windows()
    data["ended"] = data["done"]
    expected = slow_loss(model, data, 1.0)
    del data["ended"]
    torch.testing.assert_close(tuple(sequence_loss(model, **data)), tuple(expected))


def test_booleans_count_as_numbers() -> None:
    model, data = make(), windows()
    flags = {name: data[name].bool() for name in ("done", "mask", "ended")}
    expected = sequence_loss(model, **data, done_weight=3.0)
    torch.testing.assert_close(tuple(sequence_loss(model, **(data | flags), done_weight=3.0)), tuple(expected))


def test_padding_has_no_influence() -> None:
    model, data = make(), windows()
    data["z"].requires_grad_()
    data["a"].requires_grad_()
    data["reward"].requires_grad_()
    loss = sequence_loss(model, **data)
    d_z, d_a, d_reward = torch.autograd.grad(loss.total, [data["z"], data["a"], data["reward"]])
    padding = {}
    for name in ("z", "a", "reward", "done", "ended"):
        padding[name] = data[name].detach().clone()
        for row, (length, end) in enumerate(zip(LENGTHS, ENDINGS, strict=True)):
            first = length
            if name == "z" and end is None:
                first += 1  # the last target is real
            padding[name][row, first:] = 1 - 3 * padding[name][row, first:]
            if name == "z":
                assert (d_z[row, first:] == 0).all()
                assert (d_z[row, :first] != 0).all()
    changed = sequence_loss(model, **(data | padding))
    torch.testing.assert_close(tuple(changed), tuple(loss), rtol=0, atol=0)
    for gradient in (d_a, d_reward):
        real = gradient != 0
        assert (real.reshape(B, T, -1).all(-1) == data["mask"].bool()).all()
        assert (real.reshape(B, T, -1).any(-1) == data["mask"].bool()).all()


def test_rows_of_unequal_length_weigh_by_their_steps() -> None:
    """A mean over real steps: one long window equals its rows one by one, weighted by their lengths."""
    model, data = make(), windows()
    rows = []
    for row in range(B):
        one = {name: part[row : row + 1] for name, part in data.items()}
        rows.append(sequence_loss(model, **one))
    loss = sequence_loss(model, **data)
    targets = [length - (end is not None) for length, end in zip(LENGTHS, ENDINGS, strict=True)]
    for part, weights in [("latent", targets), ("reward", LENGTHS), ("done", LENGTHS)]:
        mean = sum(getattr(r, part) * w for r, w in zip(rows, weights, strict=True)) / sum(weights)
        torch.testing.assert_close(getattr(loss, part), mean)


def test_a_window_with_no_target_is_finite() -> None:
    """One step that ends the episode: the reward and the end are learnt, there is no next latent."""
    model, data = make(), windows()
    row = {name: part[2:3] for name, part in data.items()}
    loss = sequence_loss(model, **row)
    assert loss.latent == 0
    assert loss.reward > 0
    assert loss.done > 0
    loss.total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_time_alignment() -> None:
    """The prediction number t is read from h_{t+1}: it has seen z_t and a_t, and nothing later."""
    model, data = make(), windows()
    z, a = data["z"][:, :-1].requires_grad_(), data["a"].requires_grad_()
    p, _ = model(z, a)
    for t in range(T):
        for part in (p.log_pi[..., 0], p.mu.sum(-1), p.log_sigma.sum(-1), p.reward, p.done_logit):
            for gradient in torch.autograd.grad(part[:, t].sum(), [z, a], retain_graph=True):
                assert (gradient[:, : t + 1] != 0).all()
                assert (gradient[:, t + 1 :] == 0).all()


def test_shifted_sequences_have_another_loss() -> None:
    model, data = make(), windows()
    data |= {"mask": torch.ones(B, T), "ended": torch.zeros(B, T)}
    loss = sequence_loss(model, **data)
    shifted = {name: data[name].roll(1, dims=1) for name in ("z", "a", "reward")}
    assert abs(sequence_loss(model, **(data | {"a": shifted["a"]})).latent - loss.latent) > 1e-3
    assert abs(sequence_loss(model, **(data | {"z": shifted["z"]})).latent - loss.latent) > 1e-3
    assert abs(sequence_loss(model, **(data | {"reward": shifted["reward"]})).reward - loss.reward) > 1e-3


def test_learns_which_action_moves_the_latent() -> None:
    """z_{t+1} = z_t + a_t: with each action one step late, the same model cannot know."""
    torch.manual_seed(1)
    a = torch.randint(-1, 2, (64, 8, 1)).float()
    z = torch.cat([torch.zeros(64, 1, 1), a.cumsum(dim=1)], dim=1)
    reward, done, mask = a[..., 0], torch.zeros(64, 8), torch.ones(64, 8)
    latent = {}
    for late in (False, True):
        model = MDNRNN(1, 1, hidden_dim=24, components=1)
        adam = torch.optim.Adam(model.parameters(), lr=0.02)
        actions = torch.cat([torch.zeros(64, 1, 1), a[:, :-1]], dim=1) if late else a
        for _ in range(150):
            loss = sequence_loss(model, z, actions, reward, done, mask)
            adam.zero_grad()
            loss.total.backward()
            adam.step()
        latent[late] = loss
    # A step of unknown size has variance 2/3, and that is a Gaussian's best.
    best = 0.5 * math.log(2 * math.pi * math.e * 2 / 3)
    assert latent[True].latent > best - 0.35  # 64 windows can be learnt by heart a little
    assert latent[False].latent < best - 1
    assert latent[False].reward < 0.05 < latent[True].reward


def test_state_is_carried() -> None:
    model, data = make(), windows()
    z, a = data["z"][:, :-1], data["a"]
    whole, last = model(z, a)
    first, state = model(z[:, :2], a[:, :2])
    second, state = model(z[:, 2:], a[:, 2:], state)
    for part, one, two in zip(whole, first, second, strict=True):
        torch.testing.assert_close(torch.cat([one, two], dim=1), part)
    torch.testing.assert_close(state, last)
    state = model.initial_state(B)
    assert all((part == 0).all() and part.dtype == torch.float64 for part in state)
    torch.testing.assert_close(model(z, a, state)[0], whole)
    for t in range(T):
        state = model.step(z[:, t], a[:, t], state)
        torch.testing.assert_close(tuple(model.read(state[0])), tuple(part[:, t] for part in whole))
    torch.testing.assert_close(state, last)


def test_dream_step_is_prediction_and_sample() -> None:
    model, data = make(), windows()
    state, z = model.initial_state(B), data["z"][:, 0]
    latents = []
    for t in range(T):
        latents.append(z)
        dream = dream_step(model, z, data["a"][:, t], state, temperature=0)
        p, expected = model(torch.stack(latents, dim=1), data["a"][:, : t + 1])  # the whole dream so far
        torch.testing.assert_close(dream.state, expected)
        torch.testing.assert_close(dream.z, sample_mixture(p.log_pi[:, t], p.mu[:, t], p.log_sigma[:, t], 0))
        torch.testing.assert_close(dream.reward, p.reward[:, t])
        torch.testing.assert_close(dream.done_probability, 1 / (1 + torch.exp(-p.done_logit[:, t])))
        state, z = dream.state, dream.z


def test_dream_step_hands_on_temperature_and_generator() -> None:
    model = make()
    z, a, state = torch.randn(B, Z).double(), torch.randn(B, A).double(), model.initial_state(B)
    p = model.read(model.step(z, a, state)[0])

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(3)

    for temperature in (0.5, 1.0, 1.5):
        expected = sample_mixture(p.log_pi, p.mu, p.log_sigma, temperature, generator())
        torch.testing.assert_close(dream_step(model, z, a, state, temperature, generator()).z, expected)
    torch.testing.assert_close(
        dream_step(model, z, a, state, generator=generator()).z,
        sample_mixture(p.log_pi, p.mu, p.log_sigma, 1.0, generator()),
    )
    with pytest.raises(ValueError, match="temperature"):
        dream_step(model, z, a, state, -1.0)


def test_without_outcomes() -> None:
    model, data = make(outcomes=False), windows()
    p, state = model(data["z"][:, :-1], data["a"])
    assert (p.reward == 0).all()
    assert (torch.sigmoid(p.done_logit) == 0).all()
    loss = sequence_loss(model, **data)
    assert loss.reward == loss.done == 0  # it says nothing of them
    assert loss.total == loss.latent
    assert loss.latent.isfinite()
    loss.total.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    dream = dream_step(model, data["z"][:, 0], data["a"][:, 0], state)
    assert (dream.reward == 0).all()
    assert (dream.done_probability == 0).all()


def test_bad_input() -> None:
    model, data = make(), windows()
    with pytest.raises(ValueError, match=r"one step more than a .* got 6 and 6"):
        sequence_loss(model, **(data | {"z": data["z"][:, :-1]}))
    with pytest.raises(ValueError, match="mask is zero everywhere"):
        sequence_loss(model, **(data | {"mask": torch.zeros(B, T)}))
    for name in ("reward", "done", "mask", "ended"):
        for bad in (data[name][..., None], data[name][:, :-1], data[name][0], data[name][:1]):
            with pytest.raises(ValueError, match=r"reward, done, mask and ended need \(4, 6\)"):
                sequence_loss(model, **(data | {name: bad}))
    for sizes in [(0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0)]:
        with pytest.raises(ValueError, match="of at least 1"):
            MDNRNN(*sizes)
    with pytest.raises(ValueError, match=r"h and c need \(4, 5\)"):
        model(data["z"][:, :-1], data["a"], model.initial_state(1))
    with pytest.raises(ValueError, match="LSTM needs x"):
        model(data["z"][:, :-1], data["a"][..., :1])
