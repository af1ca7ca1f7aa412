"""The embedded main job over several seeds: mean and standard error of every method.

    python benchmarks/demo.py --seeds 0 1 2

Each seed is one `theseus-fx run specs/digits_to_mlp.thx --seed N`; all numbers are those of its
`summary.json`. Writes `benchmarks/results/demo.json` and prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

import theseus_fx

ROOT = Path(__file__).resolve().parent
NAMES = {
    "guide": "guide (small ResNet)",
    "converted": "**converted**",
    "naive_equal_finetune": "naive, same fine-tuning",
    "naive_equal_total": "naive, same total steps",
    "random_start": "same schedule, random start (paper)",
}


def main() -> None:
    """Runs the seeds and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spec", default=str(ROOT.parent / "specs" / "digits_to_mlp.thx"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "demo.json")
    arguments = parser.parse_args()

    summaries: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            done = theseus_fx.convert(
                None,
                Path(arguments.spec),
                out=Path(folder) / str(seed),
                seed=seed,
                device=arguments.device,
                cache=Path(folder) / "cache",
            )
            summaries.append(dict(done.summary))
            print(f"seed {seed}: converted {100 * done.summary['converted']['value']:.1f} %", flush=True)

    rows = [row(name, summaries) for name in NAMES if name in values(summaries[0])]
    result = {
        "command": f"python benchmarks/demo.py --seeds {' '.join(map(str, arguments.seeds))}",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "rows": rows,
        "summaries": summaries,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(rows))


def values(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every method of a summary by name."""
    return {"guide": summary["guide"], "converted": summary["converted"], **summary["baselines"]}


def row(name: str, summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard error of one method over the seeds."""
    found = [values(summary)[name] for summary in summaries]
    accuracies = [outcome["value"] for outcome in found]
    spread = statistics.stdev(accuracies) / math.sqrt(len(accuracies)) if len(accuracies) > 1 else 0.0
    return {
        "method": name,
        "mean": statistics.fmean(accuracies),
        "se": spread,
        "seeds": len(accuracies),
        "steps": [outcome["steps"] for outcome in found],
        "seconds": statistics.fmean(outcome["seconds"] for outcome in found),
        "parameters": found[0]["parameters"],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = ["| method | test accuracy | gradient steps | seconds |", "|---|---|---|---|"]
    for r in rows:
        steps = " / ".join(str(s) for s in sorted(set(r["steps"])))
        accuracy = f"{100 * r['mean']:.1f} ± {100 * r['se']:.1f} %"
        lines.append(f"| {NAMES[r['method']]} | {accuracy} | {steps} | {r['seconds']:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
