"""What a plan's schedule and its stages say, in sentences; made from the plan's JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from theseus_fx.cli.views.numbers import amount


def schedule_lines(plan: Mapping[str, Any]) -> Iterator[Text]:
    """What each stage does, then order, groups and gates where there are any."""
    yield Text(_sentence(plan), style="dim")
    schedule = plan["schedule"]
    if facts := [*_order(schedule), *_groups(plan)]:
        yield Text(", ".join(facts), style="dim")
    for gate, stages in _gates(plan).items():
        yield Text(f"{stages} {gate}", style="dim")
    for how, stages in _of_stages(plan, computing).items():
        yield Text(f"{stages}: {how}", style="dim")


def budget(stage: Mapping[str, Any]) -> str:
    """`30 epochs`, `loss < 0.01, at most 100 epochs`."""
    until = stage["until"]
    return amount(stage["for"]) if until is None else f"{condition(until)}, at most {amount(stage['for'])}"


def condition(value: Mapping[str, Any]) -> str:
    """`cka > 0.95`."""
    return f"{call(value['measure'])} {value['operator']} {value['level']:g}"


def call(value: Mapping[str, Any]) -> str:
    """`dmnn(k = 10, tau = 0.1, support = union)`."""
    arguments = ", ".join(f"{key} = {_plain(argument)}" for key, argument in value.items() if key != "name")
    return f"{value['name']}({arguments})" if arguments else value["name"]


def computing(value: Mapping[str, Any]) -> str:
    """How steps are computed, where that is not as usual: `each batch in 4 pieces, forward in bf16`."""
    facts: list[str] = []
    if value["accumulate"] > 1:
        facts.append(f"each batch in {value['accumulate']} pieces")
    if value["precision"] != "f32":
        facts.append(f"forward in {value['precision']}")
    if value["checkpointing"]:
        facts.append("activations computed again in the backward pass")
    return ", ".join(facts)


def optimizer(value: Mapping[str, Any]) -> str:
    """`adamw`, `sgd(momentum = 0.9)`."""
    return call(value)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _sentence(plan: Mapping[str, Any]) -> str:
    schedule, stages = plan["schedule"], plan["stages"]
    metrics = ", ".join(sorted({call(stage["metric"]) for stage in stages}))
    rows = sorted({stage["rows"]["kind"] for stage in stages} - {"samples"})
    compared = f"{metrics}; rows are {', '.join(rows)}" if rows else metrics
    outputs = all(tap["part"] is None for stage in stages for tap in stage["taps"])
    where = "at the output" if outputs else "at their taps"
    target = plan["target"] is not None
    if schedule["kind"] == "joint":
        who = f"the one stage trains {'the whole target' if target else 'all replacements'} together"
    elif schedule["train"] == "introduced":
        who = f"each stage trains {'the target up to its tap' if target else 'all replacements so far'}"
    elif target:
        who = "each stage trains its own blocks of the target and freezes those before"
    else:
        who = "each stage trains its own replacements and freezes those before"
    if schedule["introduce"] == "upfront" and schedule["kind"] != "joint":
        who = f"all parts are replaced at once, then {who}"
    fed = ", fed with the guide's own values," if schedule["feed"] == "guide" else ""
    return f"{who}{fed} to match the guide {where} ({compared})"


def _order(schedule: Mapping[str, Any]) -> Iterator[str]:
    if schedule["order"] == "reverse":
        yield "order: from the last part to the first"
    elif schedule["order"] == "easiest":
        yield "order: a run measures how similar each part begins and takes the most similar first"
    elif schedule["order"] != "forward":
        yield "order: as listed"


def _groups(plan: Mapping[str, Any]) -> Iterator[str]:
    group = plan["schedule"]["group"]
    if group is None:
        return
    if "size" in group:
        yield f"groups of {group['size']} consecutive parts"
    else:
        yield f"groups by {', '.join(group['by'])}"


def _gates(plan: Mapping[str, Any]) -> Mapping[str, str]:
    """Each gate and the stages that it holds for."""
    numbers: dict[str, list[int]] = {}
    for stage in plan["stages"]:
        for gate in stage["require"]:
            times = gate["extend"]
            more = (
                f", else up to {times} more budgets"
                if times > 1
                else ", else one more budget"
                if times
                else ""
            )
            kept = ", else the guide's parts stay" if gate["keep_guide"] else ""
            numbers.setdefault(f"passes at {condition(gate)}{more}{kept}", []).append(stage["number"])
    return {gate: _called(plan, stages) for gate, stages in numbers.items()}


def _of_stages(plan: Mapping[str, Any], say: Callable[[Mapping[str, Any]], str]) -> Mapping[str, str]:
    """What is said of stages, and of which, where anything is."""
    numbers: dict[str, list[int]] = {}
    for stage in plan["stages"]:
        if said := say(stage):
            numbers.setdefault(said, []).append(stage["number"])
    return {said: _called(plan, stages) for said, stages in numbers.items()}


def _called(plan: Mapping[str, Any], stages: Sequence[int]) -> str:
    every = [stage["number"] for stage in plan["stages"]]
    return "each stage" if stages == every else f"stage {', '.join(map(str, stages))}"
