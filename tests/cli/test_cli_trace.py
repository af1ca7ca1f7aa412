"""`theseus-fx trace`: the tree of modules and operations, its JSON, what is asked for wrongly."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from command_line import Command

from theseus_fx.graph.trace import trace
from theseus_fx.inspection.outline import SCHEMA, outline
from theseus_fx.inspection.subject import subject
from theseus_fx.match.ops.index import make_index
from theseus_fx.match.ops.names import canonical

KEYS = {
    "": "kind schema model class inputs output parameters flops tree demoted",
    "inputs.0": "name dtype shape",
    "output": "node shape dtype",
    "tree": "kind path call class classes attributes leaf demoted inputs output parameters flops left_out "
    "inside",
    "tree.inside.7": "kind name node inputs output flops",
}
"""Every object of schema 1 and its keys in order. A change here is a change of `SCHEMA`."""


def at(value: Any, path: str) -> Any:
    for step in path.split(".") if path else ():
        value = value[int(step)] if step.isdigit() else value[step]
    return value


def lines(tree: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield tree
    for line in tree["inside"]:
        if line["kind"] == "module":
            yield from lines(line)
        else:
            yield line


def test_the_keys_of_the_schema(command: Command) -> None:
    found = json.loads(command("trace", "small_resnet", "--json").out)
    assert (found["kind"], found["schema"], SCHEMA) == ("theseus-fx trace", 1, 1)
    for path, keys in KEYS.items():
        assert [*at(found, path)] == keys.split()


def test_resnet18_has_its_twenty_convolutions_and_eight_additions(command: Command) -> None:
    found = json.loads(command("trace", "torchvision.resnet18", "--json").out)
    all_lines = [*lines(found["tree"])]
    convolutions = [e for e in all_lines if e["kind"] == "module" and "Conv2d" in e["classes"]]
    assert len(convolutions) == 20
    assert convolutions[0]["path"] == "conv1"
    assert convolutions[0]["attributes"]["kernel_size"] == [7, 7]
    assert convolutions[0]["output"] == {
        "node": "conv1", "shape": ["batch", 64, 112, 112], "dtype": "float32"}  # fmt: skip
    assert convolutions[0]["flops"] == 2 * 49 * 3 * 64 * 112 * 112
    assert sum(e["kind"] != "module" and e["name"] == "add" for e in all_lines) == 8
    assert found["parameters"] == 11_689_512
    assert found["flops"] == sum(e["flops"] for e in all_lines if e["kind"] != "module" or e["leaf"])
    assert found["output"]["shape"] == ["batch", 1000]


def test_a_module_that_is_called_twice_has_its_number(command: Command) -> None:
    said = command("trace", "small_resnet")
    assert said.code == 0
    assert "      layer1.0.relu#2  ReLU  b x 8 x 32 x 32 -> b x 8 x 32 x 32" in said.out
    assert "      add(layer1_0_bn2, relu)  -> b x 8 x 32 x 32" in said.out
    assert "├" not in said.out  # not a terminal


def test_operations_stand_inside_the_module_that_calls_them(command: Command) -> None:
    said = command("trace", "transformers.GPT2LMHeadModel(n_layer = 2)", "--json")
    tree = json.loads(said.out)["tree"]
    attention = next(e for e in lines(tree) if e["kind"] == "module" and e["path"] == "transformer.h.1.attn")
    names = [e.get("name", e.get("class")) for e in attention["inside"]]
    assert names[0] == "Conv1D"
    assert "scaled_dot_product_attention" in names
    assert names.index("split") < names.index("scaled_dot_product_attention")


def test_depth_and_filter_leave_out_and_count(command: Command) -> None:
    said = command("trace", "small_resnet", "--depth", "1", "--filter", "layer3*", "--json")
    tree = json.loads(said.out)["tree"]
    (layer,) = tree["inside"]
    assert (layer["path"], layer["inside"], layer["left_out"]) == ("layer3", [], 9)
    assert tree["left_out"] == 3 + 7 + 9 + 3


def test_a_filter_takes_classes_and_operations(command: Command) -> None:
    found = json.loads(
        command("trace", "small_resnet", "--filter", "Linear", "--filter", "add", "--json").out
    )
    leaves = [e for e in lines(found["tree"]) if e["kind"] != "module" or e["leaf"]]
    assert [e.get("class", e.get("name")) for e in leaves] == ["add", "add", "add", "Linear"]


def test_each_filter_that_fits_nothing_is_named(command: Command) -> None:
    said = command("trace", "small_resnet", "--filter", "Conv2", "--filter", "fcc")
    assert said.code == 1
    assert said.err.count("THX404") == 2
    assert "`Conv2d`" in said.err
    assert "`fc`" in said.err


def test_the_guide_of_a_spec_on_its_own_input(command: Command, tiny: Path) -> None:
    found = json.loads(command("trace", tiny, "--json").out)
    assert found["model"] == "tiny.thx"
    assert found["inputs"][0]["shape"] == ["batch", 1, 8, 8]


def test_a_declared_input(command: Command) -> None:
    said = command("trace", "small_resnet(channels = 1)", "--input", "image: f32[batch, 1, 8, 8]", "--json")
    assert json.loads(said.out)["inputs"] == [
        {"name": "image", "dtype": "float32", "shape": ["batch", 1, 8, 8]}
    ]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("resnet18",), "THX301"),
        (("torchvision.resnet81",), "THX301"),
        (("torchvision.resnet18(",), "THX104"),
        (("1 + 1",), "THX203"),
        (("",), "THX101"),
        (("nowhere.thx",), "THX001"),
        (("small_resnet", "--input", "x: f33[batch]"), "THX209"),
        (("small_resnet", "--input", ""), "THX101"),
        (("small_resnet", "--input", "x: f32[batch, 3, 8, 8] y: f32[batch]"), "THX101"),
        (("small_resnet", "--input", "x: f32[batch, 3, 8, 8] input y: f32[batch]"), "THX206"),
        (("small_resnet", "--input", "x: f32[batch, 5]"), "THX304"),
        (("transformers.Wav2Vec2Model",), "THX207"),
    ],
)
def test_what_cannot_be_traced_is_a_diagnostic(
    command: Command, arguments: tuple[str, ...], code: str
) -> None:
    said = command("trace", *arguments)
    assert said.code == 1
    assert code in said.err
    as_json = json.loads(command("trace", *arguments, "--json").out)
    assert as_json["diagnostics"][0]["code"] == code


def test_help_has_an_example(command: Command) -> None:
    said = command("trace", "--help")
    assert said.code == 0
    assert "theseus-fx trace" in said.out


@pytest.mark.parametrize(
    ("model", "meant"),
    [
        ("resnet18", "torchvision.resnet18"),
        ("resnet81", "torchvision.resnet18"),
        ("smal_resnet", "small_resnet"),
        ("torchvison.resnet18", "torchvision"),
    ],
)
def test_a_forgotten_library_is_proposed(command: Command, model: str, meant: str) -> None:
    said = command("trace", model)
    assert f"= help: did you mean `{meant}`?" in said.err


@pytest.mark.parametrize(
    "model", ["small_resnet", "transformers.GPT2LMHeadModel(n_layer = 1)", "torchvision.swin_t"]
)
def test_operations_have_the_names_that_patterns_match(command: Command, model: str) -> None:
    found = subject(model)
    index = make_index(trace(found.model, found.inputs), found.model)
    operations = [e for e in lines(outline(found).as_json()["tree"]) if e["kind"] != "module"]
    assert operations
    for operation in operations:
        assert operation["name"] == canonical(operation["name"])
        if operation["node"] in index.tensors:
            assert operation["node"] in {node.name for node in index.functions[operation["name"]]}


def test_the_target_of_a_spec_is_traced_on_the_guide_s_inputs(command: Command) -> None:
    spec = Path(__file__).resolve().parents[2] / "specs" / "resnet50_to_resnet18.thx"
    guide = json.loads(command("trace", spec, "--depth", "0", "--json").out)
    target = json.loads(command("trace", spec, "--network", "target", "--depth", "0", "--json").out)
    assert (guide["parameters"], target["parameters"]) == (25_557_032, 11_689_512)
    assert guide["inputs"] == target["inputs"]


def test_a_spec_without_a_target_has_no_other_network(command: Command, tiny: Path) -> None:
    said = command("trace", tiny, "--network", "target")
    assert (said.code, "THX207" in said.err) == (1, True)
    assert command("trace", "small_resnet", "--network", "target").code == 2
