"""Which product serves a similarity best on a GPU: torch's, strided and batched, or a Triton kernel.

    python benchmarks/similarity_kernels.py

Times the two products that a loss takes, the Gram A Aᵀ and W A, in every way that `theseus_fx.similarity` has
or could have, round after round in one process, and checks each against float64 on a narrow slice. The floor
is what the bytes and the multiplications of that product take at the bandwidth of a copy and the rate of a
large square product, both measured here. What wins belongs in `theseus_fx/similarity/gram.py`.

On a machine without a GPU, `TRITON_INTERPRET=1 python benchmarks/similarity_kernels.py --device cpu --widths
256 --batch 16` shows that it runs; its times mean
nothing, and the interpreter does not multiply bfloat16.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from triton.errors import TritonError

from theseus_fx.similarity import gram as products
from theseus_fx.similarity.gram import gram, times_rows
from theseus_fx.similarity.kernels import split_k_gram, weighted_rows

ROOT = Path(__file__).resolve().parent
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
CHECKED = 512
"""Columns of which a product is compared with float64."""

Way = Callable[[], Tensor]


def grams(a: Tensor) -> Mapping[str, Way]:
    """The ways to make A Aᵀ."""
    ways: dict[str, Way] = {}
    for chunk, slabs in ((2048, 256), (4096, 128), (8192, 64), (16384, 64)):
        ways[f"bmm, {chunk} columns"] = partial(_with_chunks, a, chunk, slabs)
    narrow = a.shape[0] < 64
    for splits in (33, 66, 132):
        for tile, depth in ((16, 16),) if narrow else ((64, 64), (128, 32), (128, 64)):
            name = f"triton, {splits} stretches, {tile} x {tile} x {depth}"
            ways[name] = partial(split_k_gram, a, splits=splits, tile=tile, depth=depth)
    ways["one product, fp32 sums over all columns"] = lambda: (a @ a.mT).double()
    return ways


def _with_chunks(a: Tensor, chunk: int, slabs: int) -> Tensor:
    before = products.CHUNK, products.SLABS
    products.CHUNK, products.SLABS = chunk, slabs
    try:
        return gram(a)
    finally:
        products.CHUNK, products.SLABS = before


def weighted(w: Tensor, a: Tensor) -> Mapping[str, Way]:
    """The ways to make W A."""
    ways: dict[str, Way] = {"as it is": partial(times_rows, w, a)}
    small = a.shape[0] < 64
    shapes = ((16, 32, 16),) if small else ((64, 128, 64), (128, 64, 64), (128, 128, 32), (128, 128, 64))
    for tile, width, depth in shapes:
        name = f"triton, {tile} x {width} x {depth}"
        ways[name] = partial(weighted_rows, w, a, tile=tile, width=width, depth=depth)
    ways["one product, W rounded"] = lambda: w.to(a.dtype) @ a
    return ways


def seconds(way: Way, wait: Callable[[], None]) -> float:
    """Wall-clock seconds of one call."""
    wait()
    start = time.perf_counter()
    way()
    wait()
    return time.perf_counter() - start


def measure(
    ways: Mapping[str, Way], rounds: int, wait: Callable[[], None]
) -> tuple[dict[str, float], dict[str, str]]:
    """Median seconds of each way, all in turn in every round; and why one did not run."""
    failed: dict[str, str] = {}
    for name, way in ways.items():  # compiles
        try:
            seconds(way, wait), seconds(way, wait)
        except (RuntimeError, TritonError) as error:  # a shape that does not fit this GPU is a result
            failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
    running = {name: way for name, way in ways.items() if name not in failed}
    times: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(rounds):
        for name, way in running.items():
            times[name].append(seconds(way, wait))
    return {name: statistics.median(values) for name, values in times.items()}, failed


def rates(device: str, dtype: torch.dtype, wait: Callable[[], None], size: int) -> tuple[float, float]:
    """Bytes a second of a copy (read and write counted) and operations a second of a square product."""
    x = torch.empty(size * size * 16, dtype=dtype, device=device)
    y = torch.empty_like(x)
    copy = min(seconds(lambda: y.copy_(x), wait) for _ in range(10))
    m = torch.randn(size, size, device=device).to(dtype)
    product = min(seconds(lambda: m @ m, wait) for _ in range(10))
    return 2 * x.numel() * x.element_size() / copy, 2 * size**3 / product


def main() -> None:
    """Measures every width and dtype and prints a table of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--widths", type=int, nargs="+", default=[65536, 802816])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "similarity_kernels.json")
    arguments = parser.parse_args()
    device: str = arguments.device
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)

    found: list[dict[str, Any]] = []
    for name, dtype in DTYPES.items():
        bandwidth, rate = rates(device, dtype, wait, 8192 if device == "cuda" else 256)
        for width in arguments.widths:
            generator = torch.Generator(device).manual_seed(0)
            a = torch.randn(arguments.batch, width, generator=generator, device=device).to(dtype)
            w = torch.randn(arguments.batch, arguments.batch, generator=generator, device=device).double()
            size = a.numel() * a.element_size()
            work = 2 * arguments.batch**2 * width / rate
            few = a[:, :CHECKED].contiguous()
            for product, ways, narrow, exact, moved in (
                ("A A'", grams(a), grams(few), few.double() @ few.double().mT, size),
                ("W A", weighted(w, a), weighted(w, few), w @ few.double(), 2 * size),
            ):
                floor = max(moved / bandwidth, work)
                medians, failed = measure(ways, arguments.rounds, wait)
                print(
                    f"\n{product}, {name}, b = {arguments.batch}, d = {width}, floor {1e3 * floor:.3f} ms\n"
                )
                print("| way | ms | floor / time | relative error |\n|---|---|---|---|")
                for way, median in sorted(medians.items(), key=lambda item: item[1]):
                    error = float((narrow[way]().double() - exact).norm() / exact.norm())
                    found.append(
                        {
                            "product": product,
                            "dtype": name,
                            "b": arguments.batch,
                            "d": width,
                            "way": way,
                            "seconds": median,
                            "floor_seconds": floor,
                            "relative_error": error,
                        }
                    )
                    print(f"| {way} | {1e3 * median:.3f} | {floor / median:.2f} | {error:.1e} |")
                for way, why in failed.items():
                    found.append({"product": product, "dtype": name, "d": width, "way": way, "failed": why})
                    print(f"| {way} | {why} | | |")
    machine = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    result = {
        "command": "python benchmarks/similarity_kernels.py",
        "machine": f"{machine}, torch {torch.__version__}",
        "rows": found,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
