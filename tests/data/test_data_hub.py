"""Data sets of the package `datasets`, saved here: folders, files, columns, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_calls import call
from PIL import Image

from theseus_fx.data.arrays import ArraySource
from theseus_fx.data.registry import (
    declared_batch,
    declared_classes,
    declared_inputs,
    declared_task,
    open_source,
)
from theseus_fx.data.source import Split
from theseus_fx.data.tokens import TokenSource
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.spec import Environment, Value

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 6, 6, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, with its cache in an empty folder."""
    found = pytest.importorskip("datasets")
    monkeypatch.setattr(found.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(found.config, "HF_DATASETS_OFFLINE", True, raising=False)
    monkeypatch.setattr(found.config, "HF_HUB_OFFLINE", True, raising=False)
    found.disable_progress_bars()
    return found


def images(hub: Any) -> Any:
    kinds = {"image": hub.Image(), "label": hub.ClassLabel(names=["ant", "bee", "cat", "dog"])}

    def rows(first: int, last: int) -> Any:
        held = {
            "image": [Image.fromarray(x) for x in PIXELS[first:last]],
            "label": [i % 3 for i in range(first, last)],
        }
        return hub.Dataset.from_dict(held, features=hub.Features(kinds))

    return hub.DatasetDict({"train": rows(0, 20), "test": rows(20, 30)})


def opened(name: Value, folder: Path = Path(), **more: Value) -> ArraySource:
    source = open_source(
        call("datasets.images", **{"name": name, "size": 6, "batch": 8, **more}), folder=folder
    )
    assert isinstance(source, ArraySource)
    return source


def read(name: Value, folder: Path = Path(), **more: Value) -> TokenSource:
    written: dict[str, Value] = {"name": name, "tokenizer": "bytes", "length": 4, "batch": 2, **more}
    source = open_source(call("datasets.text", **written), folder=folder)
    assert isinstance(source, TokenSource)
    return source


def rejection(action: Any) -> Diagnostic:
    with pytest.raises(Rejected) as caught:
        action()
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.primary is not None
    return diagnostic


def test_what_is_declared_needs_neither_package_nor_files() -> None:
    pictures = call("datasets.images", name="someone/pictures", size=32, batch=16)
    texts = call("datasets.text", name=Environment("NOT_SET"), tokenizer="bytes", length=7)
    assert declared_inputs(pictures)[0].shape == ("batch", 3, 32, 32)
    assert (declared_batch(pictures), declared_classes(pictures)) == (16, None)
    assert declared_task(pictures) == "classification"
    assert declared_inputs(texts)[0].shape == ("batch", 7)
    assert (declared_classes(texts), declared_task(texts)) == (256, "language_modelling")


@pytest.mark.parametrize("kind", ["datasets.images", "datasets.text"])
def test_the_package_is_not_installed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("theseus_fx.data.hub_sets.find_spec", lambda name: None)
    asked = call(kind, name="someone/something", size=32, tokenizer="bytes")
    diagnostic = rejection(lambda: open_source(asked, folder=Path()))
    assert diagnostic.code == "THX601"
    assert diagnostic.help == ("`pip install 'theseus-fx[data]'`",)
    assert f"`{kind}` needs the package `datasets`" in diagnostic.message


def test_images_that_were_saved_to_disk(hub: Any, tmp_path: Path) -> None:
    images(hub).save_to_disk(tmp_path / "saved")
    source = opened("saved", tmp_path)
    assert source.sizes == {Split.TRAIN: 18, Split.VALIDATION: 2, Split.TEST: 10}
    assert source.classes == 4  # one has no image
    test = source.splits[Split.TEST]
    assert torch.equal(test.images, torch.from_numpy(PIXELS[20:]).permute(0, 3, 1, 2))
    assert test.labels.tolist() == [i % 3 for i in range(20, 30)]
    some = opened("saved", tmp_path, at_most=9, augment=(), mean=0.5, std=0.5)
    assert some.splits[Split.TRAIN].labels.bincount().tolist() == [3, 3, 3]
    assert float(some.mean[0]) == 127.5


def test_images_from_parquet_files_of_a_folder(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pictures").mkdir()
    for split, rows in images(hub).items():
        rows.to_parquet(tmp_path / "pictures" / f"{split}-0.parquet")
    monkeypatch.setenv("PICTURES", str(tmp_path / "pictures"))
    source = opened(Environment("PICTURES"), channels=1, size=3)
    assert source.sizes == {Split.TRAIN: 18, Split.VALIDATION: 2, Split.TEST: 10}
    assert source.splits[Split.TRAIN].images.shape == (18, 1, 3, 3)
    saved = images(hub)
    saved.save_to_disk(tmp_path / "saved")
    assert source.fingerprint() == opened("saved", tmp_path, channels=1, size=3).fingerprint()


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        ({"image": "imge"}, "THX602", "has no column `imge`"),
        ({"label": "image"}, "THX603", "labels are whole numbers"),
        ({"image": "label"}, "THX602", "holds int, no images"),
        ({"test": "validation"}, "THX601", "has no split `validation`"),
        ({"batch": 19}, "THX208", "a batch of 19"),
        ({"channels": 2}, "THX208", "1 or 3 channels"),
    ],
)
def test_images_that_do_not_fit(hub: Any, tmp_path: Path, more: dict[str, Any], code: str, said: str) -> None:
    images(hub).save_to_disk(tmp_path / "saved")
    diagnostic = rejection(lambda: opened("saved", tmp_path, **more))
    assert (diagnostic.code, said in diagnostic.message) == (code, True), diagnostic.message
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.text == str(next(iter(more.values())))


