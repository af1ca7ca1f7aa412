"""The inspection commands over shipped specs: an answer for each, whatever it matches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Command

ROOT = Path(__file__).resolve().parents[2]
SPECS = (
    "specs/digits_to_mlp.thx",
    "specs/resnet18_to_mlp.thx",
    "specs/resnet50_to_resnet18.thx",
    "specs/convnext_to_patch_mlp.thx",
    "specs/vit_to_mixer.thx",
    "tests/specs/mobilenet_without_squeeze.thx",
    "tests/specs/regnet_to_depthwise.thx",
)
"""Those that are planned within seconds; building the networks of transformers takes longer."""
LARGE = ("specs/gpt2_to_rnn.thx",)


@pytest.mark.parametrize("spec", SPECS + LARGE)
def test_match_answers(command: Command, spec: str) -> None:
    said = command("match", ROOT / spec, "--json")
    assert (said.code, said.err) == (0, "")
    facts = json.loads(said.out)
    assert facts["diagnostics"] == []
    assert all(found["found"] > 0 for found in (*facts["rules"], *facts["pairs"]))
    assert 0 < facts["uncovered"]["share"]["parameters"] < 1


@pytest.mark.parametrize("spec", SPECS)
def test_a_plan_does_not_differ_from_itself(command: Command, spec: str) -> None:
    said = command("diff", ROOT / spec, ROOT / spec, "--json", "--exit-code")
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert found["equal"]
    assert len(found["survives"]["stages"]) == found["survives"]["of"]
