"""Named tensors <-> safetensors files, with a hash of their content; written whole or not at all, nothing unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deformgan.errors import InputError, OutputError
from deformgan.io.whole_file import whole_file

if TYPE_CHECKING:
    from torch import Tensor

ENDING = ".safetensors"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write the tensors, a hash of them among the metadata.  Raises OutputError."""
    from safetensors.torch import save

    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    with whole_file(path) as scratch:
        # Not by safetensors' own writer: its file may be read by its owner alone.
        scratch.write_bytes(save(plain, {**metadata, "sha256": _hash(plain)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata).  Raises InputError for a file that is missing, damaged or of another kind."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = path.read_bytes()  # not mapped: a file that changes later must not change what was read
        tensors = load(content)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file: {error}") from error
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    if metadata.get("sha256") != _hash(tensors):
        raise InputError(f"{path}: its hash does not fit its content; the file is damaged or was not written by us")
    return tensors, metadata


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _hash(tensors: Mapping[str, Tensor]) -> str:
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        t = tensors[name].contiguous()
        digest.update(json.dumps([name, list(t.shape), str(t.dtype)]).encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
