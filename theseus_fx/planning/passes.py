"""Which stages are trained together: those of parts that the guide feeds, in one pass over the data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from theseus_fx.planning.plan import Plan, Stage

_ITS_OWN = frozenset(
    (
        "number",
        "group",
        "introduces",
        "newest",
        "trains",
        "taps",
        "guide_inputs",
        "init",
        "guide_share",
        "target_share",
        "trainable_parameters",
    )
)
"""Of a stage's JSON, what may differ between stages that are trained together."""


def passes(plan: Plan) -> tuple[tuple[Stage, ...], ...]:
    """The stages of a plan, those together that one pass over the data trains.

    Where each stage trains its own parts and the guide feeds them, no stage sees what another does. Those
    with equal settings then share the guide's forward pass, the batches and the steps, and come out as if
    each had been trained alone.
    """
    together: dict[str, list[Stage]] = {}
    for stage in plan.stages:
        key = _settings(stage) if apart(plan) and not _decides(stage) else f"stage {stage.number}"
        together.setdefault(key, []).append(stage)
    return tuple(tuple(stages) for stages in together.values())


def apart(plan: Plan) -> bool:
    """Whether each stage trains parts of its own that the guide feeds, so that no stage sees another."""
    axes = plan.spec.schedule.axes
    return axes.feed == "guide" and axes.train == "newest"


def _decides(stage: Stage) -> bool:
    """Whether its own loss decides how fast and how long a stage is trained."""
    settings = stage.alignment
    return settings.until is not None or bool(settings.gates) or settings.lr.plateau is not None


def _settings(stage: Stage) -> str:
    return json.dumps({key: value for key, value in stage.as_json().items() if key not in _ITS_OWN})
