"""Patterns over operations: one result, every name defined and used, and what a rule matches."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from theseus_fx.lang import syntax, words
from theseus_fx.lang.findings import Findings, distinct
from theseus_fx.lang.names import names_in
from theseus_fx.lang.operations import (
    AnyOperation,
    Input,
    OperationPattern,
    Step,
    sinks,
)
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import RegionPattern
from theseus_fx.lang.write_patterns import Definitions, Writing, Wrong, is_class, sound


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

    definitions: Definitions

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
        elif sound(self.definitions, node.name.text) and len({p.text for p in node.parameters}) == len(
            node.parameters
        ):
            with suppress(Wrong):
                Writing(self.definitions, found).body(node, [Input(p.text) for p in node.parameters], ())
        if not any(
            problem.code == "THX201" for problem in found.problems[before:]
        ):  # else it was meant there
            _check_unused(found, node)

    def matched(self, found: Findings, node: syntax.Pattern) -> RegionPattern | None:
        """The pattern that a rule matches: a named one, or a chain of steps."""
        if isinstance(node.value, syntax.Name) and not sound(self.definitions, node.value.text):
            return None
        try:
            operations = self._operations(Writing(self.definitions, found), node.value)
        except Wrong:
            return None
        _check_sink(found, operations, node.value.span)
        return RegionPattern(
            operations=operations,
            binding=None if node.binding is None else node.binding.text,
            span=node.span,
            name_span=node.value.span,
        )

    def uses_itself(self, node: syntax.PatternDefinition) -> bool:
        """Whether a pattern occurs in itself, directly or through others."""
        reached, ahead = set[str](), _names(node)
        while ahead:
            reached |= ahead
            more = [_names(self.definitions[name]) for name in ahead if name in self.definitions]
            ahead = set[str]().union(*more) - reached
        return node.name.text in reached

    def _operations(self, writing: Writing, value: syntax.Expression) -> OperationPattern:
        definition = self.definitions.get(value.text) if isinstance(value, syntax.Name) else None
        if definition is None:
            return OperationPattern(name="chain", inputs=("in",), result=writing.step(value, {})(Input("in")))
        parameters = tuple(p.text for p in definition.parameters)
        quiet = Writing(self.definitions, Findings(params=writing.found.params, broken=writing.found.broken))
        result = quiet.body(definition, [Input(p) for p in parameters], ())
        return OperationPattern(
            name=definition.name.text,
            inputs=parameters,
            result=result,
            bindings=tuple(b.name.text for b in definition.bindings),
        )


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
