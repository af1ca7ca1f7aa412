"""Groups: the units that one stage introduces together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import translate
from itertools import pairwise

from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected, near_names
from theseus_fx.lang.spec_stages import Grouping, Order
from theseus_fx.planning.units import Reference

_PLACE = re.compile(r"\{([A-Za-z_]\w*)\}")
_PRIVATE = 0xE000
"""Stands for a place while the rest of a pattern is translated: no module name holds such characters."""


@dataclass(frozen=True, slots=True)
class Group:
    """Units that are introduced together, in the order of introduction."""

    name: str | None
    """`layer1`, as the pattern says; None for a group without a pattern."""
    units: tuple[Reference, ...]


def grouped(grouping: Grouping | None, order: Order, units: Sequence[Reference]) -> tuple[Group, ...]:
    """The groups of the units, which are given in the order of introduction.

    Groups by path come in the order of their first units.

    Raises:
        Rejected: THX404 for a pattern that fits no unit, THX521 for a unit that fits none, THX522 for a
            listed order that puts other units between those of one group.
    """
    if grouping is None:
        return tuple(Group(None, (unit,)) for unit in units)
    if grouping.size is not None:
        size = grouping.size
        return tuple(Group(None, tuple(units[i : i + size])) for i in range(0, len(units), size))
    return _by_path(grouping, order, units)


def group_name(pattern: str, path: str) -> str | None:
    """The pattern with its places filled in, where it fits the path or a module around it.

    A place such as `{i}` stands for a number, and for the same one wherever it stands; `*` also crosses dots.
    """
    names = list(dict.fromkeys(_PLACE.findall(pattern)))
    plain = pattern
    for position, name in enumerate(names):
        plain = plain.replace(f"{{{name}}}", chr(_PRIVATE + position))
    expression = translate(plain)
    for position, name in enumerate(names):
        mark = chr(_PRIVATE + position)
        expression = expression.replace(mark, rf"(?P<{name}>\d+)", 1).replace(mark, f"(?P={name})")
    compiled = re.compile(expression)
    steps = path.split(".")
    for length in range(1, len(steps) + 1):
        if fit := compiled.match(".".join(steps[:length])):
            return _PLACE.sub(lambda place: fit[place[1]], pattern)
    return None


def _by_path(grouping: Grouping, order: Order, units: Sequence[Reference]) -> tuple[Group, ...]:
    named: dict[tuple[int, str], list[Reference]] = {}
    lost: list[Reference] = []
    for unit in units:
        fit = next(
            (
                (position, name)
                for position, glob in enumerate(grouping.patterns)
                if (name := group_name(glob.pattern, unit.path)) is not None
            ),
            None,
        )
        if fit is None:
            lost.append(unit)
        else:
            named.setdefault(fit, []).append(unit)
    problems = [_fits_none(grouping, unit, units) for unit in lost[:1]]
    if len(lost) > 1:
        problems = [_counted(problems[0], len(lost) - 1)]
    problems += _unused(grouping, units)
    groups = tuple(Group(name, tuple(members)) for (_, name), members in named.items())
    if not problems and order.kind == "listed":
        problems += _torn(grouping, order, groups, units)
    if problems:
        raise Rejected(*problems)
    return groups


def _fits_none(grouping: Grouping, unit: Reference, units: Sequence[Reference]) -> Diagnostic:
    near = near_names(unit.path, [other.path for other in units if other.path != unit.path])
    nearest = (f"paths near it: {', '.join(f'`{path}`' for path in near)}",) if near else ()
    return Diagnostic(
        code="THX521",
        message=f"`{unit}` fits no group",
        primary=Label(grouping.span),
        help=(f'add a pattern that fits it: `"{unit.path}"`', *nearest),
    )


def _counted(problem: Diagnostic, more: int) -> Diagnostic:
    parts = "one more part" if more == 1 else f"{more} more parts"
    return Diagnostic(
        code=problem.code,
        message=problem.message,
        primary=problem.primary,
        help=(*problem.help, f"the same holds for {parts}"),
    )


def _unused(grouping: Grouping, units: Sequence[Reference]) -> list[Diagnostic]:
    """THX404 for each pattern that fits no unit, whatever patterns stand before it."""
    problems: list[Diagnostic] = []
    for glob in grouping.patterns:
        if not any(group_name(glob.pattern, unit.path) is not None for unit in units):
            near = near_names(_PLACE.sub("0", glob.pattern), _around(units, glob.pattern.count(".") + 1))
            helps = (f"paths near it: {', '.join(f'`{path}`' for path in near)}",) if near else ()
            message = f'no part fits the path pattern "{glob.pattern}"'
            problems.append(Diagnostic(code="THX404", message=message, primary=Label(glob.span), help=helps))
    return problems


def _around(units: Sequence[Reference], depth: int) -> list[str]:
    """The modules of that many steps that units are or lie in."""
    paths = (".".join(unit.path.split(".")[:depth]) for unit in units)
    return list(dict.fromkeys(path for path in paths if path.count(".") == depth - 1))


def _torn(
    grouping: Grouping, order: Order, groups: Sequence[Group], units: Sequence[Reference]
) -> list[Diagnostic]:
    problems: list[Diagnostic] = []
    for group in groups:
        places = [units.index(unit) for unit in group.units]
        gap = next((p for p, q in pairwise(places) if q != p + 1), None)
        if gap is not None:
            between = units[gap + 1]
            message = f"the order puts `{between}` between parts of the group `{group.name}`"
            problems.append(
                Diagnostic(
                    code="THX522",
                    message=message,
                    primary=None if order.span is None else Label(order.span),
                    secondary=(Label(grouping.span, "groups by path"),),
                    help=("list the parts of a group one after another",),
                )
            )
    return problems
