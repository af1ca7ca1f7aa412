"""What a stage is reported by: the similarity of its taps on held-out samples, and its chance level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theseus_fx.data.order import stable_seed
from theseus_fx.data.source import Batch, Split
from theseus_fx.graph.program import StageOutputs
from theseus_fx.planning.plan import Stage, Tap
from theseus_fx.run.alignment.construction import Programs
from theseus_fx.run.alignment.losses import StageLoss
from theseus_fx.run.job import Job
from theseus_fx.run.measures import HeldOut, TakeHeldOut
from theseus_fx.run.samples import least_samples
from theseus_fx.similarity import Reading, read, token_rows

OUTPUT_ROWS = 1024
"""Tokens of a language model's output that are read: a sample of it is length x vocabulary numbers wide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TapReading:
    """One tap of one stage, on held-out samples."""

    similarity: Reading
    value: float
    """What the stage's own metric says of it, as in a step's record."""


def held_out_batch(job: Job, stage: Stage) -> Batch:
    """The batch that a stage is read on: the first of the validation split with enough samples to compare.

    One of a single sample, as the last one may be, is dropped; `check_samples` has seen to it that there is
    another.
    """
    least = least_samples(stage)
    return next(batch for batch in job.batches(Split.VALIDATION) if len(batch.labels) >= least)


def held_out(job: Job, stage: Stage, program: Programs) -> TakeHeldOut:
    """What the gates of a stage measure, with the values of its program on the held-out batch.

    Args:
        job: the run.
        stage: the stage.
        program: of this stage alone, in train mode, in which it is left.
    """
    loss = StageLoss.of(stage, job.session.device)

    @torch.no_grad()
    def take() -> HeldOut:
        (outputs,) = program.eval()(*held_out_batch(job, stage).inputs)
        program.train()
        return HeldOut(
            targets=[_rows(stage, tap, x) for tap, x in zip(stage.taps, outputs.target_taps, strict=True)],
            guides=[_rows(stage, tap, x) for tap, x in zip(stage.taps, outputs.guide_taps, strict=True)],
            weights=[tap.weight for tap in stage.taps],
            loss=loss(outputs)[0],
        )

    return take


def warning(stage: Stage, readings: Mapping[str, TapReading]) -> str | None:
    """What to know before believing the similarities of a stage, said of one tap.

    It is the tap of the stage's newest parts whose chance level is highest; where the model's output is
    compared, that.
    """
    own = [tap.name for tap in stage.taps if tap.part is None or tap.part in stage.newest]
    told = [(name, r.similarity) for name in own if (r := readings[name]).similarity.warning is not None]
    if not told:
        return None
    name, worst = max(told, key=lambda entry: entry[1].chance)
    return f"{name}: {worst.warning}"


@torch.no_grad()
def read_stage(job: Job, stage: Stage, outputs: StageOutputs) -> dict[str, TapReading]:
    """Each tap's reading, by name, from the values of guide and target in eval mode."""
    _, values = StageLoss.of(stage, job.session.device)(outputs)
    found: dict[str, TapReading] = {}
    for tap, a, b in zip(stage.taps, outputs.target_taps, outputs.guide_taps, strict=True):
        order = torch.Generator().manual_seed(stable_seed(job.session.seed, "chance", tap.name))
        found[tap.name] = TapReading(
            similarity=read(_rows(stage, tap, a), _rows(stage, tap, b), order), value=float(values[tap.name])
        )
    return found


def readings_json(
    stage: Stage, before: Mapping[str, Mapping[str, float]], after: Mapping[str, TapReading]
) -> dict[str, Any]:
    """The taps of a stage's record: CKA before and after, and the stage's own metric where that is another.

    Args:
        stage: the stage.
        before: what `kept` made of the readings before it.
        after: the readings after it.
    """
    name = stage.alignment.metric.name
    return {
        tap: {
            "before": before[tap]["cka"],
            "after": reading.similarity.cka,
            "unbiased": reading.similarity.ucka,
            "chance": reading.similarity.chance,
            **({} if name == "cka" else {name: {"before": before[tap]["value"], "after": reading.value}}),
        }
        for tap, reading in after.items()
    }


def kept(readings: Mapping[str, TapReading]) -> dict[str, dict[str, float]]:
    """What a checkpoint keeps of readings."""
    return {name: {"cka": r.similarity.cka, "value": r.value} for name, r in readings.items()}


def _rows(stage: Stage, tap: Tap, value: Tensor) -> Tensor:
    """What is a row of the similarity: as in the stage; of a language model's output always a token."""
    if stage.alignment.rows.kind == "tokens":
        return token_rows(value, stage.alignment.rows.at_most)
    if tap.part is None and value.dim() > 2:
        return token_rows(value, OUTPUT_ROWS)
    return value
