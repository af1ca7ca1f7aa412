"""The settings of schedules and stages as plain JSON values; `plan.py` documents the schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from theseus_fx.lang.spec import Amount, Compute, LearningRate, Schedule, Start
from theseus_fx.lang.spec_stages import Condition, Gate, Grouping, Optimizer, Rows


def schedule_json(schedule: Schedule, order: Sequence[str]) -> dict[str, Any]:
    """A schedule; `order` is the names of the parts as they are introduced."""
    axes = schedule.axes
    return {
        "kind": schedule.kind,
        "introduce": axes.introduce,
        "train": axes.train,
        "feed": axes.feed,
        "order": list(order) if schedule.order.kind == "listed" else schedule.order.kind,
        "group": None if schedule.grouping is None else _grouping_json(schedule.grouping),
    }


def amount_json(amount: Amount) -> dict[str, Any]:
    return {"count": amount.count, "unit": amount.unit}


def rate_json(rate: LearningRate) -> dict[str, Any]:
    plateau = None
    if rate.plateau is not None:
        plateau = {
            "factor": rate.plateau.factor,
            "patience": amount_json(rate.plateau.patience),
            "average": amount_json(rate.plateau.average),
            "min": rate.plateau.least,
        }
    return {
        "candidates": list(rate.candidates),
        "shape": rate.shape,
        "warmup": None if rate.warmup is None else amount_json(rate.warmup),
        "plateau": plateau,
    }


def condition_json(condition: Condition) -> dict[str, Any]:
    return {
        "measure": {"name": condition.measure, **condition.arguments},
        "operator": condition.operator,
        "level": condition.level,
    }


def gate_json(gate: Gate) -> dict[str, Any]:
    return {**condition_json(gate.condition), "extend": gate.extend, "keep_guide": gate.keep_guide}


def rows_json(rows: Rows) -> dict[str, Any]:
    return {"kind": rows.kind} if rows.kind == "samples" else {"kind": rows.kind, "at_most": rows.at_most}


def optimizer_json(optimizer: Optimizer) -> dict[str, Any]:
    if optimizer.name != "sgd":
        return {"name": optimizer.name}
    return {"name": optimizer.name, "momentum": optimizer.momentum}


def compute_json(compute: Compute) -> dict[str, Any]:
    return {
        "accumulate": compute.accumulate,
        "precision": compute.precision,
        "checkpointing": compute.checkpointing,
    }


def start_json(start: Start) -> dict[str, Any]:
    if start.kind != "fit":
        return {"kind": start.kind}
    return {"kind": "fit", "samples": start.samples, "metric": start.metric, "ridge": start.ridge}


def _grouping_json(grouping: Grouping) -> dict[str, Any]:
    if grouping.size is not None:
        return {"size": grouping.size}
    return {"by": [glob.pattern for glob in grouping.patterns]}
