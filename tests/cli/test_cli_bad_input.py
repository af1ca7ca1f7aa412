"""What a person can get wrong, each through the real command line: a message with the place, exit code 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Command


def place(text: str, word: str, *, occurrence: int = 1) -> str:
    """`line:column` of a word in a text."""
    offset = -1
    for _ in range(occurrence):
        offset = text.index(word, offset + 1)
    line = text.count("\n", 0, offset) + 1
    return f"{line}:{offset - text.rfind(chr(10), 0, offset)}"


# (what stands in the tiny spec, what takes its place, code, the word to blame, what the help says)
TYPOS = [
    ("theseus 1", "theseus 2", "THX103", "2", "theseus 1"),
    ("schedule progressive", "shedule progressive", "THX102", "shedule", "schedule"),
    ("guide net", "giude net", "THX102", "giude", "guide"),
    ("rule conv", "rul conv", "THX102", "rul ", "rule"),
    ("match Conv2d", "mtach Conv2d", "THX102", "mtach", "match"),
    ("replace with", "replase with", "THX102", "replase", "replace"),
    ("trained by", "trained bye", "THX102", "bye", "by"),
    ("expect 3", "expct 3", "THX102", "expct", "expect"),
    ("stage 2", "stagge 2", "THX102", "stagge", "stage"),
    ("recalibrate Batch", "recalibrat Batch", "THX102", "recalibrat", "recalibrate"),
    ("finetune {", "finetunes {", "THX102", "finetunes", "finetune"),
    ("compare naive", "compar naive", "THX102", "compar", "compare"),
    ("param rank", "params rank", "THX102", "params", "param"),
    ('use "std', 'us "std', "THX102", "us ", "use"),
    ("std/low_rank.thx", "std/lowrank.thx", "THX001", '"std/lowrank', "low_rank.thx"),
    ("schedule progressive", "schedule progresive", "THX209", "progresive", "progressive"),
    ("metric = cka", "metric = ckaa", "THX209", "ckaa", "cka"),
    ("metric = cka", "metrik = cka", "THX202", "metrik", "metric"),
    ("lr     = 1e-3", "optimizer = adamm  lr = 1e-3", "THX209", "adamm", "adamw"),
    ("for    = 3 steps", "for    = 3 stepps", "THX204", "stepps", "steps"),
    ("for    = 3 steps\n  stage", "for    = 3\n  stage", "THX204", "3\n", "3 steps"),
    ("over = 2 batches", "over = 2 batchs", "THX204", "batchs", "batches"),
    ("init   = fit(", "init   = fitt(", "THX209", "fitt", "fit"),
    ("metric = logits", "metric = logit", "THX209", "logit)", "logits"),
    ("data = digits", "data = digit", "THX209", "digit(", "digits"),
    ("canvas = 8", "canvass = 8", "THX205", "canvass", "canvas"),
    ("batch = 64", "batch = many", "THX203", "many", ""),
    ("task = classification", "task = clasification", "THX209", "clasification", "classification"),
    ("classes = 10)\nrule", "clases = 10)\nrule", "THX205", "clases", "classes"),
    ("small_resnet(", "small_resnett(", "THX301", "small_resnett", "small_resnet"),
    ("small_resnet(", "torchvision.resnet19(", "THX301", "torchvision.resnet19", "resnet18"),
    ("Conv2d as c", "Conv2dd as c", "THX401", "Conv2dd", "Conv2d"),
    ("LowRankLinear(c", "LowRankLiner(c", "THX303", "LowRankLiner", "LowRankLinear"),
    ("LowRankLinear(c, ", "LowRankLinear(d, ", "THX201", "d, ", "c"),
    ("LowRankLinear(c, rank = rank)", "LowRankLinear(c)", "THX205", "LowRankLinear(c)", "rank"),
    ("LowRankLinear(c, rank = rank)", "LowRankLinear(c, rnk = rank)", "THX205", "rnk", "rank"),
    ("rank = rank)", "rank = rnak)", "THX201", "rnak", "rank"),
    ("recalibrate BatchNorm2d", "recalibrate BatchNorm2", "THX303", "BatchNorm2", "BatchNorm2d"),
    ("compare naive", "compare naiv", "THX209", "naiv,", "naive"),
    ("distill(net", "distill(nett", "THX201", "nett", "net"),
    ("0.5 * cross_entropy", "0.5 * cross_entrpy", "THX209", "cross_entrpy", "cross_entropy"),
    ("warmup = 1 steps", "warmpu = 1 steps", "THX205", "warmpu", "warmup"),
    ("lr     = 1e-3", "lr     = -1e-3", "THX208", "-1e-3", ""),
    ('in "layer3*"', 'in "layr3*"', "THX404", '"layr3*"', "layer3"),
    ('in "layer3*"', 'in "fc"', "THX401", "Conv2d", ""),
    ("expect 3", "expect 4", "THX402", "4", "layer3.0.conv1"),
    ("stage 2 {", "stage 4 {", "THX503", "stage 4", "stages"),
    ("rule conv {", "rule conv {\n  match Linear", "THX206", "match Conv2d", ""),
    ("param rank = 4", "param rank = 4\nparam rank = 5", "THX206", "rank = 5", ""),
    ("for    = 3 steps", "", "THX504", "progressive", "for"),
]


@pytest.mark.parametrize(("old", "new", "code", "blamed", "helped"), TYPOS)
def test_a_mistake_is_named_with_its_place(
    command: Command, tiny: Path, old: str, new: str, code: str, blamed: str, helped: str
) -> None:
    text = tiny.read_text()
    assert old in text
    text = text.replace(old, new, 1)
    tiny.write_text(text)
    said = command("plan", tiny)
    assert said.code == 1
    assert f"error[{code}]" in said.err, said.err
    assert helped in said.err, said.err
    assert said.out == ""
    answered = json.loads(command("plan", tiny, "--json").out)
    diagnostic = next(d for d in answered["diagnostics"] if d["code"] == code)
    primary = diagnostic["primary"]
    assert primary["file"] == str(tiny)
    start = text.index(new) if blamed in new else 0
    offset = text.index(blamed, start)
    line = text.count("\n", 0, offset) + 1
    column = offset - text.rfind("\n", 0, offset)
    assert (primary["line"], primary["column"]) == (line, column), said.err


def test_all_mistakes_of_a_phase_come_together(command: Command, tiny: Path) -> None:
    text = tiny.read_text().replace("metric = cka", "metric = ckaa").replace("naive", "naiv")
    tiny.write_text(text.replace("canvas = 8", "canvass = 8"))
    said = command("check", tiny)
    assert said.code == 1
    assert said.err.count("error[THX") == 3
    assert "3 errors" in said.err


def test_a_missing_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "model.thx").write_text("theseus 1\n")
    said = command("plan", "modle.thx")
    assert said.code == 1
    assert "THX001" in said.err
    assert "model.thx" in said.err


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "THX103"),
        (b"\n\n", "THX103"),
        (b"\x7fELF\x00\x01\xff\xfe" * 50, "THX002"),
        (b"theseus 1\n", "THX207"),
    ],
)
def test_a_file_that_is_no_spec(command: Command, tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "odd.thx"
    path.write_bytes(content)
    said = command("plan", path)
    assert said.code == 1
    assert code in said.err
    assert "odd.thx" in said.err


def test_a_folder_is_no_spec(command: Command, tmp_path: Path) -> None:
    said = command("check", tmp_path)
    assert said.code == 1
    assert "THX002" in said.err


def test_two_rules_on_one_part(command: Command, tiny: Path) -> None:
    text = tiny.read_text().replace(
        "schedule progressive",
        'rule again { match Conv2d as d  in "layer3.0.conv1"  replace with LowRankLinear(d, rank = 2) }\n'
        "schedule progressive",
    )
    tiny.write_text(text)
    said = command("plan", tiny)
    assert said.code == 1
    assert "THX403" in said.err
    assert "layer3.0.conv1" in said.err
    assert said.err.count("tiny.thx:") == 1  # both places are in one excerpt
    assert "`conv` has it already" in said.err


def test_a_replacement_that_does_not_fit_shows_both_shapes(command: Command, tiny: Path) -> None:
    text = tiny.read_text().replace("LowRankLinear(c, rank = rank)", "flatten(start_dim = 1) |> Linear(rank)")
    tiny.write_text(text)
    said = command("plan", tiny)
    assert said.code == 1
    assert "THX501" in said.err
    assert "returns (b, 4), but `conv[1] layer3.0.downsample.0` returns (b, 8, 2, 2)" in said.err
    assert "more parts" in said.err


def test_a_task_with_other_classes_than_the_data_is_found_by_plan(command: Command, tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace("classification(classes = 10)", "classification(classes = 12)"))
    said = command("plan", tiny)
    assert said.code == 1
    assert "THX603" in said.err
    assert "tiny.thx:9:8" in said.err
    assert "write `task = classification(classes = 10)`" in said.err


def test_unknown_param_on_the_command_line(command: Command, tiny: Path) -> None:
    said = command("plan", tiny, "--set", "rnak=3")
    assert said.code == 1
    assert "THX210" in said.err
    assert "did you mean `rank`" in said.err


def test_a_param_of_the_wrong_kind(command: Command, tiny: Path) -> None:
    said = command("plan", tiny, "--set", 'rank="many"')
    assert said.code == 1
    assert "THX203" in said.err
    assert "--set rank" in said.err


@pytest.mark.parametrize("made", [False, True])
def test_a_data_folder_that_is_absent_or_empty(command: Command, tiny: Path, made: bool) -> None:
    if made:
        (tiny.parent / "images").mkdir()
    text = tiny.read_text().replace(
        "digits(canvas = 8, batch = 64)", 'imagefolder("images", size = 32, batch = 4)'
    )
    tiny.write_text(text.replace("channels = 1", "channels = 3"))
    said = command("run", tiny)
    assert said.code == 1
    assert ("THX601" if not made else "THX60") in said.err
    assert "images" in said.err
    assert "tiny.thx:8:" in said.err
    assert not (tiny.parent / "runs").exists()


def test_an_output_folder_that_exists(command: Command, tiny: Path) -> None:
    out = tiny.parent / "out"
    out.mkdir()
    (out / "precious").write_text("data")
    said = command("run", tiny, "--out", out)
    assert said.code == 1
    assert "THX701" in said.err
    assert (out / "precious").read_text() == "data"
    assert list(out.iterdir()) == [out / "precious"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that nobody can write to")
def test_an_output_folder_that_cannot_be_written(command: Command, tiny: Path) -> None:
    said = command("run", tiny, "--out", "/proc/theseus/run")
    assert said.code == 1
    assert "THX702" in said.err
    assert "/proc/theseus/run" in said.err


def test_an_environment_variable_that_is_not_set(
    command: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_FOLDER", raising=False)
    text = tiny.read_text().replace("digits(canvas = 8,", 'imagefolder(env("NO_SUCH_FOLDER"), size = 32,')
    tiny.write_text(text.replace("channels = 1", "channels = 3"))
    assert command("plan", tiny).code == 0
    said = command("run", tiny)
    assert said.code == 1
    assert "THX601" in said.err
    assert "NO_SUCH_FOLDER" in said.err


def test_a_device_that_is_not_there(command: Command, tiny: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    said = command("run", tiny, "--device", "cuda")
    assert said.code == 1
    assert "THX706" in said.err


@pytest.mark.parametrize("arguments", [["resume", "nowhere"], ["resume", "."]])
def test_what_is_no_run_cannot_be_resumed(command: Command, arguments: list[str]) -> None:
    said = command(*arguments)
    assert said.code == 1
    assert "THX703" in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["plann", "x.thx"],
        ["plan"],
        ["run"],
        ["plan", "x.thx", "--out"],
        ["plan", "x.thx", "--set", "rank"],
    ],
)
def test_wrong_usage_is_exit_code_2(command: Command, arguments: list[str]) -> None:
    assert command(*arguments).code == 2
