"""Plans of a few sentences, for models handed over as objects."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from theseus_fx import api
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.planning.plan import Plan

_SCHEDULE = "schedule progressive { lr = 1e-3  for = 5 epochs }"


def _plan(model: nn.Module, text: str, *, schedule: str = _SCHEDULE, shape: str = "3, 8, 8") -> Plan:
    spec = f'theseus 1\nuse "std/low_rank.thx"\ninput x: f32[batch, {shape}]\n{text}\n{schedule}\n'
    return api.plan(spec, model=model)


def _refuse(
    model: nn.Module, text: str, *, schedule: str = _SCHEDULE, shape: str = "3, 8, 8"
) -> tuple[Diagnostic, ...]:
    with pytest.raises(Rejected) as caught:
        _plan(model, text, schedule=schedule, shape=shape)
    for diagnostic in caught.value.diagnostics:
        assert diagnostic.primary is not None
        assert diagnostic.render()
    return caught.value.diagnostics


@pytest.fixture
def planned() -> Callable[..., Plan]:
    """`planned(model, text)`: the plan."""
    return _plan


@pytest.fixture
def refused() -> Callable[..., tuple[Diagnostic, ...]]:
    """`refused(model, text)`: the diagnostics, each of which has a place and can be shown."""
    return _refuse
