"""The value of an expression, given what its names mean."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from theseus_fx.lang import syntax
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected, did_you_mean
from theseus_fx.lang.names import is_auto
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import AutoRank
from theseus_fx.lang.words import AUTO, CONSTANTS, LARGEST

_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def evaluate(expression: syntax.Expression, names: Mapping[str, object]) -> object:
    """The value of an expression.

    Args:
        expression: constants, names, arithmetic, comparisons, `and`, `or`, `not`, attributes, indices, lists.
        names: what each name means; a mapping has its entries as attributes.

    Returns:
        An int, float, bool, str, None, a tuple, or whatever `names` holds.

    Raises:
        Rejected: THX201 for a name or attribute that is not there, THX203 for an operation on values that do
            not take part in it, THX204 for a unit, THX208 for a division by zero, and an index or a result
            out of range.
    """
    match expression:
        case syntax.Name():
            return _name(expression, names)
        case syntax.Number(value=value) | syntax.Text(value=value):
            return value
        case syntax.ListOf(items=items):
            return tuple(evaluate(item, names) for item in items)
        case syntax.Attribute():
            return _attribute(expression, names)
        case syntax.Index():
            return _index(expression, names)
        case syntax.Unary():
            return _unary(expression, names)
        case syntax.Binary():
            return _binary(expression, names)
        case syntax.Quantity(unit_span=span):
            raise _rejected("THX204", span, "a number here carries no unit", "leave the unit out")
        case syntax.Call() if is_auto(expression):
            return _auto(expression, names)
        case syntax.Call(span=span):
            raise _rejected("THX203", span, "a call has no place here")
        case syntax.Chain(span=span):
            raise _rejected("THX203", span, "a chain has no place here")


def _auto(call: syntax.Call, names: Mapping[str, object]) -> AutoRank:
    fix = f"write `{AUTO}(parameters = 50e6)`"
    if [argument.name for argument in call.arguments] != ["parameters"]:
        raise _rejected("THX205", call.span, f"`{AUTO}` takes `parameters`, the budget of all parts", fix)
    value = call.arguments[0].value
    budget = _number(evaluate(value, names), value.span)
    if budget < 1 or budget != int(budget):
        raise _rejected("THX208", value.span, "`parameters` is a whole number of at least 1", fix)
    return AutoRank(int(budget), call.span)


def equal(left: object, right: object) -> bool:
    """Equality in the language: a value also equals a tuple of nothing but it, so that `kernel_size == 3`."""
    if isinstance(left, tuple) and isinstance(right, tuple):
        ours, theirs = cast("tuple[object, ...]", left), cast("tuple[object, ...]", right)
        return len(ours) == len(theirs) and all(map(equal, ours, theirs))
    if isinstance(left, tuple) or isinstance(right, tuple):
        many, one = (left, right) if isinstance(left, tuple) else (right, left)
        items = cast("tuple[object, ...]", many)
        return len(items) > 0 and all(equal(item, one) for item in items)
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    return left == right


def _name(expression: syntax.Name, names: Mapping[str, object]) -> object:
    if expression.text in names:
        return names[expression.text]
    if expression.text in CONSTANTS:
        return CONSTANTS[expression.text]
    raise unknown_name(expression.text, expression.span, [*names])


def unknown_name(name: str, span: Span, known: Sequence[str]) -> Rejected:
    """THX201 for a name, with near ones."""
    return Rejected(
        Diagnostic(
            code="THX201",
            message=f"there is no `{name}` here",
            primary=Label(span),
            help=did_you_mean(name, known, what="names that mean something here"),
        )
    )


def _attribute(expression: syntax.Attribute, names: Mapping[str, object]) -> object:
    owner = evaluate(expression.value, names)
    if not isinstance(owner, Mapping):
        raise _rejected("THX203", expression.span, f"{_kind(owner)} has no attributes")
    entries = cast("Mapping[str, object]", owner)
    if expression.name not in entries:
        raise Rejected(
            Diagnostic(
                code="THX201",
                message=f"`{expression.value.span.text}` has no `{expression.name}`",
                primary=Label(expression.name_span),
                help=did_you_mean(expression.name, sorted(entries), what="it has"),
            )
        )
    return entries[expression.name]


def _index(expression: syntax.Index, names: Mapping[str, object]) -> object:
    owner, index = evaluate(expression.value, names), evaluate(expression.index, names)
    if not isinstance(owner, tuple) or not isinstance(index, int) or isinstance(index, bool):
        raise _rejected("THX203", expression.span, f"{_kind(owner)} has no entries counted by {_kind(index)}")
    items = cast("tuple[object, ...]", owner)
    if not -len(items) <= index < len(items):
        raise _rejected("THX208", expression.span, f"there is no entry {index} in a list of {len(items)}")
    return items[index]


def _unary(expression: syntax.Unary, names: Mapping[str, object]) -> object:
    value = evaluate(expression.operand, names)
    if expression.operator == "not":
        return not _truth(value, expression.operand.span)
    return -_number(value, expression.operand.span)


def _binary(expression: syntax.Binary, names: Mapping[str, object]) -> object:
    left = evaluate(expression.left, names)
    if expression.operator in ("and", "or"):
        decided = _truth(left, expression.left.span) == (expression.operator == "or")
        return _truth(left if decided else evaluate(expression.right, names), expression.right.span)
    right = evaluate(expression.right, names)
    if expression.operator == "==":
        return equal(left, right)
    if expression.operator == "!=":
        return not equal(left, right)
    a, b = _number(left, expression.left.span), _number(right, expression.right.span)
    if expression.operator in _ORDER:
        return _ORDER[expression.operator](a, b)
    try:
        value = _ARITHMETIC[expression.operator](a, b)
    except ZeroDivisionError as error:
        raise _rejected("THX208", expression.right.span, "this divides by zero") from error
    except OverflowError as error:
        raise _rejected("THX208", expression.span, "the result is too large") from error
    if not abs(value) <= LARGEST:  # also where it is no number
        raise _rejected("THX208", expression.span, "the result is too large")
    return value


def _number(value: object, span: Span) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _rejected("THX203", span, f"this takes a number, not {_kind(value)}")
    return value


def _truth(value: object, span: Span) -> bool:
    if not isinstance(value, bool):
        raise _rejected("THX203", span, f"this takes true or false, not {_kind(value)}")
    return value


def _kind(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case tuple():
            return "a list"
        case Mapping():
            return "a whole part"
        case AutoRank():
            return "a rank that a run chooses"
        case _:
            return f"a {type(value).__name__}"


def _rejected(code: str, span: Span, message: str, *helps: str) -> Rejected:
    return Rejected(Diagnostic(code=code, message=message, primary=Label(span), help=helps))
