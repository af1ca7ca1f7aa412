"""The real command line, in this process: arguments in, exit code and both streams out."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import TINY, Command, Said

from theseus_fx.cli.main import main


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs `theseus-fx ARGUMENTS` in an empty folder with an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THESEUS_FX_CACHE", str(tmp_path / "cache"))

    def run(*arguments: str | Path) -> Said:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in err, err
        code = ended.value.code
        assert isinstance(code, int)
        return Said(code, out, err)

    return run


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A whole conversion that takes seconds: three parts, a few steps each."""
    path = tmp_path / "tiny.thx"
    path.write_text(TINY)
    return path
