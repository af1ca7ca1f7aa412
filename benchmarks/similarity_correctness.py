"""Where implementations of CKA go wrong: each is run on inputs whose right answer is known.

The reference is the literal formula in float64 on the very values that the implementation gets, of the HSIC
that it says it estimates, with the gradient by autograd. Nobody else normalises rows, so all get unit rows;
the gradient is that of their own definition, which for ours and the literal loss passes through the norm.
"""

from __future__ import annotations

import functools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from similarity_candidates import biased_cka, literal, unbiased_cka
from similarity_cost import RAISED, first_line
from similarity_peers import Installed, quiet
from torch import Tensor

from theseus_fx.similarity import cka_loss, ucka_loss

N, D = 128, 2048
WRONG = 1e-2
NEAR = 1.6e-2
"""Noise that takes 1 - CKA to about 1e-5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One implementation, as a loss."""

    name: str
    loss: Callable[[Tensor, Tensor], Any]
    unbiased: bool
    normalises: bool
    """Whether its own definition takes the norm of every row out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What it returned on one input."""

    loss: float
    gradient: Tensor | None
    """Of the first activations, in float64; None if the loss does not hang on them."""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One column of the tables."""

    name: str
    how: str
    run: Callable[[Subject, str], str]


def subjects(present: Sequence[Installed], device: str) -> list[Subject]:
    """Ours, the literal loss and, on a CPU, the peers, many of which know no other device."""
    return [
        Subject(name="ours `cka_loss`", loss=cka_loss, unbiased=False, normalises=True),
        Subject(name="ours `ucka_loss`", loss=ucka_loss, unbiased=True, normalises=True),
        Subject(name="literal formula", loss=literal, unbiased=False, normalises=True),
        *(_subject(peer) for peer in present if device == "cpu"),
    ]


def cells(checks: Sequence[Check], present: Sequence[Installed], device: str) -> dict[str, dict[str, str]]:
    """What each implementation shows in each check, by its name and the check's."""
    with quiet():
        return {
            subject.name: {check.name: check.run(subject, device) for check in checks}
            for subject in subjects(present, device)
        }


def _subject(peer: Installed) -> Subject:
    return Subject(
        name=f"{peer.peer.package} {peer.version} `{peer.peer.call}`",
        loss=lambda a, b: 1 - peer.cka(a, b),
        unbiased=peer.peer.unbiased,
        normalises=False,
    )


def answer(subject: Subject, a: Tensor, b: Tensor) -> Answer:
    """Its loss and gradient, or what it raised."""
    x = a.clone().requires_grad_()
    try:
        loss = subject.loss(x, b.clone())
        if isinstance(loss, Tensor) and loss.requires_grad:
            loss.backward()
    except RAISED as error:
        return Answer(loss=math.nan, gradient=None, error=first_line(error, most=60))
    value = float(loss.detach()) if isinstance(loss, Tensor) else float(loss)
    return Answer(loss=value, gradient=None if x.grad is None else x.grad.double())


def reference(subject: Subject, a: Tensor, b: Tensor) -> Answer:
    """What it should have returned."""
    x = a.double().requires_grad_()
    formula = unbiased_cka if subject.unbiased else biased_cka
    target, guide = (unit_rows(x), unit_rows(b.double())) if subject.normalises else (x, b.double())
    loss = 1 - formula(target, guide)
    loss.backward()
    return Answer(loss=loss.item(), gradient=x.grad)


def unit_rows(x: Tensor) -> Tensor:
    """Rows of norm 1; a row of zeros stays zero, with gradient 0."""
    dead = (x == 0).all(1, keepdim=True)
    return torch.where(dead, 0.0, x / torch.where(dead, 1.0, x).norm(dim=1, keepdim=True))


@functools.cache
def activations(
    device: str, n: int = N, d: int = D, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Unit rows (n, d) of two nonnegative, correlated activations, as after a ReLU."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(n, 32, generator=generator)
    made: list[Tensor] = []
    for _ in range(2):
        mixed = common @ torch.randn(32, d, generator=generator)
        x = (mixed + 3 * torch.randn(n, d, generator=generator)).relu()
        made.append(unit_rows(x).to(device, dtype))
    return made[0], made[1]


@functools.cache
def near(device: str) -> list[tuple[Tensor, Tensor]]:
    """The same, five times, with guides so close that 1 - CKA is about 1e-5."""
    a, _ = activations(device)
    pairs: list[tuple[Tensor, Tensor]] = []
    for seed in range(1, 6):  # 0 has drawn the activations
        noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(seed)).to(device)
        pairs.append((a, unit_rows(a + NEAR * a.norm() / noise.norm() * noise)))
    return pairs


def _value(subject: Subject, device: str) -> str:
    return _value_error(subject, *activations(device))


def _gradient(subject: Subject, device: str) -> str:
    return _gradient_error(subject, *activations(device))


def _identity(subject: Subject, device: str) -> str:
    a, _ = activations(device)
    got = answer(subject, a, a)
    return got.error or _error(got.loss)


def _near_loss(subject: Subject, device: str) -> str:
    errors: list[float] = []
    for a, b in near(device):
        got = answer(subject, a, b)
        if got.error:
            return got.error
        right = reference(subject, a, b).loss
        errors.append(abs(got.loss - right) / right)
    return _error(max(errors))


def _near_gradient(subject: Subject, device: str) -> str:
    errors: list[float] = []
    for a, b in near(device):
        got = answer(subject, a, b)
        if got.gradient is None:
            return got.error or NO_GRADIENT
        errors.append(_distance(got.gradient, reference(subject, a, b)))
    return _error(max(errors))


