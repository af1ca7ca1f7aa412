"""What `theseus-fx explain` shows: a page for each diagnostic code and each topic of the language."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

PAGES = Path(__file__).resolve().parent / "pages"
"""`THX201.md` and so on; `topics/rule.md` and so on."""


def page(code: str) -> str:
    """The example of a diagnostic code, in Markdown; every code of `CODES` has one."""
    return (PAGES / f"{code}.md").read_text(encoding="utf-8").strip()


def topics() -> Mapping[str, str]:
    """The title of each topic, by its name, in the order of the alphabet."""
    titles: dict[str, str] = {}
    for path in sorted((PAGES / "topics").glob("*.md")):
        heading = topic(path.stem).partition("\n")[0]
        titles[path.stem] = heading.removeprefix("# ").partition(": ")[2]
    return MappingProxyType(titles)


def topic(name: str) -> str:
    """The page of a topic, in Markdown; its first line is `# name: title`."""
    return (PAGES / "topics" / f"{name}.md").read_text(encoding="utf-8").strip()
