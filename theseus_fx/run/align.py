"""The alignment stages: replace, then match the guide's activations (Network of Theseus, Algorithm 1).

Section 3.2 of the paper decides what is trained: all replacements introduced so far, together. Everything
else is frozen and in eval mode, BatchNorm included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from theseus_fx.data.order import stable_seed
from theseus_fx.data.source import Batch, Split
from theseus_fx.graph.program import StageProgram, stage_program
from theseus_fx.planning.plan import Stage, Tap
from theseus_fx.run.gates import Missed, without
from theseus_fx.run.gradients import Losses, Work
from theseus_fx.run.job import Job
from theseus_fx.run.measures import HeldOut, TakeHeldOut, judged
from theseus_fx.run.rates import steps_of
from theseus_fx.run.samples import LEAST
from theseus_fx.run.session import Stopwatch, Unit
from theseus_fx.run.start import fitted_start, random_start
from theseus_fx.run.stopping import Ending
from theseus_fx.run.training import Phase, PhaseState, train
from theseus_fx.similarity import Cka, Reading, distillation_loss, read, tap_losses

Parts = dict[str, nn.Module]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligned:
    """What the stages leave."""

    parts: Parts
    """The replacements by part name."""
    kept_guide: tuple[str, ...]
    """Parts that the guide keeps, for their stage did not pass."""
    missed: Missed | None
    """The stage that did not pass, if one ended the schedule."""
    stages: tuple[Mapping[str, Any], ...]
    """What each stage did, as JSON values."""
    steps: int
    """Gradient steps taken."""
    seconds: float


def align(
    unit: Unit,
    job: Job,
    *,
    rates: Mapping[int, float | None],
    start: Literal["planned", "random"],
    without_parts: Sequence[str] = (),
    enforce: bool = True,
) -> Aligned:
    """Runs every stage of the plan, or takes up the unit where it was left.

    Args:
        unit: where checkpoints and the result are kept.
        job: the run.
        rates: the peak learning rate of each stage by its number; None takes no gradient step in it.
        start: how replacements begin: as planned, or at random whatever the plan says.
        without_parts: parts that the guide keeps from the beginning.
        enforce: whether a stage that does not pass its gates ends the schedule or gives its parts back to the
            guide; else it is recorded and goes on.
    """
    budgets = {
        stage.number: steps_of(stage.alignment.budget, job.source.steps_per_epoch)
        for stage in job.plan.stages
        if rates[stage.number] is not None
    }
    if (done := unit.finished()) is not None:
        job.forecast.change(-sum(budgets.values()))
        return _restored(job, done.facts, done.tensors)
    kept = unit.resume() or {}
    dropped: list[str] = kept.get("kept_guide", list(without_parts))
    missed: Missed | None = None
    parts: Parts = _load_parts(job, kept.get("parts", {}))
    records: list[dict[str, Any]] = kept.get("records", [])
    watch = Stopwatch(before=kept.get("seconds", 0.0))
    steps = sum(record["steps"] for record in records)

    # a stage that introduces nothing goes on training what was introduced, so that budgets stay equal
    planned = [stage for stage in job.plan.stages if set(stage.trains) - set(without_parts)]
    todo = {stage.number for stage in planned[len(records) :]}
    job.forecast.change(-sum(steps for number, steps in budgets.items() if number not in todo))
    for whole in planned[len(records) :]:
        stage = without(whole, dropped)
        fresh = kept.get("stage") != stage.number
        begun: dict[str, dict[str, float]] = {} if fresh else kept["begun"]
        if fresh:
            for name in stage.introduces:
                parts[name] = _introduce(job, stage, name, parts, start)
                kind = "random" if start == "random" else stage.start_of(name).kind
                begun[name] = _start_similarity(job, stage, name, parts, kind)
        state = PhaseState() if fresh else PhaseState(**kept["phase"])
        before = _before(job, stage, parts) if fresh else kept["before"]
        keep = _Keeper(unit, stage, parts, records, dropped, before, begun, watch)
        if fresh:
            keep(state)
        rate = rates[stage.number]
        if rate is not None and any(p.requires_grad for p in _trained(stage, parts)):
            ending = train(unit, _phase(unit, job, stage, parts, rate), state, keep)
        else:
            held = _held_out(job, stage, _program(job, stage, parts))
            ending = Ending(gates=judged(stage.alignment.gates, lambda h=held: float(h().loss), held))
        record = _stage_record(job, stage, parts, before, begun, taken=state.step, ending=ending)
        if enforce and ending.keeps_guide:
            dropped += stage.newest
            for name in stage.newest:
                del parts[name]
        elif enforce and ending.missed:
            missed = Missed.of(stage, ending)
        record["kept_guide"] = [name for name in stage.newest if name in dropped]
        record["validation"] = job.evaluate(job.hybrid(parts), Split.VALIDATION)
        records.append(record)
        steps += state.step
        job.forecast.change(state.step - budgets.get(stage.number, 0))
        kept = {}
        job.session.metrics.append([{"unit": unit.name, "event": "stage", **record}])
        job.session.observer.end(f"stage {stage.number}", _told(record))
        if missed is not None:
            job.forecast.change(-sum(steps for number, steps in budgets.items() if number > stage.number))
            break
    seconds = watch.seconds
    facts = {
        "stages": records,
        "steps": steps,
        "seconds": seconds,
        "kept_guide": dropped,
        "missed": None if missed is None else missed.as_json(),
    }
    unit.finish(facts, _flat(parts))
    return Aligned(
        parts=parts,
        kept_guide=tuple(dropped),
        missed=missed,
        stages=tuple(records),
        steps=steps,
        seconds=seconds,
    )


def total_steps(job: Job) -> int:
    """The gradient steps that the schedule budgets for all stages together."""
    per_epoch = job.source.steps_per_epoch
    return sum(steps_of(stage.alignment.budget, per_epoch) for stage in job.plan.stages)


def _introduce(
    job: Job, stage: Stage, name: str, parts: Mapping[str, nn.Module], start: Literal["planned", "random"]
) -> nn.Module:
    part = job.plan.part(name)
    planned = stage.start_of(name)
    if start == "random" or planned.kind == "random":
        return random_start(job, part)
    job.session.observer.say(f"fitting {part.name} {part.path}")
    return fitted_start(job, part, parts, planned)


def _start_similarity(job: Job, stage: Stage, name: str, parts: Parts, kind: str) -> dict[str, float]:
    """The similarity of a new part's output at the random start, and at that of its own kind."""
    own = replace(stage, taps=tuple(tap for tap in stage.taps if tap.part == name and not tap.extra))
    starts = {"random": random_start(job, job.plan.part(name)), kind: parts[name]}
    found = {kind: _before(job, own, {**parts, name: module}) for kind, module in starts.items()}
    return {kind: taps[name] for kind, taps in found.items() if name in taps}


