"""What the rules of a spec find in its guide: sites, nearest misses, and what no rule covers.

Its JSON is schema version 1; the human view is made from it. Shapes and FLOPs are as in a plan.

    kind         "theseus-fx match"
    schema       int; grows when a field changes its meaning or goes
    spec         path
    guide        {model, inputs: [{name, dtype, shape}], parameters: int, flops: int}
    rules        [RULE], in the order of the spec
    uncovered    parameters: int; flops: int; share: SHARE of the guide's; groups: [GROUP]
    diagnostics  [DIAGNOSTIC], why the spec cannot be planned; empty where the rules are right

    RULE         name; pattern: as written, with its clauses; expect: int | null; found: int;
                 sites: [SITE], in execution order; nearest: [MISS], where it found fewer than it should
    SITE         name: `conv[3]`; path; class; node; input_shape; output_shape; parameters; flops
    MISS         count: how many modules; path: of the first; class; node: of its output | null;
                 step: "attributes" | "in" | "keep" | "where", what it did not pass; reason; paths
    GROUP        kind: "module" | "operation"; name: class or operation; count; parameters; flops;
                 share: SHARE; paths
    SHARE        parameters: 0 to 1; flops: 0 to 1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from theseus_fx.data.inputs import guide_inputs
from theseus_fx.graph.cost import forward_flops
from theseus_fx.graph.trace import Trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.inspection.calls import Calls
from theseus_fx.inspection.coverage import Coverage, coverage
from theseus_fx.inspection.outline import operation_name
from theseus_fx.lang import loader
from theseus_fx.lang.diagnostics import Diagnostic
from theseus_fx.lang.spec import Rule, Spec
from theseus_fx.match.matcher import Site, Survey
from theseus_fx.match.pattern import Miss
from theseus_fx.models.resolve import build
from theseus_fx.planning.parts import flops_of, held_by
from theseus_fx.planning.planner import survey_guide

SCHEMA = 1
NEAREST = 5
"""How many kinds of misses are listed for a rule."""

_STEPS = ("class", "attributes", "in", "keep", "where")
"""What a module has to pass to be a site, in order; a miss knows where it stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NearMiss:
    """Modules that came near to a rule and stopped alike."""

    step: str
    reason: str
    paths: tuple[str, ...]
    module_class: str
    """Of the first."""
    node: str | None
    """Of the first one's output; None where it has no single one."""

    def as_json(self) -> dict[str, Any]:
        return {
            "count": len(self.paths),
            "path": self.paths[0],
            "class": self.module_class,
            "node": self.node,
            "step": self.step,
            "reason": self.reason,
            "paths": list(self.paths),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFacts:
    """One rule and what it found."""

    rule: Rule
    sites: tuple[Site, ...]
    costs: tuple[tuple[int, int], ...]
    """Parameters and FLOPs of each site."""
    nearest: tuple[NearMiss, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.rule.name,
            "pattern": _written(self.rule),
            "expect": self.rule.expect,
            "found": len(self.sites),
            "sites": [_site_json(site, *costs) for site, costs in zip(self.sites, self.costs, strict=True)],
            "nearest": [miss.as_json() for miss in self.nearest],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesReport:
    """What the rules of a spec find in its guide."""

    spec: Spec
    guide: str
    inputs: tuple[InputSpec, ...]
    rules: tuple[RuleFacts, ...]
    coverage: Coverage
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
            "rules": [rule.as_json() for rule in self.rules],
            "uncovered": self.coverage.as_json(),
            "diagnostics": [problem.as_json() for problem in self.problems],
        }


def rules_report(path: Path, assignments: Mapping[str, str] | None = None) -> RulesReport:
    """What the rules of a spec find; whether that is what they expect is among the facts.

    Args:
        path: of the spec.
        assignments: values for its params, as text.

    Raises:
        Rejected: what is wrong before rules are matched: the text, the model, its inputs.
    """
    spec = loader.load(path, assignments=assignments)
    if spec.guide is None:
        raise ValueError("the loader accepts no spec without a guide here")
    model = build(spec.guide.model, device=torch.device("meta"), weights=False)
    inputs = guide_inputs(spec, model)
    traced, survey = survey_guide(spec, model, inputs)
    flops = forward_flops(traced, model)
    names = {name: operation_name(traced.node(name)) for name in traced.owners}
    return RulesReport(
        spec=spec,
        guide=spec.guide.model.name,
        inputs=inputs,
        rules=tuple(_facts(rule, survey, model, traced, flops) for rule in spec.rules),
        coverage=coverage(model, traced, flops, names, survey.sites),
        problems=survey.problems,
    )


def _facts(
    rule: Rule, survey: Survey, model: nn.Module, traced: Trace, flops: Mapping[str, int]
) -> RuleFacts:
    calls = Calls(traced)
    sites = tuple(site for site in survey.sites if site.rule is rule)
    costs = tuple(
        (
            sum(held_by(model, site).values()),
            flops_of(site, flops) if site.region else calls.flops_of(site.path, flops),
        )
        for site in sites
    )
    few = len(sites) < (1 if rule.expect is None else rule.expect)
    misses = survey.misses.get(rule.name, ()) if few else ()
    return RuleFacts(rule=rule, sites=sites, costs=costs, nearest=_nearest(misses, model, traced, calls))


def _nearest(misses: Sequence[Miss], model: nn.Module, traced: Trace, calls: Calls) -> tuple[NearMiss, ...]:
    """The misses that passed a step at least, those that came furthest first."""
    alike: dict[tuple[int, str], dict[str, None]] = {}
    for miss in misses:
        if miss.step > 0:
            alike.setdefault((miss.step, miss.reason), {}).setdefault(miss.path)
    ranked = sorted(alike.items(), key=lambda entry: (-entry[0][0], -len(entry[1]), entry[0][1]))
    return tuple(
        NearMiss(
            step=_STEPS[step],
            reason=reason,
            paths=tuple(paths),
            module_class=type(model.get_submodule(next(iter(paths)))).__name__,
            node=calls.node_of(next(iter(paths)), traced),
        )
        for (step, reason), paths in ranked[:NEAREST]
    )


def _site_json(site: Site, parameters: int, flops: int) -> dict[str, Any]:
    return {
        "name": site.name,
        "path": site.path,
        "class": site.module_class,
        "node": site.node,
        "input_shape": list(site.input.shape),
        "output_shape": list(site.output.shape),
        "parameters": parameters,
        "flops": flops,
    }


def _written(rule: Rule) -> str:
    """The pattern and the clauses that narrow it, as in the spec, on one line."""
    pieces = [rule.pattern.span.text.removeprefix("match")]
    pieces += [f'in "{glob.pattern}"' for glob in rule.within]
    pieces += [f"where {condition.span.text}" for condition in rule.where]
    pieces += [f'keep "{glob.pattern}"' for glob in rule.keep]
    return " ".join(" ".join(pieces).split())
