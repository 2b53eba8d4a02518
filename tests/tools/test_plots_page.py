"""The page of `make plots` in a browser: its order, charts that compare, and sheets."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from dvc.utils.serialize import dump_yaml

from tests.browser import chromium
from tests.checkout import commit, git, make_checkout, run, set_value, tiny_params
from tests.imports import ROOT

STEPWISE, MASKED, UNJUDGED = "stepwise", "masked", "unjudged"
OPEN = "for (const it of document.querySelectorAll('main > details')) it.open = true;"
TITLES = "return [...document.querySelectorAll('h3')].map(it => it.textContent)"
PRIOR = Path("metrics/train_prior/plots/metrics")
NOTE = "sum of the losses of the prior; compares only between runs of one prior"


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def write(path, rows, columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def mask(folder):
    """Turn the metrics of a stepwise prior into those of a masked one with two losses."""
    for split in ("train", "validation"):
        path = folder / PRIOR / split / "nats_per_token.tsv"
        rows = read(path)
        path.unlink()
        for name in ("masked_nats", "caption_nats", "loss"):
            changed = [{"step": row["step"], name: row["nats_per_token"]} for row in rows]
            write(path.with_name(f"{name}.tsv"), changed, ["step", name])
    steps = [{"steps": n, "adherence": 0.9, "frechet_distance": 9 - n} for n in (1, 2, 4)]
    write(folder / "metrics/evaluate/steps.tsv", steps, list(steps[0]))


def drop_judge(folder):
    """Leave the metrics that a set without a judge has."""
    path = folder / "metrics/evaluate/metrics.json"
    path.write_text(json.dumps({"nats_per_token": 1.5, "psnr": 20.0}))
    write(folder / "metrics/evaluate/steps.tsv", [{"steps": 64}], ["steps"])
    classes = folder / "metrics/evaluate/classes.tsv"
    classes.write_text(classes.read_text().splitlines(keepends=True)[0])
    shutil.rmtree(folder / "metrics/train_judge/plots/metrics")
    rows = [{"step": 0, "attributes": 0}]
    write(folder / "metrics/train_judge/plots/metrics/attributes.tsv", rows, ["step", "attributes"])


CHANGES = {STEPWISE: lambda folder: None, MASKED: mask, UNJUDGED: drop_judge}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Return the pages of a stepwise and a masked prior, and of a run without a judge."""
    folder = tmp_path_factory.mktemp("plots") / "checkout"
    make_checkout(folder)
    found = {}
    for name, change in CHANGES.items():
        shutil.rmtree(folder / "metrics", ignore_errors=True)
        shutil.copytree(ROOT / "metrics", folder / "metrics")
        change(folder)
        params = tiny_params()
        set_value(params, "seed", len(found))
        dump_yaml(str(folder / "params.yaml"), params)
        commit(folder, name)
        git(folder, "tag", name)
        run(folder, "python", "-m", "tools.plots", *([STEPWISE, MASKED] if name == MASKED else []))
        (folder / "dvc_plots").rename(folder.parent / name)
        found[name] = folder.parent / name / "index.html"
    return found


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture
def show(browser, pages):
    """Return a function that opens a page and runs scripts on it."""

    def at(name, width=1900):
        browser.set_window_size(width, 1200)
        browser.get(pages[name].as_uri())
        return browser.execute_script

    return at


def test_page_starts_with_numbers_and_differences_and_folds_the_rest(show):
    script = show(MASKED)
    assert script(
        "return [...document.querySelectorAll('main > h2')].map(it => it.textContent)"
    ) == [
        "Metrics",
        "Params that differ",
        "Samples",
        "Curves",
    ]
    assert script(
        "return [...document.querySelectorAll('details > summary h2')].map(it => it.textContent)"
    ) == [
        "Other sheets",
        "Stage train_tokenizer",
        "Stage train_judge",
        "Stage train_prior",
        "Stage evaluate",
        "Reference runs",
    ]
    assert not script("return document.querySelector('main > details[open]')")
    text = script("return document.querySelector('main').innerText")
    assert "seed\t0\t1" in text
    real = json.loads((ROOT / "metrics/evaluate/metrics.json").read_text())["conformity_real"]
    assert f"(real: {100 * real:.1f}%)" in text


def test_contents_link_to_every_section_and_unfold_it(show):
    script = show(MASKED)
    heads = script("return [...document.querySelectorAll('h2')].map(it => it.textContent)")
    links = "[...document.querySelectorAll('nav a')]"
    assert script(f"return {links}.map(it => it.textContent)") == heads
    assert script(f"return {links}.every(it => document.querySelector(it.getAttribute('href')))")
    script(f"{links}.at(-1).click()")
    assert script("return document.querySelector('main > details:last-child').open")


