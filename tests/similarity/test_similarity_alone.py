"""The library is of use without the rest of the project."""

from __future__ import annotations

import subprocess
import sys

import theseus_fx.similarity

CHECK = """
import sys
import theseus_fx.similarity, theseus_fx.similarity.distributed, theseus_fx.similarity.micro_batches
ours = sorted(name for name in sys.modules if name.startswith("theseus_fx."))
others = {"lark", "rich", "click", "transformers", "torchvision", "sklearn", "networkx", "triton"}
strangers = [n for n in ours if not n.startswith(("theseus_fx.similarity", "theseus_fx.version"))]
assert not strangers, strangers
assert not others & set(sys.modules), others & set(sys.modules)
"""


def test_importing_it_imports_torch_alone() -> None:
    subprocess.run([sys.executable, "-c", CHECK], check=True, timeout=120)


def test_all_names_are_there() -> None:
    named = theseus_fx.similarity.__all__
    assert sorted(named) == named
    assert all(getattr(theseus_fx.similarity, name).__doc__ for name in named if name != "Metric")
