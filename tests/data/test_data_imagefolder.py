"""Image folders: views that are functions of (seed, step), and every way in which a folder can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from data_calls import call
from PIL import Image

from theseus_fx.data.augment import crop_box, evaluation_view, normalised, training_view
from theseus_fx.data.imagefolder import ImageFolderSource, open_imagefolder
from theseus_fx.data.order import generator
from theseus_fx.data.source import Split
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.spec import Environment, Value


def write_image(path: Path, number: int, size: tuple[int, int] = (20, 14)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part, count in (("train", 10), ("val", 4)):
        for kind, name in enumerate(("ant", "bee")):
            for number in range(count):
                write_image(tmp_path / part / name / f"{number}.png", 100 * kind + number)
    return tmp_path


def opened(root: Value, folder: Path = Path(), **more: Value) -> ImageFolderSource:
    arguments: dict[str, Value] = {"root": root, "size": 8, "batch": 4, "validation": 0.1, **more}
    return open_imagefolder(call("imagefolder", **arguments), folder)


def rejection(action: Callable[[], object]) -> Diagnostic:
    with pytest.raises(Rejected) as caught:
        action()
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.primary is not None
    return diagnostic


def test_sizes_and_shapes(folder: Path) -> None:
    source = opened(str(folder))
    assert source.sizes == {Split.TRAIN: 18, Split.VALIDATION: 2, Split.TEST: 8}
    assert (source.classes, source.batch_size, source.steps_per_epoch) == (2, 4, 4)
    batch = source.train_batch(0, seed=0)
    assert batch.inputs[0].shape == (4, 3, 8, 8)
    assert batch.inputs[0].dtype == torch.float32
    assert batch.labels.dtype == torch.int64


def test_a_batch_depends_on_seed_and_step_alone(folder: Path) -> None:
    in_order, jumping = opened(str(folder)), opened(str(folder))
    before = torch.get_rng_state()
    batches = [in_order.train_batch(step, seed=7) for step in range(10)]
    for step in (9, 0, 5):
        again = jumping.train_batch(step, seed=7)
        assert torch.equal(again.inputs[0], batches[step].inputs[0])
        assert torch.equal(again.labels, batches[step].labels)
    assert not torch.equal(jumping.train_batch(0, seed=8).inputs[0], batches[0].inputs[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_views_change_from_epoch_to_epoch(folder: Path) -> None:
    path = str(folder / "train" / "ant" / "0.png")
    views = [training_view(path, 8, generator("augment", 0, step, 0)) for step in range(5)]
    assert len({view.numpy().tobytes() for view in views}) == 5


def test_labels_belong_to_their_images(folder: Path) -> None:
    source = opened(str(folder))
    (batch,) = source.batches(Split.TEST, batch_size=100)
    paths = [folder / "val" / name / f"{number}.png" for name in ("ant", "bee") for number in range(4)]
    views = torch.stack([evaluation_view(str(path), 8) for path in paths])
    assert torch.equal(batch.inputs[0], normalised(views))
    assert batch.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_evaluation_batches_keep_the_order_and_end_short(folder: Path) -> None:
    source = opened(str(folder))
    parts = list(source.batches(Split.TEST, batch_size=3))
    (whole,) = source.batches(Split.TEST, batch_size=8)
    assert [len(part.labels) for part in parts] == [3, 3, 2]
    assert torch.equal(torch.cat([part.inputs[0] for part in parts]), whole.inputs[0])


def test_unlabelled_gives_as_many_as_asked_for(folder: Path) -> None:
    source = opened(str(folder))
    inputs = [batch[0] for batch in source.unlabelled(22, seed=1)]
    assert [len(images) for images in inputs] == [4, 4, 4, 4, 4, 2]
    assert torch.equal(inputs[1], source.train_batch(1, seed=1).inputs[0])


def test_validation_images_are_held_out_of_training(folder: Path) -> None:
    source = opened(str(folder), validation=0.3)
    assert source.sizes[Split.TRAIN] == 14
    assert source.sizes[Split.VALIDATION] == 6
    every = {path for files in source._files.values() for path in files.paths}
    assert len(every) == 28


def test_normalisation_is_imagenets() -> None:
    white = normalised(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)).flatten()
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(white, expected)


@pytest.mark.parametrize(("height", "width"), [(30, 40), (5, 300), (300, 5), (1, 1)])
def test_crops_lie_inside(height: int, width: int) -> None:
    drawn = generator("crops")
    boxes = [crop_box(height, width, drawn) for _ in range(200)]
    for top, left, h, w in boxes:
        assert 0 <= top <= top + h <= height
        assert 0 <= left <= left + w <= width
        assert h > 0
        assert w > 0
    if (height, width) == (30, 40):
        shares = [h * w / 1200 for _, _, h, w in boxes]
        assert min(shares) < 0.15
        assert max(shares) > 0.85
        assert all(0.6 < w / h < 1.6 for _, _, h, w in boxes)


def test_grey_and_transparent_images_become_colour(folder: Path) -> None:
    Image.new("L", (9, 9), 255).save(folder / "grey.png")
    Image.new("RGBA", (9, 9), (255, 255, 255, 0)).save(folder / "clear.png")
    for name in ("grey.png", "clear.png"):
        assert torch.equal(evaluation_view(str(folder / name), 8), torch.full((3, 8, 8), 255).byte())


def test_the_folder_test_stands_in_for_val(folder: Path) -> None:
    (folder / "val").rename(folder / "test")
    assert opened(str(folder)).sizes[Split.TEST] == 8


def test_the_fingerprint_notices_changed_files_and_sizes(folder: Path) -> None:
    before = opened(str(folder)).fingerprint()
    assert opened(str(folder), batch=2).fingerprint() == before
    assert opened(str(folder), size=9).fingerprint() != before
    write_image(folder / "train" / "ant" / "new.png", 5)
    assert opened(str(folder)).fingerprint() != before


def test_the_root_is_relative_to_the_spec_or_an_environment_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert opened(folder.name, folder.parent).classes == 2
    monkeypatch.setenv("SOME_IMAGES", str(folder))
    assert opened(Environment("SOME_IMAGES")).classes == 2


def test_an_unset_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_IMAGES", raising=False)
    diagnostic = rejection(lambda: opened(Environment("SOME_IMAGES")))
    assert diagnostic.code == "THX601"
    assert diagnostic.message == "the environment variable `SOME_IMAGES` is not set"
    assert diagnostic.primary is not None
    assert str(diagnostic.primary.span) == "spec.thx:1:27"


def test_no_such_folder(tmp_path: Path) -> None:
    diagnostic = rejection(lambda: opened(str(tmp_path / "nowhere")))
    assert diagnostic.code == "THX601"
    assert diagnostic.message == f"there is no folder {tmp_path / 'nowhere'}"


@pytest.mark.parametrize(("gone", "missing"), [("train", "`train`"), ("val", "`val` or `test`")])
def test_a_missing_half(folder: Path, gone: str, missing: str) -> None:
    (folder / gone).rename(folder / "elsewhere")
    diagnostic = rejection(lambda: opened(str(folder)))
    assert diagnostic.code == "THX601"
    assert diagnostic.message == f"the folder {folder} has no folder {missing}"


def test_folders_without_images(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "val").mkdir()
    empty = rejection(lambda: opened(str(tmp_path)))
    (tmp_path / "train" / "ant").mkdir()
    (tmp_path / "train" / "ant" / "notes.txt").write_text("no image")
    textual = rejection(lambda: opened(str(tmp_path)))
    for diagnostic in (empty, textual):
        assert diagnostic.code == "THX602"
        assert diagnostic.message.startswith(f"the folder {tmp_path / 'train'} holds no classes of images")


def test_a_class_on_one_side_only(folder: Path) -> None:
    (folder / "val" / "bee").rename(folder / "val" / "wasp")
    diagnostic = rejection(lambda: opened(str(folder)))
    assert diagnostic.code == "THX603"
    assert diagnostic.message.startswith("`bee` is a class in only one of")


@pytest.mark.parametrize("damage", ["truncated", "text"])
def test_an_unreadable_image_is_named(folder: Path, damage: str) -> None:
    path = folder / "val" / "bee" / "2.png"
    path.write_bytes(path.read_bytes()[:200] if damage == "truncated" else b"no image")
    source = opened(str(folder))
    diagnostic = rejection(lambda: list(source.batches(Split.TEST)))
    assert diagnostic.code == "THX602"
    assert diagnostic.message.startswith(f"the image {path} cannot be read")
    assert diagnostic.primary is not None
    assert str(diagnostic.primary.span) == "spec.thx:1:27"


def test_an_image_that_has_gone_is_named(folder: Path) -> None:
    source = opened(str(folder))
    for path in (folder / "train").rglob("*.png"):
        path.unlink()
    assert rejection(lambda: source.train_batch(0, seed=0)).code == "THX602"
    assert rejection(source.fingerprint).code == "THX602"


@pytest.mark.parametrize(
    ("argument", "value"), [("batch", 19), ("batch", 0), ("size", 0), ("validation", 0.0), ("validation", 1)]
)
def test_arguments_out_of_range(folder: Path, argument: str, value: Value) -> None:
    diagnostic = rejection(lambda: opened(str(folder), **{argument: value}))
    assert diagnostic.code == "THX208"
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.text == str(value)
