"""A conversion in every variant of the paper's tables, over seeds: mean and standard error of every method.

    python benchmarks/conversions.py digits
    python benchmarks/conversions.py digits --seeds 0 --only trained

Every row comes from the `summary.json` of a run of one spec in `benchmarks/specs/`, with the changes that its
variant names: another schedule, start or loss, an untrained guide. A comment `# random, untrained: X` at the
end of a line of the spec says what stands there in these variants; `nothing`, that the line goes. All choices
(learning rates, whether to take steps at all) are made on the validation split, with at least as many
candidates for a baseline as for a conversion; test samples are seen once.

`CIFAR10` in the environment is an archive for `npz`, where a spec asks for it. Runs are kept in
`benchmarks/runs/NAME` and taken up where they were left. Results go to `benchmarks/results/NAME.json` and
`NAME.md`.
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
    "naive_distilled": "naive with KL, equal total steps",
    "distillation": "progressive distillation",
    "scratch": "from scratch",
}
Guide = Literal["trained", "untrained"]
Start = Literal["fit", "copy", "random"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One run of a spec with changes."""

    schedule: str = "progressive"
    """The kind of the schedule."""
    start: Start = "fit"
    guide: Guide = "trained"
    metric: str | None = None
    """None: the spec's."""
    loss: Literal["the spec's", "labels"] = "the spec's"
    """Of fine-tuning; after an untrained guide there are only labels."""
    baselines: tuple[str, ...] = ()
    """Methods of the spec's `compare` that this run has beside it."""

    @property
    def name(self) -> str:
        """As a folder is called."""
        parts = (
            self.guide,
            self.schedule,
            self.start,
            self.metric,
            "labels" if self.loss == "labels" else None,
        )
        return "_".join(re.sub(r"\W+", "-", part).strip("-") for part in parts if part)

    def applied(self, text: str) -> str:
        """The spec with the changes of this variant."""
        if self.guide == "untrained":
            text = _changed(text, r" trained by \{[^}]*\}", "")

        def alternative(line: re.Match[str]) -> str:
            return "" if line[3] == "nothing" else line[1] + line[3]

        mine = {self.schedule, self.start, self.guide, self.loss}
        text = re.sub(
            r"^(\s*\w+\s*= )[^#\n]*# ([\w, ]+): ([^\n]*)$",
            lambda line: alternative(line) if mine & set(line[2].split(", ")) else line[0],
            text,
            flags=re.MULTILINE,
        )
        text = _changed(text, r"^schedule \w+ \{", f"schedule {self.schedule} {{")
        if self.metric is not None:
            text = _changed(text, r"^(  metric\s*= )[^\n]*$", rf"\g<1>{self.metric}")
        if not self.baselines:
            return _changed(text, r"^compare [^}]*\}\n?", "")
        return _changed(text, r"^compare [^{]*\{", f"compare {', '.join(self.baselines)} {{")


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
    schedules: Sequence[str] = ("progressive",),
    *,
    starts: Sequence[Start] = ("fit", "random"),
    baselines: tuple[str, ...] = ("naive",),
) -> tuple[Variant, ...]:
    """Every schedule from every start; the paper's recipe, on labels; and all baselines."""
    return (
        *(
            Variant(schedule=schedule, start=start, baselines=("distillation",) if (i, j) == (0, 0) else ())
            for i, schedule in enumerate(schedules)
            for j, start in enumerate(starts)
        ),
        Variant(schedule=schedules[0], start=starts[-1], loss="labels", baselines=baselines),
    )


def _untrained(*baselines: str) -> tuple[Variant, ...]:
    """The same after a guide that has learnt nothing, where only labels are left to train on."""
    return (Variant(guide="untrained", baselines=baselines), Variant(guide="untrained", start="random"))


