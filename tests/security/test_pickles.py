"""A pickle whose loading would create a file, wherever a file can be named: it must never run."""

import gzip
import io
import json
import pickle
import pickletools
import zipfile

import h5py
import nibabel
import numpy as np
import phantoms
import pytest
import torch
import yaml

from deformgan.config import dump_config, load_config
from deformgan.errors import InputError
from deformgan.io.array_files import map_array
from deformgan.io.formats import read_volume, write_volume
from deformgan.registration.models import SHIPPED, shipped_models
from deformgan.training.pictures import load_picture, prepare_pairs


class Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "it-ran"


@pytest.fixture
def forms(marker):
    """Name -> bytes: the payload as every loader of Python's world would take it."""
    bomb = Bomb(marker)
    made = {"pickle": pickle.dumps(bomb), "gzip": gzip.compress(pickle.dumps(bomb))}
    for name, old in (("torch", False), ("torch-old", True)):
        stream = io.BytesIO()
        torch.save({"state_dict": bomb}, stream, _use_new_zipfile_serialization=not old)
        made[name] = stream.getvalue()
    stream = io.BytesIO()
    np.save(stream, np.array([bomb], object), allow_pickle=True)
    made["npy"] = stream.getvalue()
    stream = io.BytesIO()
    np.savez(stream, arr_0=np.array([bomb], object))
    made["npz"] = stream.getvalue()
    return made


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for name, contrast in (("fixed", phantoms.T2), ("moving", phantoms.T1)):
        write_volume(phantoms.image(phantoms.GRID, contrast), folder / f"{name}.nii.gz")
    return folder


def test_the_payload_is_armed(forms, marker):
    pickle.loads(forms["pickle"])
    assert marker.exists()
    marker.unlink()
    np.load(io.BytesIO(forms["npy"]), allow_pickle=True)
    assert marker.exists()
    marker.unlink()
    torch.load(io.BytesIO(forms["torch"]), weights_only=False)
    assert marker.exists()
    with zipfile.ZipFile(io.BytesIO(forms["torch"])) as archive:
        inner = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        assert any(op.name == "REDUCE" for op, _, _ in pickletools.genops(archive.read(inner)))


def test_as_a_model(forms, marker, images, tmp_path, refusal):
    pair = ("--fixed", images / "fixed.nii.gz", "--moving", images / "moving.nii.gz")
    for form, content in forms.items():
        for name in ("model.safetensors", "model.pt", "weights.pkl"):
            path = tmp_path / f"{form}-{name}"
            path.write_bytes(content)
            assert path.name in refusal("register", *pair, "--out", tmp_path / "out", "--model", path)
            assert path.name in refusal(
                "synthesize", "--model", path, "--image", images / "moving.nii.gz", "--out", tmp_path / "ct.nii.gz"
            )
        run = tmp_path / f"run-{form}"
        run.mkdir()
        (run / "model.safetensors").write_bytes(content)
        (run / "model.pt").write_bytes(content)
        assert run.name in refusal("register", *pair, "--out", tmp_path / "out", "--model", run)
        assert run.name in refusal(
            "synthesize", "--model", run, "--image", images / "moving.nii.gz", "--out", tmp_path / "ct.nii.gz"
        )
        assert refusal("models", tmp_path / f"{form}-model.pt")
    assert not marker.exists() and not (tmp_path / "out").exists() and not (tmp_path / "ct.nii.gz").exists()


def test_behind_the_header_of_a_true_model(forms, marker, images, tmp_path, refusal):
    """The hash tells content that was changed; a header of lies is no content."""
    true = (SHIPPED / f"{shipped_models()[0]}.safetensors").read_bytes()
    length = int.from_bytes(true[:8], "little")
    header = json.loads(true[8 : 8 + length])
    words = ("register", "--fixed", images / "fixed.nii.gz", "--moving", images / "moving.nii.gz")
    for number, content in enumerate(
        (
            true[: 8 + length] + forms["pickle"].ljust(len(true) - 8 - length, b"\0"),
            with_header({**header, "__metadata__": {}}, true[8 + length :]),
            with_header({"__metadata__": {**header["__metadata__"], "config": forms["pickle"].hex()}}, b""),
            with_header({**header, "__metadata__": {**header["__metadata__"], "config": "{}"}}, true[8 + length :]),
            with_header({**header, "__metadata__": {**header["__metadata__"], "figures": "x"}}, true[8 + length :]),
        )
    ):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(content)
        assert path.name in refusal(*words, "--out", tmp_path / "out", "--model", path)
    assert not marker.exists() and not (tmp_path / "out").exists()


