"""Data sets that the package `datasets` reads: from the Hugging Face hub, its cache, or a file or folder."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from theseus_fx.data.arguments import rejected, text
from theseus_fx.lang.diagnostics import Rejected, did_you_mean, first_line
from theseus_fx.lang.spec import Environment, Invocation

T = TypeVar("T")
PIP = "pip install 'theseus-fx[data]'"
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_READERS: Mapping[str, str] = {
    ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet",
    ".arrow": "arrow", ".txt": "text",
}  # fmt: skip
"""What reads a single file, by how its name ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSet:
    """An opened data set: its splits are read when they are asked for."""

    invocation: Invocation
    shown: str
    """The name or the path, for messages."""
    read: Callable[[str], Any]
    """A split by name -> `datasets.Dataset`; what the package raises is its own."""
    errors: tuple[type[Exception], ...]

    def split(self, argument: str) -> Any:
        """The split that an argument names, `datasets.Dataset`; `Rejected` THX601 or THX602."""
        name = text(self.invocation, argument)
        try:
            found = self.read(name)
        except (KeyError, *self.errors) as error:
            what = f"`{self.shown}` has no split `{name}` that can be read: {first_line(error)}"
            raise self.rejected("THX601", argument, what) from error
        if not len(found):
            raise self.rejected("THX602", argument, f"the split `{name}` of `{self.shown}` is empty")
        return found

    def column(self, rows: Any, argument: str) -> str:
        """The name of a column of a split, which is there; `Rejected` THX602."""
        name = text(self.invocation, argument)
        known: Sequence[str] = rows.column_names
        if name not in known:
            message = f"`{self.shown}` has no column `{name}`"
            raise self.rejected("THX602", argument, message, *did_you_mean(name, known, what="its columns"))
        return name

    def guarded(self, call: Callable[[], T], argument: str) -> T:
        """What a call of the package gives; `Rejected` THX602 where it finds damaged rows."""
        try:
            return call()
        except self.errors as error:
            message = f"`{self.shown}` cannot be read: {first_line(error)}"
            raise self.rejected("THX602", argument, message) from error

    def rejected(self, code: str, argument: str, message: str, *helps: str) -> Rejected:
        """A diagnostic at the value of an argument where it is written, else at the name's."""
        written = argument if argument in self.invocation.spans else "name"
        return rejected(code, self.invocation, written, message, *helps)


def open_set(invocation: Invocation, folder: Path) -> HubSet:
    """The data set that the arguments `name` and `config` mean.

    A path, relative to `folder`, is taken first: a folder that `save_to_disk` wrote, any folder or a single
    file that the package reads. Anything else is a name on the hub, read from there or from its cache.

    Raises `Rejected` THX601 where the package is not installed or there is no such path or name.
    """
    if find_spec("datasets") is None:
        message = f"`{invocation.name}` needs the package `datasets`, which is not installed"
        raise rejected("THX601", invocation, None, message, f"`{PIP}`")
    datasets: Any = importlib.import_module("datasets")
    errors = (OSError, ValueError, RuntimeError, TypeError, datasets.exceptions.DatasetsError)
    config = invocation.keywords["config"]
    place = _path(invocation, folder)
    shown = str(place) if place is not None else text(invocation, "name")

    def from_disk() -> Callable[[str], Any]:
        held: Any = datasets.load_from_disk(str(place))
        return held.__getitem__ if isinstance(held, dict) else partial(_only, held)

    def read(split: str) -> Any:
        if place is None or place.is_dir():
            return datasets.load_dataset(shown, config, split=split)
        return datasets.load_dataset(_READERS[place.suffix.lower()], data_files=shown, split=split)

    try:
        saved = place is not None and any(
            (place / name).is_file() for name in ("dataset_dict.json", "state.json")
        )
        found = from_disk() if saved else read
    except errors as error:
        message = f"{shown} cannot be read as a saved data set: {first_line(error)}"
        raise rejected("THX602", invocation, "name", message) from error
    return HubSet(invocation=invocation, shown=shown, read=found, errors=errors)


def _only(held: Any, split: str) -> Any:
    """A data set that was saved without splits, which is its own training split."""
    if split != "train":
        raise KeyError("it was saved as one split, which is called `train` here")
    return held


def _path(invocation: Invocation, folder: Path) -> Path | None:
    """The file or folder that `name` means, or None for a name on the hub; `Rejected` THX601."""
    value = invocation.keywords["name"]
    if isinstance(value, Environment):
        held = os.environ.get(value.variable)
        if not held:
            message = f"the environment variable `{value.variable}` is not set"
            raise rejected(
                "THX601", invocation, "name", message, f"export {value.variable}=/path/to/the/data"
            )
        value, folder = held, Path.cwd()
    path = (folder / Path(str(value)).expanduser()).absolute()
    if path.is_dir() or (path.is_file() and path.suffix.lower() in _READERS):
        return path
    if path.is_file():
        known = ", ".join(_READERS)
        message = f"{path} ends like none of the files that are read"
        raise rejected("THX601", invocation, "name", message, f"files end with {known}")
    if not _HUB_NAME.fullmatch(str(value)):
        raise rejected("THX601", invocation, "name", f"there is no file or folder {path}")
    return None
