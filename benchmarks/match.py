"""How long patterns over operations take to find, beside networkx VF2 and fx's own SubgraphMatcher.

    python benchmarks/match.py --runs 15

One process, no weights. Each search is repeated in turn with the others on the same traced graph; the medians
count, in CPU time, which a busy machine changes less. VF2 gets the same graph with the name of the function
or class at each node; it knows no alternatives, so only the chains are compared. SubgraphMatcher compares
the paths of modules, so it finds chains of functions only. A ratio stands where both find equally many.
Writes `benchmarks/results/match.json` and `match.md`.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import networkx
import torch
import torchvision
import transformers
from networkx.algorithms.isomorphism import DiGraphMatcher
from torch import fx, nn
from torch.fx.passes.utils.matcher_utils import SubgraphMatcher

from theseus_fx.graph.trace import Trace, trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang import loader
from theseus_fx.lang.operations import OperationPattern
from theseus_fx.lang.spec import RegionPattern
from theseus_fx.match.ops.find import find
from theseus_fx.match.ops.index import Index, make_index
from theseus_fx.models.weightless import weightless

ROOT = Path(__file__).resolve().parent
IMAGE = InputSpec(name="x", dtype=torch.float32, shape=("batch", 3, 224, 224))
TOKENS = InputSpec(name="input_ids", dtype=torch.int64, shape=("batch", 16))
SPEC = """theseus 1
use "std/patterns.thx"
{definition}
rule r {{ match {name} as r  replace with identity }}
schedule progressive {{ lr = 1e-3  for = 1 steps }}
"""

Chain = tuple[str, ...]
"""The operations of a pattern without choices, first to last."""


def gpt2() -> nn.Module:
    """36 blocks of GPT-2, narrow."""
    sizes = {"n_embd": 32, "n_layer": 36, "n_head": 4, "vocab_size": 64}
    tokens = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **tokens, use_cache=False))


MODELS: Mapping[str, tuple[Callable[[], nn.Module], InputSpec]] = {
    "resnet152": (torchvision.models.resnet152, IMAGE),
    "vit_l_16": (torchvision.models.vit_l_16, IMAGE),
    "gpt2, 36 blocks": (gpt2, TOKENS),
}
SEARCHES: tuple[tuple[str, str, Chain | None], ...] = (  # model, pattern, the same as a chain
    ("resnet152", "x |> Conv2d |> BatchNorm2d |> ReLU", ("Conv2d", "BatchNorm2d", "ReLU")),
    ("resnet152", "conv_bn_relu", None),
    ("resnet152", "bottleneck", None),
    ("vit_l_16", "x |> Linear |> GELU |> Dropout |> Linear", ("Linear", "GELU", "Dropout", "Linear")),
    ("vit_l_16", "mlp", None),
    ("gpt2, 36 blocks", "tanh(x) + 1.0", ("tanh", "add")),
    ("gpt2, 36 blocks", "fused_attention", None),
    ("gpt2, 36 blocks", "mlp", None),
)  # fmt: skip


def traced(name: str) -> tuple[Trace, nn.Module]:
    """A model on the meta device and its trace."""
    make, spec = MODELS[name]
    with weightless():
        model = make()
    return trace(model, [spec]), model


def compiled(written: str) -> OperationPattern:
    """A pattern of the standard file by name, or what a pattern of its own returns."""
    own = not written.isidentifier()
    definition = f"pattern chain(x) {{ return {written} }}" if own else ""
    text = SPEC.format(definition=definition, name="chain" if own else written)
    pattern = loader.loads(text, guide_required=False).rules[0].pattern
    if not isinstance(pattern, RegionPattern):
        raise TypeError(f"{written} is no pattern over operations")
    return pattern.operations


def named_graph(index: Index) -> networkx.DiGraph[str]:
    """The traced graph for VF2: at each node the name of its function or class."""
    graph: networkx.DiGraph[str] = networkx.DiGraph()
    for name, node in index.trace.nodes.items():
        graph.add_node(name, called=index.kind(node))
        graph.add_edges_from((source.name, name) for source in node.all_input_nodes)
    return graph


def by_vf2(graph: networkx.DiGraph[str], chain: Chain) -> int:
    """How many induced subgraphs are the chain."""
    pattern: networkx.DiGraph[int] = networkx.path_graph(len(chain), create_using=networkx.DiGraph)
    for number, called in enumerate(chain):
        pattern.nodes[number]["called"] = called
    matcher = DiGraphMatcher(graph, pattern, node_match=lambda a, b: a["called"] == b["called"])
    return sum(1 for _ in matcher.subgraph_isomorphisms_iter())


def fx_pattern(chain: Chain) -> fx.Graph:
    """The chain as a graph for SubgraphMatcher; modules by path, the only way in which it compares them."""
    if chain == ("tanh", "add"):
        graph = fx.Graph()
        value = graph.call_function(torch.tanh, (graph.placeholder("x"),))
        graph.output(graph.call_method("add", (value, 1.0)))
        return graph
    classes: dict[str, nn.Module] = {
        "Conv2d": nn.Conv2d(1, 1, 1), "BatchNorm2d": nn.BatchNorm2d(1), "ReLU": nn.ReLU(),
        "Linear": nn.Linear(1, 1), "GELU": nn.GELU(), "Dropout": nn.Dropout(),
    }  # fmt: skip
    return fx.symbolic_trace(nn.Sequential(*(classes[name] for name in chain))).graph


def timed(search: Callable[[], int]) -> tuple[float, int]:
    """Milliseconds of CPU, and what was found."""
    start = time.process_time()
    found = search()
    return (time.process_time() - start) * 1e3, found


def measured(searches: Mapping[str, Callable[[], int]], runs: int) -> dict[str, dict[str, float]]:
    """The medians of searches that are repeated in turn, and how many each finds."""
    turns = [{name: timed(search) for name, search in searches.items()} for _ in range(runs + 1)]
    return {
        name: {"ms": statistics.median(turn[name][0] for turn in turns[1:]), "found": turns[0][name][1]}
        for name in searches
    }


def rows(runs: int) -> list[dict[str, Any]]:
    """A row for each search; the first run of each only warms up."""
    made: list[dict[str, Any]] = []
    for name in MODELS:
        traced_model, model = traced(name)
        index = make_index(traced_model, model)
        graph = named_graph(index)
        building = measured(
            {"index": lambda t=traced_model, m=model: len(make_index(t, m).position),
             "vf2_graph": lambda i=index: len(named_graph(i))}, runs,
        )  # fmt: skip
        made.append({"model": name, "nodes": len(traced_model.nodes), "search": "index", **building})
        for _, written, chain in (search for search in SEARCHES if search[0] == name):
            pattern = compiled(written)
            searches: dict[str, Callable[[], int]] = {
                "theseus_fx": lambda p=pattern, i=index: len(find(i, p).regions)
            }
            if chain is not None:
                searches["vf2"] = lambda c=chain, g=graph: by_vf2(g, c)
                written_in_fx = fx_pattern(chain)
                searches["subgraph_matcher"] = lambda p=written_in_fx, t=traced_model: len(
                    SubgraphMatcher(p).match(t.graph)
                )
            found = measured(searches, runs)
            made.append({"model": name, "nodes": len(traced_model.nodes), "search": written, **found})
    return made


def table(made: list[dict[str, Any]]) -> str:
    """The rows for a person: times, and how many times as long the others take."""
    lines = [
        "| model | nodes | pattern | found | ms | VF2 | SubgraphMatcher |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in made:
        front = f"| {row['model']} | {row['nodes']:,} | "
        if row["search"] == "index":
            lines.append(f"{front}*index* | | {row['index']['ms']:.2f} | | |")
            continue
        own = row["theseus_fx"]
        others = [_against(own, row.get(other)) for other in ("vf2", "subgraph_matcher")]
        shown = row["search"].replace("|", "\\|")
        lines.append(f"{front}`{shown}` | {own['found']} | {own['ms']:.2f} | {' | '.join(others)} |")
    return "\n".join(lines)


def _against(own: Mapping[str, float], other: Mapping[str, float] | None) -> str:
    if other is None:
        return ""
    if other["found"] != own["found"]:
        return f"finds {other['found']}"
    return f"{other['ms']:.2f} ms, {other['ms'] / own['ms']:.1f}x"


def main() -> None:
    """Measures every search and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "match.json")
    arguments = parser.parse_args()

    made = rows(arguments.runs)
    result = {
        "command": f"python benchmarks/match.py --runs {arguments.runs}",
        "machine": (
            f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, "
            f"networkx {networkx.__version__}"
        ),
        "unit": "milliseconds of CPU, medians",
        "rows": made,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    text = f"Made by `{result['command']}` ({result['machine']}): {result['unit']}.\n\n{table(made)}\n"
    arguments.out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
