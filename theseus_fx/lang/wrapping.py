"""Pieces as lines of bounded width: where a sentence breaks when it is too long or has comments inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.cells import cell_len

from theseus_fx.lang.columns import INDENT, WIDTH, Line
from theseus_fx.lang.pieces import Comment, Piece

_OPENING, _CLOSING = {"LPAR", "LSQB"}, {"RPAR", "RSQB"}

# Where a sentence may break outside of brackets, loosest first: whether a line begins with the second piece.
_BREAKS: tuple[Callable[[Piece, Piece, Piece | None], bool], ...] = (
    lambda piece, _last, _earlier: piece.space == 2,
    lambda _piece, last, earlier: last.kind == "EQUAL" and earlier is not None and earlier.kind != "SETTING",
    lambda piece, _last, _earlier: piece.text == "|>",
    lambda _piece, last, _earlier: last.kind == "COMMA",
    lambda piece, _last, _earlier: piece.kind == "OR",
    lambda piece, _last, _earlier: piece.kind == "AND",
    lambda piece, _last, _earlier: piece.kind in ("PLUS", "MINUS"),
)


def flat(pieces: Sequence[Piece]) -> str:
    """The pieces on one line, without comments."""
    return "".join(f"{' ' * p.space if i else ''}{p.text}" for i, p in enumerate(pieces))


def has_comments(pieces: Sequence[Piece]) -> bool:
    """Whether comments stand between the pieces."""
    return any(piece.comments for piece in pieces[1:])


class Writer:
    """Lines, the last of which goes on."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def start(self, indent: int, *, blank_before: bool = False) -> Line:
        """A new line."""
        self.lines.append(Line(indent, blank_before=blank_before))
        return self.lines[-1]

    def put(self, piece: Piece) -> None:
        """A piece on the last line."""
        line = self.lines[-1]
        line.text += f"{' ' * piece.space if line.text else ''}{piece.text}"

    def comments(self, comments: Sequence[Comment], indent: int) -> None:
        """Comments behind the last line or on lines of their own."""
        for comment in comments:
            if comment.trailing:
                self.lines[-1].comment = comment.text
            else:
                self.start(indent).text = comment.text

    def lay(self, pieces: Sequence[Piece], indent: int, after: int = 0) -> None:
        """The pieces from the last line on, broken as often as needed.

        Args:
            pieces: the comments before the first one are not written.
            indent: of the sentence; what goes on is further in.
            after: how many columns have to be left behind them.
        """
        if self.fits(pieces, after):
            for piece in pieces:
                self.put(piece)
            return
        for runs in _broken(pieces):
            if len(runs) > 1:
                self.lay(runs[0], indent)
                for run in runs[1:]:
                    self.lay_on_new_line(run, indent + INDENT, after if run is runs[-1] else 0)
                return
        group = _widest_group(pieces)
        if group is None:
            self.put(pieces[0])
            for piece in pieces[1:]:
                if piece.comments:
                    self.comments(piece.comments, indent + INDENT)
                    self.start(indent + INDENT)
                self.put(piece)
            return
        self.lay_group(pieces, group, indent, after)

    def lay_group(self, pieces: Sequence[Piece], group: tuple[int, int], indent: int, after: int) -> None:
        """The pieces with what is between two brackets on lines of its own."""
        opening, closing = group
        self.lay(pieces[: opening + 1], indent)
        inside = pieces[opening + 1 : closing]
        for run in _cut(inside, lambda _piece, last, _earlier: last.kind == "COMMA"):
            self.lay_on_new_line(run, indent + INDENT)
        self.comments(pieces[closing].comments, indent + INDENT)
        self.start(indent)
        self.lay(pieces[closing:], indent, after)

    def lay_on_new_line(self, pieces: Sequence[Piece], indent: int, after: int = 0) -> None:
        """The pieces from a new line on, with the comments before them."""
        self.comments(pieces[0].comments, indent)
        self.start(indent)
        self.lay(pieces, indent, after)

    def fits(self, pieces: Sequence[Piece], after: int) -> bool:
        """Whether the pieces fit on the last line."""
        line = self.lines[-1]
        space = pieces[0].space if line.text else 0
        return not has_comments(pieces) and line.width + space + cell_len(flat(pieces)) + after <= WIDTH


def _broken(pieces: Sequence[Piece]) -> list[list[Sequence[Piece]]]:
    """The ways to break the pieces, loosest first."""
    return [_cut(pieces, begins) for begins in _BREAKS]


def _cut(
    pieces: Sequence[Piece], begins: Callable[[Piece, Piece, Piece | None], bool]
) -> list[Sequence[Piece]]:
    """The runs of pieces between the places outside of brackets where a line may begin."""
    depth, start = 0, 0
    runs: list[Sequence[Piece]] = []
    for i, piece in enumerate(pieces):
        if i and not depth and begins(piece, pieces[i - 1], pieces[i - 2] if i > 1 else None):
            runs.append(pieces[start:i])
            start = i
        depth += (piece.kind in _OPENING) - (piece.kind in _CLOSING)
    return [*runs, pieces[start:]] if pieces else []


def _widest_group(pieces: Sequence[Piece]) -> tuple[int, int] | None:
    """The places of the outermost brackets with the most in them; those with comments come first."""
    found: list[tuple[bool, int, tuple[int, int]]] = []
    depth, start = 0, 0
    for i, piece in enumerate(pieces):
        if piece.kind in _OPENING:
            start = start if depth else i
            depth += 1
        elif piece.kind in _CLOSING:
            depth -= 1
            if not depth and (i > start + 1 or piece.comments):
                inside = pieces[start : i + 1]
                found.append((has_comments(inside), cell_len(flat(inside)), (start, i)))
    return max(found)[2] if found else None
