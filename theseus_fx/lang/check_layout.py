"""How a schedule lays out its stages: the three axes, the order of the parts, their groups."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

from theseus_fx.lang import syntax, words
from theseus_fx.lang.check_measures import whole
from theseus_fx.lang.diagnostics import Label
from theseus_fx.lang.findings import Findings, one_of
from theseus_fx.lang.names import dotted
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import Metric
from theseus_fx.lang.spec_stages import Axes, Grouping, Order, OrderEntry, Rows

Settings = Mapping[str, syntax.Setting]
_PLACE = re.compile(r"\{[A-Za-z_]\w*\}")


def check_axes(found: Findings, node: syntax.Schedule, settings: Settings) -> Axes:
    """The axes of a schedule: those of its kind, and what its block says otherwise."""
    kind = node.kind.text
    values = dict(words.PRESETS.get(kind, words.PRESETS["progressive"]))
    spans = {axis: settings[axis].span if axis in settings else node.kind.span for axis in words.AXES}
    for axis, known in words.AXES.items():
        if axis in settings:
            value = settings[axis].value
            if one_of(found, dotted(value), value.span, known, f"way to {axis}"):
                values[axis] = dotted(value)
    axes = Axes(**cast("Any", values), spans=MappingProxyType(spans))
    if kind == "joint":
        _check_joint(found, node, settings, axes)
    elif axes.feed == "guide" and axes.introduce == "upfront":
        _contradict(
            found,
            "parts that are fed by the guide never meet, so `introduce = upfront` decides nothing",
            spans["introduce"],
            spans["feed"],
            "feeds them from the guide",
        )
    return axes


def check_order(found: Findings, setting: syntax.Setting | None) -> Order:
    """`forward`, `reverse`, `easiest`, or a list; whether a list covers the parts is for the planner."""
    if setting is None:
        return Order()
    value = setting.value
    if isinstance(value, syntax.ListOf):
        entries = [_entry(found, item) for item in value.items]
        if not entries:
            found.note("THX208", "a listed order names every part", value.span, help=["write `forward`"])
        kept = tuple(entry for entry in entries if entry is not None)
        return Order(kind="listed", entries=kept, span=value.span)
    name = dotted(value)
    if not one_of(found, name, value.span, words.ORDERS, "order"):
        return Order()
    return Order(kind=cast("Any", name), span=value.span)


def check_grouping(found: Findings, node: syntax.Schedule, settings: Settings) -> Grouping | None:
    """`group = 4` or `group by "layer{i}"`."""
    for again in node.groups[1:]:
        found.repeated("a schedule has one `group by`", again.span, node.groups[0].span)
    sized = settings.get("group")
    if sized is not None and node.groups:
        _contradict(
            found, "parts are grouped in one way", sized.span, node.groups[0].span, "groups them by path"
        )
        return None
    if sized is not None:
        size = whole(found, sized.value, "`group`")
        return None if size is None else Grouping(size=size, span=sized.value.span)
    if not node.groups:
        return None
    patterns = node.groups[0].patterns
    return Grouping(patterns=patterns, span=node.groups[0].span) if _are_patterns(found, patterns) else None


def check_feeds(found: Findings, axes: Axes, used: Sequence[tuple[Metric | None, Rows | None]]) -> None:
    """Whether the metrics and rows that stages use agree with each other and with the axes.

    Args:
        found: where problems are noted.
        axes: of the schedule.
        used: the metric and the rows of the schedule, then those of each `stage` block.
    """
    blamed: set[Span] = set()
    for metric, rows in used:
        if metric is None or metric.span in blamed:
            continue
        if metric.name == "distill" and axes.feed == "guide":
            blamed.add(metric.span)
            _contradict(
                found,
                "`distill` compares outputs, and parts that are fed by the guide never reach one",
                metric.span,
                axes.spans["feed"],
                "feeds them from the guide",
            )
        if metric.name in ("distill", "mse") and rows is not None and rows.kind == "tokens" and rows.span:
            blamed.add(metric.span)
            _contradict(
                found, f"`{metric.name}` compares no rows", rows.span, metric.span, "compares value by value"
            )


def _check_joint(found: Findings, node: syntax.Schedule, settings: Settings, axes: Axes) -> None:
    """Notes every setting that a schedule of one stage leaves nothing to decide."""
    said: dict[str, str] = {}
    if axes.introduce == "staged":
        said["introduce"] = "`joint` is one stage, which introduces all parts at once"
    if axes.train == "newest":
        said["train"] = "`joint` is one stage, which trains all parts together"
    if "order" in settings:
        said["order"] = "`joint` is one stage, so an order decides nothing"
    if "group" in settings:
        said["group"] = "`joint` is one stage, so a group decides nothing"
    for name, message in said.items():
        _contradict(found, message, settings[name].span, node.kind.span, "one stage")
    for group in node.groups:
        message = "`joint` is one stage, so a group decides nothing"
        _contradict(found, message, group.span, node.kind.span, "one stage")


def _entry(found: Findings, item: syntax.Expression) -> OrderEntry | None:
    match item:
        case syntax.Text(value=text) if text.strip():
            return OrderEntry(text=text, span=item.span)
        case syntax.Name(text=text):
            return OrderEntry(text=text, span=item.span)
        case syntax.Index(value=syntax.Name(text=rule), index=syntax.Number(value=int() as place)):
            return OrderEntry(text=f"{rule}[{place}]", span=item.span)
        case syntax.Number(value=int() as place):
            return OrderEntry(text=place, span=item.span)
        case _:
            found.note(
                "THX203",
                "an order lists parts",
                item.span,
                help=['write a name `conv[3]`, a number `3`, a rule `conv`, or a path pattern "layer1*"'],
            )
            return None


def _are_patterns(found: Findings, patterns: Sequence[syntax.Glob]) -> bool:
    before = len(found.problems)
    first: dict[str, syntax.Glob] = {}
    for glob in patterns:
        rest = _PLACE.sub("", glob.pattern)
        if not glob.pattern.strip():
            found.note("THX208", "an empty path pattern fits nothing", glob.span, help=["leave it out"])
        elif "{" in rest or "}" in rest:
            found.note(
                "THX208",
                "a place in a path pattern is a name in braces",
                glob.span,
                help=['write `"layer{i}"`'],
            )
        elif glob.pattern in first:
            found.repeated("a path pattern is named twice", glob.span, first[glob.pattern].span)
        first.setdefault(glob.pattern, glob)
    return len(found.problems) == before


def _contradict(found: Findings, message: str, one: Span, other: Span, label: str) -> None:
    found.note("THX220", message, one, secondary=[Label(other, label)])