def _phase(unit: Unit, job: Job, stage: Stage, parts: Parts, peak: float) -> Phase:
    settings = stage.alignment
    per_epoch = job.source.steps_per_epoch
    steps = steps_of(settings.budget, per_epoch)
    program = _program(job, stage, parts)

    def forward(batch: Batch) -> Sequence[Tensor]:
        outputs = program(*batch.inputs)
        return *outputs.target_taps, *outputs.guide_taps

    def loss(outputs: Sequence[Tensor], batch: Batch) -> Losses:
        losses = _losses(stage, outputs[: len(stage.taps)], outputs[len(stage.taps) :])
        told = losses.detach() if settings.metric.name == "distill" else 1 - losses.detach()
        return losses.mean(), {_named(tap): value for tap, value in zip(stage.taps, told, strict=True)}

    newest = job.plan.part((stage.newest or stage.trains)[-1])
    return Phase(
        title=f"stage {stage.number} of {len(job.plan.stages)}: {newest.name} {newest.path}",
        record={"phase": "align", "stage": stage.number},
        parameters=_trained(stage, parts),
        steps=steps,
        settings=settings,
        peak=peak,
        steps_per_epoch=per_epoch,
        until=settings.until,
        gates=settings.gates,
        held_out=_held_out(job, stage, program),
        batch_size=job.source.batch_size,
        work=Work(
            batch=lambda step: job.train_batch(step, stream=f"stage {stage.number}"),
            forward=forward,
            loss=loss,
            modules=[parts[name] for name in stage.trains],
            is_mean=False,
        ),
        recompute=list(parts.values()),
    )


def _losses(stage: Stage, targets: Sequence[Tensor], guides: Sequence[Tensor]) -> Tensor:
    """The loss of each tap, (taps,)."""
    metric = stage.alignment.metric
    if metric.name == "distill":
        temperature = cast("float", metric.arguments["temperature"])
        pairs = zip(targets, guides, strict=True)
        return torch.stack([distillation_loss(a, b, temperature) for a, b in pairs])
    return tap_losses(targets, guides, Cka())


def _named(tap: Tap) -> str:
    return tap.part or "output"


def _held_out(job: Job, stage: Stage, program: StageProgram) -> TakeHeldOut:
    """The stage's taps on the batch that its readings are taken of."""

    @torch.no_grad()
    def take() -> HeldOut:
        outputs = program.eval()(*_held_out_batch(job).inputs)
        program.train()
        losses = _losses(stage, outputs.target_taps, outputs.guide_taps)
        return HeldOut(
            targets=outputs.target_taps,
            guides=outputs.guide_taps,
            weights=[tap.weight for tap in stage.taps],
            loss=losses.mean(),
        )

    return take


