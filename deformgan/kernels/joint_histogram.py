"""Mutual information of scattered samples under a pose, with its derivative, in compiled loops.

One image is sampled: its points and their bins are fixed. The other image, already scaled to bin units, is read at the
posed points by trilinear interpolation; its value splits linearly between two neighbouring bins. Poses are 3 x 4
matrices, sampled index (z, y, x, 1) -> index (z, y, x) of the other image. `valid` (uint8, the other image's shape)
tells which of its voxels may be used.
"""

import numpy as np
from numba import njit, prange


@njit(inline="always", fastmath=True)
def _read(image, valid, shape, z, y, x):
    """Trilinear value and gradient at a valid point within half a voxel of the grid; (value, dz, dy, dx, inside).

    image, valid: flat, and read at unsigned places, so that nothing has to be looked at for a negative index.
    """
    nz, ny, nx = shape
    if not (-0.5 <= z < nz - 0.5 and -0.5 <= y < ny - 0.5 and -0.5 <= x < nx - 0.5):
        return 0.0, 0.0, 0.0, 0.0, False
    u, v, w = min(max(z, 0.0), nz - 1.0), min(max(y, 0.0), ny - 1.0), min(max(x, 0.0), nx - 1.0)
    free_z, free_y, free_x = 1.0 * (u == z), 1.0 * (v == y), 1.0 * (w == x)  # 0 where the border value holds
    z, y, x = u, v, w
    k, j, i = min(int(z), nz - 2), min(int(y), ny - 2), min(int(x), nx - 2)
    a, b, c = z - k, y - j, x - i
    if valid[np.uint64((int(z + 0.5) * ny + int(y + 0.5)) * nx + int(x + 0.5))] == 0:
        return 0.0, 0.0, 0.0, 0.0, False
    one = np.uint64(1)
    n00 = np.uint64((k * ny + j) * nx + i)
    n01, n10 = n00 + np.uint64(nx), n00 + np.uint64(ny * nx)
    n11 = n10 + np.uint64(nx)
    v000, v001 = image[n00], image[n00 + one]
    v010, v011 = image[n01], image[n01 + one]
    v100, v101 = image[n10], image[n10 + one]
    v110, v111 = image[n11], image[n11 + one]
    p00, p01 = v000 + c * (v001 - v000), v010 + c * (v011 - v010)
    p10, p11 = v100 + c * (v101 - v100), v110 + c * (v111 - v110)
    q0, q1 = p00 + b * (p01 - p00), p10 + b * (p11 - p10)
    dy = (p01 - p00) + a * ((p11 - p10) - (p01 - p00))
    d0 = (v001 - v000) + b * ((v011 - v010) - (v001 - v000))
    d1 = (v101 - v100) + b * ((v111 - v110) - (v101 - v100))
    return q0 + a * (q1 - q0), free_z * (q1 - q0), free_y * dy, free_x * (d0 + a * (d1 - d0)), True


@njit(inline="always", fastmath=True)
def _posed(pose, p):
    z = pose[0, 0] * p[0] + pose[0, 1] * p[1] + pose[0, 2] * p[2] + pose[0, 3]
    y = pose[1, 0] * p[0] + pose[1, 1] * p[1] + pose[1, 2] * p[2] + pose[1, 3]
    x = pose[2, 0] * p[0] + pose[2, 1] * p[1] + pose[2, 2] * p[2] + pose[2, 3]
    return z, y, x


@njit(fastmath=True)
def _histogram(points, bins, image, valid, pose, joint):
    """Fill `joint` (bins of the sampled image, bins of the other) from the points inside; the number of them."""
    joint[:] = 0.0
    values, usable = image.ravel(), valid.ravel()
    count = 0
    for s in range(points.shape[0]):
        z, y, x = _posed(pose, points[s])
        value, _, _, _, inside = _read(values, usable, image.shape, z, y, x)
        if inside:
            count += 1
            b = min(int(value), joint.shape[1] - 2)
            w = value - b
            joint[bins[s], b] += 1.0 - w
            joint[bins[s], b + 1] += w
    return count


