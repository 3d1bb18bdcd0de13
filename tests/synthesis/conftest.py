"""People of whom phantoms are the MR and the CT, as prepared, and a tiny experiment on them."""

import numpy as np
import pytest
import yaml
from experiments import LEFT_HANDED, merged, on_one_thread
from phantoms import CT, OBLIQUE, T1, image

from deformgan.config import load_config
from deformgan.io.formats import write_volume

PEOPLE = {
    "a": (LEFT_HANDED, "train"),
    "b": (OBLIQUE, "train"),
    "c": (LEFT_HANDED, "validation"),
    "d": (OBLIQUE, "test"),
}
TINY = {
    "data": {"manifest": "manifest.csv", "shape": [20, 24], "spacing_mm": 8, "mr_window": None},
    "generator": {"channels": 4, "blocks": 1},
    "discriminator": {"channels": 4, "layers": 1},
    "training": {
        "steps": 6,
        "batch": 2,
        "validate_every": 3,
        "save_every": 2,
        "device": "cpu",
        "validation_slices": 3,
    },
}


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    with on_one_thread():
        yield


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """A folder with mr.nii.gz and ct.nii.gz of four people, a mask of one, and their manifest."""
    folder = tmp_path_factory.mktemp("people")
    lines = ["mr,ct,mask,subject,split"]
    for k, (name, (grid, split)) in enumerate(PEOPLE.items()):
        shift = np.array([3.0 * k, -2.0 * k, 0])
        for kind, contrast in (("mr", T1), ("ct", CT)):
            write_volume(image(grid, contrast, lambda p, s=shift: p + s), folder / f"{name}_{kind}.nii.gz")
        mask = f"{name}_mask.nii.gz" if name == "a" else ""
        lines.append(f"{name}_mr.nii.gz,{name}_ct.nii.gz,{mask},{name},{split}")
    mask = image(LEFT_HANDED, T1)
    mask.tensor[:] = 1
    mask.tensor[:, :, :6] = 0
    write_volume(mask, folder / "a_mask.nii.gz", dtype="uint8")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def experiment(people):
    """experiment(task, out, **changes) -> a validated configuration on the phantoms."""

    def make(task, out, **changes):
        path = people / f"{task}-{out.name}.yaml"
        path.write_text(yaml.safe_dump(merged(TINY, {**changes, "task": task, "name": out.name})))
        return load_config(path).model_copy(update={"out": out})

    return make
