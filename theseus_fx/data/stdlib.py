"""The documentation of Python's standard library as data for language models: English, no download."""

from __future__ import annotations

from pathlib import Path

from theseus_fx.data.arguments import optional_positive, rejected
from theseus_fx.data.cache import default_cache
from theseus_fx.data.documentation import NoDocumentationError, documentation, library_folder
from theseus_fx.data.textfile import text_source
from theseus_fx.data.tokens import TokenSource
from theseus_fx.lang.spec import Invocation


def open_stdlib(invocation: Invocation, folder: Path) -> TokenSource:
    """`stdlib(tokenizer, length, batch, validation, test, at_most)`: docstrings and the topics of `help()`.

    About two million characters, the same for one version of Python; the documents are mixed and the text
    is then cut by position, as a text file is. `at_most` takes so many characters from its beginning. The
    sources are read and not imported, which takes seconds the first time; the cache keeps the text.

    Raises `Rejected`: THX601 for a Python without sources or a tokenizer that is not there, THX602 for
    sources that cannot be read or a text too short, THX208 for arguments out of range.
    """
    del folder  # nothing is relative to the spec
    most = optional_positive(invocation, "at_most")
    return text_source(invocation, lambda: _text(invocation)[:most])


def _text(invocation: Invocation) -> str:
    try:
        return documentation(library_folder(), default_cache())
    except NoDocumentationError as error:
        code = "THX602" if error.__cause__ else "THX601"
        raise rejected(code, invocation, None, str(error)) from error
