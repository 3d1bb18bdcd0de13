"""`deformgan segment`: find the structures of an image, of every image in a folder, or of the people of a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deformgan.cli.dice import judge, make_folder, others_in, segment_people
from deformgan.cli.progress import show_progress
from deformgan.cli.register import stem
from deformgan.cli.synthesize import jobs_of
from deformgan.cli.targets import check_free, check_image_name
from deformgan.errors import InputError, OutputError

if TYPE_CHECKING:
    from deformgan.io.subjects import SubjectFiles
    from deformgan.registration.progress import Show
    from deformgan.segmentation.models import SegmentationModel
    from deformgan.segmentation.predict import Found
    from deformgan.synthesis.intensity import Kind

Job = tuple[str, Path, Path | None]


def segment(
    model: Annotated[str, typer.Option(help="A run's folder, or a model file.")],
    out: Annotated[Path, typer.Option(help="Labels to write: .nii.gz, .nii, .mha, .nrrd; for many, a folder.")],
    image: Annotated[str, typer.Option(help="Image, or a folder of them.")] = "",
    people: Annotated[
        Path | None, typer.Option(help="Instead: manifest that `prepare` wrote; Dice if labelled.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of --people: train, validation, test or all.")] = "test",
    compare: Annotated[
        list[Path] | None, typer.Option(help="With --people: dice.csv of another; again for more.")
    ] = None,
    modality: Annotated[str, typer.Option(help="What the images are: mr or ct.")] = "mr",
    probabilities: Annotated[Path | None, typer.Option(help="Folder: also write each structure's, 0 to 1.")] = None,
    label_table: Annotated[Path | None, typer.Option(help="Also write names and colours for ITK-SNAP.")] = None,
    volume: Annotated[int | None, typer.Option(help="Which volume of a 4-D file, from 0.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = all.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Find structures with a model that `train` made (task: segmentation); the second channel is made on the way.

    Example: deformgan segment --model runs/smoke_segmentation --image mr.nii.gz --out labels.nii.gz
    """
    if bool(image) == bool(people):
        raise InputError("give --image or --people")
    kind = kind_of(modality)
    if people is None and compare:
        raise InputError("--compare needs --people: there is nothing to judge one image by")
    if people is not None and (probabilities or volume is not None):
        raise InputError("--probabilities and --volume go with --image")
    if label_table is not None:
        check_free(label_table, overwrite=overwrite)
    jobs = [] if people else _jobs(image, out, probabilities, overwrite=overwrite)
    from deformgan.registration.pipeline import use_threads
    from deformgan.segmentation.label_table import write_label_table
    from deformgan.segmentation.models import load_model

    trained = load_model(model)
    use_threads(threads)
    if label_table is not None:
        write_label_table(label_table, trained.config.structures)
    with show_progress(quiet) as progress:
        if people is not None:
            chosen, others = _chosen(people, split, kind), others_in(compare or [], trained.config.name)
            make_folder(out, overwrite=overwrite)
            cases = segment_people(chosen, trained, kind, out, device=device, show=progress)
            lines = judge(cases, trained.config.structures, out, others) if cases else [str(out)]
        else:
            lines = _images(trained, jobs, kind, volume=volume, device=device, show=progress)
    for line in [] if quiet else lines:
        typer.echo(line)


def kind_of(modality: str) -> Kind:
    """The word as one of those that there are.  Raises InputError."""
    if modality == "mr":
        return "mr"
    if modality == "ct":
        return "ct"
    raise InputError(f"--modality is mr or ct, got {modality!r}")


def _jobs(image: str, out: Path, probabilities: Path | None, *, overwrite: bool) -> list[Job]:
    """(image, labels, folder of probabilities or None), looked at before any work is done."""
    jobs: list[Job] = []
    found = jobs_of(image, out)
    for source, target, _ in found:
        check_free(target, overwrite=overwrite)
        check_image_name(target)
        folder = probabilities if probabilities is None or len(found) == 1 else probabilities / stem(source)
        if folder is not None and folder.exists() and not overwrite:
            raise OutputError(f"{folder} exists already; use --overwrite, or another folder with --probabilities")
        jobs.append((source, target, folder))
    return jobs


def _images(
    trained: SegmentationModel, jobs: Sequence[Job], kind: Kind, *, volume: int | None, device: str, show: Show
) -> list[str]:
    """Every image; one that cannot be used is named, and the others are done.  What was written."""
    from deformgan.io.formats import read_volume, write_volume
    from deformgan.segmentation.predict import segment as find
    from deformgan.synthesis.prepare import label_type

    written: list[str] = []
    for source, target, folder in jobs:
        try:
            found = find(trained, read_volume(source, volume=volume), kind, name=source, device=device, show=show)
        except InputError as error:
            if len(jobs) == 1:
                raise
            typer.echo(f"deformgan: {error}", err=True)
            continue
        write_volume(found.labels, target, dtype=label_type(found.labels))
        if folder is not None:
            _write_probabilities(found, folder)
        written.append(str(target))
    if failed := len(jobs) - len(written):
        raise InputError(f"{failed} of {len(jobs)} images could not be used; the others are done")
    return written


def _chosen(manifest: Path, split: str, kind: Kind) -> list[SubjectFiles]:
    """The people of a split who have such an image.  Raises InputError."""
    from deformgan.io.subjects import SPLITS, read_subjects

    if split not in (*SPLITS, "all"):
        raise InputError(f"--split is {', '.join(SPLITS)} or all, got {split!r}")
    chosen = [p for p in read_subjects(manifest) if split in ("all", p.split) and getattr(p, kind)]
    if not chosen:
        raise InputError(f"{manifest}: nobody of split {split} has a {kind.upper()}; see --split and --modality")
    return chosen


def _write_probabilities(found: Found, folder: Path) -> None:
    from deformgan.io.formats import write_volume

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}") from error
    for name, share in found.probabilities():
        write_volume(share, folder / f"{name}.nii.gz")
