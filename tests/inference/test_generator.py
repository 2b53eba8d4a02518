"""The generator and its command line, with untrained parts."""

import shutil
import subprocess
import sys
from operator import attrgetter

import numpy as np
import pytest
import torch
from PIL import Image

import vqpriors
from tests.imports import ROOT
from tests.marks import needs_c_compiler
from tests.parts import CAPTIONS, SIZE, half_mask, make_parts, params_of, picture, same
from vqpriors.__main__ import main
from vqpriors.data.pixels import HIDDEN_GRAY
from vqpriors.inference.bundle import DEFAULT_MODEL, SETTINGS
from vqpriors.inference.editing import edit_mask
from vqpriors.inference.generator import Generator
from vqpriors.inference.pictures import to_pictures
from vqpriors.inference.settings import SamplingOptions
from vqpriors.nn.compiled_step import CompiledBlocks


@pytest.fixture(scope="module", params=["transformer", "cftn2"])
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "data"
    make_parts(path, request.param)
    return path


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    path = tmp_path_factory.mktemp("captioner") / "data"
    make_parts(path, "cftn2")
    return path


@pytest.fixture(scope="module")
def stepwise(tmp_path_factory):
    path = tmp_path_factory.mktemp("stepwise") / "data"
    make_parts(path, "transformer")
    return path


def test_pictures_depend_only_on_prompt_and_seed(folder):
    generator = Generator.load(folder)
    drawn = generator("a red seven", num_samples=3, seed=1)
    assert [each.size for each in drawn] == [(SIZE, SIZE)] * 3
    assert {each.mode for each in drawn} == {"RGB"}
    assert not same(drawn[:1], drawn[1:2])
    assert same(drawn, Generator.load(str(folder))("a red seven", num_samples=3, seed=1))
    assert not same(drawn, generator("a red seven", num_samples=3, seed=2))
    assert not same(drawn, generator("a green six", num_samples=3, seed=1))


def test_pictures_are_ordered_by_prompt(folder):
    generator = Generator.load(folder)
    drawn = generator(["a red seven", "a green six"], num_samples=2)
    assert len(drawn) == 4
    assert same(drawn[:2], generator("a red seven", num_samples=2))


@pytest.mark.parametrize("change", [{"guidance": 5.0}, {"temperature": 9.0}])
def test_settings_can_be_overridden(folder, change):
    generator = Generator.load(folder)
    assert not same(generator(CAPTIONS, **change), generator(CAPTIONS))


def test_defaults_are_those_of_params_yaml(folder):
    generator, sample = Generator.load(folder), params_of("cftn2")["sample"]
    from_params = {"guidance": sample["guidance"]}
    from_params["temperature"] = sample[generator.sampler.name]["temperature"]
    assert same(generator(CAPTIONS, **from_params), generator(CAPTIONS))


def test_temperature_0_draws_the_same_whatever_the_seed(folder):
    generator = Generator.load(folder)
    drawn = [
        generator.sample_codes(CAPTIONS, SamplingOptions(temperature=0.0, seed=seed))
        for seed in (0, 1)
    ]
    assert (drawn[0] == drawn[1]).all()
    assert drawn[0].max() < generator.spec.codebook_size


def test_overrides_are_checked_like_params_yaml(folder):
    sampler = Generator.load(folder).sampler
    assert sampler.changed({"temperature": 3.0}) == sampler.config.model_copy(
        update={"temperature": 3.0}
    )
    with pytest.raises(ValueError, match=r"^temperature: .*greater than or equal to 0, got -1\.0$"):
        sampler.changed({"temperature": -1.0})
    with pytest.raises(ValueError, match=r"^temperature: .*finite number, got nan$"):
        sampler.changed({"temperature": float("nan")})


