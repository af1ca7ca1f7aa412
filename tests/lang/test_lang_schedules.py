"""Schedules: axes, orders, groups, metrics, gates, rates: what is read, what is refused and where."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from lang_texts import bare, in_bounds, rejected

from theseus_fx.lang import loader, words
from theseus_fx.lang.printer import print_document
from theseus_fx.lang.spec import Amount, Compute, LossTerm, Schedule, Spec

HEAD = """\
theseus 1
guide net = small_resnet(width = 2)
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
rule conv { match Conv2d  replace with relu }
"""
RICH = """\
schedule progressive {
  introduce = upfront
  train = newest
  order = [conv[3], 1, "conv[2]", "layer2*", head]
  group by "conv1", "layer{i}"
  metric = dmnn(k = 5, tau = 0.2, support = guide)
  rows = tokens(at_most = 512)
  optimizer = sgd(momentum = 0.9)
  init = copy
  accumulate = 4
  precision = bf16
  lr = plateau(choose(1e-4, 1e-3), factor = 0.25, patience = 2 epochs, average = 50 steps, min = 1e-7)
  for = until(loss < 0.01, at_most = 100 epochs)
  require cka > 0.85 else extend(2)
  require mutual_knn(k = 3) >= 0.5 else keep guide
  stage 2..3 {
    lr = linear(1e-3, warmup = 2 steps)
    for = 5 steps
    metric = ucka
    rows = samples
    optimizer = adam
    checkpointing = true
    require loss < 0.5 else extend(1) else keep guide
  }
}
finetune {
  lr = cosine(1e-3)  for = 2 epochs  accumulate = 2  checkpointing = true
  loss = cross_entropy + 0.5 * mse(net)
}
compare naive, distillation, scratch, random_start
"""


def read(schedule: str) -> Spec:
    return loader.loads(HEAD + schedule)


def schedule_of(text: str) -> Schedule:
    return read(f"schedule {text}").schedule


def test_everything_that_a_schedule_can_say() -> None:
    spec = read(RICH)
    schedule = spec.schedule
    assert (schedule.axes.introduce, schedule.axes.train, schedule.axes.feed) == (
        "upfront",
        "newest",
        "target",
    )
    assert schedule.order.kind == "listed"
    assert [e.text for e in schedule.order.entries] == ["conv[3]", 1, "conv[2]", "layer2*", "head"]
    assert schedule.grouping is not None
    assert [g.pattern for g in schedule.grouping.patterns] == ["conv1", "layer{i}"]
    assert (schedule.metric.name, dict(schedule.metric.arguments)) == (
        "dmnn", {"k": 5, "tau": 0.2, "support": "guide"},
    )  # fmt: skip
    assert (schedule.rows.kind, schedule.rows.at_most) == ("tokens", 512)
    assert (schedule.optimizer.name, schedule.optimizer.momentum) == ("sgd", 0.9)
    assert schedule.start is not None
    assert schedule.start.kind == "copy"
    assert schedule.compute == Compute(accumulate=4, precision="bf16")
    assert schedule.lr is not None
    assert schedule.lr.plateau is not None
    plateau = schedule.lr.plateau
    assert (plateau.factor, plateau.patience, plateau.average, plateau.least) == (
        0.25, Amount(2, "epochs"), Amount(50, "steps"), 1e-7,
    )  # fmt: skip
    assert schedule.lr.candidates == (1e-4, 1e-3)
    assert schedule.until is not None
    assert (schedule.budget, schedule.until.measure, schedule.until.level) == (
        Amount(100, "epochs"),
        "loss",
        0.01,
    )
    cka, knn = schedule.gates
    assert (cka.condition.measure, cka.condition.operator, cka.condition.level, cka.extend) == (
        "cka",
        ">",
        0.85,
        2,
    )
    assert (knn.condition.measure, dict(knn.condition.arguments), knn.extend) == ("mutual_knn", {"k": 3}, 0)
    assert (cka.keep_guide, knn.keep_guide) == (False, True)
    assert knn.span is not None
    assert knn.span.text == "keep guide"
    (stage,) = schedule.stages
    assert stage.lr is not None
    assert (stage.lr.shape, stage.lr.warmup, stage.budget, stage.until) == (
        "linear", Amount(2, "steps"), Amount(5, "steps"), None,
    )  # fmt: skip
    assert stage.metric is not None
    assert stage.rows is not None
    assert stage.optimizer is not None
    assert (stage.metric.name, stage.rows.kind, stage.optimizer.name) == ("ucka", "samples", "adam")
    assert stage.compute == {"checkpointing": True}
    assert stage.gates is not None
    assert [gate.condition.measure for gate in stage.gates] == ["loss"]
    assert spec.finetune is not None
    assert spec.finetune.compute == Compute(accumulate=2, checkpointing=True)
    assert spec.finetune.loss == (LossTerm(kind="cross_entropy"), LossTerm(kind="mse", weight=0.5))
    assert spec.compare is not None
    assert spec.compare.methods == ("naive", "distillation", "scratch", "random_start")


@pytest.mark.parametrize("kind", words.SCHEDULES)
def test_the_presets(kind: str) -> None:
    axes = schedule_of(f"{kind} {{ }}").axes
    found = {"introduce": axes.introduce, "train": axes.train, "feed": axes.feed}
    assert found == words.PRESETS[kind]


@pytest.mark.parametrize(
    ("kind", "axis", "value"),
    [
        ("progressive", "introduce", "upfront"),
        ("progressive", "train", "newest"),
        ("progressive", "feed", "guide"),
        ("sequential", "train", "introduced"),
        ("independent", "feed", "target"),
        ("independent", "introduce", "staged"),
        ("joint", "feed", "guide"),
        ("joint", "train", "introduced"),
        ("joint", "introduce", "upfront"),
    ],
)
def test_each_axis_may_be_overridden(kind: str, axis: str, value: str) -> None:
    axes = schedule_of(f"{kind} {{ {axis} = {value} }}").axes
    expected = {**words.PRESETS[kind], axis: value}
    assert {"introduce": axes.introduce, "train": axes.train, "feed": axes.feed} == expected


def test_what_nobody_sets() -> None:
    schedule = schedule_of(
        "progressive { metric = dmnn  optimizer = sgd  rows = tokens  lr = plateau(1e-4) }"
    )
    assert schedule.metric.arguments == MappingProxyType({"k": 10, "tau": 0.1, "support": "union"})
    assert (schedule.optimizer.momentum, schedule.rows.at_most) == (0.0, 4096)
    assert schedule.lr is not None
    assert schedule.lr.plateau is not None
    assert str(schedule.lr.plateau.patience) == "4 epochs"
    assert str(schedule.lr.plateau.average) == "500 steps"
    assert (schedule.grouping, schedule.order.kind, schedule.until, schedule.gates) == (
        None,
        "forward",
        None,
        (),
    )


def test_the_resolved_document_reads_back_equal() -> None:
    spec = read(RICH)
    printed = print_document(spec.document)
    alone = loader.loads(printed)
    assert bare(alone.schedule) == bare(spec.schedule)
    assert bare(alone.finetune) == bare(spec.finetune)
    assert bare(alone.compare) == bare(spec.compare)
    assert print_document(alone.document) == printed


ONE = [
    # (the schedule, code, blamed text, a piece of message or help)
    ("sequental { }", "THX209", "sequental", "did you mean `sequential`?"),
    ("progressive { train = newst }", "THX209", "newst", "did you mean `newest`?"),
    ("progressive { introduce = 3 }", "THX209", "3", "`staged`, `upfront`"),
    ("progressive { fed = guide }", "THX202", "fed", "did you mean `feed`?"),
    # orders
    ("progressive { order = easier }", "THX209", "easier", "did you mean `easiest`?"),
    ("progressive { order = forwards }", "THX209", "forwards", "did you mean `forward`?"),
    ("progressive { order = [] }", "THX208", "[]", "write `forward`"),
    ("progressive { order = [1.5] }", "THX203", "1.5", "conv[3]"),
    ("progressive { order = [conv(3)] }", "THX203", "conv(3)", "conv[3]"),
    ('progressive { order = [""] }', "THX203", '""', "conv[3]"),
    # groups
    ("progressive { group = 0 }", "THX208", "0", "at least 1"),
    ("progressive { group = 2.5 }", "THX208", "2.5", "at least 1"),
    ("progressive { group = 3 epochs }", "THX204", "epochs", "leave the unit out"),
    ('progressive { group by "layer{" }', "THX208", '"layer{"', "layer{i}"),
    ('progressive { group by "layer{1}" }', "THX208", '"layer{1}"', "layer{i}"),
    ('progressive { group by "a", "" }', "THX208", '""', "leave it out"),
    ('progressive { group by "a", "a" }', "THX206", '"a"', ""),
    # metrics
    ("progressive { metric = mutual_knn(k = 3) }", "THX222", "mutual_knn", "watched, not trained on"),
    ("progressive { metric = dmn }", "THX209", "dmn", "did you mean `dmnn`?"),
    ("progressive { metric = dmnn(k = 0) }", "THX208", "0", "at least 1"),
    ("progressive { metric = dmnn(k = 1.5) }", "THX208", "1.5", "at least 1"),
    ("progressive { metric = dmnn(tau = 0) }", "THX208", "0", "above zero"),
    ("progressive { metric = dmnn(support = onion) }", "THX209", "onion", "did you mean `union`?"),
    ("progressive { metric = dmnn(temperature = 1) }", "THX205", "temperature", "it takes: `k`"),
    ("progressive { metric = distill(temperature = -1) }", "THX208", "-1", "above zero"),
    ("progressive { metric = mse(3) }", "THX205", "mse(3)", "takes no arguments"),
    # rates
    ("progressive { lr = plateu(1e-4) }", "THX209", "plateu", "did you mean `plateau`?"),
    ("progressive { lr = plateau() }", "THX205", "plateau()", "needs `start`"),
    ("progressive { lr = plateau(1e-4, factor = 1) }", "THX208", "1", "between 0 and 1"),
    ("progressive { lr = plateau(1e-4, patience = 4) }", "THX204", "4", "write `4 epochs`"),
    ("progressive { lr = plateau(1e-4, min = 1e-3) }", "THX208", "1e-3", "below the rate"),
    ("progressive { lr = plateau(1e-4, patiense = 4 epochs) }", "THX205", "patiense", "`patience`"),
    ("progressive { lr = linear(1e-4, warmup = 9 steps) for = 3 steps }", "THX208",
     "linear(1e-4, warmup = 9 steps)", "longer than the whole budget"),
    # budgets
    ("progressive { for = until(loss < 0.01) }", "THX205", "until(loss < 0.01)", "needs `at_most`"),
    ("progressive { for = until(3, at_most = 3 epochs) }", "THX203", "3", "write `loss < 0.01`"),
    ("progressive { for = until(0.9 < cka, at_most = 3 epochs) }", "THX203", "0.9", "the measure first"),
    ("progressive { for = until(loss > 1, at_most = 3 epochs) }", "THX208", ">", "write `loss < 1`"),
    ("progressive { for = until(cka < 0.9, at_most = 3 epochs) }", "THX208", "<", "write `cka > 0.9`"),
    ("progressive { for = until(cka > 1, at_most = 3 epochs) }", "THX208", "1", "between 0 and 1"),
    ("progressive { for = until(dmnn < 1, at_most = 3 epochs) }", "THX209", "dmnn", "write `loss < 0.01`"),
    ("progressive { for = until(cak > 0.9, at_most = 3 epochs) }", "THX209", "cak", "did you mean `cka`"),
    ("progressive { for = until(cka > 0.9, at_most = 3) }", "THX204", "3", "write `3 epochs`"),
    # gates
    ("progressive { require cka == 0.5 }", "THX203", "cka == 0.5", "compares a measure with a number"),
    ("progressive { require cka > 0.5 else stop }", "THX209", "stop", "`extend`"),
    ("progressive { require cka > 0.5 else extend }", "THX205", "extend", "write `extend(2)`"),
    ("progressive { require cka > 0.5 else extend(0) }", "THX208", "0", "at least 1"),
    ("progressive { require cka > 0.5 else keep guide else extend(2) }", "THX101", "else", ""),
    ("progressive { require cka > 0.5 require cka > 0.6 }", "THX206", "cka > 0.6", "required twice"),
    ("progressive { requir cka > 0.5 }", "THX102", "requir", "did you mean `require`?"),
    ("progressive { stage 1 { require cka < 0.5 } }", "THX208", "<", "write `cka > 0.5`"),
    # how steps are computed
    ("progressive { accumulate = 0 }", "THX208", "0", "at least 1"),
    ("progressive { accumulate = 1.5 }", "THX208", "1.5", "whole number"),
    ("progressive { precision = bf61 }", "THX209", "bf61", "did you mean `bf16`?"),
    ("progressive { checkpointing = yes }", "THX209", "yes", "`true`, `false`"),
    ("progressive { stage 1 { checkpointing = 1 } }", "THX209", "1", "`true`, `false`"),
    # rows, optimizers, starts
    ("progressive { rows = token }", "THX209", "token", "did you mean `tokens`?"),
    ("progressive { rows = tokens(at_most = 1) }", "THX208", "1", "at least 2"),
    ("progressive { rows = samples(3) }", "THX205", "samples(3)", "takes no arguments"),
    ("progressive { optimizer = lamb }", "THX209", "lamb", "`adamw`, `adam`, `sgd`"),
    ("progressive { optimizer = adamw(momentum = 0.9) }", "THX205", "adamw(momentum = 0.9)", "no arguments"),
    ("progressive { optimizer = sgd(momentum = 1) }", "THX208", "1", "below 1"),
    ("progressive { init = copi }", "THX209", "copi", "did you mean `copy`?"),
    ("progressive { init = copy(3) }", "THX205", "copy(3)", "takes no arguments"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "blamed", "said"), ONE)
def test_one_mistake_is_one_diagnostic(text: str, code: str, blamed: str, said: str) -> None:
    found = rejected(f"{HEAD}schedule {text}\n")
    assert in_bounds(found)
    assert [d.code for d in found] == [code], [d.message for d in found]
    assert found[0].primary is not None
    assert found[0].primary.span.text == blamed
    assert said in "; ".join([found[0].message, *found[0].help])


TWO = [
    ("joint { introduce = staged }", "introduce = staged", "joint"),
    ("joint { train = newest }", "train = newest", "joint"),
    ("joint { order = reverse }", "order = reverse", "joint"),
    ("joint { group = 3 }", "group = 3", "joint"),
    ('joint { group by "layer{i}" }', 'group by "layer{i}"', "joint"),
    ('progressive { group = 3 group by "layer{i}" }', "group = 3", 'group by "layer{i}"'),
    ("independent { introduce = upfront }", "introduce = upfront", "independent"),
    ("progressive { introduce = upfront feed = guide }", "introduce = upfront", "feed = guide"),
    ("independent { metric = distill }", "distill", "independent"),
    ("progressive { feed = guide metric = distill }", "distill", "feed = guide"),
    (
        "independent { stage 2 { metric = distill(temperature = 2) } }",
        "distill(temperature = 2)",
        "independent",
    ),
    ("progressive { metric = mse rows = tokens }", "tokens", "mse"),
    ("progressive { metric = mse stage 2 { rows = tokens } }", "tokens", "mse"),
]


@pytest.mark.parametrize(("text", "blamed", "other"), TWO)
def test_what_contradicts_shows_both_places(text: str, blamed: str, other: str) -> None:
    found = rejected(f"{HEAD}schedule {text}\n")
    assert in_bounds(found)
    assert [d.code for d in found] == ["THX220"], [d.message for d in found]
    assert found[0].primary is not None
    assert found[0].primary.span.text == blamed
    assert [label.span.text for label in found[0].secondary] == [other]


@pytest.mark.parametrize(
    "setting", ["introduce = upfront", "train = newest", "feed = guide", "order = reverse", "group = 2"]
)
def test_a_stage_block_does_not_change_the_layout(setting: str) -> None:
    (found,) = rejected(f"{HEAD}schedule progressive {{ stage 2 {{ {setting} }} }}\n")
    assert found.primary is not None
    assert (found.code, found.primary.span.text) == ("THX221", setting.split()[0])
    assert [label.span.text for label in found.secondary] == ["progressive"]


def test_fine_tuning_has_a_fixed_budget() -> None:
    tune = "finetune { lr = 1e-3  for = until(loss < 1, at_most = 3 epochs) }"
    (found,) = rejected(f"{HEAD}schedule progressive {{ }}\n{tune}\n")
    assert (found.code, found.message) == ("THX204", "`for` is a number with its unit, written out")


def test_the_mse_of_logits_names_the_guide() -> None:
    tail = "schedule progressive { }\nfinetune { lr = 1  for = 1 steps  loss = "
    assert [d.code for d in rejected(f"{HEAD}{tail}mse }}")] == ["THX205"]
    assert [d.code for d in rejected(f"{HEAD}{tail}mse(nett) }}")] == ["THX201"]
    assert [d.code for d in rejected(f"{HEAD}{tail}mse(net, 3) }}")] == ["THX205"]
