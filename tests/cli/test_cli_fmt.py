"""`theseus-fx fmt`: files, standard input, `--check`, `--diff`, mistakes and disks that refuse."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import Command

UGLY = "theseus 1\nfinetune {lr=1 # one\n for = 3 steps}\n"
FINE = "theseus 1\n\nfinetune {\n  lr  = 1                               # one\n  for = 3 steps\n}\n"
WRONG = "theseus 1\nrule r { match }\n"
DIFF = """\
--- ugly.thx
+++ ugly.thx (formatted)
@@ -1,3 +1,6 @@
 theseus 1
-finetune {lr=1 # one
- for = 3 steps}
+
+finetune {
+  lr  = 1                               # one
+  for = 3 steps
+}
"""


@pytest.fixture
def files(tmp_path: Path) -> SimpleNamespace:
    """One file of each kind in the current folder."""
    texts = {"ugly": UGLY, "fine": FINE, "wrong": WRONG}
    for name, text in texts.items():
        (tmp_path / f"{name}.thx").write_text(text)
    return SimpleNamespace(**{name: tmp_path / f"{name}.thx" for name in texts}, folder=tmp_path)


def test_files_are_rewritten_and_named(command: Command, files: SimpleNamespace) -> None:
    files.ugly.chmod(0o640)
    untouched = files.fine.stat().st_mtime_ns
    said = command("fmt", "ugly.thx", "fine.thx")
    assert (said.code, said.out, said.err) == (0, "ugly.thx\n", "")
    assert files.ugly.read_text() == FINE
    assert files.ugly.stat().st_mode & 0o777 == 0o640
    assert files.fine.stat().st_mtime_ns == untouched
    assert sorted(p.name for p in files.folder.iterdir()) == ["fine.thx", "ugly.thx", "wrong.thx"]
    said = command("fmt", "ugly.thx", "fine.thx")
    assert (said.code, said.out, said.err) == (0, "", "")


def test_check_names_what_would_change(command: Command, files: SimpleNamespace) -> None:
    said = command("fmt", "--check", "fine.thx", "ugly.thx")
    assert (said.code, said.out, said.err) == (1, "ugly.thx\n", "")
    assert files.ugly.read_text() == UGLY
    said = command("fmt", "--check", "fine.thx")
    assert (said.code, said.out, said.err) == (0, "", "")


def test_diff_writes_nothing(command: Command, files: SimpleNamespace) -> None:
    said = command("fmt", "--diff", "ugly.thx", "fine.thx")
    assert (said.code, said.out, said.err) == (0, DIFF, "")
    said = command("fmt", "--diff", "--check", "ugly.thx", "fine.thx")
    assert (said.code, said.out) == (1, DIFF)
    assert files.ugly.read_text() == UGLY
    files.ugly.write_text("data = 1")
    assert command("fmt", "--diff", "ugly.thx").out.endswith(
        "-data = 1\n\\ No newline at end of file\n+data = 1\n"
    )


def test_a_file_with_mistakes_is_left_alone_and_the_others_are_written(
    command: Command, files: SimpleNamespace
) -> None:
    said = command("fmt", "wrong.thx", "none.thx", "ugly.thx")
    assert (said.code, said.out) == (1, "ugly.thx\n")
    assert "error[THX101]" in said.err
    assert "wrong.thx:2:16" in said.err
    assert "error[THX001]" in said.err
    assert files.wrong.read_text() == WRONG
    assert files.ugly.read_text() == FINE


@pytest.mark.parametrize(("given", "code", "out"), [(UGLY, 0, FINE), (FINE, 0, FINE), (WRONG, 1, "")])
def test_standard_input(
    command: Command, monkeypatch: pytest.MonkeyPatch, given: str, code: int, out: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
    said = command("fmt", "-")
    assert (said.code, said.out) == (code, out)
    assert ("<stdin>:2:16" in said.err) == (code == 1)


def test_check_and_diff_of_standard_input(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(UGLY.encode())))
    assert command("fmt", "-", "--check").out == "<stdin>\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(UGLY.encode())))
    said = command("fmt", "-", "--check", "--diff")
    assert (said.code, said.out) == (1, DIFF.replace("ugly.thx", "<stdin>"))


def test_standard_input_that_is_no_text(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"data = \xff")))
    said = command("fmt", "-")
    assert said.code == 1
    assert "error[THX002]: cannot read `<stdin>`: byte 7 is not text in UTF-8" in said.err


def test_json(command: Command, files: SimpleNamespace) -> None:
    said = command("fmt", "--json", "--check", "--diff", "ugly.thx", "fine.thx", "wrong.thx")
    assert (said.code, said.err) == (1, "")
    told = json.loads(said.out)
    assert (told["kind"], told["schema"]) == ("theseus-fx fmt", 1)
    assert told["files"] == [
        {"path": "ugly.thx", "changed": True, "diff": DIFF},
        {"path": "fine.thx", "changed": False, "diff": ""},
    ]
    assert [d["code"] for d in told["diagnostics"]] == ["THX101"]
    assert json.loads(command("fmt", "--json", "fine.thx").out)["files"] == [
        {"path": "fine.thx", "changed": False}
    ]
    assert files.ugly.read_text() == UGLY


@pytest.mark.parametrize("arguments", [(), ("--json", "-"), ("--chekc", "x.thx")])
def test_usage(command: Command, arguments: tuple[str, ...]) -> None:
    assert command("fmt", *arguments).code == 2


def test_help_has_an_example(command: Command) -> None:
    assert "theseus-fx fmt specs/*.thx" in command("fmt", "--help").out


def test_a_full_disk_leaves_the_file_whole(
    command: Command, files: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    said = command("fmt", "ugly.thx")
    assert said.code == 1
    assert "error[THX702]: cannot write ugly.thx: No space left on device" in said.err
    assert files.ugly.read_text() == UGLY
    assert sorted(p.name for p in files.folder.iterdir()) == ["fine.thx", "ugly.thx", "wrong.thx"]


def test_the_file_behind_a_link_is_rewritten(command: Command, files: SimpleNamespace) -> None:
    link = files.folder / "link.thx"
    link.symlink_to(files.ugly)
    assert command("fmt", "link.thx").out == "link.thx\n"
    assert link.is_symlink()
    assert files.ugly.read_text() == FINE


def test_a_result_that_means_something_else_is_never_written(
    files: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from theseus_fx.cli.main import main
    from theseus_fx.lang import formatter

    monkeypatch.setattr(formatter, "written", lambda _lines: "theseus 2\n")
    with pytest.raises(SystemExit) as ended:
        main(["fmt", str(files.ugly)])
    assert ended.value.code == 70
    assert "This is a bug in theseus-fx" in capfd.readouterr().err
    assert files.ugly.read_text() == UGLY


def test_it_needs_no_torch(files: SimpleNamespace) -> None:
    program = (
        "import sys; from theseus_fx.cli.main import main\n"
        f"try: main(['fmt', {str(files.ugly)!r}])\n"
        "except SystemExit as e: print(e.code, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False False"
    assert files.ugly.read_text() == FINE
