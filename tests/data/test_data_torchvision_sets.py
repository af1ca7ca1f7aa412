"""Sets of torchvision, on small files in their own formats."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from data_calls import call
from scipy.io import savemat

from theseus_fx.data.arrays import ArraySource
from theseus_fx.data.source import Split
from theseus_fx.data.torchvision_sets import SETS, declared_inputs, open_set
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.spec import Invocation, Value


def invocation(name: str, root: Path, **more: Value) -> Invocation:
    arguments: dict[str, Value] = {
        "root": str(root), "batch": 8, "size": None, "validation": 0.1, "download": False, **more
    }  # fmt: skip
    return call(f"torchvision.datasets.{name}", **arguments)


def opened(name: str, root: Path, **more: Value) -> ArraySource:
    return open_set(invocation(name, root, **more), Path())


def write_mnist(root: Path, name: str = "MNIST", count: int = 50) -> None:
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, n in (("train", count), ("t10k", 20)):
        images = random.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = np.arange(n, dtype=np.uint8) % 10
        (raw / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">4I", 2051, *images.shape) + images.tobytes()
        )
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, n) + labels.tobytes())


def rejection(name: str, root: Path, **more: Value) -> Diagnostic:
    with pytest.raises(Rejected) as caught:
        opened(name, root, **more)
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_grey_sets(name: str, tmp_path: Path) -> None:
    write_mnist(tmp_path, name)
    source = opened(name, tmp_path)
    assert source.sizes == {Split.TRAIN: 45, Split.VALIDATION: 5, Split.TEST: 20}
    assert source.train_batch(0, seed=0).inputs[0].shape == (8, 1, 28, 28)
    (test,) = source.batches(Split.TEST, batch_size=20)
    assert test.labels.tolist() == [*range(10), *range(10)]


@pytest.mark.parametrize(("name", "key"), [("CIFAR10", "labels"), ("CIFAR100", "fine_labels")])
def test_colour_sets(name: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = getattr(torchvision.datasets, name)
    monkeypatch.setattr(kind, "_check_integrity", lambda self: True)
    monkeypatch.setattr(kind, "_load_meta", lambda self: None)
    base = tmp_path / kind.base_folder
    base.mkdir()
    pixels = np.zeros((10, 3, 32, 32), dtype=np.uint8)
    pixels[:, 1] = 200
    pixels[0, 2, 3, 5] = 77
    for file, _ in [*kind.train_list, *kind.test_list]:
        (base / file).write_bytes(pickle.dumps({"data": pixels.reshape(10, -1), key: list(range(10))}))
    source = opened(name, tmp_path)
    images = source.splits[Split.TEST].images
    assert torch.equal(images, torch.from_numpy(pixels))
    assert source.inputs[0].shape == ("batch", 3, 32, 32)
    assert source.classes == SETS[name].classes


def test_house_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.SVHN, "_check_integrity", lambda self: True)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 20), dtype=np.uint8)
    for part in ("train", "test"):
        savemat(tmp_path / f"{part}_32x32.mat", {"X": pixels, "y": np.arange(1, 21)[:, None] % 10 + 1})
    source = opened("SVHN", tmp_path)
    assert torch.equal(source.splits[Split.TEST].images[4], torch.from_numpy(pixels[..., 4]).permute(2, 0, 1))
    assert int(source.splits[Split.TEST].labels.min()) == 0  # ten is stored for zero


def test_images_are_standardised_by_the_training_split_and_resized(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    source = opened("MNIST", tmp_path)
    images = torch.cat([batch.inputs[0] for batch in source.batches(Split.TRAIN)])
    deviation, mean = torch.std_mean(images.double(), correction=0)
    assert abs(float(mean)) < 1e-5
    assert abs(float(deviation) - 1) < 1e-5
    small = opened("MNIST", tmp_path, size=14)
    assert small.inputs[0].shape == ("batch", 1, 14, 14)
    assert small.train_batch(0, seed=0).inputs[0].shape == (8, 1, 14, 14)


def test_validation_is_held_out_and_batches_are_pure(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    source, other = opened("MNIST", tmp_path), opened("MNIST", tmp_path)
    rows = [{x.numpy().tobytes() for x in source.splits[split].images} for split in Split]
    assert not rows[0] & rows[1]
    assert len(rows[0]) + len(rows[1]) == 50
    first, second = source.train_batch(13, seed=4), other.train_batch(13, seed=4)
    assert torch.equal(first.inputs[0], second.inputs[0])
    assert source.fingerprint() == other.fingerprint()
    assert opened("MNIST", tmp_path, validation=0.2).fingerprint() != source.fingerprint()


def test_unlabelled_ends_with_the_training_images(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    source = opened("MNIST", tmp_path)
    assert sum(len(inputs[0]) for inputs in source.unlabelled(20, seed=0)) == 20
    everything = torch.cat([inputs[0] for inputs in source.unlabelled(1000, seed=0)])
    assert len({image.numpy().tobytes() for image in everything}) == len(everything) == 45


@pytest.mark.parametrize("name", sorted(SETS))
def test_files_that_are_not_there(name: str, tmp_path: Path) -> None:
    diagnostic = rejection(name, tmp_path)
    assert diagnostic.code == "THX601"
    assert diagnostic.message == f"`torchvision.datasets.{name}` is not in {tmp_path}, or is damaged"
    assert diagnostic.help == ("`download = true` fetches it there",)
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.text == str(tmp_path)


def test_a_download_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", fail)
    diagnostic = rejection("MNIST", tmp_path, download=True)
    assert diagnostic.code == "THX601"
    assert "could not be downloaded" in diagnostic.message
    assert "Error downloading train-images" in diagnostic.message


def test_damaged_files(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    path = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:5000])
    assert rejection("MNIST", tmp_path).code == "THX602"
    path.write_bytes(b"")
    assert rejection("MNIST", tmp_path).code == "THX602"


def test_arguments_out_of_range(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    for wrong in ({"batch": 46}, {"batch": 0}, {"size": 0}, {"validation": 2.0}):
        diagnostic = rejection("MNIST", tmp_path, **wrong)
        assert diagnostic.code == "THX208"


def test_inputs_are_declared_without_files() -> None:
    nowhere = Path("/no/such/folder")
    assert declared_inputs(invocation("SVHN", nowhere))[0].shape == ("batch", 3, 32, 32)
    assert declared_inputs(invocation("KMNIST", nowhere, size=20))[0].shape == ("batch", 1, 20, 20)
