"""The conversion and its baselines: every candidate is tried, validation chooses, test is seen once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from theseus_fx.data.source import Split
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.spec import Training
from theseus_fx.planning.distilled import distilled
from theseus_fx.run.alignment.stages import Aligned, align
from theseus_fx.run.candidates import (
    Start,
    alignments,
    baseline_rates,
    baseline_settings,
    finetune_rates,
)
from theseus_fx.run.finetune import Finetuned, finetune
from theseus_fx.run.gates import Missed
from theseus_fx.run.job import Job
from theseus_fx.run.rates import steps_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The chosen candidate of one method."""

    model: nn.Module
    validation: float
    test: float
    details: Mapping[str, float]
    """Every metric of the task on the test split."""
    steps: int
    """Gradient steps of the chosen candidate."""
    seconds: float
    """Seconds of the chosen candidate."""
    chosen: Mapping[str, float | None]
    """Its learning rates; None where it takes no step."""
    trials: tuple[Mapping[str, Any], ...]
    """All candidates, with their values on validation."""
    stages: tuple[Mapping[str, Any], ...]
    """What the alignment stages of the chosen candidate did."""
    kept_guide: tuple[str, ...]
    """Parts that are the guide's still."""
    batchnorm: Mapping[str, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _OutOfRace:
    """A candidate of which a stage did not pass its gates."""

    rates: Mapping[str, float | None]
    aligned: Aligned
    missed: Missed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    rates: Mapping[str, float | None]
    aligned: Aligned | None
    finetuned: Finetuned
    kept_guide: tuple[str, ...]

    @property
    def steps(self) -> int:
        return self.finetuned.steps + (self.aligned.steps if self.aligned else 0)

    @property
    def seconds(self) -> float:
        return self.finetuned.seconds + (self.aligned.seconds if self.aligned else 0.0)


def by_schedule(job: Job, name: str) -> Outcome:
    """The plan's own way: align stage by stage, recalibrate, fine-tune.

    Raises:
        Rejected: THX802 where no candidate passes the gates of its stages.
    """
    return _best(job, _scheduled(job, name, "planned", ()))


def from_random_start(job: Job, name: str, *, kept_guide: Sequence[str]) -> Outcome:
    """The paper's recipe, whatever the plan says of starts: the same schedule from random replacements.

    Gates extend its stages too, but neither stop it nor give parts back to the guide: it is to have the same
    architecture as the conversion.
    """
    return _best(job, _scheduled(job, name, "random", kept_guide))


def distillation(job: Job, name: str, *, kept_guide: Sequence[str]) -> Outcome:
    """Progressive distillation from a random start: stages train on the guide's logits (appendix I)."""
    return from_random_start(replace(job, plan=distilled(job.plan)), name, kept_guide=kept_guide)


def trained_whole(
    job: Job,
    name: str,
    build: Callable[[], nn.Module],
    settings: Training | None,
    *,
    steps: int,
    kept_guide: Sequence[str],
    recalibrated: bool = True,
) -> Outcome:
    """A network without stages: it is built, recalibrated and trained.

    Args:
        job: the run.
        name: of the method.
        build: makes the network, the same one for every candidate.
        settings: of its training.
        steps: of each candidate.
        kept_guide: parts that are the guide's in it.
        recalibrated: whether batch statistics are computed anew first.
    """
    return _best(job, _whole(job, name, build, settings, steps, kept_guide, recalibrated))


def finetune_steps(job: Job) -> int:
    """Steps that the spec budgets for fine-tuning."""
    settings = job.plan.finetune
    return 0 if settings is None else steps_of(settings.budget, job.source.steps_per_epoch)


def _scheduled(job: Job, name: str, start: Start, kept_guide: Sequence[str]) -> Iterator[_Trial | _OutOfRace]:
    candidates = alignments(job, start)
    rates = finetune_rates(job) if start == "planned" else baseline_rates(job)
    settings = job.plan.finetune if start == "planned" else baseline_settings(job)
    for i, stage_rates in enumerate(candidates, 1):
        first = next(iter(stage_rates.values()))
        aligned = align(
            job.session.unit(f"{name}/align-{i}"),
            job,
            rates=stage_rates,
            start=start,
            without_parts=kept_guide,
            enforce=start == "planned",
        )
        outcome = aligned.outcome
        if isinstance(outcome, Missed):
            job.session.observer.end(name, f"align {_rate(first)}: {outcome}")
            job.forecast.change(-finetune_steps(job) * sum(rate is not None for rate in rates))
            yield _OutOfRace(rates={"align": first}, aligned=aligned, missed=outcome)
            continue
        for j, rate in enumerate(rates, 1):
            tuned = finetune(
                job.session.unit(f"{name}/align-{i}-finetune-{j}"),
                job,
                copy.deepcopy(outcome),
                settings,
                rate=rate,
                steps=finetune_steps(job),
                title=f"{name}: fine-tuning, candidate {j} of {len(rates)}",
            )
            job.session.observer.end(
                name, f"align {_rate(first)}, fine-tune {_rate(rate)}: {tuned.validation:.4f} on validation"
            )
            yield _Trial(
                rates={"align": first, "finetune": rate},
                aligned=aligned,
                finetuned=tuned,
                kept_guide=aligned.kept_guide,
            )


def _whole(
    job: Job,
    name: str,
    build: Callable[[], nn.Module],
    settings: Training | None,
    steps: int,
    kept_guide: Sequence[str],
    recalibrated: bool,
) -> Iterator[_Trial]:
    rates = baseline_rates(job)
    for j, rate in enumerate(rates, 1):
        tuned = finetune(
            job.session.unit(f"{name}/finetune-{j}"),
            job,
            build(),
            settings,
            rate=rate,
            steps=steps,
            title=f"{name}: candidate {j} of {len(rates)}",
            recalibrated=recalibrated,
        )
        job.session.observer.end(name, f"fine-tune {_rate(rate)}: {tuned.validation:.4f} on validation")
        yield _Trial(rates={"finetune": rate}, aligned=None, finetuned=tuned, kept_guide=tuple(kept_guide))


def _best(job: Job, trials: Iterator[_Trial | _OutOfRace]) -> Outcome:
    """The candidate with the best value on validation; of equals the one with fewer steps."""
    best: _Trial | None = None
    told: list[Mapping[str, Any]] = []
    out: list[Missed] = []
    for trial in trials:
        if isinstance(trial, _OutOfRace):
            out.append(trial.missed)
            told.append({**trial.rates, "missed": str(trial.missed), "steps": trial.aligned.steps})
            continue
        told.append({**trial.rates, "validation": trial.finetuned.validation, "steps": trial.steps})
        if best is None or _key(job, trial) > _key(job, best):
            best = trial
    if best is None and out:
        raise Rejected(*(missed.diagnostic(job.plan) for missed in dict.fromkeys(out)))
    if best is None:
        raise ValueError("a method has at least one candidate")
    test = job.judge(best.finetuned.model, Split.TEST)
    return Outcome(
        model=best.finetuned.model,
        validation=best.finetuned.validation,
        test=test.value,
        details=test.details,
        steps=best.steps,
        seconds=best.seconds,
        chosen=best.rates,
        trials=tuple(told),
        stages=best.aligned.stages if best.aligned else (),
        kept_guide=best.kept_guide,
        batchnorm=best.finetuned.batchnorm,
    )


def _key(job: Job, trial: _Trial) -> tuple[float, int]:
    sign = 1.0 if job.task.direction == "higher" else -1.0
    return sign * trial.finetuned.validation, -trial.steps


def _rate(rate: float | None) -> str:
    return "no step" if rate is None else f"at {rate:g}"
