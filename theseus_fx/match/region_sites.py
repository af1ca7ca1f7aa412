"""Rules over operations against a traced model: their regions, or why there are none."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import nn
from torch.nn import functional

from theseus_fx.graph.trace import Trace
from theseus_fx.lang import syntax
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected, did_you_mean
from theseus_fx.lang.library import how_to_match, how_to_use, names_of_kind
from theseus_fx.lang.operations import Function, ModuleClass, Step, steps
from theseus_fx.lang.spec import RegionPattern, Rule, Spec
from theseus_fx.match.globs import fits_any
from theseus_fx.match.inputs import PartInput
from theseus_fx.match.ops.backtrack import Attempt
from theseus_fx.match.ops.find import find
from theseus_fx.match.ops.index import Index
from theseus_fx.match.ops.names import canonical
from theseus_fx.match.ops.regions import Region
from theseus_fx.match.pattern import class_names

_SHOWN_REASONS = 3
_SHOWN_PARTS = 6

Holds = Callable[[Rule, Region], bool]
"""Whether the `where` of a rule holds for a region."""


@dataclass(frozen=True, slots=True)
class RegionClaim:
    """One rule matched one region."""

    rule: Rule
    region: Region
    path: str
    """What the modules inside have in common: `layer1.0`."""


def region_claims(
    rule: Rule, spec: Spec, index: Index, holds: Holds, wrong: list[Diagnostic]
) -> list[RegionClaim]:
    """The regions of a rule; everything that is wrong with it is added to `wrong`.

    Added are THX201 and THX303 for names that mean nothing, THX401 and THX402 for counts, THX405 for regions
    that are no parts, and what is wrong with `where`.
    """
    pattern = region_pattern(rule)
    unknown = [*_unknown_names(pattern, spec, index)]
    if unknown:
        wrong += unknown
        return []
    failed: list[Diagnostic] = []

    def refusal(region: Region) -> str | None:
        if reason := _path_refusal(rule, region, index):
            return reason
        try:
            return None if holds(rule, region) else "does not fulfil `where`"
        except Rejected as rejected:
            failed.extend(rejected.diagnostics)
            return "cannot be judged"

    found = find(index, pattern.operations, refusal)
    claims = [RegionClaim(rule, region, path_of(region, index)) for region in found.regions]
    if failed:
        wrong += failed
    elif not wrong:
        wrong += _count_problems(claims, rule, pattern, found.attempts, index)
    for claim in claims:
        wrong += _boundary_problems(claim, index)
    return claims


def region_pattern(rule: Rule) -> RegionPattern:
    """The pattern of a rule over operations; TypeError for another rule."""
    if not isinstance(rule.pattern, RegionPattern):
        raise TypeError(f"rule `{rule.name}` matches modules")
    return rule.pattern


def leaf_paths(region: Region, index: Index) -> tuple[str, ...]:
    """The modules that are operations of a region, each once, in execution order."""
    return tuple(dict.fromkeys(call.path for call in region.calls(index) if call.leaf))


def path_of(region: Region, index: Index) -> str:
    """`layer1.0` where all modules of a region lie in it, `conv1..relu` where they have nothing in common."""
    paths = leaf_paths(region, index)
    if not paths:
        return region.output
    if len(paths) == 1:
        return paths[0]
    first, last = min(split := [path.split(".") for path in paths]), max(split)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    common = ".".join(name for name, _ in same)
    return common or f"{paths[0]}..{paths[-1]}"


def own_modules(region: Region, index: Index) -> tuple[str, ...]:
    """The leaf modules that are called in the region and nowhere else: they go when it is replaced."""
    inside = {id(call) for call in region.calls(index)}
    elsewhere = {call.path for call in index.trace.calls if id(call) not in inside}
    return tuple(path for path in leaf_paths(region, index) if path not in elsewhere)


def own_attributes(region: Region, index: Index) -> tuple[str, ...]:
    """The parameters and buffers that functions of the region read and nothing else does."""
    nodes = set(region.nodes)
    readers: dict[str, set[str]] = {}
    for node in index.trace.nodes.values():
        if node.op == "get_attr":
            readers.setdefault(str(node.target), set()).update(user.name for user in node.users)
    return tuple(name for name in dict.fromkeys(region.attributes) if readers[name] <= nodes)


def region_overlaps(
    regions: Sequence[RegionClaim], modules: Sequence[tuple[Rule, str, frozenset[str]]]
) -> Iterator[Diagnostic]:
    """THX403 for each two claims on one operation of which at least one is a region.

    Args:
        regions: of all rules, in the order of the rules.
        modules: the claims of module rules: the rule, the path, the nodes that the call covers.
    """
    claimed = [(c.rule, c.path, frozenset(c.region.nodes)) for c in regions]
    for position, (rule, path, nodes) in enumerate(claimed):
        for other, other_path, other_nodes in (*modules, *claimed[:position]):
            if not nodes.isdisjoint(other_nodes):
                yield Diagnostic(
                    code="THX403",
                    message=f"rules `{other.name}` and `{rule.name}` both claim operations of `{path}`",
                    primary=Label(rule.pattern.span, f"`{rule.name}` matches `{path}`"),
                    secondary=(Label(other.pattern.span, f"`{other.name}` matches `{other_path}`"),),
                    help=(f'leave it to one of them: `keep "{path}"` in the other rule',),
                )


def _path_refusal(rule: Rule, region: Region, index: Index) -> str | None:
    paths = leaf_paths(region, index)
    if rule.within and not (paths and all(fits_any(path, rule.within) for path in paths)):
        return f"is not in {_either(rule.within)}"
    if any(fits_any(path, rule.keep) for path in paths):
        return f"is kept by {_either(rule.keep)}"
    return None


def _either(globs: Sequence[syntax.Glob]) -> str:
    return " or ".join(f'"{glob.pattern}"' for glob in globs)


def region_inputs(region: Region, index: Index) -> tuple[PartInput, ...]:
    """The tensors that flow into a region: under the names of the pattern, else of their nodes."""
    named = {node: name for names in (region.names, region.entries) for name, node in names.items()}
    nodes = [node for node in (*region.inputs, *region.others) if node in index.trace.values]
    return tuple(
        PartInput(name=named.get(node, node), node=node, value=index.trace.value(node)) for node in nodes
    )


def region_problem(claim: RegionClaim, trace: Trace) -> str | None:
    """Why a region is no part: it takes no activation, or returns none."""
    region, values = claim.region, trace.values
    if region.inputs[0] not in values:
        return "does not take a tensor first; a part does"
    if region.output not in values:
        return "does not return one tensor; a part does"
    if not isinstance(next(iter(values[region.output].shape), None), str):
        return "returns the same for every sample; a part has a row for each"
    return None


def _boundary_problems(claim: RegionClaim, index: Index) -> Iterator[Diagnostic]:
    """THX405 where a region is no part."""
    problem = region_problem(claim, index.trace)
    if problem is None:
        return
    said = f"`{claim.path}` {problem}"
    yield Diagnostic(
        code="THX405",
        message=said,
        primary=Label(claim.rule.pattern.span, f"matches `{claim.path}`"),
        help=(f'exclude it with `keep "{claim.path}"`',),
    )


def _count_problems(
    claims: Sequence[RegionClaim],
    rule: Rule,
    pattern: RegionPattern,
    attempts: Sequence[Attempt],
    index: Index,
) -> Iterator[Diagnostic]:
    """THX401 where nothing was found, THX402 for another number than expected; with the nearest attempts."""
    helps, labels = _nearest(pattern, attempts, index)
    if not claims:
        yield Diagnostic(
            code="THX401",
            message=f"rule `{rule.name}` matched nothing",
            primary=Label(pattern.name_span),
            secondary=labels,
            help=helps,
        )
    elif rule.expect is not None and len(claims) != rule.expect:
        listed = ", ".join(claim.path for claim in claims[:_SHOWN_PARTS])
        more = f" and {len(claims) - _SHOWN_PARTS} more" if len(claims) > _SHOWN_PARTS else ""
        parts = "1 part" if rule.expect == 1 else f"{rule.expect} parts"
        yield Diagnostic(
            code="THX402",
            message=f"rule `{rule.name}` expects {parts} and found {len(claims)}",
            primary=Label(rule.expect_span or rule.span, f"found {len(claims)}"),
            secondary=labels,
            help=(f"found: {listed}{more}", *helps, f"if that is right, write `expect {len(claims)}`"),
        )


def _nearest(
    pattern: RegionPattern, attempts: Sequence[Attempt], index: Index
) -> tuple[tuple[str, ...], tuple[Label, ...]]:
    """What came nearest: how many steps matched, which did not, where and why; and a label at that step."""
    groups: dict[tuple[int, int, str], list[Attempt]] = {}
    for attempt in attempts:
        groups.setdefault((attempt.depth, id(attempt.step), attempt.reason), []).append(attempt)
    ranked = sorted(groups.values(), key=lambda alike: (-alike[0].depth, -len(alike)))
    helps = tuple(_said(pattern, alike, index) for alike in ranked[:_SHOWN_REASONS])
    if not helps:
        return (f"no operation of the guide is the last step of `{pattern.operations.name}`",), ()
    step = ranked[0][0].step
    span = None if step is None else step.span
    apart = span is not None and span != pattern.name_span
    return helps, (Label(span, "the nearest attempt stops here"),) if span is not None and apart else ()


def _said(pattern: RegionPattern, alike: Sequence[Attempt], index: Index) -> str:
    first = alike[0]
    node = shown_node(first.node, index)
    matched = "1 step" if first.depth == 1 else f"{first.depth} steps"
    if first.step is None:
        return f"nearly: {len(alike)} x all steps match, but it {first.reason} (first: {node})"
    what = str(first.step)
    return f"nearly: {len(alike)} x {matched} match, then `{what}` does not: {node} {first.reason}"


def shown_node(name: str, index: Index) -> str:
    """A node as a reader of the model knows it: the module call, else the node."""
    calls = index.calls.get(name)
    return calls[-1].name if calls else name


def _unknown_names(pattern: RegionPattern, spec: Spec, index: Index) -> Iterator[Diagnostic]:
    """THX303 and THX201 for classes and functions that neither the guide nor torch has."""
    seen: set[str] = set()
    for step in steps(pattern.operations.result):
        match step.operation:
            case ModuleClass(name=name) if not _has_class(name, index):
                known = sorted({*index.classes, *(n for n in dir(nn) if n[:1].isupper())})
                code, message, fix = "THX303", f"there is no module class `{name}`", how_to_match(name)
            case Function(name=name) if not _has_function(name, index):
                known = sorted({*index.functions, *spec.patterns, *names_of_kind("pattern")})
                code, message = "THX201", f"there is no function and no pattern `{name}`"
                fix = how_to_use(name, "pattern")
            case _:
                continue
        if name not in seen:
            seen.add(name)
            helps = fix or did_you_mean(name, known, what="known here")
            yield Diagnostic(code=code, message=message, primary=_label(step, pattern), help=helps)


def _label(step: Step, pattern: RegionPattern) -> Label:
    return Label(step.span or pattern.name_span)


def _has_class(name: str, index: Index) -> bool:
    return (
        name in index.classes
        or hasattr(nn, name)
        or any(name in class_names(type(module)) for module in index.model.modules())
    )


def _has_function(name: str, index: Index) -> bool:
    places = (torch, functional, torch.Tensor, operator)
    return canonical(name) in index.functions or any(hasattr(place, name) for place in places)
