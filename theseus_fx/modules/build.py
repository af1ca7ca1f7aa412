"""From a replacement expression and the part it replaces to a recipe with every size computed.

Named modules are expanded, arguments are evaluated against the part, sizes that follow from the value
that flows in are filled in, and each step is run on the meta device, so that a step that does not fit is
found here, with its place, before anything is trained.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theseus_fx.graph.values import ValueInfo
from theseus_fx.lang import syntax
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.evaluate import evaluate
from theseus_fx.lang.source import Span
from theseus_fx.modules.arguments import Written, bind
from theseus_fx.modules.recipe import Recipe, Step

Shape = tuple[int | str, ...]

_PROBE_BATCH = 4099
"""A size that nothing else has, so that no step can take the batch for something else unnoticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """What a replacement has to fit: the values that enter and leave the part."""

    part: str
    """What a diagnostic calls it: `conv[3] layer1.1.conv1`."""
    input: ValueInfo
    output: ValueInfo
    span: Span
    """Where the rule says what is matched."""


def build(
    expression: syntax.Expression,
    boundary: Boundary,
    *,
    names: Mapping[str, object],
    definitions: Mapping[str, syntax.ModuleDefinition],
) -> Recipe:
    """The recipe of a replacement.

    Args:
        expression: what stands after `replace with`.
        boundary: the part it takes the place of.
        names: params and the rule's binding, as `evaluate` wants them.
        definitions: the named modules of the spec.

    Raises:
        Rejected: THX303, THX205 or THX502 at the step that is wrong, THX501 where the output does not fit.
    """
    wanted = boundary.output
    dtype = wanted.dtype if wanted.dtype.is_floating_point else torch.float32
    x = torch.empty(boundary.input.sizes(_PROBE_BATCH), dtype=boundary.input.dtype, device="meta")
    steps: list[Step] = []
    for written in _expand(expression, names, definitions):
        step = Step(kind=written.kind, arguments=bind(written, x, definitions))
        x = _output(step, written, x, dtype, boundary)
        steps.append(step)
    if tuple(x.shape) != wanted.sizes(_PROBE_BATCH) or x.dtype != wanted.dtype:
        raise Rejected(_misfit(expression, x, boundary, names))
    return Recipe(name=_name_of(expression, steps), steps=tuple(steps), dtype=dtype)


def _expand(
    expression: syntax.Expression,
    names: Mapping[str, object],
    definitions: Mapping[str, syntax.ModuleDefinition],
) -> Iterator[Written]:
    """The steps of a chain, named modules replaced by their bodies, which never contain themselves."""
    match expression:
        case syntax.Chain(steps=steps):
            for step in steps:
                yield from _expand(step, names, definitions)
        case syntax.Name(text=text, span=span):
            yield from _expand_call(text, (), names, definitions, span)
        case syntax.Call(function=syntax.Name(text=text), arguments=arguments, span=span):
            yield from _expand_call(text, arguments, names, definitions, span)
        case _:
            raise Rejected(
                Diagnostic(
                    code="THX502",
                    message="a replacement is a chain of modules and functions",
                    primary=Label(expression.span, "this is neither"),
                    help=("write steps such as `flatten(start_dim = 1) |> Linear(64)`",),
                )
            )


def _expand_call(
    name: str,
    arguments: Sequence[syntax.Argument],
    names: Mapping[str, object],
    definitions: Mapping[str, syntax.ModuleDefinition],
    span: Span,
) -> Iterator[Written]:
    positional = tuple(evaluate(a.value, names) for a in arguments if a.name is None)
    keywords = {a.name: evaluate(a.value, names) for a in arguments if a.name is not None}
    definition = definitions.get(name)
    if definition is None:
        places = {a.name: a.name_span or a.span for a in arguments if a.name is not None}
        yield Written(name, positional, keywords, places, span)
        return
    parameters = [word.text for word in definition.parameters]
    inner: dict[str, object] = dict(zip(parameters, positional, strict=False))
    inner.update(keywords)
    yield from _expand(definition.body, inner, definitions)


def _output(step: Step, written: Written, x: Tensor, dtype: torch.dtype, boundary: Boundary) -> Tensor:
    """What comes out of a step, on the meta device."""
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            module = step.make().to(dtype).eval()
    except Exception as error:
        raise _rejected(written, boundary, f"`{step}` cannot be made", _first_line(error)) from error
    if any(p.numel() == 0 for p in module.parameters()):
        raise _rejected(written, boundary, f"`{step}` has a parameter without elements")
    try:
        with torch.no_grad():
            y: object = module(x)
    except Exception as error:
        message = f"`{step.kind}` does not accept a value of shape {shown(_symbolic(x))}"
        raise _rejected(written, boundary, message, _first_line(error)) from error
    if not isinstance(y, Tensor):
        raise _rejected(written, boundary, f"`{step.kind}` returns a {type(y).__name__}, not one tensor")
    return y


def _rejected(written: Written, boundary: Boundary, message: str, label: str = "") -> Rejected:
    made_for = f"in the replacement of `{boundary.part}`: {shown(boundary.input.shape)}"
    return Rejected(
        Diagnostic(
            code="THX502",
            message=message,
            primary=Label(written.span, label),
            secondary=(Label(boundary.span, f"{made_for} to {shown(boundary.output.shape)}"),),
        )
    )


def _misfit(
    expression: syntax.Expression, x: Tensor, boundary: Boundary, names: Mapping[str, object]
) -> Diagnostic:
    made, wanted = _symbolic(x), boundary.output.shape
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
    sizes = boundary.output.sizes(_PROBE_BATCH)
    if tuple(x.shape) == sizes:
        return ()
    if x.dim() > 0 and x.shape[0] == _PROBE_BATCH and x.numel() == math.prod(sizes):
        binding = next((name for name, value in names.items() if isinstance(value, Mapping)), None)
        shape = "a `reshape` to that shape" if binding is None else f"`reshape({binding}.out.shape)`"
        return (f"end the chain with {shape}",)
    wanted, made = (math.prod(shape) // _PROBE_BATCH for shape in (sizes, x.shape))
    return (f"the output needs {wanted:,} features a sample, it has {made:,}",)


def _name_of(expression: syntax.Expression, steps: Sequence[Step]) -> str:
    match expression:
        case syntax.Name(text=text):
            return text
        case syntax.Call(function=syntax.Name(text=text)):
            return text
        case _:
            return " |> ".join(step.kind for step in steps)


def _symbolic(x: Tensor) -> Shape:
    return tuple("batch" if size == _PROBE_BATCH else size for size in x.shape)


def shown(shape: Shape) -> str:
    """A shape for a person: `(b, 64, 56, 56)`."""
    return f"({', '.join('b' if d == 'batch' else str(d) for d in shape)})"


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
