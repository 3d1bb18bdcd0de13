"""Draw docs/images/before_after.png from the demo's result: readme_picture.py (after tools/demo)."""

from pathlib import Path

from deformgan.io.formats import read_volume
from deformgan.report.figures import before_after
from deformgan.spatial.resample import resample
from deformgan.spatial.transform import Transform

FIXED = Path("data/sts/STS_051_CT.nii.gz")
DEMO = Path("demo-result")
PICTURE = Path("docs/images/before_after.png")


def main() -> None:
    fixed, moving = read_volume(FIXED), read_volume(DEMO / "moving.nii.gz")
    warped = read_volume(DEMO / "registration" / "warped.nii.gz")
    start = resample(moving, Transform.identity(), fixed.geometry)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    before_after(PICTURE, fixed.numpy(), start.numpy(), warped.numpy(), fixed.geometry)


if __name__ == "__main__":
    main()
