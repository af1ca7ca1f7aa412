"""An Elman network fitted to a causal map of sequences by balanced truncation.

The map is first approximated by a linear system with many states, which are chosen beforehand: the last
inputs and leaky sums of all inputs, at several rates. Balanced truncation (Moore 1981) keeps the combinations
of states that the inputs reach and the outputs show most. With small states tanh is nearly linear, so that
they become the first layer; the second layer is solved for with its own roll-out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from theseus_fx.modules.fits.moments import Moments, moments_of

LAGS = 4
"""Inputs that the bank holds as they were: those of this step and of the three before."""
DECAYS = (0.5, 0.7, 0.85, 0.93, 0.97)
"""Of the leaky sums (1 - a) sum_k a^k x[t - k]."""
HORIZON = 6
"""Doublings: outputs of 2^6 steps count for what a state shows."""
STATE_RIDGE = 3e-3
"""Of the outputs on the standardised bank, times the number of rows."""
LAYER_RIDGE = 1e-2
"""Of a layer on its standardised inputs and outputs, times the number of rows."""
STATE_DEVIATION = 0.3
"""Standard deviation of the states of the first layer, at which tanh is nearly linear."""
LARGEST_OUTPUT = 0.95
"""A layer cannot return more than 1; targets beyond this are cut."""
RADIUS = 0.99
"""The largest spectral radius of the first layer's recurrence."""
PASSES = 4
"""Fits of the last layer, each on the outputs that the one before really gave."""
PIECE = 8192
"""Rows of the bank that are held at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ElmanLayer:
    """h[t] = tanh(w_ih x[t] + w_hh h[t - 1] + bias), float64."""

    w_ih: Tensor
    """(width, d_in)."""
    w_hh: Tensor
    """(width, width)."""
    bias: Tensor
    """(width,)."""

    def roll(self, x: Tensor) -> Tensor:
        """(n, length, d_in) to (n, length, width), from a state of zeros."""
        state = x.new_zeros((x.shape[0], self.bias.numel()), dtype=torch.float64)
        driven = x.double() @ self.w_ih.mT + self.bias
        states: list[Tensor] = []
        for step in driven.unbind(1):
            state = torch.tanh(step + state @ self.w_hh.mT)
            states.append(state)
        return torch.stack(states, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ElmanFit:
    """The layers of an Elman network."""

    layers: tuple[ElmanLayer, ...]
    residual: float
    """The share of the outputs' variance that the network leaves on these sequences."""


def bank_states(width: int) -> int:
    """States of the bank for inputs of a width."""
    return (LAGS + len(DECAYS)) * width


def fit_elman(x: Tensor, y: Tensor, *, layers: int) -> ElmanFit:
    """An Elman network whose outputs are close to y where x flows in.

    Args:
        x: (n, length, d_in), floating point: inputs in the network that it will live in.
        y: (n, length, width): what it should return; beyond ±0.95 it cannot.
        layers: 2: a truncated bank below, a read-out above; 1: the read-out alone, on the inputs themselves.

    Raises:
        ValueError: shapes that do not fit, other numbers of layers, values that are not finite.
    """
    if x.dim() != 3 or y.dim() != 3 or x.shape[:2] != y.shape[:2]:
        raise ValueError(f"sequences in and out are alike, not {tuple(x.shape)} and {tuple(y.shape)}")
    if layers not in (1, 2):
        raise ValueError(f"there is a fit for one or two layers, not for {layers}")
    below = (truncated_layer(x, y),) if layers == 2 else ()
    features = below[0].roll(x) if below else x
    last, residual = last_layer(features, y)
    return ElmanFit(layers=(*below, last), residual=residual)


def truncated_layer(x: Tensor, y: Tensor) -> ElmanLayer:
    """The first layer: the most telling combinations of the bank's states, as many as y has features."""
    d_in, width = x.shape[2], y.shape[2]
    mean = x.mean((0, 1), dtype=torch.float64)
    moments = moments_of(_bank_rows(x, mean, y))
    read = _ridge(moments, STATE_RIDGE)  # C, (width, states)
    transition, entry = _bank_system(x.device)
    shows = _shown(transition, read, d_in)  # Q
    reached = moments.xx / moments.count  # P

    # with Q = L Lᵀ and LᵀP L = U Σ² Uᵀ, T = P L U Σ^-3/2 maps the states kept to the bank,
    # and T⁻ = Σ^-1/2 Uᵀ Lᵀ back
    jitter = 1e-9 * shows.diagonal().mean()
    jitter = torch.where(jitter > 0, jitter, 1.0)  # where nothing is shown, any states will do
    lower = torch.linalg.cholesky(shows + jitter * torch.eye(len(shows), dtype=shows.dtype, device=x.device))
    square, u = torch.linalg.eigh(lower.mT @ reached @ lower)
    square, u = square.flip(0)[:width], u.flip(1)[:, :width]
    kept = int((square > 1e-14 * square[0]).sum())
    sigma, u = square[:kept].sqrt(), u[:, :kept]
    u = torch.where(u.gather(0, u.abs().argmax(0, keepdim=True)) < 0, -u, u)  # a sign of its own choosing
    into = reached @ lower @ (u * sigma.pow(-1.5))  # T, (states, kept)
    back = (lower @ (u * sigma.pow(-0.5))).mT  # T⁻, (kept, states)

    shaped = into.reshape(len(transition), d_in, kept)
    recurrence = back @ torch.einsum("pq,qdk->pdk", transition, shaped).reshape(into.shape)
    driven = torch.einsum("kpd,p->kd", back.reshape(kept, len(transition), d_in), entry)
    radius = float(torch.linalg.eigvals(recurrence).abs().max()) if kept else 0.0
    if radius > RADIUS:
        recurrence = recurrence * (RADIUS / radius)
    scale = STATE_DEVIATION / sigma.sqrt()  # the covariance of the states kept is Σ
    w_ih = driven.new_zeros((width, d_in))
    w_hh = driven.new_zeros((width, width))
    w_ih[:kept] = scale[:, None] * driven
    w_hh[:kept, :kept] = scale[:, None] * recurrence / scale
    return ElmanLayer(w_ih=w_ih, w_hh=w_hh, bias=-w_ih @ mean)


