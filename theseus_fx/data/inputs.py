"""What a guide is traced on."""

from __future__ import annotations

from torch import nn

from theseus_fx.data.registry import declared_inputs
from theseus_fx.data.source import DataSource
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.spec import Spec
from theseus_fx.planning.inputs import own_inputs
from theseus_fx.planning.planner import spec_inputs


def guide_inputs(spec: Spec, model: nn.Module, data: DataSource | None = None) -> tuple[InputSpec, ...]:
    """The inputs that the spec declares, else those of the data, else those that the guide has itself.

    Args:
        spec: what to look in first, and for its `data`.
        model: the guide.
        data: an object that takes the place of the spec's `data`.

    Raises:
        Rejected: THX207 where nothing declares them, THX208 or THX209 for the spec's `data`.
    """
    if spec.inputs:
        return spec_inputs(spec.inputs)
    if data is not None:
        return data.inputs
    if spec.data is not None:
        return declared_inputs(spec.data)
    return own_inputs(model, None if spec.guide is None else spec.guide.span)
