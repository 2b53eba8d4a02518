import pytest
import torch
from torch.testing import assert_close

from tests.marks import needs_fast_bfloat16
from tests.threads import by_threads
from tests.tiny import ema
from vqpriors.core.compiler import compiling
from vqpriors.quantizers.ema import kmeans, nearest
from vqpriors.tokenizer.base import compiled_nearest


def updated(quantizer, vectors):
    """Quantize a batch in training mode and update the codebook."""
    quantized = quantizer(vectors)
    quantizer.end_update()
    return quantized


def initialised(*codes, **changes):
    """Return a quantizer in training mode with the given codebook."""
    codebook = torch.tensor(codes)
    quantizer = ema(num_codes=len(codes), dim=codebook.shape[1], **changes)
    quantizer.codebook.copy_(codebook)
    quantizer.cluster_sum.copy_(codebook)
    quantizer.is_initialised.fill_(True)
    return quantizer


@pytest.fixture(params=["torch", pytest.param("C", marks=needs_fast_bfloat16)])
def search(request):
    """The search for the nearest code, in torch and in C."""

    def found(vectors, codebook):
        with compiling(request.param == "C"):
            assert compiled_nearest.is_usable(vectors) == (request.param == "C")
            return nearest(vectors, codebook)

    return found


def test_two_ema_updates_by_hand():
    quantizer = initialised([0.0, 0.0], [8.0, 0.0], decay=0.75, dead_code_threshold=0.0)
    codes = updated(quantizer, torch.tensor([[1.0, 1.0], [3.0, 1.0], [8.0, 4.0]])).codes
    assert codes.tolist() == [0, 0, 1]
    # a quarter is new: sizes 3/4 + 2/4 and 3/4 + 1/4; sums 4/4, 2/4 and 8 x 3/4 + 8/4, 4/4
    assert quantizer.cluster_size.tolist() == [1.25, 1.0]
    assert quantizer.cluster_sum.tolist() == [[1.0, 0.5], [8.0, 1.0]]
    assert_close(quantizer.codebook, torch.tensor([[0.8, 0.4], [8.0, 1.0]]))
    assert updated(quantizer, torch.tensor([[0.0, 0.0]])).codes.tolist() == [0]
    # sizes 1.25 x 3/4 + 1/4 and 3/4; sums are 3/4 of those before
    assert quantizer.cluster_size.tolist() == [1.1875, 0.75]
    assert quantizer.cluster_sum.tolist() == [[0.75, 0.375], [6.0, 0.75]]
    assert_close(quantizer.codebook, torch.tensor([[12 / 19, 6 / 19], [8.0, 1.0]]))


def test_commitment_is_the_weighted_squared_distance_before_the_update():
    quantizer = initialised([0.0], [10.0], commitment=0.5)
    losses = quantizer(torch.tensor([[1.0], [7.0]])).losses
    assert_close(losses, {"commitment": torch.tensor(0.5 * (1 + 9) / 2)})


def test_gradient_passes_straight_through():
    vectors = torch.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True)
    weights = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    quantized = initialised([0.0, 0.0], [4.0, 4.0])(vectors)
    assert_close(quantized.vectors, torch.tensor([[0.0, 0.0], [4.0, 4.0]]))
    (quantized.vectors * weights).sum().backward()
    assert torch.equal(vectors.grad, weights)


def test_commitment_pulls_vectors_to_their_codes():
    vectors = torch.tensor([[1.0, 2.0]], requires_grad=True)
    initialised([0.0, 0.0], [4.0, 4.0], commitment=0.25)(vectors).losses["commitment"].backward()
    assert_close(vectors.grad, torch.tensor([[0.25, 0.5]]))  # 0.25 x 2 v / 2


