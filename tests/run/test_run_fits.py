"""Closed-form starts through whole runs: maps that can be recovered, how data flow, ranks under a budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import transformers
from sklearn.datasets import load_digits
from torch import nn

import theseus_fx
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.run.fitting import activations, gradients, linear

HEAD = """
theseus 1
use "std/images.thx"
use "std/low_rank.thx"
use "std/recurrent.thx"
use "std/tokens.thx"
"""
IMAGES = f"{HEAD}data = digits(canvas = 8, batch = 64)\ntask = classification(classes = 10)\n"
NO_STEP = "lr = choose(none)  for = 1 steps"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THESEUS_FX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog; " * 300)
    return tmp_path


def vit() -> nn.Module:
    """A vision transformer for grey images of 8 x 8."""
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(8, 2, 2, 2, 16, 32, num_classes=10)
    model.conv_proj = nn.Conv2d(1, 16, 2, stride=2)
    nn.init.normal_(model.heads.head.weight)
    return model


def gpt() -> Any:
    torch.manual_seed(0)
    config = {"n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 16, "vocab_size": 256}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**config, bos_token_id=0, eos_token_id=0))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("weight") and parameter.dim() == 2:
                parameter.normal_(std=0.15)
    return model


def run(model: nn.Module, text: str, *, init: str = "", out: str = "run", data: str = IMAGES) -> Any:
    spec = f"{data}{text}\nschedule progressive {{ {NO_STEP}  {f'init = {init}' if init else ''} }}\n"
    return theseus_fx.convert(model, spec, out=out, device="cpu")


def starts(done: Any) -> list[dict[str, float]]:
    """The similarity of each part at the random start and after the fit."""
    return [one for stage in done.summary["stages"] for one in stage["start_similarity"].values()]


REALISABLE = [
    ('match Linear as l in "*mlp.0"', "Linear(l.out.shape[2])"),
    ('match Linear as l in "*mlp.0"', "Linear(16) |> Linear(l.out.shape[2])"),
    ('match Linear as l in "*mlp.3"', "Linear(16, bias = false) |> Linear(16)"),
    ('match Linear as l in "*mlp.0"', "Linear(32) - 0.5 * (Linear(32) |> Dropout(0.1))"),
    ('match Linear as l in "*mlp.0"', "transpose(1, 2) |> Conv1d(32, 1) |> transpose(1, 2) |> Linear(32)"),
    ("match Conv2d as c", "patches(size = 2) |> Linear(16) |> transpose(1, 2) |> reshape(c.out.shape)"),
    ("match Conv2d as c", "FlatLinear(c)"),
    ("match Conv2d as c", "LowRankLinear(c, rank = 64)"),
]  # fmt: skip


@pytest.mark.parametrize(("match", "replacement"), REALISABLE, ids=[r for _, r in REALISABLE])
def test_what_a_replacement_can_be_it_becomes_without_a_step(match: str, replacement: str) -> None:
    """All of these can compute exactly what the guide computes."""
    done = run(vit(), f"rule r {{ {match}  replace with {replacement} }}", init="fit(ridge = 0)")
    for one in starts(done):
        assert one["fit"] > 0.9999
        assert one["random"] < 0.999
    assert all(stage["steps"] == 0 for stage in done.summary["stages"])
    assert distance(done.model) < 1e-4


def distance(model: nn.Module) -> float:
    """The mean squared distance of logits from those of the guide, as a share of their variance."""
    images = torch.from_numpy(load_digits().images[:200]).float()[:, None] / 16
    images = (images - 0.3053) / 0.3761  # pixels that are the same in all images have to be as in training
    with torch.no_grad():
        expected, found = vit().eval()(images), model(images)
    return float((found - expected).square().mean() / expected.var())


@pytest.mark.parametrize(
    ("match", "replacement"),
    [
        ("match MultiheadAttention as a", "TokenMLP(a)"),
        ("match MultiheadAttention as a", "Mixer(a)"),
        ("match MultiheadAttention as a", "BidirectionalGRU(a)"),
        ("match MultiheadAttention as a", "Linear(4, bias = false) |> Linear(16)"),
        ("match MLPBlock as a", "Image(a)"),
    ],
)
def test_a_fit_is_closer_than_a_random_start(match: str, replacement: str) -> None:
    rule = f"""
    module Image(part) =
      unsqueeze(dim = 1) |> Conv2d(3, 3, padding = 1) |> BatchNorm2d |> Conv2d(1, 1) |> squeeze(dim = 1)
    rule r {{ {match}  replace with {replacement} }}"""
    fitted, random = run(vit(), rule), run(vit(), rule, init="random", out="random")
    assert starts(fitted)[0].keys() == {"random", "fit"}
    assert distance(fitted.model) < 0.9 * distance(random.model)


def test_statistics_of_a_replacement_are_those_of_its_data() -> None:
    """Hidden features in train mode are those that the read-out was fitted to."""
    rule = """
    module Normed(part) =
      unsqueeze(dim = 1) |> BatchNorm2d(affine = false) |> Conv2d(1, 1) |> squeeze(dim = 1)
    rule r { match MLPBlock as m in "*layer_0*"  replace with Normed(m) }"""
    done = run(vit(), rule, init="fit(samples = 1024)")
    norm = done.model.get_submodule("encoder.layers.encoder_layer_0.mlp.batchnorm2d")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_var is not None
    assert norm.momentum == 0.1
    assert done.model.training is False


TEXT = f"""{HEAD}
data = textfile("text.txt", tokenizer = "bytes", length = 16, batch = 16)
task = language_modelling
"""


@pytest.mark.parametrize("layers", [1, 2])
def test_attention_becomes_a_recurrent_network(layers: int) -> None:
    rule = f"rule r {{ match GPT2Attention as a  replace with ElmanRNN(a, layers = {layers}) }}"
    done = run(gpt(), rule, data=TEXT, init="fit(samples = 128)")
    assert starts(done)[0].keys() == {"random", "fit"}
    random = run(gpt(), rule, data=TEXT, init="random", out="random")
    assert done.summary["converted"]["validation"] < random.summary["converted"]["validation"]
    assert starts(random)[0].keys() == {"random"}


def test_the_metric_of_many_logits_is_that_of_random_combinations() -> None:
    """4,096 logits a sample: a backward pass for each would not do."""
    rule = "rule r { match GPT2MLP as m  replace with Linear(4, bias = false) |> Linear(16) }"
    logits = run(gpt(), rule, data=TEXT, init="fit(metric = logits)", out="logits")
    plain = run(gpt(), rule, data=TEXT, init="fit(metric = plain)", out="plain")
    values = [done.summary["converted"]["validation"] for done in (logits, plain)]
    assert values[0] != values[1]
    assert values[0] < 1.2 * values[1]


def test_slabs_change_the_way_and_not_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = "rule r { match Conv2d as c  replace with LowRankLinear(c, rank = 6) }"
    model = theseus_fx.models.zoo.SmallResNet(width=4, channels=1).eval()
    torch.manual_seed(0)
    text = f"{rule}\n"
    held = run(model, text, init="fit(samples = 96)", out="held")
    for module in (activations, linear):
        monkeypatch.setattr(module, "HELD", 1)
    monkeypatch.setattr(activations, "SLAB", 40)
    monkeypatch.setattr("theseus_fx.modules.fits.columns.SLAB", 40)
    streamed = run(model, text, init="fit(samples = 96)", out="streamed")
    for name, value in held.model.state_dict().items():
        torch.testing.assert_close(streamed.model.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_gradients_of_few_logits_are_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    exact = torch.stack([*gradients._weights(torch.zeros(2, 10), generator)])
    assert exact.shape == (10, 2, 10)
    torch.testing.assert_close(exact[:, 0], torch.eye(10) - 0.1)
    many = torch.stack([*gradients._weights(torch.zeros(2, 17), generator)])
    assert many.shape == (gradients.PROBES, 2, 17)
    torch.testing.assert_close(many.sum(-1), torch.zeros(gradients.PROBES, 2), atol=1e-5, rtol=0)


AUTO = """
rule conv { match Conv2d as c  replace with LowRankLinear(c, rank = rank) }
param rank = auto(parameters = 20e3)
"""


def resnet() -> nn.Module:
    torch.manual_seed(0)
    return theseus_fx.models.zoo.SmallResNet(width=2, channels=1).eval()


def test_ranks_are_chosen_once_and_kept(folder: Path) -> None:
    done = run(resnet(), AUTO, init="fit(samples = 128)")
    ranks = done.summary["ranks"]
    assert len(ranks) == 9
    assert len(set(ranks.values())) > 1
    assert min(ranks.values()) >= 4
    replaced = [m for m in done.model.modules() if isinstance(m, nn.Sequential) and hasattr(m, "linear_1")]
    widths = [m.get_submodule("linear_1").out_features for m in replaced]
    assert sorted(widths) == sorted(ranks.values())
    total = sum(p.numel() for m in replaced for p in m.parameters())
    assert 19e3 < total <= 20e3
    assert done.summary["converted"]["parameters"] == sum(p.numel() for p in done.model.parameters())
    loaded = theseus_fx.load("run", guide=resnet())
    images = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded(images), done.model(images))

    kept = json.loads((folder / "run/work/ranks/result.json").read_text())
    assert kept["ranks"] == ranks
    (folder / "run/summary.json").unlink()
    for result in (folder / "run/work/converted").rglob("result.json"):
        result.unlink()
    kept["ranks"] = dict.fromkeys(ranks, 5)  # what was chosen counts, not what would be chosen now
    (folder / "run/work/ranks/result.json").write_text(json.dumps(kept))
    again = theseus_fx.resume("run", model=resnet())
    assert set(again.summary["ranks"].values()) == {5}


def test_what_no_data_determine_is_refused() -> None:
    rule = "rule conv { match Conv2d as c  replace with LowRankLinear(c, rank = 40) }"
    broken = vit()
    with torch.no_grad():
        broken.get_parameter("conv_proj.weight").fill_(float("inf"))
    with pytest.raises(Rejected, match="are not all finite"):
        run(broken, rule, init="fit(samples = 128)")
