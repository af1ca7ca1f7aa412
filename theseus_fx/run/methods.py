"""The conversion and its baselines: every candidate is tried, validation chooses, test is seen once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

from torch import nn

from theseus_fx.data.source import Split
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.spec import LearningRate, Training
from theseus_fx.run.alignment.stages import Aligned, align, total_steps, unaligned
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
    return _best(job, _scheduled_trials(job, name, "planned", ()))


def from_random_start(job: Job, name: str, *, kept_guide: Sequence[str]) -> Outcome:
    """The paper's recipe, whatever the plan says of starts: the same schedule from random replacements.

    A candidate that takes no step is left out of its alignment, for then nothing would be left of it. Gates
    extend its stages too, but neither stop it nor give parts back to the guide: it is to have the same
    architecture as the conversion.
    """
    return _best(job, _scheduled_trials(job, name, "random", kept_guide))


def naive(job: Job, name: str, *, steps: int, kept_guide: Sequence[str]) -> Outcome:
    """All parts replaced at once, at random, the rest of the guide kept; recalibrated and fine-tuned."""
    return _best(job, _naive_trials(job, name, steps, kept_guide))


def finetune_steps(job: Job) -> int:
    """Steps that the spec budgets for fine-tuning."""
    settings = job.plan.finetune
    return 0 if settings is None else steps_of(settings.budget, job.source.steps_per_epoch)


def baseline_steps(job: Job, *, taken: int = 0) -> Mapping[str, int]:
    """The naive baselines by name and their steps: as many as fine-tuning has, and as the whole plan has.

    Where extensions made the conversion take more, it is as many as those that were `taken`.
    """
    return {
        "naive_equal_finetune": finetune_steps(job),
        "naive_equal_total": max(total_steps(job) + finetune_steps(job), taken),
    }


def expected_steps(job: Job) -> int:
    """About how many gradient steps conversion and baselines take, all candidates together."""
    tune, schedule = finetune_steps(job), total_steps(job)
    compare = job.plan.spec.compare
    methods = () if compare is None else compare.methods
    own = [_steps_of_trials(job, _alignments(job, "planned"), _finetune_rates(job), schedule, tune)]
    if "random_start" in methods:
        own.append(_steps_of_trials(job, _alignments(job, "random"), _baseline_rates(job), schedule, tune))
    if "naive" in methods:
        taken = [r for r in _baseline_rates(job) if r is not None]
        own += [steps * len(taken) for steps in baseline_steps(job).values()]
    return sum(own)


def _steps_of_trials(
    job: Job,
    alignments: Sequence[Mapping[int, float | None]],
    rates: Sequence[float | None],
    schedule: int,
    tune: int,
) -> int:
    aligned = sum(schedule for rate in alignments if any(r is not None for r in rate.values()))
    return aligned + len(alignments) * tune * sum(rate is not None for rate in rates)


def _scheduled_trials(
    job: Job, name: str, start: Literal["planned", "random"], kept_guide: Sequence[str]
) -> Iterator[_Trial | _OutOfRace]:
    alignments = _alignments(job, start)
    rates = _finetune_rates(job) if start == "planned" else _baseline_rates(job)
    settings = job.plan.finetune if start == "planned" else _baseline_settings(job)
    for (i, stage_rates), (j, rate) in product(enumerate(alignments, 1), enumerate(rates, 1)):
        unit = job.session.unit(f"{name}/align-{i}")
        aligned = align(
            unit,
            job,
            rates=stage_rates,
            start=start,
            without_parts=kept_guide,
            enforce=start == "planned",
        )
        first, outcome = stage_rates[1], aligned.outcome
        if isinstance(outcome, Missed):
            if j == 1:
                job.session.observer.end(name, f"align {_rate(first)}: {outcome}")
                yield _OutOfRace(rates={"align": first}, aligned=aligned, missed=outcome)
            continue
        tuned = finetune(
            job.session.unit(f"{name}/align-{i}-finetune-{j}"),
            job,
            outcome,
            settings,
            rate=rate,
            steps=finetune_steps(job),
            title=f"{name}: fine-tuning, candidate {j} of {len(rates)}",
        )
        told = {"align": first, "finetune": rate}
        job.session.observer.end(
            name, f"align {_rate(first)}, fine-tune {_rate(rate)}: {tuned.validation:.4f} on validation"
        )
        yield _Trial(rates=told, aligned=aligned, finetuned=tuned, kept_guide=aligned.kept_guide)


def _naive_trials(job: Job, name: str, steps: int, kept_guide: Sequence[str]) -> Iterator[_Trial]:
    rates = _baseline_rates(job)
    for j, rate in enumerate(rates, 1):
        tuned = finetune(
            job.session.unit(f"{name}/finetune-{j}"),
            job,
            unaligned(job, without_parts=kept_guide),
            _baseline_settings(job),
            rate=rate,
            steps=steps,
            title=f"{name}: candidate {j} of {len(rates)}",
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


def _alignments(job: Job, start: Literal["planned", "random"]) -> list[dict[int, float | None]]:
    """The candidates of the schedule: the n-th takes the n-th rate of every stage, or its last one."""
    compare = job.plan.spec.compare
    rates = {stage.number: stage.alignment.lr for stage in job.plan.stages}
    if start == "random" and compare is not None and compare.align_lr is not None:
        rates = dict.fromkeys(rates, compare.align_lr)
    candidates = {number: _usable(rate, start) for number, rate in rates.items()}
    count = max(len(c) for c in candidates.values())
    return [{number: c[min(i, len(c) - 1)] for number, c in candidates.items()} for i in range(count)]


def _usable(rate: LearningRate, start: Literal["planned", "random"]) -> tuple[float | None, ...]:
    if start == "planned":
        return rate.candidates
    stepping = tuple(c for c in rate.candidates if c is not None)
    return stepping or rate.candidates


def _finetune_rates(job: Job) -> tuple[float | None, ...]:
    return (None,) if job.plan.finetune is None else job.plan.finetune.lr.candidates


def _baseline_rates(job: Job) -> tuple[float | None, ...]:
    compare = job.plan.spec.compare
    if compare is not None and compare.lr is not None:
        return compare.lr.candidates
    return tuple(r for r in _finetune_rates(job) if r is not None) or (None,)


def _baseline_settings(job: Job) -> Training | None:
    """Those of `finetune`; a shape of the rate that `compare` writes out takes the place of its own."""
    compare, settings = job.plan.spec.compare, job.plan.finetune
    if settings is None or compare is None or compare.lr is None or compare.lr.shape == "constant":
        return settings
    return replace(settings, lr=compare.lr)


def _rate(rate: float | None) -> str:
    return "no step" if rate is None else f"at {rate:g}"