def _milliseconds(subject: Subject, device: str) -> str:
    a, b = activations(device, n=256, d=4096)
    took: list[float] = []
    for _ in range(6):
        start = time.perf_counter()
        with torch.no_grad():
            float(subject.loss(a, b))
        took.append(time.perf_counter() - start)
    return f"{1e3 * statistics.median(took[1:]):.1f}"


def _scaled(subject: Subject, device: str) -> str:
    a, b = activations(device)
    return _value_error(subject, 1e-3 * a, 1e-3 * b)


def _constant(subject: Subject, device: str) -> str:
    a, b = activations(device)
    got = answer(subject, a[:1].expand_as(a).contiguous(), b)
    loss = _short(got.loss) if math.isfinite(got.loss) else f"**{_short(got.loss)}**"
    if got.error or got.gradient is None:
        return got.error or loss
    return f"{loss}, gradient {_short(got.gradient.norm().item())}"


def _zero_row(subject: Subject, device: str) -> str:
    a, b = activations(device)
    a = a.clone()
    a[0] = 0
    value = _value_error(subject, a, b)
    gradient = _gradient_error(subject, a, b)
    return value if gradient == NO_GRADIENT else f"{value}, gradient {gradient}"


def _three_samples(subject: Subject, device: str) -> str:
    a, b = (x[:3] for x in activations(device))
    if not subject.unbiased:
        return _value_error(subject, a, b)
    got = answer(subject, a, b)
    return got.error or _short(got.loss)


def _unrelated(subject: Subject, device: str) -> str:
    without = 0
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        a, b = (unit_rows(torch.randn(64, 512, generator=generator)).to(device) for _ in "ab")
        got = answer(subject, a, b)
        if got.gradient is None:
            return got.error or NO_GRADIENT
        without += not got.gradient.any()
    return f"**{without} of 20**" if without else "0 of 20"


def _bfloat16(subject: Subject, device: str) -> str:
    return _value_error(subject, *activations(device, dtype=torch.bfloat16))


def _float16(subject: Subject, device: str) -> str:
    return _value_error(subject, *activations(device, dtype=torch.float16))


def _autocast(subject: Subject, device: str) -> str:
    a, b = activations(device)
    with torch.autocast(device, torch.bfloat16):
        got = answer(subject, a, b)
    return got.error or _relative(1 - got.loss, 1 - reference(subject, a, b).loss)


def _not_a_number(subject: Subject, device: str) -> str:
    a, b = activations(device)
    a = a.clone()
    a[0, 0] = math.nan
    got = answer(subject, a, b)
    return got.error or f"loss {_short(got.loss)}"


def _value_error(subject: Subject, a: Tensor, b: Tensor) -> str:
    got = answer(subject, a, b)
    return got.error or _relative(1 - got.loss, 1 - reference(subject, a, b).loss)


def _gradient_error(subject: Subject, a: Tensor, b: Tensor) -> str:
    got = answer(subject, a, b)
    if got.error or got.gradient is None:
        return got.error or NO_GRADIENT
    return _error(_distance(got.gradient, reference(subject, a, b)))


def _distance(gradient: Tensor, right: Answer) -> float:
    if right.gradient is None:
        raise RuntimeError("the reference has a gradient")
    return ((gradient - right.gradient).norm() / right.gradient.norm()).item()


def _relative(got: float, right: float) -> str:
    return _error(abs(got - right) / abs(right))


def _error(x: float) -> str:
    """Bold beyond one per cent, or if it is not even a number."""
    return _short(x) if abs(x) <= WRONG else f"**{_short(x)}**"


def _short(x: float) -> str:
    return f"{x:.2g}" if x == 0 or 1e-2 <= abs(x) < 1e3 else f"{x:.0e}"


NO_GRADIENT = "none"
PRECISION = (
    Check(name="CKA", how="relative error of the value, b = 128, d = 2,048, float32", run=_value),
    Check(name="gradient", how="relative error of the gradient, by its norm", run=_gradient),
    Check(name="1 - CKA(X, X)", how="as returned; 0 is right", run=_identity),
    Check(
        name="near, 1 - CKA",
        how="relative error of the loss where it is about 1e-5, the largest of 5",
        run=_near_loss,
    ),
    Check(
        name="near, gradient",
        how="relative error of its gradient there, the largest of 5",
        run=_near_gradient,
    ),
    Check(name="ms", how="the value alone, without a gradient, b = 256, d = 4,096", run=_milliseconds),
)
EDGES = (
    Check(name="× 0.001", how="relative error of the CKA, both activations scaled", run=_scaled),
    Check(
        name="constant",
        how="loss and norm of the gradient for equal rows, where the formula is 0 / 0",
        run=_constant,
    ),
    Check(name="zero row", how="relative errors of the CKA and the gradient, one row zero", run=_zero_row),
    Check(
        name="3 samples",
        how="relative error of the CKA; for an unbiased one, which needs 4, what comes instead",
        run=_three_samples,
    ),
    Check(
        name="lost", how="pairs of unrelated batches, b = 64, with a gradient of exactly 0", run=_unrelated
    ),
    Check(
        name="bfloat16", how="relative error of the CKA for such activations; numpy knows none", run=_bfloat16
    ),
    Check(name="float16", how="the same", run=_float16),
    Check(name="autocast", how="the same for float32 activations under bfloat16 autocast", run=_autocast),
    Check(name="NaN", how="one NaN among the activations", run=_not_a_number),
)
