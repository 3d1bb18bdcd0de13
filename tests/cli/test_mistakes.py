"""Mistyped commands, options and values: exit 2, one line, what was meant."""

import subprocess
import sys
from pathlib import Path

import pytest

from deformgan.cli.main import app, main
from deformgan.cli.mistakes import COMMANDS_ELSEWHERE, OPTIONS_ELSEWHERE

PAIR = ("register", "-f", "a.nii", "-m", "b.nii")


def ended(words, capsys, monkeypatch):
    """(exit code, stderr) of the real entry point."""
    monkeypatch.setattr(sys, "argv", ["deformgan", *words])
    monkeypatch.setattr("deformgan.cli.main.stop_on_signals", lambda: None)
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("regster",), "deformgan: no such command 'regster'; did you mean register?"),
        (("apply",), "did you mean warp?"),
        (("info", "t.h5"), "did you mean transform info?"),
        (("xyzzy",), "the commands are register, warp"),
        (("transform", "inv", "t.h5"), "deformgan transform: no such command 'inv'; did you mean invert?"),
        (("register", "--fixd", "a"), "deformgan register: no such option --fixd; did you mean --fixed?"),
        (("register", "--fixed_mask", "a"), "did you mean --fixed-mask?"),
        (("register", "--target", "a"), "did you mean --fixed?"),
        (("register", "--metric", "a"), "did you mean --similarity?"),
        (("warp", "--output", "a"), "did you mean --out?"),
        (("warp", "--input", "a"), "did you mean --image?"),
        (("register", "-fixed", "a"), "no such option -fixed; did you mean --fixed?"),
        (("register", "-f", "a", "-moving", "b"), "no such option -moving; did you mean --moving?"),
        (("register", "--zzz"), "no such option --zzz; --help lists them; see deformgan register --help"),
        (("register", "-f", "a"), "missing option '--moving' / '-m'; see deformgan register --help"),
        ((*PAIR, "--gan-steps", "many"), "'--gan-steps'"),
        ((*PAIR, "--preset", "fsat"), "preset must be one of fast, default, accurate; got 'fsat'; did you mean fast?"),
        ((*PAIR, "--method", "gna"), "did you mean gan?"),
        ((*PAIR, "--engine", "analytc"), "did you mean analytic?"),
        ((*PAIR, "--similarity", "lgg=1"), "did you mean lg?"),
        ((*PAIR, "--unknown", "1", "extra"), "no such option --unknown"),
        (("segment", "--model", "m", "-i", "a", "-o", "b.nii", "--modality", "mri"), "did you mean mr?"),
        (("evaluate", "--protocol", "learn2rge"), "did you mean learn2reg?"),
        (("register", "--\x1b[31mred"), "no such option --\\x1b[31mred"),
        (("models", "any_contras"), "did you mean any_contrast?"),
    ],
)
def test_a_mistake_is_answered_in_a_line(words, says, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, said = ended(words, capsys, monkeypatch)
    assert code == 2 and says in said and said.count("\n") == 1, said
    assert list(tmp_path.iterdir()) == []


def test_the_real_command_says_so_too():
    command = str(Path(sys.executable).with_name("deformgan"))
    done = subprocess.run([command, "register", "--fixd", "a"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "deformgan register: no such option --fixd; did you mean --fixed?\n"
    nothing = subprocess.run([command], capture_output=True, text=True)
    assert nothing.returncode == 2 and "register" in nothing.stdout and not nothing.stderr


def test_a_value_that_begins_with_a_dash_is_no_option(capsys, monkeypatch):
    code, said = ended(("evaluate", "--only", "-1,x"), capsys, monkeypatch)
    assert code == 2 and "--only takes whole numbers" in said


def test_words_of_other_tools_lead_to_what_there_is():
    import typer

    root = typer.main.get_command(app)
    options = {o[2:] for c in root.commands.values() for p in c.params for o in p.opts if o.startswith("--")}
    assert {ours for names in OPTIONS_ELSEWHERE.values() for ours in names} <= options
    for ours in COMMANDS_ELSEWHERE.values():
        command = root
        for word in ours.split() if ours != "--help" else ():
            command = command.commands[word]
