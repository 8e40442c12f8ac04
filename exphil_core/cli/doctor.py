"""`exphil doctor`: check this machine's installation and hardware; exit code 1 where a check fails."""

import json
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from exphil_core.cli.examine import Finding, run_checks
from exphil_core.cli.format import console

_MARK = {"good": ("ok", "green"), "optional": ("--", "yellow"), "wrong": ("!!", "red")}


def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check this machine's installation and hardware, and say how to fix what is missing."""
    findings = run_checks()
    ok = all(finding.state != "wrong" for finding in findings)
    if as_json:
        print(json.dumps({"ok": ok, "findings": [_object(finding) for finding in findings]}))
    else:
        _print(findings, ok=ok)
    if not ok:
        raise typer.Exit(1)


def _print(findings: Sequence[Finding], *, ok: bool) -> None:
    out = console()
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark, style = _MARK[finding.state]
        out.print(Text.assemble((mark, style), f" {finding.name:<{width}}  {finding.text}"), soft_wrap=True)
        if finding.advice:
            out.print(Text(f"   {'':<{width}}  → {finding.advice}"), soft_wrap=True)
    out.print("\nReady to train." if ok else "\nNot ready: fix the lines marked !! first.", markup=False)


def _object(finding: Finding) -> dict[str, object]:
    return {
        "name": finding.name,
        "state": finding.state,
        "text": finding.text,
        "advice": finding.advice or None,
        "values": dict(finding.values),
    }
