"""The real command without its seconds of imports: a process that has imported everything forks for each command.

Reads one JSON object a line from stdin (words, folder, seconds, bytes) and answers each with one (code, out, err,
grown, took).  It computes nothing itself, since a process whose thread pools run must not be forked.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import resource
import select
import signal
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from memory import held_bytes  # beside this file, which is run by itself

import deformgan
from deformgan.cli.main import main

LIBRARIES = ("SimpleITK", "h5py", "nibabel.gifti", "nitransforms.io.lta", "nitransforms.io.x5", "safetensors.torch")
LEFT_OUT = ("deformgan.__main__", "deformgan.monai")  # the one runs, the other takes longer than all the rest


def serve() -> None:
    """Answer every line of stdin."""
    for module in pkgutil.walk_packages(deformgan.__path__, "deformgan."):
        if module.name not in LEFT_OUT:
            import_module(module.name)
    for name in LIBRARIES:
        import_module(name)
    gc.freeze()  # a child that collected garbage would copy every page of what is imported
    assert len(os.listdir("/proc/self/task")) == 1, "a thread runs, which no child would have"
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Run one command.  grown: bytes of memory beyond what the server holds.  took: seconds.  code None: it hung."""
    said = [Path(job["folder"]).with_suffix(ending) for ending in (".out", ".err")]
    before, begin = held_bytes("VmRSS"), time.perf_counter()
    child = os.fork()
    if child == 0:
        become_the_command(job, said)
    ended, _, _ = select.select([handle := os.pidfd_open(child)], [], [], job["seconds"])
    if not ended:
        os.killpg(child, signal.SIGKILL)
    os.close(handle)
    _, status, usage = os.wait4(child, 0)
    out, err = (path.read_text(errors="replace") for path in said)
    return {
        "code": os.waitstatus_to_exitcode(status) if ended else None,
        "out": out,
        "err": err,
        "grown": max(0, 1024 * usage.ru_maxrss - before),
        "took": time.perf_counter() - begin,
    }


def become_the_command(job: dict[str, Any], said: list[Path]) -> NoReturn:
    """Run the words of the job as `deformgan` does, output to the two files, and end the process."""
    code = 1
    try:
        os.setpgid(0, 0)
        for descriptor, path in zip((1, 2), said, strict=True):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(job["folder"])
        most = held_bytes("VmData") + job["bytes"]
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.argv = ["deformgan", *job["words"]]
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # as the interpreter does it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
