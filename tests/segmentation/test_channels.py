"""Codes, labels on the networks' grid, variation, folds."""

import numpy as np
import pytest
import torch
from phantoms import OBLIQUE, tissue

from deformgan.config import VariationConfig
from deformgan.errors import InputError
from deformgan.segmentation.batches import Batch, Source, varied
from deformgan.segmentation.channels import codes_of, seen_codes, values_of
from deformgan.segmentation.people import listed, store_people
from deformgan.spatial.grid import voxel_points
from deformgan.synthesis.orientation import Orientation

STRUCTURES = {"bone": (2, 7), "inside": (30, 4)}


def test_values_go_to_codes_and_the_first_of_each_comes_back():
    labels = np.array([[0, 2, 7, 30, 4, 99]], np.int32)
    codes = codes_of(labels, STRUCTURES)
    assert codes.tolist() == [[0, 1, 1, 2, 2, 0]] and codes.dtype == np.uint8
    assert values_of(codes, STRUCTURES).tolist() == [[0, 2, 2, 30, 30, 0]]


def test_codes_on_the_grid_that_is_seen_are_those_there_by_the_phantom(experiment, folder):
    """Of an oblique file whose axes are neither in order nor upright; borders within a pixel do not count."""
    view = experiment(folder / "view", data={"channels": ["mr"], "spacing_mm": 3.5}).data
    orientation = Orientation.of(OBLIQUE, view)
    codes = codes_of(tissue(voxel_points(OBLIQUE)), {"bone": (2,), "inside": (3, 4, 5)})
    seen = seen_codes(codes, orientation)
    inner = orientation.seen(torch.from_numpy((codes == 2).astype(np.float32))) > 0.95
    assert inner.sum() > 300 and (seen[inner] == 2).all()
    turned = torch.from_numpy(codes).permute(orientation.order).flip(orientation.flipped)
    share = [float((c == 2).float().mean()) for c in (seen, turned)]
    assert share[0] == pytest.approx(share[1], rel=0.02)


def test_without_variation_nothing_changes_and_with_it_codes_follow_the_image():
    rng = torch.Generator().manual_seed(3)
    codes = torch.zeros(1, 40, 48, dtype=torch.int64)
    codes[:, 12:25, 15:33] = 1
    batch = Batch(torch.stack([2.0 * codes - 1, 1 - 2.0 * codes], 1), codes)
    still = varied(batch, VariationConfig(degrees=0, scale=0, shift=0, gamma=0), rng)
    torch.testing.assert_close(still.image, batch.image, atol=1e-5, rtol=0)
    assert torch.equal(still.codes, codes)
    moved = varied(batch, VariationConfig(degrees=30, scale=0.3, shift=0.1, gamma=0), rng)
    assert 0.05 < float((moved.codes != codes).float().mean()) < 0.5
    agree = (moved.image[:, 0] > 0) == (moved.codes == 1)
    assert float(agree.float().mean()) > 0.99


def test_draws_follow_from_seed_step_and_position(experiment, folder):
    config = experiment(folder / "draws", data={"channels": ["mr"], "spacing_mm": 7, "mr_window": None})
    source = Source(config, store_people(config, None))
    one, two = source.batches(5, 0, 1)[0], [source.batches(5, p, 2)[0] for p in (0, 1)]
    assert torch.equal(one.image, torch.cat([b.image for b in two]))
    assert torch.equal(one.codes, torch.cat([b.codes for b in two]))
    assert not torch.equal(one.image, source.batches(6, 0, 1)[0].image)


def test_everyone_is_held_out_once_whatever_the_split(experiment, folder):
    out = []
    for fold in range(3):
        data = {"channels": ["mr"], "folds": 3, "fold": fold}
        people = listed(experiment(folder / "folds", data=data).data, 5)
        assert {p.split for p in people} == {"train", "validation"}
        out += [p.subject for p in people if p.split == "validation"]
    assert sorted(out) == ["a", "b", "c", "d"]
    too_many = experiment(folder / "folds", data={"channels": ["mr"], "folds": 5})
    with pytest.raises(InputError, match="4 labelled people cannot be shared out into 5 folds"):
        listed(too_many.data, 0)
