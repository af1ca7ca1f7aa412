"""Confirmed values and gradients of every similarity, and D-MNN near convergence against 50 digits."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from similarity_cases import LossOf, value_and_gradient
from torch import Tensor

from theseus_fx.similarity import cka, cka_loss, dmnn_loss, minibatch_ucka, mutual_knn, ucka, ucka_loss
from theseus_fx.similarity.hsic import Cka
from theseus_fx.similarity.reference import cka_reference, ucka_reference

CASES = ("g8", "relu32", "near_one", "zero_row")


@pytest.fixture(scope="module")
def values(golden: Path) -> dict[str, np.ndarray]:
    with np.load(golden / "similarity.npz") as stored:
        return {name: stored[name] for name in stored.files if name != "meta"}


def sides(values: dict[str, np.ndarray], case: str) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(values[f"{case}/A"]), torch.from_numpy(values[f"{case}/B"])


def check(values: dict[str, np.ndarray], name: str, gradient: str, loss: LossOf, *, noise: float = 0) -> None:
    """`noise` is the absolute error that the stored value itself may have."""
    a, b = sides(values, name.split("/")[0])
    value, got = value_and_gradient(loss, a, b)
    assert value == pytest.approx(float(values[name]), rel=1e-10, abs=noise)
    if gradient in values:
        expected = torch.from_numpy(values[gradient])
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max()))


@pytest.mark.parametrize("case", CASES)
def test_cka(values: dict[str, np.ndarray], case: str) -> None:
    a, b = sides(values, case)
    check(values, f"{case}/one_minus_cka", f"{case}/grad_one_minus_cka", cka_loss)
    assert float(cka(a, b)) == pytest.approx(float(values[f"{case}/cka"]), rel=1e-10)
    assert float(cka_reference(a, b)) == pytest.approx(float(values[f"{case}/cka"]), rel=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_unbiased_cka(values: dict[str, np.ndarray], case: str) -> None:
    a, b = sides(values, case)
    check(values, f"{case}/one_minus_ucka", f"{case}/grad_one_minus_ucka", ucka_loss)
    assert float(ucka(a, b)) == pytest.approx(float(values[f"{case}/ucka"]), rel=1e-10)
    assert float(ucka_reference(a, b)) == pytest.approx(float(values[f"{case}/ucka"]), rel=1e-10)


def test_unbiased_hsic(values: dict[str, np.ndarray]) -> None:
    a, b = (x / x.norm(dim=1, keepdim=True) for x in sides(values, "g8"))
    product, _, _ = Cka(unbiased=True).products(a @ a.mT, b @ b.mT, torch.zeros(2, 1, 1))
    assert float(product) / (8 * 5) == pytest.approx(float(values["g8/hsic_u"]), rel=1e-10)


def test_unbiased_cka_of_batches(values: dict[str, np.ndarray]) -> None:
    a, b = sides(values, "relu32")
    got = minibatch_ucka(zip(a.split(8), b.split(8), strict=True))
    assert float(got) == pytest.approx(float(values["relu32/minibatch8_ucka"]), rel=1e-10)


@pytest.mark.parametrize("case", ["g8", "relu32", "near_one"])
@pytest.mark.parametrize("k", [1, 3, 5, 7])
def test_mutual_neighbours(values: dict[str, np.ndarray], case: str, k: int) -> None:
    got = float(mutual_knn(*sides(values, case), k))
    assert got == pytest.approx(float(values[f"{case}/mutual_knn_k{k}"]), rel=1e-10)


@pytest.mark.parametrize("case", ["g8", "relu32", "near_one"])
@pytest.mark.parametrize("support", ["union", "guide", "full", "soft"])
@pytest.mark.parametrize("kind", ["dot", "dist"])
def test_mutual_neighbours_made_smooth(
    values: dict[str, np.ndarray], case: str, support: str, kind: str
) -> None:
    """The stored values near convergence are differences of logarithms: right to 1e-16 and no better."""
    word = {"soft": "softk"}.get(support, support)
    for tau in ("0.05", "0.2", "1.0"):
        for k in (1, 3, 5):
            name = f"{case}/dmnn_{word}_{kind}_tau{tau}_k{k}"
            loss = partial(dmnn_loss, k=k, tau=float(tau), kind=kind, support=support)
            check(values, name, f"{name}_grad", loss, noise=1e-16 if case == "near_one" else 0)


@pytest.mark.parametrize(("k", "tau", "kind"), [(3, 0.2, "dot"), (5, 1.0, "dot"), (3, 1.0, "dist")])
def test_near_convergence_against_fifty_digits(k: int, tau: float, kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    b = torch.randn(12, 9, dtype=torch.float64, generator=generator)
    a = b + 1e-5 * torch.randn(12, 9, dtype=torch.float64, generator=generator)
    with mpmath.workdps(50):
        exact = _divergence(_gram(a), _gram(b), k, tau, kind)
        relative = abs(float((float(dmnn_loss(a, b, k, tau, kind)) - exact) / exact))  # type: ignore[arg-type]
    assert float(exact) < 1e-8
    assert relative < 1e-10


def _gram(x: Tensor) -> list[list[mpmath.mpf]]:
    rows = [[mpmath.mpf(value) for value in row] for row in x.tolist()]
    units = [[value / mpmath.sqrt(sum(v * v for v in row)) for value in row] for row in rows]
    return [[sum(p * q for p, q in zip(u, v, strict=True)) for v in units] for u in units]


def _divergence(
    target: list[list[mpmath.mpf]], guide: list[list[mpmath.mpf]], k: int, tau: float, kind: str
) -> mpmath.mpf:
    """Eq. 16 as written, Q over both sets of neighbours."""
    n, total = len(target), mpmath.mpf(0)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        theirs, mine = (
            {j: (row[j] if kind == "dot" else -(2 - 2 * row[j])) / mpmath.mpf(tau) for j in others}
            for row in (guide[i], target[i])
        )
        near = sorted(others, key=lambda j, s=theirs: -s[j])[:k]
        both = set(near) | set(sorted(others, key=lambda j, s=mine: -s[j])[:k])
        p_sum, q_sum = sum(mpmath.exp(theirs[j]) for j in near), sum(mpmath.exp(mine[j]) for j in both)
        for j in near:
            log_p, log_q = theirs[j] - mpmath.log(p_sum), mine[j] - mpmath.log(q_sum)
            total += mpmath.exp(log_p) * (log_p - log_q)
    return total / n
