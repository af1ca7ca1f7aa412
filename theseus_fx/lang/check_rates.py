"""Learning rates: a number, `choose(...)` of several, `cosine`, `linear` or `plateau` of either."""

from __future__ import annotations

from theseus_fx.lang import syntax, words
from theseus_fx.lang.check_calls import bind
from theseus_fx.lang.check_values import amount, number
from theseus_fx.lang.findings import Findings, one_of
from theseus_fx.lang.names import dotted
from theseus_fx.lang.signatures import Argument, Signature
from theseus_fx.lang.spec import Amount, LearningRate, Plateau

_DECAY = Signature((Argument("peak", "any", required=True), Argument("warmup", "any")))
_PLATEAU = Signature(
    (
        Argument("start", "any", required=True),
        Argument("factor", "any", 0.5),
        Argument("patience", "any", "4 epochs"),
        Argument("average", "any", "500 steps"),
        Argument("min", "any", 0),
    )
)


def learning_rate(found: Findings, expression: syntax.Expression) -> LearningRate | None:
    """A rate, `choose(...)` of rates, or `cosine`, `linear` or `plateau` of either."""
    if not isinstance(expression, syntax.Call) or dotted(expression.function) == "choose":
        candidates = _candidates(found, expression)
        return None if candidates is None else LearningRate(candidates=candidates, span=expression.span)
    name = dotted(expression.function)
    if not one_of(found, name, expression.function.span, words.RATES, "learning rate"):
        return None
    if name == "plateau":
        return _plateau(found, expression)
    bound = bind(found, expression, _DECAY)
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
        shape="linear" if name == "linear" else "cosine",
        warmup=warmup if warmup is not None and warmup.count else None,
        span=expression.span,
    )


def _plateau(found: Findings, call: syntax.Call) -> LearningRate | None:
    bound = bind(found, call, _PLATEAU)
    if bound is None:
        return None
    before = len(found.problems)
    candidates = _candidates(found, bound["start"])
    factor = number(found, bound["factor"], "`factor`") if "factor" in bound else 0.5
    if factor is not None and factor >= 1:
        found.note("THX208", f"`factor` is between 0 and 1, not {factor:g}", bound["factor"].span)
    patience = amount(found, bound["patience"], "`patience`") if "patience" in bound else Amount(4, "epochs")
    average = amount(found, bound["average"], "`average`") if "average" in bound else Amount(500, "steps")
    least = number(found, bound["min"], "`min`", zero=True) if "min" in bound else 0.0
    rates = [rate for rate in candidates or () if rate is not None]
    if least is not None and rates and least >= min(rates):
        found.note(
            "THX208", f"`min` is below the rate that it begins with, {min(rates):g}", bound["min"].span
        )
    if len(found.problems) > before or not candidates or not (factor and patience and average):
        return None
    plateau = Plateau(factor=factor, patience=patience, average=average, least=least or 0.0)
    return LearningRate(candidates=candidates, shape="plateau", plateau=plateau, span=call.span)


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
