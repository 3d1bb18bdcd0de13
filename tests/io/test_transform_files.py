"""Transform files: what we write SimpleITK and itk read, what they write we read, and damaged files are refused."""

import os

import h5py
import numpy as np
import pytest
import SimpleITK as sitk

from deformgan.errors import InputError, OutputError
from deformgan.io.geometry import Geometry
from deformgan.io.transform_files import Affine, DisplacementField, read_transform
from deformgan.spatial.transform import Transform


def oblique(size=(9, 7, 8)):
    c, s = np.cos(0.3), np.sin(0.3)
    direction = np.array([[c, 0, -s], [s, 0, c], [0, -1, 0]])
    return Geometry(size, (1.5, 2.25, 3.0), (-11.0, 4.0, 27.5), tuple(direction.ravel()))


def affine(seed=0):
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] += 0.15 * rng.normal(size=(3, 3))
    matrix[:3, 3] = 20 * rng.normal(size=3)
    return Affine(matrix)


def field(size_mm=3.0, geometry=None, seed=0):
    geometry = geometry or oblique()
    noise = np.random.default_rng(seed).normal(size=(*geometry.shape, 3))
    return DisplacementField(geometry, (size_mm * noise).astype(np.float32))


def field_image(part):
    image = sitk.GetImageFromArray(part.displacement.astype(float), isVector=True)
    image.SetOrigin(part.geometry.origin)
    image.SetSpacing(part.geometry.spacing)
    image.SetDirection(part.geometry.direction)
    return image


def points(number=200, seed=1):
    geometry = oblique()
    index = np.random.default_rng(seed).uniform(-1, np.array(geometry.size), (number, 3))
    return index @ geometry.matrix[:3, :3].T + geometry.matrix[:3, 3]


def moved_by_simpleitk(transform, where):
    return np.array([transform.TransformPoint(p) for p in where.tolist()])


CHAINS = {
    "identity": (),
    "affine": (affine(),),
    "field": (field(),),
    "field then affine": (field(), affine(1)),
    "affine then field": (affine(2), field()),
    "five parts": (affine(3), field(), affine(4), affine(5), field(seed=6)),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_simpleitk_reads_what_we_write(tmp_path, chain):
    transform, where = Transform(CHAINS[chain]), points()
    transform.save(tmp_path / "transform.h5")
    theirs = sitk.ReadTransform(str(tmp_path / "transform.h5"))
    assert theirs.GetName() == "CompositeTransform"
    np.testing.assert_allclose(moved_by_simpleitk(theirs, where), transform.apply(where), atol=1e-3)


@pytest.mark.parametrize("chain", CHAINS)
def test_what_we_write_we_read_unchanged(tmp_path, chain):
    transform, where = Transform(CHAINS[chain]), points()
    transform.save(tmp_path / "transform.h5")
    again = Transform.load(tmp_path / "transform.h5")
    expected = transform.parts or (Affine(np.eye(4)),)
    assert [type(p) for p in again.parts] == [type(p) for p in expected]
    for part, wanted in zip(again.parts, expected, strict=True):
        if isinstance(part, Affine):
            np.testing.assert_allclose(part.matrix, wanted.matrix, atol=1e-12)
        else:
            assert part.geometry == wanted.geometry
            np.testing.assert_array_equal(part.displacement, wanted.displacement)
    np.testing.assert_allclose(again.apply(where), transform.apply(where), atol=1e-9)


def test_itk_reads_what_we_write(tmp_path):
    itk = pytest.importorskip("itk")
    transform, where = Transform(CHAINS["field then affine"]), points(20)
    transform.save(tmp_path / "transform.h5")
    reader = itk.TransformFileReaderTemplate[itk.D].New(FileName=str(tmp_path / "transform.h5"))
    reader.Update()
    composite = itk.down_cast(reader.GetTransformList()[0])
    moved = [list(composite.TransformPoint(p)) for p in where.tolist()]
    np.testing.assert_allclose(moved, transform.apply(where), atol=1e-3)


def test_the_same_transform_gives_the_same_bytes_and_displacements_are_float32(tmp_path):
    for name in ("a.h5", "b.h5"):
        Transform(CHAINS["five parts"]).save(tmp_path / name)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["TransformGroup/1/TransformParameters"].dtype == np.float32
        assert file["TransformGroup/2/TransformParameters"].dtype == np.float64


def linear_transforms():
    turn = (0.0, 0.0, np.sin(0.2), np.cos(0.2))
    rigid = sitk.VersorRigid3DTransform()
    rigid.SetCenter((10.0, -5.0, 3.0))
    rigid.SetRotation(turn)
    rigid.SetTranslation((4.0, 5.0, 6.0))
    similarity = sitk.Similarity3DTransform(1.2, turn, (1.0, 2.0, 3.0), (7.0, 8.0, 9.0))
    general = sitk.AffineTransform(3)
    general.SetCenter((1.0, 2.0, 3.0))
    general.SetMatrix((1.1, 0.1, 0, 0, 0.9, 0.2, -0.1, 0, 1))
    kinds = [
        rigid,
        similarity,
        general,
        sitk.TranslationTransform(3, (3.0, -2.0, 1.0)),
        sitk.Transform(3, sitk.sitkIdentity),
    ]
    kinds += [
        sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.1, 0.2, 0.3, (4.0, 5.0, 6.0)),
        sitk.ScaleTransform(3, (1.1, 0.9, 1.2)),
    ]
    return {kind.GetName(): kind for kind in kinds}


