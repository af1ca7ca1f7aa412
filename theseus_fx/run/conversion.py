"""A plan carried out from beginning to end, in a folder of its own, as often interrupted as need be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from theseus_fx.data.language import LanguageModelling
from theseus_fx.data.registry import declared_task
from theseus_fx.data.source import DataSource, Split
from theseus_fx.data.tasks import Objective, check_classes, check_vocabulary, task_of
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.printer import print_document
from theseus_fx.planning.plan import Plan
from theseus_fx.planning.ranks import with_ranks
from theseus_fx.planning.reordered import in_order
from theseus_fx.planning.saved import differing
from theseus_fx.run import environment
from theseus_fx.run.baselines import expected_steps, run_baselines
from theseus_fx.run.causality import check_causal
from theseus_fx.run.easiest import choose_order
from theseus_fx.run.events import Forecast
from theseus_fx.run.export import save_model
from theseus_fx.run.fitting.ranks import choose_ranks
from theseus_fx.run.folder import read_json, write_json, write_text
from theseus_fx.run.guide import PreparedGuide, prepare_guide
from theseus_fx.run.job import Job
from theseus_fx.run.methods import Outcome, by_schedule
from theseus_fx.run.session import Session

SUMMARY_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What a finished run gives."""

    model: nn.Module
    """The converted model, on the run's device, in eval mode."""
    summary: Mapping[str, Any]
    """`summary.json`."""
    folder: Path


def begin(plan: Plan, *, session: Session, source: DataSource, options: Mapping[str, Any]) -> None:
    """Writes into an empty run folder what was asked, so that the run explains itself and can be resumed.

    Args:
        plan: the plan.
        session: the run.
        source: the data.
        options: what `resume` has to know besides: how the run was called.
    """
    folder = session.folder
    write_text(folder / "spec.thx", plan.spec.source.text)
    for number, used in enumerate(plan.spec.uses, 1):
        write_text(folder / "uses" / f"{number}-{Path(used.name).name}", used.text)
    write_text(folder / "resolved.thx", print_document(plan.spec.document))
    write_json(folder / "plan.json", plan.as_json())
    write_json(folder / "environment.json", environment.describe(session.device))
    write_json(
        folder / "run.json",
        {
            "kind": "theseus-fx run",
            "schema": 1,
            "seed": session.seed,
            "device": session.device.type,
            "data": source.fingerprint(),
            **options,
        },
    )


def check_unchanged(plan: Plan, *, folder: Path, source: DataSource, device: str) -> None:
    """Refuses to go on with a run whose model, data or device is another one than when it began.

    Raises:
        Rejected: THX704 with what changed.
    """
    begun, run = read_json(folder / "plan.json"), read_json(folder / "run.json")
    changed = differing(begun, plan.as_json())
    if run["data"] != source.fingerprint():
        changed.append("data")
    if run["device"] != device:
        changed.append(f"device ({run['device']} then, {device} now)")
    if changed:
        raise Rejected(
            Diagnostic(
                code="THX704",
                message=f"{folder} cannot be resumed, for this has changed: {', '.join(changed)}",
                help=("start a new run; the numbers of this one would mix two things",),
            )
        )


def carry_out(
    plan: Plan,
    *,
    session: Session,
    source: DataSource,
    model: nn.Module | None = None,
    cache: Path | None = None,
) -> Conversion:
    """Runs whatever of the plan is not finished in the session's folder.

    Args:
        plan: the plan.
        session: the run; its folder holds what `begin` wrote.
        source: the data.
        model: the guide, where the caller hands it over; it is not changed.
        cache: where trained guides are kept for other runs.

    Raises:
        Rejected: whatever is wrong with weights, data or disk, or a loss that is not finite.
        Interrupted: the person asked to stop; the folder can be resumed.
    """
    task = _task(plan, source)
    guide = prepare_guide(plan, session=session, source=source, task=task, model=model, cache=cache)
    job = Job(
        plan=plan,
        session=session,
        source=source,
        task=task,
        guide=guide.model,
        handed_over=model is not None,
        forecast=Forecast(session.observer),
    )
    ranks = choose_ranks(job)
    job = replace(job, plan=with_ranks(plan, ranks))
    order = choose_order(job)
    job = replace(job, plan=in_order(job.plan, order, guide.model))
    check_causal(job)
    job.forecast.change(expected_steps(job))

    converted = by_schedule(job, "converted")
    save_model(
        session.folder,
        job.plan,
        converted.model,
        guide=guide.model,
        kept_guide=converted.kept_guide,
        handed_over=model is not None,
    )
    baselines = run_baselines(job, converted)

    summary = {
        **_summary(job, guide, converted, baselines),
        **({"ranks": ranks} if ranks else {}),
        **({"order": order} if order else {}),
    }
    write_json(session.folder / "summary.json", summary)
    return Conversion(model=converted.model, summary=summary, folder=session.folder)


def _task(plan: Plan, source: DataSource) -> Objective:
    wanted, data = plan.spec.task, plan.spec.data
    check_classes(wanted, source.classes)
    task = task_of(
        wanted, kind="classification" if data is None else declared_task(data), classes=source.classes
    )
    if isinstance(task, LanguageModelling):
        check_vocabulary(wanted, source.classes, plan.trace.value(plan.trace.output).shape)
    return task


def _summary(
    job: Job, guide: PreparedGuide, converted: Outcome, baselines: Mapping[str, Outcome]
) -> dict[str, Any]:
    totals = job.plan.totals
    return {
        "kind": "theseus-fx summary",
        "schema": SUMMARY_SCHEMA,
        "spec": job.plan.spec.source.name,
        "guide_model": job.plan.guide,
        "seed": job.session.seed,
        "device": job.session.device.type,
        "metric": {
            "name": job.task.metric,
            "direction": job.task.direction,
            "split": Split.TEST.value,
            "samples": job.source.sizes[Split.TEST],
        },
        "guide": {
            "value": guide.test,
            "details": dict(guide.details),
            "validation": guide.validation,
            "parameters": totals.parameters_guide,
            "flops": totals.flops_guide,
            "steps": guide.steps,
            "seconds": guide.seconds,
        },
        "converted": _outcome_json(converted, job),
        "baselines": {name: _outcome_json(outcome, job) for name, outcome in baselines.items()},
        "stages": list(converted.stages),
    }


def _outcome_json(outcome: Outcome, job: Job) -> dict[str, Any]:
    totals, back = job.plan.totals, [job.plan.part(name) for name in outcome.kept_guide]
    parameters = sum(p.numel() for p in outcome.model.parameters()) if back else totals.parameters_target
    return {
        "value": outcome.test,
        "details": dict(outcome.details),
        "validation": outcome.validation,
        "parameters": parameters,
        "flops": totals.flops_target - sum(part.flops_after - part.flops_before for part in back),
        "kept_guide": list(outcome.kept_guide),
        "steps": outcome.steps,
        "seconds": outcome.seconds,
        "chosen": dict(outcome.chosen),
        "trials": list(outcome.trials),
        "batchnorm": outcome.batchnorm,
        "stages": list(outcome.stages),
    }
