"""An outline with only what was asked for: some names, some levels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from theseus_fx.inspection.outline import ModuleLine, OperationLine, Outline
from theseus_fx.lang import syntax
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected, did_you_mean
from theseus_fx.lang.source import Source
from theseus_fx.match.globs import fits
from theseus_fx.match.pattern import class_names


def narrowed(outline: Outline, *, filters: Sequence[str] = (), depth: int | None = None) -> Outline:
    """The outline without what neither fits a filter nor lies around or inside something that does.

    Args:
        outline: a whole one.
        filters: globs over paths, class names and names of operations; none: everything fits.
        depth: levels of modules below the model itself; None: all.

    Raises:
        Rejected: THX404 for each filter that fits nothing.
    """
    root = outline.root
    if filters:
        problems = [_fits_nothing(word, root) for word in filters if not _fits_somewhere(word, root)]
        if problems:
            raise Rejected(*problems)
        root = _filtered(root, filters)
    if depth is not None:
        root = _shallow(root, depth)
    return replace(outline, root=root)


def _filtered(line: ModuleLine, filters: Sequence[str]) -> ModuleLine:
    """The module with what fits inside it; the whole of it, where it fits itself."""
    if any(_fits(word, line) for word in filters):
        return line
    kept: list[ModuleLine | OperationLine] = []
    for inner in line.inside:
        if isinstance(inner, ModuleLine):
            if any(_fits_somewhere(word, inner) for word in filters):
                kept.append(_filtered(inner, filters))
        elif any(_fits(word, inner) for word in filters):
            kept.append(inner)
    return _with_inside(line, kept)


def _shallow(line: ModuleLine, depth: int) -> ModuleLine:
    """The module with its inside down to a depth."""
    if depth == 0:
        return _with_inside(line, [])
    inside = [_shallow(e, depth - 1) if isinstance(e, ModuleLine) else e for e in line.inside]
    return replace(line, inside=tuple(inside))


def _with_inside(line: ModuleLine, inside: Sequence[ModuleLine | OperationLine]) -> ModuleLine:
    whole = 0 if line.call.leaf else line.operations()
    shown = replace(line, inside=tuple(inside), left_out=0)
    return replace(shown, left_out=whole - (0 if line.call.leaf else shown.operations()))


def _fits(word: str, line: ModuleLine | OperationLine) -> bool:
    if isinstance(line, OperationLine):
        return fnmatchcase(line.name, word)
    glob = syntax.Glob(word, Source("--filter", word).span(0, len(word)))
    by_class = any(fnmatchcase(name, word) for name in class_names(line.call.module_class))
    return by_class or (line.call.path != "" and fits(line.call.path, glob))


def _fits_somewhere(word: str, line: ModuleLine | OperationLine) -> bool:
    return any(_fits(word, inner) for inner in _all(line))


def _all(line: ModuleLine | OperationLine) -> Iterator[ModuleLine | OperationLine]:
    yield line
    if isinstance(line, ModuleLine):
        for inner in line.inside:
            yield from _all(inner)


def _fits_nothing(word: str, root: ModuleLine) -> Diagnostic:
    known: dict[str, None] = {}
    for line in _all(root):
        if isinstance(line, OperationLine):
            known.setdefault(line.name)
        else:
            known.update(dict.fromkeys([*class_names(line.call.module_class), line.call.path]))
    known.pop("", None)
    return Diagnostic(
        code="THX404",
        message=f"no path, class or operation of the model fits `{word}`",
        primary=Label(Source("--filter", word).span(0, len(word))),
        help=did_you_mean(word, tuple(known), what="known here"),
    )
