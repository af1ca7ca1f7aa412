"""From a checked spec and a guide to a plan: trace, match, build the replacements, lay out the stages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from theseus_fx.graph.cost import forward_flops
from theseus_fx.graph.fingerprint import fingerprint
from theseus_fx.graph.trace import Trace, trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.spec import Alignment, Input, Spec
from theseus_fx.match.alike import merged
from theseus_fx.match.matcher import Site, Survey, candidates, matches_operations, survey
from theseus_fx.modules.recipe import Recipe
from theseus_fx.planning.attempt import attempt
from theseus_fx.planning.pairs import plan_pairs
from theseus_fx.planning.parts import make_parts, replacements, totals
from theseus_fx.planning.plan import PartStart, Plan, Stage
from theseus_fx.planning.recalibration import recalibration
from theseus_fx.planning.schedules import Layout, lay_out
from theseus_fx.planning.settings import alignments
from theseus_fx.planning.stages import make_stages, metric_problems
from theseus_fx.planning.starts import choose_start, is_trained
from theseus_fx.planning.taps import looks_inside, part_taps, unequal_taps
from theseus_fx.planning.units import reference_of, unit_of

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
    target: nn.Module | None = None,
    inputs: Sequence[InputSpec],
    batch_size: int | None,
    assignments: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Plan:
    """The plan of a conversion.

    Args:
        spec: the checked spec.
        model: the guide; its parameters may be on the meta device, for they are never read.
        guide: what to call it.
        target: the network of the spec's `target`, like the guide, where there is one.
        inputs: its inputs, with a symbolic batch.
        batch_size: of the data source, for the warnings about small batches.
        assignments: what `--set` changed, recorded in the plan.
        notes: what is known of the guide already; the plan's own come after.

    Raises:
        Rejected: THX3xx to THX5xx, all errors of a phase together.
    """
    if target is not None:
        made = plan_pairs(
            spec, model, target, guide=guide, inputs=inputs, batch_size=batch_size, assignments=assignments
        )
        return replace(made, notes=(*notes, *made.notes, *_notes(made.stages, batch_size)))
    traced, found = survey_guide(spec, model, inputs)
    sites = found.accepted()
    problems: list[Diagnostic] = []
    recipes = attempt(problems, lambda: replacements(spec, sites))
    layouts = attempt(problems, lambda: lay_out(spec.schedule, [reference_of(site) for site in sites]))
    settings = None if layouts is None else attempt(problems, lambda: alignments(spec.schedule, len(layouts)))
    taps = None if recipes is None else attempt(problems, lambda: part_taps(traced, sites, recipes))
    starts = None
    if recipes and layouts and settings:
        starts = _starts(problems, spec, model, sites, recipes, _settings_of(layouts, settings))
    recalibrate = [
        attempt(problems, lambda r=r: recalibration(r, model, sites, recipes or ())) for r in spec.recalibrate
    ]
    if problems or not (recipes and taps and layouts and settings and starts):
        raise Rejected(*merged(problems))
    flops = forward_flops(traced, model)
    parts = make_parts(model, traced, flops, sites, recipes, taps)
    units = [unit_of(part) for part in parts]
    stages = make_stages(traced, flops, units, layouts, settings, starts, feed=spec.schedule.axes.feed)
    if unfit := (*metric_problems(stages, batch_size), *unequal_taps(stages)):
        raise Rejected(*unfit)
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
        notes=(*notes, *_notes(stages, batch_size)),
    )


def survey_guide(spec: Spec, model: nn.Module, inputs: Sequence[InputSpec]) -> tuple[Trace, Survey]:
    """What the rules find, and the trace in which each site is one operation, unless something is wrong.

    The inside of a site is recorded where its rule aligns modules in it.

    Raises:
        Rejected: THX302 or THX304 where the guide cannot be traced.
    """
    wanted = {path for paths in candidates(spec, model).values() for path in paths}
    nested = any(path.startswith(f"{other}.") for path in wanted for other in wanted)
    nested = nested or any(map(matches_operations, spec.rules))  # which have to see what is inside
    opened = {rule.name for rule in spec.rules if looks_inside(rule)}
    traced = trace(model, inputs, leaves=() if nested or opened else wanted)
    found = survey(spec, model, traced)
    if (nested or opened) and not found.problems:
        # only now is it known which of them are whole parts, and that no other is inside them
        whole = (site for site in found.sites if site.region is None and site.rule.name not in opened)
        traced = trace(model, inputs, leaves={site.path for site in whole})
        found = survey(spec, model, traced)
    return traced, found


def _settings_of(layouts: Sequence[Layout], settings: Sequence[Alignment]) -> Mapping[str, Alignment]:
    """For each part the settings of the stage that is about it, which also say how it begins."""
    stages = zip(layouts, settings, strict=True)
    return {name: alignment for layout, alignment in stages for name in layout.newest}


def _starts(
    problems: list[Diagnostic],
    spec: Spec,
    model: nn.Module,
    sites: Sequence[Site],
    recipes: Sequence[Recipe],
    settings: Mapping[str, Alignment],
) -> dict[str, PartStart]:
    """How each replacement begins, and why."""
    starts: dict[str, PartStart] = {}
    trained = is_trained(spec.guide)
    for site, recipe in zip(sites, recipes, strict=True):
        wanted = settings[site.name].start
        module = None if site.region else model.get_submodule(site.path)
        chosen = attempt(
            problems,
            lambda s=site, r=recipe, w=wanted, m=module: choose_start(s, r, w, m, trained=trained),
        )
        if chosen is not None:
            starts[site.name] = chosen
    return starts


def _notes(stages: Sequence[Stage], batch_size: int | None) -> list[str]:
    """Biased CKA saturates when features outnumber samples (Kornblith et al. 2019, section 6)."""
    if batch_size is None:
        return []
    taps = {(tap.node, tap.target): tap for stage in stages if _biased(stage) for tap in stage.taps}
    widths = {key: max(map(_features, (tap.shape, tap.target_shape or ()))) for key, tap in taps.items()}
    wide = [d for d in widths.values() if d > batch_size]
    if not wide:
        return []
    return [
        f"{len(wide)} of {len(widths)} taps have more features (up to {max(wide):,}) than the batch has "
        f"samples ({batch_size}): biased CKA is high there even for unrelated activations, so read it "
        "against the chance level that a run reports beside it (THX507)"
    ]


def _biased(stage: Stage) -> bool:
    return stage.alignment.metric.name == "cka" and stage.alignment.rows.kind == "samples"


def _features(shape: Sequence[int | str]) -> int:
    return math.prod(size for size in shape[1:] if isinstance(size, int))
