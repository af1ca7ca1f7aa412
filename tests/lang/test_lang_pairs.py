"""Target networks and pairs: sentences, trees, printing, and every mistake of words and values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lang_texts import EXPRESSIONS, bare, in_bounds, rejected

from theseus_fx.lang import loader, syntax
from theseus_fx.lang.parser import parse
from theseus_fx.lang.printer import print_document, print_expression
from theseus_fx.lang.source import Source
from theseus_fx.lang.spec import At, By, Each, Every, Split

SPEC = """\
theseus 1
param n = 3
guide big = torchvision.resnet50(weights = none)
target small = torchvision.resnet18(weights = none)
input x: f32[batch, 3, 64, 64]
pair block {
  guide Bottleneck in big within "layer*" keep "layer9" every 2 crossing = cut
  target BasicBlock(stride = 1) in small at ["layer1.0", n]
  expect 8
}
schedule progressive {
  lr = 0.001
  for = 5 epochs
}
"""
SIDE = "guide Bottleneck in big within"
PARAM = "param n = 3\n"
WINDOWS = "every 2 crossing = cut"
ENDS = 'at ["layer1.0", n]'


def changed(old: str, new: str) -> str:
    assert old in SPEC
    return SPEC.replace(old, new, 1)


def test_everything_that_a_pair_says() -> None:
    spec = loader.loads(SPEC)
    assert spec.target is not None
    assert (spec.target.name, spec.target.model.name) == ("small", "torchvision.resnet18")
    assert spec.rules == ()
    (pair,) = spec.pairs
    assert (pair.name, pair.expect) == ("block", 8)
    assert pair.guide.pattern.class_name == "Bottleneck"
    assert [glob.pattern for glob in (*pair.guide.within, *pair.guide.keep)] == ["layer*", "layer9"]
    assert isinstance(pair.guide.windows, Every)
    assert (pair.guide.windows.count, pair.guide.windows.crossing) == (2, "cut")
    assert dict(pair.target.pattern.attributes) == {"stride": 1}
    assert isinstance(pair.target.windows, At)
    assert pair.target.windows.ends == ("layer1.0", 3)


@pytest.mark.parametrize(
    ("windows", "kind"),
    [("", Each), ("every 3", Every), ('by "layer{i}"', By), ('split by "layer{i}"', Split), ("at [1]", At)],
)
def test_every_kind_of_window(windows: str, kind: type) -> None:
    spec = loader.loads(changed(WINDOWS, windows).replace(f" {ENDS}", "").replace(PARAM, ""))
    assert isinstance(spec.pairs[0].guide.windows, kind)
    assert isinstance(spec.pairs[0].target.windows, Each)


def test_a_window_that_crosses_is_an_error_by_default() -> None:
    (pair,) = loader.loads(changed(WINDOWS, "every 2")).pairs
    assert isinstance(pair.guide.windows, Every)
    assert pair.guide.windows.crossing == "error"


def test_target_is_a_word_that_values_may_be() -> None:
    document, problems = parse(Source("x", "param target = 1\nparam a = target + 1\ntarget b = f(target)"))
    assert not problems
    _, a, b = document.statements
    assert isinstance(a, syntax.Param)
    assert isinstance(a.value, syntax.Binary)
    assert isinstance(a.value.left, syntax.Name)
    assert (a.value.left.text, a.value.left.span.text) == ("target", "target")
    assert isinstance(b, syntax.Target)


# --- printing ----------------------------------------------------------------------------------------


def test_golden_text() -> None:
    document, problems = parse(Source("x", SPEC))
    assert not problems
    assert (
        print_document(document)
        == """\
theseus 1

param n = 3

guide big = torchvision.resnet50(weights = none)

target small = torchvision.resnet18(weights = none)

input x: f32[batch, 3, 64, 64]

pair block {
  guide Bottleneck in big within "layer*" keep "layer9" every 2 crossing = cut
  target BasicBlock(stride = 1) in small at ["layer1.0", n]
  expect 8
}

schedule progressive {
  lr = 0.001
  for = 5 epochs
}
"""
    )


@settings(max_examples=100, deadline=None)
@given(
    EXPRESSIONS,
    st.sampled_from(("", "every 2", 'by "{i}"', 'split by "a{i}"')),
    st.sampled_from(("", "in a", 'within "a", "b" keep "c"')),
    st.booleans(),
)
def test_every_sentence_survives(
    expression: syntax.Expression, windows: str, where: str, listed: bool
) -> None:
    shown = print_expression(expression)
    kind = f"at [{shown}, {shown}]" if listed else windows
    text = f"""\
