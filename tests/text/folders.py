"""Tiny pretrained tokenizers and models, as folders in the Hub's layout."""

import json

import torch

WORDS = [
    "a",
    "small",
    "large",
    "red",
    "green",
    "two",
    "three",
    "seven",
    "on",
    "white",
    "background",
]
BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CLIP_SPECIAL = ["<|startoftext|>", "<|endoftext|>"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def bert_folder(folder):
    """Write a BERT tokenizer that knows `WORDS`, letters and punctuation; return its folder."""
    folder.mkdir(parents=True)
    pieces = [*WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS), *".,!?'-()[]"]
    names = list(dict.fromkeys([*BERT_SPECIAL, *pieces]))
    (folder / "vocab.txt").write_text("\n".join(names) + "\n")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return folder


def clip_folder(folder, *, has_vision=False, **settings):
    """Write a CLIP tokenizer that knows `WORDS` and every byte, and a tower of random weights."""
    from vqpriors.text.base.pretrained import quiet

    vocabulary = clip_tokenizer(folder)
    text = {"vocab_size": len(vocabulary), "bos_token_id": vocabulary[CLIP_SPECIAL[0]]}
    text |= {"eos_token_id": vocabulary[CLIP_SPECIAL[1]], "max_position_embeddings": 16}
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(0)
        clip_model(small() | text | settings, has_vision=has_vision).save_pretrained(folder)
    return folder


def small():
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2}
    return sizes | {"num_attention_heads": 2}


def clip_model(text, *, has_vision):
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

    if not has_vision:
        return CLIPTextModel(CLIPTextConfig(**text))
    vision = small() | {"image_size": 8, "patch_size": 4}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision))


def clip_tokenizer(folder):
    """Write vocab.json and merges.txt; return the vocabulary."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    folder.mkdir(parents=True)
    merges = dict.fromkeys(merge for word in WORDS for merge in merges_of(word))
    characters = list(bytes_to_unicode().values())
    pieces = [*characters, *(f"{c}</w>" for c in characters), *("".join(m) for m in merges)]
    vocabulary = {name: i for i, name in enumerate(dict.fromkeys([*pieces, *CLIP_SPECIAL]))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    return vocabulary


def merges_of(word):
    """Return the BPE merges that join a word to one token, from its end to its start."""
    tail = f"{word[-1]}</w>"
    for letter in reversed(word[:-1]):
        yield letter, tail
        tail = letter + tail


FOLDERS = {"bert": bert_folder, "clip": clip_folder}