@pytest.mark.parametrize(("width", "num_codes"), [(1, 300), (5, 37), (16, 512), (40, 96)])
@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_nearest_equals_a_search_over_all_pairs(search, width, num_codes, offset, scale):
    generator = torch.Generator().manual_seed(0)
    vectors, codebook = (
        (torch.randn(n, width, generator=generator) + offset) * scale for n in (5003, num_codes)
    )
    found = search(vectors, codebook)  # more than one chunk
    distances = torch.cdist(
        vectors.double(), codebook.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    own = distances.gather(1, found[:, None])[:, 0]
    # In float32, codes about as near can't be told apart.
    error = 2e-6 * (vectors.norm(dim=1) + codebook.norm(dim=1).max()) ** 2
    assert ((own.square() - distances.min(1).values.square()) <= error).all()
    if offset == 0 and width > 1:
        assert torch.equal(found, distances.argmin(1))


@needs_fast_bfloat16
def test_search_in_c_tells_apart_codes_that_bfloat16_does_not():
    generator = torch.Generator().manual_seed(0)
    codebook = 50 + torch.randn(600, 12, generator=generator)  # rounded by up to 0.125
    vectors = 50 + torch.randn(2000, 12, generator=generator)
    assert (codebook.bfloat16().float() - codebook).abs().mean() > 0.05
    with compiling(True):
        found = nearest(vectors, codebook)
    distances = torch.cdist(vectors.double(), codebook.double())
    assert torch.equal(found, distances.argmin(1))


@needs_fast_bfloat16
def test_search_in_c_is_the_same_for_any_number_of_threads():
    vectors, codebook = torch.randn(1003, 7), torch.randn(50, 7)
    with compiling(True):
        found = by_threads(lambda: nearest(vectors, codebook), 1, 2, 3, 200)
    assert all(torch.equal(found[0], each) for each in found)


def test_search_takes_no_vectors_and_vectors_that_are_not_numbers(search):
    codebook = torch.tensor([[5.0], [1.0]])
    assert search(torch.zeros(0, 1), codebook).shape == (0,)
    found = search(torch.tensor([[torch.nan], [4.0], [torch.inf]]), codebook)
    assert 0 <= found.min() <= found.max() < 2
    assert found[1] == 0


def test_first_of_tied_codes_is_chosen(search):
    codebook = torch.tensor([[5.0], [1.0], [-1.0], [1.0]])
    assert search(torch.tensor([[0.0], [1.0], [3.0]]), codebook).tolist() == [1, 1, 0]


@pytest.mark.parametrize("seed", range(5))
def test_kmeans_finds_separated_clusters_exactly(seed):
    torch.manual_seed(seed)
    vectors = torch.tensor([[0.0, 0.0], [2.0, 2.0], [100.0, 100.0], [104.0, 104.0]])
    assert kmeans(vectors, 2, num_iters=10).sort(0).values.tolist() == [[1.0, 1.0], [102.0, 102.0]]


def test_kmeans_of_fewer_vectors_than_codes_repeats_them():
    torch.manual_seed(0)
    centres = kmeans(torch.tensor([[1.0], [2.0]]), 5, num_iters=3)
    assert set(centres.flatten().tolist()) == {1.0, 2.0}


def test_codebook_is_initialised_by_kmeans_of_the_first_batch():
    torch.manual_seed(0)
    quantizer = ema(num_codes=2, dim=1, decay=0.999999, dead_code_threshold=0.0)
    quantized = updated(quantizer, torch.tensor([[0.0], [2.0], [10.0], [14.0]]))
    assert_close(quantizer.codebook.sort(0).values, torch.tensor([[1.0], [12.0]]))
    assert quantized.codes[0] == quantized.codes[1] != quantized.codes[2] == quantized.codes[3]
    before = quantizer.codebook.clone()
    updated(quantizer, torch.tensor([[500.0], [600.0]]))
    assert_close(quantizer.codebook, before, rtol=0.01, atol=0.01)  # initialised only once


def test_dead_code_and_its_averages_are_replaced():
    quantizer = initialised([0.0], [1000.0], decay=0.5, dead_code_threshold=0.6)
    updated(quantizer, torch.tensor([[1.0], [2.0], [3.0]]))
    # The first is alive: (1 + 3) / 2 vectors of sum (0 + 6) / 2. The second fell to 0.5.
    assert quantizer.cluster_size.tolist() == [2.0, 1.0]
    assert quantizer.codebook[0].item() == 1.5
    assert quantizer.codebook[1].item() in (1.0, 2.0, 3.0)
    assert torch.equal(quantizer.cluster_sum[1], quantizer.codebook[1])


def test_dead_code_is_unchanged_at_threshold_0():
    quantizer = initialised([0.0], [1000.0], decay=0.01, dead_code_threshold=0.0)
    for _ in range(5):
        updated(quantizer, torch.tensor([[1.0]]))
    assert quantizer.cluster_size[1] < 1e-3
    assert_close(quantizer.codebook[1], torch.tensor([1000.0]))


@pytest.mark.parametrize("is_initialised", [True, False])
def test_evaluation_changes_nothing(is_initialised):
    quantizer = initialised([0.0, 0.0], [4.0, 4.0], dead_code_threshold=10.0).eval()
    quantizer.is_initialised.fill_(is_initialised)
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer(torch.randn(8, 2))
    quantizer.train().encode(torch.randn(8, 2))
    quantizer.decode(torch.tensor([0, 1]))
    quantizer.end_update()
    for name, value in quantizer.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("num_codes", [64, 70, 192])  # one block of 64, no whole blocks, three
def test_first_of_equal_codes_is_the_nearest(search, num_codes):
    generator = torch.Generator().manual_seed(0)
    distinct = torch.randn(num_codes // 2, 4, generator=generator)
    codebook = distinct.repeat(2, 1)  # each code twice, often in another block
    vectors = torch.cat([distinct, torch.randn(300, 4, generator=generator)])
    expected = torch.cdist(vectors.double(), distinct.double()).argmin(1)
    assert torch.equal(search(vectors, codebook), expected)


def test_codes_are_the_same_under_autocast():
    generator = torch.Generator().manual_seed(0)
    codebook = 1 + 1e-3 * torch.randn(64, 8, generator=generator)  # equal in bfloat16
    vectors = 1 + 1e-3 * torch.randn(500, 8, generator=generator)
    quantizer = initialised(*codebook.tolist()).eval()
    exact = quantizer(vectors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded, codes = quantizer(vectors), quantizer.encode(vectors)
    assert torch.equal(rounded.codes, exact.codes)
    assert torch.equal(codes, exact.codes)
    assert torch.equal(rounded.vectors, exact.vectors)
    assert rounded.vectors.dtype == rounded.losses["commitment"].dtype == torch.float32


def test_training_under_autocast_keeps_averages_in_float32():
    exact, rounded = (initialised([0.0, 0.0], [4.0, 4.0]) for _ in range(2))
    vectors = torch.tensor([[1.001, 2.003], [3.007, 5.001]])
    updated(exact, vectors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded(vectors)
    rounded.end_update()
    assert torch.equal(rounded.codebook, exact.codebook)


def test_half_precision_vectors_are_quantized_in_float32():
    quantized = initialised([0.0, 0.0], [4.0, 4.0]).eval()(torch.ones(3, 2, dtype=torch.bfloat16))
    assert quantized.vectors.dtype == torch.float32


def test_normalised_codes_have_length_1():
    torch.manual_seed(0)
    quantizer = ema(num_codes=3, dim=4, is_normalised=True)
    for _ in range(3):
        quantized = updated(quantizer, torch.randn(64, 4) * 7)
    assert_close(quantizer.codebook.norm(dim=1), torch.ones(3))
    assert_close(quantized.vectors.norm(dim=1), torch.ones(64))


def test_normalised_codes_depend_on_direction_only():
    quantizer = initialised([1.0, 0.0], [0.0, 1.0], is_normalised=True).eval()
    vectors = torch.tensor([[100.0, 1.0], [0.01, 0.02]])
    assert quantizer.encode(vectors).tolist() == [0, 1]


@pytest.mark.parametrize("is_normalised", [True, False])
def test_only_normalised_vectors_are_bounded(is_normalised):
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.5]])
    found = ema(is_normalised=is_normalised).bound(vectors)
    assert_close(found, torch.tensor([[0.6, 0.8], [0.0, 1.0]]) if is_normalised else vectors)


def test_state_dict_is_complete():
    torch.manual_seed(0)
    first, second = ema(), ema()
    updated(first, torch.randn(32, 2))
    second.load_state_dict(first.state_dict())
    batch = torch.randn(32, 2)
    results = []
    for quantizer in (first, second):
        torch.manual_seed(1)
        results.append(updated(quantizer, batch))
    assert torch.equal(results[0].vectors, results[1].vectors)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


@pytest.mark.parametrize("parts", [[8], [4, 4], [1, 7], [3, 3, 2]])
@pytest.mark.parametrize("is_initialised", [True, False])
def test_parts_of_a_batch_update_the_codebook_as_the_batch_does(parts, is_initialised):
    """With decay, dead codes and k-means of all parts; values are sums in another order."""
    batches = torch.randn(5, 8, 2, generator=torch.Generator().manual_seed(0)) * 3
    whole, cut = (ema(num_codes=6, decay=0.5, dead_code_threshold=0.7) for _ in range(2))
    for quantizer in (whole, cut):
        quantizer.is_initialised.fill_(is_initialised)
        quantizer.codebook.copy_(torch.arange(12.0).view(6, 2))
    for step, batch in enumerate(batches):
        torch.manual_seed(step)
        updated(whole, batch)
        torch.manual_seed(step)
        cut.initialise(batch)
        for part in batch.split(parts):
            cut(part)
        cut.end_update()
        assert_close(cut.state_dict(), whole.state_dict())


def test_codebook_follows_once_an_update():
    quantizer = initialised([0.0], [8.0], decay=0.5, dead_code_threshold=0.0)
    quantizer(torch.tensor([[1.0], [3.0]]))
    quantizer(torch.tensor([[2.0], [8.0]]))
    assert quantizer.codebook.tolist() == [[0.0], [8.0]]
    quantizer.end_update()
    # sizes (1 + 3) / 2 and (1 + 1) / 2; sums (0 + 6) / 2 and (8 + 8) / 2
    assert quantizer.cluster_size.tolist() == [2.0, 1.0]
    assert quantizer.codebook.tolist() == [[1.5], [8.0]]
    quantizer.end_update()
    assert quantizer.cluster_size.tolist() == [2.0, 1.0]


def test_decode_takes_codes_of_any_shape():
    quantizer = initialised([0.0, 1.0], [2.0, 3.0])
    assert quantizer.decode(torch.tensor([[1, 0], [0, 0]])).shape == (2, 2, 2)
