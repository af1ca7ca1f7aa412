"""The Triton kernels by the interpreter on a CPU, in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

CHECK = """
import sys
import torch
from theseus_fx.similarity.kernels import split_k_gram, weighted_rows, zero_unless

device = sys.argv[1]
generator = torch.Generator().manual_seed(0)
half = torch.float16 if device == "cpu" else torch.bfloat16  # the interpreter multiplies no bfloat16
for b, d, dtype in ((40, 300, torch.float32), (16, 64, half), (33, 129, half)):
    wide = torch.randn(b, d + 7, generator=generator).to(device, dtype)
    for a in (wide[:, :d].contiguous(), wide[:, :d]):
        exact = a.double() @ a.double().mT
        got = split_k_gram(a, splits=3, tile=16, depth=16)
        assert torch.equal(got, got.mT)
        torch.testing.assert_close(got, exact, rtol=1e-5, atol=1e-4)
        w = torch.randn(b, b, dtype=torch.float64, generator=generator).to(device)
        product = weighted_rows(w, a, tile=16, width=32, depth=16)
        assert product.dtype == dtype
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(product.double(), w @ a.double(), rtol=2 * eps, atol=32 * eps)
        w[1, 2] = torch.nan
        assert not weighted_rows(w, a, tile=16, width=32, depth=16).any()

x = torch.ones(3, 7000, device=device)
zero_unless(torch.tensor(True, device=device), x)
assert bool((x == 1).all())
zero_unless(torch.tensor(False, device=device), x)
assert not x.any()
print("checked")
"""


def run(device: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHECK, device],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "checked"


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
def test_by_the_interpreter() -> None:
    run("cpu", TRITON_INTERPRET="1")
