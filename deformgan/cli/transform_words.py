"""The words of `deformgan transform info`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def described(name: str, figures: dict[str, Any]) -> Iterator[str]:
    """Lines that say what `deformgan.spatial.summary.summary` found of the transform in the file `name`."""
    parts, example = figures["parts"], figures["example"]
    yield f"{name} maps {figures['maps']} ({figures['space']}, {figures['unit']})."
    yield f"  for example {_point(example['fixed_point'])} -> {_point(example['moving_point'])}"
    way = figures["displacement_mm"]
    yield f"  it moves points by {way['mean']:.2f} mm on average, {way['max']:.2f} mm at most, {figures['looked_at']}"
    count = f"{len(parts)} part" + ("s" if len(parts) != 1 else "")
    yield f"It has {count}, in the order in which a fixed point goes through them:" if parts else "It is the identity."
    for number, part in enumerate(parts, start=1):
        yield f"{number}. {part['kind']}"
        yield from (f"   {line}" for line in (_of_affine(part) if "matrix" in part else _of_field(part)))


def _of_affine(part: dict[str, Any]) -> Iterator[str]:
    for row in part["matrix"][:3]:
        yield " ".join(f"{value:12.6f}" for value in row)
    middle = _point(part["moves_the_middle_by_mm"])
    yield f"translation {_point(part['translation_mm'])} mm; moves the middle by {middle} mm"
    if "scales" in part:
        vector = _point(part["rotation_vector_degrees"])
        yield f"rotation {part['rotation_degrees']:.3f} degrees (about x, y, z: {vector})"
        yield f"scales x, y, z {_point(part['scales'], 4)}; shears xy, xz, yz {_point(part['shears_xy_xz_yz'], 4)}"
    else:
        yield "it reflects: left becomes right"
    yield f"volume factor {part['volume_factor']:.4f}"


def _of_field(part: dict[str, Any]) -> Iterator[str]:
    lattice, way = part["lattice"], part["displacement_mm"]
    size = " x ".join(str(n) for n in lattice["size"])
    yield f"lattice {size}, spacing {_point(lattice['spacing_mm'], 3)} mm, extent {_point(lattice['extent_mm'], 1)} mm"
    yield f"first node at {_point(lattice['origin_mm'])}; beyond the lattice nothing is moved"
    yield f"displacement {way['mean']:.2f} mm on average, {way['max']:.2f} mm at most"
    if "folding_percent" in part:
        yield regularity_line(part)


def regularity_line(figures: dict[str, Any]) -> str:
    """Folding and the Jacobian's range in a line."""
    return (
        f"folding {figures['folding_percent']:.4f} %, J from {figures['min_jacobian']:.3f} to "
        f"{figures['max_jacobian']:.3f}, SD log J {figures['sd_log_jacobian']:.4f}"
    )


def uses(name: str, kind: str, parts: list[dict[str, Any]]) -> Iterator[str]:
    """How this file is applied to an image here, by ANTs and by SimpleITK; kind: its format."""
    yield "To bring the moving image M onto the grid of the fixed image F:"
    image = name.lower().endswith((".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"))
    affine = len(parts) == 1 and "matrix" in parts[0]
    theirs = name
    if kind not in ("itk", "greedy") or (kind == "greedy" and not image):
        theirs = "T.h5"
        yield f"  first     deformgan transform convert {name} --out {theirs}" + (
            f" --from {kind}" if kind in ("fsl", "niftyreg", "greedy") else ""
        )
        image = False
    yield f"  deformgan warp --transform {theirs} --image M --reference F --out O"
    yield f"  antsApplyTransforms -d 3 -i M -r F -t {theirs} -o O"
    if affine:
        yield f"            (the other way round: -t [{theirs},1])"
    read = f'sitk.ReadTransform("{theirs}")'
    if image:
        read = f'sitk.DisplacementFieldTransform(sitk.ReadImage("{theirs}", sitk.sitkVectorFloat64))'
    yield f"  SimpleITK: sitk.Resample(M, F, {read}, sitk.sitkLinear)"
    yield "A point of the fixed image goes through it as it is; a point of the moving image through its inverse."


def _point(values: list[float], digits: int = 2) -> str:
    return "(" + ", ".join(f"{value:.{digits}f}" for value in values) + ")"
