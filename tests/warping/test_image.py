"""Images and labels: which is which, which grid, the two directions, and what is said about it."""

import nibabel
import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
import torch

import deformgan
from deformgan.errors import InputError
from deformgan.io.formats import write_volume
from deformgan.io.geometry import Geometry
from deformgan.io.volume import Volume
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.transform import Affine, DisplacementField, Transform
from deformgan.warping.grids import output_grid
from deformgan.warping.image import as_type
from deformgan.warping.labels import looks_like_labels, lost_labels
from deformgan.warping.points import move


def shifted(x=0.0, y=0.0, z=0.0):
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return Transform((Affine(matrix),))


def labels_on(geometry=phantoms.OBLIQUE, dtype=np.int16):
    return Volume(torch.from_numpy(phantoms.tissue(voxel_points(geometry)).astype(dtype)), geometry)


def test_labels_are_told_from_images():
    tissue = phantoms.tissue(voxel_points(phantoms.GRID))
    assert looks_like_labels(tissue.astype(np.uint8))
    assert looks_like_labels((tissue > 2).astype(np.int16) * 255)
    assert looks_like_labels(tissue.astype(np.float32))
    grey = phantoms.image(phantoms.GRID, phantoms.T1).numpy()
    assert not looks_like_labels(grey)
    assert not looks_like_labels(np.clip(grey, 0, 255).astype(np.uint8))
    assert not looks_like_labels(phantoms.image(phantoms.GRID, phantoms.CT).numpy().astype(np.int16))
    assert not looks_like_labels(tissue.astype(np.int16) - 1)


def test_files_of_labels_are_found_by_type_and_content(tmp_path):
    write_volume(labels_on(), tmp_path / "labels.nii.gz")
    grey = phantoms.image(phantoms.OBLIQUE, phantoms.T1)
    write_volume(Volume(grey.tensor.round().to(torch.int16), grey.geometry), tmp_path / "grey.nii.gz")
    write_volume(Volume(labels_on().tensor.float(), grey.geometry), tmp_path / "floats.nii.gz")
    found = {
        n: deformgan.warp(tmp_path / f"{n}.nii.gz", shifted(2), phantoms.GRID) for n in ("labels", "grey", "floats")
    }
    assert [v.tensor.dtype for v in found.values()] == [torch.int16, torch.float32, torch.float32]
    assert "taken as labels" in found["labels"].notes[0] and "--no-labels" in found["labels"].notes[0]
    assert "taken as an image" in found["grey"].notes[0] and "--labels" in found["floats"].notes[0]
    told = deformgan.warp(tmp_path / "floats.nii.gz", shifted(2), phantoms.GRID, labels=True)
    assert told.notes == () and (told.numpy() == found["labels"].numpy()).all()
    told = deformgan.warp(tmp_path / "labels.nii.gz", shifted(2), phantoms.GRID, labels=False)
    assert told.tensor.dtype == torch.float32 and told.notes == ()
    told = deformgan.warp(tmp_path / "labels.nii.gz", shifted(2), phantoms.GRID, interpolation="vote")
    assert told.tensor.dtype == torch.int16 and told.notes == ()


def test_the_intent_of_the_header_counts(tmp_path):
    noise = np.random.default_rng(0).integers(0, 200, (9, 8, 7)).astype(np.int16)  # nothing like regions
    image = nibabel.Nifti1Image(noise, np.eye(4))
    image.header.set_intent("label")
    image.to_filename(tmp_path / "l.nii")
    assert deformgan.warp(tmp_path / "l.nii", shifted(), tmp_path / "l.nii").tensor.dtype == torch.int16


def test_lost_labels_are_named():
    labels = labels_on()
    assert lost_labels(labels.numpy(), labels.numpy()) == ""
    assert lost_labels(np.arange(30), np.arange(2)).endswith("9, 10, 11, 12, 13 and 16 more")
    labels.tensor[5, 5, 5] = 77
    warped = deformgan.warp(labels, shifted(0.4), spacing=9.0, labels=True)
    assert warped.notes == ("warning: labels lost, outside the grid or smaller than its voxels: 77",)


def test_interpolations_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="labels take nearest, vote"):
        deformgan.warp(labels_on(), shifted(), phantoms.GRID, labels=True, interpolation="cubic")
    with pytest.raises(InputError, match="images take linear"):
        deformgan.warp(labels_on(), shifted(), phantoms.GRID, labels=False, interpolation="vote")
    with pytest.raises(InputError, match="got 'sinc'"):
        deformgan.warp(labels_on(), shifted(), phantoms.GRID, interpolation="sinc")


