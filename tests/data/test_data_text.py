"""Text as data: tokens, windows without leakage, tokenizers, WikiText from a folder or through a package."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from data_calls import call
from hypothesis import given, settings
from hypothesis import strategies as st

from theseus_fx.data.registry import (
    declared_batch,
    declared_classes,
    declared_inputs,
    declared_task,
    open_source,
)
from theseus_fx.data.source import Split
from theseus_fx.data.tokens import TokenSource, windows
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.spec import Environment, Invocation, Value

TEXT = "".join(chr(97 + i % 26) for i in range(1000))


def textfile(**changed: Value) -> Invocation:
    written: dict[str, Value] = {"root": "text.txt", "tokenizer": "bytes", "length": 7, "batch": 4}
    return call("textfile", **{**written, "validation": 0.1, "test": 0.2, **changed})


def wikitext(**changed: Value) -> Invocation:
    written: dict[str, Value] = {
        "version": "wikitext-2-raw-v1",
        "tokenizer": "bytes",
        "length": 4,
        "batch": 2,
    }
    return call("wikitext", **{**written, "root": None, **changed})


def opened(invocation: Invocation, folder: Path) -> TokenSource:
    source = open_source(invocation, folder=folder)
    assert isinstance(source, TokenSource)
    return source


def rejection(invocation: Invocation, folder: Path) -> Diagnostic:
    with pytest.raises(Rejected) as caught:
        open_source(invocation, folder=folder)
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def test_what_is_declared_needs_no_file_and_no_tokenizer() -> None:
    for source in (
        textfile(tokenizer="openai-community/gpt2", root=Environment("NOT_SET")),
        wikitext(tokenizer="openai-community/gpt2", length=7, batch=4),
    ):
        (tokens,) = declared_inputs(source)
        assert (tokens.shape, tokens.dtype) == (("batch", 7), torch.int64)
        assert declared_batch(source) == 4
        assert declared_classes(source) is None
        assert declared_task(source) == "language_modelling"
    assert declared_classes(textfile()) == 256
    assert declared_task(call("digits")) == "classification"


def test_labels_are_the_next_tokens(folder: Path) -> None:
    source = opened(textfile(), folder)
    batch = source.train_batch(0, seed=1)
    (tokens,) = batch.inputs
    assert tokens.shape == batch.labels.shape == (4, 7)
    assert tokens.dtype == batch.labels.dtype == torch.int64
    assert torch.equal(tokens[:, 1:], batch.labels[:, :-1])
    following = (tokens - 97 + 1) % 26 + 97
    assert torch.equal(batch.labels, following)


def test_splits_are_cut_by_position(folder: Path) -> None:
    source = opened(textfile(), folder)
    texts = {split: bytes(tokens.tolist()).decode() for split, tokens in source.splits.items()}
    assert texts == {
        Split.TRAIN: TEXT[:700],
        Split.VALIDATION: TEXT[700:800],
        Split.TEST: TEXT[800:],
    }
    assert source.sizes == {Split.TRAIN: 99, Split.VALIDATION: 14, Split.TEST: 28}
    assert source.steps_per_epoch == 24


@given(
    count=st.integers(30, 400), length=st.integers(1, 9), batch=st.integers(1, 5), seed=st.integers(0, 2**62)
)
@settings(max_examples=40, deadline=None)
def test_every_token_is_told_once_and_only_from_its_own_split(
    count: int, length: int, batch: int, seed: int
) -> None:
    cut = count // 2
    tokens = torch.arange(count)  # every token is its own position
    source = TokenSource(
        name="own",
        batch_size=batch,
        classes=count,
        length=length,
        splits={Split.TRAIN: tokens[:cut], Split.VALIDATION: tokens[cut:], Split.TEST: tokens[cut:]},
    )
    for split, first, last in ((Split.TRAIN, 0, cut), (Split.TEST, cut, count)):
        labels = torch.cat([b.labels.flatten() for b in source.batches(split)])
        whole = windows(last - first, length)
        assert torch.equal(labels, torch.arange(first + 1, first + 1 + whole * length))
        assert last - (first + 1 + whole * length) < length
    if source.steps_per_epoch:
        epoch = [source.train_batch(step, seed=seed).labels for step in range(source.steps_per_epoch)]
        seen = torch.cat(epoch).flatten()
        assert len(seen.unique()) == len(seen) == source.steps_per_epoch * batch * length
        assert int(seen.max()) < cut
    given_out = list(source.unlabelled(3, seed=seed))
    assert sum(len(inputs[0]) for inputs in given_out) == min(3, source.sizes[Split.TRAIN])


def test_the_order_depends_on_the_seed_and_the_step_alone(folder: Path) -> None:
    first, second = opened(textfile(), folder), opened(textfile(), folder)
    first.train_batch(40, seed=5)
    a, b = first.train_batch(30, seed=5), second.train_batch(30, seed=5)
    assert torch.equal(a.inputs[0], b.inputs[0])
    assert not torch.equal(a.inputs[0], second.train_batch(30, seed=6).inputs[0])


def test_a_fingerprint_covers_text_tokenizer_and_length(folder: Path) -> None:
    before = opened(textfile(), folder).fingerprint()
    assert before == opened(textfile(), folder).fingerprint()
    assert before != opened(textfile(length=8), folder).fingerprint()
    assert before != opened(textfile(tokenizer="characters"), folder).fingerprint()
    (folder / "text.txt").write_text(TEXT[:-1] + "!")
    assert before != opened(textfile(), folder).fingerprint()


def test_bytes_and_characters_of_a_text_in_another_script(folder: Path) -> None:
    (folder / "text.txt").write_text("žluťoučký kůň " * 60, encoding="utf-8")
    by_byte = opened(textfile(), folder)
    by_character = opened(textfile(tokenizer="characters"), folder)
    assert (by_byte.classes, by_character.classes) == (256, len(set("žluťoučký kůň ")))
    known = sorted(set("žluťoučký kůň "))
    text = "".join(known[i] for i in by_character.splits[Split.TRAIN].tolist())
    assert ("žluťoučký kůň " * 60).startswith(text)


def test_a_tokenizer_from_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    class Halves:
        def __len__(self) -> int:
            return 13

        def encode(self, text: str, **_: object) -> list[int]:
            return [(ord(c) - 97) // 2 for c in text]

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda name: Halves())
    source = opened(textfile(tokenizer="someone/halves"), folder)
    assert source.classes == 13
    assert source.splits[Split.TRAIN][:4].tolist() == [0, 0, 1, 1]


def test_a_tokenizer_that_cannot_be_had(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    def offline(name: str) -> None:
        raise OSError("We couldn't connect\nand more")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", offline)
    diagnostic = rejection(textfile(tokenizer="someone/halves"), folder)
    assert diagnostic.code == "THX601"
    assert diagnostic.message.endswith("We couldn't connect")
    assert diagnostic.primary is not None
    assert diagnostic.primary.span.text == "someone/halves"


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({"root": "none.txt"}, "THX601", "there is no file"),
        ({"root": "."}, "THX602", "cannot be read as text"),
        ({"length": 150}, "THX602", "the validation part has 100 tokens"),
        ({"batch": 100}, "THX208", "a batch of 100 needs as many"),
        ({"validation": 0.5, "test": 0.5}, "THX208", "leave 0% of the text"),
    ],
)
def test_what_is_wrong_with_a_file(folder: Path, changed: dict[str, Any], code: str, words: str) -> None:
    diagnostic = rejection(textfile(**changed), folder)
    assert diagnostic.code == code
    assert words in diagnostic.message


def test_a_file_that_is_no_text(folder: Path) -> None:
    (folder / "text.txt").write_bytes(b"\xff\xfe\x00")
    assert rejection(textfile(), folder).code == "THX602"


def test_wikitext_from_a_folder(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        (tmp_path / f"wiki.{part}.raw").write_text(f"{part} " * 20)
    source = opened(wikitext(root="."), tmp_path)
    assert bytes(source.splits[Split.VALIDATION][:6].tolist()) == b"valid "
    assert source.sizes[Split.TEST] == windows(100, 4)
    (tmp_path / "wiki.test.raw").unlink()
    assert rejection(wikitext(root="."), tmp_path).code == "THX601"
    assert "wiki.train.tokens" in rejection(wikitext(root=".", version="wikitext-2-v1"), tmp_path).message


def test_wikitext_through_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, str]] = []

    def load(path: str, version: str, *, split: str) -> dict[str, list[str]]:
        asked.append((path, version, split))
        return {"text": ["", " = Title = \n", "some words of it\n"]}

    module = ModuleType("datasets")
    module.__spec__ = ModuleSpec("datasets", None)
    vars(module)["load_dataset"] = load
    monkeypatch.setitem(sys.modules, "datasets", module)
    source = opened(wikitext(), tmp_path)
    assert bytes(source.splits[Split.TRAIN].tolist()) == b" = Title = \nsome words of it\n"
    assert asked == [
        ("Salesforce/wikitext", "wikitext-2-raw-v1", split) for split in ("train", "validation", "test")
    ]


def test_wikitext_that_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("theseus_fx.data.wikitext.find_spec", lambda name: None)
    diagnostic = rejection(wikitext(), tmp_path)
    assert diagnostic.code == "THX601"
    assert "`pip install datasets`" in diagnostic.help[0]
    unknown = rejection(wikitext(version="wikitext-3-raw-v1"), tmp_path)
    assert unknown.code == "THX208"
    assert "wikitext-2-raw-v1" in unknown.help[0]
