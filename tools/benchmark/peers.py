"""Other tools, as their own documentation runs them: peers.py run|transform TOOL FIXED MOVING FOLDER

`run` is the registration alone, what is timed; `transform` then turns what it left in FOLDER into FOLDER/transform.h5,
fixed point -> moving point, LPS mm, so that all tools are scored by the same code (accuracy.py --peer TOOL).
TOOL: ants-quick, ants-full (antspyx: SyNQuick[s], SyN[s]), elastix (the program: affine, then B-splines of 10 mm),
greedy-wncc, greedy-nmi (picsl-greedy: NMI affine, then that), niftyreg-lncc, niftyreg-nmi, convexadam (after greedy's
affine). Each needs its own package, SimpleITK and numpy, best in an environment of its own: see README.md.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

THREADS = int(os.environ.get("BENCHMARK_THREADS", "2"))
TOOLS = (
    *("ants-quick", "ants-full", "elastix", "greedy-wncc", "greedy-nmi"),
    *("niftyreg-lncc", "niftyreg-nmi", "convexadam"),
)
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def family(tool: str) -> str:
    return tool.split("-")[0]


def call(*command: object) -> None:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-500:]}")


# Registration: what is timed


def run_ants(kind: str, fixed: Path, moving: Path, out: Path) -> None:
    import ants

    way = {"quick": "antsRegistrationSyNQuick[s]", "full": "antsRegistrationSyN[s]"}[kind]
    found = ants.registration(*(ants.image_read(str(p)) for p in (fixed, moving)), way, outprefix=f"{out}/ants_")
    (out / "chain.json").write_text(json.dumps(found["fwdtransforms"]))


def run_elastix(kind: str, fixed: Path, moving: Path, out: Path) -> None:
    common = """
        (Registration "MultiResolutionRegistration") (NumberOfResolutions 4) (HowToCombineTransforms "Compose")
        (FixedInternalImagePixelType "float") (MovingInternalImagePixelType "float") (UseDirectionCosines "true")
        (FixedImagePyramid "FixedSmoothingImagePyramid") (MovingImagePyramid "MovingSmoothingImagePyramid")
        (Metric "AdvancedMattesMutualInformation") (NumberOfHistogramBins 32) (ErodeMask "false")
        (ImageSampler "RandomCoordinate") (NumberOfSpatialSamples 2048) (NewSamplesEveryIteration "true")
        (Optimizer "AdaptiveStochasticGradientDescent") (AutomaticParameterEstimation "true")
        (MaximumNumberOfIterations 256) (Interpolator "LinearInterpolator")
        (ResampleInterpolator "FinalBSplineInterpolator") (Resampler "DefaultResampler") (WriteResultImage "false")
        (ResultImageFormat "nii.gz")"""
    stages = {
        "affine": '(Transform "AffineTransform") (AutomaticScalesEstimation "true") '
        '(AutomaticTransformInitialization "true")',
        "bspline": '(Transform "BSplineTransform") (FinalGridSpacingInPhysicalUnits 10)',
    }
    files: list[object] = []
    for name, own in stages.items():
        (out / f"{name}.txt").write_text(f"{common} {own}".replace(") (", ")\n(").replace("        ", "") + "\n")
        files += ["-p", out / f"{name}.txt"]
    call("elastix", "-f", fixed, "-m", moving, *files, "-out", out, "-threads", THREADS)


def run_greedy(kind: str, fixed: Path, moving: Path, out: Path) -> None:
    greedy_affine(fixed, moving, out)
    metric = {"wncc": "WNCC 2x2x2", "nmi": "NMI"}[kind]
    greedy(f"-m {metric} -i {fixed} {moving} -it {out}/affine.mat -n 100x50x10 -o {out}/warp.nii.gz")


def greedy_affine(fixed: Path, moving: Path, out: Path) -> None:
    greedy(f"-a -m NMI -i {fixed} {moving} -ia-image-centers -n 100x50x10 -o {out}/affine.mat")


def greedy(options: str) -> None:
    from picsl_greedy import Greedy3D

    Greedy3D().execute(f"-d 3 -threads {THREADS} -V 0 {options}")


def run_niftyreg(kind: str, fixed: Path, moving: Path, out: Path) -> None:
    pair = ("-ref", fixed, "-flo", moving, "-omp", THREADS, "-voff", "-aff", out / "affine.txt")
    call(niftyreg("reg_aladin"), *pair, "-res", out / "affine.nii.gz")
    measure = ("--lncc", 5) if kind == "lncc" else ()
    call(niftyreg("reg_f3d"), *pair, "-cpp", out / "grid.nii.gz", "-res", out / "warped.nii.gz", *measure)


def niftyreg(program: str) -> Path:
    import niftyreg as package

    return Path(package.__file__).parent / "bin" / program


def run_convexadam(kind: str, fixed: Path, moving: Path, out: Path) -> None:
    """It has no affine stage of its own."""
    import torch
    from convexAdam.convex_adam_MIND import convex_adam_pt

    torch.set_num_threads(THREADS)
    greedy_affine(fixed, moving, out)
    f, m = (sitk.ReadImage(str(p), sitk.sitkFloat32) for p in (fixed, moving))
    brought = sitk.Resample(m, f, affine_of_greedy(out), sitk.sitkLinear, 0.0)
    np.save(out / "voxels.npy", convex_adam_pt(f, brought, device=torch.device("cpu"), dtype=torch.float32))


# What they found, as one displacement (Z, Y, X, 3), x y z, LPS mm, on the fixed grid


def found_by_ants(fixed: Path, moving: Path, out: Path) -> np.ndarray:
    import ants

    chain = json.loads((out / "chain.json").read_text())
    images = (ants.image_read(str(p)) for p in (fixed, moving))
    return vectors(Path(ants.apply_transforms(*images, chain, compose=f"{out}/whole_")))


def found_by_elastix(fixed: Path, moving: Path, out: Path) -> np.ndarray:
    call("transformix", "-def", "all", "-tp", out / "TransformParameters.1.txt", "-out", out)
    return vectors(out / "deformationField.nii.gz")


def found_by_greedy(fixed: Path, moving: Path, out: Path) -> np.ndarray:
    greedy(f"-rf {fixed} -rc {out}/whole.nii.gz -r {out}/warp.nii.gz {out}/affine.mat")
    return vectors(out / "whole.nii.gz")


def found_by_niftyreg(fixed: Path, moving: Path, out: Path) -> np.ndarray:
    import nibabel

    call(niftyreg("reg_transform"), "-ref", fixed, "-def", out / "grid.nii.gz", out / "positions.nii.gz")
    ras = np.squeeze(np.asarray(nibabel.load(out / "positions.nii.gz").dataobj)).transpose(2, 1, 0, 3)
    return ras * [-1, -1, 1] - positions(sitk.ReadImage(str(fixed)))


def found_by_convexadam(fixed: Path, moving: Path, out: Path) -> np.ndarray:
    image = sitk.ReadImage(str(fixed))
    here = positions(image)
    axes = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    there = here + np.load(out / "voxels.npy")[..., ::-1].astype(float) @ axes.T  # components along the array's axes
    affine = affine_of_greedy(out)
    return there @ np.array(affine.GetMatrix()).reshape(3, 3).T + affine.GetTranslation() - here


def affine_of_greedy(out: Path) -> sitk.AffineTransform:
    """Its matrix maps fixed points to moving points, in RAS mm."""
    matrix = TO_RAS @ np.loadtxt(out / "affine.mat") @ TO_RAS
    affine = sitk.AffineTransform(3)
    affine.SetMatrix(matrix[:3, :3].ravel().tolist())
    affine.SetTranslation(matrix[:3, 3].tolist())
    return affine


def vectors(path: Path) -> np.ndarray:
    return np.squeeze(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))).astype(float)


def positions(image: sitk.Image) -> np.ndarray:
    """(Z, Y, X, 3) LPS mm of the voxel centres."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in image.GetSize()[::-1]], indexing="ij")[::-1], -1)
    axes = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    return index @ axes.T + image.GetOrigin()


def write_transform(fixed: Path, displacement: np.ndarray, out: Path) -> None:
    field = sitk.GetImageFromArray(np.ascontiguousarray(displacement), isVector=True)
    field.CopyInformation(sitk.ReadImage(str(fixed)))
    sitk.WriteTransform(sitk.DisplacementFieldTransform(field), str(out / "transform.h5"))


def main() -> None:
    stage, tool = sys.argv[1:3]
    fixed, moving, out = (Path(p) for p in sys.argv[3:6])
    if stage == "run":
        out.mkdir(parents=True, exist_ok=True)
        globals()[f"run_{family(tool)}"](tool.partition("-")[2], fixed, moving, out)
    else:
        write_transform(fixed, globals()[f"found_by_{family(tool)}"](fixed, moving, out), out)


if __name__ == "__main__":
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", str(THREADS))
    main()
