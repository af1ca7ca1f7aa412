"""Any text gives a spec or diagnostics whose places are in the text; nothing else is ever raised."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lang_texts import SPECS, TINY, in_bounds, rejected

DIGITS = (SPECS / "digits_to_mlp.thx").read_text(encoding="utf-8")
WORDS = [*DIGITS.split(), "\n", "{", "}", "(", ")", "[", "]", '"', "1e999", "#", "..", "|>", "not", "-", "\t"]


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text().map(lambda text: f"theseus 1\n{text}"))
@example("")
@example("\x00")
@example("\x1b[2J\r")
@example("\ufeff")
@example("théseus 1")
@example('use "\x00"')
@example("theseus 1e999")
@example("1" * 5000)
def test_any_characters(text: str) -> None:
    assert in_bounds(rejected(text))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join))
def test_any_words(text: str) -> None:
    assert in_bounds(rejected(text))
    assert in_bounds(rejected(f"theseus 1\n{text}"))


def test_every_deletion_of_one_character() -> None:
    code = [
        i for i in range(len(DIGITS)) if not re.search(r"#[^\n]{2,}$", DIGITS[:i])
    ]  # or a comment's start
    for text in dict.fromkeys(DIGITS[:i] + DIGITS[i + 1 :] for i in code):
        assert in_bounds(rejected(text)), text


def test_substitutions_of_one_character() -> None:
    chance = random.Random(0)
    for _ in range(600):
        i = chance.randrange(len(DIGITS))
        put = chance.choice('aZ_09 .,=(){}[]"#-+*/<>!|\n\t\r\\é\u00a0\x00\U0001f600')
        assert in_bounds(rejected(DIGITS[:i] + put + DIGITS[i + 1 :])), (i, put)


def test_every_beginning() -> None:
    for i in range(TINY.index("stage 2")):  # up to there the schedule is not closed
        found = rejected(TINY[:i])
        assert found, TINY[:i]
        assert in_bounds(found)


@pytest.mark.parametrize("text", ["(" * 5000, "-" * 5000 + "1", "[" * 3000 + "]" * 3000, "a" + ".b" * 5000])
def test_what_is_nested_without_end(text: str) -> None:
    found = rejected(f"theseus 1\nparam x = {text}\n")
    assert found[0].code in ("THX101", "THX104")
    assert in_bounds(found)


def test_a_thousand_mistakes_take_seconds() -> None:
    found = rejected("theseus 1\n" + "rule }\n" * 1000)
    assert len(found) == 1000