target t = {shown}
pair p {{
  guide ({shown}) {where} {kind} crossing = {shown}
  target ({shown}) {where} crossing = {shown} {kind}
  expect 3
}}
"""
    document, problems = parse(Source("x", text))
    assert not problems, text
    printed = print_document(document)
    again, problems = parse(Source("x", printed))
    assert not problems, printed
    assert bare(again.statements) == bare(document.statements), printed
    assert print_document(again) == printed


# --- mistakes ----------------------------------------------------------------------------------------

ONE = [
    # (what stands in the spec, what takes its place, code, blamed text, a piece of the help)
    ("in big", "in bigg", "THX201", "bigg", "did you mean `big`?"),
    ("in big", "in small", "THX201", "small", "write `in big`"),
    ("in small", "in big", "THX201", "big", "write `in small`"),
    ("target small", "target big", "THX206", "big", ""),
    ("torchvision.resnet18", "torchvison.resnet18", "THX301", "torchvison.resnet18", "did you mean"),
    ("torchvision.resnet18(weights = none)", "3", "THX203", "3", "write `torchvision."),
    (SIDE, f"{SIDE} within", "THX101", "within", "a text in quotes"),
    ("Bottleneck", "nn.Bottleneck", "THX203", "nn.Bottleneck", "write `guide Bottleneck every 2`"),
    ("(stride = 1)", "(1)", "THX205", "1", "attributes to match are named"),
    ('"layer*"', '""', "THX208", '""', "leave it out"),
    ("every 2", "every 0", "THX208", "0", ""),
    ("every 2", "every 2.5", "THX208", "2.5", ""),
    ("every 2", "evry 2", "THX102", "evry", "did you mean `every`?"),
    ("every 2", "every 2 blocks", "THX204", "blocks", "leave the unit out"),
    ("crossing = cut", "crossing = cuts", "THX209", "cuts", "did you mean `cut`?"),
    ("crossing = cut", "crosing = cut", "THX202", "crosing", "did you mean `crossing`?"),
    ("crossing = cut", "crossing = cut crossing = cut", "THX206", "crossing", ""),
    (WINDOWS, 'by "layer{i}" crossing = cut', "THX226", "crossing = cut", ""),
    (WINDOWS, 'by "layer"', "THX208", '"layer"', "layer{i}"),
    (WINDOWS, 'by "layer{i"', "THX208", '"layer{i"', "layer{i}"),
    (WINDOWS, 'split by "layer{i}"', "THX226", ENDS, "leave it out"),
    (ENDS, 'split by "layer{i}"', "THX226", 'split by "layer{i}"', "in the guide"),
    (ENDS, "at []", "THX208", "[]", ""),
    (ENDS, "at [n - 3]", "THX203", "n - 3", "a number from 1"),
    (ENDS, "at [n, 1.5]", "THX203", "1.5", "a number from 1"),
    (ENDS, "at [n, m]", "THX201", "m", "the params: `n`"),
    (ENDS, f"{ENDS} every 2", "THX206", "every 2", ""),
    ("in big", "in big in big", "THX206", "big", ""),
    ("expect 8", "expect 0", "THX208", "0", ""),
    ("expect 8", "expect 8 expect 8", "THX206", "8", ""),
    ("expect 8", "guide Bottleneck", "THX206", "Bottleneck", ""),
    ("expect 8", "", "THX211", "n", ""),
    ("schedule", "rule r { match ReLU  replace with gelu }\nschedule", "THX225", "small", "write two specs"),
    ("target small = torchvision.resnet18(weights = none)", "", "THX207", "block", "write `target small ="),
    ("  guide Bottleneck", "  target BasicBlock\n  target Bottleneck", "THX207", "block", "`guide Bott"),
    (
        "progressive {",
        "progressive { require cka > 0.5 else keep guide",
        "THX220",
        "keep guide",
        "leave it out",
    ),
    ("schedule", "pair block { guide A  target B }\nschedule", "THX206", "block", ""),
    ("schedule", "target other = torchvision.resnet18()\nschedule", "THX206", "target other", ""),
]


@pytest.mark.parametrize(("old", "new", "code", "blamed", "fix"), ONE)
def test_a_mistake_is_named_at_its_place(old: str, new: str, code: str, blamed: str, fix: str) -> None:
    text = changed(old, new)
    if code == "THX211":
        text = text.replace(ENDS, "")
    found = rejected(text)
    assert in_bounds(found)
    matching = [d for d in found if d.code == code and d.primary and d.primary.span.text.startswith(blamed)]
    assert matching, [(d.code, d.message, d.primary and d.primary.span.text) for d in found]
    assert fix in " ".join((matching[0].message, *matching[0].help))


def test_a_target_without_a_pair() -> None:
    before, behind = SPEC.index("pair"), SPEC.index("schedule")
    (found,) = rejected(SPEC[:before].replace(PARAM, "") + SPEC[behind:])
    assert found.code == "THX207"
    assert found.message == "the spec has no `pair`, and the target `small` needs it"


def test_a_pair_without_sides_has_one_mistake_each() -> None:
    before, behind = SPEC.index("  guide"), SPEC.index("}\nschedule")
    found = rejected(SPEC[:before].replace(PARAM, "") + SPEC[behind:])
    assert [d.message for d in found] == ["pair `block` has no `guide`", "pair `block` has no `target`"]


@pytest.mark.parametrize("word", ["target small = f()", "pair p { guide A target B }"])
def test_a_used_file_defines_modules_alone(tmp_path_factory: pytest.TempPathFactory, word: str) -> None:
    folder = tmp_path_factory.mktemp("used")
    (folder / "a.thx").write_text(f"theseus 1\n{word}\n")
    found = rejected(f'theseus 1\nuse "a.thx"\n{SPEC.partition("theseus 1")[2]}', folder=folder)
    assert [d.code for d in found] == ["THX212"]


def test_every_deletion_of_one_character() -> None:
    for i in range(len(SPEC)):
        assert in_bounds(rejected(SPEC[:i] + SPEC[i + 1 :])), i
