"""`.thx` for Pygments: `pygmentize -l thx`, Sphinx, rich; found by its entry point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pygments.lexer import RegexLexer
from pygments.token import Whitespace, string_to_tokentype

from theseus_fx.lang.highlight.lexicon import LEXICON


class ThxLexer(RegexLexer):
    """The language of theseus-fx specs."""

    name = "theseus-fx"
    aliases: ClassVar[Sequence[str]] = ["thx", "theseus-fx"]
    filenames: ClassVar[Sequence[str]] = ["*.thx"]
    mimetypes: ClassVar[Sequence[str]] = ["text/x-thx"]
    tokens: ClassVar[dict[str, Any]] = {
        "root": [
            (r"[ \t\r\n\f]+", Whitespace),
            *((entry.pattern, string_to_tokentype(entry.token)) for entry in LEXICON),
        ]
    }
