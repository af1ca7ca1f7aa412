"""Taps: where a part and its replacement are compared, and whether these values can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from theseus_fx.graph.inside import calls_inside
from theseus_fx.graph.trace import Trace
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected, did_you_mean
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import Rule
from theseus_fx.lang.spec_aligns import Align
from theseus_fx.match.matcher import Site
from theseus_fx.modules.flow import shown
from theseus_fx.modules.recipe import Recipe
from theseus_fx.planning.plan import Stage, Tap


def looks_inside(rule: Rule) -> bool:
    """Whether a rule aligns modules inside of its parts, so that the graph has to show them."""
    return any(align.kind == "module" for align in rule.aligns)


def part_taps(
    traced: Trace, sites: Sequence[Site], recipes: Sequence[Recipe]
) -> Mapping[str, tuple[Tap, ...]]:
    """The taps of each site by its name: the output first, then what the rule aligns besides.

    Args:
        traced: the guide.
        sites: in execution order.
        recipes: of the sites, which hold the aligned values.

    Raises:
        Rejected: THX524 for each value that a site does not have, or that has no row for each sample.
    """
    taps: dict[str, tuple[Tap, ...]] = {}
    problems: list[Diagnostic] = []
    for site, recipe in zip(sites, recipes, strict=True):
        made = [_output(site)]
        for align in site.rule.aligns:
            if align.extra:
                try:
                    made.append(_tap(traced, site, recipe, align))
                except Rejected as rejected:
                    problems += rejected.diagnostics
        taps[site.name] = tuple(made)
    if problems:
        raise Rejected(*problems)
    return taps


def unequal_taps(stages: Sequence[Stage]) -> Iterator[Diagnostic]:
    """THX531 for each metric that compares value by value what has two shapes, once for each `align`."""
    blamed: set[Span] = set()
    for stage in stages:
        metric = stage.alignment.metric
        for tap in stage.taps:
            unequal = tap.target_shape is not None and tap.target_shape != tap.shape
            if metric.name != "mse" or not unequal or tap.span is None or tap.span in blamed:
                continue
            blamed.add(tap.span)
            sides = f"{shown(tap.shape)} with {shown(tap.target_shape or ())}"
            yield Diagnostic(
                code="THX531",
                message=f"`mse` cannot compare `{called(tap)}`: {sides}",
                primary=Label(metric.span),
                secondary=(Label(tap.span, "aligned here"),),
                help=("write `metric = cka`, which compares any two widths",),
            )


def called(tap: Tap) -> str:
    """What a diagnostic calls a tap: `conv[1]`, `block[2] main ~ hidden`."""
    part = tap.part or "the output"
    return f"{part} {tap.value} ~ {tap.target}" if tap.extra else part


def _output(site: Site) -> Tap:
    """The tap that every part has."""
    own = next((align for align in site.rule.aligns if not align.extra), None)
    weight = 1.0 if own is None else own.weight
    span = None if own is None else own.span
    return Tap(part=site.name, node=site.node, shape=site.output.shape, weight=weight, span=span)


def _tap(traced: Trace, site: Site, recipe: Recipe, align: Align) -> Tap:
    node = _node(traced, site, align)
    if node not in traced.values:
        raise _refused(site, align, f"`{align.value}` of `{site}` is not one tensor")
    shape = traced.value(node).shape
    if next(iter(shape), None) != "batch":
        message = f"`{align.value}` of `{site}` is {shown(shape)}, which has no row for each sample"
        raise _refused(site, align, message)
    if align.target is None:
        raise AssertionError(f"`align {align}` is the output")
    target = recipe.shapes[align.target]
    if next(iter(target), None) != "batch":
        message = f"`{align.target}` in the replacement of `{site}` is {shown(target)}"
        raise _refused(site, align, f"{message}, which has no row for each sample")
    return Tap(
        part=site.name,
        node=node,
        shape=shape,
        value=align.value,
        target=align.target,
        target_shape=target,
        weight=align.weight,
        span=align.span,
    )


def _node(traced: Trace, site: Site, align: Align) -> str:
    """The guide's node whose value is aligned."""
    match align.kind:
        case "output":
            return site.node
        case "bound":
            names = {} if site.region is None else site.region.names
            if align.value not in names:
                message = f"`{site}` has no value `{align.value}`: the optional step there matched nothing"
                fix = "narrow the rule with `in`, `keep` or `where`, and write another for the other parts"
                raise _refused(site, align, message, fix)
            return names[align.value]
        case "module":
            return _node_inside(traced, site, align)


def _node_inside(traced: Trace, site: Site, align: Align) -> str:
    if site.call is None:
        raise AssertionError(f"`{site}` is no module")
    prefix = f"{site.path}."
    inside = [call for call in calls_inside(traced, site.call) if call.path.startswith(prefix)]
    found = [call for call in inside if call.path == f"{prefix}{align.value}"]
    if not found and site.call.demoted is not None:
        message = f"`{site}` could not be recorded inside: {site.call.demoted}"
        raise _refused(site, align, message, "leave this `align` out, or match a module inside of it")
    if not found:
        known = list(dict.fromkeys(call.path.removeprefix(prefix) for call in inside))
        helps = did_you_mean(align.value, known, what="modules that it calls")
        raise _refused(site, align, f"`{site}` calls no module `{align.value}`", *helps)
    if len(found) > 1:
        message = f"`{site}` calls `{align.value}` {len(found)} times"
        raise _refused(site, align, message, "name a module that is called once")
    if found[0].node is None:
        count = len(found[0].used)
        message = f"`{align.value}` of `{site}` returns {count or 'no'} tensors that the model uses"
        raise _refused(site, align, message, "name a module that returns one")
    return found[0].node


def _refused(site: Site, align: Align, message: str, *helps: str) -> Rejected:
    return Rejected(
        Diagnostic(
            code="THX524",
            message=message,
            primary=Label(align.value_span),
            secondary=(Label(site.rule.pattern.span, "matched here"),),
            help=helps,
        )
    )
