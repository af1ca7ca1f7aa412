"""Learning rates: a number, `choose(...)` of several, `cosine(...)` of either."""

from __future__ import annotations

from theseus_fx.lang import syntax
from theseus_fx.lang.check_calls import bind
from theseus_fx.lang.check_values import amount, number
from theseus_fx.lang.findings import Findings, one_of
from theseus_fx.lang.names import dotted
from theseus_fx.lang.spec import LearningRate
from theseus_fx.lang.words import Argument, Signature

_COSINE = Signature((Argument("peak", "any", required=True), Argument("warmup", "any")))


def learning_rate(found: Findings, expression: syntax.Expression) -> LearningRate | None:
    """A rate, `choose(...)` of rates, or `cosine(...)` of either."""
    if not isinstance(expression, syntax.Call) or dotted(expression.function) == "choose":
        candidates = _candidates(found, expression)
        return None if candidates is None else LearningRate(candidates=candidates, span=expression.span)
    name = dotted(expression.function)
    if not one_of(found, name, expression.function.span, ("cosine", "choose"), "learning rate"):
        return None
    bound = bind(found, expression, _COSINE)
    if bound is None:
        return None
    candidates = _candidates(found, bound["peak"])
    warmup = None
    if "warmup" in bound:
        warmup = amount(found, bound["warmup"], "`warmup`", least=0)
        if warmup is None:
            return None
    if candidates is None:
        return None
    return LearningRate(
        candidates=candidates,
        shape="cosine",
        warmup=warmup if warmup is not None and warmup.count else None,
        span=expression.span,
    )


def _candidates(found: Findings, expression: syntax.Expression) -> tuple[float | None, ...] | None:
    """One rate, or those of `choose(...)`."""
    if not isinstance(expression, syntax.Call):
        rate = _rate(found, expression)
        return None if rate is None else (rate[0],)
    if not one_of(found, dotted(expression.function), expression.function.span, ("choose",), "learning rate"):
        return None
    for argument in expression.arguments:
        if argument.name is not None:
            found.note("THX205", "candidates have no names", argument.name_span or argument.span)
            return None
    rates = [_rate(found, argument.value) for argument in expression.arguments]
    if not rates:
        found.note(
            "THX205", "`choose` needs candidates", expression.span, help=["write `choose(3e-4, 1e-3)`"]
        )
        return None
    known = [rate[0] for rate in rates if rate is not None]
    if len(known) != len(rates):
        return None
    for position, rate in enumerate(known):
        if rate in known[:position]:
            places = [argument.value.span for argument in expression.arguments]
            found.repeated("a candidate is named twice", places[position], places[known.index(rate)])
            return None
    return tuple(known)


def _rate(found: Findings, expression: syntax.Expression) -> tuple[float | None] | None:
    """A rate or `none`, in a tuple of one; None after a note."""
    if isinstance(expression, syntax.Name) and expression.text == "none":
        return (None,)
    rate = number(found, expression, "a learning rate")
    return None if rate is None else (rate,)
