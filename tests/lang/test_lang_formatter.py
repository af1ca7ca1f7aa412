"""One layout: the shipped specs are in it, comments stay, nothing changes its meaning."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lang_texts import EXPRESSIONS, SPECS, TINY, bare, in_bounds

from theseus_fx.lang import formatter, syntax, wrapping
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.formatter import MeaningChangedError, formatted
from theseus_fx.lang.parser import parse
from theseus_fx.lang.pieces import comments_of, pieces_of
from theseus_fx.lang.printer import print_expression
from theseus_fx.lang.source import Source
from theseus_fx.lang.tokens import tokens_of

SHIPPED = sorted(SPECS.rglob("*.thx"))


def fmt(text: str) -> str:
    return formatted(Source("x", text))


def checked(text: str) -> str | None:
    """The formatted text after every promise was checked, or None where there are diagnostics."""
    source = Source("x", text)
    document, mistakes = parse(source)
    if mistakes:
        assert in_bounds(mistakes)
        with pytest.raises(Rejected) as caught:
            formatted(source)
        assert caught.value.diagnostics == mistakes
        return None
    result = formatted(source)
    again, problems = parse(Source("x", result))
    assert not problems, result
    assert bare(again.statements) == bare(document.statements), result
    assert bare(again.version) == bare(document.version), result
    assert comments_of(pieces_of(again.source)) == comments_of(pieces_of(source)), result
    assert fmt(result) == result
    assert not result or (result.endswith("\n") and not result.endswith("\n\n"))
    assert "\n\n\n" not in result
    assert not any(line.endswith((" ", "\t", "\r")) for line in result.split("\n"))
    return result


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_specs_are_in_the_layout(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert checked(text) == text


# --- golden texts ---

LAYOUTS = {
    "sentences": (
        'theseus 1 use "a" use "b" param n=1 param long = 2*(3+4) guide net=f() input x : f32 [batch,3 ]'
        " data=digits task=t rule r{match A as c expect 9 keep \"fc\" replace with B(c,)} finetune{}"
        " compare a,b",
        """\
theseus 1

use "a"
use "b"

param n    = 1
param long = 2 * (3 + 4)

guide net = f()
input x: f32[batch, 3]
data = digits
task = t

rule r {
  match A as c  expect 9  keep "fc"
  replace with B(c)
}

finetune { }

compare a, b
""",
    ),
    "signs": (
        "a = -1--b c=- - 2 d=not-x e=f (g)[ 1 ] .h(not y) i=[ - 1,(2) ] j=a<-b and not c|>d",
        """\
a = -1 - -b
c = --2
d = not -x
e = f(g)[1].h(not y)
i = [-1, (2)]
j = a < -b and not c |> d
""",
    ),
    "blocks": (
        "schedule s { lr=1 stage 1 {lr=2e-5 for=5 epochs} stage 2..14 {lr=1e-7 for=5   epochs} "
        "stage 15 {init=random} init=fit(a=1) } recalibrate B {over=1 batches} finetune {lr=1 for=2 steps}",
        """\
schedule s {
  lr = 1

  stage 1      { lr = 2e-5  for = 5 epochs }
  stage 2..14  { lr = 1e-7  for = 5 epochs }
  stage 15     { init = random }

  init = fit(a = 1)
}

recalibrate B { over = 1 batches }

finetune {
  lr  = 1
  for = 2 steps
}
""",
    ),
    "long chains": (
        "module M(part, rank) = flatten(start_dim = 1) |> Linear(rank, bias = false)"
        " |> Linear(part.out.features) |> reshape(part.out.shape) |> relu"
        " param p = aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa |> "
        "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb |> cccccccccccccccccccccccccccccccccccccccccccc",
        """\
module M(part, rank) =
  flatten(start_dim = 1)
    |> Linear(rank, bias = false)
    |> Linear(part.out.features)
    |> reshape(part.out.shape)
    |> relu

param p = aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
  |> bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
  |> cccccccccccccccccccccccccccccccccccccccccccc
""",
    ),
    "other long lines": (
        "rule r { match Conv2d(kernel_size = 3) as c in \"layer1*\", \"layer2*\" where c.out.channels > 4 "
        "and c.in.channels > 16 expect 9 replace with f } "
        f"finetune {{ loss = first({'a' * 40}, {'b' * 40}, c = {'d' * 40}) + 0.9 * distill(net) }}",
        f"""\
