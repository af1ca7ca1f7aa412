"""What a plan says and this version of `run` does not carry out; asked before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import Schedule
from theseus_fx.planning.plan import Plan, Stage

METRICS = ("cka", "distill")
STARTS = ("random", "fit", "given")

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
    if spec.target is not None:
        instead = "specs with `rule` can be run"
        yield spec.target.span, f"the target `{spec.target.name}`, a network of its own,", instead
    regions = {part.rule for part in plan.parts if part.region is not None}
    for rule in spec.rules:
        if rule.name in regions:
            instead = "match the module that holds the operations, such as `match BasicBlock`"
            yield (
                rule.pattern.span,
                f"rule `{rule.name}`, which replaces operations and not a module,",
                instead,
            )
        for align in rule.aligns:
            if align.extra:
                yield (
                    align.span,
                    f"the tap `{align}` besides the output of a part",
                    "a run compares outputs of parts",
                )
            elif align.weight != 1:
                yield align.span, f"the weight {align.weight:g} of a tap", "a run weighs all taps alike"
    yield from _of_layout(spec.schedule)
    for stage in plan.stages:
        yield from _of_stage(stage)


def _of_layout(schedule: Schedule) -> Iterator[Refusal]:
    axes, staged = schedule.axes, "a run can train with `introduce = staged`, or all at once with `joint`"
    if axes.introduce == "upfront" and schedule.kind != "joint":
        yield axes.spans.get("introduce"), "`introduce = upfront`", staged
    if axes.train == "newest":
        instead = "a run can train with `train = introduced`, as `progressive` does"
        yield axes.spans.get("train"), "`train = newest`", instead
    if axes.feed == "guide":
        instead = "a run can train with `feed = target`, as `progressive` does"
        yield axes.spans.get("feed"), "`feed = guide`", instead


def _of_stage(stage: Stage) -> Iterator[Refusal]:
    settings = stage.alignment
    metric = settings.metric
    if metric.name not in METRICS:
        yield metric.span, f"`metric = {metric.name}`", f"a run can train on {_names(METRICS)}"
    if settings.rows.kind != "samples":
        yield settings.rows.span, f"`rows = {settings.rows.kind}`", "a run can compare `rows = samples`"
    for start in stage.starts:
        if start.start.kind not in STARTS:
            yield start.start.span, f"`init = {start.start.kind}`", "a run can start with `random` and `fit`"


def _names(words: Sequence[str]) -> str:
    return " and ".join(f"`{word}`" for word in words)


def _diagnostic(span: Span | None, what: str, instead: str) -> Diagnostic:
    return Diagnostic(
        code="THX820",
        message=f"`run` cannot carry out {what} yet",
        primary=None if span is None else Label(span),
        help=(instead, "`theseus-fx plan` shows all of it; nothing has been started"),
    )
