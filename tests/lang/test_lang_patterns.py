"""Patterns over operations: what they say, how they are printed, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from lang_texts import rejected

from theseus_fx.lang import loader, syntax
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.operations import Anything, Bound, Constant, Either, Input, Pattern, Step
from theseus_fx.lang.parser import parse
from theseus_fx.lang.printer import print_document
from theseus_fx.lang.source import Source
from theseus_fx.lang.spec import ModulePattern, RegionPattern, Spec

RESIDUAL = """\
# A residual block.
#
# Two lines of it.
pattern residual(x) {
  main = x |> Conv2d(kernel_size = 3) |> BatchNorm2d
  skip = x or (x |> Conv2d(kernel_size = 1))
  return ReLU(main + skip)
}
"""


Said = tuple[str, str, str]
"""Code, place and message of a diagnostic."""


def spec(patterns: str, match: str) -> str:
    rule = f"rule r {{ match {match} replace with identity }}"
    return f"theseus 1\n{patterns}\n{rule}\nschedule progressive {{ lr = 1e-3  for = 1 steps }}\n"


def loaded(patterns: str, match: str) -> Spec:
    return loader.loads(spec(patterns, match), guide_required=False)


def written(patterns: str, match: str = "p as r") -> str:
    pattern = loaded(patterns, match).rules[0].pattern
    assert isinstance(pattern, RegionPattern)
    return shown(pattern.operations.result)


def shown(pattern: Pattern) -> str:
    """A compiled pattern as nested calls."""
    match pattern:
        case Input(name=name):
            return name
        case Anything():
            return "_"
        case Constant(value=value):
            return str(value)
        case Bound(name=name, value=value):
            return f"{name}:{shown(value)}"
        case Either(options=options):
            return f"[{' or '.join(map(shown, options))}]"
        case Step(operands=operands, attributes=attributes):
            inside = [*map(shown, operands), *(f"{k}={v}" for k, v in attributes.items())]
            return f"{pattern}({', '.join(inside)})"


def said(text: str) -> list[tuple[str, str, str]]:
    return [
        (d.code, "" if d.primary is None else d.primary.span.text, d.message)
        for d in rejected(text, guide_required=False)
    ]


def one(patterns: str, match: str = "p as r") -> tuple[str, str, str]:
    (only,) = said(spec(patterns, match))
    return only


def body(text: str) -> str:
    return f"pattern p(x) {{ {text} }}"


def test_a_pattern_is_a_sentence_with_a_doc_and_prints_as_it_stands() -> None:
    document, problems = parse(Source("t", f"theseus 1\n\n{RESIDUAL}"))
    assert problems == ()
    (node,) = document.statements
    assert isinstance(node, syntax.PatternDefinition)
    assert (node.name.text, [p.text for p in node.parameters]) == ("residual", ["x"])
    assert [b.name.text for b in node.bindings] == ["main", "skip"]
    assert node.doc == "A residual block.\n\nTwo lines of it."
    assert print_document(document) == f"theseus 1\n\n{RESIDUAL}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("return x |> Conv2d(kernel_size = 3) |> relu", "relu(Conv2d(x, kernel_size=3))"),
        ("return Conv2d(x)", "Conv2d(x)"),
        ("return add(x, relu(x))", "add(x, relu(x))"),
        ("return x + 2 * tanh(x) - 1", "sub(add(x, mul(2, tanh(x))), 1)"),
        ("return tanh(x / -3 % 2 // 4)", "tanh(floor_divide(remainder(div(x, -3), 2), 4))"),
        ("return relu(x or tanh(x))", "relu([x or tanh(x)])"),
        ("return x |> (ReLU or relu |> tanh)", "tanh([ReLU(x) or relu(x)])"),
        ("return x |> (ReLU or (relu |> tanh))", "[ReLU(x) or tanh(relu(x))]"),
        ("return x |> optional(Dropout) |> relu", "relu([Dropout(x) or x])"),
        ("return x |> optional(Linear |> Dropout) |> relu", "relu([Dropout(Linear(x)) or x])"),
        ("return x |> repeat(tanh, max = 2) |> relu", "relu(tanh([tanh(x) or x]))"),
        ("return x |> repeat(tanh, min = 0, max = 1) |> relu", "relu([tanh(x) or x])"),
        ("return x |> repeat(tanh, min = 2, max = 2)", "tanh(tanh(x))"),
        ("return x |> _ |> relu", "relu(_(x))"),
        ("return add(x, _)", "add(x, _)"),
        ("return any + x", "add(_, x)"),
        ("return x |> matmul(relu(x))", "matmul(x, relu(x))"),
        ("y = x |> relu  return y * y", "mul(y:relu(x), y:relu(x))"),
        ("y = x |> relu  z = tanh(y)  return y - z", "sub(y:relu(x), z:tanh(y:relu(x)))"),
    ],
)  # fmt: skip
def test_what_a_pattern_means(text: str, expected: str) -> None:
    assert written(body(text)) == expected


def test_patterns_in_patterns_have_names_of_their_own() -> None:
    inner = "pattern inner(a, b) { y = a |> relu  return y + b * a }"
    outer = body("y = inner(x, tanh(x))  return x |> inner(y) |> exp")
    first = "inner1/y:relu(x)"
    y = f"y:add({first}, mul(inner1/b:tanh(x), x))"
    assert written(f"{inner}\n{outer}") == f"exp(add(inner2/y:relu(x), mul({y}, x)))"


def test_a_pattern_may_stand_behind_its_use() -> None:
    assert written(body("return later(x)") + "\npattern later(x) { return relu(x) }") == "relu(x)"


def test_a_rule_matches_a_named_pattern_or_a_chain_or_one_class() -> None:
    pattern = loaded(RESIDUAL, "residual as r").rules[0].pattern
    assert isinstance(pattern, RegionPattern)
    assert (pattern.operations.name, pattern.operations.inputs) == ("residual", ("x",))
    assert (pattern.binding, pattern.operations.bindings) == ("r", ("main", "skip"))
    assert (
        written("", "Conv2d |> optional(Dropout) |> ReLU as r") == "ReLU([Dropout(Conv2d(in)) or Conv2d(in)])"
    )
    assert written("", "Conv2d or Linear as r") == "[Conv2d(in) or Linear(in)]"
    assert written("", "relu") == "relu(in)"
    assert isinstance(loaded("", "Conv2d(kernel_size = 3) as c").rules[0].pattern, ModulePattern)


def test_a_chain_in_a_rule_is_printed_without_parentheses() -> None:
    text = print_document(loaded("", "Conv2d |> ReLU as r").document)
    assert "  match Conv2d |> ReLU as r\n" in text


def test_params_of_the_spec_can_be_attributes() -> None:
    found = written("param k = 5\n" + body("return x |> Conv2d(kernel_size = k)"))
    assert found == "Conv2d(x, kernel_size=5)"


def test_patterns_come_from_other_files(tmp_path: Path) -> None:
    (tmp_path / "mine.thx").write_text("theseus 1\n" + RESIDUAL)
    text = spec('use "mine.thx"', "residual as r")
    used = loader.loads(text, folder=tmp_path, guide_required=False)
    assert list(used.patterns) == ["residual"]
    resolved = print_document(used.document)
    assert "pattern residual(x) {" in resolved
    again = loader.loads(resolved, guide_required=False)
    assert print_document(again.document) == resolved


def test_mistakes_in_another_file_are_told_there(tmp_path: Path) -> None:
    (tmp_path / "mine.thx").write_text("theseus 1\npattern p(x) { return ReLU(y) }")
    with pytest.raises(Rejected) as caught:
        loader.loads(spec('use "mine.thx"', "p as r"), folder=tmp_path, guide_required=False)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "THX201"
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.source.name.endswith("mine.thx")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("main = x |> ReLU  return ReLU(maim)", ("THX201", "maim", "there is no value `maim` here")),
        ("y = z  z = relu(x)  return y + z", ("THX201", "z", "there is no value `z` here")),
        ("return relu(x + ReLU)", ("THX203", "ReLU", "`ReLU` is a step and needs a value to work on")),
        ("y = relu(x)  return x |> y", ("THX203", "y", "`y` is a value, not a step")),
        ("return x(x)", ("THX203", "x", "`x` is a value, not a step")),
        ("y = relu(x)  y = tanh(x)  return y", ("THX206", "y", "there are two values `y`")),
        ("x = relu(x)  return x", ("THX206", "x", "there are two values `x`")),
        ("y = relu(x)  return tanh(x)", ("THX211", "y", "nothing uses the value `y`")),
        ("return relu(_)", ("THX211", "x", "nothing uses the value `x`")),
        ("y = relu(x)", ("THX207", "p", "pattern `p` has no `return`")),
        ("return relu(x)  return tanh(x)", ("THX206", "tanh(x)", "a pattern has one `return`")),
        ("return x", ("THX203", "p", "the pattern `p` can end at any value")),
        ("return x |> _", ("THX203", "p", "the pattern `p` can end at any value")),
        ("return x |> optional(relu)",
         ("THX203", "p", "the pattern `p` can end at any value")),
        ("return relu(x) and x", ("THX203", "relu(x) and x", "this is no value of a pattern")),
        ('return relu(x + "x")', ("THX203", '"x"', "this is no value of a pattern")),
        ("return x |> 3", ("THX203", "3", "this is no step of a pattern")),
        ("return x |> nn.ReLU(x)", ("THX203", "nn.ReLU", "a step has a plain name")),
        ("return x + optional(relu)", ("THX203", "optional(relu)", "`optional` is a step, not a value")),
        ("return x |> repeat |> relu", ("THX203", "repeat", "`repeat` takes a step")),
        ("return x |> repeat(tanh)", ("THX205", "repeat(tanh)", "`repeat` needs `max`")),
        ("return x |> repeat(max = 2)", ("THX205", "repeat(max = 2)", "`repeat` takes one step")),
        ("return x |> repeat(tanh, mx = 2)", ("THX205", "mx", "`repeat` has no argument `mx`")),
        ("return x |> repeat(tanh, max = 2, max = 3)", ("THX205", "max", "`max` is given twice")),
        ("return x |> repeat(tanh, max = 65)", ("THX208", "65", "this is a whole number from 1 to 64")),
        ("return x |> repeat(tanh, min = 3, max = 2)",
         ("THX208", "2", "this is a whole number from 3 to 64")),
        ("return x |> optional(tanh, relu) |> relu",
         ("THX205", "optional(tanh, relu)", "`optional` takes one step")),
        ("return Conv2d(x, stride = 1, stride = 2)", ("THX206", "stride", "`stride` is given twice")),
        ("return Conv2d(x, stride = two)", ("THX201", "two", "there is no `two` here")),
        ("return p(x) |> relu", ("THX206", "p", "`p` is defined by itself")),
        ("any = relu(x)  return any", ("THX206", "any", "`any` means something else in patterns")),
        (
            "return x |> repeat(repeat(repeat(tanh, max = 64), max = 64), max = 64)",
            ("THX208", "tanh", "written out, the pattern has more than 2,000 steps"),
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_pattern(text: str, expected: tuple[str, str, str]) -> None:
    assert one(body(text)) == expected


@pytest.mark.parametrize(
    ("patterns", "match", "expected"),
    [
        ("pattern p() { return relu(_) }", "p",
         ("THX207", "p", "a pattern has at least one value that flows in")),
        ("pattern p(x, x) { return x + 1 }", "p", ("THX206", "x", "there are two parameters `x`")),
        ("pattern P(x) { return relu(x) }", "relu", ("THX206", "P", "`P` means something else in patterns")),
        ("pattern any(x) { return relu(x) }", "relu",
         ("THX206", "any", "`any` means something else in patterns")),
        (body("return q(x, x)") + " pattern q(x) { return relu(x) }", "p",
         ("THX205", "q(x, x)", "`q` takes 1 values, not 2")),
        (body("return q(x, dim = 1)") + " pattern q(x) { return relu(x) }", "p",
         ("THX205", "q(x, dim = 1)", "`q` takes values and no attributes")),
        (body("return relu(x)") + " " + body("return tanh(x)"), "p",
         ("THX206", "p", "the pattern `p` is defined twice")),
        ("", "Conv2d |> optional(Dropout(p = two)) |> ReLU", ("THX201", "two", "there is no `two` here")),
        ("", "Conv2d |> optional(Dropout)", None),
        ("", "optional(Dropout)", ("THX203", "optional(Dropout)", "this chain can end at any value")),
        ("", "Conv2d and Linear",
         ("THX203", "Conv2d and Linear", "`match` takes the name of a module class")),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_rule_or_a_definition(patterns: str, match: str, expected: Said | None) -> None:
    assert said(spec(patterns, match)) == ([] if expected is None else [expected])


def test_recursion_through_others_is_refused() -> None:
    text = "pattern p(x) { return q(x) } pattern q(x) { return relu(p(x)) }"
    found = said(spec(text, "p"))
    assert {(code, message) for code, _, message in found} == {
        ("THX206", "`p` is defined by itself"),
        ("THX206", "`q` is defined by itself"),
    }


def test_a_pattern_of_the_library_needs_use_where_a_value_stands_too() -> None:
    (diagnostic,) = rejected(spec(body("return ReLU(x + residual)"), "p"), guide_required=False)
    assert diagnostic.code == "THX201"
    assert diagnostic.help == ('`residual` is in the standard library: write `use "std/patterns.thx"`',)


def test_several_mistakes_come_together() -> None:
    found = said(spec(body("a = relu(b)  c = tanh(d)  return a + c"), "p"))
    assert [(code, place) for code, place, _ in found] == [("THX201", "b"), ("THX201", "d")]
