"""`augment = [...]`: every transform by name, numbers of its own, and what a spec can get wrong."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from theseus_fx import api
from theseus_fx.data.order import generator
from theseus_fx.data.registry import open_source
from theseus_fx.data.source import DataSource, Split
from theseus_fx.data.transforms import Augmentation, augmentation, transform_class
from theseus_fx.lang import loader, words
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.spec import Invocation

SPEC = """\
theseus 1
guide net = small_resnet(channels = {channels}, width = 2)
data = {data}
task = classification(classes = 10)
rule fc {{ match Linear as part  replace with Linear(part.out.features) }}
schedule progressive {{ lr = 1e-3  for = 2 steps }}
"""
NEEDED = {
    "color_jitter": "brightness = 0.4, contrast = 0.4, hue = 0.1",
    "center_crop": "24", "gaussian_blur": "3", "pad": "2",
    "random_adjust_sharpness": "2.0", "random_affine": "10", "random_crop": "32, padding = 4",
    "random_posterize": "4", "random_resize": "20, 40", "random_resized_crop": "32",
    "random_rotation": "10", "random_shortest_size": "[20, 30]", "random_solarize": "128.0",
    "resize": "20", "scale_jitter": "[32, 32]",
}  # fmt: skip
"""Arguments of the transforms that need some."""
FIXED = {"center_crop", "grayscale", "pad", "resize"}
"""Transforms that draw nothing."""
IMAGE = torch.randint(20, 200, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def spoken(data: str, channels: int = 3) -> Invocation:
    found = loader.loads(SPEC.format(data=data, channels=channels)).data
    assert found is not None
    return found


def made(entries: str) -> Augmentation:
    found = augmentation(spoken(f'npz("images.npz", size = 32, augment = {entries})'))
    assert found is not None
    return found


def rejections(entries: str) -> tuple[Diagnostic, ...]:
    data = f'npz("images.npz", size = 32, augment = {entries})'
    with pytest.raises(Rejected) as caught:
        api.plan(SPEC.format(data=data, channels=3))
    return caught.value.diagnostics


def images(folder: Path, count: int = 30) -> Path:
    drawn = np.random.default_rng(0)
    pixels = drawn.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    held = {"x_train": pixels, "y_train": np.arange(count) % 10}
    np.savez(folder / "images.npz", **held, x_test=pixels[:10], y_test=np.arange(10))
    return folder


def opened(folder: Path, entries: str, source: str = 'npz("images.npz", size = 32') -> DataSource:
    return open_source(spoken(f"{source}, batch = 8, augment = {entries})"), folder=folder)


@pytest.mark.parametrize("name", words.AUGMENTATIONS)
def test_every_transform_draws_from_its_own_generator_alone(name: str) -> None:
    entry = f"{name}({NEEDED.get(name, '')})"
    if name == "grayscale":
        entry = "grayscale(num_output_channels = 3)"
    before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
    augment = made(f"[{entry}]")
    step = augment.of_standardised if name == "random_erasing" else augment.of_pixels
    image = IMAGE.float() if name == "random_erasing" else IMAGE
    views = [step(image, generator(name, number)) for number in range(40)]
    for number, view in enumerate(views[:8]):
        assert torch.equal(step(image, generator(name, number)), view)
        assert type(view) is torch.Tensor
    assert (len({view.numpy().tobytes() for view in views}) == 1) is (name in FIXED)
    after = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist())
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_threads_do_not_take_each_others_numbers() -> None:
    augment = made("[random_crop(32, padding = 4), rand_augment, color_jitter(0.4, hue = 0.2)]")
    alone = [augment.of_pixels(IMAGE, generator("thread", number)) for number in range(60)]
    with ThreadPoolExecutor(4) as threads:
        together = list(
            threads.map(lambda number: augment.of_pixels(IMAGE, generator("thread", number)), range(60))
        )
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


def test_a_flip_is_a_flip_and_evaluation_and_fits_are_left_alone(tmp_path: Path) -> None:
    folder = images(tmp_path)
    plain, flipped = opened(folder, "none"), opened(folder, "[random_horizontal_flip(p = 1.0)]")
    one, other = plain.train_batch(1, seed=3), flipped.train_batch(1, seed=3)
    assert torch.equal(other.inputs[0], one.inputs[0].flip(-1))
    assert torch.equal(one.labels, other.labels)
    for split in Split:
        batches = zip(plain.batches(split), flipped.batches(split), strict=True)
        assert all(torch.equal(a.inputs[0], b.inputs[0]) for a, b in batches)
    fits = zip(plain.unlabelled(20, seed=0), flipped.unlabelled(20, seed=0), strict=True)
    assert all(torch.equal(a[0], b[0]) for a, b in fits)
    assert plain.fingerprint() != flipped.fingerprint()


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    folder = images(tmp_path)
    entries = "[random_crop(32, padding = 4), random_horizontal_flip, random_erasing]"
    in_order, jumping = opened(folder, entries), opened(folder, entries)
    batches = [in_order.train_batch(step, seed=7).inputs[0] for step in range(8)]
    torch.rand(3)  # what the training loop draws changes nothing
    for step in (7, 0, 4):
        assert torch.equal(jumping.train_batch(step, seed=7).inputs[0], batches[step])
    assert not torch.equal(jumping.train_batch(4, seed=8).inputs[0], batches[4])


def test_each_image_has_numbers_of_its_own(tmp_path: Path) -> None:
    folder = images(tmp_path)
    plain, augmented = opened(folder, "none"), opened(folder, "[random_horizontal_flip]")
    flips: list[bool] = []
    for step in range(6):
        pairs = zip(
            plain.train_batch(step, seed=0).inputs[0],
            augmented.train_batch(step, seed=0).inputs[0],
            strict=True,
        )
        flips += [torch.equal(one.flip(-1), other) for one, other in pairs]
    assert 12 < sum(flips) < 36


def test_what_is_erased_is_the_mean(tmp_path: Path) -> None:
    source = opened(
        images(tmp_path), "[random_erasing(p = 1.0, scale = [0.25, 0.25]), random_horizontal_flip]"
    )
    (views,) = source.train_batch(0, seed=0).inputs
    shares = (views == 0).all(1).float().mean((1, 2))
    assert (shares > 0.15).all()
    assert (shares < 0.35).all()


def test_another_size_is_brought_to_the_one_asked_for(tmp_path: Path) -> None:
    source = opened(images(tmp_path), "[random_crop(28), pad(1)]", 'npz("images.npz", size = 40')
    assert source.train_batch(0, seed=0).inputs[0].shape == (8, 3, 40, 40)


def test_digits_are_seen_from_zero_to_one() -> None:
    def batch(entries: str) -> torch.Tensor:
        data = spoken(f"digits(canvas = 12, batch = 64, augment = {entries})", 1)
        return open_source(data, folder=Path()).train_batch(0, seed=0).inputs[0]

    plain, inverted = batch("none"), batch("[random_invert(p = 1.0)]")
    assert torch.allclose(plain + inverted, (plain + inverted)[0, 0, 0, 0].expand_as(plain), atol=1e-4)
    with pytest.raises(
        Rejected,
        match=r"`random_solarize\(128.0, p = 1.0\)` cannot be done to an image of 1 x 12 x 12 float32",
    ):
        batch("[random_solarize(128.0, p = 1.0)]")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    drawn = np.random.default_rng(0)
    for part, count in (("train", 10), ("val", 4)):
        for name in ("ant", "bee"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = drawn.integers(0, 256, (40, 44, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{number}.png")
    return tmp_path


def test_image_folders_take_the_list_for_their_crop_and_flip(folder: Path) -> None:
    kind = 'imagefolder(".", size = 32'
    bare, flipped = opened(folder, "[]", kind), opened(folder, "[random_horizontal_flip(p = 1.0)]", kind)
    every = {x.numpy().tobytes() for batch in bare.batches(Split.TRAIN) for x in batch.inputs[0]}
    one, other = bare.train_batch(0, seed=0).inputs[0], flipped.train_batch(0, seed=0).inputs[0]
    assert {x.numpy().tobytes() for x in one} <= every
    assert torch.allclose(one.flip(-1), other, atol=0.03)
    crops = opened(folder, "[random_resized_crop(32), random_erasing(p = 1.0)]", kind)
    again = opened(folder, "[random_resized_crop(32), random_erasing(p = 1.0)]", kind)
    again.train_batch(5, seed=1)
    assert torch.equal(crops.train_batch(1, seed=1).inputs[0], again.train_batch(1, seed=1).inputs[0])
    assert ((crops.train_batch(0, seed=0).inputs[0] == 0).all(1).flatten(1).sum(1) > 5).all()
    inputs = [batch[0] for batch in crops.unlabelled(100, seed=0)]
    assert {x.numpy().tobytes() for batch in inputs for x in batch} == every
    assert len({source.fingerprint() for source in (bare, flipped, crops)}) == 3


def test_image_folders_keep_at_most_as_many_of_each_class(folder: Path) -> None:
    source = open_source(spoken('imagefolder(".", size = 8, batch = 4, at_most = 6)'), folder=folder)
    assert source.sizes == {Split.TRAIN: 6, Split.VALIDATION: 1, Split.TEST: 8}
    labels = torch.cat([batch.labels for batch in source.batches(Split.TRAIN)])
    assert labels.bincount().tolist() == [3, 3]


def test_a_crop_larger_than_an_image_is_told_when_it_comes(folder: Path) -> None:
    source = opened(folder, "[random_crop(42)]", 'imagefolder(".", size = 32')
    with pytest.raises(Rejected) as caught:
        source.train_batch(0, seed=0)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "THX208"
    assert diagnostic.message.startswith("`random_crop(42)` cannot be done to an image of 3 x 40 x 44 uint8")
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.text == "random_crop(42)"


@pytest.mark.parametrize(
    ("entries", "code", "blamed", "said"),
    [
        ("[random_flip]", "THX209", "random_flip", "there is no augmentation `random_flip`"),
        ("random_crop(32)", "THX203", "random_crop(32)", "`augment` is a list of transforms or none"),
        ("[random_crop(32, pading = 4)]", "THX205", "4", "`random_crop` has no argument `pading`"),
        ("[random_crop]", "THX205", "random_crop", "missing a required argument: 'size'"),
        ("[resize(1, 2, 3, 4, 5)]", "THX205", "resize(1, 2, 3, 4, 5)", "too many positional"),
        ("[color_jitter(hue = 0.7)]", "THX208", "color_jitter(hue = 0.7)", "does not take these arguments"),
        ('[auto_augment(policy = "mnist")]', "THX208", 'auto_augment(policy = "mnist")', "not a valid Auto"),
        ("[random_crop(32, size = 3)]", "THX205", "random_crop(32, size = 3)", "multiple values"),
        ("[rand_augment(mangitude = nine)]", "THX201", "nine", "there is no `nine`"),
    ],
)
def test_what_is_wrong_is_told_by_plan(entries: str, code: str, blamed: str, said: str) -> None:
    (diagnostic,) = rejections(entries)
    assert (diagnostic.code, said in diagnostic.message) == (code, True), diagnostic.message
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.text == blamed


def test_all_mistakes_of_a_list_are_told_at_once() -> None:
    found = rejections("[random_crop(32, pading = 4), color_jitter(hue = 0.7)]")
    assert [diagnostic.code for diagnostic in found] == ["THX205", "THX208"]


def test_a_transform_that_changes_the_channels(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"`grayscale\(\)` makes 1 channels of 3"):
        opened(images(tmp_path), "[grayscale]")


def test_a_policy_and_an_interpolation_are_words() -> None:
    augment = made('[auto_augment(policy = "cifar10", interpolation = "bilinear")]')
    assert augment.text == '[auto_augment(policy = "cifar10", interpolation = "bilinear")]'


def test_names_are_those_of_torchvision() -> None:
    for name in words.AUGMENTATIONS:
        kind = transform_class(name)
        assert isinstance(kind, type)
        assert issubclass(kind, torch.nn.Module)
