"""Transforms compose, invert and come back from every format of file, whatever their grids."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from properties.grids import geometries, matrices, repeatable, smooth_field

from deformgan.spatial.grid import voxel_points
from deformgan.spatial.transform import Affine, DisplacementField, Transform

POINTS = np.random.default_rng(0).uniform(-80, 80, (20, 3))
BODY = (0.5, 5.0)  # mm, spacings of images that are registered


def field(geometry, seed):
    return Transform((DisplacementField(geometry, smooth_field(geometry, seed)),))


def inner_points(geometry):
    """Voxel centres that the field does not take off its lattice."""
    return voxel_points(geometry)[2:-2, 2:-2, 2:-2].reshape(-1, 3)


@given(matrices(), matrices())
@repeatable(50)
def test_matrices_compose_and_invert(a, b):
    first, second = Transform((Affine(a),)), Transform((Affine(b),))
    whole = second @ first
    np.testing.assert_allclose(whole.apply(POINTS), second.apply(first.apply(POINTS)), atol=1e-9)
    np.testing.assert_allclose(whole.merged().apply(POINTS), whole.apply(POINTS), atol=1e-9)
    np.testing.assert_allclose((~whole).apply(whole.apply(POINTS)), POINTS, atol=1e-8)


@given(geometries(most=12, least=8, spacing=BODY), matrices(), st.integers(0, 99))
@repeatable(12)
def test_a_field_and_a_matrix_go_back(geometry, matrix, seed):
    whole = Transform((Affine(matrix),)) @ field(geometry, seed)
    points = inner_points(geometry)
    error = whole.inverse_error_mm(~whole, points)
    assert np.percentile(error, 90) < 0.05 * min(geometry.spacing)
    flat = whole.flattened(geometry)
    np.testing.assert_allclose(flat.apply(points), whole.apply(points), atol=2e-4)


@pytest.mark.parametrize(
    ("name", "format"),
    [("t.h5", None), ("t.tfm", None), ("t.txt", None), ("t.mat", None), ("t.lta", None), ("t.x5", None),
     ("t.mat", "fsl"), ("n.txt", "niftyreg"), ("g.mat", "greedy"), ("e.txt", "elastix")],
)  # fmt: skip
def test_matrices_come_back_from_files(tmp_path, name, format):
    @given(matrices(), geometries(spacing=BODY), geometries(spacing=BODY))
    @repeatable(6)
    def check(matrix, fixed, moving):
        transform, images = Transform((Affine(matrix),)), {"fixed": fixed, "moving": moving}
        transform.save(tmp_path / name, format=format, **images)
        told = format if format in ("fsl", "niftyreg", "greedy") else None
        again = Transform.load(tmp_path / name, format=told, **images)
        np.testing.assert_allclose(again.apply(POINTS), transform.apply(POINTS), atol=1e-4)
        if name.startswith("t.") and format is None and name[-3:] not in ("lta", ".x5"):
            theirs = sitk.ReadTransform(str(tmp_path / name))
            expected = [theirs.TransformPoint(p) for p in POINTS.tolist()]
            np.testing.assert_allclose(again.apply(POINTS), expected, atol=1e-9)

    check()


@pytest.mark.parametrize(
    ("ending", "format"),
    [(".h5", None), (".nii", None), (".nii.gz", None), (".mha", None), (".nrrd", None), (".x5", None),
     (".nii.gz", "fsl"), (".nii", "fsl-absolute"), (".nii", "niftyreg")],
)  # fmt: skip
def test_fields_come_back_from_files(tmp_path, ending, format):
    @given(geometries(spacing=BODY, least=3), geometries(spacing=BODY), st.integers(0, 99))
    @repeatable(6)
    def check(fixed, moving, seed):
        transform, path = field(fixed, seed), tmp_path / f"u{ending}"
        transform.save(path, format=format, fixed=fixed, moving=moving)
        again = Transform.load(path, moving=moving)
        points = voxel_points(fixed).reshape(-1, 3)
        assert again.parts[0].geometry.almost_equal(fixed, 2e-3)
        found = again.parts[0].displacement.reshape(-1, 3)
        np.testing.assert_allclose(found, transform.apply(points) - points, atol=1e-3)

    check()


KINDS = {
    "Euler3DTransform": lambda t, r, c: (t.SetCenter(c), t.SetRotation(*r), t.SetTranslation((3, -4, 5))),
    "Similarity3DTransform": lambda t, r, c: (t.SetCenter(c), t.SetRotation((1, 0.2, 0), r[0]), t.SetScale(1.2)),
    "VersorRigid3DTransform": lambda t, r, c: (t.SetCenter(c), t.SetRotation((0, 1, 0.4), r[1])),
    "ScaleVersor3DTransform": lambda t, r, c: (t.SetCenter(c), t.SetScale((1.1, 0.9, 1.3))),
    "ScaleSkewVersor3DTransform": lambda t, r, c: (t.SetCenter(c), t.SetSkew((0.1, 0, 0.2, 0, 0.05, 0))),
    "AffineTransform": lambda t, r, c: (t.SetCenter(c), t.Shear(0, 1, r[0]), t.Translate((1, 2, 3))),
    "TranslationTransform": lambda t, r, c: t.SetOffset(c),
    "VersorTransform": lambda t, r, c: (t.SetCenter(c), t.SetRotation((0, 0, 1), r[2])),
    "ScaleTransform": lambda t, r, c: (t.SetCenter(c), t.SetScale((1.5, 0.5, 1))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_simpleitk_writes_means_the_same_here(tmp_path, kind):
    """Every linear kind of ITK, alone and in a chain, in its three kinds of file."""
    angles, lengths = st.floats(-1, 1), st.floats(-50, 50)

    @given(st.tuples(angles, angles, angles), st.tuples(lengths, lengths, lengths))
    @repeatable(4)
    def check(rotation, centre):
        maker = getattr(sitk, kind)
        theirs = maker(3) if kind in ("AffineTransform", "TranslationTransform", "ScaleTransform") else maker()
        KINDS[kind](theirs, rotation, centre)
        chain = sitk.CompositeTransform([theirs, sitk.TranslationTransform(3, (7, 8, 9))])
        for written in (theirs, chain):
            for ending in (".h5", ".tfm") if written is chain else (".h5", ".tfm", ".mat"):
                sitk.WriteTransform(written, str(tmp_path / f"t{ending}"))
                theirs_again = sitk.ReadTransform(str(tmp_path / f"t{ending}"))  # in memory a scale may know no centre
                expected = [theirs_again.TransformPoint(p) for p in POINTS.tolist()]
                ours = Transform.load(tmp_path / f"t{ending}").apply(POINTS)
                np.testing.assert_allclose(ours, expected, atol=1e-6)

    check()
