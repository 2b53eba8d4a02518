import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import vqpriors.nn.attention as attention_module
from vqpriors.nn.attention import (
    CrossAttention,
    KeyValueCache,
    SelfAttention,
    attend,
    grid_rope,
    rope_tables,
    rotate,
)

WIDTH, HEADS = 16, 2


def attention(kind=SelfAttention):
    torch.manual_seed(0)
    module = kind(width=WIDTH, heads=HEADS, dropout=0.0).double()
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter)
    return module


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_rotation_of_pairs_by_hand():
    x = torch.tensor([1.0, 2.0, 0.0, 0.0]).view(1, 1, 1, 4)
    rotated = rotate(x, rope_tables(torch.tensor([[torch.pi / 2, torch.pi]])))
    assert_close(rotated.flatten(), torch.tensor([0.0, -2.0, 1.0, 0.0]), atol=1e-6, rtol=0)


def test_grid_rope_by_hand():
    rope = grid_rope(2, 2, 8, base=100.0)
    row, column = [1.0, 0.1, 0.0, 0.0], [0.0, 0.0, 1.0, 0.1]
    both = [1.0, 0.1, 1.0, 0.1]
    angles = torch.tensor([[0.0] * 4, [0.0] * 4, column, row, both])
    assert_close(rope[0], angles.cos().repeat(1, 2))
    assert_close(rope[1], angles.sin().repeat(1, 2) * torch.tensor([-1.0] * 4 + [1.0] * 4))


def test_rotated_products_depend_on_differences_of_rows_and_columns_only():
    torch.manual_seed(0)
    rows, columns = 4, 5
    rope = grid_rope(rows, columns, 16)[:, 1:].double()
    query, key = (random(16).expand(1, 1, rows * columns, 16) for _ in range(2))
    products = (rotate(query, rope) @ rotate(key, rope).transpose(2, 3))[0, 0]
    products = products.view(rows, columns, rows, columns)
    assert_close(products[1:, :, 1:], products[:-1, :, :-1])
    assert_close(products[:, 1:, :, 1:], products[:, :-1, :, :-1])
    assert not torch.allclose(products[0, 0, 0, 1:], products[0, 0, 0, :-1])
    assert not torch.allclose(products[0, 0, 1:, 0], products[0, 0, :-1, 0])


@pytest.mark.parametrize("is_rotated", [True, False])
def test_cached_steps_equal_full_causal_attention(is_rotated):
    module, x = attention(), random(3, 6, WIDTH)
    rope = grid_rope(2, 3, WIDTH // HEADS)[:, :6] if is_rotated else None
    full = module(x, is_causal=True, rope=rope)
    cache = KeyValueCache(batch=3, heads=HEADS, positions=6, head_width=8, like=x)
    for i in range(6):
        position = None if rope is None else rope[:, i : i + 1]
        step = module(x[:, i : i + 1], is_causal=True, rope=position, cache=cache)
        assert_close(step, full[:, i : i + 1])
    assert cache.length == 6


def test_causal_position_attends_to_itself_and_those_before():
    module, x = attention(), random(2, 6, WIDTH)
    changed = x.clone()
    changed[:, 3] += 1
    is_equal = (module(x, is_causal=True) == module(changed, is_causal=True)).all(2)
    assert is_equal.tolist() == [[True] * 3 + [False] * 3] * 2
    assert not (module(x, is_causal=False) == module(changed, is_causal=False)).all(2).any()


def test_padding_changes_nothing():
    module, x = attention(), random(2, 5, WIDTH)
    padding_mask = torch.tensor([[True] * 3 + [False] * 2] * 2)
    padded = module(x, is_causal=False, padding_mask=padding_mask)[:, :3]
    assert_close(padded, module(x[:, :3], is_causal=False))


def test_padding_of_the_context_changes_nothing():
    module, x, text = attention(CrossAttention), random(2, 4, WIDTH), random(2, 5, WIDTH)
    padding_mask = torch.tensor([[True] * 3 + [False] * 2] * 2)
    padded = module(x, module.keys_values(text), padding_mask)
    short = module(x, module.keys_values(text[:, :3]), padding_mask[:, :3])
    assert_close(padded, short)
    assert not torch.allclose(module(x, module.keys_values(-text), padding_mask), padded)


def test_attention_by_hand():
    query = torch.tensor([[[[0.0, 0.0], [2.0**0.5, 0.0]]]])
    key = torch.tensor([[[[1.0, 5.0], [0.0, 7.0]]]])
    value = torch.tensor([[[[1.0], [3.0]]]])
    share = torch.tensor(1.0).sigmoid()  # scores 1 and 0, after division by the root of 2
    assert_close(
        attend(query, key, value).flatten(), torch.stack([2 * share / share, 3 - 2 * share])
    )


KINDS = {
    "plain": {},
    "causal": {"is_causal": True},
    "masked": {"attention_mask": (torch.arange(5) < 3)[None, None, None]},
}


@pytest.mark.parametrize(
    ("kind", "length"), [*((kind, 5) for kind in KINDS), ("plain", 1), ("masked", 1)]
)
def test_half_precision_is_close_to_float32(kind, length):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 5, 4).bfloat16() for _ in range(3))
    query = query[:, :, :length]
    found = attend(query, key, value, **KINDS[kind])
    expected = attend(query.float(), key.float(), value.float(), **KINDS[kind])
    assert found.dtype == torch.bfloat16
    assert_close(found.float(), expected, rtol=0.02, atol=0.02)


