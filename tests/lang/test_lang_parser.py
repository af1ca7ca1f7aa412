"""Trees, their places, and reading on after mistakes."""

from __future__ import annotations

import logging
from dataclasses import fields, is_dataclass

import pytest
from lang_texts import SPECS, TINY, in_bounds
from lark import Lark, logger

from theseus_fx.lang import syntax
from theseus_fx.lang.diagnostics import Diagnostic
from theseus_fx.lang.parser import SENTENCES, parse, parse_value
from theseus_fx.lang.shipped import grammar_text
from theseus_fx.lang.source import Source, Span
from theseus_fx.lang.tokens import KeepAll, keywords


def tree(text: str) -> syntax.Expression:
    expression, problems = parse_value(Source("x", text))
    assert expression is not None, problems
    return expression


def statement(text: str) -> syntax.Statement:
    document, problems = parse(Source("x", text))
    assert not problems
    (only,) = document.statements
    return only


def said(text: str) -> list[tuple[str, str, str]]:
    """Code, blamed text and help of each mistake."""
    _, problems = parse(Source("x", text))
    assert in_bounds(problems)
    return [(d.code, blamed(d), "; ".join(d.help)) for d in problems]


def blamed(diagnostic: Diagnostic) -> str:
    assert diagnostic.primary is not None
    return diagnostic.primary.span.text


def shape(node: syntax.Expression) -> str:
    """An expression with every operation in brackets."""
    match node:
        case syntax.Binary(operator=operator, left=left, right=right):
            return f"({shape(left)} {operator} {shape(right)})"
        case syntax.Unary(operator=operator, operand=operand):
            return f"({operator} {shape(operand)})"
        case syntax.Chain(steps=steps):
            return f"({' |> '.join(map(shape, steps))})"
        case _:
            return node.span.text


# --- the grammar itself ---


def test_the_grammar_has_no_conflicts_of_any_kind() -> None:
    """Lark's strict mode rejects shift/reduce conflicts and terminals that match the same text."""
    pytest.importorskip("interegular")
    Lark(
        grammar_text(), parser="lalr", lexer="basic", start=["start", "value"], postlex=KeepAll(), strict=True
    )


def test_the_grammar_has_no_shift_reduce_conflicts(caplog: pytest.LogCaptureFixture) -> None:
    logger.addHandler(caplog.handler)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        Lark(
            grammar_text(),
            parser="lalr",
            lexer="basic",
            start=["start", "value"],
            postlex=KeepAll(),
            debug=True,
        )
    finally:
        logger.setLevel(before)
        logger.removeHandler(caplog.handler)
    assert not [r for r in caplog.records if "conflict" in r.getMessage().lower()]


def test_every_sentence_is_a_keyword() -> None:
    assert set(SENTENCES) <= set(keywords())
    assert {"theseus", "match", "with", "by", "stage"} <= set(keywords())


# --- expressions ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a or b and c", "(a or (b and c))"),
        ("not a and b", "((not a) and b)"),
        ("not a == b", "(not (a == b))"),
        ("a + b * c - d", "((a + (b * c)) - d)"),
        ("a // b % c", "((a // b) % c)"),
        ("-a * b", "((- a) * b)"),
        ("a < b + 1", "(a < (b + 1))"),
        ("a |> b or c |> d", "(a |> (b or c) |> d)"),
        ("a * (b + c)", "(a * (b + c))"),
    ],
)
def test_what_binds_tighter(text: str, expected: str) -> None:
    assert shape(tree(text)) == expected


def test_atoms() -> None:
    fraction = tree("1.5e-3")
    assert isinstance(fraction, syntax.Number)
    assert fraction.value == 0.0015
    number, quantity, text = tree("20"), tree("5 epochs"), tree('"a\\"b"')
    assert isinstance(number, syntax.Number)
    assert type(number.value) is int
    assert isinstance(quantity, syntax.Quantity)
    assert (quantity.value, quantity.unit, quantity.unit_span.text) == (5, "epochs", "epochs")
    assert isinstance(text, syntax.Text)
    assert text.value == 'a"b'


def test_calls_attributes_and_indices() -> None:
    call = tree("a.b[0](x, y = 1,)")
    assert isinstance(call, syntax.Call)
    assert [(a.name, a.value.span.text, a.span.text) for a in call.arguments] == [
        (None, "x", "x"), ("y", "1", "y = 1"),
    ]  # fmt: skip
    assert call.arguments[1].name_span is not None
    assert call.arguments[1].name_span.text == "y"
    index = call.function
    assert isinstance(index, syntax.Index)
    assert isinstance(index.value, syntax.Attribute)
    assert (index.value.name, index.value.name_span.text, index.span.text) == ("b", "b", "a.b[0]")
    empty = tree("[]")
    assert isinstance(empty, syntax.ListOf)
    assert empty.items == ()


