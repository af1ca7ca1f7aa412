"""Row Grams of activations: the one pass over the features that every similarity needs."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 8192
"""Columns summed in float32 before the sum goes on in float64: long enough for a fast product, short enough
that rounding stays near one unit of float32."""
SLABS = 64
"""Chunks in one batched product on CUDA, where a single b x b product leaves most of the device idle."""


def rows(x: Tensor) -> Tensor:
    """Every sample as one row, in memory order, so that channels_last activations are not copied.

    Grams do not depend on the order of columns.

    Args:
        x: (b, ...), floating point.

    Returns:
        (b, d), a view where the memory allows it.

    Raises:
        ValueError: x has no dimensions, fewer than two rows, or is not floating point.
    """
    if not x.is_floating_point():
        raise ValueError(f"a similarity compares floating point activations, not {x.dtype}")
    if x.dim() == 0:
        raise ValueError("a similarity compares batches; this value has no batch dimension")
    if x.shape[0] < 2:
        raise ValueError(f"a similarity needs at least two samples, not {x.shape[0]}")
    features = sorted(range(1, x.dim()), key=lambda d: x.stride(d), reverse=True)
    return x.permute(0, *features).flatten(1) if features else x.unsqueeze(1)


def gram(a: Tensor) -> Tensor:
    """A Aᵀ in float64, accumulated as the module's constants say.

    float64 input is multiplied in float64; any other in float32 chunks that are summed in float64. On CUDA,
    float32 products follow `torch.set_float32_matmul_precision`: anything but `highest` rounds float32
    input to 10 bits (bfloat16 and float16 input loses nothing).

    Args:
        a: (b, d), floating point.

    Returns:
        (b, b), float64.
    """
    if a.dtype == torch.float64:
        return a @ a.mT
    b, d = a.shape
    total = a.new_zeros((b, b), dtype=torch.float64)
    whole = d // CHUNK * CHUNK if a.is_cuda else 0
    for start in range(0, whole, CHUNK * SLABS):
        some = a[:, start : min(start + CHUNK * SLABS, whole)].float()
        slabs = some.unflatten(1, (-1, CHUNK)).transpose(0, 1)  # (slabs, b, CHUNK)
        total += torch.bmm(slabs, slabs.mT).sum(0, dtype=torch.float64)
    for start in range(whole, d, CHUNK):
        chunk = a[:, start : start + CHUNK].float()
        total += chunk @ chunk.mT
    return total


def times_rows(m: Tensor, a: Tensor) -> Tensor:
    """M A in the dtype of A, multiplied at no less than float32.

    Half precision input goes in chunks: a float32 copy of all of it is never made.

    Args:
        m: (b, b), float64.
        a: (b, d), floating point.

    Returns:
        (b, d), the dtype of `a`.
    """
    if a.dtype in (torch.float32, torch.float64):
        return m.to(a.dtype) @ a
    m = m.float()
    out = torch.empty_like(a)
    for start in range(0, a.shape[1], CHUNK * SLABS):
        part = slice(start, start + CHUNK * SLABS)
        out[:, part] = m @ a[:, part].float()
    return out
