"""Orientation by SimpleITK, windows, draws."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from phantoms import OBLIQUE

from deformgan.config import SynthesisDataConfig
from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.volume import Volume
from deformgan.synthesis.batches import Source, patch
from deformgan.synthesis.intensity import Window, window_of
from deformgan.synthesis.orientation import Orientation
from deformgan.synthesis.volumes import store_subjects


def data(**changes):
    return SynthesisDataConfig(manifest="x.csv", **changes)


def stored_orders():
    """The 48 orders in which a file may have its axes, tilted a little."""
    angle = 0.2
    tilt = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            yield tilt @ (np.eye(3)[:, order] * signs)


def test_slices_are_those_of_simpleitk_in_every_stored_order():
    rng = torch.Generator().manual_seed(0)
    for direction in stored_orders():
        grid = Geometry((4, 5, 6), (1.0, 2.0, 3.0), (1.0, 2.0, 3.0), tuple(direction.ravel()))
        volume = Volume(torch.rand(6, 5, 4, generator=rng), grid)
        truth = volume.tensor
        if np.linalg.det(direction) > 0:  # SimpleITK turns no left-handed image into a right-handed one
            truth = sitk.GetArrayFromImage(sitk.DICOMOrient(volume.to_simpleitk(), "LPS"))  # z, y, x
            for plane, axes in (("axial", (0, 1, 2)), ("coronal", (1, 0, 2)), ("sagittal", (2, 0, 1))):
                seen = Orientation.of(grid, data(plane=plane)).seen(volume.tensor)
                np.testing.assert_array_equal(seen, truth.transpose(axes))
        for plane in ("axial", "coronal", "sagittal"):
            orientation = Orientation.of(grid, data(plane=plane))
            assert torch.equal(orientation.back(orientation.seen(volume.tensor)), volume.tensor)


def test_resized_slices_keep_the_field_of_view():
    """A ramp in mm stays that ramp, away from the borders, there and back; slices keep their distance."""
    grid = OBLIQUE
    orientation = Orientation.of(grid, data(spacing_mm=5.0))
    turned = Orientation.of(grid, data())
    ramp = torch.arange(turned.shape[2], dtype=torch.float32).expand(turned.shape).contiguous()
    native = turned.back(ramp)
    small = orientation.seen(native)
    assert small.shape[0] == turned.shape[0] and small.shape[2] < turned.shape[2]
    ratio = turned.shape[2] / small.shape[2]
    expected = (torch.arange(small.shape[2]) + 0.5) * ratio - 0.5
    torch.testing.assert_close(small[3, 4, 3:-3], expected[3:-3], atol=1e-2, rtol=0)
    torch.testing.assert_close(turned.seen(orientation.back(small))[3, 4, 6:-6], ramp[3, 4, 6:-6], atol=2e-2, rtol=0)


def test_windows_clip_and_come_back():
    window = Window(-150, 350)
    hu = torch.tensor([-1000.0, -150, 100, 350, 2000])
    torch.testing.assert_close(window.scaled(hu), torch.tensor([-1.0, -1, 0, 1, 1]))
    torch.testing.assert_close(window.unscaled(window.scaled(hu)), hu.clamp(-150, 350))
    with pytest.raises(InputError, match=r"x\.nii: its intensities .* outside the MR window 0 to 100"):
        window_of("mr", torch.tensor([500.0, 900.0]), data(), "x.nii")


def test_a_patch_is_cut_or_padded_as_asked():
    array = np.arange(3 * 4 * 5, dtype=np.float16).reshape(3, 4, 5)
    assert torch.equal(patch(array, (4, 2), (0.99, 0, 0.99))[0, 0], torch.from_numpy(array[2, :, 3:]).float())
    padded = patch(array, (3, 6, 5), (0, 0, 0))
    assert padded.shape == (1, 1, 3, 6, 5)
    assert float(padded[0, 0, :, [0, 5]].max()) == -1 and torch.equal(padded[0, 0, 0, 1], torch.arange(5.0))


def test_draws_follow_from_seed_step_and_position(experiment, tmp_path):
    config = experiment("conditional", tmp_path / "run", training={"batch": 4})
    source = Source(config, store_subjects(config.data, 0))
    one = source.batches(5, 0, 1)[0]
    two = [Source(config, store_subjects(config.data, 0)).batches(5, p, 2)[0] for p in (0, 1)]
    assert torch.equal(one.mr, torch.cat([b.mr for b in two])) and torch.equal(one.ct, torch.cat([b.ct for b in two]))
    assert torch.equal(one.seen, torch.cat([b.seen for b in two]))
    assert not torch.equal(one.mr, source.batches(6, 0, 1)[0].mr)
    assert one.mr.shape == (4, 1, 20, 24) and 0 < float(one.seen.mean()) <= 1


def test_pairs_are_pairs_and_the_unpaired_are_drawn_apart(experiment, tmp_path):
    """Of the phantom, air in the MR is air in the CT; drawn apart, they hardly ever show the same slice."""
    agreement = {}
    for task in ("conditional", "cyclegan"):
        config = experiment(task, tmp_path / task, training={"batch": 16})
        batch = Source(config, store_subjects(config.data, 0)).batches(0, 0, 1)[0]
        agreement[task] = float(((batch.mr > -0.8) == (batch.ct > -0.8)).float().mean())
    assert agreement["conditional"] > 0.9 > 0.85 > agreement["cyclegan"]


def test_test_people_are_never_stored(experiment, tmp_path):
    config = experiment("cyclegan", tmp_path / "run")
    assert {s.subject for s in store_subjects(config.data, 0)} == {"a", "b", "c"}


def test_fewer_people_train_the_others_stay(experiment, tmp_path):
    config = experiment("cyclegan", tmp_path / "run", data={"people": 1})
    drawn = [{s.subject for s in store_subjects(config.data, seed)} for seed in range(8)]
    assert {frozenset(d) for d in drawn} == {frozenset("ac"), frozenset("bc")} and drawn[0] == {
        s.subject for s in store_subjects(config.data, 0)
    }
    with pytest.raises(InputError, match=r"data\.people is 3, but MR of 2 people are there to train"):
        store_subjects(config.data.model_copy(update={"people": 3}), 0)


def test_pairs_on_two_grids_are_refused(people, experiment, tmp_path):
    config = experiment("conditional", tmp_path / "run")
    (tmp_path / "m.csv").write_text(f"mr,ct\n{people}/a_mr.nii.gz,{people}/b_ct.nii.gz\n")
    with pytest.raises(InputError, match=r"b_ct\.nii\.gz: not on the grid .* deformgan prepare"):
        store_subjects(config.data.model_copy(update={"manifest": tmp_path / "m.csv"}), 0)


def test_two_lists_of_images_will_do(people, experiment, tmp_path):
    lists = {"manifest": None, "mr_images": ["a_mr.nii.gz", "b_mr.nii.gz"], "ct_images": ["*_ct.nii.gz"]}
    config = experiment("cyclegan", tmp_path / "run", data=lists)
    stored = store_subjects(config.data, 0)
    assert [bool(s.mr) for s in stored] == [True, True, False, False, False, False]
    assert Source(config, stored).batches(0, 0, 1)[0].seen is None and Source(config, stored).validation() == []
