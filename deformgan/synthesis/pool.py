"""Past fakes that a discriminator is shown again, so that it does not forget them (Shrivastava et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from deformgan.training.draws import generator_for


class ImagePool:
    """`size` images at most; what is exchanged follows from seed, stream, step and position.

    images: (count, 1, *spatial): with them a run can be resumed.
    """

    def __init__(self, size: int, seed: int, stream: int) -> None:
        self.size, self.images = size, torch.empty(0)
        self._seed, self._stream = seed, stream

    def exchanged(self, fakes: Tensor, step: int) -> Tensor:
        """The fakes (B, 1, *spatial), about half of them exchanged for earlier ones, once the pool is full."""
        if self.size == 0:
            return fakes
        images = [x[None] for x in self.images.to(fakes)]
        shown = []
        for position in range(len(fakes)):
            fake = fakes[position : position + 1]
            rng = generator_for(self._seed, self._stream, step, position)
            if len(images) < self.size:
                images.append(fake)
            elif torch.rand((), generator=rng) < 0.5:
                k = int(torch.randint(self.size, (), generator=rng))
                images[k], fake = fake, images[k]
            shown.append(fake)
        self.images = torch.cat(images)
        return torch.cat(shown)
