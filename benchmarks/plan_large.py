"""What it costs to plan GPT-2 Large (774 M parameters, T = 1024), beside its imports and torch.export.

    python benchmarks/plan_large.py --runs 3

Every measurement is a process of its own: seconds, seconds of CPU (which a busy machine changes less) and
peak resident memory, medians of a few runs in turn. `torch.export` is measured without weights (on the meta
device) and with weights drawn at random, as its documentation has it; both with a dynamic batch. Writes
`benchmarks/results/plan_large.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers

ROOT = Path(__file__).resolve().parent
IMPORT = "import torch, torchvision; from transformers import GPT2LMHeadModel, GPT2Config"
EXPORT = f"""{IMPORT}
with torch.device({{device!r}}):
    model = GPT2LMHeadModel(GPT2Config(n_embd=1280, n_layer=36, n_head=20, use_cache=False)).eval()
    tokens = torch.zeros(2, 1024, dtype=torch.int64)
batch = torch.export.Dim("batch", min=2, max=4096)
torch.export.export(model, (tokens,), dynamic_shapes={{{{"input_ids": {{{{0: batch}}}}}}}})
"""
SPEC = """\
theseus 1
guide net = transformers.GPT2LMHeadModel("openai-community/gpt2-large")
input tokens: i64[batch, 1024]
module Thin(part) = Linear(256, bias = false) |> Linear(1280)
rule mlp {
  match GPT2MLP as m  expect 36
  replace with Thin(m)
}
schedule progressive { metric = cka  lr = 1e-4  for = 10 epochs }
"""


def measured(command: list[str]) -> tuple[float, float, float]:
    """Seconds, seconds of CPU and peak resident MB of a process that has to succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)  # unlike `wait`, this tells what the process used
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    scale = 1e6 if sys.platform == "darwin" else 1e3  # macOS reports bytes, Linux kibibytes
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / scale


def main() -> None:
    """Measures every process in turn and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "plan_large.json")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "gpt2_large.thx"
        spec.write_text(SPEC)
        commands = {
            "import": [sys.executable, "-c", IMPORT],
            "plan": [sys.executable, "-m", "theseus_fx", "plan", str(spec)],
            "export_without_weights": [sys.executable, "-c", EXPORT.format(device="meta")],
            "export_with_weights": [sys.executable, "-c", EXPORT.format(device="cpu")],
        }
        measured(commands["import"])  # warms the file cache
        runs = [
            {name: measured(command) for name, command in commands.items()} for _ in range(arguments.runs)
        ]
    result: dict[str, Any] = {
        "command": f"python benchmarks/plan_large.py --runs {arguments.runs}",
        "machine": (
            f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, "
            f"transformers {transformers.__version__}"
        ),
        **{
            name: {
                "seconds": statistics.median(run[name][0] for run in runs),
                "cpu_seconds": statistics.median(run[name][1] for run in runs),
                "peak_mb": statistics.median(run[name][2] for run in runs),
            }
            for name in commands
        },
        "runs": runs,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    alone = result["import"]
    for name in commands:
        row = result[name]
        beyond = {key: row[key] - alone[key] for key in row}
        print(
            f"{name:24} {row['seconds']:6.1f} s  {row['cpu_seconds']:6.1f} s CPU  {row['peak_mb']:6,.0f} MB  "
            f"beyond the import {beyond['cpu_seconds']:5.1f} s CPU  {beyond['peak_mb']:6,.0f} MB"
        )


if __name__ == "__main__":
    main()
