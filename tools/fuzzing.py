"""Fuzzing of every reader: `tools/fuzz --seconds 60 [TARGET ...]`, seeded from the corpus of tests/contract.

A reader returns or raises a DeformganError; anything else, a crash of a library, more than 20 s or more than 2 GB is a
finding, kept under --keep (default fuzz_findings) as a file that tests/contract/found would replay.  Engines: atheris
(coverage guides the changes; `pip install -e .[fuzz]`), or mutate (changes drawn at random; needs nothing).
Each target runs in a process of its own.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

TIMEOUT_S, MOST_MB, LONGEST = 20, 2048, 1 << 16


def main() -> None:
    words = _words()
    if words.alone:
        _alone(words)
        return
    from contract.readers import targets

    known = list(targets())
    if unknown := set(words.target) - set(known):
        sys.exit(f"fuzz: no such target: {', '.join(sorted(unknown))}; they are {', '.join(known)}")
    chosen, failed, total = words.target or known, 0, 0
    for name in chosen:
        count, wrong = _in_a_process(name, words, words.seconds / len(chosen))
        print(f"{name:<14} {count:>9} inputs  {'FINDING: ' + wrong if wrong else 'ok'}", flush=True)
        failed, total = failed + bool(wrong), total + count
    print(f"{'all':<14} {total:>9} inputs  {failed} of {len(chosen)} targets with a finding")
    sys.exit(1 if failed else 0)


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/fuzz", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("target", nargs="*", help="readers to be fed; all by default")
    parser.add_argument("--seconds", type=float, default=60, help="for all targets together")
    parser.add_argument("--engine", choices=("atheris", "mutate"), default="atheris")
    parser.add_argument("--inputs", type=int, default=0, help="of each target, at most (mutate); 0 = as many as fit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_findings"), help="folder of what is found")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_a_process(name: str, words: argparse.Namespace, seconds: float) -> tuple[int, str]:
    """(inputs tried, what went wrong)."""
    command = [sys.executable, __file__, "--alone", name, "--seconds", str(seconds), "--engine", words.engine]
    command += ["--inputs", str(words.inputs), "--seed", str(words.seed), "--keep", str(words.keep)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds + 120)
        said, code = done.stderr, done.returncode
    except subprocess.TimeoutExpired as hung:
        said, code = (hung.stderr or b"").decode(errors="replace"), -1
    counts = re.findall(r"stat::number_of_executed_units: (\d+)|^#(\d+)\s", said, re.MULTILINE)
    count = max((int(one or other) for one, other in counts), default=0)
    if code == 0:
        return count, ""
    tail = [line for line in said.splitlines() if re.search(r"Error|ERROR|Exception|Fatal", line)]
    return count, f"exit {code}: {' | '.join(tail[:3])[:300] or said[-200:]}"


def _alone(words: argparse.Namespace) -> None:
    faulthandler.enable()
    logging.disable(logging.CRITICAL)
    words.keep.mkdir(parents=True, exist_ok=True)
    if words.engine == "atheris":
        _atheris(words.target[0], words)
        return
    most = _held_bytes() + (MOST_MB << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    for name in words.target:
        _mutate(name, words)


def _atheris(name: str, words: argparse.Namespace) -> None:
    import atheris

    with atheris.instrument_imports(include=["deformgan", "nibabel", "yaml", "nitransforms"]):
        from contract.readers import targets
    target = targets()[name]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        place, corpus = Path(folder) / "files", Path(folder) / "corpus"
        place.mkdir()
        corpus.mkdir()
        target.lay(place)
        for number, seed in enumerate(target.seeds):
            (corpus / f"{number:04d}").write_bytes(seed)
        options = [f"-max_total_time={max(1, round(words.seconds))}", f"-timeout={TIMEOUT_S}", f"-max_len={LONGEST}"]
        options += [f"-rss_limit_mb={MOST_MB}", f"-seed={words.seed + 1}", "-print_final_stats=1", "-verbosity=1"]
        options += [f"-artifact_prefix={words.keep}/{name}-"]
        atheris.Setup([sys.argv[0], *options, str(corpus)], lambda data: target.refused(data, place) and None)
        atheris.Fuzz()


def _mutate(name: str, words: argparse.Namespace) -> None:
    from contract.readers import mutated, targets

    target, rng, count = targets()[name], random.Random(words.seed), 0
    end = time.monotonic() + words.seconds
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        target.lay(Path(folder))
        while time.monotonic() < end and (not words.inputs or count < words.inputs):
            data = mutated(rng.choice(target.seeds), rng)
            kept = words.keep / f"{name}-last"
            kept.write_bytes(data)  # before it is read: a crash leaves no time for it
            faulthandler.dump_traceback_later(TIMEOUT_S, exit=True)
            target.refused(data, Path(folder))
            faulthandler.cancel_dump_traceback_later()
            count += 1
        kept.unlink(missing_ok=True)
    sys.stderr.write(f"#{count} inputs of {name}\n")


def _held_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmData:\s+(\d+)", status)
    return 1024 * int(found[1]) if found else 0


if __name__ == "__main__":
    main()
