"""Similarities by name: parsing, weighted sums, both ways to the derivative."""

import numpy as np
import pytest
import torch

from deformgan.errors import InputError
from deformgan.kernels.spans import spans_of
from deformgan.similarity.correlation import lcc_loss, ncc_loss
from deformgan.similarity.descriptors import mind_loss
from deformgan.similarity.gradient import gradient_correlation_loss, local_gradient_loss
from deformgan.similarity.information import mi_loss, nmi_loss
from deformgan.similarity.objective import NAMES, Objective, Options, parse_similarity
from deformgan.similarity.pointwise import cauchy_loss, l1_loss, l2_loss


def test_parsing():
    assert parse_similarity("lg=1,gc=0.5") == {"lg": 1.0, "gc": 0.5}
    assert parse_similarity(" Gradient_Correlation = 2 , mind") == {"gc": 2.0, "mind": 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mindd=1", "did you mean mind"),
        ("gradient_corelation", "did you mean gradient_correlation"),
        ("xyz", "the names are lg, gc"),
        ("", "the names are lg, gc"),
        ("lg=one", "lg=one"),
        ("lg=0", "above 0"),
        ("lg=nan", "above 0"),
        ("gc=1,gradient_correlation=2", "twice"),
    ],
)
def test_what_cannot_be_parsed_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_similarity(text)


@pytest.mark.parametrize("shape", [(1, 1, 10, 11, 12), (2, 1, 14, 15)])
def test_each_name_is_its_loss(shape):
    generator = torch.Generator().manual_seed(0)
    warped, fixed = torch.randn((2, *shape), generator=generator)
    mask, weight = torch.rand((2, *shape), generator=generator)
    where = {"mask": mask, "weight": weight}
    expected = {
        "lg": local_gradient_loss(warped, fixed, size=3, **where),
        "gc": gradient_correlation_loss(warped, fixed, **where),
        "ncc": ncc_loss(warped, fixed, squared=True, **where),
        "lcc": lcc_loss(warped, fixed, size=3, **where),
        "mi": mi_loss(warped, fixed, bins=16, **where),
        "nmi": nmi_loss(warped, fixed, bins=16, **where),
        "mind": mind_loss(warped, fixed, radius=1, dilation=3, **where),
        "l1": l1_loss(warped, fixed, **where),
        "l2": l2_loss(warped, fixed, **where),
        "cauchy": cauchy_loss(warped, fixed, scale=0.5, **where),
    }
    options = Options(window=3, bins=16, radius=1, dilation=3, scale=0.5)
    _, terms = Objective(dict.fromkeys(NAMES, 1.0), fixed, mask, options)(warped, weight)
    assert set(terms) == set(NAMES)
    for name, loss in expected.items():
        assert float(terms[name]) == pytest.approx(float(loss), abs=1e-6), name


def test_the_sum_and_both_ways_to_its_derivative():
    generator = torch.Generator().manual_seed(0)
    warped, fixed = torch.randn((2, 1, 1, 10, 11, 12), generator=generator)
    weight = torch.rand(fixed.shape, generator=generator)
    weights = dict(zip(NAMES, (1.0, 0.5, 2.0, 1.0, 0.3, 1.0, 4.0, 1.0, 0.1, 1.0), strict=True))
    objective = Objective(weights, fixed)
    leaf = warped.clone().requires_grad_()
    total, terms = objective(leaf, weight)
    total.backward()
    value, plain_terms, slope = objective.with_derivative(warped, weight)
    assert value == pytest.approx(float(total.detach()), rel=1e-5)
    assert value == pytest.approx(sum(weights[name] * term for name, term in plain_terms.items()))
    assert {name: pytest.approx(float(term), abs=1e-6) for name, term in terms.items()} == plain_terms
    torch.testing.assert_close(slope, leaf.grad, rtol=1e-4, atol=1e-7)


def test_every_similarity_is_least_where_the_images_meet():
    noise = torch.randn((1, 1, 24, 24, 24), generator=torch.Generator().manual_seed(0))
    fixed = torch.nn.functional.avg_pool3d(noise, 5, stride=1, padding=2)
    objective = Objective(dict.fromkeys(NAMES, 1.0), fixed)
    aligned, shifted = objective(fixed.clone())[1], objective(fixed.roll(2, -1))[1]
    assert all(float(aligned[name]) < float(shifted[name]) for name in NAMES)


def test_no_name_is_refused():
    with pytest.raises(InputError, match="no name"):
        Objective({}, torch.zeros(1, 1, 5, 5, 5))


@pytest.mark.parametrize("name", ["lcc", "mi", "nmi", "ncc", "cauchy"])
def test_what_lies_beyond_the_spans_has_no_weight_and_changes_nothing(name):
    fixed, warped = (torch.rand(1, 1, 14, 17, 19, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    region = np.zeros((14, 17, 19), bool)
    region[3:11, 4:15, 2:16], region[5, 6] = True, False
    weight = torch.from_numpy(region).float()[None, None] * (warped > 0.1)
    objective = Objective({name: 0.7, "l2": 0.3}, fixed, options=Options(window=5, warped_range=(0, 1)))
    value, _, slope = objective.with_derivative(warped, weight)
    kept = slope.clone()
    left_out = objective.with_derivative(torch.where(weight > 0, warped, 0.0), weight, spans_of(region))
    assert not objective.looks_beyond and Objective({"lg": 1.0}, fixed).looks_beyond
    assert left_out[0] == pytest.approx(value, rel=1e-5)
    assert kept.abs().max() > 0 and (weight[kept != 0] > 0).all()
    torch.testing.assert_close(left_out[2] * weight, kept * weight, atol=1e-7, rtol=1e-3)
