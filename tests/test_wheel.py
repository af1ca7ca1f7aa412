"""The wheel by itself: built, installed into an environment of its own, planning and checking from there."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str | Path, cwd: Path) -> str:
    """The standard output of a command that has to succeed."""
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(
        *(sys.executable, "-m", "pip", "wheel", ROOT, "--no-deps", "--no-build-isolation", "--quiet"),
        *("--wheel-dir", folder),
        cwd=folder,
    )
    (path,) = folder.glob("theseus_fx-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `theseus-fx` of an environment that holds the wheel, and borrows the packages it depends on.

    Borrowed is a folder, not its `.pth` files, so that an editable install of this checkout is not seen.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    site = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    )
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", "--no-deps", "--force-reinstall", wheel, cwd=folder)
    where = run(python, "-c", "import theseus_fx; print(theseus_fx.__file__)", cwd=folder).strip()
    assert Path(where).is_relative_to(site)
    return folder / "venv" / "bin" / "theseus-fx"


def test_grammar_and_specs_are_inside(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "theseus_fx/_shipped/grammar/thx.lark" in names
    assert "theseus_fx/_shipped/grammar/thx.tmLanguage.json" in names
    assert "theseus_fx/models/known_configs.toml" in names
    for spec in (ROOT / "specs").rglob("*.thx"):
        assert f"theseus_fx/_shipped/specs/{spec.relative_to(ROOT / 'specs')}" in names
    for page in (ROOT / "theseus_fx").rglob("*.md"):
        assert str(page.relative_to(ROOT)) in names
    assert not [name for name in names if name.startswith("tests/")]


def test_it_checks_and_plans(installed: Path, tmp_path: Path) -> None:
    spec = tmp_path / "mine.thx"
    spec.write_text((ROOT / "specs" / "resnet18_to_mlp.thx").read_text())
    assert "no mistakes" in run(installed, "check", spec, cwd=tmp_path)
    plan = json.loads(run(installed, "plan", spec, "--json", cwd=tmp_path))
    assert len(plan["stages"]) == 20
    assert "$ theseus-fx plan spec.thx" in run(installed, "explain", "THX402", cwd=tmp_path)
    assert run(installed, "explain", "rule", cwd=tmp_path).startswith("# rule: ")


def test_it_formats_and_pygments_knows_the_language(installed: Path, tmp_path: Path) -> None:
    spec = tmp_path / "mine.thx"
    spec.write_text("theseus 1 data=digits")
    assert run(installed, "fmt", "mine.thx", cwd=tmp_path) == "mine.thx\n"
    assert spec.read_text() == "theseus 1\n\ndata = digits\n"
    program = "from pygments.lexers import get_lexer_by_name; print(type(get_lexer_by_name('thx')).__name__)"
    assert run(installed.with_name("python"), "-c", program, cwd=tmp_path) == "ThxLexer\n"
