"""Transforms of other tools: their own files applied with their own result, and round trips through each format.

`foreign/` holds what the tools wrote and where they put points; its README has the commands.
"""

import json
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from deformgan.errors import InputError, OutputError
from deformgan.io.formats import read_volume
from deformgan.io.geometry import Geometry
from deformgan.io.grids import read_grid
from deformgan.io.transform_files import Affine, DisplacementField, read_transform
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.resample import resample
from deformgan.spatial.transform import Transform

FOREIGN = Path(__file__).with_name("foreign")
POINTS = {name: np.array(rows) for name, rows in json.loads((FOREIGN / "points.json").read_text()).items()}
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def turned(size, spacing, handed, seed):
    """An oblique grid; handed -1 = left-handed."""
    direction = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    direction[:, 0] *= handed * np.sign(np.linalg.det(direction))
    return Geometry(size, spacing, (-21.0, 14.0, 47.5), tuple(direction.ravel()))


PAIRS = [
    (turned((9, 7, 8), (3.0, 4.5, 6.0), a, 1), turned((8, 10, 7), (5.0, 3.0, 4.0), b, 2))
    for a in (1, -1)
    for b in (1, -1)
]
FIXED, MOVING = PAIRS[2]


def matrix(seed=0):
    rng = np.random.default_rng(seed)
    out = np.eye(4)
    out[:3, :3] += 0.15 * rng.normal(size=(3, 3))
    out[:3, 3] = 20 * rng.normal(size=3)
    return out


def affine(seed=0):
    return Transform((Affine(matrix(seed)),))


def field(grid=FIXED, seed=0):
    noise = np.random.default_rng(seed).normal(size=(*grid.shape, 3))
    return Transform((DisplacementField(grid, (3 * noise).astype(np.float32)),))


def points(grid=FIXED, number=100):
    index = np.random.default_rng(4).uniform(0, np.array(grid.size) - 1, (number, 3))
    return index @ grid.matrix[:3, :3].T + grid.matrix[:3, 3]


def image(grid, path=None):
    out = nibabel.Nifti1Image(np.zeros(grid.size, np.uint8), FLIP @ grid.matrix)
    if path is not None:
        nibabel.save(out, path)
    return out


# What the tools themselves made of the points.


def load(*names, **options):
    """The files composed, the first applied first."""
    transform = Transform()
    for name in names:
        transform = Transform.load(FOREIGN / name, **options.get(name, {})) @ transform
    return transform


NIFTYREG = {"niftyreg_affine.txt": {"format": "niftyreg"}}
CASES = {
    "elastix_chain": (("elastix_chain.3.txt",), {}, 5e-3),  # a spline, sampled
    "elastix_order2": (("elastix_order2.txt",), {}, 5e-3),
    "niftyreg_affine": (("niftyreg_affine.txt",), NIFTYREG, 1e-3),
    "niftyreg_def": (("niftyreg_def.nii.gz",), {}, 1e-3),
    "niftyreg_disp": (("niftyreg_disp.nii.gz",), {}, 1e-3),
    "ants": (("ants_warp.nii.gz", "ants_affine.mat"), {}, 1e-3),
}


@pytest.mark.parametrize("case", CASES)
def test_points_go_where_the_tool_itself_puts_them(case):
    names, options, atol = CASES[case]
    assert np.linalg.norm(POINTS[case] - POINTS["fixed"], axis=1).mean() > 5
    np.testing.assert_allclose(load(*names, **options).apply(POINTS["fixed"]), POINTS[case], atol=atol)


def test_a_control_point_grid_is_the_field_that_niftyreg_makes_of_it():
    (dense,) = load("niftyreg_def.nii.gz").parts
    nodes = voxel_points(dense.geometry).reshape(-1, 3)
    np.testing.assert_allclose(
        load("niftyreg_cpp.nii.gz").apply(nodes), load("niftyreg_def.nii.gz").apply(nodes), atol=5e-3
    )


WARPED = {
    "ants": (("ants_warp.nii.gz", "ants_affine.mat"), {}, 2e-3),
    "greedy": (("greedy_warp.nii.gz", "greedy_affine.mat"), {"greedy_affine.mat": {"format": "greedy"}}, 1.01),
    "niftyreg": (("niftyreg_cpp.nii.gz",), {}, 1.01),  # the last two wrote whole numbers
}