def test_two_transforms_sample_once_and_simpleitk_agrees():
    moving = phantoms.image(phantoms.OBLIQUE, phantoms.T1)
    lattice = phantoms.GRID.resized((14, 15, 13))
    u = np.random.default_rng(0).normal(size=(*lattice.shape, 3)).astype(np.float32)
    first, second = Transform((DisplacementField(lattice, 2 * u),)), shifted(5.5, -3.5, 2.5)
    warped = deformgan.warp(moving, [first, second], phantoms.GRID)
    image = moving.to_simpleitk()
    composite = sitk.CompositeTransform(3)
    composite.AddTransform(sitk.TranslationTransform(3, (5.5, -3.5, 2.5)))
    field = sitk.GetImageFromArray(2 * u.astype(float), isVector=True)
    field.SetOrigin(lattice.origin)
    field.SetSpacing(lattice.spacing)
    composite.AddTransform(sitk.DisplacementFieldTransform(field))
    low = float(moving.tensor.min())
    like = phantoms.GRID
    expected = sitk.Resample(
        image, like.size, composite, sitk.sitkLinear, like.origin, like.spacing, like.direction, low
    )
    difference = np.abs(sitk.GetArrayFromImage(expected) - warped.numpy())
    assert difference.mean() < 1e-3 * np.ptp(moving.numpy())
    twice = deformgan.warp(deformgan.warp(moving, second, phantoms.GRID), first, phantoms.GRID)
    assert np.abs(twice.numpy() - warped.numpy()).mean() > 10 * difference.mean()


def test_inverse_brings_back():
    moving = phantoms.image(phantoms.OBLIQUE, phantoms.T1, noise=0.0)
    there = deformgan.warp(moving, shifted(7, 5, -4), phantoms.GRID, interpolation="cubic")
    back = deformgan.warp(there, shifted(7, 5, -4), moving, inverse=True)
    inner = np.zeros(moving.tensor.shape, bool)
    inner[14:-14, 10:-10, 14:-14] = True
    assert np.corrcoef(back.numpy()[inner], moving.numpy()[inner])[0, 1] > 0.97


def grid_of(reference=None, transform=None, image=phantoms.OBLIQUE, **options):
    transform = transform or shifted()
    return output_grid(reference, image, lambda points: move(points, transform, inverse=False), **options)


def test_spacing_and_size_keep_the_box():
    fine = grid_of(phantoms.OBLIQUE, spacing=1.0)
    np.testing.assert_allclose(fine.spacing, 1.0)
    np.testing.assert_allclose(fine.centre, phantoms.OBLIQUE.centre, atol=1e-9)
    assert fine.direction == pytest.approx(phantoms.OBLIQUE.direction)
    over = np.array(fine.extent_mm) - phantoms.OBLIQUE.extent_mm
    assert (over > -1e-2).all() and (over < 1).all()
    assert grid_of(phantoms.OBLIQUE, spacing=(1, 2, 4)).spacing == pytest.approx((1, 2, 4))
    same = grid_of(phantoms.OBLIQUE, spacing=phantoms.OBLIQUE.spacing)
    assert same.almost_equal(phantoms.OBLIQUE)
    sized = grid_of(phantoms.OBLIQUE, size=(20, 30, 40))
    assert sized.size == (20, 30, 40)
    np.testing.assert_allclose(sized.extent_mm, phantoms.OBLIQUE.extent_mm)
    for bad in ({"spacing": 0}, {"spacing": (1, 2)}, {"spacing": 1e-4}, {"spacing": 1, "size": (2, 2, 2)}):
        with pytest.raises(InputError):
            grid_of(phantoms.OBLIQUE, **bad)


def test_without_a_reference_the_image_is_brought_over_whole():
    turn = np.eye(4)
    turn[:3, :3] = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn[:3, 3] = 40, -30, 20
    transform = Transform((Affine(turn),))
    box = grid_of(transform=transform)
    assert box.spacing == pytest.approx(phantoms.OBLIQUE.spacing)
    home = np.linalg.inv(turn)
    places = phantoms.OBLIQUE.corners @ home[:3, :3].T + home[:3, 3]
    index = places @ box.inverse[:3, :3].T + box.inverse[:3, 3]
    assert (index >= -0.5).all() and (index <= np.array(box.size) - 0.5).all()
    assert grid_of().almost_equal(phantoms.OBLIQUE)
    warped = deformgan.warp(labels_on(), transform, spacing=3.0, labels=True)
    kept, before = (
        (warped.numpy() > 0).sum() * 27.0,
        (labels_on().numpy() > 0).sum() * np.prod(phantoms.OBLIQUE.spacing),
    )
    assert kept == pytest.approx(before, rel=0.01)


def test_values_in_another_type_are_rounded_and_cut():
    values = np.array([-3.6, 0.4, 0.6, 254.7, 300.0, 3e9], np.float32)
    assert as_type(values, np.uint8).tolist() == [0, 0, 1, 255, 255, 255]
    assert as_type(values, np.int32).tolist() == [-4, 0, 1, 255, 300, 2**31 - 1]
    assert as_type(np.array([-1, 70000]), np.uint16).tolist() == [0, 65535]
    assert as_type(values, "float64").dtype == np.float64


def test_a_reference_of_one_slice_by_size():
    flat = grid_of(phantoms.GRID, size=(20, 20, 1))
    assert isinstance(flat, Geometry) and deformgan.warp(labels_on(), shifted(), flat).tensor.shape == (1, 20, 20)
