"""`order = easiest`: the plan once a run has measured which parts are easiest to replace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from theseus_fx.graph.cost import forward_flops
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.spec_stages import Order, OrderEntry
from theseus_fx.planning.plan import Plan
from theseus_fx.planning.schedules import lay_out
from theseus_fx.planning.settings import alignments
from theseus_fx.planning.stages import make_stages, metric_problems
from theseus_fx.planning.taps import unequal_taps
from theseus_fx.planning.units import Reference, unit_of


def in_order(plan: Plan, names: Sequence[str], guide: nn.Module) -> Plan:
    """The plan with its parts introduced in another order; how each of them begins stays.

    Args:
        plan: a plan whose stages are settled but for the order.
        names: of all its parts; none leaves the plan as it is.
        guide: the network that the plan was made for.

    Raises:
        Rejected: THX523 and THX531 where settings of a stage do not suit the part that is now in it.
    """
    if not names:
        return plan
    written = plan.spec.schedule
    if written.order.span is None:
        raise ValueError("an order that is measured stands in the spec")
    entries = tuple(OrderEntry(text=name, span=written.order.span) for name in names)
    schedule = replace(written, order=Order(kind="listed", entries=entries, span=written.order.span))
    layouts = lay_out(schedule, [Reference(name=p.name, path=p.path, family=p.rule) for p in plan.parts])
    stages = make_stages(
        plan.trace,
        forward_flops(plan.trace, guide),
        [unit_of(part) for part in plan.parts],
        layouts,
        alignments(schedule, len(layouts)),
        {start.part: start for stage in plan.stages for start in stage.starts},
        feed=schedule.axes.feed,
    )
    if unfit := (*metric_problems(stages, plan.batch_size), *unequal_taps(stages)):
        raise Rejected(*unfit)
    return replace(plan, spec=replace(plan.spec, schedule=schedule), stages=stages)
