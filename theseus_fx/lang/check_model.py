"""The guide, its inputs, the data and the task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, cast

from theseus_fx.lang import syntax, words
from theseus_fx.lang.check_calls import invocation, library_call
from theseus_fx.lang.check_training import check_training
from theseus_fx.lang.check_values import WRONG, constant
from theseus_fx.lang.code import PYTHON, Code, code_reference
from theseus_fx.lang.diagnostics import near_names
from theseus_fx.lang.findings import Findings, one_of
from theseus_fx.lang.names import dotted
from theseus_fx.lang.spec import Guide, Input, Invocation, Target, Task
from theseus_fx.lang.torchvision_names import TORCHVISION

Settings = Mapping[str, syntax.Setting]


def check_guide(found: Findings, node: syntax.Guide) -> Guide | None:
    """A `guide` sentence; whether a library has the model is for whoever builds it."""
    training = None
    if node.trained_by is not None:
        training = check_training(found, node.trained_by, "`trained by`", None)
        if training is not None and len(training.lr.candidates) > 1:
            found.note(
                "THX208",
                "a guide is trained at one rate",
                training.lr.span,
                help=["`choose` is for `finetune`"],
            )
    model = _model(found, node.model, "guide")
    if model is None:
        return None
    return Guide(name=node.name.text, model=model, training=training, span=node.span)


def check_target(found: Findings, node: syntax.Target) -> Target | None:
    """A `target` sentence: a model as a guide is one."""
    model = _model(found, node.model, "target")
    return None if model is None else Target(name=node.name.text, model=model, span=node.span)


def check_data(found: Findings, settings: Settings) -> Invocation | None:
    """The `data` setting, if there is one."""
    call = _call(settings, "data")
    if call is None:
        return None
    name = dotted(call.function)
    if not one_of(found, name, call.function.span, tuple(words.SOURCES), "data source"):
        return None
    return invocation(found, call, words.SOURCES[name])


def check_task(found: Findings, settings: Settings) -> Task | None:
    """The `task` setting, if there is one."""
    call = _call(settings, "task")
    if call is None:
        return None
    reference = code_reference(call.function)
    if reference is not None:
        found.task_loss = "task"
        own = _of_code(found, call, *reference)
        return None if own is None else Task(kind="own", call=own, span=call.span)
    name = dotted(call.function)
    if not one_of(found, name, call.function.span, tuple(words.TASKS), "task"):
        return None
    made = invocation(found, call, words.TASKS[name])
    if made is None:
        return None
    classes, metric = (cast("Any", made.keywords.get(key)) for key in ("classes", "metric"))
    if metric == "top5" and classes <= 5:
        said = f"of {classes} classes, five are no choice"
        found.note("THX208", said, made.spans["metric"], help=['write `metric = "accuracy"`'])
        return None
    return Task(kind=cast("Any", name), classes=classes, metric=metric, span=call.span)


def check_input(found: Findings, node: syntax.Input) -> Input | None:
    """An `input` sentence."""
    if not one_of(found, node.dtype.text, node.dtype.span, words.DTYPES, "dtype"):
        return None
    shape: list[int | Literal["batch"]] = []
    for size in node.shape:
        if isinstance(size, syntax.Name) and size.text == "batch":
            shape.append("batch")
            continue
        value = constant(found, size)
        if value is WRONG:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            found.note("THX203", "a size is a whole number or `batch`", size.span)
            return None
        if value < 1:
            found.note("THX208", f"a size is at least 1, not {value}", size.span)
            return None
        shape.append(value)
    if shape.count("batch") != 1 or shape[0] != "batch":
        place = node.shape[0].span.to(node.shape[-1].span)
        found.note("THX208", "the first size of an input is `batch`, and no other is", place)
        return None
    return Input(name=node.name.text, dtype=cast("Any", node.dtype.text), shape=tuple(shape), span=node.span)


def _call(settings: Settings, name: str) -> syntax.Call | None:
    """The value of a setting as a call; a word by itself is one without arguments."""
    if name not in settings:
        return None
    value = settings[name].value
    return value if isinstance(value, syntax.Call) else syntax.Call(value, (), value.span)


def _model(found: Findings, expression: syntax.Expression, what: str) -> Invocation | None:
    if not isinstance(expression, syntax.Call):
        fix = "write `torchvision.resnet18(weights = none)`"
        found.note("THX203", f"a {what} is a call", expression.span, help=[fix])
        return None
    reference = code_reference(expression.function)
    if reference is not None:
        return _of_code(found, expression, *reference)
    name = dotted(expression.function)
    library, _, rest = name.partition(".")
    if name in words.ZOO:
        return invocation(found, expression, words.ZOO[name])
    if library in words.LIBRARIES and rest:
        return library_call(found, expression)
    near = _near_models(name, library)
    libraries = (f"`{lib}.NAME`" for lib in words.LIBRARIES)
    listed = ", ".join([*(f"`{zoo}`" for zoo in words.ZOO), *libraries, f'`{PYTHON}("file.py").NAME`'])
    found.note(
        "THX301",
        f"there is no model `{name}`",
        expression.function.span,
        help=near or [f"models are {listed}"],
    )
    return None


def _of_code(found: Findings, call: syntax.Call, path: syntax.Text, name: str) -> Invocation | None:
    """A call of a class of a person's own Python file."""
    made = library_call(found, call)
    code = Code(found.code[path.value], name)
    return None if made is None else replace(made, name=str(code), code=code)


def _near_models(name: str, library: str) -> tuple[str, ...]:
    """What a name may have meant; first the model of torchvision of this very name."""
    known = [*words.ZOO, *words.LIBRARIES, PYTHON]
    if name in TORCHVISION:
        return (f"did you mean `torchvision.{name}`?",)
    if library in known:
        return ()
    whole = {model: f"torchvision.{model}" for model in TORCHVISION if library == name}
    near = near_names(library, [*known, *whole], most=1)
    return tuple(f"did you mean `{whole.get(found, found)}`?" for found in near)
