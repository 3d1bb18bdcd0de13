"""One moving image seen from the fixed grid, again and again, under one displacement after another.

What `warp_through` does once, for a loop: buffers are kept, what does not count is left out, and the derivative by the
displacement is taken when it is asked for.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deformgan.kernels.lattice import adjoint
from deformgan.kernels.spans import Spans, spans_of, whole
from deformgan.kernels.warp import warp_composed
from deformgan.spatial.warp import compiled, warp_through_reference


class MovingView:
    """lattice displacement u -> (warped, weight) on the fixed grid; then `pull_back` a derivative to u.

    image: (1, 1, *spatial).  matrix_zyx, factors: as in `warp_through`.  weight: (1, 1, *shape) of the fixed grid: how
    much each of its voxels counts.  valid: as image, 0 where it is not to be used, or none.
    everywhere: the values without a weight are asked for too.  spans: what is computed; none on a GPU, which does all.
    """

    def __init__(
        self,
        image: Tensor,
        matrix_zyx: NDArray[np.float64],
        factors: tuple[int, ...],
        weight: Tensor,
        valid: Tensor | None = None,
        *,
        everywhere: bool = False,
    ) -> None:
        self.image, self.matrix, self.factors = image, matrix_zyx, factors
        self.shape = tuple(weight.shape[2:])
        self.share, self.valid = weight, valid
        self.spans: Spans | None = None
        if compiled(image, weight):
            self._valid = None if valid is None else np.ascontiguousarray(valid[0, 0].numpy() > 0)
            self._share = np.ascontiguousarray(weight[0, 0].numpy())
            self.spans = whole(self.shape) if everywhere else spans_of(self._share > 0)
            self._warped, self._weight = (np.zeros(self.shape, np.float32) for _ in range(2))
            self._slope = np.zeros((3, *self.shape), np.float32)

    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """(warped, weight), each (1, 1, *shape), in memory that the next call uses again; u: (1, d, *nodes), voxels.

        weight: of the fixed grid where the point lies inside the image and its nearest voxel is valid, else 0.
        """
        if self.spans is None:
            return self._reference(u)
        self._nodes = tuple(u.shape[2:])
        warp_composed(
            self.image[0, 0].numpy(),
            self.matrix,
            u[0].contiguous().numpy(),
            self._warped,
            gradient=self._slope,
            weight=self._weight,
            fixed_weight=self._share,
            valid=self._valid,
            spans=self.spans,
            factors=_three(self.factors),
        )
        return torch.from_numpy(self._warped)[None, None], torch.from_numpy(self._weight)[None, None]

    def pull_back(self, by_warped: Tensor) -> Tensor:
        """Derivative by the u of the last call, (1, d, *nodes), from that by warped (1, 1, *shape)."""
        if self.spans is None:
            return torch.autograd.grad(self._last[0], self._last[1], by_warped)[0]
        nodes, weight = _three(self._nodes), by_warped[0, 0].numpy()
        return torch.from_numpy(adjoint(self._slope, _three(self.factors), nodes, weight, self.spans))[None]

    def _reference(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """The twin in plain torch: any device, dtype and dimension."""
        leaf = u.detach().requires_grad_()
        through = self.matrix, leaf, self.factors, self.shape
        with torch.enable_grad():
            warped, inside = warp_through_reference(self.image, *through)
        weight = inside * self.share
        if self.valid is not None:
            with torch.no_grad():
                weight = weight * (warp_through_reference(self.valid, *through)[0] >= 0.5)
        self._last = warped, leaf
        return warped.detach(), weight


def _three(numbers: tuple[int, ...]) -> tuple[int, int, int]:
    z, y, x = numbers
    return z, y, x
