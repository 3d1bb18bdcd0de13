"""Options that several commands share, so that they are called, explained and completed alike everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

from deformgan.cli import completion

# Panels of the help of long commands.
FILES, METHOD, LIMITS, MODELS, RUNNING = "Input and output", "What is done", "How far", "Trained models", "Running"

Device = Annotated[
    str, typer.Option(help="cpu, cuda, cuda:1, mps.", autocompletion=completion.devices, rich_help_panel=RUNNING)
]
Threads = Annotated[int, typer.Option(help="CPU threads; 0 = all.", rich_help_panel=RUNNING)]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", "-n", help="Check the input, say what would be done, for how long; write nothing.",
        rich_help_panel=RUNNING,
    ),
]  # fmt: skip
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.", rich_help_panel=RUNNING)]
OneVolume = Annotated[int | None, typer.Option(help="Which volume of a 4-D file, from 0.", rich_help_panel=FILES)]