@pytest.mark.parametrize("tool", WARPED)
def test_an_image_is_warped_as_by_the_tool_itself(tool):
    names, options, atol = WARPED[tool]
    transform, moving = load(*names, **options), read_volume(FOREIGN / "moving.nii.gz")
    expected, grid = read_volume(FOREIGN / f"{tool}_warped.nii.gz").numpy(), read_grid(FOREIGN / "fixed.nii.gz")
    index = transform.apply(voxel_points(grid).reshape(-1, 3)) @ moving.geometry.inverse[:3, :3].T
    index = (index + moving.geometry.inverse[:3, 3]).reshape(*grid.shape, 3)
    inside = ((index >= 0) & (index <= np.array(moving.geometry.size) - 1)).all(-1)  # they differ on the border
    assert inside.mean() > 0.3 and expected[inside].std() > 100
    np.testing.assert_allclose(resample(moving, transform, grid).numpy()[inside], expected[inside], atol=atol)


# elastix: kinds that have no fixture, by SimpleITK.


def parameters(path, kind, numbers, more=""):
    text = " ".join(str(v) for v in numbers)
    path.write_text(f'(Transform "{kind}")\n(TransformParameters {text}) // a remark\n{more}\n')
    return path


@pytest.mark.parametrize("kind", ["translation", "euler", "euler zyx", "similarity", "affine"])
def test_elastix_matrices_agree_with_itk(tmp_path, kind):
    centre, more = (10.0, -5.0, 3.0), "(CenterOfRotationPoint 10.0 -5.0 3.0)"
    angles, shift = (0.1, -0.2, 0.3), (4.0, 5.0, 6.0)
    theirs = sitk.TranslationTransform(3, shift)
    name, numbers = "TranslationTransform", [*shift]
    if kind.startswith("euler"):
        theirs = sitk.Euler3DTransform(centre, *angles, shift)
        theirs.SetComputeZYX("zyx" in kind)
        name, numbers = "EulerTransform", [*angles, *shift]
        more += f'\n(ComputeZYX "{str("zyx" in kind).lower()}")'
    elif kind == "similarity":
        name, theirs = "SimilarityTransform", sitk.Similarity3DTransform()
        theirs.SetCenter(centre)
        numbers = [0.1, -0.2, 0.05, *shift, 1.2]
        theirs.SetParameters(numbers)
    elif kind == "affine":
        name, theirs = "AffineTransform", sitk.AffineTransform(3)
        theirs.SetCenter(centre)
        numbers = [*matrix()[:3, :3].ravel(), *shift]
        theirs.SetParameters(numbers)
    ours = Transform.load(parameters(tmp_path / "t.txt", name, numbers, more))
    expected = [theirs.TransformPoint(p) for p in points().tolist()]
    np.testing.assert_allclose(ours.apply(points()), expected, atol=1e-6)


def test_what_elastix_can_write_and_we_cannot_read_is_named(tmp_path):
    def said(more, kind="TranslationTransform", numbers=(1, 2, 3)):
        with pytest.raises(InputError) as caught:
            read_transform(parameters(tmp_path / "t.txt", kind, numbers, more))
        assert "t.txt" in str(caught.value) and "\n" not in str(caught.value)
        return str(caught.value)

    (tmp_path / "first.txt").write_text('(Transform "TranslationTransform")\n(TransformParameters 1 2 3)\n')
    first = '(InitialTransformParametersFileName "first.txt")'
    assert len(read_transform(parameters(tmp_path / "t.txt", "TranslationTransform", (1, 2, 3), first))) == 2
    assert "Compose" in said(first + '\n(HowToCombineTransforms "Add")')
    assert "not there" in said('(InitialTransformParametersFileName "gone.txt")')
    assert "names itself" in said('(InitialTransformParametersFileName "t.txt")')
    assert "UseDirectionCosines" in said('(UseDirectionCosines "false")')
    assert "transformix" in said("(CenterOfRotationPoint 0 0 0)", "WeightedCombinationTransform")
    assert "2-D" in said("(FixedImageDimension 2)")
    assert "do not fill" in said(
        "(GridSize 4 4 4)\n(GridSpacing 1 1 1)\n(GridOrigin 0 0 0)\n(GridIndex 0 0 0)\n"
        "(GridDirection 1 0 0 0 1 0 0 0 1)",
        "BSplineTransform",
    )


