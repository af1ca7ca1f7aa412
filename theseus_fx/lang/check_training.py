"""Phases of gradient steps: schedules and their stages, fine-tuning, guides trained first, comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

from theseus_fx.lang import syntax, words
from theseus_fx.lang.check_calls import bind
from theseus_fx.lang.check_compute import check_compute
from theseus_fx.lang.check_layout import check_axes, check_feeds, check_grouping, check_order
from theseus_fx.lang.check_losses import check_loss
from theseus_fx.lang.check_measures import check_gates, check_metric, check_rows, check_until, word_of
from theseus_fx.lang.check_optimizers import check_optimizer
from theseus_fx.lang.check_rates import learning_rate
from theseus_fx.lang.check_values import amount, number
from theseus_fx.lang.diagnostics import Label
from theseus_fx.lang.findings import Findings, one_of, settings_by_name
from theseus_fx.lang.names import dotted
from theseus_fx.lang.signatures import Argument, Signature
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import (
    Amount,
    Compare,
    Compute,
    LearningRate,
    LossTerm,
    Metric,
    Recalibrate,
    Schedule,
    StageOverride,
    Start,
    Training,
)

_FIT = Signature((Argument("samples", "int", 2048), Argument("metric", "any"), Argument("ridge", "any")))
Settings = Mapping[str, syntax.Setting]


def check_schedule(found: Findings, node: syntax.Schedule) -> Schedule | None:
    """A `schedule` sentence."""
    one_of(found, node.kind.text, node.kind.span, words.SCHEDULES, "schedule")
    known = (*words.ALIGNMENT_SETTINGS, *words.LAYOUT_SETTINGS)
    settings = settings_by_name(found, node.settings, known, f"`schedule {node.kind.text}`")
    axes = check_axes(found, node, settings)
    common = _alignment(found, settings)
    common["compute"] = Compute(**common["compute"])
    common["gates"] = check_gates(found, node.requires)
    stages = [override for stage in node.stages if (override := _stage(found, node, stage)) is not None]
    for position, other in enumerate(stages):
        one = next((s for s in stages[:position] if s.first <= other.last and other.first <= s.last), None)
        if one is not None:
            common_stage = max(one.first, other.first)
            found.repeated(f"stage {common_stage} has two blocks", other.span, one.span)
    stages.sort(key=lambda s: s.first)
    used = [(s.metric or common.get("metric"), s.rows or common.get("rows")) for s in stages]
    own = (common.get("metric"), common.get("rows"))
    check_feeds(found, axes, [own, *used])
    metric = common.pop("metric", None) or Metric(name="cka", arguments={}, span=node.kind.span)
    return Schedule(
        kind=cast("Any", node.kind.text),
        axes=axes,
        order=check_order(found, settings.get("order")),
        grouping=check_grouping(found, node, settings),
        budget=common.pop("budget", None),
        lr=common.pop("lr", None),
        start=common.pop("start", None),
        metric=metric,
        stages=tuple(stages),
        span=node.kind.span,
        **common,
    )


def check_training(found: Findings, block: syntax.Block, where: str, guide: str | None) -> Training | None:
    """A `finetune` or `trained by` block; `guide` is the name that `distill` may refer to."""
    settings = settings_by_name(found, block.settings, words.TRAINING_SETTINGS, where)
    values = _steps(found, settings)
    values["compute"] = Compute(**cast("Any", check_compute(found, settings)))
    loss = (LossTerm(kind=found.task_loss),)
    if "loss" in settings:
        loss = tuple(check_loss(found, settings["loss"].value, guide))
    missing = [name for name in ("lr", "for") if name not in settings]
    for name in missing:
        example = "`lr = 1e-3`" if name == "lr" else "`for = 10 epochs`"
        found.note(
            "THX207",
            f"{where} has no `{name}`",
            _brace(block),
            help=[f"write {example}"],
        )
    rate, budget = values.pop("lr", None), values.pop("budget", None)
    if rate is None or budget is None:
        return None
    _check_warmup(found, rate, budget, settings)
    return Training(budget=budget, lr=rate, loss=loss, span=block.span, **values)


def _check_warmup(found: Findings, rate: LearningRate, budget: Amount, settings: Settings) -> None:
    if rate.warmup and rate.warmup.unit == budget.unit and rate.warmup.count > budget.count:
        found.note(
            "THX208",
            f"the warm-up of {rate.warmup} is longer than the whole budget of {budget}",
            rate.span,
            secondary=[Label(settings["for"].span, "the budget")],
        )


def check_recalibrate(found: Findings, node: syntax.Recalibrate) -> Recalibrate | None:
    """A `recalibrate` sentence; whether the class exists is for the planner."""
    settings = settings_by_name(found, node.block.settings, words.RECALIBRATE_SETTINGS, "`recalibrate`")
    if "over" not in settings:
        found.note(
            "THX207",
            "`recalibrate` has no `over`",
            node.module_class.span,
            help=["write `{ over = 200 batches }`"],
        )
        return None
    over = amount(found, settings["over"].value, "`over`", units=("batches",))
    if over is None:
        return None
    return Recalibrate(module_class=node.module_class.text, over=over, span=node.module_class.span)


def check_compare(found: Findings, node: syntax.Compare) -> Compare | None:
    """A `compare` sentence."""
    chosen: dict[str, syntax.Word] = {}
    for word in node.methods:
        if not one_of(found, word.text, word.span, words.METHODS, "method"):
            continue
        if word.text in chosen:
            found.repeated(f"`{word.text}` is named twice", word.span, chosen[word.text].span)
        chosen.setdefault(word.text, word)
    settings = (
        {}
        if node.block is None
        else settings_by_name(found, node.block.settings, words.COMPARE_SETTINGS, "`compare`")
    )
    rates = {name: learning_rate(found, setting.value) for name, setting in settings.items()}
    return Compare(
        methods=cast("Any", tuple(chosen)),
        lr=rates.get("lr"),
        align_lr=rates.get("align_lr"),
        spans=MappingProxyType({name: word.span for name, word in chosen.items()}),
        span=method_words(node),
    )


def method_words(node: syntax.Compare) -> Span:
    """The place of all the methods that a `compare` names."""
    return node.methods[0].span.to(node.methods[-1].span)


def _stage(found: Findings, schedule: syntax.Schedule, node: syntax.Stage) -> StageOverride | None:
    last = node.last or node.first
    span = Span(node.span.source, node.span.start, last.span.end)
    own = [s for s in node.block.settings if s.name.text not in words.LAYOUT_SETTINGS]
    for setting in node.block.settings:
        if setting.name.text in words.LAYOUT_SETTINGS:
            found.note(
                "THX221",
                f"`{setting.name.text}` holds for all stages of a schedule",
                setting.name.span,
                secondary=[Label(schedule.kind.span, "this schedule")],
                help=["write it in the schedule, outside of its `stage` blocks"],
            )
    settings = settings_by_name(found, own, words.ALIGNMENT_SETTINGS, "`stage`")
    values = _alignment(found, settings)
    values["gates"] = check_gates(found, node.requires) if node.requires else None
    for end in (node.first, last):
        if not isinstance(end.value, int) or end.value < 1:
            found.note("THX208", "stages are numbered from 1", end.span)
            return None
    if last.value < node.first.value:
        found.note("THX208", f"stages {node.first.value}..{last.value} are none", span)
        return None
    return StageOverride(first=int(node.first.value), last=int(last.value), span=span, **values)


def _alignment(found: Findings, settings: Settings) -> dict[str, Any]:
    """The settings of a schedule or a stage that are there and right, by field name."""
    values: dict[str, Any] = {}
    given = settings["for"].value if "for" in settings else None
    if isinstance(given, syntax.Call) and dotted(given.function) == "until":
        values = _steps(found, {name: s for name, s in settings.items() if name != "for"})
        values["budget"], values["until"] = check_until(found, given)
    else:
        values = _steps(found, settings)
    rate, budget = values.get("lr"), values.get("budget")
    if rate is not None and budget is not None:
        _check_warmup(found, rate, budget, settings)
    values["compute"] = check_compute(found, settings)
    if "metric" in settings:
        values["metric"] = check_metric(found, settings["metric"].value)
    if "rows" in settings and (rows := check_rows(found, settings["rows"].value)) is not None:
        values["rows"] = rows
    if "init" in settings:
        values["start"] = _start(found, settings["init"].value)
    return values


def _steps(found: Findings, settings: Settings) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if "for" in settings:
        values["budget"] = amount(found, settings["for"].value, "`for`")
    if "lr" in settings:
        values["lr"] = learning_rate(found, settings["lr"].value)
    if "optimizer" in settings:
        optimizer = check_optimizer(found, settings["optimizer"].value)
        values |= {} if optimizer is None else {"optimizer": optimizer}
    if "weight_decay" in settings:
        decay = number(found, settings["weight_decay"].value, "`weight_decay`", zero=True)
        values |= {} if decay is None else {"weight_decay": decay}
    if "clip" in settings:
        clip = number(found, settings["clip"].value, "`clip`")
        values |= {} if clip is None else {"clip": clip}
    return values


def _start(found: Findings, expression: syntax.Expression) -> Start | None:
    is_call = isinstance(expression, syntax.Call)
    name = dotted(expression.function if is_call else expression)
    if not one_of(found, name, word_of(expression), ("random", "fit", "copy"), "start"):
        return None
    if name != "fit":
        if is_call:
            found.note("THX205", f"`{name}` takes no arguments", expression.span)
        return Start(kind="copy" if name == "copy" else "random", span=expression.span)
    if not is_call:
        return Start(kind="fit", span=expression.span)
    bound = bind(found, expression, _FIT)
    if bound is None:
        return None
    values: dict[str, Any] = {}
    before = len(found.problems)
    if "samples" in bound:
        samples = number(found, bound["samples"], "`samples`")
        if samples is not None and (not samples.is_integer() or samples < 2):
            found.note("THX208", "`samples` is a whole number of at least 2", bound["samples"].span)
        elif samples is not None:
            values["samples"] = int(samples)
    if "metric" in bound and one_of(
        found, dotted(bound["metric"]), bound["metric"].span, words.FIT_METRICS, "metric of a fit"
    ):
        values["metric"] = dotted(bound["metric"])
    if "ridge" in bound and dotted(bound["ridge"]) != "none":
        values["ridge"] = number(found, bound["ridge"], "`ridge`", zero=True)
    if len(found.problems) > before:
        return None
    return Start(kind="fit", span=expression.span, **values)


def _brace(block: syntax.Block) -> Span:
    return block.span.source.span(block.span.start, block.span.start + 1)
