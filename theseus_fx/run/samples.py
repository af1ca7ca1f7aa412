"""Whether the data has enough samples to be compared; asked before anything starts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from theseus_fx.data.arguments import place
from theseus_fx.data.source import DataSource, Split
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import Invocation, Value
from theseus_fx.planning.plan import Plan, Stage

LEAST = 2
"""Samples that a similarity compares at least: one sample has no distance to any other."""
UNBIASED = 4
"""Rows that the unbiased HSIC needs (Song et al. 2007, eq. 5)."""


def check_samples(plan: Plan, source: DataSource) -> None:
    """Refuses data of which too few samples stand in one batch, where stages are to compare them.

    A similarity is taken of training batches, all of them whole, and of the first batch of the validation
    split with two samples, or as many as the metric of the stage needs.

    Raises:
        Rejected: THX602 for each split that has too few samples, or whose batches do.
    """
    if not plan.stages:
        return
    most = max(plan.stages, key=least_samples)
    if problems := [*_problems(source, plan.spec.data, most)]:
        raise Rejected(*problems)


def least_samples(stage: Stage) -> int:
    """How many samples a batch has at least, so that the metric of a stage can compare them."""
    settings = stage.alignment
    watched = [*(gate.condition for gate in settings.gates), *([settings.until] if settings.until else [])]
    measures = [(settings.metric.name, settings.metric.arguments)]
    measures += [(condition.measure, condition.arguments) for condition in watched]
    needed = max(_rows_needed(name, arguments) for name, arguments in measures)
    rows = settings.rows
    if rows.kind == "samples":
        return needed
    positions = [tap.shape[1] for tap in stage.taps if isinstance(tap.shape[1], int)]
    return max(LEAST, math.ceil(needed / min(positions, default=1)))


def _rows_needed(measure: str, arguments: Mapping[str, Value]) -> int:
    match measure:
        case "ucka":
            return UNBIASED
        case "dmnn" | "mutual_knn":
            neighbours = arguments["k"]
            if not isinstance(neighbours, int):
                raise TypeError(f"k of {measure} is an int, not {neighbours!r}")
            return neighbours + (2 if arguments.get("support") == "soft" else 1)
        case _:
            return LEAST


def _problems(source: DataSource, data: Invocation | None, stage: Stage) -> Iterator[Diagnostic]:
    least = least_samples(stage)
    who = "a similarity" if least == LEAST else f"stage {stage.number}"
    for split in (Split.TRAIN, Split.VALIDATION):
        size = source.sizes[split]
        if size < least:
            yield _diagnostic(
                data,
                "validation",
                f"the {split.value} split of `{source.name}` has {_samples(size)}, "
                f"and {who} compares at least {least}",
                _larger(split, source, data, least),
            )
    if source.batch_size < least:
        said = f"a batch of `{source.name}` has {_samples(source.batch_size)}"
        said += f", and {who} compares at least {least}"
        yield _diagnostic(data, "batch", said, "a larger `batch`")


def _larger(split: Split, source: DataSource, data: Invocation | None, least: int) -> str:
    """What to change, so that the split has enough samples."""
    whole = source.sizes[Split.TRAIN] + source.sizes[Split.VALIDATION]
    if data is None or "validation" not in data.keywords or whole < 2 * least:
        return "more data"
    if split is Split.TRAIN:
        return "a smaller `validation`"
    return f"a larger `validation`, such as {_share(whole, least)} of these {whole}, or more data"


def _share(whole: int, least: int) -> float:
    """The smallest share, in hundredths, of which `least` of `whole` samples are held out."""
    return next(n / 100 for n in range(1, 100) if round(whole * n / 100) >= least)


def _diagnostic(data: Invocation | None, argument: str, message: str, fix: str) -> Diagnostic:
    label = None if data is None else Label(place(data, argument))
    return Diagnostic(code="THX602", message=message, primary=label, help=(fix,))


def _samples(count: int) -> str:
    return "1 sample" if count == 1 else f"{count} samples"
