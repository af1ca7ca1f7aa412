"""Pygments and TextMate see in every spec what the grammar sees."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from lang_texts import SPECS, TINY
from lark.lexer import PatternStr
from pygments.lexer import Lexer
from pygments.token import Error, Token, Whitespace, string_to_tokentype

from theseus_fx.lang.highlight.lexicon import LEXICON
from theseus_fx.lang.highlight.pygments_lexer import ThxLexer
from theseus_fx.lang.source import Source
from theseus_fx.lang.tokens import grammar, keywords, tokens_of
from theseus_fx.lang.word_classes import SETTINGS_FOLLOW, WORD_CLASSES, WordClass
from theseus_fx.lang.words import CONSTANTS, DTYPES

ROOT = SPECS.parent
TEXTMATE = ROOT / "grammar" / "thx.tmLanguage.json"
SHIPPED = sorted(SPECS.rglob("*.thx"))
STRAY = 'data = 3abc "open\nrule \u00a0 $ r { in.b 5 epochs 6..7 a.in = b.in x==y }\n'
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in SHIPPED} | {"tiny": TINY, "stray": STRAY}

Seen = tuple[int, str, str]
"""Where a token begins, its text, and what Pygments calls its class."""


def pygments_sees(text: str) -> list[Seen]:
    """The tokens of the Pygments lexer."""
    found = ((at, token, kind) for at, kind, token in ThxLexer().get_tokens_unprocessed(text))
    return [(at, token, str(kind)) for at, token, kind in found if kind is not Whitespace]


def textmate_sees(text: str) -> Iterator[Seen]:
    """The tokens of an editor: line by line, the leftmost match, of several the first in the list."""
    patterns = json.loads(TEXTMATE.read_text(encoding="utf-8"))["patterns"]
    rules = [(re.compile(pattern["match"]), pattern["name"]) for pattern in patterns]
    tokens = {f"{entry.scope}.thx": str(string_to_tokentype(entry.token)) for entry in LEXICON}
    offset = 0
    for line in text.split("\n"):
        at = 0
        while at < len(line):
            found = [(i, rule.search(line, at)) for i, (rule, _) in enumerate(rules)]
            matches = [(match.start(), i) for i, match in found if match is not None]
            start, best = min(matches, default=(len(line), 0))
            for i in range(at, start):
                if line[i] not in " \t\r\f":
                    yield offset + i, line[i], str(Error)
            if not matches:
                break
            match = rules[best][0].match(line, start)
            assert match is not None
            assert match.group()
            yield offset + start, match.group(), tokens[rules[best][1]]
            at = match.end()
        offset += len(line) + 1


@pytest.mark.parametrize("name", TEXTS)
def test_both_see_the_same(name: str) -> None:
    assert list(textmate_sees(TEXTS[name])) == pygments_sees(TEXTS[name])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_token_of_a_spec_is_known(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    seen = pygments_sees(text)
    assert seen
    assert str(Error) not in {kind for _, _, kind in seen}
    starts = {at: (token, kind) for at, token, kind in seen}
    tokens, _ = tokens_of(Source("x", text))
    for token in tokens:  # a token of the grammar is one of the lexer, but for a number and its unit
        start = token.start_pos or 0
        shown, kind = starts[start]
        if token.type == "QUANTITY":
            unit = start + len(token) - len(token.split()[1])
            assert starts[unit] == (token.split()[1], "Token.Keyword.Type")
            assert kind == "Token.Literal.Number"
        else:
            assert shown == token, token
            assert EXPECTED.get(token.type, kind) == kind, token
            is_keyword = kind.startswith("Token.Keyword") and shown not in (*CONSTANTS, *DTYPES)
            assert is_keyword == (token.type in keywords().values()), token


EXPECTED = {
    "SETTING": "Token.Name.Attribute",
    "ATTRIBUTE": "Token.Name.Property",
    "NUMBER": "Token.Literal.Number",
    "STRING": "Token.Literal.String.Double",
    "COMPARE": "Token.Operator",
    "AND": "Token.Operator.Word",
}


def test_every_word_of_the_grammar_is_in_the_table() -> None:
    operators = {t.name.lower() for t in grammar().terminals if t.name in ("OR", "AND", "NOT")}
    assert set(keywords()) | operators <= set(WORD_CLASSES)
    assert {word for word, kind in WORD_CLASSES.items() if kind is WordClass.OPERATOR} == operators
    assert set(WORD_CLASSES) >= SETTINGS_FOLLOW


def test_every_word_of_the_grammar_is_a_keyword_of_both() -> None:
    words = [*keywords(), "and", "or", "not"]
    text = " ".join(words)
    seen = pygments_sees(text)
    assert [token for _, token, _ in seen] == words
    assert all(kind.startswith(("Token.Keyword", "Token.Operator.Word")) for _, _, kind in seen)
    assert list(textmate_sees(text)) == seen


def test_every_mark_of_the_grammar_is_one_token() -> None:
    marks = [t.pattern.value for t in grammar().terminals if isinstance(t.pattern, PatternStr)]
    marks += ["==", "!=", "<=", ">=", "<", ">", "/", "//"]
    assert {"|>", "..", "{", "="} <= set(marks)
    for mark in marks:
        ((_, token, kind),) = pygments_sees(mark)
        assert token == mark
        assert kind in ("Token.Operator", "Token.Punctuation")
        assert list(textmate_sees(mark)) == [(0, mark, kind)]


def test_classes_of_words() -> None:
    text = 'rule r { match Conv2d(in = 3) as c # x\n lr = f(none, 5 epochs, c.in) or "s" }'
    kinds = [(token, kind.removeprefix("Token.")) for _, token, kind in pygments_sees(text)]
    assert [kind for kind in kinds if kind[1] not in ("Punctuation", "Operator")] == [
        ("rule", "Keyword.Declaration"), ("r", "Name"), ("match", "Keyword"), ("Conv2d", "Name.Class"),
        ("in", "Name.Attribute"), ("3", "Literal.Number"), ("as", "Keyword"), ("c", "Name"),
        ("# x", "Comment.Single"), ("lr", "Name.Attribute"), ("f", "Name.Function"),
        ("none", "Keyword.Constant"), ("5", "Literal.Number"), ("epochs", "Keyword.Type"), ("c", "Name"),
        (".in", "Name.Property"), ("or", "Operator.Word"), ('"s"', "Literal.String.Double"),
    ]  # fmt: skip


def test_the_pygments_token_types_are_standard() -> None:
    for entry in LEXICON:
        assert string_to_tokentype(entry.token) in Token
        assert entry.token == "Error" or str(string_to_tokentype(entry.token)) != str(Token)
    assert len({entry.scope for entry in LEXICON}) == len(LEXICON)


def test_the_textmate_grammar_is_up_to_date() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "theseus_fx.lang.highlight"], capture_output=True, text=True, check=True
    )
    fix = "python -m theseus_fx.lang.highlight > grammar/thx.tmLanguage.json"
    assert made.stdout == TEXTMATE.read_text(encoding="utf-8"), fix


def test_pygments_finds_the_lexer_by_its_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ((name, value),) = project["entry-points"]["pygments.lexers"].items()
    loaded: type[Lexer] = importlib.metadata.EntryPoint(name, value, "pygments.lexers").load()
    assert loaded is ThxLexer
    assert "thx" in loaded.aliases
    assert loaded.filenames == ["*.thx"]
