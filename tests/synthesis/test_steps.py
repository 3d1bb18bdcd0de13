"""The losses of both forms against plain transcriptions of the paper's equations."""

import copy

import numpy as np
import pytest
import torch

from deformgan.config import ConditionalLossConfig, CycleganLossConfig
from deformgan.similarity.gradient import local_gradient_loss
from deformgan.synthesis import conditional, cyclegan
from deformgan.synthesis.batches import Batch
from deformgan.synthesis.models import build_networks
from deformgan.synthesis.pool import ImagePool
from deformgan.training.players import Players, Rates
from deformgan.training.run import accelerator_for


def game(experiment, tmp_path, task):
    config = experiment(task, tmp_path / "run")
    networks = build_networks(config)
    players = Players.with_rates(
        networks, Rates(dict.fromkeys(networks, 1e-3), (0.5, 0.999), 0.5), accelerator_for(config)
    )
    players.set_rates(0, 10)
    rng = torch.Generator().manual_seed(1)
    mr, ct = (torch.rand(2, 1, 20, 24, generator=rng) * 2 - 1 for _ in range(2))
    return players, Batch(mr, ct, (torch.rand(2, 1, 20, 24, generator=rng) > 0.2).float())


def ncc(a, b, weight=None):
    a, b = np.ravel(a).astype(float), np.ravel(b).astype(float)
    w = np.ones_like(a) if weight is None else np.ravel(weight)
    a, b = a - (w * a).sum() / w.sum(), b - (w * b).sum() / w.sum()
    return (w * a * b).sum() / (np.sqrt((w * a * a).sum()) * np.sqrt((w * b * b).sum()))


def gc(a, b, weight=None):
    """Eq. 4, the mean over the batch."""
    found = []
    for k in range(len(a)):
        x, y = a[k, 0], b[k, 0]
        w = np.ones(x.shape) if weight is None else weight[k, 0]
        along = ncc(np.diff(x, axis=0), np.diff(y, axis=0), w[1:] * w[:-1])
        across = ncc(np.diff(x, axis=1), np.diff(y, axis=1), w[:, 1:] * w[:, :-1])
        found.append((along + across) / 2)
    return np.mean(found)


def made_by(players, role, *images):
    with torch.no_grad():
        return players.network(role)(*images)


def numbers(*tensors):
    return [t.detach().numpy() for t in tensors]


def test_the_generators_of_cyclegan_minimise_equation_6(experiment, tmp_path, monkeypatch):
    players, batch = game(experiment, tmp_path, "cyclegan")
    x, y = batch.ct, batch.mr
    gx, gy = made_by(players, "generator_mr", x), made_by(players, "generator_ct", y)
    back_x, back_y = made_by(players, "generator_ct", gx), made_by(players, "generator_mr", gy)
    scores = numbers(made_by(players, "discriminator_ct", gy), made_by(players, "discriminator_mr", gx))
    gx, gy, back_x, back_y, x_, y_ = numbers(gx, gy, back_x, back_y, x, y)
    expected = {
        "adversarial_ct": np.mean((scores[0] - 1) ** 2),
        "adversarial_mr": np.mean((scores[1] - 1) ** 2),
        "cycle": np.mean(np.abs(back_x - x_)) + np.mean(np.abs(back_y - y_)),
        "gc": ((1 - gc(x_, gx)) + (1 - gc(y_, gy))) / 2,
    }
    used = {}
    learn = Players.learn
    monkeypatch.setattr(Players, "learn", lambda s, who, t, b, w: used.update(w) or learn(s, who, t, b, w))
    found, fakes = cyclegan.step_generators(players, [batch], CycleganLossConfig())
    assert found == pytest.approx(expected, rel=1e-4)
    assert used == {"adversarial_ct": 1, "adversarial_mr": 1, "cycle": 3, "gc": 0.3, "lg": 0}
    np.testing.assert_allclose(fakes["ct"][0], gy, atol=1e-6)
    np.testing.assert_allclose(fakes["mr"][0], gx, atol=1e-6)


def test_the_discriminators_of_cyclegan_minimise_equations_1_and_2(experiment, tmp_path):
    players, batch = game(experiment, tmp_path, "cyclegan")
    fake = -batch.ct.flip(-1)
    for kind, real in (("ct", batch.ct), ("mr", batch.mr)):
        a, b = numbers(*(made_by(players, f"discriminator_{kind}", i) for i in (real, fake)))
        found = cyclegan.step_discriminator(players, kind, [batch], [fake], CycleganLossConfig())
        assert found == {"adversarial": pytest.approx((np.mean((a - 1) ** 2) + np.mean(b**2)) / 2, rel=1e-4)}


