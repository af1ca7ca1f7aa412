"""The two things that `diff` compares: plans, made from a spec or saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from theseus_fx.lang import loader
from theseus_fx.lang.check_values import shown
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.spec import Invocation, Spec, Task
from theseus_fx.planning.plan import Plan
from theseus_fx.planning.saved import read_plan

_KEYS = frozenset(
    (
        "guide",
        "schedule",
        "parts",
        "pairs",
        "target",
        "stages",
        "recalibrate",
        "finetune",
        "compare",
        "totals",
        "spec",
    )
)

Settings = Mapping[str, Any]
"""Values by the name of the setting: `guide.weights`, `finetune.lr`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of two plans."""

    name: str
    """As given on the command line."""
    origin: Literal["spec", "plan"]
    plan: Mapping[str, Any]
    """The plan's JSON."""
    spec: Spec

    def ground(self) -> Settings:
        """What all work of a run stands on: the guide, its inputs, the data, the task."""
        guide = self.plan["guide"]
        found: dict[str, Any] = {}
        if self.spec.guide is not None:
            found |= _call("guide", self.spec.guide.model)
        else:
            found["guide"] = guide["model"]
        found["guide.architecture"] = guide["fingerprint"]
        found |= _nested("guide.trained_by", guide["trained_by"])
        for given in guide["inputs"]:
            found[f"input.{given['name']}"] = {"dtype": given["dtype"], "shape": given["shape"]}
        if self.spec.target is not None:
            found |= _call("target", self.spec.target.model)
            found["target.architecture"] = self.plan["target"]["fingerprint"]
        if self.spec.data is not None:
            found |= _call("data", self.spec.data)
        if self.spec.task is not None:
            found |= _task(self.spec.task)
        return found

    def after(self) -> Settings:
        """What follows the stages, before the baselines."""
        steps = self.plan["recalibrate"]
        found = {f"recalibrate.{step['module_class']}": step["over"] for step in steps}
        return {**found, **_nested("finetune", self.plan["finetune"])}

    def rest(self) -> Settings:
        """Settings that no work depends on by themselves: what they change shows elsewhere."""
        params = {f"param.{name}": value for name, value in self.plan["spec"]["params"].items()}
        schedule = _nested("schedule", self.plan["schedule"])
        compare = _nested("compare", self.plan["compare"])
        compare.pop("compare.baselines", None)  # what they spend follows from the rest
        return {**schedule, **params, **compare}


def planned(name: str, plan: Plan) -> Side:
    """A plan that was just made."""
    return Side(name=name, origin="spec", plan=plan.as_json(), spec=plan.spec)


def saved(path: Path) -> Side:
    """A plan that was saved, as it was then: whether its spec or model has changed since is not asked.

    Args:
        path: of the JSON, or of a run folder, which holds one.

    Raises:
        Rejected: THX001 or THX002 where it cannot be read, THX506 where it is no plan of this schema.
    """
    value = read_plan(path / "plan.json" if path.is_dir() else path)
    files = value["spec"]["files"]
    lacking = sorted(_KEYS - value.keys())
    if lacking or not all(isinstance(file.get("text"), str) for file in files):
        what = f"it lacks {', '.join(lacking)}" if lacking else "it does not hold the text of its spec"
        raise Rejected(Diagnostic(code="THX506", message=f"{path} is not a plan: {what}"))
    spec = loader.reload(
        [(file["path"], file["text"]) for file in files],
        assignments=value["spec"]["assignments"],
        guide_required=False,
    )
    return Side(name=str(path), origin="plan", plan=value, spec=spec)


def _call(name: str, invocation: Invocation) -> dict[str, Any]:
    """A call as settings: what is called, and each argument."""
    positional = {f"{name}.{place}": _plain(value) for place, value in enumerate(invocation.positional)}
    keywords = {f"{name}.{key}": _plain(value) for key, value in invocation.keywords.items()}
    return {name: invocation.name, **positional, **keywords}


def _task(task: Task) -> dict[str, Any]:
    if task.call is not None:
        return _call("task", task.call)
    return {"task": task.kind, "task.classes": task.classes, "task.metric": task.metric}


def _nested(name: str, value: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if value is None else {f"{name}.{key}": inner for key, inner in value.items()}


def _plain(value: object) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, Invocation):
        return shown(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
