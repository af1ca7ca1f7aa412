"""A fake run of a model, written down: a graph of leaf modules and torch functions, and the tree of calls."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.dropout import _DropoutNd  # pyright: ignore[reportPrivateUsage]
from torch.overrides import TorchFunctionMode

from theseus_fx.graph.arguments import Arguments
from theseus_fx.graph.batch import Batch
from theseus_fx.graph.boundary import CallInput, Structure, named_tensors, structure_of
from theseus_fx.graph.demote import Demotion, Pinned, Policy, Unrecordable
from theseus_fx.graph.fixed_sizes import run_at_fixed_sizes
from theseus_fx.graph.operations import operation
from theseus_fx.graph.structure import parts, tensors
from theseus_fx.graph.tensors import TensorNodes
from theseus_fx.graph.values import InputSpec, ValueInfo
from theseus_fx.graph.weightless import Weightless


@dataclass(slots=True)
class Frame:
    """One module call of the run."""

    path: str
    number: int
    module: nn.Module
    parent: int | None
    leaf: bool
    arguments: tuple[CallInput, ...]
    """Its tensor inputs in the order of `forward`'s parameters, each value once."""
    bare: bool
    """Whether it is called with one positional tensor and nothing else."""
    graph_args: tuple[Any, Any] | None
    """Arguments and keywords of a leaf, as the graph has them."""
    operation: str | None = None
    """The `call_module` node of a leaf."""
    returns: Structure | None = None
    """None until the call is over."""
    end: int = 0
    """How many nodes the graph had when the call was over."""


