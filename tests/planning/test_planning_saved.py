"""Saved plans: opened again where nothing has changed, refused with the reason where something has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from theseus_fx import api
from theseus_fx.lang.diagnostics import Diagnostic, Rejected

SPEC = """theseus 1
use "shape.thx"
param rank = 4
guide net = small_resnet(width = 4, channels = 1)
input image: f32[batch, 1, 8, 8]
rule conv { match Conv2d as c in "layer3"  replace with Low(c, rank) }
schedule progressive { lr = 1e-3  for = 2 steps }
"""
USED = """theseus 1
module Low(part, rank) =
  flatten |> Linear(rank, bias = false) |> Linear(part.out.features) |> reshape(part.out.shape)
"""


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A plan saved beside its spec."""
    (tmp_path / "shape.thx").write_text(USED)
    (tmp_path / "net.thx").write_text(SPEC)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(api.plan(tmp_path / "net.thx", set={"rank": "3"}).as_json()))
    return path


def refused(path: Path) -> Diagnostic:
    with pytest.raises(Rejected) as caught:
        api.open_plan(path)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.render()
    return diagnostic


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def test_an_unchanged_plan_is_opened_as_it_was(saved: Path) -> None:
    plan = api.open_plan(saved)
    assert plan.as_json() == json.loads(saved.read_text())
    assert plan.assignments == {"rank": "3"}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    diagnostic = refused(tmp_path / "plan.json")
    assert diagnostic.code == "THX001"
    assert "theseus-fx plan SPEC --out" in diagnostic.help[0]


def test_a_folder(tmp_path: Path) -> None:
    assert refused(tmp_path).code == "THX002"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not JSON"),
        (b"theseus 1\n", "it is not JSON"),
        (b"\xff\xfe\x00", "it is not JSON"),
        (b"[1, 2]", "its kind is not `theseus-fx plan`"),
        (b'{"kind": "something"}', "its kind is not `theseus-fx plan`"),
        (b'{"kind": "theseus-fx plan"}', "its schema is None, this version reads 2"),
        (b'{"kind": "theseus-fx plan", "schema": 99}', "its schema is 99, this version reads 2"),
        (b'{"kind": "theseus-fx plan", "schema": 2}', "it does not say which spec files"),
    ],
)
def test_a_file_that_is_no_plan(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    diagnostic = refused(path)
    assert diagnostic.code == "THX506"
    assert reason in diagnostic.message


@pytest.mark.parametrize(
    "edit",
    [
        lambda plan: plan["spec"].pop("path"),
        lambda plan: plan["spec"].pop("files"),
        lambda plan: plan["spec"].update(files=[]),
        lambda plan: plan["spec"]["files"][0].pop("sha256"),
        lambda plan: plan["spec"].update(assignments=["rank"]),
        lambda plan: plan["spec"].update(assignments={"rank": 3}),
        lambda plan: plan["guide"].pop("fingerprint"),
    ],
)
def test_a_plan_that_lacks_what_it_was_made_from(
    saved: Path, edit: Callable[[dict[str, Any]], object]
) -> None:
    change(saved, edit)
    assert refused(saved).code == "THX506"


def test_a_changed_spec(saved: Path) -> None:
    spec = saved.parent / "net.thx"
    spec.write_text(SPEC.replace("2 steps", "3 steps"))
    diagnostic = refused(saved)
    assert diagnostic.code == "THX505"
    assert f"{spec} has changed" in diagnostic.message
    assert "plan again" in diagnostic.help[0]


def test_a_spec_that_is_gone(saved: Path) -> None:
    (saved.parent / "net.thx").unlink()
    diagnostic = refused(saved)
    assert diagnostic.code == "THX505"
    assert "cannot be read any more" in diagnostic.message


def test_a_changed_file_that_the_spec_uses(saved: Path) -> None:
    (saved.parent / "shape.thx").write_text(USED + "\n# more\n")
    diagnostic = refused(saved)
    assert diagnostic.code == "THX505"
    assert "shape.thx has changed" in diagnostic.message


def test_a_changed_model(saved: Path) -> None:
    change(saved, lambda plan: plan["guide"].update(fingerprint="0" * 64))
    diagnostic = refused(saved)
    assert diagnostic.code == "THX505"
    assert "the model small_resnet has changed" in diagnostic.message


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda plan: plan["stages"].pop(), "stages"),
        (lambda plan: plan["parts"][0].update(path="other"), "parts"),
        (lambda plan: plan.pop("totals"), "totals"),
        (lambda plan: plan.update(extra=1), "extra"),
        (lambda plan: plan["spec"].update(params={"rank": 5}), "spec"),
    ],
)
def test_an_edited_plan(saved: Path, edit: Callable[[dict[str, Any]], object], named: str) -> None:
    change(saved, edit)
    diagnostic = refused(saved)
    assert diagnostic.code == "THX505"
    assert diagnostic.message.endswith(f"planning again gives other {named}")
