import shutil

import pytest
import torch
from torch.testing import assert_close

from tests.marks import needs_c_compiler
from tests.threads import by_threads
from tests.tiny import NO_TEXT, captions, no_captions, transformer
from vqpriors.core import compiler
from vqpriors.core.compiler import compiling
from vqpriors.core.hardware import autocast
from vqpriors.nn import compiled_step
from vqpriors.nn.compiled_step import MAX_ROWS, CompiledBlocks
from vqpriors.nn.stepping import CachedBlocks, FastBlocks, make_steps

pytestmark = needs_c_compiler
# Positions and captions of one and of several blocks of lanes; outputs and head widths that are
# multiples of the lanes, and that are not.
TEXT = {"length": 20, "vocabulary": 9, "feature_width": 0}
SIZES = {
    "small": {"grid": (2, 3), "width": 10, "heads": 5, "positions": "learned"},
    "odd": {"grid": (5, 7), "width": 24, "heads": 2, "codebook_size": 37},
    "even": {"grid": (4, 8), "width": 64, "heads": 2, "codebook_size": 64},
    "wide": {"grid": (6, 6), "width": 160, "heads": 2, "codebook_size": 130},
}


def make(**changes):
    torch.manual_seed(0)
    prior = transformer(**changes)
    for parameter in prior.parameters():
        scale = torch.empty_like(parameter).uniform_(0.5, 1.5)
        parameter.data.copy_(scale if parameter.ndim == 1 else parameter * 5)
    return prior.eval()


def text_of(prior, rows):
    if prior.text_tower is None:
        return no_captions(rows)
    return captions(*([[2, 3, 4, 5], [], [6]][row % 3] for row in range(rows)))


def drawn(kind, prior, tokens, precision="no"):
    """Return the logits at each position, (N, B, K), for tokens of (N, B)."""
    with torch.inference_mode(), autocast(precision, torch.device("cpu")):
        contexts = prior.contexts(text_of(prior, tokens.shape[1]), for_cache=True)
        blocks = kind(prior, contexts, batch=tokens.shape[1])
        return torch.stack([prior.step(token, blocks) for token in tokens])


