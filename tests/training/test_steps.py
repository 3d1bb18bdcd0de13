import copy

import pytest
import torch

from deformgan.training.batches import Source
from deformgan.training.loop import accelerator_for
from deformgan.training.pictures import prepare_pairs
from deformgan.training.players import ROLES, Players, TrainingError
from deformgan.training.steps import step_discriminator, step_generator, step_transformation, train_step, view

STEPS = {
    "discriminator": step_discriminator,
    "generator": step_generator,
    "transformation": step_transformation,
}


@pytest.fixture
def game(experiment):
    config = experiment(generated={"share": 0})
    players = Players.of(config, accelerator_for(config))
    players.set_rates(0, 10)
    return config, players, Source(config, prepare_pairs(config.data, 0)).batches(0, 0, 1)


@pytest.mark.parametrize("role", ROLES)
def test_while_one_learns_the_others_stand_still(game, role):
    config, players, batches = game
    before = {r: copy.deepcopy(players.network(r).state_dict()) for r in ROLES}
    seen = batches if role == "transformation" else [view(players, b) for b in batches]
    STEPS[role](players, seen, config.loss)
    for other in ROLES:
        network = players.network(other)
        changed = [k for k, v in network.state_dict().items() if not torch.equal(v, before[other][k])]
        graded = [p for p in network.parameters() if p.grad is not None]
        if other == role:
            assert len(changed) >= len(graded) == len(list(network.parameters()))
        else:
            assert changed == [] and graded == []
            assert all(not p.requires_grad for p in network.parameters())


def test_the_order_is_d_then_g_then_t(game, monkeypatch):
    config, players, batches = game
    order = []
    learn = Players.learn
    monkeypatch.setattr(Players, "learn", lambda self, role, *rest: order.append(role) or learn(self, role, *rest))
    found = train_step(players, batches, config.loss)
    assert order == ["discriminator", "generator", "transformation"]
    assert set(found["g"]) == {"adversarial", "l1", "lg"}
    assert set(found["t"]) == {"smooth", "lcc", "lg", "truth", "dice"}


def test_d_and_g_rest_where_t_does_not_listen(game):
    config, players, batches = game
    deaf = config.loss.model_copy(update={"transformation": config.loss.transformation.model_copy(update={"lcc": 0.0})})
    assert set(train_step(players, batches, deaf)) == {"t"}


def test_generated_pairs_train_t_alone(experiment):
    config = experiment(generated={"share": 1})
    players = Players.of(config, accelerator_for(config))
    players.set_rates(0, 10)
    batches = Source(config, []).batches(0, 0, 1)
    before = copy.deepcopy(players.generator.state_dict())
    assert set(train_step(players, batches, config.loss)) == {"t"}
    assert all(torch.equal(v, before[k]) for k, v in players.generator.state_dict().items())


def test_accumulated_parts_are_one_batch(experiment):
    """Two parts of one pair each move the weights as one part of two pairs does."""
    found = []
    for parts in (1, 2):
        config = experiment(
            training={"accumulate": parts}, discriminator={"spectral": False}
        )  # its norm sees each part
        players = Players.of(config, accelerator_for(config))
        players.set_rates(0, 10)
        batches = Source(config, prepare_pairs(config.data, 0)).batches(0, 0, 1)
        assert len(batches) == parts
        found.append((train_step(players, batches, config.loss), players))
    for group, terms in found[0][0].items():
        assert terms == pytest.approx(found[1][0][group], rel=1e-5)


def test_g_is_held_to_the_edges_of_the_warped_image(game):
    """With mu, G's output keeps the edges of its input; the loss says so by a number between 0 and 1."""
    config, players, batches = game
    views = [view(players, b) for b in batches]
    for _ in range(5):
        step_generator(players, views, config.loss)
    first = step_generator(players, views, config.loss)["lg"]
    for _ in range(40):
        last = step_generator(players, views, config.loss)["lg"]
    assert 0 <= last < first < 1


def test_a_loss_that_is_not_finite_is_named(game):
    config, players, batches = game
    with torch.no_grad():
        players.generator.last.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"'l1' of the generator network became nan"):
        step_generator(players, [view(players, b) for b in batches], config.loss)


def test_half_precision_moves_the_answer_little(experiment):
    """bf16 convolutions, float32 positions: the displacement stays, and a step's losses agree to a percent."""
    found = []
    for precision in ("no", "bf16"):
        config = experiment(generated={"share": 0}, training={"precision": precision})
        players = Players.of(config, accelerator_for(config))
        players.set_rates(0, 10)
        torch.manual_seed(0)
        torch.nn.init.normal_(players.transformation.last.weight, std=0.05)
        batches = Source(config, prepare_pairs(config.data, 0)).batches(0, 0, 1)
        with torch.no_grad():
            u = players.play("transformation", batches[0].fixed, batches[0].moving)
        found.append((u, train_step(players, batches, config.loss)))
    whole, half = found[0][0], found[1][0]
    assert half.dtype == torch.float32 and float(whole.abs().max()) > 0.1
    assert float((half - whole).abs().max()) < 0.03 * float(whole.abs().max())
    for group, terms in found[0][1].items():
        assert terms == pytest.approx(found[1][1][group], rel=0.03, abs=0.01)
