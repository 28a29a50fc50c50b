"""The shared memories of lessons 06 to 08: aligned in time, split by episode, made once."""

from pathlib import Path

import numpy as np
import pytest
import torch

from wmcourse.engine.errors import RunError
from wmcourse.lessons import memories
from wmcourse.lessons.memories import Sequences, dodge_memories, play
from wmcourse.worlds.dodge import DodgeState, Rules, advance, draw


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(memories, "STEPS", 3)
    monkeypatch.setattr(memories, "TRAIN", (3, 40, 0))
    monkeypatch.setattr(memories, "HELD_OUT", (2, 20, 50_000))
    return tmp_path / "memories"


def state_at(s: Sequences, n: int) -> DodgeState:
    """What can be known of the state at step n; no hazard comes, and none forks, from it."""
    one = np.zeros(1)
    return DodgeState(
        x=s.agent_x[n : n + 1].numpy(),
        velocity=s.agent_velocity[n : n + 1].numpy(),
        hazard_x=s.hazard_x[n : n + 1].numpy(),
        hazard_y=s.hazard_y[n : n + 1].numpy(),
        drift=s.drift[n : n + 1].numpy(),
        number=np.zeros((1, 4), np.uint64),
        hazards=one.astype(np.uint64),
        countdown=np.full(1, 1000, np.int32),
        time=one.astype(np.int32),
        seed=one.astype(np.uint64),
    )


def test_frame_state_action_and_what_followed_belong_together() -> None:
    s, forked, hits = play(8, 120, 3), 0, 0
    for n in range(len(s)):
        now = state_at(s, n)
        assert np.array_equal(draw(now)[0, ..., 0], s.frames[n, 0])
        crosses = (s.hazard_y[n] < Rules().fork_row) & (s.hazard_y[n] + Rules().fall >= Rules().fork_row)
        forked += bool(crosses.any())
        hit = advance(now, s.action[n].numpy())[0]
        hits += bool(hit)
        assert s.done[n] == float(hit)
        assert s.reward[n] == 1 - s.done[n]
        if not s.ended[n]:
            assert s.agent_x[n + 1] == now.x[0]
            if not crosses.any():  # the side is drawn by chance, which is not in the state that we kept
                there = s.hazard_y[n + 1] == s.hazard_y[n] + Rules().fall  # no new one in its slot
                assert np.array_equal(s.hazard_x[n + 1][there], now.hazard_x[0][there.numpy()])
    assert forked > 20
    assert hits > 5


def test_episodes_are_a_partition_of_the_steps() -> None:
    s = play(5, 90, 1)
    assert s.start[0] == 0
    assert torch.equal(s.start[1:], (s.start + s.length)[:-1])
    assert int(s.length.sum()) == len(s) == 450
    assert torch.equal(torch.nonzero(s.ended)[:, 0], s.start + s.length - 1)
    assert bool(s.ended[s.done == 1].all())
    assert bool(s.ended[89::90].all())  # the recordings end
    assert s.age().tolist() == [t for length in s.length.tolist() for t in range(length)]


def test_they_are_made_once_and_are_the_same_again(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = dodge_memories(small)
    assert first.train.mu.shape == first.train.logvar.shape == (120, 16)
    assert first.held_out.mu.shape == (40, 16)
    assert not any(p.requires_grad for p in first.vae.parameters())
    capsys.readouterr()
    again = dodge_memories(small)
    assert "VAE" not in capsys.readouterr().err  # no bar: nothing was trained
    assert torch.equal(first.train.mu, again.train.mu)
    mu, logvar = first.vae.encode(torch.from_numpy(first.held_out.frames).float() / 255)
    torch.testing.assert_close(mu, first.held_out.mu)
    torch.testing.assert_close(logvar, first.held_out.logvar)
    frames = {frame.tobytes() for frame in first.train.frames}
    assert sum(frame.tobytes() in frames for frame in first.held_out.frames) < 10


@pytest.mark.parametrize("name", ["vae.safetensors", "latents.safetensors"])
def test_a_broken_file_is_named(small: Path, name: str) -> None:
    dodge_memories(small)
    (small / name).write_bytes(b"no")
    with pytest.raises(RunError, match=f"{name} is truncated.*Delete it"):
        dodge_memories(small)


def test_latents_of_another_version_are_refused(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dodge_memories(small)
    monkeypatch.setattr(memories, "TRAIN", (3, 41, 0))
    with pytest.raises(RunError, match=r"another version of the course\. Delete"):
        dodge_memories(small)
