"""The arguments of a step: the module class or function it names, and each argument by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from theseus_fx.lang.code import Code
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected, did_you_mean
from theseus_fx.lang.library import how_to_use
from theseus_fx.lang.source import Span
from theseus_fx.models.from_python import load_class
from theseus_fx.modules.functions import FUNCTIONS
from theseus_fx.modules.recipe import Argument

INFERRED: Mapping[str, int] = {
    "in_features": -1,
    "in_channels": 1,
    "num_features": 1,
    "num_channels": 1,
    "input_size": -1,
    "embed_dim": -1,
    "d_model": -1,
    "normalized_shape": -1,
}
"""Arguments of `torch.nn` classes that are the size of a dimension of the value that flows in."""


@dataclass(frozen=True, slots=True)
class Written:
    """A step as the spec has it, with its arguments evaluated."""

    kind: str
    positional: tuple[object, ...]
    keywords: Mapping[str, object]
    places: Mapping[str, Span]
    """Of the keywords' names."""
    span: Span
    code: Code | None = None
    """Where the class is one of a person's own Python file."""


def bind(written: Written, x: Tensor, modules: Iterable[str]) -> dict[str, Argument]:
    """Every argument of a step by name; the sizes that follow from the value that flows in filled in.

    Args:
        written: the step.
        x: the value that flows in.
        modules: names of the spec's own modules, for the help on an unknown one.

    Raises:
        Rejected: THX303 for an unknown module or function, THX205 and THX203 for its arguments.
    """
    parameters = _parameters(_maker(written, modules))
    inferred = {
        name: x.shape[dim]
        for name, dim in INFERRED.items()
        if name in parameters and name not in written.keywords and -x.dim() <= dim < x.dim()
    }
    free = inspect.Signature([p for name, p in parameters.items() if name not in inferred])
    try:
        bound = free.bind(*written.positional, **written.keywords)
    except TypeError as error:
        raise _wrong_arguments(written, str(error), [*free.parameters], [*inferred]) from error
    arguments: dict[str, Argument] = dict(inferred)
    for name, value in bound.arguments.items():
        if isinstance(parameters[name].default, bool) and not isinstance(value, bool):
            problem = f"`{name}` is true or false, not {_shown(value)}"
            raise _wrong_arguments(written, problem, [*free.parameters], [*inferred])
        arguments[name] = _argument(value, written)
    if "batch_first" in parameters and arguments.setdefault("batch_first", True) is not True:
        raise _wrong_arguments(written, "the batch is always first", [*free.parameters], [*inferred])
    return arguments


def _parameters(maker: Callable[..., nn.Module]) -> dict[str, inspect.Parameter]:
    """What a spec can pass to it, by name and in order."""
    parameters = dict(inspect.signature(maker).parameters)
    if isinstance(maker, type) and issubclass(maker, nn.RNNBase):  # its own signature is `(*args, **kwargs)`
        parameters = dict(inspect.signature(nn.RNNBase).parameters)
        del parameters["mode"]
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name: parameter
        for name, parameter in parameters.items()
        if name not in ("device", "dtype") and parameter.kind not in open_ended
    }


def _wrong_arguments(
    written: Written, problem: str, known: Sequence[str], inferred: Sequence[str]
) -> Rejected:
    unknown = next((name for name in written.places if name not in {*known, *inferred}), None)
    helps = did_you_mean(unknown, known, what="it takes") if unknown is not None else ()
    if not helps:
        takes = ", ".join(f"`{name}`" for name in known)
        helps = (f"it takes: {takes}" if known else "it takes nothing",)
    if inferred:
        shown = ", ".join(f"`{name}`" for name in inferred)
        helps = (*helps, f"inferred from the value that flows in: {shown}")
    return Rejected(
        Diagnostic(
            code="THX205",
            message=f"wrong arguments for `{written.kind}`: {problem}",
            primary=Label(written.span if unknown is None else written.places[unknown]),
            help=helps,
        )
    )


def _argument(value: object, written: Written) -> Argument:
    if value is None or isinstance(value, int | float | bool | str):
        return value
    if isinstance(value, tuple | list):
        return tuple(_argument(v, written) for v in cast("Sequence[object]", value))
    raise Rejected(
        Diagnostic(
            code="THX203",
            message=f"an argument of `{written.kind}` is {_shown(value)}, not one value",
            primary=Label(written.span),
            help=("name what is meant, such as `part.out.features`",) if isinstance(value, Mapping) else (),
        )
    )


def _shown(value: object) -> str:
    match value:
        case None:
            return "none"
        case Mapping():
            return "a whole part"
        case str():
            return f'"{value}"'
        case _:
            return f"`{value}`"


def _maker(written: Written, modules: Iterable[str]) -> Callable[..., nn.Module]:
    kind = written.kind
    if written.code is not None:
        return load_class(written.code, written.span)
    if kind in FUNCTIONS:
        return FUNCTIONS[kind]
    candidate = getattr(nn, kind, None)
    if isinstance(candidate, type) and issubclass(candidate, nn.Module) and candidate is not nn.Module:
        return candidate
    known = [*modules, *FUNCTIONS, *_nn_classes()]
    raise Rejected(
        Diagnostic(
            code="THX303",
            message=f"there is no module or function `{kind}`",
            primary=Label(
                written.span, "not a `module` of the spec, a class of `torch.nn` or a known function"
            ),
            help=how_to_use(kind, "module") or did_you_mean(kind, known),
        )
    )


def _nn_classes() -> list[str]:
    return [n for n, c in vars(nn).items() if isinstance(c, type) and issubclass(c, nn.Module)]
