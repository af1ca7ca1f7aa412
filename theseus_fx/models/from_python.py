"""Code of a person's own files: run only where it is trusted, from the text that the spec was read with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from torch import nn

from theseus_fx.lang.code import Code
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected, did_you_mean
from theseus_fx.lang.source import Source, Span

Trust = bool | Callable[[Source], bool]
"""Whether Python files that a spec names may be run: all or none, or what a function says of each."""

_TRUSTED: ContextVar[Trust] = ContextVar("trusted", default=False)


@contextmanager
def trusting(trust: Trust) -> Generator[None, None, None]:
    """While it holds, `python(...)` of specs is run, or is not."""
    token = _TRUSTED.set(trust)
    try:
        yield
    finally:
        _TRUSTED.reset(token)


def load_class(
    code: Code, span: Span | None = None, *, base: type[Any] = nn.Module, what: str = "module class"
) -> type[Any]:
    """A class that a Python file defines, a module if nothing else; it is run once per process and text.

    Args:
        code: the text and the name.
        span: where a spec names it.
        base: what the class has to come from.
        what: how a message calls such a class.

    Raises:
        Rejected: THX308 where its code is not trusted, THX309 where it fails or has no such class.
    """
    if not _is_trusted(code.source):
        raise _rejected(
            span,
            "THX308",
            f"`{code.source.name}` is code, and running it was not allowed",
            "read it, then say `--trust`, or `trust = True` in Python",
        )
    namespace = vars(_run(code.source, span))
    found = namespace.get(code.name)
    if not (isinstance(found, type) and issubclass(found, base)):
        kinds = {key: value for key, value in namespace.items() if isinstance(value, type)}
        classes = [key for key, value in kinds.items() if issubclass(value, base)]
        many = f"its {what.removesuffix('class')}classes"
        said = f"`{code.source.name}` has no {what} `{code.name}`"
        raise _rejected(span, "THX309", said, *did_you_mean(code.name, classes, what=many))
    return found


def as_json(code: Code) -> dict[str, str]:
    """The name and the text of the file, so that nothing else is needed to run it again."""
    return {"file": code.source.name, "name": code.name, "text": code.source.text}


def from_json(value: Mapping[str, str]) -> Code:
    """The inverse of `as_json`."""
    return Code(Source(value["file"], value["text"]), value["name"])


def _is_trusted(source: Source) -> bool:
    trust = _TRUSTED.get()
    return trust if isinstance(trust, bool) else trust(source)


def _run(source: Source, span: Span | None) -> ModuleType:
    """The module that the text of a file is; its folder is on the path while it runs."""
    name = f"theseus_fx_code_{source.sha256[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(source.path or source.name)
    before = list(sys.path)
    sys.modules[name] = module
    try:
        if source.path is not None:
            sys.path.insert(0, str(source.path.parent))
        exec(compile(source.text, module.__file__, "exec"), vars(module))
    except Exception as error:
        del sys.modules[name]
        reason = f"{type(error).__name__}: {error}"
        raise _rejected(span, "THX309", f"`{source.name}` fails: {reason}") from error
    finally:
        sys.path[:] = before
    return module


def _rejected(span: Span | None, code: str, message: str, *helps: str) -> Rejected:
    primary = None if span is None else Label(span)
    return Rejected(Diagnostic(code=code, message=message, primary=primary, help=helps))
