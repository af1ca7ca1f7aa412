"""Tracing: names, shapes, calls, and that the untouched graph computes what the model computes."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from theseus_fx.graph.trace import Trace, bind, trace
from theseus_fx.graph.values import InputSpec, ValueInfo

FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "resnet18": models.resnet18,
    "resnet50": models.resnet50,
    "mobilenet_v3_small": models.mobilenet_v3_small,
    "convnext_tiny": models.convnext_tiny,
    "vision transformer": lambda: models.VisionTransformer(32, 8, 2, 4, 32, 64),
    "regnet_y_400mf": models.regnet_y_400mf,
    "efficientnet_b0": models.efficientnet_b0,
    "densenet121": models.densenet121,
    "googlenet": lambda: models.googlenet(init_weights=False, aux_logits=False),
    "shufflenet_v2_x0_5": models.shufflenet_v2_x0_5,
}


def image(size: int = 64) -> list[InputSpec]:
    return [InputSpec(name="image", dtype=torch.float32, shape=("batch", 3, size, size))]


def resnet18_trace(leaves: tuple[str, ...] = ()) -> Trace:
    with torch.device("meta"):
        return trace(models.resnet18(), image(), leaves=leaves)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_untouched_graph_computes_what_the_model_computes(name: str) -> None:
    torch.manual_seed(0)
    model = FAMILIES[name]().eval()
    traced = trace(model, image(32))
    bound = bind(traced, model)
    assert not [call for call in traced.calls if call.demoted]
    for batch in (2, 5):
        x = torch.randn(batch, 3, 32, 32)
        with torch.no_grad():
            expected = model(x)
            assert expected.isfinite().all()
            assert torch.equal(bound(x), expected)


def test_a_module_that_cannot_be_recorded_becomes_a_leaf_and_the_rest_stays() -> None:
    torch.manual_seed(0)
    model = models.swin_transformer.SwinTransformer([4, 4], 8, [2], [2], [4, 4], num_classes=3).eval()
    traced = trace(model, image(32))
    demoted = {call.path: call.demoted for call in traced.calls if call.demoted}
    assert demoted == {"features.1.1.attn": "it sets items of a tensor"}
    x = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(bind(traced, model)(x), model(x))


def test_a_call_is_identified_by_its_number() -> None:
    calls = {call.name: call for call in resnet18_trace().calls}
    first, second = calls["layer1.0.relu#1"], calls["layer1.0.relu#2"]
    assert (first.path, first.number, first.node) == ("layer1.0.relu", 1, "layer1_0_relu")
    assert (second.path, second.number, second.node) == ("layer1.0.relu", 2, "layer1_0_relu_1")
    assert first.inputs == ("layer1_0_bn1",)
    assert "layer1.0.conv1" in calls
    assert calls["relu"].module_class is nn.ReLU


def test_the_calls_are_a_tree_in_execution_order() -> None:
    calls = resnet18_trace().calls
    assert (calls[0].path, calls[0].parent) == ("", None)
    for index, call in enumerate(calls[1:], start=1):
        assert call.parent in range(index)
        around = calls[call.parent].path
        assert not around or call.path.startswith(f"{around}.")
    block = next(call for call in calls if call.path == "layer2.0")
    assert not block.leaf
    assert block.inputs == ("layer1_1_relu_1",)
    assert block.node == "layer2_0_relu_1"


def test_values_have_symbolic_shapes() -> None:
    traced = resnet18_trace()
    assert traced.value("layer2_0_conv1") == ValueInfo(shape=("batch", 128, 8, 8), dtype=torch.float32)
    assert traced.value(traced.output).shape == ("batch", 1000)
    assert traced.node("flatten").target is torch.flatten


def test_named_classes_are_leaves_by_any_name_of_their_mro() -> None:
    class Special(nn.Sequential):
        pass

    model = nn.Sequential(Special(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 2))
    inputs = [InputSpec(name="x", dtype=torch.float32, shape=("batch", 4))]
    assert [call.path for call in trace(model, inputs).calls if call.leaf] == ["0.0", "0.1", "1"]
    assert [call.path for call in trace(model, inputs, leaves=["Special"]).calls if call.leaf] == ["0", "1"]
    blocks = [call.path for call in resnet18_trace(("BasicBlock",)).calls if call.leaf]
    assert "layer1.0" in blocks
    assert "layer1.0.conv1" not in blocks


def test_tracing_neither_runs_nor_changes_the_model() -> None:
    torch.manual_seed(0)
    model = models.mobilenet_v3_small(weights=None).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    versions = [tensor._version for tensor in model.state_dict(keep_vars=True).values()]
    bind(trace(model, image()), model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert versions == [tensor._version for tensor in model.state_dict(keep_vars=True).values()]
    assert all(module.training for module in model.modules())
    assert all(module.inplace for module in model.modules() if isinstance(module, nn.Hardswish))
    assert not any("forward" in vars(module) for module in model.modules())


def test_real_weights_and_the_meta_device_give_the_same_graph() -> None:
    real = trace(models.resnet18(), image())
    assert str(real.graph) == str(resnet18_trace().graph)
    assert real.calls == resnet18_trace().calls


def test_the_bound_graph_uses_the_models_own_modules() -> None:
    model = models.resnet18()
    bound = bind(trace(model, image()), model)
    assert bound.get_submodule("layer1.0.conv1") is model.layer1[0].conv1
    relu = bound.get_submodule("layer1.0.relu")
    assert isinstance(relu, nn.ReLU)
    assert not relu.inplace
    assert model.layer1[0].relu.inplace


PROGRAM = """
import torch
from torch import nn
from theseus_fx.graph.fingerprint import fingerprint
from theseus_fx.graph.trace import trace
from theseus_fx.graph.values import InputSpec

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Linear(32, 5)
    def forward(self, x):
        y = self.relu(self.conv(x))
        y += self.relu(self.conv(x * 2))
        return {"b": self.fc(y.view(x.size(0) * 8, -1)), "a": y.softmax(dim=1, dtype=torch.float64)}

