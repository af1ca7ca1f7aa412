"""A conversion in every variant of the paper's tables, over seeds: mean and standard error of every method.

    python benchmarks/conversions.py digits
    python benchmarks/conversions.py digits --seeds 0 --only trained

Every row comes from the `summary.json` of a run of one spec in `benchmarks/specs/`, with the changes that its
variant
names: another schedule, another start, an untrained guide. All choices (learning rates, whether to take steps
    at all)
are made on the validation split; every method has as many candidates as any other. Test samples are seen
once.

Runs are kept in `benchmarks/runs/NAME` and taken up where they were left. Results go to
`benchmarks/results/NAME.json` and `NAME.md`.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

import theseus_fx

ROOT = Path(__file__).resolve().parent
BASELINES = {
    "naive_equal_finetune": "naive, equal fine-tuning",
    "naive_equal_total": "naive, equal total steps",
    "distillation": "progressive distillation",
    "scratch": "from scratch",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One run of a spec with changes."""

    schedule: str = "progressive"
    """The kind of the schedule."""
    start: Literal["fit", "random"] = "fit"
    guide: Literal["trained", "untrained"] = "trained"
    metric: str = "cka"
    baselines: bool = False
    """Whether the run has the spec's baselines, which depend on the guide alone."""

    @property
    def name(self) -> str:
        """As a folder is called."""
        parts = (self.guide, self.schedule, self.start, re.sub(r"\W+", "-", self.metric).strip("-"))
        return "_".join(parts)

    def applied(self, text: str) -> str:
        """The spec with the changes of this variant."""
        text = _changed(text, r"^schedule \w+ \{", f"schedule {self.schedule} {{")
        text = _changed(text, r"^(  metric\s*= )[^\n]*$", rf"\g<1>{self.metric}")
        if self.start == "random":
            text = _changed(text, r"^(  init\s*= )[^\n]*$", r"\g<1>random")
            text = text.replace("choose(none, ", "choose(")
        if self.guide == "untrained":
            text = _changed(text, r" trained by \{[^}]*\}", "")
        return text if self.baselines else _changed(text, r"^compare [^}]*\}\n?", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What `conversions.py NAME` runs."""

    title: str
    unit: Literal["%", "ppl"]
    variants: tuple[Variant, ...]

    @property
    def shown(self) -> str:
        """What the table calls the numbers."""
        return "test accuracy" if self.unit == "%" else "test perplexity"


def _grid(
    schedules: Sequence[str], *, guides: Sequence[Literal["trained", "untrained"]] = ("trained", "untrained")
) -> tuple[Variant, ...]:
    """Every schedule from both starts for every guide; the first of a guide brings its baselines."""
    starts: tuple[Literal["fit", "random"], ...] = ("fit", "random")
    return tuple(
        Variant(schedule=schedule, start=start, guide=guide, baselines=(i, start) == (0, "fit"))
        for guide in guides
        for i, schedule in enumerate(schedules)
        for start in starts
    )


CONVERSIONS: Mapping[str, Conversion] = {
    "digits": Conversion(
        title="small ResNet -> MLP on digits in a canvas",
        unit="%",
        variants=(
            *_grid(("progressive", "joint", "independent", "sequential")),
            Variant(start="random", metric="ucka"),
            Variant(start="random", metric="dmnn(k = 10, tau = 0.1)"),
        ),
    ),
}


def main() -> None:
    """Runs the variants and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(CONVERSIONS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--only", default="", help="variants whose name holds this")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    arguments = parser.parse_args()

    conversion = CONVERSIONS[arguments.name]
    rows: list[dict[str, Any]] = []
    for variant in conversion.variants:
        if arguments.only not in variant.name:
            continue
        folder = arguments.runs / arguments.name / variant.name
        text = variant.applied((ROOT / "specs" / f"{arguments.name}.thx").read_text(encoding="utf-8"))
        summaries = [run(text, folder, seed, arguments.device) for seed in arguments.seeds]
        for found in rows_of(arguments.name, variant, summaries):
            known = [r for r in rows if (r["method"], r["guide"], r["start"]) == _key(found)]
            if not known or found["method"] == variant.schedule:
                rows.append(found)
                print(_line(found, conversion.unit), flush=True)
    write(arguments.out, arguments.name, conversion, rows, arguments.seeds)


def run(text: str, folder: Path, seed: int, device: Literal["auto", "cpu", "cuda"]) -> Mapping[str, Any]:
    """The summary of one run, which goes on where an earlier one was left."""
    place = folder / f"seed-{seed}"
    if (place / "summary.json").exists() and (place / "spec.thx").read_text(encoding="utf-8") == text:
        return json.loads((place / "summary.json").read_text(encoding="utf-8"))
    cache = folder.parent / "cache"
    done = theseus_fx.convert(None, text, out=place, seed=seed, device=device, cache=cache)
    return done.summary


def rows_of(name: str, variant: Variant, summaries: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The guide, the conversion and its baselines, one row each."""
    common = {"conversion": name, "guide": variant.guide}
    yield {**common, "method": "guide", "start": None, "metric": None, **_values(summaries, "guide")}
    yield {
        **common,
        "method": variant.schedule,
        "start": variant.start,
        "metric": variant.metric,
        **_values(summaries, "converted"),
    }
    for key, method in BASELINES.items():
        if key in summaries[0]["baselines"]:
            found = _values([s["baselines"] for s in summaries], key)
            yield {**common, "method": method, "start": "random", "metric": None, **found}


def _values(outcomes: Sequence[Mapping[str, Any]], key: str) -> dict[str, Any]:
    values = [outcome[key]["value"] for outcome in outcomes]
    spread = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return {
        "mean": statistics.fmean(values),
        "se": spread,
        "seeds": len(values),
        "steps": [outcome[key]["steps"] for outcome in outcomes],
        "seconds": statistics.fmean(outcome[key]["seconds"] for outcome in outcomes),
        "parameters": outcomes[0][key]["parameters"],
    }


def write(
    folder: Path, name: str, conversion: Conversion, rows: Sequence[Mapping[str, Any]], seeds: Sequence[int]
) -> None:
    """The rows as JSON, and as a table in Markdown."""
    command = f"python benchmarks/conversions.py {name} --seeds {' '.join(map(str, seeds))}"
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    folder.mkdir(parents=True, exist_ok=True)
    result = {"command": command, "machine": machine, "rows": list(rows)}
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    lines = [
        f"# {conversion.title}",
        "",
        f"`{command}` ({machine}); mean ± standard error over {len(seeds)} seeds.",
        "",
        f"| guide | method | start | metric | {conversion.shown} | gradient steps | seconds |",
        "|---|---|---|---|---|---|---|",
        *(_line(row, conversion.unit) for row in rows),
    ]
    (folder / f"{name}.md").write_text("\n".join(lines) + "\n")


def _line(row: Mapping[str, Any], unit: str) -> str:
    scale, digits = (100, 1) if unit == "%" else (1, 2)
    spread = "" if row["se"] is None else f" ± {scale * row['se']:.{digits}f}"
    steps = " / ".join(str(step) for step in sorted(set(row["steps"])))
    value = f"{scale * row['mean']:.{digits}f}{spread}"
    cells = (row["guide"], row["method"], row["start"] or "", row["metric"] or "", value, steps)
    return f"| {' | '.join(cells)} | {row['seconds']:.0f} |"


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["method"], row["guide"], row["start"]


def _changed(text: str, pattern: str, by: str) -> str:
    changed, count = re.subn(pattern, by, text, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"the spec has {count} places like {pattern!r}, not one")
    return changed


if __name__ == "__main__":
    main()
