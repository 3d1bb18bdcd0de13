"""Labelled people of whom phantoms are the MR and the CT, prepared; a tiny CycleGAN and tiny experiments on them."""

import numpy as np
import pytest
import torch
import yaml
from experiments import LEFT_HANDED, merged, on_one_thread
from phantoms import CT, OBLIQUE, T1, image, tissue

from deformgan.cli.main import app
from deformgan.config import load_config
from deformgan.io.formats import write_volume
from deformgan.io.volume import Volume
from deformgan.spatial.grid import voxel_points
from deformgan.synthesis.loop import train as train_synthesis

PEOPLE = {"a": "train", "b": "train", "c": "validation", "d": "test"}
GRIDS = {"a": LEFT_HANDED, "b": OBLIQUE, "c": LEFT_HANDED, "d": OBLIQUE}
TINY = {
    "task": "segmentation",
    "data": {"manifest": "prepared/manifest.csv", "shape": [24, 28]},
    "structures": {"shell": [2, 1], "inside": [3, 4, 5]},
    "network": {"channels": [8, 16, 16]},
    "optimiser": {"rate": 4e-3},
    "training": {"steps": 60, "batch": 4, "validate_every": 30, "save_every": 15, "device": "cpu"},
}
VIEW = {"spacing_mm": 7, "mr_window": None}


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    with on_one_thread():
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """raw/ holds MR, CT and labels (on the CT's grid) of four people, prepared/ what `prepare` made of them."""
    folder = tmp_path_factory.mktemp("people")
    (folder / "raw").mkdir()
    lines = ["mr,ct,labels,subject,split"]
    for k, (name, split) in enumerate(PEOPLE.items()):
        mr_grid, ct_grid = GRIDS[name], OBLIQUE if GRIDS[name] is LEFT_HANDED else LEFT_HANDED
        shift = np.array([3.0 * k, -2.0 * k, 0])
        write_volume(image(mr_grid, T1, lambda p, s=shift: p + s), folder / "raw" / f"{name}_mr.nii.gz")
        write_volume(image(ct_grid, CT, lambda p, s=shift: p + s), folder / "raw" / f"{name}_ct.nii.gz")
        labels = torch.from_numpy(tissue(voxel_points(ct_grid) + shift).astype(np.uint8))
        write_volume(Volume(labels, ct_grid), folder / "raw" / f"{name}_labels.nii.gz")
        lines.append(f"{name}_mr.nii.gz,{name}_ct.nii.gz,{name}_labels.nii.gz,{name},{split}")
    (folder / "raw" / "people.csv").write_text("\n".join(lines) + "\n")
    words = ["prepare", str(folder / "raw" / "people.csv"), "--out", str(folder / "prepared"), "--no-n4", "--quiet"]
    app(words, standalone_mode=False)
    return folder


@pytest.fixture(scope="session")
def cyclegan(folder):
    """The folder of a run of a few seconds."""
    raw = {
        "name": "cyclegan",
        "task": "cyclegan",
        "data": {"manifest": "prepared/manifest.csv", "shape": [24, 28], **VIEW},
        "generator": {"channels": 8, "blocks": 1},
        "discriminator": {"channels": 4, "layers": 1},
        "loss": {"gc": 0},
        "optimiser": {"generator": 2e-3, "discriminator": 1e-3},
        "training": {"steps": 150, "batch": 2, "validate_every": 150, "save_every": 150, "device": "cpu"},
    }
    path = folder / "cyclegan.yaml"
    path.write_text(yaml.safe_dump(raw))
    return train_synthesis(load_config(path).model_copy(update={"out": folder / "cyclegan"})).folder


@pytest.fixture(scope="session")
def experiment(folder):
    """experiment(out, **changes) -> a validated configuration on the phantoms."""

    def make(out, **changes):
        path = folder / f"{out.name}.yaml"
        path.write_text(yaml.safe_dump(merged(TINY, {"name": out.name, **changes})))
        return load_config(path).model_copy(update={"out": out})

    return make


@pytest.fixture(scope="session")
def of_mr(folder, experiment):
    """Configuration and folder of a run on MR alone."""
    from deformgan.segmentation.loop import train

    config = experiment(folder / "of_mr", data={"channels": ["mr"], **VIEW})
    return config, train(config)


@pytest.fixture(scope="session")
def of_both(folder, experiment, cyclegan):
    """Of a run on CT and the MR made of it."""
    from deformgan.segmentation.loop import train

    config = experiment(folder / "of_both", data={"synthesis": str(cyclegan)})
    return config, train(config)
