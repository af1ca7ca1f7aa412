"""Time and peak memory of one CKA loss with its gradient, against the literal formula.

    python benchmarks/similarity.py --device cpu

Forward and backward of `theseus_fx.similarity.cka_loss` (the guide's Gram included) and of the formula as it
is written in the paper (eq. 3 to 7), alternating in one process; the median of the paired ratios counts.
Writes `benchmarks/results/similarity.json`.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from theseus_fx.similarity import cka_loss

ROOT = Path(__file__).resolve().parent


def literal(a: Tensor, b: Tensor) -> Tensor:
    """1 - CKA as written: normalised rows, two Grams, two centrings, three HSICs."""
    a, b = torch.nn.functional.normalize(a), torch.nn.functional.normalize(b)
    h = torch.eye(len(a), device=a.device, dtype=a.dtype) - 1 / len(a)
    k, m = h @ (a @ a.T) @ h, h @ (b @ b.T) @ h
    return 1 - (k * m).sum() / ((k * k).sum() * (m * m).sum()).sqrt()


def seconds(loss: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> float:
    """Wall-clock seconds of forward and backward."""
    a.grad = None
    _wait(a)
    start = time.perf_counter()
    loss(a, b).backward()
    _wait(a)
    return time.perf_counter() - start


def _wait(a: Tensor) -> None:
    if a.is_cuda:
        torch.cuda.synchronize()


def main() -> None:
    """Measures every width and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--widths", type=int, nargs="+", default=[4096, 65536, 200704])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "similarity.json")
    arguments = parser.parse_args()

    rows: list[dict[str, float]] = []
    print("| d | ours ms | literal ms | literal / ours |\n|---|---|---|---|")
    for width in arguments.widths:
        generator = torch.Generator(arguments.device).manual_seed(0)
        a, b = (
            torch.randn(arguments.batch, width, generator=generator, device=arguments.device) for _ in "ab"
        )
        a.requires_grad_()
        seconds(cka_loss, a, b), seconds(literal, a, b)  # warm up
        pairs = [(seconds(cka_loss, a, b), seconds(literal, a, b)) for _ in range(arguments.pairs)]
        row = {
            "d": width,
            "b": arguments.batch,
            "ours_seconds": statistics.median(x for x, _ in pairs),
            "literal_seconds": statistics.median(y for _, y in pairs),
            "ratio": statistics.median(y / x for x, y in pairs),
        }
        rows.append(row)
        print(
            f"| {width} | {1e3 * row['ours_seconds']:.1f} | {1e3 * row['literal_seconds']:.1f} "
            f"| {row['ratio']:.2f} |"
        )
    result = {
        "command": f"python benchmarks/similarity.py --device {arguments.device}",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "rows": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