# FSL, by FSL's own library.


@pytest.mark.parametrize(("fixed", "moving"), PAIRS)
def test_flirt_agrees_with_fsl(tmp_path, fixed, moving):
    pytest.importorskip("fsl.transform")
    from fsl.data.image import Image
    from fsl.transform.flirt import fromFlirt

    flirt = matrix(3)
    np.savetxt(tmp_path / "f.mat", flirt)
    ours = Transform.load(tmp_path / "f.mat", format="fsl", fixed=fixed, moving=moving)
    # Theirs maps the moving ("source") image's RAS mm to the fixed ("reference") image's.
    theirs = fromFlirt(flirt, Image(image(moving)), Image(image(fixed)), "world", "world")
    np.testing.assert_allclose(ours.parts[0].matrix, FLIP @ np.linalg.inv(theirs) @ FLIP, atol=1e-8)
    ours.save(tmp_path / "back.mat", format="fsl", fixed=fixed, moving=moving)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "back.mat"), flirt, atol=1e-8)


@pytest.mark.parametrize("kind", ["relative", "absolute"])
@pytest.mark.parametrize(("fixed", "moving"), PAIRS)
def test_warps_agree_with_fsl(tmp_path, fixed, moving, kind):
    pytest.importorskip("fsl.transform")
    from fsl.data.image import Image
    from fsl.transform.fnirt import readFnirt

    transform, path = field(fixed), tmp_path / "w.nii.gz"
    transform.save(path, format=f"fsl-{kind}", fixed=fixed, moving=moving)
    theirs = readFnirt(str(path), Image(image(moving)), Image(image(fixed)), defType=kind)
    nodes = voxel_points(fixed).reshape(-1, 3)
    expected = theirs.transform(nodes * [-1, -1, 1], "world", "world") * [-1, -1, 1]
    known = np.isfinite(expected).all(1)  # theirs leaves out nodes that rounding puts beyond the lattice
    assert known.mean() > 0.5
    np.testing.assert_allclose(transform.apply(nodes)[known], expected[known], atol=1e-4)
    again = Transform.load(path, moving=moving)
    np.testing.assert_allclose(again.apply(nodes), transform.apply(nodes), atol=1e-4)


def test_a_shift_by_two_voxels_is_that_in_flirt():
    """Analytic: equal grids of positive determinant, one voxel of 2 mm along x; FSL counts x from the other end."""
    grid = Geometry((10, 9, 8), (2.0, 2.0, 2.0))
    flirt = np.eye(4)
    flirt[0, 3] = 4.0  # moving -> fixed, so a fixed point comes from 4 mm less in FSL's x, that is 4 mm more in ours
    from deformgan.io.transforms.fsl import from_world

    ours = np.linalg.inv(from_world(grid)) @ np.linalg.inv(flirt) @ from_world(grid)
    np.testing.assert_allclose(ours[:3, 3], (4.0, 0.0, 0.0), atol=1e-12)


# FreeSurfer, by a file written by hand.

LTA = """type      = {kind} # a remark
nxforms   = 1
mean      = 0.0000 0.0000 0.0000
sigma     = 1.0000
1 4 4
{rows}
src volume info
{src}
dst volume info
{dst}
subject unknown
fscale 0.150000
"""


