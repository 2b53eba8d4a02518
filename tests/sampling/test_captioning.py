import numpy as np
import pytest
import torch

from tests.sampling.masked import CallCounter, cftn2
from tests.tiny import codes
from vqpriors.priors.base.cells import Cells
from vqpriors.sampling.base.captioning import CaptionConfig, caption_codes, sample_caption_tokens
from vqpriors.sampling.base.sampler import PictureRandom

LENGTH, VOCABULARY = 5, 9


@pytest.fixture(scope="module")
def prior():
    return cftn2()


def caption_tokens(prior, *, steps=LENGTH, temperature=0.0, batch_size=10, seed=0):
    """Return the caption tokens, a row for each picture."""
    rows = []

    def decode(tokens):
        rows.extend(tokens.tolist())
        return [" ".join(map(str, row)) for row in tokens.tolist()]

    config = CaptionConfig(num_pictures=1, steps=steps, temperature=temperature)
    texts = caption_codes(
        prior,
        codes(7).numpy().astype(np.uint16),
        config,
        decode=decode,
        batch_size=batch_size,
        precision="no",
        seed=seed,
    )
    assert texts == [" ".join(map(str, row)) for row in rows]
    return torch.tensor(rows)


@torch.inference_mode()
def by_hand(prior):
    """Draw the most confident token of each caption, then of the remaining ones, and so on."""
    found = []
    for row in range(7):
        state = prior.start_caption(codes(7)[row : row + 1])
        tokens = torch.full((1, LENGTH), VOCABULARY)
        for _ in range(LENGTH):
            everywhere = Cells.everywhere(tokens)
            chances, likeliest = prior.caption_logits(tokens, state, everywhere).softmax(1).max(1)
            place = chances.masked_fill(tokens[0] != VOCABULARY, 0).argmax()
            tokens[0, place] = likeliest[place]
        found.append(tokens[0])
    return torch.stack(found)


def test_one_token_per_step_equals_decoding_by_hand(prior):
    assert torch.equal(caption_tokens(prior), by_hand(prior))


def test_one_step_takes_the_likeliest_tokens(prior):
    tokens = torch.full((7, LENGTH), VOCABULARY)
    everywhere = Cells.everywhere(tokens)
    with torch.inference_mode():
        logits = prior.caption_logits(tokens, prior.start_caption(codes(7)), everywhere)
    assert torch.equal(caption_tokens(prior, steps=1), logits.view(7, LENGTH, -1).argmax(2))


@pytest.mark.parametrize("steps", [1, 3, LENGTH, 40])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_captions_have_all_tokens_and_no_mask(prior, steps, temperature):
    tokens = caption_tokens(prior, steps=steps, temperature=temperature)
    assert tokens.shape == (7, LENGTH)
    assert tokens.dtype == torch.int64
    assert 0 <= tokens.min() <= tokens.max() < VOCABULARY


def test_captions_are_random_only_above_temperature_0(prior):
    assert torch.equal(caption_tokens(prior, seed=1), caption_tokens(prior, seed=0))
    assert not torch.equal(
        caption_tokens(prior, temperature=1.0, seed=1), caption_tokens(prior, temperature=1.0)
    )


@pytest.mark.parametrize("batch_size", [1, 2, 7])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_captions_do_not_depend_on_the_batch_size(prior, batch_size, temperature):
    expected = caption_tokens(prior, temperature=temperature)
    assert torch.equal(
        caption_tokens(prior, temperature=temperature, batch_size=batch_size), expected
    )


def test_captions_depend_on_pictures(prior):
    assert caption_tokens(prior).unique(dim=0).shape[0] > 1


def test_pictures_are_encoded_once(prior):
    random = PictureRandom(range(7), seed=0, device=torch.device("cpu"))
    with CallCounter(prior.image.blocks[0]) as count:
        sample_caption_tokens(prior, codes(7), steps=4, temperature=0.0, random=random)
    assert count.calls == 1


def test_no_pictures_give_no_captions(prior):
    config = CaptionConfig(num_pictures=1, steps=1, temperature=0.0)
    none = np.zeros((0, 6), np.uint16)
    settings = {"decode": list, "batch_size": 2, "precision": "no", "seed": 0}
    assert caption_codes(prior, none, config, **settings) == []
