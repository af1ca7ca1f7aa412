"""The vocabulary: every word that the checker knows, as data.

A new metric, optimizer, data source, task or setting is named here first; the package that carries it out
is tested to agree.
"""

from __future__ import annotations

from collections.abc import Mapping

from theseus_fx.lang.data_words import AUGMENTATIONS as AUGMENTATIONS
from theseus_fx.lang.data_words import SOURCES as SOURCES
from theseus_fx.lang.signatures import Argument, Signature
from theseus_fx.lang.spec import Value

VERSION = 1
LARGEST = 2**63 - 1
"""No number in a spec is larger: what counts as many fits an int64, and a float of it is finite."""
UNITS = ("epochs", "epoch", "steps", "step", "batches", "batch")
"""The singular is for the number one."""
METRICS = ("cka", "ucka", "dmnn", "distill", "mse")
"""What a stage can train on."""
MONITORS = ("mutual_knn",)
"""Similarities without a gradient."""
MEASURES = ("loss", "cka", "ucka", "mutual_knn")
"""What `until` and `require` can watch: the stage's own loss, or a similarity of its taps."""
SUPPORTS = ("union", "guide", "full", "soft")
"""Over which neighbours the target's weights in `dmnn` are normalised."""
OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("progressive", "sequential", "independent", "joint")
AXES: Mapping[str, tuple[str, ...]] = {
    "introduce": ("staged", "upfront"),
    "train": ("introduced", "newest"),
    "feed": ("target", "guide"),
}
"""The axes of a schedule and what each can be; the first is what it is where nothing says otherwise."""
PRESETS: Mapping[str, Mapping[str, str]] = {
    "progressive": {"introduce": "staged", "train": "introduced", "feed": "target"},
    "sequential": {"introduce": "staged", "train": "newest", "feed": "target"},
    "independent": {"introduce": "staged", "train": "newest", "feed": "guide"},
    "joint": {"introduce": "upfront", "train": "introduced", "feed": "target"},
}
"""The schedules as values of the axes (paper, section 3.2); `joint` is one stage besides."""
ORDERS = ("forward", "reverse", "easiest")
RATES = ("cosine", "linear", "plateau", "choose")
METHODS = ("naive", "random_start", "distillation", "scratch")
"""What `compare` runs beside the conversion."""
FIT_METRICS = ("plain", "logits")
LOSSES = ("task", "cross_entropy", "distill", "mse")
"""`task`: the one of the task, which is cross-entropy but for a task of a person's own."""
CLASSIFICATION_METRICS = ("accuracy", "top5", "cross_entropy")
DTYPES = ("f32", "f64", "f16", "bf16", "i64")
LIBRARIES = ("torchvision", "transformers")
"""Where guides may come from, besides `ZOO`."""
AUTO = "auto"
"""`auto(parameters = 50e6)`: a rank that a run chooses."""
IT = "it"
"""In a replacement: the value that flows in."""
NAMESPACE = "nn"
"""In front of a class of `torch.nn` whose name a module of the spec has too: `nn.GRU`."""
ARITHMETIC = ("+", "-", "*", "/")
"""Operators that values in a replacement take part in."""
PATTERN_FORMS = ("optional", "repeat")
"""What a step of a pattern can be, besides modules, functions and patterns."""
ANYTHING = ("_", "any")
"""Any value or operation in a pattern."""
CONSTANTS: Mapping[str, Value] = {"true": True, "false": False, "none": None}

TOP_SETTINGS = ("data", "task")
COMPUTE_SETTINGS = ("accumulate", "precision", "checkpointing")
"""How steps are computed: of schedules, stages, `finetune` and `trained by`."""
PRECISIONS = ("f32", "bf16")
ALIGNMENT_SETTINGS = (
    *("metric", "lr", "for", "optimizer", "weight_decay", "clip", "init", "rows"),
    *COMPUTE_SETTINGS,
)
"""Of a schedule and of its stages."""
LAYOUT_SETTINGS = (*AXES, "order", "group")
"""Of a schedule alone."""
TRAINING_SETTINGS = ("lr", "for", "optimizer", "weight_decay", "clip", "loss", *COMPUTE_SETTINGS)
"""Of `finetune` and of `trained by`."""
RECALIBRATE_SETTINGS = ("over",)
COMPARE_SETTINGS = ("lr", "align_lr")
ALIGN_SETTINGS = ("weight",)
"""Of the `align` of a rule."""
OUTPUT = "out"
"""In `where`, `replace with` and `align`: what a part returns."""
SIDE_SETTINGS = ("crossing",)
"""Of the `guide` and the `target` of a `pair`."""
CROSSING = ("error", "allow", "cut")
"""What `every N` does where a window would reach over a change of shape or into another module."""

TASKS: Mapping[str, Signature] = {
    "classification": Signature(
        (
            Argument("classes", "int", required=True),
            Argument("metric", "text", "accuracy", choices=CLASSIFICATION_METRICS),
        )
    ),
    "language_modelling": Signature(()),
}

ZOO: Mapping[str, Signature] = {
    "small_resnet": Signature(
        (
            Argument("width", "int", 8),
            Argument("classes", "int", 10),
            Argument("channels", "int", 3),
            Argument("blocks", "int", 1),
        )
    ),
    "small_vit": Signature(
        (
            Argument("size", "int", 32),
            Argument("patch", "int", 4),
            Argument("width", "int", 64),
            Argument("depth", "int", 3),
            Argument("heads", "int", 2),
            Argument("classes", "int", 10),
        )
    ),
}
"""Guides that come with the package."""