@pytest.mark.parametrize("rows", [1, 2, 4, 7, 9])
@pytest.mark.parametrize("has_text", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_compiled_step_equals_the_blocks(size, has_text, rows):
    prior = make(**SIZES[size], **({} if has_text else {"text": NO_TEXT}))
    tokens = torch.randint(prior.begin, (prior.length, rows))
    expected = drawn(CachedBlocks, prior, tokens)
    found = drawn(CompiledBlocks, prior, tokens)
    assert found.dtype == torch.float32
    assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
    assert (expected[0] - expected[-1]).abs().max() > 0.1


@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize("size", SIZES)
def test_compiled_step_in_bfloat16_is_nearer_to_float32_than_the_blocks(size, rows):
    prior = make(**SIZES[size])
    tokens = torch.randint(prior.begin, (prior.length, rows))
    exact = drawn(CachedBlocks, prior, tokens)
    cached, found = (
        (drawn(kind, prior, tokens, "bf16") - exact).square().mean()
        for kind in (CachedBlocks, CompiledBlocks)
    )
    assert 0 < found < cached < 0.02 * exact.square().mean()


@torch.inference_mode()
def test_cached_keys_and_values_are_rounded_to_the_nearest_bfloat16():
    prior = make(**SIZES["even"], text=NO_TEXT, depth=1)
    for parameter in prior.parameters():
        parameter.data = parameter.data.bfloat16().float()
    prior.blocks[0].self_norm.weight.data.fill_(1.0)  # so that its product with the next is exact
    tokens = torch.randint(prior.begin, (prior.length, 3))
    caches = []
    for precision in ("no", "bf16"):
        with autocast(precision, torch.device("cpu")):
            blocks = CompiledBlocks(prior, [None], batch=3)
            for token in tokens:
                blocks(prior.embedding(token).bfloat16().float())
        caches.append([each for each in blocks.kept if each.shape == (3, 2, 32, 32)])
    for exact, rounded in zip(*caches, strict=True):
        assert exact.dtype == torch.float32
        assert torch.equal(rounded, exact.bfloat16())


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_compiled_step_is_the_same_for_any_number_of_threads_and_pictures(precision):
    prior = make(**SIZES["odd"], text=NO_TEXT)
    tokens = torch.randint(prior.begin, (prior.length, 6))
    found = by_threads(lambda: drawn(CompiledBlocks, prior, tokens, precision), 1, 2, 3, 7)
    found.append(drawn(CompiledBlocks, prior, tokens.repeat(1, 2)[:, :9], precision)[:, :6])
    for each in found[1:]:
        assert torch.equal(found[0], each)


def test_compiled_step_passes_on_what_is_not_a_number():
    prior = make(**SIZES["even"])
    prior.blocks[0].self_attention.qkv.weight.data[3, 5] = torch.nan
    tokens = torch.randint(prior.begin, (2, 3))
    assert drawn(CompiledBlocks, prior, tokens).isnan().all()


def test_exponential_function_is_exact_where_attention_is_sharp():
    prior = make(**SIZES["even"], text=NO_TEXT)
    for block in prior.blocks:  # scores from about -60 to 60
        block.self_attention.query_norm.weight.data.fill_(11.0)
    tokens = torch.randint(prior.begin, (prior.length, 2))
    expected = drawn(CachedBlocks, prior, tokens)
    found = drawn(CompiledBlocks, prior, tokens)
    assert_close(found, expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


def kind_of(prior, rows):
    return type(make_steps(prior, prior.contexts(text_of(prior, rows)), batch=rows))


@torch.inference_mode()
def test_steps_are_compiled_for_few_pictures_if_wanted():
    prior = make(**SIZES["small"])
    with compiling(True):
        assert kind_of(prior, MAX_ROWS) is CompiledBlocks
        assert kind_of(prior, MAX_ROWS + 1) is FastBlocks
        with compiling(False):
            assert kind_of(prior, 1) is FastBlocks
        with autocast("fp16", torch.device("cpu")):
            assert kind_of(prior, 1) is CachedBlocks
    assert kind_of(prior, 1) is FastBlocks


@torch.inference_mode()
def test_without_a_compiler_the_log_says_so_once(monkeypatch, tmp_path, caplog, fresh_compiler):
    monkeypatch.setenv("PATH", str(tmp_path))
    prior = make(**SIZES["small"])
    with compiling(True):
        assert kind_of(prior, 1) is kind_of(prior, 2) is FastBlocks
    problem = "sampling without a compiled step: no C compiler found (cc, gcc, clang)"
    assert caplog.messages == [problem]


@pytest.fixture
def fresh_compiler():
    """Forget what has been compiled, before a test and after it."""
    found = (compiler.compile_c, compiler._avx512_problem, compiled_step._can_compile)
    for function in found:
        function.cache_clear()
    yield
    for function in found:
        function.cache_clear()


def test_error_of_the_compiler_is_one_line(tmp_path):
    source = tmp_path / "wrong.c"
    source.write_text("int step(void) { return lacking; }\n")
    with pytest.raises(RuntimeError, match=r"^/.*: .*") as caught:
        compiler.compile_c(source)
    assert "\n" not in str(caught.value)


def test_library_that_cannot_be_loaded_is_an_error(monkeypatch, tmp_path, fresh_compiler):
    fake = tmp_path / "cc"
    fake.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\necho no library > "$2"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"step\.so") as caught:
        compiler.compile_c(compiled_step.SOURCE)
    assert "\n" not in str(caught.value)


def test_a_compiler_without_threads_is_used_without_them(monkeypatch, tmp_path, fresh_compiler):
    real = next(filter(None, map(shutil.which, compiler.COMPILERS)))
    fake = tmp_path / "cc"
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in *{compiler.THREADS}*) echo unknown option >&2; exit 1;; esac\n'
        f'PATH=/usr/bin:/bin exec {real} "$@"\n'
    )
    fake.chmod(0o755)
    prior = make(**SIZES["odd"])
    tokens = torch.randint(prior.begin, (prior.length, 3))
    expected = drawn(CompiledBlocks, prior, tokens)
    monkeypatch.setenv("PATH", str(tmp_path))
    compiler.compile_c.cache_clear()
    assert torch.equal(drawn(CompiledBlocks, prior, tokens), expected)


def test_a_library_that_lacks_that_of_threads_is_built_without(
    monkeypatch, tmp_path, fresh_compiler
):
    real = next(filter(None, map(shutil.which, compiler.COMPILERS)))
    fake = tmp_path / "cc"
    fake.write_text(
        f'#!/bin/sh\nPATH=/usr/bin:/bin {real} "$@" || exit 1\n'
        f'case "$*" in *{compiler.THREADS}*) while [ "$1" != -o ]; do shift; done\n'
        'echo no library > "$2";; esac\n'
    )
    fake.chmod(0o755)
    prior = make(**SIZES["odd"])
    tokens = torch.randint(prior.begin, (prior.length, 3))
    expected = drawn(CompiledBlocks, prior, tokens)
    monkeypatch.setenv("PATH", f"{tmp_path}")
    compiler.compile_c.cache_clear()
    assert torch.equal(drawn(CompiledBlocks, prior, tokens), expected)