def test_the_paired_form_minimises_its_three_terms_where_both_show_something(experiment, tmp_path):
    players, batch = game(experiment, tmp_path, "conditional")
    made = made_by(players, "generator_ct", batch.mr)
    seen = batch.seen
    score, real = (
        made_by(players, "discriminator_ct", torch.where(seen > 0, image, torch.tensor(-1.0)), batch.mr)
        for image in (made, batch.ct)
    )
    score, real, made, ct, w = numbers(score, real, made, batch.ct, seen)
    absolute = [np.sum(w[k] * np.abs(made[k] - ct[k])) / np.sum(w[k]) for k in range(2)]
    expected = {"l1": np.mean(absolute), "adversarial": np.mean((score - 1) ** 2), "gc": 1 - gc(made, ct, w)}
    d = (np.mean((real - 1) ** 2) + np.mean(score**2)) / 2
    losses = ConditionalLossConfig()
    assert conditional.step_generator(copied(players), [batch], losses) == pytest.approx(expected, rel=1e-4)
    assert conditional.step_discriminator(players, [batch], losses) == {"adversarial": pytest.approx(d, rel=1e-4)}


def copied(players):
    return Players.with_rates(copy.deepcopy(dict(players.networks)), players.rates, players.accelerator)


@pytest.mark.parametrize("task", ["cyclegan", "conditional"])
def test_gc_0_leaves_the_term_out(experiment, tmp_path, task):
    """Not even computed: a step with weight 0 is the step of an objective that has no such term."""
    players, batch = game(experiment, tmp_path, task)
    kind = CycleganLossConfig if task == "cyclegan" else ConditionalLossConfig
    step = cyclegan.step_generators if task == "cyclegan" else conditional.step_generator
    weights = {}
    for value in (0.0, 1e-20, 5.0):
        own = copied(players)
        own.set_rates(0, 10)
        found = step(own, [batch], kind(gc=value))
        terms = found[0] if task == "cyclegan" else found
        assert ("gc" in terms) is (value > 0)
        weights[value] = own.weights()
    differ = {v: max(float((weights[0.0][k] - w[k]).abs().max()) for k in w) for v, w in weights.items()}
    assert differ[1e-20] < 1e-6 < 1e-4 < differ[5.0]


def test_lg_takes_the_place_of_gc(experiment, tmp_path):
    players, batch = game(experiment, tmp_path, "cyclegan")
    made = [made_by(players, f"generator_{a}", getattr(batch, b)) for a, b in (("ct", "mr"), ("mr", "ct"))]
    agreement = [local_gradient_loss(*pair) for pair in zip(made, (batch.mr, batch.ct), strict=True)]
    found, _ = cyclegan.step_generators(players, [batch], CycleganLossConfig(gc=0, lg=0.3))
    assert "gc" not in found and found["lg"] == pytest.approx(float(sum(agreement)) / 2, rel=1e-4)


def test_while_the_generators_learn_the_discriminators_stand_still(experiment, tmp_path):
    players, batch = game(experiment, tmp_path, "cyclegan")
    before = {k: v.clone() for k, v in players.weights().items()}
    cyclegan.step_generators(players, [batch], CycleganLossConfig())
    moved = {k.split(".")[0] for k, v in players.weights().items() if not torch.equal(v, before[k])}
    assert moved == {"generator_ct", "generator_mr"}
    pools = {kind: ImagePool(0, 0, 0) for kind in cyclegan.KINDS}
    cyclegan.train_step(players, [batch], CycleganLossConfig(), pools, 0)
    moved = {k.split(".")[0] for k, v in players.weights().items() if not torch.equal(v, before[k])}
    assert moved == {"generator_ct", "generator_mr", "discriminator_ct", "discriminator_mr"}


def test_the_pool_shows_half_of_the_fakes_again():
    pool, shown = ImagePool(4, 3, 2), []
    for step in range(200):
        fakes = torch.full((2, 1, 3, 3), float(step))
        fakes[1] += 0.5
        shown.append(pool.exchanged(fakes, step)[:, 0, 0, 0])
    assert [s.tolist() for s in shown[:2]] == [[0.0, 0.5], [1.0, 1.5]]  # while it fills
    age = torch.stack([step - s for step, s in enumerate(shown)]).flatten()[4:]
    assert 0.4 < float((age > 0).float().mean()) < 0.6 and float(age.min()) >= -0.5
    assert pool.images.shape == (4, 1, 3, 3)
