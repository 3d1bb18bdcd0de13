"""Whole volumes: seams, geometry by SimpleITK, a planted map of intensities, the command."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from phantoms import CT, OBLIQUE, T1, image

from deformgan.cli.main import app
from deformgan.errors import InputError, OutputError
from deformgan.io.formats import read_volume, write_volume
from deformgan.io.geometry import Geometry
from deformgan.io.volume import Volume
from deformgan.synthesis.loop import train
from deformgan.synthesis.models import load_model
from deformgan.synthesis.plan import passes_over
from deformgan.synthesis.translate import _starts, blended, translate, unsaid


def smooth(shape, seed, count=1):
    """Random, about as smooth as a patch is wide."""
    coarse = torch.rand(count, 1, *(max(2, n // 12) for n in shape), generator=torch.Generator().manual_seed(seed))
    mode = "bicubic" if len(shape) == 2 else "trilinear"
    return torch.nn.functional.interpolate(coarse, size=shape, mode=mode, align_corners=True)


@pytest.mark.parametrize(("shape", "patch"), [((50, 71), (16, 24)), ((20, 70), (32, 16)), ((20, 21, 26), (8, 12, 32))])
def test_a_network_that_changes_nothing_gives_the_image_back(shape, patch):
    image = smooth(shape, 0)
    seen = []
    torch.testing.assert_close(blended(lambda x: seen.append(x.shape[2:]) or x, image, patch), image)
    assert set(seen) == {torch.Size(patch)} and len(seen) > 2


@pytest.mark.parametrize(("shape", "patch"), [((128, 180), (32, 48)), ((40, 48, 56), (16, 24, 32))])
def test_jumps_across_patch_borders_are_no_larger_than_beside_them(shape, patch):
    """Each patch comes out with an offset and a gain of its own, as instance norms make; plain tiles would show it."""
    image = smooth(shape, 1, 8)

    def network(x):
        return torch.nn.functional.instance_norm(x)

    whole = blended(network, image, patch)
    tiled = image.clone()
    for corner in np.ndindex(*(-(-n // p) for n, p in zip(shape, patch, strict=True))):
        here = (..., *(slice(k * p, (k + 1) * p) for k, p in zip(corner, patch, strict=True)))
        tiled[here] = network(image[here])
    ratios = []
    for result, borders in ((whole, [_starts(n, p) for n, p in zip(shape, patch, strict=True)]),
                            (tiled, [range(0, n, p) for n, p in zip(shape, patch, strict=True)])):  # fmt: skip
        at, beside = [], []
        for axis, starts in enumerate(borders, start=2):
            jumps = result.diff(dim=axis).abs().movedim(axis, 0).flatten(1).mean(1)
            edges = {e for s in starts for e in (s, s + patch[axis - 2]) if 2 < e < shape[axis - 2] - 2}
            at += [float(jumps[e - 1]) for e in edges]
            beside += [float(jumps[e - 1 + d]) for e in edges for d in (-1, 1)]
        ratios.append(np.mean(at) / np.mean(beside))
    assert ratios[0] < 1.1 and ratios[1] > 3


@pytest.fixture(scope="module")
def planted(tmp_path_factory, experiment):
    """A paired model of a CT that is a map of the MR's intensities, with a bend; one person is kept apart."""
    folder = tmp_path_factory.mktemp("planted")
    lines = ["mr,ct,subject,split"]
    for k, grid in enumerate((OBLIQUE, Geometry((60, 50, 48), (3.0, 3.5, 4.0), (-85.0, -88.0, -80.0)))):
        mr = Volume((160 * smooth(grid.shape, k)[0, 0] - 30).clamp(0, 100), grid)
        write_volume(mr, folder / f"{k}_mr.nii.gz")
        write_volume(Volume(hounsfield(mr.tensor), grid), folder / f"{k}_ct.nii.gz")
        lines.append(f"{k}_mr.nii.gz,{k}_ct.nii.gz,{k},{'train' if k == 0 else 'test'}")
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    config = experiment(
        "conditional",
        folder / "run",
        data={"manifest": str(folder / "m.csv"), "shape": [32, 32], "spacing_mm": None, "mr_window": [-5, 105]},
        generator={"channels": 8, "blocks": 1, "norm": False},
        optimiser={"generator": 2e-3, "discriminator": 1e-3},
        training={"steps": 250, "batch": 4, "validate_every": 250, "save_every": 250},
    )
    return folder, train(config)


