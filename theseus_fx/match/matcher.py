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
from theseus_fx.match.inputs import PartInput, input_names, inputs_of, value_names
from theseus_fx.match.ops.backtrack import Attempt
from theseus_fx.match.ops.index import Index, make_index
from theseus_fx.match.ops.regions import Region
from theseus_fx.match.pattern import Miss, attributes_of, miss
from theseus_fx.match.reasons import count_problems
from theseus_fx.match.region_sites import (
    RegionClaim,
    own_attributes,
    own_modules,
    region_claims,
    region_inputs,
    region_overlaps,
    region_pattern,
    region_problem,
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
    """The graph node whose value is the part's output."""
    operation: str
    """The graph node that calls the module: `node` itself, or the structure that it takes the output from."""
    inputs: tuple[PartInput, ...]
    """In the order of the parameters of the module's `forward`."""
    input_node: str
    """The node of the primary one, which flows into the replacement."""
    call: ModuleCall | None
    """In the trace; None for a region of operations."""
    module_class: str
    description: str
    """The module as torch prints it, on one line."""
    input: ValueInfo
    """Of the primary input."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What the rules found in a guide, whether or not it can be planned."""

    sites: tuple[Site, ...]
    """All matches that are parts, in execution order."""
    misses: Mapping[str, tuple[Miss, ...]]
    """By rule over modules, why every other call did not match."""
    attempts: Mapping[str, tuple[Attempt, ...]]
    """By rule over operations, where its pattern could have ended and did not."""
    problems: tuple[Diagnostic, ...]
    """What forbids a plan."""

    def accepted(self) -> tuple[Site, ...]:
        """The sites; `Rejected` where there are problems."""
        if self.problems:
            raise Rejected(*self.problems)
        return self.sites


def match(spec: Spec, model: nn.Module, trace: Trace) -> tuple[Site, ...]:
    """All sites, in execution order.

    Raises:
        Rejected: THX401 to THX405, every one that applies to any rule; what is wrong with a `where`.
    """
    return survey(spec, model, trace).accepted()


def survey(spec: Spec, model: nn.Module, trace: Trace) -> Survey:
    """What every rule finds, what it misses, and all that is wrong with it.

    Args:
        spec: the checked spec.
        model: the guide, on any device; only names, classes and attributes are read.
        trace: its trace. What it records inside of a module that a rule matches is seen as well, so that two
            rules cannot claim a module and a part of it.
    """
    problems: list[Diagnostic] = []
    claims: list[Claim] = []
    missed: dict[str, tuple[Miss, ...]] = {}
    attempts: dict[str, tuple[Attempt, ...]] = {}
    regions: list[RegionClaim] = []
    index = make_index(trace, model) if any(map(matches_operations, spec.rules)) else None
    paths = [path for path, _ in model.named_modules()]
    for rule in spec.rules:
        wrong = [*unused((*rule.within, *rule.keep), paths)]
        if index is not None and matches_operations(rule):
            matched_regions = region_claims(rule, spec, index, _region_where(spec, index), wrong)
            regions += matched_regions.claims
            attempts[rule.name] = matched_regions.attempts
            problems += wrong
            continue
        found, misses = _find(rule, spec, model, trace, wrong)
        claims += found
        missed[rule.name] = tuple(misses)
        if not wrong:  # else the count is wrong because of that
            matched = [*dict.fromkeys(claim.call.path for claim in found)]
            wrong += count_problems(rule, matched, misses, model, trace)
        problems += wrong
    problems += overlaps(claims, trace)
    if index is not None:
        covered = [(claim.rule, claim.call.path, index.covered(claim.call)) for claim in claims]
        problems += region_overlaps(regions, covered)
    numbers: Counter[str] = Counter()
    sites: list[Site] = []
    for claim in _in_order(claims, regions, index):
        if isinstance(claim, Claim):
            wrong = [*boundary_problems(claim, trace)]
            problems += wrong
            if wrong or claim.call.repeated:  # only the first of several calls is blamed
                continue
        elif region_problem(claim, trace) is not None:  # which is among the problems already
            continue
        numbers[claim.rule.name] += 1
        number = numbers[claim.rule.name]
        if isinstance(claim, Claim):
            sites.append(_site(claim, number, spec, model, trace))
        elif index is not None:
            sites.append(_region_site(claim, number, spec, index))
    return Survey(sites=tuple(sites), misses=missed, attempts=attempts, problems=merged(problems))


def _in_order(
    claims: Sequence[Claim], regions: Sequence[RegionClaim], index: Index | None
) -> list[Claim | RegionClaim]:
    """Claims on modules and regions in execution order: by the first operation of each."""
    if index is None:
        alone = sorted(claims, key=lambda claim: claim.index)
        return [*alone]
    together: list[Claim | RegionClaim] = [*claims, *regions]

    def begin(claim: Claim | RegionClaim) -> int:
        if isinstance(claim, RegionClaim):
            return index.position[claim.region.nodes[0]]
        return min((index.position[name] for name in index.covered(claim.call)), default=-1)

    return sorted(together, key=begin)


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
        if call.primary is not None:
            part["in"] = value_names(trace.value(call.primary.node))
        part["inputs"] = input_names(inputs_of(call, trace))
        if call.node is not None:
            part["out"] = value_names(trace.value(call.node))
        names[rule.pattern.binding] = part
    return names


def _site(claim: Claim, number: int, spec: Spec, model: nn.Module, trace: Trace) -> Site:
    rule, call = claim.rule, claim.call
    if call.node is None or call.primary is None:  # boundary_problems has reported it
        raise AssertionError(f"{call.name} has no single output, or no input")
    module = model.get_submodule(call.path)
    description = repr(module) if not any(True for _ in module.children()) else type(module).__name__
    return Site(
        name=f"{rule.name}[{number}]",
        rule=rule,
        path=call.path,
        node=call.node,
        operation=call.operation or call.node,
        inputs=inputs_of(call, trace),
        input_node=call.primary.node,
        call=call,
        module_class=type(module).__name__,
        description=" ".join(description.split()),
        input=trace.value(call.primary.node),
        output=trace.value(call.node),
        names=_names(rule, call, spec, model, trace),
        modules=(call.path,),
    )


# --- rules over operations --------------------------------------------------------------------------------


def matches_operations(rule: Rule) -> bool:
    """Whether a rule matches regions of the graph, and not modules."""
    return isinstance(rule.pattern, RegionPattern)


def _region_site(claim: RegionClaim, number: int, spec: Spec, index: Index) -> Site:
    rule, region = claim.rule, claim.region
    operations = "1 operation" if len(region.nodes) == 1 else f"{len(region.nodes)} operations"
    name = region_pattern(rule).operations.name
    return Site(
        name=f"{rule.name}[{number}]",
        rule=rule,
        path=claim.path,
        node=region.output,
        operation=region.output,
        inputs=region_inputs(region, index),
        input_node=region.inputs[0],
        call=None,
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
            part[name] = {**described, **(value_names(values[node]) if node in values else {})}
        part["in"] = value_names(values[region.inputs[0]])
        part["inputs"] = input_names(region_inputs(region, index))
        part["out"] = value_names(values[region.output]) if region.output in values else None
        names[pattern.binding] = part
    return names
