import os
import subprocess
import sys

import pytest
import torch

from vqpriors.text.base.encoder import load_encoder, save_encoder
from vqpriors.text.base.token_rows import FILE
from vqpriors.text.wordpiece import Config, build

CAPTIONS = [
    "a red digit three",
    "a blue digit seven",
    "two naïve green threes",
    "a red seven, big!",
]
LEARN = """
import sys
from pathlib import Path
from vqpriors.text.base.encoder import save_encoder
from vqpriors.text.wordpiece import Config, build
colors, numbers, endings = ["red", "green", "blue", "grün"], ["one", "three"], ["", "s", "ish"]
captions = [f"a {c} {n}{e}" for c in colors for n in numbers for e in endings]
encoder = build(Config(vocabulary=90, max_length=8), captions=captions)
save_encoder(Path(sys.argv[1]), "wordpiece", encoder)
"""


def encoder(captions=CAPTIONS, **changes):
    return build(Config(**{"vocabulary": 200, "max_length": 12} | changes), captions=captions)


def words(learned, caption):
    """Return a caption's pieces, without its start token and padding."""
    encoded = learned.encode([caption])
    ids = encoded.tokens[0][encoded.text_mask[0]].tolist()
    return [learned.rows.tokenizer.id_to_token(i) for i in ids[1:]]


@pytest.mark.slow
def test_vocabulary_is_the_same_in_every_process(tmp_path):
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "src"}
        command = [sys.executable, "-c", LEARN, str(tmp_path / seed)]
        subprocess.run(command, env=environment, check=True)
    files = [(tmp_path / seed / FILE).read_bytes() for seed in ("1", "2", "3")]
    assert files[0] == files[1] == files[2]
    assert len(files[0]) > 1000


def test_rare_words_are_split_into_pieces():
    learned = encoder()
    assert words(learned, "a red digit") == ["a", "red", "digit"]
    assert words(learned, "reddigit") == ["red", "##d", "##ig", "##it"]


def test_case_and_accents_do_not_matter():
    assert words(encoder(), "A RED naive") == words(encoder(), "a red naïve")


def test_punctuation_is_a_token_of_its_own():
    assert words(encoder(), "seven,big!") == ["seven", ",", "big", "!"]


def test_vocabulary_is_bounded_but_holds_every_character():
    small, large = encoder(vocabulary=4), encoder(vocabulary=60)
    assert large.shape.vocabulary == 60
    assert words(small, "red") == ["r", "##e", "##d"]
    assert "[UNK]" not in words(small, " ".join(CAPTIONS))


def test_empty_caption_is_the_start_token_alone():
    encoded = encoder().encode(["", " \t\n"])
    assert encoded.text_mask.sum(1).tolist() == [1, 1]
    assert encoded.text_mask[:, 0].all()
    assert torch.equal(encoded.tokens[0], encoded.tokens[1])


def test_captions_are_padded_on_the_right():
    learned = encoder()
    encoded = learned.encode(["a", "a red seven"])
    size = learned.rows.tokenizer.get_vocab_size()
    assert learned.shape == (7, size, 0)  # "a red seven , big !" is 6
    assert encoded.tokens.shape == encoded.text_mask.shape == (2, 7)
    assert encoded.tokens.dtype == torch.int64
    assert encoded.text_mask.tolist() == [[True] * 2 + [False] * 5, [True] * 4 + [False] * 3]
    assert (encoded.tokens[~encoded.text_mask] == learned.pad).all()
    assert (encoded.tokens[:, 0] == learned.rows.start).all()
    assert encoded.features is None


def test_long_captions_are_cut():
    learned = encoder(max_length=4)
    assert learned.shape.length == 4
    assert words(learned, "a red digit seven three big") == ["a", "red", "digit"]


def test_longest_training_caption_sets_the_length():
    assert encoder(["a b", "a"]).shape.length == 3
    assert words(encoder(["a b", "a"]), "a b a b") == ["a", "b"]


@pytest.mark.parametrize(
    "caption", ["日本", "🦊", "xyz\u200bq", "a\x00b", "é" * 300, "[PAD] [CLS]"]
)
def test_any_text_is_encoded_within_the_vocabulary(caption):
    learned = encoder()
    encoded = learned.encode([caption])
    assert encoded.tokens.max() < learned.shape.vocabulary
    assert encoded.text_mask[0, 0]
    length = int(encoded.text_mask.sum())
    assert encoded.text_mask[0, :length].all()  # padding is on the right alone


