"""Counts on real models, without weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
import transformers
from match_written import function, image, module, tokens, whole
from torch import nn

from theseus_fx.lang.operations import Bound, Either, Input, OperationPattern, Pattern, optional
from theseus_fx.match.ops.find import find
from theseus_fx.match.ops.index import Index
from theseus_fx.match.ops.regions import validate

X = Input("x")


def conv_bn(value: Pattern, **attributes: object) -> Pattern:
    return module("BatchNorm2d", module("Conv2d", value, **attributes))


def residual(main: Pattern) -> OperationPattern:
    return whole(module("ReLU", function("add", main, Either((X, conv_bn(X, kernel_size=1))))))


CONV_BN_RELU = whole(module("ReLU", conv_bn(X)))
RESIDUAL = residual(conv_bn(module("ReLU", conv_bn(X, kernel_size=3)), kernel_size=3))
BOTTLENECK = residual(
    conv_bn(module("ReLU", conv_bn(module("ReLU", conv_bn(X, kernel_size=1)), kernel_size=3)), kernel_size=1)
)


ANCHORS = ("layer1_0_relu_1", "layer2_0_relu_1")


def gpt2_attention() -> OperationPattern:
    parts = Bound("parts", function("split", module("Conv1D", X)))
    q, k, v = (function("transpose", function("view", function("getitem", parts))) for _ in range(3))
    mixed = function("scaled_dot_product_attention", q, k, v)
    heads = function("reshape", function("contiguous", function("transpose", function("reshape", mixed))))
    return whole(module("Dropout", module("Conv1D", function("contiguous", heads))))


def mlp(linear: str) -> OperationPattern:
    act = Either((function("gelu", module(linear, X)), module("NewGELUActivation", module(linear, X))))
    return whole(optional(lambda v: module("Dropout", v), module(linear, act)))


def resnet(name: str) -> Callable[[], Index]:
    return lambda: image(getattr(torchvision.models, name)())


def gpt2(*, masked: bool = False) -> Index:
    config = transformers.GPT2Config(
        n_layer=3, n_embd=32, n_head=4, vocab_size=64, bos_token_id=0, eos_token_id=0, use_cache=False
    )
    return tokens(transformers.GPT2LMHeadModel(config), masked=masked)


def bert() -> Index:
    config = transformers.BertConfig(
        num_hidden_layers=3, hidden_size=32, num_attention_heads=4, intermediate_size=64, vocab_size=64
    )
    return tokens(transformers.BertModel(config))


@pytest.mark.parametrize(
    ("build", "pattern", "count"),
    [
        (resnet("resnet18"), CONV_BN_RELU, 9),
        (resnet("resnet18"), RESIDUAL, 8),
        (resnet("resnet18"), BOTTLENECK, 0),
        (resnet("resnet50"), CONV_BN_RELU, 33),
        (resnet("resnet50"), RESIDUAL, 0),
        (resnet("resnet50"), BOTTLENECK, 16),
        (gpt2, gpt2_attention(), 3),
        (gpt2, mlp("Conv1D"), 3),
        (bert, mlp("Linear"), 3),
    ],
)
def test_counts(build: Callable[[], Index], pattern: OperationPattern, count: int) -> None:
    with torch.device("meta"):
        index = build()
    found = find(index, pattern)
    assert len(found.regions) == count
    assert validate(index.trace, found.regions) == ()


def test_adjacent_blocks_share_a_value_and_no_node() -> None:
    with torch.device("meta"):
        index = image(torchvision.models.resnet18())
    found = find(index, RESIDUAL)
    assert [r.inputs[0] for r in found.regions[1:]] == [r.output for r in found.regions[:-1]]
    assert [len(r.nodes) for r in found.regions] == [7, 7, 9, 7, 9, 7, 9, 7]
    assert found.regions[0].calls(index)[0].path == "layer1.0"


def test_the_nearest_miss_of_a_bottleneck_in_a_basic_network() -> None:
    with torch.device("meta"):
        index = image(torchvision.models.resnet18())
    plain, *_, strided = (a for a in find(index, BOTTLENECK).attempts if a.anchor in ANCHORS)
    assert (plain.depth, plain.node, plain.reason) == (3, "layer1_0_conv2", "has kernel_size = [3, 3], not 1")
    assert (strided.depth, strided.node) == (5, "add_1")
    assert strided.reason == "is `add`, not a BatchNorm2d"


def test_a_mask_is_a_further_input() -> None:
    with torch.device("meta"):
        index = gpt2(masked=True)
    for region in find(index, gpt2_attention()).regions:
        (mask,) = region.others
        assert index.trace.value(mask).dtype == torch.bool


def test_every_module_of_a_chain_can_be_found() -> None:
    index = image(nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(40))))
    assert len(find(index, whole(module("Conv2d", module("Conv2d", X)))).regions) == 20
