"""Batch statistics of a converted model computed anew from data (paper, appendix E.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from theseus_fx.planning.plan import RecalibrateStep
from theseus_fx.run.job import Job
from theseus_fx.run.rates import steps_of


def recalibrate(job: Job, model: nn.Module, steps: Sequence[RecalibrateStep]) -> None:
    """Replaces the running statistics of the named classes by averages over training batches, in place."""
    for step in steps:
        chosen = [m for m in model.modules() if type(m).__name__ == step.module_class]
        count = steps_of(step.over, job.source.steps_per_epoch)
        batches = (job.train_batch(i, stream="recalibrate").inputs for i in range(count))
        recompute_statistics(model, chosen, batches)


@torch.no_grad()
def recompute_statistics(
    model: nn.Module, chosen: Sequence[nn.Module], batches: Iterable[tuple[Tensor, ...]]
) -> None:
    """Cumulative averages of the batch statistics (as `torch.optim.swa_utils.update_bn`), in place.

    Args:
        model: run in eval mode but for the chosen modules.
        chosen: normalisation modules with running statistics.
        batches: inputs of the model.

    Raises:
        TypeError: a chosen module keeps no running statistics.
    """
    norms: list[nn.modules.batchnorm._NormBase] = []  # pyright: ignore[reportPrivateUsage]
    for module in chosen:
        if not isinstance(module, nn.modules.batchnorm._NormBase):  # pyright: ignore[reportPrivateUsage]
            raise TypeError(f"{type(module).__name__} keeps no running statistics")
        norms.append(module)
    momenta = [norm.momentum for norm in norms]
    was_training = model.training
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
        norm.train()
    for inputs in batches:
        model(*inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)
