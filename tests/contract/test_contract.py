"""The contract for bad input: the real command on real bad files; each row is a `Case`."""

import json
import re
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
import SimpleITK as sitk
from contract import of_images, of_models, of_texts, of_transforms

CASES = [case for part in (of_images, of_transforms, of_texts, of_models) for case in part.cases()]
LARGEST = (
    400 << 20
)  # bytes beyond the imports: the files are of some kB, so this is torch, the kernels and their threads
MARGIN_S = 60.0


def laid_out(case, folder):
    for name, data in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return everything(folder)


def everything(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def check_whole(path):
    """A file that was written can be read."""
    if path.suffix in (".gz", ".nii"):
        assert sitk.GetArrayFromImage(sitk.ReadImage(str(path))).size
    elif path.suffix == ".h5":
        with h5py.File(path, "r") as file:
            assert "TransformGroup" in file
    elif path.suffix == ".json":
        json.loads(path.read_text())
    else:
        assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")


def check_refused(case, done, before, folder):
    said = done["err"].splitlines()
    assert done["code"] == 2, done
    assert len(said) == 1 and said[0].startswith("deformgan: "), done["err"]
    for fragment in case.refuses:
        assert fragment in said[0], said[0]
    assert len(said[0]) < 700 and not re.search(r"\(0x[0-9a-f]", said[0]), said[0]
    assert everything(folder) == before and not (folder / "r").exists()


def check_done(case, done, before, folder):
    assert done["code"] == 0, done
    for fragment in case.warns:
        assert fragment in done["err"], done["err"]
    assert set(everything(folder)) - set(before) == set(case.writes)
    for name in case.writes:
        check_whole(folder / name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_answered_as_the_contract_says(case, command, place, tmp_path_factory):
    folder = place / re.sub(r"\W+", "_", case.name)
    folder.mkdir()
    before = laid_out(case, folder)
    done = command(folder, case.words)
    assert done["code"] is not None, f"no answer within the time: {done}"
    assert "Traceback" not in done["err"] and done["took"] < MARGIN_S, done
    (check_done if case.refuses is None else check_refused)(case, done, before, folder)
    assert done["grown"] < LARGEST, done["grown"]


def test_names_tell_cases_apart():
    names = [re.sub(r"\W+", "_", case.name) for case in CASES]
    assert len(set(names)) == len(names) > 300


@pytest.mark.parametrize("name", ["terabytes .mha", "HDF5: terabytes", "a sheared reference"])
def test_the_installed_command_answers_alike(name, command, place, tmp_path):
    """The forked command stands for the real one."""
    case = next(case for case in CASES if case.name == name)
    answers = []
    for folder in (tmp_path / "forked", tmp_path / "real"):
        folder.mkdir()
        laid_out(case, folder)
    (tmp_path / "good").symlink_to(place / "good")
    done = command(tmp_path / "forked", case.words)
    answers.append((done["code"], done["out"], done["err"]))
    real = [str(Path(sys.executable).with_name("deformgan")), *case.words]
    ran = subprocess.run(real, capture_output=True, text=True, cwd=tmp_path / "real")
    answers.append((ran.returncode, ran.stdout, ran.stderr))
    assert answers[0] == answers[1]
    assert set(everything(tmp_path / "forked")) == set(everything(tmp_path / "real"))
