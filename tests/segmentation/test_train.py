"""Whole runs: what they leave, what they learn, resumed after SIGKILL, and what is wrong with the input."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml

from deformgan.config import load_config
from deformgan.errors import InputError
from deformgan.io.formats import read_volume
from deformgan.io.tensor_files import read_tensors
from deformgan.segmentation.loop import train
from deformgan.segmentation.models import load_model
from deformgan.training.checkpoint import saved
from deformgan.training.history import read_history

STEPS = 60


def majority(folder, subject):
    """Dice of calling every voxel by the commonest structure, the mean over both."""
    labels = read_volume(folder / "prepared" / subject / "labels.nii.gz", kind="labels").numpy()
    return 2 * (labels > 2).sum() / ((labels > 2).sum() + labels.size) / 2


def test_on_one_modality_it_finds_the_structures_of_someone_held_out(of_mr, folder):
    _, run = of_mr
    assert set(run.figures) == {"mr_dice", "mr_dice_shell", "mr_dice_inside"}
    model = load_model(str(run.folder))
    assert model.figures["mr_dice"] > max(0.6, 2 * majority(folder, "c")) and model.synthesis is None
    lines = read_history(run.folder)
    assert [x["step"] for x in lines if "losses" in x] == list(range(1, STEPS + 1))
    best = max(x["validation"]["held_out"]["mr_dice"] for x in lines if "validation" in x)
    assert model.figures["mr_dice"] == pytest.approx(best)  # the best is kept, not the last
    page = (run.folder / "report.html").read_text()
    assert f"All {STEPS} steps are done" in page and "mr_dice_shell" in page and "channels, labels, found" in page


def test_on_ct_and_the_mr_made_of_it_both_kinds_are_judged(of_both, cyclegan, folder):
    _, run = of_both
    assert {"ct_dice", "mr_dice", "ct_dice_shell", "mr_dice_inside"} <= set(run.figures)
    model = load_model(str(run.folder))
    assert model.figures["ct_dice"] > 0.6 and model.figures["mr_dice"] > majority(folder, "c")
    theirs = read_tensors(cyclegan / "model.safetensors")[0]
    assert theirs.keys() == model.synthesis.tensors.keys()
    assert all(torch.equal(model.synthesis.tensors[name], t) for name, t in theirs.items())


@pytest.mark.long
def test_killed_in_the_middle_it_ends_bit_for_bit_as_a_whole_one(experiment, tmp_path):
    code = """if True:
    import sys, torch
    from deformgan.config import load_config
    from deformgan.kernels.threads import set_threads
    from deformgan.segmentation.loop import train
    torch.set_num_threads(1); set_threads(1)
    config = load_config(sys.argv[1])
    train(config, resume=(config.folder / "config.yaml").exists())
    """
    commands, configs = [], []
    for name in ("whole", "killed"):
        config = experiment(tmp_path / name, data={"channels": ["mr"], "spacing_mm": 7, "mr_window": None})
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
        commands.append([sys.executable, "-c", code, str(path)])
        configs.append(config)
    assert subprocess.run(commands[0], capture_output=True).returncode == 0
    other = configs[1].folder
    process = subprocess.Popen(commands[1], stderr=subprocess.PIPE)
    limit = time.monotonic() + 100
    while process.poll() is None and time.monotonic() < limit and len(read_history(other)) < STEPS // 4 + 2:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.stderr.read().decode()[-2000:]
    assert saved(other) and len(read_history(other)) < STEPS
    done = subprocess.run(commands[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (read_tensors(saved(c.folder)[0])[0] for c in configs)
    assert one.keys() == two.keys() and [k for k in one if not torch.equal(one[k], two[k])] == []
    assert (configs[0].folder / "history.jsonl").read_bytes() == (other / "history.jsonl").read_bytes()


def test_a_synthesised_channel_is_made_once(of_both, monkeypatch):
    """Both channels come from the cache the second time, without the generators."""
    from deformgan.segmentation import channels, people
    from deformgan.synthesis.models import load_model as load_synthesis

    config, _ = of_both
    monkeypatch.setattr(channels, "seen_translated", lambda *args, **words: pytest.fail("made again"))
    stored = people.store_people(config, load_synthesis(str(config.data.synthesis)))
    assert [(p.subject, p.kind) for p in stored] == [("a", "ct"), ("b", "ct"), ("c", "ct"), ("c", "mr")]
    assert np.load(stored[0].image).shape[0] == 2


def test_the_check_tells_what_would_be_trained(of_both, folder, capsys):
    from deformgan.cli.main import app

    app(["train", str(folder / "of_both.yaml"), "--check", "--out", str(folder / "another")], standalone_mode=False)
    text = capsys.readouterr().out
    for word in ("4 people with CT and labels (1 test, 2 train, 1 validation)", "pixels 7 mm", "shell, inside"):
        assert word in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"structures": {"tail": [77, 78]}}, ["structures: tail", "77, 78", "nobody's image who trains"]),
        ({"data": {"manifest": "nowhere.csv"}}, ["no such manifest"]),
        ({"data": {"manifest": "unlabelled.csv"}}, ["nobody is left to train on", "mr and labels"]),
        ({"data": {"manifest": "raw/people.csv"}}, ["a_labels.nii.gz: not on the grid of", "deformgan prepare"]),
        ({"training": {"batch": 3, "accumulate": 2}}, ["training.batch is 3"]),
    ],
)
def test_data_of_no_use_are_named(experiment, folder, tmp_path, changes, words):
    (folder / "unlabelled.csv").write_text("mr,split\nraw/a_mr.nii.gz,train\n")
    config = experiment(tmp_path / "run", **{**changes, "data": {"channels": ["mr"], **changes.get("data", {})}})
    with pytest.raises(InputError) as caught:
        train(config)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("structures: {a: [1], b: [2, 1]}", ["label 1 of b is that of a"]),
        ("structures: {a: [0]}", ["label 0 of a is that of the background"]),
        ("structures: {}", ["structures"]),
        ("structures: {a/b: [1]}", ["structures"]),
        ("", ["structures", "is missing"]),
        ("structures: {a: [1]}\ndata: {manifest: m.csv}", ["data.synthesis", "makes one of the other"]),
        ("structures: {a: [1]}\ndata: {manifest: m.csv, channels: [mr], synthesis: x}", ["leave it out"]),
        ("structures: {a: [1]}\ndata: {manifest: m.csv, synthesis: x, spacing_mm: 2}", ["spacing_mm is that of the"]),
        ("structures: {a: [1]}\ndata: {manifest: m.csv, channels: [mr], folds: 3, fold: 3}", ["fold be less"]),
        ("structures: {a: [1]}\nnetwork: {chanels: [8, 8]}", ["unknown key", "did you mean channels?"]),
    ],
)
def test_a_mistake_in_the_configuration_is_one_line(tmp_path, text, words):
    data = "" if "data:" in text else "data: {manifest: m.csv, channels: [mr]}\n"
    (tmp_path / "c.yaml").write_text(f"name: a\ntask: segmentation\n{data}{text}\n")
    with pytest.raises(InputError) as caught:
        load_config(tmp_path / "c.yaml")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'c.yaml'}:") and "\n" not in message
    for word in words:
        assert word in message


def test_models_of_other_tasks_are_not_taken_for_one(cyclegan, of_mr, tmp_path):
    from deformgan.synthesis.models import load_model as load_synthesis

    with pytest.raises(InputError, match=r"not a model of segmentation \(deformgan-synthesis-1\)"):
        load_model(str(cyclegan))
    with pytest.raises(InputError, match="not a model of MR -> CT synthesis"):
        load_synthesis(str(of_mr[1].folder))
    with pytest.raises(InputError, match="no such model"):
        load_model(str(tmp_path))
