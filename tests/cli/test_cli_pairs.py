"""Architecture transfer on the command line: the two shipped specs, and a saved plan of one that runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Command

SPECS = Path(__file__).resolve().parents[2] / "specs"

TRANSFER = """\
theseus 1
guide big = small_resnet(width = 4, channels = 1)
target small = small_resnet(width = 2, channels = 1)
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
pair block { guide BasicBlock in big  target BasicBlock in small }
schedule progressive { lr = 1e-3  for = 3 steps }
"""


def planned(command: Command, spec: str) -> dict[str, Any]:
    said = command("plan", SPECS / spec, "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_resnet50_to_resnet18_has_eight_stages(command: Command) -> None:
    plan = planned(command, "resnet50_to_resnet18.thx")
    assert [pair["target"]["blocks"] for pair in plan["pairs"]] == [
        [f"layer{i}.{j}"] for i in range(1, 5) for j in range(2)
    ]
    assert [len(pair["guide"]["blocks"]) for pair in plan["pairs"]] == [2, 1, 2, 2, 3, 3, 2, 1]
    assert [b for pair in plan["pairs"] for b in pair["guide"]["blocks"]] == [
        f"layer{i}.{j}" for i, many in enumerate((3, 4, 6, 3), 1) for j in range(many)
    ]
    for guide, target in ((pair["guide"], pair["target"]) for pair in plan["pairs"]):
        assert guide["shape"][2:] == target["shape"][2:]  # compared at one resolution
        assert guide["shape"][1] == 4 * target["shape"][1]
    assert plan["totals"]["parameters"] == {"guide": 25_557_032, "target": 11_689_512}
    trained = [stage["trainable_parameters"] for stage in plan["stages"]]
    assert trained[-1] == sum(pair["target"]["parameters"] for pair in plan["pairs"]) == 11_689_512 - 513_000
    assert plan["target"]["head"] == {"modules": ["fc"], "parameters": 513_000}
    assert plan["recalibrate"][0]["modules"] == 20
    # a 7 x 7 stem and four 3 x 3 convolutions of 64 channels at 56 x 56, two in each block
    stem = 2 * 49 * 3 * 64 * 112 * 112
    block = 2 * 2 * 9 * 64 * 64 * 56 * 56
    shares = [stage["target_share"] for stage in plan["stages"]]
    assert shares[0] == pytest.approx((stem + block) / plan["totals"]["flops"]["target"])
    assert shares[1] == pytest.approx((stem + 2 * block) / plan["totals"]["flops"]["target"])
    assert shares == sorted(shares)


def test_the_epochs_and_rates_of_table_4(command: Command) -> None:
    plan = planned(command, "resnet50_to_resnet18.thx")
    assert [stage["for"]["count"] for stage in plan["stages"]] == [5, 15, 25, 35, 35, 35, 35, 100]
    assert {stage["lr"]["candidates"][0] for stage in plan["stages"]} == {1e-3}
    assert (plan["finetune"]["lr"]["shape"], plan["finetune"]["lr"]["candidates"]) == ("constant", [1e-3])
    assert plan["finetune"]["clip"] is None


def test_gpt2_large_to_small_has_twelve_stages(command: Command) -> None:
    plan = planned(command, "gpt2_large_to_small.thx")
    blocks = [pair["guide"]["blocks"] for pair in plan["pairs"]]
    assert blocks == [[f"transformer.h.{3 * t + i}" for i in range(3)] for t in range(12)]
    assert [pair["target"]["blocks"] for pair in plan["pairs"]] == [[f"transformer.h.{t}"] for t in range(12)]
    assert plan["pairs"][0]["guide"]["shape"] == ["batch", 128, 1280]
    assert plan["pairs"][0]["target"]["shape"] == ["batch", 128, 768]
    assert plan["totals"]["parameters"] == {"guide": 774_030_080, "target": 124_439_808}
    # the shared embedding goes with the first stage, so that only the last layer norm is left
    assert {"transformer.wte.weight", "transformer.wpe.weight"} <= {*plan["pairs"][0]["trains"]}
    assert plan["target"]["head"] == {"modules": ["transformer.ln_f"], "parameters": 2 * 768}
    assert plan["stages"][-1]["trainable_parameters"] == 124_439_808 - 2 * 768


def test_the_human_view_shows_windows_and_blocks(command: Command) -> None:
    said = command("plan", SPECS / "resnet50_to_resnet18.thx")
    assert said.code == 0
    assert "torchvision.resnet50 -> torchvision.resnet18" in said.out
    line = next(line for line in said.out.splitlines() if "block[5]" in line)
    assert line.split()[0] == "5"
    for piece in ("layer3.0 .. layer3.2", "b x 1024 x 14 x 14", "layer3.0", "b x 256 x 14 x 14", "35 epochs"):
        assert piece in line
    assert "note: no tap needs `fc` of the target: fine-tuning trains its 513,000 parameters" in said.out
    assert "8 pairs in 8 stages, parameters 25.6 M -> 11.7 M, FLOPs a sample 8.18 G -> 3.63 G" in said.out


def test_a_saved_plan_runs_and_a_stale_one_does_not(command: Command, tmp_path: Path) -> None:
    spec = tmp_path / "transfer.thx"
    spec.write_text(TRANSFER)
    assert command("plan", "transfer.thx", "--out", "plan.json").code == 0
    assert command("run", "--out", "run").code == 0
    saved = json.loads(Path("plan.json").read_text())
    saved["target"]["fingerprint"] = "0" * 64
    Path("plan.json").write_text(json.dumps(saved))
    stale = command("run")
    assert (stale.code, "THX505" in stale.err, "other target" in stale.err) == (1, True, True)


def test_windows_that_cross_a_layer_are_named_with_what_to_write(command: Command, tmp_path: Path) -> None:
    spec = (SPECS / "resnet50_to_resnet18.thx").read_text()
    (tmp_path / "naive.thx").write_text(spec.replace('in big  split by "layer{i}"', "in big every 2"))
    said = command("plan", "naive.thx")
    assert said.code == 1
    assert "error[THX423]" in said.err
    assert "`layer1.2` (batch, 256, 56, 56) to `layer2.0` (batch, 512, 28, 28)" in said.err
    assert '`split by "layer{i}"`' in said.err
    listed = said.err[said.err.index("at [") : said.err.index("]`") + 1]
    (tmp_path / "listed.thx").write_text(spec.replace('split by "layer{i}"', listed))
    again = command("plan", "listed.thx", "--json")
    assert again.code == 0
    assert [len(pair["guide"]["blocks"]) for pair in json.loads(again.out)["pairs"]] == [
        2,
        1,
        2,
        2,
        3,
        3,
        2,
        1,
    ]
