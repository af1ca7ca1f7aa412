"""How the steps of a phase are computed: `accumulate`, `precision`, `checkpointing`."""

from __future__ import annotations

from collections.abc import Mapping

from theseus_fx.lang import syntax, words
from theseus_fx.lang.check_measures import whole
from theseus_fx.lang.findings import Findings, one_of
from theseus_fx.lang.names import dotted


def check_compute(found: Findings, settings: Mapping[str, syntax.Setting]) -> dict[str, int | str | bool]:
    """The settings that are there and right, by the names of the fields of `Compute`."""
    values: dict[str, int | str | bool] = {}
    if "accumulate" in settings:
        pieces = whole(found, settings["accumulate"].value, "`accumulate`")
        values |= {} if pieces is None else {"accumulate": pieces}
    if "precision" in settings:
        given = settings["precision"].value
        if one_of(found, dotted(given), given.span, words.PRECISIONS, "precision"):
            values["precision"] = dotted(given)
    if "checkpointing" in settings:
        given = settings["checkpointing"].value
        if one_of(found, dotted(given), given.span, ("true", "false"), "answer"):
            values["checkpointing"] = dotted(given) == "true"
    return values
