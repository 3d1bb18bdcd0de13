"""Damaged bytes, drawn at random and the same in every run, and those that once broke a reader."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from contract.readers import FOUND, targets

TOOL = Path(__file__).resolve().parents[2] / "tools" / "fuzzing.py"
INPUTS = 25


@pytest.mark.long
def test_every_reader_refuses_or_reads_what_it_is_fed(tmp_path):
    """In processes of their own, which a library may bring down; `tools/fuzz` goes on for as long as one likes."""
    names = list(targets())
    words = ["--engine", "mutate", "--inputs", str(INPUTS), "--keep", str(tmp_path)]
    done = subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (done.stdout[-3000:], done.stderr[-3000:])
    counted = re.findall(r"^(\w+) +(\d+) inputs  ok$", done.stdout, re.MULTILINE)
    assert counted == [(name, str(INPUTS)) for name in names]


@pytest.mark.parametrize("path", sorted(FOUND.glob("*")), ids=lambda path: path.name)
def test_what_once_broke_a_reader(path, tmp_path):
    target = targets()[path.name.split("-")[0]]
    target.lay(tmp_path)
    target.refused(path.read_bytes(), tmp_path)


def test_whole_files_are_read(tmp_path):
    """Else the fuzzer would feed a reader that refuses everything."""
    for name, target in targets().items():
        (folder := tmp_path / name).mkdir()
        target.lay(folder)
        assert any(target.refused(seed, folder) < len(target.reads) for seed in target.seeds), name
