"""The README's examples of the language: what is a whole spec is checked, what is a piece of one parses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from theseus_fx.lang import loader
from theseus_fx.lang.parser import parse
from theseus_fx.lang.source import Source

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```thx\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
REST = """
rule rest { match Conv2d as c  replace with relu }
schedule progressive { lr = 1e-3  for = 1 steps }
"""


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.partition("\n")[0])
def test_an_example_is_a_spec_or_a_piece_of_one(text: str) -> None:
    if text.startswith("theseus"):
        loader.loads(text)
        return
    if text.startswith(("module", "pattern")):
        loader.loads(f"theseus 1\n{text}{REST}", guide_required=False)
        return
    if text.startswith("schedule"):
        rule = REST.partition("schedule")[0]
        loader.loads(f"theseus 1\n{rule}{text}", guide_required=False)
        return
    _, problems = parse(Source("README.md", f"theseus 1\n{text}"))
    assert not problems


def test_every_shipped_spec_is_in_the_table() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", README, flags=re.MULTILINE))
    assert named >= {path.stem for path in (ROOT / "specs").glob("*.thx")}
