"""Warnings of prompts that a model does not read whole."""

import logging

import pytest

from stages.prepare_text import num_cut, num_unknown
from tests.parts import make_parts
from vqpriors.inference.generator import Generator
from vqpriors.inference.prompts import warnings_of
from vqpriors.text.base.word_pieces import learn_word_pieces

CAPTIONS = ["a red six", "a blue seven on white"]


@pytest.fixture(scope="module")
def encoder():
    return learn_word_pieces(CAPTIONS, size=100, max_length=16)


@pytest.mark.parametrize("prompt", ["", "a red seven", "A RED six on white", "a  blue\tsix"])
def test_prompt_of_known_words_has_no_warning(encoder, prompt):
    assert warnings_of(encoder, [prompt], kind="wordpiece") == []


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a redder six", "'redder'"),
        ("A Purple six, purple", "'Purple', ',', 'purple'"),
        ("a 漢 six", "'漢'"),
    ],
)
def test_words_that_no_training_caption_has_are_named(encoder, prompt, words):
    expected = f"prompt: not in the vocabulary of the training captions: {words}"
    assert warnings_of(encoder, [prompt], kind="wordpiece")[-1] == expected
    assert all("not read" in line for line in warnings_of(encoder, [prompt], kind="bert"))


def test_end_that_is_not_read_is_quoted(encoder):
    (line,) = warnings_of(encoder, ["a blue seven on white on white"], kind="wordpiece")
    assert line.startswith("prompt: 'on white' is not read, since this model reads 5 tokens of a")
    line, _ = warnings_of(encoder, ["a blue seven on reddest six"], kind="wordpiece")
    assert line.startswith("prompt: 'reddest six' is not read")  # from the start of a word


def test_many_warnings_are_counted(encoder):
    lines = warnings_of(encoder, [f"a cat{i}" for i in range(9)] * 2, kind="wordpiece")
    assert len(lines) == 4
    assert lines[-1] == "prompt: 6 more like these"


def test_captions_that_are_cut_are_counted(encoder):
    assert num_cut(encoder, [*CAPTIONS, "a blue seven on white six", ""]) == 1  # a word too long
    assert num_cut(object(), CAPTIONS) == 0  # an encoder without tokens


def test_captions_with_unknown_characters_are_counted(encoder):
    assert num_unknown(encoder, [*CAPTIONS, "a blue 🦊 on 🦊", "a red seven"]) == 1
    assert num_unknown(object(), ["🦊"]) == 0


def test_generator_warns_before_it_draws(tmp_path, caplog):
    make_parts(tmp_path / "data", "cftn")
    generator = Generator.load(tmp_path / "data")
    with caplog.at_level(logging.WARNING):
        generator("a purple six", num_samples=2)
    (record,) = caplog.records
    assert record.getMessage().endswith("training captions: 'purple'")
