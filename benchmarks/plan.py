"""How long `theseus-fx plan` takes, against importing torch and torchvision and building the model alone.

    python benchmarks/plan.py --pairs 5

Both are whole processes, started one after the other, pair by pair; the median of the ratios counts.
Writes `benchmarks/results/plan.json`.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent
SPEC = ROOT.parent / "specs" / "resnet18_to_mlp.thx"
BARE = "import torch, torchvision; torchvision.models.resnet18()"


def seconds(command: list[str]) -> float:
    """Wall-clock seconds of a process that has to succeed."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measures the pairs and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "plan.json")
    arguments = parser.parse_args()

    bare = [sys.executable, "-c", BARE]
    plan = [sys.executable, "-m", "theseus_fx", "plan", str(SPEC)]
    seconds(bare), seconds(plan)  # the first of each warms the file cache
    pairs = [(seconds(bare), seconds(plan)) for _ in range(arguments.pairs)]
    result = {
        "command": f"python benchmarks/plan.py --pairs {arguments.pairs}",
        "machine": f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}",
        "import_and_build_seconds": statistics.median(b for b, _ in pairs),
        "plan_seconds": statistics.median(p for _, p in pairs),
        "ratio": statistics.median(p / b for b, p in pairs),
        "pairs": pairs,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(
        f"import and build {result['import_and_build_seconds']:.2f} s, plan {result['plan_seconds']:.2f} s, "
        f"ratio {result['ratio']:.2f} (median of {arguments.pairs} pairs)"
    )


if __name__ == "__main__":
    main()
