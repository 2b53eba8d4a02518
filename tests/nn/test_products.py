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
