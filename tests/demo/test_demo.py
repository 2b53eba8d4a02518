"""The page of `python -m vqpriors demo`: its handlers, and the whole page in a real browser."""

import asyncio
import base64
import io
import json
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Semaphore
from zipfile import ZipFile

import gradio as gr
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tests.browser import chromium
from tests.imports import ROOT
from tests.parts import SIZE, make_parts, picture, same
from vqpriors.__main__ import main
from vqpriors.core.artifact import new_folder
from vqpriors.data.images import SCHEMA, encode_png
from vqpriors.data.shards import write_split
from vqpriors.demo import load_named
from vqpriors.demo.controls import controls_for
from vqpriors.demo.handlers import Handlers, decoding_orders, parse_settings, show_errors
from vqpriors.demo.html import download_link, tiles
from vqpriors.demo.page import MAX_WAITING, USED_SETTINGS, build_page
from vqpriors.demo.streaming import (
    downscale,
    example_pictures,
    preprocess,
    split_drawing,
    stream_previews,
    upscale,
)
from vqpriors.inference.generator import Generator

MARKUP = "<img src=x onerror=alert(1)>"
CONTROLS = {"count": 2, "seed": 1, "is_new_seed": False, "steps": 3, "temperature": 5.0}
CONTROLS |= {"guidance": 2.0, "order": "halton"}


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    path = tmp_path_factory.mktemp("captioner") / "data"
    make_parts(path, "cftn2")
    return Generator.load(path)


@pytest.fixture(scope="module")
def stepwise(tmp_path_factory):
    path = tmp_path_factory.mktemp("stepwise") / "data"
    make_parts(path, "transformer")
    return Generator.load(path)


@pytest.fixture
def loops(monkeypatch):
    """Close the event loops that gradio opens and does not close."""
    made, make = [], asyncio.new_event_loop
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: made.append(make()) or made[-1])
    yield
    asyncio.set_event_loop(None)
    for loop in made:
        loop.close()


def controls(**changes):
    return list((CONTROLS | changes).values())


def square(gray, edge=1):
    return Image.new("L", (edge, edge), gray)


def test_reader_that_keeps_up_gets_each_preview_and_the_result(captioner):
    taken, expected, frames = Semaphore(0), [], []
    result = captioner("a red six", num_samples=2, callback=expected.append)

    def draw(callback):
        def shown(pictures):
            callback(pictures)
            assert taken.acquire(timeout=30)

        return captioner("a red six", num_samples=2, callback=shown)

    for frame in stream_previews(draw):
        frames.append(frame)
        taken.release()
    assert len(frames) == 3 + 1  # three steps
    for found, wanted in zip(frames, [*expected, result], strict=True):
        assert same(found, wanted)


def test_slow_reader_misses_previews_but_keeps_their_order():
    def draw(callback):
        for gray in range(100):
            callback([square(gray)])
        return [square(100)]

    seen = [frame[0].getpixel((0, 0)) for frame in stream_previews(draw)]
    assert seen == sorted(set(seen))
    assert seen[-1] == 100


def test_closing_the_stream_stops_the_call():
    drawn = count()

    def draw(callback):
        while True:
            callback([square(next(drawn) % 256)])

    frames = stream_previews(draw)
    next(frames)
    frames.close()
    stopped = next(drawn)
    time.sleep(0.05)
    assert next(drawn) == stopped + 1


def test_error_of_a_call_reaches_the_reader():
    def draw(callback):
        callback([square(0)])
        raise ValueError("steps: too many")

    with pytest.raises(ValueError, match="steps: too many"):
        list(stream_previews(draw))


def test_pixels_are_repeated_by_an_integer_factor():
    pixels = np.array([[1, 2]], dtype=np.uint8)
    large = upscale(Image.fromarray(pixels), 5)
    assert np.asarray(large).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]
    assert upscale(square(0, 9), 5).size == (9, 9)


def test_downscale_undoes_upscale_and_changes_no_other_picture():
    small = picture()
    assert same([downscale(upscale(small, 5 * SIZE), SIZE)], [small])
    other = picture(size=(5 * SIZE, 5 * SIZE))
    assert downscale(other, SIZE) is other
    wide = Image.new("RGB", (10 * SIZE, 5 * SIZE))
    assert downscale(wide, SIZE) is wide


