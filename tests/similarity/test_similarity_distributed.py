"""Rows spread over ranks of a process group: the values and gradients of one process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from similarity_cases import normal
from torch import Tensor, multiprocessing

from theseus_fx.similarity import Cka, Dmnn, GuideGram, tap_losses
from theseus_fx.similarity import distributed as spread

Counts = tuple[int, ...]
COUNTS: list[Counts] = [(6, 6), (9, 3), (5, 1, 6), (7, 0, 5)]


def in_ranks(work: Callable[..., None], size: int, *arguments: Any) -> None:
    """Runs `work(rank, ...)` in so many processes of a gloo group; a failure of any is a failure here."""
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start"
        multiprocessing.spawn(_rank, (size, str(start), work, arguments), nprocs=size)


def _rank(rank: int, size: int, start: str, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{start}", rank=rank, world_size=size)
    try:
        work(rank, *arguments)
    finally:
        dist.destroy_process_group()


def taps(dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """Widths that ranks do not divide, one smaller than the number of ranks, and a channels_last one."""
    targets = [normal(12, 7, dtype=dtype), normal(12, 2, seed=1, dtype=dtype), normal(12, 3, 2, 5, seed=2)]
    return targets, [normal(12, 10, seed=3, dtype=dtype), normal(12, 5, seed=4), normal(12, 4, seed=5)]


def check_losses(rank: int, counts: Counts) -> None:
    here = slice(sum(counts[:rank]), sum(counts[: rank + 1]))
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 1e-2)):
        targets, guides = taps(dtype)
        for metric in (Cka(), Cka(unbiased=True), Dmnn(k=3)):
            whole = [x.clone().requires_grad_() for x in targets]
            expected = tap_losses(whole, guides, metric)
            expected.sum().backward()
            prepared = spread.guide_gram(guides[1][here])
            torch.testing.assert_close(prepared.unit, GuideGram.of(guides[1]).unit)

            mine = [x[here].clone().requires_grad_() for x in targets]
            if rank == 0:  # ranks may keep activations in different memory formats
                mine[2] = targets[2][here].contiguous(memory_format=torch.channels_last).requires_grad_()
            got = spread.tap_losses(mine, [guides[0][here], prepared, guides[2][here]], metric)
            got.sum().backward()
            torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)
            for x, y in zip(mine, whole, strict=True):
                assert x.grad is not None
                assert y.grad is not None
                torch.testing.assert_close(x.grad, y.grad[here], rtol=tolerance, atol=tolerance)


def check_parameters(rank: int) -> None:
    """Under DDP, the loss times the number of ranks gives the gradient of the whole batch."""
    torch.manual_seed(0)
    net = torch.nn.Linear(4, 3).double()
    x, guide = normal(8, 4), normal(8, 6, seed=1)
    (loss,) = tap_losses([net(x)], [guide], Cka())
    expected = torch.autograd.grad(loss, net.weight)[0]
    parallel = torch.nn.parallel.DistributedDataParallel(net)
    here = slice(4 * rank, 4 * rank + 4)
    (loss,) = spread.tap_losses([parallel(x[here])], [guide[here]], Cka())
    (dist.get_world_size() * loss).backward()
    assert net.weight.grad is not None
    torch.testing.assert_close(net.weight.grad, expected)


def check_refusals(rank: int) -> None:
    a = normal(4, 3 + rank)
    with pytest.raises(ValueError, match=r"same features, not of \[3, 2\], \[4, 2\]"):
        spread.tap_losses([a], [normal(4, 2)], Cka())
    with pytest.raises(ValueError, match="different numbers of rows"):
        spread.tap_losses([normal(4, 3), normal(4 - rank, 3)], [normal(4, 2)] * 2, Cka())


@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_ranks_equal_one_process(counts: Counts) -> None:
    in_ranks(check_losses, len(counts), counts)


def test_parameters_under_data_parallel() -> None:
    in_ranks(check_parameters, 2)


def test_what_ranks_cannot_compare_is_said_on_all_of_them() -> None:
    in_ranks(check_refusals, 2)
