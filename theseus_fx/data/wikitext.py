"""WikiText (Merity et al. 2016): from a local copy, else through the package `datasets`."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from theseus_fx.data.arguments import rejected, root
from theseus_fx.data.source import Split
from theseus_fx.data.textfile import read_text
from theseus_fx.data.tokenizers import open_tokenizer
from theseus_fx.data.tokens import TokenSource, token_source
from theseus_fx.lang.diagnostics import did_you_mean
from theseus_fx.lang.spec import Invocation

VERSIONS = ("wikitext-103-raw-v1", "wikitext-103-v1", "wikitext-2-raw-v1", "wikitext-2-v1")
_HUB = "Salesforce/wikitext"
_PARTS = {Split.TRAIN: "train", Split.VALIDATION: "valid", Split.TEST: "test"}


def open_wikitext(invocation: Invocation, folder: Path) -> TokenSource:
    """`wikitext(version, tokenizer, length, batch, root)`: its own training, validation and test parts.

    With `root`, a folder that holds `wiki.train.raw`, `wiki.valid.raw` and `wiki.test.raw` (`.tokens` for
    the versions that are not raw). Without, the package `datasets` reads it from the hub or its cache.

    Raises `Rejected`: THX208 for an unknown version, THX601 for files, a package or a tokenizer that are
    not there, THX602 for files that are no text.
    """
    version = str(invocation.keywords["version"])
    if version not in VERSIONS:
        message = f"WikiText has no version `{version}`"
        raise rejected("THX208", invocation, "version", message, *did_you_mean(version, VERSIONS))
    if invocation.keywords["root"] is not None:
        texts = _from_folder(invocation, root(invocation, folder), version)
    else:
        texts = _from_datasets(invocation, version)
    tokenizer = open_tokenizer(invocation, "".join(texts.values()))
    splits = {split: tokenizer.encode(text) for split, text in texts.items()}
    return token_source(invocation, tokenizer.vocabulary, splits)


def _from_folder(invocation: Invocation, above: Path, version: str) -> dict[Split, str]:
    ending = "raw" if "raw" in version else "tokens"
    return {split: read_text(invocation, above / f"wiki.{part}.{ending}") for split, part in _PARTS.items()}


def _from_datasets(invocation: Invocation, version: str) -> dict[Split, str]:
    if find_spec("datasets") is None:
        raise rejected(
            "THX601",
            invocation,
            None,
            "WikiText is not here: there is no `root`, and the package `datasets` is not installed",
            "`pip install datasets` reads it from the hub",
            'or name a folder with wiki.train.raw, wiki.valid.raw and wiki.test.raw: `root = "path"`',
        )
    datasets: Any = importlib.import_module("datasets")
    names = {Split.TRAIN: "train", Split.VALIDATION: "validation", Split.TEST: "test"}
    try:
        loaded = {
            split: datasets.load_dataset(_HUB, version, split=name)["text"] for split, name in names.items()
        }
    except (OSError, ValueError, RuntimeError) as error:  # unreachable, or a damaged cache
        first = str(error).strip().partition("\n")[0]
        message = f"`{version}` is neither cached nor can be had from the hub: {first}"
        raise rejected("THX601", invocation, None, message) from error
    return {split: "".join(lines) for split, lines in loaded.items()}