def test_mask_is_white_where_any_layer_is_painted():
    layers = [Image.new("RGBA", (3, 1)) for _ in range(2)]
    layers[0].putpixel((0, 0), (249, 115, 22, 176))
    layers[1].putpixel((2, 0), (249, 115, 22, 1))
    background = Image.new("RGBA", (3, 1), "red")
    given, mask = split_drawing({"background": background, "layers": layers})
    assert np.asarray(mask).tolist() == [[255, 0, 255]]
    assert same([given], [background.convert("RGB")])


def test_transparent_part_of_a_drawn_over_picture_is_kept_transparent():
    """The generator blends it with the background colour of its pictures."""
    layer = Image.new("RGBA", (3, 1), "red")
    background = Image.new("RGBA", (3, 1), (255, 0, 0, 0))
    given, _ = split_drawing({"background": background, "layers": [layer]})
    assert given.getchannel("A").getextrema() == (0, 0)


def test_drawing_without_picture_or_paint_is_refused():
    blank = {"background": Image.new("RGBA", (3, 1)), "layers": [Image.new("RGBA", (3, 1))]}
    with pytest.raises(ValueError, match=r"^Nothing is painted: brush over"):
        split_drawing(blank)
    for nothing in (None, {"background": None, "layers": []}):
        with pytest.raises(ValueError, match=r"^No picture yet: upload one, or use a drawn"):
            split_drawing(nothing)


def test_draw_shows_previews_and_the_seed(captioner):
    frames = list(Handlers({"it": captioner}).draw("it", "a red six", *controls()))
    html, seed, pictures = frames[-1]
    generator, settings = parse_settings(captioner, *controls())
    assert same(pictures, generator("a red six", **settings))
    assert seed == 1
    assert html.startswith(tiles(pictures))
    assert "2 pictures in " in html
    assert all("drawing ..." in earlier for earlier, _, _ in frames[:-1])


def test_what_the_model_does_not_read_is_told_above_the_pictures(captioner):
    *_, (html, _, pictures) = Handlers({"it": captioner}).draw("it", "a <b> purple", *controls())
    notes, _, _ = html.partition(tiles(pictures))
    assert notes.count('<p class="note">') == len(captioner.warnings_of(["a <b> purple"])) == 2
    assert "&lt;" in notes
    assert "<b>" not in notes


@pytest.mark.parametrize(
    "changes",
    [{"temperature": 2.5}, {"temperature": 0, "guidance": 0, "steps": 1, "seed": 0}],
)
def test_controls_become_the_arguments_of_a_call(captioner, changes):
    values = CONTROLS | changes
    _, settings = parse_settings(captioner, *values.values())
    names = ("steps", "temperature", "guidance", "seed")
    assert settings == {"num_samples": values["count"], **{name: values[name] for name in names}}


def test_default_temperature_is_left_to_the_generator(captioner):
    default = captioner.sampler.config.temperature
    _, settings = parse_settings(captioner, *controls(temperature=default))
    assert "temperature" not in settings  # it is another where the latent is used


def test_new_seed_differs_each_time_and_is_shown(captioner):
    handlers = Handlers({"it": captioner})
    seeds = {
        list(handlers.draw("it", "x", *controls(is_new_seed=True, seed=None)))[-1][1]
        for _ in range(3)
    }
    assert len(seeds) == 3


def test_only_masked_priors_have_a_choice_of_order(captioner, stepwise):
    assert decoding_orders(captioner) == ("confidence", "halton", "random")
    generator, settings = parse_settings(captioner, *controls(order="halton"))
    assert generator.sampler.config.order == "halton"
    assert captioner.sampler.config.order == "confidence"
    assert settings["steps"] == 3
    with pytest.raises(ValueError, match=r"^order: must be one of confidence, halton, random, got"):
        parse_settings(captioner, *controls(order="spiral"))
    assert decoding_orders(stepwise) == ()
    generator, settings = parse_settings(stepwise, *controls())
    assert generator is stepwise
    assert "steps" not in settings


