"""The similarity as a loss beside its literal formula and the CKA packages: time, memory, correctness.

    python benchmarks/similarity.py --device cpu

One process. Every candidate computes 1 - CKA of the same unit rows with its gradient, in turn with the
others; the median of its time through ours of the same round is its ratio. Ours and the literal formula
normalise the rows. Peers do not: they are timed with torch's `normalize` before them, as the same loss
needs, and alone. Extra memory is the peak beyond both activations, in sizes of the target's
(`similarity_cost.extra_bytes`); the floor is what the machine's measured bandwidth and rate of products
allow (`similarity_cost.Machine`). A second part runs each implementation where they go wrong
(`similarity_correctness`, `similarity_findings`). Peers are optional; `similarity_peers` says how to install
them. Writes `benchmarks/results/similarity.json` and `.md`, on CUDA `similarity_cuda`; `--quick` writes only
where `--out` says.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from similarity_candidates import OURS, candidates
from similarity_correctness import EDGES, PRECISION, Check, cells
from similarity_cost import Case, Machine, extra_bytes, median_ratio, rounds
from similarity_findings import findings
from similarity_peers import PEERS, Absent, Installed, load

ROOT = Path(__file__).resolve().parent
SIZES = ((256, 4096), (256, 65536), (256, 200704), (1024, 4096), (1024, 65536))  # (b, d)
ON_CUDA = (*SIZES, (256, 802816))
QUICK = ((32, 1024), (64, 4096))
SPEED = """1 - CKA and its gradient, medians of alternating rounds; *of ours* is the median ratio within a
round. Extra memory counts the gradient, which is 1. The floor is the sum over the passes of the longer of
memory traffic at {bandwidth:.3g} GB/s and products at {rates}, both measured; a product has all of its 2 b² d
operations, though a Gram, symmetric, could do with half, so that more than 100% is possible. Peers do not
normalise rows: torch's `normalize` stands before them, except where they are *alone*."""
COMPILED_AT = 200704
"""The width at which torch.compile is tried: each size would be compiled anew."""


def of_case(case: Case, machine: Machine, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time, memory and share of the floor of every candidate; shown as soon as they are known."""
    compiled = options.compile and (case.d == COMPILED_AT or options.quick)
    every = candidates(case.device, compiled=compiled, peers=options.peers)
    times, errors = rounds(every, case, options.pairs)
    rows: list[dict[str, Any]] = []
    for candidate in every:
        row: dict[str, Any] = {
            "b": case.b,
            "d": case.d,
            "dtype": str(case.dtype).removeprefix("torch."),
            "candidate": candidate.name,
        }
        if candidate.name in errors:
            rows.append(row | {"error": errors[candidate.name]})
            continue
        median = statistics.median(times[candidate.name])
        memory = extra_bytes(candidate, case)
        floor = machine.floor(case, candidate.grams)
        row |= {
            "seconds": median,
            "ratio": median_ratio(times[candidate.name], times[OURS]),
            "extra_memory": None if memory is None else memory / case.size,
            "floor_seconds": floor,
            "share_of_floor": floor / median,
        }
        rows.append(row)
    torch.compiler.reset()
    print("\n".join(speed_table(rows)), flush=True)
    return rows


def speed_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows of one case as Markdown."""
    first = rows[0]
    lines = [
        f"**b = {first['b']}, d = {first['d']:,}, {first['dtype']}**",
        "",
        "| loss and gradient | ms | of ours | extra memory, of A | share of the floor |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['candidate']} | raises `{row['error']}` | | | |")
            continue
        memory = "" if row["extra_memory"] is None else f"{row['extra_memory']:.2f}"
        lines.append(
            f"| {row['candidate']} | {1e3 * row['seconds']:.2f} | {row['ratio']:.2f} | {memory} "
            f"| {row['share_of_floor']:.0%} |"
        )
    return [*lines, ""]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--pairs", type=int, help="rounds; 9 on a CPU, 30 on CUDA, 3 if quick")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--out", type=Path, help="the JSON file; the Markdown file stands beside it")
    options = parser.parse_args()
    if options.pairs is None:
        options.pairs = 3 if options.quick else 30 if options.device == "cuda" else 9
    if options.out is None and not options.quick:
        options.out = (
            ROOT / "results" / ("similarity_cuda.json" if options.device == "cuda" else "similarity.json")
        )
    return options


