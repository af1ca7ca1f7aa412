"""Plans that this version shows and does not carry out."""

from __future__ import annotations

from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.planning.plan import Plan


def refuse_pairs(plan: Plan) -> None:
    """Refuses a plan with a target of its own, before a folder is made or anything is read.

    Raises:
        Rejected: THX820.
    """
    if plan.spec.target is None:
        return
    raise Rejected(
        Diagnostic(
            code="THX820",
            message=f"the target `{plan.spec.target.name}` can be planned, and cannot be trained yet",
            primary=Label(plan.spec.target.span),
            help=("`theseus-fx plan` shows its stages; specs with `rule` can be run",),
        )
    )
