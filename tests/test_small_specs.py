"""Every shipped spec at a small size: the same rules, and a run from beginning to end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import theseus_fx
from theseus_fx.lang import loader
from theseus_fx.lang.printer import print_document
from theseus_fx.lang.spec import Spec

ROOT = Path(__file__).resolve().parents[1]
SPECS = sorted((ROOT / "specs").glob("*.thx"))


def what_becomes_what(spec: Spec) -> list[str]:
    """The rules and pairs as written, without counts, which are the network's."""
    written = print_document(spec.document)
    blocks = re.findall(r"^(?:rule|pair) \w+ \{\n.*?^\}", written, flags=re.MULTILINE | re.DOTALL)
    return [re.sub(r"\s*expect \d+", "", block) for block in blocks]


def test_every_spec_has_a_small_one() -> None:
    assert SPECS
    assert [path.name for path in SPECS] == sorted(
        path.name for path in (ROOT / "specs" / "small").glob("*.thx")
    )


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_rules_metrics_and_schedule_are_those_of_the_spec(path: Path) -> None:
    large, small = loader.load(path), loader.load(path.parent / "small" / path.name)
    assert what_becomes_what(small)
    assert what_becomes_what(small) == what_becomes_what(large)
    assert small.schedule.kind == large.schedule.kind
    assert small.schedule.metric.name == large.schedule.metric.name
    assert len(small.recalibrate) == len(large.recalibrate)


@pytest.mark.slow
@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_it_runs_from_beginning_to_end(path: Path, tmp_path: Path) -> None:
    small = path.parent / "small" / path.name
    done = theseus_fx.convert(None, small, out=tmp_path / "run", device="cpu", cache=tmp_path / "cache")
    assert all(stage["steps"] > 0 for stage in done.summary["stages"])
    state = done.model.state_dict()
    again = theseus_fx.load(tmp_path / "run").state_dict()
    assert state.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in state.items())
