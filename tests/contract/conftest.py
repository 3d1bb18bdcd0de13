"""The sound files that every case may use, and the command to run on them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from contract.images import Scan, encode
from contract.of_images import labels

from deformgan.spatial.transform import Affine, Transform


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with `good` in it."""
    folder = tmp_path_factory.mktemp("contract")
    (folder / "good").mkdir()
    for name, scan in (("ref", Scan()), ("labels", Scan(labels()))):
        for file, data in encode(scan, ".nii.gz", name).items():
            (folder / "good" / file).write_bytes(data)
    far = np.eye(4)
    far[:3, 3] = 5000
    Transform((Affine(np.eye(4)),)).save(folder / "good" / "identity.tfm")
    Transform((Affine(far),)).save(folder / "good" / "far.tfm")
    return folder


@pytest.fixture(scope="session")
def command():
    """command(folder, words) -> the answer of `deformgan`, run with 2 GiB beyond what its imports hold."""
    server = Path(__file__).with_name("server.py")
    quiet = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    running = subprocess.Popen(
        [sys.executable, str(server)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet
    )

    def ask(folder, words, seconds=120.0):
        job = {"words": list(words), "folder": str(folder), "seconds": seconds, "bytes": 2 << 30}
        running.stdin.write(json.dumps(job) + "\n")
        running.stdin.flush()
        return json.loads(running.stdout.readline())

    yield ask
    running.stdin.close()
    running.wait()
