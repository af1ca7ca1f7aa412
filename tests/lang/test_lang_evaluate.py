"""Values of expressions."""

from __future__ import annotations

from typing import Any

import pytest

from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.evaluate import equal, evaluate
from theseus_fx.lang.parser import parse_value
from theseus_fx.lang.source import Source

NAMES: dict[str, Any] = {
    "rank": 4,
    "c": {"out": {"channels": 8, "shape": ("batch", 8)}, "kernel_size": (3, 3)},
}


def value(text: str) -> object:
    expression, problems = parse_value(Source("x", text))
    assert expression is not None, problems
    return evaluate(expression, NAMES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("2 - 3 - 4", -5),
        ("7 // 2 + 7 % 2 + 1 / 4", 4.25),
        ("-rank", -4),
        ("--2", 2),
        ("1e-3", 1e-3),
        ("5", 5),
        ('"a\\n\\"\\\\\\q"', 'a\n"\\\\q'),
        ("none", None),
        ("[1, 2.5, true]", (1, 2.5, True)),
        ("c.out.channels * 4", 32),
        ("c.out.shape[-1]", 8),
        ("c.kernel_size == 3", True),
        ("c.kernel_size == [3, 3]", True),
        ("c.kernel_size != [3, 1]", True),
        ("1 < 2 and 2 <= 2 and 3 > 2 and 3 >= 3", True),
        ("not 1 == 1", False),
        ("false or 1 == 1", True),
        ("false and nonsense", False),
        ("true or nonsense", True),
    ],
)
def test_values(text: str, expected: object) -> None:
    computed = value(text)
    assert computed == expected
    assert type(computed) is type(expected)


@pytest.mark.parametrize(
    ("text", "code", "blamed"),
    [
        ("rnk", "THX201", "rnk"),
        ("c.otu", "THX201", "otu"),
        ("c.out.chanels", "THX201", "chanels"),
        ('1 + "a"', "THX203", '"a"'),
        ("true + 1", "THX203", "true"),
        ("-none", "THX203", "none"),
        ('"a" < "b"', "THX203", '"a"'),
        ("1 and true", "THX203", "1"),
        ("true and 1", "THX203", "1"),
        ("false or rank", "THX203", "rank"),
        ("not 3", "THX203", "3"),
        ("rank.x", "THX203", "rank.x"),
        ("rank[0]", "THX203", "rank[0]"),
        ("[1][true]", "THX203", "[1][true]"),
        ("[1][1]", "THX208", "[1][1]"),
        ("1 // 0", "THX208", "0"),
        ("1.5 % 0", "THX208", "0"),
        ("1e18 * 1e18", "THX208", "1e18 * 1e18"),
        ("5 epochs + 1", "THX204", "epochs"),
        ("f(1)", "THX203", "f(1)"),
        ("1 + (rank |> rank)", "THX203", "rank |> rank"),
    ],
)
def test_what_has_no_value(text: str, code: str, blamed: str) -> None:
    with pytest.raises(Rejected) as caught:
        value(text)
    (found,) = caught.value.diagnostics
    assert found.primary is not None
    assert (found.code, found.primary.span.text) == (code, blamed)


def test_a_name_goes_before_a_constant_of_the_language() -> None:
    expression, _ = parse_value(Source("x", "none"))
    assert expression is not None
    assert evaluate(expression, {"none": 3}) == 3


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (3, (3, 3), True),
        ((3, 3), 3.0, True),
        (3, (), False),
        (3, (3, 1), False),
        ((1, 2), (1, 2), True),
        ((1, 2), (1, 2, 3), False),
        (True, 1, False),
        ((True,), (1,), False),
        (None, None, True),
        ("1", 1, False),
    ],
)
def test_equality(left: object, right: object, same: bool) -> None:
    assert equal(left, right) is same
    assert equal(right, left) is same
