"""A tiny experiment: phantom pairs on disk and networks that train in seconds."""

import pytest
import torch
import yaml
from experiments import merged
from phantoms import CT, GRID, T1, T2, image

from deformgan.config import load_config
from deformgan.io.formats import write_volume

TINY = {
    "name": "tiny",
    "data": {"manifest": "pairs.csv", "spacing_mm": 8, "shape": [20, 24, 20], "affine": False},
    "generated": {"share": 0.3},
    "augmentation": {"motion_mm": 16, "shift_mm": 8},
    "transformation": {"channels": [4, 8, 8], "matching": 1},
    "generator": {"channels": [4, 8]},
    "discriminator": {"channels": 4, "layers": 2},
    "loss": {"transformation": {"truth": 1, "dice": 0.1}},
    "training": {"steps": 6, "batch": 2, "validate_every": 3, "save_every": 2, "device": "cpu"},
}


@pytest.fixture(scope="session")
def phantom_pairs(tmp_path_factory):
    """A folder with three pairs of one phantom in different contrasts, and their manifest."""
    folder = tmp_path_factory.mktemp("pairs")
    for name, contrast in (("ct", CT), ("t1", T1), ("t2", T2)):
        write_volume(image(GRID, contrast), folder / f"{name}.nii.gz")
    labels = image(GRID, tuple(range(6)), noise=0)
    whole = type(labels)((labels.tensor + 0.5).to(torch.uint8), labels.geometry)
    write_volume(whole, folder / "labels.nii.gz")
    lines = ["fixed,moving,fixed_labels,moving_labels,subject,split"]
    pairs = (("ct", "t1", "train"), ("t1", "t2", "train"), ("ct", "t2", "validation"))
    lines += [f"{a}.nii.gz,{b}.nii.gz,labels.nii.gz,labels.nii.gz,s{k},{s}" for k, (a, b, s) in enumerate(pairs)]
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def experiment(phantom_pairs, tmp_path):
    """experiment(**changes) -> a validated configuration on the phantom pairs, its run under tmp_path."""

    def make(name="tiny", **changes):
        path = phantom_pairs / f"{name}-{tmp_path.name}.yaml"
        path.write_text(yaml.safe_dump(merged(TINY, {**changes, "name": name})))
        return load_config(path).model_copy(update={"out": tmp_path / name})

    return make
