"""The patterns that come with the package: how often each occurs in real models, without weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
import torchvision
import transformers
from torch import nn

from theseus_fx.graph.trace import trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang import loader
from theseus_fx.lang.shipped import specs_folder
from theseus_fx.lang.spec import RegionPattern
from theseus_fx.match.ops.find import find
from theseus_fx.match.ops.index import Index, make_index
from theseus_fx.match.ops.regions import validate
from theseus_fx.models.weightless import weightless

SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
TEXT: dict[str, Any] = {"vocab_size": 64, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


def vision(name: str) -> nn.Module:
    return getattr(torchvision.models, name)()


def gpt2() -> nn.Module:
    sizes = {"n_embd": 32, "n_layer": 3, "n_head": 4}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **TEXT, use_cache=False))


def bert() -> nn.Module:
    return transformers.BertModel(transformers.BertConfig(**SMALL, **TEXT, intermediate_size=64))


def llama() -> nn.Module:
    config = transformers.LlamaConfig(
        **SMALL, **TEXT, intermediate_size=64, num_key_value_heads=2, use_cache=False
    )
    return transformers.LlamaForCausalLM(config)


def dinov2() -> nn.Module:
    return transformers.Dinov2Model(transformers.Dinov2Config(**SMALL, image_size=64))


MODELS: dict[str, Callable[[], nn.Module]] = {"gpt2": gpt2, "bert": bert, "llama": llama, "dinov2": dinov2}


@cache
def index(name: str) -> Index:
    with weightless():
        model = MODELS[name]() if name in MODELS else vision(name)
    of_text = name in ("gpt2", "bert", "llama")
    spec = (
        InputSpec(name="input_ids", dtype=torch.int64, shape=("batch", 16))
        if of_text
        else InputSpec(name="x", dtype=torch.float32, shape=("batch", 3, 224, 224))
    )
    return make_index(trace(model, [spec]), model)


COUNTS: dict[str, dict[str, int]] = {
    "resnet18": {"conv_bn": 20, "conv_bn_relu": 9, "residual": 8, "bottleneck": 0, "mlp": 0},
    "resnet50": {"conv_bn": 53, "conv_bn_relu": 33, "residual": 0, "bottleneck": 16},
    "resnext50_32x4d": {"bottleneck": 16},
    "convnext_tiny": {"mlp": 18, "conv_bn": 0},
    "vit_b_16": {"mlp": 12},
    "gpt2": {"fused_attention": 3, "attention": 0, "mlp": 3},
    "bert": {"attention": 3, "fused_attention": 0, "mlp": 3},
    "llama": {"attention": 3, "rotary": 6, "gated_mlp": 3, "mlp": 0},
    "dinov2": {"attention": 3, "mlp": 3, "heads": 9},
}


@pytest.mark.parametrize(("model", "pattern"), [(m, p) for m, counts in COUNTS.items() for p in counts])
def test_counts(model: str, pattern: str) -> None:
    found = find(index(model), _pattern(pattern).operations)
    assert len(found.regions) == COUNTS[model][pattern]
    assert validate(index(model).trace, found.regions) == ()


def test_every_pattern_has_a_doc() -> None:
    spec = loader.loads(_spec("residual"), guide_required=False)
    assert {name for counts in COUNTS.values() for name in counts} <= set(spec.patterns)
    assert all(node.doc.endswith(".") for node in spec.patterns.values())
    assert "pattern residual(x)" in (specs_folder() / "std" / "patterns.thx").read_text()


def _pattern(name: str) -> RegionPattern:
    pattern = loader.loads(_spec(name), guide_required=False).rules[0].pattern
    assert isinstance(pattern, RegionPattern)
    return pattern


def _spec(name: str) -> str:
    return f"""theseus 1
use "std/patterns.thx"
rule r {{ match {name} as r  replace with identity }}
schedule progressive {{ lr = 1e-3  for = 1 steps }}
"""
