"""What a configuration of synthesis would train: people found, sizes of the networks."""

from __future__ import annotations

from collections import Counter

from deformgan.synthesis.models import Config, build_networks
from deformgan.synthesis.volumes import listed


def describe(config: Config) -> list[str]:
    """One line each: data, patches, networks.  Raises InputError for data that are not there."""
    subjects = listed(config.data, config.seed)
    splits = ", ".join(f"{count} {split}" for split, count in sorted(Counter(s.split for s in subjects).items()))
    pairs = sum(bool(s.mr and s.ct) for s in subjects)
    mr, ct = (sum(bool(getattr(s, kind)) for s in subjects) for kind in ("mr", "ct"))
    shape = " x ".join(map(str, config.data.shape))
    kind = f"{config.data.plane} slices" if len(config.data.shape) == 2 else "patches"
    lines = [f"data: {mr} MR, {ct} CT, {pairs} of them pairs ({splits})", f"{kind}: {shape} voxels"]
    for role, network in build_networks(config).items():
        lines.append(f"{role}: {sum(p.numel() for p in network.parameters()) / 1e6:.2f} million weights")
    return lines
