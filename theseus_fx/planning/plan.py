"""The plan: what will be done, in order, with every size computed. A frozen value; its JSON is the schema.

The human view and the saved plan are both made from the JSON, so that they cannot disagree. This is schema
version 1. A shape is a list of integers and of texts over the batch size (`"batch"`); FLOPs are forward FLOPs
of one sample, a multiply-add counts as two.

    kind            "theseus-fx plan"
    schema          int; grows when a field changes its meaning or goes
    spec            path: as given; files: [{path, sha256, text}], the spec first, then those it uses;
                    assignments: {param: text}, what `--set` changed; params: {param: value}, with that
    guide           name: in the spec; model: `torchvision.resnet18` or the class of an object;
                    fingerprint: hexadecimal, of the traced graph and its parameter shapes;
                    trained_by: TRAINING | null; inputs: [{name, dtype: "float32", shape}]
    batch_size      int | null, of the data source
    schedule        "progressive"
    parts           [PART], in execution order
    stages          [STAGE], in order
    recalibrate     [{module_class, modules: how many of exactly this class, over: AMOUNT}]
    finetune        TRAINING | null
    compare         {methods: [text], lr: RATE | null, align_lr: RATE | null} | null; a null rate is that
                    of the phase
    totals          parameters: {guide: int, target: int}, shared ones once; flops: {guide: int, target: int}
    notes           [text], what to know before it is run

    PART            name: `conv[3]`; rule; path: of the guide's module; node: of its output in the graph;
                    guide_module: as torch prints it;
                    region, only where operations are replaced and not one module: {inputs: [node],
                    nodes: [node], modules: [path that goes]}; replacement: the recipe as text;
                    recipe: {name, dtype, steps: [{kind, arguments: {name: value}}]};
                    input_shape; output_shape; parameters: {before, after}; flops: {before, after}
    STAGE           number: from 1; introduces: [part name]; trains: [part name], all others are frozen;
                    taps: [{part, node, shape}]; metric: {name, ...}; for: AMOUNT; lr: RATE; optimizer;
                    weight_decay; clip: largest gradient norm | null;
                    init: {kind: "random", reason}
                    | {kind: "fit", samples, metric: "plain" | "logits", ridge: float | null, reason};
                    guide_share: 0 to 1, of the guide's FLOPs that its taps need; trainable_parameters: int
    TRAINING        for: AMOUNT; lr: RATE; optimizer; weight_decay; clip: float | null;
                    loss: [{kind: "cross_entropy", weight} | {kind: "distill", weight, temperature}]
    RATE            candidates: [float | null], between which validation chooses, null takes no step at all;
                    shape: "constant" | "cosine"; warmup: AMOUNT | null
    AMOUNT          count: int; unit: "epochs" | "steps" | "batches"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from theseus_fx.graph.trace import Trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.spec import Alignment, Amount, Compare, LearningRate, Metric, Spec, Start, Training
from theseus_fx.match.ops.regions import Region
from theseus_fx.modules.recipe import Recipe

SCHEMA = 1
"""The version of the plan's JSON; it grows when a field changes its meaning or goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One replacement."""

    name: str
    """`conv[3]`."""
    rule: str
    path: str
    """The guide module's dotted name."""
    node: str
    """The graph node that is the part's output in the guide."""
    input_node: str
    guide_module: str
    """The guide's module as torch prints it."""
    module_class: str
    input_shape: tuple[int | str, ...]
    output_shape: tuple[int | str, ...]
    recipe: Recipe
    parameters_before: int
    parameters_after: int
    flops_before: int
    """Forward FLOPs of one sample; a multiply-add is two."""
    flops_after: int
    region: Region | None = None
    """The operations that go, where the rule matches operations and not one module."""
    modules: tuple[str, ...]
    """The modules that go with the part."""
    attributes: tuple[str, ...] = ()
    """Parameters of other modules that go with it."""

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "rule": self.rule,
            "path": self.path,
            "node": self.node,
            "guide_module": self.guide_module,
            **({} if self.region is None else {"region": _region_json(self.region, self.modules)}),
            "replacement": str(self.recipe),
            "recipe": self.recipe.as_json(),
            "input_shape": list(self.input_shape),
            "output_shape": list(self.output_shape),
            "parameters": {"before": self.parameters_before, "after": self.parameters_after},
            "flops": {"before": self.flops_before, "after": self.flops_after},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """One value that a stage compares, in guide and target."""

    part: str
    node: str
    shape: tuple[int | str, ...]

    def as_json(self) -> dict[str, Any]:
        return {"part": self.part, "node": self.node, "shape": list(self.shape)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One alignment stage."""

    number: int
    """1-based."""
    introduces: tuple[str, ...]
    """Names of the parts replaced at its beginning."""
    trains: tuple[str, ...]
    """Names of the parts whose parameters it trains; everything else is frozen."""
    taps: tuple[Tap, ...]
    alignment: Alignment
    start: Start
    """How the introduced replacements begin; decided, where the spec leaves it open."""
    start_reason: str
    """Why, in a few words: `as the spec says`."""
    guide_share: float
    """The share of the guide's forward FLOPs that the stage has to run to reach its taps."""
    trainable_parameters: int

    def as_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "introduces": list(self.introduces),
            "trains": list(self.trains),
            "taps": [tap.as_json() for tap in self.taps],
            "metric": _metric_json(self.alignment.metric),
            "for": _amount_json(self.alignment.budget),
            "lr": _rate_json(self.alignment.lr),
            "optimizer": self.alignment.optimizer,
            "weight_decay": self.alignment.weight_decay,
            "clip": self.alignment.clip,
            "init": _start_json(self.start, self.start_reason),
            "guide_share": self.guide_share,
            "trainable_parameters": self.trainable_parameters,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RecalibrateStep:
    """Batch statistics of all modules of a class computed anew."""

    module_class: str
    modules: int
    """How many of them the converted model has."""
    over: Amount

    def as_json(self) -> dict[str, Any]:
        return {"module_class": self.module_class, "modules": self.modules, "over": _amount_json(self.over)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The guide and the converted model side by side."""

    parameters_guide: int
    parameters_target: int
    flops_guide: int
    """Forward FLOPs of one sample."""
    flops_target: int

    def as_json(self) -> dict[str, Any]:
        return {
            "parameters": {"guide": self.parameters_guide, "target": self.parameters_target},
            "flops": {"guide": self.flops_guide, "target": self.flops_target},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole conversion, ready to be carried out."""

    spec: Spec
    assignments: Mapping[str, str]
    """What `--set` changed, as text."""
    inputs: tuple[InputSpec, ...]
    batch_size: int | None
    """Of the data source; None where the spec has none."""
    trace: Trace
    model_fingerprint: str
    guide: str
    """The guide as the spec calls it: `torchvision.resnet18`."""
    parts: tuple[Part, ...]
    stages: tuple[Stage, ...]
    recalibrate: tuple[RecalibrateStep, ...]
    finetune: Training | None
    totals: Totals
    notes: tuple[str, ...]
    """What a reader of the plan should know before it is run."""

    def part(self, name: str) -> Part:
        """The part of that name."""
        return next(part for part in self.parts if part.name == name)

    def as_json(self) -> dict[str, Any]:
        """The plan as plain JSON values (schema version `SCHEMA`)."""
        spec = self.spec
        sources = [spec.source, *spec.uses]
        return {
            "kind": "theseus-fx plan",
            "schema": SCHEMA,
            "spec": {
                "path": spec.source.name,
                "files": [{"path": s.name, "sha256": s.sha256, "text": s.text} for s in sources],
                "assignments": dict(self.assignments),
                "params": {name: _value_json(value) for name, value in spec.params.items()},
            },
            "guide": {
                "name": spec.guide.name if spec.guide else "guide",
                "model": self.guide,
                "fingerprint": self.model_fingerprint,
                "trained_by": _training_json(spec.guide.training) if spec.guide else None,
                "inputs": [
                    {"name": i.name, "dtype": str(i.dtype).removeprefix("torch."), "shape": list(i.shape)}
                    for i in self.inputs
                ],
            },
            "batch_size": self.batch_size,
            "schedule": spec.schedule.kind,
            "parts": [part.as_json() for part in self.parts],
            "stages": [stage.as_json() for stage in self.stages],
            "recalibrate": [step.as_json() for step in self.recalibrate],
            "finetune": _training_json(self.finetune),
            "compare": None if spec.compare is None else _compare_json(spec.compare),
            "totals": self.totals.as_json(),
            "notes": list(self.notes),
        }


def _region_json(region: Region, modules: Sequence[str]) -> dict[str, Any]:
    return {"inputs": list(region.inputs), "nodes": list(region.nodes), "modules": list(modules)}


def _amount_json(amount: Amount) -> dict[str, Any]:
    return {"count": amount.count, "unit": amount.unit}


def _metric_json(metric: Metric) -> dict[str, Any]:
    return {"name": metric.name, **{k: _value_json(v) for k, v in metric.arguments.items()}}


def _rate_json(rate: LearningRate) -> dict[str, Any]:
    warmup = None if rate.warmup is None else _amount_json(rate.warmup)
    return {"candidates": list(rate.candidates), "shape": rate.shape, "warmup": warmup}


def _compare_json(compare: Compare) -> dict[str, Any]:
    return {
        "methods": list(compare.methods),
        "lr": None if compare.lr is None else _rate_json(compare.lr),
        "align_lr": None if compare.align_lr is None else _rate_json(compare.align_lr),
    }


def _start_json(start: Start, reason: str) -> dict[str, Any]:
    if start.kind == "random":
        return {"kind": "random", "reason": reason}
    return {
        "kind": "fit",
        "samples": start.samples,
        "metric": start.metric,
        "ridge": start.ridge,
        "reason": reason,
    }


def _training_json(training: Training | None) -> dict[str, Any] | None:
    if training is None:
        return None
    loss: list[dict[str, Any]] = []
    for term in training.loss:
        entry: dict[str, Any] = {"kind": term.kind, "weight": term.weight}
        if term.kind == "distill":
            entry["temperature"] = term.temperature
        loss.append(entry)
    return {
        "for": _amount_json(training.budget),
        "lr": _rate_json(training.lr),
        "optimizer": training.optimizer,
        "weight_decay": training.weight_decay,
        "clip": training.clip,
        "loss": loss,
    }


def _value_json(value: object) -> Any:
    match value:
        case Amount():
            return _amount_json(value)
        case tuple():
            return [_value_json(v) for v in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)
