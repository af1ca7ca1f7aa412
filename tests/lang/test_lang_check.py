"""Every mistake of words and values: its code, its exact place, its help."""

from __future__ import annotations

import pytest
from lang_texts import TINY, changed, in_bounds, rejected

from theseus_fx.lang import loader
from theseus_fx.lang.spec import Amount, Environment, LossTerm

RULE = "replace with LowRankLinear(c, rank = rank)"
ONE = [
    # (what stands in the tiny spec, what takes its place, code, blamed text, a piece of the help)
    ("theseus 1", "theseus 2", "THX103", "2", "write `theseus 1`"),
    ("theseus 1", "theseus 1.0", "THX103", "1.0", "write `theseus 1`"),
    ("theseus 1\n", "", "THX103", "u", "write `theseus 1` first"),
    # names
    ("(c, rank", "(d, rank", "THX201", "d", "`c`"),
    ("rank = rank", "rank = rnak", "THX201", "rnak", "did you mean `rank`?"),
    ("c.out.channels > 4", "b.out.channels > 4", "THX201", "b", "`c`"),
    ("distill(net", "distill(nett", "THX201", "nett", "did you mean `net`?"),
    ("param rank = 4", "param rank = many", "THX201", "many", 'a text stands in quotes: `"many"`'),
    ("canvas = 8", 'canvas = read("X")', "THX201", "read", "`env`"),
    # settings
    ("metric = cka", "metrik = cka", "THX202", "metrik", "did you mean `metric`?"),
    ("{ init = random }", "{ over = 3 }", "THX202", "over", "its settings: `metric`, `lr`, `for`"),
    ("data = digits", "date = 3\ndata = digits", "THX202", "date", "did you mean `data`?"),
    ("{ over = 2 batches }", "{ over = 2 batches lr = 1 }", "THX202", "lr", "its settings: `over`"),
    ("start { lr", "start { rate", "THX202", "rate", "its settings: `lr`, `align_lr`"),
    ("loss = 0.5", "los = 1 loss = 0.5", "THX202", "los", "did you mean `loss`?"),
    # kinds
    ("batch = 64", "batch = 6.4", "THX203", "6.4", ""),
    ("batch = 64", "batch = many", "THX203", "many", ""),
    ("batch = 64", "batch = true", "THX203", "true", ""),
    ("lr     = 1e-3", 'lr     = "fast"', "THX203", '"fast"', ""),
    ("lr     = 1e-3", "lr     = none + 1", "THX203", "none", ""),
    ("guide net = small_resnet(width = 2)", "guide net = 3", "THX203", "3", "write `torchvision."),
    ("match Conv2d as c", "match nn.Conv2d as c", "THX203", "nn.Conv2d", "write `match Conv2d as c`"),
    (RULE, "replace with 3 + rank", "THX203", "3 + rank", "write steps such as"),
    (RULE, "replace with Linear(rank, bias = f(c))", "THX203", "f(c)", ""),
    (RULE, "replace with Linear(rank, bias = c |> c)", "THX203", "c |> c", ""),
    # units
    ("for    = 3 steps", "for    = 3", "THX204", "3", "write `3 epochs` or `3 steps`"),
    ("for    = 3 steps", "for    = 3 stepps", "THX204", "stepps", "did you mean `steps`?"),
    ("for    = 3 steps", "for    = untill(1)", "THX204", "untill(1)", "write `5 epochs` or `5 steps`"),
    ("for    = 3 steps", "for    = plateau(1)", "THX204", "plateau(1)", "write `5 epochs` or `5 steps`"),
    ("over = 2 batches", "over = 2", "THX204", "2", "write `2 batches`"),
    ("batch = 64", "batch = 64 steps", "THX204", "steps", "leave the unit out"),
    ("lr     = 1e-3", "lr     = 1 epoch", "THX204", "epoch", "leave the unit out"),
    ("c, rank = rank", "rank, rank = 3 steps", "THX204", "steps", "leave the unit out"),
    ("param rank = 4", "param rank = 4 steps", "THX204", "steps", "leave the unit out"),
    # arguments
    ("canvas = 8", "canvass = 8", "THX205", "canvass", "did you mean `canvas`?"),
    ("canvas = 8, batch = 64", "8, 1, 64, none, 1, 3", "THX205", "3", "it is `digits(canvas = 16"),
    ("classification(classes = 10)", "classification", "THX205", "classification", "(classes, metric = "),
    ("choose(1e-3, 3e-3)", "choose()", "THX205", "choose()", "write `choose(3e-4"),
    ("choose(1e-3, 3e-3)", "choose(a = 1e-3)", "THX205", "a", ""),
    ("0.5 * cross_entropy", "0.5 * cross_entropy(1)", "THX205", "cross_entropy(1)", ""),
    ("distill(net, temperature = 2)", "distill", "THX205", "distill", "write `distill(net)`"),
    ("metric = cka", "metric = cka(3)", "THX205", "cka(3)", ""),
    ("{ init = random }", "{ init = random(3) }", "THX205", "random(3)", ""),
    ("warmup = 1 steps", "warmpu = 1 steps", "THX205", "warmpu", "did you mean `warmup`?"),
    (RULE, "replace with LowRankLinear(c, rnk = rank)", "THX205", "rnk", "did you mean `rank`?"),
    (RULE, "replace with LowRankLinear(c, rank, 3)", "THX205", "3", ""),
    ("as c  in", "(3) as c  in", "THX205", "3", "write `Conv2d(kernel_size = 3)`"),
    ("param rank", "module A(p) = LowRankLinear\nparam rank", "THX205", "LowRankLinear", "(part, rank)"),
    ("canvas = 8", "canvas = env(3)", "THX205", "env(3)", 'env("DATA_DIR")'),
    # twice
    ("metric = cka", "metric = cka metric = cka", "THX206", "metric", ""),
    ("data = digits", "data = digits data = digits", "THX206", "data", ""),
    ("canvas = 8", "canvas = 8, canvas = 9", "THX206", "canvas", ""),
    ("rank = rank", "rank = 3, rank = rank", "THX206", "rank", ""),
    ("Conv2d as c", "Conv2d(bias = none, bias = none) as c", "THX206", "bias", ""),
    ("expect 3", "expect 3 expect 4", "THX206", "4", ""),
    ("match Conv2d", "match Linear match Conv2d", "THX206", "match Conv2d as c", ""),
    ("compare naive", "compare naive, naive", "THX206", "naive", ""),
    ("choose(1e-3, 3e-3)", "choose(1e-3, 0.001)", "THX206", "0.001", ""),
    ("stage 2 {", "stage 1..3 { } stage 2 {", "THX206", "stage 2", ""),
    ("stage 2 {", "stage 1..9 { } stage 10 { } stage 2 {", "THX206", "stage 2", ""),
    ("param rank", "param none = 3\nparam rank", "THX206", "none", ""),
    ("param rank", "module LowRankLinear(a) = relu\nparam rank", "THX206", "LowRankLinear", ""),
    ("param rank", "module A(a, a) = relu\nparam rank", "THX206", "a", ""),
    ("param rank", "module A(a) = relu |> A(a)\nparam rank", "THX206", "A", ""),
    ("recalibrate", "recalibrate BatchNorm2d { over = 1 batch }\nrecalibrate", "THX206", "BatchNorm2d", ""),
    ("data = digits", "input x: f32[batch, 3]\ninput x: f32[batch, 3]\ndata = digits", "THX206", "x", ""),
    # missing
    ("{ over = 2 batches }", "{ }", "THX207", "BatchNorm2d", "write `{ over = 200 batches }`"),
    ("data = digits(canvas = 8, batch = 64)", "", "THX207", "net", ""),
    ("task = classification(classes = 10)", "", "THX207", "net", ""),
    ("match Conv2d as c", "", "THX207", "conv", ""),
    ("c.out.channels > 4  expect 3  keep \"fc\"\n  " + RULE, "rank > c.in.channels", "THX207", "conv", ""),
    # ranges
    ("lr     = 1e-3", "lr     = -1e-3", "THX208", "-1e-3", ""),
    ("lr     = 1e-3", "lr     = 0", "THX208", "0", ""),
    ("for    = 3 steps", "for    = 0 steps", "THX208", "0 steps", ""),
    ("for    = 3 steps", "for    = 1.5 epochs", "THX208", "1.5 epochs", ""),
    ("for    = 3 steps", "for    = -3 steps", "THX208", "-3 steps", ""),
    ("batch = 64", "batch = 0", "THX208", "0", ""),
    ("batch = 64", "batch = 64 // 0", "THX208", "0", ""),
    ("digits(canvas = 8, batch = 64)", 'imagefolder("x", validation = 1)', "THX208", "1", ""),
    ("digits(canvas = 8, batch = 64)", 'imagefolder("")', "THX208", '""', ""),
    ("digits(canvas = 8, batch = 64)", 'imagefolder(env(""))', "THX208", '""', ""),
    ("expect 3", "expect 0", "THX208", "0", ""),
    ('in "layer3*"', 'in "a", ""', "THX208", '""', "leave it out"),
    ('keep "fc"', 'keep " "', "THX208", '" "', "leave it out"),
    ("stage 2 {", "stage 0 {", "THX208", "0", ""),
    ("stage 2 {", "stage 3..2 {", "THX208", "stage 3..2", ""),
    ("samples = 256", "samples = 1", "THX208", "1", ""),
    ("samples = 256", "samples = 2.5", "THX208", "2.5", ""),
    ("temperature = 2", "temperature = 0", "THX208", "0", ""),
    ("warmup = 1 steps", "warmup = 9 steps", "THX208", "cosine(choose(none, 1e-3), warmup = 9 steps)", ""),
    ("{ lr = 3e-3  for", "{ lr = choose(1, 2)  for", "THX208", "choose(1, 2)", "`choose` is for `finetune`"),
    ("data = digits", "input x: f32[batch, 0]\ndata = digits", "THX208", "0", ""),
    ("data = digits", "input x: f32[3, batch]\ndata = digits", "THX208", "3, batch", ""),
    # words
    ("schedule progressive", "schedule progresive", "THX209", "progresive", "did you mean `progressive`?"),
    ("metric = cka", "metric = ckaa(k = 3)", "THX209", "ckaa", "did you mean `cka`"),
    ("metric = cka", 'metric = "cka"', "THX209", '"cka"', "did you mean `cka`"),
    ("init   = fit(", "init   = fitt(", "THX209", "fitt", "did you mean `fit`?"),
    ("metric = logits", "metric = logit", "THX209", "logit", "did you mean `logits`?"),
    ("{ init = random }", "{ optimizer = lamb }", "THX209", "lamb", "known here: `adamw`"),
    ("data = digits", "data = digit", "THX209", "digit", "did you mean `digits`?"),
    ("task = class", "task = clas", "THX209", "clasification", "did you mean `classification`?"),
    ("compare naive", "compare naiv", "THX209", "naiv", "did you mean `naive`?"),
    ("0.5 * cross_entropy", "0.5 * cross_entrpy", "THX209", "cross_entrpy", "did you mean `cross_entropy`?"),
    ("lr   = cosine(", "lr   = cosin(", "THX209", "cosin", "did you mean `cosine`?"),
    ("data = digits", "input x: float[batch]\ndata = digits", "THX209", "float", ""),
    # params
    ("param rank", "param unused = 3\nparam rank", "THX211", "unused", "or remove it"),
    # models
    ("small_resnet(", "small_resnett(", "THX301", "small_resnett", "did you mean `small_resnet`?"),
    ("small_resnet(", "torchvison.resnet18(", "THX301", "torchvison.resnet18", "did you mean `torchvision`?"),
    ("small_resnet(", "torchvision(", "THX301", "torchvision", "`torchvision.NAME`"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "code", "blamed", "helped"), ONE)
