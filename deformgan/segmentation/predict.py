"""A whole volume -> labels on its own grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from deformgan.io.volume import Volume
from deformgan.registration.progress import Progress, Show, silent
from deformgan.segmentation.channels import channels_of, values_of
from deformgan.segmentation.models import SegmentationModel
from deformgan.synthesis.intensity import Kind
from deformgan.synthesis.orientation import Orientation
from deformgan.synthesis.translate import SLICES_AT_ONCE, blended


@dataclass(frozen=True)
class Found:
    """What was found in an image.  labels: int32 on its grid, each structure's first label value, 0 elsewhere."""

    labels: Volume
    _shares: Tensor  # (classes, slices, rows, columns), half
    _orientation: Orientation
    _names: tuple[str, ...]

    def probabilities(self) -> Iterator[tuple[str, Volume]]:
        """Of each structure, by name: float32 in [0, 1] on the image's grid."""
        for name, share in zip(self._names, self._shares[1:], strict=True):
            yield name, Volume(self._orientation.back(share.float()), self.labels.geometry)


@torch.inference_mode()
def segment(
    model: SegmentationModel,
    image: Volume,
    kind: Kind = "mr",
    *,
    name: str = "the image",
    device: str = "cpu",
    show: Show = silent,
) -> Found:
    """The structures of an image, an MR or a CT as `kind` says; the other channel is made by the model itself.

    name: of the image, for messages.  Raises InputError for a kind that the model does not know, or intensities that
    it has never seen.
    """
    config = model.config
    channels, orientation = channels_of(config, model.synthesis, image, kind, name=name, device=device, show=show)
    network = model.network().to(device)
    shares = torch.empty(1 + len(config.structures), *channels.shape[1:], dtype=torch.half)
    slices = channels.transpose(0, 1)
    for start in range(0, len(slices), SLICES_AT_ONCE):
        part = slice(start, start + SLICES_AT_ONCE)
        found = blended(lambda x: network(x).softmax(1), slices[part].to(device), config.data.shape)
        shares[:, part] = found.transpose(0, 1).to("cpu", torch.half)
        show(Progress("segment", "slices", min(part.stop, len(slices)), len(slices), float("nan")))
    values = torch.from_numpy(values_of(_codes(shares, orientation).numpy(), config.structures))
    return Found(Volume(values, image.geometry, image.notes), shares, orientation, tuple(config.structures))


def _codes(shares: Tensor, orientation: Orientation) -> Tensor:
    """The likeliest class of every voxel of the image; one class at a time, to spare memory."""
    best = orientation.back(shares[0].float())
    codes = torch.zeros(best.shape, dtype=torch.uint8)
    for code in range(1, len(shares)):
        share = orientation.back(shares[code].float())
        codes[share > best] = code
        best = torch.maximum(best, share)
    return codes
