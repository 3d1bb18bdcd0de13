"""How a command joins the command line: its help, its examples, and what happens to words that it does not know."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from deformgan.cli.mistakes import OPTIONS_ELSEWHERE, command_meant, long_names, option_meant

EXAMPLES = "Examples:"
ONE_DASH = re.compile("-[A-Za-z][A-Za-z_-]+")


class Command(TyperCommand):
    """A command that does not take `-fixed FILE` for `-f ixed`: elastix, ANTs and FSL spell long options so."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer's own, after a look at words with one dash."""
        names = long_names(ctx)
        for word in args[: args.index("--") if "--" in args else None]:
            name = word[1:].lower()
            if ONE_DASH.fullmatch(word) and (name in names or name in OPTIONS_ELSEWHERE):
                ctx.fail(f"no such option {word}; {option_meant(name, names)}")
        return super().parse_args(ctx, args)


class Group(TyperGroup):
    """Commands, of which a mistyped one is answered by the nearest."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As typer's own, for a command that there is."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            ctx.fail(f"no such command {args[0]!r}; {command_meant(args[0], list(self.commands))}")
        return super().resolve_command(ctx, args)


def add(app: typer.Typer, command: Callable[..., None], panel: str | None = None) -> None:
    """Make a function a command of `app`; its docstring ends with EXAMPLES and a command a line, to be pasted."""
    text, _, examples = inspect.cleandoc(command.__doc__ or "").partition(EXAMPLES)
    epilog = "\n".join([EXAMPLES, *(line.strip() for line in examples.split("\n") if line.strip())])
    app.command(cls=Command, help=text.strip(), epilog=epilog, rich_help_panel=panel)(command)
