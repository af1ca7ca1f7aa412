"""The stages of a plan whose target is a network of its own, made from its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from theseus_fx.cli.views.numbers import amount, count, rate, shape


def pair_stages(plan: Mapping[str, Any]) -> Table:
    """A row for each pair: the guide's window, the target's block, their taps, and what is trained."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("stage", justify="right")
    table.add_column("pair", no_wrap=True)
    table.add_column("guide")
    table.add_column("tap")
    table.add_column("target")
    table.add_column("tap")
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("guide run", justify="right")
    table.add_column("target run", justify="right")
    table.add_column("for", no_wrap=True)
    table.add_column("lr", no_wrap=True)
    pairs = {pair["name"]: pair for pair in plan["pairs"]}
    if trained := plan["guide"]["trained_by"]:
        blanks = [""] * 6
        table.add_row("0", "guide", "trained first", *blanks, amount(trained["for"]), rate(trained["lr"]))
    for stage in plan["stages"]:
        for name in stage["introduces"]:
            guide, target = pairs[name]["guide"], pairs[name]["target"]
            table.add_row(
                str(stage["number"]),
                name,
                window(guide["blocks"]),
                shape(guide["shape"]),
                window(target["blocks"]),
                shape(target["shape"]),
                f"{count(guide['parameters'])} -> {count(target['parameters'])}",
                f"{100 * stage['guide_share']:.1f} %",
                f"{100 * stage['target_share']:.1f} %",
                amount(stage["for"]),
                rate(stage["lr"]),
            )
    return table


def window(blocks: Sequence[str]) -> str:
    """`layer3.0 .. layer3.2`; one block stands alone."""
    return blocks[0] if len(blocks) == 1 else f"{blocks[0]} .. {blocks[-1]}"
