"""Balanced truncation: systems that it has to recover, its parts against formulas, degenerate sequences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from theseus_fx.modules.fits import balanced
from theseus_fx.modules.fits.balanced import bank, bank_states, fit_elman, last_layer, truncated_layer

BANK = 9
"""States of the bank of one feature."""


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def leaky(x: Tensor, decay: float) -> Tensor:
    """(1 - a) sum_k a^k x[t - k]."""
    state, states = torch.zeros_like(x[:, 0]), []
    for step in x.unbind(1):
        state = decay * state + (1 - decay) * step
        states.append(state)
    return torch.stack(states, 1)


def residual(found: Tensor, y: Tensor) -> float:
    return float((found - y).square().sum() / (y - y.mean((0, 1))).square().sum())


def network(fit: balanced.ElmanFit, d_in: int, width: int) -> nn.RNN:
    """What torch makes of the layers."""
    rnn = nn.RNN(d_in, width, num_layers=len(fit.layers), batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for number, layer in enumerate(fit.layers):
            rnn.get_parameter(f"weight_ih_l{number}").copy_(layer.w_ih)
            rnn.get_parameter(f"weight_hh_l{number}").copy_(layer.w_hh)
            rnn.get_parameter(f"bias_ih_l{number}").copy_(layer.bias)
            rnn.get_parameter(f"bias_hh_l{number}").zero_()
    return rnn.requires_grad_(False)


def test_the_bank_is_lags_and_leaky_sums() -> None:
    x = normal(3, 8, 2)
    states = bank(x)
    assert states.shape == (3, 8, BANK, 2)
    assert bank_states(2) == BANK * 2
    for lag in range(4):
        assert torch.equal(states[:, lag:, lag], x[:, : 8 - lag])
        assert not states[:, :lag, lag].any()
    for place, decay in enumerate(balanced.DECAYS, 4):
        torch.testing.assert_close(states[:, :, place], leaky(x, decay))


def test_the_bank_is_the_system_that_is_truncated() -> None:
    transition, entry = balanced._bank_system(torch.device("cpu"))
    x = normal(2, 6, 3)
    states = bank(x)
    before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], 1)
    expected = torch.einsum("pq,ntqd->ntpd", transition, before) + entry[:, None] * x[:, :, None]
    torch.testing.assert_close(states, expected)


def test_what_the_outputs_show_is_the_sum_over_the_horizon() -> None:
    transition, _ = balanced._bank_system(torch.device("cpu"))
    read = normal(4, BANK * 2)
    whole, step, expected = torch.kron(transition, torch.eye(2, dtype=torch.float64)), read, 0
    for _ in range(2**balanced.HORIZON):
        expected = expected + step.mT @ step
        step = step @ whole
    torch.testing.assert_close(balanced._shown(transition, read, 2), expected)


def filtered(x: Tensor, mean: Tensor) -> Tensor:
    """Outputs of six states of the bank, small enough for tanh."""
    slow, fast = leaky(x - mean, 0.93) @ normal(6, 3, seed=1), leaky(x - mean, 0.7) @ normal(6, 3, seed=2)
    return torch.cat([0.05 * slow + 0.02 * fast, 0.03 * fast], 2) + 0.1


def test_a_causal_filter_is_recovered() -> None:
    x, fresh = normal(64, 40, 6) + 3, normal(64, 40, 6, seed=5) + 3
    mean = x.mean((0, 1))
    y = filtered(x, mean)
    fit = fit_elman(x, y, layers=2)
    assert fit.residual < 0.03
    assert fit.residual == pytest.approx(residual(network(fit, 6, 6)(x)[0], y), rel=1e-6)
    assert residual(network(fit, 6, 6)(fresh)[0], filtered(fresh, mean)) < 0.04
    one = fit_elman(x, y, layers=1)
    assert fit.residual < 0.7 * one.residual


def test_states_have_the_deviation_at_which_tanh_is_nearly_linear() -> None:
    x = normal(100, 50, 4)
    y = 0.1 * (leaky(x, 0.85) @ normal(4, 4, seed=1))
    states = truncated_layer(x, y).roll(x)
    assert states.std((0, 1)) == pytest.approx([balanced.STATE_DEVIATION] * 4, rel=0.25)


def test_the_first_layer_is_stable_and_ignores_the_mean_of_its_inputs() -> None:
    x, y = normal(50, 30, 5), normal(50, 30, 5, seed=1)
    layer, shifted = truncated_layer(x, y), truncated_layer(x + 100, y)
    assert float(torch.linalg.eigvals(layer.w_hh).abs().max()) <= balanced.RADIUS + 1e-9
    torch.testing.assert_close(shifted.roll(x + 100), layer.roll(x), rtol=1e-5, atol=1e-6)


def test_one_layer_recovers_an_elman_network_of_one_layer() -> None:
    torch.manual_seed(0)
    rnn = nn.RNN(5, 4, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.mul_(0.6)
        x = normal(200, 20, 5)
        y = rnn(x)[0]
    fit = fit_elman(x, y, layers=1)
    assert fit.residual < 1e-3  # what the ridge takes
    assert len(fit.layers) == 1
    torch.testing.assert_close(fit.layers[0].w_hh, rnn.weight_hh_l0.detach(), rtol=0.05, atol=0.01)


def test_the_best_pass_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    features, y = normal(30, 12, 4), 0.5 * torch.tanh(normal(30, 12, 3, seed=1)).cumsum(1) / 4
    left = []
    for passes in (1, 2, 4):
        monkeypatch.setattr(balanced, "PASSES", passes)
        left.append(last_layer(features, y)[1])
    assert left == sorted(left, reverse=True)


@pytest.mark.parametrize("layers", [1, 2])
def test_constant_sequences_leave_the_mean(layers: int) -> None:
    x, y = torch.full((20, 10, 3), 2.0), torch.full((20, 10, 3), 0.25)
    fit = fit_elman(x, y, layers=layers)
    assert fit.residual == 0.0
    torch.testing.assert_close(network(fit, 3, 3)(x.double())[0], y.double())
    noise = normal(20, 10, 3, seed=1).clamp(-0.9, 0.9)
    told = fit_elman(x, noise, layers=layers)
    assert 0.9 < told.residual < 1.1


@pytest.mark.parametrize(
    ("x", "y", "layers", "words"),
    [
        (torch.ones(2, 3, 4), torch.ones(2, 4, 4), 2, "sequences in and out are alike"),
        (torch.ones(2, 3), torch.ones(2, 3), 2, "sequences in and out are alike"),
        (torch.ones(2, 3, 4), torch.ones(2, 3, 4), 3, "not for 3"),
        (torch.full((2, 3, 4), torch.nan), torch.ones(2, 3, 4), 2, "the inputs of the fit"),
        (torch.randn(2, 3, 4), torch.full((2, 3, 4), torch.nan), 2, "the outputs of the fit"),
    ],
)
def test_what_cannot_be_fitted_is_said(x: Tensor, y: Tensor, layers: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit_elman(x, y, layers=layers)
