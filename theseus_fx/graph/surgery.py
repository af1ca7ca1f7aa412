"""Surgery: an ordinary model of the same class with modules at some paths replaced."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import nn

from theseus_fx.graph.adopted import adopted
from theseus_fx.graph.convention import Convention


def convert(
    model: nn.Module,
    replacements: Mapping[str, nn.Module],
    *,
    conventions: Mapping[str, Convention] | None = None,
    share: bool = False,
) -> nn.Module:
    """A model of the same class with other modules at the given paths; the model itself is not changed.

    All other names of the `state_dict` stay. The replacements go in as they are, not as copies; those with a
    call convention as twins of another class that hold the same parameters and children.

    Args:
        model: the model to convert.
        replacements: by dotted path.
        conventions: how the model calls some of them, by path; all others take the arguments that the module
            at the path takes, and return what it returns.
        share: False copies all the rest; a module that is registered at several paths is then replaced at
            all of them. True copies only the containers on the way to the replacements, and shares every
            other module and all parameters with `model`.

    Raises:
        ValueError: a path names no module, names the model itself, or lies inside another of the paths.
    """
    _check(model, replacements)
    replacements = {
        path: adopted(new, conventions[path]) if conventions and path in conventions else new
        for path, new in replacements.items()
    }
    if share:
        converted = _shallow(model)
        for path, replacement in replacements.items():
            _place(converted, path, replacement, {id(module) for module in model.modules()})
        return converted
    memo: dict[int, object] = {id(model.get_submodule(path)): new for path, new in replacements.items()}
    return copy.deepcopy(model, memo)


def _check(model: nn.Module, replacements: Mapping[str, nn.Module]) -> None:
    known = {path for path, _ in model.named_modules(remove_duplicate=False)}
    for path in replacements:
        if path == "" or path not in known:
            raise ValueError(f"the model has no module at `{path}` that could be replaced")
        inside = [other for other in replacements if path.startswith(f"{other}.")]
        if inside:
            raise ValueError(f"`{path}` lies inside `{inside[0]}`, which is replaced too")


def _place(converted: nn.Module, path: str, replacement: nn.Module, original: set[int]) -> None:
    """Puts a module at a path, with copies of the containers on the way that are still the original's."""
    *way, name = path.split(".")
    owner = converted
    for step in way:
        child = owner.get_submodule(step)
        if id(child) in original:
            child = _shallow(child)
            setattr(owner, step, child)
        owner = child
    setattr(owner, name, replacement)


def _shallow(module: nn.Module) -> nn.Module:
    """A copy that holds the same parameters and children in dicts of its own."""
    shallow = copy.copy(module)
    for registry in ("_parameters", "_buffers", "_modules"):
        vars(shallow)[registry] = vars(module)[registry].copy()
    return shallow
