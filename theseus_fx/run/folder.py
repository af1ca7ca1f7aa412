"""The run folder: everything is written atomically, and a full or read-only disk is a diagnostic.

```
runs/digits_to_mlp/
  spec.thx  resolved.thx  plan.json  run.json  environment.json     what was asked, and where
  metrics.jsonl                                                     one line a step
  work/<unit>/                                                      checkpoints and results of each piece
  summary.json  model.safetensors  architecture.json                what came out
```
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from theseus_fx.lang.diagnostics import Diagnostic, Rejected


@contextmanager
def writing(path: Path) -> Generator[None, None, None]:
    """Turns an `OSError` while `path` is written into THX702."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise Rejected(
            Diagnostic(
                code="THX702",
                message=f"cannot write {path}: {reason}",
                help=(
                    "make room or choose another folder with `--out`",
                    "what was finished before is kept: `theseus-fx resume` goes on from there",
                ),
            )
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file or nothing: a temporary file in the same folder, synced, then renamed.

    Raises:
        Rejected: THX702 where the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.partial")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of a text in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """`write_bytes` of a value as indented JSON; NaN is refused, for it is not JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value of a JSON file that a run wrote.

    Raises:
        Rejected: THX703 where the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _not_a_run(path, "it is missing") from error
    except (OSError, ValueError) as error:
        raise _not_a_run(path, str(error)) from error


def create(path: Path) -> Path:
    """Makes an empty run folder.

    Raises:
        Rejected: THX701 where it exists and is not empty, THX702 where it cannot be made.
    """
    with writing(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise Rejected(
                Diagnostic(
                    code="THX701",
                    message=f"{path} exists already and is not empty",
                    help=(
                        "choose another folder with `--out`",
                        f"to go on with the run in it: `theseus-fx resume {path}`",
                    ),
                )
            )
        path.mkdir(parents=True, exist_ok=True)
    return path


def first_free(parent: Path, stem: str) -> Path:
    """`parent/stem`, or the first of `parent/stem-2`, `parent/stem-3`, ... that does not exist."""
    path = parent / stem
    number = 2
    while path.exists():
        path = parent / f"{stem}-{number}"
        number += 1
    return path


@contextmanager
def locked(path: Path) -> Generator[None, None, None]:
    """Keeps a second process out of a run folder; the lock goes with the process, however it ends.

    Raises:
        Rejected: THX704 where another process works in it.
    """
    lock = FileLock(path / ".lock")
    with writing(path):
        try:
            lock.acquire(timeout=0)
        except Timeout as error:  # an OSError too, but not of the disk
            raise Rejected(
                Diagnostic(code="THX704", message=f"another process is working in {path}")
            ) from error
    try:
        yield
    finally:
        lock.release()


class Metrics:
    """`metrics.jsonl`: one JSON object a line, appended; a resumed run first cuts it to its checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Adds the records as lines."""
        if not records:
            return
        lines = "".join(f"{json.dumps(record)}\n" for record in records)
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(lines)

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Drops everything behind the first `size` bytes."""
        if self.size > size:
            with writing(self.path):
                os.truncate(self.path, size)


def _not_a_run(path: Path, reason: str) -> Rejected:
    return Rejected(
        Diagnostic(
            code="THX703",
            message=f"{path.parent} is not a complete run folder: {path.name}: {reason}",
            help=("a run folder is what `theseus-fx run` makes, `runs/...` unless `--out` says otherwise",),
        )
    )