rule r {{
  match Conv2d(kernel_size = 3) as c in "layer1*", "layer2*"
    where c.out.channels > 4 and c.in.channels > 16
    expect 9
  replace with f
}}

finetune {{
  loss = first(
    {'a' * 40},
    {'b' * 40},
    c = {'d' * 40}
  )
    + 0.9 * distill(net)
}}
""",
    ),
    "comments": (
        """
# head


# of the version
theseus 1# one
data = f(a # first
  # own
  , # moved
  b, # last
  ) # end
# below

rule r # of the brace
{ match A replace with # mid
B
# closing
} # after

# eof""",
        """\
# head

# of the version
theseus 1                               # one

data = f(
  a,                                    # first
  # own
  # moved
  b                                     # last
)                                       # end
# below

rule r {                                # of the brace
  match A
  replace with                          # mid
    B
  # closing
}                                       # after

# eof
""",
    ),
    "comment columns": (
        "finetune {\n  lr = choose(none, 1e-4, 1e-3, 3e-3, 1e-2)   #   far\n  for = 3 steps # near\n}\n",
        """\
finetune {
  lr  = choose(none, 1e-4, 1e-3, 3e-3, 1e-2)   #   far
  for = 3 steps                                # near
}
""",
    ),
    "wide characters": (
        'a = "日本" # one\nbb = "x" # two',
        'a  = "日本"                             # one\nbb = "x"                                # two\n',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_golden_layout(name: str) -> None:
    text, expected = LAYOUTS[name]
    assert checked(text) == expected


def test_a_line_of_exactly_the_width_stays_whole() -> None:
    whole = f"data = {'a' * 50} |> {'b' * (110 - 7 - 50 - 4)}\n"
    assert len(whole) == 111
    assert checked(whole) == whole
    assert checked(whole.replace("b |", "bb |").replace("a |>", "aa |>")) != whole


def test_rows_that_columns_would_make_too_long_stay_unaligned() -> None:
    wide = f"lr = {'a' * 60}"
    text = f"schedule s {{ stage 1 {{ {wide}  for = {'c' * 22} }} stage 2 {{ lr = 1  for = {'b' * 40} }} }}"
    result = checked(text)
    assert result is not None
    assert f"  stage 2 {{ lr = 1  for = {'b' * 40} }}\n" in result
    assert max(map(len, result.splitlines())) <= 110


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\n\r\n\r\n"])
def test_line_ends_become_one_kind(end: str) -> None:
    assert checked(TINY.replace("\n", end)) == checked(TINY)


def test_numbers_strings_and_parentheses_stay_as_written() -> None:
    text = 'param a = (1e-5) + 0.00001 + "\\"\\q#\r{" + 5.0e+3\n'
    assert checked(text) == text


@pytest.mark.parametrize("text", ["", " \n\n", "\t\r\n", "\f"])
def test_nothing_stays_nothing(text: str) -> None:
    assert checked(text) == ""


@pytest.mark.parametrize("text", ["# only", "# one\n\n\n# two  ", "  # x\n\n"])
def test_comments_alone(text: str) -> None:
    assert checked(text) == re.sub(r"\n{3,}", "\n\n", text.strip()) + "\n"


def test_the_doc_of_a_module_stays_its_doc() -> None:
    text = (
        "data = 1\n# far\n\n# doc\nmodule A() = relu module B() = relu\nfinetune {\n# no\n} module C() = relu"
    )
    result = checked(text)
    assert result is not None
    docs = {
        node.name.text: node.doc for node in parse(Source("x", result))[0].statements if hasattr(node, "doc")
    }
    assert docs == {"A": "doc", "B": "", "C": ""}


def test_mistakes_are_diagnostics() -> None:
    with pytest.raises(Rejected) as caught:
        fmt("rule r { match }\ndata = 3 $\n")
    assert [d.code for d in caught.value.diagnostics] == ["THX101", "THX101"]


def test_a_layout_that_changed_the_meaning_is_our_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("data = 2\n", "data = 1\n# more\n", "data = = 1\n"):
        monkeypatch.setattr(formatter, "written", lambda _lines, wrong=wrong: wrong)
        with pytest.raises(MeaningChangedError, match="would change what it says"):
            fmt("data = 1\n")


# --- properties ---

DIGITS = (SPECS / "digits_to_mlp.thx").read_text(encoding="utf-8")
WORDS = [
    *DIGITS.split(),
    "\n",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "# c\n",
    "..",
    "|>",
    "not",
    "-",
    ",",
    "\n\n",
    "\f",
]
SENTENCES = [node.span.text for spec in (TINY, DIGITS) for node in parse(Source("x", spec))[0].statements]
"""Every kind of sentence; where a comment may stand is a matter of one of them and of those beside it."""
BLANKS = st.sampled_from(["", " ", "\n", "  \n\n\n ", "\t", "\r\n", "\f"])
COMMENTS = st.sampled_from([" # a\n", "\n# b\n", "\n\n#c \n\n", "# d\r\n#\n", "\n  # \u2028é\x85\n"])


@settings(max_examples=300, deadline=None)
@given(st.text() | st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join))
@example("\ufeff")
@example("theseus 1" + " " * 200 + "# far")
@example("data = " + "(" * 90 + "1" + ")" * 90)
@example("data = f" + "(1)" * 90)
def test_any_text_gives_diagnostics_or_the_same_tree(text: str) -> None:
    checked(text)


