"""What the rules of a spec find, for a person, made from its JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from theseus_fx.cli.views.numbers import count, flops, shape

_SHOWN_PATHS = 4


def rules_view(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Headline, each rule with its sites and near misses, and what no rule covers."""
    guide = report["guide"]
    inputs = ", ".join(f"{i['name']} {shape(i['shape'])} {i['dtype']}" for i in guide["inputs"])
    yield Text(f"{guide['model']} · {report['spec']['path']} · input {inputs}", style="bold")
    for rule in report["rules"]:
        yield _title(rule)
        if rule["sites"]:
            yield _sites(rule)
        yield from _nearest(rule)
    yield from _uncovered(report["uncovered"])


def _title(rule: Mapping[str, Any]) -> Text:
    wrong = rule["found"] == 0 or rule["expect"] not in (None, rule["found"])
    found = "1 site" if rule["found"] == 1 else f"{rule['found']} sites"
    expected = "" if rule["expect"] is None else f", expects {rule['expect']}"
    text = Text(f"\nrule {rule['name']}", style="bold").append(f": {rule['pattern']}: ", style="not bold")
    return text.append(f"{found}{expected}", style="red" if wrong else "green")


def _sites(rule: Mapping[str, Any]) -> Table:
    table = _table("site", "path", "class", "in -> out", "parameters", "FLOPs")
    for site in rule["sites"]:
        table.add_row(
            site["name"],
            site["path"],
            site["class"],
            f"{shape(site['input_shape'])} -> {shape(site['output_shape'])}",
            count(site["parameters"]),
            flops(site["flops"]),
        )
    return table


def _nearest(rule: Mapping[str, Any]) -> Iterator[Text]:
    for miss in rule["nearest"]:
        node = "" if miss["node"] is None else f", node {miss['node']}"
        first = f"{miss['path']}{node}"
        many = first if miss["count"] == 1 else f"{miss['count']} modules, first {first}"
        step = "attributes" if miss["step"] == "attributes" else f"`{miss['step']}`"
        yield Text(f"  nearly: {miss['class']} {miss['reason']} ({many}); stopped at {step}", style="yellow")


def _uncovered(uncovered: Mapping[str, Any]) -> Iterator[RenderableType]:
    if not uncovered["groups"]:
        yield Text("\nevery parameter and every FLOP of the guide is inside of a site", style="bold")
        return
    yield Text(
        f"\nno rule covers {count(uncovered['parameters'])} parameters "
        f"({_percent(uncovered['share']['parameters'])}) and {flops(uncovered['flops'])} FLOPs a sample "
        f"({_percent(uncovered['share']['flops'])})",
        style="bold",
    )
    table = _table("what", "many", "parameters", "FLOPs", "of all FLOPs", "where")
    for group in uncovered["groups"]:
        paths = [path or "the model itself" for path in group["paths"]]
        more = "" if len(paths) <= _SHOWN_PATHS else f" and {len(paths) - _SHOWN_PATHS} more"
        table.add_row(
            group["name"],
            str(group["count"]),
            count(group["parameters"]),
            flops(group["flops"]),
            _percent(group["share"]["flops"]),
            f"{', '.join(paths[:_SHOWN_PATHS])}{more}",
        )
    yield table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        right = column in ("many", "parameters", "FLOPs", "of all FLOPs")
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "where")
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