def volume_info(grid, valid=1):
    """FreeSurfer's words for a grid: voxel sizes, RAS directions of its axes, RAS of its middle (index n / 2)."""
    affine = FLIP @ grid.matrix
    axes = affine[:3, :3] / grid.spacing
    middle = (affine @ [*(np.array(grid.size) / 2), 1])[:3]
    rows = [("valid", f"{valid}  # volume info valid"), ("filename", "/a folder/orig #1.mgz")]
    rows += [("volume", " ".join(map(str, grid.size))), ("voxelsize", " ".join(map(repr, grid.spacing)))]
    rows += [(f"{n}ras  ", " ".join(map(repr, v.tolist()))) for n, v in zip("xyzc", [*axes.T, middle], strict=True)]
    return "\n".join(f"{key} = {value}" for key, value in rows)


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize(("fixed", "moving"), PAIRS)
def test_lta_maps_moving_to_fixed_between_voxels_or_ras(tmp_path, fixed, moving, kind):
    forward = matrix(5)  # LPS, fixed -> moving
    stored = FLIP @ np.linalg.inv(forward) @ FLIP
    if kind == 0:
        stored = fixed.inverse @ np.linalg.inv(forward) @ moving.matrix
    rows = "\n".join(" ".join(f"{v:.15e}" for v in row) for row in stored)
    text = LTA.format(kind=kind, rows=rows, src=volume_info(moving), dst=volume_info(fixed))
    (tmp_path / "t.lta").write_text(text)
    ours = Transform.load(tmp_path / "t.lta")
    np.testing.assert_allclose(ours.apply(points(fixed)), Transform((Affine(forward),)).apply(points(fixed)), atol=1e-4)


def test_lta_says_which_volume_is_which(tmp_path):
    affine().save(tmp_path / "t.lta", fixed=FIXED, moving=MOVING)
    lines = (tmp_path / "t.lta").read_text().splitlines()
    sizes = [line.split("=")[1].split() for line in lines if line.startswith("volume")]
    assert sizes == [[str(n) for n in MOVING.size], [str(n) for n in FIXED.size]]  # src, dst


def test_other_ltas_are_refused_in_a_line(tmp_path):
    rows, info = "\n".join(["1 0 0 0"] * 4), volume_info(FIXED)
    for kind, valid, says in ((14, 1, "lta_convert"), (0, 0, "valid = 0")):
        text = LTA.format(kind=kind, rows=rows, src=volume_info(FIXED, valid), dst=info)
        (tmp_path / "t.lta").write_text(text)
        with pytest.raises(InputError, match=says):
            read_transform(tmp_path / "t.lta")
    (tmp_path / "t.lta").write_text("type = 1\nnxforms = 1\n")
    with pytest.raises(InputError, match="damaged"):
        read_transform(tmp_path / "t.lta")


# X5, by nitransforms.


def test_x5_chains_agree_with_nitransforms(tmp_path):
    from nitransforms.manip import TransformChain

    transform = affine(1) @ field() @ affine(2)
    transform.save(tmp_path / "t.x5", fixed=FIXED)
    theirs = TransformChain.from_filename(tmp_path / "t.x5")
    nodes = voxel_points(FIXED).reshape(-1, 3)
    # The field comes second: ask at the points that the first matrix brings onto its nodes.
    where = affine(2).inverse().apply(nodes)
    expected = theirs.map(where * [-1, -1, 1]) * [-1, -1, 1]
    np.testing.assert_allclose(transform.apply(where), expected, atol=1e-3)
    np.testing.assert_allclose(Transform.load(tmp_path / "t.x5").apply(where), transform.apply(where), atol=1e-6)


def test_x5_of_one_matrix_is_read_and_others_refused(tmp_path):
    from nitransforms.linear import Affine as Theirs

    ras = FLIP @ matrix() @ FLIP
    Theirs(ras, reference=image(FIXED)).to_filename(tmp_path / "t.x5", fmt="X5")
    np.testing.assert_allclose(read_transform(tmp_path / "t.x5")[0].matrix, matrix(), atol=1e-12)
    with h5py.File(tmp_path / "t.x5", "a") as file:
        file["TransformGroup/0"].attrs["Type"] = "composite"
    with pytest.raises(InputError, match="not supported"):
        read_transform(tmp_path / "t.x5")


# Round trips, and what cannot be told.

MATRICES = [("t.mat", "itk"), ("t.mat", "fsl"), ("t.lta", None), ("t.x5", None), ("t.txt", "niftyreg")]
MATRICES += [("t.mat", "greedy"), ("t.txt", "elastix"), ("t.h5", None)]


@pytest.mark.parametrize(("name", "format"), MATRICES)
def test_a_matrix_survives_every_format(tmp_path, name, format):
    transform, images = affine(6) @ affine(7), {"fixed": FIXED, "moving": MOVING}
    transform.save(tmp_path / name, format=format, **images)
    told = format if format in ("fsl", "niftyreg", "greedy") else None
    again = Transform.load(tmp_path / name, format=told, **images)
    np.testing.assert_allclose(again.apply(points()), transform.apply(points()), atol=1e-4)


