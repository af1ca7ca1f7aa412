"""The same plan as progressive distillation (Network of Theseus, appendix I): `Plan -> Plan`."""

from __future__ import annotations

from dataclasses import replace

from theseus_fx.lang.spec import Metric
from theseus_fx.planning.plan import Plan, Stage, Tap


def distilled(plan: Plan) -> Plan:
    """The plan whose stages train on the guide's logits instead of on their taps.

    Each stage introduces and trains what it did, for its whole budget: without `until` and gates. Parts read
    what flows in the hybrid, for fed from the guide they would reach no logits. The temperature is that of
    `finetune`, where it distils.
    """
    terms = () if plan.finetune is None else plan.finetune.loss
    temperature = next((term.temperature for term in terms if term.kind == "distill"), 1.0)
    output = plan.trace.output
    tap = Tap(part=None, node=output, shape=plan.trace.value(output).shape)
    schedule = plan.spec.schedule
    metric = Metric(name="distill", arguments={"temperature": temperature}, span=schedule.span)
    in_hybrid = replace(schedule, axes=replace(schedule.axes, feed="target"))
    return replace(
        plan,
        spec=replace(plan.spec, schedule=in_hybrid),
        stages=tuple(_distilled(stage, metric, tap) for stage in plan.stages),
    )


def _distilled(stage: Stage, metric: Metric, tap: Tap) -> Stage:
    settings = replace(stage.alignment, metric=metric, until=None, gates=())
    return replace(stage, taps=(tap,), guide_inputs=(), alignment=settings)
