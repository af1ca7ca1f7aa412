"""Optimizers and their arguments."""

from __future__ import annotations

from typing import Any, cast

from theseus_fx.lang import syntax, words
from theseus_fx.lang.check_calls import bind
from theseus_fx.lang.check_measures import word_of
from theseus_fx.lang.check_values import number
from theseus_fx.lang.findings import Findings, one_of
from theseus_fx.lang.names import dotted
from theseus_fx.lang.signatures import Argument, Signature
from theseus_fx.lang.spec_stages import Optimizer

_SGD = Signature((Argument("momentum", "any", 0),))


def check_optimizer(found: Findings, expression: syntax.Expression) -> Optimizer | None:
    """`adamw`, `adam`, `sgd` or `sgd(momentum = 0.9)`."""
    is_call = isinstance(expression, syntax.Call)
    name = dotted(expression.function if is_call else expression)
    if not one_of(found, name, word_of(expression), words.OPTIMIZERS, "optimizer"):
        return None
    if name != "sgd":
        if is_call and expression.arguments:
            found.note("THX205", f"`{name}` takes no arguments", expression.span)
            return None
        return Optimizer(name=cast("Any", name), span=expression.span)
    momentum = 0.0
    if is_call:
        bound = bind(found, expression, _SGD)
        if bound is None:
            return None
        if "momentum" in bound:
            given = number(found, bound["momentum"], "`momentum`", zero=True)
            if given is not None and given >= 1:
                found.note("THX208", f"`momentum` is below 1, not {given:g}", bound["momentum"].span)
            if given is None or given >= 1:
                return None
            momentum = given
    return Optimizer(name="sgd", momentum=momentum, span=expression.span)
