"""What rules claim, and what they cannot: a part twice, a part inside a part, a module that is no part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from theseus_fx.graph.boundary import opaques
from theseus_fx.graph.trace import ModuleCall, Trace
from theseus_fx.lang.diagnostics import Diagnostic, Label
from theseus_fx.lang.spec import Rule


@dataclass(frozen=True, slots=True)
class Claim:
    """One rule matched one module call."""

    rule: Rule
    index: int
    """Of the call, in the trace."""
    call: ModuleCall


def overlaps(claims: Sequence[Claim], trace: Trace) -> Iterator[Diagnostic]:
    """THX403 for each two claims on one module, or on a module and one inside it.

    Args:
        claims: of all rules, in the order of the rules.
        trace: which the claims are about.
    """
    order = {id(claim): position for position, claim in enumerate(claims)}
    holders: dict[int, Claim] = {}
    for claim in claims:
        holder = holders.setdefault(claim.index, claim)
        if holder is not claim:
            yield _same(holder, claim)
    for claim in claims:
        if (outer := _around(claim, holders, trace)) is not None:
            yield _nested(outer, claim, inner_first=order[id(claim)] < order[id(outer)])


def boundary_problems(claim: Claim, trace: Trace) -> Iterator[Diagnostic]:
    """THX405 where the module is no part: called more than once, or without one output with a row each."""
    call = claim.call
    if call.repeated:
        if call.number == 1:
            times = sum(other.path == call.path for other in trace.calls)
            yield _no_part(claim, f"`{call.path}` is called {times} times in one forward pass")
    elif problem := _output_problem(call, trace) or _input_problem(call):
        yield _no_part(claim, f"`{call.path}` {problem}")


def _output_problem(call: ModuleCall, trace: Trace) -> str | None:
    if call.node is None:
        if not call.used:
            return "returns no tensor that the model uses; a part has one output"
        return f"returns {len(call.used)} tensors that the model uses, {_listed(call.used)}; a part has one"
    if found := next(opaques(call.returns), None):
        where = f" as {_listed([found.name])}" if found.name else ""
        return f"returns {found.what}{where}, which no replacement can"
    shape = trace.value(call.node).shape
    if not any(isinstance(size, str) for size in shape):
        return "returns the same for every sample; a part has a row for each"
    if not isinstance(shape[0], str):
        sizes = ", ".join("b" if size == "batch" else str(size) for size in shape)
        return f"returns ({sizes}); the output of a part has its batch first"
    return None


def _input_problem(call: ModuleCall) -> str | None:
    if not call.arguments:
        return "takes no tensor; a part has an input"
    if call.primary is None:
        return "takes the same for every sample; a part has an input with a row for each"
    return None


def _listed(names: Sequence[str]) -> str:
    """`[0]` and `last_hidden_state`, as text."""
    shown = [f"[{name}]" if name.isdigit() else f"`{name}`" for name in names]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _around(claim: Claim, holders: dict[int, Claim], trace: Trace) -> Claim | None:
    """The innermost claim on a call around this one."""
    parent = claim.call.parent
    while parent is not None:
        if parent in holders:
            return holders[parent]
        parent = trace.calls[parent].parent
    return None


def _same(earlier: Claim, later: Claim) -> Diagnostic:
    path = later.call.path
    return Diagnostic(
        code="THX403",
        message=f"rules `{earlier.rule.name}` and `{later.rule.name}` both claim `{path}`",
        primary=Label(later.rule.pattern.span, f"`{later.rule.name}` matches `{path}`"),
        secondary=(Label(earlier.rule.pattern.span, f"`{earlier.rule.name}` has it already"),),
        help=(f'leave it to one of them: `keep "{path}"` in the other rule',),
    )


def _nested(outer: Claim, inner: Claim, *, inner_first: bool) -> Diagnostic:
    around, path = outer.call.path, inner.call.path
    if outer.rule is inner.rule:
        return Diagnostic(
            code="THX403",
            message=f"rule `{inner.rule.name}` matches `{around}` and also `{path}` inside it",
            primary=Label(inner.rule.pattern.span, "a part holds no other part"),
            help=(f'exclude the outer one by an attribute or `where`, or both with `keep "{around}"`',),
        )
    labels = (
        Label(outer.rule.pattern.span, f"`{outer.rule.name}` matches `{around}`"),
        Label(inner.rule.pattern.span, f"`{inner.rule.name}` matches `{path}`"),
    )
    primary, secondary = labels if inner_first else labels[::-1]
    return Diagnostic(
        code="THX403",
        message=f"rule `{outer.rule.name}` claims `{around}`, `{inner.rule.name}` claims `{path}` inside it",
        primary=primary,
        secondary=(secondary,),
        help=(f'leave it whole: `keep "{around}"` in rule `{inner.rule.name}`',),
    )


def _no_part(claim: Claim, message: str) -> Diagnostic:
    return Diagnostic(
        code="THX405",
        message=message,
        primary=Label(claim.rule.pattern.span, f"matches `{claim.call.path}`"),
        help=(f'exclude it with `keep "{claim.call.path}"`',),
    )
