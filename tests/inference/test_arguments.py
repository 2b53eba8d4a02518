"""Arguments of a generator's methods, and the generator as a Python object."""

import copy
import gc
import inspect
import pickle
import re
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image

from tests.parts import SIZE, make_parts, picture, same
from vqpriors.inference.arguments import read_pictures
from vqpriors.inference.generator import Generator
from vqpriors.inference.settings import SamplingOptions, repeat_prompts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("parts") / "data"
    make_parts(path, "cftn2")
    return path


@pytest.fixture(scope="module")
def generator(folder):
    return Generator.load(folder)


UNKNOWN = {
    "generator": (lambda g: g("a red six", step=3), "no argument 'step'; did you mean 'steps'?"),
    "generator.inpaint": (
        lambda g: g.inpaint(picture(), picture(), guidance_scale=3.0),
        "no argument 'guidance_scale'; did you mean 'guidance'?",
    ),
    "generator.vary": (
        lambda g: g.vary(picture(), num_sample=3),
        "no argument 'num_sample'; did you mean 'num_samples'?",
    ),
    "generator.caption": (
        lambda g: g.caption(picture(), zzz=1),
        "no argument 'zzz'; it has picture, seed",
    ),
    "generator.save": (
        lambda g: g.save("x", title="x"),
        "no argument 'title'; it has path, name, half",
    ),
    "Generator.load": (
        lambda _: Generator.load("data", rev="main"),
        "no argument 'rev'; it has source, revision, device, compile",
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_argument_is_named_with_a_suggestion(generator, name):
    call, problem = UNKNOWN[name]
    with pytest.raises(TypeError) as raised:
        call(generator)
    assert str(raised.value) == f"{name}: {problem}"


def test_missing_argument_and_one_too_many_are_named_by_the_public_name(generator):
    with pytest.raises(TypeError, match=r"^generator: missing a required argument: 'prompt'$"):
        generator()
    with pytest.raises(TypeError, match=r"^generator\.save: too many positional arguments$"):
        generator.save("a", "b")


def test_methods_keep_their_signatures_and_docstrings():
    names = list(inspect.signature(Generator.inpaint).parameters)
    assert names[:4] == ["self", "picture", "mask", "prompt"]
    assert Generator.inpaint.__doc__.startswith("Redraw the white part of a mask")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"steps": 2.5}, "steps: must be an integer, got 2.5"),
        ({"steps": True}, "steps: must be an integer, got True"),
        ({"seed": "7"}, "seed: must be an integer, got '7'"),
        ({"seed": None}, "seed: must be an integer, got None"),
        ({"guidance": "3"}, "guidance: must be a number, got '3'"),
        ({"temperature": [1.0]}, "temperature: must be a number, got [1.0]"),
    ],
)
def test_option_of_another_type_is_refused(options, problem):
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        SamplingOptions(**options)


@pytest.mark.parametrize(
    ("prompt", "num_samples", "problem"),
    [
        (7, 1, "prompt: must be a text or a list of texts, got 7"),
        (["a", None], 1, "prompt: must be a text or a list of texts, got None"),
        ("a", 1.5, "num_samples: must be an integer, got 1.5"),
    ],
)
def test_prompts_of_another_type_are_refused(prompt, num_samples, problem):
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        repeat_prompts(prompt, num_samples)


def test_numbers_of_numpy_are_taken(generator):
    options = {"steps": np.int64(2), "seed": np.uint8(3), "guidance": np.float32(2)}
    drawn = generator("a red six", num_samples=np.int32(2), **options)
    assert same(drawn, generator("a red six", num_samples=2, steps=2, seed=3, guidance=2))


def test_pictures_may_be_given_by_path(generator, tmp_path):
    paths = [tmp_path / "0.png", str(tmp_path / "1.png")]
    pictures = [picture(0), picture(1)]
    for path, each in zip(paths, pictures, strict=True):
        each.save(path)
    mask = Image.new("L", (SIZE, SIZE), 255)
    mask.save(tmp_path / "mask.png")
    assert generator.caption(paths) == generator.caption(pictures)
    assert generator.caption(paths[1]) == generator.caption(pictures[1])
    assert same([generator.reconstruct(paths[0])], [generator.reconstruct(pictures[0])])
    assert same(generator.vary(paths[0]), generator.vary(pictures[0]))
    redrawn = generator.inpaint(paths[0], tmp_path / "mask.png")
    assert same(redrawn, generator.inpaint(pictures[0], mask))