MASKS = {
    "one for each picture": (torch.arange(9) < torch.tensor([[2], [9]]))[:, None, None],
    "one for each head": torch.arange(54).view(1, 3, 2, 9) % 4 > 0,
    "one for all": torch.arange(18).view(2, 9) % 4 > 0,
}
CHUNKED = {  # queries, and settings
    "plain": (9, {}),
    "causal": (9, {"is_causal": True}),
    **{name: (2, {"attention_mask": mask}) for name, mask in MASKS.items()},
}


@pytest.mark.parametrize("kind", CHUNKED)
@pytest.mark.parametrize("heads", [1, 4, 5, 6])  # of the batch's 6 in a chunk
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_attention_in_chunks_is_that_of_torch(monkeypatch, kind, heads, dtype):
    torch.manual_seed(0)
    length, settings = CHUNKED[kind]
    rows = 4 if kind == "causal" else length
    monkeypatch.setattr("vqpriors.nn.attention.CHUNK", rows * 9 * heads + 8)
    monkeypatch.setattr("vqpriors.nn.attention.CHUNK_QUERIES", 4)
    wanted = [torch.randn(2, 9, 3, 4).transpose(1, 2) for _ in range(3)]
    wanted[0] = wanted[0][:, :, :length].clone()
    parts = [each.to(dtype).requires_grad_() for each in wanted]
    wanted = [each.detach().float().requires_grad_() for each in parts]
    mask, is_causal = settings.get("attention_mask"), settings.get("is_causal", False)
    sizes, weights = [], attention_module._weights

    def weights_of(query, key, *rest):
        sizes.append((*query.shape[:2], key.shape[1]))
        return weights(query, key, *rest)

    monkeypatch.setattr(attention_module, "_weights", weights_of)
    bias = None if mask is None else attention_module._bias(mask, parts[0])
    found = attention_module._Chunks.apply(*parts, bias, is_causal)
    expected = F.scaled_dot_product_attention(*wanted, attn_mask=mask, is_causal=is_causal)
    counts = {1: [1] * 6, 4: [4, 2], 5: [5, 1], 6: [6]}[heads]
    shares = [(4, 4), (4, 8), (1, 9)] if kind == "causal" else [(length, 9)]
    assert sizes == [(count, *share) for count in counts for share in shares]
    gradient = torch.randn_like(expected)
    tolerance = (
        {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.03, "atol": 0.03}
    )
    assert found.dtype == dtype
    assert_close(found.float(), expected, **tolerance)
    for each, other in zip(
        torch.autograd.grad(found, parts, gradient.to(dtype)),
        torch.autograd.grad(expected, wanted, gradient.to(dtype).float()),
        strict=True,
    ):
        assert each.dtype == dtype
        assert_close(each.float(), other, **tolerance)


@pytest.mark.parametrize(
    ("dtype", "queries", "keys", "trained", "untrained"),
    [
        (torch.bfloat16, 300, 300, "chunks", "chunks"),
        (torch.bfloat16, 9, 256, "plain", "chunks"),
        (torch.bfloat16, 1, 300, "fused", "fused"),
        (torch.float32, 300, 300, "fused", "fused"),
        (torch.float32, 9, 64, "plain", "fused"),
    ],
)
def test_way_of_attention_on_a_cpu(dtype, queries, keys, trained, untrained):
    query, key = torch.zeros(2, 3, queries, 4, dtype=dtype), torch.zeros(2, 3, keys, 4, dtype=dtype)
    fastest = attention_module._fastest
    assert fastest(query, key) == untrained
    query.requires_grad_()
    assert fastest(query, key) == trained
    with torch.no_grad():
        assert fastest(query, key) == untrained


def test_dtype_of_keys_is_that_of_the_computation():
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 3, 1, 4), torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
    expected = attend(query, key, value)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(attend(query, key, value), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_inference_give_equal_attention(kind):
    torch.manual_seed(0)
    query, key, value = (random(2, 3, 5, 4) for _ in range(3))
    settings = KINDS[kind]
    inference = attend(query, key, value, **settings)
    training = attend(query.requires_grad_(), key, value, **settings)
    assert_close(training.detach(), inference)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_torch(kind):
    torch.manual_seed(0)
    parts = [random(2, 3, 5, 4).requires_grad_() for _ in range(3)]
    settings = {"attn_mask": KINDS[kind].get("attention_mask"), "is_causal": kind == "causal"}
    whole = F.scaled_dot_product_attention(*parts, **settings).square().sum()
    expected = torch.autograd.grad(whole, parts)
    found = torch.autograd.grad(attend(*parts, **KINDS[kind]).square().sum(), parts)
    assert_close(found, expected)


def test_scale_of_queries_and_keys_does_not_matter():
    module, x = attention(), random(2, 5, WIDTH)
    expected = module(x, is_causal=False)
    with torch.no_grad():
        module.qkv.weight[: 2 * WIDTH] *= 1000
    assert_close(module(x, is_causal=False), expected, rtol=1e-5, atol=1e-5)