CONVERSIONS: Mapping[str, Conversion] = {
    "digits": Conversion(
        title="small ResNet -> MLP on digits in a canvas",
        unit="%",
        variants=(
            *_grid(
                ("progressive", "joint", "independent", "sequential"),
                baselines=("naive", "scratch"),
            ),
            *_untrained("naive", "distillation", "scratch"),
            Variant(start="random", metric="ucka"),
            Variant(start="random", metric="dmnn(k = 10, tau = 0.1)"),
        ),
    ),
    "cifar": Conversion(title="small ResNet -> MLP on CIFAR-10, 16 x 16 pixels", unit="%", variants=_grid()),
    "resnet_pairs": Conversion(
        title="nine residual blocks -> three, on CIFAR-10, 16 x 16 pixels",
        unit="%",
        variants=_grid(starts=("copy", "random")),
    ),
    "gpt2_rnn": Conversion(
        title="small GPT-2 -> Elman RNN, English bytes",
        unit="ppl",
        variants=_grid(),
    ),
    "gpt2_small": Conversion(
        title="GPT-2 of six layers -> GPT-2 of two, English bytes",
        unit="ppl",
        variants=_grid(starts=("random",)),
    ),
    "dinov2": Conversion(title="small DINOv2 -> Patch-MLP on CIFAR-10", unit="%", variants=_grid()),
    "convnext": Conversion(title="small ConvNeXt -> Patch-MLP on CIFAR-10", unit="%", variants=_grid()),
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
    spec = (ROOT / "specs" / f"{arguments.name}.thx").read_text(encoding="utf-8")
    (metric,) = re.findall(r"^  metric\s*= (\w+)$", spec, flags=re.MULTILINE)
    for variant in conversion.variants:
        if arguments.only not in variant.name:
            continue
        folder = arguments.runs / arguments.name / variant.name
        text = variant.applied(spec)
        summaries = [run(text, folder, seed, arguments.device) for seed in arguments.seeds]
        for found in rows_of(arguments.name, variant, metric, summaries):
            if found["method"] != "guide" or found["guide"] not in {row["guide"] for row in rows}:
                rows.append(found)
                print(_line(found, conversion.unit), flush=True)
    if not arguments.only:
        write(arguments.out, arguments.name, conversion, rows, arguments.seeds)


def run(text: str, folder: Path, seed: int, device: Literal["auto", "cpu", "cuda"]) -> Mapping[str, Any]:
    """The summary of one run, which goes on where an earlier one was left."""
    place = folder / f"seed-{seed}"
    cache = folder.parent / "cache"
    if (place / "run.json").exists() and (place / "spec.thx").read_text(encoding="utf-8") == text:
        finished = place / "summary.json"
        if finished.exists():  # `resume` would give the same, after it has planned
            return json.loads(finished.read_text(encoding="utf-8"))
        return theseus_fx.resume(place, cache=cache).summary
    done = theseus_fx.convert(None, text, out=place, seed=seed, device=device, cache=cache)
    return done.summary


def rows_of(
    name: str, variant: Variant, spec_metric: str, summaries: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The guide, the conversion and its baselines, one row each."""
    common = {"conversion": name, "guide": variant.guide}
    none = {"start": None, "metric": None, "loss": None}
    yield {**common, "method": "guide", **none, **_values(summaries, "guide")}
    loss = "labels" if variant.loss == "labels" or variant.guide == "untrained" else "labels and KL"
    yield {
        **common,
        "method": variant.schedule,
        "start": variant.start,
        "metric": variant.metric or spec_metric,
        "loss": loss,
        **_values(summaries, "converted"),
    }
    for key, method in BASELINES.items():
        if key in summaries[0]["baselines"]:
            found = _values([s["baselines"] for s in summaries], key)
            trained_on = {"naive_distilled": "labels and KL", "scratch": "labels"}.get(key, loss)
            yield {**common, "method": method, **none, "start": "random", "loss": trained_on, **found}


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
        f"| guide | method | start | metric | fine-tuned on | {conversion.shown} | steps | seconds |",
        "|---|---|---|---|---|---:|---:|---:|",
        *(_line(row, conversion.unit) for row in rows),
    ]
    (folder / f"{name}.md").write_text("\n".join(lines) + "\n")


def _line(row: Mapping[str, Any], unit: str) -> str:
    scale, digits = (100, 1) if unit == "%" else (1, 2)
    spread = "" if row["se"] is None else f" ± {scale * row['se']:.{digits}f}"
    steps = " / ".join(str(step) for step in sorted(set(row["steps"])))
    value = f"{scale * row['mean']:.{digits}f}{spread}"
    texts = (row[key] or "" for key in ("guide", "method", "start", "metric", "loss"))
    cells = (*texts, value, steps)
    return f"| {' | '.join(cells)} | {row['seconds']:.0f} |"


def _changed(text: str, pattern: str, by: str) -> str:
    changed, count = re.subn(pattern, by, text, flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"the spec has {count} places like {pattern!r}, not one")
    return changed


if __name__ == "__main__":
    main()
