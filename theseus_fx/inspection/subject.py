"""What `trace` and `new` look at: a model named on the command line, or the guide of a spec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from theseus_fx.data.inputs import guide_inputs
from theseus_fx.graph.values import InputSpec
from theseus_fx.inspection.inputs import usual_inputs
from theseus_fx.lang import loader
from theseus_fx.lang.spec import Invocation, Spec
from theseus_fx.lang.standalone import read_input, read_model
from theseus_fx.models.resolve import build
from theseus_fx.planning.planner import spec_inputs

SUFFIX = ".thx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model without weights and the inputs that it is traced on."""

    name: str
    """As it was asked for: `torchvision.resnet18(weights = none)`, or the path of the spec."""
    invocation: Invocation
    model: nn.Module
    """On the meta device, in eval mode."""
    inputs: tuple[InputSpec, ...]


def subject(text: str, inputs: Sequence[str] = ()) -> Subject:
    """The model of a text such as `torchvision.resnet18`, or the guide of the spec that it is the path of.

    Args:
        text: a model as in a `guide` sentence, or a path that ends in `.thx`.
        inputs: its inputs as in `input` sentences; none: those of the spec, else the usual ones.

    Raises:
        Rejected: what is wrong with the text, the model or the inputs.
    """
    spec = loader.load(text) if text.endswith(SUFFIX) else None
    invocation = read_model(text) if spec is None else _guide_of(spec)
    declared = spec_inputs([read_input(given) for given in inputs])
    model = build(invocation, device=torch.device("meta"), weights=False)
    if not declared:
        told = spec is not None and (spec.inputs or spec.data is not None)
        declared = guide_inputs(spec, model) if spec is not None and told else usual_inputs(invocation, model)
    name = " ".join(text.split()) if spec is None else Path(text).name
    return Subject(name=name, invocation=invocation, model=model, inputs=declared)


def _guide_of(spec: Spec) -> Invocation:
    if spec.guide is None:
        raise ValueError("the loader accepts no spec without a guide here")
    return spec.guide.model
