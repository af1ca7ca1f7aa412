"""The parts of a plan: the recipe of each site, and what the replacement costs before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from theseus_fx.graph.convention import convention_of
from theseus_fx.graph.cost import module_flops
from theseus_fx.graph.inside import operations_of
from theseus_fx.graph.trace import Trace
from theseus_fx.graph.values import ValueInfo
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.spec import Spec
from theseus_fx.match.matcher import Site
from theseus_fx.modules.build import Boundary, build
from theseus_fx.modules.flow import Known
from theseus_fx.modules.recipe import PRIMARY, Recipe
from theseus_fx.planning.attempt import attempt
from theseus_fx.planning.plan import Part, Tap, Totals
from theseus_fx.planning.ranks import planned_ranks


def replacements(spec: Spec, sites: Sequence[Site]) -> tuple[Recipe, ...]:
    """The recipe of each site.

    Raises:
        Rejected: THX2xx, THX303, THX501, THX502, THX509; every one that applies to any site.
    """
    known: Known = {}

    def build_all(ranks: Mapping[str, int]) -> tuple[Recipe, ...]:
        problems: list[Diagnostic] = []
        made = [
            attempt(problems, lambda s=site: _recipe(spec, s, known, ranks.get(s.name, 1))) for site in sites
        ]
        if problems:
            raise Rejected(*problems)
        return tuple(recipe for recipe in made if recipe is not None)

    return tuple(planned_ranks(sites, build_all({}), build_all))


def _recipe(spec: Spec, site: Site, known: Known, rank: int) -> Recipe:
    boundary = Boundary(
        part=str(site),
        input=site.input,
        output=site.output,
        span=site.rule.pattern.span,
        inputs={entry.name: entry.value for entry in site.inputs},
        primary=next(entry.name for entry in site.inputs if entry.node == site.input_node),
    )
    return build(
        site.rule.replacement,
        boundary,
        names=site.names,
        definitions=spec.modules,
        code=spec.code,
        keep={align.target for align in site.rule.aligns if align.target is not None},
        known=known,
        rank=rank,
    )


def make_parts(
    model: nn.Module,
    traced: Trace,
    flops: Mapping[str, int],
    sites: Sequence[Site],
    recipes: Sequence[Recipe],
    taps: Mapping[str, tuple[Tap, ...]],
) -> tuple[Part, ...]:
    """The parts with their costs.

    Args:
        model: the guide.
        traced: its trace, in which the sites are.
        flops: its forward FLOPs of one sample, by node.
        sites: in execution order.
        recipes: of the sites.
        taps: of each site, by its name.
    """
    costs: list[_Cost] = []  # most parts have the replacement of another one
    return tuple(
        _part(model, traced, flops, site, recipe, taps[site.name], costs)
        for site, recipe in zip(sites, recipes, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a replacement costs."""

    recipe: Recipe
    inputs: tuple[ValueInfo, ...]
    parameters: int
    flops: int


def _cost(recipe: Recipe, inputs: tuple[ValueInfo, ...], known: list[_Cost]) -> _Cost:
    """The cost of a recipe on inputs, counted unless it is known."""
    for cost in known:
        if cost.inputs == inputs and cost.recipe == recipe:
            return cost
    flops = module_flops(recipe.make(device="meta"), *inputs)
    known.append(_Cost(recipe, inputs, recipe.parameter_count(), flops))
    return known[-1]


def _part(
    model: nn.Module,
    traced: Trace,
    flops: Mapping[str, int],
    site: Site,
    recipe: Recipe,
    taps: tuple[Tap, ...],
    costs: list[_Cost],
) -> Part:
    nodes = {PRIMARY: site.input_node, **{entry.name: entry.node for entry in site.inputs}}
    takes = tuple(nodes[name] for name in recipe.inputs)
    values = {entry.node: entry.value for entry in site.inputs}
    cost = _cost(recipe, tuple(values[node] for node in takes), costs)
    return Part(
        name=site.name,
        rule=site.rule.name,
        path=site.path,
        node=site.node,
        inputs=site.inputs,
        input_node=site.input_node,
        takes=takes,
        convention=None if site.call is None else convention_of(site.call, takes),
        guide_module=site.description,
        module_class=site.module_class,
        input_shape=site.input.shape,
        output_shape=site.output.shape,
        recipe=recipe,
        parameters_before=parameters_of(model, site),
        parameters_after=cost.parameters,
        flops_before=sum(flops[node] for node in _operations(traced, site)),
        flops_after=cost.flops,
        region=site.region,
        modules=site.modules,
        attributes=site.attributes,
        taps=taps,
        opened=site.call is not None and not site.call.leaf,
    )


def _operations(traced: Trace, site: Site) -> tuple[str, ...]:
    """The nodes that a part takes the place of."""
    if site.region is not None:
        return site.region.nodes
    return (site.operation,) if site.call is None or site.call.leaf else operations_of(traced, site.call)


def totals(model: nn.Module, flops: Mapping[str, int], parts: Sequence[Part]) -> Totals:
    """Guide and converted model side by side; a parameter that several modules share counts once."""
    left = {
        id(p): p.numel()
        for path, module in model.named_modules()
        if not inside(path, parts)
        for name, p in module.named_parameters(path, recurse=False)
        if not any(name in part.attributes for part in parts)
    }
    total = sum(flops.values())
    return Totals(
        parameters_guide=sum(p.numel() for p in model.parameters()),
        parameters_target=sum(left.values()) + sum(part.parameters_after for part in parts),
        flops_guide=total,
        flops_target=total + sum(part.flops_after - part.flops_before for part in parts),
    )


def inside(path: str, parts: Sequence[Part] | Sequence[Site]) -> bool:
    """Whether the module at a path goes when the parts are replaced."""
    return any(path == gone or path.startswith(f"{gone}.") for part in parts for gone in part.modules)


def parameters_of(model: nn.Module, site: Site) -> int:
    """The parameters that go with a part, shared ones once."""
    held = [p for path in site.modules for p in model.get_submodule(path).parameters()]
    held += [p for name, p in model.named_parameters() if name in site.attributes]
    return sum({id(p): p.numel() for p in held}.values())
