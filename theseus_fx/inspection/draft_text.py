"""The text of a drafted spec: every sentence with what a person may want to change about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from theseus_fx.graph.values import InputSpec
from theseus_fx.inspection.draft_data import DataSentences
from theseus_fx.inspection.templates import Template
from theseus_fx.planning.planner import DTYPES

_COLUMN = 42
"""Where comments behind a line begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleText:
    """The one rule of a drafted spec."""

    name: str
    class_name: str
    binding: str
    expect: int
    keep: tuple[str, ...]
    where: str | None
    replacement: str
    preamble: str | None
    """What the replacement needs in front of the guide."""


def spec_text(
    *,
    model: str,
    template: Template,
    rule: RuleText,
    data: DataSentences,
    inputs: Sequence[InputSpec],
    norms: Sequence[str],
    trained: bool,
) -> str:
    """The whole spec.

    Args:
        model: as the `guide` sentence names it.
        template: what the parts become.
        rule: which parts.
        data: the data and the task, where they are known.
        inputs: of the model, declared where the data does not.
        norms: classes with batch statistics.
        trained: whether the guide has no weights and the spec trains it first.
    """
    blocks = [
        f"# {model}: {rule.expect} x {rule.class_name} -> {template.title}.\n"
        "# See it with `theseus-fx plan`, carry it out with `theseus-fx run`.\n"
        "theseus 1",
        *([rule.preamble] if rule.preamble is not None else []),
        _commented(
            f"param {template.param} = {template.value}", f"for another one: --set {template.param}=128"
        ),
        _ground(model, data, inputs, trained),
        _rule(rule),
        "schedule progressive {                     # one stage for each part, from the input on\n"
        "  metric = cka                             # what a stage makes alike: centred kernel alignment\n"
        "  lr     = 1e-4\n"
        "  for    = 5 epochs                        # of each stage; or `stage 1..3 { for = 2 epochs }`\n"
        "}",
        *(f"recalibrate {norm} {{ over = 100 batches }}" for norm in norms),
        _afterwards(data),
    ]
    return "\n\n".join(blocks) + "\n"


def _ground(model: str, data: DataSentences, inputs: Sequence[InputSpec], trained: bool) -> str:
    lines = [f"guide net = {model}"]
    if trained and data.data is not None:
        lines[0] += " trained by {"
        lines += ["  lr  = cosine(3e-3, warmup = 50 steps)", "  for = 600 steps", "}"]
    if data.data is None:
        lines += [_input(given) for given in inputs]
        lines.append("# A run needs data and a task, which this version has for classifiers of images:")
        lines.append('# data = imagefolder(env("DATA_DIR"), size = 224, batch = 64)')
        lines.append("# task = classification(classes = 1000)")
        return "\n".join(lines)
    lines.append(_commented(f"data = {data.data}", data.comment))
    lines.append(f"task = classification(classes = {data.classes})")
    return "\n".join(lines)


def _input(given: InputSpec) -> str:
    names: dict[torch.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}
    return f"input {given.name}: {names[given.dtype]}[{', '.join(str(size) for size in given.shape)}]"


def _commented(line: str, comment: str) -> str:
    """A line with a comment behind it, where all comments of the spec begin."""
    return f"{line:<{_COLUMN}} # {comment}"


def _rule(rule: RuleText) -> str:
    lines = [f"  match {rule.class_name} as {rule.binding}  expect {rule.expect}"]
    lines[0] = _commented(lines[0], "another count is an error, not a surprise")
    if rule.where is not None:
        lines.append(f"  where {rule.where}")
    if rule.keep:
        kept = ", ".join(f'"{path}"' for path in rule.keep)
        lines.append(f"  keep  {kept}")
    lines.append(f"  replace with {rule.replacement}")
    return "\n".join([f"rule {rule.name} {{", *lines, "}"])


def _afterwards(data: DataSentences) -> str:
    text = (
        "finetune {\n"
        "  lr   = cosine(choose(none, 1e-4), warmup = 1 epochs)   # validation decides; none: no step\n"
        "  loss = 0.5 * cross_entropy + 0.5 * distill(net, temperature = 2)\n"
        "  for  = 10 epochs\n"
        "}\n\n"
        "compare naive                              # the same budget without the stages"
    )
    if data.data is not None:
        return text
    return "\n".join(f"# {line}".rstrip() for line in text.splitlines())
