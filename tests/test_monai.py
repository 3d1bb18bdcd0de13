"""The dictionary transforms in a MONAI pipeline, on a planted problem."""

import phantoms
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from deformgan.io.volume import Volume, as_volume
from deformgan.monai import Registerd, Warpd
from deformgan.registration.options import RegisterOptions
from deformgan.spatial.grid import voxel_points

SHIFT = torch.tensor([9.0, -6.0, 7.0]).numpy()


@pytest.fixture(scope="module")
def data():
    def moved(points):
        return points - SHIFT

    labels = torch.from_numpy(phantoms.tissue(moved(voxel_points(phantoms.OBLIQUE))).astype("int16"))
    return {
        "t1": phantoms.image(phantoms.GRID, phantoms.T1).to_metatensor(),
        "t2": phantoms.image(phantoms.OBLIQUE, phantoms.T2, moved).to_metatensor(),
        "labels": Volume(labels, phantoms.OBLIQUE).to_metatensor(),
        "name": "phantom",
    }


def test_pipeline(data):
    steps = Compose(
        [
            Registerd(fixed="t1", moving="t2", transform="way", options=RegisterOptions(stage="rigid")),
            Warpd(["labels"], reference="t1", transform="way", labels=True),
        ]
    )
    out = steps(data)
    truth = torch.from_numpy(phantoms.tissue(voxel_points(phantoms.GRID)))
    assert isinstance(out["t2"], MetaTensor) and out["name"] == "phantom"
    for key in ("t2", "labels"):
        assert as_volume(out[key]).geometry.almost_equal(phantoms.GRID)
    found = out["labels"][0].permute(2, 1, 0)
    assert ((found == truth) | (truth == 0)).float().mean() > 0.93
    at = voxel_points(phantoms.GRID)[::20, ::20, ::20].reshape(-1, 3)
    assert abs(out["way"].apply(at) - at - SHIFT).max() < 1.0
    assert data["t2"].shape[1:] == phantoms.OBLIQUE.size  # what came is not changed


def test_inverse_brings_what_is_fixed_onto_moving(data):
    out = Registerd(fixed="t1", moving="t2", options=RegisterOptions(stage="rigid"))(data)
    back = Warpd("t1", reference="grid", inverse=True)({**out, "grid": data["t2"]})
    assert as_volume(back["t1"]).geometry.almost_equal(phantoms.OBLIQUE)
    expected = phantoms.image(phantoms.OBLIQUE, phantoms.T1, lambda p: p - SHIFT, noise=0).tensor
    assert torch.corrcoef(torch.stack([as_volume(back["t1"]).tensor.flatten(), expected.flatten()]))[0, 1] > 0.95


def test_missing_key_is_named(data):
    with pytest.raises(KeyError, match="nowhere"):
        Warpd(["nowhere"], reference="t1", transform="way")({**data, "way": None})
