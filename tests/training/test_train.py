import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

import deformgan
from deformgan.errors import InputError, OutputError
from deformgan.io.tensor_files import read_tensors
from deformgan.registration.models import FILE, load_model
from deformgan.training.checkpoint import saved
from deformgan.training.history import read_history
from deformgan.training.loop import train


def dumped(config, folder):
    """The configuration as a file with absolute paths."""
    path = folder / "absolute.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return path


@pytest.fixture
def whole(experiment):
    config = experiment()
    return config, train(config)


def test_a_run_leaves_what_it_should(whole):
    config, run = whole
    lines = read_history(config.folder)
    assert [x["step"] for x in lines if "losses" in x] == list(range(1, 7))
    figures = [x["validation"]["held_out"] for x in lines if "validation" in x]
    assert len(figures) == 2
    assert {"tre_mm_before", "tre_mm", "dice", "folding_percent"} <= set(figures[0])
    assert figures[0]["tre_mm_before"] > 4
    assert [p.name for p in saved(config.folder)] == [f"step-0000000{k}.safetensors" for k in (6, 4, 2)]
    model = load_model(str(config.folder))
    best = min(figures, key=lambda f: f["tre_mm"])
    assert model.figures == pytest.approx(best)
    assert any((config.folder / "tensorboard").iterdir())
    page = (config.folder / "report.html").read_text()
    assert "All 6 steps are done" in page and page.count("data:image/jpeg") == 2  # validated twice
    for words in ("d adversarial", "t truth", f"{figures[-1]['tre_mm']:.4g}", "validate_every: 3"):
        assert words in page
    assert run.figures == pytest.approx(figures[-1])


def test_an_interrupted_run_ends_bit_for_bit_as_a_whole_one(experiment, whole):
    config, _ = whole
    again = experiment("again")

    def stop(progress):
        if progress.stage == "train" and progress.done == 5:  # past a checkpoint, with a line of history too many
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(again, show=stop)
    assert len(saved(again.folder)) == 2
    half = again.folder / "checkpoints" / ".step-00000006.safetensors.12ab.half"  # of a process killed while writing
    half.mkdir()
    (half / "step-00000006.safetensors").write_bytes(b"half")
    train(again, resume=True)
    assert not half.exists()
    compare(config.folder, again.folder)


def compare(one, other):
    assert (one / "history.jsonl").read_bytes() == (other / "history.jsonl").read_bytes()
    a, b = (read_tensors(saved(folder)[0])[0] for folder in (one, other))
    assert a.keys() == b.keys()
    assert [k for k in a if not torch.equal(a[k], b[k])] == []


@pytest.mark.long
def test_killed_again_and_again_it_ends_bit_for_bit(experiment, tmp_path):
    """Beside a run of another process: libraries that other tests load change how this one rounds."""
    config, other = experiment("undisturbed"), experiment("killed")
    (tmp_path / "whole").mkdir()
    path = dumped(config, tmp_path / "whole")
    subprocess.run([sys.executable, "-m", "deformgan", "train", str(path), "--quiet"], check=True)
    path = dumped(other, tmp_path)
    command = [sys.executable, "-m", "deformgan", "train", str(path), "--quiet"]
    kills = 0
    for attempt in range(40):
        resume = ["--resume"] if (other.folder / "config.yaml").exists() else []
        process = subprocess.Popen([*command, *resume], stderr=subprocess.PIPE)
        if kills < 3:
            lines = len(read_history(other.folder)) if resume else 0
            limit = time.monotonic() + 100
            while process.poll() is None and time.monotonic() < limit:
                time.sleep(0.02)
                if (other.folder / "history.jsonl").exists() and len(read_history(other.folder)) > lines:
                    break
            time.sleep(0.05 * attempt)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
        if process.wait(timeout=200) == 0:
            break
    assert kills >= 1
    compare(config.folder, other.folder)


def test_a_damaged_checkpoint_is_passed_over(whole):
    config, _ = whole
    newest = saved(config.folder)[0]
    expected, content = read_tensors(newest)[0], newest.read_bytes()
    newest.write_bytes(content[: len(content) // 2])
    run = train(config, resume=True)
    assert len(run.warnings) == 1 and newest.name in run.warnings[0]
    again = read_tensors(newest)[0]
    assert [k for k in expected if not torch.equal(again[k], expected[k])] == []


def test_a_flipped_bit_is_noticed(whole):
    newest = saved(whole[0].folder)[0]
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1
    newest.write_bytes(bytes(content))
    with pytest.raises(InputError, match="damaged"):
        read_tensors(newest)


def test_a_second_run_does_not_overwrite_the_first(whole):
    with pytest.raises(OutputError, match="--resume, --overwrite"):
        train(whole[0])


def test_resume_refuses_another_configuration(whole, experiment):
    rates = whole[0].optimiser.model_copy(update={"clip": 2.0})
    other = whole[0].model_copy(update={"seed": 7, "optimiser": rates})
    with pytest.raises(InputError, match=r"config.yaml: the run began with another seed, optimiser.clip; resume"):
        train(other, resume=True)
    with pytest.raises(InputError, match="no run to resume"):
        train(experiment("none"), resume=True)


def test_two_processes_do_what_one_does(experiment, tmp_path):
    """The same global batch on one and on two gloo processes: the same losses to 1e-5."""
    training = {"steps": 3, "validate_every": 3}
    losses = []
    for name, processes in (("one", 1), ("two", 2)):
        config = experiment(name, training=training, generated={"share": 0})
        path = dumped(config, tmp_path)
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m", "deformgan"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
        done = subprocess.run(
            [sys.executable, *launch, "train", str(path), "--threads", "1", "--quiet"],
            env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        losses.append([x["losses"] for x in read_history(config.folder) if "losses" in x])
    assert len(losses[0]) == len(losses[1]) == 3
    for one, two in zip(*losses, strict=True):
        for group, terms in one.items():
            assert terms == pytest.approx(two[group], rel=1e-5, abs=1e-7)


def test_register_uses_the_run(whole, phantom_pairs, tmp_path):
    config, _ = whole
    files = [str(phantom_pairs / f"{name}.nii.gz") for name in ("ct", "t1")]
    for refine in (True, False):
        options = deformgan.RegisterOptions(model=str(config.folder), refine=refine, preset="fast")
        found = deformgan.register(*files, options=options)
        assert ("deformable" in found.verdict.scores) is refine
        assert "model" in found.verdict.scores
        found.save(tmp_path / str(refine))
        result = json.loads((tmp_path / str(refine) / "result.json").read_text())
        assert result["options"]["model"] == str(config.folder)
        assert result["regularity"]["folding_percent"] == 0


def test_a_file_that_is_no_model_is_refused(whole, tmp_path):
    with pytest.raises(InputError, match="not a deformgan model"):
        load_model(str(saved(whole[0].folder)[0]))
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_model(str(tmp_path / "x.safetensors"))
    with pytest.raises(InputError, match="no such model, file or run"):
        load_model("nowhere")
    (tmp_path / FILE).unlink(missing_ok=True)
    with pytest.raises(InputError, match="in this folder"):
        load_model(str(tmp_path))