def test_one_mistake_is_one_diagnostic(old: str, new: str, code: str, blamed: str, helped: str) -> None:
    found = rejected(changed(old, new))
    assert in_bounds(found)
    assert [d.code for d in found] == [code], [d.message for d in found]
    assert found[0].primary is not None
    assert found[0].primary.span.text == blamed
    assert helped in "; ".join(found[0].help)


def test_the_tiny_spec_is_right() -> None:
    spec = loader.loads(TINY)
    assert spec.params == {"rank": 4}
    assert (spec.rules[0].expect, spec.rules[0].pattern.binding) == (3, "c")
    assert spec.schedule.budget == Amount(3, "steps")
    assert spec.schedule.stages[0].span.text == "stage 2"
    assert spec.schedule.start is not None
    assert (spec.schedule.start.kind, spec.schedule.start.samples) == ("fit", 256)
    assert spec.finetune is not None
    assert spec.finetune.lr.candidates == (None, 1e-3)
    assert spec.finetune.lr.warmup == Amount(1, "steps")
    assert spec.finetune.loss == (
        LossTerm(kind="cross_entropy", weight=0.5), LossTerm(kind="distill", weight=0.5, temperature=2.0),
    )  # fmt: skip
    assert spec.data is not None
    assert spec.data.keywords == {"canvas": 8, "channels": 1, "placements": 1, "batch": 64, "augment": None}
    assert spec.recalibrate[0].span.text == "BatchNorm2d"
    assert spec.compare is not None
    assert spec.compare.span.text == "naive, random_start"
    assert [used.name for used in spec.uses] == ["std/low_rank.thx"]


