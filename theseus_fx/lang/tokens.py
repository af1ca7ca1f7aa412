"""From text to tokens: the grammar's tables, and the mistakes that are no matter of sentences."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from lark import Lark, Token
from lark.lark import PostLex

from theseus_fx.lang.diagnostics import Diagnostic, Label, near_names
from theseus_fx.lang.names import shortened
from theseus_fx.lang.shipped import grammar_text
from theseus_fx.lang.source import Source, Span
from theseus_fx.lang.words import LARGEST, UNITS

_MOST_DIGITS = 400
"""Python refuses to read whole numbers of many thousand digits; no float has so many."""


@lru_cache(maxsize=1)
def grammar() -> Lark:
    """The parser tables; made once a process."""
    return Lark(
        grammar_text(),
        parser="lalr",
        lexer="basic",
        start=["start", "value"],
        postlex=KeepAll(),
        propagate_positions=True,
        maybe_placeholders=True,
    )


class KeepAll(PostLex):
    """Keeps the terminals that no rule uses: what they match is a mistake to be pointed at."""

    always_accept = ("UNCLOSED", "STRAY")

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        """The stream itself."""
        return stream


@lru_cache(maxsize=1)
def keywords() -> dict[str, str]:
    """The keywords of sentences and the terminals that they are."""
    return {
        t.name.lower().lstrip("_"): t.name
        for t in grammar().terminals
        if t.name.startswith("_") and not t.name.startswith("__")  # `__`: Lark's own
    }


def place(source: Source, token: Token) -> Span:
    """Where a token stands."""
    return source.span(token.start_pos or 0, token.end_pos or 0)


def replaced(token: Token, kind: str, text: str) -> Token:
    """Another token in the place of one."""
    return Token.new_borrow_pos(kind, text, token)


def tokens_of(source: Source) -> tuple[list[Token], list[Diagnostic]]:
    """The tokens of a text without those that no sentence can hold, which become diagnostics.

    Characters without a meaning are THX101, a text in quotes that does not end THX104, a number that is too
    large THX208.
    """
    kept: list[Token] = []
    problems: list[Diagnostic] = []
    stray: list[Token] = []
    reader = grammar().parse_interactive(source.text, start="start")
    for token in reader.lexer_thread.lex(reader.parser_state):  # `Lark.lex` would build its lexer anew
        if stray and (token.type != "STRAY" or token.start_pos != stray[-1].end_pos):
            problems.append(_stray(source, stray))
            stray = []
        if token.type == "STRAY":
            stray.append(token)
        elif token.type == "UNCLOSED":
            problems.append(_unclosed(source, token))
            kept.append(replaced(token, "STRING", f'{token}"'))
        elif token.type == "QUANTITY":
            kept += [_sized(source, part, problems) for part in _split(token)]
        else:
            kept.append(_sized(source, token, problems))
    if stray:
        problems.append(_stray(source, stray))
    return kept, problems


def _split(token: Token) -> list[Token]:
    """A quantity, or a number and the keyword that the word behind it is or was meant to be."""
    number, word = token.split(maxsplit=1)
    is_keyword = word in keywords() or word in ("or", "and", "not")
    meant = not near_names(word, UNITS) and near_names(word, keywords())
    if not is_keyword and not meant:
        return [token]
    start = token.start_pos or 0
    column, line = token.column or 0, token.line
    second = start + len(token) - len(word)
    kind = keywords().get(word) or (word.upper() if is_keyword else "NAME")
    return [
        Token("NUMBER", number, start, line, column, line, column + len(number), start + len(number)),
        Token(kind, word, second, line, column + second - start, line, token.end_column, token.end_pos),
    ]


def _sized(source: Source, token: Token, problems: list[Diagnostic]) -> Token:
    """The token, with zero for a number that is too large, which is noted."""
    if token.type not in ("NUMBER", "QUANTITY"):
        return token
    written, *unit = token.split(maxsplit=1)
    if len(written) <= _MOST_DIGITS and float(written) <= LARGEST:
        return token
    start = token.start_pos or 0
    problems.append(
        Diagnostic(
            code="THX208",
            message=f"the number {shortened(written)} is too large",
            primary=Label(source.span(start, start + len(written))),
        )
    )
    return replaced(token, token.type, " ".join(["0", *unit]))


def _stray(source: Source, tokens: list[Token]) -> Diagnostic:
    text = "".join(tokens)
    shown = f"`{shortened(text)}`" if text.isprintable() else shortened(ascii(text))
    span = source.span(tokens[0].start_pos or 0, tokens[-1].end_pos or 0)
    return Diagnostic(code="THX101", message=f"{shown} has no meaning in a spec", primary=Label(span))


def _unclosed(source: Source, token: Token) -> Diagnostic:
    return Diagnostic(
        code="THX104",
        message="the text in quotes does not end on its line",
        primary=Label(place(source, token), "begins here"),
        help=('close it with `"`',),
    )