def hounsfield(mr):
    return torch.where(mr < 50, 320 - 6 * mr, 70 - mr)


def test_the_paired_generator_learns_a_planted_map(planted):
    folder, run = planted
    mr, ct = (read_volume(folder / f"1_{kind}.nii.gz") for kind in ("mr", "ct"))
    made = translate(load_model(str(run.folder)), mr)
    error = float((made.tensor - ct.tensor).abs().mean())
    constant = float((ct.tensor - ct.tensor.median()).abs().mean())
    assert error < 0.3 * constant and constant > 50, (error, constant)


def test_the_command_writes_hu_on_the_mrs_grid(planted):
    folder, run = planted
    app(
        ["synthesize", "--model", str(run.folder), "--image", str(folder / "0_mr.nii.gz"), "--quiet", "--threads", "1",
         "--out", str(folder / "made.nii.gz"), "--mask-out", str(folder / "mask.nii.gz")],
        standalone_mode=False,
    )  # fmt: skip
    mr, ct, mask = (sitk.ReadImage(str(folder / f"{n}.nii.gz")) for n in ("0_mr", "made", "mask"))
    for made in (ct, mask):
        assert made.GetSize() == mr.GetSize()
        np.testing.assert_allclose(made.GetDirection(), mr.GetDirection(), atol=1e-6)
        np.testing.assert_allclose(made.GetOrigin(), mr.GetOrigin(), atol=1e-4)
        np.testing.assert_allclose(made.GetSpacing(), mr.GetSpacing(), atol=1e-5)
    hu = sitk.GetArrayFromImage(ct)
    assert ct.GetPixelID() == sitk.sitkInt16 and hu.min() >= -150 and hu.max() <= 350
    truth = hounsfield(torch.from_numpy(sitk.GetArrayFromImage(mr))).numpy()
    assert np.corrcoef(hu.ravel(), truth.ravel())[0, 1] > 0.8  # neither flipped nor turned
    silent = sitk.GetArrayFromImage(mask)
    assert set(np.unique(silent)) <= {0, 1, 2, 3}
    np.testing.assert_array_equal((silent & 2) > 0, (hu < -145) | (hu > 345))


def test_where_the_training_data_say_nothing(planted):
    _, run = planted
    model = load_model(str(run.folder))
    grid = Geometry((2, 2, 2))
    mr = Volume(torch.tensor([0, 50, 104, 106, -6, 50, 50, 50.0]).view(2, 2, 2), grid)
    made = Volume(torch.tensor([0, -150, 0, 350, 0, 344, 349, 100.0]).view(2, 2, 2), grid)
    assert unsaid(model, mr, made).tensor.flatten().tolist() == [0, 2, 0, 3, 1, 0, 2, 0]


def test_a_folder_is_translated_image_by_image(planted, tmp_path, capsys):
    folder, run = planted
    for k in (0, 1):
        (tmp_path / f"{k}.nii.gz").write_bytes((folder / f"{k}_mr.nii.gz").read_bytes())
    (tmp_path / "broken.nii.gz").write_bytes(b"")
    words = ["synthesize", "--model", str(run.folder), "--image", str(tmp_path), "--out", str(tmp_path / "ct")]
    words += ["--quiet", "--threads", "1"]
    with pytest.raises(InputError, match="1 of 3 images could not be used"):
        app(words, standalone_mode=False)
    assert "broken.nii.gz" in capsys.readouterr().err
    assert {p.name for p in (tmp_path / "ct").iterdir()} == {"0.nii.gz", "1.nii.gz"}
    with pytest.raises(OutputError, match="exists already"):
        app(words, standalone_mode=False)


