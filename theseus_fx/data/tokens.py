"""Text as token numbers in memory, cut into windows: each token is to be told from those before it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from theseus_fx.data.arguments import check_batch, positive, rejected
from theseus_fx.data.order import epoch_order
from theseus_fx.data.source import Batch, Split
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.spec import Invocation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenSource:
    """A `DataSource` of windows that follow each other without overlap; a sample is a window.

    A window is `length` tokens of one split, and its labels are the same places one token later. The last
    tokens of a split that fill no window are left out.
    """

    name: str
    batch_size: int
    classes: int
    """The size of the vocabulary."""
    length: int
    splits: Mapping[Split, Tensor]
    """The tokens of each split in their order, (n,) int64."""

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """Token numbers, batch x length."""
        return (token_input(self.length),)

    @property
    def sizes(self) -> Mapping[Split, int]:
        """Windows of each split."""
        return {split: windows(len(tokens), self.length) for split, tokens in self.splits.items()}

    @property
    def steps_per_epoch(self) -> int:
        """Full training batches in an epoch."""
        return self.sizes[Split.TRAIN] // self.batch_size

    def train_batch(self, step: int, *, seed: int) -> Batch:
        """The training batch of a step: windows in an order that depends on the seed and the epoch."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = epoch_order(self.sizes[Split.TRAIN], seed, epoch)
        return self._batch(Split.TRAIN, order[place * self.batch_size : (place + 1) * self.batch_size])

    def batches(self, split: Split, *, batch_size: int | None = None) -> Iterator[Batch]:
        """The windows of a split in the order of the text."""
        size = self.batch_size if batch_size is None else batch_size
        for chosen in torch.arange(self.sizes[split]).split(size):
            yield self._batch(split, chosen)

    def unlabelled(self, samples: int, *, seed: int) -> Iterator[tuple[Tensor, ...]]:
        """Training windows in the order of the first epoch, each at most once."""
        order = epoch_order(self.sizes[Split.TRAIN], seed, 0)[:samples]
        for chosen in order.split(self.batch_size):
            yield self._batch(Split.TRAIN, chosen).inputs

    def fingerprint(self) -> str:
        """SHA-256 of the name, the length and every token, split by split."""
        digest = hashlib.sha256(f"{self.name} {self.length} {self.classes}".encode())
        for split, tokens in self.splits.items():
            digest.update(f"{split.value} {len(tokens)}".encode())
            digest.update(tokens.contiguous().numpy().data)
        return digest.hexdigest()

    def _batch(self, split: Split, chosen: Tensor) -> Batch:
        """Windows by their numbers, (b,)."""
        places = chosen[:, None] * self.length + torch.arange(self.length + 1)  # (b, length + 1)
        rows = self.splits[split][places]
        return Batch(inputs=(rows[:, :-1].contiguous(),), labels=rows[:, 1:].contiguous())


def token_input(length: int) -> InputSpec:
    """Token numbers, batch x length."""
    return InputSpec(name="tokens", dtype=torch.int64, shape=("batch", length))


def declared_inputs(invocation: Invocation) -> tuple[InputSpec, ...]:
    """One sequence of tokens, batch x length, by the argument `length`."""
    return (token_input(positive(invocation, "length")),)


def windows(tokens: int, length: int) -> int:
    """How many windows of `length` tokens, each with a token after it, there are in so many tokens."""
    return max(0, (tokens - 1) // length)


def token_source(invocation: Invocation, vocabulary: int, splits: Mapping[Split, Tensor]) -> TokenSource:
    """The source of three splits.

    Raises `Rejected`: THX602 for a split without a window, THX208 for a batch of more than there are.
    """
    length = positive(invocation, "length")
    for split, tokens in splits.items():
        if windows(len(tokens), length) == 0:
            message = (
                f"the {split.value} part has {len(tokens):,} tokens, too few for one window of {length:,}"
            )
            raise rejected("THX602", invocation, "length", message, "a longer text, or a smaller `length`")
    batch = check_batch(invocation, windows(len(splits[Split.TRAIN]), length))
    return TokenSource(
        name=invocation.name, batch_size=batch, classes=vocabulary, length=length, splits=splits
    )
