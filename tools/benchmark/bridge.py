"""Does synthesis serve registration?  bridge.py CASES_DIR MANIFEST --model NAME=RUN [...] [--preset P] [--out LINES]

Cases as in accuracy.py, named as the people of MANIFEST, which `deformgan prepare` wrote: sts-015_s1 is STS_015. Those
of people whose split is test are run, as no model may have seen them: affinely, directly, and by way of each model
(`register --bridge`) with each of BESIDE. `--seeds` names those to run. Resumes; `--table` prints the lines as
Markdown, tested against the direct way over people, each the mean of their cases.
"""

import argparse
import json
from pathlib import Path

import accuracy
import numpy as np

from deformgan.evaluation.statistics import nested_tests
from deformgan.io.subjects import read_subjects

AFFINE, DIRECT = "affine alone", "direct"
BESIDE = {  # what stands beside LCC of the made and the real CT: terms of the real pair
    "alone": "bridge=1",
    "GC": "bridge=1,gc=1",
    "LG": "bridge=1,lg=1",
    "MI": "bridge=0.7,mi=0.3",
    "MI, LCC": "bridge=0.35,mi=0.3,lcc=0.35",
}
HEAD = (
    "way",
    "people, cases",
    "median TRE, mm",
    "p95",
    "most folds, %",
    "deformable kept",
    "less direct, mm",
    "95 %",
    "p",
)


def person(case: str) -> str:
    """sts-015_s1 -> STS_015."""
    return case.rpartition("_s")[0].replace("-", "_").upper()


def ways(models: list[str], preset: str) -> dict[str, list[str]]:
    """Options of `register` by name."""
    common = ["--preset", preset]
    found = {AFFINE: ["--affine-only", *common], DIRECT: common}
    for name, _, run in (m.partition("=") for m in models):
        for beside, similarity in BESIDE.items():
            found[f"{name}: {beside}"] = ["--bridge", run, "--similarity", similarity, *common]
    return found


def table(rows: list[dict]) -> str:
    """Markdown: a line a way; differences to the direct way over the cases that both have done."""
    by_way: dict[str, dict[str, dict]] = {}
    for row in rows:
        if "error" not in row:
            by_way.setdefault(row["way"], {})[row["case"]] = row
    direct = by_way.get(DIRECT, {})
    lines = ["| " + " | ".join(HEAD) + " |", "| --- " * len(HEAD) + "|"]
    for way, cases in by_way.items():
        both = [case for case in cases if case in direct]
        values = [[of[case]["tre_median"] for case in both] for of in (cases, direct)]
        test = nested_tests(*values, [person(case) for case in both])
        kept = sum(row["kept"] == "deformable" for row in cases.values())
        cells = [
            way,
            f"{len({person(case) for case in cases})}, {len(cases)}",
            *(f"{np.median([row[k] for row in cases.values()]):.2f}" for k in ("tre_median", "tre_p95")),
            f"{max(row['folding_percent'] for row in cases.values()):.3g}",
            "" if way == AFFINE else f"{kept} of {len(cases)}",
        ]
        if way == DIRECT:
            cells += ["", "", ""]
        else:
            cells += [f"{test['mean_difference']:+.2f}", f"{test['t95_low']:+.2f} to {test['t95_high']:+.2f}"]
            cells += [f"{test['sign_flip_p']:.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("manifest")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=RUN")
    parser.add_argument("--seeds", nargs="*", default=["1", "2", "3"])
    parser.add_argument("--preset", default="default")
    parser.add_argument("--out", type=Path, default=Path("benchmark-work/bridge.jsonl"))
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    if args.table:
        print(table(rows))
        return
    unseen = {subject.subject.upper() for subject in read_subjects(args.manifest) if subject.split == "test"}
    cases = [
        p for p in sorted(args.root.iterdir()) if person(p.name) in unseen and p.name.rpartition("_s")[2] in args.seeds
    ]
    known = {(row["case"], row["way"]) for row in rows}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for case in cases:
        for way, options in ways(args.model, args.preset).items():
            if (case.name, way) not in known:
                row = accuracy.run(case, way, options)
                with args.out.open("a") as lines:
                    lines.write(json.dumps(row) + "\n")
                shown = ("case", "way", "tre_median", "tre_p95", "kept", "wall_s", "error")
                print(json.dumps({k: row[k] for k in shown if k in row}), flush=True)


if __name__ == "__main__":
    main()
