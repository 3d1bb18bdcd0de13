"""What `deformgan doctor` looks at: a finding each, with what to do about it; no path and no name of a user."""

from __future__ import annotations

import locale
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from deformgan import __version__
from deformgan.cli.plan import free_megabytes
from deformgan.cli.stopping import address_space_limit
from deformgan.cost import memory
from deformgan.errors import DeformganError, printable

State = Literal["ok", "note", "bad"]
LIBRARIES = (
    "torch", "numpy", "numba", "scipy", "nibabel", "SimpleITK", "itk", "h5py", "nitransforms", "monai", "pydantic",
    "safetensors", "accelerate", "matplotlib", "typer",
)  # fmt: skip
THREAD_LIMITS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
LEAST_MEMORY_MB, LEAST_DISK_MB = 2000.0, 1000.0  # of a registration of common size, and of its results
NO_LIMIT_BYTES = 1 << 60


@dataclass(frozen=True)
class Finding:
    """name: what was looked at.  text: what was found.  advice: what to do, empty where nothing is to be done."""

    name: str
    state: State
    text: str
    advice: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


def findings() -> Iterator[Finding]:
    """All, as they are made; the last takes seconds."""
    for look in (versions, processors, graphics, kernels, folders, memories, models, languages, registration):
        yield from look()


