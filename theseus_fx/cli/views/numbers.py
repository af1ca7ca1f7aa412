"""Numbers, shapes and settings as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SCALES = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
_UNITS = {"epochs": "epoch", "steps": "step", "batches": "batch"}


def count(value: float, *, billion: str = "B") -> str:
    """`11.7 M`; `billion` is what stands for 10⁹: parameters are billions, FLOPs giga."""
    for scale, letter in _SCALES:
        if value >= scale:
            return f"{value / scale:.3g} {billion if letter == 'G' else letter}"
    return f"{value:.3g}" if value % 1 else str(int(value))


def flops(value: float) -> str:
    """`3.63 G`."""
    return count(value, billion="G")


def size(value: float) -> str:
    """`3.1 MiB`, of bytes."""
    for power, unit in ((3, "GiB"), (2, "MiB")):
        if value >= 1024**power:
            return f"{value / 1024**power:.1f} {unit}"
    return f"{value / 1024:.1f} KiB"


def shape(sizes: Sequence[int | str]) -> str:
    """`b x 64 x 56 x 56`."""
    return " x ".join(str(size).replace("batch", "b") for size in sizes)


def amount(value: Mapping[str, Any]) -> str:
    """`5 epochs`."""
    unit = _UNITS[value["unit"]] if value["count"] == 1 else value["unit"]
    return f"{value['count']} {unit}"


def rate(value: Mapping[str, Any]) -> str:
    """`2e-05`, `cosine(5e-04, warmup 10 epochs)`, `none | 3e-04`."""
    peaks = " | ".join("none" if c is None else f"{c:.3g}" for c in value["candidates"])
    if value["shape"] == "constant" and value["warmup"] is None:
        return peaks
    if value["plateau"] is not None:
        plateau = value["plateau"]
        return f"plateau({peaks}, x {plateau['factor']:g} after {amount(plateau['patience'])})"
    warmup = "" if value["warmup"] is None else f", warmup {amount(value['warmup'])}"
    return f"{value['shape']}({peaks}{warmup})"


def seconds(value: float) -> str:
    """`3.2 s`, `4 min 10 s`, `2 h 5 min`."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
