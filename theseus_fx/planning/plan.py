"""The plan: what will be done, in order, with every size computed. A frozen value; its JSON is the schema.

The human view and the saved plan are both made from the JSON, so that they cannot disagree. This is schema
version 2. A shape is a list of integers and of texts over the batch size (`"batch"`); FLOPs are forward FLOPs
of one sample, a multiply-add counts as two.

    kind            "theseus-fx plan"
    schema          int; grows when a field changes its meaning or goes
    spec            path: as given; files: [{path, sha256, text}], the spec first, then those it uses;
                    assignments: {param: text}, what `--set` changed; params: {param: value}, with that
    guide           name: in the spec; model: `torchvision.resnet18` or the class of an object;
                    fingerprint: hexadecimal, of the traced graph and its parameter shapes;
                    trained_by: TRAINING | null; inputs: [{name, dtype: "float32", shape}]
    batch_size      int | null, of the data source
    schedule        kind: "progressive" | "sequential" | "independent" | "joint";
                    introduce: "staged" | "upfront"; train: "introduced" | "newest"; feed: "target" | "guide";
                    order: "forward" | "reverse" | [part name], as listed |
                    "easiest": a run measures it, and the stages are in execution order here;
                    group: {size: int} | {by: [path pattern]} | null
    parts           [PART], in execution order
    target          {name: in the spec; model; fingerprint; head: {modules: [path], parameters: int}, what no
                    tap needs; copies, only where blocks are copies: [tensor outside of them that begins as
                    the guide's of that name]} of a network of its own | null: the guide with replacements
    pairs           [PAIR], in the order of the target's taps; instead of parts where there is a target
    stages          [STAGE], in order
    recalibrate     [{module_class, modules: how many of exactly this class, over: AMOUNT}]
    finetune        TRAINING | null
    compare         {methods: [text], lr: RATE | null, align_lr: RATE | null, baselines: [BASELINE]} | null; a
                    null rate is that of the phase
    totals          parameters: {guide: int, target: int}, shared ones once; flops: {guide: int, target: int}
    notes           [text], what to know before it is run

    PART            name: `conv[3]`; rule; path: of the guide's module; node: of its output in the graph;
                    guide_module: as torch prints it;
                    region, only where operations are replaced and not one module: {inputs: [node],
                    nodes: [node], modules: [path that goes]}; replacement: the recipe as text;
                    recipe: {name, dtype, steps: [{kind, arguments: {name: value}, inputs: [WIRE]}],
                    output: WIRE; values: {name: {wire: WIRE, shape}}, only where taps are in it};
                    rank, only where a run chooses it: {auto: {parameters: of all parts under the budget},
                    uniform: the rank that all of them could have, at_most: int}, for sizes are planned so;
                    inputs: [{name: of the parameter, node, dtype, shape}]; takes: [name of an input], what
                    flows into the replacement; input_shape: of the first of these; output_shape;
                    parameters: {before, after}; flops: {before, after}
    PAIR            name: `block[3]`; pair: the sentence; guide: SIDE; target: SIDE; trains: [parameter name],
                    of the target, those that its tap needs and no earlier tap does;
                    copies, only where there are any: [[block of the target, the guide's that fills it]]
    SIDE            blocks: [name], those of the window; node: of the last one's output; shape: of that;
                    parameters: int, flops: int, of all that the tap needs and no earlier tap does
    STAGE           number: from 1; group: its name, where groups have names | null;
                    introduces: [part name], replaced at its beginning;
                    newest: [part name], what no earlier stage trains;
                    trains: [part name], all others are frozen;
                    taps: [TAP], of the parts or pairs that it trains; the loss is the mean over them of what
                    the metric says, each times its weight, divided by the sum of the weights;
                    guide_inputs: [{part, nodes}], guide's values fed to parts; empty: the hybrid's;
                    metric: {name, ...}; rows: {kind: "samples"} | {kind: "tokens", at_most: int};
                    for: AMOUNT, at most; until: CONDITION | null, what ends it sooner;
                    lr: RATE; optimizer: OPTIMIZER; weight_decay; clip: largest gradient norm | null;
                    accumulate: pieces of a batch; precision: "f32" | "bf16"; checkpointing: bool;
                    init: [{part, kind: "random" | "copy" | "given", reason}
                    | {part, kind: "fit", method: "low_rank" | "readout" | "balanced", samples,
                    metric: "plain" | "logits", ridge: float | null, memory: bytes that it holds at most,
                    beside the networks and the activations of one batch, reason}], one for each part that it
                    introduces;
                    require: [CONDITION with extend: int, how often `for` may be spent again, and keep_guide:
                    bool, whether the guide's parts stay after that or a run stops], its gates;
                    guide_share: 0 to 1, of the guide's FLOPs that its taps need; target_share: of the
                    target's | null; trainable_parameters: int
    TAP             part: of a PART, of a PAIR where there is a target | null: the model's output is compared;
                    node, shape: of the guide's value; value: null: the part's output | text: what `align`
                    names, `main`, a path in the part, `out`; target: null: the output of the replacement or
                    pair | name among the values of the recipe; target_shape: of that | null; weight: float
    TRAINING        for: AMOUNT; lr: RATE; optimizer: OPTIMIZER; weight_decay; clip: float | null;
                    accumulate; precision; checkpointing, as of a stage;
                    loss: [{kind: "task" | "cross_entropy" | "mse", weight}
                           | {kind: "distill", weight, temperature}]
    RATE            candidates: [float | null], between which validation chooses, null takes no step at all;
                    shape: "constant" | "cosine" | "linear" | "plateau"; warmup: AMOUNT | null;
                    plateau: {factor, patience: AMOUNT, average: AMOUNT, min} | null
    BASELINE        name: `naive_equal_total`; method: text; candidates: int; for: [AMOUNT], steps of each, at
                    most one amount for each unit
    CONDITION       measure: {name, ...}; operator: "<" | "<=" | ">" | ">="; level: float
    OPTIMIZER       {name: "adamw" | "adam"} | {name: "sgd", momentum}
    WIRE            int, the output of the step of that index | text, an input of the part: "in"
    AMOUNT          count: int; unit: "epochs" | "steps" | "batches"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import nn

from theseus_fx.graph.convention import Convention
from theseus_fx.graph.slices import Placement
from theseus_fx.graph.trace import Trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import Alignment, Amount, Compare, Metric, Spec, Start, Training
from theseus_fx.match.inputs import PartInput
from theseus_fx.match.ops.regions import Region
from theseus_fx.modules.endings import LinearEnding, ending_of
from theseus_fx.modules.recipe import Recipe
from theseus_fx.planning.baselines import baselines
from theseus_fx.planning.paired import Pair, TargetNetwork
from theseus_fx.planning.stage_json import (
    amount_json,
    compute_json,
    condition_json,
    gate_json,
    optimizer_json,
    rate_json,
    rows_json,
    schedule_json,
    start_json,
)

Method = Literal["low_rank", "readout", "balanced"]
"""Kinds of fit: of two linear maps, of the last one, of an Elman network."""

SCHEMA = 2
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
    inputs: tuple[PartInput, ...]
    """In the order of the parameters of the module's `forward`."""
    input_node: str
    """The node of the primary one."""
    takes: tuple[str, ...]
    """The nodes of the inputs that flow into the replacement, in its order."""
    convention: Convention | None
    """How the guide calls the module; None: with one positional tensor, for one bare tensor."""
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
    taps: tuple[Tap, ...]
    """Where it is compared with its replacement: its output first, then what the rule aligns besides."""
    opened: bool = False
    """Whether the graph shows the inside of its module, because there are taps in it."""

    def placed(self, module: nn.Module) -> Placement:
        """A replacement in the part's place, with what is tapped inside of it."""
        values = tuple(self.recipe.values)
        tapped = self.recipe.tapped(module) if values else module
        return replace(self.placed_plainly(tapped), values=values)

    def placed_plainly(self, module: nn.Module) -> Placement:
        """Any module in the part's place, for its output alone."""
        return Placement(module, self.takes, region=self.region is not None or self.opened)

    def _rank_json(self) -> dict[str, Any]:
        ending = ending_of(self.recipe)
        if not isinstance(ending, LinearEnding):
            raise TypeError(f"{self.name} has no rank to choose")  # the planner has refused it
        (budget,) = self.recipe.budgets
        most = min(ending.d_in, ending.d_out)
        return {"auto": {"parameters": budget.parameters}, "uniform": ending.rank, "at_most": most}

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
            **({} if not self.recipe.budgets else {"rank": self._rank_json()}),
            "inputs": [entry.as_json() for entry in self.inputs],
            "takes": [entry.name for node in self.takes for entry in self.inputs if entry.node == node],
            "input_shape": list(self.input_shape),
            "output_shape": list(self.output_shape),
            "parameters": {"before": self.parameters_before, "after": self.parameters_after},
            "flops": {"before": self.flops_before, "after": self.flops_after},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """One value that a stage compares, in guide and target."""

    part: str | None
    """None: the model's output, which belongs to no part."""
    node: str
    """Of the guide."""
    shape: tuple[int | str, ...]
    """Of the guide's value."""
    value: str | None = None
    """The guide's value inside of the part, as the rule calls it; None: the output."""
    target: str | None = None
    """The replacement's value, a name among `Recipe.values`; None: the output."""
    target_shape: tuple[int | str, ...] | None = None
    """Of the replacement's value; None: of the output, which is as in the guide."""
    weight: float = 1.0
    """In the mean over the taps of a stage, which is divided by the sum of the weights."""
    span: Span | None = field(default=None, compare=False)
    """The `align` that asks for it, if one does."""

    @property
    def extra(self) -> bool:
        """Whether it is a tap besides the output of a part."""
        return self.value is not None

    @property
    def name(self) -> str:
        """What a run calls it: `conv[1]`, `block[2] main ~ hidden`, `output` for the model's."""
        part = self.part or "output"
        return f"{part} {self.value} ~ {self.target or 'out'}" if self.extra else part

    def as_json(self) -> dict[str, Any]:
        return {
            "part": self.part,
            "node": self.node,
            "shape": list(self.shape),
            "value": self.value,
            "target": self.target,
            "target_shape": None if self.target_shape is None else list(self.target_shape),
            "weight": self.weight,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GuideInput:
    """What is fed to a part from the guide, instead of from the hybrid."""

    part: str
    nodes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {"part": self.part, "nodes": list(self.nodes)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PartStart:
    """How the replacement of a part begins; decided, where the spec leaves it open."""

    part: str
    start: Start
    reason: str
    """Why, in a few words: `as the spec says`."""
    method: Method | None = None
    """Of a fit."""
    memory: int | None = None
    """Bytes that a fit holds at most, beside the networks and the activations of one batch."""

    def as_json(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"part": self.part, **start_json(self.start), "reason": self.reason}
        return entry if self.method is None else {**entry, "method": self.method, "memory": self.memory}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One alignment stage."""

    number: int
    """1-based."""
    group: str | None = None
    """The name of its group, where groups have names."""
    introduces: tuple[str, ...]
    """Names of the parts replaced at its beginning."""
    newest: tuple[str, ...]
    """Names of the parts that no earlier stage trains."""
    trains: tuple[str, ...]
    """Names of the parts whose parameters it trains; everything else is frozen."""
    taps: tuple[Tap, ...]
    """Its loss is the weighted mean of what the metric says of each."""
    guide_inputs: tuple[GuideInput, ...] = ()
    """What its parts are fed from the guide; empty where they read the hybrid."""
    alignment: Alignment
    starts: tuple[PartStart, ...]
    """Of the parts that it introduces, in the same order."""
    guide_share: float
    """The share of the guide's forward FLOPs that the stage has to run to reach its taps."""
    target_share: float | None = None
    """Of the target's, where it is a network of its own."""
    trainable_parameters: int

    def start_of(self, part: str) -> Start:
        """How a part that the stage introduces begins."""
        return next(start.start for start in self.starts if start.part == part)

    def as_json(self) -> dict[str, Any]:
        settings = self.alignment
        return {
            "number": self.number,
            "group": self.group,
            "introduces": list(self.introduces),
            "newest": list(self.newest),
            "trains": list(self.trains),
            "taps": [tap.as_json() for tap in self.taps],
            "guide_inputs": [fed.as_json() for fed in self.guide_inputs],
            "metric": _metric_json(settings.metric),
            "rows": rows_json(settings.rows),
            "for": amount_json(settings.budget),
            "until": None if settings.until is None else condition_json(settings.until),
            "lr": rate_json(settings.lr),
            "optimizer": optimizer_json(settings.optimizer),
            "weight_decay": settings.weight_decay,
            "clip": settings.clip,
            **compute_json(settings.compute),
            "init": [start.as_json() for start in self.starts],
            "require": [gate_json(gate) for gate in settings.gates],
            "guide_share": self.guide_share,
            "target_share": self.target_share,
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
        return {"module_class": self.module_class, "modules": self.modules, "over": amount_json(self.over)}


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
    target: TargetNetwork | None = None
    """A network of its own; None where the guide's parts are replaced."""
    pairs: tuple[Pair, ...] = ()
    """Instead of parts, where there is a target."""
    stages: tuple[Stage, ...]
    recalibrate: tuple[RecalibrateStep, ...]
    finetune: Training | None
    totals: Totals
    notes: tuple[str, ...]
    """What a reader of the plan should know before it is run."""

    @property
    def conventions(self) -> Mapping[str, Convention]:
        """The call conventions of the parts that have one of their own, by path."""
        return {part.path: part.convention for part in self.parts if part.convention is not None}

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
            "schedule": schedule_json(spec.schedule, [name for s in self.stages for name in s.newest]),
            "parts": [part.as_json() for part in self.parts],
            "target": None if self.target is None else self.target.as_json(),
            "pairs": [pair.as_json() for pair in self.pairs],
            "stages": [stage.as_json() for stage in self.stages],
            "recalibrate": [step.as_json() for step in self.recalibrate],
            "finetune": _training_json(self.finetune),
            "compare": None if spec.compare is None else self._compare_json(spec.compare),
            "totals": self.totals.as_json(),
            "notes": list(self.notes),
        }

    def _compare_json(self, compare: Compare) -> dict[str, Any]:
        return {
            "methods": list(compare.methods),
            "lr": None if compare.lr is None else rate_json(compare.lr),
            "align_lr": None if compare.align_lr is None else rate_json(compare.align_lr),
            "baselines": [baseline.as_json() for baseline in baselines(self)],
        }


def _region_json(region: Region, modules: Sequence[str]) -> dict[str, Any]:
    return {"inputs": list(region.inputs), "nodes": list(region.nodes), "modules": list(modules)}


def _metric_json(metric: Metric) -> dict[str, Any]:
    return {"name": metric.name, **{k: _value_json(v) for k, v in metric.arguments.items()}}


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
        "for": amount_json(training.budget),
        "lr": rate_json(training.lr),
        "optimizer": optimizer_json(training.optimizer),
        "weight_decay": training.weight_decay,
        "clip": training.clip,
        **compute_json(training.compute),
        "loss": loss,
    }


def _value_json(value: object) -> Any:
    match value:
        case Amount():
            return amount_json(value)
        case tuple():
            return [_value_json(v) for v in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)
