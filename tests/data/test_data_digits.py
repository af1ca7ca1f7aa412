"""The embedded digits: one fixed data set, batches that are functions of (seed, step)."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from data_calls import call
from sklearn.datasets import load_digits

from theseus_fx.data.digits import DigitsSource, open_digits, placed
from theseus_fx.data.source import Split
from theseus_fx.lang.diagnostics import Rejected

ROOT = Path(__file__).resolve().parents[2]


def opened(canvas: int = 16, placements: int = 1, batch: int = 128, channels: int = 1) -> DigitsSource:
    return open_digits(call("digits", canvas=canvas, placements=placements, batch=batch, channels=channels))


def test_sizes_and_shapes() -> None:
    source = opened()
    assert source.sizes == {Split.TRAIN: 1197, Split.VALIDATION: 1200, Split.TEST: 1800}
    assert source.steps_per_epoch == 9
    assert source.inputs[0].shape == ("batch", 1, 16, 16)
    batch = source.train_batch(0, seed=0)
    assert batch.inputs[0].shape == (128, 1, 16, 16)
    assert batch.inputs[0].dtype == torch.float32
    assert batch.labels.dtype == torch.int64


def test_channels_are_equal_and_standardised_alike() -> None:
    grey, coloured = opened(batch=4), opened(batch=4, channels=3)
    assert coloured.inputs[0].shape == ("batch", 3, 16, 16)
    (one,), (three,) = grey.train_batch(0, seed=0).inputs, coloured.train_batch(0, seed=0).inputs
    assert torch.equal(three, one.expand(-1, 3, -1, -1))
    (one,), (three,) = (next(source.unlabelled(1300, seed=0)) for source in (grey, coloured))
    assert torch.equal(three, one.expand(-1, 3, -1, -1))


def test_splits_share_no_image_and_are_stratified() -> None:
    source = opened(canvas=8)
    seen: list[set[bytes]] = []
    for split in Split:
        seen.append({image.numpy().tobytes() for image in source.splits[split].images})
        share = source.splits[split].labels.bincount() / source.sizes[split]
        assert ((share - 0.1).abs() < 0.006).all()
    assert sum(map(len, seen)) == len(set.union(*seen))
    images = {image.astype("float32").tobytes() for image in load_digits().images}
    assert set.union(*seen) == images


def test_images_are_standardised() -> None:
    (pixels,) = zip(*(batch.inputs for batch in opened().batches(Split.TRAIN)), strict=True)
    deviation, mean = torch.std_mean(torch.cat(pixels).double(), correction=0)
    assert abs(float(mean)) < 1e-6
    assert abs(float(deviation) - 1) < 1e-6


def test_placing_keeps_the_pixels_together() -> None:
    image = torch.arange(1.0, 65.0).reshape(1, 1, 8, 8).repeat(200, 1, 1, 1)
    canvases = placed(image, 16, "train", 0)
    corners = set()
    for canvas in canvases:
        rows, columns = canvas[0].nonzero(as_tuple=True)
        top, left = int(rows.min()), int(columns.min())
        corners.add((top, left))
        assert torch.equal(canvas[0, top : top + 8, left : left + 8], image[0, 0])
        assert int(canvas.count_nonzero()) == 64
    assert {top for top, _ in corners} == {left for _, left in corners} == set(range(9))


def test_more_placements_keep_the_fewer() -> None:
    one, three = opened(), opened(placements=3)
    assert three.sizes[Split.TRAIN] == 3 * 1197
    assert torch.equal(three.splits[Split.TRAIN].images[:1197], one.splits[Split.TRAIN].images)
    assert torch.equal(three.splits[Split.TEST].images, one.splits[Split.TEST].images)
    assert torch.equal(three.mean, one.mean)


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    source, other = opened(), opened()
    later = source.train_batch(20, seed=5)
    source.train_batch(3, seed=1)
    again = other.train_batch(20, seed=5)
    assert torch.equal(later.inputs[0], again.inputs[0])
    assert torch.equal(later.labels, again.labels)
    assert not torch.equal(later.labels, other.train_batch(20, seed=6).labels)
    assert not torch.equal(later.labels, other.train_batch(11, seed=5).labels)


def test_an_epoch_visits_each_image_at_most_once() -> None:
    source = opened()
    images = torch.cat([source.train_batch(step, seed=0).inputs[0] for step in range(9)])
    assert len({image.numpy().tobytes() for image in images}) == 9 * 128


def test_evaluation_batches_are_everything_in_order() -> None:
    source = opened()
    sizes = [len(batch.labels) for batch in source.batches(Split.VALIDATION, batch_size=500)]
    assert sizes == [500, 500, 200]
    first, second = (torch.cat([b.labels for b in source.batches(Split.TEST)]) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first, source.splits[Split.TEST].labels)


def test_unlabelled_takes_the_training_images_first_and_places_them_anew_then() -> None:
    source = opened()
    few = torch.cat([inputs[0] for inputs in source.unlabelled(100, seed=0)])
    many = torch.cat([inputs[0] for inputs in source.unlabelled(3000, seed=0)])
    assert len(few) == 100
    assert torch.equal(many[:100], few)
    assert len(many) == 3000
    training = source.normalised(source.splits[Split.TRAIN].images)
    assert {x.numpy().tobytes() for x in many[:1197]} == {x.numpy().tobytes() for x in training}
    again = torch.cat([inputs[0] for inputs in source.unlabelled(3000, seed=0)])
    assert torch.equal(many, again)
    next_ones = opened(placements=2).splits[Split.TRAIN].images[1197:]
    assert {x.numpy().tobytes() for x in many[1197 : 2 * 1197]} == {
        x.numpy().tobytes() for x in source.normalised(next_ones)
    }


def test_another_process_sees_the_same() -> None:
    script = (
        "import sys, hashlib\nsys.path.insert(0, 'tests/data')\n"
        "from data_calls import call\nfrom theseus_fx.data.digits import open_digits\n"
        "s = open_digits(call('digits', canvas=16, placements=1, batch=128))\n"
        "b = s.train_batch(12, seed=3)\n"
        "print(s.fingerprint(), hashlib.sha256(b.inputs[0].numpy().tobytes()).hexdigest())\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    source = opened()
    pixels = source.train_batch(12, seed=3).inputs[0].numpy().tobytes()
    assert found == [source.fingerprint(), hashlib.sha256(pixels).hexdigest()]


def test_the_fingerprint_tells_data_sets_apart_and_ignores_the_batch() -> None:
    prints = [opened().fingerprint(), opened(placements=2).fingerprint(), opened(canvas=12).fingerprint()]
    assert len(set(prints)) == 3
    assert opened(batch=64).fingerprint() == prints[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 0}, "`channels` of `digits` is at least 1, not 0"),
        ({"canvas": 7}, "`canvas` of `digits` is at least 8, not 7"),
        ({"placements": 0}, "`placements` of `digits` is at least 1, not 0"),
        ({"batch": 0}, "`batch` of `digits` is at least 1, not 0"),
        ({"batch": 1198}, "a batch of 1198 needs as many training samples, and there are 1197"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(Rejected) as caught:
        opened(**arguments)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "THX208"
    assert diagnostic.message == message
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.text == str(next(iter(arguments.values())))
