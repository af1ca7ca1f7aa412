"""Classification: loss, accuracy, and data or models that do not fit."""

from __future__ import annotations

import math
import sys
from typing import Literal

import pytest
import torch

from theseus_fx.data.classification import Classification
from theseus_fx.data.source import Batch
from theseus_fx.data.tasks import task_of
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
        task.evaluate(model, data)
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
    found = TASK.evaluate(torch.nn.Identity(), batches([0, 1, 2], [0, 0]))
    assert (found.value, found.count) == (4 / 5, 5)
    assert TASK.metric == "accuracy"
    assert TASK.direction == "higher"


def test_nan_is_wrong() -> None:
    found = TASK.evaluate(lambda x: x * torch.nan, batches([0, 0, 0]))
    assert found.details == {"accuracy": 0, "cross_entropy": sys.float_info.max}


def test_no_gradient_is_recorded() -> None:
    head = torch.nn.Linear(3, 3)
    seen: list[bool] = []

    def model(x: torch.Tensor) -> torch.Tensor:
        out = head(x)
        seen.append(out.requires_grad)
        return out

    TASK.evaluate(model, batches([0, 1, 2]))
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
        TASK.evaluate(torch.nn.Identity(), [])


def logits_and_labels(classes: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(0)
    return torch.randn(count, classes, generator=drawn), torch.randint(classes, (count,), generator=drawn)


@pytest.mark.parametrize("sizes", [[50], [20, 20, 10], [1] * 50])
def test_every_metric_is_over_all_samples(sizes: list[int]) -> None:
    logits, labels = logits_and_labels(12, 50)
    data = [
        Batch(inputs=(x,), labels=y) for x, y in zip(logits.split(sizes), labels.split(sizes), strict=True)
    ]
    found = Classification(classes=12).evaluate(torch.nn.Identity(), data)
    ranks = (logits > logits.gather(1, labels[:, None])).sum(1)
    assert found.details == {
        "accuracy": int((ranks == 0).sum()) / 50,
        "top5": int((ranks < 5).sum()) / 50,
        "cross_entropy": pytest.approx(float(torch.nn.functional.cross_entropy(logits.double(), labels))),
    }
    assert 0 < found.details["accuracy"] < found.details["top5"] < 1


@pytest.mark.parametrize(
    ("metric", "direction"), [("accuracy", "higher"), ("top5", "higher"), ("cross_entropy", "lower")]
)
def test_the_spec_says_which_metric_judges(metric: Literal["accuracy"], direction: str) -> None:
    logits, labels = logits_and_labels(8, 30)
    spoken = Task(kind="classification", classes=8, metric=metric, span=SOURCE.span(7, 34))
    task = task_of(spoken, kind="classification", classes=8)
    found = task.evaluate(torch.nn.Identity(), [Batch(inputs=(logits,), labels=labels)])
    assert (task.metric, task.direction) == (metric, direction)
    assert found.value == found.details[metric]
    assert len(set(found.details.values())) == 3


def test_five_classes_or_fewer_have_no_top5() -> None:
    logits, labels = logits_and_labels(5, 30)
    found = Classification(classes=5).evaluate(torch.nn.Identity(), [Batch(inputs=(logits,), labels=labels)])
    assert set(found.details) == {"accuracy", "cross_entropy"}
    assert set(
        Classification(classes=6)
        .evaluate(torch.nn.Identity(), [Batch(inputs=(torch.eye(6),), labels=torch.arange(6))])
        .details
    ) == {"accuracy", "top5", "cross_entropy"}