def with_header(header, body):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_as_a_checkpoint_and_in_the_cache(forms, marker, images, tmp_path, refusal):
    names = {f"{side}_images": [str(images / f"{side}.nii.gz")] for side in ("fixed", "moving")}
    data = {"spacing_mm": 8, "shape": [16, 16, 16], "affine": False, "validation": 0, "cache": str(tmp_path / "cache")}
    tiny = {
        "name": "tiny",
        "out": str(tmp_path / "run"),
        "data": names | data,
        "transformation": {"channels": [4, 8, 8], "matching": 1},
        "generator": {"channels": [4, 8]},
        "discriminator": {"channels": 4, "layers": 2},
        "training": {"steps": 2, "device": "cpu", "pictures": False},
    }
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(tiny))
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text(dump_config(load_config(config)))
    for form in ("pickle", "torch"):
        (run / "checkpoints" / "step-00000001.safetensors").write_bytes(forms[form])
        assert "step-00000001" in refusal("train", config, "--resume", "--quiet", "--threads", 1)
    assert prepare_pairs(load_config(config).data, 0)
    for path, content in zip(sorted((tmp_path / "cache").iterdir()), forms.values(), strict=False):
        path.write_bytes(content)  # what is not whole is made anew
    assert all(load_picture(pair.fixed).image.max() > 0 for pair in prepare_pairs(load_config(config).data, 0))
    assert not marker.exists()


def test_as_an_array(forms, marker, images, tmp_path, refusal):
    for form in ("pickle", "npy"):
        path = tmp_path / "slices.npy"
        path.write_bytes(forms[form])
        with pytest.raises(InputError, match=r"slices\.npy"):
            map_array(path)
    path = tmp_path / "disp.npz"
    fixed, moving = images / "fixed.nii.gz", images / "moving.nii.gz"
    for form in ("pickle", "npy", "npz"):
        path.write_bytes(forms[form])
        words = ("--fixed", fixed, "--moving", moving, "--transform", path, "--protocol", "learn2reg")
        assert "disp.npz" in refusal("evaluate", *words)
    assert not marker.exists()


def test_as_a_transform_an_image_or_points(forms, marker, images, tmp_path, refusal):
    fixed, moving = images / "fixed.nii.gz", images / "moving.nii.gz"
    grid = ("--reference", fixed, "--out", tmp_path / "out.nii.gz")
    for form, content in forms.items():
        for ending in ("h5", "mat", "txt", "tfm", "x5", "lta", "nii.gz", "nii", "mha", "nrrd"):
            path = tmp_path / f"{form}.{ending}"
            path.write_bytes(content)
            assert path.name in refusal("warp", "--transform", path, "--image", moving, *grid)
        for ending in ("nii.gz", "nii", "mha", "nrrd", "mgz"):
            path = tmp_path / f"{form}-image.{ending}"
            path.write_bytes(content)
            assert path.name in refusal("register", "--fixed", path, "--moving", moving, "--out", tmp_path / "out")
    assert not marker.exists() and not (tmp_path / "out.nii.gz").exists() and not (tmp_path / "out").exists()


def test_inside_a_true_file(forms, marker, images, tmp_path, refusal):
    """HDF5 as Python libraries store objects in it; a NIfTI with the extension that is named for pickles."""
    moving = images / "moving.nii.gz"
    for name in ("bomb.h5", "bomb.x5"):
        with h5py.File(tmp_path / name, "w") as file:
            file.attrs["Format"] = "X5" if name.endswith("x5") else np.void(forms["pickle"])
            file["TransformGroup/0/TransformType"] = np.void(forms["pickle"])
            file["TransformGroup/0/Transform"] = np.frombuffer(forms["pickle"], np.uint8)
            file["TransformGroup/0"].attrs["Type"] = np.void(forms["pickle"])
        words = ("--transform", tmp_path / name, "--image", moving, "--reference", moving)
        assert name in refusal("warp", *words, "--out", tmp_path / "out.nii.gz")
    image = nibabel.load(moving)
    header = image.header.copy()
    header.extensions.append(nibabel.nifti1.Nifti1Extension(16, forms["pickle"]))
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(), image.affine, header), tmp_path / "extended.nii")
    assert forms["pickle"] in (tmp_path / "extended.nii").read_bytes()
    read_volume(tmp_path / "extended.nii")
    assert not marker.exists()


def test_as_yaml_and_as_a_manifest(marker, tmp_path, refusal):
    for tag in (
        f"!!python/object/apply:builtins.open [{marker}, w]",
        f"!!python/object/new:builtins.open [{marker}, w]",
        "!!python/name:os.system",
        "!!python/module:antigravity",
    ):
        config = tmp_path / "evil.yaml"
        config.write_text(f"name: evil\ndata: {tag}\n")
        assert "evil.yaml" in refusal("train", config)
    manifest = tmp_path / "evil.json"
    manifest.write_text(
        json.dumps([{"py/reduce": [{"py/function": "builtins.open"}, {"py/tuple": [str(marker), "w"]}]}])
    )
    assert "evil.json" in refusal("prepare", manifest, "--out", tmp_path / "prepared")
    (tmp_path / "pickled.csv").write_bytes(pickle.dumps(Bomb(marker)))
    assert "pickled.csv" in refusal("prepare", tmp_path / "pickled.csv", "--out", tmp_path / "prepared")
    assert not marker.exists()