@pytest.mark.parametrize("ending", [".tfm", ".txt", ".mat", ".h5"])
@pytest.mark.parametrize("kind", linear_transforms())
def test_linear_transforms_of_itk_become_one_affine(tmp_path, kind, ending):
    theirs, path, where = linear_transforms()[kind], tmp_path / f"t{ending}", points()
    sitk.WriteTransform(theirs, str(path))
    (part,) = read_transform(path)
    assert isinstance(part, Affine)
    np.testing.assert_allclose(Transform((part,)).apply(where), moved_by_simpleitk(theirs, where), atol=1e-9)


def test_nested_composites_are_flattened_in_the_order_of_application(tmp_path):
    inner = sitk.CompositeTransform(
        [sitk.TranslationTransform(3, (1.0, 2.0, 3.0)), linear_transforms()["AffineTransform"]]
    )
    theirs = sitk.CompositeTransform([linear_transforms()["Similarity3DTransform"]])
    theirs.AddTransform(inner)
    theirs.AddTransform(sitk.DisplacementFieldTransform(field_image(field())))
    theirs.FlattenTransform()
    sitk.WriteTransform(theirs, str(tmp_path / "t.h5"))
    ours, where = Transform.load(tmp_path / "t.h5"), points()
    assert [type(p) for p in ours.parts] == [DisplacementField, Affine, Affine, Affine]
    np.testing.assert_allclose(ours.apply(where), moved_by_simpleitk(theirs, where), atol=1e-5)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_displacement_images_are_fields(tmp_path, ending):
    sitk.WriteImage(field_image(field()), str(tmp_path / f"u{ending}"))
    (part,) = read_transform(tmp_path / f"u{ending}")
    assert part.geometry.almost_equal(field().geometry)
    np.testing.assert_allclose(part.displacement, field().displacement, atol=1e-6)


def refusal(path):
    with pytest.raises(InputError) as caught:
        read_transform(path)
    message = str(caught.value)
    assert path.name in message and "\n" not in message
    return message


