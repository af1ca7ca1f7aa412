"""No line of a spec is there for nothing, and no slip of one character goes unanswered."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lang_texts import SPECS, bare, in_bounds, rejected
from test_lang_schedules import HEAD, RICH

from theseus_fx.lang import loader
from theseus_fx.lang.spec import Spec

SHIPPED = {path.name: path.read_text(encoding="utf-8") for path in sorted(SPECS.glob("*.thx"))}
TEXTS = {**SHIPPED, "rich": HEAD + RICH}
DEFAULTS = ("metric = cka", "optimizer = adamw", "clip = 1.0", "rows = samples")
"""Lines that only say what holds anyway, so that a reader sees it; without them a spec means the same."""


def meaning(spec: Spec) -> object:
    """All that a spec says, without places and without its own text."""
    kept = (
        "params", "guide", "inputs", "data", "task", "modules", "rules", "schedule", "recalibrate",
        "finetune", "compare",
    )  # fmt: skip
    return [_plain(getattr(spec, name)) for name in kept]


def _plain(value: object) -> object:
    return {k: bare(v) for k, v in value.items()} if hasattr(value, "items") else bare(value)  # pyright: ignore


@pytest.mark.parametrize("name", TEXTS)
def test_every_line_that_goes_is_missed(name: str) -> None:
    text = TEXTS[name]
    whole = meaning(loader.loads(text))
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        said = line.partition("#")[0].strip()
        if not said or " ".join(said.split()) in DEFAULTS:
            continue
        without = "".join([*lines[:number], *lines[number + 1 :]])
        found = rejected(without)
        assert in_bounds(found)
        assert found or meaning(loader.loads(without)) != whole, line


@settings(max_examples=150, deadline=None)
@given(
    text=st.sampled_from(list(TEXTS.values())),
    place=st.floats(0, 1, exclude_max=True),
    put=st.sampled_from([*'aeghz_ 019.,=(){}[]"#-+*/<>!|\n\t\\é', "", "\x00"]),
    cut=st.integers(0, 1),
)
def test_any_slip_of_one_character(text: str, place: float, put: str, cut: int) -> None:
    i = int(place * len(text))
    assert in_bounds(rejected(text[:i] + put + text[i + cut :]))
