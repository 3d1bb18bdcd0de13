"""Whole runs: what they leave, resumed after SIGKILL, shared by processes, and without the libraries of preparation."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from deformgan.errors import InputError
from deformgan.io.formats import write_volume
from deformgan.io.geometry import Geometry
from deformgan.io.tensor_files import read_tensors
from deformgan.io.volume import Volume
from deformgan.registration.models import load_model as load_registration_model
from deformgan.synthesis.loop import train
from deformgan.synthesis.models import load_model
from deformgan.training.checkpoint import saved
from deformgan.training.history import read_history

STEPS = 60

# Training as on a machine that has none of what preparation, registration and the command line need.
BARE = """
import sys
for name in ("SimpleITK", "itk", "monai", "scipy", "h5py", "matplotlib", "jinja2", "typer", "rich", "tensorboard",
             "threadpoolctl"):
    sys.modules[name] = None
import torch
from pathlib import Path
from deformgan.config import load_config
from deformgan.kernels.threads import set_threads
from deformgan.synthesis.loop import train
torch.set_num_threads(1)
set_threads(1)
config = load_config(sys.argv[1])
train(config, resume=(config.folder / "config.yaml").exists())
"""


def cyclegan(experiment, folder):
    """Long enough to be killed amid its steps."""
    training = {"steps": STEPS, "validate_every": STEPS // 2, "save_every": STEPS // 4}
    return experiment("cyclegan", folder / "cyclegan", pool=3, training=training)


@pytest.fixture(scope="module")
def runs(experiment, tmp_path_factory):
    """A run of each task."""
    folder = tmp_path_factory.mktemp("runs")
    configs = {
        "cyclegan": cyclegan(experiment, folder),
        "conditional": experiment("conditional", folder / "conditional"),
    }
    return {task: (config, train(config)) for task, config in configs.items()}


def dumped(config, folder):
    path = folder / "absolute.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return path


def compare(one, other):
    assert (one / "history.jsonl").read_bytes() == (other / "history.jsonl").read_bytes()
    a, b = (read_tensors(saved(folder)[0])[0] for folder in (one, other))
    assert a.keys() == b.keys()
    assert [k for k in a if not torch.equal(a[k], b[k])] == []


@pytest.mark.parametrize("task", ["cyclegan", "conditional"])
def test_a_run_leaves_what_it_should(runs, task):
    config, run = runs[task]
    lines = read_history(config.folder)
    assert [x["step"] for x in lines if "losses" in x] == list(range(1, config.training.steps + 1))
    figures = [x["validation"]["held_out"] for x in lines if "validation" in x]
    assert len(figures) == 2 and figures[1] == pytest.approx(run.figures)
    assert set(run.figures) == {"mae_hu", "psnr_db", "mr_gc"} and 5 < run.figures["mae_hu"] < 400
    model = load_model(str(config.folder))
    assert model.figures == pytest.approx(run.figures) and model.config == config
    made = {name.split(".")[0] for name in model.tensors}
    assert made == ({"generator_ct", "generator_mr"} if task == "cyclegan" else {"generator_ct"})
    newest = read_tensors(saved(config.folder)[0])[0]
    assert all(torch.equal(newest[name], t) for name, t in model.tensors.items())
    assert ("memory.pool_ct" in newest) is (task == "cyclegan")
    page = (config.folder / "report.html").read_text()
    assert page.count("data:image/jpeg") == 2 and "mr, ct, synthesised" in page
    assert f"All {config.training.steps} steps are done" in page and f"{run.figures['mae_hu']:.4g}" in page


@pytest.mark.long
def test_killed_in_the_middle_it_ends_bit_for_bit_as_a_whole_one(experiment, tmp_path):
    """Both in processes of their own: libraries that other tests load change how this one rounds."""
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    config, other = (cyclegan(experiment, folder) for folder in folders)
    whole, command = (
        [sys.executable, "-c", BARE, str(dumped(one, folder))]
        for one, folder in zip((config, other), folders, strict=True)
    )
    assert subprocess.run(whole, capture_output=True).returncode == 0
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    limit = time.monotonic() + 100
    while process.poll() is None and time.monotonic() < limit and len(read_history(other.folder)) < STEPS // 4 + 2:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.stderr.read().decode()[-2000:]
    assert saved(other.folder) and len(read_history(other.folder)) < STEPS  # amid its steps, past a checkpoint
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    compare(config.folder, other.folder)


def test_two_processes_do_what_one_does(experiment, tmp_path):
    """The same batch and pool on one and two gloo processes: the same losses.

    The rates are tiny, for Adam makes whole steps of rounding errors, and no slice is all air, of which instance norms
    make rounding errors alone; what is drawn and exchanged stays as it is.
    """
    for name in ("mr", "ct"):
        write_volume(Volume(100 * torch.rand(9, 24, 20), Geometry((20, 24, 9))), tmp_path / f"{name}.nii.gz")
    (tmp_path / "m.csv").write_text("mr,ct,split\nmr.nii.gz,ct.nii.gz,train\n")
    changes = {
        "data": {"manifest": str(tmp_path / "m.csv"), "spacing_mm": None, "cache": str(tmp_path / "cache")},
        "optimiser": {"generator": 1e-7, "discriminator": 1e-7},
    }
    config, other = (experiment("cyclegan", tmp_path / name, pool=3, **changes) for name in ("one", "two"))
    train(config)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "deformgan", "train"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, *launch, str(dumped(other, tmp_path)), "--threads", "1", "--quiet"],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[:4000]
    pairs = [[x["losses"] for x in read_history(c.folder) if "losses" in x] for c in (config, other)]
    assert len(pairs[0]) == len(pairs[1]) == 6
    for one, two in zip(*pairs, strict=True):
        for group, terms in one.items():
            assert terms == pytest.approx(two[group], rel=1e-4, abs=1e-6)


def test_patches_of_a_volume_train_too(experiment, tmp_path):
    data = {"shape": [8, 12, 12], "mr_window": [0, 100]}
    config = experiment("cyclegan", tmp_path / "patches", data=data, training={"steps": 2, "validation_slices": 1})
    run = train(config)
    assert run.figures["mae_hu"] < 500
    assert load_model(str(run.folder)).network().first.weight.ndim == 5


def test_resume_refuses_another_task(runs, experiment):
    config, _ = runs["cyclegan"]
    other = experiment("conditional", config.folder).model_copy(update={"out": config.folder})
    with pytest.raises(InputError, match=r"the run began with another task; resume"):
        train(other, resume=True)


def test_models_of_two_kinds_are_not_taken_for_each_other(runs, tmp_path):
    config, _ = runs["cyclegan"]
    with pytest.raises(InputError, match=r"not a deformgan model \(deformgan-synthesis-1\)"):
        load_registration_model(str(config.folder))
    with pytest.raises(InputError, match="not a model of MR -> CT synthesis"):
        load_model(str(saved(config.folder)[0]))
    with pytest.raises(InputError, match="no such model"):
        load_model(str(tmp_path))


def test_nothing_to_train_on_is_said(experiment, people, tmp_path):
    (tmp_path / "m.csv").write_text(f"mr,split\n{people}/a_mr.nii.gz,train\n")
    config = experiment("cyclegan", tmp_path / "run")
    config = config.model_copy(update={"data": config.data.model_copy(update={"manifest": tmp_path / "m.csv"})})
    with pytest.raises(InputError, match="no MR or no CT is left to train on"):
        train(config)


def test_the_check_tells_sizes(experiment, people, capsys):
    from deformgan.cli.main import app

    path = people / "conditional-check.yaml"
    experiment("conditional", people / "check")
    app(["train", str(path), "--check"], standalone_mode=False)
    text = capsys.readouterr().out
    for word in ("4 MR, 4 CT, 4 of them pairs (1 test, 2 train, 1 validation)", "generator_ct", "million weights"):
        assert word in text
    assert json.dumps(text)
