"""Tracing: a model becomes a graph of leaf modules and torch functions, with shapes and without weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from torch import fx, nn

from theseus_fx.graph.assemble import assemble, attribute
from theseus_fx.graph.attempt import record
from theseus_fx.graph.boundary import CallInput, Leaf, Structure, leaves
from theseus_fx.graph.demote import Policy
from theseus_fx.graph.record import Frame, Recorder
from theseus_fx.graph.structure import main_tensor, tensors
from theseus_fx.graph.values import InputSpec, ValueInfo
from theseus_fx.lang.diagnostics import Diagnostic, Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleCall:
    """One call of one module. A module that is called twice is two of these."""

    path: str
    """The dotted name of the module; empty for the model itself."""
    number: int
    """1 for the first call of the module."""
    repeated: bool
    """Whether the module is called more than once."""
    module_class: type[nn.Module]
    parent: int | None
    """The index of the call around it."""
    node: str | None
    """The node of the one tensor in what it returns that the model uses; None where that is not one."""
    arguments: tuple[CallInput, ...]
    """Its tensor inputs in the order of the parameters of `forward`, each value once."""
    primary: CallInput | None
    """The first of floating point with a batch dimension, else the first with a batch dimension."""
    bare: bool
    """Whether it is called with one positional tensor alone and returns a bare one."""
    returns: Structure
    used: tuple[str, ...]
    """The names of those leaves of `returns` that the model uses: `0`, `last_hidden_state`."""
    leaf: bool
    """Whether the graph has it as one operation."""
    operation: str | None
    """The `call_module` node of a leaf; `node` takes a tensor out of its value where that is a structure."""
    demoted: str | None
    """Why it is a leaf, where that was not wanted."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The nodes of its tensor inputs."""
        return tuple(entry.node for entry in self.arguments)

    @property
    def name(self) -> str:
        """`layer1.0.relu#2`; the number only where the module is called more than once."""
        return f"{self.path}#{self.number}" if self.repeated else self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The graph of a model in eval mode, and the tree of its module calls."""

    graph: fx.Graph
    """`call_module` and `get_attr` targets are names of the model; to be read, never to be changed."""
    calls: tuple[ModuleCall, ...]
    """In the order in which they began; a call stands before those inside it."""
    inputs: tuple[InputSpec, ...]
    output: str
    """The node of the tensor that the output is about: it itself, its `logits`, else its first tensor."""
    outputs: tuple[str, ...]
    """The nodes of all tensors in the output."""
    values: Mapping[str, ValueInfo]
    """Shape and dtype of every node that is a tensor."""
    nodes: Mapping[str, fx.Node] = field(repr=False)
    """The nodes by name, in graph order."""
    owners: Mapping[str, int]
    """The index of the call that each operation is part of, by its node; of a leaf's node, the leaf's."""

    def value(self, node_name: str) -> ValueInfo:
        """Shape and dtype of a node; KeyError where the node is not a tensor."""
        return self.values[node_name]

    def node(self, name: str) -> fx.Node:
        """The node of a name."""
        return self.nodes[name]


def trace(model: nn.Module, inputs: Sequence[InputSpec], *, leaves: Collection[str] = ()) -> Trace:
    """Traces a model by one run on fake tensors; the model itself is neither run nor changed.

    What is recorded is what the model does in eval mode at batch sizes of at least two. Modules of `torch.nn`
    that are no containers are leaves, and so are those that `leaves` names; the inside of every other
    module is recorded, unless it cannot be: then it is a leaf with a reason.

    Args:
        model: on any device, the meta device included.
        inputs: at least one.
        leaves: class names, of which a class counts by its own and those of its bases, and dotted paths.

    Raises:
        Rejected: THX302 where the model cannot be traced, THX304 where it cannot be run on these inputs.
    """
    if not inputs:
        raise ValueError("a model without inputs has nothing to trace")
    recorder, policy, result = record(model, inputs, leaves)
    main = main_tensor(result)
    if main is None:
        message = f"the model cannot be traced: it returns a `{type(result).__name__}` without a tensor"
        raise Rejected(Diagnostic(code="THX302", message=message))
    output = recorder.node(main).name
    outputs = tuple(dict.fromkeys(recorder.node(tensor).name for tensor in tensors(result)))
    order = {node.name: index for index, node in enumerate(recorder.graph.nodes)}
    remove_dead(recorder.graph)
    nodes = {node.name: node for node in recorder.graph.nodes}
    return Trace(
        graph=recorder.graph,
        calls=_calls(recorder, policy, nodes, order),
        inputs=tuple(inputs),
        output=output,
        outputs=outputs,
        values={name: recorder.values[name] for name in nodes if name in recorder.values},
        nodes=nodes,
        owners={name: recorder.owners[name] for name in nodes if name in recorder.owners},
    )


def bind(trace: Trace, model: nn.Module) -> fx.GraphModule:
    """The untouched graph on a real model: from the inputs in order to what the model returns in eval mode.

    Modules and tensors are the model's own, so that what trains one trains the other.
    """
    graph = fx.Graph()
    graph.output(graph.graph_copy(trace.graph, {}))
    targets = {str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")}
    return assemble(graph, {target: attribute(model, target) for target in sorted(targets)})


def remove_dead(graph: fx.Graph) -> None:
    """Erases what neither the output nor anything else uses; inputs stay."""
    for node in reversed(graph.nodes):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)


def _calls(
    recorder: Recorder, policy: Policy, alive: Mapping[str, fx.Node], order: Mapping[str, int]
) -> tuple[ModuleCall, ...]:
    counts = Counter(frame.path for frame in recorder.frames)
    return tuple(
        _call(frame, policy, counts[frame.path] > 1, alive, order, recorder.values)
        for frame in recorder.frames
    )


def _call(
    frame: Frame,
    policy: Policy,
    repeated: bool,
    alive: Mapping[str, fx.Node],
    order: Mapping[str, int],
    values: Mapping[str, ValueInfo],
) -> ModuleCall:
    if frame.returns is None:
        raise AssertionError(f"the call of `{frame.path}` has not ended")

    def is_used(node: str | None) -> bool:
        users = alive[node].users if node is not None and node in alive else ()
        return any(order[user.name] >= frame.end for user in users)

    arguments = tuple(entry for entry in frame.arguments if entry.node in alive)
    used = {leaf.name: leaf.node for leaf in leaves(frame.returns) if is_used(leaf.node)}
    nodes = set(used.values())
    return ModuleCall(
        path=frame.path,
        number=frame.number,
        repeated=repeated,
        module_class=type(frame.module),
        parent=frame.parent,
        node=nodes.pop() if len(nodes) == 1 else None,
        arguments=arguments,
        primary=_primary(arguments, values),
        bare=frame.bare and isinstance(frame.returns, Leaf),
        returns=frame.returns,
        used=tuple(used),
        leaf=frame.leaf,
        operation=frame.operation if frame.operation in alive else None,
        demoted=policy.reason(frame.path, frame.module) if frame.leaf else None,
    )


def _primary(arguments: Sequence[CallInput], values: Mapping[str, ValueInfo]) -> CallInput | None:
    """What the replacement of a call works on, where nothing else is said."""
    batched = [entry for entry in arguments if any(isinstance(d, str) for d in values[entry.node].shape)]
    floating = [entry for entry in batched if values[entry.node].dtype.is_floating_point]
    return next(iter([*floating, *batched]), None)
