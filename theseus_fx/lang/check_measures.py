"""What a stage trains on and what it watches: metrics, conditions, gates, rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

from theseus_fx.lang import syntax, words
from theseus_fx.lang.check_calls import bind
from theseus_fx.lang.check_values import amount, number
from theseus_fx.lang.findings import Findings, one_of
from theseus_fx.lang.names import dotted
from theseus_fx.lang.signatures import Argument, Signature
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import Amount, Metric
from theseus_fx.lang.spec_stages import Condition, Gate, Rows

Plain = int | float | str

_NONE = Signature(())
_SIGNATURES: Mapping[str, Signature] = {
    "loss": _NONE,
    "cka": _NONE,
    "ucka": _NONE,
    "mse": _NONE,
    "dmnn": Signature(
        (Argument("k", "any", 10), Argument("tau", "any", 0.1), Argument("support", "any", "union"))
    ),
    "distill": Signature((Argument("temperature", "any", 1.0),)),
    "mutual_knn": Signature((Argument("k", "any", 10),)),
}
_UNTIL = Signature((Argument("condition", "any", required=True), Argument("at_most", "any", required=True)))
_TOKENS = Signature((Argument("at_most", "any", 4096),))
_EXTEND = Signature((Argument("times", "any", required=True),))


def whole(found: Findings, expression: syntax.Expression, what: str, *, least: int = 1) -> int | None:
    """A whole number that is not below `least`."""
    before = len(found.problems)
    value = number(found, expression, what, zero=True)
    if value is not None and value.is_integer() and value >= least:
        return int(value)
    if len(found.problems) == before:
        found.note("THX208", f"{what} is a whole number of at least {least}", expression.span)
    return None


def word_of(expression: syntax.Expression) -> Span:
    """The place of the word that an expression is or calls."""
    return expression.function.span if isinstance(expression, syntax.Call) else expression.span


def check_metric(found: Findings, expression: syntax.Expression) -> Metric | None:
    """What a stage maximises or, for `distill` and `mse`, minimises."""
    name = _name(expression)
    if name in words.MONITORS:
        found.note(
            "THX222",
            f"`{name}` has no gradient: it can be watched, not trained on",
            word_of(expression),
            help=[f"write `require {name}(k = 10) > 0.5` to watch it; `dmnn` is its differentiable form"],
        )
        return None
    if not one_of(found, name, word_of(expression), words.METRICS, "metric"):
        return None
    arguments = _arguments(found, name, expression)
    return None if arguments is None else Metric(name=name, arguments=arguments, span=expression.span)


def check_until(found: Findings, call: syntax.Call) -> tuple[Amount | None, Condition | None]:
    """`until(loss < 0.01, at_most = 100 epochs)`: the budget and what may end it sooner."""
    bound = bind(found, call, _UNTIL)
    if bound is None:
        return None, None
    return (
        amount(found, bound["at_most"], "`at_most`"),
        check_condition(found, bound["condition"], "`until`"),
    )


def check_condition(found: Findings, expression: syntax.Expression, where: str) -> Condition | None:
    """A measure and the level that it has to reach: losses fall below one, similarities rise above one."""
    if not isinstance(expression, syntax.Binary) or expression.operator not in ("<", "<=", ">", ">="):
        found.note(
            "THX203",
            f"{where} compares a measure with a number",
            expression.span,
            help=["write `loss < 0.01` or `cka > 0.95`"],
        )
        return None
    left, name = expression.left, _name(expression.left)
    if isinstance(left, syntax.Number):
        found.note("THX203", f"{where} names the measure first", left.span, help=["write `cka > 0.95`"])
        return None
    if name in words.METRICS and name not in words.MEASURES:
        found.note(
            "THX209",
            f"`{name}` is measured as the stage's `loss`",
            word_of(left),
            help=[f"write `loss < 0.01`, which is that of `metric = {name}`"],
        )
        return None
    if not one_of(found, name, word_of(left), words.MEASURES, "measure"):
        return None
    arguments = _arguments(found, name, left)
    level = number(found, expression.right, f"the level of `{name}`")
    falls = name == "loss"
    if expression.operator not in (("<", "<=") if falls else (">", ">=")):
        moves = ("falls below", "<") if falls else ("rises above", ">")
        found.note(
            "THX208",
            f"`{name}` {moves[0]} its level",
            expression.operator_span,
            help=[f"write `{name} {moves[1]} {expression.right.span.text}`"],
        )
        return None
    if level is not None and not falls and level >= 1:
        found.note("THX208", f"`{name}` never exceeds 1: its level is between 0 and 1", expression.right.span)
        return None
    if arguments is None or level is None:
        return None
    return Condition(
        measure=name,
        arguments=arguments,
        operator=cast("Any", expression.operator),
        level=level,
        span=expression.span,
    )


def check_gates(found: Findings, nodes: Sequence[syntax.Require]) -> tuple[Gate, ...]:
    """The `require` sentences of a schedule or of a stage."""
    gates: dict[str, Gate] = {}
    for node in nodes:
        condition = check_condition(found, node.condition, "`require`")
        extend = 0 if node.otherwise is None else _extend(found, node.otherwise)
        if condition is None or extend is None:
            continue
        if (earlier := gates.get(condition.measure)) is not None:
            message = f"`{condition.measure}` is required twice"
            found.repeated(message, condition.span, earlier.condition.span)
        gates.setdefault(condition.measure, _gate(condition, extend, node.keeps))
    return tuple(gates.values())


def _gate(condition: Condition, extend: int, keeps: Span | None) -> Gate:
    return Gate(condition=condition, extend=extend, keep_guide=keeps is not None, span=keeps)


def check_rows(found: Findings, expression: syntax.Expression) -> Rows | None:
    """`samples`, `tokens` or `tokens(at_most = 4096)`."""
    name = _name(expression)
    if not one_of(found, name, word_of(expression), ("samples", "tokens"), "kind of row"):
        return None
    if name == "samples":
        if isinstance(expression, syntax.Call):
            found.note("THX205", "`samples` takes no arguments", expression.span)
            return None
        return Rows(span=expression.span)
    most: int | None = 4096
    if isinstance(expression, syntax.Call):
        bound = bind(found, expression, _TOKENS)
        if bound is None:
            return None
        if "at_most" in bound:
            most = whole(found, bound["at_most"], "`at_most`", least=2)
    return None if most is None else Rows(kind="tokens", at_most=most, span=expression.span)


def _extend(found: Findings, expression: syntax.Expression) -> int | None:
    """How many more budgets `extend(n)` allows."""
    name = _name(expression)
    if not one_of(found, name, word_of(expression), ("extend", "keep guide"), "way out of a gate"):
        return None
    if not isinstance(expression, syntax.Call):
        found.note(
            "THX205",
            "`extend` needs how often the budget may be spent again",
            expression.span,
            help=["write `extend(2)`"],
        )
        return None
    bound = bind(found, expression, _EXTEND)
    return None if bound is None else whole(found, bound["times"], "`extend`")


def _arguments(
    found: Findings, name: str, expression: syntax.Expression
) -> Mapping[str, int | float | str] | None:
    """The arguments of a metric or measure, defaults filled in."""
    signature = _SIGNATURES[name]
    values = {a.name: cast("Plain", a.default) for a in signature.arguments}
    if not isinstance(expression, syntax.Call):
        return MappingProxyType(values)
    if not signature.arguments:
        if expression.arguments:
            found.note("THX205", f"`{name}` takes no arguments", expression.span)
            return None
        return MappingProxyType(values)
    bound = bind(found, expression, signature)
    if bound is None:
        return None
    given = {key: _READ[key](found, value) for key, value in bound.items()}
    known = {key: value for key, value in given.items() if value is not None}
    return MappingProxyType(values | known) if len(known) == len(given) else None


def _support(found: Findings, expression: syntax.Expression) -> str | None:
    name = dotted(expression)
    return name if one_of(found, name, expression.span, words.SUPPORTS, "support") else None


def _name(expression: syntax.Expression) -> str:
    return dotted(expression.function if isinstance(expression, syntax.Call) else expression)


_READ: Mapping[str, Callable[[Findings, syntax.Expression], Plain | None]] = {
    "k": lambda found, given: whole(found, given, "`k`"),
    "tau": lambda found, given: number(found, given, "`tau`"),
    "temperature": lambda found, given: number(found, given, "`temperature`"),
    "support": _support,
}
