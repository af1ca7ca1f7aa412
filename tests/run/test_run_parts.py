"""Runs that replace attention: converted, saved, loaded, and still called as the guide calls it."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

import theseus_fx
from theseus_fx.graph.surgery import convert
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.spec import Spec
from theseus_fx.models.resolve import build
from theseus_fx.planning.plan import Plan
from theseus_fx.run.export import load_model, save_model
from theseus_fx.run.folder import read_json, write_json

VIT = """
theseus 1
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
rule attention {
  match MultiheadAttention as a  expect 2
  replace with Linear(8, bias = false) |> Linear(a.out.shape[2])
}
schedule progressive { metric = cka  lr = 1e-3  for = 2 steps }
finetune { lr = 1e-3  for = 2 steps }
"""
GPT2 = """
theseus 1
guide net = transformers.GPT2LMHeadModel(
  n_layer = 2, n_embd = 32, n_head = 2, vocab_size = 100, bos_token_id = 0, eos_token_id = 99)
input tokens: i64[batch, 16]
rule attention {
  match GPT2Attention as a expect 2
  replace with Linear(a.out.shape[2])
}
schedule progressive { lr = 1e-3  for = 2 steps }
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THESEUS_FX_CACHE", str(tmp_path / "cache"))
    return tmp_path


def vit() -> nn.Module:
    """A vision transformer for grey images of 8 x 8."""
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(8, 2, 2, 2, 16, 32, num_classes=10)
    model.conv_proj = nn.Conv2d(1, 16, 2, stride=2)
    nn.init.normal_(model.heads.head.weight)
    return model


def test_a_vision_transformer_loses_its_attention() -> None:
    done = theseus_fx.convert(vit(), VIT, out="run", device="cpu")
    assert type(done.model) is torchvision.models.VisionTransformer
    assert [stage["steps"] for stage in done.summary["stages"]] == [2, 2]
    names = [name for name in done.model.state_dict() if "self_attention" in name]
    layers = [f"encoder.layers.encoder_layer_{i}.self_attention" for i in (0, 1)]
    new = ("linear_1.weight", "linear_2.weight", "linear_2.bias")
    assert names == [f"{layer}.{name}" for layer in layers for name in new]
    images = torch.randn(5, 1, 8, 8)
    loaded = theseus_fx.load("run", guide=vit())
    with torch.no_grad():
        expected = done.model(images)
        assert torch.equal(loaded(images), expected)
        assert not torch.equal(vit().eval()(images), expected)
    assert theseus_fx.resume("run", model=vit()).summary == done.summary


def planned() -> tuple[Plan, Any]:
    """A plan for GPT-2, and the converted model with random replacements."""
    torch.manual_seed(0)
    plan = theseus_fx.plan(GPT2)
    spec: Spec = plan.spec
    assert spec.guide is not None
    guide = build(spec.guide.model, device=torch.device("cpu"), weights=False)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.normal_(std=0.3)
    parts = {part.path: part.recipe.make(seed=number) for number, part in enumerate(plan.parts)}
    return plan, convert(guide, parts, conventions=plan.conventions).eval()


def test_a_language_model_is_built_again_from_its_folder(folder: Path) -> None:
    plan, model = planned()
    save_model(folder, plan, model, guide=model, handed_over=False)
    loaded: Any = load_model(folder)
    tokens = torch.randint(0, 100, (5, 16))
    with torch.no_grad():
        assert torch.equal(loaded(tokens).logits, model(tokens).logits)
    assert isinstance(loaded.transformer.h[0].attn, nn.Sequential)
    assert loaded.lm_head.weight is loaded.transformer.wte.weight
    assert loaded.state_dict().keys() == model.state_dict().keys()


def test_the_folder_says_how_the_guide_calls_a_part(folder: Path) -> None:
    plan, model = planned()
    save_model(folder, plan, model, guide=model, handed_over=False)
    architecture: dict[str, Any] = {**read_json(folder / "architecture.json")}
    returned = {"group": "tuple", "keys": [0, 1], "items": [{"output": True}, {"constant": None}]}
    assert architecture["conventions"]["transformer.h.0.attn"] == {
        "takes": [{"parameter": "hidden_states", "position": 0, "steps": []}],
        "returns": returned,
    }
    returned["group"] = "transformers:NoSuchOutput"
    architecture["conventions"]["transformer.h.0.attn"]["returns"] = returned
    write_json(folder / "architecture.json", architecture)
    with pytest.raises(Rejected, match="NoSuchOutput"):
        load_model(folder)


def test_it_can_be_copied_saved_whole_and_as_transformers_does(folder: Path) -> None:
    _, model = planned()
    tokens = torch.randint(0, 100, (2, 16))
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    with torch.no_grad():
        expected = model(tokens).logits
        assert torch.equal(copy.deepcopy(model)(tokens).logits, expected)
        assert torch.equal(torch.load(buffer, weights_only=False)(tokens).logits, expected)
    model.save_pretrained(folder / "pretrained")
    saved = load_file(folder / "pretrained" / "model.safetensors")
    assert saved.keys() == model.state_dict().keys() - {"lm_head.weight"}


def test_it_generates_what_it_predicts() -> None:
    """`generate` calls the parts with arguments of its own, and fills no cache."""
    _, model = planned()
    tokens = torch.randint(0, 99, (2, 4))
    assert (model.config.use_cache, model.generation_config.use_cache) == (False, False)
    generated = model.generate(
        tokens, max_new_tokens=3, do_sample=False, attention_mask=torch.ones_like(tokens), pad_token_id=99
    )
    expected = tokens
    for _ in range(3):
        with torch.no_grad():
            expected = torch.cat([expected, model(expected).logits[:, -1:].argmax(-1)], 1)
    assert not (expected == 99).any()
    assert torch.equal(generated, expected)
