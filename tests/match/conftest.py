"""A spec around a few rules, matched against a model."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest
import torch
from torch import nn

from theseus_fx.graph.trace import trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang import loader
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.match.matcher import Site, match

Match = Callable[..., tuple[Site, ...]]
Refuse = Callable[..., tuple[Diagnostic, ...]]


def _match(
    model: nn.Module, rules: str, shape: tuple[int, ...] = (3, 16, 16), leaves: Collection[str] = ()
) -> tuple[Site, ...]:
    text = f"theseus 1\n{rules}\nschedule progressive {{ lr = 1e-3  for = 1 steps }}\n"
    spec = loader.loads(text, guide_required=False)
    inputs = [InputSpec(name="x", dtype=torch.float32, shape=("batch", *shape))]
    traced = trace(model, inputs, leaves=leaves)
    return match(spec, model, traced)


def _refuse(
    model: nn.Module, rules: str, shape: tuple[int, ...] = (3, 16, 16), leaves: Collection[str] = ()
) -> tuple[Diagnostic, ...]:
    with pytest.raises(Rejected) as caught:
        _match(model, rules, shape, leaves)
    for diagnostic in caught.value.diagnostics:
        assert diagnostic.primary is not None
        assert diagnostic.render()
    return caught.value.diagnostics


@pytest.fixture
def sites() -> Match:
    """`sites(model, rules)`: the sites of the rules."""
    return _match


@pytest.fixture
def refused() -> Refuse:
    """`refused(model, rules)`: the diagnostics, each of which has a place and can be shown."""
    return _refuse