def test_inpainting_keeps_the_unpainted_part(captioner):
    background = upscale(picture(), 4 * SIZE)
    layer = Image.new("RGBA", background.size)
    layer.paste((249, 115, 22, 176), (0, 0, 2 * SIZE, 2 * SIZE))
    drawing = {"background": background.convert("RGBA"), "layers": [layer]}
    mask = Image.new("L", (SIZE, SIZE))
    mask.paste(255, (0, 0, SIZE // 2, SIZE // 2))
    generator, settings = parse_settings(captioner, *controls())
    handlers, found = Handlers({"it": captioner}), {}
    for paste in (True, False):
        *_, last = handlers.inpaint("it", "a red six", drawing, paste, *controls())
        found[paste] = last[2]
        expected = generator.inpaint(picture(), mask, "a red six", paste=paste, **settings)
        assert same(last[2], expected)
    assert not same(found[True], found[False])


def uploaded(path):
    upscale(picture(), 4 * SIZE).save(path)
    return {"path": str(path)}


def test_captions_and_reconstructions_are_those_of_the_picture(captioner, tmp_path):
    handlers, upload = Handlers({"it": captioner}), uploaded(tmp_path / "given.png")
    (written,) = captioner.caption(picture(), seed=2)
    assert list(handlers.caption("it", upload, 2.0)) == [("", written)]
    pair = [preprocess(picture(), captioner.image), captioner.reconstruct(picture())]
    (html,) = handlers.reconstruct("it", upload)
    assert html == tiles(pair, ("tokenizer input", "reconstruction from 4 codes"))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (None, "No picture yet: upload one, or use a drawn or a test picture"),
        (b"<svg>", "Picture: not a PNG, JPEG or other known picture"),
    ],
)
def test_upload_without_a_picture_is_refused(captioner, tmp_path, given, problem):
    (tmp_path / "given.png").write_bytes(given or b"")
    upload = given and {"path": str(tmp_path / "given.png")}
    with pytest.raises(ValueError, match=problem):
        list(Handlers({"it": captioner}).reconstruct("it", upload))


@pytest.mark.parametrize(
    ("prompt", "changes", "problem"),
    [
        ("x" * 2001, {}, "prompt: at most 2,000 characters, got 2,001"),
        ("x", {"seed": -1}, "seed: must be 0 to 2^63 - 1, got -1"),
        ("x", {"seed": None}, "Seed: enter an integer"),
        ("x", {"count": 0}, "num_samples: must give 1 to 1,024 pictures"),
        (
            "x",
            {"order": "<b>\n"},
            "order: must be one of confidence, halton, random, got &lt;b&gt;",
        ),
    ],
)
def test_error_on_the_page_is_one_line_of_text_in_place_of_the_pictures(
    captioner, prompt, changes, problem
):
    handler = show_errors(Handlers({"it": captioner}).draw, others=2)
    html, *others = list(handler("it", prompt, *controls(**changes)))[-1]
    assert html.startswith(f'<p class="note error" role="alert">{problem}')
    assert html.endswith("</p>")
    assert "\n" not in html
    assert others == [gr.skip(), gr.skip()]


def test_error_of_a_handler_with_one_output_is_that_output(captioner):
    handler = show_errors(Handlers({"it": captioner}).reconstruct, others=0)
    (line,) = handler("it", None)
    assert line.startswith('<p class="note error" role="alert">No picture yet: upload one')


def read_link(html):
    """Return name, kind and data of the download in a piece of HTML."""
    found = re.search(r'<a href="data:(.*?);base64,(.*?)" download="(.*?)">download</a>', html)
    return found[3], found[1], io.BytesIO(base64.b64decode(found[2]))


def test_single_picture_is_downloaded_in_its_own_size_with_its_settings():
    name, kind, data = read_link(download_link([picture()], {"prompt": "Größe", "seed": 3}))
    assert (name, kind) == ("000-000.png", "image/png")
    loaded = Image.open(data)
    assert same([loaded], [picture()])
    assert loaded.text == {"prompt": "Größe", "seed": "3", "number": "0"}


