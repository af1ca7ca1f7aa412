"""Places in a text."""

from __future__ import annotations

import hashlib

from theseus_fx.lang.source import Source, Span

TEXT = "one\r\ntwo\n\nfour"
SOURCE = Source("a.thx", TEXT)


def test_positions_are_counted_from_one() -> None:
    assert [SOURCE.position(i) for i in (0, 3, 5, 8, 9, 10, 14)] == [
        (1, 1), (1, 4), (2, 1), (2, 4), (3, 1), (4, 1), (4, 5),
    ]  # fmt: skip


def test_lines_come_without_their_ends() -> None:
    assert [SOURCE.line(n) for n in (1, 2, 3, 4)] == ["one", "two", "", "four"]
    assert Source("empty", "").line(1) == ""


def test_spans_stay_in_the_text() -> None:
    assert SOURCE.span(-3, 2).text == "on"
    assert (SOURCE.span(99, 120).start, SOURCE.span(99, 120).end) == (len(TEXT), len(TEXT))
    assert SOURCE.span(7, 3) == Span(SOURCE, 7, 7)


def test_a_span_says_where_it_is_and_grows() -> None:
    two, four = SOURCE.span(5, 8), SOURCE.span(10, 14)
    assert (two.text, two.position, str(two)) == ("two", (2, 1), "a.thx:2:1")
    assert two.to(four).text == "two\n\nfour"
    assert four.to(two) == two.to(four)


def test_the_digest_is_of_utf_8() -> None:
    assert Source("x", "é").sha256 == hashlib.sha256("é".encode()).hexdigest()
