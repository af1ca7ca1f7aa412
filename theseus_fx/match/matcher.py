"""Rules against a guide: the sites of every rule in execution order, or all reasons why there are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from theseus_fx.graph.trace import ModuleCall, Trace
from theseus_fx.graph.values import ValueInfo
from theseus_fx.lang import syntax
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.evaluate import evaluate
from theseus_fx.lang.spec import RegionPattern, Rule, Spec
from theseus_fx.match.alike import merged
from theseus_fx.match.claims import Claim, boundary_problems, overlaps
from theseus_fx.match.globs import unused
from theseus_fx.match.ops.index import Index, make_index
from theseus_fx.match.ops.regions import Region
from theseus_fx.match.pattern import Miss, attributes_of, miss
from theseus_fx.match.reasons import count_problems
from theseus_fx.match.region_sites import (
    RegionClaim,
    own_attributes,
    own_modules,
    region_claims,
    region_overlaps,
    region_pattern,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One match of one rule: a part of the guide that will be replaced."""

    name: str
    """`conv[3]`: the rule and the 1-based number of the site in execution order."""
    rule: Rule
    path: str
    """The module's dotted name."""
    node: str
    """The graph node that calls it; its value is the part's output."""
    input_node: str
    """The node whose value flows in."""
    module_class: str
    description: str
    """The module as torch prints it, on one line."""
    input: ValueInfo
    output: ValueInfo
    names: Mapping[str, object]
    """What `where` and the replacement see: the params and, under the rule's binding, the part."""
    region: Region | None = None
    """The operations that go, where the rule matches operations and not one module."""
    modules: tuple[str, ...]
    """The modules that go with the part: itself, or those that only the region calls."""
    attributes: tuple[str, ...] = ()
    """Parameters and buffers of other modules that only the region reads."""

    def __str__(self) -> str:
        return f"{self.name} {self.path}"


def candidates(spec: Spec, model: nn.Module) -> Mapping[str, tuple[str, ...]]:
    """For each rule the paths of the modules that may match it, judged without running the model.

    `where` can only narrow them, once shapes are known.
    """
    modules = list(model.named_modules())
    return {
        rule.name: tuple(path for path, module in modules if path and miss(rule, path, module) is None)
        for rule in spec.rules
        if not isinstance(rule.pattern, RegionPattern)
    }


def match(spec: Spec, model: nn.Module, trace: Trace) -> tuple[Site, ...]:
    """All sites, in execution order.

    Args:
        spec: the checked spec.
        model: the guide, on any device; only names, classes and attributes are read.
        trace: its trace. What it records inside of a module that a rule matches is seen as well, so that two
            rules cannot claim a module and a part of it.

    Raises:
        Rejected: THX401 to THX405, every one that applies to any rule; what is wrong with a `where`.
    """
    problems: list[Diagnostic] = []
    claims: list[Claim] = []
    regions: list[RegionClaim] = []
    index = make_index(trace, model) if any(map(matches_operations, spec.rules)) else None
    paths = [path for path, _ in model.named_modules()]
    for rule in spec.rules:
        wrong = [*unused((*rule.within, *rule.keep), paths)]
        if index is not None and matches_operations(rule):
            regions += region_claims(rule, spec, index, _region_where(spec, index), wrong)
            problems += wrong
            continue
        found, misses = _find(rule, spec, model, trace, wrong)
        claims += found
        if not wrong:  # else the count is wrong because of that
            matched = [*dict.fromkeys(claim.call.path for claim in found)]
            wrong += count_problems(rule, matched, misses, model, trace)
        problems += wrong
    problems += overlaps(claims, trace)
    for claim in claims:
        problems += boundary_problems(claim, trace)
    if index is not None:
        covered = [(claim.rule, claim.call.path, index.covered(claim.call)) for claim in claims]
        problems += region_overlaps(regions, covered)
    if problems:
        raise Rejected(*merged(problems))
    numbers: Counter[str] = Counter()
    sites: list[Site] = []
    if index is not None:
        return _with_regions(claims, regions, spec, index)
    for claim in sorted(claims, key=lambda claim: claim.index):
        numbers[claim.rule.name] += 1
        sites.append(_site(claim, numbers[claim.rule.name], spec, model, trace))
    return tuple(sites)


def _find(
    rule: Rule, spec: Spec, model: nn.Module, trace: Trace, wrong: list[Diagnostic]
) -> tuple[list[Claim], list[Miss]]:
    """The calls that match, and why the others do not; what `where` rejects is added to `wrong`."""
    found: list[Claim] = []
    misses: list[Miss] = []
    for index, call in enumerate(trace.calls):
        if not call.path:
            continue
        reason = miss(rule, call.path, model.get_submodule(call.path))
        try:
            if reason is None and not _where_holds(rule, call, spec, model, trace):
                reason = Miss(call.path, 4, "does not fulfil `where`")
        except Rejected as rejected:
            wrong += rejected.diagnostics
            continue
        if reason is None:
            found.append(Claim(rule, index, call))
        else:
            misses.append(reason)
    return found, misses


