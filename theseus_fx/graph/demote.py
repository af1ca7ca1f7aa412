"""What to do when a module cannot be recorded: make it a leaf, and where that fails too, say why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import nn


class Unrecordable(Exception):  # noqa: N818 - a finding about the model, not a defect
    """Something in a run has no form in a graph; the text says why, with the module as `it`."""

    def __init__(self, reason: str, since: int | None = None) -> None:
        super().__init__(reason)
        self.since = since
        """The frame of the in-place write that is the reason, if one is."""


class Demotion(BaseException):
    """A module turned out not to be recordable; the trace starts again with it as a leaf.

    A `BaseException`, so that a model that catches `Exception` does not swallow it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Pinned(BaseException):
    """A leaf or a function of torch turned the batch into a number; the trace starts again without that."""

    def __init__(self, call: str) -> None:
        super().__init__(call)
        self.call = call


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How modules are treated in one attempt to trace."""

    leaves: frozenset[str]
    """Class names and paths that are wanted as leaves."""
    demoted: Mapping[str, str] = field(default_factory=dict[str, str])
    """Paths of modules that could not be recorded, and the reasons."""
    demoted_classes: Mapping[type[nn.Module], str] = field(default_factory=dict[type[nn.Module], str])
    """Classes of which two modules could not be recorded: the rest is taken to be alike."""
    fixed: frozenset[str] = frozenset()
    """Names of leaf classes and functions that are run at fixed batch sizes, as they pin a symbolic one."""

    def is_leaf(self, path: str, module: nn.Module) -> bool:
        """Whether a call becomes one node: of `torch.nn` and no container, named in `leaves`, or demoted."""
        if path in self.demoted or type(module) in self.demoted_classes:
            return True
        if path in self.leaves or any(cls.__name__ in self.leaves for cls in type(module).__mro__):
            return True
        return type(module).__module__.startswith("torch.nn.") and not isinstance(module, nn.Sequential)

    def reason(self, path: str, module: nn.Module) -> str | None:
        """Why the module was demoted, if it was."""
        return self.demoted.get(path) or self.demoted_classes.get(type(module))

    def demoting(self, path: str, module: nn.Module, reason: str, root: nn.Module) -> Policy:
        """The policy after one more module could not be recorded."""
        alike = [other for other in self.demoted if type(root.get_submodule(other)) is type(module)]
        if alike and type(module) is not type(root):
            return replace(self, demoted_classes={**self.demoted_classes, type(module): reason})
        return replace(self, demoted={**self.demoted, path: reason})

    def fixing(self, call: str) -> Policy:
        """The policy after one more leaf or function turned the batch into a number."""
        return replace(self, fixed=self.fixed | {call})
