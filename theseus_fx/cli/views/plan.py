"""The plan for a person, made from its JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from theseus_fx.cli.views.methods import budgeted
from theseus_fx.cli.views.numbers import amount, count, flops, rate, shape
from theseus_fx.cli.views.pairs import pair_stages
from theseus_fx.cli.views.schedule import budget, computing, optimizer, schedule_lines
from theseus_fx.cli.views.starts import rank_lines, start_cell, start_lines

_OPTIONAL = ("padding", "stride", "bias", "padding_mode", "groups", "dilation")


def plan_view(plan: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Headline, stages, the steps after them, notes, and one line of totals."""
    yield _headline(plan)
    yield pair_stages(plan) if plan["target"] else _stages(plan)
    yield from _afterwards(plan)
    for note in plan["notes"]:
        yield Text(f"note: {note}", style="yellow")
    yield _totals(plan)


def _headline(plan: Mapping[str, Any]) -> Text:
    guide = plan["guide"]
    inputs = ", ".join(f"{i['name']} {shape(i['shape'])} {i['dtype']}" for i in guide["inputs"])
    model = f"{guide['model']} -> {plan['target']['model']}" if plan["target"] else guide["model"]
    facts = [model, plan["spec"]["path"], f"schedule {plan['schedule']['kind']}", f"input {inputs}"]
    if plan["batch_size"] is not None:
        facts.append(f"batch {plan['batch_size']}")
    facts += [f"{name} = {value}" for name, value in plan["spec"]["params"].items()]
    return Text(" · ".join(facts), style="bold")


def _stages(plan: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("stage", justify="right")
    table.add_column("part", no_wrap=True)
    table.add_column("guide -> replacement")
    table.add_column("tap", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("guide run", justify="right", no_wrap=True)
    table.add_column("for", no_wrap=True)
    table.add_column("lr", no_wrap=True)
    table.add_column("init", no_wrap=True)
    parts = {part["name"]: part for part in plan["parts"]}
    if trained := plan["guide"]["trained_by"]:
        table.add_row(
            "0", "guide", "trained first", "", "", "", amount(trained["for"]), rate(trained["lr"]), "random"
        )
    starts = {init["part"]: init for stage in plan["stages"] for init in stage["init"]}
    for stage in plan["stages"]:
        shared = (f"{100 * stage['guide_share']:.1f} %", budget(stage), rate(stage["lr"]))
        for position, name in enumerate(stage["newest"]):
            part = parts[name]
            taps = [tap for tap in stage["taps"] if tap["part"] == name]
            table.add_row(
                str(stage["number"]) if position == 0 else "",
                f"{name} {part['path']}",
                f"{_module(part['guide_module'])} -> {_replacement(part)}",
                ", ".join(_tap(tap) for tap in taps if tap["value"] is None) or "output",
                f"{count(part['parameters']['before'])} -> {count(part['parameters']['after'])}",
                *(shared if position == 0 else ("", "", "")),
                start_cell(starts[name]),
            )
            for tap in taps:
                if tap["value"] is not None:
                    table.add_row("", f"  {_aligned(tap)}", "", _tap(tap), style="dim")
    return table


def _aligned(tap: Mapping[str, Any]) -> str:
    """`main ~ hidden`."""
    return f"{tap['value']} ~ {tap['target']}"


def _tap(tap: Mapping[str, Any]) -> str:
    """`b x 64 x 8 x 8`; where it is not as in the replacement, `b x 64 x 8 x 8 ~ b x 256, weight 0.5`."""
    said = shape(tap["shape"])
    if tap["target_shape"] not in (None, tap["shape"]):
        said += f" ~ {shape(tap['target_shape'])}"
    return said if tap["weight"] == 1 else f"{said}, weight {tap['weight']:g}"


def _afterwards(plan: Mapping[str, Any]) -> Iterator[Text]:
    yield from schedule_lines(plan)
    yield from rank_lines(plan)
    yield from start_lines(plan)
    for step in plan["recalibrate"]:
        many = f"{step['modules']} {step['module_class']}"
        yield Text(f"then recalibrate {many} over {amount(step['over'])}")
    if plan["finetune"] is not None:
        tune = plan["finetune"]
        clip = "" if tune["clip"] is None else f", clip {tune['clip']:g}"
        loss = " + ".join(_term(term) for term in tune["loss"])
        how = computing(tune)
        yield Text(
            f"then fine-tune for {amount(tune['for'])}: {optimizer(tune['optimizer'])}, "
            f"lr {rate(tune['lr'])}{clip}, loss {loss}{', ' if how else ''}{how}"
        )
    if plan["compare"] is not None:
        for baseline in plan["compare"]["baselines"]:
            yield Text(f"beside it: {budgeted(baseline)}", style="dim")


def _totals(plan: Mapping[str, Any]) -> Text:
    parameters, work = plan["totals"]["parameters"], plan["totals"]["flops"]
    pairs, parts = _many(plan["pairs"], "pair"), f"{_many(plan['parts'], 'part')} replaced"
    return Text(
        f"{pairs if plan['target'] else parts} in {_many(plan['stages'], 'stage')}, "
        f"parameters {count(parameters['guide'])} -> {count(parameters['target'])}, "
        f"FLOPs a sample {flops(work['guide'])} -> {flops(work['target'])}",
        style="bold",
    )


def _many(things: Sequence[object], what: str) -> str:
    """`1 part`, `3 parts`."""
    return f"{len(things)} {what}" if len(things) == 1 else f"{len(things)} {what}s"


def _module(text: str) -> str:
    """The guide's module without the arguments that a reader can do without."""
    name, _, inside = text.partition("(")
    if not inside:
        return name
    kept: list[str] = []
    depth = 0
    for piece in inside.removesuffix(")").split(", "):
        if depth == 0:
            kept.append(piece)
        else:
            kept[-1] += f", {piece}"
        depth += piece.count("(") - piece.count(")")
    shown = [_size(p) for p in kept if p.partition("=")[0] not in _OPTIONAL]
    return f"{name}({', '.join(shown)})"


def _size(argument: str) -> str:
    """`3x3` for `kernel_size=(3, 3)`."""
    name, _, value = argument.partition("=")
    return value.strip("()").replace(", ", "x") if name == "kernel_size" else argument


def _replacement(part: Mapping[str, Any]) -> str:
    """The replacement's name and the widths that its linear maps go through."""
    recipe = part["recipe"]
    widths: list[str] = []
    for step in recipe["steps"]:
        if step["kind"] == "Linear":
            arguments = step["arguments"]
            widths = widths or [str(arguments["in_features"])]
            widths.append(str(arguments["out_features"]))
    if "rank" in part:
        widths[-2] = "auto"
    return f"{recipe['name']} {'-'.join(widths)}" if 0 < len(widths) < 5 else recipe["name"]


def _term(term: Mapping[str, Any]) -> str:
    weight = "" if term["weight"] == 1 else f"{term['weight']:g} * "
    inside = f"(T = {term['temperature']:g})" if term["kind"] == "distill" else ""
    return f"{weight}{term['kind']}{inside}"
