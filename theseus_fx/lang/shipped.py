"""Where the grammar and the specs are that come with the package: in the wheel, or in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def _root() -> Path:
    shipped = _PACKAGE / "_shipped"
    return shipped if shipped.is_dir() else _PACKAGE.parent


def grammar_text() -> str:
    """The Lark grammar."""
    return (_root() / "grammar" / "thx.lark").read_text(encoding="utf-8")


def specs_folder() -> Path:
    """The folder of the shipped specs; its `std` is the standard library."""
    return _root() / "specs"