def test_an_attribute_may_be_a_keyword_and_so_may_a_setting() -> None:
    assert isinstance(tree("c.in.features"), syntax.Attribute)
    assert isinstance(tree("f(in = 3, match = 4)"), syntax.Call)
    node = statement("finetune { for = 3 steps stage = 4 }")
    assert isinstance(node, syntax.Finetune)
    assert [s.name.text for s in node.block.settings] == ["for", "stage"]


# --- sentences ---


def test_a_rule_with_clauses_in_any_order() -> None:
    node = statement(
        'rule r { keep "a", "b" expect 3 where x > 1 in "l*" replace with relu '
        'keep "c" match Conv2d(k = 3) as c }'
    )
    assert isinstance(node, syntax.Rule)
    assert node.name.text == "r"
    assert [g.pattern for g in node.keep] == ["a", "b", "c"]
    assert [g.span.text for g in node.within] == ['"l*"']
    assert [n.value for n in node.expect] == [3]
    assert [c.span.text for c in node.where] == ["x > 1"]
    assert [r.span.text for r in node.replacements] == ["relu"]
    (pattern,) = node.matches
    assert pattern.binding is not None
    assert (pattern.value.span.text, pattern.binding.text, pattern.span.text) == (
        "Conv2d(k = 3)", "c", "match Conv2d(k = 3) as c",
    )  # fmt: skip


def test_stages_and_units_on_one_line() -> None:
    node = statement(
        "schedule progressive { for = 5 epochs lr = 1 stage 1 { for = 3 } stage 2..4 { lr = 2e-5 } }"
    )
    assert isinstance(node, syntax.Schedule)
    assert [s.name.text for s in node.settings] == ["for", "lr"]
    first, rest = node.stages
    assert (first.first.value, first.last, first.block.settings[0].value.span.text) == (1, None, "3")
    assert rest.last is not None
    assert (rest.first.value, rest.last.value) == (2, 4)
    assert rest.span.text == "stage 2..4 { lr = 2e-5 }"


def test_the_comment_right_above_a_module_is_its_doc() -> None:
    text = "# far\n\n# one\n#two\nmodule M(a, b) = relu  # no\nmodule N() = relu"
    document, problems = parse(Source("x", text))
    assert not problems
    m, n = document.statements
    assert isinstance(m, syntax.ModuleDefinition)
    assert isinstance(n, syntax.ModuleDefinition)
    assert (m.doc, [p.name.text for p in m.parameters], n.doc, n.parameters) == (
        "one\ntwo",
        ["a", "b"],
        "",
        (),
    )


def test_a_comment_above_a_line_that_something_else_begins_is_no_doc() -> None:
    document, problems = parse(Source("x", "finetune {\n# of the block\n} module M() = relu"))
    assert not problems
    module = document.statements[1]
    assert isinstance(module, syntax.ModuleDefinition)
    assert module.doc == ""


def test_every_node_of_a_spec_lies_in_its_parent() -> None:
    document, problems = parse(Source("x", TINY))
    assert not problems
    assert document.version is not None
    assert document.version.span.text == "theseus 1"
    for node in document.statements:
        assert node.span.text == node.span.text.strip()
        inside(node, node.span)


def inside(node: object, around: Span) -> None:
    if isinstance(node, tuple):
        for item in node:
            inside(item, around)
    elif is_dataclass(node) and not isinstance(node, Source | Span):
        span = getattr(node, "span", around)
        assert around.start <= span.start < span.end <= around.end, node
        for part in fields(node):
            inside(getattr(node, part.name), span)


@pytest.mark.parametrize("end", ["\n", "\r\n", " "])
def test_line_ends_mean_nothing(end: str) -> None:
    text = "theseus 1\nrule r {\nmatch Conv2d as c expect 9\nreplace with relu\n}\ndata = digits\n"
    document, problems = parse(Source("x", text.replace("\n", end)))
    assert not problems
    assert len(document.statements) == 2


def test_shipped_files_have_no_mistakes() -> None:
    for path in SPECS.rglob("*.thx"):
        assert parse(Source(path.name, path.read_text(encoding="utf-8")))[1] == ()


# --- mistakes ---


