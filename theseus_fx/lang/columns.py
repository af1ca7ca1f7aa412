"""Columns: names in front of `=`, rows of blocks on one line each, comments behind lines.

Widths are columns of a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len

INDENT = 2
WIDTH = 110
"""A line is broken when it would be longer."""
_COMMENTS, _GAP = 40, 3
"""Comments behind lines begin in this column or further right, and so far from the longest line."""


@dataclass(slots=True)
class Line:
    """One line being written."""

    indent: int
    text: str = ""
    comment: str = ""
    blank_before: bool = False

    @property
    def width(self) -> int:
        """Where its text ends."""
        return self.indent + cell_len(self.text)


def padded(texts: Sequence[str]) -> list[str]:
    """The texts with blanks behind them, all as wide as the widest."""
    widest = max(map(cell_len, texts), default=0)
    return [text + " " * (widest - cell_len(text)) for text in texts]


def heads(rows: Sequence[Sequence[str]]) -> list[str]:
    """What stands in front of `=`, in one width: a name, or a keyword and a name in a column of its own."""
    keywords = iter(padded([row[0] for row in rows if len(row) > 1]))
    return padded([f"{next(keywords)} {row[1]}" if len(row) > 1 else row[0] for row in rows])


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, two blanks between columns.

    Neighbours share a column where they begin with the same word in it and in all columns before it.
    """
    return ["".join(row).rstrip() for row in _spread(rows, 0)]


def _spread(rows: Sequence[Sequence[str]], at: int) -> Iterator[list[str]]:
    for _, group in groupby(rows, key=lambda row: _word(row, at)):
        alike = list(group)
        if at >= len(alike[0]):
            yield from ([] for _ in alike)
            continue
        cells = padded([row[at] for row in alike])
        for cell, rest in zip(cells, _spread(alike, at + 1), strict=True):
            yield [f"{cell}  ", *rest]


def _word(row: Sequence[str], at: int) -> str:
    """The first word of a cell, or nothing where the row has ended."""
    return row[at].lstrip("{ ").partition(" ")[0] if at < len(row) else ""


def written(lines: Sequence[Line]) -> str:
    """The lines as text; comments behind lines of one paragraph and indentation share a column."""
    paragraphs: list[list[Line]] = []
    for line in lines:
        if not paragraphs or line.blank_before or paragraphs[-1][-1].indent != line.indent:
            paragraphs.append([])
        paragraphs[-1].append(line)
    return "".join(text for paragraph in paragraphs for text in _paragraph(paragraph))


def _paragraph(lines: Sequence[Line]) -> Iterator[str]:
    column = max([_COMMENTS, *(line.width + _GAP for line in lines if line.comment)])
    return (_whole(line, column) for line in lines)


def _whole(line: Line, column: int) -> str:
    above = "\n" if line.blank_before else ""
    behind = f"{' ' * (column - line.width)}{line.comment}" if line.comment else ""
    return f"{above}{' ' * line.indent}{line.text}{behind}\n"
