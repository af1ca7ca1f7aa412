"""A pattern over operations written out: from its sentences to a graph of steps.

A pattern that another one uses is written out in its place, with names of its own; nothing here knows which
modules or functions there are, for that only the model can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from types import MappingProxyType

from theseus_fx.lang import syntax, words
from theseus_fx.lang.check_values import WRONG, constant
from theseus_fx.lang.diagnostics import Label, did_you_mean
from theseus_fx.lang.findings import Findings
from theseus_fx.lang.library import how_to_use
from theseus_fx.lang.names import dotted
from theseus_fx.lang.operations import (
    AnyOperation,
    Anything,
    Bound,
    Constant,
    Either,
    Function,
    Input,
    ModuleClass,
    Operation,
    Pattern,
    Step,
    optional,
    repeat,
)
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import Value

MOST_STEPS = 2_000
"""Of one pattern, with everything that it uses and repeats written out."""
MOST_REPEATS = 64

_OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floor_divide", "%": "remainder"}
Definitions = Mapping[str, syntax.PatternDefinition]
_Apply = Callable[[Pattern], Pattern]


class Wrong(Exception):  # noqa: N818 - what is wrong has been noted
    """A part of a pattern makes no sense, which has been noted."""


def is_class(name: str) -> bool:
    """Whether a name is that of a module class (`Conv2d`, `_ConvNd`), not of a function, pattern or value."""
    return name.lstrip("_")[:1].isupper()


def sound(definitions: Definitions, name: str) -> bool:
    """Whether a pattern has inputs and a result; the check of its sentence says what it lacks."""
    node = definitions.get(name)
    return node is None or (len(node.results) == 1 and bool(node.parameters))


@dataclass(slots=True)
class Writing:
    """One pattern being written out."""

    definitions: Definitions
    found: Findings
    steps: int = 0
    copies: count[int] = field(default_factory=lambda: count(1))
    around: tuple[str, ...] = ()
    """The patterns that are being written out."""

    def body(
        self,
        node: syntax.PatternDefinition,
        operands: Sequence[Pattern],
        prefix: tuple[str, ...],
    ) -> Pattern:
        """The result of a pattern on some operands."""
        names: dict[str, Pattern] = {}
        for word, operand in zip(node.parameters, operands, strict=True):
            plain = isinstance(operand, Input | Bound)
            names[word.text] = operand if plain else Bound("/".join((*prefix, word.text)), operand)
        around, self.around = self.around, (*self.around, node.name.text)
        failed = False
        for binding in node.bindings:
            try:
                value = self.value(binding.value, names)
            except Wrong:
                failed, value = True, Anything()
            names[binding.name.text] = Bound("/".join((*prefix, binding.name.text)), value)
        result = self.value(node.results[0], names)
        self.around = around
        if failed:
            raise Wrong
        return result

    def value(self, expression: syntax.Expression, names: Mapping[str, Pattern]) -> Pattern:
        """What an expression stands for where a value stands."""
        match expression:
            case syntax.Name(text=text) if text in names:
                return names[text]
            case syntax.Name(text=text) if text in words.ANYTHING:
                return Anything()
            case syntax.Name():
                raise self.unknown(expression, names)
            case syntax.Number(value=number):
                return Constant(number)
            case syntax.Unary(operator="-", operand=syntax.Number(value=number)):
                return Constant(-number)
            case syntax.Binary(operator="or", left=left, right=right):
                return Either((self.value(left, names), self.value(right, names)))
            case syntax.Binary(operator=operator, left=left, right=right) if operator in _OPERATORS:
                operands = (self.value(left, names), self.value(right, names))
                return self.made(Function(_OPERATORS[operator]), operands, {}, expression.operator_span)
            case syntax.Chain(steps=(first, *rest)):
                flowing = self.value(first, names)
                for step in rest:
                    flowing = self.step(step, names)(flowing)
                return flowing
            case syntax.Call():
                return self.called(expression, None, names)
            case _:
                raise self.wrong(
                    expression.span,
                    "this is no value of a pattern",
                    "values are names, `_`, numbers, steps on values, `a + b` and `a or b`",
                )

    def step(self, expression: syntax.Expression, names: Mapping[str, Pattern]) -> _Apply:
        """What an expression does where a step of a chain stands."""
        match expression:
            case syntax.Name(text=text) if text in names:
                raise self.wrong(
                    expression.span,
                    f"`{text}` is a value, not a step",
                    f"write `add({text})`, or begin with it",
                )
            case syntax.Name(text=text, span=span) if text in words.ANYTHING:
                return lambda flowing: self.made(AnyOperation(), (flowing,), {}, span)
            case syntax.Name(text=text, span=span) if text in words.PATTERN_FORMS:
                raise self.wrong(span, f"`{text}` takes a step", f"write `{text}(Dropout)`")
            case syntax.Name(text=text, span=span):
                return lambda flowing: self.applied(text, (flowing,), {}, span, span)
            case syntax.Call(function=syntax.Name(text="optional")):
                inner = self.step(self.only_step(expression, ()), names)
                return lambda flowing: optional(inner, flowing)
            case syntax.Call(function=syntax.Name(text="repeat")):
                return self.repeated(expression, names)
            case syntax.Call():
                return lambda flowing: self.called(expression, flowing, names)
            case syntax.Binary(operator="or", left=left, right=right):
                first, second = self.step(left, names), self.step(right, names)
                return lambda flowing: Either((first(flowing), second(flowing)))
            case syntax.Chain(steps=parts):
                several = [self.step(part, names) for part in parts]

                def through(flowing: Pattern) -> Pattern:
                    for part in several:
                        flowing = part(flowing)
                    return flowing

                return through
            case _:
                raise self.wrong(
                    expression.span,
                    "this is no step of a pattern",
                    "steps are classes, functions, patterns, `_`, `optional(...)`, `repeat(...)`, `a or b`",
                )

    def repeated(self, call: syntax.Call, names: Mapping[str, Pattern]) -> _Apply:
        """`repeat(step, min = 1, max = 4)`."""
        inner = self.step(self.only_step(call, ("min", "max")), names)
        given = {a.name: a.value for a in call.arguments if a.name is not None}
        if "max" not in given:
            raise self.wrong(
                call.span, "`repeat` needs `max`", "write `repeat(step, min = 1, max = 4)`", "THX205"
            )
        least = self.whole(given["min"], 0) if "min" in given else 1
        most = self.whole(given["max"], max(1, least))
        return lambda flowing: repeat(inner, flowing, least, most)

    def whole(self, expression: syntax.Expression, least: int) -> int:
        value = constant(self.found, expression)
        if value is WRONG:
            raise Wrong
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST_REPEATS:
            said = f"this is a whole number from {least} to {MOST_REPEATS}"
            raise self.wrong(expression.span, said, code="THX208")
        return value

    def only_step(self, call: syntax.Call, keywords: Sequence[str]) -> syntax.Expression:
        """The one step that `optional` or `repeat` takes."""
        name = dotted(call.function)
        steps = [a.value for a in call.arguments if a.name is None]
        seen: set[str] = set()
        for argument in call.arguments:
            if argument.name is not None and (argument.name not in keywords or argument.name in seen):
                near = did_you_mean(argument.name, keywords, what="it takes")
                said = f"`{name}` has no argument `{argument.name}`"
                if argument.name in seen:
                    said, near = f"`{argument.name}` is given twice", ()
                self.found.note("THX205", said, argument.name_span or argument.span, help=near)
                raise Wrong
            seen.add(argument.name or "")
        if len(steps) != 1:
            fix = f"write a chain for several: `{name}(Linear |> ReLU)`"
            raise self.wrong(call.span, f"`{name}` takes one step", fix, "THX205")
        return steps[0]

    def called(self, call: syntax.Call, flowing: Pattern | None, names: Mapping[str, Pattern]) -> Pattern:
        """`Conv2d(x, kernel_size = 3)`, `add(a, b)`, `conv_bn(x)`; what flows in is the first operand."""
        if not isinstance(call.function, syntax.Name):
            raise self.wrong(call.function.span, "a step has a plain name", "write `Conv2d` or `relu`")
        name = call.function.text
        if name in words.PATTERN_FORMS:
            raise self.wrong(call.span, f"`{name}` is a step, not a value", f"write `x |> {call.span.text}`")
        if name in names:
            raise self.wrong(call.function.span, f"`{name}` is a value, not a step")
        attributes: dict[str, Value] = {}
        places: dict[str, Span] = {}
        operands = [] if flowing is None else [flowing]
        for argument in call.arguments:
            if argument.name is None:
                operands.append(self.value(argument.value, names))
            elif argument.name in places:
                place = argument.name_span or argument.span
                self.found.repeated(f"`{argument.name}` is given twice", place, places[argument.name])
                raise Wrong
            else:
                places[argument.name] = argument.value.span
                value = constant(self.found, argument.value)
                if value is WRONG:
                    raise Wrong
                attributes[argument.name] = value
        return self.applied(name, tuple(operands), attributes, call.function.span, call.span)

    def applied(
        self,
        name: str,
        operands: tuple[Pattern, ...],
        attributes: Mapping[str, Value],
        span: Span,
        whole: Span,
    ) -> Pattern:
        """A module class, a pattern or a function on operands."""
        if is_class(name):
            return self.made(ModuleClass(name), operands, attributes, whole)
        definition = self.definitions.get(name)
        if definition is None:
            return self.made(Function(name), operands, attributes, whole)
        where = [Label(definition.name.span, "defined here")]
        parameters = [word.text for word in definition.parameters]
        if attributes:
            self.found.note("THX205", f"`{name}` takes values and no attributes", whole, secondary=where)
            raise Wrong
        if len(operands) != len(parameters):
            said = f"`{name}` takes {len(parameters)} values, not {len(operands)}"
            fix = f"it is `{name}({', '.join(parameters)})`"
            self.found.note("THX205", said, whole, secondary=where, help=[fix])
            raise Wrong
        if name in self.around or not sound(self.definitions, name):
            raise Wrong
        inner = Writing(
            self.definitions,
            Findings(params=self.found.params, broken=self.found.broken),
            self.steps,
            self.copies,
            self.around,
        )
        try:
            return inner.body(definition, operands, (f"{name}{next(self.copies)}",))
        finally:
            self.steps = inner.steps
            self.bounded(span)

    def made(
        self, operation: Operation, operands: tuple[Pattern, ...], attributes: Mapping[str, Value], span: Span
    ) -> Step:
        self.steps += 1
        self.bounded(span)
        return Step(operation, operands, MappingProxyType(dict(attributes)), span)

    def bounded(self, span: Span) -> None:
        if self.steps > MOST_STEPS:
            said = f"written out, the pattern has more than {MOST_STEPS:,} steps"
            raise self.wrong(span, said, "repeat less, or use fewer patterns in it", "THX208")

    def unknown(self, name: syntax.Name, names: Mapping[str, Pattern]) -> Wrong:
        """THX201 for a name that is no value here."""
        if is_class(name.text) or name.text in self.definitions:
            fix = f"write `{name.text}(x)` or `x |> {name.text}`"
            return self.wrong(name.span, f"`{name.text}` is a step and needs a value to work on", fix)
        self.found.note(
            "THX201",
            f"there is no value `{name.text}` here",
            name.span,
            help=how_to_use(name.text, "pattern") or did_you_mean(name.text, [*names], what="values so far"),
        )
        return Wrong()

    def wrong(self, span: Span, message: str, fix: str = "", code: str = "THX203") -> Wrong:
        self.found.note(code, message, span, help=[fix] if fix else [])
        return Wrong()
