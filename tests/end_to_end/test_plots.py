"""The page of `dvc plots show` has all curves and sheets and needs no network."""

import re

import pytest

from tests.checkout import commit, copy_checkout, run

# Markup that makes a browser fetch something; an address in plain text does not.
FETCHES = re.compile(
    r"""(?:src|href|action|data|poster)\s*=\s*["']?\s*(?:https?:)?//"""
    r"""|\b(?:import|from)\s*\(?\s*["'](?:https?:)?//"""
    r"""|url\(\s*["']?(?:https?:)?//"""
    r"""|@import""",
    re.IGNORECASE,
)
SHEETS = ("samples", "temperatures", "edits", "reconstructions", "random_codes", "inpainting")


@pytest.fixture(scope="module")
def page(reproduced, tmp_path_factory):
    """The folder of the page, drawn in a copy."""
    folder = copy_checkout(reproduced.folder, tmp_path_factory.mktemp("plots") / "checkout")
    run(folder, "dvc", "plots", "show")
    return folder / "dvc_plots"


def test_pattern_finds_what_fetches():
    for element in ('<script src="https://x/y.js">', "import('//x/y.js')"):
        assert FETCHES.search(element)


def test_page_fetches_nothing(page):
    assert FETCHES.search((page / "index.html").read_text()) is None


def test_page_has_the_scripts_that_draw_curves(page):
    html = (page / "index.html").read_text()
    assert "vegaEmbed" in html
    assert len(html) > 500_000


def test_page_shows_every_training_stage_and_sheet(page):
    html = (page / "index.html").read_text()
    for stage in ("train_tokenizer", "train_judge", "train_prior"):
        assert f"{stage}/plots/metrics" in html
    pictures = [path.name for path in page.rglob("*.png")]
    for sheet in SHEETS:
        assert any(sheet in name for name in pictures)
        assert sheet in html


@pytest.mark.slow
def test_report_is_one_file_with_numbers_and_pictures(reproduced, tmp_path):
    folder = copy_checkout(reproduced.folder, tmp_path / "checkout")
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("guidance: 2.0", "guidance: 3.0"))
    commit(folder, "Guide more")
    assert run(folder, "python", "-m", "tools.report", "HEAD", "HEAD~1").stdout.startswith(
        "report.html: "
    )
    page = (folder / "report.html").read_text()
    assert FETCHES.search(page) is None
    assert "static/" not in re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert page.count('src="data:image/png;base64,') >= 2 * len(SHEETS)
    assert "<td>sample.guidance</td><td>3.0</td><td>2.0</td>" in page
    assert "<td>adherence</td>" in page


@pytest.mark.slow
def test_report_of_no_such_revision_is_one_line(reproduced, tmp_path):
    done = run(reproduced.folder, "python", "-m", "tools.report", "nowhere", fails=True)
    assert done.stderr == "error: report: unknown Git revision 'nowhere'\n"