def test_secret_labels_and_labels_of_text(hub: Any, tmp_path: Path) -> None:
    for number, (labels, said) in enumerate([([-1] * 20, "the label -1"), (["ant"] * 20, "has 'ant'")]):
        held = {"image": [Image.fromarray(x) for x in PIXELS[:20]], "label": labels}
        rows = hub.Dataset.from_dict(held)
        hub.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / str(number))
        diagnostic = rejection(lambda n=number: opened(str(n), tmp_path))
        assert (diagnostic.code, said in diagnostic.message) == ("THX603", True), diagnostic.message


def test_text_from_a_folder_of_files(hub: Any, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for split in ("train", "validation", "test"):
        (tmp_path / "texts" / f"{split}.csv").write_text(f"text,kind\n{split} one,a\n{split} two,b\n")
    source = read("texts", tmp_path)
    held = {split: bytes(tokens.tolist()).decode() for split, tokens in source.splits.items()}
    assert held == {split: f"{split.value} one\n{split.value} two\n" for split in Split}
    kinds = read("texts", tmp_path, text="kind", length=1)
    assert bytes(kinds.splits[Split.TEST].tolist()) == b"a\nb\n"


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_text_from_one_file_cut_as_the_package_cuts(hub: Any, tmp_path: Path, ending: str) -> None:
    rows = hub.Dataset.from_dict({"text": [f"line {number}" for number in range(10)]})
    path = tmp_path / f"lines.{ending}"
    {"csv": rows.to_csv, "jsonl": rows.to_json, "parquet": rows.to_parquet}[ending](path)
    cuts: dict[str, Value] = {"train": "train[:60%]", "validation": "train[60%:80%]", "test": "train[80%:]"}
    source = read(path.name, tmp_path, **cuts)
    assert bytes(source.splits[Split.TEST].tolist()) == b"line 8\nline 9\n"
    short = read(path.name, tmp_path, **cuts, at_most=17)
    assert bytes(short.splits[Split.TRAIN].tolist()) == b"line 0\nline 1\nlin"
    assert torch.equal(short.splits[Split.TEST], source.splits[Split.TEST])


def test_one_split_that_was_saved_is_the_training_split(hub: Any, tmp_path: Path) -> None:
    hub.Dataset.from_dict({"text": ["some"] * 9}).save_to_disk(tmp_path / "saved")
    diagnostic = rejection(lambda: read("saved", tmp_path))
    assert diagnostic.code == "THX601"
    assert "saved as one split" in diagnostic.message


def test_names_and_paths_that_are_not_there(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.docx").write_text("")
    monkeypatch.delenv("NOT_SET", raising=False)
    found = {
        "./nowhere/at/all": "there is no file or folder",
        "notes.docx": "ends like none",
        Environment("NOT_SET"): "the environment variable `NOT_SET` is not set",
        "someone/no-such-set": "`someone/no-such-set` has no split `train`",
    }
    for name, said in found.items():
        diagnostic = rejection(lambda n=name: read(n, tmp_path))
        assert (diagnostic.code, said in diagnostic.message) == ("THX601", True), diagnostic.message


def test_damaged_sets(hub: Any, tmp_path: Path) -> None:
    images(hub).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "dataset_dict.json").write_text("{")
    assert rejection(lambda: opened("saved", tmp_path)).code == "THX602"
    (tmp_path / "lines.parquet").write_bytes(b"PAR1 no more")
    assert rejection(lambda: read("lines.parquet", tmp_path)).code == "THX601"
    held = {"image": [{"bytes": b"no image", "path": None}] * 20, "label": [0] * 20}
    rows = hub.Dataset.from_dict(
        held, features=hub.Features({"image": hub.Image(), "label": hub.Value("int64")})
    )
    hub.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "broken")
    diagnostic = rejection(lambda: opened("broken", tmp_path))
    assert (diagnostic.code, "cannot be read" in diagnostic.message) == ("THX602", True)
