"""`import deformgan` is light: what is heavy comes when it is used."""

import subprocess
import sys

HEAVY = ("torch", "numba", "SimpleITK", "itk", "matplotlib", "monai", "scipy", "nibabel", "h5py")


def test_import_brings_nothing_heavy():
    code = f"import sys, deformgan; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there():
    import deformgan

    for name in deformgan.__all__:
        assert getattr(deformgan, name).__doc__, name
