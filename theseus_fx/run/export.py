"""The converted model as files that need no spec: `model.safetensors` and `architecture.json`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import nn

from theseus_fx.graph.convention import Convention
from theseus_fx.graph.surgery import convert
from theseus_fx.lang.diagnostics import Diagnostic, Rejected, first_line
from theseus_fx.models.resolve import describe, rebuild
from theseus_fx.modules.recipe import Recipe
from theseus_fx.planning.plan import Plan
from theseus_fx.run.folder import read_json, write_bytes, write_json

ARCHITECTURE = "architecture.json"
WEIGHTS = "model.safetensors"


def save_model(
    folder: Path,
    plan: Plan,
    model: nn.Module,
    *,
    handed_over: bool,
    kept_guide: Collection[str] = (),
) -> None:
    """Writes the weights and what it takes to build the model again.

    Args:
        folder: of the run.
        plan: which parts were replaced by what.
        model: the converted model.
        kept_guide: parts that are the guide's still, for their stage did not pass.
        handed_over: the guide was an object of the caller's, which no file can build again.
    """
    guide = None if handed_over or plan.spec.guide is None else describe(plan.spec.guide.model)
    replaced = [part for part in plan.parts if part.name not in kept_guide]
    paths = {part.path for part in replaced}
    architecture: dict[str, Any] = {
        "kind": "theseus-fx architecture",
        "schema": 1,
        "guide": guide,
        "guide_class": f"{type(model).__module__}.{type(model).__qualname__}",
        "replacements": {part.path: part.recipe.as_json() for part in replaced},
        "conventions": {path: c.as_json() for path, c in plan.conventions.items() if path in paths},
    }
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
    if architecture["guide"] is not None:
        base = rebuild(architecture["guide"], device=torch.device("cpu"))
    elif guide is not None:
        base = guide
    else:
        raise Rejected(
            Diagnostic(
                code="THX704",
                message=f"{folder} was converted from a {architecture['guide_class']} that was handed over",
                help=("hand one over again: `theseus_fx.load(folder, guide = MyNet())`",),
            )
        )
    recipes = {path: Recipe.from_json(value) for path, value in architecture["replacements"].items()}
    try:
        # a folder without conventions was written when all calls were plain
        called = architecture.get("conventions", {})
        conventions = {path: Convention.from_json(value) for path, value in called.items()}
        made = {path: recipe.make() for path, recipe in recipes.items()}
        model = convert(base, made, conventions=conventions)
        model.load_state_dict(load((folder / WEIGHTS).read_bytes()))
    except (AttributeError, ImportError, RuntimeError, FileNotFoundError) as error:
        raise Rejected(
            Diagnostic(
                code="THX704",
                message=f"the weights in {folder} do not fit the architecture: {first_line(error)}",
            )
        ) from error
    return model.eval()
