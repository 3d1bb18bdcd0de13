"""A BIDS dataset in, BIDS Derivatives out."""

import json
import shutil
from contextlib import nullcontext

import numpy as np
import pytest
import SimpleITK as sitk

from deformgan.cohort.batch import describe_dataset, run_batch
from deformgan.cohort.pairs import distinct, jobs_of_dataset
from deformgan.errors import InputError
from deformgan.io.bids import entity_filter, read_bids

CT, T1 = {"suffix": "CT"}, {"suffix": "T1w"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, images):
    """01: CT and T1w; 02: two sessions, the first with a second T1w; 03: T1w alone; a derivative to be passed over."""
    root = tmp_path_factory.mktemp("bids")
    (root / "dataset_description.json").write_text('{"Name": "test", "BIDSVersion": "1.9.0"}')
    files = {
        "sub-01/anat/sub-01_CT": "fixed",
        "sub-01/anat/sub-01_T1w": "moving",
        "sub-02/ses-a/anat/sub-02_ses-a_CT": "fixed",
        "sub-02/ses-a/anat/sub-02_ses-a_T1w": "moving",
        "sub-02/ses-a/anat/sub-02_ses-a_acq-fast_T1w": "moving",
        "sub-02/ses-b/anat/sub-02_ses-b_T1w": "moving",
        "sub-03/anat/sub-03_T1w": "moving",
        "derivatives/other/sub-01/anat/sub-01_CT": "fixed",
    }
    for name, image in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(images / f"{image}.nii.gz", root / f"{name}.nii.gz")
    return root


def test_each_person_s_images_are_paired_within_a_session(dataset):
    pairs, left_out = read_bids(dataset, CT, T1)
    assert [pair.name for pair in pairs] == [
        "sub-01_from-T1w_to-CT", "sub-02_ses-a_acq-fast_from-T1w_to-CT", "sub-02_ses-a_from-T1w_to-CT"
    ]  # fmt: skip
    assert left_out == ["sub-02 ses-b: no fixed image", "sub-03: no fixed image"]


def test_a_filter_by_session_pairs_across_sessions(dataset):
    pairs, _ = read_bids(dataset, {**T1, "session": "b"}, {**T1, "session": "a", "acquisition": "fast"})
    (pair,) = pairs
    assert pair.name == "sub-02_ses-a_acq-fast_from-acqfastsesaT1w_to-sesbT1w" or pair.fixed == "sesbT1w"
    assert (
        pair.files.fixed.endswith("sub-02_ses-b_T1w.nii.gz") and pair.moving.endswith("T1w") and "sesa" in pair.moving
    )


@pytest.mark.parametrize(
    ("fixed", "moving", "words"),
    [
        (T1, CT, "sub-02 ses-a has 2 fixed images"),
        ({"sufix": "CT"}, T1, "no entity 'sufix'; did you mean suffix"),
        ({"suffix": "PET"}, T1, "no person has both"),
    ],
)
def test_filters_that_fit_nothing_or_too_much(dataset, fixed, moving, words):
    with pytest.raises(InputError, match=words):
        read_bids(dataset, fixed, moving)


def test_filters_are_written_as_entities():
    assert entity_filter("suffix=T1w, session=01") == {"suffix": "T1w", "session": "01"}
    for text in ("T1w", "suffix=", ""):
        with pytest.raises(InputError, match="a filter is written as"):
            entity_filter(text)


def test_results_are_named_as_derivatives(dataset, pool, tmp_path):
    out = tmp_path / "derivatives" / "deformgan"
    pairs, _ = read_bids(dataset, CT, T1)
    jobs = distinct(jobs_of_dataset(pairs[1:2], out, {"preset": "fast", "stage": "rigid", "threads": "1"}))
    tally = run_batch(jobs, out, lambda: nullcontext(pool))
    describe_dataset(out, pairs[0].root)
    assert tally.counts == {"done": 1}
    anat, name = out / "sub-02/ses-a/anat", "sub-02_ses-a_acq-fast"
    assert {p.name for p in anat.iterdir()} == {
        f"{name}_from-T1w_to-CT_mode-image_xfm.h5",
        f"{name}_from-T1w_to-CT_mode-image_xfm.json",
        f"{name}_from-CT_to-T1w_mode-image_xfm.h5",
        f"{name}_from-CT_to-T1w_mode-image_xfm.json",
        f"{name}_space-CT_T1w.nii.gz",
        f"{name}_space-CT_T1w.json",
        f".{name}_from-T1w_to-CT.json",
    }
    point, step = (3.0, -4.0, 2.0), (6, -5, 4)  # ITK resamples T1w onto CT by the map of CT's points to T1w's
    for ends, sign in (("from-T1w_to-CT", 1), ("from-CT_to-T1w", -1)):
        transform = sitk.ReadTransform(str(anat / f"{name}_{ends}_mode-image_xfm.h5"))
        np.testing.assert_allclose(np.array(transform.TransformPoint(point)) - point, sign * np.array(step), atol=1.5)
    sidecar = json.loads((anat / f"{name}_from-T1w_to-CT_mode-image_xfm.json").read_text())
    assert sidecar["Sources"][0] == f"bids:raw:sub-02/ses-a/anat/{name}_T1w.nii.gz" and sidecar["kept"] == "rigid"
    about = json.loads((out / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert (out / about["DatasetLinks"]["raw"]).resolve() == dataset
    assert (out / "sub-02/figures" / f"{name}_from-T1w_to-CT_report.html").exists()
    assert run_batch(jobs, out, lambda: nullcontext(pool)).counts == {"kept": 1}
    assert read_bids_with_pybids(out) == {"CT", "T1w"}


def read_bids_with_pybids(root):
    """What pybids finds as ends of the transforms: the names are those of its derivatives."""
    from bids import BIDSLayout

    layout = BIDSLayout(str(root), validate=False, is_derivative=True)
    return set(layout.get_entities()["from"].unique())