def test_arguments_of_a_library_model() -> None:
    text = changed("small_resnet(width = 2)", 'torchvision.resnet18("a", weights = env("W"), n = [1, none])')
    guide = loader.loads(text).guide
    assert guide is not None
    assert guide.model.positional == ("a",)
    assert guide.model.keywords == {"weights": Environment("W"), "n": (1, None)}
    assert {key: span.text for key, span in guide.model.spans.items()} == {
        "0": '"a"', "weights": 'env("W")', "n": "[1, none]",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "code", "blamed"),
    [
        ("torchvision.resnet18(weights = none, weights = none)", "THX206", "weights"),
        ("torchvision.resnet18(weights = none, 3)", "THX205", "3"),
        ("torchvision.resnet18(weights = IMAGENET)", "THX201", "IMAGENET"),
        ('transformers.GPT2LMHeadModel(load("x"))', "THX201", "load"),
    ],
)
def test_wrong_arguments_of_a_library_model(model: str, code: str, blamed: str) -> None:
    found = rejected(changed("small_resnet(width = 2)", model))
    assert [(d.code, d.primary.span.text) for d in found if d.primary] == [(code, blamed)]


def test_what_is_given_twice_shows_both_places() -> None:
    (found,) = rejected(changed("param rank = 4", "param rank = 4\nparam rank = 5"))
    assert found.primary is not None
    assert found.primary.span.position == (4, 7)
    assert [label.span.position for label in found.secondary] == [(3, 7)]


