"""From a path or a text to a checked spec: reading, parsing, the files it uses, checking."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from theseus_fx.lang import syntax
from theseus_fx.lang.checker import check, check_used
from theseus_fx.lang.code import code_paths
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected, near_names
from theseus_fx.lang.parser import parse
from theseus_fx.lang.shipped import specs_folder
from theseus_fx.lang.source import Source
from theseus_fx.lang.spec import Spec

Find = Callable[[syntax.Text], Source]
"""The file of a path that a spec names, or a diagnostic at that place."""
Parsed = tuple[syntax.Document, tuple[Diagnostic, ...]]
"""A text as far as it can be read, and what is wrong with it."""


def load(
    path: str | Path, *, assignments: Mapping[str, str] | None = None, guide_required: bool = True
) -> Spec:
    """The spec in a file.

    Args:
        path: of the file; what diagnostics call it.
        assignments: values for params, as text.
        guide_required: whether a spec without `guide` is incomplete.

    Raises:
        Rejected: THX0xx, THX1xx or THX2xx, all errors of the first phase that has one.
    """
    source = read(Path(path), name=str(path))
    folder = Path(path).resolve().parent
    return _checked(source, lambda path: _find(path, folder), assignments or {}, guide_required)


def loads(
    text: str,
    *,
    name: str = "<string>",
    folder: Path | None = None,
    assignments: Mapping[str, str] | None = None,
    guide_required: bool = True,
) -> Spec:
    """The spec in a text; `use` looks in `folder` and in the shipped specs. Errors as for `load`."""
    return _checked(Source(name, text), lambda path: _find(path, folder), assignments or {}, guide_required)


def load_library(path: str | Path, *, syntax_only: bool = False) -> syntax.Document | None:
    """The document of a file that others use: modules and patterns; None where it is a spec.

    Args:
        path: of the file; what diagnostics call it.
        syntax_only: whether anything that parses will do.

    Raises:
        Rejected: THX0xx, THX1xx or THX2xx.
    """
    document = _parsed(read(Path(path), name=str(path)))
    if syntax_only:
        return document
    defines = (syntax.ModuleDefinition, syntax.PatternDefinition)
    if not document.statements or not all(isinstance(node, defines) for node in document.statements):
        return None
    if wrong := check_used(document):
        raise Rejected(*wrong)
    return document


def reload(
    files: Sequence[tuple[str, str]], *, assignments: Mapping[str, str], guide_required: bool = True
) -> Spec:
    """The spec in texts that a run has kept: (name, text) of the spec, then of the files that it reads."""
    kept = iter(files[1:])

    def find(path: syntax.Text) -> Source:
        entry = next(kept, None)
        if entry is None:
            raise _not_found(path.value, Label(path.span), ())
        return Source(*entry)

    return _checked(Source(*files[0]), find, assignments, guide_required)


def read(path: Path, *, name: str | None = None) -> Source:
    """The text of a file.

    Raises:
        Rejected: THX001 where there is none, THX002 where it is no readable text.
    """
    return _read(path, name or str(path), None)


def _read(path: Path, name: str, label: Label | None) -> Source:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise _not_found(name, label, _siblings(path)) from error
    except IsADirectoryError as error:
        raise _unreadable(name, "it is a folder", label) from error
    except OSError as error:
        raise _unreadable(name, error.strerror or str(error), label) from error
    except ValueError as error:  # of `read_bytes`: a null character
        raise _unreadable(name, str(error), label) from error
    return decoded(raw, name, path=path.resolve(), label=label)


def decoded(raw: bytes, name: str, *, path: Path | None = None, label: Label | None = None) -> Source:
    """The text that bytes in UTF-8 are, with or without a byte order mark.

    Raises:
        Rejected: THX002 where they are no text; `label` is the place that asked for it.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(name, f"byte {error.start} is not text in UTF-8", label) from error
    if "\0" in text:
        raise _unreadable(name, "it is binary", label)
    return Source(name, text, path)


def _checked(source: Source, find: Find, assignments: Mapping[str, str], guide_required: bool) -> Spec:
    document = _parsed(source)
    problems: list[Diagnostic] = []
    uses: list[syntax.Document] = []
    for node in document.statements:
        if isinstance(node, syntax.Use):
            try:
                used = _parsed(find(node.path), _parse_once)
            except Rejected as rejected:
                problems += rejected.diagnostics
                continue
            wrong = check_used(used)
            problems += wrong
            if not wrong:
                uses.append(used)
    code: dict[str, Source] = {}
    for path in code_paths(document):
        try:
            code[path.value] = code.get(path.value) or find(path)
        except Rejected as rejected:
            problems += rejected.diagnostics
    if problems:
        raise Rejected(*problems)
    return check(document, uses=uses, assignments=assignments, code=code, guide_required=guide_required)


@lru_cache(maxsize=64)
def _parse_once(source: Source) -> Parsed:
    """What `parse` says; a process that reads many specs meets the same few used files again."""
    return parse(source)


def _parsed(source: Source, read: Callable[[Source], Parsed] = parse) -> syntax.Document:
    document, problems = read(source)
    if problems:
        raise Rejected(*problems)
    return document


def _find(named: syntax.Text, folder: Path | None) -> Source:
    """The file that a spec names: beside the spec, then among the shipped specs."""
    wanted = named.value
    places = [place for place in (folder, specs_folder()) if place is not None]
    for place in places:
        path = place / wanted
        if os.path.isfile(path):  # unlike `Path.is_file`, false for a name that no file can have
            return _read(path, _shown(path, folder, wanted), Label(named.span))
    parent = Path(wanted).parent
    known = [(parent / name).as_posix() for place in places for name in _siblings(place / wanted)]
    known += [f"std/{name}" for name in _siblings(specs_folder() / "std" / Path(wanted).name)]
    raise _not_found(wanted, Label(named.span), known)


def _shown(path: Path, folder: Path | None, wanted: str) -> str:
    """What diagnostics and plans call a used file: as written for a shipped one, else relative to here."""
    if folder is None or path != folder / wanted:
        return wanted
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _siblings(path: Path) -> list[str]:
    """The files beside a path that end as it does, as far as they can be listed."""
    try:
        return sorted(p.name for p in path.parent.iterdir() if p.suffix == path.suffix and p.is_file())
    except (OSError, ValueError):  # a folder that is not there or may not be read, or no name of one
        return []


def _not_found(name: str, label: Label | None, candidates: Sequence[str]) -> Rejected:
    helps: list[str] = []
    if near := near_names(Path(name).name, [Path(c).name for c in candidates]):
        paths = [c for c in candidates if Path(c).name in near] or list(near)
        helps.append(f"did you mean {' or '.join(f'`{p}`' for p in dict.fromkeys(paths))}?")
    shipped = specs_folder() / Path(name).name
    if label is None and shipped.is_file():
        helps.append(f"a spec of this name comes with the package: `{shipped}`")
    return Rejected(
        Diagnostic(code="THX001", message=f"there is no file `{name}`", primary=label, help=tuple(helps))
    )


def _unreadable(name: str, reason: str, label: Label | None) -> Rejected:
    return Rejected(Diagnostic(code="THX002", message=f"cannot read `{name}`: {reason}", primary=label))
