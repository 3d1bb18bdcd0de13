import pytest

import deformgan
from deformgan.errors import InputError
from deformgan.io.pairs import PairFiles
from deformgan.registration.models import load_model
from deformgan.training.history import read_history
from deformgan.training.loop import train
from deformgan.training.single_pair import train_on_pair


@pytest.mark.long
def test_one_pair_trains_all_three_and_registers(phantom_pairs, tmp_path):
    """Training on the pair as it is: the losses of T fall, no truth is used, and register takes the run."""
    files = PairFiles(*(str(phantom_pairs / f"{name}.nii.gz") for name in ("ct", "t1")))
    run = train_on_pair(files, tmp_path, steps=30)
    lines = [x["losses"] for x in read_history(run) if "losses" in x]
    assert len(lines) == 30 and all(set(x) == {"d", "g", "t"} for x in lines)
    assert set(lines[0]["t"]) == {"smooth", "lcc", "lg"}
    l1 = [x["g"]["l1"] for x in lines]
    assert sum(l1[-5:]) < sum(l1[:5])
    options = deformgan.RegisterOptions(model=str(run), preset="fast")
    found = deformgan.register(files.fixed, files.moving, options=options)
    assert {"model", "deformable"} <= set(found.verdict.scores)


def test_it_begins_with_a_model(experiment, phantom_pairs, tmp_path):
    config = experiment(training={"steps": 1, "validate_every": 1, "save_every": 1})
    train(config)
    files = PairFiles(*(str(phantom_pairs / f"{name}.nii.gz") for name in ("ct", "t1")))
    run = train_on_pair(files, tmp_path, start=str(config.folder), steps=1)
    model = load_model(str(run))
    assert model.config.transformation == config.transformation
    assert model.config.data.spacing_mm == config.data.spacing_mm


def test_a_start_of_another_size_is_refused(experiment):
    small = experiment(training={"steps": 1, "validate_every": 1, "save_every": 1})
    train(small)
    other = experiment("other", transformation={"channels": [8, 8, 8]})
    with pytest.raises(InputError, match="transformation network is not of the configured size"):
        train(other.model_copy(update={"start": str(small.folder)}))
