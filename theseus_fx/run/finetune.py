"""Training a whole model on the task: the guide where the spec asks for it, a converted model, a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from theseus_fx.data.source import Batch, Split
from theseus_fx.lang.spec import Training
from theseus_fx.run.gradients import Losses, Work
from theseus_fx.run.job import Job, compares_with_guide, logits_of
from theseus_fx.run.recalibrate import recalibrate
from theseus_fx.run.recompute import blocks
from theseus_fx.run.session import Stopwatch, Unit
from theseus_fx.run.training import Phase, PhaseState, train


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """What fine-tuning leaves."""

    model: nn.Module
    """In eval mode."""
    validation: float
    """The task's metric on the validation split."""
    batchnorm: Mapping[str, float] | None
    """The metric on validation `before` and `after` recalibration, where there was one."""
    steps: int
    seconds: float


def finetune(
    unit: Unit,
    job: Job,
    model: nn.Module,
    settings: Training | None,
    *,
    rate: float | None,
    steps: int,
    title: str,
    recalibrated: bool = True,
) -> Finetuned:
    """Recalibrates the model and trains all of it on the task, or takes up the unit where it was left.

    Args:
        unit: where checkpoints and the result are kept.
        job: the run.
        model: on the device; changed in place.
        settings: loss, optimizer and the shape of the learning rate; None where the spec has no `finetune`.
        rate: the peak learning rate; None takes no step.
        steps: how many steps.
        title: for the person who watches.
        recalibrated: whether batch statistics are computed anew first, where the plan says so.
    """
    if (done := unit.finished()) is not None:
        job.forecast.change(-done.facts["steps"])
        _load(model, done.tensors)
        return Finetuned(
            model=model.eval(),
            validation=done.facts["validation"],
            batchnorm=done.facts["batchnorm"],
            steps=done.facts["steps"],
            seconds=done.facts["seconds"],
        )
    kept = unit.resume()
    watch = Stopwatch(before=0.0 if kept is None else kept["seconds"])
    if kept is None:
        batchnorm = _recalibrated(job, model) if recalibrated else None
        state = PhaseState()
    else:
        batchnorm = kept["batchnorm"]
        _load(model, kept["model"])
        state = PhaseState(**kept["phase"])

    def keep(at: PhaseState) -> None:
        unit.keep(
            at.step,
            {
                "model": model.state_dict(),
                "phase": at.kept(),
                "batchnorm": batchnorm,
                "seconds": watch.seconds,
            },
        )

    if settings is not None and rate is not None:
        phase = task_phase(job, model, settings, peak=rate, steps=steps, title=title, stream="finetune")
        train(unit, phase, state, keep)
    model.eval()
    facts: dict[str, Any] = {
        "validation": job.evaluate(model, Split.VALIDATION),
        "batchnorm": batchnorm,
        "steps": state.step,
        "seconds": watch.seconds,
    }
    unit.finish(facts, model.state_dict())
    return Finetuned(model=model, **facts)


def task_phase(
    job: Job, model: nn.Module, settings: Training, *, peak: float, steps: int, title: str, stream: str
) -> Phase:
    """The phase that trains all parameters of the model, in train mode, on the task's loss.

    Args:
        job: the run.
        model: on the device; trained in place.
        settings: loss, optimizer and the shape of the learning rate.
        peak: the peak learning rate.
        steps: how many steps.
        title: for the person who watches.
        stream: which batches it sees; phases with the same stream see the same ones.
    """
    model.train().requires_grad_(True)

    def forward(batch: Batch) -> Sequence[Tensor]:
        outputs = [logits_of(model, *batch.inputs)]
        if compares_with_guide(settings.loss):
            with torch.no_grad():
                outputs.append(logits_of(job.guide, *batch.inputs))
        return outputs

    def loss(outputs: Sequence[Tensor], batch: Batch) -> Losses:
        logits, *guide = outputs
        return job.loss(settings.loss, logits, batch.labels, guide=next(iter(guide), None)), {}

    return Phase(
        title=title,
        record={"phase": "task"},
        parameters=list(model.parameters()),
        steps=steps,
        settings=settings,
        peak=peak,
        steps_per_epoch=job.source.steps_per_epoch,
        batch_size=job.source.batch_size,
        work=Work(
            batch=lambda step: job.train_batch(step, stream=stream),
            forward=forward,
            loss=loss,
            modules=[model],
            is_mean=True,
        ),
        recompute=blocks(model),
    )


def _recalibrated(job: Job, model: nn.Module) -> dict[str, float] | None:
    if not job.plan.recalibrate:
        return None
    before = job.evaluate(model, Split.VALIDATION)
    recalibrate(job, model, job.plan.recalibrate)
    return {"before": before, "after": job.evaluate(model, Split.VALIDATION)}


def _load(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    model.load_state_dict(dict(state))
