"""Printing a tree and reading it again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lang_texts import EXPRESSIONS, SPECS, TINY, bare

from theseus_fx.lang import loader, syntax
from theseus_fx.lang.parser import parse, parse_value
from theseus_fx.lang.printer import print_document, print_expression
from theseus_fx.lang.source import Source

SHIPPED = sorted(SPECS.rglob("*.thx"))


@settings(max_examples=400, deadline=None)
@given(EXPRESSIONS)
def test_an_expression_survives(expression: syntax.Expression) -> None:
    text = print_expression(expression)
    again, problems = parse_value(Source("x", text))
    assert not problems, text
    assert bare(again) == bare(expression), text
    assert again is not None
    assert print_expression(again) == text


@settings(max_examples=100, deadline=None)
@given(EXPRESSIONS, st.text(alphabet="ab #\u2028\x85\x0c\r\té", max_size=12))
def test_every_sentence_survives(expression: syntax.Expression, comment: str) -> None:
    shown = print_expression(expression)
    text = f"""\
# {comment}
module M(a) = {shown}
module N(a, b = {shown},) {{ x = {shown} y = {shown} return {shown} }}
module O() {{ return {shown} }}
param p = {shown}
guide g = {shown} trained by {{ a = {shown} b = {shown} }}
input i: f32[{shown}, {shown},]
rule r {{ match ({shown}) as x in "a","b" keep "c" where {shown} expect 3 replace with {shown} }}
schedule s {{ x = {shown} stage 1 {{ y = {shown} z = 1 }} stage 2..3 {{ }} }}
recalibrate B {{ over = {shown} }}
finetune {{ }}
compare a, b
data = {shown}
"""
    document, problems = parse(Source("x", text))
    assert not problems
    printed = print_document(document)
    again, problems = parse(Source("x", printed))
    assert not problems, printed
    assert bare(again.statements) == bare(document.statements), printed
    assert print_document(again) == printed


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_survive(path: Path) -> None:
    document, problems = parse(Source(path.name, path.read_text(encoding="utf-8")))
    assert not problems
    printed = print_document(document)
    again, problems = parse(Source(path.name, printed))
    assert not problems
    assert bare(again.statements) == bare(document.statements)
    assert print_document(again) == printed


def test_golden_text() -> None:
    document, _ = parse(Source("x", TINY))
    assert (
        print_document(document)
        == """\
theseus 1

use "std/low_rank.thx"

param rank = 4

guide net = small_resnet(width = 2) trained by {
  lr = 0.003
  for = 3 steps
}

data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)

rule conv {
  match Conv2d as c
  in "layer3*"
  where c.out.channels > 4
  expect 3
  keep "fc"
  replace with LowRankLinear(c, rank = rank)
}

schedule progressive {
  metric = cka
  init = fit(samples = 256, metric = logits)
  lr = 0.001
  for = 3 steps
  stage 2 { init = random }
}

recalibrate BatchNorm2d { over = 2 batches }

finetune {
  lr = cosine(choose(none, 0.001), warmup = 1 steps)
  loss = 0.5 * cross_entropy + 0.5 * distill(net, temperature = 2)
  for = 4 steps
}

compare naive, random_start { lr = choose(0.001, 0.003) }
"""
    )


def test_the_resolved_document_stands_alone() -> None:
    spec = loader.loads(TINY, assignments={"rank": "2 * 8"})
    printed = print_document(spec.document)
    assert "use " not in printed
    assert "param rank = 2 * 8" in printed
    assert "module LowRankLinear(part, rank) =" in printed
    alone = loader.loads(printed)
    assert alone.params == spec.params == {"rank": 16}
    assert bare(alone.schedule) == bare(spec.schedule)
    assert bare(alone.rules) == bare(spec.rules)
    assert bare(alone.finetune) == bare(spec.finetune)