def described(options: argparse.Namespace, machine: Machine) -> dict[str, Any]:
    """Where and how it was measured."""
    cuda = options.device == "cuda"
    return {
        "command": " ".join(["python benchmarks/similarity.py", *sys.argv[1:]]),
        "machine": torch.cuda.get_device_name() if cuda else f"{platform.machine()} {_processor()}".strip(),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "rounds": options.pairs,
        "bandwidth_bytes_per_second": machine.bandwidth,
        "flops_per_second": {str(k).removeprefix("torch."): v for k, v in machine.rates.items()},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


def head(result: dict[str, Any]) -> list[str]:
    """Where it was measured and how to read it, as Markdown."""
    rates = ", ".join(f"{v / 1e12:.3g} TFLOP/s {k}" for k, v in result["flops_per_second"].items())
    versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    made = f"Made by `{result['command']}` ({result['machine']}, {result['threads']} threads, {versions})."
    return [made, "", SPEED.format(bandwidth=result["bandwidth_bytes_per_second"] / 1e9, rates=rates), ""]


def checks(result: dict[str, Any]) -> list[str]:
    """What was seen of correctness, as Markdown."""
    lines = ["In bold what is off by more than 1% or not finite.", ""]
    for title, some in (("Precision", PRECISION), ("Where it gets hard", EDGES)):
        lines += [f"**{title}**", "", *cells_table(some, result["correctness"]), ""]
        lines += [*(f"- *{check.name}*: {check.how}" for check in some), ""]
    lines += ["**Seen by running**", "", "| package | run | seen |", "| --- | --- | --- |"]
    lines += [f"| {x['package']} | {x['how']} | {x['seen']} |" for x in result["findings"]]
    if result["absent"]:
        lines += ["", "**Not run**", "", "| package | why |", "| --- | --- |"]
        lines += [f"| {name} | {reason} |" for name, reason in result["absent"].items()]
    return lines


def cells_table(checks: Sequence[Check], cells: dict[str, dict[str, str]]) -> list[str]:
    """The checks as columns, the implementations as rows."""
    lines = [f"| | {' | '.join(check.name for check in checks)} |", f"| --- |{' ---: |' * len(checks)}"]
    return lines + [f"| {name} | {' | '.join(row[c.name] for c in checks)} |" for name, row in cells.items()]


def main() -> None:
    """Measures everything, prints it and writes it."""
    options = parsed()
    torch.set_num_threads(options.threads)
    cuda = options.device == "cuda"
    dtypes = [torch.float32, torch.bfloat16] if cuda else [torch.float32]
    sizes = QUICK if options.quick else ON_CUDA if cuda else SIZES
    machine = Machine.measured(options.device, dtypes, quick=options.quick)
    cases = [Case(b=b, d=d, dtype=dtype, device=options.device) for dtype in dtypes for b, d in sizes]
    found = [load(peer) for peer in PEERS] if options.peers else []
    present = [peer for peer in found if isinstance(peer, Installed)]
    result = described(options, machine)
    result["versions"] |= {peer.peer.package: peer.version for peer in present}
    print("\n".join(head(result)))
    tables = [of_case(case, machine, options) for case in cases]
    result["rows"] = [row for table in tables for row in table]
    result["checks"] = {check.name: check.how for check in (*PRECISION, *EDGES)}
    result["correctness"] = cells((*PRECISION, *EDGES), present, options.device)
    result["findings"] = [asdict(finding) for finding in findings({peer.peer.package for peer in present})]
    result["absent"] = {peer.peer.package: peer.reason for peer in found if isinstance(peer, Absent)}
    print("\n".join(checks(result)))
    if options.out is not None:
        speed = [line for table in tables for line in speed_table(table)]
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")
        options.out.with_suffix(".md").write_text("\n".join([*head(result), *speed, *checks(result)]) + "\n")


if __name__ == "__main__":
    main()
