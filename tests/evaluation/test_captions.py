import pytest

from tests.evaluation.known import inputs_of, pictures
from vqpriors.data.samples import WrittenCaption, write_samples
from vqpriors.evaluation import captions
from vqpriors.evaluation.captions import measure_captions
from vqpriors.text.base.word_pieces import learn_word_pieces

CAPTION = "a small red three on a blue background"
ATTRIBUTES = {"size": "small", "color": "red", "digit": "three", "background": "blue"}


def measure(written, captions=(CAPTION,), attributes=(ATTRIBUTES,)):
    groups = [str(row) for row in range(len(written))]
    found = measure_captions(written, captions, attributes, groups=groups)
    return {name: value for name, value in found.items() if not name.endswith("_se")}


def right(written, **changes):
    """Return the names of the right attributes of a single caption."""
    found = measure([written], **changes)
    return {
        name.removeprefix("caption_accuracy_")
        for name, share in found.items()
        if name.startswith("caption_accuracy_") and share == 1
    }


def test_shares_match_hand_computed_values():
    captions = [CAPTION, "a large blue seven on a red background", "no digit at all"]
    attributes = [
        ATTRIBUTES,
        {"size": "large", "color": "blue", "digit": "seven", "background": "red"},
        {},
    ]
    written = [CAPTION, "a large blue one on a red background", "no digit"]
    found = measure(written, captions, attributes)
    assert found == {
        "caption_exact": pytest.approx(1 / 3),
        "caption_accuracy": 0.5,
        "caption_accuracy_size": 1.0,
        "caption_accuracy_color": 1.0,
        "caption_accuracy_digit": 0.5,
        "caption_accuracy_background": 1.0,
    }


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (CAPTION, {"size", "color", "digit", "background"}),
        ("a small red four on a blue background", {"size", "color", "background"}),
        ("a small blue three on a red background", {"size", "digit"}),  # both words, but swapped
        ("small red three on a blue background", set()),  # shifted by one word
        ("a small red", {"size", "color"}),
        ("", set()),
        ("one small red three in a blue frame and more", {"size", "color", "digit", "background"}),
    ],
)
def test_attribute_is_right_only_at_its_position(written, expected):
    assert right(written) == expected


def test_other_words_affect_exact_match_only():
    found = measure(["the small red three on a blue background"])
    assert found["caption_exact"] == 0
    assert found["caption_accuracy"] == 1


def test_value_of_several_words_must_match_completely():
    attributes = {"label": "ankle boot"}
    changes = {"captions": ["a picture of an ankle boot"], "attributes": [attributes]}
    assert right("a picture of an ankle boot", **changes) == {"label"}
    assert right("a picture of an ankle sock", **changes) == set()
    assert right("a picture of a ankle", **changes) == set()


def test_repeated_value_must_match_at_every_position():
    letter = {"captions": ["a letter a"], "attributes": [{"label": "a"}]}
    assert right("a letter a", **letter) == {"label"}
    assert right("a letter b", **letter) == set()
    same = {
        "captions": ["a red three on a red background"],
        "attributes": [{"color": "red", "background": "red"}],
    }
    assert right("a red three on a red background", **same) == {"color", "background"}
    assert right("a red three on a blue background", **same) == set()


@pytest.mark.parametrize("value", ["green", "", "thre", "blue background now"])
def test_value_missing_in_the_true_caption_is_left_out(value):
    found = measure([CAPTION], attributes=[{"digit": "three", "other": value}])
    assert found.keys() == {"caption_exact", "caption_accuracy", "caption_accuracy_digit"}
    assert found["caption_accuracy"] == 1


def test_captions_without_attributes_have_only_the_exact_share():
    assert measure(["x", "y"], ["x", "z"], [{}, {}]) == {"caption_exact": 0.5}


def test_no_captions_give_no_metrics():
    assert measure([], [], []) == {}


def test_errors_are_over_groups():
    written = ["a", "a", "b", "a"]
    found = measure_captions(written, ["a", "b", "b", "c"], [{}] * 4, groups=list("xxyy"))
    # both groups have one of two right: no difference between groups, no error
    assert (found["caption_exact"], found["caption_exact_se"]) == (0.5, 0)


def test_captions_that_the_prior_wrote_are_compared_with_the_true_ones(tmp_path):
    inputs = inputs_of(drawn=pictures(4, seed=3), data=tmp_path)
    real = inputs.real  # dark, light, dark, light
    texts = ["a dark picture", "a dark picture", "a dark thing", "a light picture"]
    write_samples(
        tmp_path / "samples",
        inputs.prompts,
        pixels=inputs.drawn,
        codes=inputs.drawn_codes,
        spec=inputs.tokens.spec,
        written=[WrittenCaption(real.ids[i], real.captions[i], texts[i]) for i in range(4)],
    )
    encoder = learn_word_pieces(sorted(set(real.captions)), size=100, max_length=8)
    inputs.__dict__["encoder"] = encoder
    found = captions.measure(inputs)
    assert (found["caption_exact"], found["caption_accuracy_tone"]) == (0.5, 0.75)
    assert found["caption_exact_se"] > 0
