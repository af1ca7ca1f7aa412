"""Patterns over operations: from their sentences to a graph of steps, every name in them defined.

A pattern that another one uses is written out in its place, with names of its own; nothing here knows which
modules or functions there are, for that only the model can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from types import MappingProxyType

from theseus_fx.lang import syntax, words
from theseus_fx.lang.check_values import WRONG, constant
from theseus_fx.lang.diagnostics import Label, did_you_mean
from theseus_fx.lang.findings import Findings, distinct
from theseus_fx.lang.names import dotted, names_in
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
    OperationPattern,
    Pattern,
    Step,
    optional,
    repeat,
    sinks,
)
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import RegionPattern, Value

MOST_STEPS = 2_000
"""Of one pattern, with everything that it uses and repeats written out."""
MOST_REPEATS = 64

_OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floor_divide", "%": "remainder"}
_Apply = Callable[[Pattern], Pattern]


class Wrong(Exception):  # noqa: N818 - what is wrong has been noted
    """A part of a pattern makes no sense, which has been noted."""


def is_class(name: str) -> bool:
    """Whether a name is that of a module class (`Conv2d`, `_ConvNd`), not of a function, pattern or value."""
    return name.lstrip("_")[:1].isupper()


def is_region(value: syntax.Expression) -> bool:
    """Whether what a rule matches is a pattern over operations, and not one module class."""
    match value:
        case syntax.Name(text=text) | syntax.Call(function=syntax.Name(text=text)):
            return not is_class(text)
        case syntax.Chain() | syntax.Binary(operator="or"):
            return True
        case _:
            return False


@dataclass(frozen=True, slots=True)
class Patterns:
    """The patterns that a text can use, by name."""

    definitions: Mapping[str, syntax.PatternDefinition]

    @classmethod
    def of(cls, found: Findings, nodes: Sequence[syntax.PatternDefinition]) -> Patterns:
        """Notes THX206 for a name that is defined twice, and for one that a step has already."""
        definitions: dict[str, syntax.PatternDefinition] = {}
        for node in nodes:
            name = node.name
            if (earlier := definitions.get(name.text)) is not None:
                found.repeated(f"the pattern `{name.text}` is defined twice", name.span, earlier.name.span)
            if name.text in (*words.PATTERN_FORMS, *words.ANYTHING) or is_class(name.text):
                fix = "name it in lower case, such as `residual`; `Names` are module classes"
                found.note("THX206", f"`{name.text}` means something else in patterns", name.span, help=[fix])
            definitions.setdefault(name.text, node)
        return cls(definitions)

    def check(self, found: Findings, node: syntax.PatternDefinition) -> None:
        """A `pattern` sentence by itself: what it uses is noted where that is defined."""
        before = len(found.problems)
        _check_names(found, node)
        if self.uses_itself(node):
            found.note("THX206", f"`{node.name.text}` is defined by itself", node.name.span)
        elif self.sound(node.name.text) and len({p.text for p in node.parameters}) == len(node.parameters):
            with suppress(Wrong):
                _Writing(self, found).body(node, [Input(p.text) for p in node.parameters], ())
        if not any(
            problem.code == "THX201" for problem in found.problems[before:]
        ):  # else it was meant there
            _check_unused(found, node)

    def matched(self, found: Findings, node: syntax.Pattern) -> RegionPattern | None:
        """The pattern that a rule matches: a named one, or a chain of steps."""
        if isinstance(node.value, syntax.Name) and not self.sound(node.value.text):
            return None
        try:
            operations = self._operations(_Writing(self, found), node.value)
        except Wrong:
            return None
        _check_sink(found, operations, node.value.span)
        return RegionPattern(
            operations=operations,
            binding=None if node.binding is None else node.binding.text,
            span=node.span,
            name_span=node.value.span,
        )

    def sound(self, name: str) -> bool:
        """Whether a pattern has what it needs; `check` says what it lacks."""
        node = self.definitions.get(name)
        return node is None or (len(node.results) == 1 and bool(node.parameters))

    def uses_itself(self, node: syntax.PatternDefinition) -> bool:
        """Whether a pattern occurs in itself, directly or through others."""
        reached, ahead = set[str](), _names(node)
        while ahead:
            reached |= ahead
            more = [_names(self.definitions[name]) for name in ahead if name in self.definitions]
            ahead = set[str]().union(*more) - reached
        return node.name.text in reached

    def _operations(self, writing: _Writing, value: syntax.Expression) -> OperationPattern:
        definition = self.definitions.get(value.text) if isinstance(value, syntax.Name) else None
        if definition is None:
            return OperationPattern(name="chain", inputs=("in",), result=writing.step(value, {})(Input("in")))
        parameters = tuple(p.text for p in definition.parameters)
        quiet = _Writing(self, Findings(params=writing.found.params, broken=writing.found.broken))
        result = quiet.body(definition, [Input(p) for p in parameters], ())
        return OperationPattern(
            name=definition.name.text,
            inputs=parameters,
            result=result,
            bindings=tuple(b.name.text for b in definition.bindings),
        )


@dataclass(slots=True)
class _Writing:
    """One pattern being written out."""

    patterns: Patterns
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
        definition = self.patterns.definitions.get(name)
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
        if name in self.around or not self.patterns.sound(name):
            raise Wrong
        inner = _Writing(
            self.patterns,
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
        if is_class(name.text) or name.text in self.patterns.definitions:
            fix = f"write `{name.text}(x)` or `x |> {name.text}`"
            return self.wrong(name.span, f"`{name.text}` is a step and needs a value to work on", fix)
        self.found.note(
            "THX201",
            f"there is no value `{name.text}` here",
            name.span,
            help=did_you_mean(name.text, [*names], what="values so far"),
        )
        return Wrong()

    def wrong(self, span: Span, message: str, fix: str = "", code: str = "THX203") -> Wrong:
        self.found.note(code, message, span, help=[fix] if fix else [])
        return Wrong()


def _check_names(found: Findings, node: syntax.PatternDefinition) -> None:
    """Notes what can be told without writing the pattern out: repeated, unused and missing names."""
    distinct(found, node.parameters, "parameter")
    first = {word.text: word for word in node.parameters}
    for name in (binding.name for binding in node.bindings):
        if name.text in first:
            found.repeated(f"there are two values `{name.text}`", name.span, first[name.text].span)
        first.setdefault(name.text, name)
        if is_class(name.text) or name.text in (*words.ANYTHING, *words.PATTERN_FORMS):
            fix = "name it in lower case, such as `main`; `Names` are module classes"
            found.note("THX206", f"`{name.text}` means something else in patterns", name.span, help=[fix])
    if not node.parameters:
        fix = f"write `pattern {node.name.text}(x) {{ ... }}`"
        found.note("THX207", "a pattern has at least one value that flows in", node.name.span, help=[fix])
    if not node.results:
        fix = "end it with `return` and the value that flows out"
        found.note("THX207", f"pattern `{node.name.text}` has no `return`", node.name.span, help=[fix])
    for again in node.results[1:]:
        found.repeated("a pattern has one `return`", again.span, node.results[0].span)


def _check_unused(found: Findings, node: syntax.PatternDefinition) -> None:
    """Notes THX211 for each value that nothing uses."""
    used = _names(node)
    for name in (*node.parameters, *(binding.name for binding in node.bindings)):
        if name.text not in used and node.results:
            found.note(
                "THX211",
                f"nothing uses the value `{name.text}`",
                name.span,
                help=["use it where it was meant, or remove it"],
            )


def _names(node: syntax.PatternDefinition) -> set[str]:
    return set[str]().union(*(names_in(v) for v in (*(b.value for b in node.bindings), *node.results)))


def _check_sink(found: Findings, operations: OperationPattern, span: Span) -> None:
    """Notes THX203 where what a rule matches can end anywhere."""
    what = "this chain" if operations.name == "chain" else f"the pattern `{operations.name}`"
    for sink in sinks(operations.result):
        if not isinstance(sink, Step) or isinstance(sink.operation, AnyOperation):
            fix = "let its last step be a module class or a function that is always there"
            found.note("THX203", f"{what} can end at any value", span, help=[fix])
            return
