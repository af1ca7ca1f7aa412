"""A text and places in it. A span carries its source, so that it can print its own carets."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Source:
    """One text of the language, and where it came from."""

    name: str
    """What a diagnostic calls it: the path as the person gave it, or `<string>`."""
    text: str
    path: Path | None = None
    """The absolute path, or None for a text that is in no file."""
    _starts: tuple[int, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        starts = [0]
        starts.extend(i + 1 for i, c in enumerate(self.text) if c == "\n")
        object.__setattr__(self, "_starts", tuple(starts))

    def span(self, start: int, end: int) -> Span:
        """The span of the characters `start` (included) to `end` (excluded), clamped into the text."""
        start = max(0, min(start, len(self.text)))
        return Span(self, start, max(start, min(end, len(self.text))))

    def position(self, offset: int) -> tuple[int, int]:
        """The 1-based line and column of a character offset."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a 1-based line, without its line end."""
        start = self._starts[number - 1]
        end = self._starts[number] - 1 if number < len(self._starts) else len(self.text)
        return self.text[start:end].rstrip("\r")

    @property
    def sha256(self) -> str:
        """The hexadecimal SHA-256 of the text in UTF-8."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a source: characters `start` (included) to `end` (excluded)."""

    source: Source = field(repr=False)
    start: int
    end: int

    @property
    def text(self) -> str:
        """The characters it covers."""
        return self.source.text[self.start : self.end]

    @property
    def position(self) -> tuple[int, int]:
        """The 1-based line and column of its first character."""
        return self.source.position(self.start)

    def __str__(self) -> str:
        line, column = self.position
        return f"{self.source.name}:{line}:{column}"

    def to(self, other: Span) -> Span:
        """The smallest span over this one and a later one of the same source."""
        return Span(self.source, min(self.start, other.start), max(self.end, other.end))