def test_several_pictures_are_downloaded_as_an_archive(captioner):
    *earlier, (html, _, pictures) = Handlers({"it": captioner}).draw("it", MARKUP, *controls())
    assert not any("download" in each for each, _, _ in earlier)
    name, kind, data = read_link(html)
    assert (name, kind) == ("pictures.zip", "application/zip")
    with ZipFile(data) as archive:
        assert archive.namelist() == ["000-000.png", "000-001.png"]
        loaded = [Image.open(io.BytesIO(archive.read(each))) for each in archive.namelist()]
    assert same(loaded, pictures)
    expected = {"prompt": MARKUP, "seed": "1", "steps": "3", "temperature": "5.0"}
    expected |= {"guidance": "2.0", "order": "halton", "prior": "cftn2", "number": "1"}
    expected |= {"model": captioner.fingerprint, "sampler": "maskgit", "latent_steps": "1"}
    assert expected.items() <= loaded[1].text.items()
    assert MARKUP not in html


def test_models_have_short_and_different_names(captioner, stepwise, tmp_path):
    for place in ("a/digits", "b/digits"):
        captioner.save(tmp_path / place)
    stepwise.save(tmp_path / "c/digits")
    folders = [str(tmp_path / each / "digits") for each in "abc"]
    found = load_named([(folder, None) for folder in folders])
    assert list(found) == ["digits (cftn2)", "digits 2 (cftn2)", "digits (transformer)"]
    assert [each.folder for each in found.values()] == list(map(Path, folders))


@pytest.mark.usefixtures("loops")
def test_stopping_keeps_the_preview_and_no_longer_calls_it_running(captioner):
    page = build_page({"it": captioner})
    stops = {
        target
        for function in page.fns.values()
        for target, event in function.targets
        if function.cancels and page.blocks[target].value == "Stop"
    }
    marks = [
        function
        for function in page.fns.values()
        if function.fn and {target for target, _ in function.targets} <= stops
    ]
    assert len(stops) == len(marks) == 2  # of drawing and of in-painting
    handlers = Handlers({"it": captioner})
    first, *_ = next(handlers.draw("it", "a red six", *controls()))
    for mark in marks:
        stopped = mark.fn(first)
        assert stopped.startswith(first.partition("<p")[0])
        assert "drawing" not in stopped
        assert "stopped" in stopped
        assert not mark.fn(None)


@pytest.mark.usefixtures("loops")
def test_only_settings_that_a_tab_uses_are_shown_beside_it(captioner):
    page = build_page({"it": captioner})
    tabs = {block._id: block.label for block in page.blocks.values() if isinstance(block, gr.Tab)}
    shown = {}
    for function in page.fns.values():
        for target, event in function.targets:
            if event == "select" and target in tabs:
                shown[tabs[target]] = tuple(each["visible"] for each in function.fn())
    assert list(shown) == ["Draw", "In-paint", "Caption", "Reconstruct"]
    assert tuple(shown.values()) == USED_SETTINGS


def test_unsupported_actions_have_a_note_and_a_disabled_button(captioner, stepwise):
    able, unable = controls_for(captioner), controls_for(stepwise)
    for note, button in (("captions", "caption"), ("redrawing", "redraw")):
        assert unable[note].visible
        assert not unable[button].interactive
        assert not able[note].visible
        assert able[button].interactive
    assert "dvc exp run -S prior.arch=cftn2" in unable["captions"].value
    assert "dvc exp run -S prior.arch=cftn<" in unable["redrawing"].value
    for choice in ("steps", "order"):
        assert able[choice].visible
        assert not unable[choice].visible


def test_controls_start_with_the_values_of_params_yaml(captioner):
    parts = controls_for(captioner)
    values = [parts[name].value for name in ("steps", "temperature", "guidance", "order")]
    assert values == [3, 5.0, 2.0, "confidence"]


def test_markup_in_notes_is_escaped():
    html = tiles([square(0)], [MARKUP])
    assert "<figcaption>&lt;img src=x" in html
    assert html.count("<img") == 1


def write_pictures(folder, captions):
    rows = [
        {
            "id": str(i),
            "group": str(i),
            "image": encode_png(np.zeros((3, 4, 4), np.uint8)),
            "caption": caption,
        }
        for i, caption in enumerate(captions)
    ]
    with new_folder(folder / "images") as images:
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        write_split(images, "test", table, rows_per_shard=10)


def test_example_pictures_are_those_beside_the_parts(tmp_path):
    assert example_pictures(tmp_path) == ([], [])
    write_pictures(tmp_path, ["a red six", "", "a green six", "a red six"])
    pictures, captions = example_pictures(tmp_path)
    assert [each.size for each in pictures] == [(4, 4)] * 4
    assert captions == ["a red six", "a green six"]


