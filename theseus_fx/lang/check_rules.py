"""Rules: one `match`, one replacement, and every name in them defined."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from theseus_fx.lang import syntax
from theseus_fx.lang.check_align import check_aligns
from theseus_fx.lang.check_flow import Definitions, check_names, check_replacement
from theseus_fx.lang.check_patterns import Patterns, is_region
from theseus_fx.lang.check_values import WRONG, constant
from theseus_fx.lang.findings import Findings
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import ModulePattern, Rule, Value
from theseus_fx.lang.words import CONSTANTS


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
    pattern = patterns.matched(found, matched) if is_region(matched.value) else module_pattern(found, matched)
    names = {*found.params, *found.broken, *CONSTANTS}
    names |= {pattern.binding.text for pattern in node.matches if pattern.binding is not None}
    for condition in node.where:
        check_names(found, condition, names)
    check_replacement(found, node.replacements[0], names, definitions)
    expect = node.expect[0] if node.expect else None
    if expect is not None and (not isinstance(expect.value, int) or expect.value < 1):
        found.note("THX208", "`expect` is a whole number of at least 1", expect.span)
    if pattern is None:
        return None
    aligns = check_aligns(found, node, pattern, definitions)
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
        aligns=aligns,
    )


def module_pattern(
    found: Findings, node: syntax.Pattern, example: str = "match Conv2d as c"
) -> ModulePattern | None:
    """A class with attributes, as a clause names it; `example` begins with the clause's word."""
    value = node.value
    call = value if isinstance(value, syntax.Call) else None
    name = value if call is None else call.function
    if not isinstance(name, syntax.Name):
        found.note(
            "THX203",
            f"`{example.split()[0]}` takes the name of a module class",
            value.span,
            help=[f"write `{example}`"],
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


def _one(found: Findings, node: syntax.Rule, clause: str, spans: Sequence[Span]) -> None:
    if not spans:
        found.note("THX207", f"rule `{node.name.text}` has no `{clause}`", node.name.span)
    _at_most_one(found, clause, spans)


def _at_most_one(found: Findings, clause: str, spans: Sequence[Span]) -> None:
    for again in spans[1:]:
        found.repeated(f"a rule has one `{clause}`", again, spans[0])
