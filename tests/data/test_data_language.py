"""Language modelling: loss, perplexity, and what does not fit."""

from __future__ import annotations

import math
import sys

import pytest
import torch

from theseus_fx.data.classification import Classification
from theseus_fx.data.language import LanguageModelling
from theseus_fx.data.source import Batch
from theseus_fx.data.tasks import check_kind, check_vocabulary, task_of
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.source import Source
from theseus_fx.lang.spec import Task

SPAN = Source("spec.thx", "task = language_modelling").span(7, 25)
SPOKEN = Task(kind="language_modelling", span=SPAN)
TASK = LanguageModelling(span=SPAN)


def batch(rows: int) -> Batch:
    labels = torch.arange(rows * 3).reshape(rows, 3) % 4
    return Batch(inputs=(labels,), labels=labels)


def sure(tokens: torch.Tensor) -> torch.Tensor:
    """Logits that give the token before it a probability of one half."""
    return torch.nn.functional.one_hot(tokens, 4) * math.log(3.0)


def test_loss_is_the_mean_over_all_tokens() -> None:
    given = batch(2)
    assert float(TASK.loss(torch.zeros(2, 3, 4), given.labels)) == pytest.approx(math.log(4))
    assert float(TASK.loss(sure(given.inputs[0]), given.labels)) == pytest.approx(math.log(2))
    assert TASK.loss(torch.zeros(2, 3, 4, dtype=torch.bfloat16), given.labels).dtype == torch.float32


def test_perplexity_weighs_tokens_and_not_batches() -> None:
    def model(tokens: torch.Tensor) -> torch.Tensor:
        return sure(tokens) if len(tokens) == 3 else torch.zeros(*tokens.shape, 4)

    found = TASK.evaluate(model, [batch(3), batch(1)])
    assert found.count == 12
    mean = (9 * math.log(2) + 3 * math.log(4)) / 12
    assert found.value == pytest.approx(math.exp(mean))
    assert found.details == {"perplexity": found.value, "cross_entropy": pytest.approx(mean)}
    assert (TASK.metric, TASK.direction) == ("perplexity", "lower")


def test_a_broken_model_is_worse_than_every_other_and_still_a_number() -> None:
    for factor in (math.nan, -1e30):
        found = TASK.evaluate(lambda tokens, f=factor: sure(tokens) * f, [batch(2)])
        assert found.value == sys.float_info.max
        assert all(math.isfinite(value) for value in found.details.values())


def test_logits_of_another_shape() -> None:
    for logits in (torch.zeros(2, 4), torch.zeros(2, 4, 4)):
        with pytest.raises(Rejected) as caught:
            TASK.loss(logits, batch(2).labels)
        (diagnostic,) = caught.value.diagnostics
        assert diagnostic.code == "THX603"
        assert "not 2 x 3 x vocabulary logits" in diagnostic.message


def test_no_samples_is_our_bug() -> None:
    with pytest.raises(ValueError, match="no samples"):
        TASK.evaluate(sure, [])


def test_the_task_of_a_spec_or_else_of_its_data() -> None:
    assert task_of(SPOKEN, kind="classification", classes=3) == TASK
    assert task_of(None, kind="language_modelling", classes=3) == LanguageModelling()
    assert task_of(None, kind="classification", classes=3) == Classification(classes=3)


def test_a_task_that_the_data_is_not_for() -> None:
    check_kind(None, "classification", "digits")
    check_kind(SPOKEN, "language_modelling", "textfile")
    with pytest.raises(Rejected, match="the task is language_modelling, and `digits` has labels for"):
        check_kind(SPOKEN, "classification", "digits")


def test_more_tokens_than_the_model_knows() -> None:
    check_vocabulary(SPOKEN, 256, ("batch", 8, 256))
    check_vocabulary(SPOKEN, None, ("batch", 8, 10))
    with pytest.raises(Rejected, match="the data has 256 tokens, the model knows 50"):
        check_vocabulary(SPOKEN, 256, ("batch", 8, 50))
