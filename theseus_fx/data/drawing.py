"""Random numbers from a generator of one's own, where a library draws them from the global one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_DRAWING = frozenset(
    {
        *(torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.bernoulli),
        torch.multinomial,
        torch._sample_dirichlet,  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
        *(torch.Tensor.uniform_, torch.Tensor.normal_, torch.Tensor.random_, torch.Tensor.bernoulli_),
        *(torch.Tensor.exponential_, torch.Tensor.log_normal_, torch.Tensor.multinomial),
    }
)
"""Functions with a `generator`."""
_ALIKE: Mapping[Callable[..., Any], Callable[..., Any]] = {
    torch.rand_like: torch.rand,
    torch.randn_like: torch.randn,
}
"""Functions that have none in every version, and those that draw the same for a shape."""


class Drawing(TorchFunctionMode):
    """While it holds, what this thread draws with torch comes from one generator.

    torchvision's transforms take no generator, and PyTorch's global one belongs to the training loop, which
    may run in another thread at the same time. Modes are a thread's own, so nothing else is touched.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls the function, with the generator where it draws."""
        del types
        given = dict(kwargs or {})
        if func in _ALIKE:
            like = args[0]
            given = {"dtype": like.dtype, "device": like.device, **given}
            return _ALIKE[func](like.shape, generator=self._generator, **given)
        if func in _DRAWING and given.get("generator") is None:
            given["generator"] = self._generator
        return func(*args, **given)