def last_layer(features: Tensor, y: Tensor) -> tuple[ElmanLayer, float]:
    """The layer that returns y from features and from its own last output, and the residual of its roll-out.

    Each pass regresses on the outputs that the layer before it gave, so that its errors do not add up; the
    pass whose roll-out is best is kept.
    """
    wanted = y.double()
    targets = torch.atanh(wanted.clamp(-LARGEST_OUTPUT, LARGEST_OUTPUT))
    variance = (wanted - wanted.mean((0, 1))).square().sum()
    outputs = wanted.clamp(-1, 1)
    best: tuple[ElmanLayer, float] | None = None
    for _ in range(PASSES):
        layer = _regressed(features, outputs, targets)
        outputs = layer.roll(features)
        left = float((outputs - wanted).square().sum() / variance) if variance > 0 else 0.0
        if best is None or left < best[1]:
            best = layer, left
    assert best is not None  # there is at least one pass
    return best


def _regressed(features: Tensor, outputs: Tensor, targets: Tensor) -> ElmanLayer:
    width, d_in = targets.shape[2], features.shape[2]
    before = torch.nn.functional.pad(outputs[:, :-1], (0, 0, 1, 0))
    pieces = max(1, PIECE // features.shape[1])
    rows = (
        (torch.cat([a.double(), b], 2).flatten(0, 1), c.flatten(0, 1))
        for a, b, c in zip(features.split(pieces), before.split(pieces), targets.split(pieces), strict=True)
    )
    moments = moments_of(rows)
    weight = _ridge(moments, LAYER_RIDGE)
    return ElmanLayer(
        w_ih=weight[:, :d_in],
        w_hh=weight[:, d_in : d_in + width],
        bias=moments.mean_y - weight @ moments.mean_x,
    )


def _ridge(moments: Moments, ridge: float) -> Tensor:
    """The ridge regression on standardised inputs, (d_out, d_in) for inputs as they are."""
    deviation = (moments.xx.diagonal() / moments.count).sqrt()
    deviation = torch.where(deviation > 0, deviation, 1.0)
    scaled = moments.xx / torch.outer(deviation, deviation)
    scaled.diagonal().add_(ridge * moments.count)
    solution = torch.cholesky_solve(moments.xy / deviation[:, None], torch.linalg.cholesky(scaled))
    return (solution / deviation[:, None]).mT


def _bank_rows(x: Tensor, mean: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The states of the bank with the outputs, some sequences at a time: (rows, states), (rows, width)."""
    pieces = max(1, PIECE // x.shape[1])
    for inputs, outputs in zip(x.split(pieces), y.split(pieces), strict=True):
        states = bank(inputs.double() - mean)
        yield states.flatten(2).flatten(0, 1), outputs.flatten(0, 1)


def bank(x: Tensor) -> Tensor:
    """The states of the bank, (n, length, LAGS + len(DECAYS), d), for inputs (n, length, d), from zeros."""
    lags = [torch.nn.functional.pad(x, (0, 0, lag, 0))[:, : x.shape[1]] for lag in range(LAGS)]
    decays = x.new_tensor(DECAYS)[:, None]
    state = x.new_zeros((x.shape[0], len(DECAYS), x.shape[2]))
    sums: list[Tensor] = []
    for step in x.unbind(1):
        state = decays * state + (1 - decays) * step[:, None]
        sums.append(state)
    return torch.cat([torch.stack(lags, 2), torch.stack(sums, 1)], 2)


def _bank_system(device: torch.device) -> tuple[Tensor, Tensor]:
    """A and b of the bank of one feature: z[t] = A z[t - 1] + b x[t]."""
    count = LAGS + len(DECAYS)
    transition = torch.zeros((count, count), dtype=torch.float64)
    entry = torch.zeros(count, dtype=torch.float64)
    entry[0] = 1.0
    for lag in range(1, LAGS):
        transition[lag, lag - 1] = 1.0
    for place, decay in enumerate(DECAYS, LAGS):
        transition[place, place] = decay
        entry[place] = 1 - decay
    return transition.to(device), entry.to(device)


def _shown(transition: Tensor, read: Tensor, d_in: int) -> Tensor:
    """Q = sum_k (Aᵀ)^k CᵀC A^k over the horizon, (states, states); A acts on each feature alike."""
    count = len(transition)
    total = (read.mT @ read).reshape(count, d_in, count, d_in)
    power = transition
    for _ in range(HORIZON):
        total = total + torch.einsum("pi,pdqe,qj->idje", power, total, power)
        power = power @ power
    return total.reshape(count * d_in, count * d_in)
