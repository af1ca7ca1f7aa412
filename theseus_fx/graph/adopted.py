"""Replacements that are called and return as the modules did whose places they take."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

from torch import fx, nn

from theseus_fx.graph.convention import Convention


class Adopted(nn.Module):
    """What the class of a replacement gets in front of it; made by `adopted`.

    Such a class exists only in memory. Its instances are pickled as one of the replacement's own class with
    a convention, so that `copy.deepcopy` and `torch.save` work.
    """

    call_convention: Convention | None = None
    """None in what methods of the class make of it (a slice of an `nn.Sequential`): called as it is."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Called like the module that was replaced; returns like it."""
        convention = self.call_convention
        if convention is None:
            return super().forward(*args, **kwargs)
        output = super().forward(*convention.taken(args, kwargs))
        return convention.returned(output, args, kwargs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        base = type(self).__mro__[2]
        return _empty, (base,), vars(self).copy()


def adopted(replacement: nn.Module, convention: Convention) -> nn.Module:
    """The replacement with another call convention: a twin of it with the same parameters and children.

    It is an instance of the replacement's class, and no name in its `state_dict` changes.

    Raises:
        TypeError: the replacement is an `fx.GraphModule`, which compiles a `forward` of its own.
    """
    if isinstance(replacement, fx.GraphModule):
        raise TypeError("a GraphModule cannot take another call convention; put it into a module")
    twin = _empty(type(replacement))
    state = vars(replacement).copy()
    for registry in ("_parameters", "_buffers", "_modules"):
        state[registry] = copy.copy(state[registry])
    twin.__setstate__(state)
    vars(twin)["call_convention"] = convention
    return twin


@cache
def _class(base: type[nn.Module]) -> type[nn.Module]:
    if issubclass(base, Adopted):
        return base
    return type(base.__name__, (Adopted, base), {"__module__": __name__, "__doc__": base.__doc__})


def _empty(base: type[nn.Module]) -> nn.Module:
    kind = _class(base)
    return kind.__new__(kind)
