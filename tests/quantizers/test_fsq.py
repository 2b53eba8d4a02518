import math

import pytest
import torch
from torch.testing import assert_close

from vqpriors.core.params import check
from vqpriors.quantizers.fsq import Config, FiniteScalarQuantizer

LEVELS = [[2], [3], [8, 8, 8], [2, 3, 4, 5], [7, 5, 5], [16, 2]]
FAR = 1000.0


@pytest.mark.parametrize("levels", LEVELS)
def test_every_code_decodes_and_encodes_to_itself(levels):
    quantizer = FiniteScalarQuantizer(levels=levels)
    codes = torch.arange(quantizer.num_codes)
    vectors = quantizer.decode(codes)
    assert len(vectors.unique(dim=0)) == quantizer.num_codes == math.prod(levels)
    assert torch.equal(quantizer.encode(unbounded(quantizer, vectors)), codes)


def unbounded(quantizer, vectors):
    """Return the midpoints of the input intervals that the quantizer maps to `vectors`."""
    grid = torch.linspace(-9, 9, 20001)[:, None].expand(-1, quantizer.dim)
    found = quantizer.eval()(grid).vectors  # (20001, D)
    inputs = torch.empty_like(vectors)
    for channel in range(quantizer.dim):
        is_hit = (found[:, channel] - vectors[:, channel, None]).abs() < 1e-4  # (K, 20001)
        assert is_hit.any(1).all()
        inputs[:, channel] = (is_hit * grid[:, channel]).sum(1) / is_hit.sum(1)
    return inputs


@pytest.mark.parametrize("levels", LEVELS)
def test_extremes_reach_the_outermost_levels(levels):
    quantizer = FiniteScalarQuantizer(levels=levels)
    codes = quantizer.encode(torch.tensor([[-FAR] * len(levels), [FAR] * len(levels)]))
    assert codes.tolist() == [0, math.prod(levels) - 1]


@pytest.mark.parametrize("levels", LEVELS)
def test_forward_agrees_with_encode_and_decode(levels):
    quantizer = FiniteScalarQuantizer(levels=levels)
    vectors = torch.randn(300, len(levels), generator=torch.Generator().manual_seed(0)) * 2
    quantized = quantizer(vectors)
    assert quantized.codes.dtype == torch.int64
    assert torch.equal(quantized.codes, quantizer.encode(vectors))
    assert_close(quantized.vectors, quantizer.decode(quantized.codes))
    assert quantized.losses == {}


@pytest.mark.parametrize("levels", LEVELS)
def test_codes_are_monotonic_in_each_input(levels):
    quantizer = FiniteScalarQuantizer(levels=levels[:1])
    codes = quantizer.encode(torch.linspace(-9, 9, 999)[:, None])
    assert (codes.diff() >= 0).all()
    assert codes.unique().tolist() == list(range(levels[0]))


@pytest.mark.parametrize("levels", LEVELS)
def test_gradient_is_the_slope_of_the_bounded_vectors(levels):
    quantizer = FiniteScalarQuantizer(levels=levels)
    vectors = torch.linspace(-1, 1, 5)[:, None].repeat(1, len(levels)).requires_grad_()
    quantizer(vectors).vectors.sum().backward()
    with torch.no_grad():
        slope = (quantizer.bound(vectors + 0.01) - quantizer.bound(vectors - 0.01)) / 0.02
    assert_close(vectors.grad, slope, rtol=1e-3, atol=1e-4)


def test_gradient_of_three_levels_by_hand():
    vectors = torch.tensor([[0.0], [1.0]], requires_grad=True)
    FiniteScalarQuantizer(levels=[3])(vectors).vectors.sum().backward()
    # 1 - tanh^2 x, with tanh 1 = 0.761594
    assert_close(vectors.grad, (1 - 1e-3) * torch.tensor([[1.0], [0.419974]]))


@pytest.mark.parametrize("levels", LEVELS)
def test_bounded_vectors_are_within_half_a_level_of_the_quantized_ones(levels):
    quantizer = FiniteScalarQuantizer(levels=levels)
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(300, len(levels), generator=generator) * 10
    distance = (quantizer.bound(vectors) - quantizer(vectors).vectors).abs()
    level = 1 / (torch.tensor(levels) // 2)
    assert (distance <= 0.5 * level + 1e-6).all()
    assert (distance.amax(0) > 0.3 * level).all()


def test_three_levels_by_hand():
    quantizer = FiniteScalarQuantizer(levels=[3])
    vectors = torch.tensor([[-2.0], [-0.4], [0.5], [0.6]])  # tanh rounds up from 0.5 = tanh(0.549)
    assert quantizer.encode(vectors).tolist() == [0, 1, 1, 2]
    bounded = (1 - 1e-3) * torch.tensor([[-0.964028], [-0.379949], [0.462117], [0.537050]])
    assert_close(quantizer.bound(vectors), bounded)
    assert quantizer.decode(torch.tensor([0, 1, 2])).tolist() == [[-1.0], [0.0], [1.0]]


def test_two_levels_are_the_sign():
    quantizer = FiniteScalarQuantizer(levels=[2])
    assert quantizer.encode(torch.tensor([[-0.1], [0.1]])).tolist() == [0, 1]


def test_code_is_a_mixed_radix_number():
    quantizer = FiniteScalarQuantizer(levels=[3, 5])
    assert quantizer.decode(torch.tensor(7)).tolist() == [0.0, 0.0]  # 1 + 3 x 2, the middles
    assert quantizer.decode(torch.tensor(14)).tolist() == [1.0, 1.0]


def test_codes_are_the_same_under_autocast():
    quantizer = FiniteScalarQuantizer(levels=[8, 8, 8])
    vectors = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = quantizer(vectors)
    assert torch.equal(rounded.codes, quantizer.encode(vectors))
    assert rounded.vectors.dtype == torch.float32


@pytest.mark.parametrize("levels", [[1, 4], [256, 257]])
def test_levels_out_of_range_are_refused(levels):
    with pytest.raises(ValueError, match=r"tokenizer.fsq.levels: needs 2 or more.*got \["):
        check("tokenizer.fsq", {"levels": levels}, Config)
