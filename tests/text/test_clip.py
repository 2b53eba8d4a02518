import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.testing import assert_close

from tests import tiny
from tests.imports import ROOT
from tests.text.folders import bert_folder, clip_folder
from vqpriors.core.arrays import StringColumn
from vqpriors.core.params import check
from vqpriors.priors.base.examples import token_examples
from vqpriors.text import clip
from vqpriors.text.base.encoder import load_encoder, save_encoder
from vqpriors.text.clip import Config, FeatureCache, build
from vqpriors.training.loop import train

CAPTIONS = ["a small red seven", "three", ""]


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A CLIP folder, for reading only."""
    return clip_folder(tmp_path_factory.mktemp("made") / "clip")


@pytest.fixture
def folder(made, tmp_path):
    """A CLIP folder to change."""
    return shutil.copytree(made, tmp_path / "clip")


def encoder(folder, captions=CAPTIONS, **changes):
    values = {"location": str(folder), "revision": "main", "max_length": 12} | changes
    return build(check("text.clip", values, Config), captions=captions)


def counted(encoder):
    """Return a list to which each forward pass of the tower appends its batch size."""
    runs = []
    encoder.tower.register_forward_pre_hook(
        lambda module, _, named: runs.append(len(named["input_ids"])), with_kwargs=True
    )
    return runs


def test_captions_have_start_and_end_tokens(made):
    built = encoder(made)
    vocabulary = json.loads((made / "vocab.json").read_text())
    start, end = vocabulary["<|startoftext|>"], vocabulary["<|endoftext|>"]
    words = [vocabulary[f"{word}</w>"] for word in CAPTIONS[0].split()]
    three = vocabulary["three</w>"]
    encoded = built.encode(["A small RED seven", "three", ""])
    assert encoded.tokens.tolist() == [
        [start, *words, end],
        [start, three, end, end, end, end],
        [start, end, end, end, end, end],
    ]
    assert encoded.text_mask.sum(1).tolist() == [6, 3, 2]
    assert encoded.text_mask.int().diff(dim=1).max() <= 0
    assert built.shape == (6, len(vocabulary), 8)
    assert built.pad == end


def test_tokens_are_those_of_transformers(made):
    from transformers import CLIPTokenizer

    captions = ["A red fox, don't", "three sevens é 🦊", ""]
    expected = CLIPTokenizer.from_pretrained(made)(captions).input_ids
    encoded = encoder(made, captions, max_length=16).encode(captions)
    pairs = zip(encoded.tokens, encoded.text_mask, strict=True)
    assert [row[text_mask].tolist() for row, text_mask in pairs] == [row[:16] for row in expected]


def test_long_captions_keep_their_end(made):
    built = encoder(made, max_length=4)
    row = built.encode(["a small red seven"]).tokens[0]
    assert row[-1] == built.pad
    assert built.decode(row[None]) == ["a small"]


def test_decoded_captions_are_normalised(made):
    captions = ["A small  RED seven, three!", "a fox's t-shirt", "🦊 é", ""]
    built = encoder(made, captions, max_length=16)
    found = built.decode(built.encode(captions).tokens)
    assert found == ["a small red seven, three!", "a fox's t-shirt", "🦊 é", ""]


def test_names_of_special_tokens_are_text_in_a_caption(made):
    built = encoder(made, ["<|endoftext|> a"], max_length=16)
    tokens = built.encode(["<|endoftext|> a"]).tokens
    assert (tokens == built.pad).sum() == 1
    assert built.decode(tokens) == ["<| endoftext |> a"]


def test_features_are_the_last_hidden_states(made):
    from transformers import CLIPTextModel

    built = encoder(made)
    encoded = built.encode(CAPTIONS)
    tower = CLIPTextModel.from_pretrained(made).eval()
    for row, text_mask in enumerate(encoded.text_mask):
        alone = tower(input_ids=encoded.tokens[row : row + 1, text_mask]).last_hidden_state
        assert_close(encoded.features[row, text_mask], alone[0].detach())
    assert encoded.features.shape == (3, 6, 8)
    assert encoded.features.dtype == torch.float32
    assert (encoded.features[~encoded.text_mask] == 0).all()
    assert encoded.features.device.type == "cpu"


def test_features_of_a_caption_are_computed_once(made):
    built = encoder(made)
    runs = counted(built)
    first = built.encode(["three", "", "three", "a", "three"]).features
    assert runs == [3]
    assert torch.equal(first[0], first[2])
    assert torch.equal(first[0], first[4])
    assert not torch.equal(first[0], first[3])
    again = built.encode(["", "three", "seven"]).features
    assert runs == [3, 1]
    assert torch.equal(again[:2], first[:2].flip(0))


def test_captions_are_encoded_in_batches(made, monkeypatch):
    monkeypatch.setattr(clip, "BATCH", 2)
    built = encoder(made)
    runs = counted(built)
    found = built.encode(["a", "red", "seven", "red", "on"]).features
    assert runs == [2, 2]
    assert torch.equal(found[1], found[3])
    assert_close(encoder(made).encode(["on"]).features[0], found[4])


def test_cache_drops_the_least_recently_used_features():
    cache = FeatureCache(2)
    for caption in ("a", "b"):
        cache.put(caption, torch.ones(1))
    assert cache.get("a") is not None
    cache.put("c", torch.ones(1))
    assert [cache.get(caption) is None for caption in "abc"] == [False, True, False]


def test_features_are_right_beyond_the_cache_size(made, monkeypatch):
    monkeypatch.setattr(clip, "CACHE_SIZE", 2)
    built = encoder(made)
    captions = ["a", "red", "seven", "on", "white", "a"]
    first = built.encode(captions)
    assert_close(built.encode(captions[::-1]).features, first.features.flip(0))


def test_changing_returned_features_does_not_change_the_cache(made):
    built = encoder(made)
    first = built.encode(["three"]).features
    expected = first.clone()
    first.zero_()
    assert torch.equal(built.encode(["three"]).features, expected)


def test_tower_is_frozen(made):
    tower = encoder(made).tower
    assert not any(module.training for module in tower.modules())
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    assert all(parameter.dtype == torch.float32 for parameter in tower.parameters())


def test_saved_encoder_loads_offline_and_encodes_equally(made, tmp_path):
    built = encoder(made)
    expected = built.encode(CAPTIONS).features
    save_encoder(tmp_path / "text", "clip", built)
    names = {p.relative_to(tmp_path / "text").as_posix() for p in tmp_path.glob("text/**/*.*")}
    tower = {"tower/config.json", "tower/model.safetensors"}
    assert names == {"config.json", "manifest.json", "tokenizer.json"} | tower
    code = (
        "import sys, torch; from pathlib import Path\n"
        "from vqpriors.text.base.encoder import load_encoder\n"
        "before = torch.get_rng_state()\n"
        f"encoder = load_encoder(Path({str(tmp_path / 'text')!r}))\n"
        "assert torch.equal(torch.get_rng_state(), before)\n"
        f"torch.save(encoder.encode({CAPTIONS!r}).features, {str(tmp_path / 'features')!r})"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-W", "error", "-c", code]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert torch.equal(torch.load(tmp_path / "features"), expected)
    loaded = load_encoder(tmp_path / "text")
    assert loaded.shape == built.shape
    assert not any(parameter.requires_grad for parameter in loaded.tower.parameters())
    save_encoder(tmp_path / "again", "clip", loaded)
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "text" / name).read_bytes()


def test_text_tower_of_a_full_clip_model_is_used(made, tmp_path, capfd):
    whole = clip_folder(tmp_path / "whole", has_vision=True)
    built = encoder(whole)
    assert built.shape == encoder(made).shape
    save_encoder(tmp_path / "text", "clip", built)
    found = load_encoder(tmp_path / "text").encode(CAPTIONS).features
    assert torch.equal(found, built.encode(CAPTIONS).features)
    assert capfd.readouterr().err == ""


def test_prior_learns_from_features(made, tmp_path):
    built = encoder(made)
    runs = counted(built)
    captions = StringColumn(pa.chunked_array([["a red seven", "three", "three", "a red seven"]]))
    codes = tiny.codes(4).numpy().astype(np.uint16)
    examples = token_examples(codes, captions, encode=built.encode, dropout=0.0)
    assert runs == [3]  # the two captions and the empty one, not one a picture
    assert examples.captions.features.shape == (3, *built.shape[::2])
    prior = tiny.transformer(text=built.shape)
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    trained = train(
        prior,
        phases={"main": tiny.phase()},
        config=tiny.train_config(warmup_steps=0),
        runtime=tiny.runtime_config(),
        training=examples,
        validation=examples,
        seed=0,
        folder=tmp_path,
        log=lambda *_: None,
    )
    changed = {name for name, value in trained.last.items() if not torch.equal(value, before[name])}
    assert any("project" in name for name in changed)
    assert all(value.isfinite().all() for value in trained.last.values())


def refusal(folder, key="location", **changes):
    with pytest.raises(ValueError, match=rf"^text\.clip\.{key}: [^\n]+$") as raised:
        encoder(folder, **changes)
    return str(raised.value)


def test_pickled_weights_are_refused(folder):
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    expected = "has no model.safetensors, and pickled weights (.bin) are not loaded; choose a "
    assert expected in refusal(folder)


def test_folder_without_a_tokenizer_is_refused(folder):
    (folder / "merges.txt").unlink()
    assert "has neither tokenizer.json nor vocab.json and merges.txt;" in refusal(folder)


def test_other_model_is_refused(folder, tmp_path):
    assert "is a model of type 'bert'; choose one of type clip" in refusal(
        bert_folder(tmp_path / "bert")
    )
    (folder / "config.json").unlink()
    assert "has no config.json" in refusal(folder)


def test_other_tokenizer_is_refused(folder):
    (folder / "vocab.json").write_text('{"a": 0}')
    (folder / "merges.txt").write_text("#version: 0.2\n")
    assert "has another kind of tokenizer" in refusal(folder)


def test_weights_that_are_damaged_or_missing_are_refused(folder):
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["final_layer_norm.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    assert "lacks weights of the text tower" in refusal(folder)
    path.write_bytes(path.read_bytes()[:-9])
    assert "can't be loaded (" in refusal(folder)


def test_tokenizer_larger_than_the_tower_is_refused(tmp_path):
    made = clip_folder(tmp_path / "other", vocab_size=600)
    vocabulary = json.loads((made / "vocab.json").read_text())
    extra = {f"extra{i}": len(vocabulary) + i for i in range(600)}
    (made / "vocab.json").write_text(json.dumps(vocabulary | extra))
    assert "but its tower is for 600; take both from the same model" in refusal(made)


def test_length_beyond_the_tower_is_refused(made):
    message = refusal(made, key="max_length", max_length=17)
    assert message == (
        "text.clip.max_length: must be at most 16, the tower's number of positions, got 17"
    )
    assert encoder(made, ["red " * 50], max_length=16).shape.length == 16


def test_unreachable_hub_is_refused(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "could not reach the Hub for 'some/clip'" in refusal("some/clip")
