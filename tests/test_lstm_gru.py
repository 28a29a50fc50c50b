"""One step and one layer against torch's own kernels, and against finite differences."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from wmcourse.lstm_gru import LSTM, gru_step, lstm_step

I, H = 3, 4  # noqa: E741 (the names of the formulas)
sizes = st.integers(1, 5)


def double(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def twin(layer: LSTM) -> nn.LSTM:
    """torch.nn.LSTM with the weights of ``layer`` and b_hh = 0."""
    torch_layer = nn.LSTM(layer.input_dim, layer.hidden_dim, batch_first=True).to(layer.bias.dtype)
    weights = [layer.weight_ih, layer.weight_hh, layer.bias, torch.zeros_like(layer.bias)]
    with torch.no_grad():
        for theirs, ours in zip(torch_layer.parameters(), weights, strict=True):
            theirs.copy_(ours)
    return torch_layer


@pytest.mark.parametrize("two_biases", [True, False])
def test_lstm_step_equals_torch(two_biases: bool) -> None:
    theirs = nn.LSTM(I, H, batch_first=True).double()
    if not two_biases:
        nn.init.zeros_(theirs.bias_hh_l0)
    w_ih, w_hh, b_ih, b_hh = theirs.parameters()
    x, h, c = double(2, 50, I), double(2, H), double(2, H)
    expected, (last_h, last_c) = theirs(x, (h[None], c[None]))
    for t in range(50):
        h, c = lstm_step(x[:, t], h, c, w_ih, w_hh, b_ih, b_hh if two_biases else None)
        torch.testing.assert_close(h, expected[:, t])
    torch.testing.assert_close(h, last_h[0])
    torch.testing.assert_close(c, last_c[0])


def test_gru_step_equals_torch() -> None:
    theirs = nn.GRU(I, H, batch_first=True).double()
    x, h = double(2, 50, I), double(2, H)
    expected, _ = theirs(x, h[None])
    for t in range(50):
        h = gru_step(x[:, t], h, *theirs.parameters())
        torch.testing.assert_close(h, expected[:, t])


def test_steps_written_out_for_one_unit() -> None:
    """The gates one by one, with the sigmoid from the hyperbolic tangent: a second way to the same numbers."""

    def s(value: Tensor) -> Tensor:
        return (1 + torch.tanh(value / 2)) / 2

    x, h, c = double(5, 1), double(5, 1), double(5, 1)
    w, u, b, b2 = double(4, 1), double(4, 1), double(4), double(4)
    i, f, g, o = (x * w[k] + h * u[k] + b[k] for k in range(4))
    expected_c = s(f) * c + s(i) * torch.tanh(g)
    got_h, got_c = lstm_step(x, h, c, w, u, b)
    torch.testing.assert_close(got_c, expected_c)
    torch.testing.assert_close(got_h, s(o) * torch.tanh(expected_c))
    r, z = (s(x * w[k] + b[k] + h * u[k] + b2[k]) for k in range(2))
    n = torch.tanh(x * w[2] + b[2] + r * (h * u[2] + b2[2]))
    torch.testing.assert_close(gru_step(x, h, w[:3], u[:3], b[:3], b2[:3]), (1 - z) * n + z * h)


def test_wide_open_gates_keep_or_forget() -> None:
    x, h, c = torch.randn(2, I), torch.randn(2, H), torch.randn(2, H)
    w_ih, w_hh = torch.zeros(4 * H, I), torch.zeros(4 * H, H)
    keep = torch.tensor([-100.0, 100.0, 0.0, 0.0]).repeat_interleave(H)  # i = 0, f = 1
    torch.testing.assert_close(lstm_step(x, h, c, w_ih, w_hh, keep)[1], c)
    forget = torch.tensor([100.0, -100.0, 100.0, 0.0]).repeat_interleave(H)  # i = 1, f = 0, g = 1
    torch.testing.assert_close(lstm_step(x, h, c, w_ih, w_hh, forget)[1], torch.ones(2, H))
    z_is_one = torch.tensor([0.0, 100.0, 0.0]).repeat_interleave(H)
    zero = torch.zeros(3 * H)
    torch.testing.assert_close(gru_step(x, h, w_ih[: 3 * H], w_hh[: 3 * H], z_is_one, zero), h)


@given(sizes, sizes, st.integers(1, 12), sizes, st.booleans(), st.integers(0, 2**31))
def test_layer_equals_torch(inputs: int, hidden: int, steps: int, batch: int, state: bool, seed: int) -> None:
    torch.manual_seed(seed)
    layer = LSTM(inputs, hidden).double()
    x, h, c = double(batch, steps, inputs), double(batch, hidden), double(batch, hidden)
    out, (last_h, last_c) = layer(x, (h, c) if state else None)
    theirs, (their_h, their_c) = twin(layer)(x, (h[None], c[None]) if state else None)
    torch.testing.assert_close(out, theirs)
    torch.testing.assert_close(last_h, their_h[0])
    torch.testing.assert_close(last_c, their_c[0])
    torch.testing.assert_close(out[:, -1], last_h)


def test_layer_has_the_gradients_of_torch() -> None:
    layer = LSTM(I, H).double()
    theirs = twin(layer)
    x, weight = double(2, 7, I), double(2, 7, H)
    ours = torch.autograd.grad((layer(x)[0] * weight).sum(), list(layer.parameters()))
    expected = torch.autograd.grad((theirs(x)[0] * weight).sum(), list(theirs.parameters())[:3])
    torch.testing.assert_close(ours, expected)


def test_state_is_carried() -> None:
    layer, x = LSTM(I, H).double(), double(2, 9, I)
    whole, last = layer(x)
    first, state = layer(x[:, :4])
    second, state = layer(x[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(state, last)
    assert not torch.allclose(layer(x[:, 4:])[0], second)  # without the state the past is lost


def test_layer_looks_only_back() -> None:
    layer, x = LSTM(I, H).double(), double(1, 6, I)
    changed = x.clone()
    changed[:, 3] += 1
    before, after = layer(x)[0], layer(changed)[0]
    torch.testing.assert_close(before[:, :3], after[:, :3], rtol=0, atol=0)
    assert (before[:, 3:] != after[:, 3:]).all()


@pytest.mark.parametrize("batch", [1, 3])
def test_step_is_forward_for_one_time_step(batch: int) -> None:
    layer = LSTM(I, H)
    x, state = torch.randn(batch, I), (torch.randn(batch, H), torch.randn(batch, H))
    h, c = layer.step(x, state)
    assert h.shape == c.shape == (batch, H)
    out, last = layer(x[:, None], state)
    assert out.shape == (batch, 1, H)
    torch.testing.assert_close(out[:, 0], h)
    torch.testing.assert_close(last, (h, c))


def test_steps_leave_their_input_alone() -> None:
    layer = LSTM(I, H)
    x, h, c = torch.randn(2, I), torch.randn(2, H), torch.randn(2, H)
    copies = x.clone(), h.clone(), c.clone()
    bias = layer.bias.detach().clone()
    layer.step(x, (h, c))
    layer(x[:, None], (h, c))
    torch.testing.assert_close((x, h, c), copies, rtol=0, atol=0)
    torch.testing.assert_close(layer.bias.detach(), bias, rtol=0, atol=0)


def test_gradients() -> None:
    def inputs(*shapes: tuple[int, ...]) -> list[Tensor]:
        return [double(*shape).requires_grad_() for shape in shapes]

    lstm = inputs((2, I), (2, H), (2, H), (4 * H, I), (4 * H, H), (4 * H,), (4 * H,))
    assert torch.autograd.gradcheck(lstm_step, lstm)
    assert torch.autograd.gradcheck(lstm_step, lstm[:-1])
    assert torch.autograd.gradcheck(gru_step, inputs((2, I), (2, H), (3 * H, I), (3 * H, H), (3 * H,), (3 * H,)))
    layer = LSTM(I, H).double()

    def sequence(x: Tensor, h: Tensor, c: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        names = ["weight_ih", "weight_hh", "bias"]
        out, state = torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x, (h, c)))
        return out, state[1]

    weights = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(sequence, [*inputs((2, 3, I), (2, H), (2, H)), *weights])


def test_along_the_cell_the_gradient_is_the_forget_gate() -> None:
    """∂c'/∂c = f where h is held still: no matrix and no squashing."""
    x, h, c = double(1, I), double(1, H), double(1, H).requires_grad_()
    w_ih, w_hh, b = double(4 * H, I), double(4 * H, H), double(4 * H)
    (gradient,) = torch.autograd.grad(lstm_step(x, h, c, w_ih, w_hh, b)[1].sum(), c)
    f = torch.sigmoid(x @ w_ih[H : 2 * H].T + h @ w_hh[H : 2 * H].T + b[H : 2 * H])
    torch.testing.assert_close(gradient, f)