def versions() -> Iterator[Finding]:
    """Of what is installed."""
    system = f"{platform.system()} {platform.machine()}"
    yield Finding("deformgan", "ok", f"{__version__}, Python {platform.python_version()}, {system}")
    found, missing = {}, []
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            missing.append(name)
    text = ", ".join(f"{name} {number}" for name, number in found.items())
    yield Finding("libraries", "ok", text, figures=found)
    if missing:
        yield Finding("libraries", "bad", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")


def processors() -> Iterator[Finding]:
    """Threads, and what limits them."""
    cores, usable = os.cpu_count() or 1, _usable_cores()
    limits = [f"{name}={os.environ[name]}" for name in THREAD_LIMITS if os.environ.get(name)]
    text = f"{usable:g} of {cores} cores may be used" + (f"; {', '.join(limits)}" if limits else "")
    if usable < cores:
        advice = f"give --threads {max(1, int(usable))}: more threads than cores only wait for each other"
        yield Finding("threads", "note", text, advice)
    elif limits:
        yield Finding("threads", "note", text, "unset these to use all cores")
    else:
        yield Finding("threads", "ok", text)


def _usable_cores() -> float:
    """Of the machine's: by the process' affinity, and by the quota of its container."""
    count = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    quota, _, period = _control_group("cpu.max").partition(" ")
    return min(count, int(quota) / int(period)) if quota.isdigit() and period.isdigit() else count


def _control_group(name: str) -> str:
    """What limits a container (cgroup, version 2); empty where there is no such limit."""
    try:
        return Path("/sys/fs/cgroup", name).read_text().strip()
    except OSError:
        return ""


def graphics() -> Iterator[Finding]:
    """GPUs that torch sees."""
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
        yield Finding("GPU", "ok", ", ".join(names), "give --device cuda to use it")
    elif torch.backends.mps.is_available():
        yield Finding("GPU", "ok", "Apple's (mps)", "give --device mps to use it")
    else:
        build = "torch is built for the CPU alone" if torch.version.cuda is None else "torch sees none"
        yield Finding("GPU", "ok", f"none ({build}); registration is made for CPUs")


def kernels() -> Iterator[Finding]:
    """Compiled, and whether they can be kept."""
    try:
        from deformgan.kernels.cache import cache_folder, compiled_kernels

        folder, count = cache_folder(), compiled_kernels()
    except RuntimeError:
        advice = "set NUMBA_CACHE_DIR to a folder that you may write"
        yield Finding("kernels", "bad", "there is no folder where compiled kernels could be kept", advice)
        return
    if not _writable(folder):
        advice = "set NUMBA_CACHE_DIR to a folder that you may write"
        yield Finding("kernels", "note", f"{count} compiled, the folder cannot be written any more", advice)
    elif count:
        yield Finding("kernels", "ok", f"{count} compiled, the folder can be written")
    else:
        yield Finding("kernels", "note", "not compiled yet", "nothing to do: the first run compiles them, in a minute")


def folders() -> Iterator[Finding]:
    """May they be written, is there room."""
    for name, folder, advice in (
        ("working folder", Path.cwd(), "go to another folder, or give --out"),
        ("temporary folder", Path(tempfile.gettempdir()), "set TMPDIR to a folder that you may write"),
    ):
        free = shutil.disk_usage(folder).free / 1e6
        if not _writable(folder):
            yield Finding(name, "note", "cannot be written", advice)
        elif free < LEAST_DISK_MB:
            yield Finding(name, "note", f"{memory(free)} of disk free", "free some space: a result may need more")
        else:
            yield Finding(name, "ok", f"can be written, {memory(free)} of disk free")


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def memories() -> Iterator[Finding]:
    """Free, and what limits it."""
    free, limits = free_megabytes(), []
    group = _control_group("memory.max")
    if group.isdigit() and int(group) < NO_LIMIT_BYTES:
        used = _control_group("memory.current")
        free = min(free, (int(group) - int(used or 0)) / 1e6)
        limits.append(f"the container's limit is {memory(int(group) / 1e6)}")
    if limit := address_space_limit():
        limits.append(f"ulimit -v is {memory(limit / 1e6)}")
    text = ", ".join([f"{memory(free)} free", *limits])
    if free < LEAST_MEMORY_MB:
        advice = "close other programs; --dry-run tells what a registration needs, --preset fast needs less"
        yield Finding("memory", "note", text, advice)
    else:
        yield Finding("memory", "ok", text)


def models() -> Iterator[Finding]:
    """Those that ship: there, whole, with the hash that they were written with."""
    from deformgan.registration.models import load_model
    from deformgan.registration.shipped import shipped_models

    names = shipped_models()
    if not names:
        yield Finding("models", "bad", "none found", "install deformgan again: its weights are missing")
    for name in names:
        try:
            load_model(name)
        except DeformganError as error:
            yield Finding("models", "bad", f"{name}: {_private(str(error))}", "install deformgan again")
        else:
            yield Finding("models", "ok", f"{name}, whole")


def languages() -> Iterator[Finding]:
    """Whether names of files in any script, and decimal points, work."""
    encoding, point = sys.getfilesystemencoding(), locale.localeconv()["decimal_point"]
    text = f"names of files in {encoding}, decimal point {point!r}"
    if encoding.lower().replace("-", "") != "utf8":
        yield Finding("locale", "note", text, "set PYTHONUTF8=1 if names of files have other than English letters")
    else:
        yield Finding("locale", "ok", text)


def registration() -> Iterator[Finding]:
    """A small one, whose answer is known."""
    try:
        from deformgan.registration.selftest import self_test

        found = self_test()
    except (DeformganError, RuntimeError, OSError, ImportError, MemoryError) as error:
        text = f"{type(error).__name__}: {_private(str(error))}"
        yield Finding("self-test", "bad", text, "send the output of deformgan doctor --json with a bug report")
        return
    text = (
        f"{found.before:.1f} mm became {found.error:.2f} mm, there and back {found.inverse:.3f} mm, "
        f"SimpleITK maps alike to {found.simpleitk:.1g} mm"
    )
    figures = vars(found)
    if faults := found.faults:
        advice = "send the output of deformgan doctor --json with a bug report; results are not to be trusted"
        yield Finding("self-test", "bad", f"{text}; too far off: {', '.join(faults)}", advice, figures)
    else:
        yield Finding("self-test", "ok", text, figures=figures)


def _private(text: str) -> str:
    """One line without the folders of this person and of this installation."""
    for folder, name in (
        (str(Path(__file__).parents[1]), "deformgan"),
        (str(Path.cwd()), "."),
        (str(Path.home()), "~"),
    ):
        if len(folder) > 1:
            text = text.replace(folder, name)
    return printable(text)
