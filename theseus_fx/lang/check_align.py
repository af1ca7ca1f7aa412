"""`align`: which values of a part are compared with which of its replacement, and how much each counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from theseus_fx.lang import syntax, words
from theseus_fx.lang.check_values import number
from theseus_fx.lang.diagnostics import Label, did_you_mean
from theseus_fx.lang.evaluate import unknown_name
from theseus_fx.lang.findings import Findings, settings_by_name
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import ModulePattern, RegionPattern, Rule, Schedule
from theseus_fx.lang.spec_aligns import Align
from theseus_fx.lang.words import OUTPUT

Definitions = Mapping[str, syntax.ModuleDefinition]
Value = tuple[Literal["output", "bound", "module"], str]


def check_aligns(
    found: Findings, node: syntax.Rule, pattern: ModulePattern | RegionPattern, definitions: Definitions
) -> tuple[Align, ...]:
    """The `align` clauses of a rule."""
    named = named_values(node.replacements[0], definitions)
    aligns: dict[tuple[str, str | None], Align] = {}
    for clause in node.aligns:
        value = _value(found, clause.value, pattern)
        weight = _weight(found, clause)
        if value is None:
            continue
        kind, own = value
        target = clause.target.text if clause.target else None if kind == "output" else own
        if (target is not None and not _is_named(found, clause, target, named)) or weight is None:
            continue
        align = Align(
            kind=kind,
            value=own,
            target=target,
            weight=weight,
            span=clause.span,
            value_span=clause.value.span,
        )
        if (earlier := aligns.get((own, target))) is not None:
            found.repeated(f"`{align}` is aligned twice", align.span, earlier.span)
        aligns.setdefault((own, target), align)
    return tuple(aligns.values())


def check_aligned_somewhere(found: Findings, rules: Sequence[Rule], schedule: Schedule | None) -> None:
    """Notes THX220 where every stage distils the model's output, so that no tap of a rule is compared."""
    if schedule is None:
        return
    metrics = [schedule.metric, *(stage.metric for stage in schedule.stages if stage.metric is not None)]
    if any(metric.name != "distill" for metric in metrics):
        return
    for align in (align for rule in rules for align in rule.aligns):
        found.note(
            "THX220",
            "`metric = distill` compares the output of the model, not what `align` names",
            align.span,
            secondary=[Label(metrics[0].span, "set here")],
            help=["leave `align` out, or write another metric, such as `metric = cka`"],
        )


def named_values(expression: syntax.Expression, definitions: Definitions) -> Mapping[str, list[Span]]:
    """The values that modules have whom a replacement calls itself, by name, with the places of each."""
    named: dict[str, list[Span]] = {}
    for name in _called(expression):
        for value in definitions[name].values if name in definitions else ():
            named.setdefault(value.name.text, []).append(value.name.span)
    return named


def _called(expression: syntax.Expression) -> Iterator[str]:
    """The modules that an expression calls, as often as it does."""
    match expression:
        case syntax.Name(text=text):
            yield text
        case syntax.Chain(steps=parts):
            for part in parts:
                yield from _called(part)
        case syntax.Call(function=function, arguments=arguments):
            yield from _called(function)
            for argument in arguments:
                yield from _called(argument.value)
        case syntax.Binary(left=left, right=right):
            yield from _called(left)
            yield from _called(right)
        case syntax.Unary(operand=value) | syntax.Index(value=value):
            yield from _called(value)
        case _:
            pass


def _value(
    found: Findings, expression: syntax.Expression, pattern: ModulePattern | RegionPattern
) -> Value | None:
    """What the guide's side is: `r.out`, `r.main`, `r["attention.output"]`."""
    match expression:
        case syntax.Attribute(value=syntax.Name() as owner, name=name) if _is_part(found, owner, pattern):
            return _attribute(found, name, expression, pattern)
        case syntax.Index(value=syntax.Name() as owner, index=index) if _is_part(found, owner, pattern):
            return _inside(found, index, pattern)
        case syntax.Attribute(value=syntax.Name()) | syntax.Index(value=syntax.Name()):
            return None
        case _:
            binding = pattern.binding or "r"
            found.note(
                "THX203",
                "`align` takes a value of the part",
                expression.span,
                help=[f"write `align {binding}.{OUTPUT}`, or `align {binding}.main ~ hidden`"],
            )
            return None


