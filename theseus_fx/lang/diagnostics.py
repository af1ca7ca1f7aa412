"""What is wrong, where, why the compiler believes otherwise, and the edit that would help.

A diagnostic is a value; it becomes text only where it is shown (`render`, `as_json`). Every mistake of a
person, from a typo to a full disk, is one of these and reaches the command line as `Rejected`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Any
from unicodedata import combining, east_asian_width

from theseus_fx.lang.codes import CODES
from theseus_fx.lang.source import Span

_LONGEST, _BEFORE = 160, 100
"""Of a long line, how many characters an excerpt shows, and how many of them before the place."""


class Severity(Enum):
    """How much a diagnostic weighs: an error stops the command, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Label:
    """A span and what is to be said of it."""

    span: Span
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One mistake."""

    code: str
    """`THX` and three digits; `theseus_fx.lang.codes.CODES` describes each."""
    message: str
    """The headline: it stands alone, without the labels."""
    primary: Label | None = None
    """The place to blame, or None where no text is (a folder that exists already)."""
    secondary: tuple[Label, ...] = ()
    """Places that say why the compiler believed otherwise."""
    help: tuple[str, ...] = ()
    """Edits or commands that would help, one a line."""
    severity: Severity = Severity.ERROR

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise KeyError(f"no such diagnostic code: {self.code}")

    def as_json(self) -> dict[str, Any]:
        """The diagnostic as plain JSON values; lines and columns are 1-based, ends excluded."""
        return {
            "code": self.code,
            "severity": self.severity.value,
            "message": self.message,
            "primary": None if self.primary is None else _label_json(self.primary),
            "secondary": [_label_json(label) for label in self.secondary],
            "help": list(self.help),
        }

    def render(self) -> str:
        """The diagnostic for a person, as plain text with source lines and carets."""
        lines = [f"{self.severity.value}[{self.code}]: {_printable(self.message)}"]
        labels = [(self.primary, "^")] if self.primary is not None else []
        labels += [(label, "-") for label in self.secondary]
        width = max((len(str(label.span.position[0])) for label, _ in labels), default=1)
        shown = None
        for label, mark in labels:
            source = label.span.source
            if source is not shown:
                arrow = "-->" if shown is None else ":::"
                lines.append(f"{' ' * width}{arrow} {_printable(str(label.span))}")
                lines.append(f"{' ' * width} |")
                shown = source
            lines += _excerpt(label, mark, width)
        lines += [f"{' ' * width} = help: {_printable(text)}" for text in self.help]
        return "\n".join(lines)


class Rejected(Exception):  # noqa: N818 - the outcome of a command, not a defect
    """The work cannot go on because of what a person wrote or has; carries every diagnostic of the phase."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("\n".join(d.message for d in diagnostics))
        self.diagnostics: tuple[Diagnostic, ...] = diagnostics


def near_names(word: str, known: Iterable[str], *, most: int = 3) -> tuple[str, ...]:
    """At most `most` of the `known` names that `word` may have meant, nearest first.

    Names of the same letters come first: in a short word, two that changed places look far apart otherwise.
    """
    folded: dict[str, str] = {}
    for name in known:
        folded.setdefault(name.lower(), name)
    hits = get_close_matches(word.lower(), folded, n=most, cutoff=0.6)
    swapped = [name for name in folded if sorted(name) == sorted(word.lower()) and name not in hits]
    return tuple(folded[hit] for hit in [*swapped, *hits][:most])


def did_you_mean(word: str, known: Sequence[str], *, what: str = "") -> tuple[str, ...]:
    """Help for a word that is not known: near names if there are any, else a short list of all there is."""
    near = near_names(word, known)
    if near:
        return (f"did you mean {_alternatives(near)}?",)
    if 0 < len(known) <= 12:
        return (f"{what or 'known here'}: {', '.join(f'`{name}`' for name in known)}",)
    return ()


def _alternatives(names: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _excerpt(label: Label, mark: str, width: int) -> list[str]:
    span = label.span
    number, column = span.position
    text = span.source.line(number)
    start = column - 1
    end = max(start, min(start + span.end - span.start, len(text)))
    note = f" {_printable(label.text)}" if label.text else ""
    cut = max(0, start - _BEFORE)
    shown = _printable(text[cut : cut + _LONGEST])
    before, marked = _cells(text[cut:start]), max(1, _cells(text[start : min(end, cut + _LONGEST)]))
    if cut:
        shown, before = f"... {shown}", before + 4
    if cut + _LONGEST < len(text):
        shown += " ..."
    return [f"{number:>{width}} | {shown}", f"{' ' * width} | {' ' * before}{mark * marked}{note}"]


def _printable(text: str) -> str:
    """The text with a stand-in for each character that would move the cursor of a terminal."""
    return "".join(
        c if c.isprintable() or c == "\n" else " " if c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def _cells(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _label_json(label: Label) -> dict[str, Any]:
    start = label.span.source.position(label.span.start)
    end = label.span.source.position(label.span.end)
    return {
        "file": label.span.source.name,
        "line": start[0],
        "column": start[1],
        "end_line": end[0],
        "end_column": end[1],
        "text": label.text,
    }


def first_line(error: BaseException) -> str:
    """What an exception of a library says, in one line; its class where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
