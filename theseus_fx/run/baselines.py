"""The baselines of a run, with the same budget as the conversion, and the steps that all of it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from theseus_fx.planning.baselines import Baseline, baselines
from theseus_fx.planning.distilled import distilled
from theseus_fx.run.alignment.stages import total_steps, unaligned
from theseus_fx.run.candidates import (
    StageRates,
    alignments,
    baseline_rates,
    baseline_settings,
    finetune_rates,
)
from theseus_fx.run.job import Job
from theseus_fx.run.methods import (
    Outcome,
    distillation,
    finetune_steps,
    from_random_start,
    trained_whole,
)
from theseus_fx.run.scratch import from_scratch


def run_baselines(job: Job, converted: Outcome) -> dict[str, Outcome]:
    """The outcomes by name; each has the conversion's architecture, the guide's parts that stay included."""
    return {baseline.name: _run(job, baseline, converted) for baseline in baselines(job.plan)}


def expected_steps(job: Job) -> int:
    """About how many gradient steps conversion and baselines take, all candidates together."""
    tune, schedule = finetune_steps(job), total_steps(job)
    steps = _of_trials(alignments(job, "planned"), finetune_rates(job), schedule, tune)
    rates = baseline_rates(job)
    taken = sum(rate is not None for rate in rates)
    for baseline in baselines(job.plan):
        if baseline.method in ("naive", "scratch"):
            steps += taken * (schedule + tune if baseline.total else tune)
        elif not _is_the_conversion(job, baseline):
            own = job if baseline.method == "random_start" else replace(job, plan=distilled(job.plan))
            steps += _of_trials(alignments(job, "random"), rates, total_steps(own), tune)
    return steps


def _run(job: Job, baseline: Baseline, converted: Outcome) -> Outcome:
    name, kept = baseline.name, converted.kept_guide
    settings = baseline_settings(job, baseline.loss)
    # where gates extended stages, the conversion took more than the plan says
    planned_steps = total_steps(job) + finetune_steps(job)
    steps = max(planned_steps, converted.steps)
    if baseline.total and baseline.method in ("naive", "scratch"):
        taken = sum(rate is not None for rate in baseline_rates(job))
        job.forecast.change((steps - planned_steps) * taken)
    match baseline.method:
        case "naive":
            steps = steps if baseline.total else finetune_steps(job)
            return trained_whole(
                job, name, lambda: unaligned(job, without_parts=kept), settings, steps=steps, kept_guide=kept
            )
        case "scratch":
            return trained_whole(
                job,
                name,
                lambda: from_scratch(job, kept),
                settings,
                steps=steps,
                kept_guide=kept,
                recalibrated=False,
            )
        case "random_start":
            same = _is_the_conversion(job, baseline)
            return converted if same else from_random_start(job, name, kept_guide=kept)
        case "distillation":
            return distillation(job, name, kept_guide=kept)
        case _:
            assert_never(baseline.method)


def _is_the_conversion(job: Job, baseline: Baseline) -> bool:
    """Whether the conversion itself starts at random everywhere."""
    starts = {start.start.kind for stage in job.plan.stages for start in stage.starts}
    return baseline.method == "random_start" and starts <= {"random", "given"}


def _of_trials(
    candidates: Sequence[StageRates], rates: Sequence[float | None], schedule: int, tune: int
) -> int:
    aligned = sum(schedule for stages in candidates if any(r is not None for r in stages.values()))
    return aligned + len(candidates) * tune * sum(rate is not None for rate in rates)
