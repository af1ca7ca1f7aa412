"""From syntax tree to checked spec: all mistakes of a text at once, in the order in which they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

from theseus_fx.lang import syntax, words
from theseus_fx.lang.check_align import check_aligned_somewhere
from theseus_fx.lang.check_flow import check_definition
from theseus_fx.lang.check_model import check_data, check_guide, check_input, check_target, check_task
from theseus_fx.lang.check_pairs import check_kept_guide, check_pair, check_together
from theseus_fx.lang.check_params import Given, check_params, read_assignments
from theseus_fx.lang.check_patterns import Patterns
from theseus_fx.lang.check_rules import check_rule
from theseus_fx.lang.check_training import (
    check_compare,
    check_recalibrate,
    check_schedule,
    check_training,
    method_words,
)
from theseus_fx.lang.code import code_reference
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.findings import Findings, distinct, settings_by_name
from theseus_fx.lang.names import names_of
from theseus_fx.lang.source import Source, Span
from theseus_fx.lang.spec import Spec

S = TypeVar("S", syntax.Guide, syntax.Target, syntax.Schedule, syntax.Finetune, syntax.Compare)
T = TypeVar("T")


def check(
    document: syntax.Document,
    *,
    uses: Sequence[syntax.Document],
    assignments: Mapping[str, str],
    code: Mapping[str, Source] | None = None,
    guide_required: bool = True,
) -> Spec:
    """The spec that a document is.

    Args:
        document: without syntax errors.
        uses: the documents of the files that it uses, in order.
        assignments: values for params, as text.
        code: the Python files that it names, by their path as written.
        guide_required: whether a spec without `guide` is incomplete.

    Raises:
        Rejected: THX103, THX2xx: everything that is wrong.
    """
    code = code or {}
    found = Findings(code=code)
    _check_version(found, document)
    params = _all(document, syntax.Param)
    given = read_assignments(found, params, assignments)
    check_params(found, params, given)
    definitions = _definitions(found, [*uses, document])
    for node in _all(document, syntax.ModuleDefinition):
        check_definition(found, node, definitions)
    patterns = Patterns.of(
        found, [node for used in (*uses, document) for node in _all(used, syntax.PatternDefinition)]
    )
    for node in _all(document, syntax.PatternDefinition):
        patterns.check(found, node)

    settings = settings_by_name(found, _all(document, syntax.Setting), words.TOP_SETTINGS, "a spec")
    data, task = check_data(found, settings), check_task(found, settings)
    guide_node = _only(found, document, syntax.Guide, "guide")
    guide = None if guide_node is None else check_guide(found, guide_node)
    inputs = [check_input(found, node) for node in _all(document, syntax.Input)]
    distinct(found, [node.name for node in _all(document, syntax.Input)], "input")
    rules = [check_rule(found, node, definitions, patterns) for node in _all(document, syntax.Rule)]
    distinct(found, [node.name for node in _all(document, syntax.Rule)], "rule")
    target_node = _only(found, document, syntax.Target, "target")
    target = None if target_node is None else check_target(found, target_node)
    pairs = [check_pair(found, node, guide_node, target_node) for node in _all(document, syntax.Pair)]
    check_together(found, document.statements)
    schedule_node = _only(found, document, syntax.Schedule, "schedule")
    schedule = None if schedule_node is None else check_schedule(found, schedule_node)
    check_kept_guide(found, schedule, target)
    check_aligned_somewhere(found, [rule for rule in rules if rule is not None], schedule)
    recalibrate = [check_recalibrate(found, node) for node in _all(document, syntax.Recalibrate)]
    distinct(found, [node.module_class for node in _all(document, syntax.Recalibrate)], "`recalibrate`")
    finetune_node = _only(found, document, syntax.Finetune, "finetune")
    guide_name = None if guide_node is None else guide_node.name.text
    finetune = (
        None
        if finetune_node is None
        else check_training(found, finetune_node.block, "`finetune`", guide_name)
    )
    compare_node = _only(found, document, syntax.Compare, "compare")
    compare = None if compare_node is None else check_compare(found, compare_node)
    if document.version is not None or document.statements:
        _check_complete(found, document, settings, guide_required=guide_required)
    if not any(problem.code == "THX201" for problem in found.problems):  # else that is where it was meant
        _check_unused(found, document)
    if found.problems or schedule is None:
        raise Rejected(*_in_order(found.problems, document.source))
    return Spec(
        source=document.source,
        uses=(*(used.source for used in uses), *code.values()),
        params=MappingProxyType(dict(found.params)),
        guide=guide,
        inputs=tuple(i for i in inputs if i is not None),
        data=data,
        task=task,
        modules=MappingProxyType(definitions),
        code=MappingProxyType(dict(code)),
        patterns=MappingProxyType(dict(patterns.definitions)),
        rules=tuple(rule for rule in rules if rule is not None),
        target=target,
        pairs=tuple(pair for pair in pairs if pair is not None),
        schedule=schedule,
        recalibrate=tuple(r for r in recalibrate if r is not None),
        finetune=finetune,
        compare=compare,
        document=_resolved(document, uses, given),
    )


def check_used(document: syntax.Document) -> tuple[Diagnostic, ...]:
    """What is wrong with a file that another one uses: it defines modules, patterns and nothing else."""
    found = Findings()
    _check_version(found, document)
    definitions = _definitions(found, [document])
    patterns = Patterns.of(found, _all(document, syntax.PatternDefinition))
    for node in document.statements:
        match node:
            case syntax.ModuleDefinition(body=body) if code_reference(body) is not None:
                fix = "move it to the spec"
                found.note("THX212", "a file that others use names no Python file", body.span, help=[fix])
            case syntax.ModuleDefinition():
                check_definition(found, node, definitions)
            case syntax.PatternDefinition():
                patterns.check(found, node)
            case syntax.Use():
                found.note(
                    "THX212",
                    "a file that others use uses no file itself",
                    node.span,
                    help=[f"move `{node.span.text}` to the spec"],
                )
            case _:
                found.note("THX212", "a file that others use defines modules and patterns only", node.span)
    return tuple(_in_order(found.problems, document.source))


def _check_version(found: Findings, document: syntax.Document) -> None:
    if document.version is None:
        found.note(
            "THX103",
            "a spec begins with its version of the language",
            document.source.span(0, 1),
            help=[f"write `theseus {words.VERSION}` first"],
        )
        return
    span = document.version.span
    written = span.text.split()[-1]
    if written != str(words.VERSION):
        found.note(
            "THX103",
            f"this program reads version {words.VERSION} of the language, not {written}",
            Span(span.source, span.end - len(written), span.end),
            help=[f"write `theseus {words.VERSION}`"],
        )


def _definitions(found: Findings, documents: Sequence[syntax.Document]) -> dict[str, syntax.ModuleDefinition]:
    definitions: dict[str, syntax.ModuleDefinition] = {}
    for document in documents:
        for node in _all(document, syntax.ModuleDefinition):
            name = node.name
            if (earlier := definitions.get(name.text)) is not None:
                found.repeated(f"the module `{name.text}` is defined twice", name.span, earlier.name.span)
            definitions.setdefault(name.text, node)
    return definitions


def _check_complete(
    found: Findings,
    document: syntax.Document,
    settings: Mapping[str, syntax.Setting],
    *,
    guide_required: bool,
) -> None:
    """Notes the sentences that the spec lacks and cannot do without."""
    end = len(document.source.text.rstrip())
    last = document.source.span(max(0, end - 1), end)
    examples = {
        syntax.Guide: ("guide", 'guide net = torchvision.resnet18(weights = "IMAGENET1K_V1")'),
        syntax.Rule: ("rule", "rule conv { match Conv2d as c  replace with ... }"),
        syntax.Schedule: ("schedule", "schedule progressive { lr = 1e-3  for = 5 epochs }"),
    }
    if _all(document, syntax.Target) or _all(document, syntax.Pair):
        examples.pop(syntax.Rule)  # check_together says what they need instead
    for kind, (word, example) in examples.items():
        if not _all(document, kind) and (guide_required or kind is not syntax.Guide):
            found.note("THX207", f"the spec has no `{word}`", last, help=[f"write `{example}`"])
    compare = _all(document, syntax.Compare)
    finetune = _all(document, syntax.Finetune)
    needing = [
        *(node.name.span for node in _all(document, syntax.Guide) if node.trained_by is not None),
        *(Span(node.span.source, node.span.start, node.span.start + len("finetune")) for node in finetune),
        *(method_words(node) for node in compare),
    ]
    for name in words.TOP_SETTINGS if guide_required else ():
        if needing and name not in settings:
            found.note("THX207", f"the spec has no `{name}`, and this needs it", needing[0])
    if compare and not finetune:
        found.note("THX207", "`compare` needs a `finetune` to compare by", method_words(compare[0]))


def _check_unused(found: Findings, document: syntax.Document) -> None:
    used = set[str]().union(*map(names_of, document.statements))
    for node in _all(document, syntax.Param):
        if node.name.text not in used:
            found.note(
                "THX211",
                f"nothing uses the param `{node.name.text}`",
                node.name.span,
                help=["use it where it was meant, or remove it"],
            )


def _resolved(document: syntax.Document, uses: Sequence[syntax.Document], given: Given) -> syntax.Document:
    """The document with the used modules and patterns in it and the params as they were set."""
    kinds = (syntax.ModuleDefinition, syntax.PatternDefinition)
    defined = [node for used in uses for node in used.statements if isinstance(node, kinds)]
    own: list[syntax.Statement] = []
    for node in document.statements:
        if isinstance(node, syntax.Param) and node.name.text in given:
            own.append(replace(node, value=given[node.name.text]))
        elif not isinstance(node, syntax.Use):
            own.append(node)
    return replace(document, statements=(*defined, *own))


def _all(document: syntax.Document, kind: type[T]) -> list[T]:
    return [node for node in document.statements if isinstance(node, kind)]


def _only(found: Findings, document: syntax.Document, kind: type[S], word: str) -> S | None:
    nodes = _all(document, kind)
    for again in nodes[1:]:
        found.repeated(f"a spec has one `{word}`", again.span, nodes[0].span)
    return nodes[0] if nodes else None


def _in_order(problems: Sequence[Diagnostic], source: Source) -> list[Diagnostic]:
    """By place; those of other texts (`--set`) first."""

    def key(diagnostic: Diagnostic) -> tuple[int, int]:
        if diagnostic.primary is None:
            return (0, 0)
        span = diagnostic.primary.span
        return (1, span.start) if span.source is source else (0, span.start)

    return sorted(problems, key=key)