@pytest.mark.parametrize(("inputs", "hidden"), [(1, 1), (3, 4), (35, 256)])
def test_parameters(inputs: int, hidden: int) -> None:
    layer = LSTM(inputs, hidden)
    count = sum(p.numel() for p in layer.parameters())
    assert count == 4 * hidden * (inputs + hidden + 1)
    assert count == sum(p.numel() for p in nn.LSTM(inputs, hidden).parameters()) - 4 * hidden
    bound = hidden**-0.5
    for weight in (layer.weight_ih, layer.weight_hh):
        assert weight.abs().max() <= bound
        assert weight.numel() < 50 or weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
    biases = layer.bias.detach().chunk(4)
    assert [part.unique().tolist() for part in biases] == [[0.0], [1.0], [0.0], [0.0]]  # i, f, g, o


def test_a_new_network_remembers() -> None:
    """With an empty input the cell shrinks by f = s(1) at each step, not by a half."""
    layer = LSTM(I, H).double()
    nn.init.zeros_(layer.weight_hh)
    c = double(1, H)
    _, (_, last) = layer(torch.zeros(1, 3, I, dtype=torch.float64), (torch.zeros_like(c), c))
    torch.testing.assert_close(last, c * torch.sigmoid(torch.tensor(1.0, dtype=torch.float64)) ** 3)


