"""Values of settings and arguments: constants computed, kinds and ranges right.

Each function gives the value, or says that there is none after it has noted what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, Literal, cast

from theseus_fx.lang import syntax, words
from theseus_fx.lang.diagnostics import Rejected, did_you_mean, near_names
from theseus_fx.lang.evaluate import evaluate
from theseus_fx.lang.findings import Findings
from theseus_fx.lang.names import dotted, is_auto, names_in
from theseus_fx.lang.spec import Amount, Environment, Invocation, Unit, Value

_PLURAL: Mapping[str, Unit] = {
    "epoch": "epochs", "epochs": "epochs",
    "step": "steps", "steps": "steps",
    "batch": "batches", "batches": "batches",
}  # fmt: skip


class Outcome(Enum):
    """What stands for a value that there is none of; `none` is a value."""

    WRONG = "wrong"


WRONG: Final = Outcome.WRONG
"""The value was wrong, which has been noted."""


def constant(found: Findings, expression: syntax.Expression) -> Value | Literal[Outcome.WRONG]:
    """The value of a constant expression."""
    if isinstance(expression, syntax.Call) and not is_auto(expression):
        return _environment(found, expression)
    if names_in(expression) & found.broken:
        return WRONG
    if isinstance(expression, syntax.Name) and not _means_something(found, expression.text):
        found.note(
            "THX201",
            f"there is no `{expression.text}` here",
            expression.span,
            help=did_you_mean(expression.text, [*found.params], what="the params")
            or [f'a text stands in quotes: `"{expression.text}"`'],
        )
        return WRONG
    try:
        return cast("Value", evaluate(expression, found.params))
    except Rejected as rejected:
        found.problems += rejected.diagnostics
        return WRONG


def of_kind(
    found: Findings, expression: syntax.Expression, what: str, wanted: str, kinds: tuple[type, ...]
) -> Value | Literal[Outcome.WRONG]:
    """The value of a constant expression that is of one of the kinds; a bool is no int."""
    if isinstance(expression, syntax.Quantity):
        found.note("THX204", f"{what} carries no unit", expression.unit_span, help=["leave the unit out"])
        return WRONG
    if isinstance(expression, syntax.Name) and not _means_something(found, expression.text):
        near = near_names(expression.text, [*found.params, *words.CONSTANTS])
        if not near:
            quoted = [f'write `"{expression.text}"`'] if str in kinds else []
            found.note(
                "THX203", f"{what} is {wanted}", expression.span, "this names nothing here", help=quoted
            )
            return WRONG
    value = constant(found, expression)
    if value is WRONG:
        return WRONG
    if type(value) not in kinds:
        found.note("THX203", f"{what} is {wanted}", expression.span, f"this is {shown(value)}")
        return WRONG
    return value


def number(found: Findings, expression: syntax.Expression, what: str, *, zero: bool = False) -> float | None:
    """A number without a unit, above zero or, with `zero`, not below it."""
    value = of_kind(found, expression, what, "a number", (int, float))
    if not isinstance(value, int | float):
        return None
    if value < 0 or (value == 0 and not zero):
        least = "zero or more" if zero else "above zero"
        found.note("THX208", f"{what} is {least}, not {value:g}", expression.span)
        return None
    return float(value)


def amount(
    found: Findings,
    expression: syntax.Expression,
    what: str,
    *,
    least: int = 1,
    units: Sequence[str] = ("epochs", "steps"),
) -> Amount | None:
    """A count with its unit; `units` are those that help proposes."""
    if isinstance(expression, syntax.Unary) and isinstance(expression.operand, syntax.Quantity):
        found.note("THX208", f"{what} is a whole number of at least {least}", expression.span)
        return None
    if not isinstance(expression, syntax.Quantity):
        written = expression.span.text if isinstance(expression, syntax.Number) else "5"
        fix = " or ".join(f"`{written} {unit}`" for unit in units)
        found.note(
            "THX204", f"{what} is a number with its unit, written out", expression.span, help=[f"write {fix}"]
        )
        return None
    if expression.unit not in words.UNITS:
        found.note(
            "THX204",
            f"there is no unit `{expression.unit}`",
            expression.unit_span,
            help=did_you_mean(expression.unit, ("epochs", "steps", "batches"), what="units"),
        )
        return None
    if not isinstance(expression.value, int) or expression.value < least:
        found.note("THX208", f"{what} is a whole number of at least {least}", expression.span)
        return None
    return Amount(expression.value, _PLURAL[expression.unit])


def shown(value: object) -> str:
    """A value as a spec writes it."""
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value}"'
        case Environment(variable=variable):
            return f'env("{variable}")'
        case Invocation(name=name, positional=positional, keywords=keywords):
            given = [*map(shown, positional), *(f"{key} = {shown(v)}" for key, v in keywords.items())]
            return f"{name}({', '.join(given)})"
        case tuple():
            return f"[{', '.join(shown(v) for v in cast('tuple[object, ...]', value))}]"
        case _:
            return str(value)


def _means_something(found: Findings, name: str) -> bool:
    return name in found.params or name in words.CONSTANTS or name in found.broken


def _environment(found: Findings, call: syntax.Call) -> Environment | Literal[Outcome.WRONG]:
    """`env("NAME")`, the one call whose value is a constant."""
    name = dotted(call.function)
    if name != "env":
        found.note(
            "THX201",
            f"there is no function `{name}` here",
            call.function.span,
            help=did_you_mean(name, ["env"], what="known here"),
        )
        return WRONG
    first = call.arguments[0] if len(call.arguments) == 1 else None
    if first is None or first.name is not None or not isinstance(first.value, syntax.Text):
        found.note(
            "THX205",
            "`env` takes the name of one environment variable",
            call.span,
            help=['write `env("DATA_DIR")`'],
        )
        return WRONG
    if first.value.value == "":
        found.note("THX208", "an environment variable has a name", first.value.span)
        return WRONG
    return Environment(first.value.value)
