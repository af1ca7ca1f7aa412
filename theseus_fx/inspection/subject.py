"""What `trace` and `new` look at: a model named on the command line, or the guide of a spec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from theseus_fx.data.inputs import guide_inputs
from theseus_fx.graph.values import InputSpec
from theseus_fx.inspection.inputs import usual_inputs
from theseus_fx.lang import loader
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import Invocation, Spec
from theseus_fx.lang.standalone import read_input, read_model
from theseus_fx.models.resolve import build
from theseus_fx.planning.planner import spec_inputs

SUFFIX = ".thx"
Network = Literal["guide", "target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model without weights and the inputs that it is traced on."""

    name: str
    """As it was asked for: `torchvision.resnet18(weights = none)`, or the path of the spec."""
    invocation: Invocation
    model: nn.Module
    """On the meta device, in eval mode."""
    inputs: tuple[InputSpec, ...]


def subject(
    text: str, inputs: Sequence[str] = (), *, network: Network = "guide", folder: Path | None = None
) -> Subject:
    """The model of a text such as `torchvision.resnet18`, or a network of the spec that it is the path of.

    Args:
        text: a model as in a `guide` sentence, or a path that ends in `.thx`.
        inputs: its inputs as in `input` sentences; none: those of the spec, else the usual ones.
        network: of the spec; its target takes the inputs of its guide.
        folder: where a Python file that the model names lies; None: the working directory.

    Raises:
        Rejected: what is wrong with the text, the model or the inputs; THX207 for a spec without a target.
    """
    declared = spec_inputs([read_input(given) for given in inputs])
    if not text.endswith(SUFFIX):
        invocation = read_model(text, folder=folder)
        model = _built(invocation)
        found = declared or usual_inputs(invocation, model)
        return Subject(name=" ".join(text.split()), invocation=invocation, model=model, inputs=found)
    spec = loader.load(text)
    guide = _network_of(spec, "guide")
    model = _built(guide)
    if not declared:
        told = spec.inputs or spec.data is not None
        declared = guide_inputs(spec, model) if told else usual_inputs(guide, model)
    chosen = _network_of(spec, network)
    model = model if chosen is guide else _built(chosen)
    return Subject(name=Path(text).name, invocation=chosen, model=model, inputs=declared)


def _built(invocation: Invocation) -> nn.Module:
    return build(invocation, device=torch.device("meta"), weights=False)


def _network_of(spec: Spec, network: Network) -> Invocation:
    if spec.guide is None:
        raise ValueError("the loader accepts no spec without a guide here")
    if network == "guide":
        return spec.guide.model
    if spec.target is None:
        raise Rejected(
            Diagnostic(
                code="THX207",
                message=f"`{spec.source.name}` has no `target`: what becomes of its guide is no network yet",
                primary=Label(spec.guide.span, "its only network"),
                help=("leave `--network target` out; `theseus-fx plan` shows the replacements",),
            )
        )
    return spec.target.model
