"""Plans for modules with several inputs and structured outputs, for models that a spec names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from theseus_fx import api

SIZES = "num_hidden_layers = 2, hidden_size = 32, num_attention_heads = 2"
TEXT = f"{SIZES}, intermediate_size = 64, vocab_size = 100"
TOKENS, IMAGES = "tokens: i64[batch, 16]", "x: f32[batch, 3, 32, 32]"
GPT2 = (
    "transformers.GPT2LMHeadModel(n_layer = 2, n_embd = 32, n_head = 2, vocab_size = 100, "
    "bos_token_id = 0, eos_token_id = 0)"
)
MODELS = {
    "GPT2Attention": (GPT2, TOKENS, "hidden_states attention_mask position_ids"),
    "GPT2Block": (GPT2, TOKENS, "hidden_states attention_mask position_ids"),
    "BertAttention": (f"transformers.BertModel({TEXT})", TOKENS, "hidden_states"),
    "BertSelfAttention": (f"transformers.BertForSequenceClassification({TEXT})", TOKENS, "hidden_states"),
    "LlamaAttention": (
        f"transformers.LlamaForCausalLM({TEXT}, num_key_value_heads = 2)",
        TOKENS,
        "hidden_states position_embeddings.0 position_embeddings.1 attention_mask position_ids",
    ),
    "Dinov2Attention": (
        f"transformers.Dinov2Model({SIZES}, image_size = 32, patch_size = 8)",
        IMAGES,
        "hidden_states",
    ),
    "Dinov2Layer": (
        f"transformers.Dinov2Model({SIZES}, image_size = 32, patch_size = 8)",
        IMAGES,
        "hidden_states",
    ),
}


def spec(part: str) -> str:
    model, given, _ = MODELS[part]
    return f"""theseus 1
guide net = {model}
input {given}
rule r {{ match {part} as a  expect 2  replace with Linear(a.out.shape[2]) }}
schedule progressive {{ lr = 1e-3  for = 5 steps }}
"""


@pytest.mark.parametrize("part", MODELS)
def test_attention_and_blocks_are_parts(part: str) -> None:
    plan = api.plan(spec(part))
    inputs = MODELS[part][2].split()
    value: dict[str, Any] = json.loads(json.dumps(plan.as_json()))
    assert len(value["parts"]) == 2
    for entry, made in zip(value["parts"], plan.parts, strict=True):
        assert entry["guide_module"] == part
        assert sorted(given["name"] for given in entry["inputs"]) == sorted(inputs)
        assert entry["takes"] == ["hidden_states"]
        assert entry["inputs"][0] == {
            "name": "hidden_states",
            "node": made.input_node,
            "dtype": "float32",
            "shape": entry["input_shape"],
        }
        assert entry["output_shape"][::2] == ["batch", 32]
        assert entry["flops"]["before"] > entry["flops"]["after"] > 0
        assert plan.trace.value(made.node).shape == made.output_shape
        assert made.takes == (made.input_node,)
        assert plan.conventions[made.path] is made.convention


@pytest.mark.parametrize(
    ("model", "part", "count"), [("resnet18", "BasicBlock", 8), ("vit_b_16", "Encoder", 1)]
)
def test_containers_of_torchvision_are_parts(model: str, part: str, count: int) -> None:
    plan = api.plan(f"""theseus 1
guide net = torchvision.{model}(weights = none)
input x: f32[batch, 3, 224, 224]
rule r {{
  match {part} as b  expect {count}
  replace with flatten(start_dim = 1) |> Linear(1) |> Linear(b.out.features) |> reshape(b.out.shape)
}}
schedule progressive {{ lr = 1e-3  for = 5 steps }}
""")
    assert len(plan.parts) == count
    assert not plan.conventions
    assert all(call.leaf for call in plan.trace.calls if call.module_class.__name__ == part)
