"""How the replacements of a plan begin and why, in sentences; made from the plan's JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from theseus_fx.cli.views.numbers import count, size

_NAMES = {"copy": "copied from the guide", "given": "as given", "random": "at random"}


def start_cell(init: Mapping[str, Any]) -> str:
    """`fit (logits, 2048)`: the metric of two maps, or another kind of fit, and how many samples it sees."""
    if init["kind"] != "fit":
        return init["kind"]
    said = init["metric"] if init["method"] == "low_rank" else init["method"]
    return f"fit ({said}, {init['samples']})"


def start_lines(plan: Mapping[str, Any]) -> Iterator[Text]:
    """A line for each way to begin that the plan has chosen itself, and one for what fits hold at most."""
    starts = [init for stage in plan["stages"] for init in stage["init"]]
    alike: dict[tuple[str, str], list[str]] = {}
    for init in starts:
        if init["kind"] != "given" and init["reason"] != "as the spec says":
            alike.setdefault((init["kind"], init["reason"]), []).append(init["part"])
    for (kind, reason), parts in alike.items():
        begins = "begins" if len(parts) == 1 else "begin"
        yield Text(f"{_listed(parts)} {begins} {_NAMES.get(kind, 'fitted')}: {reason}", style="dim")
    if held := max((init["memory"] for init in starts if init["kind"] == "fit"), default=0):
        yield Text(
            f"a fit holds at most {size(held)} beside the networks and the activations of a batch",
            style="dim",
        )


def rank_lines(plan: Mapping[str, Any]) -> Iterator[Text]:
    """A line for each budget from which a run will choose ranks."""
    budgets: dict[int, list[Mapping[str, Any]]] = {}
    for part in plan["parts"]:
        if "rank" in part:
            budgets.setdefault(part["rank"]["auto"]["parameters"], []).append(part)
    for budget, parts in budgets.items():
        alike = sorted({part["rank"]["uniform"] for part in parts})
        sizes = f"{alike[0]}" if len(alike) == 1 else f"{alike[0]} to {alike[-1]}"
        yield Text(
            f"a run chooses the ranks of {_listed([part['name'] for part in parts])} by their spectra, "
            f"within {count(budget)} parameters; sizes here are for {sizes}, the rank that all could have",
            style="dim",
        )


def _listed(parts: Sequence[str]) -> str:
    """`conv[1]`, `conv[1], conv[2] and 7 more`."""
    if len(parts) <= 3:
        return " and ".join([*([", ".join(parts[:-1])] if parts[:-1] else []), parts[-1]])
    return f"{', '.join(parts[:2])} and {len(parts) - 2} more"
