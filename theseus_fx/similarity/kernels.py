"""Triton kernels for CUDA. `TRITON_INTERPRET=1` runs them on a CPU, for tests.

Which of them serve is decided by `benchmarks/similarity_kernels.py`, which times them beside torch's own
products.
"""
# pyright: basic, reportArgumentType=false
# Triton compiles these functions itself; their pointers and block values have no types of Python's.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


def zero_unless(flag: Tensor, x: Tensor) -> None:
    """Writes zeros to all of the contiguous x where the flag, (), bool, is false; else reads the flag
    alone."""
    block = 8192
    _zero_unless[(triton.cdiv(x.numel(), block),)](flag, x, x.numel(), block)


@triton.jit
def _zero_unless(flag, x, n, block: tl.constexpr):
    if tl.load(flag) == 0:
        at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
        tl.store(x + at, tl.zeros((block,), dtype=x.dtype.element_ty), mask=at < n)


def split_k_gram(a: Tensor, *, splits: int = 66, tile: int = 128, depth: int = 64) -> Tensor:
    """A Aᵀ: `splits` stretches of columns times the tiles on and below the diagonal, each a program of its
    own.

    Products of float32 are made of three of TF32 each, which keeps float32's precision on tensor cores; those
    of half precision are exact. Sums are float32 within a stretch and float64 across stretches.

    Args:
        a: (b, d), float32, bfloat16 or float16, columns adjacent in memory.
        splits: into how many stretches the columns are cut.
        tile: rows and columns of the Gram that a program makes, a power of two.
        depth: columns of `a` that a program multiplies at a time, a power of two.

    Returns:
        (b, b), float64, exactly symmetric.
    """
    b, d = a.shape
    tiles = triton.cdiv(b, tile)
    stretch = triton.cdiv(triton.cdiv(d, splits), depth) * depth
    splits = triton.cdiv(d, stretch)
    partial = a.new_zeros((splits, b, b), dtype=torch.float32)
    grid = (tiles * (tiles + 1) // 2, splits)
    _split_k_gram[grid](a, partial, b, d, a.stride(0), stretch, tile, depth)
    total = partial.sum(0, dtype=torch.float64)
    return total.tril() + total.tril(-1).mT


@triton.jit
def _split_k_gram(a, partial, b, d, row, stretch, tile: tl.constexpr, depth: tl.constexpr):
    pair, split = tl.program_id(0), tl.program_id(1)
    down = 0  # the tile's row in the triangle: the largest with down (down + 1) / 2 <= pair
    while (down + 1) * (down + 2) // 2 <= pair:
        down += 1
    across = pair - down * (down + 1) // 2
    i = down * tile + tl.arange(0, tile)
    j = across * tile + tl.arange(0, tile)
    total = tl.zeros((tile, tile), dtype=tl.float32)
    start = split * stretch
    for step in range(0, stretch, depth):
        k = start + step + tl.arange(0, depth)
        within = k < d
        left = tl.load(
            a + i[:, None].to(tl.int64) * row + k[None, :], mask=(i < b)[:, None] & within[None, :], other=0.0
        )
        right = tl.load(
            a + j[None, :].to(tl.int64) * row + k[:, None], mask=(j < b)[None, :] & within[:, None], other=0.0
        )
        total = tl.dot(left, right, total, input_precision="tf32x3")
    place = partial + split.to(tl.int64) * b * b + i[:, None] * b + j[None, :]
    tl.store(place, total, mask=(i < b)[:, None] & (j < b)[None, :])


def weighted_rows(w: Tensor, a: Tensor, *, tile: int = 128, width: int = 128, depth: int = 64) -> Tensor:
    """W A in one pass over A; W in half precision is split into two terms, so that its rounding does not
    show.

    Args:
        w: (b, b), float64; a W that is not finite gives zeros.
        a: (b, d), float32 or bfloat16, columns adjacent in memory.
        tile: rows of the product that a program makes, a power of two.
        width: its columns, likewise.
        depth: rows of `a` that it multiplies at a time, likewise.

    Returns:
        (b, d), the dtype of `a`.
    """
    b, d = a.shape
    high = w.to(a.dtype)
    low = (w - high).to(a.dtype)
    out = a.new_empty((b, d))
    grid = (triton.cdiv(b, tile), triton.cdiv(d, width))
    finite = w.isfinite().all()
    halves = a.dtype != torch.float32
    _weighted_rows[grid](high, low, a, out, finite, b, d, a.stride(0), halves, tile, width, depth)
    return out


@triton.jit
def _weighted_rows(
    high, low, a, out, finite, b, d, row, halves: tl.constexpr, tile: tl.constexpr, width: tl.constexpr,
    depth: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0) * tile + tl.arange(0, tile)
    j = tl.program_id(1) * width + tl.arange(0, width)
    inside = (i < b)[:, None] & (j < d)[None, :]
    place = out + i[:, None].to(tl.int64) * d + j[None, :]
    if tl.load(finite) == 0:
        tl.store(place, tl.zeros((tile, width), dtype=out.dtype.element_ty), mask=inside)
    else:
        total = tl.zeros((tile, width), dtype=tl.float32)
        for start in range(0, b, depth):
            k = start + tl.arange(0, depth)
            weights = (i < b)[:, None] & (k < b)[None, :]
            at = i[:, None] * b + k[None, :]
            some = tl.load(
                a + k[:, None].to(tl.int64) * row + j[None, :],
                mask=(k < b)[:, None] & (j < d)[None, :],
                other=0.0,
            )
            total = tl.dot(tl.load(high + at, mask=weights, other=0.0), some, total, input_precision="tf32x3")
            if halves:
                total = tl.dot(tl.load(low + at, mask=weights, other=0.0), some, total)
        tl.store(place, total.to(out.dtype.element_ty), mask=inside)
