"""A first spec for a model: a rule that makes sense for it, tried out before it is handed over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from theseus_fx.data.inputs import guide_inputs
from theseus_fx.data.registry import declared_batch, declared_classes
from theseus_fx.data.tasks import check_classes
from theseus_fx.graph.cost import forward_flops
from theseus_fx.graph.trace import ModuleCall, Trace, trace
from theseus_fx.inspection.draft_data import data_sentences
from theseus_fx.inspection.draft_text import RuleText, spec_text
from theseus_fx.inspection.subject import Subject, subject
from theseus_fx.inspection.templates import Template
from theseus_fx.lang import loader
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.match.pattern import class_names
from theseus_fx.planning.planner import make_plan

CLASSES: Mapping[str, str] = {"Conv2d": "c", "Linear": "l", "Conv1D": "l"}
"""The classes whose modules are parts to begin with, and what a rule calls one of them."""

_RULE_NAMES: Mapping[str, str] = {"Conv2d": "conv", "Linear": "linear", "Conv1D": "linear"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Modules of one class that one rule may take."""

    class_name: str
    calls: tuple[ModuleCall, ...]
    kept: tuple[str, ...]
    """Modules of the class that the rule leaves alone: the head, and what is no part."""
    rank: int
    """Dimensions of their outputs."""
    mixed: bool
    """Whether modules of the class have outputs of other ranks too."""
    flops: int


def draft(text: str, template: Template, *, inputs: Sequence[str] = (), folder: Path | None = None) -> str:
    """The text of a spec for a model, which can be planned as it is.

    The rule takes the class of modules that costs most, without the last layer, and of the next class where
    the template does not fit those.

    Args:
        text: a model as in a `guide` sentence.
        template: what the parts become.
        inputs: its inputs as in `input` sentences; none: the usual ones.
        folder: of the spec, where a Python file that the model names lies; None: the working directory.

    Raises:
        Rejected: what is wrong with the model; THX401 where it has no part that the template fits.
    """
    asked = subject(text, inputs, folder=folder)
    given = _guide_text(asked)
    found = replace(subject(given, inputs, folder=folder), name=given)
    traced = trace(found.model, found.inputs)
    data = data_sentences(found, traced.value(traced.output).shape)
    reasons: list[str] = []
    for choice in _choices(found, traced):
        drafted = spec_text(
            model=given,
            template=template,
            rule=_rule(choice, template),
            data=data,
            inputs=found.inputs,
            norms=_norms(found.model),
            trained=found.invocation.name.count(".") == 0,
        )
        problem = _problem(drafted, found, folder or Path.cwd())
        if problem is None:
            return drafted
        reasons.append(f"{choice.class_name}: {problem}")
    raise Rejected(
        Diagnostic(
            code="THX401",
            message=f"`{text}` has no modules of which a first rule could be made",
            primary=Label(asked.invocation.span),
            help=(*reasons, f"`theseus-fx trace '{text}'` shows what a rule can match"),
        )
    )


def _guide_text(asked: Subject) -> str:
    """The model as the spec names it: with torchvision's best weights, where nothing else was asked for."""
    invocation = asked.invocation
    if invocation.name.startswith("torchvision.") and not invocation.keywords:
        return f'{invocation.name}(weights = "DEFAULT")'
    written = " ".join(invocation.span.text.split())
    return written if written.endswith(")") else f"{written}()"


def _choices(found: Subject, traced: Trace) -> Iterator[Choice]:
    """The classes that are there, the one that costs most first."""
    flops = forward_flops(traced, found.model)
    head = _head(found.model, traced)
    choices: list[Choice] = []
    for class_name in CLASSES:
        calls = [call for call in traced.calls if class_name in class_names(call.module_class)]
        usable = [call for call in calls if call.path != head and _is_part(call, traced)]
        if not usable:
            continue
        ranks = Counter(len(traced.value(str(call.node)).shape) for call in usable)
        rank = ranks.most_common(1)[0][0]
        taken = tuple(call for call in usable if len(traced.value(str(call.node)).shape) == rank)
        paths = {call.path for call in usable}
        left = dict.fromkeys(call.path for call in calls if call.path not in paths)
        cost = sum(flops[name] for call in taken for name in _nodes(call, traced))
        choices.append(
            Choice(
                class_name=class_name,
                calls=taken,
                kept=tuple(left),
                rank=rank,
                mixed=len(ranks) > 1,
                flops=cost,
            )
        )
    yield from sorted(choices, key=lambda choice: -choice.flops)


def _head(model: nn.Module, traced: Trace) -> str:
    """The last module with parameters of its own that the forward pass calls."""
    with_parameters = [
        call.path for call in traced.calls if any(True for _ in _own_parameters(model, call.path))
    ]
    return with_parameters[-1] if with_parameters else ""


def _own_parameters(model: nn.Module, path: str) -> Iterator[nn.Parameter]:
    return model.get_submodule(path).parameters(recurse=False)


def _is_part(call: ModuleCall, traced: Trace) -> bool:
    """Whether it is called once, with one tensor in and one out that has a row for each sample."""
    if call.repeated or call.node is None or len(call.inputs) != 1:
        return False
    return traced.value(call.node).shape[:1] == ("batch",) and traced.value(call.inputs[0]).shape[:1] == (
        "batch",
    )


def _nodes(call: ModuleCall, traced: Trace) -> Iterator[str]:
    """The operations of a call that has no other module inside."""
    index = next(index for index, other in enumerate(traced.calls) if other is call)
    return (name for name, owner in traced.owners.items() if owner == index)


def _rule(choice: Choice, template: Template) -> RuleText:
    binding = CLASSES[choice.class_name]
    by_position = choice.class_name != "Conv2d" and choice.rank > 2
    size = f"{binding}.out.shape[{choice.rank - 1}]"
    return RuleText(
        name=_RULE_NAMES[choice.class_name],
        class_name=choice.class_name,
        binding=binding,
        expect=len(choice.calls),
        keep=choice.kept,
        where=f"{binding}.out.rank == {choice.rank}" if choice.mixed else None,
        replacement=template.positions.format(size=size)
        if by_position
        else template.whole.format(part=binding),
        preamble=None if by_position else template.preamble,
    )


def _norms(model: nn.Module) -> tuple[str, ...]:
    """The classes with batch statistics."""
    kinds = nn.modules.batchnorm._NormBase  # pyright: ignore[reportPrivateUsage]
    classes = (type(m).__name__ for m in model.modules() if isinstance(m, kinds) and m.track_running_stats)
    return tuple(dict.fromkeys(classes))


def _problem(text: str, found: Subject, folder: Path) -> str | None:
    """Why a draft cannot be planned, or None where it can."""
    try:
        spec = loader.loads(text, name="draft.thx", folder=folder)
        if spec.data is not None:
            check_classes(spec.task, declared_classes(spec.data))
        batch = None if spec.data is None else declared_batch(spec.data)
        inputs = guide_inputs(spec, found.model)
        make_plan(spec, found.model, guide=found.invocation.name, inputs=inputs, batch_size=batch)
    except Rejected as rejected:
        return rejected.diagnostics[0].message
    return None
