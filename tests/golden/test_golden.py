"""Every phase of the compiler against its golden file; `phases.py` has the format, and how to bless one."""

from __future__ import annotations

from pathlib import Path

import pytest
from phases import golden, phases, sections

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.golden")), ids=lambda path: path.stem)
def test_every_phase_says_what_it_said(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    kept = sections(text)
    made = phases(kept["spec"])
    assert [*made] == [*kept]
    for name, body in made.items():
        assert body.splitlines() == kept[name].splitlines(), name
    assert golden(kept) == text


def test_a_file_survives_its_sections() -> None:
    made = {"spec": "theseus 1\n\nparam a = 1", "diagnostics": "none"}
    assert sections(golden(made)) == made


def test_every_phase_has_a_case() -> None:
    names = {name for path in FOLDER.glob("*.golden") for name in sections(path.read_text(encoding="utf-8"))}
    assert names == {"spec", "tree", "resolved", "graph", "matches", "plan", "diagnostics"}
