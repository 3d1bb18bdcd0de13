"""The help: groups, examples that the real command line takes, consistent options, completion, quick to come."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from deformgan.cli import completion
from deformgan.cli.main import app

COMMAND = str(Path(sys.executable).with_name("deformgan"))
ROOT = typer.main.get_command(app)
WIDEST = 78  # of a line that an 80-column terminal shows whole


def commands(group=ROOT, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())
EXAMPLES = [line for c in COMMANDS.values() for line in c.epilog.splitlines()[1:]]


def parsed(words):
    """The command that the words end at, and its parameters, as the real command line takes them; nothing runs."""
    command, context = ROOT, None
    while True:
        context = command.make_context(words[0], words[1:], parent=context, resilient_parsing=False)
        if not hasattr(command, "commands"):
            return command, context.params
        rest = [*context._protected_args, *context.args]
        _, command, words = command.resolve_command(context, rest)
        words = [command.name, *words]


def call(*words, **environment):
    return subprocess.run(
        [COMMAND, *words], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **environment}
    )


def test_every_command_has_examples():
    assert {path for path, c in COMMANDS.items() if not c.epilog.splitlines()[1:]} == set()


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_is_taken_by_the_command_line(line):
    first, *words = shlex.split(line.partition(" > ")[0])
    assert first == "deformgan" and len(line) <= WIDEST
    command, params = parsed(["deformgan", *words])
    assert command.name in line and params


def test_a_wrong_example_would_be_found():
    with pytest.raises(typer.BadParameter.__bases__[0]):
        parsed(["deformgan", "register", "--fixed", "a", "--moving", "b", "--outt", "c"])


def test_examples_stand_whole_in_the_help():
    said = call("register", "--help").stdout
    assert "deformgan register -f ct.nii.gz -m mr.nii.gz --preset fast --dry-run" in said
    assert "Default: MOVING_to_FIXED" in " ".join(said.replace("│", " ").split())


def test_commands_and_long_commands_are_grouped():
    assert all(c.rich_help_panel for path, c in COMMANDS.items() if len(path) == 1)
    for name in ("register", "warp", "evaluate"):
        options = [p for p in COMMANDS[name,].params if p.name != "help"]
        assert len(options) > 12 and all(p.rich_help_panel for p in options), name


def test_one_name_means_one_thing():
    """The same long option has the same short one, and a short one the same long one, in every command."""
    pairs = set()
    for command in COMMANDS.values():
        for option in command.params:
            short = [o for o in option.opts if re.fullmatch("-[a-zA-Z]", o)]
            long = [o for o in option.opts if o.startswith("--")][:1]
            pairs |= {(s, w) for s in short for w in long}
            if long and long[0] in ("--fixed", "--moving", "--out", "--reference", "--transform", "--image", "--jobs"):
                assert short, f"{command.name} {long[0]}"
    assert len({s for s, _ in pairs}) == len(pairs) == len({w for _, w in pairs})


@pytest.mark.parametrize(
    ("offer", "typed", "expected"),
    [
        (completion.presets, "", ["fast", "default", "accurate"]),
        (completion.similarities, "lg=1,m", ["lg=1,mi", "lg=1,mind"]),
        (completion.models, "any", ["any_contrast"]),
        (completion.splits, "t", ["train", "test"]),
        (completion.formats, "fsl-", ["fsl-relative", "fsl-absolute"]),
    ],
)
def test_values_are_completed(offer, typed, expected):
    assert offer(typed) == expected


def test_completed_values_are_those_that_there_are():
    from deformgan.cli.register import METHODS
    from deformgan.evaluation.pair import PROTOCOLS
    from deformgan.spatial.resample import INTERPOLATIONS
    from deformgan.warping.vectors import FRAMES, REORIENT

    for offer, known in (
        (completion.methods, METHODS),
        (completion.protocols, PROTOCOLS),
        (completion.interpolations, INTERPOLATIONS),
        (completion.frames, FRAMES),
        (completion.reorientations, REORIENT),
    ):
        assert set(offer("")) == set(known)


def test_the_shell_is_told_commands_options_and_values():
    def offered(line):
        words = {"_DEFORMGAN_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        return call(**words).stdout.split()

    assert offered("deformgan sy") == ["synthesize"]
    assert {"--fixed", "--fixed-mask"} <= set(offered("deformgan register --fix"))
    assert offered("deformgan register --preset f") == ["fast"]
    assert offered("deformgan register --model any") == ["any_contrast"]
    asked = ["bash", "-c", f"{shlex.quote(COMMAND)} --show-completion; true"]  # it asks which shell has begun it
    assert "_DEFORMGAN_COMPLETE" in subprocess.run(asked, capture_output=True, text=True).stdout


def test_help_and_completion_load_no_heavy_library():
    heavy = ("torch", "numba", "SimpleITK", "itk", "nibabel", "scipy", "matplotlib", "monai")
    code = (
        "import sys\nfrom deformgan.cli.main import app\nfrom deformgan.cli import completion as c\n"
        "app(['register', '--help'], standalone_mode=False)\n"
        "c.similarities(''), c.models(''), c.presets(''), c.formats('')\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
