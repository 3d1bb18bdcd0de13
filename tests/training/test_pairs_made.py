"""Known warps, augmentation, generated pairs and the order of the data."""

import pytest
import torch

from deformgan.config import AugmentationConfig, GeneratedConfig
from deformgan.spatial.field import invert
from deformgan.spatial.jacobian import regularity
from deformgan.spatial.warp import warp
from deformgan.training.augment import cropped, flipped, moved, recoloured
from deformgan.training.batches import Source
from deformgan.training.generated import generated_pair
from deformgan.training.known_warps import random_warp, remaining, smooth_unit_field
from deformgan.training.pictures import Picture, load_picture, prepare_pairs
from deformgan.training.validation import mean_dice

SHAPE = (28, 32, 30)
STILL = AugmentationConfig(rotation=0, shift_mm=0, scale=0)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def picture(seed=0):
    image = smooth_unit_field(SHAPE, 2.0, rng(seed)) / 2 + 0.5
    return Picture(image, torch.ones_like(image), (image * 4).long())


@pytest.mark.parametrize("seed", range(4))
def test_a_known_warp_is_a_diffeomorphism_of_the_size_asked_for(seed):
    v = random_warp(SHAPE, 4.0, STILL, rng(seed))
    longest = float(v.norm(dim=1).max()) * 4.0
    assert 0.15 * STILL.motion_mm < longest < 1.2 * STILL.motion_mm
    assert regularity(v)["folding_percent"] == 0


def test_an_affine_alone_turns_about_the_centre():
    turned = random_warp(SHAPE, 4.0, AugmentationConfig(motion_mm=0, shift_mm=0, scale=0, rotation=10), rng(1))
    middle = turned[0, :, 13:15, 15:17, 14:16].mean((1, 2, 3))
    torch.testing.assert_close(middle, torch.zeros(3), atol=1e-4, rtol=0)
    assert float(turned.norm(dim=1).max()) > 0.5


def test_the_inverse_of_the_known_warp_is_the_truth():
    """What T should find, u = v^-1, leaves nothing and gives the first image back."""
    v = random_warp(SHAPE, 4.0, AugmentationConfig(), rng(5))
    truth, _ = invert(v)
    inner = (slice(None), slice(None), *(slice(6, -6),) * 3)
    assert float(remaining(truth, v)[inner].norm(dim=1).max()) < 0.02
    assert float(remaining(torch.zeros_like(v), v)[inner].norm(dim=1).max()) > 0.5
    start = picture()
    back = warp(moved(start, v).image, truth)
    assert float((back - start.image)[inner].abs().mean()) < 0.3 * float(
        (warp(start.image, v) - start.image)[inner].abs().mean()
    )


def test_moved_labels_and_image_stay_together():
    start, v = picture(), random_warp(SHAPE, 4.0, STILL, rng(2))
    found = moved(start, v)
    whole = found.valid.bool()
    assert float(((found.image * 4).long() == found.labels)[whole].float().mean()) > 0.8


def test_flip_twice_is_nothing():
    start = picture()
    again = flipped(flipped(start))
    assert torch.equal(again.image, start.image) and torch.equal(again.labels, start.labels)
    assert not torch.equal(flipped(start).image, start.image)


def test_contrast_changes_and_stays_in_range():
    start = picture()
    found = recoloured(start, 4.0, AugmentationConfig(), rng(3))
    assert float(found.image.min()) >= 0 and float(found.image.max()) <= 1
    assert 0.001 < float((found.image - start.image).abs().mean()) < 0.4
    same = recoloured(start, 4.0, AugmentationConfig(gamma=0, bias=0, noise=0), rng(3))
    torch.testing.assert_close(same.image, start.image.clamp(0, 1))


def test_a_crop_takes_one_end_at_most_so_far():
    shares = [1 - float(cropped(picture(), AugmentationConfig(crop=0.3), rng(k)).valid.mean()) for k in range(40)]
    assert sum(s == 0 for s in shares) > 10 and max(shares) > 0.1 and max(shares) <= 0.3


def test_a_generated_pair_shows_one_shape_in_two_contrasts():
    fixed, other, known = generated_pair(SHAPE, 4.0, GeneratedConfig(labels=6), AugmentationConfig(crop=0), rng(4))
    assert fixed.image.shape == (1, 1, *SHAPE) == other.image.shape and known.shape == (1, 3, *SHAPE)
    truth, _ = invert(known)
    before = mean_dice(fixed.labels, other.labels)
    after = mean_dice(fixed.labels, warp(other.labels, truth, mode="nearest"))
    assert after > 0.9 > before
    means = [torch.stack([p.image[p.labels == k].mean() for k in range(6)]) for p in (fixed, other)]
    assert float((means[0] - means[1]).abs().mean()) > 0.05


def test_given_label_maps_are_used(phantom_pairs):
    maps = GeneratedConfig(label_maps=(str(phantom_pairs / "labels.nii.gz"),))
    fixed, _, _ = generated_pair(SHAPE, 6.0, maps, AugmentationConfig(), rng(6))
    assert set(fixed.labels.unique().tolist()) <= set(range(6)) and len(fixed.labels.unique()) > 3


def test_the_same_step_draws_the_same_whatever_came_before(experiment):
    config = experiment()
    source = Source(config, prepare_pairs(config.data, config.seed))
    first = source.batches(5, 0, 1)[0]
    source.batches(2, 0, 1)
    again = source.batches(5, 0, 1)[0]
    assert torch.equal(first.moving, again.moving) and first.seeds == again.seeds
    assert not torch.equal(first.moving, source.batches(6, 0, 1)[0].moving)


def test_two_processes_share_one_batch(experiment):
    config = experiment(generated={"share": 0})
    source = Source(config, prepare_pairs(config.data, config.seed))
    whole = source.batches(1, 0, 1)[0]
    parts = [source.batches(1, k, 2)[0] for k in range(2)]
    assert torch.equal(whole.moving, torch.cat([p.moving for p in parts]))


def test_every_pair_comes_once_a_round(experiment):
    config = experiment()
    source = Source(config, prepare_pairs(config.data, config.seed))
    names = [source._pair(turn).name for turn in range(4)]
    assert set(names[:2]) == set(names[2:]) and len(set(names)) == 2


def test_the_cache_is_used_and_mended(experiment):
    config = experiment()
    pairs = prepare_pairs(config.data, 0)
    before = pairs[0].fixed.stat().st_mtime_ns
    assert prepare_pairs(config.data, 0)[0].fixed.stat().st_mtime_ns == before
    pairs[0].fixed.write_bytes(b"broken")
    assert load_picture(prepare_pairs(config.data, 0)[0].fixed).image.shape == load_picture(pairs[0].moving).image.shape


def test_lists_of_images_make_every_pair(experiment, phantom_pairs):
    data = {"manifest": None, "fixed_images": ["ct.nii.gz"], "moving_images": ["t?.nii.gz"], "same_subject": False}
    config = experiment(data=data)
    pairs = prepare_pairs(config.data, 0)
    assert len(pairs) == 2
    a, b = (load_picture(p) for p in (pairs[0].fixed, pairs[0].moving))
    assert a.image.shape == b.image.shape
    assert not pairs[0].known
