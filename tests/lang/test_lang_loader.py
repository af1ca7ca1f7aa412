"""Files: reading them, and the files that they use."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from lang_texts import SPECS, TINY, bare, changed, in_bounds, rejected

from theseus_fx.lang import loader
from theseus_fx.lang.diagnostics import Diagnostic, Rejected

MINE = "theseus 1\nmodule Mine(part, rank) = flatten(start_dim = 1) |> Linear(part.out.features)\n"


def of_load(path: Path | str) -> tuple[Diagnostic, ...]:
    with pytest.raises(Rejected) as caught:
        loader.load(path)
    return caught.value.diagnostics


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.thx")), ids=lambda path: path.name)
def test_shipped_specs_load(path: Path) -> None:
    spec = loader.load(path)
    assert spec.source.path == path.resolve()
    assert spec.source.name == str(path)
    written = re.findall(r'^use "(.+)"', spec.source.text, flags=re.MULTILINE)
    assert [used.path for used in spec.uses] == [SPECS / name for name in written]


def test_a_used_file_is_looked_for_beside_the_spec_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "std").mkdir()
    (tmp_path / "std" / "low_rank.thx").write_text(MINE.replace("Mine", "LowRankLinear"))
    (tmp_path / "a.thx").write_text(TINY)
    spec = loader.load(tmp_path / "a.thx")
    assert spec.uses[0].path == tmp_path / "std" / "low_rank.thx"
    monkeypatch.chdir(tmp_path)
    assert loader.load("a.thx").uses[0].name == "std/low_rank.thx"
    assert loader.loads(TINY, folder=tmp_path).uses[0].path == tmp_path / "std" / "low_rank.thx"
    assert loader.loads(TINY).uses[0].path == SPECS / "std" / "low_rank.thx"


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.thx").write_bytes(b"\xef\xbb\xbf" + TINY.encode())
    assert loader.load(tmp_path / "a.thx").params == {"rank": 4}


@pytest.mark.parametrize(
    ("wanted", "helped"),
    [
        ("std/lowrank.thx", "`std/low_rank.thx`"),
        ("low_rank.thx", "`std/low_rank.thx`"),
        ("mime.thx", "`mine.thx`"),
        ("nothing/like/it.xyz", ""),
        ("", ""),
        (".", ""),
        ("x" * 3000, ""),
        ("a\\\\0b", ""),
    ],
)
def test_a_used_file_that_is_missing(tmp_path: Path, wanted: str, helped: str) -> None:
    (tmp_path / "mine.thx").write_text(MINE)
    found = rejected(changed("std/low_rank.thx", wanted), folder=tmp_path)
    assert [d.code for d in found] == ["THX001"]
    assert in_bounds(found)
    assert found[0].primary is not None
    assert found[0].primary.span.text == f'"{wanted}"'
    assert helped in "; ".join(found[0].help)


def test_mistakes_in_a_used_file_have_their_place_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.thx").write_text("theseus 1\nmodule Mine(part) = Linear(prt)\nmodul B(x) = relu\n")
    (tmp_path / "a.thx").write_text(changed("std/low_rank.thx", "mine.thx"))
    (syntax_first,) = of_load("a.thx")
    assert syntax_first.primary is not None
    assert (syntax_first.code, str(syntax_first.primary.span)) == ("THX102", "mine.thx:3:1")
    (tmp_path / "mine.thx").write_text("theseus 1\nmodule Mine(part) = Linear(prt)\n")
    (found,) = of_load("a.thx")
    assert found.primary is not None
    assert (found.code, str(found.primary.span)) == ("THX201", "mine.thx:2:28")
    assert found.help == ("did you mean `part`?",)


def test_a_used_file_defines_modules_only_and_uses_none(tmp_path: Path) -> None:
    (tmp_path / "mine.thx").write_text(f'{MINE}use "mine.thx"\nparam x = 3\ndata = digits\n')
    found = rejected(changed("std/low_rank.thx", "mine.thx"), folder=tmp_path)
    assert [(d.code, d.primary.span.position[0]) for d in found if d.primary] == [
        ("THX212", 3), ("THX212", 4), ("THX212", 5),
    ]  # fmt: skip
    assert found[0].message == "a file that others use uses no file itself"
    assert found[0].help == ('move `use "mine.thx"` to the spec',)


def test_a_used_file_says_its_version(tmp_path: Path) -> None:
    (tmp_path / "mine.thx").write_text("")
    found = rejected(changed("std/low_rank.thx", "mine.thx"), folder=tmp_path)
    assert [d.code for d in found] == ["THX103"]


def test_a_module_that_two_files_define_shows_both(tmp_path: Path) -> None:
    (tmp_path / "mine.thx").write_text(MINE.replace("Mine", "LowRankLinear"))
    (found,) = rejected(TINY + 'use "mine.thx"\n', folder=tmp_path)
    assert found.primary is not None
    assert found.code == "THX206"
    assert found.primary.span.source.path == tmp_path / "mine.thx"
    assert found.secondary[0].span.source.path == SPECS / "std" / "low_rank.thx"
    assert " ::: std/low_rank.thx:5:8" in found.render()


def test_a_spec_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.thx").write_text(TINY)
    (found,) = of_load("modle.thx")
    assert (found.code, found.primary, found.help) == ("THX001", None, ("did you mean `model.thx`?",))
    (found,) = of_load("digits_to_mlp.thx")
    assert found.help == (f"a spec of this name comes with the package: `{SPECS / 'digits_to_mlp.thx'}`",)
    assert of_load("no/such/folder.thx")[0].code == "THX001"


@pytest.mark.parametrize(
    ("content", "reason"), [(b"theseus 1\xff", "byte 9"), (b"theseus 1\0", "binary"), (None, "a folder")]
)
def test_what_cannot_be_read(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "odd.thx"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    (found,) = of_load(path)
    assert (found.code, found.primary) == ("THX002", None)
    assert reason in found.message
    used = rejected(changed("std/low_rank.thx", "odd.thx"), folder=tmp_path)
    assert [d.code for d in used] == ["THX001" if content is None else "THX002"]
    assert used[0].primary is not None
    assert used[0].primary.span.text == '"odd.thx"'


@pytest.mark.parametrize("path", ["x" * 3000, "a\0b"])
def test_a_path_that_no_file_can_have(path: str) -> None:
    assert of_load(path)[0].code == "THX002"


def test_what_a_run_has_kept_loads_the_same() -> None:
    spec = loader.load(SPECS / "digits_to_mlp.thx")
    files = [(source.name, source.text) for source in (spec.source, *spec.uses)]
    again = loader.reload(files, assignments={"rank": "32"})
    assert again.params == {"rank": 32}
    assert bare(again.rules) == bare(spec.rules)
    assert [source.path for source in again.uses] == [None]
    with pytest.raises(Rejected) as caught:
        loader.reload(files[:1], assignments={})
    assert [d.code for d in caught.value.diagnostics] == ["THX001"]


def test_a_spec_without_a_guide_where_the_caller_has_the_model() -> None:
    start = TINY.index("guide"), TINY.index("data")
    text = (TINY[: start[0]] + TINY[start[1] :]).replace("distill(net", "distill(net")
    assert "THX207" in [d.code for d in rejected(text)]
    plain = text.replace(" + 0.5 * distill(net, temperature = 2)", "")
    assert loader.loads(plain, guide_required=False).guide is None


def test_the_language_needs_no_torch() -> None:
    code = (
        "import sys; from theseus_fx.lang import loader, printer; "
        f"loader.load({str(SPECS / 'digits_to_mlp.thx')!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=SPECS.parent, check=False).returncode == 0
