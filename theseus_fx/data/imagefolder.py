"""Folders of image files, a class a folder, decoded by threads while the training step runs."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets import ImageFolder

from theseus_fx.data.arguments import fraction, optional_positive, place, positive, rejected, root
from theseus_fx.data.augment import UNREADABLE, augmented_view, evaluation_view, normalised, training_view
from theseus_fx.data.images import parted
from theseus_fx.data.order import epoch_order, generator
from theseus_fx.data.source import Batch, Split
from theseus_fx.data.transforms import Augmentation, augmentation
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import Invocation

AHEAD = 2
"""Batches that are being decoded while one is used."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Files:
    """The image files of one split."""

    paths: tuple[str, ...]
    labels: Tensor
    """(n,) int64."""

    def part(self, indices: Tensor) -> Files:
        """The files at some indices."""
        return Files(paths=tuple(self.paths[i] for i in indices.tolist()), labels=self.labels[indices])


class ImageFolderSource:
    """A `DataSource` over image files, normalised as ImageNet is.

    Training views are a random crop and flip, or what `augment` says; they depend on (seed, step, place in
    the batch) alone, so decoding ahead changes nothing but the time. Evaluation views are the centre of the
    image.
    """

    def __init__(
        self,
        *,
        name: str,
        batch_size: int,
        classes: int,
        size: int,
        files: Mapping[Split, Files],
        augment: Augmentation | None,
        span: Span,
    ) -> None:
        self.name = name
        self.batch_size = batch_size
        self.classes = classes
        self.inputs = _inputs(size)
        self._size = size
        self._files = files
        self._augment = augment
        self._span = span
        self._threads = ThreadPoolExecutor(min(16, os.cpu_count() or 1), thread_name_prefix="decode")
        self._pending: dict[tuple[int, int], list[Future[Tensor]]] = {}

    @property
    def sizes(self) -> Mapping[Split, int]:
        """Samples of each split."""
        return {split: len(files.paths) for split, files in self._files.items()}

    @property
    def steps_per_epoch(self) -> int:
        """Full training batches in an epoch."""
        return self.sizes[Split.TRAIN] // self.batch_size

    def train_batch(self, step: int, *, seed: int) -> Batch:
        """The training batch of a step, (b, 3, size, size) float32; the next ones are begun."""
        wanted = [(seed, step + ahead) for ahead in range(AHEAD + 1)]
        for key in self._pending.keys() - set(wanted):
            for future in self._pending.pop(key):
                future.cancel()
        for key in wanted:
            if key not in self._pending:
                self._pending[key] = self._begin_training(*key)
        views = _stacked(self._pending.pop((seed, step)))
        if self._augment is not None and self._augment.standardised:
            drawn = (generator("augment", seed, step, number, "standardised") for number in range(len(views)))
            pairs = zip(views, drawn, strict=True)
            views = torch.stack([self._augment.of_standardised(view, numbers) for view, numbers in pairs])
        return Batch(inputs=(views,), labels=self._files[Split.TRAIN].labels[self._order(seed, step)])

    def batches(self, split: Split, *, batch_size: int | None = None) -> Iterator[Batch]:
        """The split in the order of its paths, as evaluation views."""
        files = self._files[split]
        size = self.batch_size if batch_size is None else batch_size
        begun: deque[tuple[list[Future[Tensor]], Tensor]] = deque()
        for indices in torch.arange(len(files.paths)).split(size):
            views = [self._submit(self._evaluation_view, files.paths[i]) for i in indices.tolist()]
            begun.append((views, files.labels[indices]))
            if len(begun) > AHEAD:
                views, labels = begun.popleft()
                yield Batch(inputs=(_stacked(views),), labels=labels)
        for views, labels in begun:
            yield Batch(inputs=(_stacked(views),), labels=labels)

    def unlabelled(self, samples: int, *, seed: int) -> Iterator[tuple[Tensor, ...]]:
        """Training batches from step 0 on; beyond an epoch every image comes in another view.

        With `augment`, evaluation views of the training images in the order of the first epoch, each once.
        """
        if self._augment is not None:
            order = epoch_order(self.sizes[Split.TRAIN], seed, 0)[:samples]
            for indices in order.split(self.batch_size):
                paths = [self._files[Split.TRAIN].paths[i] for i in indices.tolist()]
                yield (_stacked([self._submit(self._evaluation_view, path) for path in paths]),)
            return
        for step in range(-(-samples // self.batch_size)):
            (images,) = self.train_batch(step, seed=seed).inputs
            yield (images[: samples - step * self.batch_size],)

    def fingerprint(self) -> str:
        """SHA-256 of the size asked for, what augments, and of each file's path, split, label, size and time.

        Raises `Rejected` THX602 for a file that has gone.
        """
        augment = "" if self._augment is None else self._augment.text
        digest = hashlib.sha256(f"{self.name} {self._size} {augment}".encode())
        above = os.path.commonpath([path for files in self._files.values() for path in files.paths])
        for split, files in self._files.items():
            for path, label in zip(files.paths, files.labels.tolist(), strict=True):
                try:
                    found = os.stat(path)
                except OSError as error:
                    raise self._unreadable(path, error) from error
                name = os.path.relpath(path, above)
                line = f"{split.value} {name} {label} {found.st_size} {found.st_mtime_ns}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def _order(self, seed: int, step: int) -> Tensor:
        epoch, at = divmod(step, self.steps_per_epoch)
        order = epoch_order(self.sizes[Split.TRAIN], seed, epoch)
        return order[at * self.batch_size : (at + 1) * self.batch_size]

    def _begin_training(self, seed: int, step: int) -> list[Future[Tensor]]:
        paths = self._files[Split.TRAIN].paths
        return [
            self._submit(self._training_view, paths[index], seed, step, number)
            for number, index in enumerate(self._order(seed, step).tolist())
        ]

    def _submit(self, view: Callable[..., Tensor], *arguments: str | int) -> Future[Tensor]:
        return self._threads.submit(view, *arguments)

    def _training_view(self, path: str, seed: int, step: int, number: int) -> Tensor:
        try:
            drawn = generator("augment", seed, step, number)
            if self._augment is None:
                return training_view(path, self._size, drawn)
            return augmented_view(path, self._size, self._augment, drawn)
        except UNREADABLE as error:
            raise self._unreadable(path, error) from error

    def _evaluation_view(self, path: str) -> Tensor:
        try:
            return evaluation_view(path, self._size)
        except UNREADABLE as error:
            raise self._unreadable(path, error) from error

    def _unreadable(self, path: str, error: Exception) -> Rejected:
        message = f"the image {path} cannot be read: {error}"
        return Rejected(Diagnostic(code="THX602", message=message, primary=Label(self._span)))


def declared_inputs(invocation: Invocation) -> tuple[InputSpec, ...]:
    """One colour image, batch x 3 x size x size."""
    return _inputs(positive(invocation, "size"))


def open_imagefolder(invocation: Invocation, folder: Path) -> ImageFolderSource:
    """`imagefolder(root, size, batch, ...)`: root/train/CLASS/*.jpg and root/val (or root/test).

    `val` is the test split, as in ImageNet, and `test` is where there is no `val`; `train` is parted as
    `parted` does. No image is decoded before a batch asks for it.

    Raises `Rejected`: THX601 for a folder that is not there, THX602 for one without images and later for
    an image that cannot be read, THX603 for a class that one of the two folders lacks, THX208 for
    arguments out of range.
    """
    size = positive(invocation, "size")
    fraction(invocation, "validation")
    positive(invocation, "batch")
    optional_positive(invocation, "at_most")
    augment = augmentation(invocation)
    above = root(invocation, folder)
    if not above.is_dir():
        raise rejected("THX601", invocation, "root", f"there is no folder {above}")
    candidates = [above / name for name in ("val", "test") if (above / name).is_dir()]
    if not (above / "train").is_dir() or not candidates:
        missing = "`train`" if candidates else "`val` or `test`"
        message = f"the folder {above} has no folder {missing}"
        layout = "expected: train/CLASS/*.jpg and val/CLASS/*.jpg (or test/CLASS/*.jpg)"
        raise rejected("THX601", invocation, "root", message, layout)
    classes, training = _listed(invocation, above / "train")
    test_classes, test = _listed(invocation, candidates[0])
    if classes != test_classes:
        odd = sorted(set(classes) ^ set(test_classes))
        message = f"`{odd[0]}` is a class in only one of {above / 'train'} and {candidates[0]}"
        raise rejected("THX603", invocation, "root", message)
    if len(training.paths) < 2:
        raise rejected("THX602", invocation, "root", f"one image in {above / 'train'} is too few to train on")
    kept, held = parted(invocation, training.labels)
    return ImageFolderSource(
        name=invocation.name,
        batch_size=positive(invocation, "batch"),
        classes=len(classes),
        size=size,
        files={Split.TRAIN: training.part(kept), Split.VALIDATION: training.part(held), Split.TEST: test},
        augment=augment,
        span=place(invocation, "root"),
    )


def _inputs(size: int) -> tuple[InputSpec, ...]:
    return (InputSpec(name="image", dtype=torch.float32, shape=("batch", 3, size, size)),)


def _listed(invocation: Invocation, folder: Path) -> tuple[list[str], Files]:
    try:
        found = ImageFolder(str(folder))
    except OSError as error:  # no class folder, a class without images, no permission
        message = f"the folder {folder} holds no classes of images: {error}"
        raise rejected("THX602", invocation, "root", message) from error
    return found.classes, Files(
        paths=tuple(path for path, _ in found.samples),
        labels=torch.tensor([label for _, label in found.samples]),
    )


def _stacked(views: list[Future[Tensor]]) -> Tensor:
    return normalised(torch.stack([view.result() for view in views]))
