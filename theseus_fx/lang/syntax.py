"""The syntax tree: what the text says, before anyone asks whether it makes sense.

Every node is frozen and carries its span. Expressions are a closed union (`Expression`), and so are
statements (`Statement`).
"""

from __future__ import annotations

from dataclasses import dataclass

from theseus_fx.lang.source import Source, Span

# --- expressions -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Name:
    """A word by itself: `rank`, `none`, `true`, `adamw`."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Number:
    """A number without a unit; an int where it is written like one."""

    value: int | float
    span: Span


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with the word behind it on the same line: `5 epochs`."""

    value: int | float
    unit: str
    span: Span
    unit_span: Span


@dataclass(frozen=True, slots=True)
class Text:
    """A quoted string."""

    value: str
    span: Span


@dataclass(frozen=True, slots=True)
class ListOf:
    """`[a, b, c]`."""

    items: tuple[Expression, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Attribute:
    """`value.name`."""

    value: Expression
    name: str
    span: Span
    name_span: Span


@dataclass(frozen=True, slots=True)
class Index:
    """`value[index]`."""

    value: Expression
    index: Expression
    span: Span


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call; `name` is None for a positional one."""

    name: str | None
    value: Expression
    span: Span
    name_span: Span | None


@dataclass(frozen=True, slots=True)
class Call:
    """`function(a, name = b)`; the function is a name or a dotted name."""

    function: Expression
    arguments: tuple[Argument, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Unary:
    """`-x` and `not x`."""

    operator: str
    operand: Expression
    span: Span


@dataclass(frozen=True, slots=True)
class Binary:
    """`+ - * / // %`, comparisons (`== != < <= > >=`), `and`, `or`."""

    operator: str
    left: Expression
    right: Expression
    span: Span
    operator_span: Span


@dataclass(frozen=True, slots=True)
class Chain:
    """`a |> b |> c`: data flows from left to right."""

    steps: tuple[Expression, ...]
    span: Span


Expression = Name | Number | Quantity | Text | ListOf | Attribute | Index | Call | Unary | Binary | Chain

# --- statements --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Word:
    """A name that a sentence gives or takes, with its place."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Setting:
    """`name = expression` at the top level or in a block."""

    name: Word
    value: Expression
    span: Span


@dataclass(frozen=True, slots=True)
class Block:
    """`{ setting* }`."""

    settings: tuple[Setting, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Version:
    """`theseus 1`."""

    number: int | float
    """As written; the checker says which there are."""
    span: Span


@dataclass(frozen=True, slots=True)
class Use:
    """`use "std/low_rank.thx"`."""

    path: Text
    span: Span


@dataclass(frozen=True, slots=True)
class Param:
    """`param rank = 256`."""

    name: Word
    value: Expression
    span: Span


@dataclass(frozen=True, slots=True)
class Guide:
    """`guide net = call`, with `trained by { ... }` where it has to be trained first."""

    name: Word
    model: Expression
    trained_by: Block | None
    span: Span


@dataclass(frozen=True, slots=True)
class Input:
    """`input image: f32[batch, 3, 224, 224]`."""

    name: Word
    dtype: Word
    shape: tuple[Expression, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Parameter:
    """`hidden = 4 * part.out.channels` of a definition; without a default it has to be given."""

    name: Word
    default: Expression | None
    span: Span


@dataclass(frozen=True, slots=True)
class ModuleDefinition:
    """`module LowRankLinear(part, rank) = chain`, or `{ h = chain  return h + it }` with values by name,
    or `module Block = python("mine.py").Block`.

    `doc` is the comment right above it.
    """

    name: Word
    parameters: tuple[Parameter, ...]
    values: tuple[Setting, ...]
    body: Expression
    doc: str
    span: Span

    @property
    def signature(self) -> str:
        """`LowRankLinear(part, rank)`, defaults as they are written."""
        return f"{self.name.text}({', '.join(' '.join(p.span.text.split()) for p in self.parameters)})"


@dataclass(frozen=True, slots=True)
class PatternDefinition:
    """`pattern residual(x) { name = value ...  return value }`; `doc` is the comment right above it."""

    name: Word
    parameters: tuple[Word, ...]
    bindings: tuple[Setting, ...]
    results: tuple[Expression, ...]
    """As written; the checker says that there is one."""
    doc: str
    span: Span

    @property
    def signature(self) -> str:
        """`rotary(x, cos, sin)`."""
        return f"{self.name.text}({', '.join(word.text for word in self.parameters)})"


Definition = ModuleDefinition | PatternDefinition
"""What a file that others use can hold."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """`Conv2d(kernel_size = 3) as c`."""

    value: Expression
    binding: Word | None
    span: Span


@dataclass(frozen=True, slots=True)
class Glob:
    """A quoted path pattern over module names: `"layer*"`."""

    pattern: str
    span: Span


@dataclass(frozen=True, slots=True)
class Align:
    """`align r.main ~ hidden  weight = 0.5`."""

    value: Expression
    target: Word | None
    settings: tuple[Setting, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Rule:
    """`rule name { match ... where ... keep ... replace with ... align ... }`, clauses as written."""

    name: Word
    matches: tuple[Pattern, ...]
    within: tuple[Glob, ...]
    where: tuple[Expression, ...]
    expect: tuple[Number, ...]
    keep: tuple[Glob, ...]
    replacements: tuple[Expression, ...]
    span: Span
    aligns: tuple[Align, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupBy:
    """`group by "conv1", "layer{i}"`: parts whose paths fit alike are introduced in one stage."""

    patterns: tuple[Glob, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Require:
    """`require cka > 0.85 else extend(2) else keep guide`: a gate at the end of a stage."""

    condition: Expression
    otherwise: Expression | None
    keeps: Span | None
    """Where `keep guide` stands, if it does."""
    span: Span


@dataclass(frozen=True, slots=True)
class Stage:
    """`stage 6..7 { ... }`: 1-based, both ends included."""

    first: Number
    last: Number | None
    block: Block
    span: Span
    requires: tuple[Require, ...] = ()


@dataclass(frozen=True, slots=True)
class Schedule:
    """`schedule progressive { (setting | group | require | stage)* }`."""

    kind: Word
    settings: tuple[Setting, ...]
    stages: tuple[Stage, ...]
    span: Span
    groups: tuple[GroupBy, ...] = ()
    requires: tuple[Require, ...] = ()


@dataclass(frozen=True, slots=True)
class Recalibrate:
    """`recalibrate BatchNorm2d { over = 200 batches }`."""

    module_class: Word
    block: Block
    span: Span


@dataclass(frozen=True, slots=True)
class Finetune:
    """`finetune { ... }`."""

    block: Block
    span: Span


@dataclass(frozen=True, slots=True)
class Compare:
    """`compare naive, random_start { ... }`; the block is optional."""

    methods: tuple[Word, ...]
    block: Block | None
    span: Span


# --- a target network of its own ---


@dataclass(frozen=True, slots=True)
class Target:
    """`target small = call`."""

    name: Word
    model: Expression
    span: Span


@dataclass(frozen=True, slots=True)
class Every:
    """`every 2`."""

    count: Number
    span: Span


@dataclass(frozen=True, slots=True)
class By:
    """`by "layer{i}"`, or `split by "layer{i}"`."""

    pattern: Text
    split: bool
    span: Span


@dataclass(frozen=True, slots=True)
class At:
    """`at ["layer1.0", "layer1.2"]`."""

    ends: ListOf
    span: Span


Windows = Every | By | At


@dataclass(frozen=True, slots=True)
class Side:
    """`guide Bottleneck in big within "layer*" every 2 crossing = cut`, clauses as written."""

    pattern: Pattern
    network: tuple[Word, ...]
    within: tuple[Glob, ...]
    keep: tuple[Glob, ...]
    windows: tuple[Windows, ...]
    settings: tuple[Setting, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Pair:
    """`pair block { guide ...  target ...  expect 8 }`, clauses as written."""

    name: Word
    guides: tuple[Side, ...]
    targets: tuple[Side, ...]
    expect: tuple[Number, ...]
    span: Span


Statement = (
    Use
    | Param
    | Setting
    | Guide
    | Input
    | ModuleDefinition
    | PatternDefinition
    | Rule
    | Schedule
    | Recalibrate
    | Finetune
    | Compare
    | Target
    | Pair
)


@dataclass(frozen=True, slots=True)
class Document:
    """One file."""

    source: Source
    version: Version | None
    statements: tuple[Statement, ...]
