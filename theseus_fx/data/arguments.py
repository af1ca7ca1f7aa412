"""Reading the arguments of a checked data source, and saying what is wrong with what they name."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import Environment, Invocation


def integer(invocation: Invocation, name: str) -> int:
    """An argument that the checker has found to be an integer; TypeError if it has not."""
    value = invocation.keywords[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"`{name}` of `{invocation.name}` is no integer: {value!r}")
    return value


def positive(invocation: Invocation, name: str, *, least: int = 1) -> int:
    """An integer argument of at least `least`; `Rejected` THX208 below."""
    value = integer(invocation, name)
    if value < least:
        message = f"`{name}` of `{invocation.name}` is at least {least}, not {value}"
        raise rejected("THX208", invocation, name, message)
    return value


def fraction(invocation: Invocation, name: str) -> float:
    """A numeric argument strictly between 0 and 1; `Rejected` THX208 otherwise."""
    value = invocation.keywords[name]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"`{name}` of `{invocation.name}` is no number: {value!r}")
    if not 0 < value < 1:
        message = f"`{name}` of `{invocation.name}` is a share between 0 and 1, not {value}"
        raise rejected("THX208", invocation, name, message, "0.05 holds out 5 % of the training samples")
    return float(value)


def optional_positive(invocation: Invocation, name: str) -> int | None:
    """An integer argument of at least 1, or None where it is none; `Rejected` THX208 below."""
    return None if invocation.keywords[name] is None else positive(invocation, name)


def text(invocation: Invocation, name: str) -> str:
    """A text that the checker has found to be one; TypeError if it has not."""
    value = invocation.keywords[name]
    if not isinstance(value, str):
        raise TypeError(f"`{name}` of `{invocation.name}` is no text: {value!r}")
    return value


def channel_values(invocation: Invocation, name: str, channels: int) -> Tensor | None:
    """A number for each channel, (channels,) float32; one number is meant for all. None where it is none.

    Raises `Rejected` THX208 for another count.
    """
    value = invocation.keywords[name]
    if value is None:
        return None
    numbers = value if isinstance(value, tuple) else (value,)
    if len(numbers) not in (1, channels):
        message = f"`{name}` of `{invocation.name}` is {len(numbers)} numbers for {channels} channels"
        raise rejected("THX208", invocation, name, message, "one number, or one for each channel")
    return torch.tensor(numbers, dtype=torch.float32).expand(channels).clone()


def flag(invocation: Invocation, name: str) -> bool:
    """A truth value that the checker has found to be one; TypeError if it has not."""
    value = invocation.keywords[name]
    if not isinstance(value, bool):
        raise TypeError(f"`{name}` of `{invocation.name}` is neither true nor false: {value!r}")
    return value


def root(invocation: Invocation, folder: Path) -> Path:
    """The argument `root`: a file or folder, relative to `folder`, or an environment variable that holds one.

    What a variable holds is relative to the working directory, as in a shell.
    Raises `Rejected` THX601 for a variable that is not set.
    """
    value = invocation.keywords["root"]
    match value:
        case Environment(variable=variable):
            held = os.environ.get(variable)
            if not held:
                raise rejected(
                    "THX601",
                    invocation,
                    "root",
                    f"the environment variable `{variable}` is not set",
                    f"export {variable}=/path/to/the/data",
                )
            return Path(held).expanduser().absolute()
        case str():
            return (folder / Path(value).expanduser()).absolute()
        case _:
            raise TypeError(f"`root` of `{invocation.name}` is no path: {value!r}")


def rejected(code: str, invocation: Invocation, name: str | None, message: str, *helps: str) -> Rejected:
    """A diagnostic at the value of argument `name`, or at the whole source where it was not written."""
    span = place(invocation, name)
    return Rejected(Diagnostic(code=code, message=message, primary=Label(span), help=helps))


def place(invocation: Invocation, name: str | None) -> Span:
    """The span of the value of argument `name`, or of the whole source where it was not written."""
    return invocation.span if name is None else invocation.spans.get(name, invocation.span)


def check_batch(invocation: Invocation, training: int) -> int:
    """The argument `batch`, which must not be larger than the training split; `Rejected` THX208."""
    batch = positive(invocation, "batch")
    if batch > training:
        message = f"a batch of {batch} needs as many training samples, and there are {training}"
        raise rejected("THX208", invocation, "batch", message, "a smaller `batch`")
    return batch