model = Net()
traced = trace(model, [InputSpec(name="x", dtype=torch.float32, shape=("batch", 3, 8, 8))])
printed = " ".join([*traced.nodes, *(call.name for call in traced.calls), fingerprint(traced, model)])
"""


def test_names_and_order_are_the_same_in_every_process() -> None:
    here: dict[str, Any] = {}
    exec(PROGRAM, here)
    there = subprocess.run(
        [sys.executable, "-c", f"{PROGRAM}\nprint(printed)"],
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here["printed"]
    assert "relu#2" in here["printed"]


def test_a_resnet18_at_full_size_is_traced_in_a_moment() -> None:
    with torch.device("meta"):
        model = models.resnet18()
    start = time.perf_counter()
    trace(model, image(224))
    assert time.perf_counter() - start < 5.0  # measured: 0.2 to 0.5 s


def test_inputs_are_passed_by_keyword_where_forward_knows_the_name() -> None:
    class Pair(nn.Module):
        def forward(self, left: torch.Tensor, *, right: torch.Tensor) -> torch.Tensor:
            return left - right

    inputs = [
        InputSpec(name="right", dtype=torch.float32, shape=("batch", 2)),
        InputSpec(name="other", dtype=torch.float32, shape=("batch", 2)),
    ]
    bound = bind(trace(Pair(), inputs), Pair())
    right, left = torch.ones(2, 2), torch.zeros(2, 2)
    assert torch.equal(bound(right, left), left - right)


def test_every_structure_that_a_model_returns_comes_back() -> None:
    class Many(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return {"features": x + 1, "logits": x * 2, "rest": (x.sum(), None, [x.mean()])}

    inputs = [InputSpec(name="x", dtype=torch.float32, shape=("batch", 2))]
    traced = trace(Many(), inputs)
    assert traced.output == traced.outputs[1] == "mul"
    x = torch.randn(3, 2)
    torch.testing.assert_close(bind(traced, Many())(x), Many()(x), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["gpt2", "vit"])
def test_transformers_are_recorded_without_demotions(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers
    torch.manual_seed(0)
    if kind == "gpt2":
        config = transformers.GPT2Config(
            n_layer=2, n_head=2, n_embd=16, vocab_size=50, n_positions=32, use_cache=False,
            bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        model = transformers.GPT2LMHeadModel(config).eval()
        spec = InputSpec(name="input_ids", dtype=torch.int64, shape=("batch", 12))
    else:
        config = transformers.ViTConfig(
            num_hidden_layers=2, num_attention_heads=2, hidden_size=16, intermediate_size=32,
            image_size=32, patch_size=8,
        )  # fmt: skip
        model = transformers.ViTForImageClassification(config).eval()
        spec = InputSpec(name="pixel_values", dtype=torch.float32, shape=("batch", 3, 32, 32))
    traced = trace(model, [spec])
    assert not [call for call in traced.calls if call.demoted]
    for batch in (2, 5):
        sizes = spec.sizes(batch)
        x = torch.randint(0, 50, sizes) if kind == "gpt2" else torch.randn(sizes)
        with torch.no_grad():
            ours, theirs = bind(traced, model)(x), model(**{spec.name: x})
        assert type(ours) is type(theirs)
        assert torch.equal(ours.logits, theirs.logits)
