"""Attention and blocks of real models: the hybrid as a program equals the converted model, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torchvision
import transformers
from torch import Tensor, nn

from theseus_fx.graph.convention import convention_of
from theseus_fx.graph.program import TargetProgram, target_program
from theseus_fx.graph.slices import Placement
from theseus_fx.graph.structure import main_tensor
from theseus_fx.graph.surgery import convert
from theseus_fx.graph.trace import ModuleCall, Trace, trace
from theseus_fx.graph.values import InputSpec

TOKENS = InputSpec(name="tokens", dtype=torch.int64, shape=("batch", 16))
PIXELS = InputSpec(name="pixels", dtype=torch.float32, shape=("batch", 3, 32, 32))
WIDTH = 32
ENCODER = {
    "num_hidden_layers": 2,
    "hidden_size": WIDTH,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 100,
    "use_cache": False,
}


def gpt2(attention: str) -> nn.Module:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            n_layer=2, n_embd=WIDTH, n_head=2, vocab_size=100, use_cache=False, attn_implementation=attention,
            bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip


def bert(attention: str) -> nn.Module:
    return transformers.BertModel(transformers.BertConfig(attn_implementation=attention, **ENCODER))


def llama(attention: str) -> nn.Module:
    config = transformers.LlamaConfig(attn_implementation=attention, num_key_value_heads=2, **ENCODER)
    return transformers.LlamaForCausalLM(config)


def dinov2(attention: str) -> nn.Module:
    return transformers.Dinov2Model(
        transformers.Dinov2Config(
            num_hidden_layers=2, hidden_size=WIDTH, num_attention_heads=2, image_size=32, patch_size=8,
            attn_implementation=attention,
        )
    )  # fmt: skip


def vit(_: str) -> nn.Module:
    return torchvision.models.VisionTransformer(32, 8, 2, 2, WIDTH, 64, num_classes=10)


Make = Callable[[str], nn.Module]
FAMILIES: list[tuple[Make, str, InputSpec, str]] = [
    (make, attention, spec, part)
    for make, spec, parts in (
        (gpt2, TOKENS, ("GPT2Attention", "GPT2Block")),
        (bert, TOKENS, ("BertAttention", "BertSelfAttention", "BertLayer")),
        (llama, TOKENS, ("LlamaAttention", "LlamaDecoderLayer")),
        (dinov2, PIXELS, ("Dinov2Attention", "Dinov2Layer")),
    )
    for attention in ("sdpa", "eager")
    for part in parts
] + [(vit, "sdpa", PIXELS, "MultiheadAttention"), (vit, "sdpa", PIXELS, "EncoderBlock")]


def sample(spec: InputSpec, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    if spec.dtype == torch.int64:
        return torch.randint(0, 100, spec.sizes(batch), generator=generator)
    return torch.randn(spec.sizes(batch), generator=generator)


def output(model: nn.Module, x: Tensor) -> Tensor:
    found = main_tensor(model(x))
    assert found is not None
    return found


def gradients(model: nn.Module, x: Tensor, parameters: list[nn.Parameter]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output(model, x).square().sum(), parameters)


def calls_of(traced: Trace, part: str) -> list[ModuleCall]:
    return [call for call in traced.calls if call.module_class.__name__ == part]


def primary(call: ModuleCall) -> tuple[str, ...]:
    assert call.primary is not None
    return (call.primary.node,)


def hybrids(
    traced: Trace, model: nn.Module, chosen: list[ModuleCall]
) -> tuple[TargetProgram, nn.Module, list[nn.Parameter]]:
    """The program and the model, with the same replacements in both."""
    new = {call.path: nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) for call in chosen}
    placed = {str(call.node): Placement(new[call.path], primary(call)) for call in chosen}
    conventions = {
        call.path: convention
        for call in chosen
        if (convention := convention_of(call, primary(call))) is not None
    }
    program = target_program(traced, model, placed)
    converted = convert(model, new, conventions=conventions, share=True)
    return program, converted, [p for module in new.values() for p in module.parameters()]


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda f: f"{f[3]}-{f[1]}")
def family(request: Any) -> tuple[nn.Module, Trace, InputSpec, str]:
    make, attention, spec, part = request.param
    torch.manual_seed(0)
    model = make(attention).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)  # what a fresh model adds to its residual stream is tiny, or nothing
    return model, trace(model, [spec], leaves=[part]), spec, part


@pytest.mark.parametrize("count", [1, 2])
def test_program_and_model_are_equal(family: tuple[nn.Module, Trace, InputSpec, str], count: int) -> None:
    model, traced, spec, part = family
    chosen = calls_of(traced, part)[:count]
    assert len(chosen) == count
    program, converted, parameters = hybrids(traced, model, chosen)
    for batch in (1, 2, 5):
        x = sample(spec, batch)
        with torch.no_grad():
            assert torch.equal(output(program, x), output(converted, x))
            assert not torch.equal(output(program, x), output(model, x))
        pairs = zip(gradients(program, x, parameters), gradients(converted, x, parameters), strict=True)
        assert all(torch.equal(a, b) and a.abs().sum() > 0 for a, b in pairs)


def test_masks_that_nothing_needs_any_more_are_not_in_the_program() -> None:
    masked = InputSpec(name="attention_mask", dtype=torch.int64, shape=("batch", 16))
    inputs = [replace(TOKENS, name="input_ids"), masked]
    traced = trace(gpt2("sdpa").eval(), inputs, leaves=["GPT2Attention"])
    chosen = calls_of(traced, "GPT2Attention")
    mask = chosen[0].arguments[1]
    assert (mask.name, traced.value(mask.node).shape) == ("attention_mask", ("batch", 1, 16, 16))
    one, _, _ = hybrids(traced, gpt2("sdpa").eval(), chosen[:1])
    both, _, _ = hybrids(traced, gpt2("sdpa").eval(), chosen)
    assert mask.node in {node.name for node in one.program.graph.nodes}
    assert mask.node not in {node.name for node in both.program.graph.nodes}


def test_the_same_value_for_query_key_and_value_is_one_input() -> None:
    traced = trace(vit("").eval(), [PIXELS], leaves=[])
    for call in calls_of(traced, "MultiheadAttention"):
        assert [entry.name for entry in call.arguments] == ["query"]
        assert call.used == ("0",)


def test_llama_names_its_positions() -> None:
    traced = trace(llama("sdpa").eval(), [TOKENS], leaves=["LlamaAttention"])
    names = [entry.name for entry in calls_of(traced, "LlamaAttention")[0].arguments]
    assert names[0] == "hidden_states"
    assert {"position_embeddings.0", "position_embeddings.1"} <= set(names)


def test_a_model_with_a_cache_is_traced_without_it_and_keeps_it() -> None:
    model: Any = gpt2("sdpa").eval()
    plain = trace(model, [TOKENS])
    model.config.use_cache = True
    assert str(trace(model, [TOKENS]).graph) == str(plain.graph)
    assert model.config.use_cache is True
