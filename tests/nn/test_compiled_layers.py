"""Layers in C against the same layers in torch: both against a computation in float64."""

import pytest
import torch
from torch import nn

from tests import tiny
from tests.marks import needs_avx512, needs_fast_bfloat16
from tests.threads import by_threads
from vqpriors.core import compiler
from vqpriors.core.compiler import compiling
from vqpriors.core.hardware import autocast
from vqpriors.nn import compiled_attention, compiled_layers, compiled_linear
from vqpriors.nn.attention import CrossAttention, SelfAttention, grid_rope
from vqpriors.nn.blocks import Block, SwiGLU
from vqpriors.nn.linear import Linear
from vqpriors.nn.norm import RMSNorm
from vqpriors.training.losses import Objective

CPU, BATCH = torch.device("cpu"), 3
FLAGS = compiler.FLAGS
# Fewer positions than a tile, several tiles and several blocks of keys; heads that fill registers,
# and that do not.
SELF = {
    "one tile": {"width": 64, "heads": 2, "grid": (3, 5)},
    "even": {"width": 64, "heads": 2, "grid": (8, 8)},
    "wide": {"width": 160, "heads": 2, "grid": (5, 7)},
    "odd": {"width": 21, "heads": 3, "grid": (5, 9), "is_turned": False},
    "padded": {"width": 24, "heads": 2, "grid": (6, 7), "is_padded": True},
    "causal": {"width": 24, "heads": 2, "grid": (6, 7), "is_causal": True},
    "causal, even": {"width": 64, "heads": 2, "grid": (8, 12), "is_causal": True},
    "long, padded": {"width": 24, "heads": 2, "grid": (14, 15), "is_padded": True},
    "long, causal": {"width": 64, "heads": 2, "grid": (14, 20), "is_causal": True},
}
CROSS = {
    "short": {"width": 24, "heads": 2, "length": 20, "text_length": 5},
    "long": {"width": 64, "heads": 2, "length": 33, "text_length": 77},
}


