"""Names of data sources, and what is known of them without files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from data_calls import call

from theseus_fx.data.registry import (
    SOURCES,
    declared_batch,
    declared_classes,
    declared_inputs,
    open_source,
)
from theseus_fx.data.source import DataSource, Split
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.spec import Environment

ROOT = Path(__file__).resolve().parents[2]
DIGITS = call("digits", canvas=12, placements=1, batch=32)
FOLDER = call("imagefolder", root=Environment("NO_SUCH_VARIABLE"), size=224, batch=256, validation=0.05)
CIFAR = call(
    "torchvision.datasets.CIFAR100", root="nowhere", batch=64, size=None, validation=0.1, download=False
)


def test_what_is_declared_needs_no_files() -> None:
    shapes = [declared_inputs(source)[0].shape for source in (DIGITS, FOLDER, CIFAR)]
    assert shapes == [("batch", 1, 12, 12), ("batch", 3, 224, 224), ("batch", 3, 32, 32)]
    assert [declared_batch(source) for source in (DIGITS, FOLDER, CIFAR)] == [32, 256, 64]
    assert [declared_classes(source) for source in (DIGITS, FOLDER, CIFAR)] == [10, None, 100]


def test_an_open_source_keeps_what_was_declared() -> None:
    source: DataSource = open_source(DIGITS, folder=Path())
    assert source.name == "digits"
    assert source.inputs == declared_inputs(DIGITS)
    assert source.batch_size == declared_batch(DIGITS)
    assert source.classes == declared_classes(DIGITS)
    batch = source.train_batch(0, seed=0)
    assert tuple(batch.inputs[0].shape) == source.inputs[0].sizes(32)
    assert batch.inputs[0].dtype == source.inputs[0].dtype
    assert sum(len(b.labels) for b in source.batches(Split.TEST)) == source.sizes[Split.TEST]


@pytest.mark.parametrize(
    ("name", "near"),
    [("digit", "digits"), ("image_folder", "imagefolder"), ("torchvision.datasets.CIFAR11", "CIFAR10")],
)
def test_an_unknown_name(name: str, near: str) -> None:
    for ask in (declared_inputs, declared_batch, declared_classes, lambda c: open_source(c, folder=Path())):
        with pytest.raises(Rejected) as caught:
            ask(call(name, batch=1))
        (diagnostic,) = caught.value.diagnostics
        assert diagnostic.code == "THX209"
        assert diagnostic.message == f"there is no data source `{name}`"
        assert near in diagnostic.help[0]


def test_the_order_of_arguments_is_stated() -> None:
    for name, kind in SOURCES.items():
        assert "batch" in kind.arguments, name
        assert len(set(kind.arguments)) == len(kind.arguments), name


def test_dtype_is_float32() -> None:
    assert declared_inputs(CIFAR)[0].dtype == torch.float32


def test_declaring_does_not_import_scikit_learn() -> None:
    script = "import sys, theseus_fx.data.registry\nprint('sklearn' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout == "False\n"
