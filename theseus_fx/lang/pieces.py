"""A text as the pieces that a formatter lays out: tokens with the comments in front of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lark import Token

from theseus_fx.lang.source import Source
from theseus_fx.lang.tokens import keywords, tokens_of
from theseus_fx.lang.word_classes import WORD_CLASSES, WordClass

END, UNARY = "$END", "UNARY"
"""The kinds of the piece behind the last token, and of a minus that negates."""
_BLANK = " \t\r\f"
_VALUES = {"NAME", "NUMBER", "QUANTITY", "STRING", "ATTRIBUTE", "RPAR", "RSQB"}
_TIGHT = {"ATTRIBUTE", "COMMA", "COLON", "RPAR", "RSQB"}
_CLOSING = {"RPAR", "RSQB"}


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment without the blanks around it."""

    text: str
    trailing: bool = False
    """Whether it stands behind a token on that token's line."""
    blank_before: bool = False
    """Whether a blank line is right above it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One token as it will be written."""

    kind: str
    """The terminal of the grammar, `UNARY` or `END`."""
    text: str
    space: int
    """How many blanks part it from the piece before, on one line."""
    word: WordClass | None = None
    """Of a keyword that is not a value: what it does in its sentence."""
    ends: bool = False
    """Whether a value or a name is complete behind it, so that something new can begin."""
    comments: tuple[Comment, ...] = ()
    """Between the piece before and this one. Only the first can be a trailing one."""
    blank_before: bool = False
    """Whether a blank line is right above it."""


def pieces_of(source: Source) -> list[Piece]:
    """The pieces of a text without mistakes; the last is of kind `END`.

    Optional commas behind a last item are left out. A comment in front of a mark that belongs to what is
    before it (`,`, `=`, `{`, `.name`, the `(` of a call) stands behind that mark.
    """
    tokens, _ = tokens_of(source)
    pieces: list[Piece] = []
    carried: tuple[Comment, ...] = ()
    before = 0
    for i, token in enumerate([*tokens, None]):
        start = len(source.text) if token is None else token.start_pos or 0
        between, blank = _between(source.text[before:start], first=i == 0)
        comments = (*carried, *between)
        last = pieces[-1] if pieces else None
        if token is None:
            return [*pieces, _settled(Piece(END, "", 0, comments=comments, blank_before=blank))]
        before = token.end_pos or 0
        following = tokens[i + 1].type if i + 1 < len(tokens) else END
        if token.type == "COMMA" and following in _CLOSING:
            carried = comments
            continue
        piece = _settled(replace(_piece(token, last), comments=comments, blank_before=blank))
        if _belongs_to(piece, last):
            carried, piece = piece.comments, replace(piece, comments=(), blank_before=False)
        else:
            carried = ()
        pieces.append(piece)
    raise AssertionError("the loop ends at the end of the text")


def comments_of(pieces: Sequence[Piece]) -> list[str]:
    """The texts of all comments, in order."""
    return [comment.text for piece in pieces for comment in piece.comments]


def _piece(token: Token, last: Piece | None) -> Piece:
    kind, text = token.type, str(token)
    value_before = last is not None and last.ends
    if kind == "QUANTITY":
        text = " ".join(text.split())
    if kind == "MINUS" and not value_before:
        kind = UNARY
    word = WORD_CLASSES.get(text) if kind in keywords().values() or kind in ("OR", "AND", "NOT") else None
    if word in (WordClass.SENTENCE, WordClass.CLAUSE) and last is not None and not _can_begin(last):
        word, ends = None, True  # `feed = target`: the keyword is a name here
    else:
        ends = kind in _VALUES
    called = kind in ("LPAR", "LSQB") and value_before
    if last is None or kind in _TIGHT or text == ".." or called or _takes_next(last):
        space = 0
    else:
        space = 2 if word is WordClass.QUALIFIER else 1
    return Piece(kind, text, space, word=word, ends=ends)


def _takes_next(last: Piece) -> bool:
    """Whether what follows a piece stands right behind it."""
    return last.kind in ("LPAR", "LSQB", UNARY) or last.text == ".."


def _can_begin(last: Piece) -> bool:
    """Whether a clause can begin behind a piece."""
    return last.ends or last.kind in ("LBRACE", "RBRACE")


def _belongs_to(piece: Piece, last: Piece | None) -> bool:
    """Whether a piece is a mark that stays with what is before it, whatever the comments between."""
    if piece.kind in _CLOSING or last is None:
        return False
    if piece.kind in ("LPAR", "LSQB"):
        return last.ends
    return piece.kind in ("EQUAL", "LBRACE", *_TIGHT) or piece.text == ".."


def _settled(piece: Piece) -> Piece:
    """The piece with no trailing comment behind another comment."""
    kept = (c if i == 0 else replace(c, trailing=False) for i, c in enumerate(piece.comments))
    return replace(piece, comments=tuple(kept))


def _between(text: str, *, first: bool) -> tuple[list[Comment], bool]:
    """The comments between two tokens, and whether a blank line is above the second."""
    comments: list[Comment] = []
    blank = False
    lines = text.split("\n")
    for i, line in enumerate(lines):
        written = line.strip(_BLANK)
        if written:
            comments.append(Comment(written, trailing=i == 0 and not first, blank_before=blank))
            blank = False
        elif 0 < i < len(lines) - 1 or (first and i < len(lines) - 1):
            blank = True
    return comments, blank