def test_x5_deformations_are_positions(tmp_path):
    from nitransforms.io.x5 import X5Domain, X5Transform, to_filename

    part, where = field().parts[0], voxel_points(FIXED)
    ras = (where + part.displacement) * [-1, -1, 1]
    domain = X5Domain(grid=True, size=FIXED.size, mapping=FLIP @ FIXED.matrix)
    node = X5Transform("nonlinear", ras.transpose(2, 1, 0, 3), "densefield", "deformations",
                       dimension_kinds=("space", "space", "space", "vector"), domain=domain)  # fmt: skip
    to_filename(tmp_path / "d.x5", [node])
    np.testing.assert_allclose(read_transform(tmp_path / "d.x5")[0].displacement, part.displacement, atol=1e-4)


@pytest.mark.parametrize("format", ["itk", "fsl", "fsl-absolute", "niftyreg", "greedy", "x5"])
def test_a_field_survives_every_format(tmp_path, format):
    path = tmp_path / ("u.x5" if format == "x5" else "u.nii.gz")
    transform, nodes = field(), voxel_points(FIXED).reshape(-1, 3)
    transform.save(path, format=format, fixed=FIXED, moving=MOVING)
    again = Transform.load(path, moving=MOVING)  # the format is told from the file
    assert again.parts[0].geometry.almost_equal(FIXED)
    np.testing.assert_allclose(again.parts[0].displacement.reshape(-1, 3), transform.apply(nodes) - nodes, atol=1e-4)


def test_images_may_be_paths(tmp_path):
    image(FIXED, tmp_path / "f.nii.gz")
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "f.nii.gz")), str(tmp_path / "f.mha"))
    for name in ("f.nii.gz", "f.mha"):
        assert read_grid(tmp_path / name).almost_equal(FIXED)


def said(path, **options):
    with pytest.raises(InputError) as caught:
        read_transform(path, **options)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_that_does_not_tell_its_format_is_asked_about(tmp_path):
    np.savetxt(tmp_path / "t.mat", matrix())
    assert all(word in said(tmp_path / "t.mat") for word in ("--from fsl", "niftyreg", "greedy"))
    assert "--fixed" in said(tmp_path / "t.mat", format="fsl", moving=MOVING)
    assert "--moving" in said(tmp_path / "t.mat", format="fsl", fixed=FIXED)
    assert "must be one of" in said(tmp_path / "t.mat", format="spm")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6, 3), np.float32), np.eye(4)), tmp_path / "u.nii")
    assert "--from fsl" in said(tmp_path / "u.nii")
    (tmp_path / "t.txt").write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 1 1\n")
    assert "0 0 0 1" in said(tmp_path / "t.txt", format="greedy")
    (tmp_path / "t.m3z").write_bytes(b"x")
    assert "mri_warp_convert" in said(tmp_path / "t.m3z")


@pytest.mark.parametrize(
    ("code", "name", "kind", "says"), [(2009, "", 0, "fnirtfileutils"), (1007, "NREG_TRANS", 5, "reg_transform")]
)
def test_coefficients_that_we_cannot_read_name_the_command_that_helps(tmp_path, code, name, kind, says):
    shape = (4, 5, 6, 3) if code == 2009 else (4, 5, 6, 1, 3)
    out = nibabel.Nifti1Image(np.zeros(shape, np.float32), np.eye(4))
    out.header["intent_code"], out.header["intent_name"], out.header["intent_p1"] = code, name.encode(), kind
    nibabel.save(out, tmp_path / "c.nii.gz")
    assert says in said(tmp_path / "c.nii.gz", moving=MOVING)


def test_formats_of_matrices_refuse_fields_and_leave_nothing(tmp_path):
    for name, format in [one for one in MATRICES if one[0] not in ("t.x5", "t.h5")]:
        with pytest.raises(OutputError, match="holds a matrix"):
            field().save(tmp_path / name, format=format, fixed=FIXED, moving=MOVING)
    with pytest.raises(InputError, match="--moving"):
        affine().save(tmp_path / "t.lta", fixed=FIXED)
    assert list(tmp_path.iterdir()) == []
