"""The learning rates that each method tries: its own candidates, as many as the spec gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from theseus_fx.lang.spec import LearningRate, LossTerm, Training
from theseus_fx.planning.baselines import stepping
from theseus_fx.run.job import Job

Start = Literal["planned", "random"]
StageRates = Mapping[int, float | None]
"""The peak rate of each stage by its number; None takes no step."""


def alignments(job: Job, start: Start) -> list[StageRates]:
    """The candidates of the schedule: the n-th takes the n-th rate of every stage, or its last one.

    From a random start, those that take no step are left out, for then nothing would be left of it, and
    `align_lr` of `compare` takes the place of the stages' own.
    """
    compare = job.plan.spec.compare
    rates = {stage.number: stage.alignment.lr for stage in job.plan.stages}
    if start == "random" and compare is not None and compare.align_lr is not None:
        rates = dict.fromkeys(rates, compare.align_lr)
    candidates = {number: _usable(rate, start) for number, rate in rates.items()}
    count = max(len(c) for c in candidates.values())
    return [{number: c[min(i, len(c) - 1)] for number, c in candidates.items()} for i in range(count)]


def finetune_rates(job: Job) -> tuple[float | None, ...]:
    """Of the conversion's own fine-tuning."""
    return (None,) if job.plan.finetune is None else job.plan.finetune.lr.candidates


def baseline_rates(job: Job) -> tuple[float | None, ...]:
    """Of the fine-tuning of baselines: `lr` of `compare`, else those of the conversion that take steps."""
    compare = job.plan.spec.compare
    if compare is not None and compare.lr is not None:
        return compare.lr.candidates
    return stepping(finetune_rates(job))


def baseline_settings(job: Job, loss: tuple[LossTerm, ...] | None = None) -> Training | None:
    """Those of `finetune`, with the loss if there is one; a shape that `lr` of `compare` has wins."""
    compare, settings = job.plan.spec.compare, job.plan.finetune
    if settings is None:
        return None
    if loss is not None:
        settings = replace(settings, loss=loss)
    if compare is None or compare.lr is None or compare.lr.shape == "constant":
        return settings
    return replace(settings, lr=compare.lr)


def _usable(rate: LearningRate, start: Start) -> tuple[float | None, ...]:
    return rate.candidates if start == "planned" else stepping(rate.candidates)
