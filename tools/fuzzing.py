"""Fuzzing of every reader: `tools/fuzz --seconds 60 [TARGET ...]`, seeded from the corpus of tests/contract.

A reader returns or raises a DeformganError; anything else, a crash of a library, more than 20 s or more than 2 GB is a
finding, kept under --keep (default fuzz_findings) as a file that tests/contract/found would replay.  Engines: atheris
(coverage guides the changes; `pip install -e .[fuzz]`), or mutate (changes drawn at random; needs nothing).
Each target runs in a child of its own.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import hashlib
import io
import logging
import os
import random
import re
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

TIMEOUT_S, SPARE_S, MOST_MB, LONGEST = 20, 60, 2048, 1 << 16
MARKED = ["deformgan", "nibabel", "yaml", "nitransforms"]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def main() -> None:
    words = _words()
    os.environ |= dict.fromkeys(THREADS, "1")  # a process with running threads must not be forked
    known = _targets(words.engine)
    if unknown := set(words.target) - set(known):
        sys.exit(f"fuzz: no such target: {', '.join(sorted(unknown))}; they are {', '.join(known)}")
    words.keep.mkdir(parents=True, exist_ok=True)
    gc.freeze()  # a child that collected garbage would copy every page of what is imported
    chosen, failed, total = words.target or list(known), 0, 0
    for name in chosen:
        count, wrong = _in_a_child(name, known[name], words, words.seconds / len(chosen))
        print(f"{name:<14} {count:>9} inputs  {'FINDING: ' + wrong if wrong else 'ok'}", flush=True)
        failed, total = failed + bool(wrong), total + count
    print(f"{'all':<14} {total:>9} inputs  {failed} of {len(chosen)} targets with a finding")
    sys.exit(1 if failed else 0)


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/fuzz", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("target", nargs="*", help="readers to be fed; all by default")
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together, beside two to begin each")
    parser.add_argument("--engine", choices=("atheris", "mutate"), default="atheris")
    parser.add_argument("--inputs", type=int, default=0, help="of each target, at most; 0 = as many as fit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_findings"), help="folder of what is found")
    return parser.parse_args()


def _targets(engine: str) -> dict[str, Any]:
    """Imported once, for atheris with its marks in the code; each target then has a child of this process."""
    if engine == "mutate":
        from contract.readers import targets

        return targets()
    import atheris

    with redirect_stderr(io.StringIO()), atheris.instrument_imports(include=MARKED):  # it names every module
        from contract.readers import targets
    return targets()


def _in_a_child(name: str, target: Any, words: argparse.Namespace, seconds: float) -> tuple[int, str]:
    """(inputs tried, what went wrong)."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        said = Path(folder) / "said"
        child = os.fork()
        if child == 0:
            _become_the_fuzzer(name, target, words, seconds, Path(folder))
        ended, _, _ = select.select([handle := os.pidfd_open(child)], [], [], seconds + SPARE_S)
        if not ended:
            os.kill(child, signal.SIGKILL)
        os.close(handle)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        text = said.read_text(errors="replace") if said.exists() else ""
    counts = re.findall(r"stat::number_of_executed_units: (\d+)|^#(\d+)\s", text, re.MULTILINE)
    count = max((int(one or other) for one, other in counts), default=0)
    if code == 0:
        return count, ""
    tail = [line for line in text.splitlines() if re.search(r"Error|ERROR|Exception|Fatal", line)]
    return count, f"exit {code}: {' | '.join(tail[:3])[:300] or text[-200:]}"


def _become_the_fuzzer(name: str, target: Any, words: argparse.Namespace, seconds: float, folder: Path) -> NoReturn:
    """In the child: feed the target, say what came of it in `folder`/said, and end the process."""
    code = 1
    try:
        said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        faulthandler.enable()
        logging.disable(logging.CRITICAL)
        (place := folder / "files").mkdir()
        target.lay(place)
        feed = _mutate if words.engine == "mutate" else _atheris
        feed(name, target, words, seconds, place)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _atheris(name: str, target: Any, words: argparse.Namespace, seconds: float, place: Path) -> None:
    import atheris

    (corpus := place.with_name("corpus")).mkdir()
    for number, seed in enumerate(target.seeds):
        (corpus / f"{number:04d}").write_bytes(seed)
    options = [f"-max_total_time={max(1, round(seconds))}", f"-timeout={TIMEOUT_S}", f"-max_len={LONGEST}"]
    options += [f"-rss_limit_mb={MOST_MB}", f"-seed={words.seed + 1}", "-print_final_stats=1", "-verbosity=1"]
    options += [f"-artifact_prefix={words.keep}/{name}-", f"-runs={words.inputs or -1}"]

    def feed(data: bytes) -> None:
        try:
            target.refused(data, place)
        except BaseException:
            (words.keep / f"{name}-{hashlib.sha1(data).hexdigest()}").write_bytes(data)
            traceback.print_exc()
            raise

    atheris.Setup([sys.argv[0], *options, str(corpus)], feed)
    atheris.Fuzz()


def _mutate(name: str, target: Any, words: argparse.Namespace, seconds: float, place: Path) -> None:
    from contract.memory import held_bytes
    from contract.readers import mutated

    most = held_bytes("VmData") + (MOST_MB << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    rng, count, end = random.Random(words.seed), 0, time.monotonic() + seconds
    kept = words.keep / f"{name}-last"
    while time.monotonic() < end and (not words.inputs or count < words.inputs):
        data = mutated(rng.choice(target.seeds), rng)
        kept.write_bytes(data)  # before it is read: a crash leaves no time for it
        faulthandler.dump_traceback_later(TIMEOUT_S, exit=True)
        target.refused(data, place)
        faulthandler.cancel_dump_traceback_later()
        count += 1
    kept.unlink(missing_ok=True)
    sys.stderr.write(f"#{count} inputs\n")


if __name__ == "__main__":
    main()
