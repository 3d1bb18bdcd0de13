"""Disks that are full or read-only, inputs that change under the reader, memory that ends: a line, or a whole file."""

import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import torch

import deformgan
from deformgan.errors import InputError, OutputError
from deformgan.io.array_files import write_array
from deformgan.io.components import write_components
from deformgan.io.formats import read_volume, write_volume
from deformgan.io.geometry import Geometry
from deformgan.io.subjects import SubjectFiles, write_subjects
from deformgan.io.tensor_files import read_tensors, write_tensors
from deformgan.io.transform_files import Affine, DisplacementField
from deformgan.io.volume import Volume
from deformgan.registration import pipeline
from deformgan.registration.options import RegisterOptions
from deformgan.spatial.transform import Transform

COMMAND = str(Path(sys.executable).with_name("deformgan"))
SIDE = 24
GRID = Geometry((SIDE, SIDE, SIDE))
MADE = np.random.default_rng(0).random((SIDE, SIDE, SIDE, 3), np.float32)
IMAGE = Volume(torch.from_numpy(MADE[..., 0].copy()), GRID)
FIELD, MATRIX = Transform((DisplacementField(GRID, MADE),)), Transform((Affine(np.diag([1.1, 1, 1, 1])),))
WRITERS = {
    **{f"a{e}": lambda p: write_volume(IMAGE, p) for e in (".nii", ".nii.gz", ".mha", ".nrrd")},
    **{f"t{e}": lambda p: FIELD.save(p) for e in (".h5", ".nii", ".nii.gz", ".mha", ".nrrd", ".x5")},
    **{f"m{e}": lambda p: MATRIX.save(p) for e in (".h5", ".tfm", ".txt", ".mat", ".x5")},
    "m.lta": lambda p: MATRIX.save(p, fixed=GRID, moving=GRID),
    "fsl.nii.gz": lambda p: FIELD.save(p, format="fsl", fixed=GRID, moving=GRID),
    "niftyreg.nii": lambda p: FIELD.save(p, format="niftyreg"),
    **{f"c{e}": lambda p: write_components(np.moveaxis(MADE, -1, 0), GRID, p, np.float32) for e in (".nii.gz", ".mha")},
    "n.npy": lambda p: write_array(p, MADE),
    "w.safetensors": lambda p: write_tensors(p, {"x": torch.from_numpy(MADE)}, {}),
    "s.csv": lambda p: write_subjects(p, [SubjectFiles(mr=str(p.parent / "mr.nii"), subject="x", split="train")]),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_volume(phantoms.image(phantoms.GRID, phantoms.T2), folder / "fixed.nii")
    write_volume(phantoms.image(phantoms.OBLIQUE, phantoms.T1), folder / "moving.nii.gz")
    MATRIX.save(folder / "t.h5")
    return folder


def call(*words, **more):
    return subprocess.run([COMMAND, *map(str, words)], capture_output=True, text=True, timeout=120, **more)


@contextmanager
def no_file_above(size):
    """A full disk as far as the writer can tell: every write beyond `size` bytes of a file fails, root's too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def mounted(folder, options):
    """A tmpfs; skips where the system lets nobody mount."""
    folder.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("room", [0, 100, 4096])
@pytest.mark.parametrize("name", WRITERS)
def test_a_write_that_is_cut_short_is_no_success(tmp_path, name, room):
    WRITERS[name](tmp_path / name)
    size = (tmp_path / name).stat().st_size
    before = (tmp_path / name).read_bytes()
    if room < size:
        with no_file_above(room), pytest.raises(OutputError, match="cannot be written"):
            WRITERS[name](tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name] and (tmp_path / name).read_bytes() == before


def test_a_full_disk_leaves_nothing_half_written(files, tmp_path):
    with mounted(tmp_path / "full", "size=8m") as full:
        (full / "fill").write_bytes(bytes((8 << 20) - (16 << 10)))
        for name, write in WRITERS.items():
            if name.startswith(("a", "t", "c", "n", "w")):
                with pytest.raises(OutputError, match="cannot be written"):
                    write(full / name)
        assert [p.name for p in full.iterdir()] == ["fill"]


def test_room_is_asked_for_before_the_work(files, tmp_path):
    """The commands, on a disk with less than the result takes."""
    fixed, moving = files / "fixed.nii", files / "moving.nii.gz"
    (tmp_path / "people.csv").write_text(f"mr,ct,subject\n{moving},{fixed},a\n")
    with mounted(tmp_path / "full", "size=1m") as full:
        for words in (
            ("register", "--fixed", fixed, "--moving", moving, "--out", full / "result"),
            ("warp", "--transform", files / "t.h5", "--image", moving, "--reference", fixed, "--out", full / "w.nii"),
            ("prepare", tmp_path / "people.csv", "--out", full / "prepared"),
        ):
            done = call(*words, "-q")
            assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
            assert "MB free, the result may need" in done.stderr
        assert not [p for p in full.rglob("*") if p.name != "prepared"]


def test_room_is_asked_for_wherever_one_cannot_mount(monkeypatch, files, tmp_path):
    found = deformgan.register(
        read_volume(files / "fixed.nii"), read_volume(files / "moving.nii.gz"), options=RegisterOptions(stage="rigid")
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1 << 20))
    with pytest.raises(OutputError, match="1 MB free, the result may need"):
        found.save(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_read_only_place_is_refused_before_the_work(files, tmp_path):
    fixed, moving = files / "fixed.nii", files / "moving.nii.gz"
    with mounted(tmp_path / "still", "ro") as still:
        for words in (
            ("register", "--fixed", fixed, "--moving", moving, "--out", still / "result"),
            ("register", "--fixed", fixed, "--moving", moving, "--out", still),
            ("warp", "--transform", files / "t.h5", "--image", moving, "--reference", fixed, "--out", still / "w.nii"),
        ):
            done = call(*words, "-q")
            assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
            assert str(still) in done.stderr


def test_results_go_into_a_folder_that_is_a_disk_of_its_own(files, tmp_path):
    """As in a container that mounts the place of the results: nothing can be renamed from beside it into it."""
    with mounted(tmp_path / "disk", "size=80m") as disk:
        words = ("register", "--fixed", files / "fixed.nii", "--moving", files / "moving.nii.gz", "--rigid-only", "-q")
        assert call(*words, "--out", disk).returncode == 0
        assert len(list(disk.iterdir())) == 5
        assert call(*words, "--out", disk).returncode == 2
        assert call(*words, "--out", disk, "--overwrite").returncode == 0
        assert len(list(disk.iterdir())) == 5
    assert [p.name for p in tmp_path.iterdir()] == ["disk"]


@pytest.mark.parametrize("fate", ["gone", "cut"])
def test_an_input_that_goes_between_check_and_read_is_a_line(monkeypatch, files, tmp_path, fate):
    paths = [Path(shutil.copy(files / name, tmp_path)) for name in ("fixed.nii", "moving.nii.gz")]
    read = pipeline.read_volume

    def late(path, **more):
        if str(path) == str(paths[1]):
            paths[1].unlink() if fate == "gone" else os.truncate(paths[1], 2000)
        return read(path, **more)

    monkeypatch.setattr(pipeline, "read_volume", late)
    with pytest.raises(InputError, match=r"moving\.nii\.gz: [^\n]*$"):
        pipeline.register_files(*map(str, paths))


def test_an_input_may_go_once_it_is_read(files, tmp_path):
    """Cut off, a file that is mapped into memory ends the process with SIGBUS; gone, it cannot be hashed."""
    script = f"""
import os, shutil, json, deformgan
from deformgan.registration.pipeline import register_files
path = shutil.copy({str(files / "fixed.nii")!r}, "fixed.nii")
image = deformgan.read_volume(path)
before = image.numpy().copy()
os.truncate(path, 400)
assert (image.numpy() == before).all()
shutil.copy({str(files / "fixed.nii")!r}, path)
found = register_files(path, {str(files / "moving.nii.gz")!r}, options=deformgan.RegisterOptions(stage="rigid"))
os.unlink(path)
found.save("out")
assert json.load(open("out/result.json"))["fixed"]["sha256"] is None
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("megabytes", [300, 1000, pytest.param(1900, marks=pytest.mark.long)])
def test_too_little_memory_is_a_hint(files, tmp_path, megabytes):
    """At 1000 MB a library of SciPy would wait for memory for ever; at 1900 it is the work that lacks it."""
    image = sitk.ReadImage(str(files / "fixed.nii"))
    large = sitk.Expand(image, [5, 5, 5]) if megabytes > 1000 else image
    sitk.WriteImage(large, str(tmp_path / "large.nii"))
    limit = (megabytes * 1_000_000,) * 2
    words = ("register", "--fixed", tmp_path / "large.nii", "--moving", files / "moving.nii.gz", "-q")
    done = call(*words, "--out", tmp_path / "out", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit))
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "raise the limit" in done.stderr or "out of memory" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["large.nii"]


def test_what_is_written_may_be_read_by_others(tmp_path):
    umask = os.umask(0o022)
    try:
        for name, write in WRITERS.items():
            write(tmp_path / name)
    finally:
        os.umask(umask)
    assert {oct(p.stat().st_mode & 0o777) for p in tmp_path.iterdir()} == {"0o644"}
    assert torch.equal(read_tensors(tmp_path / "w.safetensors")[0]["x"], torch.from_numpy(MADE))
