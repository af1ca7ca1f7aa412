"""Data of which nothing can be compared is refused before anything starts; a batch of one is passed over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import theseus_fx
from theseus_fx.data.digits import open_digits
from theseus_fx.data.source import Batch, DataSource, Split
from theseus_fx.lang import loader
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.run.samples import check_samples

SPEC = """\
theseus 1
guide net = small_resnet(width = 4, classes = 2)
data = imagefolder("images", size = 8, batch = 4)
task = classification(classes = 2)
rule conv { match Conv2d as c in "layer1*"  replace with Conv2d(c.out.channels, kernel_size = 1) }
schedule progressive { lr = 1e-3  for = 1 steps }
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight images to train on and two to test on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THESEUS_FX_CACHE", str(tmp_path / "cache"))
    for part, count in (("train", 4), ("val", 1)):
        for kind, name in enumerate(("ant", "bee")):
            above = tmp_path / "images" / part / name
            above.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (9, 9), (90 * kind, 30 * number, 60)).save(above / f"{number}.png")
    (tmp_path / "spec.thx").write_text(SPEC)
    return tmp_path


def refused(folder: Path, spec: str) -> tuple[Diagnostic, ...]:
    (folder / "spec.thx").write_text(spec)
    with pytest.raises(Rejected) as caught:
        theseus_fx.convert(None, "spec.thx", out="run", device="cpu")
    assert not (folder / "run").exists()
    return caught.value.diagnostics


def test_a_validation_split_of_one_sample(folder: Path) -> None:
    (found,) = refused(folder, SPEC)
    assert found.code == "THX602"
    assert found.message == (
        "the validation split of `imagefolder` has 1 sample, and a similarity compares at least 2"
    )
    assert found.help == ("a larger `validation`, such as 0.19 of these 8, or more data",)
    assert found.primary is not None
    advised = SPEC.replace("batch = 4", "batch = 4, validation = 0.19")
    (folder / "spec.thx").write_text(advised)
    done = theseus_fx.convert(None, "spec.thx", out="run", device="cpu")
    assert all(tap["before"] > 0 for stage in done.summary["stages"] for tap in stage["taps"].values())


def test_batches_of_one_sample(folder: Path) -> None:
    (found,) = refused(folder, SPEC.replace("batch = 4", "batch = 1, validation = 0.3"))
    assert (found.code, found.message) == (
        "THX602",
        "a batch of `imagefolder` has 1 sample, and a similarity compares at least 2",
    )
    assert found.primary is not None
    assert found.primary.span.text == "1"


class BeginsShort:
    """Digits whose validation batches begin with one of a single sample."""

    def __init__(self, source: DataSource) -> None:
        self._source = source
        self.name, self.classes, self.inputs = source.name, source.classes, source.inputs
        self.batch_size, self.steps_per_epoch = source.batch_size, source.steps_per_epoch

    @property
    def sizes(self) -> Mapping[Split, int]:
        return self._source.sizes

    def train_batch(self, step: int, *, seed: int) -> Batch:
        return self._source.train_batch(step, seed=seed)

    def batches(self, split: Split, *, batch_size: int | None = None) -> Iterator[Batch]:
        for number, batch in enumerate(self._source.batches(split, batch_size=batch_size)):
            if number == 0:
                yield Batch(inputs=tuple(x[:1] for x in batch.inputs), labels=batch.labels[:1])
                yield Batch(inputs=tuple(x[1:] for x in batch.inputs), labels=batch.labels[1:])
            else:
                yield batch

    def unlabelled(self, samples: int, *, seed: int) -> Iterator[tuple[torch.Tensor, ...]]:
        return self._source.unlabelled(samples, seed=seed)

    def fingerprint(self) -> str:
        return self._source.fingerprint()


DIGITS = (
    SPEC.replace("classes = 2", "classes = 10")
    .replace("width = 4", "width = 4, channels = 1")
    .replace('imagefolder("images", size = 8, batch = 4)', "digits(canvas = 8, batch = 64)")
)


def test_a_batch_of_one_is_dropped_where_similarities_are_taken() -> None:
    invocation = loader.loads(DIGITS).data
    assert invocation is not None
    source = BeginsShort(open_digits(invocation))
    done = theseus_fx.convert(None, DIGITS, data=source, out="run", device="cpu")
    for stage in done.summary["stages"]:
        for tap in stage["taps"].values():
            assert 0 < tap["before"] <= 1
            assert tap["chance"] < tap["after"]


def test_every_split_that_is_too_small_is_named() -> None:
    class Tiny(BeginsShort):
        @property
        def sizes(self) -> Mapping[Split, int]:
            return {Split.TRAIN: 1, Split.VALIDATION: 1, Split.TEST: 1}

    invocation = loader.loads(DIGITS).data
    assert invocation is not None
    made = theseus_fx.plan(DIGITS)
    with pytest.raises(Rejected) as caught:
        check_samples(made, Tiny(open_digits(invocation)))
    assert [d.message.split(" split")[0] for d in caught.value.diagnostics] == ["the train", "the validation"]
    check_samples(replace(made, stages=()), Tiny(open_digits(invocation)))  # nothing is compared
