import json
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from vqpriors.core.artifact import save_model
from vqpriors.judge.attributes.model import AttributeJudge, Config, restore
from vqpriors.judge.base.colorless import colorless
from vqpriors.judge.base.judge import describe_judge, load_judge
from vqpriors.judge.base.judging import judge_pixels

CLASSES = {"size": ["large", "small"], "color": ["blue", "green", "red"]}


def judge(**changes):
    torch.manual_seed(0)
    arguments = {"channels": 3, "classes": CLASSES, "width": 8, "depth": 3, "dropout": 0.0}
    return AttributeJudge(**arguments | changes)


def set_logits(branch, values):
    with torch.no_grad():
        branch.heads.weight.zero_()
        branch.heads.bias.copy_(torch.tensor(values))


def images(count=4, channels=3, size=28):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, size, size, generator=generator) * 2 - 1


@pytest.mark.parametrize("size", [16, 28, 33, 128, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_number_of_features_does_not_depend_on_picture_size(size, channels):
    model = judge(channels=channels)
    features = model.features(images(2, channels, size))
    assert (features.shape, features.dtype) == ((2, 32), torch.float32)


def test_prediction_columns_are_sorted_by_attribute():
    model = judge(color_attributes=["color"])
    set_logits(model.branches["color"], [0.0, 0.0, 1.0])
    set_logits(model.branches["shape"], [1.0, 0.0])
    assert list(model.classes) == ["color", "size"]
    assert model.predict(model.features(images(2))).tolist() == [[2, 0], [2, 0]]


def test_loss_is_averaged_over_all_known_labels():
    model = judge()
    set_logits(model.branches["shape"], [0.0, 0.0, 0.0, math.log(3), 0.0])
    labels = torch.tensor([[0, 0], [2, -1], [-1, 1]])
    loss = model.losses({"images": images(3), "labels": labels})["classification"]
    colors, sizes = 2 * math.log(3), math.log(4 / 3) + math.log(4)
    torch.testing.assert_close(loss, torch.tensor((colors + sizes) / 4))
    assert model.num_targets({"labels": labels}) == {"classification": 4}


def test_unknown_labels_give_no_gradient():
    model = judge()
    loss = model.losses({"images": images(2), "labels": torch.full((2, 2), -1)})["classification"]
    loss.backward()
    assert loss == 0
    assert all(bool((p.grad == 0).all()) for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("color_attributes", [[], ["color"]])
def test_judge_learns_colors_and_sizes_of_squares(color_attributes):
    generator = np.random.default_rng(0)
    colors, sizes = generator.integers(3, size=48), generator.integers(2, size=48)
    pixels = np.zeros((48, 3, 16, 16), np.uint8)
    for row, (color, size) in enumerate(zip(colors, sizes, strict=True)):
        edge = (12, 5)[size]
        pixels[row, 2 - color, 2 : 2 + edge, 2 : 2 + edge] = 255
    labels = torch.from_numpy(np.stack([colors, sizes], axis=1))
    model = judge(color_attributes=color_attributes, depth=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    batch = {"images": torch.from_numpy(pixels).float() / 127.5 - 1, "labels": labels}
    for _ in range(25):
        optimizer.zero_grad()
        model.losses(batch)["classification"].backward()
        optimizer.step()
    np.testing.assert_array_equal(judge_pixels(model, pixels).labels, labels)


def test_predictions_do_not_depend_on_the_batch():
    model = judge(dropout=0.5)
    pixels = np.random.default_rng(0).integers(256, size=(7, 3, 28, 28), dtype=np.uint8)
    features, shape_features, labels = judge_pixels(model, pixels)
    np.testing.assert_array_equal(shape_features, features)
    assert (features.shape, labels.shape, labels.dtype) == ((7, 32), (7, 2), np.int64)
    some_features, _, some_labels = judge_pixels(model, pixels[4:], batch_size=2)
    np.testing.assert_allclose(some_features, features[4:], atol=1e-5)
    np.testing.assert_array_equal(some_labels, labels[4:])


def test_config_builds_an_equal_network():
    model = judge(color_attributes=["color", "not an attribute"])
    again = restore(json.loads(json.dumps(model.settings)))
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.features(images()), model.features(images()))
    assert again.classes == model.classes


def test_judge_without_attributes_raises():
    with pytest.raises(ValueError, match="at least one attribute"):
        judge(classes={})


def test_width_that_is_no_multiple_of_groups_raises():
    with pytest.raises(ValidationError, match="multiple of 8"):
        Config.model_validate({"width": 20, "depth": 3, "dropout": 0.1, "shift": 1})


def drawing(figure, background):
    mask = torch.zeros(16, 16)
    mask[3:12, 7:10] = 1
    figure, background = (torch.tensor(color)[:, None, None] for color in (figure, background))
    return (figure * mask + background * (1 - mask))[None]


RED, WHITE, BLACK, GRAY = (0.8, -0.7, -0.6), (1.0, 1.0, 1.0), (-1.0, -1.0, -1.0), (-0.5, -0.5, -0.5)


@pytest.mark.parametrize("colors", [(RED, WHITE), (RED, GRAY), (BLACK, WHITE), (WHITE, RED)])
def test_colorless_figure_is_equal_for_all_colors(colors):
    expected = colorless(drawing(WHITE, BLACK))
    torch.testing.assert_close(colorless(drawing(*colors)), expected, atol=0.02, rtol=0)


def test_colorless_picture_of_one_color_is_zero():
    torch.testing.assert_close(
        colorless(drawing(RED, RED)), torch.zeros(1, 1, 16, 16), atol=1e-3, rtol=0
    )


def test_only_color_attributes_depend_on_color():
    model = judge(color_attributes=["color"]).eval()
    features = [model.features(drawing(*colors)) for colors in ((WHITE, BLACK), (RED, GRAY))]
    logits = [model.logits(f) for f in features]
    torch.testing.assert_close(logits[0][1], logits[1][1], atol=0.02, rtol=0)
    assert not torch.allclose(logits[0][0], logits[1][0], atol=0.02)


def test_shape_features_do_not_depend_on_color():
    model = judge(color_attributes=["color"]).eval()
    first, second = (
        judge_pixels(model, ((drawing(*colors) + 1) * 127.5).to(torch.uint8).numpy())
        for colors in ((WHITE, BLACK), (RED, GRAY))
    )
    assert (model.is_colorless, model.num_shape_features) == (True, 32)
    np.testing.assert_allclose(first.shape_features, second.shape_features, atol=0.02)
    assert not np.allclose(first.features[:, 32:], second.features[:, 32:], atol=0.02)


def test_loaded_judge_equals_the_saved_one(tmp_path):
    model = judge(color_attributes=["color"]).eval()
    config = describe_judge("attributes", model)
    save_model(tmp_path / "judge", config=config, weights=model.state_dict())
    again, fingerprint = load_judge(tmp_path / "judge", torch.device("cpu"))
    assert len(fingerprint) == 64
    torch.testing.assert_close(again.features(images()), model.features(images()))
