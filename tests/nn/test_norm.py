import pytest
import torch
from torch.nn import functional as F

from tests.fake_cuda import call, fake_cuda
from vqpriors.nn.norm import EPSILON, RMSNorm


def test_normalises_by_hand():
    norm = RMSNorm(2)
    norm.weight.data = torch.tensor([1.0, 2.0])
    # The root mean square of (3, 4) is sqrt(12.5).
    expected = torch.tensor([[3.0, 8.0]]) / 12.5**0.5
    torch.testing.assert_close(norm(torch.tensor([[3.0, 4.0]])), expected)


def test_gradients_equal_numerical_ones():
    norm = RMSNorm(5).double()
    norm.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    x = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weight = norm.weight.detach().requires_grad_()

    def apply(x, weight):
        return torch.func.functional_call(norm, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(apply, (x.requires_grad_(), weight))


def test_equals_torchs_in_float32():
    x = torch.randn(4, 7, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(RMSNorm(16)(x), F.rms_norm(x, (16,), eps=EPSILON))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_keeps_the_dtype(dtype):
    assert RMSNorm(8)(torch.ones(2, 8, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_result_is_the_same_without_gradients(dtype):
    norm = RMSNorm(16)
    norm.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    x = torch.randn(4, 7, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
    with torch.no_grad():
        found = norm(x)
    assert torch.equal(found, norm(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_keeps_the_dtype_under_autocast_on_gpus(dtype):
    norm = RMSNorm(8)
    with fake_cuda():
        x = torch.empty(2, 8, dtype=dtype, device="cuda")
        assert call(norm, RMSNorm.forward, x).dtype == dtype


def test_autocast_on_gpus_would_change_the_dtype():
    """Shows that the test above can fail; from torch 2.13 on."""
    with fake_cuda():
        x = torch.empty(2, 8, dtype=torch.bfloat16, device="cuda")
        assert F.rms_norm(x, (8,)).dtype == torch.float32