def test_what_is_no_picture_is_refused(generator, tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(ValueError, match=r"^picture: must be a PIL picture .*, got ndarray$"):
        generator.vary(np.zeros((8, 8, 3)))
    with pytest.raises(ValueError, match=r"^mask: must be a PIL picture .*, got NoneType$"):
        generator.inpaint(picture(), None)
    with pytest.raises(
        ValueError, match=r"^picture: .*notes\.txt: not a PNG, JPEG or other known picture$"
    ):
        generator.caption(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"^picture: none given; give at least one$"):
        read_pictures("picture", [])
    with pytest.raises(FileNotFoundError):
        generator.caption("absent.png")


BAD_VALUES = {
    "path: must be a path, got None": lambda g, to: g.save(None),
    "name: must be a text or a list of texts, got 5": lambda g, to: g.save(to, name=5),
    "half: must be True or False, got 'x'": lambda g, to: g.save(to, half="x"),
    "prompt: none given; give at least one": lambda g, to: g([]),
    "callback: must be a function, got 5": lambda g, to: g("a red six", callback=5),
    "codes: must be integers of shape (M, 4), got shape (1, 2) of int64": (
        lambda g, to: g.decode([[1, 2]])
    ),
    "codes: must be 0 to ": lambda g, to: g.decode(np.full((1, 4), 9999)),
    "codes: must be integers of shape": lambda g, to: g.decode([[0.5] * 4]),
    "picture: must be a PIL picture or the path of one, got bytes": lambda g, to: g.encode(b"x"),
}


@pytest.mark.parametrize("problem", BAD_VALUES)
def test_value_of_another_kind_is_named(generator, tmp_path, problem):
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}"):
        BAD_VALUES[problem](generator, tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_codes_may_be_lists(generator):
    assert generator.decode([[0, 1, 2, 3]]).shape[0] == 1


def test_home_is_expanded_in_paths(generator, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    generator.save("~/saved")
    assert Generator.load("~/saved").fingerprint == generator.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_model_of_the_package_has_no_revisions():
    with pytest.raises(ValueError, match=r"^revision: 'default' comes with the package and has"):
        Generator.load("default", "main")


def test_device_can_be_chosen_and_changed(folder):
    generator = Generator.load(folder, device="cpu")
    assert generator.device == torch.device("cpu")
    assert generator.to("cpu") is generator
    with pytest.raises(ValueError, match=r"^device: 'gpu' can't be used on this machine; use"):
        Generator.load(folder, device="gpu")
    with pytest.raises(ValueError, match=r"^device: 'xpu:7' can't be used"):
        generator.to("xpu:7")


def test_networks_move_to_the_given_device(folder):
    generator = Generator.load(folder).to("meta")
    for model in (generator.prior, generator.tokenizer):
        assert {each.device.type for each in model.parameters()} == {"meta"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_pictures_are_drawn_on_the_chosen_device(folder):
    generator = Generator.load(folder, device="cpu")
    assert generator.to("cuda").device.type == "cuda"
    assert len(generator("a red six")) == 1


def test_repr_is_one_short_line(generator):
    text = repr(generator)
    assert text.startswith(f"Generator(cftn2, {SIZE} px, 2 x 2 codes of ")
    assert text.endswith(f", on cpu, {generator.fingerprint[:12]})")
    assert len(text) < 100


def test_fingerprint_is_that_of_the_weights(folder, generator, tmp_path):
    assert Generator.load(folder).fingerprint == generator.fingerprint
    generator.save(tmp_path / "saved")
    assert Generator.load(tmp_path / "saved").fingerprint == generator.fingerprint
    make_parts(tmp_path / "data", "transformer")
    assert Generator.load(tmp_path / "data").fingerprint != generator.fingerprint


def test_copies_draw_the_same_and_a_deep_one_has_its_own_weights(generator):
    shallow, deep = copy.copy(generator), copy.deepcopy(generator)
    assert type(deep) is Generator
    assert shallow.prior is generator.prior
    assert deep.prior is not generator.prior
    assert same(shallow("a red six"), generator("a red six"))
    assert same(deep("a red six"), generator("a red six"))


def test_folder_of_a_revision_lasts_as_long_as_any_copy(folder, tmp_path, monkeypatch):
    closed = []

    @contextmanager
    def opened(source, revision):
        yield folder
        closed.append(True)

    monkeypatch.setattr("vqpriors.inference.generator.open_source", opened)
    generator = Generator.load("any")
    other = copy.deepcopy(generator)
    del generator
    gc.collect()
    assert not closed
    del other
    gc.collect()
    assert closed == [True]


def test_pickling_is_refused_with_the_way_to_do_it(generator):
    with pytest.raises(TypeError, match=r"^a generator can't be pickled; use `save`, and "):
        pickle.dumps(generator)


@pytest.mark.parametrize("prompt", [["a", "b"], ["a red six"]])
def test_redrawing_takes_one_prompt(generator, prompt):
    given = picture()
    for draw in (
        lambda: generator.vary(given, prompt),
        lambda: generator.inpaint(given, given, prompt),
    ):
        with pytest.raises(ValueError, match=r"^prompt: must be one text here"):
            draw()
