"""Attempts to record a model, each with what the last one taught, until one succeeds or none can."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from theseus_fx.graph.batch import HINT, Batch
from theseus_fx.graph.demote import Demotion, Pinned, Policy
from theseus_fx.graph.record import Recorder
from theseus_fx.graph.transformers_models import one_sequence_a_row
from theseus_fx.graph.values import InputSpec
from theseus_fx.graph.weightless import fake_run, fixed_mode, weightless
from theseus_fx.lang.diagnostics import Diagnostic, Rejected, first_line

_VALUE_DEPENDENT = (DataDependentOutputException, DynamicOutputShapeException, GuardOnDataDependentSymNode)
_DOES_NOT_FIT = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)


def record(
    model: nn.Module, inputs: Sequence[InputSpec], leaves: Collection[str]
) -> tuple[Recorder, Policy, object]:
    """Runs the model on fake tensors until every module is either recorded or a leaf.

    Returns:
        The recorder after its run, the policy that made the run succeed, and what the model returned.

    Raises:
        Rejected: THX302 where the model cannot be traced, THX304 where it cannot be run on these inputs.
    """
    policy = Policy(leaves=frozenset(leaves))
    while True:
        batch = Batch()
        try:
            recorder = Recorder(weightless(model, batch.mode), policy, batch)
        except Exception as error:
            raise _rejected("THX302", f"the model cannot be copied: {first_line(error)}") from error
        try:
            with fake_run(batch.mode), one_sequence_a_row(inputs):
                args, kwargs = arguments(model, [(spec.name, recorder.place(spec)) for spec in inputs])
                return recorder, policy, recorder.run(args, kwargs)
        except Demotion as demotion:
            policy = _demoted(policy, model, demotion.path, demotion.reason)
        except Pinned as pinned:
            policy = policy.fixing(pinned.call)
        except Exception as error:
            path, leaf = _blamed(recorder, error)
            if (concrete := _failure_at_fixed_size(model, inputs)) is not None:
                raise _from_model(model, inputs, path, concrete) from error
            reason = f"it cannot be run with a symbolic batch: {first_line(error)}"
            if leaf:
                raise _rejected("THX302", f"the model cannot be traced: `{path}`: {reason}") from error
            policy = _demoted(policy, model, path, reason)


def arguments(model: nn.Module, named: Sequence[tuple[str, Any]]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Inputs as arguments: by keyword where `forward` has a parameter of the name, else in order."""
    parameters = inspect.signature(model.forward).parameters.values()
    keywords = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    by_position = tuple(value for name, value in named if name not in keywords)
    return by_position, {name: value for name, value in named if name in keywords}


def _demoted(policy: Policy, model: nn.Module, path: str, reason: str) -> Policy:
    if path == "":
        raise _rejected(
            "THX302",
            f"the model cannot be traced: {reason}",
            "move that code into a module of its own, which then becomes one leaf of the graph",
        )
    if path in policy.demoted:
        raise AssertionError(f"`{path}` was demoted twice: {policy.demoted[path]}; {reason}")
    return policy.demoting(path, model.get_submodule(path), reason, model)


def _blamed(recorder: Recorder, error: Exception) -> tuple[str, bool]:
    """The path of the innermost module that an exception left, and whether it is a leaf."""
    if recorder.blame is None or recorder.blame[0] is not error:
        return "", False
    frame = recorder.blame[1]
    return frame.path, frame.leaf


def _failure_at_fixed_size(model: nn.Module, inputs: Sequence[InputSpec]) -> Exception | None:
    """What the model raises on fake tensors of a fixed batch size, if anything."""
    mode = fixed_mode()
    copied = weightless(model, mode).module
    try:
        with fake_run(mode):
            named = [(spec.name, torch.empty(spec.sizes(HINT), dtype=spec.dtype)) for spec in inputs]
            args, kwargs = arguments(model, named)
            copied(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - it is the model's, and becomes a diagnostic
        return error
    return None


def _from_model(model: nn.Module, inputs: Sequence[InputSpec], path: str, error: Exception) -> Rejected:
    kind = type(model.get_submodule(path)).__name__
    where = f"`{path}` ({kind})" if path else kind
    declared = f"declared input: {'; '.join(str(spec) for spec in inputs)}"
    if isinstance(error, _VALUE_DEPENDENT):
        return _rejected(
            "THX302", f"the model cannot be traced: {where} decides by the values of a tensor", declared
        )
    if isinstance(error, _DOES_NOT_FIT) and not isinstance(error, NotImplementedError):
        return _rejected(
            "THX304",
            f"the model cannot be run on the declared input: {where}: {first_line(error)}",
            declared,
        )
    return _rejected(
        "THX302",
        f"the model cannot be traced: {where}: {type(error).__name__}: {first_line(error)}",
        declared,
    )


def _rejected(code: str, message: str, *help_lines: str) -> Rejected:
    return Rejected(Diagnostic(code=code, message=message, help=help_lines))
