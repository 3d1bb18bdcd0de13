"""run_study(): train every arm, make the CT of every test person with each, measure, and write what it shows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from deformgan.errors import InputError, OutputError
from deformgan.evaluation.synthesis import Row
from deformgan.io.subjects import SubjectFiles
from deformgan.registration.progress import Progress, Show, silent
from deformgan.study.arms import Arm, check, given, planned, trained
from deformgan.study.outcome import Study, write_outcome
from deformgan.study.people import TEST, held_out, images_of, made_by, measure_ct
from deformgan.synthesis.models import Config
from deformgan.training.run import forget


@dataclass(frozen=True)
class StudyOptions:
    """few: people of the small arms.  gc: weights of gradient consistency; (): none and the configuration's.

    given: further arms, NAME=RUN each.  device: where CT are made; auto: a GPU if the configuration allows one and it
    is there; cpu: training stays there too.
    """

    few: int
    gc: tuple[float, ...] = ()
    given: tuple[str, ...] = ()
    device: str = "auto"
    overwrite: bool = False


def run_study(config: Config, folder: Path, options: StudyOptions, show: Show = silent) -> tuple[str, ...]:
    """Do what is not done yet of the study in FOLDER, and write its tables, pictures and page; warnings.

    Everything that may be wrong with configuration, arms and images is looked at before training begins.  Stopped at
    any time, it goes on when called again.  Raises InputError and OutputError.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError("a study is one process; train its arms with accelerate launch and deformgan train instead")
    device, config = _device(config, options.device)
    _check_data(config)
    people = held_out(config)
    design = planned(config, options.few, options.gc or (0.0, config.loss.gc), folder)
    arms = [*design, *given(options.given, [arm.name for arm in design])]
    if not options.overwrite:
        for arm in design:
            check(arm)
    for number, person in enumerate(people, start=1):
        images_of(person, config)
        show(Progress("check", "people", number, len(people), float("nan")))
    if options.overwrite:
        _forget(design, arms, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}") from error
    warnings = [f"{arm.name}: {warning}" for arm in design for warning in trained(arm, show)]
    made = {arm.name: made_by(arm, people, folder, show, device) for arm in arms}
    rows = _measured(config, people, made, show)
    write_outcome(Study(config, folder, options.few, arms, people, made), rows)
    return tuple(warnings)


def _measured(
    config: Config, people: Sequence[SubjectFiles], made: Mapping[str, Mapping[str, Path]], show: Show
) -> list[Row]:
    """A row for every slice of every person and arm, in the order of the arms."""
    found: dict[str, list[Row]] = {arm: [] for arm in made}
    assert config.data.ct_window is not None
    for number, person in enumerate(people, start=1):
        real = images_of(person, config)
        for arm, places in made.items():
            rows = measure_ct(
                places[person.subject],
                real.ct,
                real.mr,
                real.mask,
                plane=config.data.plane,
                window=config.data.ct_window,
            )
            found[arm] += [{"arm": arm, "subject": person.subject, **row} for row in rows]
        show(Progress("measure", "people", number, len(people), float("nan")))
    return [row for rows in found.values() for row in rows]


def _check_data(config: Config) -> None:
    """Raises InputError where there is no test split, or no HU to measure."""
    if config.data.manifest is None:
        raise InputError("a study needs data.manifest, with people of the split test (see deformgan prepare)")
    if config.data.ct_window is None:
        raise InputError("a study measures HU: give data.ct_window, such as [-150, 350]")


def _device(config: Config, device: str) -> tuple[str, Config]:
    """Where CT are made, and the configuration with training on the CPU if that was asked for.  Raises InputError."""
    if device == "auto":
        return ("cuda" if config.training.device == "auto" and torch.cuda.is_available() else "cpu"), config
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {device}: cannot be used here: {str(error).splitlines()[0]}") from error
    if device == "cpu":
        config = config.model_copy(update={"training": config.training.model_copy(update={"device": "cpu"})})
    return device, config


def _forget(design: Sequence[Arm], arms: Sequence[Arm], folder: Path) -> None:
    """Remove what a study in FOLDER wrote of these arms, and nothing else."""
    for arm in design:
        forget(arm.source)
    for arm in arms:
        shutil.rmtree(folder / arm.name / TEST, ignore_errors=True)
