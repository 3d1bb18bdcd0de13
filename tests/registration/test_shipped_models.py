"""The models that come with the package: whole, small, documented, and without a trace of a machine."""

import numpy as np
import phantoms
import pytest

import deformgan
from deformgan.io.tensor_files import ENDING
from deformgan.registration.models import card, load_model
from deformgan.registration.options import RegisterOptions
from deformgan.registration.shipped import SHIPPED, shipped_models


def test_some_ship():
    assert len(shipped_models()) >= 1


@pytest.mark.parametrize("name", shipped_models())
def test_a_shipped_model_is_small_documented_and_free_of_paths(name):
    model = load_model(name)
    assert model.name == name == model.config.name
    assert model.figures["tre_mm"] < 0.7 * model.figures["tre_mm_before"]
    assert (SHIPPED / f"{name}{ENDING}").stat().st_size < 4 * 2**20
    assert "/" not in model.config.model_dump_json()
    for part in ("licence", "trained on", "held out", "limits"):
        assert part in card(name).lower()


@pytest.mark.parametrize("name", ["auto", *shipped_models()])
def test_a_shipped_model_betters_the_affine_map_between_contrasts(name):
    """A bent phantom in another contrast: T alone halves what the affine map leaves."""

    def bent(points: np.ndarray) -> np.ndarray:
        x, y, z = points.transpose(3, 0, 1, 2) / 60
        return points + 9.0 * np.stack([np.sin(2 * y + z), np.cos(1.7 * x - z), np.sin(1.5 * x + y)], -1)

    fixed = phantoms.image(phantoms.GRID, phantoms.T2, bent)
    moving = phantoms.image(phantoms.GRID, phantoms.T1)
    points = deformgan.spatial.grid.voxel_points(fixed.geometry)
    points = points[np.linalg.norm(points / [62, 74, 66], axis=-1) < 0.75]
    truth = bent(points[None, None])[0, 0]
    left = {}
    for stage, options in (
        ("affine", RegisterOptions(stage="affine")),
        ("model", RegisterOptions(model=name, refine=False)),
    ):
        found = deformgan.register(fixed, moving, options=options)
        left[stage] = np.linalg.norm(found.transform.apply(points) - truth, axis=1).mean()
    assert left["model"] < 0.7 * left["affine"]
