"""The judge of captions: its loss, and what it can tell apart after a short training."""

import json
import math

import numpy as np
import pytest
import torch

from vqpriors.data.images import ImageSet
from vqpriors.evaluation.distances import frechet_distance, kernel_distance
from vqpriors.evaluation.matching import own_is_best
from vqpriors.judge import captions
from vqpriors.judge.base.judging import judge_pixels

COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255,) * 3}
PLACES = {"left": 0, "right": 8, "top": 4}
SETTINGS = {
    "max_size": 64,
    "width": 8,
    "depth": 2,
    "text_width": 16,
    "embedding": 8,
    "vocabulary": 100,
    "max_length": 8,
    "dropout": 0.0,
    "shift": 0,
    "phases": {"main": {"epochs": 1, "lr": 0.1, "frozen": [], "weights": {}, "options": {}}},
}


def squares(seed):
    """Make pictures of coloured squares at 3 places, each with its caption."""
    generator = np.random.default_rng(seed)
    texts, pixels = [], []
    for color, rgb in COLORS.items():
        for place, column in PLACES.items():
            picture = generator.integers(30, size=(3, 16, 16), dtype=np.uint8)
            row = 0 if place == "top" else 8
            picture[:, row : row + 7, column : column + 7] = np.array(rgb)[:, None, None]
            pixels.append(picture)
            texts.append(f"a {color} square at the {place}")
    names, nothing = [str(i) for i in range(len(texts))], [{}] * len(texts)
    return ImageSet(names, names, np.stack(pixels), texts, [None] * len(texts), nothing)


def build(training):
    torch.manual_seed(0)
    return captions.build(captions.Config.model_validate(SETTINGS), training=training)


def batch_of(judge, images):
    return {
        "images": torch.from_numpy(images.pixels).float() / 127.5 - 1,
        **captions.targets(judge, images),
    }


@pytest.fixture(scope="module")
def trained():
    training = squares(0)
    judge = build(training)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=1e-2)
    for step in range(80):
        optimizer.zero_grad()
        judge.losses(batch_of(judge, squares(step)))["contrastive"].backward()
        optimizer.step()
    return judge.eval().requires_grad_(False)


def precision(judge, images, texts):
    features = judge_pixels(judge, images.pixels).features
    return own_is_best(judge, features, texts, sorted(set(images.captions)), 0).mean()


def test_trained_judge_matches_new_pictures_with_their_captions(trained):
    images = squares(1000)
    assert precision(trained, images, images.captions) == 1


def test_shuffled_captions_match_by_chance_only(trained):
    images = squares(1000)
    shares = []
    for seed in range(200):
        order = np.random.default_rng(seed).permutation(len(images))
        shares.append(precision(trained, images, [images.captions[i] for i in order]))
    assert np.mean(shares) == pytest.approx(1 / 12, abs=0.03)


def test_untrained_judge_is_near_chance():
    images = squares(1000)
    assert precision(build(images), images, images.captions) < 0.5


def test_distances_to_pictures_of_another_set_are_larger(trained):
    def features(seed, change=lambda pixels: pixels):
        pixels = np.concatenate([squares(seed + i).pixels for i in range(5)])
        return judge_pixels(trained, np.ascontiguousarray(change(pixels))).features

    real, same = features(1000), features(2000)
    inverted = features(2000, lambda pixels: 255 - pixels)
    for distance in (frechet_distance, kernel_distance):
        assert distance(inverted, real) > 4 * abs(distance(same, real))


def test_loss_of_equal_embeddings_is_that_of_a_uniform_choice():
    images = squares(0)
    judge = build(images)
    with torch.no_grad():
        judge.project_picture.weight.zero_()
    loss = judge.losses(batch_of(judge, images))["contrastive"]
    assert loss.item() == pytest.approx(math.log(12), rel=1e-5)


def test_equal_captions_share_the_target():
    """Two pictures of one caption cost log 2, not more, even if they match perfectly."""
    images = squares(0)
    judge = build(images)
    batch = {name: value[[0, 0]] for name, value in batch_of(judge, images).items()}
    assert judge.losses(batch)["contrastive"].item() == pytest.approx(math.log(2), rel=1e-5)


def test_padding_does_not_change_a_caption(trained):
    images = squares(1000)
    features = torch.from_numpy(judge_pixels(trained, images.pixels).features)
    short = "a red square"
    scores = trained.match(features, [short, "a red square at the left"])[:, 0]
    torch.testing.assert_close(trained.match(features, [short])[:, 0], scores)


def test_larger_pictures_are_averaged_down(trained):
    pixels = squares(3).pixels
    enlarged = pixels.repeat(8, axis=2).repeat(8, axis=3)  # 128 px, read as 64 px
    expected = judge_pixels(trained, pixels.repeat(4, axis=2).repeat(4, axis=3)).features
    np.testing.assert_allclose(judge_pixels(trained, enlarged).features, expected, atol=1e-5)


def test_settings_build_an_equal_judge(trained):
    again = captions.restore(json.loads(json.dumps(trained.settings)))
    again.load_state_dict(trained.state_dict())
    pixels = squares(3).pixels
    found = judge_pixels(again.eval(), pixels)
    np.testing.assert_array_equal(found.features, judge_pixels(trained, pixels).features)
    assert found.labels.shape == (12, 0)
