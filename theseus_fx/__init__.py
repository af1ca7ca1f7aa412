"""theseus-fx: turn one network into another architecture, part by part.

`plan`, `convert`, `resume` and `load` are the Python interface; importing this package imports no torch
until one of them is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from theseus_fx.version import __version__

if TYPE_CHECKING:
    from theseus_fx.api import Conversion, Plan, convert, load, plan, resume

__all__ = ["Conversion", "Plan", "__version__", "convert", "load", "plan", "resume"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from theseus_fx import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
