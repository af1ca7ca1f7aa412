"""Calls of known words: every argument by name, defaults filled in, kinds and ranges right."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from theseus_fx.lang import syntax, words
from theseus_fx.lang.check_values import WRONG, Outcome, constant, of_kind, shown
from theseus_fx.lang.diagnostics import did_you_mean
from theseus_fx.lang.findings import Findings, one_of
from theseus_fx.lang.names import dotted
from theseus_fx.lang.signatures import Argument, Kind, Signature
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import Environment, Invocation, Value

_KINDS: Mapping[Kind, tuple[str, tuple[type, ...]]] = {
    "int": ("a whole number", (int,)),
    "optional int": ("a whole number or none", (int, type(None))),
    "share": ("a number", (int, float)),
    "bool": ("true or false", (bool,)),
    "path": ("a text in quotes or env(...)", (str, Environment)),
    "optional path": ("a text in quotes, env(...) or none", (str, Environment, type(None))),
    "text": ("a text in quotes", (str,)),
    "optional text": ("a text in quotes or none", (str, type(None))),
    "numbers": ("a number, a list of numbers or none", (int, float, tuple, type(None))),
    "augment": ("a list of transforms or none", (tuple, type(None))),
    "any": ("a value", (int, float, bool, str, type(None), tuple, Environment)),
}


def bind(found: Findings, call: syntax.Call, signature: Signature) -> Mapping[str, syntax.Expression] | None:
    """The arguments of a call by name; notes THX205 and THX206."""
    known = signature.names()
    bound: dict[str, syntax.Expression] = {}
    name = dotted(call.function)
    before = len(found.problems)
    for position, argument in enumerate(call.arguments):
        if argument.name is None and position >= len(known):
            said = f"`{name}` takes at most {len(known)} arguments"
            found.note("THX205", said, argument.span, help=[_takes(name, signature)])
            continue
        key = known[position] if argument.name is None else argument.name
        place = argument.name_span or argument.span
        if key not in known:
            found.note(
                "THX205",
                f"`{name}` has no argument `{key}`",
                place,
                help=did_you_mean(key, known, what="it takes"),
            )
        elif key in bound:
            found.repeated(f"`{key}` is given twice", place, bound[key].span)
        else:
            bound[key] = argument.value
    for wanted in signature.arguments:
        if wanted.required and wanted.name not in bound and len(found.problems) == before:
            found.note("THX205", f"`{name}` needs `{wanted.name}`", call.span, help=[_takes(name, signature)])
    return bound if len(found.problems) == before else None


def invocation(found: Findings, call: syntax.Call, signature: Signature) -> Invocation | None:
    """A call with constant arguments, every argument by name, defaults filled in."""
    bound = bind(found, call, signature)
    if bound is None:
        return None
    values: dict[str, Value] = {}
    for argument in signature.arguments:
        given = bound.get(argument.name)
        value = argument.default if given is None else _argument(found, given, argument)
        if value is not WRONG:
            values[argument.name] = value
    if len(values) < len(signature.arguments):
        return None
    return Invocation(
        name=dotted(call.function),
        keywords=MappingProxyType(values),
        span=call.span,
        spans=MappingProxyType({key: value.span for key, value in bound.items()}),
    )


def library_call(found: Findings, call: syntax.Call) -> Invocation | None:
    """A call whose arguments only the library knows."""
    before = len(found.problems)
    positional: list[Value] = []
    keywords: dict[str, Value] = {}
    spans: dict[str, Span] = {}
    for position, argument in enumerate(call.arguments):
        if argument.name is not None and argument.name in spans:
            place = argument.name_span or argument.span
            found.repeated(f"`{argument.name}` is given twice", place, spans[argument.name])
            continue
        spans[argument.name or str(position)] = argument.value.span
        value = constant(found, argument.value)
        if value is WRONG:
            continue
        if argument.name is not None:
            keywords[argument.name] = value
        elif keywords:
            found.note("THX205", "arguments without a name come first", argument.span)
        else:
            positional.append(value)
    if len(found.problems) > before:
        return None
    return Invocation(
        name=dotted(call.function),
        positional=tuple(positional),
        keywords=MappingProxyType(keywords),
        span=call.span,
        spans=MappingProxyType(spans),
    )


def _argument(
    found: Findings, expression: syntax.Expression, argument: Argument
) -> Value | Literal[Outcome.WRONG]:
    what = f"`{argument.name}`"
    if argument.kind == "augment":
        return _augmentations(found, expression)
    wanted, kinds = _KINDS[argument.kind]
    value = of_kind(found, expression, what, wanted, kinds)
    if argument.kind in ("int", "optional int") and isinstance(value, int) and value < 1:
        found.note("THX208", f"{what} is at least 1, not {value}", expression.span)
        return WRONG
    if argument.kind == "share" and isinstance(value, int | float) and not 0 < value < 1:
        found.note("THX208", f"{what} is between 0 and 1, not {value:g}", expression.span)
        return WRONG
    if argument.kind == "numbers" and isinstance(value, tuple) and not _all_numbers(value):
        found.note("THX203", f"{what} is {wanted}", expression.span, f"this is {shown(value)}")
        return WRONG
    if argument.choices and isinstance(value, str) and value not in argument.choices:
        known = did_you_mean(value, argument.choices, what="it can be")
        found.note("THX209", f"{what} is not `{value}`", expression.span, help=known)
        return WRONG
    if argument.kind in ("path", "optional path", "text", "optional text") and value == "":
        wanted = "a path" if "path" in argument.kind else "a name"
        found.note("THX208", f"{what} is {wanted}, and this text is empty", expression.span)
        return WRONG
    return value


def _augmentations(
    found: Findings, expression: syntax.Expression
) -> tuple[Invocation, ...] | Literal[Outcome.WRONG] | None:
    """A list of transforms, a word by itself being one without arguments; or none."""
    if isinstance(expression, syntax.Name) and expression.text == "none":
        return None
    if not isinstance(expression, syntax.ListOf):
        example = "write `[random_crop(32, padding = 4), random_horizontal_flip]`"
        found.note("THX203", "`augment` is a list of transforms or none", expression.span, help=[example])
        return WRONG
    made: list[Invocation] = []
    for item in expression.items:
        call = item if isinstance(item, syntax.Call) else syntax.Call(item, (), item.span)
        name, place = dotted(call.function), call.function.span
        if one_of(found, name, place, words.AUGMENTATIONS, "augmentation"):
            found_call = library_call(found, call)
            made += [] if found_call is None else [found_call]
    return tuple(made) if len(made) == len(expression.items) else WRONG


def _all_numbers(values: tuple[Value, ...]) -> bool:
    return len(values) > 0 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _takes(name: str, signature: Signature) -> str:
    listed = [a.name if a.required else f"{a.name} = {shown(a.default)}" for a in signature.arguments]
    return f"it is `{name}({', '.join(listed)})`"
