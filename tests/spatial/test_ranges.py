"""Free numbers onto ranges and back, with exact slopes."""

import numpy as np
import pytest
import torch

from deformgan.errors import InputError
from deformgan.spatial.affine import PARAMETERS
from deformgan.spatial.ranges import Mapping, Ranges

TIGHT = Ranges(rotation=15.0, shift=(-80.0, 60.0), scale=(0.5, 1.6), shear=0.2)


def test_limits_are_in_the_parameters_own_units():
    low, high = TIGHT.limits("affine")
    np.testing.assert_allclose(high[:3], np.deg2rad(15))
    np.testing.assert_allclose(low[3:6], -80)
    np.testing.assert_allclose([low[6], high[6], high[9]], [np.log(0.5), np.log(1.6), 0.2])
    assert Ranges(scale=2.0).limits("similarity2d")[0][3] == -np.log(2)
    assert np.isinf(Ranges().limits("rigid")[0]).all()


@pytest.mark.parametrize("ranges", [Ranges(), TIGHT, Ranges(shift=40.0)])
@pytest.mark.parametrize("model", sorted(PARAMETERS))
def test_there_and_back_with_exact_slopes(model, ranges):
    mapping = Mapping.of(model, 50.0, ranges)
    q = np.random.default_rng(0).normal(0, 12, PARAMETERS[model])
    p = mapping.parameters(q)
    low, high = ranges.limits(model)
    assert (p > low).all() and (p < high).all()
    np.testing.assert_allclose(mapping.free(p), q, rtol=1e-9, atol=1e-9)
    leaf = torch.from_numpy(q).requires_grad_()
    by_torch = torch.autograd.functional.jacobian(mapping.parameters_tensor, leaf).diagonal().numpy()
    np.testing.assert_allclose(mapping.slope(q), by_torch, rtol=1e-12)
    ends = [mapping.parameters(q + s * 1e-5) for s in (-1, 1)]
    np.testing.assert_allclose(mapping.slope(q), (ends[1] - ends[0]) / 2e-5, rtol=1e-6)


def test_a_unit_is_a_millimetre_in_the_middle():
    for ranges in (Ranges(), Ranges(rotation=30.0, shift=50.0, scale=1.5, shear=0.3)):
        slope = Mapping.of("affine", 50.0, ranges).slope(np.zeros(12))
        np.testing.assert_allclose(slope, [0.02] * 3 + [1] * 3 + [0.02] * 6)


def test_a_start_outside_is_refused():
    with pytest.raises(InputError, match="outside the ranges"):
        Mapping.of("rigid", 50.0, Ranges(shift=10.0)).free(np.array([0, 0, 0, 11.0, 0, 0]))


@pytest.mark.parametrize(
    "bad", [{"rotation": -3.0}, {"scale": 0.0}, {"shift": (5.0, 9.0)}, {"scale": (1.2, 2.0)}, {"shear": np.nan}]
)
def test_ranges_that_leave_out_the_start_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        Ranges(**bad)
