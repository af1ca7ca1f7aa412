"""Language models: no replacement of a causal part sees the future; converted ones write text, are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import GPT2LMHeadModel

import theseus_fx
from theseus_fx import api
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.library import library

SPEC = """theseus 1
use "std/recurrent.thx"
use "std/tokens.thx"
guide net = transformers.GPT2LMHeadModel(n_layer = 2, n_embd = 16, n_head = 2, vocab_size = 256)
data = stdlib(tokenizer = "bytes", length = 12, batch = 16, at_most = 20000)
task = language_modelling
rule attention {{ match GPT2Attention as a  replace with {replacement} }}
schedule joint {{ lr = 1e-3  for = 2 steps }}
"""
PAIR = """theseus 1
guide  big   = transformers.GPT2LMHeadModel(n_layer = 2, n_embd = 16, n_head = 2, vocab_size = 256)
target small = transformers.GPT2LMHeadModel(n_layer = 1, n_embd = 8, n_head = 2, vocab_size = 256)
data = stdlib(tokenizer = "bytes", length = 12, batch = 16, at_most = 20000)
task = language_modelling
pair block { guide GPT2Block every 2  target GPT2Block }
schedule progressive { metric = ucka  lr = 1e-3  for = 2 steps }
"""
CAUSAL = ("ElmanRNN", "GRU", "LSTM", "TokenLinear", "TokenMLP")
AHEAD = ("BidirectionalGRU", "BidirectionalRNN", "Mixer", "LinearMixer")


def converted(folder: Path, text: str) -> Any:
    return api.run_plan(api.plan(text), out=folder / "run", device="cpu").model


def test_every_replacement_for_sequences_is_one_or_the_other() -> None:
    files = {"std/recurrent.thx", "std/tokens.thx"}
    there = {name for name, entries in library().items() if any(entry.file in files for entry in entries)}
    assert there == {*CAUSAL, *AHEAD}


@pytest.mark.parametrize("replacement", CAUSAL)
def test_no_place_sees_a_later_token(tmp_path: Path, replacement: str) -> None:
    """Whatever the tokens from a place on are, the logits before it stay, to the last bit or nearly."""
    model = converted(tmp_path, SPEC.format(replacement=f"{replacement}(a)")).eval()
    generator = torch.Generator().manual_seed(0)
    for place in (1, 5, 11):
        tokens = torch.randint(256, (4, 12), generator=generator)
        other = tokens.clone()
        other[:, place:] = torch.randint(256, other[:, place:].shape, generator=generator)
        with torch.no_grad():
            one, two = model(tokens).logits, model(other).logits
        torch.testing.assert_close(one[:, :place], two[:, :place], rtol=0, atol=1e-6)
        assert not torch.allclose(one[:, place:], two[:, place:], atol=1e-4)


@pytest.mark.parametrize("replacement", AHEAD)
def test_one_that_looks_ahead_is_refused(tmp_path: Path, replacement: str) -> None:
    with pytest.raises(Rejected) as caught:
        converted(tmp_path, SPEC.format(replacement=f"{replacement}(a)"))
    assert [d.code for d in caught.value.diagnostics] == ["THX804"] * 2  # both parts
    assert caught.value.diagnostics[0].message.startswith("attention[1] transformer.h.0.attn: ")
    assert f"{replacement}(a)" in caught.value.diagnostics[0].render()


def test_a_target_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    text = PAIR.replace(
        "transformers.GPT2LMHeadModel(n_layer = 1, n_embd = 8, n_head = 2, vocab_size = 256)",
        "transformers.BertForMaskedLM(hidden_size = 8, num_hidden_layers = 1, num_attention_heads = 2, "
        "intermediate_size = 8, vocab_size = 256)",
    ).replace("target GPT2Block", "target BertLayer")
    with pytest.raises(Rejected) as caught:
        converted(tmp_path, text)
    (found,) = caught.value.diagnostics
    assert (found.code, found.primary is not None) == ("THX804", True)


def test_a_guide_that_looks_ahead_itself_is_not_asked(tmp_path: Path) -> None:
    text = SPEC.format(replacement="BidirectionalRNN(a)").replace(
        "transformers.GPT2LMHeadModel(n_layer = 2, n_embd = 16, n_head = 2, vocab_size = 256)",
        "transformers.BertForMaskedLM(hidden_size = 8, num_hidden_layers = 1, num_attention_heads = 2, "
        "intermediate_size = 8, vocab_size = 256)",
    )
    assert isinstance(converted(tmp_path, text.replace("GPT2Attention", "BertSelfAttention")), nn.Module)


@pytest.mark.parametrize("text", [SPEC.format(replacement="ElmanRNN(a)"), PAIR], ids=["hybrid", "target"])
def test_a_converted_language_model_writes_text_and_is_saved(tmp_path: Path, text: str) -> None:
    converted(tmp_path, text)
    model = theseus_fx.load(tmp_path / "run")
    assert isinstance(model, GPT2LMHeadModel)
    begun = torch.tensor([[72, 101, 108]])
    written = model.generate(begun, max_new_tokens=5, do_sample=False, use_cache=False, pad_token_id=0)
    assert written.shape == (1, 8)
    tokens = begun
    for _ in range(5):
        with torch.no_grad():
            tokens = torch.cat([tokens, model(tokens).logits[:, -1:].argmax(-1)], 1)
    assert torch.equal(written, tokens)

    model.save_pretrained(tmp_path / "saved")
    assert {"config.json", "model.safetensors"} <= {path.name for path in (tmp_path / "saved").iterdir()}
    if text is PAIR:  # an architecture that transformers knows
        again = GPT2LMHeadModel.from_pretrained(tmp_path / "saved")
        assert torch.equal(again(begun).logits, model(begun).logits)
