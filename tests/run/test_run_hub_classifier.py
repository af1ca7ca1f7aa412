"""A classifier of transformers as guide: it returns a ModelOutput, of which everything takes the logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import theseus_fx

SPEC = """\
theseus 1
guide net = transformers.ViTForImageClassification(
  image_size = 8, patch_size = 4, num_channels = 1, hidden_size = 16, num_hidden_layers = 2,
  num_attention_heads = 2, intermediate_size = 32, num_labels = 10) trained by { lr = 1e-3  for = 2 steps }
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
rule mlp {
  match ViTMLP as m  expect 2
  replace with Linear(4, bias = false) |> Linear(m.out.shape[2])
}
schedule progressive { metric = cka  init = START  lr = 1e-3  for = 2 steps }
finetune {
  lr   = 1e-3
  loss = 0.5 * cross_entropy + 0.5 * distill(net, temperature = 2)
  for  = 2 steps
}
compare naive, random_start
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THESEUS_FX_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_it_is_trained_converted_compared_saved_and_loaded() -> None:
    done = theseus_fx.convert(None, SPEC.replace("START", "random"), out="run", device="cpu")
    assert done.summary["guide"]["steps"] == 2
    assert [stage["steps"] for stage in done.summary["stages"]] == [2, 2]
    assert {*done.summary["baselines"]} == {
        "naive_equal_finetune", "naive_equal_total", "random_start"}  # fmt: skip
    outcomes = [done.summary["converted"], *done.summary["baselines"].values()]
    assert all(0 <= outcome["value"] <= 1 for outcome in outcomes)
    images = torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        expected = done.model(images)
        loaded = theseus_fx.load("run")(images)
    assert type(expected).__name__ == "ImageClassifierOutput"
    assert expected.logits.shape == (5, 10)
    assert torch.equal(loaded.logits, expected.logits)
    assert theseus_fx.resume("run").summary == done.summary


def test_a_fit_looks_at_the_guide_s_logits() -> None:
    spec = SPEC.replace("START", "fit(samples = 128, metric = logits)").replace(
        "match ViTMLP as m  expect 2", 'match Linear as m in "classifier"  expect 1'
    )
    spec = spec.replace("m.out.shape[2]", "m.out.features").replace("compare naive, random_start\n", "")
    done = theseus_fx.convert(None, spec, out="run", device="cpu")
    (stage,) = done.summary["stages"]
    assert (stage["start"], stage["steps"]) == ("fit", 2)
    assert stage["taps"]["mlp[1]"]["before"] > 0.5  # the fit's, before a step is taken
