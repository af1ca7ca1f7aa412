"""The same conversion on CUDA as on the CPU, as far as arithmetic allows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import theseus_fx

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
SPEC = """
theseus 1
use "std/low_rank.thx"
guide net = small_resnet(width = 4, classes = 10, channels = 1) trained by { lr = 3e-3  for = 40 steps }
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
rule conv {
  match Conv2d as c  in "layer3*"
  replace with LowRankLinear(c, rank = 8)
}
schedule progressive { metric = cka  init = fit(samples = 512)  lr = 1e-3  for = 5 steps }
recalibrate BatchNorm2d { over = 2 batches }
finetune { lr = 1e-3  loss = 0.5 * cross_entropy + 0.5 * distill(net)  for = 5 steps }
"""


@pytest.mark.filterwarnings("ignore:.*deterministic.*:UserWarning")
def test_a_run_on_cuda_is_close_to_one_on_the_cpu(tmp_path: Path) -> None:
    summaries = {
        device: theseus_fx.convert(
            None, SPEC, out=tmp_path / device, device=device, cache=tmp_path / "cache" / device
        ).summary
        for device in ("cpu", "cuda")
    }
    cpu, cuda = summaries["cpu"], summaries["cuda"]
    assert cuda["device"] == "cuda"
    assert abs(cpu["guide"]["value"] - cuda["guide"]["value"]) < 0.1
    for one, other in zip(cpu["stages"], cuda["stages"], strict=True):
        name = one["parts"][0]
        assert abs(one["taps"][name]["after"] - other["taps"][name]["after"]) < 0.1


@pytest.mark.filterwarnings("ignore:.*deterministic.*:UserWarning")
def test_the_same_seed_gives_the_same_numbers_on_cuda(tmp_path: Path) -> None:
    runs = [
        theseus_fx.convert(None, SPEC, out=tmp_path / name, device="cuda", cache=tmp_path / f"cache-{name}")
        for name in ("one", "two")
    ]
    one, two = (run.model.state_dict() for run in runs)
    assert all(torch.equal(one[name], two[name]) for name in one)
