"""Law: encoder and backbone of a policy are called by the policy alone, so that nothing it is given is left out."""

import ast
from collections.abc import Iterator
from pathlib import Path

import exphil_core

ROOT = Path(exphil_core.__file__).parent
PARTS = {"encoder", "backbone", "delay_table"}


def test_only_a_policy_calls_its_parts() -> None:
    files = [
        path
        for folder in (ROOT, ROOT.parent / "exphil_tui", ROOT.parent / "benchmarks")
        for path in folder.rglob("*.py")
        if path.parent not in (ROOT / "models", ROOT / "encoding")
    ]
    assert len(files) > 100
    found = {str(path.relative_to(ROOT.parent)): list(called_parts(path.read_text())) for path in files}
    assert {name: lines for name, lines in found.items() if lines} == {}, "call a method of Policy instead"


def test_the_law_sees_every_way_of_calling_a_part() -> None:
    calls = (
        "policy.encoder(columns)",
        "self.policy.encoder.forward(columns)",
        "policy.backbone.step(x, reset, state)",
        "policy.backbone(x, reset)",
        "encode = policy.encoder; encode(columns)",
        "getattr(policy, 'encoder')(columns)",
        "policy.codec.encode(controller_at(columns))",
    )
    for call in calls:
        assert list(called_parts(call)) == [1], call
    for fine in (
        "policy.encode(frame)",
        "preset.encoder.width",
        "policy.encoder.modules()",
        "preset.backbone",
    ):
        assert list(called_parts(fine)) == [], fine


def called_parts(source: str) -> Iterator[int]:
    """Lines on which a part of a policy is called, or taken out of it to be called."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(attr=name)) if name in PARTS:
                yield node.lineno
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr=name), attr="step" | "forward")) if (
                name in PARTS
            ):
                yield node.lineno
            case ast.Assign(value=ast.Attribute(value=ast.Name(id="policy"), attr=name)) if name in PARTS:
                yield node.lineno
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=name), *_]) if (
                name in PARTS
            ):
                yield node.lineno
            case ast.Call(func=ast.Name(id="controller_at")):
                yield node.lineno
