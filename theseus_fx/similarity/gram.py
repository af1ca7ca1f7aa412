"""The one pass over activations that every similarity needs, A Aᵀ, and the one product of its gradient, W
A."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from theseus_fx.similarity.zero import zero_unless

CHUNK = 8192
"""Columns summed in float32 before the sum goes on in float64: long enough for a fast product, short enough
that rounding stays near one unit of float32."""
SLABS = 64
"""Chunks in one batched product on CUDA, where a single b x b product leaves most of the device idle."""
BLOCK, BLOCKS = 64, 4
"""On a CPU a Gram is computed in up to `BLOCKS` blocks of rows of at least `BLOCK`, each only up to the
diagonal: three eighths of the multiplications fall away at no cost in speed of the rest."""


def gram(a: Tensor) -> Tensor:
    """A Aᵀ in float64, exactly symmetric, accumulated as the module's constants say.

    float64 is multiplied in float64. float32 is multiplied in float32 and summed in float64 every `CHUNK`
    columns; on CUDA its products follow `torch.set_float32_matmul_precision`, of which anything but `highest`
    rounds to 10 bits. bfloat16 and float16 are multiplied exactly and summed as float32 is. Autocast does not
    reach inside. Without a gradient of its own.

    Args:
        a: (b, d), floating point.

    Returns:
        (b, b), float64.
    """
    if torch.compiler.is_compiling():
        return _gram_operator(a)
    return _gram(a)


def times_rows(w: Tensor, a: Tensor) -> Tensor:
    """W A in the dtype of A, multiplied and summed at no less than float32; all zero where W has a NaN.

    Args:
        w: (b, b), float64.
        a: (b, d), floating point.

    Returns:
        (b, d), the dtype of `a`.
    """
    if torch.compiler.is_compiling():
        return _times_rows_operator(w, a)
    return _times_rows(w, a)


def _gram(a: Tensor) -> Tensor:
    with torch.autocast(a.device.type, enabled=False), torch.no_grad():
        if a.dtype == torch.float64:
            total = a @ a.mT
        elif a.is_cuda:
            total = _gram_on_cuda(a)
        else:
            total = _gram_on_cpu(a)
        return total.tril() + total.tril(-1).mT


def _gram_on_cpu(a: Tensor) -> Tensor:
    """The lower triangle, block by block; what stands above it is not defined."""
    b, d = a.shape
    total = a.new_zeros((b, b), dtype=torch.float64)
    edges = _edges(b)
    for start in range(0, d, CHUNK):
        chunk = a[:, start : start + CHUNK].float()
        for top, bottom in pairwise(edges):
            total[top:bottom, :bottom] += chunk[top:bottom] @ chunk[:bottom].mT
    return total


def _edges(b: int) -> list[int]:
    blocks = max(1, min(BLOCKS, b // BLOCK))
    return [b * i // blocks for i in range(blocks + 1)]


def _gram_on_cuda(a: Tensor) -> Tensor:
    b, d = a.shape
    total = a.new_zeros((b, b), dtype=torch.float64)
    whole = d // CHUNK * CHUNK
    for start in range(0, whole, CHUNK * SLABS):
        some = a[:, start : min(start + CHUNK * SLABS, whole)]
        slabs = some.unflatten(1, (-1, CHUNK)).transpose(0, 1)  # (slabs, b, CHUNK), strided, no copy
        total += _exact_bmm(slabs, slabs.mT).sum(0, dtype=torch.float64)
    if whole < d:
        rest = a[None, :, whole:]
        total += _exact_bmm(rest, rest.mT)[0]
    return total


def _exact_bmm(x: Tensor, y: Tensor) -> Tensor:
    """Batched products in float32, of half precision factors without rounding the result to their dtype."""
    return torch.bmm(x, y) if x.dtype == torch.float32 else torch.bmm(x, y, out_dtype=torch.float32)


def _times_rows(w: Tensor, a: Tensor) -> Tensor:
    with torch.autocast(a.device.type, enabled=False), torch.no_grad():
        finite = w.isfinite().all()
        if a.is_cuda:
            out = _product(w, a)
            zero_unless(finite, out)
            return out
        return _product(w, a) if bool(finite) else a.new_zeros(a.shape)


def _product(w: Tensor, a: Tensor) -> Tensor:
    if a.dtype in (torch.float32, torch.float64):
        return w.to(a.dtype) @ a
    if a.is_cuda and a.dtype == torch.bfloat16:
        return _product_of_halves(w, a)
    out = a.new_empty(a.shape)
    width = CHUNK * (SLABS if a.is_cuda else 1)
    for start in range(0, a.shape[1], width):  # a float32 copy of all of `a` is never made
        out[:, start : start + width] = w.float() @ a[:, start : start + width].float()
    return out


def _product_of_halves(w: Tensor, a: Tensor) -> Tensor:
    """(high + low) A with W = high + low: W rounded to bfloat16 alone would cost some percent of the gradient
    where activations have a large mean, because rows of W nearly cancel it."""
    high = w.to(a.dtype)
    low = (w - high).to(a.dtype)
    return torch.addmm(low @ a, high, a)


@torch.library.custom_op("theseus_fx::gram", mutates_args=())
def _gram_operator(a: Tensor) -> Tensor:
    """`gram` as one opaque node of a compiled graph."""
    return _gram(a)


@_gram_operator.register_fake
def _(a: Tensor) -> Tensor:
    return a.new_empty((a.shape[0], a.shape[0]), dtype=torch.float64)


@torch.library.custom_op("theseus_fx::times_rows", mutates_args=())
def _times_rows_operator(w: Tensor, a: Tensor) -> Tensor:
    """`times_rows` as one opaque node of a compiled graph."""
    return _times_rows(w, a)


@_times_rows_operator.register_fake
def _(w: Tensor, a: Tensor) -> Tensor:
    del w
    return a.new_empty(a.shape)
