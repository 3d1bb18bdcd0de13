"""Parameters of a rigid, similarity or affine map <-> its 4x4 matrix in LPS mm, and the matrix's exact derivatives.

x -> L (x - c) + c + t about a centre c.  The parameters p, float64, in this order:

    translation 3  t (x, y, z; mm)
    rigid       6  rotation vector (x, y, z; radians, right-handed about the axis), translation t (x, y, z; mm)
    similarity  7  the same, then the logarithm of the scale
    affine     12  the same six, then three log scales (x, y, z), then three shears (xy, xz, yz)

and in the x-y plane, for images of one slice, with z left as it is:

    rigid2d       3  angle (radians, x towards y), translation (x, y; mm)
    similarity2d  4  the same, then the logarithm of the scale
    scales2d      5  the same three, then two log scales (x, y)

L = 1 for translation, R for rigid, R exp(s) for similarity, R H S for affine: S scales along x, y, z first, H is unit
upper triangular. A map in the plane is the affine one with most of its twelve parameters tied. All zeros are the
identity.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deformgan.errors import InputError

Array = NDArray[np.float64]
Model = Literal["translation", "rigid", "similarity", "affine", "rigid2d", "similarity2d", "scales2d"]

# For each parameter of a model, the parameters of the affine map that it sets.
PLACES: dict[Model, tuple[tuple[int, ...], ...]] = {
    "translation": ((3,), (4,), (5,)),
    "rigid": tuple((k,) for k in range(6)),
    "similarity": (*((k,) for k in range(6)), (6, 7, 8)),
    "affine": tuple((k,) for k in range(12)),
    "rigid2d": ((2,), (3,), (4,)),
    "similarity2d": ((2,), (3,), (4,), (6, 7)),
    "scales2d": ((2,), (3,), (4,), (6,), (7,)),
}
PARAMETERS: dict[Model, int] = {model: len(places) for model, places in PLACES.items()}
_SHEARS = ((0, 1), (0, 2), (1, 2))
_SMALL = 1e-4  # radians; below it the series of the rotation is exact to double precision


def from_parameters(p: Array, centre: Array, model: Model) -> Array:
    """The 4x4 matrix, LPS mm, of the parameters p about `centre` (x, y, z in mm)."""
    full = spread_matrix(model) @ _checked(p, model)
    return _about(_rotation(full[:3]) @ _stretch(full), full[3:6], centre)


def derivatives(p: Array, centre: Array, model: Model) -> Array:
    """dMatrix/dp, (n, 4, 4), of `from_parameters`; the last rows are 0."""
    return with_derivatives(p, centre, model)[1]


def with_derivatives(p: Array, centre: Array, model: Model) -> tuple[Array, Array]:
    """`from_parameters` and `derivatives` at once."""
    spread = spread_matrix(model)
    full = spread @ _checked(p, model)
    centre = np.asarray(centre, np.float64)
    rotation, stretch = _rotation(full[:3]), _stretch(full)
    linear = np.zeros((12, 3, 3))
    linear[:3] = _rotation_derivatives(full[:3], rotation) @ stretch
    linear[6:] = rotation @ _stretch_derivatives(full)
    out = np.zeros((12, 4, 4))
    out[:, :3, :3] = linear
    out[:, :3, 3] = -linear @ centre
    out[3:6, :3, 3] += np.eye(3)
    tied: Array = (spread.T @ out.reshape(12, 16)).reshape(-1, 4, 4)
    return _about(rotation @ stretch, full[3:6], centre), tied


@lru_cache
def spread_matrix(model: Model) -> Array:
    """(12, n): the parameters of `model` -> those of the affine map; to be read only."""
    spread = np.zeros((12, len(PLACES[_known(model)])))
    for k, places in enumerate(PLACES[model]):
        spread[list(places), k] = 1
    spread.flags.writeable = False
    return spread


def to_parameters(matrix: Array, centre: Array, model: Model) -> Array:
    """The parameters of a 4x4 matrix, LPS mm, about `centre`; the nearest map of a simpler model where it is richer.

    rigid and similarity take the rotation nearest in the Frobenius norm, similarity the cube root of the determinant.
    The rotation's angle is in [0, pi].  Raises InputError for a singular, reflecting or non-finite matrix.
    """
    matrix, centre = np.asarray(matrix, np.float64), np.asarray(centre, np.float64)
    linear = matrix[:3, :3]
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or np.linalg.det(linear) <= 0:
        raise InputError(f"an affine matrix must be 4x4, finite, with a positive determinant; got {matrix.tolist()}")
    translation = matrix[:3, 3] + linear @ centre - centre
    if _known(model) in ("affine", "scales2d"):
        rotation, stretch = np.linalg.qr(linear)
        signs = np.sign(np.diag(stretch))
        rotation, stretch = rotation * signs, signs[:, None] * stretch
        scales = np.diag(stretch)
        shears = [stretch[i, j] / scales[j] for i, j in _SHEARS]
        full = np.concatenate([_rotation_vector(rotation), translation, np.log(scales), shears])
    else:
        left, _, right = np.linalg.svd(linear)
        planar = model == "similarity2d"
        log_scale = np.log(np.linalg.det(linear[:2, :2] if planar else linear)) / (2 if planar else 3)
        full = np.concatenate([_rotation_vector(left @ right), translation, [log_scale] * 3, np.zeros(3)])
    return np.array([full[list(places)].mean() for places in PLACES[model]])


def _known(model: Model) -> Model:
    if model not in PLACES:
        raise InputError(f"model must be one of {', '.join(PLACES)}; got {model!r}")
    return model


def _checked(p: Array, model: Model) -> Array:
    p = np.asarray(p, np.float64)
    if p.shape != (len(PLACES[_known(model)]),):
        raise InputError(f"a {model} map has {PARAMETERS[model]} parameters; got an array of shape {p.shape}")
    return p


def _about(linear: Array, translation: Array, centre: Array) -> Array:
    centre = np.asarray(centre, np.float64)
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = centre + translation - linear @ centre
    return matrix


def _cross(v: Array) -> Array:
    """[v], the matrix of w -> v x w."""
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])


def _rotation(v: Array) -> Array:
    """exp([v]).  Source: Rodrigues' formula."""
    angle = float(np.linalg.norm(v))
    k = _cross(v)
    first, second = _coefficients(angle)
    rotation: Array = np.eye(3) + first * k + second * k @ k
    return rotation