def test_a_folder_on_workers_gives_the_same_and_goes_on_where_it_stood(planted, tmp_path):
    folder, run = planted
    images = tmp_path / "mr"
    images.mkdir()
    for k in (0, 1):
        (images / f"{k}.nii.gz").write_bytes((folder / f"{k}_mr.nii.gz").read_bytes())
    (images / "broken.nii.gz").write_bytes(b"")
    words = ["synthesize", "--model", str(run.folder), "--image", str(images), "--quiet"]
    with pytest.raises(InputError, match=r"1 of 3 images failed, see .*status.csv"):
        app([*words, "--out", str(tmp_path / "many"), "--workers", "2"], standalone_mode=False)
    done = {p: p.stat().st_mtime_ns for p in (tmp_path / "many").glob("?.nii.gz")}
    app([*words[:4], str(images / "0.nii.gz"), "--quiet", "--out", str(tmp_path / "one.nii.gz")], standalone_mode=False)
    one, many = (read_volume(p).tensor for p in (tmp_path / "one.nii.gz", tmp_path / "many" / "0.nii.gz"))
    assert torch.equal(one, many) and len(done) == 2
    (images / "broken.nii.gz").unlink()
    app([*words, "--out", str(tmp_path / "many"), "--workers", "2"], standalone_mode=False)
    assert {p: p.stat().st_mtime_ns for p in done} == done
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "0.nii.gz").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        app([*words, "--out", str(tmp_path / "other"), "--workers", "2"], standalone_mode=False)


def test_every_plane_and_patches_of_a_volume_keep_the_grid(planted):
    """Untrained networks of other configurations, on a left-handed grid: the grid stays, values are HU."""
    from deformgan.synthesis.models import SynthesisModel, build_networks

    _, run = planted
    config = load_model(str(run.folder)).config
    grid = Geometry((20, 31, 17), (4.0, 3.0, 6.0), (30.0, 2.0, 3.0), (-1, 0, 0, 0, 1, 0, 0, 0, 1))
    mr = image(grid, T1)
    for changes in ({"plane": "coronal"}, {"plane": "sagittal", "spacing_mm": 5.0}, {"shape": (8, 8, 12)}):
        data = config.data.model_copy(update=changes)
        other = config.model_copy(update={"data": data})
        weights = build_networks(other)["generator_ct"].state_dict()
        model = SynthesisModel("x", other, {f"generator_ct.{k}": v for k, v in weights.items()}, {})
        made = translate(model, mr)
        assert made.geometry == grid and bool(torch.isfinite(made.tensor).all())
        assert float(made.tensor.min()) >= -150 and float(made.tensor.max()) <= 350


def test_an_mr_beyond_the_window_is_refused(planted):
    _, run = planted
    with pytest.raises(InputError, match="outside the MR window"):
        translate(load_model(str(run.folder)), image(OBLIQUE, tuple(c + 5000 for c in CT)))


def test_a_dry_run_checks_every_image_and_writes_nothing(planted, tmp_path, capsys):
    folder, run = planted
    (tmp_path / "mr").mkdir()
    (tmp_path / "mr" / "0.nii.gz").write_bytes((folder / "0_mr.nii.gz").read_bytes())
    words = ["synthesize", "--model", str(run.folder), "--image", str(tmp_path / "mr"), "--out", str(tmp_path / "ct")]
    app([*words, "--dry-run"], standalone_mode=False)
    said = capsys.readouterr().out
    assert f"-> {tmp_path / 'ct' / '0.nii.gz'}" in said and "expected: about" in said
    (tmp_path / "mr" / "broken.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match="broken"):
        app([*words, "--dry-run"], standalone_mode=False)
    assert [p.name for p in tmp_path.iterdir()] == ["mr"]


@pytest.mark.parametrize(
    ("seen", "shape"), [((5, 100, 70), (32, 48)), ((3, 20, 30), (32, 48)), ((20, 33, 9), (8, 8, 8))]
)
def test_patches_are_counted_as_they_are_made(seen, shape):
    calls = []
    image = torch.zeros(seen)[None, None] if len(shape) == 3 else torch.zeros(seen)[:, None]
    blended(lambda x: calls.append(len(x)) or x, image, shape)
    assert passes_over(seen, shape) == sum(calls)
