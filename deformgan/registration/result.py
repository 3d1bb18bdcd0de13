"""What a registration found, how good it is, and which of its stages may be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from deformgan.io.transform_files import Affine, DisplacementField
from deformgan.io.volume import Volume
from deformgan.registration.bridge import Bridge
from deformgan.registration.options import RegisterOptions
from deformgan.registration.plausible import MOST_INVERSE_MM, faults_of_metrics
from deformgan.registration.pose import PoseMeasure
from deformgan.registration.recipe import Recipe
from deformgan.spatial.jacobian import jacobian_determinant, regularity_of
from deformgan.spatial.transform import Transform

if TYPE_CHECKING:
    import os

    from deformgan.report import Page

CHECKED_POINTS = 20_000  # voxels at which the inverse is checked


class Verdict(NamedTuple):
    """Which stage's transform is kept.

    inverse: of that transform.  scores: by stage, more is better (mutual information, nats, times the overlap).
    doubts: what to tell the user, where a later stage was dropped.
    """

    kept: str
    inverse: Transform
    scores: dict[str, float]
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class Registration:
    """A pair aligned.

    warped: moving on the fixed image's grid.  transform: fixed point -> moving point, LPS mm.  recipe: of the
    deformable stage, None where it did not run.  seconds: by stage.  notes: what was repaired in the input or looked
    odd.  sources: the files of fixed and moving, empty where they came from memory.  bridge: the CT made of the MR.
    faults: what in the images speaks against the result.  losses: of every iteration, by stage and level.
    magnified: by how much the stages saw the images larger than they are.
    """

    fixed: Volume
    moving: Volume
    warped: Volume
    transform: Transform
    verdict: Verdict
    recipe: Recipe | None
    options: RegisterOptions
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sources: tuple[str, str] = ("", "")
    bridge: Bridge | None = None
    faults: tuple[str, ...] = ()
    losses: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    magnified: float = 1.0

    @property
    def inverse(self) -> Transform:
        """Moving point -> fixed point, LPS mm."""
        return self.verdict.inverse

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know."""
        return self.notes + self.verdict.doubts

    @cached_property
    def suspect_reasons(self) -> tuple[str, ...]:
        """Why the result may be worse than the start; empty where nothing speaks against it."""
        metrics: dict[str, Any] = self.metrics
        most_mm = MOST_INVERSE_MM / self.magnified
        return (*self.faults, *faults_of_metrics(metrics["regularity"], metrics["inverse_error_mm"], most_mm))

    @property
    def suspect(self) -> bool:
        """Whether it may be worse than the start."""
        return bool(self.suspect_reasons)

    @cached_property
    def displacement(self) -> NDArray[np.float32] | None:
        """(Z, Y, X, 3) mm, x y z LPS, on the fixed grid: the deformable part alone; None where there is none."""
        part = self._deformable_part
        return part.displacement_on(self.fixed.geometry) if part.parts else None

    @cached_property
    def jacobian(self) -> NDArray[np.float32] | None:
        """(Z, Y, X): determinant of the deformable part's derivative; 1 = volume kept, 0 and below = folded."""
        part = self._deformable_part
        if not part.parts:
            return None
        voxels = torch.from_numpy(part.voxel_displacement_on(self.fixed.geometry))
        determinant: NDArray[np.float32] = jacobian_determinant(voxels[None])[0, 0].numpy()
        return determinant

    @property
    def _deformable_part(self) -> Transform:
        return Transform(tuple(p for p in self.transform.parts if isinstance(p, DisplacementField)))

    @cached_property
    def metrics(self) -> dict[str, object]:
        """Similarity by stage, regularity of the deformable part, the affine's volume factor, the inverse's error."""
        error = self.transform.inverse_error_mm(self.inverse, self._points())
        affine = [p.matrix for p in self.transform.parts if isinstance(p, Affine)]
        volume = float(np.prod([np.linalg.det(m[:3, :3]) for m in affine])) if affine else 1.0
        return {
            "kept": self.verdict.kept,
            "similarity": {"name": "mutual information x overlap", **self.verdict.scores},
            "regularity": self._regularity(),
            "deformable": None if self.recipe is None else asdict(self.recipe),
            "affine_volume_factor": volume,
            "inverse_error_mm": {
                "mean": float(error.mean()),
                "p95": float(np.percentile(error, 95)),
                "max": float(error.max()),
            },
        }

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        fixed_labels: Volume | None = None,
        moving_labels: Volume | None = None,
        dicom_paths: bool = False,
    ) -> None:
        """Write warped.nii.gz, transform.h5, inverse.h5, result.json and report.html into `folder`, all or none.

        The report draws the outlines of the labels, where given.  dicom_paths: name the folders of DICOM input in
        result.json and report.html; they may hold a patient's name.  Raises OutputError where the folder holds results
        already (unless `overwrite`) or cannot be written.
        """
        from deformgan.registration.outputs import save_registration

        labels = fixed_labels, moving_labels
        save_registration(self, folder, overwrite=overwrite, labels=labels, dicom_paths=dicom_paths)

    def show(
        self, *, fixed_labels: Volume | None = None, moving_labels: Volume | None = None, height: int = 900
    ) -> Page:
        """The report as the value of a notebook's cell, `height` pixels high."""
        from deformgan.registration.outputs import report_of
        from deformgan.report import Page

        return Page(report_of(self, labels=(fixed_labels, moving_labels)), height)

    def _regularity(self) -> dict[str, float]:
        if self.jacobian is None:
            return {"folding_percent": 0.0, "min_jacobian": 1.0, "max_jacobian": 1.0, "sd_log_jacobian": 0.0}
        return regularity_of(torch.from_numpy(self.jacobian))

    def _points(self) -> NDArray[np.float64]:
        """Voxel centres of the fixed image, LPS mm, that the transform puts inside the moving image."""
        total = int(np.prod(self.fixed.geometry.shape))
        flat = np.linspace(0, total - 1, min(total, CHECKED_POINTS)).astype(np.int64)
        index = np.stack(np.unravel_index(flat, self.fixed.geometry.shape)[::-1], 1)
        points = index @ self.fixed.geometry.matrix[:3, :3].T + self.fixed.geometry.matrix[:3, 3]
        inverse, size = self.moving.geometry.inverse, np.array(self.moving.geometry.size)
        landed = self.transform.apply(points) @ inverse[:3, :3].T + inverse[:3, 3]
        inside = ((landed >= -0.5) & (landed < size - 0.5)).all(1)
        return points[inside] if inside.any() else points


def trusted(measure: PoseMeasure, stages: Mapping[str, Transform]) -> Verdict:
    """Of the transforms by stage, first to last, a later one is kept only where it scores no worse."""
    inverses = {stage: transform.inverse() for stage, transform in stages.items()}
    scores = {s: measure.of_transform(inverses[s] if measure.inverted else t) for s, t in stages.items()}
    kept, last = max(reversed(list(stages)), key=lambda stage: scores[stage]), list(stages)[-1]
    doubt = (
        f"the {last} result scored {scores[last]:.3f}, below {scores[kept]:.3f} of the {kept}; the {kept} is kept. "
        "Look at the report before you use it"
    )
    return Verdict(kept, inverses[kept], scores, () if kept == last else (doubt,))
