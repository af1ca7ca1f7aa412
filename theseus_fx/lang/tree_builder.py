"""From Lark's tree to the syntax tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from lark import Token, Tree

from theseus_fx.lang import syntax
from theseus_fx.lang.source import Source, Span

Node = Tree[Token] | Token | None
"""What Lark puts among the children; None where something optional is absent."""
MOST_NESTED = 100
_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}


def version(source: Source, tree: Tree[Token]) -> syntax.Version | None:
    """The version sentence of a parsed text, if it has one."""
    for child in tree.children:
        if isinstance(child, Tree) and child.data == "version":
            return syntax.Version(_number(cast("Token", child.children[0])), _Builder(source).span(child))
    return None


def statements(source: Source, tree: Tree[Token]) -> Iterator[syntax.Statement]:
    """The statements of a parsed text, in order."""
    build = _Builder(source)
    for child in tree.children:
        if isinstance(child, Tree) and child.data != "version":
            yield build.statement(child)


def value(source: Source, tree: Tree[Token]) -> syntax.Expression:
    """The expression of a parsed value."""
    return _Builder(source).expression(tree.children[0])


def too_deep(source: Source, tree: Tree[Token]) -> Span | None:
    """The first place nested deeper than `MOST_NESTED`, if there is one; what walks a tree may recurse."""
    level: list[Tree[Token]] = [tree]
    for _ in range(MOST_NESTED):
        level = [child for node in level for child in node.children if isinstance(child, Tree)]
    return _Builder(source).span(level[0]) if level else None


class _Builder:
    """Builds nodes of one source."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def span(self, node: Tree[Token] | Token) -> Span:
        if isinstance(node, Token):
            return self.source.span(node.start_pos or 0, node.end_pos or 0)
        meta = node.meta
        return Span(self.source, 0, 0) if meta.empty else self.source.span(meta.start_pos, meta.end_pos)

    # --- statements ---

    def statement(self, tree: Tree[Token]) -> syntax.Statement:
        span, children = self.span(tree), _children(tree)
        match tree.data:
            case "use":
                return syntax.Use(self.text(children[0]), span)
            case "param":
                setting = self.setting(_tree(children[0]))
                return syntax.Param(setting.name, setting.value, span)
            case "guide":
                setting = self.setting(_tree(children[0]))
                block = None if children[1] is None else self.block(_tree(children[1]))
                return syntax.Guide(setting.name, setting.value, block, span)
            case "input":
                shape = tuple(self.expression(c) for c in children[2:] if c is not None)
                return syntax.Input(self.word(children[0]), self.word(children[1]), shape, span)
            case "module":
                return self.definition(tree)
            case "pattern":
                return self.pattern_definition(tree)
            case "rule":
                return self.rule(tree)
            case "schedule":
                rest = [_tree(c) for c in children[1:]]
                return syntax.Schedule(
                    self.word(children[0]),
                    tuple(self.setting(c) for c in rest if c.data == "setting"),
                    tuple(self.stage(c) for c in rest if c.data == "stage"),
                    span,
                    tuple(self.group(c) for c in rest if c.data == "group"),
                    tuple(self.require(c) for c in rest if c.data == "require"),
                )
            case "recalibrate":
                return syntax.Recalibrate(self.word(children[0]), self.block(_tree(children[1])), span)
            case "finetune":
                return syntax.Finetune(self.block(_tree(children[0])), span)
            case "compare":
                block = None if children[1] is None else self.block(_tree(children[1]))
                return syntax.Compare(self.words(_tree(children[0])), block, span)
            case "setting":
                return self.setting(tree)
            case "target":
                setting = self.setting(_tree(children[0]))
                return syntax.Target(setting.name, setting.value, span)
            case "pair":
                return self.pair(tree)
            case other:
                raise AssertionError(f"the grammar has a statement {other} that nothing builds")

    def definition(self, tree: Tree[Token]) -> syntax.ModuleDefinition:
        if len(tree.children) == 1:  # `module X = python("mine.py").X`
            setting, doc = (
                self.setting(_tree(tree.children[0])),
                _comment_above(self.source, tree.meta.start_pos),
            )
            return syntax.ModuleDefinition(setting.name, (), (), setting.value, doc, self.span(tree))
        name, parameters, body = _children(tree)
        given = [] if parameters is None else [c for c in _children(_tree(parameters)) if c is not None]
        inside = [_tree(body)] if _tree(body).data != "body" else [_tree(c) for c in _children(_tree(body))]
        span = self.span(tree)
        return syntax.ModuleDefinition(
            name=self.word(name),
            parameters=tuple(self.parameter(_tree(c)) for c in given),
            values=tuple(self.setting(c) for c in inside[:-1]),
            body=self.expression(inside[-1]),
            doc=_comment_above(self.source, span.start),
            span=span,
        )

    def parameter(self, tree: Tree[Token]) -> syntax.Parameter:
        inside = _tree(tree.children[0])
        if inside.data != "setting":
            return syntax.Parameter(self.word(inside), None, self.span(tree))
        setting = self.setting(inside)
        return syntax.Parameter(setting.name, setting.value, self.span(tree))

    def pattern_definition(self, tree: Tree[Token]) -> syntax.PatternDefinition:
        name, parameters, *rest = _children(tree)
        body = [_tree(c) for c in rest]
        span = self.span(tree)
        return syntax.PatternDefinition(
            name=self.word(name),
            parameters=() if parameters is None else self.words(_tree(parameters)),
            bindings=tuple(self.setting(c) for c in body if c.data == "setting"),
            results=tuple(self.expression(c.children[0]) for c in body if c.data == "returned"),
            doc=_comment_above(self.source, span.start),
            span=span,
        )

    def rule(self, tree: Tree[Token]) -> syntax.Rule:
        name, *rest = _children(tree)
        clauses = [_tree(c) for c in rest]

        def of(kind: str) -> list[Tree[Token]]:
            return [clause for clause in clauses if clause.data == kind]

        return syntax.Rule(
            name=self.word(name),
            matches=tuple(self.pattern(c) for c in of("match")),
            within=tuple(g for c in of("within") for g in self.globs(c)),
            where=tuple(self.expression(c.children[0]) for c in of("where")),
            expect=tuple(self.number(_tree(c.children[0])) for c in of("expect")),
            keep=tuple(g for c in of("keep") for g in self.globs(c)),
            replacements=tuple(self.expression(c.children[0]) for c in of("replace")),
            span=self.span(tree),
            aligns=tuple(self.align(c) for c in of("align")),
        )

    def align(self, tree: Tree[Token]) -> syntax.Align:
        value, target, *settings = _children(tree)
        return syntax.Align(
            value=self.expression(value),
            target=None if target is None else self.word(target),
            settings=tuple(self.setting(_tree(c)) for c in settings),
            span=self.span(tree),
        )

    def pair(self, tree: Tree[Token]) -> syntax.Pair:
        name, *rest = _children(tree)
        clauses = [_tree(c) for c in rest]
        return syntax.Pair(
            name=self.word(name),
            guides=tuple(self.side(c) for c in clauses if c.data == "guide_side"),
            targets=tuple(self.side(c) for c in clauses if c.data == "target_side"),
            expect=tuple(self.number(_tree(c.children[0])) for c in clauses if c.data == "expect"),
            span=self.span(tree),
        )

    def side(self, tree: Tree[Token]) -> syntax.Side:
        value, *rest = _children(tree)
        clauses = [_tree(c) for c in rest]
        pattern = self.expression(value)
        return syntax.Side(
            pattern=syntax.Pattern(pattern, None, pattern.span),
            network=tuple(self.word(c.children[0]) for c in clauses if c.data == "network"),
            within=tuple(g for c in clauses if c.data == "inside" for g in self.globs(c)),
            keep=tuple(g for c in clauses if c.data == "keep" for g in self.globs(c)),
            windows=tuple(self.windows(c) for c in clauses if c.data in ("every", "by", "split", "at")),
            settings=tuple(self.setting(c) for c in clauses if c.data == "setting"),
            span=self.span(tree),
        )

    def windows(self, tree: Tree[Token]) -> syntax.Windows:
        span, inside = self.span(tree), tree.children[0]
        if tree.data == "every":
            return syntax.Every(self.number(_tree(inside)), span)
        if tree.data == "at":
            items = tuple(self.expression(c) for c in _children(_tree(inside)) if c is not None)
            return syntax.At(syntax.ListOf(items, self.span(inside)), span)
        return syntax.By(self.text(inside), tree.data == "split", span)

    def pattern(self, tree: Tree[Token]) -> syntax.Pattern:
        value, name = _children(tree)
        binding = None if name is None else self.word(name)
        return syntax.Pattern(self.expression(value), binding, self.span(tree))

    def globs(self, tree: Tree[Token]) -> list[syntax.Glob]:
        texts = [self.text(c) for c in _tree(tree.children[0]).children]
        return [syntax.Glob(text.value, text.span) for text in texts]

    def stage(self, tree: Tree[Token]) -> syntax.Stage:
        first, last, body = _children(tree)
        inside = [_tree(c) for c in _children(_tree(body))]
        return syntax.Stage(
            self.number(_tree(first)),
            None if last is None else self.number(_tree(last)),
            syntax.Block(
                tuple(self.setting(c) for c in inside if c.data == "setting"), self.span(_tree(body))
            ),
            self.span(tree),
            tuple(self.require(c) for c in inside if c.data == "require"),
        )

    def group(self, tree: Tree[Token]) -> syntax.GroupBy:
        return syntax.GroupBy(tuple(self.globs(tree)), self.span(tree))

    def require(self, tree: Tree[Token]) -> syntax.Require:
        condition, *otherwise, keeps = _children(tree)
        return syntax.Require(
            self.expression(condition),
            next(map(self.expression, otherwise), None),
            None if keeps is None else self.span(_tree(keeps)),
            self.span(tree),
        )

    def block(self, tree: Tree[Token]) -> syntax.Block:
        return syntax.Block(tuple(self.setting(_tree(c)) for c in tree.children), self.span(tree))

    def setting(self, tree: Tree[Token]) -> syntax.Setting:
        name = cast("Token", tree.children[0])
        value = self.expression(tree.children[1])
        return syntax.Setting(syntax.Word(str(name), self.span(name)), value, self.span(tree))

    def word(self, node: Node) -> syntax.Word:
        token = cast("Token", _tree(node).children[0])
        return syntax.Word(str(token), self.span(token))

    def words(self, tree: Tree[Token]) -> tuple[syntax.Word, ...]:
        return tuple(self.word(c) for c in tree.children)

    def number(self, tree: Tree[Token]) -> syntax.Number:
        return syntax.Number(_number(cast("Token", tree.children[0])), self.span(tree))

    def text(self, node: Node) -> syntax.Text:
        token = cast("Token", node)
        return syntax.Text(_unescaped(str(token)[1:-1]), self.span(token))

    # --- expressions ---

    def expression(self, node: Node) -> syntax.Expression:
        tree = _tree(node)
        span, children = self.span(tree), _children(tree)
        match tree.data:
            case "name":
                return syntax.Name(str(children[0]), span)
            case "keyword_name":
                return syntax.Name(span.text, span)
            case "number":
                return self.number(tree)
            case "quantity":
                return self.quantity(cast("Token", children[0]))
            case "text":
                return self.text(children[0])
            case "list":
                return syntax.ListOf(tuple(self.expression(c) for c in children if c is not None), span)
            case "attribute":
                token = cast("Token", children[1])
                place = self.source.span((token.start_pos or 0) + 1, token.end_pos or 0)
                return syntax.Attribute(self.expression(children[0]), str(token)[1:], span, place)
            case "index":
                return syntax.Index(self.expression(children[0]), self.expression(children[1]), span)
            case "call":
                arguments = tuple(self.argument(_tree(c)) for c in children[1:] if c is not None)
                return syntax.Call(self.expression(children[0]), arguments, span)
            case "unary":
                return syntax.Unary(str(children[0]), self.expression(children[1]), span)
            case "binary":
                operator = cast("Token", children[1])
                left, right = self.expression(children[0]), self.expression(children[2])
                return syntax.Binary(str(operator), left, right, span, self.span(operator))
            case "chain":
                return syntax.Chain(tuple(self.expression(c) for c in children), span)
            case other:
                raise AssertionError(f"the grammar has an expression {other} that nothing builds")

    def quantity(self, token: Token) -> syntax.Quantity:
        number, unit = token.split(maxsplit=1)
        span = self.span(token)
        place = Span(self.source, span.end - len(unit), span.end)
        return syntax.Quantity(_number(number), unit, span, place)

    def argument(self, tree: Tree[Token]) -> syntax.Argument:
        inside = _tree(tree.children[0])
        if inside.data != "named":
            return syntax.Argument(None, self.expression(inside), self.span(tree), None)
        name = cast("Token", inside.children[0])
        value = self.expression(inside.children[1])
        return syntax.Argument(str(name), value, self.span(tree), self.span(name))


def _children(tree: Tree[Token]) -> list[Node]:
    return cast("list[Node]", tree.children)  # Lark's annotation leaves out the placeholders


def _tree(node: Node) -> Tree[Token]:
    if not isinstance(node, Tree):
        raise TypeError(f"the grammar gives a tree here, not {node!r}")
    return node


def _number(text: str) -> int | float:
    return int(text) if text.isdigit() else float(text)


def _unescaped(text: str) -> str:
    out: list[str] = []
    characters = iter(text)
    for character in characters:
        if character != "\\":
            out.append(character)
            continue
        escaped = next(characters, "\\")
        out.append(_ESCAPES.get(escaped, f"\\{escaped}"))
    return "".join(out)


def _comment_above(source: Source, offset: int) -> str:
    """The comment lines right above an offset that begins its line, without their marks."""
    lines: list[str] = []
    number, column = source.position(offset)
    if source.line(number)[: column - 1].strip():
        return ""
    number -= 1
    while number >= 1 and source.line(number).lstrip().startswith("#"):
        lines.insert(0, source.line(number).lstrip().removeprefix("#").strip())
        number -= 1
    return "\n".join(lines)
