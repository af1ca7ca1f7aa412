"""From a checked spec and a guide to a plan: trace, match, build the replacements, lay out the stages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import nn

from theseus_fx.graph.cost import executed_share, forward_flops
from theseus_fx.graph.fingerprint import fingerprint
from theseus_fx.graph.trace import Trace, trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.spec import Alignment, Input, Spec, Start
from theseus_fx.match.alike import merged
from theseus_fx.match.matcher import Site, candidates, match, matches_operations
from theseus_fx.modules.recipe import Recipe
from theseus_fx.planning.parts import make_parts, replacements, totals
from theseus_fx.planning.plan import Part, Plan, Stage, Tap
from theseus_fx.planning.recalibration import recalibration
from theseus_fx.planning.settings import alignments
from theseus_fx.planning.starts import choose_start

T = TypeVar("T")

DTYPES: Mapping[str, torch.dtype] = {
    "f32": torch.float32,
    "f64": torch.float64,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i64": torch.int64,
}


def spec_inputs(inputs: Sequence[Input]) -> tuple[InputSpec, ...]:
    """The `input` sentences of a spec as the tracer takes them."""
    return tuple(InputSpec(name=i.name, dtype=DTYPES[i.dtype], shape=i.shape) for i in inputs)


def make_plan(
    spec: Spec,
    model: nn.Module,
    *,
    guide: str,
    inputs: Sequence[InputSpec],
    batch_size: int | None,
    assignments: Mapping[str, str] | None = None,
) -> Plan:
    """The plan of a conversion.

    Args:
        spec: the checked spec.
        model: the guide; its parameters may be on the meta device, for they are never read.
        guide: what to call it.
        inputs: its inputs, with a symbolic batch.
        batch_size: of the data source, for the warnings about small batches.
        assignments: what `--set` changed, recorded in the plan.

    Raises:
        Rejected: THX3xx to THX5xx, all errors of a phase together.
    """
    traced, sites = _matched(spec, model, inputs)
    problems: list[Diagnostic] = []
    recipes = _attempt(problems, lambda: replacements(spec, sites))
    settings = _attempt(problems, lambda: alignments(spec.schedule, len(sites)))
    starts = _starts(problems, sites, recipes, settings) if recipes and settings else None
    recalibrate = [
        _attempt(problems, lambda r=r: recalibration(r, model, sites, recipes or ()))
        for r in spec.recalibrate
    ]
    if problems or recipes is None or settings is None or starts is None:
        raise Rejected(*merged(problems))
    flops = forward_flops(traced, model)
    parts = make_parts(model, flops, sites, recipes)
    stages = _stages(traced, flops, parts, settings, starts)
    return Plan(
        spec=spec,
        assignments=assignments or {},
        inputs=tuple(inputs),
        batch_size=batch_size,
        trace=traced,
        model_fingerprint=fingerprint(traced, model),
        guide=guide,
        parts=parts,
        stages=stages,
        recalibrate=tuple(step for step in recalibrate if step is not None),
        finetune=spec.finetune,
        totals=totals(model, flops, parts),
        notes=tuple(_notes(stages, batch_size)),
    )


def _matched(spec: Spec, model: nn.Module, inputs: Sequence[InputSpec]) -> tuple[Trace, tuple[Site, ...]]:
    """The sites, and the trace in which each is one operation."""
    wanted = {path for paths in candidates(spec, model).values() for path in paths}
    nested = any(path.startswith(f"{other}.") for path in wanted for other in wanted)
    nested = nested or any(map(matches_operations, spec.rules))  # which have to see what is inside
    traced = trace(model, inputs, leaves=() if nested else wanted)
    sites = match(spec, model, traced)
    if nested:  # only now is it known which of them are whole parts, and that no other is inside them
        traced = trace(model, inputs, leaves={site.path for site in sites if site.region is None})
        sites = match(spec, model, traced)
    return traced, sites


def _attempt(problems: list[Diagnostic], step: Callable[[], T]) -> T | None:
    """What a step gives, or None and its diagnostics among the problems."""
    try:
        return step()
    except Rejected as rejected:
        problems += rejected.diagnostics
        return None


def _starts(
    problems: list[Diagnostic],
    sites: Sequence[Site],
    recipes: Sequence[Recipe],
    settings: Sequence[Alignment],
) -> list[tuple[Start, str]]:
    """How each replacement begins, and why."""
    chosen = [
        _attempt(problems, lambda s=site, r=recipe, a=alignment: choose_start(s, r, a.start))
        for site, recipe, alignment in zip(sites, recipes, settings, strict=True)
    ]
    return [start for start in chosen if start is not None]


def _stages(
    traced: Trace,
    flops: Mapping[str, int],
    parts: Sequence[Part],
    settings: Sequence[Alignment],
    starts: Sequence[tuple[Start, str]],
) -> tuple[Stage, ...]:
    """The progressive schedule: stage t introduces part t and trains parts 1 to t (paper, section 3.2)."""
    stages: list[Stage] = []
    for number, (alignment, (start, reason)) in enumerate(zip(settings, starts, strict=True), start=1):
        introduced = parts[:number]
        taps = tuple(Tap(part=p.name, node=p.node, shape=p.output_shape) for p in introduced)
        stages.append(
            Stage(
                number=number,
                introduces=(introduced[-1].name,),
                trains=tuple(p.name for p in introduced),
                taps=taps,
                alignment=alignment,
                start=start,
                start_reason=reason,
                guide_share=executed_share(traced, flops, [tap.node for tap in taps]),
                trainable_parameters=sum(p.parameters_after for p in introduced),
            )
        )
    return tuple(stages)


def _notes(stages: Sequence[Stage], batch_size: int | None) -> list[str]:
    """Biased CKA saturates when features outnumber samples (Kornblith et al. 2019, section 6)."""
    if batch_size is None:
        return []
    widths = {
        tap.node: _features(tap.shape) for s in stages if s.alignment.metric.name == "cka" for tap in s.taps
    }
    wide = [d for d in widths.values() if d > batch_size]
    if not wide:
        return []
    return [
        f"{len(wide)} of {len(widths)} taps have more features (up to {max(wide):,}) than the batch has "
        f"samples ({batch_size}): biased CKA is high there even for unrelated activations, so read it "
        "against the chance level that a run reports beside it (THX507)"
    ]


def _features(shape: Sequence[int | str]) -> int:
    return math.prod(size for size in shape[1:] if isinstance(size, int))
