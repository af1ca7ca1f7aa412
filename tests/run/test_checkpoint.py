"""Checkpoints: the newest whole one counts, a damaged one is named and passed over."""

from __future__ import annotations

from pathlib import Path

import torch

from theseus_fx.run import checkpoint

CPU = torch.device("cpu")


def saved(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_is_given_and_two_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        checkpoint.save(tmp_path, number, {"number": number, "tensor": torch.full((2,), float(number))})
    assert len(saved(tmp_path)) == 2
    state = checkpoint.latest(tmp_path, device=CPU, warn=lambda text: None)
    assert state is not None
    assert state["number"] == 4
    assert torch.equal(state["tensor"], torch.tensor([4.0, 4.0]))


def test_a_damaged_one_is_named_and_passed_over(tmp_path: Path) -> None:
    for number in range(2):
        checkpoint.save(tmp_path, number, {"number": number})
    newest = tmp_path / saved(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:-20])
    warnings: list[str] = []
    state = checkpoint.latest(tmp_path, device=CPU, warn=warnings.append)
    assert state == {"number": 0}
    assert warnings == [f"warning[THX705]: {newest} is damaged and is passed over"]


def test_none_without_a_folder_and_after_clearing(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path / "none", device=CPU, warn=lambda text: None) is None
    checkpoint.save(tmp_path, 1, {"number": 1})
    checkpoint.clear(tmp_path)
    assert checkpoint.latest(tmp_path, device=CPU, warn=lambda text: None) is None