class Recorder(TorchFunctionMode):
    """Records one run. After `run`, `graph`, `frames` and `values` tell what happened."""

    def __init__(self, model: Weightless, policy: Policy, batch: Batch) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.frames: list[Frame] = []
        self.values: dict[str, ValueInfo] = {}
        self.owners: dict[str, int] = {}
        """The frame in which each operation was recorded; of a leaf's node, the leaf's own."""
        self.blame: tuple[Exception, Frame] | None = None
        """The last exception that left a module, and the innermost frame that it left."""
        self._policy = policy
        self._batch = batch
        self._tensors = TensorNodes(self.graph, model.names)
        self._open: list[int] = []
        self._calls: dict[str, int] = {}
        self._recording = False
        self._root = model.module
        self._arguments = Arguments(self.graph, batch, self.node)
        self._context = _context()
        for path, module in model.module.named_modules():
            module.forward = self._intercepted(path, module, module.forward)

    # --- the run --------------------------------------------------------------------------------------

    def place(self, spec: InputSpec) -> torch.Tensor:
        """Makes the placeholder for an input and the fake tensor to call the model with."""
        tensor = self._batch.input(spec)
        node = self.graph.placeholder(spec.name)
        self._put(tensor, node)
        self._arguments.add_input(node, spec.shape.index("batch") if "batch" in spec.shape else None)
        return tensor

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Calls the model on fake tensors, records it, and ends the graph with what it returns."""
        self._context = _context()
        self._recording = True
        try:
            with self:
                result = self._root(*args, **kwargs)
        finally:
            self._recording = False
        self._open.append(0)
        self.graph.output(self._argument(result))
        for frame in self.frames:
            held = () if frame.leaf else frame.module.buffers(recurse=False)
            if not all(self._tensors.is_attribute(buffer) for buffer in held):
                raise Demotion(frame.path, "it puts another tensor in the place of a buffer")
        return result

    def node(self, tensor: torch.Tensor) -> fx.Node:
        """The node that a tensor stands for; a tensor that stands for none demotes the module at fault."""
        known = tensor in self._tensors
        try:
            node = self._tensors.node(tensor)
        except Unrecordable as reason:
            raise self._demotion(reason) from None
        if not known:
            self._describe(node, tensor)
        return node

    def _intercepted(self, path: str, module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(forward)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not self._recording:
                return forward(*args, **kwargs)
            self._recording = False
            depth, index = len(self._open), len(self.frames)
            frame = self._enter(path, module, forward, args, kwargs)
            try:
                if frame.leaf:
                    result = self._leaf(frame, forward, args, kwargs)
                else:
                    self._open.append(index)
                    self._recording = True
                    result = forward(*args, **kwargs)
                    self._recording = False
                    self._check_batch()
                    self._check_result(result)
                handed = {entry.node: entry.place for entry in frame.arguments}
                frame.returns = structure_of(result, self._known, handed)
                frame.end = len(self.graph.nodes)
            except Exception as error:
                self._abandon(index, error)
                raise
            finally:
                self._recording = True
                del self._open[depth:]
            return result

        return call

    def _enter(
        self, path: str, module: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any
    ) -> Frame:
        """Notes a call. Faults found here, and all faults of a leaf, are those of the module around it."""
        leaf = path != "" and self._policy.is_leaf(path, module)
        self._check_batch()
        if leaf:
            self._check_context()
        inputs: dict[str, CallInput] = {}
        for place, tensor in named_tensors(forward, args, kwargs):
            if leaf or tensor in self._tensors:
                node = self.node(tensor).name
                inputs.setdefault(node, CallInput(place=place, node=node))
        number = self._calls[path] = self._calls.get(path, 0) + 1
        frame = Frame(
            path=path,
            number=number,
            module=module,
            parent=self._open[-1] if self._open else None,
            leaf=leaf,
            arguments=tuple(inputs.values()),
            bare=len(args) == 1 and not kwargs and isinstance(args[0], torch.Tensor),
            graph_args=(self._argument(args), self._argument(kwargs)) if leaf else None,
        )
        self.frames.append(frame)
        return frame

    def _abandon(self, index: int, error: Exception) -> None:
        """Forgets a call that raised: the model may catch it and go on."""
        if self.blame is None or self.blame[0] is not error:
            self.blame = (error, self.frames[index])
        around = self.frames[index].parent or 0
        self.owners = {name: min(owner, around) for name, owner in self.owners.items()}
        for frame in self.frames[index:]:
            self._calls[frame.path] -= 1
        del self.frames[index:]

    def _leaf(self, frame: Frame, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        ours = type(frame.module).__module__.startswith("torch.nn.")
        in_place = ours and vars(frame.module).get("inplace") is True
        if in_place:
            vars(frame.module)["inplace"] = False
        versions = [(tensor, tensor._version) for tensor in tensors((args, kwargs))]
        result = self._shapes(_name(type(frame.module)), forward, args, kwargs, trusted=ours)
        if in_place:
            vars(frame.module)["inplace"] = True
        if any(tensor._version != version for tensor, version in versions):
            raise self._demotion(Unrecordable(f"`{frame.path}` in it writes to its input in place"))
        graph_args, graph_kwargs = frame.graph_args or ((), {})
        node = self.graph.call_module(frame.path, graph_args, graph_kwargs)
        self.owners[node.name] = len(self.frames) - 1
        frame.operation = node.name
        if in_place and not isinstance(frame.module, _DropoutNd):
            return self._write(next(tensors((args, kwargs))), node, result)
        return self._outputs(result, node)

    # --- functions ------------------------------------------------------------------------------------

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not self._recording:
            return func(*args, **kwargs)
        try:
            call = operation(func, args, kwargs)
        except Unrecordable as reason:
            raise self._demotion(reason) from None
        self._check_batch()
        result = self._shapes(_name(call.target), call.run, call.args, call.kwargs, trusted=True)
        if next(tensors(result), None) is None:
            return result
        self._check_context()
        node = self.graph.create_node(
            call.op, call.target, self._argument(call.args), self._argument(dict(call.kwargs))
        )
        self.owners[node.name] = self._open[-1]
        if call.writes is not None:
            return self._write(call.writes, node, result)
        return self._outputs(result, node)

    def _shapes(self, name: str, run: Callable[..., Any], args: Any, kwargs: Any, *, trusted: bool) -> Any:
        """Runs a leaf or function on fake tensors, at fixed batch sizes where a symbolic one does not do.

        What torch itself decides by the batch size (a convolution its algorithm, say) does not change shapes;
        only of such trusted calls are conditions overlooked.
        """
        if name in self._policy.fixed:
            return run_at_fixed_sizes(run, args, kwargs, self._batch)
        try:
            result = run(*args, **kwargs)
        except Exception:
            if self._batch.pinned:
                raise Pinned(name) from None
            with contextlib.suppress(Exception):
                return run_at_fixed_sizes(run, args, kwargs, self._batch)
            raise
        if self._batch.pinned:
            raise Pinned(name)
        if trusted:
            self._batch.overlook()
        elif self._batch.narrowed():
            return run_at_fixed_sizes(run, args, kwargs, self._batch)
        return result

    def _write(self, written: torch.Tensor, node: fx.Node, result: Any) -> torch.Tensor:
        """An in-place write: from here on `written` stands for the node of the out-of-place result."""
        if self._tensors.is_attribute(written):
            raise self._demotion(Unrecordable("it writes to a parameter or buffer in place"))
        if result.dtype != written.dtype or result.shape != written.shape:
            raise self._demotion(Unrecordable("it changes the type or shape of a tensor in place"))
        self._describe(node, written)
        self._tensors.write(written, node, self._open[-1])
        return written

    def _outputs(self, result: Any, node: fx.Node) -> Any:
        """Ties the tensors of a result to the node, or to the parts of it; returns the result."""
        if isinstance(result, torch.Tensor):
            if result in self._tensors or self._tensors.is_attribute(result):
                # a module that hands its input through: its output is a value of its own
                result = torch.ops.aten.alias.default(result)
            self._put(result, node)
            return result
        for (take, key), part in parts(result):
            if isinstance(part, torch.Tensor) and part in self._tensors:
                continue  # handed through, or in the structure twice: it has a node
            if next(tensors(part), None) is not None:
                taken = self.graph.call_function(take, (node, key))
                self.owners[taken.name] = self._open[-1]
                self._outputs_of_part(part, taken)
        return result

    def _outputs_of_part(self, part: Any, node: fx.Node) -> None:
        if isinstance(part, torch.Tensor):
            self._put(part, node)
        else:
            self._outputs(part, node)

    # --- values ---------------------------------------------------------------------------------------

    def _put(self, tensor: torch.Tensor, node: fx.Node) -> None:
        self._describe(node, tensor)
        self._tensors.put(tensor, node)

    def _describe(self, node: fx.Node, tensor: torch.Tensor) -> None:
        shape = self._batch.dims(tensor.shape)
        if shape is None:
            raise self._demotion(Unrecordable("it makes a tensor whose shape depends on values"))
        self.values[node.name] = ValueInfo(shape=shape, dtype=tensor.dtype)

    def _known(self, tensor: torch.Tensor) -> str | None:
        return self.node(tensor).name if tensor in self._tensors else None

    def _argument(self, value: Any) -> Any:
        try:
            return self._arguments.argument(value)
        except Unrecordable as reason:
            raise self._demotion(reason) from None

    # --- faults ---------------------------------------------------------------------------------------

    def _check_context(self) -> None:
        if _context() != self._context:
            raise self._demotion(Unrecordable("it changes the gradient or autocast mode"))

    def _check_batch(self) -> None:
        if condition := self._batch.narrowed():
            raise self._demotion(Unrecordable(f"it relies on the batch size: {condition}"))

    def _check_result(self, result: object) -> None:
        """A tensor that was lost inside a module must not leave it: the module around would be at fault."""
        for tensor in tensors(result):
            if self._tensors.is_lost(tensor):
                self.node(tensor)

    def _demotion(self, reason: Unrecordable) -> Demotion:
        """The demotion of the innermost open module, or of the one that also encloses `reason.since`."""
        index = self._open[-1]
        if reason.since is not None:
            around = set(self._lineage(reason.since))
            index = next(outer for outer in self._lineage(index) if outer in around)
        return Demotion(self.frames[index].path, str(reason))

    def _lineage(self, index: int) -> Iterator[int]:
        current: int | None = index
        while current is not None:
            yield current
            current = self.frames[current].parent


def _context() -> tuple[bool, bool, bool]:
    return torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled()


def _name(target: Callable[..., Any] | str) -> str:
    return target if isinstance(target, str) else getattr(target, "__qualname__", repr(target))
