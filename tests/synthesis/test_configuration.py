import pytest

from deformgan.config import ConditionalConfig, CycleganConfig, dump_config, load_config
from deformgan.errors import InputError

GOOD = "name: a\ntask: cyclegan\ndata:\n  manifest: m.csv\n"


def written(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_the_defaults_are_the_papers(tmp_path):
    config = load_config(written(tmp_path, GOOD))
    assert isinstance(config, CycleganConfig)
    assert (config.generator.blocks, config.generator.channels, config.discriminator.layers) == (9, 64, 3)
    assert config.loss.model_dump() == {"form": "least_squares", "adversarial": 1, "cycle": 3, "gc": 0.3, "lg": 0}
    data, rates, steps = config.data, config.optimiser, config.training.steps
    assert (data.ct_window, data.mr_window, data.shape, data.plane) == ((-150, 350), (0, 100), (256, 256), "axial")
    assert (rates.generator, rates.discriminator, rates.betas, rates.clip) == (2e-4, 2e-4, (0.5, 0.999), None)
    assert (steps, rates.decay * steps, config.pool, config.training.batch) == (200_000, 100_000, 50, 1)
    assert data.manifest == tmp_path / "m.csv" and load_config(written(tmp_path, dump_config(config))) == config


def test_the_task_chooses_the_model(tmp_path):
    config = load_config(written(tmp_path, GOOD.replace("cyclegan", "conditional")))
    assert isinstance(config, ConditionalConfig) and "l1" in type(config.loss).model_fields
    assert load_config(written(tmp_path, "name: a\ngenerated: {share: 1}\n")).task == "registration"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (GOOD.replace("cyclegan", "cyclgan"), 2, ["task", "'cyclgan'", "did you mean cyclegan?"]),
        (GOOD + "loss:\n  cycel: 1\n", 6, ["loss.cycel", "unknown key", "did you mean cycle?"]),
        (GOOD + "loss:\n  edges: 1\n", 6, ["loss.edges", "unknown key", "cycle"]),
        (GOOD + "  shape: [3]\n", 5, ["data.shape"]),
        (GOOD + "  mr_window: [5, 1]\n", 3, ["data", "mr_window must be [low, high]"]),
        (GOOD + "  ct_images: [a.nii]\n", 3, ["data", "not both"]),
        ("name: a\ntask: cyclegan\n", 1, ["data", "is missing"]),
        ("name: a\ntask: conditional\ndata: {mr_images: [a], ct_images: [b]}\n", 1, ["needs pairs"]),
    ],
)
def test_a_mistake_is_one_line_with_file_line_and_key(tmp_path, text, line, words):
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_config(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}:") and "\n" not in message
    for word in words:
        assert word in message
