"""`theseus-fx plan` of models by their name on the hub: offline, at full size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Command

SPEC = """\
theseus 1
guide net = transformers.GPT2LMHeadModel("openai-community/gpt2")
input tokens: i64[batch, 128]
module Thin(part) = Linear(64, bias = false) |> Linear(part.out.features // 128)
rule mlp {
  match GPT2MLP as m  expect 12
  replace with Thin(m)
}
schedule progressive { metric = cka  lr = 1e-4  for = 10 epochs }
"""
ORIGIN = "configuration of `openai-community/gpt2` from the built-in table of published sizes"


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "gpt2.thx"
    path.write_text(SPEC)
    return path


def test_gpt2_is_planned_at_full_size(command: Command, spec: Path) -> None:
    plan = json.loads(command("plan", spec, "--json").out)
    assert plan["totals"]["parameters"]["guide"] == 124_439_808
    assert plan["guide"]["inputs"] == [{"name": "tokens", "dtype": "int64", "shape": ["batch", 128]}]
    assert [part["output_shape"] for part in plan["parts"]] == [["batch", 128, 768]] * 12
    assert plan["notes"][0].startswith(ORIGIN)


def test_the_human_view_says_where_the_configuration_is_from(command: Command, spec: Path) -> None:
    said = command("plan", spec)
    assert said.code == 0
    assert f"note: {ORIGIN}" in said.out


def test_a_language_model_without_a_length(command: Command, spec: Path) -> None:
    spec.write_text("\n".join(line for line in SPEC.splitlines() if not line.startswith("input")))
    said = command("plan", spec)
    assert said.code == 1
    assert "THX207" in said.err
    assert "write `input tokens: i64[batch, 128]`; the model takes at most 1,024" in said.err


def test_an_image_model_knows_its_own_input(command: Command, spec: Path) -> None:
    text = SPEC.replace("GPT2LMHeadModel", "Dinov2Model").replace(
        "openai-community/gpt2", "facebook/dinov2-small"
    )
    text = text.replace("input tokens: i64[batch, 128]\n", "").replace("GPT2MLP", "Dinov2MLP")
    text = text.replace("part.out.features // 128", "384")
    spec.write_text(text)
    plan = json.loads(command("plan", spec, "--json").out)
    assert plan["guide"]["inputs"][0]["shape"] == ["batch", 3, 518, 518]
    assert plan["parts"][0]["output_shape"] == ["batch", 1 + 37 * 37, 384]


def test_a_saved_plan_does_not_depend_on_where_the_configuration_came_from(
    command: Command, spec: Path, tmp_path: Path
) -> None:
    from theseus_fx.api import open_plan

    plan = tmp_path / "plan.json"
    assert command("plan", spec, "--out", plan).code == 0
    saved = json.loads(plan.read_text())
    plan.write_text(json.dumps({**saved, "notes": ["configuration from the hub's cache"]}))
    assert open_plan(plan).notes[0].startswith(ORIGIN)