def test_missing_damaged_and_foreign_files_are_refused_in_one_line(tmp_path, capfd):
    assert "no transform file" in refusal(tmp_path / "none.h5")
    Transform(CHAINS["field"]).save(tmp_path / "cut.h5")
    whole = (tmp_path / "cut.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    for name, content in (
        ("empty.h5", b""),
        ("noise.tfm", b"not a transform"),
        ("noise.nii.gz", b"xx"),
        ("t.doc", b"x"),
    ):
        (tmp_path / name).write_bytes(content)
        assert "cannot be read" in (said := refusal(tmp_path / name)) or f"{len(content)} bytes" in said
    assert "damaged" in refusal(tmp_path / "cut.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["numbers"] = [1, 2, 3]
    assert "without a transform" in refusal(tmp_path / "other.h5")
    assert capfd.readouterr().err == ""


def test_other_kinds_and_dimensions_are_named(tmp_path):
    sitk.WriteTransform(sitk.ScaleVersor3DTransform(), str(tmp_path / "scale.tfm"))
    assert len(read_transform(tmp_path / "scale.tfm")) == 1
    sitk.WriteTransform(sitk.AffineTransform(2), str(tmp_path / "flat.tfm"))
    assert "2-D" in refusal(tmp_path / "flat.tfm")
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkFloat32), str(tmp_path / "scalar.mha"))
    assert "3 components" in refusal(tmp_path / "scalar.mha")
    broken = field_image(field())
    broken.SetPixel([1, 1, 1], [np.nan, 0.0, 0.0])
    sitk.WriteImage(broken, str(tmp_path / "nan.mha"))
    assert "not finite" in refusal(tmp_path / "nan.mha")


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    transform = Transform(CHAINS["affine"])
    with pytest.raises(OutputError, match="folder does not exist"):
        transform.save(tmp_path / "missing" / "t.h5")
    with pytest.raises(OutputError, match=r"try \.h5"):
        transform.save(tmp_path / "t.doc")
    with pytest.raises(OutputError, match="holds a matrix"):
        Transform(CHAINS["field"]).save(tmp_path / "t.tfm")
    with pytest.raises(OutputError, match="--fixed"):
        transform.save(tmp_path / "t.nii.gz")
    with pytest.raises(InputError, match="format must be one of"):
        transform.save(tmp_path / "t.h5", format="spm")
    (tmp_path / "taken.h5").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        transform.save(tmp_path / "taken.h5")
    assert os.listdir(tmp_path) == ["taken.h5"]


@pytest.mark.parametrize("ending", [".tfm", ".txt", ".mat"])
def test_simpleitk_reads_our_matrices(tmp_path, ending):
    transform, where = Transform((affine(1), affine(2))), points()
    transform.save(tmp_path / f"t{ending}")
    theirs = sitk.ReadTransform(str(tmp_path / f"t{ending}"))
    np.testing.assert_allclose(moved_by_simpleitk(theirs, where), transform.apply(where), atol=1e-6)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_simpleitk_reads_our_displacement_images(tmp_path, ending):
    transform = Transform((field(),))
    transform.save(tmp_path / f"u{ending}")
    image = sitk.ReadImage(str(tmp_path / f"u{ending}"), sitk.sitkVectorFloat64)
    theirs, where = sitk.DisplacementFieldTransform(image), points()
    np.testing.assert_allclose(moved_by_simpleitk(theirs, where), transform.apply(where), atol=1e-3)


def test_a_chain_becomes_one_field_on_the_grid_of_the_fixed_image(tmp_path):
    transform, grid = Transform(CHAINS["five parts"]), Geometry((5, 6, 4), (2.0, 3.0, 4.0), (-9.0, 5.0, 20.0))
    transform.save(tmp_path / "u.nii.gz", fixed=grid)
    (part,) = read_transform(tmp_path / "u.nii.gz")
    assert part.geometry.almost_equal(grid)
    np.testing.assert_allclose(part.displacement, transform.displacement_on(grid), atol=1e-5)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_splines_of_itk_are_sampled_within_the_stated_error(tmp_path, order):
    spline = sitk.BSplineTransformInitializer(field_image(field()), [5, 4, 6], order)
    rng = np.random.default_rng(order)
    spline.SetParameters((2 * rng.normal(size=len(spline.GetParameters()))).tolist())
    sitk.WriteTransform(spline, str(tmp_path / "spline.tfm"))
    ours = Transform.load(tmp_path / "spline.tfm")
    (part,) = ours.parts
    size = np.array(part.geometry.size) - 1
    for index, atol in ((rng.uniform(0, size, (500, 3)), 0.01), (np.rint(rng.uniform(1, size - 1, (200, 3))), 1e-5)):
        where = index @ part.geometry.matrix[:3, :3].T + part.geometry.matrix[:3, 3]
        assert np.abs(ours.apply(where) - where).max() > 1
        np.testing.assert_allclose(ours.apply(where), moved_by_simpleitk(spline, where), atol=atol)


def test_an_existing_file_is_replaced_whole(tmp_path):
    (tmp_path / "t.h5").write_bytes(b"old")
    Transform(CHAINS["affine"]).save(tmp_path / "t.h5")
    np.testing.assert_allclose(read_transform(tmp_path / "t.h5")[0].matrix, affine().matrix)
    assert os.listdir(tmp_path) == ["t.h5"]
