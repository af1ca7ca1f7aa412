"""`fmt`: a text in the one layout of the language; every comment stays, the meaning does not change.

The layout follows from the tokens and the comments alone, never from how the text was laid out before, but
for blank lines around comments. It knows keywords by their class only (`word_classes.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import groupby

from rich.cells import cell_len

from theseus_fx.lang.columns import INDENT, WIDTH, heads, table, written
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.items import Block, Item, items_of
from theseus_fx.lang.parser import parse
from theseus_fx.lang.pieces import Piece, comments_of, pieces_of
from theseus_fx.lang.source import Source, Span
from theseus_fx.lang.wrapping import Writer, flat, has_comments

_TOGETHER = (("use",), ("param",), ("guide", "target", "input", "="))
"""Sentences of the top level, by their first word, that stand in one paragraph; `=`: a setting."""


class MeaningChangedError(Exception):
    """A bug of the formatter: its result does not say what the text said."""


def formatted(source: Source) -> str:
    """The text in the one layout.

    Raises:
        Rejected: THX1xx or THX208 where the text has mistakes.
        MeaningChangedError: where the result would mean something else.
    """
    document, problems = parse(source)
    if problems:
        raise Rejected(*problems)
    pieces = pieces_of(source)
    layout = _Layout()
    layout.block(items_of(pieces), depth=0)
    text = written(layout.writer.lines)
    again, problems = parse(Source(source.name, text))
    same = not problems and _meaning(again) == _meaning(document)
    if not same or comments_of(pieces_of(again.source)) != comments_of(pieces):
        raise MeaningChangedError(f"formatting {source.name} would change what it says; it was left alone")
    return text


class _Layout:
    """Items and blocks being written."""

    def __init__(self) -> None:
        self.writer = Writer()

    def block(self, block: Block, *, depth: int) -> None:
        """Everything in a block, one item a line or more."""
        indent = depth * INDENT
        blanks = _blank_lines(block, depth)
        names, rows = _names(block, blanks), _rows(block, blanks, depth)
        for i, item in enumerate(block.items):
            for comment, blank in zip(item.leading, blanks[i], strict=False):
                self.writer.start(indent, blank_before=blank).text = comment.text
            line = self.writer.start(indent, blank_before=blanks[i][-1])
            if i in rows:
                line.text = rows[i]
            else:
                self.item(item, names.get(i), depth)
            self.writer.lines[-1].comment = item.trailing or self.writer.lines[-1].comment
        for comment, blank in zip(block.closing, blanks[-1], strict=False):
            self.writer.start(indent, blank_before=blank).text = comment.text

    def item(self, item: Item, name: str | None, depth: int) -> None:
        """An item from the last line on; `name` is what stands in front of its `=`, as wide as the column."""
        indent = depth * INDENT
        for i, part in enumerate(item.parts):
            if isinstance(part, Block):
                self.braces(part, depth)
                continue
            run = part if name is None else _renamed(part, name)
            if i and run[0].comments:
                self.writer.lay_on_new_line(run, indent + INDENT)
            else:
                self.writer.lay(run, indent, after=2 if i + 1 < len(item.parts) else 0)

    def braces(self, block: Block, depth: int) -> None:
        """A block with its braces, on several lines unless it is empty or one setting on the top level."""
        line = self.writer.lines[-1]
        short = _on_one_line(block, depth)
        if short is not None and line.width + 1 + cell_len(short) <= WIDTH:
            line.text += f" {short}"
            return
        line.text += " {"
        line.comment = block.opening
        self.block(block, depth=depth + 1)
        self.writer.start(depth * INDENT).text = "}"


def _blank_lines(block: Block, depth: int) -> list[list[bool]]:
    """For each item and for the end of a block: whether a blank line is above its comments and above it."""
    found: list[list[bool]] = []
    for i, item in enumerate(block.items):
        blanks = [comment.blank_before for comment in item.leading]
        blanks.append(bool(item.leading) and item.blank_before)
        if i == 0:
            blanks[0] = False
        elif not any(blanks):
            blanks[0] = _apart(block.items[i - 1], item, depth)
        found.append(blanks)
    last = [comment.blank_before for comment in block.closing]
    if last and not block.items:
        last[0] = False
    return [*found, last]


def _apart(before: Item, item: Item, depth: int) -> bool:
    """Whether a blank line belongs between two items."""
    if depth:
        return before.has_block != item.has_block
    groups = [_paragraph(before), _paragraph(item)]
    return groups[0] is None or groups[0] != groups[1]


def _paragraph(item: Item) -> int | None:
    word = "=" if item.first.kind == "SETTING" else item.first.text
    return next((i for i, words in enumerate(_TOGETHER) if word in words), None)


def _runs(block: Block, blanks: Sequence[Sequence[bool]], chosen: Mapping[int, object]) -> list[list[int]]:
    """The chosen items in runs of neighbours without a blank line between them."""
    run = 0
    numbers: dict[int, int] = {}
    for i in range(len(block.items)):
        run += i not in chosen or any(blanks[i])
        numbers[i] = run
    return [list(group) for _, group in groupby((i for i in numbers if i in chosen), numbers.__getitem__)]


def _names(block: Block, blanks: Sequence[Sequence[bool]]) -> dict[int, str]:
    """What stands in front of the `=` of the settings, by item, in columns."""
    cells: dict[int, list[str]] = {}
    for i, item in enumerate(block.items):
        head = _head(item)
        if head is not None:
            cells[i] = head
    runs = _runs(block, blanks, cells)
    return {i: name for run in runs for i, name in zip(run, heads([cells[i] for i in run]), strict=True)}


def _head(item: Item) -> list[str] | None:
    """The one or two words in front of the `=` of a setting without a block."""
    run = item.parts[0]
    if item.has_block or isinstance(run, Block):
        return None
    for words in (1, 2):
        if len(run) > words and run[words - 1].kind == "SETTING" and not has_comments(run[:words]):
            return [piece.text for piece in run[:words]]
    return None


def _renamed(run: Sequence[Piece], name: str) -> list[Piece]:
    """The pieces of a setting with a wider name."""
    at = next(i for i, piece in enumerate(run) if piece.kind == "SETTING")
    return [replace(run[at], text=name, space=0), *run[at + 1 :]]


def _rows(block: Block, blanks: Sequence[Sequence[bool]], depth: int) -> dict[int, str]:
    """The items that are a block on one line, by item; neighbours are in columns where those fit."""
    cells: dict[int, list[str]] = {}
    for i, item in enumerate(block.items):
        if depth and len(item.parts) == 2 and (row := _row(item, depth)) is not None:
            cells[i] = row
    found: dict[int, str] = {}
    for run in _runs(block, blanks, cells):
        alone = [f"{cells[i][0]} {'  '.join(cells[i][1:])}" for i in run]
        aligned = table([cells[i] for i in run])
        fit = len(run) > 1 and all(depth * INDENT + cell_len(text) + 2 <= WIDTH for text in aligned)
        found |= {i: f"{text} }}" for i, text in zip(run, aligned if fit else alone, strict=True)}
    return found


def _row(item: Item, depth: int) -> list[str] | None:
    """The cells of an item that is a block on one line, without the closing brace."""
    head, block = item.parts
    if isinstance(head, Block) or not isinstance(block, Block) or has_comments(head):
        return None
    short = _cells(block, depth)
    if short is None:
        return None
    first, *rest = short or [""]
    cells = [flat(head), f"{{ {first}".rstrip(), *rest]
    return cells if depth * INDENT + cell_len("  ".join(cells)) + 1 <= WIDTH else None


def _on_one_line(block: Block, depth: int) -> str | None:
    """A block with its braces on one line, or None where it does not belong on one."""
    cells = _cells(block, depth)
    return None if cells is None else " ".join(["{", *(["  ".join(cells)] if cells else []), "}"])


def _cells(block: Block, depth: int) -> list[str] | None:
    """The items of a block that can be on one line: all of an inner block, on the top level one setting."""
    if block.opening or block.closing:
        return None
    if not depth and (len(block.items) > 1 or any(item.first.kind != "SETTING" for item in block.items)):
        return None
    cells: list[str] = []
    for item in block.items:
        run = item.parts[0]
        if isinstance(run, Block) or item.has_block or has_comments(run) or item.leading or item.trailing:
            return None
        cells.append(flat(run))
    return cells


def _meaning(node: object) -> object:
    """A tree without its places."""
    if isinstance(node, tuple):
        return tuple(map(_meaning, node))
    if not is_dataclass(node):
        return node
    parts = [getattr(node, field.name) for field in fields(node)]
    return (type(node), *(_meaning(part) for part in parts if not isinstance(part, Source | Span)))
