"""`theseus-fx plan`: what it prints, its JSON, saved plans and their staleness."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Command

SPECS = Path(__file__).resolve().parents[2] / "specs"


def test_resnet18_to_mlp_has_20_parts_in_20_stages(command: Command) -> None:
    said = command("plan", SPECS / "resnet18_to_mlp.thx", "--json")
    assert said.code == 0
    plan = json.loads(said.out)
    assert plan["kind"] == "theseus-fx plan"
    assert len(plan["parts"]) == len(plan["stages"]) == 20
    assert [stage["number"] for stage in plan["stages"]] == list(range(1, 21))
    first, last = plan["stages"][0], plan["stages"][-1]
    assert plan["parts"][0]["path"] == "conv1"
    assert plan["parts"][0]["parameters"] == {"before": 9408, "after": 256 * (150528 + 802816) + 802816}
    output = {"value": None, "target": None, "target_shape": None, "weight": 1.0}
    assert first["taps"] == [{"part": "conv[1]", "node": "conv1", "shape": ["batch", 64, 112, 112], **output}]
    assert (first["for"], first["lr"]["candidates"]) == ({"count": 5, "unit": "epochs"}, [2e-5])
    assert (last["for"], last["lr"]["candidates"]) == ({"count": 100, "unit": "epochs"}, [1e-6])
    assert len(last["taps"]) == len(last["trains"]) == 20
    shares = [stage["guide_share"] for stage in plan["stages"]]
    assert shares == sorted(shares)
    # a 7 x 7 convolution of 3 to 64 channels at 112 x 112, of 3.63 GFLOPs in all
    assert shares[0] == pytest.approx(2 * 49 * 3 * 64 * 112 * 112 / plan["totals"]["flops"]["guide"])
    assert plan["totals"]["parameters"]["guide"] == 11_689_512
    assert plan["finetune"]["lr"] == {
        "candidates": [5e-4],
        "shape": "cosine",
        "warmup": {"count": 10, "unit": "epochs"},
        "plateau": None,
    }
    assert plan["recalibrate"] == [
        {"module_class": "BatchNorm2d", "modules": 20, "over": {"count": 200, "unit": "batches"}}
    ]


def test_the_epochs_and_rates_of_table_4(command: Command) -> None:
    plan = json.loads(command("plan", SPECS / "resnet18_to_mlp.thx", "--json").out)
    epochs = [stage["for"]["count"] for stage in plan["stages"]]
    rates = [stage["lr"]["candidates"][0] for stage in plan["stages"]]
    assert epochs == [5, 30, 25, 25, *[30] * 8, 35, 35, 40, 40, 45, 50, 50, 100]
    assert rates == [*[2e-5] * 5, *[1.5e-5] * 2, *[1e-5] * 4, *[7.5e-6] * 2, 5e-6, 2.5e-6, *[1e-6] * 5]


def test_the_human_view_names_every_stage(command: Command) -> None:
    said = command("plan", SPECS / "resnet18_to_mlp.thx")
    assert said.code == 0
    for number, path in ((1, "conv1"), (5, "layer1.1.conv2"), (20, "layer4.1.conv2")):
        assert f"{number}  conv[{number}] {path}" in said.out
    assert "20 parts replaced in 20 stages, parameters 11.7 M -> " in said.out
    assert "then recalibrate 20 BatchNorm2d over 200 batches" in said.out
    assert "then fine-tune for 100 epochs" in said.out


def test_set_changes_a_param(command: Command, tiny: Path) -> None:
    plan = json.loads(command("plan", tiny, "--set", "rank=7", "--json").out)
    assert plan["spec"]["params"] == {"rank": 7}
    assert plan["parts"][0]["recipe"]["steps"][1]["arguments"]["out_features"] == 7


def test_a_saved_plan_is_refused_when_the_spec_has_changed(command: Command, tiny: Path) -> None:
    assert command("plan", tiny, "--out", "plan.json").code == 0
    tiny.write_text(tiny.read_text().replace("param rank = 4", "param rank = 5"))
    said = command("run")
    assert said.code == 1
    assert "THX505" in said.err
    assert "tiny.thx has changed" in said.err


def test_a_saved_plan_is_refused_when_the_model_has_changed(command: Command, tiny: Path) -> None:
    assert command("plan", tiny, "--out", "plan.json").code == 0
    saved = json.loads(Path("plan.json").read_text())
    saved["guide"]["fingerprint"] = "0" * 64
    Path("plan.json").write_text(json.dumps(saved))
    said = command("run", "plan.json")
    assert said.code == 1
    assert "THX505" in said.err
    assert "the model small_resnet has changed" in said.err


@pytest.mark.parametrize("content", ["{", "[]", '{"kind": "something else"}', '{"kind": "theseus-fx plan"}'])
def test_what_is_no_plan_is_refused(command: Command, tmp_path: Path, content: str) -> None:
    (tmp_path / "plan.json").write_text(content)
    said = command("run", "plan.json")
    assert said.code == 1
    assert "THX506" in said.err


def test_a_plan_that_cannot_be_saved(command: Command, tiny: Path) -> None:
    (tiny.parent / "file").touch()
    said = command("plan", tiny, "--out", "file/plan.json")
    assert said.code == 1
    assert "THX702" in said.err


def test_help_has_an_example(command: Command) -> None:
    for name in ("plan", "run", "resume", "check", "explain"):
        said = command(name, "--help")
        assert said.code == 0
        assert f"theseus-fx {name}" in said.out


@pytest.mark.parametrize("explained", ["rule", "THX402", "LowRankLinear"])
def test_explain_needs_no_torch(explained: str) -> None:
    import subprocess
    import sys

    program = (
        "import sys; from theseus_fx.cli.main import main\n"
        f"try: main(['explain', {explained!r}])\n"
        "except SystemExit as e: print(e.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"


def test_check_needs_no_torch(tiny: Path) -> None:
    import subprocess
    import sys

    program = (
        "import sys; from theseus_fx.cli.main import main\n"
        f"try: main(['check', {str(tiny)!r}])\n"
        "except SystemExit as e: print(e.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"


def test_check_reads_files_that_others_use_and_syntax_alone(command: Command, tmp_path: Path) -> None:
    library = sorted(map(str, (SPECS / "std").glob("*.thx")))
    said = command("check", *library)
    assert said.code == 0
    assert said.out.count("no mistakes (") == len(library)
    (tmp_path / "half.thx").write_text("theseus 1\nrule r { match Conv2d }\nmetric = cka\n")
    assert command("check", "half.thx").code == 1
    said = command("check", "--syntax", "half.thx", "--json")
    assert (said.code, json.loads(said.out)["files"][0]["path"]) == (0, "half.thx")
    (tmp_path / "half.thx").write_text("theseus 1\nrule r { match\n")
    assert "THX104" in command("check", "--syntax", "half.thx").err
    (tmp_path / "lib.thx").write_text("theseus 1\nmodule M(part) = Linear(a)\n")
    assert "THX201" in command("check", "lib.thx").err


def test_explain_knows_every_code(command: Command) -> None:
    said = command("explain", "thx402", "--json")
    assert json.loads(said.out)["code"] == "THX402"
    assert command("explain", "THX999").code == 2


def test_explain_knows_the_standard_library(command: Command) -> None:
    said = command("explain", "ElmanRNN")
    assert "ElmanRNN(part, layers = 1)" in said.out
    assert 'use "std/recurrent.thx"' in said.out
    (found,) = json.loads(command("explain", "ElmanRNN", "--json").out)["definitions"]
    assert found["text"].startswith("module ElmanRNN(part, layers = 1) =")
    assert "hidden size" in found["doc"]
    wrong = command("explain", "ElmanRN")
    assert (wrong.code, "Did you mean ElmanRNN?" in wrong.err) == (2, True)


def test_explain_alone_lists_what_it_knows(command: Command) -> None:
    said = command("explain").out
    assert "LowRankLinear(part, rank)" in said
    assert "THX402" in said
    listed = json.loads(command("explain", "--json").out)
    assert {"ElmanRNN", "TokenMLP"} <= {entry["name"] for entry in listed["library"]}
    assert {"THX001", "THX402"} <= {entry["code"] for entry in listed["codes"]}


def test_the_human_view_tells_the_schedule(command: Command, tiny: Path) -> None:
    said = command("plan", tiny)
    assert "each stage trains all replacements so far to match the guide at their taps (cka)" in said.out
    text = tiny.read_text().replace(
        "schedule progressive {", "schedule sequential { order = reverse  group = 2"
    )
    text = text.replace("metric = cka", "metric = dmnn(k = 3)").replace(
        "  stage 2 { init",
        "  require cka > 0.5 else extend(2) else keep guide\n  accumulate = 4\n  stage 2 { init",
    )
    tiny.write_text(text)
    said = command("plan", tiny)
    assert said.code == 0
    shown = " ".join(said.out.split())
    assert "each stage trains its own replacements and freezes those before" in shown
    assert "dmnn(k = 3, tau = 0.1, support = union)" in shown
    assert "order: from the last part to the first, groups of 2 consecutive parts" in shown
    assert "each stage passes at cka > 0.5, else up to 2 more budgets, else the guide's parts stay" in shown
    assert "each stage: each batch in 4 pieces" in shown
    assert "3 parts replaced in 2 stages" in shown
