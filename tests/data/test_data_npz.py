"""Archives of arrays: pixels in every layout, images as JPEG bytes, and everything that can be wrong."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_calls import call
from PIL import Image

from theseus_fx.data.arrays import ArraySource
from theseus_fx.data.npz import declared_inputs, open_npz
from theseus_fx.data.order import balanced
from theseus_fx.data.source import Split
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.spec import Value

RANDOM = np.random.default_rng(0)
GREY = {
    "x_train": RANDOM.integers(0, 256, (40, 5, 4), dtype=np.uint8),
    "y_train": np.arange(40, dtype=np.uint8) % 4,
    "x_test": RANDOM.integers(0, 256, (12, 5, 4), dtype=np.uint8),
    "y_test": np.arange(12, dtype=np.uint8) % 3,
}


def opened(path: Path, **more: Value) -> ArraySource:
    written: dict[str, Value] = {"root": path.name, "size": 5, "channels": 1, "batch": 8, **more}
    return open_npz(call("npz", **written), path.parent)


def rejection(path: Path, **more: Value) -> Diagnostic:
    with pytest.raises(Rejected) as caught:
        opened(path, **more)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.primary is not None
    return diagnostic


def saved(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "images.npz", **arrays)
    return folder / "images.npz"


def jpeg(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, kind)
    return held.getvalue()


def encoded(split: str, files: list[bytes], labels: Any) -> dict[str, Any]:
    return {
        f"{split}_jpeg": np.frombuffer(b"".join(files), dtype=np.uint8),
        f"{split}_offsets": np.cumsum([0, *map(len, files)]),
        f"{split}_labels": np.asarray(labels, dtype=np.uint8),
    }


COLOURS = RANDOM.integers(0, 256, (20, 6, 6, 3), dtype=np.uint8)
FILES = [jpeg(image) for image in COLOURS]  # PNG, so that nothing is lost
ENCODED = {
    **encoded("train", FILES[:12], np.arange(12) % 2),
    **encoded("val", FILES[12:], np.arange(8) % 2),
    "classes": np.array(["ant", "bee"]),
}


def test_what_is_declared_needs_no_file() -> None:
    (image,) = declared_inputs(call("npz", root="none.npz", size=28, channels=1))
    assert (image.shape, image.dtype) == (("batch", 1, 28, 28), torch.float32)


def test_grey_images_keep_their_pixels(tmp_path: Path) -> None:
    source = opened(saved(tmp_path, **GREY))
    assert source.sizes == {Split.TRAIN: 36, Split.VALIDATION: 4, Split.TEST: 12}
    assert source.classes == 4
    test = source.splits[Split.TEST]
    assert test.images.dtype == torch.uint8
    assert torch.equal(test.images[:, 0], torch.from_numpy(GREY["x_test"]))
    assert test.labels.tolist() == GREY["y_test"].tolist()
    assert source.train_batch(0, seed=0).inputs[0].shape == (8, 1, 5, 5)


def test_images_are_standardised_by_the_training_images(tmp_path: Path) -> None:
    source = opened(
        saved(tmp_path, **{**GREY, "x_train": GREY["x_train"][:, :4], "x_test": GREY["x_test"][:, :4]}),
        size=4,
    )
    images = torch.cat([batch.inputs[0] for batch in source.batches(Split.TRAIN)])
    deviation, mean = torch.std_mean(images.double(), correction=0)
    assert abs(float(mean)) < 1e-5
    assert abs(float(deviation) - 1) < 1e-5


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
def test_mean_and_std_are_of_pixels_from_zero_to_one(tmp_path: Path, kind: str) -> None:
    pixels = GREY["x_train"] if kind == "uint8" else (GREY["x_train"] / 255).astype(kind)
    test = GREY["x_test"] if kind == "uint8" else (GREY["x_test"] / 255).astype(kind)
    path = saved(tmp_path, **{**GREY, "x_train": pixels, "x_test": test})
    source = opened(path, mean=0.5, std=(0.25,))
    expected = (torch.from_numpy(GREY["x_train"])[:, None] / 255 - 0.5) / 0.25
    images = source.splits[Split.TRAIN].images
    made = (images.float() - source.mean) / source.deviation
    kept = torch.tensor(
        [
            i
            for i in range(40)
            if any(torch.equal(expected[i], x) or torch.allclose(expected[i], x, atol=1e-5) for x in made)
        ]
    )
    assert len(kept) == 36


@pytest.mark.parametrize("layout", ["auto", "hwc", "chw"])
def test_colours_in_every_layout(tmp_path: Path, layout: str) -> None:
    pixels = COLOURS.transpose(0, 3, 1, 2) if layout == "chw" else COLOURS
    path = saved(
        tmp_path,
        **{**GREY, "x_train": pixels, "y_train": np.arange(20), "x_test": pixels, "y_test": np.arange(20)},
    )
    source = opened(path, channels=3, layout=layout, size=6)
    assert torch.equal(source.splits[Split.TEST].images, torch.from_numpy(COLOURS).permute(0, 3, 1, 2))


def test_grey_images_for_a_network_of_three_channels(tmp_path: Path) -> None:
    source = opened(saved(tmp_path, **GREY), channels=3)
    (images,) = source.train_batch(0, seed=0).inputs
    assert images.shape == (8, 3, 5, 5)
    assert torch.equal(images[:, 0], images[:, 2])


def test_a_layout_that_could_be_either_has_to_be_said(tmp_path: Path) -> None:
    pixels = np.zeros((20, 3, 6, 3), dtype=np.uint8)
    path = saved(tmp_path, **{**GREY, "x_train": pixels, "y_train": np.arange(20)})
    diagnostic = rejection(path, channels=3)
    assert diagnostic.code == "THX603"
    assert "20 x 3 x 6 x 3" in diagnostic.message
    assert diagnostic.help == ('write `layout = "hwc"` or `layout = "chw"`',)
    none = rejection(
        saved(
            tmp_path, **{**GREY, "x_train": np.zeros((20, 6, 6, 4), dtype=np.uint8), "y_train": np.arange(20)}
        )
    )
    assert "without an axis of 1 channels" in none.message
    assert none.primary is not None
    assert none.primary.span.text == "1"


def test_images_as_jpeg_bytes(tmp_path: Path) -> None:
    source = opened(saved(tmp_path, **ENCODED), channels=3, size=6, test="val", validation=0.25)
    assert source.sizes == {Split.TRAIN: 9, Split.VALIDATION: 3, Split.TEST: 8}
    assert source.classes == 2
    assert torch.equal(source.splits[Split.TEST].images, torch.from_numpy(COLOURS[12:]).permute(0, 3, 1, 2))
    every = torch.cat([source.splits[split].images for split in (Split.TRAIN, Split.VALIDATION)])
    assert sorted(x.numpy().tobytes() for x in every) == sorted(
        x.numpy().tobytes() for x in torch.from_numpy(COLOURS[:12]).permute(0, 3, 1, 2)
    )
    grey = opened(saved(tmp_path, **ENCODED), channels=1, size=6, test="val")
    assert grey.splits[Split.TEST].images.shape == (8, 1, 6, 6)


def test_arrays_of_other_names(tmp_path: Path) -> None:
    renamed = {f"{key[0]}{key[2:]}": value for key, value in GREY.items()}  # xtrain, ytrain, ...
    source = opened(saved(tmp_path, **renamed), images="x{split}", labels="y{split}")
    assert source.fingerprint() == opened(saved(tmp_path, **GREY)).fingerprint()
    once = {k.replace("jpeg", "files").replace("offsets", "ends"): v for k, v in ENCODED.items()}
    source = opened(
        saved(tmp_path, **once),
        channels=3,
        size=6,
        test="val",
        images="{split}_files",
        offsets="{split}_ends",
        labels="{split}_labels",
    )
    assert source.sizes[Split.TEST] == 8


def test_labels_in_a_column_as_keras_writes_them(tmp_path: Path) -> None:
    source = opened(saved(tmp_path, **{**GREY, "y_train": GREY["y_train"][:, None]}))
    assert source.splits[Split.TRAIN].labels.shape == (36,)


def test_at_most_keeps_as_many_of_each_class(tmp_path: Path) -> None:
    path = saved(tmp_path, **GREY)
    whole, some, fewer = opened(path), opened(path, at_most=16), opened(path, at_most=10)
    assert some.splits[Split.TRAIN].labels.bincount().tolist() == [4, 4, 4, 4]
    assert some.sizes[Split.VALIDATION] == whole.sizes[Split.VALIDATION]
    held = [{x.numpy().tobytes() for x in s.splits[Split.TRAIN].images} for s in (fewer, some, whole)]
    assert held[0] < held[1] < held[2]
    assert opened(path, at_most=1000).fingerprint() == whole.fingerprint()
    assert some.fingerprint() == opened(path, at_most=16).fingerprint() != whole.fingerprint()
    few = rejection(path, at_most=7)
    assert few.code == "THX208"
    assert "there are 7" in few.message


def test_a_class_with_too_few_samples_leaves_its_places_to_the_others() -> None:
    labels = torch.tensor([0] * 30 + [5] * 2 + [7] * 30)
    chosen = balanced(labels, 12)
    assert labels[chosen].bincount(minlength=8).tolist() == [5, 0, 0, 0, 0, 2, 0, 5]
    assert chosen.tolist() == sorted(chosen.tolist())
    assert balanced(labels, 100).tolist() == list(range(62))


def broken(folder: Path, what: str) -> Path:
    path = saved(folder, **GREY)
    content = bytearray(path.read_bytes())
    match what:
        case "text":
            path.write_bytes(b"no archive at all")
        case "cut":
            path.write_bytes(bytes(content[: len(content) // 2]))
        case "flipped":
            content[content.index(b"x_train.npy") + 200] ^= 255
            path.write_bytes(bytes(content))
        case "one array":
            with path.open("wb") as file:
                np.save(file, GREY["x_test"])
        case _:
            raise ValueError(what)
    return path


@pytest.mark.parametrize("what", ["text", "cut", "flipped", "one array"])
def test_a_damaged_archive(tmp_path: Path, what: str) -> None:
    diagnostic = rejection(broken(tmp_path, what))
    assert diagnostic.code == "THX602"
    assert str(tmp_path) in diagnostic.message
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.text == "images.npz"


def test_python_objects_are_not_loaded(tmp_path: Path) -> None:
    path = saved(tmp_path, **{**GREY, "y_train": np.array([{}] * 40, dtype=object)})
    diagnostic = rejection(path)
    assert diagnostic.code == "THX602"
    assert "allow_pickle=False" in diagnostic.message


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ({"y_test": None}, "THX602", "has no array `y_test`"),
        ({"y_train": np.arange(39)}, "THX603", "`x_train` has 40 images, `y_train` has 39 labels"),
        ({"y_train": np.arange(40) - 1}, "THX603", "`y_train` has the label -1, below 0"),
        ({"y_train": np.ones(40)}, "THX603", "`y_train` is 40 float64"),
        ({"x_train": np.zeros((40, 5, 4), np.int64)}, "THX602", "`x_train` is 40 x 5 x 4 int64"),
        ({"x_train": np.full((40, 5, 4), np.nan)}, "THX602", "no finite number"),
        ({"x_train": np.zeros((40, 5), np.uint8)}, "THX602", "`x_train` is 40 x 5, and images are"),
        ({"x_test": np.zeros((12, 5, 5), np.uint8)}, "THX603", "test images are 1 x 5 x 5 uint8"),
        ({"x_test": np.zeros((12, 5, 4), np.float32)}, "THX603", "test images are 1 x 5 x 4 float32"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, changed: dict[str, Any], code: str, said: str) -> None:
    arrays = {key: value for key, value in {**GREY, **changed}.items() if value is not None}
    diagnostic = rejection(saved(tmp_path, **arrays))
    assert (diagnostic.code, said in diagnostic.message) == (code, True), diagnostic.message


def test_a_missing_array_is_told_with_near_names(tmp_path: Path) -> None:
    diagnostic = rejection(saved(tmp_path, **GREY), labels="y_{split}s")
    assert diagnostic.message.endswith("has no array `y_trains`")
    assert diagnostic.help == ("did you mean `y_train` or `x_train`?",)
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.text == "y_{split}s"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"train_offsets": np.array([0, 5, 3])}, "offsets do not rise"),
        ({"train_offsets": np.array([1.0])}, "offsets are n + 1 whole numbers"),
        ({"train_jpeg": ENCODED["train_jpeg"][:-9]}, "offsets do not rise from 0 to"),
        (encoded("train", [*FILES[:3], b"no image", *FILES[4:12]], [0] * 12), "image 3 cannot be decoded"),
        (encoded("train", [*FILES[:11], jpeg(COLOURS[0, :5])], [0] * 12), "image 11 is 6 x 5"),
        (encoded("val", [FILES[0][:60]], [0]), "`val_jpeg`: image 0 cannot be decoded"),
    ],
)
def test_damaged_images(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    diagnostic = rejection(
        saved(tmp_path, **{**ENCODED, **changed}), channels=3, size=6, test="val", validation=0.01
    )
    assert (diagnostic.code, said in diagnostic.message) == ("THX602", True), diagnostic.message


@pytest.mark.parametrize(
    ("argument", "value"),
    [("batch", 37), ("size", 0), ("validation", 1.5), ("at_most", 0), ("std", 0.0), ("mean", (0.1, 0.2))],
)
def test_arguments_out_of_range(tmp_path: Path, argument: str, value: Value) -> None:
    diagnostic = rejection(saved(tmp_path, **GREY), **{argument: value})
    assert diagnostic.code == "THX208"
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.text == str(value)


def test_no_file(tmp_path: Path) -> None:
    assert rejection(tmp_path / "none.npz").code == "THX601"


def test_real_mnist(shared_data: Path) -> None:
    source = opened(shared_data / "mnist.npz", size=28, batch=128)
    assert source.sizes == {Split.TRAIN: 54_000, Split.VALIDATION: 6_000, Split.TEST: 10_000}
    assert float(source.mean) / 255 == pytest.approx(0.1307, abs=5e-4)
    assert float(source.deviation) / 255 == pytest.approx(0.3081, abs=5e-4)


def test_real_tiny_imagenet(shared_data: Path) -> None:
    source = opened(
        shared_data / "tiny_imagenet200.npz", channels=3, size=64, at_most=400, validation=0.01, test="val"
    )
    assert source.sizes == {Split.TRAIN: 400, Split.VALIDATION: 200, Split.TEST: 10_000}
    assert source.classes == 200
    assert source.splits[Split.TRAIN].labels.bincount().tolist() == [2] * 200
    assert source.train_batch(0, seed=0).inputs[0].shape == (8, 3, 64, 64)
