"""Walk from free numbers q to a minimum of a loss whose derivative is known.

Each step is counted by how far it moves the corners of the fixed image, in mm; a walk ends where that falls below a
tolerance. An observer sees every step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deformgan.errors import InputError, RegistrationError
from deformgan.registration.affine_engines import SQUARED, AnalyticEngine, Engine

Array = NDArray[np.float64]
Observe = Callable[[Array, float], float]  # (q, loss) -> mm that the corners moved since the last call
TorchOptimiser = Callable[[list[torch.Tensor]], torch.optim.Optimizer]

STEP_MM = 0.5  # of Adam and its like, at first
TORCH: dict[str, TorchOptimiser] = {
    "adam": lambda q: torch.optim.Adam(q, lr=STEP_MM),
    "adamw": lambda q: torch.optim.AdamW(q, lr=STEP_MM, weight_decay=0.0),
    "rmsprop": lambda q: torch.optim.RMSprop(q, lr=STEP_MM / 5),
    "rprop": lambda q: torch.optim.Rprop(q, lr=STEP_MM, step_sizes=(1e-4, 4.0)),
}
NAMES = ("lbfgs", "lm", *TORCH)


def walk(
    optimiser: str | TorchOptimiser, engine: Engine, q: Array, iterations: int, tolerance_mm: float, observe: Observe
) -> Array:
    """The q reached.  optimiser: of NAMES, or a function of a list of one parameter that makes a torch optimiser."""
    if optimiser == "lbfgs":
        return _lbfgs(engine, q, iterations, tolerance_mm, observe)
    if optimiser == "lm":
        if not isinstance(engine, AnalyticEngine) or engine.fused not in SQUARED:
            raise InputError("the lm optimiser needs the analytic engine and the loss l2 or cauchy")
        return _levenberg_marquardt(engine, q, iterations, tolerance_mm, observe)
    if isinstance(optimiser, str):
        if optimiser not in TORCH:
            raise InputError(f"optimiser must be one of {', '.join(NAMES)}, or make a torch one; got {optimiser!r}")
        optimiser = TORCH[optimiser]
    return _by_torch(optimiser, engine, q, iterations, tolerance_mm, observe)


def _lbfgs(engine: Engine, q: Array, iterations: int, tolerance_mm: float, observe: Observe) -> Array:
    from scipy.optimize import OptimizeResult, minimize

    slope = _finite(engine, q)[1]
    gain = STEP_MM / max(float(np.linalg.norm(slope)), 1e-30)  # so that the first step, along the slope, is STEP_MM

    def scaled(p: Array) -> tuple[float, Array]:
        loss, slope = _finite(engine, p)
        return gain * loss, gain * slope

    def stop(intermediate_result: OptimizeResult) -> None:
        if observe(intermediate_result.x, float(intermediate_result.fun) / gain) < tolerance_mm:
            raise StopIteration

    settings: dict[str, Any] = {"maxiter": iterations, "maxcor": 12, "ftol": 0.0, "gtol": 0.0}
    found = minimize(scaled, q, jac=True, method="L-BFGS-B", callback=stop, options=settings)
    best: Array = found.x
    return best


def _levenberg_marquardt(
    engine: AnalyticEngine, q: Array, iterations: int, tolerance_mm: float, observe: Observe
) -> Array:
    """Gauss-Newton with a damping that grows where a step fails; cauchy is reweighted at every step."""
    loss, slope, curvature = engine.curved(q)
    damping = 1e-3
    for _ in range(iterations):
        step = -np.linalg.solve(curvature + damping * np.diag(np.diag(curvature) + 1e-12), slope)
        trial = engine.curved(q + step)
        if not trial[0] < loss:
            damping *= 10
            if damping > 1e6:
                break
            continue
        q, (loss, slope, curvature), damping = q + step, trial, max(damping / 10, 1e-7)
        if observe(q, loss) < tolerance_mm:
            break
    return q


def _by_torch(
    make: TorchOptimiser, engine: Engine, q: Array, iterations: int, tolerance_mm: float, observe: Observe
) -> Array:
    """The best q seen; the rate falls to a hundredth along a half cosine, so that a walk may end."""
    leaf = torch.from_numpy(q.copy()).requires_grad_()
    optimiser = make([leaf])
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, iterations, 0.01 * optimiser.param_groups[0]["lr"])
    best, least, calm = q, np.inf, 0
    for _ in range(iterations):
        here = leaf.detach().numpy().copy()
        loss, slope = _finite(engine, here)
        if loss < least:
            best, least = here, loss
        calm = calm + 1 if observe(here, loss) < tolerance_mm else 0
        if calm >= 3:
            break
        leaf.grad = torch.from_numpy(slope)
        optimiser.step()
        rate.step()
    return best


def _finite(engine: Engine, q: Array) -> tuple[float, Array]:
    loss, slope = engine(q)
    if not (np.isfinite(loss) and np.isfinite(slope).all()):
        raise RegistrationError("the loss of the affine stage is not finite; check the images and the loss")
    return loss, slope
