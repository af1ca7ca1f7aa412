"""Language models from the command line: planned without data, and converted on a short text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Command

SPEC = """\
theseus 1
guide net = transformers.GPT2LMHeadModel(
  n_layer = 1, n_head = 2, n_embd = 8, n_positions = 16, vocab_size = 256, bos_token_id = 0, eos_token_id = 0
) trained by {
  lr  = 1e-2
  for = 8 steps
}
data = textfile("text.txt", tokenizer = "bytes", length = 16, batch = 8)
task = language_modelling
module Thin(part) = Linear(4, bias = false) |> Linear(8)
rule mlp {
  match GPT2MLP as m  expect 1
  replace with Thin(m)
}
schedule progressive { metric = cka  lr = 1e-3  for = 2 steps }
finetune {
  lr   = 1e-3
  loss = 0.5 * cross_entropy + 0.5 * distill(net, temperature = 2)
  for  = 2 steps
}
compare naive
"""
WIKITEXT = """\
data = wikitext("wikitext-103-raw-v1", tokenizer = "openai-community/gpt2", length = 16, batch = 64)"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text("to be or not to be, that is the question. " * 80)
    path = tmp_path / "words.thx"
    path.write_text(SPEC)
    return path


def test_a_tiny_gpt2_is_trained_and_converted(command: Command, spec: Path) -> None:
    said = command("run", spec, "--out", "run", "--json")
    assert said.code == 0, said.err
    summary = json.loads(said.out)
    assert (summary["metric"]["name"], summary["metric"]["direction"]) == ("perplexity", "lower")
    assert 1 < summary["guide"]["value"] < 256
    assert 1 < summary["converted"]["value"] < 256
    records = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    losses = [r["loss"] for r in records if r.get("unit") == "guide" and "loss" in r]
    assert len(losses) == 8
    assert losses[-1] < losses[0] - 0.1


def test_a_finished_run_loads_with_its_tied_weights(command: Command, spec: Path) -> None:
    import theseus_fx

    assert command("run", spec, "--out", "run", "--quiet").code == 0
    model = theseus_fx.load("run")
    assert model.get_parameter("lm_head.weight") is model.get_parameter("transformer.wte.weight")
    assert type(model.get_submodule("transformer.h.0.mlp")).__name__ == "Sequential"


def test_wikitext_is_planned_without_it(command: Command, spec: Path) -> None:
    line = next(line for line in SPEC.splitlines() if line.startswith("data"))
    spec.write_text(SPEC.replace(line, WIKITEXT).replace("vocab_size = 256", "vocab_size = 50257"))
    plan = json.loads(command("plan", spec, "--json").out)
    assert plan["batch_size"] == 64
    assert plan["guide"]["inputs"] == [{"name": "tokens", "dtype": "int64", "shape": ["batch", 16]}]


@pytest.mark.parametrize(
    ("before", "after", "code", "words"),
    [
        (
            "task = language_modelling",
            "task = language_modeling",
            "THX209",
            "did you mean `language_modelling`",
        ),
        ("task = language_modelling", "task = language_modelling(2)", "THX205", "takes at most 0 arguments"),
        (
            "task = language_modelling",
            "task = classification(classes = 9)",
            "THX603",
            "has labels for language",
        ),
        ("textfile(", "textfil(", "THX209", "did you mean `textfile`"),
        (', tokenizer = "bytes"', "", "THX205", "needs `tokenizer`"),
        ('"bytes"', "3", "THX203", "a text in quotes"),
        ('"bytes"', '""', "THX208", "is a name, and this text is empty"),
        ("vocab_size = 256", "vocab_size = 50", "THX603", "the data has 256 tokens, the model knows 50"),
    ],
)
def test_mistakes_are_named_before_anything_runs(
    command: Command, spec: Path, before: str, after: str, code: str, words: str
) -> None:
    assert before in SPEC
    spec.write_text(SPEC.replace(before, after))
    said = command("plan", spec)
    assert said.code == 1
    assert code in said.err
    assert words in " ".join(said.err.split())
