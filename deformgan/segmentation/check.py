"""What a configuration of segmentation would train: people found, channels, size of the network."""

from __future__ import annotations

from collections import Counter

from deformgan.config import SegmentationConfig
from deformgan.errors import InputError
from deformgan.segmentation.channels import view_of
from deformgan.segmentation.models import build_network
from deformgan.segmentation.people import listed, usable
from deformgan.synthesis.models import load_model


def describe(config: SegmentationConfig) -> list[str]:
    """One line each: data, channels, structures, network.  Raises InputError for data that are not there."""
    data = config.data
    people = listed(data, config.seed)
    splits = Counter(p.split or "train" for p in people if usable(p, data.trained_on))
    if not splits["train"]:
        raise InputError(f"{data.manifest}: nobody of split train has {data.trained_on} and labels")
    shared = ", ".join(f"{count} {split}" for split, count in sorted(splits.items()))
    view = view_of(config, None if data.synthesis is None else load_model(str(data.synthesis)))
    pixels = f"{view.spacing_mm:g} mm" if view.spacing_mm else "as in the files"
    made = f", the other made by {data.synthesis}" if data.synthesis else ""
    weights = sum(p.numel() for p in build_network(config).parameters()) / 1e6
    return [
        f"data: {sum(splits.values())} people with {data.trained_on.upper()} and labels ({shared})",
        f"channels: {', '.join(data.channels)}; real: {data.trained_on}{made}",
        f"{view.plane} slices: {data.shape[0]} x {data.shape[1]}, pixels {pixels}",
        f"structures: {', '.join(config.structures)}",
        f"network: {weights:.2f} million weights",
    ]
