"""What differs between two plans, for a person, made from its JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from rich.text import Text

from theseus_fx.cli.views.numbers import amount, count, flops, rate, shape


def difference_view(difference: Mapping[str, Any]) -> Iterator[Text]:
    """Settings, stages, totals, and what of a run survives; `-` is only in A, `+` only in B, `~` in both."""
    yield Text(f"{difference['a']['path']} -> {difference['b']['path']}", style="bold")
    if difference["equal"]:
        yield Text("the plans are equal", style="green")
    for change in difference["settings"]:
        yield Text(f"~ {_change(change)}", style="yellow")
    stages = difference["stages"]
    for stage in stages["removed"]:
        yield Text(f"- stage {stage['number']}: {', '.join(stage['paths'])}", style="red")
    for stage in stages["added"]:
        yield Text(f"+ stage {stage['number']}: {', '.join(stage['paths'])}", style="green")
    yield from _changed(stages["changed"])
    if not difference["equal"]:
        totals = difference["totals"]
        yield Text(
            f"converted model: parameters {_both(totals['parameters'], count)}, "
            f"FLOPs a sample {_both(totals['flops'], flops)}; stages unchanged: {stages['equal']}",
        )
    yield Text(_survival(difference["survives"]), style="bold")


def _changed(stages: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    """One line for stages in a row that change alike."""
    rows: list[tuple[list[Mapping[str, Any]], list[str]]] = []
    for stage in stages:
        texts = [_change(change) for change in stage["changes"] if change["setting"] != "number"]
        if rows and rows[-1][1] == texts and _follows(rows[-1][0][-1], stage):
            rows[-1][0].append(stage)
        else:
            rows.append(([stage], texts))
    for alike, texts in rows:
        first, last = alike[0], alike[-1]
        numbers = _span(first["a"], last["a"])
        if first["a"] != first["b"]:
            numbers += f" -> {_span(first['b'], last['b'])}"
        paths = ", ".join(path for stage in alike for path in stage["paths"])
        plural = "stage" if len(alike) == 1 else "stages"
        shown = paths if len(alike) <= 2 else f"{alike[0]['paths'][0]} to {alike[-1]['paths'][-1]}"
        yield Text(f"~ {plural} {numbers}: {shown}", style="yellow")
        for text in texts:
            yield Text(f"    {text}")


def _follows(before: Mapping[str, Any], stage: Mapping[str, Any]) -> bool:
    return (stage["a"], stage["b"]) == (before["a"] + 1, before["b"] + 1)


def _change(change: Mapping[str, Any]) -> str:
    """`lr: 2e-05 -> 1e-05`; of lists of names only what comes and goes."""
    old, new = change["old"], change["new"]
    if _names(old) and _names(new) and set(old) != set(new):
        gone = [f"-{name}" for name in old if name not in new]
        come = [f"+{name}" for name in new if name not in old]
        return f"{change['setting']}: {' '.join([*gone, *come])}"
    if change["setting"].endswith("replacement") and old is not None and new is not None:
        old, new = _differing_steps(old, new)
    return f"{change['setting']}: {_told(old)} -> {_told(new)}"


def _differing_steps(old: str, new: str) -> tuple[str, str]:
    """Of two chains of as many steps, those that differ; else both whole."""
    ours, theirs = old.split(" |> "), new.split(" |> ")
    if len(ours) != len(theirs):
        return old, new
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b]
    return ", ".join(a for a, _ in pairs), ", ".join(b for _, b in pairs)


def _names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in cast("list[object]", value))


def _told(value: Any) -> str:
    match value:
        case None:
            return "none"
        case {"count": _, "unit": _}:
            return amount(value)
        case {"candidates": _}:
            return rate(value)
        case {"kind": "fit"}:
            return f"fit(samples = {value['samples']}, metric = {value['metric']})"
        case {"kind": str(kind)} | {"name": str(kind)} if len(value) == 1:
            return kind
        case {"dtype": str(dtype), "shape": list(sizes)}:
            return f"{dtype} {shape(cast('list[int | str]', sizes))}"
        case str():
            return value if len(value) < 64 or " " in value else f"{value[:12]}..."
        case _:
            return json.dumps(value)


def _survival(survives: Mapping[str, Any]) -> str:
    """What of a run of A stays valid."""
    kept = survives["stages"]
    if not survives["guide"]:
        return f"of a run of A nothing survives under B: {survives['because']} differs"
    if survives["because"] is None:
        return "of a run of A with the same seed everything survives under B"
    stages = f"{len(kept)} of {survives['of']} stages" + (f" ({_span(kept[0], kept[-1])})" if kept else "")
    return (
        f"of a run of A with the same seed the guide and {stages} survive under B; "
        f"{survives['because']} is the first that differs"
    )


def _both(values: Mapping[str, Any], show: Any) -> str:
    return f"{show(values['a'])} -> {show(values['b'])}"


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}..{last}"
