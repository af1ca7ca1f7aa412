"""Pieces as items and blocks: what begins a line, and what is between braces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from theseus_fx.lang.pieces import END, Comment, Piece
from theseus_fx.lang.word_classes import SETTINGS_FOLLOW, WordClass

_OPENING, _CLOSING = {"LPAR", "LSQB"}, {"RPAR", "RSQB"}


@dataclass(frozen=True, slots=True)
class Block:
    """What stands between braces, or the whole text."""

    items: tuple[Item, ...]
    opening: str = ""
    """The comment behind the `{`."""
    closing: tuple[Comment, ...] = ()
    """The comments below the last item."""


@dataclass(frozen=True, slots=True)
class Item:
    """A sentence, a clause or a setting."""

    parts: tuple[tuple[Piece, ...] | Block, ...]
    """Runs of pieces and blocks; the first is a run."""
    leading: tuple[Comment, ...] = ()
    """The comments above it."""
    blank_before: bool = False
    """Whether a blank line is between it and the comments above it."""
    trailing: str = ""
    """The comment behind it."""

    @property
    def first(self) -> Piece:
        """The piece that it begins with."""
        run = self.parts[0]
        if isinstance(run, Block):
            raise TypeError("an item begins with a piece")
        return run[0]

    @property
    def has_block(self) -> bool:
        """Whether braces are in it."""
        return any(isinstance(part, Block) for part in self.parts)


def items_of(pieces: Sequence[Piece]) -> Block:
    """The whole text as a block."""
    return _Reading(list(pieces)).block(nested=False)


class _Reading:
    """Pieces being read from the front."""

    def __init__(self, pieces: list[Piece]) -> None:
        self.pieces = pieces
        self.at = 0

    @property
    def next(self) -> Piece:
        """The piece that is not read yet."""
        return self.pieces[self.at]

    def block(self, *, nested: bool) -> Block:
        """The items up to a `}` or the end."""
        opening = self.trailing() if nested else ""
        items: list[Item] = []
        while self.next.kind not in ("RBRACE", END):
            items.append(self.item(nested=nested))
        return Block(tuple(items), opening, self.next.comments)

    def item(self, *, nested: bool) -> Item:
        """The next item with the comments above and behind it."""
        first = self.next
        run = [replace(first, comments=())]
        parts: list[tuple[Piece, ...] | Block] = []
        depth = int(first.kind in _OPENING)
        self.at += 1
        while self.next.kind != END and (depth or not self.ends(first, nested=nested)):
            piece = self.next
            self.at += 1
            if piece.kind == "LBRACE" and not depth:
                parts += [tuple(run), self.block(nested=True)]
                run = []
                self.at += 1
                continue
            depth += (piece.kind in _OPENING) - (piece.kind in _CLOSING)
            more = piece.kind == "SETTING" and not depth and self.pieces[self.at - 2] is not first
            run.append(replace(piece, space=2) if more else piece)
        if run:
            parts.append(tuple(run))
        return Item(tuple(parts), first.comments, first.blank_before, self.trailing())

    def ends(self, first: Piece, *, nested: bool) -> bool:
        """Whether an item that began with `first` ends in front of the next piece."""
        piece, last = self.next, self.pieces[self.at - 1]
        if piece.kind == "RBRACE":
            return True
        if piece.kind == "SETTING":
            takes_more = nested and first.text in SETTINGS_FOLLOW and first.kind != "SETTING"
            return not takes_more and (last.ends or last.kind == "RBRACE")
        return piece.word in (WordClass.SENTENCE, WordClass.CLAUSE)

    def trailing(self) -> str:
        """Takes the comment behind the last piece from the next one."""
        piece = self.next
        if not piece.comments or not piece.comments[0].trailing:
            return ""
        comment, *rest = piece.comments
        self.pieces[self.at] = replace(piece, comments=tuple(rest))
        return comment.text
