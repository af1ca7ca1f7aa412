"""Path patterns over module names: `"layer*"` fits `layer1` and everything inside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from theseus_fx.lang import syntax
from theseus_fx.lang.diagnostics import Diagnostic, Label, did_you_mean


def fits(path: str, glob: syntax.Glob) -> bool:
    """Whether the glob fits the path or a module that contains it (`*` also crosses dots)."""
    return any(fnmatchcase(prefix, glob.pattern) for prefix in _prefixes(path))


def fits_any(path: str, globs: Sequence[syntax.Glob]) -> bool:
    """Whether one of the globs fits the path."""
    return any(fits(path, glob) for glob in globs)


def unused(
    globs: Iterable[syntax.Glob], paths: Sequence[str], *, what: str = "guide"
) -> Iterator[Diagnostic]:
    """A diagnostic (THX404) for each glob that fits no module at all."""
    for glob in globs:
        if not any(fits(path, glob) for path in paths):
            yield Diagnostic(
                code="THX404",
                message=f'no module of the {what} fits the path pattern "{glob.pattern}"',
                primary=Label(glob.span),
                help=did_you_mean(glob.pattern, [p for p in paths if p], what="modules"),
            )


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split(".")
    for n in range(1, len(parts) + 1):
        yield ".".join(parts[:n])
