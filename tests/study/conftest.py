"""The patients in data/, prepared: two to train on, two to test; and a tiny experiment on them."""

from pathlib import Path

import pytest
import yaml
from experiments import on_one_thread

from deformgan.synthesis.prepare import PrepareOptions, prepare

DATA = Path(__file__).resolve().parents[2] / "data" / "sts"
SPLIT = {"STS_002": "train", "STS_018": "train", "STS_051": "test", "STS_015": "test"}
TINY = {
    "name": "tiny",
    "task": "conditional",
    "data": {"manifest": "prepared/manifest.csv", "shape": [24, 24], "spacing_mm": 8, "mr_window": None},
    "generator": {"channels": 4, "blocks": 1},
    "discriminator": {"channels": 4, "layers": 1},
    "optimiser": {"generator": 2.0e-3, "discriminator": 1.0e-3},
    "training": {"steps": 8, "batch": 2, "validate_every": 8, "save_every": 4, "device": "cpu"},
}


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    with on_one_thread():
        yield


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A folder with `prepared`, and tiny.yaml."""
    folder = tmp_path_factory.mktemp("study")
    rows = [f"{DATA}/{n}_MR_T1.nii.gz,{DATA}/{n}_CT.nii.gz,{n},{split}" for n, split in SPLIT.items()]
    (folder / "people.csv").write_text("\n".join(["mr,ct,subject,split", *rows]) + "\n")
    (folder / "prepared").mkdir()
    prepare(folder / "people.csv", folder / "prepared", PrepareOptions(n4=False))
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    return folder
