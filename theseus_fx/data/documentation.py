"""The documentation in Python's own standard library as one text: read from its sources, never imported."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
import sysconfig
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from theseus_fx.data.order import stable_seed

FORMAT = 1
"""Changes when the same sources would give another text."""
PACKAGED_APART = ("distutils", "ensurepip", "idlelib", "lib2to3", "tkinter", "turtledemo", "venv")
"""What some distributions leave out or change: without it, one version of Python has one text."""
BOILERPLATE = ("encodings",)
"""A hundred modules that say the same of themselves."""
TOPICS = "pydoc_data/topics.py"
"""The language reference as `help()` knows it: a module that holds one dictionary of texts."""
_TESTS = ("test", "tests", "idle_test")
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class NoDocumentationError(Exception):
    """The sources are not there, or one of them cannot be read; the message says which."""


def library_folder() -> Path:
    """Where the standard library of the running Python is."""
    return Path(sysconfig.get_paths()["stdlib"])


def documentation(folder: Path, cache: Path) -> str:
    """The text of `written` for a library, kept in a cache.

    Args:
        folder: of the library's sources.
        cache: a folder that need not exist; one that cannot be written gives a RuntimeWarning.

    Raises:
        NoDocumentationError: as for `written`.
    """
    files = sources(folder)
    sizes = [f"{file.relative_to(folder).as_posix()} {file.stat().st_size}" for file in files]
    digest = hashlib.sha256("\n".join([str(FORMAT), sys.version, *sizes]).encode()).hexdigest()
    kept = cache / "texts" / f"stdlib-{digest[:32]}.txt"
    if (text := _kept(kept)) is not None:
        return text
    text = written(folder, files)
    try:
        _keep(kept, text)
    except OSError as error:
        warnings.warn(f"the text was not cached in {cache}: {error}", RuntimeWarning, stacklevel=2)
    return text


def sources(folder: Path) -> list[Path]:
    """The Python files of a library's modules, without tests, sorted.

    Raises:
        NoDocumentationError: where there are none.
    """
    files = [folder / TOPICS] if (folder / TOPICS).is_file() else []
    for name in sorted(sys.stdlib_module_names - {*PACKAGED_APART, *BOILERPLATE, "pydoc_data"}):
        inside = (path for path in (folder / name).rglob("*.py") if path.is_file())
        files += [path for path in inside if not set(_TESTS) & set(path.relative_to(folder).parts)]
        files += [path for path in [folder / f"{name}.py"] if path.is_file()]
    if not files:
        raise NoDocumentationError(f"the standard library's sources are not in {folder}")
    return sorted(files)


def written(folder: Path, files: Sequence[Path]) -> str:
    """Every docstring of the files once, and the topics of `help()`, in an order that their names decide.

    A module is one document: its docstrings in the order of the source, each under its dotted name. The
    documents are mixed by the SHA-256 of their names, so that a text cut by position has every kind of them
    in each part, and a new one changes no other's place.

    Raises:
        NoDocumentationError: for a file that cannot be read or is no Python.
    """
    documents: dict[str, str] = {}
    told: set[str] = set()
    for file in files:
        name = file.relative_to(folder).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError) as error:
            raise NoDocumentationError(f"{file} cannot be read: {error}") from error
        if file == folder / TOPICS:
            documents |= {f"topic {key}": f"{key}\n\n{text.strip()}\n" for key, text in _topics(file, tree)}
            continue
        parts = [f"{title}\n\n{text.strip()}\n" for title, text in _docstrings(tree, name, told)]
        if parts:
            documents[name] = "\n".join(parts)
    order = sorted(documents, key=lambda name: stable_seed("documentation", name))
    return "\n\n".join(documents[name] for name in order)


def _docstrings(node: _Documented, name: str, told: set[str]) -> Iterator[tuple[str, str]]:
    """Dotted names and docstrings that no one has told yet, of a node and of what it defines."""
    text = ast.get_docstring(node)
    if text and text not in told:
        told.add(text)
        yield name, text
    if isinstance(node, ast.Module | ast.ClassDef):
        for inner in node.body:
            if isinstance(inner, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _docstrings(inner, f"{name}.{inner.name}", told)


def _topics(file: Path, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The items of the one dictionary that a module of texts assigns."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            try:
                held = ast.literal_eval(node.value)
            except ValueError as error:
                raise NoDocumentationError(f"{file} is no dictionary of texts: {error}") from error
            yield from ((str(key), str(text)) for key, text in held.items())


def _kept(path: Path) -> str | None:
    """The text of a cache file; None where there is none, or not the one that was written."""
    try:
        digest, _, text = path.read_bytes().partition(b"\n")
    except OSError:  # none yet, or a folder that cannot be used, which writing will say
        return None
    return text.decode() if hashlib.sha256(text).hexdigest() == digest.decode("latin-1") else None


def _keep(path: Path, text: str) -> None:
    """Writes a cache file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode()
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
