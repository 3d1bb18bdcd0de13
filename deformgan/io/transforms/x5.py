"""X5, the transform file that BIDS drafts (HDF5, RAS mm), by way of nitransforms, which wrote the draft."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from deformgan.errors import InputError
from deformgan.io.geometry import Geometry
from deformgan.io.transforms.hdf5 import hdf5_file
from deformgan.io.transforms.nifti_vectors import plane_points
from deformgan.io.transforms.parts import Affine, DisplacementField, Part
from deformgan.io.volume import RAS_LPS
from deformgan.io.workplace import reserve

_CHAIN = re.compile(r"\d{1,6}(/\d{1,6})*")
_OTHER_BYTES = 16 << 10  # of a node, beside its numbers
_AXES = (b"space", b"space", b"space", b"vector")
_SIGNS = np.diag(RAS_LPS)[:3]


def is_x5(path: Path) -> bool:
    """Whether an HDF5 file says that it is one."""
    try:
        with hdf5_file(path) as file:
            name = file.attrs.get("Format")
            return isinstance(name, str | bytes) and name in ("X5", b"X5")
    except InputError:
        return path.suffix.lower() == ".x5"  # whoever reads it says what is wrong


def read_x5(path: Path) -> tuple[Part, ...]:
    """The file's first chain, or its only transform: matrices, dense displacements or deformations.

    Raises InputError or OSError.
    """
    from nitransforms.io.x5 import from_filename

    with hdf5_file(path) as file:
        chain = file["TransformChain/0"][()] if "TransformChain" in file else None
        nodes = from_filename(path)
    if chain is None and len(nodes) != 1:
        raise InputError(f"holds {len(nodes)} transforms and no chain that gives their order")
    text = chain.decode("latin-1") if isinstance(chain, bytes) else "0" if chain is None else str(chain)
    order = [int(n) for n in text.split("/")] if _CHAIN.fullmatch(text) else [len(nodes)]
    if max(order) >= len(nodes):
        raise InputError(f"has a chain {text[:40]!r} of its {len(nodes)} transforms; it is damaged")
    parts = {n: _part(nodes[n]) for n in set(order)}
    return tuple(parts[n] for n in order)


def write_x5(parts: tuple[Part, ...], path: Path, fixed: Geometry | None) -> None:
    """Write the parts and the chain that gives their order; `fixed`: the domain of matrices, may be None."""
    import h5py
    from nitransforms.io.x5 import to_filename

    nodes = [_node(part, fixed) for part in parts or (Affine(np.eye(4)),)]
    reserve(path, sum(node.transform.nbytes + _OTHER_BYTES for node in nodes))  # HDF5 ends in a SIGSEGV on a full disk
    to_filename(path, nodes)
    with h5py.File(path, "a") as file:
        file["TransformChain/0"] = "/".join(str(n) for n in range(max(1, len(parts))))


def _part(node: Any) -> Part:
    array = np.asarray(node.transform)
    if node.type == "linear" and array.shape in ((4, 4), (1, 4, 4)):
        return Affine(RAS_LPS @ array.reshape(4, 4) @ RAS_LPS)
    known = node.representation in ("displacements", "deformations")
    if node.type != "nonlinear" or not known or node.domain is None or array.shape != (*node.domain.size, 3):
        raise InputError(f"holds a {node.type} transform ({node.representation}) that is not supported; resample it")
    if np.shape(node.domain.mapping) != (4, 4) or array.dtype.kind not in "fiu":
        raise InputError("does not say where its vectors lie, or they are no numbers; it is damaged")
    grid = Geometry.from_matrix(RAS_LPS @ node.domain.mapping, array.shape[:3])
    vectors = (array.transpose(2, 1, 0, 3) * _SIGNS).astype(np.float32)
    if node.representation == "deformations":
        for plane, positions in enumerate(vectors):
            positions -= plane_points(grid.matrix, grid, plane)
    return DisplacementField(grid, vectors)


def _node(part: Part, fixed: Geometry | None) -> Any:
    from nitransforms.io.x5 import X5Domain, X5Transform

    grid = part.geometry if isinstance(part, DisplacementField) else fixed
    place = None if grid is None else RAS_LPS @ grid.matrix
    domain = None if grid is None else X5Domain(grid=True, size=grid.size, mapping=place, coordinates="cartesian")
    if isinstance(part, Affine):
        matrix = RAS_LPS @ part.matrix @ RAS_LPS
        return X5Transform("linear", matrix, "affine", "matrix", dimension_kinds=_AXES, domain=domain)
    vectors = (part.displacement * _SIGNS).astype(np.float32).transpose(2, 1, 0, 3)
    return X5Transform("nonlinear", vectors, "densefield", "displacements", dimension_kinds=_AXES, domain=domain)
