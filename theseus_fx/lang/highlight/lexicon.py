"""The table of word classes: how each looks, and what Pygments and TextMate call it.

At each place of a text the first entry that matches there wins. Patterns stay within what Python's `re` and
Oniguruma read alike, and within one line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from theseus_fx.lang.word_classes import WORD_CLASSES, WordClass
from theseus_fx.lang.words import CONSTANTS, DTYPES, UNITS


@dataclass(frozen=True, slots=True)
class Entry:
    """One class of words or marks."""

    name: str
    pattern: str
    """A regular expression without named groups or flags."""
    token: str
    """The Pygments token type."""
    scope: str
    """The TextMate scope, without the language behind it."""


def _any_of(words: Iterable[str]) -> str:
    return rf"\b(?:{'|'.join(words)})\b"


def _keywords(*classes: WordClass) -> str:
    return _any_of(word for word, kind in WORD_CLASSES.items() if kind in classes)


LEXICON = (
    Entry("comment", r"#[^\n]*", "Comment.Single", "comment.line.number-sign"),
    Entry("string", r'"(?:\\.|[^"\\\n])*"', "String.Double", "string.quoted.double"),
    Entry("unclosed", r'"[^"\n]*', "Error", "invalid.illegal"),
    Entry("setting", r"[A-Za-z_]\w*\b(?=\s*=(?!=))", "Name.Attribute", "variable.parameter"),
    Entry("attribute", r"\.[A-Za-z_]\w*", "Name.Property", "variable.other.member"),
    Entry("sentence", _keywords(WordClass.SENTENCE), "Keyword.Declaration", "keyword.control"),
    Entry(
        "clause",
        _keywords(WordClass.CLAUSE, WordClass.QUALIFIER, WordClass.JOINER),
        "Keyword",
        "keyword.other",
    ),
    Entry("operator word", _keywords(WordClass.OPERATOR), "Operator.Word", "keyword.operator.word"),
    Entry("constant", _any_of(CONSTANTS), "Keyword.Constant", "constant.language"),
    Entry("unit", rf"(?<=\d[ \t]){_any_of(UNITS)}", "Keyword.Type", "support.type.unit"),
    Entry("dtype", _any_of(DTYPES), "Keyword.Type", "support.type"),
    Entry("class", r"[A-Z]\w*", "Name.Class", "entity.name.type"),
    Entry("function", r"[A-Za-z_]\w*(?=\()", "Name.Function", "entity.name.function"),
    Entry("name", r"[A-Za-z_]\w*", "Name", "variable.other"),
    Entry("number", r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?!\w)", "Number", "constant.numeric"),
    Entry("operator", r"\|>|==|!=|<=|>=|//|[<>+\-*/%=~]", "Operator", "keyword.operator"),
    Entry("punctuation", r"\.\.|[{}()\[\],:]", "Punctuation", "punctuation"),
)