def test_unknown_characters_are_unknown_words():
    assert words(encoder(), "red 🦊 z") == ["red", "[UNK]", "[UNK]"]


def test_other_scripts_are_learned():
    learned = encoder(["赤い 三", "синий три", "赤い 三"])
    assert "[UNK]" not in words(learned, "三 синий")


@pytest.mark.parametrize(
    ("first", "second"),
    [("がき", "かき"), ("हिन्दी", "हनद"), ("мой", "мои"), ("สุนัข", "สนข")],
)
def test_marks_of_other_scripts_are_kept(first, second):
    learned = encoder([first, second])
    assert words(learned, first) != words(learned, second)
    assert spoken(learned, first, second) == [first, second]


def test_long_sentence_without_spaces_is_read():
    sentence = "แมวสีแดง" * 20
    learned = encoder([sentence], max_length=999)
    assert "[UNK]" not in words(learned, sentence)
    assert spoken(learned, sentence) == [sentence]


@pytest.mark.parametrize("captions", [[], [""], ["", "  "]])
def test_vocabulary_of_empty_captions_is_the_special_tokens(captions):
    learned = encoder(captions)
    assert learned.shape == (2, 3, 0)
    assert learned.encode(["", "x"]).text_mask.tolist() == [[True, False], [True, True]]


def test_no_captions_give_no_rows():
    encoded = encoder().encode([])
    assert encoded.tokens.shape == (0, 7)
    assert encoder().decode(encoded.tokens) == []


def spoken(learned, *captions):
    return learned.decode(learned.encode(captions).tokens)


def test_decoded_captions_are_normalised():
    found = spoken(encoder(), "A  RED digit", "two naïve greens", "")
    assert found == ["a red digit", "two naive greens", ""]
    small_pieces = encoder(["a small red seven on a white background"], vocabulary=4, max_length=99)
    words = "a small red seven on a white background"
    assert spoken(small_pieces, words) == [words]


@pytest.mark.parametrize(
    "caption",
    ["a seven, big!", "one (or two). three?", "a man's t-shirt", "they're 3", "don't"],
)
def test_punctuation_is_spaced_as_usual(caption):
    assert spoken(encoder([caption]), caption) == [caption]


def test_decoding_stops_at_padding_and_skips_special_tokens():
    learned = encoder()
    start, pad = learned.rows.start, learned.pad
    word = {name: learned.rows.tokenizer.token_to_id(name) for name in ("a", "red", "[UNK]")}
    rows = [
        [start, word["a"], start, word["[UNK]"], word["red"], pad, word["a"]],
        [word["red"], 99999, -1, 2**62, word["a"], word["a"], word["a"]],
        [pad] * 7,
        [pad, word["a"], pad, pad, pad, pad, pad],
    ]
    assert learned.decode(torch.tensor(rows)) == ["a red", "red a a a", "", ""]


def test_any_row_can_be_decoded():
    learned = encoder()
    tokens = torch.randint(-5, learned.shape.vocabulary + 5, (200, 7))
    assert len(learned.decode(tokens)) == 200


def test_saved_encoder_encodes_equally(tmp_path):
    learned = encoder(max_length=5)
    save_encoder(tmp_path / "text", "wordpiece", learned)
    loaded = load_encoder(tmp_path / "text")
    unseen = [*CAPTIONS, "", "a green threes 🦊 seven, big", "naïve"]
    for found, expected in zip(loaded.encode(unseen)[:2], learned.encode(unseen)[:2], strict=True):
        assert torch.equal(found, expected)
    assert loaded.shape == learned.shape
    save_encoder(tmp_path / "again", "wordpiece", loaded)
    assert (tmp_path / "again" / FILE).read_bytes() == (tmp_path / "text" / FILE).read_bytes()


def test_damaged_encoder_is_refused(tmp_path):
    save_encoder(tmp_path / "text", "wordpiece", encoder())
    (tmp_path / "text" / FILE).write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer.json: damaged"):
        load_encoder(tmp_path / "text")
