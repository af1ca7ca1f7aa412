"""`rank = auto(parameters = 50e6)`: sizes to plan with, and the plan once a run has chosen the ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from theseus_fx.graph.cost import module_flops
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import AutoRank
from theseus_fx.match.matcher import Site
from theseus_fx.modules.endings import LinearEnding, at_rank, ending_of
from theseus_fx.modules.fits.ranks import RankCost, uniform_ranks
from theseus_fx.modules.recipe import Recipe
from theseus_fx.planning.plan import Part, Plan, Stage

Build = Callable[[Mapping[str, int]], Sequence[Recipe]]
"""The recipes of all sites, with a rank for the sites named and 1 for the others."""


def planned_ranks(sites: Sequence[Site], recipes: Sequence[Recipe], build: Build) -> Sequence[Recipe]:
    """Recipes with the rank that the maps under each budget could all have alike.

    Args:
        sites: the parts.
        recipes: of them, with rank 1 for `auto(...)`.
        build: makes them anew.

    Raises:
        Rejected: THX509 for replacements whose width is no rank, and for budgets that are too small.
    """
    if not any(recipe.budgets for recipe in recipes):
        return recipes
    doubled = build({site.name: 2 for site in sites})
    costs: dict[AutoRank, dict[str, RankCost]] = {}
    problems: list[Diagnostic] = []
    for site, one, two in zip(sites, recipes, doubled, strict=True):
        cost = rank_cost(one)
        for budget in one.budgets:
            if cost is None or len(one.budgets) > 1 or two.parameter_count() != cost.at(2):
                problems.append(_no_rank(site, budget))
            else:
                costs.setdefault(budget, {})[site.name] = cost
    ranks: dict[str, int] = {}
    for budget, of in costs.items():
        alike = uniform_ranks(of, budget.parameters)
        if alike is None:
            problems.append(_too_small(budget, of))
        else:
            ranks |= alike
    if problems:
        raise Rejected(*problems)
    return build(ranks)


def rank_cost(recipe: Recipe) -> RankCost | None:
    """What each rank of a replacement costs, if it ends in two linear maps."""
    ending = ending_of(recipe)
    if not isinstance(ending, LinearEnding) or ending.rank is None:
        return None
    step = recipe.steps[recipe.child_names().index(ending.first or ending.name)]
    biased = step.arguments.get("bias", True) is not False
    each = ending.d_in + ending.d_out + biased
    fixed = recipe.parameter_count() - ending.rank * each
    return RankCost(fixed=fixed, per_rank=each, most=min(ending.d_in, ending.d_out))


def budgets(plan: Plan) -> Mapping[AutoRank, tuple[Part, ...]]:
    """The parts under each budget."""
    found: dict[AutoRank, tuple[Part, ...]] = {}
    for part in plan.parts:
        for budget in part.recipe.budgets:
            found[budget] = (*found.get(budget, ()), part)
    return found


def with_ranks(plan: Plan, ranks: Mapping[str, int]) -> Plan:
    """The plan with other ranks of some of its parts, and all that follows from them."""
    if not ranks:
        return plan
    parts = tuple(_at(part, ranks[part.name]) if part.name in ranks else part for part in plan.parts)
    pairs = list(zip(plan.parts, parts, strict=True))
    totals = replace(
        plan.totals,
        parameters_target=plan.totals.parameters_target
        + sum(new.parameters_after - old.parameters_after for old, new in pairs),
        flops_target=plan.totals.flops_target + sum(new.flops_after - old.flops_after for old, new in pairs),
    )
    made = {part.name: part for part in parts}
    stages = tuple(_with_parts(stage, made) for stage in plan.stages)
    return replace(plan, parts=parts, stages=stages, totals=totals)


def _at(part: Part, rank: int) -> Part:
    recipe = at_rank(part.recipe, rank)
    values = {entry.node: entry.value for entry in part.inputs}
    return replace(
        part,
        recipe=recipe,
        parameters_after=recipe.parameter_count(),
        flops_after=module_flops(recipe.make(device="meta"), *(values[node] for node in part.takes)),
    )


def _with_parts(stage: Stage, parts: Mapping[str, Part]) -> Stage:
    return replace(stage, trainable_parameters=sum(parts[name].parameters_after for name in stage.trains))


def _no_rank(site: Site, budget: AutoRank) -> Diagnostic:
    return Diagnostic(
        code="THX509",
        message=f"`auto` chooses the width between two linear maps, and the replacement of `{site}` has none",
        primary=Label(budget.span),
        secondary=(Label(site.rule.replacement.span, "the replacement"),),
        help=("end it with `Linear(rank, bias = false) |> Linear(out)`, or write a number",),
    )


def _too_small(budget: AutoRank, costs: Mapping[str, RankCost]) -> Diagnostic:
    least = sum(cost.at(cost.least) for cost in costs.values())
    parts = "1 part" if len(costs) == 1 else f"{len(costs)} parts"
    return Diagnostic(
        code="THX509",
        message=f"{budget.parameters:,} parameters are too few for the smallest ranks of {parts}",
        primary=Label(budget.span),
        help=(f"write at least `auto(parameters = {least})`",),
    )
