"""What a guide is traced on."""

from __future__ import annotations

from theseus_fx.data.registry import declared_inputs
from theseus_fx.data.source import DataSource
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import Spec
from theseus_fx.planning.planner import spec_inputs


def guide_inputs(spec: Spec, data: DataSource | None = None) -> tuple[InputSpec, ...]:
    """The inputs that the spec declares, else those of the data: an object, or what the spec names.

    Raises:
        Rejected: THX207 where nothing declares them, THX208 or THX209 for the spec's `data`.
    """
    if spec.inputs:
        return spec_inputs(spec.inputs)
    if data is not None:
        return data.inputs
    if spec.data is not None:
        return declared_inputs(spec.data)
    raise Rejected(
        Diagnostic(
            code="THX207",
            message="nothing says what the guide's input looks like",
            primary=Label(spec.guide.span, "its input has no shape") if spec.guide else None,
            help=("write `input image: f32[batch, 3, 224, 224]`, or a `data` sentence",),
        )
    )