def _held_out_batch(job: Job) -> Batch:
    """The first batch of the validation split that can be compared.

    One of a single sample, as the last one may be, is dropped; `check_samples` has seen to it that there is
    another.
    """
    return next(batch for batch in job.batches(Split.VALIDATION) if len(batch.labels) >= LEAST)


def _trained(stage: Stage, parts: Parts) -> list[nn.Parameter]:
    """What the stage trains; nothing, where all its replacements are without parameters."""
    return [p for name in stage.trains for p in parts[name].parameters()]


def _program(job: Job, stage: Stage, parts: Mapping[str, nn.Module]) -> StageProgram:
    """The stage's slice of guide and target, up to the last tap."""
    stand = [(job.plan.part(name), module) for name, module in parts.items()]
    replacements = {part.node: part.placed(module) for part, module in stand}
    return stage_program(job.plan.trace, job.guide, replacements, taps=[tap.node for tap in stage.taps])


@torch.no_grad()
def _readings(job: Job, stage: Stage, parts: Mapping[str, nn.Module]) -> dict[str, Reading]:
    """Each tap's similarity on one held-out batch, and what it is to be read against."""
    outputs = _program(job, stage, parts).eval()(*_held_out_batch(job).inputs)
    found: dict[str, Reading] = {}
    for tap, a, b in zip(stage.taps, outputs.target_taps, outputs.guide_taps, strict=True):
        order = torch.Generator().manual_seed(stable_seed(job.session.seed, "chance", _named(tap)))
        found[_named(tap)] = read(a, b, order)
    return found


def _before(job: Job, stage: Stage, parts: Mapping[str, nn.Module]) -> dict[str, float]:
    return {name: reading.cka for name, reading in _readings(job, stage, parts).items()}


def _stage_record(
    job: Job,
    stage: Stage,
    parts: Mapping[str, nn.Module],
    before: Mapping[str, float],
    begun: Mapping[str, Mapping[str, float]],
    *,
    taken: int,
    ending: Ending,
) -> dict[str, Any]:
    """What the stage did: similarity of every tap before and after, and how it ended."""
    after = _readings(job, stage, parts)
    for name, reading in after.items():
        if reading.warning is not None:
            job.session.observer.say(f"{name}: {reading.warning}")
    return {
        "stage": stage.number,
        "parts": list(stage.introduces),
        "start": " and ".join(sorted({start.start.kind for start in stage.starts})),
        "start_similarity": dict(begun),
        "steps": taken,
        **ending.as_json(),
        "taps": {
            name: {
                "before": before[name],
                "after": reading.cka,
                "unbiased": reading.ucka,
                "chance": reading.chance,
            }
            for name, reading in after.items()
        },
    }


def _told(record: Mapping[str, Any]) -> str:
    taps: dict[str, Any] = record["taps"]
    name = record["parts"][-1] if record["parts"] else list(taps)[-1]
    newest = taps.get(name) or taps["output"]
    kept = ", does not pass: the guide's part stays" if record["kept_guide"] else ""
    return (
        f"{name}: similarity {newest['before']:.4f} -> {newest['after']:.4f} "
        f"(chance {newest['chance']:.4f}){kept}, hybrid {record['validation']:.4f} on validation"
    )


@dataclass(frozen=True, slots=True)
class _Keeper:
    """Writes a checkpoint of the unit in the middle of a stage."""

    unit: Unit
    stage: Stage
    parts: Parts
    records: list[dict[str, Any]]
    kept_guide: list[str]
    before: Mapping[str, float]
    begun: Mapping[str, Mapping[str, float]]
    watch: Stopwatch

    def __call__(self, state: PhaseState) -> None:
        number = self.stage.number * 10**10 + state.step
        self.unit.keep(
            number,
            {
                "stage": self.stage.number,
                "phase": state.kept(),
                "parts": {name: module.state_dict() for name, module in self.parts.items()},
                "records": self.records,
                "kept_guide": self.kept_guide,
                "before": dict(self.before),
                "begun": dict(self.begun),
                "seconds": self.watch.seconds,
            },
        )


def _load_parts(job: Job, states: Mapping[str, Mapping[str, Tensor]]) -> Parts:
    parts: Parts = {}
    for name, state in states.items():
        module = job.plan.part(name).recipe.make(device=job.session.device)
        module.load_state_dict(state)
        parts[name] = module
    return parts


def _restored(job: Job, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Aligned:
    states: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, rest = key.partition("/")
        states.setdefault(name, {})[rest] = value
    parts = _load_parts(job, states)
    return Aligned(
        parts=parts,
        kept_guide=tuple(facts["kept_guide"]),
        missed=None if facts["missed"] is None else Missed.from_json(facts["missed"]),
        stages=tuple(facts["stages"]),
        steps=facts["steps"],
        seconds=facts["seconds"],
    )


def _flat(parts: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value for name, module in parts.items() for key, value in module.state_dict().items()
    }
