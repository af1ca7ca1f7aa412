"""The closing table of a run, made from `summary.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from theseus_fx.cli.views.methods import called
from theseus_fx.cli.views.numbers import count, flops, seconds

SHARES = ("accuracy", "top5")
"""Metrics that are shares of the samples."""


def summary_view(summary: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Guide, converted model and baselines, one a row, what was chosen on validation, and other metrics."""
    metric = summary["metric"]
    arrow = "higher is better" if metric["direction"] == "higher" else "lower is better"
    table = Table(
        box=None,
        pad_edge=False,
        header_style="dim",
        padding=(0, 2, 0, 0),
        title=f"{summary['guide_model']}, {summary['spec']}, seed {summary['seed']}",
        title_justify="left",
    )
    table.add_column("")
    table.add_column(f"{metric['name']} ({metric['split']})", justify="right")
    for name in ("parameters", "FLOPs a sample", "steps", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("chosen on validation")
    table.add_row("guide", *_row(summary["guide"], metric), "")
    table.add_row(
        "converted", *_row(summary["converted"], metric), _chosen(summary["converted"]), style="bold"
    )
    for name, outcome in summary["baselines"].items():
        table.add_row(called(name), *_row(outcome, metric), _chosen(outcome))
    yield table
    if (others := _others(summary)) is not None:
        yield others
    if norm := summary["converted"]["batchnorm"]:
        yield Text(
            f"recalibrating BatchNorm took the converted model from {_value(norm['before'], metric)} to "
            f"{_value(norm['after'], metric)} on validation, before fine-tuning"
        )
    if kept := summary["converted"]["kept_guide"]:
        yield Text(f"the guide's still, for their stages did not pass: {', '.join(kept)}", style="yellow")
    yield Text(
        f"{metric['samples']:,} held-out samples, {arrow}; time is that of the chosen candidate", style="dim"
    )


def _row(outcome: Mapping[str, Any], metric: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    return (
        _value(outcome["value"], metric),
        count(outcome["parameters"]),
        flops(outcome["flops"]),
        f"{outcome['steps']:,}",
        seconds(outcome["seconds"]),
    )


def _others(summary: Mapping[str, Any]) -> Table | None:
    """The metrics that do not judge, in a table of their own: the first one has no room for them."""
    metric = summary["metric"]
    names = [name for name in summary["guide"]["details"] if name != metric["name"]]
    if not names:
        return None
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column(f"also on {metric['split']}", header_style="dim")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    rows = {"guide": summary["guide"], "converted": summary["converted"], **summary["baselines"]}
    for name, outcome in rows.items():
        values = (_shown(outcome["details"][other], other) for other in names)
        table.add_row(called(name), *values, style="bold" if name == "converted" else "")
    return table


def _value(value: float, metric: Mapping[str, Any]) -> str:
    return _shown(value, metric["name"])


def _shown(value: float, name: str) -> str:
    return f"{100 * value:.1f} %" if name in SHARES else f"{value:.3f}"


def _chosen(outcome: Mapping[str, Any]) -> str:
    rates = ", ".join(
        f"{name} {'no step' if rate is None else f'lr {rate:g}'}" for name, rate in outcome["chosen"].items()
    )
    return f"{rates} (of {len(outcome['trials'])})"
