import numpy as np
import pytest
import torch

from vqpriors.core.artifact import save_model
from vqpriors.data.images import ImageSet
from vqpriors.judge.base.judge import choose_kind, describe_judge, load_judge


def image_set(attributes, captions):
    count = len(captions)
    pixels = np.zeros((count, 1, 16, 16), np.uint8)
    return ImageSet(["x"] * count, ["x"] * count, pixels, captions, [None] * count, attributes)


ATTRIBUTES = image_set([{"digit": "1"}, {"digit": "2"}], ["one", "two"])
CAPTIONS = image_set([{}, {}], ["one", "two"])
ONE_CLASS = image_set([{"set": "a"}, {"set": "a"}], ["one", "two"])
NOTHING = image_set([{"set": "a"}, {}], ["", ""])


@pytest.mark.parametrize(
    ("name", "training", "expected"),
    [
        ("auto", ATTRIBUTES, "attributes"),
        ("auto", CAPTIONS, "captions"),
        ("auto", ONE_CLASS, "captions"),
        ("auto", NOTHING, None),
        ("attributes", ATTRIBUTES, "attributes"),
        ("captions", ATTRIBUTES, "captions"),
    ],
)
def test_kind_follows_the_data(name, training, expected):
    assert choose_kind(name, training) == expected


@pytest.mark.parametrize(("name", "training"), [("attributes", CAPTIONS), ("captions", NOTHING)])
def test_kind_without_its_data_is_refused(name, training):
    with pytest.raises(ValueError, match=rf"judge\.kind: the training pictures have no {name}"):
        choose_kind(name, training)


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"judge\.kind: no kind 'human'"):
        choose_kind("human", ATTRIBUTES)


def test_absent_judge_loads_as_none(tmp_path):
    save_model(tmp_path / "judge", config=describe_judge(None, None), weights={})
    assert load_judge(tmp_path / "judge", torch.device("cpu")) == (None, "")
