"""What the rules or pairs of a spec find, for a person, made from its JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from theseus_fx.cli.views.numbers import count, flops, shape
from theseus_fx.cli.views.pairs import window

_SHOWN_PATHS = 4
_FOLDED = frozenset(("where", "operations", "guide", "target", "tap"))
"""Columns that go over several lines where a terminal is narrow."""


def rules_view(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Headline, each rule with its sites and near misses, each pair, and what nothing covers."""
    guide, target = report["guide"], report["target"]
    inputs = ", ".join(f"{i['name']} {shape(i['shape'])} {i['dtype']}" for i in guide["inputs"])
    models = guide["model"] if target is None else f"{guide['model']} -> {target['model']}"
    yield Text(f"{models} · {report['spec']['path']} · input {inputs}", style="bold")
    for rule in report["rules"]:
        yield _title(rule)
        if rule["sites"]:
            yield _sites(rule)
        yield from _nearest(rule)
    for pair in report["pairs"]:
        yield from _pair(pair)
    if target is None:
        yield from _uncovered(report["uncovered"], "no rule covers", "")
        return
    yield from _uncovered(report["uncovered"], "no window holds", " of the guide")
    yield from _uncovered(target["uncovered"], "no window holds", " of the target")


def _title(rule: Mapping[str, Any]) -> Text:
    wrong = rule["found"] == 0 or rule["expect"] not in (None, rule["found"])
    found = "1 site" if rule["found"] == 1 else f"{rule['found']} sites"
    expected = "" if rule["expect"] is None else f", expects {rule['expect']}"
    text = Text(f"\nrule {rule['name']}", style="bold").append(f": {rule['pattern']}: ", style="not bold")
    return text.append(f"{found}{expected}", style="red" if wrong else "green")


def _sites(rule: Mapping[str, Any]) -> Table:
    over_operations = rule["matches"] == "operations"
    kind = "operations" if over_operations else "class"
    table = _table("site", "path", kind, "in -> out", "parameters", "FLOPs")
    for site in rule["sites"]:
        table.add_row(
            site["name"],
            site["path"],
            _operations(site["operations"]) if over_operations else site["class"],
            f"{shape(site['input_shape'])} -> {shape(site['output_shape'])}",
            count(site["parameters"]),
            flops(site["flops"]),
        )
    return table


def _operations(operations: Sequence[Mapping[str, Any]]) -> str:
    """`2 Conv2d, 2 BatchNorm2d, 2 ReLU, add`."""
    counted = Counter(operation["name"] for operation in operations)
    return ", ".join(name if many == 1 else f"{many} {name}" for name, many in counted.items())


def _nearest(rule: Mapping[str, Any]) -> Iterator[Text]:
    told = _operation_miss if rule["matches"] == "operations" else _module_miss
    for miss in rule["nearest"]:
        yield Text(f"  nearly: {told(miss)}", style="yellow")


def _module_miss(miss: Mapping[str, Any]) -> str:
    node = "" if miss["node"] is None else f", node {miss['node']}"
    first = f"{miss['path']}{node}"
    many = first if miss["count"] == 1 else f"{miss['count']} modules, first {first}"
    step = "attributes" if miss["step"] == "attributes" else f"`{miss['step']}`"
    return f"{miss['class']} {miss['reason']} ({many}); stopped at {step}"


def _operation_miss(miss: Mapping[str, Any]) -> str:
    first = f"{miss['path'] or 'the model itself'}, node {miss['node']},"
    more = "" if miss["count"] == 1 else f", and {miss['count'] - 1} more alike"
    if miss["step"] is None:
        return f"{first} {miss['reason']}{more}"
    matched = "1 step" if miss["matched"] == 1 else f"{miss['matched']} steps"
    return f"{first} {miss['reason']}{more}; {matched} matched, then stopped at `{miss['step']}`"


def _pair(pair: Mapping[str, Any]) -> Iterator[RenderableType]:
    found, whole = pair["found"], len(pair["windows"])
    wrong = found == 0 or found != whole or pair["expect"] not in (None, found)
    said = "1 window" if found == 1 else f"{found} windows"
    missing = f", {whole - found} more on one side" if whole > found else ""
    expected = "" if pair["expect"] is None else f", expects {pair['expect']}"
    text = Text(f"\npair {pair['name']}", style="bold")
    text.append(f": {pair['guide']} -> {pair['target']}: ", style="not bold")
    yield text.append(f"{said}{missing}{expected}", style="red" if wrong else "green")
    if pair["windows"]:
        yield _windows(pair)
    for network, names in pair["left"].items():
        if names:
            yield Text(f"  in no window of the {network}: {_listed(names)}", style="yellow")


def _windows(pair: Mapping[str, Any]) -> Table:
    table = _table("window", "guide", "tap", "parameters", "target", "tap", "parameters")
    for row in pair["windows"]:
        table.add_row(row["name"], *_window(row["guide"]), *_window(row["target"]))
    return table


def _window(found: Mapping[str, Any] | None) -> tuple[str, str, str]:
    if found is None:
        return "-", "", ""
    return window(found["blocks"]), shape(found["shape"]), count(found["parameters"])


def _uncovered(uncovered: Mapping[str, Any], lead: str, network: str) -> Iterator[RenderableType]:
    if not uncovered["groups"]:
        where = f"{network or ' of the guide'} is inside of a {'window' if network else 'site'}"
        yield Text(f"\nevery parameter and every FLOP{where}", style="bold")
        return
    yield Text(
        f"\n{lead} {count(uncovered['parameters'])} parameters{network} "
        f"({_percent(uncovered['share']['parameters'])}) and {flops(uncovered['flops'])} FLOPs a sample "
        f"({_percent(uncovered['share']['flops'])})",
        style="bold",
    )
    table = _table("what", "many", "parameters", "FLOPs", "of all FLOPs", "where")
    for group in uncovered["groups"]:
        table.add_row(
            group["name"],
            str(group["count"]),
            count(group["parameters"]),
            flops(group["flops"]),
            _percent(group["share"]["flops"]),
            _listed([path or "the model itself" for path in group["paths"]]),
        )
    yield table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        right = column in ("many", "parameters", "FLOPs", "of all FLOPs")
        table.add_column(column, justify="right" if right else "left", no_wrap=column not in _FOLDED)
    return table


def _listed(names: Sequence[str]) -> str:
    more = "" if len(names) <= _SHOWN_PATHS else f" and {len(names) - _SHOWN_PATHS} more"
    return f"{', '.join(names[:_SHOWN_PATHS])}{more}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
