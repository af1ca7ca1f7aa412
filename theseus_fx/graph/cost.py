"""Cost: floating-point operations of a graph and of a replacement, counted without weights."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from theseus_fx.graph.slices import upstream
from theseus_fx.graph.trace import Trace, bind
from theseus_fx.graph.values import ValueInfo
from theseus_fx.graph.weightless import fake_run, fixed_mode, weightless


def forward_flops(trace: Trace, model: nn.Module) -> Mapping[str, int]:
    """The floating-point operations of every node for one sample; a multiply-add counts as two.

    Counted are what `torch.utils.flop_counter` counts: matrix products, convolutions and attention. The model
    may be on the meta device; it is neither run nor changed.
    """
    mode = fixed_mode()
    graph_module = bind(trace, weightless(model, mode).module)
    with fake_run(mode), torch.no_grad(), _counting() as counter:
        inputs = [torch.empty(spec.sizes(1), dtype=spec.dtype, device="cpu") for spec in trace.inputs]
        counted = _Counted(graph_module, counter)
        counted.run(*inputs)
    return {name: counted.flops[name] for name in trace.nodes}


def module_flops(module: nn.Module, *inputs: ValueInfo) -> int:
    """The floating-point operations of a module in eval mode for one sample of its inputs."""
    mode = fixed_mode()
    copied = weightless(module, mode).module
    with fake_run(mode), torch.no_grad(), _counting() as counter:
        copied(*(torch.empty(value.sizes(1), dtype=value.dtype, device="cpu") for value in inputs))
    return counter.get_total_flops()


def executed_share(trace: Trace, flops: Mapping[str, int], taps: Collection[str]) -> float:
    """The share of the forward FLOPs, 0 to 1, that computing the taps takes; 1 where there are no FLOPs."""
    total = sum(flops.values())
    return sum(flops[name] for name in upstream(trace, taps)) / total if total else 1.0


@contextmanager
def _counting() -> Generator[FlopCounterMode, None, None]:
    """A counter; attention runs as matrix products, for its fused form on a CPU counts as nothing."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        yield counter


class _Counted(fx.Interpreter):
    """Runs a graph node by node and takes the difference of the counter at each."""

    def __init__(self, module: fx.GraphModule, counter: FlopCounterMode) -> None:
        super().__init__(module)
        self.flops: dict[str, int] = {}
        self._counter = counter

    def run_node(self, n: fx.Node) -> Any:
        before = self._counter.get_total_flops()
        result = super().run_node(n)
        self.flops[n.name] = self._counter.get_total_flops() - before
        return result
