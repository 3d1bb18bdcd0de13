"""The pictures and figures of docs/choosing.md: choosing.py similarities|presets PICTURE [NAME ...], by default all.

The MR of a real patient is bent by a known smooth field; each way then aligns it with the CT, and its distance to the
known answer is taken at points of the MR's tissue.  CT and MR of this patient lie about 1.5 mm apart themselves.
"""

import sys

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from scipy.ndimage import gaussian_filter

import deformgan
from deformgan.spatial.transform import DisplacementField

CT, MR = (f"data/sts/STS_051_{kind}.nii.gz" for kind in ("CT", "MR_T1"))
WAYS = {
    "similarities": {
        "mi=0.3,lcc=0.7 (by itself)": {},
        "mind": {"similarity": "mind"},
        "lg": {"similarity": "lg"},
        "mi": {"similarity": "mi"},
        "lcc": {"similarity": "lcc"},
        "gc": {"similarity": "gc"},
        "l2": {"similarity": "l2"},
    },
    "presets": {name: {"preset": name} for name in ("fast", "default", "accurate")},
}
BEND_MM, REACH_MM = 5.0, 35.0  # root mean square of each component, and how smooth
LEAST = 100  # of the MR's intensities, above which there is tissue


def bent(mr: deformgan.Volume) -> tuple[deformgan.Volume, deformgan.Transform]:
    """The MR bent, and the map from points of the MR as it was to points of the bent one."""
    rng = np.random.default_rng(7)
    spacing = mr.geometry.spacing
    noise = rng.standard_normal((3, *mr.geometry.shape))
    u = np.stack([gaussian_filter(n, [REACH_MM / s for s in spacing[::-1]]) for n in noise], -1)
    u *= BEND_MM / u.std((0, 1, 2))
    back = deformgan.Transform((DisplacementField(mr.geometry, u.astype(np.float32)),))  # bent point -> MR point
    return deformgan.warp(mr, back, mr), ~back


def points_in_tissue(mr: deformgan.Volume) -> np.ndarray:
    inside = np.argwhere(mr.numpy() > LEAST)[::97, ::-1]
    return inside @ mr.geometry.matrix[:3, :3].T + mr.geometry.matrix[:3, 3]


def draw(axes: pyplot.Axes, image: np.ndarray, ct: np.ndarray, title: str) -> None:
    """An axial slice under the CT's outlines of skin (blue) and muscle in fat (orange); its voxels are square."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=1100)
    axes.contour(gaussian_filter(ct, 1.0), [-300, -20], colors=["#56B4E9", "#E69F00"], linewidths=1.0)
    axes.set_title(title, fontsize=10)
    axes.axis("off")


def main(what: str, picture: str, *names: str) -> None:
    ct, mr = deformgan.read_volume(CT), deformgan.read_volume(MR)
    moving, truth = bent(mr)
    points = points_in_tissue(mr)
    goal = truth.apply(points)
    middle = int(np.median(points[:, 2] - ct.geometry.origin[2]) / ct.geometry.spacing[2])
    rows, columns = np.nonzero(deformgan.warp(mr, deformgan.Transform.identity(), ct).numpy()[middle] > LEAST)
    part = middle, *(slice(max(n.min() - 12, 0), n.max() + 12) for n in (rows, columns))

    def miss(transform: deformgan.Transform) -> str:
        off = np.linalg.norm(transform.apply(points) - goal, axis=1)
        return f"{np.median(off):.1f} mm, p95 {np.percentile(off, 95):.1f}"

    start = deformgan.Transform.identity()
    shown = [(deformgan.warp(moving, start, ct), f"before: {miss(start)}")]
    print(f"| before | {miss(start)} |")
    for name in names or WAYS[what]:
        options = WAYS[what][name]
        result = deformgan.register(ct, moving, options=deformgan.RegisterOptions(**{"preset": "fast", **options}))
        kept = "" if result.metrics["kept"] == "deformable" else f" ({result.metrics['kept']} kept)"
        print(f"| {name} | {miss(result.transform)}{kept} |", flush=True)
        shown.append((result.warped, f"{name.split(' (')[0]}: {miss(result.transform)}{kept}"))

    lines = -(-len(shown) // 4)
    figure, all_axes = pyplot.subplots(lines, 4, figsize=(13, 2.75 * lines), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08)
    for axes, (image, title) in zip(all_axes.flat, shown, strict=False):
        draw(axes, image.numpy()[part], ct.numpy()[part], title)
    figure.savefig(picture, dpi=90)


if __name__ == "__main__":
    main(*sys.argv[1:])
