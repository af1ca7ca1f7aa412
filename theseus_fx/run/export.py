"""The converted model as files that need no spec: `model.safetensors` and `architecture.json`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import nn

from theseus_fx.graph.trace import Trace
from theseus_fx.lang.diagnostics import Diagnostic, Rejected, first_line
from theseus_fx.models.resolve import describe, rebuild
from theseus_fx.planning.plan import Plan
from theseus_fx.run.folder import read_json, write_bytes, write_json
from theseus_fx.run.hybrid import form_json, from_json

ARCHITECTURE = "architecture.json"
WEIGHTS = "model.safetensors"


def save_model(
    folder: Path,
    plan: Plan,
    model: nn.Module,
    *,
    guide: nn.Module,
    handed_over: bool,
    kept_guide: Collection[str] = (),
) -> None:
    """Writes the weights and what it takes to build the model again.

    Args:
        folder: of the run.
        plan: which parts were replaced by what, or the target.
        model: the converted model.
        guide: the guide, of which only names are read.
        handed_over: the guide was an object of the caller's, which no file can build again.
        kept_guide: parts that are the guide's still, for their stage did not pass.
    """
    architecture: dict[str, Any] = {"kind": "theseus-fx architecture", "schema": 1}
    if plan.spec.target is not None:
        described, traced = describe(plan.spec.target.model), _target_trace(plan)
        architecture |= {"form": "network", "network": described, "network_class": _root_class(traced)}
    else:
        described = None if handed_over or plan.spec.guide is None else describe(plan.spec.guide.model)
        architecture |= {"guide": described, "guide_class": _root_class(plan.trace)}
        architecture |= form_json(plan, guide, kept_guide=kept_guide)
    held = {name: value.detach().contiguous().cpu().clone() for name, value in model.state_dict().items()}
    write_bytes(folder / WEIGHTS, save(held, metadata={"format": "pt"}))
    write_json(folder / ARCHITECTURE, architecture)


def load_model(folder: Path, *, guide: nn.Module | None = None) -> nn.Module:
    """The converted model of a finished run: an ordinary module on the CPU, in eval mode.

    Args:
        folder: of the run.
        guide: the guide's architecture where the run was given one as an object; it is copied, its weights
            do not matter.

    Raises:
        Rejected: THX703 where the folder holds no finished run, THX704 where a guide has to be handed over
            or the one handed over does not fit.
    """
    architecture: Mapping[str, Any] = read_json(folder / ARCHITECTURE)
    try:
        if architecture.get("form") == "network":
            model = rebuild(architecture["network"], device=torch.device("cpu"))
        else:
            model = from_json(architecture, _base(folder, architecture, guide))
        model.load_state_dict(load((folder / WEIGHTS).read_bytes()))
    except (AttributeError, ImportError, RuntimeError, FileNotFoundError, ValueError) as error:
        raise Rejected(
            Diagnostic(
                code="THX704",
                message=f"the weights in {folder} do not fit the architecture: {first_line(error)}",
            )
        ) from error
    return model.eval()


def _base(folder: Path, architecture: Mapping[str, Any], guide: nn.Module | None) -> nn.Module:
    """The guide's architecture: built again, or the one that is handed over."""
    if architecture["guide"] is not None:
        return rebuild(architecture["guide"], device=torch.device("cpu"))
    if guide is not None:
        return guide
    raise Rejected(
        Diagnostic(
            code="THX704",
            message=f"{folder} was converted from a {architecture['guide_class']} that was handed over",
            help=("hand one over again: `theseus_fx.load(folder, guide = MyNet())`",),
        )
    )


def _target_trace(plan: Plan) -> Trace:
    if plan.target is None:
        raise ValueError("the plan has no target of its own")
    return plan.target.trace


def _root_class(trace: Trace) -> str:
    kind = trace.calls[0].module_class
    return f"{kind.__module__}.{kind.__qualname__}"