@njit(fastmath=True)
def _smooth(table):
    """Convolve both axes with (1, 2, 1) / 4, ends kept: a Parzen window that costs nothing per sample; self-adjoint."""
    n, m = table.shape
    half = np.empty_like(table)
    for i in range(n):
        for j in range(m):
            half[i, j] = 0.25 * (table[i, max(j - 1, 0)] + table[i, min(j + 1, m - 1)]) + 0.5 * table[i, j]
    out = np.empty_like(table)
    for i in range(n):
        for j in range(m):
            out[i, j] = 0.25 * (half[max(i - 1, 0), j] + half[min(i + 1, n - 1), j]) + 0.5 * half[i, j]
    return out


@njit(fastmath=True)
def _information(joint, total):
    """MI in nats of the smoothed histogram, and its derivative with respect to each raw count, times `total`."""
    p = _smooth(joint) / total
    n, m = p.shape
    rows, columns = np.zeros(n), np.zeros(m)
    for i in range(n):
        for j in range(m):
            rows[i] += p[i, j]
            columns[j] += p[i, j]
    slope = np.zeros_like(p)
    mi = 0.0
    for i in range(n):
        for j in range(m):
            if p[i, j] > 1e-12:
                slope[i, j] = np.log(p[i, j] / (rows[i] * columns[j]))
                mi += p[i, j] * slope[i, j]
    return mi, _smooth(slope)


@njit(parallel=True, cache=True, nogil=True, fastmath=True)
def information_of_poses(points, bins, image, valid, poses, n_bins):
    """Share of points inside, and MI (nats) over those, of each pose (K, 3, 4) -> (K,), (K,)."""
    share, mi = np.zeros(poses.shape[0]), np.zeros(poses.shape[0])
    for k in prange(poses.shape[0]):
        joint = np.zeros((n_bins, n_bins))
        count = _histogram(points, bins, image, valid, poses[k], joint)
        share[k] = count / points.shape[0]
        if count > 0:
            mi[k] = _information(joint, count)[0]
    return share, mi


@njit(cache=True, nogil=True, fastmath=True)
def information_with_derivative(points, bins, image, valid, pose, n_bins):
    """(share inside, MI, dMI/dpose (3, 4)) of one pose, by one thread: a call is too short to share out."""
    n = points.shape[0]
    joint, slope = np.zeros((n_bins, n_bins)), np.zeros((3, 4))
    # What the first pass reads is kept for the second, of the points inside: the place in the table, and the gradient.
    kept, place, gradient = np.empty(n, np.int32), np.empty(n, np.int32), np.empty((n, 3), np.float32)
    flat, values, usable = joint.ravel(), image.ravel(), valid.ravel()
    count = 0
    for s in range(n):
        z, y, x = _posed(pose, points[s])
        value, dz, dy, dx, inside = _read(values, usable, image.shape, z, y, x)
        if inside:
            b = min(int(value), n_bins - 2)
            w = value - b
            at = bins[s] * n_bins + b
            flat[at] += 1.0 - w
            flat[at + 1] += w
            kept[count], place[count] = s, at
            gradient[count, 0], gradient[count, 1], gradient[count, 2] = dz, dy, dx
            count += 1
    if count == 0:
        return 0.0, 0.0, slope
    mi, table = _information(joint, count)
    by_place = table.ravel()
    for k in range(count):
        p, at = points[kept[k]], place[k]
        g = (by_place[at + 1] - by_place[at]) / count
        for axis in range(3):
            d = g * gradient[k, axis]
            slope[axis, 0] += d * p[0]
            slope[axis, 1] += d * p[1]
            slope[axis, 2] += d * p[2]
            slope[axis, 3] += d
    return count / n, mi, slope
