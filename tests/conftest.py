"""Shared by all tests: one thread, and the folder of confirmed values where there is one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models; a busy machine makes two threads wait

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def golden() -> Path:
    """The confirmed similarity values; tests that need them skip where they are absent."""
    folder = ROOT.parent / "shared" / "golden"
    if not (folder / "similarity.npz").is_file():
        pytest.skip("the confirmed similarity values are not here")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Small real data sets; tests that need them skip where they are absent."""
    folder = ROOT.parent / "shared" / "data"
    if not (folder / "mnist.npz").is_file():
        pytest.skip("the real data sets are not here")
    return folder
