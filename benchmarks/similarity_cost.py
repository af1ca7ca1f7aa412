"""Time and memory of a loss with its gradient, and the least time that the machine allows for it."""

from __future__ import annotations

import ctypes
import gc
import itertools
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from similarity_candidates import Candidate, candidates, trained_peers
from torch import Tensor

RAISED = (
    ArithmeticError,
    AssertionError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a peer may answer with, out of memory included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a loss is measured on."""

    b: int
    d: int
    dtype: torch.dtype
    device: str

    @property
    def size(self) -> int:
        """Bytes of the target's activations A."""
        return self.b * self.d * self.dtype.itemsize

    def activations(self) -> tuple[Tensor, Tensor]:
        """Unit rows (b, d) of target, with a gradient, and guide: no peer has to normalise them."""
        generator = torch.Generator(self.device).manual_seed(0)
        made: list[Tensor] = []
        for _ in range(2):
            x = torch.empty(self.b, self.d, device=self.device, dtype=self.dtype).normal_(generator=generator)
            made.append(x.div_(x.norm(dim=1, keepdim=True)))
        return made[0].requires_grad_(), made[1]


def seconds(candidate: Candidate, a: Tensor, guide: Any) -> float:
    """Wall-clock seconds of forward and backward."""
    a.grad = None
    _wait(a)
    start = time.perf_counter()
    candidate.loss(a, guide).backward()
    _wait(a)
    return time.perf_counter() - start


def rounds(
    all_of_them: Sequence[Candidate], case: Case, pairs: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds of every candidate in every round, taken in turn; and the errors of those that raise.

    Each round starts with another candidate, so that none always comes after the same one.
    """
    a, b = case.activations()
    guides: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for candidate in all_of_them:
        try:
            guides[candidate.name] = candidate.prepare(b)
            seconds(candidate, a, guides[candidate.name])  # warm up
        except RAISED as error:
            errors[candidate.name] = first_line(error)
    running = [candidate for candidate in all_of_them if candidate.name not in errors]
    times: dict[str, list[float]] = {candidate.name: [] for candidate in running}
    for number in range(pairs):
        first = number % len(running)
        for candidate in running[first:] + running[:first]:
            times[candidate.name].append(seconds(candidate, a, guides[candidate.name]))
    return times, errors


def first_line(error: BaseException, most: int = 90) -> str:
    """The error as one short line."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}"[:most] if line else type(error).__name__


def extra_bytes(candidate: Candidate, case: Case) -> int | None:
    """Peak memory of forward and backward beyond A, B and what is prepared; the gradient of A included.

    On CUDA the peak of torch's allocator. On Linux the candidate runs twice in a process of its own, and the
    peak of resident memory during the second run counts (VmHWM of /proc/self/status, set back before it): all
    memory that is touched, by whatever library, except buffers that a library keeps. Elsewhere None.
    """
    if case.device == "cuda":
        a, guide = _warmed_up(candidate, case)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        seconds(candidate, a, guide)
        return torch.cuda.max_memory_allocated() - before
    if not sys.platform.startswith("linux"):
        return None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "theseus_fx.similarity"])
    receiver, sender = context.Pipe(duplex=False)
    sent = (sender, candidate.name, candidate.compiled, case, torch.get_num_threads())
    process = context.Process(target=_send_peak, args=sent)
    process.start()
    sender.close()
    peak: int = receiver.recv()
    process.join()
    return peak


def _send_peak(sender: Any, name: str, compiled: bool, case: Case, threads: int) -> None:
    torch.set_num_threads(threads)
    every = itertools.chain(candidates(case.device, compiled=compiled, peers=False), trained_peers())
    candidate = next(candidate for candidate in every if candidate.name == name)
    a, guide = _warmed_up(candidate, case)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now
    before = _resident("VmRSS")
    seconds(candidate, a, guide)
    sender.send(_resident("VmHWM") - before)


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def _warmed_up(candidate: Candidate, case: Case) -> tuple[Tensor, Any]:
    a, b = case.activations()
    guide = candidate.prepare(b)
    seconds(candidate, a, guide)
    a.grad = None
    return a, guide


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the device does at best, measured."""

    bandwidth: float
    """Bytes per second that a copy reads and writes, together."""
    rates: dict[torch.dtype, float]
    """Floating point operations per second of a square product."""

    @classmethod
    def measured(cls, device: str, dtypes: Sequence[torch.dtype], *, quick: bool) -> Machine:
        """The best of several tries, as a busy machine only slows them."""
        large = device == "cuda"
        tries = 3 if quick else 20
        source = torch.ones(2**22 if quick else 2**28 if large else 2**26, device=device)  # float32
        target = torch.empty_like(source)
        moved = 2 * source.nbytes / _best(lambda: target.copy_(source), source, tries)
        n = 512 if quick else 8192 if large else 2048
        rates: dict[torch.dtype, float] = {}
        for dtype in dtypes:
            x = torch.randn(n, n, device=device, dtype=dtype)  # ones would draw too little power
            out = torch.empty_like(x)
            rates[dtype] = 2 * n**3 / _best(lambda x=x, out=out: torch.mm(x, x, out=out), x, tries)
        return cls(bandwidth=moved, rates=rates)

    def floor(self, case: Case, grams: int) -> float:
        """The least seconds: each pass as long as its memory traffic or its products, whichever is longer.

        A Gram reads its activations and takes 2 b² d operations, though by symmetry half would do; the
        gradient reads A, writes dA and takes 2 b² d.
        """
        products = 2 * case.b**2 * case.d / self.rates[case.dtype]
        gram = max(case.size / self.bandwidth, products)
        gradient = max(2 * case.size / self.bandwidth, products)
        return grams * gram + gradient


def _best(run: Callable[[], Any], x: Tensor, tries: int) -> float:
    run()
    took: list[float] = []
    for _ in range(tries):
        _wait(x)
        start = time.perf_counter()
        run()
        _wait(x)
        took.append(time.perf_counter() - start)
    return min(took)


def median_ratio(times: Sequence[float], ours: Sequence[float]) -> float:
    """The median over the rounds of their time through ours."""
    return statistics.median(t / o for t, o in zip(times, ours, strict=True))


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize()
