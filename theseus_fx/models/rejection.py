"""Saying that a model cannot be built, with the place in the spec."""

from __future__ import annotations

from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import Invocation

CONSTRUCTOR_ERRORS = (
    TypeError,
    ValueError,
    RuntimeError,
    AssertionError,
    NotImplementedError,
    ArithmeticError,
    LookupError,
    AttributeError,
)
"""What a library's constructor raises at an argument that it cannot use."""


def unknown_model(
    invocation: Invocation, message: str, *, argument: str | None = None, helps: tuple[str, ...] = ()
) -> Rejected:
    """THX301 at the invocation, or at one of its arguments (a keyword, or `0`, `1`, ... for a position)."""
    return _rejected("THX301", invocation, message, argument, helps)


def no_weights(invocation: Invocation, message: str, *, helps: tuple[str, ...] = ()) -> Rejected:
    """THX707 at the value of `weights` if there is one, else at the invocation."""
    return _rejected("THX707", invocation, message, "weights", helps)


def refused(invocation: Invocation, error: Exception) -> Rejected:
    """THX301 with the constructor's own words."""
    words = " ".join(str(error).split()) or type(error).__name__
    return unknown_model(invocation, f"`{invocation.name}` does not take these arguments: {words}")


def _rejected(
    code: str, invocation: Invocation, message: str, argument: str | None, helps: tuple[str, ...]
) -> Rejected:
    span = invocation.span if argument is None else invocation.spans.get(argument, invocation.span)
    return Rejected(Diagnostic(code=code, message=message, primary=Label(span), help=helps))
