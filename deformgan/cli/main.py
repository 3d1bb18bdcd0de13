"""`deformgan`: the commands together, and how errors end them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from deformgan import __version__
from deformgan.cli.batch import batch
from deformgan.cli.commands import Group, add
from deformgan.cli.cross_validate import cross_validate
from deformgan.cli.doctor import doctor
from deformgan.cli.evaluate import evaluate
from deformgan.cli.mistakes import UsageError, explained
from deformgan.cli.models import models
from deformgan.cli.prepare import prepare
from deformgan.cli.process import expect_short_work, leave_at_once
from deformgan.cli.register import register
from deformgan.cli.segment import segment
from deformgan.cli.stopping import (
    OUT_OF_MEMORY,
    STOPPED,
    check_memory_limit,
    is_out_of_memory,
    stop_on_signals,
    stopped_by,
)
from deformgan.cli.study import study
from deformgan.cli.synthesize import synthesize
from deformgan.cli.template import template
from deformgan.cli.train import train
from deformgan.cli.transform import transform
from deformgan.cli.view import view
from deformgan.cli.warp import warp
from deformgan.errors import DeformganError

expect_short_work()

BAD_INPUT = 2

app = typer.Typer(
    cls=Group,
    help="Deformable registration of 3-D medical images across modalities.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Groups of the help.
ALIGN, MANY, JUDGE = "Align", "Many pairs", "Look and judge"
TRAIN, USE, ABOUT = "Train", "Use a trained model", "This installation"

add(app, register, ALIGN)
add(app, warp, ALIGN)
app.add_typer(transform, name="transform", rich_help_panel=ALIGN)
add(app, batch, MANY)
add(app, template, MANY)
add(app, view, JUDGE)
add(app, evaluate, JUDGE)
add(app, prepare, TRAIN)
add(app, train, TRAIN)
add(app, cross_validate, TRAIN)
add(app, study, TRAIN)
add(app, synthesize, USE)
add(app, segment, USE)
add(app, models, USE)
add(app, doctor, ABOUT)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"deformgan {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Deformable registration of 3-D medical images across modalities."""
    check_memory_limit()


def main() -> None:
    """Run a command; a user's error is one line on stderr and exit 2, an interruption exits 130 or 143."""
    stop_on_signals()
    try:
        code = app(prog_name="deformgan", standalone_mode=False) or 0
        if not (code or stopped_by()):
            leave_at_once(0)
        sys.exit(code)
    except UsageError as error:
        if error.format_message():  # nothing where no arguments were given: the help is printed
            typer.echo(explained(error), err=True)
        sys.exit(BAD_INPUT)
    except DeformganError as error:
        typer.echo(f"deformgan: {error}", err=True)
        sys.exit(BAD_INPUT)
    except (MemoryError, RuntimeError, ImportError, SystemError) as error:
        if not is_out_of_memory(error):
            raise
        typer.echo(OUT_OF_MEMORY, err=True)
        sys.exit(1)
    finally:
        if stopped_by():  # whatever the exit became on its way: compiled code makes a SystemError of it
            typer.echo(STOPPED, err=True)
            leave_at_once(128 + stopped_by())