@pytest.mark.parametrize(
    ("text", "code", "blames", "helps"),
    [
        ("shedule progressive { }", "THX102", "shedule", "did you mean `schedule`?"),
        ("guide g = f() traind by { }", "THX102", "traind", "did you mean `trained`?"),
        ("guide g = f() trained bye { }", "THX102", "bye", "did you mean `by`?"),
        ("rule r { match A as c repalce with relu }", "THX102", "repalce", "did you mean `replace`?"),
        ("rule r { match A expect 9 kepp 'a' }", "THX102", "kepp", "did you mean `keep`?"),
        ("rule r { match A as c replace wiht relu }", "THX102", "wiht", "did you mean `with`?"),
        ("schedule s { stagge 2 { } }", "THX102", "stagge", "did you mean `stage`?"),
        ("rule r { match A", "THX104", "{", "close it before the next sentence"),
        ("data = f(1, 2", "THX104", "(", "close it before the next sentence"),
        ("data = [1, 2\nrule r { }", "THX104", "[", "close it before the next sentence"),
        ("guide g = f(width = 8\ndata = digits", "THX104", "(", "close it before the next sentence"),
        ('use "std', "THX104", '"std', 'close it with `"`'),
        ("data = 3 @@@ 4", "THX101", "@@@", ""),
        ("data = \u00a0 4", "THX101", "\u00a0", ""),
        ("finetune { }}", "THX101", "}", "what can stand here:"),
        ("finetune", "THX101", "", "what can stand here: `{`"),
        ("data =", "THX101", "", "`(`"),
        ("rule 5 { }", "THX101", "5", "what can stand here: a name"),
        ("input x f32[batch]", "THX101", "f32", "what can stand here: `:`"),
        ("data = 1e999", "THX208", "1e999", ""),
        ("finetune { for = 99999999999999999999 steps }", "THX208", "99999999999999999999", ""),
    ],
)  # fmt: skip
def test_one_mistake(text: str, code: str, blames: str, helps: str) -> None:
    first = said(text)[0]
    assert first[:2] == (code, blames)
    assert helps in first[2]


def test_a_run_of_stray_characters_is_one_mistake_and_the_rest_is_read() -> None:
    assert [d[:2] for d in said("data = @@@@ digits\ntask = $$ t ?\n")] == [
        ("THX101", "@@@@"), ("THX101", "$$"), ("THX101", "?"),
    ]  # fmt: skip


def test_reading_goes_on_after_a_misspelt_keyword() -> None:
    document, problems = parse(Source("x", "theseus 1\nrul r { mach A replace with relu }\ndata = d\n"))
    assert [blamed(d) for d in problems] == ["rul", "mach"]
    rule, data = document.statements
    assert isinstance(rule, syntax.Rule)
    assert isinstance(data, syntax.Setting)


def test_reading_starts_again_at_the_next_sentence() -> None:
    text = "rule r { match }\nfinetune { lr == 3 }\ndata = digits\ncompare ,\nparam x = \nuse 5\n"
    assert [d[:2] for d in said(text)] == [
        ("THX101", "}"), ("THX101", "lr"), ("THX101", ","), ("THX101", "use"), ("THX101", "5"),
    ]  # fmt: skip


def test_the_sentence_that_ends_an_open_block_is_itself_read() -> None:
    assert [d[:2] for d in said("rule r {\n  match A\nfinetune {\n  lr = \n}\n")] == [
        ("THX104", "{"), ("THX101", "}"),
    ]  # fmt: skip


def test_mistakes_come_in_the_order_of_the_text() -> None:
    _, problems = parse(Source("x", 'data = "a\nrule { }\nshedule s { }\ntask = ?\n'))
    starts = [d.primary.span.start for d in problems if d.primary]
    assert len(starts) == 4
    assert starts == sorted(starts)


@pytest.mark.parametrize("text", ["", "  ", "1 2", "1 +", "(1", "data = 3", "rule", "1 $ 2"])
def test_what_is_no_value(text: str) -> None:
    expression, problems = parse_value(Source("x", text))
    assert expression is None
    assert problems
    assert in_bounds(problems)


def test_a_hundred_levels_are_enough() -> None:
    assert parse_value(Source("x", "1" + " + 1" * 90))[0] is not None
    _, problems = parse_value(Source("x", "1" + " + 1" * 110))
    assert [d.code for d in problems] == ["THX101"]


def test_two_letters_that_changed_places_are_understood() -> None:
    assert said("rule r { match A sa c replace with relu }\n") == [("THX102", "sa", "did you mean `as`?")]


def test_a_unit_where_none_belongs_is_blamed_alone() -> None:
    text = "rule r { match A expect 3 sites replace with relu }\n"
    assert said(text) == [("THX204", "sites", "leave the unit out")]


@pytest.mark.parametrize("wrong", ["]", "}"])
def test_a_bracket_closed_by_another_one_is_blamed_on_the_open_one(wrong: str) -> None:
    assert said(f"data = digits(canvas = 8 {wrong}\n") == [("THX104", "(", "close it with `)`")]
