"""The page of every diagnostic code: its example is run, and says what the page says it does."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_runner import answer, example, fits, mended, read

from theseus_fx.lang.codes import CODES
from theseus_fx.lang.manual import PAGES, page

MENDED_IN_WORDS = {
    "THX002": "the file is saved anew",
    "THX003": "another command",
    "THX210": "another command",
    "THX308": "another command",
    "THX505": "another command",
    "THX506": "another file",
    "THX601": "the folder has to come from somewhere",
    "THX602": "the images have to come from somewhere",
    "THX701": "another command",
    "THX702": "another folder or disk",
    "THX703": "another command",
    "THX704": "the data as they were",
    "THX705": "a file is removed",
    "THX706": "another command",
    "THX803": "another network or device",
}
"""Pages without a `diff` to apply, and what mends their example."""


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == set(CODES)


def test_every_page_has_an_example_and_an_edit_or_says_why_not() -> None:
    assert all(example(page(code)).answers for code in CODES)
    assert {code for code in CODES if not example(page(code)).edits} == set(MENDED_IN_WORDS)


@pytest.mark.parametrize("code", CODES)
def test_the_example_says_what_the_page_shows(code: str, tmp_path: Path) -> None:
    if code == "THX706" and _cuda():
        pytest.skip("there is a CUDA device")
    shown = example(read(code))
    said = answer(shown.files, [a.command for a in shown.answers], tmp_path)
    for expected, got in zip(shown.answers, said, strict=True):
        assert fits(expected.output, got.output), f"{got.output}\n--- instead of ---\n{expected.output}"
    assert code in said[-1].output
    assert [a.code for a in said[:-1]] == [0] * (len(said) - 1)
    warns = code == "THX507"
    assert said[-1].code == (0 if warns else 1)


@pytest.mark.parametrize("code", [code for code in CODES if code not in MENDED_IN_WORDS])
def test_the_edit_mends_the_example(code: str, tmp_path: Path) -> None:
    shown = example(read(code))
    said = answer(mended(shown.files, shown.edits), [a.command for a in shown.answers], tmp_path)
    assert said[-1].code == 0, said[-1].output
    assert code not in said[-1].output


@pytest.mark.parametrize(
    ("expected", "said", "fitting"),
    [
        ("a\nb", "a\nb", True),
        ("a [...] c", "a b c", True),
        ("a [...]", "a b\nc", False),
        ("[...]\nc", "a\nb\nc", True),
        ("a\n[...]", "a", True),
        ("a.c", "abc", False),
        ("", "a", False),
    ],
)
def test_an_output_fits_what_is_expected(expected: str, said: str, fitting: bool) -> None:
    assert fits(expected, said) is fitting


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()