@pytest.mark.parametrize(("precision", "dtype"), [("no", "float32"), ("bf16", "bfloat16")])
def test_networks_compute_in_the_precision_of_params_yaml(tmp_path, precision, dtype):
    make_parts(tmp_path / "data", "cftn2", sample__precision=precision)
    generator, seen = Generator.load(tmp_path / "data"), set()
    for model in (generator.prior, generator.tokenizer):
        for module in model.modules():
            if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
                module.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    calls = {
        "draw": lambda: generator("a red six"),
        "caption": lambda: generator.caption_codes(np.zeros((1, generator.spec.length)), seed=0),
        "encode": lambda: generator.encode([picture()]),
        "decode": lambda: generator.decode(np.zeros((1, generator.spec.length), int)),
    }
    for name, call in calls.items():
        seen.clear()
        call()
        assert seen == {getattr(torch, dtype)}, name


def test_steps_change_the_pictures_of_a_masked_prior(captioner):
    generator = Generator.load(captioner)
    assert not same(generator(CAPTIONS, steps=1), generator(CAPTIONS, steps=4))


def test_redrawn_pictures_keep_the_unmarked_codes(captioner, monkeypatch):
    generator, masks = Generator.load(captioner), []
    sample_codes = generator.sample_codes

    def recorded(prompts, options, *, known, **rest):
        drawn = sample_codes(prompts, options, known=known, **rest)
        codes, keep = known
        masks.append(keep)
        assert (drawn[keep] == codes[keep]).all()
        assert (codes == generator.encode([picture()])).all()
        return drawn

    monkeypatch.setattr(generator, "sample_codes", recorded)
    mask = Image.new("L", (SIZE, SIZE))
    mask.putpixel((0, SIZE - 1), 255)
    assert len(generator.inpaint(picture(), mask, "a red six", num_samples=3)) == 3
    assert len(generator.vary(picture(), num_samples=4)) == 4
    inpainted, varied = masks
    spec = generator.spec
    assert (~inpainted).sum(1).tolist() == [1] * 3
    assert (~inpainted[0].reshape(spec.rows, spec.columns)).nonzero()[0] == spec.rows - 1
    assert varied.sum(1).tolist() == [spec.length // 2] * 4


def test_exif_rotation_of_a_given_picture_is_applied(captioner):
    generator, lying = Generator.load(captioner), picture().transpose(Image.Transpose.ROTATE_90)
    assert not (generator.encode([lying]) == generator.encode([picture()])).all()
    lying.getexif()[0x0112] = 6
    assert (generator.encode([lying]) == generator.encode([picture()])).all()


def test_picture_without_a_range_of_pixels_is_refused(captioner):
    with pytest.raises(ValueError, match=r"^picture: floating-point pixels have no fixed range"):
        Generator.load(captioner).caption(Image.new("F", (SIZE, SIZE)))


def test_variation_redraws_the_half_of_its_seed(captioner):
    generator = Generator.load(captioner)
    codes, spec = generator.encode([picture()]), generator.spec
    for seed in (0, 1):
        keep = edit_mask("variation", spec.rows, spec.columns, count=16, seed=seed)
        known = (codes.repeat(16, axis=0), keep)
        drawn = generator.sample_codes([""] * 16, SamplingOptions(seed=seed), known=known)
        found = generator.vary(picture(), num_samples=16, seed=seed)
        assert same(found, to_pictures(generator.decode(drawn)))


def test_callback_gets_previews_and_changes_nothing(folder):
    generator, seen = Generator.load(folder), []
    drawn = generator("a red six", num_samples=2, callback=seen.append)
    assert same(drawn, generator("a red six", num_samples=2))
    assert len(seen) == (3 if generator.has_steps else generator.spec.length)
    is_gray = [
        [(np.asarray(each) == HIDDEN_GRAY).all(2).mean() for each in frame] for frame in seen
    ]
    assert all(first > last for first, last in zip(is_gray[0], is_gray[-1], strict=True))
    assert same(seen[-1], drawn)


def test_previews_of_a_variation_show_the_kept_codes_from_the_first_step(captioner):
    generator, seen = Generator.load(captioner), []
    redrawn = generator.vary(picture(), num_samples=2, callback=seen.append)
    assert same(seen[-1], redrawn)
    assert (np.asarray(seen[0][0]) == HIDDEN_GRAY).all(2).mean() < 1 / 2


def test_pictures_are_resized_to_the_tokenizers_size(captioner):
    generator = Generator.load(captioner)
    assert generator.encode([picture(size=(SIZE, SIZE)), picture(size=(31, 17))]).shape[0] == 2
    assert generator.reconstruct(picture(size=(31, 17)).convert("L")).size == (SIZE, SIZE)


def test_captioner_captions_each_picture(captioner):
    generator = Generator.load(captioner)
    written = generator.caption([picture(0), picture(1)])
    assert len(written) == 2
    assert all(isinstance(each, str) for each in written)
    assert generator.caption(picture(0)) == written[:1]


def test_saved_generator_draws_the_same_elsewhere(folder, tmp_path):
    generator = Generator.load(folder)
    generator.save(tmp_path / "saved")
    assert same(Generator.load(tmp_path / "saved")(CAPTIONS), generator(CAPTIONS))


@needs_c_compiler
def test_steps_are_compiled_if_params_yaml_says_so(tmp_path, stepwise, monkeypatch):
    counts, step = [], CompiledBlocks.__call__
    monkeypatch.setattr(
        CompiledBlocks, "__call__", lambda self, x: counts.append(len(x)) or step(self, x)
    )
    expected = Generator.load(stepwise)(CAPTIONS)
    assert not counts
    make_parts(tmp_path / "data", "transformer", sample__compile=True)
    generator = Generator.load(tmp_path / "data")
    assert same(generator(CAPTIONS), expected)
    assert counts == [2 * len(CAPTIONS)] * generator.spec.length
    generator.save(tmp_path / "saved")
    assert Generator.load(tmp_path / "saved").defaults.compile
    assert not Generator.load(tmp_path / "saved", compile=False).defaults.compile
    counts.clear()
    assert same(Generator.load(stepwise, compile=True)(CAPTIONS), expected)
    assert counts
    with pytest.raises(ValueError, match=r"^compile: must be True or False, got 1$"):
        Generator.load(stepwise, compile=1)


def test_models_of_earlier_versions_do_not_compile_steps():
    assert "compile" not in (DEFAULT_MODEL / SETTINGS).read_text()
    assert not Generator.load("default").defaults.compile


def test_saved_generator_keeps_its_settings_beside_another_params_yaml(captioner, tmp_path):
    generator = Generator.load(captioner)
    generator.save(tmp_path / "saved")
    make_parts(tmp_path / "data", "cftn2", sample__guidance=7.0, sample__maskgit__temperature=0.0)
    assert Generator.load(tmp_path / "data").defaults.guidance == 7.0
    loaded = Generator.load(tmp_path / "saved")
    shared = type(loaded.defaults).model_fields
    assert loaded.defaults.model_dump() == generator.defaults.model_dump(include=set(shared))
    assert loaded.sampler.config == generator.sampler.config


def every_file(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("years of work")


@pytest.mark.parametrize(
    "name", ["thesis.tex", "pictures/300.png", ".hidden", "manifest.json", "settings.json"]
)
def test_saving_leaves_a_folder_of_other_files_alone(captioner, tmp_path, name):
    put(tmp_path / "work" / name)
    before = every_file(tmp_path)
    with pytest.raises(ValueError, match=f"work: not empty, and {name} was not written by save;"):
        Generator.load(captioner).save(tmp_path / "work")
    assert every_file(tmp_path) == before


def test_saving_leaves_a_file_added_to_a_saved_generator_alone(captioner, tmp_path):
    generator, saved = Generator.load(captioner), tmp_path / "saved"
    generator.save(saved)
    put(saved / "prior" / "notes.txt")
    before = every_file(saved)
    with pytest.raises(ValueError, match=r"and prior/notes\.txt was not written by save"):
        generator.save(saved)
    assert every_file(saved) == before


@pytest.mark.parametrize("place", ["", "prior"])
def test_saving_leaves_the_data_of_a_checkout_alone(captioner, tmp_path, place):
    shutil.copytree(captioner, tmp_path / "data")
    before = every_file(tmp_path)
    with pytest.raises(ValueError, match=r"not empty, and .* was not written by save"):
        Generator.load(captioner).save(tmp_path / "data" / place)
    assert every_file(tmp_path) == before


def test_saving_to_the_path_of_a_file_is_refused(captioner, tmp_path):
    put(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"notes\.txt: is a file; choose a folder"):
        Generator.load(captioner).save(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "years of work"


def test_saving_fills_an_empty_folder_and_replaces_a_saved_generator(folder, captioner, tmp_path):
    (tmp_path / "saved").mkdir()
    Generator.load(captioner).save(tmp_path / "saved")
    (tmp_path / "saved" / "README.md").write_text("edited")  # the manifest does not list the card
    Generator.load(folder).save(tmp_path / "saved")
    assert same(Generator.load(tmp_path / "saved")(CAPTIONS), Generator.load(folder)(CAPTIONS))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"steps": 0}, "steps: must be 1 to 1024, got 0"),
        ({"temperature": -0.1}, "temperature: must be 0 to 100, got -0.1"),
        ({"temperature": float("nan")}, "temperature: must be 0 to 100, got nan"),
        ({"guidance": 1e9}, "guidance: must be 0 to 100, got 1000000000.0"),
        ({"seed": -1}, "seed: must be"),
    ],
)
def test_option_out_of_range_is_refused(options, problem):
    with pytest.raises(ValueError, match=problem):
        SamplingOptions(**options)


