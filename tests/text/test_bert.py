import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from tests.imports import ROOT
from tests.text.folders import bert_folder, clip_folder
from vqpriors.core.params import check
from vqpriors.text.base.encoder import save_encoder
from vqpriors.text.bert import Config, build

CAPTIONS = ["a small red seven", "three"]


@pytest.fixture
def folder(tmp_path):
    return bert_folder(tmp_path / "bert")


def encoder(folder, captions=CAPTIONS, **changes):
    values = {"location": str(folder), "revision": "main", "max_length": 12} | changes
    return build(check("text.bert", values, Config), captions=captions)


def ids(folder, *names):
    known = (folder / "vocab.txt").read_text().splitlines()
    return [known.index(name) for name in names]


def test_captions_are_a_start_token_and_pieces(folder):
    encoded = encoder(folder).encode(["A RED sevenx", ""])
    expected = [
        ids(folder, "[CLS]", "a", "red", "seven", "##x"),
        ids(folder, "[CLS]", *["[PAD]"] * 4),
    ]
    assert encoded.tokens.tolist() == expected
    assert encoded.text_mask.tolist() == [[True] * 5, [True] + [False] * 4]
    assert encoded.features is None


def test_longest_training_caption_sets_the_length(folder):
    assert encoder(folder).shape == (5, len(set((folder / "vocab.txt").read_text().split())), 0)
    assert encoder(folder, max_length=3).shape.length == 3
    assert encoder(folder, []).shape.length == 2


def test_names_of_special_tokens_are_text_in_a_caption(folder):
    encoded = encoder(folder, ["[PAD] [CLS] a"]).encode(["[PAD] [CLS] a"])
    assert encoded.text_mask.all()
    assert not set(encoded.tokens[0, 1:].tolist()) & set(ids(folder, "[PAD]", "[CLS]", "[SEP]"))


def test_decoding_skips_special_tokens(folder):
    row = ids(folder, "[CLS]", "a", "[MASK]", "red", "##s", "[SEP]", "[PAD]", "a")
    assert encoder(folder).decode(torch.tensor([row])) == ["a reds"]


def test_folder_saved_by_transformers_gives_the_same_encoder(folder, tmp_path):
    from transformers import BertTokenizer

    BertTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved" / "vocab.txt").exists()
    first, second = encoder(folder), encoder(tmp_path / "saved")
    assert first.shape == second.shape
    assert torch.equal(first.encode(CAPTIONS).tokens, second.encode(CAPTIONS).tokens)


def test_loading_needs_neither_network_nor_transformers(folder, tmp_path):
    built = encoder(folder)
    save_encoder(tmp_path / "text", "bert", built)
    code = (
        "import sys; from pathlib import Path\n"
        "from vqpriors.text.base.encoder import load_encoder\n"
        f"encoder = load_encoder(Path({str(tmp_path / 'text')!r}))\n"
        f"print(encoder.encode({CAPTIONS!r}).tokens.tolist(), 'transformers' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{built.encode(CAPTIONS).tokens.tolist()} False\n"
    assert not ran.stderr


def refusal(folder):
    with pytest.raises(ValueError, match=r"^text\.bert\.location: [^;\n]+; [^\n]+$") as raised:
        encoder(folder)
    return str(raised.value)


def test_folder_without_a_tokenizer_is_refused(folder):
    (folder / "vocab.txt").unlink()
    assert "has no tokenizer.json or vocab.txt; choose a BERT tokenizer" in refusal(folder)


def test_other_model_is_refused(folder, tmp_path):
    (folder / "config.json").write_text(json.dumps({"model_type": "roberta"}))
    expected = "is a model of type 'roberta'; choose one of type bert"
    assert expected in refusal(folder)
    (folder / "config.json").write_text("{")
    assert "config.json that can't be read" in refusal(folder)
    assert "is a model of type 'clip_text_model'" in refusal(clip_folder(tmp_path / "clip"))


def test_other_tokenizer_is_refused(folder, tmp_path):
    other = clip_folder(tmp_path / "clip")
    (folder / "vocab.txt").write_text("a\nb\n")
    assert "has another kind of tokenizer" in refusal(folder)
    (folder / "vocab.txt").unlink()
    from transformers import CLIPTokenizer

    CLIPTokenizer.from_pretrained(other).save_pretrained(folder)
    refusal(folder)


def test_damaged_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").write_text('{"model": ')
    assert "can't be loaded (" in refusal(folder)


def test_missing_folder_is_not_searched_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("went online"))
    assert "no folder '" in refusal(tmp_path / "nowhere").partition(";")[0]


@pytest.mark.parametrize(
    ("variables", "fix"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "unset HF_HUB_OFFLINE"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "go online"),
    ],
)
def test_unreachable_hub_is_one_line(variables, fix, tmp_path):
    code = (
        "from vqpriors.text.bert import Config, build\n"
        "config = Config(location='some/bert', revision='main', max_length=8)\n"
        "try: build(config, captions=[])\n"
        "except ValueError as error: print(error)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "HF_HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment | variables, capture_output=True, text=True
    )
    assert ran.stdout == (
        "text.bert.location: could not reach the Hub for 'some/bert', and there is no such folder; "
        f"{fix}, or download it elsewhere and set text.bert.location to that folder: "
        "`hf download some/bert --local-dir FOLDER`\n"
    )
    assert not ran.stderr
