"""What the rules of a spec find in its guide: sites, nearest misses, and what no rule covers.

Of a spec with a `target`: the windows of its pairs, and what no window holds. The JSON is schema version 2;
the human view is made from it. Shapes and FLOPs are as in a plan.

    kind         "theseus-fx match"
    schema       int; grows when a field changes its meaning or goes
    spec         path
    guide        {model, inputs: [{name, dtype, shape}], parameters: int, flops: int}
    target       null, or {model, parameters, flops, uncovered: UNCOVERED}
    rules        [RULE], in the order of the spec
    pairs        [PAIR], likewise; only with a target
    uncovered    UNCOVERED, of the guide
    diagnostics  [DIAGNOSTIC], why the spec cannot be planned; empty where the rules are right

    RULE         name; matches: "modules" | "operations"; pattern: as written, with its clauses;
                 expect: int | null; found: int; sites: [SITE], in execution order;
                 nearest: [MISS], where it found fewer than it should
    SITE         name: `conv[3]`; path; class: or the name of the pattern; node; input_shape; output_shape;
                 parameters; flops; modules: [path], that go with the part;
                 operations: [{node, name, path}], in execution order; empty of a rule over modules
    MISS         count: how many; path: of the first; class: or the name of the operation;
                 node: of a module its output, of an operation where the pattern stopped | null;
                 matched: int, steps of the pattern that matched, null of modules and where no one step is
                 to blame; step: of modules "attributes" | "in" | "keep" | "where", what it did not pass; of
                 operations the step of the pattern, or null; reason; paths
    PAIR         name; guide, target: as written, with their clauses; expect: int | null;
                 found: int, windows that both sides have; windows: [{name, guide: WINDOW | null, target:
                 WINDOW | null}], null where the other side has more; left: {guide: [block], target: [block]}
    WINDOW       blocks: [name], in execution order; node; shape: of the last one's output;
                 parameters; flops: of the blocks
    UNCOVERED    parameters: int; flops: int; share: SHARE of the network's; groups: [GROUP]
    GROUP        kind: "module" | "operation"; name: class or operation; count; parameters; flops;
                 share: SHARE; paths
    SHARE        parameters: 0 to 1; flops: 0 to 1
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from theseus_fx.data.inputs import guide_inputs
from theseus_fx.graph.cost import forward_flops
from theseus_fx.graph.trace import Trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.inspection.calls import Calls, Operation
from theseus_fx.inspection.coverage import Coverage, by_sites, coverage
from theseus_fx.inspection.near_misses import NearMiss, nearest_modules, nearest_operations
from theseus_fx.inspection.windows import NetworkFacts, PairFacts
from theseus_fx.lang import loader
from theseus_fx.lang.diagnostics import Diagnostic
from theseus_fx.lang.spec import Invocation, Rule, Spec, Target
from theseus_fx.match.matcher import Site, Survey, matches_operations
from theseus_fx.match.pairs import survey_pairs
from theseus_fx.models.resolve import build
from theseus_fx.planning.pairs import networks
from theseus_fx.planning.parts import parameters_of
from theseus_fx.planning.planner import survey_guide

SCHEMA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFacts:
    """One site, what it costs and what it is made of."""

    site: Site
    parameters: int
    flops: int
    operations: tuple[Operation, ...]
    """Of a region, in execution order."""

    def as_json(self) -> dict[str, Any]:
        site = self.site
        return {
            "name": site.name,
            "path": site.path,
            "class": site.module_class,
            "node": site.node,
            "input_shape": list(site.input.shape),
            "output_shape": list(site.output.shape),
            "parameters": self.parameters,
            "flops": self.flops,
            "modules": list(site.modules),
            "operations": [operation.as_json() for operation in self.operations],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFacts:
    """One rule and what it found."""

    rule: Rule
    sites: tuple[SiteFacts, ...]
    nearest: tuple[NearMiss, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.rule.name,
            "matches": "operations" if matches_operations(self.rule) else "modules",
            "pattern": _written(self.rule),
            "expect": self.rule.expect,
            "found": len(self.sites),
            "sites": [site.as_json() for site in self.sites],
            "nearest": [miss.as_json() for miss in self.nearest],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFacts:
    """A target of its own and what no window of it holds."""

    model: str
    coverage: Coverage

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "parameters": self.coverage.parameters,
            "flops": self.coverage.flops,
            "uncovered": self.coverage.as_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesReport:
    """What the rules or pairs of a spec find in its networks."""

    spec: Spec
    guide: str
    target: TargetFacts | None = None
    inputs: tuple[InputSpec, ...]
    rules: tuple[RuleFacts, ...] = ()
    pairs: tuple[PairFacts, ...] = ()
    coverage: Coverage
    """Of the guide."""
    problems: tuple[Diagnostic, ...]
    """Why the spec cannot be planned."""

    def as_json(self) -> dict[str, Any]:
        """The report as plain JSON values (schema version `SCHEMA`)."""
        return {
            "kind": "theseus-fx match",
            "schema": SCHEMA,
            "spec": {"path": self.spec.source.name},
            "guide": {
                "model": self.guide,
                "inputs": [
                    {"name": i.name, "dtype": str(i.dtype).removeprefix("torch."), "shape": list(i.shape)}
                    for i in self.inputs
                ],
                "parameters": self.coverage.parameters,
                "flops": self.coverage.flops,
            },
            "target": None if self.target is None else self.target.as_json(),
            "rules": [rule.as_json() for rule in self.rules],
            "pairs": [pair.as_json() for pair in self.pairs],
            "uncovered": self.coverage.as_json(),
            "diagnostics": [problem.as_json() for problem in self.problems],
        }


def rules_report(path: Path, assignments: Mapping[str, str] | None = None) -> RulesReport:
    """What the rules or pairs of a spec find; whether that is what they expect is among the facts.

    Args:
        path: of the spec.
        assignments: values for its params, as text.

    Raises:
        Rejected: what is wrong before rules are matched: the text, the models, their inputs.
    """
    spec = loader.load(path, assignments=assignments)
    if spec.guide is None:
        raise ValueError("the loader accepts no spec without a guide here")
    model = _network(spec.guide.model)
    inputs = guide_inputs(spec, model)
    if spec.target is not None:
        return _of_pairs(spec, spec.guide.model.name, model, spec.target, inputs)
    traced, survey = survey_guide(spec, model, inputs)
    flops = forward_flops(traced, model)
    return RulesReport(
        spec=spec,
        guide=spec.guide.model.name,
        inputs=inputs,
        rules=tuple(_facts(rule, survey, model, traced, flops) for rule in spec.rules),
        coverage=coverage(model, traced, flops, by_sites(survey.sites)),
        problems=survey.problems,
    )


def _of_pairs(
    spec: Spec, guide: str, model: nn.Module, sentence: Target, inputs: tuple[InputSpec, ...]
) -> RulesReport:
    both = networks(sentence, model, _network(sentence.model), inputs)
    survey = survey_pairs(spec, *both)
    facts = {network.role: NetworkFacts(network) for network in both}
    return RulesReport(
        spec=spec,
        guide=guide,
        target=TargetFacts(model=sentence.model.name, coverage=facts["target"].uncovered(survey)),
        inputs=inputs,
        pairs=tuple(PairFacts(found=found, networks=facts) for found in survey.pairs),
        coverage=facts["guide"].uncovered(survey),
        problems=survey.problems,
    )


def _network(invocation: Invocation) -> nn.Module:
    return build(invocation, device=torch.device("meta"), weights=False)


def _facts(
    rule: Rule, survey: Survey, model: nn.Module, traced: Trace, flops: Mapping[str, int]
) -> RuleFacts:
    calls = Calls(traced)
    sites = tuple(_site(site, model, calls, flops) for site in survey.sites if site.rule is rule)
    nearest: tuple[NearMiss, ...] = ()
    if len(sites) < (1 if rule.expect is None else rule.expect):
        if matches_operations(rule):
            nearest = nearest_operations(survey.attempts[rule.name], calls)
        else:
            nearest = nearest_modules(survey.misses[rule.name], model, traced, calls)
    return RuleFacts(rule=rule, sites=sites, nearest=nearest)


def _site(site: Site, model: nn.Module, calls: Calls, flops: Mapping[str, int]) -> SiteFacts:
    nodes = () if site.region is None else site.region.nodes
    spent = sum(flops[node] for node in nodes) if nodes else calls.flops_of(site.path, flops)
    return SiteFacts(
        site=site,
        parameters=parameters_of(model, site),
        flops=spent,
        operations=tuple(calls.operation(node) for node in nodes),
    )


def _written(rule: Rule) -> str:
    """The pattern and the clauses that narrow it, as in the spec, on one line."""
    pieces = [rule.pattern.span.text.removeprefix("match")]
    pieces += [f'in "{glob.pattern}"' for glob in rule.within]
    pieces += [f"where {condition.span.text}" for condition in rule.where]
    pieces += [f'keep "{glob.pattern}"' for glob in rule.keep]
    return " ".join(" ".join(pieces).split())