def test_unsupported_calls_are_refused(stepwise):
    generator = Generator.load(stepwise)
    with pytest.raises(ValueError, match=r"^steps: this prior draws one code after another"):
        generator("a red six", steps=3)
    with pytest.raises(ValueError, match=r"^prior\.arch: this prior writes no captions; train one"):
        generator.caption(picture())
    with pytest.raises(ValueError, match=r"^redrawing: this prior draws in one order"):
        generator.vary(picture())


@pytest.mark.parametrize("part", ["tokenizer", "text", "prior"])
def test_missing_part_is_named(captioner, tmp_path, part):
    Generator.load(captioner).save(tmp_path / "saved")
    (tmp_path / "saved" / part).rename(tmp_path / "gone")
    with pytest.raises(ValueError, match=f"saved/{part}: not there; make it with `dvc repro`"):
        Generator.load(tmp_path / "saved")


FILES = "sheet.png and pictures.jsonl"


def run_main(*arguments):
    """Return the exit value of a command line: None, or its error line."""
    try:
        main(list(map(str, arguments)))
    except SystemExit as end:
        return end.code
    return None


def test_command_line_writes_pictures_and_a_sheet(folder, tmp_path, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a green six\n\na red six\n")
    command = ["generate", "--from", folder, "--prompt", "a red seven", "--prompts", prompts]
    assert run_main(*command, "--num-samples", 2, "--out", tmp_path / "out") is None
    assert capsys.readouterr().out == f"6 pictures, {FILES} in {tmp_path / 'out'}\n"
    expected = Generator.load(folder)(["a red seven", "a green six", "a red six"], num_samples=2)
    names = [f"{i:03d}-{k:03d}.png" for i in range(3) for k in range(2)]
    others = {"sheet.png", "pictures.jsonl"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*names, *others}
    assert same([Image.open(tmp_path / "out" / name) for name in names], expected)


def test_command_line_saves_the_decoding_steps_as_a_gif(folder, tmp_path, capsys):
    command = ["generate", "--from", folder, "--prompt", "a red six", "--num-samples", 2]
    assert run_main(*command, "--animate", "--out", tmp_path) is None
    files = "sheet.png, sheet.gif and pictures.jsonl"
    assert capsys.readouterr().out == f"2 pictures, {files} in {tmp_path}\n"
    generator = Generator.load(folder)
    made = tmp_path
    with Image.open(made / "sheet.gif") as film, Image.open(made / "sheet.png") as sheet:
        assert film.n_frames == (3 if generator.has_steps else generator.spec.length)
        assert film.size == sheet.size
        first = np.asarray(film.convert("RGB")).astype(int)
        film.seek(film.n_frames - 1)
        last, whole = np.asarray(film.convert("RGB")).astype(int), np.asarray(sheet).astype(int)
    assert abs(last - whole).mean() < 8  # colours of a palette
    assert abs(first - whole).mean() > 2 * abs(last - whole).mean()


def test_command_line_redraws_and_captions(captioner, tmp_path, capsys):
    source, mask, out = tmp_path / "source.png", tmp_path / "mask.png", tmp_path / "out"
    picture().save(source)
    Image.new("L", (SIZE, SIZE), 255).save(mask)
    given = ["generate", "--from", captioner, "--out"]
    inpaint = ["--inpaint", source, mask]
    assert run_main(*given, out / "inpainted", *inpaint, "--prompt", "a red six") is None
    assert capsys.readouterr().err == (
        "warning: generate: mask: all of it is white, so the whole picture is redrawn; "
        "paint black what is to be kept\n"
    )
    Image.new("L", (SIZE // 2, SIZE), 255).save(mask)
    assert run_main(*given, out / "other", *inpaint) == (
        f"error: generate: mask: {SIZE // 2} x {SIZE} pixels, but the picture has "
        f"{SIZE} x {SIZE}; make both equally large"
    )
    assert run_main(*given, out / "varied", "--vary", source, "--num-samples", 3) is None
    assert len(list(out.glob("inpainted/000-*.png"))) == 1
    assert len(list(out.glob("varied/000-*.png"))) == 3
    capsys.readouterr()
    assert run_main("caption", "--from", captioner, source) is None
    assert capsys.readouterr().out.startswith(f"{source}: ")


BAD = {
    "nothing to draw": (["generate"], "--prompt: missing; give one, such as"),
    "long prompt": (["generate", "--prompt", "x" * 2001], "prompt: at most 2,000 characters"),
    "no pictures": (
        ["generate", "--prompt", "x", "--num-samples", 0],
        "num_samples: must give 1 to 1,024 pictures",
    ),
    "too many": (
        ["generate", "--prompt", "x", "--num-samples", 1025],
        "num_samples: must give 1 to 1,024 pictures",
    ),
    "too many to animate": (
        ["generate", "--prompt", "x", "--num-samples", 17, "--animate"],
        "--animate: at most 16 pictures, which is one batch (sample.batch_size), got 17",
    ),
    "no file": (["generate", "--prompts", "absent.txt"], "absent.txt: No such file"),
    "empty file": (["generate", "--prompts", "empty.txt"], "empty.txt: no prompt in it"),
    "binary file": (["generate", "--prompts", "broken.png"], "broken.png: not UTF-8 text"),
    "no picture": (["generate", "--vary", "absent.png"], "absent.png: No such file"),
    "broken picture": (
        ["generate", "--vary", "broken.png"],
        "broken.png: not a PNG, JPEG or other known picture",
    ),
    "two ways": (
        ["generate", "--vary", "whole.png", "--inpaint", "whole.png", "whole.png"],
        "--vary: not together with --inpaint",
    ),
    "black mask": (["generate", "--inpaint", "whole.png", "black.png"], "mask: nothing is marked"),
    "no Hub id": (["push", "digits"], "digits: not a Hub id; give one such as owner/name"),
    "no parts": (
        ["caption", "whole.png", "--from", "elsewhere"],
        "elsewhere: not there; make it with",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_command_line_gives_a_one_line_error(captioner, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "broken.png").write_bytes(b"\xff\xfe\x00")
    picture().save("whole.png")
    Image.new("L", (SIZE, SIZE)).save("black.png")
    command, problem = BAD[name]
    parts = [] if "--from" in command else ["--from", captioner]
    to = ["--out", "out"] if command[0] == "generate" else []
    line = run_main(*command, *parts, *to)
    assert str(line).startswith(f"error: {command[0]}: {problem}")
    assert "\n" not in str(line)
    assert not (tmp_path / "out").exists()


def imported_by(*arguments):
    """Return the modules that a command line imports."""
    code = "import sys; from vqpriors.__main__ import main\n"
    code += f"try: main({[*map(str, arguments)]})\nexcept SystemExit: pass\n"
    code += "print('modules', *sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, cwd=ROOT / "src", capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split())


def test_package_imports_the_generator_on_first_use():
    code = "import sys, vqpriors\nassert 'torch' not in sys.modules\n"
    code += "from vqpriors import Generator\n"
    code += "assert Generator.__module__ == 'vqpriors.inference.generator'"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "src")
    with pytest.raises(AttributeError, match="module 'vqpriors' has no attribute 'Painter'"):
        attrgetter("Painter")(vqpriors)


def test_help_imports_nothing_slow():
    assert not {"torch", "numpy", "PIL", "pydantic"} & imported_by("--help")


def test_drawing_imports_no_training_no_dvc_and_no_hub(stepwise, tmp_path):
    found = imported_by("generate", "--from", stepwise, "--prompt", "x", "--out", tmp_path / "out")
    assert (tmp_path / "out/sheet.png").is_file()
    slow = {"dvc", "datasets", "accelerate", "diffusers", "huggingface_hub", "pandas", "sklearn"}
    assert not slow & found


CALLS = {
    "generate": lambda generator, prompt, **options: generator(prompt, **options),
    "inpaint": lambda generator, prompt, **options: generator.inpaint(
        picture(), half_mask(), prompt, **options
    ),
    "vary": lambda generator, prompt, **options: generator.vary(picture(), prompt, **options),
}


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a green seven"},
        {"seed": 1},
        {"steps": 1},
        {"temperature": 0.0},
        {"temperature": 50.0},
        {"guidance": 0.0},
        {"guidance": 20.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("call", CALLS)
def test_each_call_follows_each_option(captioner, call, change):
    generator, usual = Generator.load(captioner), {"prompt": "a red six", "num_samples": 8}
    draw = CALLS[call]
    drawn = draw(generator, **usual)
    assert same(drawn, draw(generator, **usual))
    assert not same(drawn, draw(generator, **usual | change))


OPTIONS = {
    "all": {"steps": 1, "temperature": 9.0, "guidance": 5.0, "seed": 7},
    "temperature 0": {"temperature": 0.0},
    "guidance 0": {"guidance": 0.0},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("call", CALLS)
def test_command_line_draws_with_the_given_options(captioner, tmp_path, call, name):
    source, mask, out = tmp_path / "source.png", tmp_path / "mask.png", tmp_path / "out"
    picture().save(source)
    half_mask().save(mask)
    given = {"generate": [], "inpaint": ["--inpaint", source, mask], "vary": ["--vary", source]}
    options = [part for key, value in OPTIONS[name].items() for part in (f"--{key}", value)]
    command = ["generate", "--from", captioner, "--prompt", "a green seven", "--num-samples", 8]
    assert run_main(*command, *given[call], *options, "--out", out) is None

    def drawn(**options):
        return CALLS[call](Generator.load(captioner), "a green seven", num_samples=8, **options)

    found = [Image.open(path) for path in sorted(out.glob("000-*.png"))]
    assert same(found, drawn(**OPTIONS[name]))
    for key in OPTIONS[name]:  # each of them matters
        assert not same(found, drawn(**{k: v for k, v in OPTIONS[name].items() if k != key}))


def test_captions_of_the_command_line_follow_its_seed(tmp_path, capsys):
    make_parts(tmp_path / "data", "cftn2", sample__captions__temperature=5.0)
    source, generator = tmp_path / "source.png", Generator.load(tmp_path / "data")
    picture().save(source)
    expected = generator.caption(picture(), seed=3)
    assert expected != generator.caption(picture())
    assert run_main("caption", "--from", tmp_path / "data", "--seed", 3, source) is None
    assert capsys.readouterr().out == f"{source}: {expected[0]}\n"


def test_codes_are_those_of_the_tokenizer_for_pixels_in_minus_1_to_1(captioner):
    generator, given = Generator.load(captioner), [picture(0), picture(1)]
    pixels = np.stack([np.asarray(each) for each in given])  # (M, H, W, C)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    codes = generator.tokenizer.encode(images)
    assert codes.unique().numel() > 4
    assert torch.equal(torch.from_numpy(generator.encode(given).astype(np.int64)), codes)
    restored = (generator.tokenizer.decode(codes[:1])[0].permute(1, 2, 0) + 1) * 127.5
    found = np.asarray(generator.reconstruct(given[0]))
    np.testing.assert_array_equal(found, restored.round().numpy().astype(np.uint8))
