"""What the properties are tried on: grids and maps drawn by hypothesis, the same ones in every run."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from deformgan.io.geometry import Geometry


def repeatable(examples: int) -> Any:
    """The same examples in every run, as many as asked for, however long one takes."""
    health = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(derandomize=True, deadline=None, database=None, max_examples=examples, suppress_health_check=health)


@st.composite
def rotations(draw: Any) -> np.ndarray:
    """(3, 3), any rotation, from a quaternion."""
    w, x, y, z = draw(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.dot(q, q) > 0.01))
    n = 2 / (w * w + x * x + y * y + z * z)
    return np.array(
        [
            [1 - n * (y * y + z * z), n * (x * y - w * z), n * (x * z + w * y)],
            [n * (x * y + w * z), 1 - n * (x * x + z * z), n * (y * z - w * x)],
            [n * (x * z - w * y), n * (y * z + w * x), 1 - n * (x * x + y * y)],
        ]
    )


@st.composite
def geometries(draw: Any, most: int = 9, spacing: tuple[float, float] = (1e-3, 1e2), least: int = 2) -> Geometry:
    """Any orientation, oblique or not, axes in any order and sense, left-handed too.

    spacing: the smallest and the largest, of each axis alone.
    """
    order, signs = draw(st.permutations(range(3))), draw(st.tuples(*[st.sampled_from((-1, 1))] * 3))
    axes = np.eye(3)[order] * np.array(signs)
    direction = axes @ draw(rotations()) if draw(st.booleans()) else axes
    low, high = np.log10(spacing)
    steps = draw(st.tuples(*[st.floats(low, high)] * 3))
    size = draw(st.tuples(*[st.integers(least, most)] * 3))
    origin = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    return Geometry(size, tuple(10.0**s for s in steps), origin, tuple(direction.ravel()))


@st.composite
def matrices(draw: Any) -> np.ndarray:
    """(4, 4): a rotation, scales of 0.5 to 2 along turned axes, a reflection at times, and a shift of up to 100 mm."""
    scales = np.diag(draw(st.tuples(*[st.floats(0.5, 2)] * 3))) * draw(st.sampled_from((1, -1)))
    matrix = np.eye(4)
    matrix[:3, :3] = draw(rotations()) @ scales @ draw(rotations())
    matrix[:3, 3] = draw(st.tuples(*[st.floats(-100, 100)] * 3))
    return matrix


def smooth_field(geometry: Geometry, seed: int, strength: float = 0.3) -> np.ndarray:
    """(Z, Y, X, 3) mm: waves longer than the grid; no derivative is above `strength`, so the field can be inverted."""
    rng = np.random.default_rng(seed)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape], indexing="ij"), -1)
    phase = rng.uniform(0, 2 * np.pi, 3)
    wave = np.stack([np.sin(index @ rng.uniform(-0.4, 0.4, 3) + p) for p in phase], -1)
    return (strength * min(geometry.spacing) * wave).astype(np.float32)
