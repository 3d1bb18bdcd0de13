"""prepare: labels on the image they belong to, and an image in the CT's role that holds no HU."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from phantoms import OBLIQUE, T1, T2, image, tissue

from deformgan.cli.main import app
from deformgan.config import SynthesisDataConfig
from deformgan.errors import InputError
from deformgan.io.formats import read_volume, write_volume
from deformgan.io.geometry import Geometry
from deformgan.io.subjects import read_subjects
from deformgan.io.transform_files import Affine
from deformgan.io.volume import Volume
from deformgan.spatial.grid import voxel_points
from deformgan.spatial.transform import Transform
from deformgan.synthesis.intensity import PERCENT, made_window, window_of
from deformgan.synthesis.prepare import PrepareOptions, prepare, warnings_of

SMALL = Geometry((40, 36, 28), (4.0, 4.5, 5.0), (-78.0, -80.0, -66.0))
PLAIN = PrepareOptions(n4=False)
SHIFT = np.array([20.0, -35.0, 10.0])


@pytest.fixture
def raw(tmp_path):
    """A T2 as the MR, and 20, -35, 10 mm away a T1 in the CT's role, of a small range, with labels on its grid."""
    write_volume(image(SMALL, T2), tmp_path / "mr.nii.gz")
    write_volume(image(OBLIQUE, tuple(v / 100 for v in T1), lambda p: p - SHIFT), tmp_path / "ct.nii.gz")
    labels = torch.from_numpy(tissue(voxel_points(OBLIQUE) - SHIFT).astype(np.int16) * 100)
    write_volume(Volume(labels, OBLIQUE), tmp_path / "labels.nii.gz")
    matrix = np.eye(4)
    matrix[:3, 3] = SHIFT
    Transform((Affine(matrix),)).save(tmp_path / "t.tfm")
    return tmp_path


def prepared(raw, row, columns="mr,ct,transform,labels,subject,split"):
    (raw / "m.csv").write_text(f"{columns}\n{row}\n")
    return read_subjects(prepare(raw / "m.csv", raw / "out", PLAIN))[0]


def test_labels_of_the_ct_come_to_the_mrs_grid_as_the_phantom_lies_there(raw):
    found = prepared(raw, "mr.nii.gz,ct.nii.gz,t.tfm,labels.nii.gz,p,train")
    assert found.labels_on == "ct"  # found by the grid
    made = sitk.ReadImage(found.labels)
    assert made.GetSize() == SMALL.size and made.GetPixelID() == sitk.sitkInt16
    values, truth = sitk.GetArrayFromImage(made), tissue(voxel_points(SMALL)) * 100
    assert set(np.unique(values)) <= set(np.unique(truth))
    covered = sitk.GetArrayFromImage(sitk.ReadImage(found.mask)) > 0
    assert (values == truth)[covered].mean() > 0.85 and covered.mean() > 0.5
    shifted = np.roll(truth, 3, axis=2)
    assert (values == shifted)[covered].mean() < 0.8


def test_an_image_without_hounsfield_units_keeps_its_values_and_has_no_air(raw):
    found = prepared(raw, "mr.nii.gz,ct.nii.gz,t.tfm,,p,train")
    ct, before = (sitk.GetArrayFromImage(sitk.ReadImage(f)) for f in (found.ct, str(raw / "ct.nii.gz")))
    outside = sitk.GetArrayFromImage(sitk.ReadImage(found.mask)) == 0
    assert ct.dtype == np.float32 and len(np.unique(ct)) > 1000
    assert outside.any() and np.allclose(ct[outside], before.min())


def test_labels_on_the_images_own_grid_are_left_as_they_are(raw):
    labels = torch.zeros(SMALL.shape, dtype=torch.uint8)
    labels[5, 6, 7] = 9  # one voxel
    write_volume(Volume(labels, SMALL), raw / "one.nii.gz")
    found = prepared(raw, "mr.nii.gz,ct.nii.gz,t.tfm,one.nii.gz,p,train")
    assert found.labels_on == "mr"
    assert torch.equal(read_volume(found.labels, kind="labels").tensor, labels)
    assert warnings_of(raw / "out") == []


def test_a_lost_label_is_said_every_time(raw, capsys):
    labels = read_volume(raw / "labels.nii.gz", kind="labels")
    labels.tensor[0, 0, 0] = 77  # a corner
    write_volume(labels, raw / "labels.nii.gz")
    (raw / "m.csv").write_text("mr,ct,transform,labels,split\nmr.nii.gz,ct.nii.gz,t.tfm,labels.nii.gz,train\n")
    for _ in range(2):
        app(["prepare", str(raw / "m.csv"), "--out", str(raw / "out"), "--no-n4", "--quiet"], standalone_mode=False)
        assert "labels.nii.gz: labels lost, outside the grid or smaller than its voxels: 77" in capsys.readouterr().err


def test_other_labels_make_the_files_anew(raw):
    row = "mr.nii.gz,ct.nii.gz,t.tfm,labels.nii.gz,p,train"
    before = read_volume(prepared(raw, row).labels, kind="labels").tensor
    write_volume(Volume(torch.full(OBLIQUE.shape, 5, dtype=torch.uint8), OBLIQUE), raw / "labels.nii.gz")
    after = prepared(raw, row)
    assert int(read_volume(after.labels, kind="labels").tensor.max()) == 5 < int(before.max())
    assert after.labels_on == "ct" == prepared(raw, row).labels_on  # when it is read again, too


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("mr.nii.gz,,,labels.nii.gz,,p,train", "on the grid of neither image of 'p'; say mr or ct in labels_on"),
        ("mr.nii.gz,,,labels.nii.gz,ct,p,train", "labels_on is 'ct'"),
        ("mr.nii.gz,,,labels.nii.gz,pet,p,train", "labels_on is 'pet'"),
        ("mr.nii.gz,mr.nii.gz,t.tfm,mr_labels.nii.gz,,p,train", "on the grid of both images of 'p'"),
    ],
)
def test_labels_that_belong_nowhere_are_named(raw, row, says):
    write_volume(Volume(torch.ones(SMALL.shape, dtype=torch.uint8), SMALL), raw / "mr_labels.nii.gz")
    with pytest.raises(InputError, match=says):
        prepared(raw, row, "mr,ct,transform,labels,labels_on,subject,split")


def test_a_window_left_out_is_each_images_own_and_what_is_made_is_percent():
    view = SynthesisDataConfig(manifest="m.csv", ct_window=None)
    t1 = image(SMALL, T1).tensor
    for scale in (1, 0.01):
        scaled = window_of("ct", t1 * scale, view, "x").scaled(t1 * scale)
        assert float(scaled.min()) == -1 and float(scaled.max()) == 1 and 0.2 < float((scaled > 0).float().mean()) < 0.7
    assert made_window("ct", view) == PERCENT and made_window("mr", view).high == 100
    assert made_window("ct", SynthesisDataConfig(manifest="m.csv")).low == -150
