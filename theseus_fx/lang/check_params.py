"""The params of a spec, with the values of `--set`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from theseus_fx.lang import syntax, words
from theseus_fx.lang.check_values import WRONG, Outcome, constant
from theseus_fx.lang.diagnostics import Label, did_you_mean
from theseus_fx.lang.findings import Findings, distinct
from theseus_fx.lang.parser import parse_value
from theseus_fx.lang.source import Source
from theseus_fx.lang.spec import AutoRank, Environment, Value

Given = Mapping[str, syntax.Expression]
"""The expressions of `--set`, by name; each has a source of its own."""


def read_assignments(
    found: Findings, params: Sequence[syntax.Param], assignments: Mapping[str, str]
) -> Given:
    """The expressions of `--set`; notes THX210 and THX203 in the text that the person gave."""
    known = [node.name.text for node in params]
    given: dict[str, syntax.Expression] = {}
    for name, text in assignments.items():
        source = Source(f"--set {name}", text)
        whole = source.span(0, len(text))
        if name not in known:
            found.note(
                "THX210",
                f"the spec has no param `{name}`",
                whole,
                help=did_you_mean(name, known, what="its params"),
            )
            continue
        expression, problems = parse_value(source)
        if expression is None:
            fix = [f"""write a number, or a text in quotes that the shell keeps: `--set '{name}="text"'`"""]
            found.note("THX203", "this is no value", whole, problems[0].message, help=fix)
            continue
        given[name] = expression
    return given


def check_params(found: Findings, nodes: Sequence[syntax.Param], given: Given) -> None:
    """Computes the params in order, each from those above it, and keeps them in `found`."""
    distinct(found, [node.name for node in nodes], "param")
    values: dict[str, Value] = {}
    for node in nodes:
        name = node.name.text
        if name in words.CONSTANTS:
            found.note("THX206", f"`{name}` is a word of the language", node.name.span)
            continue
        value = _param(found, node, given.get(name))
        if value is WRONG:
            found.broken |= {name}
        else:
            values[name] = value
        found.params = dict(values)


def _param(
    found: Findings, node: syntax.Param, given: syntax.Expression | None
) -> Value | Literal[Outcome.WRONG]:
    default = constant(found, node.value)
    value = default if given is None else constant(found, given)
    if given is None or value is WRONG or default is WRONG or _alike(default, value):
        return value
    found.note(
        "THX203",
        f"`{node.name.text}` is {_kind(default)}, not {_kind(value)}",
        given.span,
        secondary=[Label(node.value.span, "its default")],
    )
    return WRONG


def _alike(default: Value, value: Value) -> bool:
    """Whether a value is of the kind of a default; an int also stands for a float, a variable for a text."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, AutoRank) or (isinstance(value, AutoRank) and isinstance(default, int)):
        return isinstance(value, int | AutoRank)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, str | Environment):
        return isinstance(value, str | Environment)
    return default is None or isinstance(value, type(default))


def _kind(value: Value) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "true or false"
        case int():
            return "a whole number"
        case float():
            return "a number"
        case str() | Environment():
            return "a text"
        case tuple():
            return "a list"
        case AutoRank():
            return "a rank that a run chooses"
        case _:
            return "a number with its unit"
