"""What a plan says and this version of `run` does not carry out; asked before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import Compare, LearningRate, Training
from theseus_fx.lang.spec_stages import Optimizer
from theseus_fx.planning.plan import Plan, Stage

RATES = ("constant", "cosine")
OPTIMIZERS = ("adamw",)
STARTS = ("random", "fit", "given")
LOSSES = ("cross_entropy", "distill")
METHODS = ("naive", "random_start")

Refusal = tuple[Span | None, str, str]
"""Where it stands, what it is, and what can be run instead."""


def check_supported(plan: Plan) -> None:
    """Refuses a plan that a run would not carry out as it stands.

    Raises:
        Rejected: THX820 for each setting, with its place.
    """
    found: dict[tuple[Span | None, str], str] = {}
    for span, what, instead in _refusals(plan):
        found.setdefault((span, what), instead)
    if found:
        raise Rejected(*(_diagnostic(span, what, instead) for (span, what), instead in found.items()))


def _refusals(plan: Plan) -> Iterator[Refusal]:
    spec = plan.spec
    for stage in plan.stages:
        yield from _of_stage(stage)
    trainings = [spec.guide.training if spec.guide else None, spec.finetune]
    for training in trainings:
        if training is not None:
            yield from _of_training(training)
    if spec.compare is not None:
        yield from _of_compare(spec.compare)


def _of_stage(stage: Stage) -> Iterator[Refusal]:
    settings = stage.alignment
    if settings.until is not None:
        yield settings.until.span, "`until`", "a run can train for a fixed budget, such as `for = 30 epochs`"
    for gate in settings.gates:
        yield gate.condition.span, "`require`", "leave it out; the similarities of each stage are reported"
    yield from _of_steps(settings.lr, settings.optimizer)
    for start in stage.starts:
        if start.start.kind not in STARTS:
            yield start.start.span, f"`init = {start.start.kind}`", "a run can start with `random` and `fit`"


def _of_training(training: Training) -> Iterator[Refusal]:
    yield from _of_steps(training.lr, training.optimizer)
    for term in training.loss:
        if term.kind not in LOSSES:
            yield term.span, f"the loss `{term.kind}`", f"a run can train on {_names(LOSSES)}"


def _of_compare(compare: Compare) -> Iterator[Refusal]:
    for method in compare.methods:
        if method not in METHODS:
            span = compare.spans.get(method, compare.span)
            yield span, f"the baseline `{method}`", f"a run can compare {_names(METHODS)}"
    for rate in (compare.lr, compare.align_lr):
        if rate is not None:
            yield from _of_rate(rate)


def _of_steps(rate: LearningRate, optimizer: Optimizer) -> Iterator[Refusal]:
    yield from _of_rate(rate)
    if optimizer.name not in OPTIMIZERS:
        yield (
            optimizer.span,
            f"the optimizer `{optimizer.name}`",
            f"a run can train with {_names(OPTIMIZERS)}",
        )


def _of_rate(rate: LearningRate) -> Iterator[Refusal]:
    if rate.shape not in RATES:
        instead = "a run can train with a constant rate, such as `lr = 1e-4`, or with `cosine(1e-4)`"
        yield rate.span, f"the learning rate `{rate.shape}`", instead


def _names(words: Sequence[str]) -> str:
    return " and ".join(f"`{word}`" for word in words)


def _diagnostic(span: Span | None, what: str, instead: str) -> Diagnostic:
    return Diagnostic(
        code="THX820",
        message=f"`run` cannot carry out {what} yet",
        primary=None if span is None else Label(span),
        help=(instead, "`theseus-fx plan` shows all of it; nothing has been started"),
    )
