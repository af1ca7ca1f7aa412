"""Language modelling: the next token at every place, judged by perplexity."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from theseus_fx.data.evaluation import Evaluation, finite, outputs
from theseus_fx.data.source import Batch
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.source import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageModelling:
    """A distribution over the next token at every place of a sequence."""

    span: Span | None = None
    """Where the spec says so."""
    metric: Literal["perplexity"] = "perplexity"
    direction: Literal["lower"] = "lower"
    """Which values of the metric are better."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of logits (b, length, vocabulary) against next tokens (b, length), in nats.

        In float32 at least. Raises `Rejected` THX603 for logits of another shape.
        """
        self._check_logits(logits, labels)
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        return functional.cross_entropy(logits.flatten(0, 1), labels.flatten())

    @property
    def identity(self) -> str:
        """Equal for tasks that train and judge alike."""
        return "language_modelling"

    def evaluate(
        self, model: Callable[..., Tensor], batches: Iterable[Batch], *, device: torch.device | None = None
    ) -> Evaluation:
        """The perplexity, e to the mean loss of a token, and that loss in nats; of all tokens.

        The batches are moved to `device` (default: where they are) and `model(*inputs)` gives logits
        (b, length, vocabulary). No gradient is recorded; modes are the caller's affair. A loss that is NaN
        or overflows gives the largest float, so that every other model is better.

        Raises `Rejected` THX603 where logits and labels do not fit, ValueError without any sample.
        """
        losses: list[Tensor] = []
        counts: list[int] = []
        for logits, labels in outputs(model, batches, device):
            with torch.no_grad():
                losses.append(self.loss(logits, labels).double())
            counts.append(labels.numel())
        if not counts:
            raise ValueError("perplexity of no samples")
        tokens = torch.tensor(counts, dtype=torch.float64)
        # the only wait for the device
        mean = float((torch.stack(losses).cpu() * tokens).sum() / tokens.sum())
        largest = sys.float_info.max
        perplexity = math.exp(mean) if mean < math.log(largest) else largest
        details = {"perplexity": perplexity, "cross_entropy": finite(mean)}
        return Evaluation(value=perplexity, count=sum(counts), details=details)

    def _check_logits(self, logits: Tensor, labels: Tensor) -> None:
        if logits.dim() == 3 and logits.shape[:2] == labels.shape:
            return
        shape, wanted = (" x ".join(str(n) for n in sizes) for sizes in (logits.shape, labels.shape))
        raise Rejected(
            Diagnostic(
                code="THX603",
                message=f"the model's output is {shape}, not {wanted} x vocabulary logits",
                primary=None if self.span is None else Label(self.span),
                help=("a model with a language modelling head: `transformers.GPT2LMHeadModel`",),
            )
        )
