"""Programs: what one stage of an alignment really has to run, guide and target merged into one graph."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import fx, nn

from theseus_fx.graph.assemble import assemble, attribute
from theseus_fx.graph.slices import Compared, Inside, Placement, Slices, slices
from theseus_fx.graph.trace import Trace


class StageOutputs(NamedTuple):
    """What a stage program returns."""

    guide_taps: tuple[torch.Tensor, ...]
    target_taps: tuple[torch.Tensor, ...]
    guide_logits: torch.Tensor | None
    target_logits: torch.Tensor | None


class TargetOutputs(NamedTuple):
    """What a target program with taps returns."""

    output: torch.Tensor
    taps: tuple[torch.Tensor, ...]


class StageProgram(nn.Module):
    """Guide and target of one stage in one forward pass; made by `stage_program`."""

    def __init__(self, program: fx.GraphModule, pieces: Slices, trained: Sequence[nn.Module]) -> None:
        super().__init__()
        self.program = program
        self.trained = tuple(trained)
        """The replacements that are trained, as they are called."""
        self.executed: frozenset[str] = pieces.executed
        """Nodes of the traced graph that run at least once, as the guide's or as the target's."""
        self.shared: frozenset[str] = pieces.shared
        """Nodes that run once, for guide and target both."""
        self.target_only: frozenset[str] = pieces.target
        """Nodes of which the target has a run of its own, the replaced parts among them."""
        self.train()

    @property
    def blocks(self) -> tuple[nn.Module, ...]:
        """Modules that can be computed again: each replacement that is trained."""
        return self.trained

    def forward(self, *inputs: torch.Tensor) -> StageOutputs:
        """Runs the stage on the inputs, in the order of the trace."""
        guide_taps, target_taps, guide_logits, target_logits = self.program(*inputs)
        return StageOutputs(guide_taps, target_taps, guide_logits, target_logits)

    def train(self, mode: bool = True) -> StageProgram:
        """Sets the mode of the replacements that are trained; everything else is in eval mode always."""
        self.training = mode
        self.program.eval()
        for replacement in self.trained:
            replacement.train(mode)
        return self


class TargetProgram(nn.Module):
    """The hybrid: the guide with replacements in it; made by `target_program`."""

    def __init__(self, program: fx.GraphModule, *, tapped: bool) -> None:
        super().__init__()
        self.program = program
        self._tapped = tapped

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | TargetOutputs:
        """The output for the inputs, in the order of the trace; `TargetOutputs` if there are taps."""
        output, taps = self.program(*inputs)
        return TargetOutputs(output, taps) if self._tapped else output


def stage_program(
    trace: Trace,
    guide: nn.Module,
    replacements: Mapping[str, Placement],
    *,
    taps: Sequence[str | Compared],
    frozen: Collection[str] = (),
    guide_output: bool = False,
    target_output: bool = False,
) -> StageProgram:
    """The program of one stage: guide taps and target taps, and nothing that neither needs.

    Guide nodes run once. The target has runs of its own only of the replaced parts and of what lies
    downstream of them; everything upstream is shared. The guide's parameters that run are frozen
    (`requires_grad` is turned off) and its modules set to eval mode. So the guide's side and the shared
    prefix build no autograd graph, and gradients flow through guide modules back to the replacements and
    into nothing else.

    Args:
        trace: of the guide.
        guide: the real model; its modules and parameters are used, not copied.
        replacements: by the output node of the leaf call that each replaces. A replacement must not write to
            its inputs in place: the guide may need them too. The program uses these very modules.
        taps: nodes whose values are returned, in this order, of guide and target; a `Compared` names two.
        frozen: those of the replaced nodes whose replacements are not trained: they are in eval mode, and
            `requires_grad` is turned off; it is turned on in all others.
        guide_output: whether the guide's logits are returned.
        target_output: whether the target's are.

    Raises:
        ValueError: a replaced node is the output of no leaf call, or an input does not come before it.
    """
    compared = [tap if isinstance(tap, Compared) else Compared(tap, tap) for tap in taps]
    pieces = slices(
        trace,
        replacements,
        guide_wants=[*(tap.guide for tap in compared), *([trace.output] if guide_output else [])],
        target_wants=[*(tap.target_node for tap in compared), *([trace.output] if target_output else [])],
    )
    graph, in_guide, in_target = _merged(trace, pieces, replacements, detached=True)
    guide_taps = tuple(in_guide[tap.guide] for tap in compared)
    target_taps = tuple(in_target[tap.target] for tap in compared)
    guide_logits = in_guide[trace.output] if guide_output else None
    target_logits = in_target[trace.output] if target_output else None
    graph.output((guide_taps, target_taps, guide_logits, target_logits))
    program = _assembled(graph, guide, replacements)
    for name, child in program.named_children():
        if name == "guide":
            child.requires_grad_(False)
    for node, placement in replacements.items():
        placement.module.requires_grad_(node not in frozen)
    return StageProgram(program, pieces, [p.module for node, p in replacements.items() if node not in frozen])


def target_program(
    trace: Trace, guide: nn.Module, replacements: Mapping[str, Placement], *, taps: Sequence[str] = ()
) -> TargetProgram:
    """The hybrid alone, as a module of the inputs in the order of the trace.

    Nothing is frozen and no mode is changed.

    Args:
        trace: of the guide.
        guide: the real model; its modules and parameters are used, not copied.
        replacements: as for `stage_program`.
        taps: nodes whose values in the hybrid are returned too.

    Raises:
        ValueError: a replaced node is the output of no leaf call, or an input does not come before it.
    """
    pieces = slices(trace, replacements, guide_wants=(), target_wants=[trace.output, *taps])
    graph, _, in_target = _merged(trace, pieces, replacements, detached=False)
    graph.output((in_target[trace.output], tuple(in_target[tap] for tap in taps)))
    return TargetProgram(_assembled(graph, guide, replacements), tapped=bool(taps))


def _merged(
    trace: Trace, pieces: Slices, replacements: Mapping[str, Placement], *, detached: bool
) -> tuple[fx.Graph, dict[str, fx.Node], dict[str | Inside, fx.Node]]:
    """One graph with the guide's nodes first, then the target's own; and where each value is, for either."""
    graph = fx.Graph()
    guide: dict[str, fx.Node] = {}
    for name, node in trace.nodes.items():
        if node.op == "placeholder":
            placeholder = graph.placeholder(str(node.target))
            wanted = detached and name in pieces.guide
            guide[name] = graph.call_method("detach", (placeholder,)) if wanted else placeholder
    for name, node in trace.nodes.items():
        if name in pieces.guide and node.op != "placeholder":
            guide[name] = _copied(graph, node, guide, name)
    target: dict[str | Inside, fx.Node] = {**guide}
    for name, node in trace.nodes.items():
        if name in pieces.parts:
            inputs = tuple(target[part_input] for part_input in pieces.parts[name])
            call = graph.create_node("call_module", f"replacements.{name}", inputs, {}, name=f"target_{name}")
            values = replacements[name].values
            target[name] = graph.call_function(operator.getitem, (call, 0)) if values else call
            for place, value in enumerate(values, start=1):
                target[Inside(name, value)] = graph.call_function(operator.getitem, (call, place))
        elif name in pieces.target:
            target[name] = _copied(graph, node, target, f"target_{name}")
    return graph, guide, target


def _copied(graph: fx.Graph, node: fx.Node, values: Mapping[Any, fx.Node], name: str) -> fx.Node:
    args = fx.map_arg(node.args, lambda argument: values[argument.name])
    kwargs = fx.map_arg(node.kwargs, lambda argument: values[argument.name])
    named = node.op in ("call_module", "get_attr")
    return graph.create_node(
        node.op, f"guide.{node.target}" if named else node.target, args, kwargs, name=name
    )


def _assembled(graph: fx.Graph, guide: nn.Module, replacements: Mapping[str, Placement]) -> fx.GraphModule:
    attributes: dict[str, nn.Module | torch.Tensor] = {}
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            target = str(node.target)
            side, _, name = target.partition(".")
            attributes[target] = (
                replacements[name].module if side == "replacements" else attribute(guide, name)
            )
    return assemble(graph, attributes)
