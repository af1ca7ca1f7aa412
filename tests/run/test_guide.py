"""The guide of a run: the network with weights has to be the one that was planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import theseus_fx
from theseus_fx.lang.diagnostics import Rejected

SPEC = """\
theseus 1
guide net = transformers.GPT2LMHeadModel("{hub}")
data = textfile("text.txt", tokenizer = "bytes", length = 8, batch = 2)
task = language_modelling
module Thin(part) = Linear(4, bias = false) |> Linear(8)
rule mlp {{
  match GPT2MLP as m
  replace with Thin(m)
}}
schedule progressive {{ metric = cka  lr = 1e-3  for = 1 steps }}
"""
CONFIG = {"n_embd": 8, "n_head": 2, "n_positions": 8, "vocab_size": 256, "bos_token_id": 0, "eos_token_id": 0}


def saved(folder: Path, layers: int) -> Any:
    import transformers

    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=layers, **CONFIG))
    model.save_pretrained(folder)
    return model


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("some words and more of them. " * 60)
    path = tmp_path / "spec.thx"
    path.write_text(SPEC.format(hub=tmp_path / "hub"))
    return path


def test_a_guide_of_a_folder_comes_with_its_weights(spec: Path, tmp_path: Path) -> None:
    model = saved(tmp_path / "hub", layers=1)
    done = theseus_fx.convert(None, spec, out=tmp_path / "run", cache=tmp_path / "cache", device="cpu")
    assert torch.equal(done.model.get_parameter("transformer.wpe.weight"), model.transformer.wpe.weight)
    assert done.summary["metric"]["name"] == "perplexity"


@pytest.mark.parametrize("layers", [2, 1])
def test_another_network_than_the_planned_one_is_refused(spec: Path, tmp_path: Path, layers: int) -> None:
    saved(tmp_path / "hub", layers=3 - layers)
    plan = theseus_fx.plan(spec)
    saved(tmp_path / "hub", layers=layers)
    with pytest.raises(Rejected) as caught:
        theseus_fx.api.run_plan(plan, out=tmp_path / "run", cache=tmp_path / "cache", device="cpu")
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "THX505"
    assert "another network than the one that was planned" in diagnostic.message
