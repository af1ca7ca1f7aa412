"""Replacements: expressions through which data flows, and the named modules that they are made of.

A step takes the value that flows in, which is called `it`. Positional arguments that are steps themselves
are values that flow in too; all other arguments are constants of the part.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from theseus_fx.lang import syntax
from theseus_fx.lang.code import code_reference
from theseus_fx.lang.diagnostics import Label, did_you_mean
from theseus_fx.lang.evaluate import unknown_name
from theseus_fx.lang.findings import Findings, distinct
from theseus_fx.lang.names import is_auto, is_class_name, names_in, steps_called
from theseus_fx.lang.source import Span
from theseus_fx.lang.words import ARITHMETIC, CONSTANTS, IT, NAMESPACE

Definitions = Mapping[str, syntax.ModuleDefinition]


def check_definition(found: Findings, node: syntax.ModuleDefinition, definitions: Definitions) -> None:
    """A `module` sentence: its names are distinct, each is used, and its body uses nothing else."""
    if code_reference(node.body) is not None:
        return
    named = [*(parameter.name for parameter in node.parameters), *(value.name for value in node.values)]
    distinct(found, named, "value")
    for word in named:
        if word.text == IT:
            found.note("THX206", f"`{IT}` is the value that flows in, so nothing else is", word.span)
    names = {*CONSTANTS}
    for parameter in node.parameters:
        if parameter.default is not None:
            check_names(found, parameter.default, names)
        names.add(parameter.name.text)
    names.add(IT)
    read = set[str]()
    for value in node.values:
        check_steps(found, value.value, names, definitions)
        read |= names_in(value.value)
        names.add(value.name.text)
    check_steps(found, node.body, names, definitions)
    read |= names_in(node.body)
    for value in node.values:
        if value.name.text not in read:
            found.note("THX211", f"nothing uses the value `{value.name.text}`", value.name.span)
    _check_recursion(found, node, definitions)


def check_steps(
    found: Findings, expression: syntax.Expression, names: Collection[str], definitions: Definitions
) -> None:
    """An expression where a value flows: its names are known, calls of named modules have their arguments."""
    match expression:
        case syntax.Chain(steps=steps):
            for step in steps:
                check_steps(found, step, names, definitions)
        case syntax.Call():
            _check_call(found, expression, names, definitions)
        case syntax.Name(text=text, span=span):
            if text not in names and text in definitions:
                missing = [p.name.text for p in definitions[text].parameters if p.default is None]
                _missing(found, span, definitions[text], missing)
        case syntax.Index(value=value, index=index):
            check_steps(found, value, names, definitions)
            check_names(found, index, names)
        case syntax.Binary(operator=operator, left=left, right=right) if operator in ARITHMETIC:
            _check_operand(found, left, names, definitions)
            _check_operand(found, right, names, definitions)
        case syntax.Unary(operator="-", operand=operand):
            _check_operand(found, operand, names, definitions)
        case syntax.Attribute():
            if _dotted_class(expression) is None:
                check_names(found, expression, names)
        case _:
            _no_steps(found, expression)


def check_replacement(
    found: Findings, expression: syntax.Expression, names: Collection[str], definitions: Definitions
) -> None:
    """What stands after `replace with`; `names` are the params and the binding of the rule."""
    flows = isinstance(expression, syntax.Name | syntax.Attribute) or IT in names_in(expression)
    if flows or holds_steps(expression, names):
        check_steps(found, expression, {*names, IT}, definitions)
    else:
        _no_steps(found, expression)


def _no_steps(found: Findings, expression: syntax.Expression) -> None:
    found.note(
        "THX203",
        "a replacement is made of modules and functions through which a value flows",
        expression.span,
        help=["write steps such as `flatten(start_dim = 1) |> Linear(64)`"],
    )


def check_names(found: Findings, expression: syntax.Expression, names: Collection[str]) -> None:
    """An expression without steps: every name in it means something."""
    match expression:
        case syntax.Name(text=text, span=span):
            if text not in names:
                known = sorted(n for n in names if n not in CONSTANTS)
                found.problems += unknown_name(text, span, known).diagnostics
        case syntax.ListOf(items=items):
            for item in items:
                check_names(found, item, names)
        case syntax.Chain(span=span):
            found.note("THX203", "a chain has no place here", span)
        case syntax.Attribute(value=value) | syntax.Unary(operand=value):
            check_names(found, value, names)
        case syntax.Index(value=left, index=right) | syntax.Binary(left=left, right=right):
            check_names(found, left, names)
            check_names(found, right, names)
        case syntax.Call(arguments=arguments) if is_auto(expression):
            for argument in arguments:
                check_names(found, argument.value, names)
        case syntax.Call(span=span):
            found.note("THX203", "a call has no place here", span)
        case syntax.Quantity(unit_span=span):
            found.note("THX204", "a number here carries no unit", span, help=["leave the unit out"])
        case syntax.Number() | syntax.Text():
            pass


def _check_operand(
    found: Findings, expression: syntax.Expression, names: Collection[str], definitions: Definitions
) -> None:
    """A positional argument, or a side of arithmetic: steps, or a constant."""
    if holds_steps(expression, names):
        check_steps(found, expression, names, definitions)
    else:
        check_names(found, expression, names)


def holds_steps(expression: syntax.Expression, names: Collection[str]) -> bool:
    """Whether a module or function is called in an expression: in words or as `LayerNorm` alone."""
    match expression:
        case syntax.Call() | syntax.Chain():
            return not is_auto(expression)
        case syntax.Name(text=text):
            return text not in names and is_class_name(text)
        case syntax.Attribute(value=value):
            return _dotted_class(expression) is not None or holds_steps(value, names)
        case syntax.Unary(operand=value) | syntax.Index(value=value):
            return holds_steps(value, names)
        case syntax.Binary(left=left, right=right):
            return holds_steps(left, names) or holds_steps(right, names)
        case _:
            return False


def _check_call(found: Findings, call: syntax.Call, names: Collection[str], definitions: Definitions) -> None:
    for argument in call.arguments:
        if argument.name is None:
            _check_operand(found, argument.value, names, definitions)
        else:
            check_names(found, argument.value, names)
    match call.function:
        case syntax.Name(text=text):
            if text in definitions and code_reference(definitions[text].body) is None:
                _check_arity(found, call, definitions[text])
        case syntax.Attribute() as dotted if _dotted_class(dotted) is not None:
            pass
        case other:
            fix = f"a class of `torch.nn` is `{NAMESPACE}.Linear`, or `Linear` alone"
            found.note("THX203", "this is no module or function", other.span, help=[fix])


def _dotted_class(expression: syntax.Attribute) -> str | None:
    """`Linear` of `nn.Linear`."""
    owner = expression.value
    return expression.name if isinstance(owner, syntax.Name) and owner.text == NAMESPACE else None


def _check_arity(found: Findings, call: syntax.Call, definition: syntax.ModuleDefinition) -> None:
    parameters = [parameter.name.text for parameter in definition.parameters]
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
    needed = [p.name.text for p in definition.parameters if p.default is None]
    _missing(found, call.span, definition, [p for p in needed if p not in given])


def _missing(
    found: Findings, span: Span, definition: syntax.ModuleDefinition, missing: Sequence[str]
) -> None:
    if not missing:
        return
    shown = ", ".join(f"`{name}`" for name in missing)
    found.note(
        "THX205",
        f"`{definition.name.text}` needs {shown}",
        span,
        secondary=[Label(definition.name.span, "defined here")],
        help=[f"it is `{definition.signature}`"],
    )


def _check_recursion(found: Findings, node: syntax.ModuleDefinition, definitions: Definitions) -> None:
    reached, ahead = set[str](), _called(node)
    while ahead:
        reached |= ahead
        inner = [_called(definitions[name]) for name in ahead if name in definitions]
        ahead = set[str]().union(*inner) - reached
    if node.name.text in reached:
        fix = f"the class of torch is `{NAMESPACE}.{node.name.text}`"
        found.note("THX206", f"`{node.name.text}` is defined by itself", node.name.span, help=[fix])


def _called(node: syntax.ModuleDefinition) -> set[str]:
    values = (steps_called(value.value) for value in node.values)
    return steps_called(node.body).union(*values)
