"""Regions of operations in a run: what cannot be carried out yet is refused before anything is written."""

from __future__ import annotations

from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.planning.plan import Plan


def refuse_regions(plan: Plan) -> None:
    """A run ends in an ordinary model, in which a module can change places and a piece of a `forward` cannot.

    Raises:
        Rejected: THX802 for every rule of the plan that replaces regions.
    """
    rules = {part.rule: part for part in reversed(plan.parts) if part.region is not None}
    if rules:
        raise Rejected(
            *(
                Diagnostic(
                    code="THX802",
                    message=f"rule `{rule.name}` replaces operations, which no run can take out of a model",
                    primary=Label(rule.pattern.span, f"matches operations of `{rules[rule.name].path}`"),
                    help=("match the module that holds them, such as `match BasicBlock`",),
                )
                for rule in plan.spec.rules
                if rule.name in rules
            )
        )