def _coefficients(angle: float) -> tuple[float, float]:
    """sin(a) / a and (1 - cos(a)) / a^2."""
    if angle < _SMALL:
        return 1 - angle**2 / 6, 0.5 - angle**2 / 24
    return np.sin(angle) / angle, 0.5 * (np.sin(angle / 2) / (angle / 2)) ** 2


def _rotation_derivatives(v: Array, rotation: Array) -> Array:
    """d exp([v]) / dv, (3, 3, 3): [J(v) e_i] exp([v]), J the left Jacobian of the group; rotation: exp([v]).

    Source: Sola, Deray, Atchuthan, "A micro Lie theory for state estimation in robotics" (2018), Eq. 145.
    """
    angle = float(np.linalg.norm(v))
    k = _cross(v)
    first, second = _coefficients(angle)
    third = (1 - first) / angle**2 if angle >= _SMALL else 1 / 6 - angle**2 / 120
    jacobian = np.eye(3) + second * k + third * k @ k
    return np.stack([_cross(column) for column in jacobian.T]) @ rotation


def _rotation_vector(rotation: Array) -> Array:
    """The v of least length with exp([v]) = rotation, by way of the unit quaternion (safe near half a turn)."""
    # The quaternion (x, y, z, w) is the last eigenvector of this symmetric matrix: Bar-Itzhack 2000.
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    symmetric = np.array(
        [
            [xx - yy - zz, xy + yx, xz + zx, zy - yz],
            [xy + yx, yy - xx - zz, yz + zy, xz - zx],
            [xz + zx, yz + zy, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    quaternion = np.linalg.eigh(symmetric)[1][:, -1]
    vector, scalar = quaternion[:3] * np.sign(quaternion[3] or 1.0), abs(quaternion[3])
    half = np.linalg.norm(vector)
    turn: Array = vector * (2 * np.arctan2(half, scalar) / half if half > 0 else 2.0)
    return turn


def _stretch(full: Array) -> Array:
    """L without its rotation, of the twelve parameters."""
    shear = np.eye(3)
    for value, place in zip(full[9:], _SHEARS, strict=True):
        shear[place] = value
    stretch: Array = shear * np.exp(full[6:9])
    return stretch


def _stretch_derivatives(full: Array) -> Array:
    """dStretch/dp of the log scales and the shears, (6, 3, 3)."""
    stretch = _stretch(full)
    out = np.zeros((6, 3, 3))
    for k in range(3):
        out[k, :, k] = stretch[:, k]
    for k, (i, j) in enumerate(_SHEARS):
        out[3 + k, i, j] = np.exp(full[6 + j])
    return out
