"""What each part of Deform-GAN is for: ablation.py CONFIG [--variant NAME ...] [--out FOLDER] [--table]

Trains CONFIG (see docs/deform_gan.md) once for each variant, in a folder of its own; a run that was interrupted goes
on, one that is whole is not repeated. `--table` prints the figures on the held-out pairs.

Two figures ask whether G absorbs displacement: on the held-out pairs, after T, G's image F' is registered to the warped
image F(phi) that it was made of (local gradients, n = 7). "G moves" is the mean length of that displacement over the
tissue, in mm; "towards R" is the factor by which it holds the displacement that T has left undone, by least squares:
0 = the edges stay, 1 = G has done T's work.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import yaml

from deformgan.config import TrainConfig, load_config
from deformgan.io.geometry import Geometry
from deformgan.registration.appearance import Appearance
from deformgan.registration.deformable import Settings, carry, deform
from deformgan.training.batches import Batch, Source
from deformgan.training.history import read_history
from deformgan.training.known_warps import remaining
from deformgan.training.loop import CONFIG, train
from deformgan.training.pictures import prepare_pairs
from deformgan.training.players import ROLES, build_networks, start_with
from deformgan.training.steps import asks_for_generator, warped_by

VARIANTS: dict[str, dict] = {
    "all": {},
    "mu 0": {"loss": {"generator": {"lg": 0}}},
    **{f"n {n}": {"loss": {"window": n}} for n in (3, 5, 9, 11)},
    "LG alone": {"loss": {"transformation": {"lcc": 0}}},
    "LCC(G) alone": {"loss": {"transformation": {"lg": 0}}},
    "GC for LG": {"loss": {"transformation": {"lg": 0, "gc": 1}}},
}
STEPS = 60  # of the registration of F' to F(phi)


def varied(config: TrainConfig, change: dict, folder: Path) -> TrainConfig:
    """The configuration with nested changes, its run in `folder`."""

    def merged(base: dict, over: dict) -> dict:
        return {**base, **{k: merged(base[k], v) if isinstance(v, dict) else v for k, v in over.items()}}

    return TrainConfig.model_validate(merged(config.model_dump(), change)).model_copy(update={"out": folder})


def whole(config: TrainConfig) -> bool:
    history = read_history(config.folder)
    return bool(history) and history[-1]["step"] == config.training.steps and "validation" in history[-1]


@torch.no_grad()
def moved_by_g(networks: dict, batch: Batch, spacing_mm: float) -> tuple[float, float]:
    """(mm, share): see the head of this file."""
    u = networks["transformation"](batch.fixed, batch.moving)
    warped, seen = warped_by(batch, u)
    seen = seen * batch.tissue
    made = networks["generator"](warped).clamp(0, 1)
    geometry = Geometry.from_matrix(np.diag([spacing_mm] * 3 + [1.0]), made.shape[:1:-1])
    pair = [Appearance(image, geometry, batch.tissue, None, False) for image in (made, warped)]
    with torch.enable_grad():
        found = deform(*pair, np.eye(4), {"lg": 1.0}, Settings(window=7), [(spacing_mm, STEPS)])
    w = carry(found, geometry)
    assert batch.known is not None
    undone = -remaining(u, batch.known)
    length = float((w.norm(dim=1, keepdim=True) * seen).sum() / seen.sum()) * spacing_mm
    return length, float((w * undone * seen).sum() / (undone.square() * seen).sum())


def figures(config: TrainConfig) -> dict[str, float]:
    """Of a whole run: the last validation, and how G moves."""
    place = config.folder / "ablation.json"
    if not place.exists():
        found = dict(read_history(config.folder)[-1]["validation"]["held_out"])
        networks = build_networks(config)
        start_with(networks, str(config.folder))
        for role in ROLES:
            networks[role].eval()
        batches = Source(config, prepare_pairs(config.data, config.seed)).validation()
        rows = np.array([moved_by_g(networks, batch, config.data.spacing_mm) for batch in batches])
        found |= {"moved_mm": rows[:, 0].mean(), "towards": rows[:, 1].mean()}
        place.write_text(json.dumps(found))
    return json.loads(place.read_text())


def table(runs: dict[str, TrainConfig]) -> str:
    lines = [
        "| variant | TRE before, mm | after T | folds % | SD log J | G moves, mm | towards R |",
        "| --- " * 7 + "|",
    ]
    for name, config in runs.items():
        if whole(config):
            f = figures(config)
            trained = asks_for_generator(config.loss)
            moves = f"{f['moved_mm']:.2f} | {f['towards']:.2f}" if trained else " | "
            lines.append(
                f"| {name} | {f['tre_mm_before']:.2f} | {f['tre_mm']:.2f} | {f['folding_percent']:.3f} | "
                f"{f['sd_log_jacobian']:.3f} | {moves} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--variant", action="append", choices=VARIANTS)
    parser.add_argument("--out", type=Path, default=Path("benchmark-work/ablation"))
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    config = load_config(args.config)
    runs = {
        name: varied(config, VARIANTS[name], args.out / name.replace(" ", "_")) for name in args.variant or VARIANTS
    }
    if not args.table:
        for name, run in runs.items():
            if not whole(run):
                done = train(run, resume=(run.folder / CONFIG).exists())
                print(name, yaml.safe_dump(done.figures, default_flow_style=True).strip(), flush=True)
    print(table(runs))


if __name__ == "__main__":
    main()
