"""The scripts of docs/examples run, and say what the docs say of them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.mark.long
def test_affine_convergence(tmp_path):
    picture = tmp_path / "convergence.png"
    done = subprocess.run(
        [sys.executable, EXAMPLES / "affine_convergence.py", picture], capture_output=True, text=True, check=True
    )
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if "analytic" in line or "autograd" in line]
    assert [row[1].strip() for row in rows] == ["analytic", "autograd"] * 2
    assert all(float(row[4]) < 1.0 for row in rows)  # mm left of about 10
    assert picture.stat().st_size > 20_000


def test_coordinates_picture_says_what_the_page_says(tmp_path):
    picture = tmp_path / "coordinates.png"
    done = subprocess.run([sys.executable, EXAMPLES / "coordinates.py", picture], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    numbers = [[float(v) for v in re.findall(r"-?\d+\.", line.split("[", 1)[-1])] for line in done.stdout.splitlines()]
    assert "T(spot in fixed) = [10. 14.  0.]" in done.stdout
    assert abs(numbers[0][0] + 10) <= 1 and abs(numbers[0][3] - 10) <= 1
    assert picture.stat().st_size > 10_000


@pytest.mark.long
def test_choosing_comes_nearer_to_what_was_planted(tmp_path, monkeypatch):
    monkeypatch.chdir(EXAMPLES.parents[1])
    picture = tmp_path / "choosing.png"
    command = [sys.executable, EXAMPLES / "choosing.py", "presets", picture, "fast"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, after = (float(line.split("|")[2].split()[0]) for line in done.stdout.splitlines())
    assert after < before / 2
    assert picture.stat().st_size > 20_000
