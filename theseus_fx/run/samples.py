"""Whether the data has enough samples to be compared; asked before anything starts."""

from __future__ import annotations

from collections.abc import Iterator

from theseus_fx.data.arguments import place
from theseus_fx.data.source import DataSource, Split
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import Invocation
from theseus_fx.planning.plan import Plan

LEAST = 2
"""Samples that a similarity compares at least: one sample has no distance to any other."""


def check_samples(plan: Plan, source: DataSource) -> None:
    """Refuses data of which no two samples stand in one batch, where stages are to compare them.

    A similarity is taken of training batches, all of them whole, and of the first batch of the validation
    split with two samples.

    Raises:
        Rejected: THX602 for each split that has too few samples, or whose batches do.
    """
    data = plan.spec.data
    problems = [*_problems(source, data)] if plan.stages else []
    if problems:
        raise Rejected(*problems)


def _problems(source: DataSource, data: Invocation | None) -> Iterator[Diagnostic]:
    for split in (Split.TRAIN, Split.VALIDATION):
        size = source.sizes[split]
        if size < LEAST:
            yield _diagnostic(
                data,
                "validation",
                f"the {split.value} split of `{source.name}` has {_samples(size)}, "
                f"and a similarity compares at least {LEAST}",
                _larger(split, source, data),
            )
    if source.batch_size < LEAST:
        said = f"a batch of `{source.name}` has {_samples(source.batch_size)}"
        said += f", and a similarity compares at least {LEAST}"
        yield _diagnostic(data, "batch", said, "a larger `batch`")


def _larger(split: Split, source: DataSource, data: Invocation | None) -> str:
    """What to change, so that the split has two samples."""
    whole = source.sizes[Split.TRAIN] + source.sizes[Split.VALIDATION]
    if data is None or "validation" not in data.keywords or whole < 2 * LEAST:
        return "more data"
    if split is Split.TRAIN:
        return "a smaller `validation`"
    return f"a larger `validation`, such as {_share(whole)} of these {whole}, or more data"


def _share(whole: int) -> float:
    """The smallest share, in hundredths, of which two of `whole` samples are held out."""
    return next(n / 100 for n in range(1, 100) if round(whole * n / 100) >= LEAST)


def _diagnostic(data: Invocation | None, argument: str, message: str, fix: str) -> Diagnostic:
    label = None if data is None else Label(place(data, argument))
    return Diagnostic(code="THX602", message=message, primary=label, help=(fix,))


def _samples(count: int) -> str:
    return "1 sample" if count == 1 else f"{count} samples"
