"""From a replacement expression and the part it replaces to a recipe with every size computed.

Named modules are expanded, arguments are evaluated against the part, sizes that follow from the value
that flows in are filled in, and each step is run on the meta device, so that a step that does not fit is
found here, with its place, before anything is trained.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from theseus_fx.graph.values import ValueInfo
from theseus_fx.lang import syntax
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.source import Source, Span
from theseus_fx.match.inputs import nested
from theseus_fx.modules.flow import PROBE_BATCH, Flow, FlowBuilder, Known, pruned, shown, symbolic
from theseus_fx.modules.recipe import PRIMARY, Recipe, Step

Definitions = Mapping[str, syntax.ModuleDefinition]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """What a replacement has to fit: the values that enter and leave the part."""

    part: str
    """What a diagnostic calls it: `conv[3] layer1.1.conv1`."""
    input: ValueInfo
    output: ValueInfo
    span: Span
    """Where the rule says what is matched."""
    inputs: Mapping[str, ValueInfo] = field(default_factory=dict[str, ValueInfo])
    """Its inputs by parameter."""
    primary: str | None = None
    """The parameter of `input`, where `inputs` has it too."""


def build(
    expression: syntax.Expression,
    boundary: Boundary,
    *,
    names: Mapping[str, object],
    definitions: Definitions,
    code: Mapping[str, Source] | None = None,
    keep: Collection[str] = (),
    known: Known | None = None,
    rank: int = 1,
) -> Recipe:
    """The recipe of a replacement.

    Args:
        expression: what stands after `replace with`.
        boundary: the part it takes the place of.
        names: params and the rule's binding, as `evaluate` wants them.
        definitions: the named modules of the spec.
        code: the Python files of the spec, by their path as written.
        keep: names of values that stay in the recipe, of the named modules that the expression itself calls.
        known: what steps returned for other parts, to be filled on.
        rank: what `auto(...)` stands for.

    Raises:
        Rejected: THX303, THX205 or THX502 at the step that is wrong, THX501 where the output does not fit.
    """

    def refuse(span: Span, message: str, label: str) -> Rejected:
        return _rejected(boundary, span, message, label)

    wanted = boundary.output
    dtype = wanted.dtype if wanted.dtype.is_floating_point else torch.float32
    values = {PRIMARY: boundary.input, **boundary.inputs}
    flows = {name: Flow(name, _probe(value)) for name, value in values.items()}
    if boundary.primary is not None:
        flows[boundary.primary] = flows[PRIMARY]
    builder = FlowBuilder(definitions, dtype, refuse, code or {}, {} if known is None else known, rank)
    made = builder.flow(expression, flows[PRIMARY], _flowing(names, flows))
    last = expression.steps[-1] if isinstance(expression, syntax.Chain) else expression
    x = builder.tensor(made, last.span)
    if tuple(x.shape) != wanted.sizes(PROBE_BATCH) or x.dtype != wanted.dtype:
        raise Rejected(_misfit(expression, x, boundary, names))
    kept = {name: builder.named[name] for name in sorted(keep)}
    shapes = {name: symbolic(builder.tensor(flow, span)) for name, (flow, span) in kept.items()}
    steps, (output, *wires) = pruned(builder.steps, [made.wire, *(flow.wire for flow, _ in kept.values())])
    return Recipe(
        name=_name_of(expression, steps),
        steps=steps,
        output=output,
        dtype=dtype,
        values=dict(zip(kept, wires, strict=True)),
        shapes=shapes,
        budgets=frozenset(builder.budgets),
    )


def _probe(value: ValueInfo) -> Tensor:
    return torch.empty(value.sizes(PROBE_BATCH), dtype=value.dtype, device="meta")


def _flowing(names: Mapping[str, object], flows: Mapping[str, Flow]) -> dict[str, object]:
    """The names with the inputs of the part as values that flow, under the rule's binding."""
    others = {name: flow for name, flow in flows.items() if name != PRIMARY}
    return {
        name: {**cast("Mapping[str, object]", value), "in": flows[PRIMARY], "inputs": nested(others)}
        if isinstance(value, Mapping)
        else value
        for name, value in names.items()
    }


def _rejected(boundary: Boundary, span: Span, message: str, label: str = "") -> Rejected:
    made_for = f"in the replacement of `{boundary.part}`: {shown(boundary.input.shape)}"
    return Rejected(
        Diagnostic(
            code="THX502",
            message=message,
            primary=Label(span, label),
            secondary=(Label(boundary.span, f"{made_for} to {shown(boundary.output.shape)}"),),
        )
    )


def _misfit(
    expression: syntax.Expression, x: Tensor, boundary: Boundary, names: Mapping[str, object]
) -> Diagnostic:
    made, wanted = symbolic(x), boundary.output.shape
    returned, needed = shown(made), shown(wanted)
    if made == wanted:
        returned, needed = (str(t).removeprefix("torch.") for t in (x.dtype, boundary.output.dtype))
    return Diagnostic(
        code="THX501",
        message=f"the replacement returns {returned}, but `{boundary.part}` returns {needed}",
        primary=Label(expression.span, f"returns {returned} from {shown(boundary.input.shape)}"),
        secondary=(Label(boundary.span, f"matched here; its output is {needed}"),),
        help=_fix(x, boundary, names),
    )


def _fix(x: Tensor, boundary: Boundary, names: Mapping[str, object]) -> tuple[str, ...]:
    """What would make the output fit."""
    sizes = boundary.output.sizes(PROBE_BATCH)
    if tuple(x.shape) == sizes:
        return ()
    if x.dim() > 0 and x.shape[0] == PROBE_BATCH and x.numel() == math.prod(sizes):
        binding = next((name for name, value in names.items() if isinstance(value, Mapping)), None)
        shape = "a `reshape` to that shape" if binding is None else f"`reshape({binding}.out.shape)`"
        return (f"end the chain with {shape}",)
    wanted, made = (math.prod(shape) // PROBE_BATCH for shape in (sizes, x.shape))
    return (f"the output needs {wanted:,} features a sample, it has {made:,}",)


def _name_of(expression: syntax.Expression, steps: Sequence[Step]) -> str:
    match expression:
        case syntax.Name(text=text):
            return text
        case syntax.Call(function=syntax.Name(text=text)):
            return text
        case _:
            return " |> ".join(step.kind for step in steps)
