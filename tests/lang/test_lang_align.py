"""`align` clauses: what a rule says, printing, layout, and every mistake of words and values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from lang_texts import EXPRESSIONS, bare, rejected

from theseus_fx.lang import loader, syntax
from theseus_fx.lang.formatter import formatted
from theseus_fx.lang.parser import parse
from theseus_fx.lang.printer import print_document, print_expression
from theseus_fx.lang.source import Source
from theseus_fx.lang.spec import Spec

SPEC = """\
theseus 1
use "std/patterns.thx"
param w = 0.5
guide net = small_resnet(width = 4)
input x: f32[batch, 3, 32, 32]
module Mine(part, wide) {
  hidden = Conv2d(wide, 1)
  act    = relu(hidden)
  return act |> Conv2d(part.out.channels, 1)
}
rule block {
  match residual as r  in "layer1*"
  replace with Mine(r, wide = 8)
  ALIGN
}
schedule progressive { lr = 1e-3  for = 1 steps }
"""
UNUSED = "param w = 0.5\n"


def loaded(align: str, *, spec: str = SPEC) -> Spec:
    text = spec.replace("ALIGN", align)
    return loader.loads(text if "weight = w" in align else text.replace(UNUSED, ""))


def told(spec: Spec) -> list[tuple[str, str, str | None, float]]:
    return [(a.kind, a.value, a.target, a.weight) for a in spec.rules[0].aligns]


def test_a_rule_without_align_has_none() -> None:
    assert told(loaded("")) == []


def test_everything_that_align_says() -> None:
    spec = loaded("align r.out weight = 2  align r.main ~ hidden weight = w  align r.skip ~ act")
    assert told(spec) == [
        ("output", "out", None, 2.0),
        ("bound", "main", "hidden", 0.5),
        ("bound", "skip", "act", 1.0),
    ]
    assert [a.extra for a in spec.rules[0].aligns] == [False, True, True]
    assert [str(a) for a in spec.rules[0].aligns] == ["out", "main ~ hidden", "skip ~ act"]


def test_one_value_with_two_and_the_output_with_a_named_one() -> None:
    spec = loaded("align r.main ~ hidden  align r.main ~ act  align r.out ~ act  align r.out")
    assert [(a.value, a.target) for a in spec.rules[0].aligns] == [
        ("main", "hidden"), ("main", "act"), ("out", "act"), ("out", None),
    ]  # fmt: skip


def test_equal_names_need_no_mark() -> None:
    spec = SPEC.replace("hidden", "main")
    assert told(loaded("align r.main", spec=spec)) == [("bound", "main", "main", 1.0)]


def test_a_module_rule_names_modules_inside_by_path() -> None:
    spec = SPEC.replace("match residual as r", "match BasicBlock as r")
    assert told(loaded('align r["conv1"] ~ hidden', spec=spec)) == [("module", "conv1", "hidden", 1.0)]


def test_a_chain_of_modules_has_the_values_of_each() -> None:
    spec = SPEC.replace("replace with Mine(r, wide = 8)", "replace with relu |> Mine(r, wide = 8) |> relu")
    assert told(loaded("align r.main ~ hidden", spec=spec)) == [("bound", "main", "hidden", 1.0)]


MISTAKES = [
    ("align r.mian ~ hidden", "THX201", "mian", "the pattern `residual` has no value `mian`", "`main`"),
    ("align r.in ~ hidden", "THX201", "in", "the pattern `residual` has no value `in`", "`main`"),
    ("align q.main ~ hidden", "THX201", "q", "there is no `q` here", "`r`"),
    ("align r.main ~ hiden", "THX201", "hiden", "the replacement has no value `hiden`", "`hidden`"),
    ("align r.main", "THX201", "r.main", "the replacement has no value `main`", "its values: `hidden`"),
    ("align r.main", "THX201", "r.main", "the replacement has no value `main`", "`align r.main ~ NAME`"),
    ("align r.main ~ part", "THX201", "part", "the replacement has no value `part`", "`act`"),
    ("align r ~ hidden", "THX203", "r", "`align` takes a value of the part", "`align r.out`"),
    ("align r.main.left ~ hidden", "THX203", "r.main.left", "`align` takes a value", "`align r.out`"),
    ('align r["main"] ~ hidden', "THX203", '"main"', "go by their names", "`align r.main`"),
    ("align r.out weight = 0", "THX208", "0", "`weight` is above zero, not 0", ""),
    ("align r.out weight = -1", "THX208", "-1", "`weight` is above zero, not -1", ""),
    ('align r.out weight = "x"', "THX203", '"x"', "`weight`", ""),
    ("align r.out wieght = 1", "THX202", "wieght", "`align` has no setting `wieght`", "`weight`"),
    ("align r.out weight = 1 weight = 2", "THX206", "weight", "`weight` is set twice", ""),
    ("align r.out  align r.out weight = 2", "THX206", "align r.out weight = 2", "`out` is aligned twice", ""),
    ("align r.skip ~ act  align r.skip ~ act", "THX206", "align r.skip ~ act", "aligned twice", ""),
]


@pytest.mark.parametrize(("align", "code", "place", "message", "fix"), MISTAKES)
def test_each_mistake(align: str, code: str, place: str, message: str, fix: str) -> None:
    (found,) = rejected(SPEC.replace("ALIGN", align).replace(UNUSED, ""))
    assert found.primary is not None
    assert (found.code, found.primary.span.text) == (code, place)
    assert message in found.message
    assert fix in " ".join(found.help)
    assert found.render()


REPLACEMENTS = [
    ("Conv2d(8, 1)", "THX201", "let it call a module with values"),
    ("Mine(r, wide = 8) |> Mine(r, wide = 8)", "THX206", "call one module that has it"),
]


@pytest.mark.parametrize(("replacement", "code", "fix"), REPLACEMENTS)
def test_replacements_without_the_value_or_with_two(replacement: str, code: str, fix: str) -> None:
    text = SPEC.replace("Mine(r, wide = 8)", replacement, 1).replace("ALIGN", "align r.main ~ hidden")
    (found,) = rejected(text.replace(UNUSED, ""))
    assert (found.code, [fix in help_ for help_ in found.help]) == (code, [True])


PATTERNS = [
    ("residual", "align r.out", "THX201", "`match residual as r`"),
    ("BasicBlock as r", "align r.main ~ hidden", "THX201", '`align r["main"]`'),
    ("BasicBlock as r", "align r[1] ~ hidden", "THX203", '`align r["attention.output"]`'),
    ("(Conv2d |> BatchNorm2d) as r", "align r.main ~ hidden", "THX201", "its values: `out`"),
]


@pytest.mark.parametrize(("pattern", "align", "code", "fix"), PATTERNS)
def test_patterns_without_the_value(pattern: str, align: str, code: str, fix: str) -> None:
    text = SPEC.replace("residual as r", pattern).replace("Mine(r, wide = 8)", "Own(wide = 8)")
    own = "module Own(wide) { hidden = Conv2d(wide, 1) return hidden }"
    text = text.replace("rule block", f"{own}\nrule block")
    (found,) = rejected(text.replace("ALIGN", align).replace(UNUSED, ""))
    assert found.code == code
    assert fix in " ".join(found.help)


@pytest.mark.parametrize("stage", ["", "stage 1 { metric = distill(temperature = 2) }"])
def test_distilled_outputs_leave_nothing_to_align(stage: str) -> None:
    text = SPEC.replace("ALIGN", "align r.main ~ hidden").replace(UNUSED, "")
    (found,) = rejected(text.replace("for = 1 steps", f"for = 1 steps  metric = distill {stage}"))
    assert found.primary is not None
    assert (found.code, found.primary.span.text) == ("THX220", "align r.main ~ hidden")
    assert found.secondary[0].span.text == "distill"


def test_one_stage_with_another_metric_is_enough() -> None:
    text = SPEC.replace("ALIGN", "align r.main ~ hidden").replace(UNUSED, "")
    stages = "for = 1 steps  metric = distill  stage 2 { metric = cka }"
    assert rejected(text.replace("for = 1 steps", stages)) == ()


def test_a_misspelt_keyword() -> None:
    document, problems = parse(Source("x", "rule r { match A as a  alignn a.out }"))
    assert [problem.code for problem in problems] == ["THX102"]
    assert problems[0].help == ("did you mean `align`?",)
    (rule,) = document.statements
    assert isinstance(rule, syntax.Rule)
    assert len(rule.aligns) == 1


def test_a_mark_without_a_name() -> None:
    _, problems = parse(Source("x", "rule r { match A as a  align a.b ~ }"))
    assert [problem.code for problem in problems] == ["THX101"]


@settings(max_examples=100, deadline=None)
@given(EXPRESSIONS)
def test_clauses_survive_printing_and_layout(expression: syntax.Expression) -> None:
    shown = print_expression(expression)
    text = f"""\
rule r {{
  match A as a
  replace with B
  align a.out weight = {shown}
  align a["x.y"] ~ b
  align ({shown}) ~ c  weight = 1  weight = {shown}
  keep "z"
  align a.b
}}
"""
    document, problems = parse(Source("x", text))
    assert not problems
    for again in (print_document(document), formatted(Source("x", text))):
        read, problems = parse(Source("x", again))
        assert not problems, again
        assert bare(read.statements) == bare(document.statements), again


def test_the_layout() -> None:
    text = """\
rule block {
  match   residual as r in "layer*" where r.in.channels<=128   expect 4
  replace with TokenMLP(r, hidden=4*r.out.channels)
  align r.out                          # the tap anyway
  align   r.main~hidden weight=0.5 align r["attention.output"]~mixed
}
"""
    laid = """\
rule block {
  match residual as r in "layer*"  where r.in.channels <= 128  expect 4
  replace with TokenMLP(r, hidden = 4 * r.out.channels)
  align r.out                           # the tap anyway
  align r.main ~ hidden  weight = 0.5
  align r["attention.output"] ~ mixed
}
"""
    assert formatted(Source("x", text)) == laid
