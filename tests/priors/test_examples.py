import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.testing import assert_close

from tests.tiny import captions, no_captions
from vqpriors.core.arrays import StringColumn
from vqpriors.data.text_inputs import TextInput
from vqpriors.data.tokens import CaptionLists
from vqpriors.priors.base import examples as token_examples_module
from vqpriors.priors.base.examples import TokenExamples, token_examples

CODES = np.arange(12, dtype=np.uint16).reshape(4, 3) + 60000


def texts(*strings):
    return StringColumn(pa.chunked_array([list(strings)], pa.string()))


def examples(dropout, count=4, num_draws=0):
    return TokenExamples(
        np.repeat(CODES, count // 4, axis=0),
        captions=captions([], [2], [3, 4]),
        caption_rows=torch.arange(count) % 2 + 1,
        caption_dropout=dropout,
        num_draws=num_draws,
    )


def test_batch_pairs_codes_with_their_captions():
    batch = examples(0.0).batch(torch.tensor([3, 0]), torch.Generator())
    assert batch["codes"].dtype == torch.int64
    assert batch["codes"].tolist() == [[60009, 60010, 60011], [60000, 60001, 60002]]
    assert batch["text_tokens"].tolist() == [[1, 3, 4, 0, 0], [1, 2, 0, 0, 0]]
    assert batch["text_mask"].sum(1).tolist() == [3, 2]
    assert "text_features" not in batch


def dropped(dropout, generator, count=20000):
    batch = examples(dropout, count).batch(torch.arange(count), generator)
    return (batch["text_mask"].sum(1) == 1).float().mean().item()


@pytest.mark.parametrize("dropout", [0.0, 0.1, 1.0])
def test_dropout_empties_captions_with_its_probability(dropout):
    assert dropped(dropout, torch.Generator().manual_seed(0)) == pytest.approx(dropout, abs=0.01)


def test_evaluation_drops_no_caption():
    assert dropped(1.0, None) == 0.0


def test_dropped_captions_depend_on_the_generator_only():
    first, second = (
        examples(0.5, 100).batch(torch.arange(100), torch.Generator().manual_seed(seed))
        for seed in (1, 1)
    )
    assert torch.equal(first["text_tokens"], second["text_tokens"])


def test_dropped_captions_are_marked_as_empty_for_any_text_mask():
    data = examples(0.5, 100)
    data.captions = data.captions._replace(text_mask=torch.ones(3, 5).bool())
    batch = data.batch(torch.arange(100), torch.Generator().manual_seed(0))
    assert torch.equal(batch["text_is_empty"], batch["text_tokens"][:, 1] == 0)
    assert 30 < batch["text_is_empty"].sum() < 70
    assert not data.batch(torch.arange(100), None)["text_is_empty"].any()


@pytest.mark.parametrize("generator", [torch.Generator(), None])
def test_draws_are_uniform_and_of_the_number_that_the_prior_takes(generator):
    draws = examples(0.1, 4000, num_draws=5).batch(torch.arange(4000), generator)["draws"]
    assert (draws.shape, draws.dtype) == ((4000, 5), torch.float32)
    assert 0 <= draws.min() <= draws.max() < 1
    shares = (draws[..., None] < torch.tensor([0.1, 0.5, 0.9])).float().mean(0)
    assert_close(shares, torch.tensor([[0.1, 0.5, 0.9]] * 5), atol=0.04, rtol=0)
    assert len(draws.unique()) > 19000  # float32 has 2**24 of them


def test_prior_without_randomness_gets_no_draws():
    assert examples(0.1).batch(torch.arange(4), None)["draws"].shape == (4, 0)


def test_draws_depend_on_the_generator_in_training():
    data, rows = examples(0.1, num_draws=3), torch.arange(4)
    first, second, other = (
        data.batch(rows, torch.Generator().manual_seed(seed))["draws"] for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert (first != other).all()


def test_draws_of_an_example_are_fixed_in_evaluation():
    whole = examples(0.1, num_draws=3).batch(torch.arange(4), None)["draws"]
    again = examples(0.5, num_draws=3).batch(torch.tensor([2, 0]), None)["draws"]
    assert torch.equal(again, whole[[2, 0]])
    assert len(whole.unique()) == 12


def test_features_follow_their_captions():
    tokens = torch.ones(2, 1, dtype=torch.int64)
    texts = TextInput(tokens, tokens.bool(), torch.tensor([[[0.0]], [[7.0]]]))
    data = TokenExamples(
        CODES, captions=texts, caption_rows=torch.tensor([1, 0, 1, 0]), caption_dropout=0.0
    )
    assert data.batch(torch.tensor([0, 1]), None)["text_features"].flatten().tolist() == [7.0, 0.0]


def test_each_distinct_caption_is_encoded_once():
    encoded = []

    def encode(texts):
        encoded.extend(texts)
        return no_captions(len(texts))

    data = token_examples(CODES, texts("x", "y", "x", ""), encode=encode, dropout=0.5)
    assert encoded == ["", "x", "y"]
    assert data.batch(torch.arange(4), torch.Generator())["text_tokens"].shape == (4, 0)


def test_many_captions_are_encoded_by_the_batch(monkeypatch):
    def encode(found):
        encoded.append(list(found))
        return captions(*([len(text)] if text else [] for text in found))

    encoded, rows = [], torch.tensor([2, 0, 3])
    pairs = (CODES, texts("x", "yyyy", "x", ""))
    kept = token_examples(*pairs, encode=encode, dropout=0.5, num_draws=2)
    monkeypatch.setattr(token_examples_module, "MAX_ENCODED_CAPTIONS", 2)
    encoded.clear()
    made = token_examples(*pairs, encode=encode, dropout=0.5, num_draws=2)
    assert encoded == []
    for seed in (None, 1, 2):
        found, expected = (
            data.batch(rows, None if seed is None else torch.Generator().manual_seed(seed))
            for data in (made, kept)
        )
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(found[name], value), name
    assert encoded[0] == ["x", "x", ""]


def test_draws_of_a_part_are_those_of_the_whole_batch():
    rows = torch.arange(8)
    whole = examples(0.5, 8, num_draws=3).batch(rows, torch.Generator().manual_seed(1))
    for part in (slice(0, 3), slice(3, 8)):
        found = examples(0.5, 8, num_draws=3).batch(
            rows, torch.Generator().manual_seed(1), part=part
        )
        assert found.keys() == whole.keys()
        for name, value in found.items():
            assert torch.equal(value, whole[name][part]), name


WORDS = "-abcdef"
CAPTIONS_OF = ("a", "bc", "def")  # of the first three pictures, and so on in turn


def with_lists(dropout=0.0, count=3):
    """Examples of pictures with the captions `CAPTIONS_OF`, each a single word."""
    lists = [CAPTIONS_OF[i % 3] for i in range(count)]
    starts = np.cumsum([0, *map(len, lists)])

    def encode(found):
        return captions(*([WORDS.index(word)] if word else [] for word in found))

    return token_examples(
        np.zeros((count, 3), np.uint16),
        CaptionLists(texts(*"".join(lists)), starts),
        encode=encode,
        dropout=dropout,
        num_draws=2,
    )


def words_of(batch):
    return "".join(WORDS[token] for token in batch["text_tokens"][:, 1])


def test_training_draws_each_caption_of_a_picture_equally_often():
    found = words_of(with_lists(count=9000).batch(torch.arange(9000), torch.Generator()))
    assert all(word in CAPTIONS_OF[i % 3] for i, word in enumerate(found))
    for word, expected in {
        "a": 3000,
        "b": 1500,
        "c": 1500,
        "d": 1000,
        "e": 1000,
        "f": 1000,
    }.items():
        assert found.count(word) == pytest.approx(expected, abs=130)


def test_evaluation_takes_the_first_caption():
    assert words_of(with_lists(dropout=1.0).batch(torch.tensor([2, 1, 0]), None)) == "dba"


def test_drawn_captions_can_be_dropped():
    found = words_of(with_lists(0.5, 3000).batch(torch.arange(3000), torch.Generator()))
    assert found.count("-") == pytest.approx(1500, abs=100)


@pytest.mark.parametrize("is_lazy", [False, True])
def test_drawn_captions_depend_on_the_generator_only(monkeypatch, is_lazy):
    if is_lazy:
        monkeypatch.setattr(token_examples_module, "MAX_ENCODED_CAPTIONS", 2)
    rows = torch.arange(60)
    first, second, other = (
        words_of(with_lists(count=60).batch(rows, torch.Generator().manual_seed(seed)))
        for seed in (1, 1, 2)
    )
    assert first == second != other
    parts = [
        words_of(with_lists(count=60).batch(rows, torch.Generator().manual_seed(1), part=part))
        for part in (slice(0, 20), slice(20, 60))
    ]
    assert "".join(parts) == first


def test_lists_of_one_caption_draw_as_plain_captions_in_evaluation():
    lists = CaptionLists(texts("x", "y", "x", ""), np.arange(5))
    encode = {"encode": lambda found: captions(*([len(text)] for text in found)), "dropout": 0.0}
    several, plain = (token_examples(CODES, c, **encode) for c in (lists, lists.texts))
    found, expected = (data.batch(torch.arange(4), None) for data in (several, plain))
    assert torch.equal(found["text_tokens"], expected["text_tokens"])
