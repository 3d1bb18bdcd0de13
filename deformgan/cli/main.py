"""`deformgan`: the commands together, and how errors end them."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from deformgan import __version__
from deformgan.cli.batch import batch
from deformgan.cli.evaluate import evaluate
from deformgan.cli.models import models
from deformgan.cli.prepare import prepare
from deformgan.cli.process import expect_short_work, leave_at_once
from deformgan.cli.register import register
from deformgan.cli.synthesize import synthesize
from deformgan.cli.train import train
from deformgan.cli.transform import transform
from deformgan.cli.warp import warp
from deformgan.errors import DeformganError

expect_short_work()

BAD_INPUT = 2
_signals: list[int] = []

app = typer.Typer(
    help="Deformable registration of 3-D medical images across modalities.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(register)
app.command()(batch)
app.command()(warp)
app.command()(evaluate)
app.command()(prepare)
app.command()(train)
app.command()(synthesize)
app.add_typer(transform, name="transform")
app.command()(models)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"deformgan {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Deformable registration of 3-D medical images across modalities."""


def main() -> None:
    """Run a command; a user's error is one line on stderr and exit 2, an interruption exits 130 or 143."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stopped)
    try:
        app()
    except SystemExit as end:
        if end.code:
            raise
        leave_at_once()
    except DeformganError as error:
        typer.echo(f"deformgan: {error}", err=True)
        sys.exit(BAD_INPUT)
    except SystemError:
        if not _signals:
            raise
        sys.exit(128 + _signals[-1])  # compiled code turns an exit that comes amid it into a SystemError
    except MemoryError:
        typer.echo("deformgan: out of memory; try --preset fast, or resample the images to larger voxels", err=True)
        sys.exit(1)


def _stopped(number: int, frame: FrameType | None) -> None:
    """Leave by SystemExit, so that every temporary file is cleaned up on the way."""
    _signals.append(number)
    typer.echo("deformgan: stopped; nothing is left half-written", err=True)
    sys.exit(128 + number)
