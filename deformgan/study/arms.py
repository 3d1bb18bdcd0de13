"""The arms of a study: which models there are to be, and training of those that are not there yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deformgan.config import read_dumped
from deformgan.errors import InputError, OutputError
from deformgan.io.tensor_files import ENDING
from deformgan.registration.models import FILE as MODEL
from deformgan.registration.progress import Progress, Show
from deformgan.synthesis.loop import train
from deformgan.synthesis.models import Config, load_model
from deformgan.synthesis.volumes import listed
from deformgan.training.checkpoint import saved
from deformgan.training.run import CONFIG

# What may differ between a run that is there and the one asked for: nothing of it changes the model.
_FREE = {"name", "out", "data.cache"} | {
    f"training.{key}" for key in ("device", "validate_every", "save_every", "keep", "pictures", "validation_slices")
}


@dataclass(frozen=True)
class Arm:
    """A column of the study.  source: a run's folder, or a model file.

    few: trained on few people or on all; None: a model made elsewhere, which is taken as it is.  people: whose images
    it was trained on, as far as that is known.
    """

    name: str
    source: Path
    config: Config
    few: bool | None = None
    people: tuple[str, ...] = ()

    @property
    def model(self) -> Path:
        """The file."""
        return self.source / MODEL if self.few is not None or self.source.is_dir() else self.source


def planned(base: Config, few: int, weights: Sequence[float], folder: Path) -> list[Arm]:
    """{few, all} x weights of GC, each a run in FOLDER/NAME, all else as in `base`.

    Raises InputError for a design without a comparison.
    """
    if len(set(weights)) < 2:
        raise InputError(
            f"the arms need two weights of GC, got {', '.join(f'{w:g}' for w in weights)}; the configuration has "
            f"loss.gc {base.loss.gc:g}: set it, or give both with --gc, such as --gc 0,0.3"
        )
    everyone = trained_on(base)
    if few >= len(everyone):
        raise InputError(f"--few {few}: that is no fewer than the {len(everyone)} people that there are to train on")
    several = sum(w > 0 for w in set(weights)) > 1
    arms = []
    for people, is_few in ((few, True), (base.data.people, False)):
        data = base.data.model_copy(update={"people": people})
        names = trained_on(base.model_copy(update={"data": data}))
        for weight in sorted(set(weights)):
            name = f"{'few' if is_few else 'all'}_{_called(weight, several)}"
            changes = {"name": name, "out": folder / name, "data": data, "loss": _with_gc(base, weight)}
            arms.append(Arm(name, folder / name, base.model_copy(update=changes), is_few, names))
    return arms


def given(words: Sequence[str], taken: Sequence[str]) -> list[Arm]:
    """Arms from NAME=RUN; their models are read, so that a wrong one is told at once.  Raises InputError."""
    arms: list[Arm] = []
    for word in words:
        name, _, source = word.partition("=")
        if not name or not source or not name.replace("_", "").replace("-", "").isalnum():
            raise InputError(f"--arm takes NAME=RUN, letters, digits, _ and - in the name; got {word!r}")
        if name in taken or name in [arm.name for arm in arms]:
            raise InputError(f"--arm {word}: there is an arm {name} already; choose another name")
        arms.append(Arm(name, Path(source), load_model(source).config))
    return arms


def trained_on(config: Config) -> tuple[str, ...]:
    """The people of the training split.  Raises InputError."""
    return tuple(dict.fromkeys(s.subject for s in listed(config.data, config.seed) if s.split == "train"))


def factor(first: Arm, second: Arm) -> str:
    """What two arms of the design differ in: gc, people, or both; "" where one was made elsewhere."""
    if first.few is None or second.few is None:
        return ""
    if first.few == second.few:
        return "gc"
    return "people" if first.config.loss.gc == second.config.loss.gc else "both"


def check(arm: Arm) -> None:
    """Raises InputError where the arm's folder holds a run of another configuration, OutputError where it cannot be."""
    there = arm.source / CONFIG
    if there.exists():
        before, asked = _flat(read_dumped(there).model_dump()), _flat(arm.config.model_dump())
        wrong = [k for k in {**asked, **before} if k not in _FREE and before.get(k) != asked.get(k)]
        if wrong:
            raise InputError(
                f"{there}: this arm began with another {', '.join(wrong)}; use --overwrite, or another --out"
            )
    elif arm.source.exists() and not arm.source.is_dir():
        raise OutputError(f"{arm.source} is a file; an arm needs a folder of that name")


def is_whole(arm: Arm) -> bool:
    """Whether its last step has been saved, and its model."""
    newest = saved(arm.source)[:1]
    return bool(newest) and newest[0].name == f"step-{arm.config.training.steps:08d}{ENDING}" and arm.model.exists()


def trained(arm: Arm, show: Show) -> tuple[str, ...]:
    """Train from where its run stands; warnings.  A whole run is left as it is."""
    steps = arm.config.training.steps
    if is_whole(arm):
        show(Progress(arm.name, "is there", steps, steps, float("nan")))
        return ()
    there = arm.source / CONFIG
    config: Any = arm.config
    if there.exists():
        before = read_dumped(there)
        config = before if before.folder.resolve() == arm.source.resolve() else config
    run = train(config, resume=there.exists(), show=lambda step: show(_named(step, arm.name)))
    return run.warnings


def described(arm: Arm) -> dict[str, Any]:
    """What study.json says of it."""
    return {
        "name": arm.name,
        "model": str(arm.model),
        "gc": arm.config.loss.gc,
        "steps": arm.config.training.steps,
        "people": list(arm.people),
    }


def _named(step: Progress, arm: str) -> Progress:
    return Progress(f"{arm} {step.stage}", step.level, step.done, step.total, step.loss)


def _called(weight: float, several: bool) -> str:
    if weight == 0:
        return "without_gc"
    return f"with_gc_{weight:g}" if several else "with_gc"


def _with_gc(base: Config, weight: float) -> Any:
    return base.loss.model_copy(update={"gc": weight})


def _flat(values: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Keys with dots between; a path as it is found."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{within}{name}.")
        else:
            out[within + name] = value.resolve() if isinstance(value, Path) else value
    return out
