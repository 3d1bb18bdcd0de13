"""A loss against a fixed image that stays: its side of the work is kept, and the derivative comes from a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deformgan.kernels.spans import Spans
from deformgan.similarity.windows import check_pair

Float = NDArray[np.float32]


class Counts(NamedTuple):
    """What of one image counts: mask and weight (Z, Y, X) or none; spans, or none: beyond these the weight is zero."""

    mask: Float | None
    weight: Float | None
    spans: Spans | None

    @property
    def both(self) -> Float | None:
        """The product of mask and weight, as far as they are given."""
        if self.mask is None or self.weight is None:
            return self.weight if self.mask is None else self.mask
        return self.mask * self.weight


class Slope(NamedTuple):
    """The derivative that is asked for: `times` that of the loss; onto (Z, Y, X): what it may be added to."""

    wanted: bool
    times: float
    onto: Float | None


def runs_compiled(*tensors: Tensor, dtypes: tuple[torch.dtype, ...] = (torch.float32,)) -> bool:
    """Whether the compiled kernels take these tensors: on the CPU, of `dtypes`, of one dtype."""
    return all(t.device.type == "cpu" and t.dtype in dtypes and t.dtype == tensors[0].dtype for t in tensors)


def volumes(images: Tensor) -> list[Float]:
    """(B, 1, *spatial) -> B arrays (Z, Y, X); Z = 1 for images in 2-D."""
    shape = images.shape[2:] if images.ndim == 5 else (1, *images.shape[2:])
    return [np.ascontiguousarray(image.detach().reshape(shape).numpy()) for image in images]


class CachedLoss:
    """A loss of (warped, weight) against one fixed image and mask; subclasses give `_reference` and `_compiled`.

    fixed: (B, 1, *spatial), 2-D or 3-D.  mask: (B or 1, 1, *spatial) or none, weight of each voxel in the mean.
    dtypes: those that the kernel computes in.  looks_beyond: values whose own weight is zero change the loss, as those
    beside an edge do.
    """

    looks_beyond = False
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)

    def __init__(self, fixed: Tensor, mask: Tensor | None) -> None:
        check_pair(fixed, fixed)
        self.fixed = fixed.detach()
        self.mask = None if mask is None else mask.to(fixed).expand_as(fixed)
        self.compiled = runs_compiled(fixed, dtypes=self.dtypes)

    def __call__(self, warped: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss, a scalar that can be differentiated by warped; weight (B or 1, 1, *spatial) joins the mask."""
        check_pair(warped, self.fixed)
        if not (self.compiled and runs_compiled(warped, self.fixed, dtypes=self.dtypes)):
            return self._reference(warped, weight)
        if torch.is_grad_enabled() and warped.requires_grad:
            loss: Tensor = _KnownGradient.apply(warped, *self._evaluate(warped, weight, derivative=True))
            return loss
        return warped.new_tensor(self._evaluate(warped, weight, derivative=False)[0])

    def with_derivative(
        self,
        warped: Tensor,
        weight: Tensor | None = None,
        *,
        spans: Spans | None = None,
        times: float = 1.0,
        onto: Tensor | None = None,
    ) -> tuple[float, Tensor]:
        """Loss, and `times` its derivative by warped (B, 1, *spatial), outside autograd.

        spans: of every image, beyond which its weight is zero.  onto: what the derivative is added to, and returned.
        """
        check_pair(warped, self.fixed)
        if self.compiled and runs_compiled(warped, self.fixed, dtypes=self.dtypes):
            return self._evaluate(warped, weight, spans=spans, times=times, onto=onto)
        loss, gradient = by_autograd(self._reference, warped, weight)
        return loss, gradient.mul_(times) if onto is None else onto.add_(gradient, alpha=times)

    def _evaluate(
        self,
        warped: Tensor,
        weight: Tensor | None,
        *,
        derivative: bool = True,
        spans: Spans | None = None,
        times: float = 1.0,
        onto: Tensor | None = None,
    ) -> tuple[float, Tensor]:
        batch = len(warped)
        masks = [None] * batch if self.mask is None else volumes(self.mask)
        weights = [None] * batch if weight is None else volumes(weight.to(warped).expand_as(warped))
        targets = [None] * batch if onto is None else volumes(onto)
        values, gradients = [], []
        for b, image in enumerate(volumes(warped)):
            slope = Slope(derivative, times / batch, targets[b])
            value, gradient = self._compiled(b, image, Counts(masks[b], weights[b], spans), slope)
            if slope.onto is not None and gradient is not slope.onto:
                slope.onto[:] += gradient
            values.append(value)
            gradients.append(torch.from_numpy(gradient))
        loss = sum(values) / batch
        if onto is not None:
            return loss, onto
        if not derivative:
            return loss, warped.new_empty(0)
        return loss, (gradients[0] if batch == 1 else torch.stack(gradients)).view(warped.shape)

    def _reference(self, warped: Tensor, weight: Tensor | None) -> Tensor:
        """The loss in plain torch, any device and dtype: the kernel's twin."""
        raise NotImplementedError

    def _compiled(self, b: int, warped: Float, counts: Counts, slope: Slope) -> tuple[float, Float]:
        """Loss of image b (Z, Y, X), and its derivative by warped: new, or `slope.onto` with it added."""
        raise NotImplementedError


class _KnownGradient(torch.autograd.Function):
    """A scalar whose derivative by `warped` is already there."""

    @staticmethod
    def forward(ctx: Any, warped: Tensor, value: float, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return warped.new_tensor(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient if float(grads[0]) == 1 else gradient * grads[0], None, None


def by_autograd(
    loss_of: Callable[[Tensor, Tensor | None], Tensor], warped: Tensor, weight: Tensor | None
) -> tuple[float, Tensor]:
    """Loss of (warped, weight) and its derivative by warped, whether or not autograd is on."""
    with torch.enable_grad():
        leaf = warped.detach().requires_grad_()
        loss = loss_of(leaf, weight)
        (gradient,) = torch.autograd.grad(loss, leaf)
    return float(loss.detach()), gradient


def symmetric_loss(by_warped: Tensor, by_fixed: Tensor) -> Tensor:
    """Of two equal values, one that knows its derivative by warped, one by fixed: the value with both derivatives."""
    return by_warped + (by_fixed - by_fixed.detach())
