"""Task losses: a sum of terms, each with a weight."""

from __future__ import annotations

from dataclasses import replace

from theseus_fx.lang import syntax, words
from theseus_fx.lang.check_calls import bind
from theseus_fx.lang.check_values import number
from theseus_fx.lang.diagnostics import did_you_mean
from theseus_fx.lang.findings import Findings, one_of
from theseus_fx.lang.names import dotted
from theseus_fx.lang.signatures import Argument, Signature
from theseus_fx.lang.spec import LossTerm

_OF_GUIDE = {
    "distill": Signature((Argument("guide", "any", required=True), Argument("temperature", "any", 1))),
    "mse": Signature((Argument("guide", "any", required=True),)),
}


def check_loss(found: Findings, expression: syntax.Expression, guide: str | None) -> list[LossTerm]:
    """A sum of optionally weighted terms."""
    match expression:
        case syntax.Binary(operator="+", left=left, right=right):
            return check_loss(found, left, guide) + check_loss(found, right, guide)
        case syntax.Binary(operator="*", left=left, right=right):
            weight, term = number(found, left, "the weight of a loss"), _loss_term(found, right, guide)
            if weight is None or term is None:
                return []
            return [replace(term, weight=weight)]
        case _:
            term = _loss_term(found, expression, guide)
            return [] if term is None else [term]


def _loss_term(found: Findings, expression: syntax.Expression, guide: str | None) -> LossTerm | None:
    name = dotted(expression.function if isinstance(expression, syntax.Call) else expression)
    place = expression.function.span if isinstance(expression, syntax.Call) else expression.span
    if not one_of(found, name, place, words.LOSSES, "loss"):
        return None
    if name in ("task", "cross_entropy"):
        if isinstance(expression, syntax.Call):
            found.note("THX205", f"`{name}` takes no arguments", expression.span)
            return None
        if name == "cross_entropy" and found.task_loss == "task":
            said = "this task has a loss of its own, which may be another than `cross_entropy`"
            found.note("THX208", said, expression.span, help=["write `task`"])
            return None
        return LossTerm(kind="task" if name == "task" else "cross_entropy", span=expression.span)
    if not isinstance(expression, syntax.Call):
        found.note(
            "THX205", f"`{name}` needs the guide's name", place, help=[f"write `{name}({guide or 'net'})`"]
        )
        return None
    bound = bind(found, expression, _OF_GUIDE[name])
    if bound is None:
        return None
    named = dotted(bound["guide"])
    if named != guide:
        known = [guide] if guide else []
        found.note(
            "THX201",
            f"there is no guide `{named}`",
            bound["guide"].span,
            help=did_you_mean(named, known, what="the guide"),
        )
        return None
    if name == "mse":
        return LossTerm(kind="mse", span=expression.span)
    temperature = 1.0
    if "temperature" in bound:
        given = number(found, bound["temperature"], "`temperature`")
        if given is None:
            return None
        temperature = given
    return LossTerm(kind="distill", temperature=temperature, span=expression.span)
