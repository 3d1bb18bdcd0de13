"""`deformgan doctor`: what it finds, what it says to do, and that it tells no names."""

import getpass
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from deformgan.cli import findings
from deformgan.registration import selftest
from deformgan.registration.pipeline import register
from deformgan.spatial.transform import Affine, Transform

COMMAND = str(Path(sys.executable).with_name("deformgan"))
LOOKED_AT = {
    "deformgan", "libraries", "threads", "GPU", "kernels", "working folder", "temporary folder", "memory", "models",
    "locale", "self-test",
}  # fmt: skip


def test_a_sound_installation_and_nothing_private(tmp_path):
    place = tmp_path / "secret place"
    place.mkdir()
    done = subprocess.run([COMMAND, "doctor", "--json"], capture_output=True, text=True, cwd=place)
    report = json.loads(done.stdout)
    found = {f["name"]: f for f in report["findings"]}
    assert done.returncode == 0 and report["sound"], report
    assert set(found) == LOOKED_AT
    assert found["libraries"]["figures"]["SimpleITK"] and found["self-test"]["figures"]["error"] < 3
    for private in ("secret", str(Path.home()), str(Path(sys.prefix)), os.uname().nodename):
        assert private not in done.stdout, private
    if len(getpass.getuser()) > 4:
        assert getpass.getuser() not in done.stdout
    assert list(place.iterdir()) == []


def states(look):
    return [(f.state, f.advice) for f in look()]


def test_what_is_missing_or_limited_is_said_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(findings, "LIBRARIES", ("numpy", "no-such-library"))
    assert ("bad", "pip install no-such-library") in states(findings.versions)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(findings, "_usable_cores", lambda: float(os.cpu_count()))
    assert states(findings.processors)[0][0] == "note"
    monkeypatch.setattr(findings, "_usable_cores", lambda: 0.5)
    assert "--threads 1" in states(findings.processors)[0][1]
    monkeypatch.setattr(findings, "_writable", lambda folder: False)
    assert [state for state, _ in states(findings.folders)] == ["note", "note"]
    assert "NUMBA_CACHE_DIR" in states(findings.kernels)[0][1]
    monkeypatch.setattr(findings, "free_megabytes", lambda: 100.0)
    assert "--preset fast" in states(findings.memories)[0][1]
    monkeypatch.setattr(findings, "_control_group", lambda name: {"cpu.max": "150000 100000"}.get(name, ""))
    monkeypatch.undo()
    monkeypatch.setattr(findings, "_control_group", lambda name: "50000 100000" if name == "cpu.max" else "")
    assert findings._usable_cores() == 0.5


def test_a_damaged_model_is_found(monkeypatch, tmp_path):
    from deformgan.registration import models, shipped

    whole = next(shipped.SHIPPED.glob("*.safetensors")).read_bytes()
    (tmp_path / "any_contrast.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path)
    monkeypatch.setattr(models, "SHIPPED", tmp_path)
    [finding] = findings.models()
    assert finding.state == "bad" and finding.advice == "install deformgan again"
    (tmp_path / "any_contrast.safetensors").unlink()
    assert [state for state, _ in states(findings.models)] == ["bad"]


def test_the_self_test_can_fail(monkeypatch):
    sound = selftest.SelfTest(12.0, 1.8, 0.1, 1e-6)
    assert sound.faults == []
    for change in ({"error": 3.1}, {"inverse": 0.6}, {"simpleitk": 0.02}, {"error": float("nan")}):
        worse = selftest.SelfTest(**{**vars(sound), **change})
        assert len(worse.faults) == 1
        monkeypatch.setattr(selftest, "self_test", lambda found=worse: found)
        assert states(findings.registration)[0][0] == "bad"

    def breaks():
        raise RuntimeError(f"no kernels in {Path.home()}/deep")

    monkeypatch.setattr(selftest, "self_test", breaks)
    [finding] = findings.registration()
    assert finding.state == "bad" and str(Path.home()) not in finding.text


def test_a_wrong_transform_is_seen_by_the_self_test(monkeypatch):
    """A shift of 5 mm in what is found, and a file that SimpleITK reads differently."""
    shift = np.eye(4)
    shift[:3, 3] = 5.0

    def shifted(*images, options):
        found = register(*images, options=replace(options, stage="rigid"))
        return SimpleNamespace(transform=Transform((*found.transform.parts, Affine(shift))), inverse=found.inverse)

    monkeypatch.setattr(selftest, "register", shifted)
    monkeypatch.setattr(selftest, "mapped_by_library", lambda path, points: points)
    assert [fault.split()[0] for fault in selftest.self_test().faults] == ["error", "inverse", "simpleitk"]


def test_exit_1_where_something_is_bad(monkeypatch, capsys):
    from deformgan.cli.main import app

    monkeypatch.setattr(findings, "findings", lambda: iter([findings.Finding("x", "bad", "broken", "mend it")]))
    assert app(["doctor"], standalone_mode=False) == 1
    assert capsys.readouterr().out.splitlines() == ["BAD   x: broken", "      -> mend it", "1 to be mended"]
    with pytest.raises(SystemExit) as end:
        app(["doctor", "--json"])
    assert end.value.code == 1
