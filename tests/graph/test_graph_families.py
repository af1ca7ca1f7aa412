"""Models as people use them: the graph of each computes exactly what the model does, at every batch size."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import fx, nn
from torchvision.models import convnext, mobilenetv3, regnet, resnet, swin_transformer, vision_transformer

from theseus_fx.graph.structure import tensors
from theseus_fx.graph.trace import Trace, bind, trace
from theseus_fx.graph.values import InputSpec

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

LENGTH, WORDS = 12, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A small model of one family."""

    make: Callable[[], Any]
    inputs: tuple[InputSpec, ...]
    demoted: frozenset[str] = frozenset()
    """Classes of modules that cannot be recorded."""
    leaves: tuple[tuple[str, int], ...] = ()
    """Classes that a rule may name, and how many modules of each the model calls."""


def tokens() -> InputSpec:
    return InputSpec(name="input_ids", dtype=torch.int64, shape=("batch", LENGTH))


def padding() -> InputSpec:
    return InputSpec(name="attention_mask", dtype=torch.int64, shape=("batch", LENGTH))


def image(size: int, name: str = "pixel_values") -> InputSpec:
    return InputSpec(name=name, dtype=torch.float32, shape=("batch", 3, size, size))


def hugging(name: str, config: str, **fields: Any) -> Callable[[], Any]:
    def make() -> Any:
        return getattr(transformers, name)(getattr(transformers, config)(**fields))

    return make


