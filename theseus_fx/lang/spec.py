"""The checked spec: every word known, every constant computed, every default filled in.

What only the traced model can decide stays an expression: the `where` of a rule and its replacement.
All of it is immutable; spans point back into the text for the diagnostics of later phases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from theseus_fx.lang import syntax
from theseus_fx.lang.code import Code
from theseus_fx.lang.operations import OperationPattern
from theseus_fx.lang.source import Source, Span
from theseus_fx.lang.spec_aligns import Align
from theseus_fx.lang.spec_stages import (
    ADAMW,
    FORWARD,
    PROGRESSIVE,
    SAMPLES,
    Axes,
    Condition,
    Gate,
    Grouping,
    Kind,
    Optimizer,
    Order,
    Rows,
)

Unit = Literal["epochs", "steps", "batches"]
DataTask = Literal["classification", "language_modelling"]
"""What labels of a data source are for."""
TaskKind = DataTask | Literal["own"]
"""`own`: the task is a class of a person's own Python file."""
ClassificationMetric = Literal["accuracy", "top5", "cross_entropy"]


@dataclass(frozen=True, slots=True)
class Amount:
    """A count with its unit: a training budget or a number of batches."""

    count: int
    unit: Unit

    def __str__(self) -> str:
        unit = (
            {"epochs": "epoch", "steps": "step", "batches": "batch"}[self.unit]
            if self.count == 1
            else self.unit
        )
        return f"{self.count} {unit}"


@dataclass(frozen=True, slots=True)
class Environment:
    """`env("IMAGENET_DIR")`: an environment variable, read only when a run needs it."""

    variable: str


@dataclass(frozen=True, slots=True)
class AutoRank:
    """`auto(parameters = 50e6)`: ranks that a run chooses from spectra, for all parts that name it."""

    parameters: int
    """Of all the replacements together."""
    span: Span

    def __str__(self) -> str:
        return f"auto(parameters = {self.parameters})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """A call whose arguments are constants: a model, a data source."""

    name: str
    """Dotted, as written: `torchvision.resnet18`, `digits`, `torchvision.datasets.CIFAR10`."""
    positional: tuple[Value, ...] = ()
    keywords: Mapping[str, Value]
    span: Span
    spans: Mapping[str, Span]
    """The span of each keyword's value; of positional ones under `0`, `1`, ..."""
    code: Code | None = None
    """Where the name is one of a Python file: `python("models.py").MyNet`."""


Value = int | float | bool | str | None | Amount | Environment | AutoRank | Invocation | tuple["Value", ...]
"""What a constant expression can be: a word that names nothing else (`adamw`) is a str.

A call is one in a list that says so: `augment = [random_crop(32)]`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plateau:
    """Lowers the rate whenever the smoothed loss has stopped falling (paper, appendix K)."""

    factor: float
    patience: Amount
    """How long the loss may stand still."""
    average: Amount
    """The window of its exponential moving average."""
    least: float
    """The rate is never lower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRate:
    """The rate over one training phase."""

    candidates: tuple[float | None, ...]
    """Peak rates. More than one: validation chooses. None: a candidate that takes no step at all."""
    shape: Literal["constant", "cosine", "linear", "plateau"] = "constant"
    warmup: Amount | None = None
    """Linear warm-up from zero, in steps or epochs; part of the budget."""
    plateau: Plateau | None = None
    """Of the shape `plateau`."""
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """How the steps of a phase are computed, and what memory they take."""

    accumulate: int = 1
    """In how many pieces a batch goes through; the gradient is that of the whole batch."""
    precision: Literal["f32", "bf16"] = "f32"
    """Of the forward pass: bf16 is autocast; losses, parameters and optimizer stay float32."""
    checkpointing: bool = False
    """Whether activations are computed again in the backward pass, and not kept."""


