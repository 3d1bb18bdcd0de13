"""A whole MR volume -> CT in HU on its own grid: overlapping patches, blended with smooth windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from deformgan.io.volume import Volume
from deformgan.registration.progress import Progress, Show, silent
from deformgan.synthesis.batches import NOTHING
from deformgan.synthesis.intensity import Kind, made_window, window_of
from deformgan.synthesis.orientation import Orientation

if TYPE_CHECKING:
    from collections.abc import Callable

    from deformgan.synthesis.models import SynthesisModel

SLICES_AT_ONCE = 4
FAINTEST = 1e-3  # of a window's weight: where one patch alone reaches, it counts whole all the same
END = 0.01  # share of the CT window that counts as its end
MR_BEYOND, CT_AT_END = 1, 2  # values of `unsaid`, added up


@torch.inference_mode()
def translate(
    model: SynthesisModel, image: Volume, *, name: str = "the image", device: str = "cpu", show: Show = silent
) -> Volume:
    """The CT that the model makes of an MR, HU (percent where `ct_window` is null), float32, on the MR's grid.

    name: of the image, for messages.  Raises InputError for intensities outside of what the model has seen.
    """
    made, orientation = seen_translated(model, image, "ct", name=name, device=device, show=show)
    hu = made_window("ct", model.config.data).unscaled(orientation.back(made))
    return Volume(hu, image.geometry, image.notes)


@torch.inference_mode()
def seen_translated(
    model: SynthesisModel, image: Volume, to: Kind, *, name: str, device: str = "cpu", show: Show = silent
) -> tuple[Tensor, Orientation]:
    """What the model makes of an MR (`to` ct) or of a CT (mr), (slices, rows, columns) in [-1, 1] on the grid that the
    networks see, and how that lies in the image.  Raises InputError as `translate`."""
    data = model.config.data
    orientation = Orientation.of(image.geometry, data)
    window = window_of("mr" if to == "ct" else "ct", image.tensor, data, name)
    scaled = orientation.seen(window.scaled(image.tensor))
    network = model.network(to).to(device)
    made = torch.empty_like(scaled)
    if len(data.shape) == 3:
        made[:] = blended(network, scaled[None, None].to(device), data.shape)[0, 0].cpu()
    else:
        for start in range(0, len(scaled), SLICES_AT_ONCE):
            part = slice(start, start + SLICES_AT_ONCE)
            made[part] = blended(network, scaled[part, None].to(device), data.shape)[:, 0].cpu()
            show(Progress("translate", "slices", min(part.stop, len(scaled)), len(scaled), float("nan")))
    return made, orientation


def unsaid(model: SynthesisModel, image: Volume, made: Volume, name: str = "the image") -> Volume:
    """Where the training data say nothing of the HU: uint8 labels on the MR's grid, 0 = they do.

    MR_BEYOND (1): the MR is clipped by its window.  CT_AT_END (2): so is the CT: air, dense bone, metal; it is known
    only that the value lies there or beyond.  3: both.
    """
    data = model.config.data
    mr, ct = window_of("mr", image.tensor, data, name), made_window("ct", data)
    beyond = (image.tensor < mr.low) | (image.tensor > mr.high)
    edge = END * (ct.high - ct.low)
    at_end = (made.tensor < ct.low + edge) | (made.tensor > ct.high - edge)
    labels = MR_BEYOND * beyond.to(torch.uint8) + CT_AT_END * at_end.to(torch.uint8)
    return Volume(labels, image.geometry)


def blended(network: Callable[[Tensor], Tensor], image: Tensor, shape: Sequence[int]) -> Tensor:
    """What the network makes of an image (N, C, *spatial) by patches of `shape` that overlap by half at least.

    An axis shorter than the patch is padded on both sides, as in training.  The patches are weighted by a raised cosine
    along each axis, so that none of them ends in a step.
    """
    lacking = [max(0, size - n) for size, n in zip(shape, image.shape[2:], strict=True)]
    before = [m // 2 for m in lacking]
    pads = [n for b, m in reversed(list(zip(before, lacking, strict=True))) for n in (b, m - b)]
    padded = functional.pad(image, pads, value=NOTHING)
    total, weight = torch.zeros(()), torch.zeros_like(padded[:1, :1])
    window = _window(shape, image)
    for corner in product(*(_starts(n, size) for n, size in zip(padded.shape[2:], shape, strict=True))):
        here = (slice(None), slice(None), *(slice(c, c + size) for c, size in zip(corner, shape, strict=True)))
        made = network(padded[here])
        if total.ndim == 0:  # the network says how many channels it makes
            total = padded.new_zeros(len(padded), made.shape[1], *padded.shape[2:])
        total[here] += window * made
        weight[here] += window
    total /= weight
    for axis, (b, n) in enumerate(zip(before, image.shape[2:], strict=True), start=2):
        total = total.narrow(axis, b, n)
    return total


def _starts(length: int, size: int) -> list[int]:
    """Of patches that cover an axis evenly, each half over the next at least."""
    count = 1 if length <= size else 1 + math.ceil(2 * (length - size) / size)
    return [round(k * (length - size) / max(1, count - 1)) for k in range(count)]


def _window(shape: Sequence[int], like: Tensor) -> Tensor:
    window = like.new_ones(())
    for size in shape:
        middle = torch.arange(size, dtype=like.dtype, device=like.device) + 0.5
        along = torch.sin(middle * (math.pi / size)).square().clamp_min(FAINTEST)
        window = window[..., None] * along
    return window
