import pytest

from deformgan.config import TrainConfig, dump_config, load_config
from deformgan.errors import InputError

GOOD = "name: a\ngenerated:\n  share: 1\ntraining:\n  steps: 5\n"


def written(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_defaults_fill_what_is_not_said_and_come_back_from_yaml(tmp_path):
    config = load_config(written(tmp_path, GOOD))
    assert (config.training.steps, config.loss.window, config.loss.transformation.lcc) == (5, 7, 1.0)
    assert load_config(written(tmp_path, dump_config(config))) == config
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


def test_data_paths_are_seen_from_the_configuration(tmp_path):
    config = load_config(written(tmp_path, GOOD + "data: {cache: here, manifest: sub/pairs.csv}\n"))
    assert config.data.cache == tmp_path / "here"
    assert config.data.manifest == tmp_path / "sub" / "pairs.csv"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (GOOD + "  stepps: 3\n", 6, ["training.stepps", "unknown key", "did you mean steps?"]),
        (GOOD + "zzz: 3\n", 6, ["zzz", "unknown key", "the keys here are"]),
        (GOOD.replace("5", "many"), 5, ["training.steps", "integer", "'many'"]),
        (GOOD.replace("5", "0"), 5, ["training.steps", "greater than or equal to 1", "0"]),
        ("generated: {share: 1}\n", 1, ["name", "is missing"]),
        (GOOD + "loss: {window: 4}\n", 6, ["loss", "window must be odd"]),
        ("name: a\n", 1, ["data names no pairs"]),
        ("name: a\nx: [1\n", 3, ["not YAML"]),
        ("- a\n", None, ["expected keys and values"]),
        (GOOD + "data:\n  shape: [1, 2]\n", 7, ["data.shape"]),
        (GOOD + "loss:\n  generator: {l1: -1}\n", 7, ["loss.generator.l1", "greater than or equal to 0"]),
    ],
)
def test_a_mistake_is_one_line_with_file_line_and_key(tmp_path, text, line, words):
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_config(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}:{line}:" if line else f"{path}:")
    for word in words:
        assert word in message


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")
