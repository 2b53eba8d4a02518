import json

import numpy as np
import pytest
import torch
from transformers import CLIPModel

from tests.text.folders import clip_folder
from vqpriors.data.images import ImageSet
from vqpriors.judge import clip
from vqpriors.judge.base.judging import judge_pixels

CAPTIONS = ["a red seven", "two", "a small green three on white"]
PIXELS = np.random.default_rng(0).integers(256, size=(3, 3, 8, 8), dtype=np.uint8)
IMAGES = ImageSet(list("abc"), list("abc"), PIXELS, CAPTIONS, [None] * 3, [{}] * 3)


def config(folder, **changes):
    values = {"location": str(folder), "revision": "main", "shift": 0, "phases": {}}
    return clip.Config.model_validate(values | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return clip_folder(tmp_path_factory.mktemp("clip") / "whole", has_vision=True)


def test_similarities_are_those_of_clip(folder):
    judge = clip.build(config(folder), training=IMAGES)
    found = judge.match(torch.from_numpy(judge_pixels(judge, PIXELS).features), CAPTIONS)
    network = CLIPModel.from_pretrained(folder).eval()
    mean, deviation = (torch.tensor(v)[:, None, None] for v in (clip.MEAN, clip.DEVIATION))
    tokens, text_mask = judge.rows.encode(CAPTIONS)
    with torch.inference_mode():
        expected = (
            network(
                input_ids=tokens,
                attention_mask=text_mask.long(),
                pixel_values=(torch.from_numpy(PIXELS) / 255 - mean) / deviation,
            ).logits_per_image
            / network.logit_scale.exp()
        )
    torch.testing.assert_close(found.detach(), expected, atol=1e-5, rtol=1e-4)


def test_restored_judge_needs_no_folder(folder):
    judge = clip.build(config(folder), training=IMAGES)
    again = clip.restore(json.loads(json.dumps(judge.settings)))
    again.load_state_dict(judge.state_dict())
    first, second = (judge_pixels(each, PIXELS).features for each in (judge, again))
    np.testing.assert_array_equal(first, second)


def test_gray_pictures_of_any_size_are_read(folder):
    judge = clip.build(config(folder), training=IMAGES)
    gray = np.random.default_rng(1).integers(256, size=(2, 1, 20, 20), dtype=np.uint8)
    features = judge_pixels(judge, gray).features
    colored = judge_pixels(judge, gray.repeat(3, axis=1)).features
    assert features.shape == (2, judge.num_shape_features)
    np.testing.assert_array_equal(features, colored)


def test_model_without_image_tower_is_refused(tmp_path):
    text_only = clip_folder(tmp_path / "text")
    with pytest.raises(ValueError, match=r"^judge\.clip\.location: .* choose one of type clip$"):
        clip.build(config(text_only), training=IMAGES)