def _is_part(found: Findings, owner: syntax.Name, pattern: ModulePattern | RegionPattern) -> bool:
    """Whether a name is the rule's binding; if not, that is noted."""
    if owner.text == pattern.binding:
        return True
    if pattern.binding is None:
        fix = f"name what is matched: `{pattern.span.text} as {owner.text}`"
        found.note("THX201", f"there is no `{owner.text}` here", owner.span, help=[fix])
    else:
        found.problems += unknown_name(owner.text, owner.span, [pattern.binding]).diagnostics
    return False


def _attribute(
    found: Findings, name: str, expression: syntax.Attribute, pattern: ModulePattern | RegionPattern
) -> Value | None:
    if name == OUTPUT:
        return "output", OUTPUT
    if isinstance(pattern, ModulePattern):
        fix = f'write `align {pattern.binding}["{name}"]` for what the module `{name}` inside of it returns'
        found.note("THX201", f"a module has no value `{name}`", expression.name_span, help=[fix])
        return None
    operations = pattern.operations
    if name in operations.bindings:
        return "bound", name
    what = "this chain" if operations.name == "chain" else f"the pattern `{operations.name}`"
    known = [*operations.bindings, OUTPUT]
    found.note(
        "THX201",
        f"{what} has no value `{name}`",
        expression.name_span,
        help=did_you_mean(name, known, what="its values"),
    )
    return None


def _inside(
    found: Findings, index: syntax.Expression, pattern: ModulePattern | RegionPattern
) -> Value | None:
    if isinstance(pattern, RegionPattern):
        fix = f"write `align {pattern.binding}.main` for a value that the pattern calls `main`"
        found.note("THX203", "the values of a pattern go by their names", index.span, help=[fix])
        return None
    if not isinstance(index, syntax.Text) or not index.value.strip("."):
        fix = f'write `align {pattern.binding}["attention.output"]`'
        found.note("THX203", "a module inside of a part goes by its path, in quotes", index.span, help=[fix])
        return None
    return "module", index.value


def _is_named(found: Findings, clause: syntax.Align, name: str, named: Mapping[str, Sequence[Span]]) -> bool:
    """Whether the replacement has one value of that name; if not, that is noted."""
    span = clause.value.span if clause.target is None else clause.target.span
    places = named.get(name, ())
    if len(places) == 1:
        return True
    if places:
        message = f"the replacement has {len(places)} values `{name}`"
        labels = [Label(place, "one is here") for place in dict.fromkeys(places)]
        fix = "call one module that has it, or give them other names"
        found.note("THX206", message, span, secondary=labels, help=[fix])
        return False
    if named:
        helps = [*did_you_mean(name, list(named), what="its values")]
    else:
        mine = f"module Mine(part) {{ {_word(name)} = ...  return ... }}"
        helps = [f"let it call a module with values: `{mine}`"]
    if clause.target is None:
        helps.append(f"say which one to compare: `align {clause.value.span.text} ~ NAME`")
    found.note("THX201", f"the replacement has no value `{name}`", span, help=helps)
    return False


def _word(name: str) -> str:
    return name if name.isidentifier() else "hidden"


def _weight(found: Findings, clause: syntax.Align) -> float | None:
    """How much the tap counts; None where it is wrong."""
    settings = settings_by_name(found, clause.settings, words.ALIGN_SETTINGS, "`align`")
    given = settings.get("weight")
    return 1.0 if given is None else number(found, given.value, "`weight`")
