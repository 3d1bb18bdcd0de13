"""Bad weights and checkpoints."""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from contract.case import OUT, REF, Case, register
from safetensors.torch import save

from deformgan.config import TrainConfig, dump_config
from deformgan.io.tensor_files import write_tensors
from deformgan.registration.models import FORMAT, build_transformation

FILE = "w.safetensors"
TINY = TrainConfig.model_validate(
    {
        "name": "tiny",
        "out": "run",
        "generated": {"share": 1},
        "data": {"shape": [16, 16, 16], "spacing_mm": 8, "cache": "/nowhere"},
        "transformation": {"channels": [4, 8], "matching": 0},
        "generator": {"channels": [4, 8]},
        "discriminator": {"channels": 4, "layers": 1},
        "training": {"steps": 4, "device": "cpu"},
    }
)


def stored(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """As `write_tensors` writes it, with its hash."""
    with tempfile.TemporaryDirectory() as folder:
        write_tensors(Path(folder) / FILE, tensors, metadata)
        return (Path(folder) / FILE).read_bytes()


@cache
def sound() -> bytes:
    """A model whose network is not trained."""
    return stored(weights(), metadata())


def weights(channels: tuple[int, ...] = (4, 8)) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = build_transformation(TINY.transformation.model_copy(update={"channels": channels}))
    return {f"transformation.{name}": w for name, w in network.state_dict().items()}


def metadata(**changes: str) -> dict[str, str]:
    return {"format": FORMAT, "config": TINY.model_dump_json(), "figures": "{}", **changes}


def headed(header: str) -> bytes:
    return struct.pack("<Q", len(header)) + header.encode()


def files() -> Iterator[tuple[str, bytes, str]]:
    whole = sound()
    lie = {"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}
    config = json.loads(TINY.model_dump_json())
    config["transformation"]["channels"] = [10**6, 10**6]
    yield "empty", b"", "not a whole safetensors file"
    yield "half", whole[: len(whole) // 2], "not a whole safetensors file"
    yield "noise", np.random.default_rng(1).bytes(2000), "not a whole safetensors file"
    yield "a header of exabytes", struct.pack("<Q", 2**63) + whole[8:], "not a whole safetensors file"
    yield "a header of a terabyte", struct.pack("<Q", 10**12) + whole[8:], "not a whole safetensors file"
    yield "no header", struct.pack("<Q", 0) + whole[8:], "not a whole safetensors file"
    yield "terabytes", headed(json.dumps(lie)), "not a whole safetensors file"
    yield "a deep header", headed("[" * 50000), "not a whole safetensors file"
    yield "a flipped byte", whole[:-5] + bytes([whole[-5] ^ 255]) + whole[-4:], "hash does not fit"
    yield "of another tool", save({"a": torch.zeros(3)}), "hash does not fit"
    yield "no configuration", stored(weights(), {"format": FORMAT}), "configuration cannot be read"
    yield "a configuration cut off", stored(weights(), metadata(config="{")), "configuration cannot be read"
    yield "figures in words", stored(weights(), metadata(figures='{"tre_mm": "good"}')), "figures cannot be read"
    yield "of another network", stored(weights((4, 6)), metadata()), "do not fit the configuration"
    yield "of none", stored({"a": torch.zeros(2)}, metadata()), "do not fit the configuration"
    yield "a network of terabytes", stored(weights(), metadata(config=json.dumps(config))), "do not fit"
    yield "not finite", stored({n: w * float("nan") for n, w in weights().items()}, metadata()), "not finite"
    yield "of another format", stored(weights(), metadata(format="deformgan-synthesis-1")), "not a deformgan model"


def checkpoints() -> Iterator[tuple[str, bytes, str]]:
    whole = sound()
    facts = {"format": "deformgan-checkpoint-1", "step": "2", "best": "1.0", "config": ""}
    yield "half", whole[: len(whole) // 2], "not a whole safetensors file"
    yield "a model", whole, "not a checkpoint"
    yield "no step", stored({}, {**facts, "step": "two"}), "not a checkpoint"
    yield "of another network", stored(weights((4, 6)), facts), "does not fit"


def cases() -> Iterator[Case]:
    for name, data, says in files():
        yield Case(f"weights: {name}", {FILE: data}, register("--model", FILE), (FILE, says))
    for name, data, says in list(files())[:3]:
        words = ("synthesize", "--model", FILE, "--image", REF, "--out", OUT, "-q")
        yield Case(f"weights of synthesis: {name}", {FILE: data}, words, (FILE, says))
    words = ("synthesize", "--model", FILE, "--image", REF, "--out", OUT, "-q")
    yield Case("weights of registration for synthesis", {FILE: sound()}, words, (FILE, "not a model of MR -> CT"))
    small = TINY.model_copy(update={"data": TINY.data.model_copy(update={"spacing_mm": 1e-4})})
    fine = stored(weights(), metadata(config=small.model_dump_json()))
    words = ("register", "--fixed", REF, "--moving", REF, "--model", FILE, "--preset", "fast", "--out", "r", "-q")
    yield Case("weights: voxels of a tenth of a micrometre", {FILE: fine}, words, ("working grid of 0.0001 mm",))
    yield Case("weights: a folder without", {"run/x": b""}, register("--model", "run"), ("run: no model.safetensors",))
    for name, data, says in checkpoints():
        run = {"c.yaml": dump_config(TINY).encode(), "run/config.yaml": dump_config(TINY).encode()}
        run["run/checkpoints/step-00000002.safetensors"] = data
        words = ("train", "c.yaml", "--out", "run", "--resume", "-q")
        yield Case(f"checkpoint: {name}", run, words, ("step-00000002", says))