def _where_holds(rule: Rule, call: ModuleCall, spec: Spec, model: nn.Module, trace: Trace) -> bool:
    if not rule.where:
        return True
    names = _names(rule, call, spec, model, trace)
    return all(_truth(evaluate(condition, names), condition) for condition in rule.where)


def _truth(value: object, condition: syntax.Expression) -> bool:
    if not isinstance(value, bool):
        raise Rejected(
            Diagnostic(
                code="THX203",
                message="`where` takes a condition, which is true or false",
                primary=Label(condition.span),
                help=("write a comparison, such as `c.in.channels <= 64`",),
            )
        )
    return value


def _names(rule: Rule, call: ModuleCall, spec: Spec, model: nn.Module, trace: Trace) -> dict[str, object]:
    """What the expressions of a rule can refer to."""
    names: dict[str, object] = dict(spec.params)
    if rule.pattern.binding is not None:
        part: dict[str, object] = attributes_of(model.get_submodule(call.path))
        if call.inputs:
            part["in"] = _value_names(trace.value(call.inputs[0]))
        if call.node is not None:
            part["out"] = _value_names(trace.value(call.node))
        names[rule.pattern.binding] = part
    return names


def _value_names(value: ValueInfo) -> dict[str, object]:
    names: dict[str, object] = {"shape": value.shape, "rank": len(value.shape)}
    if all(isinstance(size, int) for size in value.shape[1:]):
        names["features"] = value.features
    if len(value.shape) > 1:
        names["channels"] = value.shape[1]
    return names


def _site(claim: Claim, number: int, spec: Spec, model: nn.Module, trace: Trace) -> Site:
    rule, call = claim.rule, claim.call
    if call.node is None:  # boundary_problems has reported it
        raise AssertionError(f"{call.name} has no single output")
    module = model.get_submodule(call.path)
    description = repr(module) if not any(True for _ in module.children()) else type(module).__name__
    return Site(
        name=f"{rule.name}[{number}]",
        rule=rule,
        path=call.path,
        node=call.node,
        input_node=call.inputs[0],
        module_class=type(module).__name__,
        description=" ".join(description.split()),
        input=trace.value(call.inputs[0]),
        output=trace.value(call.node),
        names=_names(rule, call, spec, model, trace),
        modules=(call.path,),
    )


# --- rules over operations --------------------------------------------------------------------------------


def matches_operations(rule: Rule) -> bool:
    """Whether a rule matches regions of the graph, and not modules."""
    return isinstance(rule.pattern, RegionPattern)


def _with_regions(
    claims: Sequence[Claim], regions: Sequence[RegionClaim], spec: Spec, index: Index
) -> tuple[Site, ...]:
    """The sites of modules and regions in execution order: by the first operation of each."""
    begins: list[tuple[int, Claim | RegionClaim]] = [
        (min(index.position[name] for name in index.covered(claim.call)), claim) for claim in claims
    ]
    begins += [(index.position[claim.region.nodes[0]], claim) for claim in regions]
    numbers: Counter[str] = Counter()
    sites: list[Site] = []
    for _, claim in sorted(begins, key=lambda entry: entry[0]):
        numbers[claim.rule.name] += 1
        number = numbers[claim.rule.name]
        if isinstance(claim, Claim):
            sites.append(_site(claim, number, spec, index.model, index.trace))
        else:
            sites.append(_region_site(claim, number, spec, index))
    return tuple(sites)


def _region_site(claim: RegionClaim, number: int, spec: Spec, index: Index) -> Site:
    rule, region = claim.rule, claim.region
    operations = "1 operation" if len(region.nodes) == 1 else f"{len(region.nodes)} operations"
    name = region_pattern(rule).operations.name
    return Site(
        name=f"{rule.name}[{number}]",
        rule=rule,
        path=claim.path,
        node=region.output,
        input_node=region.inputs[0],
        module_class=name,
        description=f"{name}: {operations}",
        input=index.trace.value(region.inputs[0]),
        output=index.trace.value(region.output),
        names=_region_names(rule, region, spec, index),
        region=region,
        modules=own_modules(region, index),
        attributes=own_attributes(region, index),
    )


def _region_where(spec: Spec, index: Index) -> Callable[[Rule, Region], bool]:
    def holds(rule: Rule, region: Region) -> bool:
        if not rule.where:
            return True
        names = _region_names(rule, region, spec, index)
        return all(_truth(evaluate(condition, names), condition) for condition in rule.where)

    return holds


def _region_names(rule: Rule, region: Region, spec: Spec, index: Index) -> dict[str, object]:
    """What the expressions of a rule over operations can refer to: `r.in`, `r.out` and the bound values."""
    names: dict[str, object] = dict(spec.params)
    pattern = region_pattern(rule)
    if pattern.binding is not None:
        values = index.trace.values
        part: dict[str, object] = {}
        for name in pattern.operations.bindings:
            part[name] = None
        for name, node in region.names.items():
            calls = index.calls.get(node, ())
            described = dict(index.attributes(calls[-1].path)) if calls else {}
            part[name] = {**described, **(_value_names(values[node]) if node in values else {})}
        part["in"] = _value_names(values[region.inputs[0]])
        part["out"] = _value_names(values[region.output]) if region.output in values else None
        names[pattern.binding] = part
    return names
