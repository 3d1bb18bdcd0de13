"""`deformgan doctor`: is this installation sound, and if not, what to do."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

SIGNS = {"ok": "ok  ", "note": "note", "bad": "BAD "}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="All findings as JSON, for a bug report.")] = False,
) -> None:
    """Look at this installation: versions, threads, GPU, kernels, folders, memory, models, and a test registration.

    It takes about ten seconds, a minute more where the kernels are not compiled yet, and tells no names and no paths.
    Exit 1 if anything is bad.

    Examples:
        deformgan doctor
        deformgan doctor --json > doctor.json
    """
    from deformgan.cli.findings import Finding, findings

    seen: list[Finding] = []
    for finding in findings():
        seen.append(finding)
        if not as_json:
            typer.echo(f"{SIGNS[finding.state]}  {finding.name}: {finding.text}")
            if finding.advice:
                typer.echo(f"      -> {finding.advice}")
    bad = sum(finding.state == "bad" for finding in seen)
    if as_json:
        typer.echo(json.dumps({"sound": not bad, "findings": [asdict(finding) for finding in seen]}, indent=1))
    else:
        typer.echo(f"{bad} to be mended" if bad else "sound")
    if bad:
        raise typer.Exit(1)
