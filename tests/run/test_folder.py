"""Run folders: atomic files, refusals, the lock, metrics that can be cut."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.run.folder import Metrics, create, first_free, locked, read_json, write_json, write_text


def code_of(error: pytest.ExceptionInfo[Rejected]) -> str:
    (diagnostic,) = error.value.diagnostics
    return diagnostic.code


def test_a_file_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a" / "file.txt"
    write_text(path, "first")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Rejected) as error:
        write_text(path, "second")
    assert code_of(error) == "THX702"
    assert "No space left on device" in str(error.value)
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_nan_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", float("nan"))


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    assert create(tmp_path / "new") == tmp_path / "new"
    create(tmp_path / "new")  # empty: fine
    (tmp_path / "new" / "note").touch()
    with pytest.raises(Rejected) as error:
        create(tmp_path / "new")
    assert code_of(error) == "THX701"


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Rejected) as error:
        create(tmp_path / "file")
    assert code_of(error) == "THX701"


def test_the_first_free_name(tmp_path: Path) -> None:
    assert first_free(tmp_path, "x").name == "x"
    (tmp_path / "x").mkdir()
    (tmp_path / "x-2").mkdir()
    assert first_free(tmp_path, "x").name == "x-3"


def test_the_lock_keeps_a_second_one_out(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(Rejected) as error, locked(tmp_path):
            pass
        assert code_of(error) == "THX704"
    with locked(tmp_path):
        pass


def test_metrics_are_cut_to_a_checkpoint(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path / "metrics.jsonl")
    assert metrics.size == 0
    metrics.append([{"step": 1}, {"step": 2}])
    size = metrics.size
    metrics.append([{"step": 3}])
    metrics.cut(size)
    assert [json.loads(line)["step"] for line in metrics.path.read_text().splitlines()] == [1, 2]


@pytest.mark.parametrize("content", [None, "{", "\xff"])
def test_what_is_no_run_folder_is_said(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(Rejected) as error:
        read_json(tmp_path / "run.json")
    assert code_of(error) == "THX703"
