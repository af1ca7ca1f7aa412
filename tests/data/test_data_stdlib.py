"""The documentation of the standard library as a text: complete, read without running anything, cached."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from data_calls import call

from theseus_fx.data import stdlib
from theseus_fx.data.documentation import (
    TOPICS,
    NoDocumentationError,
    documentation,
    sources,
    written,
)
from theseus_fx.data.registry import declared_classes, declared_inputs, declared_task, open_source
from theseus_fx.data.source import Split
from theseus_fx.data.tokens import TokenSource
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.spec import Value

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    "json/__init__.py": '"""Encode and decode."""\ndef dumps():\n    """Serialise.\n\n    Twice.\n    """\n',
    "json/decoder.py": 'class Decoder:\n    """Decodes."""\n'
    '    async def read(self):\n        "Encode and decode."\n',
    "json/tests/test_it.py": '"""A test."""\n',
    "os.py": '"""Open things."""\nraise SystemExit("this is never run")\n',
    "tkinter/__init__.py": '"""Windows."""\n',
    "mine.py": '"""Not of the library."""\n',
    TOPICS: "topics = {'if': 'The if statement\\n'}\n",
}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for name, text in MODULES.items():
        path = tmp_path / "library" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "library"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THESEUS_FX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def opened(**more: Value) -> TokenSource:
    source = open_source(call("stdlib", **more), folder=Path())
    assert isinstance(source, TokenSource)
    return source


def rejection(**more: Value) -> Diagnostic:
    with pytest.raises(Rejected) as caught:
        opened(**more)
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


def documents(library: Path) -> list[str]:
    return [text.strip() for text in written(library, sources(library)).split("\n\n\n")]


def test_every_docstring_is_told_once_under_its_name(library: Path) -> None:
    assert sorted(documents(library)) == [
        "if\n\nThe if statement",
        "json\n\nEncode and decode.\n\njson.dumps\n\nSerialise.\n\nTwice.",
        "json.decoder.Decoder\n\nDecodes.",
        "os\n\nOpen things.",
    ]


def test_a_new_document_changes_no_others_order(library: Path) -> None:
    before = documents(library)
    (library / "ast.py").write_text('"""Trees."""\n')
    after = documents(library)
    assert [text for text in after if text != "ast\n\nTrees."] == before
    assert len(after) == len(before) + 1
    assert before != sorted(before)


def test_the_text_is_cached_until_a_source_changes(
    library: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = documentation(library, cache)
    (kept,) = (cache / "texts").iterdir()
    monkeypatch.setattr("theseus_fx.data.documentation.written", lambda *_: "made anew")
    assert documentation(library, cache) == first
    kept.write_bytes(kept.read_bytes()[:-1])  # damaged
    assert documentation(library, cache) == "made anew"
    assert documentation(library, cache) == "made anew"
    (library / "os.py").write_text('"""Open other things."""\n')
    monkeypatch.undo()
    assert "Open other things." in documentation(library, cache)
    assert len(list((cache / "texts").iterdir())) == 2


def test_a_cache_that_cannot_be_written_is_told(library: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(RuntimeWarning, match="was not cached"):
        text = documentation(library, tmp_path / "file")
    assert "Open things." in text


def test_sources_that_are_not_there_or_damaged(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stdlib, "library_folder", lambda: tmp_path / "nowhere")
    missing = rejection()
    assert (missing.code, "sources are not in" in missing.message) == ("THX601", True)
    (library / "os.py").write_text("not Python (")
    monkeypatch.setattr(stdlib, "library_folder", lambda: library)
    damaged = rejection()
    assert (damaged.code, "os.py cannot be read" in damaged.message) == ("THX602", True)
    with pytest.raises(NoDocumentationError):
        sources(tmp_path / "nowhere")


def test_what_is_declared_needs_no_text() -> None:
    asked = call("stdlib", length=64)
    assert declared_inputs(asked)[0].shape == ("batch", 64)
    assert (declared_classes(asked), declared_task(asked)) == (256, "language_modelling")
    assert declared_classes(call("stdlib", tokenizer="characters")) is None


def test_the_librarys_own_text(cache: Path) -> None:
    source = opened()
    total = sum(len(tokens) for tokens in source.splits.values())
    assert 1_000_000 < total < 5_000_000
    assert len(source.splits[Split.TEST]) == pytest.approx(0.05 * total, abs=1)
    text = bytes(source.splits[Split.TRAIN].tolist()).decode(errors="replace")
    assert "\n\njson.dumps\n\nSerialize ``obj`` to a JSON formatted ``str``." in text
    small = opened(at_most=20_000, tokenizer="characters", batch=8)
    assert sum(len(tokens) for tokens in small.splits.values()) == 20_000
    assert small.fingerprint() == opened(at_most=20_000, tokenizer="characters").fingerprint()
    assert rejection(at_most=1_000).code == "THX602"
    assert rejection(validation=0.7, test=0.4).code == "THX208"


def test_nothing_is_imported_to_read_it(cache: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from theseus_fx.data.documentation import library_folder, sources, written\n"
        "before = set(sys.modules)\nfiles = sources(library_folder())[:40]\n"
        "written(library_folder(), files)\nprint(len(files), set(sys.modules) - before)"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout == "40 set()\n"
