"""What serves a kind of pair: the similarity of the deformable stage, and how stiff the field is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from deformgan.registration.appearance import Appearance
from deformgan.registration.deformable import Level, Settings

LEVEL_MM = 3.0  # voxels at which the two histograms are compared
SAME_CONTRAST = 0.11  # standard deviations between the sorted intensities of both below which the modality is one


@dataclass(frozen=True)
class Recipe:
    """similarity: named terms with weights, as `bridge.parted` takes them."""

    kind: str
    similarity: str
    settings: Settings

    @classmethod
    def for_pair(
        cls,
        fixed: Appearance,
        moving: Appearance,
        matrix: NDArray[np.float64],
        similarity: str | None,
        *,
        bridged: bool = False,
    ) -> Recipe:
        """CT beside MR; else one modality where both show the same histogram of the same tissue; else two.

        `matrix` maps fixed points to moving points, LPS mm; `similarity`, where given, replaces the recipe's own.
        bridged: a CT made of the MR stands beside it.
        """
        if bridged:
            recipe = BRIDGED
        elif fixed.ct != moving.ct:
            recipe = CT_AND_MR
        else:
            recipe = ONE_MODALITY if _contrast_distance(fixed, moving, matrix) < SAME_CONTRAST else TWO_MODALITIES
        return recipe if similarity is None else replace(recipe, similarity=similarity)


SIMILARITY = "mi=0.3,lcc=0.7"  # MI holds the whole to its place where LCC alone may creep, LCC finds the detail
ONE_MODALITY = Recipe("one modality", SIMILARITY, Settings(elastic_sigma=0.7, force_sigma=2.5))
TWO_MODALITIES = Recipe("two modalities", SIMILARITY, Settings(elastic_sigma=1.6, force_sigma=4.0))
# Edges are few and fields of view small, so the field is stiff; a wider window often holds skin, bone and air, which no
# line relates, and would pull the one over the other.
CT_AND_MR = Recipe("CT and MR", SIMILARITY, Settings(elastic_sigma=8.0, force_sigma=6.0, window=3))
# The real pair's own terms hold a weak bridge to its place. GC, signed, would pull the edges of fat, bright in T1 and
# dark in CT, the wrong way even beside a perfect bridge; LG, blind to the sign, holds it less than MI does
# (docs/synthesis.md).
BRIDGED = Recipe("CT and MR, bridged", "mi=0.3,lcc=0.35,bridge=0.35", CT_AND_MR.settings)


def _contrast_distance(fixed: Appearance, moving: Appearance, matrix: NDArray[np.float64]) -> float:
    """Mean distance between the sorted, standardised intensities of the tissue that both show."""
    level = Level.of(fixed, moving, matrix, LEVEL_MM)
    warped, inside = level.brought(level.moving.image)
    seen = inside & (level.fixed.foreground > 0)
    a, b = (torch.sort(image[seen])[0] for image in (warped, level.fixed.image))
    return float(((a - a.mean()) / a.std() - (b - b.mean()) / b.std()).abs().mean())
