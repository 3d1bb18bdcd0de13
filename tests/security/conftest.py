"""Commands in this process, so that many can be tried in little time."""

import signal
import sys

import pytest

from deformgan.cli.main import main


def _not_refused(code=0):
    raise AssertionError(f"the command ended well, or was interrupted: exit {code}")


@pytest.fixture
def refusal(monkeypatch, capfd):
    """refusal(*words) -> the line with which the command ends; it must be one line on stderr, and exit 2."""
    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]

    def refused(*words):
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["deformgan", *map(str, words)])
        monkeypatch.setattr("deformgan.cli.main.leave_at_once", _not_refused)
        with pytest.raises(SystemExit) as end:
            main()
        said = capfd.readouterr()
        assert end.value.code == 2, (words, said)
        lines = [line for line in said.err.splitlines() if not line.startswith("warning: ")]
        assert len(lines) == 1 and lines[0].startswith("deformgan: ") and said.out == "", (words, said)
        return lines[0]

    yield refused
    for number, handler in handlers:
        signal.signal(number, handler)
