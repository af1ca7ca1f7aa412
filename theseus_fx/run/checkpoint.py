"""Checkpoints: written whole or not at all, named after their own content, the last two kept."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from theseus_fx.run.folder import write_bytes, writing

_NAME = re.compile(r"checkpoint-(\d+)-([0-9a-f]{16})\.pt")
_KEPT = 2


def save(folder: Path, number: int, state: dict[str, Any]) -> None:
    """Writes checkpoint `number` of a unit and drops all but the last two.

    Args:
        folder: of the unit.
        number: ascending within the unit.
        state: tensors, numbers, strings, lists and dicts.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()[:16]
    write_bytes(folder / f"checkpoint-{number:015d}-{digest}.pt", content)
    for path in _all(folder)[:-_KEPT]:
        with writing(path):
            path.unlink(missing_ok=True)


def latest(folder: Path, *, device: torch.device, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, or None; a damaged one is named and passed over."""
    for path in reversed(_all(folder)):
        matched = _NAME.fullmatch(path.name)
        content = path.read_bytes()
        if matched and hashlib.sha256(content).hexdigest()[:16] == matched[2]:
            return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        warn(f"warning[THX705]: {path} is damaged and is passed over")
    return None


def clear(folder: Path) -> None:
    """Removes the checkpoints of a unit that is finished."""
    for path in _all(folder):
        with writing(path):
            path.unlink(missing_ok=True)


def _all(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
