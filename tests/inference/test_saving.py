"""Saved generators: without training state, in half precision, and the one of the package."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.parts import CAPTIONS, make_parts, same
from vqpriors.__main__ import main
from vqpriors.core.artifact import load_model, save_model, verify
from vqpriors.inference.bundle import SETTINGS
from vqpriors.inference.generator import Generator
from vqpriors.inference.pictures import to_pixels

COLORS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}
BACKGROUNDS = {"black": 0, "white": 255}


@pytest.fixture
def folder(tmp_path):
    make_parts(tmp_path / "data", "transformer")
    for part in ("tokenizer", "prior"):
        model = load_model(tmp_path / "data" / part)
        last = {name: value + 1 for name, value in model.weights.items()}
        save_model(tmp_path / "data" / part, config=model.config, weights=model.weights, last=last)
    return tmp_path / "data"


def relink(folder):
    """Let the prior name the tokenizer beside it."""
    model, tokenizer = load_model(folder / "prior"), load_model(folder / "tokenizer")
    config = model.config | {"tokenizer": tokenizer.fingerprint}
    save_model(folder / "prior", config=config, weights=model.weights)


def test_last_weights_are_left_out_and_pictures_stay_the_same(folder, tmp_path):
    relink(folder)
    assert (folder / "tokenizer/last.safetensors").is_file()
    generator = Generator.load(folder)
    generator.save(tmp_path / "saved")
    assert not list((tmp_path / "saved").rglob("last.safetensors"))
    loaded = Generator.load(tmp_path / "saved")
    assert loaded.fingerprint == generator.fingerprint
    assert same(loaded(CAPTIONS), generator(CAPTIONS))


def test_half_precision_rounds_weights_and_is_half_as_large(folder, tmp_path):
    relink(folder)
    generator = Generator.load(folder)
    generator.save(tmp_path / "whole")
    generator.save(tmp_path / "half", half=True)
    for part in ("tokenizer", "prior"):
        whole, half = (tmp_path / name / part / "model.safetensors" for name in ("whole", "half"))
        weights = load_file(whole)
        floats = {name for name, value in weights.items() if value.is_floating_point()}
        stored = load_file(half)
        assert {stored[name].dtype for name in floats} == {torch.float16}
        size = sum(weights[name].nbytes for name in floats)
        assert whole.stat().st_size - half.stat().st_size == pytest.approx(size / 2, rel=0.01)
    loaded = Generator.load(tmp_path / "half")
    for name, value in loaded.prior.state_dict().items():
        expected = generator.prior.state_dict()[name]
        assert value.dtype == expected.dtype
        assert torch.equal(
            value, expected.half().to(value.dtype) if expected.is_floating_point() else expected
        )
    loaded.save(tmp_path / "again")
    assert Generator.load(tmp_path / "again").fingerprint == loaded.fingerprint


def test_weights_too_large_for_half_precision_stay_whole(folder, tmp_path):
    model = load_model(folder / "tokenizer")
    name = next(name for name, value in model.weights.items() if value.is_floating_point())
    weights = model.weights | {name: torch.full_like(model.weights[name], 1e5)}
    save_model(folder / "tokenizer", config=model.config, weights=weights)
    relink(folder)
    Generator.load(folder).save(tmp_path / "half", half=True)
    stored = load_file(tmp_path / "half/tokenizer/model.safetensors")
    assert torch.equal(stored[name], weights[name])
    assert {value.dtype for key, value in stored.items() if key != name} >= {torch.float16}


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_model_of_the_package_draws_the_colours_of_its_prompt(color, background):
    generator = Generator.load("default")
    drawn = generator(f"a large {color} zero on a {background} background", num_samples=4)
    for pixels in map(np.asarray, drawn):
        border = np.concatenate([pixels[0], pixels[:, 0], pixels[-1], pixels[:, -1]])
        assert np.abs(border.mean() - BACKGROUNDS[background]) < 40
        ink = pixels[np.abs(pixels.astype(int) - BACKGROUNDS[background]).max(axis=-1) > 100]
        assert len(ink) > 40
        assert ink.mean(axis=0).argmax() == COLORS[color].index(1)


def test_command_line_draws_before_any_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["generate", "--from", "default", "--prompt", "a small blue six"])
    assert (tmp_path / "samples/0001/sheet.png").is_file()
    with pytest.raises(SystemExit, match=r"data: not there; .* or `default`$"):
        main(["generate", "--prompt", "a small blue six"])


def test_edited_model_card_is_kept_and_others_are_rewritten(folder, tmp_path, caplog):
    relink(folder)
    generator, card = Generator.load(folder), tmp_path / "saved" / "README.md"
    generator.save(tmp_path / "saved", name="first")
    generator.save(tmp_path / "saved", name="second")
    assert "# second\n" in card.read_text()
    assert not caplog.messages
    own = card.read_bytes() + b"\r\nMy own words \xff\r\n"
    card.write_bytes(own)
    for _ in range(2):
        generator.save(tmp_path / "saved", name="third")
        assert card.read_bytes() == own
        assert caplog.messages == [f"{card}: has been edited and is kept as it is"]
        caplog.clear()


def test_folder_with_damaged_settings_is_saved_anew(folder, tmp_path):
    relink(folder)
    generator = Generator.load(folder)
    generator.save(tmp_path / "saved")
    (tmp_path / "saved" / "settings.json").write_text("{")
    generator.save(tmp_path / "saved")
    assert Generator.load(tmp_path / "saved").fingerprint == generator.fingerprint


def test_changed_settings_of_a_saved_model_are_damage(tmp_path):
    make_parts(tmp_path / "data", "transformer")
    Generator.load(tmp_path / "data").save(tmp_path / "saved")
    path = tmp_path / "saved" / SETTINGS
    path.write_text(path.read_text().replace('"guidance": 2.0', '"guidance": 3.0'))
    with pytest.raises(ValueError, match=rf"{SETTINGS}: damaged"):
        Generator.load(tmp_path / "saved")


@pytest.mark.parametrize(("resize", "top"), [("crop", [255, 0, 0]), ("pad", [0, 0, 255])])
def test_given_pictures_are_made_square_as_in_training(resize, top, tmp_path):
    make_parts(tmp_path / "data", "transformer")
    tokenizer, prior = (tmp_path / "data" / part for part in ("tokenizer", "prior"))
    model = load_model(tokenizer)
    how = {"resize": resize, "background": "#0000ff"}
    save_model(tokenizer, config=model.config | how, weights=model.weights)
    model = load_model(prior)
    known = {"tokenizer": verify(tokenizer)}
    save_model(prior, config=model.config | known, weights=model.weights)
    wide = Image.new("RGB", (16, 8), (255, 0, 0))
    assert to_pixels(wide, Generator.load(tmp_path / "data").image)[:, 0, 4].tolist() == top
