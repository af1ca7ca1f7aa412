"""`order = easiest`: the part whose replacement begins most like it comes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from theseus_fx.graph.fed import FedStage, fed_program
from theseus_fx.graph.slices import Compared
from theseus_fx.planning.plan import Part
from theseus_fx.run.alignment.readings import held_out_batch
from theseus_fx.run.alignment.replaced import Replaced
from theseus_fx.run.job import Job
from theseus_fx.similarity import cka


def choose_order(job: Job) -> Sequence[str]:
    """All parts by the CKA of their output and the guide's at the start, highest first; kept for a resume.

    Each part is looked at alone, on held-out samples, between the guide's own inputs and outputs, whatever
    comes before it later. Equal ones stay in execution order. Empty where the spec has another order.
    """
    if job.plan.spec.schedule.order.kind != "easiest":
        return ()
    unit = job.session.unit("order")
    if (done := unit.finished()) is not None:
        return list(done.facts["order"])
    unit.resume()
    similarities = {part.name: _similarity(job, part) for part in job.plan.parts}
    order = sorted(similarities, key=lambda name: -similarities[name])
    unit.finish({"order": order, "similarities": similarities}, {})
    job.session.observer.end("order", ", ".join(f"{name} {similarities[name]:.4f}" for name in order))
    return order


@torch.no_grad()
def _similarity(job: Job, part: Part) -> float:
    job.session.observer.say(f"measuring {part.name} {part.path}")
    names = (part.name,)
    (about,) = (stage for stage in job.plan.stages if part.name in stage.newest)
    starts = tuple(s for stage in job.plan.stages for s in stage.starts if s.part == part.name)
    alone = replace(about, introduces=names, newest=names, trains=names, starts=starts)
    built = Replaced(job, "planned")
    built.begin(alone)
    placed = {part.node: part.placed_plainly(built.parts[part.name])}
    tap = Compared(part.node, part.node)
    program = fed_program(job.plan.trace, job.guide, [FedStage(replacements=placed, taps=(tap,))]).eval()
    (outputs,) = program(*held_out_batch(job, alone).inputs)
    return float(cka(outputs.target_taps[0], outputs.guide_taps[0]))