def scrambled(text: str, put: random.Random, blanks: list[str]) -> str:
    """The tokens of a text with other blanks between them; a setting and its `=` stay on one line."""
    tokens, _ = tokens_of(Source("x", text))
    out = ""
    for before, token in zip([None, *tokens], tokens, strict=False):
        named = before is not None and before.type == "SETTING"
        drawn = put.choice(["", " ", "\t"] if named else blanks)
        word = before is not None and re.match(r"\w", str(token)) and re.search(r"[\w.]$", out)
        out += (drawn or " " if word else drawn) + str(token)
    return out


def bare_text(text: str) -> str:
    """The text without its comments."""
    tokens, _ = tokens_of(Source("x", text))
    return " ".join(tokens)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_blanks_and_line_ends_do_not_matter(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    expected = checked(bare_text(text))
    for seed in range(15):
        other = scrambled(text, random.Random(seed), ["", " ", "\n", " \n\n\n ", "\t", "\r\n", "\f"])
        assert fmt(other) == expected, other
    without = [line.split("   #")[0] for line in text.split("\n") if not line.startswith("#")]
    assert fmt("\n".join(without)) == expected


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_comments_anywhere_stay(data: st.DataObject) -> None:
    drawn = data.draw(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=3, unique=True))
    tokens, _ = tokens_of(Source("x", "\n".join(drawn)))
    at = data.draw(st.sets(st.integers(0, len(tokens)), max_size=6))
    out = ""
    for i, token in enumerate([*tokens, ""]):
        named = i > 0 and tokens[i - 1].type == "SETTING"  # a comment here makes the setting a plain name
        out += data.draw(COMMENTS) if i in at and not named else " "
        out += str(token)
    assert checked(out) is not None, out


@settings(max_examples=40, deadline=None)
@given(EXPRESSIONS, EXPRESSIONS, BLANKS)
def test_any_expression(first: syntax.Expression, second: syntax.Expression, blank: str) -> None:
    one, two = print_expression(first), print_expression(second)
    text = (
        f"module M(a) ={blank} {one}\nguide g = {two} trained by {{ a = {one} bb ={blank} {two} }}\n"
        f"rule r {{ match ({one}) as x where {two} replace with {one} }}{blank}\n"
        f"schedule s {{ x = {one} stage 1 {{ y = {two} z = 1 }} stage 2..3 {{ y = {one} }} }}"
    )
    assert checked(text) is not None


@settings(max_examples=25, deadline=None)
@given(st.data(), EXPRESSIONS)
def test_long_lines_with_comments_anywhere(data: st.DataObject, value: syntax.Expression) -> None:
    shown = print_expression(value)
    sentence = data.draw(st.sampled_from(SENTENCES)).replace("1e-3", shown)
    text = f"{sentence} module M(a, b) = {shown} data = f({shown}, a = {shown},)"
    tokens, _ = tokens_of(Source("x", text))
    at = data.draw(st.sets(st.integers(0, len(tokens)), max_size=8))
    out = ""
    for i, token in enumerate([*tokens, ""]):
        named = i > 0 and tokens[i - 1].type == "SETTING"
        out += (data.draw(COMMENTS) if i in at and not named else " ") + str(token)
    with pytest.MonkeyPatch.context() as patch:  # so narrow that everything breaks
        patch.setattr(wrapping, "WIDTH", data.draw(st.integers(8, 60)))
        assert checked(out) is not None, out
