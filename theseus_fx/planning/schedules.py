"""Schedules: which units each stage introduces and trains (paper, section 3.2), whatever a unit is.

The three axes decide. Let J_t be the group of stage t and I_t what it trains: with `train = introduced`
I_t is J_1 to J_t, with `train = newest` it is J_t. With `introduce = upfront` stage 1 introduces all groups,
and I_t grows over a fixed target: the paper's progressive alignment. Compared are the taps of I_t (eq. 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from theseus_fx.lang.spec import Schedule
from theseus_fx.planning.groups import Group, grouped
from theseus_fx.planning.order import ordered
from theseus_fx.planning.units import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One stage, in names of units."""

    number: int
    """1-based."""
    group: str | None
    """The name of its group, where groups have names."""
    introduces: tuple[str, ...]
    """Replaced at its beginning."""
    newest: tuple[str, ...]
    """The group that the stage is about: no earlier stage trains it."""
    trains: tuple[str, ...]
    """Whose parameters it trains and whose taps it compares, in the order of introduction."""


def lay_out(schedule: Schedule, units: Sequence[Reference]) -> tuple[Layout, ...]:
    """The stages of a schedule.

    Args:
        schedule: kind, axes, order and grouping are read.
        units: in execution order.

    Raises:
        Rejected: THX404, THX520 to THX522 where order or groups do not cover the units.
    """
    order = ordered(schedule.order, units)
    if schedule.kind == "joint":
        groups: tuple[Group, ...] = (Group(None, order),)
    else:
        groups = grouped(schedule.grouping, schedule.order, order)
    axes = schedule.axes
    stages: list[Layout] = []
    for number, group in enumerate(groups, start=1):
        trained = groups[:number] if axes.train == "introduced" else (group,)
        if axes.introduce == "staged":
            introduced = _together((group,))
        else:
            introduced = _together(groups) if number == 1 else ()
        stages.append(
            Layout(
                number=number,
                group=group.name,
                introduces=introduced,
                newest=_together((group,)),
                trains=_together(trained),
            )
        )
    return tuple(stages)


def _together(groups: Iterable[Group]) -> tuple[str, ...]:
    return tuple(unit.name for group in groups for unit in group.units)
