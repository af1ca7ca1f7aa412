"""The codes in the source and the codes in the table are the same ones."""

from __future__ import annotations

import re
from pathlib import Path

import theseus_fx
from theseus_fx.lang.codes import CODES

PACKAGE = Path(theseus_fx.__file__).parent
CODE = re.compile(r"THX\d{3}")


def without_docstrings(text: str) -> str:
    """Python without texts in three quotes: what names a code there does not raise it."""
    return re.sub(r'""".*?"""', "", text, flags=re.DOTALL)


def test_every_code_is_raised_and_every_code_raised_is_known() -> None:
    raised: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name != "codes.py":
            raised |= set(CODE.findall(without_docstrings(path.read_text(encoding="utf-8"))))
    assert raised == set(CODES)


def test_every_code_mentioned_anywhere_is_known() -> None:
    for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.md")]:
        assert set(CODE.findall(path.read_text(encoding="utf-8"))) <= set(CODES), path


def test_titles_and_explanations_are_written_alike() -> None:
    for code, entry in CODES.items():
        assert CODE.fullmatch(code)
        assert entry.title[0].islower() or entry.title.startswith(("Lark", "CUDA")), code
        assert not entry.title.endswith("."), code
        assert entry.explanation.endswith("."), code
    assert len({entry.title for entry in CODES.values()}) == len(CODES)
    assert list(CODES) == sorted(CODES)