@pytest.mark.parametrize("word", ["guide", "schedule", "finetune", "compare"])
def test_a_sentence_that_stands_once(word: str) -> None:
    start = TINY.index(f"\n{word}") + 1
    again = (
        TINY[start:]
        if word == "compare"
        else TINY[start : TINY.index("\n}" if word != "guide" else "\ndata", start) + 2]
    )
    if word == "guide":
        again = again[: again.index("\n")]
    found = rejected(f"{TINY}{again}\n")
    assert [d.code for d in found] == ["THX206"]
    assert found[0].message == f"a spec has one `{word}`"


def test_two_rules_of_one_name() -> None:
    rule = "rule conv { match Linear as c replace with Linear(c.out.features) }\n"
    (found,) = rejected(TINY + rule)
    assert (found.code, found.message) == ("THX206", "there are two rules `conv`")


def test_modules_that_define_each_other() -> None:
    found = rejected(TINY + "module A(p) = B(p)\nmodule B(p) = relu |> A(p)\n")
    assert [(d.code, d.message) for d in found] == [
        ("THX206", "`A` is defined by itself"), ("THX206", "`B` is defined by itself"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_an_empty_file_lacks_its_version_and_no_more_is_said(text: str) -> None:
    assert [d.code for d in rejected(text)] == ["THX103"]


def test_a_version_alone_is_no_spec() -> None:
    found = rejected("theseus 1\n")
    assert [d.code for d in found] == ["THX207"] * 3
    assert [d.message for d in found] == [
        f"the spec has no `{word}`" for word in ("guide", "rule", "schedule")
    ]
    assert [d.code for d in rejected("theseus 1\n", guide_required=False)] == ["THX207"] * 2


def test_training_needs_a_rate_and_a_budget() -> None:
    found = rejected(changed("{ lr = 3e-3  for = 3 steps }", "{ }"))
    assert [(d.code, d.message) for d in found] == [
        ("THX207", "`trained by` has no `lr`"), ("THX207", "`trained by` has no `for`"),
    ]  # fmt: skip
    assert {d.primary.span.text for d in found if d.primary} == {"{"}


def test_compare_needs_finetune() -> None:
    start, end = TINY.index("finetune"), TINY.index("compare")
    (found,) = rejected(TINY[:start] + TINY[end:])
    assert found.primary is not None
    assert (found.code, found.primary.span.text) == ("THX207", "naive, random_start")


def test_a_wrong_param_is_blamed_once() -> None:
    text = changed("param rank = 4", "param rank = 1 // 0\nparam more = rank + 1")
    found = rejected(text.replace("canvas = 8", "canvas = more").replace("samples = 256", "samples = rank"))
    assert [d.code for d in found] == ["THX208"]


def test_all_mistakes_come_at_once_and_in_order() -> None:
    text = (
        changed("canvas = 8", "canvass = 8").replace("metric = cka", "metric = ckaa").replace("naive", "naiv")
    )
    found = rejected(text)
    assert [d.code for d in found] == ["THX205", "THX209", "THX209"]
    starts = [d.primary.span.start for d in found if d.primary]
    assert starts == sorted(starts)


# --- values of --set ---


def test_a_param_takes_the_value_of_the_command_line() -> None:
    assert loader.loads(TINY, assignments={"rank": "2 * 3"}).params == {"rank": 6}
    text = changed("param rank = 4", 'param rank = 4\nparam root = "a"').replace(
        "digits(canvas = 8, batch = 64)", "imagefolder(root)"
    )
    assert loader.loads(text, assignments={"root": 'env("X")'}).params["root"] == Environment("X")


@pytest.mark.parametrize(
    ("name", "text", "code", "blamed", "helped"),
    [
        ("rnak", "3", "THX210", "3", "did you mean `rank`?"),
        ("rank", '"many"', "THX203", '"many"', ""),
        ("rank", "2.5", "THX203", "2.5", ""),
        ("rank", "true", "THX203", "true", ""),
        ("rank", "many", "THX201", "many", 'a text stands in quotes: `"many"`'),
        ("rank", "/data/x", "THX203", "/data/x", "--set 'rank=\"text\"'"),
        ("rank", "", "THX203", "", "write a number"),
        ("rank", "3 4", "THX203", "3 4", ""),
        ("rank", "3\nparam x = 5", "THX203", "3\nparam x = 5", ""),
        ("rank", "1 // 0", "THX208", "0", ""),
        ("rank", "3 epochs", "THX204", "epochs", ""),
    ],
)
def test_mistakes_on_the_command_line(name: str, text: str, code: str, blamed: str, helped: str) -> None:
    (found,) = rejected(TINY, assignments={name: text})
    assert found.primary is not None
    span = found.primary.span
    assert (found.code, span.source.name, span.source.text, span.text) == (
        code,
        f"--set {name}",
        text,
        blamed,
    )
    assert helped in "; ".join(found.help)


def test_a_value_of_another_kind_shows_the_default() -> None:
    (found,) = rejected(TINY, assignments={"rank": '"many"'})
    assert found.render() == (
        "error[THX203]: `rank` is a whole number, not a text\n"
        ' --> --set rank:1:1\n  |\n1 | "many"\n  | ^^^^^^\n'
        " ::: <string>:3:14\n  |\n3 | param rank = 4\n  |              - its default"
    )
