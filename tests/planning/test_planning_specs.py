"""Every spec that comes with the project plans, offline, at full size and without weights."""

from __future__ import annotations

from pathlib import Path

import pytest

import theseus_fx

ROOT = Path(__file__).parents[2]

SHIPPED = {
    "specs/digits_to_mlp.thx": 9,
    "specs/resnet18_to_mlp.thx": 20,
    "specs/convnext_to_patch_mlp.thx": 18,
    "specs/resnet50_to_resnet18.thx": 8,
    "specs/gpt2_large_to_small.thx": 12,
    "specs/gpt2_to_rnn.thx": 12,
    "specs/dinov2_to_patch_mlp.thx": 12,
    "specs/vit_to_mixer.thx": 12,
    "specs/bert_attention_to_rnn.thx": 12,
    "specs/llama_attention_to_gru.thx": 22,
}
STRANGERS = {
    "tests/specs/mobilenet_without_squeeze.thx": 9,
    "tests/specs/regnet_to_depthwise.thx": 16,
    "tests/specs/vit_to_gated_perceptron.thx": 6,
}
"""Written for models that no shipped spec covers, with nothing but the README and `theseus-fx explain`."""


def test_every_spec_is_tested_here() -> None:
    found = [*(ROOT / "specs").glob("*.thx"), *(ROOT / "tests" / "specs").glob("*.thx")]
    assert {str(path.relative_to(ROOT)) for path in found} == SHIPPED.keys() | STRANGERS.keys()


@pytest.mark.parametrize(("path", "stages"), {**SHIPPED, **STRANGERS}.items())
def test_a_spec_plans_with_its_number_of_stages(path: str, stages: int) -> None:
    plan = theseus_fx.plan(ROOT / path)
    assert len(plan.stages) == stages
    assert plan.totals.parameters_guide > 0
