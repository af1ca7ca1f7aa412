"""Classification: loss, accuracy, and data or models that do not fit."""

from __future__ import annotations

import math

import pytest
import torch

from theseus_fx.data.source import Batch
from theseus_fx.data.tasks import Classification, task_of
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.source import Source
from theseus_fx.lang.spec import Task

SOURCE = Source("spec.thx", "task = classification(classes = 3)")
TASK = task_of(
    Task(kind="classification", classes=3, span=SOURCE.span(7, 34)), kind="classification", classes=3
)
assert isinstance(TASK, Classification)


def batches(*labels: list[int]) -> list[Batch]:
    return [Batch(inputs=(torch.eye(3)[: len(part)],), labels=torch.tensor(part)) for part in labels]


def rejection(task: Classification, model: torch.nn.Module, data: list[Batch]) -> str:
    with pytest.raises(Rejected) as caught:
        task.accuracy(model, data)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "THX603"
    assert diagnostic.primary is not None
    assert str(diagnostic.primary.span) == "spec.thx:1:8"
    return diagnostic.message


def test_loss_is_the_mean_cross_entropy() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0], [math.log(2), 0.0, 0.0]])
    expected = (math.log(3) + math.log(2)) / 2
    assert float(TASK.loss(logits, torch.tensor([1, 0]))) == pytest.approx(expected)


def test_half_precision_logits_are_widened() -> None:
    assert TASK.loss(torch.zeros(2, 3, dtype=torch.bfloat16), torch.tensor([0, 1])).dtype == torch.float32


def test_accuracy_counts_over_batches_of_different_sizes() -> None:
    assert TASK.accuracy(torch.nn.Identity(), batches([0, 1, 2], [0, 0])) == (4 / 5, 5)
    assert TASK.metric == "accuracy"
    assert TASK.direction == "higher"


def test_nan_is_wrong() -> None:
    value, _ = TASK.accuracy(lambda x: x * torch.nan, batches([0, 0, 0]))
    assert value == 0


def test_no_gradient_is_recorded() -> None:
    head = torch.nn.Linear(3, 3)
    seen: list[bool] = []

    def model(x: torch.Tensor) -> torch.Tensor:
        out = head(x)
        seen.append(out.requires_grad)
        return out

    TASK.accuracy(model, batches([0, 1, 2]))
    assert seen == [False]


def test_labels_that_the_task_lacks() -> None:
    message = rejection(TASK, torch.nn.Identity(), batches([0, 1, 2], [0, 3]))
    assert message == "the data has the label 3, and the task knows 0 to 2"
    assert rejection(TASK, torch.nn.Identity(), batches([0, -1])) == "the data has the label -1"


def test_logits_of_another_shape() -> None:
    message = rejection(TASK, torch.nn.Linear(3, 5), batches([0, 1]))
    assert message == "the model's output is 2 x 5, not 2 x 3 logits"
    with pytest.raises(Rejected) as caught:
        TASK.loss(torch.zeros(2, 5), torch.tensor([0, 1]))
    assert caught.value.diagnostics[0].code == "THX603"


def test_no_samples_is_our_bug() -> None:
    with pytest.raises(ValueError, match="no samples"):
        TASK.accuracy(torch.nn.Identity(), [])