class SelfAttention(nn.Module):
    """Attention of a sequence to itself, and a map of what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0])


def small_regnet() -> nn.Module:
    params = regnet.BlockParams.from_init_params(2, 8, 8.0, 2.0, 8, se_ratio=0.25)
    return regnet.RegNet(params, num_classes=5)


def small_mobilenet() -> nn.Module:
    bottleneck = partial(mobilenetv3.InvertedResidualConfig, dilation=1, width_mult=1.0)
    blocks = [
        bottleneck(8, 3, 16, 8, use_se=True, activation="RE", stride=2),
        bottleneck(8, 5, 24, 16, use_se=True, activation="HS", stride=1),
    ]
    return mobilenetv3.MobileNetV3(blocks, 32, num_classes=5)


def small_convnext() -> nn.Module:
    return convnext.ConvNeXt(
        [convnext.CNBlockConfig(8, 16, 2), convnext.CNBlockConfig(16, None, 1)], 0.1, num_classes=5
    )


ENDS = {"bos_token_id": 0, "eos_token_id": 0}
GPT2 = {"n_layer": 2, "n_head": 2, "n_embd": 16, "vocab_size": WORDS, "n_positions": 32, **ENDS}
BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "vocab_size": WORDS,
    "max_position_embeddings": 32,
}
LLAMA = {**BERT, **ENDS, "num_key_value_heads": 2}
DINO = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
GPT2_LEAVES = (
    ("GPT2Attention", 2),
    ("GPT2MLP", 2),
)
LLAMA_LEAVES = (
    ("LlamaAttention", 2),
    ("LlamaMLP", 2),
)
BERT_LEAVES = (
    ("BertAttention", 2),
    ("BertLayer", 2),
)

FAMILIES = {
    "resnet18": Family(
        make=lambda: resnet.ResNet(resnet.BasicBlock, [2, 2, 2, 2], num_classes=5),
        inputs=(image(32, "x"),),
        leaves=(("BasicBlock", 8),),
    ),
    "resnet50": Family(
        make=lambda: resnet.ResNet(resnet.Bottleneck, [1, 2, 1, 1], num_classes=5),
        inputs=(image(32, "x"),),
        leaves=(("Bottleneck", 5),),
    ),
    "convnext": Family(make=small_convnext, inputs=(image(32, "x"),), leaves=(("CNBlock", 3),)),
    "vit": Family(
        make=lambda: vision_transformer.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5),
        inputs=(image(32, "x"),),
        leaves=(
            ("MultiheadAttention", 2),
            ("MLPBlock", 2),
        ),
    ),
    "swin": Family(
        make=lambda: swin_transformer.SwinTransformer([4, 4], 16, [2], [2], [4, 4], num_classes=5),
        inputs=(image(32, "x"),),
        demoted=frozenset({"ShiftedWindowAttention"}),
    ),
    "mobilenet": Family(make=small_mobilenet, inputs=(image(32, "x"),)),
    "regnet": Family(make=small_regnet, inputs=(image(32, "x"),)),
    "multi-head attention": Family(
        make=SelfAttention,
        inputs=(InputSpec(name="x", dtype=torch.float32, shape=("batch", 6, 16)),),
        leaves=(("MultiheadAttention", 1),),
    ),
    "gpt2": Family(
        make=hugging("GPT2LMHeadModel", "GPT2Config", **GPT2), inputs=(tokens(),), leaves=GPT2_LEAVES
    ),
    "gpt2 with a mask": Family(
        make=hugging("GPT2LMHeadModel", "GPT2Config", **GPT2),
        inputs=(tokens(), padding()),
        leaves=GPT2_LEAVES,
    ),
    "gpt2 eager": Family(
        make=hugging("GPT2LMHeadModel", "GPT2Config", attn_implementation="eager", **GPT2),
        inputs=(tokens(),),
        leaves=GPT2_LEAVES,
    ),
    "gpt2 eager with a mask": Family(
        make=hugging("GPT2LMHeadModel", "GPT2Config", attn_implementation="eager", **GPT2),
        inputs=(tokens(), padding()),
    ),
    "llama": Family(
        make=hugging("LlamaForCausalLM", "LlamaConfig", **LLAMA), inputs=(tokens(),), leaves=LLAMA_LEAVES
    ),
    "llama with a mask": Family(
        make=hugging("LlamaForCausalLM", "LlamaConfig", **LLAMA),
        inputs=(tokens(), padding()),
        leaves=LLAMA_LEAVES,
    ),
    "qwen2": Family(make=hugging("Qwen2ForCausalLM", "Qwen2Config", **LLAMA), inputs=(tokens(), padding())),
    "pythia": Family(make=hugging("GPTNeoXForCausalLM", "GPTNeoXConfig", **BERT, **ENDS), inputs=(tokens(),)),
    "bert": Family(make=hugging("BertModel", "BertConfig", **BERT), inputs=(tokens(),), leaves=BERT_LEAVES),
    "bert with a mask": Family(
        make=hugging("BertForSequenceClassification", "BertConfig", **BERT),
        inputs=(tokens(), padding()),
        leaves=BERT_LEAVES,
    ),
    "roberta": Family(make=hugging("RobertaModel", "RobertaConfig", **BERT), inputs=(tokens(), padding())),
    "dinov2": Family(
        make=hugging("Dinov2Model", "Dinov2Config", **DINO),
        inputs=(image(28),),
        leaves=(
            ("Dinov2Layer", 2),
            ("Dinov2MLP", 2),
        ),
    ),
    "dinov2 at another size": Family(
        make=hugging("Dinov2Model", "Dinov2Config", **DINO), inputs=(image(42),)
    ),
    "dinov2 with registers": Family(
        make=hugging("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", **DINO),
        inputs=(image(28),),
        leaves=(("Dinov2WithRegistersLayer", 2),),
    ),
    "hf convnext": Family(
        make=hugging(
            "ConvNextForImageClassification",
            "ConvNextConfig",
            hidden_sizes=[8, 16, 16, 16],
            depths=[1, 1, 2, 1],
        ),
        inputs=(image(32),),
        leaves=(("ConvNextLayer", 5),),
    ),
}


def model_of(family: Family) -> Any:
    torch.manual_seed(0)
    model = family.make().eval()
    for parameter in model.parameters():  # a fresh network has zeros and ones, which hide mistakes
        nn.init.normal_(parameter, std=0.2)
    return model


def values(spec: InputSpec, batch: int) -> torch.Tensor:
    """An input of its kind; of a mask, every row but the first lacks tokens at its beginning or its end."""
    sizes = spec.sizes(batch)
    if spec.dtype == torch.float32:
        return torch.randn(sizes)
    if spec.name != "attention_mask":
        return torch.randint(2, WORDS, sizes)
    mask = torch.ones(sizes, dtype=torch.int64)
    for row in range(1, batch):
        mask[row, slice(None, row) if row % 2 else slice(-row, None)] = 0
    return mask


def assert_exact(model: Any, traced: Trace, family: Family, *batches: int) -> None:
    bound = bind(traced, model)
    for batch in batches:
        given = {spec.name: values(spec, batch) for spec in family.inputs}
        with torch.no_grad():
            ours, theirs = list(tensors(bound(*given.values()))), list(tensors(model(**given)))
        assert ours
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a, b), (batch, float((a - b).abs().max()))


class Checked(fx.Interpreter):
    """Runs a graph and compares each tensor with what the trace says of its node."""

    def __init__(self, module: fx.GraphModule, traced: Trace, batch: int) -> None:
        super().__init__(module)
        self.traced = traced
        self.batch = batch
        self.compared = 0

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor) and n.op != "output":
            known = self.traced.value(n.name)
            assert (known.sizes(self.batch), known.dtype) == (tuple(result.shape), result.dtype), n.name
            self.compared += 1
        return result


@pytest.mark.parametrize("name", FAMILIES)
def test_the_graph_is_exact_and_knows_every_shape(name: str) -> None:
    family = FAMILIES[name]
    model = model_of(family)
    traced = trace(model, family.inputs)
    demoted = {call.module_class.__name__ for call in traced.calls if call.demoted}
    assert demoted == family.demoted
    assert_exact(model, traced, family, 1, 2, 5)
    for batch in (1, 5):
        checked = Checked(bind(traced, model), traced, batch)
        with torch.no_grad():
            checked.run(*(values(spec, batch) for spec in family.inputs))
        assert checked.compared == len(traced.values)


@pytest.mark.parametrize(
    ("name", "leaf", "number"), [(name, *leaf) for name, family in FAMILIES.items() for leaf in family.leaves]
)
def test_what_a_rule_names_is_a_leaf_of_an_exact_graph(name: str, leaf: str, number: int) -> None:
    family = FAMILIES[name]
    model = model_of(family)
    traced = trace(model, family.inputs, leaves=[leaf])
    found = [call for call in traced.calls if call.module_class.__name__ == leaf]
    assert len(found) == number
    assert all(call.leaf and not call.demoted for call in found)
    assert_exact(model, traced, family, 1, 2, 5)


def test_causal_attention_asks_for_its_kernel_and_builds_no_mask() -> None:
    for name in ("gpt2", "llama"):
        family = FAMILIES[name]
        traced = trace(model_of(family), family.inputs)
        kernel = nn.functional.scaled_dot_product_attention
        attentions = [node for node in traced.graph.nodes if node.target is kernel]
        assert [node.kwargs["is_causal"] for node in attentions] == [True, True]
        assert [node.kwargs.get("attn_mask") for node in attentions] == [None, None]


def test_packed_sequences_are_told_apart_where_their_positions_are_an_input() -> None:
    positions = InputSpec(name="position_ids", dtype=torch.int64, shape=("batch", LENGTH))
    family = Family(make=FAMILIES["llama"].make, inputs=(tokens(), positions))
    model = model_of(family)
    model.config.use_cache = False  # with a cache, transformers takes a row for one sequence
    bound = bind(trace(model, family.inputs), model)
    two = torch.cat([torch.arange(5), torch.arange(LENGTH - 5)]).expand(2, -1)
    given = {"input_ids": values(tokens(), 2), "position_ids": two}
    with torch.no_grad():
        assert torch.equal(bound(*given.values()).logits, model(**given).logits)
        together = model(**{**given, "position_ids": torch.arange(LENGTH).expand(2, -1)})
        assert not torch.equal(model(**given).logits, together.logits)


def test_a_cache_is_left_out_of_the_graph_and_left_alone_in_the_model() -> None:
    family = FAMILIES["gpt2"]
    model = model_of(family)
    given = values(tokens(), 2)
    with torch.no_grad():
        ours, theirs = bind(trace(model, family.inputs), model)(given), model(given)
    assert ours.past_key_values is None
    assert theirs.past_key_values is not None
    assert model.config.use_cache is True
    assert torch.equal(ours.logits, theirs.logits)


def test_the_library_is_as_before_after_a_trace() -> None:
    from transformers import masking_utils

    before = masking_utils.find_packed_sequence_indices
    trace(model_of(FAMILIES["gpt2"]), FAMILIES["gpt2"].inputs)
    assert masking_utils.find_packed_sequence_indices is before


def test_a_trace_needs_no_gradient_mode_around_it() -> None:
    family = FAMILIES["multi-head attention"]
    model = model_of(family)
    with torch.no_grad():
        traced = trace(model, family.inputs)
    assert [node.name for node in traced.graph.nodes] == [*trace(model, family.inputs).nodes]
    assert not [call for call in traced.calls if call.demoted]
