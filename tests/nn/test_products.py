import pytest
import torch
from torch.testing import assert_close

from vqpriors.nn.products import MIN_PACKED, Product


@pytest.mark.parametrize("rows", [1, 2, 3, 64, 65])
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (1024, 256), (256, 1024)])
@torch.no_grad()
def test_product_equals_that_of_the_matrix(rows, shape):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator)
    x = torch.randn(rows, shape[1], generator=generator)
    base = torch.randn(rows, shape[0], generator=generator)
    product, expected = Product(weight, rows=rows), x @ weight.T
    assert_close(product(x), expected, rtol=1e-4, atol=1e-4)
    assert_close(product.added(x, to=base), expected + base, rtol=1e-4, atol=1e-4)
    if torch.backends.mkldnn.is_available():
        assert product.is_packed == (weight.numel() >= MIN_PACKED and 1 < rows <= 64)


@pytest.mark.parametrize("rows", [1, 2, 65])
@pytest.mark.parametrize("shape", [(5, 3), (1024, 256)])
@torch.no_grad()
def test_product_of_a_bfloat16_matrix_is_computed_in_bfloat16(rows, shape):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator).bfloat16()
    x = torch.randn(rows, shape[1], generator=generator)
    base = torch.randn(rows, shape[0], generator=generator).bfloat16()
    product = Product(weight, rows=rows)
    expected = x.bfloat16().float() @ weight.float().T
    assert product(x).dtype == product.added(x, to=base).dtype == torch.bfloat16
    assert_close(product(x).float(), expected, rtol=1e-2, atol=1e-2)
    assert_close(product.added(x, to=base).float(), expected + base, rtol=1e-2, atol=0.1)
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert product.is_packed == (rows <= 64)
