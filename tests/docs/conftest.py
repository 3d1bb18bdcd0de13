"""The patient that the documentation speaks of: patient 051 of data/sts as NIfTI and as exported DICOM."""

import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

DATA = Path(__file__).parents[2] / "data" / "sts"
KINDS = {  # modality, number of the series, its description, and the value above which the "organs" lie
    "ct": ("STS_051_CT.nii.gz", "1.2.826.0.1.3680043.2.1125.2", "CT soft tissue", 200),
    "mr": ("STS_051_MR_T1.nii.gz", "1.2.826.0.1.3680043.2.1125.3", "T1 axial", 100),
}


@pytest.fixture(scope="session")
def patient(tmp_path_factory):
    """{ct,mr}.nii.gz, {ct,mr}_organs.nii.gz, {ct,mr}.fcsv, and export/{CT_SERIES,MR_SERIES,ALL} of DICOM slices."""
    folder = tmp_path_factory.mktemp("patient")
    for name, (source, uid, description, least) in KINDS.items():
        image = sitk.ReadImage(DATA / source)
        sitk.WriteImage(image, folder / f"{name}.nii.gz")
        sitk.WriteImage(sitk.Cast(image > least, sitk.sitkUInt8), folder / f"{name}_organs.nii.gz")
        points = [f"{name}{k},{60 + 20 * k},80,600,0,0,0,1,1,1,0,P{k},," for k in range(3)]
        head = ["# Markups fiducial file version = 4.11", "# CoordinateSystem = LPS", "# columns = id,x,y,z"]
        (folder / f"{name}.fcsv").write_text("\n".join([*head, *points]) + "\n")
        for place in (f"{name.upper()}_SERIES", "ALL"):
            write_dicom(image, folder / "export" / place, name.upper(), uid, description)
    return folder


def write_dicom(image, folder, modality, uid, description):
    """One file a slice, as a scanner's archive gives them out."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    columns = image.GetDirection()
    for k in range(image.GetDepth()):
        plane = image[:, :, k]
        tags = {
            "0008|0018": f"{uid}.{k + 1}",
            "0008|0060": modality,
            "0008|103e": description,
            "0010|0010": "DOE^JANE",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.1",
            "0020|000e": uid,
            "0020|0013": str(k + 1),
            "0020|0032": "\\".join(str(v) for v in image.TransformIndexToPhysicalPoint((0, 0, k))),
            "0020|0037": "\\".join(str(columns[i]) for i in (0, 3, 6, 1, 4, 7)),
        }
        for tag, value in tags.items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(folder / f"{modality}{k + 1:04d}.dcm")
        writer.Execute(plane)


@pytest.fixture(scope="session")
def result(patient, tmp_path_factory):
    """The folder that `register --preset fast` writes."""
    out = tmp_path_factory.mktemp("registered") / "result"
    images = ["--fixed", patient / "ct.nii.gz", "--moving", patient / "mr.nii.gz"]
    subprocess.run(
        [sys.executable, "-m", "deformgan", "register", *images, "--preset", "fast", "--out", out], check=True
    )
    return out