def test_charts_are_drawn_as_wide_as_their_cards_and_the_console_stays_empty(show, browser):
    browser.get_log("browser")
    script = show(MASKED)
    script(OPEN)
    wait(
        browser,
        "return document.querySelectorAll('svg.marks').length == "
        "document.querySelectorAll('.charts > .card').length",
    )
    widths = script(
        "return [...document.querySelectorAll('.charts > .card')]"
        ".filter(it => !it.innerText.startsWith('Reference runs'))"  # bars beside names of runs
        ".map(it => it.querySelector('svg.marks').clientWidth / it.clientWidth)"
    )
    assert len(widths) > 12
    assert min(widths) > 0.8
    assert browser.get_log("browser") == []


def wait(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 30).until(lambda it: it.execute_script(condition))


def test_exact_and_masked_nats_have_their_own_charts_and_sums_are_folded(show):
    script = show(MASKED)
    titles = script(
        "return [...document.querySelectorAll('main > section h3')].map(it => it.textContent)"
    )
    assert "train prior: masked nats" in titles
    assert "train prior: nats per token" in titles
    assert not [title for title in titles if "loss" in title]
    runs = (
        "return [...document.querySelectorAll('.card')].filter(it => it.chart && "
        "it.querySelector('h3').textContent.includes(arguments[0])).map(it => "
        "[...new Set(it.chart.data.values.map(row => row.rev + ' ' + row.split))].sort())"
    )
    assert script(runs, "masked nats") == [[f"{MASKED} training", f"{MASKED} validation"]]
    assert script(runs, "nats per token") == [[f"{STEPWISE} training", f"{STEPWISE} validation"]]
    notes = "return [...document.querySelectorAll('.note')].map(it => it.textContent)"
    assert script(notes) == [NOTE]


def test_curves_of_one_point_are_left_out(show):
    assert not [title for title in show(STEPWISE)(TITLES) if "decoding steps" in title]
    titles = show(MASKED)(TITLES)
    assert "Adherence by number of decoding steps" in titles
    assert "Frechet distance by number of decoding steps" in titles


def test_reference_runs_are_drawn_once(show, browser):
    script = show(MASKED)
    script(OPEN)
    bars = "document.querySelectorAll('main > details:last-child .mark-rect path').length"
    wait(browser, f"return {bars} > 0")
    with (ROOT / "metrics/reference/leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    measured = [row[name] for row in rows for name in ("adherence", "frechet_distance")]
    assert script(f"return {bars}") == sum(value != "" for value in measured)


def test_no_chart_needs_a_judge_that_is_not_there(show, browser):
    script = show(UNJUDGED)
    script(OPEN)
    own = [title for title in script(TITLES) if not title.startswith("Reference runs")]
    assert not [it for it in own if any(word in it for word in ("classes", "class", "Adherence"))]
    assert "Stage train_judge" not in script("return document.body.innerText")
    assert "train prior: nats per token" in own
    empty = "return [...document.querySelectorAll('.charts > .card')].filter(it => !it.chart)"
    assert script(empty) == []


def test_sheets_of_two_runs_are_side_by_side(show):
    script = show(MASKED)
    places = script(
        "return [...document.querySelectorAll('.pictures img')].slice(0, 2).map("
        "it => [it.getBoundingClientRect().top, it.getBoundingClientRect().left])"
    )
    assert places[0][0] == places[1][0]
    assert places[0][1] < places[1][1]


def test_sheets_are_pixelated_only_at_whole_factors(show, browser):
    sheet = "document.querySelector('.pictures img')"
    shown = (
        f"const it = {sheet}; return [it.clientWidth / it.naturalWidth, it.style.imageRendering]"
    )
    script = show(STEPWISE)
    wait(browser, f"return {sheet}.style.imageRendering")
    assert script(shown) == [1, "pixelated"]
    script = show(STEPWISE, width=1000)
    wait(browser, f"return {sheet}.style.imageRendering")
    factor, rendering = script(shown)
    assert 0.3 < factor < 0.9
    assert rendering == "auto"
    script(f"{sheet}.click()")
    wait(browser, f"return {sheet}.style.imageRendering == 'pixelated'")
    assert script(shown) == [1, "pixelated"]


def test_one_run_is_compared_with_a_working_tree_that_has_no_metrics(pages):
    folder = pages[MASKED].parents[1] / "checkout"
    (folder / "metrics/evaluate/metrics.json").unlink()
    psnr = json.loads(git(folder, "show", f"{MASKED}:metrics/evaluate/metrics.json"))["psnr"]
    run(folder, "python", "-m", "tools.plots", MASKED)
    page = (folder / "dvc_plots/index.html").read_text()
    assert f"<th>metric</th><th>{MASKED}</th><th>workspace</th>" in page
    assert f"<td>psnr</td><td>{psnr:.2f} dB</td><td>-</td>" in page
    assert f"<th>param</th><th>{MASKED}</th><th>workspace</th>" in page
