"""Random numbers that follow from a seed and what they are for, so that nothing has to be remembered to resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch


def generator_for(seed: int, *purpose: int) -> torch.Generator:
    """The stream of a purpose, such as (kind of draw, step, position in the batch)."""
    state = np.random.SeedSequence([seed, *purpose]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))


def drawn_splits(subjects: Sequence[str], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """The split of each subject: so many of them, drawn, as the shares say; the others train."""
    names = sorted(set(subjects))
    order = [names[k] for k in np.random.default_rng(seed).permutation(len(names))]
    splits, taken = dict.fromkeys(names, "train"), 0
    for split, share in shares.items():
        count = round(share * len(names))
        splits |= dict.fromkeys(order[taken : taken + count], split)
        taken += count
    return splits