@pytest.mark.usefixtures("loops")
def test_page_limits_its_queue_and_has_no_public_api(captioner, stepwise):
    page = build_page({"one": captioner, "other": stepwise})
    assert page._queue.max_size == MAX_WAITING
    assert not page.api_open
    heavy = [each for each in page.fns.values() if each.queue and each.fn]
    assert {(each.concurrency_id, each.concurrency_limit) for each in heavy} == {
        ("prior", "default")
    }
    assert {each.api_visibility for each in page.fns.values()} == {"private"}


def refused(*arguments):
    with pytest.raises(SystemExit) as caught:
        main(["demo", *map(str, arguments)])
    return caught.value.code


def test_bad_arguments_give_a_one_line_error(captioner, tmp_path):
    line = refused("--from", captioner.folder, "--port", 70000)
    assert line == "error: demo: --port: must be 1 to 65535, got 70000"
    line = refused("--from", tmp_path / "elsewhere")
    assert line.startswith(f"error: demo: {tmp_path}/elsewhere: not there; make it")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused("--from", captioner.folder, "--port", port)
    assert line == f"error: demo: --port: {port}: Address already in use"
    line = refused("--from", "a", "--from", "b", "--rev", "main")
    assert line.startswith("error: demo: --rev: only with one --from; save the others with")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def served(folders, log):
    """Serve the page from the command line; yield its address."""
    command = [sys.executable, "-m", "vqpriors", "demo", "--port", str(free_port())]
    command += [word for folder in folders for word in ("--from", folder)]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, cwd=ROOT / "src", stdout=subprocess.PIPE, stderr=errors, text=True
        ) as server,
    ):
        try:
            line = server.stdout.readline()
            assert line.startswith("http://127.0.0.1:"), log.read_text()
            yield line.split()[0]
        finally:
            server.terminate()


def requested(browser):
    """Return the addresses of all requests of a browser so far."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    sockets = [each["params"] for each in messages if each["method"] == "Network.webSocketCreated"]
    return [each["request"]["url"] for each in sent] + [each["url"] for each in sockets]


class Visitor:
    """A visitor of the page; `find` waits until its script returns a true value."""

    def __init__(self, browser):
        self.browser = browser

    def find(self, script):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.browser, 30).until(lambda it: it.execute_script(script))

    def draw(self, prompt):
        box = self.find("return document.querySelector('textarea')")
        self.browser.execute_script("arguments[0].select()", box)
        box.send_keys(prompt)
        self.find("return document.querySelector('.run button')").click()

    def choose(self, number):
        self.find("return document.querySelector('input[aria-label=Prior]')").click()
        self.find(f"return document.querySelectorAll('[role=option]')[{number}]").click()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_browser_draws_contacts_no_other_machine_and_escapes_prompts(captioner, stepwise, tmp_path):
    write_pictures(tmp_path / "data", [MARKUP])
    shutil.copytree(captioner.folder, tmp_path / "data", dirs_exist_ok=True)
    shutil.copy(captioner.folder.parent / "params.yaml", tmp_path)
    folders = (tmp_path / "data", stepwise.folder)
    with chromium() as browser, served(folders, tmp_path / "log") as address:
        browser.get(address)
        visitor = Visitor(browser)
        suggested = "document.querySelector('.examples button')?.innerText"
        assert visitor.find(f"return {suggested}") == MARKUP
        visitor.draw(f"a red six {MARKUP}")
        visitor.find("return /8 pictures in .* seed/.test(document.body.innerText)")
        drawn = "[...document.querySelectorAll('.tiles img')]"
        visitor.find(f"return {drawn}.length == 8 && {drawn}.every(it => it.naturalWidth == 192)")
        assert not browser.execute_script("return document.querySelector('img[src=x]')")
        visitor.draw("x" * 2001)
        line = "prompt: at most 2,000 characters, got 2,001"
        visitor.find(f"return document.body.innerText.includes({line!r})")
        assert not browser.execute_script("return document.querySelector('.toast-body')")
        visitor.choose(1)
        visitor.find("return !document.body.innerText.includes('Steps')")
        addresses = requested(browser)
    assert len(addresses) > 10
    assert not [it for it in addresses if not it.startswith((address, "data:", "blob:"))]
    assert not (tmp_path / "log").read_text()
