"""What a study leaves: slices.csv, table.csv and .md, tests.csv, box plots, error maps, the page, study.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deformgan import __version__
from deformgan.evaluation.cohort import write_document
from deformgan.io.formats import file_hash, read_volume
from deformgan.io.subjects import SubjectFiles
from deformgan.io.whole_file import whole_file
from deformgan.report.study import Picture, StudyPage, Table, write_study
from deformgan.study import tables
from deformgan.study.arms import Arm, described, factor
from deformgan.study.people import images_of
from deformgan.synthesis.models import Config

if TYPE_CHECKING:
    from deformgan.report.study_maps import Person

SLICES, TABLE, TABLE_MD, TESTS = "slices.csv", "table.csv", "table.md", "tests.csv"
BOXES, PAGE, RECORD = "boxes.png", "study.html", "study.json"
PICTURED = 3  # people whose error maps are drawn
LIBRARIES = ("torch", "numpy", "scipy")


@dataclass(frozen=True)
class Study:
    """What was done.  few: people of the small arms.  made: arm -> subject -> the file of the CT."""

    config: Config
    folder: Path
    few: int
    arms: Sequence[Arm]
    people: Sequence[SubjectFiles]
    made: Mapping[str, Mapping[str, Path]]


def write_outcome(study: Study, rows: Sequence[tables.Row]) -> None:
    """Write everything that follows from the rows of all slices (arm, subject, slice, pixels, measures)."""
    from deformgan.report.study_plots import box_plots

    arms, seed, folder = {arm.name: arm for arm in study.arms}, study.config.seed, study.folder
    table = tables.summarised(rows, seed)
    tests = tables.tested_pairs(rows, lambda one, other: factor(arms[one], arms[other]), seed)
    about = {arm.name: (_people(arm), f"{arm.config.loss.gc:g}") for arm in study.arms}
    cells = tables.table_cells(table, about)
    plots = box_plots(tables.boxes(rows), tables.TITLES)
    record, shown = _record(study), [name for name in tables.measured(rows) if name != tables.SAME_AS_MAE]
    page = StudyPage(
        name=study.config.name,
        facts=_facts(study, rows),
        table=Table(*cells),
        boxes=Picture("Box plots", "A box an arm over slices; a dot is the mean of one person's slices.", plots),
        tests={tables.TITLES[name]: Table(*tables.test_cells(tests, name)) for name in shown},
        maps=_maps(study),
        settings=_settings(record),
    )
    tables.write_csv(rows, folder / SLICES)
    tables.write_csv(table, folder / TABLE)
    tables.write_csv(tests, folder / TESTS)
    _write(folder / TABLE_MD, tables.markdown(*cells).encode())
    _write(folder / BOXES, plots)
    write_document({**record, "table": table, "tests": tests}, folder / RECORD)
    write_study(folder / PAGE, page)


def _maps(study: Study) -> list[Picture]:
    """Of the first test people, those with a real CT before the others; also written beside the page."""
    from deformgan.report.study_maps import encoded, error_bar, error_maps

    data = study.config.data
    assert data.ct_window is not None
    people = [_person(study, files) for files in sorted(study.people, key=lambda p: not p.ct)[:PICTURED]]
    bar = error_bar(people, data.ct_window)
    text = f"{data.plane} slice; CT from {data.ct_window[0]:g} (black) to {data.ct_window[1]:g} HU (white)"
    pictures = []
    for person in people:
        picture = error_maps(person, data.plane, data.ct_window, bar)
        _write(study.folder / f"errors_{person.name}.png", encoded(picture, "png"))
        pictures.append(Picture(person.name, text, encoded(picture, "jpg")))
    return pictures


def _person(study: Study, files: SubjectFiles) -> Person:
    from deformgan.report.study_maps import Person

    real = images_of(files, study.config)
    made = {arm: read_volume(places[files.subject]).numpy() for arm, places in study.made.items()}
    ct, mask = (None if volume is None else volume.numpy() for volume in (real.ct, real.mask))
    return Person(files.subject, real.mr.geometry, real.mr.numpy(), ct, made, None if mask is None else mask > 0)


def _people(arm: Arm) -> str:
    return str(len(arm.people)) if arm.people else tables.NONE


def _facts(study: Study, rows: Sequence[tables.Row]) -> dict[str, str]:
    people, real = len(study.people), sum(bool(person.ct) for person in study.people)
    return {
        "arms": str(len(study.arms)),
        "training people, few and all": ", ".join(
            dict.fromkeys(_people(arm) for arm in study.arms if arm.few is not None)
        ),
        "test people": str(people) if real == people else f"{people}, {real} of them with a real CT",
        "their slices": str(len({(row["subject"], row["slice"]) for row in rows})),
    }


def _record(study: Study) -> dict[str, Any]:
    """Enough to tell whether two studies are the same."""
    return {
        "versions": {"deformgan": __version__, **{name: version(name) for name in LIBRARIES}},
        "seed": study.config.seed,
        "few": study.few,
        "test": [person.subject for person in study.people],
        "config": study.config.model_dump(mode="json"),
        "arms": [{**described(arm), "sha256": file_hash(arm.model)} for arm in study.arms],
    }


def _settings(record: Mapping[str, Any]) -> dict[str, str]:
    """The record in words, for the page."""
    training = record["config"]["training"]
    return {
        "task": record["config"]["task"],
        "training": f"{training['steps']} steps of {training['batch']}",
        "seed": str(record["seed"]),
        "test people": ", ".join(record["test"]),
        **{arm["name"]: f"{arm['model']}, sha256 {arm['sha256'][:16]}" for arm in record["arms"]},
        "versions": ", ".join(f"{name} {number}" for name, number in record["versions"].items()),
    }


def _write(path: Path, data: bytes) -> None:
    with whole_file(path) as scratch:
        scratch.write_bytes(data)
