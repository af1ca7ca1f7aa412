"""The order in which units are introduced."""

from __future__ import annotations

from collections.abc import Sequence

from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected, did_you_mean
from theseus_fx.lang.spec_stages import Order, OrderEntry
from theseus_fx.lang.syntax import Glob
from theseus_fx.match.globs import fits
from theseus_fx.planning.units import Reference


def ordered(order: Order, units: Sequence[Reference]) -> tuple[Reference, ...]:
    """The units, which are given in execution order, in the order wanted, as far as a plan can know it.

    Units that one entry of a list names together (a rule, a glob) stay in execution order.

    Raises:
        Rejected: THX520 for entries that name nothing, units named twice, units left out.
    """
    match order.kind:
        case "forward" | "easiest":  # which a run finds out
            return tuple(units)
        case "reverse":
            return tuple(reversed(units))
        case "listed":
            return _listed(order, units)


def _listed(order: Order, units: Sequence[Reference]) -> tuple[Reference, ...]:
    problems: list[Diagnostic] = []
    taken: dict[int, OrderEntry] = {}
    for entry in order.entries:
        named = _named(entry, units)
        again = [index for index in named if index in taken]
        if not named:
            problems.append(_unknown(entry, units))
        elif again:
            problems.append(_twice(entry, taken[again[0]], [units[index] for index in again]))
        taken |= {index: entry for index in named if index not in taken}
    left = [unit for index, unit in enumerate(units) if index not in taken]
    if left and not any(problem.message.startswith("no part") for problem in problems):
        problems.append(_left_out(order, left))
    if problems:
        raise Rejected(*problems)
    return tuple(units[index] for index in taken)


def _named(entry: OrderEntry, units: Sequence[Reference]) -> list[int]:
    """The indices that an entry names: by number, else by name, path, rule, or a glob over paths."""
    text = entry.text
    if isinstance(text, int):
        return [text - 1] if 1 <= text <= len(units) else []
    glob = Glob(text, entry.span)
    readings = (
        [i for i, unit in enumerate(units) if unit.name == text],
        [i for i, unit in enumerate(units) if unit.path == text],
        [i for i, unit in enumerate(units) if unit.family == text],
        [i for i, unit in enumerate(units) if fits(unit.path, glob)],
    )
    return next((indices for indices in readings if indices), [])


def _unknown(entry: OrderEntry, units: Sequence[Reference]) -> Diagnostic:
    if isinstance(entry.text, int):
        helps: tuple[str, ...] = (f"there are parts 1 to {len(units)}, numbered in execution order",)
    else:
        known = [*(u.name for u in units), *(u.path for u in units), *dict.fromkeys(u.family for u in units)]
        helps = did_you_mean(entry.text, known, what="parts")
    shown = f"number {entry.text}" if isinstance(entry.text, int) else f"`{entry.text}`"
    return Diagnostic(code="THX520", message=f"no part is {shown}", primary=Label(entry.span), help=helps)


def _twice(entry: OrderEntry, first: OrderEntry, again: Sequence[Reference]) -> Diagnostic:
    return Diagnostic(
        code="THX520",
        message=f"{_listing(again)} in the order twice",
        primary=Label(entry.span, "again here"),
        secondary=(Label(first.span, "first here"),),
        help=("every part is introduced once",),
    )


def _left_out(order: Order, left: Sequence[Reference]) -> Diagnostic:
    verb = "is" if len(left) == 1 else "are"
    return Diagnostic(
        code="THX520",
        message=f"{_listing(left, verb='')} {verb} not in the order",
        primary=None if order.span is None else Label(order.span),
        help=(f"add {', '.join(f'`{unit.name}`' for unit in left[:3])}{' ...' if len(left) > 3 else ''}",),
    )


def _listing(units: Sequence[Reference], *, verb: str = "stands") -> str:
    more = "" if len(units) == 1 else f" and {len(units) - 1} more"
    said = verb if len(units) == 1 or not verb else "stand"
    return f"`{units[0]}`{more} {said}".rstrip()
