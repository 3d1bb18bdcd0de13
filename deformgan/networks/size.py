"""How large a network is and how much work a pass of it: counted on tensors without values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Size:
    """weights: how many.  numbers: what the convolutions and rectifiers of a pass produce.  work: multiply-adds."""

    weights: int
    numbers: int
    work: int


def size_of(network: nn.Module, *inputs: Tensor) -> Size:
    """Of one pass over `inputs`, whose shapes alone count; the network is moved to the device "meta"."""
    network.to("meta")
    numbers = work = 0

    def count(module: nn.Module, args: object, out: Tensor) -> None:
        nonlocal numbers, work
        assert isinstance(module, nn.Conv2d | nn.Conv3d)
        numbers += 2 * out.numel()  # the convolution's result and the rectifier's
        work += out.numel() * module.in_channels // module.groups * math.prod(module.kernel_size)

    handles = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]
    with torch.no_grad():
        network(*(x.to("meta") for x in inputs))
    for handle in handles:
        handle.remove()
    return Size(sum(p.numel() for p in network.parameters()), numbers, work)
