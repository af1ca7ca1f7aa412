"""The README's two pictures, as SVG: a real plan and a real result.

    python benchmarks/pictures.py

The plan is made anew from `specs/resnet18_to_mlp.thx`; the result is the first seed of
`benchmarks/results/demo.json`. Writes `benchmarks/results/plan.svg` and `benchmarks/results/result.svg`.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, RenderableType
from rich.terminal_theme import TerminalTheme

import theseus_fx
from theseus_fx.cli.views.plan import plan_view
from theseus_fx.cli.views.summary import summary_view

ROOT = Path(__file__).resolve().parent
COLOURS = ["24292f", "cf222e", "116329", "9a6700", "0969da", "8250df", "1b7c83", "6e7781"]
"""Black, red, green, yellow, blue, magenta, cyan, white: as on a light page."""


def rgb(text: str) -> tuple[int, int, int]:
    """`24292f` as three numbers."""
    return int(text[:2], 16), int(text[2:4], 16), int(text[4:], 16)


LIGHT = TerminalTheme(rgb("ffffff"), rgb("24292f"), [rgb(colour) for colour in COLOURS])
LOCAL_FONTS = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code", "ui-monospace, Menlo, Consolas"
)
"""Rich's template without fonts from elsewhere."""


def picture(parts: Iterable[RenderableType], *, title: str, width: int) -> str:
    """What a terminal of that width would show, as SVG."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, highlight=False)
    for part in parts:
        console.print(part)
    return console.export_svg(title=title, theme=LIGHT, code_format=LOCAL_FONTS, unique_id="thx")


def main() -> None:
    """Writes both pictures."""
    spec = "specs/resnet18_to_mlp.thx"
    plan = theseus_fx.plan(ROOT.parent / spec).as_json()
    plan["spec"]["path"] = spec
    (ROOT / "results" / "plan.svg").write_text(
        picture(plan_view(plan), title=f"theseus-fx plan {spec}", width=186)
    )
    summary = json.loads((ROOT / "results" / "demo.json").read_text())["summaries"][0]
    summary["spec"] = "specs/digits_to_mlp.thx"
    (ROOT / "results" / "result.svg").write_text(
        picture(summary_view(summary), title=f"theseus-fx run {summary['spec']}", width=152)
    )


if __name__ == "__main__":
    main()
