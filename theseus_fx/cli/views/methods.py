"""What baselines are called, in a plan and in the closing table of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from theseus_fx.cli.views.numbers import amount

_NAMES = {
    "naive_equal_finetune": "naive, same fine-tuning",
    "naive_equal_total": "naive, same total steps",
    "naive_distilled": "naive, same total steps, distilled",
    "random_start": "same schedule, random start (paper)",
    "distillation": "progressive distillation, random start",
    "scratch": "from scratch, labels alone",
}


def called(name: str) -> str:
    """`naive, same total steps` for `naive_equal_total`."""
    return _NAMES.get(name, name)


def budgeted(baseline: Mapping[str, Any]) -> str:
    """`naive, same total steps: 270 steps + 100 epochs, 4 candidates`."""
    spends = " + ".join(amount(value) for value in baseline["for"])
    count = baseline["candidates"]
    return f"{called(baseline['name'])}: {spends}, {'1 candidate' if count == 1 else f'{count} candidates'}"
