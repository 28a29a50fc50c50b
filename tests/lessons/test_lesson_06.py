"""Lesson 06: what its text takes for granted about gradients, and sliders that say something."""

from collections.abc import Callable

import pytest
import torch

from wmcourse.lessons.lstm_gru.exercises import forget_bias, rnn_step
from wmcourse.lessons.lstm_gru.experiment import ADDERS, lengths_back, new_adder, reach, reach_when_new
from wmcourse.lessons.lstm_gru.widgets import distances, gate_unit, transient
from wmcourse.lessons.widget import Explorer
from wmcourse.lstm_gru import gru_step, lstm_step

STEP_OF = {"RNN": rnn_step, "LSTM": lstm_step, "GRU": gru_step}


@pytest.mark.parametrize("make", [transient, gate_unit, distances])
def test_each_slider_by_one_notch_changes_the_sentence(make: Callable[[], Explorer]) -> None:
    explorer = make()
    for control in explorer.controls.values():
        before = explorer.text.value
        control.value += control.step
        assert explorer.text.value != before


def test_the_length_of_a_gradient_is_that_of_the_jacobian() -> None:
    torch.manual_seed(0)
    weights = [torch.randn(*shape) / 2 for shape in ((4, 2), (4, 4), (4,), (4,))]
    xs, direction = torch.randn(3, 1, 2), torch.randn(4)

    def last(h: torch.Tensor) -> torch.Tensor:
        for x in xs[1:]:
            h = rnn_step(x, h, *weights)
        return (h @ direction).sum()

    first = rnn_step(xs[0], torch.zeros(1, 4), *weights)
    length = torch.autograd.functional.jacobian(last, first).norm() / direction.norm()
    assert lengths_back("RNN", rnn_step, weights, xs, direction)[2] == pytest.approx(length.item(), rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_only_the_prepared_lstm_begins_with_a_gradient_that_arrives(seed: int) -> None:
    curves = {name: reach_when_new(name, 60, STEP_OF, forget_bias, seed) for name in ADDERS}
    assert all(len(curve) == 60 and curve[0] == 1 for curve in curves.values())
    assert max(curves["RNN"][59], curves["GRU"][59]) < 1e-9
    assert 1e-6 < curves["LSTM, bias 1"][59] < 1e-3
    assert 0.1 < curves["LSTM, long half-lives"][59] < curves["LSTM, long half-lives"].max() < 1.05


def test_half_open_input_gates_let_it_grow_and_large_weights_explode() -> None:
    name = "LSTM, long half-lives"
    assert min(reach_when_new(name, 60, STEP_OF, forget_bias, seed, half_open=True)[59] for seed in range(8)) > 1
    large = {cell: reach(cell, step, scale=2.5, half_life=60.0)[60] for cell, step in STEP_OF.items()}
    assert large["RNN"] > large["LSTM"] > 100
    assert large["GRU"] < 1


def test_the_two_lstms_differ_in_their_biases_only() -> None:
    usual, long = (new_adder(name, 30, 0, forget_bias)[0] for name in ("LSTM, bias 1", "LSTM, long half-lives"))
    for name, one in usual.named_parameters():
        assert torch.equal(one, dict(long.named_parameters())[name]) == ("bias_ih" not in name)
    f = long.bias_ih_l0[32:64].sigmoid()
    assert torch.allclose(f ** torch.linspace(1, 30, 32), torch.tensor(0.5))
    assert torch.equal(long.bias_ih_l0[:32], -long.bias_ih_l0[32:64])
