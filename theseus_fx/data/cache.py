"""The folder in which what is slow to make is kept for other runs."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache() -> Path:
    """`$THESEUS_FX_CACHE`, or `theseus-fx` in the user's cache folder."""
    if chosen := os.environ.get("THESEUS_FX_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "theseus-fx"