def test_large_values_stay_finite() -> None:
    layer = LSTM(I, H)
    x = (1e4 * torch.randn(2, 5, I)).requires_grad_()
    out, (_, c) = layer(x)
    (gradient,) = torch.autograd.grad(out.sum() + c.sum(), x)
    assert out.abs().max() <= 1
    assert c.abs().max() <= 5  # one step adds at most i·g = 1
    assert gradient.isfinite().all()


def test_bad_shapes() -> None:
    x, h = torch.zeros(2, I), torch.zeros(2, H)
    w_ih, w_hh, b = torch.zeros(4 * H, I), torch.zeros(4 * H, H), torch.zeros(4 * H)
    for bad_x, bad_h in [(x[0], h), (x, h[0]), (x[:1], h), (x[None], h)]:
        with pytest.raises(ValueError, match=r"A step needs x \(B, I\) and h \(B, H\)"):
            lstm_step(bad_x, bad_h, bad_h, w_ih, w_hh, b)
        with pytest.raises(ValueError, match=r"A step needs x \(B, I\) and h \(B, H\)"):
            gru_step(bad_x, bad_h, w_ih[: 3 * H], w_hh[: 3 * H], b[: 3 * H], b[: 3 * H])
    for bad_c in (h[:1], h[:, :1], h[0]):
        with pytest.raises(ValueError, match=r"h and c need one shape .* \(2, 4\)"):
            lstm_step(x, h, bad_c, w_ih, w_hh, b)
    with pytest.raises(ValueError, match=r"w_ih and w_hh need \(16, 3\) and \(16, 4\), 4 gates"):
        lstm_step(x, h, h, w_ih[: 3 * H], w_hh[: 3 * H], b)
    with pytest.raises(ValueError, match=r"w_ih and w_hh need \(12, 3\) and \(12, 4\), 3 gates"):
        gru_step(x, h, w_ih, w_hh, b, b)
    with pytest.raises(ValueError, match="w_ih and w_hh need"):
        lstm_step(x, h, h, w_ih.T, w_hh, b)


def test_layer_bad_shapes() -> None:
    layer = LSTM(I, H)
    for shape in [(2, I), (2, 0, I), (2, 5, I + 1), (2, 5, 1, I)]:
        with pytest.raises(ValueError, match=r"LSTM needs x \(B, T, 3\), T at least 1"):
            layer(torch.zeros(shape))
    x, h = torch.zeros(2, 5, I), torch.zeros(2, H)
    for state in [(h[:1], h[:1]), (h, h[:1]), (h[None], h[None]), (h[:, :1], h)]:
        with pytest.raises(ValueError, match=r"h and c need \(2, 4\)"):
            layer(x, state)
    for dims in [(0, 1), (1, 0), (-1, 3)]:
        with pytest.raises(ValueError, match=f"at least 1: got {dims[0]} and {dims[1]}"):
            LSTM(*dims)