class Self(nn.Module):
    def __init__(self, *, width, heads, grid, is_causal=False, is_padded=False, is_turned=True):
        super().__init__()
        self.layer = SelfAttention(width=width, heads=heads, dropout=0.0)
        self.shape = BATCH, grid[0] * grid[1], width
        self.is_causal = is_causal
        self.mask = mask_of(self.shape[1]) if is_padded else None
        self.register_buffer("rope", grid_rope(*grid, width // heads)[:, 1:] if is_turned else None)

    def forward(self, x):
        return self.layer(x, is_causal=self.is_causal, rope=self.rope, padding_mask=self.mask)


class Cross(nn.Module):
    def __init__(self, *, width, heads, length, text_length):
        super().__init__()
        self.layer = CrossAttention(width=width, heads=heads, dropout=0.0)
        self.shape = BATCH, length, width
        self.caption = nn.Parameter(torch.randn(BATCH, text_length, width))
        self.mask = mask_of(text_length)

    def forward(self, x):
        return self.layer(x, self.layer.keys_values(self.caption), self.mask)


class Plain(nn.Module):
    def __init__(self, layer, width):
        super().__init__()
        self.layer, self.shape = layer, (BATCH, 55, width)

    def forward(self, x):
        return self.layer(x.bfloat16() if torch.is_autocast_enabled("cpu") else x)


def mask_of(length):
    """Return a mask of all tokens, of those at the start, and of every second one."""
    mask = torch.ones(BATCH, length, dtype=torch.bool)
    mask[1, length // 3 :] = False
    mask[2, 1::2] = False
    return mask


def made(module):
    torch.manual_seed(0)
    for parameter in module.parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            nn.init.normal_(parameter, std=1 if parameter.ndim == 3 else 2 * len(parameter) ** -0.5)
    return module


MODULES = {
    **{f"self-attention, {name}": (Self, settings) for name, settings in SELF.items()},
    **{f"cross-attention, {name}": (Cross, settings) for name, settings in CROSS.items()},
    **{f"RMSNorm of {width}": (Plain, {"width": width}) for width in (7, 40, 256)},
    **{f"SwiGLU of {width}": (Plain, {"width": width}) for width in (7, 40, 64)},
    **{f"linear layers of {width}": (Plain, {"width": width}) for width in (32, 96)},
}


def build(name):
    kind, settings = MODULES[name]
    if kind is not Plain:
        return made(kind(**settings))
    width = settings["width"]
    if "linear" in name:
        return made(Plain(nn.Sequential(Linear(width, 64), Linear(64, width)), width))
    layer = RMSNorm(width) if "RMSNorm" in name else SwiGLU(width=width, dropout=0.0)
    return made(Plain(layer, width))


def results(module, *, precision="bf16", is_compiled=False, rows=slice(None)):
    """Return the output, and the gradients of the input and of the weights."""
    generator = torch.Generator().manual_seed(1)
    x, gradient = (torch.randn(module.shape, generator=generator).bfloat16() for _ in range(2))
    dtype = next(module.parameters()).dtype
    x = x[rows].to(dtype).requires_grad_()
    module.zero_grad()
    with autocast(precision, CPU), compiling(is_compiled):
        out = module(x)
    out.backward(gradient[rows].to(out.dtype))
    return [out.detach(), x.grad, *(p.grad.clone() for p in module.parameters())]


@pytest.fixture
def products(monkeypatch):
    """Return a list of the products computed in C: kind and shape of the weights."""
    noted, multiply = [], compiled_linear._multiply

    def note(x, weight, kind):
        noted.append((kind, *weight.shape))
        return multiply(x, weight, kind)

    monkeypatch.setattr(compiled_linear, "_multiply", note)
    return noted


every_layer = pytest.mark.parametrize("name", MODULES)
both_precisions = pytest.mark.parametrize(
    "precision",
    [pytest.param("bf16", marks=needs_fast_bfloat16), pytest.param("no", marks=needs_avx512)],
)


@both_precisions
@every_layer
def test_layers_in_c_are_as_exact_as_those_in_torch(name, precision, products):
    module = build(name)
    plain = results(module, precision=precision)
    assert not products
    found = results(module, precision=precision, is_compiled=True)
    exact = results(module.double(), precision="no")
    if "linear" in name:  # torch may compute the same sums in the same order
        assert products
    else:
        assert not torch.equal(plain[0], found[0])
    for own, other, each in zip(found, plain, exact, strict=True):
        assert own.dtype == other.dtype
        own, other = ((x - each).norm() / each.norm() for x in (own, other))
        if precision == "bf16":
            assert own < 1.2 * other + 0.002 < 0.03
        else:
            assert own < 1e-6


@needs_fast_bfloat16  # in float32, the products of torch depend on it
@every_layer
def test_layers_in_c_are_the_same_for_any_number_of_threads(name):
    module = build(name)
    found = by_threads(lambda: results(module, is_compiled=True), 1, 2, 3, 7)
    for each in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(found[0], each, strict=True))


@both_precisions
@every_layer
def test_layers_in_c_pass_on_what_is_not_a_number(name, precision):
    module = build(name)
    for parameter in module.parameters():
        parameter.data.flatten()[0] = torch.nan
        out = results(module, precision=precision, is_compiled=True)[0]
        assert out.isnan().any()
        assert torch.equal(out.isnan(), results(module, precision=precision)[0].isnan())
        parameter.data.flatten()[0] = 1.0


@both_precisions
def test_attention_is_exact_where_it_is_sharp(precision):
    module = build("self-attention, causal, even")
    module.layer.query_norm.weight.data.fill_(8.0)  # scores from about -40 to 40
    found = results(module, precision=precision, is_compiled=True)[0]
    exact = results(module.double(), precision="no")[0]
    error = 0.02 if precision == "bf16" else 5e-5
    assert (found - exact).norm() < error * exact.norm()


@both_precisions
def test_padding_changes_nothing_and_gets_no_gradient(precision):
    module = build("cross-attention, long")
    out, *_ = results(module, precision=precision, is_compiled=True)
    padding = ~module.mask
    assert not module.caption.grad[padding].any()
    assert module.caption.grad[module.mask].any()
    module.caption.data[padding] = 1e4
    assert torch.equal(results(module, precision=precision, is_compiled=True)[0], out)


@both_precisions
def test_causal_attention_sees_no_later_position(precision):
    module = build("self-attention, causal")
    x = torch.randn(module.shape)
    changed = x.clone()
    changed[:, 20:] = 7.0
    with torch.inference_mode(), autocast(precision, CPU), compiling(True):
        assert torch.equal(module(x)[:, :20], module(changed)[:, :20])
        assert not torch.equal(module(x)[:, 20:], module(changed)[:, 20:])


@pytest.mark.parametrize("arch", ["transformer", "cftn", "cftn2"])
@pytest.mark.parametrize("is_trained", [True, False])
@both_precisions
def test_priors_use_layers_in_c_if_wanted(arch, is_trained, precision, monkeypatch):
    used = set()
    for module in (compiled_attention, compiled_layers):
        call = module._call
        monkeypatch.setattr(
            module, "_call", lambda name, *given, call=call: used.add(name) or call(name, *given)
        )
    prior = tiny.randomised(getattr(tiny, arch)()).train(is_trained)
    codes, text = tiny.codes(4), tiny.captions([1, 2], [3], [], [4])
    batch = tiny.prior_batch(prior, codes, text)

    def loss(precision, wanted):
        used.clear()
        with torch.set_grad_enabled(is_trained), autocast(precision, CPU), compiling(wanted):
            total = sum(prior.losses(batch).values())
        if is_trained:
            total.backward()
        return total.detach()

    exact = loss("no", False)
    plain = loss(precision, False)
    assert not used
    found = loss(precision, True)
    forward = {"attend", "rms_norm", "swiglu"}
    assert used == forward | {f"{name}_backward" for name in forward if is_trained}
    error = 0.01 if precision == "bf16" else 1e-5
    assert abs(found - exact) < 2 * abs(plain - exact) + error * exact


@needs_fast_bfloat16
@pytest.mark.filterwarnings("ignore:.*should not be instantiated")  # torch's own, in tracing
def test_torch_compile_traces_the_layers_of_torch():
    prior = tiny.cftn().train()
    objective = Objective(prior)
    objective.compile(backend="eager")
    batch = tiny.prior_batch(prior, tiny.codes(4), tiny.captions([1, 2], [3], [], [4]))
    with autocast("bf16", CPU):
        expected = prior.losses(batch)
        with compiling(True):
            torch.testing.assert_close(objective(batch), expected)


@pytest.fixture
def flags(monkeypatch):
    """Compile with further flags, after what has been compiled is forgotten."""

    def add(*given):
        monkeypatch.setattr(compiler, "FLAGS", (*FLAGS, *given))
        for cached in (compiler.compile_c, compiler._avx512_problem):
            cached.cache_clear()

    yield add
    add()


@needs_fast_bfloat16
def test_problems_of_code_in_c_are_named(flags):
    for precision in ("no", "bf16"):
        assert compiler.avx512_problem(CPU, precision) is None
        assert compiler.avx512_problem(torch.device("cuda"), precision) == "only for CPUs"
    assert compiler.avx512_problem(CPU, "fp16") == "only for bfloat16 and float32"
    flags("-mno-avx512bf16")
    assert compiler.avx512_problem(CPU, "no") is None
    assert compiler.avx512_problem(CPU, "bf16") == "the processor has no AVX-512 BF16"
    with compiling(True):
        assert not compiled_layers.is_usable(torch.zeros(1, dtype=torch.bfloat16))
        assert compiled_layers.is_usable(torch.zeros(1))
    flags("-mno-avx512f")
    assert compiler.avx512_problem(CPU, "no") == "the processor has no AVX-512"


@needs_avx512
def test_layers_in_float32_need_no_bfloat16(flags):
    module = build("self-attention, padded")
    expected = results(module, precision="no", is_compiled=True)
    flags("-mno-avx512bf16")
    found = results(module, precision="no", is_compiled=True)
    assert all(torch.equal(*pair) for pair in zip(expected, found, strict=True))


@both_precisions
def test_linear_layers_in_c_map_each_row_by_itself(precision):
    layer, x = made(Linear(64, 96)), torch.randn(2, 75, 64)

    def run(rows):
        with torch.inference_mode(), autocast(precision, CPU), compiling(True):
            return layer(x.flatten(0, 1)[rows])

    out = run(slice(None))
    with torch.inference_mode(), autocast(precision, CPU), compiling(True):
        assert torch.equal(layer(x).flatten(0, 1), out)
    for rows in (slice(1), slice(7), slice(3, 12), slice(5, 70)):
        assert torch.equal(run(rows), out[rows])


@both_precisions
@pytest.mark.parametrize("width", [32, 96])
def test_swiglu_without_gradients_is_as_exact(precision, width, products):
    layer = made(SwiGLU(width=width, dropout=0.0))
    x = torch.randn(3, 37, width).bfloat16().float()
    with torch.inference_mode(), autocast(precision, CPU):
        plain = layer(x)
        with compiling(True):
            found = layer(x)
    assert [kind for kind, *_ in products] == [compiled_linear._GATED, compiled_linear._PLAIN]
    with torch.no_grad():
        exact = layer.double()(x.double())
    own, other = ((each - exact).norm() / exact.norm() for each in (found, plain))
    assert own < (1.2 * other if precision == "bf16" else 1e-6)


@needs_avx512
def test_other_linear_layers_are_left_to_torch(products):
    with compiling(True):
        for inputs, outputs in [(40, 64), (64, 40)]:
            assert Linear(inputs, outputs)(torch.zeros(9, inputs)).shape == (9, outputs)
        for shape in [(64,), (0, 64), (9, 1, 64)]:
            assert Linear(64, 32)(torch.zeros(shape)).shape == (*shape[:-1], 32)
        with pytest.raises(RuntimeError, match="dtype"):
            Linear(64, 32)(torch.zeros(9, 64, dtype=torch.bfloat16))
        with pytest.raises(RuntimeError, match="shapes"):
            Linear(64, 32)(torch.zeros(9, 32))
    Linear(64, 32)(torch.zeros(9, 64))
    assert not products


@needs_avx512
def test_frozen_linear_layers_in_c_get_no_gradient(products):
    layer, x = made(Linear(64, 32)), torch.randn(9, 64, requires_grad=True)
    with compiling(True):
        layer.requires_grad_(False)
        layer(x).sum().backward()
        assert layer.weight.grad is None
        torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(9, -1))
        layer.requires_grad_(True)
        layer(x.detach()).sum().backward()
        assert layer.weight.grad is not None
    assert [kind for kind, *_ in products] == [0, 1, 0]


@both_precisions
def test_the_products_of_a_block_are_computed_in_c_if_wanted(precision, products):
    block = Block(width=64, heads=2, dropout=0.0, has_text=True)
    with autocast(precision, CPU):
        for wanted in (False, True):
            assert not products
            with compiling(wanted):
                x, caption = (torch.randn(2, n, 64, requires_grad=True) for n in (40, 9))
                pair = block.cross_attention.keys_values(caption)
                context = pair, torch.ones(2, 9, dtype=torch.bool)
                block(x, is_causal=False, context=context).float().sum().backward()
    weights = [p.shape for p in block.parameters() if p.ndim == 2]
    assert sorted(products) == sorted((kind, *shape) for kind in range(2) for shape in weights)


@needs_fast_bfloat16
def test_heads_wider_than_the_memory_for_them_are_left_to_torch():
    with compiling(True):
        for width in (256, 257):
            query = torch.zeros(1, 1, 2, width, dtype=torch.bfloat16)
            assert compiled_attention.is_usable(query) == (width == compiled_attention.MAX_WIDTH)
