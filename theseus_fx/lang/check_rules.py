"""Rules and named modules: one `match`, one replacement, and every name in them defined."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from theseus_fx.lang import syntax
from theseus_fx.lang.check_patterns import Patterns, is_region
from theseus_fx.lang.check_values import WRONG, constant
from theseus_fx.lang.diagnostics import Label, did_you_mean
from theseus_fx.lang.evaluate import unknown_name
from theseus_fx.lang.findings import Findings, distinct
from theseus_fx.lang.names import steps_called
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import ModulePattern, Rule, Value
from theseus_fx.lang.words import CONSTANTS

Definitions = Mapping[str, syntax.ModuleDefinition]


def check_rule(
    found: Findings, node: syntax.Rule, definitions: Definitions, patterns: Patterns
) -> Rule | None:
    """A `rule` sentence; what only the model can tell is left to the planner."""
    _one(found, node, "match", [p.span for p in node.matches])
    _one(found, node, "replace with", [r.span for r in node.replacements])
    _at_most_one(found, "expect", [n.span for n in node.expect])
    for glob in (*node.within, *node.keep):
        if not glob.pattern.strip():
            fix = 'name modules such as "layer1*", or leave it out'
            found.note("THX208", "this path pattern is empty", glob.span, help=[fix])
    if not node.matches or not node.replacements:
        return None
    matched = node.matches[0]
    pattern = patterns.matched(found, matched) if is_region(matched.value) else _pattern(found, matched)
    names = {*found.params, *found.broken, *CONSTANTS}
    names |= {pattern.binding.text for pattern in node.matches if pattern.binding is not None}
    for condition in node.where:
        _check_names(found, condition, names)
    _check_steps(found, node.replacements[0], names, definitions)
    expect = node.expect[0] if node.expect else None
    if expect is not None and (not isinstance(expect.value, int) or expect.value < 1):
        found.note("THX208", "`expect` is a whole number of at least 1", expect.span)
    if pattern is None:
        return None
    return Rule(
        name=node.name.text,
        pattern=pattern,
        within=node.within,
        where=node.where,
        expect=None if expect is None else int(expect.value),
        expect_span=None if expect is None else expect.span,
        keep=node.keep,
        replacement=node.replacements[0],
        span=node.name.span,
    )


def check_definition(found: Findings, node: syntax.ModuleDefinition, definitions: Definitions) -> None:
    """A `module` sentence: its parameters are distinct, and its body uses nothing else."""
    distinct(found, node.parameters, "parameter")
    names = {parameter.text for parameter in node.parameters}
    _check_steps(found, node.body, {*names, *CONSTANTS}, definitions)
    reached, ahead = set[str](), steps_called(node.body)
    while ahead:
        reached |= ahead
        bodies = [definitions[name].body for name in ahead if name in definitions]
        ahead = set[str]().union(*map(steps_called, bodies)) - reached
    if node.name.text in reached:
        found.note("THX206", f"`{node.name.text}` is defined by itself", node.name.span)


def _pattern(found: Findings, node: syntax.Pattern) -> ModulePattern | None:
    value = node.value
    call = value if isinstance(value, syntax.Call) else None
    name = value if call is None else call.function
    if not isinstance(name, syntax.Name):
        found.note(
            "THX203",
            "`match` takes the name of a module class",
            value.span,
            help=["write `match Conv2d as c`"],
        )
        return None
    attributes: dict[str, Value] = {}
    places: dict[str, Span] = {}
    for argument in call.arguments if call else ():
        if argument.name is None:
            found.note(
                "THX205",
                "attributes to match are named",
                argument.span,
                help=["write `Conv2d(kernel_size = 3)`"],
            )
        elif argument.name in places:
            place = argument.name_span or argument.span
            found.repeated(f"`{argument.name}` is given twice", place, places[argument.name])
        else:
            places[argument.name] = argument.value.span
            value = constant(found, argument.value)
            if value is not WRONG:
                attributes[argument.name] = value
    return ModulePattern(
        class_name=name.text,
        attributes=MappingProxyType(attributes),
        binding=None if node.binding is None else node.binding.text,
        span=node.span,
        class_span=name.span,
    )


def _check_steps(
    found: Findings, expression: syntax.Expression, names: Collection[str], definitions: Definitions
) -> None:
    match expression:
        case syntax.Chain(steps=steps):
            for step in steps:
                _check_steps(found, step, names, definitions)
        case syntax.Call(function=syntax.Name(text=text), arguments=arguments):
            for argument in arguments:
                _check_names(found, argument.value, names)
            if text in definitions:
                _check_arity(found, expression, definitions[text])
        case syntax.Name(text=text, span=span):
            if text in definitions and definitions[text].parameters:
                _missing(found, span, definitions[text], [w.text for w in definitions[text].parameters])
        case _:
            found.note(
                "THX203",
                "a replacement is a chain of modules and functions",
                expression.span,
                help=["write steps such as `flatten(start_dim = 1) |> Linear(64)`"],
            )


def _check_names(found: Findings, expression: syntax.Expression, names: Collection[str]) -> None:
    match expression:
        case syntax.Name(text=text, span=span):
            if text not in names:
                known = sorted(n for n in names if n not in CONSTANTS)
                found.problems += unknown_name(text, span, known).diagnostics
        case syntax.ListOf(items=items):
            for item in items:
                _check_names(found, item, names)
        case syntax.Chain(span=span):
            found.note("THX203", "a chain has no place here", span)
        case syntax.Attribute(value=value) | syntax.Unary(operand=value):
            _check_names(found, value, names)
        case syntax.Index(value=left, index=right) | syntax.Binary(left=left, right=right):
            _check_names(found, left, names)
            _check_names(found, right, names)
        case syntax.Call(span=span):
            found.note("THX203", "a call has no place here", span)
        case syntax.Quantity(unit_span=span):
            found.note("THX204", "a number here carries no unit", span, help=["leave the unit out"])
        case syntax.Number() | syntax.Text():
            pass


def _check_arity(found: Findings, call: syntax.Call, definition: syntax.ModuleDefinition) -> None:
    parameters = [word.text for word in definition.parameters]
    name = definition.name.text
    given: dict[str, Span] = {}
    for position, argument in enumerate(call.arguments):
        if argument.name is None:
            if position >= len(parameters):
                found.note(
                    "THX205",
                    f"`{name}` takes {len(parameters)} arguments",
                    argument.span,
                    secondary=[Label(definition.name.span, "defined here")],
                )
                continue
            given[parameters[position]] = argument.span
        elif argument.name not in parameters:
            found.note(
                "THX205",
                f"`{name}` has no parameter `{argument.name}`",
                argument.name_span or argument.span,
                secondary=[Label(definition.name.span, "defined here")],
                help=did_you_mean(argument.name, parameters, what="its parameters"),
            )
            return
        elif argument.name in given:
            place = argument.name_span or argument.span
            found.repeated(f"`{argument.name}` is given twice", place, given[argument.name])
        else:
            given[argument.name] = argument.span
    if missing := [p for p in parameters if p not in given]:
        _missing(found, call.span, definition, missing)


def _missing(
    found: Findings, span: Span, definition: syntax.ModuleDefinition, missing: Sequence[str]
) -> None:
    shown = ", ".join(f"`{name}`" for name in missing)
    found.note(
        "THX205",
        f"`{definition.name.text}` needs {shown}",
        span,
        secondary=[Label(definition.name.span, "defined here")],
        help=[f"it is `{definition.name.text}({', '.join(w.text for w in definition.parameters)})`"],
    )


def _one(found: Findings, node: syntax.Rule, clause: str, spans: Sequence[Span]) -> None:
    if not spans:
        found.note("THX207", f"rule `{node.name.text}` has no `{clause}`", node.name.span)
    _at_most_one(found, clause, spans)


def _at_most_one(found: Findings, clause: str, spans: Sequence[Span]) -> None:
    for again in spans[1:]:
        found.repeated(f"a rule has one `{clause}`", again, spans[0])
