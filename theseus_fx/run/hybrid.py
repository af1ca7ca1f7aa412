"""The guide with some of a plan's parts replaced, as an ordinary model; and how it is built again.

Where all parts are modules it has the guide's class: a replacement stands at the path of its module. Where a
rule replaces operations there is no such path, and the model is the guide's graph (`graph.rewritten`).
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn

from theseus_fx.graph.convention import Convention
from theseus_fx.graph.fingerprint import fingerprint
from theseus_fx.graph.rewritten import free_name, rewritten
from theseus_fx.graph.slices import Placement
from theseus_fx.graph.surgery import convert
from theseus_fx.graph.trace import trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.modules.recipe import Recipe
from theseus_fx.planning.plan import Part, Plan

NAMESPACE = "replaced"
"""Under which the graph form has replacements of operations."""


def hybrid(plan: Plan, guide: nn.Module, parts: Mapping[str, nn.Module]) -> nn.Module:
    """The guide with the given parts replaced, sharing no parameter with it or with them.

    All hybrids of one plan have one form.
    """
    if not in_graph_form(plan):
        replacements = {plan.part(name).path: copy.deepcopy(module) for name, module in parts.items()}
        return convert(guide, replacements, conventions=plan.conventions)
    there = [plan.part(name) for name in parts]
    names = _names(plan.parts, guide)
    return rewritten(
        plan.trace,
        guide,
        {part.node: part.placed_plainly(parts[part.name]) for part in there},
        {part.node: names[part.name] for part in there},
    )


def in_graph_form(plan: Plan) -> bool:
    """Whether a part of the plan lies in no module of its own."""
    return any(part.region is not None for part in plan.parts)


def form_json(plan: Plan, guide: nn.Module, *, kept_guide: Collection[str] = ()) -> dict[str, Any]:
    """What it takes to replace the plan's parts in the guide's architecture again, as plain JSON values.

    Args:
        plan: the plan.
        guide: of which only names are read.
        kept_guide: names of parts that are not replaced.
    """
    replaced = [part for part in plan.parts if part.name not in kept_guide]
    if not in_graph_form(plan):
        paths = {part.path for part in replaced}
        return {
            "form": "modules",
            "replacements": {part.path: part.recipe.as_json() for part in replaced},
            "conventions": {path: c.as_json() for path, c in plan.conventions.items() if path in paths},
        }
    names = _names(plan.parts, guide)
    return {
        "form": "graph",
        "about": "a torch.fx.GraphModule: the graph of the guide's forward pass in eval mode with operations "
        "replaced; modules that remain and replacements of modules have their paths in the guide",
        "inputs": [
            {"name": i.name, "dtype": str(i.dtype).removeprefix("torch."), "shape": list(i.shape)}
            for i in plan.inputs
        ],
        "leaves": [part.path for part in plan.parts if part.region is None and not part.opened],
        "fingerprint": plan.model_fingerprint,
        "replacements": {
            names[part.name]: {
                "node": part.node,
                "inputs": list(part.takes),
                "region": part.placed_plainly(guide).region,
                "recipe": part.recipe.as_json(),
            }
            for part in replaced
        },
    }


def from_json(value: Mapping[str, Any], guide: nn.Module) -> nn.Module:
    """The model of `form_json` with fresh replacements, in the guide's architecture.

    Raises:
        ValueError: the guide's graph is another one than it was.
        KeyError, TypeError, AttributeError, ImportError, RuntimeError: it does not fit the guide.
    """
    if value.get("form", "modules") == "modules":  # a folder that names no form is older than the other
        conventions = {path: Convention.from_json(c) for path, c in value.get("conventions", {}).items()}
        made = {path: Recipe.from_json(recipe).make() for path, recipe in value["replacements"].items()}
        return convert(guide, made, conventions=conventions)
    inputs = [
        InputSpec(name=i["name"], dtype=getattr(torch, i["dtype"]), shape=tuple(i["shape"]))
        for i in value["inputs"]
    ]
    traced = trace(guide, inputs, leaves=value["leaves"])
    if fingerprint(traced, guide) != value["fingerprint"]:
        raise ValueError(
            "the graph of the guide is another one than when it was converted: its class, its settings or "
            "the version of a library has changed"
        )
    replaced = value["replacements"]
    return rewritten(
        traced,
        guide,
        {
            part["node"]: Placement(
                Recipe.from_json(part["recipe"]).make(), tuple(part["inputs"]), region=part["region"]
            )
            for part in replaced.values()
        },
        {part["node"]: name for name, part in replaced.items()},
    )


def _names(parts: tuple[Part, ...], guide: nn.Module) -> dict[str, str]:
    """Paths of the replacements in the graph form, by part name: the module's, or `replaced.block_1`."""
    space = free_name(guide, NAMESPACE)
    plain = str.maketrans("[", "_", "]")
    return {
        part.name: part.path if part.region is None else f"{space}.{part.name.translate(plain)}"
        for part in parts
    }
