"""How the replacement of a part begins: as the spec says, or fitted where that is possible."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import Guide, Start
from theseus_fx.match.matcher import Site
from theseus_fx.modules.endings import ElmanEnding, LinearEnding, NoEnding, ending_of
from theseus_fx.modules.fits.balanced import bank_states
from theseus_fx.modules.fits.memory import METRIC_LIMIT, balanced_footprint, linear_footprint
from theseus_fx.modules.recipe import PRIMARY, Recipe
from theseus_fx.planning.copies import shapes, unlike
from theseus_fx.planning.plan import Method, PartStart

SAMPLES = 2048
"""Inputs that a fit looks at where each is one row."""
SEQUENCES = 128
"""Inputs that a fit looks at at least where each is many rows."""
ROWS_PER_INPUT = 32
"""Rows that a fit of each input of a map then looks at, of which neighbours are alike."""
PROBE = 2
"""Samples on the meta device that show at how many positions a map acts."""


def choose_start(
    site: Site,
    recipe: Recipe,
    wanted: Start | None,
    module: nn.Module | None = None,
    *,
    trained: bool = True,
) -> PartStart:
    """The start of a replacement, the reason for it, and what a fit takes.

    Args:
        site: the part.
        recipe: its replacement.
        wanted: what the spec asks for; None: a fit where there is one for the recipe, else random.
        module: the guide's module, on any device, from which a copy would be made.
        trained: whether the guide knows anything; a balanced truncation of one that does not gains nothing.

    Raises:
        Rejected: THX508 where the spec asks for a fit or a copy that the replacement does not allow.
    """
    if wanted is None:
        found = _fit(site, recipe, Start(kind="fit"))
        if isinstance(found, _Obstacle):
            return PartStart(part=site.name, start=Start(kind="random"), reason=found.reason)
        if found.method == "balanced" and not trained:
            reason = "a balanced truncation gains nothing where the guide is untrained"
            return PartStart(part=site.name, start=Start(kind="random"), reason=reason)
        return found
    if wanted.kind == "fit":
        found = _fit(site, recipe, wanted)
        if not isinstance(found, _Obstacle):
            return replace(found, reason="as the spec says")
        raise _refused(site, wanted, f"cannot start from a fit: {found.reason}", found.fix)
    if wanted.kind == "copy" and (problem := _no_copy(recipe, module)):
        raise _refused(site, wanted, f"cannot start as a copy: {problem}", "write `init = random`")
    return PartStart(part=site.name, start=wanted, reason="as the spec says")


def is_trained(guide: Guide | None) -> bool:
    """Whether a guide has learnt anything, as far as its sentence tells; one handed over is taken to have."""
    if guide is None or guide.training is not None or guide.model.code is not None:
        return True
    library = guide.model.name.partition(".")[0]
    if library == "transformers":
        return bool(guide.model.positional)
    return guide.model.keywords.get("weights") is not None


@dataclass(frozen=True, slots=True)
class _Obstacle:
    """Why a fit does not apply, and the edit that would help."""

    reason: str
    fix: str = "write `init = random`"


def _fit(site: Site, recipe: Recipe, wanted: Start) -> PartStart | _Obstacle:
    """The fit of a replacement, with all that the spec leaves open decided."""
    ending = ending_of(recipe)
    if isinstance(ending, NoEnding):
        return _Obstacle(ending.reason)
    if isinstance(ending, ElmanEnding):
        return _balanced(site, ending, wanted)
    positions = _positions(site, recipe, ending)
    if positions is None:
        return _Obstacle("its sizes depend on the batch")
    if positions * ending.d_out != site.output.features:
        return _Obstacle("what its last linear map returns is spread over several positions")
    return _linear(site, ending, positions, wanted)


def _balanced(site: Site, ending: ElmanEnding, wanted: Start) -> PartStart | _Obstacle:
    length = site.input.shape[1]
    if not isinstance(length, int):
        return _Obstacle("the length of its sequences depends on the batch")
    states = bank_states(ending.d_in) if ending.layers == 2 else ending.d_in + ending.width
    samples = wanted.samples or _sequences(states // 4, length)
    if samples * length <= states:
        needed = f"{samples:,} sequences of {length:,} do not determine {states:,} states"
        return _Obstacle(needed, "write `fit(samples = N)` with more samples, or `init = random`")
    return PartStart(
        part=site.name,
        start=replace(wanted, samples=samples, metric="plain"),
        reason="the default for an Elman network",
        method="balanced",
        memory=balanced_footprint(rows=samples * length, d_in=ending.d_in, d_out=ending.width, states=states),
    )


def _linear(site: Site, ending: LinearEnding, positions: int, wanted: Start) -> PartStart | _Obstacle:
    method: Method = "readout" if ending.rank is None else "low_rank"
    if ending.rank is not None and not ending.bias:
        fix = "leave out `bias = false` there, or write `init = random`"
        return _Obstacle("its second `Linear` has no bias", fix)
    samples = wanted.samples or (SAMPLES if positions == 1 else _sequences(ending.d_in, positions))
    rows, reason = samples * positions, "the default for two linear maps"
    metric, note = "plain", ""
    if method == "readout":
        reason = "the default for a linear map at the end"
    else:
        metric = wanted.metric or "logits"
        if rows <= min(ending.rank or 1, ending.d_in, ending.d_out):
            unit = "samples" if positions == 1 else "rows"
            problem = f"{rows:,} {unit} do not determine a map of rank {ending.rank:,}"
            fix = "write `fit(samples = N)` with more samples than the rank, or `init = random`"
            return _Obstacle(problem, fix)
    takes = linear_footprint(
        rows=rows, d_in=ending.d_in, d_out=ending.d_out, rank=ending.rank, logits=metric == "logits"
    )
    if metric == "logits" and takes.way == "rows" and ending.d_out > METRIC_LIMIT:
        note = f"the logit metric needs a {ending.d_out:,} x {ending.d_out:,} matrix"
        if wanted.metric == "logits":
            return _Obstacle(note, "write `fit(metric = plain)`, or `init = random`")
        metric, reason = "plain", f"{reason}; {note}"
        takes = linear_footprint(rows=rows, d_in=ending.d_in, d_out=ending.d_out, rank=ending.rank)
    if method == "readout" and takes.way == "columns" and not ending.bias:
        problem = f"{rows:,} rows do not determine a map of {ending.d_in:,} inputs without a bias"
        return _Obstacle(problem, "leave out `bias = false` there, or write `init = random`")
    return PartStart(
        part=site.name,
        start=replace(wanted, samples=samples, metric=metric),
        reason=reason,
        method=method,
        memory=takes.bytes,
    )


def _sequences(inputs: int, positions: int) -> int:
    """Samples whose positions make enough rows for a map of so many inputs."""
    return min(SAMPLES, max(SEQUENCES, math.ceil(ROWS_PER_INPUT * inputs / positions)))


def _positions(site: Site, recipe: Recipe, ending: LinearEnding) -> int | None:
    """At how many positions of a sample the last map acts; None where that depends on the batch."""
    values = {PRIMARY: site.input, **{entry.name: entry.value for entry in site.inputs}}
    used = [values[name] for name in recipe.inputs]
    if not all(isinstance(size, int) for value in [*used, site.output] for size in value.shape[1:]):
        return None
    seen: list[int] = []

    def look(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        seen.append(output.numel() // (PROBE * ending.d_out))

    replacement = recipe.make(device="meta").eval()
    with replacement.get_submodule(ending.name).register_forward_hook(look), torch.no_grad():
        replacement(*(torch.empty(v.sizes(PROBE), dtype=v.dtype, device="meta") for v in used))
    return seen[0]


def _refused(site: Site, wanted: Start, problem: str, fix: str) -> Rejected:
    return Rejected(
        Diagnostic(
            code="THX508",
            message=f"`{site}` {problem}",
            primary=Label(wanted.span or site.rule.replacement.span, "asked for here"),
            secondary=(Label(site.rule.replacement.span, "the replacement"),),
            help=(fix,),
        )
    )


def _no_copy(recipe: Recipe, module: nn.Module | None) -> str | None:
    """Why the guide's tensors do not fill the replacement one by one, if they do not."""
    if module is None:
        return "there is no one module of the guide to copy from"
    return unlike(shapes(module), shapes(recipe.make(device="meta")), own_name="the replacement")
