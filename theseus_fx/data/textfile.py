"""One text file as data for language models: its beginning to train on, its end to judge by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from theseus_fx.data.arguments import fraction, rejected, root
from theseus_fx.data.source import Split
from theseus_fx.data.tokenizers import open_tokenizer
from theseus_fx.data.tokens import TokenSource, token_source
from theseus_fx.lang.spec import Invocation


def open_textfile(invocation: Invocation, folder: Path) -> TokenSource:
    """`textfile(root, tokenizer, length, batch, validation, test)`: one UTF-8 file.

    The tokens are cut by position: first the training part, then the `validation` share, last the `test`
    share; no window crosses a cut, so that no token is in two splits.

    Raises `Rejected`: THX601 for a file or tokenizer that is not there, THX602 for a file that is no text
    or too short, THX208 for arguments out of range.
    """
    return text_source(invocation, lambda: read_text(invocation, root(invocation, folder)))


def text_source(invocation: Invocation, read: Callable[[], str]) -> TokenSource:
    """The source of one text, cut by position at the shares `validation` and `test`.

    Args:
        invocation: has the arguments `tokenizer`, `length`, `batch`, `validation` and `test`.
        read: gives the text, once the shares are known to be right.

    Raises `Rejected` as `open_textfile` does.
    """
    validation, test = fraction(invocation, "validation"), fraction(invocation, "test")
    if validation + test >= 1:
        message = f"`validation` and `test` leave {1 - validation - test:.0%} of the text to train on"
        raise rejected("THX208", invocation, "test", message, "smaller shares")
    text = read()
    tokenizer = open_tokenizer(invocation, text)
    tokens = tokenizer.encode(text)
    first, second = (round(len(tokens) * share) for share in (1 - validation - test, 1 - test))
    splits = {
        Split.TRAIN: tokens[:first],
        Split.VALIDATION: tokens[first:second],
        Split.TEST: tokens[second:],
    }
    return token_source(invocation, tokenizer.vocabulary, splits)


def read_text(invocation: Invocation, path: Path) -> str:
    """The text of a file; `Rejected` THX601 where there is none, THX602 where it is no UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise rejected("THX601", invocation, "root", f"there is no file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise rejected("THX602", invocation, "root", f"{path} cannot be read as text: {error}") from error
