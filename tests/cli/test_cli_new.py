"""`theseus-fx new`: for many models its text goes through `plan` as it is; a file is never overwritten."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from command_line import Command

from theseus_fx.cli.commands.new import TEMPLATE_NAMES
from theseus_fx.inspection.templates import TEMPLATES

MODELS = [
    # model, template, class, parts, modules kept, batch norms
    ("torchvision.resnet18", "low_rank", "Conv2d", 20, 0, 1),
    ("torchvision.mobilenet_v3_small()", "low_rank", "Conv2d", 52, 0, 1),
    ("torchvision.regnet_y_400mf", "low_rank", "Conv2d", 85, 0, 1),
    ("torchvision.vit_b_16", "low_rank", "Linear", 24, 1, 0),
    ("torchvision.squeezenet1_1", "low_rank", "Conv2d", 25, 1, 0),
    ("small_resnet", "low_rank", "Conv2d", 9, 0, 1),
    ("small_resnet(width = 4, channels = 1)", "mlp", "Conv2d", 9, 0, 1),
    ("transformers.GPT2LMHeadModel(n_layer=2)", "low_rank", "Conv1D", 8, 0, 0),
]


@pytest.mark.parametrize(("model", "template", "module_class", "parts", "kept", "norms"), MODELS)
def test_the_text_goes_through_plan_unchanged(
    command: Command, model: str, template: str, module_class: str, parts: int, kept: int, norms: int
) -> None:
    said = command("new", model, "--to", template)
    assert (said.code, said.err) == (0, "")
    Path("drafted.thx").write_text(said.out)
    assert f"match {module_class} as " in said.out
    assert f"expect {parts}" in said.out
    assert said.out.count("  keep ") == kept
    planned = command("plan", "drafted.thx", "--json")
    assert planned.code == 0
    plan = json.loads(planned.out)
    assert len(plan["parts"]) == parts
    assert not any(part["path"] in ("heads.head", "classifier.1", "fc", "lm_head") for part in plan["parts"])
    assert len(plan["recalibrate"]) == norms
    assert max(len(line) for line in said.out.splitlines()) <= 110


def test_weights_are_named_where_nothing_else_is_asked_for(command: Command) -> None:
    assert 'guide net = torchvision.vgg11(weights = "DEFAULT")' in command("new", "torchvision.vgg11").out
    said = command("new", "torchvision.vgg11(num_classes = 7)")
    assert "guide net = torchvision.vgg11(num_classes = 7)\n" in said.out
    assert "task = classification(classes = 7)" in said.out


def test_a_model_without_weights_is_trained_first(command: Command) -> None:
    said = command("new", "small_resnet(channels = 1)")
    assert "guide net = small_resnet(channels = 1) trained by {" in said.out
    assert "data = digits(" in said.out


def test_inputs_are_declared_where_no_data_does(command: Command) -> None:
    said = command("new", "transformers.GPT2LMHeadModel(n_layer = 2)")
    assert "\ninput input_ids: i64[batch, 128]\n" in said.out
    assert "# finetune {" in said.out
    assert "\nfinetune {" not in said.out
    assert "\ninput " not in command("new", "small_resnet").out


def test_out_writes_a_new_file_only(command: Command) -> None:
    said = command("new", "small_resnet", "--out", "mine.thx")
    assert said.code == 0
    assert "mine.thx" in said.out
    text = Path("mine.thx").read_text()
    again = command("new", "small_resnet", "--to", "mlp", "--out", "mine.thx")
    assert again.code == 1
    assert "THX003" in again.err
    assert Path("mine.thx").read_text() == text
    assert command("plan", "mine.thx").code == 0


def test_a_folder_that_is_not_there(command: Command) -> None:
    said = command("new", "small_resnet", "--out", "nowhere/mine.thx")
    assert said.code == 1
    assert "THX702" in said.err
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("model", "code"),
    [("torchvision.resnet81", "THX301"), ("small_resnet(widht = 3)", "THX205"), ("1", "THX203")],
)
def test_what_is_no_model_is_a_diagnostic(command: Command, model: str, code: str) -> None:
    said = command("new", model)
    assert (said.code, said.out) == (1, "")
    assert code in said.err


def test_a_model_without_parts_is_a_diagnostic(command: Command) -> None:
    small = "hidden_size = 8, intermediate_size = 8, num_attention_heads = 2, num_hidden_layers = 0"
    said = command("new", f"transformers.BertModel({small}, vocab_size = 9)")
    assert (said.code, said.out) == (1, "")
    assert "THX401" in said.err
    assert "theseus-fx trace" in said.err


def test_a_spec_is_no_model(command: Command, tiny: Path) -> None:
    assert command("new", tiny).code == 2


def test_the_templates_of_the_command_line_are_those_there_are() -> None:
    assert tuple(TEMPLATES) == TEMPLATE_NAMES


def test_help_has_an_example(command: Command) -> None:
    assert "theseus-fx new" in command("new", "--help").out