PLAIN = Compute()
"""What holds where a spec says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What an alignment stage maximises."""

    name: str
    """`cka`, `ucka`, `dmnn`, `distill`, `mse`."""
    arguments: Mapping[str, Value]
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How a replacement's parameters begin."""

    kind: Literal["random", "fit", "copy", "given"]
    """`copy`: from the guide's part, tensor by tensor; `given`: a target, as its sentence builds it."""
    samples: int | None = None
    """Inputs that a fit may look at; None: the plan decides."""
    metric: Literal["plain", "logits"] | None = None
    """The metric of a fit's residual: Euclidean, or that of the guide's logits; None: the plan decides."""
    ridge: float | None = None
    """The ridge relative to the mean squared input; None: generalised cross-validation."""
    span: Span | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerm:
    """One term of a task loss."""

    kind: Literal["task", "cross_entropy", "distill", "mse"]
    """`task`: the task's own loss. `mse`: the mean squared difference from the guide's logits."""
    weight: float = 1.0
    temperature: float = 1.0
    """Of `distill`: Kullback-Leibler divergence to the guide's softened logits, times temperature squared."""
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One phase of gradient steps on the task: training a guide, or fine-tuning."""

    budget: Amount
    lr: LearningRate
    optimizer: Optimizer = ADAMW
    weight_decay: float = 0.01
    clip: float | None = None
    """Largest norm of the whole gradient."""
    compute: Compute = PLAIN
    loss: tuple[LossTerm, ...]
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """The settings of one alignment stage."""

    budget: Amount
    until: Condition | None = None
    """Ends the stage before its budget is spent."""
    lr: LearningRate
    metric: Metric
    rows: Rows = SAMPLES
    optimizer: Optimizer = ADAMW
    weight_decay: float = 0.01
    clip: float | None = 1.0
    compute: Compute = PLAIN
    start: Start | None
    """None: fitted where the replacement allows it, else random; the plan says which."""
    gates: tuple[Gate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOverride:
    """Settings for stages `first` to `last` (1-based, included) that differ from the schedule's.

    None: as the schedule says.
    """

    first: int
    last: int
    budget: Amount | None = None
    until: Condition | None = None
    """Goes with `budget`."""
    lr: LearningRate | None = None
    metric: Metric | None = None
    rows: Rows | None = None
    optimizer: Optimizer | None = None
    weight_decay: float | None = None
    clip: float | None = None
    compute: Mapping[str, int | str | bool] = field(default_factory=dict[str, int | str | bool], hash=False)
    """Fields of `Compute`; those that are not there are as the schedule says."""
    start: Start | None = None
    gates: tuple[Gate, ...] | None = None
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """In which order and how the parts are replaced."""

    kind: Kind
    axes: Axes = PROGRESSIVE
    """Those of the kind, unless the block says otherwise."""
    order: Order = FORWARD
    grouping: Grouping | None = None
    """None: every part is a group of its own; under `joint`, all parts are one group."""
    budget: Amount | None
    """None: every stage brings its own; the planner reports those that do not."""
    until: Condition | None = None
    """Goes with `budget`."""
    lr: LearningRate | None
    metric: Metric
    rows: Rows = SAMPLES
    optimizer: Optimizer = ADAMW
    weight_decay: float = 0.01
    clip: float | None = 1.0
    compute: Compute = PLAIN
    start: Start | None
    """None: fitted where the replacement allows it, else random; the plan says which."""
    gates: tuple[Gate, ...] = ()
    """What every stage has to reach."""
    stages: tuple[StageOverride, ...]
    """Disjoint, in ascending order."""
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """The frozen source network."""

    name: str
    model: Invocation
    training: Training | None
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A declared input of the guide."""

    name: str
    dtype: Literal["f32", "f64", "f16", "bf16", "i64"]
    shape: tuple[int | Literal["batch"], ...]
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the network is for."""

    kind: TaskKind
    classes: int | None = None
    """Of classification."""
    metric: ClassificationMetric | None = None
    """Of classification: what judges."""
    call: Invocation | None = None
    """Of a person's own task: what makes it."""
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class ModulePattern:
    """A module class, matched by name along its MRO, with attributes that must be equal."""

    class_name: str
    attributes: Mapping[str, Value]
    """`kernel_size = 3` also equals an attribute `(3, 3)`."""
    binding: str | None
    span: Span
    class_span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionPattern:
    """A pattern over operations: each match is a region of the graph."""

    operations: OperationPattern
    binding: str | None
    span: Span
    name_span: Span
    """Of the pattern's name, or of the whole chain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which parts become what."""

    name: str
    pattern: ModulePattern | RegionPattern
    within: tuple[syntax.Glob, ...]
    """A site's path must fit one of these, if there are any."""
    where: tuple[syntax.Expression, ...]
    """All must hold; names: the binding and the params."""
    expect: int | None
    expect_span: Span | None
    keep: tuple[syntax.Glob, ...]
    """A site's path must fit none of these."""
    replacement: syntax.Expression
    span: Span
    aligns: tuple[Align, ...] = ()
    """Taps of each part besides its output, and the weight of that; the output is a tap in any case."""

    @property
    def module(self) -> ModulePattern:
        """The pattern of a rule that matches modules; TypeError for one over operations."""
        if isinstance(self.pattern, ModulePattern):
            return self.pattern
        raise TypeError(f"rule `{self.name}` matches operations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A network of its own that is built from the guide's representations."""

    name: str
    model: Invocation
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Each:
    """Every block is a window by itself."""

    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Every:
    """`every N`: windows of N consecutive blocks."""

    count: int
    crossing: Literal["error", "allow", "cut"] = "error"
    """Where a window would reach over a change of shape or into another module: an error, go on, or end
    the window early there and begin the next one."""
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """`by "layer{i}"`: one window for each value of the braces."""

    pattern: syntax.Text
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """`split by "layer{i}"`: each group becomes as many windows as the other network has blocks in its own.

    Windows of a group differ by at most one block; the earlier ones are the longer ones.
    """

    pattern: syntax.Text
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """`at ["layer1.0", 3]`: the last block of each window, by path or by its number from 1."""

    ends: tuple[str | int, ...]
    places: tuple[Span, ...]
    """Of the ends."""
    span: Span


Windows = Each | Every | By | Split | At


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The blocks of one network that a pair aligns, and how they are taken together to windows."""

    pattern: ModulePattern
    within: tuple[syntax.Glob, ...]
    keep: tuple[syntax.Glob, ...]
    windows: Windows

    @property
    def module(self) -> ModulePattern:
        """The pattern, which is always one of modules."""
        return self.pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Which blocks of the target are trained to represent what which blocks of the guide do."""

    name: str
    guide: Side
    target: Side
    expect: int | None
    expect_span: Span | None
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibrate:
    """Batch statistics computed anew after the replacements."""

    module_class: str
    over: Amount
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """Baselines to run with the same budget."""

    methods: tuple[Literal["naive", "random_start", "distillation", "scratch"], ...]
    lr: LearningRate | None
    """Candidates for the baselines' fine-tuning rate; None: those of `finetune`."""
    align_lr: LearningRate | None = None
    """Candidates for the alignment rate of `random_start`; None: those of the schedule that take steps."""
    span: Span
    spans: Mapping[str, Span] = field(default_factory=dict[str, Span])
    """Where each method is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A whole checked spec."""

    source: Source
    uses: tuple[Source, ...]
    """Every other file it reads, in order: the specs it uses, then Python files."""
    params: Mapping[str, Value]
    """With the values of `--set`."""
    guide: Guide | None
    """None only where the caller hands over the model (`theseus_fx.convert`)."""
    inputs: tuple[Input, ...]
    data: Invocation | None
    task: Task | None
    modules: Mapping[str, syntax.ModuleDefinition]
    """Named replacements: the spec's own and those of the files it uses."""
    code: Mapping[str, Source]
    """The Python files that it names, by their path as written; they are not run by reading them."""
    patterns: Mapping[str, syntax.PatternDefinition]
    """Named patterns, alike."""
    rules: tuple[Rule, ...]
    target: Target | None = None
    """A network of its own; then there are pairs and no rules."""
    pairs: tuple[Pair, ...] = ()
    schedule: Schedule
    recalibrate: tuple[Recalibrate, ...]
    finetune: Training | None
    compare: Compare | None
    document: syntax.Document
    """The resolved tree: files used are inlined, params carry the values of `--set`; `printer` prints it."""
