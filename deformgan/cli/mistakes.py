"""A command line that was mistyped: one line that says what was meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from deformgan.errors import did_you_mean, printable

UsageError: Any = typer.BadParameter.__bases__[0]  # wherever this version of typer keeps it
# What other tools call it: ANTs, elastix, greedy, FSL, NiftyReg, BRAINSFit.  Of several the first that a command has.
OPTIONS_ELSEWHERE = {
    "input": ("image", "moving"), "in": ("image", "moving"), "output": ("out",), "o": ("out",),
    "target": ("fixed", "reference"), "template": ("fixed",), "ref": ("reference", "fixed"), "reference": ("fixed",),
    "source": ("moving",), "float": ("moving",), "flo": ("moving",),
    "metric": ("similarity",), "cost": ("similarity",), "mask": ("fixed-mask",), "fmask": ("fixed-mask",),
    "mmask": ("moving-mask",), "interp": ("interpolation",), "interpolator": ("interpolation",),
    "xfm": ("transform",), "warp": ("transform",), "gpu": ("device",), "cuda": ("device",), "force": ("overwrite",),
    "nthreads": ("threads",), "num-threads": ("threads",), "cores": ("threads",), "silent": ("quiet",),
    "simulate": ("dry-run",), "check": ("dry-run",),
}  # fmt: skip
COMMANDS_ELSEWHERE = {
    "apply": "warp", "resample": "warp", "transformix": "warp", "align": "register", "registration": "register",
    "dice": "evaluate", "metrics": "evaluate", "info": "transform info", "invert": "transform invert",
    "convert": "transform convert", "compose": "transform compose", "jacobian": "transform jacobian",
    "fit": "train", "predict": "segment", "synthesise": "synthesize", "check": "doctor", "help": "--help",
}  # fmt: skip


def explained(error: Any) -> str:
    """A UsageError as one line: what is wrong, what was meant, where to read more."""
    ctx, text = error.ctx, " ".join(error.format_message().split()).rstrip(".")
    name = getattr(error, "option_name", "")
    if type(error).__name__ == "NoSuchOption" and ctx is not None:
        text = f"no such option {name}; {option_meant(name.lstrip('-'), long_names(ctx))}"
    text = printable(text[:1].lower() + text[1:])
    if ctx is None:
        return f"deformgan: {text}"
    hint = "" if text.endswith("?") else f"; see {ctx.command_path} --help"
    return f"{ctx.command_path}: {text}{hint}"


def long_names(ctx: Any) -> list[str]:
    """The long options of a command, without their dashes."""
    words = [word for param in ctx.command.get_params(ctx) for word in (*param.opts, *param.secondary_opts)]
    return [word[2:] for word in words if word.startswith("--")]


def option_meant(name: str, names: Sequence[str]) -> str:
    """The end of a message about an option that there is not; both without dashes."""
    word = name.lower().replace("_", "-")
    if word not in names:
        word = next((ours for ours in OPTIONS_ELSEWHERE.get(word, ()) if ours in names), word)
    if word in names:
        return f"did you mean --{word}?"
    near = did_you_mean(word, names)
    return near.replace("mean ", "mean --") if near.endswith("?") else "--help lists them"


def command_meant(word: str, names: Sequence[str]) -> str:
    """The end of a message about a command that there is not."""
    ours = COMMANDS_ELSEWHERE.get(word.lower(), "")
    known = ours.partition(" ")[0] in names or ours.startswith("-")
    return f"did you mean {ours}?" if known else did_you_mean(word, names, "the commands")
